/* tests/unit/core_approval_model.c - 10,000 random stories of requests, votes, losses and uses against a model that is simple enough to be
 * believed: an act goes through exactly when enough distinct approvers other than the requester stand behind it. HOLDFAST_SEED picks another ten thousand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "tests/support/approvals.h"
#include "tests/support/sanitized.h"

#define STORIES (T_IS_SANITIZED ? 1000 : 10000)
#define STORIES_A_DAY 10
#define VAULT "model"

static struct t_domain d;

/* ---- chance ---- */

static uint64_t seed = 20260704;

static uint64_t chance(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % below;
}
static bool once_in(uint64_t n) { return chance(n) == 0; }

/* ---- the model ---- */

enum who { ANN, BOB, CID, IN_GROUP, IN_BOTH, IN_INNER, OF_ALL, STRANGER, OFFICER, ADMIN, PEOPLE, LOCAL = PEOPLE };
enum group { OUTER, INNER, GROUPS };

static struct t_person people[PEOPLE], groups[GROUPS];
static enum role role_of[PEOPLE] = { [ANN] = ROLE_APPROVER, [BOB] = ROLE_APPROVER, [CID] = ROLE_APPROVER, [OF_ALL] = ROLE_APPROVER,
	                             [STRANGER] = ROLE_ADMINISTRATOR, [OFFICER] = ROLE_CRYPTO_OFFICER, [ADMIN] = ROLE_ADMINISTRATOR };

static struct {
	bool is_enabled[PEOPLE], has_role[PEOPLE], is_in[GROUPS][PEOPLE];
	bool group_is_enabled[GROUPS], outer_has_role, inner_is_in_outer;
} now;

static bool gives(enum group g)
{
	bool outer = now.group_is_enabled[OUTER] && now.outer_has_role;

	return g == OUTER ? outer : now.group_is_enabled[INNER] && now.inner_is_in_outer && outer;
}

static bool may_approve(enum who who)
{
	bool by_role = now.has_role[who] && who != OFFICER && who != STRANGER;

	return now.is_enabled[who] && who != STRANGER &&
	       (by_role || (now.is_in[OUTER][who] && gives(OUTER)) || (now.is_in[INNER][who] && gives(INNER)));
}

/* One request and what was said to it. */
struct story {
	enum who requester;
	unsigned quorum; /* when it was opened */
	char target[16];
	uint8_t id[STORE_ID_LEN];
	bool approved[PEOPLE], has_voted[PEOPLE], is_open;
};

static unsigned standing_behind(const struct story *s)
{
	unsigned count = 0;

	for (enum who w = 0; w < PEOPLE; w++)
		count += s->approved[w] && w != s->requester && may_approve(w);
	return count;
}

/* ---- what happens ---- */

static struct {
	unsigned used, refused, fenced, denied, votes, turned_away, double_uses;
} seen;

static void toggle_role(enum who w)
{
	if (role_of[w] == 0)
		return;
	now.has_role[w] = !now.has_role[w];
	t_role(&d, &people[w], role_of[w], now.has_role[w]);
}

static void toggle_membership(enum group g, enum who w)
{
	now.is_in[g][w] = !now.is_in[g][w];
	t_member(&d, &groups[g], &people[w], now.is_in[g][w]);
}

/* One random change of who may do what; mostly towards more, so that acts go through at all. */
static void change_something(void)
{
	enum who w = (enum who)chance(PEOPLE);
	enum group g = (enum group)chance(GROUPS);

	switch (chance(6)) {
	case 0:
		now.is_enabled[w] = !now.is_enabled[w];
		t_enable(&d, &people[w], now.is_enabled[w]);
		return;
	case 1: toggle_role(w); return;
	case 2: toggle_membership(g, (enum who)(IN_GROUP + chance(3))); return;
	case 3:
		now.group_is_enabled[g] = !now.group_is_enabled[g];
		t_enable(&d, &groups[g], now.group_is_enabled[g]);
		return;
	case 4:
		now.outer_has_role = !now.outer_has_role;
		t_role(&d, &groups[OUTER], ROLE_APPROVER, now.outer_has_role);
		return;
	default:
		now.inner_is_in_outer = !now.inner_is_in_outer;
		t_member(&d, &groups[OUTER], &groups[INNER], now.inner_is_in_outer);
	}
}

