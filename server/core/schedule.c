/*
 * server/core/schedule.c - one turn of the scheduler: which keys are due, and doing it. What is due of a key is decided in schedule_decide.c.
 * Exactly once: what is done about a version, and the note that it was done (store_due), are one unit of the writer, under the fence of vault, key and version. A rotation
 * notes its attempt with its intent, and its success with its outcome; both notes hold only for the key as it was when it was decided.
 */
#include "server/core/schedule.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/keyring_parts.h"

#define TURN_US 250000
#define BOOKS 32
#define ROTATIONS_TRIED 32 /* in one turn, which ends with the first that has begun */
#define REVIEW_PAGE 64
#define META_CLOCK "schedule_clock"
#define META_CLOCK_LEN 9 /* seconds, big endian; 1 = a review is under way */

/* A note without a leaf: when to look again. Many are written at once, so that they cost one commit together. */
struct book {
	struct write unit; /* first */
	struct store_change change;
	struct turn *turn;
};

struct turn {
	struct schedule *s;
	struct kms *kms;
	struct store *store;
	struct schedule_count *count;
	int64_t now_s, end_us;
	size_t looks;
	bool rotates;   /* keys may be made now; else what is only told is told */
	bool is_over;   /* a key was made, or cannot be made now */
	bool is_stuck;  /* the device is gone: the next key would fail as well */
	bool has_moved; /* something was written: it pays to go on at once */
	struct op op;   /* of the key that is looked at */
	struct store_due due[STORE_PAGE_MAX];
	struct book books[BOOKS];
	size_t book_count;
	pthread_mutex_t lock; /* guards unwritten; taken by the writer's thread too, which holds nothing then */
	pthread_cond_t written;
	size_t unwritten;
};

static bool is_stopping(const struct turn *t) { return t->kms->is_stopping != NULL && atomic_load(t->kms->is_stopping); }

static bool is_over(const struct turn *t)
{
	return t->is_over || t->looks >= STORE_PAGE_MAX || clock_mono_us(t->kms->clock) >= t->end_us || is_stopping(t);
}

/* Changed, gone or locked since it was listed. What is due of it then is decided anew. */
static bool is_passed_over(kms_status status)
{
	return status == KMS_E_FENCED || status == KMS_E_NOTFOUND || status == KMS_E_KEY_NOTFOUND || status == KMS_E_VAULT_SHREDDED || status == KMS_E_VAULT_LOCKED;
}

static bool ends_turn(kms_status status)
{
	return status == KMS_E_AUDIT || status == KMS_E_THROTTLED || status == KMS_E_SHUTDOWN || status == KMS_E_NOMEM;
}

/* ---- notes ---- */

static void note_written(struct write *w)
{
	struct turn *t = ((struct book *)w)->turn;

	pthread_mutex_lock(&t->lock);
	t->unwritten--;
	pthread_cond_signal(&t->written);
	pthread_mutex_unlock(&t->lock);
}

/* One that is fenced is no failure: somebody has changed the key, so it is looked at again anyway. */
static kms_status write_books(struct turn *t, struct kms_err *err)
{
	kms_status failed = KMS_OK;
	size_t taken = 0;

	for (; taken < t->book_count && failed == KMS_OK; taken += failed == KMS_OK) {
		pthread_mutex_lock(&t->lock);
		t->unwritten++;
		pthread_mutex_unlock(&t->lock);
		failed = writer_submit(t->kms->writer, &t->books[taken].unit);
		if (failed != KMS_OK)
			note_written(&t->books[taken].unit);
	}
	pthread_mutex_lock(&t->lock);
	while (t->unwritten > 0)
		pthread_cond_wait(&t->written, &t->lock);
	pthread_mutex_unlock(&t->lock);
	for (size_t i = 0; i < taken; i++) {
		kms_status status = t->books[i].unit.status;
		t->has_moved |= status == KMS_OK;
		if (failed == KMS_OK && status != KMS_OK && !is_passed_over(status))
			failed = status;
	}
	t->book_count = 0;
	return failed == KMS_OK ? KMS_OK : kms_fail(err, failed, KMS_SRC_SELF, 0, "when keys are due");
}

