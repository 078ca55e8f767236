/*
 * server/core/log_check.c - before anything is served: is this the database that was last signed? What the device remembers (pins), what the database says of itself
 * (checkpoints, what was pinned) and what the tree says must agree (spec/audit-log.md 5.5). Reads O(log n) nodes, never the leaves.
 */
#include "server/core/checkpoint_parts.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/log_accept.h"
#include "server/core/restored.h"

#define CLOSED_MAX 64
#define CHANGES_MAX (HSM_PINS_MAX + 3 + RESTORED_STAND_IN_CHANGES)

/* All that is known; for one check, on the heap. */
struct facts {
	char origin[STORE_ORIGIN_MAX + 1];
	uint64_t size;
	struct hsm_pin pins[HSM_PINS_MAX];
	size_t pin_count;
	struct store_closed_log closed[CLOSED_MAX];
	size_t closed_count;
	struct log_pinned pinned;
	struct store_signed last; /* size 0 = none */
};

static void facts_free(struct facts **f)
{
	if (*f != NULL)
		store_signed_clear(&(*f)->last);
	free(*f);
}

static kms_status read_origin(struct store *store, char ret[STORE_ORIGIN_MAX + 1], struct kms_err *err)
{
	struct store_meta m = { 0 };

	if (store_meta(store, LOG_META_ORIGIN, &m, NULL) != KMS_OK || m.value_len == 0 || m.value_len > STORE_ORIGIN_MAX)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the record %s is missing or damaged", LOG_META_ORIGIN);
	memcpy(ret, m.value, m.value_len);
	ret[m.value_len] = '\0';
	return KMS_OK;
}

static kms_status gather(struct store *store, struct hsm *hsm, const struct installation *inst, struct facts *f, struct kms_err *err)
{
	kms_status status;

	KMS_TRY(read_origin(store, f->origin, err));
	KMS_TRY(store_event_count(store, &f->size, err));
	KMS_TRY(store_closed_logs(store, f->closed, CLOSED_MAX, &f->closed_count, err));
	KMS_TRY(log_pinned_read(store, &f->pinned, err));
	status = store_checkpoint_last(store, &f->last, NULL);
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "the newest checkpoint");
	return hsm_pins(hsm, inst->directory, f->pins, HSM_PINS_MAX, &f->pin_count, err);
}

static bool is_closed(const struct facts *f, const char *origin)
{
	for (size_t i = 0; i < f->closed_count; i++) {
		if (strcmp(f->closed[i].origin, origin) == 0)
			return true;
	}
	return false;
}

/* Each origin leads to one other: this is the order in which they are used. */
static bool follows(const char *from, const char *origin)
{
	char at[STORE_ORIGIN_MAX + 1], next[STORE_ORIGIN_MAX + 1];

	(void)snprintf(at, sizeof(at), "%s", from);
	for (size_t tries = 0; tries <= HSM_PINS_MAX + CLOSED_MAX && log_next_origin(at, next); tries++) {
		if (strcmp(next, origin) == 0)
			return true;
		memcpy(at, next, sizeof(at));
	}
	return false;
}

/* Of a log that began after this database was copied, also if somebody wrote into the copy that it is closed. */
static bool is_stranger(const struct facts *f, const struct hsm_pin *p)
{
	return strcmp(p->origin, f->origin) != 0 && (!is_closed(f, p->origin) || follows(f->origin, p->origin));
}

static const struct hsm_pin *own_pin(const struct facts *f)
{
	for (size_t i = 0; i < f->pin_count; i++) {
		if (strcmp(f->pins[i].origin, f->origin) == 0)
			return &f->pins[i];
	}
	return NULL;
}

/* Does the tree of this size have this root? Larger than the log: no. */
static kms_status has_root(struct store *store, const struct facts *f, uint64_t size, const uint8_t root[MERKLE_HASH_LEN], bool *ret, struct kms_err *err)
{
	uint8_t found[MERKLE_HASH_LEN] = { 0 };
	struct kms_err why = { 0 };
	kms_status status = KMS_E_NOTFOUND;

	if (size <= f->size)
		status = merkle_root_at(size, log_get_node, store, found, &why);
	*ret = status == KMS_OK && memcmp(found, root, sizeof(found)) == 0; /* allowed: public */
	if (status == KMS_OK || status == KMS_E_NOTFOUND)
		return KMS_OK;
	*err = why;
	return status;
}

