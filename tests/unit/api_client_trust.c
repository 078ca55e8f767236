/* tests/unit/api_client_trust.c - which client certificates are a pool's (ekm-proxy.md 3.1): each wrong one is refused for its own reason, and none is
 * pinned. Real certificates by OpenSSL, a real database. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/client_trust.h"
#include "tests/support/ekm_certs.h"
#include "tests/support/store_fixture.h"

#define DAY ((int64_t)86400)
#define CN "contoso.managedhsmclient.azure.net"
#define OTHER_CN "fabrikam.managedhsmclient.azure.net"
#define REMEMBERED_US ((int64_t)5 * 1000000) /* of client_trust.c */

static int64_t now_s = T_CERT_NOW_S, mono_us;
static int64_t fake_wall(const struct clock *c)
{
	(void)c;
	return now_s * 1000000;
}
static int64_t fake_mono(const struct clock *c)
{
	(void)c;
	return mono_us;
}
static const struct clock FAKE = { .wall_us = fake_wall, .mono_us = fake_mono };

static struct store_fixture *store;
static struct client_trust *trust;
static struct t_cert root, other_root, between, leaf;

static void load(void)
{
	struct kms_err err = { 0 };
	if (client_trust_load(trust, store->r, &err) != KMS_OK)
		fail_msg("%s", err.detail);
}

static void put_root(struct store_pool *pool, const struct t_cert *cert)
{
	pool->roots[pool->root_count++] = (struct store_root){ .der = cert->der, .der_len = cert->der_len };
}

static struct store_pool pool_of(unsigned n, const struct store_principal *p, const char *cn, const struct t_cert *cert)
{
	struct store_pool pool = { .subject_count = 1 };

	memcpy(pool.id, p->id, STORE_ID_LEN);
	(void)snprintf(pool.prefix, sizeof(pool.prefix), "prefix/%u", n);
	(void)snprintf(pool.subjects[0], sizeof(pool.subjects[0]), "%s", cn);
	put_root(&pool, cert);
	return pool;
}

/* A pool of a vault of its own. */
static struct store_pool add_pool(unsigned n, const char *cn, const struct t_cert *cert)
{
	char name[STORE_VAULT_NAME_MAX + 1];
	struct store_vault v;
	struct store_principal p;
	struct store_pool pool;

	(void)snprintf(name, sizeof(name), "vault%u", n);
	v = store_fixture_vault(n, name);
	p = store_fixture_principal(n, &v);
	pool = pool_of(n, &p, cn, cert);
	const struct store_change changes[] = { { .kind = STORE_VAULT_ADD, .vault = v }, { .kind = STORE_PRINCIPAL_ADD, .principal = p },
		                                { .kind = STORE_POOL_ADD, .pool = pool } };
	assert_int_equal(store_fixture_write(store, changes, KMS_ARRAY_LEN(changes), NULL), KMS_OK);
	load();
	return pool;
}

static void set_pool(const struct store_pool *pool)
{
	assert_int_equal(store_fixture_one(store, (struct store_change){ .kind = STORE_POOL_SET, .pool = *pool }), KMS_OK);
	load();
}

static int open_scene(void **state)
{
	void *fixture = NULL;
	struct kms_err err = { 0 };

	(void)state;
	now_s = T_CERT_NOW_S;
	mono_us = 0;
	if (store_fixture_open(&fixture) != 0 || client_trust_new(&FAKE, &trust, &err) != KMS_OK)
		return -1;
	store = fixture;
	t_cert_root("root", &root);
	t_cert_root("other root", &other_root);
	t_cert_make(&(struct t_cert_spec){ .cn = "between", .issuer = &root, .basic_constraints = "critical,CA:TRUE" }, &between);
	t_cert_make(&(struct t_cert_spec){ .cn = CN, .issuer = &root, .usage = "clientAuth" }, &leaf);
	return 0;
}

static int close_scene(void **state)
{
	void *fixture = store;

	(void)state;
	t_cert_clear(&leaf);
	t_cert_clear(&between);
	t_cert_clear(&other_root);
	t_cert_clear(&root);
	client_trust_free(trust);
	return store_fixture_close(&fixture);
}

static enum client_verdict check_chain(const struct t_cert *first, const struct t_cert *second, struct client_holder *ret)
{
	struct http_cert chain[2] = { { .der = first->der, .len = first->der_len } };
	if (second != NULL)
		chain[1] = (struct http_cert){ .der = second->der, .len = second->der_len };
	return client_trust_check(trust, chain, second != NULL ? 2 : 1, false, ret);
}

