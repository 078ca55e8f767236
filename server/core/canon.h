/* server/core/canon.h - the canonical JSON of leaves and statements (spec/audit-log.md 3.1), written into a buffer of fixed size, member by
 * member in the order of their names. The caller sorts. */
#ifndef HOLDFAST_CORE_CANON_H
#define HOLDFAST_CORE_CANON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/encode.h"

#define CANON_ESCAPE_MAX 6 /* bytes that one character can become: \u00xx */
#define CANON_CUT_MAX 20
#define CANON_B64_SUFFIX "_b64"
#define CANON_BYTES_MAX 520 /* of one binary value: a modulus of RSA-4096 */

/* A member name as it will be written: with the suffix when its text is not UTF-8. */
struct canon_name {
	const char *name;
	bool is_b64;
};

/* The text under construction, not NUL-terminated. What does not fit raises is_over and is dropped. Begin with { .buf, .cap }. */
struct canon {
	char *buf;
	size_t cap, len;
	bool is_over;
	bool needs_comma;
	size_t cut_count;
	struct canon_name cut[CANON_CUT_MAX]; /* members that were cut, to be named in `trunc` */
};

/** Bytes as they are: brackets, a value that is canonical already. */
void canon_put(struct canon *c, const char *text);
/** The comma that the next value may need. */
void canon_begin_value(struct canon *c);
/** Comma, name, colon. */
void canon_member(struct canon *c, const char *name);
void canon_string_name(struct canon *c, struct canon_name name);
/** An object; name NULL = the outermost one, or one after canon_member(). */
void canon_open(struct canon *c, const char *name);
void canon_close(struct canon *c);
/** Text of our own that needs no escape: names from tables, hex, base64url, GUIDs, URLs built from names. */
void canon_token(struct canon *c, const char *name, const char *text);
/** Text from outside: escaped, cut to `limit` bytes at a character boundary, and as base64url under NAME_b64 when it is not UTF-8.
 *  @param limit  at most 512 */
void canon_text(struct canon *c, const char *name, const char *text, size_t limit);
/** Bounded to +-(2^53-1); a bounded one counts as cut. */
void canon_int(struct canon *c, const char *name, int64_t number);
void canon_bool(struct canon *c, const char *name, bool value);
/** base64url; at most CANON_BYTES_MAX. */
void canon_bytes(struct canon *c, const char *name, const uint8_t *bytes, size_t len);
void canon_guid(struct canon *c, const char *name, const uint8_t id[GUID_LEN]);
/** Would this text be written as UTF-8? */
bool canon_is_utf8(const char *text, size_t limit);

#endif
