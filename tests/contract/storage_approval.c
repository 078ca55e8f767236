/* tests/contract/storage_approval.c - the storage port: requests that need several people. Whatever core counted, none is used up by fewer
 * than its quorum of people who said yes, are not who asked, and have not changed since. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/store_fixture.h"

#define MANY 20
#define PEOPLE 6
#define SEQUENCES 10000
#define STEPS 12

/* A vault with people, of whom the first asks. */
struct scene {
	struct store_vault vault;
	struct store_principal people[PEOPLE];
	struct store_approval approval; /* of quorum 2, open */
};

static kms_status change_approval(struct store_fixture *f, enum store_change_kind kind, const struct store_approval *a)
{
	return store_fixture_one(f, (struct store_change){ .kind = kind, .approval = *a });
}

static kms_status say(struct store_fixture *f, const struct store_vote *v)
{
	return store_fixture_one(f, (struct store_change){ .kind = STORE_APPROVAL_VOTE, .vote = *v });
}

static kms_status say_yes(struct store_fixture *f, const struct store_approval *a, const struct store_principal *p)
{
	struct store_vote v = store_fixture_vote(a, p);

	return say(f, &v);
}

static void count_in(struct store_approval_use *u, const struct store_principal *p)
{
	memcpy(u->approvers[u->count].id, p->id, STORE_ID_LEN);
	u->approvers[u->count++].epoch = p->epoch;
}

/* Used by people[from..from + count - 1], just before its end. */
static struct store_approval_use use_of(const struct scene *s, size_t from, size_t count)
{
	struct store_approval_use u = { .settled_s = s->approval.expires_s };

	memcpy(u.id, s->approval.id, STORE_ID_LEN);
	for (size_t i = from; i < from + count; i++)
		count_in(&u, &s->people[i]);
	return u;
}

static kms_status use(struct store_fixture *f, const struct store_approval_use *u)
{
	return store_fixture_one(f, (struct store_change){ .kind = STORE_APPROVAL_USE, .approval_use = *u });
}

static struct scene set_scene(struct store_fixture *f)
{
	struct scene s = { .vault = store_fixture_vault(1, "payroll") };
	struct store_change add[2 + PEOPLE] = { { .kind = STORE_VAULT_ADD, .vault = s.vault } };

	for (unsigned i = 0; i < PEOPLE; i++) {
		s.people[i] = store_fixture_principal(i + 1, &s.vault);
		add[1 + i] = (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = s.people[i] };
	}
	s.approval = store_fixture_approval(1, &s.vault, &s.people[0]);
	s.approval.quorum = 2;
	add[1 + PEOPLE] = (struct store_change){ .kind = STORE_APPROVAL_ADD, .approval = s.approval };
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	return s;
}

static void assert_same(const struct store_approval *got, const struct store_approval *want)
{
	assert_memory_equal(got->id, want->id, STORE_ID_LEN);
	assert_memory_equal(got->vault_id, want->vault_id, STORE_ID_LEN);
	assert_memory_equal(got->requester, want->requester, STORE_ID_LEN);
	assert_string_equal(got->act, want->act);
	assert_memory_equal(got->digest, want->digest, STORE_HASH_LEN);
	assert_string_equal(got->request, want->request);
	assert_string_equal(got->reason, want->reason);
	assert_int_equal(got->quorum, want->quorum);
	assert_int_equal(got->state, want->state);
	assert_true(got->created_s == want->created_s && got->expires_s == want->expires_s && got->settled_s == want->settled_s);
}

static void assert_approval(struct store_fixture *f, const struct store_approval *want)
{
	STORE_APPROVAL_AUTO got = { 0 };

	assert_int_equal(store_approval(f->r, want->id, &got, NULL), KMS_OK);
	assert_same(&got, want);
}

static kms_status find_open(struct store_fixture *f, const struct store_approval *a)
{
	STORE_APPROVAL_AUTO got = { 0 };
	kms_status status = store_approval_open(f->r, a->vault_id, a->requester, a->digest, &got, NULL);

	if (status == KMS_OK)
		assert_same(&got, a);
	return status;
}

