/* server/core/op.c - opening an operation: vault, principal, permissions, fence; and the two-phase intent. */
#include "server/core/op.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"

#define ROLES_MAX 32 /* assignments of one principal */

static const uint8_t NO_ID[STORE_ID_LEN];

static bool is_none(const uint8_t id[STORE_ID_LEN]) { return memcmp(id, NO_ID, STORE_ID_LEN) == 0; /* allowed: ids are public */ }
static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

static void depend_on_vault(struct op *op)
{
	struct write *w = &op->write;

	memcpy(w->fence.vault_id, op->vault.id, STORE_ID_LEN);
	w->fence.vault_epoch = op->vault.epoch;
	w->has_fence = true;
	w->event.has_tenant = true;
	memcpy(w->event.tenant, op->vault.id, STORE_ID_LEN);
	op->has_vault = true;
}

static kms_status open_local(struct op *op, struct kms_err *err)
{
	const struct kms *kms = op->kms;

	for (size_t i = 0; i < kms->local_count; i++) {
		if (kms->locals[i].uid != op->caller.uid)
			continue;
		op->permissions = op->installation_permissions = PERM_ALL;
		op->actor_name = "local";
		op->write.event.actor = EVENT_ACTOR_USER;
		memcpy(op->write.event.pid, kms->locals[i].pid, sizeof(op->write.event.pid));
		return KMS_OK;
	}
	return kms_refuse(err, KMS_E_FORBIDDEN, "User %lu may not use the local socket; list it in admin.uids.",
	                  (unsigned long)op->caller.uid);
}

static kms_status unknown_caller(const struct op *op, struct kms_err *err)
{
	if (op->caller.auth == EVENT_AUTH_MTLS)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "The client certificate is not one of a pool that is known here.");
	return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10032: Invalid issuer or principal: the token is not one of this directory's.");
}

/* The principal, which must be alive and of the directory that its token names. */
static kms_status open_principal(struct op *op, struct kms_err *err)
{
	struct store_principal *p = &op->principal;
	struct kms_err missing = { 0 };
	kms_status status = store_principal(op->store, op->caller.principal_id, p, &missing);

	if (status == KMS_E_NOTFOUND)
		return unknown_caller(op, err);
	if (status != KMS_OK) {
		if (err != NULL && err->status == KMS_OK)
			*err = missing;
		return status;
	}
	if (!p->is_enabled && op->caller.auth == EVENT_AUTH_MTLS)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "The pool is disabled.");
	if (!p->is_enabled)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10046: The principal is disabled.");
	op->has_principal = true;
	op->actor_name = p->name;
	memcpy(op->write.fence.principal_id, p->id, STORE_ID_LEN);
	op->write.fence.principal_epoch = p->epoch;
	op->write.has_fence = true;
	op->write.event.actor = EVENT_ACTOR_APP;
	memcpy(op->write.event.pid, p->pid, sizeof(p->pid));
	return KMS_OK;
}

/* Without a vault in the request, a principal of a vault's directory acts within that vault. */
static kms_status open_own_vault(struct op *op, struct kms_err *err)
{
	if (op->has_vault || !op->has_principal || is_none(op->principal.vault_id))
		return KMS_OK;
	KMS_TRY(store_vault_by_id(op->store, op->principal.vault_id, &op->vault, err));
	depend_on_vault(op);
	return KMS_OK;
}

static kms_status check_directory(struct op *op, struct kms_err *err)
{
	const uint8_t *expected = op->kms->inst.directory;

	if (!is_none(op->principal.vault_id)) {
		/* A vault's principal never acts on another vault. */
		if (!op->has_vault || !same_id(op->vault.id, op->principal.vault_id))
			return unknown_caller(op, err);
		expected = op->vault.directory;
	}
	return same_id(expected, op->caller.directory) ? KMS_OK : unknown_caller(op, err);
}

static kms_status collect_permissions(struct op *op, struct kms_err *err)
{
	struct store_assignment roles[ROLES_MAX];
	size_t count = 0;

	KMS_TRY(store_roles(op->store, op->principal.id, roles, ROLES_MAX, &count, err));
	for (size_t i = 0; i < count; i++) {
		const struct role_info *info = role_info((enum role)roles[i].role);
		if (info == NULL)
			continue;
		if (is_none(roles[i].vault_id)) {
			op->installation_permissions |= info->installation_permissions;
			op->permissions |= info->installation_permissions;
		} else if (op->has_vault && same_id(roles[i].vault_id, op->vault.id)) {
			op->permissions |= info->permissions;
		}
	}
	return KMS_OK;
}

void op_clear(struct op *op)
{
	struct kms *kms = op->kms;
	struct store *store = op->store;
	struct caller caller = op->caller;

	store_version_clear(&op->version);
	free(op->det);
	free(op->many);
	free(op->kept);
	memset(op, 0, sizeof(*op));
	op->kms = kms;
	op->store = store;
	op->caller = caller;
}

kms_status op_open(struct op *op, const char *vault_name, struct kms_err *err)
{
	kms_status status = KMS_OK;

	op->write.event.auth = op->caller.auth;
	op->actor_name = "";
	if (vault_name != NULL) {
		status = store_vault_by_name(op->store, vault_name, &op->vault, NULL);
		if (status == KMS_E_NOTFOUND)
			return kms_refuse(err, KMS_E_NOTFOUND, "There is no vault named %.24s.", vault_name);
		if (status != KMS_OK)
			return kms_fail(err, status, KMS_SRC_SELF, 0, "vault %.24s", vault_name);
		depend_on_vault(op);
	}
	if (op->caller.auth == EVENT_AUTH_LOCAL)
		return open_local(op, err);
	KMS_TRY(open_principal(op, err));
	KMS_TRY(open_own_vault(op, err));
	status = check_directory(op, err);
	if (status != KMS_OK) {
		/* Nobody of this directory: no leaf of this vault may speak of it, nor show the stranger's pseudonym. Counted as noise. */
		op->write.event.actor = EVENT_ACTOR_NONE;
		op->write.event.has_tenant = false;
		return status;
	}
	return collect_permissions(op, err);
}

