/* tests/unit/core_attestation.c - the certificate and the statements, read and verified with OpenSSL alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ecdsa.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "tests/support/domain.h"

#define VAULT "attested"
#define PAYLOAD_CAP 4096

static struct t_domain d;
static const enum key_type TYPES[] = { KEY_RSA, KEY_RSA_HSM, KEY_EC, KEY_EC_HSM, KEY_OCT, KEY_OCT_HSM };

static X509 *read_certificate(const char *pem)
{
	BIO *in = BIO_new_mem_buf(pem, -1);
	X509 *x = PEM_read_bio_X509(in, NULL, NULL, NULL);

	BIO_free(in);
	assert_non_null(x);
	return x;
}

/* r || s over the first two parts, as RFC 7518 section 3.4 has it. */
static bool verifies(const char *jws, EVP_PKEY *key)
{
	const char *dot = strrchr(jws, '.');
	uint8_t raw[64], der[80], *at = der;
	size_t raw_len = 0;
	ECDSA_SIG *sig = ECDSA_SIG_new();
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int der_len = 0;
	bool good = false;

	assert_true(b64url_decode(dot + 1, strlen(dot + 1), raw, sizeof(raw), &raw_len));
	assert_int_equal(raw_len, 64);
	assert_int_equal(ECDSA_SIG_set0(sig, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL)), 1);
	der_len = i2d_ECDSA_SIG(sig, &at);
	ECDSA_SIG_free(sig);
	assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
	good = EVP_DigestVerify(ctx, der, (size_t)der_len, (const uint8_t *)jws, (size_t)(dot - jws)) == 1;
	EVP_MD_CTX_free(ctx);
	return good;
}

/* Part 0 (header) or 1 (payload) as text. */
static void part(const char *jws, int index, char ret_text[PAYLOAD_CAP])
{
	const char *from = index == 0 ? jws : strchr(jws, '.') + 1;
	size_t len = 0;

	assert_true(b64url_decode(from, strcspn(from, "."), (uint8_t *)ret_text, PAYLOAD_CAP - 1, &len));
	ret_text[len] = '\0';
}

static void contains(const char *text, const char *what)
{
	if (strstr(text, what) == NULL)
		fail_msg("no %s in %s", what, text);
}

static void contains_bytes(const char *text, const char *name, const uint8_t *bytes, size_t len)
{
	char member[1024];
	char value[B64URL_LEN(HSM_RSA_MAX) + 1];

	b64url_encode(bytes, len, value);
	(void)snprintf(member, sizeof(member), "\"%s\":\"%s\"", name, value);
	contains(text, member);
}

/* The op, to be freed: its key and version are those attested. */
static struct op *attest(const char *name, struct attestation *ret, kms_status expected)
{
	struct op *op = t_op(&d, VAULT, EVENT_KEY_GET);
	struct kms_err err = { 0 };
	kms_status status = attestation_make(op, name, NULL, ret, &err);

	if (status != expected)
		fail_msg("%s: %s", kms_status_name(status), err.detail);
	return op;
}

static void the_certificate_is_the_attestation_keys_own(void **state)
{
	X509 *x = read_certificate(d.certificate);
	EVP_PKEY *key = X509_get0_pubkey(x);
	uint8_t point[133];
	size_t len = 0;
	BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL), *id = BN_bin2bn(d.kms.inst.attestation_key, HSM_ID_LEN, NULL);
	char name[200];

	(void)state;
	assert_int_equal(X509_verify(x, key), 1);
	assert_int_equal(X509_self_signed(x, 1), 1);
	assert_int_equal(EVP_PKEY_get_octet_string_param(key, "encoded-pub-key", point, sizeof(point), &len), 1);
	assert_int_equal(len, 65);
	assert_memory_equal(point, d.kms.inst.attestation_public.point, 65);
	assert_int_equal(BN_cmp(serial, id), 0);
	assert_int_equal(X509_get_version(x), X509_VERSION_3);
	assert_int_equal(ASN1_TIME_cmp_time_t(X509_get0_notBefore(x), (time_t)d.kms.inst.created_s), 0);
	assert_string_equal((const char *)ASN1_STRING_get0_data(X509_get0_notAfter(x)), "99991231235959Z");
	assert_int_equal(X509_get_extension_flags(x) & (EXFLAG_BCONS | EXFLAG_CA), EXFLAG_BCONS);
	assert_int_equal(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
	(void)X509_NAME_oneline(X509_get_subject_name(x), name, sizeof(name));
	assert_string_equal(name, "/O=vault.test/CN=Holdfast attestation");
	BN_free(serial);
	BN_free(id);
	X509_free(x);
}

