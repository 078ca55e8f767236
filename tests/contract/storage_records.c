/* tests/contract/storage_records.c - the storage port: what is written is read back, in order, without case, page by page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/store_fixture.h"

#define MANY 20

static void add_vault(struct store_fixture *f, const struct store_vault *v)
{
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = *v }), KMS_OK);
}

static void add_key(struct store_fixture *f, const struct store_key *k)
{
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = *k }), KMS_OK);
}

static void add_version(struct store_fixture *f, const struct store_version *v)
{
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = *v }), KMS_OK);
}

static void assert_version(const struct store_version *got, const struct store_version *want)
{
	assert_memory_equal(got->id, want->id, STORE_ID_LEN);
	assert_memory_equal(got->key_id, want->key_id, STORE_ID_LEN);
	assert_memory_equal(got->obj, want->obj, STORE_ID_LEN);
	assert_int_equal(got->kty, want->kty);
	assert_int_equal(got->crv, want->crv);
	assert_int_equal(got->bits, want->bits);
	assert_int_equal(got->encryptions, want->encryptions);
	assert_int_equal(got->ops, want->ops);
	assert_int_equal(got->is_enabled, want->is_enabled);
	assert_int_equal(got->revoked, want->revoked);
	assert_true(got->nbf_s == want->nbf_s && got->exp_s == want->exp_s);
	assert_true(got->created_s == want->created_s && got->updated_s == want->updated_s);
	assert_int_equal(got->pub_len, want->pub_len);
	if (want->pub_len > 0)
		assert_memory_equal(got->pub, want->pub, want->pub_len);
	assert_int_equal(got->e_len, want->e_len);
	assert_memory_equal(got->e, want->e, want->e_len);
	assert_int_equal(got->wrapped_len, want->wrapped_len);
	if (want->wrapped_len > 0)
		assert_memory_equal(got->wrapped, want->wrapped, want->wrapped_len);
}

static void an_empty_database_answers_not_found_and_empty_pages(void **state)
{
	struct store_fixture *f = *state;
	uint8_t id[STORE_ID_LEN] = { 1 }, hash[STORE_HASH_LEN] = { 1 }, objects[1][STORE_ID_LEN];
	struct store_vault v;
	struct store_principal p;
	struct store_assignment a;
	struct store_key k;
	struct store_version ver;
	struct store_policy policy;
	struct store_pool pool;
	struct store_external external;
	struct store_credential credential;
	struct store_role role;
	struct store_approval approval;
	struct store_vote vote;
	char networks[STORE_NETWORK_MAX + 1] = "x";
	struct store_intent i;
	struct store_meta m;
	struct store_event e;
	size_t count = 99;
	uint64_t events = 99;
	bool is_known = true;
	struct store *both[] = { f->r, f->w };

	for (size_t n = 0; n < KMS_ARRAY_LEN(both); n++) {
		struct store *s = both[n];
		assert_int_equal(store_vault_by_name(s, "none", &v, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_vault_by_name(s, "a-name-that-is-longer-than-any-vault", &v, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_vault_by_id(s, id, &v, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_principal(s, id, &p, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_key(s, id, "none", &k, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_version(s, id, id, true, &ver, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_version(s, id, NULL, true, &ver, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_policy(s, id, &policy, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_pool(s, id, &pool, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_external(s, id, "none", &external, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_external_of_key(s, id, &external, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_pools(s, NULL, &pool, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_externals(s, id, NULL, &external, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_networks(s, id, networks, NULL), KMS_OK);
		assert_string_equal(networks, "");
		assert_int_equal(store_credential(s, STORE_CREDENTIAL_SECRET, hash, &credential, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_credentials(s, id, &credential, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_custom_role(s, STORE_CUSTOM_ROLE, &role, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_custom_roles(s, id, 0, &role, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_groups_of(s, id, &p, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_members(s, id, NULL, &p, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		assert_int_equal(store_approval(s, id, &approval, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_approval_open(s, id, id, hash, &approval, NULL), KMS_E_NOTFOUND);
		for (int only_open = 0; only_open < 2; only_open++) {
			count = 99;
			assert_int_equal(store_approvals(s, id, NULL, only_open != 0, &approval, 1, &count, NULL), KMS_OK);
			assert_int_equal(count, 0);
		}
		count = 99;
		assert_int_equal(store_votes(s, id, &vote, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_meta(s, "none", &m, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_event(s, 0, &e, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_event(s, UINT64_MAX, &e, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_node(s, 0, 0, hash, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_node(s, 1, 0, hash, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_node(s, 64, 0, hash, NULL), KMS_E_NOTFOUND);
		assert_int_equal(store_vaults(s, NULL, &v, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_principals(s, id, NULL, &p, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_roles(s, id, &a, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_keys(s, id, false, NULL, &k, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_versions(s, id, 0, false, &ver, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_objects(s, id, NULL, objects, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		count = 99;
		assert_int_equal(store_intents(s, UINT64_MAX, &i, 1, &count, NULL), KMS_OK);
		assert_int_equal(count, 0);
		assert_int_equal(store_object_known(s, id, &is_known, NULL), KMS_OK);
		assert_false(is_known);
		assert_int_equal(store_event_count(s, &events, NULL), KMS_OK);
		assert_int_equal(events, 0);
	}
}

static void a_vault_comes_back_whole_by_name_without_case_and_by_id(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), got = { 0 };

	add_vault(f, &v);
	assert_int_equal(store_vault_by_name(f->r, "PayRoll", &got, NULL), KMS_OK);
	assert_memory_equal(&got, &v, sizeof(v));
	memset(&got, 0, sizeof(got));
	assert_int_equal(store_vault_by_id(f->r, v.id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &v, sizeof(v));
}

static void a_vault_name_is_taken_without_case(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), same = store_fixture_vault(2, "PAYROLL");

	add_vault(f, &v);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = same }), KMS_E_FENCED);
	assert_int_equal(store_vault_by_id(f->r, same.id, &same, NULL), KMS_E_NOTFOUND);
}

static void vault_pages_are_ordered_and_lose_nothing(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault page[3];
	char after[STORE_VAULT_NAME_MAX + 1] = "", name[STORE_VAULT_NAME_MAX + 1];
	size_t count, seen = 0;

	for (unsigned n = MANY; n > 0; n--) {
		struct store_vault v;
		(void)snprintf(name, sizeof(name), "v%02u", n);
		v = store_fixture_vault(n, name);
		add_vault(f, &v);
	}
	do {
		assert_int_equal(store_vaults(f->r, seen == 0 ? NULL : after, page, 3, &count, NULL), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			(void)snprintf(name, sizeof(name), "v%02zu", ++seen);
			assert_string_equal(page[i].name, name);
			memcpy(after, page[i].name, sizeof(after));
		}
	} while (count == 3);
	assert_int_equal(seen, MANY);
}

static void a_principal_comes_back_whole_and_is_set_in_part(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_principal p = store_fixture_principal(1, &v), set = p, got = { 0 };

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = p }), KMS_OK);
	assert_int_equal(store_principal(f->r, p.id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &p, sizeof(p));

	memset(set.name, 'X', 5);
	set.is_enabled = false;
	set.tokens_from_s = 1800000000;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_SET, .principal = set }), KMS_OK);
	assert_int_equal(store_principal(f->r, p.id, &got, NULL), KMS_OK);
	assert_string_equal(got.name, p.name);
	assert_false(got.is_enabled);
	assert_true(got.tokens_from_s == 1800000000);
	assert_int_equal(got.epoch, 2);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = p }), KMS_E_CONFLICT);
	set = store_fixture_principal(2, &v);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_SET, .principal = set }), KMS_E_FENCED);
}

static void principals_are_listed_by_directory(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	const uint8_t installation[STORE_ID_LEN] = { 0 };
	struct store_principal page[2];
	uint8_t after[STORE_ID_LEN];
	size_t count, seen = 0;

	for (unsigned n = 1; n <= 5; n++) {
		struct store_principal mine = store_fixture_principal(n, &v), central = store_fixture_principal(100 + n, NULL);
		assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = mine }), KMS_OK);
		assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = central }), KMS_OK);
	}
	do {
		assert_int_equal(store_principals(f->r, v.id, seen == 0 ? NULL : after, page, 2, &count, NULL), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			uint8_t want[STORE_ID_LEN];
			store_fixture_id('p', (unsigned)++seen, want);
			assert_memory_equal(page[i].id, want, STORE_ID_LEN);
			memcpy(after, page[i].id, STORE_ID_LEN);
		}
	} while (count == 2);
	assert_int_equal(seen, 5);
	assert_int_equal(store_principals(f->r, installation, NULL, page, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_string_equal(page[0].name, "app-101");
}

static void roles_come_and_go_and_raise_the_principals_epoch(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_principal p = store_fixture_principal(1, &v), got;
	struct store_assignment a = { .role = 7, .created_s = 5, .expires_s = 1900000000 };
	struct store_assignment central = { .role = STORE_CUSTOM_ROLE - 1, .created_s = 6, .expires_s = STORE_NO_TIME }, list[4], nobody = a;
	size_t count;

	memcpy(a.principal_id, p.id, STORE_ID_LEN);
	memcpy(a.vault_id, v.id, STORE_ID_LEN);
	memcpy(central.principal_id, p.id, STORE_ID_LEN);
	store_fixture_id('p', 2, nobody.principal_id);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = p }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_ROLE_ADD, .assignment = a }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_ROLE_ADD, .assignment = central }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_ROLE_ADD, .assignment = a }), KMS_E_CONFLICT);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_ROLE_ADD, .assignment = nobody }), KMS_E_FENCED);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_ROLE_REMOVE, .assignment = nobody }), KMS_E_NOTFOUND);
	assert_int_equal(store_roles(f->r, p.id, list, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_memory_equal(&list[0], &central, sizeof(central));
	assert_memory_equal(&list[1], &a, sizeof(a));
	assert_int_equal(store_principal(f->r, p.id, &got, NULL), KMS_OK);
	assert_int_equal(got.epoch, 3);

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_ROLE_REMOVE, .assignment = a }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_ROLE_REMOVE, .assignment = a }), KMS_E_NOTFOUND);
	assert_int_equal(store_roles(f->r, p.id, list, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(store_principal(f->r, p.id, &got, NULL), KMS_OK);
	assert_int_equal(got.epoch, 4);
}

static void a_key_keeps_its_case_and_is_found_without(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), other = store_fixture_vault(2, "other");
	struct store_key k = store_fixture_key(1, &v, "Master-Key"), same = store_fixture_key(2, &v, "mASTER-kEY"), got;
	struct store_key elsewhere = store_fixture_key(3, &other, "master-key");

	add_vault(f, &v);
	add_vault(f, &other);
	add_key(f, &k);
	memset(&got, 0, sizeof(got));
	assert_int_equal(store_key(f->r, v.id, "MASTER-KEY", &got, NULL), KMS_OK);
	assert_memory_equal(&got, &k, sizeof(k));
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = same }), KMS_E_FENCED);
	assert_int_equal(store_key(f->r, other.id, "master-key", &got, NULL), KMS_E_NOTFOUND);
	add_key(f, &elsewhere);
	store_fixture_id('V', 77, same.vault_id);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = same }), KMS_E_FENCED);
}

static void deleted_keys_are_due_when_their_retention_ends(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), dead = store_fixture_vault(2, "former");
	struct store_key first = store_fixture_key(1, &v, "first"), second = store_fixture_key(2, &v, "second"), page[2];
	struct store_key living = store_fixture_key(3, &v, "living"), shredded = store_fixture_key(4, &dead, "shredded");
	size_t count = 9;

	add_vault(f, &v);
	add_vault(f, &dead);
	add_key(f, &first);
	add_key(f, &second);
	add_key(f, &living);
	add_key(f, &shredded);
	first.deleted_s = second.deleted_s = shredded.deleted_s = 100;
	first.purge_s = 300;
	second.purge_s = shredded.purge_s = 200;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = first }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = second }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = shredded }), KMS_OK);
	dead.state = STORE_VAULT_SHREDDED;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_SET_STATE, .vault = dead }), KMS_OK);

	assert_int_equal(store_keys_due(f->r, 199, page, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(store_keys_due(f->r, 200, page, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_string_equal(page[0].name, "second");
	assert_int_equal(store_keys_due(f->r, 1000, page, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_string_equal(page[1].name, "first");
}

static void a_deleted_key_keeps_its_name_until_it_is_purged(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master"), next = store_fixture_key(2, &v, "MASTER"), gone = k, got;
	struct store_version ver = store_fixture_version(1, &k), more = store_fixture_version(2, &k);
	struct store_key page[2];
	STORE_VERSION_AUTO seen = { 0 };
	size_t count;

	add_vault(f, &v);
	add_key(f, &k);
	add_version(f, &ver);
	gone.deleted_s = 100;
	gone.purge_s = 200;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_RECOVER, .key = k }), KMS_E_FENCED);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = gone }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = gone }), KMS_E_FENCED);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = more }), KMS_E_FENCED);
	assert_int_equal(store_key(f->r, v.id, "master", &got, NULL), KMS_OK);
	assert_true(got.deleted_s == 100 && got.purge_s == 200 && got.epoch == 3 && !got.is_purging);
	/* What depends on the version alone has noticed. */
	assert_int_equal(store_version(f->r, k.id, ver.id, false, &seen, NULL), KMS_OK);
	assert_int_equal(seen.epoch, 2);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = next }), KMS_E_FENCED);
	assert_int_equal(store_keys(f->r, v.id, false, NULL, page, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(store_keys(f->r, v.id, true, NULL, page, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_RECOVER, .key = k }), KMS_OK);
	assert_int_equal(store_key(f->r, v.id, "master", &got, NULL), KMS_OK);
	assert_true(got.deleted_s == STORE_NO_TIME && got.purge_s == STORE_NO_TIME && got.epoch == 4);

	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = gone }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_SET_PURGING, .key = k }), KMS_OK);
	assert_int_equal(store_key(f->r, v.id, "master", &got, NULL), KMS_OK);
	assert_true(got.is_purging && got.epoch == 6);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_RECOVER, .key = k }), KMS_E_FENCED);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_PURGE, .key = k }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_PURGE, .key = k }), KMS_E_FENCED);
	assert_int_equal(store_key(f->r, v.id, "master", &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_version(f->r, k.id, ver.id, false, &more, NULL), KMS_E_NOTFOUND);
	add_key(f, &next);
}

