/* tests/contract/storage_keys.c - the storage port: counts of encryptions, rotation policies, tags, resident versions, and a whole key
 * that is restored as one unit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/store_fixture.h"

#define RESTORED_VERSIONS 500 /* keyvault-keys.md section 12 */

/* A vault with one key of one version. */
struct scene {
	struct store_vault vault;
	struct store_key key;
	struct store_version version;
};

static struct scene set_scene(struct store_fixture *f)
{
	struct scene s = { .vault = store_fixture_vault(1, "payroll") };
	struct store_change add[3];

	s.key = store_fixture_key(1, &s.vault, "master");
	s.version = store_fixture_version(1, &s.key);
	add[0] = (struct store_change){ .kind = STORE_VAULT_ADD, .vault = s.vault };
	add[1] = (struct store_change){ .kind = STORE_KEY_ADD, .key = s.key };
	add[2] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = s.version };
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	return s;
}

static uint64_t epoch_of(struct store_fixture *f, const struct store_key *k)
{
	struct store_key got;

	assert_int_equal(store_key(f->r, k->vault_id, k->name, &got, NULL), KMS_OK);
	return got.epoch;
}

static uint64_t encryptions_of(struct store_fixture *f, const struct store_version *v)
{
	STORE_VERSION_AUTO got = { 0 };

	assert_int_equal(store_version(f->r, v->key_id, v->id, false, &got, NULL), KMS_OK);
	assert_int_equal(got.epoch, 1);
	return got.encryptions;
}

static struct store_change encryption(const struct store_version *v, uint64_t limit)
{
	struct store_change c = { .kind = STORE_VERSION_ENCRYPTS, .encryption = { .limit = limit } };

	memcpy(c.encryption.version_id, v->id, STORE_ID_LEN);
	return c;
}

static void encryptions_are_counted_up_to_their_limit_and_raise_no_epoch(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_version absent = store_fixture_version(2, &s.key);
	struct store_change pair[] = { encryption(&s.version, 4), encryption(&s.version, 4) };

	assert_int_equal(encryptions_of(f, &s.version), 0);
	assert_int_equal(store_fixture_one(f, encryption(&s.version, 0)), KMS_E_FENCED);
	assert_int_equal(store_fixture_one(f, encryption(&s.version, 4)), KMS_OK);
	assert_int_equal(store_fixture_write(f, pair, 2, NULL), KMS_OK);
	assert_int_equal(encryptions_of(f, &s.version), 3);
	/* The second of the pair is one too many: neither counts. */
	assert_int_equal(store_fixture_write(f, pair, 2, NULL), KMS_E_FENCED);
	assert_int_equal(encryptions_of(f, &s.version), 3);
	assert_int_equal(store_fixture_one(f, encryption(&s.version, 4)), KMS_OK);
	assert_int_equal(store_fixture_one(f, encryption(&s.version, 4)), KMS_E_FENCED);
	assert_int_equal(store_fixture_one(f, encryption(&s.version, 3)), KMS_E_FENCED);
	assert_int_equal(store_fixture_one(f, encryption(&s.version, UINT64_MAX)), KMS_OK);
	assert_int_equal(encryptions_of(f, &s.version), 5);
	assert_int_equal(epoch_of(f, &s.key), 2);
	assert_int_equal(store_fixture_one(f, encryption(&absent, 4)), KMS_E_FENCED);
}

static void changes_of_a_version_leave_its_encryptions_counted(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	STORE_VERSION_AUTO got = { 0 };
	struct store_version set = s.version;

	assert_int_equal(store_fixture_one(f, encryption(&s.version, 9)), KMS_OK);
	set.is_enabled = false;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_SET, .set_tags = true, .version = set }), KMS_OK);
	assert_int_equal(store_version(f->r, s.key.id, NULL, false, &got, NULL), KMS_OK);
	assert_false(got.is_enabled);
	assert_int_equal(got.encryptions, 1);
}

