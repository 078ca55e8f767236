/* tests/support/approvals.c - principals straight into the database, their calls through the domain. */
#include "tests/support/approvals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                              \
	do {                                                                                                         \
		if (!(condition)) {                                                                                  \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
			abort();                                                                                     \
		}                                                                                                    \
	} while (0)

void t_change(struct t_domain *d, const struct store_change *changes, size_t count)
{
	struct write unit = { .event = { .type = EVENT_PRINCIPAL }, .changes = changes, .change_count = count };

	MUST(writer_write(d->kms.writer, &unit) == KMS_OK);
}

static struct t_person add_principal(struct t_domain *d, const char *vault, const char *name, enum role role, enum store_principal_kind kind)
{
	struct store_change c = { .kind = STORE_PRINCIPAL_ADD };
	struct store_vault v = { 0 };
	struct t_person p = { .caller = { .auth = EVENT_AUTH_JWT } };

	if (vault != NULL) {
		MUST(store_vault_by_name(d->store->r, vault, &v, NULL) == KMS_OK);
		memcpy(p.vault, v.name, sizeof(p.vault));
	}
	MUST(guid_random(p.id));
	memcpy(p.caller.principal_id, p.id, STORE_ID_LEN);
	memcpy(p.caller.directory, vault != NULL ? v.directory : d->kms.inst.directory, STORE_ID_LEN);
	memcpy(c.principal.id, p.id, STORE_ID_LEN);
	memcpy(c.principal.vault_id, v.id, STORE_ID_LEN);
	memcpy(c.principal.pid, p.id, sizeof(c.principal.pid));
	(void)snprintf(c.principal.name, sizeof(c.principal.name), "%s", name);
	c.principal.kind = kind;
	c.principal.is_enabled = true;
	c.principal.created_s = clock_wall_s(d->kms.clock);
	t_change(d, &c, 1);
	if (role != 0)
		t_role(d, &p, role, true);
	return p;
}

struct t_person t_newcomer(struct t_domain *d, const char *vault, const char *name)
{
	return add_principal(d, vault, name, 0, STORE_PRINCIPAL_CALLER);
}

void t_credential(struct t_domain *d, const struct t_person *p, enum store_credential_kind kind, int64_t expires_s)
{
	struct store_change c = { .kind = STORE_CREDENTIAL_ADD };

	MUST(guid_random(c.credential.id) && random_bytes(c.credential.hash, STORE_HASH_LEN));
	memcpy(c.credential.principal_id, p->id, STORE_ID_LEN);
	c.credential.kind = kind;
	c.credential.created_s = clock_wall_s(d->kms.clock);
	c.credential.expires_s = expires_s;
	t_change(d, &c, 1);
}

struct t_person t_person(struct t_domain *d, const char *vault, const char *name, enum role role)
{
	struct t_person p = t_newcomer(d, vault, name);

	t_credential(d, &p, STORE_CREDENTIAL_SECRET, STORE_NO_TIME);
	if (role != 0)
		t_role(d, &p, role, true);
	return p;
}

struct t_person t_group(struct t_domain *d, const char *vault, const char *name, enum role role)
{
	return add_principal(d, vault, name, role, STORE_PRINCIPAL_GROUP);
}

static bool approves(enum role role, bool at_installation)
{
	const struct role_info *info = role_info(role);

	return ((at_installation ? info->installation_permissions : info->permissions) & PERM_BIT(PERM_APPROVAL_WRITE)) != 0;
}

void t_role(struct t_domain *d, const struct t_person *p, enum role role, bool grant)
{
	bool at_installation = p->vault[0] == '\0';
	struct op *op = t_op(d, at_installation ? NULL : p->vault, grant ? EVENT_ROLE_GRANT : EVENT_ROLE_REVOKE);
	struct store_assignment *a = &op_change(op, grant ? STORE_ROLE_ADD : STORE_ROLE_REMOVE)->assignment;

	memcpy(a->principal_id, p->id, STORE_ID_LEN);
	if (!at_installation)
		memcpy(a->vault_id, op->vault.id, STORE_ID_LEN);
	a->role = (uint32_t)role;
	a->created_s = clock_wall_s(d->kms.clock);
	a->expires_s = STORE_NO_TIME;
	if (grant && approves(role, at_installation))
		MUST(approval_note_founding(op, at_installation ? NULL : &op->vault, p->id, NULL, NULL) == KMS_OK);
	MUST(t_op_finish(op, KMS_OK) == KMS_OK);
	t_op_free(op);
}