static void key_pages_are_ordered_without_case(void **state)
{
	struct store_fixture *f = *state;
	static const char *const NAMES[] = { "delta", "Alpha", "charlie", "BRAVO", "Echo" };
	static const char *const ORDERED[] = { "Alpha", "BRAVO", "charlie", "delta", "Echo" };
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key page[2];
	char after[STORE_KEY_NAME_MAX + 1] = "";
	size_t count, seen = 0;

	add_vault(f, &v);
	for (unsigned i = 0; i < KMS_ARRAY_LEN(NAMES); i++) {
		struct store_key k = store_fixture_key(i, &v, NAMES[i]);
		add_key(f, &k);
	}
	do {
		assert_int_equal(store_keys(f->r, v.id, false, seen == 0 ? NULL : after, page, 2, &count, NULL), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			assert_string_equal(page[i].name, ORDERED[seen++]);
			memcpy(after, page[i].name, sizeof(after));
		}
	} while (count == 2);
	assert_int_equal(seen, KMS_ARRAY_LEN(NAMES));
}

static void versions_are_numbered_by_the_store_and_the_last_is_the_latest(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master"), other = store_fixture_key(2, &v, "other"), got;
	struct store_version first = store_fixture_version(9, &k), second = store_fixture_version(8, &k), page[4] = { 0 };
	size_t count;

	second.wrapped = NULL; /* resident, symmetric, untagged */
	second.wrapped_len = 0;
	second.pub = NULL;
	second.pub_len = second.e_len = 0;
	second.tags = NULL;
	second.nbf_s = 11;
	second.crv = UINT8_MAX;
	second.encryptions = UINT32_MAX + 1ull;
	second.revoked = 3;
	second.exp_s = STORE_NO_TIME;
	add_vault(f, &v);
	add_key(f, &k);
	add_key(f, &other);
	add_version(f, &first);
	add_version(f, &second);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = first }), KMS_E_FENCED);
	assert_int_equal(store_key(f->r, v.id, "master", &got, NULL), KMS_OK);
	assert_int_equal(got.epoch, 3);
	{
		STORE_VERSION_AUTO latest = { 0 };
		assert_int_equal(store_version(f->r, k.id, NULL, true, &latest, NULL), KMS_OK);
		assert_version(&latest, &second);
		assert_int_equal(latest.ordinal, 2);
		assert_null(latest.wrapped);
		assert_null(latest.pub);
		assert_null(latest.tags);
	}
	{
		STORE_VERSION_AUTO one = { 0 };
		assert_int_equal(store_version(f->r, k.id, first.id, true, &one, NULL), KMS_OK);
		assert_version(&one, &first);
		assert_int_equal(one.ordinal, 1);
		assert_string_equal(one.tags, first.tags);
	}
	{
		STORE_VERSION_AUTO plain = { 0 };
		assert_int_equal(store_version(f->r, k.id, first.id, false, &plain, NULL), KMS_OK);
		assert_null(plain.tags);
	}
	assert_int_equal(store_version(f->r, other.id, first.id, false, &page[0], NULL), KMS_E_NOTFOUND);
	for (uint64_t after = 0; after <= 2; after++) {
		assert_int_equal(store_versions(f->r, k.id, after, true, page, 4, &count, NULL), KMS_OK);
		assert_int_equal(count, 2 - after);
		for (size_t i = 0; i < count; i++) {
			assert_int_equal(page[i].ordinal, after + i + 1);
			store_version_clear(&page[i]);
		}
	}
}

