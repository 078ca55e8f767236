/* server/verify/reader.c - canonical JSON. The depth is limited, so the recursion of reader_skip() is. */
#include "server/verify/reader.h"

#define NAME_MAX_LEN 32

enum { PLAIN, QUOTE, ESCAPE, CONTROL, HIGH };
#define R16(v) v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v
/* What a byte within a string means. */
static const uint8_t KIND[256] = {
	R16(CONTROL), R16(CONTROL),
	PLAIN, PLAIN, QUOTE, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN,
	R16(PLAIN), R16(PLAIN),
	PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, ESCAPE, PLAIN, PLAIN, PLAIN,
	R16(PLAIN), R16(PLAIN),
	R16(HIGH), R16(HIGH), R16(HIGH), R16(HIGH), R16(HIGH), R16(HIGH), R16(HIGH), R16(HIGH),
};

struct reader reader_begin(struct span text) { return (struct reader){ .p = text.p, .end = text.n > 0 ? text.p + text.n : text.p }; }

bool reader_fail(struct reader *j, const char *why)
{
	if (j->why == NULL)
		j->why = why;
	return false;
}

static bool take(struct reader *j, char c)
{
	if (j->p >= j->end || *j->p != c)
		return false;
	j->p++;
	return true;
}

/* Behind a backslash: exactly one form for each character. */
static bool escape(struct reader *j)
{
	const char *p = j->p + 1;
	ptrdiff_t left = j->end - p;

	if (left >= 1 && *p != '\0' && strchr("\"\\bfnrt", *p) != NULL) {
		j->p += 2;
		return true;
	}
	if (left < 5 || memcmp(p, "u00", 3) != 0 || (p[3] != '0' && p[3] != '1'))
		return reader_fail(j, "an escape that is not canonical");
	char low = p[4];
	bool is_hex = (low >= '0' && low <= '9') || (low >= 'a' && low <= 'f');
	bool has_short_form = p[3] == '0' && low != '\0' && strchr("89acd", low) != NULL;
	if (!is_hex || has_short_form)
		return reader_fail(j, "an escape that is not canonical");
	j->p += 6;
	return true;
}

bool reader_string(struct reader *j, struct span *ret)
{
	if (!take(j, '"'))
		return reader_fail(j, "a string was expected");
	const char *start = j->p;
	while (j->p < j->end) {
		uint8_t kind = KIND[(unsigned char)*j->p];
		if (kind == PLAIN) {
			j->p++;
		} else if (kind == QUOTE) {
			*ret = (struct span){ start, (size_t)(j->p - start) };
			j->p++;
			return true;
		} else if (kind == ESCAPE) {
			if (!escape(j))
				return false;
		} else if (kind == HIGH) {
			size_t n = utf8_length(j->p, j->end);
			if (n == 0)
				return reader_fail(j, "text that is not UTF-8");
			j->p += n;
		} else {
			return reader_fail(j, "a control character in a string");
		}
	}
	return reader_fail(j, "a string without an end");
}

bool reader_int(struct reader *j, int64_t *ret)
{
	bool is_negative = take(j, '-');
	const char *start = j->p;
	int64_t v = 0;

	while (j->p < j->end && *j->p >= '0' && *j->p <= '9') {
		v = v * 10 + (*j->p - '0');
		j->p++;
		if (v > READER_INT_MAX)
			return reader_fail(j, "an integer beyond 2^53-1");
	}
	if (j->p == start)
		return reader_fail(j, "a value that is none of string, integer, true, false, object, array");
	if (*start == '0' && (j->p - start > 1 || is_negative))
		return reader_fail(j, "an integer that is not canonical");
	*ret = is_negative ? -v : v;
	return true;
}

static bool word(struct reader *j, const char *text)
{
	size_t n = strlen(text);
	if ((size_t)(j->end - j->p) < n || memcmp(j->p, text, n) != 0)
		return reader_fail(j, "a value that is none of string, integer, true, false, object, array");
	j->p += n;
	return true;
}

bool reader_true_or_false(struct reader *j, bool *ret)
{
	*ret = j->p < j->end && *j->p == 't';
	return word(j, *ret ? "true" : "false");
}

static bool enter(struct reader *j, char c, const char *why)
{
	if (!take(j, c))
		return reader_fail(j, why);
	if (++j->depth > READER_DEPTH_MAX)
		return reader_fail(j, "too many levels of objects and arrays");
	return true;
}

bool reader_enter(struct reader *j) { return enter(j, '{', "an object was expected"); }
bool reader_enter_array(struct reader *j) { return enter(j, '[', "an array was expected"); }

