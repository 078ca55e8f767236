/* api/h_access.c - the management API: roles at every scope, roles that a vault made for itself, and why somebody may do something
 * (docs/access.md). */
#include <stdio.h>
#include <string.h>

#include "api/view.h"

#define OFFSET(member) offsetof(union request_body, member)
#define ACTION_TEXT_MAX 128
#define UNTIL_MAX_S INT64_C(253402300799) /* the end of the year 9999 */

enum scope { SCOPE_VAULT = 1, SCOPE_INSTALLATION };

/* ---- schemas: our own dialect refuses unknown members ---- */

static const char *scope_name_at(unsigned i) { return i == 0 ? "vault" : i == 1 ? "installation" : NULL; }
static int parse_scope(const char *text)
{
	return strcmp(text, "vault") == 0 ? SCOPE_VAULT : strcmp(text, "installation") == 0 ? SCOPE_INSTALLATION : 0;
}

#define GRANT_FIELDS                                                                                                                           \
	{ .name = "principal", .kind = J_STRING, .offset = OFFSET(role.principal), .flag = J_NO_FLAG, .required = true, .min = GUID_TEXT_LEN,  \
	  .max = GUID_TEXT_LEN },                                                                                                              \
	{ .name = "role", .kind = J_STRING, .offset = OFFSET(role.role), .flag = J_NO_FLAG, .required = true, .min = 1,                        \
	  .max = STORE_ROLE_NAME_MAX },                                                                                                        \
	{ .name = "until", .kind = J_INT, .offset = OFFSET(role.until_s), .flag = OFFSET(role.has_until), .min = 0, .max = UNTIL_MAX_S },      \
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(role.reason), .flag = J_NO_FLAG, .min = 0, .max = STORE_REASON_MAX }

static const struct json_field ROLE_FIELDS[] = {
	GRANT_FIELDS,
	{ .name = "scope", .kind = J_ENUM, .offset = OFFSET(role.scope), .flag = J_NO_FLAG, .parse = parse_scope, .name_at = scope_name_at },
	{ .name = "key", .kind = J_STRING, .offset = OFFSET(role.key), .flag = J_NO_FLAG, .min = 1, .max = STORE_KEY_NAME_MAX },
	{ .name = NULL },
};
static void role_init(void *target) { ((union request_body *)target)->role.scope = SCOPE_VAULT; }
const struct json_schema ROLE_SCHEMA = { .name = "RoleRequest", .fields = ROLE_FIELDS, .size = sizeof(union request_body), .is_strict = true,
	                                 .init = role_init };

/* Of the installation's own principals: there is no other scope for them here. */
static const struct json_field INSTALLATION_ROLE_FIELDS[] = { GRANT_FIELDS, { .name = NULL } };
static void installation_role_init(void *target) { ((union request_body *)target)->role.scope = SCOPE_INSTALLATION; }
const struct json_schema INSTALLATION_ROLE_SCHEMA = { .name = "InstallationRoleRequest", .fields = INSTALLATION_ROLE_FIELDS,
	                                              .size = sizeof(union request_body), .is_strict = true, .init = installation_role_init };

static const struct json_field DEFINITION_FIELDS[] = {
	{ .name = "name", .kind = J_STRING, .offset = OFFSET(custom_role.name), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_ROLE_NAME_MAX },
	{ .name = "actions", .kind = J_TEXTS, .offset = OFFSET(custom_role.actions), .flag = J_NO_FLAG, .required = true,
	  .count = OFFSET(custom_role.action_count), .max = CUSTOM_ACTIONS_MAX },
	{ .name = NULL },
};
const struct json_schema ROLE_DEFINITION_SCHEMA = { .name = "RoleDefinitionRequest", .fields = DEFINITION_FIELDS,
	                                            .size = sizeof(union request_body), .is_strict = true };

/* ---- assignments ---- */

static kms_status change_role(struct request *r, bool grant, struct kms_err *err)
{
	struct role_scope scope = { .at_installation = r->body.role.scope == SCOPE_INSTALLATION, .key_name = r->body.role.key,
		                    .expires_s = r->body.role.has_until ? r->body.role.until_s : STORE_NO_TIME, .reason = r->body.role.reason };
	struct view_role role;
	uint8_t id[STORE_ID_LEN];
	uint32_t number = 0;
	json_t *o = NULL;

	KMS_TRY(view_parse_id(r->body.role.principal, "principal:", id, err));
	if (scope.at_installation && scope.key_name[0] != '\0')
		return kms_refuse(err, KMS_E_INVALID, "key: a role for one key has the scope vault.");
	KMS_TRY(role_find(&r->op, r->body.role.role, &number, err));
	if (number == 0)
		return kms_refuse(err, KMS_E_INVALID, "role: there is no role '%s'; name one by its short name, display name or id.", r->body.role.role);
	KMS_TRY(view_role(r, number, &role, err));
	KMS_TRY(role_change(&r->op, id, number, &scope, grant, err));
	o = json_object();
	view_put_text(&o, "vault", r->op.vault.name);
	view_put_text(&o, "principal", r->body.role.principal);
	view_put_text(&o, "role", role.name);
	view_put_text(&o, "role_id", role.id);
	view_put_text(&o, "scope", scope.at_installation ? "installation" : scope.key_name[0] != '\0' ? "key" : "vault");
	if (scope.key_name[0] != '\0')
		view_put_text(&o, "key", scope.key_name);
	if (grant)
		view_put_time(&o, "until", scope.expires_s);
	json_put(&o, "granted", json_boolean(grant));
	return reply_json(r, 200, o, err);
}

