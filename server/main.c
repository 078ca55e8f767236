/* server/main.c - composition root: the only file that names concrete backends. Starts everything in order and stops it in reverse. */
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "api/issuers.h"
#include "api/metrics_listener.h"
#include "api/witness_client.h"
#include "hsm/pkcs11/pkcs11.h"
#include "server/base/log.h"
#include "server/config.h"
#include "server/core/attestation.h"
#include "server/core/checkpoint.h"
#include "server/core/destruction.h"
#include "server/core/epoch.h"
#include "server/core/restored.h"
#include "server/core/person.h"
#include "server/core/server_backup.h"
#include "server/core/witness.h"
#include "server/daemon.h"
#include "server/feeds.h"
#include "server/reserve.h"
#include "server/restore.h"
#include "storage/sqlite/sqlite.h"

#define WRITER_CAPACITY 4096
#define HSM_WAIT_MS 2000
#define SESSIONS_BESIDE_WORKERS 4 /* server/config.c leaves room for them */
#define DRAIN_MS 10000
#define LOCAL_CONNECTIONS 32
#define HOUSEKEEPING_EVERY_S 5
#define CLOCK_STEP_S 2 /* audit-log.md 6.4 */
#define CHECKPOINT_LEAVES 1000 /* audit-log.md 5.4 */
#define MONITOR_STOP_S 10
#define LOCAL_ACTORS_MAX 64
#define SESSIONS_MAX 64
#define LOOK_ARGS_MAX 9
#define EXIT_CONFIG 2

struct server {
	struct config *config;
	const char *config_path;
	char self[PATH_MAX];
	const char *look_argv[LOOK_ARGS_MAX];
	struct restore_options restore; /* backup NULL = it is to serve */
	struct store *writer_store;
	struct kms kms;
	struct sweep_count swept;
	struct log_verdict verdict;
	struct local_actor locals[LOCAL_ACTORS_MAX];
	char attestation_certificate[ATTESTATION_CERT_MAX];
	struct issuer_config *issuers; /* owned; its members are the configuration's */
	struct witness_config *witnesses; /* owned; its members are the configuration's */
	struct witness_client *witness_client; /* NULL unless there are witnesses */
	struct epoch_policy epochs;
	struct backup_settings backups;
	struct feeds feeds;
	struct api *api;
	struct http_server *http, *local, *ekm, *identity, *metrics; /* the last three: NULL unless configured */
	struct metrics_listener *metrics_listener;
	pthread_t monitor_thread;
	pthread_mutex_t monitor_lock; /* guards monitor_stops */
	pthread_cond_t monitor_wakes;
	bool has_monitor, monitor_stops;
	bool hsm_was_available; /* the monitor's own, and the next two */
	uint64_t hsm_epoch;
	int64_t housekeeping_next_s, clock_offset_s;
};

/* The helper reads the same configuration; where a rehearsal has a token of its own it is told. */
static void set_look_argv(struct server *s)
{
	const char *args[LOOK_ARGS_MAX] = { s->self, "--config", s->config_path, "hsm-look", NULL };

	if (s->restore.token != NULL) {
		args[4] = "--token";
		args[5] = s->config->hsm.token;
		args[6] = "--pin";
		args[7] = s->config->hsm.pin;
	}
	memcpy(s->look_argv, args, sizeof(args));
}

static void hsm_settings(struct server *s, struct p11_config *ret)
{
	const struct config *c = s->config;
	/* One session for each thread that may call: crypto workers, of which pools have as many again, and the others. */
	unsigned sessions = c->hsm.workers * (c->ekm.is_on ? 2 : 1) + SESSIONS_BESIDE_WORKERS;

	set_look_argv(s);
	*ret = (struct p11_config){ .module = c->hsm.module, .uri = c->hsm.token, .pin_file = c->hsm.pin, .token_dir = c->hsm.token_dir,
		                    .sessions = sessions < SESSIONS_MAX ? sessions : SESSIONS_MAX, .wait_ms = HSM_WAIT_MS, .cache_keys = c->hsm.cache_keys,
		                    .look_argv = s->look_argv };
}

static kms_status open_reader(void *arg, struct store **ret_store, struct kms_err *err)
{
	const struct server *s = arg;
	return store_open_sqlite(s->config->storage.database, STORE_READ, ret_store, err);
}

static kms_status add_local(struct server *s, uid_t uid, struct kms_err *err)
{
	struct local_actor *a = &s->locals[s->kms.local_count];
	char subject[32];

	for (size_t i = 0; i < s->kms.local_count; i++)
		if (s->locals[i].uid == uid)
			return KMS_OK;
	if (s->kms.local_count == LOCAL_ACTORS_MAX)
		return kms_refuse(err, KMS_E_INVALID, "admin.uids: at most %d users.", LOCAL_ACTORS_MAX - 2);
	a->uid = uid;
	(void)snprintf(subject, sizeof(subject), "uid:%lu", (unsigned long)uid);
	KMS_TRY(pseudonym(s->kms.hsm, s->kms.inst.pseudonym_key, "local", subject, a->pid, err));
	s->kms.local_count++;
	return KMS_OK;
}

