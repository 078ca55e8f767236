/*
 * server/witness/state.h - what the witness remembers: for each log the newest checkpoint that it cosigned, in a file of its own in one directory.
 * Guards: a file is replaced whole (written aside, synced, renamed, the directory synced), and one that is damaged is never taken for none.
 */
#ifndef HOLDFAST_WITNESS_STATE_H
#define HOLDFAST_WITNESS_STATE_H

#include "server/witness/note.h"

#define STATE_NAME_LEN (2 * HASH_LEN) /* hex of the SHA-256 of the origin */
#define WHY_LEN 256

/* Of one log. Zeroed = nothing was ever cosigned; release with state_clear(). */
struct state {
	uint64_t size;
	uint8_t root[HASH_LEN];
	uint64_t time_s; /* of the last cosignature */
	char *note;      /* the checkpoint with its log's signature, owned; NULL = none yet */
	size_t note_len;
};
void state_clear(struct state *s);

/** Open the directory, make it when there is none, and lock it: two processes would each believe in their own memory. @param for_show  only look: no lock
 *  @return its descriptor, which holds the lock; -1 with the reason */
int state_open_dir(const char *path, bool for_show, char ret_why[WHY_LEN]);

enum state_found { STATE_NONE, STATE_READ, STATE_DAMAGED };
/** @param ret_why  of STATE_DAMAGED, which also stands for a file that cannot be read */
enum state_found state_load(int dir, const char *origin, struct state *ret, char ret_why[WHY_LEN]);
/** On stable storage when it returns true. When it returns false either the old one or this one is there. */
bool state_save(int dir, const char *origin, const struct state *s, char ret_why[WHY_LEN]);
/**
 * Keep the log's own signatures under both. A few for each log; a full directory is no failure.
 * @param is_fork  they exclude one another. Else only a proof was wrong, which whoever has seen a checkpoint can send: those never take all the places.
 */
void state_keep_evidence(int dir, const char *origin, const struct state *s, const struct note *submitted, bool is_fork);

/** Call show for each file, in the directory's order. @return false when the directory cannot be read */
bool state_each(int dir, void (*show)(const char *file, enum state_found found, const struct state *s, const char *why));

#endif
