/* tests/unit/feed_webhook.c - which leaves are events, what is sent of them, how it is signed, and how queues are kept from growing. Receivers are in
 * tests/integration/webhook.test.mjs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "server/base/secret.h"
#include "server/feed/webhook_parts.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/domain.h"

#define WAITING 100
#define EXTRA 70 /* more than fit into one unit */
#define FAR 1000 /* seqs that no leaf of these tests has */

static struct t_domain d;

/* ---- leaves ---- */

static struct leaf leaf_of(enum event_type type, const char *act, json_t **ret_det)
{
	*ret_det = act != NULL ? json_pack("{s:s}", "act", act) : NULL;
	return (struct leaf){ .type = type, .phase = EVENT_OUTCOME, .result = EVENT_OK, .has_tenant = true, .key_name = type == EVENT_ROLE_GRANT ? "" : "k", .key_version = "",
		              .det = *ret_det };
}

static void only_what_succeeded_in_a_vault_is_an_event(void **state)
{
	static const struct {
		enum event_type type;
		const char *act;
		uint32_t event;
	} CASES[] = {
		{ EVENT_KEY_CREATE, NULL, WEBHOOK_KEY_NEW_VERSION }, { EVENT_KEY_IMPORT, NULL, WEBHOOK_KEY_NEW_VERSION }, { EVENT_KEY_ROTATE, NULL, WEBHOOK_KEY_NEW_VERSION },
		{ EVENT_KEY_RESTORE, NULL, WEBHOOK_KEY_NEW_VERSION }, { EVENT_KEY_NEAR_EXPIRY, NULL, WEBHOOK_KEY_NEAR_EXPIRY }, { EVENT_KEY_EXPIRE, NULL, WEBHOOK_KEY_EXPIRED },
		{ EVENT_ROLE_GRANT, NULL, WEBHOOK_ACCESS_CHANGED }, { EVENT_PRINCIPAL, "group_add", WEBHOOK_ACCESS_CHANGED }, { EVENT_PRINCIPAL, "principal_create", 0 },
		{ EVENT_PRINCIPAL, "role_define", 0 }, { EVENT_PRINCIPAL, "group_create", 0 }, { EVENT_PRINCIPAL, NULL, 0 }, { EVENT_KEY_UNWRAP, NULL, 0 },
		{ EVENT_KEY_BACKUP, NULL, 0 }, { EVENT_WEBHOOK, "create", 0 }, { EVENT_NONE, NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		json_t *det = NULL;
		struct leaf l = leaf_of(CASES[i].type, CASES[i].act, &det);
		if (webhook_event_of(&l) != CASES[i].event)
			fail_msg("%zu: %u", i, webhook_event_of(&l));
		l.phase = EVENT_INTENT;
		assert_int_equal(webhook_event_of(&l), 0);
		l.phase = EVENT_SINGLE;
		l.result = EVENT_FAILED;
		assert_int_equal(webhook_event_of(&l), 0);
		l.result = EVENT_OK;
		l.has_tenant = false;
		assert_int_equal(webhook_event_of(&l), 0);
		l.has_tenant = l.is_pruned = true;
		assert_int_equal(webhook_event_of(&l), 0);
		json_decref(det);
	}
}

/* ---- names ---- */

static void of_an_address_the_host_alone_is_shown(void **state)
{
	static const char *const CASES[][2] = { { "https://a.example:8443/x?token=1", "a.example:8443" }, { "https://a.example?token=1", "a.example" },
		                                { "https://a.example", "a.example" }, { "http://[::1]:80/x", "[::1]" }, { "nothing", "" },
		                                /* whatever was typed, one host has one name */
		                                { "https://a.example:443/", "a.example" }, { "https://A.EX%61mple:08443/", "a.example:8443" }, { "http://0x7f.1:81/", "127.0.0.1:81" },
		                                { "http://2130706433:81/", "127.0.0.1:81" }, { "http://127.1:81/", "127.0.0.1:81" }, { "", "" } };
	char host[WEBHOOK_HOST_MAX];

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		webhook_host(CASES[i][0], host);
		assert_string_equal(host, CASES[i][1]);
	}
	assert_int_equal(webhook_event_parse("KeyExpired"), WEBHOOK_KEY_EXPIRED);
	assert_int_equal(webhook_event_parse("Microsoft.KeyVault.KeyNearExpiry"), WEBHOOK_KEY_NEAR_EXPIRY);
	assert_int_equal(webhook_event_parse("keyexpired"), 0);
	assert_int_equal(webhook_event_parse(""), 0);
	assert_string_equal(webhook_event_type(0), "");
}