static void a_version_is_set_in_part_and_its_tags_only_when_asked(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master");
	struct store_version ver = store_fixture_version(1, &k), set = ver;
	char tags[] = "{}";

	add_vault(f, &v);
	add_key(f, &k);
	add_version(f, &ver);
	set.ops = 3;
	set.is_enabled = false;
	set.revoked = 2;
	set.nbf_s = 1;
	set.exp_s = STORE_NO_TIME;
	set.updated_s = 12;
	set.tags = tags;
	for (uint64_t epoch = 2; epoch <= 3; epoch++) {
		STORE_VERSION_AUTO got = { 0 };
		bool set_tags = epoch == 3;
		assert_int_equal(
			store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_SET, .set_tags = set_tags, .version = set }), KMS_OK);
		assert_int_equal(store_version(f->r, k.id, ver.id, true, &got, NULL), KMS_OK);
		assert_version(&got, &set);
		assert_string_equal(got.tags, set_tags ? tags : ver.tags);
		assert_int_equal(got.epoch, epoch);
	}
	store_fixture_id('v', 5, set.id);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VERSION_SET, .version = set }), KMS_E_FENCED);
}

static void a_revocation_reaches_one_version_or_all_of_a_key_deleted_or_not(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_key k = store_fixture_key(1, &v, "master"), other = store_fixture_key(2, &v, "other"), got;
	struct store_version a = store_fixture_version(1, &k), b = store_fixture_version(2, &k), c = store_fixture_version(3, &other);
	struct store_change one = { .kind = STORE_KEY_REVOKE, .revocation = { .reason = 4, .updated_s = 500 } }, all = one, foreign = one;
	static const struct { unsigned a, b, c; } WANT[] = { { 0, 4, 0 }, { 4, 4, 0 } };

	add_vault(f, &v);
	add_key(f, &k);
	add_key(f, &other);
	add_version(f, &a);
	add_version(f, &b);
	add_version(f, &c);
	memcpy(one.revocation.key_id, k.id, STORE_ID_LEN);
	memcpy(one.revocation.version_id, b.id, STORE_ID_LEN);
	memcpy(all.revocation.key_id, k.id, STORE_ID_LEN);
	memcpy(foreign.revocation.key_id, k.id, STORE_ID_LEN);
	memcpy(foreign.revocation.version_id, c.id, STORE_ID_LEN);
	k.deleted_s = 100;
	assert_int_equal(store_fixture_one(f, foreign), KMS_E_NOTFOUND);
	for (size_t step = 0; step < KMS_ARRAY_LEN(WANT); step++) {
		STORE_VERSION_AUTO got_a = { 0 };
		STORE_VERSION_AUTO got_b = { 0 };
		STORE_VERSION_AUTO got_c = { 0 };
		if (step == 1)
			assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = k }), KMS_OK);
		assert_int_equal(store_fixture_one(f, step == 0 ? one : all), KMS_OK);
		assert_int_equal(store_version(f->r, k.id, a.id, false, &got_a, NULL), KMS_OK);
		assert_int_equal(store_version(f->r, k.id, b.id, false, &got_b, NULL), KMS_OK);
		assert_int_equal(store_version(f->r, other.id, c.id, false, &got_c, NULL), KMS_OK);
		assert_int_equal(got_a.revoked, WANT[step].a);
		assert_int_equal(got_b.revoked, WANT[step].b);
		assert_int_equal(got_c.revoked, WANT[step].c);
		assert_int_equal(got_a.epoch, 1 + step + (step >= 1)); /* the deletion raised it too */
		assert_int_equal(got_b.epoch, 2 + step + (step >= 1));
		assert_int_equal(got_c.epoch, 1);
		assert_true(got_b.updated_s == 500);
	}
	assert_int_equal(store_key(f->r, v.id, "master", &got, NULL), KMS_OK);
	assert_int_equal(got.epoch, 6); /* two versions, one revocation, the delete, one revocation */
}

