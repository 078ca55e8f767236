/* server/core/server_backup_turn.c - what happens to backups by itself, in their lane: what was asked for, the next one when it is due, and the oldest removed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/core/server_backup_parts.h"

#define PAGE 32
#define HOUR_S ((int64_t)3600)
#define RETRY_S ((int64_t)900) /* after one that failed: it would fail again at once */

/* ---- one task ---- */

/* @param id  all zero = a new one */
static kms_status make_one(struct kms *kms, struct store *store, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	struct op *op = op_new_own(kms, store, EVENT_NODE_BACKUP, err);
	struct store_backup made = { 0 };
	kms_status status = KMS_OK;

	if (op == NULL)
		return KMS_E_NOMEM;
	memcpy(op->object, id, STORE_ID_LEN);
	status = op_finish_own(op, server_backup_make(op, &made, err), err);
	op_free_own(op);
	return status;
}

static void note_report(struct op *op, const struct load_report *r)
{
	op_det_number(op, "versions", (int64_t)r->versions);
	op_det_number(op, "loaded", (int64_t)(r->loaded + r->resident));
	op_det_number(op, "destroyed", (int64_t)r->destroyed);
	op_det_number(op, "failed", (int64_t)r->failed);
}

static kms_status write_verified(struct op *op, kms_status status, const struct load_report *r, struct kms_err *err)
{
	struct write unit = { .event = op->write.event };
	kms_status written = KMS_OK;

	if (status == KMS_OK)
		note_report(op, r);
	unit.event = op->write.event;
	unit.event.result = status == KMS_OK && r->failed == 0 ? EVENT_OK : EVENT_FAILED;
	if (status != KMS_OK)
		unit.event.err = kms_status_inner(status) != NULL ? kms_status_inner(status) : kms_status_code(status);
	written = writer_write(op->kms->writer, &unit);
	if (status != KMS_OK)
		return status;
	return written == KMS_OK ? KMS_OK : kms_fail(err, written, KMS_SRC_SELF, 0, "what a verification found was not written");
}

static kms_status verify_one(struct kms *kms, struct store *store, const uint8_t id[STORE_ID_LEN], struct load_report *ret, struct kms_err *err)
{
	struct op *op = op_new_own(kms, store, EVENT_NODE_BACKUP, err);
	struct backup_manifest m = { 0 };
	struct store_backup b = { 0 };
	kms_status status = KMS_OK;

	if (op == NULL)
		return KMS_E_NOMEM;
	op_det_text(op, "act", "verify");
	op_det_guid(op, "backup", id);
	status = backup_find(store, id, &b, err);
	if (status == KMS_OK)
		status = server_backup_verify(op, b.place, &m, ret, err);
	status = write_verified(op, status, ret, err);
	op_free_own(op);
	return status;
}

static kms_status do_task(struct kms *kms, struct store *store, const struct backup_progress *p, struct kms_err *err)
{
	struct load_report report = { 0 };
	struct kms_err own = { 0 };
	bool verifies = p->task == BACKUP_TASK_VERIFY;
	kms_status status = verifies ? verify_one(kms, store, p->id, &report, &own) : make_one(kms, store, p->id, &own);

	backup_settle(kms, status, &own, verifies && status == KMS_OK ? &report : NULL);
	if (status != KMS_OK && err != NULL)
		*err = own;
	return status;
}

/* ---- the schedule ---- */

/* What the rows say of the files that are there. */
struct file {
	uint8_t id[STORE_ID_LEN];
	char place[STORE_PLACE_MAX + 1];
	int64_t made_s;
	bool has_ended;
};
struct files {
	struct file *all; /* owned; the newest first */
	size_t count, cap;
	int64_t newest_s; /* of all that were ever made; STORE_NO_TIME = none */
};

static void files_clear(struct files *f) { free(f->all); }

static bool files_add(struct files *f, const struct store_backup *b)
{
	struct file *at = NULL;

	if (b->made_s > f->newest_s)
		f->newest_s = b->made_s;
	if (b->place[0] == '\0')
		return true;
	if (f->count == f->cap) {
		size_t cap = f->cap == 0 ? PAGE : 2 * f->cap;
		void *grown = reallocarray(f->all, cap, sizeof(f->all[0]));

		if (grown == NULL)
			return false;
		f->all = grown;
		f->cap = cap;
	}
	at = &f->all[f->count++];
	memcpy(at->id, b->id, STORE_ID_LEN);
	memcpy(at->place, b->place, sizeof(at->place));
	at->made_s = b->made_s;
	at->has_ended = b->ends_s != STORE_NO_TIME;
	return true;
}

