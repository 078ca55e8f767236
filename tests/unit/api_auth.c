/* tests/unit/api_auth.c - access tokens: each attack of spec/hazards.md section 2.3 is refused, and a good token is accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/evp.h>

#include "api/api.h"
#include "api/issuers.h"
#include "tests/support/jose.h"

#define NOW_S 1800000000
#define BASE "https://vault.test:8443"
#define TID "11111111-2222-4333-8444-555555555555"
#define OID "66666666-7777-4888-9999-aaaaaaaaaaaa"

static EVP_PKEY *key, *other_key;
static struct kms kms;
static struct issuers *issuers;
static struct tokens *tokens;
static char kid[64];
static int64_t now_s = NOW_S;

static int64_t fake_wall(const struct clock *c)
{
	(void)c;
	return now_s * 1000000;
}
static const struct clock FAKE = { .wall_us = fake_wall, .mono_us = fake_wall };

/* "Bearer header.payload.signature" of these JSON texts. */
static void make(char *ret, size_t cap, EVP_PKEY *with, const char *header, const char *claims)
{
	char *text = jose_sign(with, "ES256", header, claims);

	(void)snprintf(ret, cap, "Bearer %s", text);
	free(text);
}

static const char *good_header(void)
{
	static char text[256];
	(void)snprintf(text, sizeof(text), "{\"typ\":\"JWT\",\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
	return text;
}

#define CLAIMS(aud, iss_tid, tid, nbf, exp) \
	"{\"aud\":\"" aud "\",\"iss\":\"" BASE "/" iss_tid "/v2.0\",\"tid\":\"" tid "\",\"oid\":\"" OID "\",\"iat\":" nbf ",\"nbf\":" nbf ",\"exp\":" exp "}"
#define GOOD_CLAIMS CLAIMS(BASE, TID, TID, "1799999000", "1800001000")

static kms_status verify(const char *authorization)
{
	struct caller caller = { 0 };
	struct kms_err err = { 0 };
	return tokens_verify(tokens, authorization, &caller, &err);
}

static void refuse_claims(const char *claims)
{
	char token[8192];
	make(token, sizeof(token), key, good_header(), claims);
	if (verify(token) != KMS_E_UNAUTHENTICATED)
		fail_msg("accepted %s", claims);
}

static void refuse_header(const char *format)
{
	char header[512], token[8192];
	(void)snprintf(header, sizeof(header), "%s", format);
	make(token, sizeof(token), key, header, GOOD_CLAIMS);
	if (verify(token) != KMS_E_UNAUTHENTICATED)
		fail_msg("accepted %s", header);
}

static void a_good_token_names_its_caller_now_and_again(void **state)
{
	char token[8192], text[GUID_TEXT_LEN + 1];
	struct caller caller = { 0 };

	(void)state;
	make(token, sizeof(token), key, good_header(), GOOD_CLAIMS);
	for (int i = 0; i < 2; i++) { /* the second time it is remembered */
		assert_int_equal(tokens_verify(tokens, token, &caller, NULL), KMS_OK);
		guid_format(caller.principal_id, text);
		assert_string_equal(text, OID);
		guid_format(caller.directory, text);
		assert_string_equal(text, TID);
		assert_int_equal(caller.issued_s, 1799999000);
		assert_null(caller.issuer);
	}
	make(token, sizeof(token), key, good_header(), CLAIMS(BASE "/", TID, TID, "1799999000", "1800001000"));
	assert_int_equal(verify(token), KMS_OK);
}

static void a_remembered_token_still_expires(void **state)
{
	char token[8192];

	(void)state;
	make(token, sizeof(token), key, good_header(), GOOD_CLAIMS);
	assert_int_equal(verify(token), KMS_OK);
	now_s = 1800001000 + 59;
	assert_int_equal(verify(token), KMS_OK); /* within the skew */
	now_s = 1800001000 + 60;
	assert_int_equal(verify(token), KMS_E_UNAUTHENTICATED);
	now_s = NOW_S;
}

static void every_wrong_claim_is_refused(void **state)
{
	(void)state;
	refuse_claims(CLAIMS("https://vault.azure.net", TID, TID, "1799999000", "1800001000"));
	refuse_claims(CLAIMS(BASE ".evil.test", TID, TID, "1799999000", "1800001000"));
	refuse_claims(CLAIMS(BASE, "99999999-2222-4333-8444-555555555555", TID, "1799999000", "1800001000"));
	refuse_claims(CLAIMS(BASE, TID "/x", TID, "1799999000", "1800001000"));
	refuse_claims(CLAIMS(BASE, "common", "common", "1799999000", "1800001000"));
	refuse_claims(CLAIMS(BASE, TID, TID, "1799999000", "1799999900"));
	refuse_claims(CLAIMS(BASE, TID, TID, "1800000100", "1800001000"));
	refuse_claims(CLAIMS(BASE, TID, TID, "1799999000", "\"1800001000\""));
	refuse_claims("{\"aud\":\"" BASE "\",\"iss\":\"" BASE "/" TID "/v2.0\",\"tid\":\"" TID "\",\"oid\":\"" OID "\"}");
	refuse_claims("{\"aud\":[\"" BASE "\"],\"iss\":\"" BASE "/" TID "/v2.0\",\"tid\":\"" TID "\",\"oid\":\"" OID
	              "\",\"iat\":1799999000,\"nbf\":1799999000,\"exp\":1800001000}");
	refuse_claims("{\"aud\":\"" BASE "\",\"aud\":\"" BASE "\",\"iss\":\"" BASE "/" TID "/v2.0\",\"tid\":\"" TID "\",\"oid\":\"" OID
	              "\",\"iat\":1799999000,\"nbf\":1799999000,\"exp\":1800001000}");
	/* When it was issued is what a revocation goes by. */
	refuse_claims("{\"aud\":\"" BASE "\",\"iss\":\"" BASE "/" TID "/v2.0\",\"tid\":\"" TID "\",\"oid\":\"" OID
	              "\",\"nbf\":1799999000,\"exp\":1800001000}");
	refuse_claims("[]");
}

static void every_wrong_header_is_refused(void **state)
{
	char header[512];

	(void)state;
	refuse_header("{\"typ\":\"JWT\",\"alg\":\"ES256\",\"kid\":\"another\"}");
	refuse_header("{\"typ\":\"JWT\",\"alg\":\"ES256\"}");
	refuse_header("{}");
	for (size_t i = 0; i < 6; i++) {
		static const char *const ALGS[] = { "none", "None", "HS256", "RS256", "ES384", "" };
		(void)snprintf(header, sizeof(header), "{\"typ\":\"JWT\",\"alg\":\"%s\",\"kid\":\"%s\"}", ALGS[i], kid);
		refuse_header(header);
	}
	for (size_t i = 0; i < 5; i++) {
		static const char *const EXTRA[] = { "\"jku\":\"https://x\"", "\"x5u\":\"https://x\"", "\"jwk\":{}", "\"x5c\":[]", "\"crit\":[\"exp\"]" };
		(void)snprintf(header, sizeof(header), "{\"typ\":\"JWT\",\"alg\":\"ES256\",\"kid\":\"%s\",%s}", kid, EXTRA[i]);
		refuse_header(header);
	}
}

static void another_key_or_no_signature_is_refused(void **state)
{
	char token[8192], *dot = NULL;

	(void)state;
	make(token, sizeof(token), other_key, good_header(), GOOD_CLAIMS);
	assert_int_equal(verify(token), KMS_E_UNAUTHENTICATED);
	make(token, sizeof(token), key, good_header(), GOOD_CLAIMS);
	dot = strrchr(token, '.');
	dot[1] = '\0';
	assert_int_equal(verify(token), KMS_E_UNAUTHENTICATED);
	*dot = '\0';
	assert_int_equal(verify(token), KMS_E_UNAUTHENTICATED);
	/* r = s = 0 */
	memset(dot, 'A', 1 + 86);
	*dot = '.';
	dot[87] = '\0';
	assert_int_equal(verify(token), KMS_E_UNAUTHENTICATED);
}

static void flipping_any_bit_of_a_token_is_refused(void **state)
{
	char token[8192];
	size_t len = 0;

	(void)state;
	make(token, sizeof(token), key, good_header(), GOOD_CLAIMS);
	len = strlen(token);
	for (size_t i = strlen("Bearer "); i < len; i++) {
		for (int bit = 0; bit < 7; bit++) {
			token[i] = (char)(token[i] ^ (1 << bit));
			/* a leading space is only more white space before the token */
			if (token[i] != '\0' && token[i] != ' ' && verify(token) != KMS_E_UNAUTHENTICATED)
				fail_msg("accepted with bit %d of character %zu flipped", bit, i);
			token[i] = (char)(token[i] ^ (1 << bit));
		}
	}
	assert_int_equal(verify(token), KMS_OK);
}

static void what_is_not_a_bearer_token_is_refused(void **state)
{
	static const char *const BAD[] = { "", "Bearer", "Bearer ", "Basic YTpi", "Bearer a", "Bearer a.b", "Bearer a.b.c.d", "Bearer ..", "Bearer ....",
		                           "Bearer =.=.=" };
	char *huge = malloc(20000);

	(void)state;
	assert_int_equal(verify(NULL), KMS_E_UNAUTHENTICATED);
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		assert_int_equal(verify(BAD[i]), KMS_E_UNAUTHENTICATED);
	memset(huge, 'A', 19999);
	memcpy(huge, "Bearer ", 7);
	huge[19999] = '\0';
	assert_int_equal(verify(huge), KMS_E_UNAUTHENTICATED);
	free(huge);
}

static int setup(void **state)
{
	struct kms_err err = { 0 };
	json_t *jwks = NULL;

	(void)state;
	if (secret_heap_init(1U << 20, &err) != KMS_OK)
		return -1;
	json_setup();
	key = EVP_EC_gen("P-256");
	other_key = EVP_EC_gen("P-256");
	kms.clock = &FAKE;
	kms.public_port = 8443;
	(void)snprintf(kms.domain, sizeof(kms.domain), "vault.test");
	if (EVP_PKEY_get_octet_string_param(key, "encoded-pub-key", kms.inst.token_public.point, sizeof(kms.inst.token_public.point),
	                                    &kms.inst.token_public.point_len) != 1 || issuers_new(&FAKE, NULL, 0, &issuers, &err) != KMS_OK ||
	    tokens_new(&kms, issuers, &tokens, &err) != KMS_OK)
		return -1;
	jwks = tokens_jwks(tokens);
	(void)snprintf(kid, sizeof(kid), "%s",
	               json_string_value(json_object_get(json_array_get(json_object_get(jwks, "keys"), 0), "kid")));
	json_decref(jwks);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tokens_free(tokens);
	issuers_free(issuers);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other_key);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_token_names_its_caller_now_and_again),
		cmocka_unit_test(a_remembered_token_still_expires),
		cmocka_unit_test(every_wrong_claim_is_refused),
		cmocka_unit_test(every_wrong_header_is_refused),
		cmocka_unit_test(another_key_or_no_signature_is_refused),
		cmocka_unit_test(flipping_any_bit_of_a_token_is_refused),
		cmocka_unit_test(what_is_not_a_bearer_token_is_refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