static void only_resident_objects_of_the_vault_are_listed(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), other = store_fixture_vault(2, "other");
	uint8_t page[3][STORE_ID_LEN], after[STORE_ID_LEN], want[STORE_ID_LEN];
	size_t count, seen = 0;

	add_vault(f, &v);
	add_vault(f, &other);
	for (unsigned n = 1; n <= 12; n++) {
		char name[8];
		struct store_key k;
		struct store_version ver;
		(void)snprintf(name, sizeof(name), "k%u", n);
		k = store_fixture_key(n, n <= 8 ? &v : &other, name);
		ver = store_fixture_version(n, &k);
		if (n % 2 == 1) {
			ver.wrapped = NULL;
			ver.wrapped_len = 0;
		}
		add_key(f, &k);
		add_version(f, &ver);
		k.deleted_s = 1;
		if (n == 3)
			assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = k }), KMS_OK);
	}
	/* An erased wrapped version does not turn into a resident one. */
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = v }), KMS_OK);
	do {
		assert_int_equal(store_objects(f->r, v.id, seen == 0 ? NULL : after, page, 3, &count, NULL), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			store_fixture_id('o', (unsigned)(2 * seen++ + 1), want);
			assert_memory_equal(page[i], want, STORE_ID_LEN);
			memcpy(after, page[i], STORE_ID_LEN);
		}
	} while (count == 3);
	assert_int_equal(seen, 4);
}

