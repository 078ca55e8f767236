/*
 * server/core/destruction_sweep.c - at start: the device is enumerated once and compared with what is known to be dead, and to live (audit-log.md 11.4).
 * Guards: what was destroyed is not served because a copy of the token brought it back; nothing that lives dies because somebody wrote to the database.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/base/log.h"
#include "server/core/destruction_parts.h"

#define VAULTS_PAGE 32
#define INTENTS_PAGE 32

struct sweep {
	struct kms *kms;
	struct store *store;
	struct id_list present;   /* ours, by label */
	struct id_list announced; /* by intents that are open: recovery looks after those */
	struct id_list destroyed; /* again */
	struct store_tombstone *hits; /* of these; owned */
	size_t hit_count, hit_cap;
	struct sweep_count count;
};

static void sweep_clear(struct sweep *s)
{
	id_list_clear(&s->present);
	id_list_clear(&s->announced);
	id_list_clear(&s->destroyed);
	free(s->hits);
}

/* ---- what the device holds ---- */

struct enumeration {
	struct id_list *ids;
	kms_status status;
};

static bool note_object(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	struct enumeration *e = arg;

	(void)purpose;
	if (is_ours)
		e->status = id_list_add(e->ids, id, NULL);
	return e->status == KMS_OK;
}

static kms_status enumerate(struct sweep *s, struct kms_err *err)
{
	struct enumeration e = { .ids = &s->present };

	KMS_TRY(hsm_keys_list(s->kms->hsm, note_object, &e, err));
	if (e.status != KMS_OK)
		return kms_fail(err, e.status, KMS_SRC_SELF, 0, "list of the device's objects");
	id_list_sort(&s->present);
	return KMS_OK;
}

static kms_status read_announced(struct sweep *s, struct kms_err *err)
{
	struct store_intent page[INTENTS_PAGE];
	uint64_t after = UINT64_MAX;
	size_t count = 0;

	do {
		KMS_TRY(store_intents(s->store, after, page, INTENTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			after = page[i].seq;
			KMS_TRY(id_list_add(&s->announced, page[i].obj, err));
			KMS_TRY(id_list_add(&s->announced, page[i].key_id, err));
		}
	} while (count == INTENTS_PAGE);
	id_list_sort(&s->announced);
	return KMS_OK;
}

/* ---- is it dead, by the database's own word? ---- */

static kms_status version_lives(struct store *store, const struct store_tombstone *t, bool *ret, struct kms_err *err)
{
	STORE_VERSION_AUTO v = { 0 };
	struct store_key k = { 0 };
	struct kms_err failure = { 0 };
	kms_status status = store_version_of_object(store, t->obj, &v, &failure);

	if (status == KMS_OK)
		status = store_key(store, t->vault_id, t->key_name, &k, &failure);
	/* A key of another name, or nobody knows which: then something else names it. */
	*ret = !(status == KMS_OK && is_same_id(k.id, v.key_id) && k.is_purging);
	if (status == KMS_OK || status == KMS_E_NOTFOUND)
		return KMS_OK;
	return kms_fail(err, status, KMS_SRC_SELF, 0, "version of a tombstone: %s", failure.detail);
}

static kms_status epoch_lives(struct store *store, const struct store_tombstone *t, bool *ret, struct kms_err *err)
{
	struct store_epoch e = { 0 };
	kms_status status = store_epoch_of_object(store, t->obj, &e, NULL);

	/* One that is closed may be ending: its tombstone comes before its outcome. */
	*ret = status != KMS_OK || e.closed_s == STORE_NO_TIME;
	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "epoch of a tombstone");
}

