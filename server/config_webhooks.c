/* server/config_webhooks.c - see config_webhooks.h. */
#include "server/config_webhooks.h"

#include <stdlib.h>
#include <string.h>

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789.-"
#define HOST_MAX 262 /* a DNS name, a colon and a port */
#define IPV6_CHARS "0123456789abcdef:."
#define PORT_MAX 65535

static bool is_port(const char *text)
{
	size_t len = strlen(text);
	long port = len >= 1 && len <= 5 && strspn(text, "0123456789") == len && text[0] != '0' ? strtol(text, NULL, 10) : 0;

	return port >= 1 && port <= PORT_MAX;
}

/* host, host:port, [address], [address]:port: as it will stand in the address of a webhook, without wildcards. */
static bool is_host(const char *text)
{
	size_t len = 0;

	if (strlen(text) > HOST_MAX)
		return false;
	if (text[0] == '[') {
		len = 1 + strspn(text + 1, IPV6_CHARS);
		if (len < 3 || text[len] != ']')
			return false;
		len++;
	} else {
		len = strspn(text, NAME_CHARS);
		if (len == 0 || text[0] == '.' || text[0] == '-' || text[len - 1] == '.' || text[len - 1] == '-')
			return false;
	}
	return text[len] == '\0' || (text[len] == ':' && is_port(text + len + 1));
}

const char *config_check_webhooks(const struct config *c, const char **ret_key)
{
	if (!c->webhooks.is_on)
		return NULL;
	*ret_key = "webhooks.hosts";
	if (c->webhooks.hosts_count == 0)
		return "the hosts that may be sent to, as hooks.example.com or hooks.example.com:8443";
	for (unsigned i = 0; i < c->webhooks.hosts_count; i++)
		if (!is_host(c->webhooks.hosts[i]))
			return "host or host:port in lower case, without https:// and without a wildcard";
	*ret_key = c->webhooks.key == NULL ? "webhooks.key" : "webhooks.certificate";
	return (c->webhooks.key == NULL) != (c->webhooks.certificate == NULL) ? "certificate and key, or neither" : NULL;
}
