/* tests/unit/hsm_hazards.c - what was measured to break in software tokens, row by row, and that we stand it. Rows i, m and p are covered by
 * hsm_verbs.c and hsm_wycheproof.c too; row k has hsm_templates.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/encode.h"
#include "tests/support/hsm_rig.h"

static struct t_rig RIG;

/* ---- fsync, as the provider calls it ---- */

static atomic_uint SYNCED_FILES, SYNCED_DIRS;
static atomic_bool SYNC_FAILS;

int fsync(int fd)
{
	struct stat st;

	if (SYNC_FAILS) {
		errno = EIO;
		return -1;
	}
	if (fstat(fd, &st) == 0)
		(*(S_ISDIR(st.st_mode) ? &SYNCED_DIRS : &SYNCED_FILES))++;
	return 0;
}

static int up(void **state)
{
	(void)state;
	SYNC_FAILS = false;
	t_rig_up(&RIG);
	return 0;
}

static int only_token(void **state)
{
	(void)state;
	SYNC_FAILS = false;
	t_rig_token(&RIG);
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_rig_down(&RIG);
	return 0;
}

static void open_it(void)
{
	T_OK(&RIG, hsm_open_pkcs11(&RIG.token.cfg, &RIG.hsm, &RIG.err));
	RIG.p = p11_of(RIG.hsm);
}

/* ---- threads that use a key ---- */

struct user {
	pthread_t thread;
	const struct hsm_key *key;
	const struct hsm_public *public;
	uint8_t cipher[HSM_RSA_MAX];
	kms_status status; /* the last */
	unsigned rounds; /* 0: until `stop` is set, absence of the device notwithstanding */
	const atomic_bool *stop;
};

static void *use(void *arg)
{
	struct user *u = arg;

	bool is_last = false;

	for (unsigned i = 0; u->rounds == 0 || i < u->rounds; i++) {
		is_last = u->rounds == 0 && atomic_load(u->stop);
		struct secret *plain = NULL;

		u->status = hsm_rsa_decrypt(RIG.hsm, u->key, HSM_RSA_OAEP_SHA256, u->public->n, u->public->n_len, u->cipher, u->public->n_len,
		                            &plain, NULL);
		secret_free(plain);
		if (u->status != KMS_OK && (u->rounds != 0 || u->status != KMS_E_DEVICE))
			break;
		if (is_last)
			break;
	}
	return NULL;
}

static void user_start(struct user *u, const struct hsm_key *key, const struct hsm_public *pub, unsigned rounds, const atomic_bool *stop)
{
	memset(u, 0, sizeof(*u));
	u->stop = stop;
	u->key = key;
	u->public = pub;
	u->rounds = rounds;
	t_rsa_encrypt(pub, HSM_RSA_OAEP_SHA256, "secret", u->cipher);
	assert_int_equal(pthread_create(&u->thread, NULL, use, u), 0);
}

static kms_status user_end(struct user *u)
{
	assert_int_equal(pthread_join(u->thread, NULL), 0);
	return u->status;
}

/* Row a. */
static void eviction_waits_for_what_is_in_flight_by_key_and_by_root(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct t_wrapped w;
	struct user u;

	(void)state;
	t_wrapped_make(&RIG, &root, 2048, &w);
	for (int by_root = 0; by_root < 2; by_root++) {
		const uint8_t *id = by_root ? root.id : w.key.id;

		t_hold("C_Decrypt");
		user_start(&u, &w.key, &w.public, 1, NULL);
		t_hold_wait();
		T_FAILS(&RIG, KMS_E_BUSY, hsm_key_evict(RIG.hsm, id, 20, &RIG.err));
		T_OK(&RIG, hsm_key_evict(RIG.hsm, id, 0, &RIG.err)); /* does not wait */
		assert_int_equal(p11_cache_loaded_count(RIG.p->cache), 0);
		t_hold_release();
		T_OK(&RIG, hsm_key_evict(RIG.hsm, id, 5000, &RIG.err));
		assert_int_equal(user_end(&u), KMS_OK); /* it began before */
		assert_int_equal(t_objects(&RIG, false), 0);
	}
	/* Resident keys are waited for as well. */
	t_hold("C_UnwrapKey");
	user_start(&u, &w.key, &w.public, 1, NULL);
	t_hold_wait(); /* the load uses the root */
	T_FAILS(&RIG, KMS_E_BUSY, hsm_key_evict(RIG.hsm, root.id, 20, &RIG.err));
	t_hold_release();
	T_OK(&RIG, hsm_key_evict(RIG.hsm, root.id, 5000, &RIG.err));
	assert_int_equal(user_end(&u), KMS_OK);
	assert_int_equal(t_objects(&RIG, false), 0);
}