/* Somebody who was switched off comes back. */
static void repair_something(void)
{
	enum who w = (enum who)chance(PEOPLE);

	if (!now.is_enabled[w]) {
		now.is_enabled[w] = true;
		t_enable(&d, &people[w], true);
	} else if (!now.has_role[w]) {
		toggle_role(w);
	}
}

static struct op *op_of(enum who w)
{
	return w == LOCAL ? t_op(&d, VAULT, EVENT_TENANT_UPDATE) : t_op_as(&d, &people[w], VAULT, EVENT_TENANT_UPDATE, 3600);
}

/* The act itself is its intent: nothing else would be seen of it. */
static kms_status intend(struct op *op)
{
	struct store_intent intent = { 0 };

	return op_intend(op, NULL, &intent, NULL);
}

static struct approval_need need_of(const struct story *s, unsigned quorum)
{
	return (struct approval_need){ .act = "test.act", .target = s->target, .quorum = quorum };
}

/* Is the act let through, exactly when the model says so? Sometimes something changes between the check and the commit. */
static void use(struct story *s, unsigned quorum_now)
{
	struct approval_need need = need_of(s, quorum_now);
	unsigned needed = quorum_now > s->quorum ? quorum_now : s->quorum, behind = standing_behind(s);
	struct op *op = op_of(s->requester);
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;
	bool races = once_in(4);

	if (op == NULL) { /* disabled, or without any role: not let in at all */
		assert_false(s->requester == LOCAL);
		seen.turned_away++;
		return;
	}
	status = approval_require(op, &need, &err);
	if (behind < needed)
		assert_int_equal(status, KMS_E_APPROVAL);
	else
		assert_int_equal(status, KMS_OK);
	if (status != KMS_OK) {
		seen.refused++;
		t_op_free(op);
		return;
	}
	if (races)
		change_something();
	status = intend(op);
	if (races && status == KMS_E_FENCED) {
		seen.fenced++;
	} else {
		assert_int_equal(status, KMS_OK);
		assert_true(standing_behind(s) >= needed); /* what changed meanwhile took nobody away who was needed */
		s->is_open = false;
		seen.used++;
	}
	t_op_free(op);
}

static void say(struct story *s)
{
	enum who w = (enum who)chance(PEOPLE);
	bool approves = !once_in(40);
	bool expected = w != STRANGER && w != s->requester && may_approve(w) && s->is_open && !s->has_voted[w];
	struct kms_err err;
	kms_status status = t_vote(&d, &people[w], VAULT, s->id, approves, &err);

	if ((status == KMS_OK) != expected)
		fail_msg("vote of %d on a request of %d: %s", (int)w, (int)s->requester, kms_err_text(&err));
	if (!expected)
		return;
	seen.votes++;
	s->has_voted[w] = true;
	s->approved[w] = approves;
	if (!approves) {
		s->is_open = false;
		seen.denied++;
	}
}

static void use_again(struct story *s)
{
	struct op *op = op_of(s->requester);
	struct approval_need need = need_of(s, 1);

	if (op == NULL)
		return;
	assert_int_equal(approval_require(op, &need, NULL), KMS_E_APPROVAL);
	t_op_free(op);
	seen.double_uses++;
}

static void open_story(struct story *s, int number)
{
	static const enum who REQUESTERS[] = { LOCAL, ADMIN, OFFICER, ANN, IN_BOTH };
	struct approval_need need;
	struct kms_err err = { 0 };
	const char *named;
	struct op *op;
	kms_status status;

	*s = (struct story){ .requester = REQUESTERS[chance(KMS_ARRAY_LEN(REQUESTERS))], .quorum = 1 + (unsigned)chance(3), .is_open = true };
	(void)snprintf(s->target, sizeof(s->target), "%d", number);
	op = op_of(s->requester);
	if (op == NULL) {
		s->requester = LOCAL;
		op = op_of(LOCAL);
	}
	need = need_of(s, s->quorum);
	status = approval_require(op, &need, &err);
	assert_int_equal(status, KMS_E_APPROVAL);
	t_op_free(op);
	named = strstr(kms_err_text(&err), "request ");
	assert_non_null(named);
	assert_true(guid_parse(named + strlen("request "), GUID_TEXT_LEN, s->id));
}

