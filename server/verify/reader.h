/*
 * server/verify/reader.h - a reader of canonical JSON (audit-log.md 3.1): a cursor that accepts only the one text that a value has. Nothing is
 * copied: strings come as they stand, escapes and all, and two strings are equal when their bytes are.
 */
#ifndef HOLDFAST_VERIFY_READER_H
#define HOLDFAST_VERIFY_READER_H

#include "server/verify/bytes.h"

#define READER_DEPTH_MAX 16
#define READER_INT_MAX ((int64_t)9007199254740991) /* 2^53 - 1 */

struct reader {
	const char *p, *end;
	const char *why; /* the first thing that is wrong; NULL = nothing yet */
	unsigned depth;  /* of objects and arrays that are open */
};
/* The object that is being read. Begin zeroed, after reader_enter(). */
struct reader_object {
	struct span last; /* its last member's name: the next must sort behind it */
	bool has_member;
};

struct reader reader_begin(struct span text);
/** Note what is wrong; the first note stays. @return false */
bool reader_fail(struct reader *j, const char *why);
/** The opening brace. */
bool reader_enter(struct reader *j);
/** The next member's name, or the closing brace. @return 1 = a member, whose value must be read before the next call; 0 = the end; -1 = wrong */
int reader_next(struct reader *j, struct reader_object *o, struct span *ret_name);
/** @return the same for the elements of an array, after its opening bracket was read by reader_enter_array(); *has_element begins false */
bool reader_enter_array(struct reader *j);
int reader_next_element(struct reader *j, bool *has_element);
bool reader_string(struct reader *j, struct span *ret);
bool reader_int(struct reader *j, int64_t *ret);
bool reader_true_or_false(struct reader *j, bool *ret);
/** Any value. */
bool reader_skip(struct reader *j);
/** Nothing may follow. */
bool reader_end(struct reader *j);
/** Is all of it one canonical object? @param ret_why  NULL or what is wrong */
bool reader_is_canonical(struct span text, const char **ret_why);
/** One member of an object that is known to be canonical; false when it is not there. */
bool reader_member(struct span object, const char *name, struct reader *ret_value);
bool reader_member_string(struct span object, const char *name, struct span *ret);
bool reader_member_int(struct span object, const char *name, int64_t *ret);

#endif
