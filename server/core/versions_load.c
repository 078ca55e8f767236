/* server/core/versions_load.c - can every version of a database be loaded? Nothing is used: the device unwraps each, and forgets it again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/key.h"
#include "server/core/server_backup.h"

#define VAULTS_PAGE 16
#define KEYS_PAGE 64
#define VERSIONS_PAGE 16
#define IDS_FIRST 1024

struct loader {
	struct hsm *hsm;
	struct store *store, *live; /* live: NULL = there is none beside it */
	backup_progress_fn progress;
	void *arg;
	struct load_report report;
	uint8_t (*ids)[HSM_ID_LEN]; /* owned: every object of the device, sorted */
	size_t count, cap;
	bool is_short;
	const struct store_vault *vault;
	const struct store_key *key;
};

static void loader_clear(struct loader *l) { free(l->ids); }

/* ---- what the device holds ---- */

static bool note_object(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	struct loader *l = arg;

	(void)purpose;
	if (!is_ours)
		return true;
	if (l->count == l->cap) {
		size_t cap = l->cap == 0 ? IDS_FIRST : 2 * l->cap;
		void *grown = reallocarray(l->ids, cap, sizeof(l->ids[0]));

		l->is_short = grown == NULL;
		if (grown == NULL)
			return false;
		l->ids = grown;
		l->cap = cap;
	}
	memcpy(l->ids[l->count++], id, HSM_ID_LEN);
	return true;
}

static int by_id(const void *a, const void *b) { return memcmp(a, b, HSM_ID_LEN); /* allowed: ids are public */ }

/* One look for all: a search of the device for each would take a tenth of a second with thousands of objects. */
static kms_status list_objects(struct loader *l, struct kms_err *err)
{
	KMS_TRY(hsm_keys_list(l->hsm, note_object, l, err));
	if (l->is_short)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "list of the device's objects");
	if (l->count > 1)
		qsort(l->ids, l->count, sizeof(l->ids[0]), by_id);
	return KMS_OK;
}

static bool is_there(const struct loader *l, const uint8_t id[HSM_ID_LEN])
{
	return l->count > 0 && bsearch(id, l->ids, l->count, sizeof(l->ids[0]), by_id) != NULL;
}

/* ---- one version ---- */

static void note_failure(struct loader *l, const struct store_version *v, const char *why)
{
	char version[2 * STORE_ID_LEN + 1] = "";

	l->report.failed++;
	if (l->report.first[0] != '\0')
		return;
	hex_encode(v->id, STORE_ID_LEN, version);
	(void)snprintf(l->report.first, sizeof(l->report.first), "vault %s, key %s, version %s: %s", l->vault->name, l->key->name, version, why);
}

static kms_status was_destroyed(const struct loader *l, const uint8_t obj[STORE_ID_LEN], bool *ret_was, struct kms_err *err)
{
	struct store_tombstone t = { 0 };
	kms_status status = l->live != NULL ? store_tombstone(l->live, obj, &t, NULL) : KMS_E_NOTFOUND;

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "tombstone");
	*ret_was = status == KMS_OK;
	return KMS_OK;
}

static kms_status look_for_resident(struct loader *l, const struct store_version *v, struct kms_err *err)
{
	bool was = false;

	if (is_there(l, v->obj)) {
		l->report.resident++;
		return KMS_OK;
	}
	KMS_TRY(was_destroyed(l, v->obj, &was, err));
	if (was)
		l->report.destroyed++;
	else
		note_failure(l, v, "it lives in the HSM and is not there");
	return KMS_OK;
}

static kms_status load_wrapped(struct loader *l, const struct store_version *v, struct kms_err *err)
{
	struct hsm_attributes found = { 0 };
	struct hsm_key key = { 0 };
	struct kms_err own = { 0 };
	kms_status status = KMS_OK;

	if (!is_there(l, v->root_id)) {
		note_failure(l, v, "the root key that it is wrapped under is not in the HSM: the vault was shredded, or its root replaced, after this database was written");
		return KMS_OK;
	}
	key_to_hsm(v, (enum key_alg)0, &key);
	status = hsm_key_attributes(l->hsm, &key, &found, &own);
	kms_ignore(hsm_key_evict(l->hsm, key.id, 0, NULL)); /* whoever uses it loads it again */
	if (status == KMS_E_DEVICE || status == KMS_E_BUSY || status == KMS_E_NOMEM) { /* says nothing of the version */
		*err = own;
		return status;
	}
	if (status == KMS_OK)
		l->report.loaded++;
	else
		note_failure(l, v, "its root key does not open it");
	return KMS_OK;
}

