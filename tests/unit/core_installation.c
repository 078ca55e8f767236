/* tests/unit/core_installation.c - the installation's own keys and records: first start, next start, one cut short, an older version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include <cmocka.h>

#include "tests/support/domain.h"

#define ORIGIN "vault.test/audit/log1"

static struct t_domain d;

static struct installation open_again(struct store *store)
{
	struct installation inst = { 0 };
	struct kms_err err = { 0 };

	assert_int_equal(installation_open(store, d.kms.hsm, ORIGIN, &inst, &err), KMS_OK);
	return inst;
}

static struct store_change meta(const char *name, const void *value, size_t len)
{
	struct store_change c = { .kind = STORE_META_PUT };

	memcpy(c.meta.name, name, strlen(name));
	memcpy(c.meta.value, value, len);
	c.meta.value_len = len;
	return c;
}

static void put(struct store_fixture *f, const char *name, const void *value, size_t len)
{
	assert_int_equal(store_fixture_one(f, meta(name, value, len)), KMS_OK);
}

/* A database as the version before this one left it: four keys, no time of creation. They are those of the domain. */
static struct store_fixture *old_database(void)
{
	const struct installation *i = &d.kms.inst;
	void *state = NULL;

	assert_int_equal(store_fixture_open(&state), 0);
	put(state, "directory", i->directory, STORE_ID_LEN);
	put(state, "log_origin", ORIGIN, strlen(ORIGIN));
	put(state, "log_key", i->log_key, STORE_ID_LEN);
	put(state, "token_key", i->token_key, STORE_ID_LEN);
	put(state, "attestation_key", i->attestation_key, STORE_ID_LEN);
	put(state, "pseudonym_key", i->pseudonym_key, STORE_ID_LEN);
	put(state, "installed", "yes", 3);
	return state;
}

static void close_database(struct store_fixture *f)
{
	void *state = f;
	assert_int_equal(store_fixture_close(&state), 0);
}

static void the_next_start_finds_what_the_first_made(void **state)
{
	struct installation inst = open_again(d.store->w);

	(void)state;
	assert_memory_equal(inst.pseudonym_key, d.kms.inst.pseudonym_key, HSM_ID_LEN);
	assert_memory_equal(inst.directory, d.kms.inst.directory, STORE_ID_LEN);
	assert_int_equal(inst.attestation_public.point_len, 65);
	assert_memory_equal(inst.attestation_public.point, d.kms.inst.attestation_public.point, 65);
	assert_int_equal(inst.created_s, d.kms.inst.created_s);
	assert_int_not_equal(inst.created_s, 0);
	assert_true(t_object_exists(&d, inst.pseudonym_key));
	installation_clear(&inst);
	assert_null(inst.page_key);
	assert_null(inst.webhook_key);
}

static void derived_keys_are_the_same_at_every_start_and_no_pseudonym(void **state)
{
	struct installation inst = open_again(d.store->w);
	struct kms_err err = { 0 };
	uint8_t pid[16];

	(void)state;
	assert_int_equal(secret_len(inst.page_key), 32);
	assert_memory_equal(secret_data(inst.page_key), secret_data(d.kms.inst.page_key), 32);
	assert_int_equal(pseudonym(d.kms.hsm, inst.pseudonym_key, "holdfast page key 1", "", pid, &err), KMS_OK);
	assert_memory_not_equal(secret_data(inst.page_key), pid, sizeof(pid));
	assert_memory_equal(secret_data(inst.webhook_key), secret_data(d.kms.inst.webhook_key), 32);
	assert_memory_not_equal(secret_data(inst.webhook_key), secret_data(inst.page_key), 32);
	installation_clear(&inst);
}

static void another_origin_for_the_same_log_is_refused(void **state)
{
	struct installation inst = { 0 };
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(installation_open(d.store->w, d.kms.hsm, "vault.test/audit/log2", &inst, &err), KMS_E_AUDIT);
	assert_non_null(strstr(err.detail, ORIGIN));
}