static kms_status open_locals(struct server *s, struct kms_err *err)
{
	s->kms.locals = s->locals;
	KMS_TRY(add_local(s, 0, err));
	KMS_TRY(add_local(s, getuid(), err));
	for (unsigned i = 0; i < s->config->admin.uids_count; i++)
		KMS_TRY(add_local(s, (uid_t)s->config->admin.uids[i], err));
	return KMS_OK;
}

static kms_status settle(struct server *s, struct store *reader, struct kms_err *err)
{
	struct recovery_count count = { 0 };

	KMS_TRY(recovery_run(&s->kms, reader, RECOVER_AT_START, &count, err));
	if (count.settled > 0)
		log_event(LOG_WARN, "interrupted_acts_settled", LOG_I("count", count.settled));
	if (count.left_open > 0)
		log_failure(LOG_ERROR, "interrupted_acts_left_open", NULL, &count.last_failure);
	return KMS_OK;
}

static void close_reader(struct store **reader) { store_close(*reader); }
#define READER_AUTO __attribute__((cleanup(close_reader))) struct store

/* What died stays dead, also where its object came back with an older token. */
static kms_status sweep(struct server *s, struct kms_err *err)
{
	READER_AUTO *reader = NULL;
	struct sweep_count count = { 0 };

	KMS_TRY(open_reader(s, &reader, err));
	KMS_TRY(destruction_sweep(&s->kms, reader, &count, err));
	s->swept = count;
	s->kms.swept = &s->swept;
	if (count.resurrected > 0)
		log_event(LOG_ERROR, "destroyed_objects_came_back", LOG_I("count", count.resurrected), LOG_S("meaning", "an older copy of the token; they were destroyed again"));
	if (count.forged > 0)
		log_event(LOG_ERROR, "tombstones_forged", LOG_I("count", count.forged), LOG_S("meaning", "somebody has written into the database; nothing was destroyed"));
	if (count.unknown > 0)
		log_event(LOG_WARN, "token_has_unknown_objects", LOG_I("count", count.unknown), LOG_S("meaning", "an older database, or a shared token"));
	if (count.rootless > 0)
		log_event(LOG_ERROR, "vaults_without_root", LOG_I("count", count.rootless), LOG_S("first", count.rootless_vault),
		          LOG_S("meaning", "destroyed after this database was written, or lost"));
	return KMS_OK;
}

static const char *log_state_text(const struct log_verdict *v) { return v->state == LOG_GOOD ? NULL : "rolled_back"; }

/* @param store  borrowed or taken, as the one who is handed this does */
static struct witnesses_config witness_settings(struct server *s, struct store *store)
{
	return (struct witnesses_config){ .kms = &s->kms, .store = store, .witness = s->witnesses, .count = s->config->log.witnesses_count,
		                          .quorum = s->config->log.quorum, .transport = witness_client_transport(s->witness_client) };
}

/* What nothing on this machine knows: was everything of it put back together? Witnesses are asked before anything is served or written. */
static kms_status ask_witnesses(struct server *s, struct kms_err *err)
{
	const struct config *c = s->config;
	struct witnesses_config cfg;

	if (c->log.witnesses_count == 0)
		return KMS_OK;
	s->witnesses = calloc(c->log.witnesses_count, sizeof(*s->witnesses));
	if (s->witnesses == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "witnesses");
	for (unsigned i = 0; i < c->log.witnesses_count; i++)
		s->witnesses[i] = (struct witness_config){ .vkey = c->log.witnesses[i].key, .url = c->log.witnesses[i].url, .ca = c->log.witnesses[i].ca };
	KMS_TRY(witness_client_new(&s->witness_client, err));
	cfg = witness_settings(s, s->writer_store);
	return witnesses_ask(&cfg, s->kms.origin, &s->verdict, err);
}

static kms_status start_witnesses(struct server *s, struct kms_err *err)
{
	struct witnesses_config cfg;
	struct store *reader = NULL;
	kms_status status;

	if (s->config->log.witnesses_count == 0)
		return KMS_OK;
	KMS_TRY(open_reader(s, &reader, err));
	cfg = witness_settings(s, reader);
	status = witnesses_start(&cfg, &s->kms.witnesses, err);
	if (status != KMS_OK) {
		store_close(reader);
		return status;
	}
	/* A log that was rolled back signs nothing: there is nothing to submit. */
	if (s->verdict.state == LOG_GOOD)
		log_use_witnesses(s->kms.log, s->kms.witnesses);
	return KMS_OK;
}

static void stop_witnesses(struct server *s)
{
	witness_client_cancel(s->witness_client);
	if (s->kms.log != NULL)
		log_use_witnesses(s->kms.log, NULL);
	witnesses_stop(s->kms.witnesses);
}