/* @param fence  NULL = the note holds for any version of the key */
static kms_status book(struct turn *t, const struct store_due *due, const struct store_fence *fence, struct kms_err *err)
{
	struct book *b = NULL;

	if (t->book_count == BOOKS)
		KMS_TRY(write_books(t, err));
	b = &t->books[t->book_count++];
	memset(b, 0, sizeof(*b));
	b->turn = t;
	b->change.kind = STORE_DUE_SET;
	b->change.due = *due;
	b->unit.changes = &b->change;
	b->unit.change_count = 1;
	b->unit.done = note_written;
	if (fence != NULL) {
		b->unit.has_fence = true;
		b->unit.fence = *fence;
	}
	return KMS_OK;
}

/* It counts as one more failure, and the key makes room for the others. */
static void put_off(struct turn *t, struct store_due *due)
{
	due->attempts += due->attempts < UINT32_MAX;
	due->at_s = t->now_s + schedule_retry_s(due->attempts);
}

static void note_failure(struct turn *t, const struct kms_err *why)
{
	t->count->failed++;
	t->count->last_failure = *why;
}

/* ---- one key ---- */

/* t->op: the key as it was when it was found to be due, its newest version, and the fence of both. */
static kms_status open_key(struct turn *t, const struct store_due *due, struct kms_err *err)
{
	struct op *op = &t->op;
	struct store_key key = { 0 };
	kms_status status = KMS_OK;

	op_clear(op);
	KMS_TRY(store_key_by_id(t->store, due->key_id, &key, err));
	if (key.epoch != due->key_epoch)
		return KMS_E_FENCED;
	KMS_TRY(op_open_system(op, key.vault_id, EVENT_KEY_ROTATE, err));
	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(op_need_unlocked_vault(op, err));
	op->key = key;
	memcpy(op->write.fence.key_id, key.id, STORE_ID_LEN);
	op->write.fence.key_epoch = key.epoch;
	keyring_note_key(op);
	status = keyring_load_version(op, NULL, false, err);
	return status == KMS_E_KEY_NOTFOUND ? KMS_E_STORE : status;
}

/* A leaf about the newest version, with the note that it was written. */
static kms_status tell(struct turn *t, enum event_type type, const struct store_due *due, struct kms_err *err)
{
	struct event_det det = { .name = "exp", .is_number = true, .number = t->op.version.exp_s };
	struct store_change change = { .kind = STORE_DUE_SET, .due = *due };
	struct write unit = { .event = t->op.write.event, .has_fence = true, .fence = t->op.write.fence, .changes = &change, .change_count = 1 };
	kms_status status = KMS_OK;

	unit.event.type = type;
	unit.event.det = &det;
	unit.event.det_count = 1;
	status = writer_write(t->kms->writer, &unit);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "%s was not written", event_type_name(type));
	t->has_moved = true;
	return KMS_OK;
}

/* Before it has begun there is no intent whose outcome could say so. */
static kms_status tell_failure(struct turn *t, const struct store_due *attempt, kms_status why, struct kms_err *err)
{
	struct store_change change = { .kind = STORE_DUE_SET, .due = *attempt };
	struct write unit = { .event = t->op.write.event, .changes = &change, .change_count = 1 };
	kms_status status = KMS_OK;

	unit.event.result = EVENT_FAILED;
	unit.event.err = kms_status_inner(why) != NULL ? kms_status_inner(why) : kms_status_code(why);
	unit.event.key_version[0] = '\0'; /* of one that was not made */
	unit.event.has_obj = false;
	status = writer_write(t->kms->writer, &unit);
	if (status != KMS_OK && !is_passed_over(status))
		return kms_fail(err, status, KMS_SRC_SELF, 0, "a failed rotation was not written");
	t->has_moved |= status == KMS_OK;
	return KMS_OK;
}

