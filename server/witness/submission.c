/* server/witness/submission.c - see submission.h. */
#include "server/witness/submission.h"

#include <string.h>

#include "server/witness/encode.h"

static const char OLD[] = "old ";

bool submission_parse(const char *body, size_t len, struct submission *ret, const char **ret_why)
{
	const char *at = body, *end = body + len, *eol = len == 0 ? NULL : memchr(at, '\n', len);
	size_t prefix = sizeof(OLD) - 1, hash_len = 0;

	*ret = (struct submission){ 0 };
	*ret_why = "the first line must be: old SIZE";
	if (len > SUBMISSION_LEN_MAX || eol == NULL || (size_t)(eol - at) <= prefix || memcmp(at, OLD, prefix) != 0 ||
	    !decimal_read(at + prefix, (size_t)(eol - at) - prefix, &ret->old_size))
		return false;
	for (at = eol + 1;; at = eol + 1) {
		eol = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
		*ret_why = "an empty line must divide the proof from the checkpoint";
		if (eol == NULL)
			return false;
		if (eol == at)
			break;
		*ret_why = "a line of the proof must be the base64 of 32 bytes, and there are at most 63";
		if (ret->proof_count == PROOF_MAX || !base64_read(at, (size_t)(eol - at), ret->proof[ret->proof_count++], HASH_LEN, &hash_len) || hash_len != HASH_LEN)
			return false;
	}
	*ret_why = "behind the empty line there is no well-formed signed checkpoint";
	return note_parse(eol + 1, (size_t)(end - eol - 1), &ret->note);
}
