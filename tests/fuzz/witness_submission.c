/* tests/fuzz/witness_submission.c - the body of add-checkpoint as a stranger may send it: no read beyond its end; what is taken lies within the body, and is judged. */
#include <stdlib.h>
#include <string.h>

#include "server/witness/submission.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char VKEY[] = "kms.example.com/audit/log1+806eaf35+AU++wjPkb0ysvHXefo+AnawHjBDyxBxasEn+XYW9x18z";
	struct submission s;
	struct verifier key;
	const char *why = NULL, *body = (const char *)data;
	char *lines = NULL;

	if (!verifier_parse(VKEY, sizeof(VKEY) - 1, &key))
		abort();
	(void)verifier_parse(body, size, &key);
	if (!submission_parse(body, size, &s, &why)) {
		if (why == NULL)
			abort();
		return 0;
	}
	if (s.note.text < body || s.note.signatures + s.note.signatures_len != body + size || s.note.text + s.note.text_len + 1 != s.note.signatures ||
	    strlen(s.note.origin) == 0 || s.proof_count > PROOF_MAX)
		abort();
	lines = malloc(s.note.signatures_len + 1);
	if (lines == NULL)
		return 0;
	/* A note without a good signature has no good lines; one with has no others. */
	if (verifier_parse(VKEY, sizeof(VKEY) - 1, &key) && note_verify(&s.note, &key, 1, lines) == NOTE_UNKNOWN && lines[0] != '\0')
		abort();
	free(lines);
	return 0;
}
