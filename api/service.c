/* api/service.c - the service: its lanes and tables, what it does by itself, start and stop. */
#include "api/service.h"

#include <stdlib.h>
#include <string.h>

#include "api/assertion.h"
#include "api/issuers.h"
#include "api/metrics.h"
#include "server/base/log.h"
#include "server/core/certificate.h"
#include "server/core/epoch.h"
#include "server/core/log_admin.h"
#include "server/core/person.h"
#include "server/core/server_backup.h"

#define FORGET_WAIT_MS 2000 /* for threads that are in the middle of something */
#define HSM_SILENT_MS 10000 /* the monitor asks once a second; silence this long means that a call hangs */

struct kms *request_kms(struct request *r) { return r->api->cfg.kms; }
struct webhooks *request_webhooks(const struct request *r) { return r->api->cfg.feeds != NULL ? r->api->cfg.feeds->webhooks : NULL; }
struct exports *request_exports(const struct request *r) { return r->api->cfg.feeds != NULL ? r->api->cfg.feeds->exports : NULL; }
const struct feeds *request_feeds(const struct request *r) { return r->api->cfg.feeds; }
struct indexer *request_indexer(const struct request *r) { return r->api->cfg.feeds != NULL ? r->api->cfg.feeds->indexer : NULL; }
struct tokens *request_tokens(struct request *r) { return r->api->tokens; }
struct metrics *request_metrics(struct request *r) { return r->api->metrics; }
struct assertions *request_assertions(struct request *r) { return r->api->assertions; }
bool request_knows_issuer(const struct request *r, const char *name) { return issuers_named(r->api->issuers, name) != NULL; }
const char *request_authority(const struct request *r)
{
	const struct issuer_config *c = r->vault_issuer[0] != '\0' ? issuers_named(r->api->issuers, r->vault_issuer) : NULL;
	return c != NULL ? c->authority : NULL;
}
void request_renew_vault(struct request *r) { vault_names_renew(r->api->names, r->op.vault.name); }
const char *request_ekm_api_version(const struct request *r)
{
	return r->api->cfg.ekm_api_version != NULL ? r->api->cfg.ekm_api_version : EKM_API_VERSION;
}
const char *request_openapi(const struct request *r, size_t *ret_len)
{
	*ret_len = r->api->openapi_len;
	return r->api->openapi;
}
void request_vault_url(const struct request *r, char ret_url[KMS_URL_MAX]) { kms_url(r->api->cfg.kms, r->op.vault.name, ret_url); }

/* ---- what the server does by itself ---- */

static const uint64_t SETTLED_IN[LANE_COUNT] = {
	[LANE_CONTROL] = RECOVER_TYPE(EVENT_ROLE_GRANT) | RECOVER_TYPE(EVENT_ROLE_REVOKE) | RECOVER_TYPE(EVENT_EKM_PUBLISH) |
	                 RECOVER_TYPE(EVENT_EKM_RETIRE) | RECOVER_TYPE(EVENT_TENANT_UPDATE) | RECOVER_TYPE(EVENT_TENANT_UNLOCK),
	[LANE_KEYGEN] = RECOVER_TYPE(EVENT_KEY_CREATE) | RECOVER_TYPE(EVENT_KEY_ROTATE) | RECOVER_TYPE(EVENT_KEY_IMPORT) |
	                RECOVER_TYPE(EVENT_KEY_BACKUP) | RECOVER_TYPE(EVENT_KEY_RESTORE),
	[LANE_DESTROY] = RECOVER_TYPE(EVENT_KEY_PURGE) | RECOVER_TYPE(EVENT_TENANT_SHRED) | RECOVER_TYPE(EVENT_TENANT_CREATE) |
	                 RECOVER_TYPE(EVENT_LOG_KEY_ROTATED) | RECOVER_TYPE(EVENT_BACKUP_EPOCH) | RECOVER_TYPE(EVENT_BACKUP_EPOCH_END),
	[LANE_BACKUP] = RECOVER_TYPE(EVENT_NODE_BACKUP),
	[LANE_ROOT] = RECOVER_TYPE(EVENT_TENANT_ROTATE_ROOT) | RECOVER_TYPE(EVENT_KEY_DESTROY) | RECOVER_TYPE(EVENT_LOG_PRUNED),
};