static void eviction_of_one_key_leaves_the_others(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct t_wrapped a, b;
	struct user u;

	(void)state;
	t_wrapped_make(&RIG, &root, 2048, &a);
	t_wrapped_make(&RIG, &root, 2048, &b);
	T_OK(&RIG, t_rsa_round_trip(&RIG, &a.key, &a.public));
	t_hold("C_Decrypt");
	user_start(&u, &b.key, &b.public, 1, NULL);
	t_hold_wait();
	T_OK(&RIG, hsm_key_evict(RIG.hsm, a.key.id, 5000, &RIG.err)); /* b is in use, a is not */
	t_hold_release();
	assert_int_equal(user_end(&u), KMS_OK);
	assert_int_equal(p11_cache_loaded_count(RIG.p->cache), 1);
}

/* Row c. */
static void a_key_restored_with_its_directory_is_listed_and_can_be_destroyed_again(void **state)
{
	struct hsm_key root;
	char old[T_TOKEN_PATH + 8], away[T_TOKEN_PATH + 8];
	bool is_gone = true;
	struct hsm_key log_key;

	(void)state;
	log_key = t_log_key(&RIG);
	root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	(void)snprintf(away, sizeof(away), "%s.copy", RIG.token.token_dir);
	(void)snprintf(old, sizeof(old), "%s.old", RIG.token.token_dir);
	t_copy_tree(RIG.token.token_dir, away);
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, root.id, &RIG.err));
	T_OK(&RIG, hsm_keys_gone(RIG.hsm, &root.id, 1, log_key.id, &is_gone, &RIG.err));
	assert_true(is_gone);
	assert_int_equal(rename(RIG.token.token_dir, old), 0);
	assert_int_equal(rename(away, RIG.token.token_dir), 0);
	T_OK(&RIG, hsm_keys_gone(RIG.hsm, &root.id, 1, log_key.id, &is_gone, &RIG.err));
	assert_false(is_gone); /* the dead return; the fresh look sees it before anyone else */
	hsm_close(RIG.hsm);
	open_it();
	hsm_set_log_key(RIG.hsm, log_key.id);
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, root.id, &RIG.err));
	T_OK(&RIG, hsm_keys_gone(RIG.hsm, &root.id, 1, log_key.id, &is_gone, &RIG.err));
	assert_true(is_gone);
}

/* Row d. */
#define MAKERS 8
#define MADE_EACH 12

struct maker {
	pthread_t thread;
	unsigned failures;
};

static void *make_and_destroy(void *arg)
{
	struct maker *m = arg;
	uint8_t mac[32];

	for (unsigned i = 0; i < MADE_EACH; i++) {
		struct hsm_key key = rig_key(HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0);
		struct hsm_public pub;
		struct hsm_key pair = rig_key(HSM_FOR_TOKENS, HSM_KIND_P256, 0);

		if (hsm_key_generate(RIG.hsm, &key, NULL, NULL) != KMS_OK || t_mac(RIG.hsm, &key, mac, 32, mac, NULL) != KMS_OK ||
		    hsm_key_generate(RIG.hsm, &pair, &pub, NULL) != KMS_OK || hsm_key_public(RIG.hsm, &pair, &pub, NULL) != KMS_OK ||
		    hsm_key_destroy(RIG.hsm, key.id, NULL) != KMS_OK || hsm_key_destroy(RIG.hsm, pair.id, NULL) != KMS_OK)
			m->failures++;
	}
	return NULL;
}

