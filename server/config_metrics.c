/* server/config_metrics.c - see config_metrics.h. */
#include "server/config_metrics.h"

#include <stddef.h>

const char *config_check_metrics(const struct config *c, bool is_loopback, const char **ret_key)
{
	*ret_key = "metrics.key";
	if ((c->metrics.certificate == NULL) != (c->metrics.key == NULL))
		return "certificate and key together, or neither";
	*ret_key = "metrics.address";
	if (!is_loopback && (c->metrics.certificate == NULL || c->metrics.token_file == NULL))
		return "a loopback address, or certificate, key and token_file beside it";
	return NULL;
}