static void purge_due(struct kms *kms, struct store *store)
{
	struct kms_err err = { 0 };
	size_t count = 0;

	if (keyring_purge_due(kms, store, &count, &err) != KMS_OK)
		log_failure(LOG_WARN, "purge_due_failed", NULL, &err);
	if (count > 0)
		log_event(LOG_INFO, "purged_after_retention", LOG_I("keys", count));
}

static void settle_due(struct kms *kms, struct store *store, uint64_t types)
{
	struct recovery_count count = { 0 };
	struct kms_err err = { 0 };

	if (recovery_run(kms, store, types, &count, &err) != KMS_OK)
		log_failure(LOG_WARN, "interrupted_acts_left_open", NULL, &err);
	else if (count.left_open > 0 && count.last_failure.status != KMS_E_SHUTDOWN)
		log_failure(LOG_WARN, "interrupted_acts_left_open", NULL, &count.last_failure);
	if (count.rotated > 0)
		log_event(LOG_INFO, "roots_rotated", LOG_I("count", count.rotated));
	if (count.pruned > 0)
		log_event(LOG_INFO, "log_pruned", LOG_I("count", count.pruned));
	if (count.settled > 0)
		log_event(LOG_WARN, "interrupted_acts_settled", LOG_I("count", count.settled));
}

/* Those whose checkpoint was missing, and those that waited for the last backup to end. */
static void issue_certificates(struct kms *kms, struct store *store)
{
	struct kms_err err = { 0 };
	size_t count = 0;

	if (certificates_issue(kms, store, &count, &err) != KMS_OK)
		log_failure(LOG_WARN, "certificates_not_issued", NULL, &err);
	if (count > 0)
		log_event(LOG_INFO, "certificates_issued", LOG_I("count", count));
}

static void turn_epochs(struct kms *kms, struct store *store)
{
	struct kms_err err = { 0 };

	if (epochs_turn(kms, store, &err) != KMS_OK)
		log_failure(LOG_WARN, "backup_epochs_not_turned", NULL, &err);
}

/* Stopped with the server is no failure: the next start makes it. */
static void turn_backups(struct kms *kms, struct store *store)
{
	struct kms_err err = { 0 };
	kms_status status = server_backups_turn(kms, store, &err);

	if (status != KMS_OK && status != KMS_E_SHUTDOWN)
		log_failure(LOG_ERROR, "backup_failed", NULL, &err);
}

static void turn_persons(struct kms *kms, struct store *store)
{
	struct kms_err err = { 0 };
	size_t count = 0;
	kms_status status = persons_turn(kms, store, &count, &err);

	if (status != KMS_OK && status != KMS_E_SHUTDOWN)
		log_failure(LOG_WARN, "records_of_persons_not_erased", NULL, &err);
	if (count > 0)
		log_event(LOG_INFO, "records_of_persons_erased", LOG_I("count", count));
}

static void read_pools(struct api *api, struct store *store)
{
	struct kms_err err = { 0 };

	if (api->trust != NULL && client_trust_load(api->trust, store, &err) != KMS_OK)
		log_failure(LOG_WARN, "pools_not_read", NULL, &err); /* those of the last reading stay in force */
}

/* Once after each start: a rotation may have been interrupted before its old key was destroyed. */
static void retire_log_keys(struct api *api, struct store *store)
{
	struct kms_err err = { 0 };
	bool done = false;

	if (api->log_keys_retired)
		return;
	if (log_retire_keys(api->cfg.kms, store, &done, &err) == KMS_OK)
		api->log_keys_retired = done;
	else
		log_failure(LOG_WARN, "old_log_key_not_destroyed", NULL, &err);
}

