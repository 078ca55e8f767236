/* server/core/recovery.c - at start: every two-phase act that a crash left open is finished or undone, and written down. */
#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/certificate.h"
#include "server/core/checkpoint.h"
#include "server/core/destruction_parts.h"
#include "server/core/epoch.h"
#include "server/core/prune.h"
#include "server/core/root.h"
#include "server/core/server_backup_parts.h"

#define INTENTS_PAGE 32
#define CLOSED_LOGS_MAX 16 /* the newest; older ones have no open intents left */

/* How one open intent was settled. */
struct settled {
	enum event_result result;
	const char *err;
	struct store_change changes[4];
	size_t change_count;
	struct store_certificate certificate; /* owned: its change borrows from it */
	struct event_det det[4]; /* of the outcome */
	size_t det_count;
};

static void settled_clear(struct settled *s) { store_certificate_clear(&s->certificate); }

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

/* What the intent announces must be provable before it is done (11.3 step 1): it may have been interrupted before its checkpoint. Of a log that was closed, the one that follows
 * is signed instead. */
static kms_status seal_intent(struct kms *kms, const struct store_intent *i, struct kms_err *err)
{
	struct writer_state w = { 0 };

	writer_state(kms->writer, &w);
	return log_seal(kms->log, i->is_of_closed_log && w.size > 0 ? w.size - 1 : i->seq, 0, err);
}

/* From where it stopped to its end; with its certificate, if its intent began one. */
static kms_status finish_destruction(struct destruction *d, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	kms_status status = seal_intent(d->kms, i, err);

	d->intent = i->seq;
	if (status == KMS_OK)
		status = destruction_run(d, err);
	if (status != KMS_OK) {
		destruction_tell_incomplete(d, NULL, status);
		return status;
	}
	status = certificate_due(d, &s->certificate, err);
	if (status == KMS_OK)
		add_change(s, STORE_CERTIFICATE_FILL)->certificate = s->certificate;
	else if (status != KMS_E_NOTFOUND)
		return status;
	return KMS_OK;
}

static kms_status finish_purge(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	struct store_vault vault = { 0 };
	struct store_key key = { 0 };
	struct destruction d = { .kms = kms, .store = store, .of = DESTRUCTION_OF_KEY, .vault = &vault, .key = &key };
	kms_status status = store_key(store, i->vault_id, i->key_name, &key, NULL);

	/* Gone already, by an intent of another log: the name may belong to a new key by now. */
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && memcmp(key.id, i->key_id, STORE_ID_LEN) != 0)) /* allowed: ids are public */
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "key of intent %llu", (unsigned long long)i->seq);
	KMS_TRY(store_vault_by_id(store, i->vault_id, &vault, err));
	KMS_TRY(finish_destruction(&d, i, s, err));
	add_change(s, STORE_KEY_PURGE)->key = key;
	return KMS_OK;
}

static kms_status finish_shred(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	struct store_vault vault = { 0 };
	struct destruction d = { .kms = kms, .store = store, .of = DESTRUCTION_OF_TENANT, .vault = &vault };

	KMS_TRY(store_vault_by_id(store, i->vault_id, &vault, err));
	if (vault.state == STORE_VAULT_SHREDDED)
		return KMS_OK; /* by an intent of another log */
	KMS_TRY(finish_destruction(&d, i, s, err));
	add_change(s, STORE_VAULT_ERASE)->vault = vault;
	vault.state = STORE_VAULT_SHREDDED;
	add_change(s, STORE_VAULT_SET_STATE)->vault = vault;
	return KMS_OK;
}

/* The root that a rotation has replaced (root.h). */
static kms_status finish_root(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	struct store_vault vault = { 0 };
	struct destruction d = { .kms = kms, .store = store, .of = DESTRUCTION_OF_ROOT, .vault = &vault };

	KMS_TRY(store_vault_by_id(store, i->vault_id, &vault, err));
	memcpy(d.object, i->obj, STORE_ID_LEN);
	return finish_destruction(&d, i, s, err);
}

