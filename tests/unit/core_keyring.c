/* tests/unit/core_keyring.c - the life of keys and vaults on a real token and database: purge, retention, revocation, recovery after a crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/crypto.h"
#include "tests/support/approvals.h"

#define DAY_S 86400

static struct t_domain d;

static void delete_key(const char *vault, const char *name)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_DELETE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_delete(op, name, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static kms_status purge(const char *vault, const char *name)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_PURGE);
	struct kms_err err = { 0 };
	kms_status status = keyring_purge(op, name, &err);

	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static kms_status revoke(const char *vault, const char *name, enum revoke_reason reason)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_REVOKE);
	struct kms_err err = { 0 };
	kms_status status = keyring_revoke(op, name, NULL, reason, &err);

	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static kms_status look_up(const char *vault, const char *name)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_GET);
	struct kms_err err = { 0 };
	kms_status status = keyring_get(op, name, NULL, &err);

	t_op_free(op);
	return status;
}

static size_t open_intents(void)
{
	struct store_intent page[8];
	size_t count = 0;

	assert_int_equal(store_intents(d.store->r, UINT64_MAX, page, 8, &count, NULL), KMS_OK);
	return count;
}

/* What recovery left open. */
static size_t left_open;

static kms_status recover(uint64_t types)
{
	struct recovery_count count = { 0 };
	struct kms_err err = { 0 };
	kms_status status = recovery_run(&d.kms, d.store->r, types, &count, &err);

	left_open = count.left_open;
	return status;
}

static void a_purge_destroys_the_object_and_frees_the_name(void **state)
{
	uint8_t obj[HSM_ID_LEN], again[HSM_ID_LEN];

	(void)state;
	t_vault(&d, "purging", false);
	t_key(&d, "purging", "k", KEY_OCT_HSM, obj);
	assert_true(t_object_exists(&d, obj));
	assert_int_equal(purge("purging", "k"), KMS_E_KEY_NOTFOUND); /* only what is deleted can be purged */
	delete_key("purging", "k");
	assert_int_equal(purge("purging", "k"), KMS_OK);
	assert_false(t_object_exists(&d, obj));
	t_key(&d, "purging", "k", KEY_OCT_HSM, again);
	assert_memory_not_equal(obj, again, HSM_ID_LEN);
	assert_int_equal(open_intents(), 0);
}

static void purge_protection_holds_until_the_retention_ends(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	size_t count = 9;
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&d, "protected", true);
	t_key(&d, "protected", "k", KEY_OCT_HSM, obj);
	delete_key("protected", "k");
	assert_int_equal(purge("protected", "k"), KMS_E_PURGE_PROTECTED);
	t_domain_pass((int64_t)RETENTION_DAYS_MIN * DAY_S - 1);
	assert_int_equal(keyring_purge_due(&d.kms, d.store->r, &count, &err), KMS_OK);
	assert_int_equal(count, 0);
	assert_true(t_object_exists(&d, obj));
	t_domain_pass(1);
	assert_int_equal(keyring_purge_due(&d.kms, d.store->r, &count, &err), KMS_OK);
	assert_int_equal(count, 1);
	assert_false(t_object_exists(&d, obj));
	assert_int_equal(purge("protected", "k"), KMS_E_KEY_NOTFOUND);
	assert_int_equal(open_intents(), 0);
}

static void a_compromised_key_never_comes_back(void **state)
{
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_vault(&d, "revoking", false);
	t_key(&d, "revoking", "k", KEY_OCT_HSM, obj);
	assert_int_equal(revoke("revoking", "k", REVOKE_SUPERSEDED), KMS_OK);
	assert_int_equal(revoke("revoking", "k", REVOKE_NONE), KMS_OK);
	assert_int_equal(revoke("revoking", "k", REVOKE_COMPROMISE), KMS_OK);
	assert_int_equal(revoke("revoking", "k", REVOKE_NONE), KMS_E_KEY_REVOKED);
	/* nor by a milder reason first */
	assert_int_equal(revoke("revoking", "k", REVOKE_SUPERSEDED), KMS_E_KEY_REVOKED);
	assert_int_equal(revoke("revoking", "k", REVOKE_COMPROMISE), KMS_OK);
}

