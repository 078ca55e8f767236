/* tests/support/feed_rig.h - a log that grows: a fresh SQLite database, the writer, and a clock that tests set. No device: nothing is signed. */
#ifndef HOLDFAST_TESTS_FEED_RIG_H
#define HOLDFAST_TESTS_FEED_RIG_H

#include "server/core/kms.h"
#include "tests/support/store_fixture.h"

#define T_FEED_START_S 1800000000

struct t_feed_rig {
	struct store_fixture *store;
	struct kms kms;
};

/** Everything up to a started writer, or an abort. */
void t_feed_rig_open(struct t_feed_rig *r);
void t_feed_rig_close(struct t_feed_rig *r);
/** As a restart does: the log goes on, with node.stop and node.start. */
void t_feed_rig_restart(struct t_feed_rig *r);
/** Set the clocks of all rigs: wall time, and the one that never falls. */
void t_feed_rig_set_us(int64_t wall_us, int64_t mono_us);
/** One leaf; its seq. */
uint64_t t_feed_rig_write(struct t_feed_rig *r, const struct event *e);
/** For feed_config.open_store; arg is the rig. */
kms_status t_feed_rig_open_store(void *arg, struct store **ret_store, struct kms_err *err);
/** Leaves that there are. */
uint64_t t_feed_rig_size(struct t_feed_rig *r);

#endif