static void a_domain_longer_than_a_name_may_be_is_cut(void **state)
{
	char domain[KMS_DOMAIN_MAX + 1], pem[ATTESTATION_CERT_MAX];
	struct kms_err err = { 0 };
	X509 *x = NULL;

	(void)state;
	memset(domain, 'd', sizeof(domain) - 1);
	domain[sizeof(domain) - 1] = '\0';
	assert_int_equal(attestation_certificate(d.kms.hsm, &d.kms.inst, domain, pem, &err), KMS_OK);
	x = read_certificate(pem);
	assert_int_equal(X509_verify(x, X509_get0_pubkey(x)), 1);
	X509_free(x);
}

static void both_statements_say_what_is_and_verify(void **state)
{
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(TYPES); i++) {
		const struct key_type_info *type = key_type_info(TYPES[i]);
		struct attestation a = { 0 };
		char text[PAYLOAD_CAP], kid[300], hex[2 * STORE_ID_LEN + 1], origin[STORE_ORIGIN_MAX + 32], expected[40];
		uint8_t obj[HSM_ID_LEN];
		X509 *x = NULL;
		struct op *op = NULL;

		t_key(&d, VAULT, type->name, TYPES[i], obj);
		op = attest(type->name, &a, KMS_OK);
		x = read_certificate(a.certificate);
		assert_true(verifies(a.public_text, X509_get0_pubkey(x)));
		assert_true(verifies(a.private_text, X509_get0_pubkey(x)));
		hex_encode(op->version.id, STORE_ID_LEN, hex);
		(void)snprintf(kid, sizeof(kid), "\"kid\":\"https://" VAULT ".vault.test/keys/%s/%s\"", type->name, hex);
		(void)snprintf(origin, sizeof(origin), "\"log\":{\"origin\":\"%s\",\"root\":\"", d.kms.origin);
		(void)snprintf(expected, sizeof(expected), "\"kty\":\"%s\"", type->name);
		part(a.public_text, 0, text);
		contains(text, "{\"alg\":\"ES256\",\"kid\":\"");
		contains(text, "\"typ\":\"holdfast-attestation+jwt\"}");
		part(a.public_text, 1, text);
		contains(text, kid);
		contains(text, origin);
		contains(text, expected);
		contains(text, "\"statement\":\"public-key\"");
		if (type->family == FAMILY_RSA)
			contains_bytes(text, "n", op->version.pub, op->version.pub_len);
		if (type->family == FAMILY_EC) {
			contains(text, "\"crv\":\"P-256\"");
			contains_bytes(text, "x", op->version.pub + 1, 32);
			contains_bytes(text, "y", op->version.pub + 33, 32);
		}
		part(a.private_text, 1, text);
		contains(text, kid);
		contains(text, origin);
		contains(text, "\"statement\":\"private-key\"");
		contains(text, type->is_resident ? "\"storage\":\"hsm-object\"" : "\"storage\":\"wrapped-under-root\"");
		contains(text, "\"extractable\":false");
		contains(text, "\"sensitive\":true");
		contains(text, type->is_resident ? "\"token\":true" : "\"token\":false");
		contains(text, "\"token\":{\"label\":\"holdfast-test\"");
		contains_bytes(text, "id", obj, HSM_ID_LEN);
		if (!type->is_resident) {
			contains(text, "\"root\":{\"attributes\":{");
			contains_bytes(text, "id", op->vault.root_id, HSM_ID_LEN);
		}
		t_op_free(op);
		X509_free(x);
	}
}

static void a_statement_that_was_changed_or_comes_from_another_key_does_not_verify(void **state)
{
	struct attestation a = { 0 };
	X509 *x = read_certificate(d.certificate);
	EVP_PKEY *other = EVP_EC_gen("prime256v1");
	char text[ATTESTATION_TEXT_MAX];
	size_t signed_len = 0;
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_key(&d, VAULT, "changed", KEY_EC, obj);
	t_op_free(attest("changed", &a, KMS_OK));
	assert_false(verifies(a.public_text, other));
	signed_len = (size_t)(strrchr(a.public_text, '.') - a.public_text);
	for (size_t i = 0; i < signed_len; i += 37) {
		memcpy(text, a.public_text, sizeof(text));
		text[i] = text[i] == 'A' ? 'B' : 'A';
		assert_false(verifies(text, X509_get0_pubkey(x)));
	}
	/* the signature of one statement under the other */
	memcpy(text, a.public_text, sizeof(text));
	(void)snprintf(text + signed_len, sizeof(text) - signed_len, "%s", strrchr(a.private_text, '.'));
	assert_false(verifies(text, X509_get0_pubkey(x)));
	EVP_PKEY_free(other);
	X509_free(x);
}

