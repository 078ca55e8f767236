/* server/base/worker.c - one lane of work: a bounded first-in-first-out queue for each group, which take turns, and the lane's threads. */
#include "server/base/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One thread of a lane. */
struct hand {
	struct worker *worker;
	void *state;
	uint64_t visited; /* the ticket of its last visit; UINT64_MAX = it has ended. Guarded by the worker's lock */
};

/* Which of them this thread is; NULL = none. */
static _Thread_local struct hand *own_hand;

struct group {
	struct group *next;      /* in the ring, while jobs wait */
	struct job *head, *tail; /* waiting */
	unsigned running;
};

struct worker {
	struct worker_config cfg;
	pthread_t *threads;
	struct hand *hands; /* one for each thread */
	unsigned thread_count; /* created */

	pthread_mutex_t lock; /* guards all below; never held while a job runs */
	pthread_cond_t changed;
	pthread_cond_t seen;    /* a thread has visited, or ended; on the monotonic clock */
	uint64_t tickets;       /* of visits, given out */
	struct group groups[WORKER_GROUPS];
	struct group *first, *last; /* the ring: groups with jobs waiting, in the order of their turns */
	size_t waiting;
	unsigned running;  /* jobs being run */
	unsigned reported; /* threads whose start() has answered */
	bool is_stopping;
	struct kms_err failure; /* of the first start() that failed */
};

static bool start_thread_state(struct worker *w, void **ret_state)
{
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;

	if (w->cfg.start != NULL)
		status = w->cfg.start(w->cfg.arg, ret_state, &err);
	if (status != KMS_OK && err.status == KMS_OK)
		(void)kms_fail(&err, status, KMS_SRC_SELF, 0, "thread of %s did not start", w->cfg.name);
	pthread_mutex_lock(&w->lock);
	w->reported++;
	if (status != KMS_OK && w->failure.status == KMS_OK)
		w->failure = err;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return status == KMS_OK;
}

static void ring_append_locked(struct worker *w, struct group *g)
{
	g->next = NULL;
	*(w->last != NULL ? &w->last->next : &w->first) = g;
	w->last = g;
}

static bool may_run_locked(const struct worker *w, const struct group *g)
{
	return g == &w->groups[WORKER_NO_GROUP] || w->cfg.threads == 1 || g->running < w->cfg.threads - 1;
}

/* The group whose turn it is leaves the ring; one that has its threads already keeps its place. NULL: there is none. */
static struct group *ring_take_locked(struct worker *w)
{
	struct group *before = NULL, *g = w->first;

	while (g != NULL && !may_run_locked(w, g)) {
		before = g;
		g = g->next;
	}
	if (g == NULL)
		return NULL;
	*(before != NULL ? &before->next : &w->first) = g->next;
	if (w->last == g)
		w->last = before;
	return g;
}

/* What was asked for before the thread's next job. Unlocks meanwhile. */
static void visit_locked(struct hand *h)
{
	struct worker *w = h->worker;

	while (h->visited < w->tickets) { /* another may be asked for meanwhile */
		uint64_t ticket = w->tickets;
		pthread_mutex_unlock(&w->lock);
		w->cfg.visit(w->cfg.arg, h->state);
		pthread_mutex_lock(&w->lock);
		h->visited = ticket;
		pthread_cond_broadcast(&w->seen);
	}
}

/* The next job, or NULL when the lane is stopping and nothing can come any more: a job that still runs may put another one back. */
static struct job *take_locked(struct worker *w, struct hand *h)
{
	struct group *g;
	struct job *job;

	visit_locked(h);
	while ((g = ring_take_locked(w)) == NULL && !(w->is_stopping && w->running == 0)) {
		pthread_cond_wait(&w->changed, &w->lock);
		visit_locked(h);
	}
	if (g == NULL)
		return NULL;
	job = g->head;
	g->head = job->next;
	if (g->head != NULL)
		ring_append_locked(w, g);
	g->running++;
	w->waiting--;
	w->running++;
	job->next = NULL;
	return job;
}

static void put_locked(struct worker *w, struct job *job, bool in_front)
{
	struct group *g = &w->groups[job->group];

	if (g->head == NULL)
		ring_append_locked(w, g);
	if (g->head == NULL || in_front) {
		job->next = g->head;
		g->tail = g->head != NULL ? g->tail : job;
		g->head = job;
	} else {
		job->next = NULL;
		g->tail->next = job;
		g->tail = job;
	}
	w->waiting++;
	/* One thread is enough: what a job's end lets run as well, the thread that ran it takes itself. */
	pthread_cond_signal(&w->changed);
}

