/* api/h_approval.c - the management API: requests for what needs several people, and votes on them (docs/access.md). */
#include <string.h>

#include "api/view.h"

#define OFFSET(member) offsetof(union request_body, member)
#define APPROVALS_PAGE 50

/* ---- schemas: our own dialect refuses unknown members ---- */

static const struct json_field VOTE_FIELDS[] = {
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(vote.reason), .flag = J_NO_FLAG, .min = 0, .max = STORE_REASON_MAX },
	{ .name = "signature", .kind = J_BYTES, .offset = OFFSET(vote.signature), .flag = J_NO_FLAG, .min = 1, .max = STORE_SIGNATURE_MAX },
	{ .name = "certificate", .kind = J_STRING, .offset = OFFSET(vote.certificate), .flag = J_NO_FLAG, .min = (size_t)2 * STORE_HASH_LEN,
	  .max = (size_t)2 * STORE_HASH_LEN },
	{ .name = NULL },
};
const struct json_schema VOTE_SCHEMA = { .name = "VoteRequest", .fields = VOTE_FIELDS, .size = sizeof(union request_body), .is_strict = true,
	                                 .may_be_empty = true };

/* ---- answers ---- */

static const char *state_of(const struct approval_view *v)
{
	switch (v->approval.state) {
	case STORE_APPROVAL_USED: return "used";
	case STORE_APPROVAL_DENIED: return "denied";
	case STORE_APPROVAL_WITHDRAWN: return "withdrawn";
	case STORE_APPROVAL_OPEN: break;
	}
	return v->has_ended ? "expired" : v->counted >= v->needed ? "approved" : "open";
}

/* Its name, when it is still known. */
static kms_status put_name(struct request *r, json_t **object, const char *member, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	struct store_principal p = { 0 };
	kms_status status = store_principal(r->op.store, id, &p, NULL);

	if (status == KMS_OK)
		view_put_text(object, member, p.name);
	else if (status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "principal of an approval");
	return KMS_OK;
}

static kms_status vote_object(struct request *r, const struct store_vote *v, json_t **list, struct kms_err *err)
{
	char hash[2 * STORE_HASH_LEN + 1];
	JSON_AUTO *o = json_object();

	view_put_guid(&o, "approver", v->approver_id);
	KMS_TRY(put_name(r, &o, "name", v->approver_id, err));
	json_put(&o, "approves", json_boolean(v->approves));
	view_put_text(&o, "reason", v->reason);
	json_put(&o, "created", json_integer(v->created_s));
	if (v->signature_len > 0) {
		hex_encode(v->certificate, STORE_HASH_LEN, hash);
		view_put_text(&o, "certificate", hash);
		json_put(&o, "signature", json_base64url(v->signature, v->signature_len));
	}
	json_add(list, KMS_TAKE(o));
	return KMS_OK;
}

static kms_status approval_object(struct request *r, const struct approval_view *v, json_t **ret, struct kms_err *err)
{
	const struct store_approval *a = &v->approval;
	char requester[GUID_TEXT_LEN + 1], digest[2 * STORE_HASH_LEN + 1];
	JSON_AUTO *o = json_object();
	JSON_AUTO *votes = json_array();

	approval_requester_text(a->requester, requester);
	hex_encode(a->digest, STORE_HASH_LEN, digest);
	view_put_guid(&o, "id", a->id);
	view_put_text(&o, "vault", r->op.vault.name);
	view_put_text(&o, "act", a->act);
	view_put_text(&o, "state", state_of(v));
	json_put(&o, "approvals", json_integer(v->counted));
	json_put(&o, "needed", json_integer(v->needed));
	view_put_text(&o, "requester", requester);
	KMS_TRY(put_name(r, &o, "requester_name", a->requester, err));
	view_put_text(&o, "reason", a->reason);
	json_put(&o, "created", json_integer(a->created_s));
	json_put(&o, "expires", json_integer(a->expires_s));
	view_put_time(&o, "settled", a->settled_s);
	view_put_text(&o, "request", a->request);
	view_put_text(&o, "sha256", digest);
	for (size_t i = 0; i < v->vote_count; i++)
		KMS_TRY(vote_object(r, &v->votes[i], &votes, err));
	json_put(&o, "votes", KMS_TAKE(votes));
	*ret = KMS_TAKE(o);
	return KMS_OK;
}

static kms_status reply_approval(struct request *r, const struct approval_view *v, struct kms_err *err)
{
	json_t *o = NULL;

	KMS_TRY(approval_object(r, v, &o, err));
	return reply_json(r, 200, o, err);
}

