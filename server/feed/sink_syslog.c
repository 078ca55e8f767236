/*
 * server/feed/sink_syslog.c - see sinks.h. Syslog has no answers: what a receiver's kernel has acknowledged may still die with the receiver. So a record counts when it was
 * acknowledged and the connection has lived for SETTLE_MS after that; whatever did not count is sent again over the next connection.
 * libcurl makes the connection, so that addresses and certificates are dealt with as everywhere else here.
 */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h> /* and not netinet/tcp.h, whose struct tcp_info knows nothing of acknowledged bytes */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "server/feed/sinks.h"

#define CONNECT_MS 10000
#define STALL_MS 10000     /* a receiver that takes nothing for so long is given up */
#define USER_TIMEOUT_MS 20000 /* and one that acknowledges nothing, by the kernel */
#define SLICE_MS 200
#define SETTLE_MS 5000
#define MARKS_MAX 1024
#define COUNT_MAX 24 /* "12345 " */
#define READS_MAX 64 /* of a KiB, at a look: what TLS itself has to say is less */
#define ALIVE_IDLE_S 15L
#define ALIVE_EVERY_S 5L
#define CLOSED "the receiver has closed the connection"

/* A run of records that was sent. */
struct mark {
	uint64_t seq;      /* of its first record */
	uint64_t until;    /* bytes acknowledged, when all of it is */
	int64_t acked_ms;  /* 0 = not yet */
};

struct syslog_sink {
	struct sink base;
	const char *host_port;
	bool is_plain;
	struct sink_tls tls;
	CURL *curl; /* NULL = not connected */
	curl_socket_t socket;
	const atomic_bool *is_stopping; /* for the call under way */
	struct mark marks[MARKS_MAX];   /* a ring, the oldest first */
	size_t first, count;
	char why[CURL_ERROR_SIZE];
};

static struct syslog_sink *of(struct sink *s) { return (struct syslog_sink *)(void *)s; }

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool stops(const atomic_bool *is_stopping) { return is_stopping != NULL && atomic_load(is_stopping); }

static kms_status lost(const struct syslog_sink *s, const char *why, struct kms_err *err)
{
	return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, 0, "%.60s: %s", s->host_port, why);
}

/* ---- the connection ---- */

static int look_up(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	const struct syslog_sink *s = arg;

	(void)down_total;
	(void)down;
	(void)up_total;
	(void)up;
	return stops(s->is_stopping) ? 1 : 0;
}

#define SET(option, value) good = good && curl_easy_setopt(curl, option, value) == CURLE_OK

static bool set_address(struct syslog_sink *s, CURL *curl)
{
	char url[512];
	bool good = snprintf(url, sizeof(url), "%s://%s", s->is_plain ? "http" : "https", s->host_port) < (int)sizeof(url);

	SET(CURLOPT_URL, url);
	SET(CURLOPT_CONNECT_ONLY, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	SET(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	SET(CURLOPT_QUICK_EXIT, 1L); /* a name server that does not answer holds up its own thread, not this one */
#endif
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_TCP_KEEPIDLE, ALIVE_IDLE_S);
	SET(CURLOPT_TCP_KEEPINTVL, ALIVE_EVERY_S);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, look_up);
	SET(CURLOPT_XFERINFODATA, s);
	SET(CURLOPT_ERRORBUFFER, s->why);
	return good;
}

static bool set_tls(const struct syslog_sink *s, CURL *curl)
{
	bool good = true;

	SET(CURLOPT_SSL_ENABLE_ALPN, 0L); /* it is no HTTP */
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (s->tls.ca != NULL) {
		SET(CURLOPT_CAINFO, s->tls.ca);
		SET(CURLOPT_CAPATH, NULL);
	}
	if (s->tls.certificate != NULL) {
		SET(CURLOPT_SSLCERT, s->tls.certificate);
		SET(CURLOPT_SSLKEY, s->tls.key);
	}
	return good;
}

