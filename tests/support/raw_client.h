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
struct raw_ticket; /* a TLS session to resume */

/* How to speak TLS. The server's certificate is not verified. */
struct raw_tls {
	const char *priorities;           /* GnuTLS priority string */
	const char *cert_file, *key_file; /* the client's own chain and key, PEM; NULL = none */
	const struct raw_ticket *ticket;  /* NULL = a full handshake */
};

struct raw_response {
	int status;           /* 0: the connection ended before a whole response came */
	char head[8192];      /* status line and headers */
	char body[65536];     /* NUL-terminated */
	size_t body_len;
};

/** @param tls_priorities GnuTLS priority string; NULL = no TLS. The server's certificate is not verified. NULL: no connection or handshake. */
struct raw_client *raw_connect(uint16_t port, const char *tls_priorities);
struct raw_client *raw_connect_as(uint16_t port, const struct raw_tls *tls);
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

/** "AES-128-GCM" */
const char *raw_cipher_name(struct raw_client *c);
/** Did the server ask for a certificate, or take up an earlier session? */
bool raw_was_asked(struct raw_client *c);
bool raw_is_resumed(struct raw_client *c);
/** What the server gave for the next time, once an answer was read; NULL: nothing. */
struct raw_ticket *raw_ticket_take(struct raw_client *c);
void raw_ticket_free(struct raw_ticket *ticket); /* accepts NULL */

/** Value of a header in a response, or NULL; the text lives until the next call. */
const char *raw_header(const struct raw_response *r, const char *name);

/** Write a self-signed certificate (RSA-2048 or P-256) and its key as PEM files. */
bool raw_write_certificate(const char *cert_path, const char *key_path, const char *common_name, bool is_rsa);

#define RAW_CHAIN_MAX 16
/* Leaf first, each signed by the next, the last by itself; the issuers are called "issuer 1", "issuer 2" ... */
struct raw_chain {
	const char *leaf_name;
	size_t length;
	size_t padding; /* so many bytes more in each certificate */
	bool is_rsa;
	const char *leaf_key; /* PEM file; NULL = a new key */
};
/** Write the chain and the leaf's key as PEM files. */
bool raw_write_chain(const char *cert_path, const char *key_path, const struct raw_chain *chain);

#endif
