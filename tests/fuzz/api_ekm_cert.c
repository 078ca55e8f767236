/* tests/fuzz/api_ekm_cert.c - arbitrary bytes as a client's certificate and as an administrator's root: nothing but a good root gets through. */
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "api/client_cert.h"
#include "api/client_roots.h"
#include "api/client_trust.h"

#define NOW_S 1800000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t fixed_us(const struct clock *c)
{
	(void)c;
	return (int64_t)NOW_S * 1000000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct clock FIXED = { .wall_us = fixed_us, .mono_us = fixed_us };
	static struct client_trust *trust;
	struct http_cert chain = { .der = data, .len = size };
	struct client_holder client;
	CLIENT_ROOTS_AUTO roots = { 0 };
	char *text = calloc(1, size + 1);

	if (text == NULL || (trust == NULL && client_trust_new(&FIXED, &trust, NULL) != KMS_OK))
		abort();
	/* A table without pools accepts nobody. */
	if (client_trust_check(trust, &chain, 1, size % 2 == 0, &client) == CLIENT_ACCEPTED || strlen(client.subject) > CLIENT_SUBJECT_TEXT_MAX)
		abort();
	memcpy(text, data, size);
	if (client_roots_add(&roots, text, NOW_S, NULL) == KMS_OK)
		for (size_t i = 0; i < roots.count; i++) {
			struct client_root_info info;
			if (!client_root_describe(&roots.roots[i], &info))
				abort();
		}
	free(text);
	return 0;
}
