/* tests/unit/core_log_admin.c - the log key is changed, a rolled-back database accepted, and what `holdfast check` says, on real parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/checkpoint_parts.h"
#include "server/core/log_accept.h"
#include "server/core/log_admin.h"
#include "tests/support/approvals.h"
#include "tests/support/signed_log.h"

#define ORIGIN "vault.test/audit/log1"
#define NEXT_ORIGIN "vault.test/audit/log2"

static struct t_domain d;

/* ---- what is written down ---- */

static struct log_acceptance an_acceptance(size_t approvers)
{
	struct log_acceptance a = { .size = 95, .has_known = true, .known_size = 100, .approver_count = approvers };

	log_origin_hash(ORIGIN, a.origin_hash);
	log_origin_hash("", a.known_origin_hash);
	memset(a.root, 1, sizeof(a.root));
	memset(a.known_root, 2, sizeof(a.known_root));
	for (size_t i = 0; i < approvers; i++) {
		a.approvers[i] = (struct event_approver){ .pid = { (uint8_t)i, 7 }, .at_us = 1800000000000000 + (int64_t)i, .cred = i % 2 == 0 ? "jwt" : "certificate" };
		if (i % 2 == 1)
			memcpy(a.approvers[i].kid, "0a1b2c3d", sizeof("0a1b2c3d"));
	}
	return a;
}

static void put(const struct store_meta *m)
{
	struct store_change c = { .kind = STORE_META_PUT, .meta = *m };
	t_change(&d, &c, 1);
}

static void an_acceptance_is_read_as_it_was_written(void **state)
{
	static const size_t COUNTS[] = { 1, 6, 7, 12, STORE_APPROVERS_MAX, 0 };
	struct log_acceptance found = { 0 };
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(log_acceptance_read(d.store->r, &found, &err), KMS_E_NOTFOUND);
	for (size_t n = 0; n < KMS_ARRAY_LEN(COUNTS); n++) {
		struct log_acceptance a = an_acceptance(COUNTS[n]);
		struct store_meta records[LOG_ACCEPTANCE_RECORDS];

		log_acceptance_encode(&a, records);
		for (size_t i = 0; i < LOG_ACCEPTANCE_RECORDS; i++) {
			assert_int_not_equal(records[i].value_len, HSM_ID_LEN); /* would look like the id of an object */
			put(&records[i]);
		}
		assert_int_equal(log_acceptance_read(d.store->r, &found, &err), KMS_OK);
		assert_int_equal(found.size, a.size);
		assert_int_equal(found.known_size, a.known_size);
		assert_true(found.has_known);
		assert_memory_equal(found.origin_hash, a.origin_hash, STORE_HASH_LEN);
		assert_memory_equal(found.known_origin_hash, a.known_origin_hash, STORE_HASH_LEN);
		assert_memory_equal(found.root, a.root, MERKLE_HASH_LEN);
		assert_memory_equal(found.known_root, a.known_root, MERKLE_HASH_LEN);
		assert_int_equal(found.approver_count, COUNTS[n]);
		for (size_t i = 0; i < COUNTS[n]; i++) {
			assert_memory_equal(found.approvers[i].pid, a.approvers[i].pid, 16);
			assert_int_equal(found.approvers[i].at_us, a.approvers[i].at_us);
			assert_string_equal(found.approvers[i].cred, a.approvers[i].cred);
			assert_string_equal(found.approvers[i].kid, a.approvers[i].kid);
		}
	}
}

static void a_damaged_acceptance_is_none(void **state)
{
	struct log_acceptance a = an_acceptance(7), found = { 0 };
	struct store_meta records[LOG_ACCEPTANCE_RECORDS];
	struct kms_err err = { 0 };

	(void)state;
	log_acceptance_encode(&a, records);
	for (size_t i = 0; i < LOG_ACCEPTANCE_RECORDS; i++)
		put(&records[i]);
	for (size_t i = 0; i < 3; i++) { /* head, and the two that hold seven approvers */
		struct store_meta bad = records[i];

		bad.value_len--;
		put(&bad);
		assert_int_equal(log_acceptance_read(d.store->r, &found, &err), KMS_E_STORE);
		bad.value_len++;
		bad.value[0] ^= 1;
		put(&bad);
		assert_int_equal(log_acceptance_read(d.store->r, &found, &err), KMS_E_STORE);
		put(&records[i]);
	}
	assert_int_equal(log_acceptance_read(d.store->r, &found, &err), KMS_OK);
}

