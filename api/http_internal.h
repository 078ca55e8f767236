/*
 * api/http_internal.h - what http.c (listener, connections, deadlines, start and stop) and http_exchange.c (one request and its answer)
 * share. No other file includes this.
 *
 * Threads: the library's HTTP threads run the callbacks, each connection on one of them for its life. One keeper thread accepts connections
 * and enforces deadlines. http_reply() comes from anywhere. Locks, none of which is held while another is taken:
 *   conns_lock  the table of connections
 *   work_lock   the list of requests being worked on
 */
#ifndef HOLDFAST_API_HTTP_INTERNAL_H
#define HOLDFAST_API_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "api/http.h"
#include "api/http_guard.h"
#include "api/http_listen.h"
#include "api/http_tls.h"

#define US_PER_MS 1000
#define US_PER_S 1000000
#define NO_DEADLINE INT64_MAX

/* One accepted connection, from accept() to the library's CLOSED notice. */
struct connection {
	struct http_server *server;
	int fd;
	bool is_started;              /* the library has it and will report its end; guarded by conns_lock */
	bool had_request;             /* HTTP thread only */
	atomic_bool is_welcome;       /* a request of it was answered, and not because nobody knew who asked */
	int64_t since_us;             /* accepted */
	struct tls_pair *pair;        /* certificate shown to it; HTTP thread only */
	_Atomic int64_t deadline_us;  /* then the keeper cuts it; CLOCK_SYSTEM's monotonic time */
	uid_t uid;
	char peer[sizeof(((struct http_request *)0)->peer)];
};

enum exchange_phase {
	EXCHANGE_NEW,     /* request line seen */
	EXCHANGE_BODY,    /* headers judged and admitted, body arriving */
	EXCHANGE_WORK,    /* served: an answer will come */
	EXCHANGE_ANSWERED /* response queued */
};

/*
 * One request. It outlives its connection when the application answers late, so the application's view owns its strings and body.
 * References: the connection's (until the library's completion notice), the application's (from serve() to http_reply()), the response's
 * (until its body was sent and erased), and for a moment the keeper's.
 */
struct exchange {
	struct http_request req; /* first: http_reply() gets this address */
	atomic_uint refs;
	atomic_bool is_claimed;  /* somebody has undertaken to answer; exactly one wins */
	struct http_server *server;   /* alive while the connection is, hence for whoever won the claim */
	struct MHD_Connection *mhd;   /* likewise */
	struct connection *conn;      /* likewise */
	struct http_app app;          /* a copy: end() may come after the server is gone */
	enum exchange_phase phase;    /* HTTP thread only */
	bool is_admitted;
	bool is_too_large;            /* the body is being read to the end only so that the client gets to read the 413 */
	size_t body_max;
	bool drops_body;
	size_t discarded;
	uint8_t *body;                /* owned, erased */
	size_t body_cap;
	char *strings;                /* owned, erased: header values, the credential among them */
	size_t strings_len;
	uint8_t *client_der;          /* owned: what req.client_chain points into */
	/* The answer: written by the winner of the claim, read by the HTTP thread afterwards. */
	struct MHD_Response *response; /* NULL although ready = cannot be built: cut the connection */
	unsigned status;
	char *reply_body;             /* owned, erased when the response ends */
	size_t reply_len;
	/* Guarded by work_lock. */
	struct exchange *prev, *next;
	int64_t work_deadline_us;
	bool is_suspended;
	bool is_ready;
	/* The request target as it came. */
	const char *target_at;        /* its place in the library's buffer; never dereferenced */
	size_t target_len;
	const char *target_problem;
	char target[];
};

struct http_server {
	struct http_config cfg; /* its strings are not kept */
	struct http_app app;
	struct MHD_Daemon *mhd;
	struct tls_store *tls; /* NULL = plain */
	struct listener listener;
	int wake_fd;           /* eventfd: the keeper looks at the flags */
	pthread_t keeper;
	atomic_bool is_quiescing;
	atomic_bool is_keeper_done;

	pthread_mutex_t conns_lock;
	struct connection **by_fd;
	size_t by_fd_len;
	unsigned conns;

	pthread_mutex_t work_lock;
	pthread_cond_t work_changed; /* signalled only while is_stopping */
	struct exchange *work_head, *work_tail; /* in order of their deadlines */
	size_t working;
	bool is_refusing;            /* nothing is served any more */
	bool is_stopping;
	atomic_uint answering;       /* served or answered, not yet completed */
};

int64_t http_now_us(void);
void connection_set_deadline(struct connection *c, int64_t deadline_us);

/* Library callbacks of http_exchange.c; cls is the server. */
void *exchange_begin(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result exchange_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                                const char *upload_data, size_t *upload_data_size, void **con_cls);
void exchange_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode code);

/** When the next request that is being worked on is overdue; NO_DEADLINE: none is worked on. */
int64_t exchange_next_expiry_us(struct http_server *s);
/** Refuse with `status` in the application's place one request that is being worked on and whose deadline is not after `now_us`. False: none is. */
bool exchange_expire_one(struct http_server *s, int64_t now_us, kms_status status);

#endif