static enum client_verdict check(const struct t_cert *cert)
{
	struct client_holder client;
	return check_chain(cert, NULL, &client);
}

/* The verdict on one that is made for it. */
static enum client_verdict check_made(const struct t_cert_spec *spec)
{
	struct t_cert made = { 0 };
	enum client_verdict verdict;

	t_cert_make(spec, &made);
	verdict = check(&made);
	t_cert_clear(&made);
	return verdict;
}

/* ---- accepted ---- */

static void a_pools_certificate_is_accepted_and_tells_the_pool(void **state)
{
	struct client_holder client;

	(void)state;
	struct store_pool pool = add_pool(1, CN, &root);
	assert_int_equal(check_chain(&leaf, NULL, &client), CLIENT_ACCEPTED);
	assert_memory_equal(client.pool_id, pool.id, STORE_ID_LEN);
	assert_string_equal(client.vault, "vault1");
	assert_string_equal(client.prefix, "prefix/1");
	assert_string_equal(client.subject, "O=Test,CN=" CN);
	assert_int_equal(strlen(client.thumbprint), CLIENT_THUMBPRINT_LEN);
}

static void nothing_is_pinned(void **state)
{
	(void)state;
	(void)add_pool(1, CN, &root);
	for (int i = 0; i < 3; i++) /* each has a key and a serial number of its own */
		assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root }), CLIENT_ACCEPTED);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root, .rsa_bits = 2048 }), CLIENT_ACCEPTED);
}

static void case_does_not_count_in_the_name(void **state)
{
	(void)state;
	(void)add_pool(1, CN, &root);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = "CONTOSO.ManagedHsmClient.azure.NET", .issuer = &root }), CLIENT_ACCEPTED);
}

static void what_lies_between_comes_with_the_handshake(void **state)
{
	struct t_cert below = { 0 };
	struct client_holder client;

	(void)state;
	(void)add_pool(1, CN, &root);
	t_cert_make(&(struct t_cert_spec){ .cn = CN, .issuer = &between }, &below);
	assert_int_equal(check_chain(&below, NULL, &client), CLIENT_CHAIN);
	assert_int_equal(check_chain(&below, &between, &client), CLIENT_ACCEPTED);
	t_cert_clear(&below);
}

static void extended_key_usage_counts_only_when_there_is_one(void **state)
{
	(void)state;
	(void)add_pool(1, CN, &root);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root }), CLIENT_ACCEPTED);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root, .usage = "serverAuth,clientAuth" }), CLIENT_ACCEPTED);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root, .usage = "serverAuth" }), CLIENT_PURPOSE);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root, .usage = "codeSigning" }), CLIENT_PURPOSE);
}

/* ---- refused ---- */

static void nobody_is_nobody(void **state)
{
	static const uint8_t RUBBISH[] = { 0x30, 0x03, 0x02, 0x01, 0x01 };
	struct http_cert bad = { .der = RUBBISH, .len = sizeof(RUBBISH) };
	uint8_t longer[4096];
	struct client_holder client;

	(void)state;
	(void)add_pool(1, CN, &root);
	assert_int_equal(client_trust_check(trust, NULL, 0, false, &client), CLIENT_NO_CERTIFICATE);
	assert_string_equal(client.subject, "");
	assert_int_equal(client_trust_check(trust, &bad, 1, false, &client), CLIENT_UNREADABLE);
	assert_true(leaf.der_len < sizeof(longer));
	memcpy(longer, leaf.der, leaf.der_len);
	longer[leaf.der_len] = 0;
	bad = (struct http_cert){ .der = longer, .len = leaf.der_len + 1 };
	assert_int_equal(client_trust_check(trust, &bad, 1, false, &client), CLIENT_UNREADABLE);
	bad.len = leaf.der_len - 1;
	assert_int_equal(client_trust_check(trust, &bad, 1, false, &client), CLIENT_UNREADABLE);
}

