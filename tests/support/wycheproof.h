/* tests/support/wycheproof.h - reads Wycheproof files in place from ../shared/vectors/wycheproof and counts what became of their cases. */
#ifndef HOLDFAST_TESTS_SUPPORT_WYCHEPROOF_H
#define HOLDFAST_TESTS_SUPPORT_WYCHEPROOF_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wy_case {
	const json_t *group, *test;
	int id;
	bool is_valid, is_acceptable; /* neither = invalid */
	bool is_new_group;            /* the first case of its group */
};
enum wy_outcome { WY_PASS, WY_FAIL, WY_SKIP };

/** Called for each case. On WY_SKIP sets *ret_reason (static text). */
typedef enum wy_outcome (*wy_fn)(void *arg, const struct wy_case *c, const char **ret_reason);

struct wy_counts {
	unsigned passed, failed, skipped;
};
/**
 * Run every case of a file and print "FILE WHAT: N passed, N failed, N skipped (reason)". A file of no cases, or all skipped, has failed.
 * @return false when the vectors are not there (said on stdout): the test skips
 */
bool wy_run(const char *file, const char *what, wy_fn fn, void *arg, struct wy_counts *ret_counts);

/** A member's text, "" when absent. */
const char *wy_text(const json_t *object, const char *name);
/** A member's hex as bytes, leading zero bytes of numbers kept. Aborts when it is no hex or does not fit. */
size_t wy_hex(const json_t *object, const char *name, uint8_t *ret_bytes, size_t cap);

#endif
