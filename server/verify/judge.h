/* server/verify/judge.h - what follows from everything that was given: who signed, forks, consistency, changes of the log's key, age. */
#ifndef HOLDFAST_VERIFY_JUDGE_H
#define HOLDFAST_VERIFY_JUDGE_H

#include "server/verify/verify.h"

/** Who signed it, by the keys that are trusted from the start. A line that does not fit is reported; that nobody signed is not: a change of
 *  the log's key may still tell. */
void judge_signatures(struct verify *v, struct signed_note *n);
/** A log.key_rotated leaf. */
void judge_rotation(struct verify *v, const struct leaf *l, const char *file);

#endif
