/* server/core/certificate_text.c - what a certificate says (audit-log.md 11.2): canonical JSON, the members sorted by hand. No key check value, no hash of a secret key. */
#include "server/core/certificate_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/canon.h"
#include "server/core/key.h"

#define SMALL_MAX 4096 /* of what stands between two lists */
#define KEY_MAX 1024   /* one element of `keys` */
#define KEYS_PAGE 64
#define EPOCHS_PAGE 32
#define ROOT_BITS 256
#define DEVICE_TEXT_MAX 64
#define COPIES_SEEN 256 /* living backups that are looked at; those that were made after the destruction are among them */
#define COPY_MAX 256
#define US_PER_S 1000000

static const char *const METHODS[] = { [METHOD_OBJECT] = "hsm-object-destroy", [METHOD_ROOT] = "kek-destroy", [METHOD_BLOB] = "blob-erase" };

/* What became of a copy. */
#define COPY_EXPIRES "expires-with-epoch" /* its epoch lives, and with it what it holds */
#define COPY_DEAD "unreadable"            /* what it holds is wrapped under a root that is destroyed */
#define COPY_ENDED "destroyed"            /* its epoch's key is destroyed */

/* The text under construction. */
struct text {
	FILE *out;
	char *bytes; /* owned; valid once `out` is closed */
	size_t len;
};

static void text_clear(struct text *t)
{
	if (t->out != NULL)
		(void)fclose(t->out);
	free(t->bytes);
}
static void free_copies(struct backup_copy **copies) { free(*copies); }
#define TEXT_AUTO __attribute__((cleanup(text_clear))) struct text

static kms_status text_open(struct text *t, struct kms_err *err)
{
	t->out = open_memstream(&t->bytes, &t->len);
	return t->out != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
}

static kms_status text_take(struct text *t, char **ret_text, size_t *ret_len, struct kms_err *err)
{
	bool is_whole = ferror(t->out) == 0;

	is_whole = fclose(t->out) == 0 && is_whole;
	t->out = NULL;
	if (!is_whole)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
	*ret_text = KMS_TAKE(t->bytes);
	if (ret_len != NULL)
		*ret_len = t->len;
	return KMS_OK;
}

/* What the encoder has, into the text; it goes on where it was. */
static kms_status flush(struct canon *c, FILE *out, struct kms_err *err)
{
	if (c->is_over)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "a part of a certificate of more than %zu bytes", c->cap);
	(void)fwrite(c->buf, 1, c->len, out);
	c->len = 0;
	return KMS_OK;
}

static void put_time(struct canon *c, const char *name, int64_t us)
{
	char text[TIMESTAMP_LEN + 1];

	timestamp_format(us, text);
	canon_token(c, name, text);
}

/* Hashes in certificates are standard base64 (3.1 rule 6). */
static void put_hash(struct canon *c, const char *name, const uint8_t hash[STORE_HASH_LEN])
{
	char text[B64_LEN(STORE_HASH_LEN) + 1];

	b64_encode(hash, STORE_HASH_LEN, text);
	canon_token(c, name, text);
}

/* ---- keys ---- */

static void put_version(struct canon *c, const struct store_tombstone *t)
{
	const struct key_type_info *type = key_type_info((enum key_type)t->kty);
	const struct key_curve_info *curve = key_curve_info((enum key_curve)t->crv);

	if (curve != NULL)
		canon_token(c, "crv", curve->name);
	canon_token(c, "kind", type != NULL ? type->name : "unknown");
}

static void put_key(struct canon *c, const struct store_tombstone *t)
{
	bool is_version = t->kind == STORE_TOMBSTONE_VERSION;
	char ver[2 * STORE_ID_LEN + 1];

	canon_open(c, NULL);
	if (!is_version)
		canon_int(c, "bits", ROOT_BITS);
	else if (t->bits != 0)
		canon_int(c, "bits", t->bits);
	if (t->created_seq != STORE_NO_SEQ)
		canon_int(c, "created", (int64_t)t->created_seq);
	if (is_version)
		put_version(c, t);
	else
		canon_token(c, "kind", t->kind == STORE_TOMBSTONE_PSEUDONYMS ? "pseudonyms" : "root");
	canon_token(c, "name", is_version ? t->key_name : "");
	canon_bytes(c, "obj", t->obj, STORE_ID_LEN);
	if (t->has_spki)
		put_hash(c, "spki_sha256", t->spki_sha256);
	if (is_version) {
		hex_encode(t->version_id, STORE_ID_LEN, ver);
		canon_token(c, "ver", ver);
	}
	canon_close(c);
}

