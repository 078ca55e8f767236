/*
 * server/core/destruction_guard.c - what a row of the database says is not enough to destroy something: what others live by is spared, and an act is finished only when its
 * leaf is in the log. Guards: who can write to the database must not have the server destroy what lives, nor certify what did not happen.
 */
#include <stdlib.h>
#include <string.h>

#include "server/core/destruction_parts.h"

#define VAULTS_PAGE 32
#define EPOCHS_PAGE 32

/* ---- what others live by ---- */

static kms_status spare_own_keys(const struct kms *kms, struct id_list *ret, struct kms_err *err)
{
	const struct installation *i = &kms->inst;

	KMS_TRY(id_list_add(ret, i->log_key, err));
	KMS_TRY(id_list_add(ret, i->token_key, err));
	KMS_TRY(id_list_add(ret, i->attestation_key, err));
	return id_list_add(ret, i->pseudonym_key, err);
}

static kms_status spare_vault(const struct destruction *d, const struct store_vault *v, struct id_list *ret, struct kms_err *err)
{
	bool is_own = d->vault != NULL && is_same_id(d->vault->id, v->id);

	if (v->state == STORE_VAULT_SHREDDED || (is_own && d->of == DESTRUCTION_OF_TENANT))
		return KMS_OK;
	KMS_TRY(id_list_add(ret, v->root_id, err));
	KMS_TRY(id_list_add(ret, v->next_root_id, err));
	return id_list_add(ret, v->pseudonym_id, err);
}

static kms_status spare_vaults(const struct destruction *d, struct id_list *ret, struct kms_err *err)
{
	struct store_vault page[VAULTS_PAGE];
	char after[STORE_VAULT_NAME_MAX + 1];
	const char *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_vaults(d->store, cursor, page, VAULTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			KMS_TRY(spare_vault(d, &page[i], ret, err));
		if (count > 0)
			memcpy(after, page[count - 1].name, sizeof(after));
		cursor = after;
	} while (count == VAULTS_PAGE);
	return KMS_OK;
}

static kms_status spare_epochs(const struct destruction *d, struct id_list *ret, struct kms_err *err)
{
	struct store_epoch page[EPOCHS_PAGE];
	uint32_t below = 0;
	size_t count = 0;

	do {
		KMS_TRY(store_epochs(d->store, below, page, EPOCHS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			below = page[i].number;
			if (page[i].ended_s == STORE_NO_TIME && !(d->of == DESTRUCTION_OF_EPOCH && is_same_id(page[i].obj, d->object)))
				KMS_TRY(id_list_add(ret, page[i].obj, err));
		}
	} while (count == EPOCHS_PAGE && below > 1);
	return KMS_OK;
}

kms_status destruction_spared(const struct destruction *d, struct id_list *ret, struct kms_err *err)
{
	KMS_TRY(spare_own_keys(d->kms, ret, err));
	KMS_TRY(spare_vaults(d, ret, err));
	KMS_TRY(spare_epochs(d, ret, err));
	id_list_sort(ret);
	return KMS_OK;
}

/* ---- what the log says ---- */

kms_status destruction_leaf_says(struct store *store, uint64_t seq, const char (*members)[DESTRUCTION_MEMBER_MAX], size_t count, bool *ret_says,
                                 struct kms_err *err)
{
	struct store_event e = { 0 };
	struct kms_err own = { 0 };
	uint8_t hash[MERKLE_HASH_LEN];
	kms_status status = store_event(store, seq, &e, &own);

	*ret_says = status == KMS_OK;
	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, own.source, own.native, "leaf of a destruction: %.80s", own.detail);
	merkle_leaf_hash(e.leaf, e.leaf_len, hash);
	*ret_says = e.leaf_len > 0 && memcmp(hash, e.hash, sizeof(hash)) == 0; /* allowed: hashes are public */
	for (size_t i = 0; i < count; i++)
		*ret_says &= e.leaf_len > 0 && memmem(e.leaf, e.leaf_len, members[i], strlen(members[i])) != NULL;
	store_event_clear(&e);
	return KMS_OK;
}
