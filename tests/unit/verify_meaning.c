/* The verifier on what leaves mean: an ordinary log has no finding, and each rule of audit-log.md section 9 that is broken has its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/log_rig.h"

#define TENANT .tenant = "t-1"
#define ACTOR .pid = "P-actor"
#define KEY TENANT, ACTOR, .key = "k"
#define TWO_PEOPLE "[{\"at\":\"x\",\"cred\":\"mtls\",\"pid\":\"P-1\"},{\"at\":\"x\",\"cred\":\"mtls\",\"pid\":\"P-2\"}]"

static struct log_rig rig;
#define ADD(...) log_rig_add(&rig, &(struct rig_leaf){ __VA_ARGS__ })

static int begin(void **state)
{
	(void)state;
	log_rig_open(&rig, RIG_ORIGIN, 1);
	log_rig_start(&rig);
	return 0;
}

static int end(void **state)
{
	(void)state;
	log_rig_close(&rig);
	return 0;
}

static void pair(const char *type, const char *object)
{
	uint64_t intent = ADD(.type = type, .phase = "intent", KEY, .object = object);
	(void)ADD(.type = type, .phase = "outcome", .ref = (int64_t)intent, KEY, .object = object);
}

static void create(const char *object) { pair("key.create", object); }

static void shred(const char *appr)
{
	uint64_t intent = ADD(.type = "tenant.shred", .phase = "intent", TENANT, ACTOR, .appr = appr);
	(void)ADD(.type = "tenant.shred", .phase = "outcome", .ref = (int64_t)intent, TENANT, ACTOR, .appr = appr);
}

static void purge(const char *appr)
{
	uint64_t intent = ADD(.type = "key.purge", .phase = "intent", KEY, .appr = appr);
	(void)ADD(.type = "key.purge", .phase = "outcome", .ref = (int64_t)intent, KEY, .appr = appr);
}

/* The log with a checkpoint over all of it has exactly these findings. */
static void expect(enum finding f, uint64_t count)
{
	char *checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	struct verify *v = NULL;
	enum verify_exit status = log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { checkpoint } }, &v);

	for (unsigned i = 0; i < FINDING_COUNT; i++) {
		uint64_t wanted = i == (unsigned)f ? count : 0;
		if (v->report.count[i] != wanted) {
			report_print(&v->report, stderr);
			fail_msg("%s: %d times, not %d", finding_code((enum finding)i), (int)v->report.count[i], (int)wanted);
		}
	}
	assert_int_equal(status, count == 0 ? EXIT_ALL_GOOD : finding_group(f));
	verify_close(v);
	free(checkpoint);
}
static void expect_nothing(void) { expect(F_LINE, 0); }

static void an_ordinary_life_has_no_finding(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "key.wrap", KEY, .object = "B");
	pair("key.rotate", "C");
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	(void)ADD(.type = "key.unwrap", KEY, .object = "C");
	(void)ADD(.type = "key.update", KEY, .object = "C", .det = "{\"enabled\":\"false\"}");
	(void)ADD(.type = "key.wrap", KEY, .object = "C", .result = "denied");
	(void)ADD(.type = "key.update", KEY, .object = "C", .det = "{\"enabled\":\"true\"}");
	(void)ADD(.type = "key.wrap", KEY, .object = "C");
	(void)ADD(.type = "key.revoke", KEY, .det = "{\"act\":\"revoke\"}");
	(void)ADD(.type = "key.wrap", KEY, .object = "C", .result = "denied");
	(void)ADD(.type = "key.revoke", KEY, .det = "{\"act\":\"reinstate\"}");
	(void)ADD(.type = "key.wrap", KEY, .object = "C");
	(void)ADD(.type = "log.heartbeat", .step_ms = 60000);
	(void)ADD(.type = "key.delete", KEY, .object = "C");
	(void)ADD(.type = "key.get", KEY, .object = "C");
	(void)ADD(.type = "key.recover", KEY, .object = "C");
	(void)ADD(.type = "key.wrap", KEY, .object = "C");
	(void)ADD(.type = "key.delete", KEY, .object = "C");
	purge(NULL);
	(void)ADD(.type = "key.wrap", KEY, .object = "C", .result = "failed");
	create("D");
	(void)ADD(.type = "key.wrap", KEY, .object = "D");
	shred(TWO_PEOPLE);
	(void)ADD(.type = "key.wrap", KEY, .object = "D", .result = "denied");
	(void)ADD(.type = "node.stop");
	expect_nothing();
}

