/* server/daemon.h - the process: hygiene, signals, readiness, and the order of start and stop. */
#ifndef HOLDFAST_SERVER_DAEMON_H
#define HOLDFAST_SERVER_DAEMON_H

#include <stdbool.h>
#include <stddef.h>

#include "server/base/err.h"

/** First thing in main(): fds 0-2 open, umask 077, no core dumps, not dumpable. Refuses to go on when a promise cannot be
 *  kept. */
KMS_MUST_CHECK kms_status daemon_harden(struct kms_err *err);
/** Next, once the configuration is known and before the first secret: the locked heap for secrets, with room for what `workers` threads hold. */
KMS_MUST_CHECK kms_status daemon_make_heap(unsigned workers, struct kms_err *err);
/** Block the signals that daemon_wait() takes; before any thread is made. */
void daemon_block_signals(void);

enum daemon_signal { DAEMON_RELOAD /* SIGHUP */, DAEMON_STOP /* SIGTERM, SIGINT */, DAEMON_TICK /* once a second */ };
/** Wait for the next signal, at most one second. */
enum daemon_signal daemon_wait(void);
/** Tell the service manager (sd_notify); harmless without one. */
void daemon_ready(void);
void daemon_reloading(void);
void daemon_stopping(void);

#endif
