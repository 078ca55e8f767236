/* tests/contract/storage_pools.c - the storage port: Managed HSM pools, and external key ids that are bound once and for ever. */
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

/* A vault with one key of two versions, and one pool. */
struct scene {
	struct store_vault vault;
	struct store_key key;
	struct store_version first, second;
	struct store_principal principal;
	struct store_pool pool;
};

static kms_status change_pool(struct store_fixture *f, enum store_change_kind kind, const struct store_pool *p)
{
	return store_fixture_one(f, (struct store_change){ .kind = kind, .pool = *p });
}

static kms_status change_external(struct store_fixture *f, enum store_change_kind kind, const struct store_external *e)
{
	return store_fixture_one(f, (struct store_change){ .kind = kind, .external = *e });
}

static void add_principal(struct store_fixture *f, const struct store_principal *p)
{
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = *p }), KMS_OK);
}

static struct scene set_scene(struct store_fixture *f)
{
	struct scene s = { .vault = store_fixture_vault(1, "payroll") };
	struct store_change add[6];

	s.key = store_fixture_key(1, &s.vault, "Master");
	s.first = store_fixture_version(1, &s.key);
	s.second = store_fixture_version(2, &s.key);
	s.principal = store_fixture_principal(1, &s.vault);
	s.pool = store_fixture_pool(1, &s.principal);
	add[0] = (struct store_change){ .kind = STORE_VAULT_ADD, .vault = s.vault };
	add[1] = (struct store_change){ .kind = STORE_KEY_ADD, .key = s.key };
	add[2] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = s.first };
	add[3] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = s.second };
	add[4] = (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = s.principal };
	add[5] = (struct store_change){ .kind = STORE_POOL_ADD, .pool = s.pool };
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	return s;
}

/* A second pool, whose principal is there and itself not yet. */
static struct store_pool another_pool(struct store_fixture *f, const struct scene *s, unsigned n)
{
	struct store_principal p = store_fixture_principal(n, &s->vault);

	add_principal(f, &p);
	return store_fixture_pool(n, &p);
}

static void assert_same_pool(const struct store_pool *got, const struct store_pool *want)
{
	assert_memory_equal(got->id, want->id, STORE_ID_LEN);
	assert_int_equal(got->is_service, want->is_service);
	assert_string_equal(got->prefix, want->prefix);
	assert_int_equal(got->subject_count, want->subject_count);
	for (size_t i = 0; i < want->subject_count; i++)
		assert_string_equal(got->subjects[i], want->subjects[i]);
	assert_int_equal(got->root_count, want->root_count);
	for (size_t i = 0; i < want->root_count; i++) {
		assert_int_equal(got->roots[i].der_len, want->roots[i].der_len);
		assert_memory_equal(got->roots[i].der, want->roots[i].der, want->roots[i].der_len);
	}
	assert_true(got->created_s == want->created_s && got->updated_s == want->updated_s);
	assert_true(got->epoch > 0); /* read with the rest, never written */
}

static void assert_pool(struct store_fixture *f, const struct store_pool *want)
{
	STORE_POOL_AUTO got = { 0 };

	assert_int_equal(store_pool(f->r, want->id, &got, NULL), KMS_OK);
	assert_same_pool(&got, want);
}

static uint64_t epoch_of(struct store_fixture *f, const struct store_principal *p)
{
	struct store_principal got;

	assert_int_equal(store_principal(f->r, p->id, &got, NULL), KMS_OK);
	return got.epoch;
}

static void assert_external(struct store_fixture *f, const struct store_external *want)
{
	struct store_external got = { 0 };

	assert_int_equal(store_external(f->r, want->pool_id, want->id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, want, sizeof(got));
}

/* ---- pools ---- */

static void a_pool_comes_back_whole_with_its_lists_in_order(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_pool full = another_pool(f, &s, 2);
	static uint8_t longest[STORE_ROOT_MAX];

	assert_pool(f, &s.pool);
	assert_int_equal(epoch_of(f, &s.principal), 1);
	full.is_service = true;
	full.prefix[0] = '\0';
	memset(longest, 'L', sizeof(longest));
	full.subject_count = STORE_SUBJECTS_MAX;
	full.root_count = STORE_ROOTS_MAX;
	for (size_t i = 0; i < STORE_SUBJECTS_MAX; i++) {
		memset(full.subjects[i], (int)('z' - i), STORE_SUBJECT_MAX);
		full.subjects[i][STORE_SUBJECT_MAX] = '\0';
		full.roots[i] = s.pool.roots[i % 2];
		if (i >= 2)
			full.roots[i] = (struct store_root){ .der = longest, .der_len = sizeof(longest) - i + 2 };
	}
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &full), KMS_OK);
	assert_pool(f, &full);
	assert_pool(f, &s.pool);
}

