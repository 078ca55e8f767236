/* tests/unit/core_person.c - records of persons on a real token and database: sealed to their vault, number and caller; named only when they are there; gone once erased. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "server/core/person_parts.h"
#include "server/core/restored.h"
#include "tests/support/approvals.h"

#define SHAPES_WRITTEN 70 /* two pages and some */
#define AGENTS 512        /* that one caller may have on a day */
#define KEYS 128          /* of vaults, at hand at one time */

static struct t_domain d;

static struct store_vault vault_of(const char *name)
{
	struct store_vault v = { 0 };

	assert_int_equal(store_vault_by_name(d.store->r, name, &v, NULL), KMS_OK);
	return v;
}

static kms_status set_days(const char *vault, uint16_t days, const char *basis)
{
	const struct vault_update u = { .has_person_days = true, .person_days = days, .has_person_basis = true, .person_basis = basis };
	struct op *op = t_op(&d, vault, EVENT_TENANT_UPDATE);
	struct kms_err err = { 0 };
	kms_status status = vault_update(op, &u, &err);

	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void keeping_vault(const char *name)
{
	t_vault(&d, name, false);
	assert_int_equal(set_days(name, 30, "a contract"), KMS_OK);
}

/* A request with this user agent, as far as its leaf goes. @return its leaf */
static uint64_t call(const char *vault, const char *agent, bool may_ask, struct event *ret)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_GET);
	uint64_t seq = 0;

	(void)snprintf(op->caller.agent, sizeof(op->caller.agent), "%s", agent);
	person_note(op, may_ask);
	person_attach(op);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	person_entered(op);
	seq = op->write.seq;
	*ret = op->write.event;
	t_op_free(op);
	return seq;
}

static uint64_t ref_of(const char *vault, const char *agent)
{
	struct event e = { 0 };

	(void)call(vault, agent, true, &e);
	assert_true(e.has_person);
	return e.person_ref;
}

static struct store_person row_of(uint64_t ref)
{
	struct store_person row = { 0 };

	assert_int_equal(store_person(d.store->r, ref, &row, NULL), KMS_OK);
	return row;
}

static size_t count_rows(const char *vault)
{
	static struct store_person rows[PERSON_PAGE];
	struct store_vault v = vault_of(vault);
	uint64_t after = 0;
	size_t total = 0, count = 0;

	do {
		assert_int_equal(store_persons(d.store->r, v.id, NULL, STORE_NO_TIME, after, rows, PERSON_PAGE, &count, NULL), KMS_OK);
		total += count;
		after = count > 0 ? rows[count - 1].ref : after;
	} while (count == PERSON_PAGE);
	return total;
}

static struct persons_count counts(void)
{
	struct persons_count c = { 0 };

	persons_count(d.kms.persons, &c);
	return c;
}

static void records_are_kept_only_where_the_policy_says_so_and_why(void **state)
{
	struct event e = { 0 };

	(void)state;
	t_vault(&d, "quiet", false);
	(void)call("quiet", "a", true, &e);
	assert_false(e.has_person);
	assert_int_equal(set_days("quiet", 30, ""), KMS_E_INVALID);
	assert_int_equal(set_days("quiet", PERSON_DAYS_MAX + 1, "a contract"), KMS_E_INVALID);
	assert_int_equal(count_rows("quiet"), 0);
}

static void a_leaf_names_a_record_that_is_there_and_the_same_again_names_it_too(void **state)
{
	struct event one = { 0 }, two = { 0 };
	char member[128], commitment[64];
	uint64_t seq;

	(void)state;
	keeping_vault("kept");
	seq = call("kept", "agent", true, &one);
	(void)call("kept", "agent", true, &two);
	assert_true(one.has_person && two.has_person);
	assert_true(one.person_ref == two.person_ref);
	assert_true(ref_of("kept", "other") != one.person_ref);
	t_domain_pass(86400);
	assert_true(ref_of("kept", "agent") != one.person_ref); /* another day */
	b64url_encode(one.person_commitment, sizeof(one.person_commitment), commitment);
	(void)snprintf(member, sizeof(member), "\"phase\":\"single\",\"pii\":{\"com\":\"%s\",\"ref\":%llu},\"re", commitment, (unsigned long long)one.person_ref);
	assert_true(t_leaf_says(&d, seq, member));
	assert_true(row_of(one.person_ref).sealed_len > 0);
}

