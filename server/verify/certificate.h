/* server/verify/certificate.h - destruction certificates (audit-log.md section 11): signed by the attestation key, and borne out by the log. */
#ifndef HOLDFAST_VERIFY_CERTIFICATE_H
#define HOLDFAST_VERIFY_CERTIFICATE_H

#include "server/verify/leaf.h"
#include "server/verify/note.h"

struct certificate_key {
	uint8_t object[OBJECT_LEN];
	uint64_t created; /* seq */
};
/* Spans point into the input. */
struct certificate {
	const char *file;
	struct note note;
	struct line_verdict verdicts[NOTE_LINES_MAX];
	bool is_signed, is_of_tenant; /* is_of_tenant: scope */
	struct span id, origin, tenant, state;
	uint64_t intent, outcome, size;
	uint8_t intent_leaf[HASH_LEN], outcome_leaf[HASH_LEN], root[HASH_LEN];
	struct certificate_key *keys; /* owned */
	size_t key_count;
	enum leaf_type type; /* of its intent, once seen */
	bool is_readable;    /* the members above are filled */
};
/** Read and check it by itself; what is wrong goes into the report. @return false without memory */
bool certificate_read(struct certificate *ret, const char *file, struct span text, const struct keys *keys, struct report *report);
void certificate_clear(struct certificate *c);
/** The next leaf of the log that it speaks of. */
void certificate_leaf(struct certificate *c, const struct leaf *leaf, struct report *report, const char *file, uint64_t line);

#endif
