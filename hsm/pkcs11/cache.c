/* hsm/pkcs11/cache.c - see cache.h. */
#include "hsm/pkcs11/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hsm/pkcs11/wait.h"

#define BUCKETS_MIN 64

struct p11_cache {
	size_t capacity;
	p11_destroy_fn destroy;
	void *arg;
	pthread_mutex_t lock;   /* guards all below and the entries' own part; never held across a call to the device */
	pthread_cond_t changed; /* a load ended, or a doomed entry went away */
	struct p11_entry **buckets;
	size_t bucket_count;    /* a power of two */
	size_t loaded_count;    /* loaded entries in the buckets, READY or LOADING */
	struct p11_entry *newest, *oldest; /* loaded entries in the buckets, by use */
	struct p11_entry *doomed;
};

kms_status p11_cache_new(size_t capacity, p11_destroy_fn destroy, void *arg, struct p11_cache **ret_cache, struct kms_err *err)
{
	struct p11_cache *c = calloc(1, sizeof(*c));
	size_t buckets = BUCKETS_MIN;

	while (buckets < capacity)
		buckets *= 2;
	if (c != NULL)
		c->buckets = calloc(buckets, sizeof(*c->buckets));
	if (c == NULL || c->buckets == NULL) {
		free(c);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "cache of %zu keys", capacity);
	}
	c->capacity = capacity;
	c->destroy = destroy;
	c->arg = arg;
	c->bucket_count = buckets;
	(void)pthread_mutex_init(&c->lock, NULL);
	wait_cond_init(&c->changed);
	*ret_cache = c;
	return KMS_OK;
}

static void entry_free(struct p11_entry *e)
{
	EVP_PKEY_free(e->verifier);
	free(e);
}

void p11_cache_forget_all(struct p11_cache *c)
{
	(void)pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->bucket_count; i++) {
		while (c->buckets[i] != NULL) {
			struct p11_entry *e = c->buckets[i];

			assert(e->refs == 0);
			c->buckets[i] = e->next;
			entry_free(e);
		}
	}
	while (c->doomed != NULL) {
		struct p11_entry *e = c->doomed;

		assert(e->refs == 0 && !e->is_being_destroyed);
		c->doomed = e->older;
		entry_free(e);
	}
	c->newest = c->oldest = NULL;
	c->loaded_count = 0;
	(void)pthread_cond_broadcast(&c->changed);
	(void)pthread_mutex_unlock(&c->lock);
}

void p11_cache_free(struct p11_cache *c)
{
	if (c == NULL)
		return;
	p11_cache_forget_all(c);
	(void)pthread_cond_destroy(&c->changed);
	(void)pthread_mutex_destroy(&c->lock);
	free(c->buckets);
	free(c);
}

/* Ids are random and our own, so their first bytes are a hash that nobody can aim at. */
static struct p11_entry **bucket_locked(struct p11_cache *c, const uint8_t id[HSM_ID_LEN])
{
	uint64_t hash;

	memcpy(&hash, id, sizeof(hash));
	return &c->buckets[hash & (c->bucket_count - 1)];
}

static void order_remove_locked(struct p11_cache *c, struct p11_entry *e)
{
	*(e->newer != NULL ? &e->newer->older : &c->newest) = e->older;
	*(e->older != NULL ? &e->older->newer : &c->oldest) = e->newer;
	e->newer = e->older = NULL;
}

