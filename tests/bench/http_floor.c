/*
 * tests/bench/http_floor.c - what the HTTP library itself can do: a TLS server with the daemon's priorities and threads that reads a request
 * and answers a body of the usual size with the usual number of headers, and nothing else.
 *
 *	http_floor PORT CERTIFICATE KEY THREADS        (runs until standard input is closed)
 */
#include <microhttpd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http_tls.h"

#define FILE_MAX 16384
#define CONNECTIONS 4096
#define MEMORY_LIMIT 32768

static const char BODY[] = "{\"kid\":\"https://orders.vault.localhost:8443/keys/bench/0123456789abcdef0123456789abcdef\","
			   "\"value\":\"0123456789012345678901234567890123456789012\"}";
static const char *const HEADERS[][2] = {
	{ "Content-Type", "application/json; charset=utf-8" },
	{ "x-ms-request-id", "01234567-89ab-cdef-0123-456789abcdef" },
	{ "x-ms-keyvault-region", "local" },
	{ "x-ms-keyvault-service-version", "1.9.0.0" },
	{ "x-ms-keyvault-network-info", "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;" },
	{ "x-audit-seq", "123456" },
	{ "x-audit-leaf", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" },
	{ "x-audit-origin", "vault.localhost/audit/log1" },
	{ "Cache-Control", "no-cache" },
	{ "Pragma", "no-cache" },
	{ "Expires", "-1" },
	{ "Strict-Transport-Security", "max-age=31536000;includeSubDomains" },
	{ "X-Content-Type-Options", "nosniff" },
};

static enum MHD_Result answer(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                              const char *data, size_t *data_len, void **state)
{
	(void)arg, (void)url, (void)method, (void)version, (void)data;
	if (*state == NULL || *data_len > 0) { /* headers, or a piece of the body */
		*state = (void *)(uintptr_t)BODY;
		*data_len = 0;
		return MHD_YES;
	}
	struct MHD_Response *r = MHD_create_response_from_buffer(sizeof(BODY) - 1, (void *)(uintptr_t)BODY, MHD_RESPMEM_PERSISTENT);
	if (r == NULL)
		return MHD_NO;
	for (size_t i = 0; i < sizeof(HEADERS) / sizeof(HEADERS[0]); i++) {
		if (MHD_add_response_header(r, HEADERS[i][0], HEADERS[i][1]) != MHD_YES) {
			MHD_destroy_response(r);
			return MHD_NO;
		}
	}
	enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, r);
	MHD_destroy_response(r);
	return result;
}

static void file_read(const char *path, char ret_text[FILE_MAX])
{
	FILE *f = fopen(path, "re");
	size_t n = f == NULL ? 0 : fread(ret_text, 1, FILE_MAX - 1, f);

	if (n == 0) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(EXIT_FAILURE);
	}
	ret_text[n] = '\0';
	(void)fclose(f);
}

int main(int argc, char **argv)
{
	static char cert[FILE_MAX], key[FILE_MAX];
	char byte;

	if (argc != 5) {
		fprintf(stderr, "usage: http_floor PORT CERTIFICATE KEY THREADS\n");
		return EXIT_FAILURE;
	}
	file_read(argv[2], cert);
	file_read(argv[3], key);
	unsigned threads = (unsigned)strtoul(argv[4], NULL, 10);
	struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TLS, (uint16_t)strtoul(argv[1], NULL, 10), NULL, NULL,
	                                        answer, NULL, MHD_OPTION_HTTPS_MEM_CERT, cert, MHD_OPTION_HTTPS_MEM_KEY, key,
	                                        MHD_OPTION_HTTPS_PRIORITIES, HTTP_TLS_PRIORITIES, MHD_OPTION_CONNECTION_LIMIT,
	                                        (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_LIMIT,
	                                        threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, threads, MHD_OPTION_END);
	if (d == NULL) {
		fprintf(stderr, "port %s: cannot be served\n", argv[1]);
		return EXIT_FAILURE;
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	MHD_stop_daemon(d);
	return EXIT_SUCCESS;
}
