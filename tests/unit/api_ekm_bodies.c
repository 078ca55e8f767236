/* tests/unit/api_ekm_bodies.c - what pools and their administrators send: read as ekm-proxy.md section 5 has it, or refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"
#include "api/client_roots.h"
#include "tests/support/ekm_certs.h"

#define CONTEXT "\"request_context\":{\"request_id\":\"r\",\"correlation_id\":\"c\",\"pool_name\":\"p\"}"
#define SECURE_HEAP (1U << 20)

static kms_status read_text(const struct json_schema *schema, const char *text, union request_body *body, struct kms_err *err)
{
	memset(err, 0, sizeof(*err));
	return json_read(schema, (const uint8_t *)text, strlen(text), body, err);
}

static void refuses(const struct json_schema *schema, const char *text, const char *named)
{
	union request_body body;
	struct kms_err err;

	assert_int_equal(read_text(schema, text, &body, &err), KMS_E_INVALID);
	if (strstr(kms_err_text(&err), named) == NULL)
		fail_msg("%s: message '%s' does not name '%s'", text, kms_err_text(&err), named);
	assert_int_equal(secret_live(), 0);
}

/* ---- pools ---- */

static void a_crypto_body_is_read_as_given(void **state)
{
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_int_equal(read_text(&EKM_CRYPTO_SCHEMA, "{" CONTEXT ",\"alg\":\"A256KWP\",\"value\":\"AAEC\",\"new\":{\"x\":[1]}}", &body, &err), KMS_OK);
	assert_string_equal(body.ekm.request_id, "r");
	assert_string_equal(body.ekm.correlation_id, "c");
	assert_string_equal(body.ekm.pool_name, "p");
	assert_int_equal(body.ekm.alg, ALG_CKM_KWP);
	assert_int_equal(secret_len(body.ekm.value), 3);
	json_clear(&EKM_CRYPTO_SCHEMA, &body);
	assert_int_equal(secret_live(), 0);
}

static void an_empty_value_is_one_of_no_bytes(void **state)
{
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_int_equal(read_text(&EKM_CRYPTO_SCHEMA, "{" CONTEXT ",\"alg\":\"RSA-OAEP\",\"value\":\"\"}", &body, &err), KMS_OK);
	assert_null(body.ekm.value);
	json_clear(&EKM_CRYPTO_SCHEMA, &body);
	refuses(&EKM_CRYPTO_SCHEMA, "{" CONTEXT ",\"alg\":\"RSA-OAEP\"}", "value");
	refuses(&EKM_CRYPTO_SCHEMA, "{" CONTEXT ",\"alg\":\"RSA-OAEP\",\"value\":null}", "value");
}

static void values_are_base64url_without_padding(void **state)
{
	static const char *const BAD[] = { "AA==", "AAE=", "AAEC=", "=", "====", "+/8", "A/EC", "AAEC ", "A", "AB", "AA\\n", "A\\u00e9" };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		char text[256];
		(void)snprintf(text, sizeof(text), "{" CONTEXT ",\"alg\":\"A256KW\",\"value\":\"%s\"}", BAD[i]);
		refuses(&EKM_CRYPTO_SCHEMA, text, "value");
	}
}

static void only_the_four_algorithms_are_known_by_name(void **state)
{
	static const char *const BAD[] = { "A256KWPAD", "CKM_AES_KEY_WRAP_PAD", "a256kw", "A128KW", "RSA1_5", "rsa-oaep", "RSA-OAEP-512", "A256KW ", "" };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		char text[256];
		(void)snprintf(text, sizeof(text), "{" CONTEXT ",\"alg\":\"%s\",\"value\":\"AAEC\"}", BAD[i]);
		refuses(&EKM_CRYPTO_SCHEMA, text, "alg");
	}
}

