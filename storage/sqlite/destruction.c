/* storage/sqlite/destruction.c - what tells of destructions, and is never removed: tombstones and certificates. */
#include <string.h>

#include "storage/sqlite/db.h"

static kms_status take_tombstone(struct sq_query *q, struct store_tombstone *ret, struct kms_err *err)
{
	struct store_tombstone t = { 0 };
	size_t spki_len;

	sq_take_bytes(q, t.obj, sizeof(t.obj));
	t.kind = (enum store_tombstone_kind)sq_take_uint(q, STORE_TOMBSTONE_EPOCH);
	t.is_resident = sq_take_uint(q, 1) != 0;
	sq_take_bytes(q, t.vault_id, sizeof(t.vault_id));
	sq_take_text(q, t.key_name, sizeof(t.key_name));
	sq_take_bytes(q, t.version_id, sizeof(t.version_id));
	t.kty = (uint8_t)sq_take_uint(q, UINT8_MAX);
	t.crv = (uint8_t)sq_take_uint(q, UINT8_MAX);
	t.bits = (uint16_t)sq_take_uint(q, UINT16_MAX);
	sq_take_some(q, t.spki_sha256, sizeof(t.spki_sha256), &spki_len);
	t.has_spki = spki_len > 0;
	t.revoked = (uint8_t)sq_take_uint(q, UINT8_MAX);
	t.created_seq = sq_take_seq(q);
	t.intent = sq_take_uint(q, INT64_MAX);
	t.seq = sq_take_seq(q);
	sq_take_bytes(q, t.mac, sizeof(t.mac));
	if (t.kind < STORE_TOMBSTONE_VERSION || (t.has_spki && spki_len != sizeof(t.spki_sha256)))
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = t;
	return KMS_OK;
}

kms_status sq_tombstone(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_tombstone *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_TOMBSTONE);

	sq_put_id(&q, obj);
	KMS_TRY(sq_step_one(&q, err));
	return take_tombstone(&q, ret, err);
}

kms_status sq_tombstones(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, const uint8_t after_obj[STORE_ID_LEN],
                         struct store_tombstone *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_TOMBSTONES);
	size_t count = 0;

	sq_put_id(&q, vault_id);
	sq_put_u64(&q, intent);
	sq_put_blob(&q, after_obj, after_obj != NULL ? STORE_ID_LEN : 0);
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_tombstone(&q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_revival(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_revival *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_REVIVAL);

	sq_put_id(&q, vault_id);
	sq_put_u64(&q, intent);
	sq_put_int(&q, STORE_TOMBSTONE_VERSION);
	sq_put_int(&q, STORE_VAULT_SHREDDED);
	sq_put_u64(&q, STORE_SEQ_MAX);
	sq_put_int(&q, STORE_CERTIFICATE_COMPLETE);
	KMS_TRY(sq_step_one(&q, err));
	ret->has_others = sq_take_uint(&q, 1) != 0;
	ret->lives = sq_take_uint(&q, 1) != 0;
	ret->may_linger = sq_take_uint(&q, 1) != 0;
	ret->made_seq = sq_take_seq(&q);
	return sq_taken(&q, err);
}

kms_status sq_tombstone_add(struct sqlite_store *db, const struct store_tombstone *t, uint64_t seq, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_TOMBSTONE_ADD);

	sq_put_id(&q, t->obj);
	sq_put_int(&q, t->kind);
	sq_put_int(&q, t->is_resident);
	sq_put_id(&q, t->vault_id);
	sq_put_text(&q, t->key_name);
	sq_put_id(&q, t->version_id);
	sq_put_int(&q, t->kty);
	sq_put_int(&q, t->crv);
	sq_put_int(&q, t->bits);
	if (t->has_spki)
		sq_put_blob(&q, t->spki_sha256, sizeof(t->spki_sha256));
	else
		sq_put_null(&q);
	sq_put_int(&q, t->revoked);
	sq_put_seq(&q, t->created_seq);
	sq_put_u64(&q, t->intent);
	sq_put_u64(&q, seq);
	sq_put_blob(&q, t->mac, sizeof(t->mac));
	return sq_change(&q, KMS_E_CONFLICT, err);
}

/* None is "", not NULL. */
static void take_text(struct sq_query *q, size_t max, char **ret_text)
{
	sq_take_text_copy(q, max, ret_text);
	if (*ret_text == NULL)
		*ret_text = strdup("");
	if (*ret_text == NULL)
		q->is_out_of_memory = true;
}

static void take_texts(struct sq_query *q, struct store_certificate *c)
{
	take_text(q, STORE_FACTS_MAX, &c->checks);
	take_text(q, STORE_FACTS_MAX, &c->copies);
	take_text(q, STORE_FACTS_MAX, &c->residual);
	take_text(q, STORE_FACTS_MAX, &c->hsm);
	take_text(q, STORE_SIGNATURES_MAX, &c->signatures);
}

static bool is_whole(const struct store_certificate *c)
{
	bool is_signed = c->state == STORE_CERTIFICATE_PENDING || c->state == STORE_CERTIFICATE_COMPLETE;

	return c->scope >= STORE_CERTIFICATE_KEY && c->state >= STORE_CERTIFICATE_BEGUN && is_signed == (c->issued_s != STORE_NO_TIME) &&
	       (c->state == STORE_CERTIFICATE_BEGUN) == (c->outcome == STORE_NO_SEQ) &&
	       (c->state == STORE_CERTIFICATE_PENDING) == (c->until_s != STORE_NO_TIME);
}

