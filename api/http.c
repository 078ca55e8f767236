/* api/http.c - the listener: accepting, limits, deadlines, start and stop. What happens inside one request is in http_exchange.c. */
#include "api/http.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "api/http_internal.h"
#include "server/base/clock.h"

#define CONNECTION_MEMORY (32U << 10)
#define ACCEPT_BATCH 64          /* accepted in a row before deadlines are looked at again */
#define ACCEPT_BACKOFF_US 100000 /* after running out of descriptors or memory */
#define TABLE_FIRST_LEN 256U
#define TICK_MS_MAX 250
#define TICK_MS_MIN 5
#define TICKS_PER_DEADLINE 8
#define ROOM_SHARE 8              /* of the connections: beyond the others strangers are cut for whoever comes */
#define STRANGER_US 500000        /* not before */
#define FLUSH_MS 1000            /* time for the last answers to leave when stopping */

/*
 * In front of the C library's: libmicrohttpd 0.9.75 (MHD_epoll() in its daemon.c) calls epoll_wait() again, with the same endless time-out, when it
 * was given exactly as many events as it had room for (128), before it serves any of them. When all connections of a thread are ready and are just
 * that many, nothing more can happen, and the thread waits for ever with all of them unserved. The library's call resolves to the program's own
 * symbol first; this one never fills the array, so the library never asks twice. What did not fit stays ready and comes with the next call.
 */
int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)
{
	return epoll_pwait(epfd, events, maxevents > 1 ? maxevents - 1 : maxevents, timeout, NULL);
}

int64_t http_now_us(void) { return clock_mono_us(&CLOCK_SYSTEM); }

void connection_set_deadline(struct connection *c, int64_t deadline_us)
{
	atomic_store_explicit(&c->deadline_us, deadline_us, memory_order_relaxed);
}

/* ---- table of connections ---- */

static bool table_fits_locked(struct http_server *s, size_t fd)
{
	if (fd < s->by_fd_len)
		return true;
	size_t len = s->by_fd_len == 0 ? TABLE_FIRST_LEN : s->by_fd_len;
	while (len <= fd)
		len *= 2;
	struct connection **grown = reallocarray(s->by_fd, len, sizeof(struct connection *));
	if (grown == NULL)
		return false;
	memset(grown + s->by_fd_len, 0, (len - s->by_fd_len) * sizeof(struct connection *));
	s->by_fd = grown;
	s->by_fd_len = len;
	return true;
}

static void connection_drop_locked(struct http_server *s, size_t fd)
{
	struct connection *c = s->by_fd[fd];
	if (c == NULL)
		return;
	s->by_fd[fd] = NULL;
	s->conns--;
	tls_pair_release(c->pair);
	free(c);
}

/* Whoever has been let in keeps the connection; of the others the one that has waited longest goes, so that no crowd of strangers, which may come back as
 * often as it is cut, keeps out those who are known. A handshake and a first request take less than a stranger is given. */
static void make_room_locked(struct http_server *s)
{
	struct connection *oldest = NULL;

	for (size_t fd = 0; fd < s->by_fd_len; fd++) {
		struct connection *c = s->by_fd[fd];
		if (c != NULL && c->is_started && !atomic_load_explicit(&c->is_welcome, memory_order_relaxed) &&
		    atomic_load_explicit(&c->deadline_us, memory_order_relaxed) != NO_DEADLINE && (oldest == NULL || c->since_us < oldest->since_us))
			oldest = c;
	}
	if (oldest == NULL || http_now_us() - oldest->since_us < STRANGER_US)
		return;
	connection_set_deadline(oldest, NO_DEADLINE);
	(void)shutdown(oldest->fd, SHUT_RDWR);
}

