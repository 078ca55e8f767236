/* tests/unit/core_root.c - root rotation on a real token and database: every key works on, whatever interrupts it; the old root is gone and nothing that was made under it
 * comes back; and what is begun in between is decided anew, never lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/backup.h"
#include "server/core/certificate.h"
#include "server/core/epoch.h"
#include "server/core/root.h"
#include "tests/support/approvals.h"
#include "tests/support/crypto_rig.h"
#include "tests/support/hsm_rig.h"

static struct t_domain d;

static int up(void **state)
{
	struct kms_err err = { 0 };

	(void)state;
	t_domain_open(&d);
	assert_int_equal(epoch_open(&d.kms, d.store->r, &err), KMS_OK);
	rig_vault(&d);
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_domain_close(&d);
	return 0;
}

static struct store_vault vault_now(const char *name)
{
	struct store_vault v;

	assert_int_equal(store_vault_by_name(d.store->r, name, &v, NULL), KMS_OK);
	return v;
}

static bool has_object(const uint8_t id[STORE_ID_LEN]) { return t_object_exists(&d, id); }

/* What the request does; KMS_E_APPROVAL the first time. */
static kms_status ask(const char *vault, struct kms_err *ret_err)
{
	struct op *op = t_op(&d, vault, EVENT_TENANT_ROTATE_ROOT);
	kms_status status = KMS_OK;

	*ret_err = (struct kms_err){ 0 };
	status = root_rotate(op, "it is time", ret_err);
	assert_int_equal(op->goes_on, status == KMS_OK);
	if (status != KMS_OK)
		assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void begin(const char *vault, const struct t_person *approver)
{
	uint8_t id[STORE_ID_LEN];
	struct kms_err err;

	assert_int_equal(ask(vault, &err), KMS_E_APPROVAL);
	assert_true(t_open_request(&d, vault, id));
	assert_int_equal(t_vote(&d, approver, vault, id, true, &err), KMS_OK);
	assert_int_equal(ask(vault, &err), KMS_OK);
}

/* What the lane does. */
static struct recovery_count go_on(void)
{
	struct recovery_count count = { 0 };
	struct kms_err err = { 0 };

	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_TYPE(EVENT_TENANT_ROTATE_ROOT) | RECOVER_TYPE(EVENT_KEY_DESTROY), &count, &err), KMS_OK);
	return count;
}

static void finish(void)
{
	struct recovery_count count = go_on();

	if (count.left_open != 0)
		fail_msg("left open: %s %s", kms_err_text(&count.last_failure), count.last_failure.detail);
	assert_int_equal(count.rotated, 1);
}

