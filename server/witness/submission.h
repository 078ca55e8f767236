/* server/witness/submission.h - the body of add-checkpoint (C2SP tlog-witness): what the log believes was seen last, the proof from there, a checkpoint. */
#ifndef HOLDFAST_WITNESS_SUBMISSION_H
#define HOLDFAST_WITNESS_SUBMISSION_H

#include "server/witness/note.h"
#include "server/witness/tree.h"

#define SUBMISSION_LEN_MAX 65536

struct submission {
	uint64_t old_size;
	size_t proof_count;
	uint8_t proof[PROOF_MAX][HASH_LEN];
	struct note note; /* points into the body */
};

/** @param body  borrowed for as long as *ret is used @param ret_why  static: what is wrong with it */
bool submission_parse(const char *body, size_t len, struct submission *ret, const char **ret_why);

#endif