/* Is it the database that was last signed? Then its writer. */
static kms_status open_log(struct server *s, struct kms_err *err)
{
	struct log_former former;
	char vkey[NOTE_VKEY_MAX + 1];
	struct writer_config cfg = { .store = s->writer_store, .clock = s->kms.clock, .node = s->config->node, .origin = s->kms.origin, .vkey = vkey,
		                     .capacity = WRITER_CAPACITY };
	kms_status status;

	KMS_TRY(log_check(s->writer_store, s->kms.hsm, &s->kms.inst, s->kms.clock, s->kms.origin, &s->verdict, err));
	KMS_TRY(ask_witnesses(s, err));
	KMS_TRY(log_vkey(s->writer_store, s->kms.origin, vkey, err));
	status = log_former(s->writer_store, s->kms.hsm, &s->kms.inst, &former, err);
	if (status == KMS_OK)
		cfg.former = &former.writer;
	else if (status != KMS_E_NOTFOUND)
		return status;
	cfg.log_state = log_state_text(&s->verdict);
	return writer_start(&cfg, &s->kms.writer, err);
}

static kms_status start_checkpoints(struct server *s, struct kms_err *err)
{
	const struct config *c = s->config;
	struct checkpointer_config cfg = { .kms = &s->kms, .verdict = &s->verdict, .interval_ms = c->log.interval_ms, .leaves = CHECKPOINT_LEAVES,
		                           .pin_s = c->log.pin_s, .heartbeat_s = c->log.heartbeat_s, .late_ms = c->log.late_ms,
		                           .is_strict = c->log.is_strict, .needs_witnesses = c->log.witnesses_required };

	KMS_TRY(open_reader(s, &cfg.store, err));
	return checkpointer_start(&cfg, &s->kms.log, err);
}

/* Not in a database that is not the one that was signed: what looks interrupted there may have been finished long ago, and nothing is begun there. */
static kms_status recover(struct server *s, struct kms_err *err)
{
	READER_AUTO *reader = NULL;

	if (s->verdict.state != LOG_GOOD)
		return KMS_OK;
	KMS_TRY(open_reader(s, &reader, err));
	KMS_TRY(settle(s, reader, err));
	KMS_TRY(epoch_open(&s->kms, reader, err));
	return restored_write(&s->kms, reader, err);
}

/* Managed HSM pools: one address may hold half of the connections, since a pool's are few and strangers reach this port too. */
static kms_status listen_ekm(struct server *s, struct kms_err *err)
{
	const struct config *c = s->config;
	struct http_config cfg = { .name = "ekm", .address = c->ekm.address, .port = c->ekm.port, .threads = c->listen.threads,
		                   .connections = c->ekm.connections, .per_ip = c->ekm.connections / 2, .headers_ms = 5000, .request_ms = 5000,
		                   .idle_s = 120, .work_ms = EKM_DEADLINE_MS, .late = KMS_E_TIMEOUT, .cert_file = c->ekm.certificate,
		                   .key_file = c->ekm.key, .asks_client_certs = true, .is_tls13_only = true };
	struct http_app app = api_app(s->api, API_EKM);

	return http_start(&cfg, &app, &s->ekm, err);
}

/* Managed identities: the services of this machine, each with a request in an hour. */
static kms_status listen_identity(struct server *s, struct kms_err *err)
{
	const struct config *c = s->config;
	struct http_config cfg = { .name = "identity", .address = c->identity.address, .port = c->identity.port, .threads = 1,
		                   .connections = LOCAL_CONNECTIONS, .headers_ms = 5000, .request_ms = 5000, .idle_s = 30, .work_ms = 30000 };
	struct http_app app = api_app(s->api, API_IDENTITY);

	return http_start(&cfg, &app, &s->identity, err);
}

static kms_status listen_metrics(struct server *s, struct kms_err *err)
{
	const struct config *c = s->config;
	struct http_config cfg = { .name = "metrics", .address = c->metrics.address, .port = c->metrics.port, .threads = 1,
		                   .connections = LOCAL_CONNECTIONS, .headers_ms = 5000, .request_ms = 5000, .idle_s = 120, .work_ms = 5000,
		                   .cert_file = c->metrics.certificate, .key_file = c->metrics.key };
	struct http_app app;

	KMS_TRY(metrics_listener_new(s->api, c->metrics.token_file, &s->metrics_listener, err));
	app = metrics_listener_app(s->metrics_listener);
	return http_start(&cfg, &app, &s->metrics, err);
}