/* The first reason is what people read; the largest size is what is known. */
__attribute__((format(printf, 5, 6))) static void roll_back(struct log_verdict *v, const char *origin, uint64_t size, const uint8_t *root, const char *fmt, ...)
{
	va_list args;

	if (root != NULL && (!v->has_known || (origin[0] == '\0' && v->known_origin[0] == '\0' && size > v->known_size))) {
		v->has_known = true;
		v->known_size = size;
		memcpy(v->known_root, root, MERKLE_HASH_LEN);
		(void)snprintf(v->known_origin, sizeof(v->known_origin), "%s", origin);
	}
	if (v->state != LOG_GOOD)
		return;
	v->state = LOG_ROLLED_BACK;
	va_start(args, fmt);
	(void)vsnprintf(v->why, sizeof(v->why), fmt, args);
	va_end(args);
}

static void check_strangers(const struct facts *f, struct log_verdict *v)
{
	for (size_t i = 0; i < f->pin_count; i++) {
		const struct hsm_pin *p = &f->pins[i];
		if (is_stranger(f, p))
			roll_back(v, p->origin, p->size, p->root, "the device has a pin of the log %.100s, which this database does not know: it is an older copy", p->origin);
	}
}

static kms_status check_pin(struct store *store, const struct facts *f, struct log_verdict *v, struct kms_err *err)
{
	const struct hsm_pin *p = own_pin(f);
	bool agrees = false;

	if (p == NULL && f->pinned.size > 0) {
		roll_back(v, "", f->pinned.size, f->pinned.root,
		          "a checkpoint of %" PRIu64 " leaves was pinned, and the device has no pin of this log: it is another token or an older copy of it",
		          f->pinned.size);
		return KMS_OK;
	}
	/* Each log that follows another has a pin before it has a leaf. */
	if (p == NULL && f->pin_count > 0)
		roll_back(v, "", 0, NULL, "the device has pins of this installation, but none of the log %.100s: the database was altered", f->origin);
	if (p == NULL)
		return KMS_OK;
	KMS_TRY(has_root(store, f, p->size, p->root, &agrees, err));
	if (!agrees && p->size > f->size)
		roll_back(v, "", p->size, p->root, "the device has a pin of %" PRIu64 " leaves, and this database has %" PRIu64 ": it is an older copy", p->size, f->size);
	else if (!agrees)
		roll_back(v, "", p->size, p->root, "the first %" PRIu64 " leaves are not those that were pinned in the device: the log was altered", p->size);
	if (p->size < f->pinned.size)
		roll_back(v, "", f->pinned.size, f->pinned.root, "the device's pin is of %" PRIu64 " leaves, but one of %" PRIu64 " was made: the token is an older copy", p->size,
		          f->pinned.size);
	return KMS_OK;
}

/* Is the newest checkpoint what it says, signed by the key that was in force? The public half is the device's: what the database says may have been written by
 * whoever wrote the checkpoint. */
static kms_status is_signed(struct store *store, struct hsm *hsm, const struct facts *f, bool *ret, struct kms_err *err)
{
	struct log_signer signers[LOG_SIGNERS_MAX];
	struct checkpoint_text text;
	struct hsm_public pub = { 0 };
	struct note_key key;
	struct kms_err why = { 0 };
	size_t count = 0, text_len = 0, len = strlen(f->last.note);
	kms_status status;

	*ret = false;
	KMS_TRY(log_signers(store, f->origin, f->last.size, f->last.size, signers, &count, err));
	status = hsm_key_public(hsm, &signers[0].key, &pub, &why);
	if (status == KMS_E_NOTFOUND)
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the log key %.100s is not on the token: this is another token than the database belongs to",
		                signers[0].note.name);
	if (status != KMS_OK) {
		*err = why;
		return status;
	}
	if (!checkpoint_parse(f->last.note, len, &text, &text_len) || strcmp(text.origin, f->origin) != 0 || text.size != f->last.size ||
	    memcmp(text.root, f->last.root, sizeof(text.root)) != 0) /* allowed: public */
		return KMS_OK;
	*ret = log_note_key(f->origin, signers[0].key.kind, &pub, &key) && note_verify(f->last.note, len, &key, NULL, NULL) == KMS_OK;
	return KMS_OK;
}

