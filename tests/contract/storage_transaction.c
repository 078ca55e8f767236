/* tests/contract/storage_transaction.c - the storage port: the fence, all or nothing, what others see when, and what erasure leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/store_fixture.h"

/* A vault with one principal, key and version; the fence that depends on all four. */
struct scene {
	struct store_vault vault;
	struct store_principal principal; /* a pool, with one external id for the version */
	struct store_pool pool;
	struct store_external external;
	struct store_key key;
	struct store_version version;
	struct store_fence fence;
};

static struct scene set_scene(struct store_fixture *f)
{
	struct scene s = { .vault = store_fixture_vault(1, "payroll") };
	struct store_change add[6];

	s.principal = store_fixture_principal(1, &s.vault);
	s.key = store_fixture_key(1, &s.vault, "master");
	s.version = store_fixture_version(1, &s.key);
	add[0] = (struct store_change){ .kind = STORE_VAULT_ADD, .vault = s.vault };
	add[1] = (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = s.principal };
	add[2] = (struct store_change){ .kind = STORE_KEY_ADD, .key = s.key };
	add[3] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = s.version };
	s.pool = store_fixture_pool(1, &s.principal);
	s.external = store_fixture_external(1, &s.pool, &s.key, &s.version);
	add[4] = (struct store_change){ .kind = STORE_POOL_ADD, .pool = s.pool };
	add[5] = (struct store_change){ .kind = STORE_EXTERNAL_ADD, .external = s.external };
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	s.fence = (struct store_fence){ .vault_epoch = 1, .principal_epoch = 1, .key_epoch = 2, .version_epoch = 1 };
	memcpy(s.fence.vault_id, s.vault.id, STORE_ID_LEN);
	memcpy(s.fence.principal_id, s.principal.id, STORE_ID_LEN);
	memcpy(s.fence.key_id, s.key.id, STORE_ID_LEN);
	memcpy(s.fence.version_id, s.version.id, STORE_ID_LEN);
	return s;
}

static bool holds(struct store_fixture *f, const struct store_fence *fence)
{
	bool result = false;

	assert_int_equal(store_fence_holds(f->w, fence, &result, NULL), KMS_OK);
	return result;
}

static void the_fence_holds_only_while_all_four_parts_are_unchanged(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	uint64_t *epochs[] = { &s.fence.vault_epoch, &s.fence.principal_epoch, &s.fence.key_epoch, &s.fence.version_epoch };
	uint8_t *ids[] = { s.fence.vault_id, s.fence.principal_id, s.fence.key_id, s.fence.version_id };
	const struct store_fence none = { .vault_epoch = 9, .key_epoch = 9 };

	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_true(holds(f, &s.fence));
	assert_true(holds(f, &none));
	for (size_t i = 0; i < KMS_ARRAY_LEN(epochs); i++) {
		uint8_t kept[STORE_ID_LEN];
		++*epochs[i];
		assert_false(holds(f, &s.fence));
		*epochs[i] = 0;
		assert_false(holds(f, &s.fence)); /* never an epoch */
		*epochs[i] = i == 2 ? 2 : 1;
		memcpy(kept, ids[i], STORE_ID_LEN);
		ids[i][15] ^= 1; /* a row that is not there */
		assert_false(holds(f, &s.fence));
		memset(ids[i], 0, STORE_ID_LEN); /* does not depend on it */
		assert_true(holds(f, &s.fence));
		memcpy(ids[i], kept, STORE_ID_LEN);
		assert_true(holds(f, &s.fence));
	}
	store_rollback(f->w);
}

static void a_change_earlier_in_the_same_transaction_breaks_the_fence(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_principal off = s.principal;
	struct store_vault shredding = s.vault;
	struct store_change changes[] = {
		{ .kind = STORE_VAULT_SET_STATE }, { .kind = STORE_PRINCIPAL_SET }, { .kind = STORE_VERSION_SET, .version = s.version },
		{ .kind = STORE_KEY_DELETE, .key = s.key }, { .kind = STORE_KEY_REVOKE, .revocation = { .reason = 1 } },
		{ .kind = STORE_ROLE_ADD, .assignment = { .role = 1 } },
		{ .kind = STORE_POLICY_SET, .policy = store_fixture_policy(1, &s.key) },
		{ .kind = STORE_POOL_SET, .pool = s.pool },
	};

	off.is_enabled = false;
	shredding.state = STORE_VAULT_SHREDDING;
	changes[0].vault = shredding;
	changes[1].principal = off;
	changes[3].key.deleted_s = 1;
	memcpy(changes[4].revocation.key_id, s.key.id, STORE_ID_LEN);
	memcpy(changes[5].assignment.principal_id, s.principal.id, STORE_ID_LEN);
	for (size_t i = 0; i < KMS_ARRAY_LEN(changes); i++) {
		assert_int_equal(store_begin(f->w, NULL), KMS_OK);
		assert_true(holds(f, &s.fence));
		assert_int_equal(store_apply(f->w, &changes[i], 1, f->seq, NULL), KMS_OK);
		assert_false(holds(f, &s.fence));
		store_rollback(f->w);
	}
}