static kms_status listen_all(struct server *s, struct kms_err *err)
{
	const struct config *c = s->config;
	struct http_config main_cfg = { .name = "main", .address = c->listen.address, .port = c->listen.port, .threads = c->listen.threads,
		                        .connections = c->listen.connections, .per_ip = c->listen.per_ip, .headers_ms = 5000,
		                        .request_ms = 10000, .idle_s = 120, .work_ms = 60000, .cert_file = c->tls.certificate,
		                        .key_file = c->tls.key, .asks_client_certs = c->listen.client_certificates };
	struct http_config local_cfg = { .name = "local", .unix_path = c->admin.socket, .unix_shared = c->admin.uids_count > 0,
		                         .threads = 1, .connections = LOCAL_CONNECTIONS,
		                         .headers_ms = 5000, .request_ms = 10000, .idle_s = 30, .work_ms = 120000 };
	struct http_app main_app = api_app(s->api, API_MAIN), local_app = api_app(s->api, API_LOCAL);

	KMS_TRY(http_start(&local_cfg, &local_app, &s->local, err));
	if (c->ekm.is_on)
		KMS_TRY(listen_ekm(s, err));
	if (c->identity.is_on)
		KMS_TRY(listen_identity(s, err));
	if (c->metrics.is_on)
		KMS_TRY(listen_metrics(s, err));
	return http_start(&main_cfg, &main_app, &s->http, err);
}

static void write_node_event(struct server *s, enum event_type type)
{
	struct write unit = { .event = { .type = type, .actor = EVENT_ACTOR_NODE } };
	if (writer_write(s->kms.writer, &unit) != KMS_OK)
		log_event(LOG_ERROR, "event_not_written", LOG_S("type", event_type_name(type)));
}

/* Found wanting and started anew within one check. */
static void watch_hsm_epoch(struct server *s)
{
	struct hsm_info info = { 0 };

	hsm_info(s->kms.hsm, &info);
	if (info.epoch != s->hsm_epoch && s->hsm_epoch != 0) {
		log_event(LOG_WARN, "hsm_started_anew", LOG_I("times", info.epoch));
		s->housekeeping_next_s = 0;
	}
	s->hsm_epoch = info.epoch;
}

/* Once a second: is the device there? Brings it back when it can. */
static void watch_hsm(struct server *s)
{
	struct kms_err err = { 0 };
	bool is_available = hsm_check(s->kms.hsm, &err) == KMS_OK;

	watch_hsm_epoch(s);
	if (is_available == s->hsm_was_available)
		return;
	s->hsm_was_available = is_available;
	if (is_available) {
		s->housekeeping_next_s = 0; /* what the loss has interrupted goes on at once */
		log_event(LOG_WARN, "hsm_back");
	} else {
		log_failure(LOG_ERROR, "hsm_lost", NULL, &err);
	}
	write_node_event(s, is_available ? EVENT_NODE_HSM_BACK : EVENT_NODE_HSM_LOST);
}

/* When the clock was set, what that makes due is done at once. */
static void watch_clock(struct server *s)
{
	int64_t offset_s = clock_wall_s(s->kms.clock) - clock_mono_us(s->kms.clock) / 1000000;

	if (offset_s > s->clock_offset_s + CLOCK_STEP_S || offset_s < s->clock_offset_s - CLOCK_STEP_S)
		s->housekeeping_next_s = 0;
	s->clock_offset_s = offset_s;
}

static void housekeeping(struct server *s)
{
	int64_t now_s = clock_mono_us(s->kms.clock) / 1000000;

	watch_clock(s);
	if (now_s < s->housekeeping_next_s || log_state(s->kms.log) == LOG_ROLLED_BACK)
		return;
	s->housekeeping_next_s = now_s + HOUSEKEEPING_EVERY_S;
	api_housekeeping(s->api);
}

/* A thread of its own: a device that hangs must not keep the process from hearing its signals. */
static void *monitor(void *arg)
{
	struct server *s = arg;
	struct timespec until;

	(void)pthread_mutex_lock(&s->monitor_lock);
	while (!s->monitor_stops) {
		(void)pthread_mutex_unlock(&s->monitor_lock);
		watch_hsm(s);
		housekeeping(s);
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += 1;
		(void)pthread_mutex_lock(&s->monitor_lock);
		if (!s->monitor_stops)
			(void)pthread_cond_clockwait(&s->monitor_wakes, &s->monitor_lock, CLOCK_MONOTONIC, &until);
	}
	(void)pthread_mutex_unlock(&s->monitor_lock);
	return NULL;
}

static kms_status start_monitor(struct server *s, struct kms_err *err)
{
	int failure = 0;

	s->hsm_was_available = true;
	(void)pthread_mutex_init(&s->monitor_lock, NULL);
	(void)pthread_cond_init(&s->monitor_wakes, NULL);
	failure = pthread_create(&s->monitor_thread, NULL, monitor, s);
	if (failure != 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, (unsigned long)failure, "monitor thread");
	s->has_monitor = true;
	return KMS_OK;
}

