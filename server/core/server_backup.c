/*
 * server/core/server_backup.c - a backup of the whole server is made: an intent that a checkpoint covers, a copy of the database as it is then, sealed, entered.
 * Also what is under way, which several threads ask for.
 */
#include "server/core/server_backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "server/base/version.h"
#include "server/core/checkpoint.h"
#include "server/core/server_backup_parts.h"

#define SEAL_MS 30000
#define ROOM_LEFT ((uint64_t)64 << 20) /* bytes, for the log that goes on meanwhile */
#define PAGE 64
#define OBJECTS_PAGE 256
#define STAMP "YYYYMMDDThhmmssZ"
#define PREFIX "holdfast-"

/* ---- names ---- */

void backup_name(const uint8_t id[STORE_ID_LEN], int64_t made_s, const char *suffix, char ret_name[STORE_PLACE_MAX + 1])
{
	time_t at = (time_t)made_s;
	struct tm utc = { 0 };
	char stamp[sizeof(STAMP)] = "", text[GUID_TEXT_LEN + 1];

	(void)gmtime_r(&at, &utc);
	(void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc);
	guid_format(id, text);
	(void)snprintf(ret_name, STORE_PLACE_MAX + 1, PREFIX "%s-%s%s", stamp, text, suffix);
}

/* Digits where the pattern has letters; 'T' and 'Z' are themselves. */
static bool is_stamp(const char *text)
{
	for (size_t i = 0; i < sizeof(STAMP) - 1; i++) {
		bool is_itself = STAMP[i] == 'T' || STAMP[i] == 'Z';
		if (is_itself ? text[i] != STAMP[i] : text[i] < '0' || text[i] > '9')
			return false;
	}
	return true;
}

bool backup_name_is(const char *name, const char *suffix)
{
	const size_t prefix = sizeof(PREFIX) - 1, stamp = sizeof(STAMP) - 1, len = prefix + stamp + 1 + GUID_TEXT_LEN;
	uint8_t id[GUID_LEN];

	if (strlen(name) != len + strlen(suffix) || strncmp(name, PREFIX, prefix) != 0 || !is_stamp(name + prefix) || name[prefix + stamp] != '-')
		return false;
	return guid_parse(name + prefix + stamp + 1, GUID_TEXT_LEN, id) && strcmp(name + len, suffix) == 0;
}

kms_status backup_path(const struct kms *kms, const char *name, char ret_path[PATH_MAX], struct kms_err *err)
{
	int len = 0;

	if (kms->backups == NULL || kms->backups->directory == NULL)
		return kms_refuse(err, KMS_E_INVALID, "No backups are configured: the configuration has no section backup with a directory.");
	if (strchr(name, '/') != NULL)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the name of a backup's file is damaged");
	len = snprintf(ret_path, PATH_MAX, "%s/%s", kms->backups->directory, name);
	return len > 0 && len < PATH_MAX ? KMS_OK : kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the path of a backup is too long");
}

void backup_erase_database(const char *path)
{
	static const char *const BESIDE[] = { "-wal", "-shm", "-journal" };
	char other[PATH_MAX + 16];

	for (size_t i = 0; i < KMS_ARRAY_LEN(BESIDE); i++) {
		(void)snprintf(other, sizeof(other), "%s%s", path, BESIDE[i]);
		file_erase(other);
	}
	file_erase(path);
}

/* ---- what is under way ---- */

struct backup_runner {
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t settled; /* the task has ended, or waits */
	struct backup_progress shown;
	unsigned holds; /* destructions under way */
	bool stops;
};

kms_status backup_runner_new(struct backup_runner **ret, struct kms_err *err)
{
	struct backup_runner *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "backups");
	(void)pthread_mutex_init(&r->lock, NULL);
	(void)pthread_cond_init(&r->settled, NULL);
	*ret = r;
	return KMS_OK;
}

void backup_runner_stop(struct backup_runner *r)
{
	if (r == NULL)
		return;
	(void)pthread_mutex_lock(&r->lock);
	r->stops = true;
	(void)pthread_mutex_unlock(&r->lock);
}

