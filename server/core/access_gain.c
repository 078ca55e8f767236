/* server/core/access_gain.c - before somebody comes to hold more: may they hold it together with what they have, and who has to agree? */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/access_parts.h"
#include "server/core/approval.h"

#define MEMBERS_PAGE 64

/* ---- what may not come together ---- */

static bool is_above(const struct access_reach *r, const uint8_t id[STORE_ID_LEN])
{
	for (size_t i = 0; i < r->group_count; i++)
		if (access_same_id(r->groups[i], id))
			return true;
	return false;
}

static kms_status check_one(struct op *op, const struct store_principal *p, const struct access_reach *gain, struct kms_err *err)
{
	struct access_reach own;
	const char *conflict = NULL;
	size_t groups = 0;

	KMS_TRY(access_reach(op, p->id, &own, err));
	groups = own.group_count;
	for (size_t i = 0; i < gain->group_count; i++)
		groups += !is_above(&own, gain->groups[i]);
	if (groups > ACCESS_GROUPS_MAX)
		return kms_refuse(err, KMS_E_CONFLICT, "%s would be in %zu groups, directly or through others; at most %d are followed.", p->name, groups,
		                  ACCESS_GROUPS_MAX);
	conflict = permissions_conflict(own.permissions | gain->permissions);
	if (conflict == NULL)
		return KMS_OK;
	return kms_refuse(err, KMS_E_CONFLICT, "%s would hold duties that nobody may hold together: %s. Take the other role away first.", p->name, conflict);
}

static bool is_auditor(uint64_t permissions) { return (permissions & PERM_BIT(PERM_AUDIT_READ)) != 0; }

static bool excludes_auditors(uint64_t permissions) { return permissions_conflict(permissions | PERM_BIT(PERM_AUDIT_READ)) != NULL; }

static bool is_new_duty(uint64_t gain, uint64_t had)
{
	return (is_auditor(gain) && !is_auditor(had)) || (excludes_auditors(gain) && !excludes_auditors(had));
}

/* Whose tokens name a group is in no list that could be checked. To give it a duty that it does not have shuts out all of them who have the other one,
 * administrators too, who then cannot undo it: only they may. A duty that will end by itself does not count as had. */
static kms_status check_claimed(struct op *op, const struct store_principal *p, const struct access_reach *gain, struct kms_err *err)
{
	struct store_credential all[STORE_CREDENTIALS_MAX] = { 0 };
	uint64_t lasting = 0, of_vault = 0;
	size_t count = 0;
	kms_status status;

	if (p->kind != STORE_PRINCIPAL_GROUP || op_authorise(op, PERM_ADMIN_WRITE, NULL, NULL) == KMS_OK)
		return KMS_OK;
	status = store_credentials(op->store, p->id, all, STORE_CREDENTIALS_MAX, &count, err);
	for (size_t i = 0; i < count; i++)
		store_credential_clear(&all[i]);
	KMS_TRY(status);
	if (count == 0) /* a group has credentials of kind IDENTITY alone */
		return KMS_OK;
	KMS_TRY(access_permissions(op->store, &op->vault, p->id, INT64_MAX, &lasting, &of_vault, err));
	if (!is_new_duty(gain->permissions, lasting))
		return KMS_OK;
	return kms_refuse(err, KMS_E_FORBIDDEN,
	                  "Tokens name who is in %s, and a duty that excludes another one would shut out whoever has that: only an administrator of the vault "
	                  "may give it one; it needs '%s'.",
	                  p->name, permission_action(PERM_ADMIN_WRITE));
}

/* Groups to look into, each once. */
struct agenda {
	uint8_t (*ids)[STORE_ID_LEN];
	size_t count, cap;
};

static void agenda_clear(struct agenda *a) { free(a->ids); }

static kms_status agenda_add(struct agenda *a, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	for (size_t i = 0; i < a->count; i++)
		if (access_same_id(a->ids[i], id))
			return KMS_OK;
	if (a->count == a->cap) {
		size_t cap = a->cap == 0 ? MEMBERS_PAGE : 2 * a->cap;
		void *grown = reallocarray(a->ids, cap, STORE_ID_LEN);
		if (grown == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "groups to look into");
		a->ids = grown;
		a->cap = cap;
	}
	memcpy(a->ids[a->count++], id, STORE_ID_LEN);
	return KMS_OK;
}

