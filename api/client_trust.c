/* api/client_trust.c - see client_trust.h. One immutable table at a time; who checks holds a reference to the one he began with. */
#include "api/client_trust.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api/client_cert.h"
#include "server/base/encode.h"

#define POOLS_PAGE 16
#define AUTH_LEVEL 2 /* 112 bits of security below the root: no SHA-1, no RSA below 2048 (SSL_CTX_set_security_level(3)) */
/* A verdict is remembered for a while, so that a busy connection does not pay for the signatures of its chain with each request. */
#define REMEMBERED 256 /* certificates; a fixed table, the newer one wins a place */
#define REMEMBERED_US ((int64_t)5 * 1000000)

struct pool {
	struct client_holder client; /* the pool's half of it */
	X509_STORE *roots;        /* owned */
};

struct subject {
	char text[STORE_SUBJECT_MAX + 1]; /* lower case */
	size_t pool;
};

struct table {
	atomic_uint refs;
	uint64_t number; /* never the same twice */
	uint8_t digest[SHA256_DIGEST_LENGTH]; /* of all that it was made from */
	struct pool *pools;
	size_t pool_count;
	struct subject *subjects; /* sorted */
	size_t subject_count;
};

struct remembered {
	uint8_t leaf[SHA256_DIGEST_LENGTH];
	uint64_t table; /* 0 = empty */
	int64_t until_us;                  /* of the boot-time clock */
	int64_t not_before_s, not_after_s; /* when the whole chain is valid */
	size_t pool;
	bool is_service;
};

struct client_trust {
	const struct clock *clock;
	pthread_mutex_t load_lock; /* one load at a time, so that an older reading never follows a newer one; taken before `lock` */
	uint64_t last_number;      /* under load_lock */
	pthread_mutex_t lock;      /* guards all below; held for copies only */
	struct table *table;
	struct remembered places[REMEMBERED];
};

const char *client_verdict_name(enum client_verdict verdict)
{
	static const char *const NAMES[CLIENT_VERDICT_COUNT] = {
		[CLIENT_ACCEPTED] = "accepted",       [CLIENT_NO_CERTIFICATE] = "no_certificate",   [CLIENT_UNREADABLE] = "unreadable",
		[CLIENT_COMMON_NAME] = "common_name", [CLIENT_UNKNOWN_SUBJECT] = "unknown_subject", [CLIENT_DATES] = "dates",
		[CLIENT_PURPOSE] = "purpose",         [CLIENT_CHAIN] = "chain",
	};
	return NAMES[verdict];
}

/* ---- the table ---- */

static void table_unref(struct table *t)
{
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	for (size_t i = 0; i < t->pool_count; i++)
		X509_STORE_free(t->pools[i].roots);
	free(t->pools);
	free(t->subjects);
	free(t);
}
static void table_unref_at(struct table **t) { table_unref(*t); }
#define TABLE_AUTO __attribute__((cleanup(table_unref_at))) struct table

static struct table *table_now(struct client_trust *t)
{
	struct table *now = NULL;

	(void)pthread_mutex_lock(&t->lock);
	now = t->table;
	atomic_fetch_add(&now->refs, 1);
	(void)pthread_mutex_unlock(&t->lock);
	return now;
}

static kms_status no_memory(struct kms_err *err)
{
	ERR_clear_error();
	return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, 0, "certificates of pools");
}

/* A root that cannot be read (it was checked when it was registered) makes its pool accept less, never more. */
static kms_status make_roots(const struct store_pool *row, X509_STORE **ret_roots, struct kms_err *err)
{
	X509_STORE *roots = X509_STORE_new();

	if (roots == NULL)
		return no_memory(err);
	for (size_t i = 0; i < row->root_count; i++) {
		X509 *root = client_cert_parse(row->roots[i].der, row->roots[i].der_len);
		if (root != NULL)
			(void)X509_STORE_add_cert(roots, root);
		X509_free(root);
	}
	ERR_clear_error();
	*ret_roots = roots;
	return KMS_OK;
}

static void *grown(void *array, size_t count, size_t more, size_t size) { return reallocarray(array, count + more, size); }

/* The digest tells whether anything changed; of a step that fails the next load finds a difference, which costs nothing but its work. */
static void digest_add(EVP_MD_CTX *digest, const void *bytes, size_t len) { (void)EVP_DigestUpdate(digest, bytes, len); }

