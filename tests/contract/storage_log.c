/* tests/contract/storage_log.c - the storage port: checkpoints, log keys, and a log that is closed for a new one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/store_fixture.h"

#define ORIGIN_1 "kms.example/audit/log1"
#define ORIGIN_2 "kms.example/audit/log2"
#define ORIGIN_3 "kms.example/audit/log3"
#define VKEY_1 ORIGIN_1 "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
#define VKEY_2 ORIGIN_2 "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"

/* Its note is borrowed from static storage: never store_signed_clear() it. */
static struct store_signed checkpoint(uint64_t size, const char *note)
{
	static char text[STORE_NOTE_MAX + 2];
	struct store_signed c = { .size = size, .signed_us = 1700000000000000 + (int64_t)size, .note = note != NULL ? text : NULL };

	(void)snprintf(text, sizeof(text), "%s", note != NULL ? note : "");
	memset(c.root, (int)('A' + size % 26), sizeof(c.root));
	return c;
}

static kms_status add(struct store_fixture *f, uint64_t size, const char *note)
{
	return store_fixture_one(f, (struct store_change){ .kind = STORE_CHECKPOINT_ADD, .checkpoint = checkpoint(size, note) });
}

static kms_status cosign(struct store_fixture *f, uint64_t size, const char *note)
{
	return store_fixture_one(f, (struct store_change){ .kind = STORE_CHECKPOINT_COSIGN, .checkpoint = checkpoint(size, note) });
}

static void assert_checkpoint(struct store *s, uint64_t size, const char *note)
{
	STORE_SIGNED_AUTO got = { 0 };
	struct store_signed want = checkpoint(size, NULL);

	assert_int_equal(store_checkpoint_of(s, size, &got, NULL), KMS_OK);
	assert_int_equal(got.size, size);
	assert_memory_equal(got.root, want.root, sizeof(want.root));
	assert_true(got.signed_us == want.signed_us);
	assert_string_equal(got.note, note);
}

static uint64_t last_size(struct store *s)
{
	STORE_SIGNED_AUTO got = { 0 };

	assert_int_equal(store_checkpoint_last(s, &got, NULL), KMS_OK);
	return got.size;
}

