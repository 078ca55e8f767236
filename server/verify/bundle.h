/* server/verify/bundle.h - what proves one thing without the log: a C2SP tlog-proof with its leaf, and the JSON of a consistency proof. */
#ifndef HOLDFAST_VERIFY_BUNDLE_H
#define HOLDFAST_VERIFY_BUNDLE_H

#include "server/verify/leaf.h"

#define BUNDLE_MAX (2 * NOTE_MAX)
#define CONSISTENCY_MAX 16384

#include "server/verify/note.h"

struct bundle {
	char leaf[LEAF_MAX];
	size_t leaf_len;
	uint64_t index;
	uint8_t proof[PROOF_MAX][HASH_LEN];
	size_t count;
	struct span note; /* the signed checkpoint, verbatim; within the input */
};
/** Form alone. @return NULL, or what is wrong (static) */
const char *bundle_parse(struct span text, struct bundle *ret);
/** Does the path lead from the leaf to this root? */
bool bundle_proves(const struct bundle *b, struct hasher *h, const struct checkpoint *c);

struct consistency {
	uint64_t from, to;
	uint8_t proof[PROOF_MAX][HASH_LEN];
	size_t count;
};
/** {"from":M,"hashes":[...],"to":N}; white space and another order of the members are let pass. @return NULL, or what is wrong (static) */
const char *consistency_parse(struct span text, struct consistency *ret);

#endif