static kms_status add_pool(struct table *t, struct store *store, const struct store_pool *row, EVP_MD_CTX *digest, struct kms_err *err)
{
	struct store_principal principal = { 0 };
	struct store_vault vault = { 0 };
	struct pool *pools = grown(t->pools, t->pool_count, 1, sizeof(*pools));
	struct subject *subjects = NULL;
	struct pool *p = NULL;

	if (pools != NULL)
		t->pools = pools;
	subjects = grown(t->subjects, t->subject_count, row->subject_count, sizeof(*subjects));
	if (subjects != NULL)
		t->subjects = subjects;
	if (pools == NULL || subjects == NULL)
		return no_memory(err);
	KMS_TRY(store_principal(store, row->id, &principal, err));
	KMS_TRY(store_vault_by_id(store, principal.vault_id, &vault, err));
	p = &pools[t->pool_count];
	*p = (struct pool){ 0 };
	p->client.is_service = row->is_service;
	memcpy(p->client.pool_id, row->id, STORE_ID_LEN);
	memcpy(p->client.vault_id, vault.id, STORE_ID_LEN);
	memcpy(p->client.directory, vault.directory, STORE_ID_LEN);
	memcpy(p->client.vault, vault.name, sizeof(p->client.vault));
	memcpy(p->client.prefix, row->prefix, sizeof(p->client.prefix));
	p->client.epoch = row->epoch;
	KMS_TRY(make_roots(row, &p->roots, err));
	for (size_t i = 0; i < row->subject_count; i++) {
		struct subject *s = &subjects[t->subject_count++];
		memcpy(s->text, row->subjects[i], sizeof(s->text));
		s->pool = t->pool_count;
		digest_add(digest, s->text, sizeof(s->text));
	}
	for (size_t i = 0; i < row->root_count; i++) {
		digest_add(digest, &row->roots[i].der_len, sizeof(row->roots[i].der_len));
		digest_add(digest, row->roots[i].der, row->roots[i].der_len);
	}
	digest_add(digest, &p->client, sizeof(p->client));
	t->pool_count++;
	return KMS_OK;
}

static kms_status add_page(struct table *t, struct store *store, const struct store_pool *rows, size_t count, EVP_MD_CTX *digest,
                           struct kms_err *err)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].subject_count > 0)
			KMS_TRY(add_pool(t, store, &rows[i], digest, err));
	return KMS_OK;
}

static int by_text(const void *a, const void *b)
{
	const struct subject *x = a, *y = b;
	return strcmp(x->text, y->text);
}

static kms_status read_pools(struct table *t, struct store *store, EVP_MD_CTX *digest, struct kms_err *err)
{
	uint8_t last[STORE_ID_LEN];
	const uint8_t *after = NULL;
	size_t count = POOLS_PAGE;

	while (count == POOLS_PAGE) {
		struct store_pool rows[POOLS_PAGE] = { 0 };
		kms_status status = store_pools(store, after, rows, POOLS_PAGE, &count, err);
		if (status == KMS_OK)
			status = add_page(t, store, rows, count, digest, err);
		if (status == KMS_OK && count > 0)
			memcpy(last, rows[count - 1].id, sizeof(last));
		for (size_t i = 0; i < POOLS_PAGE; i++)
			store_pool_clear(&rows[i]);
		KMS_TRY(status);
		after = last;
	}
	if (t->subject_count > 0)
		qsort(t->subjects, t->subject_count, sizeof(*t->subjects), by_text);
	return KMS_OK;
}

static kms_status read_table(struct table *t, struct store *store, struct kms_err *err)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	kms_status status = KMS_OK;

	if (digest == NULL || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
		status = no_memory(err);
	else
		status = read_pools(t, store, digest, err);
	if (status == KMS_OK && EVP_DigestFinal_ex(digest, t->digest, NULL) != 1)
		status = no_memory(err);
	EVP_MD_CTX_free(digest);
	return status;
}

static kms_status load_locked(struct client_trust *t, struct store *store, struct kms_err *err)
{
	TABLE_AUTO *fresh = calloc(1, sizeof(*fresh));
	struct table *old = NULL;

	if (fresh == NULL)
		return no_memory(err);
	atomic_init(&fresh->refs, 1);
	KMS_TRY(read_table(fresh, store, err));
	(void)pthread_mutex_lock(&t->lock);
	old = t->table;
	if (memcmp(old->digest, fresh->digest, sizeof(fresh->digest)) != 0) {
		fresh->number = ++t->last_number;
		t->table = KMS_TAKE(fresh);
	} else {
		old = NULL;
	}
	(void)pthread_mutex_unlock(&t->lock);
	table_unref(old);
	return KMS_OK;
}

kms_status client_trust_load(struct client_trust *t, struct store *store, struct kms_err *err)
{
	kms_status status = KMS_OK;

	(void)pthread_mutex_lock(&t->load_lock);
	status = load_locked(t, store, err);
	(void)pthread_mutex_unlock(&t->load_lock);
	return status;
}

