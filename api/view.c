/* api/view.c - see view.h. */
#include "api/view.h"

#include <stdio.h>
#include <string.h>

void view_put_text(json_t **object, const char *name, const char *text) { json_put(object, name, json_string(text)); }

void view_put_time(json_t **object, const char *name, int64_t time_s)
{
	if (time_s != STORE_NO_TIME)
		json_put(object, name, json_integer(time_s));
}

void view_put_guid(json_t **object, const char *name, const uint8_t id[STORE_ID_LEN])
{
	char text[GUID_TEXT_LEN + 1];

	guid_format(id, text);
	view_put_text(object, name, text);
}

const char *view_kind(enum store_principal_kind kind)
{
	switch (kind) {
	case STORE_PRINCIPAL_CALLER: return "caller";
	case STORE_PRINCIPAL_GROUP: return "group";
	}
	return "";
}

kms_status view_role(struct request *r, uint32_t number, struct view_role *ret, struct kms_err *err)
{
	const struct role_info *info = number < STORE_CUSTOM_ROLE ? role_info((enum role)number) : NULL;
	STORE_ROLE_AUTO custom = { 0 };

	if (info != NULL) {
		(void)snprintf(ret->name, sizeof(ret->name), "%s", info->slug);
		(void)snprintf(ret->id, sizeof(ret->id), "%s", info->guid);
		return KMS_OK;
	}
	KMS_TRY(store_custom_role(r->op.store, number, &custom, err));
	memcpy(ret->name, custom.name, sizeof(ret->name));
	guid_format(custom.id, ret->id);
	return KMS_OK;
}

/* ---- principals ---- */

static bool is_installation(const uint8_t id[STORE_ID_LEN])
{
	static const uint8_t NO_VAULT[STORE_ID_LEN];
	return memcmp(id, NO_VAULT, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

static kms_status add_roles(struct request *r, const struct store_principal *p, json_t **object, struct kms_err *err)
{
	const int64_t now_s = clock_wall_s(r->op.kms->clock);
	struct store_assignment roles[ACCESS_ROLES_MAX];
	JSON_AUTO *list = json_array();
	size_t count = 0;

	KMS_TRY(store_roles(r->op.store, p->id, roles, ACCESS_ROLES_MAX, &count, err));
	for (size_t i = 0; i < count; i++) {
		const struct store_assignment *a = &roles[i];
		struct view_role role;
		json_t *o = json_object();
		kms_status status = view_role(r, a->role, &role, err);

		if (status != KMS_OK) {
			json_decref(o);
			return status;
		}
		view_put_text(&o, "role", role.name);
		view_put_text(&o, "role_id", role.id);
		view_put_text(&o, "scope", is_installation(a->vault_id) ? "installation" : a->key_name[0] != '\0' ? "key" : "vault");
		if (a->key_name[0] != '\0')
			view_put_text(&o, "key", a->key_name);
		view_put_time(&o, "until", a->expires_s);
		if (a->expires_s != STORE_NO_TIME && a->expires_s <= now_s)
			json_put(&o, "ended", json_true());
		json_add(&list, o);
	}
	json_put(object, "roles", KMS_TAKE(list));
	return KMS_OK;
}

/* When the last of its secrets ends: whoever looks at a list looks for what must be renewed. */
static kms_status add_secret_end(struct request *r, const struct store_principal *p, json_t **object, struct kms_err *err)
{
	struct store_credential all[STORE_CREDENTIALS_MAX] = { 0 };
	int64_t end_s = STORE_NO_TIME;
	size_t count = 0;

	KMS_TRY(store_credentials(r->op.store, p->id, all, STORE_CREDENTIALS_MAX, &count, err));
	for (size_t i = 0; i < count; i++) {
		if (all[i].kind == STORE_CREDENTIAL_SECRET && all[i].expires_s > end_s)
			end_s = all[i].expires_s;
		store_credential_clear(&all[i]);
	}
	view_put_time(object, "secret_expires", end_s);
	return KMS_OK;
}

kms_status view_principal(struct request *r, const struct store_principal *p, json_t **ret, struct kms_err *err)
{
	JSON_AUTO *o = json_object();

	view_put_text(&o, "name", p->name);
	view_put_guid(&o, "id", p->id);
	if (p->kind == STORE_PRINCIPAL_CALLER)
		view_put_guid(&o, "client_id", p->id);
	view_put_guid(&o, "tenant_id", r->op.has_vault ? r->op.vault.directory : r->op.kms->inst.directory);
	view_put_text(&o, "vault", r->op.vault.name);
	view_put_text(&o, "kind", view_kind(p->kind));
	json_put(&o, "enabled", json_boolean(p->is_enabled));
	json_put(&o, "created", json_integer(p->created_s));
	if (p->kind == STORE_PRINCIPAL_CALLER)
		json_put(&o, "pseudonym", json_base64url(p->pid, sizeof(p->pid)));
	if (p->tokens_from_s != 0)
		json_put(&o, "tokens_from", json_integer(p->tokens_from_s));
	KMS_TRY(add_secret_end(r, p, &o, err));
	KMS_TRY(add_roles(r, p, &o, err));
	if (o == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "principal");
	*ret = KMS_TAKE(o);
	return KMS_OK;
}

/* ---- requests ---- */

kms_status view_parse_id(const char *text, const char *what, uint8_t ret_id[STORE_ID_LEN], struct kms_err *err)
{
	if (guid_parse(text, strlen(text), ret_id))
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "%s must be a GUID.", what);
}

kms_status view_parse_after(const struct request *r, uint8_t store_id[STORE_ID_LEN], const uint8_t **ret_after, struct kms_err *err)
{
	const char *after = query_get(r, "after");

	*ret_after = NULL;
	if (after == NULL)
		return KMS_OK;
	KMS_TRY(view_parse_id(after, "after:", store_id, err));
	*ret_after = store_id;
	return KMS_OK;
}
