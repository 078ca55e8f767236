/* server/base/encode.h - base64url, base64, hex and GUID text: the encodings of every dialect, in one place. */
#ifndef HOLDFAST_BASE_ENCODE_H
#define HOLDFAST_BASE_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define B64URL_LEN(n) (((n) * 4 + 2) / 3) /* characters for n bytes, without padding */
#define B64_LEN(n) (((n) + 2) / 3 * 4)    /* characters for n bytes, padded */
#define GUID_LEN 16
#define GUID_TEXT_LEN 36

/** RFC 4648 section 5 without padding; writes B64URL_LEN(len) characters and a NUL. */
void b64url_encode(const void *bytes, size_t len, char *ret_text);
/** RFC 4648 section 4 with padding; writes B64_LEN(len) characters and a NUL. */
void b64_encode(const void *bytes, size_t len, char *ret_text);
/**
 * Decode base64url; trailing '=' is tolerated (Key Vault dialect), any other foreign character, an impossible length or
 * non-zero unused bits are not. Constant-time in the characters, so that it can decode secrets.
 * @param cap  room in ret_bytes; needs at most text_len * 3 / 4
 * @return false when the text is not base64url or does not fit; ret_len is written only on success
 */
bool b64url_decode(const char *text, size_t text_len, uint8_t *ret_bytes, size_t cap, size_t *ret_len);

/** Lower-case hex; writes 2 * len characters and a NUL. */
void hex_encode(const void *bytes, size_t len, char *ret_text);
/** Exactly 2 * len hex digits of either case; false otherwise. */
bool hex_decode(const char *text, size_t text_len, uint8_t *ret_bytes, size_t len);

/** Value of one hex digit of either case; -1 when it is none. */
int hex_digit(char c);
/**
 * Decode %XX, and '+' as a space if asked (application/x-www-form-urlencoded), once. ret_text may be `text`: the result is never longer.
 * @param cap  room in ret_text, the NUL included
 * @return false for a broken escape, an encoded NUL, or too little room
 */
bool percent_decode(const char *text, size_t len, bool plus_is_space, char *ret_text, size_t cap);

/** 8-4-4-4-12 lower-case hex and a NUL: 37 bytes. */
void guid_format(const uint8_t id[GUID_LEN], char ret_text[GUID_TEXT_LEN + 1]);
/** Exactly 36 characters in 8-4-4-4-12 form, either case. */
bool guid_parse(const char *text, size_t text_len, uint8_t ret_id[GUID_LEN]);
/** A random version 4 UUID (RFC 9562 section 5.4). False when the generator fails: fail closed. */
bool guid_random(uint8_t ret_id[GUID_LEN]);
/** Length of the well-formed UTF-8 character at `text` (RFC 3629: no overlong form, no surrogate, at most U+10FFFF); 0 when there is none. */
size_t utf8_char_len(const char *text, size_t len);

#define TIMESTAMP_LEN 27 /* YYYY-MM-DDThh:mm:ss.ffffffZ */
/** UTC with exactly six digits of fraction, from microseconds since 1970; years outside 0..9999 are clamped to them. */
void timestamp_format(int64_t unix_us, char ret_text[TIMESTAMP_LEN + 1]);

/** Random bytes from OpenSSL's generator; false when it fails. */
bool random_bytes(void *ret_bytes, size_t len);

#endif
