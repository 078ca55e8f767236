/*
 * server/core/backup_file.c - the file of a server backup: sealed and opened chunk by chunk (see backup_file.h for its form). Guards: no byte of it is used before its
 * chunk was found good, no half file has a backup's name, and no plain copy is left behind.
 */
#include "server/core/backup_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK BACKUP_CHUNK
#define TAG_LEN 16
#define NONCE_LEN 12
#define KEY_LEN 32
#define ZEROS ((size_t)64 * 1024)

/* ---- files ---- */

static void close_at(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
#define FD_AUTO __attribute__((cleanup(close_at))) int

static kms_status fail_file(struct kms_err *err, const char *what, const char *path)
{
	int why = errno;
	return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)why, "%s %.100s", what, path);
}

static bool write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t done = write(fd, bytes, len);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		bytes += done;
		len -= (size_t)done;
	}
	return true;
}

/* As much as there is, up to len. */
static bool read_some(int fd, uint8_t *bytes, size_t len, size_t *ret_len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t done = read(fd, bytes + got, len - got);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		if (done == 0)
			break;
		got += (size_t)done;
	}
	*ret_len = got;
	return true;
}

static void overwrite(int fd, off_t size)
{
	static const uint8_t zeros[ZEROS];

	for (off_t left = size; left > 0; left -= (off_t)ZEROS)
		if (!write_all(fd, zeros, left < (off_t)ZEROS ? (size_t)left : ZEROS))
			return; /* what can be done is done: it is removed in any case */
	(void)fsync(fd);
}

void file_erase(const char *path)
{
	FD_AUTO fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	/* A second name of a file that somebody put there must not destroy what it is a name of. */
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
		overwrite(fd, st.st_size);
	(void)unlink(path);
}

/* The name itself is on stable storage. */
static bool sync_directory_of(const char *path)
{
	char copy[PATH_MAX];
	int len = snprintf(copy, sizeof(copy), "%s", path);
	FD_AUTO fd = len > 0 && (size_t)len < sizeof(copy) ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	return fd >= 0 && fsync(fd) == 0;
}

/* ---- the stream: what both directions have in common ---- */

struct stream {
	int fd; /* the backup; borrowed */
	const char *path;
	EVP_CIPHER_CTX *cipher;
	uint8_t *chunk; /* CHUNK + TAG_LEN bytes */
	size_t used;
	uint8_t aad[SHA256_DIGEST_LENGTH];
	uint64_t number, done, total; /* chunks; bytes of the plaintext */
	backup_progress_fn progress;
	void *arg;
};

static void stream_clear(struct stream *s)
{
	EVP_CIPHER_CTX_free(s->cipher);
	if (s->chunk != NULL)
		OPENSSL_cleanse(s->chunk, CHUNK + TAG_LEN);
	free(s->chunk);
}
#define STREAM_AUTO __attribute__((cleanup(stream_clear))) struct stream

static kms_status stream_open(struct stream *s, const char *manifest, size_t manifest_len, const struct backup_manifest *m, const struct secret *key, bool seals,
                              struct kms_err *err)
{
	s->total = m->config_bytes + m->checkpoint_bytes + m->database_bytes;
	SHA256((const uint8_t *)manifest, manifest_len, s->aad);
	s->chunk = malloc(CHUNK + TAG_LEN);
	s->cipher = EVP_CIPHER_CTX_new();
	if (s->chunk == NULL || s->cipher == NULL || EVP_CipherInit_ex(s->cipher, EVP_aes_256_gcm(), NULL, secret_data(key), NULL, seals) != 1)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, 0, "cipher of a backup");
	return KMS_OK;
}

/* Its own number, and whether it is the last: no chunk can be moved, and none left out at the end. */
static void nonce_of(uint64_t number, bool is_last, uint8_t ret[NONCE_LEN])
{
	memset(ret, 0, NONCE_LEN);
	for (int i = 0; i < 8; i++)
		ret[i] = (uint8_t)(number >> (56 - 8 * i));
	ret[NONCE_LEN - 1] = is_last;
}

static bool begin_chunk(struct stream *s, bool is_last)
{
	uint8_t nonce[NONCE_LEN];
	int len = 0;

	nonce_of(s->number++, is_last, nonce);
	return EVP_CipherInit_ex(s->cipher, NULL, NULL, NULL, nonce, -1) == 1 && EVP_CipherUpdate(s->cipher, NULL, &len, s->aad, sizeof(s->aad)) == 1;
}

static kms_status tell(struct stream *s, struct kms_err *err)
{
	if (s->progress == NULL || s->progress(s->arg, s->done, s->total))
		return KMS_OK;
	return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "stopped");
}

/* ---- write ---- */

