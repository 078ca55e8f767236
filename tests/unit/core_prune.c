/* tests/unit/core_prune.c - pruning of the log on a real token and database: only what is old, archived and agreed; evidence stays; interrupted anywhere it ends the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "server/base/encode.h"
#include "server/core/prune.h"
#include "server/core/prune_cover.h"
#include "tests/support/approvals.h"

#define MANY 600 /* more than two units */
#define DAYS 90
#define DAY_S 86400

static struct t_domain d;
static struct t_person one, two;
static uint64_t old_size; /* a signed one, whose leaves are old */
static uint8_t old_root[MERKLE_HASH_LEN];

static uint64_t leaves(void)
{
	uint64_t count = 0;

	assert_int_equal(store_event_count(d.store->r, &count, NULL), KMS_OK);
	return count;
}

static uint64_t count_empty(uint64_t size)
{
	uint64_t empty = 0;

	for (uint64_t seq = 0; seq < size; seq++) {
		struct store_event e = { 0 };
		assert_int_equal(store_event(d.store->r, seq, &e, NULL), KMS_OK);
		empty += e.leaf_len == 0;
		store_event_clear(&e);
	}
	return empty;
}

static void write_leaf(void)
{
	struct write unit = { .event = { .type = EVENT_AUDIT_READ, .actor = EVENT_ACTOR_SYSTEM } };

	assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
}

static void sign_all(uint64_t *ret_size, uint8_t ret_root[MERKLE_HASH_LEN])
{
	STORE_SIGNED_AUTO c = { 0 };

	assert_int_equal(log_seal(d.kms.log, leaves() - 1, 10000, NULL), KMS_OK);
	assert_int_equal(log_newest(d.kms.log, d.store->r, &c, NULL), KMS_OK);
	*ret_size = c.size;
	memcpy(ret_root, c.root, MERKLE_HASH_LEN);
}

static kms_status begin(uint64_t size, const uint8_t root[MERKLE_HASH_LEN])
{
	struct op *op = t_op(&d, NULL, EVENT_LOG_PRUNED);
	struct kms_err err = { 0 };
	kms_status status = prune_begin(op, size, root, "old", &err);

	assert_int_equal(op->goes_on, status == KMS_OK);
	if (status != KMS_OK)
		assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void vote(const struct t_person *p)
{
	uint8_t id[STORE_ID_LEN];
	struct kms_err err;

	assert_true(t_open_request(&d, NULL, id));
	assert_int_equal(t_vote(&d, p, NULL, id, true, &err), KMS_OK);
}

static struct prune_state now(void)
{
	struct prune_state s = { 0 };

	assert_int_equal(prune_state(&d.kms, d.store->r, STORE_NO_TIME, &s, NULL), KMS_OK);
	return s;
}

static void recover(size_t pruned, size_t left_open)
{
	struct recovery_count count = { 0 };

	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_TYPE(EVENT_LOG_PRUNED), &count, NULL), KMS_OK);
	assert_int_equal(count.pruned, pruned);
	assert_int_equal(count.left_open, left_open);
	assert_int_equal(count.settled, 0);
}

static void the_type_of_a_leaf_is_its_own_and_nobody_elses_text(void **state)
{
	static const struct {
		const char *leaf;
		enum event_type type;
	} LEAVES[] = {
		{ "{\"ts\":\"x\",\"type\":\"key.get\",\"v\":1}", EVENT_KEY_GET },
		{ "{\"det\":{\"a\":\"\\\"type\\\":\\\"log.init\\\",\\\"v\\\":1}\"},\"ts\":\"x\",\"type\":\"key.get\",\"v\":1}", EVENT_KEY_GET },
		{ "{\"type\":\"log.init\",\"v\":1}", EVENT_LOG_INIT },
		{ "{\"type\":\"log.unheard_of\",\"v\":1}", EVENT_NONE },
		{ "\"type\":\"key.get\",\"v\":2}", EVENT_NONE },
		{ "\",\"v\":1}", EVENT_NONE },
		{ "", EVENT_NONE },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(LEAVES); i++)
		assert_int_equal(prune_type_of(LEAVES[i].leaf, strlen(LEAVES[i].leaf)), LEAVES[i].type);
	assert_true(prune_keeps(EVENT_NONE) && prune_keeps(EVENT_LOG_INIT) && prune_keeps(EVENT_LOG_PRUNED) && prune_keeps(EVENT_KEY_DESTROY) && prune_keeps(EVENT_TENANT_SHRED));
	assert_false(prune_keeps(EVENT_KEY_GET) || prune_keeps(EVENT_NODE_START) || prune_keeps(EVENT_AUDIT_READ) || prune_keeps(EVENT_TENANT_CREATE));
}

