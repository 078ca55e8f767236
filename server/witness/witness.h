/*
 * server/witness/witness.h - the judgement: does this checkpoint extend everything that was cosigned of its log before?
 * Guards: of one log never two branches and never a smaller tree; what is answered was saved before; times do not go backwards.
 */
#ifndef HOLDFAST_WITNESS_WITNESS_H
#define HOLDFAST_WITNESS_WITNESS_H

#include "server/witness/note.h"
#include "server/witness/state.h"

#define LOGS_MAX 64
#define LOG_KEYS_MAX 16
#define REPLY_LEN_MAX 512

struct witness;

struct witness_reply {
	int http;            /* 200, 400, 403, 404, 409, 422, or 503 when nothing can be judged */
	bool is_size;        /* the text is a size (409) */
	char text[REPLY_LEN_MAX];
};

/** @param key, dir  kept until witness_free(), which releases both @param now_s  wall time; NULL = the system's */
struct witness *witness_new(const struct verifier *own, EVP_PKEY *key, int dir, uint64_t (*now_s)(void));
/** Know one more key of the log that is its name. @return false with the reason (too many; a cosigner's key) */
bool witness_add_log(struct witness *w, const struct verifier *log_key, char ret_why[WHY_LEN]);
/** Read what is remembered of every log, and say so. Damaged memory does not stop the others. */
void witness_load(struct witness *w);
/** One submission. Thread-safe; one of a log at a time. */
void witness_judge(struct witness *w, const char *body, size_t len, struct witness_reply *ret);
/** Is the memory of every log good? */
bool witness_is_healthy(struct witness *w);
size_t witness_log_count(const struct witness *w);
void witness_free(struct witness *w);

/** One line to stderr. What others can cause is limited to a few lines a minute, of each kind for itself: no stranger can use up those that tell of a fork. */
enum said_about { ABOUT_REQUESTS /* anybody's */, ABOUT_PROOFS /* of checkpoints that the log signed */, ABOUT_FORKS, ABOUT_ITSELF, ABOUT_COUNT };
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void say_seldom(enum said_about about, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
