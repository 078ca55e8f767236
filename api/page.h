/* api/page.h - $skiptokens (keyvault-keys.md section 7): opaque to clients, this installation's own, bound to vault and list. */
#ifndef HOLDFAST_API_PAGE_H
#define HOLDFAST_API_PAGE_H

#include "server/core/kms.h"

enum page_list { PAGE_KEYS = 1, PAGE_DELETED_KEYS = 2, PAGE_VERSIONS = 3, PAGE_EVENTS = 4 };

/* What a token belongs to. */
struct page_scope {
	enum page_list list;
	uint8_t vault_id[STORE_ID_LEN];
	uint8_t key_id[STORE_ID_LEN]; /* of a list of versions; otherwise zero. Of events both are the hash of their filters */
};

#define PAGE_CURSOR_MAX STORE_KEY_NAME_MAX /* characters: the last name shown, or the last ordinal in decimal */
#define PAGE_MAC_LEN 16
#define PAGE_TOKEN_MAX B64URL_LEN(1 + PAGE_CURSOR_MAX + PAGE_MAC_LEN) /* characters */

/** @param key  kms->inst.page_key  @return KMS_OK | KMS_E_INTERNAL (no key) */
KMS_MUST_CHECK kms_status page_token_make(const struct secret *key, const struct page_scope *scope, const char *cursor,
                                          char ret_token[PAGE_TOKEN_MAX + 1], struct kms_err *err);
/** @return KMS_OK (the cursor is ours, for this very list) | KMS_E_INVALID */
KMS_MUST_CHECK kms_status page_token_open(const struct secret *key, const struct page_scope *scope, const char *token,
                                          char ret_cursor[PAGE_CURSOR_MAX + 1], struct kms_err *err);

#endif