/* All that died of this act, ordered by object. */
static kms_status write_keys(struct store *store, const struct store_certificate *cert, FILE *out, struct kms_err *err)
{
	struct store_tombstone page[KEYS_PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	char buf[KEY_MAX];
	struct canon c = { .buf = buf, .cap = sizeof(buf) };
	size_t count = 0;
	long at = 0;

	do {
		KMS_TRY(store_tombstones(store, cert->vault_id, cert->intent, cursor, page, KEYS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			(void)fputs(cursor == NULL && i == 0 ? "" : ",", out);
			c.needs_comma = false;
			put_key(&c, &page[i]);
			KMS_TRY(flush(&c, out, err));
		}
		at = ftell(out);
		if (at < 0 || at > NOTE_LONG_MAX - NOTE_LONG_MAX / 16)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "more keys than one certificate holds");
		if (count > 0)
			memcpy(after, page[count - 1].obj, STORE_ID_LEN);
		cursor = after;
	} while (count == KEYS_PAGE);
	return KMS_OK;
}

/* ---- the whole ---- */

static void put_leaf(struct canon *c, const char *name, uint64_t seq, const uint8_t hash[STORE_HASH_LEN])
{
	canon_open(c, name);
	put_hash(c, "leaf", hash);
	canon_int(c, "seq", (int64_t)(seq & STORE_SEQ_MAX));
	canon_close(c);
}

static void put_times(struct canon *c, const struct store_certificate *cert)
{
	canon_open(c, "times");
	if (cert->approved_us > 0)
		put_time(c, "approved", cert->approved_us);
	put_time(c, "destroyed", cert->destroyed_us);
	put_time(c, "verified", cert->verified_us);
	canon_close(c);
}

/* From the member `method` on; the list of keys stands before it. */
static void put_tail(struct canon *c, const struct store_certificate *cert)
{
	canon_token(c, "method", METHODS[cert->method]);
	canon_text(c, "origin", cert->origin, STORE_ORIGIN_MAX);
	put_leaf(c, "outcome", cert->outcome, cert->outcome_leaf);
	canon_member(c, "residual");
	canon_put(c, cert->residual);
	put_hash(c, "root", cert->root);
	canon_token(c, "scope", cert->scope == STORE_CERTIFICATE_TENANT ? "tenant" : "key");
	canon_int(c, "size", (int64_t)cert->size);
	canon_token(c, "state", cert->state == STORE_CERTIFICATE_PENDING ? "pending-backup-expiry" : "complete");
	canon_guid(c, "tenant", cert->vault_id);
	put_times(c, cert);
	canon_token(c, "type", "destruction");
	if (cert->until_s != STORE_NO_TIME)
		put_time(c, "until", cert->until_s * US_PER_S);
	canon_int(c, "v", 1);
	if (cert->wrapped > 0)
		canon_int(c, "wrapped", (int64_t)cert->wrapped);
}

static kms_status write_list(struct canon *c, const char *name, const char *list, FILE *out, struct kms_err *err)
{
	canon_member(c, name);
	KMS_TRY(flush(c, out, err));
	(void)fputs(list, out); /* canonical already; longer than the encoder's buffer */
	return KMS_OK;
}

static kms_status write_body(struct store *store, const struct store_certificate *cert, FILE *out, struct kms_err *err)
{
	char buf[SMALL_MAX];
	struct canon c = { .buf = buf, .cap = sizeof(buf) };

	canon_open(&c, NULL);
	canon_token(&c, "basis", certificate_basis_name((enum certificate_basis)cert->basis));
	KMS_TRY(write_list(&c, "checks", cert->checks, out, err));
	KMS_TRY(write_list(&c, "copies", cert->copies, out, err));
	KMS_TRY(write_list(&c, "hsm", cert->hsm, out, err));
	canon_guid(&c, "id", cert->id);
	put_leaf(&c, "intent", cert->intent, cert->intent_leaf);
	KMS_TRY(write_list(&c, "keys", "[", out, err));
	KMS_TRY(write_keys(store, cert, out, err));
	canon_put(&c, "]");
	put_tail(&c, cert);
	canon_close(&c);
	return flush(&c, out, err);
}

static bool has(const char *text) { return text != NULL && text[0] != '\0'; }

kms_status certificate_text(struct store *store, const struct store_certificate *c, char **ret_text, size_t *ret_len, struct kms_err *err)
{
	TEXT_AUTO t = { 0 };

	if (!has(c->checks) || !has(c->copies) || !has(c->residual) || !has(c->hsm) || c->method < METHOD_OBJECT || c->method > METHOD_BLOB)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "a certificate is damaged");
	KMS_TRY(text_open(&t, err));
	(void)fprintf(t.out, "%.*s" CERTIFICATE_SUFFIX "\n", certificate_host_len(c->origin), c->origin);
	KMS_TRY(write_body(store, c, t.out, err));
	(void)fputc('\n', t.out);
	return text_take(&t, ret_text, ret_len, err);
}

