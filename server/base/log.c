/* server/base/log.c - builds each line in a buffer of fixed size and hands it over in one write(2), so that lines never mix. */
#include "server/base/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/base/encode.h"

#define LOG_TEXT_MAX 512
#define LOG_LINE_MAX 8192
#define LOG_TAIL_MAX 32 /* room kept for the mark of a cut line, its end and the line feed */

enum log_form { FORM_UNSET, FORM_TEXT, FORM_JSON };

static atomic_int least_level = LOG_INFO;
static atomic_int chosen_form = FORM_UNSET;

static const char *const LEVEL_NAMES[] = {
	[LOG_DEBUG] = "debug",
	[LOG_INFO] = "info",
	[LOG_WARN] = "warn",
	[LOG_ERROR] = "error",
};

/* A line under construction. What does not fit raises is_full and is not written. */
struct line {
	size_t len;
	bool is_full;
	char buf[LOG_LINE_MAX];
};

void log_setup(enum log_level least, bool as_json)
{
	atomic_store(&least_level, (int)least);
	atomic_store(&chosen_form, as_json ? FORM_JSON : FORM_TEXT);
}

bool log_level_parse(const char *text, enum log_level *ret_level)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(LEVEL_NAMES); i++) {
		if (strcmp(text, LEVEL_NAMES[i]) == 0) {
			*ret_level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

static void put(struct line *l, const char *bytes, size_t len)
{
	if (l->is_full || len > sizeof(l->buf) - LOG_TAIL_MAX - l->len) {
		l->is_full = true;
		return;
	}
	memcpy(l->buf + l->len, bytes, len);
	l->len += len;
}

static void put_text(struct line *l, const char *text) { put(l, text, strlen(text)); }

/* Controls of C0, DEL and C1 could steer a terminal or break a line; the quote and the backslash would end the string. */
static bool needs_escape(const char *c, size_t char_len)
{
	unsigned char b = (unsigned char)c[0];
	return b < 0x20 || b == '"' || b == '\\' || b == 0x7f || (char_len == 2 && b == 0xc2 && (unsigned char)c[1] < 0xa0);
}

/* RFC 8259 section 7, quoted; what is not UTF-8 is shown as U+FFFD. The text form uses the same, so that a value cannot forge a field. */
static void put_quoted(struct line *l, const char *text)
{
	size_t len = strnlen(text, LOG_TEXT_MAX);
	char escape[8];

	put(l, "\"", 1);
	for (size_t i = 0; i < len;) {
		size_t char_len = utf8_char_len(text + i, len - i);
		if (char_len == 0) {
			put_text(l, "\xef\xbf\xbd");
			i++;
			continue;
		}
		if (!needs_escape(text + i, char_len)) {
			put(l, text + i, char_len);
		} else if (text[i] == '"' || text[i] == '\\') {
			put(l, "\\", 1);
			put(l, text + i, 1);
		} else {
			unsigned code = (unsigned char)text[i + char_len - 1]; /* U+0080..U+009F is 0xc2 and the code itself */
			(void)snprintf(escape, sizeof(escape), "\\u%04x", code);
			put_text(l, escape);
		}
		i += char_len;
	}
	put(l, "\"", 1);
}

static void put_field(struct line *l, bool as_json, const struct log_field *f)
{
	size_t before = l->len;
	char number[24];

	put_text(l, as_json ? ",\"" : " ");
	put_text(l, f->name);
	put_text(l, as_json ? "\":" : "=");
	if (f->text != NULL) {
		put_quoted(l, f->text);
	} else {
		(void)snprintf(number, sizeof(number), "%" PRId64, f->number);
		put_text(l, number);
	}
	if (l->is_full)
		l->len = before; /* whole fields only, or the line would not parse */
}

static void put_head(struct line *l, bool as_json, enum log_level level, const char *event)
{
	char ts[TIMESTAMP_LEN + 1];
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	timestamp_format((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, ts);
	if (as_json)
		put_text(l, "{\"ts\":\"");
	put_text(l, ts);
	put_text(l, as_json ? "\",\"level\":\"" : " ");
	put_text(l, LEVEL_NAMES[level]);
	put_text(l, as_json ? "\",\"event\":" : " ");
	if (as_json)
		put_quoted(l, event);
	else
		put_text(l, event);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
	struct line l;
	int form = atomic_load(&chosen_form);
	bool as_json = form == FORM_JSON || (form == FORM_UNSET && isatty(STDERR_FILENO) == 0);

	if ((int)level < atomic_load(&least_level))
		return;
	l.len = 0;
	l.is_full = false;
	put_head(&l, as_json, level, event);
	for (const struct log_field *f = fields; f->name != NULL && !l.is_full; f++)
		put_field(&l, as_json, f);
	/* LOG_TAIL_MAX was kept free for what follows. */
	l.len += (size_t)snprintf(l.buf + l.len, LOG_TAIL_MAX, "%s%s\n", !l.is_full ? "" : as_json ? ",\"cut\":true" : " cut=true",
	                          as_json ? "}" : "");
	if (write(STDERR_FILENO, l.buf, l.len) < 0)
		return; /* there is nowhere left to report to */
}

void log_failure(enum log_level level, const char *event, const char *req, const struct kms_err *err)
{
	struct log_field fields[8] = { 0 };
	size_t n = 0;

	if (req != NULL)
		fields[n++] = LOG_S("req", req);
	fields[n++] = LOG_S("status", kms_status_name(err->status));
	fields[n++] = LOG_S("source", kms_src_name(err->source));
	fields[n++] = LOG_I("native", err->native);
	fields[n++] = LOG_S("where", err->where);
	if (err->detail[0] != '\0')
		fields[n++] = LOG_S("detail", err->detail);
	if (err->message[0] != '\0')
		fields[n++] = LOG_S("message", err->message);
	log_write(level, event, fields);
}
