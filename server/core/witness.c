/* server/core/witness.c - see witness.h. What a witness answers is believed only as far as its key signed it; a size is believed as an alarm. */
#include "server/core/witness.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/encode.h"
#include "server/base/log.h"
#include "server/core/checkpoint_parts.h"

#define US_PER_MS 1000
#define PAUSE_FIRST_MS 250
#define PAUSE_MAX_MS 60000
#define CLOCKS_APART_S 3600 /* between a witness's clock and ours, at most: a cosignature says when */
#define PROOF_LINE_LEN (B64_LEN(MERKLE_HASH_LEN) + 1)
#define OLD_LINE_MAX 32
#define URL_TAIL "/add-checkpoint"
#define EM_DASH "\xe2\x80\x94 "

/* What a submission led to. */
enum answer {
	ANSWER_COSIGNED,
	ANSWER_KNOWS_MORE, /* a larger tree */
	ANSWER_FORKED,     /* a tree that this one does not extend */
	ANSWER_REFUSED,    /* it does not know the log or its key */
	ANSWER_FAILED,     /* away, overloaded, or not a witness */
};
struct outcome {
	enum answer answer;
	uint64_t size; /* COSIGNED: of the checkpoint; KNOWS_MORE, FORKED: what it knows */
	int64_t time_s;
	char line[NOTE_LINE_MAX + 1];
	struct kms_err err; /* why not */
};

struct member {
	struct witnesses *all;
	const struct witness_config *config;
	struct note_key key;
	char *url; /* owned */
	char vkey[NOTE_VKEY_MAX + 1];
	pthread_t thread;
	bool has_thread;

	/* The thread's own. */
	uint64_t known;   /* what the witness is believed to know */
	int64_t failed_us; /* when it last failed, and how long it is left in peace since */
	unsigned pause_ms; /* 0 = it has not failed */
	bool is_over;     /* it knows another log: there is nothing more to submit */
	struct outcome outcome;

	struct witness_status status; /* guarded by all->lock */
};

struct witnesses {
	struct witnesses_config cfg;
	pthread_mutex_t store_lock; /* guards cfg.store */
	pthread_mutex_t lock;       /* guards what follows, and each member's status; never held while anything is called */
	pthread_cond_t changed;
	bool stops;
	uint64_t size;            /* of the newest checkpoint */
	unsigned waiters;         /* for a quorum */
	size_t count;
	struct member members[];
};

static int64_t mono_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void free_text(char **text) { free(*text); }
static void free_answer(struct witness_answer *a) { free(a->body); }
#define TEXT_AUTO __attribute__((cleanup(free_text))) char

/* ---- one submission ---- */

/* The proof from what the witness knows; checked here first, so that its refusal can only mean that it knows something else. */
static kms_status make_proof(struct store *store, uint64_t from, const struct store_signed *c, struct merkle_proof *ret, struct kms_err *err)
{
	uint8_t from_root[MERKLE_HASH_LEN];

	KMS_TRY(merkle_root_at(from, log_get_node, store, from_root, err));
	KMS_TRY(merkle_consistency(from, c->size, log_get_node, store, ret, err));
	if (!merkle_check_consistency(from, c->size, from_root, c->root, ret))
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "stored nodes do not lead from %" PRIu64 " to %" PRIu64, from, c->size);
	return KMS_OK;
}