static kms_status finish_epoch(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	struct store_change ended = { 0 };
	bool changes = false;

	KMS_TRY(seal_intent(kms, i, err));
	KMS_TRY(epoch_end_finish(kms, store, i, &ended, &changes, err));
	if (changes)
		*add_change(s, STORE_EPOCH_END) = ended;
	return KMS_OK;
}

static kms_status finish_rotation(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	kms_status status = root_rotation_finish(kms, store, i, err);

	if (status != KMS_E_VAULT_SHREDDED)
		return status;
	s->result = EVENT_FAILED;
	s->err = kms_status_inner(status) != NULL ? kms_status_inner(status) : kms_status_code(status);
	return KMS_OK;
}

static struct event_det *add_det(struct settled *s, const char *name)
{
	struct event_det *d = &s->det[s->det_count++];
	d->name = name;
	return d;
}

static void add_number(struct settled *s, const char *name, uint64_t number)
{
	struct event_det *d = add_det(s, name);
	d->is_number = true;
	d->number = (int64_t)number;
}

/* Of a log that was closed nothing is dropped: what it held is kept as it was found. */
static kms_status finish_pruning(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	struct prune_done done = { 0 };

	if (i->is_of_closed_log) {
		s->result = EVENT_FAILED;
		s->err = "Interrupted";
		return KMS_OK;
	}
	KMS_TRY(seal_intent(kms, i, err));
	KMS_TRY(prune_finish(kms, store, i, &done, err));
	add_number(s, "from", done.from);
	add_number(s, "to", done.to);
	add_number(s, "count", done.count);
	b64_encode(done.root, sizeof(done.root), add_det(s, "root")->text);
	prune_record(kms, &done, &add_change(s, STORE_META_PUT)->meta);
	return KMS_OK;
}

/* What cannot be taken back. @return false: an act of another kind */
static bool finishes(enum event_type type)
{
	return type == EVENT_KEY_PURGE || type == EVENT_TENANT_SHRED || type == EVENT_KEY_DESTROY || type == EVENT_BACKUP_EPOCH_END || type == EVENT_TENANT_ROTATE_ROOT ||
	       type == EVENT_LOG_PRUNED;
}

/* What destroys is finished only when the log has announced it: a row alone anybody can write who can write to the database. */
static kms_status check_told(struct store *store, const struct store_intent *i, struct kms_err *err)
{
	char members[4][DESTRUCTION_MEMBER_MAX] = { "\"phase\":\"intent\"" }, guid[GUID_TEXT_LEN + 1];
	size_t count = 2;
	bool is_told = false;

	if (i->is_of_closed_log) /* its leaves are not read any more */
		return KMS_OK;
	(void)snprintf(members[1], sizeof(members[1]), "\"type\":\"%s\"", event_type_name((enum event_type)i->type));
	if (!is_no_id(i->vault_id)) {
		guid_format(i->vault_id, guid);
		(void)snprintf(members[count++], sizeof(members[0]), "\"tenant\":\"%s\"", guid);
	}
	if (i->type == EVENT_KEY_PURGE) /* letters, digits and hyphens */
		(void)snprintf(members[count++], sizeof(members[0]), "\"name\":\"%s\"", i->key_name);
	KMS_TRY(destruction_leaf_says(store, i->seq, (const char (*)[DESTRUCTION_MEMBER_MAX])members, count, &is_told, err));
	return is_told ? KMS_OK : kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the database was altered: the log has no intent %llu of %s; nothing is destroyed",
	                                   (unsigned long long)i->seq, event_type_name((enum event_type)i->type));
}

