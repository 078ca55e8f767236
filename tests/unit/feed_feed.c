/* A consumer of the log: every leaf in order, none twice unless something failed, none lost whatever fails. */
#include "server/feed/feed.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sqlite3.h>

#include <cmocka.h>

#include "server/base/log.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/domain.h"
#include "tests/support/feed_rig.h"

#define SEEN_MAX 2000
#define WAIT_S 10

static struct t_feed_rig R;

/* What a consumer was handed. */
struct consumer {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t seen[SEEN_MAX];
	size_t count, calls, idles, rewinds;
	unsigned failures_left; /* of take() */
	uint64_t takes_first;   /* a take() that fails has taken so many */
	int hold_ms;            /* take() ends so late, whoever waits for it */
	uint64_t lag;           /* settled stays so far behind */
	uint64_t next;
	uint64_t bodiless;      /* seq of the last leaf without a body */
	const char *name;
	struct feed *feed;
};

static kms_status take(void *arg, struct feed *f, const struct leaf *leaves, size_t count, struct kms_err *err)
{
	struct consumer *c = arg;
	kms_status status = KMS_OK;

	assert_non_null(feed_store(f));
	assert_non_null(feed_kms(f));
	assert_true(count > 0 && count <= FEED_BATCH_MAX);
	pthread_mutex_lock(&c->lock);
	c->calls++;
	if (c->failures_left > 0) {
		c->failures_left--;
		status = kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "the receiver is away");
		for (size_t i = 0; i < count && i < c->takes_first; i++)
			c->seen[c->count++] = c->next++;
		feed_advance(f, c->next);
	}
	for (size_t i = 0; i < count && status == KMS_OK; i++) {
		assert_int_equal(leaves[i].seq, c->next);
		c->next++;
		c->bodiless = leaves[i].is_pruned ? leaves[i].seq : c->bodiless;
		if (c->count < SEEN_MAX)
			c->seen[c->count++] = leaves[i].seq;
	}
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	(void)poll(NULL, 0, c->hold_ms);
	return status;
}

static uint64_t settled(void *arg)
{
	struct consumer *c = arg;
	return c->next > c->lag ? c->next - c->lag : 0;
}

static kms_status idle(void *arg, struct feed *f, struct kms_err *err)
{
	struct consumer *c = arg;

	(void)f;
	(void)err;
	pthread_mutex_lock(&c->lock);
	c->idles++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return KMS_OK;
}

static void rewind_it(void *arg)
{
	struct consumer *c = arg;

	pthread_mutex_lock(&c->lock);
	c->next = settled(c);
	c->rewinds++;
	pthread_mutex_unlock(&c->lock);
}

static const struct feed_ops PLAIN = { .take = take, .rewind = rewind_it };
static const struct feed_ops FULL = { .take = take, .settled = settled, .idle = idle, .rewind = rewind_it };

static void consumer_init(struct consumer *c, const char *name)
{
	*c = (struct consumer){ .name = name, .bodiless = UINT64_MAX };
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
}

static void start(struct consumer *c, const struct feed_ops *ops, struct feed_config cfg)
{
	struct kms_err err = { 0 };

	cfg.name = c->name;
	if (cfg.kms == NULL) {
		cfg.kms = &R.kms;
		cfg.open_store = t_feed_rig_open_store;
		cfg.open_arg = &R;
	}
	cfg.ops = ops;
	cfg.arg = c;
	cfg.idle_ms = cfg.idle_ms != 0 ? cfg.idle_ms : 1000;
	cfg.pause_ms = 20;
	if (feed_start(&cfg, &c->feed, &err) != KMS_OK)
		fail_msg("%s", err.detail);
}

static void stop(struct consumer *c)
{
	feed_stop(c->feed);
	c->feed = NULL;
}

static void wait_for(struct consumer *c, const size_t *what, size_t at_least)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&c->lock);
	while (*what < at_least)
		assert_int_equal(pthread_cond_timedwait(&c->changed, &c->lock, &until), 0);
	pthread_mutex_unlock(&c->lock);
}

static void write_some(unsigned n)
{
	const struct event e = { .type = EVENT_KEY_GET };

	for (unsigned i = 0; i < n; i++)
		(void)t_feed_rig_write(&R, &e);
}

static uint64_t cursor(const char *name)
{
	uint64_t seq = 99;

	assert_int_equal(store_cursor(R.store->r, name, &seq, NULL), KMS_OK);
	return seq;
}

static void put_cursor(const char *name, uint64_t seq)
{
	struct store_change change = { .kind = STORE_CURSOR_SET, .cursor = { .seq = seq } };
	struct write unit = { .changes = &change, .change_count = 1 };

	(void)snprintf(change.cursor.name, sizeof(change.cursor.name), "%s", name);
	assert_int_equal(writer_write(R.kms.writer, &unit), KMS_OK);
}

