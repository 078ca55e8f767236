/* api/h_retention.c - the management API: how long bodies of leaves are kept, and their pruning (docs/retention.md). */
#include <stdlib.h>
#include <string.h>

#include "api/view.h"
#include "server/core/prune.h"

#define OFFSET(member) offsetof(union request_body, member)

static const struct json_field PRUNE_FIELDS[] = {
	{ .name = "size", .kind = J_INT, .offset = OFFSET(log_prune.size), .flag = J_NO_FLAG, .required = true, .min = 1, .max = (int64_t)STORE_SEQ_MAX },
	{ .name = "root", .kind = J_BASE64, .offset = OFFSET(log_prune.root), .flag = J_NO_FLAG, .required = true, .min = MERKLE_HASH_LEN, .max = MERKLE_HASH_LEN },
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(log_prune.reason), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_REASON_MAX },
	{ .name = NULL },
};
const struct json_schema LOG_PRUNE_SCHEMA = { .name = "LogPruneRequest", .fields = PRUNE_FIELDS, .size = sizeof(union request_body), .is_strict = true };

static kms_status read_before(const struct request *r, int64_t *ret_s, struct kms_err *err)
{
	const char *text = query_get(r, "before");
	char *end = NULL;

	*ret_s = text != NULL ? strtoll(text, &end, 10) : STORE_NO_TIME;
	if (text == NULL || (*text >= '0' && *text <= '9' && *end == '\0' && *ret_s < INT64_MAX / 2))
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "before: must be a time in seconds since 1970.");
}

/* How much the installation had written at what time is for those who may read all of it, or manage it. */
static bool may_see_sizes(const struct request *r)
{
	const uint64_t any = PERM_BIT(PERM_AUDIT_READ_ALL) | PERM_BIT(PERM_INSTALLATION_READ);

	return ((r->op.installation_permissions | r->op.permissions) & any) != 0;
}

kms_status api_log_retention(struct request *r, struct kms_err *err)
{
	struct prune_state s = { 0 };
	char root[B64_LEN(MERKLE_HASH_LEN) + 1];
	int64_t before_s = 0;
	json_t *o = NULL;

	op_det_text(&r->op, "what", "retention");
	KMS_TRY(read_before(r, &before_s, err));
	if (before_s != STORE_NO_TIME && !may_see_sizes(r))
		return kms_refuse(err, KMS_E_FORBIDDEN, "before: how long the log was at a time is shown to auditors and administrators of the installation only.");
	KMS_TRY(prune_state(r->op.kms, r->op.store, before_s, &s, err));
	o = json_pack("{s:I,s:I,s:b,s:b}", "keep_days", (json_int_t)s.keep_days, "pruned", (json_int_t)s.pruned, "under_way", (int)s.is_under_way, "has_time", (int)s.has_time);
	if (s.size > s.pruned && may_see_sizes(r)) {
		b64_encode(s.root, sizeof(s.root), root);
		json_put(&o, "size", json_integer((json_int_t)s.size));
		view_put_text(&o, "root", root);
	}
	return reply_json(r, 200, o, err);
}

/* Minutes for a large log, so only its beginning is waited for. */
kms_status api_log_prune(struct request *r, struct kms_err *err)
{
	uint64_t size = (uint64_t)r->body.log_prune.size;

	KMS_TRY(prune_begin(&r->op, size, r->body.log_prune.root.data, r->body.log_prune.reason, err));
	request_settle_soon(r, LANE_ROOT);
	return reply_json(r, 202, json_pack("{s:I,s:b}", "size", (json_int_t)size, "under_way", 1), err);
}
