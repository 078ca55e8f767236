/* server/verify/bytes.h - spans of input and the few encodings of the log, read strictly: one text for one value. */
#ifndef HOLDFAST_VERIFY_BYTES_H
#define HOLDFAST_VERIFY_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A part of the input; borrowed, not NUL-terminated. */
struct span {
	const char *p;
	size_t n;
};

#define SPAN(literal) ((struct span){ (literal), sizeof(literal) - 1 })

static inline bool span_same(struct span a, struct span b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool span_is(struct span s, const char *text) { return span_same(s, (struct span){ text, strlen(text) }); }
bool span_begins(struct span s, const char *prefix);

/** Everything before the first LF; *rest begins behind it. @return false without a LF: *line is all there is, *rest is empty */
bool span_line(struct span s, struct span *ret_line, struct span *ret_rest);
/** The part before the first `mark`; *rest begins behind it. @return false when there is none */
bool span_cut(struct span s, char mark, struct span *ret_before, struct span *ret_rest);

/** Decimal without leading zeros, 0..2^63-1. */
bool span_u64(struct span s, uint64_t *ret);
/** Standard base64 with padding; its unused bits must be zero. @return false when it is not, or longer than cap */
bool span_base64(struct span s, uint8_t *ret, size_t cap, size_t *ret_len);
/** base64url without padding, of exactly len bytes; ret NULL = only looked at. */
bool span_base64url(struct span s, uint8_t *ret, size_t len);
/** Lower-case hex of exactly len bytes. */
bool span_hex(struct span s, uint8_t *ret, size_t len);
/** RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool span_utf8(struct span s);
/** The length of the UTF-8 character at p, 0 when there is none. The first byte is not ASCII. */
size_t utf8_length(const char *p, const char *end);

#endif