/* False: over the limit, or no memory; c is still the caller's. */
static bool connection_enter(struct http_server *s, struct connection *c)
{
	size_t fd = (size_t)c->fd;
	(void)pthread_mutex_lock(&s->conns_lock);
	bool is_entered = table_fits_locked(s, fd);
	if (is_entered) {
		/* The library closed this descriptor without ever starting the connection, else it could not be new. */
		connection_drop_locked(s, fd);
		if (s->conns >= s->cfg.connections - s->cfg.connections / ROOM_SHARE)
			make_room_locked(s);
		is_entered = s->conns < s->cfg.connections;
	}
	if (is_entered) {
		s->by_fd[fd] = c;
		s->conns++;
	}
	(void)pthread_mutex_unlock(&s->conns_lock);
	return is_entered;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context, enum MHD_ConnectionNotificationCode code)
{
	struct http_server *s = cls;
	(void)pthread_mutex_lock(&s->conns_lock);
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
		struct connection *c = info == NULL ? NULL : s->by_fd[info->connect_fd];
		if (c != NULL)
			c->is_started = true;
		*socket_context = c;
	} else if (*socket_context != NULL) {
		struct connection *c = *socket_context;
		connection_drop_locked(s, (size_t)c->fd);
		*socket_context = NULL;
	}
	(void)pthread_mutex_unlock(&s->conns_lock);
	if (code == MHD_CONNECTION_NOTIFY_STARTED && s->tls != NULL) {
		const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
		if (info != NULL)
			tls_store_prepare(s->tls, info->tls_session);
	}
}

static int on_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **ret_chain,
                          unsigned *ret_chain_len, gnutls_ocsp_data_st **ret_ocsp, unsigned *ret_ocsp_len, gnutls_privkey_t *ret_key,
                          unsigned *ret_flags)
{
	/* The library keeps its connection as the session's pointer. */
	struct MHD_Connection *mhd = gnutls_session_get_ptr(session);
	const union MHD_ConnectionInfo *conn_info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *c = conn_info == NULL ? NULL : conn_info->socket_context;
	(void)info;
	if (c == NULL)
		return -1;
	if (c->pair == NULL)
		c->pair = tls_store_acquire(c->server->tls);
	tls_pair_get(c->pair, ret_chain, ret_chain_len, ret_key);
	*ret_ocsp = NULL;
	*ret_ocsp_len = 0;
	*ret_flags = 0;
	return 0;
}

/* ---- keeper thread ---- */

static void connection_add(struct http_server *s, int fd, const struct sockaddr_storage *address, socklen_t address_len)
{
	struct connection *c = calloc(1, sizeof(*c));
	if (c == NULL) {
		(void)close(fd);
		return;
	}
	c->server = s;
	c->fd = fd;
	c->uid = (uid_t)-1;
	c->since_us = http_now_us();
	atomic_init(&c->deadline_us, c->since_us + (int64_t)s->cfg.headers_ms * US_PER_MS);
	listener_peer_text(address, c->peer, sizeof(c->peer));
	if (s->listener.unix_path != NULL) {
		struct ucred peer = { 0 };
		socklen_t peer_len = sizeof(peer);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) == 0 && peer_len == sizeof(peer))
			c->uid = peer.uid;
	}
	if (!connection_enter(s, c)) {
		free(c);
		(void)close(fd);
		return;
	}
	/* From here on the connection may end at any time, on another thread. On failure the library has closed the descriptor, and only
	 * this thread makes new ones in the table. */
	if (MHD_add_connection(s->mhd, fd, (const struct sockaddr *)address, address_len) == MHD_NO) {
		(void)pthread_mutex_lock(&s->conns_lock);
		connection_drop_locked(s, (size_t)fd);
		(void)pthread_mutex_unlock(&s->conns_lock);
	}
}

/* True: out of descriptors or memory; come back later. */
static bool accept_batch(struct http_server *s)
{
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage address = { 0 };
		socklen_t address_len = sizeof(address);
		int fd = accept4(s->listener.fd, (struct sockaddr *)&address, &address_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			connection_add(s, fd, &address, address_len);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			return true;
		else if (errno != ECONNABORTED && errno != EINTR)
			return false;
	}
	return false;
}

/* A socket that was shut down looks closed to its HTTP thread, whatever that was waiting for. */
static void cut_overdue(struct http_server *s, int64_t now_us)
{
	(void)pthread_mutex_lock(&s->conns_lock);
	for (size_t fd = 0; fd < s->by_fd_len; fd++) {
		struct connection *c = s->by_fd[fd];
		if (c == NULL || !c->is_started || atomic_load_explicit(&c->deadline_us, memory_order_relaxed) > now_us)
			continue;
		connection_set_deadline(c, NO_DEADLINE);
		(void)shutdown(c->fd, SHUT_RDWR);
	}
	(void)pthread_mutex_unlock(&s->conns_lock);
}

