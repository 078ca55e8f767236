/* Signed notes: the golden file, the strictness rules, every bit flipped, and DER against OpenSSL. */
#include "server/core/note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/ecdsa.h>

#include <cmocka.h>

#include "server/base/encode.h"

#define GOLDEN "../shared/vectors/audit-log/golden-v1.json"
#define DASH "\xe2\x80\x94 "

static json_t *FILE_ROOT; /* NULL: a checkout without the vectors */

static int load(void **state)
{
	(void)state;
	if (access(GOLDEN, R_OK) != 0) {
		print_message("no %s: its tests are skipped\n", GOLDEN);
		return 0;
	}
	FILE_ROOT = json_load_file(GOLDEN, JSON_REJECT_DUPLICATES, NULL);
	return FILE_ROOT == NULL ? -1 : 0;
}

static int unload(void **state)
{
	(void)state;
	json_decref(FILE_ROOT);
	return 0;
}

#define NEED_GOLDEN()              \
	do {                       \
		if (!FILE_ROOT)    \
			skip();    \
	} while (0)

static const char *text_at(const char *section, const char *name, const char *member)
{
	json_t *at = json_object_get(json_object_get(FILE_ROOT, section), name);
	const char *text = json_string_value(member != NULL ? json_object_get(at, member) : at);

	assert_non_null(text);
	return text;
}

static struct note_key key_named(const char *name)
{
	struct note_key k;

	assert_true(note_vkey_parse(text_at("keys", name, "vkey"), &k));
	return k;
}

static kms_status verify(const char *note, const struct note_key *k) { return note_verify(note, strlen(note), k, NULL, NULL); }

static void verifier_keys_are_read_and_written_as_in_the_golden_file(void **state)
{
	const char *name;
	json_t *entry;

	(void)state;
	NEED_GOLDEN();
	json_object_foreach(json_object_get(FILE_ROOT, "keys"), name, entry) {
		const char *vkey = json_string_value(json_object_get(entry, "vkey"));
		char again[NOTE_VKEY_MAX + 1];
		struct note_key k = key_named(name), sealed = k;

		assert_string_equal(k.name, json_string_value(json_object_get(entry, "name")));
		note_vkey_format(&k, again);
		assert_string_equal(again, vkey);
		memset(sealed.id, 0, sizeof(sealed.id));
		note_key_seal(&sealed);
		assert_memory_equal(sealed.id, k.id, sizeof(k.id));
	}
}

static void golden_checkpoints_verify_and_are_written_the_same_again(void **state)
{
	static const char *const NOTES[] = { "size7_ed25519", "size13_ed25519_cosigned", "size13_ecdsa_p256" };

	(void)state;
	NEED_GOLDEN();
	for (size_t i = 0; i < KMS_ARRAY_LEN(NOTES); i++) {
		const char *note = text_at("checkpoints", NOTES[i], NULL);
		struct note_key k = key_named(i == 2 ? "log_ecdsa_p256" : "log_ed25519"), other = key_named(i == 2 ? "log_ed25519" : "log_ecdsa_p256");
		struct checkpoint_text text;
		char again[NOTE_TEXT_MAX + 1], root[2 * MERKLE_HASH_LEN + 1];
		size_t len = 0;

		assert_true(checkpoint_parse(note, strlen(note), &text, &len));
		assert_int_equal(text.size, i == 0 ? 7 : 13);
		hex_encode(text.root, sizeof(text.root), root);
		assert_string_equal(root, json_string_value(json_array_get(json_object_get(FILE_ROOT, "roots_hex"), text.size)));
		assert_int_equal(checkpoint_format(&text, again), len);
		assert_memory_equal(again, note, len);
		assert_int_equal(verify(note, &k), KMS_OK);
		assert_int_equal(verify(note, &other), KMS_E_NOTFOUND);
	}
}

static void a_cosignature_tells_its_time(void **state)
{
	struct note_key k;
	int64_t time_s = 0;
	const char *note;

	(void)state;
	NEED_GOLDEN();
	k = key_named("witness_ed25519");
	note = text_at("checkpoints", "size13_ed25519_cosigned", NULL);
	assert_int_equal(note_verify(note, strlen(note), &k, &time_s, NULL), KMS_OK);
	assert_int_equal(time_s, 1795285921);
	/* The same key as one that signs plain text is another key. */
	k.type = NOTE_ED25519;
	note_key_seal(&k);
	assert_int_equal(verify(note, &k), KMS_E_NOTFOUND);
}