static int newest_first(const void *a, const void *b)
{
	int64_t x = ((const struct file *)a)->made_s, y = ((const struct file *)b)->made_s;
	return (x < y) - (x > y);
}

static kms_status list_files(struct store *store, struct files *f, struct kms_err *err)
{
	struct store_backup page[PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	f->newest_s = STORE_NO_TIME;
	do {
		KMS_TRY(store_backups(store, STORE_BACKUP_SERVER, NULL, cursor, page, PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			if (!files_add(f, &page[i]))
				return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "list of backups");
		if (count > 0)
			memcpy(after, page[count - 1].id, STORE_ID_LEN);
		cursor = after;
	} while (count == PAGE);
	if (f->count > 1)
		qsort(f->all, f->count, sizeof(f->all[0]), newest_first);
	return KMS_OK;
}

static bool is_due(const struct kms *kms, const struct files *f, const struct backup_progress *p)
{
	const struct backup_settings *b = kms->backups;
	int64_t now_s = clock_wall_s(kms->clock);

	if (b->every_hours == 0 || (p->state == BACKUP_FAILED && p->task == BACKUP_TASK_MAKE && now_s < p->ended_s + RETRY_S))
		return false;
	/* One that was made in the future was made before the clock was set back. */
	return f->newest_s == STORE_NO_TIME || f->newest_s > now_s || now_s - f->newest_s >= b->every_hours * HOUR_S;
}

/* The file first: were it the row, a crash would leave a file that nobody removes. */
static kms_status remove_one(struct kms *kms, struct store *store, const struct file *f, struct kms_err *err)
{
	struct op *op = NULL;
	char path[PATH_MAX];
	kms_status status = KMS_OK;

	if (!backup_name_is(f->place, BACKUP_SUFFIX))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the name of a backup's file is damaged");
	KMS_TRY(backup_path(kms, f->place, path, err));
	if (unlink(path) != 0 && errno != ENOENT)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_ERRNO, (unsigned long)errno, "cannot remove %.100s", path);
	op = op_new_own(kms, store, EVENT_NODE_BACKUP, err);
	if (op == NULL)
		return KMS_E_NOMEM;
	op_det_text(op, "act", "remove");
	op_det_guid(op, "backup", f->id);
	op_det_text(op, "file", f->place);
	memcpy(op_change(op, STORE_BACKUP_DROP)->backup.id, f->id, STORE_ID_LEN);
	status = op_finish_own(op, KMS_OK, err);
	op_free_own(op);
	return status;
}

/* Also what nobody can open any more. */
static kms_status rotate(struct kms *kms, struct store *store, const struct files *f, struct kms_err *err)
{
	size_t kept = 0;

	for (size_t i = 0; i < f->count; i++) {
		bool stays = !f->all[i].has_ended && (kms->backups->keep == 0 || kept < kms->backups->keep);

		kept += stays;
		if (!stays)
			KMS_TRY(remove_one(kms, store, &f->all[i], err));
	}
	return KMS_OK;
}

kms_status server_backups_turn(struct kms *kms, struct store *store, struct kms_err *err)
{
	__attribute__((cleanup(files_clear))) struct files f = { 0 }, after = { 0 };
	struct backup_progress p;
	uint8_t id[STORE_ID_LEN];
	kms_status status = KMS_OK;

	if (kms->backups == NULL || kms->backups->directory == NULL || kms->backups->runner == NULL)
		return KMS_OK;
	server_backup_progress(kms, &p);
	KMS_TRY(list_files(store, &f, err));
	if (p.state != BACKUP_WAITING && is_due(kms, &f, &p)) {
		if (!guid_random(id))
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
		KMS_TRY(backup_claim(kms, BACKUP_TASK_MAKE, id, err));
		server_backup_confirm(kms, id);
		server_backup_progress(kms, &p);
	}
	if (backup_begin(kms))
		status = do_task(kms, store, &p, err);
	if (status != KMS_OK)
		return status;
	KMS_TRY(list_files(store, &after, err));
	return rotate(kms, store, &after, err);
}
