/* server/core/access_role.c - roles that a vault makes for itself, and roles given and taken at every scope. */
#include <assert.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/base/encode.h"
#include "server/core/access_parts.h"
#include "server/core/canon.h"
#include "server/core/key.h"

#define CUSTOM_PAGE 16
#define ACTION_MAX 96 /* characters of the name of a data action */
#define ACTIONS_GIVEN_MAX 64
#define PARAMETERS_MAX 640
#define ROLE_ALPHABET "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_. "
/* A grant may take the place of one that has ended: that one away, the new one, and the founding of the vault; and what holds the principal still. */
#define ROLE_CHANGES (3 + ACCESS_STILL_CHANGES)

/* What a vault's own role may hold: all of keys, reading, and external key management; nothing that manages vault, principals or roles. */
#define CUSTOM                                                                                                                         \
	(ACCESS_OF_A_KEY | PERM_BIT(PERM_KEY_RESTORE) | PERM_BIT(PERM_KEY_RANDOM) | PERM_BIT(PERM_VAULT_READ) |                        \
	 PERM_BIT(PERM_PRINCIPAL_READ) | PERM_BIT(PERM_APPROVAL_READ) | PERM_BIT(PERM_AUDIT_READ) | PERM_BIT(PERM_EKM_READ) |          \
	 PERM_BIT(PERM_EKM_WRITE))
/* What would mean something else, or nothing, for one key: no role with it is given for one. Revoking is about a key. */
#define NOT_OF_A_KEY ((ACCESS_GUARDED & ~PERM_BIT(PERM_KEY_REVOKE)) | PERM_BIT(PERM_AUDIT_READ))

/* ---- custom roles ---- */

static kms_status add_action(const char *action, uint64_t *permissions, struct kms_err *err)
{
	size_t len = strlen(action);
	bool is_wildcard = len > 0 && action[len - 1] == '*';
	uint64_t fit = 0;

	if (is_wildcard)
		len--;
	for (int i = 1; i < PERM_COUNT && memchr(action, '*', len) == NULL; i++) {
		const char *name = permission_action((enum permission)i);
		if (strncasecmp(name, action, len) == 0 && (is_wildcard || name[len] == '\0'))
			fit |= PERM_BIT(i);
	}
	if (fit == 0)
		return kms_refuse(err, KMS_E_INVALID, "actions: '%.*s' is no data action; a '*' may stand at the end alone.", ACTION_MAX, action);
	for (int i = 1; i < PERM_COUNT; i++)
		if ((fit & ~CUSTOM & PERM_BIT(i)) != 0)
			return kms_refuse(err, KMS_E_INVALID, "actions: no custom role may hold '%s', which '%.*s' includes.",
			                  permission_action((enum permission)i), ACTION_MAX, action);
	*permissions |= fit;
	return KMS_OK;
}

kms_status access_parse_actions(const char *const *actions, size_t count, uint64_t *ret_permissions, struct kms_err *err)
{
	uint64_t permissions = 0;

	if (count < 1 || count > ACTIONS_GIVEN_MAX)
		return kms_refuse(err, KMS_E_INVALID, "actions: 1 to %d names of data actions.", ACTIONS_GIVEN_MAX);
	for (size_t i = 0; i < count; i++)
		KMS_TRY(add_action(actions[i], &permissions, err));
	*ret_permissions = permissions;
	return KMS_OK;
}

/* Spelled out: what a role holds does not grow with the server's next version. */
static kms_status actions_text(uint64_t permissions, char **ret_text, struct kms_err *err)
{
	char *text = malloc(STORE_ACTIONS_MAX + 1);
	size_t at = 0;

	if (text == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "actions of a role");
	for (int i = 1; i < PERM_COUNT; i++)
		if ((permissions & PERM_BIT(i)) != 0) {
			at += (size_t)snprintf(text + at, STORE_ACTIONS_MAX + 1 - at, "%s%s", at > 0 ? " " : "", permission_action((enum permission)i));
			assert(at <= STORE_ACTIONS_MAX);
		}
	*ret_text = text;
	return KMS_OK;
}

