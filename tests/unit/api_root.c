/* tests/unit/api_root.c - a root rotation overtakes a request between what it read and the device: the request is decided anew and answered as if nothing had been. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"
#include "server/core/root.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/approvals.h"
#include "tests/support/raw_client.h"

#define VAULT "overtaken"
#define TOKEN_MAX 4096

static struct t_domain d;
static struct api *api;
static struct http_server *server;
static char token[TOKEN_MAX];
static struct t_person approver;

/* The device, with a door in front of the calls that use the vault's root: the first one waits there. */
static struct hsm_ops real, doored;
static struct {
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t changed;
	bool is_shut, is_waiting;
	unsigned passed;
} door = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void pass(void)
{
	(void)pthread_mutex_lock(&door.lock);
	door.is_waiting = door.is_shut;
	(void)pthread_cond_broadcast(&door.changed);
	while (door.is_shut)
		(void)pthread_cond_wait(&door.changed, &door.lock);
	door.passed++;
	(void)pthread_mutex_unlock(&door.lock);
}

static void door_set(bool is_shut)
{
	(void)pthread_mutex_lock(&door.lock);
	door.is_shut = is_shut;
	door.is_waiting = false;
	if (is_shut)
		door.passed = 0;
	(void)pthread_cond_broadcast(&door.changed);
	(void)pthread_mutex_unlock(&door.lock);
}

static void door_wait(void)
{
	(void)pthread_mutex_lock(&door.lock);
	while (!door.is_waiting)
		(void)pthread_cond_wait(&door.changed, &door.lock);
	(void)pthread_mutex_unlock(&door.lock);
}

static unsigned door_passed(void)
{
	unsigned passed;

	(void)pthread_mutex_lock(&door.lock);
	passed = door.passed;
	(void)pthread_mutex_unlock(&door.lock);
	return passed;
}

static kms_status sign(struct hsm *h, const struct hsm_key *key, enum hsm_sign_alg alg, const uint8_t *input, size_t input_len,
                       uint8_t ret_signature[HSM_SIGNATURE_MAX], size_t *ret_len, struct kms_err *err)
{
	if (key->wrapped != NULL)
		pass();
	return real.sign(h, key, alg, input, input_len, ret_signature, ret_len, err);
}

static kms_status generate(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, uint8_t ret_blob[HSM_BLOB_MAX], size_t *ret_blob_len,
                           struct kms_err *err)
{
	pass();
	return real.key_generate_wrapped(h, key, ret_public, ret_blob, ret_blob_len, err);
}

/* ---- the service ---- */

static kms_status open_store(void *arg, struct store **ret_store, struct kms_err *err)
{
	(void)arg;
	return store_open_sqlite(d.store->path, STORE_READ, ret_store, err);
}

static struct raw_client *begin(const char *host, const char *method, const char *target, const char *type, const char *body)
{
	struct raw_client *c = raw_connect(http_port(server), NULL);
	char text[TOKEN_MAX + 1024];

	assert_non_null(c);
	(void)snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s", method, target,
	               host, token, type, strlen(body), body);
	assert_true(raw_send_text(c, text));
	return c;
}

static void end(struct raw_client *c, struct raw_response *ret)
{
	raw_read(c, ret, false);
	raw_close(c);
}

static void log_in(void)
{
	struct t_person officer = t_person(&d, VAULT, "officer", ROLE_CRYPTO_OFFICER);
	struct store_principal p = { 0 };
	struct tokens *tokens = NULL;
	SECRET_AUTO *text = NULL;
	struct kms_err err = { 0 };

	assert_int_equal(store_principal(d.store->r, officer.id, &p, &err), KMS_OK);
	assert_int_equal(tokens_new(&d.kms, NULL, &tokens, &err), KMS_OK);
	assert_int_equal(tokens_issue(tokens, &p, officer.caller.directory, &text, &err), KMS_OK);
	assert_true(secret_len(text) < sizeof(token));
	memcpy(token, secret_data(text), secret_len(text));
	tokens_free(tokens);
}