static kms_status check_members(struct op *op, size_t at, const struct access_reach *gain, struct agenda *agenda, struct kms_err *err)
{
	struct store_principal page[MEMBERS_PAGE];
	uint8_t group[STORE_ID_LEN], after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	memcpy(group, agenda->ids[at], STORE_ID_LEN); /* the list moves when it grows */
	do {
		KMS_TRY(store_members(op->store, group, cursor, page, MEMBERS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			KMS_TRY(check_one(op, &page[i], gain, err));
			KMS_TRY(check_claimed(op, &page[i], gain, err));
			if (page[i].kind == STORE_PRINCIPAL_GROUP)
				KMS_TRY(agenda_add(agenda, page[i].id, err));
		}
		if (count > 0)
			memcpy(after, page[count - 1].id, STORE_ID_LEN);
		cursor = after;
	} while (count == MEMBERS_PAGE);
	return KMS_OK;
}

kms_status access_check_gain(struct op *op, const struct store_principal *p, const struct access_reach *gain, struct kms_err *err)
{
	__attribute__((cleanup(agenda_clear))) struct agenda agenda = { 0 };

	KMS_TRY(check_one(op, p, gain, err));
	KMS_TRY(check_claimed(op, p, gain, err));
	if (p->kind != STORE_PRINCIPAL_GROUP)
		return KMS_OK;
	KMS_TRY(agenda_add(&agenda, p->id, err));
	for (size_t i = 0; i < agenda.count; i++)
		KMS_TRY(check_members(op, i, gain, &agenda, err));
	return KMS_OK;
}

/* ---- who it is ---- */

static void free_md_ctx(EVP_MD_CTX **ctx) { EVP_MD_CTX_free(*ctx); }

static bool add_bytes(EVP_MD_CTX *ctx, const void *bytes, size_t len)
{
	uint64_t n = len;

	return EVP_DigestUpdate(ctx, &n, sizeof(n)) == 1 && EVP_DigestUpdate(ctx, bytes, len) == 1;
}

static bool add_pool(EVP_MD_CTX *ctx, const struct store_pool *pool)
{
	bool good = add_bytes(ctx, &pool->subject_count, sizeof(pool->subject_count)) && add_bytes(ctx, &pool->root_count, sizeof(pool->root_count));

	for (size_t i = 0; i < pool->subject_count && good; i++)
		good = add_bytes(ctx, pool->subjects[i], strlen(pool->subjects[i]));
	for (size_t i = 0; i < pool->root_count && good; i++)
		good = add_bytes(ctx, pool->roots[i].der, pool->roots[i].der_len);
	return good;
}

/* Credentials never change and their ids never come again, so the ids say enough. */
static kms_status add_who(struct op *op, EVP_MD_CTX *ctx, const struct store_principal *p, struct kms_err *err)
{
	struct store_credential all[STORE_CREDENTIALS_MAX] = { 0 };
	STORE_POOL_AUTO pool = { 0 };
	size_t count = 0;
	bool good = add_bytes(ctx, p->id, STORE_ID_LEN);
	kms_status status = store_credentials(op->store, p->id, all, STORE_CREDENTIALS_MAX, &count, err);

	good = good && add_bytes(ctx, &count, sizeof(count));
	for (size_t i = 0; i < count; i++) {
		good = good && add_bytes(ctx, all[i].id, STORE_ID_LEN);
		store_credential_clear(&all[i]);
	}
	KMS_TRY(status);
	status = store_pool(op->store, p->id, &pool, NULL);
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "certificates of a principal");
	good = good && (status == KMS_E_NOTFOUND || add_pool(ctx, &pool));
	return good ? KMS_OK : kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "SHA-256");
}

static kms_status add_members(struct op *op, EVP_MD_CTX *ctx, size_t at, struct agenda *agenda, struct kms_err *err)
{
	struct store_principal page[MEMBERS_PAGE];
	uint8_t group[STORE_ID_LEN], after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	memcpy(group, agenda->ids[at], STORE_ID_LEN); /* the list moves when it grows */
	do {
		KMS_TRY(store_members(op->store, group, cursor, page, MEMBERS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			KMS_TRY(add_who(op, ctx, &page[i], err));
			if (page[i].kind == STORE_PRINCIPAL_GROUP)
				KMS_TRY(agenda_add(agenda, page[i].id, err));
		}
		if (count > 0)
			memcpy(after, page[count - 1].id, STORE_ID_LEN);
		cursor = after;
	} while (count == MEMBERS_PAGE);
	return KMS_OK;
}

kms_status access_who(struct op *op, const struct store_principal *p, char ret_text[ACCESS_WHO_TEXT + 1], struct kms_err *err)
{
	__attribute__((cleanup(free_md_ctx))) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	__attribute__((cleanup(agenda_clear))) struct agenda agenda = { 0 };
	uint8_t hash[STORE_HASH_LEN];

	if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "SHA-256");
	KMS_TRY(add_who(op, ctx, p, err));
	if (p->kind == STORE_PRINCIPAL_GROUP)
		KMS_TRY(agenda_add(&agenda, p->id, err));
	for (size_t i = 0; i < agenda.count; i++)
		KMS_TRY(add_members(op, ctx, i, &agenda, err));
	if (EVP_DigestFinal_ex(ctx, hash, NULL) != 1)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "SHA-256");
	b64url_encode(hash, sizeof(hash), ret_text);
	return KMS_OK;
}

