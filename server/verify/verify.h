/*
 * server/verify/verify.h - one verification from beginning to end, over memory: main.c brings the bytes.
 * Order of calls: verify_open, the keys and the policy, everything signed, verify_begin, the log in pieces, if verify_wants_again() once more, verify_finish, verify_print.
 * Nothing here reads files or the clock.
 */
#ifndef HOLDFAST_VERIFY_VERIFY_H
#define HOLDFAST_VERIFY_VERIFY_H

#include "server/verify/bundle.h"
#include "server/verify/certificate.h"
#include "server/verify/meaning.h"
#include "server/verify/policy.h"

#define SIGNED_MAX 4096 /* checkpoints, bundles and certificates together */
#define ROTATIONS_MAX 64
#define OTHER_TYPES_MAX 64
#define OTHER_TYPE_LEN 65

enum signed_kind { SIGNED_CHECKPOINT, SIGNED_TRUSTED, SIGNED_BUNDLE };
enum root_state { ROOT_UNSEEN, ROOT_FITS, ROOT_DIFFERS };

/* A signed checkpoint, wherever it came from. */
struct signed_note {
	enum signed_kind kind;
	const char *file;
	struct note note;
	struct checkpoint checkpoint;
	struct line_verdict verdicts[NOTE_LINES_MAX];
	size_t log_key; /* that signed it, when is_signed */
	bool is_signed, is_broken, has_quorum; /* is_broken: a known key's line does not fit */
	uint64_t newest_s;                     /* of its cosignatures; 0 = none */
	enum root_state root;                  /* against the leaves */
	bool is_in_fork;
	char *event;  /* owned: the leaf of a bundle whose form, place and proof are good; else NULL */
	struct leaf leaf; /* of it: spans point into `event` */
};

/* What --proof says. */
struct given_consistency {
	const char *file;
	struct consistency c;
};

/* A log.key_rotated leaf. */
struct rotation {
	uint64_t seq;
	size_t old_key, new_key; /* in `candidates` */
};

struct verify_options {
	unsigned approvers;  /* that a shred needs at least */
	bool is_partial;     /* the lines are a part: no roots */
	bool is_complete;    /* whoever exported could see all: what is hidden was dropped, and log.pruned says so */
	bool has_max_age;
	int64_t max_age_s, now_s;
};

struct verify {
	struct verify_options options;
	struct hasher hasher;
	struct keys keys;       /* trusted */
	struct keys candidates; /* named by log.key_rotated: trusted only over a checkpoint that both sign */
	struct policy policy;
	bool has_policy;
	struct signed_note *notes; /* owned; SIGNED_MAX at most */
	size_t note_count, note_cap;
	struct certificate *certificates; /* owned */
	size_t certificate_count, certificate_cap;
	struct given_consistency *proofs; /* owned */
	size_t proof_count, proof_cap;
	struct report report;
	struct rotation rotations[ROTATIONS_MAX];
	size_t rotation_count;

	/* The log. */
	struct meaning meaning;
	struct tree tree;
	uint64_t *targets; /* owned: sizes at which a root is wanted, ascending */
	size_t target_count, target_next;
	char carry[LEAF_MAX + 1]; /* the beginning of a line that goes on in the next piece */
	size_t carry_len;
	bool is_skipping; /* a line that is too long */
	bool is_again;    /* the second reading */
	uint64_t line;    /* of the present file */
	bool has_log, has_leaves, is_disordered; /* has_log: even an empty one; is_disordered: roots cannot be told any more */
	uint64_t first_seq, next_seq, leaves, hidden;
	char origin[KEY_NAME_MAX + 1];
	int64_t first_ts_us, last_ts_us;
	int64_t covered_ts_us; /* of the last leaf under the newest signed size */
	uint64_t covered;      /* the newest signed size */
	bool has_covered_ts;
	uint64_t counts[T_COUNT];
	char other_types[OTHER_TYPES_MAX][OTHER_TYPE_LEN];
	size_t other_count;
	char first_ts[32], last_ts[32];
};

/** @return NULL without memory or a random generator. Ended by verify_close(). */
struct verify *verify_open(const struct verify_options *options);
void verify_close(struct verify *v);

/* All text that is given must live until verify_close(). What returns text: NULL, or why it cannot be used (static): a mistake of the caller's. */
const char *verify_add_key(struct verify *v, struct span vkey);
const char *verify_add_policy(struct verify *v, struct span text, unsigned *ret_line);
const char *verify_add_checkpoint(struct verify *v, enum signed_kind kind, const char *file, struct span text);
const char *verify_add_bundle(struct verify *v, const char *file, struct span text);
const char *verify_add_certificate(struct verify *v, const char *file, struct span text);
const char *verify_add_proof(struct verify *v, const char *file, struct span text);
/** Everything signed is given: check it. */
const char *verify_begin(struct verify *v);
/** The next bytes of a log file. */
const char *verify_feed(struct verify *v, const char *file, const char *bytes, size_t len);
/** A log file ends here. */
const char *verify_end_file(struct verify *v, const char *file);
/** The log was pruned: what log.pruned says can be compared when the files, all of them, are given to verify_feed() and verify_end_file() a second time. */
bool verify_wants_again(struct verify *v);
/** Nothing more comes. @return the exit status */
enum verify_exit verify_finish(struct verify *v);
/** The bundle's leaf, when it is proven under a checkpoint that counts: signed, and witnessed as the policy asks for. NULL = nothing is proven */
const struct leaf *verify_event(const struct signed_note *n);
/** Findings and summary. */
void verify_print(const struct verify *v, FILE *out);
void verify_print_json(const struct verify *v, FILE *out);

#endif