static void a_destruction_certificate_is_a_note_too(void **state)
{
	struct note_key attestation, approver;
	const char *note;

	(void)state;
	NEED_GOLDEN();
	attestation = key_named("attestation_ed25519");
	approver = key_named("approver_ed25519");
	note = json_string_value(json_object_get(FILE_ROOT, "destruction_certificate_note"));
	assert_int_equal(verify(note, &attestation), KMS_OK);
	assert_int_equal(verify(note, &approver), KMS_OK);
}

/* Good = the text is a strict checkpoint of this origin, and the log key's line is there and right. */
static bool is_good(const char *note, size_t len, const struct note_key *k)
{
	struct checkpoint_text text;
	size_t text_len = 0;

	return checkpoint_parse(note, len, &text, &text_len) && strcmp(text.origin, k->name) == 0 && note_verify(note, len, k, NULL, NULL) == KMS_OK;
}

static void every_bad_note_of_the_golden_file_is_refused(void **state)
{
	struct note_key k;
	json_t *bad, *list;
	size_t i;

	(void)state;
	NEED_GOLDEN();
	k = key_named("log_ed25519");
	list = json_object_get(FILE_ROOT, "bad_notes");
	assert_int_equal(json_array_size(list), 11);
	json_array_foreach(list, i, bad) {
		const char *note = json_string_value(json_object_get(bad, "note"));
		if (is_good(note, strlen(note), &k))
			fail_msg("%s is accepted", json_string_value(json_object_get(bad, "name")));
	}
}

static void each_flipped_bit_makes_the_note_invalid(void **state)
{
	static const char *const NOTES[] = { "size7_ed25519", "size13_ecdsa_p256" };

	(void)state;
	NEED_GOLDEN();
	for (size_t i = 0; i < KMS_ARRAY_LEN(NOTES); i++) {
		const char *note = text_at("checkpoints", NOTES[i], NULL);
		struct note_key k = key_named(i == 1 ? "log_ecdsa_p256" : "log_ed25519");
		size_t len = strlen(note);
		char changed[1024];

		for (size_t bit = 0; bit < 8 * len; bit++) {
			memcpy(changed, note, len + 1);
			changed[bit / 8] = (char)(changed[bit / 8] ^ (1 << bit % 8));
			if (is_good(changed, len, &k))
				fail_msg("%s: bit %zu does not matter", NOTES[i], bit);
		}
	}
}

static void the_form_is_strict(void **state)
{
	static const char ROOT[] = "Ock6ouStZfa8ykHdnYe5ULXqpEfVvDEkIyD/wWm23c4=";
	static const struct {
		const char *origin, *size, *root, *after;
		bool is_good;
	} CASES[] = {
		{ "a.b/c-1", "13", ROOT, "", true },
		{ "a.b/c-1", "0", ROOT, "", true },
		{ "a.b/c-1", "9223372036854775807", ROOT, "", true },
		{ "a.b/c-1", "9223372036854775808", ROOT, "", false },
		{ "a.b/c-1", "99999999999999999999", ROOT, "", false },
		{ "a.b/c-1", "", ROOT, "", false },
		{ "a.b/c-1", "013", ROOT, "", false },
		{ "a.b/c-1", "00", ROOT, "", false },
		{ "a.b/c-1", "+13", ROOT, "", false },
		{ "a.b/c-1", "-1", ROOT, "", false },
		{ "a.b/c-1", " 13", ROOT, "", false },
		{ "a.b/c-1", "13 ", ROOT, "", false },
		{ "a.b/c-1", "0x1", ROOT, "", false },
		{ "", "13", ROOT, "", false },
		{ "a b", "13", ROOT, "", false },
		{ "a+b", "13", ROOT, "", false },
		{ "a/", "13", ROOT, "", false },
		{ "https://a.b", "13", ROOT, "", false },
		{ "a.b/c-1", "13", "Ock6ouStZfa8ykHdnYe5ULXqpEfVvDEkIyD/wWm23c4", "", false },   /* no padding */
		{ "a.b/c-1", "13", "Ock6ouStZfa8ykHdnYe5ULXqpEfVvDEkIyD/wWm23c5=", "", false },  /* unused bits */
		{ "a.b/c-1", "13", "Ock6ouStZfa8ykHdnYe5ULXqpEfVvDEkIyD_wWm23c4=", "", false },  /* the other alphabet */
		{ "a.b/c-1", "13", "Ock6ouStZfa8ykHdnYe5ULXqpEfVvDEkIyD/wWm23c4=\r", "", false },
		{ "a.b/c-1", "13", ROOT, "an extension\n", false },
		{ "a.b/c-1", "13", ROOT, "\nsomething\n\n" DASH "x AAAA\n", false }, /* the text would end at the last empty line */
		{ "a.b/c-1", "13", ROOT, "\n" DASH "x AAAA\n", true },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		struct checkpoint_text text;
		char note[512];
		size_t len = 0;
		int total = snprintf(note, sizeof(note), "%s\n%s\n%s\n%s", CASES[i].origin, CASES[i].size, CASES[i].root, CASES[i].after);

		if (checkpoint_parse(note, (size_t)total, &text, &len) != CASES[i].is_good)
			fail_msg("case %zu: %s", i, note);
	}
}