static kms_status finish(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	KMS_TRY(check_told(store, i, err));
	s->result = EVENT_OK;
	s->err = NULL;
	if (i->type == EVENT_KEY_PURGE)
		return finish_purge(kms, store, i, s, err);
	if (i->type == EVENT_TENANT_SHRED)
		return finish_shred(kms, store, i, s, err);
	if (i->type == EVENT_KEY_DESTROY)
		return finish_root(kms, store, i, s, err);
	if (i->type == EVENT_LOG_PRUNED)
		return finish_pruning(kms, store, i, s, err);
	return i->type == EVENT_BACKUP_EPOCH_END ? finish_epoch(kms, store, i, s, err) : finish_rotation(kms, store, i, s, err);
}

/* Its file may be whole already. */
static kms_status settle_backup(struct kms *kms, struct store *store, const struct store_intent *i, struct settled *s, struct kms_err *err)
{
	struct store_backup found = { 0 };
	kms_status status = server_backup_found(kms, store, i->obj, &found, err);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return status;
	/* A database that was restored has the intent of the backup that it came from, and was told of it (restored.h). */
	status = backup_find(store, i->obj, &found, NULL);
	if (status == KMS_E_NOTFOUND)
		add_change(s, STORE_BACKUP_ADD)->backup = found;
	else if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "backups");
	s->result = EVENT_OK;
	s->err = NULL;
	return KMS_OK;
}

static bool makes_objects(enum event_type type)
{
	return type == EVENT_KEY_CREATE || type == EVENT_KEY_ROTATE || type == EVENT_KEY_IMPORT || type == EVENT_TENANT_CREATE || type == EVENT_LOG_KEY_ROTATED ||
	       type == EVENT_BACKUP_EPOCH;
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
	if (finishes(type))
		return finish(kms, store, i, s, err);
	if (type == EVENT_NODE_BACKUP)
		return settle_backup(kms, store, i, s, err);
	/* Principals, roles, pools, locks and published ids have nothing in the device; backups and restored versions are wrapped. */
	if (!makes_objects(type))
		return KMS_OK;
	KMS_TRY(undo_create(kms, store, i->obj, err));
	return type == EVENT_TENANT_CREATE ? undo_create(kms, store, i->key_id, err) : KMS_OK;
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
	if (s->det_count > 0) {
		unit.event.det = s->det;
		unit.event.det_count = s->det_count;
	}
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
	__attribute__((cleanup(settled_clear))) struct settled s = { 0 };
	struct kms_err own = { 0 };

	if (settle(kms, store, i, &s, &own) != KMS_OK) {
		count->left_open++;
		count->last_failure = own;
		return KMS_OK;
	}
	/* A rotation or pruning that comes to its end was not interrupted: that is how it is done. */
	*(i->type == EVENT_TENANT_ROTATE_ROOT ? &count->rotated : i->type == EVENT_LOG_PRUNED ? &count->pruned : &count->settled) += 1;
	KMS_TRY(write_settled(kms, store, i, &s, err));
	return i->type == EVENT_LOG_PRUNED ? writer_truncate(kms->writer, err) : KMS_OK; /* gives the room back */
}

/* Finishing one act may have finished another: a rotation, the end of its old root. */
static kms_status is_still_open(struct store *store, const struct store_intent *i, bool *ret, struct kms_err *err)
{
	struct store_intent found = { 0 };
	size_t count = 0;

	KMS_TRY(store_intents(store, i->seq == 0 ? UINT64_MAX : i->seq - 1, &found, 1, &count, err));
	*ret = count == 1 && found.seq == i->seq;
	return KMS_OK;
}

static kms_status settle_page(struct kms *kms, struct store *store, uint64_t types, const struct store_intent *page, size_t count, struct recovery_count *ret,
                              struct kms_err *err)
{
	for (size_t i = 0; i < count; i++) {
		bool is_open = (types & RECOVER_TYPE(page[i].type)) != 0;

		if (is_open)
			KMS_TRY(is_still_open(store, &page[i], &is_open, err));
		if (is_open)
			KMS_TRY(settle_and_write(kms, store, &page[i], ret, err));
	}
	return KMS_OK;
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
		KMS_TRY(settle_page(kms, store, types, page, n, &count, err));
		if (n > 0)
			after = page[n - 1].seq;
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
