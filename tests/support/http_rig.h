/*
 * tests/support/http_rig.h - an HTTP listener with a small application behind it. By path:
 *   /now   answered inside serve()          /later  answered at once by another thread
 *   /hold  answered when the test says so   /chain  "COUNT name, name" of the client's certificates, leaf first
 *   others as /now
 * Answers tell what was seen: "METHOD path?query body_len sum". POST bodies up to rig.body_max.
 */
#ifndef HOLDFAST_TESTS_HTTP_RIG_H
#define HOLDFAST_TESTS_HTTP_RIG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "api/http.h"

#define RIG_HELD_MAX 64
#define RIG_BODY_MAX 4096

struct rig {
	struct http_server *server; /* NULL once rig_stop_server() ran */
	uint16_t port;
	char dir[64];
	char cert[96], key[96], socket[96];
	char client_cert[96], client_key[96]; /* for a client's own; not there yet */
	struct http_config cfg;
	atomic_size_t body_max;
	atomic_bool drops_body;
	atomic_uint admits, ends, refusals;
	atomic_int last_refusal; /* kms_status */
	atomic_uint peer_uid;    /* of the newest request */
	char tls[8], peer[64];   /* of the newest request; guarded by lock */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct http_request *held[RIG_HELD_MAX];
	size_t held_count;
	struct http_request *queue[RIG_HELD_MAX]; /* for the other thread */
	size_t queue_count;
	bool is_stopping;
	pthread_t replier;
};

/** Temp directory, P-256 certificate, default configuration (TLS, 2 threads); nothing listens yet. */
struct rig *rig_new(void);
/** Listen as rig->cfg says. False with the reason in err. */
bool rig_start(struct rig *rig, struct kms_err *err);
/** Wait until `count` requests are held. False: not within the patience. */
bool rig_wait_held(struct rig *rig, size_t count);
/** Answer the oldest held request with 200 and `text`. */
void rig_release(struct rig *rig, const char *text);
/** Wait until as many end() as admit() calls were made, and at least one. */
bool rig_wait_ended(struct rig *rig, unsigned count);
void rig_stop_server(struct rig *rig, unsigned drain_ms);
/** Stops everything, answers what is still held, removes the directory. */
void rig_free(struct rig *rig);

#endif
