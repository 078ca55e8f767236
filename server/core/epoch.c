/* server/core/epoch.c - backup epochs: begun, closed by the next one, ended; and which backups outlive a destruction. */
#include "server/core/epoch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/approval.h"
#include "server/core/checkpoint.h"
#include "server/core/destruction.h"

#define DAY_S ((int64_t)86400)
#define EPOCHS_PAGE 32
#define EPOCHS_BY_HAND_MAX 512 /* that live; the schedule may begin more, 366 in a year */
#define BACKUPS_PAGE 16
#define INTENTS_PAGE 32
#define PARAMETERS_MAX 32

static const struct epoch_policy POLICY_DEFAULT = { .epoch_days = EPOCH_DAYS_DEFAULT, .keep_days = EPOCH_DAYS_DEFAULT };

static const struct epoch_policy *policy(const struct kms *kms) { return kms->epochs != NULL ? kms->epochs : &POLICY_DEFAULT; }

static bool has_ended(const struct store_epoch *e) { return e->ended_s != STORE_NO_TIME; }

void epoch_key(const struct store_epoch *e, struct hsm_key *ret_key)
{
	*ret_key = (struct hsm_key){ .purpose = HSM_FOR_BACKUP, .kind = HSM_KIND_AES, .bits = 256 };
	memcpy(ret_key->id, e->obj, HSM_ID_LEN);
}

int64_t epoch_until(const struct kms *kms, const struct store_epoch *e)
{
	const struct epoch_policy *p = policy(kms);

	if (has_ended(e))
		return e->ended_s;
	return (e->closed_s != STORE_NO_TIME ? e->closed_s : e->created_s + p->epoch_days * DAY_S) + p->keep_days * DAY_S;
}

kms_status epoch_newest(struct store *store, struct store_epoch *ret, struct kms_err *err)
{
	size_t count = 0;

	KMS_TRY(store_epochs(store, 0, ret, 1, &count, err));
	return count == 1 ? KMS_OK : kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "there is no backup epoch yet");
}

kms_status epoch_numbered(struct store *store, uint32_t number, struct store_epoch *ret, struct kms_err *err)
{
	size_t count = 0;

	if (number > 0 && number < UINT32_MAX)
		KMS_TRY(store_epochs(store, number + 1, ret, 1, &count, err));
	if (count == 1 && ret->number == number)
		return KMS_OK;
	return kms_refuse(err, KMS_E_NOTFOUND, "There is no backup epoch %" PRIu32 ".", number);
}

/* ---- begun ---- */

static kms_status undo_key(struct op *op) { return hsm_key_destroy(op->kms->hsm, op->object, NULL); }

static kms_status next_number(struct store *store, uint32_t *ret, struct kms_err *err)
{
	struct store_epoch newest = { 0 };
	size_t count = 0;

	KMS_TRY(store_epochs(store, 0, &newest, 1, &count, err));
	*ret = count == 0 ? 1 : newest.number + 1;
	return KMS_OK;
}

