/* tests/contract/storage_access.c - the storage port: who may call and what they may do. Each change raises the epoch that tells of it, and
 * no other; each refusal leaves everything as it was. */
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

/* Two vaults; a caller and two groups of the first, a caller and a group of the second, a caller of the installation. */
struct scene {
	struct store_vault vault, other;
	struct store_principal caller, group, outer, theirs, their_group, central;
};

static kms_status write_one(struct store_fixture *f, struct store_change c) { return store_fixture_one(f, c); }

static kms_status set_vault(struct store_fixture *f, const struct store_vault *v)
{
	return write_one(f, (struct store_change){ .kind = STORE_VAULT_SET, .vault = *v });
}

static kms_status set_networks(struct store_fixture *f, const struct store_vault *v, const char *text)
{
	struct store_change c = { .kind = STORE_NETWORKS_SET, .networks = { .text = text } };

	memcpy(c.networks.vault_id, v->id, STORE_ID_LEN);
	return write_one(f, c);
}

static kms_status change_principal(struct store_fixture *f, enum store_change_kind kind, const struct store_principal *p)
{
	return write_one(f, (struct store_change){ .kind = kind, .principal = *p });
}

static kms_status change_credential(struct store_fixture *f, enum store_change_kind kind, const struct store_credential *c)
{
	return write_one(f, (struct store_change){ .kind = kind, .credential = *c });
}

static kms_status change_assignment(struct store_fixture *f, enum store_change_kind kind, const struct store_assignment *a)
{
	return write_one(f, (struct store_change){ .kind = kind, .assignment = *a });
}

static kms_status change_role(struct store_fixture *f, enum store_change_kind kind, const struct store_role *r)
{
	return write_one(f, (struct store_change){ .kind = kind, .role = *r });
}

static kms_status change_member(struct store_fixture *f, enum store_change_kind kind, const struct store_principal *group,
                                const struct store_principal *member)
{
	return write_one(f, (struct store_change){ .kind = kind, .member = store_fixture_member(group, member) });
}

static struct scene set_scene(struct store_fixture *f)
{
	struct scene s = { .vault = store_fixture_vault(1, "payroll"), .other = store_fixture_vault(2, "other") };
	struct store_change add[8] = { { .kind = STORE_VAULT_ADD, .vault = s.vault }, { .kind = STORE_VAULT_ADD, .vault = s.other } };
	struct store_principal *all[] = { &s.caller, &s.group, &s.outer, &s.theirs, &s.their_group, &s.central };

	s.caller = store_fixture_principal(1, &s.vault);
	s.group = store_fixture_group(1, &s.vault);
	s.outer = store_fixture_group(2, &s.vault);
	s.theirs = store_fixture_principal(2, &s.other);
	s.their_group = store_fixture_group(3, &s.other);
	s.central = store_fixture_principal(3, NULL);
	for (size_t i = 0; i < KMS_ARRAY_LEN(all); i++)
		add[2 + i] = (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = *all[i] };
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	return s;
}

static uint64_t principal_epoch(struct store_fixture *f, const struct store_principal *p)
{
	struct store_principal got;

	assert_int_equal(store_principal(f->r, p->id, &got, NULL), KMS_OK);
	return got.epoch;
}

static uint64_t vault_epoch(struct store_fixture *f, const struct store_vault *v)
{
	struct store_vault got;

	assert_int_equal(store_vault_by_id(f->r, v->id, &got, NULL), KMS_OK);
	return got.epoch;
}

/* Every epoch of the scene, in one number for each: what is not named by a test must not move. */
struct epochs {
	uint64_t vault, other, caller, group, outer, theirs, their_group, central;
};

static struct epochs epochs_of(struct store_fixture *f, const struct scene *s)
{
	return (struct epochs){ vault_epoch(f, &s->vault), vault_epoch(f, &s->other), principal_epoch(f, &s->caller),
		                principal_epoch(f, &s->group), principal_epoch(f, &s->outer), principal_epoch(f, &s->theirs),
		                principal_epoch(f, &s->their_group), principal_epoch(f, &s->central) };
}

static void assert_epochs(struct store_fixture *f, const struct scene *s, const struct epochs *want)
{
	struct epochs got = epochs_of(f, s);

	assert_memory_equal(&got, want, sizeof(got));
}

/* ---- vaults ---- */

