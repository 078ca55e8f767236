/* tests/support/hsm_material.c - see hsm_material.h. */
#include "tests/support/hsm_material.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "hsm/pkcs11/curve.h"
#include "hsm/pkcs11/sigcheck.h"
#include "server/base/encode.h"

#define TRANSPORT_LEN 32

/* A number of the key as a secret of `len` bytes; 0 = as long as it is. */
static struct secret *number(struct t_material *m, size_t slot, const char *name, size_t len)
{
	BIGNUM *bn = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(m->pkey, name, &bn), 1);
	m->parts[slot] = secret_new(len != 0 ? len : (size_t)BN_num_bytes(bn));
	assert_true(BN_bn2binpad(bn, secret_bytes(m->parts[slot]), (int)secret_len(m->parts[slot])) >= 0);
	BN_clear_free(bn);
	return m->parts[slot];
}

void t_material_rsa(struct t_material *m, EVP_PKEY *pkey)
{
	struct hsm_public *pub = &m->m.pub;
	const struct secret *part;

	memset(m, 0, sizeof(*m));
	assert_non_null(pkey);
	m->pkey = pkey;
	part = number(m, 0, OSSL_PKEY_PARAM_RSA_N, 0);
	memcpy(pub->n, secret_data(part), pub->n_len = secret_len(part));
	secret_free(m->parts[0]);
	part = number(m, 0, OSSL_PKEY_PARAM_RSA_E, 0);
	memcpy(pub->e, secret_data(part), pub->e_len = secret_len(part));
	secret_free(m->parts[0]);
	m->m.secret = number(m, 0, OSSL_PKEY_PARAM_RSA_D, 0);
	m->m.p = number(m, 1, OSSL_PKEY_PARAM_RSA_FACTOR1, 0);
	m->m.q = number(m, 2, OSSL_PKEY_PARAM_RSA_FACTOR2, 0);
	m->m.dp = number(m, 3, OSSL_PKEY_PARAM_RSA_EXPONENT1, 0);
	m->m.dq = number(m, 4, OSSL_PKEY_PARAM_RSA_EXPONENT2, 0);
	m->m.qi = number(m, 5, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, 0);
}

static void make_curve(struct t_material *m, const struct p11_curve *curve)
{
	struct hsm_public *pub = &m->m.pub;

	m->pkey = EVP_EC_gen(curve->group);
	assert_non_null(m->pkey);
	assert_int_equal(EVP_PKEY_get_octet_string_param(m->pkey, OSSL_PKEY_PARAM_PUB_KEY, pub->point, sizeof(pub->point), &pub->point_len), 1);
	assert_int_equal(pub->point_len, curve->point_len);
	m->m.secret = number(m, 0, OSSL_PKEY_PARAM_PRIV_KEY, curve->coordinate);
}

void t_material_make(struct t_material *ret, enum hsm_kind kind, unsigned bits)
{
	const struct p11_curve *curve = p11_curve(kind);

	memset(ret, 0, sizeof(*ret));
	if (kind == HSM_KIND_RSA) {
		t_material_rsa(ret, EVP_RSA_gen(bits));
	} else if (curve != NULL) {
		make_curve(ret, curve);
	} else {
		ret->parts[0] = secret_new(bits / 8);
		assert_true(random_bytes(secret_bytes(ret->parts[0]), bits / 8));
		ret->m.secret = ret->parts[0];
	}
}

void t_material_clear(struct t_material *m)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(m->parts); i++)
		secret_free(m->parts[i]);
	EVP_PKEY_free(m->pkey);
	memset(m, 0, sizeof(*m));
}

void t_transfer_make(const struct hsm_public *exchange, const struct t_material *m, const struct secret *plain,
                     uint8_t ret_transfer[HSM_TRANSFER_MAX], size_t *ret_len)
{
	SECRET_AUTO *transport = secret_new(TRANSPORT_LEN);
	PKCS8_PRIV_KEY_INFO *info = plain == NULL ? EVP_PKEY2PKCS8(m->pkey) : NULL;
	unsigned char *der = NULL;
	int der_len = info != NULL ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : 0;
	size_t len;

	assert_true(random_bytes(secret_bytes(transport), TRANSPORT_LEN));
	assert_true(sigcheck_seal(exchange, transport, ret_transfer));
	assert_true(sigcheck_wrap(transport, plain != NULL ? secret_data(plain) : der, plain != NULL ? secret_len(plain) : (size_t)der_len,
	                          ret_transfer + exchange->n_len, &len));
	*ret_len = exchange->n_len + len;
	OPENSSL_free(der);
	PKCS8_PRIV_KEY_INFO_free(info);
}