void backup_runner_free(struct backup_runner *r)
{
	if (r == NULL)
		return;
	(void)pthread_cond_destroy(&r->settled);
	(void)pthread_mutex_destroy(&r->lock);
	free(r);
}

static struct backup_runner *runner(const struct kms *kms) { return kms->backups != NULL ? kms->backups->runner : NULL; }

void server_backup_progress(struct kms *kms, struct backup_progress *ret)
{
	struct backup_runner *r = runner(kms);

	memset(ret, 0, sizeof(*ret));
	if (r == NULL)
		return;
	(void)pthread_mutex_lock(&r->lock);
	*ret = r->shown;
	(void)pthread_mutex_unlock(&r->lock);
}

void backup_step(const struct kms *kms, enum backup_state state)
{
	struct backup_runner *r = runner(kms);

	if (r == NULL)
		return;
	(void)pthread_mutex_lock(&r->lock);
	r->shown.state = state;
	r->shown.done = r->shown.total = 0;
	(void)pthread_mutex_unlock(&r->lock);
}

bool backup_go_on(void *arg, uint64_t done, uint64_t total)
{
	const struct kms *kms = arg;
	struct backup_runner *r = runner(kms);
	bool goes_on = true;

	if (r == NULL)
		return true;
	(void)pthread_mutex_lock(&r->lock);
	r->shown.done = done;
	if (total != 0)
		r->shown.total = total;
	goes_on = !r->stops && (r->holds == 0 || r->shown.task != BACKUP_TASK_MAKE);
	(void)pthread_mutex_unlock(&r->lock);
	return goes_on;
}

static bool is_busy(enum backup_state s) { return s != BACKUP_IDLE && s != BACKUP_DONE && s != BACKUP_FAILED; }

static bool makes_copy(const struct backup_runner *r)
{
	return r->shown.task == BACKUP_TASK_MAKE && is_busy(r->shown.state) && r->shown.state != BACKUP_WAITING;
}

kms_status server_backups_hold(struct kms *kms, unsigned wait_ms, struct kms_err *err)
{
	struct backup_runner *r = runner(kms);
	struct timespec until;
	bool is_free = false;
	int timed_out = 0;

	if (r == NULL)
		return KMS_OK;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void)pthread_mutex_lock(&r->lock);
	r->holds++;
	while (makes_copy(r) && timed_out == 0)
		timed_out = pthread_cond_clockwait(&r->settled, &r->lock, CLOCK_MONOTONIC, &until);
	is_free = !makes_copy(r);
	if (!is_free)
		r->holds--;
	(void)pthread_mutex_unlock(&r->lock);
	return is_free ? KMS_OK : kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "a backup that is being made did not stop in %u ms", wait_ms);
}

void server_backups_release(struct kms *kms)
{
	struct backup_runner *r = runner(kms);

	if (r == NULL)
		return;
	(void)pthread_mutex_lock(&r->lock);
	r->holds--;
	(void)pthread_mutex_unlock(&r->lock);
}

bool backup_begin(const struct kms *kms)
{
	struct backup_runner *r = runner(kms);
	bool begins = false;

	if (r == NULL)
		return false;
	(void)pthread_mutex_lock(&r->lock);
	begins = r->shown.state == BACKUP_WAITING && r->shown.is_confirmed && !r->stops && (r->holds == 0 || r->shown.task != BACKUP_TASK_MAKE);
	if (begins)
		r->shown.state = r->shown.task == BACKUP_TASK_MAKE ? BACKUP_COPYING : BACKUP_UNSEALING;
	(void)pthread_mutex_unlock(&r->lock);
	return begins;
}