static int tick_ms(const struct http_config *cfg)
{
	unsigned least = cfg->headers_ms < cfg->request_ms ? cfg->headers_ms : cfg->request_ms;
	if (cfg->work_ms < least)
		least = cfg->work_ms;
	int tick = (int)(least / TICKS_PER_DEADLINE);
	return tick < TICK_MS_MIN ? TICK_MS_MIN : tick > TICK_MS_MAX ? TICK_MS_MAX : tick;
}

static void *keeper_run(void *arg)
{
	struct http_server *s = arg;
	int tick = tick_ms(&s->cfg);
	int64_t next_tick_us = http_now_us() + (int64_t)tick * US_PER_MS;
	int64_t accept_from_us = 0;
	(void)pthread_setname_np(pthread_self(), "http-keeper");
	while (!atomic_load(&s->is_keeper_done)) {
		int64_t now_us = http_now_us();
		bool accepts = !atomic_load(&s->is_quiescing) && now_us >= accept_from_us;
		struct pollfd fds[] = {
			{ .fd = s->wake_fd, .events = POLLIN },
			{ .fd = accepts ? s->listener.fd : -1, .events = POLLIN },
		};
		/* Work that begins while this thread sleeps is not overdue before the next tick, so its end is known to the sleep that meets it. */
		int64_t expiry_us = exchange_next_expiry_us(s);
		int64_t wait_us = (expiry_us < next_tick_us ? expiry_us : next_tick_us) - now_us;
		(void)poll(fds, KMS_ARRAY_LEN(fds), wait_us <= 0 ? 0 : (int)(wait_us / US_PER_MS) + 1);
		uint64_t woken;
		if (fds[0].revents != 0)
			(void)!read(s->wake_fd, &woken, sizeof(woken)); /* only a nudge: the flags say why */
		if (fds[1].revents != 0 && accept_batch(s))
			accept_from_us = http_now_us() + ACCEPT_BACKOFF_US;
		now_us = http_now_us();
		while (exchange_expire_one(s, now_us, s->cfg.late == KMS_OK ? KMS_E_BUSY : s->cfg.late))
			;
		if (now_us < next_tick_us)
			continue;
		next_tick_us = now_us + (int64_t)tick * US_PER_MS;
		cut_overdue(s, now_us);
	}
	return NULL;
}

static void keeper_wake(struct http_server *s)
{
	uint64_t one = 1;
	(void)!write(s->wake_fd, &one, sizeof(one)); /* fails only when it is awake already */
}

/* ---- start ---- */

/* Request targets stay as they came: the application decodes, once. */
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
	(void)cls;
	(void)mhd;
	return strlen(text);
}

static kms_status start_library(struct http_server *s, struct kms_err *err)
{
	/* The keeper accepts, not the library: it spreads connections evenly, can be told to stop without a race, and enforces the
	 * connection limit. The library's own limit must never be reached: 0.9.75 then keeps a mutex locked for ever. */
	struct MHD_OptionItem options[] = {
		{ MHD_OPTION_CONNECTION_LIMIT, INT_MAX, NULL },
		{ MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)s->cfg.per_ip, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL },
		{ MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)exchange_begin, s },
		{ MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, NULL },
		{ MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)exchange_completed, s },
		{ MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s },
		{ MHD_OPTION_END, 0, NULL }, /* pool size, when there is a pool */
		{ MHD_OPTION_END, 0, NULL },
		{ MHD_OPTION_END, 0, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};
	size_t n = KMS_ARRAY_LEN(options) - 4;
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET;
	if (s->cfg.threads > 1)
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)s->cfg.threads, NULL };
	if (s->tls != NULL) {
		flags |= MHD_USE_TLS;
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)tls_store_priorities(s->tls) };
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)(uintptr_t)on_certificate };
	}
	s->mhd = MHD_start_daemon(flags, 0, NULL, NULL, exchange_handle, s, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
	if (s->mhd == NULL)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_HTTP, (unsigned long)errno, "MHD_start_daemon");
	return KMS_OK;
}