static void an_act_that_a_crash_interrupted_is_settled_by_the_next_run(void **state)
{
	uint64_t intent;

	(void)state;
	intent = ADD(.type = "key.create", .phase = "intent", KEY, .object = "B");
	(void)ADD(.type = "node.start", .boot = "00000000000000b2", .wall_ms = 3600000);
	(void)ADD(.type = "key.create", .phase = "outcome", .result = "failed", .ref = (int64_t)intent, TENANT, .key = "k", .kind = "node",
	          .boot = "00000000000000b2");
	(void)ADD(.type = "node.recovered", .kind = "node", .boot = "00000000000000b2");
	expect_nothing();
}

static void a_purge_that_was_repeated_does_not_end_the_next_key_of_that_name(void **state)
{
	uint64_t first, second;

	(void)state;
	create("B");
	first = ADD(.type = "key.purge", .phase = "intent", KEY);
	second = ADD(.type = "key.purge", .phase = "intent", KEY);
	(void)ADD(.type = "key.purge", .phase = "outcome", .ref = (int64_t)second, KEY);
	create("C");
	(void)ADD(.type = "key.purge", .phase = "outcome", .ref = (int64_t)first, TENANT, .key = "k", .kind = "node");
	(void)ADD(.type = "key.wrap", KEY, .object = "C");
	expect_nothing();
}

/* What becomes due of a key is said of it, whatever has happened to it: that uses nothing. */
static void near_expiry_and_expiry_are_no_use(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "key.near_expiry", TENANT, .key = "k", .object = "B", .kind = "system", .det = "{\"exp\":1900000000}");
	(void)ADD(.type = "key.revoke", KEY, .object = "B", .det = "{\"act\":\"revoke\"}");
	purge(NULL);
	(void)ADD(.type = "key.expire", TENANT, .key = "k", .object = "B", .kind = "system", .det = "{\"exp\":1900000000}");
	expect_nothing();
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	expect(F_AFTER_END, 1);
}

static void a_restored_key_may_be_used_in_versions_that_no_leaf_names(void **state)
{
	(void)state;
	pair("key.restore", "B");
	(void)ADD(.type = "key.unwrap", KEY, .object = "C");
	expect_nothing();
}

/* Its keys were made in the log before, and what was open there is settled here without an intent. */
static void a_log_that_follows_another_may_use_its_keys(void **state)
{
	(void)state;
	log_rig_close(&rig);
	log_rig_open(&rig, RIG_ORIGIN, 1);
	(void)ADD(.type = "log.init", .det = "{\"old_origin\":\"x\",\"origin\":\"" RIG_ORIGIN "\",\"restored_size\":7}");
	(void)ADD(.type = "log.restored", .det = "{\"restored_size\":7}");
	(void)ADD(.type = "node.start");
	(void)ADD(.type = "key.create", .result = "unknown", TENANT, .key = "k", .kind = "node", .det = "{\"old_origin\":\"x\",\"old_seq\":3}");
	(void)ADD(.type = "key.purge", TENANT, .key = "gone", .kind = "node", .det = "{\"old_origin\":\"x\",\"old_seq\":4}");
	(void)ADD(.type = "key.wrap", KEY, .object = "B");
	expect_nothing();
	(void)ADD(.type = "key.wrap", TENANT, ACTOR, .key = "gone", .object = "C");
	expect(F_AFTER_END, 1);
}

static void an_outcome_needs_its_intent(void **state)
{
	(void)state;
	(void)ADD(.type = "key.create", .phase = "outcome", .ref = 1, KEY, .object = "B");
	expect(F_NO_INTENT, 1);
}

static void an_outcome_comes_once(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "key.create", .phase = "outcome", .ref = 2, .result = "failed", KEY, .object = "C");
	expect(F_NO_INTENT, 1);
}

static void an_outcome_without_a_ref_is_none(void **state)
{
	(void)state;
	(void)ADD(.type = "key.create", .phase = "outcome", .result = "failed", KEY);
	expect(F_NO_INTENT, 1);
}