/* One at a time. */
kms_status backup_claim(const struct kms *kms, enum backup_task task, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	struct backup_runner *r = runner(kms);
	bool is_free = false;

	if (r == NULL || kms->backups->directory == NULL)
		return kms_refuse(err, KMS_E_INVALID, "No backups are configured: the configuration has no section backup with a directory.");
	(void)pthread_mutex_lock(&r->lock);
	is_free = !is_busy(r->shown.state) || (r->shown.state == BACKUP_WAITING && !r->shown.is_confirmed);
	if (is_free) {
		memset(&r->shown, 0, sizeof(r->shown));
		r->shown.task = task;
		r->shown.state = BACKUP_WAITING;
		memcpy(r->shown.id, id, STORE_ID_LEN);
	}
	(void)pthread_mutex_unlock(&r->lock);
	return is_free ? KMS_OK : kms_refuse(err, KMS_E_CONFLICT, "A backup is being made or verified; wait for its end (holdfast backup list).");
}

void backup_settle(const struct kms *kms, kms_status status, const struct kms_err *failure, const struct load_report *report)
{
	struct backup_runner *r = runner(kms);

	if (r == NULL)
		return;
	(void)pthread_mutex_lock(&r->lock);
	/* A destruction came in between: again, when that is over. What it was asked for was confirmed. */
	r->shown.state = status == KMS_OK ? BACKUP_DONE : status == KMS_E_SHUTDOWN && !r->stops ? BACKUP_WAITING : BACKUP_FAILED;
	if (status != KMS_OK)
		r->shown.failure = *failure;
	r->shown.failure.status = status;
	r->shown.ended_s = clock_wall_s(kms->clock);
	if (report != NULL) {
		r->shown.report = *report;
		r->shown.done = r->shown.total = report->versions; /* the manifest had counted those of vaults that were shredded since */
	}
	(void)pthread_cond_broadcast(&r->settled);
	(void)pthread_mutex_unlock(&r->lock);
}

void server_backup_confirm(struct kms *kms, const uint8_t id[STORE_ID_LEN])
{
	struct backup_runner *r = runner(kms);

	if (r == NULL)
		return;
	(void)pthread_mutex_lock(&r->lock);
	if (r->shown.state == BACKUP_WAITING && memcmp(r->shown.id, id, STORE_ID_LEN) == 0) /* allowed: ids are public */
		r->shown.is_confirmed = true;
	(void)pthread_mutex_unlock(&r->lock);
}

/* ---- asked for ---- */

