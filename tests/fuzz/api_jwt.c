/* tests/fuzz/api_jwt.c - arbitrary texts as tokens: taken apart without harm, and never signed by a key that did not sign them. */
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/rsa.h>

#include "api/jwt.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static EVP_PKEY *keys[3];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	json_setup();
	keys[0] = EVP_EC_gen("P-256");
	keys[1] = EVP_RSA_gen(2048);
	keys[2] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	for (size_t i = 0; i < KMS_ARRAY_LEN(keys); i++)
		if (keys[i] == NULL)
			abort();
	return 0;
}

/* The members are read as those who check tokens read them. */
static void read_members(const struct jwt *j)
{
	int64_t s = 0;

	if (jwt_time(j, "exp", &s) && s < 0)
		abort();
	if (j->kid[0] != '\0' && !jwt_kid_is_valid(j->kid))
		abort();
	if (strlen(jwt_text(j, "iss")) > JWT_PART_MAX || (jwt_is_for(j, "") && json_object_get(j->claims, "aud") == NULL) || jwt_type_is(j, "none of these"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	JWT_AUTO j = { 0 };

	if (text == NULL)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	if (jwt_parse(text, (size & 1) != 0, &j) == NULL) {
		read_members(&j);
		for (size_t i = 0; i < KMS_ARRAY_LEN(keys); i++)
			if (jwt_verify(&j, keys[i], ~0U))
				abort();
	}
	jwt_clear(&j);
	free(text);
	return 0;
}
