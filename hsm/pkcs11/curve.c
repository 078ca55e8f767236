/* hsm/pkcs11/curve.c - see curve.h. */
#include "hsm/pkcs11/curve.h"

static const struct p11_curve CURVES[] = {
	/* 1.2.840.10045.3.1.7 */
	{ HSM_KIND_P256, { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 }, 10, 65, 32, 32, "prime256v1" },
	/* 1.3.132.0.34, .35, .10 */
	{ HSM_KIND_P384, { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22 }, 7, 97, 48, 48, "secp384r1" },
	{ HSM_KIND_P521, { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23 }, 7, 133, 66, 64, "secp521r1" },
	{ HSM_KIND_P256K, { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a }, 7, 65, 32, 32, "secp256k1" },
	/* 1.3.101.112 */
	{ HSM_KIND_ED25519, { 0x06, 0x03, 0x2b, 0x65, 0x70 }, 5, 32, 32, 64, NULL },
};

const struct p11_curve *p11_curve(enum hsm_kind kind)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(CURVES); i++)
		if (CURVES[i].kind == kind)
			return &CURVES[i];
	return NULL;
}
