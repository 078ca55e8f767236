/* server/verify/bundle.c - proofs as the API gives them. */
#include "server/verify/bundle.h"

#define FIRST_LINE "c2sp.org/tlog-proof@v1"

/* "WORD REST" */
static bool after_word(struct span line, const char *word, struct span *ret)
{
	size_t n = strlen(word);

	if (!span_begins(line, word))
		return false;
	*ret = (struct span){ line.p + n, line.n - n };
	return true;
}

static bool read_hash(struct span base64, uint8_t ret[HASH_LEN])
{
	size_t len = 0;
	return span_base64(base64, ret, HASH_LEN, &len) && len == HASH_LEN;
}

const char *bundle_parse(struct span text, struct bundle *ret)
{
	struct span line, value;

	ret->count = 0;
	if (!span_line(text, &line, &text) || !span_is(line, FIRST_LINE))
		return "it does not begin with " FIRST_LINE;
	if (!span_line(text, &line, &text) || !after_word(line, "extra ", &value))
		return "its second line is not: extra LEAF";
	if (!span_base64(value, (uint8_t *)ret->leaf, sizeof(ret->leaf), &ret->leaf_len) || ret->leaf_len == 0)
		return "its leaf is not canonical base64 of 1 to 8,192 bytes";
	if (!span_line(text, &line, &text) || !after_word(line, "index ", &value) || !span_u64(value, &ret->index))
		return "its third line is not: index NUMBER";
	while (span_line(text, &line, &text) && line.n > 0) {
		if (ret->count == PROOF_MAX)
			return "its proof has more than 64 hashes";
		if (!read_hash(line, ret->proof[ret->count++]))
			return "a hash of its proof is not the canonical base64 of 32 bytes";
	}
	if (line.n > 0 || text.n == 0)
		return "it has no checkpoint behind an empty line";
	ret->note = text;
	return NULL;
}

bool bundle_proves(const struct bundle *b, struct hasher *h, const struct checkpoint *c)
{
	uint8_t leaf[HASH_LEN];

	hash_leaf(h, (struct span){ b->leaf, b->leaf_len }, leaf);
	return tree_includes(h, b->index, c->size, leaf, (const uint8_t(*)[HASH_LEN])b->proof, b->count, c->root);
}

/* ---- {"from","to","hashes"} ---- */

static void blanks(struct span *s)
{
	while (s->n > 0 && s->p[0] != '\0' && strchr(" \t\r\n", s->p[0]) != NULL) {
		s->p++;
		s->n--;
	}
}

static bool mark(struct span *s, char c)
{
	blanks(s);
	if (s->n == 0 || s->p[0] != c)
		return false;
	s->p++;
	s->n--;
	blanks(s);
	return true;
}

/* A string without escapes. */
static bool text(struct span *s, struct span *ret)
{
	return mark(s, '"') && span_cut(*s, '"', ret, s) && (ret->n == 0 || memchr(ret->p, '\\', ret->n) == NULL);
}

static bool number(struct span *s, uint64_t *ret)
{
	struct span digits = { s->p, 0 };

	while (digits.n < s->n && s->p[digits.n] >= '0' && s->p[digits.n] <= '9')
		digits.n++;
	s->p += digits.n;
	s->n -= digits.n;
	return span_u64(digits, ret);
}

static const char *hashes(struct span *s, struct consistency *ret)
{
	struct span base64;

	if (!mark(s, '['))
		return "hashes is no array";
	if (mark(s, ']'))
		return NULL;
	do {
		if (ret->count == PROOF_MAX)
			return "it has more than 64 hashes";
		if (!text(s, &base64) || !read_hash(base64, ret->proof[ret->count++]))
			return "a hash is not the canonical base64 of 32 bytes";
	} while (mark(s, ','));
	return mark(s, ']') ? NULL : "hashes does not end";
}

static const char *member(struct span *s, struct consistency *ret, unsigned *seen)
{
	enum { FROM = 1, TO = 2, HASHES = 4 };
	struct span name;
	unsigned which = 0;

	if (!text(s, &name) || !mark(s, ':'))
		return "a member has no name";
	which = span_is(name, "from") ? FROM : span_is(name, "to") ? TO : span_is(name, "hashes") ? HASHES : 0;
	if (which == 0 || (*seen & which) != 0)
		return "its members are not from, hashes, to, each once";
	*seen |= which;
	if (which == HASHES)
		return hashes(s, ret);
	return number(s, which == FROM ? &ret->from : &ret->to) ? NULL : "a size is no decimal number";
}

const char *consistency_parse(struct span s, struct consistency *ret)
{
	const char *why = NULL;
	unsigned seen = 0;

	memset(ret, 0, sizeof(*ret));
	if (s.n > CONSISTENCY_MAX || !mark(&s, '{'))
		return "it is no JSON object, or longer than 16 KiB";
	do {
		why = member(&s, ret, &seen);
		if (why != NULL)
			return why;
	} while (mark(&s, ','));
	if (!mark(&s, '}') || s.n != 0)
		return "something follows its members";
	return seen == 7 ? NULL : "its members are not from, hashes, to, each once";
}
