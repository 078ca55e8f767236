/* tests/unit/api_audit.c - the audit API on real parts: every proof it serves is checked against the note that was signed, and nobody sees another
 * vault's leaf. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <jansson.h>
#include <sqlite3.h>

#include "api/api.h"
#include "server/core/checkpoint.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/approvals.h"
#include "tests/support/raw_client.h"

#define ORIGIN "vault.test/audit/log1"
#define TOKEN_MAX 4096
#define SEAL_MS 10000
#define UNSIGNED "1" /* the first checkpoint comes later */

static struct t_domain domain;
static struct api *api;
static struct http_server *server;
static struct raw_client *client;

enum who { ALPHA_AUDITOR, ALPHA_NOBODY, BETA_AUDITOR, ALL_AUDITOR, WHO_COUNT };
static struct t_person person[WHO_COUNT];
static char token[WHO_COUNT][TOKEN_MAX];

static struct raw_response *res; /* of the newest request */

/* ---- the rig ---- */

static kms_status open_store(void *arg, struct store **ret_store, struct kms_err *err)
{
	const struct t_domain *d = arg;
	return store_open_sqlite(d->store->path, STORE_READ, ret_store, err);
}

static void start_checkpointer(void)
{
	const struct log_verdict good = { .state = LOG_GOOD };
	struct checkpointer_config cfg = { .kms = &domain.kms, .verdict = &good, .interval_ms = 100, .leaves = 1000, .pin_s = 60, .heartbeat_s = 3600,
		                           .late_ms = 60000 };
	struct kms_err err = { 0 };

	assert_int_equal(open_store(&domain, &cfg.store, &err), KMS_OK);
	if (checkpointer_start(&cfg, &domain.kms.log, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
}

/* Everything that was written up to now is covered. */
static void seal_all(void)
{
	struct writer_state w = { 0 };
	struct kms_err err = { 0 };

	writer_state(domain.kms.writer, &w);
	if (log_seal(domain.kms.log, w.size - 1, SEAL_MS, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
}

static void start_server(void)
{
	const struct http_config cfg = { .name = "test", .address = "127.0.0.1", .threads = 1, .connections = 16, .headers_ms = 5000,
		                         .request_ms = 5000, .idle_s = 30, .work_ms = 10000 };
	struct api_config acfg = { .kms = &domain.kms, .open_store = open_store, .arg = &domain, .crypto_threads = 1, .queue = 16,
		                   .limits = { .vault = { LIMITS_MAX, LIMITS_MAX }, .principal = { LIMITS_MAX, LIMITS_MAX } } };
	struct kms_err err = { 0 };
	struct http_app app;

	if (api_start(&acfg, &api, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	app = api_app(api, API_MAIN);
	if (http_start(&cfg, &app, &server, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	client = raw_connect(http_port(server), NULL);
	assert_non_null(client);
}

static void make_token(enum who who)
{
	struct store_principal p = { 0 };
	struct tokens *tokens = NULL;
	SECRET_AUTO *text = NULL;
	struct kms_err err = { 0 };

	assert_int_equal(store_principal(domain.store->r, person[who].id, &p, NULL), KMS_OK);
	if (tokens_new(&domain.kms, NULL, &tokens, &err) != KMS_OK ||
	    tokens_issue(tokens, &p, person[who].caller.directory, &text, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	assert_true(secret_len(text) < TOKEN_MAX);
	memcpy(token[who], secret_data(text), secret_len(text));
	tokens_free(tokens);
}

static int open_all(void **state)
{
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	json_setup();
	res = calloc(1, sizeof(*res));
	assert_non_null(res);
	t_domain_open(&domain);
	domain.kms.token_life_s = 1000000;
	t_vault(&domain, "alpha", false);
	t_vault(&domain, "beta", false);
	t_key(&domain, "alpha", "alphas-key", KEY_EC, obj);
	t_key(&domain, "beta", "betas-key", KEY_EC, obj);
	person[ALPHA_AUDITOR] = t_person(&domain, "alpha", "ada", ROLE_AUDITOR);
	person[ALPHA_NOBODY] = t_person(&domain, "alpha", "nemo", (enum role)0);
	person[BETA_AUDITOR] = t_person(&domain, "beta", "bob", ROLE_AUDITOR);
	person[ALL_AUDITOR] = t_person(&domain, NULL, "olga", ROLE_AUDITOR);
	for (int who = 0; who < WHO_COUNT; who++)
		make_token((enum who)who);
	start_checkpointer();
	start_server();
	seal_all();
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	raw_close(client);
	http_stop(server, 1000);
	api_stop(api);
	checkpointer_stop(domain.kms.log);
	domain.kms.log = NULL;
	writer_stop(domain.kms.writer);
	domain.kms.writer = NULL;
	api_free(api);
	t_domain_close(&domain);
	free(res);
	return 0;
}

/* The allowance of proofs is that of a second of the test's clock. */
static int pass(void **state)
{
	(void)state;
	t_domain_pass(1);
	return 0;
}

static int get_as(const char *bearer, const char *target)
{
	char text[TOKEN_MAX + 2048];

	(void)snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: vault.test\r\n%s%s%s\r\n", target, bearer[0] != '\0' ? "Authorization: Bearer " : "",
	               bearer, bearer[0] != '\0' ? "\r\n" : "");
	return raw_ask(client, text, res);
}

__attribute__((format(printf, 2, 3))) static int get(enum who who, const char *format, ...)
{
	char target[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(target, sizeof(target), format, args);
	va_end(args);
	return get_as(token[who], target);
}

static void assert_header(const char *name, const char *value)
{
	const char *found = raw_header(res, name);

	if (found == NULL || strcmp(found, value) != 0)
		fail_msg("%s is '%s'", name, found != NULL ? found : "(absent)");
}

static json_t *body(void)
{
	json_t *j = json_loads(res->body, JSON_REJECT_DUPLICATES, NULL);

	if (j == NULL)
		fail_msg("no JSON: %s", res->body);
	return j;
}

static uint64_t number(const json_t *object, const char *name)
{
	assert_true(json_is_integer(json_object_get(object, name)));
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

/* ---- what a client computes ---- */

static void hash_from(const char *base64, uint8_t ret[MERKLE_HASH_LEN])
{
	char url[B64_LEN(MERKLE_HASH_LEN) + 1];
	size_t len = 0;

	assert_int_equal(strlen(base64), B64_LEN(MERKLE_HASH_LEN));
	for (size_t i = 0; i < sizeof(url); i++)
		url[i] = (char)(base64[i] == '+' ? '-' : base64[i] == '/' ? '_' : base64[i]);
	assert_true(b64url_decode(url, strlen(url), ret, MERKLE_HASH_LEN, &len));
	assert_int_equal(len, MERKLE_HASH_LEN);
}

static struct merkle_proof proof_from(const json_t *object)
{
	struct merkle_proof p = { .count = json_array_size(json_object_get(object, "hashes")) };

	assert_true(p.count <= MERKLE_PROOF_MAX);
	for (size_t i = 0; i < p.count; i++)
		hash_from(json_string_value(json_array_get(json_object_get(object, "hashes"), i)), p.hash[i]);
	return p;
}

static struct note_key log_key(void)
{
	static struct note_key k; /* asked for once */
	json_t *j = NULL;

	if (k.pub_len > 0)
		return k;
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/keys"), 200);
	j = body();
	assert_true(note_vkey_parse(json_string_value(json_object_get(json_array_get(json_object_get(j, "log"), 0), "vkey")), &k));
	json_decref(j);
	return k;
}

/* The answer is a note of the log: verified, and read. */
static struct checkpoint_text verified(const char *note)
{
	const struct note_key k = log_key(); /* may replace the answer */
	struct checkpoint_text c = { .size = 0 };
	struct kms_err err = { 0 };
	size_t text_len = 0;

	if (note_verify(note, strlen(note), &k, NULL, &err) != KMS_OK)
		fail_msg("%s: %s", kms_err_text(&err), note);
	assert_true(checkpoint_parse(note, strlen(note), &c, &text_len));
	assert_string_equal(c.origin, ORIGIN);
	return c;
}

static struct checkpoint_text checkpoint_at(const char *path)
{
	char note[STORE_NOTE_MAX + 1];

	assert_int_equal(get(ALPHA_NOBODY, "%s", path), 200);
	assert_true(res->body_len < sizeof(note));
	memcpy(note, res->body, res->body_len + 1);
	return verified(note);
}

static struct checkpoint_text checkpoint_of(uint64_t size)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/audit/v1/checkpoint/%llu", (unsigned long long)size);
	return checkpoint_at(path);
}

/* What has been signed by now; that covers what the tests began with. */
static struct checkpoint_text present(void) { return checkpoint_at("/audit/v1/checkpoint"); }

static struct checkpoint_text newest(void)
{
	seal_all();
	return present();
}

static void leaf_of(uint64_t seq, struct store_event *ret) { assert_int_equal(store_event(domain.store->r, seq, ret, NULL), KMS_OK); }

/* The newest leaf whose text has all of these. */
static uint64_t find_leaf(const char *a, const char *b)
{
	struct writer_state w = { 0 };

	writer_state(domain.kms.writer, &w);
	for (uint64_t seq = w.size; seq-- > 0;) {
		struct store_event e = { 0 };
		bool is_it = false;
		leaf_of(seq, &e);
		is_it = memmem(e.leaf, e.leaf_len, a, strlen(a)) != NULL && memmem(e.leaf, e.leaf_len, b, strlen(b)) != NULL;
		store_event_clear(&e);
		if (is_it)
			return seq;
	}
	fail_msg("no leaf with %s and %s", a, b);
	return 0;
}

static void assert_last_read(const char *text)
{
	struct store_event e = { 0 };
	char leaf[EVENT_LEAF_MAX + 1];

	leaf_of(strtoull(raw_header(res, "x-audit-seq"), NULL, 10), &e);
	memcpy(leaf, e.leaf, e.leaf_len);
	leaf[e.leaf_len] = '\0';
	store_event_clear(&e);
	if (strstr(leaf, "\"audit.read\"") == NULL || strstr(leaf, text) == NULL)
		fail_msg("no %s in %s", text, leaf);
}

/* ---- checkpoints and keys ---- */

static void the_newest_checkpoint_is_signed_and_found_by_its_size(void **state)
{
	struct checkpoint_text c = present(), same;

	(void)state;
	same = checkpoint_of(c.size);
	assert_memory_equal(c.root, same.root, sizeof(c.root));
	assert_int_equal(get(BETA_AUDITOR, "/audit/v1/checkpoint"), 200);
	assert_header("Content-Type", "text/plain; charset=utf-8");
	assert_header("Cache-Control", "private, max-age=2");
	assert_null(raw_header(res, "Pragma"));
	assert_null(raw_header(res, "Expires"));
	assert_header("x-audit-origin", ORIGIN);
	assert_last_read("\"what\":\"checkpoint\"");
	assert_int_equal(get(BETA_AUDITOR, "/audit/v1/checkpoint/" UNSIGNED), 404);
	assert_header("Cache-Control", "no-cache");
	assert_int_equal(get(BETA_AUDITOR, "/audit/v1/checkpoint/%llu", (unsigned long long)c.size + 100000), 404);
}

static void the_keys_are_those_that_sign(void **state)
{
	const json_t *key = NULL;
	struct note_key k = { 0 };
	json_t *j = NULL;

	(void)state;
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/keys"), 200);
	assert_last_read("\"what\":\"keys\"");
	j = body();
	assert_string_equal(json_string_value(json_object_get(j, "origin")), ORIGIN);
	assert_int_equal(json_array_size(json_object_get(j, "log")), 1);
	key = json_array_get(json_object_get(j, "log"), 0);
	assert_string_equal(json_string_value(json_object_get(key, "origin")), ORIGIN);
	assert_int_equal(number(key, "generation"), 1);
	assert_true(json_is_true(json_object_get(key, "current")));
	assert_true(note_vkey_parse(json_string_value(json_object_get(key, "vkey")), &k));
	assert_string_equal(k.name, ORIGIN);
	assert_true(number(key, "from_size") <= 1);
	/* Another key, of another name and kind: what it signs can never be a checkpoint. */
	assert_true(note_vkey_parse(json_string_value(json_object_get(json_array_get(json_object_get(j, "attestation"), 0), "vkey")), &k));
	assert_string_equal(k.name, "vault.test/attest/k1");
	assert_int_equal(k.type, NOTE_ECDSA_P256);
	assert_memory_equal(k.pub + k.pub_len - domain.kms.inst.attestation_public.point_len, domain.kms.inst.attestation_public.point,
	                    domain.kms.inst.attestation_public.point_len);
	assert_int_equal(json_array_size(json_object_get(j, "witnesses")), 0);
	assert_true(json_is_array(json_object_get(j, "closed")));
	assert_int_equal(json_array_size(json_object_get(j, "closed")), 0);
	json_decref(j);
}

/* ---- proofs ---- */

static void assert_included(uint64_t seq, const struct checkpoint_text *c, const uint8_t leaf[MERKLE_HASH_LEN])
{
	uint8_t told[MERKLE_HASH_LEN];
	struct merkle_proof p;
	json_t *j = NULL;

	if (get(ALPHA_NOBODY, "/audit/v1/proof/inclusion?seq=%llu&size=%llu", (unsigned long long)seq, (unsigned long long)c->size) != 200)
		fail_msg("%s", res->body);
	j = body();
	assert_int_equal(json_object_size(j), 4);
	assert_int_equal(number(j, "seq"), seq);
	assert_int_equal(number(j, "size"), c->size);
	hash_from(json_string_value(json_object_get(j, "leaf")), told);
	assert_memory_equal(told, leaf, sizeof(told));
	p = proof_from(j);
	json_decref(j);
	assert_true(merkle_check_inclusion(seq, c->size, leaf, &p, c->root));
}

static void an_inclusion_proof_leads_from_each_leaf_to_the_signed_root(void **state)
{
	struct checkpoint_text c = present();

	(void)state;
	for (uint64_t n = 0; n < 24; n++) {
		uint64_t seq = n * (c.size - 1) / 23;
		struct store_event e = { 0 };
		uint8_t hash[MERKLE_HASH_LEN];
		leaf_of(seq, &e);
		merkle_leaf_hash(e.leaf, e.leaf_len, hash);
		store_event_clear(&e);
		assert_included(seq, &c, hash);
	}
	assert_last_read("\"what\":\"inclusion\"");
}

static void a_receipt_is_kept_by_the_next_checkpoint(void **state)
{
	uint8_t hash[MERKLE_HASH_LEN];
	struct checkpoint_text c;
	uint64_t seq = 0;

	(void)state;
	/* Of a refusal too. */
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/entries"), 403);
	seq = strtoull(raw_header(res, "x-audit-seq"), NULL, 10);
	hash_from(raw_header(res, "x-audit-leaf"), hash);
	assert_header("x-audit-origin", ORIGIN);
	c = newest();
	assert_true(c.size > seq);
	assert_included(seq, &c, hash);
}

static void assert_extends(const struct checkpoint_text *from, const struct checkpoint_text *to)
{
	struct merkle_proof p;
	json_t *j = NULL;

	if (get(BETA_AUDITOR, "/audit/v1/proof/consistency?from=%llu&to=%llu", (unsigned long long)from->size, (unsigned long long)to->size) != 200)
		fail_msg("%s", res->body);
	j = body();
	assert_int_equal(json_object_size(j), 3);
	assert_int_equal(number(j, "from"), from->size);
	assert_int_equal(number(j, "to"), to->size);
	p = proof_from(j);
	json_decref(j);
	assert_true(merkle_check_consistency(from->size, to->size, from->root, to->root, &p));
}

static void later_checkpoints_extend_earlier_ones(void **state)
{
	struct checkpoint_text c[4];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(c); i++) {
		for (size_t n = 0; n <= i; n++)
			assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries?count=1"), 200);
		c[i] = newest();
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(c); i++)
		for (size_t k = i; k < KMS_ARRAY_LEN(c); k++)
			assert_extends(&c[i], &c[k]);
	assert_last_read("\"what\":\"consistency\"");
	/* The newest is what is meant without `to`. */
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/proof/consistency?from=%llu", (unsigned long long)c[0].size), 200);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/proof/consistency?from=%llu&to=%llu", (unsigned long long)c[1].size,
	                     (unsigned long long)c[0].size), 400);
}

/* ---- leaves ---- */

static kms_status forget(void *arg, unsigned level, uint64_t position, const uint8_t hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	(void)arg;
	(void)level;
	(void)position;
	(void)hash;
	(void)err;
	return KMS_OK;
}

/* Fold all entries, whatever the caller may see of them, to the root. @return how many were whole leaves */
static size_t fold_entries(enum who who, const struct checkpoint_text *c)
{
	struct merkle_edge edge = { 0 };
	uint8_t root[MERKLE_HASH_LEN];
	size_t whole = 0;

	while (edge.size < c->size) {
		uint64_t count = c->size - edge.size < 20 ? c->size - edge.size : 20;
		char *line = res->body, *end = NULL;
		assert_int_equal(get(who, "/audit/v1/entries?start=%llu&count=%llu", (unsigned long long)edge.size, (unsigned long long)count), 200);
		assert_header("Content-Type", "application/x-ndjson");
		for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
			uint8_t hash[MERKLE_HASH_LEN];
			json_t *j = json_loadb(line, (size_t)(end - line), 0, NULL);
			assert_int_equal(number(j, "seq"), edge.size);
			merkle_leaf_hash(line, (size_t)(end - line), hash);
			if (json_object_get(j, "hash") != NULL) {
				assert_int_equal(json_object_size(j), 2);
				hash_from(json_string_value(json_object_get(j, "hash")), hash);
			} else {
				whole++;
			}
			json_decref(j);
			assert_int_equal(merkle_append(&edge, hash, forget, NULL, NULL), KMS_OK);
		}
	}
	merkle_root(&edge, root);
	assert_memory_equal(root, c->root, sizeof(root));
	return whole;
}

static void who_may_not_see_a_leaf_gets_its_hash_and_the_tree_still_folds(void **state)
{
	struct checkpoint_text c = present();
	uint64_t betas = find_leaf("\"key.create\"", "betas-key"), alphas = find_leaf("\"key.create\"", "alphas-key");
	size_t alpha = 0, beta = 0;

	(void)state;
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries?start=%llu&count=1", (unsigned long long)betas), 200);
	assert_null(strstr(res->body, "betas-key"));
	assert_non_null(strstr(res->body, "{\"hash\":\""));
	assert_last_read("\"what\":\"entries\"");
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries?start=%llu&count=1", (unsigned long long)alphas), 200);
	assert_non_null(strstr(res->body, "alphas-key"));
	alpha = fold_entries(ALPHA_AUDITOR, &c);
	t_domain_pass(1);
	beta = fold_entries(BETA_AUDITOR, &c);
	assert_true(alpha > 0 && beta > 0 && alpha + beta < c.size);
	assert_int_equal(fold_entries(ALL_AUDITOR, &c), c.size);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/entries"), 403);
	assert_non_null(strstr(res->body, "Holdfast/vaults/audit/read"));
}

static void entries_end_where_the_log_ends(void **state)
{
	struct writer_state w = { 0 };

	(void)state;
	writer_state(domain.kms.writer, &w);
	assert_int_equal(get(ALL_AUDITOR, "/audit/v1/entries?start=%llu&count=1000", (unsigned long long)w.size - 2), 200);
	assert_non_null(strchr(res->body, '\n'));
	assert_int_equal(get(ALL_AUDITOR, "/audit/v1/entries?start=1000000000"), 200);
	assert_int_equal(res->body_len, 0);
	assert_int_equal(get(ALL_AUDITOR, "/audit/v1/entries?start=9223372036854775807&count=1000"), 200);
	assert_int_equal(res->body_len, 0);
	assert_int_equal(get(ALL_AUDITOR, "/audit/v1/entries?count=0"), 200);
	assert_int_equal(res->body_len, 0);
}

static void id_of(uint64_t seq, char ret[GUID_TEXT_LEN + 1])
{
	struct store_event e = { 0 };

	leaf_of(seq, &e);
	guid_format(e.id, ret);
	store_event_clear(&e);
}

static void an_event_is_found_by_its_id_and_only_its_own(void **state)
{
	uint64_t alphas = find_leaf("\"key.create\"", "alphas-key"), betas = find_leaf("\"key.create\"", "betas-key");
	struct store_event e = { 0 };
	char id[GUID_TEXT_LEN + 1];

	(void)state;
	id_of(alphas, id);
	assert_int_equal(id[14], '8'); /* UUIDv8 */
	leaf_of(alphas, &e);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries/%s", id), 200);
	assert_header("Content-Type", "application/json");
	assert_int_equal(res->body_len, e.leaf_len);
	assert_memory_equal(res->body, e.leaf, e.leaf_len); /* the very bytes that were hashed */
	store_event_clear(&e);
	assert_last_read("\"what\":\"entry\"");
	for (char *p = id; *p != '\0'; p++)
		*p = (char)(*p >= 'a' && *p <= 'f' ? *p - 'a' + 'A' : *p);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries/%s", id), 200);
	/* Another bit of it, and it is nobody's. */
	id[GUID_TEXT_LEN - 1] = id[GUID_TEXT_LEN - 1] == '0' ? '1' : '0';
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries/%s", id), 404);
	id_of(betas, id);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries/%s", id), 200);
	assert_int_equal(strncmp(res->body, "{\"hash\":\"", strlen("{\"hash\":\"")), 0);
	assert_null(strstr(res->body, "betas-key"));
	assert_int_equal(get(ALL_AUDITOR, "/audit/v1/entries/%s", id), 200);
	assert_non_null(strstr(res->body, "betas-key"));
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries/00000000-0000-4000-8000-000000000000"), 404);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries/ffffffff-ffff-8fff-bfff-ffffffffffff"), 404);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/entries/17"), 404);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/entries/%s", id), 403);
}

/* The lines of a bundle, taken apart; strict in what stands where. */
static void check_bundle(uint64_t seq, const char *must_say)
{
	static const char HEAD[] = "c2sp.org/tlog-proof@v1\nextra ";
	char text[16384], index[64], leaf[EVENT_LEAF_MAX + 1] = "", *p = text;
	uint8_t hash[MERKLE_HASH_LEN];
	struct merkle_proof proof = { 0 };
	struct checkpoint_text c;
	size_t len = 0;

	assert_true(res->body_len < sizeof(text));
	memcpy(text, res->body, res->body_len + 1);
	assert_header("Content-Type", "text/plain; charset=utf-8");
	assert_int_equal(strncmp(p, HEAD, sizeof(HEAD) - 1), 0);
	p += sizeof(HEAD) - 1;
	len = strcspn(p, "\n");
	for (size_t i = 0; i < len; i++)
		p[i] = (char)(p[i] == '+' ? '-' : p[i] == '/' ? '_' : p[i]);
	assert_true(b64url_decode(p, len, (uint8_t *)leaf, sizeof(leaf) - 1, &len));
	assert_non_null(strstr(leaf, must_say));
	merkle_leaf_hash(leaf, len, hash);
	p = strchr(p, '\n') + 1;
	(void)snprintf(index, sizeof(index), "index %llu\n", (unsigned long long)seq);
	assert_int_equal(strncmp(p, index, strlen(index)), 0);
	for (p += strlen(index); *p != '\n'; p = strchr(p, '\n') + 1) {
		char line[B64_LEN(MERKLE_HASH_LEN) + 1];
		(void)snprintf(line, sizeof(line), "%s", p);
		assert_int_equal(p[sizeof(line) - 1], '\n');
		hash_from(line, proof.hash[proof.count++]);
	}
	c = verified(p + 1);
	assert_true(merkle_check_inclusion(seq, c.size, hash, &proof, c.root));
}

static void a_bundle_proves_its_leaf_alone_and_only_to_who_may_see_it(void **state)
{
	uint64_t alphas = find_leaf("\"key.create\"", "alphas-key"), betas = find_leaf("\"key.create\"", "betas-key");
	char id[GUID_TEXT_LEN + 1];

	(void)state;
	id_of(alphas, id);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/proof/bundle?id=%s", id), 200);
	assert_last_read("\"what\":\"bundle\"");
	check_bundle(alphas, "alphas-key");
	assert_int_equal(get(ALL_AUDITOR, "/audit/v1/proof/bundle?seq=%llu", (unsigned long long)betas), 200);
	check_bundle(betas, "betas-key");
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/proof/bundle?seq=%llu", (unsigned long long)betas), 403);
	assert_non_null(strstr(res->body, "'Holdfast/audit/read'"));
	assert_null(strstr(res->body, "betas-key"));
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/proof/bundle?seq=%llu", (unsigned long long)alphas), 403);
	assert_non_null(strstr(res->body, "'Holdfast/vaults/audit/read'"));
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/proof/bundle"), 400);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/proof/bundle?id=%s&seq=%llu", id, (unsigned long long)alphas), 400);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/proof/bundle?seq=1000000000"), 400);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/proof/bundle?id=00000000-0000-4000-8000-000000000000"), 404);
}

