/* server/verify/certificate.h - destruction certificates (audit-log.md section 11): signed by the attestation key, and borne out by the log. */
#ifndef HOLDFAST_VERIFY_CERTIFICATE_H
#define HOLDFAST_VERIFY_CERTIFICATE_H

#include "server/verify/leaf.h"
#include "server/verify/note.h"

struct certificate_key {
	uint8_t object[OBJECT_LEN];
	bool has_created; /* where it is known */
	uint64_t created; /* seq */
};
/* What a restore made of a key that it names. */
struct certificate_revival {
	bool was, lives; /* lives: nothing says that it was destroyed again */
	bool has_object;
	uint8_t object[OBJECT_LEN]; /* that it is since */
	uint64_t seq;               /* of the restore */
	const char *file;
	uint64_t line;
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
	struct span body;             /* its second line */
	struct certificate_key *keys; /* owned; ordered by object */
	size_t key_count;
	enum leaf_type type; /* of its intent, once seen */
	size_t approver_count; /* in that leaf */
	bool has_intent, has_outcome, has_root; /* the log has been seen to bear out: both leaves, the root */
	bool is_intent_hidden, is_outcome_hidden; /* only its hash is in the log */
	struct certificate_revival revival;
	bool is_readable;    /* the members above are filled */
};
/** Read and check it by itself; what is wrong goes into the report. @return false without memory */
bool certificate_read(struct certificate *ret, const char *file, struct span text, const struct keys *keys, struct report *report);
void certificate_clear(struct certificate *c);
/** The next leaf of the log that it speaks of. */
void certificate_leaf(struct certificate *c, const struct leaf *leaf, struct report *report, const char *file, uint64_t line);
/** Behind the last one. */
void certificate_end(const struct certificate *c, struct report *report);

#endif
