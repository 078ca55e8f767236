/* server/witness/state.c - see state.h. */
#include "server/witness/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/witness/encode.h"

#define MAGIC "holdfast-witness-state/v1\n"
#define SUM_PREFIX "sha256 "
#define SUM_LINE_LEN (sizeof(SUM_PREFIX) - 1 + 2 * SHA256_DIGEST_LENGTH + 1)
#define HEAD_LEN_MAX 128
#define FILE_LEN_MAX (HEAD_LEN_MAX + NOTE_LEN_MAX + SUM_LINE_LEN)
#define FILE_NAME_MAX 128
#define EVIDENCE_MAX 8
#define EVIDENCE_UNPROVEN_MAX 4 /* of these, for what is no fork by itself */
#define SUFFIX ".state"

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
static void free_text(char **text) { free(*text); }
static void close_listing(DIR **d)
{
	if (*d != NULL)
		(void)closedir(*d);
}
#define FD_AUTO __attribute__((cleanup(close_fd))) int
#define TEXT_AUTO __attribute__((cleanup(free_text))) char

void state_clear(struct state *s)
{
	free(s->note);
	*s = (struct state){ 0 };
}

static bool fail(char why[WHY_LEN], const char *what, const char *name)
{
	(void)snprintf(why, WHY_LEN, "%s %s: %s", what, name, strerror(errno));
	return false;
}

int state_open_dir(const char *path, bool for_show, char ret_why[WHY_LEN])
{
	struct stat st = { 0 };
	int dir = -1;

	if (!for_show && mkdir(path, 0700) != 0 && errno != EEXIST) {
		(void)fail(ret_why, "cannot make", path);
		return -1;
	}
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) != 0) {
		(void)fail(ret_why, "cannot open", path);
	} else if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		(void)snprintf(ret_why, WHY_LEN, "%s may be written by others: chmod go-w", path);
	} else if (for_show) {
		return dir;
	} else if (flock(dir, LOCK_EX | LOCK_NB) != 0) {
		(void)snprintf(ret_why, WHY_LEN, "%s is used by another witness: each needs a directory of its own", path);
	} else {
		return dir;
	}
	close_fd(&dir);
	return -1;
}

static void file_name(const char *origin, char ret_name[FILE_NAME_MAX])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const uint8_t *)origin, strlen(origin), digest);
	hex_write(digest, sizeof(digest), ret_name);
	(void)snprintf(ret_name + 2 * sizeof(digest), FILE_NAME_MAX - 2 * sizeof(digest), SUFFIX);
}

static void sum_line(const char *bytes, size_t len, char ret_line[SUM_LINE_LEN + 1])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char hex[2 * SHA256_DIGEST_LENGTH + 1];

	SHA256((const uint8_t *)bytes, len, digest);
	hex_write(digest, sizeof(digest), hex);
	(void)snprintf(ret_line, SUM_LINE_LEN + 1, SUM_PREFIX "%s\n", hex);
}

/* ---- reading ---- */

/* magic, "time T", the note, and the hash of all that. */
static bool state_parse(const char *bytes, size_t len, struct state *ret, char ret_origin[NAME_LEN_MAX + 1])
{
	size_t magic = sizeof(MAGIC) - 1, body = len - SUM_LINE_LEN;
	char sum[SUM_LINE_LEN + 1];
	const char *time = bytes + magic, *eol = NULL;
	struct note note;
	struct state s = { 0 };

	if (len < magic + SUM_LINE_LEN || memcmp(bytes, MAGIC, magic) != 0)
		return false;
	sum_line(bytes, body, sum);
	eol = memchr(time, '\n', body - magic);
	if (memcmp(sum, bytes + body, SUM_LINE_LEN) != 0 || eol == NULL || eol - time <= 5 || memcmp(time, "time ", 5) != 0 ||
	    !decimal_read(time + 5, (size_t)(eol - time) - 5, &s.time_s) || !note_parse(eol + 1, (size_t)(bytes + body - eol - 1), &note))
		return false;
	s.size = note.size;
	memcpy(s.root, note.root, HASH_LEN);
	s.note_len = (size_t)(bytes + body - eol - 1);
	s.note = strndup(eol + 1, s.note_len);
	if (s.note == NULL)
		return false;
	memcpy(ret_origin, note.origin, sizeof(note.origin));
	*ret = s;
	return true;
}

static enum state_found load_file(int dir, const char *name, struct state *ret, char ret_origin[NAME_LEN_MAX + 1], char ret_why[WHY_LEN])
{
	FD_AUTO fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	TEXT_AUTO *bytes = malloc(FILE_LEN_MAX + 1);
	ssize_t got = 0;
	size_t len = 0;

