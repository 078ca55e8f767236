/* server/witness/encode.h - base64, decimal numbers and UTF-8, each in exactly one accepted form: what is signed must have one reading only. */
#ifndef HOLDFAST_WITNESS_ENCODE_H
#define HOLDFAST_WITNESS_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

/** RFC 4648 section 4 with padding; writes BASE64_LEN(len) characters and a NUL. */
void base64_write(const uint8_t *bytes, size_t len, char *ret_text);
/** Padded base64 whose unused bits are zero, and nothing else. @return false also when it does not fit into cap */
bool base64_read(const char *text, size_t text_len, uint8_t *ret_bytes, size_t cap, size_t *ret_len);
/** Lower-case hex and a NUL. */
void hex_write(const uint8_t *bytes, size_t len, char *ret_text);
/** A decimal number below 2^63 without sign, space or leading zero. */
bool decimal_read(const char *text, size_t len, uint64_t *ret);
/** Well-formed UTF-8 (RFC 3629) without control characters other than newline. */
bool is_note_text(const char *text, size_t len);

#endif