static void manifest_key(const struct backup_manifest *m, struct hsm_key *ret_key)
{
	*ret_key = (struct hsm_key){ .purpose = HSM_FOR_BACKUP, .kind = HSM_KIND_AES, .bits = 256 };
	memcpy(ret_key->id, m->epoch_key, HSM_ID_LEN);
}

/* A key of its own, made by the device and sealed by it under the epoch's. */
static kms_status make_key(struct hsm *hsm, struct backup_manifest *m, struct secret **ret_key, struct kms_err *err)
{
	SECRET_AUTO *key = secret_new(KEY_LEN);
	char text[BACKUP_MANIFEST_MAX];
	uint8_t nonce[HSM_IV_LEN] = { 0 };
	struct hsm_key epoch;
	size_t sealed_len = 0, len = 0;

	if (key == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "key of a backup");
	KMS_TRY(hsm_random(hsm, key, err));
	(void)backup_manifest_format(m, text, &sealed_len);
	manifest_key(m, &epoch);
	KMS_TRY(hsm_encrypt(hsm, &epoch, HSM_CIPHER_GCM, nonce, (const uint8_t *)text, sealed_len, secret_data(key), KEY_LEN, m->sealed_key + HSM_GCM_NONCE_LEN, KEY_LEN,
	                    &len, m->sealed_key + HSM_GCM_NONCE_LEN + KEY_LEN, err));
	if (len != KEY_LEN)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a key of %d bytes sealed as %zu", KEY_LEN, len);
	memcpy(m->sealed_key, nonce, HSM_GCM_NONCE_LEN);
	*ret_key = KMS_TAKE(key);
	return KMS_OK;
}

static kms_status seal_chunk(struct stream *s, struct kms_err *err)
{
	int len = 0, rest = 0;

	if (!begin_chunk(s, s->done == s->total) || EVP_CipherUpdate(s->cipher, s->chunk, &len, s->chunk, (int)s->used) != 1 ||
	    EVP_CipherFinal_ex(s->cipher, s->chunk + len, &rest) != 1 ||
	    EVP_CIPHER_CTX_ctrl(s->cipher, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, s->chunk + s->used) != 1)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "sealing a backup");
	if (!write_all(s->fd, s->chunk, s->used + TAG_LEN))
		return fail_file(err, "cannot write", s->path);
	s->used = 0;
	return tell(s, err);
}

static kms_status put(struct stream *s, const uint8_t *bytes, size_t len, struct kms_err *err)
{
	while (len > 0) {
		size_t fits = CHUNK - s->used < len ? CHUNK - s->used : len;

		memcpy(s->chunk + s->used, bytes, fits);
		s->used += fits;
		s->done += fits;
		bytes += fits;
		len -= fits;
		if (s->used == CHUNK || s->done == s->total)
			KMS_TRY(seal_chunk(s, err));
	}
	return KMS_OK;
}

/* The database is read straight into the chunk. */
static kms_status put_database(struct stream *s, int fd, const char *path, struct kms_err *err)
{
	while (s->done < s->total) {
		uint64_t left = s->total - s->done;
		size_t room = CHUNK - s->used, got = 0, wanted = left < room ? (size_t)left : room;

		if (!read_some(fd, s->chunk + s->used, wanted, &got))
			return fail_file(err, "cannot read", path);
		if (got != wanted)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the copy of the database has become shorter");
		s->used += got;
		s->done += got;
		KMS_TRY(seal_chunk(s, err));
	}
	return KMS_OK;
}

static kms_status write_stream(struct hsm *hsm, struct stream *s, struct backup_manifest *m, const char *config, const char *checkpoint, int database,
                               const char *database_path, struct kms_err *err)
{
	SECRET_AUTO *key = NULL;
	char manifest[BACKUP_MANIFEST_MAX];
	size_t len = 0, sealed_len = 0;

	KMS_TRY(make_key(hsm, m, &key, err));
	len = backup_manifest_format(m, manifest, &sealed_len);
	KMS_TRY(stream_open(s, manifest, len, m, key, true, err));
	if (!write_all(s->fd, (const uint8_t *)manifest, len))
		return fail_file(err, "cannot write", s->path);
	KMS_TRY(put(s, (const uint8_t *)config, m->config_bytes, err));
	KMS_TRY(put(s, (const uint8_t *)checkpoint, m->checkpoint_bytes, err));
	KMS_TRY(put_database(s, database, database_path, err));
	return fsync(s->fd) == 0 ? KMS_OK : fail_file(err, "cannot sync", s->path);
}

