/* server/witness/witness.c - see witness.h. */
#include "server/witness/witness.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/witness/submission.h"

#define STEP_BACK_S 60       /* of the clock that is waited out by repeating the last time */
#define SELDOM_PER_MINUTE 20

/* One log. The lock guards all but origin and keys, from the judgement to its answer: check and save are one step. */
struct log {
	pthread_mutex_t lock;
	char origin[NAME_LEN_MAX + 1];
	struct verifier keys[LOG_KEYS_MAX];
	size_t key_count;
	bool is_damaged;
	struct state state;
};

struct witness {
	struct verifier own;
	EVP_PKEY *key;
	int dir;
	uint64_t (*now_s)(void);
	size_t log_count;
	struct log logs[LOGS_MAX];
};

static void free_text(char **text) { free(*text); }
#define TEXT_AUTO __attribute__((cleanup(free_text))) char

/* ---- what is said ---- */

static void say_line(const char *fmt, va_list args)
{
	char line[1024];

	(void)vsnprintf(line, sizeof(line), fmt, args);
	(void)fprintf(stderr, "holdfast-witness: %s\n", line);
}

void say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say_line(fmt, args);
	va_end(args);
}

void say_seldom(enum said_about about, const char *fmt, ...)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the others */
	static int64_t minute;
	static unsigned count[ABOUT_COUNT];
	struct timespec now;
	bool is_said = false;
	va_list args;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)pthread_mutex_lock(&lock);
	if (now.tv_sec / 60 != minute) {
		minute = now.tv_sec / 60;
		memset(count, 0, sizeof(count));
	}
	is_said = ++count[about] <= SELDOM_PER_MINUTE;
	(void)pthread_mutex_unlock(&lock);
	if (!is_said)
		return;
	va_start(args, fmt);
	say_line(fmt, args);
	va_end(args);
}

/* ---- logs ---- */

static uint64_t system_now_s(void) { return (uint64_t)time(NULL); }

struct witness *witness_new(const struct verifier *own, EVP_PKEY *key, int dir, uint64_t (*now_s)(void))
{
	struct witness *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->own = *own;
	w->key = key;
	w->dir = dir;
	w->now_s = now_s != NULL ? now_s : system_now_s;
	return w;
}

static struct log *find_log(struct witness *w, const char *origin)
{
	for (size_t i = 0; i < w->log_count; i++)
		if (strcmp(w->logs[i].origin, origin) == 0)
			return &w->logs[i];
	return NULL;
}

bool witness_add_log(struct witness *w, const struct verifier *log_key, char ret_why[WHY_LEN])
{
	struct log *l = find_log(w, log_key->name);

	if (log_key->type == KEY_COSIGNATURE) {
		(void)snprintf(ret_why, WHY_LEN, "%s: that is a witness's key, not a log's", log_key->name);
		return false;
	}
	if (l == NULL && w->log_count < LOGS_MAX) {
		l = &w->logs[w->log_count++];
		(void)pthread_mutex_init(&l->lock, NULL);
		memcpy(l->origin, log_key->name, sizeof(l->origin));
	}
	if (l == NULL || l->key_count == LOG_KEYS_MAX) {
		(void)snprintf(ret_why, WHY_LEN, "at most %d logs with %d keys each", LOGS_MAX, LOG_KEYS_MAX);
		return false;
	}
	l->keys[l->key_count++] = *log_key;
	return true;
}

void witness_load(struct witness *w)
{
	for (size_t i = 0; i < w->log_count; i++) {
		struct log *l = &w->logs[i];
		char why[WHY_LEN] = "";
		switch (state_load(w->dir, l->origin, &l->state, why)) {
		case STATE_NONE:
			say("log %s: nothing is known of it; the first checkpoint that it signs is believed", l->origin);
			break;
		case STATE_READ:
			say("log %s: size %llu", l->origin, (unsigned long long)l->state.size);
			break;
		case STATE_DAMAGED:
			l->is_damaged = true;
			say("log %s is refused: %s", l->origin, why);
			break;
		}
	}
}

size_t witness_log_count(const struct witness *w) { return w->log_count; }

bool witness_is_healthy(struct witness *w)
{
	for (size_t i = 0; i < w->log_count; i++)
		if (w->logs[i].is_damaged) /* set before anything is served */
			return false;
	return true;
}

void witness_free(struct witness *w)
{
	if (w == NULL)
		return;
	for (size_t i = 0; i < w->log_count; i++) {
		state_clear(&w->logs[i].state);
		(void)pthread_mutex_destroy(&w->logs[i].lock);
	}
	EVP_PKEY_free(w->key);
	(void)close(w->dir);
	free(w);
}

/* ---- the judgement ---- */

static void answer(struct witness_reply *r, int http, const char *text)
{
	r->http = http;
	(void)snprintf(r->text, sizeof(r->text), "%s\n", text);
}

static void answer_size(struct witness_reply *r, uint64_t size)
{
	r->http = 409;
	r->is_size = true;
	(void)snprintf(r->text, sizeof(r->text), "%llu\n", (unsigned long long)size);
}

