/* server/core/op.c - opening an operation: vault, principal, permissions, fence; and the two-phase intent. */
#include "server/core/op.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/base/encode.h"
#include "server/core/access.h"
#include "server/core/checkpoint.h"
#include "server/core/network.h"
#include "server/core/person.h"

#define KEY_GRANTS_FIRST 8

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
	if (op->caller.is_pool)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "The client certificate is not one of a pool that is known here.");
	return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10032: Invalid issuer or principal: the token is not one of this directory's.");
}

/* ---- authentication: which principal the caller is ---- */

/* Whose identity it is in one directory. An identity that has ended is nobody's. */
static kms_status identity_owner(struct op *op, const uint8_t directory[STORE_ID_LEN], uint8_t ret_id[STORE_ID_LEN], struct kms_err *err)
{
	STORE_CREDENTIAL_AUTO c = { 0 };
	uint8_t hash[STORE_HASH_LEN];
	kms_status status = KMS_OK;

	access_identity_hash(directory, op->caller.issuer, op->caller.subject, hash);
	status = store_credential(op->store, STORE_CREDENTIAL_IDENTITY, hash, &c, NULL);
	if (status == KMS_OK && c.expires_s != STORE_NO_TIME && clock_wall_s(op->kms->clock) >= c.expires_s)
		status = KMS_E_NOTFOUND;
	if (status == KMS_E_NOTFOUND)
		return status;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "external identity");
	memcpy(ret_id, c.principal_id, STORE_ID_LEN);
	return KMS_OK;
}

static kms_status load_principal(struct op *op, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	struct kms_err failure = { 0 };
	kms_status status = store_principal(op->store, id, &op->principal, &failure);

	if (status == KMS_OK && op->principal.kind != STORE_PRINCIPAL_CALLER)
		return KMS_E_NOTFOUND; /* a group calls nobody */
	if (status != KMS_OK && status != KMS_E_NOTFOUND && err != NULL && err->status == KMS_OK)
		*err = failure;
	return status;
}

/* The identity is looked up again after the principal was read: had it been taken away in between, the epoch that was read would be the newer one, and the fence
 * would not notice. */
static kms_status load_external(struct op *op, const uint8_t directory[STORE_ID_LEN], struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN], again[STORE_ID_LEN];

	KMS_TRY(identity_owner(op, directory, id, err));
	KMS_TRY(load_principal(op, id, err));
	KMS_TRY(identity_owner(op, directory, again, err));
	return same_id(id, again) && same_id(op->principal.vault_id, directory) ? KMS_OK : KMS_E_NOTFOUND;
}

/* The installation's people come first: whoever manages a vault could otherwise keep its auditors and operators out, by making them nobody in his. */
static kms_status find_principal(struct op *op, struct kms_err *err)
{
	kms_status status = KMS_E_NOTFOUND;

	if (op->caller.issuer == NULL)
		return load_principal(op, op->caller.principal_id, err);
	status = load_external(op, NO_ID, err);
	if (status == KMS_E_NOTFOUND && op->has_vault)
		status = load_external(op, op->vault.id, err);
	return status;
}

/* Without a vault in the request, a principal of a vault's directory acts within that vault. */
static kms_status open_own_vault(struct op *op, struct kms_err *err)
{
	if (op->has_vault || is_none(op->principal.vault_id))
		return KMS_OK;
	KMS_TRY(store_vault_by_id(op->store, op->principal.vault_id, &op->vault, err));
	depend_on_vault(op);
	return KMS_OK;
}

static bool is_of_directory(const struct op *op)
{
	const uint8_t *expected = op->kms->inst.directory;

	if (!is_none(op->principal.vault_id)) {
		/* A vault's principal never acts on another vault. */
		if (!op->has_vault || !same_id(op->vault.id, op->principal.vault_id))
			return false;
		expected = op->vault.directory;
	}
	/* An external issuer's token names no directory of ours: it was found in one. */
	return op->caller.issuer != NULL || same_id(expected, op->caller.directory);
}

static kms_status check_directory(struct op *op, struct kms_err *err)
{
	if (is_of_directory(op))
		return KMS_OK;
	/* Nobody of this directory: no leaf of this vault may speak of it, nor show the stranger's pseudonym. Counted as noise. */
	op->write.event.has_tenant = false;
	return unknown_caller(op, err);
}

