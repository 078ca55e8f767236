/* storage/sqlite/read.c - the reads of the port: one statement each, ended before the call returns. */
#include "storage/sqlite/db.h"

static kms_status take_vault(struct sq_query *q, struct store_vault *ret, struct kms_err *err)
{
	struct store_vault v = { 0 };

	sq_take_bytes(q, v.id, sizeof(v.id));
	sq_take_text(q, v.name, sizeof(v.name));
	sq_take_bytes(q, v.directory, sizeof(v.directory));
	v.state = (enum store_vault_state)sq_take_uint(q, STORE_VAULT_SHREDDED);
	sq_take_bytes(q, v.root_id, sizeof(v.root_id));
	sq_take_bytes(q, v.pseudonym_id, sizeof(v.pseudonym_id));
	v.retention_days = (uint16_t)sq_take_uint(q, UINT16_MAX);
	v.has_purge_protection = sq_take_uint(q, 1) != 0;
	v.allows_rsa1_5 = sq_take_uint(q, 1) != 0;
	sq_take_some(q, v.canary_wrapped, sizeof(v.canary_wrapped), &v.canary_wrapped_len);
	sq_take_bytes(q, v.canary_hash, sizeof(v.canary_hash));
	v.quorum = (uint8_t)sq_take_uint(q, STORE_APPROVERS_MAX);
	v.purge_approvals = (uint8_t)sq_take_uint(q, STORE_APPROVERS_MAX);
	v.is_founded = sq_take_uint(q, 1) != 0;
	v.counts_installation = sq_take_uint(q, 1) != 0;
	v.has_networks = sq_take_uint(q, 1) != 0;
	sq_take_text(q, v.issuer, sizeof(v.issuer));
	v.created_s = sq_take_int(q);
	v.epoch = sq_take_uint(q, INT64_MAX);
	v.is_locked = sq_take_uint(q, 1) != 0;
	sq_take_or_none(q, v.next_root_id, sizeof(v.next_root_id));
	v.created_seq = sq_take_seq(q);
	v.person_days = (uint16_t)sq_take_uint(q, UINT16_MAX);
	sq_take_text(q, v.person_basis, sizeof(v.person_basis));
	if (v.state < STORE_VAULT_ACTIVE || v.quorum == 0)
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = v;
	return KMS_OK;
}

kms_status sq_take_key(struct sq_query *q, struct store_key *ret, struct kms_err *err)
{
	struct store_key k = { 0 };

	sq_take_bytes(q, k.id, sizeof(k.id));
	sq_take_bytes(q, k.vault_id, sizeof(k.vault_id));
	sq_take_text(q, k.name, sizeof(k.name));
	k.created_s = sq_take_int(q);
	k.deleted_s = sq_take_time(q);
	k.purge_s = sq_take_time(q);
	k.is_purging = sq_take_uint(q, 1) != 0;
	k.epoch = sq_take_uint(q, INT64_MAX);
	KMS_TRY(sq_taken(q, err));
	*ret = k;
	return KMS_OK;
}

static kms_status take_version(struct sq_query *q, bool with_tags, struct store_version *ret, struct kms_err *err)
{
	STORE_VERSION_AUTO v = { 0 };

	sq_take_bytes(q, v.id, sizeof(v.id));
	sq_take_bytes(q, v.key_id, sizeof(v.key_id));
	sq_take_bytes(q, v.obj, sizeof(v.obj));
	v.ordinal = sq_take_uint(q, INT64_MAX);
	v.kty = (uint8_t)sq_take_uint(q, UINT8_MAX);
	v.crv = (uint8_t)sq_take_uint(q, UINT8_MAX);
	v.bits = (uint16_t)sq_take_uint(q, UINT16_MAX);
	v.ops = (uint32_t)sq_take_uint(q, UINT32_MAX);
	v.is_enabled = sq_take_uint(q, 1) != 0;
	v.revoked = (uint8_t)sq_take_uint(q, UINT8_MAX);
	v.nbf_s = sq_take_time(q);
	v.exp_s = sq_take_time(q);
	v.created_s = sq_take_int(q);
	v.updated_s = sq_take_int(q);
	v.epoch = sq_take_uint(q, INT64_MAX);
	v.encryptions = sq_take_uint(q, INT64_MAX);
	sq_take_some(q, v.e, sizeof(v.e), &v.e_len);
	sq_take_copy(q, STORE_PUBLIC_MAX, &v.pub, &v.pub_len);
	sq_take_copy(q, STORE_BLOB_MAX, &v.wrapped, &v.wrapped_len);
	sq_take_or_none(q, v.root_id, sizeof(v.root_id));
	v.created_seq = sq_take_seq(q);
	if (with_tags)
		sq_take_text_copy(q, STORE_TAGS_MAX, &v.tags);
	KMS_TRY(sq_taken(q, err));
	*ret = v;
	v = (struct store_version){ 0 }; /* handed over */
	return KMS_OK;
}