static bool is_known(struct store_fixture *f, const uint8_t obj[STORE_ID_LEN])
{
	bool known = false;

	assert_int_equal(store_object_known(f->r, obj, &known, NULL), KMS_OK);
	return known;
}

static void an_object_is_known_until_its_vault_is_shredded(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), state_change = v;
	struct store_key k = store_fixture_key(1, &v, "master");
	struct store_version ver = store_fixture_version(1, &k);
	struct store_meta m = { .name = "log-key", .value = "0123456789abcdef", .value_len = 16 };
	struct store_meta longer = { .name = "other", .value = "fedcba9876543210x", .value_len = 17 };

	add_vault(f, &v);
	add_key(f, &k);
	add_version(f, &ver);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_META_PUT, .meta = m }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_META_PUT, .meta = longer }), KMS_OK);
	state_change.state = STORE_VAULT_SHREDDING;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_SET_STATE, .vault = state_change }), KMS_OK);
	assert_true(is_known(f, v.root_id));
	assert_true(is_known(f, v.pseudonym_id));
	assert_true(is_known(f, ver.obj));
	assert_true(is_known(f, m.value));
	assert_false(is_known(f, longer.value));
	assert_false(is_known(f, v.directory));
	state_change.state = STORE_VAULT_SHREDDED;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_SET_STATE, .vault = state_change }), KMS_OK);
	assert_false(is_known(f, v.root_id));
	assert_false(is_known(f, v.pseudonym_id));
	assert_false(is_known(f, ver.obj));
	assert_true(is_known(f, m.value));
}