/* In a log that is not good nothing is destroyed, settled or rotated: what is missing in it may be the reason not to. */
static bool may_act(const struct api *api)
{
	struct hsm_info device = { 0 };

	hsm_info(api->cfg.kms->hsm, &device);
	return device.is_available && log_state(api->cfg.kms->log) == LOG_GOOD;
}

/* What is due of keys. @return there is more of it */
static bool do_what_is_due(struct api *api, struct store *store)
{
	struct schedule_count count = { 0 };
	struct kms_err err = { 0 };
	kms_status status = schedule_run(&api->schedule, api->cfg.kms, store, &count, &err);

	if (status != KMS_OK && status != KMS_E_SHUTDOWN)
		log_failure(LOG_WARN, "due_keys_not_done", NULL, &err);
	if (count.failed > 0)
		log_failure(LOG_WARN, "due_keys_put_off", NULL, &count.last_failure);
	if (count.rotated + count.near_expiry + count.expired + count.failed > 0)
		log_event(LOG_INFO, "due_keys", LOG_I("rotated", count.rotated), LOG_I("near_expiry", count.near_expiry), LOG_I("expired", count.expired),
		          LOG_I("failed", count.failed));
	return count.has_more;
}

static void run_housekeeping(struct job *job, void *thread_state)
{
	struct housekeeping *h = (struct housekeeping *)job;
	struct kms *kms = h->api->cfg.kms;

	if (h->reads_pools)
		read_pools(h->api, thread_state);
	if (h->types != 0)
		settle_due(kms, thread_state, h->types);
	if (h->purges) {
		purge_due(kms, thread_state);
		issue_certificates(kms, thread_state);
		turn_epochs(kms, thread_state);
		turn_persons(kms, thread_state);
		retire_log_keys(h->api, thread_state);
	}
	if (h->backs_up)
		turn_backups(kms, thread_state);
	/* Turn by turn behind whoever waits for a key. */
	h->types = 0;
	if (h->schedules && may_act(h->api) && do_what_is_due(h->api, thread_state) && worker_submit(h->api->lanes[LANE_KEYGEN], &h->job) == KMS_OK)
		return;
	atomic_store(&h->is_running, false);
}

static void keep_house(struct api *api, enum lane i)
{
	struct housekeeping *h = &api->housekeeping[i];
	bool settles = false, reads_pools = false;

	settles = SETTLED_IN[i] != 0 && may_act(api);
	reads_pools = i == LANE_CONTROL && api->trust != NULL; /* another node may have changed them */
	if ((!settles && !reads_pools) || atomic_exchange(&h->is_running, true))
		return;
	h->job.run = run_housekeeping;
	h->api = api;
	h->types = settles ? SETTLED_IN[i] : 0;
	h->purges = settles && i == LANE_DESTROY;
	h->reads_pools = reads_pools;
	h->backs_up = settles && i == LANE_BACKUP;
	h->schedules = settles && i == LANE_KEYGEN;
	if (worker_submit(api->lanes[i], &h->job) != KMS_OK)
		atomic_store(&h->is_running, false); /* the lane is full or stopping: the next time will do */
}

void api_housekeeping(struct api *api)
{
	for (int i = 0; i < LANE_COUNT; i++)
		keep_house(api, (enum lane)i);
}

void request_settle_soon(struct request *r, enum lane lane) { keep_house(r->api, lane); }

void request_reload_pools(struct request *r) { read_pools(r->api, r->op.store); }

/* ---- start and stop ---- */

static kms_status open_reader(void *arg, void **ret_state, struct kms_err *err)
{
	struct api *api = arg;
	struct store *store = NULL;

	KMS_TRY(api->cfg.open_store(api->cfg.arg, &store, err));
	*ret_state = store;
	return KMS_OK;
}

static void close_reader(void *arg, void *state)
{
	(void)arg;
	store_close(state);
}

/* ---- memory that forgets: kms.forget ---- */

