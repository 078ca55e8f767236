/* tests/unit/witness_judge.c - the witness without its listener: what it reads, what it decides, what it remembers, and its clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/sha.h>

#include "server/witness/encode.h"
#include "server/witness/keyfile.h"
#include "server/witness/submission.h"
#include "server/witness/witness.h"

#define GOLDEN "../shared/vectors/audit-log/golden-v1.json"
#define PUBLIC_CONSISTENCY "../shared/vectors/merkle/consistency.json"
#define ORIGIN "kms.example.com/audit/log1"
#define TEXT_MAX 4096

static char dir[] = "/tmp/holdfast-witness-XXXXXX", key_file[64], state_dir[64], origin_hex[STATE_NAME_LEN + 1];
static uint64_t now = 1800000000;
static EVP_PKEY *log_key;
static struct verifier log_id, own;
static json_t *golden; /* NULL: this checkout has no vectors */

static uint64_t fake_now(void) { return now; }

static struct witness *open_witness(void)
{
	char why[WHY_LEN] = "";
	int fd = state_open_dir(state_dir, false, why);
	EVP_PKEY *key = keyfile_load(key_file, why);

	if (fd < 0 || key == NULL)
		fail_msg("%s", why);
	assert_true(keyfile_verifier(key, "witness.example.net/w1", &own));
	struct witness *w = witness_new(&own, key, fd, fake_now);
	assert_non_null(w);
	assert_true(witness_add_log(w, &log_id, why));
	witness_load(w);
	return w;
}

/* A checkpoint of `size` whose root is made of one byte; signed by the log. */
static void make_note(uint64_t size, uint8_t root_byte, char ret[TEXT_MAX])
{
	uint8_t root[HASH_LEN], blob[4 + 64];
	char encoded[BASE64_LEN(sizeof(blob)) + 1];
	size_t len = 64;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	memset(root, root_byte, sizeof(root));
	base64_write(root, sizeof(root), encoded);
	int text_len = snprintf(ret, TEXT_MAX, ORIGIN "\n%llu\n%s\n", (unsigned long long)size, encoded);
	memcpy(blob, log_id.id, 4);
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, log_key), 1);
	assert_int_equal(EVP_DigestSign(ctx, blob + 4, &len, (const uint8_t *)ret, (size_t)text_len), 1);
	EVP_MD_CTX_free(ctx);
	base64_write(blob, sizeof(blob), encoded);
	(void)snprintf(ret + text_len, TEXT_MAX - (size_t)text_len, "\n\xe2\x80\x94 " ORIGIN " %s\n", encoded);
}

static struct witness_reply submit(struct witness *w, uint64_t old, uint64_t size, uint8_t root_byte)
{
	char note[TEXT_MAX], body[TEXT_MAX + 64];
	struct witness_reply reply;

	make_note(size, root_byte, note);
	int len = snprintf(body, sizeof(body), "old %llu\n\n%s", (unsigned long long)old, note);
	witness_judge(w, body, (size_t)len, &reply);
	return reply;
}

/* The time that a cosignature says. */
static uint64_t time_of(const struct witness_reply *r)
{
	uint8_t blob[4 + 8 + 64];
	size_t len = 0, skip = strlen("\xe2\x80\x94 witness.example.net/w1 ");
	uint64_t time_s = 0;

	assert_int_equal(r->http, 200);
	assert_true(base64_read(r->text + skip, strlen(r->text) - skip - 1, blob, sizeof(blob), &len));
	assert_int_equal(len, sizeof(blob));
	for (unsigned i = 0; i < 8; i++)
		time_s = time_s << 8 | blob[4 + i];
	return time_s;
}

