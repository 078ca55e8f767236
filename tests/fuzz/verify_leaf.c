/* tests/fuzz/verify_leaf.c - an export of any bytes, in pieces of any size, through everything that the verifier does with a log; and the reader of canonical
 * JSON. No read beyond the end; what no checkpoint vouches for is never verified. */
#include <stdlib.h>

#include "server/verify/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(const char *text, size_t size, size_t piece, bool is_partial)
{
	struct verify *v = verify_open(&(struct verify_options){ .approvers = 1, .is_partial = is_partial });
	FILE *out = fopen("/dev/null", "w");

	if (v == NULL || out == NULL || verify_begin(v) != NULL)
		abort();
	for (size_t at = 0; at < size; at += piece) {
		if (verify_feed(v, "log", text + at, size - at < piece ? size - at : piece) != NULL)
			abort();
	}
	if (verify_end_file(v, "log") != NULL)
		abort();
	if (verify_finish(v) == EXIT_ALL_GOOD && !is_partial)
		abort();
	verify_print(v, out);
	verify_print_json(v, out);
	(void)fclose(out);
	verify_close(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1); /* of exactly this size for the sanitizer, but never nothing */

	if (text == NULL || size == 0) {
		free(text);
		return 0;
	}
	memcpy(text, data, size);
	(void)reader_is_canonical((struct span){ text, size }, NULL);
	feed(text, size, 1 + size % 97, (size & 1) != 0);
	free(text);
	return 0;
}