/* Lines around the golden one: strangers are passed over, what is no line at all is refused, and a second line of ours must be right too. */
static void other_lines_are_passed_over_but_must_be_lines(void **state)
{
	static const struct {
		const char *line;
		kms_status status;
	} CASES[] = {
		{ DASH "stranger.example/key AAAAAAAA\n", KMS_OK },
		{ DASH "stranger.example/key not-base64!\n", KMS_OK },
		{ DASH "kms.example.com/audit/log1 AAAAAAAAAAAA\n", KMS_OK }, /* our name, another id */
		{ "stranger.example/key AAAAAAAA\n", KMS_E_CRYPTO },
		{ "- stranger.example/key AAAAAAAA\n", KMS_E_CRYPTO },
		{ DASH "stranger.example/key\n", KMS_E_CRYPTO },
		{ DASH " AAAAAAAA\n", KMS_E_CRYPTO },
		{ DASH "stranger.example/key AAAA AAAA\n", KMS_E_CRYPTO },
		{ DASH "stranger.example/key \n", KMS_E_CRYPTO },
		{ DASH "str\xff" "anger AAAAAAAA\n", KMS_E_CRYPTO },
		{ DASH "str\tanger AAAAAAAA\n", KMS_E_CRYPTO },
		{ "\n", KMS_E_CRYPTO },
		{ DASH "kms.example.com/audit/log1 gG6vNQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n", KMS_E_CRYPTO },
		{ DASH "kms.example.com/audit/log1 gG6vNQEB\n", KMS_E_CRYPTO }, /* too short */
		{ DASH "kms.example.com/audit/log1 gG6vNQEBA!\n", KMS_E_CRYPTO }, /* ours, and no base64 */
	};
	struct note_key k;
	const char *golden;

	(void)state;
	NEED_GOLDEN();
	k = key_named("log_ed25519");
	golden = text_at("checkpoints", "size7_ed25519", NULL);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		char note[2048];

		(void)snprintf(note, sizeof(note), "%s%s", golden, CASES[i].line);
		if (verify(note, &k) != CASES[i].status)
			fail_msg("case %zu behind: %s", i, kms_status_name(verify(note, &k)));
	}
}

static void sixteen_lines_are_accepted_and_more_than_64_kib_are_not(void **state)
{
	static char note[80 * 1024];
	struct note_key k;
	size_t len;

	(void)state;
	NEED_GOLDEN();
	k = key_named("log_ed25519");
	len = (size_t)snprintf(note, sizeof(note), "%s", text_at("checkpoints", "size7_ed25519", NULL));
	for (int i = 0; i < 31; i++)
		len += (size_t)snprintf(note + len, sizeof(note) - len, DASH "w%d AAAAAAAA\n", i);
	assert_int_equal(verify(note, &k), KMS_OK);
	while (len <= 65536)
		len += (size_t)snprintf(note + len, sizeof(note) - len, DASH "w AAAAAAAA\n");
	assert_int_equal(verify(note, &k), KMS_E_CRYPTO);
	/* But for those that may be long. */
	assert_int_equal(note_verify_long(note, len, &k, NULL), KMS_OK);
	assert_int_equal(note_text_len(note, len), strstr(note, "\n\n") + 1 - note);
	note[0] ^= 1;
	assert_int_equal(note_verify_long(note, len, &k, NULL), KMS_E_CRYPTO);
	assert_int_equal(note_text_len(note, 0), 0);
	assert_int_equal(note_text_len("no note\n", 8), 0);
}

