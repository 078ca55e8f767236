/* server/core/approval_vote.c - requests as people see them, and what they say to them: approve, deny, withdraw. */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/approval_parts.h"
#include "server/core/principal.h"

#define SKEW_S 60 /* that the clock of a token's issuer may be ahead */

static const uint8_t NO_ID[STORE_ID_LEN];

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

static const struct store_vault *vault_of(const struct op *op) { return op->has_vault ? &op->vault : NULL; }

/* ---- as people see it ---- */

void approval_view_clear(struct approval_view *v)
{
	store_approval_clear(&v->approval);
	memset(v, 0, sizeof(*v));
}

/* What the policy asks for at present counts too, when it is more. */
static unsigned needed_of(const struct op *op, const struct store_approval *a)
{
	unsigned present = 1;

	if (op->has_vault)
		present = strcmp(a->act, ACT_KEY_PURGE) == 0 ? op->vault.purge_approvals : op->vault.quorum;
	if (present < a->quorum)
		present = a->quorum;
	return present > 0 ? present : 1;
}

/* Votes, and who counts, of the approval in *v. */
static kms_status fill_view(struct op *op, struct approval_view *v, struct kms_err *err)
{
	int64_t now_s = clock_wall_s(op->kms->clock);
	struct store_approval_use use = { 0 };

	KMS_TRY(store_votes(op->store, v->approval.id, v->votes, STORE_APPROVERS_MAX, &v->vote_count, err));
	KMS_TRY(approval_tally(op->store, vault_of(op), &v->approval, v->votes, v->vote_count, now_s, &use, NULL, err));
	v->counted = (unsigned)use.count;
	v->needed = needed_of(op, &v->approval);
	v->has_ended = now_s >= v->approval.expires_s;
	return KMS_OK;
}

kms_status approval_get(struct op *op, const uint8_t id[STORE_ID_LEN], struct approval_view *ret, struct kms_err *err)
{
	__attribute__((cleanup(approval_view_clear))) struct approval_view v = { 0 };
	kms_status status = store_approval(op->store, id, &v.approval, NULL);

	if (status == KMS_E_NOTFOUND || (status == KMS_OK && !same_id(v.approval.vault_id, op->has_vault ? op->vault.id : NO_ID)))
		return kms_refuse(err, KMS_E_NOTFOUND, "There is no such approval request here.");
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "approval lookup");
	KMS_TRY(fill_view(op, &v, err));
	*ret = v;
	memset(&v, 0, sizeof(v)); /* what it owns is the caller's now */
	return KMS_OK;
}

/* Hand one row over to its view. */
static void take_approval(struct store_approval *from, struct store_approval *ret)
{
	*ret = *from;
	memset(from, 0, sizeof(*from));
}

kms_status approval_page(struct op *op, const uint8_t *after_id, bool only_open, struct approval_view *ret, size_t cap, size_t *ret_count,
                         struct kms_err *err)
{
	struct store_approval *rows = calloc(cap, sizeof(*rows));
	size_t count = 0;
	kms_status status = KMS_OK;

	if (rows == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "approvals");
	status = store_approvals(op->store, op->has_vault ? op->vault.id : NO_ID, after_id, only_open, rows, cap, &count, err);
	for (size_t i = 0; i < count; i++) {
		memset(&ret[i], 0, sizeof(ret[i]));
		take_approval(&rows[i], &ret[i].approval);
		if (status == KMS_OK)
			status = fill_view(op, &ret[i], err);
	}
	free(rows);
	for (size_t i = 0; i < count && status != KMS_OK; i++)
		approval_view_clear(&ret[i]);
	if (status == KMS_OK)
		*ret_count = count;
	return status;
}

/* ---- signatures ---- */

void approval_text(const struct store_approval *a, bool approves, char ret_text[APPROVAL_TEXT_MAX])
{
	char id[GUID_TEXT_LEN + 1], digest[2 * STORE_HASH_LEN + 1];

	guid_format(a->id, id);
	hex_encode(a->digest, sizeof(a->digest), digest);
	(void)snprintf(ret_text, APPROVAL_TEXT_MAX, "holdfast-approval/v1\n%s\n%s\n%s\n", id, digest, approves ? "approve" : "deny");
}

static void free_x509(X509 **x) { X509_free(*x); }
static void free_pkey(EVP_PKEY **key) { EVP_PKEY_free(*key); }
static void free_md_ctx(EVP_MD_CTX **ctx) { EVP_MD_CTX_free(*ctx); }

/** @param padding  0 = the key's type has none */
static bool verify_as(EVP_PKEY *key, const EVP_MD *md, int padding, const char *text, const struct approval_signature *s)
{
	__attribute__((cleanup(free_md_ctx))) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *of_ctx = NULL;

	return ctx != NULL && EVP_DigestVerifyInit(ctx, &of_ctx, md, NULL, key) == 1 &&
	       (padding == 0 || EVP_PKEY_CTX_set_rsa_padding(of_ctx, padding) > 0) &&
	       (padding != RSA_PKCS1_PSS_PADDING || EVP_PKEY_CTX_set_rsa_pss_saltlen(of_ctx, RSA_PSS_SALTLEN_AUTO) > 0) &&
	       EVP_DigestVerify(ctx, s->bytes, s->len, (const uint8_t *)text, strlen(text)) == 1;
}

