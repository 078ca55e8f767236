/*
 * api/h_certificate.c - destruction certificates (docs/destruction.md): listed, shown, signed by approvers, and made true again in an older database.
 * Guards: a vault's own people see its certificates and no others; a page shows names, so it is for the same people.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/certificate_page.h"
#include "api/view.h"
#include "server/core/certificate.h"

#define OFFSET(member) offsetof(union request_body, member)
#define CERTIFICATES_PAGE 50
#define PRINCIPALS_PAGE 50
#define DIGEST_LEN ((size_t)2 * STORE_HASH_LEN)
#define ENFORCE_BODY_MAX ((size_t)8 << 20) /* what one caller may have under way */
#define US_PER_S 1000000
#define NOTE_TYPE "text/plain; charset=utf-8"
#define PAGE_TYPE "text/html; charset=utf-8"
#define EM_DASH "\xe2\x80\x94 "

static const uint8_t NO_ID[STORE_ID_LEN];
static bool same_id(const uint8_t *a, const uint8_t *b) { return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */ }

/* ---- schemas ---- */

static const struct json_field SIGN_FIELDS[] = {
	{ .name = "certificate", .kind = J_STRING, .offset = OFFSET(vote.certificate), .flag = J_NO_FLAG, .required = true, .min = DIGEST_LEN, .max = DIGEST_LEN },
	{ .name = "signature", .kind = J_BYTES, .offset = OFFSET(vote.signature), .flag = J_NO_FLAG, .required = true, .min = 1, .max = NOTE_SIGNATURE_MAX },
	{ .name = NULL },
};
const struct json_schema CERTIFICATE_SIGN_SCHEMA = { .name = "CertificateSignRequest", .fields = SIGN_FIELDS, .size = sizeof(union request_body), .is_strict = true };

static const struct json_field ENFORCE_FIELDS[] = {
	{ .name = "certificate", .kind = J_TEXTS, .offset = OFFSET(enforce.certificate), .flag = J_NO_FLAG, .required = true, .count = OFFSET(enforce.count), .max = 1 },
	{ .name = NULL },
};
const struct json_schema CERTIFICATE_ENFORCE_SCHEMA = { .name = "CertificateEnforceRequest", .fields = ENFORCE_FIELDS, .size = sizeof(union request_body),
	                                                .body_max = ENFORCE_BODY_MAX, .is_strict = true };

/* ---- who sees which ---- */

static bool sees_all(const struct request *r)
{
	return (r->op.installation_permissions & (PERM_BIT(PERM_AUDIT_READ_ALL) | PERM_BIT(PERM_APPROVAL_READ))) != 0;
}

/* Auditors, administrators and approvers of a vault see its own. Whoever may see none finds none. */
static bool may_see(const struct request *r, const uint8_t vault_id[STORE_ID_LEN])
{
	const uint64_t either = PERM_BIT(PERM_AUDIT_READ) | PERM_BIT(PERM_APPROVAL_READ);

	return sees_all(r) || (r->op.has_vault && same_id(vault_id, r->op.vault.id) && (r->op.permissions & either) != 0);
}

static kms_status load(struct request *r, struct store_certificate *ret, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];
	kms_status status;

	op_det_text(&r->op, "what", "certificate");
	KMS_TRY(view_parse_id(r->item, "The certificate's id", id, err));
	op_det_guid(&r->op, "certificate", id);
	status = store_certificate(r->op.store, id, ret, NULL);
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && !may_see(r, ret->vault_id)))
		return kms_refuse(err, KMS_E_NOTFOUND, "There is no such certificate, or it is not yours to see: that takes a role which reads events or requests of its vault.");
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "certificate");
}

/* ---- as JSON ---- */

static const char *state_of(const struct store_certificate *c)
{
	switch (c->state) {
	case STORE_CERTIFICATE_BEGUN: return "begun";
	case STORE_CERTIFICATE_DUE: return "due";
	case STORE_CERTIFICATE_PENDING: return "pending";
	case STORE_CERTIFICATE_COMPLETE: break;
	}
	return "complete";
}

static const char *scope_of(const struct store_certificate *c)
{
	switch (c->scope) {
	case STORE_CERTIFICATE_TENANT: return "tenant";
	case STORE_CERTIFICATE_ROOT: return "root";
	case STORE_CERTIFICATE_KEY: break;
	}
	return "key";
}

