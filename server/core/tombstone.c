/* server/core/tombstone.c - what makes a tombstone believed: whoever can write to the database must not be able to have objects of the device destroyed. */
#include "server/core/destruction.h"

#include <openssl/crypto.h>
#include <string.h>

/* With its NUL, as in all that this key authenticates. A pseudonym is 16 bytes of such a MAC at most, so it never gives away a tombstone's. */
static const char DOMAIN[] = "holdfast tombstone 1";

static kms_status mac_of(struct hsm *hsm, const struct installation *inst, const uint8_t obj[STORE_ID_LEN], uint8_t ret[STORE_MAC_LEN], struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };
	uint8_t input[sizeof(DOMAIN) + STORE_ID_LEN], mac[HSM_SIGNATURE_MAX];
	size_t len = 0;

	memcpy(key.id, inst->pseudonym_key, HSM_ID_LEN);
	memcpy(input, DOMAIN, sizeof(DOMAIN));
	memcpy(input + sizeof(DOMAIN), obj, STORE_ID_LEN);
	KMS_TRY(hsm_sign(hsm, &key, HSM_SIGN_HMAC_SHA256, input, sizeof(input), mac, &len, err));
	if (len != STORE_MAC_LEN)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a MAC of %zu bytes", len);
	memcpy(ret, mac, STORE_MAC_LEN);
	return KMS_OK;
}

kms_status tombstone_seal(struct hsm *hsm, const struct installation *inst, struct store_tombstone *t, struct kms_err *err)
{
	return mac_of(hsm, inst, t->obj, t->mac, err);
}

/* Whatever keeps the device from answering is no proof of a forgery. */
kms_status tombstone_check(struct hsm *hsm, const struct installation *inst, const struct store_tombstone *t, struct kms_err *err)
{
	uint8_t mac[STORE_MAC_LEN];
	kms_status status = mac_of(hsm, inst, t->obj, mac, err);

	if (status != KMS_OK)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "MAC of a tombstone");
	if (CRYPTO_memcmp(mac, t->mac, sizeof(mac)) != 0)
		return kms_fail(err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "a tombstone was not made by this installation");
	return KMS_OK;
}