static void it_is_tried_later_and_later_or_never(void **state)
{
	static const int64_t PAUSES[] = { 1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600 };

	(void)state;
	for (uint32_t i = 0; i < KMS_ARRAY_LEN(PAUSES); i++)
		assert_int_equal(webhook_pause_s(i), PAUSES[i]);
	assert_int_equal(webhook_pause_s(UINT32_MAX), 600);
	assert_true(webhook_is_final(410) && webhook_is_final(404) && webhook_is_final(400) && webhook_is_final(413));
	assert_false(webhook_is_final(0) || webhook_is_final(302) || webhook_is_final(401) || webhook_is_final(429) || webhook_is_final(500));
}

/* ---- signatures ---- */

/* The example that the libraries of Standard Webhooks are tested with. */
static void the_signature_is_that_of_the_published_example(void **state)
{
	static const uint8_t KEY[] = { 0x31, 0xf2, 0x90, 0xf6, 0xbf, 0x06, 0x29, 0x8a, 0xab, 0x4f, 0x08, 0xd4, 0x3c, 0x3f, 0x08, 0x2c, 0xf6, 0x48, 0xa3, 0x62, 0xda, 0x2d, 0xa4, 0xb0 };
	static const char BODY[] = "{\"test\": 2432232314}";
	char signature[WEBHOOK_SIGNATURE_LEN + 1];
	char key[B64_LEN(sizeof(KEY)) + 1];

	(void)state;
	b64_encode(KEY, sizeof(KEY), key);
	assert_string_equal(key, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
	assert_true(webhook_signature(KEY, sizeof(KEY), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY, sizeof(BODY) - 1, signature));
	assert_string_equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void each_webhook_and_generation_has_a_secret_of_its_own_for_ever(void **state)
{
	const uint8_t ids[2][STORE_ID_LEN] = { { 1 }, { 2 } };
	struct secret *s[5] = { NULL };

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(webhook_secret(&d.kms.inst, ids[i / 2], (uint32_t)(1 + i % 2), &s[i], NULL), KMS_OK);
	assert_int_equal(webhook_secret(&d.kms.inst, ids[0], 1, &s[4], NULL), KMS_OK);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(secret_len(s[i]), WEBHOOK_SECRET_TEXT);
		assert_memory_equal(secret_data(s[i]), "whsec_", 6);
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(secret_data(s[i]), secret_data(s[k]), WEBHOOK_SECRET_TEXT);
	}
	assert_memory_equal(secret_data(s[4]), secret_data(s[0]), WEBHOOK_SECRET_TEXT);
	for (size_t i = 0; i < 5; i++)
		secret_free(s[i]);
}

/* ---- bodies ---- */

static const char *header(const struct webhook_message *m, const char *name)
{
	for (size_t i = 0; i < m->header_count; i++)
		if (strncmp(m->header[i], name, strlen(name)) == 0)
			return m->header[i] + strlen(name);
	return "";
}

static void the_bodies_are_those_of_event_grid_and_cloud_events(void **state)
{
	static const char DATA[] = "{\"Id\":\"https://orders.vault.test/keys/cmk/00112233445566778899aabbccddeeff\",\"VaultName\":\"orders\",\"ObjectType\":\"Key\","
				   "\"ObjectName\":\"cmk\",\"Version\":\"00112233445566778899aabbccddeeff\",\"NBF\":null,\"EXP\":1811836800}";
	const struct store_vault vault = { .name = "orders", .directory = { 0xab } };
	const struct store_delivery v = { .event = WEBHOOK_KEY_NEAR_EXPIRY, .key_name = "cmk", .event_us = INT64_C(1780300800000001), .event_id = { 0xcd }, .attempts = 2,
		                          .version_id = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff } };
	struct kms kms = { .domain = "vault.test", .public_port = 443 };
	const struct webhook_event e = { .kms = &kms, .vault = &vault, .delivery = &v, .nbf_s = STORE_NO_TIME, .exp_s = 1811836800 };
	struct store_webhook h = { .name = "soc", .shape = STORE_WEBHOOK_EVENT_GRID };
	WEBHOOK_MESSAGE_AUTO grid = { 0 };
	WEBHOOK_MESSAGE_AUTO cloud = { 0 };
	char expected[2048];

	(void)state;
	assert_int_equal(webhook_message_event(&h, &e, &grid, NULL), KMS_OK);
	(void)snprintf(expected, sizeof(expected),
	               "[{\"id\":\"cd000000-0000-0000-0000-000000000000\",\"topic\":\"/tenants/ab000000-0000-0000-0000-000000000000/vaults/orders\",\"subject\":\"cmk\","
	               "\"eventType\":\"Microsoft.KeyVault.KeyNearExpiry\",\"eventTime\":\"2026-06-01T08:00:00.000001Z\",\"data\":%s,\"dataVersion\":\"1\","
	               "\"metadataVersion\":\"1\"}]", DATA);
	assert_string_equal(grid.body, expected);
	assert_string_equal(header(&grid, "aeg-event-type: "), "Notification");
	assert_string_equal(header(&grid, "aeg-delivery-count: "), "2");
	h.shape = STORE_WEBHOOK_CLOUD_EVENTS;
	assert_int_equal(webhook_message_event(&h, &e, &cloud, NULL), KMS_OK);
	(void)snprintf(expected, sizeof(expected),
	               "{\"specversion\":\"1.0\",\"id\":\"cd000000-0000-0000-0000-000000000000\",\"source\":\"/tenants/ab000000-0000-0000-0000-000000000000/vaults/orders\","
	               "\"type\":\"Microsoft.KeyVault.KeyNearExpiry\",\"subject\":\"cmk\",\"time\":\"2026-06-01T08:00:00.000001Z\","
	               "\"datacontenttype\":\"application/json\",\"data\":%s}", DATA);
	assert_string_equal(cloud.body, expected);
	assert_string_equal(header(&cloud, "Content-Type: "), "application/cloudevents+json; charset=utf-8");
}

