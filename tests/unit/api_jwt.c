/* tests/unit/api_jwt.c - tokens are taken apart strictly, and no token chooses how it is checked: hazards.md 2.3, Wycheproof's JWS vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/keyset.h"
#include "server/base/encode.h"
#include "tests/support/jose.h"
#include "tests/support/wycheproof.h"

#define ALL (JWT_RS256 | JWT_PS256 | JWT_ES256 | JWT_EDDSA)
#define CLAIMS "{\"iss\":\"https://issuer.test\",\"aud\":[\"a\",\"b\"],\"exp\":1800000000.75,\"iat\":\"1800000000\",\"nbf\":-1,\"far\":1e300}"

static EVP_PKEY *rsa, *p256, *p384, *ed25519, *weak;

static bool holds(const char *token, EVP_PKEY *key, unsigned algs)
{
	JWT_AUTO j = { 0 };
	return jwt_parse(token, false, &j) == NULL && jwt_verify(&j, key, algs);
}

static void each_algorithm_holds_with_its_key_alone(void **state)
{
	static const struct {
		const char *alg;
		EVP_PKEY **key;
		enum jwt_alg bit;
	} ALGS[] = { { "RS256", &rsa, JWT_RS256 }, { "PS256", &rsa, JWT_PS256 }, { "ES256", &p256, JWT_ES256 }, { "EdDSA", &ed25519, JWT_EDDSA } };
	EVP_PKEY *const keys[] = { rsa, p256, p384, ed25519, weak };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ALGS); i++) {
		char *header = jose_text("{\"alg\":\"%s\",\"kid\":\"k\"}", ALGS[i].alg);
		char *token = jose_sign(*ALGS[i].key, ALGS[i].alg, header, CLAIMS);
		assert_true(holds(token, *ALGS[i].key, ALL));
		assert_true(holds(token, *ALGS[i].key, ALGS[i].bit));
		assert_false(holds(token, *ALGS[i].key, ALL & ~(unsigned)ALGS[i].bit));
		for (size_t k = 0; k < KMS_ARRAY_LEN(keys); k++)
			assert_int_equal(holds(token, keys[k], ALL), keys[k] == *ALGS[i].key);
		free(header);
		free(token);
	}
}

static void a_signature_of_another_algorithm_than_the_header_says_is_refused(void **state)
{
	static const char *const ALGS[] = { "RS256", "PS256" };

	(void)state;
	for (size_t signed_as = 0; signed_as < 2; signed_as++) {
		char *header = jose_text("{\"alg\":\"%s\"}", ALGS[1 - signed_as]);
		char *token = jose_sign(rsa, ALGS[signed_as], header, CLAIMS);
		assert_false(holds(token, rsa, ALL));
		free(header);
		free(token);
	}
}

static void weak_keys_and_other_curves_are_good_for_nothing(void **state)
{
	char *token = jose_sign(weak, "RS256", "{\"alg\":\"RS256\"}", CLAIMS);

	(void)state;
	assert_false(holds(token, weak, ALL));
	assert_int_equal(jwt_key_algs(weak), 0);
	assert_int_equal(jwt_key_algs(p384), 0);
	free(token);
}

static void rsa_exponents_that_sign_anything_or_take_long_are_good_for_nothing(void **state)
{
	static const char *const BAD[] = { "1", "2", "10000", "10000000000000001", "FFFFFFFFFFFFFFFFFFFF" };
	EVP_PKEY *small = jose_rsa_key("3"), *longest = jose_rsa_key("FFFFFFFFFFFFFFFF"), *long_one = jose_rsa_key("10000000000000001");
	char *token = jose_sign(long_one, "RS256", "{\"alg\":\"RS256\"}", CLAIMS), *good = jose_sign(longest, "RS256", "{\"alg\":\"RS256\"}", CLAIMS);

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		EVP_PKEY *key = jose_rsa_public(rsa, BAD[i]);
		if (jwt_key_algs(key) != 0)
			fail_msg("took the exponent 0x%s", BAD[i]);
		EVP_PKEY_free(key);
	}
	assert_int_equal(jwt_key_algs(small), JWT_RS256 | JWT_PS256);
	assert_true(holds(good, longest, ALL));
	assert_false(holds(token, long_one, ALL)); /* though it is well signed */
	free(token);
	free(good);
	EVP_PKEY_free(small);
	EVP_PKEY_free(longest);
	EVP_PKEY_free(long_one);
}