kms_status server_backup_request(struct op *op, uint8_t ret_id[STORE_ID_LEN], struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];

	if (!guid_random(id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	op_det_text(op, "act", "request");
	op_det_guid(op, "backup", id);
	KMS_TRY(backup_claim(op->kms, BACKUP_TASK_MAKE, id, err));
	memcpy(ret_id, id, STORE_ID_LEN);
	return KMS_OK;
}

kms_status backup_find(struct store *store, const uint8_t id[STORE_ID_LEN], struct store_backup *ret, struct kms_err *err)
{
	struct store_backup page[PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_backups(store, STORE_BACKUP_SERVER, NULL, cursor, page, PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			if (memcmp(page[i].id, id, STORE_ID_LEN) == 0) { /* allowed: ids are public */
				*ret = page[i];
				return KMS_OK;
			}
		if (count > 0)
			memcpy(after, page[count - 1].id, STORE_ID_LEN);
		cursor = after;
	} while (count == PAGE);
	return kms_refuse(err, KMS_E_NOTFOUND, "There is no such backup.");
}

kms_status server_backup_request_verify(struct op *op, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	struct store_backup b = { 0 };

	op_det_text(op, "act", "request verification");
	op_det_guid(op, "backup", id);
	KMS_TRY(backup_find(op->store, id, &b, err));
	if (b.ends_s != STORE_NO_TIME)
		return kms_refuse(err, KMS_E_CONFLICT, "The epoch %" PRIu32 " of this backup has ended: its key is destroyed, and nobody can open it any more.", b.epoch);
	if (b.place[0] == '\0')
		return kms_refuse(err, KMS_E_NOTFOUND, "The file of this backup was removed.");
	return backup_claim(op->kms, BACKUP_TASK_VERIFY, id, err);
}

/* ---- made ---- */

static kms_status count_keys(struct store *copy, const struct store_vault *v, bool deleted, struct backup_manifest *m, struct kms_err *err)
{
	struct store_key page[PAGE];
	char after[STORE_KEY_NAME_MAX + 1] = "";
	size_t count = 0;

	do {
		KMS_TRY(store_keys(copy, v->id, deleted, after[0] != '\0' ? after : NULL, page, PAGE, &count, err));
		m->keys += count;
		if (count > 0)
			memcpy(after, page[count - 1].name, sizeof(after));
	} while (count == PAGE);
	return KMS_OK;
}

static kms_status count_versions(struct store *copy, const struct store_vault *v, struct backup_manifest *m, struct kms_err *err)
{
	uint8_t page[OBJECTS_PAGE][STORE_ID_LEN], after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0, resident = 0;

	KMS_TRY(store_object_count(copy, v->id, &resident, err));
	m->versions += resident;
	do {
		KMS_TRY(store_wrapped_under(copy, v->id, NULL, cursor, page, OBJECTS_PAGE, &count, err));
		m->versions += count;
		if (count > 0)
			memcpy(after, page[count - 1], STORE_ID_LEN);
		cursor = after;
	} while (count == OBJECTS_PAGE);
	return KMS_OK;
}

static kms_status count_rows(struct store *copy, struct backup_manifest *m, struct kms_err *err)
{
	struct store_vault page[PAGE / 4];
	char after[STORE_VAULT_NAME_MAX + 1] = "";
	size_t count = 0;

	do {
		KMS_TRY(store_vaults(copy, after[0] != '\0' ? after : NULL, page, KMS_ARRAY_LEN(page), &count, err));
		for (size_t i = 0; i < count; i++) {
			if (page[i].state == STORE_VAULT_ACTIVE) {
				m->vaults++;
				KMS_TRY(count_keys(copy, &page[i], false, m, err));
				KMS_TRY(count_keys(copy, &page[i], true, m, err));
				KMS_TRY(count_versions(copy, &page[i], m, err));
			}
			memcpy(after, page[i].name, sizeof(after));
		}
	} while (count == KMS_ARRAY_LEN(page));
	return KMS_OK;
}

/* What the copy holds. Its newest checkpoint covers the intent of this backup. */
static kms_status describe(const struct kms *kms, struct store *copy, struct backup_manifest *m, struct store_signed *ret_checkpoint, struct kms_err *err)
{
	kms_status status = store_checkpoint_last(copy, ret_checkpoint, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "the newest checkpoint");
	if (status == KMS_OK) {
		m->size = ret_checkpoint->size;
		memcpy(m->root, ret_checkpoint->root, STORE_HASH_LEN);
	}
	(void)snprintf(m->version, sizeof(m->version), "%s", HOLDFAST_VERSION_STRING);
	(void)snprintf(m->domain, sizeof(m->domain), "%s", kms->domain);
	(void)snprintf(m->origin, sizeof(m->origin), "%s", kms->origin);
	memcpy(m->directory, kms->inst.directory, STORE_ID_LEN);
	return count_rows(copy, m, err);
}

static kms_status seal_copy(struct kms *kms, const char *copy_path, const char *path, struct backup_manifest *m, uint64_t *ret_leaves, struct kms_err *err)
{
	STORE_SIGNED_AUTO checkpoint = { 0 };
	struct store *copy = NULL;
	kms_status status = KMS_OK;

	KMS_TRY(kms->backups->open_store(copy_path, &copy, err));
	status = describe(kms, copy, m, &checkpoint, err);
	if (status == KMS_OK)
		status = store_event_count(copy, ret_leaves, err); /* the checkpoint covers fewer */
	store_close(copy);
	if (status != KMS_OK)
		return status;
	backup_step(kms, BACKUP_SEALING);
	return backup_file_write(kms->hsm, path, m, kms->backups->config, checkpoint.note != NULL ? checkpoint.note : "", copy_path, backup_go_on, kms, err);
}

/* The copy and what is sealed of it. A full disk would stop the server, whose log must be written: sooner no backup than that. */
static kms_status check_room(const struct backup_settings *b, struct kms_err *err)
{
	struct statvfs fs;
	struct stat st;
	uint64_t room = 0, needed = 0;

	if (b->database == NULL)
		return KMS_OK;
	if (stat(b->database, &st) != 0 || statvfs(b->directory, &fs) != 0)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "cannot ask how much room is left");
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	needed = 2 * (uint64_t)st.st_size + ROOM_LEFT;
	if (room >= needed)
		return KMS_OK;
	return kms_refuse(err, KMS_E_STORE, "There is not enough room in the directory of backups: %llu MiB are free, and a backup needs %llu MiB while it is made.",
	                  (unsigned long long)(room >> 20), (unsigned long long)(needed >> 20));
}

static kms_status copy_and_seal(struct op *op, const char *path, const char *copy_path, struct backup_manifest *m, uint64_t *ret_leaves, struct kms_err *err)
{
	kms_status status = KMS_OK;

	KMS_TRY(check_room(op->kms->backups, err));
	KMS_TRY(log_seal(op->kms->log, op->write.event.ref, SEAL_MS, err));
	backup_step(op->kms, BACKUP_COPYING);
	status = store_copy(op->store, copy_path, backup_go_on, op->kms, err);
	if (status == KMS_OK)
		status = seal_copy(op->kms, copy_path, path, m, ret_leaves, err);
	backup_erase_database(copy_path);
	return status;
}

/* op->kept is the file's path from here on. */
static kms_status undo_file(struct op *op)
{
	return unlink((const char *)op->kept) == 0 || errno == ENOENT ? KMS_OK : KMS_E_STORE;
}

static void note_made(struct op *op, const struct store_backup *b, const struct backup_manifest *m)
{
	op_det_text(op, "file", b->place);
	op_det_number(op, "bytes", (int64_t)b->bytes);
	op_det_number(op, "size", (int64_t)m->size);
	op_det_number(op, "keys", (int64_t)m->keys);
	op_det_number(op, "versions", (int64_t)m->versions);
}

static kms_status make(struct op *op, const struct store_epoch *epoch, struct store_backup *b, struct kms_err *err)
{
	struct backup_manifest m = { .epoch = epoch->number, .made_s = b->made_s };
	char path[PATH_MAX], copy[PATH_MAX], copy_name[STORE_PLACE_MAX + 1];

	memcpy(m.id, b->id, STORE_ID_LEN);
	memcpy(m.epoch_key, epoch->obj, STORE_ID_LEN);
	backup_name(b->id, b->made_s, BACKUP_COPY_SUFFIX, copy_name);
	KMS_TRY(backup_path(op->kms, b->place, path, err));
	KMS_TRY(backup_path(op->kms, copy_name, copy, err));
	op->kept = (uint8_t *)strdup(path);
	if (op->kept == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "path");
	op->undo = undo_file;
	KMS_TRY(copy_and_seal(op, path, copy, &m, &b->size, err));
	b->bytes = backup_file_bytes(&m);
	note_made(op, b, &m);
	return KMS_OK;
}

kms_status server_backup_make(struct op *op, struct store_backup *ret, struct kms_err *err)
{
	static const uint8_t NONE[STORE_ID_LEN];
	struct store_backup b = { .kind = STORE_BACKUP_SERVER, .made_s = clock_wall_s(op->kms->clock), .ends_s = STORE_NO_TIME };
	struct store_epoch epoch = { 0 };
	struct store_intent intent = { 0 };

	if (op->kms->backups == NULL || op->kms->backups->directory == NULL)
		return kms_refuse(err, KMS_E_INVALID, "No backups are configured: the configuration has no section backup with a directory.");
	memcpy(b.id, op->object, STORE_ID_LEN);
	if (memcmp(b.id, NONE, STORE_ID_LEN) == 0 && !guid_random(b.id)) /* allowed: ids are public */
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	KMS_TRY(epoch_newest(op->store, &epoch, err));
	b.epoch = epoch.number;
	backup_name(b.id, b.made_s, BACKUP_SUFFIX, b.place);
	op_det_guid(op, "backup", b.id);
	op_det_number(op, "epoch", epoch.number);
	memcpy(intent.obj, b.id, STORE_ID_LEN);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	KMS_TRY(make(op, &epoch, &b, err));
	op_change(op, STORE_BACKUP_ADD)->backup = b;
	*ret = b;
	return KMS_OK;
}

/* ---- at start ---- */

/* @param ret_name  of the whole file @return KMS_E_NOTFOUND: there is none */
static kms_status find_file(const struct backup_settings *settings, const uint8_t id[STORE_ID_LEN], char ret_name[STORE_PLACE_MAX + 1], struct kms_err *err)
{
	char text[GUID_TEXT_LEN + 1];
	bool is_found = false;
	DIR *dir = opendir(settings->directory);

	if (dir == NULL)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "cannot read %.100s", settings->directory);
	guid_format(id, text);
	for (const struct dirent *e = readdir(dir); e != NULL && !is_found; e = readdir(dir)) {
		is_found = backup_name_is(e->d_name, BACKUP_SUFFIX) && strstr(e->d_name, text) != NULL;
		if (is_found)
			(void)snprintf(ret_name, STORE_PLACE_MAX + 1, "%s", e->d_name);
	}
	(void)closedir(dir);
	return is_found ? KMS_OK : KMS_E_NOTFOUND;
}