static void only_the_code_itself_is_an_agreement(void **state)
{
	static const struct {
		const char *body;
		bool is_validated;
	} CASES[] = {
		{ "{\"validationResponse\":\"code\"}", true }, { "{\"validationResponse\":\"code\",\"x\":1}", true }, { "{\"validationResponse\":\"Code\"}", false },
		{ "{\"validationResponse\":1}", false }, { "[\"code\"]", false }, { "code", false }, { "", false }, { NULL, false },
		{ "{\"validationResponse\":\"no\",\"validationResponse\":\"code\"}", false },
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		char body[64] = "";
		struct post_answer a = { .body = CASES[i].body != NULL ? body : NULL };
		(void)snprintf(body, sizeof(body), "%s", CASES[i].body != NULL ? CASES[i].body : "");
		a.body_len = strlen(body);
		assert_int_equal(webhook_is_validated(&a, "code"), CASES[i].is_validated);
	}
}

/* ---- whose turn it is ---- */

#define HUNG 10000 /* ms that a turn takes whose receiver does not answer */

/* A table without senders' threads, as webhooks_start() would have made it. */
struct table {
	struct webhooks w;
	int64_t now; /* of these tests */
};

static void table_open(struct table *t)
{
	memset(t, 0, sizeof(*t));
	t->now = 1000000;
	assert_int_equal(pthread_mutex_init(&t->w.lock, NULL), 0);
	assert_int_equal(pthread_cond_init(&t->w.work, NULL), 0);
}

static void table_close(struct table *t)
{
	(void)pthread_cond_destroy(&t->w.work);
	(void)pthread_mutex_destroy(&t->w.lock);
	free(t->w.subs);
}

/* The vault with this first byte has webhooks first..first + count - 1 of it, as rows say now. */
static void has(struct table *t, uint8_t vault, uint8_t first, size_t count)
{
	const uint8_t vault_id[STORE_ID_LEN] = { vault };
	struct store_webhook rows[STORE_WEBHOOKS_MAX] = { 0 };

	for (size_t i = 0; i < count; i++)
		rows[i] = (struct store_webhook){ .vault_id = { vault }, .id = { vault, (uint8_t)(first + i) }, .events = 1, .state = STORE_WEBHOOK_PENDING };
	assert_int_equal(webhook_replace_locked(&t->w, vault_id, rows, count, t->now, NULL), KMS_OK);
}

/* The next turn: of this vault; 0 = there is none for any sender that is free. */
static uint8_t turn(struct table *t, size_t *ret_sender, uint8_t ret_id[STORE_ID_LEN])
{
	int64_t until = 0;

	for (size_t i = 0; i < WEBHOOK_SENDERS; i++) {
		if (t->w.senders[i].is_busy)
			continue;
		if (!webhook_take_turn_locked(&t->w, &t->w.senders[i], t->now, ret_id, &until)) {
			assert_true(until > t->now); /* it would be asked again at once, and again */
			return 0;
		}
		*ret_sender = i;
		return t->w.senders[i].vault_id[0];
	}
	return 0;
}

