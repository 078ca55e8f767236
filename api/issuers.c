/*
 * api/issuers.c - see issuers.h. One thread reads the keys of all issuers, each by the one URL or file of the configuration; those who check tokens take the
 * last good set under a lock that is never held while anything is read. What cannot be read stays in force for a while, and then nothing is believed.
 */
#include "api/issuers.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "server/base/log.h"

#define US_PER_S ((int64_t)1000000)
#define ASKED_MAX 32 /* of one issuer; the oldest makes room */
#define LOOK_EVERY_S 1 /* of the thread, when nobody wakes it: soon enough after any issuer is due */

/* A kid for which the keys were read again. */
struct asked_kid {
	char kid[JWT_KID_MAX + 1]; /* empty = none */
	int64_t asked_us;
	uint64_t reading; /* the last that had begun then */
};

struct issuer {
	struct issuers *all;
	struct issuer_config config;

	/* Guarded by all->lock. */
	struct keyset *keys;  /* of the last good reading; NULL = there has been none */
	uint64_t generation;
	int64_t good_us;      /* when that was */
	uint64_t readings, good_reading; /* how many were begun, and which was that */
	bool is_wanted;       /* to be read now */
	bool is_being_read;
	int64_t allowed_us;   /* when an unknown kid may have it read again */
	struct asked_kid asked[ASKED_MAX];
	size_t asked_next;

	/* The thread's own. */
	int64_t due_us;
	bool is_failing;
	bool has_digest;
	uint8_t digest[SHA256_DIGEST_LENGTH]; /* of the set in force */
	struct timespec modified; /* of the file when it was read */
	off_t size;
};

struct issuers {
	const struct clock *clock;
	pthread_mutex_t lock;
	pthread_cond_t wakes;
	pthread_t thread;
	bool has_thread, has_curl, has_lock;
	atomic_bool stops; /* set under the lock; a transfer under way looks at it without */
	size_t count;
	struct issuer issuers[];
};

/* ---- reading: a document in memory ---- */

struct document {
	uint8_t *bytes; /* KEYSET_TEXT_MAX + 1 */
	size_t len;
};

static size_t take_bytes(char *bytes, size_t size, size_t count, void *arg)
{
	struct document *d = arg;
	size_t len = size * count;

	if (len > KEYSET_TEXT_MAX - d->len)
		return 0; /* ends the transfer */
	memcpy(d->bytes + d->len, bytes, len);
	d->len += len;
	return len;
}

static int is_stopping(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	const struct issuers *s = arg;

	(void)down_total;
	(void)down;
	(void)up_total;
	(void)up;
	return atomic_load(&s->stops) ? 1 : 0;
}

#define SET(option, value) good = good && curl_easy_setopt(curl, option, value) == CURLE_OK

/* HTTPS to the configured host and nowhere else: no redirect, no proxy of the environment, no password file. */
static bool prepare(CURL *curl, const struct issuer *i, struct document *d, char *why)
{
	bool good = true;

	SET(CURLOPT_ERRORBUFFER, why);
	SET(CURLOPT_URL, i->config.jwks_url);
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, "https");
#else
	SET(CURLOPT_PROTOCOLS, (long)CURLPROTO_HTTPS);
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (i->config.ca != NULL) {
		SET(CURLOPT_CAINFO, i->config.ca);
		SET(CURLOPT_CAPATH, NULL);
	}
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)ISSUER_FETCH_MS);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, is_stopping);
	SET(CURLOPT_XFERINFODATA, i->all);
	SET(CURLOPT_WRITEFUNCTION, take_bytes);
	SET(CURLOPT_WRITEDATA, d);
	SET(CURLOPT_USERAGENT, "holdfast");
	return good;
}

static kms_status fetch(const struct issuer *i, struct document *d, struct kms_err *err)
{
	CURL *curl = curl_easy_init();
	char why[CURL_ERROR_SIZE] = "";
	CURLcode code = CURLE_FAILED_INIT;
	long answered = 0;

	if (curl != NULL && prepare(curl, i, d, why))
		code = curl_easy_perform(curl);
	if (code == CURLE_OK)
		code = curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answered);
	curl_easy_cleanup(curl);
	if (code == CURLE_WRITE_ERROR)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, (unsigned long)code, "%s: more than %zu bytes", i->config.name, KEYSET_TEXT_MAX);
	if (code != CURLE_OK)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, (unsigned long)code, "%s: %s", i->config.name,
		                why[0] != '\0' ? why : curl_easy_strerror(code));
	if (answered != 200)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, (unsigned long)answered, "%s: answered %ld%s", i->config.name, answered,
		                answered >= 300 && answered < 400 ? "; redirects are not followed" : "");
	return KMS_OK;
}

