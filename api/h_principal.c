/* api/h_principal.c - the management API: principals, how they are known, and groups (docs/access.md). */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "api/client_cert.h"
#include "api/view.h"

#define OFFSET(member) offsetof(union request_body, member)
#define SECRET_DAYS_DEFAULT 180
#define DAY_S (24 * 3600)
#define CERTIFICATE_BODY_MAX ((size_t)32 * 1024)
#define SUBJECT_TEXT_MAX 200

/* ---- schemas: our own dialect refuses unknown members ---- */

static const struct json_field PRINCIPAL_FIELDS[] = {
	{ .name = "name", .kind = J_STRING, .offset = OFFSET(principal.name), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_PRINCIPAL_NAME_MAX },
	{ .name = "secret_days", .kind = J_INT, .offset = OFFSET(principal.secret_days), .flag = J_NO_FLAG, .min = 0, .max = SECRET_DAYS_MAX },
	{ .name = NULL },
};
static void principal_init(void *target) { ((union request_body *)target)->principal.secret_days = SECRET_DAYS_DEFAULT; }
const struct json_schema PRINCIPAL_CREATE_SCHEMA = { .name = "PrincipalCreateRequest", .fields = PRINCIPAL_FIELDS,
	                                             .size = sizeof(union request_body), .is_strict = true, .init = principal_init };

static int parse_secret_kind(const char *text)
{
	if (strcmp(text, "secret") == 0) /* allowed: the name of a kind */
		return STORE_CREDENTIAL_SECRET;
	return strcmp(text, "header") == 0 ? STORE_CREDENTIAL_HEADER : 0;
}
static const char *secret_kind_at(unsigned i) { return i == 0 ? "secret" : i == 1 ? "header" : NULL; }
#define LABEL_FIELD                                                                                                                            \
	{ .name = "label", .kind = J_STRING, .offset = OFFSET(credential.label), .flag = J_NO_FLAG, .min = 0, .max = STORE_LABEL_MAX }
static const struct json_field SECRET_FIELDS[] = {
	{ .name = "kind", .kind = J_ENUM, .offset = OFFSET(credential.kind), .flag = J_NO_FLAG, .parse = parse_secret_kind, .name_at = secret_kind_at },
	{ .name = "days", .kind = J_INT, .offset = OFFSET(credential.days), .flag = J_NO_FLAG, .min = 1, .max = SECRET_DAYS_MAX },
	LABEL_FIELD,
	{ .name = NULL },
};
static void secret_init(void *target)
{
	union request_body *body = target;

	body->credential.kind = STORE_CREDENTIAL_SECRET;
	body->credential.days = SECRET_DAYS_DEFAULT;
}
const struct json_schema SECRET_SCHEMA = { .name = "SecretRequest", .fields = SECRET_FIELDS, .size = sizeof(union request_body),
	                                   .is_strict = true, .may_be_empty = true, .init = secret_init };

static const struct json_field CERTIFICATE_FIELDS[] = {
	{ .name = "certificate", .kind = J_TEXTS, .offset = OFFSET(credential.certificate), .flag = J_NO_FLAG, .required = true,
	  .count = OFFSET(credential.certificate_count), .max = 1 },
	LABEL_FIELD,
	{ .name = NULL },
};
const struct json_schema CERTIFICATE_SCHEMA = { .name = "CertificateRequest", .fields = CERTIFICATE_FIELDS, .size = sizeof(union request_body),
	                                        .is_strict = true };

static const struct json_field IDENTITY_FIELDS[] = {
	{ .name = "issuer", .kind = J_STRING, .offset = OFFSET(credential.issuer), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_ISSUER_MAX },
	{ .name = "subject", .kind = J_STRING, .offset = OFFSET(credential.subject), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = CALLER_SUBJECT_MAX + sizeof("group:") - 1 },
	{ .name = NULL },
};
const struct json_schema IDENTITY_SCHEMA = { .name = "IdentityRequest", .fields = IDENTITY_FIELDS, .size = sizeof(union request_body),
	                                     .is_strict = true };