static kms_status make_body(struct witnesses *w, uint64_t known, const struct store_signed *c, char **ret_body, size_t *ret_len, struct kms_err *err)
{
	struct merkle_proof proof = { 0 };
	size_t cap = OLD_LINE_MAX + MERKLE_PROOF_MAX * PROOF_LINE_LEN + 2 + strlen(c->note), len = 0;
	kms_status status = KMS_OK;
	char *body = NULL;

	if (known > 0 && known < c->size) {
		(void)pthread_mutex_lock(&w->store_lock);
		status = make_proof(w->cfg.store, known, c, &proof, err);
		(void)pthread_mutex_unlock(&w->store_lock);
	}
	KMS_TRY(status);
	body = malloc(cap);
	if (body == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "submission of %zu bytes", cap);
	len = (size_t)snprintf(body, cap, "old %" PRIu64 "\n", known);
	for (size_t i = 0; i < proof.count; i++) {
		b64_encode(proof.hash[i], MERKLE_HASH_LEN, body + len);
		len += PROOF_LINE_LEN;
		body[len - 1] = '\n';
	}
	len += (size_t)snprintf(body + len, cap - len, "\n%s", c->note);
	*ret_body = body;
	*ret_len = len;
	return KMS_OK;
}

/* Is this line a cosignature of the checkpoint by this witness? @return KMS_OK | KMS_E_NOTFOUND (somebody else's) | KMS_E_CRYPTO */
static kms_status check_line(const struct member *m, const char *text, size_t text_len, const char *line, size_t line_len, struct outcome *ret)
{
	char note[NOTE_TEXT_MAX + 1 + NOTE_LINE_MAX + 1];
	int64_t apart_s = 0;

	ret->err = (struct kms_err){ 0 };
	if (line_len > NOTE_LINE_MAX && strncmp(line, EM_DASH, sizeof(EM_DASH) - 1) == 0)
		return KMS_E_NOTFOUND; /* longer than any of a key that we know */
	if (line_len > NOTE_LINE_MAX)
		return kms_fail(&ret->err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "the answer is no list of signatures");
	memcpy(note, text, text_len);
	note[text_len] = '\n';
	memcpy(note + text_len + 1, line, line_len);
	KMS_TRY(note_verify(note, text_len + 1 + line_len, &m->key, &ret->time_s, &ret->err));
	apart_s = ret->time_s - clock_wall_s(m->all->cfg.kms->clock);
	if (apart_s > CLOCKS_APART_S || apart_s < -CLOCKS_APART_S)
		return kms_fail(&ret->err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "its cosignature is dated %" PRId64 " s from now: its clock is wrong, or this machine's", apart_s);
	(void)snprintf(ret->line, sizeof(ret->line), "%.*s", (int)line_len, line);
	return KMS_OK;
}

static kms_status take_cosignature(const struct member *m, const struct store_signed *c, const struct witness_answer *a, struct outcome *ret)
{
	struct checkpoint_text parsed;
	size_t text_len = 0;
	kms_status status = KMS_E_NOTFOUND;

	if (!checkpoint_parse(c->note, strlen(c->note), &parsed, &text_len))
		return kms_fail(&ret->err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "the stored checkpoint of %" PRIu64 " cannot be read", c->size);
	for (const char *at = a->body, *end = a->body + a->body_len, *eol; at < end && status == KMS_E_NOTFOUND; at = eol + 1) {
		eol = memchr(at, '\n', (size_t)(end - at));
		if (eol == NULL)
			return kms_fail(&ret->err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "the answer is no list of signatures");
		status = check_line(m, c->note, text_len, at, (size_t)(eol + 1 - at), ret);
	}
	if (status == KMS_E_NOTFOUND) {
		ret->err = (struct kms_err){ 0 };
		return kms_fail(&ret->err, KMS_E_CRYPTO, KMS_SRC_SELF, 0, "it cosigned with another key than the configured one");
	}
	return status;
}

/* The body of a 409: a size, and its newline. */
static bool read_size(const struct witness_answer *a, uint64_t *ret)
{
	uint64_t size = 0;

	if (a->body_len < 2 || a->body_len > 20 || a->body[a->body_len - 1] != '\n' || (a->body[0] == '0' && a->body_len > 2))
		return false;
	for (size_t i = 0; i < a->body_len - 1; i++) {
		if (a->body[i] < '0' || a->body[i] > '9')
			return false;
		size = size * 10 + (uint64_t)(a->body[i] - '0');
	}
	*ret = size;
	return size <= INT64_MAX;
}