/* Each has a key in the device until it ends: somebody who may begin them must not fill it. */
static kms_status check_room(const struct op *op, struct kms_err *err)
{
	struct store_epoch page[EPOCHS_PAGE];
	size_t count = 0, living = 0;
	uint32_t below = 0;

	if (op->write.event.actor == EVENT_ACTOR_SYSTEM)
		return KMS_OK;
	do {
		KMS_TRY(store_epochs(op->store, below, page, EPOCHS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			living += !has_ended(&page[i]);
			below = page[i].number;
		}
	} while (count == EPOCHS_PAGE && below > 1);
	if (living < EPOCHS_BY_HAND_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_CONFLICT, "%zu backup epochs have not ended yet; end some of them first (holdfast backup end-epoch).", living);
}

kms_status epoch_begin(struct op *op, struct store_epoch *ret, struct kms_err *err)
{
	struct store_epoch e = { .closed_s = STORE_NO_TIME, .ended_s = STORE_NO_TIME };
	struct store_intent intent = { 0 };
	struct hsm_key key;

	KMS_TRY(check_room(op, err));
	KMS_TRY(next_number(op->store, &e.number, err));
	if (!guid_random(e.obj))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	e.created_s = clock_wall_s(op->kms->clock);
	op_det_number(op, "epoch", e.number);
	op_det_guid(op, "backup_key", e.obj);
	memcpy(intent.obj, e.obj, STORE_ID_LEN);
	memcpy(op->object, e.obj, HSM_ID_LEN);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	op->undo = undo_key;
	epoch_key(&e, &key);
	KMS_TRY(hsm_key_generate(op->kms->hsm, &key, NULL, err));
	op_change(op, STORE_EPOCH_ADD)->epoch = e;
	*ret = e;
	return KMS_OK;
}

/* The server's own. */
static kms_status begin_own(struct kms *kms, struct store *store, struct kms_err *err)
{
	struct store_epoch e = { 0 };
	struct op *op = op_new_own(kms, store, EVENT_BACKUP_EPOCH, err);
	kms_status status = KMS_OK;

	if (op == NULL)
		return KMS_E_NOMEM;
	status = op_finish_own(op, epoch_begin(op, &e, err), err);
	op_free_own(op);
	return status;
}

/* @return KMS_E_NOTFOUND: the device is there and does not hold it */
static kms_status look_for(struct hsm *hsm, const struct store_epoch *e, struct kms_err *err)
{
	struct hsm_attributes found = { 0 };
	struct hsm_key key;

	epoch_key(e, &key);
	return hsm_key_attributes(hsm, &key, &found, err);
}

kms_status epoch_open(struct kms *kms, struct store *store, struct kms_err *err)
{
	struct store_epoch newest = { 0 };
	struct kms_err missing = { 0 };
	enum log_state state = log_state(kms->log);
	kms_status status = epoch_newest(store, &newest, &missing);

	if (status == KMS_OK)
		status = look_for(kms->hsm, &newest, &missing);
	/* What is missing in a database that is not the one that was signed may be elsewhere. Otherwise the first start, or one after the quorum accepted an older
	 * database or token: what was sealed under a key that is gone stays closed, and the next backups have a key of their own. */
	if (status == KMS_E_NOTFOUND && (state == LOG_GOOD || state == LOG_LATE))
		return begin_own(kms, store, err);
	if (status != KMS_OK)
		*err = missing;
	return status;
}

/* ---- ended ---- */

/* Its key is destroyed as all others are. */
static kms_status destroy_key(struct kms *kms, struct store *store, const struct store_epoch *e, uint64_t intent, struct kms_err *err)
{
	struct destruction d = { .kms = kms, .store = store, .of = DESTRUCTION_OF_EPOCH, .intent = intent };

	memcpy(d.object, e->obj, STORE_ID_LEN);
	return destruction_run(&d, err);
}

static void set_ended(struct store_change *c, const struct kms *kms, const struct store_epoch *e)
{
	c->epoch = *e;
	c->epoch.ended_s = clock_wall_s(kms->clock);
}

/* From the intent on: it cannot be taken back. */
static kms_status end_closed(struct op *op, const struct store_epoch *e, struct kms_err *err)
{
	struct store_intent intent = { 0 };

	memcpy(intent.obj, e->obj, STORE_ID_LEN);
	KMS_TRY(op_intend_sealed(op, NULL, &intent, err));
	op->write.has_fence = false;
	op->is_irreversible = true;
	KMS_TRY(destroy_key(op->kms, op->store, e, op->write.event.ref, err));
	set_ended(op_change(op, STORE_EPOCH_END), op->kms, e);
	return KMS_OK;
}

kms_status epoch_end_finish(struct kms *kms, struct store *store, const struct store_intent *intent, struct store_change *ret_change, bool *ret_changes,
                            struct kms_err *err)
{
	struct store_epoch e = { 0 };
	kms_status status = store_epoch_of_object(store, intent->obj, &e, NULL);

	*ret_changes = false;
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "backup epoch of intent %" PRIu64, intent->seq);
	if (status == KMS_E_NOTFOUND || has_ended(&e))
		return KMS_OK;
	/* An older database may say that it is the newest: then it is closed first, by the next one. */
	if (e.closed_s == STORE_NO_TIME)
		KMS_TRY(begin_own(kms, store, err));
	KMS_TRY(destroy_key(kms, store, &e, intent->seq, err));
	*ret_change = (struct store_change){ .kind = STORE_EPOCH_END };
	set_ended(ret_change, kms, &e);
	*ret_changes = true;
	return KMS_OK;
}

