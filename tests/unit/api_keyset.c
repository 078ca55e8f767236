/* tests/unit/api_keyset.c - JWK Sets: which keys are taken, which are passed over, and which sets are refused as a whole. */
#include <assert.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/keyset.h"
#include "tests/support/jose.h"

static EVP_PKEY *rsa, *p256, *p384, *ed25519, *weak;

/* Takes the text. */
static kms_status parse(char *text, struct keyset **ret_set, char *message)
{
	struct kms_err err = { 0 };
	kms_status status = keyset_parse((const uint8_t *)text, strlen(text), ret_set, &err);

	if (message != NULL)
		memcpy(message, err.message, sizeof(err.message));
	free(text);
	return status;
}

static void all_three_kinds_of_keys_are_taken_with_their_algorithms(void **state)
{
	char *a = jose_jwk(rsa, "a", "\"use\":\"sig\""), *b = jose_jwk(p256, "b", ""), *c = jose_jwk(ed25519, "c", "\"x5c\":[\"MII\"],\"x5t\":\"x\"");
	char *d = jose_jwk(rsa, "d", "\"alg\":\"PS256\",\"key_ops\":[\"verify\"],\"issuer\":{\"deep\":[1]}");
	struct keyset *set = NULL;
	unsigned algs = 0;
	EVP_PKEY *key = NULL;

	(void)state;
	assert_int_equal(parse(jose_text("{\"keys\":[%s,%s,%s,%s]}", a, b, c, d), &set, NULL), KMS_OK);
	assert_int_equal(keyset_count(set), 4);
	key = keyset_find(set, "a", &algs);
	assert_int_equal(EVP_PKEY_eq(key, rsa), 1);
	assert_int_equal(algs, JWT_RS256 | JWT_PS256);
	key = keyset_find(set, "b", &algs);
	assert_int_equal(EVP_PKEY_eq(key, p256), 1);
	assert_int_equal(algs, JWT_ES256);
	key = keyset_find(set, "c", &algs);
	assert_int_equal(EVP_PKEY_eq(key, ed25519), 1);
	assert_int_equal(algs, JWT_EDDSA);
	assert_non_null(keyset_find(set, "d", &algs));
	assert_int_equal(algs, JWT_PS256);
	assert_null(keyset_find(set, "A", &algs));
	assert_null(keyset_find(set, "", &algs));
	assert_null(keyset_find(set, "a ", &algs));
	keyset_release(set);
	free(a);
	free(b);
	free(c);
	free(d);
}

/* One key beside a good one: is it passed over? */
static void pass_over(char *jwk)
{
	char *good = jose_jwk(p256, "good", "");
	struct keyset *set = NULL;
	unsigned algs = 0;

	if (parse(jose_text("{\"keys\":[%s,%s]}", jwk, good), &set, NULL) != KMS_OK)
		fail_msg("refused the set with %s", jwk);
	if (keyset_count(set) != 1 || keyset_find(set, "good", &algs) == NULL)
		fail_msg("took %s", jwk);
	keyset_release(set);
	free(good);
	free(jwk);
}

static void keys_that_are_of_no_use_here_are_passed_over(void **state)
{
	char kid[JWT_KID_MAX + 2], *jwk = NULL;

	(void)state;
	pass_over(strdup("{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"AAAA\"}"));
	pass_over(strdup("{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"AAAA\",\"d\":\"AAAA\"}"));
	pass_over(jose_jwk(rsa, "k", "\"use\":\"enc\""));
	pass_over(jose_jwk(rsa, "k", "\"use\":1"));
	pass_over(jose_jwk(rsa, "k", "\"key_ops\":[\"encrypt\"]"));
	pass_over(jose_jwk(rsa, "k", "\"key_ops\":\"verify\""));
	pass_over(jose_jwk(rsa, "k", "\"alg\":\"RS512\""));
	pass_over(jose_jwk(rsa, "k", "\"alg\":\"HS256\""));
	pass_over(jose_jwk(rsa, "k", "\"alg\":\"ES256\""));
	pass_over(jose_jwk(rsa, "k", "\"alg\":1"));
	pass_over(jose_jwk(rsa, "", ""));
	pass_over(jose_jwk(rsa, "a\\tb", ""));
	pass_over(jose_jwk(rsa, "\xc3\xa9", ""));
	pass_over(jose_jwk(weak, "k", ""));
	pass_over(jose_jwk(p384, "k", ""));
	pass_over(strdup("{}"));
	pass_over(strdup("{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\"}"));
	memset(kid, 'k', sizeof(kid) - 1);
	kid[sizeof(kid) - 1] = '\0';
	pass_over(jose_jwk(rsa, kid, ""));
	jwk = jose_jwk(rsa, kid + 1, "");
	{
		struct keyset *set = NULL;
		assert_int_equal(parse(jose_text("{\"keys\":[%s]}", jwk), &set, NULL), KMS_OK);
		keyset_release(set);
	}
	free(jwk);
}

/* Replace a value of a JWK's member, in base64url. */
static char *spoil(char *jwk, const char *member, const char *value)
{
	char *name = jose_text("\"%s\":\"", member), *at = strstr(jwk, name), *end = NULL, *spoilt = NULL;

	assert_non_null(at);
	at += strlen(name);
	end = strchr(at, '"');
	*at = '\0';
	spoilt = jose_text("%s%s%s", jwk, value, end);
	free(name);
	free(jwk);
	return spoilt;
}