static size_t turns_of(struct table *t, uint8_t vault)
{
	uint8_t id[STORE_ID_LEN];
	size_t count = 0, sender = 0;

	for (uint8_t got; (got = turn(t, &sender, id)) != 0; count++)
		assert_int_equal(got, vault);
	return count;
}

static void a_vault_has_a_few_senders_however_many_webhooks_hang(void **state)
{
	struct table t;

	(void)state;
	table_open(&t);
	has(&t, 1, 0, STORE_WEBHOOKS_MAX);
	assert_int_equal(turns_of(&t, 1), WEBHOOK_VAULT_SLOW_MAX);
	/* Deleted while a sender waits for its receiver, and made again: that sender counts nevertheless. */
	for (uint8_t round = 1; round < 5; round++) {
		has(&t, 1, 0, 0);
		has(&t, 1, (uint8_t)(round * STORE_WEBHOOKS_MAX), STORE_WEBHOOKS_MAX);
		assert_int_equal(turns_of(&t, 1), 0);
	}
	for (size_t i = 0; i < t.w.count; i++)
		t.w.subs[i].is_slow = false; /* they answered quickly once */
	assert_int_equal(turns_of(&t, 1), WEBHOOK_VAULT_MAX - WEBHOOK_VAULT_SLOW_MAX);
	has(&t, 2, 0, 1);
	assert_int_equal(turns_of(&t, 2), 1); /* and others are served at once */
	table_close(&t);
}

#define CROWD (2 * WEBHOOK_SLOW_MAX) /* vaults whose receivers all hang */

/* Of the crowd's vaults each has at most one turn between a victim's being due and its turn. */
static void crowd(bool makes_anew)
{
	const uint8_t victim = CROWD / 2; /* in the middle of the table */
	struct table t;
	size_t senders[WEBHOOK_SENDERS], sender = 0, begun = 0;
	uint8_t ids[WEBHOOK_SENDERS][STORE_ID_LEN], turns[CROWD + 1] = { 0 }, got = 0;

	table_open(&t);
	for (size_t vault = 0; vault <= CROWD; vault++)
		if (vault != victim)
			has(&t, (uint8_t)(vault + 1), 0, STORE_WEBHOOKS_MAX);
	for (; begun < WEBHOOK_SLOW_MAX; begun++) {
		assert_true(turn(&t, &sender, ids[begun]) != 0);
		senders[begun] = sender;
	}
	assert_int_equal(turn(&t, &sender, ids[begun]), 0);
	t.now++;
	has(&t, victim + 1, 0, 1);
	for (uint8_t round = 0; got != victim + 1; round++) {
		t.now += HUNG;
		for (size_t vault = 0; makes_anew && vault <= CROWD; vault++)
			if (vault != victim) {
				has(&t, (uint8_t)(vault + 1), 0, 0);
				has(&t, (uint8_t)(vault + 1), (uint8_t)((round + 1) * STORE_WEBHOOKS_MAX), STORE_WEBHOOKS_MAX);
			}
		has(&t, victim + 1, 0, 1); /* a reload changes nothing for it */
		for (size_t i = 0; i < WEBHOOK_SLOW_MAX; i++)
			webhook_end_turn_locked(&t.w, &t.w.senders[senders[i]], ids[i], t.now, 0, true);
		for (begun = 0; begun < WEBHOOK_SLOW_MAX && got != victim + 1; begun++) {
			got = turn(&t, &sender, ids[begun]);
			assert_true(got != 0);
			senders[begun] = sender;
			assert_int_equal(turns[got - 1]++, 0);
		}
	}
	table_close(&t);
}

static void between_two_turns_of_a_vault_every_other_has_one(void **state)
{
	(void)state;
	crowd(false);
	crowd(true);
}

static void what_is_due_is_due_by_time_and_a_reload_does_not_put_it_back(void **state)
{
	struct table t;
	uint8_t id[STORE_ID_LEN];
	size_t sender = 0;

	(void)state;
	table_open(&t);
	has(&t, 9, 0, 1);
	t.now++;
	has(&t, 1, 0, 1);
	t.now++;
	has(&t, 9, 0, 2);
	assert_int_equal(turn(&t, &sender, id), 9);
	assert_int_equal(id[1], 0);
	assert_int_equal(turn(&t, &sender, id), 1);
	table_close(&t);
}

