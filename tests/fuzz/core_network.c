/* tests/fuzz/core_network.c - address ranges from outside: no read beyond the end; what is let through is in one form, and each range holds
 * its own first address. */
#include <stdlib.h>
#include <string.h>

#include "server/core/network.h"

#define TEXT_MAX 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ranges(char *ranges)
{
	char *rest = NULL;

	for (char *range = strtok_r(ranges, " ", &rest); range != NULL; range = strtok_r(NULL, " ", &rest)) {
		char alone[64];
		char *slash = strchr(range, '/');

		if (slash == NULL || strlen(range) >= sizeof(alone))
			abort();
		memcpy(alone, range, strlen(range) + 1);
		*slash = '\0';
		/* One that is wider than what is mapped holds no IPv4 address, and its first one may look like one. */
		if (!network_contains(alone, range) && strstr(range, "::ffff:") != range)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = NULL;
	char once[STORE_NETWORK_MAX + 1], twice[STORE_NETWORK_MAX + 1];

	if (size > TEXT_MAX)
		return 0;
	text = calloc(1, size + 1);
	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	(void)network_contains(text, "192.0.2.7");
	(void)network_contains("10.0.0.0/8 2001:db8::/32", text);
	if (network_check(text, once, NULL) == KMS_OK) {
		if (network_check(once, twice, NULL) != KMS_OK || strcmp(once, twice) != 0)
			abort();
		check_ranges(once);
	}
	free(text);
	return 0;
}
