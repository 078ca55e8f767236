/* storage/sqlite/access.c - who may call and what they may do: address ranges, principals, credentials, roles, groups. Whatever changes what
 * a caller may do raises an epoch in the same statement list, so that a result which was computed before is withheld. */
#include "storage/sqlite/db.h"

kms_status sq_networks(struct store *s, const uint8_t vault_id[STORE_ID_LEN], char ret[STORE_NETWORK_MAX + 1], struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_NETWORKS);
	bool has_row = false;

	sq_put_id(&q, vault_id);
	KMS_TRY(sq_step(&q, &has_row, err));
	if (!has_row) {
		ret[0] = '\0';
		return KMS_OK;
	}
	sq_take_text(&q, ret, STORE_NETWORK_MAX + 1);
	/* An empty row would read as "everybody". */
	if (ret[0] == '\0')
		q.is_damaged = true;
	return sq_taken(&q, err);
}

static kms_status take_principal(struct sq_query *q, struct store_principal *ret, struct kms_err *err)
{
	struct store_principal p = { 0 };

	sq_take_bytes(q, p.id, sizeof(p.id));
	sq_take_bytes(q, p.vault_id, sizeof(p.vault_id));
	sq_take_text(q, p.name, sizeof(p.name));
	sq_take_bytes(q, p.pid, sizeof(p.pid));
	p.kind = (enum store_principal_kind)sq_take_uint(q, STORE_PRINCIPAL_GROUP);
	p.is_enabled = sq_take_uint(q, 1) != 0;
	p.tokens_from_s = sq_take_int(q);
	p.created_s = sq_take_int(q);
	p.epoch = sq_take_uint(q, INT64_MAX);
	if (p.kind < STORE_PRINCIPAL_CALLER)
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = p;
	return KMS_OK;
}

static kms_status take_principals(struct sq_query *q, struct store_principal *ret, size_t *ret_count, struct kms_err *err)
{
	size_t count = 0;

	for (bool has_row = true;; count++) {
		KMS_TRY(sq_step(q, &has_row, err));
		if (!has_row)
			break;
		KMS_TRY(take_principal(q, &ret[count], err));
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_principal(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_PRINCIPAL);

	sq_put_id(&q, id);
	KMS_TRY(sq_step_one(&q, err));
	return take_principal(&q, ret, err);
}

/* A page of the principals that belong to one id: to a vault's directory, or to a group. */
static kms_status principals_of(struct sqlite_store *db, enum sq_id statement, const uint8_t id[STORE_ID_LEN],
                                const uint8_t after_id[STORE_ID_LEN], struct store_principal *ret, size_t cap, size_t *ret_count,
                                struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, statement);

	sq_put_id(&q, id);
	sq_put_blob(&q, after_id, after_id != NULL ? STORE_ID_LEN : 0);
	sq_put_u64(&q, cap);
	return take_principals(&q, ret, ret_count, err);
}

kms_status sq_principals(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN],
                         struct store_principal *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	return principals_of(sq_of(s), SQ_PRINCIPALS, vault_id, after_id, ret, cap, ret_count, err);
}

kms_status sq_members(struct store *s, const uint8_t group_id[STORE_ID_LEN], const uint8_t after_id[STORE_ID_LEN],
                      struct store_principal *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	return principals_of(sq_of(s), SQ_MEMBERS, group_id, after_id, ret, cap, ret_count, err);
}

kms_status sq_groups_of(struct store *s, const uint8_t member_id[STORE_ID_LEN], struct store_principal *ret, size_t cap, size_t *ret_count,
                        struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_GROUPS_OF);

	sq_put_id(&q, member_id);
	sq_put_u64(&q, cap);
	return take_principals(&q, ret, ret_count, err);
}

static kms_status take_credential(struct sq_query *q, struct store_credential *ret, struct kms_err *err)
{
	STORE_CREDENTIAL_AUTO c = { 0 };

	sq_take_bytes(q, c.id, sizeof(c.id));
	sq_take_bytes(q, c.principal_id, sizeof(c.principal_id));
	c.kind = (enum store_credential_kind)sq_take_uint(q, STORE_CREDENTIAL_IDENTITY);
	sq_take_bytes(q, c.hash, sizeof(c.hash));
	sq_take_text(q, c.label, sizeof(c.label));
	c.created_s = sq_take_int(q);
	c.expires_s = sq_take_time(q);
	sq_take_copy(q, STORE_CREDENTIAL_DATA_MAX, &c.data, &c.data_len);
	if (c.kind < STORE_CREDENTIAL_SECRET)
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = c;
	c = (struct store_credential){ 0 }; /* handed over */
	return KMS_OK;
}