static void stop_monitor(struct server *s)
{
	struct timespec until;

	if (!s->has_monitor)
		return;
	(void)pthread_mutex_lock(&s->monitor_lock);
	s->monitor_stops = true;
	(void)pthread_cond_signal(&s->monitor_wakes);
	(void)pthread_mutex_unlock(&s->monitor_lock);
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += MONITOR_STOP_S;
	if (pthread_timedjoin_np(s->monitor_thread, NULL, &until) == 0)
		return;
	/* It hangs in the device, and nothing can end that call; what is acknowledged is on disk. */
	log_event(LOG_ERROR, "hsm_hangs_at_stop");
	_exit(1);
}

static struct issuer_config issuer_of(const struct config_issuer *c)
{
	struct issuer_config i = { .name = c->name, .ids = (const char *const *)c->issuer, .id_count = c->issuer_count,
		                   .audiences = (const char *const *)c->audience, .audience_count = c->audience_count, .tenant = c->tenant,
		                   .authority = c->authority, .jwks_url = c->jwks_url, .jwks_file = c->jwks_file, .ca = c->ca,
		                   .algs = c->algorithms_count == 0 ? JWT_RS256 : 0, .principal_claim = c->principal_claim, .group_claim = c->group_claim,
		                   .role_claim = c->role_claim, .refresh_s = c->refresh_s, .stale_s = c->stale_s };

	for (unsigned n = 0; n < c->algorithms_count; n++)
		i.algs |= (unsigned)jwt_alg_parse(c->algorithms[n]);
	return i;
}

static kms_status set_issuers(struct server *s, struct api_config *cfg, struct kms_err *err)
{
	s->issuers = calloc(s->config->issuers_count + 1, sizeof(*s->issuers));
	if (s->issuers == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "issuers");
	for (unsigned n = 0; n < s->config->issuers_count; n++)
		s->issuers[n] = issuer_of(&s->config->issuers[n]);
	cfg->issuers = s->issuers;
	cfg->issuer_count = s->config->issuers_count;
	return KMS_OK;
}

static void set_names(struct server *s)
{
	const struct config *c = s->config;

	s->kms.clock = &CLOCK_SYSTEM;
	(void)snprintf(s->kms.domain, sizeof(s->kms.domain), "%s", c->domain);
	s->kms.public_port = c->public_port;
	s->kms.site = c->site;
	s->kms.node = c->node;
	s->kms.token_life_s = c->limits.token_life_s;
	s->epochs = (struct epoch_policy){ .epoch_days = c->backup.epoch_days, .keep_days = c->backup.keep_days };
	s->kms.epochs = &s->epochs;
}

static kms_status open_device(struct server *s, struct kms_err *err)
{
	struct p11_config cfg;

	hsm_settings(s, &cfg);
	return hsm_open_pkcs11(&cfg, &s->kms.hsm, err);
}

static kms_status open_installation(struct server *s, struct kms_err *err)
{
	KMS_TRY(installation_open(s->writer_store, s->kms.hsm, s->config->log.origin, &s->kms.inst, err));
	hsm_set_log_key(s->kms.hsm, s->kms.inst.log_key);
	return KMS_OK;
}

/*
 * The order matters:
 *  1. the database's lock, before anything of the token is touched: one process at a time;
 *  2. device and own keys; then the log: is this the database that was last signed (pin, checkpoint, witnesses)? Its writer, so that all that follows is written down;
 *  3. the sweep, whatever the log's state and before anything could use a key: who sets token or database back must not get a destroyed key out of it;
 *  4. checkpoints and witnesses: what was found is signed, or, in a log that was rolled back, said aloud;
 *  5. only in a good log: interrupted acts are finished or undone, there is a backup epoch, and a restore becomes an event (node.restored);
 *  6. what follows the log (index, exports, alerts, webhooks), each from its own cursor;
 *  7. those who serve: lanes, the monitor with its housekeeping, and last the listeners.
 * server/restore.c does 1 to 3 with a database that is not in its place yet.
 */
static kms_status open_copy(const char *path, struct store **ret_store, struct kms_err *err) { return store_open_sqlite(path, STORE_READ, ret_store, err); }

static kms_status set_backups(struct server *s, struct kms_err *err)
{
	const struct config *c = s->config;

	s->backups = (struct backup_settings){ .directory = c->backup.directory, .every_hours = c->backup.every_hours, .keep = c->backup.keep, .config = c->text,
		                               .database = c->storage.database, .open_store = open_copy };
	if (c->backup.directory == NULL)
		return KMS_OK;
	KMS_TRY(backup_runner_new(&s->backups.runner, err));
	s->kms.backups = &s->backups;
	return server_backups_sweep(&s->backups, err);
}

static kms_status set_persons(struct server *s, struct kms_err *err)
{
	s->kms.keep_days = s->config->log.keep_days;
	return persons_new(&s->kms.persons, err);
}

