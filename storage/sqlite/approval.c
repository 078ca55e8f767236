/* storage/sqlite/approval.c - requests that need several people, and what was said to them. An approval is used up once, by a quorum of
 * approvers who are not the requester, or not at all: core has counted them, and the statement that settles it counts again. */
#include "storage/sqlite/db.h"

static kms_status take_approval(struct sq_query *q, struct store_approval *ret, struct kms_err *err)
{
	STORE_APPROVAL_AUTO a = { 0 };

	sq_take_bytes(q, a.id, sizeof(a.id));
	sq_take_bytes(q, a.vault_id, sizeof(a.vault_id));
	sq_take_bytes(q, a.requester, sizeof(a.requester));
	sq_take_text(q, a.act, sizeof(a.act));
	sq_take_bytes(q, a.digest, sizeof(a.digest));
	sq_take_text_copy(q, STORE_REQUEST_TEXT_MAX, &a.request);
	sq_take_text(q, a.reason, sizeof(a.reason));
	a.quorum = (uint8_t)sq_take_uint(q, STORE_APPROVERS_MAX);
	a.state = (enum store_approval_state)sq_take_uint(q, STORE_APPROVAL_WITHDRAWN);
	a.created_s = sq_take_int(q);
	a.expires_s = sq_take_int(q);
	a.settled_s = sq_take_time(q);
	if (a.quorum == 0 || a.state < STORE_APPROVAL_OPEN || a.request == NULL)
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = a;
	a = (struct store_approval){ 0 }; /* handed over */
	return KMS_OK;
}

kms_status sq_approval(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_approval *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_APPROVAL);

	sq_put_id(&q, id);
	KMS_TRY(sq_step_one(&q, err));
	return take_approval(&q, ret, err);
}

kms_status sq_approval_open(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t requester[STORE_ID_LEN],
                            const uint8_t digest[STORE_HASH_LEN], struct store_approval *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_APPROVAL_OPEN);

	sq_put_id(&q, vault_id);
	sq_put_id(&q, requester);
	sq_put_blob(&q, digest, STORE_HASH_LEN);
	KMS_TRY(sq_step_one(&q, err));
	return take_approval(&q, ret, err);
}

kms_status sq_approvals(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN], bool only_open,
                        struct store_approval *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), only_open ? SQ_APPROVALS_OPEN : SQ_APPROVALS);
	kms_status status;
	size_t count = 0;

	sq_put_id(&q, vault_id);
	sq_put_blob(&q, after_id, after_id != NULL ? STORE_ID_LEN : 0);
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		status = sq_step(&q, &has_row, err);
		if (status == KMS_OK && has_row)
			status = take_approval(&q, &ret[count], err);
		if (status != KMS_OK || !has_row)
			break;
	}
	if (status != KMS_OK) {
		while (count > 0)
			store_approval_clear(&ret[--count]);
		return status;
	}
	*ret_count = count;
	return KMS_OK;
}

static kms_status take_vote(struct sq_query *q, struct store_vote *ret, struct kms_err *err)
{
	struct store_vote v = { 0 };
	size_t certificate_len;

	sq_take_bytes(q, v.approval_id, sizeof(v.approval_id));
	sq_take_bytes(q, v.approver_id, sizeof(v.approver_id));
	v.approves = sq_take_uint(q, 1) != 0;
	sq_take_text(q, v.reason, sizeof(v.reason));
	v.created_s = sq_take_int(q);
	sq_take_some(q, v.certificate, sizeof(v.certificate), &certificate_len);
	sq_take_some(q, v.signature, sizeof(v.signature), &v.signature_len);
	/* Both or neither. */
	if (certificate_len != (v.signature_len > 0 ? sizeof(v.certificate) : 0))
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = v;
	return KMS_OK;
}

kms_status sq_votes(struct store *s, const uint8_t approval_id[STORE_ID_LEN], struct store_vote *ret, size_t cap, size_t *ret_count,
                    struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_VOTES);
	size_t count = 0;

	sq_put_id(&q, approval_id);
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_vote(&q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_approval_add(struct sqlite_store *db, const struct store_approval *a, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_APPROVAL_ADD);

	sq_put_id(&q, a->id);
	sq_put_id(&q, a->vault_id);
	sq_put_id(&q, a->requester);
	sq_put_text(&q, a->act);
	sq_put_blob(&q, a->digest, sizeof(a->digest));
	sq_put_text(&q, a->request);
	sq_put_text(&q, a->reason);
	sq_put_int(&q, a->quorum);
	sq_put_int(&q, a->created_s);
	sq_put_int(&q, a->expires_s);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

kms_status sq_approval_vote(struct sqlite_store *db, const struct store_vote *v, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_APPROVAL_VOTE);

	sq_put_id(&q, v->approval_id);
	sq_put_id(&q, v->approver_id);
	sq_put_int(&q, v->approves);
	sq_put_text(&q, v->reason);
	sq_put_int(&q, v->created_s);
	if (v->signature_len > 0) {
		sq_put_blob(&q, v->certificate, sizeof(v->certificate));
		sq_put_blob(&q, v->signature, v->signature_len);
	} else {
		sq_put_null(&q);
		sq_put_null(&q);
	}
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

static kms_status approver_counts(struct sqlite_store *db, const struct store_approval_use *u, size_t i, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_APPROVAL_COUNTS);
	bool counts;

	sq_put_id(&q, u->id);
	sq_put_id(&q, u->approvers[i].id);
	sq_put_u64(&q, u->approvers[i].epoch);
	KMS_TRY(sq_step_one(&q, err));
	counts = sq_take_uint(&q, 1) != 0;
	KMS_TRY(sq_taken(&q, err));
	if (!counts)
		return kms_fail(err, KMS_E_FENCED, KMS_SRC_SELF, 0, "approver %zu of %zu does not count (any more)", i + 1, u->count);
	return KMS_OK;
}

kms_status sq_approval_use(struct sqlite_store *db, const struct store_approval_use *u, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_APPROVAL_USE);

	for (size_t i = 0; i < u->count; i++)
		KMS_TRY(approver_counts(db, u, i, err));
	sq_put_id(&q, u->id);
	sq_put_int(&q, u->settled_s);
	sq_put_u64(&q, u->count);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

kms_status sq_approval_close(struct sqlite_store *db, const struct store_approval *a, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_APPROVAL_CLOSE);

	sq_put_id(&q, a->id);
	sq_put_int(&q, a->state);
	sq_put_int(&q, a->settled_s);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}
