/* tests/unit/api_transfer.c - transfer blobs: what the specification says is read, everything else is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/transfer.h"

#define URL "https://orders.kms.test:8443"
#define VERSION "0123456789abcdef0123456789ABCDEF"
#define BLOB(version, kid, alg, enc, ciphertext)                                                                               \
	"{\"schema_version\":\"" version "\",\"header\":{\"kid\":\"" kid "\",\"alg\":\"" alg "\",\"enc\":\"" enc "\",\"x\":1}," \
	"\"ciphertext\":\"" ciphertext "\",\"generator\":\"a tool 1.0\"}"
#define ENC "CKM_RSA_AES_KEY_WRAP"

static void refuses(const char *text, const char *named)
{
	struct transfer t = { 0 };
	struct kms_err err = { 0 };

	assert_int_equal(transfer_parse((const uint8_t *)text, strlen(text), URL, &t, &err), KMS_E_INVALID);
	assert_null(t.ciphertext.data);
	assert_ptr_equal(strstr(kms_err_text(&err), "key_hsm: "), kms_err_text(&err));
	if (strstr(kms_err_text(&err), named) == NULL)
		fail_msg("%s: message '%s' does not name '%s'", text, kms_err_text(&err), named);
}

static void a_sound_blob_is_read(void **state)
{
	static const char TEXT[] = BLOB("1.0.0", URL "/keys/My-Kek/" VERSION, "dir", ENC, "AQID");
	TRANSFER_AUTO t = { 0 };
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(transfer_parse((const uint8_t *)TEXT, sizeof(TEXT) - 1, URL, &t, &err), KMS_OK);
	assert_string_equal(t.exchange_name, "My-Kek");
	assert_int_equal(t.exchange_version[0], 0x01);
	assert_int_equal(t.exchange_version[15], 0xef);
	assert_int_equal(t.ciphertext.len, 3);
	assert_int_equal(t.ciphertext.data[2], 3);
}

static void hosts_are_compared_without_case(void **state)
{
	static const char TEXT[] = BLOB("1.0.0", "HTTPS://Orders.KMS.test:8443/Keys/kek/" VERSION, "dir", ENC, "AQID");
	TRANSFER_AUTO t = { 0 };

	(void)state;
	assert_int_equal(transfer_parse((const uint8_t *)TEXT, sizeof(TEXT) - 1, URL, &t, NULL), KMS_OK);
}

static void each_wrong_member_is_named(void **state)
{
	(void)state;
	refuses("", "object");
	refuses("[]", "object");
	refuses("{}", "schema_version: is required");
	refuses(BLOB("1.0.1", URL "/keys/kek/" VERSION, "dir", ENC, "AQID"), "1.0.0.");
	refuses(BLOB("1.0.0", URL "/keys/kek/" VERSION, "RSA", ENC, "AQID"), "alg");
	refuses(BLOB("1.0.0", URL "/keys/kek/" VERSION, "dir", "RSA_AES_KEY_WRAP_256", "AQID"), ENC);
	refuses(BLOB("1.0.0", URL "/keys/kek/" VERSION, "dir", ENC, ""), "ciphertext");
	refuses(BLOB("1.0.0", URL "/keys/kek/" VERSION, "dir", ENC, "A"), "ciphertext");
	refuses("{\"schema_version\":\"1.0.0\",\"ciphertext\":\"AQID\"}", "header: is required");
	refuses("{\"schema_version\":\"1.0.0\",\"header\":{\"alg\":\"dir\",\"enc\":\"" ENC "\"},\"ciphertext\":\"AQID\"}", "kid: is required");
}

static void a_kid_must_be_a_version_of_a_key_of_this_vault(void **state)
{
	static const char *const BAD[] = {
		"https://other.kms.test:8443/keys/kek/" VERSION, "https://orderz.kms.test:8443/keys/kek/" VERSION,
		"https://orders.kms.test/keys/kek/" VERSION, URL "/secrets/kek/" VERSION,
		URL "/keys/kek", URL "/keys/kek/", URL "/keys/kek/0123", URL "/keys/kek/" VERSION "0", URL "/keys/kek/" VERSION "/", URL "/keys//" VERSION,
		URL "/keys/k%6bk/" VERSION, URL "/keys/a_b/" VERSION, URL "/deletedkeys/kek/" VERSION, "kek",
		URL "/keys/kek/zz23456789abcdef0123456789abcdef", URL "evil/keys/kek/" VERSION,
	};
	char text[1024], name[STORE_KEY_NAME_MAX + 2];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		(void)snprintf(text, sizeof(text), BLOB("1.0.0", "%s", "dir", ENC, "AQID"), BAD[i]);
		refuses(text, "header.kid");
	}
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	(void)snprintf(text, sizeof(text), BLOB("1.0.0", URL "/keys/%s/" VERSION, "dir", ENC, "AQID"), name);
	refuses(text, "header.kid");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_blob_is_read),
		cmocka_unit_test(hosts_are_compared_without_case),
		cmocka_unit_test(each_wrong_member_is_named),
		cmocka_unit_test(a_kid_must_be_a_version_of_a_key_of_this_vault),
	};
	json_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