/* ---- its parts ---- */

static kms_status keep(const struct canon *c, char **ret_text, struct kms_err *err)
{
	if (c->is_over)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "a part of a certificate of more than %zu bytes", c->cap);
	*ret_text = strndup(c->buf, c->len);
	return *ret_text != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
}

static void put_check(struct canon *c, const char *id)
{
	canon_begin_value(c);
	canon_open(c, NULL);
	canon_token(c, "id", id);
	canon_bool(c, "ok", true);
	canon_close(c);
}

/* Each of them has succeeded, or the destruction would not be done (destruction.h). */
kms_status certificate_checks(const struct destruction *d, char **ret_text, struct kms_err *err)
{
	char buf[SMALL_MAX];
	struct canon c = { .buf = buf, .cap = sizeof(buf) };

	canon_put(&c, "[");
	put_check(&c, "in-flight-drained");
	if (d->objects > 0) {
		canon_begin_value(&c);
		canon_open(&c, NULL);
		canon_int(&c, "found", 0);
		canon_token(&c, "id", "fresh-look");
		canon_bool(&c, "log_key_found", true);
		canon_int(&c, "objects", (int64_t)d->objects);
		canon_bool(&c, "ok", true);
		canon_close(&c);
	}
	if (d->tried_canary)
		put_check(&c, "canary");
	if (d->tried_api)
		put_check(&c, "refused");
	if (d->of == DESTRUCTION_OF_KEY && d->versions > 0)
		put_check(&c, "write-ahead-log-truncated");
	canon_put(&c, "]");
	return keep(&c, ret_text, err);
}

kms_status certificate_device(const struct hsm_info *device, char **ret_text, struct kms_err *err)
{
	char buf[SMALL_MAX];
	struct canon c = { .buf = buf, .cap = sizeof(buf) };

	canon_open(&c, NULL);
	canon_text(&c, "fw", device->firmware, DEVICE_TEXT_MAX);
	canon_text(&c, "model", device->model, DEVICE_TEXT_MAX);
	canon_text(&c, "serial", device->serial, DEVICE_TEXT_MAX);
	canon_text(&c, "token", device->label, DEVICE_TEXT_MAX);
	canon_text(&c, "vendor", device->manufacturer, DEVICE_TEXT_MAX);
	canon_close(&c);
	return keep(&c, ret_text, err);
}

kms_status certificate_residual(const struct hsm_info *device, enum certificate_method method, char **ret_text, struct kms_err *err)
{
	bool is_files = kms_token_is_files(device);
	const char *text = "\"none-known\"";

	if (method == METHOD_BLOB && is_files)
		text = "[\"older-database-copies\",\"token-directory-copies\",\"machine-snapshots\"]";
	else if (method == METHOD_BLOB)
		text = "[\"older-database-copies\"]";
	else if (is_files)
		text = "[\"token-directory-copies\",\"machine-snapshots\"]";
	*ret_text = strdup(text);
	return *ret_text != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
}

/* ---- copies ---- */