static void a_creation_that_was_cut_short_is_undone(void **state)
{
	struct key_create req = { .type = KEY_OCT_HSM, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "crashing", false);
	op = t_op(&d, "crashing", EVENT_KEY_CREATE);
	assert_int_equal(keyring_create(op, "k", &req, &err), KMS_OK);
	memcpy(obj, op->version.obj, HSM_ID_LEN);
	t_op_free(op); /* the power fails before the outcome is written */
	assert_true(t_object_exists(&d, obj));
	assert_int_equal(open_intents(), 1);
	t_domain_restart(&d);
	assert_int_equal(recover(RECOVER_ALL), KMS_OK);
	assert_false(t_object_exists(&d, obj));
	assert_int_equal(open_intents(), 0);
	assert_int_equal(look_up("crashing", "k"), KMS_E_KEY_NOTFOUND);
}

static void a_vault_creation_that_was_cut_short_is_undone(void **state)
{
	struct vault_create req = { .name = "halfway", .retention_days = RETENTION_DAYS_MIN };
	uint8_t root[HSM_ID_LEN], pseudonyms[HSM_ID_LEN];
	struct kms_err err = { 0 };
	struct op *op = t_op(&d, NULL, EVENT_TENANT_CREATE);

	(void)state;
	assert_int_equal(vault_create(op, &req, &err), KMS_OK);
	memcpy(root, op->vault.root_id, HSM_ID_LEN);
	memcpy(pseudonyms, op->vault.pseudonym_id, HSM_ID_LEN);
	t_op_free(op);
	assert_true(t_object_exists(&d, root) && t_object_exists(&d, pseudonyms));
	t_domain_restart(&d);
	assert_int_equal(recover(RECOVER_ALL), KMS_OK);
	assert_false(t_object_exists(&d, root) || t_object_exists(&d, pseudonyms));
	t_vault(&d, "halfway", false);
}

static void a_purge_that_was_cut_short_is_finished(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "purgecut", false);
	t_key(&d, "purgecut", "k", KEY_OCT_HSM, obj);
	delete_key("purgecut", "k");
	op = t_op(&d, "purgecut", EVENT_KEY_PURGE);
	assert_int_equal(keyring_purge(op, "k", &err), KMS_OK);
	t_op_free(op);
	t_domain_restart(&d);
	assert_int_equal(recover(RECOVER_ALL), KMS_OK);
	assert_false(t_object_exists(&d, obj));
	assert_int_equal(open_intents(), 0);
	t_key(&d, "purgecut", "k", KEY_OCT_HSM, obj); /* the name is free */
}

/* As a closed log may leave it: its key is gone, and the name belongs to another. */
static void open_old_purge(const char *vault, const uint8_t key_id[STORE_ID_LEN])
{
	struct store_change c = { .kind = STORE_INTENT_OPEN, .intent = { .type = EVENT_KEY_PURGE, .key_name = "k" } };
	struct write unit = { .event = { .type = EVENT_KEY_PURGE, .phase = EVENT_INTENT, .result = EVENT_PENDING, .has_tenant = true, .key_name = "k" }, .changes = &c,
		              .change_count = 1 };
	struct store_vault v;

	assert_int_equal(store_vault_by_name(d.store->r, vault, &v, NULL), KMS_OK);
	memcpy(c.intent.vault_id, v.id, STORE_ID_LEN);
	memcpy(c.intent.key_id, key_id, STORE_ID_LEN);
	memcpy(unit.event.tenant, v.id, STORE_ID_LEN);
	assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
}