static const struct json_field GROUP_FIELDS[] = {
	{ .name = "name", .kind = J_STRING, .offset = OFFSET(group.name), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_PRINCIPAL_NAME_MAX },
	{ .name = NULL },
};
const struct json_schema GROUP_SCHEMA = { .name = "GroupRequest", .fields = GROUP_FIELDS, .size = sizeof(union request_body), .is_strict = true };

static const struct json_field MEMBER_FIELDS[] = {
	{ .name = "member", .kind = J_STRING, .offset = OFFSET(group.member), .flag = J_NO_FLAG, .required = true, .min = GUID_TEXT_LEN,
	  .max = GUID_TEXT_LEN },
	{ .name = NULL },
};
const struct json_schema MEMBER_SCHEMA = { .name = "MemberRequest", .fields = MEMBER_FIELDS, .size = sizeof(union request_body),
	                                   .is_strict = true };

/* ---- principals ---- */

/* Callers or groups of one page; *ret_last moves on also over those of the other kind. */
static kms_status add_page(struct request *r, enum store_principal_kind kind, const uint8_t *after, json_t **value, uint8_t ret_last[STORE_ID_LEN],
                           size_t *ret_count, struct kms_err *err)
{
	struct store_principal page[TENANCY_PAGE_MAX];

	KMS_TRY(store_principals(r->op.store, r->op.vault.id, after, page, TENANCY_PAGE_MAX, ret_count, err));
	for (size_t i = 0; i < *ret_count; i++) {
		json_t *o = NULL;
		memcpy(ret_last, page[i].id, STORE_ID_LEN);
		if (page[i].kind != kind)
			continue;
		KMS_TRY(view_principal(r, &page[i], &o, err));
		json_add(value, o);
	}
	return KMS_OK;
}

/* One page of the directory may hold none of the kind: then the next one is read. */
static kms_status list_kind(struct request *r, enum store_principal_kind kind, struct kms_err *err)
{
	JSON_AUTO *value = json_array();
	uint8_t cursor[STORE_ID_LEN], last[STORE_ID_LEN] = { 0 };
	const uint8_t *after = NULL;
	char next[GUID_TEXT_LEN + 1];
	size_t count = TENANCY_PAGE_MAX;

	KMS_TRY(view_parse_after(r, cursor, &after, err));
	while (count == TENANCY_PAGE_MAX && json_array_size(value) == 0) {
		KMS_TRY(add_page(r, kind, after, &value, last, &count, err));
		memcpy(cursor, last, sizeof(cursor));
		after = cursor;
	}
	guid_format(last, next);
	return reply_page(r, KMS_TAKE(value), count == TENANCY_PAGE_MAX ? next : NULL, err);
}

kms_status api_principal_list(struct request *r, struct kms_err *err)
{
	op_det_text(&r->op, "what", "principals");
	return list_kind(r, STORE_PRINCIPAL_CALLER, err);
}

/* The one and only showing; jansson's copy and the rendered answer are erased when they are freed. */
static void put_secret(json_t **object, const struct secret *secret)
{
	if (secret != NULL)
		json_put(object, "secret", json_stringn((const char *)secret_data(secret), CLIENT_SECRET_TEXT));
}

kms_status api_principal_create(struct request *r, struct kms_err *err)
{
	struct store_principal p = { 0 };
	SECRET_AUTO *secret = NULL;
	json_t *o = NULL;

	KMS_TRY(principal_create(&r->op, r->body.principal.name, (unsigned)r->body.principal.secret_days, &p, &secret, err));
	KMS_TRY(view_principal(r, &p, &o, err));
	if (secret != NULL)
		json_put(&o, "secret_expires", json_integer(p.created_s + r->body.principal.secret_days * DAY_S));
	put_secret(&o, secret);
	return reply_json(r, 200, o, err);
}

static kms_status find_principal(struct request *r, struct store_principal *ret, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The principal's id", id, err));
	return principal_find(&r->op, id, ret, err);
}

/* ---- credentials ---- */

static const char *credential_kind(enum store_credential_kind kind)
{
	switch (kind) {
	case STORE_CREDENTIAL_SECRET: return "secret";
	case STORE_CREDENTIAL_HEADER: return "header";
	case STORE_CREDENTIAL_CERTIFICATE: return "certificate";
	case STORE_CREDENTIAL_IDENTITY: return "identity";
	}
	return "";
}