static void the_context_is_required_and_may_hold_any_text(void **state)
{
	union request_body body;
	struct kms_err err;
	char text[4096], filler[3001];

	(void)state;
	refuses(&EKM_CONTEXT_SCHEMA, "{}", "request_context");
	refuses(&EKM_CONTEXT_SCHEMA, "{\"request_context\":[]}", "request_context");
	refuses(&EKM_CONTEXT_SCHEMA, "{\"request_context\":{\"pool_name\":\"p\"}}", "correlation_id");
	refuses(&EKM_CONTEXT_SCHEMA, "{\"request_context\":{\"correlation_id\":\"c\"}}", "pool_name");
	refuses(&EKM_CONTEXT_SCHEMA, "{\"request_context\":{\"correlation_id\":1,\"pool_name\":\"p\"}}", "correlation_id");
	assert_int_equal(read_text(&EKM_CONTEXT_SCHEMA, "{\"request_context\":{\"correlation_id\":\"\",\"pool_name\":\"two\\r\\n\\u001b[31m\"}}", &body, &err),
	                 KMS_OK);
	assert_string_equal(body.ekm.pool_name, "two\r\n\x1b[31m"); /* the log's encoder makes it harmless */
	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	(void)snprintf(text, sizeof(text), "{\"request_context\":{\"request_id\":\"%s\",\"correlation_id\":\"%s\",\"pool_name\":\"p\"}}", filler, "c");
	assert_int_equal(read_text(&EKM_CONTEXT_SCHEMA, text, &body, &err), KMS_OK);
	assert_int_equal(strlen(body.ekm.request_id), EKM_CONTEXT_MAX);
}

static void a_long_text_is_cut_between_characters(void **state)
{
	union request_body body;
	struct kms_err err;
	char name[1024] = "", text[2048];

	(void)state;
	for (size_t i = 0; i < 100; i++)
		memcpy(name + 3 * i, "\xe2\x82\xac", 4); /* 300 bytes; 128 is within one */
	(void)snprintf(text, sizeof(text), "{\"request_context\":{\"correlation_id\":\"c\",\"pool_name\":\"%s\"}}", name);
	assert_int_equal(read_text(&EKM_CONTEXT_SCHEMA, text, &body, &err), KMS_OK);
	assert_int_equal(strlen(body.ekm.pool_name), 126);
	assert_memory_equal(body.ekm.pool_name, name, 126);
}

/* ---- administrators ---- */

static void a_pool_is_described_in_three_ways(void **state)
{
	static const char *const WAYS[] = {
		"{\"name\":\"n\",\"prefix\":\"/a/b/\",\"subjects\":[\"x\",\"y\"],\"roots\":[\"r1\",\"r2\"]}",
		"{\"name\":\"n\",\"subjectCommonName\":\"x\",\"caCertificates\":[\"r1\"]}",
		"{\"name\":\"n\",\"subject_common_name\":\"x\",\"ca_certificates\":[\"r1\",\"r2\"]}",
	};
	union request_body body;
	struct kms_err err;

	(void)state;
	assert_int_equal(read_text(&EKM_POOL_SCHEMA, WAYS[0], &body, &err), KMS_OK);
	assert_string_equal(body.pool.prefix, "/a/b/");
	assert_int_equal(body.pool.subject_count, 2);
	assert_string_equal(body.pool.subjects[1], "y");
	assert_int_equal(body.pool.root_count, 2);
	json_clear(&EKM_POOL_SCHEMA, &body);
	assert_int_equal(read_text(&EKM_POOL_SCHEMA, WAYS[1], &body, &err), KMS_OK);
	assert_string_equal(body.pool.azure_subject[0], "x");
	assert_int_equal(body.pool.azure_root_count, 1);
	json_clear(&EKM_POOL_SCHEMA, &body);
	assert_int_equal(read_text(&EKM_POOL_SCHEMA, WAYS[2], &body, &err), KMS_OK);
	assert_string_equal(body.pool.rest_subject[0], "x");
	assert_string_equal(body.pool.rest_roots[1], "r2");
	json_clear(&EKM_POOL_SCHEMA, &body);
}

