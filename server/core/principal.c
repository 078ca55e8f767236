/* server/core/principal.c - callers and groups of a directory: made, found, switched off and on; groups and who is in them. */
#include "server/core/principal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/access_parts.h"
#include "server/core/canon.h"
#include "server/core/principal_parts.h"

#define PARAMETERS_MAX 512
#define NAME_ALPHABET "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.@"

/* ---- callers ---- */

static kms_status check_principal_name(const char *name, struct kms_err *err)
{
	size_t len = strlen(name);
	uint8_t id[STORE_ID_LEN];

	if (len < 1 || len > STORE_PRINCIPAL_NAME_MAX || strspn(name, NAME_ALPHABET) < len)
		return kms_refuse(err, KMS_E_INVALID, "name: a principal's name has 1 to %d characters of [0-9a-zA-Z-_.@].", STORE_PRINCIPAL_NAME_MAX);
	/* Wherever a name or an id may be given, it would be taken for somebody else. */
	if (guid_parse(name, len, id))
		return kms_refuse(err, KMS_E_INVALID, "name: %s has the form of an id; a principal's name must not.", name);
	return KMS_OK;
}

kms_status principal_prepare(struct op *op, const char *name, struct store_principal *ret, struct kms_err *err)
{
	struct store_principal p = { .kind = STORE_PRINCIPAL_CALLER, .is_enabled = true, .created_s = clock_wall_s(op->kms->clock) };
	const uint8_t *pseudonym_key = op->has_vault ? op->vault.pseudonym_id : op->kms->inst.pseudonym_key;
	char issuer[KMS_URL_MAX], subject[GUID_TEXT_LEN + 1];

	KMS_TRY(check_principal_name(name, err));
	if (op->has_vault)
		KMS_TRY(op_need_living_vault(op, err));
	if (!guid_random(p.id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	if (op->has_vault)
		memcpy(p.vault_id, op->vault.id, STORE_ID_LEN);
	(void)snprintf(p.name, sizeof(p.name), "%s", name);
	kms_url(op->kms, NULL, issuer);
	guid_format(p.id, subject);
	KMS_TRY(pseudonym(op->kms->hsm, pseudonym_key, issuer, subject, p.pid, err));
	*ret = p;
	return KMS_OK;
}

kms_status principal_create(struct op *op, const char *name, unsigned days, struct store_principal *ret_principal,
                            struct secret **ret_secret, struct kms_err *err)
{
	struct store_principal p = { 0 };
	struct store_credential c = { 0 };
	SECRET_AUTO *secret = NULL;
	struct store_intent intent = { 0 };

	if (days > SECRET_DAYS_MAX)
		return kms_refuse(err, KMS_E_INVALID, "secret_days: must be 1 to %d, or 0 for no secret.", SECRET_DAYS_MAX);
	KMS_TRY(principal_prepare(op, name, &p, err));
	if (days > 0)
		KMS_TRY(principal_new_secret(&p, STORE_CREDENTIAL_SECRET, days, p.created_s, &c, &secret, err));
	op_det_text(op, "act", "principal_create");
	op_det_guid(op, "principal", p.id);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	op_change(op, STORE_PRINCIPAL_ADD)->principal = p;
	if (days > 0)
		op_change(op, STORE_CREDENTIAL_ADD)->credential = c;
	*ret_principal = p;
	*ret_secret = KMS_TAKE(secret);
	return KMS_OK;
}

kms_status principal_find(struct op *op, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, struct kms_err *err)
{
	static const uint8_t NO_VAULT[STORE_ID_LEN];
	const uint8_t *directory = op->has_vault ? op->vault.id : NO_VAULT;
	struct store_principal p = { 0 };
	kms_status status = store_principal(op->store, id, &p, NULL);

	if (status == KMS_OK && !access_same_id(p.vault_id, directory))
		status = KMS_E_NOTFOUND;
	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, status, "There is no such principal in this directory.");
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "principal lookup");
	*ret = p;
	return KMS_OK;
}