/* Of a certificate its hash is public; that of a secret is never shown. @param der  of a certificate; NULL = none */
static json_t *credential_object(const struct store_credential *c, const uint8_t *der, size_t der_len)
{
	char hash[2 * STORE_HASH_LEN + 1], subject[SUBJECT_TEXT_MAX] = "";
	json_t *o = json_object();
	X509 *cert = der != NULL ? client_cert_parse(der, der_len) : NULL;

	view_put_guid(&o, "id", c->id);
	view_put_text(&o, "kind", credential_kind(c->kind));
	view_put_text(&o, "label", c->label);
	json_put(&o, "created", json_integer(c->created_s));
	view_put_time(&o, "expires", c->expires_s);
	if (c->kind == STORE_CREDENTIAL_CERTIFICATE) {
		hex_encode(c->hash, STORE_HASH_LEN, hash);
		view_put_text(&o, "sha256", hash);
	}
	if (cert != NULL) {
		client_cert_subject(cert, subject, sizeof(subject));
		view_put_text(&o, "subject", subject);
	}
	X509_free(cert);
	ERR_clear_error();
	return o;
}

static kms_status credentials_array(struct request *r, const struct store_principal *p, json_t **ret, struct kms_err *err)
{
	struct store_credential all[STORE_CREDENTIALS_MAX] = { 0 };
	json_t *list = json_array();
	size_t count = 0;
	kms_status status = store_credentials(r->op.store, p->id, all, STORE_CREDENTIALS_MAX, &count, err);

	for (size_t i = 0; i < count; i++) {
		json_add(&list, credential_object(&all[i], all[i].data, all[i].data_len));
		store_credential_clear(&all[i]);
	}
	if (status != KMS_OK || list == NULL) {
		json_decref(list);
		return status != KMS_OK ? status : kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "credentials");
	}
	*ret = list;
	return KMS_OK;
}

kms_status api_credential_list(struct request *r, struct kms_err *err)
{
	struct store_principal p = { 0 };
	json_t *value = NULL;

	op_det_text(&r->op, "what", "credentials");
	KMS_TRY(find_principal(r, &p, err));
	op_det_guid(&r->op, "principal", p.id);
	KMS_TRY(credentials_array(r, &p, &value, err));
	return reply_page(r, value, NULL, err);
}

kms_status api_credential_add_secret(struct request *r, struct kms_err *err)
{
	STORE_CREDENTIAL_AUTO c = { 0 };
	SECRET_AUTO *secret = NULL;
	uint8_t id[STORE_ID_LEN];
	json_t *o = NULL;

	KMS_TRY(view_parse_id(r->item, "The principal's id", id, err));
	KMS_TRY(credential_add_secret(&r->op, id, (enum store_credential_kind)r->body.credential.kind, r->body.credential.label,
	                              (unsigned)r->body.credential.days, &c, &secret, err));
	o = credential_object(&c, NULL, 0);
	put_secret(&o, secret);
	return reply_json(r, 200, o, err);
}

/* Exactly one certificate; what stands before or behind it in PEM is nobody's business, a second one is. */
static X509 *read_pem(const char *text)
{
	BIO *in = BIO_new_mem_buf(text, -1);
	X509 *cert = in != NULL ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
	X509 *second = cert != NULL ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;

	if (second != NULL) {
		X509_free(cert);
		cert = NULL;
	}
	X509_free(second);
	BIO_free(in);
	ERR_clear_error();
	return cert;
}

static kms_status read_certificate(const char *text, uint8_t **ret_der, size_t *ret_len, int64_t *ret_end_s, struct kms_err *err)
{
	X509 *cert = read_pem(text);
	unsigned char *der = NULL;
	int len = cert != NULL ? i2d_X509(cert, &der) : -1;
	bool has_end = cert != NULL && client_cert_time(X509_get0_notAfter(cert), ret_end_s);

	X509_free(cert);
	ERR_clear_error();
	if (len <= 0 || !has_end) {
		OPENSSL_free(der);
		return kms_refuse(err, KMS_E_INVALID, "certificate: must be one certificate in PEM, without its chain.");
	}
	*ret_der = der;
	*ret_len = (size_t)len;
	return KMS_OK;
}