static void a_key_that_may_not_sign_and_is_disabled_is_attested_too(void **state)
{
	struct key_create req = { .type = KEY_RSA, .has_ops = true, .ops = KEY_OP_ENCRYPT, .is_enabled = false, .nbf_s = STORE_NO_TIME,
	                          .exp_s = 5 };
	struct key_create exchange = { .type = KEY_RSA_HSM, .has_ops = true, .ops = KEY_OP_IMPORT, .is_enabled = true,
	                               .nbf_s = STORE_NO_TIME,
		                       .exp_s = STORE_NO_TIME };
	struct op *op = t_op(&d, VAULT, EVENT_KEY_CREATE);
	struct attestation a = { 0 };
	struct kms_err err = { 0 };
	char text[PAYLOAD_CAP];

	(void)state;
	assert_int_equal(t_op_finish(op, keyring_create(op, "silent", &req, &err)), KMS_OK);
	t_op_free(op);
	t_op_free(attest("silent", &a, KMS_OK));
	part(a.private_text, 1, text);
	contains(text, "\"object\":{\"attributes\":{");
	contains(text, "\"sign\":false"); /* as it is used, not as it was tried */
	op = t_op(&d, VAULT, EVENT_KEY_CREATE);
	assert_int_equal(t_op_finish(op, keyring_create(op, "exchange", &exchange, &err)), KMS_OK);
	t_op_free(op);
	t_op_free(attest("exchange", &a, KMS_OK));
	t_op_free(attest("nobody", &a, KMS_E_KEY_NOTFOUND));
}

/* A database in which somebody has put a public half of his own under a key of ours. The key's row is purged first: an object has one row. */
static void a_public_half_that_is_not_the_objects_is_never_attested(void **state)
{
	static const struct {
		enum key_type type;
		const char *mine, *theirs;
	} PAIRS[] = { { KEY_RSA, "mine-rsa", "theirs-rsa" }, { KEY_EC, "mine-ec", "theirs-ec" }, { KEY_EC_HSM, "mine-hsm", "theirs-hsm" } };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(PAIRS); i++) {
		struct store_change changes[] = { { .kind = STORE_KEY_PURGE }, { .kind = STORE_KEY_ADD }, { .kind = STORE_VERSION_ADD } };
		struct write unit = { .event = { .type = EVENT_KEY_CREATE }, .changes = changes, .change_count = KMS_ARRAY_LEN(changes) };
		struct op *mine = t_op(&d, VAULT, EVENT_KEY_GET), *theirs = t_op(&d, VAULT, EVENT_KEY_GET);
		struct attestation a = { 0 };
		struct kms_err err = { 0 };
		uint8_t obj[HSM_ID_LEN];

		t_key(&d, VAULT, PAIRS[i].mine, PAIRS[i].type, obj);
		t_key(&d, VAULT, PAIRS[i].theirs, PAIRS[i].type, obj);
		assert_int_equal(keyring_get(mine, PAIRS[i].mine, NULL, &err), KMS_OK);
		assert_int_equal(keyring_get(theirs, PAIRS[i].theirs, NULL, &err), KMS_OK);
		changes[0].key = changes[1].key = mine->key;
		changes[2].version = mine->version;
		changes[2].version.pub = theirs->version.pub;
		assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
		t_op_free(attest(mine->key.name, &a, KMS_E_INTERNAL));
		assert_string_equal(a.public_text, "");
		t_op_free(mine);
		t_op_free(theirs);
	}
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	t_vault(&d, VAULT, false);
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
		cmocka_unit_test(the_certificate_is_the_attestation_keys_own),
		cmocka_unit_test(a_domain_longer_than_a_name_may_be_is_cut),
		cmocka_unit_test(both_statements_say_what_is_and_verify),
		cmocka_unit_test(a_statement_that_was_changed_or_comes_from_another_key_does_not_verify),
		cmocka_unit_test(a_key_that_may_not_sign_and_is_disabled_is_attested_too),
		cmocka_unit_test(a_public_half_that_is_not_the_objects_is_never_attested),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