static void token_objects_made_found_and_destroyed_by_many_threads_never_fail_or_stay(void **state)
{
	struct maker makers[MAKERS] = { 0 };

	(void)state;
	RIG.token.cfg.sessions = MAKERS;
	RIG.token.cfg.wait_ms = 30000;
	open_it();
	(void)t_log_key(&RIG);
	for (size_t i = 0; i < MAKERS; i++)
		assert_int_equal(pthread_create(&makers[i].thread, NULL, make_and_destroy, &makers[i]), 0);
	for (size_t i = 0; i < MAKERS; i++) {
		assert_int_equal(pthread_join(makers[i].thread, NULL), 0);
		assert_int_equal(makers[i].failures, 0);
	}
	assert_int_equal(t_objects(&RIG, true), 2); /* the log key's pair */
	assert_int_equal(t_objects(&RIG, false), 0);
}

static void a_failed_creation_leaves_no_orphan(void **state)
{
	struct hsm_key key = rig_key(HSM_FOR_ROOT, HSM_KIND_AES, 256);

	(void)state;
	SYNC_FAILS = true; /* the object exists by then, as after SoftHSM's own failures */
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_key_generate(RIG.hsm, &key, NULL, &RIG.err));
	SYNC_FAILS = false;
	assert_int_equal(t_objects(&RIG, true), 0);
	T_OK(&RIG, hsm_key_generate(RIG.hsm, &key, NULL, &RIG.err));
}

/* Row e. */
static void a_session_with_an_error_after_init_is_closed_and_never_reused(void **state)
{
	struct hsm_public pub;
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, &pub);
	struct hsm_info info;

	(void)state;
	T_OK(&RIG, t_rsa_round_trip(&RIG, &key, &pub));
	hsm_info(RIG.hsm, &info);
	assert_int_equal(info.sessions_open, 1);
	t_fail_named("C_Decrypt", CKR_ARGUMENTS_BAD);
	T_FAILS(&RIG, KMS_E_CRYPTO, t_rsa_round_trip(&RIG, &key, &pub));
	t_fail_named(NULL, CKR_OK);
	hsm_info(RIG.hsm, &info);
	assert_int_equal(info.sessions_open, 0);
	T_OK(&RIG, t_rsa_round_trip(&RIG, &key, &pub)); /* would be CKR_OPERATION_ACTIVE on the old one */
}

static size_t sessions_open(void)
{
	size_t open = 0, busy = 0, max = 0;

	p11_pool_usage(RIG.p->pool, &open, &busy, &max);
	return open;
}

static void broken_session_that_cannot_be_closed_is_kept_apart(void **state)
{
	struct p11_session s = { 0 };
	struct secret *fill = secret_new(16);

	(void)state;
	T_OK(&RIG, p11_pool_take(RIG.p->pool, &s, &RIG.err));
	s.is_broken = true;
	t_fail_named("C_CloseSession", CKR_FUNCTION_FAILED);
	p11_session_release(&s);
	assert_int_equal(sessions_open(), 1);
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_random(RIG.hsm, fill, &RIG.err)); /* tried again before a new one is opened */
	t_fail_named(NULL, CKR_OK);
	t_calls_begin();
	T_OK(&RIG, hsm_random(RIG.hsm, fill, &RIG.err));
	assert_string_equal(t_calls_end(), "C_CloseSession C_OpenSession C_GenerateRandom");
	assert_int_equal(sessions_open(), 1);
	secret_free(fill);
}

static void a_failing_unwrap_keeps_its_session(void **state)
{
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL);
	uint8_t junk[24] = { 0 };
	struct secret *plain = NULL;

	(void)state;
	for (int i = 0; i < 3; i++)
		T_FAILS(&RIG, KMS_E_CRYPTO, hsm_aes_unwrap(RIG.hsm, &key, HSM_AES_KW, junk, sizeof(junk), &plain, &RIG.err));
	t_calls_begin();
	T_FAILS(&RIG, KMS_E_CRYPTO, hsm_aes_unwrap(RIG.hsm, &key, HSM_AES_KW, junk, sizeof(junk), &plain, &RIG.err));
	assert_string_equal(t_calls_end(), "C_UnwrapKey");
}

