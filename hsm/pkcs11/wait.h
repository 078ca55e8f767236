/* hsm/pkcs11/wait.h - condition variables with deadlines on the clock that nobody sets. */
#ifndef HOLDFAST_HSM_PKCS11_WAIT_H
#define HOLDFAST_HSM_PKCS11_WAIT_H

#include <pthread.h>
#include <time.h>

static inline void wait_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
}

/* `ms` from now, for pthread_cond_timedwait on such a condition. */
static inline struct timespec wait_deadline(unsigned ms)
{
	const long ns_in_s = 1000000000L;
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000) * 1000000L;
	if (t.tv_nsec >= ns_in_s) {
		t.tv_sec++;
		t.tv_nsec -= ns_in_s;
	}
	return t;
}

#endif