/* What http_stop() does last, and all that is needed when the start failed half-way. */
static void server_free(struct http_server *s)
{
	if (s == NULL)
		return;
	if (s->mhd != NULL)
		MHD_stop_daemon(s->mhd);
	for (size_t fd = 0; fd < s->by_fd_len; fd++) /* accepted, never started */
		connection_drop_locked(s, fd);
	free(s->by_fd);
	listener_close(&s->listener);
	tls_store_free(s->tls);
	if (s->wake_fd >= 0)
		(void)close(s->wake_fd);
	(void)pthread_mutex_destroy(&s->conns_lock);
	(void)pthread_mutex_destroy(&s->work_lock);
	(void)pthread_cond_destroy(&s->work_changed);
	free(s);
}

static void server_free_at(struct http_server **s) { server_free(*s); }

kms_status http_start(const struct http_config *cfg, const struct http_app *app, struct http_server **ret_server, struct kms_err *err)
{
	__attribute__((cleanup(server_free_at))) struct http_server *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "listener");
	s->cfg = *cfg;
	s->app = *app;
	s->listener = (struct listener)LISTENER_NONE;
	(void)pthread_mutex_init(&s->conns_lock, NULL);
	(void)pthread_mutex_init(&s->work_lock, NULL);
	pthread_condattr_t attr;
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&s->work_changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "eventfd");
	if (cfg->cert_file != NULL && cfg->key_file != NULL && cfg->unix_path == NULL)
		KMS_TRY(tls_store_open(cfg, &s->tls, err));
	if (s->tls == NULL && (cfg->asks_client_certs || cfg->is_tls13_only))
		return kms_refuse(err, KMS_E_INVALID, "listener %s: a certificate and its key are needed", cfg->name);
	if (cfg->unix_path != NULL)
		KMS_TRY(listener_open_unix(cfg->unix_path, cfg->unix_shared, &s->listener, err));
	else
		KMS_TRY(listener_open_tcp(cfg->address, cfg->port, &s->listener, err));
	KMS_TRY(start_library(s, err));
	int rc = pthread_create(&s->keeper, NULL, keeper_run, s);
	if (rc != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)rc, "pthread_create");
	*ret_server = KMS_TAKE(s);
	return KMS_OK;
}

uint16_t http_port(const struct http_server *s) { return s->listener.port; }

kms_status http_reload(struct http_server *s, struct kms_err *err) { return s->tls == NULL ? KMS_OK : tls_store_reload(s->tls, err); }

/* ---- stop ---- */

size_t http_working(struct http_server *s)
{
	(void)pthread_mutex_lock(&s->work_lock);
	size_t working = s->working;
	(void)pthread_mutex_unlock(&s->work_lock);
	return working;
}

void http_quiesce(struct http_server *s)
{
	if (atomic_exchange(&s->is_quiescing, true))
		return;
	listener_quiesce(&s->listener);
	keeper_wake(s);
}

static struct timespec deadline_in(unsigned wait_ms)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += wait_ms / 1000;
	t.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

void http_stop(struct http_server *s, unsigned drain_ms)
{
	if (s == NULL)
		return;
	http_quiesce(s);
	struct timespec until = deadline_in(drain_ms);
	(void)pthread_mutex_lock(&s->work_lock);
	s->is_stopping = true;
	while (s->working > 0 && pthread_cond_timedwait(&s->work_changed, &s->work_lock, &until) == 0)
		;
	s->is_refusing = true;
	(void)pthread_mutex_unlock(&s->work_lock);

	/* The library aborts the process when it is stopped with a connection suspended, so every one is answered and resumed first. */
	while (exchange_expire_one(s, NO_DEADLINE, KMS_E_SHUTDOWN))
		;
	until = deadline_in(FLUSH_MS);
	(void)pthread_mutex_lock(&s->work_lock);
	while (s->working > 0) /* others are just delivering theirs */
		(void)pthread_cond_wait(&s->work_changed, &s->work_lock);
	while (atomic_load(&s->answering) > 0 && pthread_cond_timedwait(&s->work_changed, &s->work_lock, &until) == 0)
		;
	(void)pthread_mutex_unlock(&s->work_lock);

	atomic_store(&s->is_keeper_done, true);
	keeper_wake(s);
	(void)pthread_join(s->keeper, NULL);
	server_free(s);
}
