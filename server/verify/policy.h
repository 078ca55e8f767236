/* server/verify/policy.h - C2SP trust policies: which logs are known, which witnesses, and how many of them must have cosigned. */
#ifndef HOLDFAST_VERIFY_POLICY_H
#define HOLDFAST_VERIFY_POLICY_H

#include "server/verify/note.h"

#define POLICY_MAX 65536  /* bytes of a policy file */
#define POLICY_NAMES_MAX 256
#define POLICY_MEMBERS_MAX 512
#define POLICY_NAME_MAX 255

/* A witness or a group. */
struct policy_node {
	struct span name;
	bool is_group, is_member; /* is_member: of a group already, and of one only */
	size_t key;               /* of a witness */
	size_t threshold, first, count; /* of a group: how many of members[first..] */
};
/* Spans point into the file's text. */
struct policy {
	struct policy_node nodes[POLICY_NAMES_MAX];
	size_t node_count;
	size_t members[POLICY_MEMBERS_MAX];
	size_t member_count;
	bool has_quorum, needs_witnesses;
	size_t quorum; /* a node, when needs_witnesses */
};
/** Read a policy; its logs and witnesses are added to the keys. @return NULL, or what is wrong (static) with line *ret_line */
const char *policy_parse(struct span text, struct keys *keys, struct hasher *h, struct policy *ret, unsigned *ret_line);
/** @param has_cosigned  for each key */
bool policy_is_met(const struct policy *p, const bool has_cosigned[KEYS_MAX]);

#endif