void t_member(struct t_domain *d, const struct t_person *group, const struct t_person *member, bool add)
{
	struct store_change c = { .kind = add ? STORE_MEMBER_ADD : STORE_MEMBER_REMOVE };

	memcpy(c.member.group_id, group->id, STORE_ID_LEN);
	memcpy(c.member.member_id, member->id, STORE_ID_LEN);
	t_change(d, &c, 1);
}

void t_enable(struct t_domain *d, const struct t_person *p, bool enable)
{
	struct store_change c = { .kind = STORE_PRINCIPAL_SET };

	MUST(store_principal(d->store->r, p->id, &c.principal, NULL) == KMS_OK);
	c.principal.is_enabled = enable;
	t_change(d, &c, 1);
}

struct op *t_op_as(struct t_domain *d, const struct t_person *p, const char *vault, enum event_type type, int64_t age_s)
{
	struct op *op = calloc(1, sizeof(*op));
	struct kms_err err = { 0 };

	MUST(op != NULL);
	op->kms = &d->kms;
	op->store = d->store->r;
	op->caller = p->caller;
	op->caller.issued_s = clock_wall_s(d->kms.clock) - age_s;
	op->write.event.type = type;
	if (op_open(op, vault, &err) == KMS_OK)
		return op;
	t_op_free(op);
	return NULL;
}

bool t_open_request(struct t_domain *d, const char *vault, uint8_t ret_id[STORE_ID_LEN])
{
	struct store_approval open[2] = { 0 };
	struct store_vault v = { 0 };
	size_t count = 0;

	if (vault != NULL)
		MUST(store_vault_by_name(d->store->r, vault, &v, NULL) == KMS_OK);
	MUST(store_approvals(d->store->r, v.id, NULL, true, open, 2, &count, NULL) == KMS_OK);
	if (count > 0)
		memcpy(ret_id, open[0].id, STORE_ID_LEN);
	for (size_t i = 0; i < count; i++)
		store_approval_clear(&open[i]);
	return count == 1;
}

kms_status t_vote(struct t_domain *d, const struct t_person *p, const char *vault, const uint8_t id[STORE_ID_LEN], bool approves_it,
                  struct kms_err *ret_err)
{
	struct op *op = t_op_as(d, p, vault, EVENT_APPROVAL, 1);
	struct approval_view v = { 0 };
	kms_status status, written;

	memset(ret_err, 0, sizeof(*ret_err));
	if (op == NULL)
		return kms_refuse(ret_err, KMS_E_UNAUTHENTICATED, "not let in");
	status = approval_vote(op, id, approves_it, "", NULL, &v, ret_err);
	written = t_op_finish(op, status);
	approval_view_clear(&v);
	t_op_free(op);
	return status != KMS_OK ? status : written;
}

void t_approve_shred(struct t_domain *d, const char *vault)
{
	struct t_person approver = t_person(d, vault, "approver-of-the-end", ROLE_APPROVER);
	struct op *op = t_op(d, vault, EVENT_TENANT_SHRED);
	uint8_t id[STORE_ID_LEN] = { 0 };
	struct kms_err err = { 0 };
	struct destruction done = { 0 };

	MUST(vault_shred(op, "", BASIS_OTHER, &done, &err) == KMS_E_APPROVAL);
	MUST(t_op_finish(op, KMS_E_APPROVAL) == KMS_OK);
	t_op_free(op);
	MUST(t_open_request(d, vault, id));
	MUST(t_vote(d, &approver, vault, id, true, &err) == KMS_OK);
}

size_t t_shred(struct t_domain *d, const char *vault, const char *reason)
{
	struct op *op = NULL;
	struct kms_err err = { 0 };
	struct destruction done = { 0 };

	t_approve_shred(d, vault);
	op = t_op(d, vault, EVENT_TENANT_SHRED);
	MUST(t_op_finish(op, vault_shred(op, reason, BASIS_OTHER, &done, &err)) == KMS_OK && err.status == KMS_OK);
	t_op_free(op);
	return done.objects;
}
