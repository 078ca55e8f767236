/* tests/support/hsm_rig.c - see hsm_rig.h. */
#include "tests/support/hsm_rig.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"

#define CALLS_TEXT 4096

void t_rig_token(struct t_rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	t_token_make(&rig->token);
}

void t_rig_up(struct t_rig *rig)
{
	t_rig_token(rig);
	T_OK(rig, hsm_open_pkcs11(&rig->token.cfg, &rig->hsm, &rig->err));
	rig->p = p11_of(rig->hsm);
}

void t_rig_down(struct t_rig *rig)
{
	t_hold_release(); /* what a failed test left held */
	hsm_close(rig->hsm);
	rig->hsm = NULL;
	t_token_remove(&rig->token);
	assert_int_equal(secret_live(), 0);
}

struct hsm_key rig_key(enum hsm_purpose purpose, enum hsm_kind kind, unsigned bits)
{
	struct hsm_key key = { .purpose = purpose, .kind = kind, .bits = (uint16_t)bits };

	assert_true(random_bytes(key.id, sizeof(key.id)));
	if (purpose == HSM_FOR_CALLER)
		key.usage = kind == HSM_KIND_RSA ? HSM_USE_DECRYPT : kind == HSM_KIND_AES ? HSM_USE_WRAP : HSM_USE_SIGN;
	return key;
}

struct hsm_key t_resident(struct t_rig *rig, enum hsm_purpose purpose, enum hsm_kind kind, unsigned bits, struct hsm_public *ret_public)
{
	struct hsm_key key = rig_key(purpose, kind, bits);

	T_OK(rig, hsm_key_generate(rig->hsm, &key, ret_public, &rig->err));
	return key;
}

struct hsm_key t_log_key(struct t_rig *rig)
{
	struct hsm_key key = t_resident(rig, HSM_FOR_LOG, HSM_KIND_ED25519, 0, NULL);

	hsm_set_log_key(rig->hsm, key.id);
	return key;
}

void t_wrapped_make(struct t_rig *rig, const struct hsm_key *root, unsigned bits, struct t_wrapped *ret)
{
	t_wrapped_of(rig, root, HSM_KIND_RSA, bits, ret);
}

void t_wrapped_of(struct t_rig *rig, const struct hsm_key *root, enum hsm_kind kind, unsigned bits, struct t_wrapped *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->key = rig_key(HSM_FOR_CALLER, kind, bits);
	memcpy(ret->key.root_id, root->id, HSM_ID_LEN);
	T_OK(rig, hsm_key_generate_wrapped(rig->hsm, &ret->key, &ret->public, ret->blob, &ret->key.wrapped_len, &rig->err));
	ret->key.wrapped = ret->blob;
}

kms_status t_sign(struct hsm *hsm, const struct hsm_key *key, const uint8_t *input, size_t input_len, uint8_t ret_signature[HSM_SIGNATURE_MAX],
                  struct kms_err *err)
{
	const enum hsm_sign_alg alg = key->kind == HSM_KIND_ED25519 ? HSM_SIGN_EDDSA : HSM_SIGN_ECDSA;
	size_t len = 0;

	return hsm_sign(hsm, key, alg, input, input_len, ret_signature, &len, err);
}

kms_status t_mac(struct hsm *hsm, const struct hsm_key *key, const uint8_t *input, size_t input_len, uint8_t ret_mac[32], struct kms_err *err)
{
	uint8_t mac[HSM_SIGNATURE_MAX];
	size_t len = 0;
	kms_status status = hsm_sign(hsm, key, HSM_SIGN_HMAC_SHA256, input, input_len, mac, &len, err);

	if (status == KMS_OK) {
		assert_int_equal(len, 32);
		memcpy(ret_mac, mac, len);
	}
	return status;
}

static EVP_PKEY *rsa_public(const struct hsm_public *pub)
{
	uint8_t n[HSM_RSA_MAX], e[sizeof(pub->e)];
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;

	/* OSSL_PARAM numbers are in the machine's order: little-endian here as everywhere that we build. */
	for (size_t i = 0; i < pub->n_len; i++)
		n[i] = pub->n[pub->n_len - 1 - i];
	for (size_t i = 0; i < pub->e_len; i++)
		e[i] = pub->e[pub->e_len - 1 - i];
	OSSL_PARAM params[] = { OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n, pub->n_len),
		                OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, pub->e_len), OSSL_PARAM_construct_end() };
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

void t_rsa_encrypt(const struct hsm_public *pub, enum hsm_rsa_alg alg, const char *plain, uint8_t *ret_cipher)
{
	EVP_PKEY *key = rsa_public(pub);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	size_t len = pub->n_len;

	assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, alg == HSM_RSA_PKCS1_V15 ? RSA_PKCS1_PADDING : RSA_PKCS1_OAEP_PADDING), 1);
	if (alg == HSM_RSA_OAEP_SHA256) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()), 1);
	}
	assert_int_equal(EVP_PKEY_encrypt(ctx, ret_cipher, &len, (const uint8_t *)plain, strlen(plain)), 1);
	assert_int_equal(len, pub->n_len);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
}

