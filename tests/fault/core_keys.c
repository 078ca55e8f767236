/* tests/fault/core_keys.c - makes the 1st, 2nd, 3rd ... call to the device fail under each act that makes, takes in, seals, opens or attests
 * a key, until none is left: no object, no open intent and no secret stays behind, nothing is entered, and the next try works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/backup.h"
#include "server/core/epoch.h"
#include "tests/support/domain.h"
#include "tests/support/hsm_material.h"
#include "tests/support/software.h"

#define VAULT "faulty"

static struct t_domain d;
static struct sw_jwk JWK;
static uint8_t TRANSFER[HSM_TRANSFER_MAX];
static size_t TRANSFER_LEN;
static struct key_import TRANSFERRED;
static uint8_t *BLOB;
static size_t BLOB_LEN;

/* ---- the acts; what they make is named "k" ---- */

static kms_status create(struct op *op, enum key_type type, struct kms_err *err)
{
	struct key_create req = { .type = type, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	return keyring_create(op, "k", &req, err);
}

static kms_status create_resident(struct op *op, struct kms_err *err) { return create(op, KEY_EC_HSM, err); }
static kms_status create_wrapped(struct op *op, struct kms_err *err) { return create(op, KEY_EC, err); }

static kms_status import(struct op *op, bool to_hsm, struct kms_err *err)
{
	struct key_import req = { .jwk = JWK.jwk, .to_hsm = to_hsm, .as = { .is_enabled = true, .nbf_s = STORE_NO_TIME,
	                          .exp_s = STORE_NO_TIME } };
	return keyring_import(op, "k", &req, err);
}

static kms_status import_resident(struct op *op, struct kms_err *err) { return import(op, true, err); }
static kms_status import_wrapped(struct op *op, struct kms_err *err) { return import(op, false, err); }
static kms_status transfer(struct op *op, struct kms_err *err) { return keyring_import(op, "k", &TRANSFERRED, err); }
static kms_status restore(struct op *op, struct kms_err *err) { return backup_restore(op, BLOB, BLOB_LEN, err); }

static kms_status seal(struct op *op, struct kms_err *err)
{
	uint8_t *blob = NULL;
	size_t len = 0;
	kms_status status = backup_make(op, "wrapped", &blob, &len, err);

	assert_true((status == KMS_OK) == (blob != NULL));
	free(blob);
	return status;
}

static kms_status attest(struct op *op, const char *name, struct kms_err *err)
{
	struct attestation a = { 0 };
	return attestation_make(op, name, NULL, &a, err);
}

static kms_status attest_resident(struct op *op, struct kms_err *err) { return attest(op, "resident", err); }
static kms_status attest_wrapped(struct op *op, struct kms_err *err) { return attest(op, "wrapped", err); }

struct act {
	const char *name;
	enum event_type type;
	kms_status (*run)(struct op *op, struct kms_err *err);
	bool makes; /* a key "k" */
	long least_calls;
};
static const struct act ACTS[] = {
	{ "create, resident", EVENT_KEY_CREATE, create_resident, true, 3 },
	{ "create, wrapped", EVENT_KEY_CREATE, create_wrapped, true, 5 },
	{ "import, resident", EVENT_KEY_IMPORT, import_resident, true, 3 },
	{ "import, wrapped", EVENT_KEY_IMPORT, import_wrapped, true, 5 },
	{ "transfer", EVENT_KEY_IMPORT, transfer, true, 8 },
	{ "backup", EVENT_KEY_BACKUP, seal, false, 2 },
	{ "restore", EVENT_KEY_RESTORE, restore, true, 3 },
	{ "attestation, resident", EVENT_KEY_GET, attest_resident, false, 4 },
	{ "attestation, wrapped", EVENT_KEY_GET, attest_wrapped, false, 5 },
};

/* ---- what must stay as it was ---- */

static bool count_one(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	(void)id;
	(void)purpose;
	*(size_t *)arg += is_ours;
	return true;
}

static size_t objects(void)
{
	size_t count = 0;
	struct kms_err err = { 0 };

	assert_int_equal(hsm_keys_list(d.kms.hsm, count_one, &count, &err), KMS_OK);
	return count;
}

static void nothing_is_open(void)
{
	struct store_intent page[4];
	size_t count = 0;

	assert_int_equal(store_intents(d.store->r, UINT64_MAX, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
}

static bool made(void)
{
	struct op *op = t_op(&d, VAULT, EVENT_KEY_GET);
	struct kms_err err = { 0 };
	kms_status status = keyring_get(op, "k", NULL, &err);

	t_op_free(op);
	return status == KMS_OK;
}

static void unmake(void)
{
	struct op *op = t_op(&d, VAULT, EVENT_KEY_DELETE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_delete(op, "k", &err)), KMS_OK);
	t_op_free(op);
	op = t_op(&d, VAULT, EVENT_KEY_PURGE);
	assert_int_equal(t_op_finish(op, keyring_purge(op, "k", &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

/* One try, ended as the API ends it. */
static kms_status attempt(const struct act *a, long nth, CK_RV rv, bool *ret_happened)
{
	struct op *op = t_op(&d, VAULT, a->type);
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;

	t_fail_call(nth, rv);
	status = a->run(op, &err);
	*ret_happened = t_fail_happened();
	t_fail_call(-1, CKR_OK);
	if (status != KMS_OK && err.status != status)
		fail_msg("%s: %s without a word", a->name, kms_status_name(status));
	kms_ignore(hsm_check(d.kms.hsm, NULL)); /* a device that was declared lost comes back */
	if (status != KMS_OK && op->undo != NULL)
		assert_int_equal(op->undo(op), KMS_OK);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void fail_each_call(const struct act *a, CK_RV rv)
{
	const size_t token_objects = objects(), secrets = secret_live();
	bool happened = true;
	long nth = 0;

	for (; happened; nth++) {
		kms_status status = attempt(a, nth, rv, &happened);
		if (!happened)
			assert_int_equal(status, KMS_OK);
		if (status != KMS_OK && a->makes)
			assert_false(made());
		if (status == KMS_OK && a->makes)
			unmake();
		nothing_is_open();
		assert_int_equal(secret_live(), secrets);
		if (objects() != token_objects)
			fail_msg("%s: call %ld left %zu objects instead of %zu", a->name, nth, objects(), token_objects);
	}
	if (nth - 1 < a->least_calls)
		fail_msg("%s: only %ld calls were made to fail", a->name, nth - 1);
}

static void a_device_that_fails_leaves_nothing_behind(void **state)
{
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ACTS); i++)
		fail_each_call(&ACTS[i], CKR_FUNCTION_FAILED);
}

static void a_device_that_is_lost_leaves_nothing_behind(void **state)
{
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ACTS); i++)
		fail_each_call(&ACTS[i], CKR_DEVICE_REMOVED);
}

/* ---- set-up ---- */

static void prepare_transfer(void)
{
	struct key_create req = { .type = KEY_RSA_HSM, .has_ops = true, .ops = KEY_OP_IMPORT, .is_enabled = true, .nbf_s = STORE_NO_TIME,
	                          .exp_s = STORE_NO_TIME };
	struct op *op = t_op(&d, VAULT, EVENT_KEY_CREATE);
	struct hsm_public pub = { 0 };
	struct t_material material;
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_create(op, "exchange", &req, &err)), KMS_OK);
	memcpy(pub.n, op->version.pub, pub.n_len = op->version.pub_len);
	memcpy(pub.e, op->version.e, pub.e_len = op->version.e_len);
	t_material_make(&material, HSM_KIND_P256, 0);
	t_transfer_make(&pub, &material, NULL, TRANSFER, &TRANSFER_LEN);
	t_material_clear(&material);
	TRANSFERRED = (struct key_import){ .jwk = { .type = KEY_EC_HSM, .crv = CURVE_P256 }, .transfer = TRANSFER,
	                                   .transfer_len = TRANSFER_LEN,
		                           .exchange_name = "exchange", .as = { .is_enabled = true, .nbf_s = STORE_NO_TIME,
		                                                                .exp_s = STORE_NO_TIME } };
	memcpy(TRANSFERRED.exchange_version, op->version.id, STORE_ID_LEN);
	t_op_free(op);
}

static void prepare_backup(void)
{
	uint8_t obj[HSM_ID_LEN];
	struct op *op = NULL;
	struct kms_err err = { 0 };

	t_key(&d, VAULT, "k", KEY_EC, obj);
	op = t_op(&d, VAULT, EVENT_KEY_BACKUP);
	assert_int_equal(t_op_finish(op, backup_make(op, "k", &BLOB, &BLOB_LEN, &err)), KMS_OK);
	t_op_free(op);
	unmake();
}

static int setup(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	EVP_PKEY *pkey = NULL;
	struct kms_err err = { 0 };

	(void)state;
	t_domain_open(&d);
	assert_int_equal(epoch_open(&d.kms, d.store->r, &err), KMS_OK);
	t_vault(&d, VAULT, false);
	t_key(&d, VAULT, "resident", KEY_EC_HSM, obj);
	t_key(&d, VAULT, "wrapped", KEY_EC, obj);
	pkey = sw_ec(CURVE_P256);
	sw_jwk(pkey, KEY_EC, CURVE_P256, &JWK);
	EVP_PKEY_free(pkey);
	prepare_transfer();
	prepare_backup();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(BLOB);
	sw_jwk_clear(&JWK);
	t_domain_close(&d);
	return secret_live() == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_that_fails_leaves_nothing_behind),
		cmocka_unit_test(a_device_that_is_lost_leaves_nothing_behind),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
