/* The writer over a store in memory: what is in one batch, what each unit is told, and that tree and store always agree. */
#include "server/core/writer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <cmocka.h>

#include "server/base/log.h"
#include "tests/support/mem_store.h"

#define START_WALL_US 1795284000000000
#define START_MONO_US 5000000
#define S_US 1000000

struct fake_clock {
	struct clock base;
	_Atomic int64_t wall, mono;
};

static int64_t fake_wall(const struct clock *c) { return atomic_load(&((const struct fake_clock *)c)->wall); }
static int64_t fake_mono(const struct clock *c) { return atomic_load(&((const struct fake_clock *)c)->mono); }

struct scene {
	struct store *store;
	struct fake_clock clock;
	struct writer *writer;
};

static void advance(struct scene *s, int64_t us)
{
	atomic_fetch_add(&s->clock.wall, us);
	atomic_fetch_add(&s->clock.mono, us);
}

static kms_status try_start(struct scene *s, size_t capacity, struct kms_err *err)
{
	struct writer_config cfg = { .store = s->store, .clock = &s->clock.base, .node = "node-a", .origin = "kms.test/log1", .capacity = capacity };
	return writer_start(&cfg, &s->writer, err);
}

static void setup(struct scene *s, size_t capacity)
{
	struct kms_err err = { 0 };
	memset(s, 0, sizeof(*s));
	s->clock.base = (struct clock){ .wall_us = fake_wall, .mono_us = fake_mono };
	atomic_store(&s->clock.wall, START_WALL_US);
	atomic_store(&s->clock.mono, START_MONO_US);
	s->store = mem_store_new();
	assert_int_equal(try_start(s, capacity, &err), KMS_OK);
}

