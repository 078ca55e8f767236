/* server/verify/policy.c - line by line; a group names only what stands before it, so nothing can be circular. */
#include "server/verify/policy.h"

#define WORDS_MAX 72 /* of a line: a group of 69 */

struct words {
	struct span list[WORDS_MAX];
	size_t count;
};

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static bool split_words(struct span line, struct words *ret)
{
	size_t i = 0;

	ret->count = 0;
	while (i < line.n) {
		while (i < line.n && is_blank(line.p[i]))
			i++;
		size_t start = i;
		while (i < line.n && !is_blank(line.p[i]))
			i++;
		if (i == start)
			break;
		if (ret->count == WORDS_MAX)
			return false;
		ret->list[ret->count++] = (struct span){ line.p + start, i - start };
	}
	return true;
}

static struct policy_node *find(struct policy *p, struct span name)
{
	for (size_t i = 0; i < p->node_count; i++) {
		if (span_same(p->nodes[i].name, name))
			return &p->nodes[i];
	}
	return NULL;
}

static const char *add_node(struct policy *p, struct span name, struct policy_node **ret)
{
	if (name.n > POLICY_NAME_MAX || span_is(name, "none"))
		return "this name cannot be given";
	if (find(p, name) != NULL)
		return "this name is defined twice";
	if (p->node_count == POLICY_NAMES_MAX)
		return "there are more names than this program takes";
	*ret = &p->nodes[p->node_count++];
	**ret = (struct policy_node){ .name = name };
	return NULL;
}

/* A new key: one that has a line already stands there under another name, perhaps to be counted twice. */
static const char *add_key(struct keys *keys, struct hasher *h, struct span text, size_t *ret_index)
{
	size_t before = keys->count;
	const char *why = keys_add(keys, h, text, ret_index);

	if (why != NULL)
		return why;
	for (size_t i = 0; i < before; i++) {
		if (i != *ret_index && memcmp(keys->list[i].digest, keys->list[*ret_index].digest, HASH_LEN) == 0)
			return "this key is there already, under another name";
	}
	return NULL;
}

static const char *add_log(const struct words *w, struct keys *keys, struct hasher *h)
{
	size_t index = 0;
	const char *why = NULL;

	if (w->count < 2 || w->count > 3)
		return "it is not: log VKEY [URL]";
	why = add_key(keys, h, w->list[1], &index);
	if (why == NULL && keys->list[index].role != ROLE_LOG)
		why = "this is no key of a log";
	return why;
}

static const char *add_witness(struct policy *p, const struct words *w, struct keys *keys, struct hasher *h)
{
	struct policy_node *node = NULL;
	size_t index = 0;
	const char *why = NULL;

	if (w->count < 3 || w->count > 4)
		return "it is not: witness NAME VKEY [URL]";
	why = add_key(keys, h, w->list[2], &index);
	if (why != NULL)
		return why;
	if (keys->list[index].role != ROLE_WITNESS)
		return "this is no key of a witness (type 0x04)";
	for (size_t i = 0; i < p->node_count; i++) {
		if (!p->nodes[i].is_group && p->nodes[i].key == index)
			return "this witness is there already, under another name";
	}
	why = add_node(p, w->list[1], &node);
	if (why == NULL)
		node->key = index;
	return why;
}

static const char *add_member(struct policy *p, const struct policy_node *group, struct span name)
{
	struct policy_node *member = find(p, name);

	if (member == NULL || member == group)
		return "a member is not defined above";
	if (member->is_member)
		return "a name is member twice";
	if (p->member_count == POLICY_MEMBERS_MAX)
		return "there are more members than this program takes";
	member->is_member = true;
	p->members[p->member_count++] = (size_t)(member - p->nodes);
	return NULL;
}

static const char *add_group(struct policy *p, const struct words *w)
{
	struct policy_node *group = NULL;
	const char *why = NULL;
	uint64_t threshold = 0;

	if (w->count < 4)
		return "it is not: group NAME THRESHOLD MEMBER...";
	why = add_node(p, w->list[1], &group);
	if (why != NULL)
		return why;
	group->is_group = true;
	group->first = p->member_count;
	group->count = w->count - 3;
	for (size_t i = 3; i < w->count && why == NULL; i++)
		why = add_member(p, group, w->list[i]);
	if (why != NULL)
		return why;
	if (span_is(w->list[2], "any"))
		threshold = 1;
	else if (span_is(w->list[2], "all"))
		threshold = group->count;
	else if (!span_u64(w->list[2], &threshold))
		threshold = 0;
	group->threshold = threshold;
	return threshold >= 1 && threshold <= group->count ? NULL : "its threshold is none of: any, all, 1 to the number of members";
}

static const char *set_quorum(struct policy *p, const struct words *w)
{
	struct policy_node *node = NULL;

	if (w->count != 2)
		return "it is not: quorum NAME";
	if (p->has_quorum)
		return "there is more than one quorum line";
	p->has_quorum = true;
	if (span_is(w->list[1], "none"))
		return NULL;
	node = find(p, w->list[1]);
	if (node == NULL)
		return "its name is not defined above";
	p->needs_witnesses = true;
	p->quorum = (size_t)(node - p->nodes);
	return NULL;
}

static const char *read_line(struct span line, struct keys *keys, struct hasher *h, struct policy *p)
{
	struct words w;

	for (size_t i = 0; i < line.n; i++) {
		unsigned char c = (unsigned char)line.p[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return "it has a control character";
	}
	if (!split_words(line, &w))
		return "it has more words than this program takes";
	if (w.count == 0 || w.list[0].p[0] == '#')
		return NULL;
	if (span_is(w.list[0], "log"))
		return add_log(&w, keys, h);
	if (span_is(w.list[0], "witness"))
		return add_witness(p, &w, keys, h);
	if (span_is(w.list[0], "group"))
		return add_group(p, &w);
	if (span_is(w.list[0], "quorum"))
		return set_quorum(p, &w);
	return "it begins with none of: log, witness, group, quorum";
}

const char *policy_parse(struct span text, struct keys *keys, struct hasher *h, struct policy *ret, unsigned *ret_line)
{
	struct span line;

	memset(ret, 0, sizeof(*ret));
	*ret_line = 0;
	if (text.n > POLICY_MAX)
		return "it is longer than 64 KiB";
	while (text.n > 0) {
		bool is_ended = span_line(text, &line, &text);
		const char *why = NULL;
		++*ret_line;
		why = is_ended ? read_line(line, keys, h, ret) : "its last line has no line feed";
		if (why != NULL)
			return why;
	}
	return ret->has_quorum ? NULL : "it has no quorum line";
}

bool policy_is_met(const struct policy *p, const bool has_cosigned[KEYS_MAX])
{
	bool is_met[POLICY_NAMES_MAX];

	if (!p->needs_witnesses)
		return true;
	for (size_t i = 0; i < p->node_count; i++) {
		const struct policy_node *n = &p->nodes[i];
		size_t met = 0;
		for (size_t m = 0; n->is_group && m < n->count; m++)
			met += is_met[p->members[n->first + m]];
		is_met[i] = n->is_group ? met >= n->threshold : has_cosigned[n->key];
	}
	return is_met[p->quorum];
}
