/* server/feed/webhook_parts.h - what the files of webhooks share. */
#ifndef HOLDFAST_FEED_WEBHOOK_PARTS_H
#define HOLDFAST_FEED_WEBHOOK_PARTS_H

#include <pthread.h>

#include "server/feed/post.h"
#include "server/feed/webhook.h"

#define WEBHOOK_SENDERS 8
#define WEBHOOK_SLOW_MAX (WEBHOOK_SENDERS / 2) /* of them: what slow receivers may take up together */
#define WEBHOOK_VAULT_MAX 2      /* of them: what one vault may take up */
#define WEBHOOK_VAULT_SLOW_MAX 1 /* of those: what its slow receivers may */
#define WEBHOOK_QUEUE_LOOK 64    /* events after which a subscription's queue is measured: to do so at each would hold up everybody's */
#define WEBHOOK_NEVER INT64_MAX

/* ---- webhook_body.c: what is sent ---- */

/* One event with all that its body says. */
struct webhook_event {
	const struct kms *kms;
	const struct store_vault *vault;
	const struct store_delivery *delivery;
	int64_t nbf_s, exp_s; /* of the version; STORE_NO_TIME = none */
};

/* A request's body and the headers that belong to it. */
#define WEBHOOK_HEADERS_MAX 10
#define WEBHOOK_HEADER_LEN 256
struct webhook_message {
	char *body; /* owned */
	size_t len;
	size_t header_count;
	char header[WEBHOOK_HEADERS_MAX][WEBHOOK_HEADER_LEN];
};
void webhook_message_clear(struct webhook_message *m);
#define WEBHOOK_MESSAGE_AUTO __attribute__((cleanup(webhook_message_clear))) struct webhook_message

/** The body in the subscription's shape, and the shape's headers. @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status webhook_message_event(const struct store_webhook *h, const struct webhook_event *e, struct webhook_message *ret, struct kms_err *err);
/** Event Grid's question whether the receiver wants this subscription. @param code  what it must answer */
KMS_MUST_CHECK kms_status webhook_message_validation(const struct store_webhook *h, const struct webhook_event *e, const char *code, struct webhook_message *ret,
                                                     struct kms_err *err);
/** Does it answer with that code? */
bool webhook_is_validated(const struct post_answer *a, const char *code);
/** Add the headers of Standard Webhooks: signed with the present secret, and with the one before. */
KMS_MUST_CHECK kms_status webhook_sign(const struct installation *inst, const struct store_webhook *h, const char *message_id, int64_t now_s,
                                       struct webhook_message *m, struct kms_err *err);
/** "v1," and the HMAC in base64: 3 + 44 characters and a NUL. @param key  the secret's bytes */
#define WEBHOOK_SIGNATURE_LEN (3 + 44)
bool webhook_signature(const void *key, size_t key_len, const char *message_id, int64_t timestamp, const char *body, size_t len,
                       char ret[WEBHOOK_SIGNATURE_LEN + 1]);

/* ---- webhook.c: who is subscribed ---- */

/* One subscription, as far as it is needed between two looks at its row. */
struct webhook_sub {
	uint8_t vault_id[STORE_ID_LEN], id[STORE_ID_LEN];
	uint32_t events;
	uint64_t from_seq;
	enum store_webhook_state state;
	int64_t due_ms;    /* monotonic; WEBHOOK_NEVER = when it is woken */
	int64_t served_ms; /* when its vault's last turn began; the same in all of a vault */
	unsigned unseen;   /* events since its queue was measured */
	bool is_busy;   /* a sender looks after it */
	bool is_woken;  /* meanwhile something came */
	bool is_slow;   /* its last events took long, or it was sent none yet */
};

struct webhook_sender {
	struct webhooks *webhooks;
	struct store *store;
	struct poster *poster;
	struct store_change *changes; /* owned */
	pthread_t thread;
	bool has_thread;

	bool is_busy, is_slow; /* under the lock, like what follows: with a subscription, which is taken for slow */
	uint8_t vault_id[STORE_ID_LEN]; /* of it; kept here, since a subscription may be deleted meanwhile */
};

struct webhooks {
	struct webhooks_config cfg;
	struct feed *feed;
	struct store_change *changes; /* of the feed's thread; owned */
	struct webhook_sender senders[WEBHOOK_SENDERS];
	atomic_bool is_stopping;

	pthread_mutex_t lock; /* guards all below; nothing blocks under it */
	pthread_cond_t work;
	struct webhook_sub *subs; /* by vault, then id; owned */
	size_t count, cap;
};

/** The event that a leaf is for subscribers; 0 = none. */
uint32_t webhook_event_of(const struct leaf *l);

/* ---- webhook_turns.c ---- */

int64_t webhook_now_ms(void); /* monotonic */
/** The first subscription whose vault is not before this one. @param ret_end  behind its last */
size_t webhook_find_vault_locked(const struct webhooks *w, const uint8_t vault_id[STORE_ID_LEN], size_t *ret_end);
/** Due now, unless it is already; a sender that looks after it looks once more. */
void webhook_wake_locked(struct webhook_sub *s, int64_t now_ms);
/** A vault's subscriptions, as their rows are now. A sender may be at work for one: it finds it again by its id. @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status webhook_replace_locked(struct webhooks *w, const uint8_t vault_id[STORE_ID_LEN], const struct store_webhook *rows, size_t count,
                                                 int64_t now_ms, struct kms_err *err);
/** The subscription that this sender looks after next. @param ret_until  when none: until then. @return false: there is none now */
bool webhook_take_turn_locked(struct webhooks *w, struct webhook_sender *sender, int64_t now_ms, uint8_t ret_id[STORE_ID_LEN], int64_t *ret_until);
/** @param again_ms  until its next turn; WEBHOOK_NEVER = when it is woken */
void webhook_end_turn_locked(struct webhooks *w, struct webhook_sender *sender, const uint8_t id[STORE_ID_LEN], int64_t now_ms, int64_t again_ms,
                             bool is_slow);

/* ---- webhook_send.c ---- */

KMS_MUST_CHECK kms_status webhook_senders_start(struct webhooks *w, struct kms_err *err);
void webhook_senders_tell_to_stop(struct webhooks *w); /* without waiting */
void webhook_senders_stop(struct webhooks *w);
/** How long to wait after so many failures: 1 s, doubled up to 10 minutes. */
int64_t webhook_pause_s(uint32_t attempts);
/** Is it of no use to try again? */
bool webhook_is_final(long http);

#endif