static kms_status take_certificate(struct sq_query *q, struct store_certificate *ret, struct kms_err *err)
{
	STORE_CERTIFICATE_AUTO c = { 0 };

	sq_take_bytes(q, c.id, sizeof(c.id));
	sq_take_bytes(q, c.vault_id, sizeof(c.vault_id));
	sq_take_text(q, c.key_name, sizeof(c.key_name));
	c.scope = (enum store_certificate_scope)sq_take_uint(q, STORE_CERTIFICATE_ROOT);
	c.state = (enum store_certificate_state)sq_take_uint(q, STORE_CERTIFICATE_COMPLETE);
	c.basis = (uint8_t)sq_take_uint(q, UINT8_MAX);
	c.method = (uint8_t)sq_take_uint(q, UINT8_MAX);
	sq_take_text(q, c.origin, sizeof(c.origin));
	c.intent = sq_take_uint(q, INT64_MAX);
	c.outcome = sq_take_seq(q);
	sq_take_or_none(q, c.intent_leaf, sizeof(c.intent_leaf));
	sq_take_or_none(q, c.outcome_leaf, sizeof(c.outcome_leaf));
	c.size = sq_take_uint(q, INT64_MAX);
	sq_take_or_none(q, c.root, sizeof(c.root));
	c.wrapped = sq_take_uint(q, INT64_MAX);
	c.approved_us = sq_take_int(q);
	c.destroyed_us = sq_take_int(q);
	c.verified_us = sq_take_int(q);
	c.created_s = sq_take_int(q);
	c.issued_s = sq_take_time(q);
	c.until_s = sq_take_time(q);
	take_texts(q, &c);
	if (!is_whole(&c))
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = c;
	c = (struct store_certificate){ 0 }; /* handed over */
	return KMS_OK;
}

kms_status sq_certificate(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_certificate *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CERTIFICATE);

	sq_put_id(&q, id);
	KMS_TRY(sq_step_one(&q, err));
	return take_certificate(&q, ret, err);
}

kms_status sq_certificate_of_intent(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_certificate *ret,
                                    struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CERTIFICATE_OF_INTENT);

	sq_put_id(&q, vault_id);
	sq_put_u64(&q, intent);
	KMS_TRY(sq_step_one(&q, err));
	return take_certificate(&q, ret, err);
}

static enum sq_id certificates_statement(bool of_vault, bool only_open)
{
	if (of_vault)
		return only_open ? SQ_CERTIFICATES_OF_OPEN : SQ_CERTIFICATES_OF;
	return only_open ? SQ_CERTIFICATES_OPEN : SQ_CERTIFICATES;
}

kms_status sq_certificates(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN], bool only_open,
                           struct store_certificate *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), certificates_statement(vault_id != NULL, only_open));
	kms_status status;
	size_t count = 0;

	sq_put_blob(&q, after_id, after_id != NULL ? STORE_ID_LEN : 0);
	sq_put_u64(&q, cap);
	if (vault_id != NULL)
		sq_put_id(&q, vault_id);
	for (bool has_row = true;; count++) {
		status = sq_step(&q, &has_row, err);
		if (status == KMS_OK && has_row)
			status = take_certificate(&q, &ret[count], err);
		if (status != KMS_OK || !has_row)
			break;
	}
	if (status != KMS_OK) {
		while (count > 0)
			store_certificate_clear(&ret[--count]);
		return status;
	}
	*ret_count = count;
	return KMS_OK;
}

static void put_text(struct sq_query *q, const char *text) { sq_put_text(q, text != NULL ? text : ""); }

kms_status sq_certificate_add(struct sqlite_store *db, const struct store_certificate *c, uint64_t seq, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CERTIFICATE_ADD);

	sq_put_id(&q, c->id);
	sq_put_id(&q, c->vault_id);
	sq_put_text(&q, c->key_name);
	sq_put_int(&q, c->scope);
	sq_put_int(&q, c->basis);
	sq_put_int(&q, c->method);
	sq_put_u64(&q, seq);
	sq_put_u64(&q, c->wrapped);
	sq_put_int(&q, c->approved_us);
	sq_put_int(&q, c->created_s);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

kms_status sq_certificate_fill(struct sqlite_store *db, const struct store_certificate *c, uint64_t seq, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CERTIFICATE_FILL);

	sq_put_id(&q, c->id);
	sq_put_int(&q, c->method);
	sq_put_u64(&q, c->wrapped);
	sq_put_int(&q, c->approved_us);
	sq_put_int(&q, c->destroyed_us);
	sq_put_int(&q, c->verified_us);
	put_text(&q, c->checks);
	sq_put_u64(&q, seq);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

kms_status sq_certificate_set(struct sqlite_store *db, const struct store_certificate *c, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CERTIFICATE_SET);

	sq_put_id(&q, c->id);
	sq_put_int(&q, c->state);
	sq_put_u64(&q, c->size);
	sq_put_blob(&q, c->root, sizeof(c->root));
	sq_put_blob(&q, c->intent_leaf, sizeof(c->intent_leaf));
	sq_put_blob(&q, c->outcome_leaf, sizeof(c->outcome_leaf));
	sq_put_time(&q, c->until_s);
	put_text(&q, c->copies);
	put_text(&q, c->residual);
	put_text(&q, c->hsm);
	sq_put_time(&q, c->issued_s);
	sq_put_text(&q, c->signatures);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}

kms_status sq_certificate_sign(struct sqlite_store *db, const struct store_certificate *c, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CERTIFICATE_SIGN);

	sq_put_id(&q, c->id);
	sq_put_time(&q, c->issued_s);
	sq_put_text(&q, c->signatures);
	return sq_change_row(db, &q, KMS_E_FENCED, err);
}
