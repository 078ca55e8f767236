/* server/core/canon.c - the canonical encoder. */
#include "server/core/canon.h"

#include <assert.h>
#include <string.h>

#define INTEGER_MAX 9007199254740991 /* 2^53-1: audit-log.md 3.1 rule 3 */
#define TEXT_MAX 512                 /* rule 5 */

static void put(struct canon *c, const char *bytes, size_t len)
{
	if (c->is_over || len > c->cap - c->len) {
		c->is_over = true;
		return;
	}
	memcpy(c->buf + c->len, bytes, len);
	c->len += len;
}

void canon_put(struct canon *c, const char *text) { put(c, text, strlen(text)); }

void canon_string_name(struct canon *c, struct canon_name m)
{
	put(c, "\"", 1);
	canon_put(c, m.name);
	if (m.is_b64)
		canon_put(c, CANON_B64_SUFFIX);
	put(c, "\"", 1);
}

void canon_begin_value(struct canon *c)
{
	if (c->needs_comma)
		put(c, ",", 1);
	c->needs_comma = true;
}

static void member(struct canon *c, struct canon_name m)
{
	canon_begin_value(c);
	canon_string_name(c, m);
	put(c, ":", 1);
}

static struct canon_name plain(const char *name) { return (struct canon_name){ .name = name }; }

void canon_member(struct canon *c, const char *name) { member(c, plain(name)); }

void canon_open(struct canon *c, const char *name)
{
	if (name != NULL)
		member(c, plain(name));
	put(c, "{", 1);
	c->needs_comma = false;
}

void canon_close(struct canon *c)
{
	put(c, "}", 1);
	c->needs_comma = true;
}

void canon_token(struct canon *c, const char *name, const char *text)
{
	member(c, plain(name));
	put(c, "\"", 1);
	canon_put(c, text);
	put(c, "\"", 1);
}

void canon_bytes(struct canon *c, const char *name, const uint8_t *bytes, size_t len)
{
	char text[B64URL_LEN(CANON_BYTES_MAX) + 1];

	assert(len <= CANON_BYTES_MAX);
	b64url_encode(bytes, len, text);
	canon_token(c, name, text);
}

void canon_bool(struct canon *c, const char *name, bool value)
{
	member(c, plain(name));
	canon_put(c, value ? "true" : "false");
}

void canon_guid(struct canon *c, const char *name, const uint8_t id[GUID_LEN])
{
	char text[GUID_TEXT_LEN + 1];

	guid_format(id, text);
	canon_token(c, name, text);
}

static void mark_cut(struct canon *c, struct canon_name m)
{
	assert(c->cut_count < CANON_CUT_MAX);
	c->cut[c->cut_count++] = m;
}

void canon_int(struct canon *c, const char *name, int64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);
	int64_t bounded = number > INTEGER_MAX ? INTEGER_MAX : number < -INTEGER_MAX ? -INTEGER_MAX : number;
	uint64_t rest = (uint64_t)(bounded < 0 ? -bounded : bounded);

	if (bounded != number)
		mark_cut(c, plain(name));
	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest != 0);
	if (bounded < 0)
		digits[--at] = '-';
	member(c, plain(name));
	put(c, digits + at, sizeof(digits) - at);
}

/* Rule 3.1.4. The text is known to be UTF-8, and only single-byte characters are ever escaped. */
static void put_escaped(struct canon *c, const char *text, size_t len)
{
	static const char SHORT[] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r' };
	size_t done = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char byte = (unsigned char)text[i];
		char escape[CANON_ESCAPE_MAX + 1] = { '\\', (char)byte };
		size_t escape_len = 2;

		if (byte >= 0x20 && byte != '"' && byte != '\\')
			continue;
		if (byte < sizeof(SHORT) && SHORT[byte] != '\0') {
			escape[1] = SHORT[byte];
		} else if (byte < 0x20) {
			memcpy(escape + 1, "u00", 3);
			hex_encode(&byte, 1, escape + 4);
			escape_len = CANON_ESCAPE_MAX;
		}
		put(c, text + done, i - done);
		put(c, escape, escape_len);
		done = i + 1;
	}
	put(c, text + done, len - done);
}

/* How much of a text is written, and in which form. */
struct view {
	size_t len;
	bool is_utf8, is_cut;
};

static struct view view_text(const char *text, size_t limit)
{
	size_t text_len = strnlen(text, limit + 1);
	size_t shown = text_len <= limit ? text_len : limit;
	size_t i = 0, char_len = 1;

	while (i < shown && char_len != 0) {
		char_len = (unsigned char)text[i] < 0x80 ? 1 : utf8_char_len(text + i, shown - i);
		i += char_len;
	}
	if (char_len != 0)
		return (struct view){ .len = shown, .is_utf8 = true, .is_cut = text_len > limit };
	/* A character that the limit divides is left out; anything else that does not parse is not UTF-8. */
	if (text_len > limit && shown - i < 4 && (unsigned char)text[i] >= 0xc2) {
		size_t tail = i + 1;
		while (tail < shown && ((unsigned char)text[tail] & 0xc0) == 0x80)
			tail++;
		if (tail == shown)
			return (struct view){ .len = i, .is_utf8 = true, .is_cut = true };
	}
	return (struct view){ .len = shown, .is_cut = text_len > limit };
}

bool canon_is_utf8(const char *text, size_t limit) { return view_text(text, limit).is_utf8; }

void canon_text(struct canon *c, const char *name, const char *text, size_t limit)
{
	struct view v = view_text(text, limit);
	struct canon_name m = { .name = name, .is_b64 = !v.is_utf8 };

	assert(limit <= TEXT_MAX);
	if (v.is_cut)
		mark_cut(c, m);
	member(c, m);
	put(c, "\"", 1);
	if (v.is_utf8) {
		put_escaped(c, text, v.len);
	} else {
		char b64[B64URL_LEN(TEXT_MAX) + 1];
		b64url_encode(text, v.len, b64);
		canon_put(c, b64);
	}
	put(c, "\"", 1);
}