static kms_status check_last(struct store *store, struct hsm *hsm, const struct facts *f, struct log_verdict *v, struct kms_err *err)
{
	const struct hsm_pin *p = own_pin(f);
	bool agrees = false, is_ours = false;

	/* It was stored before it was pinned. Without it no witness could be asked before the next signature. */
	if (p != NULL && p->size > f->last.size)
		roll_back(v, "", p->size, p->root, "the device has a pin of %" PRIu64 " leaves, and the newest checkpoint in the database is of %" PRIu64 ": it was altered",
		          p->size, f->last.size);
	if (f->last.size == 0)
		return KMS_OK;
	KMS_TRY(has_root(store, f, f->last.size, f->last.root, &agrees, err));
	KMS_TRY(is_signed(store, hsm, f, &is_ours, err));
	if (!is_ours)
		roll_back(v, "", 0, NULL, "the newest checkpoint in the database is not signed by the log key: the database was altered");
	else if (!agrees)
		roll_back(v, "", f->last.size, f->last.root, "the database has a signed checkpoint of %" PRIu64 " leaves, but not these leaves: it was altered or cut off",
		          f->last.size);
	return KMS_OK;
}

static void changes_free(struct store_change **c) { free(*c); }

static bool is_used(const struct facts *f, const char *origin)
{
	for (size_t i = 0; i < f->pin_count; i++) {
		if (strcmp(f->pins[i].origin, origin) == 0)
			return true;
	}
	return strcmp(origin, f->origin) == 0 || is_closed(f, origin);
}

/* The first origin in line that nobody has used. */
static kms_status choose_next(const struct facts *f, char ret[STORE_ORIGIN_MAX + 1], struct kms_err *err)
{
	char from[STORE_ORIGIN_MAX + 1], next[STORE_ORIGIN_MAX + 1];

	(void)snprintf(from, sizeof(from), "%s", f->origin);
	for (size_t tries = 0; tries <= HSM_PINS_MAX + CLOSED_MAX; tries++) {
		if (!log_next_origin(from, next))
			return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "no origin can follow %.100s: it would be too long", f->origin);
		if (!is_used(f, next)) {
			memcpy(ret, next, sizeof(next));
			return KMS_OK;
		}
		memcpy(from, next, sizeof(next));
	}
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "no origin is left to follow %.100s", f->origin);
}

static struct store_log_close *add_close(struct store_change *changes, size_t *count, const char *origin, const struct log_acceptance *a, const struct clock *clock)
{
	struct store_log_close *c = &changes[*count].log_close;

	/* The one before leads here. */
	if (*count > 0)
		memcpy(changes[*count - 1].log_close.next_origin, origin, strlen(origin) + 1);
	changes[(*count)++].kind = STORE_LOG_CLOSE;
	(void)snprintf(c->closed.origin, sizeof(c->closed.origin), "%s", origin);
	c->closed.restored_size = a->size;
	c->closed.closed_s = clock_wall_s(clock);
	return c;
}

static void add_closes(const struct facts *f, const struct log_verdict *v, const struct log_acceptance *a, const struct clock *clock,
                       struct store_change *changes, size_t *count)
{
	struct store_log_close *c = add_close(changes, count, f->origin, a, clock);

	if (a->has_known && v->known_origin[0] == '\0') {
		c->closed.known_size = a->known_size;
		memcpy(c->closed.known_root, a->known_root, MERKLE_HASH_LEN);
	}
	/* Logs that this database never knew end here too, or their pins would be strangers for ever. The one that the verdict is about is the last. */
	for (int is_last = 0; is_last < 2; is_last++) {
		for (size_t i = 0; i < f->pin_count; i++) {
			const struct hsm_pin *p = &f->pins[i];
			if (!is_stranger(f, p) || is_closed(f, p->origin) || (strcmp(p->origin, v->known_origin) == 0) != (is_last == 1))
				continue;
			c = add_close(changes, count, p->origin, a, clock);
			c->closed.known_size = p->size;
			memcpy(c->closed.known_root, p->root, MERKLE_HASH_LEN);
		}
	}
}