static void times_never_go_backwards_and_a_clock_that_did_is_not_believed(void **state)
{
	struct witness *w = open_witness();
	struct witness_reply r;

	(void)state;
	r = submit(w, 0, 5, 1);
	assert_int_equal(time_of(&r), now);
	now += 100;
	r = submit(w, 5, 5, 1);
	assert_int_equal(time_of(&r), 1800000100);
	now -= 60;
	r = submit(w, 5, 5, 1);
	assert_int_equal(time_of(&r), 1800000100);
	now -= 1;
	r = submit(w, 5, 5, 1);
	assert_int_equal(r.http, 503);
	/* Nor after a restart. */
	witness_free(w);
	w = open_witness();
	r = submit(w, 5, 5, 1);
	assert_int_equal(r.http, 503);
	now += 62;
	r = submit(w, 5, 5, 1);
	assert_int_equal(time_of(&r), 1800000101);
	witness_free(w);
}

static void what_cannot_be_saved_is_not_answered_and_changes_nothing(void **state)
{
	struct witness *w = open_witness();
	struct witness_reply r = submit(w, 0, 5, 1);
	struct state other = { 0 };
	char why[WHY_LEN] = "";

	(void)state;
	if (r.http == 409) /* the test before */
		r = submit(w, 5, 5, 1);
	assert_int_equal(r.http, 200);
	int fd = state_open_dir(state_dir, true, why);
	assert_int_equal(state_load(fd, ORIGIN, &other, why), STATE_READ);
	state_clear(&other);
	assert_int_equal(state_load(fd, "another/log", &other, why), STATE_NONE);
	/* The new file cannot be made where a directory of its name stands. */
	char aside[192];
	(void)snprintf(aside, sizeof(aside), "%s/%s.new", state_dir, origin_hex);
	assert_int_equal(mkdir(aside, 0700), 0);
	r = submit(w, 5, 5, 1);
	assert_int_equal(r.http, 503);
	assert_int_equal(rmdir(aside), 0);
	r = submit(w, 5, 5, 2);
	assert_int_equal(r.http, 409);
	assert_true(r.is_size);
	assert_string_equal(r.text, "5\n");
	assert_int_equal(submit(w, 5, 5, 1).http, 200);
	(void)close(fd);
	witness_free(w);
}

static bool key_is_taken(mode_t mode)
{
	char why[WHY_LEN];
	assert_int_equal(chmod(key_file, mode), 0);
	EVP_PKEY *key = keyfile_load(key_file, why);
	EVP_PKEY_free(key);
	return key != NULL;
}

static void a_key_that_others_may_read_is_refused_unless_the_service_manager_made_it_so(void **state)
{
	(void)state;
	assert_true(key_is_taken(0600));
	assert_true(key_is_taken(0400));
	assert_false(key_is_taken(0440));
	assert_false(key_is_taken(0604));
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", dir, 1), 0);
	assert_true(key_is_taken(0440));
	assert_false(key_is_taken(0460));
	assert_false(key_is_taken(0444));
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/tmp", 1), 0);
	assert_false(key_is_taken(0440));
	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
	assert_true(key_is_taken(0600));
}

/* ---- parsing ---- */

static void base64_and_numbers_have_one_form(void **state)
{
	static const char *const BAD[] = { "", "A", "AA", "AAA", "AA=", "AAA=A", "AB==", "AAB=", "A===", "====", "AA==AAAA", "AA A", "AA\nA", "A-A_" };
	static const char *const BAD_NUMBERS[] = { "", "-1", "+1", "01", "00", " 1", "1 ", "0x1", "9223372036854775808", "99999999999999999999" };
	uint8_t bytes[64], again[64];
	char text[BASE64_LEN(64) + 1];
	size_t len = 0;
	uint64_t n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		if (base64_read(BAD[i], strlen(BAD[i]), bytes, sizeof(bytes), &len))
			fail_msg("'%s' was read", BAD[i]);
	for (size_t i = 0; i < sizeof(BAD_NUMBERS) / sizeof(BAD_NUMBERS[0]); i++)
		if (decimal_read(BAD_NUMBERS[i], strlen(BAD_NUMBERS[i]), &n))
			fail_msg("'%s' was read", BAD_NUMBERS[i]);
	assert_true(decimal_read("9223372036854775807", 19, &n) && n == INT64_MAX);
	assert_true(decimal_read("0", 1, &n) && n == 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 73);
	for (size_t size = 1; size <= sizeof(bytes); size++) {
		base64_write(bytes, size, text);
		assert_true(base64_read(text, strlen(text), again, size, &len));
		assert_int_equal(len, size);
		assert_memory_equal(again, bytes, size);
		assert_false(base64_read(text, strlen(text), again, size - 1, &len));
	}
}

