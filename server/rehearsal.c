/* server/rehearsal.c - see rehearsal.h. Guards: the real token's files are only ever read; what is removed is what a rehearsal has made. */
#include "server/rehearsal.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/core/backup_file.h"

#define MARK_NAME "holdfast-rehearsal" /* only a directory that has it is emptied */
#define TOKENS_NAME "tokens"
#define DATABASE_NAME "holdfast.db"
#define CONF_NAME "softhsm2.conf"
#define COPY_TRIES 20
#define CHUNK 65536
#define DIR_MODE 0700
#define FILE_MODE 0600

static kms_status fail_at(const char *path, struct kms_err *err)
{
	return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%.100s: %.40s", path, strerror(errno));
}

static kms_status join(const char *dir, const char *name, char ret[PATH_MAX], struct kms_err *err)
{
	int len = snprintf(ret, PATH_MAX, "%s/%s", dir, name);

	return len > 0 && len < PATH_MAX ? KMS_OK : kms_refuse(err, KMS_E_INVALID, "%.200s: the path is too long.", dir);
}

static void fts_end(FTS **f)
{
	if (*f != NULL)
		(void)fts_close(*f);
}
#define FTS_AUTO __attribute__((cleanup(fts_end))) FTS

/* In the order of the names, so that two walks over the same files meet them alike. */
static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

static FTS *walk(const char *path)
{
	char copy[PATH_MAX];
	char *paths[] = { copy, NULL };

	(void)snprintf(copy, sizeof(copy), "%s", path);
	return fts_open(paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR | FTS_XDEV, by_name);
}

/* What is in the directory, not itself. */
static void empty(const char *dir)
{
	FTS_AUTO *f = walk(dir);
	FTSENT *e;

	while (f != NULL && (e = fts_read(f)) != NULL) {
		if (e->fts_info == FTS_DP && e->fts_level > 0)
			(void)rmdir(e->fts_accpath); /* what is still in it is not ours */
		else if (e->fts_info == FTS_F)
			file_erase(e->fts_accpath);
	}
}

void rehearsal_end(struct rehearsal *r)
{
	if (r->dir[0] == '\0')
		return;
	empty(r->dir);
	if (r->was_made)
		(void)rmdir(r->dir);
	r->dir[0] = '\0';
}

static bool is_empty(const char *dir)
{
	FTS_AUTO *f = walk(dir);
	FTSENT *first = f != NULL ? fts_read(f) : NULL;

	return first != NULL && first->fts_info == FTS_D && fts_children(f, FTS_NAMEONLY) == NULL && errno == 0;
}

/* An empty directory of ours, with its mark. */
static kms_status take_directory(const char *dir, struct rehearsal *r, struct kms_err *err)
{
	char path[PATH_MAX], mark[PATH_MAX];
	struct stat st;
	int fd;

	r->was_made = mkdir(dir, DIR_MODE) == 0;
	if (!r->was_made && errno != EEXIST)
		return fail_at(dir, err);
	if (realpath(dir, path) == NULL || stat(path, &st) != 0)
		return fail_at(dir, err);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return kms_refuse(err, KMS_E_INVALID, "%.200s: a rehearsal needs a directory of this user that is closed to all others (chmod 700).", dir);
	KMS_TRY(join(path, MARK_NAME, mark, err));
	if (access(mark, F_OK) == 0)
		empty(path); /* one that was killed */
	if (!is_empty(path))
		return kms_refuse(err, KMS_E_INVALID, "%.200s is not empty: a rehearsal removes everything in its directory afterwards; name an empty or a new one.", dir);
	fd = open(mark, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
	if (fd < 0)
		return fail_at(mark, err);
	(void)close(fd);
	memcpy(r->dir, path, sizeof(path));
	return KMS_OK;
}

/* Which files there are and how they stand: another one when something was written in between. */
static kms_status fingerprint(const char *dir, uint8_t ret[EVP_MAX_MD_SIZE], struct kms_err *err)
{
	FTS_AUTO *f = walk(dir);
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	FTSENT *e;
	bool is_good = f != NULL && hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1;

	memset(ret, 0, EVP_MAX_MD_SIZE);
	while (is_good && (e = fts_read(f)) != NULL) {
		const struct stat *st = e->fts_statp;
		uint64_t facts[] = { st->st_ino, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec,
			             (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec };
		is_good = e->fts_info != FTS_ERR && e->fts_info != FTS_DNR &&
		          (e->fts_info == FTS_DP || (EVP_DigestUpdate(hash, e->fts_path, e->fts_pathlen + 1U) == 1 && EVP_DigestUpdate(hash, facts, sizeof(facts)) == 1));
	}
	is_good = is_good && EVP_DigestFinal_ex(hash, ret, NULL) == 1;
	EVP_MD_CTX_free(hash);
	return is_good ? KMS_OK : kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "%.100s cannot be read", dir);
}

static void close_at(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static kms_status copy_file(const char *from, const char *to, struct kms_err *err)
{
	__attribute__((cleanup(close_at))) int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	__attribute__((cleanup(close_at))) int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
	uint8_t chunk[CHUNK];
	ssize_t len = 0;

	if (in < 0)
		return fail_at(from, err);
	if (out < 0)
		return fail_at(to, err);
	while ((len = read(in, chunk, sizeof(chunk))) > 0) {
		if (write(out, chunk, (size_t)len) != len)
			return fail_at(to, err);
	}
	return len == 0 ? KMS_OK : fail_at(from, err);
}

static kms_status copy_entry(const FTSENT *e, size_t from_len, const char *to, struct kms_err *err)
{
	char path[PATH_MAX];

	KMS_TRY(join(to, e->fts_path + from_len, path, err));
	switch (e->fts_info) {
	case FTS_D: return mkdir(path, DIR_MODE) == 0 ? KMS_OK : fail_at(path, err);
	case FTS_F: return copy_file(e->fts_path, path, err);
	case FTS_DP: return KMS_OK;
	default: return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "%.100s is not a file that can be copied", e->fts_path);
	}
}

/* A file that goes away meanwhile is a change like any other: *ret_same tells, and what was copied is not used. */
static kms_status copy_once(const char *from, const char *to, bool *ret_same, struct kms_err *err)
{
	uint8_t before[EVP_MAX_MD_SIZE], after[EVP_MAX_MD_SIZE];
	FTS_AUTO *f = walk(from);
	struct kms_err why = { 0 };
	kms_status status = KMS_OK;
	FTSENT *e;

	*ret_same = false;
	KMS_TRY(fingerprint(from, before, err));
	while (status == KMS_OK && f != NULL && (e = fts_read(f)) != NULL)
		status = copy_entry(e, strlen(from), to, &why);
	KMS_TRY(fingerprint(from, after, err));
	*ret_same = f != NULL && memcmp(before, after, sizeof(before)) == 0;
	if (status != KMS_OK && *ret_same)
		*err = why;
	return *ret_same ? status : KMS_OK;
}

/* As it was at one moment, while the server goes on using it. */
static kms_status copy_token(const char *from, const char *to, struct kms_err *err)
{
	bool is_same = false;

	for (int tries = 0; tries < COPY_TRIES; tries++) {
		KMS_TRY(copy_once(from, to, &is_same, err));
		if (is_same)
			return KMS_OK;
		empty(to);
		if (rmdir(to) != 0 && errno != ENOENT)
			return fail_at(to, err);
	}
	return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "%.100s changes all the time: try again when less keys are made", from);
}

