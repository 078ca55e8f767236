/* The verifier on logs that were pruned: what log.pruned announces is missed nowhere else, and what is hidden excuses nothing that it cannot be. */
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

static void create(const char *object)
{
	uint64_t intent = ADD(.type = "key.create", .phase = "intent", KEY, .object = object);
	(void)ADD(.type = "key.create", .phase = "outcome", .ref = (int64_t)intent, KEY, .object = object);
}

static void purge(void)
{
	uint64_t intent = ADD(.type = "key.purge", .phase = "intent", KEY);
	(void)ADD(.type = "key.purge", .phase = "outcome", .ref = (int64_t)intent, KEY);
}

static void shred(const char *appr)
{
	uint64_t intent = ADD(.type = "tenant.shred", .phase = "intent", TENANT, ACTOR, .appr = appr);
	(void)ADD(.type = "tenant.shred", .phase = "outcome", .ref = (int64_t)intent, TENANT, ACTOR, .appr = appr);
}

/* What is left of the rig's log when these leaves are known by their hash only. */
#define HIDDEN_MAX 12
struct view {
	uint64_t hidden[HIDDEN_MAX]; /* ends at the first 0: log.init is never hidden */
	bool is_complete, is_read_once;
};

static bool hides(const struct view *view, uint64_t seq)
{
	for (size_t i = 0; i < HIDDEN_MAX && view->hidden[i] != 0; i++)
		if (view->hidden[i] == seq)
			return true;
	return false;
}

/* These findings and no others; f may be a warning, and a view of others has that of what is hidden. */
static void expect_of_view(const struct view *view, enum finding f, uint64_t count)
{
	char *checkpoint = log_rig_checkpoint(&rig, rig.size, RIG_LOG, 0), *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	struct verify *v = NULL;
	enum verify_exit status = EXIT_USAGE;

	for (uint64_t seq = 0; seq < rig.size; seq++) {
		struct span line = log_rig_line(&rig, seq);
		char *hash = log_rig_base64(rig.hashes[seq], HASH_LEN);
		if (hides(view, seq))
			(void)fprintf(out, "{\"hash\":\"%s\",\"seq\":%d}\n", hash, (int)seq);
		else
			(void)fwrite(line.p, 1, line.n, out);
		free(hash);
	}
	(void)fclose(out);
	status = log_rig_verify(&(struct rig_check){ .rig = &rig, .checkpoints = { checkpoint }, .log = { text, len }, .is_complete = view->is_complete,
	                                             .is_read_once = view->is_read_once }, &v);
	for (unsigned i = 0; i < FINDING_COUNT; i++) {
		bool is_usual = i == W_HIDDEN && f != W_HIDDEN && !view->is_complete;
		uint64_t wanted = i == (unsigned)f ? count : 0;
		if (v->report.count[i] != wanted && !is_usual) {
			report_print(&v->report, stderr);
			fail_msg("%s: %d times, not %d", finding_code((enum finding)i), (int)v->report.count[i], (int)wanted);
		}
	}
	assert_int_equal(status, count == 0 ? EXIT_ALL_GOOD : finding_group(f));
	verify_close(v);
	free(checkpoint);
	free(text);
}
#define VIEW(...) &(struct view){ .hidden = { __VA_ARGS__ } }
#define COMPLETE(...) &(struct view){ .hidden = { __VA_ARGS__ }, .is_complete = true }
/* All of it is seen. */
static void expect(enum finding f, uint64_t count) { expect_of_view(VIEW(0), f, count); }

static uint64_t begin_pruning(const char *appr, uint64_t from, uint64_t to, const char *root)
{
	char det[128];

	(void)snprintf(det, sizeof(det), "{\"from\":%d,\"root\":\"%s\",\"to\":%d}", (int)from, root, (int)to);
	return ADD(.type = "log.pruned", .phase = "intent", ACTOR, .appr = appr, .det = det);
}

static void end_pruning(uint64_t intent, uint64_t from, uint64_t to, uint64_t count, const char *root)
{
	char det[128];

	(void)snprintf(det, sizeof(det), "{\"count\":%d,\"from\":%d,\"root\":\"%s\",\"to\":%d}", (int)count, (int)from, root, (int)to);
	(void)ADD(.type = "log.pruned", .phase = "outcome", .ref = (int64_t)intent, .kind = "node", .det = det);
}

static char *root_at(uint64_t size)
{
	uint8_t root[HASH_LEN] = { 0 };

	if (size <= rig.size)
		log_rig_root(&rig, size, root);
	return log_rig_base64(root, HASH_LEN);
}