static enum answer failed(struct outcome *ret, int http, const char *why)
{
	kms_ignore(kms_fail(&ret->err, KMS_E_BUSY, KMS_SRC_HTTP, (unsigned long)http, "answered %d: %s", http, why)); /* recorded, not returned */
	return ANSWER_FAILED;
}

/* A 409: it knows another size. @return true: ask once more, from what it knows */
static bool take_size(const struct witness_answer *a, const struct store_signed *c, uint64_t *known, struct outcome *ret)
{
	uint64_t said = *known, size = 0;

	if (!read_size(a, &size)) {
		ret->answer = failed(ret, a->http, "without a size");
		return false;
	}
	ret->size = size;
	if (size > c->size) {
		ret->answer = ANSWER_KNOWS_MORE;
	} else if (size != said) {
		*known = size;
		return true;
	} else if (size == c->size) {
		ret->answer = ANSWER_FORKED;
	} else {
		ret->answer = failed(ret, a->http, "to the size that it names itself");
	}
	return false;
}

static bool take_answer(struct member *m, const struct store_signed *c, const struct witness_answer *a, struct outcome *ret)
{
	ret->size = m->known;
	switch (a->http) {
	case 200:
		ret->answer = take_cosignature(m, c, a, ret) == KMS_OK ? ANSWER_COSIGNED : ANSWER_FAILED;
		if (ret->answer == ANSWER_COSIGNED)
			m->known = ret->size = c->size;
		return false;
	case 409:
		return take_size(a, c, &m->known, ret);
	case 422:
		/* Of nothing everything is an extension. */
		ret->answer = m->known > 0 ? ANSWER_FORKED : failed(ret, a->http, "although it knows nothing of this log");
		return false;
	case 403:
		ret->answer = failed(ret, a->http, "it does not have this log's present verifier key");
		ret->answer = ANSWER_REFUSED;
		return false;
	case 404:
		ret->answer = failed(ret, a->http, "it does not know this log");
		ret->answer = ANSWER_REFUSED;
		return false;
	default:
		ret->answer = failed(ret, a->http, "not expected of a witness");
		return false;
	}
}

/* Submit a checkpoint as an extension of m->known, and once more from the size that the witness names. */
static void submit(struct member *m, const struct store_signed *c, struct outcome *ret)
{
	struct witnesses *w = m->all;

	for (int attempt = 0; attempt < 2; attempt++) {
		__attribute__((cleanup(free_answer))) struct witness_answer a = { 0 };
		TEXT_AUTO *body = NULL;
		size_t len = 0;
		*ret = (struct outcome){ .answer = ANSWER_FAILED };
		if (make_body(w, m->known, c, &body, &len, &ret->err) != KMS_OK ||
		    w->cfg.transport.post(w->cfg.transport.arg, m->url, m->config->ca, body, len, &a, &ret->err) != KMS_OK || !take_answer(m, c, &a, ret))
			return;
	}
	ret->answer = failed(ret, 409, "its size changes with each question");
}

/* ---- making and freeing ---- */

static void free_all(struct witnesses *w)
{
	for (size_t i = 0; i < w->count; i++)
		free(w->members[i].url);
	(void)pthread_mutex_destroy(&w->lock);
	(void)pthread_mutex_destroy(&w->store_lock);
	(void)pthread_cond_destroy(&w->changed);
	free(w);
}

/* Two names of one key would be one witness that counts twice. */
static bool is_double(const struct witnesses *w, const struct note_key *key)
{
	for (size_t i = 0; i < w->count; i++)
		if (memcmp(w->members[i].key.pub, key->pub, key->pub_len) == 0) /* allowed: of public keys */
			return true;
	return false;
}