/* ---- tiles ---- */

static atomic_uint written;

static void count_written(struct write *w)
{
	assert_int_equal(w->status, KMS_OK);
	atomic_fetch_add(&written, 1);
}

/* By many at once, as they come in a busy hour. */
static void grow_by(unsigned count)
{
	struct write *units = calloc(count, sizeof(*units));
	const struct timespec pause = { .tv_nsec = 1000000 };

	assert_non_null(units);
	atomic_store(&written, 0);
	for (unsigned i = 0; i < count; i++) {
		units[i] = (struct write){ .event = { .type = EVENT_AUDIT_READ, .actor = EVENT_ACTOR_SYSTEM }, .done = count_written };
		while (writer_submit(domain.kms.writer, &units[i]) == KMS_E_THROTTLED)
			(void)nanosleep(&pause, NULL);
	}
	while (atomic_load(&written) < count)
		(void)nanosleep(&pause, NULL);
	free(units);
}

static void tiles_hold_the_hashes_of_the_tree_and_rebuild_its_root(void **state)
{
	struct merkle_edge tile = { 0 }, whole = { 0 };
	uint8_t root[MERKLE_HASH_LEN], first[MERKLE_HASH_LEN];
	struct writer_state w = { 0 };
	struct checkpoint_text c;
	unsigned rest = 0;

	(void)state;
	writer_state(domain.kms.writer, &w);
	if (w.size < 300)
		grow_by((unsigned)(300 - w.size));
	c = newest();
	assert_in_range(c.size, 300, 511);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/0/000"), 200);
	assert_header("Content-Type", "application/octet-stream");
	assert_header("Cache-Control", "private, max-age=31536000, immutable");
	assert_last_read("\"what\":\"tile\"");
	assert_int_equal(res->body_len, 256 * MERKLE_HASH_LEN);
	for (size_t i = 0; i < 256; i++) {
		const uint8_t *hash = (const uint8_t *)res->body + i * MERKLE_HASH_LEN;
		assert_int_equal(merkle_append(&tile, hash, forget, NULL, NULL), KMS_OK);
		assert_int_equal(merkle_append(&whole, hash, forget, NULL, NULL), KMS_OK);
	}
	merkle_root(&tile, first);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/1/000.p/1"), 200);
	assert_header("Cache-Control", "no-cache");
	assert_int_equal(res->body_len, MERKLE_HASH_LEN);
	assert_memory_equal(res->body, first, sizeof(first));
	rest = (unsigned)(c.size - 256);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/0/001.p/%u", rest), 200);
	assert_int_equal(res->body_len, rest * MERKLE_HASH_LEN);
	for (size_t i = 0; i < rest; i++)
		assert_int_equal(merkle_append(&whole, (const uint8_t *)res->body + i * MERKLE_HASH_LEN, forget, NULL, NULL), KMS_OK);
	merkle_root(&whole, root);
	assert_memory_equal(root, c.root, sizeof(root));
	/* What no checkpoint covers is not there. */
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/0/001"), 404);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/1/000"), 404);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/1/000.p/2"), 404);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/2/000.p/1"), 404);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/8/000.p/1"), 404); /* a level that no tree reaches */
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/63/000.p/1"), 404);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/0/x999/x999/x999/x999/999"), 404);
}

