/* tests/fuzz/api_json.c - every request schema on arbitrary bytes: nothing half-valid, no secret left alive. */
#include <stdlib.h>

#include "api/api.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct kms_err err = { 0 };

	(void)argc;
	(void)argv;
	if (secret_heap_init(1U << 22, &err) != KMS_OK)
		abort();
	json_setup();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct json_schema *const SCHEMAS[] = { &KEY_CREATE_SCHEMA, &KEY_UPDATE_SCHEMA, &KEY_WRAP_SCHEMA, &VAULT_CREATE_SCHEMA,
		                                             &VAULT_SHRED_SCHEMA, &PRINCIPAL_CREATE_SCHEMA, &ROLE_SCHEMA, &REVOKE_SCHEMA,
		                                             &REINSTATE_SCHEMA, &KEY_IMPORT_SCHEMA, &KEY_CIPHER_SCHEMA, &KEY_SIGN_SCHEMA,
		                                             &KEY_VERIFY_SCHEMA, &KEY_RESTORE_SCHEMA, &ROTATION_POLICY_SCHEMA, &RANDOM_SCHEMA,
		                                             &EKM_POOL_SCHEMA, &EKM_CERTIFICATES_SCHEMA, &EKM_PUBLISH_SCHEMA, &EKM_RETIRE_SCHEMA,
		                                             &EKM_CONTEXT_SCHEMA, &EKM_CRYPTO_SCHEMA };
	union request_body body;
	struct kms_err err = { 0 };
	const struct json_schema *schema = NULL;

	if (size < 1)
		return 0;
	schema = SCHEMAS[data[0] % KMS_ARRAY_LEN(SCHEMAS)];
	if (json_read(schema, data + 1, size - 1, &body, &err) == KMS_OK)
		json_clear(schema, &body);
	if (secret_live() != 0)
		abort();
	return 0;
}