static void an_intent_is_open_under_its_leaf_until_it_is_closed(void **state)
{
	struct store_fixture *f = *state;
	struct store_intent i = { .seq = 999, .type = 17, .key_name = "Master" }, got[2] = { 0 };
	size_t count;

	store_fixture_id('V', 1, i.vault_id);
	store_fixture_id('k', 1, i.key_id);
	store_fixture_id('o', 1, i.obj);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_INTENT_OPEN, .intent = i }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_INTENT_OPEN, .intent = i }), KMS_OK);
	assert_int_equal(store_intents(f->r, UINT64_MAX, got, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	i.seq = 0;
	assert_memory_equal(&got[0], &i, sizeof(i));
	assert_int_equal(store_intents(f->r, 0, got, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(got[0].seq, 1);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_INTENT_CLOSE, .intent = i }), KMS_OK);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_INTENT_CLOSE, .intent = i }), KMS_E_FENCED);
	assert_int_equal(store_intents(f->r, UINT64_MAX, got, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
}

static void a_meta_value_is_replaced(void **state)
{
	struct store_fixture *f = *state;
	struct store_meta m = { .name = "node", .value_len = STORE_META_VALUE_MAX }, got = { 0 };

	memset(m.value, 'x', sizeof(m.value));
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_META_PUT, .meta = m }), KMS_OK);
	assert_int_equal(store_meta(f->r, "node", &got, NULL), KMS_OK);
	assert_memory_equal(&got, &m, sizeof(m));
	m.value_len = 0;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_META_PUT, .meta = m }), KMS_OK);
	assert_int_equal(store_meta(f->r, "node", &got, NULL), KMS_OK);
	assert_int_equal(got.value_len, 0);
}

