/* api/metrics.c - the counters of requests: by route and code, by dialect, and by vault up to a limit. */
#include "api/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api/metrics_parts.h"
#include "api/service.h"


static const int CODES[] = { 200, 201, 202, 204, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 413, 415, 422, 429, 500, 501, 503 };
_Static_assert(KMS_ARRAY_LEN(CODES) < METRICS_CODES, "the last place is for all other codes");

const char *metrics_code_name(size_t i, char ret_text[8])
{
	if (i >= KMS_ARRAY_LEN(CODES))
		return i == METRICS_CODES - 1 ? "other" : NULL;
	(void)snprintf(ret_text, 8, "%d", CODES[i]);
	return ret_text;
}

static size_t code_of(int http)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(CODES); i++)
		if (CODES[i] == http)
			return i;
	return METRICS_CODES - 1;
}

static enum metrics_result result_of(int http)
{
	if (http < 400)
		return METRICS_OK;
	if (http == 401 || http == 403)
		return METRICS_DENIED;
	if (http == 429)
		return METRICS_THROTTLED;
	return http < 500 ? METRICS_REFUSED : METRICS_FAILED;
}

const char *metrics_result_name(enum metrics_result result)
{
	static const char *const NAMES[] = { "ok", "denied", "refused", "throttled", "failed" };
	return NAMES[result];
}

static size_t first_of(const struct route *r)
{
	size_t i = 0;

	while (API_ROUTES[i].dialect != r->dialect || strcmp(API_ROUTES[i].operation, r->operation) != 0)
		i++;
	return i;
}

kms_status metrics_new(size_t vaults, struct metrics **ret, struct kms_err *err)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (m != NULL) {
		m->routes = calloc(API_ROUTE_COUNT, sizeof(*m->routes));
		m->counts_in = calloc(API_ROUTE_COUNT, sizeof(*m->counts_in));
		m->vaults = calloc(vaults + 1, sizeof(*m->vaults));
		(void)pthread_mutex_init(&m->lock, NULL);
	}
	if (m == NULL || m->routes == NULL || m->counts_in == NULL || m->vaults == NULL) {
		metrics_free(m);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "metrics");
	}
	m->vault_max = vaults;
	for (size_t i = 0; i < API_ROUTE_COUNT; i++)
		m->counts_in[i] = first_of(&API_ROUTES[i]);
	*ret = m;
	return KMS_OK;
}

void metrics_free(struct metrics *m)
{
	if (m == NULL)
		return;
	(void)pthread_mutex_destroy(&m->lock);
	free(m->routes);
	free(m->counts_in);
	free(m->vaults);
	free(m);
}

static void count(atomic_uint_fast64_t *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

/* The first vaults that are used have counters of their own, all others share the last one: so many vaults as there are cannot fill the receiver. */
static struct metrics_vault *vault_of(struct metrics *m, const struct store_vault *v)
{
	struct metrics_vault *found = NULL;

	(void)pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->vault_count && found == NULL; i++)
		if (memcmp(m->vaults[i].id, v->id, STORE_ID_LEN) == 0) /* allowed: ids are public */
			found = &m->vaults[i];
	if (found == NULL && m->vault_count < m->vault_max) {
		found = &m->vaults[m->vault_count++];
		memcpy(found->id, v->id, STORE_ID_LEN);
		memcpy(found->name, v->name, sizeof(found->name));
	}
	(void)pthread_mutex_unlock(&m->lock);
	return found != NULL ? found : &m->vaults[m->vault_max];
}

void metrics_count(struct metrics *m, const struct request *r)
{
	size_t code = code_of(r->response.status);

	if (m == NULL)
		return;
	if (r->route == NULL) {
		count(&m->unrouted[r->dialect][code]);
	} else {
		struct metrics_route *at = &m->routes[m->counts_in[r->route - API_ROUTES]];
		count(&at->codes[r->listener == API_LOCAL][code]);
		histogram_add(&at->times, &HISTOGRAM_TIMES, (uint64_t)(clock_mono_us(&CLOCK_SYSTEM) - r->http->started_us));
	}
	if (r->op.has_vault)
		count(&vault_of(m, &r->op.vault)->results[result_of(r->response.status)]);
}

void metrics_count_refusal(struct metrics *m, enum dialect dialect, int http)
{
	if (m != NULL)
		count(&m->unrouted[dialect][code_of(http)]);
}