static void serve(void)
{
	const struct api_config cfg = { .kms = &d.kms, .open_store = open_store, .arg = &d, .crypto_threads = 2, .queue = 16,
		                        .limits = { .vault = { 100, 100 }, .principal = { 100, 100 } } };
	const struct http_config http = { .name = "test", .address = "127.0.0.1", .threads = 1, .connections = 16, .headers_ms = 5000, .request_ms = 5000,
		                          .idle_s = 30, .work_ms = 30000 };
	struct http_app app;
	struct kms_err err = { 0 };

	if (api_start(&cfg, &api, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	d.kms.forget = NULL; /* it would wait for the thread that waits at the door */
	app = api_app(api, API_MAIN);
	if (http_start(&http, &app, &server, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
}

static int up(void **state)
{
	uint8_t obj[STORE_ID_LEN];

	(void)state;
	json_setup();
	t_domain_open(&d);
	d.kms.token_life_s = 3600;
	t_vault(&d, VAULT, false);
	approver = t_person(&d, VAULT, "agrees", ROLE_APPROVER);
	t_key(&d, VAULT, "k", KEY_EC, obj);
	log_in();
	real = *d.kms.hsm->ops;
	doored = real;
	doored.sign = sign;
	doored.key_generate_wrapped = generate;
	d.kms.hsm->ops = &doored;
	serve();
	return 0;
}

static int down(void **state)
{
	(void)state;
	http_stop(server, 1000);
	api_stop(api);
	api_free(api);
	t_domain_close(&d);
	return secret_live() == 0 ? 0 : -1;
}

/* ---- the rotation, from the first to the last step ---- */

static kms_status ask(void)
{
	struct op *op = t_op(&d, VAULT, EVENT_TENANT_ROTATE_ROOT);
	struct kms_err err = { 0 };
	kms_status status = root_rotate(op, "it is time", &err);

	if (status != KMS_OK)
		assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static void rotate(uint8_t ret_old[STORE_ID_LEN])
{
	struct recovery_count count = { 0 };
	struct kms_err err = { 0 };
	struct store_vault v;
	uint8_t id[STORE_ID_LEN];

	assert_int_equal(store_vault_by_name(d.store->r, VAULT, &v, NULL), KMS_OK);
	memcpy(ret_old, v.root_id, STORE_ID_LEN);
	assert_int_equal(ask(), KMS_E_APPROVAL);
	assert_true(t_open_request(&d, VAULT, id));
	assert_int_equal(t_vote(&d, &approver, VAULT, id, true, &err), KMS_OK);
	assert_int_equal(ask(), KMS_OK);
	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_TYPE(EVENT_TENANT_ROTATE_ROOT), &count, &err), KMS_OK);
	assert_int_equal(count.rotated, 1);
	assert_false(t_object_exists(&d, ret_old));
}

/* The request has read the old root, and comes to the device when that is gone. */
static void is_overtaken(const char *target, const char *body, struct raw_response *ret)
{
	struct raw_client *c = NULL;
	uint8_t old[STORE_ID_LEN];

	door_set(true);
	c = begin(VAULT ".vault.test", "POST", target, "application/json", body);
	door_wait();
	rotate(old);
	door_set(false);
	end(c, ret);
	assert_int_equal(door_passed(), 2);
	if (ret->status != 200)
		fail_msg("%s: %d %s", target, ret->status, ret->body);
}

static void a_use_of_a_key_is_decided_anew(void **state)
{
	static struct raw_response res;

	(void)state;
	is_overtaken("/keys/k/sign?api-version=7.4", "{\"alg\":\"ES256\",\"value\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", &res);
	assert_non_null(strstr(res.body, "\"value\":"));
}

/* Its intent has an outcome of its own, and the second try another. */
static void so_is_the_making_of_one(void **state)
{
	static struct raw_response res;
	struct store_intent page[4];
	size_t count = 0;

	(void)state;
	is_overtaken("/keys/made/create?api-version=7.4", "{\"kty\":\"EC\"}", &res);
	assert_non_null(strstr(res.body, "/keys/made/"));
	assert_int_equal(store_intents(d.store->r, UINT64_MAX, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_use_of_a_key_is_decided_anew),
		cmocka_unit_test(so_is_the_making_of_one),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, up, down);
}