kms_status api_credential_add_certificate(struct request *r, struct kms_err *err)
{
	STORE_CREDENTIAL_AUTO c = { 0 };
	uint8_t id[STORE_ID_LEN], *der = NULL;
	int64_t end_s = 0;
	size_t len = 0;
	kms_status status = KMS_OK;

	KMS_TRY(view_parse_id(r->item, "The principal's id", id, err));
	/* It would not be kept; but whoever sends it has to know that it has left its place. */
	if (strstr(r->body.credential.certificate[0], "PRIVATE KEY-----") != NULL)
		return kms_refuse(err, KMS_E_INVALID, "certificate: a private key came with it. Nobody else may have that: make a new key and send its certificate alone.");
	KMS_TRY(read_certificate(r->body.credential.certificate[0], &der, &len, &end_s, err));
	status = credential_add_certificate(&r->op, id, der, len, end_s, r->body.credential.label, &c, err);
	if (status == KMS_OK)
		status = reply_json(r, 200, credential_object(&c, der, len), err);
	OPENSSL_free(der);
	return status;
}

kms_status api_credential_add_identity(struct request *r, struct kms_err *err)
{
	STORE_CREDENTIAL_AUTO c = { 0 };
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The principal's id", id, err));
	if (!request_knows_issuer(r, r->body.credential.issuer))
		return kms_refuse(err, KMS_E_INVALID, "issuer: the configuration has no issuer named '%s'.", r->body.credential.issuer);
	KMS_TRY(credential_add_identity(&r->op, id, r->body.credential.issuer, r->body.credential.subject, &c, err));
	return reply_json(r, 200, credential_object(&c, NULL, 0), err);
}

kms_status api_credential_remove(struct request *r, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN], credential[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The principal's id", id, err));
	KMS_TRY(view_parse_id(r->part, "The credential's id", credential, err));
	KMS_TRY(credential_remove(&r->op, id, credential, err));
	reply_empty(r, 204);
	return KMS_OK;
}

/* ---- one principal with everything that is known of it ---- */

static json_t *group_name(const struct store_principal *g)
{
	json_t *o = json_object();

	view_put_text(&o, "name", g->name);
	view_put_guid(&o, "id", g->id);
	return o;
}

static kms_status add_groups(struct request *r, const struct store_principal *p, json_t **object, struct kms_err *err)
{
	struct store_principal groups[ACCESS_GROUPS_MAX];
	json_t *list = NULL;
	size_t count = 0;

	KMS_TRY(store_groups_of(r->op.store, p->id, groups, ACCESS_GROUPS_MAX, &count, err));
	list = json_array();
	for (size_t i = 0; i < count; i++)
		json_add(&list, group_name(&groups[i]));
	json_put(object, "groups", list);
	return KMS_OK;
}

/* How it is known besides by its credentials: the client certificates of a pool or a service. */
static kms_status add_pool(struct request *r, const struct store_principal *p, json_t **object, struct kms_err *err)
{
	STORE_POOL_AUTO pool = { 0 };
	json_t *subjects = NULL;
	kms_status status = store_pool(r->op.store, p->id, &pool, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "pool of a principal");
	subjects = json_array();
	for (size_t i = 0; i < pool.subject_count; i++)
		json_add(&subjects, json_string(pool.subjects[i]));
	view_put_text(object, "kind", pool.is_service ? "service" : "pool");
	json_put(object, "subjects", subjects);
	return KMS_OK;
}

kms_status api_principal_get(struct request *r, struct kms_err *err)
{
	struct store_principal p = { 0 };
	JSON_AUTO *o = NULL;
	json_t *credentials = NULL;

	op_det_text(&r->op, "what", "principal");
	KMS_TRY(find_principal(r, &p, err));
	op_det_guid(&r->op, "principal", p.id);
	KMS_TRY(view_principal(r, &p, &o, err));
	KMS_TRY(add_groups(r, &p, &o, err));
	KMS_TRY(credentials_array(r, &p, &credentials, err));
	json_put(&o, "credentials", credentials);
	KMS_TRY(add_pool(r, &p, &o, err));
	return reply_json(r, 200, KMS_TAKE(o), err);
}

