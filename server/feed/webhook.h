/*
 * server/feed/webhook.h - subscriptions of vaults to their events (docs/webhooks.md): leaves become deliveries, and those are sent in order, each until it was
 * received or given up. At least once: a delivery keeps the id of its event, by which a receiver drops what it has had.
 */
#ifndef HOLDFAST_FEED_WEBHOOK_H
#define HOLDFAST_FEED_WEBHOOK_H

#include "server/feed/feed.h"

/* store_webhook.events, store_delivery.event */
#define WEBHOOK_KEY_NEW_VERSION 1U
#define WEBHOOK_KEY_NEAR_EXPIRY 2U
#define WEBHOOK_KEY_EXPIRED 4U
#define WEBHOOK_ACCESS_CHANGED 8U
#define WEBHOOK_EVENTS 4U
#define WEBHOOK_ALL_EVENTS 15U

#define WEBHOOK_WAITING_MAX 10000 /* of one subscription; then the oldest are given up */
#define WEBHOOK_DEAD_MAX 1000     /* of one subscription; then the oldest are dropped */
#define WEBHOOK_HOST_MAX 300
#define WEBHOOK_SECRET_TEXT (6 + 44) /* "whsec_" and 32 bytes in base64 */

struct webhooks_config {
	struct kms *kms;
	kms_status (*open_store)(void *arg, struct store **ret_store, struct kms_err *err); /* STORE_READ connections; one a thread */
	void *open_arg;
	const char *const *hosts; /* host[:port], which alone are sent to; kept */
	size_t host_count;
	const char *ca, *certificate, *key; /* as struct post_request; kept */
	unsigned waiting_max; /* of one subscription; 0 = WEBHOOK_WAITING_MAX */
};

struct webhooks;

/** Begin to follow the log and to send. @return KMS_OK | KMS_E_STORE | KMS_E_NOMEM | KMS_E_AUDIT (its place in the log cannot be written) */
KMS_MUST_CHECK kms_status webhooks_start(const struct webhooks_config *cfg, struct webhooks **ret, struct kms_err *err);
/** Without waiting for them: see feed_tell_to_stop(). Accepts NULL. */
void webhooks_tell_to_stop(struct webhooks *w);
/** Accepts NULL. Before writer_stop(). */
void webhooks_stop(struct webhooks *w);
void webhooks_state(struct webhooks *w, struct feed_state *ret);

/** Is this an address that is sent to, of a listed host? NULL: there are none. */
bool webhooks_may_send_to(const struct webhooks *w, const char *url);
/** host[:port] of an address, as it is connected to: what logs and leaves may show of it, since its path and query may hold a receiver's token. "" if it is none. */
void webhook_host(const char *url, char ret_host[WEBHOOK_HOST_MAX]);
/** "Microsoft.KeyVault.KeyExpired" of one event. */
const char *webhook_event_type(uint32_t event);
/** By that, or by what follows its last dot; 0 = there is none. */
uint32_t webhook_event_parse(const char *text);

/**
 * The secret that a subscription's requests are signed with, in the text of Standard Webhooks, not NUL-terminated; derived, stored nowhere.
 * @param generation  1..; the one before stays good for receivers that have not changed over
 * @param ret  WEBHOOK_SECRET_TEXT bytes, owned by the caller
 * @return KMS_OK | KMS_E_NOMEM | KMS_E_INTERNAL
 */
KMS_MUST_CHECK kms_status webhook_secret(const struct installation *inst, const uint8_t id[STORE_ID_LEN], uint32_t generation, struct secret **ret,
                                         struct kms_err *err);

#endif