/* Nothing is signed yet, but who brings back the database from before its first leaf, or invents a log of this name, has this against him. */
static kms_status pin_empty(struct hsm *hsm, const struct installation *inst, const char *origin, struct kms_err *err)
{
	struct hsm_pin p = { 0 };

	memcpy(p.owner, inst->directory, sizeof(p.owner));
	(void)snprintf(p.origin, sizeof(p.origin), "%s", origin);
	KMS_TRY(merkle_root_at(0, log_get_node, NULL, p.root, err));
	return hsm_pin(hsm, &p, err);
}

/* Close what was accepted and make room for the next log: in one transaction, after its pin. */
static kms_status begin_next(struct store *store, struct hsm *hsm, const struct installation *inst, const struct clock *clock, struct facts *f,
                             const struct log_verdict *v, const struct log_acceptance *a, struct kms_err *err)
{
	__attribute__((cleanup(changes_free))) struct store_change *changes = calloc(CHANGES_MAX, sizeof(*changes));
	struct log_pinned none = { 0 };
	struct store_log_key *key;
	char next[STORE_ORIGIN_MAX + 1];
	size_t count = 0;
	kms_status status;

	if (changes == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "closing the log");
	KMS_TRY(choose_next(f, next, err));
	add_closes(f, v, a, clock, changes, &count);
	memcpy(changes[count - 1].log_close.next_origin, next, strlen(next) + 1);
	changes[count].kind = STORE_META_PUT;
	log_pinned_encode(&none, &changes[count++].meta);
	changes[count].kind = STORE_LOG_KEY_ADD;
	key = &changes[count++].log_key;
	memcpy(key->obj, inst->log_key, STORE_ID_LEN);
	key->created_s = clock_wall_s(clock);
	if (!log_vkey_make(next, inst->log_kind, &inst->log_public, key->vkey))
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the public half of the log key is not one of its kind");
	KMS_TRY(restored_stand_in(store, clock, changes, &count, err));
	KMS_TRY(pin_empty(hsm, inst, next, err));
	KMS_TRY(store_begin(store, err));
	status = store_apply(store, changes, count, 0, err);
	if (status != KMS_OK) {
		store_rollback(store);
		return status;
	}
	KMS_TRY(store_commit(store, err));
	memcpy(f->origin, next, sizeof(next));
	return KMS_OK;
}

static kms_status judge(struct store *store, struct hsm *hsm, const struct facts *f, struct log_verdict *ret, struct kms_err *err)
{
	*ret = (struct log_verdict){ .state = LOG_GOOD, .size = f->size };
	check_strangers(f, ret);
	KMS_TRY(check_pin(store, f, ret, err));
	return check_last(store, hsm, f, ret, err);
}

/* Pinned, and then the power failed: the log that was about to begin. @return how many; more than one did not come about so */
static size_t find_begun(const struct facts *f, size_t *ret_at)
{
	size_t count = 0;

	for (size_t i = 0; i < f->pin_count; i++) {
		if (f->pins[i].size > 0 || !is_stranger(f, &f->pins[i]))
			continue;
		*ret_at = i;
		count++;
	}
	return count;
}

/* Without that pin: is it what was accepted, and is that the log which follows? Then it is as if the pin were not there yet. */
static kms_status resume(struct store *store, struct hsm *hsm, struct facts *f, const struct log_acceptance *a, struct log_verdict *v, bool *ret_holds,
                         struct kms_err *err)
{
	struct log_verdict without;
	struct hsm_pin begun;
	char next[STORE_ORIGIN_MAX + 1] = "";
	size_t at = 0;

	if (find_begun(f, &at) != 1)
		return KMS_OK;
	begun = f->pins[at];
	f->pins[at] = f->pins[--f->pin_count];
	KMS_TRY(judge(store, hsm, f, &without, err));
	KMS_TRY(log_acceptance_holds(store, a, f->origin, &without, ret_holds, err));
	if (*ret_holds)
		KMS_TRY(choose_next(f, next, err));
	*ret_holds = *ret_holds && strcmp(next, begun.origin) == 0;
	if (*ret_holds)
		*v = without;
	else
		f->pins[f->pin_count++] = begun;
	return KMS_OK;
}

