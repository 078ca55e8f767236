/* tests/fuzz/core_certificate.c - a certificate that somebody brings back: read to its end whatever it is, never beyond, and believed by nobody who has not signed it. */
#include <stdlib.h>
#include <string.h>

#include "server/core/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The base point of P-256 (FIPS 186-5): a key whose private half, 1, signs nothing here. */
static const uint8_t POINT[] = {
	0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1,
	0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b,
	0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kms kms = { .origin = "kms.example.com/audit/log1" };
	char *note = malloc(size + 1);
	const char *body = NULL;
	size_t body_len = 0;

	if (note == NULL)
		return 0;
	memcpy(kms.inst.attestation_public.point, POINT, sizeof(POINT));
	kms.inst.attestation_public.point_len = sizeof(POINT);
	memcpy(note, data, size);
	if (note_text_len(note, size) > size)
		abort();
	if (certificate_open(&kms, note, size, &body, &body_len, NULL) == KMS_OK)
		abort();
	free(note);
	return 0;
}
