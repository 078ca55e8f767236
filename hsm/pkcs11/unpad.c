/*
 * hsm/pkcs11/unpad.c - see unpad.h. OpenSSL's own constant-time decoders do the work. They are deprecated as an interface since 3.0 and have no
 * successor that takes an already decrypted block; this is the only file that calls them.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "hsm/pkcs11/unpad.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

/* The copy and the length are secrets until the verdict, which is the first branch on them; a bad block leaves nothing behind. */
static enum unpad_result finish(struct secret **plain, int len, int least, struct secret **ret_plain)
{
	ERR_clear_error(); /* the decoders always leave an entry, also on success, so as not to branch */
	if (len < least)
		return UNPAD_BAD;
	secret_shrink(*plain, (size_t)len);
	*ret_plain = len > 0 ? KMS_TAKE(*plain) : NULL;
	return UNPAD_OK;
}

enum unpad_result unpad_oaep(const struct secret *block, const EVP_MD *hash, const EVP_MD *mgf1_hash, struct secret **ret_plain)
{
	const int k = (int)secret_len(block);
	SECRET_AUTO *plain = secret_new(secret_len(block));

	if (plain == NULL)
		return UNPAD_NOMEM;
	return finish(&plain,
	              RSA_padding_check_PKCS1_OAEP_mgf1(secret_bytes(plain), k, secret_data(block), k, k, NULL, 0, hash, mgf1_hash),
	              0, ret_plain);
}

enum unpad_result unpad_pkcs1(const struct secret *block, struct secret **ret_plain)
{
	const int k = (int)secret_len(block);
	SECRET_AUTO *plain = secret_new(secret_len(block));

	if (plain == NULL)
		return UNPAD_NOMEM;
	return finish(&plain, RSA_padding_check_PKCS1_type_2(secret_bytes(plain), k, secret_data(block), k, k), 1, ret_plain);
}