static void order_push_locked(struct p11_cache *c, struct p11_entry *e)
{
	e->newer = NULL;
	e->older = c->newest;
	*(c->newest != NULL ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

static void doomed_remove_locked(struct p11_cache *c, struct p11_entry *e)
{
	*(e->newer != NULL ? &e->newer->older : &c->doomed) = e->older;
	if (e->older != NULL)
		e->older->newer = e->newer;
}

static void doom_locked(struct p11_cache *c, struct p11_entry *e)
{
	struct p11_entry **at = bucket_locked(c, e->id);

	if (e->is_doomed)
		return;
	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	if (e->is_loaded) {
		order_remove_locked(c, e);
		c->loaded_count--;
	}
	e->is_doomed = true;
	e->newer = NULL;
	e->older = c->doomed;
	if (c->doomed != NULL)
		c->doomed->newer = e;
	c->doomed = e;
}

/* Destroy and free every doomed entry that nobody uses, also those that the device refused to destroy before. */
static void reap_locked(struct p11_cache *c)
{
	struct p11_entry *e = c->doomed;

	while (e != NULL) {
		bool is_gone = true;

		if (e->refs != 0 || e->is_being_destroyed) {
			e = e->older;
			continue;
		}
		if (e->is_loaded && e->state == P11_ENTRY_READY) {
			e->is_being_destroyed = true;
			(void)pthread_mutex_unlock(&c->lock);
			is_gone = c->destroy(c->arg, e->handle);
			(void)pthread_mutex_lock(&c->lock);
			e->is_being_destroyed = false;
		}
		if (!is_gone)
			break; /* it stays on the list for the next time; the device has a trouble of its own */
		doomed_remove_locked(c, e);
		entry_free(e);
		e = c->doomed; /* the list may have changed meanwhile */
	}
	(void)pthread_cond_broadcast(&c->changed);
}

/* Doom the least recently used idle versions until the bound holds. Those in use are bounded by the session pool. */
static void shrink_locked(struct p11_cache *c)
{
	struct p11_entry *e = c->oldest;

	while (e != NULL && c->loaded_count > c->capacity) {
		struct p11_entry *newer = e->newer;

		if (e->refs == 0)
			doom_locked(c, e);
		e = newer;
	}
}

static bool entry_serves(const struct p11_entry *e, const struct hsm_key *key, uint64_t epoch)
{
	if (e->epoch != epoch || e->purpose != key->purpose || e->kind != key->kind || e->bits != key->bits)
		return false;
	if (e->is_loaded != (key->wrapped != NULL))
		return false;
	return !e->is_loaded || (e->usage == key->usage && memcmp(e->root_id, key->root_id, HSM_ID_LEN) == 0);
}

static struct p11_entry *entry_new(const struct hsm_key *key, uint64_t epoch)
{
	struct p11_entry *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	memcpy(e->id, key->id, HSM_ID_LEN);
	e->purpose = key->purpose;
	e->kind = key->kind;
	e->bits = key->bits;
	e->is_loaded = key->wrapped != NULL;
	e->epoch = epoch;
	e->refs = 1;
	e->state = P11_ENTRY_LOADING;
	if (e->is_loaded) {
		e->usage = key->usage;
		memcpy(e->root_id, key->root_id, HSM_ID_LEN);
	}
	return e;
}

/* Give a reference back; the last one of a doomed entry buries it. */
static void unref_locked(struct p11_cache *c, struct p11_entry *e)
{
	assert(e->refs > 0);
	if (--e->refs == 0 && e->is_doomed)
		reap_locked(c);
}

/* Wait until another thread's load has ended. On failure the reference is given back. */
static kms_status wait_loaded_locked(struct p11_cache *c, struct p11_entry *e, unsigned wait_ms, struct kms_err *err)
{
	const struct timespec deadline = wait_deadline(wait_ms);
	kms_status status = KMS_OK;
	int waited = 0;

	while (e->state == P11_ENTRY_LOADING && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&c->changed, &c->lock, &deadline);
	if (e->state == P11_ENTRY_LOADING)
		status = kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "the key is still being loaded after %u ms", wait_ms);
	else if (e->state == P11_ENTRY_FAILED)
		status = kms_fail(err, e->failure, e->failure_source, e->failure_native, "the load by another request failed");
	if (status != KMS_OK)
		unref_locked(c, e);
	return status;
}

kms_status p11_cache_take(struct p11_cache *c, const struct hsm_key *key, uint64_t epoch, unsigned wait_ms, struct p11_entry **ret_entry,
                          bool *ret_must_load, struct kms_err *err)
{
	struct p11_entry **bucket, *e;
	kms_status status = KMS_OK;

	(void)pthread_mutex_lock(&c->lock);
	bucket = bucket_locked(c, key->id);
	for (e = *bucket; e != NULL && memcmp(e->id, key->id, HSM_ID_LEN) != 0;)
		e = e->next;
	if (e != NULL && !entry_serves(e, key, epoch)) {
		doom_locked(c, e); /* buried when the load below has ended: reaping here would open the lock between look and insert */
		e = NULL;
	}
	if (e != NULL) {
		e->refs++;
		if (e->is_loaded && e != c->newest) {
			order_remove_locked(c, e);
			order_push_locked(c, e);
		}
		if (e->state != P11_ENTRY_READY)
			status = wait_loaded_locked(c, e, wait_ms, err);
		*ret_must_load = false;
	} else {
		e = entry_new(key, epoch);
		if (e == NULL) {
			status = kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "cache entry");
		} else {
			e->next = *bucket;
			*bucket = e;
			if (e->is_loaded) {
				order_push_locked(c, e);
				c->loaded_count++;
			}
			*ret_must_load = true;
		}
	}
	if (status == KMS_OK)
		*ret_entry = e;
	(void)pthread_mutex_unlock(&c->lock);
	return status;
}