static void a_pool_of_other_shapes_is_refused(void **state)
{
	(void)state;
	refuses(&EKM_POOL_SCHEMA, "{}", "name");
	refuses(&EKM_POOL_SCHEMA, "{\"name\":\"\"}", "name");
	refuses(&EKM_POOL_SCHEMA, "{\"name\":\"n\",\"subjects\":[]}", "subjects");
	refuses(&EKM_POOL_SCHEMA, "{\"name\":\"n\",\"subjects\":[\"\"]}", "subjects");
	refuses(&EKM_POOL_SCHEMA, "{\"name\":\"n\",\"subjects\":[\"a\",1]}", "subjects");
	refuses(&EKM_POOL_SCHEMA, "{\"name\":\"n\",\"subjects\":{\"a\":1}}", "subjects");
	refuses(&EKM_POOL_SCHEMA, "{\"name\":\"n\",\"subjects\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]}", "subjects");
	refuses(&EKM_POOL_SCHEMA, "{\"name\":\"n\",\"subjectCommonName\":[\"a\",\"b\"]}", "subjectCommonName");
	refuses(&EKM_POOL_SCHEMA, "{\"name\":\"n\",\"colour\":\"red\"}", "colour");
	refuses(&EKM_PUBLISH_SCHEMA, "{\"external_id\":\"a\"}", "key");
	refuses(&EKM_PUBLISH_SCHEMA, "{\"key\":\"k\",\"version\":\"1\"}", "version");
	refuses(&EKM_RETIRE_SCHEMA, "{}", "external_id");
}

/* ---- roots ---- */

static kms_status add_roots(const char *text, size_t *ret_count, struct kms_err *err)
{
	CLIENT_ROOTS_AUTO roots = { 0 };
	kms_status status = client_roots_add(&roots, text, T_CERT_NOW_S, err);

	*ret_count = roots.count;
	return status;
}

static char *base64_of(const struct t_cert *c)
{
	char *text = malloc(B64_LEN(c->der_len) + 1);
	assert_non_null(text);
	b64_encode(c->der, c->der_len, text);
	return text;
}

static void refuses_root(const struct t_cert_spec *spec, const char *why)
{
	struct t_cert made = { 0 };
	struct kms_err err = { 0 };
	size_t count = 0;
	char *text = NULL;

	t_cert_make(spec, &made);
	text = base64_of(&made);
	assert_int_equal(add_roots(text, &count, &err), KMS_E_INVALID);
	if (strstr(kms_err_text(&err), why) == NULL)
		fail_msg("'%s' does not say '%s'", kms_err_text(&err), why);
	free(text);
	t_cert_clear(&made);
}

static void roots_are_taken_as_pem_and_as_der(void **state)
{
	struct t_cert a = { 0 }, b = { 0 };
	const struct t_cert *const both[] = { &a, &b, &a };
	struct kms_err err = { 0 };
	size_t count = 0;
	char *text = NULL;

	(void)state;
	t_cert_root("a", &a);
	t_cert_make(&(struct t_cert_spec){ .cn = "b", .basic_constraints = "CA:TRUE", .rsa_bits = 2048 }, &b);
	text = t_cert_pem(both, KMS_ARRAY_LEN(both));
	assert_int_equal(add_roots(text, &count, &err), KMS_OK);
	assert_int_equal(count, 2); /* one of them is there twice */
	free(text);
	text = base64_of(&a);
	assert_int_equal(add_roots(text, &count, &err), KMS_OK);
	assert_int_equal(count, 1);
	free(text);
	t_cert_clear(&b);
	t_cert_clear(&a);
}

static void what_is_no_good_root_is_refused_with_the_reason(void **state)
{
	struct t_cert root = { 0 };

	(void)state;
	t_cert_root("root", &root);
	refuses_root(&(struct t_cert_spec){ .cn = "leaf" }, "not the certificate of a CA");
	refuses_root(&(struct t_cert_spec){ .cn = "leaf", .basic_constraints = "CA:FALSE" }, "not the certificate of a CA");
	refuses_root(&(struct t_cert_spec){ .cn = "between", .issuer = &root, .basic_constraints = "CA:TRUE" }, "not self-signed");
	refuses_root(&(struct t_cert_spec){ .cn = "old", .basic_constraints = "CA:TRUE", .to_s = T_CERT_NOW_S - 1 }, "expired");
	refuses_root(&(struct t_cert_spec){ .cn = "short", .basic_constraints = "CA:TRUE", .rsa_bits = 1024 }, "2048");
	refuses_root(&(struct t_cert_spec){ .cn = "small", .basic_constraints = "CA:TRUE", .curve = "P-192" }, "256");
	t_cert_clear(&root);
}