static kms_status start_feeds(struct server *s, struct kms_err *err)
{
	const struct feeds_setup setup = { .config = s->config, .kms = &s->kms, .open_store = open_reader, .open_arg = s };
	return feeds_start(&setup, &s->feeds, err);
}

static kms_status start(struct server *s, struct kms_err *err)
{
	const struct config *c = s->config;
	struct api_config api_cfg = { .kms = &s->kms, .feeds = &s->feeds, .metric_vaults = c->metrics.vaults, .open_store = open_reader, .arg = s, .crypto_threads = c->hsm.workers,
		                      .queue = c->limits.queue, .serves_ekm = c->ekm.is_on, .ekm_api_version = c->ekm.api_version,
		                      .knows_services = c->listen.client_certificates,
		                      .limits = { .vault = { [LIMIT_REQUESTS] = c->limits.vault_requests, [LIMIT_CREATES] = c->limits.vault_creates },
		                                  .principal = { [LIMIT_REQUESTS] = c->limits.principal_requests,
		                                                 [LIMIT_CREATES] = c->limits.principal_creates } } };

	set_names(s);
	KMS_TRY(store_open_sqlite(c->storage.database, STORE_WRITE, &s->writer_store, err));
	KMS_TRY(reserve_hold(c->storage.database, c->storage.reserve_mib, err));
	KMS_TRY(open_device(s, err));
	KMS_TRY(open_installation(s, err));
	KMS_TRY(attestation_certificate(s->kms.hsm, &s->kms.inst, c->domain, s->attestation_certificate, err));
	s->kms.attestation_certificate = s->attestation_certificate;
	KMS_TRY(open_locals(s, err));
	KMS_TRY(open_log(s, err));
	KMS_TRY(sweep(s, err));
	KMS_TRY(start_checkpoints(s, err));
	KMS_TRY(start_witnesses(s, err));
	KMS_TRY(set_persons(s, err));
	KMS_TRY(set_backups(s, err)); /* recovery enters one whose outcome is missing */
	KMS_TRY(recover(s, err));
	KMS_TRY(start_feeds(s, err));
	KMS_TRY(set_issuers(s, &api_cfg, err));
	KMS_TRY(api_start(&api_cfg, &s->api, err));
	KMS_TRY(start_monitor(s, err));
	return listen_all(s, err);
}

/* Reverse order; each part may be missing when start() failed half-way. */
static void stop(struct server *s)
{
	daemon_stopping();
	if (s->api != NULL)
		api_set_stopping(s->api);
	if (s->http != NULL)
		http_quiesce(s->http);
	if (s->ekm != NULL)
		http_quiesce(s->ekm);
	if (s->identity != NULL)
		http_quiesce(s->identity);
	http_stop(s->metrics, DRAIN_MS);
	metrics_listener_free(s->metrics_listener);
	http_stop(s->identity, DRAIN_MS);
	http_stop(s->ekm, DRAIN_MS);
	http_stop(s->http, DRAIN_MS);
	http_stop(s->local, DRAIN_MS);
	backup_runner_stop(s->backups.runner);
	api_stop(s->api);
	stop_monitor(s);
	feeds_stop(&s->feeds);
	if (s->writer_store != NULL)
		reserve_release(s->config->storage.database);
	stop_witnesses(s);
	checkpointer_stop(s->kms.log);
	writer_stop(s->kms.writer);
	api_free(s->api);
	witnesses_free(s->kms.witnesses);
	witness_client_free(s->witness_client);
	free(s->witnesses);
	free(s->issuers);
	backup_runner_free(s->backups.runner);
	persons_free(s->kms.persons);
	installation_clear(&s->kms.inst);
	store_close(s->writer_store);
	hsm_close(s->kms.hsm);
}

/* Each listener for itself: what is wrong with one pair is no reason to keep the other's old one. */
static void reload_one(struct http_server *listener, const char *name)
{
	struct kms_err err = { 0 };

	if (http_reload(listener, &err) == KMS_OK)
		log_event(LOG_INFO, "certificates_reloaded", LOG_S("listener", name));
	else
		log_failure(LOG_ERROR, "reload_failed", NULL, &err);
}

static void reload(struct server *s)
{
	daemon_reloading();
	reload_one(s->http, "main");
	if (s->ekm != NULL)
		reload_one(s->ekm, "ekm");
	if (s->metrics != NULL && s->config->metrics.certificate != NULL)
		reload_one(s->metrics, "metrics");
	api_reload(s->api);
	write_node_event(s, EVENT_NODE_CONFIG);
	daemon_ready();
}