/* Row f. */
static void a_lost_token_is_noticed_refused_and_brought_back(void **state)
{
	struct hsm_key log_key = t_log_key(&RIG);
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct hsm_key aes = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_AES, 256, NULL);
	struct hsm_key unseen = t_resident(&RIG, HSM_FOR_TOKENS, HSM_KIND_P256, 0, NULL);
	SECRET_AUTO *plain = secret_from("0123456789abcdef", 16);
	uint8_t wrapped[24], digest[32] = { 0 }, signature[HSM_SIGNATURE_MAX];
	char away[T_TOKEN_PATH + 8];
	struct hsm_info info;
	struct t_wrapped w;
	bool is_gone = false;
	size_t len;

	(void)state;
	(void)snprintf(away, sizeof(away), "%s.away", RIG.token.token_dir);
	t_wrapped_make(&RIG, &root, 2048, &w);
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w.key, &w.public));
	T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &aes, HSM_AES_KW, plain, wrapped, sizeof(wrapped), &len, &RIG.err));

	for (uint64_t epoch = 2; epoch < 5; epoch++) {
		T_OK(&RIG, t_sign(RIG.hsm, &log_key, digest, sizeof(digest), signature, &RIG.err));
		T_OK(&RIG, hsm_key_evict(RIG.hsm, unseen.id, 1000, &RIG.err));
		assert_int_equal(rename(RIG.token.token_dir, away), 0);
		/* Absence is not believed: neither "no such key" nor "destroyed" nor "gone" comes from a token that is away. */
		T_FAILS(&RIG, KMS_E_DEVICE, t_sign(RIG.hsm, &unseen, digest, sizeof(digest), signature, &RIG.err));
		T_FAILS(&RIG, KMS_E_DEVICE, hsm_key_destroy(RIG.hsm, unseen.id, &RIG.err));
		T_FAILS(&RIG, KMS_E_DEVICE, hsm_keys_gone(RIG.hsm, &unseen.id, 1, log_key.id, &is_gone, &RIG.err));
		assert_false(is_gone);
		T_FAILS(&RIG, KMS_E_DEVICE, hsm_check(RIG.hsm, &RIG.err));
		hsm_info(RIG.hsm, &info);
		assert_false(info.is_available);
		/* Loaded versions would still work; they are refused without a call. */
		t_calls_begin();
		T_FAILS(&RIG, KMS_E_DEVICE, t_rsa_round_trip(&RIG, &w.key, &w.public));
		T_FAILS(&RIG, KMS_E_DEVICE, hsm_aes_wrap(RIG.hsm, &aes, HSM_AES_KW, plain, wrapped, sizeof(wrapped), &len, &RIG.err));
		assert_string_equal(t_calls_end(), "");
		T_OK(&RIG, hsm_key_evict(RIG.hsm, w.key.id, 1000, &RIG.err)); /* a revoke works all the same */
		T_FAILS(&RIG, KMS_E_DEVICE, hsm_check(RIG.hsm, &RIG.err));

		assert_int_equal(rename(away, RIG.token.token_dir), 0);
		T_OK(&RIG, hsm_check(RIG.hsm, &RIG.err));
		hsm_info(RIG.hsm, &info);
		assert_true(info.is_available);
		assert_true(info.epoch >= epoch);
		assert_int_equal(info.cached_keys, 0);
		assert_int_equal(info.features, (1U << HSM_FEATURE_COUNT) - 1);
		T_OK(&RIG, t_rsa_round_trip(&RIG, &w.key, &w.public));
		T_OK(&RIG, hsm_aes_wrap(RIG.hsm, &aes, HSM_AES_KW, plain, wrapped, sizeof(wrapped), &len, &RIG.err));
		T_OK(&RIG, t_sign(RIG.hsm, &unseen, digest, sizeof(digest), signature, &RIG.err));
	}
}