kms_status server_backup_found(const struct kms *kms, struct store *store, const uint8_t id[STORE_ID_LEN], struct store_backup *ret, struct kms_err *err)
{
	struct store_backup b = { .kind = STORE_BACKUP_SERVER, .ends_s = STORE_NO_TIME };
	struct backup_manifest m = { 0 };
	struct store_epoch epoch = { 0 };
	char path[PATH_MAX];

	if (kms->backups == NULL || kms->backups->directory == NULL)
		return KMS_E_NOTFOUND;
	KMS_TRY(find_file(kms->backups, id, b.place, err));
	KMS_TRY(backup_path(kms, b.place, path, err));
	if (backup_file_manifest(path, &m, NULL) != KMS_OK || memcmp(m.id, id, STORE_ID_LEN) != 0) /* allowed: ids are public */
		return KMS_E_NOTFOUND;
	KMS_TRY(epoch_numbered(store, m.epoch, &epoch, err));
	if (epoch.ended_s != STORE_NO_TIME)
		return KMS_E_NOTFOUND;
	memcpy(b.id, id, STORE_ID_LEN);
	b.epoch = m.epoch;
	KMS_TRY(store_event_count(store, &b.size, err)); /* at most: its manifest names its checkpoint, which covers fewer than it holds */
	b.bytes = backup_file_bytes(&m);
	b.made_s = m.made_s;
	*ret = b;
	return KMS_OK;
}