/* The names of its signature lines, which are ours: EM DASH, name, base64. */
static json_t *signers_of(const struct store_certificate *c)
{
	json_t *list = json_array();
	const char *at = c->signatures != NULL ? c->signatures : "";

	while (strncmp(at, EM_DASH, strlen(EM_DASH)) == 0) {
		const char *name = at + strlen(EM_DASH);
		json_add(&list, json_stringn(name, strcspn(name, " ")));
		at += strcspn(at, "\n");
		at += *at == '\n';
	}
	return list;
}

/* The vault's name, when it is still known. */
static kms_status vault_name(struct request *r, const uint8_t id[STORE_ID_LEN], char ret_name[STORE_VAULT_NAME_MAX + 1], struct kms_err *err)
{
	struct store_vault v = { 0 };
	kms_status status = store_vault_by_id(r->op.store, id, &v, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "vault of a certificate");
	memcpy(ret_name, v.name, STORE_VAULT_NAME_MAX + 1);
	return KMS_OK;
}

static kms_status certificate_object(struct request *r, const struct store_certificate *c, json_t **ret, struct kms_err *err)
{
	char vault[STORE_VAULT_NAME_MAX + 1];
	bool is_revived = false;
	int64_t revived_us = 0;
	JSON_AUTO *o = json_object();

	KMS_TRY(vault_name(r, c->vault_id, vault, err));
	KMS_TRY(certificate_is_revived(r->op.store, c, &is_revived, &revived_us, err));
	view_put_guid(&o, "id", c->id);
	view_put_guid(&o, "tenant", c->vault_id);
	if (vault[0] != '\0')
		view_put_text(&o, "vault", vault);
	if (c->key_name[0] != '\0')
		view_put_text(&o, "key", c->key_name);
	view_put_text(&o, "scope", scope_of(c));
	view_put_text(&o, "basis", certificate_basis_name((enum certificate_basis)c->basis));
	view_put_text(&o, "state", state_of(c));
	view_put_text(&o, "origin", c->origin);
	json_put(&o, "created", json_integer(c->created_s));
	view_put_time(&o, "issued", c->issued_s);
	view_put_time(&o, "until", c->until_s);
	if (is_revived)
		json_put(&o, "revived", json_true());
	if (is_revived && revived_us != STORE_NO_TIME)
		view_put_time(&o, "restored", revived_us / US_PER_S);
	if (c->size > 0)
		json_put(&o, "size", json_integer((json_int_t)c->size));
	json_put(&o, "signers", signers_of(c));
	*ret = KMS_TAKE(o);
	return KMS_OK;
}

/* ---- a list ---- */

/* Of which vault: asked for by its name or number, or the caller's own. @param ret_id  left alone when it is all of them */
static kms_status choose_vault(struct request *r, uint8_t ret_id[STORE_ID_LEN], bool *ret_all, struct kms_err *err)
{
	const char *asked = query_get(r, "vault");
	struct store_vault v = { 0 };
	kms_status status = KMS_OK;

	*ret_all = asked == NULL && sees_all(r);
	if (asked == NULL && r->op.has_vault) {
		memcpy(ret_id, r->op.vault.id, STORE_ID_LEN);
		return KMS_OK;
	}
	if (asked == NULL || guid_parse(asked, strlen(asked), ret_id))
		return KMS_OK;
	status = store_vault_by_name(r->op.store, asked, &v, NULL);
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && !may_see(r, v.id)))
		return kms_refuse(err, KMS_E_NOTFOUND, "There is no vault named %.24s here.", asked);
	memcpy(ret_id, v.id, STORE_ID_LEN);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "vault");
}

static kms_status list_page(struct request *r, const uint8_t *vault_id, const uint8_t *after, json_t **value, char ret_next[GUID_TEXT_LEN + 1], bool *ret_more,
                            struct kms_err *err)
{
	struct store_certificate *page = calloc(CERTIFICATES_PAGE, sizeof(*page));
	size_t count = 0;
	kms_status status = KMS_OK;