/* Nothing under a root of the vault is older than the vault. 0 = not known, so since ever. */
static kms_status find_vault(struct store *store, const uint8_t id[STORE_ID_LEN], int64_t *ret_s, uint64_t *ret_seq, struct kms_err *err)
{
	struct store_vault v = { 0 };
	kms_status status = store_vault_by_id(store, id, &v, NULL);

	if (status != KMS_OK)
		return status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "vault of a certificate");
	*ret_s = v.created_s;
	*ret_seq = v.created_seq;
	return KMS_OK;
}

/* When the oldest of what died was made, and by which leaf; 0 = not known, so since ever. */
static kms_status find_oldest(struct store *store, const struct store_certificate *c, int64_t *ret_s, uint64_t *ret_seq, struct kms_err *err)
{
	struct store_tombstone page[KEYS_PAGE];
	uint64_t oldest = STORE_NO_SEQ;
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	struct store_event e = { 0 };
	struct store_revival revival = { 0 };
	size_t count = 0;

	*ret_s = 0;
	if (c->scope != STORE_CERTIFICATE_KEY)
		return find_vault(store, c->vault_id, ret_s, ret_seq, err);
	/* What a restore brought back is as old as what it was made of. */
	KMS_TRY(store_revival(store, c->vault_id, c->intent, &revival, err));
	if (revival.has_others)
		return KMS_OK;
	do {
		KMS_TRY(store_tombstones(store, c->vault_id, c->intent, cursor, page, KEYS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			if (page[i].created_seq == STORE_NO_SEQ)
				return KMS_OK;
			if (page[i].created_seq < oldest)
				oldest = page[i].created_seq;
			memcpy(after, page[i].obj, STORE_ID_LEN);
		}
		cursor = after;
	} while (count == KEYS_PAGE);
	if (oldest == STORE_NO_SEQ)
		return KMS_OK;
	KMS_TRY(store_event(store, oldest, &e, err));
	*ret_s = e.ts_us / US_PER_S;
	*ret_seq = oldest;
	store_event_clear(&e);
	return KMS_OK;
}

static kms_status write_copy(const struct backup_copy *b, const char *disposition, bool is_first, FILE *out, struct kms_err *err)
{
	char buf[COPY_MAX];
	struct canon c = { .buf = buf, .cap = sizeof(buf), .needs_comma = !is_first };

	canon_begin_value(&c);
	canon_open(&c, NULL);
	canon_token(&c, "disposition", disposition);
	canon_int(&c, "epoch", b->backup.epoch);
	canon_guid(&c, "id", b->backup.id);
	canon_token(&c, "kind", b->backup.kind == STORE_BACKUP_SERVER ? "server-backup" : "key-backup");
	put_time(&c, "made", b->backup.made_s * US_PER_S);
	put_time(&c, "until", b->until_s * US_PER_S);
	canon_close(&c);
	return flush(&c, out, err);
}

/* Of very many the longest-lived are named, the others counted. */
static kms_status write_others(size_t count, const char *disposition, bool is_first, FILE *out, struct kms_err *err)
{
	char buf[COPY_MAX];
	struct canon c = { .buf = buf, .cap = sizeof(buf), .needs_comma = !is_first };

	canon_begin_value(&c);
	canon_open(&c, NULL);
	canon_int(&c, "count", (int64_t)count);
	canon_token(&c, "disposition", disposition);
	canon_token(&c, "kind", "others");
	canon_close(&c);
	return flush(&c, out, err);
}

/* The clock may have been set back since, and a log that was closed had leaves of its own: so both must say that it is later. */
static bool is_later(const struct store_certificate *cert, const struct store_backup *b)
{
	return b->made_s > cert->destroyed_us / US_PER_S && b->size > (cert->outcome & STORE_SEQ_MAX);
}

/* Those that were made before the destruction: later ones have nothing of it. Of a key the newest in each epoch is known, and stands for those before it too. */
static kms_status write_copies(const struct store_certificate *cert, const struct backup_copy *found, size_t count, size_t total, FILE *out, int64_t *ret_until_s,
                               struct kms_err *err)
{
	const char *disposition = cert->method == METHOD_BLOB ? COPY_EXPIRES : COPY_DEAD;
	bool lives_on = cert->method == METHOD_BLOB, is_first = true;

	(void)fputc('[', out);
	for (size_t i = 0; i < count; i++) {
		if (found[i].backup.kind == STORE_BACKUP_SERVER && is_later(cert, &found[i].backup))
			continue;
		KMS_TRY(write_copy(&found[i], disposition, is_first, out, err));
		is_first = false;
		if (lives_on && (*ret_until_s == STORE_NO_TIME || found[i].until_s > *ret_until_s))
			*ret_until_s = found[i].until_s;
	}
	if (total > count)
		KMS_TRY(write_others(total - count, disposition, is_first, out, err));
	(void)fputc(']', out);
	return KMS_OK;
}

kms_status certificate_copies(struct kms *kms, struct store *store, const struct store_certificate *c, struct certificate_copies *ret,
                              struct kms_err *err)
{
	__attribute__((cleanup(free_copies))) struct backup_copy *found = calloc(COPIES_SEEN, sizeof(*found));
	TEXT_AUTO t = { 0 };
	int64_t created_s = 0, until_s = STORE_NO_TIME, last_s = STORE_NO_TIME;
	uint64_t created_seq = 0;
	size_t count = 0, total = 0;

	if (found == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "copies");
	KMS_TRY(text_open(&t, err));
	/* What died with its root is in no backup in another form; a resident version is in none at all. */
	if (c->scope != STORE_CERTIFICATE_KEY || c->method == METHOD_BLOB) {
		KMS_TRY(find_oldest(store, c, &created_s, &created_seq, err));
		KMS_TRY(copies_find(kms, store, c->vault_id, c->scope == STORE_CERTIFICATE_KEY ? c->key_name : NULL, created_s, created_seq, found, COPIES_SEEN,
		                    &count, &total, &last_s, err));
	}
	KMS_TRY(write_copies(c, found, count, total, t.out, &until_s, err));
	if (total > count && c->method == METHOD_BLOB) /* those that were not looked at one by one may hold it */
		until_s = last_s;
	KMS_TRY(text_take(&t, &ret->text, NULL, err));
	ret->until_s = until_s;
	return KMS_OK;
}

/* Our own text, in our own form: {"disposition":"…","epoch":N,… */
static bool next_epoch(const char **at, uint32_t *ret_epoch)
{
	const char *found = strstr(*at, "\"epoch\":");

	if (found == NULL)
		return false;
	*ret_epoch = (uint32_t)strtoul(found + strlen("\"epoch\":"), NULL, 10);
	*at = found + 1;
	return true;
}

/* With the newest that is named all before it: those that are only counted may lie in any of them. */
static kms_status have_ended(struct store *store, uint32_t newest, bool *ret_ended, struct kms_err *err)
{
	struct store_epoch page[EPOCHS_PAGE];
	uint32_t below = newest + 1;
	size_t count = 0;

	*ret_ended = newest > 0;
	do {
		KMS_TRY(store_epochs(store, below, page, EPOCHS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			*ret_ended = *ret_ended && page[i].ended_s != STORE_NO_TIME;
			below = page[i].number;
		}
	} while (*ret_ended && count == EPOCHS_PAGE && below > 1);
	return KMS_OK;
}

kms_status certificate_copies_ended(struct store *store, const struct store_certificate *c, char **ret_text, struct kms_err *err)
{
	TEXT_AUTO t = { 0 };
	const char *at = c->copies, *next = NULL;
	uint32_t epoch = 0, newest = 0;
	bool ended = true;

	for (const char *scan = c->copies; next_epoch(&scan, &epoch);)
		newest = epoch > newest ? epoch : newest;
	KMS_TRY(have_ended(store, newest, &ended, err));
	if (!ended)
		return KMS_E_CONFLICT; /* an answer, not a failure: there is time yet */
	KMS_TRY(text_open(&t, err));
	while ((next = strstr(at, COPY_EXPIRES)) != NULL) {
		(void)fprintf(t.out, "%.*s" COPY_ENDED, (int)(next - at), at);
		at = next + strlen(COPY_EXPIRES);
	}
	(void)fputs(at, t.out);
	return text_take(&t, ret_text, NULL, err);
}
