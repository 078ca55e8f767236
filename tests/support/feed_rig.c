/* tests/support/feed_rig.c - see feed_rig.h. */
#include "tests/support/feed_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/sqlite/sqlite.h"

static _Atomic int64_t wall = T_FEED_START_S * INT64_C(1000000), mono;

static int64_t fake_wall(const struct clock *c)
{
	(void)c;
	return wall;
}

static int64_t fake_mono(const struct clock *c)
{
	(void)c;
	return mono;
}
static const struct clock FAKE = { .wall_us = fake_wall, .mono_us = fake_mono };

void t_feed_rig_set_us(int64_t wall_us, int64_t mono_us)
{
	wall = wall_us;
	mono = mono_us;
}

static void start_writer(struct t_feed_rig *r)
{
	const struct writer_config cfg = { .store = r->store->w, .clock = &FAKE, .node = "test", .origin = r->kms.origin, .capacity = 4096 };
	struct kms_err err = { 0 };

	if (writer_start(&cfg, &r->kms.writer, &err) != KMS_OK) {
		(void)fprintf(stderr, "the log does not open: %s\n", err.detail);
		abort();
	}
}

void t_feed_rig_open(struct t_feed_rig *r)
{
	void *state = NULL;

	memset(r, 0, sizeof(*r));
	t_feed_rig_set_us(T_FEED_START_S * INT64_C(1000000), 0);
	if (store_fixture_open(&state) != 0)
		abort();
	r->store = state;
	r->kms.clock = &FAKE;
	memcpy(r->kms.origin, "vault.test/audit/log1", sizeof("vault.test/audit/log1"));
	start_writer(r);
}

void t_feed_rig_close(struct t_feed_rig *r)
{
	void *state = r->store;

	writer_stop(r->kms.writer);
	if (store_fixture_close(&state) != 0)
		abort();
}

void t_feed_rig_restart(struct t_feed_rig *r)
{
	writer_stop(r->kms.writer);
	store_fixture_reopen(r->store);
	start_writer(r);
}

uint64_t t_feed_rig_write(struct t_feed_rig *r, const struct event *e)
{
	struct write unit = { .event = *e };

	if (writer_write(r->kms.writer, &unit) != KMS_OK)
		abort();
	return unit.seq;
}

kms_status t_feed_rig_open_store(void *arg, struct store **ret_store, struct kms_err *err)
{
	const struct t_feed_rig *r = arg;
	return store_open_sqlite(r->store->path, STORE_READ, ret_store, err);
}

uint64_t t_feed_rig_size(struct t_feed_rig *r)
{
	struct writer_state state;

	writer_state(r->kms.writer, &state);
	return state.size;
}