static void an_outcome_is_of_its_intents_type_tenant_and_key(void **state)
{
	(void)state;
	int64_t i = (int64_t)ADD(.type = "key.create", .phase = "intent", KEY);
	(void)ADD(.type = "key.import", .phase = "outcome", .ref = i, .result = "failed", KEY);
	i = (int64_t)ADD(.type = "key.create", .phase = "intent", KEY);
	(void)ADD(.type = "key.create", .phase = "outcome", .ref = i, .result = "failed", ACTOR, .tenant = "t-2", .key = "k");
	i = (int64_t)ADD(.type = "key.create", .phase = "intent", KEY);
	(void)ADD(.type = "key.create", .phase = "outcome", .ref = i, .result = "failed", TENANT, ACTOR, .key = "other");
	expect(F_OTHER_INTENT, 3);
}

static void the_steps_of_a_root_rotation_belong_to_it_however_long_it_takes(void **state)
{
	int64_t i = (int64_t)ADD(.type = "tenant.rotate_root", .phase = "intent", TENANT, ACTOR);
	char det[64];

	(void)state;
	(void)snprintf(det, sizeof(det), "{\"act\":\"rewrap\",\"intent\":%lld}", (long long)i);
	for (int k = 0; k < 12; k++)
		(void)ADD(.type = "tenant.rotate_root", .kind = "node", TENANT, .det = det, .step_ms = 60000);
	(void)ADD(.type = "tenant.rotate_root", .phase = "outcome", .ref = i, .kind = "node", TENANT);
	expect_nothing();
	(void)ADD(.type = "tenant.rotate_root", .kind = "node", TENANT, .det = det);
	(void)ADD(.type = "tenant.rotate_root", .kind = "node", TENANT);
	expect(F_NO_INTENT, 2);
}

static void what_dies_names_the_destruction_that_it_belongs_to(void **state)
{
	int64_t i = 0;
	char det[64];

	(void)state;
	create("B");
	create("C");
	(void)ADD(.type = "key.destroy", .kind = "node", TENANT, .key = "k", .object = "C", .det = "{\"certificate\":\"c-1\"}");
	i = (int64_t)ADD(.type = "key.purge", .phase = "intent", KEY);
	(void)snprintf(det, sizeof(det), "{\"intent\":%lld,\"kind\":\"version\"}", (long long)i);
	(void)ADD(.type = "key.destroy", .kind = "node", TENANT, .key = "k", .object = "B", .det = det);
	expect_nothing();
	(void)ADD(.type = "key.destroy", .kind = "node", TENANT, .key = "other", .object = "D", .det = det);
	(void)ADD(.type = "key.destroy", .kind = "node", .tenant = "t-2", .key = "k", .object = "E", .det = det);
	expect(F_OTHER_INTENT, 2);
}

static void what_dies_of_no_open_intent_is_found(void **state)
{
	(void)state;
	create("B");
	purge(NULL);
	(void)ADD(.type = "key.destroy", .kind = "node", TENANT, .key = "k", .object = "B");
	(void)ADD(.type = "key.destroy", .kind = "node", TENANT, .key = "k", .object = "B", .det = "{\"intent\":4}");
	expect(F_NO_INTENT, 2);
}

static void an_intent_is_not_left_open_for_ten_minutes(void **state)
{
	(void)state;
	(void)ADD(.type = "key.create", .phase = "intent", KEY);
	for (int i = 0; i < 10; i++)
		(void)ADD(.type = "log.heartbeat", .step_ms = 60000);
	expect_nothing();
	(void)ADD(.type = "log.heartbeat", .step_ms = 60000);
	(void)ADD(.type = "log.heartbeat", .step_ms = 60000);
	expect(F_OPEN, 1);
}

static void what_comes_in_two_phases_does_not_succeed_in_one(void **state)
{
	(void)state;
	(void)ADD(.type = "authz.role_grant", TENANT, ACTOR);
	expect(F_PHASE, 1);
}

static void results_fit_their_phase(void **state)
{
	(void)state;
	(void)ADD(.type = "key.get", .result = "pending", KEY);
	(void)ADD(.type = "key.get", .result = "unknown", KEY);
	(void)ADD(.type = "key.get", .ref = 1, KEY);
	expect(F_PHASE, 3);
}