static void every_flipped_bit_and_every_other_place_is_refused(void **state)
{
	struct store_vault v, other;
	struct store_person row, changed;
	char text[PERSON_TEXT_MAX + 1];
	size_t len = 0;

	(void)state;
	keeping_vault("sealed");
	keeping_vault("beside");
	(void)ref_of("beside", "agent"); /* its key is at hand */
	row = row_of(ref_of("sealed", "agent"));
	v = vault_of("sealed");
	other = vault_of("beside");
	assert_int_equal(person_open(&d.kms, &v, &row, text, &len, NULL), KMS_OK);
	assert_non_null(strstr(text, "\"agent\":\"agent\""));
	for (size_t bit = 0; bit < 8 * row.sealed_len; bit++) {
		changed = row;
		changed.sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(person_open(&d.kms, &v, &changed, text, &len, NULL), KMS_E_CONFLICT);
	}
	changed = row;
	memcpy(changed.vault_id, other.id, STORE_ID_LEN);
	assert_int_equal(person_open(&d.kms, &other, &changed, text, &len, NULL), KMS_E_CONFLICT);
	changed = row;
	changed.ref++;
	assert_int_equal(person_open(&d.kms, &v, &changed, text, &len, NULL), KMS_E_CONFLICT);
	changed = row;
	changed.pid[0] ^= 1;
	assert_int_equal(person_open(&d.kms, &v, &changed, text, &len, NULL), KMS_E_CONFLICT);
	for (size_t cut = 0; cut < row.sealed_len; cut++) {
		changed = row;
		changed.sealed_len = cut;
		assert_int_equal(person_open(&d.kms, &v, &changed, text, &len, NULL), KMS_E_CONFLICT);
	}
}

static void without_the_key_at_hand_the_leaf_goes_without_a_record_and_is_counted(void **state)
{
	struct store_vault v;
	struct event e = { 0 };
	uint64_t missed;

	(void)state;
	keeping_vault("away");
	v = vault_of("away");
	missed = counts().missed;
	(void)call("away", "agent", false, &e);
	assert_false(e.has_person);
	assert_int_equal(counts().missed, missed + 1);
	assert_int_equal(person_load_key(&d.kms, &v, NULL), KMS_OK);
	(void)call("away", "agent", false, &e);
	assert_true(e.has_person);
	assert_int_equal(counts().missed, missed + 1);
}

static void what_was_on_its_way_when_its_vault_was_dropped_does_not_come_back(void **state)
{
	struct store_vault v;
	struct op *op;
	struct event e = { 0 };
	uint64_t ref, missed;

	(void)state;
	keeping_vault("dropped");
	v = vault_of("dropped");
	op = t_op(&d, "dropped", EVENT_KEY_GET);
	person_note(op, true);
	assert_non_null(op->person);
	ref = op->person->row.ref;
	persons_drop(d.kms.persons, v.id, NULL);
	person_attach(op);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	person_entered(op);
	t_op_free(op);
	missed = counts().missed;
	(void)call("dropped", "", false, &e);
	assert_false(e.has_person); /* neither the record nor the key is at hand */
	assert_int_equal(counts().missed, missed + 1);
	(void)call("dropped", "", true, &e);
	assert_true(e.has_person && e.person_ref != ref);
}

/* As far as the decision: nothing is written. @return a record with, or without, the user agent would be made or is there */
static bool is_named(const char *vault, const char *agent, const char *peer)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_GET);
	bool named = false;

	(void)snprintf(op->caller.agent, sizeof(op->caller.agent), "%s", agent);
	(void)snprintf(op->caller.peer, sizeof(op->caller.peer), "%s", peer);
	person_note(op, true);
	named = op->person != NULL || op->write.event.has_person;
	t_op_free(op);
	return named;
}

static void text_of(const char *vault, uint64_t ref, char text[PERSON_TEXT_MAX + 1])
{
	struct store_vault v = vault_of(vault);
	struct store_person row = row_of(ref);
	size_t len = 0;

	assert_int_equal(person_open(&d.kms, &v, &row, text, &len, NULL), KMS_OK);
}