/* [A-Za-z0-9_]{1,32}; no escape can stand in it. */
static bool name(struct reader *j, struct span *ret)
{
	if (!take(j, '"'))
		return reader_fail(j, "a member name was expected");
	const char *start = j->p;
	while (j->p < j->end && ((*j->p >= 'a' && *j->p <= 'z') || *j->p == '_' || (*j->p >= 'A' && *j->p <= 'Z') || (*j->p >= '0' && *j->p <= '9')))
		j->p++;
	*ret = (struct span){ start, (size_t)(j->p - start) };
	if (!take(j, '"') || ret->n == 0 || ret->n > NAME_MAX_LEN)
		return reader_fail(j, "a member name that is not 1 to 32 of [A-Za-z0-9_]");
	return take(j, ':') || reader_fail(j, "a colon was expected");
}

/* -1, 0, 1 as memcmp(); a prefix sorts first. */
static int order(struct span a, struct span b)
{
	int d = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
	return d != 0 ? d : a.n < b.n ? -1 : a.n > b.n;
}

int reader_next(struct reader *j, struct reader_object *o, struct span *ret_name)
{
	if (take(j, '}')) {
		j->depth--;
		return 0;
	}
	if (o->has_member && !take(j, ',')) {
		reader_fail(j, "a comma or a closing brace was expected");
		return -1;
	}
	if (!name(j, ret_name))
		return -1;
	if (o->has_member && order(o->last, *ret_name) >= 0) {
		reader_fail(j, order(o->last, *ret_name) == 0 ? "a member twice" : "members that are not sorted");
		return -1;
	}
	o->last = *ret_name;
	o->has_member = true;
	return 1;
}

int reader_next_element(struct reader *j, bool *has_element)
{
	if (take(j, ']')) {
		j->depth--;
		return 0;
	}
	if (*has_element && !take(j, ',')) {
		reader_fail(j, "a comma or a closing bracket was expected");
		return -1;
	}
	if (j->p < j->end && *j->p == ']') {
		reader_fail(j, "a comma before a bracket");
		return -1;
	}
	*has_element = true;
	return 1;
}

static bool skip_object(struct reader *j) /* NOLINT(misc-no-recursion): READER_DEPTH_MAX bounds it */
{
	struct reader_object o = { 0 };
	struct span ignored;
	int more = 0;

	if (!reader_enter(j))
		return false;
	while ((more = reader_next(j, &o, &ignored)) > 0)
		if (!reader_skip(j))
			return false;
	return more == 0;
}

static bool skip_array(struct reader *j) /* NOLINT(misc-no-recursion): READER_DEPTH_MAX bounds it */
{
	bool has_element = false;
	int more = 0;

	if (!reader_enter_array(j))
		return false;
	while ((more = reader_next_element(j, &has_element)) > 0)
		if (!reader_skip(j))
			return false;
	return more == 0;
}

bool reader_skip(struct reader *j) /* NOLINT(misc-no-recursion): READER_DEPTH_MAX bounds it */
{
	struct span text;
	int64_t number = 0;
	bool truth = false;

	if (j->p >= j->end)
		return reader_fail(j, "the text ends too early");
	switch (*j->p) {
	case '"': return reader_string(j, &text);
	case '{': return skip_object(j);
	case '[': return skip_array(j);
	case 't':
	case 'f': return reader_true_or_false(j, &truth);
	default: return reader_int(j, &number);
	}
}

bool reader_end(struct reader *j) { return j->p == j->end || reader_fail(j, "something follows the object"); }

bool reader_is_canonical(struct span text, const char **ret_why)
{
	struct reader j = reader_begin(text);
	bool is_canonical = skip_object(&j) && reader_end(&j);

	if (ret_why != NULL)
		*ret_why = j.why;
	return is_canonical;
}

bool reader_member(struct span object, const char *wanted, struct reader *ret_value)
{
	struct reader j = reader_begin(object);
	struct reader_object o = { 0 };
	struct span found;

	if (!reader_enter(&j))
		return false;
	while (reader_next(&j, &o, &found) > 0) {
		if (span_is(found, wanted)) {
			*ret_value = j;
			return true;
		}
		if (!reader_skip(&j))
			return false;
	}
	return false;
}

bool reader_member_string(struct span object, const char *wanted, struct span *ret)
{
	struct reader j;
	return reader_member(object, wanted, &j) && reader_string(&j, ret);
}

bool reader_member_int(struct span object, const char *wanted, int64_t *ret)
{
	struct reader j;
	return reader_member(object, wanted, &j) && reader_int(&j, ret);
}