static void forget_here(void *arg, void *state)
{
	(void)arg;
	store_forget(state);
	secret_stack_erase();
}

/* Every lane is asked before any is waited for. A thread that does something long does it afterwards; what it does then depends on nothing that was destroyed. */
static void forget_everywhere(void *arg)
{
	struct api *api = arg;
	int64_t until_us = clock_mono_us(&CLOCK_SYSTEM) + FORGET_WAIT_MS * (int64_t)1000;
	uint64_t tickets[LANE_COUNT] = { 0 };
	bool all = true;

	vault_names_forget(api->names);
	pthread_mutex_lock(&api->visits);
	for (int i = 0; i < LANE_COUNT; i++)
		if (api->visited[i] != NULL)
			tickets[i] = worker_visit(api->visited[i]);
	for (int i = 0; i < LANE_COUNT; i++) {
		int64_t left_us = until_us - clock_mono_us(&CLOCK_SYSTEM);
		if (api->visited[i] != NULL)
			all &= worker_visited(api->visited[i], tickets[i], left_us > 0 ? (unsigned)(left_us / 1000) : 0);
	}
	pthread_mutex_unlock(&api->visits);
	if (!all)
		log_event(LOG_INFO, "memory_forgotten_later", LOG_I("waited_ms", FORGET_WAIT_MS));
}

const char *api_lane_name(enum lane lane)
{
	static const char *const NAMES[LANE_COUNT] = { [LANE_META] = "meta", [LANE_CONTROL] = "control", [LANE_CRYPTO] = "crypto", [LANE_LOGIN] = "login",
		                                       [LANE_AUDIT] = "audit", [LANE_EKM] = "ekm", [LANE_KEYGEN] = "keygen", [LANE_DESTROY] = "destroy",
		                                       [LANE_BACKUP] = "backup",
		                                       [LANE_ROOT] = "root" };
	return NAMES[lane];
}

static kms_status start_lanes(struct api *api, struct kms_err *err)
{
	for (int i = 0; i < LANE_COUNT; i++) {
		bool is_crypto = i == LANE_CRYPTO || i == LANE_EKM;
		struct worker_config cfg = { .name = api_lane_name((enum lane)i), .threads = is_crypto ? api->cfg.crypto_threads : 1, .capacity = api->cfg.queue,
			                     .start = open_reader, .stop = close_reader, .visit = forget_here, .arg = api };
		if (i != LANE_EKM || api->cfg.serves_ekm)
			KMS_TRY(worker_start(&cfg, &api->lanes[i], err));
		api->visited[i] = api->lanes[i];
	}
	return KMS_OK;
}

/* With the store's connection, which only the names keep. */
static kms_status start_tables(struct api *api, struct store *store, struct kms_err *err)
{
	if (api->cfg.serves_ekm || api->cfg.knows_services) {
		KMS_TRY(client_trust_new(api->cfg.kms->clock, &api->trust, err));
		KMS_TRY(client_trust_load(api->trust, store, err));
	}
	KMS_TRY(limits_new(&api->cfg.limits, api->cfg.kms->clock, &api->limits, err));
	return vault_names_new(store, &api->names, err);
}

/* Whoever could say that he is this server would be believed as it is. */
static kms_status check_issuers(const struct api *api, struct kms_err *err)
{
	char url[KMS_URL_MAX];

	kms_url(api->cfg.kms, NULL, url);
	for (size_t i = 0; i < api->cfg.issuer_count; i++)
		for (size_t k = 0; k < api->cfg.issuers[i].id_count; k++)
			if (strncmp(api->cfg.issuers[i].ids[k], url, strlen(url)) == 0)
				return kms_refuse(err, KMS_E_INVALID, "issuers: %s: issuer: %s begins with this server's own URL.", api->cfg.issuers[i].name,
				                  api->cfg.issuers[i].ids[k]);
	return KMS_OK;
}