static void prune(const char *appr, uint64_t from, uint64_t to, uint64_t count)
{
	char *root = root_at(to);

	end_pruning(begin_pruning(appr, from, to, root), from, to, count, root);
	free(root);
}

/* 0 log.init, 1 node.start, 2 3 create B, 4 delete, 5 6 purge, 7 8 create C; then the prunings 9 10, 11 12, and a use at 13. */
static void a_log_is_pruned_by_two_people_in_ranges_that_follow_one_another(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "key.delete", KEY, .object = "B");
	purge();
	create("C");
	prune(TWO_PEOPLE, 0, 3, 2);
	prune(TWO_PEOPLE, 3, 9, 4);
	(void)ADD(.type = "key.wrap", KEY, .object = "C"); /* what made it is gone, and the purge before is not */
	expect(F_PRUNED, 0);
	expect_of_view(COMPLETE(1, 2, 3, 4, 7, 8), F_HIDDEN, 0);
	expect_of_view(VIEW(1, 2, 3, 4, 7, 8), W_HIDDEN, 0);
	expect_of_view(COMPLETE(7, 8), F_HIDDEN, 0); /* an export that was begun before the first, and went on after the second */
}

static void what_log_pruned_does_not_say_is_missed(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "log.clock", .kind = "node", .det = "{\"delta_ms\":0}");
	prune(TWO_PEOPLE, 0, 5, 2); /* 5 and 6; says of 2 and 3 */
	(void)ADD(.type = "authz.policy", TENANT, ACTOR);
	expect_of_view(COMPLETE(2, 3), F_HIDDEN, 0);
	expect_of_view(COMPLETE(2, 3, 4), F_HIDDEN, 1); /* one too many */
	expect_of_view(COMPLETE(2, 3, 7), F_HIDDEN, 1); /* behind the range */
	expect_of_view(VIEW(2, 3), W_HIDDEN, 0);
	expect_of_view(VIEW(2, 3, 4), W_HIDDEN, 1);
	expect_of_view(VIEW(2, 3, 7), W_HIDDEN, 1);
	expect_of_view(&(struct view){ .hidden = { 2, 3 }, .is_complete = true, .is_read_once = true }, F_HIDDEN, 1);
	expect_of_view(&(struct view){ .is_complete = true, .is_read_once = true }, F_HIDDEN, 1); /* nor was the root compared */
	expect_of_view(&(struct view){ .is_read_once = true }, W_HIDDEN, 1);
}

static void a_log_that_was_never_pruned_hides_nothing(void **state)
{
	(void)state;
	create("B");
	(void)ADD(.type = "authz.policy", TENANT, ACTOR);
	expect_of_view(COMPLETE(0), F_HIDDEN, 0);
	expect_of_view(COMPLETE(4), F_HIDDEN, 1);
	expect_of_view(VIEW(4), W_HIDDEN, 1);
}

/* Bodies go between the intent and the outcome. */
static void a_pruning_that_is_under_way_is_announced_by_its_intent(void **state)
{
	char *root = NULL;

	(void)state;
	create("B");
	root = root_at(3);
	(void)begin_pruning(TWO_PEOPLE, 0, 3, root);
	expect_of_view(COMPLETE(1, 2), F_HIDDEN, 0);
	expect_of_view(COMPLETE(1, 2, 3), F_HIDDEN, 1);
	free(root);
}

static void the_root_of_a_pruning_is_that_of_the_leaves(void **state)
{
	char *root = NULL;

	(void)state;
	create("B");
	root = root_at(4);
	end_pruning(begin_pruning(TWO_PEOPLE, 0, 3, root), 0, 3, 2, root);
	expect(F_PRUNED, 1);
	expect_of_view(COMPLETE(1, 2), F_PRUNED, 1);
	free(root);
}

static void what_was_dropped_is_what_was_approved(void **state)
{
	char *root = NULL, *other = NULL;

	(void)state;
	create("B");
	root = root_at(3);
	other = root_at(4);
	end_pruning(begin_pruning(TWO_PEOPLE, 0, 3, root), 0, 4, 3, other);
	expect(F_PRUNED, 1);
	free(root);
	free(other);
}

/* A leaf of another vault, known by its hash only, between a purge and a use: nothing that it could be makes B usable again. */
static void a_purged_key_is_not_used_whatever_is_hidden(void **state)
{
	(void)state;
	create("B");
	purge();
	(void)ADD(.type = "audit.read", .tenant = "t-2", ACTOR); /* 6 */
	(void)ADD(.type = "key.unwrap", KEY, .object = "B");
	expect(F_AFTER_END, 1);
	expect_of_view(VIEW(6), F_AFTER_END, 1);
	prune(TWO_PEOPLE, 0, 7, 1);
	expect_of_view(COMPLETE(6), F_AFTER_END, 1);
}