static void a_vault_is_set_in_part_and_its_founding_is_never_taken_back(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault set = s.vault, want = s.vault, got = { 0 }, nobody = store_fixture_vault(9, "nobody");
	struct epochs e = epochs_of(f, &s);

	memcpy(set.name, "renamed", sizeof("renamed"));
	set.state = STORE_VAULT_SHREDDED;
	set.directory[0] ^= 1;
	set.created_s = 5;
	set.retention_days = want.retention_days = 7;
	set.has_purge_protection = want.has_purge_protection = false;
	set.allows_rsa1_5 = want.allows_rsa1_5 = false;
	set.quorum = want.quorum = STORE_APPROVERS_MAX;
	set.purge_approvals = want.purge_approvals = STORE_APPROVERS_MAX;
	set.is_founded = want.is_founded = true;
	set.counts_installation = want.counts_installation = true;
	memset(set.issuer, 'i', STORE_ISSUER_MAX);
	memset(want.issuer, 'i', STORE_ISSUER_MAX);
	want.epoch = 2;
	assert_int_equal(set_vault(f, &set), KMS_OK);
	assert_int_equal(store_vault_by_id(f->r, s.vault.id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &want, sizeof(want));
	e.vault++;
	assert_epochs(f, &s, &e);

	set.is_founded = set.counts_installation = false;
	set.purge_approvals = want.purge_approvals = 0;
	memset(set.issuer, 0, sizeof(set.issuer));
	memset(want.issuer, 0, sizeof(want.issuer));
	want.epoch = 3;
	assert_int_equal(set_vault(f, &set), KMS_OK);
	assert_int_equal(store_vault_by_name(f->r, s.vault.name, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &want, sizeof(want));
	assert_int_equal(set_vault(f, &nobody), KMS_E_FENCED);
}

static void a_vault_without_a_quorum_is_never_stored(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault bad[3] = { s.vault, s.vault, s.vault }, got = { 0 };

	bad[0].quorum = 0;
	bad[1].quorum = STORE_APPROVERS_MAX + 1;
	bad[2].purge_approvals = STORE_APPROVERS_MAX + 1;
	for (size_t i = 0; i < KMS_ARRAY_LEN(bad); i++) {
		struct store_vault fresh = store_fixture_vault(7, "fresh");
		assert_int_equal(set_vault(f, &bad[i]), KMS_E_CONFLICT);
		fresh.quorum = bad[i].quorum;
		fresh.purge_approvals = bad[i].purge_approvals;
		assert_int_equal(write_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = fresh }), KMS_E_CONFLICT);
	}
	assert_int_equal(store_vault_by_id(f->r, s.vault.id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &s.vault, sizeof(got));
}

static void address_ranges_are_replaced_as_a_whole_and_absent_when_empty(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault nobody = store_fixture_vault(9, "nobody"), got;
	struct epochs e = epochs_of(f, &s);
	char text[STORE_NETWORK_MAX + 2], read[STORE_NETWORK_MAX + 1];
	const char *const steps[] = { "10.0.0.0/8", text, "2001:db8::/32 192.0.2.1/32", "" };

	memset(text, '1', STORE_NETWORK_MAX);
	text[STORE_NETWORK_MAX] = '\0';
	memset(read, 'x', sizeof(read));
	assert_int_equal(store_networks(f->r, s.vault.id, read, NULL), KMS_OK);
	assert_string_equal(read, "");
	for (size_t i = 0; i < KMS_ARRAY_LEN(steps); i++) {
		assert_int_equal(set_networks(f, &s.vault, steps[i]), KMS_OK);
		assert_int_equal(store_networks(f->r, s.vault.id, read, NULL), KMS_OK);
		assert_string_equal(read, steps[i]);
		assert_int_equal(store_vault_by_id(f->r, s.vault.id, &got, NULL), KMS_OK);
		assert_int_equal(got.has_networks, steps[i][0] != '\0');
		assert_int_equal(store_vault_by_name(f->r, s.other.name, &got, NULL), KMS_OK);
		assert_false(got.has_networks);
		e.vault++;
		assert_epochs(f, &s, &e);
	}
	text[STORE_NETWORK_MAX] = '1';
	text[STORE_NETWORK_MAX + 1] = '\0';
	assert_int_equal(set_networks(f, &s.vault, "192.0.2.0/24"), KMS_OK);
	assert_int_equal(set_networks(f, &s.vault, text), KMS_E_CONFLICT);
	assert_int_equal(set_networks(f, &s.vault, NULL), KMS_E_INTERNAL);
	assert_int_equal(set_networks(f, &nobody, "192.0.2.0/24"), KMS_E_FENCED);
	assert_int_equal(set_networks(f, &nobody, ""), KMS_E_FENCED);
	assert_int_equal(store_networks(f->r, s.vault.id, read, NULL), KMS_OK);
	assert_string_equal(read, "192.0.2.0/24");
	e.vault++;
	assert_epochs(f, &s, &e);
}

/* ---- principals ---- */

static void a_group_that_is_set_tells_its_vault_and_a_caller_does_not(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_principal got = { 0 }, homeless = store_fixture_group(9, NULL), neither = store_fixture_principal(8, &s.vault);
	struct epochs e = epochs_of(f, &s);

	assert_int_equal(store_principal(f->r, s.group.id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &s.group, sizeof(got));
	s.group.is_enabled = s.caller.is_enabled = s.central.is_enabled = false;
	s.caller.tokens_from_s = s.central.tokens_from_s = 1800000000;
	assert_int_equal(change_principal(f, STORE_PRINCIPAL_SET, &s.group), KMS_OK);
	e.group++;
	e.vault++;
	assert_epochs(f, &s, &e);
	assert_int_equal(change_principal(f, STORE_PRINCIPAL_SET, &s.caller), KMS_OK);
	e.caller++;
	assert_epochs(f, &s, &e);
	assert_int_equal(change_principal(f, STORE_PRINCIPAL_SET, &s.central), KMS_OK);
	e.central++;
	assert_epochs(f, &s, &e);
	assert_int_equal(store_principal(f->r, s.caller.id, &got, NULL), KMS_OK);
	assert_true(!got.is_enabled && got.tokens_from_s == 1800000000 && got.kind == STORE_PRINCIPAL_CALLER);
	/* As it was read before the change: somebody else's revocation must not be undone by it. */
	assert_int_equal(change_principal(f, STORE_PRINCIPAL_SET, &s.caller), KMS_E_FENCED);
	assert_epochs(f, &s, &e);
	assert_int_equal(change_principal(f, STORE_PRINCIPAL_SET, &got), KMS_OK);
	e.caller++;
	assert_epochs(f, &s, &e);

	assert_int_equal(change_principal(f, STORE_PRINCIPAL_ADD, &homeless), KMS_E_INTERNAL);
	neither.kind = (enum store_principal_kind)3;
	assert_int_equal(change_principal(f, STORE_PRINCIPAL_ADD, &neither), KMS_E_CONFLICT);
	neither.kind = (enum store_principal_kind)0;
	assert_int_equal(change_principal(f, STORE_PRINCIPAL_ADD, &neither), KMS_E_CONFLICT);
}

/* ---- credentials ---- */

static void assert_credential(const struct store_credential *got, const struct store_credential *want)
{
	assert_memory_equal(got->id, want->id, STORE_ID_LEN);
	assert_memory_equal(got->principal_id, want->principal_id, STORE_ID_LEN);
	assert_int_equal(got->kind, want->kind);
	assert_memory_equal(got->hash, want->hash, STORE_HASH_LEN);
	assert_string_equal(got->label, want->label);
	assert_true(got->created_s == want->created_s && got->expires_s == want->expires_s);
	assert_int_equal(got->data_len, want->data_len);
	if (want->data_len > 0)
		assert_memory_equal(got->data, want->data, want->data_len);
	else
		assert_null(got->data);
}

static void credentials_of_every_kind_come_back_by_principal_and_by_hash(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_credential want[4], list[STORE_CREDENTIALS_MAX] = { 0 }, one = { 0 };
	static uint8_t der[STORE_CREDENTIAL_DATA_MAX + 1];
	struct epochs e = epochs_of(f, &s);
	size_t count = 99;

	memset(der, 'D', sizeof(der));
	for (unsigned i = 0; i < KMS_ARRAY_LEN(want); i++) {
		/* The ids are not in the order of age; and all hashes are the same, since each is of another kind. */
		want[i] = store_fixture_credential(9 - i, &s.caller);
		want[i].kind = (enum store_credential_kind)(STORE_CREDENTIAL_SECRET + i);
		memcpy(want[i].hash, want[0].hash, STORE_HASH_LEN);
	}
	want[1].expires_s = 1900000000;
	memset(want[1].label, 'l', STORE_LABEL_MAX);
	want[2].data = der;
	want[2].data_len = STORE_CREDENTIAL_DATA_MAX;
	want[3].label[0] = '\0';
	for (size_t i = 0; i < KMS_ARRAY_LEN(want); i++)
		assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &want[i]), KMS_OK);
	e.caller += KMS_ARRAY_LEN(want);
	assert_epochs(f, &s, &e);
	assert_int_equal(store_credentials(f->r, s.caller.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, KMS_ARRAY_LEN(want));
	for (size_t i = 0; i < count; i++) {
		assert_credential(&list[i], &want[i]);
		store_credential_clear(&list[i]);
		assert_int_equal(store_credential(f->r, want[i].kind, want[i].hash, &one, NULL), KMS_OK);
		assert_credential(&one, &want[i]);
		store_credential_clear(&one);
		store_credential_clear(&one);
	}
	assert_int_equal(store_credentials(f->r, s.caller.id, list, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_int_equal(store_credentials(f->r, s.theirs.id, list, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	want[0].hash[STORE_HASH_LEN - 1] ^= 1;
	assert_int_equal(store_credential(f->r, want[0].kind, want[0].hash, &one, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_credentials(f->r, s.caller.id, list, 0, &count, NULL), KMS_E_INTERNAL);

	want[2].data_len++;
	want[2].hash[0] ^= 1;
	want[2].id[0] ^= 1;
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &want[2]), KMS_E_CONFLICT);
	want[2].data_len = 0;
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &want[2]), KMS_E_INTERNAL);
	want[2].data = NULL;
	want[2].data_len = 1;
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &want[2]), KMS_E_INTERNAL);
	assert_epochs(f, &s, &e);
}

