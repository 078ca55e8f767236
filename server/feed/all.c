/* server/feed/all.c - where everything stands that follows the log. */
#include "server/feed/alert.h"
#include "server/feed/export.h"
#include "server/feed/index.h"
#include "server/feed/webhook.h"

_Static_assert(FEEDS_MAX == 2 + EXPORTS_MAX + 1 + ALERT_CHANNELS_MAX, "index, webhooks, exports, rules, channels");

size_t feeds_state(const struct feeds *f, struct feed_state ret[FEEDS_MAX])
{
	struct export_state exports[EXPORTS_MAX];
	size_t count = 0, export_count = exports_state(f->exports, exports);

	if (f->indexer != NULL)
		indexer_state(f->indexer, &ret[count++]);
	if (f->webhooks != NULL)
		webhooks_state(f->webhooks, &ret[count++]);
	for (size_t i = 0; i < export_count; i++)
		ret[count++] = exports[i].feed;
	if (f->alerts != NULL)
		count += alerts_state(f->alerts, &ret[count]);
	return count;
}