kms_status sq_vault_by_name(struct store *s, const char *name, struct store_vault *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_VAULT_BY_NAME);

	sq_put_text(&q, name);
	KMS_TRY(sq_step_one(&q, err));
	return take_vault(&q, ret, err);
}

kms_status sq_vault_by_id(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_vault *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_VAULT_BY_ID);

	sq_put_id(&q, id);
	KMS_TRY(sq_step_one(&q, err));
	return take_vault(&q, ret, err);
}

kms_status sq_vaults(struct store *s, const char *after_name, struct store_vault *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_VAULTS);
	size_t count = 0;

	sq_put_text(&q, after_name != NULL ? after_name : "");
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_vault(&q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_key(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *name, struct store_key *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_KEY);

	sq_put_id(&q, vault_id);
	sq_put_text(&q, name);
	KMS_TRY(sq_step_one(&q, err));
	return sq_take_key(&q, ret, err);
}

static kms_status take_keys(struct sq_query *q, struct store_key *ret, size_t *ret_count, struct kms_err *err)
{
	size_t count = 0;

	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(sq_take_key(q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_keys(struct store *s, const uint8_t vault_id[STORE_ID_LEN], bool deleted, const char *after_name, struct store_key *ret,
                   size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), deleted ? SQ_KEYS_DELETED : SQ_KEYS);

	sq_put_id(&q, vault_id);
	sq_put_text(&q, after_name != NULL ? after_name : "");
	sq_put_u64(&q, cap);
	return take_keys(&q, ret, ret_count, err);
}

kms_status sq_keys_due(struct store *s, int64_t now_s, struct store_key *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_KEYS_DUE);

	sq_put_time(&q, now_s);
	sq_put_u64(&q, cap);
	return take_keys(&q, ret, ret_count, err);
}

kms_status sq_version(struct store *s, const uint8_t key_id[STORE_ID_LEN], const uint8_t *version_id, bool with_tags,
                      struct store_version *ret, struct kms_err *err)
{
	enum sq_id one = with_tags ? SQ_VERSION_TAGS : SQ_VERSION;
	enum sq_id latest = with_tags ? SQ_VERSION_LATEST_TAGS : SQ_VERSION_LATEST;
	SQ_QUERY_AUTO q = sq_start(sq_of(s), version_id != NULL ? one : latest);

	sq_put_id(&q, key_id);
	if (version_id != NULL)
		sq_put_id(&q, version_id);
	KMS_TRY(sq_step_one(&q, err));
	return take_version(&q, with_tags, ret, err);
}

kms_status sq_versions(struct store *s, const uint8_t key_id[STORE_ID_LEN], uint64_t after_ordinal, bool with_tags,
                       struct store_version *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), with_tags ? SQ_VERSIONS_TAGS : SQ_VERSIONS);
	kms_status status;
	size_t count = 0;

	sq_put_id(&q, key_id);
	sq_put_u64(&q, after_ordinal);
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		status = sq_step(&q, &has_row, err);
		if (status == KMS_OK && has_row)
			status = take_version(&q, with_tags, &ret[count], err);
		if (status != KMS_OK || !has_row)
			break;
	}
	if (status != KMS_OK) {
		while (count > 0)
			store_version_clear(&ret[--count]);
		return status;
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_version_of_object(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_version *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_VERSION_OF_OBJECT);

	sq_put_id(&q, obj);
	KMS_TRY(sq_step_one(&q, err));
	return take_version(&q, true, ret, err);
}

kms_status sq_policy(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_policy *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_POLICY);
	struct store_policy p = { 0 };

	sq_put_id(&q, key_id);
	KMS_TRY(sq_step_one(&q, err));
	sq_take_bytes(&q, p.key_id, sizeof(p.key_id));
	sq_take_text(&q, p.rotate_after_create, sizeof(p.rotate_after_create));
	sq_take_text(&q, p.rotate_before_expiry, sizeof(p.rotate_before_expiry));
	sq_take_text(&q, p.notify_before_expiry, sizeof(p.notify_before_expiry));
	sq_take_text(&q, p.expiry_time, sizeof(p.expiry_time));
	p.created_s = sq_take_int(&q);
	p.updated_s = sq_take_int(&q);
	KMS_TRY(sq_taken(&q, err));
	*ret = p;
	return KMS_OK;
}