static void leaves_and_nodes_come_back_after_reopening(void **state)
{
	struct store_fixture *f = *state;
	struct store_event e = store_fixture_event(0), got = { 0 };
	uint8_t hash[STORE_HASH_LEN], node[STORE_HASH_LEN];
	uint64_t count;

	memset(node, 'N', sizeof(node));
	e.leaf_len = 5;
	for (uint64_t seq = 0; seq < 3; seq++) {
		e.seq = seq;
		assert_int_equal(store_begin(f->w, NULL), KMS_OK);
		assert_int_equal(store_append(f->w, &e, NULL), KMS_OK);
		if (seq == 1)
			assert_int_equal(store_put_node(f->w, 1, 0, node, NULL), KMS_OK);
		assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	}
	store_fixture_reopen(f);
	assert_int_equal(store_event_count(f->r, &count, NULL), KMS_OK);
	assert_int_equal(count, 3);
	assert_int_equal(store_event(f->r, 2, &got, NULL), KMS_OK);
	assert_int_equal(got.seq, 2);
	assert_memory_equal(got.id, e.id, STORE_ID_LEN);
	assert_memory_equal(got.vault_id, e.vault_id, STORE_ID_LEN);
	assert_true(got.ts_us == e.ts_us);
	assert_int_equal(got.leaf_len, 5);
	assert_memory_equal(got.leaf, e.leaf, 5);
	assert_memory_equal(got.hash, e.hash, STORE_HASH_LEN);
	store_event_clear(&got);
	assert_int_equal(store_node(f->r, 0, 2, hash, NULL), KMS_OK);
	assert_memory_equal(hash, e.hash, STORE_HASH_LEN);
	assert_int_equal(store_node(f->r, 1, 0, hash, NULL), KMS_OK);
	assert_memory_equal(hash, node, STORE_HASH_LEN);
	assert_int_equal(store_node(f->r, 1, 1, hash, NULL), KMS_E_NOTFOUND);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_empty_database_answers_not_found_and_empty_pages),
		T(a_vault_comes_back_whole_by_name_without_case_and_by_id),
		T(a_vault_name_is_taken_without_case),
		T(vault_pages_are_ordered_and_lose_nothing),
		T(a_principal_comes_back_whole_and_is_set_in_part),
		T(principals_are_listed_by_directory),
		T(roles_come_and_go_and_raise_the_principals_epoch),
		T(a_key_keeps_its_case_and_is_found_without),
		T(a_deleted_key_keeps_its_name_until_it_is_purged),
		T(deleted_keys_are_due_when_their_retention_ends),
		T(key_pages_are_ordered_without_case),
		T(versions_are_numbered_by_the_store_and_the_last_is_the_latest),
		T(a_version_is_set_in_part_and_its_tags_only_when_asked),
		T(a_revocation_reaches_one_version_or_all_of_a_key_deleted_or_not),
		T(only_resident_objects_of_the_vault_are_listed),
		T(an_object_is_known_until_its_vault_is_shredded),
		T(an_intent_is_open_under_its_leaf_until_it_is_closed),
		T(a_meta_value_is_replaced),
		T(leaves_and_nodes_come_back_after_reopening),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