kms_status sq_credentials(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_credential *ret, size_t cap,
                          size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CREDENTIALS);
	kms_status status;
	size_t count = 0;

	sq_put_id(&q, principal_id);
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		status = sq_step(&q, &has_row, err);
		if (status == KMS_OK && has_row)
			status = take_credential(&q, &ret[count], err);
		if (status != KMS_OK || !has_row)
			break;
	}
	if (status != KMS_OK) {
		while (count > 0)
			store_credential_clear(&ret[--count]);
		return status;
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_credential(struct store *s, enum store_credential_kind kind, const uint8_t hash[STORE_HASH_LEN], struct store_credential *ret,
                         struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CREDENTIAL);

	sq_put_int(&q, kind);
	sq_put_blob(&q, hash, STORE_HASH_LEN);
	KMS_TRY(sq_step_one(&q, err));
	return take_credential(&q, ret, err);
}

kms_status sq_roles(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_assignment *ret, size_t cap, size_t *ret_count,
                    struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_ROLES);
	size_t count = 0;

	sq_put_id(&q, principal_id);
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		struct store_assignment a = { 0 };
		KMS_TRY(sq_step(&q, &has_row, err));
		if (!has_row)
			break;
		sq_take_bytes(&q, a.principal_id, sizeof(a.principal_id));
		sq_take_bytes(&q, a.vault_id, sizeof(a.vault_id));
		sq_take_text(&q, a.key_name, sizeof(a.key_name));
		a.role = (uint32_t)sq_take_uint(&q, UINT32_MAX);
		a.expires_s = sq_take_time(&q);
		a.created_s = sq_take_int(&q);
		KMS_TRY(sq_taken(&q, err));
		ret[count] = a;
	}
	*ret_count = count;
	return KMS_OK;
}

static kms_status take_role(struct sq_query *q, struct store_role *ret, struct kms_err *err)
{
	STORE_ROLE_AUTO r = { 0 };

	sq_take_bytes(q, r.id, sizeof(r.id));
	sq_take_bytes(q, r.vault_id, sizeof(r.vault_id));
	r.number = (uint32_t)sq_take_uint(q, UINT32_MAX);
	sq_take_text(q, r.name, sizeof(r.name));
	sq_take_text_copy(q, STORE_ACTIONS_MAX, &r.actions);
	r.created_s = sq_take_int(q);
	/* A number below would be a built-in role's. */
	if (r.number < STORE_CUSTOM_ROLE || r.actions == NULL)
		q->is_damaged = true;
	KMS_TRY(sq_taken(q, err));
	*ret = r;
	r = (struct store_role){ 0 }; /* handed over */
	return KMS_OK;
}

kms_status sq_custom_role(struct store *s, uint32_t number, struct store_role *ret, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CUSTOM_ROLE);

	sq_put_int(&q, number);
	KMS_TRY(sq_step_one(&q, err));
	return take_role(&q, ret, err);
}

kms_status sq_custom_roles(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint32_t after_number, struct store_role *ret, size_t cap,
                           size_t *ret_count, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(sq_of(s), SQ_CUSTOM_ROLES);
	kms_status status;
	size_t count = 0;

	sq_put_id(&q, vault_id);
	sq_put_int(&q, after_number);
	sq_put_u64(&q, cap);
	for (bool has_row = true;; count++) {
		status = sq_step(&q, &has_row, err);
		if (status == KMS_OK && has_row)
			status = take_role(&q, &ret[count], err);
		if (status != KMS_OK || !has_row)
			break;
	}
	if (status != KMS_OK) {
		while (count > 0)
			store_role_clear(&ret[--count]);
		return status;
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status sq_networks_set(struct sqlite_store *db, const struct store_networks *n, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_NETWORKS_SET);

	KMS_TRY(sq_change_one(db, SQ_VAULT_TOUCH, n->vault_id, err));
	if (n->text[0] == '\0')
		return sq_change_of(db, SQ_NETWORKS_DROP, n->vault_id, err);
	sq_put_id(&q, n->vault_id);
	sq_put_text(&q, n->text);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

/* A caller has an epoch of its own; what a group holds concerns whoever is in it, so its whole vault is told. */
static kms_status touch_holder(struct sqlite_store *db, const uint8_t principal_id[STORE_ID_LEN], struct kms_err *err)
{
	KMS_TRY(sq_change_of(db, SQ_CALLER_TOUCH, principal_id, err));
	if (sqlite3_changes(db->db) > 0)
		return KMS_OK;
	return sq_change_one(db, SQ_GROUP_TOUCH, principal_id, err);
}

kms_status sq_principal_add(struct sqlite_store *db, const struct store_principal *p, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_PRINCIPAL_ADD);

	sq_put_id(&q, p->id);
	sq_put_id(&q, p->vault_id);
	sq_put_text(&q, p->name);
	sq_put_blob(&q, p->pid, sizeof(p->pid));
	sq_put_int(&q, p->kind);
	sq_put_int(&q, p->is_enabled);
	sq_put_int(&q, p->tokens_from_s);
	sq_put_int(&q, p->created_s);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

kms_status sq_principal_set(struct sqlite_store *db, const struct store_principal *p, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_PRINCIPAL_SET);

	sq_put_id(&q, p->id);
	sq_put_int(&q, p->is_enabled);
	sq_put_int(&q, p->tokens_from_s);
	sq_put_u64(&q, p->epoch);
	KMS_TRY(sq_change_row(db, &q, KMS_E_FENCED, err));
	return sq_change_of(db, SQ_GROUP_TOUCH, p->id, err); /* a caller is no row of it */
}

kms_status sq_credential_add(struct sqlite_store *db, const struct store_credential *c, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CREDENTIAL_ADD);

	/* First, since it tells a principal that is gone from one that has too many. A group has no secrets: it is only what a token names. */
	if (c->kind == STORE_CREDENTIAL_IDENTITY)
		KMS_TRY(touch_holder(db, c->principal_id, err));
	else
		KMS_TRY(sq_change_one(db, SQ_CALLER_TOUCH, c->principal_id, err));
	sq_put_id(&q, c->id);
	sq_put_id(&q, c->principal_id);
	sq_put_int(&q, c->kind);
	sq_put_blob(&q, c->hash, sizeof(c->hash));
	sq_put_text(&q, c->label);
	sq_put_int(&q, c->created_s);
	sq_put_time(&q, c->expires_s);
	if (c->data != NULL)
		sq_put_blob(&q, c->data, c->data_len);
	else
		sq_put_null(&q);
	sq_put_int(&q, STORE_CREDENTIALS_MAX);
	return sq_change_row(db, &q, KMS_E_CONFLICT, err);
}