static void withdraw(struct story *s)
{
	struct op *op = op_of(s->requester);
	struct approval_view v = { 0 };

	if (op == NULL)
		return;
	assert_int_equal(t_op_finish(op, approval_withdraw(op, s->id, &v, NULL)), KMS_OK);
	approval_view_clear(&v);
	t_op_free(op);
}

static void live(int number)
{
	struct story s;
	uint64_t steps = 3 + chance(4);

	if (number % STORIES_A_DAY == 0)
		t_domain_pass(APPROVAL_LIFE_S); /* what was left open ends */
	open_story(&s, number);
	for (uint64_t i = 0; i < steps && s.is_open; i++) {
		switch (chance(8)) {
		case 0: change_something(); break;
		case 1: repair_something(); break;
		case 2: use(&s, 1 + (unsigned)chance(3)); break;
		default: say(&s); break;
		}
	}
	if (s.is_open)
		use(&s, s.quorum);
	if (!s.is_open && once_in(20))
		use_again(&s);
	if (s.is_open && once_in(10))
		withdraw(&s);
}

static void ten_thousand_stories_and_no_act_without_enough_people(void **state)
{
	const char *given = getenv("HOLDFAST_SEED");

	(void)state;
	if (given != NULL)
		seed = strtoull(given, NULL, 10) | 1;
	for (int i = 0; i < STORIES; i++)
		live(i);
	print_message("used %u, refused %u, fenced %u, denied %u, votes %u, turned away %u, used again %u\n", seen.used, seen.refused, seen.fenced,
	              seen.denied, seen.votes, seen.turned_away, seen.double_uses);
	/* Both ways were walked. */
	assert_true(seen.used > STORIES / 20 && seen.refused > STORIES / 20 && seen.fenced > 10 && seen.denied > 5 && seen.double_uses > 5);
}

static int setup(void **state)
{
	(void)state;
	/* Forty thousand commits: where there is a file system in memory, nothing waits for a disk that other tests use too. */
	if (access("/dev/shm", W_OK) == 0)
		assert_int_equal(setenv("TMPDIR", "/dev/shm", 1), 0);
	t_domain_open(&d);
	t_vault(&d, VAULT, false);
	t_vault(&d, "model-2", false);
	/* The installation has approvers before the vault is founded: they count there too. */
	for (int i = 0; i < PEOPLE; i++) {
		enum who w = (enum who)((i + OF_ALL) % PEOPLE);
		char name[16];
		(void)snprintf(name, sizeof(name), "p%d", (int)w);
		people[w] = t_person(&d, w == OF_ALL ? NULL : w == STRANGER ? "model-2" : VAULT, name, role_of[w]);
		now.is_enabled[w] = true;
		now.has_role[w] = role_of[w] != 0;
	}
	groups[OUTER] = t_group(&d, VAULT, "approvers", ROLE_APPROVER);
	groups[INNER] = t_group(&d, VAULT, "inner", 0);
	(void)t_group(&d, "model-2", "approvers", ROLE_APPROVER);
	now.group_is_enabled[OUTER] = now.group_is_enabled[INNER] = now.outer_has_role = true;
	now.inner_is_in_outer = true;
	t_member(&d, &groups[OUTER], &groups[INNER], true);
	toggle_membership(OUTER, IN_GROUP);
	toggle_membership(OUTER, IN_BOTH);
	toggle_membership(INNER, IN_BOTH);
	toggle_membership(INNER, IN_INNER);
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
	const struct CMUnitTest tests[] = { cmocka_unit_test(ten_thousand_stories_and_no_act_without_enough_people) };

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
