/* api/transfer.h - the transfer blob of a key that another HSM has wrapped (BYOK, keyvault-keys.md section 13). */
#ifndef HOLDFAST_API_TRANSFER_H
#define HOLDFAST_API_TRANSFER_H

#include "api/json.h"
#include "server/core/keyring.h"

#define TRANSFER_ID_MAX (KMS_URL_MAX + STORE_KEY_NAME_MAX + 48)

/* Zeroed = empty; release with transfer_clear(). */
struct transfer {
	int schema_version, alg, enc; /* each has one value */
	char kid[TRANSFER_ID_MAX + 1];
	struct json_bytes ciphertext; /* owned: RSA ciphertext || wrapped key */
	char exchange_name[STORE_KEY_NAME_MAX + 1]; /* of the kid */
	uint8_t exchange_version[STORE_ID_LEN];
};

/**
 * Parse the JSON text of a blob and take its kid apart.
 * @param vault_url  the exchange key must live there: "https://{vault}.{domain}[:port]"
 * @return KMS_OK | KMS_E_INVALID (message begins with key_hsm and names member and rule) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status transfer_parse(const uint8_t *text, size_t len, const char *vault_url, struct transfer *ret, struct kms_err *err);
void transfer_clear(struct transfer *t);
#define TRANSFER_AUTO __attribute__((cleanup(transfer_clear))) struct transfer

#endif
