/*
 * server/restore.c - see restore.h. The database is unsealed beside its place, opened and checked there, and only then put into its place, whole: until then a start finds
 * nothing, and whoever was interrupted begins again. Guards: nothing that exists is ever overwritten.
 */
#include "server/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/core/restored.h"
#include "server/core/server_backup_parts.h"
#include "server/rehearsal.h"
#include "server/restore_report.h"

#define UNSEALED_SUFFIX ".restoring"
#define VAULTS_PAGE 64
#define OBJECTS_FIRST 256

/* One restore. */
struct restore {
	const struct restore_options *o;
	const struct restore_ports *p;
	struct config *c;
	struct rehearsal rehearsal;
	char unsealed[PATH_MAX]; /* where the database is until it is whole; empty = nothing is there */
	int lock_fd;             /* -1 = not locked */
	struct store *store;     /* the writer's; closed by ports->close() */
	struct restore_report report;
};

static kms_status fail_at(const char *path, struct kms_err *err)
{
	return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "%.100s: %.40s", path, strerror(errno));
}

static kms_status with_suffix(const char *path, const char *suffix, char ret[PATH_MAX], struct kms_err *err)
{
	int len = snprintf(ret, PATH_MAX, "%s%s", path, suffix);

	return len > 0 && len < PATH_MAX ? KMS_OK : kms_refuse(err, KMS_E_INVALID, "%.200s: the path is too long.", path);
}

static void split_dir(const char *path, char ret_dir[PATH_MAX])
{
	char *slash;

	(void)snprintf(ret_dir, PATH_MAX, "%s", path);
	slash = strrchr(ret_dir, '/'); /* there is one: the configuration makes the path absolute */
	slash[slash == ret_dir ? 1 : 0] = '\0';
}

static kms_status sync_path(const char *path, int flags, struct kms_err *err)
{
	int fd = open(path, flags | O_RDONLY | O_CLOEXEC), failed = 0;

	if (fd < 0 || fsync(fd) != 0)
		failed = errno;
	if (fd >= 0)
		(void)close(fd);
	errno = failed;
	return failed == 0 ? KMS_OK : fail_at(path, err);
}

/* ---- where it goes ---- */

/* A log of an older database, left behind, would be replayed into the new one. */
static kms_status must_be_absent(const char *database, struct kms_err *err)
{
	static const char *const SUFFIXES[] = { "", "-wal", "-shm", "-journal" };
	char path[PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < KMS_ARRAY_LEN(SUFFIXES); i++) {
		KMS_TRY(with_suffix(database, SUFFIXES[i], path, err));
		if (lstat(path, &st) == 0)
			return kms_refuse(err, KMS_E_CONFLICT, "%.300s exists, and a restore never overwrites anything: stop the server, and move it away (keep it: it may be newer).", path);
		if (errno != ENOENT)
			return fail_at(path, err);
	}
	return KMS_OK;
}

/* What root makes here the server could not open. */
static kms_status must_be_ours(const char *database, struct kms_err *err)
{
	char dir[PATH_MAX];
	struct stat st;

	split_dir(database, dir);
	if (stat(dir, &st) != 0)
		return fail_at(dir, err);
	if (st.st_uid != geteuid())
		return kms_refuse(err, KMS_E_INVALID, "%.300s belongs to user %lu: restore as that user (runuser -u USER -- holdfastd restore …).", dir, (unsigned long)st.st_uid);
	return KMS_OK;
}