static void entry_tiles_hold_whole_leaves_for_who_may_see_them_all(void **state)
{
	struct checkpoint_text c = present();
	const uint8_t *p = NULL;

	(void)state;
	assert_true(c.size > 20);
	assert_int_equal(get(ALL_AUDITOR, "/audit/v1/tile/entries/000.p/20"), 200);
	assert_header("Content-Type", "application/octet-stream");
	assert_last_read("\"what\":\"entry-tile\"");
	p = (const uint8_t *)res->body;
	for (uint64_t seq = 0; seq < 20; seq++) {
		struct store_event e = { 0 };
		leaf_of(seq, &e);
		assert_int_equal(p[0] << 8 | p[1], e.leaf_len);
		assert_memory_equal(p + 2, e.leaf, e.leaf_len);
		p += 2 + e.leaf_len;
		store_event_clear(&e);
	}
	assert_ptr_equal(p, res->body + res->body_len);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/tile/entries/000.p/20"), 403);
	assert_non_null(strstr(res->body, "'Holdfast/audit/read'"));
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/tile/entries/000.p/20"), 403);
}

/* ---- what is refused ---- */

static void hostile_parameters_are_refused(void **state)
{
	static const struct {
		const char *target;
		int status;
	} CASES[] = {
		{ "/checkpoint/0", 404 }, { "/checkpoint/01", 400 }, { "/checkpoint/-1", 400 }, { "/checkpoint/%2B1", 400 }, { "/checkpoint/x", 400 },
		{ "/checkpoint/9223372036854775807", 404 }, { "/checkpoint/9223372036854775808", 400 }, { "/checkpoint/18446744073709551616", 400 },
		{ "/entries?start=-1", 400 }, { "/entries?start=", 400 }, { "/entries?start=%201", 400 }, { "/entries?start=1e3", 400 },
		{ "/entries?start=0x10", 400 }, { "/entries?start=18446744073709551615", 400 }, { "/entries?start=18446744073709551616", 400 },
		{ "/entries?count=1001", 400 }, { "/entries?count=-1", 400 }, { "/entries?count=many", 400 },
		{ "/proof/inclusion", 400 }, { "/proof/inclusion?seq=", 400 }, { "/proof/inclusion?seq=-1", 400 },
		{ "/proof/inclusion?seq=18446744073709551616", 400 },
		{ "/proof/inclusion?seq=9223372036854775807", 400 }, { "/proof/inclusion?seq=0&size=0", 400 }, { "/proof/inclusion?seq=0&size=" UNSIGNED, 400 },
		{ "/proof/inclusion?seq=0&size=-1", 400 }, { "/proof/inclusion?seq=0&size=9223372036854775807", 400 }, { "/proof/inclusion?seq=0&size=", 400 },
		{ "/proof/consistency", 400 }, { "/proof/consistency?from=0", 400 }, { "/proof/consistency?from=" UNSIGNED, 400 },
		{ "/proof/consistency?from=-1", 400 }, { "/proof/consistency?from=18446744073709551616", 400 },
		{ "/proof/bundle?id=", 404 }, { "/proof/bundle?seq=-1", 400 }, { "/proof/bundle?id=x&seq=0", 400 },
		{ "/tile/0/0", 400 }, { "/tile/0/0000", 400 }, { "/tile/0/x000/000", 400 }, { "/tile/0/000.p/0", 400 }, { "/tile/0/000.p/256", 400 },
		{ "/tile/0/000.p", 400 }, { "/tile/0/-01", 400 }, { "/tile/64/000", 400 }, { "/tile/-1/000", 400 }, { "/tile/00/000", 400 }, { "/tile/x/000", 400 },
		{ "/tile/0/x001/002/003", 400 }, { "/tile/0/x999/x999/x999/x999/x999/999", 400 }, { "/tile/0", 404 },
		{ "/tile/entries/x", 400 }, { "/tile/entries", 404 }, { "/certificates/x", 400 }, { "/certificates/x/y", 404 }, { "/proof", 404 }, { "/", 404 },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		int status = 0;
		if (i % 20 == 0)
			t_domain_pass(1);
		status = get(ALL_AUDITOR, "/audit/v1%s", CASES[i].target);
		if (status != CASES[i].status)
			fail_msg("%s: %d %s", CASES[i].target, status, res->body);
		assert_null(strstr(res->body, "sqlite"));
	}
}