static void whoever_comes_in_ever_new_shapes_does_not_fill_the_database_and_hides_no_address(void **state)
{
	struct event e = { 0 }, plain = { 0 };
	char agent[32], text[PERSON_TEXT_MAX + 1];

	(void)state;
	keeping_vault("shapes");
	keeping_vault("neighbour");
	t_domain_pass(86400);
	(void)call("shapes", "", true, &e); /* the vault's key is at hand */
	for (int i = 0; i < SHAPES_WRITTEN - 1; i++) {
		(void)snprintf(agent, sizeof(agent), "agent %d", i);
		(void)call("shapes", agent, true, &e);
		assert_true(e.has_person);
	}
	for (int i = SHAPES_WRITTEN - 1; i < AGENTS; i++) {
		(void)snprintf(agent, sizeof(agent), "agent %d", i);
		assert_true(is_named("shapes", agent, ""));
	}
	/* From here on a record of his address, for all agents. */
	(void)call("shapes", "one more", true, &plain);
	assert_true(plain.has_person);
	text_of("shapes", plain.person_ref, text);
	assert_null(strstr(text, "\"agent\""));
	assert_non_null(strstr(text, "\"addr\""));
	for (int i = 0; i < 10; i++) {
		(void)snprintf(agent, sizeof(agent), "and more %d", i);
		(void)call("shapes", agent, true, &e);
		assert_true(e.has_person && e.person_ref == plain.person_ref);
	}
	assert_int_equal(count_rows("shapes"), SHAPES_WRITTEN);
	assert_true(is_named("shapes", "one more", "192.0.2.7")); /* another address is a record of its own */
	(void)call("neighbour", "seen", true, &e); /* the same caller in another vault has all of his agents */
	text_of("neighbour", e.person_ref, text);
	assert_non_null(strstr(text, "\"agent\":\"seen\""));
}

/* More vaults than keys are at hand: whoever is met without his key has it at the next turn, though nothing that could wait for the device asked for it. */
static void more_vaults_than_keys_at_hand_take_turns(void **state)
{
	struct store_vault v;
	struct event e = { 0 };
	size_t erased = 0;

	(void)state;
	keeping_vault("late");
	v = vault_of("late");
	for (uint8_t i = 0; i < KEYS; i++) {
		memset(v.id, i, sizeof(v.id)); /* one key stands for all of them */
		assert_int_equal(person_load_key(&d.kms, &v, NULL), KMS_OK);
	}
	persons_wake(d.kms.persons);
	assert_int_equal(persons_turn(&d.kms, d.store->r, &erased, NULL), KMS_OK);
	(void)call("late", "agent", false, &e);
	assert_false(e.has_person);
	assert_int_equal(persons_turn(&d.kms, d.store->r, &erased, NULL), KMS_OK);
	(void)call("late", "agent", false, &e);
	assert_true(e.has_person);
}

static kms_status show_with(const char *vault, uint64_t ref, uint64_t seq, bool *ret_matches)
{
	struct op *op = t_op(&d, vault, EVENT_AUDIT_READ);
	struct person_shown shown = { 0 };
	kms_status status = person_show(op, ref, "a test", &seq, &shown, NULL);

	*ret_matches = shown.leaf_matches;
	t_op_free(op);
	return status;
}

/* Which leaves of others are kept is not for a vault's officer to find out. */
static void whether_a_leaf_of_another_vault_was_pruned_is_not_told(void **state)
{
	struct event mine = { 0 }, theirs = { 0 };
	uint64_t seqs[2];
	struct store_change prune = { .kind = STORE_EVENTS_PRUNE, .prune = { .seqs = seqs, .count = 2 } };
	bool matches = false;

	(void)state;
	keeping_vault("asking");
	keeping_vault("asked-about");
	seqs[0] = call("asking", "agent", true, &mine);
	seqs[1] = call("asked-about", "agent", true, &theirs);
	assert_int_equal(show_with("asking", mine.person_ref, seqs[0], &matches), KMS_OK);
	assert_true(matches);
	assert_int_equal(show_with("asking", mine.person_ref, seqs[1], &matches), KMS_OK);
	assert_false(matches);
	t_change(&d, &prune, 1);
	assert_int_equal(show_with("asking", mine.person_ref, seqs[0], &matches), KMS_E_GONE);
	assert_int_equal(show_with("asking", mine.person_ref, seqs[1], &matches), KMS_OK);
	assert_false(matches);
}