static void sql(const char *text)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(d.store->path, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s", sqlite3_errmsg(db));
	(void)sqlite3_close(db);
}

static kms_status check_leaf(uint64_t seq)
{
	struct prune_cover cover = { 0 };
	struct store_event e = { 0 };
	kms_status status;

	assert_int_equal(store_event(d.store->r, seq, &e, NULL), KMS_OK);
	status = prune_check_leaf(&d.kms, d.store->r, &e, &cover, NULL);
	store_event_clear(&e);
	return status;
}

/* Two seconds with another time are not two years. */
static void a_clock_that_was_set_back_makes_nothing_old(void **state)
{
	uint64_t size = 0;
	uint8_t root[MERKLE_HASH_LEN];

	(void)state;
	t_domain_pass(-500 * DAY_S);
	write_leaf();
	sign_all(&size, root);
	t_domain_pass(500 * DAY_S);
	assert_true(size > old_size && now().size == 0);
	assert_int_equal(begin(size, root), KMS_E_CONFLICT);
}

static void an_empty_body_is_pruned_only_where_the_log_says_so(void **state)
{
	struct store_change record = { .kind = STORE_META_PUT };
	struct log_status s = { 0 };
	uint64_t before = leaves();

	(void)state;
	assert_int_equal(check_leaf(20), KMS_OK);
	sql("CREATE TABLE kept AS SELECT seq, leaf FROM event; UPDATE event SET leaf = x'' WHERE seq = 20");
	assert_int_equal(check_leaf(20), KMS_E_INTEGRITY);
	assert_int_equal(check_leaf(20), KMS_E_INTEGRITY);
	assert_int_equal(leaves(), before + 1); /* said once */
	assert_true(t_leaf_says(&d, before, "\"type\":\"log.integrity_failed\""));
	assert_true(t_leaf_says(&d, before, "leaf 20 has no body"));
	log_status(d.kms.log, &s);
	assert_int_equal(s.damaged, 1);
	assert_int_equal(s.state, LOG_GOOD);
	/* A record alone, and one that names another leaf. */
	for (uint64_t intent = 0; intent < 40; intent++) {
		prune_record_make(&d.kms, 30, intent, &record.meta);
		t_change(&d, &record, 1);
		assert_int_equal(check_leaf(20), KMS_E_INTEGRITY);
		assert_true(now().pruned == 0);
	}
	sql("UPDATE event SET leaf = (SELECT leaf FROM kept WHERE kept.seq = event.seq) WHERE seq = 20; DELETE FROM meta WHERE name = 'log_pruned'");
	assert_int_equal(check_leaf(20), KMS_OK);
	sql("UPDATE event SET leaf = CAST(replace(CAST(leaf AS TEXT), 'audit.read', 'audit.raed') AS BLOB) WHERE seq = 20");
	assert_int_equal(check_leaf(20), KMS_E_INTEGRITY);
	sql("UPDATE event SET leaf = (SELECT leaf FROM kept WHERE kept.seq = event.seq) WHERE seq = 20");
}

static void what_is_young_unsigned_or_another_log_is_refused(void **state)
{
	uint8_t root[MERKLE_HASH_LEN];

	(void)state;
	assert_int_equal(begin(old_size, old_root), KMS_E_CONFLICT);
	assert_true(now().size == 0);
	d.kms.keep_days = 1; /* never below the least */
	t_domain_pass(2 * DAY_S);
	assert_int_equal(begin(old_size, old_root), KMS_E_CONFLICT);
	d.kms.keep_days = DAYS;
	t_domain_pass((DAYS - 1) * DAY_S);
	assert_true(now().size >= old_size);
	memcpy(root, old_root, sizeof(root));
	root[31] ^= 1;
	assert_int_equal(begin(old_size, root), KMS_E_INVALID);
	assert_int_equal(begin(old_size - 1, old_root), KMS_E_INVALID);
	d.kms.keep_days = 0;
	assert_int_equal(begin(old_size, old_root), KMS_E_CONFLICT);
	d.kms.keep_days = DAYS;
	assert_int_equal(count_empty(old_size), 0);
}