static kms_status fail_file(const struct issuer *i, int why, struct kms_err *err)
{
	return kms_fail(err, KMS_E_BUSY, KMS_SRC_ERRNO, (unsigned long)why, "%s: %s: %s", i->config.name, i->config.jwks_file, strerror(why));
}

/* A byte more than allowed is read, so that the set's own check finds it. */
static kms_status read_file(struct issuer *i, struct document *d, struct kms_err *err)
{
	FILE *f = fopen(i->config.jwks_file, "re");
	struct stat st = { 0 };
	int why = errno;

	if (f == NULL)
		return fail_file(i, why, err);
	why = fstat(fileno(f), &st) != 0 ? errno : !S_ISREG(st.st_mode) ? EINVAL : 0;
	if (why == 0) {
		d->len = fread(d->bytes, 1, KEYSET_TEXT_MAX + 1, f);
		why = ferror(f) ? EIO : 0;
	}
	(void)fclose(f);
	if (why != 0)
		return fail_file(i, why, err);
	i->modified = st.st_mtim;
	i->size = st.st_size;
	return KMS_OK;
}

static bool file_is_as_it_was(const struct issuer *i)
{
	struct stat st = { 0 };

	return i->has_digest && !i->is_failing && stat(i->config.jwks_file, &st) == 0 && st.st_size == i->size && st.st_mtim.tv_sec == i->modified.tv_sec &&
	       st.st_mtim.tv_nsec == i->modified.tv_nsec;
}

/* ---- what was read takes effect ---- */

/* Log when it begins to fail and when that ends, not each time. */
static void note_outcome(struct issuer *i, kms_status status, struct kms_err *err)
{
	if (status != KMS_OK && !i->is_failing) {
		log_failure(LOG_WARN, "issuer_keys_not_read", NULL, err);
	} else if (status == KMS_OK && i->is_failing) {
		log_event(LOG_WARN, "issuer_keys_read_again", LOG_S("issuer", i->config.name));
	}
	i->is_failing = status != KMS_OK;
}

/* Nobody sees the new keys together with the state of before. `set` NULL: the keys are what they were, or there are none any more. */
static void finish_reading(struct issuer *i, bool is_good, bool is_withdrawn, struct keyset *set)
{
	struct issuers *s = i->all;
	struct keyset *old = NULL;

	(void)pthread_mutex_lock(&s->lock);
	if (set != NULL || is_withdrawn) {
		old = i->keys;
		i->keys = set;
		i->generation++;
	}
	if (is_good) {
		i->good_us = clock_mono_us(s->clock);
		i->good_reading = i->readings;
	}
	i->is_being_read = false;
	(void)pthread_mutex_unlock(&s->lock);
	keyset_release(old);
}

/* @param ret_set  NULL when the keys are what they were */
static kms_status read_document(struct issuer *i, struct document *d, struct keyset **ret_set, struct kms_err *err)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	KMS_TRY(i->config.jwks_url != NULL ? fetch(i, d, err) : read_file(i, d, err));
	SHA256(d->bytes, d->len, digest);
	if (i->has_digest && memcmp(digest, i->digest, sizeof(digest)) == 0) /* allowed: of public keys */
		return KMS_OK;
	KMS_TRY(keyset_parse(d->bytes, d->len, ret_set, err));
	log_event(LOG_INFO, "issuer_keys_read", LOG_S("issuer", i->config.name), LOG_I("keys", keyset_count(*ret_set)));
	memcpy(i->digest, digest, sizeof(digest));
	i->has_digest = true;
	return KMS_OK;
}

static void read_keys(struct issuer *i)
{
	struct document d = { .bytes = malloc(KEYSET_TEXT_MAX + 1) };
	struct keyset *set = NULL;
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;
	bool is_withdrawn = false;

	if (d.bytes == NULL)
		status = kms_fail(&err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "keys of %s", i->config.name);
	else
		status = read_document(i, &d, &set, &err);
	free(d.bytes);
	err.status = status;
	if (!atomic_load(&i->all->stops))
		note_outcome(i, status, &err);
	/* The issuer answered, and vouches for nothing that it signed before: that is no failure to be waited out. */
	is_withdrawn = status == KMS_E_CONFLICT;
	i->has_digest = i->has_digest && !is_withdrawn;
	finish_reading(i, status == KMS_OK, is_withdrawn, set);
}