/* Records that leaves of this range say were erased after a restore. */
static size_t count_of_restores(uint64_t from, uint64_t to, size_t *ret_leaves)
{
	static const char DET[] = "\"det\":{\"basis\":\"restore\",\"by\":\"restore\",\"count\":";
	size_t total = 0;

	*ret_leaves = 0;
	for (uint64_t seq = from; seq < to; seq++) {
		struct store_event e = { 0 };
		const char *at = NULL;

		assert_int_equal(store_event(d.store->r, seq, &e, NULL), KMS_OK);
		at = memmem(e.leaf, e.leaf_len, DET, sizeof(DET) - 1);
		if (at != NULL) {
			total += strtoul(at + sizeof(DET) - 1, NULL, 10);
			(*ret_leaves)++;
		}
		store_event_clear(&e);
	}
	return total;
}

static uint64_t size_of_log(void)
{
	uint64_t size = 0;

	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	return size;
}

/* What was erased is in the backup still: so nothing of it stays when that is restored, in any vault. */
static void a_restored_database_has_no_records(void **state)
{
	struct store_change mark = { .kind = STORE_META_PUT, .meta = { .name = "restored", .value_len = 33, .value = { 1 } } };
	struct event e = { 0 };
	atomic_bool stopping = true;
	char agent[32];
	uint64_t before, after;
	size_t leaves = 0;

	(void)state;
	keeping_vault("brought-back");
	for (int i = 0; i < PERSON_PAGE + 3; i++) {
		(void)snprintf(agent, sizeof(agent), "agent %d", i);
		(void)ref_of("brought-back", agent);
	}
	assert_int_equal(set_days("brought-back", 0, ""), KMS_OK); /* also where none are made any more */
	keeping_vault("beside-it");
	(void)ref_of("beside-it", "agent");
	assert_int_equal(restored_write(&d.kms, d.store->r, NULL), KMS_OK);
	assert_int_equal(count_rows("brought-back"), PERSON_PAGE + 3); /* it was not restored */
	t_change(&d, &mark, 1);
	d.kms.is_stopping = &stopping;
	assert_int_equal(restored_write(&d.kms, d.store->r, NULL), KMS_E_SHUTDOWN);
	d.kms.is_stopping = NULL;
	before = size_of_log();
	assert_int_equal(restored_write(&d.kms, d.store->r, NULL), KMS_OK); /* it goes on where it was stopped */
	after = size_of_log();
	assert_int_equal(count_rows("brought-back"), 0);
	assert_int_equal(count_rows("beside-it"), 0);
	assert_true(count_of_restores(before, after, &leaves) >= PERSON_PAGE + 4);
	assert_true(leaves >= 3);
	assert_true(t_leaf_says(&d, after - 1, "\"type\":\"node.restored\""));
	(void)call("beside-it", "agent", true, &e);
	assert_true(e.has_person); /* a new one; the cache does not name what is gone */
	(void)row_of(e.person_ref);
	assert_int_equal(restored_write(&d.kms, d.store->r, NULL), KMS_OK);
	assert_int_equal(count_rows("beside-it"), 1);
}

static void all_of_one_person_are_erased_page_by_page_and_told_by_number_alone(void **state)
{
	struct op *op = t_op(&d, "shapes", EVENT_AUDIT_ERASE);
	struct person_erasure what = { .basis = BASIS_ERASURE };
	struct event e = { 0 };
	struct kms_err err = { 0 };
	size_t count = 0;
	uint64_t seq;

	(void)state;
	memcpy(what.pid, op->write.event.pid, sizeof(what.pid));
	assert_int_equal(person_erase(op, &what, &count, &err), KMS_OK);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	seq = op->write.seq;
	t_op_free(op);
	assert_int_equal(count, SHAPES_WRITTEN);
	assert_int_equal(count_rows("shapes"), 0);
	assert_true(t_leaf_says(&d, seq - 1, "\"det\":{\"basis\":\"gdpr-art17\",\"by\":\"person\",\"count\":32}"));
	assert_true(t_leaf_says(&d, seq, "\"count\":6,\"total\":70"));
	t_domain_pass(86400);
	(void)call("shapes", "agent 1", true, &e);
	assert_true(e.has_person);
}