static size_t open_intents(void)
{
	struct store_intent page[8];
	size_t count = 0;

	assert_int_equal(store_intents(d.store->r, UINT64_MAX, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
	return count;
}

/* The old root is gone and has a tombstone; all that is wrapped is wrapped under the new one. */
static void has_moved(const struct store_vault *before)
{
	struct store_vault now = vault_now(before->name);
	struct store_tombstone t = { 0 };
	uint8_t obj[1][STORE_ID_LEN];
	size_t count = 1;

	assert_memory_not_equal(now.root_id, before->root_id, STORE_ID_LEN);
	assert_memory_not_equal(now.canary_wrapped, before->canary_wrapped, before->canary_wrapped_len);
	assert_memory_equal(vault_wrapping_root(&now), now.root_id, STORE_ID_LEN);
	assert_false(has_object(before->root_id));
	assert_true(has_object(now.root_id));
	assert_int_equal(store_tombstone(d.store->r, before->root_id, &t, NULL), KMS_OK);
	assert_int_equal(t.kind, STORE_TOMBSTONE_ROOT);
	assert_int_equal(store_wrapped_under(d.store->r, now.id, before->root_id, NULL, obj, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(open_intents(), 0);
}

static kms_status sign_in(const char *vault, const char *key, struct kms_err *ret_err)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_SIGN);
	SECRET_AUTO *digest = secret_new(32);
	const struct crypto_input in = { .alg = ALG_ES256, .value = digest };
	struct crypto_output out = { 0 };
	kms_status status = KMS_OK, written = KMS_OK;

	*ret_err = (struct kms_err){ 0 };
	memset(secret_bytes(digest), 7, 32);
	status = crypto_use(op, key, NULL, KEY_OP_SIGN, &in, &out, ret_err);
	written = t_op_finish(op, status);
	crypto_output_clear(&out);
	t_op_free(op);
	return status != KMS_OK ? status : written;
}

static void works(const char *vault, const char *key)
{
	struct kms_err err;

	if (sign_in(vault, key, &err) != KMS_OK)
		fail_msg("%s/%s: %s %s", vault, key, kms_err_text(&err), err.detail);
}

/* ---- every type ---- */

static const struct shape {
	const char *name;
	enum key_type type;
	uint16_t bits;
	enum key_curve crv;
	uint32_t ops;
	enum key_op makes, undoes;
	enum key_alg alg;
} SHAPES[] = {
	{ "rsa", KEY_RSA, 2048, CURVE_NONE, 0, KEY_OP_WRAP, KEY_OP_UNWRAP, ALG_RSA_OAEP_256 },
	{ "oct", KEY_OCT, 256, CURVE_NONE, RIG_OPS_AES, KEY_OP_WRAP, KEY_OP_UNWRAP, ALG_A256KW },
	{ "oct-128", KEY_OCT, 128, CURVE_NONE, RIG_OPS_AES, KEY_OP_WRAP, KEY_OP_UNWRAP, ALG_A128KW },
	{ "oct-hsm", KEY_OCT_HSM, 256, CURVE_NONE, 0, KEY_OP_WRAP, KEY_OP_UNWRAP, ALG_A256KW },
	{ "mac", KEY_OCT, 512, CURVE_NONE, RIG_OPS_SIGN, KEY_OP_SIGN, KEY_OP_VERIFY, ALG_HS512 },
	{ "p256", KEY_EC, 0, CURVE_P256, 0, KEY_OP_SIGN, KEY_OP_VERIFY, ALG_ES256 },
	{ "p384", KEY_EC, 0, CURVE_P384, 0, KEY_OP_SIGN, KEY_OP_VERIFY, ALG_ES384 },
	{ "p521", KEY_EC, 0, CURVE_P521, 0, KEY_OP_SIGN, KEY_OP_VERIFY, ALG_ES512 },
	{ "p256k", KEY_EC, 0, CURVE_P256K, 0, KEY_OP_SIGN, KEY_OP_VERIFY, ALG_ES256K },
};

static size_t input_len(enum key_alg alg)
{
	size_t digest = key_alg_info(alg)->digest_len;
	return digest != 0 ? digest : 32;
}

static void make(const struct shape *s, struct crypto_output *ret)
{
	SECRET_AUTO *value = secret_new(input_len(s->alg));
	const struct crypto_input in = { .alg = s->alg, .value = value };
	struct kms_err err;

	memset(secret_bytes(value), 9, secret_len(value));
	if (rig_use(&d, s->name, s->makes, &in, ret, &err) != KMS_OK)
		fail_msg("%s: %s %s", s->name, kms_err_text(&err), err.detail);
}

static void undo(const struct shape *s, const struct crypto_output *made)
{
	const struct crypto_input in = { .alg = s->alg, .value = made->value };
	struct crypto_output out = { 0 };
	uint8_t value[64];
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;
	bool is_valid = false;

	memset(value, 9, sizeof(value));
	if (s->undoes == KEY_OP_VERIFY) {
		status = rig_verify(&d, s->name, s->alg, value, input_len(s->alg), secret_data(made->value), secret_len(made->value), &is_valid, &err);
	} else {
		status = rig_use(&d, s->name, s->undoes, &in, &out, &err);
		is_valid = status == KMS_OK && secret_len(out.value) == 32 && memcmp(secret_data(out.value), value, 32) == 0;
		crypto_output_clear(&out);
	}
	if (status != KMS_OK || !is_valid)
		fail_msg("%s: %s %s", s->name, kms_err_text(&err), err.detail);
}

static void keys_of_every_type_work_on_and_what_they_made_can_be_read(void **state)
{
	struct t_person approver = t_person(&d, RIG_VAULT, "agrees", ROLE_APPROVER);
	struct crypto_output before[KMS_ARRAY_LEN(SHAPES)], after = { 0 };
	struct store_vault old = vault_now(RIG_VAULT);

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(SHAPES); i++) {
		rig_create(&d, SHAPES[i].name, SHAPES[i].type, SHAPES[i].bits, SHAPES[i].crv, SHAPES[i].ops);
		make(&SHAPES[i], &before[i]); /* loads it under the old root */
	}
	begin(RIG_VAULT, &approver);
	finish();
	has_moved(&old);
	for (size_t i = 0; i < KMS_ARRAY_LEN(SHAPES); i++) {
		undo(&SHAPES[i], &before[i]);
		make(&SHAPES[i], &after);
		undo(&SHAPES[i], &after);
		crypto_output_clear(&before[i]);
		crypto_output_clear(&after);
	}
}

/* ---- interrupted ---- */

static void whatever_interrupts_it_it_goes_on_after_the_next_start(void **state)
{
	static const char *const CALLS[] = { "C_GenerateKey", "C_WrapKey", "C_DestroyObject" };
	struct t_person approver;
	uint8_t obj[STORE_ID_LEN];

	(void)state;
	t_vault(&d, "interrupted", false);
	approver = t_person(&d, "interrupted", "agrees", ROLE_APPROVER);
	t_key(&d, "interrupted", "k", KEY_EC, obj);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CALLS); i++) {
		struct store_vault old = vault_now("interrupted");
		struct kms_err err;

		begin("interrupted", &approver);
		assert_int_equal(ask("interrupted", &err), KMS_E_CONFLICT); /* one at a time, from its first moment */
		t_fail_named(CALLS[i], CKR_DEVICE_ERROR);
		assert_true(go_on().left_open > 0);
		assert_true(t_fail_happened());
		t_fail_named(NULL, CKR_OK);
		assert_int_equal(hsm_check(d.kms.hsm, &err), KMS_OK);
		works("interrupted", "k");
		t_domain_restart(&d);
		finish();
		has_moved(&old);
		works("interrupted", "k");
	}
}