static kms_status start_parts(struct api *api, struct kms_err *err)
{
	struct store *store = NULL;
	kms_status status = KMS_OK;

	api->openapi = openapi_make(api->cfg.kms, &api->openapi_len);
	if (api->openapi == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "the API's description");
	KMS_TRY(metrics_new(api->cfg.metric_vaults, &api->metrics, err));
	KMS_TRY(check_issuers(api, err));
	KMS_TRY(issuers_new(api->cfg.kms->clock, api->cfg.issuers, api->cfg.issuer_count, &api->issuers, err));
	KMS_TRY(tokens_new(api->cfg.kms, api->issuers, &api->tokens, err));
	KMS_TRY(assertions_new(&api->assertions, err));
	KMS_TRY(api->cfg.open_store(api->cfg.arg, &store, err));
	status = start_tables(api, store, err);
	if (status != KMS_OK) {
		store_close(store);
		return status;
	}
	return start_lanes(api, err);
}

kms_status api_start(const struct api_config *cfg, struct api **ret_api, struct kms_err *err)
{
	struct api *api = calloc(1, sizeof(*api));
	kms_status status = KMS_OK;

	if (api == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "api");
	api->cfg = *cfg;
	pthread_mutex_init(&api->visits, NULL);
	status = start_parts(api, err);
	if (status != KMS_OK) {
		api_free(api);
		return status;
	}
	cfg->kms->is_stopping = &api->is_stopping;
	cfg->kms->forget = forget_everywhere;
	cfg->kms->forget_arg = api;
	*ret_api = api;
	return KMS_OK;
}

void api_reload(struct api *api) { issuers_reload(api->issuers); }

void api_set_stopping(struct api *api) { atomic_store(&api->is_stopping, true); }

void api_stop(struct api *api)
{
	if (api == NULL)
		return;
	api_set_stopping(api);
	/* What a lane still does may ask all of them to forget: not one that is gone. */
	pthread_mutex_lock(&api->visits);
	memset(api->visited, 0, sizeof(api->visited));
	pthread_mutex_unlock(&api->visits);
	for (int i = 0; i < LANE_COUNT; i++) {
		worker_stop(api->lanes[i]);
		api->lanes[i] = NULL;
	}
}

void api_free(struct api *api)
{
	if (api == NULL)
		return;
	api_stop(api);
	assertions_free(api->assertions);
	tokens_free(api->tokens);
	issuers_free(api->issuers);
	vault_names_free(api->names);
	client_trust_free(api->trust);
	limits_free(api->limits);
	metrics_free(api->metrics);
	if (api->cfg.kms->forget_arg == api) {
		api->cfg.kms->forget = NULL;
		api->cfg.kms->is_stopping = NULL;
	}
	pthread_mutex_destroy(&api->visits);
	free(api->openapi);
	free(api);
}

const char *api_log_state_name(enum log_state state)
{
	switch (state) {
	case LOG_GOOD: return "good";
	case LOG_LATE: return "late";
	case LOG_ROLLED_BACK: return "rolled_back";
	case LOG_DAMAGED: break;
	}
	return "damaged";
}

bool api_is_ready(const struct request *r, struct readiness *ret)
{
	const struct api *api = r->api;
	struct hsm_info device = { 0 };
	struct writer_state log = { 0 };
	enum log_state state = log_state(api->cfg.kms->log);

	hsm_info(api->cfg.kms->hsm, &device);
	writer_state(api->cfg.kms->writer, &log);
	if (device.silent_ms > HSM_SILENT_MS)
		device.is_available = false;
	ret->hsm = device.is_available ? "ok" : device.silent_ms > HSM_SILENT_MS ? "unresponsive" : "unavailable";
	ret->storage = log.is_failing ? "failing" : "ok";
	ret->log = log.is_failing ? "audit_unavailable" : atomic_load(&api->is_stopping) ? "stopping" : "ok";
	ret->audit = state == LOG_GOOD ? "ok" : api_log_state_name(state);
	return device.is_available && !log.is_failing && state == LOG_GOOD && !atomic_load(&api->is_stopping);
}