/* Said at once, and as what it is. */
static kms_status must_be_a_file(const char *backup, struct kms_err *err)
{
	struct stat st;

	if (stat(backup, &st) != 0)
		return kms_refuse(err, KMS_E_INVALID, "%.300s: %.100s; there is no backup to read.", backup, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return kms_refuse(err, KMS_E_INVALID, "%.300s is no file.", backup);
	return KMS_OK;
}

/* Of a restore that was interrupted. A second name of a file is no copy: then only this name goes. */
static void discard(const char *path)
{
	static const char *const SUFFIXES[] = { "", "-wal", "-shm", "-journal" };
	char each[PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < KMS_ARRAY_LEN(SUFFIXES); i++) {
		if (with_suffix(path, SUFFIXES[i], each, NULL) != KMS_OK || lstat(each, &st) != 0)
			continue;
		if (S_ISREG(st.st_mode) && st.st_nlink == 1)
			file_erase(each);
		else
			(void)unlink(each);
	}
	if (with_suffix(path, ".lock", each, NULL) == KMS_OK)
		(void)unlink(each);
}

static kms_status prepare_place(struct restore *r, struct kms_err *err)
{
	const char *database = r->c->storage.database;

	KMS_TRY(must_be_ours(database, err));
	KMS_TRY(must_be_absent(database, err));
	/* As a second writer would be kept out: so no server starts, and makes a new database, while this one is being restored. */
	KMS_TRY(r->p->lock(r->p->arg, database, &r->lock_fd, err));
	KMS_TRY(with_suffix(database, UNSEALED_SUFFIX, r->unsealed, err));
	discard(r->unsealed);
	return KMS_OK;
}

/* In one step, and never over another file. */
static kms_status move_new(const char *from, const char *to, struct kms_err *err)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return KMS_OK;
	/* Some file systems know only the older way. */
	if ((errno == EINVAL || errno == ENOSYS) && link(from, to) == 0 && unlink(from) == 0)
		return KMS_OK;
	return fail_at(to, err);
}

static kms_status put_in_place(struct restore *r, struct kms_err *err)
{
	char wal[PATH_MAX], dir[PATH_MAX];
	struct stat st;

	KMS_TRY(with_suffix(r->unsealed, "-wal", wal, err));
	if (stat(wal, &st) == 0 && st.st_size > 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "%.100s: not all of it is in the database", wal);
	KMS_TRY(sync_path(r->unsealed, O_NOFOLLOW, err));
	KMS_TRY(move_new(r->unsealed, r->c->storage.database, err));
	discard(r->unsealed); /* what is left beside it */
	r->unsealed[0] = '\0';
	split_dir(r->c->storage.database, dir);
	return sync_path(dir, O_DIRECTORY, err);
}

/* ---- what is in it ---- */

/* Also: did somebody ask to stop? The signals are blocked, so they wait. @param total  0 = not known */
static bool go_on(void *arg, uint64_t done, uint64_t total)
{
	const char *what = arg;
	sigset_t pending;

	if (isatty(STDERR_FILENO) && total > 0)
		(void)fprintf(stderr, "\r%s: %d %%%s", what, (int)(done * 100 / total), done >= total ? "\n" : "");
	else if (isatty(STDERR_FILENO) && done % 100 == 0)
		(void)fprintf(stderr, "\r%s: %" PRIu64, what, done);
	return sigpending(&pending) != 0 || (sigismember(&pending, SIGINT) != 1 && sigismember(&pending, SIGTERM) != 1);
}

/* Objects of the device that are ours, in the order of their ids. */
struct objects {
	struct restore_object *at;
	size_t count, cap;
	bool is_short; /* of memory */
};

static void objects_free(struct objects *o) { free(o->at); }

static bool add_object(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	struct objects *o = arg;
	struct restore_object *more = o->at;

	if (!is_ours)
		return true;
	if (o->count == o->cap) {
		o->cap = o->cap == 0 ? OBJECTS_FIRST : 2 * o->cap;
		more = reallocarray(o->at, o->cap, sizeof(*more));
		if (more == NULL) {
			o->is_short = true;
			return false;
		}
		o->at = more;
	}
	memcpy(o->at[o->count].id, id, HSM_ID_LEN);
	o->at[o->count++].purpose = purpose;
	return true;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(((const struct restore_object *)a)->id, ((const struct restore_object *)b)->id, HSM_ID_LEN); /* allowed: public */
}

static bool has_object(const struct objects *o, const uint8_t id[HSM_ID_LEN])
{
	struct restore_object wanted = { .purpose = HSM_FOR_ROOT };

	memcpy(wanted.id, id, HSM_ID_LEN);
	return o->count > 0 && bsearch(&wanted, o->at, o->count, sizeof(*o->at), by_id) != NULL;
}

