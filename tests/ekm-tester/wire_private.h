/* tests/ekm-tester/wire_private.h - a connection's inside: for tls.c and http.c alone. */
#ifndef HOLDFAST_EKM_TESTER_WIRE_PRIVATE_H
#define HOLDFAST_EKM_TESTER_WIRE_PRIVATE_H

#include "tests/ekm-tester/wire.h"

#define WIRE_BUFFER 16384

struct wire {
	int fd;
	SSL_CTX *ctx;
	SSL *ssl;
	SSL_SESSION *session;
	double deadline_ms;     /* of the exchange under way */
	enum wire_result fault; /* why the last read gave nothing */
	char buffer[WIRE_BUFFER];
	size_t pos, len;
};

/** "what: reason of OpenSSL's newest error", whose queue is emptied. */
void wire_explain(char why[WHY_MAX], const char *what);

#endif