/* Its own name as issuer, but another key's signature. */
static void a_forged_self_signature_is_refused(void **state)
{
	struct t_cert root = { 0 }, twin = { 0 };

	(void)state;
	t_cert_root("root", &root);
	t_cert_root("root", &twin);
	refuses_root(&(struct t_cert_spec){ .cn = "root", .issuer = &twin, .basic_constraints = "CA:TRUE" }, "not self-signed");
	t_cert_clear(&twin);
	t_cert_clear(&root);
}

/* Its own key's signature, but another name as issuer. */
static void a_root_names_itself_as_issuer(void **state)
{
	struct t_cert root = { 0 }, other = { 0 };
	struct kms_err err = { 0 };
	const struct t_cert *const one[] = { &root };
	size_t count = 0;
	char *text = NULL;

	(void)state;
	t_cert_root("root", &root);
	t_cert_root("other", &other);
	assert_int_equal(X509_set_issuer_name(root.x509, X509_get_subject_name(other.x509)), 1);
	assert_true(X509_sign(root.x509, root.key, EVP_sha256()) > 0);
	text = t_cert_pem(one, 1);
	assert_int_equal(add_roots(text, &count, &err), KMS_E_INVALID);
	assert_non_null(strstr(kms_err_text(&err), "not self-signed"));
	free(text);
	t_cert_clear(&other);
	t_cert_clear(&root);
}

static void a_text_that_is_no_certificate_is_refused(void **state)
{
	static const char *const BAD[] = { "x", "AAAA", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		                           "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "-----BEGIN " };
	struct t_cert root = { 0 };
	const struct t_cert *const one[] = { &root };
	char *text = NULL, *longer = NULL;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		struct kms_err err = { 0 };
		size_t count = 0;
		assert_int_equal(add_roots(BAD[i], &count, &err), KMS_E_INVALID);
		assert_int_equal(count, 0);
	}
	t_cert_root("root", &root);
	text = t_cert_pem(one, 1);
	assert_true(asprintf(&longer, "%s-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", text) > 0);
	size_t count = 0;
	assert_int_equal(add_roots(longer, &count, NULL), KMS_E_INVALID); /* one good certificate does not excuse a bad one */
	free(longer);
	free(text);
	t_cert_clear(&root);
}

static void there_are_at_most_eight_roots(void **state)
{
	struct t_cert certs[STORE_ROOTS_MAX + 1] = { 0 };
	const struct t_cert *list[STORE_ROOTS_MAX + 1];
	size_t count = 0;
	char *text = NULL;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(certs); i++) {
		t_cert_root("root", &certs[i]);
		list[i] = &certs[i];
	}
	text = t_cert_pem(list, STORE_ROOTS_MAX);
	assert_int_equal(add_roots(text, &count, NULL), KMS_OK);
	assert_int_equal(count, STORE_ROOTS_MAX);
	free(text);
	text = t_cert_pem(list, STORE_ROOTS_MAX + 1);
	assert_int_equal(add_roots(text, &count, NULL), KMS_E_INVALID);
	free(text);
	for (size_t i = 0; i < KMS_ARRAY_LEN(certs); i++)
		t_cert_clear(&certs[i]);
}

static int setup(void **state)
{
	struct kms_err err = { 0 };
	(void)state;
	json_setup();
	return secret_heap_init(SECURE_HEAP, &err) == KMS_OK ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crypto_body_is_read_as_given),
		cmocka_unit_test(an_empty_value_is_one_of_no_bytes),
		cmocka_unit_test(values_are_base64url_without_padding),
		cmocka_unit_test(only_the_four_algorithms_are_known_by_name),
		cmocka_unit_test(the_context_is_required_and_may_hold_any_text),
		cmocka_unit_test(a_long_text_is_cut_between_characters),
		cmocka_unit_test(a_pool_is_described_in_three_ways),
		cmocka_unit_test(a_pool_of_other_shapes_is_refused),
		cmocka_unit_test(roots_are_taken_as_pem_and_as_der),
		cmocka_unit_test(what_is_no_good_root_is_refused_with_the_reason),
		cmocka_unit_test(a_forged_self_signature_is_refused),
		cmocka_unit_test(a_root_names_itself_as_issuer),
		cmocka_unit_test(a_text_that_is_no_certificate_is_refused),
		cmocka_unit_test(there_are_at_most_eight_roots),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