static void a_purged_key_is_not_used(void **state)
{
	(void)state;
	create("B");
	purge(NULL);
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	expect(F_AFTER_END, 1);
}

static void a_key_is_not_used_while_it_is_being_purged(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "key.purge", .phase = "intent", KEY);
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	expect(F_AFTER_END, 1);
}

static void a_version_of_a_purged_key_does_not_return_under_a_new_one(void **state)
{
	(void)state;
	create("B");
	purge(NULL);
	create("C");
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	expect(F_AFTER_END, 1);
}

static void a_destroyed_version_is_not_used(void **state)
{
	(void)state;
	create("B");
	pair("key.destroy", "B");
	(void)ADD(.type = "key.sign", KEY, .object = "B");
	expect(F_AFTER_END, 1);
}

static void nothing_of_a_shredded_tenant_succeeds(void **state)
{
	(void)state;
	create("B");
	shred(TWO_PEOPLE);
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	(void)ADD(.type = "key.delete", KEY, .object = "B");
	expect(F_AFTER_END, 2);
}

static void a_deleted_key_is_not_used(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "key.delete", KEY, .object = "B");
	(void)ADD(.type = "key.decrypt", KEY, .object = "B");
	expect(F_DELETED, 1);
}

static void a_revoked_or_disabled_version_is_not_used(void **state)
{
	(void)state;
	create("B");
	pair("key.rotate", "C");
	(void)ADD(.type = "key.revoke", KEY, .object = "B", .det = "{\"act\":\"revoke\"}");
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	(void)ADD(.type = "key.unwrap", KEY, .object = "C");
	(void)ADD(.type = "key.update", KEY, .object = "C", .det = "{\"enabled\":\"false\"}");
	(void)ADD(.type = "key.unwrap", KEY, .object = "C");
	expect(F_REVOKED, 2);
}

static void a_key_whose_versions_were_all_revoked_is_used_only_in_newer_ones(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "key.revoke", KEY, .det = "{\"act\":\"revoke\"}");
	pair("key.rotate", "C");
	(void)ADD(.type = "key.wrap", KEY, .object = "C");
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	expect(F_REVOKED, 1);
}

static void unlock(const char *appr)
{
	uint64_t intent = ADD(.type = "tenant.unlock", .phase = "intent", TENANT, ACTOR, .appr = appr);
	(void)ADD(.type = "tenant.unlock", .phase = "outcome", .ref = (int64_t)intent, TENANT, ACTOR);
}

static void a_locked_vault_uses_no_key(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "tenant.lock", TENANT, ACTOR);
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	(void)ADD(.type = "key.unwrap", ACTOR, .tenant = "t-2", .key = "k2", .result = "denied");
	unlock(NULL);
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	expect(F_REVOKED, 1);
}

static void a_vault_is_unlocked_by_its_quorum(void **state)
{
	static const char ONE[] = "[{\"at\":\"x\",\"cred\":\"jwt\",\"pid\":\"P-other\"}]";
	uint64_t i;

	(void)state;
	i = ADD(.type = "tenant.update", .phase = "intent", TENANT, ACTOR, .det = "{\"quorum\":1}");
	(void)ADD(.type = "tenant.update", .phase = "outcome", .ref = (int64_t)i, TENANT, ACTOR, .det = "{\"quorum\":1}");
	(void)ADD(.type = "tenant.lock", TENANT, ACTOR);
	unlock(ONE);
	(void)ADD(.type = "tenant.lock", TENANT, ACTOR);
	unlock(NULL);
	expect(F_APPROVERS, 1);
}

static void a_version_that_was_never_created_is_not_used(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "key.wrap", KEY, .object = "C");
	expect(F_UNCREATED, 1);
}

static void an_object_belongs_to_one_key(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "key.wrap", TENANT, ACTOR, .key = "other", .object = "B");
	(void)ADD(.type = "key.wrap", ACTOR, .tenant = "t-2", .key = "k", .object = "B");
	pair("key.rotate", "B");
	expect(F_OTHER_KEY, 3);
}

static void a_shred_needs_approvers(void **state)
{
	(void)state;
	shred(NULL);
	expect(F_APPROVERS, 1);
}