static void an_approval_comes_back_whole_and_open_whatever_was_given(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	static char request[STORE_REQUEST_TEXT_MAX + 2];
	struct store_approval full = store_fixture_approval(2, NULL, &s.people[1]), bad;
	struct store_approval got = { 0 };

	assert_approval(f, &s.approval);
	memset(full.act, 'a', STORE_ACT_MAX);
	memset(full.reason, 'r', STORE_REASON_MAX);
	memset(request, 'q', sizeof(request) - 1);
	full.request = request;
	full.quorum = STORE_APPROVERS_MAX;
	bad = full;
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &bad), KMS_E_CONFLICT); /* one character too many */
	request[STORE_REQUEST_TEXT_MAX] = '\0';
	bad.quorum = 0;
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &bad), KMS_E_CONFLICT);
	bad.quorum = STORE_APPROVERS_MAX + 1;
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &bad), KMS_E_CONFLICT);
	bad.quorum = 1;
	bad.request = NULL;
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &bad), KMS_E_INTERNAL);
	assert_int_equal(store_approval(f->r, full.id, &got, NULL), KMS_E_NOTFOUND);

	bad = full;
	bad.state = STORE_APPROVAL_USED;
	bad.settled_s = 5;
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &bad), KMS_OK);
	assert_approval(f, &full);
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &full), KMS_E_CONFLICT);
	assert_int_equal(store_approval(f->r, full.id, &got, NULL), KMS_OK);
	store_approval_clear(&got);
	assert_null(got.request);
	store_approval_clear(&got);
}

static void one_request_of_one_person_is_open_once_in_each_vault(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_approval same = store_fixture_approval(2, &s.vault, &s.people[0]), by_other = same, central = same, asks_more = same;

	memcpy(same.digest, s.approval.digest, STORE_HASH_LEN);
	memcpy(by_other.digest, s.approval.digest, STORE_HASH_LEN);
	memcpy(central.digest, s.approval.digest, STORE_HASH_LEN);
	store_fixture_id('a', 3, by_other.id);
	store_fixture_id('a', 4, central.id);
	store_fixture_id('a', 5, asks_more.id);
	memcpy(by_other.requester, s.people[1].id, STORE_ID_LEN);
	memset(central.vault_id, 0, STORE_ID_LEN);
	assert_int_equal(find_open(f, &s.approval), KMS_OK);
	assert_int_equal(find_open(f, &by_other), KMS_E_NOTFOUND);
	assert_int_equal(find_open(f, &central), KMS_E_NOTFOUND);
	assert_int_equal(find_open(f, &asks_more), KMS_E_NOTFOUND);
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &same), KMS_E_CONFLICT);
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &by_other), KMS_OK);
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &central), KMS_OK);
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &asks_more), KMS_OK);
	assert_int_equal(find_open(f, &s.approval), KMS_OK);
	assert_int_equal(find_open(f, &by_other), KMS_OK);
	assert_int_equal(find_open(f, &central), KMS_OK);
	assert_int_equal(find_open(f, &asks_more), KMS_OK);

	/* Settled, it makes room for the next of the same. */
	s.approval.state = STORE_APPROVAL_WITHDRAWN;
	s.approval.settled_s = 1700000500;
	assert_int_equal(change_approval(f, STORE_APPROVAL_CLOSE, &s.approval), KMS_OK);
	assert_int_equal(find_open(f, &s.approval), KMS_E_NOTFOUND);
	assert_approval(f, &s.approval);
	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &same), KMS_OK);
	assert_int_equal(find_open(f, &same), KMS_OK);
}