static bool verify(EVP_PKEY *key, const char *text, const struct approval_signature *s)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
		return verify_as(key, EVP_sha256(), RSA_PKCS1_PADDING, text, s) || verify_as(key, EVP_sha256(), RSA_PKCS1_PSS_PADDING, text, s);
	case EVP_PKEY_EC:
		return verify_as(key, EVP_sha256(), 0, text, s);
	case EVP_PKEY_ED25519:
		return verify_as(key, NULL, 0, text, s);
	default: return false;
	}
}

/* The certificate's own dates, by our clock. */
static bool is_in_date(const X509 *x, int64_t now_s)
{
	time_t now = (time_t)now_s;

	return X509_cmp_time(X509_get0_notBefore(x), &now) < 0 && X509_cmp_time(X509_get0_notAfter(x), &now) > 0;
}

static bool signature_holds(const struct store_credential *c, const char *text, const struct approval_signature *s, int64_t now_s)
{
	const uint8_t *der = c->data;
	__attribute__((cleanup(free_x509))) X509 *x = der != NULL ? d2i_X509(NULL, &der, (long)c->data_len) : NULL;
	__attribute__((cleanup(free_pkey))) EVP_PKEY *key = x != NULL ? X509_get_pubkey(x) : NULL;
	bool holds = key != NULL && is_in_date(x, now_s) && verify(key, text, s);

	ERR_clear_error(); /* what did not verify is no failure of ours */
	return holds;
}

static kms_status check_signature(struct op *op, const struct store_approval *a, bool approves, const struct approval_signature *s, struct kms_err *err)
{
	int64_t now_s = clock_wall_s(op->kms->clock);
	STORE_CREDENTIAL_AUTO c = { 0 };
	char text[APPROVAL_TEXT_MAX];
	kms_status status = credential_find(op->store, op->principal.id, STORE_CREDENTIAL_CERTIFICATE, s->certificate, &c, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "certificate of an approver");
	if (status == KMS_E_NOTFOUND || (c.expires_s != STORE_NO_TIME && now_s >= c.expires_s))
		return kms_refuse(err, KMS_E_INVALID,
		                  "certificate: none of the approver's certificates that are in date has this SHA-256; add it with holdfast credential "
		                  "add-certificate.");
	approval_text(a, approves, text);
	if (s->len == 0 || s->len > sizeof(s->bytes) || !signature_holds(&c, text, s, now_s))
		return kms_refuse(err, KMS_E_INVALID,
		                  "signature: is not one over the text of this vote with the key of that certificate, or the certificate is not in date.");
	return KMS_OK;
}

/* ---- votes ---- */

/* A person who has just shown who he is, and who is not the one that asks. */
static kms_status check_voter(struct op *op, const struct store_approval *a, struct kms_err *err)
{
	int64_t now_s = clock_wall_s(op->kms->clock);
	int64_t issued_s = op->caller.issued_s;
	int fresh_s = op->caller.issuer != NULL ? APPROVAL_FRESH_EXTERNAL_S : APPROVAL_FRESH_S;
	bool may = false;

	if (op->caller.auth != EVENT_AUTH_JWT || !op->has_principal)
		return kms_refuse(err, KMS_E_FORBIDDEN, "Only a principal with a token approves or denies; the local socket and client certificates never do.");
	if (issued_s <= 0 || issued_s <= now_s - fresh_s || issued_s > now_s + SKEW_S)
		return kms_refuse(err, KMS_E_FORBIDDEN, "To approve or deny takes a token that was issued less than %d seconds ago; get a new one.",
		                  fresh_s);
	if (same_id(a->requester, op->principal.id))
		return kms_refuse(err, KMS_E_FORBIDDEN, "Nobody approves or denies a request of his own; the requester may withdraw it.");
	KMS_TRY(approval_may_vote(op->store, vault_of(op), &op->principal, now_s, &may, err));
	if (!may)
		return kms_refuse(err, KMS_E_FORBIDDEN, "%s may not approve here: '%s' must be held by a role of its own, or of a group that it was made a "
		                  "member of here.", op->actor_name, permission_action(PERM_APPROVAL_WRITE));
	return KMS_OK;
}

static kms_status check_open(const struct approval_view *v, struct kms_err *err)
{
	switch (v->approval.state) {
	case STORE_APPROVAL_OPEN: break;
	case STORE_APPROVAL_USED: return kms_refuse(err, KMS_E_CONFLICT, "The request was approved, and the act begun.");
	case STORE_APPROVAL_DENIED: return kms_refuse(err, KMS_E_CONFLICT, "The request was denied.");
	case STORE_APPROVAL_WITHDRAWN: return kms_refuse(err, KMS_E_CONFLICT, "The request was withdrawn, or has ended.");
	}
	if (v->has_ended)
		return kms_refuse(err, KMS_E_CONFLICT, "The request has ended; whoever needs it asks anew.");
	return KMS_OK;
}