static void another_token_of_the_same_name_is_not_taken_for_ours(void **state)
{
	struct t_token other;
	char away[T_TOKEN_PATH + 8];
	struct hsm_info info;

	(void)state;
	t_token_make(&other); /* before ours is opened: one initialisation at a time */
	assert_int_equal(setenv("SOFTHSM2_CONF", RIG.token.conf, 1), 0);
	open_it();
	(void)t_log_key(&RIG);
	(void)snprintf(away, sizeof(away), "%s.away", RIG.token.token_dir);
	assert_int_equal(rename(RIG.token.token_dir, away), 0);
	assert_int_equal(rename(other.token_dir, RIG.token.token_dir), 0);
	RIG.p->probed_ms = 0;
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_check(RIG.hsm, &RIG.err));
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_check(RIG.hsm, &RIG.err)); /* it opens, but lacks the log key */
	hsm_info(RIG.hsm, &info);
	assert_false(info.is_available);
	t_token_remove(&other);
}

static void users_during_losses_see_success_or_an_absent_device_and_nothing_else(void **state)
{
	struct hsm_key root;
	struct user users[4];
	struct t_wrapped w;
	const unsigned losses = 20;
	atomic_bool stop = false;

	(void)state;
	(void)t_log_key(&RIG);
	root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	t_wrapped_make(&RIG, &root, 2048, &w);
	for (size_t i = 0; i < KMS_ARRAY_LEN(users); i++)
		user_start(&users[i], &w.key, &w.public, 0, &stop);
	for (unsigned i = 0; i < losses; i++) {
		atomic_store(&RIG.p->is_available, false); /* what a failed probe does */
		T_OK(&RIG, hsm_check(RIG.hsm, &RIG.err));
	}
	atomic_store(&stop, true); /* the device is there: the last use of each works */
	for (size_t i = 0; i < KMS_ARRAY_LEN(users); i++)
		assert_int_equal(user_end(&users[i]), KMS_OK);
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w.key, &w.public));
	assert_int_equal(t_objects(&RIG, false), 1);
}

static void a_void_handle_of_a_resident_key_is_looked_up_again(void **state)
{
	CK_FUNCTION_LIST *f = RIG.p->token.gate.functions;
	struct hsm_key key = t_resident(&RIG, HSM_FOR_PSEUDONYMS, HSM_KIND_HMAC, 0, NULL);
	struct p11_lease lease = { 0 };
	uint8_t mac[32];

	(void)state;
	(void)t_log_key(&RIG);
	T_OK(&RIG, t_mac(RIG.hsm, &key, mac, 1, mac, &RIG.err));
	T_OK(&RIG, p11_lease_take(RIG.p, &key, &lease, &RIG.err));
	assert_int_equal(f->C_DestroyObject(RIG.p->token.home, lease.entry->handle), CKR_OK); /* by an administrator's tool, say */
	p11_lease_release(&lease);
	T_FAILS(&RIG, KMS_E_DEVICE, t_mac(RIG.hsm, &key, mac, 1, mac, &RIG.err));
	assert_true(atomic_load(&RIG.p->token.gate.is_suspect));
	T_OK(&RIG, hsm_check(RIG.hsm, &RIG.err)); /* the token is there */
	T_FAILS(&RIG, KMS_E_NOTFOUND, t_mac(RIG.hsm, &key, mac, 1, mac, &RIG.err));
}

/* Row g. */
static void creation_and_destruction_reach_stable_storage_before_they_are_acknowledged(void **state)
{
	struct hsm_key key;

	(void)state;
	SYNCED_FILES = SYNCED_DIRS = 0;
	key = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	assert_true(SYNCED_FILES >= 1); /* the object */
	assert_int_equal(SYNCED_DIRS, 2); /* the token's, and the one that holds tokens */
	SYNCED_FILES = SYNCED_DIRS = 0;
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, key.id, &RIG.err));
	assert_int_equal(SYNCED_DIRS, 2);
	key = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	SYNC_FAILS = true;
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_key_destroy(RIG.hsm, key.id, &RIG.err));
	SYNC_FAILS = false;
	T_OK(&RIG, hsm_key_destroy(RIG.hsm, key.id, &RIG.err));
}