static void a_new_log_has_no_checkpoint_and_no_key(void **state)
{
	struct store_fixture *f = *state;
	struct store_signed c;
	struct store_log_key k;
	struct store_closed_log l;
	size_t count = 99;

	assert_int_equal(store_checkpoint_last(f->r, &c, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_checkpoint_of(f->r, 0, &c, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_checkpoint_of(f->r, UINT64_MAX, &c, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_log_keys(f->r, &k, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	count = 99;
	assert_int_equal(store_closed_logs(f->r, &l, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
}

static void checkpoints_come_back_whole_and_the_largest_is_the_last(void **state)
{
	struct store_fixture *f = *state;

	assert_int_equal(add(f, 0, "empty"), KMS_OK);
	assert_int_equal(add(f, 3, "three"), KMS_OK);
	assert_int_equal(add(f, 300000000000, "many"), KMS_OK);
	store_fixture_reopen(f);
	assert_checkpoint(f->r, 0, "empty");
	assert_checkpoint(f->r, 3, "three");
	assert_checkpoint(f->w, 300000000000, "many");
	assert_int_equal(last_size(f->r), 300000000000);
	assert_int_equal(store_checkpoint_of(f->r, 4, &(struct store_signed){ 0 }, NULL), KMS_E_NOTFOUND);
}

static void what_was_signed_is_never_followed_by_less_nor_signed_anew(void **state)
{
	struct store_fixture *f = *state;

	assert_int_equal(add(f, 5, "five"), KMS_OK);
	assert_int_equal(add(f, 5, "another five"), KMS_E_CONFLICT);
	assert_int_equal(add(f, 4, "four"), KMS_E_CONFLICT);
	assert_checkpoint(f->r, 5, "five");
	assert_int_equal(store_checkpoint_of(f->r, 4, &(struct store_signed){ 0 }, NULL), KMS_E_NOTFOUND);
}

static void cosignatures_replace_the_note_and_nothing_else(void **state)
{
	struct store_fixture *f = *state;
	struct store_change c = { .kind = STORE_CHECKPOINT_COSIGN };

	assert_int_equal(add(f, 5, "five"), KMS_OK);
	c.checkpoint.size = 5; /* root and time stay */
	c.checkpoint.note = checkpoint(5, "five\nwith a line more").note;
	assert_int_equal(store_fixture_one(f, c), KMS_OK);
	assert_checkpoint(f->r, 5, "five\nwith a line more");
	assert_int_equal(cosign(f, 6, "six"), KMS_E_NOTFOUND);
	assert_int_equal(last_size(f->r), 5);
}

static void a_checkpoint_without_a_note_or_of_a_size_beyond_any_log_is_refused(void **state)
{
	struct store_fixture *f = *state;
	static char note[STORE_NOTE_MAX + 2];

	memset(note, 'x', sizeof(note) - 1);
	assert_int_equal(add(f, 1, NULL), KMS_E_INTERNAL);
	assert_int_equal(add(f, 1, ""), KMS_E_INTERNAL);
	assert_int_equal(add(f, 1, note), KMS_E_INTERNAL);
	assert_int_equal(add(f, STORE_SEQ_MAX + 2, "x"), KMS_E_INTERNAL);
	note[STORE_NOTE_MAX] = '\0';
	assert_int_equal(add(f, 1, note), KMS_OK);
	assert_checkpoint(f->r, 1, note);
	note[STORE_NOTE_MAX] = 'x';
	assert_int_equal(cosign(f, 1, note), KMS_E_INTERNAL);
	assert_int_equal(cosign(f, 1, ""), KMS_E_INTERNAL);
}

static struct store_log_key log_key(unsigned n, const char *vkey)
{
	struct store_log_key k = { .generation = 77, .from_size = n * UINT64_C(100), .created_s = 1700000000 + (int64_t)n };

	store_fixture_id('L', n, k.obj);
	(void)snprintf(k.vkey, sizeof(k.vkey), "%s", vkey);
	return k;
}

static kms_status add_key(struct store_fixture *f, const struct store_log_key *k)
{
	return store_fixture_one(f, (struct store_change){ .kind = STORE_LOG_KEY_ADD, .log_key = *k });
}

static void log_keys_are_numbered_by_the_store_and_their_objects_are_known(void **state)
{
	struct store_fixture *f = *state;
	struct store_log_key first = log_key(1, VKEY_1), second = log_key(2, VKEY_1), third = log_key(2, VKEY_2), got[4] = { 0 };
	struct store_log_key bad = log_key(4, "");
	bool is_known = true;
	size_t count;

	assert_int_equal(store_object_known(f->r, first.obj, &is_known, NULL), KMS_OK);
	assert_false(is_known);
	assert_int_equal(add_key(f, &first), KMS_OK);
	assert_int_equal(add_key(f, &second), KMS_OK);
	assert_int_equal(add_key(f, &third), KMS_OK); /* the same object under the next log's name */
	assert_int_equal(add_key(f, &bad), KMS_E_INTERNAL);
	assert_int_equal(store_log_keys(f->r, got, KMS_ARRAY_LEN(got), &count, NULL), KMS_OK);
	assert_int_equal(count, 3);
	first.generation = 1;
	second.generation = 2;
	third.generation = 3;
	assert_memory_equal(&got[0], &third, sizeof(third));
	assert_memory_equal(&got[1], &second, sizeof(second));
	assert_memory_equal(&got[2], &first, sizeof(first));
	assert_int_equal(store_log_keys(f->r, got, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(got[0].generation, 3);
	assert_int_equal(store_object_known(f->r, first.obj, &is_known, NULL), KMS_OK);
	assert_true(is_known); /* what an old generation signed must stay explainable: the sweep leaves its object alone */
}

static struct store_change closing(const char *origin, const char *next)
{
	struct store_change c = { .kind = STORE_LOG_CLOSE,
		                  .log_close = { .closed = { .number = 77, .restored_size = 3, .known_size = 9, .closed_s = 1700000009 } } };

	(void)snprintf(c.log_close.closed.origin, sizeof(c.log_close.closed.origin), "%s", origin);
	(void)snprintf(c.log_close.next_origin, sizeof(c.log_close.next_origin), "%s", next);
	memset(c.log_close.closed.known_root, 'K', sizeof(c.log_close.closed.known_root));
	return c;
}

static struct store_change intent_of(char n)
{
	struct store_change c = { .kind = STORE_INTENT_OPEN, .intent = { .type = 17 } };

	store_fixture_id('k', (unsigned)n, c.intent.key_id);
	return c;
}

/* Leaves 0 to 3 with a node, a checkpoint of size 3, an intent under leaf 1. */
static void fill(struct store_fixture *f)
{
	struct store_meta m = { .name = "log_origin", .value = ORIGIN_1, .value_len = strlen(ORIGIN_1) };
	const uint8_t hash[STORE_HASH_LEN] = { 7 };

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_META_PUT, .meta = m }), KMS_OK);
	assert_int_equal(store_fixture_one(f, intent_of(1)), KMS_OK);
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_put_node(f->w, 1, 0, hash, NULL), KMS_OK);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	assert_int_equal(store_fixture_write(f, NULL, 0, NULL), KMS_OK);
	assert_int_equal(add(f, 3, "three"), KMS_OK);
}

/* The writer's shape: the change, then the first leaf of the new log, in one transaction. */
static kms_status close_log(struct store_fixture *f, const struct store_change *c)
{
	struct store_event e = store_fixture_event(0);
	kms_status status = store_begin(f->w, NULL);

	if (status == KMS_OK)
		status = store_apply(f->w, c, 1, 0, NULL);
	if (status == KMS_OK)
		status = store_append(f->w, &e, NULL);
	if (status == KMS_OK)
		status = store_commit(f->w, NULL);
	store_rollback(f->w);
	if (status == KMS_OK)
		f->seq = 1;
	return status;
}

static void assert_origin(struct store *s, const char *origin)
{
	struct store_meta m = { 0 };

	assert_int_equal(store_meta(s, "log_origin", &m, NULL), KMS_OK);
	assert_int_equal(m.value_len, strlen(origin));
	assert_memory_equal(m.value, origin, m.value_len);
}

/* Every read that a connection prepared while the old log was there. */
static void assert_reads(struct store *s, uint64_t count, bool is_old)
{
	uint8_t hash[STORE_HASH_LEN];
	struct store_event e = { 0 };
	uint64_t got = 99;

	assert_int_equal(store_event_count(s, &got, NULL), KMS_OK);
	assert_int_equal(got, count);
	assert_int_equal(store_event(s, 0, &e, NULL), KMS_OK);
	store_event_clear(&e);
	assert_int_equal(store_event(s, 3, &e, NULL), is_old ? KMS_OK : KMS_E_NOTFOUND);
	store_event_clear(&e);
	assert_int_equal(store_node(s, 0, 0, hash, NULL), KMS_OK);
	assert_int_equal(store_node(s, 1, 0, hash, NULL), is_old ? KMS_OK : KMS_E_NOTFOUND);
	if (is_old) {
		assert_checkpoint(s, 3, "three");
		assert_int_equal(last_size(s), 3);
	} else {
		assert_int_equal(store_checkpoint_of(s, 3, &(struct store_signed){ 0 }, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_checkpoint_last(s, &(struct store_signed){ 0 }, NULL), KMS_E_NOTFOUND);
	}
	assert_origin(s, is_old ? ORIGIN_1 : ORIGIN_2);
}

static void a_closed_log_makes_room_for_a_new_one_that_begins_at_0(void **state)
{
	struct store_fixture *f = *state;
	struct store_change c = closing(ORIGIN_1, ORIGIN_2);
	struct store_closed_log got[2] = { 0 };
	size_t count;

	fill(f);
	assert_reads(f->r, 4, true); /* used statements on both connections */
	assert_reads(f->w, 4, true);
	assert_int_equal(close_log(f, &c), KMS_OK);
	assert_reads(f->r, 1, false);
	assert_reads(f->w, 1, false);
	assert_int_equal(add(f, 1, "one of the new log"), KMS_OK);
	assert_int_equal(last_size(f->r), 1);
	assert_int_equal(store_closed_logs(f->r, got, KMS_ARRAY_LEN(got), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	c.log_close.closed.number = 1;
	assert_memory_equal(&got[0], &c.log_close.closed, sizeof(got[0]));

	/* And once more, after a start. */
	store_fixture_reopen(f);
	c = closing(ORIGIN_2, ORIGIN_3);
	assert_int_equal(close_log(f, &c), KMS_OK);
	assert_origin(f->r, ORIGIN_3);
	assert_int_equal(store_closed_logs(f->r, got, KMS_ARRAY_LEN(got), &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_true(got[0].number == 2 && got[1].number == 1);
	assert_string_equal(got[0].origin, ORIGIN_2);
	store_fixture_reopen(f);
	assert_int_equal(add(f, 1, "one of the third log"), KMS_OK);
}

static void the_wrong_log_is_not_closed_and_no_origin_comes_back(void **state)
{
	struct store_fixture *f = *state;
	struct store_change wrong = closing(ORIGIN_2, ORIGIN_3), self = closing(ORIGIN_1, ORIGIN_1), none = closing(ORIGIN_1, "");
	struct store_change right = closing(ORIGIN_1, ORIGIN_2), back = closing(ORIGIN_2, ORIGIN_1);

	assert_int_equal(close_log(f, &right), KMS_E_FENCED); /* no origin yet */
	fill(f);
	assert_int_equal(close_log(f, &wrong), KMS_E_FENCED);
	assert_int_equal(close_log(f, &self), KMS_E_INTERNAL);
	assert_int_equal(close_log(f, &none), KMS_E_INTERNAL);
	assert_reads(f->r, 4, true);
	assert_int_equal(close_log(f, &right), KMS_OK);
	assert_int_equal(close_log(f, &right), KMS_E_FENCED);
	assert_int_equal(close_log(f, &back), KMS_E_FENCED);
	assert_reads(f->r, 1, false);
}

static void a_closing_that_is_undone_leaves_the_log_as_it_was(void **state)
{
	struct store_fixture *f = *state;
	struct store_change unit[] = { closing(ORIGIN_1, ORIGIN_2), { .kind = STORE_INTENT_CLOSE, .intent = { .seq = 999 } } };

	fill(f);
	assert_reads(f->w, 4, true);
	assert_int_equal(store_fixture_write(f, unit, KMS_ARRAY_LEN(unit), NULL), KMS_E_FENCED); /* undone to its savepoint */
	assert_reads(f->r, 4, true);
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, unit, 1, 0, NULL), KMS_OK);
	store_rollback(f->w);
	assert_reads(f->w, 4, true);
	assert_reads(f->r, 4, true);
	assert_int_equal(store_fixture_write(f, NULL, 0, NULL), KMS_OK); /* leaf 4 */
	assert_int_equal(close_log(f, &unit[0]), KMS_OK);
	assert_reads(f->r, 1, false);
}

static kms_status settle(struct store_fixture *f, uint64_t seq)
{
	return store_fixture_one(f, (struct store_change){ .kind = STORE_INTENT_CLOSE, .intent = { .seq = seq } });
}

static void open_intents_outlive_their_logs_and_none_is_taken_for_another(void **state)
{
	struct store_fixture *f = *state;
	struct store_change first = closing(ORIGIN_1, ORIGIN_2), second = closing(ORIGIN_2, ORIGIN_3);
	struct store_intent all[4] = { 0 }, page[1];
	uint64_t after = UINT64_MAX;
	size_t count;

	fill(f); /* an intent under leaf 1 of the first log */
	assert_int_equal(close_log(f, &first), KMS_OK);
	assert_int_equal(store_fixture_one(f, intent_of(2)), KMS_OK); /* under leaf 1 of the second */
	assert_int_equal(close_log(f, &second), KMS_OK);
	assert_int_equal(store_fixture_one(f, intent_of(3)), KMS_OK); /* and of the third */

	assert_int_equal(store_intents(f->r, UINT64_MAX, all, KMS_ARRAY_LEN(all), &count, NULL), KMS_OK);
	assert_int_equal(count, 3);
	for (char n = 1; n <= 3; n++) {
		struct store_change want = intent_of(n);
		bool is_found = false;
		for (size_t i = 0; i < count; i++)
			if (memcmp(all[i].key_id, want.intent.key_id, STORE_ID_LEN) == 0) {
				is_found = true;
				assert_int_equal(all[i].is_of_closed_log, n != 3);
				assert_int_equal(all[i].seq & STORE_SEQ_MAX, 1);
				assert_int_equal(all[i].seq > STORE_SEQ_MAX, n != 3);
			}
		assert_true(is_found);
	}
	/* Page by page, as recovery reads them. */
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(store_intents(f->r, after, page, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 1);
		assert_int_equal(page[0].seq, all[i].seq);
		after = page[0].seq;
	}
	assert_int_equal(store_intents(f->r, after, page, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	/* Each is settled alone. */
	assert_int_equal(settle(f, 1), KMS_OK);
	assert_int_equal(settle(f, 1), KMS_E_FENCED);
	assert_int_equal(settle(f, all[2].seq), KMS_OK);
	assert_int_equal(store_intents(f->r, UINT64_MAX, page, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(page[0].seq, all[1].seq);
	assert_int_equal(settle(f, all[1].seq), KMS_OK);
	assert_int_equal(store_intents(f->r, UINT64_MAX, page, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_new_log_has_no_checkpoint_and_no_key),
		T(checkpoints_come_back_whole_and_the_largest_is_the_last),
		T(what_was_signed_is_never_followed_by_less_nor_signed_anew),
		T(cosignatures_replace_the_note_and_nothing_else),
		T(a_checkpoint_without_a_note_or_of_a_size_beyond_any_log_is_refused),
		T(log_keys_are_numbered_by_the_store_and_their_objects_are_known),
		T(a_closed_log_makes_room_for_a_new_one_that_begins_at_0),
		T(the_wrong_log_is_not_closed_and_no_origin_comes_back),
		T(a_closing_that_is_undone_leaves_the_log_as_it_was),
		T(open_intents_outlive_their_logs_and_none_is_taken_for_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