static kms_status load_version(struct loader *l, const struct store_version *v, struct kms_err *err)
{
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);

	if (type != NULL && !type->is_resident && v->wrapped == NULL)
		return KMS_OK; /* erased */
	l->report.versions++;
	if (l->progress != NULL && !l->progress(l->arg, l->report.versions, 0))
		return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "stopped");
	if (type == NULL) {
		note_failure(l, v, "it is of a type that this version does not know");
		return KMS_OK;
	}
	return type->is_resident ? look_for_resident(l, v, err) : load_wrapped(l, v, err);
}

/* ---- all of them ---- */

static kms_status load_key(struct loader *l, const struct store_key *key, struct kms_err *err)
{
	struct store_version page[VERSIONS_PAGE] = { 0 };
	uint64_t after = 0;
	size_t count = 0;
	kms_status status = KMS_OK;

	if (key->is_purging)
		return KMS_OK;
	l->key = key;
	l->report.keys++;
	do {
		status = store_versions(l->store, key->id, after, false, page, VERSIONS_PAGE, &count, err);
		for (size_t i = 0; i < count; i++) {
			after = page[i].ordinal;
			if (status == KMS_OK)
				status = load_version(l, &page[i], err);
			store_version_clear(&page[i]);
		}
	} while (status == KMS_OK && count == VERSIONS_PAGE);
	l->key = NULL;
	return status;
}

static kms_status load_keys(struct loader *l, bool deleted, struct kms_err *err)
{
	struct store_key page[KEYS_PAGE];
	char after[STORE_KEY_NAME_MAX + 1] = "";
	size_t count = 0;

	do {
		KMS_TRY(store_keys(l->store, l->vault->id, deleted, after[0] != '\0' ? after : NULL, page, KEYS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			KMS_TRY(load_key(l, &page[i], err));
		if (count > 0)
			memcpy(after, page[count - 1].name, sizeof(after));
	} while (count == KEYS_PAGE);
	return KMS_OK;
}

/* Also one that was shredded since. */
static kms_status load_vault(struct loader *l, const struct store_vault *vault, struct kms_err *err)
{
	struct store_vault now = { 0 };
	kms_status status = l->live != NULL ? store_vault_by_id(l->live, vault->id, &now, NULL) : KMS_E_NOTFOUND;

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "vault %s", vault->name);
	if (vault->state != STORE_VAULT_ACTIVE || (status == KMS_OK && now.state != STORE_VAULT_ACTIVE)) {
		l->report.shredded++;
		return KMS_OK;
	}
	l->vault = vault;
	l->report.vaults++;
	status = load_keys(l, false, err);
	if (status == KMS_OK)
		status = load_keys(l, true, err);
	l->vault = NULL;
	return status;
}

kms_status versions_load_copy(struct hsm *hsm, struct store *copy, struct store *live, backup_progress_fn progress, void *arg, struct load_report *ret,
                              struct kms_err *err)
{
	__attribute__((cleanup(loader_clear))) struct loader l = { .hsm = hsm, .store = copy, .live = live, .progress = progress, .arg = arg };
	struct store_vault page[VAULTS_PAGE];
	char after[STORE_VAULT_NAME_MAX + 1] = "";
	size_t count = 0;

	KMS_TRY(list_objects(&l, err));
	do {
		KMS_TRY(store_vaults(copy, after[0] != '\0' ? after : NULL, page, VAULTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			KMS_TRY(load_vault(&l, &page[i], err));
		if (count > 0)
			memcpy(after, page[count - 1].name, sizeof(after));
	} while (count == VAULTS_PAGE);
	*ret = l.report;
	return KMS_OK;
}

kms_status versions_load(struct hsm *hsm, struct store *store, backup_progress_fn progress, void *arg, struct load_report *ret, struct kms_err *err)
{
	return versions_load_copy(hsm, store, NULL, progress, arg, ret, err);
}
