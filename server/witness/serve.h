/* server/witness/serve.h - the listener: POST /add-checkpoint and GET /health, with limits on everything that a stranger can make grow. */
#ifndef HOLDFAST_WITNESS_SERVE_H
#define HOLDFAST_WITNESS_SERVE_H

#include "server/witness/witness.h"

struct serve_config {
	const char *listen;             /* "127.0.0.1:7380", "[::1]:7380"; port 0 = any */
	const char *tls_cert, *tls_key; /* PEM; both or neither, and without them only a loopback address is listened on */
};
struct serve;

/** @return NULL with the reason */
struct serve *serve_start(const struct serve_config *cfg, struct witness *w, char ret_why[WHY_LEN]);
/** The address as it came to be, with its port. */
const char *serve_url(const struct serve *s);
/** Once a second: end connections that take too long. */
void serve_tick(struct serve *s);
/** Answers under way are finished. Accepts NULL. */
void serve_stop(struct serve *s);

#endif