static void a_purge_that_is_repeated_is_one_act_and_a_key_of_the_same_name_is_left_alone(void **state)
{
	uint8_t obj[HSM_ID_LEN], key_id[STORE_ID_LEN];
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "twice", false);
	t_key(&d, "twice", "k", KEY_OCT_HSM, obj);
	delete_key("twice", "k");
	op = t_op(&d, "twice", EVENT_KEY_PURGE);
	assert_int_equal(keyring_purge(op, "k", &err), KMS_OK);
	memcpy(key_id, op->key.id, STORE_ID_LEN);
	t_op_free(op); /* the disk is full: no outcome */
	assert_int_equal(open_intents(), 1);
	assert_int_equal(purge("twice", "k"), KMS_OK);
	assert_int_equal(open_intents(), 0);
	t_key(&d, "twice", "k", KEY_OCT_HSM, obj); /* the name is in use again */
	open_old_purge("twice", key_id);
	t_domain_restart(&d);
	assert_int_equal(recover(RECOVER_ALL), KMS_OK);
	assert_int_equal(left_open, 0);
	assert_int_equal(open_intents(), 0);
	assert_true(t_object_exists(&d, obj)); /* the new key is not the one that was purged */
	assert_int_equal(look_up("twice", "k"), KMS_OK);
}

static void an_interrupted_destruction_is_finished_without_a_restart(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "later", false);
	t_key(&d, "later", "k", KEY_OCT_HSM, obj);
	delete_key("later", "k");
	op = t_op(&d, "later", EVENT_KEY_PURGE);
	assert_int_equal(keyring_purge(op, "k", &err), KMS_OK);
	t_op_free(op);
	assert_int_equal(recover(RECOVER_TYPE(EVENT_KEY_PURGE)), KMS_OK);
	assert_int_equal(open_intents(), 0);
	assert_int_equal(look_up("later", "k"), KMS_E_KEY_NOTFOUND);
}

static void objects_that_no_row_names_are_counted_and_left_alone(void **state)
{
	struct hsm_key stray = { .purpose = HSM_FOR_CALLER, .kind = HSM_KIND_AES, .bits = 256, .usage = HSM_USE_WRAP };
	struct kms_err err = { 0 };
	struct sweep_count before = { 0 }, after = { 0 };

	(void)state;
	assert_int_equal(destruction_sweep(&d.kms, d.store->r, &before, &err), KMS_OK);
	assert_true(random_bytes(stray.id, sizeof(stray.id)));
	assert_int_equal(hsm_key_generate(d.kms.hsm, &stray, NULL, &err), KMS_OK);
	assert_int_equal(destruction_sweep(&d.kms, d.store->r, &after, &err), KMS_OK);
	assert_int_equal(after.unknown, before.unknown + 1);
	assert_true(t_object_exists(&d, stray.id));
	assert_int_equal(hsm_key_destroy(d.kms.hsm, stray.id, &err), KMS_OK);
}

static void a_damaged_row_is_a_store_error(void **state)
{
	struct store_change grown = { .kind = STORE_VERSION_ADD };
	struct store_version v = { 0 };
	struct kms_err err = { 0 };
	struct op *op = NULL;
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_vault(&d, "damaged", false);
	t_key(&d, "damaged", "k", KEY_OCT_HSM, obj);
	op = t_op(&d, "damaged", EVENT_KEY_GET);
	assert_int_equal(keyring_get(op, "k", NULL, &err), KMS_OK);
	v = op->version;
	v.tags = NULL;
	assert_true(random_bytes(v.id, sizeof(v.id)) && random_bytes(v.obj, sizeof(v.obj)));
	v.kty = 99;
	grown.version = v;
	{
		struct write unit = { .event = { .type = EVENT_KEY_CREATE }, .changes = &grown, .change_count = 1 };
		assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	}
	t_op_free(op);
	assert_int_equal(look_up("damaged", "k"), KMS_E_STORE);
}

static void a_shred_kills_root_and_resident_objects_and_blobs_and_nothing_else(void **state)
{
	uint8_t obj[HSM_ID_LEN], wrapped[HSM_ID_LEN], other[HSM_ID_LEN], root[HSM_ID_LEN];
	struct store_vault v;

	(void)state;
	t_vault(&d, "shredded", false);
	t_vault(&d, "neighbour", false);
	t_key(&d, "shredded", "resident", KEY_OCT_HSM, obj);
	t_key(&d, "shredded", "wrapped", KEY_RSA, wrapped);
	t_key(&d, "neighbour", "resident", KEY_OCT_HSM, other);
	assert_int_equal(store_vault_by_name(d.store->r, "shredded", &v, NULL), KMS_OK);
	memcpy(root, v.root_id, HSM_ID_LEN);
	assert_int_equal(t_shred(&d, "shredded", "contract end"), 3); /* root, pseudonym key, one resident key */
	assert_false(t_object_exists(&d, root) || t_object_exists(&d, obj));
	assert_true(t_object_exists(&d, other));
	assert_int_equal(look_up("shredded", "wrapped"), KMS_E_VAULT_SHREDDED);
	assert_int_equal(look_up("neighbour", "resident"), KMS_OK);
	assert_int_equal(store_vault_by_name(d.store->r, "shredded", &v, NULL), KMS_OK);
	assert_int_equal(v.state, STORE_VAULT_SHREDDED);
	assert_int_equal(v.canary_wrapped_len, 0);
}

