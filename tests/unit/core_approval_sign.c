/* tests/unit/core_approval_sign.c - an approver's own signature under a vote: every kind of key, and everything that must not pass as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "server/base/encode.h"
#include "tests/support/approvals.h"

#define VAULT "signed"
#define DAY_S 86400

static struct t_domain d;
static struct t_person signer;
static int requests;

/* ---- keys and certificates ---- */

struct signer_key {
	EVP_PKEY *key;
	uint8_t certificate[STORE_HASH_LEN];
};

/* A certificate of a key, in date for a day from `from_s` on, entered as the person's. */
static struct signer_key certify(const struct t_person *p, EVP_PKEY *key, int64_t from_s, int64_t expires_s)
{
	struct signer_key made = { .key = key };
	struct store_change c = { .kind = STORE_CREDENTIAL_ADD };
	X509 *x = X509_new();
	uint8_t *der = NULL;
	int len = 0;

	assert_non_null(key);
	assert_non_null(x);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), ++requests), 1);
	assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from_s));
	assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(from_s + DAY_S)));
	assert_int_equal(X509_set_pubkey(x, key), 1);
	assert_true(X509_sign(x, key, EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()) > 0);
	len = i2d_X509(x, &der);
	assert_true(len > 0);
	X509_free(x);
	SHA256(der, (size_t)len, made.certificate);
	assert_true(guid_random(c.credential.id));
	memcpy(c.credential.principal_id, p->id, STORE_ID_LEN);
	c.credential.kind = STORE_CREDENTIAL_CERTIFICATE;
	memcpy(c.credential.hash, made.certificate, STORE_HASH_LEN);
	c.credential.created_s = from_s;
	c.credential.expires_s = expires_s;
	c.credential.data = der;
	c.credential.data_len = (size_t)len;
	t_change(&d, &c, 1);
	OPENSSL_free(der);
	return made;
}

static int64_t now_s(void) { return clock_wall_s(d.kms.clock); }

/** @param padding  0 = none */
static struct approval_signature sign(const struct signer_key *k, int padding, const char *text)
{
	struct approval_signature s = { .len = sizeof(s.bytes) };
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *of_ctx = NULL;