kms_status client_trust_new(const struct clock *clock, struct client_trust **ret_trust, struct kms_err *err)
{
	struct client_trust *t = calloc(1, sizeof(*t));

	if (t == NULL || (t->table = calloc(1, sizeof(*t->table))) == NULL) {
		free(t);
		return no_memory(err);
	}
	t->clock = clock;
	atomic_init(&t->table->refs, 1);
	t->table->number = t->last_number = 1;
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_mutex_init(&t->load_lock, NULL);
	*ret_trust = t;
	return KMS_OK;
}

void client_trust_free(struct client_trust *t)
{
	if (t == NULL)
		return;
	table_unref(t->table);
	(void)pthread_mutex_destroy(&t->lock);
	(void)pthread_mutex_destroy(&t->load_lock);
	free(t);
}

/* ---- one certificate ---- */

/* The documented identity is the common name, whole and without case. Of several, two programs may choose differently: then it is none. */
static bool read_common_name(const X509 *leaf, char ret_text[STORE_SUBJECT_MAX + 1])
{
	const X509_NAME *subject = X509_get_subject_name(leaf);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *text = NULL;
	int len = 0;
	bool good = false;

	if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
		return false;
	len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	good = len >= 1 && len <= STORE_SUBJECT_MAX;
	for (int i = 0; i < len && good; i++) {
		good = text[i] >= ' ' && text[i] <= '~'; /* no NUL in the middle, no letter that only looks like another */
		ret_text[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
	}
	if (good)
		ret_text[len] = '\0';
	OPENSSL_free(text);
	return good;
}

/* A subject is of one pool or service only, in the whole database. */
static const struct subject *find_subject(const struct table *t, const char *text, bool is_service)
{
	struct subject wanted = { 0 };
	const struct subject *found = NULL;

	if (t->subject_count == 0)
		return NULL;
	memcpy(wanted.text, text, strlen(text) + 1);
	found = bsearch(&wanted, t->subjects, t->subject_count, sizeof(*t->subjects), by_text);
	return found != NULL && t->pools[found->pool].client.is_service == is_service ? found : NULL;
}

static enum client_verdict verdict_of(int x509_error)
{
	switch (x509_error) {
	case X509_V_OK:
		return CLIENT_ACCEPTED;
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
	case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
		return CLIENT_DATES;
	case X509_V_ERR_INVALID_PURPOSE:
		return CLIENT_PURPOSE;
	default:
		return CLIENT_CHAIN;
	}
}

/* When all of a verified chain is valid. */
static bool chain_dates(STACK_OF(X509) *chain, struct remembered *ret)
{
	ret->not_before_s = INT64_MIN;
	ret->not_after_s = INT64_MAX;
	for (int i = 0; i < sk_X509_num(chain); i++) {
		int64_t from = 0, to = 0;
		const X509 *cert = sk_X509_value(chain, i);
		if (!client_cert_time(X509_get0_notBefore(cert), &from) || !client_cert_time(X509_get0_notAfter(cert), &to))
			return false;
		ret->not_before_s = from > ret->not_before_s ? from : ret->not_before_s;
		ret->not_after_s = to < ret->not_after_s ? to : ret->not_after_s;
	}
	return true;
}

/* OpenSSL takes an intermediate certificate without basic constraints for an authority when its key may sign certificates; RFC 5280 section 6.1.4 (k) does not. */
static bool authorities_are_marked(STACK_OF(X509) *chain)
{
	for (int i = 1; i < sk_X509_num(chain); i++)
		if (X509_check_ca(sk_X509_value(chain, i)) != 1)
			return false;
	return true;
}

/* Chain, dates and purpose (which OpenSSL judges by extended key usage only if there is one). Roots are trusted, nothing else is. */
static enum client_verdict verify(X509_STORE *roots, X509 *leaf, STACK_OF(X509) *between, int64_t now_s, struct remembered *ret_dates)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	enum client_verdict verdict = CLIENT_CHAIN;

	if (ctx != NULL && X509_STORE_CTX_init(ctx, roots, leaf, between) == 1 && X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) == 1) {
		X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
		X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
		X509_VERIFY_PARAM_set_depth(param, HTTP_CLIENT_CHAIN_MAX);
		X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
		if (X509_verify_cert(ctx) == 1)
			verdict = chain_dates(X509_STORE_CTX_get0_chain(ctx), ret_dates) ? CLIENT_ACCEPTED : CLIENT_DATES;
		else
			verdict = verdict_of(X509_STORE_CTX_get_error(ctx));
		if (verdict == CLIENT_ACCEPTED &&
		    (X509_STORE_CTX_get_error(ctx) != X509_V_OK || !authorities_are_marked(X509_STORE_CTX_get0_chain(ctx))))
			verdict = CLIENT_CHAIN;
	}
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return verdict;
}

