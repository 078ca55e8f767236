/* api/h_backup.c - the management API: backups of the whole server, asked for and listed, and the epochs of all backups (docs/backup.md). */
#include <string.h>

#include "api/view.h"
#include "server/core/epoch.h"
#include "server/core/server_backup.h"

#define OFFSET(member) offsetof(union request_body, member)
#define BACKUPS_PAGE 50
#define EPOCHS_PAGE 50

/* ---- schemas: our own dialect refuses unknown members ---- */

static const struct json_field END_FIELDS[] = {
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(epoch_end.reason), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_REASON_MAX },
	{ .name = NULL },
};
const struct json_schema EPOCH_END_SCHEMA = { .name = "BackupEpochEndRequest", .fields = END_FIELDS, .size = sizeof(union request_body), .is_strict = true };

/* ---- what is under way ---- */

static const char *task_name(enum backup_task task) { return task == BACKUP_TASK_VERIFY ? "verify" : "create"; }

static const char *state_name(enum backup_state state)
{
	switch (state) {
	case BACKUP_WAITING: return "waiting";
	case BACKUP_COPYING: return "copying";
	case BACKUP_SEALING: return "sealing";
	case BACKUP_UNSEALING: return "unsealing";
	case BACKUP_LOADING: return "loading";
	case BACKUP_DONE: return "done";
	case BACKUP_FAILED: return "failed";
	case BACKUP_IDLE: break;
	}
	return "idle";
}

static json_t *report_object(const struct load_report *p)
{
	json_t *o = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "vaults", (json_int_t)p->vaults, "shredded", (json_int_t)p->shredded, "keys", (json_int_t)p->keys,
	                      "versions", (json_int_t)p->versions, "loaded", (json_int_t)p->loaded, "resident", (json_int_t)p->resident, "destroyed",
	                      (json_int_t)p->destroyed, "failed", (json_int_t)p->failed);

	if (p->first[0] != '\0')
		view_put_text(&o, "first", p->first);
	return o;
}

/* What went wrong, for the people who run the server: they may read its log as well. */
static const char *failure_text(const struct kms_err *err)
{
	return err->message[0] != '\0' ? err->message : err->detail[0] != '\0' ? err->detail : kms_err_text(err);
}

static json_t *task_object(const struct backup_progress *p)
{
	json_t *o = json_object();

	view_put_guid(&o, "id", p->id);
	view_put_text(&o, "act", task_name(p->task));
	view_put_text(&o, "state", state_name(p->state));
	json_put(&o, "done", json_integer((json_int_t)p->done));
	json_put(&o, "total", json_integer((json_int_t)p->total));
	if (p->state == BACKUP_FAILED)
		view_put_text(&o, "failure", failure_text(&p->failure));
	if (p->task == BACKUP_TASK_VERIFY && p->state == BACKUP_DONE)
		json_put(&o, "report", report_object(&p->report));
	return o;
}

/* Its leaf is durable: the lane may begin. */
static void begin_task(struct request *r)
{
	struct backup_progress p = { 0 };

	server_backup_progress(r->op.kms, &p);
	server_backup_confirm(r->op.kms, p.id);
	request_settle_soon(r, LANE_BACKUP);
}

static kms_status reply_task(struct request *r, struct kms_err *err)
{
	struct backup_progress p = { 0 };

	server_backup_progress(r->op.kms, &p);
	r->op.is_sync = true;
	r->committed = begin_task;
	return reply_json(r, 202, task_object(&p), err);
}

kms_status api_backup_create(struct request *r, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(server_backup_request(&r->op, id, err));
	return reply_task(r, err);
}

kms_status api_backup_verify(struct request *r, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The backup's id", id, err));
	KMS_TRY(server_backup_request_verify(&r->op, id, err));
	return reply_task(r, err);
}

/* ---- the list ---- */

static kms_status backup_object(struct request *r, const struct store_backup *b, json_t **list, struct kms_err *err)
{
	struct store_epoch e = { 0 };
	JSON_AUTO *o = json_object();

	KMS_TRY(epoch_numbered(r->op.store, b->epoch, &e, err));
	view_put_guid(&o, "id", b->id);
	view_put_text(&o, "state", b->ends_s != STORE_NO_TIME ? "ended" : b->place[0] == '\0' ? "removed" : "there");
	json_put(&o, "made", json_integer(b->made_s));
	json_put(&o, "until", json_integer(epoch_until(r->op.kms, &e)));
	json_put(&o, "epoch", json_integer(b->epoch));
	json_put(&o, "size", json_integer((json_int_t)b->size));
	json_put(&o, "bytes", json_integer((json_int_t)b->bytes));
	if (b->place[0] != '\0')
		view_put_text(&o, "file", b->place);
	json_add(list, KMS_TAKE(o));
	return KMS_OK;
}

