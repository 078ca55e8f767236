/* hsm/pkcs11/pkcs8.c - see pkcs8.h. Lengths in DER (X.690 section 8.1.3) of RFC 5208 around RFC 8017 appendix A.1.2, or around RFC 5915. */
#include "hsm/pkcs11/pkcs8.h"

#define LEN_SHORT 0x7f  /* the longest content whose length is one byte */
#define LEN_MIDDLE 0xff /* two bytes; beyond it three: nothing here reaches 64 KiB */
#define VERSION_LEN 3
#define RSA_ALGORITHM_LEN 15 /* rsaEncryption and NULL */
#define EC_OID_LEN 9         /* id-ecPublicKey */
#define UNUSED_BITS_LEN 1    /* what a BIT STRING begins with */
#define SIGN_LEN 1           /* the zero before an INTEGER's top bit */
#define ATTRIBUTES_MAX 64    /* Windows writes a key usage, 15 bytes */
#define ZEROS_MAX 8          /* leading zero bytes of a random number: more by a chance of 2^-64 */

static size_t element(size_t content)
{
	return content + (content <= LEN_SHORT ? 2 : content <= LEN_MIDDLE ? 3 : 4);
}

static size_t info(size_t algorithm, size_t private_key, size_t attributes)
{
	return element(VERSION_LEN + algorithm + element(private_key) + attributes);
}

/* The numbers that an honest key draws at random are `lost` bytes shorter than they can be; n and its primes have their top bits set. */
static size_t rsa_key(const struct hsm_public *pub, size_t lost)
{
	const size_t top_bit = 0x80;
	const size_t e = pub->e_len + ((pub->e[0] & top_bit) != 0 ? SIGN_LEN : 0), half = pub->n_len / 2;
	const size_t n = element(pub->n_len + SIGN_LEN), prime = element(half + SIGN_LEN);
	const size_t d = element(pub->n_len + SIGN_LEN - lost), dp = element(half + SIGN_LEN - lost), dq = dp, qi = dp;

	return element(VERSION_LEN + n + element(e) + d + 2 * prime + dp + dq + qi);
}

struct pkcs8_range pkcs8_rsa(const struct hsm_public *pub)
{
	return (struct pkcs8_range){ info(RSA_ALGORITHM_LEN, rsa_key(pub, SIGN_LEN + ZEROS_MAX), 0),
		                     info(RSA_ALGORITHM_LEN, rsa_key(pub, 0), ATTRIBUTES_MAX) };
}

struct pkcs8_range pkcs8_curve(const struct p11_curve *curve)
{
	const size_t algorithm = element(EC_OID_LEN + curve->oid_len), name = element(curve->oid_len);
	const size_t point = element(element(UNUSED_BITS_LEN + curve->point_len));

	return (struct pkcs8_range){ info(algorithm, element(VERSION_LEN + element(curve->coordinate - ZEROS_MAX)), 0),
		                     info(algorithm, element(VERSION_LEN + element(curve->coordinate) + name + point), ATTRIBUTES_MAX) };
}