kms_status api_role_grant(struct request *r, struct kms_err *err) { return change_role(r, true, err); }
kms_status api_role_remove(struct request *r, struct kms_err *err) { return change_role(r, false, err); }

/* ---- definitions ---- */

static json_t *actions_of(uint64_t permissions)
{
	json_t *list = json_array();

	for (int i = 1; i < PERM_COUNT; i++)
		if ((permissions & PERM_BIT(i)) != 0)
			json_add(&list, json_string(permission_action((enum permission)i)));
	return list;
}

static json_t *builtin_object(const struct role_info *info)
{
	json_t *o = json_object();

	view_put_text(&o, "name", info->slug);
	view_put_text(&o, "display_name", info->name);
	view_put_text(&o, "id", info->guid);
	json_put(&o, "custom", json_false());
	json_put(&o, "actions", actions_of(info->permissions));
	if (info->installation_permissions != 0)
		json_put(&o, "installation_actions", actions_of(info->installation_permissions));
	return o;
}

/* As it was written down, wildcards and all. */
static json_t *split_actions(const char *text)
{
	json_t *list = json_array();

	while (*text != '\0') {
		size_t len = strcspn(text, " ");
		json_add(&list, json_stringn(text, len));
		text += len + strspn(text + len, " ");
	}
	return list;
}

static json_t *custom_object(const struct store_role *role)
{
	json_t *o = json_object();

	view_put_text(&o, "name", role->name);
	view_put_text(&o, "display_name", role->name);
	view_put_guid(&o, "id", role->id);
	json_put(&o, "custom", json_true());
	json_put(&o, "actions", split_actions(role->actions));
	json_put(&o, "created", json_integer(role->created_s));
	return o;
}

static kms_status add_custom_roles(struct request *r, json_t **value, struct kms_err *err)
{
	struct store_role roles[ACCESS_CUSTOM_ROLES_MAX] = { 0 };
	size_t count = 0;
	kms_status status = store_custom_roles(r->op.store, r->op.vault.id, 0, roles, ACCESS_CUSTOM_ROLES_MAX, &count, err);

	for (size_t i = 0; i < count; i++) {
		json_add(value, custom_object(&roles[i]));
		store_role_clear(&roles[i]);
	}
	return status;
}

kms_status api_role_list(struct request *r, struct kms_err *err)
{
	JSON_AUTO *value = json_array();

	op_det_text(&r->op, "what", "roles");
	for (int i = 1; i < ROLE_COUNT; i++)
		json_add(&value, builtin_object(role_info((enum role)i)));
	KMS_TRY(add_custom_roles(r, &value, err));
	return reply_page(r, KMS_TAKE(value), NULL, err);
}

kms_status api_role_define(struct request *r, struct kms_err *err)
{
	STORE_ROLE_AUTO role = { 0 };

	KMS_TRY(role_define(&r->op, r->body.custom_role.name, (const char *const *)r->body.custom_role.actions, r->body.custom_role.action_count, &role,
	                    err));
	return reply_json(r, 200, custom_object(&role), err);
}

kms_status api_role_drop(struct request *r, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The role's id", id, err));
	KMS_TRY(role_drop(&r->op, id, err));
	reply_empty(r, 204);
	return KMS_OK;
}

/* ---- why ---- */

struct explaining {
	json_t *grants, *roles;
	char reason[256]; /* the first assignment that allows it, for people */
};

static json_t *group_object(const struct store_principal *g)
{
	json_t *o = json_object();

	view_put_text(&o, "name", g->name);
	view_put_guid(&o, "id", g->id);
	return o;
}

static void take_grant(void *arg, const struct access_grant *grant, bool allows)
{
	static const uint8_t NO_VAULT[STORE_ID_LEN];
	struct explaining *e = arg;
	const struct store_assignment *a = &grant->assignment;
	const char *name = grant->role_slug != NULL ? grant->role_slug : grant->role_name;
	bool everywhere = memcmp(a->vault_id, NO_VAULT, STORE_ID_LEN) == 0; /* allowed: ids are public */
	json_t *o = json_object();

	view_put_text(&o, "role", name);
	view_put_text(&o, "scope", everywhere ? "installation" : a->key_name[0] != '\0' ? "key" : "vault");
	if (a->key_name[0] != '\0')
		view_put_text(&o, "key", a->key_name);
	if (grant->group != NULL)
		json_put(&o, "group", group_object(grant->group));
	view_put_time(&o, "until", a->expires_s);
	json_put(&o, "ended", json_boolean(grant->has_ended));
	json_put(&o, "allows", json_boolean(allows));
	json_add(&e->grants, o);
	if (allows && e->reason[0] == '\0')
		(void)snprintf(e->reason, sizeof(e->reason), "%s at %s%s allows it%s%s.", name,
		               everywhere ? "the installation" : a->key_name[0] != '\0' ? "the key " : "the vault", a->key_name,
		               grant->group != NULL ? ", through the group " : "", grant->group != NULL ? grant->group->name : "");
}