static int set_up(void **state)
{
	(void)state;
	log_setup(LOG_ERROR, false);
	t_feed_rig_open(&R);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	t_feed_rig_close(&R);
	return 0;
}

static void leaves_come_in_order_and_a_restart_goes_on_where_it_was(void **state)
{
	struct consumer c;
	(void)state;
	consumer_init(&c, "test:order");
	write_some(10);
	start(&c, &PLAIN, (struct feed_config){ 0 });
	wait_for(&c, &c.count, 12); /* log.init and node.start */
	write_some(3);
	wait_for(&c, &c.count, 15);
	stop(&c);
	assert_int_equal(cursor("test:order"), 15);
	t_feed_rig_restart(&R);
	start(&c, &PLAIN, (struct feed_config){ 0 });
	wait_for(&c, &c.count, 17); /* node.stop, node.start; take() checks that nothing comes twice */
	stop(&c);
	assert_int_equal(t_feed_rig_size(&R), 17); /* its own bookkeeping makes no leaves */
	feed_stop(NULL);
}

static void a_cursor_beyond_the_log_begins_again(void **state)
{
	struct consumer c;
	(void)state;
	put_cursor("test:beyond", 1000);
	consumer_init(&c, "test:beyond");
	start(&c, &PLAIN, (struct feed_config){ 0 });
	wait_for(&c, &c.count, t_feed_rig_size(&R));
	assert_int_equal(c.seen[0], 0);
	stop(&c);
	assert_int_equal(cursor("test:beyond"), t_feed_rig_size(&R));
}

static void a_failure_loses_nothing_and_is_shown(void **state)
{
	struct consumer c;
	struct feed_state s;
	uint64_t size = t_feed_rig_size(&R);
	(void)state;
	consumer_init(&c, "test:fail");
	c.failures_left = 3;
	start(&c, &FULL, (struct feed_config){ 0 });
	wait_for(&c, &c.rewinds, 1);
	feed_state(c.feed, &s);
	assert_true(s.failures >= 1 && s.size == size);
	wait_for(&c, &c.count, size);
	write_some(1);
	wait_for(&c, &c.count, size + 1);
	wait_for(&c, &c.idles, 2);
	feed_state(c.feed, &s);
	assert_int_equal(s.failures, 3);
	stop(&c);
	assert_int_equal(c.count, size + 1);
}

static void what_was_taken_of_a_run_that_fails_does_not_come_again(void **state)
{
	struct consumer c;
	(void)state;
	write_some(10);
	consumer_init(&c, "test:part");
	c.failures_left = 2;
	c.takes_first = 3;
	start(&c, &PLAIN, (struct feed_config){ 0 });
	wait_for(&c, &c.count, t_feed_rig_size(&R));
	stop(&c);
	assert_int_equal(c.rewinds, 3); /* and one at the end */
	for (size_t i = 0; i < c.count; i++)
		assert_int_equal(c.seen[i], i);
	assert_int_equal(cursor("test:part"), t_feed_rig_size(&R));
}

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void those_that_are_told_first_stop_at_the_same_time(void **state)
{
	static const char *const NAMES[] = { "test:slow1", "test:slow2", "test:slow3", "test:slow4" };
	struct consumer c[KMS_ARRAY_LEN(NAMES)];
	int64_t start_ms;
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++) {
		consumer_init(&c[i], NAMES[i]);
		c[i].hold_ms = 100;
		start(&c[i], &PLAIN, (struct feed_config){ 0 });
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++)
		wait_for(&c[i], &c[i].calls, 1);
	start_ms = now_ms();
	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++)
		feed_tell_to_stop(c[i].feed);
	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++)
		stop(&c[i]);
	assert_true(now_ms() - start_ms < 250);
	feed_tell_to_stop(NULL);
}