static void an_older_installation_keeps_its_keys_and_becomes_one_of_this_version(void **state)
{
	struct store_fixture *old = old_database();
	struct installation inst, again;
	struct store_meta level = { 0 };

	(void)state;
	inst = open_again(old->w);
	assert_memory_equal(inst.log_key, d.kms.inst.log_key, HSM_ID_LEN);
	assert_memory_equal(inst.token_key, d.kms.inst.token_key, HSM_ID_LEN);
	assert_int_equal(store_meta(old->w, "installed", &level, NULL), KMS_OK);
	assert_int_equal(level.value_len, 1);
	assert_int_equal(level.value[0], '2');
	again = open_again(old->w);
	assert_memory_equal(again.pseudonym_key, inst.pseudonym_key, HSM_ID_LEN);
	assert_int_equal(again.created_s, inst.created_s);
	assert_int_equal(inst.created_s, 1700000000 /* of the fixture's leaves */);
	installation_clear(&inst);
	installation_clear(&again);
	close_database(old);
}

/* What version 0.5 left has one origin and one log key, without their records. */
static void an_older_installation_gets_its_first_origin_and_its_verifier_key(void **state)
{
	struct store_fixture *old = old_database();
	struct installation inst = open_again(old->w);
	struct store_log_key keys[2];
	struct store_meta first = { 0 };
	char vkey[NOTE_VKEY_MAX + 1];
	size_t count = 0;

	(void)state;
	assert_int_equal(store_meta(old->w, "log_origin_first", &first, NULL), KMS_OK);
	assert_int_equal(first.value_len, strlen(ORIGIN));
	assert_memory_equal(first.value, ORIGIN, strlen(ORIGIN));
	installation_clear(&inst);
	inst = open_again(old->w); /* written once */
	assert_int_equal(store_log_keys(old->w, keys, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_memory_equal(keys[0].obj, d.kms.inst.log_key, STORE_ID_LEN);
	assert_true(log_vkey_make(ORIGIN, HSM_KIND_ED25519, &inst.log_public, vkey));
	assert_string_equal(keys[0].vkey, vkey);
	installation_clear(&inst);
	close_database(old);
}

static void a_device_without_ed25519_gets_a_p256_log_key(void **state)
{
	uint32_t features = d.kms.hsm->features;
	void *store = NULL;
	struct installation inst;
	struct store_log_key key;
	struct note_key note;
	size_t count = 0;

	(void)state;
	assert_int_equal(store_fixture_open(&store), 0);
	d.kms.hsm->features &= ~(uint32_t)HSM_CAN_ED25519;
	inst = open_again(((struct store_fixture *)store)->w);
	d.kms.hsm->features = features;
	assert_int_equal(inst.log_kind, HSM_KIND_P256);
	assert_int_equal(inst.log_public.point_len, 65);
	installation_clear(&inst);
	/* It stays what it is, whatever the device can later. */
	inst = open_again(((struct store_fixture *)store)->w);
	assert_int_equal(inst.log_kind, HSM_KIND_P256);
	assert_int_equal(store_log_keys(((struct store_fixture *)store)->w, &key, 1, &count, NULL), KMS_OK);
	assert_true(note_vkey_parse(key.vkey, &note));
	assert_int_equal(note.type, NOTE_ECDSA_P256);
	installation_clear(&inst);
	close_database(store);
}

/* The log that is written may be a later one; the configuration names the first. */
static void the_configuration_names_the_first_origin_for_ever(void **state)
{
	struct store_fixture *old = old_database();
	struct installation inst = open_again(old->w);
	struct kms_err err = { 0 };

	(void)state;
	put(old, "log_origin", "vault.test/audit/log2", strlen("vault.test/audit/log2"));
	installation_clear(&inst);
	inst = open_again(old->w);
	installation_clear(&inst);
	assert_int_equal(installation_open(old->w, d.kms.hsm, "vault.test/audit/log2", &inst, &err), KMS_E_AUDIT);
	close_database(old);
}

static void a_key_that_was_planned_and_not_yet_made_is_made_by_the_next_start(void **state)
{
	struct store_fixture *fresh = NULL;
	struct store_change plan;
	struct installation inst;
	uint8_t planned[STORE_ID_LEN];
	void *opened = NULL;

	(void)state;
	assert_int_equal(store_fixture_open(&opened), 0);
	fresh = opened;
	assert_true(random_bytes(planned, sizeof(planned)));
	plan = meta("token_key", planned, sizeof(planned));
	/* Without a leaf: the first one is written after the keys are made. */
	assert_int_equal(store_begin(fresh->w, NULL), KMS_OK);
	assert_int_equal(store_apply(fresh->w, &plan, 1, 0, NULL), KMS_OK);
	assert_int_equal(store_commit(fresh->w, NULL), KMS_OK);
	inst = open_again(fresh->w);
	assert_memory_equal(inst.token_key, planned, HSM_ID_LEN);
	assert_true(t_object_exists(&d, planned));
	installation_clear(&inst);
	close_database(fresh);
}

static void a_key_that_had_been_made_and_is_missing_is_never_replaced(void **state)
{
	static const char *const NAMES[] = { "log_key", "token_key" };
	struct kms_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++) {
		struct store_fixture *old = old_database();
		struct installation inst = { 0 };
		uint8_t stranger[STORE_ID_LEN];

		assert_true(random_bytes(stranger, sizeof(stranger)));
		put(old, "installed", "2", 1);
		put(old, NAMES[i], stranger, sizeof(stranger));
		memset(&err, 0, sizeof(err));
		assert_int_equal(installation_open(old->w, d.kms.hsm, ORIGIN, &inst, &err), KMS_E_AUDIT);
		assert_non_null(strstr(err.detail, NAMES[i]));
		assert_false(t_object_exists(&d, stranger));
		close_database(old);
	}
}

/* It would have its leaves signed by new keys, which no pin knows. */
static void a_log_with_leaves_is_no_first_start(void **state)
{
	struct store_fixture *old = old_database();
	struct installation inst = { 0 };
	struct kms_err err = { 0 };
	sqlite3 *db = NULL;

	(void)state;
	assert_int_equal(sqlite3_open_v2(old->path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "DELETE FROM meta WHERE name = 'installed'", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	assert_int_equal(installation_open(old->w, d.kms.hsm, ORIGIN, &inst, &err), KMS_E_STORE);
	assert_non_null(strstr(err.detail, "installed is missing"));
	close_database(old);
}

static void damaged_and_newer_records_stop_the_start(void **state)
{
	static const struct {
		const char *name, *value;
	} CASES[] = { { "installed", "3" }, { "installed", "no" }, { "directory", "short" }, { "token_key", "short" }, { "created", "short" } };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct store_fixture *old = old_database();
		struct installation inst = { 0 };
		struct kms_err err = { 0 };

		put(old, CASES[i].name, CASES[i].value, strlen(CASES[i].value));
		assert_int_equal(installation_open(old->w, d.kms.hsm, ORIGIN, &inst, &err), KMS_E_STORE);
		assert_non_null(strstr(err.detail, CASES[i].name));
		close_database(old);
	}
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_start_finds_what_the_first_made),
		cmocka_unit_test(derived_keys_are_the_same_at_every_start_and_no_pseudonym),
		cmocka_unit_test(another_origin_for_the_same_log_is_refused),
		cmocka_unit_test(an_older_installation_keeps_its_keys_and_becomes_one_of_this_version),
		cmocka_unit_test(an_older_installation_gets_its_first_origin_and_its_verifier_key),
		cmocka_unit_test(a_device_without_ed25519_gets_a_p256_log_key),
		cmocka_unit_test(the_configuration_names_the_first_origin_for_ever),
		cmocka_unit_test(a_key_that_was_planned_and_not_yet_made_is_made_by_the_next_start),
		cmocka_unit_test(a_key_that_had_been_made_and_is_missing_is_never_replaced),
		cmocka_unit_test(a_log_with_leaves_is_no_first_start),
		cmocka_unit_test(damaged_and_newer_records_stop_the_start),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