static kms_status reply_principal(struct request *r, const struct store_principal *p, struct kms_err *err)
{
	json_t *o = NULL;

	KMS_TRY(view_principal(r, p, &o, err));
	return reply_json(r, 200, o, err);
}

static kms_status set_enabled(struct request *r, bool enable, struct kms_err *err)
{
	struct store_principal p = { 0 };
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The principal's id", id, err));
	KMS_TRY(principal_enable(&r->op, id, enable, &p, err));
	return reply_principal(r, &p, err);
}

kms_status api_principal_enable(struct request *r, struct kms_err *err) { return set_enabled(r, true, err); }
kms_status api_principal_disable(struct request *r, struct kms_err *err) { return set_enabled(r, false, err); }

kms_status api_principal_revoke_tokens(struct request *r, struct kms_err *err)
{
	struct store_principal p = { 0 };
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The principal's id", id, err));
	KMS_TRY(principal_revoke_tokens(&r->op, id, &p, err));
	return reply_principal(r, &p, err);
}

/* ---- groups ---- */

kms_status api_group_list(struct request *r, struct kms_err *err)
{
	op_det_text(&r->op, "what", "groups");
	return list_kind(r, STORE_PRINCIPAL_GROUP, err);
}

kms_status api_group_create(struct request *r, struct kms_err *err)
{
	struct store_principal g = { 0 };

	KMS_TRY(group_create(&r->op, r->body.group.name, &g, err));
	return reply_principal(r, &g, err);
}

static kms_status find_group(struct request *r, struct store_principal *ret, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The group's id", id, err));
	KMS_TRY(principal_find(&r->op, id, ret, err));
	if (ret->kind != STORE_PRINCIPAL_GROUP)
		return kms_refuse(err, KMS_E_NOTFOUND, "There is no such group in this vault.");
	return KMS_OK;
}

kms_status api_member_list(struct request *r, struct kms_err *err)
{
	struct store_principal group = { 0 }, page[TENANCY_PAGE_MAX];
	uint8_t cursor[STORE_ID_LEN];
	const uint8_t *after = NULL;
	char next[GUID_TEXT_LEN + 1];
	json_t *value = NULL;
	size_t count = 0;

	op_det_text(&r->op, "what", "members");
	KMS_TRY(view_parse_after(r, cursor, &after, err));
	KMS_TRY(find_group(r, &group, err));
	op_det_guid(&r->op, "group", group.id);
	KMS_TRY(store_members(r->op.store, group.id, after, page, TENANCY_PAGE_MAX, &count, err));
	value = json_array();
	for (size_t i = 0; i < count; i++) {
		json_t *o = group_name(&page[i]);
		view_put_text(&o, "kind", view_kind(page[i].kind));
		json_put(&o, "enabled", json_boolean(page[i].is_enabled));
		json_add(&value, o);
	}
	if (count == TENANCY_PAGE_MAX)
		guid_format(page[count - 1].id, next);
	return reply_page(r, value, count == TENANCY_PAGE_MAX ? next : NULL, err);
}

kms_status api_member_add(struct request *r, struct kms_err *err)
{
	uint8_t group[STORE_ID_LEN], member[STORE_ID_LEN];
	json_t *o = NULL;

	KMS_TRY(view_parse_id(r->item, "The group's id", group, err));
	KMS_TRY(view_parse_id(r->body.group.member, "member:", member, err));
	KMS_TRY(group_change(&r->op, group, member, true, err));
	o = json_object();
	view_put_guid(&o, "group", group);
	view_put_guid(&o, "member", member);
	return reply_json(r, 200, o, err);
}

kms_status api_member_remove(struct request *r, struct kms_err *err)
{
	uint8_t group[STORE_ID_LEN], member[STORE_ID_LEN];

	KMS_TRY(view_parse_id(r->item, "The group's id", group, err));
	KMS_TRY(view_parse_id(r->part, "The member's id", member, err));
	KMS_TRY(group_change(&r->op, group, member, false, err));
	reply_empty(r, 204);
	return KMS_OK;
}