static void what_is_past_its_time_and_what_nobody_keeps_any_more_goes_by_itself(void **state)
{
	size_t erased = 0;

	(void)state;
	keeping_vault("aging");
	(void)ref_of("aging", "old");
	t_domain_pass(20 * 86400);
	(void)ref_of("aging", "new");
	assert_int_equal(persons_turn(&d.kms, d.store->r, &erased, NULL), KMS_OK);
	assert_int_equal(count_rows("aging"), 2);
	t_domain_pass(11 * 86400);
	assert_int_equal(persons_turn(&d.kms, d.store->r, &erased, NULL), KMS_OK);
	assert_int_equal(count_rows("aging"), 1);
	assert_true(erased > 0);
	assert_int_equal(set_days("aging", 0, ""), KMS_OK);
	assert_int_equal(persons_turn(&d.kms, d.store->r, &erased, NULL), KMS_OK);
	assert_int_equal(count_rows("aging"), 1); /* once a minute */
	persons_wake(d.kms.persons);
	assert_int_equal(persons_turn(&d.kms, d.store->r, &erased, NULL), KMS_OK);
	assert_int_equal(count_rows("aging"), 0);
}

static void a_shred_ends_the_key_and_the_records(void **state)
{
	struct store_vault v;
	struct store_person row;
	char text[PERSON_TEXT_MAX + 1];
	size_t len = 0;

	(void)state;
	keeping_vault("shredded");
	row = row_of(ref_of("shredded", "agent"));
	v = vault_of("shredded");
	(void)t_shred(&d, "shredded", "over");
	assert_int_equal(count_rows("shredded"), 0);
	assert_int_not_equal(person_open(&d.kms, &v, &row, text, &len, NULL), KMS_OK);
}

/* A copy of the files that was put back, without holdfastd restore: the acceptance of its log marks it. */
static void a_database_that_was_put_back_has_no_records_either(void **state)
{
	struct store_change changes[RESTORED_STAND_IN_CHANGES];
	size_t count = 0, leaves = 0;
	uint64_t before;

	(void)state;
	keeping_vault("put-back");
	(void)ref_of("put-back", "agent");
	assert_int_equal(restored_stand_in(d.store->r, d.kms.clock, changes, &count, NULL), KMS_OK);
	t_change(&d, changes, count);
	before = size_of_log();
	assert_int_equal(restored_write(&d.kms, d.store->r, NULL), KMS_OK);
	assert_int_equal(count_rows("put-back"), 0);
	assert_true(count_of_restores(before, size_of_log(), &leaves) >= 1);
	assert_int_equal(size_of_log(), before + leaves); /* and no node.restored: no backup was */
	(void)ref_of("put-back", "agent");
	assert_int_equal(restored_write(&d.kms, d.store->r, NULL), KMS_OK);
	assert_int_equal(count_rows("put-back"), 1);
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	return persons_new(&d.kms.persons, NULL) == KMS_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	persons_free(d.kms.persons);
	d.kms.persons = NULL;
	t_domain_close(&d);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_kept_only_where_the_policy_says_so_and_why),
		cmocka_unit_test(a_leaf_names_a_record_that_is_there_and_the_same_again_names_it_too),
		cmocka_unit_test(every_flipped_bit_and_every_other_place_is_refused),
		cmocka_unit_test(without_the_key_at_hand_the_leaf_goes_without_a_record_and_is_counted),
		cmocka_unit_test(what_was_on_its_way_when_its_vault_was_dropped_does_not_come_back),
		cmocka_unit_test(whoever_comes_in_ever_new_shapes_does_not_fill_the_database_and_hides_no_address),
		cmocka_unit_test(all_of_one_person_are_erased_page_by_page_and_told_by_number_alone),
		cmocka_unit_test(what_is_past_its_time_and_what_nobody_keeps_any_more_goes_by_itself),
		cmocka_unit_test(a_shred_ends_the_key_and_the_records),
		cmocka_unit_test(whether_a_leaf_of_another_vault_was_pruned_is_not_told),
		cmocka_unit_test(a_restored_database_has_no_records),
		cmocka_unit_test(a_database_that_was_put_back_has_no_records_either),
		cmocka_unit_test(more_vaults_than_keys_at_hand_take_turns),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