static kms_status check_alive(const struct op *op, struct kms_err *err)
{
	const struct store_principal *p = &op->principal;

	if (!p->is_enabled && op->caller.is_pool)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "The pool is disabled.");
	if (!p->is_enabled)
		return kms_refuse(err, KMS_E_UNAUTHENTICATED, "AKV10046: The principal is disabled.");
	if (op->caller.issued_s != 0 && op->caller.issued_s < p->tokens_from_s)
		return kms_refuse(err, KMS_E_CLAIMS, "%s", kms_status_text(KMS_E_CLAIMS));
	return KMS_OK;
}

/* Whoever is refused here stays without a name: what is not authenticated is noise. */
static kms_status authenticate(struct op *op, struct kms_err *err)
{
	kms_status status = find_principal(op, err);

	if (status == KMS_E_NOTFOUND)
		return unknown_caller(op, err);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "principal lookup");
	KMS_TRY(open_own_vault(op, err));
	KMS_TRY(check_directory(op, err));
	return check_alive(op, err);
}

static void depend_on_principal(struct op *op)
{
	const struct store_principal *p = &op->principal;
	struct write *w = &op->write;

	op->has_principal = true;
	op->actor_name = p->name;
	memcpy(w->fence.principal_id, p->id, STORE_ID_LEN);
	w->fence.principal_epoch = p->epoch;
	w->has_fence = true;
	w->event.actor = EVENT_ACTOR_APP;
	memcpy(w->event.pid, p->pid, sizeof(p->pid));
}

/* ---- from where ---- */

static kms_status check_network(struct op *op, struct kms_err *err)
{
	char ranges[STORE_NETWORK_MAX + 1], id[GUID_TEXT_LEN + 1];

	if (!op->has_vault || !op->vault.has_networks)
		return KMS_OK;
	KMS_TRY(store_networks(op->store, op->vault.id, ranges, err));
	if (network_contains(ranges, op->caller.peer))
		return KMS_OK;
	if (op->caller.is_pool)
		return kms_refuse(err, KMS_E_FIREWALL, "The vault does not let this address in.");
	guid_format(op->principal.id, id);
	return kms_refuse(err, KMS_E_FIREWALL,
	                  "Client address is not authorized and caller is not a trusted service.\r\nClient address: %s\r\n"
	                  "Caller: appid=%s;oid=%s;name=%s\r\nVault: %s;location=%s",
	                  op->caller.peer, id, id, op->actor_name, op->vault.name, op->kms->site);
}

/* ---- authorisation ---- */

struct collection {
	struct op *op;
	kms_status status;
};

/* As many as the walk follows: a limit of its own would let whoever gives roles lock out those who manage the vault. */
static kms_status add_key_grant(struct op *op, const char *key_name, uint64_t permissions)
{
	struct op_key_grant *g = NULL;

	if (op->key_grant_count == op->key_grant_cap) {
		size_t cap = op->key_grant_cap == 0 ? KEY_GRANTS_FIRST : 2 * op->key_grant_cap;
		void *grown = reallocarray(op->key_grants, cap, sizeof(*op->key_grants));
		if (grown == NULL)
			return KMS_E_NOMEM;
		op->key_grants = grown;
		op->key_grant_cap = cap;
	}
	g = &op->key_grants[op->key_grant_count++];
	(void)snprintf(g->key_name, sizeof(g->key_name), "%s", key_name);
	g->permissions = permissions;
	return KMS_OK;
}

static void collect(void *arg, const struct access_grant *grant)
{
	struct collection *c = arg;
	struct op *op = c->op;
	const struct store_assignment *a = &grant->assignment;

	if (grant->has_ended)
		return;
	if (a->key_name[0] != '\0') {
		if (c->status == KMS_OK)
			c->status = add_key_grant(op, a->key_name, grant->permissions);
		return;
	}
	op->permissions |= grant->permissions;
	if (is_none(a->vault_id))
		op->installation_permissions |= grant->permissions;
}

static kms_status collect_permissions(struct op *op, struct kms_err *err)
{
	struct collection c = { .op = op };
	/* What a vault makes of a claim concerns the vault's own callers: it could burden the installation's auditors with duties that exclude theirs. */
	const struct caller *claims = is_none(op->principal.vault_id) ? NULL : &op->caller;

	KMS_TRY(access_walk(op->store, op->has_vault ? &op->vault : NULL, op->principal.id, claims, clock_wall_s(op->kms->clock), collect, &c, err));
	return c.status == KMS_OK ? KMS_OK : kms_fail(err, c.status, KMS_SRC_ERRNO, 0, "roles for single keys");
}

