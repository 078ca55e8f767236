/* server/core/backup_form.h - the form of a backup: what is written in clear before it and what lies under its seal. For backup.c and its tests. */
#ifndef HOLDFAST_CORE_BACKUP_FORM_H
#define HOLDFAST_CORE_BACKUP_FORM_H

#include "server/core/backup.h"

#define BACKUP_MAGIC "HFKB"
#define BACKUP_FORM 1

/* In clear, and authenticated by the seal: a backup opens only where it belongs. Magic, form, and the ids; then nonce, tag and what is sealed. */
struct backup_header {
	uint8_t directory[STORE_ID_LEN], vault[STORE_ID_LEN], root[STORE_ID_LEN], backup_key[STORE_ID_LEN];
};
#define BACKUP_AAD_LEN (4 + 2 + 4 * STORE_ID_LEN)
#define BACKUP_NONCE_AT BACKUP_AAD_LEN
#define BACKUP_TAG_AT (BACKUP_NONCE_AT + HSM_GCM_NONCE_LEN)
#define BACKUP_SEALED_AT (BACKUP_TAG_AT + HSM_GCM_TAG_LEN)
void backup_put_header(const struct backup_header *h, uint8_t ret_aad[BACKUP_AAD_LEN]);
/** False when this is no backup of this form, or too short or too long to be one. */
bool backup_take_header(const uint8_t *blob, size_t len, struct backup_header *ret);

/* The text under construction; max is set first. What does not fit raises is_over. Free `bytes`. */
struct backup_text {
	uint8_t *bytes;
	size_t len, cap, max;
	size_t count_at;
	bool is_over, has_failed; /* has_failed: for want of memory */
};
/** Everything before the first version; the count of versions follows by backup_set_count(). @param policy  NULL = none was set */
void backup_put_head(struct backup_text *t, const struct store_key *key, int64_t made_s, const struct store_policy *policy);
void backup_put_version(struct backup_text *t, const struct store_version *v);
void backup_set_count(struct backup_text *t, size_t count);

/* What was read. Zeroed = empty. */
struct backup_content {
	struct store_key key; /* its id when it was backed up, name, created_s */
	int64_t made_s;
	bool has_policy;
	struct store_policy policy;     /* its key_id is not in it */
	struct store_version *versions; /* owned, but their pointers are into the text */
	size_t count;
};
void backup_content_clear(struct backup_content *c);
#define BACKUP_CONTENT_AUTO __attribute__((cleanup(backup_content_clear))) struct backup_content
/** Strict: every length checked, every value in its range, nothing left over. @return KMS_OK | KMS_E_BACKUP | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status backup_take_content(const uint8_t *text, size_t len, struct backup_content *ret, struct kms_err *err);

#endif
