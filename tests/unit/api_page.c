/* tests/unit/api_page.c - skip tokens are good for the list and vault they were made for, and for nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/page.h"

#define KEY_LEN 32

static struct secret *key;

static struct page_scope scope_of(enum page_list list, uint8_t vault, uint8_t key_byte)
{
	struct page_scope s = { .list = list };
	memset(s.vault_id, vault, sizeof(s.vault_id));
	memset(s.key_id, key_byte, sizeof(s.key_id));
	return s;
}

static void a_token_gives_its_cursor_back(void **state)
{
	char longest[PAGE_CURSOR_MAX + 1];
	const char *const cursors[] = { "a", "name-of-a-key", "18446744073709551615", longest };
	struct page_scope scope = scope_of(PAGE_KEYS, 1, 0);

	(void)state;
	memset(longest, 'k', PAGE_CURSOR_MAX);
	longest[PAGE_CURSOR_MAX] = '\0';
	for (size_t i = 0; i < KMS_ARRAY_LEN(cursors); i++) {
		char token[PAGE_TOKEN_MAX + 1], cursor[PAGE_CURSOR_MAX + 1], again[PAGE_TOKEN_MAX + 1];
		assert_int_equal(page_token_make(key, &scope, cursors[i], token, NULL), KMS_OK);
		assert_int_equal(page_token_open(key, &scope, token, cursor, NULL), KMS_OK);
		assert_string_equal(cursor, cursors[i]);
		assert_int_equal(page_token_make(key, &scope, cursors[i], again, NULL), KMS_OK);
		assert_string_equal(token, again); /* stable: every node makes the same */
	}
}

static void a_token_of_another_list_vault_key_or_installation_is_refused(void **state)
{
	struct page_scope scope = scope_of(PAGE_VERSIONS, 1, 2);
	const struct page_scope others[] = { scope_of(PAGE_KEYS, 1, 2), scope_of(PAGE_DELETED_KEYS, 1, 2), scope_of(PAGE_VERSIONS, 3, 2),
		                             scope_of(PAGE_VERSIONS, 1, 3), scope_of(PAGE_VERSIONS, 1, 0) };
	char token[PAGE_TOKEN_MAX + 1], cursor[PAGE_CURSOR_MAX + 1];
	uint8_t bytes[KEY_LEN] = { 9 };
	SECRET_AUTO *other_key = secret_from(bytes, sizeof(bytes));

	(void)state;
	assert_int_equal(page_token_make(key, &scope, "7", token, NULL), KMS_OK);
	for (size_t i = 0; i < KMS_ARRAY_LEN(others); i++)
		assert_int_equal(page_token_open(key, &others[i], token, cursor, NULL), KMS_E_INVALID);
	assert_int_equal(page_token_open(other_key, &scope, token, cursor, NULL), KMS_E_INVALID);
	assert_int_equal(page_token_open(key, &scope, token, cursor, NULL), KMS_OK);
}

static void every_flipped_bit_and_every_cut_is_refused(void **state)
{
	struct page_scope scope = scope_of(PAGE_KEYS, 1, 0);
	char token[PAGE_TOKEN_MAX + 1], changed[PAGE_TOKEN_MAX + 2], cursor[PAGE_CURSOR_MAX + 1];
	uint8_t bytes[1 + PAGE_CURSOR_MAX + PAGE_MAC_LEN];
	size_t len = 0;

	(void)state;
	assert_int_equal(page_token_make(key, &scope, "abc", token, NULL), KMS_OK);
	assert_true(b64url_decode(token, strlen(token), bytes, sizeof(bytes), &len));
	assert_int_equal(len, 1 + 3 + PAGE_MAC_LEN);
	for (size_t bit = 0; bit < len * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		b64url_encode(bytes, len, changed);
		assert_int_equal(page_token_open(key, &scope, changed, cursor, NULL), KMS_E_INVALID);
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	for (size_t n = 0; n < len; n++) {
		b64url_encode(bytes, n, changed);
		assert_int_equal(page_token_open(key, &scope, changed, cursor, NULL), KMS_E_INVALID);
	}
	(void)snprintf(changed, sizeof(changed), "%s=", token);
	assert_int_equal(page_token_open(key, &scope, changed, cursor, NULL), KMS_E_INVALID);
}

static void forged_tokens_are_refused(void **state)
{
	static const char *const FORGED[] = { "", "=", "eyJmb3JnZWQiOjF9", "AWFiYw", "!!!", "AQ", "AQEBAQEBAQEBAQEBAQEBAQEB" };
	struct page_scope scope = scope_of(PAGE_KEYS, 1, 0);
	char cursor[PAGE_CURSOR_MAX + 1], long_text[2 * PAGE_TOKEN_MAX];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(FORGED); i++)
		assert_int_equal(page_token_open(key, &scope, FORGED[i], cursor, NULL), KMS_E_INVALID);
	memset(long_text, 'A', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	assert_int_equal(page_token_open(key, &scope, long_text, cursor, NULL), KMS_E_INVALID);
}

static void without_a_key_there_are_no_tokens(void **state)
{
	struct page_scope scope = scope_of(PAGE_KEYS, 1, 0);
	char token[PAGE_TOKEN_MAX + 1], cursor[PAGE_CURSOR_MAX + 1];

	(void)state;
	assert_int_equal(page_token_make(key, &scope, "abc", token, NULL), KMS_OK);
	assert_int_equal(page_token_open(NULL, &scope, token, cursor, NULL), KMS_E_INVALID);
	assert_int_equal(page_token_make(NULL, &scope, "abc", token, NULL), KMS_E_INTERNAL);
}

static int setup(void **state)
{
	uint8_t bytes[KEY_LEN] = { 1, 2, 3 };
	struct kms_err err = { 0 };

	(void)state;
	if (secret_heap_init(1U << 16, &err) != KMS_OK)
		return -1;
	key = secret_from(bytes, sizeof(bytes));
	return key != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	secret_free(key);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_gives_its_cursor_back),
		cmocka_unit_test(a_token_of_another_list_vault_key_or_installation_is_refused),
		cmocka_unit_test(every_flipped_bit_and_every_cut_is_refused),
		cmocka_unit_test(forged_tokens_are_refused),
		cmocka_unit_test(without_a_key_there_are_no_tokens),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