/* ---- remembered verdicts ---- */

static struct remembered *place_of(struct client_trust *t, const uint8_t leaf[SHA256_DIGEST_LENGTH]) { return &t->places[leaf[0] % REMEMBERED]; }

static bool recall(struct client_trust *t, const struct table *table, const uint8_t leaf[SHA256_DIGEST_LENGTH], int64_t now_s, bool is_service,
                   size_t *ret_pool)
{
	const struct remembered *p = place_of(t, leaf);
	bool holds = false;

	(void)pthread_mutex_lock(&t->lock);
	holds = p->table == table->number && p->is_service == is_service && clock_mono_us(t->clock) < p->until_us &&
	        now_s >= p->not_before_s && now_s <= p->not_after_s &&
	        memcmp(p->leaf, leaf, SHA256_DIGEST_LENGTH) == 0;
	*ret_pool = p->pool;
	(void)pthread_mutex_unlock(&t->lock);
	return holds;
}

static void remember(struct client_trust *t, const struct table *table, const uint8_t leaf[SHA256_DIGEST_LENGTH], struct remembered *what)
{
	what->table = table->number;
	what->until_us = clock_mono_us(t->clock) + REMEMBERED_US;
	memcpy(what->leaf, leaf, SHA256_DIGEST_LENGTH);
	(void)pthread_mutex_lock(&t->lock);
	*place_of(t, leaf) = *what;
	(void)pthread_mutex_unlock(&t->lock);
}

/* ---- the check ---- */

static void take_pool(const struct pool *p, struct client_holder *ret)
{
	struct client_holder client = p->client;

	memcpy(client.subject, ret->subject, sizeof(client.subject));
	memcpy(client.thumbprint, ret->thumbprint, sizeof(client.thumbprint));
	*ret = client;
}

/* Only roots are registered: what lies between must come with the handshake. */
static STACK_OF(X509) *parse_between(const struct http_cert *chain, size_t count)
{
	STACK_OF(X509) *between = sk_X509_new_null();

	for (size_t i = 1; i < count && between != NULL; i++) {
		X509 *cert = client_cert_parse(chain[i].der, chain[i].len);
		if (cert == NULL || sk_X509_push(between, cert) <= 0) {
			X509_free(cert);
			sk_X509_pop_free(between, X509_free);
			between = NULL;
		}
	}
	return between;
}

static enum client_verdict judge(const struct table *table, X509 *leaf, const struct http_cert *chain, size_t count, int64_t now_s,
                              bool is_service, struct remembered *ret)
{
	char name[STORE_SUBJECT_MAX + 1];
	const struct subject *subject = NULL;
	STACK_OF(X509) *between = NULL;
	enum client_verdict verdict = CLIENT_UNREADABLE;

	if (!read_common_name(leaf, name))
		return CLIENT_COMMON_NAME;
	subject = find_subject(table, name, is_service);
	if (subject == NULL)
		return CLIENT_UNKNOWN_SUBJECT;
	ret->pool = subject->pool;
	between = parse_between(chain, count);
	if (between != NULL)
		verdict = verify(table->pools[subject->pool].roots, leaf, between, now_s, ret);
	sk_X509_pop_free(between, X509_free);
	return verdict;
}

enum client_verdict client_trust_check(struct client_trust *t, const struct http_cert *chain, size_t count, bool is_service,
                                       struct client_holder *ret_client)
{
	TABLE_AUTO *table = table_now(t);
	int64_t now_s = clock_wall_s(t->clock);
	uint8_t hash[SHA256_DIGEST_LENGTH];
	struct remembered found = { .is_service = is_service };
	enum client_verdict verdict = CLIENT_ACCEPTED;
	X509 *leaf = NULL;

	*ret_client = (struct client_holder){ 0 };
	if (count == 0)
		return CLIENT_NO_CERTIFICATE;
	SHA256(chain[0].der, chain[0].len, hash);
	hex_encode(hash, sizeof(hash), ret_client->thumbprint);
	leaf = client_cert_parse(chain[0].der, chain[0].len);
	if (leaf == NULL) {
		ERR_clear_error();
		return CLIENT_UNREADABLE;
	}
	client_cert_subject(leaf, ret_client->subject, sizeof(ret_client->subject));
	if (!recall(t, table, hash, now_s, is_service, &found.pool)) {
		verdict = judge(table, leaf, chain, count, now_s, is_service, &found);
		if (verdict == CLIENT_ACCEPTED)
			remember(t, table, hash, &found);
	}
	if (verdict == CLIENT_ACCEPTED)
		take_pool(&table->pools[found.pool], ret_client);
	X509_free(leaf);
	ERR_clear_error();
	return verdict;
}