static void a_row_that_the_log_does_not_know_drops_nothing(void **state)
{
	struct store_change forged = { .kind = STORE_INTENT_OPEN, .intent = { .type = EVENT_LOG_PRUNED } };
	struct store_intent page[4];
	size_t count = 0;

	(void)state;
	forged.intent.obj[15] = 9; /* 0 to 9 */
	t_change(&d, &forged, 1);
	recover(0, 1);
	assert_int_equal(count_empty(old_size), 0);
	assert_int_equal(store_intents(d.store->r, UINT64_MAX, page, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	forged = (struct store_change){ .kind = STORE_INTENT_CLOSE, .intent = { .seq = page[0].seq } };
	t_change(&d, &forged, 1);
}

static void two_people_agree_and_an_interruption_anywhere_changes_nothing(void **state)
{
	static atomic_bool stops = true;
	struct store_intent open = { 0 };
	struct prune_done done = { 0 };
	size_t count = 0;
	uint64_t outcome, dropped;
	char text[64];

	(void)state;
	assert_int_equal(begin(old_size, old_root), KMS_E_APPROVAL);
	vote(&one);
	assert_int_equal(begin(old_size, old_root), KMS_E_APPROVAL);
	vote(&two);
	assert_int_equal(begin(old_size, old_root), KMS_OK);
	assert_true(now().is_under_way);
	assert_int_equal(begin(old_size, old_root), KMS_E_CONFLICT);
	/* Too young by what the leaves say themselves, whatever their rows say; and what is not our own work. */
	sql("CREATE TABLE times AS SELECT seq, ts_us FROM event; UPDATE event SET ts_us = 0 WHERE seq < 100");
	d.kms.keep_days = 2 * DAYS;
	recover(0, 1);
	d.kms.keep_days = 0;
	recover(0, 1);
	d.kms.keep_days = DAYS;
	sql("UPDATE event SET ts_us = (SELECT ts_us FROM times WHERE times.seq = event.seq); UPDATE event SET leaf = x'' WHERE seq = 200");
	recover(0, 1);
	assert_int_equal(count_empty(old_size), 1);
	sql("UPDATE event SET leaf = (SELECT leaf FROM kept WHERE kept.seq = event.seq) WHERE seq = 200; DROP TABLE kept; DROP TABLE times");
	d.kms.is_stopping = &stops;
	recover(0, 1);
	assert_int_equal(count_empty(old_size), 0);
	d.kms.is_stopping = NULL;
	/* All is dropped, and the outcome is not written: as a kill there leaves it. */
	assert_int_equal(store_intents(d.store->r, UINT64_MAX, &open, 1, &count, NULL), KMS_OK);
	assert_int_equal(prune_finish(&d.kms, d.store->r, &open, &done, NULL), KMS_OK);
	dropped = count_empty(old_size);
	assert_true(dropped >= MANY && dropped < old_size && done.count == dropped);
	assert_true(now().pruned == 0);
	outcome = leaves();
	recover(1, 0);
	(void)snprintf(text, sizeof(text), "\"det\":{\"count\":%llu,\"from\":0,", (unsigned long long)dropped);
	assert_true(t_leaf_says(&d, outcome, text));
	assert_true(t_leaf_says(&d, 0, "\"type\":\"log.init\""));
	assert_true(now().pruned == old_size && !now().is_under_way);
	assert_int_equal(count_empty(old_size), dropped);
	assert_int_equal(check_leaf(20), KMS_OK);
	assert_int_equal(begin(old_size, old_root), KMS_E_CONFLICT);
}

static void the_log_goes_on_and_holds_what_it_promised(void **state)
{
	uint64_t size = 0;
	uint8_t root[MERKLE_HASH_LEN];

	(void)state;
	t_domain_restart(&d);
	assert_int_equal(d.verdict.state, LOG_GOOD);
	t_domain_sign(&d, NULL);
	write_leaf();
	sign_all(&size, root);
	assert_true(size > old_size);
	assert_int_equal(log_state(d.kms.log), LOG_GOOD);
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	t_domain_sign(&d, NULL);
	d.kms.keep_days = DAYS;
	one = t_person(&d, NULL, "one", ROLE_APPROVER);
	two = t_person(&d, NULL, "two", ROLE_APPROVER);
	for (int i = 0; i < MANY; i++)
		write_leaf();
	sign_all(&old_size, old_root);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_type_of_a_leaf_is_its_own_and_nobody_elses_text),
		cmocka_unit_test(a_clock_that_was_set_back_makes_nothing_old),
		cmocka_unit_test(an_empty_body_is_pruned_only_where_the_log_says_so),
		cmocka_unit_test(what_is_young_unsigned_or_another_log_is_refused),
		cmocka_unit_test(a_row_that_the_log_does_not_know_drops_nothing),
		cmocka_unit_test(two_people_agree_and_an_interruption_anywhere_changes_nothing),
		cmocka_unit_test(the_log_goes_on_and_holds_what_it_promised),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