static void an_encryption_or_a_use_from_outside_breaks_no_fence(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_change both[] = { { .kind = STORE_VERSION_ENCRYPTS, .encryption = { .limit = 2 } },
		                       { .kind = STORE_EXTERNAL_USED, .external = s.external } };

	memcpy(both[0].encryption.version_id, s.version.id, STORE_ID_LEN);
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, both, KMS_ARRAY_LEN(both), f->seq, NULL), KMS_OK);
	assert_true(holds(f, &s.fence));
	store_rollback(f->w);
}

/* A refusal on the way: the key, the versions before it and their material are gone with it. */
static void a_unit_that_adds_an_existing_version_is_refused_whole(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_key k = store_fixture_key(2, &s.vault, "copy"), got;
	struct store_version fresh = store_fixture_version(2, &k), same = store_fixture_version(1, &k), read;
	struct store_change unit[] = {
		{ .kind = STORE_KEY_ADD, .key = k }, { .kind = STORE_VERSION_ADD, .version = fresh }, { .kind = STORE_VERSION_ADD, .version = same },
	};
	static const uint8_t OLD[] = "OLD-MATERIAL-OF-THE-REFUSED-UNIT";
	uint8_t wrapped[sizeof(OLD)];
	bool is_known = true;

	memcpy(wrapped, OLD, sizeof(OLD));
	unit[1].version.wrapped = wrapped;
	unit[1].version.wrapped_len = sizeof(wrapped);
	store_fixture_id('o', 9, unit[2].version.obj); /* its id alone is taken */
	assert_int_equal(store_fixture_write(f, unit, KMS_ARRAY_LEN(unit), NULL), KMS_E_FENCED);
	assert_int_equal(store_key(f->r, s.vault.id, "copy", &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_version(f->r, k.id, NULL, true, &read, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_object_known(f->r, fresh.obj, &is_known, NULL), KMS_OK);
	assert_false(is_known);
	assert_int_equal(store_fixture_grep(f, OLD, sizeof(OLD)), 0);
	assert_int_equal(store_key(f->r, s.vault.id, "master", &got, NULL), KMS_OK);
	assert_int_equal(got.epoch, 2);
}

static void a_refused_unit_leaves_nothing_and_its_neighbours_live(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_key before = store_fixture_key(10, &s.vault, "before"), half = store_fixture_key(11, &s.vault, "half"),
			 taken = store_fixture_key(12, &s.vault, "MASTER"), after = store_fixture_key(13, &s.vault, "after"), got;
	struct store_change good = { .kind = STORE_KEY_ADD, .key = before }, later = { .kind = STORE_KEY_ADD, .key = after };
	struct store_change bad[] = { { .kind = STORE_KEY_ADD, .key = half }, { .kind = STORE_KEY_ADD, .key = taken } };
	struct store_event e = store_fixture_event(f->seq);

	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, &good, 1, f->seq, NULL), KMS_OK);
	assert_int_equal(store_append(f->w, &e, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, bad, 2, f->seq + 1, NULL), KMS_E_FENCED);
	assert_int_equal(store_apply(f->w, &later, 1, f->seq + 1, NULL), KMS_OK);
	e.seq++;
	assert_int_equal(store_append(f->w, &e, NULL), KMS_OK);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	assert_int_equal(store_key(f->r, s.vault.id, "before", &got, NULL), KMS_OK);
	assert_int_equal(store_key(f->r, s.vault.id, "after", &got, NULL), KMS_OK);
	assert_int_equal(store_key(f->r, s.vault.id, "half", &got, NULL), KMS_E_NOTFOUND);
}