static void a_stranger_is_told_nothing(void **state)
{
	static const char *const TARGETS[] = { "checkpoint", "checkpoint/1", "keys", "entries", "entries/00000000-0000-8000-8000-000000000000",
		                               "proof/inclusion?seq=0", "proof/consistency?from=1", "proof/bundle?seq=0", "tile/0/000", "tile/entries/000" };
	char target[128];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(TARGETS); i++) {
		(void)snprintf(target, sizeof(target), "/audit/v1/%s", TARGETS[i]);
		assert_int_equal(get_as("", target), 401);
		assert_null(raw_header(res, "x-audit-seq"));
	}
}

static void fifty_proofs_a_second_are_one_callers_share(void **state)
{
	(void)state;
	for (int i = 0; i < LIMITS_PROOFS; i++)
		assert_int_equal(get(ALPHA_AUDITOR, i % 2 == 0 ? "/audit/v1/proof/inclusion?seq=0" : "/audit/v1/tile/0/000.p/1"), 200);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/proof/inclusion?seq=0"), 429);
	assert_header("Retry-After", "1");
	assert_null(raw_header(res, "x-audit-seq"));
	assert_non_null(strstr(res->body, "50 proofs"));
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/proof/bundle?seq=0"), 429);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/checkpoint"), 200);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/proof/inclusion?seq=0"), 200);
	t_domain_pass(1);
	assert_int_equal(get(ALPHA_AUDITOR, "/audit/v1/proof/inclusion?seq=0"), 200);
}