static void a_set_pool_keeps_its_prefix_and_creation_and_raises_its_principals_epoch(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_pool set = s.pool, want = s.pool, nobody = another_pool(f, &s, 2);

	/* The second subject becomes the first, and one root goes. */
	memcpy(set.subjects[0], s.pool.subjects[1], sizeof(set.subjects[0]));
	memcpy(set.subjects[1], "fresh", sizeof("fresh"));
	set.roots[0] = s.pool.roots[1];
	set.root_count = 1;
	(void)snprintf(set.prefix, sizeof(set.prefix), "not/read");
	set.is_service = true; /* not read either: what is a pool stays one */
	set.created_s = 5;
	set.updated_s = 6;
	assert_int_equal(change_pool(f, STORE_POOL_SET, &set), KMS_OK);
	memcpy(want.subjects, set.subjects, sizeof(want.subjects));
	want.roots[0] = set.roots[0];
	want.root_count = 1;
	want.updated_s = 6;
	assert_pool(f, &want);
	assert_int_equal(epoch_of(f, &s.principal), 2);
	assert_int_equal(change_pool(f, STORE_POOL_SET, &nobody), KMS_E_NOTFOUND);
	/* A subject that was given up is free. */
	memcpy(nobody.subjects[0], s.pool.subjects[0], sizeof(nobody.subjects[0]));
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &nobody), KMS_OK);
}

static void the_subjects_of_a_shredded_vault_are_free_again(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault other = store_fixture_vault(2, "other"), dead = s.vault;
	struct store_principal theirs = store_fixture_principal(3, &other);
	struct store_pool heir = store_fixture_pool(3, &theirs);
	STORE_POOL_AUTO left = { 0 };

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = other }), KMS_OK);
	add_principal(f, &theirs);
	memcpy(heir.subjects, s.pool.subjects, sizeof(heir.subjects));
	heir.subject_count = s.pool.subject_count;
	dead.state = STORE_VAULT_SHREDDING;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_SET_STATE, .vault = dead }), KMS_OK);
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &heir), KMS_E_CONFLICT); /* not before it is done */
	dead.state = STORE_VAULT_SHREDDED;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_SET_STATE, .vault = dead }), KMS_OK);
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &heir), KMS_OK);
	assert_pool(f, &heir);
	assert_int_equal(store_pool(f->r, s.pool.id, &left, NULL), KMS_OK);
	assert_int_equal(left.subject_count, 0);
}

static void a_subject_belongs_to_one_pool_of_all_vaults_and_is_lower_case(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault other = store_fixture_vault(2, "other");
	struct store_principal theirs = store_fixture_principal(3, &other);
	struct store_pool same = store_fixture_pool(3, &theirs), twice, loud;
	STORE_POOL_AUTO got = { 0 };

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = other }), KMS_OK);
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &same), KMS_E_FENCED); /* no such principal */
	add_principal(f, &theirs);
	twice = loud = same;
	memcpy(same.subjects[1], s.pool.subjects[1], sizeof(same.subjects[1]));
	memcpy(twice.subjects[1], twice.subjects[0], sizeof(twice.subjects[1]));
	loud.subjects[0][0] = 'P';
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &same), KMS_E_CONFLICT);
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &twice), KMS_E_CONFLICT);
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &loud), KMS_E_CONFLICT);
	assert_int_equal(store_pool(f->r, theirs.id, &got, NULL), KMS_E_NOTFOUND);
	memcpy(same.subjects[1], "theirs", sizeof("theirs"));
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &same), KMS_OK);
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &same), KMS_E_CONFLICT);
	assert_pool(f, &same);

	twice = same;
	memcpy(twice.subjects[0], s.pool.subjects[0], sizeof(twice.subjects[0]));
	assert_int_equal(change_pool(f, STORE_POOL_SET, &twice), KMS_E_CONFLICT);
	assert_pool(f, &same);
	assert_int_equal(epoch_of(f, &theirs), 1);
}

