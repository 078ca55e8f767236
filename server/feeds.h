/* server/feeds.h - all that follows the log, started and stopped together: what the configuration names becomes consumers. */
#ifndef HOLDFAST_SERVER_FEEDS_H
#define HOLDFAST_SERVER_FEEDS_H

#include "server/config.h"
#include "server/feed/feed.h"

struct feeds_setup {
	const struct config *config; /* kept */
	struct kms *kms;
	kms_status (*open_store)(void *arg, struct store **ret_store, struct kms_err *err);
	void *open_arg;
};

/** After recovery and before the API serves. On failure what was started is in *feeds: feeds_stop(). */
KMS_MUST_CHECK kms_status feeds_start(const struct feeds_setup *setup, struct feeds *feeds, struct kms_err *err);
/** After the API has stopped and before the writer does. */
void feeds_stop(struct feeds *feeds);

#endif