static void file_end(FILE **f)
{
	if (*f != NULL)
		(void)fclose(*f);
}

/* SoftHSM reads where its tokens are from the file that this variable names; the helper that looks afresh inherits it. */
static kms_status write_conf(const char *dir, const char *tokens, struct kms_err *err)
{
	__attribute__((cleanup(file_end))) FILE *f = NULL;
	char path[PATH_MAX];

	KMS_TRY(join(dir, CONF_NAME, path, err));
	f = fopen(path, "wxe");
	if (f == NULL || fprintf(f, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", tokens) < 0 || fflush(f) != 0)
		return fail_at(path, err);
	return setenv("SOFTHSM2_CONF", path, 1) == 0 ? KMS_OK : fail_at(path, err);
}

/* The configuration's texts are its own. */
static kms_status replace(char **at, const char *text, struct kms_err *err)
{
	char *copy = text != NULL ? strdup(text) : NULL;

	if (text != NULL && copy == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "configuration");
	free(*at);
	*at = copy;
	return KMS_OK;
}

static kms_status use_token(const struct rehearsal_token *token, struct config *c, struct kms_err *err)
{
	char pin[PATH_MAX];

	KMS_TRY(replace(&c->hsm.token, token->uri, err));
	KMS_TRY(replace(&c->hsm.token_dir, NULL, err));
	if (token->pin == NULL)
		return KMS_OK;
	return realpath(token->pin, pin) != NULL ? replace(&c->hsm.pin, pin, err) : fail_at(token->pin, err);
}

static kms_status use_copy(const struct rehearsal *r, struct config *c, struct kms_err *err)
{
	char from[PATH_MAX], to[PATH_MAX];
	size_t len;

	if (c->hsm.token_dir == NULL)
		return kms_refuse(err, KMS_E_INVALID, "The token is not made of files (hsm.token_dir): name a scratch token that holds a copy of its keys, --token URI.");
	if (realpath(c->hsm.token_dir, from) == NULL)
		return fail_at(c->hsm.token_dir, err);
	len = strlen(from);
	if (strncmp(r->dir, from, len) == 0 && (r->dir[len] == '/' || r->dir[len] == '\0'))
		return kms_refuse(err, KMS_E_INVALID, "%.200s lies in the token's own directory: name another one.", r->dir);
	KMS_TRY(join(r->dir, TOKENS_NAME, to, err));
	KMS_TRY(copy_token(from, to, err));
	KMS_TRY(write_conf(r->dir, to, err));
	return replace(&c->hsm.token_dir, to, err);
}

kms_status rehearsal_begin(const char *dir, const struct rehearsal_token *token, struct config *c, struct rehearsal *ret, struct kms_err *err)
{
	char database[PATH_MAX];

	*ret = (struct rehearsal){ .was_made = false };
	KMS_TRY(take_directory(dir, ret, err));
	KMS_TRY(join(ret->dir, DATABASE_NAME, database, err));
	KMS_TRY(token->uri != NULL ? use_token(token, c, err) : use_copy(ret, c, err));
	return replace(&c->storage.database, database, err);
}