static void assert_policy(struct store_fixture *f, const struct store_policy *want)
{
	struct store_policy got = { 0 };

	assert_int_equal(store_policy(f->r, want->key_id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, want, sizeof(got));
}

static kms_status set_policy(struct store_fixture *f, const struct store_policy *p)
{
	return store_fixture_one(f, (struct store_change){ .kind = STORE_POLICY_SET, .policy = *p });
}

static void a_policy_comes_back_whole_and_is_replaced_but_for_its_creation(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_policy first = store_fixture_policy(1, &s.key), next = store_fixture_policy(50, &s.key), p;

	assert_int_equal(store_policy(f->r, s.key.id, &p, NULL), KMS_E_NOTFOUND);
	assert_int_equal(set_policy(f, &first), KMS_OK);
	assert_policy(f, &first);
	assert_int_equal(epoch_of(f, &s.key), 3);
	/* Every text at its longest, then every text empty. */
	memset(next.rotate_after_create, 'a', STORE_DURATION_MAX);
	memset(next.rotate_before_expiry, 'b', STORE_DURATION_MAX);
	memset(next.notify_before_expiry, 'c', STORE_DURATION_MAX);
	memset(next.expiry_time, 'd', STORE_DURATION_MAX);
	assert_int_equal(set_policy(f, &next), KMS_OK);
	next.created_s = first.created_s;
	assert_policy(f, &next);
	next = (struct store_policy){ .updated_s = 5 };
	memcpy(next.key_id, s.key.id, STORE_ID_LEN);
	assert_int_equal(set_policy(f, &next), KMS_OK);
	next.created_s = first.created_s;
	assert_policy(f, &next);
	assert_int_equal(epoch_of(f, &s.key), 5);
}

static void only_a_living_key_takes_a_policy(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_key absent = store_fixture_key(2, &s.vault, "absent");
	struct store_policy kept = store_fixture_policy(1, &s.key), later = store_fixture_policy(2, &s.key);
	struct store_policy none = store_fixture_policy(3, &absent);

	assert_int_equal(set_policy(f, &none), KMS_E_FENCED);
	assert_int_equal(set_policy(f, &kept), KMS_OK);
	s.key.deleted_s = 100;
	s.key.purge_s = 200;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = s.key }), KMS_OK);
	assert_int_equal(set_policy(f, &later), KMS_E_FENCED);
	assert_policy(f, &kept);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_RECOVER, .key = s.key }), KMS_OK);
	assert_policy(f, &kept);
}

static void a_purged_key_takes_its_policy_and_tags_along(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_key other = store_fixture_key(2, &s.vault, "other");
	struct store_policy p = store_fixture_policy(1, &s.key), kept = store_fixture_policy(2, &other);
	struct store_change again[] = { { .kind = STORE_KEY_ADD, .key = s.key }, { .kind = STORE_VERSION_ADD, .version = s.version } };
	STORE_VERSION_AUTO got = { 0 };

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = other }), KMS_OK);
	assert_int_equal(set_policy(f, &p), KMS_OK);
	assert_int_equal(set_policy(f, &kept), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_PURGE, .key = s.key }), KMS_OK);
	assert_int_equal(store_policy(f->r, s.key.id, &p, NULL), KMS_E_NOTFOUND);
	assert_policy(f, &kept);
	/* As a restore does: the same ids again. */
	again[1].version.tags = NULL;
	assert_int_equal(store_fixture_write(f, again, KMS_ARRAY_LEN(again), NULL), KMS_OK);
	assert_int_equal(store_policy(f->r, s.key.id, &p, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_version(f->r, s.key.id, s.version.id, true, &got, NULL), KMS_OK);
	assert_null(got.tags);
}

