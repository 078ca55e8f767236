/* tests/fuzz/verify_note.c - signed notes, checkpoints, bundles, certificates, consistency proofs, verifier keys and policies of any bytes: the first byte says
 * which. No read beyond the end; what is not signed is never verified. */
#include <stdlib.h>

#include "server/verify/verify.h"

#define LOG_KEY "kms.example.com/audit/log1+1bc390de+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c"
#define ATTESTATION_KEY "kms.example.com/attest/k1+2ea281be+AcqTrBcFGHBx1nuDx/8O/oEI6OxFMFdddyaHkzPb2r58"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *add(struct verify *v, unsigned kind, struct span text)
{
	unsigned line = 0;

	switch (kind) {
	case 0: return verify_add_checkpoint(v, SIGNED_CHECKPOINT, "note", text);
	case 1: return verify_add_bundle(v, "bundle", text);
	case 2: return verify_add_certificate(v, "certificate", text);
	case 3: return verify_add_proof(v, "proof", text);
	case 4: return verify_add_policy(v, text, &line);
	default: return verify_add_key(v, text);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verify *v = size > 0 ? verify_open(&(struct verify_options){ .approvers = 1 }) : NULL;
	char *text = size > 0 ? malloc(size) : NULL;
	FILE *out = fopen("/dev/null", "w");

	if (v != NULL && text != NULL && out != NULL) {
		memcpy(text, data + 1, size - 1);
		if (verify_add_key(v, SPAN(LOG_KEY)) != NULL || verify_add_key(v, SPAN(ATTESTATION_KEY)) != NULL)
			abort();
		(void)add(v, data[0] % 6, (struct span){ text, size - 1 });
		if (verify_begin(v) != NULL)
			abort();
		(void)verify_finish(v);
		verify_print(v, out);
		verify_print_json(v, out);
	}
	if (out != NULL)
		(void)fclose(out);
	free(text);
	verify_close(v);
	return 0;
}