/* Does a row name it that is not itself dying? What is being destroyed has tombstones before its rows end. */
static kms_status lives(struct store *store, const struct store_tombstone *t, bool *ret, struct kms_err *err)
{
	struct store_vault v = { 0 };
	kms_status status = KMS_OK;

	KMS_TRY(store_object_known(store, t->obj, ret, err));
	if (!*ret)
		return KMS_OK;
	if (t->kind == STORE_TOMBSTONE_EPOCH)
		return epoch_lives(store, t, ret, err);
	status = store_vault_by_id(store, t->vault_id, &v, NULL);
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "vault of a tombstone");
	if (status == KMS_OK && v.state != STORE_VAULT_ACTIVE)
		*ret = false;
	else if (t->kind == STORE_TOMBSTONE_VERSION)
		return version_lives(store, t, ret, err);
	return KMS_OK;
}

/* ---- what is found ---- */

static void put_hex(struct event_det *d, const char *name, const uint8_t id[STORE_ID_LEN])
{
	d->name = name;
	hex_encode(id, STORE_ID_LEN, d->text);
}

/* Where people look, and in the log itself: as the checkpointer does for what it finds. */
static kms_status raise_alarm(struct sweep *s, const char *state, const char *why, const uint8_t obj[STORE_ID_LEN], struct kms_err *err)
{
	struct event_det det[3] = { { .name = "state" }, { .name = "why" } };
	struct write unit = { .event = { .type = EVENT_LOG_INTEGRITY_FAILED, .result = EVENT_FAILED, .actor = EVENT_ACTOR_SYSTEM, .det = det,
	                                 .det_count = KMS_ARRAY_LEN(det) } };
	kms_status status;

	(void)snprintf(det[0].text, sizeof(det[0].text), "%s", state);
	(void)snprintf(det[1].text, sizeof(det[1].text), "%s", why);
	put_hex(&det[2], "obj", obj);
	log_event(LOG_ERROR, "log_integrity_failed", LOG_I("severity", 2), LOG_S("state", state), LOG_S("why", why), LOG_S("obj", det[2].text));
	status = writer_write(s->kms->writer, &unit);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "log.integrity_failed");
}

static kms_status add_hit(struct sweep *s, const struct store_tombstone *t, struct kms_err *err)
{
	if (s->hit_count == s->hit_cap) {
		size_t cap = s->hit_cap == 0 ? 16 : 2 * s->hit_cap;
		void *grown = reallocarray(s->hits, cap, sizeof(*s->hits));
		if (grown == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "objects that came back");
		s->hits = grown;
		s->hit_cap = cap;
	}
	s->hits[s->hit_count++] = *t;
	return KMS_OK;
}

/* It has a tombstone, and is there. */
static kms_status judge_hit(struct sweep *s, const struct store_tombstone *t, struct kms_err *err)
{
	struct kms_err own = { 0 };
	kms_status status = tombstone_check(s->kms->hsm, &s->kms->inst, t, &own);
	bool is_living = false;

	if (status == KMS_E_CRYPTO) {
		s->count.forged++;
		return raise_alarm(s, "tombstone", "a tombstone was not made by this installation: the object that it names was left alone", t->obj, err);
	}
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "%s", own.detail);
	KMS_TRY(lives(s->store, t, &is_living, err));
	if (!is_living)
		return add_hit(s, t, err);
	KMS_TRY(raise_alarm(s, "contradiction", "an object is destroyed by its tombstone and in use by a row that lives", t->obj, err));
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0,
	                "the database says of one object both that it was destroyed and that it is in use: it was altered, or put together from several. Restore a good one");
}

static kms_status judge(struct sweep *s, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	struct store_tombstone t = { 0 };
	bool is_known = false;
	kms_status status = store_tombstone(s->store, id, &t, NULL);

	if (status == KMS_OK)
		return judge_hit(s, &t, err);
	if (status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "tombstones");
	KMS_TRY(store_object_known(s->store, id, &is_known, err));
	s->count.unknown += !is_known && !id_list_holds(&s->announced, id);
	return KMS_OK;
}

/* ---- destroyed again ---- */