static void a_version_that_cannot_be_rewrapped_keeps_the_old_root_alive(void **state)
{
	const atomic_bool is_stopping = true;
	struct store_change spoil = { .kind = STORE_VERSION_REWRAP };
	STORE_VERSION_AUTO v = { 0 };
	struct t_person approver;
	struct store_vault old;
	uint8_t obj[STORE_ID_LEN];
	struct recovery_count count;

	(void)state;
	t_vault(&d, "damaged", false);
	approver = t_person(&d, "damaged", "agrees", ROLE_APPROVER);
	t_key(&d, "damaged", "good", KEY_EC, obj);
	t_key(&d, "damaged", "bad", KEY_EC, obj);
	old = vault_now("damaged");
	assert_int_equal(store_version_of_object(d.store->r, obj, &v, NULL), KMS_OK);
	v.wrapped[20] ^= 1;
	spoil.version = v;
	t_change(&d, &spoil, 1);
	begin("damaged", &approver);
	d.kms.is_stopping = &is_stopping; /* a server that stops waits for no rotation */
	count = go_on();
	d.kms.is_stopping = NULL;
	assert_int_equal(count.left_open, 1);
	assert_int_equal(count.last_failure.status, KMS_E_SHUTDOWN);
	count = go_on();
	assert_int_equal(count.left_open, 1);
	assert_non_null(strstr(count.last_failure.detail, "cannot be rewrapped"));
	assert_true(has_object(old.root_id));
	works("damaged", "good");
	v.wrapped[20] ^= 1; /* the disk's error is mended */
	t_change(&d, &spoil, 1);
	finish();
	has_moved(&old);
	works("damaged", "bad");
}

/* ---- meanwhile ---- */

/* Up to where versions are rewrapped, and not further. */
static void stop_half_way(const char *vault)
{
	struct kms_err err;

	t_fail_named("C_UnwrapKey", CKR_DEVICE_ERROR);
	assert_int_equal(go_on().left_open, 1);
	t_fail_named(NULL, CKR_OK);
	assert_int_equal(hsm_check(d.kms.hsm, &err), KMS_OK);
	assert_memory_not_equal(vault_now(vault).next_root_id, (uint8_t[STORE_ID_LEN]){ 0 }, STORE_ID_LEN);
}