static void a_hash_leads_to_one_principal_of_all_vaults(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_credential mine = store_fixture_credential(1, &s.caller), same = store_fixture_credential(2, &s.theirs);
	struct store_credential twin = store_fixture_credential(3, &s.caller);
	STORE_CREDENTIAL_AUTO got = { 0 };
	struct epochs e = epochs_of(f, &s);

	memcpy(same.hash, mine.hash, STORE_HASH_LEN);
	memcpy(twin.id, mine.id, STORE_ID_LEN);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &mine), KMS_OK);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &same), KMS_E_CONFLICT);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &twin), KMS_E_CONFLICT);
	e.caller++;
	assert_epochs(f, &s, &e);
	assert_int_equal(store_credential(f->r, mine.kind, mine.hash, &got, NULL), KMS_OK);
	assert_memory_equal(got.principal_id, s.caller.id, STORE_ID_LEN);

	/* A certificate may be known in several vaults, and by each principal once. */
	mine = store_fixture_credential(4, &s.caller);
	same = store_fixture_credential(5, &s.theirs);
	twin = store_fixture_credential(6, &s.caller);
	mine.kind = same.kind = twin.kind = STORE_CREDENTIAL_CERTIFICATE;
	memcpy(same.hash, mine.hash, STORE_HASH_LEN);
	memcpy(twin.hash, mine.hash, STORE_HASH_LEN);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &mine), KMS_OK);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &same), KMS_OK);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &twin), KMS_E_CONFLICT);
}