static void a_pool_that_is_not_whole_is_never_stored(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_pool bad[7];

	for (size_t i = 0; i < KMS_ARRAY_LEN(bad); i++)
		bad[i] = s.pool;
	bad[0].subject_count = 0;
	bad[1].subject_count = STORE_SUBJECTS_MAX + 1;
	bad[2].root_count = 0;
	bad[3].root_count = STORE_ROOTS_MAX + 1;
	bad[4].roots[1].der = NULL;
	bad[5].roots[1].der_len = 0;
	bad[6].roots[1].der_len = STORE_ROOT_MAX + 1;
	for (size_t i = 0; i < KMS_ARRAY_LEN(bad); i++) {
		assert_int_equal(change_pool(f, STORE_POOL_SET, &bad[i]), KMS_E_INTERNAL);
		assert_int_equal(change_pool(f, STORE_POOL_ADD, &bad[i]), KMS_E_INTERNAL);
	}
	assert_pool(f, &s.pool);
	bad[0] = s.pool;
	bad[0].subjects[1][0] = '\0';
	assert_int_equal(change_pool(f, STORE_POOL_SET, &bad[0]), KMS_E_CONFLICT);
	assert_pool(f, &s.pool);
}

static void pools_of_all_vaults_come_in_pages(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	uint8_t after[STORE_ID_LEN];
	size_t count, seen = 0;

	for (unsigned n = MANY; n > 1; n--) {
		struct store_pool p = another_pool(f, &s, n);
		assert_int_equal(change_pool(f, STORE_POOL_ADD, &p), KMS_OK);
	}
	do {
		struct store_pool page[3] = { 0 };
		assert_int_equal(store_pools(f->r, seen == 0 ? NULL : after, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			struct store_principal p = store_fixture_principal((unsigned)++seen, &s.vault);
			struct store_pool want = store_fixture_pool((unsigned)seen, &p);
			assert_same_pool(&page[i], &want);
			memcpy(after, page[i].id, STORE_ID_LEN);
			store_pool_clear(&page[i]);
		}
	} while (count == 3);
	assert_int_equal(seen, MANY);
}

static void a_cleared_pool_is_empty_and_can_be_cleared_again(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	const struct store_pool empty = { 0 };
	struct store_pool got = { 0 };

	assert_int_equal(store_pool(f->r, s.pool.id, &got, NULL), KMS_OK);
	store_pool_clear(&got);
	assert_memory_equal(&got, &empty, sizeof(got));
	store_pool_clear(&got);
}

/* ---- external ids ---- */

static void an_external_id_is_its_pools_alone_and_keeps_its_case(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_pool other = another_pool(f, &s, 2);
	struct store_external e = store_fixture_external(1, &s.pool, &s.key, &s.first), upper = e, theirs, got;
	struct store_external homeless = store_fixture_external(9, &other, &s.key, &s.first);

	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &homeless), KMS_E_FENCED); /* no such pool */
	assert_int_equal(change_pool(f, STORE_POOL_ADD, &other), KMS_OK);
	/* The same id elsewhere, for another version; two ids of one pool that differ in case, for the same version. */
	theirs = store_fixture_external(1, &other, &s.key, &s.second);
	upper.id[0] = 'E';
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &e), KMS_OK);
	assert_int_equal(store_external(f->r, e.pool_id, upper.id, &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_external(f->r, other.id, e.id, &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &upper), KMS_OK);
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &theirs), KMS_OK);
	assert_external(f, &e);
	assert_external(f, &upper);
	assert_external(f, &theirs);
	assert_int_equal(store_external(f->r, e.pool_id, "", &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_external(f->r, e.pool_id, "ext-", &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_external(f->r, e.pool_id, "ext-1 ", &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_external(f->r, e.pool_id, "ext-%", &got, NULL), KMS_E_NOTFOUND);
}

static void an_external_id_is_of_the_promised_form(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_external e = store_fixture_external(1, &s.pool, &s.key, &s.first), got;
	static const char *const BAD[] = { "", "a/b", "a b", "a.b", "a_b", "a%b", "\xc3\xa9", "a\n" };
	static const char *const GOOD[] = { "-", "0", "007", "1e5", "A-Za-z0-9" };
	char longest[STORE_EXTERNAL_ID_MAX + 2];

	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		(void)snprintf(e.id, sizeof(e.id), "%s", BAD[i]);
		if (change_external(f, STORE_EXTERNAL_ADD, &e) != KMS_E_CONFLICT)
			fail_msg("\"%s\" was taken", BAD[i]);
		assert_int_equal(store_external(f->r, e.pool_id, e.id, &got, NULL), KMS_E_NOTFOUND);
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(GOOD); i++) {
		memset(e.id, 0, sizeof(e.id));
		(void)snprintf(e.id, sizeof(e.id), "%s", GOOD[i]);
		assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &e), KMS_OK);
		assert_external(f, &e);
	}
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(store_external(f->r, e.pool_id, longest, &got, NULL), KMS_E_NOTFOUND);
	memcpy(e.id, longest + 1, sizeof(e.id));
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &e), KMS_OK);
	assert_external(f, &e);
}