static kms_status root_of(uint64_t size, uint8_t ret_root[MERKLE_HASH_LEN])
{
	struct writer_state w = { 0 };

	writer_state(d.kms.writer, &w);
	assert_int_equal(w.size, size);
	memcpy(ret_root, w.root, MERKLE_HASH_LEN);
	return KMS_OK;
}

static void an_acceptance_holds_for_this_very_log_only(void **state)
{
	struct log_acceptance a = an_acceptance(0);
	struct log_verdict v = { .state = LOG_ROLLED_BACK, .has_known = true, .known_size = a.known_size };
	struct store_change none = { .kind = STORE_META_PUT, .meta = { .name = "test", .value_len = 1 } };
	struct kms_err err = { 0 };
	bool holds = false;

	(void)state;
	memcpy(v.known_root, a.known_root, MERKLE_HASH_LEN);
	assert_int_equal(store_event_count(d.store->r, &a.size, &err), KMS_OK);
	assert_int_equal(root_of(a.size, a.root), KMS_OK);
	t_change(&d, &none, 1); /* leaves that were added since do not matter */
#define HOLDS(expected, acceptance, origin, verdict)                                                                            \
	do {                                                                                                                    \
		assert_int_equal(log_acceptance_holds(d.store->r, &(acceptance), origin, &(verdict), &holds, &err), KMS_OK); \
		assert_int_equal(holds, expected);                                                                              \
	} while (0)
	HOLDS(true, a, ORIGIN, v);
	HOLDS(false, a, NEXT_ORIGIN, v);
	struct log_acceptance other = a;
	other.root[31] ^= 1; /* another database of that size */
	HOLDS(false, other, ORIGIN, v);
	other = a;
	other.size += 1000; /* more than there is */
	HOLDS(false, other, ORIGIN, v);
	struct log_verdict now = v;
	now.known_size++; /* more became known */
	HOLDS(false, a, ORIGIN, now);
	now = v;
	now.known_root[0] ^= 1;
	HOLDS(false, a, ORIGIN, now);
	now = v;
	now.has_known = false;
	HOLDS(false, a, ORIGIN, now);
	now = v;
	(void)snprintf(now.known_origin, sizeof(now.known_origin), NEXT_ORIGIN);
	HOLDS(false, a, ORIGIN, now);
	now = (struct log_verdict){ .state = LOG_GOOD }; /* a witness knew more */
	HOLDS(true, a, ORIGIN, now);
}

static void the_next_origin_counts_up(void **state)
{
	static const char *const CASES[][2] = { { "a.test/audit/log1", "a.test/audit/log2" }, { "a.test/log9", "a.test/log10" },
		                                { "a.test/audit", "a.test/audit/2" }, { "7", "8" }, { "a/12345678901", "a/12345678901/2" },
		                                { "a/log007", "a/log8" } };
	char next[STORE_ORIGIN_MAX + 1], longest[STORE_ORIGIN_MAX + 1];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		assert_true(log_next_origin(CASES[i][0], next));
		assert_string_equal(next, CASES[i][1]);
	}
	memset(longest, 'a', STORE_ORIGIN_MAX);
	longest[STORE_ORIGIN_MAX] = '\0';
	assert_false(log_next_origin(longest, next));
	longest[STORE_ORIGIN_MAX - 1] = '1';
	assert_true(log_next_origin(longest, next));
	longest[STORE_ORIGIN_MAX - 1] = '9';
	assert_false(log_next_origin(longest, next));
}

/* ---- the log key ---- */

static struct op *rotation(char ret_old[NOTE_VKEY_MAX + 1], char ret_new[NOTE_VKEY_MAX + 1])
{
	struct op *op = t_op(&d, NULL, EVENT_LOG_KEY_ROTATED);
	struct kms_err err = { 0 };
	kms_status status = log_rotate_key(op, ret_old, ret_new, &err);