static void what_is_not_settled_comes_again(void **state)
{
	struct consumer c;
	struct feed_state s;
	uint64_t size = t_feed_rig_size(&R);
	(void)state;
	consumer_init(&c, "test:settled");
	c.lag = 4;
	start(&c, &FULL, (struct feed_config){ .idle_ms = 10 });
	wait_for(&c, &c.count, size);
	wait_for(&c, &c.idles, 2);
	t_feed_rig_set_us((T_FEED_START_S + 30) * INT64_C(1000000), INT64_C(30000000));
	feed_state(c.feed, &s);
	assert_int_equal(s.settled, size - 4);
	assert_int_equal(s.behind_ms, 30000);
	pthread_mutex_lock(&c.lock);
	c.failures_left = 1;
	pthread_mutex_unlock(&c.lock);
	write_some(1);
	wait_for(&c, &c.count, size + 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(c.seen[size + i], size - 4 + i);
	stop(&c);
	assert_true(c.rewinds >= 2);
	assert_int_equal(cursor("test:settled"), size + 1 - 4);
}

static void long_runs_come_in_batches_and_at_the_end_only_what_is_new(void **state)
{
	struct consumer c, late;
	(void)state;
	write_some(600);
	consumer_init(&c, "test:batch");
	consumer_init(&late, "test:late");
	late.next = t_feed_rig_size(&R);
	start(&late, &PLAIN, (struct feed_config){ .starts_at_end = true });
	start(&c, &PLAIN, (struct feed_config){ 0 });
	wait_for(&c, &c.count, t_feed_rig_size(&R));
	assert_true(c.calls >= 3);
	write_some(2);
	wait_for(&late, &late.count, 2);
	stop(&c);
	stop(&late);
	assert_int_equal(late.count, 2);
}

static void who_keeps_its_cursor_is_asked_for_it_and_nothing_is_written(void **state)
{
	struct consumer c;
	uint64_t size = t_feed_rig_size(&R);
	(void)state;
	consumer_init(&c, "test:own");
	c.next = size - 3;
	start(&c, &FULL, (struct feed_config){ .keeps_cursor = true });
	wait_for(&c, &c.count, 3);
	stop(&c);
	assert_int_equal(c.seen[0], size - 3);
	assert_int_equal(cursor("test:own"), 0);
}

static void a_leaf_that_cannot_be_read_holds_up_nobody(void **state)
{
	struct consumer c;
	sqlite3 *db = NULL;
	uint64_t size = t_feed_rig_size(&R);
	(void)state;
	assert_int_equal(sqlite3_open(R.store->path, &db), SQLITE_OK);
	if (sqlite3_exec(db, "UPDATE event SET leaf = CAST('no leaf at all' AS BLOB) WHERE seq = 5", NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s", sqlite3_errmsg(db));
	(void)sqlite3_close(db);
	consumer_init(&c, "test:odd");
	log_setup(LOG_ERROR, false);
	start(&c, &PLAIN, (struct feed_config){ 0 });
	wait_for(&c, &c.count, size);
	assert_int_equal(c.bodiless, 5);
	stop(&c);
}

static kms_status open_domain(void *arg, struct store **ret_store, struct kms_err *err)
{
	return store_open_sqlite(((struct t_domain *)arg)->store->path, STORE_READ, ret_store, err);
}

static void nothing_is_handed_on_from_a_log_that_was_rolled_back(void **state)
{
	static struct t_domain d;
	const struct log_verdict verdict = { .state = LOG_ROLLED_BACK, .why = "an older copy" };
	struct checkpointer_config sign = { .interval_ms = 100, .leaves = 1000, .pin_s = 60, .heartbeat_s = 60, .late_ms = 5000, .verdict = &verdict };
	struct consumer c, index;
	struct writer_state w;
	struct write unit = { .event = { .type = EVENT_KEY_GET } };
	uint64_t seq = 99;
	(void)state;
	log_setup(LOG_ERROR + 1, false); /* its alarm is expected */
	t_domain_open(&d);
	t_domain_sign(&d, &sign);
	consumer_init(&c, "test:bad");
	consumer_init(&index, "test:always");
	start(&c, &PLAIN, (struct feed_config){ .kms = &d.kms, .open_store = open_domain, .open_arg = &d });
	start(&index, &PLAIN, (struct feed_config){ .kms = &d.kms, .open_store = open_domain, .open_arg = &d, .runs_always = true });
	assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	writer_state(d.kms.writer, &w);
	wait_for(&index, &index.count, w.size);
	stop(&index);
	stop(&c);
	assert_int_equal(c.calls, 0);
	assert_int_equal(store_cursor(d.store->r, "test:bad", &seq, NULL), KMS_OK);
	assert_int_equal(seq, 0);
	t_domain_close(&d);
	log_setup(LOG_ERROR, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaves_come_in_order_and_a_restart_goes_on_where_it_was),
		cmocka_unit_test(a_cursor_beyond_the_log_begins_again),
		cmocka_unit_test(a_failure_loses_nothing_and_is_shown),
		cmocka_unit_test(what_was_taken_of_a_run_that_fails_does_not_come_again),
		cmocka_unit_test(those_that_are_told_first_stop_at_the_same_time),
		cmocka_unit_test(what_is_not_settled_comes_again),
		cmocka_unit_test(long_runs_come_in_batches_and_at_the_end_only_what_is_new),
		cmocka_unit_test(who_keeps_its_cursor_is_asked_for_it_and_nothing_is_written),
		cmocka_unit_test(a_leaf_that_cannot_be_read_holds_up_nobody),
		cmocka_unit_test(nothing_is_handed_on_from_a_log_that_was_rolled_back),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