kms_status sq_credential_remove(struct sqlite_store *db, const struct store_credential *c, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_CREDENTIAL_REMOVE);

	sq_put_id(&q, c->id);
	sq_put_id(&q, c->principal_id);
	KMS_TRY(sq_change_row(db, &q, KMS_E_NOTFOUND, err));
	return touch_holder(db, c->principal_id, err);
}

kms_status sq_role_add(struct sqlite_store *db, const struct store_assignment *a, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_ROLE_ADD);

	sq_put_id(&q, a->principal_id);
	sq_put_id(&q, a->vault_id);
	sq_put_text(&q, a->key_name);
	sq_put_int(&q, a->role);
	sq_put_time(&q, a->expires_s);
	sq_put_int(&q, a->created_s);
	KMS_TRY(sq_change_row(db, &q, KMS_E_FENCED, err));
	return touch_holder(db, a->principal_id, err);
}

kms_status sq_role_remove(struct sqlite_store *db, const struct store_assignment *a, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_ROLE_REMOVE);

	sq_put_id(&q, a->principal_id);
	sq_put_id(&q, a->vault_id);
	sq_put_text(&q, a->key_name);
	sq_put_int(&q, a->role);
	KMS_TRY(sq_change_row(db, &q, KMS_E_NOTFOUND, err));
	return touch_holder(db, a->principal_id, err);
}

kms_status sq_role_define(struct sqlite_store *db, const struct store_role *r, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_ROLE_DEFINE);

	sq_put_id(&q, r->id);
	sq_put_id(&q, r->vault_id);
	sq_put_text(&q, r->name);
	sq_put_text(&q, r->actions);
	sq_put_int(&q, r->created_s);
	return sq_change(&q, KMS_E_CONFLICT, err);
}

kms_status sq_role_drop(struct sqlite_store *db, const struct store_role *r, struct kms_err *err)
{
	SQ_QUERY_AUTO touch = sq_start(db, SQ_ROLE_TOUCH);
	SQ_QUERY_AUTO drop = sq_start(db, SQ_ROLE_DROP);

	/* First, since it tells a role that there is none from one that somebody has. */
	sq_put_id(&touch, r->id);
	sq_put_id(&touch, r->vault_id);
	KMS_TRY(sq_change_row(db, &touch, KMS_E_NOTFOUND, err));
	sq_put_id(&drop, r->id);
	return sq_change_row(db, &drop, KMS_E_CONFLICT, err);
}

static void put_member(struct sq_query *q, const struct store_member *m)
{
	sq_put_id(q, m->group_id);
	sq_put_id(q, m->member_id);
}

kms_status sq_member_add(struct sqlite_store *db, const struct store_member *m, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_MEMBER_ADD);

	put_member(&q, m);
	KMS_TRY(sq_change_row(db, &q, KMS_E_FENCED, err));
	return sq_change_one(db, SQ_GROUP_TOUCH, m->group_id, err);
}

kms_status sq_member_remove(struct sqlite_store *db, const struct store_member *m, struct kms_err *err)
{
	SQ_QUERY_AUTO q = sq_start(db, SQ_MEMBER_REMOVE);

	put_member(&q, m);
	KMS_TRY(sq_change_row(db, &q, KMS_E_NOTFOUND, err));
	return sq_change_one(db, SQ_GROUP_TOUCH, m->group_id, err);
}