static void a_service_is_no_pool_and_a_pool_no_service(void **state)
{
	struct t_cert service;
	struct http_cert of_pool = { .der = leaf.der, .len = leaf.der_len }, of_service;
	struct client_holder client;
	struct store_pool row;
	struct store_vault v = store_fixture_vault(2, "vault2");
	struct store_principal p = store_fixture_principal(2, &v);

	(void)state;
	t_cert_make(&(struct t_cert_spec){ .cn = "Orders.example", .issuer = &root, .usage = "clientAuth" }, &service);
	of_service = (struct http_cert){ .der = service.der, .len = service.der_len };
	(void)add_pool(1, CN, &root);
	row = pool_of(2, &p, "orders.example", &root);
	row.is_service = true;
	row.prefix[0] = '\0';
	const struct store_change changes[] = { { .kind = STORE_VAULT_ADD, .vault = v }, { .kind = STORE_PRINCIPAL_ADD, .principal = p },
		                                { .kind = STORE_POOL_ADD, .pool = row } };
	assert_int_equal(store_fixture_write(store, changes, KMS_ARRAY_LEN(changes), NULL), KMS_OK);
	load();
	for (int i = 0; i < 3; i++) { /* in any order, remembered or not */
		assert_int_equal(client_trust_check(trust, &of_pool, 1, true, &client), CLIENT_UNKNOWN_SUBJECT);
		assert_int_equal(client_trust_check(trust, &of_pool, 1, false, &client), CLIENT_ACCEPTED);
		assert_false(client.is_service);
		assert_int_equal(client_trust_check(trust, &of_service, 1, true, &client), CLIENT_ACCEPTED);
		assert_true(client.is_service);
		assert_memory_equal(client.pool_id, p.id, STORE_ID_LEN);
		assert_string_equal(client.vault, "vault2");
		assert_int_equal(client_trust_check(trust, &of_service, 1, false, &client), CLIENT_UNKNOWN_SUBJECT);
		assert_memory_equal(client.pool_id, (uint8_t[STORE_ID_LEN]){ 0 }, STORE_ID_LEN);
	}
	t_cert_clear(&service);
}

static void another_name_is_unknown_even_under_the_right_root(void **state)
{
	static const char *const NAMES[] = { OTHER_CN, "contoso.managedhsmclient.azure.net.", "x" CN, CN "x", "*.managedhsmclient.azure.net",
		                             "contoso", "azure.net", " " CN };

	(void)state;
	(void)add_pool(1, CN, &root);
	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++)
		if (check_made(&(struct t_cert_spec){ .cn = NAMES[i], .issuer = &root }) != CLIENT_UNKNOWN_SUBJECT)
			fail_msg("%s", NAMES[i]);
}

static void a_certificate_has_exactly_one_common_name(void **state)
{
	struct client_holder client;
	struct t_cert two = { 0 };

	(void)state;
	(void)add_pool(1, CN, &root);
	assert_int_equal(check_made(&(struct t_cert_spec){ .issuer = &root }), CLIENT_COMMON_NAME);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .second_cn = CN, .issuer = &root }), CLIENT_COMMON_NAME);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = "cont\xc3\xb6so.managedhsmclient.azure.net", .issuer = &root }), CLIENT_COMMON_NAME);
	t_cert_make(&(struct t_cert_spec){ .cn = OTHER_CN, .second_cn = CN, .issuer = &root }, &two);
	assert_int_equal(check_chain(&two, NULL, &client), CLIENT_COMMON_NAME);
	assert_string_equal(client.subject, "O=Test,CN=" OTHER_CN ",CN=" CN); /* the log shows both */
	t_cert_clear(&two);
}

static void a_name_that_ends_early_for_c_is_none(void **state)
{
	static const char HIDDEN[] = CN "\0.evil.example";

	(void)state;
	(void)add_pool(1, CN, &root);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = HIDDEN, .cn_len = sizeof(HIDDEN) - 1, .issuer = &root }), CLIENT_COMMON_NAME);
}

static void only_the_pools_own_roots_count(void **state)
{
	(void)state;
	(void)add_pool(1, CN, &root);
	(void)add_pool(2, OTHER_CN, &other_root);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &other_root }), CLIENT_CHAIN);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = OTHER_CN, .issuer = &root }), CLIENT_CHAIN);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = OTHER_CN, .issuer = &other_root }), CLIENT_ACCEPTED);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN }), CLIENT_CHAIN); /* self-signed */
}

static void a_root_of_the_same_name_is_another_root(void **state)
{
	struct t_cert twin = { 0 };

	(void)state;
	(void)add_pool(1, CN, &root);
	t_cert_root("root", &twin);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &twin }), CLIENT_CHAIN);
	t_cert_clear(&twin);
}

