/* tests/fuzz/api_transfer.c - transfer blobs of arbitrary bytes, also behind a sound beginning; what is taken is whole. */
#include <stdlib.h>
#include <string.h>

#include "api/transfer.h"

#define URL "https://v.vault.test"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	json_setup();
	return 0;
}

static void try_one(const uint8_t *text, size_t len)
{
	TRANSFER_AUTO t = { 0 };
	struct kms_err err = { 0 };

	if (transfer_parse(text, len, URL, &t, &err) != KMS_OK) {
		if (t.ciphertext.data != NULL || err.status == KMS_OK)
			abort();
		return;
	}
	if (t.ciphertext.len < 1 || t.ciphertext.len > HSM_TRANSFER_MAX || !key_name_is_valid(t.exchange_name))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char HEAD[] = "{\"schema_version\":\"1.0.0\",\"ciphertext\":\"AA\",\"header\":{\"alg\":\"dir\","
				   "\"enc\":\"CKM_RSA_AES_KEY_WRAP\",\"kid\":\"" URL "/keys/";
	uint8_t *text = malloc(sizeof(HEAD) + size);

	if (text == NULL)
		abort();
	try_one(data, size);
	memcpy(text, HEAD, sizeof(HEAD) - 1);
	if (size > 0)
		memcpy(text + sizeof(HEAD) - 1, data, size);
	try_one(text, sizeof(HEAD) - 1 + size);
	free(text);
	return 0;
}