static kms_status list_objects(struct hsm *hsm, struct objects *ret, struct kms_err *err)
{
	KMS_TRY(hsm_keys_list(hsm, add_object, ret, err));
	if (ret->is_short)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "%zu objects of the device", ret->count);
	if (ret->count > 0)
		qsort(ret->at, ret->count, sizeof(*ret->at), by_id);
	return KMS_OK;
}

static kms_status add_rootless(struct restore_report *report, const struct store_vault *v, struct kms_err *err)
{
	struct restore_vault *more = reallocarray(report->rootless, report->rootless_count + 1, sizeof(*more));

	if (more == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "vaults without a root");
	report->rootless = more;
	memcpy(more[report->rootless_count].id, v->id, STORE_ID_LEN);
	(void)snprintf(more[report->rootless_count++].name, sizeof(more->name), "%s", v->name);
	return KMS_OK;
}

static void vaults_free(struct store_vault **v) { free(*v); }

static kms_status find_rootless(struct store *store, const struct objects *o, struct restore_report *report, struct kms_err *err)
{
	__attribute__((cleanup(vaults_free))) struct store_vault *page = calloc(VAULTS_PAGE, sizeof(*page));
	char after[STORE_VAULT_NAME_MAX + 1] = "";
	size_t count = 0;

	if (page == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "vaults");
	do {
		KMS_TRY(store_vaults(store, after, page, VAULTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			if (page[i].state == STORE_VAULT_ACTIVE && !has_object(o, page[i].root_id))
				KMS_TRY(add_rootless(report, &page[i], err));
		}
		if (count > 0)
			memcpy(after, page[count - 1].name, sizeof(after));
	} while (count == VAULTS_PAGE);
	return KMS_OK;
}

/* Hands the array of objects over, without those that the database knows. */
static kms_status find_unknown(struct store *store, struct objects *o, struct restore_report *report, struct kms_err *err)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->count; i++) {
		bool is_known = false;
		/* Of a pair there are two objects with one id. */
		if (i > 0 && by_id(&o->at[i], &o->at[i - 1]) == 0)
			continue;
		KMS_TRY(store_object_known(store, o->at[i].id, &is_known, err));
		if (!is_known)
			o->at[kept++] = o->at[i];
	}
	report->unknown = KMS_TAKE(o->at);
	report->unknown_count = kept;
	return KMS_OK;
}

/* The manifest says of which tree it is; the key that opened the seal vouches for it. */
static kms_status check_head(const struct restore *r, struct kms_err *err)
{
	const struct backup_manifest *m = &r->report.manifest;
	STORE_SIGNED_AUTO head = { 0 };
	kms_status status = m->size > 0 ? store_checkpoint_of(r->store, m->size, &head, NULL) : KMS_OK;

	if (status == KMS_E_STORE)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "the checkpoint of the backup");
	if (status != KMS_OK || (m->size > 0 && memcmp(head.root, m->root, sizeof(head.root)) != 0)) /* allowed: public */
		return kms_refuse(err, KMS_E_BACKUP, "The database in the backup does not have the checkpoint that its manifest names.");
	return KMS_OK;
}

static void reader_close(struct store **s) { store_close(*s); }

/* Destroyed objects die again first, so that what is listed then is what there is. */
static kms_status examine(struct restore *r, struct kms_err *err)
{
	__attribute__((cleanup(reader_close))) struct store *reader = NULL;
	__attribute__((cleanup(objects_free))) struct objects objects = { .at = NULL };
	struct kms *kms = r->p->kms;
	char what[] = "loading every version";

	KMS_TRY(r->p->open_reader(r->unsealed, &reader, err));
	KMS_TRY(destruction_sweep(kms, reader, &r->report.sweep, err));
	KMS_TRY(list_objects(kms->hsm, &objects, err));
	KMS_TRY(find_rootless(reader, &objects, &r->report, err));
	KMS_TRY(find_unknown(reader, &objects, &r->report, err));
	return versions_load(kms->hsm, reader, go_on, what, &r->report.load, err);
}