	if (status != KMS_OK)
		fail_msg("%s", err.detail);
	return op;
}

/* Is there a good line of this key in the checkpoint of this size? */
static bool signs(const char *vkey, uint64_t size)
{
	STORE_SIGNED_AUTO c = { 0 };
	struct note_key k = { 0 };
	kms_status status;

	assert_int_equal(store_checkpoint_of(d.store->r, size, &c, NULL), KMS_OK);
	assert_true(note_vkey_parse(vkey, &k));
	status = note_verify(c.note, strlen(c.note), &k, NULL, NULL);
	assert_true(status == KMS_OK || status == KMS_E_NOTFOUND);
	return status == KMS_OK;
}

static void newest_key(struct store_log_key *ret)
{
	size_t count = 0;

	assert_int_equal(store_log_keys(d.store->r, ret, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
}

static uint64_t newest_size(void)
{
	STORE_SIGNED_AUTO c = { 0 };

	assert_int_equal(store_checkpoint_last(d.store->r, &c, NULL), KMS_OK);
	return c.size;
}

static void both_keys_sign_the_change_and_only_the_new_one_afterwards(void **state)
{
	struct t_log log = { 0 };
	char old_key[NOTE_VKEY_MAX + 1], new_key[NOTE_VKEY_MAX + 1], told[2 * NOTE_VKEY_MAX + 64];
	struct store_log_key before = { 0 }, after = { 0 };
	uint8_t object[HSM_ID_LEN];
	struct kms_err err = { 0 };
	struct op *op;

	(void)state;
	t_log_start(&d, &log);
	t_log_sign(&d);
	newest_key(&before);
	op = rotation(old_key, new_key);
	assert_string_equal(old_key, before.vkey);
	assert_string_not_equal(old_key, new_key);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK); /* waits for its checkpoint, too */
	newest_key(&after);
	assert_string_equal(after.vkey, new_key);
	assert_int_equal(after.generation, before.generation + 1);
	assert_int_equal(after.from_size, op->write.seq + 1);
	(void)snprintf(told, sizeof(told), "\"det\":{\"new_key\":\"%s\",\"old_key\":\"%s\"}", new_key, old_key);
	assert_true(t_leaf_says(&d, op->write.seq, told));
	assert_true(t_leaf_says(&d, op->write.seq, "\"phase\":\"outcome\""));
	assert_true(signs(old_key, after.from_size) && signs(new_key, after.from_size));
	t_op_free(op);
	/* Of this directory from its first signature on. */
	struct hsm_key key = { .purpose = HSM_FOR_LOG, .kind = d.kms.inst.log_kind };
	struct installation forged = d.kms.inst;
	struct hsm_public pub = { 0 };
	memcpy(key.id, after.obj, HSM_ID_LEN);
	assert_int_equal(hsm_key_public(d.kms.hsm, &key, &pub, &err), KMS_OK);
	forged.directory[15] ^= 1;
	assert_int_equal(log_claim(d.kms.hsm, &forged, &pub, &err), KMS_E_AUDIT);
	memset(&err, 0, sizeof(err));
	assert_int_equal(log_claim(d.kms.hsm, &d.kms.inst, &pub, &err), KMS_OK);
	/* The private half is gone, and the device is known by the new key: also to those who look afresh. */
	assert_false(t_object_exists(&d, before.obj));
	assert_true(t_object_exists(&d, after.obj));
	assert_int_equal(log_key_object(d.store->r, object, &err), KMS_OK);
	assert_memory_equal(object, after.obj, HSM_ID_LEN);
	assert_int_equal(hsm_check(d.kms.hsm, &err), KMS_OK);
	t_vault(&d, "after", false);
	assert_true(t_shred(&d, "after", "test") > 0);
	t_log_sign(&d);
	assert_true(newest_size() > after.from_size);
	assert_false(signs(old_key, newest_size()));
	assert_true(signs(new_key, newest_size()));
	/* And the next start. */
	t_log_restart(&d, &log);
	assert_int_equal(log.verdict.state, LOG_GOOD);
	t_log_sign(&d);
	assert_true(signs(new_key, newest_size()));
	t_log_stop(&d);
}

static void an_interrupted_change_leaves_the_old_key(void **state)
{
	struct t_log log = { 0 };
	char old_key[NOTE_VKEY_MAX + 1], new_key[NOTE_VKEY_MAX + 1];
	struct recovery_count count = { 0 };
	struct store_log_key before = { 0 }, after = { 0 };
	uint8_t made[HSM_ID_LEN];
	struct kms_err err = { 0 };
	uint64_t size = 0;
	struct op *op;

	(void)state;
	t_log_start(&d, &log);
	newest_key(&before);
	op = rotation(old_key, new_key);
	memcpy(made, op->object, HSM_ID_LEN);
	assert_true(t_object_exists(&d, made));
	t_op_free(op); /* a crash before the outcome */
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_ALL, &count, &err), KMS_OK);
	assert_int_equal(count.settled, 1);
	assert_false(t_object_exists(&d, made));
	newest_key(&after);
	assert_string_equal(after.vkey, before.vkey);
	assert_int_equal(store_event_count(d.store->r, &size, &err), KMS_OK);
	assert_true(t_leaf_says(&d, size - 2, "\"result\":\"failed\"")); /* before node.recovered */
	t_log_sign(&d);
	assert_true(signs(before.vkey, newest_size()));
	t_log_stop(&d);
}

