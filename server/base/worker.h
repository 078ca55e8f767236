/*
 * server/base/worker.h - a bounded queue with its own threads: one lane of work. Nothing waits in it without an end, and nobody behind a crowd:
 * jobs come in groups, which take turns.
 */
#ifndef HOLDFAST_BASE_WORKER_H
#define HOLDFAST_BASE_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

#define WORKER_NO_GROUP 0
#define WORKER_GROUPS 1024

/* Embedded in what is queued; belongs to the lane from submit until run() is called. */
struct job {
	struct job *next;
	/* 0..WORKER_GROUPS - 1. The jobs of a group run in their order; after each, it is the next group's turn. Where a lane has several threads, a
	 * group never has the last one, so that slow jobs of one do not hold up all others; WORKER_NO_GROUP takes turns, but may have them all. */
	unsigned group;
	void (*run)(struct job *job, void *thread_state); /* on a thread of the lane */
};

struct worker_config {
	const char *name; /* thread name, at most 15 characters */
	unsigned threads; /* 1.. */
	size_t capacity;  /* jobs waiting, at most */
	/* Each thread's own state (its database connection); called on the thread itself. A failure of start stops worker_start(). */
	kms_status (*start)(void *arg, void **ret_state, struct kms_err *err);
	void (*stop)(void *arg, void *state);
	void (*visit)(void *arg, void *state); /* what worker_visit() asks for; NULL = nothing */
	void *arg;
};

struct worker;

/** @return KMS_OK | KMS_E_NOMEM | what start() answered */
KMS_MUST_CHECK kms_status worker_start(const struct worker_config *cfg, struct worker **ret_worker, struct kms_err *err);
/** Queue a job. @return KMS_OK | KMS_E_THROTTLED (the queue is full) | KMS_E_SHUTDOWN */
KMS_MUST_CHECK kms_status worker_submit(struct worker *w, struct job *job);
/** Put a job that was admitted before back in front of its group, whatever the queue's length (a fence that failed). Works until worker_stop()
 *  returns. */
void worker_resubmit(struct worker *w, struct job *job);
/** Ask each thread of the lane to call visit() with its state before its next job; a thread that waits for one does it at once. Never blocks.
 *  @return a ticket for worker_visited() */
uint64_t worker_visit(struct worker *w);
/** Wait until every thread has done what the ticket asks for; one that runs a job for longer does it afterwards. On a thread of the lane itself, that one does it here and
 *  now. @return false: not all of them have yet */
bool worker_visited(struct worker *w, uint64_t ticket, unsigned wait_ms);
/** Jobs waiting now. */
size_t worker_waiting(struct worker *w);
/** Refuse new jobs, run what is queued, join the threads, free. Accepts NULL. */
void worker_stop(struct worker *w);

#endif