static void a_vault_that_asks_for_more_needs_more(void **state)
{
	uint64_t i;

	(void)state;
	i = ADD(.type = "tenant.update", .phase = "intent", TENANT, ACTOR, .det = "{\"purge_approvals\":1,\"quorum\":3}");
	(void)ADD(.type = "tenant.update", .phase = "outcome", .ref = (int64_t)i, TENANT, ACTOR, .det = "{\"purge_approvals\":1,\"quorum\":3}");
	create("B");
	purge(NULL);
	shred(TWO_PEOPLE);
	expect(F_APPROVERS, 2);
}

static void the_caller_may_ask_for_more_approvers(void **state)
{
	char *checkpoint = NULL;

	(void)state;
	shred(TWO_PEOPLE);
	checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	assert_int_equal(log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { checkpoint }, .approvers = 2 }, NULL), EXIT_ALL_GOOD);
	assert_int_equal(log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { checkpoint }, .approvers = 3 }, NULL), EXIT_MEANING);
	free(checkpoint);
}

static void nobody_approves_twice_or_for_themselves(void **state)
{
	(void)state;
	(void)ADD(.type = "authz.policy", TENANT, ACTOR,
	          .appr = "[{\"at\":\"x\",\"cred\":\"jwt\",\"pid\":\"P-1\"},{\"at\":\"x\",\"cred\":\"jwt\",\"pid\":\"P-1\"}]");
	expect(F_SAME_APPROVER, 1);
	(void)ADD(.type = "log.heartbeat");
	log_rig_close(&rig);
	(void)begin(NULL);
	(void)ADD(.type = "authz.policy", TENANT, ACTOR, .appr = "[{\"at\":\"x\",\"cred\":\"jwt\",\"pid\":\"P-actor\"}]");
	expect(F_OWN_APPROVAL, 1);
}

static void a_shred_that_goes_on_needs_no_second_approval(void **state)
{
	uint64_t second;

	(void)state;
	(void)ADD(.type = "tenant.shred", .phase = "intent", TENANT, ACTOR, .appr = TWO_PEOPLE);
	second = ADD(.type = "tenant.shred", .phase = "intent", TENANT, ACTOR);
	(void)ADD(.type = "tenant.shred", .phase = "outcome", .ref = (int64_t)second, TENANT, ACTOR);
	expect_nothing();
}

static void mono_never_falls(void **state)
{
	(void)state;
	(void)ADD(.type = "key.list", TENANT, ACTOR, .step_ms = -500, .wall_ms = 500);
	expect(F_MONO, 1);
}

static void a_run_begins_with_node_start(void **state)
{
	(void)state;
	(void)ADD(.type = "key.list", TENANT, ACTOR, .boot = "00000000000000b2");
	expect(F_BOOT, 1);
}

static void a_run_starts_once(void **state)
{
	(void)state;
	(void)ADD(.type = "node.start");
	expect(F_BOOT, 1);
}

static void a_run_that_ended_does_not_go_on(void **state)
{
	(void)state;
	(void)ADD(.type = "node.start", .boot = "00000000000000b2");
	(void)ADD(.type = "node.start");
	expect(F_BOOT_AGAIN, 1);
}

static void a_step_of_the_wall_clock_is_declared(void **state)
{
	(void)state;
	(void)ADD(.type = "log.clock", .wall_ms = 3600000, .det = "{\"delta_ms\":3600000}");
	(void)ADD(.type = "log.clock", .wall_ms = -7200000, .det = "{\"delta_ms\":-7200000}");
	(void)ADD(.type = "key.list", TENANT, ACTOR, .wall_ms = 1900);
	expect_nothing();
	(void)ADD(.type = "key.list", TENANT, ACTOR, .wall_ms = 2100);
	(void)ADD(.type = "key.list", TENANT, ACTOR, .wall_ms = -2100);
	expect(F_CLOCK, 2);
}

static void a_declared_step_is_the_one_that_was_made(void **state)
{
	(void)state;
	(void)ADD(.type = "log.clock", .wall_ms = 3600000, .det = "{\"delta_ms\":5000}");
	expect(F_CLOCK_LEAF, 1);
}

static void wall_time_does_not_fall_across_a_restart(void **state)
{
	(void)state;
	(void)ADD(.type = "node.start", .boot = "00000000000000b2", .wall_ms = -60000);
	expect(F_CLOCK, 1);
}