static void a_use_is_counted_while_the_id_is_in_use_and_refused_afterwards(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_external e = store_fixture_external(1, &s.pool, &s.key, &s.first), use = e, retire = e;
	struct store_change pair[] = { { .kind = STORE_EXTERNAL_USED }, { .kind = STORE_EXTERNAL_USED } };

	assert_int_equal(change_external(f, STORE_EXTERNAL_USED, &use), KMS_E_FENCED); /* not there yet */
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &e), KMS_OK);
	use.last_used_s = 100;
	assert_int_equal(change_external(f, STORE_EXTERNAL_USED, &use), KMS_OK);
	e.last_used_s = 100;
	e.uses = 1;
	assert_external(f, &e);
	use.last_used_s = e.last_used_s = 200;
	e.uses = 3;
	pair[0].external = pair[1].external = use;
	assert_int_equal(store_fixture_write(f, pair, KMS_ARRAY_LEN(pair), NULL), KMS_OK);
	assert_external(f, &e);

	retire.retired_s = STORE_NO_TIME;
	assert_int_equal(change_external(f, STORE_EXTERNAL_RETIRE, &retire), KMS_E_INTERNAL);
	retire.retired_s = e.retired_s = 300;
	assert_int_equal(epoch_of(f, &s.principal), 1);
	assert_int_equal(change_external(f, STORE_EXTERNAL_RETIRE, &retire), KMS_OK);
	assert_int_equal(epoch_of(f, &s.principal), 2); /* whatever the pool has under way is decided anew */
	use.last_used_s = 400;
	assert_int_equal(change_external(f, STORE_EXTERNAL_USED, &use), KMS_E_FENCED);
	retire.retired_s = 500;
	assert_int_equal(change_external(f, STORE_EXTERNAL_RETIRE, &retire), KMS_E_NOTFOUND);
	assert_external(f, &e);
	retire.id[0] = 'E';
	assert_int_equal(change_external(f, STORE_EXTERNAL_RETIRE, &retire), KMS_E_NOTFOUND);
}

static void an_id_comes_back_for_its_own_version_with_its_history_and_for_no_other(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_key copy = store_fixture_key(7, &s.vault, "copy");
	struct store_external e = store_fixture_external(1, &s.pool, &s.key, &s.first), again = e, want = e, retire = e;
	struct store_external rebound = store_fixture_external(1, &s.pool, &s.key, &s.second);
	struct store_external moved = store_fixture_external(1, &s.pool, &copy, &s.first);

	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &e), KMS_OK);
	e.last_used_s = want.last_used_s = 100;
	want.uses = 1;
	assert_int_equal(change_external(f, STORE_EXTERNAL_USED, &e), KMS_OK);
	/* In use: the same again changes nothing. */
	again.created_s = 50;
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &again), KMS_OK);
	assert_external(f, &want);
	retire.retired_s = 300;
	for (int is_retired = 0; is_retired < 2; is_retired++) {
		assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &rebound), KMS_E_CONFLICT);
		assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &moved), KMS_E_CONFLICT);
		assert_external(f, &want);
		if (is_retired == 0)
			assert_int_equal(change_external(f, STORE_EXTERNAL_RETIRE, &retire), KMS_OK);
		want.retired_s = 300;
	}
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &again), KMS_OK);
	want.retired_s = STORE_NO_TIME;
	assert_external(f, &want);
}

static void external_ids_come_in_pages_retired_or_not(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_pool other = another_pool(f, &s, 2);
	struct store_external page[3], e;
	char after[STORE_EXTERNAL_ID_MAX + 1] = "", want[STORE_EXTERNAL_ID_MAX + 1];
	size_t count, seen = 0;

	assert_int_equal(change_pool(f, STORE_POOL_ADD, &other), KMS_OK);
	e = store_fixture_external(15, &other, &s.key, &s.first);
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &e), KMS_OK);
	for (unsigned n = 10 + MANY; n > 10; n--) {
		e = store_fixture_external(n, &s.pool, &s.key, &s.first);
		assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &e), KMS_OK);
		e.retired_s = 5;
		if (n % 4 == 0)
			assert_int_equal(change_external(f, STORE_EXTERNAL_RETIRE, &e), KMS_OK);
	}
	do {
		assert_int_equal(store_externals(f->r, s.pool.id, seen == 0 ? NULL : after, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			(void)snprintf(want, sizeof(want), "ext-%zu", 10 + ++seen);
			assert_string_equal(page[i].id, want);
			assert_true((page[i].retired_s == STORE_NO_TIME) == ((10 + seen) % 4 != 0));
			memcpy(after, page[i].id, sizeof(after));
		}
	} while (count == 3);
	assert_int_equal(seen, MANY);
}