static void disconnect(struct syslog_sink *s)
{
	curl_easy_cleanup(s->curl);
	s->curl = NULL;
	s->first = s->count = 0;
}

static kms_status connect_now(struct syslog_sink *s, struct kms_err *err)
{
	const unsigned timeout_ms = USER_TIMEOUT_MS;
	CURLcode code = CURLE_FAILED_INIT;

	s->why[0] = '\0';
	s->curl = curl_easy_init();
	if (s->curl != NULL && set_address(s, s->curl) && set_tls(s, s->curl))
		code = curl_easy_perform(s->curl);
	if (code == CURLE_OK)
		code = curl_easy_getinfo(s->curl, CURLINFO_ACTIVESOCKET, &s->socket);
	if (code == CURLE_OK && (s->socket == CURL_SOCKET_BAD || setsockopt(s->socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms)) != 0))
		code = CURLE_COULDNT_CONNECT;
	if (code == CURLE_OK)
		return KMS_OK;
	disconnect(s);
	return lost(s, s->why[0] != '\0' ? s->why : curl_easy_strerror(code), err);
}

/* Syslog receivers say nothing; what TLS itself has to say is read here, and the end. */
static kms_status read_nothing(struct syslog_sink *s, struct kms_err *err)
{
	char bytes[1024];
	size_t len = 0, reads = 0;
	CURLcode code;

	do
		code = curl_easy_recv(s->curl, bytes, sizeof(bytes), &len);
	while (code == CURLE_OK && len > 0 && ++reads < READS_MAX);
	if (reads == READS_MAX)
		return lost(s, "the receiver sends what nobody asked for", err);
	if (code == CURLE_AGAIN)
		return KMS_OK;
	return lost(s, s->is_plain || s->tls.certificate != NULL ? CLOSED : CLOSED "; does it want a client certificate?", err);
}

/* ---- sending ---- */

static kms_status wait_for_room(struct syslog_sink *s, int64_t until_ms, struct kms_err *err)
{
	struct pollfd p = { .fd = s->socket, .events = POLLIN | POLLOUT };

	if (stops(s->is_stopping))
		return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "the server is stopping");
	if (now_ms() > until_ms)
		return lost(s, "the receiver takes nothing", err);
	(void)poll(&p, 1, SLICE_MS);
	return (p.revents & POLLIN) != 0 ? read_nothing(s, err) : KMS_OK;
}

static kms_status send_bytes(struct syslog_sink *s, const char *bytes, size_t len, struct kms_err *err)
{
	int64_t until_ms = now_ms() + STALL_MS;

	while (len > 0) {
		size_t sent = 0;
		CURLcode code = curl_easy_send(s->curl, bytes, len, &sent);
		if (code == CURLE_AGAIN) {
			KMS_TRY(wait_for_room(s, until_ms, err));
			continue;
		}
		if (code != CURLE_OK)
			return lost(s, curl_easy_strerror(code), err);
		bytes += sent;
		len -= sent;
		until_ms = now_ms() + STALL_MS;
	}
	return KMS_OK;
}

/* Each with its length before it (RFC 5425 section 4.3). */
static char *join(const struct record *records, size_t count, size_t *ret_len)
{
	size_t room = 1, at = 0;
	char *bytes = NULL;

	for (size_t i = 0; i < count; i++)
		room += records[i].len + COUNT_MAX;
	bytes = malloc(room);
	for (size_t i = 0; bytes != NULL && i < count; i++) {
		at += (size_t)snprintf(bytes + at, COUNT_MAX, "%zu ", records[i].len);
		memcpy(bytes + at, records[i].bytes, records[i].len);
		at += records[i].len;
	}
	*ret_len = at;
	return bytes;
}

/* ---- what has arrived ---- */

static bool acknowledged(const struct syslog_sink *s, uint64_t *ret)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(s->socket, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 || len < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
		return false;
	*ret = info.tcpi_bytes_acked;
	return true;
}