static void a_principal_has_so_many_credentials_and_no_more(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_credential c, list[STORE_CREDENTIALS_MAX] = { 0 }, more = store_fixture_credential(100, &s.caller);
	struct store_credential theirs = store_fixture_credential(101, &s.theirs), first = store_fixture_credential(0, &s.caller);
	struct epochs e;
	size_t count;

	for (unsigned n = 0; n < STORE_CREDENTIALS_MAX; n++) {
		c = store_fixture_credential(n, &s.caller);
		assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &c), KMS_OK);
	}
	e = epochs_of(f, &s);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &more), KMS_E_CONFLICT);
	assert_epochs(f, &s, &e);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &theirs), KMS_OK);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_REMOVE, &first), KMS_OK);
	e.theirs++;
	e.caller++;
	assert_epochs(f, &s, &e);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &more), KMS_OK);
	assert_int_equal(store_credentials(f->r, s.caller.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, STORE_CREDENTIALS_MAX);
	assert_memory_equal(list[0].id, store_fixture_credential(1, &s.caller).id, STORE_ID_LEN);
	assert_memory_equal(list[count - 1].id, more.id, STORE_ID_LEN);
}

static void a_group_is_known_by_identities_alone_and_its_vault_is_told(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_credential identity = store_fixture_credential(1, &s.group), bad = store_fixture_credential(2, &s.group);
	STORE_CREDENTIAL_AUTO got = { 0 };
	struct epochs e = epochs_of(f, &s);

	for (int kind = STORE_CREDENTIAL_SECRET; kind < STORE_CREDENTIAL_IDENTITY; kind++) {
		bad.kind = (enum store_credential_kind)kind;
		assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &bad), KMS_E_FENCED);
	}
	assert_epochs(f, &s, &e);
	identity.kind = STORE_CREDENTIAL_IDENTITY;
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &identity), KMS_OK);
	e.vault++;
	assert_epochs(f, &s, &e);
	assert_int_equal(store_credential(f->r, STORE_CREDENTIAL_IDENTITY, identity.hash, &got, NULL), KMS_OK);
	assert_credential(&got, &identity);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_REMOVE, &identity), KMS_OK);
	e.vault++;
	assert_epochs(f, &s, &e);
}

static void a_credential_is_added_to_whom_there_is_and_removed_from_its_own_principal_alone(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_principal nobody = store_fixture_principal(9, &s.vault);
	struct store_credential mine = store_fixture_credential(1, &s.caller), moved = mine;
	struct store_credential of_nobody = store_fixture_credential(3, &nobody), got;
	struct epochs e = epochs_of(f, &s);

	for (int kind = STORE_CREDENTIAL_SECRET; kind <= STORE_CREDENTIAL_IDENTITY; kind++) {
		of_nobody.kind = (enum store_credential_kind)kind;
		assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &of_nobody), KMS_E_FENCED);
	}
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_REMOVE, &mine), KMS_E_NOTFOUND);
	assert_epochs(f, &s, &e);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &mine), KMS_OK);
	memcpy(moved.principal_id, s.theirs.id, STORE_ID_LEN);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_REMOVE, &moved), KMS_E_NOTFOUND);
	e.caller++;
	assert_epochs(f, &s, &e);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_REMOVE, &mine), KMS_OK);
	e.caller++;
	assert_epochs(f, &s, &e);
	assert_int_equal(store_credential(f->r, mine.kind, mine.hash, &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &mine), KMS_OK); /* its hash is free again */
}

/* ---- roles ---- */