static void an_erased_vault_loses_policies_and_tags_and_no_other_does(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault other = store_fixture_vault(2, "other");
	struct store_key k = store_fixture_key(2, &other, "master");
	struct store_version v = store_fixture_version(2, &k);
	struct store_policy gone = store_fixture_policy(1, &s.key), kept = store_fixture_policy(2, &k), p;
	struct store_change add[] = {
		{ .kind = STORE_VAULT_ADD, .vault = other },
		{ .kind = STORE_KEY_ADD, .key = k },
		{ .kind = STORE_VERSION_ADD, .version = v },
		{ .kind = STORE_POLICY_SET, .policy = gone },
		{ .kind = STORE_POLICY_SET, .policy = kept },
	};
	STORE_VERSION_AUTO erased = { 0 };
	STORE_VERSION_AUTO whole = { 0 };

	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = s.vault }), KMS_OK);
	assert_int_equal(store_policy(f->r, s.key.id, &p, NULL), KMS_E_NOTFOUND);
	assert_policy(f, &kept);
	assert_int_equal(epoch_of(f, &s.key), 3); /* the row stays */
	assert_int_equal(store_version(f->r, s.key.id, NULL, true, &erased, NULL), KMS_OK);
	assert_null(erased.tags);
	assert_null(erased.pub);
	assert_int_equal(erased.e_len, 0);
	assert_int_equal(store_version(f->r, k.id, NULL, true, &whole, NULL), KMS_OK);
	assert_string_equal(whole.tags, v.tags);
	assert_int_equal(whole.pub_len, v.pub_len);
}

static void tags_can_be_given_replaced_and_taken_away_at_any_time(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_version bare = store_fixture_version(2, &s.key);
	char few[] = "{}", *many = calloc(1, STORE_TAGS_MAX + 1);
	char *const values[] = { few, many, NULL, few };

	assert_non_null(many);
	memset(many, 't', STORE_TAGS_MAX);
	bare.tags = NULL;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = bare }), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(values); i++) {
		STORE_VERSION_AUTO got = { 0 };
		STORE_VERSION_AUTO neighbour = { 0 };
		bare.tags = values[i];
		assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_SET, .set_tags = true, .version = bare }),
		                 KMS_OK);
		assert_int_equal(store_version(f->r, s.key.id, NULL, true, &got, NULL), KMS_OK);
		if (values[i] != NULL)
			assert_string_equal(got.tags, values[i]);
		else
			assert_null(got.tags);
		assert_int_equal(store_version(f->r, s.key.id, s.version.id, true, &neighbour, NULL), KMS_OK);
		assert_string_equal(neighbour.tags, s.version.tags);
	}
	free(many);
}

