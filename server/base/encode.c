/* server/base/encode.c - text encodings; the decoder has no table look-ups by secret bytes. */
#include "server/base/encode.h"

#include <openssl/rand.h>
#include <string.h>

static const char URL_ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char STD_ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t encode(const uint8_t *in, size_t len, const char *alphabet, char *out)
{
	size_t o = 0;
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
		out[o++] = alphabet[v >> 18 & 63];
		out[o++] = alphabet[v >> 12 & 63];
		if (left > 1)
			out[o++] = alphabet[v >> 6 & 63];
		if (left > 2)
			out[o++] = alphabet[v & 63];
	}
	return o;
}

void b64url_encode(const void *bytes, size_t len, char *ret_text)
{
	ret_text[encode(bytes, len, URL_ALPHABET, ret_text)] = '\0';
}

void b64_encode(const void *bytes, size_t len, char *ret_text)
{
	size_t o = encode(bytes, len, STD_ALPHABET, ret_text);
	while (o % 4 != 0)
		ret_text[o++] = '=';
	ret_text[o] = '\0';
}

/* All ones when lo <= c <= hi, else zero, without a branch. */
static uint32_t in_range(uint32_t c, uint32_t lo, uint32_t hi)
{
	return 0U - (((lo - 1U - c) & (c - hi - 1U)) >> 31);
}

/* The value of one base64url character; bad characters raise `*bad`. */
static uint32_t sextet(unsigned char ch, uint32_t *bad)
{
	uint32_t c = ch;
	uint32_t upper = in_range(c, 'A', 'Z'), lower = in_range(c, 'a', 'z'), digit = in_range(c, '0', '9');
	uint32_t minus = in_range(c, '-', '-'), under = in_range(c, '_', '_');
	*bad |= ~(upper | lower | digit | minus | under);
	return (upper & (c - 'A')) | (lower & (c - 'a' + 26)) | (digit & (c - '0' + 52)) | (minus & 62) | (under & 63);
}

bool b64url_decode(const char *text, size_t text_len, uint8_t *ret_bytes, size_t cap, size_t *ret_len)
{
	uint32_t bad = 0;
	size_t o = 0;
	size_t pad = 0;

	while (text_len > 0 && text[text_len - 1] == '=' && pad < 2) {
		text_len--;
		pad++;
	}
	if (text_len % 4 == 1 || (pad > 0 && (text_len + pad) % 4 != 0) || text_len / 4 * 3 + text_len % 4 * 3 / 4 > cap)
		return false;
	for (size_t i = 0; i < text_len; i += 4) {
		size_t left = text_len - i < 4 ? text_len - i : 4;
		uint32_t v = 0;
		for (size_t j = 0; j < left; j++)
			v |= sextet((unsigned char)text[i + j], &bad) << (18 - 6 * j);
		for (size_t j = 0; j < left - 1; j++)
			ret_bytes[o++] = (uint8_t)(v >> (16 - 8 * j));
		/* Unused low bits must be zero, or one value would have several spellings. */
		if (left == 2)
			bad |= v & 0xffff;
		if (left == 3)
			bad |= v & 0xff;
	}
	if (bad != 0)
		return false;
	*ret_len = o;
	return true;
}

void hex_encode(const void *bytes, size_t len, char *ret_text)
{
	static const char DIGITS[] = "0123456789abcdef";
	const uint8_t *in = bytes;
	for (size_t i = 0; i < len; i++) {
		ret_text[2 * i] = DIGITS[in[i] >> 4];
		ret_text[2 * i + 1] = DIGITS[in[i] & 15];
	}
	ret_text[2 * len] = '\0';
}

