/* tests/unit/api_assertion.c - client assertions against a real database: whose certificate, in date, how often, from where, how many. What the official client sends, and each
 * wrong member, is in tests/sdk/assertion.test.mjs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "api/assertion.h"
#include "tests/support/ekm_certs.h"
#include "tests/support/jose.h"
#include "tests/support/store_fixture.h"

#define NOW_S T_CERT_NOW_S
#define DAY_S 86400
#define CLIENT "66666666-7777-4888-9999-aaaaaaaaaaaa"
#define URL "https://vault.test/t/oauth2/v2.0/token"

static const char *const AUDIENCES[] = { URL, "https://vault.test/adfs/oauth2/token", NULL };
static struct store_principal app;
static struct assertions *assertions;
static unsigned requests;

static void register_cert(struct store_fixture *f, unsigned n, const struct t_cert *cert)
{
	struct store_credential c = store_fixture_credential(n, &app);

	c.kind = STORE_CREDENTIAL_CERTIFICATE;
	SHA256(cert->der, cert->der_len, c.hash);
	c.data = cert->der;
	c.data_len = cert->der_len;
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_CREDENTIAL_ADD, .credential = c }), KMS_OK);
}

/* An assertion of this name, of the certificate's key. */
static char *make(const struct t_cert *cert, const char *alg, const char *jti)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];
	char x5t[B64URL_LEN(sizeof(hash)) + 1], *header = NULL, *claims = NULL, *text = NULL;

	SHA256(cert->der, cert->der_len, hash);
	b64url_encode(hash, sizeof(hash), x5t);
	header = jose_text("{\"alg\":\"%s\",\"typ\":\"JWT\",\"x5t#S256\":\"%s\"}", alg, x5t);
	claims = jose_text("{\"iss\":\"" CLIENT "\",\"sub\":\"" CLIENT "\",\"aud\":\"" URL "\",\"exp\":%lld,\"jti\":\"%s\"}", (long long)NOW_S + 600, jti);
	text = jose_sign(cert->key, alg, header, claims);
	free(header);
	free(claims);
	return text;
}

static kms_status check_at(struct store_fixture *f, const char *text, int64_t now_s, const char *peer, const char *request)
{
	char own[GUID_TEXT_LEN + 1];
	struct assertion_use use = { .client_id = CLIENT, .audiences = AUDIENCES, .request_id = request != NULL ? request : own, .peer = peer, .now_s = now_s };

	(void)snprintf(own, sizeof(own), "request-%u", requests++);
	return assertion_check(assertions, f->r, &app, text, &use, NULL);
}

static kms_status check(struct store_fixture *f, const char *text) { return check_at(f, text, NOW_S, "192.0.2.1", NULL); }

static void only_keys_and_algorithms_of_ours_and_only_in_date(void **state)
{
	static const struct {
		struct t_cert_spec spec;
		const char *alg;
		kms_status expected;
	} CASES[] = {
		{ { .cn = "ec" }, "ES256", KMS_OK },
		{ { .cn = "rsa", .rsa_bits = 2048 }, "RS256", KMS_OK },
		{ { .cn = "rsa", .rsa_bits = 2048 }, "PS256", KMS_OK },
		{ { .cn = "weak", .rsa_bits = 1024 }, "RS256", KMS_E_OAUTH_CLIENT },
		{ { .cn = "old", .from_s = NOW_S - 2 * DAY_S, .to_s = NOW_S - 1 }, "ES256", KMS_E_OAUTH_CLIENT },
		{ { .cn = "last second", .from_s = NOW_S - 2 * DAY_S, .to_s = NOW_S }, "ES256", KMS_OK },
		{ { .cn = "new", .from_s = NOW_S + 1, .to_s = NOW_S + DAY_S }, "ES256", KMS_E_OAUTH_CLIENT },
		{ { .cn = "first second", .from_s = NOW_S, .to_s = NOW_S + DAY_S }, "ES256", KMS_OK },
	};
	struct store_fixture *f = *state;

	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct t_cert cert = { 0 };
		char jti[32], *text = NULL;
		t_cert_make(&CASES[i].spec, &cert);
		register_cert(f, 100 + (unsigned)i, &cert);
		(void)snprintf(jti, sizeof(jti), "case-%zu", i);
		text = make(&cert, CASES[i].alg, jti);
		if (check(f, text) != CASES[i].expected)
			fail_msg("%s by %s", CASES[i].alg, CASES[i].spec.cn);
		free(text);
		t_cert_clear(&cert);
	}
}

static void a_copy_that_is_sent_from_elsewhere_is_refused(void **state)
{
	struct store_fixture *f = *state;
	struct t_cert cert = { 0 };
	char *text = NULL;

	t_cert_make(&(struct t_cert_spec){ .cn = "ec" }, &cert);
	register_cert(f, 1, &cert);
	text = make(&cert, "ES256", "copied");
	assert_int_equal(check(f, text), KMS_OK);
	assert_int_equal(check_at(f, text, NOW_S, "192.0.2.2", NULL), KMS_E_OAUTH_CLIENT);
	assert_int_equal(check_at(f, text, NOW_S, "192.0.2.10", NULL), KMS_E_OAUTH_CLIENT);
	assert_int_equal(check(f, text), KMS_OK); /* its client is not kept out by it */
	free(text);
	t_cert_clear(&cert);
}