static void the_old_key_dies_only_after_the_new_one_has_signed(void **state)
{
	struct t_log log = { .interval_ms = 60000 };
	char old_key[NOTE_VKEY_MAX + 1], new_key[NOTE_VKEY_MAX + 1];
	struct store_log_key before = { 0 };
	struct kms_err err = { 0 };
	bool done = true;
	struct op *op;

	(void)state;
	t_log_start(&d, &log);
	t_log_sign(&d);
	newest_key(&before);
	op = rotation(old_key, new_key);
	op->after = NULL; /* a crash between the commit and what follows */
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	t_op_free(op);
	assert_int_equal(log_retire_keys(&d.kms, d.store->r, &done, &err), KMS_OK);
	assert_false(done);
	assert_true(t_object_exists(&d, before.obj));
	t_log_sign(&d);
	assert_int_equal(log_retire_keys(&d.kms, d.store->r, &done, &err), KMS_OK);
	assert_true(done);
	assert_int_equal(log_retire_keys(&d.kms, d.store->r, &done, &err), KMS_OK); /* once more is no harm */
	assert_true(done);
	t_log_stop(&d);
	assert_false(t_object_exists(&d, before.obj));
}

/* ---- acceptance ---- */

static kms_status accept(const char *reason, char ret_next[STORE_ORIGIN_MAX + 1], uint8_t ret_request[STORE_ID_LEN], uint64_t *ret_seq, struct kms_err *ret_err)
{
	struct op *op = t_op(&d, NULL, EVENT_LOG_RESTORED);
	kms_status status;

	memset(ret_err, 0, sizeof(*ret_err));
	status = log_accept(op, reason, ret_next, ret_err);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	memcpy(ret_request, op->approval_id, STORE_ID_LEN);
	*ret_seq = op->write.seq;
	t_op_free(op);
	return status;
}

static void a_good_log_has_nothing_to_accept(void **state)
{
	struct t_log log = { 0 };
	char next[STORE_ORIGIN_MAX + 1];
	uint8_t request[STORE_ID_LEN];
	struct kms_err err;
	uint64_t seq;

	(void)state;
	t_log_start(&d, &log);
	assert_int_equal(accept("no reason", next, request, &seq, &err), KMS_E_CONFLICT);
	t_log_stop(&d);
}

/* Somewhere in the leaves of the present log. */
static uint64_t leaf_with(const char *text)
{
	uint64_t size = 0;

	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	for (uint64_t seq = 0; seq < size; seq++) {
		struct store_event e = { 0 };
		bool is_it;

		assert_int_equal(store_event(d.store->r, seq, &e, NULL), KMS_OK);
		is_it = memmem(e.leaf, e.leaf_len, text, strlen(text)) != NULL;
		store_event_clear(&e);
		if (is_it)
			return seq;
	}
	fail_msg("no leaf says %s", text);
	return 0;
}

