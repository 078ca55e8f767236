/* api/names.c - vault names on the HTTP threads: the challenge needs the vault's directory. Name, id and directory never change and names are
 * never used again, so what was found once stays true; what was not found is asked again. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"

#define BUCKETS 1024
#define ENTRIES_MAX 20000 /* beyond it, names are looked up each time */

struct entry {
	struct entry *next;
	char name[STORE_VAULT_NAME_MAX + 1];
	uint8_t id[STORE_ID_LEN], directory[STORE_ID_LEN];
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

static void remember_locked(struct vault_names *n, const struct store_vault *v, size_t bucket)
{
	struct entry *e = n->count < ENTRIES_MAX ? calloc(1, sizeof(*e)) : NULL;

	if (e == NULL)
		return;
	memcpy(e->name, v->name, sizeof(e->name));
	memcpy(e->id, v->id, STORE_ID_LEN);
	memcpy(e->directory, v->directory, STORE_ID_LEN);
	e->next = n->buckets[bucket];
	n->buckets[bucket] = e;
	n->count++;
}

kms_status vault_names_find(struct vault_names *n, const char *name, uint8_t ret_id[STORE_ID_LEN], uint8_t ret_directory[STORE_ID_LEN])
{
	size_t bucket = bucket_of(n, name);
	struct store_vault v = { 0 };
	kms_status status = KMS_OK;
	const struct entry *e = NULL;

	pthread_mutex_lock(&n->lock);
	e = look_up_locked(n, name, bucket);
	if (e != NULL) {
		memcpy(ret_id, e->id, STORE_ID_LEN);
		memcpy(ret_directory, e->directory, STORE_ID_LEN);
	} else {
		status = store_vault_by_name(n->store, name, &v, NULL);
		if (status == KMS_OK) {
			remember_locked(n, &v, bucket);
			memcpy(ret_id, v.id, STORE_ID_LEN);
			memcpy(ret_directory, v.directory, STORE_ID_LEN);
		}
	}
	pthread_mutex_unlock(&n->lock);
	return status;
}