kms_status op_open_system(struct op *op, const uint8_t vault_id[STORE_ID_LEN], enum event_type type, struct kms_err *err)
{
	KMS_TRY(store_vault_by_id(op->store, vault_id, &op->vault, err));
	depend_on_vault(op);
	op->actor_name = "system";
	op->write.event.type = type;
	op->write.event.actor = EVENT_ACTOR_SYSTEM;
	return KMS_OK;
}

kms_status op_authorise(struct op *op, enum permission perm, struct kms_err *err)
{
	uint64_t held = op->has_vault ? op->permissions : op->installation_permissions;
	char id[GUID_TEXT_LEN + 1] = "-";

	/* Azure's operators read what a pool is told (ekm-proxy.md 7.2): nothing of names here. */
	if ((held & PERM_BIT(perm)) == 0 && op->caller.auth == EVENT_AUTH_MTLS)
		return kms_refuse(err, KMS_E_FORBIDDEN, "The pool is not authorized to perform the operation.");
	if ((held & PERM_BIT(perm)) == 0) {
		if (op->has_principal)
			guid_format(op->principal.id, id);
		return kms_refuse(err, KMS_E_FORBIDDEN,
		                  "Caller is not authorized to perform action on resource.\r\nCaller: appid=%s;oid=%s;name=%s\r\n"
		                  "Action: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\nVault: %s;location=%s",
		                  id, id, op->actor_name, permission_action(perm), op->has_vault ? op->vault.name : "/",
		                  op->has_vault ? op->vault.name : "-", op->kms->site);
	}
	return KMS_OK;
}

kms_status op_need_living_vault(const struct op *op, struct kms_err *err)
{
	if (op->has_vault && op->vault.state == STORE_VAULT_ACTIVE)
		return KMS_OK;
	return kms_refuse(err, KMS_E_VAULT_SHREDDED, "%s", kms_status_text(KMS_E_VAULT_SHREDDED));
}

kms_status op_expect_changes(struct op *op, size_t count, struct kms_err *err)
{
	assert(op->many == NULL && op->write.change_count == 0);
	op->many = calloc(count + 1, sizeof(*op->many));
	if (op->many == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "%zu changes", count);
	op->many_cap = count + 1;
	return KMS_OK;
}

struct store_change *op_change(struct op *op, enum store_change_kind kind)
{
	struct store_change *all = op->many != NULL ? op->many : op->few;
	struct store_change *c = &all[op->write.change_count];

	assert(op->write.change_count < (op->many != NULL ? op->many_cap : OP_CHANGES_FEW));
	memset(c, 0, sizeof(*c));
	c->kind = kind;
	op->write.changes = all;
	op->write.change_count++;
	return c;
}

/* Without memory for it the leaf goes without its details. */
static struct event_det *add_det(struct op *op, const char *name)
{
	assert(op->write.event.det_count < EVENT_DET_MAX);
	if (op->det == NULL)
		op->det = calloc(EVENT_DET_MAX, sizeof(*op->det));
	if (op->det == NULL)
		return NULL;
	struct event_det *d = &op->det[op->write.event.det_count++];
	d->name = name;
	op->write.event.det = op->det;
	return d;
}

void op_det_text(struct op *op, const char *name, const char *text)
{
	struct event_det *d = add_det(op, name);
	if (d != NULL)
		(void)snprintf(d->text, sizeof(d->text), "%s", text);
}

void op_det_number(struct op *op, const char *name, int64_t number)
{
	struct event_det *d = add_det(op, name);
	if (d != NULL) {
		d->is_number = true;
		d->number = number;
	}
}

void op_det_guid(struct op *op, const char *name, const uint8_t id[STORE_ID_LEN])
{
	char text[GUID_TEXT_LEN + 1];
	guid_format(id, text);
	op_det_text(op, name, text);
}

kms_status op_intend(struct op *op, const struct store_change *also, const struct store_intent *intent, struct kms_err *err)
{
	struct store_change changes[2] = { { .kind = STORE_INTENT_OPEN, .intent = *intent } };
	struct write unit = { .event = op->write.event, .has_fence = op->write.has_fence, .fence = op->write.fence };
	kms_status status = KMS_OK;

	assert(!op->has_intent);
	changes[0].intent.type = op->write.event.type;
	if (op->write.event.has_tenant) /* so that an outcome written by recovery names the same tenant */
		memcpy(changes[0].intent.vault_id, op->write.event.tenant, STORE_ID_LEN);
	unit.changes = changes;
	unit.change_count = 1;
	if (also != NULL)
		changes[unit.change_count++] = *also;
	unit.event.phase = EVENT_INTENT;
	unit.event.result = EVENT_PENDING;
	unit.event.http = 0;
	unit.event.err = NULL;
	status = writer_write(op->kms->writer, &unit);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "intent was not written");
	op->has_intent = true;
	op->is_sync = true;
	op->write.event.phase = EVENT_OUTCOME;
	op->write.event.has_ref = true;
	op->write.event.ref = unit.seq;
	return KMS_OK;
}