/* Rebuild the tree from the stored leaves and compare it with what the writer says (or, when it is gone, only check each leaf). */
static json_t *checked_leaf(struct scene *s, uint64_t seq)
{
	const struct store_event *row = mem_store_event(s->store, seq);
	uint8_t hash[MERKLE_HASH_LEN];
	json_t *o = json_loadb(row->leaf, row->leaf_len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	assert_int_equal(json_integer_value(json_object_get(o, "seq")), seq);
	assert_int_equal(row->seq, seq);
	merkle_leaf_hash(row->leaf, row->leaf_len, hash);
	assert_memory_equal(hash, row->hash, sizeof(hash));
	return o;
}

static kms_status drop(void *arg, unsigned level, uint64_t position, const uint8_t hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	(void)arg, (void)level, (void)position, (void)hash, (void)err;
	return KMS_OK;
}

static void check_log(struct scene *s, const struct writer_state *shown)
{
	struct merkle_edge e = { 0 };
	uint8_t root[MERKLE_HASH_LEN];
	int64_t mono = -1;
	char boot[17] = "";
	for (uint64_t seq = 0; seq < mem_store_count(s->store); seq++) {
		json_t *o = checked_leaf(s, seq);
		if (strcmp(boot, json_string_value(json_object_get(o, "boot"))) != 0)
			mono = -1;
		(void)snprintf(boot, sizeof(boot), "%s", json_string_value(json_object_get(o, "boot")));
		assert_true(json_integer_value(json_object_get(o, "mono")) >= mono);
		mono = json_integer_value(json_object_get(o, "mono"));
		assert_int_equal(merkle_append(&e, mem_store_event(s->store, seq)->hash, drop, NULL, NULL), KMS_OK);
		json_decref(o);
	}
	if (shown == NULL)
		return;
	merkle_root(&e, root);
	assert_int_equal(shown->size, mem_store_count(s->store));
	assert_memory_equal(shown->root, root, sizeof(root));
}

static void finish(struct scene *s)
{
	writer_stop(s->writer);
	check_log(s, NULL);
	store_close(s->store);
}

static void assert_type(struct scene *s, uint64_t seq, const char *type)
{
	json_t *o = checked_leaf(s, seq);
	assert_string_equal(json_string_value(json_object_get(o, "type")), type);
	json_decref(o);
}

static int64_t number_in(struct scene *s, uint64_t seq, const char *name)
{
	json_t *o = checked_leaf(s, seq);
	int64_t n = json_integer_value(json_object_get(o, name));
	json_decref(o);
	return n;
}

/* A unit whose answer a test waits for. */
struct answered {
	struct write unit; /* first */
	pthread_mutex_t *lock;
	pthread_cond_t *changed;
	int *count;
};

struct answers {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int count;
	struct answered items[300];
};

static void on_done(struct write *w)
{
	struct answered *a = (struct answered *)w;
	pthread_mutex_lock(a->lock);
	(*a->count)++;
	pthread_cond_broadcast(a->changed);
	pthread_mutex_unlock(a->lock);
}

static struct answers *answers_new(void)
{
	struct answers *all = calloc(1, sizeof(*all));
	assert_non_null(all);
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	for (size_t i = 0; i < KMS_ARRAY_LEN(all->items); i++) {
		all->items[i] = (struct answered){ .lock = &all->lock, .changed = &all->changed, .count = &all->count };
		all->items[i].unit.event.type = EVENT_KEY_UNWRAP;
		all->items[i].unit.done = on_done;
	}
	return all;
}

static void wait_for(struct answers *all, int count)
{
	pthread_mutex_lock(&all->lock);
	while (all->count < count)
		pthread_cond_wait(&all->changed, &all->lock);
	pthread_mutex_unlock(&all->lock);
}

static void answers_free(struct answers *all)
{
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

/* With the writer held in the transaction of items[0], submit items[1..count]: they will make one batch. */
static void submit_as_one_batch(struct scene *s, struct answers *all, int count)
{
	mem_store_hold(s->store);
	assert_int_equal(writer_submit(s->writer, &all->items[0].unit), KMS_OK);
	mem_store_wait_held(s->store);
	for (int i = 1; i <= count; i++)
		assert_int_equal(writer_submit(s->writer, &all->items[i].unit), KMS_OK);
}

static void an_empty_log_begins_with_init_and_start_and_ends_with_stop(void **state)
{
	struct scene s;
	json_t *o, *det;
	(void)state;
	setup(&s, 8);
	advance(&s, 1500);
	writer_stop(s.writer);
	assert_int_equal(mem_store_count(s.store), 3);
	o = checked_leaf(&s, 0);
	det = json_object_get(o, "det");
	assert_string_equal(json_string_value(json_object_get(o, "type")), "log.init");
	assert_string_equal(json_string_value(json_object_get(det, "hash")), "sha256");
	assert_string_equal(json_string_value(json_object_get(det, "origin")), "kms.test/log1");
	assert_string_equal(json_string_value(json_object_get(det, "profile")), "kel/1");
	assert_string_equal(json_string_value(json_object_get(o, "ts")), "2026-11-21T18:00:00.000000Z");
	assert_int_equal(json_integer_value(json_object_get(o, "mono")), 0);
	json_decref(o);
	assert_type(&s, 1, "node.start");
	assert_type(&s, 2, "node.stop");
	assert_int_equal(number_in(&s, 2, "mono"), 1500);
	/* The next run goes on, under another boot id. */
	assert_int_equal(try_start(&s, 8, NULL), KMS_OK);
	writer_stop(s.writer);
	assert_int_equal(mem_store_count(s.store), 5);
	assert_type(&s, 3, "node.start");
	json_t *first = checked_leaf(&s, 2), *second = checked_leaf(&s, 3);
	assert_string_not_equal(json_string_value(json_object_get(first, "boot")), json_string_value(json_object_get(second, "boot")));
	json_decref(first);
	json_decref(second);
	check_log(&s, NULL);
	store_close(s.store);
}

static void a_written_unit_has_its_seq_and_the_hash_of_its_stored_leaf(void **state)
{
	struct scene s;
	struct writer_state shown;
	struct store_change intent = { .kind = STORE_INTENT_OPEN };
	struct write w = { .event = { .type = EVENT_KEY_CREATE, .phase = EVENT_INTENT, .result = EVENT_PENDING, .has_tenant = true, .tenant = { 7 } },
		           .changes = &intent, .change_count = 1 };
	(void)state;
	setup(&s, 8);
	assert_int_equal(writer_write(s.writer, &w), KMS_OK);
	assert_int_equal(w.seq, 2);
	writer_state(s.writer, &shown);
	assert_int_equal(shown.units, 1);
	assert_false(shown.is_failing);
	check_log(&s, &shown);
	assert_memory_equal(mem_store_event(s.store, 2)->hash, w.leaf_hash, sizeof(w.leaf_hash));
	assert_memory_equal(mem_store_event(s.store, 2)->vault_id, w.event.tenant, GUID_LEN);
	assert_int_equal(mem_store_intent_seq(s.store), 2);
	finish(&s);
}

static void one_batch_holds_good_units_and_refuses_each_other_one_for_its_own_reason(void **state)
{
	static const struct store_change TAKEN = { .kind = STORE_KEY_ADD }, EXISTS = { .kind = STORE_ROLE_ADD }, GONE = { .kind = STORE_ROLE_REMOVE };
	struct scene s;
	struct writer_state before, after;
	struct answers *all = answers_new();
	(void)state;
	setup(&s, 64);
	all->items[2].unit.has_fence = all->items[3].unit.has_fence = true;
	all->items[2].unit.fence.key_epoch = MEM_FIRST_EPOCH + 1; /* not that */
	all->items[3].unit.fence.key_epoch = MEM_FIRST_EPOCH;
	all->items[4].unit.changes = &TAKEN;
	all->items[5].unit.changes = &EXISTS;
	all->items[6].unit.changes = &GONE;
	for (int i = 4; i <= 6; i++)
		all->items[i].unit.change_count = 1;
	submit_as_one_batch(&s, all, 7);
	writer_state(s.writer, &before);
	mem_store_release(s.store);
	wait_for(all, 8);
	static const kms_status EXPECTED[] = { KMS_OK, KMS_OK, KMS_E_FENCED, KMS_OK, KMS_E_FENCED, KMS_E_CONFLICT, KMS_E_NOTFOUND, KMS_OK };
	static const uint64_t SEQ[] = { 2, 3, 0, 4, 0, 0, 0, 5 };
	for (int i = 0; i <= 7; i++) {
		assert_int_equal(all->items[i].unit.status, EXPECTED[i]);
		if (EXPECTED[i] == KMS_OK)
			assert_int_equal(all->items[i].unit.seq, SEQ[i]);
	}
	writer_state(s.writer, &after);
	assert_int_equal(after.commits, before.commits + 2); /* the first alone, then seven as one */
	assert_int_equal(after.size, 6);
	assert_int_equal(after.refused, 0);
	check_log(&s, &after);
	finish(&s);
	answers_free(all);
}

static void a_change_fences_the_units_behind_it_in_the_same_batch(void **state)
{
	static const struct store_change REVOKE = { .kind = STORE_KEY_DELETE };
	struct scene s;
	struct answers *all = answers_new();
	(void)state;
	setup(&s, 64);
	for (int i = 0; i <= 3; i++) {
		all->items[i].unit.has_fence = true;
		all->items[i].unit.fence.key_epoch = MEM_FIRST_EPOCH;
	}
	all->items[2].unit.changes = &REVOKE;
	all->items[2].unit.change_count = 1;
	submit_as_one_batch(&s, all, 3);
	mem_store_release(s.store);
	wait_for(all, 4);
	assert_int_equal(all->items[1].unit.status, KMS_OK);
	assert_int_equal(all->items[2].unit.status, KMS_OK);
	assert_int_equal(all->items[3].unit.status, KMS_E_FENCED);
	finish(&s);
	answers_free(all);
}

static void a_batch_of_refused_units_commits_nothing(void **state)
{
	struct scene s;
	struct writer_state before, after;
	struct write w = { .event = { .type = EVENT_KEY_UNWRAP }, .has_fence = true, .fence = { .key_epoch = 99 } };
	(void)state;
	setup(&s, 8);
	writer_state(s.writer, &before);
	assert_int_equal(writer_write(s.writer, &w), KMS_E_FENCED);
	writer_state(s.writer, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_false(mem_store_in_transaction(s.store));
	finish(&s);
}

static void a_failed_batch_leaves_tree_and_size_and_the_first_leaf_after_it_counts_the_gap(void **state)
{
	static const struct store_change REVOKE = { .kind = STORE_KEY_DELETE };
	struct scene s;
	struct writer_state before, failed, after;
	struct answers *all = answers_new();
	struct write w = { .event = { .type = EVENT_KEY_GET } };
	(void)state;
	setup(&s, 64);
	all->items[3].unit.changes = &REVOKE;
	all->items[3].unit.change_count = 1;
	all->items[4].unit.has_fence = true;
	all->items[4].unit.fence.key_epoch = 77; /* would be fenced, but nothing read in a failed batch counts */
	writer_state(s.writer, &before);
	mem_store_set_full(s.store, true);
	submit_as_one_batch(&s, all, 9);
	mem_store_release(s.store);
	wait_for(all, 10);
	for (int i = 0; i <= 9; i++)
		assert_int_equal(all->items[i].unit.status, KMS_E_AUDIT);
	writer_state(s.writer, &failed);
	assert_true(failed.is_failing);
	assert_int_equal(failed.size, before.size);
	assert_memory_equal(failed.root, before.root, sizeof(before.root));
	assert_int_equal(failed.refused, 10);
	assert_int_equal(mem_store_epoch(s.store), MEM_FIRST_EPOCH);
	writer_count_refused(s.writer); /* requests answered 503 meanwhile */
	writer_count_refused(s.writer);

	mem_store_set_full(s.store, false);
	assert_int_equal(writer_write(s.writer, &w), KMS_OK);
	writer_state(s.writer, &after);
	assert_false(after.is_failing);
	assert_int_equal(w.seq, before.size + 1);
	assert_type(&s, before.size, "log.gap");
	assert_int_equal(number_in(&s, before.size, "count"), 12);
	assert_type(&s, w.seq, "key.get");
	check_log(&s, &after);
	finish(&s);
	assert_int_equal(after.refused, 12);
	answers_free(all);
}

static void a_writer_that_nobody_asks_recovers_alone(void **state)
{
	struct scene s;
	struct write w = { .event = { .type = EVENT_KEY_GET } };
	(void)state;
	setup(&s, 8);
	mem_store_set_full(s.store, true);
	assert_int_equal(writer_write(s.writer, &w), KMS_E_AUDIT);
	mem_store_set_full(s.store, false);
	advance(&s, 2 * S_US);
	mem_store_wait_count(s.store, 3);
	writer_stop(s.writer);
	assert_type(&s, 2, "log.gap");
	assert_type(&s, 3, "node.stop");
	assert_int_equal(number_in(&s, 2, "count"), 1);
	store_close(s.store);
}

static void a_step_of_the_wall_clock_is_a_leaf_of_its_own(void **state)
{
	struct scene s;
	struct write w = { .event = { .type = EVENT_KEY_GET } };
	struct store_change intent = { .kind = STORE_INTENT_OPEN };
	json_t *o, *det;
	(void)state;
	setup(&s, 8);
	advance(&s, 3600LL * S_US); /* time passing is no step */
	assert_int_equal(writer_write(s.writer, &w), KMS_OK);
	assert_int_equal(w.seq, 2);
	atomic_fetch_add(&s.clock.wall, 2 * S_US); /* not more than 2 s */
	assert_int_equal(writer_write(s.writer, &w), KMS_OK);
	assert_int_equal(w.seq, 3);
	atomic_fetch_sub(&s.clock.wall, 3600LL * S_US);
	w.changes = &intent;
	w.change_count = 1;
	assert_int_equal(writer_write(s.writer, &w), KMS_OK);
	assert_int_equal(w.seq, 5);
	assert_int_equal(mem_store_intent_seq(s.store), 5);
	o = checked_leaf(&s, 4);
	det = json_object_get(o, "det");
	assert_string_equal(json_string_value(json_object_get(o, "type")), "log.clock");
	assert_string_equal(json_string_value(json_object_get(det, "from")), "2026-11-21T19:00:02.000000Z");
	assert_string_equal(json_string_value(json_object_get(det, "to")), "2026-11-21T18:00:02.000000Z");
	assert_int_equal(json_integer_value(json_object_get(det, "delta_ms")), -3600000);
	json_decref(o);
	/* A boot-time clock that fell would be a kernel's fault; order is kept all the same. */
	atomic_fetch_sub(&s.clock.mono, S_US);
	w.change_count = 0;
	assert_int_equal(writer_write(s.writer, &w), KMS_OK);
	finish(&s);
}

static void a_clock_before_the_last_leaf_is_refused_at_start(void **state)
{
	struct scene s;
	struct kms_err err = { 0 };
	(void)state;
	setup(&s, 8);
	writer_stop(s.writer);
	atomic_fetch_sub(&s.clock.wall, 90 * S_US + 250000);
	assert_int_equal(try_start(&s, 8, &err), KMS_E_AUDIT);
	assert_non_null(strstr(err.detail, "90.250000 s before"));
	assert_int_equal(mem_store_count(s.store), 3);
	store_close(s.store);
}

static void a_damaged_log_is_refused_at_start(void **state)
{
	(void)state;
	for (int damage = 0; damage < 4; damage++) {
		struct scene s;
		struct kms_err err = { 0 };
		struct write w = { .event = { .type = EVENT_KEY_GET } };
		setup(&s, 8);
		for (int i = 0; i < 9; i++)
			assert_int_equal(writer_write(s.writer, &w), KMS_OK);
		writer_stop(s.writer); /* 12 leaves: edges at levels 2 and 3 */
		assert_int_equal(mem_store_count(s.store), 12);
		if (damage == 0)
			mem_store_damage_leaf(s.store, 11);
		else if (damage == 1)
			mem_store_damage_node(s.store, 2, 2);
		else if (damage == 2)
			mem_store_damage_node(s.store, 1, 4);
		else
			mem_store_lose_node(s.store, 3);
		assert_int_equal(try_start(&s, 8, &err), KMS_E_AUDIT);
		assert_non_null(strstr(err.detail, "damaged"));
		assert_int_equal(mem_store_count(s.store), 12);
		store_close(s.store);
	}
}

static void refusals_before_authentication_are_coalesced_by_reason_vault_and_peer(void **state)
{
	static const uint8_t VAULT[GUID_LEN] = { 1 };
	struct scene s;
	struct write w = { .event = { .type = EVENT_KEY_GET } };
	uint64_t first;
	json_t *o;
	(void)state;
	setup(&s, 8);
	for (int i = 0; i < 5; i++)
		writer_count_denied(s.writer, "Unauthorized", VAULT, "192.0.2.0");
	writer_count_denied(s.writer, "Unauthorized", NULL, "192.0.2.0");
	writer_count_denied(s.writer, "Unauthorized", VAULT, "198.51.100.0");
	assert_int_equal(writer_write(s.writer, &w), KMS_OK);
	assert_int_equal(w.seq, 2); /* its second is not over */
	advance(&s, S_US);
	assert_int_equal(writer_write(s.writer, &w), KMS_OK);
	/* With this unit, or before it when the writer woke up by itself in between. */
	assert_true(w.seq == 3 || w.seq == 6);
	first = w.seq == 3 ? 4 : 3;
	writer_count_denied(s.writer, "Unauthorized", VAULT, "192.0.2.0");
	writer_stop(s.writer);
	assert_int_equal(mem_store_count(s.store), 9);
	o = checked_leaf(&s, first);
	assert_string_equal(json_string_value(json_object_get(o, "type")), "authz.denied");
	assert_string_equal(json_string_value(json_object_get(o, "result")), "denied");
	assert_string_equal(json_string_value(json_object_get(o, "err")), "Unauthorized");
	assert_string_equal(json_string_value(json_object_get(json_object_get(o, "net"), "peer")), "192.0.2.0");
	assert_string_equal(json_string_value(json_object_get(o, "tenant")), "01000000-0000-0000-0000-000000000000");
	json_decref(o);
	assert_int_equal(number_in(&s, first, "count"), 5);
	assert_int_equal(number_in(&s, first + 1, "count"), 1);
	assert_int_equal(number_in(&s, first + 2, "count"), 1);
	assert_int_equal(number_in(&s, 7, "count"), 1); /* what came after that flush */
	assert_type(&s, 8, "node.stop");
	store_close(s.store);
}

static void more_peers_than_are_kept_are_counted_together_and_none_is_lost(void **state)
{
	struct scene s;
	int64_t total = 0;
	size_t leaves = 0, without_peer = 0;
	(void)state;
	setup(&s, 8);
	for (int i = 0; i < 1000; i++) {
		char peer[32];
		(void)snprintf(peer, sizeof(peer), "10.%d.%d.0", i / 256, i % 256);
		writer_count_denied(s.writer, i % 2 == 0 ? "even" : "odd", NULL, peer);
	}
	writer_stop(s.writer);
	for (uint64_t seq = 2; seq + 1 < mem_store_count(s.store); seq++) {
		json_t *o = checked_leaf(&s, seq);
		total += json_integer_value(json_object_get(o, "count"));
		without_peer += json_object_get(o, "net") == NULL;
		leaves++;
		json_decref(o);
	}
	assert_int_equal(total, 1000);
	assert_int_equal(leaves, 256 + 2);
	assert_int_equal(without_peer, 2);
	store_close(s.store);
}

static void counted_refusals_outlive_a_failed_batch(void **state)
{
	struct scene s;
	struct write w = { .event = { .type = EVENT_KEY_GET } };
	(void)state;
	setup(&s, 8);
	writer_count_denied(s.writer, "Unauthorized", NULL, "192.0.2.0");
	advance(&s, S_US);
	mem_store_set_full(s.store, true);
	assert_int_equal(writer_write(s.writer, &w), KMS_E_AUDIT);
	writer_count_denied(s.writer, "Unauthorized", NULL, "192.0.2.0");
	mem_store_set_full(s.store, false);
	writer_stop(s.writer);
	assert_int_equal(mem_store_count(s.store), 5);
	assert_type(&s, 2, "log.gap");
	assert_type(&s, 3, "authz.denied");
	assert_int_equal(number_in(&s, 3, "count"), 2);
	assert_type(&s, 4, "node.stop");
	store_close(s.store);
}

static void a_full_queue_refuses_and_stopping_writes_what_waits(void **state)
{
	struct scene s;
	struct answers *all = answers_new();
	(void)state;
	setup(&s, 3);
	submit_as_one_batch(&s, all, 3);
	assert_int_equal(writer_submit(s.writer, &all->items[4].unit), KMS_E_THROTTLED);
	mem_store_release(s.store);
	writer_stop(s.writer);
	assert_int_equal(all->count, 4);
	for (int i = 0; i <= 3; i++)
		assert_int_equal(all->items[i].unit.status, KMS_OK);
	assert_int_equal(mem_store_count(s.store), 2 + 4 + 1);
	assert_type(&s, 6, "node.stop");
	store_close(s.store);
	answers_free(all);
}

static void a_batch_is_at_most_256_units(void **state)
{
	struct scene s;
	struct writer_state shown;
	struct answers *all = answers_new();
	(void)state;
	setup(&s, 512);
	submit_as_one_batch(&s, all, 299);
	mem_store_release(s.store);
	wait_for(all, 300);
	writer_state(s.writer, &shown);
	assert_int_equal(shown.commits, 3);
	check_log(&s, &shown);
	finish(&s);
	answers_free(all);
}

static void truncation_is_done_when_it_returns_and_says_when_it_failed(void **state)
{
	struct scene s;
	struct kms_err err = { 0 };
	(void)state;
	setup(&s, 8);
	assert_int_equal(writer_truncate(s.writer, &err), KMS_OK);
	assert_int_equal(mem_store_truncations(s.store), 1);
	mem_store_fail_call(s.store, 0, 5);
	assert_int_equal(writer_truncate(s.writer, &err), KMS_E_STORE);
	assert_int_equal(err.native, 5);
	finish(&s);
}

struct load {
	struct writer *writer;
	pthread_t thread;
	int written, fenced;
};

static void *submit_load(void *arg)
{
	static const struct store_change RAISE = { .kind = STORE_KEY_DELETE };
	struct load *l = arg;
	for (int i = 0; i < 250; i++) {
		struct write w = { .event = { .type = EVENT_KEY_UNWRAP }, .has_fence = i % 3 == 0, .fence = { .key_epoch = MEM_FIRST_EPOCH } };
		kms_status status;
		if (i == 200) {
			w.changes = &RAISE;
			w.change_count = 1;
		}
		writer_count_denied(l->writer, "Unauthorized", NULL, "192.0.2.0");
		status = writer_write(l->writer, &w);
		l->written += status == KMS_OK;
		l->fenced += status == KMS_E_FENCED;
	}
	return NULL;
}

static void many_threads_submit_at_once_and_every_acknowledged_unit_has_its_leaf(void **state)
{
	struct scene s;
	struct load loads[8];
	struct writer_state shown;
	int written = 0, fenced = 0;
	(void)state;
	setup(&s, 64);
	for (size_t i = 0; i < KMS_ARRAY_LEN(loads); i++) {
		loads[i] = (struct load){ .writer = s.writer };
		assert_int_equal(pthread_create(&loads[i].thread, NULL, submit_load, &loads[i]), 0);
	}
	for (int i = 0; i < 100; i++) {
		advance(&s, S_US / 10);
		writer_state(s.writer, &shown);
		if (i % 10 == 0)
			assert_int_equal(writer_truncate(s.writer, NULL), KMS_OK);
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(loads); i++) {
		assert_int_equal(pthread_join(loads[i].thread, NULL), 0);
		written += loads[i].written;
		fenced += loads[i].fenced;
	}
	assert_int_equal(written + fenced, 8 * 250);
	assert_true(fenced > 0);
	writer_state(s.writer, &shown);
	assert_int_equal(shown.units, written);
	finish(&s);
}

static int quiet(void **state)
{
	(void)state;
	log_setup((enum log_level)(LOG_ERROR + 1), true); /* above all levels: the failures that these tests cause are not news */
	return 0;
}

static struct store_change checkpoint_of(uint64_t size)
{
	static char note[] = "a note\n";
	return (struct store_change){ .kind = STORE_CHECKPOINT_ADD, .checkpoint = { .size = size, .note = note } };
}

static kms_status write_checkpoint(struct scene *s, uint64_t size)
{
	struct store_change change = checkpoint_of(size);
	struct write unit = { .changes = &change, .change_count = 1 };

	return writer_write(s->writer, &unit);
}

static void a_unit_without_a_leaf_is_committed_and_adds_none(void **state)
{
	struct scene s;
	struct store_signed found = { 0 };
	struct writer_state before, after;
	(void)state;
	setup(&s, 8);
	writer_state(s.writer, &before);
	assert_int_equal(write_checkpoint(&s, 2), KMS_OK);
	assert_int_equal(store_checkpoint_of(s.store, 2, &found, NULL), KMS_OK);
	store_signed_clear(&found);
	assert_int_equal(write_checkpoint(&s, 2), KMS_E_CONFLICT); /* its own answer, and no failure of the log */
	writer_state(s.writer, &after);
	assert_int_equal(after.size, before.size);
	assert_false(after.is_failing);
	assert_int_equal(after.commits, before.commits + 1);
	finish(&s);
	assert_int_equal(before.size, 2);
}

static void it_is_written_with_the_batch_or_lost_with_it(void **state)
{
	struct scene s;
	struct answers *all = answers_new();
	struct store_change change = checkpoint_of(2);
	struct store_signed found = { 0 };
	(void)state;
	setup(&s, 8);
	all->items[1].unit.event.type = EVENT_NONE;
	all->items[1].unit.changes = &change;
	all->items[1].unit.change_count = 1;
	submit_as_one_batch(&s, all, 2);
	mem_store_release(s.store);
	wait_for(all, 3);
	assert_int_equal(all->items[1].unit.status, KMS_OK);
	assert_int_equal(all->items[2].unit.status, KMS_OK);
	assert_int_equal(all->items[2].unit.seq, 3); /* log.init, node.start, items[0] */
	assert_int_equal(store_checkpoint_of(s.store, 2, &found, NULL), KMS_OK);
	store_signed_clear(&found);
	/* The disk is full: nobody was refused by what has no leaf, so no gap tells of it. */
	mem_store_set_full(s.store, true);
	assert_int_equal(write_checkpoint(&s, 3), KMS_E_AUDIT);
	mem_store_set_full(s.store, false);
	assert_int_equal(write_checkpoint(&s, 3), KMS_OK);
	writer_stop(s.writer);
	assert_int_equal(mem_store_count(s.store), 5);
	assert_type(&s, 4, "node.stop");
	check_log(&s, NULL);
	store_close(s.store);
	answers_free(all);
}

static void an_event_id_carries_its_seq(void **state)
{
	struct scene s;
	uint8_t random[GUID_LEN];
	uint64_t seq = 99;
	(void)state;
	setup(&s, 8);
	for (int i = 0; i < 300; i++) {
		struct write unit = { .event = { .type = EVENT_KEY_GET } };
		assert_int_equal(writer_write(s.writer, &unit), KMS_OK);
	}
	writer_stop(s.writer);
	for (uint64_t i = 0; i < mem_store_count(s.store); i++) {
		const struct store_event *e = mem_store_event(s.store, i);
		char text[GUID_TEXT_LEN + 1];
		json_t *o = checked_leaf(&s, i);
		assert_true(writer_event_seq(e->id, &seq));
		assert_int_equal(seq, i);
		guid_format(e->id, text);
		assert_string_equal(json_string_value(json_object_get(o, "id")), text);
		assert_int_equal(text[14], '8'); /* RFC 9562 section 5.8 */
		json_decref(o);
	}
	assert_true(guid_random(random));
	assert_false(writer_event_seq(random, &seq)); /* what older versions wrote */
	store_close(s.store);
}

static void a_log_that_follows_another_says_so_in_its_first_leaves(void **state)
{
	const struct event_approver approver = { .pid = { 5 }, .at_us = START_WALL_US, .cred = "jwt" };
	const struct writer_former former = { .origin = "kms.test/log1", .known_size = 70, .known_root = { 3 }, .restored_size = 50, .approver_count = 1,
		                              .approvers = &approver };
	struct scene s;
	struct writer_config cfg = { .node = "node-a", .origin = "kms.test/log2", .vkey = "kms.test/log2+00000000+AAAA", .former = &former, .log_state = "rolled_back",
		                     .capacity = 8 };
	json_t *o, *det;
	(void)state;
	setup(&s, 8);
	writer_stop(s.writer);
	store_close(s.store);
	s.store = mem_store_new();
	cfg.store = s.store;
	cfg.clock = &s.clock.base;
	assert_int_equal(writer_start(&cfg, &s.writer, NULL), KMS_OK);
	writer_stop(s.writer);
	o = checked_leaf(&s, 0);
	det = json_object_get(o, "det");
	assert_string_equal(json_string_value(json_object_get(det, "origin")), "kms.test/log2");
	assert_string_equal(json_string_value(json_object_get(det, "vkey")), cfg.vkey);
	assert_string_equal(json_string_value(json_object_get(det, "old_origin")), "kms.test/log1");
	assert_int_equal(json_integer_value(json_object_get(det, "old_size")), 70);
	assert_int_equal(strlen(json_string_value(json_object_get(det, "old_root"))), 44);
	assert_int_equal(json_integer_value(json_object_get(det, "restored_size")), 50);
	assert_int_equal(json_array_size(json_object_get(o, "appr")), 1);
	json_decref(o);
	assert_type(&s, 1, "log.restored");
	assert_type(&s, 2, "node.start");
	o = checked_leaf(&s, 2);
	assert_string_equal(json_string_value(json_object_get(json_object_get(o, "det"), "log")), "rolled_back");
	json_decref(o);
	store_close(s.store);
}

/* A witness knows how large it was, and no root: zeros would be taken for one. */
static void a_root_that_nobody_knows_is_left_out(void **state)
{
	const struct writer_former former = { .origin = "kms.test/log1", .known_size = 70, .restored_size = 50 };
	struct scene s;
	struct writer_config cfg = { .node = "node-a", .origin = "kms.test/log2", .vkey = "kms.test/log2+00000000+AAAA", .former = &former, .capacity = 8 };
	json_t *o, *det;
	(void)state;
	setup(&s, 8);
	writer_stop(s.writer);
	store_close(s.store);
	s.store = mem_store_new();
	cfg.store = s.store;
	cfg.clock = &s.clock.base;
	assert_int_equal(writer_start(&cfg, &s.writer, NULL), KMS_OK);
	writer_stop(s.writer);
	o = checked_leaf(&s, 0);
	det = json_object_get(o, "det");
	assert_int_equal(json_integer_value(json_object_get(det, "old_size")), 70);
	assert_null(json_object_get(det, "old_root"));
	json_decref(o);
	store_close(s.store);
}

static void count_commit(void *arg, uint64_t size) { *(uint64_t *)arg = size; }

static void who_asks_is_told_of_new_leaves_only(void **state)
{
	struct scene s;
	struct write unit = { .event = { .type = EVENT_KEY_GET } };
	uint64_t told = 0, other = 0;
	(void)state;
	setup(&s, 8);
	assert_true(writer_on_commit(s.writer, count_commit, &told));
	assert_int_equal(write_checkpoint(&s, 2), KMS_OK);
	assert_true(writer_on_commit(s.writer, count_commit, &told)); /* also waits until it is not running */
	assert_int_equal(told, 0);
	assert_true(writer_on_commit(s.writer, count_commit, &other));
	assert_int_equal(writer_write(s.writer, &unit), KMS_OK);
	writer_off_commit(s.writer, &told);
	assert_int_equal(told, 3);
	assert_int_equal(other, 3);
	unit = (struct write){ .event = { .type = EVENT_KEY_GET } };
	assert_int_equal(writer_write(s.writer, &unit), KMS_OK);
	writer_off_commit(s.writer, &other);
	writer_off_commit(s.writer, &other);
	assert_int_equal(told, 3);
	assert_int_equal(other, 4);
	finish(&s);
}

static void listeners_are_bounded_and_one_that_leaves_makes_room(void **state)
{
	struct scene s;
	struct write unit = { .event = { .type = EVENT_KEY_GET } };
	uint64_t told[WRITER_LISTENERS_MAX + 1] = { 0 };
	(void)state;
	setup(&s, 8);
	for (size_t i = 0; i < WRITER_LISTENERS_MAX; i++)
		assert_true(writer_on_commit(s.writer, count_commit, &told[i]));
	assert_false(writer_on_commit(s.writer, count_commit, &told[WRITER_LISTENERS_MAX]));
	writer_off_commit(s.writer, &told[1]);
	assert_true(writer_on_commit(s.writer, count_commit, &told[WRITER_LISTENERS_MAX]));
	assert_int_equal(writer_write(s.writer, &unit), KMS_OK);
	for (size_t i = 0; i <= WRITER_LISTENERS_MAX; i++) {
		writer_off_commit(s.writer, &told[i]);
		assert_int_equal(told[i], i == 1 ? 0 : 3);
	}
	finish(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_unit_without_a_leaf_is_committed_and_adds_none),
		cmocka_unit_test(it_is_written_with_the_batch_or_lost_with_it),
		cmocka_unit_test(an_event_id_carries_its_seq),
		cmocka_unit_test(a_log_that_follows_another_says_so_in_its_first_leaves),
		cmocka_unit_test(a_root_that_nobody_knows_is_left_out),
		cmocka_unit_test(who_asks_is_told_of_new_leaves_only),
		cmocka_unit_test(listeners_are_bounded_and_one_that_leaves_makes_room),
		cmocka_unit_test(an_empty_log_begins_with_init_and_start_and_ends_with_stop),
		cmocka_unit_test(a_written_unit_has_its_seq_and_the_hash_of_its_stored_leaf),
		cmocka_unit_test(one_batch_holds_good_units_and_refuses_each_other_one_for_its_own_reason),
		cmocka_unit_test(a_change_fences_the_units_behind_it_in_the_same_batch),
		cmocka_unit_test(a_batch_of_refused_units_commits_nothing),
		cmocka_unit_test(a_failed_batch_leaves_tree_and_size_and_the_first_leaf_after_it_counts_the_gap),
		cmocka_unit_test(a_writer_that_nobody_asks_recovers_alone),
		cmocka_unit_test(a_step_of_the_wall_clock_is_a_leaf_of_its_own),
		cmocka_unit_test(a_clock_before_the_last_leaf_is_refused_at_start),
		cmocka_unit_test(a_damaged_log_is_refused_at_start),
		cmocka_unit_test(refusals_before_authentication_are_coalesced_by_reason_vault_and_peer),
		cmocka_unit_test(more_peers_than_are_kept_are_counted_together_and_none_is_lost),
		cmocka_unit_test(counted_refusals_outlive_a_failed_batch),
		cmocka_unit_test(a_full_queue_refuses_and_stopping_writes_what_waits),
		cmocka_unit_test(a_batch_is_at_most_256_units),
		cmocka_unit_test(truncation_is_done_when_it_returns_and_says_when_it_failed),
		cmocka_unit_test(many_threads_submit_at_once_and_every_acknowledged_unit_has_its_leaf),
	};
	return cmocka_run_group_tests(tests, quiet, NULL);
}
