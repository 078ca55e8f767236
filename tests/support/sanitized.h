/* tests/support/sanitized.h - what a sanitizer makes many times slower is done in part under it, and in full without. */
#ifndef HOLDFAST_TESTS_SANITIZED_H
#define HOLDFAST_TESTS_SANITIZED_H

#include <stdbool.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define T_IS_SANITIZED true
#else
#define T_IS_SANITIZED false
#endif

/* Of the calls that may fail, a sanitizer sees every fifth, beginning with another one each day. */
#define T_FAULT_STEP (T_IS_SANITIZED ? 5 : 1)
static inline int t_fault_first(void) { return (int)(time(NULL) / 86400 % T_FAULT_STEP); }

#endif