/* An auditor of the whole installation, say, is not a vault administrator's to switch on and off, nor to give a secret. */
kms_status principal_check_may_manage(struct op *op, const struct store_principal *p, struct kms_err *err)
{
	struct store_assignment roles[ACCESS_ROLES_MAX + 1];
	size_t count = 0;

	if ((op->installation_permissions & PERM_BIT(PERM_INSTALLATION_ROLE_WRITE)) != 0)
		return KMS_OK;
	KMS_TRY(store_roles(op->store, p->id, roles, KMS_ARRAY_LEN(roles), &count, err));
	for (size_t i = 0; i < count; i++)
		if (access_is_none(roles[i].vault_id))
			return kms_refuse(err, KMS_E_FORBIDDEN, "The principal holds a role in the whole installation; only its administrators manage it.");
	return KMS_OK;
}

/* The change holds only for the principal as it was found: of two that come together, one is decided anew. */
static kms_status set_principal(struct op *op, const struct store_principal *p, const char *act, struct kms_err *err)
{
	struct store_intent intent = { 0 };

	op_det_text(op, "act", act);
	op_det_guid(op, "principal", p->id);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	op_change(op, STORE_PRINCIPAL_SET)->principal = *p;
	return KMS_OK;
}

kms_status principal_enable(struct op *op, const uint8_t id[STORE_ID_LEN], bool enable, struct store_principal *ret_principal,
                            struct kms_err *err)
{
	struct store_principal p = { 0 };

	KMS_TRY(principal_find(op, id, &p, err));
	KMS_TRY(principal_check_may_manage(op, &p, err));
	p.is_enabled = enable;
	KMS_TRY(set_principal(op, &p, enable ? "principal_enable" : "principal_disable", err));
	*ret_principal = p;
	return KMS_OK;
}

kms_status principal_revoke_tokens(struct op *op, const uint8_t id[STORE_ID_LEN], struct store_principal *ret_principal, struct kms_err *err)
{
	int64_t now_s = clock_wall_s(op->kms->clock);
	struct store_principal p = { 0 };

	KMS_TRY(principal_find(op, id, &p, err));
	if (p.kind != STORE_PRINCIPAL_CALLER)
		return kms_refuse(err, KMS_E_INVALID, "%s is a group; tokens are its members'.", p.name);
	KMS_TRY(principal_check_may_manage(op, &p, err));
	/* Tokens name seconds: one that was issued in this second may be older than this. And those that were issued since an earlier revocation in this second
	 * bear the second that it named (auth.c). */
	p.tokens_from_s = (p.tokens_from_s > now_s ? p.tokens_from_s : now_s) + 1;
	KMS_TRY(set_principal(op, &p, "principal_revoke_tokens", err));
	*ret_principal = p;
	return KMS_OK;
}

/* ---- groups ---- */

kms_status group_create(struct op *op, const char *name, struct store_principal *ret_group, struct kms_err *err)
{
	struct store_principal p = { 0 };
	struct store_intent intent = { 0 };

	if (!op->has_vault)
		return kms_refuse(err, KMS_E_INVALID, "A group belongs to a vault; the installation has none.");
	KMS_TRY(principal_prepare(op, name, &p, err));
	p.kind = STORE_PRINCIPAL_GROUP;
	op_det_text(op, "act", "group_create");
	op_det_guid(op, "principal", p.id);
	op_det_text(op, "name", p.name);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	op_change(op, STORE_PRINCIPAL_ADD)->principal = p;
	*ret_group = p;
	return KMS_OK;
}

/* A group and who comes or goes. */
struct membership {
	struct store_principal group, member;
	struct access_reach reach; /* of the group */
};

static kms_status find_membership(struct op *op, const uint8_t group_id[STORE_ID_LEN], const uint8_t member_id[STORE_ID_LEN], struct membership *ret,
                                  bool *ret_is_member, struct kms_err *err)
{
	struct store_principal groups[ACCESS_GROUPS_MAX + 1];
	size_t count = 0;

	KMS_TRY(principal_find(op, group_id, &ret->group, err));
	if (ret->group.kind != STORE_PRINCIPAL_GROUP)
		return kms_refuse(err, KMS_E_INVALID, "%s is not a group.", ret->group.name);
	KMS_TRY(principal_find(op, member_id, &ret->member, err));
	KMS_TRY(store_groups_of(op->store, member_id, groups, KMS_ARRAY_LEN(groups), &count, err));
	*ret_is_member = false;
	for (size_t i = 0; i < count; i++)
		*ret_is_member |= access_same_id(groups[i].id, group_id);
	return access_reach(op, group_id, &ret->reach, err);
}

