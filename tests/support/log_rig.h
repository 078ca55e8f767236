/* tests/support/log_rig.h - a made-up key event log for tests of the verifier: leaves written one by one, checkpoints and proofs signed here.
 * The tree is computed recursively from the definition of RFC 6962, apart from the verifier's. */
#ifndef HOLDFAST_TESTS_SUPPORT_LOG_RIG_H
#define HOLDFAST_TESTS_SUPPORT_LOG_RIG_H

#include "server/verify/verify.h"

#define RIG_ORIGIN "kms.example.com/audit/log1"
#define RIG_BOOT "00000000000000b1"

/* One leaf. Zeroed members are left out, or have what an ordinary leaf has. */
struct rig_leaf {
	const char *type;
	const char *phase;  /* NULL = single */
	const char *result; /* NULL = ok; pending for an intent */
	int64_t ref;        /* 0 = none */
	const char *tenant, *key, *object /* one letter: object id and version */, *pid, *kind, *appr, *det;
	const char *boot;   /* NULL = RIG_BOOT */
	int64_t step_ms;    /* by which both clocks go on since the last leaf; 0 = 1,000 */
	int64_t wall_ms;    /* by which wall time goes on besides */
};
struct log_rig {
	char *text; /* owned: the export */
	size_t len, cap;
	uint64_t size;
	size_t *starts; /* owned: where each line begins */
	uint8_t (*hashes)[HASH_LEN]; /* owned */
	size_t count_cap;
	int64_t wall_us, mono_us;
	char boot[17];
	const char *origin;
	EVP_PKEY *log_key, *other_key, *witness_key, *attestation_key;
	char vkey[128], other_vkey[128], witness_vkey[128], attestation_vkey[128];
};
enum rig_signer { RIG_LOG = 1, RIG_OTHER = 2, RIG_WITNESS = 4, RIG_ATTESTATION = 8 };

/** An empty log of this origin; the keys come from the seed. */
void log_rig_open(struct log_rig *r, const char *origin, uint8_t seed);
void log_rig_close(struct log_rig *r);
/** @return its seq */
uint64_t log_rig_add(struct log_rig *r, const struct rig_leaf *leaf);
/** log.init and node.start. */
void log_rig_start(struct log_rig *r);
/** The line of a leaf, with its LF. */
struct span log_rig_line(const struct log_rig *r, uint64_t seq);
void log_rig_root(const struct log_rig *r, uint64_t size, uint8_t ret[HASH_LEN]);
/** Keep what is computed of this list until the next call: then many proofs of it are quick. NULL = of none. */
void log_rig_remember(const uint8_t (*hashes)[HASH_LEN]);
/** Hash of `count` leaves from `first` on, by the definition. */
void log_rig_subtree(const uint8_t (*hashes)[HASH_LEN], uint64_t first, uint64_t count, uint8_t ret[HASH_LEN]);
/** The inclusion path of one, and the consistency proof, by the definition. @return the number of hashes */
size_t log_rig_path(const uint8_t (*hashes)[HASH_LEN], uint64_t index, uint64_t first, uint64_t count, uint8_t ret[PROOF_MAX][HASH_LEN]);
size_t log_rig_consistency(const uint8_t (*hashes)[HASH_LEN], uint64_t from, uint64_t to, uint8_t ret[PROOF_MAX][HASH_LEN]);
/** A note of this text. @param signers  of enum rig_signer @return owned text */
char *log_rig_sign(const struct log_rig *r, const char *text, unsigned signers, uint64_t time_s);
char *log_rig_checkpoint(const struct log_rig *r, uint64_t size, unsigned signers, uint64_t time_s);
char *log_rig_bundle(const struct log_rig *r, uint64_t index, uint64_t size, unsigned signers);
char *log_rig_base64(const void *bytes, size_t len);

/* One verification in memory. */
struct rig_check {
	const struct log_rig *rig;
	struct span log;             /* NULL = the rig's; p = "" and n = 0 = an empty one */
	bool has_no_log, is_partial, is_complete, is_read_once, trusts_other, has_policy;
	const char *checkpoints[4], *trusted[2], *bundles[2], *certificates[2], *proofs[2];
	int64_t max_age_s, now_s;
	unsigned approvers; /* 0 = 1 */
};
/** Run it. @param ret  to be closed by verify_close(); NULL = closed here */
enum verify_exit log_rig_verify(const struct rig_check *check, struct verify **ret);

#endif
