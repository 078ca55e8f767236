/* api/http_listen.c - see http_listen.h. */
#include "api/http_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_SOCKET_MODE 0600
#define UNIX_SOCKET_SHARED_MODE 0666

static void listener_close_at(struct listener *l) { listener_close(l); }
#define LISTENER_AUTO __attribute__((cleanup(listener_close_at))) struct listener

static kms_status open_socket(int family, struct listener *l, struct kms_err *err)
{
	l->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "socket: %s", strerror(errno));
	return KMS_OK;
}

kms_status listener_open_tcp(const char *address, uint16_t port, struct listener *ret_listener, struct kms_err *err)
{
	LISTENER_AUTO l = LISTENER_NONE;
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	const void *bound = &v4;
	socklen_t bound_len = sizeof(v4);
	static const int ON = 1;

	if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1) {
		bound = &v6;
		bound_len = sizeof(v6);
	} else if (inet_pton(AF_INET, address, &v4.sin_addr) != 1) {
		return kms_refuse(err, KMS_E_INVALID, "listen address %s: not a numeric IPv4 or IPv6 address", address);
	}
	KMS_TRY(open_socket(bound == &v4 ? AF_INET : AF_INET6, &l, err));
	if (setsockopt(l.fd, SOL_SOCKET, SO_REUSEADDR, &ON, sizeof(ON)) != 0 || bind(l.fd, bound, bound_len) != 0 ||
	    listen(l.fd, SOMAXCONN) != 0)
		return kms_refuse(err, KMS_E_INVALID, "listen address %s, port %u: %s", address, port, strerror(errno));
	/* The port lies at the same place in both families' addresses. */
	struct sockaddr_in6 actual = { 0 };
	socklen_t actual_len = sizeof(actual);
	if (getsockname(l.fd, (struct sockaddr *)&actual, &actual_len) != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "getsockname");
	l.port = ntohs(actual.sin6_port);
	*ret_listener = l;
	l = (struct listener)LISTENER_NONE;
	return KMS_OK;
}

/* A socket file that nobody listens on. Anything else at that path is left alone. */
static bool is_stale_socket(const struct sockaddr_un *address)
{
	struct stat st;
	if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool is_refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED;
	(void)close(fd);
	return is_refused;
}

kms_status listener_open_unix(const char *path, bool is_shared, struct listener *ret_listener, struct kms_err *err)
{
	LISTENER_AUTO l = LISTENER_NONE;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;

	if (strlen(path) >= sizeof(address.sun_path))
		return kms_refuse(err, KMS_E_INVALID, "socket %s: the path is too long", path);
	memcpy(address.sun_path, path, strlen(path));
	KMS_TRY(open_socket(AF_UNIX, &l, err));
	/* The file takes the descriptor's mode (Linux), so it is never open to others, not even for a moment. */
	if (fchmod(l.fd, UNIX_SOCKET_MODE) != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "fchmod of a socket");
	int rc = bind(l.fd, (const struct sockaddr *)&address, sizeof(address));
	if (rc != 0 && errno == EADDRINUSE && is_stale_socket(&address)) {
		(void)unlink(path);
		rc = bind(l.fd, (const struct sockaddr *)&address, sizeof(address));
	}
	if (rc != 0)
		return kms_refuse(err, KMS_E_INVALID, "socket %s: %s", path, strerror(errno));
	if (is_shared && chmod(path, UNIX_SOCKET_SHARED_MODE) != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "chmod %s", path);
	if (lstat(path, &st) != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "lstat %s", path);
	l.dev = st.st_dev;
	l.ino = st.st_ino;
	l.unix_path = strdup(path);
	if (l.unix_path == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "socket path");
	if (listen(l.fd, SOMAXCONN) != 0)
		return kms_refuse(err, KMS_E_INVALID, "socket %s: %s", path, strerror(errno));
	*ret_listener = l;
	l = (struct listener)LISTENER_NONE;
	return KMS_OK;
}

void listener_quiesce(struct listener *l) { (void)shutdown(l->fd, SHUT_RDWR); }

void listener_close(struct listener *l)
{
	struct stat st;
	if (l->unix_path != NULL && lstat(l->unix_path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		(void)unlink(l->unix_path);
	free(l->unix_path);
	if (l->fd >= 0)
		(void)close(l->fd);
	*l = (struct listener)LISTENER_NONE;
}

void listener_peer_text(const struct sockaddr_storage *address, char *ret_text, size_t cap)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	const char *text = NULL;
	if (address->ss_family == AF_INET) {
		memcpy(&v4, address, sizeof(v4));
		text = inet_ntop(AF_INET, &v4.sin_addr, ret_text, (socklen_t)cap);
	} else if (address->ss_family == AF_INET6) {
		memcpy(&v6, address, sizeof(v6));
		bool is_mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
		text = is_mapped ? inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], ret_text, (socklen_t)cap)
		                 : inet_ntop(AF_INET6, &v6.sin6_addr, ret_text, (socklen_t)cap);
	}
	if (text == NULL)
		(void)snprintf(ret_text, cap, "%s", "local");
}
