/* tests/support/access_rig.c - see access_rig.h. */
#include "tests/support/access_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(good)               \
	do {                     \
		if (!(good))     \
			abort(); \
	} while (0)
#define ACTIONS_MAX 64

struct op *rig_open(struct t_domain *d, const struct caller *who, const char *vault, enum event_type type, kms_status *ret_status, struct kms_err *ret_err)
{
	struct op *op = calloc(1, sizeof(*op));

	MUST(op != NULL);
	*ret_err = (struct kms_err){ 0 };
	op->kms = &d->kms;
	op->store = d->store->r;
	if (who != NULL)
		op->caller = *who;
	else
		op->caller.auth = EVENT_AUTH_LOCAL;
	op->write.event.type = type;
	*ret_status = op_open(op, vault, ret_err);
	return op;
}

kms_status rig_may(struct t_domain *d, const struct caller *who, const char *vault, enum permission perm, const char *key, struct kms_err *ret_err)
{
	struct kms_err err;
	kms_status status;
	struct op *op = rig_open(d, who, vault, EVENT_KEY_GET, &status, &err);

	if (status == KMS_OK)
		status = op_authorise(op, perm, key, &err);
	t_op_free(op);
	if (ret_err != NULL)
		*ret_err = err;
	return status;
}

/* A refused act is written as one, as the API does it. */
static kms_status finish(struct op *op, kms_status status)
{
	kms_status written = op->write.event.actor == EVENT_ACTOR_NONE ? KMS_OK : t_op_finish(op, status);

	t_op_free(op);
	return status != KMS_OK ? status : written;
}

kms_status rig_role(struct t_domain *d, const struct caller *who, const uint8_t principal_id[STORE_ID_LEN], const struct rig_grant *g, bool grant,
                    struct kms_err *ret_err)
{
	const struct role_scope scope = { .at_installation = g->at_installation, .key_name = g->key,
		                          .expires_s = g->until_s != 0 ? g->until_s : STORE_NO_TIME };
	kms_status status;
	struct op *op = rig_open(d, who, g->vault, grant ? EVENT_ROLE_GRANT : EVENT_ROLE_REVOKE, &status, ret_err);

	if (status == KMS_OK)
		status = role_change(op, principal_id, g->role, &scope, grant, ret_err);
	return finish(op, status);
}

kms_status rig_member(struct t_domain *d, const struct caller *who, const struct t_person *group, const struct t_person *member, bool add,
                      struct kms_err *ret_err)
{
	kms_status status;
	struct op *op = rig_open(d, who, group->vault, EVENT_PRINCIPAL, &status, ret_err);

	if (status == KMS_OK)
		status = group_change(op, group->id, member->id, add, ret_err);
	return finish(op, status);
}

kms_status rig_define(struct t_domain *d, const struct caller *who, const char *vault, const char *name, const char *actions,
                      uint8_t ret_id[STORE_ID_LEN], struct kms_err *ret_err)
{
	char *text = strdup(actions), *rest = text;
	const char *list[ACTIONS_MAX];
	size_t count = 0;
	STORE_ROLE_AUTO role = { 0 };
	kms_status status;
	struct op *op = rig_open(d, who, vault, EVENT_PRINCIPAL, &status, ret_err);

	MUST(text != NULL);
	for (char *one = strsep(&rest, " "); one != NULL && count < ACTIONS_MAX; one = strsep(&rest, " "))
		list[count++] = one;
	if (status == KMS_OK)
		status = role_define(op, name, list, count, &role, ret_err);
	if (status == KMS_OK && ret_id != NULL)
		memcpy(ret_id, role.id, STORE_ID_LEN);
	free(text);
	return finish(op, status);
}

uint32_t rig_role_number(struct t_domain *d, const char *vault, const char *name)
{
	struct op *op = t_op(d, vault, EVENT_AUDIT_READ);
	uint32_t number = 0;

	MUST(role_find(op, name, &number, NULL) == KMS_OK);
	t_op_free(op);
	return number;
}

kms_status rig_identity(struct t_domain *d, const struct t_person *p, const char *issuer, const char *subject, struct kms_err *ret_err)
{
	struct store_credential made = { 0 };
	kms_status status;
	struct op *op = rig_open(d, NULL, p->vault[0] != '\0' ? p->vault : NULL, EVENT_PRINCIPAL, &status, ret_err);

	if (status == KMS_OK)
		status = credential_add_identity(op, p->id, issuer, subject, &made, ret_err);
	return finish(op, status);
}

struct caller rig_external(const char *issuer, const char *subject, const char *const *groups)
{
	struct caller c = { .auth = EVENT_AUTH_JWT, .issuer = issuer };

	(void)snprintf(c.subject, sizeof(c.subject), "%s", subject);
	for (size_t i = 0; groups != NULL && groups[i] != NULL; i++)
		access_claim(issuer, "group", groups[i], c.groups[c.group_count++]);
	return c;
}