/* Another one that ends it is under way, and is finished by recovery. */
static kms_status is_ending(struct store *store, const struct store_epoch *e, bool *ret_is, struct kms_err *err)
{
	struct store_intent page[INTENTS_PAGE];
	uint64_t after = UINT64_MAX;
	size_t count = 0;

	*ret_is = false;
	do {
		KMS_TRY(store_intents(store, after, page, INTENTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			after = page[i].seq;
			*ret_is |= page[i].type == EVENT_BACKUP_EPOCH_END && memcmp(page[i].obj, e->obj, STORE_ID_LEN) == 0; /* allowed: ids are public */
		}
	} while (count == INTENTS_PAGE && !*ret_is);
	return KMS_OK;
}

static kms_status require_for_end(struct op *op, const struct store_epoch *e, const char *reason, struct kms_err *err)
{
	char object[GUID_TEXT_LEN + 1], parameters[PARAMETERS_MAX];
	const struct approval_need need = { .act = ACT_EPOCH_END, .target = object, .parameters = parameters, .reason = reason, .quorum = 1,
		                            .is_installations = true };

	guid_format(e->obj, object);
	(void)snprintf(parameters, sizeof(parameters), "{\"number\":%" PRIu32 "}", e->number);
	return approval_require(op, &need, err);
}

kms_status epoch_end(struct op *op, uint32_t number, const char *reason, struct kms_err *err)
{
	struct store_epoch e = { 0 };
	bool is_under_way = false;

	KMS_TRY(epoch_numbered(op->store, number, &e, err));
	if (has_ended(&e))
		return kms_refuse(err, KMS_E_CONFLICT, "The backup epoch %" PRIu32 " has ended already.", number);
	KMS_TRY(is_ending(op->store, &e, &is_under_way, err));
	if (is_under_way)
		return kms_refuse(err, KMS_E_CONFLICT, "The backup epoch %" PRIu32 " is being ended; that goes on by itself.", number);
	op_det_number(op, "epoch", number);
	op_det_guid(op, "backup_key", e.obj);
	op_det_text(op, "reason", reason);
	KMS_TRY(require_for_end(op, &e, reason, err));
	if (e.closed_s == STORE_NO_TIME)
		KMS_TRY(begin_own(op->kms, op->store, err));
	return end_closed(op, &e, err);
}

static kms_status end_own(struct kms *kms, struct store *store, const struct store_epoch *e, struct kms_err *err)
{
	struct op *op = NULL;
	bool is_under_way = false;
	kms_status status = KMS_OK;

	KMS_TRY(is_ending(store, e, &is_under_way, err));
	if (is_under_way)
		return KMS_OK;
	op = op_new_own(kms, store, EVENT_BACKUP_EPOCH_END, err);
	if (op == NULL)
		return KMS_E_NOMEM;
	op_det_number(op, "epoch", e->number);
	op_det_guid(op, "backup_key", e->obj);
	op_det_text(op, "reason", "its time has passed");
	status = op_finish_own(op, end_closed(op, e, err), err);
	op_free_own(op);
	return status;
}

/* ---- housekeeping ---- */

static kms_status begin_when_due(struct kms *kms, struct store *store, struct kms_err *err)
{
	struct store_epoch newest = { 0 };

	KMS_TRY(epoch_newest(store, &newest, err));
	if (clock_wall_s(kms->clock) < newest.created_s + policy(kms)->epoch_days * DAY_S)
		return KMS_OK;
	return begin_own(kms, store, err);
}

kms_status epochs_turn(struct kms *kms, struct store *store, struct kms_err *err)
{
	struct store_epoch page[EPOCHS_PAGE];
	size_t count = 0;
	uint32_t below = 0;
	int64_t now_s = clock_wall_s(kms->clock);

	KMS_TRY(begin_when_due(kms, store, err));
	do {
		KMS_TRY(store_epochs(store, below, page, EPOCHS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			below = page[i].number;
			if (!has_ended(&page[i]) && page[i].closed_s != STORE_NO_TIME && now_s >= epoch_until(kms, &page[i]))
				KMS_TRY(end_own(kms, store, &page[i], err));
		}
	} while (count == EPOCHS_PAGE && below > 1);
	return KMS_OK;
}

/* ---- what outlives a destruction ---- */

struct copies {
	const struct kms *kms;
	struct store *store;
	struct backup_copy *ret;
	size_t cap, count, total;
	int64_t until_s;
	struct store_epoch epoch; /* the one that was looked up last; number 0 = none */
};

static kms_status until_of(struct copies *c, uint32_t number, int64_t *ret_s, struct kms_err *err)
{
	if (c->epoch.number != number) {
		kms_status status = epoch_numbered(c->store, number, &c->epoch, NULL);
		if (status != KMS_OK)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "a backup names the epoch %" PRIu32 ", which is not there", number);
	}
	*ret_s = epoch_until(c->kms, &c->epoch);
	return KMS_OK;
}

static bool goes_before(const struct backup_copy *a, const struct backup_copy *b)
{
	return a->until_s != b->until_s ? a->until_s > b->until_s : a->backup.made_s > b->backup.made_s;
}

/* Kept in order; of more than there is room for, the first to end falls out. */
static kms_status add_copy(struct copies *c, const struct store_backup *b, struct kms_err *err)
{
	struct backup_copy made = { .backup = *b };
	size_t at = 0;

	if (b->ends_s != STORE_NO_TIME)
		return KMS_OK;
	KMS_TRY(until_of(c, b->epoch, &made.until_s, err));
	c->total++;
	if (c->until_s == STORE_NO_TIME || made.until_s > c->until_s)
		c->until_s = made.until_s;
	while (at < c->count && !goes_before(&made, &c->ret[at]))
		at++;
	if (at == c->cap)
		return KMS_OK;
	if (c->count < c->cap)
		c->count++;
	memmove(&c->ret[at + 1], &c->ret[at], (c->count - 1 - at) * sizeof(c->ret[0]));
	c->ret[at] = made;
	return KMS_OK;
}

/* Also those whose file was removed here: that they were not copied elsewhere before nobody knows. */
static kms_status add_all(struct copies *c, enum store_backup_kind kind, const uint8_t *vault_id, int64_t since_s, uint64_t since_seq, struct kms_err *err)
{
	struct store_backup page[BACKUPS_PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_backups(c->store, kind, vault_id, cursor, page, BACKUPS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			if (page[i].made_s >= since_s || page[i].size > since_seq)
				KMS_TRY(add_copy(c, &page[i], err));
		if (count > 0)
			memcpy(after, page[count - 1].id, STORE_ID_LEN);
		cursor = after;
	} while (count == BACKUPS_PAGE);
	return KMS_OK;
}

/* The newest of each epoch that lives: as many as epochs, at most. A name may have been another key's before: better one too many. */
static kms_status add_of_key(struct copies *c, const uint8_t vault_id[STORE_ID_LEN], const char *key_name, struct kms_err *err)
{
	const size_t cap = 1024; /* epochs that can live at a time: 366 by schedule, and those that were begun by hand */
	struct store_backup *all = calloc(cap, sizeof(*all));
	size_t count = 0;
	kms_status status = KMS_OK;

	if (all == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "backups of a key");
	status = store_backups_of_key(c->store, vault_id, key_name, all, cap, &count, err);
	for (size_t i = 0; i < count && status == KMS_OK; i++)
		status = add_copy(c, &all[i], err);
	free(all);
	return status;
}

kms_status copies_find(const struct kms *kms, struct store *store, const uint8_t vault_id[STORE_ID_LEN], const char *key_name, int64_t created_s,
                       uint64_t created_seq, struct backup_copy *ret, size_t cap, size_t *ret_count, size_t *ret_total, int64_t *ret_until, struct kms_err *err)
{
	struct copies c = { .kms = kms, .store = store, .ret = ret, .cap = cap, .until_s = STORE_NO_TIME };

	if (created_seq == STORE_NO_SEQ) { /* made in a log that was closed, or by an older version: its time alone is a clock's word */
		created_s = 0;
		created_seq = 0;
	}
	if (key_name != NULL)
		KMS_TRY(add_of_key(&c, vault_id, key_name, err));
	else
		KMS_TRY(add_all(&c, STORE_BACKUP_KEY, vault_id, INT64_MIN, 0, err));
	KMS_TRY(add_all(&c, STORE_BACKUP_SERVER, NULL, created_s, created_seq, err));
	*ret_count = c.count;
	*ret_total = c.total;
	*ret_until = c.until_s;
	return KMS_OK;
}