static const struct check_line *line_of(const struct check_line *lines, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(lines[i].name, name) == 0)
			return &lines[i];
	fail_msg("no line about %s", name);
	return &lines[0];
}

static void check_tells_of_the_rollback(void)
{
	struct op *op = t_op(&d, NULL, EVENT_AUDIT_READ);
	struct check_line lines[CHECK_LINES_MAX];
	size_t count = log_self_check(op, lines);

	assert_int_equal(line_of(lines, count, "log")->result, CHECK_BAD);
	assert_non_null(strstr(line_of(lines, count, "log")->text, "accept-rollback"));
	assert_int_equal(line_of(lines, count, "checkpoint")->result, CHECK_WARN);
	assert_int_equal(line_of(lines, count, "pin")->result, CHECK_WARN);
	assert_non_null(strstr(line_of(lines, count, "pin")->text, "Not judged"));
	t_op_free(op);
}

static void check_tells_to_restart(void)
{
	struct op *op = t_op(&d, NULL, EVENT_AUDIT_READ);
	struct check_line lines[CHECK_LINES_MAX];
	size_t count = log_self_check(op, lines);

	assert_int_equal(line_of(lines, count, "log")->result, CHECK_BAD);
	assert_non_null(strstr(line_of(lines, count, "log")->text, "Accepted: restart the server; log " NEXT_ORIGIN " begins."));
	assert_null(strstr(line_of(lines, count, "log")->text, "accept-rollback"));
	t_op_free(op);
}

/* Two acts that a crash left open before the copy was made: a key that was being made, with its object in the device, and a grant. */
static uint64_t leave_open(uint8_t ret_object[HSM_ID_LEN])
{
	struct hsm_key key = { .purpose = HSM_FOR_CALLER, .kind = HSM_KIND_AES, .bits = 256, .usage = HSM_USE_WRAP };
	struct store_intent intent = { 0 };
	struct op *op = t_op(&d, NULL, EVENT_KEY_CREATE);
	struct kms_err err = { 0 };
	uint64_t seq;

	assert_true(guid_random(key.id));
	memcpy(intent.obj, key.id, HSM_ID_LEN);
	memcpy(ret_object, key.id, HSM_ID_LEN);
	assert_int_equal(op_intend(op, NULL, &intent, &err), KMS_OK);
	seq = op->write.event.ref;
	t_op_free(op);
	assert_int_equal(hsm_key_generate(d.kms.hsm, &key, NULL, &err), KMS_OK);
	op = t_op(&d, NULL, EVENT_ROLE_GRANT);
	memset(&intent, 0, sizeof(intent));
	assert_int_equal(op_intend(op, NULL, &intent, &err), KMS_OK);
	t_op_free(op);
	return seq;
}

/* The device remembers so many logs and no more. */
static void a_log_that_could_not_be_pinned_is_not_accepted(void **state)
{
	struct t_log log = { 0 };
	struct hsm_pin pin = { .size = 1 }, pins[HSM_PINS_MAX];
	char next[STORE_ORIGIN_MAX + 1] = "";
	uint8_t request[STORE_ID_LEN];
	struct kms_err err;
	uint64_t seq;
	size_t count = 0;

	(void)state;
	t_log_start(&d, &log);
	t_log_roll_back(&d, &log);
	memcpy(pin.owner, d.kms.inst.directory, sizeof(pin.owner));
	assert_int_equal(hsm_pins(d.kms.hsm, pin.owner, pins, HSM_PINS_MAX, &count, NULL), KMS_OK);
	for (; count < HSM_PINS_MAX; count++) {
		(void)snprintf(pin.origin, sizeof(pin.origin), "vault.test/audit/other%zu", count);
		assert_int_equal(hsm_pin(d.kms.hsm, &pin, NULL), KMS_OK);
	}
	assert_int_equal(accept("the disk died", next, request, &seq, &err), KMS_E_CONFLICT);
	assert_non_null(strstr(err.message, "new token"));
	t_log_stop(&d);
}