kms_status api_backup_list(struct request *r, struct kms_err *err)
{
	JSON_AUTO *value = json_array();
	JSON_AUTO *body = json_object();
	struct store_backup page[BACKUPS_PAGE];
	struct backup_progress p = { 0 };
	uint8_t cursor[STORE_ID_LEN];
	const uint8_t *after = NULL;
	size_t count = 0;

	op_det_text(&r->op, "what", "backups");
	KMS_TRY(view_parse_after(r, cursor, &after, err));
	KMS_TRY(store_backups(r->op.store, STORE_BACKUP_SERVER, NULL, after, page, BACKUPS_PAGE, &count, err));
	for (size_t i = 0; i < count; i++)
		KMS_TRY(backup_object(r, &page[i], &value, err));
	json_put(&body, "value", KMS_TAKE(value));
	if (count == BACKUPS_PAGE)
		view_put_guid(&body, "next", page[count - 1].id);
	server_backup_progress(r->op.kms, &p);
	if (p.state != BACKUP_IDLE)
		json_put(&body, "task", task_object(&p));
	return reply_json(r, 200, KMS_TAKE(body), err);
}

/* ---- epochs ---- */

static json_t *epoch_object(const struct kms *kms, const struct store_epoch *e)
{
	json_t *o = json_object();

	json_put(&o, "number", json_integer(e->number));
	view_put_text(&o, "state", e->ended_s != STORE_NO_TIME ? "ended" : e->closed_s != STORE_NO_TIME ? "closed" : "open");
	json_put(&o, "created", json_integer(e->created_s));
	view_put_time(&o, "closed", e->closed_s);
	view_put_time(&o, "ended", e->ended_s);
	json_put(&o, "until", json_integer(epoch_until(kms, e)));
	view_put_guid(&o, "key", e->obj);
	return o;
}

/* A number of the path or the query. */
static kms_status parse_number(const char *text, const char *what, uint32_t *ret, struct kms_err *err)
{
	size_t len = strlen(text);
	uint64_t n = 0;

	for (size_t i = 0; i < len && len <= 10 && n <= UINT32_MAX; i++)
		n = text[i] >= '0' && text[i] <= '9' ? 10 * n + (uint64_t)(text[i] - '0') : UINT64_MAX;
	if (len == 0 || len > 10 || n == 0 || n > UINT32_MAX)
		return kms_refuse(err, KMS_E_INVALID, "%s must be a number, 1 to %lu.", what, (unsigned long)UINT32_MAX);
	*ret = (uint32_t)n;
	return KMS_OK;
}

kms_status api_epoch_list(struct request *r, struct kms_err *err)
{
	const char *after = query_get(r, "after");
	JSON_AUTO *value = json_array();
	struct store_epoch page[EPOCHS_PAGE];
	char next[16] = "";
	uint32_t below = 0;
	size_t count = 0;

	op_det_text(&r->op, "what", "backup epochs");
	if (after != NULL)
		KMS_TRY(parse_number(after, "after", &below, err));
	KMS_TRY(store_epochs(r->op.store, below, page, EPOCHS_PAGE, &count, err));
	for (size_t i = 0; i < count; i++)
		json_add(&value, epoch_object(r->op.kms, &page[i]));
	if (count == EPOCHS_PAGE)
		(void)snprintf(next, sizeof(next), "%u", (unsigned)page[count - 1].number);
	return reply_page(r, KMS_TAKE(value), count == EPOCHS_PAGE && page[count - 1].number > 1 ? next : NULL, err);
}

kms_status api_epoch_begin(struct request *r, struct kms_err *err)
{
	struct store_epoch e = { 0 };

	KMS_TRY(epoch_begin(&r->op, &e, err));
	return reply_json(r, 200, epoch_object(r->op.kms, &e), err);
}

kms_status api_epoch_end(struct request *r, struct kms_err *err)
{
	struct store_epoch e = { 0 };
	uint32_t number = 0;

	KMS_TRY(parse_number(r->item, "The epoch's number", &number, err));
	KMS_TRY(epoch_end(&r->op, number, r->body.epoch_end.reason, err));
	KMS_TRY(epoch_numbered(r->op.store, number, &e, err));
	e.ended_s = clock_wall_s(r->op.kms->clock); /* as the outcome will say */
	return reply_json(r, 200, epoch_object(r->op.kms, &e), err);
}
