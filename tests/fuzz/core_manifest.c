/* tests/fuzz/core_manifest.c - the manifest of a server backup, of which nothing is proven yet: no read beyond the end, and what is read writes the same text. */
#include <stdlib.h>
#include <string.h>

#include "server/core/backup_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct backup_manifest m;
	char text[BACKUP_MANIFEST_MAX];
	size_t len = 0, sealed_len = 0, again_len = 0, again_sealed = 0;

	if (backup_manifest_parse((const char *)data, size, &m, &len, &sealed_len, NULL) != KMS_OK)
		return 0;
	again_len = backup_manifest_format(&m, text, &again_sealed);
	if (again_len != len || again_sealed != sealed_len || len > size)
		abort();
	/* Hexadecimal digits are taken in either case and written in lower. */
	for (size_t i = 0; i < len; i++)
		if (((uint8_t)text[i] | 0x20) != (data[i] | 0x20))
			abort();
	return 0;
}