/* The notes of a rotation. The attempt takes effect with the intent, so that what ends without a trace, by a crash of the device's module at the worst, is not repeated
 * without pause; success with the outcome, and before the new version, which makes the key another one. */
static kms_status add_notes(struct turn *t, const struct store_due *due, const struct store_due *attempt, struct kms_err *err)
{
	struct store_change *with_intent = op_with_intent(&t->op), *with_outcome = NULL;

	if (with_intent == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "operation");
	with_intent->kind = STORE_DUE_SET;
	with_intent->due = *attempt;
	with_outcome = op_change(&t->op, STORE_DUE_SET);
	with_outcome->due = *due;
	with_outcome->due.attempts = 0;
	return KMS_OK;
}

/* As a caller's rotation. */
static kms_status rotate(struct turn *t, const struct store_due *due, struct kms_err *err)
{
	struct op *op = &t->op;
	const struct store_key key = op->key;
	struct store_due attempt = *due;
	struct kms_err own = { 0 };
	kms_status status = KMS_OK;
	bool had_begun = false;

	op_clear(op);
	KMS_TRY(op_open_system(op, key.vault_id, EVENT_KEY_ROTATE, err));
	KMS_TRY(op_need_unlocked_vault(op, err));
	put_off(t, &attempt);
	op_det_number(op, "due", 1);
	KMS_TRY(add_notes(t, due, &attempt, err));
	status = keyring_rotate(op, key.name, &own);
	had_begun = op->has_intent;
	status = op_finish_own(op, status, &own);
	t->has_moved |= had_begun;
	t->is_over |= had_begun;
	t->count->rotated += status == KMS_OK;
	if (status == KMS_OK || is_passed_over(status))
		return status;
	if (!had_begun && ends_turn(status))
		return kms_fail(err, status, KMS_SRC_SELF, 0, "%s", own.detail);
	note_failure(t, &own);
	t->is_stuck |= status == KMS_E_DEVICE;
	return had_begun ? KMS_OK : tell_failure(t, &attempt, status, err);
}

/* All that is due of one key, in the order of time. */
static kms_status act(struct turn *t, const struct schedule_plan *plan, const struct store_due *found, struct kms_err *err)
{
	const struct store_version *v = &t->op.version;
	struct store_due due = *found;

	if (plan->counts_anew) {
		memcpy(due.base_version, v->id, STORE_ID_LEN);
		due.base_s = t->now_s;
	}
	due.at_s = t->now_s; /* as long as there is more to do */
	if (plan->tells_near) {
		memcpy(due.near_version, v->id, STORE_ID_LEN);
		due.near_exp_s = v->exp_s;
		if (!plan->tells_expired && !plan->rotates)
			due.at_s = plan->next_s;
		KMS_TRY(tell(t, EVENT_KEY_NEAR_EXPIRY, &due, err));
		t->count->near_expiry++;
	}
	if (plan->tells_expired) {
		memcpy(due.expired_version, v->id, STORE_ID_LEN);
		due.expired_exp_s = v->exp_s;
		if (!plan->rotates)
			due.at_s = plan->next_s;
		KMS_TRY(tell(t, EVENT_KEY_EXPIRE, &due, err));
		t->count->expired++;
	}
	if (plan->rotates)
		return t->rotates ? rotate(t, &due, err) : KMS_OK;
	if (plan->tells_near || plan->tells_expired || (plan->next_s == found->at_s && !plan->counts_anew))
		return KMS_OK;
	due.at_s = plan->next_s;
	due.attempts = 0;
	return book(t, &due, &t->op.write.fence, err);
}

/* @return KMS_OK, also when the key was put off; else nothing more can be done in this turn */
static kms_status look(struct turn *t, const struct store_due *found, struct kms_err *err)
{
	struct store_policy policy = { 0 };
	struct schedule_plan plan = { 0 };
	struct store_due due = *found;
	struct kms_err own = { 0 };
	kms_status status = open_key(t, found, &own);

	t->looks++;
	if (status == KMS_OK)
		status = keyring_policy(t->store, &t->op.key, &policy, &own);
	if (status == KMS_OK)
		status = schedule_decide(&policy, &t->op.version, found, t->now_s, &plan, &own);
	if (status == KMS_OK)
		status = act(t, &plan, found, &own);
	if (status == KMS_OK || is_passed_over(status))
		return KMS_OK;
	if (ends_turn(status)) {
		*err = own;
		return status;
	}
	note_failure(t, &own);
	put_off(t, &due);
	return book(t, &due, NULL, err);
}