/* The backup's name, if it lies where the server's backups lie, and under the name that it was given: then it is one of those that are kept and removed by its rules. */
static const char *place_of(const struct restore *r)
{
	const char *dir = r->c->backup.directory, *slash = strrchr(r->o->backup, '/');
	const char *name = slash != NULL ? slash + 1 : r->o->backup;
	char here[PATH_MAX], there[PATH_MAX];

	if (dir == NULL || !backup_name_is(name, BACKUP_SUFFIX) || realpath(dir, there) == NULL || realpath(r->o->backup, here) == NULL)
		return "";
	*strrchr(here, '/') = '\0';
	return strcmp(here, there) == 0 ? name : "";
}

static kms_status note_copies(struct restore *r, struct kms_err *err)
{
	struct stat st;

	if (stat(r->o->backup, &st) != 0)
		return fail_at(r->o->backup, err);
	return restored_note_copies(r->p->kms, &r->report.manifest, place_of(r), (uint64_t)st.st_size, err);
}

/* ---- the steps ---- */

/* The scratch token must not be the one that is in use, however it is named. */
static kms_status refuse_same_token(const struct restore *r, const struct hsm_info *in_use, const struct hsm_info *scratch, struct kms_err *err)
{
	if (r->o->token == NULL && strstr(scratch->manufacturer, "SoftHSM") == NULL)
		return kms_refuse(err, KMS_E_INVALID, "hsm.token_dir is set, but the token is %.32s's, whose files Holdfast cannot put elsewhere: name a scratch token, --token URI.",
		                  scratch->manufacturer);
	if (r->o->token != NULL && in_use->serial[0] != '\0' && strcmp(scratch->serial, in_use->serial) == 0 && strcmp(scratch->manufacturer, in_use->manufacturer) == 0)
		return kms_refuse(err, KMS_E_INVALID, "--token names the token that is in use (%.32s, serial %.16s): a rehearsal needs another one.", scratch->label, scratch->serial);
	return KMS_OK;
}

/* Both tokens are asked who they are before anybody logs into one. The one in use need not be there: then it cannot be the other. */
static kms_status begin_rehearsal(struct restore *r, struct kms_err *err)
{
	struct rehearsal_token token = { .uri = r->o->token, .pin = r->o->pin };
	struct hsm_info in_use = { .label = "" }, scratch = { .label = "" };

	if (r->o->token != NULL)
		kms_ignore(r->p->identify(r->p->arg, &in_use, NULL));
	KMS_TRY(rehearsal_begin(r->o->rehearse, &token, r->c, &r->rehearsal, err));
	KMS_TRY(r->p->identify(r->p->arg, &scratch, err));
	return refuse_same_token(r, &in_use, &scratch, err);
}

static kms_status show_config(struct restore *r, struct kms_err *err)
{
	char *text = NULL;

	KMS_TRY(backup_file_open(r->p->kms->hsm, r->o->backup, NULL, &text, NULL, &r->report.manifest, err));
	(void)fputs(text, stdout);
	free(text);
	return KMS_OK;
}

static kms_status check_domain(const struct restore *r, struct kms_err *err)
{
	if (strcmp(r->report.manifest.domain, r->c->domain) == 0)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "The backup is of the domain %.180s, the configuration says %.180s: callers' key URLs would lead nowhere. --show-config has the one it was made with.",
	                  r->report.manifest.domain, r->c->domain);
}

static kms_status unseal(struct restore *r, struct kms_err *err)
{
	struct restore_report *report = &r->report;
	char what[] = "unsealing";

	KMS_TRY(backup_file_open_watched(r->p->kms->hsm, r->o->backup, r->unsealed, NULL, NULL, &report->manifest, go_on, what, err));
	KMS_TRY(check_domain(r, err));
	KMS_TRY(r->p->open_database(r->p->arg, r->unsealed, &r->store, err));
	KMS_TRY(check_head(r, err));
	KMS_TRY(store_event_count(r->store, &report->size, err));
	KMS_TRY(restored_mark(r->store, &report->manifest, err));
	KMS_TRY(r->p->open_log(r->p->arg, &report->verdict, err));
	KMS_TRY(note_copies(r, err));
	(void)snprintf(report->origin, sizeof(report->origin), "%s", r->p->kms->origin);
	return examine(r, err);
}