static kms_status measure(int fd, const char *path, struct backup_manifest *m, const char *config, const char *checkpoint, struct kms_err *err)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return fail_file(err, "cannot open", path);
	m->config_bytes = strlen(config);
	m->checkpoint_bytes = strlen(checkpoint);
	m->database_bytes = (uint64_t)st.st_size;
	if (st.st_size <= 0 || m->config_bytes > BACKUP_CONFIG_MAX || m->checkpoint_bytes > STORE_NOTE_MAX)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "a part of the backup is empty or too long");
	return KMS_OK;
}

kms_status backup_file_write(struct hsm *hsm, const char *path, struct backup_manifest *m, const char *config, const char *checkpoint, const char *database,
                             backup_progress_fn progress, void *arg, struct kms_err *err)
{
	FD_AUTO from = open(database, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	FD_AUTO to = -1;
	STREAM_AUTO s = { .fd = -1, .path = path, .progress = progress, .arg = arg };
	char part[PATH_MAX];
	int len = snprintf(part, sizeof(part), "%s" BACKUP_PART_SUFFIX, path);
	kms_status status = KMS_OK;

	KMS_TRY(measure(from, database, m, config, checkpoint, err));
	if (len < 0 || (size_t)len >= sizeof(part))
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "the backup's path is too long");
	if (access(path, F_OK) == 0)
		return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "%.100s exists", path);
	to = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (to < 0)
		return fail_file(err, "cannot make", part);
	s.fd = to;
	status = write_stream(hsm, &s, m, config, checkpoint, from, database, err);
	if (status == KMS_OK && rename(part, path) != 0)
		status = fail_file(err, "cannot make", path);
	if (status != KMS_OK)
		(void)unlink(part);
	if (status == KMS_OK && !sync_directory_of(path))
		status = fail_file(err, "cannot sync the directory of", path);
	return status;
}

/* ---- read ---- */

struct head {
	char text[BACKUP_MANIFEST_MAX];
	size_t len, sealed_len;
	struct backup_manifest m;
};

/* A pipe in a backup's place would never answer. */
static int open_regular(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		return fd;
	(void)close(fd);
	errno = EINVAL;
	return -1;
}

static kms_status read_head(int fd, const char *path, struct head *ret, struct kms_err *err)
{
	size_t got = 0;

	if (fd < 0)
		return fail_file(err, "cannot open", path);
	if (!read_some(fd, (uint8_t *)ret->text, sizeof(ret->text), &got))
		return fail_file(err, "cannot read", path);
	KMS_TRY(backup_manifest_parse(ret->text, got, &ret->m, &ret->len, &ret->sealed_len, err));
	return lseek(fd, (off_t)ret->len, SEEK_SET) >= 0 ? KMS_OK : fail_file(err, "cannot read", path);
}

kms_status backup_file_manifest(const char *path, struct backup_manifest *ret, struct kms_err *err)
{
	FD_AUTO fd = open_regular(path);
	struct head h;

	KMS_TRY(read_head(fd, path, &h, err));
	*ret = h.m;
	return KMS_OK;
}

static kms_status broken(struct kms_err *err)
{
	return kms_refuse(err, KMS_E_BACKUP, "The backup's seal is broken: it was damaged or changed, or is not complete.");
}

static kms_status open_key(struct hsm *hsm, const struct head *h, struct secret **ret_key, struct kms_err *err)
{
	SECRET_AUTO *key = secret_new(KEY_LEN);
	struct hsm_key epoch;
	size_t len = 0;
	struct kms_err own = { 0 };
	kms_status status = KMS_OK;

	if (key == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "key of a backup");
	manifest_key(&h->m, &epoch);
	status = hsm_decrypt(hsm, &epoch, HSM_CIPHER_GCM, h->m.sealed_key, (const uint8_t *)h->text, h->sealed_len, h->m.sealed_key + HSM_GCM_NONCE_LEN, KEY_LEN,
	                     h->m.sealed_key + HSM_GCM_NONCE_LEN + KEY_LEN, secret_bytes(key), KEY_LEN, &len, &own);
	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_BACKUP,
		                  "The key of backup epoch %" PRIu32 " is not in this HSM: the epoch has ended, and with it every backup that was made in it, or the backup is "
		                  "another installation's.", h->m.epoch);
	if (status == KMS_E_CRYPTO || (status == KMS_OK && len != KEY_LEN))
		return broken(err);
	if (status != KMS_OK) {
		*err = own;
		return status;
	}
	*ret_key = KMS_TAKE(key);
	return KMS_OK;
}

/* Where the plaintext goes, in this order. */
struct parts {
	char *config, *checkpoint; /* owned */
	int database;
	const char *database_path;
	const struct backup_manifest *m;
};

static void parts_clear(struct parts *p)
{
	free(p->config);
	free(p->checkpoint);
}