/* ---- the clock that was set back ---- */

static kms_status load_clock(struct turn *t, struct kms_err *err)
{
	struct schedule *s = t->s;
	struct store_meta m = { 0 };
	kms_status status = store_meta(t->store, META_CLOCK, &m, NULL);
	uint64_t seen = 0;

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "record %s", META_CLOCK);
	s->is_loaded = true;
	s->seen_s = t->now_s;
	if (status == KMS_E_NOTFOUND || m.value_len != META_CLOCK_LEN)
		return KMS_OK;
	for (size_t i = 0; i < sizeof(seen); i++)
		seen = seen << 8 | m.value[i];
	s->seen_s = s->kept_s = (int64_t)(seen & INT64_MAX);
	s->reviews = m.value[sizeof(seen)] != 0;
	return KMS_OK;
}

static kms_status keep_clock(struct turn *t, struct kms_err *err)
{
	struct store_change change = { .kind = STORE_META_PUT, .meta = { .name = META_CLOCK, .value_len = META_CLOCK_LEN } };
	struct write unit = { .changes = &change, .change_count = 1 };
	kms_status status = KMS_OK;

	for (size_t i = 0; i < sizeof(uint64_t); i++)
		change.meta.value[i] = (uint8_t)((uint64_t)t->now_s >> (56 - 8 * i));
	change.meta.value[sizeof(uint64_t)] = t->s->reviews;
	status = writer_write(t->kms->writer, &unit);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "record %s", META_CLOCK);
	t->s->kept_s = t->now_s;
	return KMS_OK;
}

/* Once an hour it is kept, so that a server that was restarted meanwhile notices too. */
static kms_status watch_clock(struct turn *t, struct kms_err *err)
{
	struct schedule *s = t->s;
	bool is_back = false;

	if (!s->is_loaded)
		KMS_TRY(load_clock(t, err));
	is_back = t->now_s < s->seen_s - SCHEDULE_CLOCK_SLACK_S;
	s->seen_s = t->now_s;
	if (is_back) {
		s->reviews = true;
		s->has_vault = false;
		s->vault[0] = '\0';
	}
	return is_back || s->kept_s == 0 || t->now_s >= s->kept_s + SCHEDULE_CLOCK_SLACK_S ? keep_clock(t, err) : KMS_OK;
}

/* One that waits for a moment to come. In a locked vault it is looked at when that is unlocked. */
static kms_status review_key(struct turn *t, const struct store_key *key, struct kms_err *err)
{
	struct store_due due = { 0 };
	kms_status status = store_due_of(t->store, key->id, &due, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "when a key is due");
	if (due.at_s <= t->now_s || (due.attempts > 0 && due.at_s <= t->now_s + SCHEDULE_AGAIN_S))
		return KMS_OK; /* it has its turn anyway */
	if (!t->s->current.is_locked)
		return look(t, &due, err);
	t->looks++;
	due.at_s = 0;
	return book(t, &due, NULL, err);
}

static kms_status next_vault(struct turn *t, struct kms_err *err)
{
	struct schedule *s = t->s;
	size_t count = 0;

	KMS_TRY(store_vaults(t->store, s->vault[0] != '\0' ? s->vault : NULL, &s->current, 1, &count, err));
	s->has_vault = count == 1;
	s->key[0] = '\0';
	if (s->has_vault) {
		memcpy(s->vault, s->current.name, sizeof(s->vault));
		return KMS_OK;
	}
	s->reviews = false;
	s->vault[0] = '\0';
	return keep_clock(t, err);
}