static void a_reader_sees_a_unit_only_after_its_commit_and_then_at_once(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_change add = { .kind = STORE_KEY_ADD, .key = store_fixture_key(2, &s.vault, "second") };
	struct store_event e = store_fixture_event(f->seq);
	struct store_key got;
	uint64_t count = 0;

	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, &add, 1, f->seq, NULL), KMS_OK);
	assert_int_equal(store_append(f->w, &e, NULL), KMS_OK);
	assert_int_equal(store_key(f->w, s.vault.id, "second", &got, NULL), KMS_OK);
	assert_int_equal(store_key(f->r, s.vault.id, "second", &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_event_count(f->r, &count, NULL), KMS_OK);
	assert_int_equal(count, f->seq);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	assert_int_equal(store_key(f->r, s.vault.id, "second", &got, NULL), KMS_OK);
	assert_int_equal(store_event_count(f->r, &count, NULL), KMS_OK);
	assert_int_equal(count, f->seq + 1);
}

static void a_rollback_leaves_nothing(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_change add = { .kind = STORE_KEY_ADD, .key = store_fixture_key(2, &s.vault, "second") };
	struct store_event e = store_fixture_event(f->seq);
	struct store_key got;
	uint64_t count = 0;

	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, &add, 1, f->seq, NULL), KMS_OK);
	assert_int_equal(store_append(f->w, &e, NULL), KMS_OK);
	store_rollback(f->w);
	assert_int_equal(store_key(f->w, s.vault.id, "second", &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_event_count(f->w, &count, NULL), KMS_OK);
	assert_int_equal(count, f->seq);
	assert_int_equal(store_fixture_one(f, add), KMS_OK);
}

static void the_log_takes_only_the_next_leaf(void **state)
{
	struct store_fixture *f = *state;
	static const uint64_t WRONG[] = { 0, 2, 1000 };
	struct store_event e = store_fixture_event(0);
	uint8_t hash[STORE_HASH_LEN] = { 1 };

	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_append(f->w, &e, NULL), KMS_OK);
	assert_int_equal(store_put_node(f->w, 1, 0, hash, NULL), KMS_OK);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(WRONG); i++) {
		e.seq = WRONG[i];
		assert_int_equal(store_begin(f->w, NULL), KMS_OK);
		assert_int_equal(store_append(f->w, &e, NULL), KMS_E_STORE);
		store_rollback(f->w);
	}
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_put_node(f->w, 1, 0, hash, NULL), KMS_E_STORE); /* a node is never rewritten */
	store_rollback(f->w);
}

static void writes_are_refused_on_a_reader_and_outside_a_transaction(void **state)
{
	struct store_fixture *f = *state;
	struct store_change c = { .kind = STORE_META_PUT, .meta = { .name = "x" } };
	struct store_event e = store_fixture_event(0);
	const struct store_fence fence = { 0 };
	uint8_t hash[STORE_HASH_LEN] = { 0 };
	struct store *both[] = { f->r, f->w };
	bool result;

	for (size_t i = 0; i < KMS_ARRAY_LEN(both); i++) {
		assert_int_equal(store_apply(both[i], &c, 1, 0, NULL), KMS_E_INTERNAL);
		assert_int_equal(store_append(both[i], &e, NULL), KMS_E_INTERNAL);
		assert_int_equal(store_put_node(both[i], 1, 0, hash, NULL), KMS_E_INTERNAL);
		assert_int_equal(store_fence_holds(both[i], &fence, &result, NULL), KMS_E_INTERNAL);
		assert_int_equal(store_commit(both[i], NULL), KMS_E_INTERNAL);
	}
	assert_int_equal(store_begin(f->r, NULL), KMS_E_INTERNAL);
	assert_int_equal(store_checkpoint(f->r, false, NULL), KMS_E_INTERNAL);
	store_rollback(f->r);
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_begin(f->w, NULL), KMS_E_INTERNAL);
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_E_INTERNAL);
	store_rollback(f->w);
}

#define MARK_LEN 24
#define MARK_START "REMNANT-"
#define CHURN 4000

static void mark(unsigned n, uint8_t *ret_bytes)
{
	char text[MARK_LEN + 1];

	(void)snprintf(text, sizeof(text), MARK_START "%08u-TNANMER", n);
	memcpy(ret_bytes, text, MARK_LEN);
}

static void truncate_wal(struct store_fixture *f)
{
	struct kms_err err = { 0 };
	assert_int_equal(store_checkpoint(f->w, true, &err), KMS_OK);
}