kms_status access_hold_still(struct op *op, const struct store_principal *p, bool is_way_in, struct kms_err *err)
{
	struct store_principal group = { 0 };
	size_t count = 0;

	if (p->kind == STORE_PRINCIPAL_GROUP) /* all about groups is fenced by their vault */
		return KMS_OK;
	op_change(op, STORE_PRINCIPAL_SET)->principal = *p;
	if (!is_way_in)
		return KMS_OK;
	KMS_TRY(store_groups_of(op->store, p->id, &group, 1, &count, err));
	if (count > 0)
		op_change(op, STORE_PRINCIPAL_SET)->principal = group; /* raises the epoch of the vault */
	return KMS_OK;
}

/* ---- who has to agree ---- */

kms_status access_check_guarded(struct op *op, uint64_t permissions, struct kms_err *err)
{
	return (permissions & ACCESS_GUARDED) == 0 ? KMS_OK : op_authorise(op, PERM_ADMIN_WRITE, NULL, err);
}

static kms_status check_source(struct op *op, const struct access_elevation *e, struct kms_err *err)
{
	if (!e->at_installation)
		return access_check_guarded(op, e->permissions, err);
	if ((op->installation_permissions & PERM_BIT(PERM_INSTALLATION_ROLE_WRITE)) != 0)
		return KMS_OK;
	return kms_refuse(err, KMS_E_FORBIDDEN, "Only the local socket, on the server's own host, may do this: it needs '%s'.",
	                  permission_action(PERM_INSTALLATION_ROLE_WRITE));
}

/* Until there are people who could agree, the server's own host decides. */
static kms_status elevate_unfounded(struct op *op, const struct access_elevation *e, const struct store_vault *vault, struct kms_err *err)
{
	if (op->caller.auth != EVENT_AUTH_LOCAL)
		return kms_refuse(err, KMS_E_FORBIDDEN,
		                  "Nobody could approve this yet: the first administrators and approvers are made on the server's own host "
		                  "(holdfast role grant, over the local socket).");
	if (e->more == NULL || (e->permissions & PERM_BIT(PERM_APPROVAL_WRITE)) == 0)
		return KMS_OK;
	return approval_note_founding(op, vault, e->more, NULL, err);
}

kms_status access_elevate(struct op *op, const struct access_elevation *e, struct kms_err *err)
{
	const struct store_vault *vault = e->at_installation ? NULL : &op->vault;
	struct approval_need need = { .act = ACT_ADMIN_GRANT, .parameters = e->parameters, .reason = e->reason, .is_installations = e->at_installation,
		                      .quorum = e->at_installation ? 1 : op->vault.quorum };
	char target[GUID_TEXT_LEN + 1];
	bool is_founded = false;

	KMS_TRY(check_source(op, e, err));
	/* What holds in the whole installation is never little. */
	if (!access_is_asked(e->permissions, e->at_installation))
		return KMS_OK;
	KMS_TRY(approval_is_founded(op->store, vault, &is_founded, err));
	if (!is_founded)
		return elevate_unfounded(op, e, vault, err);
	guid_format(e->principal_id, target);
	need.target = target;
	return approval_require(op, &need, err);
}

kms_status access_elevate_way_in(struct op *op, const struct store_principal *p, const char *parameters, struct kms_err *err)
{
	struct access_reach reach;
	struct access_elevation e = { .principal_id = p->id, .parameters = parameters };

	if (op->has_principal && access_same_id(op->principal.id, p->id))
		return KMS_OK;
	KMS_TRY(access_reach(op, p->id, &reach, err));
	if (reach.permissions == 0)
		return KMS_OK;
	/* An approval is one circle's: the installation's people must not decide who manages a vault, nor a vault's who decides for the installation. */
	if (reach.installation != 0 && (reach.of_vault & ACCESS_MANAGES) != 0)
		return kms_refuse(err, KMS_E_FORBIDDEN,
		                  "%s manages this vault and holds a role in the whole installation; take one of the two away first, or let it add this itself.",
		                  p->name);
	e.at_installation = reach.installation != 0;
	e.permissions = e.at_installation ? reach.installation : reach.permissions;
	return access_elevate(op, &e, err);
}
