/* tests/support/raw_client.h - a client that sends exactly the bytes it is told to, over TCP, TLS or a UNIX socket, and reads answers.
 * Blocking; every wait ends after RAW_PATIENCE_MS. One thread per client. */
#ifndef HOLDFAST_TESTS_RAW_CLIENT_H
#define HOLDFAST_TESTS_RAW_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_PATIENCE_MS 10000
#define RAW_TLS_DEFAULT "NORMAL"

struct raw_client;

struct raw_response {
	int status;           /* 0: the connection ended before a whole response came */
	char head[8192];      /* status line and headers */
	char body[65536];     /* NUL-terminated */
	size_t body_len;
};

/** @param tls_priorities GnuTLS priority string; NULL = no TLS. The server's certificate is not verified. NULL: no connection or handshake. */
struct raw_client *raw_connect(uint16_t port, const char *tls_priorities);
struct raw_client *raw_connect_unix(const char *path);
/** Accepts NULL. */
void raw_close(struct raw_client *c);

/** False when the connection is gone. */
bool raw_send(struct raw_client *c, const void *bytes, size_t len);
bool raw_send_text(struct raw_client *c, const char *text);
/** Read one response; `is_head` when no body follows whatever Content-Length says. Bytes beyond it are kept for the next call. */
void raw_read(struct raw_client *c, struct raw_response *ret_response, bool is_head);
/** Send text, read one response, return its status. */
int raw_ask(struct raw_client *c, const char *text, struct raw_response *ret_response);
/** Wait until the server ends the connection; false: it is still open after the patience, or sent something. */
bool raw_is_closed(struct raw_client *c);
/** Throw away what comes until the server ends the connection; false: it is still open after the patience. */
bool raw_drain(struct raw_client *c);
/** Common name of the server's certificate. */
bool raw_server_name(struct raw_client *c, char *ret_name, size_t cap);

/** Value of a header in a response, or NULL; the text lives until the next call. */
const char *raw_header(const struct raw_response *r, const char *name);

/** Write a self-signed certificate (RSA-2048 or P-256) and its key as PEM files. */
bool raw_write_certificate(const char *cert_path, const char *key_path, const char *common_name, bool is_rsa);

#endif