	if (page == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificates");
	status = store_certificates(r->op.store, vault_id, after, false, page, CERTIFICATES_PAGE, &count, err);
	for (size_t i = 0; i < count; i++) {
		json_t *o = NULL;
		if (status == KMS_OK)
			status = certificate_object(r, &page[i], &o, err);
		if (status == KMS_OK)
			json_add(value, o);
		guid_format(page[i].id, ret_next);
		store_certificate_clear(&page[i]);
	}
	free(page);
	*ret_more = count == CERTIFICATES_PAGE;
	return status;
}

kms_status api_certificate_list(struct request *r, struct kms_err *err)
{
	JSON_AUTO *value = json_array();
	uint8_t cursor[STORE_ID_LEN], vault_id[STORE_ID_LEN] = { 0 };
	const uint8_t *after = NULL;
	char next[GUID_TEXT_LEN + 1];
	bool has_more = false, all = false;

	op_det_text(&r->op, "what", "certificates");
	KMS_TRY(view_parse_after(r, cursor, &after, err));
	KMS_TRY(choose_vault(r, vault_id, &all, err));
	if (all || may_see(r, vault_id))
		KMS_TRY(list_page(r, all ? NULL : vault_id, after, &value, next, &has_more, err));
	return reply_page(r, KMS_TAKE(value), has_more ? next : NULL, err);
}

/* ---- one, as text and as a page ---- */

/* Of what we have composed, or signed: it may list more keys than a request has members. @return NULL also for what is no object */
static json_t *parse_own(const char *text, size_t len)
{
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(j))
		return j;
	json_decref(j);
	return NULL;
}

/* Takes `text`. What it says may become more: signatures, a complete one instead of a pending. */
static kms_status reply_text(struct request *r, char *text, size_t len, const char *type)
{
	reply_empty(r, 200);
	r->response.body = text;
	r->response.body_len = len;
	r->content_type = type;
	return KMS_OK;
}

/* Whoever still is a principal of the vault, or of the installation, has a name. */
static kms_status name_approvers(struct request *r, const uint8_t directory[STORE_ID_LEN], json_t *approvers, struct kms_err *err)
{
	struct store_principal *page = calloc(PRINCIPALS_PAGE, sizeof(*page));
	char pid[B64URL_LEN(sizeof(page->pid)) + 1];
	const uint8_t *after = NULL;
	uint8_t cursor[STORE_ID_LEN];
	kms_status status = page != NULL ? KMS_OK : KMS_E_NOMEM;
	size_t count = PRINCIPALS_PAGE, n = 0;
	json_t *a = NULL;

	while (status == KMS_OK && count == PRINCIPALS_PAGE) {
		status = store_principals(r->op.store, directory, after, page, PRINCIPALS_PAGE, &count, err);
		for (size_t i = 0; i < count && status == KMS_OK; i++) {
			b64url_encode(page[i].pid, sizeof(page[i].pid), pid);
			json_array_foreach(approvers, n, a) {
				const char *wanted = json_string_value(json_object_get(a, "pid"));
				if (wanted != NULL && strcmp(wanted, pid) == 0 && json_object_set_new(a, "name", json_string(page[i].name)) != 0)
					status = KMS_E_NOMEM;
			}
			memcpy(cursor, page[i].id, STORE_ID_LEN);
			after = cursor;
		}
	}
	free(page);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "approvers of a certificate");
}

/* @param ret  the leaf; owned by the caller. NULL: only its hash is kept */
static kms_status read_leaf(struct request *r, uint64_t seq, json_t **ret, struct kms_err *err)
{
	struct store_event e = { 0 };

	KMS_TRY(store_event(r->op.store, seq, &e, err));
	*ret = e.leaf_len > 0 ? parse_own((const char *)e.leaf, e.leaf_len) : NULL;
	store_event_clear(&e);
	return KMS_OK;
}

/* What people agreed to: the intent itself; of a root that was replaced, the rotation. @param ret  owned by the caller; NULL: it is not known here */
static kms_status read_agreed(struct request *r, const struct store_certificate *c, json_t **ret, struct kms_err *err)
{
	JSON_AUTO *intent = NULL;
	const json_t *rotation = NULL;

	*ret = NULL;
	if (strcmp(c->origin, r->op.kms->origin) != 0)
		return KMS_OK;
	KMS_TRY(read_leaf(r, c->intent & STORE_SEQ_MAX, &intent, err));
	rotation = json_object_get(json_object_get(intent, "det"), "rotation");
	if (c->scope == STORE_CERTIFICATE_ROOT && json_is_integer(rotation))
		return read_leaf(r, (uint64_t)json_integer_value(rotation), ret, err);
	*ret = KMS_TAKE(intent);
	return KMS_OK;
}