static void what_is_made_meanwhile_is_made_under_the_new_root(void **state)
{
	struct key_create req = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct kms_err err = { 0 };
	struct t_person approver;
	struct store_vault old;
	uint8_t obj[STORE_ID_LEN];
	struct op *early = NULL;

	(void)state;
	t_vault(&d, "meanwhile", false);
	approver = t_person(&d, "meanwhile", "agrees", ROLE_APPROVER);
	t_key(&d, "meanwhile", "before", KEY_EC, obj);
	old = vault_now("meanwhile");
	begin("meanwhile", &approver);
	early = t_op(&d, "meanwhile", EVENT_KEY_CREATE);
	assert_int_equal(keyring_create(early, "early", &req, &err), KMS_OK); /* wrapped under the old root, and not written yet */
	stop_half_way("meanwhile");
	assert_int_equal(t_op_finish(early, KMS_OK), KMS_E_FENCED);
	early->write.has_fence = false;
	assert_int_equal(t_op_finish(early, KMS_E_FENCED), KMS_OK); /* as the API does, and then from the beginning */
	t_op_free(early);
	t_key(&d, "meanwhile", "during", KEY_EC, obj);
	{
		STORE_VERSION_AUTO v = { 0 };
		assert_int_equal(store_version_of_object(d.store->r, obj, &v, NULL), KMS_OK);
		assert_memory_equal(v.root_id, vault_now("meanwhile").next_root_id, STORE_ID_LEN);
	}
	works("meanwhile", "before");
	works("meanwhile", "during");
	finish();
	has_moved(&old);
	works("meanwhile", "before");
	works("meanwhile", "during");
}

