/* server/core/prune_cover.c - see prune_cover.h. */
#include "server/core/prune_cover.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/core/checkpoint_parts.h"
#include "server/core/prune.h"

#define META_PRUNED "log_pruned"
#define NUMBER_LEN 8
#define NUMBERS_LEN (2 * NUMBER_LEN) /* how far, and the seq of the intent that says so */
#define INTENTS_PAGE 32
#define MEMBER_MAX 64
_Static_assert(STORE_META_VALUE_MAX >= NUMBERS_LEN + STORE_ORIGIN_MAX, "two numbers, and the origin that they are of");

static void put_number(uint8_t ret[NUMBER_LEN], uint64_t n)
{
	for (int i = NUMBER_LEN - 1; i >= 0; i--, n >>= 8)
		ret[i] = (uint8_t)n;
}

static uint64_t get_number(const uint8_t bytes[NUMBER_LEN])
{
	uint64_t n = 0;

	for (int i = 0; i < NUMBER_LEN; i++)
		n = n << 8 | bytes[i];
	return n;
}

/* Of this log: the one after it begins anew. */
void prune_record_make(const struct kms *kms, uint64_t to, uint64_t intent, struct store_meta *ret)
{
	size_t origin_len = strlen(kms->origin);

	*ret = (struct store_meta){ .value_len = NUMBERS_LEN + origin_len };
	(void)snprintf(ret->name, sizeof(ret->name), "%s", META_PRUNED);
	put_number(ret->value, to);
	put_number(ret->value + NUMBER_LEN, intent);
	memcpy(ret->value + NUMBERS_LEN, kms->origin, origin_len);
}

/* ---- what the log says ---- */

static bool has_its_hash(const struct store_event *e)
{
	uint8_t hash[MERKLE_HASH_LEN];

	merkle_leaf_hash(e->leaf, e->leaf_len, hash);
	return memcmp(hash, e->hash, sizeof(hash)) == 0; /* allowed: hashes are public */
}

/* Under the newest root that was signed. What no checkpoint covers yet was written since the start, or is read back before it is signed. */
static kms_status check_inclusion(struct kms *kms, struct store *store, const struct store_event *e, bool *ret_included, struct kms_err *err)
{
	STORE_SIGNED_AUTO c = { 0 };
	struct merkle_proof proof = { 0 };
	kms_status status = kms->log != NULL ? log_newest(kms->log, store, &c, NULL) : KMS_E_NOTFOUND;

	*ret_included = true;
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && e->seq >= c.size))
		return KMS_OK;
	if (status == KMS_OK)
		status = merkle_inclusion(e->seq, c.size, log_get_node, store, &proof, NULL);
	*ret_included = status == KMS_OK && merkle_check_inclusion(e->seq, c.size, e->hash, &proof, c.root);
	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "proof of a log.pruned");
}

static bool leaf_says(const struct store_event *e, const char *text) { return memmem(e->leaf, e->leaf_len, text, strlen(text)) != NULL; }

/* An intent is enough: once begun, a pruning ends in nothing but that the bodies are gone. */
static kms_status is_borne_out(struct kms *kms, struct store *store, uint64_t intent, uint64_t to, bool *ret, struct kms_err *err)
{
	struct store_event e = { 0 };
	char member[MEMBER_MAX];
	kms_status status = store_event(store, intent, &e, NULL);

	*ret = false;
	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "leaf of a log.pruned");
	(void)snprintf(member, sizeof(member), "\"to\":%" PRIu64 "}", to);
	if (to > 0 && to <= intent && e.leaf_len > 0 && has_its_hash(&e) && prune_type_of(e.leaf, e.leaf_len) == EVENT_LOG_PRUNED && leaf_says(&e, "\"phase\":\"intent\"") &&
	    leaf_says(&e, member))
		status = check_inclusion(kms, store, &e, ret, err);
	store_event_clear(&e);
	return status;
}

kms_status prune_ended(struct kms *kms, struct store *store, uint64_t *ret, struct kms_err *err)
{
	struct store_meta m = { 0 };
	size_t origin_len = strlen(kms->origin);
	kms_status status = store_meta(store, META_PRUNED, &m, NULL);
	bool is_known = false;

	*ret = 0;
	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK || m.value_len < NUMBERS_LEN)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "installation record %s is damaged", META_PRUNED);
	if (m.value_len - NUMBERS_LEN != origin_len || memcmp(m.value + NUMBERS_LEN, kms->origin, origin_len) != 0) /* allowed: public */
		return KMS_OK;
	KMS_TRY(is_borne_out(kms, store, get_number(m.value + NUMBER_LEN), get_number(m.value), &is_known, err));
	if (is_known)
		*ret = get_number(m.value);
	else
		log_report_damage(kms->log, get_number(m.value + NUMBER_LEN), "the database says that the log was pruned, and the log has no log.pruned of that");
	return KMS_OK;
}

/* One that goes on, as it was told. */
static kms_status add_under_way(struct kms *kms, struct store *store, uint64_t *ret, struct kms_err *err)
{
	struct store_intent page[INTENTS_PAGE];
	uint64_t after = UINT64_MAX, to;
	size_t n = 0;

	do {
		KMS_TRY(store_intents(store, after, page, INTENTS_PAGE, &n, err));
		for (size_t i = 0; i < n; i++) {
			bool is_told = false;
			after = page[i].seq;
			to = get_number(page[i].obj + NUMBER_LEN);
			if (page[i].type != EVENT_LOG_PRUNED || page[i].is_of_closed_log || to <= *ret)
				continue;
			KMS_TRY(is_borne_out(kms, store, page[i].seq, to, &is_told, err));
			if (is_told)
				*ret = to;
		}
	} while (n == INTENTS_PAGE);
	return KMS_OK;
}

kms_status prune_covered(struct kms *kms, struct store *store, uint64_t *ret, struct kms_err *err)
{
	/* The intents first: one that ends in between is in one of the two, and counts in both. */
	uint64_t under_way = 0, ended = 0;

	KMS_TRY(add_under_way(kms, store, &under_way, err));
	KMS_TRY(prune_ended(kms, store, &ended, err));
	*ret = under_way > ended ? under_way : ended;
	return KMS_OK;
}

/* ---- one leaf ---- */

static kms_status damaged(struct kms *kms, uint64_t seq, const char *why, struct kms_err *err)
{
	char text[LOG_DAMAGE_MAX];

	(void)snprintf(text, sizeof(text), "leaf %" PRIu64 " %s", seq, why);
	log_report_damage(kms->log, seq, text);
	return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "%s", text);
}

kms_status prune_check_leaf(struct kms *kms, struct store *store, const struct store_event *e, struct prune_cover *cover, struct kms_err *err)
{
	if (e->leaf_len > 0)
		return has_its_hash(e) ? KMS_OK : damaged(kms, e->seq, "is not what was hashed: its body was altered", err);
	if (e->seq >= cover->below)
		KMS_TRY(prune_covered(kms, store, &cover->below, err));
	return e->seq < cover->below ? KMS_OK : damaged(kms, e->seq, "has no body, and no log.pruned covers it: it was removed", err);
}