static kms_status add_member(struct witnesses *w, const struct witness_config *c, struct kms_err *err)
{
	struct member *m = &w->members[w->count];
	size_t len = strlen(c->url);

	m->all = w;
	m->config = c;
	if (!note_vkey_parse(c->vkey, &m->key) || m->key.type != NOTE_COSIGNATURE)
		return kms_refuse(err, KMS_E_INVALID, "log.witnesses: %.80s is not a witness's verifier key (`holdfast-witness vkey` prints it).", c->vkey);
	if (is_double(w, &m->key))
		return kms_refuse(err, KMS_E_INVALID, "log.witnesses: %s has the key of another witness.", m->key.name);
	while (len > 0 && c->url[len - 1] == '/')
		len--;
	if (asprintf(&m->url, "%.*s" URL_TAIL, (int)len, c->url) < 0) {
		m->url = NULL;
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "URL of %s", m->key.name);
	}
	note_vkey_format(&m->key, m->vkey);
	m->status = (struct witness_status){ .name = m->key.name, .vkey = m->vkey, .url = c->url };
	w->count++;
	return KMS_OK;
}

static kms_status make_all(const struct witnesses_config *cfg, struct witnesses **ret, struct kms_err *err)
{
	struct witnesses *w = NULL;

	if (cfg->count > WITNESSES_MAX)
		return kms_refuse(err, KMS_E_INVALID, "log.witnesses: at most %d.", WITNESSES_MAX);
	if (cfg->quorum > cfg->count)
		return kms_refuse(err, KMS_E_INVALID, "log.quorum: %u of %zu witnesses cannot be reached.", cfg->quorum, cfg->count);
	w = calloc(1, sizeof(*w) + cfg->count * sizeof(w->members[0]));
	if (w == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "witnesses");
	w->cfg = *cfg;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_mutex_init(&w->store_lock, NULL);
	(void)pthread_cond_init(&w->changed, NULL);
	for (size_t i = 0; i < cfg->count; i++) {
		kms_status status = add_member(w, &cfg->witness[i], err);
		if (status != KMS_OK) {
			free(w->members[w->count].url);
			free_all(w);
			return status;
		}
	}
	*ret = w;
	return KMS_OK;
}

static void join_all(struct witnesses *w)
{
	for (size_t i = 0; i < w->count; i++) {
		if (w->members[i].has_thread)
			(void)pthread_join(w->members[i].thread, NULL);
		w->members[i].has_thread = false;
	}
}

/* Some have started when it fails; join_all() knows which. */
static kms_status start_all(struct witnesses *w, void *(*run)(void *arg), struct kms_err *err)
{
	for (size_t i = 0; i < w->count; i++) {
		int failure = pthread_create(&w->members[i].thread, NULL, run, &w->members[i]);
		if (failure != 0)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, (unsigned long)failure, "witness thread");
		w->members[i].has_thread = true;
		(void)pthread_setname_np(w->members[i].thread, "witness");
	}
	return KMS_OK;
}

static kms_status read_newest(struct witnesses *w, struct store_signed *ret, struct kms_err *err)
{
	kms_status status = KMS_OK;

	(void)pthread_mutex_lock(&w->store_lock);
	status = store_checkpoint_last(w->cfg.store, ret, err);
	(void)pthread_mutex_unlock(&w->store_lock);
	return status;
}

/* ---- the question at start ---- */

static void *run_question(void *arg)
{
	struct member *m = arg;
	STORE_SIGNED_AUTO newest = { 0 };

	m->outcome = (struct outcome){ .answer = ANSWER_FAILED };
	if (read_newest(m->all, &newest, &m->outcome.err) != KMS_OK)
		return NULL;
	/* A witness that knows just this has nothing to check, and any other says what it knows. */
	m->known = newest.size;
	submit(m, &newest, &m->outcome);
	return NULL;
}