/* Row m. */
static void one_tenants_bad_bytes_never_make_the_device_suspect(void **state)
{
	struct hsm_public pub;
	struct hsm_key key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, &pub);
	P11_SESSION_AUTO session = { 0 };
	P11_LEASE_AUTO lease = { 0 };
	SECRET_AUTO *block = secret_new(pub.n_len);
	CK_RV rv;

	(void)state;
	/* c >= n reaches the token only past our own check, here: it answers with a general error. */
	T_OK(&RIG, p11_lease_take(RIG.p, &key, &lease, &RIG.err));
	T_OK(&RIG, p11_pool_take(RIG.p->pool, &session, &RIG.err));
	T_FAILS(&RIG, KMS_E_CRYPTO, p11_use_rsa_raw(RIG.p, &session, lease.entry->handle, pub.n, pub.n_len, block, &rv, &RIG.err));
	assert_int_equal(rv, CKR_GENERAL_ERROR);
	assert_true(session.is_broken);
	assert_false(atomic_load(&RIG.p->token.gate.is_suspect));
}

/* Row n. */
static void a_warm_key_is_used_without_a_search_or_a_load(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct t_wrapped w;

	(void)state;
	t_wrapped_make(&RIG, &root, 2048, &w);
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w.key, &w.public));
	t_calls_begin();
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w.key, &w.public));
	assert_string_equal(t_calls_end(), "C_DecryptInit C_Decrypt");
}

static void loaded_versions_are_bounded_and_the_oldest_goes_first(void **state)
{
	struct hsm_key root;
	struct t_wrapped w[3];

	(void)state;
	RIG.token.cfg.cache_keys = 2;
	open_it();
	root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	for (size_t i = 0; i < KMS_ARRAY_LEN(w); i++)
		t_wrapped_make(&RIG, &root, 2048, &w[i]);
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w[0].key, &w[0].public));
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w[1].key, &w[1].public));
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w[0].key, &w[0].public));
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w[2].key, &w[2].public)); /* drives out 1 */
	assert_int_equal(t_objects(&RIG, false), 2);
	t_calls_begin();
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w[0].key, &w[0].public));
	assert_null(strstr(t_calls_end(), "C_UnwrapKey"));
	t_calls_begin();
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w[1].key, &w[1].public));
	assert_non_null(strstr(t_calls_end(), "C_UnwrapKey"));
	assert_int_equal(t_objects(&RIG, false), 2);
}

static void two_requests_for_one_key_load_it_once(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct user users[3];
	struct t_wrapped w;
	const char *first;

	(void)state;
	t_wrapped_make(&RIG, &root, 2048, &w);
	t_calls_begin();
	t_hold("C_UnwrapKey");
	for (size_t i = 0; i < KMS_ARRAY_LEN(users); i++)
		user_start(&users[i], &w.key, &w.public, 1, NULL);
	t_hold_wait();
	t_hold_release();
	for (size_t i = 0; i < KMS_ARRAY_LEN(users); i++)
		assert_int_equal(user_end(&users[i]), KMS_OK);
	first = strstr(t_calls_end(), "C_UnwrapKey");
	assert_non_null(first);
	assert_null(strstr(first + 1, "C_UnwrapKey"));
	assert_int_equal(t_objects(&RIG, false), 1);
}

static void a_failed_load_fails_for_all_who_waited_and_is_tried_anew(void **state)
{
	struct hsm_key root = t_resident(&RIG, HSM_FOR_ROOT, HSM_KIND_AES, 256, NULL);
	struct t_wrapped w;

	(void)state;
	t_wrapped_make(&RIG, &root, 2048, &w);
	t_fail_named("C_UnwrapKey", CKR_GENERAL_ERROR);
	T_FAILS(&RIG, KMS_E_INTERNAL, t_rsa_round_trip(&RIG, &w.key, &w.public));
	t_fail_named("C_UnwrapKey", CKR_DEVICE_ERROR);
	T_FAILS(&RIG, KMS_E_DEVICE, t_rsa_round_trip(&RIG, &w.key, &w.public));
	t_fail_named(NULL, CKR_OK);
	T_OK(&RIG, t_rsa_round_trip(&RIG, &w.key, &w.public));
}