static void accuse(struct witness *w, const struct log *l, const struct submission *s, bool is_fork, const char *what)
{
	say_seldom(is_fork ? ABOUT_FORKS : ABOUT_PROOFS, "ALARM log %s: signed size %llu, and size %llu was cosigned before: %s; both are kept in the state directory",
	           l->origin, (unsigned long long)s->note.size, (unsigned long long)l->state.size, what);
	state_keep_evidence(w->dir, l->origin, &l->state, &s->note, is_fork);
}

/* The time of this cosignature, never before the last; 0 when the clock cannot be believed. */
static uint64_t next_time_locked(const struct witness *w, const struct log *l)
{
	uint64_t now = w->now_s();

	if (now >= l->state.time_s)
		return now;
	return l->state.time_s - now <= STEP_BACK_S ? l->state.time_s : 0;
}

/* The note with the signatures of known keys only: what is kept of it. */
static bool take_note(const struct note *n, const char *lines, uint64_t time_s, struct state *ret)
{
	int len = asprintf(&ret->note, "%.*s\n%s", (int)n->text_len, n->text, lines);

	if (len < 0) {
		ret->note = NULL;
		return false;
	}
	ret->note_len = (size_t)len;
	ret->size = n->size;
	ret->time_s = time_s;
	memcpy(ret->root, n->root, HASH_LEN);
	return true;
}

static void cosign_locked(struct witness *w, struct log *l, const struct note *n, const char *lines, struct witness_reply *ret)
{
	struct state next = { 0 };
	char line[COSIGNATURE_LINE_MAX + 1], why[WHY_LEN] = "no memory, or no signature";
	uint64_t time_s = next_time_locked(w, l);

	_Static_assert(REPLY_LEN_MAX > COSIGNATURE_LINE_MAX, "a cosignature is answered whole");
	if (time_s == 0) {
		say_seldom(ABOUT_ITSELF, "log %s: the clock stands more than %d s before the last cosignature; nothing is signed until it has passed", l->origin, STEP_BACK_S);
		answer(ret, 503, "the clock of this witness is behind its last cosignature");
		return;
	}
	if (!take_note(n, lines, time_s, &next) || !note_cosign(n, &w->own, w->key, time_s, line) || !state_save(w->dir, l->origin, &next, why)) {
		say_seldom(ABOUT_ITSELF, "log %s: nothing is answered: %s", l->origin, why);
		state_clear(&next);
		answer(ret, 503, "this witness cannot save what it saw");
		return;
	}
	if (l->state.note == NULL)
		say("log %s: begins with size %llu", l->origin, (unsigned long long)n->size);
	state_clear(&l->state);
	l->state = next;
	ret->http = 200;
	(void)snprintf(ret->text, sizeof(ret->text), "%s", line);
}

static void judge_locked(struct witness *w, struct log *l, struct submission *s, const char *lines, struct witness_reply *ret)
{
	const struct note *n = &s->note;
	uint8_t empty[HASH_LEN];
	const uint8_t *known = l->state.root;

	if (l->state.note == NULL) {
		tree_empty_root(empty);
		known = empty;
	}
	if (l->is_damaged) {
		answer(ret, 503, "what this witness knows of the log is damaged");
	} else if (s->old_size != l->state.size) {
		answer_size(ret, l->state.size);
	} else if (n->size == l->state.size && memcmp(n->root, known, HASH_LEN) != 0) {
		if (l->state.note != NULL)
			accuse(w, l, s, true, "of one size there are two roots");
		answer_size(ret, l->state.size);
	} else if (!tree_extends(l->state.size, known, n->size, n->root, s->proof, s->proof_count)) {
		if (l->state.note != NULL)
			accuse(w, l, s, false, "the proof does not lead from one to the other");
		answer(ret, 422, "the consistency proof does not lead to this checkpoint");
	} else {
		cosign_locked(w, l, n, lines, ret);
	}
}

void witness_judge(struct witness *w, const char *body, size_t len, struct witness_reply *ret)
{
	struct submission s;
	const char *why = NULL;
	struct log *l = NULL;
	TEXT_AUTO *lines = NULL;

	*ret = (struct witness_reply){ 0 };
	if (!submission_parse(body, len, &s, &why)) {
		answer(ret, 400, why);
		return;
	}
	l = find_log(w, s.note.origin);
	lines = malloc(s.note.signatures_len + 1);
	if (l == NULL) {
		answer(ret, 404, "this witness does not know the log");
	} else if (lines == NULL) {
		answer(ret, 503, "no memory");
	} else if (note_verify(&s.note, l->keys, l->key_count, lines) != NOTE_GOOD) {
		say_seldom(ABOUT_REQUESTS, "log %s: a checkpoint that none of its known keys signed was refused", l->origin);
		answer(ret, 403, "none of the log's known keys signed this checkpoint");
	} else if (s.old_size > s.note.size) {
		answer(ret, 400, "the old size is larger than the checkpoint's");
	} else {
		(void)pthread_mutex_lock(&l->lock);
		judge_locked(w, l, &s, lines, ret);
		(void)pthread_mutex_unlock(&l->lock);
	}
}