static void take_verdict(const struct member *m, uint64_t own_size, struct log_verdict *verdict)
{
	const struct outcome *o = &m->outcome;
	bool knows_more = o->answer == ANSWER_KNOWS_MORE;

	if (!knows_more && o->answer != ANSWER_FORKED)
		return;
	log_event(LOG_ERROR, knows_more ? "witness_knows_more" : "witness_knows_another", LOG_S("witness", m->key.name), LOG_I("known", o->size),
	          LOG_I("signed", own_size));
	if (verdict->state == LOG_ROLLED_BACK && verdict->known_size >= o->size)
		return;
	verdict->state = LOG_ROLLED_BACK;
	verdict->has_known = true;
	verdict->known_size = o->size;
	if (knows_more)
		(void)snprintf(verdict->why, sizeof(verdict->why), "The witness %.100s has cosigned %" PRIu64 " leaves of this log; this database has signed only %" PRIu64,
		               m->key.name, o->size, own_size);
	else
		(void)snprintf(verdict->why, sizeof(verdict->why), "The witness %.100s has cosigned other %" PRIu64 " leaves of this log than this database has",
		               m->key.name, o->size);
}

/* "witness.example.net/w1 (answered 404: it does not know this log), …" */
static void append_silent(struct log_verdict *verdict, const struct member *m)
{
	const struct kms_err *why = &m->outcome.err;
	size_t used = strlen(verdict->silence);

	(void)snprintf(verdict->silence + used, sizeof(verdict->silence) - used, "%s%.100s (%.90s)", used > 0 ? ", " : "", m->key.name,
	               why->message[0] != '\0' ? why->message : why->detail[0] != '\0' ? why->detail : kms_err_text(why));
}

static void note_silence(const struct member *m, struct log_verdict *verdict)
{
	struct kms_err err = m->outcome.err;
	char who[sizeof(err.detail)];

	verdict->asked++;
	if (m->outcome.answer != ANSWER_FAILED && m->outcome.answer != ANSWER_REFUSED)
		return;
	verdict->silent++;
	append_silent(verdict, m);
	(void)snprintf(who, sizeof(who), "%.60s: %.90s", m->key.name, m->outcome.err.detail);
	memcpy(err.detail, who, sizeof(who));
	log_failure(m->outcome.answer == ANSWER_REFUSED ? LOG_ERROR : LOG_WARN, "witness_not_asked", NULL, &err);
}

