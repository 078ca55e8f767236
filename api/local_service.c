/* api/local_service.c - managed identity: who may ask on the listener of this machine's own services (h_identity.c). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "api/service.h"

/* A literal address of this machine, or the one name that browsers never ask a name server for (RFC 6761 section 6.3). */
static bool is_loopback(const char *text, size_t len)
{
	char copy[INET6_ADDRSTRLEN];
	struct in_addr v4;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (inet_pton(AF_INET, copy, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
	return strcmp(copy, "::1") == 0 || strcasecmp(copy, "localhost") == 0;
}

static bool host_is_loopback(const char *host)
{
	static const char V6[] = "[::1]";
	bool is_v6 = strncmp(host, V6, sizeof(V6) - 1) == 0;
	size_t len = is_v6 ? sizeof(V6) - 1 : strcspn(host, ":");
	const char *port = host + len;

	if (*port == ':')
		port += 1 + strspn(port + 1, "0123456789");
	return *port == '\0' && (is_v6 || is_loopback(host, len));
}

/* Whatever reaches this listener by way of a browser (a name that was made to mean this machine) or a proxy is not a service of this machine. */
kms_status local_service_admit(struct request *r)
{
	const struct http_request *http = r->http;

	r->dialect = DIALECT_IDENTITY;
	if (!host_is_loopback(http->host) || !is_loopback(http->peer, strlen(http->peer)))
		return kms_refuse(&r->verdict_err, KMS_E_INVALID,
		                  "The Host header must be 127.0.0.1, [::1] or localhost: this endpoint serves its own machine only.");
	if (http->is_forwarded)
		return kms_refuse(&r->verdict_err, KMS_E_INVALID, "Requests that were forwarded (Forwarded, X-Forwarded-For) are not served here.");
	router_match(r, http->method, http->path);
	if (r->route == NULL && !r->is_public_path)
		return kms_refuse(&r->verdict_err, KMS_E_NOTFOUND, "There is nothing at this path; tokens are at /msi/token.");
	return KMS_OK;
}