kms_status t_rsa_round_trip(struct t_rig *rig, const struct hsm_key *key, const struct hsm_public *pub)
{
	static const char PLAIN[] = "a data key of thirty-two bytes !";
	uint8_t cipher[HSM_RSA_MAX];
	struct secret *plain = NULL;
	kms_status status;

	t_rsa_encrypt(pub, HSM_RSA_OAEP_SHA256, PLAIN, cipher);
	status = hsm_rsa_decrypt(rig->hsm, key, HSM_RSA_OAEP_SHA256, pub->n, pub->n_len, cipher, pub->n_len, &plain, &rig->err);
	if (status != KMS_OK) {
		assert_null(plain);
		return status;
	}
	assert_int_equal(secret_len(plain), strlen(PLAIN));
	assert_memory_equal(secret_data(plain), PLAIN, strlen(PLAIN));
	secret_free(plain);
	return KMS_OK;
}

size_t t_objects(struct t_rig *rig, bool on_token)
{
	CK_FUNCTION_LIST *f = rig->p->token.gate.functions; /* not through the gate: tests count what passes there */
	CK_BBOOL token = on_token ? CK_TRUE : CK_FALSE;
	CK_ATTRIBUTE wanted = { CKA_TOKEN, &token, sizeof(token) };
	CK_OBJECT_HANDLE found[4096];
	CK_SESSION_HANDLE session;
	CK_ULONG count = 0;

	assert_int_equal(f->C_OpenSession(rig->p->token.slot, CKF_SERIAL_SESSION, NULL, NULL, &session), CKR_OK);
	assert_int_equal(f->C_FindObjectsInit(session, &wanted, 1), CKR_OK);
	assert_int_equal(f->C_FindObjects(session, found, KMS_ARRAY_LEN(found), &count), CKR_OK);
	assert_int_equal(f->C_FindObjectsFinal(session), CKR_OK);
	assert_int_equal(f->C_CloseSession(session), CKR_OK);
	return count;
}

/* ---- hooks ---- */

static pthread_mutex_t LOCK = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static pthread_cond_t CHANGED = PTHREAD_COND_INITIALIZER;
static long FAIL_AFTER = -1;
static CK_RV FAIL_RV;
static bool FAIL_HAPPENED;
static const char *FAIL_NAME, *HOLD_NAME;
static unsigned HELD;
static bool IS_RECORDING;
static char CALLS[CALLS_TEXT];
static size_t CALLS_LEN;

static CK_RV hook(void *arg, const char *call)
{
	CK_RV rv = CKR_OK;

	(void)arg;
	(void)pthread_mutex_lock(&LOCK);
	if (IS_RECORDING && CALLS_LEN < sizeof(CALLS) - 64)
		CALLS_LEN += (size_t)snprintf(CALLS + CALLS_LEN, sizeof(CALLS) - CALLS_LEN, "%s%s", CALLS_LEN > 0 ? " " : "", call);
	if (FAIL_NAME != NULL && strcmp(call, FAIL_NAME) == 0) {
		rv = FAIL_RV;
		FAIL_HAPPENED = true;
	}
	if (FAIL_AFTER >= 0 && FAIL_AFTER-- == 0) {
		rv = FAIL_RV;
		FAIL_HAPPENED = true;
	}
	if (HOLD_NAME != NULL && strcmp(call, HOLD_NAME) == 0) {
		HELD++;
		(void)pthread_cond_broadcast(&CHANGED);
		while (HOLD_NAME != NULL)
			(void)pthread_cond_wait(&CHANGED, &LOCK);
		HELD--;
	}
	(void)pthread_mutex_unlock(&LOCK);
	return rv;
}

void t_fail_call(long nth, CK_RV rv)
{
	(void)pthread_mutex_lock(&LOCK);
	FAIL_AFTER = nth;
	FAIL_RV = rv;
	FAIL_HAPPENED = false;
	(void)pthread_mutex_unlock(&LOCK);
	p11_hook_set(nth >= 0 ? hook : NULL, NULL);
}

void t_fail_named(const char *call, CK_RV rv)
{
	(void)pthread_mutex_lock(&LOCK);
	FAIL_NAME = call;
	FAIL_RV = rv;
	FAIL_HAPPENED = false;
	(void)pthread_mutex_unlock(&LOCK);
	p11_hook_set(call != NULL ? hook : NULL, NULL);
}

bool t_fail_happened(void)
{
	bool happened;

	(void)pthread_mutex_lock(&LOCK);
	happened = FAIL_HAPPENED;
	(void)pthread_mutex_unlock(&LOCK);
	return happened;
}

void t_calls_begin(void)
{
	(void)pthread_mutex_lock(&LOCK);
	IS_RECORDING = true;
	CALLS_LEN = 0;
	CALLS[0] = '\0';
	(void)pthread_mutex_unlock(&LOCK);
	p11_hook_set(hook, NULL);
}

const char *t_calls_end(void)
{
	p11_hook_set(NULL, NULL);
	(void)pthread_mutex_lock(&LOCK);
	IS_RECORDING = false;
	(void)pthread_mutex_unlock(&LOCK);
	return CALLS;
}

void t_hold(const char *call)
{
	(void)pthread_mutex_lock(&LOCK);
	HOLD_NAME = call;
	(void)pthread_mutex_unlock(&LOCK);
	p11_hook_set(hook, NULL);
}

void t_hold_wait(void)
{
	(void)pthread_mutex_lock(&LOCK);
	while (HELD == 0)
		(void)pthread_cond_wait(&CHANGED, &LOCK);
	(void)pthread_mutex_unlock(&LOCK);
}

void t_hold_release(void)
{
	(void)pthread_mutex_lock(&LOCK);
	HOLD_NAME = NULL;
	(void)pthread_cond_broadcast(&CHANGED);
	(void)pthread_mutex_unlock(&LOCK);
	p11_hook_set(NULL, NULL); /* waits until no call is in the hook */
}