/* As the log has them. @param ret  owned by the caller */
static kms_status find_approvers(struct request *r, const struct store_certificate *c, const json_t *agreed, json_t **ret, struct kms_err *err)
{
	json_t *list = json_incref(json_object_get(agreed, "appr"));

	*ret = list != NULL ? list : json_array();
	if (*ret == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "approvers of a certificate");
	KMS_TRY(name_approvers(r, c->vault_id, *ret, err));
	return name_approvers(r, NO_ID, *ret, err);
}

/* The second line of a note. */
static json_t *body_of(const char *note)
{
	const char *body = strchr(note, '\n') + 1;
	return parse_own(body, strcspn(body, "\n"));
}

static kms_status write_page(struct request *r, const struct store_certificate *c, const char *note, FILE *out, struct kms_err *err)
{
	char vkey[NOTE_VKEY_MAX + 1], vault[STORE_VAULT_NAME_MAX + 1];
	char revived[TIMESTAMP_LEN + 1] = "";
	JSON_AUTO *body = body_of(note);
	JSON_AUTO *agreed = NULL;
	JSON_AUTO *approvers = NULL;
	const char *reason = NULL;
	bool is_revived = false;
	int64_t revived_us = 0;

	if (body == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "page of a certificate");
	KMS_TRY(certificate_vkey(r->op.kms, vkey, err));
	KMS_TRY(vault_name(r, c->vault_id, vault, err));
	KMS_TRY(read_agreed(r, c, &agreed, err));
	KMS_TRY(find_approvers(r, c, agreed, &approvers, err));
	KMS_TRY(certificate_is_revived(r->op.store, c, &is_revived, &revived_us, err));
	if (is_revived && revived_us != STORE_NO_TIME)
		timestamp_format(revived_us, revived);
	reason = json_string_value(json_object_get(json_object_get(agreed, "det"), "reason"));
	certificate_page_write(&(struct certificate_page){ .note = note, .body = body, .approvers = approvers, .reason = reason != NULL ? reason : "", .has_log = agreed != NULL,
	                                                   .is_revived = is_revived, .revived = revived, .vault = vault, .key = c->key_name, .vkey = vkey }, out);
	return KMS_OK;
}

static kms_status reply_page_of(struct request *r, const struct store_certificate *c, const char *note, struct kms_err *err)
{
	char *page = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&page, &len);
	kms_status status = out != NULL ? write_page(r, c, note, out, err) : KMS_E_NOMEM;
	bool is_whole = out != NULL && ferror(out) == 0;

	if (out != NULL && fclose(out) != 0)
		is_whole = false;
	if (status == KMS_OK && is_whole)
		return reply_text(r, page, len, PAGE_TYPE);
	free(page);
	return status != KMS_OK && out != NULL ? status : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "page of a certificate");
}

kms_status api_certificate_get(struct request *r, struct kms_err *err)
{
	const char *format = query_get(r, "format");
	STORE_CERTIFICATE_AUTO c = { 0 };
	json_t *o = NULL;
	char *note = NULL;
	kms_status status;

	if (format != NULL && strcmp(format, "note") != 0 && strcmp(format, "html") != 0 && strcmp(format, "json") != 0)
		return kms_refuse(err, KMS_E_INVALID, "format: must be note (the signed text), html or json.");
	KMS_TRY(load(r, &c, err));
	if (format != NULL && strcmp(format, "json") == 0) {
		KMS_TRY(certificate_object(r, &c, &o, err));
		return reply_json(r, 200, o, err);
	}
	KMS_TRY(certificate_note(r->op.store, &c, &note, err));
	if (format == NULL || strcmp(format, "note") == 0)
		return reply_text(r, note, strlen(note), NOTE_TYPE);
	status = reply_page_of(r, &c, note, err);
	free(note);
	return status;
}

/* ---- signed by an approver ---- */

