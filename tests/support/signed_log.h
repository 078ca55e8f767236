/* tests/support/signed_log.h - the event log of a domain, checked, written and signed as the daemon does it; and an older database put in its place. */
#ifndef HOLDFAST_TESTS_SUPPORT_SIGNED_LOG_H
#define HOLDFAST_TESTS_SUPPORT_SIGNED_LOG_H

#include "server/core/checkpoint.h"
#include "tests/support/domain.h"

struct t_log {
	struct log_verdict verdict; /* of the last start */
	unsigned interval_ms, late_ms; /* 0 = 100, 60000 */
	bool is_strict;
};

/** Stop the writer that t_domain_open() began; start the log. Aborts when it does not start, whatever the verdict. */
void t_log_start(struct t_domain *d, struct t_log *log);
/** Checkpointer and writer; the database stays open. */
void t_log_stop(struct t_domain *d);
void t_log_restart(struct t_domain *d, struct t_log *log);
/** All leaves are covered by a checkpoint; aborts when they are not soon. */
void t_log_sign(struct t_domain *d);
/** Stop, and keep a copy of the database. */
void t_log_save(struct t_domain *d);
/** Stopped: put the copy in the place of the database. */
void t_log_put_back(struct t_domain *d);
/** A whole rollback: what was written since the copy, with its checkpoint and pin, is forgotten by the database alone. Ends with the log started again. */
void t_log_roll_back(struct t_domain *d, struct t_log *log);

#endif