static void a_rolled_back_database_is_accepted_by_somebody_else_and_goes_on_under_a_new_name(void **state)
{
	struct t_log log = { 0 };
	struct t_person approver;
	char next[STORE_ORIGIN_MAX + 1] = "", text[160];
	uint8_t request[STORE_ID_LEN], again[STORE_ID_LEN], object[HSM_ID_LEN];
	struct store_closed_log closed[2];
	struct recovery_count count = { 0 };
	struct store_intent open[4];
	struct kms_err err;
	size_t n = 0;
	uint64_t seq, open_seq, known_size, found_size;

	(void)state;
	t_log_start(&d, &log);
	approver = t_person(&d, NULL, "approver", ROLE_APPROVER);
	open_seq = leave_open(object);
	t_log_roll_back(&d, &log);
	check_tells_of_the_rollback();
	known_size = log.verdict.known_size;
	found_size = log.verdict.size;
	assert_true(found_size < known_size);
	assert_int_equal(accept("the disk died", next, request, &seq, &err), KMS_E_APPROVAL);
	assert_int_equal(accept("the disk died", next, again, &seq, &err), KMS_E_APPROVAL);
	assert_memory_equal(again, request, STORE_ID_LEN); /* the same state is the same request, whatever was written meanwhile */
	assert_int_equal(t_vote(&d, &approver, NULL, request, true, &err), KMS_OK);
	assert_int_equal(accept("the disk died", next, again, &seq, &err), KMS_OK);
	assert_string_equal(next, NEXT_ORIGIN);
	assert_true(t_leaf_says(&d, seq, "\"appr\":[{\"at\":"));
	(void)snprintf(text, sizeof(text), "\"found_size\":%llu,\"known_size\":%llu,\"next_origin\":\"" NEXT_ORIGIN "\"", (unsigned long long)found_size,
	               (unsigned long long)known_size);
	assert_true(t_leaf_says(&d, seq, text));
	/* Nothing has changed yet. */
	assert_int_equal(log_state(d.kms.log), LOG_ROLLED_BACK);
	assert_string_equal(d.kms.origin, ORIGIN);
	check_tells_to_restart();
	/* It means nothing for the same copy once more, without what was decided. */
	t_log_stop(&d);
	t_log_put_back(&d);
	t_log_restart(&d, &log);
	assert_int_equal(log.verdict.state, LOG_ROLLED_BACK);
	assert_string_equal(d.kms.origin, ORIGIN);
	assert_int_equal(accept("the disk died", next, request, &seq, &err), KMS_E_APPROVAL);
	assert_int_equal(t_vote(&d, &approver, NULL, request, true, &err), KMS_OK);
	assert_int_equal(accept("the disk died", next, again, &seq, &err), KMS_OK);
	t_log_restart(&d, &log);
	assert_int_equal(log.verdict.state, LOG_GOOD);
	assert_string_equal(d.kms.origin, NEXT_ORIGIN);
	assert_true(t_leaf_says(&d, 0, "\"type\":\"log.init\""));
	assert_true(t_leaf_says(&d, 0, "\"appr\":[{\"at\":"));
	assert_true(t_leaf_says(&d, 0, "\"old_origin\":\"" ORIGIN "\""));
	assert_true(t_leaf_says(&d, 1, "\"type\":\"log.restored\""));
	assert_int_equal(store_closed_logs(d.store->r, closed, 2, &n, &err), KMS_OK);
	assert_int_equal(n, 1);
	assert_int_equal(closed[0].restored_size, found_size);
	assert_int_equal(closed[0].known_size, known_size);
	/* What was open then is settled on its own: no leaf of this log can refer to it. The object stays: the lost database may have used it. */
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_ALL, &count, &err), KMS_OK);
	assert_int_equal(count.settled, 2);
	seq = leaf_with("\"type\":\"key.create\"");
	(void)snprintf(text, sizeof(text), "\"det\":{\"old_origin\":\"" ORIGIN "\",\"old_seq\":%llu}", (unsigned long long)open_seq);
	assert_true(t_leaf_says(&d, seq, text));
	assert_true(t_leaf_says(&d, seq, "\"phase\":\"single\",\"result\":\"unknown\","));
	assert_true(t_leaf_says(&d, leaf_with("\"type\":\"authz.role_grant\""), "\"phase\":\"single\",\"result\":\"failed\","));
	assert_true(t_object_exists(&d, object));
	assert_int_equal(store_intents(d.store->r, UINT64_MAX, open, 4, &n, &err), KMS_OK);
	assert_int_equal(n, 0);
	t_log_sign(&d);
	assert_int_equal(newest_size() > 2, true);
	/* And it stays good. */
	t_log_restart(&d, &log);
	assert_int_equal(log.verdict.state, LOG_GOOD);
	assert_string_equal(d.kms.origin, NEXT_ORIGIN);
	t_log_stop(&d);
}