static void an_empty_pool_answers_busy_within_its_wait(void **state)
{
	struct hsm_public pub;
	struct hsm_key key;
	struct user u;
	SECRET_AUTO *fill = NULL;

	(void)state;
	RIG.token.cfg.sessions = 1;
	RIG.token.cfg.wait_ms = 30;
	open_it();
	fill = secret_new(16);
	key = t_resident(&RIG, HSM_FOR_CALLER, HSM_KIND_RSA, 2048, &pub);
	t_hold("C_Decrypt");
	user_start(&u, &key, &pub, 1, NULL);
	t_hold_wait();
	T_FAILS(&RIG, KMS_E_BUSY, hsm_random(RIG.hsm, fill, &RIG.err));
	T_OK(&RIG, hsm_check(RIG.hsm, &RIG.err)); /* a busy pool says nothing about the device */
	t_hold_release();
	assert_int_equal(user_end(&u), KMS_OK);
	T_OK(&RIG, hsm_random(RIG.hsm, fill, &RIG.err));
}

static void a_wrong_signature_is_withheld(void **state)
{
	struct hsm_key key = t_resident(&RIG, HSM_FOR_TOKENS, HSM_KIND_P256, 0, NULL);
	struct hsm_key other = t_resident(&RIG, HSM_FOR_TOKENS, HSM_KIND_P256, 0, NULL);
	uint8_t digest[32] = { 0 }, signature[HSM_SIGNATURE_MAX] = { 0 }, zeros[HSM_SIGNATURE_MAX] = { 0 };
	P11_LEASE_AUTO a = { 0 };
	P11_LEASE_AUTO b = { 0 };
	EVP_PKEY *swap;

	(void)state;
	T_OK(&RIG, p11_lease_take(RIG.p, &key, &a, &RIG.err));
	T_OK(&RIG, p11_lease_take(RIG.p, &other, &b, &RIG.err));
	swap = a.entry->verifier; /* to the check, a signature by another key is a faulty one */
	a.entry->verifier = b.entry->verifier;
	b.entry->verifier = swap;
	T_FAILS(&RIG, KMS_E_DEVICE, t_sign(RIG.hsm, &key, digest, sizeof(digest), signature, &RIG.err));
	assert_memory_equal(signature, zeros, sizeof(zeros));
}

#define WITH_HSM(test) cmocka_unit_test_setup_teardown(test, up, down)
#define WITH_TOKEN(test) cmocka_unit_test_setup_teardown(test, only_token, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_HSM(eviction_waits_for_what_is_in_flight_by_key_and_by_root),
		WITH_HSM(eviction_of_one_key_leaves_the_others),
		WITH_HSM(a_key_restored_with_its_directory_is_listed_and_can_be_destroyed_again),
		WITH_TOKEN(token_objects_made_found_and_destroyed_by_many_threads_never_fail_or_stay),
		WITH_HSM(a_failed_creation_leaves_no_orphan),
		WITH_HSM(a_session_with_an_error_after_init_is_closed_and_never_reused),
		WITH_HSM(broken_session_that_cannot_be_closed_is_kept_apart),
		WITH_HSM(a_failing_unwrap_keeps_its_session),
		WITH_HSM(a_lost_token_is_noticed_refused_and_brought_back),
		WITH_TOKEN(another_token_of_the_same_name_is_not_taken_for_ours),
		WITH_HSM(users_during_losses_see_success_or_an_absent_device_and_nothing_else),
		WITH_HSM(a_void_handle_of_a_resident_key_is_looked_up_again),
		WITH_HSM(creation_and_destruction_reach_stable_storage_before_they_are_acknowledged),
		WITH_HSM(one_tenants_bad_bytes_never_make_the_device_suspect),
		WITH_HSM(a_warm_key_is_used_without_a_search_or_a_load),
		WITH_TOKEN(loaded_versions_are_bounded_and_the_oldest_goes_first),
		WITH_HSM(two_requests_for_one_key_load_it_once),
		WITH_HSM(a_failed_load_fails_for_all_who_waited_and_is_tried_anew),
		WITH_TOKEN(an_empty_pool_answers_busy_within_its_wait),
		WITH_HSM(a_wrong_signature_is_withheld),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