kms_status log_check(struct store *store, struct hsm *hsm, const struct installation *inst, const struct clock *clock,
                     char ret_origin[STORE_ORIGIN_MAX + 1], struct log_verdict *ret_verdict, struct kms_err *err)
{
	__attribute__((cleanup(facts_free))) struct facts *f = calloc(1, sizeof(*f));
	struct log_verdict v;
	struct log_acceptance accepted;
	bool holds = false;
	kms_status status;

	if (f == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "checking the log");
	KMS_TRY(log_claim(hsm, inst, &inst->log_public, err));
	KMS_TRY(gather(store, hsm, inst, f, err));
	KMS_TRY(judge(store, hsm, f, &v, err));
	status = log_acceptance_take(store, hsm, inst, &accepted, err);
	if (status == KMS_OK) {
		KMS_TRY(log_acceptance_holds(store, &accepted, f->origin, &v, &holds, err));
		if (!holds)
			KMS_TRY(resume(store, hsm, f, &accepted, &v, &holds, err));
	} else if (status != KMS_E_NOTFOUND) {
		return status;
	}
	if (holds) {
		KMS_TRY(begin_next(store, hsm, inst, clock, f, &v, &accepted, err));
		v = (struct log_verdict){ .state = LOG_GOOD };
	}
	memcpy(ret_origin, f->origin, sizeof(f->origin));
	*ret_verdict = v;
	return KMS_OK;
}

kms_status log_vkey(struct store *store, const char *origin, char ret_vkey[NOTE_VKEY_MAX + 1], struct kms_err *err)
{
	struct log_signer signers[LOG_SIGNERS_MAX];
	size_t count = 0;

	KMS_TRY(log_signers(store, origin, STORE_SEQ_MAX, STORE_SEQ_MAX, signers, &count, err));
	note_vkey_format(&signers[0].note, ret_vkey);
	return KMS_OK;
}

/* The acceptance that closed a log: its size is what was restored, and it names a log that was closed. */
static bool is_acceptance_of(const struct log_acceptance *a, const struct store_closed_log *closed, size_t count)
{
	uint8_t hash[STORE_HASH_LEN];

	for (size_t i = 0; i < count; i++) {
		log_origin_hash(closed[i].origin, hash);
		if (closed[i].restored_size == a->size && memcmp(hash, a->origin_hash, sizeof(hash)) == 0) /* allowed: public */
			return true;
	}
	return false;
}

static void closed_free(struct store_closed_log **c) { free(*c); }

kms_status log_former(struct store *store, struct hsm *hsm, const struct installation *inst, struct log_former *ret, struct kms_err *err)
{
	__attribute__((cleanup(closed_free))) struct store_closed_log *closed = calloc(CLOSED_MAX, sizeof(*closed));
	struct log_acceptance a = { 0 };
	uint64_t size = 0;
	size_t count = 0;
	kms_status status;

	if (closed == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "closed logs");
	KMS_TRY(store_event_count(store, &size, err));
	KMS_TRY(store_closed_logs(store, closed, CLOSED_MAX, &count, err));
	if (size > 0 || count == 0)
		return KMS_E_NOTFOUND;
	status = log_acceptance_take(store, hsm, inst, &a, err);
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return status;
	/* What the first leaf says is what was agreed to, not what somebody wrote since. */
	if (status == KMS_E_NOTFOUND || !is_acceptance_of(&a, closed, count))
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the log %.100s was closed, and nobody has accepted that: the database was altered", closed[0].origin);
	memset(ret, 0, sizeof(*ret));
	ret->closed = closed[0];
	ret->writer = (struct writer_former){ .origin = ret->closed.origin, .known_size = a.known_size, .restored_size = a.size, .approvers = ret->approvers,
		                              .approver_count = a.approver_count };
	memcpy(ret->writer.known_root, a.known_root, MERKLE_HASH_LEN);
	memcpy(ret->approvers, a.approvers, sizeof(ret->approvers));
	return KMS_OK;
}
