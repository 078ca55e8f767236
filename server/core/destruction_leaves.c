/*
 * server/core/destruction_leaves.c - a leaf and a tombstone for each thing that died, with its blob erased in the same unit. Many are with the writer at a time, so that
 * a large vault takes seconds; few enough that other tenants' units come in between.
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/destruction_parts.h"
#include "server/core/public.h"

#define IN_FLIGHT_MAX 64

struct leaves;
struct leaf_unit {
	struct write write; /* first: done() is told its address */
	struct leaves *of;
	struct leaf_unit *next; /* in the list of those that are free */
	struct store_change changes[2];
	struct event_det det[2];
};

struct leaves {
	struct destruction *d;
	struct leaf_unit *units; /* IN_FLIGHT_MAX; owned */
	pthread_mutex_t lock;    /* guards all below; taken on the writer's thread, which holds none of its own then */
	pthread_cond_t changed;
	struct leaf_unit *free;
	size_t in_flight;
	kms_status failed; /* the first of those that came back */
};

static void give_back_locked(struct leaves *l, struct leaf_unit *u)
{
	u->next = l->free;
	l->free = u;
	l->in_flight--;
	pthread_cond_signal(&l->changed);
}

static void done(struct write *w)
{
	struct leaf_unit *u = (struct leaf_unit *)(void *)w;
	struct leaves *l = u->of;

	pthread_mutex_lock(&l->lock);
	if (l->failed == KMS_OK)
		l->failed = w->status;
	give_back_locked(l, u);
	pthread_mutex_unlock(&l->lock);
}

static kms_status why_failed(kms_status status, struct kms_err *err)
{
	if (status == KMS_OK)
		return KMS_OK;
	/* Another has written the tombstone meanwhile: the next attempt finds it. */
	return kms_fail(err, status == KMS_E_CONFLICT || status == KMS_E_THROTTLED ? KMS_E_BUSY : status, KMS_SRC_SELF, 0, "leaf of what was destroyed");
}

/* One that is free, zeroed. @return NULL: one of those before has failed */
static struct leaf_unit *take(struct leaves *l)
{
	struct leaf_unit *u = NULL;

	pthread_mutex_lock(&l->lock);
	while (l->free == NULL && l->failed == KMS_OK)
		pthread_cond_wait(&l->changed, &l->lock);
	if (l->failed == KMS_OK) {
		u = l->free;
		l->free = u->next;
		l->in_flight++;
	}
	pthread_mutex_unlock(&l->lock);
	if (u != NULL) {
		memset(u, 0, sizeof(*u));
		u->of = l;
		u->write.done = done;
	}
	return u;
}

/* The writer's queue may be full of others' units: wait for one of ours that is in it. @return false: there is none to wait for */
static bool wait_for_one(struct leaves *l)
{
	size_t before;

	pthread_mutex_lock(&l->lock);
	before = l->in_flight;
	while (before > 1 && l->in_flight == before)
		pthread_cond_wait(&l->changed, &l->lock);
	pthread_mutex_unlock(&l->lock);
	return before > 1;
}

static kms_status submit(struct leaves *l, struct leaf_unit *u, struct kms_err *err)
{
	kms_status status = writer_submit(l->d->kms->writer, &u->write);

	while (status == KMS_E_THROTTLED && wait_for_one(l))
		status = writer_submit(l->d->kms->writer, &u->write);
	if (status == KMS_OK)
		return KMS_OK;
	pthread_mutex_lock(&l->lock);
	give_back_locked(l, u);
	pthread_mutex_unlock(&l->lock);
	return why_failed(status, err);
}

static struct store_change *add_change(struct leaf_unit *u, enum store_change_kind kind)
{
	struct store_change *c = &u->changes[u->write.change_count++];

	c->kind = kind;
	u->write.changes = u->changes;
	return c;
}

/* What the leaf says. An intent of a closed log is named as recovery names it: refs and seqs count within one log. */
static void describe(struct leaf_unit *u, const struct store_tombstone *t)
{
	static const char *const KINDS[] = { [STORE_TOMBSTONE_VERSION] = "version", [STORE_TOMBSTONE_ROOT] = "root",
		                             [STORE_TOMBSTONE_PSEUDONYMS] = "pseudonyms", [STORE_TOMBSTONE_EPOCH] = "backup_epoch" };
	struct event *e = &u->write.event;

	e->type = EVENT_KEY_DESTROY;
	e->actor = EVENT_ACTOR_NODE;
	e->has_tenant = !is_no_id(t->vault_id);
	memcpy(e->tenant, t->vault_id, STORE_ID_LEN);
	memcpy(e->key_name, t->key_name, sizeof(t->key_name));
	if (t->kind == STORE_TOMBSTONE_VERSION)
		hex_encode(t->version_id, STORE_ID_LEN, e->key_version);
	e->has_obj = true;
	memcpy(e->obj, t->obj, STORE_ID_LEN);
	u->det[0] = (struct event_det){ .name = t->intent > STORE_SEQ_MAX ? "old_seq" : "intent", .is_number = true, .number = (int64_t)(t->intent & STORE_SEQ_MAX) };
	u->det[1].name = "kind";
	memcpy(u->det[1].text, KINDS[t->kind], strlen(KINDS[t->kind]) + 1);
	e->det = u->det;
	e->det_count = KMS_ARRAY_LEN(u->det);
}