static const char *refusal(const char *header)
{
	JWT_AUTO j = { 0 };
	char *token = jose_sign(p256, "ES256", header, CLAIMS);
	const char *why = jwt_parse(token, false, &j);

	free(token);
	return why;
}

static void headers_that_would_choose_the_key_or_the_algorithm_are_refused(void **state)
{
	static const char *const BAD[] = {
		"{\"alg\":\"none\"}", "{\"alg\":\"None\"}", "{\"alg\":\"HS256\"}", "{\"alg\":\"es256\"}", "{\"alg\":\"ES384\"}", "{\"alg\":\"\"}", "{\"alg\":1}",
		"{\"alg\":[\"ES256\"]}", "{\"kid\":\"k\"}", "{}", "[]", "\"ES256\"", "{\"alg\":\"ES256\",\"alg\":\"ES256\"}",
		"{\"alg\":\"ES256\",\"jku\":\"https://evil.test/keys\"}", "{\"alg\":\"ES256\",\"x5u\":\"https://evil.test/cert\"}",
		"{\"alg\":\"ES256\",\"jwk\":{\"kty\":\"EC\"}}", "{\"alg\":\"ES256\",\"x5c\":[\"MII\"]}", "{\"alg\":\"ES256\",\"crit\":[\"exp\"]}",
		"{\"alg\":\"ES256\",\"crit\":[]}", "{\"alg\":\"ES256\",\"b64\":false}", "{\"alg\":\"ES256\",\"jku\":null}", "{\"alg\":\"ES256\",\"kid\":1}",
		"{\"alg\":\"ES256\",\"kid\":\"\"}", "{\"alg\":\"ES256\",\"kid\":\"a\\nb\"}", "{\"alg\":\"ES256\",\"kid\":\"a\\u0000b\"}",
		"{\"alg\":\"ES256\",\"kid\":\"\xc3\xa9\"}", "{\"alg\":\"ES256\"} ,", "{\"alg\":\"ES256\"",
	};
	char kid[JWT_KID_MAX + 2], *header = NULL;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		if (refusal(BAD[i]) == NULL)
			fail_msg("accepted %s", BAD[i]);
	memset(kid, 'k', sizeof(kid) - 1);
	kid[sizeof(kid) - 1] = '\0';
	header = jose_text("{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
	assert_non_null(refusal(header));
	free(header);
	header = jose_text("{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid + 1);
	assert_null(refusal(header));
	free(header);
	assert_null(refusal("{\"alg\":\"ES256\",\"kid\":\"../../etc/passwd' OR 1=1 --\"}")); /* a name like any other */
}

static void only_who_asks_for_it_gets_a_header_with_a_chain(void **state)
{
	char *token = jose_sign(p256, "ES256", "{\"alg\":\"ES256\",\"x5c\":[\"MII\"]}", CLAIMS);
	JWT_AUTO j = { 0 };

	(void)state;
	assert_non_null(jwt_parse(token, false, &j));
	assert_null(j.header);
	assert_null(jwt_parse(token, true, &j));
	free(token);
}

static void texts_that_are_no_jws_are_refused(void **state)
{
	static const char *const BAD[] = { "", ".", "..", "...", "a", "a.b", "a.b.c", "a.b.c.d", "e30.e30.", "e30..AAAA", ".e30.AAAA", "eyJhbGciOiJFUzI1NiJ9.W10.AAAA",
		                           "eyJhbGciOiJFUzI1NiJ9.e30=.AAAA", "eyJhbGciOiJFUzI1NiJ9.e30.AAA=", "eyJhbGciOiJFUzI1NiJ9=.e30.AAAA",
		                           "eyJhbGciOiJFUzI1NiJ9.e30.AA+A", "eyJhbGciOiJFUzI1NiJ9.e31.AAAA", " eyJhbGciOiJFUzI1NiJ9.e30.AAAA" };
	char *huge = malloc(JWT_TEXT_MAX + 2);
	JWT_AUTO j = { 0 };

	(void)state;
	assert_null(jwt_parse("eyJhbGciOiJFUzI1NiJ9.e30.AAAA", false, &j)); /* what the others are spoilt from */
	jwt_clear(&j);
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		if (jwt_parse(BAD[i], false, &j) == NULL)
			fail_msg("accepted %s", BAD[i]);
	memset(huge, 'A', JWT_TEXT_MAX + 1);
	memcpy(huge, "eyJhbGciOiJFUzI1NiJ9.e30.", strlen("eyJhbGciOiJFUzI1NiJ9.e30."));
	huge[JWT_TEXT_MAX + 1] = '\0';
	assert_non_null(jwt_parse(huge, false, &j));
	free(huge);
}

static void claims_are_read_by_their_type(void **state)
{
	char *token = jose_sign(p256, "ES256", "{\"alg\":\"ES256\",\"typ\":\"application/AT+JWT\"}", CLAIMS);
	JWT_AUTO j = { 0 };
	int64_t s = 7;

	(void)state;
	assert_null(jwt_parse(token, false, &j));
	assert_true(jwt_type_is(&j, "at+jwt"));
	assert_false(jwt_type_is(&j, "JWT"));
	assert_string_equal(jwt_text(&j, "iss"), "https://issuer.test");
	assert_string_equal(jwt_text(&j, "aud"), "");
	assert_true(jwt_is_for(&j, "a") && jwt_is_for(&j, "b"));
	assert_false(jwt_is_for(&j, "c") || jwt_is_for(&j, ""));
	assert_true(jwt_time(&j, "exp", &s));
	assert_int_equal(s, 1800000000);
	assert_false(jwt_time(&j, "iat", &s) || jwt_time(&j, "nbf", &s) || jwt_time(&j, "far", &s) || jwt_time(&j, "none", &s));
	free(token);
}

static void flipping_any_bit_of_a_signature_is_refused(void **state)
{
	EVP_PKEY *const keys[] = { rsa, rsa, p256, ed25519 };
	static const char *const ALGS[] = { "RS256", "PS256", "ES256", "EdDSA" };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ALGS); i++) {
		char *header = jose_text("{\"alg\":\"%s\"}", ALGS[i]);
		char *token = jose_sign(keys[i], ALGS[i], header, CLAIMS);
		JWT_AUTO j = { 0 };
		assert_null(jwt_parse(token, false, &j));
		for (size_t bit = 0; bit < 8 * j.signature_len; bit++) {
			j.signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
			if (jwt_verify(&j, keys[i], ALL))
				fail_msg("%s holds with bit %zu flipped", ALGS[i], bit);
			j.signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		assert_true(jwt_verify(&j, keys[i], ALL));
		j.signature_len--;
		assert_false(jwt_verify(&j, keys[i], ALL));
		free(header);
		free(token);
	}
}

static void an_ecdsa_signature_of_zeros_or_in_der_is_refused(void **state)
{
	char *token = jose_sign(p256, "ES256", "{\"alg\":\"ES256\"}", CLAIMS);
	JWT_AUTO j = { 0 };
	static const uint8_t DER[] = { 0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01 };

	(void)state;
	assert_null(jwt_parse(token, false, &j));
	memset(j.signature, 0, 32);
	assert_false(jwt_verify(&j, p256, ALL));
	memset(j.signature, 0, 64);
	assert_false(jwt_verify(&j, p256, ALL));
	memcpy(j.signature, DER, sizeof(DER));
	j.signature_len = sizeof(DER);
	assert_false(jwt_verify(&j, p256, ALL));
	free(token);
}

/* ---- published vectors ---- */

/* The group's key as an issuer would publish it. One without kid gets one: a set takes no others. */
static struct keyset *publish(const json_t *group, char **ret_kid)
{
	json_t *jwk = json_deep_copy(json_object_get(group, json_object_get(group, "public") != NULL ? "public" : "private"));
	json_t *document = NULL;
	struct keyset *set = NULL;
	char *text = NULL;

	if (json_object_get(jwk, "kid") == NULL)
		assert_int_equal(json_object_set_new(jwk, "kid", json_string("of the group")), 0);
	*ret_kid = strdup(json_string_value(json_object_get(jwk, "kid")));
	document = json_pack("{s:[o]}", "keys", jwk);
	text = json_dumps(document, 0);
	if (keyset_parse((const uint8_t *)text, strlen(text), &set, NULL) != KMS_OK)
		set = NULL; /* nothing in it that we would take */
	free(text);
	json_decref(document);
	return set;
}

/* Of what a header says, whatever the key says. */
static bool is_of_ours(const char *token)
{
	uint8_t text[1024];
	size_t len = 0;
	JSON_AUTO *header = b64url_decode(token, strcspn(token, "."), text, sizeof(text), &len) ? json_loadb((const char *)text, len, 0, NULL) : NULL;

	return jwt_alg_parse(wy_text(header, "alg")) != 0;
}

static enum wy_outcome jws(void *arg, const struct wy_case *c, const char **ret_reason)
{
	char *kid = NULL;
	struct keyset *set = publish(c->group, &kid);
	unsigned algs = 0;
	EVP_PKEY *key = set != NULL ? keyset_find(set, kid, &algs) : NULL;
	const json_t *text = json_object_get(c->test, "jws");
	JWT_AUTO j = { 0 };
	/* A JWS in JSON serialisation is no text. */
	bool is_accepted = key != NULL && json_is_string(text) && jwt_parse_any(json_string_value(text), false, &j) == NULL && jwt_verify(&j, key, algs);

	(void)arg;
	keyset_release(set);
	free(kid);
	if (!c->is_valid || is_accepted)
		return c->is_valid == is_accepted ? WY_PASS : WY_FAIL;
	*ret_reason = "an algorithm that is not taken";
	return is_of_ours(json_string_value(text)) ? WY_FAIL : WY_SKIP;
}

static void wycheproof_signatures_are_judged_as_published(void **state)
{
	struct wy_counts counts = { 0 };

	(void)state;
	if (!wy_run("json_web_signature_test", "tokens", jws, NULL, &counts))
		skip();
	assert_int_equal(counts.failed, 0);
	assert_int_equal(counts.passed + counts.skipped, 401);
	assert_int_equal(counts.skipped, 30);
}

static int setup(void **state)
{
	(void)state;
	rsa = jose_key("RSA");
	p256 = jose_key("P-256");
	p384 = jose_key("P-384");
	ed25519 = jose_key("Ed25519");
	weak = jose_key("RSA-1024");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(p256);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(ed25519);
	EVP_PKEY_free(weak);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_algorithm_holds_with_its_key_alone),
		cmocka_unit_test(a_signature_of_another_algorithm_than_the_header_says_is_refused),
		cmocka_unit_test(weak_keys_and_other_curves_are_good_for_nothing),
		cmocka_unit_test(rsa_exponents_that_sign_anything_or_take_long_are_good_for_nothing),
		cmocka_unit_test(headers_that_would_choose_the_key_or_the_algorithm_are_refused),
		cmocka_unit_test(only_who_asks_for_it_gets_a_header_with_a_chain),
		cmocka_unit_test(texts_that_are_no_jws_are_refused),
		cmocka_unit_test(claims_are_read_by_their_type),
		cmocka_unit_test(flipping_any_bit_of_a_signature_is_refused),
		cmocka_unit_test(an_ecdsa_signature_of_zeros_or_in_der_is_refused),
		cmocka_unit_test(wycheproof_signatures_are_judged_as_published),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