static kms_status hand_out(struct parts *p, uint64_t at, const uint8_t *bytes, size_t len, struct kms_err *err)
{
	const struct {
		char *text;
		uint64_t len;
	} texts[] = { { p->config, p->m->config_bytes }, { p->checkpoint, p->m->checkpoint_bytes } };

	for (size_t i = 0; i < KMS_ARRAY_LEN(texts) && len > 0; i++) {
		uint64_t left = at < texts[i].len ? texts[i].len - at : 0;
		size_t fits = left < len ? (size_t)left : len;

		if (fits > 0)
			memcpy(texts[i].text + at, bytes, fits);
		bytes += fits;
		len -= fits;
		at = at + fits >= texts[i].len ? at + fits - texts[i].len : 0;
	}
	return len == 0 || p->database_path == NULL || write_all(p->database, bytes, len) ? KMS_OK : fail_file(err, "cannot write", p->database_path);
}

static kms_status open_chunk(struct stream *s, struct parts *p, struct kms_err *err)
{
	uint64_t left = s->total - s->done;
	size_t len = left < CHUNK ? (size_t)left : CHUNK, got = 0;
	int out = 0, rest = 0;

	if (!read_some(s->fd, s->chunk, len + TAG_LEN, &got))
		return fail_file(err, "cannot read", s->path);
	if (got != len + TAG_LEN)
		return broken(err);
	if (!begin_chunk(s, len == left) || EVP_CIPHER_CTX_ctrl(s->cipher, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, s->chunk + len) != 1)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "opening a backup");
	if (EVP_CipherUpdate(s->cipher, s->chunk, &out, s->chunk, (int)len) != 1 || EVP_CipherFinal_ex(s->cipher, s->chunk + out, &rest) != 1)
		return broken(err);
	KMS_TRY(hand_out(p, s->done, s->chunk, len, err));
	s->done += len;
	return tell(s, err);
}

static kms_status open_stream(struct stream *s, struct parts *p, struct kms_err *err)
{
	uint8_t more = 0;
	size_t got = 0;

	p->config = calloc(1, p->m->config_bytes + 1);
	p->checkpoint = calloc(1, p->m->checkpoint_bytes + 1);
	if (p->config == NULL || p->checkpoint == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "texts of a backup");
	while (s->done < (p->database_path != NULL ? s->total : p->m->config_bytes + p->m->checkpoint_bytes))
		KMS_TRY(open_chunk(s, p, err));
	if (p->database_path == NULL)
		return KMS_OK;
	if (!read_some(s->fd, &more, 1, &got))
		return fail_file(err, "cannot read", s->path);
	if (got != 0)
		return broken(err);
	return fsync(p->database) == 0 ? KMS_OK : fail_file(err, "cannot sync", p->database_path);
}

static kms_status unseal(struct hsm *hsm, int from, const char *path, struct head *h, struct parts *p, backup_progress_fn progress, void *arg, struct kms_err *err)
{
	STREAM_AUTO s = { .fd = from, .path = path, .progress = progress, .arg = arg };
	SECRET_AUTO *key = NULL;

	KMS_TRY(open_key(hsm, h, &key, err));
	KMS_TRY(stream_open(&s, h->text, h->len, &h->m, key, false, err));
	return open_stream(&s, p, err);
}

kms_status backup_file_open_watched(struct hsm *hsm, const char *path, const char *database, char **ret_config, char **ret_checkpoint, struct backup_manifest *ret,
                                    backup_progress_fn progress, void *arg, struct kms_err *err)
{
	FD_AUTO from = open_regular(path);
	FD_AUTO to = -1;
	__attribute__((cleanup(parts_clear))) struct parts p = { .database_path = database };
	struct head h;
	kms_status status = KMS_OK;

	KMS_TRY(read_head(from, path, &h, err));
	if (database != NULL)
		to = open(database, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (database != NULL && to < 0)
		return fail_file(err, "cannot make", database);
	p.database = to;
	p.m = &h.m;
	status = unseal(hsm, from, path, &h, &p, progress, arg, err);
	if (status == KMS_OK && database != NULL && !sync_directory_of(database))
		status = fail_file(err, "cannot sync the directory of", database);
	if (status != KMS_OK && database != NULL)
		file_erase(database);
	if (status != KMS_OK)
		return status;
	if (ret_config != NULL)
		*ret_config = KMS_TAKE(p.config);
	if (ret_checkpoint != NULL)
		*ret_checkpoint = KMS_TAKE(p.checkpoint);
	*ret = h.m;
	return KMS_OK;
}

kms_status backup_file_open(struct hsm *hsm, const char *path, const char *database, char **ret_config, char **ret_checkpoint, struct backup_manifest *ret,
                            struct kms_err *err)
{
	return backup_file_open_watched(hsm, path, database, ret_config, ret_checkpoint, ret, NULL, NULL, err);
}