	memcpy(s.certificate, k->certificate, STORE_HASH_LEN);
	assert_int_equal(EVP_DigestSignInit(ctx, &of_ctx, EVP_PKEY_get_base_id(k->key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256(), NULL, k->key), 1);
	if (padding != 0)
		assert_true(EVP_PKEY_CTX_set_rsa_padding(of_ctx, padding) > 0);
	assert_int_equal(EVP_DigestSign(ctx, s.bytes, &s.len, (const uint8_t *)text, strlen(text)), 1);
	EVP_MD_CTX_free(ctx);
	return s;
}

/* ---- requests and votes ---- */

/* A new request, and the text that approves or denies it. */
static void ask(uint8_t ret_id[STORE_ID_LEN], char ret_approve[APPROVAL_TEXT_MAX], char ret_deny[APPROVAL_TEXT_MAX])
{
	char target[16];
	struct approval_need need = { .act = "test.act", .target = target, .quorum = 1 };
	struct op *op = t_op(&d, VAULT, EVENT_TENANT_UPDATE);
	struct approval_view v = { 0 };
	struct kms_err err = { 0 };

	(void)snprintf(target, sizeof(target), "%d", ++requests);
	assert_int_equal(approval_require(op, &need, &err), KMS_E_APPROVAL);
	assert_true(guid_parse(strstr(kms_err_text(&err), "request ") + strlen("request "), GUID_TEXT_LEN, ret_id));
	assert_int_equal(approval_get(op, ret_id, &v, NULL), KMS_OK);
	approval_text(&v.approval, true, ret_approve);
	approval_text(&v.approval, false, ret_deny);
	approval_view_clear(&v);
	t_op_free(op);
}

static kms_status vote(const struct t_person *p, const uint8_t id[STORE_ID_LEN], bool approves, const struct approval_signature *s, uint64_t *ret_seq)
{
	struct op *op = t_op_as(&d, p, VAULT, EVENT_APPROVAL, 1);
	struct approval_view v = { 0 };
	struct kms_err err = { 0 };
	kms_status status = approval_vote(op, id, approves, "", s, &v, &err);

	if (status == KMS_OK) {
		assert_int_equal(t_op_finish(op, status), KMS_OK);
		if (ret_seq != NULL)
			*ret_seq = op->write.seq;
	}
	approval_view_clear(&v);
	t_op_free(op);
	return status;
}

static EVP_PKEY *rsa(void) { return EVP_RSA_gen(2048); }
static EVP_PKEY *ec(const char *curve) { return EVP_EC_gen(curve); }
static EVP_PKEY *ed25519(void) { return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"); }

static void the_text_names_request_and_answer(void **state)
{
	struct store_approval a = { 0 };
	char text[APPROVAL_TEXT_MAX];

	(void)state;
	for (uint8_t i = 0; i < STORE_ID_LEN; i++)
		a.id[i] = i;
	memset(a.digest, 0xab, sizeof(a.digest));
	approval_text(&a, true, text);
	assert_string_equal(text, "holdfast-approval/v1\n00010203-0405-0607-0809-0a0b0c0d0e0f\n"
	                          "abababababababababababababababababababababababababababababababab\napprove\n");
	approval_text(&a, false, text);
	assert_non_null(strstr(text, "\ndeny\n"));
}

static void every_kind_of_key_signs_and_no_damaged_signature_passes(void **state)
{
	const struct {
		EVP_PKEY *key;
		int padding;
	} kinds[] = { { rsa(), RSA_PKCS1_PADDING }, { rsa(), RSA_PKCS1_PSS_PADDING }, { ec("P-256"), 0 }, { ec("P-384"), 0 }, { ec("P-521"), 0 },
		      { ed25519(), 0 } };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(kinds); i++) {
		struct signer_key k = certify(&signer, kinds[i].key, now_s() - 10, STORE_NO_TIME);
		char approve[APPROVAL_TEXT_MAX], deny[APPROVAL_TEXT_MAX], hex[2 * STORE_HASH_LEN + 1];
		struct approval_signature s, bad;
		struct store_vote stored[2];
		uint8_t id[STORE_ID_LEN], other[STORE_ID_LEN];
		size_t count = 0;
		uint64_t seq = 0;

		ask(other, approve, deny);
		s = sign(&k, kinds[i].padding, approve);
		ask(id, approve, deny);
		assert_int_equal(vote(&signer, id, true, &s, NULL), KMS_E_INVALID); /* of another request */
		s = sign(&k, kinds[i].padding, deny);
		assert_int_equal(vote(&signer, id, true, &s, NULL), KMS_E_INVALID); /* says the contrary */
		s = sign(&k, kinds[i].padding, approve);
		assert_int_equal(vote(&signer, id, false, &s, NULL), KMS_E_INVALID);
		for (size_t at = 0; at < s.len; at += 7) {
			bad = s;
			bad.bytes[at] ^= 1;
			assert_int_equal(vote(&signer, id, true, &bad, NULL), KMS_E_INVALID);
		}
		bad = s;
		bad.len--;
		assert_int_equal(vote(&signer, id, true, &bad, NULL), KMS_E_INVALID);
		bad.len = 0;
		assert_int_equal(vote(&signer, id, true, &bad, NULL), KMS_E_INVALID);
		bad.len = sizeof(bad.bytes) + 1;
		assert_int_equal(vote(&signer, id, true, &bad, NULL), KMS_E_INVALID);
		bad = s;
		bad.certificate[0] ^= 1;
		assert_int_equal(vote(&signer, id, true, &bad, NULL), KMS_E_INVALID);
		assert_int_equal(vote(&signer, id, true, &s, &seq), KMS_OK);
		hex_encode(k.certificate, STORE_HASH_LEN, hex);
		assert_true(t_leaf_says(&d, seq, hex));
		assert_int_equal(store_votes(d.store->r, id, stored, 2, &count, NULL), KMS_OK);
		assert_int_equal(count, 1);
		assert_memory_equal(stored[0].certificate, k.certificate, STORE_HASH_LEN);
		assert_int_equal(stored[0].signature_len, s.len);
		assert_memory_equal(stored[0].signature, s.bytes, s.len);
		EVP_PKEY_free(k.key);
	}
}

static void a_certificate_counts_for_its_owner_and_in_its_time(void **state)
{
	struct t_person other = t_person(&d, VAULT, "other", ROLE_APPROVER);
	struct signer_key of_other = certify(&other, ed25519(), now_s() - 10, STORE_NO_TIME);
	struct signer_key future = certify(&other, ed25519(), now_s() + 10, STORE_NO_TIME);
	struct signer_key past = certify(&other, ed25519(), now_s() - DAY_S - 10, STORE_NO_TIME);
	struct signer_key ended = certify(&other, ed25519(), now_s() - 10, now_s());
	char approve[APPROVAL_TEXT_MAX], deny[APPROVAL_TEXT_MAX];
	struct approval_signature s;
	uint8_t id[STORE_ID_LEN];

	(void)state;
	ask(id, approve, deny);
	s = sign(&of_other, 0, approve);
	assert_int_equal(vote(&signer, id, true, &s, NULL), KMS_E_INVALID); /* somebody else's */
	memcpy(s.certificate, future.certificate, STORE_HASH_LEN);
	assert_int_equal(vote(&other, id, true, &s, NULL), KMS_E_INVALID); /* another key's */
	s = sign(&future, 0, approve);
	assert_int_equal(vote(&other, id, true, &s, NULL), KMS_E_INVALID);
	s = sign(&past, 0, approve);
	assert_int_equal(vote(&other, id, true, &s, NULL), KMS_E_INVALID);
	s = sign(&ended, 0, approve);
	assert_int_equal(vote(&other, id, true, &s, NULL), KMS_E_INVALID);
	s = sign(&of_other, 0, approve);
	assert_int_equal(vote(&other, id, true, &s, NULL), KMS_OK);
	EVP_PKEY_free(of_other.key);
	EVP_PKEY_free(future.key);
	EVP_PKEY_free(past.key);
	EVP_PKEY_free(ended.key);
}

/* Who approved, as a leaf tells it. */
static void approver_text(const struct t_person *p, int64_t at_s, const char *cred, const char *kid, char ret[256])
{
	struct store_principal found = { 0 };
	char at[TIMESTAMP_LEN + 1], pid[B64URL_LEN(16) + 1];

	assert_int_equal(store_principal(d.store->r, p->id, &found, NULL), KMS_OK);
	timestamp_format(at_s * 1000000, at);
	b64url_encode(found.pid, sizeof(found.pid), pid);
	(void)snprintf(ret, 256, "{\"at\":\"%s\",\"cred\":\"%s\",%s\"pid\":\"%s\"}", at, cred, kid, pid);
}

static void intent_and_outcome_show_who_approved_when_and_with_what(void **state)
{
	struct t_person other = t_person(&d, VAULT, "shown", ROLE_APPROVER), third = t_person(&d, VAULT, "gone", ROLE_APPROVER);
	struct signer_key k = certify(&signer, ed25519(), now_s() - 10, STORE_NO_TIME);
	struct approval_need need = { .act = "test.act", .target = "shown", .quorum = 2 };
	char approve[APPROVAL_TEXT_MAX], hex[2 * STORE_HASH_LEN + 1], kid[32], one[256], two[256], both[600];
	struct approval_view v = { 0 };
	struct approval_signature s;
	uint8_t id[STORE_ID_LEN];
	struct op *op = t_op(&d, VAULT, EVENT_TENANT_UPDATE);
	const struct store_intent intent = { 0 };
	struct kms_err err = { 0 };
	int64_t first_s, second_s;

	(void)state;
	assert_int_equal(approval_require(op, &need, &err), KMS_E_APPROVAL);
	assert_int_equal(op->write.event.approver_count, 0);
	memcpy(id, op->approval_id, STORE_ID_LEN);
	assert_int_equal(approval_get(op, id, &v, NULL), KMS_OK);
	approval_text(&v.approval, true, approve);
	approval_view_clear(&v);
	t_op_free(op);
	s = sign(&k, 0, approve);
	first_s = now_s();
	assert_int_equal(vote(&signer, id, true, &s, NULL), KMS_OK);
	t_domain_pass(7);
	second_s = now_s();
	assert_int_equal(vote(&other, id, true, NULL, NULL), KMS_OK);
	assert_int_equal(vote(&third, id, true, NULL, NULL), KMS_OK);
	t_enable(&d, &third, false); /* does not count any more, so is not shown */
	op = t_op(&d, VAULT, EVENT_TENANT_UPDATE);
	assert_int_equal(approval_require(op, &need, &err), KMS_OK);
	assert_int_equal(op_intend(op, NULL, &intent, &err), KMS_OK);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	hex_encode(k.certificate, STORE_HASH_LEN, hex);
	(void)snprintf(kid, sizeof(kid), "\"kid\":\"%.8s\",", hex);
	approver_text(&signer, first_s, "certificate", kid, one);
	approver_text(&other, second_s, "jwt", "", two);
	(void)snprintf(both, sizeof(both), "\"appr\":[%s,%s],", one, two);
	assert_true(t_leaf_says(&d, op->write.event.ref, both));
	assert_true(t_leaf_says(&d, op->write.seq, both));
	t_op_free(op);
	EVP_PKEY_free(k.key);
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	t_vault(&d, VAULT, false);
	signer = t_person(&d, VAULT, "signer", ROLE_APPROVER);
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
		cmocka_unit_test(the_text_names_request_and_answer),
		cmocka_unit_test(every_kind_of_key_signs_and_no_damaged_signature_passes),
		cmocka_unit_test(a_certificate_counts_for_its_owner_and_in_its_time),
		cmocka_unit_test(intent_and_outcome_show_who_approved_when_and_with_what),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
