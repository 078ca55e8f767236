/* A lane of work: order, bound, its threads' state, and an end that loses nothing. */
#include "server/base/worker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ORDER_MAX 16

/* What the tests' jobs share; a gate lets a test hold the lane. */
struct scene {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_open;
	int at_gate;
	int arrived; /* at the gate so far */
	int arrivals[ORDER_MAX];
	int order[ORDER_MAX];
	int ran;
	int starts, stops, fail_start;
	int visits, visited_after; /* how many jobs had run at the last of them */
	struct worker *worker;
};

struct numbered {
	struct job job; /* first: a job is its numbered */
	struct scene *scene;
	int number;
	int again; /* times it still puts itself back */
};

static void setup(struct scene *s, bool is_open)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	s->is_open = is_open;
	s->fail_start = -1;
}

static void clear(struct scene *s)
{
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
}

static void open_gate(struct scene *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_open = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void wait_at_gate(struct scene *s, int jobs)
{
	pthread_mutex_lock(&s->lock);
	while (s->at_gate < jobs)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void run_numbered(struct job *job, void *thread_state)
{
	struct numbered *n = (struct numbered *)job;
	struct scene *s = n->scene;
	bool again;

	pthread_mutex_lock(&s->lock);
	s->at_gate++;
	if (s->arrived < ORDER_MAX)
		s->arrivals[s->arrived] = n->number;
	s->arrived++;
	pthread_cond_broadcast(&s->changed);
	while (!s->is_open)
		pthread_cond_wait(&s->changed, &s->lock);
	s->at_gate--;
	if (s->ran < ORDER_MAX)
		s->order[s->ran] = n->number;
	s->ran++;
	again = n->again-- > 0;
	pthread_mutex_unlock(&s->lock);
	if (thread_state != NULL)
		atomic_fetch_add((atomic_int *)thread_state, 1);
	if (again)
		worker_resubmit(s->worker, job);
}

static kms_status start_state(void *arg, void **ret_state, struct kms_err *err)
{
	struct scene *s = arg;
	int nth;
	pthread_mutex_lock(&s->lock);
	nth = s->starts++;
	pthread_mutex_unlock(&s->lock);
	if (nth == s->fail_start)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "no connection");
	*ret_state = calloc(1, sizeof(atomic_int));
	return *ret_state != NULL ? KMS_OK : KMS_E_NOMEM;
}

static void stop_state(void *arg, void *state)
{
	struct scene *s = arg;
	pthread_mutex_lock(&s->lock);
	s->stops++;
	pthread_mutex_unlock(&s->lock);
	free(state);
}

static void visit_state(void *arg, void *state)
{
	struct scene *s = arg;

	pthread_mutex_lock(&s->lock);
	s->visits++;
	s->visited_after = s->ran;
	assert_non_null(state);
	pthread_mutex_unlock(&s->lock);
}

static struct worker *start(struct scene *s, unsigned threads, size_t capacity)
{
	struct worker_config cfg = { .name = "lane", .threads = threads, .capacity = capacity, .start = start_state, .stop = stop_state,
		                     .visit = visit_state, .arg = s };
	struct kms_err err = { 0 };
	assert_int_equal(worker_start(&cfg, &s->worker, &err), KMS_OK);
	return s->worker;
}

static void jobs_run_in_order_and_a_resubmitted_one_goes_first(void **state)
{
	struct scene s;
	struct numbered jobs[5];
	struct worker *w;
	(void)state;
	setup(&s, false);
	w = start(&s, 1, 8);
	for (int i = 0; i < 5; i++)
		jobs[i] = (struct numbered){ .job = { .run = run_numbered }, .scene = &s, .number = i };
	assert_int_equal(worker_submit(w, &jobs[0].job), KMS_OK);
	wait_at_gate(&s, 1);
	for (int i = 1; i < 4; i++)
		assert_int_equal(worker_submit(w, &jobs[i].job), KMS_OK);
	worker_resubmit(w, &jobs[4].job);
	assert_int_equal(worker_waiting(w), 4);
	open_gate(&s);
	worker_stop(w);
	assert_int_equal(s.ran, 5);
	assert_int_equal(s.order[0], 0);
	assert_int_equal(s.order[1], 4);
	assert_int_equal(s.order[2], 1);
	assert_int_equal(s.order[3], 2);
	assert_int_equal(s.order[4], 3);
	clear(&s);
}

static void a_full_queue_refuses_but_takes_back_what_was_admitted(void **state)
{
	struct scene s;
	struct numbered jobs[4];
	struct worker *w;
	(void)state;
	setup(&s, false);
	w = start(&s, 1, 1);
	for (int i = 0; i < 4; i++)
		jobs[i] = (struct numbered){ .job = { .run = run_numbered }, .scene = &s, .number = i };
	assert_int_equal(worker_submit(w, &jobs[0].job), KMS_OK);
	wait_at_gate(&s, 1);
	assert_int_equal(worker_submit(w, &jobs[1].job), KMS_OK);
	assert_int_equal(worker_submit(w, &jobs[2].job), KMS_E_THROTTLED);
	worker_resubmit(w, &jobs[3].job);
	assert_int_equal(worker_waiting(w), 2);
	open_gate(&s);
	worker_stop(w);
	assert_int_equal(s.ran, 3);
	clear(&s);
}

static void submit_in_group(struct scene *s, struct numbered *n, unsigned group, int number)
{
	*n = (struct numbered){ .job = { .run = run_numbered, .group = group }, .scene = s, .number = number };
	assert_int_equal(worker_submit(s->worker, &n->job), KMS_OK);
}

static void groups_take_turns_however_much_one_of_them_has_queued(void **state)
{
	static const unsigned GROUPS[] = { 7, 7, 7, 7, 9, 9, 3, WORKER_NO_GROUP };
	/* The first runs when the others come; then one of each in turn. */
	static const int ORDER[] = { 0, 1, 4, 6, 7, 2, 5, 3 };
	struct numbered jobs[KMS_ARRAY_LEN(GROUPS)];
	struct scene s;
	(void)state;
	setup(&s, false);
	start(&s, 1, KMS_ARRAY_LEN(GROUPS));
	for (size_t i = 0; i < KMS_ARRAY_LEN(GROUPS); i++) {
		submit_in_group(&s, &jobs[i], GROUPS[i], (int)i);
		wait_at_gate(&s, 1);
	}
	open_gate(&s);
	worker_stop(s.worker);
	assert_int_equal(s.ran, KMS_ARRAY_LEN(GROUPS));
	for (size_t i = 0; i < KMS_ARRAY_LEN(ORDER); i++)
		assert_int_equal(s.order[i], ORDER[i]);
	clear(&s);
}

static void a_resubmitted_job_goes_first_in_its_group_and_waits_for_its_turn(void **state)
{
	static const int ORDER[] = { 0, 2, 3, 1 };
	struct numbered jobs[4];
	struct scene s;
	(void)state;
	setup(&s, false);
	start(&s, 1, 8);
	submit_in_group(&s, &jobs[0], 1, 0);
	wait_at_gate(&s, 1);
	submit_in_group(&s, &jobs[2], 2, 2);
	submit_in_group(&s, &jobs[1], 1, 1);
	jobs[3] = (struct numbered){ .job = { .run = run_numbered, .group = 1 }, .scene = &s, .number = 3 };
	worker_resubmit(s.worker, &jobs[3].job);
	open_gate(&s);
	worker_stop(s.worker);
	for (size_t i = 0; i < KMS_ARRAY_LEN(ORDER); i++)
		assert_int_equal(s.order[i], ORDER[i]);
	clear(&s);
}

static void no_group_has_the_last_of_several_threads(void **state)
{
	struct numbered jobs[8];
	struct scene s;
	(void)state;
	for (unsigned threads = 2; threads <= 4; threads++) {
		setup(&s, false);
		start(&s, threads, KMS_ARRAY_LEN(jobs));
		for (int i = 0; i < 6; i++)
			submit_in_group(&s, &jobs[i], 5, i);
		wait_at_gate(&s, (int)threads - 1);
		submit_in_group(&s, &jobs[6], 6, 6);
		wait_at_gate(&s, (int)threads);
		assert_int_equal(s.arrivals[threads - 1], 6);
		submit_in_group(&s, &jobs[7], 6, 7);
		assert_int_equal(worker_waiting(s.worker), 8 - threads);
		open_gate(&s);
		worker_stop(s.worker);
		assert_int_equal(s.ran, 8);
		clear(&s);
	}
}

static void jobs_of_no_group_may_have_all_threads(void **state)
{
	struct numbered jobs[3];
	struct scene s;
	(void)state;
	setup(&s, false);
	start(&s, 3, 3);
	for (int i = 0; i < 3; i++)
		submit_in_group(&s, &jobs[i], WORKER_NO_GROUP, i);
	wait_at_gate(&s, 3);
	open_gate(&s);
	worker_stop(s.worker);
	clear(&s);
}

static void the_bound_is_that_of_all_groups_together(void **state)
{
	struct numbered jobs[4];
	struct scene s;
	(void)state;
	setup(&s, false);
	start(&s, 1, 2);
	submit_in_group(&s, &jobs[0], 1, 0);
	wait_at_gate(&s, 1);
	submit_in_group(&s, &jobs[1], 1, 1);
	submit_in_group(&s, &jobs[2], 2, 2);
	jobs[3] = (struct numbered){ .job = { .run = run_numbered, .group = 3 }, .scene = &s };
	assert_int_equal(worker_submit(s.worker, &jobs[3].job), KMS_E_THROTTLED);
	open_gate(&s);
	worker_stop(s.worker);
	assert_int_equal(s.ran, 3);
	clear(&s);
}

static void stopping_runs_what_is_queued_and_what_comes_back(void **state)
{
	struct scene s;
	struct numbered jobs[64];
	struct worker *w;
	(void)state;
	setup(&s, true);
	w = start(&s, 4, 64);
	for (int i = 0; i < 64; i++) {
		jobs[i] = (struct numbered){ .job = { .run = run_numbered, .group = (unsigned)i % 3 }, .scene = &s, .number = i, .again = 3 };
		assert_int_equal(worker_submit(w, &jobs[i].job), KMS_OK);
	}
	worker_stop(w);
	assert_int_equal(s.ran, 64 * 4);
	assert_int_equal(s.starts, 4);
	assert_int_equal(s.stops, 4);
	clear(&s);
}

static void a_thread_that_cannot_start_stops_the_lane(void **state)
{
	(void)state;
	for (int nth = 0; nth < 3; nth++) {
		struct scene s;
		struct kms_err err = { 0 };
		struct worker *w = NULL;
		struct worker_config cfg = { .name = "lane", .threads = 3, .capacity = 4, .start = start_state, .stop = stop_state };
		setup(&s, true);
		s.fail_start = nth;
		cfg.arg = &s;
		assert_int_equal(worker_start(&cfg, &w, &err), KMS_E_STORE);
		assert_null(w);
		assert_string_equal(err.detail, "no connection");
		assert_int_equal(s.stops, 2);
		clear(&s);
	}
	worker_stop(NULL);
}

struct submitter {
	struct worker *worker;
	struct numbered jobs[200];
	int accepted;
	pthread_t thread;
};

static void *submit_many(void *arg)
{
	struct submitter *sub = arg;
	for (int i = 0; i < 200; i++) {
		kms_status status = worker_submit(sub->worker, &sub->jobs[i].job);
		sub->accepted += status == KMS_OK;
	}
	return NULL;
}

static void many_threads_submit_and_each_accepted_job_runs_once(void **state)
{
	static struct submitter subs[4];
	struct scene s;
	int accepted = 0;
	struct worker *w;
	(void)state;
	setup(&s, true);
	w = start(&s, 3, 32);
	memset(subs, 0, sizeof(subs));
	for (int t = 0; t < 4; t++) {
		subs[t].worker = w;
		for (int i = 0; i < 200; i++)
			subs[t].jobs[i] = (struct numbered){ .job = { .run = run_numbered, .group = (unsigned)(t + i) % 5 }, .scene = &s };
		assert_int_equal(pthread_create(&subs[t].thread, NULL, submit_many, &subs[t]), 0);
	}
	for (int t = 0; t < 4; t++) {
		assert_int_equal(pthread_join(subs[t].thread, NULL), 0);
		accepted += subs[t].accepted;
	}
	worker_stop(w);
	assert_true(accepted > 0);
	assert_int_equal(s.ran, accepted);
	clear(&s);
}

/* ---- visits ---- */

#define LONG_MS 10000

static void each_thread_that_waits_is_visited_once_and_at_once(void **state)
{
	struct scene s;
	struct worker *w;

	(void)state;
	setup(&s, true);
	w = start(&s, 3, 8);
	assert_true(worker_visited(w, worker_visit(w), LONG_MS));
	assert_int_equal(s.visits, 3);
	assert_true(worker_visited(w, worker_visit(w), LONG_MS));
	assert_int_equal(s.visits, 6);
	worker_stop(w);
	clear(&s);
}

static void a_thread_in_a_job_is_visited_before_its_next_one(void **state)
{
	struct scene s;
	struct numbered first = { .job = { .run = run_numbered }, .scene = &s, .number = 1 }, second = first;
	struct worker *w;
	uint64_t ticket = 0;

	(void)state;
	setup(&s, false);
	w = start(&s, 1, 8);
	assert_int_equal(worker_submit(w, &first.job), KMS_OK);
	assert_int_equal(worker_submit(w, &second.job), KMS_OK);
	wait_at_gate(&s, 1);
	ticket = worker_visit(w);
	assert_false(worker_visited(w, ticket, 1));
	assert_int_equal(s.visits, 0);
	open_gate(&s);
	assert_true(worker_visited(w, ticket, LONG_MS));
	assert_int_equal(s.visited_after, 1);
	worker_stop(w);
	assert_int_equal(s.visits, 1);
	clear(&s);
}

struct asking {
	struct numbered numbered; /* first: a job is its asking */
	bool done;
};

static void ask_here(struct job *job, void *thread_state)
{
	struct asking *a = (struct asking *)job;
	struct worker *w = a->numbered.scene->worker;

	(void)thread_state;
	a->done = worker_visited(w, worker_visit(w), LONG_MS);
}

static void a_job_may_ask_its_own_lane_and_waits_for_nobody_else_than_itself(void **state)
{
	struct scene s;
	struct asking a = { .numbered = { .job = { .run = ask_here }, .scene = &s } };
	struct worker *w;

	(void)state;
	setup(&s, true);
	w = start(&s, 1, 8);
	assert_int_equal(worker_submit(w, &a.numbered.job), KMS_OK);
	worker_stop(w);
	assert_true(a.done);
	assert_int_equal(s.visits, 1);
	clear(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_run_in_order_and_a_resubmitted_one_goes_first),
		cmocka_unit_test(a_full_queue_refuses_but_takes_back_what_was_admitted),
		cmocka_unit_test(groups_take_turns_however_much_one_of_them_has_queued),
		cmocka_unit_test(a_resubmitted_job_goes_first_in_its_group_and_waits_for_its_turn),
		cmocka_unit_test(no_group_has_the_last_of_several_threads),
		cmocka_unit_test(jobs_of_no_group_may_have_all_threads),
		cmocka_unit_test(the_bound_is_that_of_all_groups_together),
		cmocka_unit_test(stopping_runs_what_is_queued_and_what_comes_back),
		cmocka_unit_test(a_thread_that_cannot_start_stops_the_lane),
		cmocka_unit_test(many_threads_submit_and_each_accepted_job_runs_once),
		cmocka_unit_test(each_thread_that_waits_is_visited_once_and_at_once),
		cmocka_unit_test(a_thread_in_a_job_is_visited_before_its_next_one),
		cmocka_unit_test(a_job_may_ask_its_own_lane_and_waits_for_nobody_else_than_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
