/* tests/fuzz/api_router.c - arbitrary request targets that pass the guard, through router and query. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/http_guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
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
		r->dialect = (enum dialect)(data[0] % 3);
		router_match(r, (enum http_method)(data[1] % (HTTP_OTHER + 1)), target);
		if (router_query(r, query != NULL ? query : ""))
			for (size_t i = 0; i < r->query_count; i++)
				if (query_get(r, r->query[i].name) == NULL)
					abort();
		/* What was matched must be whole: parameters end within their room. */
		if (strlen(r->key) >= sizeof(r->key) || strlen(r->vault) >= sizeof(r->vault) || strlen(r->item) >= sizeof(r->item))
			abort();
	}
	free(r);
	free(target);
	return 0;
}