static void only_exact_verifier_keys_are_taken(void **state)
{
	static const char *const BAD[] = {
		"",
		"kms.example.com",
		"kms.example.com/audit/log1+806eaf35",
		"kms.example.com/audit/log1+806eaf35+",
		"+806eaf35+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18z",
		"kms.example.com/audit/log1+806EAF35+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18z", /* upper case */
		"kms.example.com/audit/log1+806eaf36+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18z", /* another id */
		"kms.example.com/audit/log2+806eaf35+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18z", /* another name */
		"kms.example.com/audit/log1+806eaf35+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18",  /* cut */
		"kms.example.com/audit/log1+806eaf35+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18zz",
		"kms.example.com/audit/log1+806eaf35+Bk++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18z", /* type 6 */
		"kms example+806eaf35+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18z",
		/* a P-256 key whose id is right but whose point is not on the curve is made below */
	};
	struct note_key k = { .name = "a.b/c", .type = NOTE_ECDSA_P256 }, parsed;
	char vkey[NOTE_VKEY_MAX + 1];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		if (note_vkey_parse(BAD[i], &parsed))
			fail_msg("taken: %s", BAD[i]);
	NEED_GOLDEN();
	parsed = key_named("log_ecdsa_p256");
	memcpy(k.pub, parsed.pub, parsed.pub_len);
	k.pub_len = parsed.pub_len;
	note_key_seal(&k);
	note_vkey_format(&k, vkey);
	assert_true(note_vkey_parse(vkey, &parsed));
	k.pub[k.pub_len - 1] ^= 1;
	note_key_seal(&k);
	note_vkey_format(&k, vkey);
	assert_false(note_vkey_parse(vkey, &parsed));
}

static void check_der(const uint8_t raw[64])
{
	uint8_t ours[NOTE_SIGNATURE_MAX];
	unsigned char theirs[NOTE_SIGNATURE_MAX], *at = theirs;
	ECDSA_SIG *sig = ECDSA_SIG_new();

	assert_non_null(sig);
	assert_int_equal(ECDSA_SIG_set0(sig, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL)), 1);
	int len = i2d_ECDSA_SIG(sig, &at);
	ECDSA_SIG_free(sig);
	assert_int_equal(note_der_signature(raw, ours), len);
	assert_memory_equal(ours, theirs, (size_t)len);
}

static void signatures_become_der_as_openssl_writes_it(void **state)
{
	uint8_t raw[64];

	(void)state;
	for (int i = 0; i < 200; i++) {
		assert_true(random_bytes(raw, sizeof(raw)));
		check_der(raw);
	}
	/* Leading zeros, with and without the sign bit behind them; one; zero. */
	for (size_t zeros = 1; zeros <= 32; zeros++) {
		memset(raw, 0x80, sizeof(raw));
		memset(raw, 0, zeros);
		memset(raw + 32, 0x7f, 32);
		memset(raw + 32, 0, zeros);
		check_der(raw);
	}
}

static void a_line_is_written_as_in_the_golden_file(void **state)
{
	struct note_key k;
	const char *note, *line, *text;
	uint8_t signature[80];
	char again[NOTE_LINE_MAX + 1], url[128];
	size_t len = 0;

	(void)state;
	NEED_GOLDEN();
	k = key_named("log_ed25519");
	note = text_at("checkpoints", "size7_ed25519", NULL);
	line = strstr(note, DASH);
	text = strrchr(line, ' ') + 1;
	(void)snprintf(url, sizeof(url), "%.*s", (int)strcspn(text, "\n"), text);
	for (char *c = url; *c != '\0'; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	assert_true(b64url_decode(url, strlen(url), signature, sizeof(signature), &len));
	assert_int_equal(note_line_format(&k, signature + 4, len - 4, again), strlen(line));
	assert_string_equal(again, line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verifier_keys_are_read_and_written_as_in_the_golden_file),
		cmocka_unit_test(golden_checkpoints_verify_and_are_written_the_same_again),
		cmocka_unit_test(a_cosignature_tells_its_time),
		cmocka_unit_test(a_destruction_certificate_is_a_note_too),
		cmocka_unit_test(every_bad_note_of_the_golden_file_is_refused),
		cmocka_unit_test(each_flipped_bit_makes_the_note_invalid),
		cmocka_unit_test(the_form_is_strict),
		cmocka_unit_test(other_lines_are_passed_over_but_must_be_lines),
		cmocka_unit_test(sixteen_lines_are_accepted_and_more_than_64_kib_are_not),
		cmocka_unit_test(only_exact_verifier_keys_are_taken),
		cmocka_unit_test(signatures_become_der_as_openssl_writes_it),
		cmocka_unit_test(a_line_is_written_as_in_the_golden_file),
	};
	return cmocka_run_group_tests(tests, load, unload);
}