static void serve(struct server *s)
{
	char url[KMS_URL_MAX];
	enum log_state state = log_state(s->kms.log);

	kms_url(&s->kms, NULL, url);
	log_event(LOG_INFO, "ready", LOG_S("url", url), LOG_S("socket", s->config->admin.socket), LOG_S("origin", s->kms.origin),
	          LOG_S("audit", state == LOG_GOOD ? "ok" : api_log_state_name(state)), LOG_I("ekm_port", s->ekm != NULL ? http_port(s->ekm) : 0),
	          LOG_I("identity_port", s->identity != NULL ? http_port(s->identity) : 0));
	daemon_ready();
	for (;;) {
		switch (daemon_wait()) {
		case DAEMON_RELOAD:
			reload(s);
			break;
		case DAEMON_TICK:
			break;
		case DAEMON_STOP:
			log_event(LOG_INFO, "stopping");
			return;
		}
	}
}

/* ---- restore: the same steps, one by one ---- */

static kms_status restore_lock(void *arg, const char *database, int *ret_fd, struct kms_err *err)
{
	(void)arg;
	return store_lock_sqlite(database, ret_fd, err);
}

static kms_status restore_identify(void *arg, struct hsm_info *ret_info, struct kms_err *err)
{
	struct p11_config cfg;

	hsm_settings(arg, &cfg);
	return p11_identify(&cfg, ret_info, err);
}

static kms_status restore_open_device(void *arg, struct kms_err *err) { return open_device(arg, err); }

static kms_status restore_open_database(void *arg, const char *path, struct store **ret_store, struct kms_err *err)
{
	struct server *s = arg;

	KMS_TRY(store_open_sqlite(path, STORE_WRITE, &s->writer_store, err));
	*ret_store = s->writer_store;
	return open_installation(s, err);
}

static kms_status restore_open_log(void *arg, struct log_verdict *ret_verdict, struct kms_err *err)
{
	struct server *s = arg;

	KMS_TRY(open_log(s, err));
	*ret_verdict = s->verdict;
	return KMS_OK;
}

static kms_status restore_open_reader(const char *path, struct store **ret_store, struct kms_err *err)
{
	return store_open_sqlite(path, STORE_READ, ret_store, err);
}

/* Twice, at times. */
static void restore_close(void *arg)
{
	struct server *s = arg;

	witness_client_cancel(s->witness_client);
	writer_stop(KMS_TAKE(s->kms.writer));
	witness_client_free(KMS_TAKE(s->witness_client));
	free(KMS_TAKE(s->witnesses));
	installation_clear(&s->kms.inst);
	store_close(KMS_TAKE(s->writer_store));
	hsm_close(KMS_TAKE(s->kms.hsm));
}

static int run_restore(struct server *s)
{
	const struct restore_ports ports = { .arg = s, .kms = &s->kms, .lock = restore_lock, .identify = restore_identify, .open_device = restore_open_device,
		                             .open_database = restore_open_database, .open_log = restore_open_log, .open_reader = restore_open_reader,
		                             .close = restore_close };

	daemon_block_signals();
	set_names(s);
	return restore_main(&s->restore, &ports, s->config);
}

/* ---- the command line ---- */

static int usage(FILE *to)
{
	(void)fputs("usage: holdfastd --config FILE [--check]\n"
	            "       holdfastd restore --config FILE [--json] BACKUP\n"
	            "       holdfastd restore --config FILE --rehearse DIR [--token URI [--pin FILE]] [--keep] [--json] BACKUP\n"
	            "       holdfastd restore --config FILE --show-config BACKUP\n"
	            "  --config FILE   configuration (YAML)\n"
	            "  --check         read the configuration, say what is wrong with it, and exit\n"
	            "restore: make a backup of the server (holdfast backup create) the database of this machine. There must be none, and the server must not run; nothing is served.\n"
	            "  --json          the report as JSON\n"
	            "  --show-config   print the configuration that is in the backup, and do nothing else\n"
	            "  --rehearse DIR  do it all in this directory and on a copy of the token's files; afterwards everything in it is overwritten and removed\n"
	            "  --token URI     rehearse on this scratch token, which holds a copy of the keys: for a token that is not made of files\n"
	            "  --pin FILE      its PIN, where that is another\n"
	            "  --keep          leave DIR as it is\n"
	            "exit status of restore: 0 restored (or would be), every key works; 3 restored, but some keys do not work; 4 restored, but a witness did not\n"
	            "say whether events are missing; 1 not restored; 2 usage or configuration\n", to);
	return to == stderr ? EXIT_CONFIG : 0;
}

/* @param for_people  their report is on this terminal too, and says what it means: then no JSON between */
static void setup_log(const struct config *c, bool for_people)
{
	enum log_level level = LOG_INFO;

	if (!log_level_parse(c->log.level, &level))
		level = LOG_INFO;
	log_setup(level, !for_people && (strcmp(c->log.format, "json") == 0 || (strcmp(c->log.format, "auto") == 0 && !isatty(STDERR_FILENO))));
}

static int run(struct server *s)
{
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;

	daemon_block_signals();
	json_setup();
	status = start(s, &err);
	if (status != KMS_OK) {
		err.status = status;
		log_failure(LOG_ERROR, "start_failed", NULL, &err);
	} else {
		serve(s);
	}
	stop(s);
	if (status == KMS_OK)
		log_event(LOG_INFO, "stopped");
	return status == KMS_OK ? 0 : 1;
}

