/* server/core/backup_manifest.c - the manifest of a server backup: lines of text in one order, each once, nothing else. Read by strict rules, since nothing of it is proven yet. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/backup_file.h"

#define TITLE "holdfast-backup/v"
#define FORM "1"

enum field_kind { FIELD_ID, FIELD_TEXT, FIELD_NUMBER, FIELD_SHORT /* 32 bits */, FIELD_HASH, FIELD_KEY };
struct field {
	const char *name;
	enum field_kind kind;
	size_t offset;
	size_t cap;   /* FIELD_TEXT: room, the NUL included */
	uint64_t max; /* FIELD_NUMBER */
};
#define AT(member) offsetof(struct backup_manifest, member)
#define TEXT(name, member) { name, FIELD_TEXT, AT(member), sizeof(((struct backup_manifest *)NULL)->member), 0 }
#define NUMBER(name, member, most) { name, FIELD_NUMBER, AT(member), 0, most }
#define COUNT_MAX ((uint64_t)1 << 48)
static const struct field FIELDS[] = {
	{ "id", FIELD_ID, AT(id), 0, 0 },
	TEXT("version", version),
	TEXT("domain", domain),
	TEXT("origin", origin),
	{ "directory", FIELD_ID, AT(directory), 0, 0 },
	{ "epoch", FIELD_SHORT, AT(epoch), 0, UINT32_MAX },
	{ "epoch-key", FIELD_ID, AT(epoch_key), 0, 0 },
	NUMBER("made", made_s, INT64_MAX),
	NUMBER("size", size, COUNT_MAX),
	{ "root", FIELD_HASH, AT(root), 0, 0 },
	NUMBER("vaults", vaults, COUNT_MAX),
	NUMBER("keys", keys, COUNT_MAX),
	NUMBER("versions", versions, COUNT_MAX),
	NUMBER("config-bytes", config_bytes, BACKUP_CONFIG_MAX),
	NUMBER("checkpoint-bytes", checkpoint_bytes, STORE_NOTE_MAX),
	NUMBER("database-bytes", database_bytes, COUNT_MAX),
	/* The last: what it was sealed with is all that stands before. */
	{ "sealed-key", FIELD_KEY, AT(sealed_key), 0, 0 },
};

/* ---- write ---- */

static uint64_t number_at(const struct field *f, const void *at)
{
	uint64_t n = 0;
	uint32_t n32 = 0;

	if (f->kind == FIELD_SHORT) {
		memcpy(&n32, at, sizeof(n32));
		return n32;
	}
	memcpy(&n, at, sizeof(n));
	return n;
}

static void value_format(const struct field *f, const void *at, char *ret, size_t cap)
{
	switch (f->kind) {
	case FIELD_ID: guid_format(at, ret); break;
	case FIELD_TEXT: (void)snprintf(ret, cap, "%s", (const char *)at); break;
	case FIELD_NUMBER:
	case FIELD_SHORT: (void)snprintf(ret, cap, "%" PRIu64, number_at(f, at)); break;
	case FIELD_HASH: hex_encode(at, STORE_HASH_LEN, ret); break;
	case FIELD_KEY: b64url_encode(at, BACKUP_KEY_SEALED_LEN, ret); break;
	}
}

size_t backup_manifest_format(const struct backup_manifest *m, char ret_text[BACKUP_MANIFEST_MAX], size_t *ret_sealed_len)
{
	char value[STORE_ORIGIN_MAX + 1];
	size_t len = (size_t)snprintf(ret_text, BACKUP_MANIFEST_MAX, TITLE FORM "\n");

	_Static_assert(sizeof(value) > KMS_DOMAIN_MAX && sizeof(value) > B64URL_LEN(BACKUP_KEY_SEALED_LEN), "the longest value");
	for (size_t i = 0; i < KMS_ARRAY_LEN(FIELDS); i++) {
		*ret_sealed_len = len;
		value_format(&FIELDS[i], (const char *)m + FIELDS[i].offset, value, sizeof(value));
		len += (size_t)snprintf(ret_text + len, BACKUP_MANIFEST_MAX - len, "%s %s\n", FIELDS[i].name, value);
	}
	len += (size_t)snprintf(ret_text + len, BACKUP_MANIFEST_MAX - len, "\n");
	return len;
}

