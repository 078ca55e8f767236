/* server/feed/format_cef.c - RFC 5424's header and the Common Event Format behind it (spec/audit-log.md 10.2). Guards: a leaf's text ends no field, begins none, and
 * makes no second line; what is no visible text is written as \xNN or \uNNNN, so that nothing of it is lost. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/version.h"
#include "server/feed/format.h"

#define FACILITY 13 /* log audit */
#define MSGID_MAX 32
#define TITLE_MAX 64
#define US_PER_MS 1000
#define MSG_MAX 1023 /* of CEF; before it is escaped */
#define CUT "..."

static const struct {
	int syslog, cef;
} SEVERITIES[] = {
	[CLASS_USE] = { 6, 1 },    [CLASS_ADMIN] = { 5, 3 }, [CLASS_DENIED] = { 4, 6 },
	[CLASS_FAILED] = { 3, 7 }, [CLASS_GRAVE] = { 5, 8 }, [CLASS_CRITICAL] = { 2, 10 },
};

/* ---- text ---- */

/* The code point of a well-formed character of two or three bytes. */
static unsigned code_point(const char *text, size_t len)
{
	const unsigned char *b = (const unsigned char *)text;
	return len == 2 ? (b[0] & 0x1fu) << 6 | (b[1] & 0x3fu) : (b[0] & 0x0fu) << 12 | (b[1] & 0x3fu) << 6 | (b[2] & 0x3fu);
}

/* C1 controls, and what some readers take for the end of a line. */
static bool is_hidden(unsigned point) { return (point >= 0x80 && point < 0xa0) || point == 0x2028 || point == 0x2029; }

/* What is the same in every place: no control character and no broken one gets through. @return bytes taken */
static size_t put_character(FILE *out, const char *text, size_t left, const char *escape)
{
	unsigned char c = (unsigned char)*text;
	size_t len = utf8_char_len(text, left);

	if (len == 0 || c < ' ' || c == 0x7f) {
		(void)fprintf(out, "%sx%02x", escape, c);
		return 1;
	}
	if ((len == 2 || len == 3) && is_hidden(code_point(text, len)))
		(void)fprintf(out, "%su%04x", escape, code_point(text, len));
	else
		(void)fwrite(text, 1, len, out);
	return len;
}

/* A parameter's value (RFC 5424 section 6.3.3): a backslash stands for itself unless it is before one of the three. */
static void put_parameter(FILE *out, const char *name, const char *text)
{
	size_t left = strlen(text);

	(void)fprintf(out, " %s=\"", name);
	while (left > 0) {
		size_t taken = 1;
		if (strchr("\"\\]", *text) != NULL)
			(void)fprintf(out, "\\%c", *text);
		else
			taken = put_character(out, text, left, "\\\\");
		text += taken;
		left -= taken;
	}
	(void)fputc('"', out);
}

static void put_header(FILE *out, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		size_t taken = 1;
		if (*text == '|' || *text == '\\')
			(void)fprintf(out, "\\%c", *text);
		else
			taken = put_character(out, text, left, "\\\\");
		text += taken;
		left -= taken;
	}
}

/* Nothing when the text is empty. */
static void put_field(FILE *out, const char *name, const char *text)
{
	size_t left = strlen(text);

	if (left > 0)
		(void)fprintf(out, " %s=", name);
	while (left > 0) {
		size_t taken = 1;
		if (*text == '=' || *text == '\\')
			(void)fprintf(out, "\\%c", *text);
		else if (*text == '\n' || *text == '\r')
			(void)fputs(*text == '\n' ? "\\n" : "\\r", out);
		else
			taken = put_character(out, text, left, "\\\\");
		text += taken;
		left -= taken;
	}
}

/* One of the numbered fields with what it means; a label without a value would be noise. */
static void put_labelled(FILE *out, const char *name, const char *label, const char *text)
{
	if (text[0] == '\0')
		return;
	put_field(out, name, text);
	(void)fprintf(out, " %sLabel=%s", name, label);
}

/* ---- RFC 5424 ---- */