static const struct option OPTIONS[] = {
	{ "config", required_argument, NULL, 'c' },   { "check", no_argument, NULL, 'n' },        { "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, 'j' },           { "show-config", no_argument, NULL, 's' },  { "rehearse", required_argument, NULL, 'r' },
	{ "token", required_argument, NULL, 't' },    { "pin", required_argument, NULL, 'p' },    { "keep", no_argument, NULL, 'k' },
	{ 0 },
};

/* What the process is to do. */
enum command { COMMAND_SERVE, COMMAND_CHECK, COMMAND_LOOK, COMMAND_RESTORE, COMMAND_HELP, COMMAND_NONE };

/* Options that do not belong together are refused: who misspells a rehearsal must not get a restore. */
static enum command command_of(const struct restore_options *r, bool check_only, int count, char **words)
{
	bool has_restore_option = r->as_json || r->shows_config || r->rehearse != NULL || r->keeps;

	if (count == 2 && strcmp(words[0], "restore") == 0 && !check_only) {
		bool fits = r->rehearse != NULL ? !r->shows_config && (r->pin == NULL || r->token != NULL) : r->token == NULL && r->pin == NULL && !r->keeps;
		return fits && !(r->shows_config && r->as_json) ? COMMAND_RESTORE : COMMAND_NONE;
	}
	if (has_restore_option)
		return COMMAND_NONE;
	if (count == 1 && strcmp(words[0], "hsm-look") == 0 && !check_only)
		return COMMAND_LOOK;
	if (count > 0 || r->token != NULL || r->pin != NULL)
		return COMMAND_NONE;
	return check_only ? COMMAND_CHECK : COMMAND_SERVE;
}

static enum command read_arguments(struct server *s, int argc, char **argv)
{
	struct restore_options *r = &s->restore;
	enum command command = COMMAND_NONE;
	bool check_only = false;

	for (int o; (o = getopt_long(argc, argv, "c:h", OPTIONS, NULL)) != -1;) {
		switch (o) {
		case 'c': s->config_path = optarg; break;
		case 'n': check_only = true; break;
		case 'j': r->as_json = true; break;
		case 's': r->shows_config = true; break;
		case 'r': r->rehearse = optarg; break;
		case 't': r->token = optarg; break;
		case 'p': r->pin = optarg; break;
		case 'k': r->keeps = true; break;
		case 'h': return COMMAND_HELP;
		default: return COMMAND_NONE;
		}
	}
	command = s->config_path != NULL ? command_of(r, check_only, argc - optind, argv + optind) : COMMAND_NONE;
	if (command == COMMAND_RESTORE)
		r->backup = argv[optind + 1];
	return command;
}

static int look(struct server *s)
{
	struct p11_config cfg;

	hsm_settings(s, &cfg);
	if (s->restore.token != NULL) { /* that of a rehearsal */
		cfg.uri = s->restore.token;
		cfg.pin_file = s->restore.pin;
	}
	return p11_look_main(&cfg);
}

static int run_command(struct server *s, enum command command)
{
	switch (command) {
	case COMMAND_CHECK: (void)printf("%s: good\n", s->config_path); return 0;
	case COMMAND_LOOK: return look(s);
	case COMMAND_RESTORE: return run_restore(s);
	case COMMAND_SERVE: return run(s);
	case COMMAND_HELP: return usage(stdout);
	case COMMAND_NONE: break;
	}
	return usage(stderr);
}

int main(int argc, char **argv)
{
	static struct server server; /* too large for the stack, and one for the process */
	struct kms_err err = { 0 };
	ssize_t len = readlink("/proc/self/exe", server.self, sizeof(server.self) - 1);
	enum command command;
	int exit_status = 0;

	if (len < 0)
		(void)snprintf(server.self, sizeof(server.self), "%s", argv[0]);
	command = read_arguments(&server, argc, argv);
	if (command == COMMAND_HELP || command == COMMAND_NONE)
		return usage(command == COMMAND_HELP ? stdout : stderr);
	if (daemon_harden(&err) != KMS_OK || config_load(server.config_path, &server.config, &err) != KMS_OK ||
	    daemon_make_heap(server.config->hsm.workers, &err) != KMS_OK) {
		(void)fprintf(stderr, "holdfastd: %s%s%s\n", kms_err_text(&err), err.detail[0] != '\0' ? ": " : "", err.detail);
		return EXIT_CONFIG;
	}
	setup_log(server.config, command == COMMAND_RESTORE && !server.restore.as_json);
	exit_status = run_command(&server, command);
	config_free(server.config);
	/* No library destructors: SoftHSM and OpenSSL do not agree on their order at exit (softhsm #635, #780). */
	(void)fflush(NULL);
	_exit(exit_status);
}