static void a_key_is_published_while_any_id_of_any_pool_is_in_use(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_pool other = another_pool(f, &s, 2);
	struct store_key unpublished = store_fixture_key(7, &s.vault, "copy");
	struct store_external mine = store_fixture_external(1, &s.pool, &s.key, &s.first), theirs, got = { 0 };

	assert_int_equal(change_pool(f, STORE_POOL_ADD, &other), KMS_OK);
	theirs = store_fixture_external(2, &other, &s.key, &s.second);
	assert_int_equal(store_external_of_key(f->r, s.key.id, &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &mine), KMS_OK);
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &theirs), KMS_OK);
	assert_int_equal(store_external_of_key(f->r, s.key.id, &got, NULL), KMS_OK);
	assert_int_equal(store_external_of_key(f->r, unpublished.id, &got, NULL), KMS_E_NOTFOUND);
	mine.retired_s = 5;
	assert_int_equal(change_external(f, STORE_EXTERNAL_RETIRE, &mine), KMS_OK);
	assert_int_equal(store_external_of_key(f->r, s.key.id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &theirs, sizeof(got));
	theirs.retired_s = 6;
	assert_int_equal(change_external(f, STORE_EXTERNAL_RETIRE, &theirs), KMS_OK);
	assert_int_equal(store_external_of_key(f->r, s.key.id, &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &mine), KMS_OK);
	assert_int_equal(store_external_of_key(f->r, s.key.id, &got, NULL), KMS_OK);
}

/* The key's name becomes free, its version's id could come back from a backup: the id must not. */
static void an_id_stays_bound_after_its_key_is_purged(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_external e = store_fixture_external(1, &s.pool, &s.key, &s.first), rebound;
	struct store_key next = store_fixture_key(7, &s.vault, "Master");
	struct store_version fresh = store_fixture_version(7, &next);
	struct store_change add[] = { { .kind = STORE_KEY_ADD, .key = next }, { .kind = STORE_VERSION_ADD, .version = fresh } };

	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &e), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_PURGE, .key = s.key }), KMS_OK);
	assert_external(f, &e);
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	rebound = store_fixture_external(1, &s.pool, &next, &fresh);
	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &rebound), KMS_E_CONFLICT);
	assert_external(f, &e);
}

static void a_shredded_vault_keeps_its_pools_and_ids_as_history(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_external e = store_fixture_external(1, &s.pool, &s.key, &s.first);

	assert_int_equal(change_external(f, STORE_EXTERNAL_ADD, &e), KMS_OK);
	e.last_used_s = 100;
	assert_int_equal(change_external(f, STORE_EXTERNAL_USED, &e), KMS_OK);
	e.uses = 1;
	s.vault.state = STORE_VAULT_SHREDDED;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = s.vault }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_SET_STATE, .vault = s.vault }), KMS_OK);
	store_fixture_reopen(f);
	assert_pool(f, &s.pool);
	assert_external(f, &e);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_pool_comes_back_whole_with_its_lists_in_order),
		T(a_set_pool_keeps_its_prefix_and_creation_and_raises_its_principals_epoch),
		T(the_subjects_of_a_shredded_vault_are_free_again),
		T(a_subject_belongs_to_one_pool_of_all_vaults_and_is_lower_case),
		T(a_pool_that_is_not_whole_is_never_stored),
		T(pools_of_all_vaults_come_in_pages),
		T(a_cleared_pool_is_empty_and_can_be_cleared_again),
		T(an_external_id_is_its_pools_alone_and_keeps_its_case),
		T(an_external_id_is_of_the_promised_form),
		T(a_use_is_counted_while_the_id_is_in_use_and_refused_afterwards),
		T(an_id_comes_back_for_its_own_version_with_its_history_and_for_no_other),
		T(external_ids_come_in_pages_retired_or_not),
		T(a_key_is_published_while_any_id_of_any_pool_is_in_use),
		T(an_id_stays_bound_after_its_key_is_purged),
		T(a_shredded_vault_keeps_its_pools_and_ids_as_history),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
