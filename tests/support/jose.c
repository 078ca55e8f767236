/* tests/support/jose.c - see jose.h. */
#include "tests/support/jose.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"

static void need(int good, const char *what)
{
	if (good)
		return;
	(void)fprintf(stderr, "jose: %s\n", what);
	abort();
}

char *jose_text(const char *format, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, format);
	need(vasprintf(&text, format, args) >= 0, "memory");
	va_end(args);
	return text;
}

EVP_PKEY *jose_key(const char *kind)
{
	EVP_PKEY *key = NULL;

	if (strcmp(kind, "RSA") == 0)
		key = EVP_RSA_gen(2048);
	else if (strcmp(kind, "RSA-1024") == 0)
		key = EVP_RSA_gen(1024);
	else if (strcmp(kind, "Ed25519") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		key = EVP_EC_gen(kind);
	need(key != NULL, kind);
	return key;
}

EVP_PKEY *jose_rsa_key(const char *exponent)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;
	BIGNUM *e = NULL;

	need(ctx != NULL && BN_hex2bn(&e, exponent) > 0 && EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) == 1 &&
	     EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e) == 1 && EVP_PKEY_generate(ctx, &key) == 1, exponent);
	BN_free(e);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

EVP_PKEY *jose_rsa_public(EVP_PKEY *key, const char *exponent)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY *made = NULL;
	BIGNUM *n = NULL, *e = NULL;

	need(ctx != NULL && b != NULL && EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1 && BN_hex2bn(&e, exponent) > 0, exponent);
	need(OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n) == 1 && OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, e) == 1 &&
	     (params = OSSL_PARAM_BLD_to_param(b)) != NULL, exponent);
	need(EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &made, EVP_PKEY_PUBLIC_KEY, params) == 1, exponent);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(b);
	EVP_PKEY_CTX_free(ctx);
	BN_free(n);
	BN_free(e);
	return made;
}

static char *number(EVP_PKEY *key, const char *name, int len)
{
	BIGNUM *n = NULL;
	uint8_t bytes[1024];
	char *text = malloc(B64URL_LEN(sizeof(bytes)) + 1);

	need(text != NULL && EVP_PKEY_get_bn_param(key, name, &n) == 1, name);
	len = len > 0 ? len : BN_num_bytes(n);
	need(BN_bn2binpad(n, bytes, len) == len, name);
	b64url_encode(bytes, (size_t)len, text);
	BN_free(n);
	return text;
}

static char *jwk_members(EVP_PKEY *key)
{
	char *a = NULL, *b = NULL, *text = NULL;

	if (EVP_PKEY_is_a(key, "ED25519")) {
		uint8_t raw[32];
		size_t len = sizeof(raw);
		char x[B64URL_LEN(sizeof(raw)) + 1];
		need(EVP_PKEY_get_raw_public_key(key, raw, &len) == 1, "Ed25519");
		b64url_encode(raw, len, x);
		return jose_text("\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"", x);
	}
	if (EVP_PKEY_is_a(key, "RSA")) {
		a = number(key, OSSL_PKEY_PARAM_RSA_N, 0);
		b = number(key, OSSL_PKEY_PARAM_RSA_E, 0);
		text = jose_text("\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"", a, b);
	} else {
		int len = (EVP_PKEY_get_bits(key) + 7) / 8;
		a = number(key, OSSL_PKEY_PARAM_EC_PUB_X, len);
		b = number(key, OSSL_PKEY_PARAM_EC_PUB_Y, len);
		text = jose_text("\"kty\":\"EC\",\"crv\":\"P-%d\",\"x\":\"%s\",\"y\":\"%s\"", EVP_PKEY_get_bits(key), a, b);
	}
	free(a);
	free(b);
	return text;
}

char *jose_jwk(EVP_PKEY *key, const char *kid, const char *members)
{
	char *own = jwk_members(key);
	char *text = jose_text("{%s,\"kid\":\"%s\"%s%s}", own, kid, members[0] != '\0' ? "," : "", members);

	free(own);
	return text;
}

/* DER to r || s. */
static size_t to_raw(const uint8_t *der, size_t der_len, uint8_t raw[64])
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)der_len);

	need(sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32) == 32 && BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32) == 32, "ECDSA");
	ECDSA_SIG_free(sig);
	return 64;
}

static size_t sign(EVP_PKEY *key, const char *alg, const char *text, uint8_t *ret, size_t cap)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *how = NULL;
	uint8_t der[160];
	size_t len = cap;

	need(EVP_DigestSignInit(ctx, &how, strcmp(alg, "EdDSA") == 0 ? NULL : EVP_sha256(), NULL, key) == 1, alg);
	if (strcmp(alg, "PS256") == 0)
		need(EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) > 0 && EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST) > 0, alg);
	if (strcmp(alg, "ES256") == 0) {
		size_t der_len = sizeof(der);
		need(EVP_DigestSign(ctx, der, &der_len, (const uint8_t *)text, strlen(text)) == 1, alg);
		len = to_raw(der, der_len, ret);
	} else {
		need(EVP_DigestSign(ctx, ret, &len, (const uint8_t *)text, strlen(text)) == 1, alg);
	}
	EVP_MD_CTX_free(ctx);
	return len;
}

static char *encoded(const void *bytes, size_t len)
{
	char *text = malloc(B64URL_LEN(len) + 1);

	need(text != NULL, "memory");
	b64url_encode(bytes, len, text);
	return text;
}

char *jose_sign(EVP_PKEY *key, const char *alg, const char *header, const char *claims)
{
	char *h = encoded(header, strlen(header)), *c = encoded(claims, strlen(claims));
	char *text = jose_text("%s.%s", h, c), *s = NULL, *token = NULL;
	uint8_t raw[1024];

	s = encoded(raw, sign(key, alg, text, raw, sizeof(raw)));
	token = jose_text("%s.%s", text, s);
	free(h);
	free(c);
	free(text);
	free(s);
	return token;
}

void jose_put_file(const char *path, const char *text)
{
	char *other = jose_text("%s.new", path);
	FILE *f = fopen(other, "we");

	need(f != NULL && fputs(text, f) >= 0, path);
	need(fclose(f) == 0 && rename(other, path) == 0, path);
	free(other);
}
