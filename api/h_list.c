/* api/h_list.c - lists of keys, deleted keys and versions (keyvault-keys.md section 7). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/keyvault.h"
#include "api/page.h"

#define SIZE_TEXT_MAX 8 /* of maxresults, in a nextLink */

static kms_status page_size(const struct request *r, size_t *ret_size, struct kms_err *err)
{
	const char *text = query_get(r, "maxresults");
	long n = KEYRING_PAGE_MAX;

	if (text != NULL) {
		size_t digits = strspn(text, "0123456789");
		n = strtol(text, NULL, 10); /* takes a sign and blanks too, hence the digits are counted */
		if (text[digits] != '\0' || digits > SIZE_TEXT_MAX || n < 1 || n > KEYRING_PAGE_MAX)
			return kms_refuse(err, KMS_E_INVALID, "maxresults: must be 1 to %d.", KEYRING_PAGE_MAX);
	}
	*ret_size = (size_t)n;
	return KMS_OK;
}

/* Where to go on; empty at the start. */
static kms_status read_cursor(const struct request *r, const struct page_scope *scope, char ret_cursor[PAGE_CURSOR_MAX + 1], struct kms_err *err)
{
	const char *token = query_get(r, "$skiptoken");

	ret_cursor[0] = '\0';
	return token == NULL ? KMS_OK : page_token_open(r->op.kms->inst.page_key, scope, token, ret_cursor, err);
}

static kms_status next_link(const struct request *r, const struct page_scope *scope, const char *path, const char *last, char *ret_link,
                            size_t cap, struct kms_err *err)
{
	char token[PAGE_TOKEN_MAX + 1], max[SIZE_TEXT_MAX + sizeof("&maxresults=")] = "", url[KMS_URL_MAX];
	const char *size = query_get(r, "maxresults");

	KMS_TRY(page_token_make(r->op.kms->inst.page_key, scope, last, token, err));
	request_vault_url(r, url);
	if (size != NULL)
		(void)snprintf(max, sizeof(max), "&maxresults=%.*s", SIZE_TEXT_MAX, size);
	(void)snprintf(ret_link, cap, "%s%s%s?api-version=%s&$skiptoken=%s%s", url, r->op.kms->public_port == 443 ? ":443" : "", path,
	               query_get(r, "api-version"), token, max);
	return KMS_OK;
}

static kms_status reply_list(struct request *r, const struct page_scope *scope, const char *path, const struct key_row *rows, size_t count,
                             size_t size, struct kms_err *err)
{
	bool of_versions = scope->list == PAGE_VERSIONS, has_more = count > size;
	json_t *value = NULL, *body = NULL;
	char last[PAGE_CURSOR_MAX + 1] = "", link[HTTP_URI_MAX];

	if (has_more) {
		const struct key_row *row = &rows[size - 1];
		if (of_versions)
			(void)snprintf(last, sizeof(last), "%llu", (unsigned long long)row->version.ordinal);
		else
			memcpy(last, row->key.name, sizeof(last));
		KMS_TRY(next_link(r, scope, path, last, link, sizeof(link), err));
	}
	value = json_array();
	for (size_t i = 0; i < count && i < size; i++) {
		json_t *one = kv_item(r, &rows[i].key, &rows[i].version, of_versions);
		if (scope->list == PAGE_DELETED_KEYS)
			kv_put_deletion(r, &one, &rows[i].key);
		json_add(&value, one);
	}
	body = json_object();
	json_put(&body, "value", value);
	json_put(&body, "nextLink", has_more ? json_string(link) : json_null());
	return reply_json(r, 200, body, err);
}

static kms_status list_keys(struct request *r, bool deleted, struct kms_err *err)
{
	struct page_scope scope = { .list = deleted ? PAGE_DELETED_KEYS : PAGE_KEYS };
	struct key_row rows[KEYRING_PAGE_MAX + 1] = { 0 };
	char after[PAGE_CURSOR_MAX + 1];
	size_t size = 0, count = 0;
	kms_status status = KMS_OK;

	memcpy(scope.vault_id, r->op.vault.id, STORE_ID_LEN);
	KMS_TRY(page_size(r, &size, err));
	KMS_TRY(read_cursor(r, &scope, after, err));
	/* One row more than the page says whether there is a next one. */
	KMS_TRY(keyring_list(&r->op, deleted, after[0] != '\0' ? after : NULL, rows, size + 1, &count, err));
	status = reply_list(r, &scope, deleted ? "/deletedkeys" : "/keys", rows, count, size, err);
	key_rows_clear(rows, count);
	return status;
}

kms_status api_key_list(struct request *r, struct kms_err *err) { return list_keys(r, false, err); }
kms_status api_deleted_list(struct request *r, struct kms_err *err) { return list_keys(r, true, err); }

/* A token is bound to the key itself, not to its name. Where there is no such key, nothing is read: the list says so. */
static kms_status version_cursor(struct request *r, struct page_scope *scope, uint64_t *ret_after, struct kms_err *err)
{
	struct store_key key = { 0 };
	char cursor[PAGE_CURSOR_MAX + 1] = "";
	kms_status status = KMS_OK;

	*ret_after = 0;
	if (query_get(r, "$skiptoken") == NULL)
		return KMS_OK;
	status = store_key(r->op.store, r->op.vault.id, r->key, &key, NULL);
	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "key of a skip token");
	memcpy(scope->key_id, key.id, STORE_ID_LEN);
	KMS_TRY(read_cursor(r, scope, cursor, err));
	*ret_after = strtoull(cursor, NULL, 10);
	return KMS_OK;
}

kms_status api_key_versions(struct request *r, struct kms_err *err)
{
	struct page_scope scope = { .list = PAGE_VERSIONS };
	struct key_row rows[KEYRING_PAGE_MAX + 1] = { 0 };
	char path[STORE_KEY_NAME_MAX + 32];
	size_t size = 0, count = 0;
	uint64_t after = 0;
	kms_status status = KMS_OK;

	memcpy(scope.vault_id, r->op.vault.id, STORE_ID_LEN);
	KMS_TRY(page_size(r, &size, err));
	KMS_TRY(version_cursor(r, &scope, &after, err));
	KMS_TRY(keyring_list_versions(&r->op, r->key, after, rows, size + 1, &count, err));
	memcpy(scope.key_id, r->op.key.id, STORE_ID_LEN);
	(void)snprintf(path, sizeof(path), "/keys/%s/versions", r->op.key.name);
	status = reply_list(r, &scope, path, rows, count, size, err);
	key_rows_clear(rows, count);
	return status;
}