static void an_assertion_is_used_up_but_a_request_that_is_decided_anew_is_one_use(void **state)
{
	struct store_fixture *f = *state;
	struct t_cert cert = { 0 };
	char *text = NULL;

	t_cert_make(&(struct t_cert_spec){ .cn = "ec" }, &cert);
	register_cert(f, 1, &cert);
	text = make(&cert, "ES256", "used");
	for (int i = 0; i < ASSERTION_USES_MAX; i++) {
		char request[GUID_TEXT_LEN + 1];
		(void)snprintf(request, sizeof(request), "same-%d", i);
		for (int again = 0; again < 3; again++)
			assert_int_equal(check_at(f, text, NOW_S, "192.0.2.1", request), KMS_OK);
	}
	assert_int_equal(check(f, text), KMS_E_OAUTH_CLIENT);
	assert_int_equal(check_at(f, text, NOW_S + 659, "192.0.2.1", NULL), KMS_E_OAUTH_CLIENT); /* remembered for as long as it could be used */
	free(text);
	t_cert_clear(&cert);
}

static void a_client_that_makes_too_many_is_slowed_down_until_they_end(void **state)
{
	enum { EACH = 1024 };
	struct store_fixture *f = *state;
	struct t_cert cert = { 0 };
	char jti[32], *text = NULL;

	t_cert_make(&(struct t_cert_spec){ .cn = "ec" }, &cert);
	register_cert(f, 1, &cert);
	for (int i = 0; i <= EACH; i++) {
		(void)snprintf(jti, sizeof(jti), "many-%d", i);
		text = make(&cert, "ES256", jti);
		assert_int_equal(check(f, text), i < EACH ? KMS_OK : KMS_E_THROTTLED);
		free(text);
	}
	text = make(&cert, "ES256", "many-0");
	assert_int_equal(check(f, text), KMS_OK); /* one that is known needs no room */
	free(text);
	t_cert_clear(&cert);
}

static void no_tenant_fills_the_room_of_another(void **state)
{
	enum { PRINCIPALS = 9, EACH = 1024 };
	struct store_fixture *f = *state;
	struct store_vault mine = store_fixture_vault(1, "payroll"), other = store_fixture_vault(2, "orders");
	struct store_principal first = app;
	struct t_cert cert = { 0 };
	char jti[32], *text = NULL;

	t_cert_make(&(struct t_cert_spec){ .cn = "ec" }, &cert);
	for (unsigned n = 0; n < PRINCIPALS; n++) {
		app = store_fixture_principal(10 + n, &mine);
		assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = app }), KMS_OK);
		register_cert(f, 10 + n, &cert);
		for (int i = 0; i < EACH; i++) {
			(void)snprintf(jti, sizeof(jti), "many-%d", i);
			text = make(&cert, "ES256", jti);
			(void)check(f, text);
			free(text);
		}
	}
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = other }), KMS_OK);
	app = store_fixture_principal(30, &other);
	assert_int_equal(store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = app }), KMS_OK);
	register_cert(f, 30, &cert);
	text = make(&cert, "ES256", "one");
	assert_int_equal(check(f, text), KMS_OK);
	free(text);
	app = first;
	t_cert_clear(&cert);
}

static void every_bit_of_an_assertion_counts(void **state)
{
	struct store_fixture *f = *state;
	struct t_cert cert = { 0 };
	char *text = NULL;

	t_cert_make(&(struct t_cert_spec){ .cn = "ec" }, &cert);
	register_cert(f, 1, &cert);
	text = make(&cert, "ES256", "flipped");
	for (size_t i = 0; text[i] != '\0'; i++)
		for (int bit = 0; bit < 7; bit += 3) {
			text[i] = (char)(text[i] ^ (1 << bit));
			if (text[i] != '\0' && check(f, text) != KMS_E_OAUTH_CLIENT)
				fail_msg("accepted with bit %d of character %zu flipped", bit, i);
			text[i] = (char)(text[i] ^ (1 << bit));
		}
	assert_int_equal(check(f, text), KMS_OK);
	free(text);
	t_cert_clear(&cert);
}

static int open_all(void **state)
{
	struct kms_err err = { 0 };
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_fixture *f = NULL;

	json_setup();
	if (store_fixture_open(state) != 0 || assertions_new(&assertions, &err) != KMS_OK)
		return -1;
	f = *state;
	app = store_fixture_principal(1, &v);
	return store_fixture_one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }) == KMS_OK &&
	               store_fixture_one(f, (struct store_change){ .kind = STORE_PRINCIPAL_ADD, .principal = app }) == KMS_OK ? 0 : -1;
}

static int close_all(void **state)
{
	assertions_free(assertions);
	return store_fixture_close(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_keys_and_algorithms_of_ours_and_only_in_date, open_all, close_all),
		cmocka_unit_test_setup_teardown(a_copy_that_is_sent_from_elsewhere_is_refused, open_all, close_all),
		cmocka_unit_test_setup_teardown(an_assertion_is_used_up_but_a_request_that_is_decided_anew_is_one_use, open_all, close_all),
		cmocka_unit_test_setup_teardown(a_client_that_makes_too_many_is_slowed_down_until_they_end, open_all, close_all),
		cmocka_unit_test_setup_teardown(no_tenant_fills_the_room_of_another, open_all, close_all),
		cmocka_unit_test_setup_teardown(every_bit_of_an_assertion_counts, open_all, close_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
