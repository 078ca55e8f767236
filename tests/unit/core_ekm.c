/* tests/unit/core_ekm.c - external key ids: bound once and for ever, of one pool only, and the use of keys under them (ekm-proxy.md); on a real token
 * and database, against OpenSSL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "server/core/access.h"
#include "server/core/principal.h"
#include "tests/support/approvals.h"
#include "tests/support/ekm_rig.h"
#include "tests/support/software.h"

#define DAY_S 86400
#define VAULT "keys"

static struct t_domain d;
static struct rig_pool pool; /* of VAULT, which has the keys "aes" (bytes 0, 1, 2 ...), "rsa" (RSA) and "big" (RSA-HSM 3072) */
static EVP_PKEY *RSA_KEY;
static uint8_t data[HSM_WRAP_MAX + 64];
static struct kms_err err;

/* ---- helpers ---- */

static const char *fresh_id(void)
{
	static char id[STORE_EXTERNAL_ID_MAX + 1];
	static unsigned n;

	(void)snprintf(id, sizeof(id), "id-%u", n++);
	return id;
}

static void import(const char *vault, const char *name, const struct jwk *jwk)
{
	struct key_import req = { .jwk = *jwk, .as = { .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME } };
	struct op *op = t_op(&d, vault, EVENT_KEY_IMPORT);

	err = (struct kms_err){ 0 };
	assert_int_equal(t_op_finish(op, keyring_import(op, name, &req, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static void create(const char *vault, const char *name, enum key_type type, uint16_t bits, enum key_curve crv, uint32_t ops)
{
	struct key_create req = { .type = type, .bits = bits, .crv = crv, .has_ops = ops != 0, .ops = ops, .is_enabled = true,
		                  .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct op *op = t_op(&d, vault, EVENT_KEY_CREATE);

	err = (struct kms_err){ 0 };
	assert_int_equal(t_op_finish(op, keyring_create(op, name, &req, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static void update(const char *vault, const char *name, const struct key_update *change)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_UPDATE);

	err = (struct kms_err){ 0 };
	assert_int_equal(t_op_finish(op, keyring_update(op, name, NULL, change, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static void delete_key(const char *vault, const char *name)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_DELETE);

	err = (struct kms_err){ 0 };
	assert_int_equal(t_op_finish(op, keyring_delete(op, name, &err)), KMS_OK);
	t_op_free(op);
}

static kms_status purge(const char *vault, const char *name)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_PURGE);
	kms_status status;

	err = (struct kms_err){ 0 };
	status = keyring_purge(op, name, &err);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void published(const struct rig_pool *p, const char *key, const char *id)
{
	if (rig_publish(&d, p, key, NULL, id, NULL, &err) != KMS_OK)
		fail_msg("%s as %s: %s", key, id, kms_err_text(&err));
}

static kms_status wrap_of(const struct rig_pool *p, const char *id, enum key_alg alg)
{
	CRYPTO_OUTPUT_AUTO out = { 0 };
	return rig_ekm_use(&d, p, id, KEY_OP_WRAP, alg, data, 32, &out, &err);
}

/* A use that must succeed; the length of what comes back. */
static size_t transform(const char *id, enum key_op use, enum key_alg alg, const uint8_t *value, size_t len, uint8_t *ret)
{
	CRYPTO_OUTPUT_AUTO out = { 0 };

	if (rig_ekm_use(&d, &pool, id, use, alg, value, len, &out, &err) != KMS_OK)
		fail_msg("%zu bytes: %s (%s)", len, err.detail, kms_err_text(&err));
	if (out.value == NULL)
		return 0;
	memcpy(ret, secret_data(out.value), secret_len(out.value));
	return secret_len(out.value);
}

static struct store_external stored(const struct rig_pool *p, const char *id)
{
	struct store_external e = { 0 };
	assert_int_equal(store_external(d.store->r, p->caller.principal_id, id, &e, NULL), KMS_OK);
	return e;
}

/* ---- publishing ---- */

static void a_published_key_shows_its_metadata(void **state)
{
	struct ekm_metadata m = { 0 };
	struct store_external e = { 0 };
	struct op *op = NULL;

	(void)state;
	assert_int_equal(rig_publish(&d, &pool, "rsa", NULL, "", &e, &err), KMS_OK);
	assert_int_equal(strlen(e.id), 32);
	assert_int_equal(strspn(e.id, "0123456789abcdef"), 32);
	assert_string_equal(e.key_name, "rsa");
	assert_int_equal(e.uses, 0);
	assert_true(e.retired_s == STORE_NO_TIME && e.last_used_s == STORE_NO_TIME);
	op = rig_pool_op(&d, &pool, EVENT_EKM_METADATA);
	assert_int_equal(op_open(op, NULL, &err), KMS_OK);
	assert_int_equal(ekm_metadata(op, e.id, &m, &err), KMS_OK);
	assert_true(m.is_rsa);
	assert_int_equal(m.bits, 2048);
	assert_int_equal(op->version.pub_len, 256);
	assert_int_equal(op->version.e_len, 3);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	assert_true(t_leaf_says(&d, op->write.seq, "\"key\":{\"name\":\"rsa\""));
	t_op_free(op);

	published(&pool, "aes", "The-AES-key");
	assert_int_equal(rig_ekm_metadata(&d, &pool, "The-AES-key", &m, &err), KMS_OK);
	assert_false(m.is_rsa);
	assert_int_equal(m.bits, 256);
	published(&pool, "big", "big");
	assert_int_equal(rig_ekm_metadata(&d, &pool, "big", &m, &err), KMS_OK);
	assert_int_equal(m.bits, 3072);
	assert_int_equal(stored(&pool, "big").uses, 0); /* reading is no use */
}

static void only_what_ekm_serves_is_published(void **state)
{
	static const char *const IDS[] = { "under_score", "a/b", "\xc3\xa9", "a b", "0123456789012345678901234567890123456789012345678901234567890123x" };

	(void)state;
	create(VAULT, "short", KEY_OCT, 128, CURVE_NONE, KEY_OP_WRAP | KEY_OP_UNWRAP);
	create(VAULT, "curve", KEY_EC, 0, CURVE_P256, 0);
	create(VAULT, "mac", KEY_OCT_HSM, 256, CURVE_NONE, KEY_OP_SIGN | KEY_OP_VERIFY);
	create(VAULT, "wraps", KEY_OCT, 256, CURVE_NONE, KEY_OP_WRAP);
	assert_int_equal(rig_publish(&d, &pool, "short", NULL, NULL, NULL, &err), KMS_E_INVALID);
	assert_string_equal(err.message, "key: external key management serves RSA keys, and oct keys of 256 bits only.");
	assert_int_equal(rig_publish(&d, &pool, "curve", NULL, NULL, NULL, &err), KMS_E_INVALID);
	assert_int_equal(rig_publish(&d, &pool, "mac", NULL, NULL, NULL, &err), KMS_E_INVALID);
	assert_int_equal(rig_publish(&d, &pool, "wraps", NULL, NULL, NULL, &err), KMS_E_INVALID);
	assert_string_equal(err.message, "key: its key_ops must contain wrapKey and unwrapKey.");
	assert_int_equal(rig_publish(&d, &pool, "absent", NULL, NULL, NULL, &err), KMS_E_KEY_NOTFOUND);
	assert_int_equal(rig_publish(&d, &pool, "aes", data, NULL, NULL, &err), KMS_E_KEY_NOTFOUND); /* no such version */
	for (size_t i = 0; i < KMS_ARRAY_LEN(IDS); i++) {
		assert_int_equal(rig_publish(&d, &pool, "aes", NULL, IDS[i], NULL, &err), KMS_E_INVALID);
		assert_string_equal(err.message, "external_id: 1 to 64 characters of [0-9A-Za-z-].");
		assert_int_equal(wrap_of(&pool, IDS[i], ALG_A256KW), KMS_E_KEY_NOTFOUND);
	}
	published(&pool, "aes", "0123456789012345678901234567890123456789012345678901234567890123");
	assert_int_equal(wrap_of(&pool, "0123456789012345678901234567890123456789012345678901234567890123", ALG_A256KW), KMS_OK);
	assert_int_equal(wrap_of(&pool, "", ALG_A256KW), KMS_E_KEY_NOTFOUND);
}

static void an_id_is_bound_once_and_for_ever(void **state)
{
	struct store_external e = { 0 }, again = { 0 };
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_key(&d, VAULT, "bound", KEY_OCT_HSM, obj);
	t_key(&d, VAULT, "other", KEY_OCT_HSM, obj);
	published(&pool, "bound", "forever");
	e = stored(&pool, "forever");
	assert_int_equal(wrap_of(&pool, "forever", ALG_A256KW), KMS_OK);
	published(&pool, "bound", "forever"); /* the same again is no change */
	assert_int_equal(rig_publish(&d, &pool, "other", NULL, "forever", NULL, &err), KMS_E_CONFLICT);
	assert_non_null(strstr(err.message, "external_id: forever is bound to version "));
	assert_non_null(strstr(err.message, " of key bound for ever; choose another id."));
	published(&pool, "other", "Forever"); /* case counts */

	/* A new version is another key; the id stays with the old one. */
	create(VAULT, "bound", KEY_OCT_HSM, 256, CURVE_NONE, 0);
	assert_int_equal(rig_publish(&d, &pool, "bound", NULL, "forever", NULL, &err), KMS_E_CONFLICT);
	assert_int_equal(rig_publish(&d, &pool, "bound", e.version_id, "second-name", NULL, &err), KMS_OK);
	published(&pool, "bound", "newer");
	assert_memory_not_equal(stored(&pool, "newer").version_id, e.version_id, STORE_ID_LEN);
	assert_memory_equal(stored(&pool, "second-name").version_id, e.version_id, STORE_ID_LEN);

	/* Retired: unknown to the pool, and still bound. Back again with its history. */
	assert_int_equal(rig_retire(&d, &pool, "forever", &err), KMS_OK);
	assert_int_equal(rig_retire(&d, &pool, "forever", &err), KMS_E_NOTFOUND);
	assert_int_equal(wrap_of(&pool, "forever", ALG_A256KW), KMS_E_KEY_NOTFOUND);
	assert_int_equal(rig_publish(&d, &pool, "other", NULL, "forever", NULL, &err), KMS_E_CONFLICT);
	assert_int_equal(rig_publish(&d, &pool, "bound", NULL, "forever", &again, &err), KMS_OK);
	assert_memory_equal(again.version_id, e.version_id, STORE_ID_LEN); /* not the latest */
	assert_int_equal(rig_publish(&d, &pool, "bound", e.version_id, "forever", &e, &err), KMS_OK);
	assert_int_equal(e.uses, 1);
	assert_true(e.retired_s == STORE_NO_TIME);
	assert_int_equal(wrap_of(&pool, "forever", ALG_A256KW), KMS_OK);
	assert_int_equal(stored(&pool, "forever").uses, 2);
}

static void data_wrapped_before_a_rotation_unwraps_under_its_own_id(void **state)
{
	uint8_t wrapped[64], back[64];

	(void)state;
	create(VAULT, "turning", KEY_OCT, 256, CURVE_NONE, 0);
	published(&pool, "turning", "turn-1");
	assert_int_equal(transform("turn-1", KEY_OP_WRAP, ALG_A256KW, data, 32, wrapped), 40);
	create(VAULT, "turning", KEY_OCT, 256, CURVE_NONE, 0);
	published(&pool, "turning", "turn-2");
	assert_int_equal(transform("turn-1", KEY_OP_UNWRAP, ALG_A256KW, wrapped, 40, back), 32);
	assert_memory_equal(back, data, 32);
	transform("turn-2", KEY_OP_WRAP, ALG_A256KW, data, 32, back);
	assert_memory_not_equal(back, wrapped, 40);
}

static void a_key_made_again_under_the_same_name_is_not_the_one_that_was_published(void **state)
{
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_key(&d, VAULT, "again", KEY_OCT_HSM, obj);
	published(&pool, "again", "again-1");
	assert_int_equal(rig_retire(&d, &pool, "again-1", &err), KMS_OK);
	delete_key(VAULT, "again");
	assert_int_equal(rig_publish(&d, &pool, "again", NULL, "again-1", NULL, &err), KMS_E_KEY_NOTFOUND);
	assert_int_equal(purge(VAULT, "again"), KMS_OK);
	t_key(&d, VAULT, "again", KEY_OCT_HSM, obj);
	assert_int_equal(rig_publish(&d, &pool, "again", NULL, "again-1", NULL, &err), KMS_E_CONFLICT);
	assert_int_equal(wrap_of(&pool, "again-1", ALG_A256KW), KMS_E_KEY_NOTFOUND);
}

static void a_deleted_key_is_not_found_until_it_is_recovered(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct op *op = NULL;

	(void)state;
	t_key(&d, VAULT, "lost", KEY_OCT_HSM, obj);
	published(&pool, "lost", "lost-1");
	delete_key(VAULT, "lost");
	assert_int_equal(wrap_of(&pool, "lost-1", ALG_A256KW), KMS_E_KEY_NOTFOUND);
	assert_string_equal(err.message, "No key with this identifier is available."); /* as for every other */
	op = t_op(&d, VAULT, EVENT_KEY_RECOVER);
	assert_int_equal(t_op_finish(op, keyring_recover(op, "lost", &err)), KMS_OK);
	t_op_free(op);
	assert_int_equal(wrap_of(&pool, "lost-1", ALG_A256KW), KMS_OK);
}

static void a_key_is_not_destroyed_while_an_id_is_in_use(void **state)
{
	uint8_t obj[HSM_ID_LEN], plain[HSM_ID_LEN];
	size_t count = 9;

	(void)state;
	t_key(&d, VAULT, "held", KEY_OCT_HSM, obj);
	t_key(&d, VAULT, "free", KEY_OCT_HSM, plain);
	published(&pool, "held", "held-1");
	published(&pool, "held", "held-2");
	delete_key(VAULT, "held");
	t_domain_pass(1);
	delete_key(VAULT, "free");
	assert_int_equal(purge(VAULT, "held"), KMS_E_POLICY);
	assert_non_null(strstr(err.message, "external key id held-"));
	assert_true(t_object_exists(&d, obj));

	/* The end of the retention destroys what waits behind it, but not the key. */
	t_domain_pass((int64_t)(RETENTION_DAYS_MIN + 1) * DAY_S);
	err = (struct kms_err){ 0 };
	assert_int_equal(keyring_purge_due(&d.kms, d.store->r, &count, &err), KMS_OK);
	assert_int_equal(count, 1);
	assert_true(t_object_exists(&d, obj));
	assert_false(t_object_exists(&d, plain));
	assert_int_equal(rig_retire(&d, &pool, "held-1", &err), KMS_OK);
	assert_int_equal(purge(VAULT, "held"), KMS_E_POLICY);
	assert_int_equal(rig_retire(&d, &pool, "held-2", &err), KMS_OK);
	assert_int_equal(keyring_purge_due(&d.kms, d.store->r, &count, &err), KMS_OK);
	assert_int_equal(count, 1);
	assert_false(t_object_exists(&d, obj));
}

static void pools_never_meet(void **state)
{
	struct rig_pool second, other;
	uint8_t obj[HSM_ID_LEN], wrapped[64];
	CRYPTO_OUTPUT_AUTO out = { 0 };

	(void)state;
	t_vault(&d, "elsewhere", false);
	t_key(&d, "elsewhere", "aes", KEY_OCT_HSM, obj);
	other = rig_pool(&d, "elsewhere", "hsm", "elsewhere.example"); /* another vault: same names of pool, key and id */
	second = rig_pool(&d, VAULT, "hsm-2", "second.example");       /* another pool of the same vault */
	published(&pool, "aes", "shared");
	assert_int_equal(wrap_of(&second, "shared", ALG_A256KW), KMS_E_KEY_NOTFOUND);
	assert_int_equal(wrap_of(&other, "shared", ALG_A256KW), KMS_E_KEY_NOTFOUND);
	assert_int_equal(rig_retire(&d, &second, "shared", &err), KMS_E_NOTFOUND);
	published(&other, "aes", "shared");
	published(&second, "rsa", "shared");

	assert_int_equal(transform("shared", KEY_OP_WRAP, ALG_A256KW, data + 50, 32, wrapped), 40);
	assert_int_equal(rig_ekm_use(&d, &other, "shared", KEY_OP_UNWRAP, ALG_A256KW, wrapped, 40, &out, &err), KMS_E_CRYPTO);
	assert_int_equal(rig_ekm_use(&d, &second, "shared", KEY_OP_UNWRAP, ALG_A256KW, wrapped, 40, &out, &err), KMS_E_INVALID); /* an RSA key */
	assert_int_equal(rig_retire(&d, &pool, "shared", &err), KMS_OK);
	assert_int_equal(wrap_of(&other, "shared", ALG_A256KW), KMS_OK);
	assert_int_equal(wrap_of(&second, "shared", ALG_RSA_OAEP), KMS_OK);

	/* Nor can an administrator of one vault publish to, or retire from, a pool of another. */
	second = other;
	memcpy(second.vault, VAULT, sizeof(VAULT));
	assert_int_equal(rig_publish(&d, &second, "aes", NULL, "crossed", NULL, &err), KMS_E_NOTFOUND);
	assert_int_equal(rig_retire(&d, &second, "shared", &err), KMS_E_NOTFOUND);
	/* Nor does a pool reach its own ids in the directory of another vault. */
	second = other;
	memcpy(second.caller.directory, pool.caller.directory, STORE_ID_LEN);
	assert_int_equal(wrap_of(&second, "shared", ALG_A256KW), KMS_E_UNAUTHENTICATED);
}

/* ---- use ---- */

static void the_four_algorithms_have_ekms_names(void **state)
{
	static const enum key_alg ALGS[] = { ALG_A256KW, ALG_CKM_KWP, ALG_RSA_OAEP_256, ALG_RSA_OAEP };

	(void)state;
	for (unsigned i = 0; i < KMS_ARRAY_LEN(ALGS); i++)
		assert_int_equal(ekm_alg_parse(ekm_alg_name_at(i)), ALGS[i]);
	assert_null(ekm_alg_name_at(KMS_ARRAY_LEN(ALGS)));
	assert_int_equal(ekm_alg_parse("A256KWP"), ALG_CKM_KWP);
	assert_int_equal(ekm_alg_parse("CKM_AES_KEY_WRAP_PAD"), 0);
	assert_int_equal(ekm_alg_parse("rsa-oaep"), 0);
	assert_int_equal(ekm_alg_parse("A128KW"), 0);
}

static void aes_key_wrap_works_both_ways_with_openssl(void **state)
{
	static const struct {
		enum key_alg alg;
		const char *cipher;
		size_t len, wrapped_len;
	} CASES[] = {
		{ ALG_A256KW, "AES-256-WRAP", 16, 24 },    { ALG_A256KW, "AES-256-WRAP", 32, 40 }, { ALG_A256KW, "AES-256-WRAP", 4096, 4104 },
		{ ALG_CKM_KWP, "AES-256-WRAP-PAD", 1, 16 }, { ALG_CKM_KWP, "AES-256-WRAP-PAD", 8, 16 }, { ALG_CKM_KWP, "AES-256-WRAP-PAD", 9, 24 },
		{ ALG_CKM_KWP, "AES-256-WRAP-PAD", 32, 40 }, { ALG_CKM_KWP, "AES-256-WRAP-PAD", 4095, 4104 },
	};
	uint8_t here[sizeof(data) + 16], there[sizeof(data) + 16];
	const char *id = fresh_id();

	(void)state;
	published(&pool, "aes", id);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		size_t len = 0;

		assert_int_equal(transform(id, KEY_OP_WRAP, CASES[i].alg, data, CASES[i].len, here), CASES[i].wrapped_len);
		assert_true(sw_aes(CASES[i].cipher, true, false, data, NULL, NULL, 0, data, CASES[i].len, NULL, there, &len));
		assert_int_equal(len, CASES[i].wrapped_len);
		assert_memory_equal(here, there, len);
		assert_int_equal(transform(id, KEY_OP_UNWRAP, CASES[i].alg, there, len, here), CASES[i].len);
		assert_memory_equal(here, data, CASES[i].len);
	}
	assert_int_equal(stored(&pool, id).uses, 2 * KMS_ARRAY_LEN(CASES));
}

static void rsa_oaep_works_both_ways_with_openssl_down_to_nothing(void **state)
{
	static const enum key_alg ALGS[] = { ALG_RSA_OAEP, ALG_RSA_OAEP_256 };
	uint8_t cipher[HSM_RSA_MAX], back[HSM_RSA_MAX];
	const char *id = fresh_id();

	(void)state;
	published(&pool, "rsa", id);
	for (size_t a = 0; a < KMS_ARRAY_LEN(ALGS); a++) {
		const size_t room = ALGS[a] == ALG_RSA_OAEP ? 214 : 190, lengths[] = { 0, 1, 32, room };
		CRYPTO_OUTPUT_AUTO out = { 0 };

		for (size_t i = 0; i < KMS_ARRAY_LEN(lengths); i++) {
			size_t len = 0;

			assert_int_equal(transform(id, KEY_OP_WRAP, ALGS[a], data, lengths[i], cipher), 256);
			assert_true(sw_decrypt(RSA_KEY, ALGS[a], cipher, 256, back, &len));
			assert_int_equal(len, lengths[i]);
			assert_memory_equal(back, data, len);
			sw_encrypt(RSA_KEY, ALGS[a], data + 1, lengths[i], cipher, &len);
			assert_int_equal(transform(id, KEY_OP_UNWRAP, ALGS[a], cipher, len, back), lengths[i]);
			assert_memory_equal(back, data + 1, lengths[i]);
		}
		assert_int_equal(rig_ekm_use(&d, &pool, id, KEY_OP_WRAP, ALGS[a], data, room + 1, &out, &err), KMS_E_INVALID);
	}
}

static void other_algorithms_and_lengths_are_refused(void **state)
{
	static const struct {
		const char *id;
		enum key_alg alg;
		size_t len;
		const char *message;
	} CASES[] = {
		{ "len-aes", ALG_A256KW, 8, "value: A256KW takes 16 bytes or more, in multiples of 8." },
		{ "len-aes", ALG_A256KW, 33, "value: A256KW takes 16 bytes or more, in multiples of 8." },
		{ "len-aes", ALG_A256KW, HSM_WRAP_MAX + 8, "value: at most 4096 bytes can be wrapped." },
		{ "len-aes", ALG_A256KW, 0, "value: must have 1 to" },
		{ "len-aes", ALG_CKM_KWP, 0, "value: must have 1 to" },
		{ "len-aes", ALG_RSA_OAEP, 32, "alg: RSA-OAEP does not fit a key of type oct." },
		{ "len-aes", ALG_CKM_KW, 32, "alg: must be A256KW, A256KWP, RSA-OAEP-256 or RSA-OAEP." },
		{ "len-aes", ALG_A128KW, 32, "alg: must be" },
		{ "len-aes", ALG_A256GCM, 32, "alg: must be" },
		{ "len-rsa", ALG_RSA1_5, 32, "alg: must be" },
		{ "len-rsa", ALG_CKM_KWP, 32, "alg: A256KWP does not fit a key of type RSA." },
		{ "len-rsa", (enum key_alg)0, 32, "alg: must be" },
	};

	(void)state;
	published(&pool, "aes", "len-aes");
	published(&pool, "rsa", "len-rsa");
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		CRYPTO_OUTPUT_AUTO out = { 0 };
		kms_status status = rig_ekm_use(&d, &pool, CASES[i].id, KEY_OP_WRAP, CASES[i].alg, data, CASES[i].len, &out, &err);

		if (status != KMS_E_INVALID || strncmp(err.message, CASES[i].message, strlen(CASES[i].message)) != 0)
			fail_msg("case %zu: %s \"%s\"", i, kms_status_name(status), err.message);
	}
	assert_int_equal(stored(&pool, "len-aes").uses + stored(&pool, "len-rsa").uses, 0);
}

static void whatever_does_not_unwrap_gets_one_answer(void **state)
{
	static const struct {
		const char *id;
		enum key_alg alg;
		size_t right;
	} CASES[] = { { "bad-aes", ALG_A256KW, 40 }, { "bad-aes", ALG_CKM_KWP, 40 }, { "bad-rsa", ALG_RSA_OAEP, 256 }, { "bad-rsa", ALG_RSA_OAEP_256, 256 } };
	static const size_t LENGTHS[] = { 0, 1, 8, 16, 24, 40, 41, 255, 256, 257, 512, HSM_WRAP_MAX, HSM_WRAP_MAX + 8, HSM_WRAP_MAX + 16 };

	(void)state;
	published(&pool, "aes", "bad-aes");
	published(&pool, "rsa", "bad-rsa");
	for (size_t c = 0; c < KMS_ARRAY_LEN(CASES); c++) {
		uint8_t good[HSM_RSA_MAX];
		CRYPTO_OUTPUT_AUTO out = { 0 };
		size_t len = transform(CASES[c].id, KEY_OP_WRAP, CASES[c].alg, data, 32, good);

		assert_int_equal(len, CASES[c].right);
		for (size_t i = 0; i < KMS_ARRAY_LEN(LENGTHS); i++) {
			assert_int_equal(rig_ekm_use(&d, &pool, CASES[c].id, KEY_OP_UNWRAP, CASES[c].alg, data, LENGTHS[i], &out, &err), KMS_E_CRYPTO);
			assert_string_equal(kms_err_text(&err), kms_status_text(KMS_E_CRYPTO));
		}
		for (size_t byte = 0; byte < len; byte += 7) {
			good[byte] ^= 1;
			assert_int_equal(rig_ekm_use(&d, &pool, CASES[c].id, KEY_OP_UNWRAP, CASES[c].alg, good, len, &out, &err), KMS_E_CRYPTO);
			assert_string_equal(kms_err_text(&err), kms_status_text(KMS_E_CRYPTO));
			good[byte] ^= 1;
		}
	}
}

static void a_use_is_counted_and_logged_with_what_was_asked(void **state)
{
	struct op *op = NULL;
	SECRET_AUTO *value = secret_from(data, 32);
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct store_external e;

	(void)state;
	published(&pool, "aes", "counted");
	op = rig_pool_op(&d, &pool, EVENT_KEY_WRAP);
	assert_int_equal(op_open(op, NULL, &err), KMS_OK);
	assert_int_equal(ekm_use(op, "counted", KEY_OP_WRAP, ALG_CKM_KWP, value, &out, &err), KMS_OK);
	assert_int_equal(stored(&pool, "counted").uses, 0); /* not before it is released */
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	assert_true(t_leaf_says(&d, op->write.seq, "\"alg\":\"A256KWP\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"det\":{\"bytes\":32}"));
	assert_true(t_leaf_says(&d, op->write.seq, "\"key\":{\"name\":\"aes\""));
	assert_true(t_leaf_says(&d, op->write.seq, "\"type\":\"key.wrap\""));
	t_op_free(op);
	t_domain_pass(100);
	assert_int_equal(wrap_of(&pool, "counted", ALG_A256KW), KMS_OK);
	e = stored(&pool, "counted");
	assert_int_equal(e.uses, 2);
	assert_int_equal(e.last_used_s, clock_wall_s(d.kms.clock));
	t_domain_pass(100);
	assert_int_equal(wrap_of(&pool, "counted", ALG_RSA_OAEP), KMS_E_INVALID);
	assert_int_equal(stored(&pool, "counted").uses, 2);
	assert_int_equal(stored(&pool, "counted").last_used_s, e.last_used_s);
}

/* What a pool is told about a key: metadata, wrap, unwrap. */
static void answers(const char *id, kms_status metadata, kms_status wrap, kms_status unwrap)
{
	struct ekm_metadata m = { 0 };
	uint8_t wrapped[64];
	size_t len = 0;
	CRYPTO_OUTPUT_AUTO out = { 0 };

	assert_true(sw_aes("AES-256-WRAP", true, false, data, NULL, NULL, 0, data, 32, NULL, wrapped, &len));
	assert_int_equal(rig_ekm_metadata(&d, &pool, id, &m, &err), metadata);
	assert_int_equal(wrap_of(&pool, id, ALG_A256KW), wrap);
	assert_int_equal(rig_ekm_use(&d, &pool, id, KEY_OP_UNWRAP, ALG_A256KW, wrapped, len, &out, &err), unwrap);
	if (wrap != KMS_OK)
		assert_int_equal(wrap_of(&pool, id, ALG_RSA_OAEP), wrap); /* the state is said before the algorithm */
}

static void the_state_of_a_key_decides(void **state)
{
	struct key_update change;
	struct sw_jwk j;
	int64_t now_s = clock_wall_s(d.kms.clock);

	(void)state;
	sw_jwk_oct(data, 32, KEY_OCT, &j);
	import(VAULT, "states", &j.jwk);
	sw_jwk_clear(&j);
	published(&pool, "states", "states");
	answers("states", KMS_OK, KMS_OK, KMS_OK);
	change = (struct key_update){ .has_enabled = true, .is_enabled = false };
	update(VAULT, "states", &change);
	answers("states", KMS_E_KEY_DISABLED, KMS_E_KEY_DISABLED, KMS_E_KEY_DISABLED);
	change.is_enabled = true;
	update(VAULT, "states", &change);
	change = (struct key_update){ .has_exp = true, .exp_s = now_s - 1 };
	update(VAULT, "states", &change);
	answers("states", KMS_E_KEY_EXPIRED, KMS_E_KEY_EXPIRED, KMS_OK); /* old data stays readable (keyvault-keys.md 9.1) */
	change = (struct key_update){ .has_exp = true, .exp_s = STORE_NO_TIME, .has_nbf = true, .nbf_s = now_s + DAY_S };
	update(VAULT, "states", &change);
	answers("states", KMS_E_KEY_NOT_YET, KMS_E_KEY_NOT_YET, KMS_OK);
	change = (struct key_update){ .has_nbf = true, .nbf_s = STORE_NO_TIME, .has_ops = true, .ops = KEY_OP_WRAP };
	update(VAULT, "states", &change);
	answers("states", KMS_E_KEY_OP, KMS_OK, KMS_E_KEY_OP);
	change = (struct key_update){ .has_ops = true, .ops = KEY_OP_UNWRAP };
	update(VAULT, "states", &change);
	answers("states", KMS_E_KEY_OP, KMS_E_KEY_OP, KMS_OK);
	change = (struct key_update){ .has_ops = true, .ops = KEY_OP_WRAP | KEY_OP_UNWRAP };
	update(VAULT, "states", &change);
	answers("states", KMS_OK, KMS_OK, KMS_OK);
}

/* ---- revocation ---- */

/* A wrap that is done, and not yet released. */
static struct op *under_way(const char *id, struct crypto_output *out)
{
	struct op *op = rig_pool_op(&d, &pool, EVENT_KEY_WRAP);
	SECRET_AUTO *value = secret_from(data, 32);

	err = (struct kms_err){ 0 };
	assert_int_equal(op_open(op, NULL, &err), KMS_OK);
	assert_int_equal(ekm_use(op, id, KEY_OP_WRAP, ALG_A256KW, value, out, &err), KMS_OK);
	return op;
}

static void withheld(struct op *op, struct crypto_output *out)
{
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
	t_op_free(op);
	crypto_output_clear(out);
}

static void what_is_under_way_is_withheld_when_its_ground_is_gone(void **state)
{
	struct key_update off = { .has_enabled = true };
	struct store_principal principal;
	uint8_t obj[HSM_ID_LEN];
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct op *use = NULL, *op = NULL;

	(void)state;
	t_key(&d, VAULT, "ground", KEY_OCT_HSM, obj);
	published(&pool, "ground", "ground");
	use = under_way("ground", &out);
	assert_int_equal(rig_retire(&d, &pool, "ground", &err), KMS_OK);
	withheld(use, &out);
	published(&pool, "ground", "ground");

	use = under_way("ground", &out);
	update(VAULT, "ground", &off);
	withheld(use, &out);
	off.is_enabled = true;
	update(VAULT, "ground", &off);

	use = under_way("ground", &out);
	op = t_op(&d, VAULT, EVENT_PRINCIPAL);
	assert_int_equal(t_op_finish(op, principal_enable(op, pool.caller.principal_id, false, &principal, &err)), KMS_OK);
	t_op_free(op);
	withheld(use, &out);
	assert_int_equal(wrap_of(&pool, "ground", ALG_A256KW), KMS_E_UNAUTHENTICATED);
	op = t_op(&d, VAULT, EVENT_PRINCIPAL);
	assert_int_equal(t_op_finish(op, principal_enable(op, pool.caller.principal_id, true, &principal, &err)), KMS_OK);
	t_op_free(op);

	use = under_way("ground", &out);
	delete_key(VAULT, "ground");
	withheld(use, &out);
}

static void a_role_that_is_taken_away_ends_every_use(void **state)
{
	static const struct role_scope WHOLE_VAULT = { .expires_s = STORE_NO_TIME };
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct op *use = NULL, *op = NULL;

	(void)state;
	published(&pool, "aes", "role");
	for (int grant = 0; grant < 2; grant++) {
		use = grant ? NULL : under_way("role", &out);
		op = t_op(&d, VAULT, grant ? EVENT_ROLE_GRANT : EVENT_ROLE_REVOKE);
		assert_int_equal(t_op_finish(op, role_change(op, pool.caller.principal_id, ROLE_CRYPTO_SERVICE, &WHOLE_VAULT, grant, &err)), KMS_OK);
		t_op_free(op);
		if (use != NULL)
			withheld(use, &out);
		assert_int_equal(wrap_of(&pool, "role", ALG_A256KW), grant ? KMS_OK : KMS_E_FORBIDDEN);
		if (!grant)
			assert_string_equal(err.message, "The pool is not authorized to perform the operation."); /* and no word of vault or principal */
	}
}

static void a_shredded_vault_answers_nothing(void **state)
{
	struct rig_pool doomed;
	struct ekm_metadata m = { 0 };
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_vault(&d, "doomed", false);
	t_key(&d, "doomed", "k", KEY_OCT_HSM, obj);
	doomed = rig_pool(&d, "doomed", "hsm", "doomed.example");
	published(&doomed, "k", "k");
	(void)t_shred(&d, "doomed", "test");
	assert_int_equal(wrap_of(&doomed, "k", ALG_A256KW), KMS_E_VAULT_SHREDDED);
	assert_int_equal(rig_ekm_metadata(&d, &doomed, "k", &m, &err), KMS_E_VAULT_SHREDDED);
	assert_int_equal(wrap_of(&doomed, "absent", ALG_A256KW), KMS_E_VAULT_SHREDDED);
	assert_int_equal(rig_publish(&d, &doomed, "k", NULL, "late", NULL, &err), KMS_E_VAULT_SHREDDED);
	assert_int_equal(rig_retire(&d, &doomed, "k", &err), KMS_OK); /* tidying up is allowed */
}

static void a_publication_that_was_cut_short_did_not_happen(void **state)
{
	struct recovery_count count = { 0 };
	struct store_external e = { 0 };
	struct op *op = t_op(&d, VAULT, EVENT_EKM_PUBLISH);

	(void)state;
	assert_int_equal(ekm_publish(op, pool.caller.principal_id, "aes", NULL, "cut", &e, &err), KMS_OK);
	t_op_free(op); /* the power fails before the outcome is written */
	t_domain_restart(&d);
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_ALL, &count, &err), KMS_OK);
	assert_int_equal(count.settled, 1);
	assert_int_equal(wrap_of(&pool, "cut", ALG_A256KW), KMS_E_KEY_NOTFOUND);
	published(&pool, "rsa", "cut"); /* it was never bound */
}

static int setup(void **state)
{
	struct sw_jwk j;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	t_domain_open(&d);
	t_vault(&d, VAULT, false);
	sw_jwk_oct(data, 32, KEY_OCT, &j);
	import(VAULT, "aes", &j.jwk);
	sw_jwk_clear(&j);
	RSA_KEY = sw_rsa(2048);
	sw_jwk(RSA_KEY, KEY_RSA, CURVE_NONE, &j);
	import(VAULT, "rsa", &j.jwk);
	sw_jwk_clear(&j);
	create(VAULT, "big", KEY_RSA_HSM, 3072, CURVE_NONE, 0);
	pool = rig_pool(&d, VAULT, "hsm", "hsm.example");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(RSA_KEY);
	t_domain_close(&d);
	return secret_live() == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_published_key_shows_its_metadata),
		cmocka_unit_test(only_what_ekm_serves_is_published),
		cmocka_unit_test(an_id_is_bound_once_and_for_ever),
		cmocka_unit_test(data_wrapped_before_a_rotation_unwraps_under_its_own_id),
		cmocka_unit_test(a_key_made_again_under_the_same_name_is_not_the_one_that_was_published),
		cmocka_unit_test(a_deleted_key_is_not_found_until_it_is_recovered),
		cmocka_unit_test(a_key_is_not_destroyed_while_an_id_is_in_use),
		cmocka_unit_test(pools_never_meet),
		cmocka_unit_test(the_four_algorithms_have_ekms_names),
		cmocka_unit_test(aes_key_wrap_works_both_ways_with_openssl),
		cmocka_unit_test(rsa_oaep_works_both_ways_with_openssl_down_to_nothing),
		cmocka_unit_test(other_algorithms_and_lengths_are_refused),
		cmocka_unit_test(whatever_does_not_unwrap_gets_one_answer),
		cmocka_unit_test(a_use_is_counted_and_logged_with_what_was_asked),
		cmocka_unit_test(the_state_of_a_key_decides),
		cmocka_unit_test(what_is_under_way_is_withheld_when_its_ground_is_gone),
		cmocka_unit_test(a_role_that_is_taken_away_ends_every_use),
		cmocka_unit_test(a_shredded_vault_answers_nothing),
		cmocka_unit_test(a_publication_that_was_cut_short_did_not_happen),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