void p11_cache_loaded(struct p11_cache *c, struct p11_entry *e, unsigned long handle, EVP_PKEY *verifier)
{
	(void)pthread_mutex_lock(&c->lock);
	e->handle = handle;
	e->verifier = verifier;
	e->state = P11_ENTRY_READY;
	shrink_locked(c);
	reap_locked(c);
	(void)pthread_mutex_unlock(&c->lock);
}

void p11_cache_load_failed(struct p11_cache *c, struct p11_entry *e, kms_status status, const struct kms_err *why)
{
	(void)pthread_mutex_lock(&c->lock);
	e->state = P11_ENTRY_FAILED;
	e->failure = status;
	if (why != NULL) {
		e->failure_source = why->source;
		e->failure_native = why->native;
	}
	doom_locked(c, e);
	unref_locked(c, e);
	(void)pthread_cond_broadcast(&c->changed);
	(void)pthread_mutex_unlock(&c->lock);
}

void p11_cache_release(struct p11_cache *c, struct p11_entry *e)
{
	(void)pthread_mutex_lock(&c->lock);
	unref_locked(c, e);
	(void)pthread_mutex_unlock(&c->lock);
}

void p11_cache_doom(struct p11_cache *c, struct p11_entry *e)
{
	(void)pthread_mutex_lock(&c->lock);
	doom_locked(c, e);
	(void)pthread_mutex_unlock(&c->lock);
}

static bool concerns(const struct p11_entry *e, const uint8_t id[HSM_ID_LEN])
{
	return memcmp(e->id, id, HSM_ID_LEN) == 0 || (e->is_loaded && memcmp(e->root_id, id, HSM_ID_LEN) == 0);
}

/* Is a doomed entry of this key in use still, or merely impossible to destroy? */
static void doomed_state_locked(const struct p11_cache *c, const uint8_t id[HSM_ID_LEN], bool *ret_in_use, bool *ret_undead)
{
	*ret_in_use = *ret_undead = false;
	for (const struct p11_entry *e = c->doomed; e != NULL; e = e->older) {
		if (!concerns(e, id))
			continue;
		if (e->refs != 0 || e->is_being_destroyed)
			*ret_in_use = true;
		else
			*ret_undead = true;
	}
}

kms_status p11_cache_evict(struct p11_cache *c, const uint8_t id[HSM_ID_LEN], unsigned drain_ms, struct kms_err *err)
{
	const struct timespec deadline = wait_deadline(drain_ms);
	bool is_in_use = false, is_undead = false;
	int waited = 0;

	(void)pthread_mutex_lock(&c->lock);
	for (struct p11_entry *e = *bucket_locked(c, id), *next; e != NULL; e = next) {
		next = e->next;
		if (concerns(e, id))
			doom_locked(c, e);
	}
	for (struct p11_entry *e = c->newest, *older; e != NULL; e = older) {
		older = e->older;
		if (concerns(e, id))
			doom_locked(c, e);
	}
	if (drain_ms == 0) { /* no call to the device: a revoke must not wait for one that hangs */
		(void)pthread_mutex_unlock(&c->lock);
		return KMS_OK;
	}
	reap_locked(c);
	doomed_state_locked(c, id, &is_in_use, &is_undead);
	while (is_in_use && waited != ETIMEDOUT) {
		waited = pthread_cond_timedwait(&c->changed, &c->lock, &deadline);
		doomed_state_locked(c, id, &is_in_use, &is_undead);
	}
	(void)pthread_mutex_unlock(&c->lock);
	if (is_undead)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the device would not destroy a loaded version");
	if (is_in_use)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "the key is still in use after %u ms", drain_ms);
	return KMS_OK;
}

void p11_cache_bury(struct p11_cache *c)
{
	(void)pthread_mutex_lock(&c->lock);
	reap_locked(c);
	(void)pthread_mutex_unlock(&c->lock);
}

size_t p11_cache_loaded_count(struct p11_cache *c)
{
	size_t count;

	(void)pthread_mutex_lock(&c->lock);
	count = c->loaded_count;
	(void)pthread_mutex_unlock(&c->lock);
	return count;
}