static kms_status check_place(const struct op *op, const struct approval_view *v, bool approves, struct kms_err *err)
{
	for (size_t i = 0; i < v->vote_count; i++)
		if (same_id(v->votes[i].approver_id, op->principal.id))
			return kms_refuse(err, KMS_E_CONFLICT, "%s has voted on this request.", op->actor_name);
	/* A denial always has a place: it is the last vote. */
	if (approves && v->vote_count >= STORE_APPROVERS_MAX)
		return kms_refuse(err, KMS_E_CONFLICT,
		                  "The request has %d votes, and not all of them count any more; its requester must withdraw it and ask anew.",
		                  STORE_APPROVERS_MAX);
	return KMS_OK;
}

static void note_vote(struct op *op, const struct approval_view *v, const struct store_vote *vote)
{
	char digest[2 * STORE_HASH_LEN + 1];

	op_det_text(op, "act", v->approval.act);
	hex_encode(v->approval.digest, STORE_HASH_LEN, digest);
	op_det_text(op, "digest", digest);
	op_det_text(op, "reason", vote->reason);
	if (vote->signature_len > 0) {
		hex_encode(vote->certificate, STORE_HASH_LEN, digest);
		op_det_text(op, "certificate", digest);
	}
}

static void close_request(struct op *op, struct store_approval *a, enum store_approval_state state, int64_t now_s)
{
	struct store_change *c = op_change(op, STORE_APPROVAL_CLOSE);

	a->state = state;
	a->settled_s = now_s;
	memcpy(c->approval.id, a->id, STORE_ID_LEN);
	c->approval.state = state;
	c->approval.settled_s = now_s;
}

/* The view as it will be when the vote has been written. */
static void add_to_view(struct approval_view *v, const struct store_vote *vote)
{
	if (v->vote_count < STORE_APPROVERS_MAX)
		v->votes[v->vote_count++] = *vote;
	v->counted = vote->approves ? v->counted + 1 : 0;
}

kms_status approval_vote(struct op *op, const uint8_t id[STORE_ID_LEN], bool approves, const char *reason, const struct approval_signature *signature,
                         struct approval_view *ret, struct kms_err *err)
{
	__attribute__((cleanup(approval_view_clear))) struct approval_view v = { 0 };
	struct store_vote vote = { .approves = approves, .created_s = clock_wall_s(op->kms->clock) };

	op_det_guid(op, "approval", id);
	op_det_text(op, "step", approves ? "approve" : "deny");
	KMS_TRY(approval_check_reason(reason, err));
	KMS_TRY(approval_get(op, id, &v, err));
	KMS_TRY(check_voter(op, &v.approval, err));
	KMS_TRY(check_open(&v, err));
	KMS_TRY(check_place(op, &v, approves, err));
	memcpy(vote.approval_id, id, STORE_ID_LEN);
	memcpy(vote.approver_id, op->principal.id, STORE_ID_LEN);
	(void)snprintf(vote.reason, sizeof(vote.reason), "%s", reason);
	if (signature != NULL) {
		KMS_TRY(check_signature(op, &v.approval, approves, signature, err));
		memcpy(vote.certificate, signature->certificate, STORE_HASH_LEN);
		memcpy(vote.signature, signature->bytes, signature->len);
		vote.signature_len = signature->len;
	}
	note_vote(op, &v, &vote);
	op->is_sync = true; /* two votes of one approver at once: one of them is a conflict */
	op_change(op, STORE_APPROVAL_VOTE)->vote = vote;
	if (!approves)
		close_request(op, &v.approval, STORE_APPROVAL_DENIED, vote.created_s);
	add_to_view(&v, &vote);
	*ret = v;
	memset(&v, 0, sizeof(v));
	return KMS_OK;
}

kms_status approval_withdraw(struct op *op, const uint8_t id[STORE_ID_LEN], struct approval_view *ret, struct kms_err *err)
{
	__attribute__((cleanup(approval_view_clear))) struct approval_view v = { 0 };
	uint8_t requester[STORE_ID_LEN] = { 0 };

	op_det_guid(op, "approval", id);
	op_det_text(op, "step", "withdraw");
	KMS_TRY(approval_get(op, id, &v, err));
	KMS_TRY(approval_requester(op, requester, err));
	if (!same_id(v.approval.requester, requester))
		return kms_refuse(err, KMS_E_FORBIDDEN, "Only the requester may withdraw a request; an approver may deny it.");
	KMS_TRY(check_open(&v, err));
	op_det_text(op, "act", v.approval.act);
	op->is_sync = true;
	close_request(op, &v.approval, STORE_APPROVAL_WITHDRAWN, clock_wall_s(op->kms->clock));
	*ret = v;
	memset(&v, 0, sizeof(v));
	return KMS_OK;
}
