/*
 * server/feed/webhook_turns.c - the table of subscriptions, and which of them a sender looks after next. Guards: no vault holds another one's events up by more
 * than its share, whatever its receivers do and however often it makes and deletes its webhooks: it has a bounded number of senders at once, and the next turn
 * is that of the vault that has waited longest.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/feed/webhook_parts.h"

#define MS_PER_S 1000
#define NS_PER_MS 1000000

int64_t webhook_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * MS_PER_S + t.tv_nsec / NS_PER_MS;
}

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN]) { return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */ }

/* ---- the table ---- */

size_t webhook_find_vault_locked(const struct webhooks *w, const uint8_t vault_id[STORE_ID_LEN], size_t *ret_end)
{
	size_t low = 0, high = w->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (memcmp(w->subs[middle].vault_id, vault_id, STORE_ID_LEN) < 0) /* allowed: ids are public */
			low = middle + 1;
		else
			high = middle;
	}
	while (high < w->count && same_id(w->subs[high].vault_id, vault_id))
		high++;
	*ret_end = high;
	return low;
}

void webhook_wake_locked(struct webhook_sub *s, int64_t now_ms)
{
	s->is_woken = s->is_busy;
	if (s->due_ms > now_ms)
		s->due_ms = now_ms;
}

/* A new one is due from now on, whichever its vault was before: nobody gains by deleting and making again. */
static struct webhook_sub new_sub(const struct store_webhook *row, int64_t now_ms)
{
	struct webhook_sub s = { .due_ms = now_ms, .is_slow = true, .unseen = WEBHOOK_QUEUE_LOOK };

	memcpy(s.vault_id, row->vault_id, STORE_ID_LEN);
	memcpy(s.id, row->id, STORE_ID_LEN);
	return s;
}

static kms_status grow_locked(struct webhooks *w, size_t total, struct kms_err *err)
{
	size_t cap = 2 * total;
	struct webhook_sub *grown = NULL;

	if (total <= w->cap)
		return KMS_OK;
	grown = reallocarray(w->subs, cap, sizeof(*grown));
	if (grown == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "%zu webhooks", total);
	w->subs = grown;
	w->cap = cap;
	return KMS_OK;
}

kms_status webhook_replace_locked(struct webhooks *w, const uint8_t vault_id[STORE_ID_LEN], const struct store_webhook *rows, size_t count, int64_t now_ms,
                                  struct kms_err *err)
{
	struct webhook_sub fresh[STORE_WEBHOOKS_MAX] = { 0 };
	size_t end = 0, begin = webhook_find_vault_locked(w, vault_id, &end), total = w->count - (end - begin) + count;

	for (size_t i = 0; i < count; i++) {
		fresh[i] = new_sub(&rows[i], now_ms);
		for (size_t k = begin; k < end; k++)
			if (same_id(w->subs[k].id, rows[i].id))
				fresh[i] = w->subs[k];
		fresh[i].served_ms = begin < end ? w->subs[begin].served_ms : 0;
		fresh[i].events = rows[i].events;
		fresh[i].from_seq = rows[i].from_seq;
		fresh[i].state = rows[i].state;
		webhook_wake_locked(&fresh[i], now_ms);
	}
	KMS_TRY(grow_locked(w, total, err));
	if (w->count > end)
		memmove(&w->subs[begin + count], &w->subs[end], (w->count - end) * sizeof(*w->subs));
	if (count > 0)
		memcpy(&w->subs[begin], fresh, count * sizeof(*fresh));
	w->count = total;
	pthread_cond_broadcast(&w->work);
	return KMS_OK;
}

/* ---- turns ---- */

/* Has it, or its vault, all the senders that it may have? Asked of the senders: one that waits for a receiver counts even when its webhook was deleted. */
static bool is_held_locked(const struct webhooks *w, const struct webhook_sub *sub)
{
	size_t slow = 0, own = 0, own_slow = 0;

	for (size_t i = 0; i < WEBHOOK_SENDERS; i++) {
		const struct webhook_sender *s = &w->senders[i];
		bool is_own = s->is_busy && same_id(s->vault_id, sub->vault_id);
		slow += s->is_busy && s->is_slow;
		own += is_own;
		own_slow += is_own && s->is_slow;
	}
	return own >= WEBHOOK_VAULT_MAX || (sub->is_slow && (slow >= WEBHOOK_SLOW_MAX || own_slow >= WEBHOOK_VAULT_SLOW_MAX));
}

/* Since when it has waited: no vault has waited since before its last turn began, so each has one before any has a second. */
static int64_t waits_since(const struct webhook_sub *s) { return s->due_ms > s->served_ms ? s->due_ms : s->served_ms; }

static bool comes_before(const struct webhook_sub *a, const struct webhook_sub *b)
{
	return waits_since(a) != waits_since(b) ? waits_since(a) < waits_since(b) : a->due_ms < b->due_ms;
}

bool webhook_take_turn_locked(struct webhooks *w, struct webhook_sender *sender, int64_t now_ms, uint8_t ret_id[STORE_ID_LEN], int64_t *ret_until)
{
	struct webhook_sub *found = NULL;
	size_t end = 0;

	*ret_until = WEBHOOK_NEVER;
	for (size_t i = 0; i < w->count; i++) {
		struct webhook_sub *s = &w->subs[i];
		if (s->is_busy)
			continue;
		if (s->due_ms > now_ms)
			*ret_until = s->due_ms < *ret_until ? s->due_ms : *ret_until;
		else if ((found == NULL || comes_before(s, found)) && !is_held_locked(w, s)) /* what is held is looked at again when a turn ends */
			found = s;
	}
	if (found == NULL)
		return false;
	found->is_busy = sender->is_busy = true;
	sender->is_slow = found->is_slow;
	memcpy(sender->vault_id, found->vault_id, STORE_ID_LEN);
	memcpy(ret_id, found->id, STORE_ID_LEN);
	for (size_t i = webhook_find_vault_locked(w, sender->vault_id, &end); i < end; i++)
		w->subs[i].served_ms = now_ms;
	return true;
}

void webhook_end_turn_locked(struct webhooks *w, struct webhook_sender *sender, const uint8_t id[STORE_ID_LEN], int64_t now_ms, int64_t again_ms, bool is_slow)
{
	size_t end = 0;

	for (size_t i = webhook_find_vault_locked(w, sender->vault_id, &end); i < end; i++) {
		struct webhook_sub *s = &w->subs[i];
		if (!same_id(s->id, id))
			continue;
		/* Woken too early is no harm: its rows say when it is time. */
		s->due_ms = s->is_woken ? now_ms : again_ms == WEBHOOK_NEVER ? WEBHOOK_NEVER : now_ms + again_ms;
		s->is_busy = s->is_woken = false;
		s->is_slow = is_slow;
	}
	sender->is_busy = false;
	pthread_cond_broadcast(&w->work);
}