	if (fd < 0 && errno == ENOENT)
		return STATE_NONE;
	if (fd < 0 || bytes == NULL) {
		(void)fail(ret_why, "cannot read", name);
		return STATE_DAMAGED;
	}
	while (len <= FILE_LEN_MAX && (got = read(fd, bytes + len, FILE_LEN_MAX + 1 - len)) > 0)
		len += (size_t)got;
	if (got < 0) {
		(void)fail(ret_why, "cannot read", name);
		return STATE_DAMAGED;
	}
	if (len > FILE_LEN_MAX || !state_parse(bytes, len, ret, ret_origin)) {
		(void)snprintf(ret_why, WHY_LEN, "%s is damaged: put back a good copy, or have the log's people agree to a new witness key", name);
		return STATE_DAMAGED;
	}
	return STATE_READ;
}

enum state_found state_load(int dir, const char *origin, struct state *ret, char ret_why[WHY_LEN])
{
	char name[FILE_NAME_MAX], found_origin[NAME_LEN_MAX + 1] = "";
	enum state_found found = STATE_NONE;

	file_name(origin, name);
	found = load_file(dir, name, ret, found_origin, ret_why);
	if (found == STATE_READ && strcmp(found_origin, origin) != 0) {
		state_clear(ret);
		(void)snprintf(ret_why, WHY_LEN, "%s is another log's", name);
		return STATE_DAMAGED;
	}
	return found;
}

static bool is_state_name(const char *name)
{
	return strlen(name) == STATE_NAME_LEN + sizeof(SUFFIX) - 1 && strcmp(name + STATE_NAME_LEN, SUFFIX) == 0;
}

bool state_each(int dir, void (*show)(const char *file, enum state_found found, const struct state *s, const char *why))
{
	int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	__attribute__((cleanup(close_listing))) DIR *listing = own < 0 ? NULL : fdopendir(own);
	char origin[NAME_LEN_MAX + 1], why[WHY_LEN];

	if (listing == NULL) {
		close_fd(&own);
		return false;
	}
	for (struct dirent *e; (e = readdir(listing)) != NULL;) {
		struct state s = { 0 };
		why[0] = '\0';
		if (is_state_name(e->d_name))
			show(e->d_name, load_file(dir, e->d_name, &s, origin, why), &s, why);
		state_clear(&s);
	}
	return true;
}

/* ---- writing ---- */

static bool write_all(int fd, const char *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, bytes + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool write_file(int dir, const char *name, const char *bytes, size_t len)
{
	FD_AUTO fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd >= 0 && write_all(fd, bytes, len) && fsync(fd) == 0;
}

bool state_save(int dir, const char *origin, const struct state *s, char ret_why[WHY_LEN])
{
	char name[FILE_NAME_MAX], aside[FILE_NAME_MAX], sum[SUM_LINE_LEN + 1];
	TEXT_AUTO *body = NULL;
	TEXT_AUTO *whole = NULL;
	int len = asprintf(&body, MAGIC "time %llu\n%s", (unsigned long long)s->time_s, s->note);

	if (len >= 0)
		sum_line(body, (size_t)len, sum);
	else
		body = NULL;
	if (len >= 0)
		len = asprintf(&whole, "%s%s", body, sum);
	if (len < 0) {
		whole = NULL;
		return fail(ret_why, "cannot save", origin);
	}
	file_name(origin, name);
	(void)snprintf(aside, sizeof(aside), "%.*s.new", STATE_NAME_LEN, name);
	if (!write_file(dir, aside, whole, (size_t)len) || renameat(dir, aside, dir, name) != 0 || fsync(dir) != 0)
		return fail(ret_why, "cannot save", origin);
	return true;
}

void state_keep_evidence(int dir, const char *origin, const struct state *s, const struct note *submitted, bool is_fork)
{
	char state_name[FILE_NAME_MAX], name[FILE_NAME_MAX];

	file_name(origin, state_name);
	for (unsigned i = 1; i <= (is_fork ? EVIDENCE_MAX : EVIDENCE_UNPROVEN_MAX); i++) {
		(void)snprintf(name, sizeof(name), "%.*s.refused-%u", STATE_NAME_LEN, state_name, i);
		FD_AUTO fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd >= 0 && write_all(fd, s->note, s->note_len) && write_all(fd, "\n", 1) && write_all(fd, submitted->text, submitted->text_len) &&
		    write_all(fd, "\n", 1) && write_all(fd, submitted->signatures, submitted->signatures_len))
			(void)fsync(fd);
		return;
	}
}