/* A new key of that name may have been made in what was pruned, and nowhere else. */
static void a_version_that_was_never_seen_is_doubted_after_a_purge(void **state)
{
	(void)state;
	create("B");
	purge();
	create("C");                                              /* 6 7 */
	(void)ADD(.type = "audit.read", .tenant = "t-2", ACTOR); /* 8 */
	(void)ADD(.type = "key.unwrap", KEY, .object = "C");
	(void)ADD(.type = "key.unwrap", KEY, .object = "C");
	expect(F_PRUNED, 0);
	expect_of_view(VIEW(6, 7), W_AFTER_END, 1);
	prune(TWO_PEOPLE, 0, 8, 2);
	expect_of_view(COMPLETE(6, 7), F_HIDDEN, 0);
	expect_of_view(VIEW(6, 7, 8), W_AFTER_END, 0);
}

/* Approvals stand in intents. Two bodies went, says log.pruned; two are missing, and one of them is none that may go. */
static void the_intent_of_what_is_kept_for_ever_is_not_missing(void **state)
{
	(void)state;
	create("B");
	shred(TWO_PEOPLE); /* 4 5 */
	prune(TWO_PEOPLE, 0, 6, 2);
	expect_of_view(COMPLETE(2, 3), F_HIDDEN, 0);
	expect_of_view(COMPLETE(3, 4), F_NO_INTENT, 1);
	expect_of_view(VIEW(3, 4), F_NO_INTENT, 0);
}

static void what_is_pruned_before_a_purge_makes_no_key(void **state)
{
	(void)state;
	create("B");
	purge();
	(void)ADD(.type = "key.unwrap", KEY, .object = "C");
	prune(TWO_PEOPLE, 0, 4, 2);
	expect_of_view(COMPLETE(2, 3), F_AFTER_END, 1);
}

static void what_is_hidden_behind_all_ranges_makes_no_key(void **state)
{
	(void)state;
	create("B");
	purge();
	(void)ADD(.type = "audit.read", .tenant = "t-2", ACTOR); /* 6 */
	(void)ADD(.type = "key.unwrap", KEY, .object = "C");
	prune(TWO_PEOPLE, 0, 4, 2);
	expect_of_view(VIEW(2, 3, 6), W_AFTER_END, 1);
}

static void a_lock_holds_whatever_is_hidden(void **state)
{
	(void)state;
	create("B");
	purge();
	create("C");
	(void)ADD(.type = "tenant.lock", TENANT, ACTOR);
	(void)ADD(.type = "key.unwrap", KEY, .object = "C");
	prune(TWO_PEOPLE, 0, 8, 2);
	expect_of_view(COMPLETE(6, 7), F_REVOKED, 1);
}

static void a_log_that_one_person_pruned_is_told(void **state)
{
	(void)state;
	create("B");
	prune("[{\"at\":\"x\",\"cred\":\"mtls\",\"pid\":\"P-1\"}]", 0, 2, 2);
	expect(F_APPROVERS, 1);
}

static void ranges_of_pruning_that_cannot_be_are_told(void **state)
{
	(void)state;
	create("B");
	prune(TWO_PEOPLE, 0, 1000, 2);
	prune(TWO_PEOPLE, 2, 2, 0);
	prune(TWO_PEOPLE, 0, 3, 3);
	prune(TWO_PEOPLE, 2, 4, 1);
	expect(F_PRUNED, 6);
}

static void the_first_pruning_begins_at_the_beginning(void **state)
{
	(void)state;
	create("B");
	prune(TWO_PEOPLE, 1, 3, 2);
	expect(F_PRUNED, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_log_is_pruned_by_two_people_in_ranges_that_follow_one_another),
		T(a_log_that_one_person_pruned_is_told),
		T(ranges_of_pruning_that_cannot_be_are_told),
		T(the_first_pruning_begins_at_the_beginning),
		T(what_log_pruned_does_not_say_is_missed),
		T(a_log_that_was_never_pruned_hides_nothing),
		T(a_pruning_that_is_under_way_is_announced_by_its_intent),
		T(the_root_of_a_pruning_is_that_of_the_leaves),
		T(what_was_dropped_is_what_was_approved),
		T(a_purged_key_is_not_used_whatever_is_hidden),
		T(a_version_that_was_never_seen_is_doubted_after_a_purge),
		T(the_intent_of_what_is_kept_for_ever_is_not_missing),
		T(what_is_pruned_before_a_purge_makes_no_key),
		T(what_is_hidden_behind_all_ranges_makes_no_key),
		T(a_lock_holds_whatever_is_hidden),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