static void a_role_is_held_once_at_each_scope_and_a_key_is_named_without_case(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_assignment whole = store_fixture_assignment(&s.caller, &s.vault, 5), key = whole, other_key = whole, list[5], again;
	struct epochs e = epochs_of(f, &s);
	size_t count;

	memcpy(key.key_name, "Master", sizeof("Master"));
	key.expires_s = 1900000000;
	memset(other_key.key_name, 'n', STORE_KEY_NAME_MAX);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &whole), KMS_OK);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &key), KMS_OK);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &other_key), KMS_OK);
	e.caller += 3;
	again = key;
	memcpy(again.key_name, "mASTER", sizeof("mASTER"));
	again.expires_s = STORE_NO_TIME;
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &again), KMS_E_CONFLICT);
	whole.expires_s = 5;
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &whole), KMS_E_CONFLICT);
	whole.expires_s = STORE_NO_TIME;
	assert_epochs(f, &s, &e);
	assert_int_equal(store_roles(f->r, s.caller.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 3);
	assert_memory_equal(&list[0], &whole, sizeof(whole));
	assert_memory_equal(&list[1], &key, sizeof(key));
	assert_memory_equal(&list[2], &other_key, sizeof(other_key));

	/* What is removed is exactly what was named. */
	again.role = 6;
	assert_int_equal(change_assignment(f, STORE_ROLE_REMOVE, &again), KMS_E_NOTFOUND);
	again.role = 5;
	memcpy(again.vault_id, s.other.id, STORE_ID_LEN);
	assert_int_equal(change_assignment(f, STORE_ROLE_REMOVE, &again), KMS_E_NOTFOUND);
	memcpy(again.vault_id, s.vault.id, STORE_ID_LEN);
	memcpy(again.key_name, "maste", sizeof("maste"));
	assert_int_equal(change_assignment(f, STORE_ROLE_REMOVE, &again), KMS_E_NOTFOUND);
	assert_epochs(f, &s, &e);
	memcpy(again.key_name, "mASTER", sizeof("mASTER"));
	assert_int_equal(change_assignment(f, STORE_ROLE_REMOVE, &again), KMS_OK);
	assert_int_equal(change_assignment(f, STORE_ROLE_REMOVE, &whole), KMS_OK);
	e.caller += 2;
	assert_epochs(f, &s, &e);
	assert_int_equal(store_roles(f->r, s.caller.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_memory_equal(&list[0], &other_key, sizeof(other_key));
	memset(key.vault_id, 0, STORE_ID_LEN);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &key), KMS_E_INTERNAL);
}

static void a_groups_roles_are_of_its_vault_which_is_told_of_them(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_principal nobody = store_fixture_principal(9, &s.vault);
	struct store_assignment a = store_fixture_assignment(&s.group, &s.vault, 5);
	struct store_assignment elsewhere[] = { store_fixture_assignment(&s.group, &s.other, 5), store_fixture_assignment(&s.group, NULL, 5),
		                                store_fixture_assignment(&nobody, &s.vault, 5) };
	struct store_assignment central = store_fixture_assignment(&s.central, &s.vault, 5), list[2];
	struct epochs e = epochs_of(f, &s);
	size_t count;

	for (size_t i = 0; i < KMS_ARRAY_LEN(elsewhere); i++)
		assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &elsewhere[i]), KMS_E_FENCED);
	assert_epochs(f, &s, &e);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &a), KMS_OK);
	e.vault++;
	assert_epochs(f, &s, &e);
	assert_int_equal(store_roles(f->r, s.group.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_memory_equal(&list[0], &a, sizeof(a));
	assert_int_equal(change_assignment(f, STORE_ROLE_REMOVE, &a), KMS_OK);
	e.vault++;
	assert_epochs(f, &s, &e);
	/* A caller of the installation may hold a role in any vault: it has an epoch of its own. */
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &central), KMS_OK);
	e.central++;
	assert_epochs(f, &s, &e);
}

static uint32_t number_of(struct store_fixture *f, const struct store_role *role)
{
	struct store_role page[STORE_PAGE_MAX] = { 0 };
	uint32_t number = 0;
	size_t count;

	assert_int_equal(store_custom_roles(f->r, role->vault_id, 0, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
	for (size_t i = 0; i < count; i++) {
		if (memcmp(page[i].id, role->id, STORE_ID_LEN) == 0)
			number = page[i].number;
		store_role_clear(&page[i]);
	}
	assert_int_not_equal(number, 0);
	return number;
}

static void assert_role(const struct store_role *got, const struct store_role *want, uint32_t number)
{
	assert_memory_equal(got->id, want->id, STORE_ID_LEN);
	assert_memory_equal(got->vault_id, want->vault_id, STORE_ID_LEN);
	assert_int_equal(got->number, number);
	assert_string_equal(got->name, want->name);
	assert_string_equal(got->actions, want->actions);
	assert_true(got->created_s == want->created_s);
}

static void a_custom_role_gets_a_number_that_nobody_ever_had(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_role roles[4] = { store_fixture_role(1, &s.vault), store_fixture_role(2, &s.vault), store_fixture_role(3, &s.other),
		                       store_fixture_role(4, &s.vault) };
	struct epochs e = epochs_of(f, &s);
	struct store_role got = { 0 };

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &roles[i]), KMS_OK);
		assert_int_equal(number_of(f, &roles[i]), STORE_CUSTOM_ROLE + i);
	}
	assert_epochs(f, &s, &e); /* nobody has it yet */
	assert_int_equal(store_custom_role(f->r, STORE_CUSTOM_ROLE + 2, &got, NULL), KMS_OK);
	assert_role(&got, &roles[2], STORE_CUSTOM_ROLE + 2);
	store_role_clear(&got);
	assert_int_equal(change_role(f, STORE_ROLE_DROP, &roles[2]), KMS_OK);
	e.other++;
	assert_epochs(f, &s, &e);
	assert_int_equal(store_custom_role(f->r, STORE_CUSTOM_ROLE + 2, &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_custom_role(f->r, 5, &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_custom_role(f->r, UINT32_MAX, &got, NULL), KMS_E_NOTFOUND);
	store_fixture_reopen(f);
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &roles[3]), KMS_OK);
	assert_int_equal(number_of(f, &roles[3]), STORE_CUSTOM_ROLE + 3);
}

