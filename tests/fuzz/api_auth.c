/* tests/fuzz/api_auth.c - arbitrary Authorization headers: none is accepted, since nobody signed them. */
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>

#include "api/api.h"
#include "api/issuers.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kms kms;
static struct issuers *issuers;
static struct tokens *tokens;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct kms_err err = { 0 };

	(void)argc;
	(void)argv;
	json_setup();
	kms.clock = &CLOCK_SYSTEM;
	kms.public_port = 443;
	memcpy(kms.domain, "vault.test", sizeof("vault.test"));
	if (key == NULL || EVP_PKEY_get_octet_string_param(key, "encoded-pub-key", kms.inst.token_public.point,
	                                                   sizeof(kms.inst.token_public.point), &kms.inst.token_public.point_len) != 1 ||
	    issuers_new(&CLOCK_SYSTEM, NULL, 0, &issuers, &err) != KMS_OK || tokens_new(&kms, issuers, &tokens, &err) != KMS_OK)
		abort();
	EVP_PKEY_free(key);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct caller caller = { 0 };
	struct kms_err err = { 0 };
	char *text = malloc(size + sizeof("Bearer "));

	if (text == NULL)
		abort();
	memcpy(text, "Bearer ", sizeof("Bearer "));
	memcpy(text + sizeof("Bearer ") - 1, data, size);
	text[size + sizeof("Bearer ") - 1] = '\0';
	if (tokens_verify(tokens, text, &caller, &err) != KMS_E_UNAUTHENTICATED)
		abort();
	free(text);
	return 0;
}