/* ---- reading ---- */

static kms_status list_page(struct request *r, const uint8_t *after, bool only_open, json_t **value, char ret_next[GUID_TEXT_LEN + 1],
                            bool *ret_more, struct kms_err *err)
{
	struct approval_view *page = calloc(APPROVALS_PAGE, sizeof(*page)); /* with their votes too large for a stack */
	size_t count = 0;
	kms_status status = KMS_OK;

	if (page == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "approvals");
	status = approval_page(&r->op, after, only_open, page, APPROVALS_PAGE, &count, err);
	for (size_t i = 0; i < count; i++) {
		json_t *o = NULL;
		if (status == KMS_OK)
			status = approval_object(r, &page[i], &o, err);
		if (status == KMS_OK)
			json_add(value, o);
		guid_format(page[i].approval.id, ret_next);
		approval_view_clear(&page[i]);
	}
	free(page);
	*ret_more = count == APPROVALS_PAGE;
	return status;
}

kms_status api_approval_list(struct request *r, struct kms_err *err)
{
	const char *all = query_get(r, "all");
	JSON_AUTO *value = json_array();
	uint8_t cursor[STORE_ID_LEN];
	const uint8_t *after = NULL;
	char next[GUID_TEXT_LEN + 1];
	bool has_more = false;

	op_det_text(&r->op, "what", "approvals");
	if (all != NULL && strcmp(all, "0") != 0 && strcmp(all, "1") != 0)
		return kms_refuse(err, KMS_E_INVALID, "all: must be 0 (those that are open) or 1.");
	KMS_TRY(view_parse_after(r, cursor, &after, err));
	KMS_TRY(list_page(r, after, all == NULL || strcmp(all, "0") == 0, &value, next, &has_more, err));
	return reply_page(r, KMS_TAKE(value), has_more ? next : NULL, err);
}

#define APPROVAL_VIEW_AUTO __attribute__((cleanup(approval_view_clear))) struct approval_view

kms_status api_approval_get(struct request *r, struct kms_err *err)
{
	APPROVAL_VIEW_AUTO v = { 0 };
	uint8_t id[STORE_ID_LEN];

	op_det_text(&r->op, "what", "approval");
	KMS_TRY(view_parse_id(r->item, "The approval's id", id, err));
	op_det_guid(&r->op, "approval", id);
	KMS_TRY(approval_get(&r->op, id, &v, err));
	return reply_approval(r, &v, err);
}

/* ---- votes ---- */

static kms_status read_signature(const struct request *r, struct approval_signature *ret, bool *ret_signed, struct kms_err *err)
{
	const struct json_bytes *signature = &r->body.vote.signature;
	bool has_certificate = r->body.vote.certificate[0] != '\0';

	*ret_signed = signature->len > 0;
	if (has_certificate != *ret_signed)
		return kms_refuse(err, KMS_E_INVALID, "signature, certificate: only both together are a signature.");
	if (!*ret_signed)
		return KMS_OK;
	if (!hex_decode(r->body.vote.certificate, strlen(r->body.vote.certificate), ret->certificate, STORE_HASH_LEN))
		return kms_refuse(err, KMS_E_INVALID, "certificate: must be the SHA-256 of one of your certificates, 64 hexadecimal digits.");
	memcpy(ret->bytes, signature->data, signature->len);
	ret->len = signature->len;
	return KMS_OK;
}

static kms_status vote(struct request *r, bool approves, struct kms_err *err)
{
	APPROVAL_VIEW_AUTO v = { 0 };
	struct approval_signature signature = { 0 };
	uint8_t id[STORE_ID_LEN];
	bool is_signed = false;

	KMS_TRY(view_parse_id(r->item, "The approval's id", id, err));
	KMS_TRY(read_signature(r, &signature, &is_signed, err));
	KMS_TRY(approval_vote(&r->op, id, approves, r->body.vote.reason, is_signed ? &signature : NULL, &v, err));
	return reply_approval(r, &v, err);
}

kms_status api_approval_approve(struct request *r, struct kms_err *err) { return vote(r, true, err); }
kms_status api_approval_deny(struct request *r, struct kms_err *err) { return vote(r, false, err); }

kms_status api_approval_withdraw(struct request *r, struct kms_err *err)
{
	APPROVAL_VIEW_AUTO v = { 0 };
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The approval's id", id, err));
	KMS_TRY(approval_withdraw(&r->op, id, &v, err));
	return reply_approval(r, &v, err);
}
