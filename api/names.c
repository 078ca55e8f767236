/*
 * api/names.c - vault names on the HTTP threads: the challenge needs the vault's directory, and the issuer whose tokens it asks for. Name, id and directory never
 * change and names are never used again, so what was found once stays true; what was not found is asked again. The issuer is read again every few seconds,
 * since another node may have changed it.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"

#define ISSUER_LIFE_US ((int64_t)2 * 1000000)
#define BUCKETS 1024
#define ENTRIES_MAX 20000 /* beyond it, names are looked up each time */

struct entry {
	struct entry *next;
	char name[STORE_VAULT_NAME_MAX + 1];
	struct vault_named named;
	int64_t read_us; /* 0 = to be read again */
};

struct vault_names {
	pthread_mutex_t lock; /* guards all of it, the connection too: one short read at a time */
	struct store *store;
	struct entry *buckets[BUCKETS];
	size_t count;
	uint32_t seed;
};

kms_status vault_names_new(struct store *store, struct vault_names **ret_names, struct kms_err *err)
{
	struct vault_names *n = calloc(1, sizeof(*n));

	if (n == NULL || !random_bytes(&n->seed, sizeof(n->seed))) {
		free(n);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "vault names");
	}
	pthread_mutex_init(&n->lock, NULL);
	n->store = store;
	*ret_names = n;
	return KMS_OK;
}

void vault_names_free(struct vault_names *n)
{
	if (n == NULL)
		return;
	for (size_t b = 0; b < BUCKETS; b++)
		for (struct entry *e = n->buckets[b], *next = NULL; e != NULL; e = next) {
			next = e->next;
			free(e);
		}
	store_close(n->store);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/* FNV-1a, seeded; names are short and of a closed alphabet. */
static size_t bucket_of(const struct vault_names *n, const char *name)
{
	uint32_t h = 2166136261U ^ n->seed;
	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 16777619U;
	return h % BUCKETS;
}

static struct entry *look_up_locked(struct vault_names *n, const char *name, size_t bucket)
{
	for (struct entry *e = n->buckets[bucket]; e != NULL; e = e->next)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

static void remember_locked(struct vault_names *n, const struct store_vault *v, const struct vault_named *named, size_t bucket)
{
	struct entry *e = n->count < ENTRIES_MAX ? calloc(1, sizeof(*e)) : NULL;

	if (e == NULL)
		return;
	memcpy(e->name, v->name, sizeof(e->name));
	e->named = *named;
	e->read_us = clock_mono_us(&CLOCK_SYSTEM);
	e->next = n->buckets[bucket];
	n->buckets[bucket] = e;
	n->count++;
}

static void take_vault(const struct store_vault *v, struct vault_named *ret)
{
	memcpy(ret->id, v->id, STORE_ID_LEN);
	memcpy(ret->directory, v->directory, STORE_ID_LEN);
	memcpy(ret->issuer, v->issuer, sizeof(ret->issuer));
}

/* A database that does not answer now leaves what is known: a challenge that names the former issuer does no harm. */
static void renew_locked(struct vault_names *n, struct entry *e)
{
	struct store_vault v = { 0 };
	int64_t now_us = clock_mono_us(&CLOCK_SYSTEM);

	if (e->read_us != 0 && now_us - e->read_us < ISSUER_LIFE_US)
		return;
	e->read_us = now_us;
	if (store_vault_by_name(n->store, e->name, &v, NULL) == KMS_OK)
		take_vault(&v, &e->named);
}

/* A vault's row is read with its canary, from pages that wrapped keys stand on too. */
void vault_names_forget(struct vault_names *n)
{
	pthread_mutex_lock(&n->lock);
	store_forget(n->store);
	pthread_mutex_unlock(&n->lock);
}

kms_status vault_names_find(struct vault_names *n, const char *name, struct vault_named *ret)
{
	size_t bucket = bucket_of(n, name);
	struct store_vault v = { 0 };
	kms_status status = KMS_OK;
	struct entry *e = NULL;

	pthread_mutex_lock(&n->lock);
	e = look_up_locked(n, name, bucket);
	if (e != NULL) {
		renew_locked(n, e);
		*ret = e->named;
	} else {
		status = store_vault_by_name(n->store, name, &v, NULL);
		if (status == KMS_OK) {
			take_vault(&v, ret);
			remember_locked(n, &v, ret, bucket);
		}
	}
	pthread_mutex_unlock(&n->lock);
	return status;
}

void vault_names_renew(struct vault_names *n, const char *name)
{
	struct entry *e = NULL;

	pthread_mutex_lock(&n->lock);
	e = look_up_locked(n, name, bucket_of(n, name));
	if (e != NULL)
		e->read_us = 0;
	pthread_mutex_unlock(&n->lock);
}