static kms_status take_objects(struct sq_query *q, uint8_t (*ret)[STORE_ID_LEN], size_t *ret_count, struct kms_err *err)
{
	size_t count = 0;

	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(q, &has_row, err));
		if (!has_row)
			break;
		sq_take_bytes(q, ret[count], STORE_ID_LEN);
		KMS_TRY(sq_taken(q, err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_objects(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_obj[STORE_ID_LEN],
                      uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_OBJECTS);

	sq_put_id(&q, vault_id);
	sq_put_blob(&q, after_obj, after_obj != NULL ? STORE_ID_LEN : 0);
	sq_put_u64(&q, cap);
	return take_objects(&q, ret, ret_count, err);
}

kms_status sq_wrapped_under(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t root_id[STORE_ID_LEN],
                            const uint8_t after_obj[STORE_ID_LEN], uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), root_id != NULL ? SQ_WRAPPED_UNDER : SQ_WRAPPED);

	sq_put_id(&q, vault_id);
	sq_put_blob(&q, after_obj, after_obj != NULL ? STORE_ID_LEN : 0);
	sq_put_u64(&q, cap);
	if (root_id != NULL)
		sq_put_id(&q, root_id);
	return take_objects(&q, ret, ret_count, err);
}

kms_status sq_object_count(struct store *s, const uint8_t vault_id[STORE_ID_LEN], size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_OBJECT_COUNT);
	size_t count;

	sq_put_id(&q, vault_id);
	KMS_TRY(sq_step_one(&q, err));
	count = sq_take_uint(&q, INT64_MAX);
	KMS_TRY(sq_taken(&q, err));
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_object_known(struct store *s, const uint8_t obj[STORE_ID_LEN], bool *ret_known, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_OBJECT_KNOWN);
	bool is_known;

	sq_put_id(&q, obj);
	sq_put_int(&q, STORE_VAULT_SHREDDED);
	KMS_TRY(sq_step_one(&q, err));
	is_known = sq_take_uint(&q, 1) != 0;
	KMS_TRY(sq_taken(&q, err));
	*ret_known = is_known;
	return KMS_OK;
}

kms_status sq_intents(struct store *s, uint64_t after_seq, struct store_intent *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_INTENTS);
	size_t count = 0;

	sq_put_u64(&q, after_seq); /* UINT64_MAX becomes -1: from the first on */
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		struct store_intent i = { 0 };
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		i.seq = sq_take_uint(&q, INT64_MAX);
		i.is_of_closed_log = i.seq > STORE_SEQ_MAX;
		i.type = (uint32_t)sq_take_uint(&q, UINT32_MAX);
		sq_take_bytes(&q, i.vault_id, sizeof(i.vault_id));
		sq_take_bytes(&q, i.key_id, sizeof(i.key_id));
		sq_take_bytes(&q, i.obj, sizeof(i.obj));
		sq_take_text(&q, i.key_name, sizeof(i.key_name));
		KMS_TRY(sq_taken(&q, err));
		ret[count] = i;
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_meta(struct store *s, const char *name, struct store_meta *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_META);
	struct store_meta m = { 0 };

	sq_put_text(&q, name);
	KMS_TRY(sq_step_one(&q, err));
	sq_take_text(&q, m.name, sizeof(m.name));
	sq_take_some(&q, m.value, sizeof(m.value), &m.value_len);
	KMS_TRY(sq_taken(&q, err));
	*ret = m;
	return KMS_OK;
}

kms_status sq_event_count(struct store *s, uint64_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_EVENT_COUNT);
	uint64_t count;

	KMS_TRY(sq_step_one(&q, err));
	count = sq_take_uint(&q, INT64_MAX);
	KMS_TRY(sq_taken(&q, err));
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_event(struct store *s, uint64_t seq, struct store_event *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_EVENT);
	__attribute__((cleanup(store_event_clear))) struct store_event e = { 0 };
	uint8_t *leaf;

	sq_put_u64(&q, seq);
	KMS_TRY(sq_step_one(&q, err));
	e.seq = sq_take_uint(&q, INT64_MAX);
	sq_take_bytes(&q, e.id, sizeof(e.id));
	sq_take_bytes(&q, e.vault_id, sizeof(e.vault_id));
	e.ts_us = sq_take_int(&q);
	sq_take_bytes(&q, e.hash, sizeof(e.hash));
	sq_take_copy(&q, STORE_LEAF_MAX, &leaf, &e.leaf_len);
	e.leaf = (char *)leaf;
	KMS_TRY(sq_taken(&q, err));
	*ret = e;
	e = (struct store_event){ 0 }; /* handed over */
	return KMS_OK;
}

kms_status sq_node(struct store *s, unsigned level, uint64_t position, uint8_t ret_hash[STORE_HASH_LEN], struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), level == 0 ? SQ_NODE_LEAF : SQ_NODE);

	if (level > 0)
		sq_put_u64(&q, level);
	sq_put_u64(&q, position);
	KMS_TRY(sq_step_one(&q, err));
	sq_take_bytes(&q, ret_hash, STORE_HASH_LEN);
	return sq_taken(&q, err);
}