static kms_status check_circle(const struct membership *m, struct kms_err *err)
{
	bool is_above = access_same_id(m->group.id, m->member.id);

	for (size_t i = 0; i < m->reach.group_count; i++)
		is_above |= access_same_id(m->reach.groups[i], m->member.id);
	if (!is_above)
		return KMS_OK;
	return kms_refuse(err, KMS_E_CONFLICT, "%s would be a member of itself through %s.", m->member.name, m->group.name);
}

/* Exactly what is asked for: others agree to this and nothing else. */
static void describe_membership(const struct membership *m, const char *who, char ret_text[PARAMETERS_MAX + 1])
{
	struct canon c = { .buf = ret_text, .cap = PARAMETERS_MAX };

	canon_open(&c, NULL);
	canon_guid(&c, "group", m->group.id);
	canon_token(&c, "group_name", m->group.name);
	canon_guid(&c, "member", m->member.id);
	canon_token(&c, "member_name", m->member.name);
	canon_token(&c, "who_sha256", who);
	canon_close(&c);
	assert(!c.is_over);
	ret_text[c.len] = '\0';
}

/* Whoever is in the group, now or later, gets what it and the groups above it have: that is what is judged, switched on or not. */
static kms_status check_joining(struct op *op, const struct membership *m, struct kms_err *err)
{
	struct access_reach gain = m->reach;
	struct access_elevation e = { .permissions = gain.permissions, .principal_id = m->member.id };
	uint64_t lasting = 0, of_vault = 0;
	char parameters[PARAMETERS_MAX + 1], who[ACCESS_WHO_TEXT + 1] = "";

	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(check_circle(m, err));
	if (gain.group_count == ACCESS_GROUPS_MAX)
		return kms_refuse(err, KMS_E_CONFLICT, "%s has %d groups above it already; nobody can be added to it.", m->group.name, ACCESS_GROUPS_MAX);
	memcpy(gain.groups[gain.group_count++], m->group.id, STORE_ID_LEN);
	KMS_TRY(access_check_gain(op, &m->member, &gain, err));
	if (access_is_asked(gain.permissions, false))
		KMS_TRY(access_who(op, &m->member, who, err));
	describe_membership(m, who, parameters);
	e.parameters = parameters;
	/* What the group gives when whatever has an end has ended: that alone founds a vault. */
	KMS_TRY(access_permissions(op->store, &op->vault, m->group.id, INT64_MAX, &lasting, &of_vault, err));
	if ((lasting & PERM_BIT(PERM_APPROVAL_WRITE)) != 0)
		e.more = m->member.id;
	return access_elevate(op, &e, err);
}

kms_status group_change(struct op *op, const uint8_t group_id[STORE_ID_LEN], const uint8_t member_id[STORE_ID_LEN], bool add, struct kms_err *err)
{
	struct membership m;
	struct store_intent intent = { 0 };
	struct store_change *c = NULL;
	bool is_member = false;

	KMS_TRY(find_membership(op, group_id, member_id, &m, &is_member, err));
	op_det_text(op, "act", add ? "group_add" : "group_remove");
	op_det_guid(op, "group", group_id);
	op_det_guid(op, "principal", member_id);
	KMS_TRY(access_check_guarded(op, m.reach.permissions, err));
	if (add && is_member)
		return kms_refuse(err, KMS_E_CONFLICT, "%s is in %s already.", m.member.name, m.group.name);
	if (!add && !is_member)
		return kms_refuse(err, KMS_E_NOTFOUND, "%s is not in %s.", m.member.name, m.group.name);
	if (add)
		KMS_TRY(check_joining(op, &m, err));
	KMS_TRY(op_intend(op, NULL, &intent, err));
	c = op_change(op, add ? STORE_MEMBER_ADD : STORE_MEMBER_REMOVE);
	memcpy(c->member.group_id, group_id, STORE_ID_LEN);
	memcpy(c->member.member_id, member_id, STORE_ID_LEN);
	return KMS_OK;
}