static void *thread_main(void *arg)
{
	struct hand *h = arg;
	struct worker *w = h->worker;
	struct job *job;

	if (!start_thread_state(w, &h->state))
		return NULL;
	own_hand = h;
	pthread_mutex_lock(&w->lock);
	while ((job = take_locked(w, h)) != NULL) {
		struct group *g = &w->groups[job->group]; /* the job is gone when it has run */
		pthread_mutex_unlock(&w->lock);
		job->run(job, h->state);
		pthread_mutex_lock(&w->lock);
		g->running--;
		w->running--;
		if (w->is_stopping && w->running == 0)
			pthread_cond_broadcast(&w->changed);
	}
	h->visited = UINT64_MAX;
	pthread_cond_broadcast(&w->seen);
	pthread_mutex_unlock(&w->lock);
	if (w->cfg.stop != NULL)
		w->cfg.stop(w->cfg.arg, h->state);
	return NULL;
}

/* Create the threads and wait until each has its state. */
static kms_status start_threads(struct worker *w, struct kms_err *err)
{
	for (; w->thread_count < w->cfg.threads; w->thread_count++) {
		struct hand *h = &w->hands[w->thread_count];
		int rc;

		h->worker = w;
		rc = pthread_create(&w->threads[w->thread_count], NULL, thread_main, h);
		if (rc != 0)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, (unsigned long)rc, "thread %u of %s", w->thread_count + 1, w->cfg.name);
		(void)pthread_setname_np(w->threads[w->thread_count], w->cfg.name); /* a name too long is not worth a failure */
	}
	pthread_mutex_lock(&w->lock);
	while (w->reported < w->thread_count)
		pthread_cond_wait(&w->changed, &w->lock);
	if (w->failure.status != KMS_OK && err != NULL && err->status == KMS_OK)
		*err = w->failure;
	pthread_mutex_unlock(&w->lock);
	return w->failure.status;
}

static void init_monotonic(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

static void worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	free(w->threads);
	free(w->hands);
	free(w);
}

kms_status worker_start(const struct worker_config *cfg, struct worker **ret_worker, struct kms_err *err)
{
	struct worker *w = calloc(1, sizeof(*w));
	kms_status status;

	assert(cfg->threads > 0 && strlen(cfg->name) <= 15);
	if (w != NULL) {
		w->threads = calloc(cfg->threads, sizeof(*w->threads));
		w->hands = calloc(cfg->threads, sizeof(*w->hands));
	}
	if (w == NULL || w->threads == NULL || w->hands == NULL) {
		worker_free(w);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "lane %s", cfg->name);
	}
	w->cfg = *cfg;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	init_monotonic(&w->seen);
	status = start_threads(w, err);
	if (status != KMS_OK) {
		worker_stop(w);
		return status;
	}
	*ret_worker = w;
	return KMS_OK;
}

kms_status worker_submit(struct worker *w, struct job *job)
{
	kms_status status = KMS_OK;

	assert(job->group < WORKER_GROUPS);
	pthread_mutex_lock(&w->lock);
	if (w->is_stopping)
		status = KMS_E_SHUTDOWN;
	else if (w->waiting >= w->cfg.capacity)
		status = KMS_E_THROTTLED;
	else
		put_locked(w, job, false);
	pthread_mutex_unlock(&w->lock);
	return status;
}

void worker_resubmit(struct worker *w, struct job *job)
{
	pthread_mutex_lock(&w->lock);
	put_locked(w, job, true);
	pthread_mutex_unlock(&w->lock);
}

uint64_t worker_visit(struct worker *w)
{
	uint64_t ticket;

	pthread_mutex_lock(&w->lock);
	ticket = w->cfg.visit != NULL ? ++w->tickets : w->tickets;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return ticket;
}

static bool all_visited_locked(const struct worker *w, uint64_t ticket)
{
	for (unsigned i = 0; i < w->thread_count; i++)
		if (w->hands[i].visited < ticket)
			return false;
	return true;
}

bool worker_visited(struct worker *w, uint64_t ticket, unsigned wait_ms)
{
	struct timespec until;
	bool done;

	(void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail for a clock that exists */
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&w->lock);
	if (own_hand != NULL && own_hand->worker == w)
		visit_locked(own_hand);
	while (!(done = all_visited_locked(w, ticket)))
		if (pthread_cond_timedwait(&w->seen, &w->lock, &until) == ETIMEDOUT) {
			done = all_visited_locked(w, ticket);
			break;
		}
	pthread_mutex_unlock(&w->lock);
	return done;
}

size_t worker_waiting(struct worker *w)
{
	size_t waiting;

	pthread_mutex_lock(&w->lock);
	waiting = w->waiting;
	pthread_mutex_unlock(&w->lock);
	return waiting;
}

void worker_stop(struct worker *w)
{
	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	w->is_stopping = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->thread_count; i++)
		(void)pthread_join(w->threads[i], NULL);
	pthread_cond_destroy(&w->changed);
	pthread_cond_destroy(&w->seen);
	pthread_mutex_destroy(&w->lock);
	worker_free(w);
}
