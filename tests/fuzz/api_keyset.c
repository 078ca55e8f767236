/* tests/fuzz/api_keyset.c - arbitrary documents as JWK Sets: a set that is taken has keys, and each is good for an algorithm of ours. */
#include <stdlib.h>
#include <string.h>

#include "api/keyset.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	json_setup();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct keyset *set = NULL;
	struct kms_err err = { 0 };
	unsigned algs = 0;

	if (keyset_parse(data, size, &set, &err) != KMS_OK) {
		if (set != NULL || err.status == KMS_OK)
			abort();
		return 0;
	}
	if (keyset_count(set) == 0 || keyset_count(set) > KEYSET_KEYS_MAX || keyset_find(set, "", &algs) != NULL)
		abort();
	if (keyset_find(set, "k", &algs) != NULL && (algs == 0 || (algs & ~(unsigned)(JWT_RS256 | JWT_PS256 | JWT_ES256 | JWT_EDDSA)) != 0))
		abort();
	keyset_release(set);
	return 0;
}