/* @param erase  the version whose blob goes with it; NULL = none */
static kms_status write_unit(struct leaves *l, const struct store_tombstone *t, const uint8_t *erase, struct kms_err *err)
{
	struct leaf_unit *u = take(l);

	if (u == NULL)
		return KMS_E_AUDIT; /* finish() says which */
	if (t != NULL) {
		describe(u, t);
		add_change(u, STORE_TOMBSTONE_ADD)->tombstone = *t;
	}
	if (erase != NULL)
		memcpy(add_change(u, STORE_VERSION_ERASE)->version.id, erase, STORE_ID_LEN);
	return submit(l, u, err);
}

/* Written down before: by an earlier attempt. One that is forged would keep what died out of its certificate. */
static kms_status is_written(struct leaves *l, const uint8_t obj[STORE_ID_LEN], bool *ret, struct kms_err *err)
{
	struct store_tombstone t = { 0 };
	kms_status status = store_tombstone(l->d->store, obj, &t, NULL);

	*ret = status == KMS_OK;
	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status == KMS_OK)
		status = tombstone_check(l->d->kms->hsm, &l->d->kms->inst, &t, err);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status == KMS_E_CRYPTO ? KMS_E_AUDIT : status, KMS_SRC_SELF, 0, "tombstone");
}

static kms_status add(struct leaves *l, struct store_tombstone *t, const uint8_t *erase, struct kms_err *err)
{
	bool has_tombstone = false;

	KMS_TRY(is_written(l, t->obj, &has_tombstone, err));
	if (has_tombstone)
		return erase != NULL ? write_unit(l, NULL, erase, err) : KMS_OK;
	t->intent = l->d->intent;
	KMS_TRY(tombstone_seal(l->d->kms->hsm, &l->d->kms->inst, t, err));
	return write_unit(l, t, erase, err);
}

static kms_status add_version(void *arg, const struct store_key *key, const struct store_version *v, struct kms_err *err)
{
	struct leaves *l = arg;
	struct store_tombstone t = { .kind = STORE_TOMBSTONE_VERSION, .kty = v->kty, .crv = v->crv, .bits = v->bits, .revoked = v->revoked,
		                     .created_seq = v->created_seq };

	t.is_resident = destruction_is_resident(v);
	memcpy(t.obj, v->obj, STORE_ID_LEN);
	memcpy(t.vault_id, key->vault_id, STORE_ID_LEN);
	memcpy(t.key_name, key->name, sizeof(t.key_name));
	memcpy(t.version_id, v->id, STORE_ID_LEN);
	t.has_spki = public_spki_sha256(v, t.spki_sha256);
	return add(l, &t, v->wrapped != NULL ? v->id : NULL, err);
}

static kms_status add_object(struct leaves *l, const struct destruction_object *o, struct kms_err *err)
{
	const struct store_vault *vault = l->d->vault;
	struct store_tombstone t = { .kind = o->kind, .is_resident = true, .created_seq = STORE_NO_SEQ };

	memcpy(t.obj, o->id, STORE_ID_LEN);
	if (vault != NULL) {
		memcpy(t.vault_id, vault->id, STORE_ID_LEN);
		/* As old as the vault; of a root nobody can tell whether it is its first. */
		if (o->kind == STORE_TOMBSTONE_PSEUDONYMS)
			t.created_seq = vault->created_seq;
	}
	return add(l, &t, NULL, err);
}

static kms_status add_all(struct leaves *l, struct kms_err *err)
{
	struct destruction_object objects[DESTRUCTION_OBJECTS_MAX];
	size_t count = 0;

	KMS_TRY(destruction_objects(l->d, objects, &count, err));
	for (size_t i = 0; i < count; i++)
		KMS_TRY(add_object(l, &objects[i], err));
	return destruction_each_version(l->d, add_version, l, err);
}

/* Whatever happened: the writer has them until they come back. */
static kms_status finish(struct leaves *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->in_flight > 0)
		pthread_cond_wait(&l->changed, &l->lock);
	pthread_mutex_unlock(&l->lock);
	return l->failed;
}

kms_status destruction_write_down(struct destruction *d, struct kms_err *err)
{
	struct leaves l = { .d = d, .units = calloc(IN_FLIGHT_MAX, sizeof(*l.units)) };
	kms_status status, came_back;

	if (l.units == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "leaves of a destruction");
	for (size_t i = 0; i < IN_FLIGHT_MAX; i++) {
		l.units[i].next = l.free;
		l.free = &l.units[i];
	}
	(void)pthread_mutex_init(&l.lock, NULL);
	(void)pthread_cond_init(&l.changed, NULL);
	status = add_all(&l, err);
	came_back = finish(&l);
	(void)pthread_cond_destroy(&l.changed);
	(void)pthread_mutex_destroy(&l.lock);
	free(l.units);
	return came_back != KMS_OK ? why_failed(came_back, err) : status;
}