uint64_t access_stored_actions(const char *actions)
{
	uint64_t permissions = 0;

	while (*actions != '\0') {
		size_t len = strcspn(actions, " ");
		char name[ACTION_MAX + 1];

		if (len <= ACTION_MAX) {
			memcpy(name, actions, len);
			name[len] = '\0';
			permissions |= PERM_BIT(permission_parse(name));
		}
		actions += len + strspn(actions + len, " ");
	}
	return permissions & CUSTOM;
}

/* Which of a vault's roles is meant. */
struct role_search {
	const char *name;  /* NULL = not by name */
	const uint8_t *id; /* NULL = not by id */
	struct store_role found; /* owned; number 0 = none */
	size_t count;      /* of all roles that were seen */
};

static bool fits(const struct role_search *s, const struct store_role *r)
{
	return (s->name != NULL && strcasecmp(s->name, r->name) == 0) || (s->id != NULL && access_same_id(s->id, r->id));
}

static void role_search_clear(struct role_search *s) { store_role_clear(&s->found); }
#define ROLE_SEARCH_AUTO __attribute__((cleanup(role_search_clear))) struct role_search

static kms_status search(struct op *op, struct role_search *s, struct kms_err *err)
{
	struct store_role page[CUSTOM_PAGE] = { 0 };
	uint32_t after = 0;
	size_t count = 0;

	do {
		KMS_TRY(store_custom_roles(op->store, op->vault.id, after, page, CUSTOM_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			after = page[i].number;
			if (s->found.number == 0 && fits(s, &page[i])) {
				s->found = page[i];
				page[i] = (struct store_role){ 0 };
			}
			store_role_clear(&page[i]);
		}
		s->count += count;
	} while (count == CUSTOM_PAGE);
	return KMS_OK;
}

static kms_status check_role_name(struct op *op, const char *name, struct kms_err *err)
{
	ROLE_SEARCH_AUTO s = { .name = name };
	size_t len = strlen(name);
	uint8_t id[STORE_ID_LEN];

	if (len < 1 || len > STORE_ROLE_NAME_MAX || strspn(name, ROLE_ALPHABET) < len || name[0] == ' ' || name[len - 1] == ' ')
		return kms_refuse(err, KMS_E_INVALID, "name: a role's name has 1 to %d characters of [0-9a-zA-Z-_. ], and no space at its ends.",
		                  STORE_ROLE_NAME_MAX);
	if (role_parse(name) != 0 || guid_parse(name, len, id))
		return kms_refuse(err, KMS_E_INVALID, "name: %s is the name of a built-in role, or has the form of an id.", name);
	KMS_TRY(search(op, &s, err));
	if (s.found.number != 0)
		return kms_refuse(err, KMS_E_CONFLICT, "name: the vault has a role named %s already.", s.found.name);
	if (s.count >= ACCESS_CUSTOM_ROLES_MAX)
		return kms_refuse(err, KMS_E_CONFLICT, "The vault has %d roles of its own already; drop some.", ACCESS_CUSTOM_ROLES_MAX);
	return KMS_OK;
}

kms_status role_define(struct op *op, const char *name, const char *const *actions, size_t count, struct store_role *ret_role, struct kms_err *err)
{
	STORE_ROLE_AUTO role = { .created_s = clock_wall_s(op->kms->clock) };
	struct store_intent intent = { 0 };
	struct store_change *c = NULL;
	uint64_t permissions = 0;
	char *kept = NULL;

	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(check_role_name(op, name, err));
	KMS_TRY(access_parse_actions(actions, count, &permissions, err));
	KMS_TRY(actions_text(permissions, &role.actions, err));
	if (!guid_random(role.id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	memcpy(role.vault_id, op->vault.id, STORE_ID_LEN);
	(void)snprintf(role.name, sizeof(role.name), "%s", name);
	assert(op->kept == NULL);
	KMS_TRY(actions_text(permissions, &kept, err));
	op->kept = (uint8_t *)kept;
	op_det_text(op, "act", "role_define");
	op_det_text(op, "role", role.name);
	op_det_guid(op, "role_id", role.id);
	op_det_text(op, "actions", role.actions);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	c = op_change(op, STORE_ROLE_DEFINE);
	c->role = role;
	c->role.actions = kept;
	*ret_role = role;
	role.actions = NULL;
	return KMS_OK;
}

kms_status role_drop(struct op *op, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	ROLE_SEARCH_AUTO s = { .id = id };
	struct store_intent intent = { 0 };
	struct store_change *c = NULL;

	if (op->has_vault)
		KMS_TRY(search(op, &s, err));
	if (s.found.number == 0)
		return kms_refuse(err, KMS_E_NOTFOUND, "The vault has no such role of its own.");
	op_det_text(op, "act", "role_drop");
	op_det_text(op, "role", s.found.name);
	op_det_guid(op, "role_id", s.found.id);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	c = op_change(op, STORE_ROLE_DROP);
	memcpy(c->role.id, s.found.id, STORE_ID_LEN);
	memcpy(c->role.vault_id, op->vault.id, STORE_ID_LEN);
	return KMS_OK;
}

kms_status role_find(struct op *op, const char *text, uint32_t *ret_number, struct kms_err *err)
{
	ROLE_SEARCH_AUTO s = { .name = text };
	uint8_t id[STORE_ID_LEN];
	enum role built_in = role_parse(text);

	if (built_in != 0) {
		*ret_number = (uint32_t)built_in;
		return KMS_OK;
	}
	if (guid_parse(text, strlen(text), id))
		s.id = id;
	if (op->has_vault)
		KMS_TRY(search(op, &s, err));
	if (s.found.number == 0)
		return kms_refuse(err, KMS_E_NOTFOUND, "role: there is no role '%.64s', neither built in nor of this vault.", text);
	*ret_number = s.found.number;
	return KMS_OK;
}

/* ---- given and taken ---- */

/* A role as it is meant, whoever made it. */
struct meant_role {
	char name[STORE_ROLE_NAME_MAX + 1]; /* slug, or a custom role's name */
	char id[GUID_TEXT_LEN + 1];
	uint64_t permissions, installation_permissions;
};

static kms_status unknown_role(struct kms_err *err)
{
	return kms_refuse(err, KMS_E_INVALID, "role: unknown role.");
}

static kms_status load_custom(struct op *op, uint32_t number, struct meant_role *ret, struct kms_err *err)
{
	STORE_ROLE_AUTO r = { 0 };
	kms_status status = store_custom_role(op->store, number, &r, NULL);

	if (status == KMS_E_NOTFOUND || (status == KMS_OK && (!op->has_vault || !access_same_id(r.vault_id, op->vault.id))))
		return unknown_role(err);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "custom role %u", number);
	(void)snprintf(ret->name, sizeof(ret->name), "%s", r.name);
	guid_format(r.id, ret->id);
	ret->permissions = access_stored_actions(r.actions);
	return KMS_OK;
}

static kms_status load_role(struct op *op, uint32_t number, struct meant_role *ret, struct kms_err *err)
{
	const struct role_info *info = NULL;

	if (number >= STORE_CUSTOM_ROLE)
		return load_custom(op, number, ret, err);
	info = role_info((enum role)number);
	if (info == NULL)
		return unknown_role(err);
	(void)snprintf(ret->name, sizeof(ret->name), "%s", info->slug);
	(void)snprintf(ret->id, sizeof(ret->id), "%s", info->guid);
	ret->permissions = info->permissions;
	ret->installation_permissions = info->installation_permissions;
	return KMS_OK;
}

static bool is_for_key(const struct role_scope *scope) { return scope->key_name != NULL && scope->key_name[0] != '\0'; }

static kms_status check_installation_scope(struct op *op, const struct meant_role *role, const struct role_scope *scope, struct kms_err *err)
{
	if (is_for_key(scope))
		return kms_refuse(err, KMS_E_INVALID, "key: a role for the whole installation is not for one key.");
	if (role->installation_permissions == 0)
		return kms_refuse(err, KMS_E_INVALID, "role: %s cannot be granted for the whole installation.", role->name);
	if ((op->installation_permissions & PERM_BIT(PERM_INSTALLATION_ROLE_WRITE)) == 0)
		return kms_refuse(err, KMS_E_FORBIDDEN, "Only the local socket, on the server's own host, may grant a role for the whole installation.");
	return KMS_OK;
}

static kms_status check_scope(struct op *op, const struct meant_role *role, const struct role_scope *scope, struct kms_err *err)
{
	if (scope->at_installation)
		return check_installation_scope(op, role, scope, err);
	if (!op->has_vault)
		return kms_refuse(err, KMS_E_INVALID, "scope: a principal of the installation has roles for the whole installation only.");
	if (role->permissions == 0)
		return kms_refuse(err, KMS_E_INVALID, "role: %s can be granted for the whole installation only.", role->name);
	if (!is_for_key(scope))
		return KMS_OK;
	if (!key_name_is_valid(scope->key_name))
		return kms_refuse(err, KMS_E_INVALID, "key: a key name has 1 to %d characters of [0-9a-zA-Z-].", STORE_KEY_NAME_MAX);
	if ((role->permissions & ACCESS_OF_A_KEY) == 0 || (role->permissions & NOT_OF_A_KEY) != 0)
		return kms_refuse(err, KMS_E_INVALID, "role: %s cannot be granted for one key.", role->name);
	return KMS_OK;
}

/* The permissions that the role gives at that scope. */
static uint64_t given(const struct meant_role *role, const struct role_scope *scope)
{
	if (scope->at_installation)
		return role->installation_permissions;
	return is_for_key(scope) ? role->permissions & ACCESS_OF_A_KEY : role->permissions;
}

static bool is_same_scope(const struct store_assignment *a, const struct store_assignment *b)
{
	return a->role == b->role && access_same_id(a->vault_id, b->vault_id) && strcasecmp(a->key_name, b->key_name) == 0;
}

/* What there is at that scope; *ret_found->role 0 = nothing. */
static kms_status find_assignment(struct op *op, const struct store_assignment *wanted, struct store_assignment *ret_found, size_t *ret_count,
                                  struct kms_err *err)
{
	struct store_assignment roles[ACCESS_ROLES_MAX + 1];
	size_t count = 0;

	KMS_TRY(store_roles(op->store, wanted->principal_id, roles, KMS_ARRAY_LEN(roles), &count, err));
	ret_found->role = 0;
	for (size_t i = 0; i < count; i++)
		if (is_same_scope(&roles[i], wanted))
			*ret_found = roles[i];
	*ret_count = count;
	return KMS_OK;
}

/* One role of one principal at one scope, about to be given or taken. */
struct role_act {
	struct meant_role role;
	struct store_principal p;
	const struct role_scope *scope;
	struct store_assignment wanted, old; /* old.role 0 = it has none there */
};

static void note_act(struct op *op, const struct role_act *a, bool grant)
{
	op_det_guid(op, "principal", a->p.id);
	op_det_text(op, "role", a->role.name);
	op_det_text(op, "scope", a->scope->at_installation ? "installation" : is_for_key(a->scope) ? "key" : "vault");
	if (is_for_key(a->scope))
		op_det_text(op, "key", a->scope->key_name);
	if (grant && a->scope->expires_s != STORE_NO_TIME)
		op_det_number(op, "until", a->scope->expires_s);
}

static kms_status check_end(const struct op *op, struct role_act *a, size_t count, struct kms_err *err)
{
	int64_t now_s = clock_wall_s(op->kms->clock);
	bool has_ended = a->old.role != 0 && a->old.expires_s != STORE_NO_TIME && a->old.expires_s <= now_s;

	if (a->scope->expires_s != STORE_NO_TIME && a->scope->expires_s <= now_s)
		return kms_refuse(err, KMS_E_INVALID, "until: this time has passed already.");
	if (a->old.role != 0 && !has_ended)
		return kms_refuse(err, KMS_E_CONFLICT, "%s has the role %s at this scope already; take it away first to change its end.", a->p.name, a->role.name);
	if (count >= ACCESS_ROLES_MAX && !has_ended)
		return kms_refuse(err, KMS_E_CONFLICT, "%s has %d roles already; take away some, or use a group.", a->p.name, ACCESS_ROLES_MAX);
	return KMS_OK;
}

/* Exactly what is asked for: others agree to this and nothing else. */
static void describe_grant(const struct role_act *a, const char *who, char ret_text[PARAMETERS_MAX + 1])
{
	struct canon c = { .buf = ret_text, .cap = PARAMETERS_MAX };

	canon_open(&c, NULL);
	if (is_for_key(a->scope))
		canon_token(&c, "key", a->scope->key_name);
	canon_guid(&c, "principal", a->p.id);
	canon_token(&c, "principal_name", a->p.name);
	canon_token(&c, "role", a->role.id);
	canon_token(&c, "role_name", a->role.name);
	canon_token(&c, "scope", a->scope->at_installation ? "installation" : is_for_key(a->scope) ? "key" : "vault");
	if (a->scope->expires_s != STORE_NO_TIME)
		canon_int(&c, "until", a->scope->expires_s);
	canon_token(&c, "who_sha256", who);
	canon_close(&c);
	assert(!c.is_over);
	ret_text[c.len] = '\0';
}

/* Who only approves could do nothing with that; an administrator by certificate can do the rest, and no more counts as an approver. */
static kms_status check_may_approve(struct op *op, const struct role_act *a, struct kms_err *err)
{
	STORE_POOL_AUTO pool = { 0 };
	kms_status status = KMS_OK;

	if (a->wanted.role != ROLE_APPROVER)
		return KMS_OK;
	status = store_pool(op->store, a->p.id, &pool, NULL);
	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "certificates of a principal");
	return kms_refuse(err, KMS_E_INVALID, "%s is known by a client certificate and brings no token; it can approve nothing.", a->p.name);
}

static kms_status check_grant(struct op *op, struct role_act *a, size_t count, struct kms_err *err)
{
	struct access_reach gain = { .permissions = given(&a->role, a->scope) };
	struct access_elevation e = { .permissions = gain.permissions, .at_installation = a->scope->at_installation, .principal_id = a->p.id,
		                      .reason = a->scope->reason,
		                      .more = a->scope->expires_s == STORE_NO_TIME ? a->p.id : NULL };
	char parameters[PARAMETERS_MAX + 1], who[ACCESS_WHO_TEXT + 1] = "";

	if (a->p.kind == STORE_PRINCIPAL_GROUP && a->scope->at_installation)
		return kms_refuse(err, KMS_E_INVALID, "A group is of one vault; roles for the whole installation are granted to callers.");
	KMS_TRY(check_may_approve(op, a, err));
	KMS_TRY(check_end(op, a, count, err));
	KMS_TRY(access_check_gain(op, &a->p, &gain, err));
	if (access_is_asked(gain.permissions, a->scope->at_installation))
		KMS_TRY(access_who(op, &a->p, who, err));
	describe_grant(a, who, parameters);
	e.parameters = parameters;
	return access_elevate(op, &e, err);
}

kms_status role_change(struct op *op, const uint8_t principal_id[STORE_ID_LEN], uint32_t role, const struct role_scope *scope, bool grant,
                       struct kms_err *err)
{
	struct role_act a = { .scope = scope };
	struct store_intent intent = { 0 };
	size_t count = 0;

	KMS_TRY(load_role(op, role, &a.role, err));
	KMS_TRY(check_scope(op, &a.role, scope, err));
	if (grant && op->has_vault)
		KMS_TRY(op_need_living_vault(op, err)); /* what was granted can be taken away from a dead vault's principals too */
	KMS_TRY(principal_find(op, principal_id, &a.p, err));
	note_act(op, &a, grant);
	if (!scope->at_installation)
		KMS_TRY(access_check_guarded(op, given(&a.role, scope), err));
	a.wanted = (struct store_assignment){ .role = role, .created_s = clock_wall_s(op->kms->clock), .expires_s = scope->expires_s };
	memcpy(a.wanted.principal_id, a.p.id, STORE_ID_LEN);
	if (!scope->at_installation)
		memcpy(a.wanted.vault_id, op->vault.id, STORE_ID_LEN);
	if (is_for_key(scope))
		(void)snprintf(a.wanted.key_name, sizeof(a.wanted.key_name), "%s", scope->key_name);
	KMS_TRY(find_assignment(op, &a.wanted, &a.old, &count, err));
	if (!grant && a.old.role == 0)
		return kms_refuse(err, KMS_E_NOTFOUND, "%s does not have the role %s at this scope.", a.p.name, a.role.name);
	KMS_TRY(op_expect_changes(op, ROLE_CHANGES, err));
	if (grant)
		KMS_TRY(check_grant(op, &a, count, err));
	if (grant)
		KMS_TRY(access_hold_still(op, &a.p, false, err));
	KMS_TRY(op_intend(op, NULL, &intent, err));
	if (a.old.role != 0)
		op_change(op, STORE_ROLE_REMOVE)->assignment = a.old;
	if (grant)
		op_change(op, STORE_ROLE_ADD)->assignment = a.wanted;
	return KMS_OK;
}
