/* tests/fuzz/api_router.c - arbitrary request targets that pass the guard, through router and query. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/http_guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A path that leads to a pool's route is prefix, external id and operation, and nothing else. */
static void check_ekm(const struct request *r, const char *target)
{
	char path[HTTP_URI_MAX + STORE_PREFIX_MAX + PATH_PARAM_MAX];
	const char *operation = strrchr(r->route->path, '/');

	(void)snprintf(path, sizeof(path), "%s%s%s%s%s", r->client.prefix[0] != '\0' ? "/" : "", r->client.prefix, r->item[0] != '\0' ? "/" : "",
	               r->item, operation);
	if (r->route->dialect != DIALECT_EKM || strcmp(path, target) != 0 || strlen(r->item) > STORE_EXTERNAL_ID_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char PREFIXES[][16] = { "", "contoso", "contoso/prod", "info" };
	struct request *r = NULL;
	char *target = NULL, *query = NULL;

	if (size < 2 || size > HTTP_URI_MAX + 2)
		return 0;
	target = calloc(1, size);
	r = calloc(1, sizeof(*r));
	if (target == NULL || r == NULL)
		abort();
	memcpy(target, data + 2, size - 2);
	if (http_guard_target(target, size - 2) == NULL) {
		query = strchr(target, '?');
		if (query != NULL)
			*query++ = '\0';
		r->dialect = (enum dialect)(data[0] % (DIALECT_EKM + 1));
		memcpy(r->client.prefix, PREFIXES[data[0] / (DIALECT_EKM + 1) % KMS_ARRAY_LEN(PREFIXES)], sizeof(PREFIXES[0]));
		router_match(r, (enum http_method)(data[1] % (HTTP_OTHER + 1)), target);
		if (router_query(r, query != NULL ? query : ""))
			for (size_t i = 0; i < r->query_count; i++)
				if (query_get(r, r->query[i].name) == NULL)
					abort();
		if (r->dialect == DIALECT_EKM && r->route != NULL)
			check_ekm(r, target);
		/* What was matched must be whole: parameters end within their room. */
		if (strlen(r->key) >= sizeof(r->key) || strlen(r->vault) >= sizeof(r->vault) || strlen(r->item) >= sizeof(r->item))
			abort();
	}
	free(r);
	free(target);
	return 0;
}