/* ---- queues ---- */

static kms_status open_reader(void *arg, struct store **ret_store, struct kms_err *err)
{
	(void)arg;
	return store_open_sqlite(d.store->path, STORE_READ, ret_store, err);
}

static uint64_t count(const uint8_t id[STORE_ID_LEN], enum store_delivery_state state)
{
	uint64_t n = 0;
	assert_int_equal(store_delivery_count(d.store->r, id, state, &n, NULL), KMS_OK);
	return n;
}

/* As the feed would have made them, while no sender was there. */
static void fill_queue(const uint8_t id[STORE_ID_LEN], uint64_t number)
{
	struct store_change *c = calloc(64, sizeof(*c));

	assert_non_null(c);
	for (uint64_t seq = 0; seq < number;) {
		struct write unit = { .changes = c };
		for (; seq < number && unit.change_count < 64; seq++, unit.change_count++) {
			c[unit.change_count] = (struct store_change){ .kind = STORE_DELIVERY_ADD, .delivery = { .seq = FAR + seq, .event = 1, .state = STORE_DELIVERY_WAITING } };
			memcpy(c[unit.change_count].delivery.webhook_id, id, STORE_ID_LEN);
		}
		assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	}
	free(c);
}

static void of_too_many_that_wait_the_oldest_are_given_up(void **state)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	const struct webhooks_config cfg = { .kms = &d.kms, .open_store = open_reader, .waiting_max = WAITING };
	struct store_vault vault = { 0 };
	struct store_change add = { .kind = STORE_WEBHOOK_ADD, .webhook = { .id = { 7 }, .name = "w", .url = "https://x/", .shape = STORE_WEBHOOK_EVENT_GRID, .events = 1,
		                                                            .state = STORE_WEBHOOK_ACTIVE, .generation = 1 } };
	struct write unit = { .changes = &add, .change_count = 1 };
	struct store_delivery oldest = { 0 };
	struct webhooks *w = NULL;
	size_t got = 0;
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_vault(&d, "queue", false);
	assert_int_equal(store_vault_by_name(d.store->r, "queue", &vault, NULL), KMS_OK);
	memcpy(add.webhook.vault_id, vault.id, STORE_ID_LEN);
	assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	fill_queue(add.webhook.id, WAITING + EXTRA - 1);
	assert_int_equal(webhooks_start(&cfg, &w, NULL), KMS_OK);
	assert_false(webhooks_may_send_to(w, "https://x/")); /* no host is listed: nothing is sent */
	t_key(&d, "queue", "k", KEY_OCT, obj); /* one more */
	for (int tries = 0; tries < 5000 && count(add.webhook.id, STORE_DELIVERY_DEAD) < EXTRA; tries++)
		(void)nanosleep(&ms, NULL);
	assert_int_equal(count(add.webhook.id, STORE_DELIVERY_WAITING), WAITING);
	assert_int_equal(count(add.webhook.id, STORE_DELIVERY_DEAD), EXTRA);
	assert_int_equal(store_deliveries(d.store->r, add.webhook.id, STORE_DELIVERY_DEAD, UINT64_MAX, &oldest, 1, &got, NULL), KMS_OK);
	assert_true(oldest.seq < FAR); /* the key's */
	assert_non_null(strstr(oldest.failure, "more than 100 "));
	webhooks_stop(w);
	webhooks_stop(NULL);
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_succeeded_in_a_vault_is_an_event),
		cmocka_unit_test(of_an_address_the_host_alone_is_shown),
		cmocka_unit_test(it_is_tried_later_and_later_or_never),
		cmocka_unit_test(the_signature_is_that_of_the_published_example),
		cmocka_unit_test(each_webhook_and_generation_has_a_secret_of_its_own_for_ever),
		cmocka_unit_test(the_bodies_are_those_of_event_grid_and_cloud_events),
		cmocka_unit_test(only_the_code_itself_is_an_agreement),
		cmocka_unit_test(a_vault_has_a_few_senders_however_many_webhooks_hang),
		cmocka_unit_test(between_two_turns_of_a_vault_every_other_has_one),
		cmocka_unit_test(what_is_due_is_due_by_time_and_a_reload_does_not_put_it_back),
		cmocka_unit_test(of_too_many_that_wait_the_oldest_are_given_up),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