static kms_status review_page(struct turn *t, struct kms_err *err)
{
	struct schedule *s = t->s;
	struct store_key keys[REVIEW_PAGE];
	size_t count = 0, i = 0;

	if (s->current.state == STORE_VAULT_ACTIVE)
		KMS_TRY(store_keys(t->store, s->current.id, false, s->key[0] != '\0' ? s->key : NULL, keys, REVIEW_PAGE, &count, err));
	for (; i < count && !is_over(t); i++) {
		KMS_TRY(review_key(t, &keys[i], err));
		memcpy(s->key, keys[i].name, sizeof(s->key));
	}
	s->has_vault = i < count || count == REVIEW_PAGE;
	return KMS_OK;
}

static kms_status review(struct turn *t, struct kms_err *err)
{
	t->rotates = true;
	while (t->s->reviews && !is_over(t)) {
		if (!t->s->has_vault)
			KMS_TRY(next_vault(t, err));
		else
			KMS_TRY(review_page(t, err));
	}
	return write_books(t, err);
}

/* ---- a turn ---- */

/* Whatever is due but the making of keys, of many vaults: it waits for no device. */
static kms_status tell_due(struct turn *t, size_t *ret_count, struct kms_err *err)
{
	struct schedule *s = t->s;

	KMS_TRY(store_due(t->store, t->now_s, s->told_vault, t->due, STORE_PAGE_MAX, ret_count, err));
	for (size_t i = 0; i < *ret_count && !is_over(t); i++) {
		KMS_TRY(look(t, &t->due[i], err));
		memcpy(s->told_vault, t->due[i].vault_id, STORE_ID_LEN);
	}
	return write_books(t, err);
}

/* One key, of the next vault that has one to rotate: the first is tried in any case, however long it took to tell the rest. */
static kms_status rotate_due(struct turn *t, struct kms_err *err)
{
	struct schedule *s = t->s;
	size_t count = 0;

	t->rotates = true;
	KMS_TRY(store_due(t->store, t->now_s, s->rotated_vault, t->due, ROTATIONS_TRIED, &count, err));
	for (size_t i = 0; i < count && (i == 0 || !is_over(t)); i++) {
		memcpy(s->rotated_vault, t->due[i].vault_id, STORE_ID_LEN);
		KMS_TRY(look(t, &t->due[i], err));
	}
	return write_books(t, err);
}

static kms_status run_due(struct turn *t, struct kms_err *err)
{
	size_t count = 0;

	KMS_TRY(tell_due(t, &count, err));
	if (count == 0 || is_stopping(t))
		return KMS_OK;
	t->looks = 0;
	return rotate_due(t, err);
}

static kms_status run(struct turn *t, struct kms_err *err)
{
	KMS_TRY(watch_clock(t, err));
	KMS_TRY(run_due(t, err));
	KMS_TRY(review(t, err));
	/* Without progress the next turn would find the same. */
	t->count->has_more = !t->is_stuck && (t->s->reviews || t->has_moved);
	return KMS_OK;
}

kms_status schedule_run(struct schedule *s, struct kms *kms, struct store *store, struct schedule_count *ret_count, struct kms_err *err)
{
	struct turn *t = calloc(1, sizeof(*t));
	struct kms_err unwritten = { 0 };
	kms_status status = KMS_OK;

	*ret_count = (struct schedule_count){ 0 };
	if (t == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "turn of the scheduler");
	t->s = s;
	t->kms = kms;
	t->store = store;
	t->count = ret_count;
	t->now_s = clock_wall_s(kms->clock);
	t->end_us = clock_mono_us(kms->clock) + TURN_US;
	t->op.kms = kms;
	t->op.store = store;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->written, NULL);
	status = run(t, err);
	if (status != KMS_OK) {
		ret_count->has_more = false;
		kms_ignore(write_books(t, &unwritten)); /* they are decided anew */
	}
	op_clear(&t->op);
	pthread_cond_destroy(&t->written);
	pthread_mutex_destroy(&t->lock);
	free(t);
	return status;
}