static void resident_versions_are_counted_by_vault(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault other = store_fixture_vault(2, "other"), empty = store_fixture_vault(3, "empty");
	struct store_key k = store_fixture_key(2, &other, "master");
	size_t count = 99;

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = other }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = k }), KMS_OK);
	for (unsigned n = 2; n <= 9; n++) {
		struct store_version v = store_fixture_version(n, n < 5 ? &s.key : &k);
		v.wrapped = NULL;
		assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = v }), KMS_OK);
	}
	s.key.deleted_s = 1;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = s.key }), KMS_OK);
	assert_int_equal(store_object_count(f->r, s.vault.id, &count, NULL), KMS_OK);
	assert_int_equal(count, 3);
	assert_int_equal(store_object_count(f->r, other.id, &count, NULL), KMS_OK);
	assert_int_equal(count, 5);
	assert_int_equal(store_object_count(f->r, empty.id, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
}

/* The largest unit there is. */
static void a_key_with_500_versions_is_restored_as_one_unit_or_not_at_all(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_key k = store_fixture_key(2, &s.vault, "restored");
	struct store_change open = { .kind = STORE_INTENT_OPEN, .intent = { .type = 1 } };
	struct store_change *unit = calloc(RESTORED_VERSIONS + 3, sizeof(*unit));
	uint64_t intent_seq = f->seq;
	char(*tags)[32] = calloc(RESTORED_VERSIONS, sizeof(*tags));
	struct store_intent intent;
	size_t count = 0, seen = 0, total;

	assert_true(unit != NULL && tags != NULL);
	assert_int_equal(store_fixture_one(f, open), KMS_OK);
	unit[count++] = (struct store_change){ .kind = STORE_KEY_ADD, .key = k };
	for (unsigned n = 0; n < RESTORED_VERSIONS; n++) {
		/* Ids in the opposite order: only the order of the changes numbers them. */
		struct store_version v = store_fixture_version(10 + RESTORED_VERSIONS - n, &k);
		(void)snprintf(tags[n], sizeof(tags[n]), "{\"n\":\"%u\"}", n);
		v.tags = tags[n];
		v.crv = n % 5 == 0 ? 0 : 3;
		v.created_s = 1000 + n;
		v.updated_s = 2000 + n;
		v.encryptions = 3 * n;
		v.revoked = n % 7 == 0 ? 2 : 0;
		v.is_enabled = n % 2 == 0;
		unit[count++] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = v };
	}
	unit[count++] = (struct store_change){ .kind = STORE_INTENT_CLOSE, .intent = { .seq = intent_seq } };
	unit[count++] = (struct store_change){ .kind = STORE_POLICY_SET, .policy = store_fixture_policy(1, &k) };

	/* One id at the very end exists already. */
	store_fixture_id('v', 1, unit[RESTORED_VERSIONS].version.id);
	assert_int_equal(store_fixture_write(f, unit, count, NULL), KMS_E_FENCED);
	assert_int_equal(store_key(f->r, s.vault.id, "restored", &k, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_intents(f->r, UINT64_MAX, &intent, 1, &total, NULL), KMS_OK);
	assert_int_equal(total, 1);

	store_fixture_id('v', 11, unit[RESTORED_VERSIONS].version.id);
	assert_int_equal(store_fixture_write(f, unit, count, NULL), KMS_OK);
	do {
		struct store_version page[100] = { 0 };
		assert_int_equal(store_versions(f->r, k.id, seen, true, page, KMS_ARRAY_LEN(page), &total, NULL), KMS_OK);
		for (size_t i = 0; i < total; i++) {
			const struct store_version *want = &unit[1 + seen].version;
			assert_memory_equal(page[i].id, want->id, STORE_ID_LEN);
			assert_int_equal(page[i].ordinal, ++seen);
			assert_int_equal(page[i].crv, want->crv);
			assert_int_equal(page[i].encryptions, want->encryptions);
			assert_int_equal(page[i].revoked, want->revoked);
			assert_int_equal(page[i].is_enabled, want->is_enabled);
			assert_true(page[i].created_s == want->created_s && page[i].updated_s == want->updated_s);
			assert_string_equal(page[i].tags, want->tags);
			store_version_clear(&page[i]);
		}
	} while (total > 0);
	assert_int_equal(seen, RESTORED_VERSIONS);
	assert_policy(f, &unit[count - 1].policy);
	assert_int_equal(epoch_of(f, &k), 1 + RESTORED_VERSIONS + 1);
	assert_int_equal(store_intents(f->r, UINT64_MAX, &intent, 1, &total, NULL), KMS_OK);
	assert_int_equal(total, 0);
	free(tags);
	free(unit);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(encryptions_are_counted_up_to_their_limit_and_raise_no_epoch),
		T(changes_of_a_version_leave_its_encryptions_counted),
		T(a_policy_comes_back_whole_and_is_replaced_but_for_its_creation),
		T(only_a_living_key_takes_a_policy),
		T(a_purged_key_takes_its_policy_and_tags_along),
		T(an_erased_vault_loses_policies_and_tags_and_no_other_does),
		T(tags_can_be_given_replaced_and_taken_away_at_any_time),
		T(resident_versions_are_counted_by_vault),
		T(a_key_with_500_versions_is_restored_as_one_unit_or_not_at_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
