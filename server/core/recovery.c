/* server/core/recovery.c - at start: every two-phase act that a crash left open is finished or undone, and written down. */
#include <stdio.h>
#include <string.h>

#include "server/core/keyring.h"
#include "server/core/tenancy.h"

#define INTENTS_PAGE 32
#define CLOSED_LOGS_MAX 16 /* the newest; older ones have no open intents left */

/* How one open intent was settled. */
struct settled {
	enum event_result result;
	const char *err;
	struct store_change changes[3];
	size_t change_count;
};

static struct store_change *add_change(struct settled *s, enum store_change_kind kind)
{
	struct store_change *c = &s->changes[s->change_count++];
	memset(c, 0, sizeof(*c));
	c->kind = kind;
	return c;
}

/*
 * Made in the device, never entered: destroy it. Absence is fine, the act may not have come that far. But not what an intent of a closed log speaks of: the database that
 * was lost may have had the outcome, and there may be data under the key. It stays in the device, unknown to the present database.
 */
static kms_status undo_create(struct kms *kms, struct store *store, const uint8_t obj[STORE_ID_LEN], struct kms_err *err)
{
	bool is_known = false;

	KMS_TRY(store_object_known(store, obj, &is_known, err));
	return is_known ? KMS_OK : hsm_key_destroy(kms->hsm, obj, err);
}

static kms_status finish_purge(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	size_t destroyed = 0;

	struct store_key key = { 0 };
	kms_status status = store_key(store, i->vault_id, i->key_name, &key, NULL);

	s->result = EVENT_OK;
	s->err = NULL;
	/* Gone already: the purge was repeated, and that one came through. The name may belong to a new key by now. */
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && memcmp(key.id, i->key_id, STORE_ID_LEN) != 0)) /* allowed: ids are public */
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "key of intent %llu", (unsigned long long)i->seq);
	KMS_TRY(keyring_destroy_objects(kms->hsm, store, i->key_id, &destroyed, err));
	memcpy(add_change(s, STORE_KEY_PURGE)->key.id, i->key_id, STORE_ID_LEN);
	return KMS_OK;
}

static kms_status finish_shred(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	struct store_vault vault = { 0 };
	size_t destroyed = 0;

	KMS_TRY(store_vault_by_id(store, i->vault_id, &vault, err));
	KMS_TRY(vault_destroy_objects(kms, store, &vault, &destroyed, err));
	add_change(s, STORE_VAULT_ERASE)->vault = vault;
	vault.state = STORE_VAULT_SHREDDED;
	add_change(s, STORE_VAULT_SET_STATE)->vault = vault;
	s->result = EVENT_OK;
	s->err = NULL;
	return KMS_OK;
}

static bool makes_objects(enum event_type type)
{
	return type == EVENT_KEY_CREATE || type == EVENT_KEY_ROTATE || type == EVENT_KEY_IMPORT || type == EVENT_TENANT_CREATE || type == EVENT_LOG_KEY_ROTATED;
}

static kms_status settle(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	enum event_type type = (enum event_type)i->type;

	s->result = EVENT_FAILED;
	s->err = "Interrupted";
	if (i->is_of_closed_log && makes_objects(type)) {
		s->result = EVENT_UNKNOWN;
		return KMS_OK;
	}
	/* Principals, roles, pools and published ids have nothing in the device; backups and restored versions are wrapped. */
	if (makes_objects(type)) {
		KMS_TRY(undo_create(kms, store, i->obj, err));
		return type == EVENT_TENANT_CREATE ? undo_create(kms, store, i->key_id, err) : KMS_OK;
	}
	if (type == EVENT_KEY_PURGE)
		return finish_purge(kms, store, i, s, err);
	return type == EVENT_TENANT_SHRED ? finish_shred(kms, store, i, s, err) : KMS_OK;
}

/* Its leaf is in a log that was closed since (5.5 step 4): refs count within one log only, so what became of it is told on its own, by name. */
struct closed_intent {
	struct event_det det[2];
	size_t det_count;
};