static void silence_is_at_most_three_minutes(void **state)
{
	(void)state;
	(void)ADD(.type = "log.heartbeat", .step_ms = 180000);
	(void)ADD(.type = "node.start", .boot = "00000000000000b2", .step_ms = 3600000);
	expect_nothing();
	(void)ADD(.type = "log.heartbeat", .boot = "00000000000000b2", .step_ms = 181000);
	expect(F_SILENCE, 1);
}

/* What version 0.5 wrote stands in the logs of those who began with it. */
static void silence_before_there_were_heartbeats_is_a_warning(void **state)
{
	char *checkpoint = NULL;
	struct verify *v = NULL;

	(void)state;
	(void)ADD(.type = "node.config", .step_ms = 86400000);
	(void)ADD(.type = "node.start", .boot = "00000000000000b2", .step_ms = 3600000);
	(void)ADD(.type = "log.heartbeat", .boot = "00000000000000b2", .step_ms = 60000);
	checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	assert_int_equal(log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { checkpoint } }, &v), EXIT_ALL_GOOD);
	assert_int_equal(v->report.count[W_SILENCE], 1);
	verify_close(v);
	free(checkpoint);
	(void)ADD(.type = "node.config", .boot = "00000000000000b2", .step_ms = 181000);
	checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	assert_int_equal(log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { checkpoint } }, &v), EXIT_MEANING);
	assert_int_equal(v->report.count[F_SILENCE], 1);
	verify_close(v);
	free(checkpoint);
}

static void a_silence_that_ends_in_a_gap_is_a_warning(void **state)
{
	char *checkpoint = NULL;
	struct verify *v = NULL;

	(void)state;
	(void)ADD(.type = "log.gap", .step_ms = 600000);
	checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	assert_int_equal(log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { checkpoint } }, &v), EXIT_ALL_GOOD);
	assert_int_equal(report_warnings(&v->report), 1);
	verify_close(v);
	free(checkpoint);
}

static void a_log_begins_with_log_init_and_has_no_second(void **state)
{
	(void)state;
	(void)ADD(.type = "log.init", .det = "{\"origin\":\"" RIG_ORIGIN "\"}");
	expect(F_LOG_START, 1);
}

static void an_unknown_type_is_a_warning_once(void **state)
{
	char *checkpoint = NULL;
	struct verify *v = NULL;

	(void)state;
	(void)ADD(.type = "vault.locked");
	(void)ADD(.type = "vault.locked");
	checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	assert_int_equal(log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { checkpoint } }, &v), EXIT_ALL_GOOD);
	assert_int_equal(v->report.count[W_TYPE], 1);
	verify_close(v);
	free(checkpoint);
}

/* The export as an auditor of another vault sees it: leaves of t-1 are hashes. */
static void what_cannot_be_seen_is_not_judged(void **state)
{
	char *checkpoint = NULL, *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	struct verify *v = NULL;
	struct rig_check check = { .rig = &rig };

	(void)state;
	create("B");
	(void)ADD(.type = "key.wrap", KEY, .object = "B");
	(void)ADD(.type = "log.clock", .wall_ms = 3600000, .det = "{\"delta_ms\":3600000}");
	(void)ADD(.type = "key.wrap", ACTOR, .tenant = "t-2", .key = "k", .object = "C", .step_ms = 400000);
	for (uint64_t seq = 0; seq < rig.size; seq++) {
		struct span line = log_rig_line(&rig, seq);
		char *hash = log_rig_base64(rig.hashes[seq], HASH_LEN);
		if (seq == rig.size - 1)
			(void)fwrite(line.p, 1, line.n, out);
		else
			(void)fprintf(out, "{\"hash\":\"%s\",\"seq\":%d}\n", hash, (int)seq);
		free(hash);
	}
	(void)fclose(out);
	checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0);
	check.checkpoints[0] = checkpoint;
	check.log = (struct span){ text, len };
	assert_int_equal(log_rig_verify(&check, &v), EXIT_ALL_GOOD);
	assert_int_equal(v->hidden, rig.size - 1);
	assert_int_equal(report_warnings(&v->report), 1);
	assert_int_equal(v->report.count[W_HIDDEN], 1);
	verify_close(v);
	free(checkpoint);
	free(text);
}