static void a_custom_roles_name_is_taken_without_case_in_its_vault_alone(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault nobody = store_fixture_vault(9, "nobody");
	struct store_role mine = store_fixture_role(1, &s.vault), loud = store_fixture_role(2, &s.vault), theirs = store_fixture_role(3, &s.other);
	struct store_role homeless = store_fixture_role(4, &nobody), full = store_fixture_role(5, &s.vault), got = { 0 };
	static char actions[STORE_ACTIONS_MAX + 2];

	memcpy(loud.name, "ROLE-1", sizeof("ROLE-1"));
	memcpy(theirs.name, mine.name, sizeof(mine.name));
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &mine), KMS_OK);
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &loud), KMS_E_CONFLICT);
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &theirs), KMS_OK);
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &homeless), KMS_E_FENCED);
	memset(actions, 'a', sizeof(actions) - 1);
	memset(full.name, 'n', STORE_ROLE_NAME_MAX);
	full.actions = actions;
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &full), KMS_E_CONFLICT);
	actions[STORE_ACTIONS_MAX] = '\0';
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &full), KMS_OK);
	assert_int_equal(store_custom_role(f->r, number_of(f, &full), &got, NULL), KMS_OK);
	assert_role(&got, &full, got.number);
	store_role_clear(&got);
	store_role_clear(&got);
	full.id[0] ^= 1;
	full.name[0] = 'm';
	full.actions = actions + STORE_ACTIONS_MAX; /* "" */
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &full), KMS_E_CONFLICT);
	full.actions = NULL;
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &full), KMS_E_INTERNAL);
}

static void a_custom_role_is_dropped_by_its_vault_when_nobody_has_it(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_role mine = store_fixture_role(1, &s.vault), theirs = store_fixture_role(2, &s.other), moved = mine;
	struct store_assignment ended, group, foreign;
	struct epochs e;
	uint32_t number;

	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &mine), KMS_OK);
	assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &theirs), KMS_OK);
	number = number_of(f, &mine);
	/* It exists where it was made: not in another vault, not in the installation, and there is no next one yet. */
	foreign = store_fixture_assignment(&s.caller, &s.other, number);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &foreign), KMS_E_FENCED);
	foreign = store_fixture_assignment(&s.caller, NULL, number);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &foreign), KMS_E_FENCED);
	foreign = store_fixture_assignment(&s.caller, &s.vault, number_of(f, &theirs) + 1);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &foreign), KMS_E_FENCED);

	ended = store_fixture_assignment(&s.caller, &s.vault, number);
	ended.expires_s = 1;
	memcpy(ended.key_name, "master", sizeof("master"));
	group = store_fixture_assignment(&s.group, &s.vault, number);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &ended), KMS_OK);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &group), KMS_OK);
	e = epochs_of(f, &s);
	assert_int_equal(change_role(f, STORE_ROLE_DROP, &mine), KMS_E_CONFLICT);
	memcpy(moved.vault_id, s.other.id, STORE_ID_LEN);
	assert_int_equal(change_role(f, STORE_ROLE_DROP, &moved), KMS_E_NOTFOUND);
	assert_epochs(f, &s, &e);
	assert_int_equal(change_assignment(f, STORE_ROLE_REMOVE, &group), KMS_OK);
	assert_int_equal(change_role(f, STORE_ROLE_DROP, &mine), KMS_E_CONFLICT);
	assert_int_equal(change_assignment(f, STORE_ROLE_REMOVE, &ended), KMS_OK);
	e.vault++;
	e.caller++;
	assert_int_equal(change_role(f, STORE_ROLE_DROP, &mine), KMS_OK);
	e.vault++;
	assert_epochs(f, &s, &e);
	assert_int_equal(change_role(f, STORE_ROLE_DROP, &mine), KMS_E_NOTFOUND);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &ended), KMS_E_FENCED);
	assert_epochs(f, &s, &e);
}

static void custom_roles_come_in_pages_by_vault(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	uint32_t after = 0;
	size_t count, seen = 0;

	for (unsigned n = 1; n <= MANY; n++) {
		struct store_role mine = store_fixture_role(100 - n, &s.vault), theirs = store_fixture_role(200 + n, &s.other);
		assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &mine), KMS_OK);
		assert_int_equal(change_role(f, STORE_ROLE_DEFINE, &theirs), KMS_OK);
	}
	do {
		struct store_role page[3] = { 0 };
		assert_int_equal(store_custom_roles(f->r, s.vault.id, after, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			struct store_role want = store_fixture_role(100 - (unsigned)++seen, &s.vault);
			assert_role(&page[i], &want, STORE_CUSTOM_ROLE + 2 * (uint32_t)(seen - 1));
			after = page[i].number;
			store_role_clear(&page[i]);
		}
	} while (count == 3);
	assert_int_equal(seen, MANY);
}

