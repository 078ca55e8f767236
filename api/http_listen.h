/* api/http_listen.h - listening sockets: TCP on a numeric address, or a UNIX socket of mode 0600. */
#ifndef HOLDFAST_API_HTTP_LISTEN_H
#define HOLDFAST_API_HTTP_LISTEN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "server/base/err.h"

struct listener {
	int fd;          /* non-blocking */
	uint16_t port;   /* TCP: the port, also when any free one was asked for */
	char *unix_path; /* owned; NULL on TCP */
	dev_t dev;       /* identity of our socket file: a file that somebody else put there since is not ours to unlink */
	ino_t ino;
};
#define LISTENER_NONE { .fd = -1 }

/** @return KMS_OK | KMS_E_INVALID (address not numeric, or it cannot be bound) | KMS_E_INTERNAL */
KMS_MUST_CHECK kms_status listener_open_tcp(const char *address, uint16_t port, struct listener *ret_listener, struct kms_err *err);
/** is_shared: mode 0666 instead of 0600. A socket file left over by a process that is gone is replaced; one that is listened on is not. @return as above, | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status listener_open_unix(const char *path, bool is_shared, struct listener *ret_listener, struct kms_err *err);
/** Refuse new connections from now on; the descriptor stays valid until listener_close(). Thread-safe. */
void listener_quiesce(struct listener *l);
/** Closes and removes our socket file. */
void listener_close(struct listener *l);

/** Numeric text of a peer's address without port; an IPv4 address mapped into IPv6 is written as IPv4. "local" for UNIX sockets. */
void listener_peer_text(const struct sockaddr_storage *address, char *ret_text, size_t cap);

#endif