/* A hundred thousand intents and objects: what is remembered grows as it must, and the tables stay right. */
static void tables_find_what_they_hold(void **state)
{
	struct seed seed;
	struct table t;
	bool is_new = false;

	(void)state;
	assert_true(seed_draw(&seed));
	t = table_make(&seed, 2 * sizeof(uint64_t), sizeof(uint64_t));
	for (uint64_t i = 1; i <= 5000; i++) {
		uint64_t *record = table_add(&t, &i, &is_new);
		assert_non_null(record);
		assert_true(is_new);
		record[1] = i * i;
	}
	for (uint64_t i = 1; i <= 5000; i += 3)
		table_remove(&t, &i);
	for (uint64_t i = 1; i <= 5000; i++) {
		const uint64_t *record = table_find(&t, &i);
		if (i % 3 == 1)
			assert_null(record);
		else
			assert_int_equal(record[1], i * i);
	}
	assert_int_equal(t.count, 5000 - 1667);
	table_clear(&t);
}

/* From the reference implementation's vectors: key 00..0f, message 00..0e. */
static void siphash_is_siphash(void **state)
{
	struct seed seed;
	uint8_t key[16], message[15];

	(void)state;
	for (uint8_t i = 0; i < 16; i++)
		key[i] = i;
	for (uint8_t i = 0; i < 15; i++)
		message[i] = i;
	memcpy(&seed, key, sizeof(seed));
	assert_true(seed_hash(&seed, &(struct span){ (const char *)message, sizeof(message) }, 1) == 0xa129ca6149be45e5U);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_ordinary_life_has_no_finding),
		T(an_act_that_a_crash_interrupted_is_settled_by_the_next_run),
		T(a_purge_that_was_repeated_does_not_end_the_next_key_of_that_name),
		T(near_expiry_and_expiry_are_no_use),
		T(a_restored_key_may_be_used_in_versions_that_no_leaf_names),
		T(a_log_that_follows_another_may_use_its_keys),
		T(an_outcome_needs_its_intent),
		T(an_outcome_comes_once),
		T(an_outcome_without_a_ref_is_none),
		T(an_outcome_is_of_its_intents_type_tenant_and_key),
		T(the_steps_of_a_root_rotation_belong_to_it_however_long_it_takes),
		T(what_dies_names_the_destruction_that_it_belongs_to),
		T(what_dies_of_no_open_intent_is_found),
		T(an_intent_is_not_left_open_for_ten_minutes),
		T(what_comes_in_two_phases_does_not_succeed_in_one),
		T(results_fit_their_phase),
		T(a_purged_key_is_not_used),
		T(a_key_is_not_used_while_it_is_being_purged),
		T(a_version_of_a_purged_key_does_not_return_under_a_new_one),
		T(a_destroyed_version_is_not_used),
		T(nothing_of_a_shredded_tenant_succeeds),
		T(a_deleted_key_is_not_used),
		T(a_revoked_or_disabled_version_is_not_used),
		T(a_key_whose_versions_were_all_revoked_is_used_only_in_newer_ones),
		T(a_locked_vault_uses_no_key),
		T(a_vault_is_unlocked_by_its_quorum),
		T(a_version_that_was_never_created_is_not_used),
		T(an_object_belongs_to_one_key),
		T(a_shred_needs_approvers),
		T(a_vault_that_asks_for_more_needs_more),
		T(the_caller_may_ask_for_more_approvers),
		T(nobody_approves_twice_or_for_themselves),
		T(a_shred_that_goes_on_needs_no_second_approval),
		T(mono_never_falls),
		T(a_run_begins_with_node_start),
		T(a_run_starts_once),
		T(a_run_that_ended_does_not_go_on),
		T(a_step_of_the_wall_clock_is_declared),
		T(a_declared_step_is_the_one_that_was_made),
		T(wall_time_does_not_fall_across_a_restart),
		T(silence_is_at_most_three_minutes),
		T(silence_before_there_were_heartbeats_is_a_warning),
		T(a_silence_that_ends_in_a_gap_is_a_warning),
		T(a_log_begins_with_log_init_and_has_no_second),
		T(an_unknown_type_is_a_warning_once),
		T(what_cannot_be_seen_is_not_judged),
		cmocka_unit_test(tables_find_what_they_hold),
		cmocka_unit_test(siphash_is_siphash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