/* The bytes that will be acknowledged when all that was sent is: those that are, and those under way, both of one moment. */
static bool sent_in_all(const struct syslog_sink *s, uint64_t *ret)
{
	uint64_t before = 0, after = 0;
	int waiting = 0;

	do {
		if (!acknowledged(s, &before) || ioctl(s->socket, SIOCOUTQ, &waiting) != 0 || !acknowledged(s, &after))
			return false;
	} while (before != after);
	*ret = after + (uint64_t)(waiting > 0 ? waiting : 0);
	return true;
}

static struct mark *mark_at(struct syslog_sink *s, size_t i) { return &s->marks[(s->first + i) % MARKS_MAX]; }

/* When there are too many, the newest stands for two runs. */
static kms_status add_mark(struct syslog_sink *s, uint64_t seq, struct kms_err *err)
{
	struct mark m = { .seq = seq };

	if (!sent_in_all(s, &m.until))
		return lost(s, "the kernel does not say what was acknowledged", err);
	if (s->count == MARKS_MAX)
		m.seq = mark_at(s, --s->count)->seq;
	*mark_at(s, s->count++) = m;
	return KMS_OK;
}

static kms_status settle(struct syslog_sink *s, struct kms_err *err)
{
	int64_t now = now_ms();
	uint64_t acked = 0;

	if (!acknowledged(s, &acked))
		return lost(s, "the kernel does not say what was acknowledged", err);
	for (size_t i = 0; i < s->count; i++) {
		struct mark *m = mark_at(s, i);
		if (m->acked_ms == 0 && m->until <= acked)
			m->acked_ms = now;
	}
	while (s->count > 0 && mark_at(s, 0)->acked_ms != 0 && now - mark_at(s, 0)->acked_ms >= SETTLE_MS) {
		s->first = (s->first + 1) % MARKS_MAX;
		s->count--;
	}
	return KMS_OK;
}

/* ---- the sink ---- */

static kms_status send_records(struct sink *base, const struct record *records, size_t count, const atomic_bool *is_stopping, struct kms_err *err)
{
	struct syslog_sink *s = of(base);
	size_t len = 0;
	char *bytes = join(records, count, &len);
	kms_status status = KMS_OK;

	if (bytes == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "records for %.60s", s->host_port);
	s->is_stopping = is_stopping;
	status = s->curl != NULL ? read_nothing(s, err) : connect_now(s, err);
	if (status == KMS_OK)
		status = send_bytes(s, bytes, len, err);
	if (status == KMS_OK)
		status = add_mark(s, records[0].seq, err);
	s->is_stopping = NULL;
	free(bytes);
	return status;
}

static uint64_t settled(struct sink *base)
{
	struct syslog_sink *s = of(base);
	return s->count > 0 ? mark_at(s, 0)->seq : SINK_ALL_SETTLED;
}

static kms_status tick(struct sink *base, struct kms_err *err)
{
	struct syslog_sink *s = of(base);

	if (s->curl == NULL)
		return KMS_OK;
	KMS_TRY(read_nothing(s, err)); /* before anything counts: it must have lived so long */
	return settle(s, err);
}

static void rewind_stream(struct sink *base) { disconnect(of(base)); }

static void close_stream(struct sink *base)
{
	disconnect(of(base));
	free(base);
	curl_global_cleanup();
}

static const struct sink_ops SYSLOG_OPS = {
	.name = "syslog", .send = send_records, .settled = settled, .tick = tick, .rewind = rewind_stream, .close = close_stream
};

kms_status sink_syslog_new(const char *host_port, bool is_plain, const struct sink_tls *tls, struct sink **ret, struct kms_err *err)
{
	struct syslog_sink *s = calloc(1, sizeof(*s));

	if (s == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(s);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "syslog sink");
	}
	s->base.ops = &SYSLOG_OPS;
	s->host_port = host_port;
	s->is_plain = is_plain;
	s->tls = *tls;
	*ret = &s->base;
	return KMS_OK;
}