int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_decode(const char *text, size_t text_len, uint8_t *ret_bytes, size_t len)
{
	if (text_len != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int hi = hex_digit(text[2 * i]), lo = hex_digit(text[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return false;
		ret_bytes[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

bool percent_decode(const char *text, size_t len, bool plus_is_space, char *ret_text, size_t cap)
{
	size_t o = 0;

	if (cap == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '%') {
			int hi = i + 2 < len ? hex_digit(text[i + 1]) : -1;
			int lo = hi >= 0 ? hex_digit(text[i + 2]) : -1;
			if (lo < 0)
				return false;
			c = (char)(hi << 4 | lo);
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		if (c == '\0' || o + 1 >= cap)
			return false;
		ret_text[o++] = c;
	}
	ret_text[o] = '\0';
	return true;
}

void guid_format(const uint8_t id[GUID_LEN], char ret_text[GUID_TEXT_LEN + 1])
{
	char hex[2 * GUID_LEN + 1];
	static const size_t GROUPS[] = { 8, 4, 4, 4, 12 };
	size_t in = 0, out = 0;
	hex_encode(id, GUID_LEN, hex);
	for (size_t g = 0; g < 5; g++) {
		if (g > 0)
			ret_text[out++] = '-';
		memcpy(ret_text + out, hex + in, GROUPS[g]);
		out += GROUPS[g];
		in += GROUPS[g];
	}
	ret_text[out] = '\0';
}

bool guid_parse(const char *text, size_t text_len, uint8_t ret_id[GUID_LEN])
{
	char hex[2 * GUID_LEN];
	size_t o = 0;
	if (text_len != GUID_TEXT_LEN)
		return false;
	for (size_t i = 0; i < GUID_TEXT_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash != (text[i] == '-'))
			return false;
		if (!dash)
			hex[o++] = text[i];
	}
	return hex_decode(hex, sizeof(hex), ret_id, GUID_LEN);
}

size_t utf8_char_len(const char *text, size_t len)
{
	/* RFC 3629 section 4: the second byte's range depends on the first. */
	static const struct {
		uint8_t first, last, second_lo, second_hi, len;
	} FORMS[] = {
		{ 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	const uint8_t *b = (const uint8_t *)text;
	for (size_t f = 0; len > 0 && f < sizeof(FORMS) / sizeof(FORMS[0]); f++) {
		if (b[0] < FORMS[f].first || b[0] > FORMS[f].last)
			continue;
		if (len < FORMS[f].len || (FORMS[f].len > 1 && (b[1] < FORMS[f].second_lo || b[1] > FORMS[f].second_hi)))
			return 0;
		for (size_t i = 2; i < FORMS[f].len; i++) {
			if ((b[i] & 0xc0) != 0x80)
				return 0;
		}
		return FORMS[f].len;
	}
	return 0;
}

/* `digits` decimal digits of v, with leading zeros. */
static void put_digits(char *out, size_t digits, int64_t v)
{
	while (digits-- > 0) {
		out[digits] = (char)('0' + v % 10);
		v /= 10;
	}
}

void timestamp_format(int64_t unix_us, char ret_text[TIMESTAMP_LEN + 1])
{
	static const int64_t US_A_SECOND = 1000000, S_A_DAY = 86400, DAYS_AN_ERA = 146097;
	static const int64_t FIRST_US = -62167219200 * 1000000, LAST_US = 253402300799 * 1000000 + 999999; /* 0000-01-01, 9999-12-31 */
	/* Arithmetic and not gmtime_r(): no locale, no lock, no environment. Days to civil date as in Howard Hinnant's public-domain
	 * chrono algorithms: years begin in March, an era is 400 years. */
	int64_t us = unix_us < FIRST_US ? FIRST_US : unix_us > LAST_US ? LAST_US : unix_us;
	int64_t since_year_0 = us - FIRST_US;
	int64_t second = since_year_0 / US_A_SECOND % S_A_DAY;
	int64_t days = since_year_0 / US_A_SECOND / S_A_DAY - 60 + DAYS_AN_ERA; /* since 1 March of year -400 */
	int64_t day_of_era = days % DAYS_AN_ERA;
	int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t march_month = (5 * day_of_year + 2) / 153;
	int64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
	int64_t year = days / DAYS_AN_ERA * 400 - 400 + year_of_era + (month <= 2 ? 1 : 0);

	memcpy(ret_text, "0000-00-00T00:00:00.000000Z", TIMESTAMP_LEN + 1);
	put_digits(ret_text, 4, year);
	put_digits(ret_text + 5, 2, month);
	put_digits(ret_text + 8, 2, day_of_year - (153 * march_month + 2) / 5 + 1);
	put_digits(ret_text + 11, 2, second / 3600);
	put_digits(ret_text + 14, 2, second / 60 % 60);
	put_digits(ret_text + 17, 2, second % 60);
	put_digits(ret_text + 20, 6, since_year_0 % US_A_SECOND);
}

bool random_bytes(void *ret_bytes, size_t len) { return RAND_bytes(ret_bytes, (int)len) == 1; }

#define GUID_POOL 64 /* ids drawn from the generator at a time: one call costs as much as many bytes */

bool guid_random(uint8_t ret_id[GUID_LEN])
{
	/* Ids are no secrets, but none is ever given out twice: the pool is this thread's own. */
	static _Thread_local struct {
		uint8_t bytes[GUID_POOL][GUID_LEN];
		unsigned left;
	} pool;

	if (pool.left == 0) {
		if (!random_bytes(pool.bytes, sizeof(pool.bytes)))
			return false;
		pool.left = GUID_POOL;
	}
	memcpy(ret_id, pool.bytes[--pool.left], GUID_LEN);
	ret_id[6] = (uint8_t)((ret_id[6] & 0x0f) | 0x40);
	ret_id[8] = (uint8_t)((ret_id[8] & 0x3f) | 0x80);
	return true;
}