/* A type that came with a later version may not be a name as MSGID wants it. */
static void put_msgid(FILE *out, const char *type)
{
	size_t len = strlen(type);

	if (len == 0 || len > MSGID_MAX || strspn(type, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		(void)fputc('-', out);
	else
		(void)fputs(type, out);
}

bool format_syslog(const struct leaf *l, const struct format_facts *facts, FILE *out)
{
	char time[TIMESTAMP_LEN + 1], hash[FORMAT_HASH_MAX];

	timestamp_format(l->ts_us, time);
	format_hash(l, hash);
	(void)fprintf(out, "<%d>1 %s %s holdfast - ", FACILITY * 8 + SEVERITIES[format_class_of(l)].syslog, time, facts->node);
	put_msgid(out, l->is_pruned ? "" : l->type_name);
	(void)fprintf(out, " [kel@%" PRIu32, facts->enterprise);
	put_parameter(out, "origin", facts->origin);
	(void)fprintf(out, " seq=\"%" PRIu64 "\"", l->seq);
	put_parameter(out, "leaf", hash);
	(void)fputs("] ", out);
	return ferror(out) == 0;
}

/* ---- CEF ---- */

/* tenant.shred_incomplete -> "tenant shred incomplete". */
static void title(const struct leaf *l, char ret[TITLE_MAX])
{
	(void)snprintf(ret, TITLE_MAX, "%s", format_is_reinstatement(l) ? "key.reinstate" : l->type_name);
	for (char *c = ret; *c != '\0'; c++)
		if (*c == '.' || *c == '_')
			*c = ' ';
}

/* In quotes where it would end early, or look like a member of its own. */
static void put_detail_text(FILE *out, const char *text)
{
	if (text[0] != '\0' && strpbrk(text, " =\"\\") == NULL) {
		(void)fputs(text, out);
		return;
	}
	(void)fputc('"', out);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			(void)fputc('\\', out);
		(void)fputc(*text, out);
	}
	(void)fputc('"', out);
}

/* Cut off behind a whole character when it is too long. */
static void cut(char *text, size_t len)
{
	size_t at = 0;

	if (len <= MSG_MAX)
		return;
	for (;;) {
		size_t step = utf8_char_len(text + at, len - at);
		step = step > 0 ? step : 1;
		if (at + step > MSG_MAX - strlen(CUT))
			break;
		at += step;
	}
	memcpy(text + at, CUT, sizeof(CUT));
}

/* The members of `det`, which say what this event is about: name=value, name=value. @return owned by the caller; NULL without memory */
static char *details(const struct leaf *l)
{
	char *text = NULL;
	const char *name = NULL;
	size_t len = 0, count = 0;
	FILE *out = open_memstream(&text, &len);
	json_t *value = NULL;
	bool is_whole;

	if (out == NULL)
		return NULL;
	json_object_foreach(json_object_get(l->root, "det"), name, value)
	{
		(void)fprintf(out, "%s%s=", count++ > 0 ? " " : "", name);
		if (json_is_string(value))
			put_detail_text(out, json_string_value(value));
		else
			(void)json_dumpf(value, out, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	}
	is_whole = ferror(out) == 0;
	if (fclose(out) == 0 && is_whole) {
		cut(text, len);
		return text;
	}
	free(text);
	return NULL;
}

static void put_extension(const struct leaf *l, const char *msg, FILE *out)
{
	char hash[FORMAT_HASH_MAX], pid[FORMAT_PID_MAX], id[GUID_TEXT_LEN + 1], tenant[GUID_TEXT_LEN + 1] = "";

	format_hash(l, hash);
	format_pid(l, pid);
	guid_format(l->id, id);
	if (l->has_tenant)
		guid_format(l->tenant, tenant);
	(void)fprintf(out, "rt=%" PRId64, l->ts_us / US_PER_MS);
	put_field(out, "act", l->type_name);
	put_field(out, "outcome", format_result(l));
	put_field(out, "reason", l->err);
	put_field(out, "suser", pid);
	put_field(out, "spriv", l->role);
	put_labelled(out, "cs1", "tenant", tenant);
	put_labelled(out, "cs2", "key", l->key_name);
	put_labelled(out, "cs3", "keyVersion", l->key_version);
	put_labelled(out, "cs4", "peer", l->peer);
	put_labelled(out, "cs5", "auditLeaf", hash);
	put_labelled(out, "cs6", "correlationId", l->corr[0] != '\0' ? l->corr : l->req);
	(void)fprintf(out, " cn1=%" PRIu64 " cn1Label=auditSeq", l->seq);
	if (l->count != 1)
		(void)fprintf(out, " cnt=%" PRIu64, l->count);
	put_field(out, "externalId", id);
	put_field(out, "msg", msg);
}

bool format_cef(const struct leaf *l, FILE *out)
{
	char name[TITLE_MAX], *msg = details(l);

	if (msg == NULL)
		return false;
	title(l, name);
	(void)fputs("CEF:0|Holdfast|Holdfast|" HOLDFAST_VERSION_STRING "|", out);
	put_header(out, l->type_name);
	(void)fputc('|', out);
	put_header(out, name);
	(void)fprintf(out, "|%d|", SEVERITIES[format_class_of(l)].cef);
	put_extension(l, msg, out);
	free(msg);
	return ferror(out) == 0;
}
