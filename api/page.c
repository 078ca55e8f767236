/* api/page.c - a token is base64url(format || cursor || first 16 bytes of HMAC-SHA-256(format || list || vault || key || cursor)). The cursor
 * names the last row shown, so rows that come and go neither repeat nor hide others. */
#include "api/page.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define FORMAT 1
#define HEAD_LEN (2 + 2 * STORE_ID_LEN) /* all of fixed length, so that no two inputs run into each other */

static bool make_mac(const struct secret *key, const struct page_scope *scope, const uint8_t *cursor, size_t len, uint8_t ret_mac[EVP_MAX_MD_SIZE])
{
	uint8_t input[HEAD_LEN + PAGE_CURSOR_MAX] = { FORMAT, (uint8_t)scope->list };
	unsigned mac_len = 0;

	if (key == NULL)
		return false;
	memcpy(input + 2, scope->vault_id, STORE_ID_LEN);
	memcpy(input + 2 + STORE_ID_LEN, scope->key_id, STORE_ID_LEN);
	memcpy(input + HEAD_LEN, cursor, len);
	return HMAC(EVP_sha256(), secret_data(key), (int)secret_len(key), input, HEAD_LEN + len, ret_mac, &mac_len) != NULL && mac_len >= PAGE_MAC_LEN;
}

kms_status page_token_make(const struct secret *key, const struct page_scope *scope, const char *cursor, char ret_token[PAGE_TOKEN_MAX + 1],
                           struct kms_err *err)
{
	uint8_t token[1 + PAGE_CURSOR_MAX + PAGE_MAC_LEN] = { FORMAT }, mac[EVP_MAX_MD_SIZE];
	size_t len = strnlen(cursor, PAGE_CURSOR_MAX);

	memcpy(token + 1, cursor, len);
	if (!make_mac(key, scope, token + 1, len, mac))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "skip token: no key, or no HMAC");
	memcpy(token + 1 + len, mac, PAGE_MAC_LEN);
	b64url_encode(token, 1 + len + PAGE_MAC_LEN, ret_token);
	return KMS_OK;
}

kms_status page_token_open(const struct secret *key, const struct page_scope *scope, const char *token, char ret_cursor[PAGE_CURSOR_MAX + 1],
                           struct kms_err *err)
{
	uint8_t bytes[1 + PAGE_CURSOR_MAX + PAGE_MAC_LEN], mac[EVP_MAX_MD_SIZE];
	size_t len = 0;

	/* Padding is tolerated elsewhere; of a token there is one form only. */
	if (strchr(token, '=') == NULL && b64url_decode(token, strlen(token), bytes, sizeof(bytes), &len) && len > 1 + PAGE_MAC_LEN &&
	    bytes[0] == FORMAT) {
		size_t cursor_len = len - 1 - PAGE_MAC_LEN;
		if (make_mac(key, scope, bytes + 1, cursor_len, mac) && CRYPTO_memcmp(mac, bytes + 1 + cursor_len, PAGE_MAC_LEN) == 0) {
			memcpy(ret_cursor, bytes + 1, cursor_len);
			ret_cursor[cursor_len] = '\0';
			return KMS_OK;
		}
	}
	return kms_refuse(err, KMS_E_INVALID, "$skiptoken: is not one that this server made for this list; follow nextLink as it was given.");
}
