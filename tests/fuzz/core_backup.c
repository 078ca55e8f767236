/* tests/fuzz/core_backup.c - what lies under a backup's seal, and the header before it: no read beyond the end, and what is read writes the same text. */
#include <stdlib.h>
#include <string.h>

#include "server/core/backup_form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_content(const struct backup_content *c, const uint8_t *data, size_t size)
{
	struct backup_text t = { .max = BACKUP_BLOB_MAX };

	if (c->count == 0 || c->count > BACKUP_VERSIONS_MAX)
		abort();
	backup_put_head(&t, &c->key, c->made_s, c->has_policy ? &c->policy : NULL);
	for (size_t i = 0; i < c->count; i++)
		backup_put_version(&t, &c->versions[i]);
	backup_set_count(&t, c->count);
	if (t.is_over || t.len != size || memcmp(t.bytes, data, size) != 0)
		abort();
	free(t.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct backup_header header;
	struct backup_content content = { 0 };

	(void)backup_take_header(data, size, &header);
	if (backup_take_content(data, size, &content, NULL) == KMS_OK)
		check_content(&content, data, size);
	backup_content_clear(&content);
	return 0;
}