static void act(const char *vault, enum event_type type, kms_status (*does)(struct op *op, const char *name, struct kms_err *err), const char *name)
{
	struct op *op = t_op(&d, vault, type);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, does(op, name, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static void a_deleted_key_can_be_recovered_and_a_purged_one_is_in_nobody_s_way(void **state)
{
	struct t_person approver;
	struct store_vault old;
	uint8_t obj[STORE_ID_LEN];

	(void)state;
	t_vault(&d, "deleting", false);
	approver = t_person(&d, "deleting", "agrees", ROLE_APPROVER);
	t_key(&d, "deleting", "back", KEY_EC, obj);
	t_key(&d, "deleting", "gone", KEY_EC, obj);
	act("deleting", EVENT_KEY_DELETE, keyring_delete, "back");
	act("deleting", EVENT_KEY_DELETE, keyring_delete, "gone");
	old = vault_now("deleting");
	begin("deleting", &approver);
	stop_half_way("deleting");
	act("deleting", EVENT_KEY_PURGE, keyring_purge, "gone");
	finish();
	has_moved(&old);
	act("deleting", EVENT_KEY_RECOVER, keyring_recover, "back");
	works("deleting", "back");
}

static void an_operation_that_has_lost_its_root_is_told_from_any_other_failure(void **state)
{
	uint8_t digest[32] = { 1 }, signature[HSM_SIGNATURE_MAX], obj[STORE_ID_LEN];
	struct kms_err err = { 0 };
	struct t_person approver;
	struct hsm_key key = { 0 };
	struct op *op = NULL;
	size_t len = 0;

	(void)state;
	t_vault(&d, "overtaken", false);
	approver = t_person(&d, "overtaken", "agrees", ROLE_APPROVER);
	t_key(&d, "overtaken", "k", KEY_EC, obj);
	op = t_op(&d, "overtaken", EVENT_KEY_SIGN);
	assert_int_equal(keyring_find(op, "k", NULL, false, &err), KMS_OK);
	key_to_hsm(&op->version, ALG_ES256, &key);
	assert_false(root_was_replaced(op, KMS_E_NOTFOUND));
	begin("overtaken", &approver);
	finish();
	assert_int_equal(hsm_sign(d.kms.hsm, &key, HSM_SIGN_ECDSA, digest, sizeof(digest), signature, &len, &err), KMS_E_NOTFOUND);
	assert_true(root_was_replaced(op, KMS_E_NOTFOUND));
	assert_false(root_was_replaced(op, KMS_E_CRYPTO)); /* the caller's own doing */
	t_op_free(op);
	works("overtaken", "k");
}

/* ---- refused, and ended ---- */

static void a_vault_that_is_locked_or_gone_has_no_rotation(void **state)
{
	struct store_change lock = { .kind = STORE_VAULT_LOCK };
	struct kms_err err;

	(void)state;
	t_vault(&d, "closed", false);
	lock.vault = vault_now("closed");
	lock.vault.is_locked = true;
	t_change(&d, &lock, 1);
	assert_int_equal(ask("closed", &err), KMS_E_VAULT_LOCKED);
	lock.vault.is_locked = false;
	t_change(&d, &lock, 1);
	assert_int_equal(ask("closed", &err), KMS_E_APPROVAL);
	(void)t_shred(&d, "closed", "over");
	assert_int_equal(ask("closed", &err), KMS_E_VAULT_SHREDDED);
}

static void a_shred_in_the_middle_destroys_both_roots_and_ends_it(void **state)
{
	struct t_person approver;
	struct store_vault half;
	uint8_t obj[STORE_ID_LEN];

	(void)state;
	t_vault(&d, "ended", false);
	approver = t_person(&d, "ended", "agrees", ROLE_APPROVER);
	t_key(&d, "ended", "k", KEY_EC, obj);
	begin("ended", &approver);
	stop_half_way("ended");
	half = vault_now("ended");
	assert_true(has_object(half.root_id) && has_object(half.next_root_id));
	(void)t_shred(&d, "ended", "over");
	assert_false(has_object(half.root_id) || has_object(half.next_root_id));
	finish();
	assert_int_equal(open_intents(), 0);
	assert_false(has_object(half.root_id) || has_object(half.next_root_id));
}

static void a_backup_from_under_the_old_root_is_refused_with_the_reason(void **state)
{
	struct kms_err err = { 0 };
	struct t_person approver;
	uint8_t obj[STORE_ID_LEN], *blob = NULL;
	struct op *op = NULL;
	size_t len = 0;

	(void)state;
	t_vault(&d, "backed-up", false);
	approver = t_person(&d, "backed-up", "agrees", ROLE_APPROVER);
	t_key(&d, "backed-up", "k", KEY_EC, obj);
	op = t_op(&d, "backed-up", EVENT_KEY_BACKUP);
	assert_int_equal(t_op_finish(op, backup_make(op, "k", &blob, &len, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
	begin("backed-up", &approver);
	stop_half_way("backed-up");
	op = t_op(&d, "backed-up", EVENT_KEY_RESTORE);
	assert_int_equal(backup_restore(op, blob, len, &err), KMS_E_CONFLICT);
	t_op_free(op);
	finish();
	err = (struct kms_err){ 0 };
	op = t_op(&d, "backed-up", EVENT_KEY_RESTORE);
	assert_int_equal(backup_restore(op, blob, len, &err), KMS_E_BACKUP);
	assert_non_null(strstr(kms_err_text(&err), "root key has been replaced"));
	t_op_free(op);
	free(blob);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_of_every_type_work_on_and_what_they_made_can_be_read),
		cmocka_unit_test(whatever_interrupts_it_it_goes_on_after_the_next_start),
		cmocka_unit_test(a_version_that_cannot_be_rewrapped_keeps_the_old_root_alive),
		cmocka_unit_test(what_is_made_meanwhile_is_made_under_the_new_root),
		cmocka_unit_test(a_deleted_key_can_be_recovered_and_a_purged_one_is_in_nobody_s_way),
		cmocka_unit_test(an_operation_that_has_lost_its_root_is_told_from_any_other_failure),
		cmocka_unit_test(a_vault_that_is_locked_or_gone_has_no_rotation),
		cmocka_unit_test(a_shred_in_the_middle_destroys_both_roots_and_ends_it),
		cmocka_unit_test(a_backup_from_under_the_old_root_is_refused_with_the_reason),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, up, down);
}