static void a_shred_that_was_cut_short_is_finished(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err = { 0 };
	struct store_vault v;
	struct op *op = NULL;
	struct destruction done = { 0 };

	(void)state;
	t_vault(&d, "shredcut", false);
	t_key(&d, "shredcut", "k", KEY_OCT_HSM, obj);
	t_approve_shred(&d, "shredcut");
	op = t_op(&d, "shredcut", EVENT_TENANT_SHRED);
	assert_int_equal(vault_shred(op, "", BASIS_OTHER, &done, &err), KMS_OK);
	t_op_free(op);
	assert_int_equal(look_up("shredcut", "k"), KMS_E_VAULT_SHREDDED); /* refused from the intent on */
	t_domain_restart(&d);
	assert_int_equal(recover(RECOVER_ALL), KMS_OK);
	assert_int_equal(store_vault_by_name(d.store->r, "shredcut", &v, NULL), KMS_OK);
	assert_int_equal(v.state, STORE_VAULT_SHREDDED);
	assert_false(t_object_exists(&d, obj));
	assert_int_equal(open_intents(), 0);
}

static void a_result_whose_version_was_disabled_meanwhile_is_fenced(void **state)
{
	struct key_update off = { .has_enabled = true };
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err = { 0 };
	struct op *use = NULL, *disable = NULL;
	SECRET_AUTO *plain = secret_from("0123456789abcdef", 16);
	struct crypto_input in = { .alg = ALG_A256KW, .value = plain };
	CRYPTO_OUTPUT_AUTO out = { 0 };

	(void)state;
	t_vault(&d, "fencing", false);
	t_key(&d, "fencing", "k", KEY_OCT_HSM, obj);
	use = t_op(&d, "fencing", EVENT_KEY_WRAP);
	assert_int_equal(crypto_use(use, "k", NULL, KEY_OP_WRAP, &in, &out, &err), KMS_OK);
	disable = t_op(&d, "fencing", EVENT_KEY_UPDATE);
	assert_int_equal(t_op_finish(disable, keyring_update(disable, "k", NULL, &off, &err)), KMS_OK);
	assert_int_equal(t_op_finish(use, KMS_OK), KMS_E_FENCED); /* done before, not yet released: withheld */
	t_op_free(use);
	t_op_free(disable);
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
		cmocka_unit_test(a_purge_destroys_the_object_and_frees_the_name),
		cmocka_unit_test(purge_protection_holds_until_the_retention_ends),
		cmocka_unit_test(a_compromised_key_never_comes_back),
		cmocka_unit_test(a_creation_that_was_cut_short_is_undone),
		cmocka_unit_test(a_vault_creation_that_was_cut_short_is_undone),
		cmocka_unit_test(a_purge_that_was_cut_short_is_finished),
		cmocka_unit_test(a_purge_that_is_repeated_is_one_act_and_a_key_of_the_same_name_is_left_alone),
		cmocka_unit_test(an_interrupted_destruction_is_finished_without_a_restart),
		cmocka_unit_test(objects_that_no_row_names_are_counted_and_left_alone),
		cmocka_unit_test(a_damaged_row_is_a_store_error),
		cmocka_unit_test(a_shred_kills_root_and_resident_objects_and_blobs_and_nothing_else),
		cmocka_unit_test(a_shred_that_was_cut_short_is_finished),
		cmocka_unit_test(a_result_whose_version_was_disabled_meanwhile_is_fenced),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