uint64_t backup_file_bytes(const struct backup_manifest *m)
{
	char text[BACKUP_MANIFEST_MAX];
	size_t sealed_len = 0;
	uint64_t plain = m->config_bytes + m->checkpoint_bytes + m->database_bytes;

	return backup_manifest_format(m, text, &sealed_len) + plain + (plain + BACKUP_CHUNK - 1) / BACKUP_CHUNK * HSM_GCM_TAG_LEN;
}

/* ---- read ---- */

/* Decimal, without a leading zero. */
static bool number_parse(const char *text, size_t len, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (len == 0 || len > 19 || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		n = 10 * n + (uint64_t)(text[i] - '0');
	}
	*ret = n;
	return n <= max;
}

static bool text_parse(const char *text, size_t len, char *ret, size_t cap)
{
	if (len == 0 || len >= cap)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	memcpy(ret, text, len);
	ret[len] = '\0';
	return true;
}

static bool number_take(const struct field *f, const char *text, size_t len, void *at)
{
	uint64_t n = 0;
	uint32_t n32 = 0;

	if (!number_parse(text, len, f->max, &n))
		return false;
	n32 = (uint32_t)n;
	if (f->kind == FIELD_SHORT)
		memcpy(at, &n32, sizeof(n32));
	else
		memcpy(at, &n, sizeof(n));
	return true;
}

static bool value_parse(const struct field *f, const char *text, size_t len, void *at)
{
	size_t got = 0;

	switch (f->kind) {
	case FIELD_ID: return guid_parse(text, len, at);
	case FIELD_TEXT: return text_parse(text, len, at, f->cap);
	case FIELD_NUMBER:
	case FIELD_SHORT: return number_take(f, text, len, at);
	case FIELD_HASH: return hex_decode(text, len, at, STORE_HASH_LEN);
	case FIELD_KEY: break;
	}
	return len == B64URL_LEN(BACKUP_KEY_SEALED_LEN) && b64url_decode(text, len, at, BACKUP_KEY_SEALED_LEN, &got) && got == BACKUP_KEY_SEALED_LEN;
}

/* One line that begins at text + *at: moves *at behind it. */
static bool line_take(const struct field *f, const char *text, size_t len, size_t *at, struct backup_manifest *m)
{
	const char *line = text + *at, *end = memchr(line, '\n', len - *at);
	size_t name_len = strlen(f->name), line_len = 0;

	if (end == NULL)
		return false;
	line_len = (size_t)(end - line);
	if (line_len <= name_len + 1 || memcmp(line, f->name, name_len) != 0 || line[name_len] != ' ')
		return false;
	if (!value_parse(f, line + name_len + 1, line_len - name_len - 1, (char *)m + f->offset))
		return false;
	*at += line_len + 1;
	return true;
}

static kms_status not_a_backup(const char *text, size_t len, struct kms_err *err)
{
	static const char title[] = TITLE, form[] = FORM "\n";
	size_t title_len = sizeof(title) - 1;

	if (len <= title_len || memcmp(text, title, title_len) != 0)
		return kms_refuse(err, KMS_E_BACKUP, "The file is not a backup of a Holdfast server.");
	if (len >= title_len + sizeof(form) - 1 && memcmp(text + title_len, form, sizeof(form) - 1) == 0)
		return kms_refuse(err, KMS_E_BACKUP, "The backup is damaged: its manifest cannot be read.");
	return kms_refuse(err, KMS_E_BACKUP, "The backup was made by another version of holdfastd, whose form this one does not know.");
}

kms_status backup_manifest_parse(const char *text, size_t len, struct backup_manifest *ret, size_t *ret_len, size_t *ret_sealed_len, struct kms_err *err)
{
	static const char first[] = TITLE FORM "\n";
	struct backup_manifest m = { 0 };
	size_t at = sizeof(first) - 1, sealed_len = 0;
	bool good = len > at && memcmp(text, first, at) == 0;

	for (size_t i = 0; i < KMS_ARRAY_LEN(FIELDS) && good; i++) {
		sealed_len = at;
		good = line_take(&FIELDS[i], text, len, &at, &m);
	}
	if (!good || at == len || text[at] != '\n' || m.epoch == 0 || m.database_bytes == 0)
		return not_a_backup(text, len, err);
	*ret = m;
	*ret_len = at + 1;
	*ret_sealed_len = sealed_len;
	return KMS_OK;
}