static bool is_left_over(const char *name)
{
	static const char *const SUFFIXES[] = { BACKUP_SUFFIX BACKUP_PART_SUFFIX, BACKUP_COPY_SUFFIX,          BACKUP_COPY_SUFFIX "-wal",   BACKUP_COPY_SUFFIX "-shm",
		                                BACKUP_COPY_SUFFIX "-journal",    BACKUP_VERIFY_SUFFIX,        BACKUP_VERIFY_SUFFIX "-wal", BACKUP_VERIFY_SUFFIX "-shm",
		                                BACKUP_VERIFY_SUFFIX "-journal" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(SUFFIXES); i++)
		if (backup_name_is(name, SUFFIXES[i]))
			return true;
	return false;
}

kms_status server_backups_sweep(const struct backup_settings *settings, struct kms_err *err)
{
	char path[PATH_MAX];
	DIR *dir = NULL;

	if (settings == NULL || settings->directory == NULL)
		return KMS_OK;
	dir = opendir(settings->directory);
	if (dir == NULL)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "cannot read %.100s", settings->directory);
	for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
		int len = snprintf(path, sizeof(path), "%s/%s", settings->directory, e->d_name);
		if (is_left_over(e->d_name) && len > 0 && (size_t)len < sizeof(path))
			file_erase(path);
	}
	(void)closedir(dir);
	return KMS_OK;
}