static kms_status write_resurrected(struct sweep *s, const struct store_tombstone *t, bool is_gone, struct kms_err *err)
{
	struct event_det det[] = { { .name = "intent", .is_number = true, .number = (int64_t)(t->intent & STORE_SEQ_MAX) } };
	struct write unit = { .event = { .type = EVENT_TENANT_RESURRECTED, .actor = EVENT_ACTOR_NODE, .has_tenant = !is_no_id(t->vault_id), .has_obj = true,
	                                 .result = is_gone ? EVENT_OK : EVENT_FAILED, .err = is_gone ? NULL : kms_status_code(KMS_E_DEVICE), .det = det } };
	kms_status status;

	memcpy(unit.event.tenant, t->vault_id, STORE_ID_LEN);
	memcpy(unit.event.obj, t->obj, STORE_ID_LEN);
	memcpy(unit.event.key_name, t->key_name, sizeof(t->key_name));
	if (t->kind == STORE_TOMBSTONE_VERSION)
		hex_encode(t->version_id, STORE_ID_LEN, unit.event.key_version);
	if (t->intent <= STORE_SEQ_MAX)
		unit.event.det_count = 1;
	status = writer_write(s->kms->writer, &unit);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "tenant.resurrected");
}

static kms_status destroy_hits(struct sweep *s, struct kms_err *err)
{
	for (size_t i = 0; i < s->hit_count; i++)
		KMS_TRY(destruction_object(s->kms, s->hits[i].obj, &s->destroyed, err));
	return destruction_look(s->kms, s->store, &s->destroyed, err);
}

/* That they were back is written whether or not they could be destroyed. */
static kms_status bury(struct sweep *s, struct kms_err *err)
{
	struct kms_err own = { 0 };
	kms_status status = destroy_hits(s, &own), written = KMS_OK;

	for (size_t i = 0; i < s->hit_count && written == KMS_OK; i++)
		written = write_resurrected(s, &s->hits[i], status == KMS_OK, err);
	if (written != KMS_OK)
		return written;
	if (status != KMS_OK)
		return kms_fail(err, KMS_E_DEVICE, own.source, own.native,
		                "%zu destroyed object%s in the device again and cannot be destroyed, so nothing is served: %.60s", s->hit_count,
		                s->hit_count == 1 ? " is" : "s are", own.detail);
	s->count.resurrected = s->hit_count;
	return KMS_OK;
}

/* ---- vaults without their root ---- */

static kms_status count_rootless(struct sweep *s, struct kms_err *err)
{
	struct store_vault page[VAULTS_PAGE];
	char after[STORE_VAULT_NAME_MAX + 1];
	const char *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_vaults(s->store, cursor, page, VAULTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			if (page[i].state != STORE_VAULT_ACTIVE || id_list_holds(&s->present, page[i].root_id))
				continue;
			if (s->count.rootless++ == 0)
				memcpy(s->count.rootless_vault, page[i].name, sizeof(s->count.rootless_vault));
		}
		if (count > 0)
			memcpy(after, page[count - 1].name, sizeof(after));
		cursor = after;
	} while (count == VAULTS_PAGE);
	return KMS_OK;
}

static kms_status sweep(struct sweep *s, struct kms_err *err)
{
	KMS_TRY(enumerate(s, err));
	KMS_TRY(read_announced(s, err));
	for (size_t i = 0; i < s->present.count; i++)
		KMS_TRY(judge(s, s->present.ids[i], err));
	if (s->hit_count > 0)
		KMS_TRY(bury(s, err));
	return count_rootless(s, err);
}

kms_status destruction_sweep(struct kms *kms, struct store *store, struct sweep_count *ret_count, struct kms_err *err)
{
	struct sweep s = { .kms = kms, .store = store };
	kms_status status = sweep(&s, err);

	if (status == KMS_OK)
		*ret_count = s.count;
	sweep_clear(&s);
	return status;
}