static kms_status check_duties(const struct op *op, struct kms_err *err)
{
	uint64_t held = op->permissions | op->installation_permissions;
	const char *conflict = NULL;

	for (size_t i = 0; i < op->key_grant_count; i++)
		held |= op->key_grants[i].permissions;
	conflict = permissions_conflict(held);
	if (conflict == NULL)
		return KMS_OK;
	if (op->caller.is_pool)
		return kms_refuse(err, KMS_E_FORBIDDEN, "The pool holds roles that exclude one another.");
	return kms_refuse(err, KMS_E_FORBIDDEN,
	                  "%s holds duties that nobody may hold together: %s. An administrator has to take one of the roles away (access explain names "
	                  "them).", op->actor_name, conflict);
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
	free(op->approvers);
	free(op->with_intent);
	store_certificate_clear(&op->certificate);
	free(op->person);
	free(op->key_grants);
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
			return kms_refuse(err, KMS_E_NOTFOUND, "There is no vault named %.36s.", vault_name);
		if (status != KMS_OK)
			return kms_fail(err, status, KMS_SRC_SELF, 0, "vault %.24s", vault_name);
		depend_on_vault(op);
	}
	if (op->caller.auth == EVENT_AUTH_LOCAL)
		return open_local(op, err);
	KMS_TRY(authenticate(op, err));
	depend_on_principal(op);
	KMS_TRY(check_network(op, err));
	KMS_TRY(collect_permissions(op, err));
	return check_duties(op, err);
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

struct op *op_new_own(struct kms *kms, struct store *store, enum event_type type, struct kms_err *err)
{
	struct op *op = calloc(1, sizeof(*op));

	if (op == NULL) {
		kms_ignore(kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "operation")); /* NULL says it */
		return NULL;
	}
	op->kms = kms;
	op->store = store;
	op->actor_name = "system";
	op->write.event.type = type;
	op->write.event.actor = EVENT_ACTOR_SYSTEM;
	return op;
}

void op_free_own(struct op *op)
{
	if (op == NULL)
		return;
	op_clear(op);
	free(op);
}

kms_status op_finish_own(struct op *op, kms_status status, struct kms_err *err)
{
	kms_status written = KMS_OK;

	if (status != KMS_OK && (!op->has_intent || op->is_irreversible || (op->undo != NULL && op->undo(op) != KMS_OK)))
		return status;
	op->write.event.result = status == KMS_OK ? EVENT_OK : EVENT_FAILED;
	if (status != KMS_OK) {
		op->write.event.err = kms_status_inner(status) != NULL ? kms_status_inner(status) : kms_status_code(status);
		op->write.change_count = 0;
		op->write.has_fence = false;
		op->after = NULL;
	}
	if (op->has_intent)
		op_change(op, STORE_INTENT_CLOSE)->intent.seq = op->write.event.ref;
	written = writer_write(op->kms->writer, &op->write);
	if (written != KMS_OK) {
		/* The intent stays open; what was made in the device goes, if it can: recovery finds nothing then, which is fine. */
		if (status == KMS_OK && op->undo != NULL && !op->is_irreversible)
			kms_ignore(op->undo(op));
		return status != KMS_OK ? status : kms_fail(err, written, KMS_SRC_SELF, 0, "the outcome of %s was not written", event_type_name(op->write.event.type));
	}
	if (status == KMS_OK && op->after != NULL)
		op->after(op);
	return status;
}

static uint64_t held_for(const struct op *op, const char *key_name)
{
	uint64_t held = op->has_vault ? op->permissions : op->installation_permissions;

	for (size_t i = 0; i < op->key_grant_count && key_name != NULL; i++)
		if (strcasecmp(op->key_grants[i].key_name, key_name) == 0)
			held |= op->key_grants[i].permissions;
	return held;
}