static void who_is_no_ca_cannot_issue(void **state)
{
	static const char *const CONSTRAINTS[] = { "critical,CA:FALSE", NULL };
	struct client_holder client;

	(void)state;
	(void)add_pool(1, CN, &root);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CONSTRAINTS); i++) {
		struct t_cert issuer = { 0 }, issued = { 0 };
		t_cert_make(&(struct t_cert_spec){ .cn = OTHER_CN, .issuer = &root, .basic_constraints = CONSTRAINTS[i] }, &issuer);
		t_cert_make(&(struct t_cert_spec){ .cn = CN, .issuer = &issuer }, &issued);
		assert_int_equal(check_chain(&issued, &issuer, &client), CLIENT_CHAIN);
		t_cert_clear(&issued);
		t_cert_clear(&issuer);
	}
}

static void weak_links_are_refused(void **state)
{
	(void)state;
	(void)add_pool(1, CN, &root);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root, .digest = "SHA1" }), CLIENT_CHAIN);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root, .rsa_bits = 1024 }), CLIENT_CHAIN);
}

static void dates_are_those_of_the_moment(void **state)
{
	(void)state;
	(void)add_pool(1, CN, &root);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root, .to_s = now_s - 1 }), CLIENT_DATES);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &root, .from_s = now_s + DAY }), CLIENT_DATES);
	assert_int_equal(check(&leaf), CLIENT_ACCEPTED);
	now_s += 366 * DAY; /* the verdict is still remembered */
	assert_int_equal(check(&leaf), CLIENT_DATES);
	now_s -= 368 * DAY;
	assert_int_equal(check(&leaf), CLIENT_DATES);
}

static void an_expired_link_above_counts_too(void **state)
{
	struct t_cert old = { 0 }, issued = { 0 };
	struct client_holder client;

	(void)state;
	(void)add_pool(1, CN, &root);
	t_cert_make(&(struct t_cert_spec){ .cn = "old", .issuer = &root, .basic_constraints = "critical,CA:TRUE", .to_s = now_s + 60 }, &old);
	t_cert_make(&(struct t_cert_spec){ .cn = CN, .issuer = &old }, &issued);
	assert_int_equal(check_chain(&issued, &old, &client), CLIENT_ACCEPTED);
	now_s += 61;
	assert_int_equal(check_chain(&issued, &old, &client), CLIENT_DATES);
	t_cert_clear(&issued);
	t_cert_clear(&old);
}

/* ---- the table changes ---- */

static void before_it_is_loaded_nobody_is_accepted(void **state)
{
	(void)state;
	assert_int_equal(check(&leaf), CLIENT_UNKNOWN_SUBJECT);
	load();
	assert_int_equal(check(&leaf), CLIENT_UNKNOWN_SUBJECT);
}

static void a_removed_root_or_name_is_refused_at_once(void **state)
{
	(void)state;
	struct store_pool pool = add_pool(1, CN, &root);
	assert_int_equal(check(&leaf), CLIENT_ACCEPTED);
	put_root(&pool, &other_root); /* both, while one follows the other */
	set_pool(&pool);
	assert_int_equal(check(&leaf), CLIENT_ACCEPTED);
	assert_int_equal(check_made(&(struct t_cert_spec){ .cn = CN, .issuer = &other_root }), CLIENT_ACCEPTED);
	pool.root_count = 0;
	put_root(&pool, &other_root);
	set_pool(&pool);
	assert_int_equal(check(&leaf), CLIENT_CHAIN); /* though it was accepted a moment ago */
	pool.root_count = 0;
	put_root(&pool, &root);
	(void)snprintf(pool.subjects[0], sizeof(pool.subjects[0]), "%s", OTHER_CN);
	set_pool(&pool);
	assert_int_equal(check(&leaf), CLIENT_UNKNOWN_SUBJECT);
}