static kms_status describe_closed(struct store *store, const struct store_intent *i, struct write *unit, struct closed_intent *ret, struct kms_err *err)
{
	struct store_closed_log logs[CLOSED_LOGS_MAX];
	size_t count = 0;

	KMS_TRY(store_closed_logs(store, logs, CLOSED_LOGS_MAX, &count, err));
	ret->det[0] = (struct event_det){ .name = "old_seq", .is_number = true, .number = (int64_t)(i->seq & STORE_SEQ_MAX) };
	ret->det_count = 1;
	for (size_t n = 0; n < count; n++)
		if (logs[n].number == i->seq / (STORE_SEQ_MAX + 1)) {
			ret->det[1].name = "old_origin";
			(void)snprintf(ret->det[1].text, sizeof(ret->det[1].text), "%s", logs[n].origin);
			ret->det_count = 2;
		}
	unit->event.phase = EVENT_SINGLE;
	unit->event.has_ref = false;
	unit->event.ref = 0;
	unit->event.det = ret->det;
	unit->event.det_count = ret->det_count;
	return KMS_OK;
}

static kms_status write_settled(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	struct closed_intent closed = { 0 };
	static const uint8_t NONE[STORE_ID_LEN];
	struct write unit = { .event = { .type = (enum event_type)i->type, .phase = EVENT_OUTCOME, .result = s->result, .has_ref = true,
	                                 .ref = i->seq, .actor = EVENT_ACTOR_NODE, .err = s->err } };
	kms_status status = KMS_OK;

	if (memcmp(i->vault_id, NONE, STORE_ID_LEN) != 0) { /* allowed: ids are public */
		unit.event.has_tenant = true;
		memcpy(unit.event.tenant, i->vault_id, STORE_ID_LEN);
	}
	(void)snprintf(unit.event.key_name, sizeof(unit.event.key_name), "%s", i->key_name);
	if (i->is_of_closed_log)
		KMS_TRY(describe_closed(store, i, &unit, &closed, err));
	add_change(s, STORE_INTENT_CLOSE)->intent.seq = i->seq;
	unit.changes = s->changes;
	unit.change_count = s->change_count;
	status = writer_write(kms->writer, &unit);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "outcome of intent %llu", (unsigned long long)i->seq);
}

/* Settle one intent; what the device does not allow now stays open, its key or vault stays refused, and the others go on. */
static kms_status settle_and_write(struct kms *kms, struct store *store, const struct store_intent *i, struct recovery_count *count,
                                   struct kms_err *err)
{
	struct settled s = { 0 };
	struct kms_err own = { 0 };

	if (settle(kms, store, i, &s, &own) != KMS_OK) {
		count->left_open++;
		count->last_failure = own;
		return KMS_OK;
	}
	count->settled++;
	return write_settled(kms, store, i, &s, err);
}

kms_status recovery_run(struct kms *kms, struct store *store, uint64_t types, struct recovery_count *ret_count, struct kms_err *err)
{
	struct store_intent page[INTENTS_PAGE];
	struct event_det det = { .name = "intents", .is_number = true };
	struct recovery_count count = { 0 };
	size_t n = 0;
	uint64_t after = UINT64_MAX;

	do {
		KMS_TRY(store_intents(store, after, page, INTENTS_PAGE, &n, err));
		for (size_t i = 0; i < n; i++) {
			if ((types & RECOVER_TYPE(page[i].type)) != 0)
				KMS_TRY(settle_and_write(kms, store, &page[i], &count, err));
			after = page[i].seq;
		}
	} while (n == INTENTS_PAGE);
	*ret_count = count;
	if (count.settled > 0) {
		struct write unit = { .event = { .type = EVENT_NODE_RECOVERED, .actor = EVENT_ACTOR_NODE, .det_count = 1, .det = &det } };
		kms_status status = KMS_OK;

		det.number = (int64_t)count.settled;
		status = writer_write(kms->writer, &unit);
		if (status != KMS_OK)
			return kms_fail(err, status, KMS_SRC_SELF, 0, "node.recovered");
		KMS_TRY(writer_truncate(kms->writer, err));
	}
	return KMS_OK;
}

struct search {
	struct store *store;
	size_t unknown;
	kms_status status;
};

static bool look_up(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	struct search *s = arg;
	bool is_known = false;

	(void)purpose;
	s->status = is_ours ? store_object_known(s->store, id, &is_known, NULL) : KMS_OK;
	s->unknown += is_ours && !is_known;
	return s->status == KMS_OK;
}

kms_status recovery_count_unknown(struct kms *kms, struct store *store, size_t *ret_count, struct kms_err *err)
{
	struct search s = { .store = store };

	KMS_TRY(hsm_keys_list(kms->hsm, look_up, &s, err));
	if (s.status != KMS_OK)
		return kms_fail(err, s.status, KMS_SRC_SELF, 0, "object lookup");
	*ret_count = s.unknown;
	return KMS_OK;
}
