/* Every call that the writer makes to its store fails once: nothing acknowledged may lack its leaf, and tree and store must agree. */
#include "server/core/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include <cmocka.h>

#include "server/base/log.h"
#include "tests/support/mem_store.h"

#define NATIVE_FULL 13
#define UNITS 12

static kms_status start(struct store *store, struct writer **ret_writer, struct kms_err *err)
{
	struct writer_config cfg = { .store = store, .clock = &CLOCK_SYSTEM, .node = "node-a", .origin = "kms.test/log1", .capacity = 64 };
	return writer_start(&cfg, ret_writer, err);
}

static kms_status drop(void *arg, unsigned level, uint64_t position, const uint8_t hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	(void)arg, (void)level, (void)position, (void)hash, (void)err;
	return KMS_OK;
}

static kms_status stored_node(void *arg, unsigned level, uint64_t position, uint8_t ret_hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	return store_node(arg, level, position, ret_hash, err);
}

/* The stored nodes give the root of the stored leaves; how many leaves are units, and how many refused ones log.gap names. */
static void check_store(struct store *store, uint64_t *ret_units, int64_t *ret_gap)
{
	struct merkle_edge from_leaves = { 0 }, from_nodes;
	*ret_units = 0;
	*ret_gap = 0;
	for (uint64_t seq = 0; seq < mem_store_count(store); seq++) {
		const struct store_event *row = mem_store_event(store, seq);
		uint8_t hash[MERKLE_HASH_LEN];
		json_t *o = json_loadb(row->leaf, row->leaf_len, JSON_REJECT_DUPLICATES, NULL);
		const char *type = json_string_value(json_object_get(o, "type"));
		assert_non_null(o);
		assert_int_equal(json_integer_value(json_object_get(o, "seq")), seq);
		*ret_units += strcmp(type, "key.unwrap") == 0;
		if (strcmp(type, "log.gap") == 0)
			*ret_gap += json_integer_value(json_object_get(o, "count"));
		json_decref(o);
		merkle_leaf_hash(row->leaf, row->leaf_len, hash);
		assert_memory_equal(hash, row->hash, sizeof(hash));
		assert_int_equal(merkle_append(&from_leaves, hash, drop, NULL, NULL), KMS_OK);
	}
	assert_int_equal(merkle_load(from_leaves.size, stored_node, store, &from_nodes, NULL), KMS_OK);
	assert_memory_equal(&from_leaves, &from_nodes, sizeof(from_nodes));
}

static void whichever_call_fails_no_unit_is_acknowledged_without_its_leaf(void **state)
{
	static const struct store_change RAISE = { .kind = STORE_KEY_DELETE };
	int nth = 0, total_calls = INT32_MAX;
	(void)state;
	for (; nth <= total_calls; nth++) {
		struct store *store = mem_store_new();
		struct writer *w = NULL;
		struct write units[UNITS];
		uint64_t acknowledged = 0, fenced = 0, epoch_raised = 0, stored = 0;
		int64_t refused = 0, gap = 0;
		assert_int_equal(start(store, &w, NULL), KMS_OK);
		mem_store_fail_call(store, nth, NATIVE_FULL);
		for (int i = 0; i < UNITS; i++) {
			units[i] = (struct write){ .event = { .type = EVENT_KEY_UNWRAP }, .has_fence = true, .fence = { .key_epoch = i < 8 ? MEM_FIRST_EPOCH : 0 } };
			if (i == 5) {
				units[i].changes = &RAISE;
				units[i].change_count = 1;
			}
			if (i == 7)
				writer_count_denied(w, "Unauthorized", NULL, "192.0.2.0");
			kms_status status = writer_write(w, &units[i]);
			acknowledged += status == KMS_OK;
			refused += status == KMS_E_AUDIT;
			fenced += status == KMS_E_FENCED;
			epoch_raised += i == 5 && status == KMS_OK;
			assert_int_equal(acknowledged + fenced + (uint64_t)refused, i + 1);
		}
		if (total_calls == INT32_MAX && refused == 0 && nth >= mem_store_calls(store))
			total_calls = nth + 4; /* the calls of node.stop fail too */
		writer_stop(w);
		assert_false(mem_store_in_transaction(store));
		for (int i = 0; i < UNITS; i++) {
			if (units[i].status == KMS_OK)
				assert_memory_equal(mem_store_event(store, units[i].seq)->hash, units[i].leaf_hash, MERKLE_HASH_LEN);
		}
		check_store(store, &stored, &gap);
		assert_int_equal(stored, acknowledged);
		assert_in_range(refused, 0, 1);
		assert_int_equal(mem_store_epoch(store), MEM_FIRST_EPOCH + epoch_raised);
		assert_int_equal(gap, refused);
		/* What is there can be opened again, failed or not. */
		mem_store_fail_call(store, -1, 0);
		assert_int_equal(start(store, &w, NULL), KMS_OK);
		writer_stop(w);
		store_close(store);
	}
	assert_true(nth > UNITS * 4);
}

static void a_writer_that_cannot_write_its_first_leaves_does_not_start(void **state)
{
	int nth = 0;
	(void)state;
	for (;; nth++) {
		struct store *store = mem_store_new();
		struct writer *w = NULL;
		struct kms_err err = { 0 };
		kms_status status;
		mem_store_fail_call(store, nth, NATIVE_FULL);
		status = start(store, &w, &err);
		if (status == KMS_OK) {
			mem_store_fail_call(store, -1, 0);
			writer_stop(w);
			store_close(store);
			break;
		}
		assert_int_equal(status, KMS_E_STORE);
		assert_int_equal(err.native, NATIVE_FULL);
		assert_null(w);
		assert_int_equal(mem_store_count(store), 0);
		store_close(store);
	}
	assert_int_equal(nth, 5); /* begin, log.init, node.start, their parent, commit */
}

static void answered_is_a_bug_here(struct write *w)
{
	(void)w;
	_exit(42);
}

static void a_failed_sync_ends_the_process_without_an_answer(void **state)
{
	int ended = 0;
	pid_t child = fork();
	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		struct store *store = mem_store_new();
		struct writer *w = NULL;
		struct write unit = { .event = { .type = EVENT_KEY_UNWRAP }, .done = answered_is_a_bug_here };
		if (start(store, &w, NULL) != KMS_OK)
			_exit(43);
		mem_store_fail_call(store, 2, STORE_NATIVE_SYNC); /* begin, append, commit */
		if (writer_submit(w, &unit) != KMS_OK)
			_exit(44);
		for (;;)
			(void)pause();
	}
	assert_int_equal(waitpid(child, &ended, 0), child);
	assert_true(WIFEXITED(ended));
	assert_int_equal(WEXITSTATUS(ended), EXIT_FAILURE);
}

static int quiet(void **state)
{
	(void)state;
	log_setup((enum log_level)(LOG_ERROR + 1), true); /* above all levels: the failures that these tests cause are not news */
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whichever_call_fails_no_unit_is_acknowledged_without_its_leaf),
		cmocka_unit_test(a_writer_that_cannot_write_its_first_leaves_does_not_start),
		cmocka_unit_test(a_failed_sync_ends_the_process_without_an_answer),
	};
	return cmocka_run_group_tests(tests, quiet, NULL);
}