kms_status witnesses_ask(const struct witnesses_config *cfg, const char *origin, struct log_verdict *verdict, struct kms_err *err)
{
	STORE_SIGNED_AUTO newest = { 0 };
	struct checkpoint_text text;
	size_t text_len = 0;
	struct witnesses *w = NULL;
	kms_status status = verdict->state != LOG_GOOD ? KMS_E_NOTFOUND : store_checkpoint_last(cfg->store, &newest, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "the newest checkpoint");
	if (!checkpoint_parse(newest.note, strlen(newest.note), &text, &text_len) || strcmp(text.origin, origin) != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the newest stored checkpoint is not of %s", origin);
	status = make_all(cfg, &w, err);
	if (w == NULL)
		return status;
	status = start_all(w, run_question, err);
	join_all(w);
	for (size_t i = 0; i < w->count && status == KMS_OK; i++) {
		take_verdict(&w->members[i], newest.size, verdict);
		note_silence(&w->members[i], verdict);
	}
	free_all(w);
	return status;
}

/* ---- submitting while the server runs ---- */

static unsigned first_pause_ms(const struct witnesses *w) { return w->cfg.pause_ms != 0 ? w->cfg.pause_ms : PAUSE_FIRST_MS; }

/* The next pause is twice as long. */
static void back_off(struct member *m)
{
	m->pause_ms = m->pause_ms == 0 ? first_pause_ms(m->all) : m->pause_ms > PAUSE_MAX_MS / 2 ? PAUSE_MAX_MS : m->pause_ms * 2;
	m->failed_us = mono_us();
}

/* When it may be asked again: soon while somebody waits for it. */
static int64_t due_us_locked(const struct member *m)
{
	unsigned first_ms = first_pause_ms(m->all), pause_ms = m->all->waiters > 0 && m->pause_ms > first_ms ? first_ms : m->pause_ms;
	return m->failed_us + (int64_t)pause_ms * US_PER_MS;
}

/* Write down how the witness stands; say so when that changes. */
static void note_failure(struct member *m, const struct outcome *o, bool refuses)
{
	struct witnesses *w = m->all;
	char failure[sizeof(m->status.failure)];
	bool is_new = false;

	if (o->answer == ANSWER_KNOWS_MORE)
		(void)snprintf(failure, sizeof(failure), "it has cosigned %" PRIu64 " leaves, more than this log has signed", o->size);
	else if (o->answer == ANSWER_FORKED)
		(void)snprintf(failure, sizeof(failure), "it has cosigned other %" PRIu64 " leaves than this log has", o->size);
	else
		(void)snprintf(failure, sizeof(failure), "%.159s", o->err.message[0] != '\0' ? o->err.message : o->err.detail);
	(void)pthread_mutex_lock(&w->lock);
	is_new = m->status.refuses != refuses || m->status.failure[0] == '\0';
	m->status.refuses = refuses;
	memcpy(m->status.failure, failure, sizeof(failure));
	(void)pthread_cond_broadcast(&w->changed);
	(void)pthread_mutex_unlock(&w->lock);
	if (is_new)
		log_event(refuses ? LOG_ERROR : LOG_WARN, refuses ? "witness_refuses" : "witness_failed", LOG_S("witness", m->key.name), LOG_S("why", failure));
}

static void note_success(struct member *m, const struct outcome *o)
{
	struct witnesses *w = m->all;
	bool had_failed = false;

	(void)pthread_mutex_lock(&w->lock);
	had_failed = m->status.failure[0] != '\0';
	m->status.size = o->size;
	m->status.cosigned_s = o->time_s;
	m->status.refuses = false;
	m->status.failure[0] = '\0';
	(void)pthread_cond_broadcast(&w->changed);
	(void)pthread_mutex_unlock(&w->lock);
	m->pause_ms = 0;
	if (had_failed)
		log_event(LOG_WARN, "witness_back", LOG_S("witness", m->key.name), LOG_I("size", o->size));
}

/* Somebody may have submitted a checkpoint that was stored while ours was under way. */
static bool is_known_by_now(struct witnesses *w, uint64_t size)
{
	STORE_SIGNED_AUTO newest = { 0 };
	return read_newest(w, &newest, NULL) == KMS_OK && newest.size >= size;
}

static void take_outcome(struct member *m, struct outcome *o)
{
	struct checkpointer *log = m->all->cfg.kms->log;

	switch (o->answer) {
	case ANSWER_COSIGNED:
		if (log_add_cosignatures(log, o->size, o->line, &o->err) == KMS_OK) {
			note_success(m, o);
			return;
		}
		note_failure(m, o, false);
		break;
	case ANSWER_KNOWS_MORE:
		if (is_known_by_now(m->all, o->size)) {
			m->known = o->size;
			return;
		}
		__attribute__((fallthrough));
	case ANSWER_FORKED:
		note_failure(m, o, true);
		m->is_over = true;
		log_report_rollback(log, m->key.name, o->size, NULL);
		break;
	case ANSWER_REFUSED:
		note_failure(m, o, true);
		break;
	case ANSWER_FAILED:
		note_failure(m, o, false);
		break;
	}
	back_off(m);
}

/* Wait until there is something to submit. @return false: stop */
static bool wait_for_work(struct member *m, uint64_t refused_size)
{
	struct witnesses *w = m->all;
	bool goes_on = false;

	(void)pthread_mutex_lock(&w->lock);
	while (!w->stops) {
		/* What was refused is not asked again: the next checkpoint is. */
		bool has_work = !m->is_over && w->size > m->status.size && w->size > refused_size;
		int64_t due_us = due_us_locked(m);
		if (has_work && mono_us() >= due_us)
			break;
		if (has_work) {
			struct timespec until = { .tv_sec = due_us / 1000000, .tv_nsec = due_us % 1000000 * 1000 };
			(void)pthread_cond_clockwait(&w->changed, &w->lock, CLOCK_MONOTONIC, &until);
		} else {
			(void)pthread_cond_wait(&w->changed, &w->lock);
		}
	}
	goes_on = !w->stops;
	(void)pthread_mutex_unlock(&w->lock);
	return goes_on;
}

static void *run(void *arg)
{
	struct member *m = arg;
	uint64_t refused_size = 0;

	while (wait_for_work(m, refused_size)) {
		STORE_SIGNED_AUTO newest = { 0 };
		m->outcome = (struct outcome){ .answer = ANSWER_FAILED };
		/* Only the newest, however many there were since the last. */
		if (read_newest(m->all, &newest, &m->outcome.err) == KMS_OK)
			submit(m, &newest, &m->outcome);
		take_outcome(m, &m->outcome);
		refused_size = m->outcome.answer == ANSWER_REFUSED ? newest.size : 0;
	}
	return NULL;
}

kms_status witnesses_start(const struct witnesses_config *cfg, struct witnesses **ret, struct kms_err *err)
{
	struct witnesses *w = NULL;
	kms_status status = make_all(cfg, &w, err);

	if (w == NULL)
		return status;
	status = start_all(w, run, err);
	if (status != KMS_OK) {
		w->cfg.store = NULL; /* still the caller's */
		witnesses_stop(w);
		witnesses_free(w);
		return status;
	}
	*ret = w;
	return KMS_OK;
}

void witnesses_notify(struct witnesses *w, uint64_t size)
{
	(void)pthread_mutex_lock(&w->lock);
	if (size > w->size)
		w->size = size;
	(void)pthread_cond_broadcast(&w->changed);
	(void)pthread_mutex_unlock(&w->lock);
}

/* The largest size that the quorum has cosigned. */
static uint64_t size_locked(const struct witnesses *w)
{
	uint64_t best = 0;

	if (w->cfg.quorum == 0)
		return UINT64_MAX;
	for (size_t i = 0; i < w->count; i++) {
		uint64_t size = w->members[i].status.size;
		unsigned agreed = 0;
		for (size_t k = 0; k < w->count; k++)
			agreed += w->members[k].status.size >= size ? 1 : 0;
		if (agreed >= w->cfg.quorum && size > best)
			best = size;
	}
	return best;
}

kms_status witnesses_wait(struct witnesses *w, uint64_t size, unsigned timeout_ms, struct kms_err *err)
{
	int64_t end_us = mono_us() + (int64_t)timeout_ms * US_PER_MS;
	struct timespec until = { .tv_sec = end_us / 1000000, .tv_nsec = end_us % 1000000 * 1000 };
	bool is_reached = false;

	(void)pthread_mutex_lock(&w->lock);
	if (w->waiters++ == 0)
		(void)pthread_cond_broadcast(&w->changed);
	while (!(is_reached = size_locked(w) >= size) && !w->stops && mono_us() < end_us)
		(void)pthread_cond_clockwait(&w->changed, &w->lock, CLOCK_MONOTONIC, &until);
	w->waiters--;
	(void)pthread_mutex_unlock(&w->lock);
	if (!is_reached)
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "fewer than %u witnesses cosigned the checkpoint of %" PRIu64 " in time", w->cfg.quorum, size);
	return KMS_OK;
}

size_t witnesses_status(struct witnesses *w, struct witness_status *ret, size_t cap)
{
	size_t count = w->count < cap ? w->count : cap;

	(void)pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < count; i++)
		ret[i] = w->members[i].status;
	(void)pthread_mutex_unlock(&w->lock);
	return count;
}

void witnesses_stop(struct witnesses *w)
{
	if (w == NULL)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->stops = true;
	(void)pthread_cond_broadcast(&w->changed);
	(void)pthread_mutex_unlock(&w->lock);
	join_all(w);
}

void witnesses_free(struct witnesses *w)
{
	if (w == NULL)
		return;
	store_close(w->cfg.store);
	free_all(w);
}