/* ---- the thread ---- */

static bool take_turn_locked(struct issuer *i, int64_t now_us, bool *ret_is_wanted)
{
	if (!i->is_wanted && now_us < i->due_us)
		return false;
	*ret_is_wanted = i->is_wanted;
	i->is_wanted = false;
	i->is_being_read = true;
	i->readings++;
	return true;
}

/* A file is looked at more often than a server is asked. After a failure the next attempt does not wait for the whole of refresh_s. */
static int64_t pause_s(const struct issuer *i)
{
	if (i->config.jwks_file != NULL)
		return ISSUER_FILE_EVERY_S;
	return i->is_failing && i->config.refresh_s > ISSUER_ASK_EVERY_S ? ISSUER_ASK_EVERY_S : (int64_t)i->config.refresh_s;
}

static void look_after(struct issuer *i, bool is_wanted)
{
	if (!is_wanted && i->config.jwks_file != NULL && file_is_as_it_was(i))
		finish_reading(i, true, false, NULL);
	else
		read_keys(i);
	i->due_us = clock_mono_us(i->all->clock) + pause_s(i) * US_PER_S;
}

static void look_after_all(struct issuers *s)
{
	for (size_t n = 0; n < s->count && !atomic_load(&s->stops); n++) {
		struct issuer *i = &s->issuers[n];
		bool is_wanted = false, is_its_turn = false;
		(void)pthread_mutex_lock(&s->lock);
		is_its_turn = take_turn_locked(i, clock_mono_us(s->clock), &is_wanted);
		(void)pthread_mutex_unlock(&s->lock);
		if (is_its_turn)
			look_after(i, is_wanted);
	}
}

static bool is_any_wanted_locked(const struct issuers *s)
{
	for (size_t n = 0; n < s->count; n++)
		if (s->issuers[n].is_wanted)
			return true;
	return false;
}

static void *run(void *arg)
{
	struct issuers *s = arg;
	struct timespec until;

	while (!atomic_load(&s->stops)) {
		look_after_all(s);
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += LOOK_EVERY_S;
		(void)pthread_mutex_lock(&s->lock);
		if (!atomic_load(&s->stops) && !is_any_wanted_locked(s))
			(void)pthread_cond_clockwait(&s->wakes, &s->lock, CLOCK_MONOTONIC, &until);
		(void)pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

static kms_status start(struct issuers *s, struct kms_err *err)
{
	int failure = 0;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_HTTP, 0, "libcurl");
	s->has_curl = true;
	failure = pthread_create(&s->thread, NULL, run, s);
	if (failure != 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, (unsigned long)failure, "the issuers' thread");
	s->has_thread = true;
	return KMS_OK;
}

kms_status issuers_new(const struct clock *clock, const struct issuer_config *configs, size_t count, struct issuers **ret_issuers,
                       struct kms_err *err)
{
	struct issuers *s = calloc(1, sizeof(*s) + count * sizeof(struct issuer));
	kms_status status = KMS_OK;

	if (s == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "issuers");
	s->clock = clock;
	s->count = count;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->wakes, NULL);
	for (size_t n = 0; n < count; n++) {
		s->issuers[n].all = s;
		s->issuers[n].config = configs[n];
		s->issuers[n].is_wanted = true;
	}
	status = count > 0 ? start(s, err) : KMS_OK;
	if (status != KMS_OK) {
		issuers_free(s);
		return status;
	}
	*ret_issuers = s;
	return KMS_OK;
}