/* ---- groups ---- */

static void members_come_and_go_and_the_groups_vault_is_told(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct epochs e = epochs_of(f, &s);
	struct store_principal list[4];
	size_t count;

	assert_int_equal(change_member(f, STORE_MEMBER_ADD, &s.group, &s.caller), KMS_OK);
	assert_int_equal(change_member(f, STORE_MEMBER_ADD, &s.outer, &s.group), KMS_OK);
	assert_int_equal(change_member(f, STORE_MEMBER_ADD, &s.outer, &s.caller), KMS_OK);
	e.vault += 3;
	assert_epochs(f, &s, &e);
	assert_int_equal(change_member(f, STORE_MEMBER_ADD, &s.group, &s.caller), KMS_E_CONFLICT);
	assert_int_equal(change_member(f, STORE_MEMBER_REMOVE, &s.group, &s.theirs), KMS_E_NOTFOUND);
	assert_int_equal(change_member(f, STORE_MEMBER_REMOVE, &s.caller, &s.group), KMS_E_NOTFOUND);
	assert_epochs(f, &s, &e);

	/* Direct ones only: who is inside a group is core's to follow. */
	assert_int_equal(store_groups_of(f->r, s.caller.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	s.group.epoch = list[0].epoch;
	assert_memory_equal(&list[0], &s.group, sizeof(s.group));
	assert_memory_equal(&list[1], &s.outer, sizeof(s.outer));
	assert_int_equal(store_groups_of(f->r, s.group.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_memory_equal(list[0].id, s.outer.id, STORE_ID_LEN);
	assert_int_equal(store_groups_of(f->r, s.caller.id, list, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(store_groups_of(f->r, s.caller.id, list, 0, &count, NULL), KMS_E_INTERNAL);
	assert_int_equal(store_members(f->r, s.group.id, NULL, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_memory_equal(&list[0], &s.caller, sizeof(s.caller));

	assert_int_equal(change_member(f, STORE_MEMBER_REMOVE, &s.group, &s.caller), KMS_OK);
	e.vault++;
	assert_epochs(f, &s, &e);
	assert_int_equal(store_members(f->r, s.group.id, NULL, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(store_groups_of(f->r, s.caller.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_memory_equal(list[0].id, s.outer.id, STORE_ID_LEN);
}

/* A same-named group of another vault never counts: nothing of one vault is ever inside a group of another. */
static void a_group_has_members_of_its_own_vault_alone(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_principal nobody = store_fixture_principal(9, &s.vault), list[2];
	const struct store_principal *bad[][2] = { { &s.group, &s.theirs }, { &s.group, &s.their_group }, { &s.their_group, &s.group },
		                                   { &s.group, &s.central }, { &s.group, &s.group }, { &s.caller, &s.group },
		                                   { &s.group, &nobody }, { &nobody, &s.caller } };
	struct epochs e = epochs_of(f, &s);
	size_t count;

	for (size_t i = 0; i < KMS_ARRAY_LEN(bad); i++)
		assert_int_equal(change_member(f, STORE_MEMBER_ADD, bad[i][0], bad[i][1]), KMS_E_FENCED);
	assert_epochs(f, &s, &e);
	assert_int_equal(store_members(f->r, s.group.id, NULL, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
}

static void members_come_in_pages(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_principal page[3];
	uint8_t after[STORE_ID_LEN];
	size_t count, seen = 0;

	for (unsigned n = 100 + MANY; n > 100; n--) {
		struct store_principal p = store_fixture_principal(n, &s.vault);
		assert_int_equal(change_principal(f, STORE_PRINCIPAL_ADD, &p), KMS_OK);
		assert_int_equal(change_member(f, STORE_MEMBER_ADD, &s.group, &p), KMS_OK);
		if (n % 2 == 0)
			assert_int_equal(change_member(f, STORE_MEMBER_ADD, &s.outer, &p), KMS_OK);
	}
	do {
		assert_int_equal(store_members(f->r, s.group.id, seen == 0 ? NULL : after, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			struct store_principal want = store_fixture_principal(100 + (unsigned)++seen, &s.vault);
			assert_memory_equal(&page[i], &want, sizeof(want));
			memcpy(after, page[i].id, STORE_ID_LEN);
		}
	} while (count == 3);
	assert_int_equal(seen, MANY);
}

/* ---- the fence ---- */

static bool fence_holds(struct store_fixture *f, const struct scene *s, const struct epochs *e, const struct store_change *change)
{
	struct store_fence fence = { .vault_epoch = e->vault, .principal_epoch = e->caller };
	bool holds = true;

	memcpy(fence.vault_id, s->vault.id, STORE_ID_LEN);
	memcpy(fence.principal_id, s->caller.id, STORE_ID_LEN);
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	if (change != NULL)
		assert_int_equal(store_apply(f->w, change, 1, f->seq, NULL), KMS_OK);
	assert_int_equal(store_fence_holds(f->w, &fence, &holds, NULL), KMS_OK);
	store_rollback(f->w);
	return holds;
}

/* A result that was computed before a right went is withheld, whichever way the right went. */
static void whatever_takes_a_right_away_breaks_the_fence(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_role role = store_fixture_role(1, &s.vault);
	struct store_credential secret = store_fixture_credential(1, &s.caller);
	struct store_assignment of_caller = store_fixture_assignment(&s.caller, &s.vault, 5);
	struct store_assignment of_group = store_fixture_assignment(&s.group, &s.vault, 5);
	struct store_principal disabled = s.caller, disabled_group = s.group;
	struct store_change add[] = { { .kind = STORE_CREDENTIAL_ADD, .credential = secret },
		                      { .kind = STORE_ROLE_ADD, .assignment = of_caller },
		                      { .kind = STORE_ROLE_ADD, .assignment = of_group },
		                      { .kind = STORE_ROLE_DEFINE, .role = role },
		                      { .kind = STORE_MEMBER_ADD, .member = store_fixture_member(&s.group, &s.caller) } };
	struct store_change takes[] = { { .kind = STORE_CREDENTIAL_REMOVE, .credential = secret },
		                        { .kind = STORE_ROLE_REMOVE, .assignment = of_caller },
		                        { .kind = STORE_ROLE_REMOVE, .assignment = of_group },
		                        { .kind = STORE_ROLE_DROP, .role = role },
		                        { .kind = STORE_MEMBER_REMOVE, .member = store_fixture_member(&s.group, &s.caller) },
		                        { .kind = STORE_PRINCIPAL_SET },
		                        { .kind = STORE_PRINCIPAL_SET },
		                        { .kind = STORE_NETWORKS_SET, .networks = { .text = "192.0.2.1/32" } },
		                        { .kind = STORE_VAULT_SET, .vault = s.vault } };
	struct store_change harmless = { .kind = STORE_PRINCIPAL_SET, .principal = s.theirs };
	struct epochs e;

	disabled.is_enabled = disabled_group.is_enabled = false;
	takes[5].principal = disabled;
	takes[6].principal = disabled_group;
	memcpy(takes[7].networks.vault_id, s.vault.id, STORE_ID_LEN);
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	e = epochs_of(f, &s);
	takes[5].principal.epoch = e.caller;
	takes[6].principal.epoch = e.group;
	for (size_t i = 0; i < KMS_ARRAY_LEN(takes); i++)
		if (fence_holds(f, &s, &e, &takes[i]))
			fail_msg("change %zu goes unnoticed", i);
	assert_true(fence_holds(f, &s, &e, NULL));
	assert_true(fence_holds(f, &s, &e, &harmless));
}

static void a_shredded_vault_keeps_its_principals_roles_and_ranges_as_history(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_credential secret = store_fixture_credential(1, &s.caller);
	struct store_assignment a = store_fixture_assignment(&s.caller, &s.vault, 5), list[2];
	char text[STORE_NETWORK_MAX + 1];
	STORE_CREDENTIAL_AUTO got = { 0 };
	size_t count;

	assert_int_equal(change_credential(f, STORE_CREDENTIAL_ADD, &secret), KMS_OK);
	assert_int_equal(change_assignment(f, STORE_ROLE_ADD, &a), KMS_OK);
	assert_int_equal(set_networks(f, &s.vault, "192.0.2.1/32"), KMS_OK);
	assert_int_equal(write_one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = s.vault }), KMS_OK);
	assert_int_equal(store_credential(f->r, secret.kind, secret.hash, &got, NULL), KMS_OK);
	assert_int_equal(store_roles(f->r, s.caller.id, list, KMS_ARRAY_LEN(list), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(store_networks(f->r, s.vault.id, text, NULL), KMS_OK);
	assert_string_equal(text, "192.0.2.1/32");
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_vault_is_set_in_part_and_its_founding_is_never_taken_back),
		T(a_vault_without_a_quorum_is_never_stored),
		T(address_ranges_are_replaced_as_a_whole_and_absent_when_empty),
		T(a_group_that_is_set_tells_its_vault_and_a_caller_does_not),
		T(credentials_of_every_kind_come_back_by_principal_and_by_hash),
		T(a_hash_leads_to_one_principal_of_all_vaults),
		T(a_principal_has_so_many_credentials_and_no_more),
		T(a_group_is_known_by_identities_alone_and_its_vault_is_told),
		T(a_credential_is_added_to_whom_there_is_and_removed_from_its_own_principal_alone),
		T(a_role_is_held_once_at_each_scope_and_a_key_is_named_without_case),
		T(a_groups_roles_are_of_its_vault_which_is_told_of_them),
		T(a_custom_role_gets_a_number_that_nobody_ever_had),
		T(a_custom_roles_name_is_taken_without_case_in_its_vault_alone),
		T(a_custom_role_is_dropped_by_its_vault_when_nobody_has_it),
		T(custom_roles_come_in_pages_by_vault),
		T(members_come_and_go_and_the_groups_vault_is_told),
		T(a_group_has_members_of_its_own_vault_alone),
		T(members_come_in_pages),
		T(whatever_takes_a_right_away_breaks_the_fence),
		T(a_shredded_vault_keeps_its_principals_roles_and_ranges_as_history),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