kms_status op_authorise(struct op *op, enum permission perm, const char *key_name, struct kms_err *err)
{
	char id[GUID_TEXT_LEN + 1] = "-";
	bool is_of_key = key_name != NULL && key_name[0] != '\0';

	/* op_open() has found who it is. */
	if (perm == PERM_CALLER || (held_for(op, key_name) & PERM_BIT(perm)) != 0)
		return KMS_OK;
	/* Azure's operators read what a pool is told (ekm-proxy.md 7.2): nothing of names here. */
	if (op->caller.is_pool)
		return kms_refuse(err, KMS_E_FORBIDDEN, "The pool is not authorized to perform the operation.");
	if (op->has_principal)
		guid_format(op->principal.id, id);
	return kms_refuse(err, KMS_E_FORBIDDEN,
	                  "Caller is not authorized to perform action on resource.\r\nCaller: appid=%s;oid=%s;name=%s\r\n"
	                  "Action: '%s'\r\nResource: '%s%s%s'\r\nAssignment: (not found)\r\nVault: %s;location=%s",
	                  id, id, op->actor_name, permission_action(perm), op->has_vault ? op->vault.name : "/", is_of_key ? "/keys/" : "",
	                  is_of_key ? key_name : "", op->has_vault ? op->vault.name : "-", op->kms->site);
}

kms_status op_need_living_vault(const struct op *op, struct kms_err *err)
{
	if (op->has_vault && op->vault.state == STORE_VAULT_ACTIVE)
		return KMS_OK;
	return kms_refuse(err, KMS_E_VAULT_SHREDDED, "%s", kms_status_text(KMS_E_VAULT_SHREDDED));
}

kms_status op_need_unlocked_vault(const struct op *op, struct kms_err *err)
{
	/* What is destroyed says so, locked or not. */
	if (!op->has_vault || !op->vault.is_locked || op->vault.state != STORE_VAULT_ACTIVE)
		return KMS_OK;
	return kms_refuse(err, KMS_E_VAULT_LOCKED, "%s", kms_status_text(KMS_E_VAULT_LOCKED));
}

kms_status op_expect_changes(struct op *op, size_t count, struct kms_err *err)
{
	assert(op->many == NULL && op->write.change_count == 0);
	op->many = calloc(count + 2, sizeof(*op->many));
	if (op->many == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "%zu changes", count);
	op->many_cap = count + 2;
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

struct store_change *op_with_intent(struct op *op)
{
	assert(!op->has_intent && op->with_intent_count < OP_WITH_INTENT_MAX);
	if (op->with_intent == NULL)
		op->with_intent = calloc(OP_WITH_INTENT_MAX, sizeof(*op->with_intent));
	return op->with_intent != NULL ? &op->with_intent[op->with_intent_count++] : NULL;
}

static void await_outcome(struct op *op, uint64_t intent)
{
	op->has_intent = true;
	op->is_sync = true;
	op->write.event.phase = EVENT_OUTCOME;
	op->write.event.has_ref = true;
	op->write.event.ref = intent;
}

kms_status op_intend(struct op *op, const struct store_change *also, const struct store_intent *intent, struct kms_err *err)
{
	struct store_change changes[3 + OP_WITH_INTENT_MAX] = { { .kind = STORE_INTENT_OPEN, .intent = *intent } };
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
	for (size_t i = 0; i < op->with_intent_count; i++)
		changes[unit.change_count++] = op->with_intent[i];
	person_put(op, &unit.event, changes, &unit.change_count);
	unit.event.phase = EVENT_INTENT;
	unit.event.result = EVENT_PENDING;
	unit.event.http = 0;
	unit.event.err = NULL;
	status = writer_write(op->kms->writer, &unit);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "intent was not written");
	person_entered(op);
	await_outcome(op, unit.seq);
	return KMS_OK;
}

/* The leaf is durable already; what it announces must be provable before it is done. */
static kms_status seal_intent(struct op *op, struct kms_err *err)
{
	kms_status status = KMS_OK;

	op->is_irreversible = true;
	op->write.has_fence = false;
	status = log_seal(op->kms->log, op->write.event.ref, 0, NULL);
	if (status == KMS_OK)
		return KMS_OK;
	return kms_refuse(err, status,
	                  "The act has begun, and is in the event log as leaf %llu, but the signed checkpoint that must cover it first is missing, or the witnesses' signatures "
	                  "under that. Nothing has been destroyed yet; it goes on by itself when they are there. Administrators see the reason in `holdfast status` and "
	                  "`holdfast check`.", (unsigned long long)op->write.event.ref);
}

kms_status op_intend_sealed(struct op *op, const struct store_change *also, const struct store_intent *intent, struct kms_err *err)
{
	KMS_TRY(op_intend(op, also, intent, err));
	return seal_intent(op, err);
}

kms_status op_resume(struct op *op, const struct store_intent *open, struct kms_err *err)
{
	assert(!op->has_intent && !open->is_of_closed_log);
	await_outcome(op, open->seq);
	return seal_intent(op, err);
}