/* What is missing is often only what the server's unit sets, and the shell does not. */
static kms_status open_device(struct restore *r, struct kms_err *err)
{
	struct kms_err own = { 0 };
	kms_status status = r->p->open_device(r->p->arg, &own);

	if (status == KMS_OK)
		return KMS_OK;
	if (status != KMS_E_DEVICE || own.message[0] != '\0') {
		*err = own;
		return status;
	}
	return kms_refuse(err, status, "The HSM cannot be opened (%.160s). All of a backup, also its configuration, is sealed under a key of the HSM: section hsm of the configuration must name it%s.",
	                  own.detail, getenv("SOFTHSM2_CONF") == NULL ? "; SoftHSM finds its tokens by the variable SOFTHSM2_CONF, which is not set" : "");
}

static kms_status restore(struct restore *r, struct kms_err *err)
{
	bool is_rehearsal = r->o->rehearse != NULL;

	KMS_TRY(must_be_a_file(r->o->backup, err));
	if (is_rehearsal)
		KMS_TRY(begin_rehearsal(r, err));
	if (!r->o->shows_config)
		KMS_TRY(prepare_place(r, err));
	KMS_TRY(open_device(r, err));
	if (r->o->shows_config)
		return show_config(r, err);
	r->report.is_rehearsal = is_rehearsal;
	r->report.database = r->c->storage.database;
	r->report.has_witnesses = r->c->log.witnesses_count > 0;
	KMS_TRY(unseal(r, err));
	/* All of it is in the file once its connections are closed. */
	r->p->close(r->p->arg);
	return put_in_place(r, err);
}

static int report(struct restore *r)
{
	struct kms_err err = { 0 };

	if (r->o->shows_config)
		return RESTORE_WHOLE;
	if (!r->o->as_json)
		restore_report_print(&r->report);
	else if (restore_report_print_json(&r->report, &err) != KMS_OK)
		(void)fprintf(stderr, "holdfastd: it was restored, but the report cannot be written: %s\n", err.detail);
	if (!restore_is_whole(&r->report))
		return RESTORE_INCOMPLETE;
	return restore_is_certain(&r->report) ? RESTORE_WHOLE : RESTORE_UNCERTAIN;
}

static void end(struct restore *r)
{
	r->p->close(r->p->arg);
	if (r->unsealed[0] != '\0')
		discard(r->unsealed);
	if (r->lock_fd >= 0)
		(void)close(r->lock_fd);
	if (!r->o->keeps)
		rehearsal_end(&r->rehearsal);
	restore_report_clear(&r->report);
}

int restore_main(const struct restore_options *o, const struct restore_ports *ports, struct config *c)
{
	struct restore r = { .o = o, .p = ports, .c = c, .lock_fd = -1 };
	struct kms_err err = { 0 };
	kms_status status = restore(&r, &err);
	int exit_status = RESTORE_FAILED;

	if (status == KMS_E_SHUTDOWN)
		(void)fprintf(stderr, "holdfastd: not restored: interrupted\n");
	else if (status == KMS_E_STORE && err.message[0] == '\0' && err.detail[0] != '\0')
		(void)fprintf(stderr, "holdfastd: not restored: %s\n", err.detail);
	else if (status != KMS_OK)
		(void)fprintf(stderr, "holdfastd: not restored: %s%s%s\n", kms_err_text(&err), err.detail[0] != '\0' && err.message[0] == '\0' ? " " : "",
		              err.message[0] == '\0' ? err.detail : "");
	else
		exit_status = report(&r);
	if (o->keeps && r.rehearsal.dir[0] != '\0')
		(void)fprintf(stderr, "holdfastd: %s was kept: it holds a copy of the token. Remove it when you are done.\n", r.rehearsal.dir);
	end(&r);
	return exit_status;
}