static void approvals_come_in_pages_by_vault_all_or_the_open_ones(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	static const uint8_t INSTALLATION[STORE_ID_LEN];
	struct store_approval page[3] = { 0 };
	size_t count;

	for (unsigned n = MANY; n > 1; n--) {
		struct store_approval a = store_fixture_approval(n, &s.vault, &s.people[0]);
		struct store_approval central = store_fixture_approval(100 + n, NULL, &s.people[0]);
		assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &a), KMS_OK);
		assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &central), KMS_OK);
		a.state = STORE_APPROVAL_DENIED;
		a.settled_s = 1700000500;
		if (n % 2 == 0)
			assert_int_equal(change_approval(f, STORE_APPROVAL_CLOSE, &a), KMS_OK);
	}
	for (int only_open = 0; only_open < 2; only_open++) {
		uint8_t after[STORE_ID_LEN], want[STORE_ID_LEN];
		size_t seen = 0;
		do {
			const uint8_t *from = seen == 0 ? NULL : after;
			assert_int_equal(store_approvals(f->r, s.vault.id, from, only_open != 0, page, 3, &count, NULL), KMS_OK);
			for (size_t i = 0; i < count; i++) {
				unsigned n = (unsigned)(only_open ? 2 * seen + 1 : seen + 1);
				store_fixture_id('a', n, want);
				assert_memory_equal(page[i].id, want, STORE_ID_LEN);
				assert_int_equal(page[i].state, n % 2 == 0 ? STORE_APPROVAL_DENIED : STORE_APPROVAL_OPEN);
				memcpy(after, page[i].id, STORE_ID_LEN);
				store_approval_clear(&page[i]);
				seen++;
			}
		} while (count == 3);
		assert_int_equal(seen, only_open ? MANY / 2 : MANY);
	}
	assert_int_equal(store_approvals(f->r, INSTALLATION, NULL, true, page, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(page[0].id[3], 102);
	store_approval_clear(&page[0]);
	assert_int_equal(store_approvals(f->r, INSTALLATION, NULL, true, page, 0, &count, NULL), KMS_E_INTERNAL);
}

static void votes_come_back_whole_signed_or_not(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vote plain = store_fixture_vote(&s.approval, &s.people[3]), full = store_fixture_vote(&s.approval, &s.people[1]), bad;
	struct store_vote list[PEOPLE];
	size_t count = 99;

	assert_int_equal(store_votes(f->r, s.approval.id, list, PEOPLE, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	full.approves = false;
	memset(full.reason, 'r', STORE_REASON_MAX);
	memset(full.certificate, 'C', sizeof(full.certificate));
	memset(full.signature, 'S', sizeof(full.signature));
	full.signature_len = STORE_SIGNATURE_MAX;
	plain.reason[0] = '\0';
	memset(plain.reason, 0, sizeof(plain.reason));
	bad = full;
	memset(bad.certificate, 0, sizeof(bad.certificate));
	assert_int_equal(say(f, &bad), KMS_E_INTERNAL);
	bad = full;
	bad.signature_len = 0;
	assert_int_equal(say(f, &bad), KMS_E_INTERNAL);
	bad.signature_len = STORE_SIGNATURE_MAX + 1;
	assert_int_equal(say(f, &bad), KMS_E_INTERNAL);
	assert_int_equal(say(f, &plain), KMS_OK);
	assert_int_equal(say(f, &full), KMS_OK);
	assert_int_equal(store_votes(f->r, s.approval.id, list, PEOPLE, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_memory_equal(&list[0], &full, sizeof(full));
	assert_memory_equal(&list[1], &plain, sizeof(plain));
	assert_int_equal(store_votes(f->r, s.approval.id, list, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(store_votes(f->r, s.approval.id, list, 0, &count, NULL), KMS_E_INTERNAL);
}

static void everybody_votes_once_while_the_approval_is_open(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_approval unknown = store_fixture_approval(9, &s.vault, &s.people[0]);
	struct store_principal nobody = store_fixture_principal(99, &s.vault), got;
	struct store_vote again = store_fixture_vote(&s.approval, &s.people[1]), list[PEOPLE];
	size_t count;

	assert_int_equal(say_yes(f, &s.approval, &s.people[1]), KMS_OK);
	again.approves = false;
	assert_int_equal(say(f, &again), KMS_E_CONFLICT);
	assert_int_equal(say_yes(f, &s.approval, &nobody), KMS_E_FENCED);
	assert_int_equal(say_yes(f, &unknown, &s.people[1]), KMS_E_FENCED);
	s.approval.state = STORE_APPROVAL_DENIED;
	s.approval.settled_s = 1700000500;
	assert_int_equal(change_approval(f, STORE_APPROVAL_CLOSE, &s.approval), KMS_OK);
	assert_int_equal(say_yes(f, &s.approval, &s.people[2]), KMS_E_FENCED);
	assert_int_equal(store_votes(f->r, s.approval.id, list, PEOPLE, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_true(list[0].approves);
	/* A vote is no change of who voted. */
	assert_int_equal(store_principal(f->r, s.people[1].id, &got, NULL), KMS_OK);
	assert_int_equal(got.epoch, 1);
}

static void an_approval_is_closed_once_and_to_one_of_two_ends(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_approval close = s.approval, unknown = store_fixture_approval(9, &s.vault, &s.people[0]);
	static const enum store_approval_state BAD[] = { STORE_APPROVAL_OPEN, STORE_APPROVAL_USED, (enum store_approval_state)0,
		                                         (enum store_approval_state)5 };

	close.settled_s = 1700000500;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		close.state = BAD[i];
		assert_int_equal(change_approval(f, STORE_APPROVAL_CLOSE, &close), KMS_E_INTERNAL);
	}
	close.state = STORE_APPROVAL_DENIED;
	close.settled_s = STORE_NO_TIME;
	assert_int_equal(change_approval(f, STORE_APPROVAL_CLOSE, &close), KMS_E_INTERNAL);
	assert_approval(f, &s.approval);
	close.settled_s = 1700000500;
	assert_int_equal(change_approval(f, STORE_APPROVAL_CLOSE, &close), KMS_OK);
	assert_approval(f, &close);
	unknown.state = close.state = STORE_APPROVAL_WITHDRAWN;
	unknown.settled_s = 1700000500;
	assert_int_equal(change_approval(f, STORE_APPROVAL_CLOSE, &close), KMS_E_FENCED);
	assert_int_equal(change_approval(f, STORE_APPROVAL_CLOSE, &unknown), KMS_E_FENCED);
	close.state = STORE_APPROVAL_DENIED;
	assert_approval(f, &close);
}

static void an_approval_is_used_once_by_its_quorum(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_approval_use u = use_of(&s, 1, 2), few = use_of(&s, 1, 1), unknown = u;
	struct store_approval want = s.approval;

	unknown.id[0] ^= 1;
	assert_int_equal(say_yes(f, &s.approval, &s.people[1]), KMS_OK);
	assert_int_equal(use(f, &u), KMS_E_FENCED); /* the second has not spoken */
	assert_int_equal(use(f, &few), KMS_E_FENCED);
	assert_int_equal(say_yes(f, &s.approval, &s.people[2]), KMS_OK);
	assert_int_equal(use(f, &few), KMS_E_FENCED);
	assert_int_equal(use(f, &unknown), KMS_E_FENCED);
	assert_approval(f, &want);
	assert_int_equal(use(f, &u), KMS_OK);
	want.state = STORE_APPROVAL_USED;
	want.settled_s = u.settled_s;
	assert_approval(f, &want);
	assert_int_equal(use(f, &u), KMS_E_FENCED);
	want.state = STORE_APPROVAL_WITHDRAWN;
	assert_int_equal(change_approval(f, STORE_APPROVAL_CLOSE, &want), KMS_E_FENCED);
	assert_int_equal(say_yes(f, &s.approval, &s.people[3]), KMS_E_FENCED);
	want.state = STORE_APPROVAL_USED;
	assert_approval(f, &want);
}

static void nobody_counts_who_asked_or_did_not_say_yes_or_is_counted_twice(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vote no = store_fixture_vote(&s.approval, &s.people[3]);
	struct store_approval other = store_fixture_approval(2, &s.vault, &s.people[5]);
	struct store_approval_use with_requester = use_of(&s, 0, 2), with_no = use_of(&s, 2, 2), with_silent = use_of(&s, 1, 1), twice, none, many;

	assert_int_equal(change_approval(f, STORE_APPROVAL_ADD, &other), KMS_OK);
	no.approves = false;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(say_yes(f, &s.approval, &s.people[i]), KMS_OK);
	assert_int_equal(say(f, &no), KMS_OK);
	assert_int_equal(say_yes(f, &other, &s.people[4]), KMS_OK); /* to something else */
	count_in(&with_silent, &s.people[4]);
	twice = use_of(&s, 1, 1);
	count_in(&twice, &s.people[1]);
	none = use_of(&s, 1, 0);
	many = use_of(&s, 1, 2);
	many.count = STORE_APPROVERS_MAX + 1;
	assert_int_equal(use(f, &with_requester), KMS_E_FENCED);
	assert_int_equal(use(f, &with_no), KMS_E_FENCED);
	assert_int_equal(use(f, &with_silent), KMS_E_FENCED);
	assert_int_equal(use(f, &twice), KMS_E_INTERNAL);
	assert_int_equal(use(f, &none), KMS_E_INTERNAL);
	assert_int_equal(use(f, &many), KMS_E_INTERNAL);
	assert_approval(f, &s.approval);
	twice = use_of(&s, 1, 2);
	assert_int_equal(use(f, &twice), KMS_OK);
}

static void an_approver_who_has_changed_since_does_not_count(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_assignment role = store_fixture_assignment(&s.people[2], &s.vault, 5);
	struct store_credential secret = store_fixture_credential(1, &s.people[2]);
	struct store_approval_use u = use_of(&s, 1, 2);
	struct store_change changes[] = { { .kind = STORE_ROLE_ADD, .assignment = role },
		                          { .kind = STORE_ROLE_REMOVE, .assignment = role },
		                          { .kind = STORE_CREDENTIAL_ADD, .credential = secret },
		                          { .kind = STORE_PRINCIPAL_SET, .principal = s.people[2] } };

	changes[3].principal.epoch = 4; /* three changes later */
	assert_int_equal(say_yes(f, &s.approval, &s.people[1]), KMS_OK);
	assert_int_equal(say_yes(f, &s.approval, &s.people[2]), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(changes); i++) {
		struct store_change both[] = { changes[i], { .kind = STORE_APPROVAL_USE, .approval_use = u } };
		/* In the unit itself, and before it. */
		assert_int_equal(store_fixture_write(f, both, KMS_ARRAY_LEN(both), NULL), KMS_E_FENCED);
		assert_int_equal(store_fixture_one(f, changes[i]), KMS_OK);
		assert_int_equal(use(f, &u), KMS_E_FENCED);
		u.approvers[1].epoch++;
	}
	u.approvers[0].epoch = 0;
	assert_int_equal(use(f, &u), KMS_E_FENCED);
	u.approvers[0].epoch = 1;
	assert_int_equal(use(f, &u), KMS_OK);
}

static void an_approval_is_not_used_after_its_end(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_approval_use u = use_of(&s, 1, 2);

	assert_int_equal(say_yes(f, &s.approval, &s.people[1]), KMS_OK);
	assert_int_equal(say_yes(f, &s.approval, &s.people[2]), KMS_OK);
	u.settled_s++;
	assert_int_equal(use(f, &u), KMS_E_FENCED);
	assert_int_equal(find_open(f, &s.approval), KMS_OK);
	u.settled_s--;
	assert_int_equal(use(f, &u), KMS_OK);
}

static void an_act_without_its_approval_does_not_happen(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault got;
	struct store_change act[] = { { .kind = STORE_VAULT_SET_STATE, .vault = s.vault },
		                      { .kind = STORE_APPROVAL_USE, .approval_use = use_of(&s, 1, 2) } };

	act[0].vault.state = STORE_VAULT_SHREDDING;
	assert_int_equal(say_yes(f, &s.approval, &s.people[1]), KMS_OK);
	assert_int_equal(store_fixture_write(f, act, KMS_ARRAY_LEN(act), NULL), KMS_E_FENCED);
	assert_int_equal(store_vault_by_id(f->r, s.vault.id, &got, NULL), KMS_OK);
	assert_true(got.state == STORE_VAULT_ACTIVE && got.epoch == 1);
	assert_int_equal(say_yes(f, &s.approval, &s.people[2]), KMS_OK);
	assert_int_equal(store_fixture_write(f, act, KMS_ARRAY_LEN(act), NULL), KMS_OK);
	assert_int_equal(store_fixture_write(f, act, KMS_ARRAY_LEN(act), NULL), KMS_E_FENCED);
	assert_int_equal(store_vault_by_id(f->r, s.vault.id, &got, NULL), KMS_OK);
	assert_true(got.state == STORE_VAULT_SHREDDING && got.epoch == 2);
}

/* ---- any sequence ---- */

static uint32_t next(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) % below;
}

/* What was said and done, kept beside the store. */
struct model {
	enum store_approval_state state;
	int votes[PEOPLE]; /* 0 = none, 1 = yes, -1 = no */
	uint64_t epochs[PEOPLE];
};

static bool may_be_used(const struct scene *s, const struct model *m, const struct store_approval_use *u)
{
	if (m->state != STORE_APPROVAL_OPEN || u->settled_s > s->approval.expires_s || u->count < s->approval.quorum)
		return false;
	for (size_t i = 0; i < u->count; i++) {
		size_t who = u->approvers[i].id[3] - 1u; /* the n of its id */
		if (who == 0 || m->votes[who] != 1 || m->epochs[who] != u->approvers[i].epoch)
			return false;
		for (size_t j = 0; j < i; j++)
			if (u->approvers[j].id[3] == u->approvers[i].id[3])
				return false;
	}
	return true;
}

/* Anything that somebody may try: who votes, changes, closes, and who is said to have approved, is left to chance. */
static void step(struct store_fixture *f, const struct scene *s, struct model *m, uint32_t *seed)
{
	struct store_change c = { 0 };
	size_t who = next(seed, PEOPLE);
	bool is_open = m->state == STORE_APPROVAL_OPEN, expected;

	switch (next(seed, 8)) {
	case 0:
		c = (struct store_change){ .kind = STORE_PRINCIPAL_SET, .principal = s->people[who] };
		c.principal.epoch = m->epochs[who]++;
		expected = true;
		break;
	case 1:
		if (next(seed, 4) != 0)
			return;
		c = (struct store_change){ .kind = STORE_APPROVAL_CLOSE, .approval = s->approval };
		c.approval.state = next(seed, 2) == 0 ? STORE_APPROVAL_DENIED : STORE_APPROVAL_WITHDRAWN;
		c.approval.settled_s = 1700000500;
		expected = is_open;
		if (expected)
			m->state = c.approval.state;
		break;
	case 2:
	case 3:
	case 4:
		c = (struct store_change){ .kind = STORE_APPROVAL_VOTE, .vote = store_fixture_vote(&s->approval, &s->people[who]) };
		c.vote.approves = next(seed, 4) != 0;
		expected = is_open && m->votes[who] == 0;
		if (expected)
			m->votes[who] = c.vote.approves ? 1 : -1;
		break;
	default:
		c = (struct store_change){ .kind = STORE_APPROVAL_USE, .approval_use = use_of(s, 0, 0) };
		c.approval_use.settled_s += next(seed, 8) == 0;
		/* As a core that errs would: mostly those who said yes. */
		for (size_t i = 0; i < PEOPLE; i++) {
			if (m->votes[i] == 1 ? next(seed, 6) == 0 : next(seed, 12) != 0)
				continue;
			count_in(&c.approval_use, &s->people[i]);
			c.approval_use.approvers[c.approval_use.count - 1].epoch = m->epochs[i] - (next(seed, 12) == 0);
		}
		if (c.approval_use.count > 0 && next(seed, 12) == 0)
			c.approval_use.approvers[c.approval_use.count++] = c.approval_use.approvers[0];
		expected = may_be_used(s, m, &c.approval_use);
		if (expected)
			m->state = STORE_APPROVAL_USED;
	}
	assert_int_equal(store_apply(f->w, &c, 1, f->seq, NULL) == KMS_OK, expected);
}

static void no_sequence_uses_an_approval_without_its_quorum(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	uint32_t seed = 5;
	unsigned used = 0;

	for (int n = 0; n < SEQUENCES; n++) {
		struct model m = { .state = STORE_APPROVAL_OPEN };
		STORE_APPROVAL_AUTO got = { 0 };
		for (size_t i = 0; i < PEOPLE; i++)
			m.epochs[i] = 1;
		assert_int_equal(store_begin(f->w, NULL), KMS_OK);
		for (int i = 0; i < STEPS; i++)
			step(f, &s, &m, &seed);
		assert_int_equal(store_approval(f->w, s.approval.id, &got, NULL), KMS_OK);
		assert_int_equal(got.state, m.state);
		used += m.state == STORE_APPROVAL_USED;
		store_rollback(f->w);
	}
	/* Both ends were reached often enough to mean something. */
	assert_true(used > SEQUENCES / 20 && used < SEQUENCES);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_approval_comes_back_whole_and_open_whatever_was_given),
		T(one_request_of_one_person_is_open_once_in_each_vault),
		T(approvals_come_in_pages_by_vault_all_or_the_open_ones),
		T(votes_come_back_whole_signed_or_not),
		T(everybody_votes_once_while_the_approval_is_open),
		T(an_approval_is_closed_once_and_to_one_of_two_ends),
		T(an_approval_is_used_once_by_its_quorum),
		T(nobody_counts_who_asked_or_did_not_say_yes_or_is_counted_twice),
		T(an_approver_who_has_changed_since_does_not_count),
		T(an_approval_is_not_used_after_its_end),
		T(an_act_without_its_approval_does_not_happen),
		T(no_sequence_uses_an_approval_without_its_quorum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