static void an_erased_vault_leaves_no_wrapped_byte_in_any_file(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), kept = store_fixture_vault(2, "kept"), got;
	struct store_key k = store_fixture_key(1, &v, "master"), kept_key = store_fixture_key(2, &kept, "master");
	STORE_VERSION_AUTO read = { 0 };
	uint8_t blob[2400], modulus[256] = { 0 };

	mark(1, v.canary_wrapped);
	mark(2, kept.canary_wrapped);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = kept }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = k }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = kept_key }), KMS_OK);
	for (unsigned n = 0; n < 40; n++) {
		struct store_version ver = store_fixture_version(n, n % 2 == 0 ? &k : &kept_key);
		for (size_t at = 0; at + MARK_LEN <= sizeof(blob); at += MARK_LEN)
			mark(1 + n % 2, blob + at);
		mark(1 + n % 2, modulus);
		ver.wrapped = blob;
		ver.wrapped_len = sizeof(blob) - (n % 5) * 400;
		ver.pub = modulus;
		assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = ver }), KMS_OK);
	}
	mark(1, modulus);
	assert_int_not_equal(store_fixture_grep(f, modulus, MARK_LEN), 0);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = v }), KMS_OK);
	truncate_wal(f);
	assert_int_equal(store_fixture_grep(f, modulus, MARK_LEN), 0);
	mark(2, modulus);
	assert_int_not_equal(store_fixture_grep(f, modulus, MARK_LEN), 0);
	/* The rows stay. */
	assert_int_equal(store_version(f->r, k.id, NULL, true, &read, NULL), KMS_OK);
	assert_null(read.wrapped);
	assert_null(read.pub);
	assert_int_equal(store_vault_by_id(f->r, v.id, &got, NULL), KMS_OK);
	assert_int_equal(got.canary_wrapped_len, 0);
	assert_int_equal(store_vault_by_id(f->r, kept.id, &got, NULL), KMS_OK);
	assert_int_equal(got.canary_wrapped_len, 40);
}

/* Rows of a busy table move between pages and leave copies that secure_delete does not find; ours must not. */
static void purged_keys_leave_no_wrapped_byte_after_long_churn(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	unsigned made = 0, random = 12345, purged = 0;

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }), KMS_OK);
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	while (made < CHURN) {
		random = random * 1103515245u + 12345u;
		if ((random >> 16) % 10 < 6) {
			uint8_t blob[600];
			char name[16];
			struct store_key k;
			struct store_version ver;
			struct store_change add[2];
			(void)snprintf(name, sizeof(name), "k%u", random);
			k = store_fixture_key(made, &v, name);
			/* Random order of ids, as in life. */
			memcpy(k.id, &random, sizeof(random));
			memcpy(k.id + 4, &made, sizeof(made));
			ver = store_fixture_version(made, &k);
			memcpy(ver.id, &random, sizeof(random));
			memset(blob, (int)made, sizeof(blob));
			mark(made, blob);
			ver.wrapped = blob;
			ver.wrapped_len = MARK_LEN + (random >> 8) % (sizeof(blob) - MARK_LEN);
			add[0] = (struct store_change){ .kind = STORE_KEY_ADD, .key = k };
			add[1] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = ver };
			assert_int_equal(store_apply(f->w, add, 2, 0, NULL), KMS_OK);
			made++;
		} else if (made > 0) {
			struct store_key page;
			char after[16];
			size_t count;
			(void)snprintf(after, sizeof(after), "k%u", random * 2654435761u);
			assert_int_equal(store_keys(f->w, v.id, false, after, &page, 1, &count, NULL), KMS_OK);
			if (count > 0) {
				struct store_change purge = { .kind = STORE_KEY_PURGE, .key = page };
				assert_int_equal(store_apply(f->w, &purge, 1, 0, NULL), KMS_OK);
				purged++;
			}
		}
	}
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	truncate_wal(f);
	assert_true(purged > CHURN / 3);
	/* Each living mark once, and no other. */
	assert_int_equal(store_fixture_grep(f, MARK_START, sizeof(MARK_START) - 1), CHURN - purged);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_fence_holds_only_while_all_four_parts_are_unchanged),
		T(a_change_earlier_in_the_same_transaction_breaks_the_fence),
		T(an_encryption_or_a_use_from_outside_breaks_no_fence),
		T(a_unit_that_adds_an_existing_version_is_refused_whole),
		T(a_refused_unit_leaves_nothing_and_its_neighbours_live),
		T(a_reader_sees_a_unit_only_after_its_commit_and_then_at_once),
		T(a_rollback_leaves_nothing),
		T(the_log_takes_only_the_next_leaf),
		T(writes_are_refused_on_a_reader_and_outside_a_transaction),
		T(an_erased_vault_leaves_no_wrapped_byte_in_any_file),
		T(purged_keys_leave_no_wrapped_byte_after_long_churn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