static void damaged_keys_are_passed_over(void **state)
{
	(void)state;
	pass_over(spoil(jose_jwk(rsa, "k", ""), "e", "AQ"));         /* 1 */
	pass_over(spoil(jose_jwk(rsa, "k", ""), "e", "Ag"));         /* 2 */
	pass_over(spoil(jose_jwk(rsa, "k", ""), "e", "AQAA"));       /* 65536 */
	pass_over(spoil(jose_jwk(rsa, "k", ""), "e", ""));
	pass_over(spoil(jose_jwk(rsa, "k", ""), "e", "AAAA"));
	pass_over(spoil(jose_jwk(rsa, "k", ""), "e", "_____________w")); /* larger than any */
	pass_over(spoil(jose_jwk(rsa, "k", ""), "e", "AQAAAAAAAAAB"));   /* 2^64 + 1 */
	pass_over(spoil(jose_jwk(rsa, "k", ""), "n", "AQAB"));
	pass_over(spoil(jose_jwk(rsa, "k", ""), "n", "not base64url!"));
	pass_over(spoil(jose_jwk(p256, "k", ""), "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")); /* not on the curve */
	pass_over(spoil(jose_jwk(p256, "k", ""), "y", "AAAA"));
	pass_over(spoil(jose_jwk(p256, "k", ""), "crv", "secp256k1"));
	pass_over(spoil(jose_jwk(ed25519, "k", ""), "x", "AAAA"));
	pass_over(spoil(jose_jwk(ed25519, "k", ""), "crv", "X25519"));
	pass_over(spoil(jose_jwk(p256, "k", ""), "kty", "ec"));
}

static void refuse_as(char *text, kms_status expected, const char *why)
{
	struct keyset *set = NULL;
	char *shown = jose_text("%.200s", text), message[sizeof(((struct kms_err *)0)->message)] = "";

	if (parse(text, &set, message) != expected)
		fail_msg("took %s", shown);
	if (strstr(message, why) == NULL)
		fail_msg("%s: %s", shown, message);
	assert_null(set);
	free(shown);
}
static void refuse(char *text, const char *why) { refuse_as(text, KMS_E_INVALID, why); }

static void sets_that_cannot_be_trusted_are_refused_as_a_whole(void **state)
{
	static const char *const PRIVATE[] = { "d", "p", "q", "dp", "dq", "qi", "oth" };
	char *good = jose_jwk(p256, "good", ""), *text = NULL;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(PRIVATE); i++) {
		char *member = jose_text("\"%s\":\"AAAA\"", PRIVATE[i]), *jwk = jose_jwk(rsa, "k", member);
		refuse_as(jose_text("{\"keys\":[%s,%s]}", good, jwk), KMS_E_CONFLICT, "private key");
		free(member);
		free(jwk);
	}
	refuse(jose_text("{\"keys\":[%s,%s]}", good, good), "same kid");
	refuse(jose_text("{\"keys\":[%s,1]}", good), "not a key");
	refuse_as(strdup("{\"keys\":[]}"), KMS_E_CONFLICT, "no key");
	refuse_as(strdup("{\"keys\":[{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"AAAA\"}]}"), KMS_E_CONFLICT, "no key");
	refuse(strdup("{\"keys\":{}}"), "Not a JWK Set");
	refuse(jose_text("{\"keys\":[%s],\"keys\":[]}", good), "Not a JWK Set");
	refuse(jose_text("[%s]", good), "Not a JWK Set");
	refuse(jose_text("{\"keys\":[%s]} x", good), "Not a JWK Set");
	refuse(jose_text("{\"keys\":[%s],\"deep\":[[[[[[[[[1]]]]]]]]]}", good), "Not a JWK Set");
	refuse(strdup(""), "Not a JWK Set");
	refuse(strdup("<html>"), "Not a JWK Set");
	refuse(jose_text("{\"keys\":[%s],\"pad\":\"%*s\"}", good, (int)KEYSET_TEXT_MAX, "x"), "larger than");
	text = strdup("");
	for (int i = 0; i <= KEYSET_KEYS_MAX; i++) {
		char *longer = jose_text("%s%s{\"kty\":\"oct\"}", text, i > 0 ? "," : "");
		free(text);
		text = longer;
	}
	refuse(jose_text("{\"keys\":[%s]}", text), "more than 64");
	free(text);
	free(good);
}

static void *use_and_release(void *arg)
{
	struct keyset *set = arg;
	unsigned algs = 0;

	for (int i = 0; i < 1000; i++) {
		struct keyset *mine = keyset_hold(set);
		assert(keyset_find(mine, "k", &algs) != NULL);
		keyset_release(mine);
	}
	keyset_release(set);
	return NULL;
}

static void a_set_lives_until_its_last_holder_is_done(void **state)
{
	char *jwk = jose_jwk(p256, "k", "");
	struct keyset *set = NULL;
	pthread_t threads[4];

	(void)state;
	assert_int_equal(parse(jose_text("{\"keys\":[%s]}", jwk), &set, NULL), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_and_release, keyset_hold(set)), 0);
	keyset_release(set);
	for (size_t i = 0; i < KMS_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	keyset_release(NULL);
	free(jwk);
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
		cmocka_unit_test(all_three_kinds_of_keys_are_taken_with_their_algorithms),
		cmocka_unit_test(keys_that_are_of_no_use_here_are_passed_over),
		cmocka_unit_test(damaged_keys_are_passed_over),
		cmocka_unit_test(sets_that_cannot_be_trusted_are_refused_as_a_whole),
		cmocka_unit_test(a_set_lives_until_its_last_holder_is_done),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