static void take_role(void *arg, const char *name, bool at_installation)
{
	struct explaining *e = arg;
	json_t *o = json_object();

	view_put_text(&o, "role", name);
	view_put_text(&o, "scope", at_installation ? "installation" : "vault");
	json_add(&e->roles, o);
}

/* The whole name of the data action, or what stands behind "…/vaults/keys/" of it, with or without "/action". */
static enum permission parse_action(const char *text)
{
	static const char *const FORMS[] = { "%s", "Microsoft.KeyVault/vaults/%s", "Microsoft.KeyVault/vaults/%s/action",
		                             "Microsoft.KeyVault/vaults/keys/%s", "Microsoft.KeyVault/vaults/keys/%s/action", "Holdfast/vaults/%s",
		                             "Holdfast/vaults/%s/action", "Holdfast/vaults/keys/%s/action" };

	if (strlen(text) > ACTION_TEXT_MAX - sizeof("Microsoft.KeyVault/vaults/keys//action"))
		return PERM_PUBLIC;
	for (size_t i = 0; i < KMS_ARRAY_LEN(FORMS); i++) {
		const char *gap = strstr(FORMS[i], "%s");
		char name[ACTION_TEXT_MAX];
		enum permission perm = PERM_PUBLIC;
		(void)snprintf(name, sizeof(name), "%.*s%s%s", (int)(gap - FORMS[i]), FORMS[i], text, gap + strlen("%s"));
		perm = permission_parse(name);
		if (perm != PERM_PUBLIC)
			return perm;
	}
	return PERM_PUBLIC;
}

static const char *reason_of(const struct access_explanation *why, const struct explaining *e, char *text, size_t cap)
{
	if (!why->principal.is_enabled)
		(void)snprintf(text, cap, "It is disabled: it may do nothing, whatever it holds.");
	else if (why->conflict != NULL)
		(void)snprintf(text, cap, "It holds duties that exclude one another (%s): everything is refused to it.", why->conflict);
	else if (why->is_allowed)
		(void)snprintf(text, cap, "%s", e->reason);
	else
		(void)snprintf(text, cap, "None of its assignments that count now allows it.");
	return text;
}

static json_t *explanation_object(struct explaining *e, const struct access_explanation *why, enum permission perm, const char *key)
{
	json_t *o = json_object(), *principal = group_object(&why->principal);
	char text[512];

	view_put_text(&principal, "kind", view_kind(why->principal.kind));
	json_put(&principal, "enabled", json_boolean(why->principal.is_enabled));
	json_put(&o, "principal", principal);
	view_put_text(&o, "action", permission_action(perm));
	if (key != NULL)
		view_put_text(&o, "key", key);
	json_put(&o, "allowed", json_boolean(why->is_allowed));
	view_put_text(&o, "reason", reason_of(why, e, text, sizeof(text)));
	json_put(&o, "grants", KMS_TAKE(e->grants));
	json_put(&o, "would_allow", KMS_TAKE(e->roles));
	return o;
}

kms_status api_access_explain(struct request *r, struct kms_err *err)
{
	const char *principal = query_get(r, "principal"), *action = query_get(r, "action"), *key = query_get(r, "key");
	struct explaining e = { 0 };
	struct access_explainer to = { .arg = &e, .grant = take_grant, .role = take_role };
	struct access_explanation why = { 0 };
	enum permission perm = PERM_PUBLIC;
	uint8_t id[STORE_ID_LEN];
	kms_status status = KMS_OK;

	op_det_text(&r->op, "what", "access");
	if (principal == NULL || action == NULL)
		return kms_refuse(err, KMS_E_INVALID, "The query parameters principal and action are required.");
	KMS_TRY(view_parse_id(principal, "principal:", id, err));
	perm = parse_action(action);
	if (perm == PERM_PUBLIC)
		return kms_refuse(err, KMS_E_INVALID, "action: there is no data action '%.64s'; role definitions and /openapi.json name them.", action);
	if (key != NULL && !key_name_is_valid(key))
		return kms_refuse(err, KMS_E_INVALID, "key: not the name of a key.");
	op_det_guid(&r->op, "principal", id);
	e.grants = json_array();
	e.roles = json_array();
	status = access_explain(&r->op, id, perm, key, &to, &why, err);
	if (status != KMS_OK) {
		json_decref(e.grants);
		json_decref(e.roles);
		return status;
	}
	return reply_json(r, 200, explanation_object(&e, &why, perm, key), err);
}