static void many_pools_are_told_apart(void **state)
{
	enum { MANY = 40 }; /* several pages */

	(void)state;
	for (unsigned n = 1; n <= MANY; n++) {
		char cn[STORE_SUBJECT_MAX + 1];
		(void)snprintf(cn, sizeof(cn), "pool-%u.azure.net", n);
		(void)add_pool(n, cn, n % 2 == 0 ? &root : &other_root);
	}
	for (unsigned n = 1; n <= MANY; n++) {
		char cn[STORE_SUBJECT_MAX + 1], vault[STORE_VAULT_NAME_MAX + 1];
		struct t_cert made = { 0 };
		struct client_holder client;
		(void)snprintf(cn, sizeof(cn), "POOL-%u.azure.net", n);
		(void)snprintf(vault, sizeof(vault), "vault%u", n);
		t_cert_make(&(struct t_cert_spec){ .cn = cn, .issuer = n % 2 == 0 ? &root : &other_root }, &made);
		assert_int_equal(check_chain(&made, NULL, &client), CLIENT_ACCEPTED);
		assert_string_equal(client.vault, vault);
		t_cert_clear(&made);
	}
}

static void a_verdict_is_remembered_for_seconds_only(void **state)
{
	struct t_cert below = { 0 };
	struct client_holder client;

	(void)state;
	(void)add_pool(1, CN, &root);
	t_cert_make(&(struct t_cert_spec){ .cn = CN, .issuer = &between }, &below);
	assert_int_equal(check_chain(&below, &between, &client), CLIENT_ACCEPTED);
	mono_us += REMEMBERED_US - 1;
	assert_int_equal(check_chain(&below, NULL, &client), CLIENT_ACCEPTED); /* only memory can say so */
	mono_us += 1;
	assert_int_equal(check_chain(&below, NULL, &client), CLIENT_CHAIN);
	t_cert_clear(&below);
}

static kms_status no_pools(struct store *s, const uint8_t after_id[STORE_ID_LEN], struct store_pool *ret, size_t cap, size_t *ret_count,
                           struct kms_err *err)
{
	(void)s;
	(void)after_id;
	(void)ret;
	(void)cap;
	(void)ret_count;
	return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "as the test wants it");
}

static void what_cannot_be_read_leaves_the_table_as_it_is(void **state)
{
	static const struct store_ops OPS = { .name = "broken", .pools = no_pools };
	struct store broken = { .ops = &OPS };

	(void)state;
	(void)add_pool(1, CN, &root);
	assert_int_equal(client_trust_load(trust, &broken, NULL), KMS_E_STORE);
	assert_int_equal(check(&leaf), CLIENT_ACCEPTED);
}

static atomic_bool readers_stop;
static void *read_always(void *arg)
{
	unsigned long *checks = arg;
	while (!atomic_load(&readers_stop)) {
		assert_int_equal(check(&leaf), CLIENT_ACCEPTED);
		(*checks)++;
	}
	return NULL;
}

static void checks_go_on_while_the_table_is_replaced(void **state)
{
	enum { READERS = 4, CHANGES = 50 };
	pthread_t readers[READERS];
	unsigned long checks[READERS] = { 0 };

	(void)state;
	struct store_pool pool = add_pool(1, CN, &root);
	atomic_store(&readers_stop, false);
	for (size_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_always, &checks[i]), 0);
	for (int i = 0; i < CHANGES; i++) {
		pool.root_count = 1;
		if (i % 2 == 0)
			put_root(&pool, &other_root);
		set_pool(&pool);
	}
	atomic_store(&readers_stop, true);
	for (size_t i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(readers[i], NULL), 0);
		assert_true(checks[i] > 0);
	}
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, open_scene, close_scene)
	const struct CMUnitTest tests[] = {
		T(a_pools_certificate_is_accepted_and_tells_the_pool),
		T(nothing_is_pinned),
		T(case_does_not_count_in_the_name),
		T(what_lies_between_comes_with_the_handshake),
		T(extended_key_usage_counts_only_when_there_is_one),
		T(nobody_is_nobody),
		T(a_service_is_no_pool_and_a_pool_no_service),
		T(another_name_is_unknown_even_under_the_right_root),
		T(a_certificate_has_exactly_one_common_name),
		T(a_name_that_ends_early_for_c_is_none),
		T(only_the_pools_own_roots_count),
		T(a_root_of_the_same_name_is_another_root),
		T(who_is_no_ca_cannot_issue),
		T(weak_links_are_refused),
		T(dates_are_those_of_the_moment),
		T(an_expired_link_above_counts_too),
		T(before_it_is_loaded_nobody_is_accepted),
		T(a_removed_root_or_name_is_refused_at_once),
		T(many_pools_are_told_apart),
		T(a_verdict_is_remembered_for_seconds_only),
		T(what_cannot_be_read_leaves_the_table_as_it_is),
		T(checks_go_on_while_the_table_is_replaced),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