kms_status api_certificate_sign(struct request *r, struct kms_err *err)
{
	const struct json_bytes *signature = &r->body.vote.signature;
	STORE_CERTIFICATE_AUTO c = { 0 };
	uint8_t fingerprint[STORE_HASH_LEN];
	char vkey[NOTE_VKEY_MAX + 1], id[GUID_TEXT_LEN + 1];

	KMS_TRY(load(r, &c, err));
	if (!hex_decode(r->body.vote.certificate, strlen(r->body.vote.certificate), fingerprint, sizeof(fingerprint)))
		return kms_refuse(err, KMS_E_INVALID, "certificate: must be the SHA-256 of one of your certificates, 64 hexadecimal digits.");
	KMS_TRY(certificate_countersign(&r->op, c.id, fingerprint, signature->data, signature->len, vkey, err));
	guid_format(c.id, id);
	return reply_json(r, 200, json_pack("{s:s,s:s}", "id", id, "vkey", vkey), err);
}

/* ---- made true again ---- */

static bool read_object(const json_t *key, struct certified_object *ret)
{
	const char *obj = json_string_value(json_object_get(key, "obj")), *kind = json_string_value(json_object_get(key, "kind"));
	const char *name = json_string_value(json_object_get(key, "name"));
	size_t len = 0;

	memset(ret, 0, sizeof(*ret));
	if (obj == NULL || kind == NULL || name == NULL || strlen(name) >= sizeof(ret->key_name) || !b64url_decode(obj, strlen(obj), ret->obj, STORE_ID_LEN, &len) ||
	    len != STORE_ID_LEN)
		return false;
	ret->kind = strcmp(kind, "root") == 0 ? STORE_TOMBSTONE_ROOT : strcmp(kind, "pseudonyms") == 0 ? STORE_TOMBSTONE_PSEUDONYMS : STORE_TOMBSTONE_VERSION;
	memcpy(ret->key_name, name, strlen(name));
	return true;
}

static bool read_guid(const json_t *body, const char *name, uint8_t ret[STORE_ID_LEN])
{
	const char *text = json_string_value(json_object_get(body, name));
	return text != NULL && guid_parse(text, strlen(text), ret);
}

/* @param ret_objects  owned by the caller */
static kms_status read_certified(const json_t *body, struct certified *ret, struct certified_object **ret_objects, struct kms_err *err)
{
	const json_t *keys = json_object_get(body, "keys"), *key = NULL;
	const char *scope = json_string_value(json_object_get(body, "scope"));
	struct certified_object *objects = calloc(json_array_size(keys) + 1, sizeof(*objects));
	bool is_good = json_is_array(keys) && scope != NULL && read_guid(body, "id", ret->id) && read_guid(body, "tenant", ret->vault_id);
	size_t i = 0;

	*ret_objects = objects;
	if (objects == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "objects of a certificate");
	json_array_foreach(keys, i, key) {
		is_good = is_good && read_object(key, &objects[i]);
	}
	if (!is_good)
		return kms_refuse(err, KMS_E_INVALID, "certificate: is signed, but says nothing that this version understands.");
	ret->is_of_tenant = strcmp(scope, "tenant") == 0;
	ret->objects = objects;
	ret->count = i;
	return KMS_OK;
}

kms_status api_certificate_enforce(struct request *r, struct kms_err *err)
{
	const char *note = r->body.enforce.certificate[0], *text = NULL;
	JSON_AUTO *body = NULL;
	struct certified c = { 0 };
	struct certified_object *objects = NULL;
	char id[GUID_TEXT_LEN + 1];
	struct enforced done = { 0 };
	size_t len = 0;
	kms_status status;

	KMS_TRY(certificate_open(r->op.kms, note, strlen(note), &text, &len, err));
	body = parse_own(text, len);
	if (body == NULL)
		return kms_refuse(err, KMS_E_INVALID, "certificate: its second line is no JSON object.");
	status = read_certified(body, &c, &objects, err);
	if (status == KMS_OK)
		status = certificate_enforce(&r->op, &c, &done, err);
	free(objects);
	if (status != KMS_OK)
		return status;
	guid_format(c.id, id);
	return reply_json(r, 200, json_pack("{s:s,s:I,s:I}", "id", id, "objects", (json_int_t)done.objects, "revived", (json_int_t)done.revived), err);
}