void issuers_free(struct issuers *s)
{
	if (s == NULL)
		return;
	(void)pthread_mutex_lock(&s->lock);
	atomic_store(&s->stops, true);
	(void)pthread_cond_signal(&s->wakes);
	(void)pthread_mutex_unlock(&s->lock);
	if (s->has_thread)
		(void)pthread_join(s->thread, NULL);
	for (size_t n = 0; n < s->count; n++)
		keyset_release(s->issuers[n].keys);
	if (s->has_curl)
		curl_global_cleanup();
	(void)pthread_cond_destroy(&s->wakes);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

void issuers_reload(struct issuers *s)
{
	(void)pthread_mutex_lock(&s->lock);
	for (size_t n = 0; n < s->count; n++)
		s->issuers[n].is_wanted = true;
	(void)pthread_cond_signal(&s->wakes);
	(void)pthread_mutex_unlock(&s->lock);
}

/* ---- for those who check tokens ---- */

struct issuer *issuers_find(struct issuers *s, const char *iss)
{
	for (size_t n = 0; n < s->count; n++)
		for (size_t k = 0; k < s->issuers[n].config.id_count; k++)
			if (strcmp(s->issuers[n].config.ids[k], iss) == 0)
				return &s->issuers[n];
	return NULL;
}

const struct issuer_config *issuers_named(const struct issuers *s, const char *name)
{
	for (size_t n = 0; n < s->count; n++)
		if (strcmp(s->issuers[n].config.name, name) == 0)
			return &s->issuers[n].config;
	return NULL;
}

const struct issuer_config *issuer_config(const struct issuer *i) { return &i->config; }

void issuer_key_clear(struct issuer_key *k)
{
	keyset_release(k->set);
	*k = (struct issuer_key){ 0 };
}

static bool is_believed_locked(const struct issuer *i, int64_t now_us)
{
	return i->keys != NULL && now_us - i->good_us <= (int64_t)i->config.stale_s * US_PER_S;
}

/* Was it missing from keys that were read after it had been asked for? Then reading them once more is only what somebody who makes up kids wants. */
static bool is_known_to_be_missing_locked(const struct issuer *i, const char *kid, int64_t now_us)
{
	for (size_t n = 0; n < ASKED_MAX; n++)
		if (strcmp(i->asked[n].kid, kid) == 0 && i->good_reading > i->asked[n].reading && now_us < i->asked[n].asked_us + ISSUER_UNKNOWN_S * US_PER_S)
			return true;
	return false;
}

static void note_asked_locked(struct issuer *i, const char *kid, int64_t now_us)
{
	struct asked_kid *a = &i->asked[i->asked_next];

	(void)snprintf(a->kid, sizeof(a->kid), "%s", kid);
	a->asked_us = now_us;
	a->reading = i->readings;
	i->asked_next = (i->asked_next + 1) % ASKED_MAX;
}

/* There is no such key. True: the keys are being read, or will be now, so that it is worth asking again. */
static bool ask_locked(struct issuer *i, const char *kid, bool is_believed, int64_t now_us)
{
	if (is_believed && is_known_to_be_missing_locked(i, kid, now_us))
		return false;
	if (i->is_wanted || i->is_being_read)
		return true;
	if (now_us < i->allowed_us)
		return false;
	i->allowed_us = now_us + ISSUER_ASK_EVERY_S * US_PER_S;
	i->is_wanted = true;
	note_asked_locked(i, kid, now_us);
	(void)pthread_cond_signal(&i->all->wakes);
	return true;
}

kms_status issuer_find_key(struct issuer *i, const char *kid, struct issuer_key *ret_key, struct kms_err *err)
{
	int64_t now_us = clock_mono_us(i->all->clock);
	struct issuer_key k = { 0 };
	bool is_believed = false, is_asked = false;

	(void)pthread_mutex_lock(&i->all->lock);
	is_believed = is_believed_locked(i, now_us);
	if (is_believed)
		k.key = keyset_find(i->keys, kid, &k.algs);
	if (k.key != NULL) {
		k.set = keyset_hold(i->keys);
		k.algs &= i->config.algs;
		k.generation = i->generation;
	} else {
		is_asked = ask_locked(i, kid, is_believed, now_us);
	}
	(void)pthread_mutex_unlock(&i->all->lock);
	if (k.key != NULL) {
		*ret_key = k;
		return KMS_OK;
	}
	if (is_asked)
		return kms_refuse(err, KMS_E_BUSY, "The keys of the issuer '%s' are being read again; retry in a second.", i->config.name);
	if (!is_believed)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10000: The keys of the issuer '%s' cannot be read, and those of the last time are too old.",
		                  i->config.name);
	return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10000: The token's key (kid) is not one of the issuer '%s'.", i->config.name);
}

uint64_t issuer_generation(struct issuer *i)
{
	uint64_t generation = 0;

	(void)pthread_mutex_lock(&i->all->lock);
	if (is_believed_locked(i, clock_mono_us(i->all->clock)))
		generation = i->generation;
	(void)pthread_mutex_unlock(&i->all->lock);
	return generation;
}
