/* tests/support/sanitized.h - what a sanitizer makes many times slower is done in part under it, and in full without. */
#ifndef HOLDFAST_TESTS_SANITIZED_H
#define HOLDFAST_TESTS_SANITIZED_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define T_IS_SANITIZED true
#else
#define T_IS_SANITIZED false
#endif

/* What takes minutes even without a sanitizer: every fourth call, beginning with another one each day; all of them with HOLDFAST_FAULTS=all (make endurance). */
static inline int t_slow_step(void)
{
	const char *faults = getenv("HOLDFAST_FAULTS");
	if (faults != NULL && strcmp(faults, "all") == 0)
		return 1;
	return T_IS_SANITIZED ? 20 : 4;
}
static inline int t_slow_first(void) { return (int)(time(NULL) / 86400 % t_slow_step()); }

/* Of the other calls that may fail, a sanitizer sees every fifth, beginning with another one each day. */
#define T_FAULT_STEP (T_IS_SANITIZED ? 5 : 1)
static inline int t_fault_first(void) { return (int)(time(NULL) / 86400 % T_FAULT_STEP); }

#endif
