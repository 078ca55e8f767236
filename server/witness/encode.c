/* server/witness/encode.c - see encode.h. */
#include "server/witness/encode.h"

#include <stdio.h>
#include <string.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_write(const uint8_t *bytes, size_t len, char *ret_text)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
		ret_text[n++] = ALPHABET[group >> 18];
		ret_text[n++] = ALPHABET[group >> 12 & 63];
		ret_text[n++] = '=';
		ret_text[n++] = '=';
		if (left > 1)
			ret_text[n - 2] = ALPHABET[group >> 6 & 63];
		if (left > 2)
			ret_text[n - 1] = ALPHABET[group & 63];
	}
	ret_text[n] = '\0';
}

static int base64_value(char c)
{
	const char *at = c == '\0' ? NULL : strchr(ALPHABET, c);
	return at == NULL ? -1 : (int)(at - ALPHABET);
}

bool base64_read(const char *text, size_t text_len, uint8_t *ret_bytes, size_t cap, size_t *ret_len)
{
	size_t n = 0;

	if (text_len == 0 || text_len % 4 != 0)
		return false;
	for (size_t i = 0; i < text_len; i += 4) {
		bool is_last = i + 4 == text_len;
		size_t padding = !is_last || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
		uint32_t group = 0;
		for (size_t c = 0; c < 4; c++) {
			int value = c >= 4 - padding ? 0 : base64_value(text[i + c]);
			if (value < 0)
				return false;
			group = group << 6 | (uint32_t)value;
		}
		if ((group & ((1U << 8 * padding) - 1)) != 0)
			return false; /* a second spelling of the same bytes */
		for (size_t b = 0; b < 3 - padding; b++) {
			if (n == cap)
				return false;
			ret_bytes[n++] = (uint8_t)(group >> (16 - 8 * b));
		}
	}
	*ret_len = n;
	return true;
}

void hex_write(const uint8_t *bytes, size_t len, char *ret_text)
{
	for (size_t i = 0; i < len; i++)
		(void)snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
}

bool decimal_read(const char *text, size_t len, uint64_t *ret)
{
	uint64_t value = 0;

	if (len == 0 || len > 19 || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	if (value > INT64_MAX)
		return false;
	*ret = value;
	return true;
}

/* Length of the character at `c`, of which `left` bytes are there; 0 = malformed. */
static size_t char_len(const uint8_t *c, size_t left)
{
	size_t len = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;

	if (len > left)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f))
		return 0; /* overlong, a surrogate, or beyond U+10FFFF */
	return len;
}

bool is_note_text(const char *text, size_t len)
{
	const uint8_t *bytes = (const uint8_t *)text;

	for (size_t i = 0, n = 0; i < len; i += n) {
		n = char_len(bytes + i, len - i);
		if (n == 0 || (bytes[i] < 0x20 && bytes[i] != '\n'))
			return false;
	}
	return true;
}