/* ---- a database that was changed behind the server's back ---- */

static void change_database(const char *sql)
{
	sqlite3 *db = NULL;
	char *message = NULL;

	assert_int_equal(sqlite3_open(domain.store->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_busy_timeout(db, 5000), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", sql, message);
	assert_int_equal(sqlite3_changes(db), 1);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void assert_unproven(enum who who, const char *target)
{
	if (get(who, "%s", target) != 503)
		fail_msg("%s: %d %s", target, res->status, res->body);
	assert_non_null(strstr(res->body, "log_integrity"));
	assert_header("Cache-Control", "no-cache");
}

static void what_does_not_lead_to_the_signed_root_is_not_served(void **state)
{
	struct checkpoint_text from = newest(), to;
	char consistency[96];

	(void)state;
	assert_int_equal(get(ALL_AUDITOR, "/audit/v1/entries?count=1"), 200);
	to = newest();
	(void)snprintf(consistency, sizeof(consistency), "/audit/v1/proof/consistency?from=%llu&to=%llu", (unsigned long long)from.size,
	               (unsigned long long)to.size);
	/* A node of level 1: on the path of leaf 0, not on that of leaf 2, whose own is made of it one level above. */
	change_database("UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND position = 1");
	assert_unproven(ALPHA_NOBODY, "/audit/v1/proof/inclusion?seq=0");
	assert_unproven(ALL_AUDITOR, "/audit/v1/proof/bundle?seq=1");
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/proof/inclusion?seq=2"), 200);
	change_database("DELETE FROM node WHERE level = 1 AND position = 1");
	assert_unproven(ALPHA_NOBODY, "/audit/v1/proof/inclusion?seq=0");
	/* A leaf of which only the body was changed. */
	change_database("UPDATE event SET leaf = CAST(replace(leaf, 'alphas-key', 'omegas-key') AS BLOB) WHERE seq = (SELECT max(seq) FROM event WHERE "
	                "CAST(leaf AS TEXT) LIKE '%alphas-key%\"key.create\"%')");
	t_domain_pass(1);
	{
		char target[64];
		(void)snprintf(target, sizeof(target), "/audit/v1/proof/bundle?seq=%llu", (unsigned long long)find_leaf("\"key.create\"", "omegas-key"));
		assert_unproven(ALL_AUDITOR, target);
	}
	/* A checkpoint whose root is another's. */
	assert_int_equal(get(ALPHA_NOBODY, "%s", consistency), 200);
	{
		char sql[128];
		(void)snprintf(sql, sizeof(sql), "UPDATE checkpoint SET root = zeroblob(32) WHERE size = %llu", (unsigned long long)from.size);
		change_database(sql);
	}
	assert_unproven(ALPHA_NOBODY, consistency);
	/* What is no proof is still shown: it is what has to be looked at now. */
	assert_int_equal(get(ALL_AUDITOR, "/audit/v1/entries?start=0&count=5"), 200);
	assert_int_equal(get(ALPHA_NOBODY, "/audit/v1/checkpoint"), 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_newest_checkpoint_is_signed_and_found_by_its_size, pass),
		cmocka_unit_test_setup(the_keys_are_those_that_sign, pass),
		cmocka_unit_test_setup(an_inclusion_proof_leads_from_each_leaf_to_the_signed_root, pass),
		cmocka_unit_test_setup(a_receipt_is_kept_by_the_next_checkpoint, pass),
		cmocka_unit_test_setup(later_checkpoints_extend_earlier_ones, pass),
		cmocka_unit_test_setup(who_may_not_see_a_leaf_gets_its_hash_and_the_tree_still_folds, pass),
		cmocka_unit_test_setup(entries_end_where_the_log_ends, pass),
		cmocka_unit_test_setup(an_event_is_found_by_its_id_and_only_its_own, pass),
		cmocka_unit_test_setup(a_bundle_proves_its_leaf_alone_and_only_to_who_may_see_it, pass),
		cmocka_unit_test_setup(hostile_parameters_are_refused, pass),
		cmocka_unit_test_setup(a_stranger_is_told_nothing, pass),
		cmocka_unit_test_setup(fifty_proofs_a_second_are_one_callers_share, pass),
		cmocka_unit_test_setup(entry_tiles_hold_whole_leaves_for_who_may_see_them_all, pass),
		cmocka_unit_test_setup(tiles_hold_the_hashes_of_the_tree_and_rebuild_its_root, pass),
		cmocka_unit_test_setup(what_does_not_lead_to_the_signed_root_is_not_served, pass), /* damages the database: the last */
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