static void a_submission_cut_anywhere_is_none(void **state)
{
	char note[TEXT_MAX], body[TEXT_MAX + 256], hash[BASE64_LEN(HASH_LEN) + 1];
	struct submission s;
	const char *why = NULL;
	uint8_t zero[HASH_LEN] = { 0 };

	(void)state;
	make_note(7, 1, note);
	base64_write(zero, sizeof(zero), hash);
	int len = snprintf(body, sizeof(body), "old 3\n%s\n%s\n\n%s", hash, hash, note);
	assert_true(submission_parse(body, (size_t)len, &s, &why));
	assert_int_equal(s.old_size, 3);
	assert_int_equal(s.proof_count, 2);
	assert_int_equal(s.note.size, 7);
	assert_string_equal(s.note.origin, ORIGIN);
	for (int cut = 0; cut < len; cut++) {
		char *exact = malloc((size_t)cut + 1); /* so that a read beyond the end is seen */
		memcpy(exact, body, (size_t)cut);
		assert_false(submission_parse(exact, (size_t)cut, &s, &why));
		assert_non_null(why);
		free(exact);
	}
}

/* ---- published data ---- */

static void golden_notes_are_judged_as_they_say(void **state)
{
	struct verifier keys[2];
	struct note n;
	char lines[TEXT_MAX];
	json_t *item = NULL;
	const char *name = NULL;
	size_t i = 0;

	(void)state;
	if (golden == NULL)
		skip();
	for (i = 0; i < 2; i++) {
		const char *vkey = json_string_value(json_object_get(json_object_get(json_object_get(golden, "keys"), i == 0 ? "log_ed25519" : "log_ecdsa_p256"), "vkey"));
		char again[VKEY_LEN_MAX + 1];
		assert_true(verifier_parse(vkey, strlen(vkey), &keys[i]));
		verifier_format(&keys[i], again);
		assert_string_equal(again, vkey);
	}
	json_object_foreach(json_object_get(golden, "checkpoints"), name, item) {
		if (!note_parse(json_string_value(item), json_string_length(item), &n) || note_verify(&n, keys, 2, lines) != NOTE_GOOD)
			fail_msg("%s", name);
	}
	json_array_foreach(json_object_get(golden, "bad_notes"), i, item) {
		const json_t *note = json_object_get(item, "note");
		/* An origin that is another log's is found out by whose keys are asked. */
		if (note_parse(json_string_value(note), json_string_length(note), &n) && strcmp(n.origin, ORIGIN) == 0 && note_verify(&n, keys, 1, lines) == NOTE_GOOD)
			fail_msg("%s", json_string_value(json_object_get(item, "name")));
	}
}

static void the_golden_cosignature_is_the_one_that_is_made(void **state)
{
	static const char *const SEED = "afc99512192db32b5137066e7e0ea3485ec0c83a73386216a1f0a93f10d07d85";
	uint8_t seed[32], pub[32];
	size_t pub_len = sizeof(pub);
	struct verifier w1;
	struct note n;
	char line[COSIGNATURE_LINE_MAX + 1];

	(void)state;
	if (golden == NULL)
		skip();
	for (size_t i = 0; i < sizeof(seed); i++)
		assert_int_equal(sscanf(SEED + 2 * i, "%2hhx", &seed[i]), 1);
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
	assert_int_equal(EVP_PKEY_get_raw_public_key(key, pub, &pub_len), 1);
	verifier_make("witness.example.net/w1", KEY_COSIGNATURE, pub, &w1);
	const json_t *note = json_object_get(json_object_get(golden, "checkpoints"), "size13_ed25519_cosigned");
	assert_true(note_parse(json_string_value(note), json_string_length(note), &n));
	assert_true(note_cosign(&n, &w1, key, 0x6b01e3a1, line));
	assert_non_null(strstr(json_string_value(note), line));
	EVP_PKEY_free(key);
}