/* ---- holdfast check ---- */

static void the_check_says_what_cannot_be_noticed(void **state)
{
	struct t_log log = { 0 };
	struct check_line lines[CHECK_LINES_MAX];
	struct op *op;
	size_t count;

	(void)state;
	t_log_start(&d, &log);
	t_log_sign(&d);
	op = t_op(&d, NULL, EVENT_AUDIT_READ);
	count = log_self_check(op, lines);
	for (size_t i = 0; i < count; i++)
		assert_true(lines[i].text[0] != '\0' && strlen(lines[i].text) < sizeof(lines[i].text) - 1);
	assert_int_equal(line_of(lines, count, "log")->result, CHECK_GOOD);
	assert_int_equal(line_of(lines, count, "checkpoint")->result, CHECK_GOOD);
	assert_int_equal(line_of(lines, count, "pin")->result, CHECK_GOOD);
	assert_int_equal(line_of(lines, count, "log-key")->result, CHECK_GOOD);
	assert_int_equal(line_of(lines, count, "token")->result, CHECK_WARN); /* SoftHSM */
	assert_int_equal(line_of(lines, count, "witness")->result, CHECK_WARN);
	assert_non_null(strstr(line_of(lines, count, "witness")->text, "cannot be noticed"));
	assert_int_equal(line_of(lines, count, "clock")->result, CHECK_WARN);
	assert_non_null(strstr(line_of(lines, count, "approvers")->text, "Nobody"));
	assert_int_equal(line_of(lines, count, "backup")->result, CHECK_WARN); /* none are configured */
	assert_int_equal(line_of(lines, count, "backup-epochs")->result, CHECK_GOOD);
	t_op_free(op);
	(void)t_person(&d, NULL, "one", ROLE_APPROVER);
	op = t_op(&d, NULL, EVENT_AUDIT_READ);
	count = log_self_check(op, lines);
	assert_non_null(strstr(line_of(lines, count, "approvers")->text, "Only one"));
	t_op_free(op);
	(void)t_person(&d, NULL, "two", ROLE_APPROVER);
	op = t_op(&d, NULL, EVENT_AUDIT_READ);
	count = log_self_check(op, lines);
	assert_int_equal(line_of(lines, count, "approvers")->result, CHECK_GOOD);
	t_op_free(op);
	t_log_stop(&d);
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	return secret_live() == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_acceptance_is_read_as_it_was_written),
		cmocka_unit_test(a_damaged_acceptance_is_none),
		cmocka_unit_test(an_acceptance_holds_for_this_very_log_only),
		cmocka_unit_test(the_next_origin_counts_up),
		cmocka_unit_test(the_check_says_what_cannot_be_noticed),
		cmocka_unit_test(a_good_log_has_nothing_to_accept),
		cmocka_unit_test(both_keys_sign_the_change_and_only_the_new_one_afterwards),
		cmocka_unit_test(an_interrupted_change_leaves_the_old_key),
		cmocka_unit_test(the_old_key_dies_only_after_the_new_one_has_signed),
	};
	const struct CMUnitTest rollback[] = {
		cmocka_unit_test(a_rolled_back_database_is_accepted_by_somebody_else_and_goes_on_under_a_new_name),
		cmocka_unit_test(a_log_that_could_not_be_pinned_is_not_accepted),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown) + cmocka_run_group_tests(rollback, setup, teardown);
}