static size_t read_hash(const json_t *text, uint8_t ret[HASH_LEN])
{
	size_t len = 0;
	const char *s = json_string_value(text);
	return s != NULL && base64_read(s, strlen(s), ret, HASH_LEN, &len) ? len : 0;
}

static void public_consistency_vectors_are_all_decided_as_they_say(void **state)
{
	json_t *cases = json_load_file(PUBLIC_CONSISTENCY, 0, NULL), *item = NULL, *hash = NULL;
	size_t i = 0, k = 0, decided = 0;

	(void)state;
	if (cases == NULL)
		skip();
	json_array_foreach(cases, i, item) {
		uint8_t from_root[HASH_LEN], to_root[HASH_LEN], proof[PROOF_MAX][HASH_LEN];
		json_int_t from = json_integer_value(json_object_get(item, "size1")), to = json_integer_value(json_object_get(item, "size2"));
		bool wanted = !json_is_true(json_object_get(item, "wantErr"));
		bool is_readable = read_hash(json_object_get(item, "root1"), from_root) == HASH_LEN && read_hash(json_object_get(item, "root2"), to_root) == HASH_LEN &&
		                   json_array_size(json_object_get(item, "proof")) <= PROOF_MAX;
		json_array_foreach(json_object_get(item, "proof"), k, hash)
			is_readable = is_readable && read_hash(hash, proof[k]) == HASH_LEN;
		bool is_good = is_readable && from >= 0 && to >= 0 &&
		               tree_extends((uint64_t)from, from_root, (uint64_t)to, to_root, proof, json_array_size(json_object_get(item, "proof")));
		/* One case compares two equal sizes under roots that are no hashes. */
		if (is_good != wanted && is_readable)
			fail_msg("case %zu: %s", i, json_string_value(json_object_get(item, "desc")));
		decided += is_readable ? 1 : 0;
	}
	assert_true(decided > 50);
	json_decref(cases);
}

static int setup(void **state)
{
	uint8_t pub[32], digest[SHA256_DIGEST_LENGTH];
	size_t len = sizeof(pub);
	char why[WHY_LEN];

	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(key_file, sizeof(key_file), "%s/key", dir);
	(void)snprintf(state_dir, sizeof(state_dir), "%s/state", dir);
	log_key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	if (!keyfile_make(key_file, why) || EVP_PKEY_get_raw_public_key(log_key, pub, &len) != 1)
		return -1;
	verifier_make(ORIGIN, KEY_ED25519, pub, &log_id);
	SHA256((const uint8_t *)ORIGIN, strlen(ORIGIN), digest);
	hex_write(digest, sizeof(digest), origin_hex);
	golden = json_load_file(GOLDEN, JSON_REJECT_DUPLICATES, NULL);
	return 0;
}

static int teardown(void **state)
{
	static const char *const FILES[] = { ".state", ".refused-1" };
	char path[192];

	(void)state;
	for (size_t i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s%s", state_dir, origin_hex, FILES[i]);
		(void)unlink(path);
	}
	(void)rmdir(state_dir);
	(void)unlink(key_file);
	EVP_PKEY_free(log_key);
	json_decref(golden);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_never_go_backwards_and_a_clock_that_did_is_not_believed),
		cmocka_unit_test(what_cannot_be_saved_is_not_answered_and_changes_nothing),
		cmocka_unit_test(a_key_that_others_may_read_is_refused_unless_the_service_manager_made_it_so),
		cmocka_unit_test(base64_and_numbers_have_one_form),
		cmocka_unit_test(a_submission_cut_anywhere_is_none),
		cmocka_unit_test(golden_notes_are_judged_as_they_say),
		cmocka_unit_test(the_golden_cosignature_is_the_one_that_is_made),
		cmocka_unit_test(public_consistency_vectors_are_all_decided_as_they_say),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
