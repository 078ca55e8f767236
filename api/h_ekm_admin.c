/* api/h_ekm_admin.c - administration of those who are known by client certificates: Managed HSM pools and the keys that were published to them
 * (docs/ekm.md), and services of the main listener (docs/access.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/client_roots.h"
#include "api/view.h"

#define OFFSET(member) offsetof(union request_body, member)
#define CERTIFICATES_BODY_MAX ((size_t)128 * 1024) /* eight roots of 8 KiB in base64 */
#define KEYS_PAGE 100
#define VERSION_TEXT (2 * STORE_ID_LEN)

/* ---- schemas: our own dialect refuses unknown members ---- */

#define TEXTS_FIELD(text, member, number, most) \
	{ .name = text, .kind = J_TEXTS, .offset = OFFSET(member), .flag = J_NO_FLAG, .count = OFFSET(number), .max = most }
/* Our own names, and those of the document that Azure prints: by its command line, and by its REST interface. */
#define CERTIFICATE_FIELDS                                                                                     \
	TEXTS_FIELD("subjects", pool.subjects, pool.subject_count, STORE_SUBJECTS_MAX),                        \
	TEXTS_FIELD("subjectCommonName", pool.azure_subject, pool.azure_subject_count, 1),                     \
	TEXTS_FIELD("subject_common_name", pool.rest_subject, pool.rest_subject_count, 1),                     \
	TEXTS_FIELD("roots", pool.roots, pool.root_count, STORE_ROOTS_MAX),                                    \
	TEXTS_FIELD("caCertificates", pool.azure_roots, pool.azure_root_count, STORE_ROOTS_MAX),               \
	TEXTS_FIELD("ca_certificates", pool.rest_roots, pool.rest_root_count, STORE_ROOTS_MAX)

static const struct json_field POOL_FIELDS[] = {
	{ .name = "name", .kind = J_STRING, .offset = OFFSET(pool.name), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_PRINCIPAL_NAME_MAX },
	{ .name = "prefix", .kind = J_STRING, .offset = OFFSET(pool.prefix), .flag = J_NO_FLAG, .min = 0, .max = STORE_PREFIX_MAX + 2 },
	CERTIFICATE_FIELDS,
	{ .name = NULL },
};
const struct json_schema EKM_POOL_SCHEMA = { .name = "EkmPoolRequest", .fields = POOL_FIELDS, .size = sizeof(union request_body),
	                                     .body_max = CERTIFICATES_BODY_MAX, .is_strict = true };

static const struct json_field CERTIFICATES_FIELDS[] = { CERTIFICATE_FIELDS, { .name = NULL } };
const struct json_schema EKM_CERTIFICATES_SCHEMA = { .name = "EkmCertificatesRequest", .fields = CERTIFICATES_FIELDS,
	                                             .size = sizeof(union request_body), .body_max = CERTIFICATES_BODY_MAX,
	                                             .is_strict = true };

#define SERVICE_FIELDS                                                                   \
	TEXTS_FIELD("subjects", pool.subjects, pool.subject_count, STORE_SUBJECTS_MAX),  \
	TEXTS_FIELD("roots", pool.roots, pool.root_count, STORE_ROOTS_MAX)
static const struct json_field NEW_SERVICE_FIELDS[] = {
	{ .name = "name", .kind = J_STRING, .offset = OFFSET(pool.name), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_PRINCIPAL_NAME_MAX },
	SERVICE_FIELDS,
	{ .name = NULL },
};
const struct json_schema SERVICE_SCHEMA = { .name = "ServiceRequest", .fields = NEW_SERVICE_FIELDS, .size = sizeof(union request_body),
	                                    .body_max = CERTIFICATES_BODY_MAX, .is_strict = true };
static const struct json_field SERVICE_CERTIFICATES_FIELDS[] = { SERVICE_FIELDS, { .name = NULL } };
const struct json_schema SERVICE_CERTIFICATES_SCHEMA = { .name = "ServiceCertificatesRequest", .fields = SERVICE_CERTIFICATES_FIELDS,
	                                                 .size = sizeof(union request_body), .body_max = CERTIFICATES_BODY_MAX,
	                                                 .is_strict = true };

static const struct json_field PUBLISH_FIELDS[] = {
	{ .name = "key", .kind = J_STRING, .offset = OFFSET(publish.key), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_KEY_NAME_MAX },
	{ .name = "version", .kind = J_STRING, .offset = OFFSET(publish.version), .flag = J_NO_FLAG, .min = VERSION_TEXT, .max = VERSION_TEXT },
	{ .name = "external_id", .kind = J_STRING, .offset = OFFSET(publish.external_id), .flag = J_NO_FLAG, .min = 1,
	  .max = STORE_EXTERNAL_ID_MAX },
	{ .name = NULL },
};
const struct json_schema EKM_PUBLISH_SCHEMA = { .name = "EkmPublishRequest", .fields = PUBLISH_FIELDS, .size = sizeof(union request_body),
	                                        .is_strict = true };

static const struct json_field RETIRE_FIELDS[] = {
	{ .name = "external_id", .kind = J_STRING, .offset = OFFSET(publish.external_id), .flag = J_NO_FLAG, .required = true, .min = 1,
	  .max = STORE_EXTERNAL_ID_MAX },
	{ .name = NULL },
};
const struct json_schema EKM_RETIRE_SCHEMA = { .name = "EkmRetireRequest", .fields = RETIRE_FIELDS, .size = sizeof(union request_body),
	                                       .is_strict = true };

/* ---- pools ---- */

static json_t *root_object(const struct store_root *root)
{
	struct client_root_info info = { 0 };

	/* What cannot be read was checked before it was stored, and then something happened to it. */
	if (!client_root_describe(root, &info))
		return json_pack("{s:s,s:s,s:I}", "subject", "(damaged)", "sha256", "", "expires", (json_int_t)0);
	return json_pack("{s:s,s:s,s:I}", "subject", info.subject, "sha256", info.sha256, "expires", (json_int_t)info.expires_s);
}

static json_t *pool_object(const struct request *r, const struct store_pool *pool, const char *name, bool is_enabled)
{
	json_t *o = json_object(), *subjects = json_array(), *roots = json_array();
	char id[GUID_TEXT_LEN + 1];

	guid_format(pool->id, id);
	for (size_t i = 0; i < pool->subject_count; i++)
		json_add(&subjects, json_string(pool->subjects[i]));
	for (size_t i = 0; i < pool->root_count; i++)
		json_add(&roots, root_object(&pool->roots[i]));
	json_put(&o, "name", json_string(name));
	json_put(&o, "id", json_string(id));
	json_put(&o, "vault", json_string(r->op.vault.name));
	if (!pool->is_service)
		json_put(&o, "prefix", json_string(pool->prefix));
	json_put(&o, "enabled", json_boolean(is_enabled));
	json_put(&o, "subjects", subjects);
	json_put(&o, "roots", roots);
	json_put(&o, "created", json_integer(pool->created_s));
	json_put(&o, "updated", json_integer(pool->updated_s));
	return o;
}

/* The pools, or services, of this vault among those of one page. @param ret_last  the last of them; as it was when there is none */
static kms_status add_rows(struct request *r, bool services, json_t **value, const struct store_pool *rows, size_t count,
                           uint8_t ret_last[STORE_ID_LEN], struct kms_err *err)
{
	for (size_t i = 0; i < count; i++) {
		struct store_principal p = { 0 };
		kms_status status = rows[i].is_service == services ? principal_find(&r->op, rows[i].id, &p, NULL) : KMS_E_NOTFOUND;
		if (status == KMS_E_NOTFOUND)
			continue; /* another vault's */
		if (status != KMS_OK)
			return kms_fail(err, status, KMS_SRC_SELF, 0, "principal of a pool");
		json_add(value, pool_object(r, &rows[i], p.name, p.is_enabled));
		memcpy(ret_last, rows[i].id, STORE_ID_LEN);
	}
	return KMS_OK;
}

static void clear_rows(struct store_pool *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		store_pool_clear(&rows[i]);
}

/* One page of the installation's pools may hold none of this vault's: then the next one is read. Where the caller goes on is one of his own: what follows it is
 * read again, and no other vault's id is told. */
static kms_status list_pools(struct request *r, bool services, const uint8_t *after, json_t **value, uint8_t ret_last[STORE_ID_LEN],
                             bool *ret_more, struct kms_err *err)
{
	size_t count = EKM_POOLS_PAGE;
	uint8_t cursor[STORE_ID_LEN];

	while (count == EKM_POOLS_PAGE && json_array_size(*value) == 0) {
		struct store_pool rows[EKM_POOLS_PAGE] = { 0 };
		kms_status status = store_pools(r->op.store, after, rows, EKM_POOLS_PAGE, &count, err);
		if (status == KMS_OK)
			status = add_rows(r, services, value, rows, count, ret_last, err);
		if (count > 0)
			memcpy(cursor, rows[count - 1].id, STORE_ID_LEN);
		clear_rows(rows, EKM_POOLS_PAGE);
		KMS_TRY(status);
		after = cursor;
	}
	*ret_more = count == EKM_POOLS_PAGE;
	return KMS_OK;
}

static kms_status reply_pools(struct request *r, bool services, struct kms_err *err)
{
	JSON_AUTO *value = json_array();
	uint8_t cursor[STORE_ID_LEN], last[STORE_ID_LEN] = { 0 };
	const uint8_t *after = NULL;
	char next[GUID_TEXT_LEN + 1];
	bool has_more = false;

	op_det_text(&r->op, "what", services ? "services" : "pools");
	KMS_TRY(view_parse_after(r, cursor, &after, err));
	KMS_TRY(list_pools(r, services, after, &value, last, &has_more, err));
	guid_format(last, next);
	return reply_page(r, KMS_TAKE(value), has_more ? next : NULL, err);
}

kms_status api_ekm_pool_list(struct request *r, struct kms_err *err) { return reply_pools(r, false, err); }
kms_status api_service_list(struct request *r, struct kms_err *err) { return reply_pools(r, true, err); }

/* What was asked for, in whichever of the names: owned texts of the body, and roots of its own. */
struct certificates {
	const char *subjects[STORE_SUBJECTS_MAX + 2];
	size_t subject_count;
	struct client_roots roots;
};
static void certificates_clear(struct certificates *c) { client_roots_clear(&c->roots); }
#define CERTIFICATES_AUTO __attribute__((cleanup(certificates_clear))) struct certificates

static void take_subjects(struct certificates *c, char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		c->subjects[c->subject_count++] = texts[i];
}

static kms_status take_roots(struct certificates *c, char *const *texts, size_t count, int64_t now_s, struct kms_err *err)
{
	for (size_t i = 0; i < count; i++)
		KMS_TRY(client_roots_add(&c->roots, texts[i], now_s, err));
	return KMS_OK;
}

static kms_status take_certificates(const struct request *r, struct certificates *c, struct kms_err *err)
{
	const int64_t now_s = clock_wall_s(r->op.kms->clock);

	take_subjects(c, r->body.pool.subjects, r->body.pool.subject_count);
	take_subjects(c, r->body.pool.azure_subject, r->body.pool.azure_subject_count);
	take_subjects(c, r->body.pool.rest_subject, r->body.pool.rest_subject_count);
	KMS_TRY(take_roots(c, r->body.pool.roots, r->body.pool.root_count, now_s, err));
	KMS_TRY(take_roots(c, r->body.pool.azure_roots, r->body.pool.azure_root_count, now_s, err));
	return take_roots(c, r->body.pool.rest_roots, r->body.pool.rest_root_count, now_s, err);
}

/* What is not named stays as it is. */
static void keep_certificates(const struct store_pool *old, struct ekm_pool_spec *spec, const char *kept[STORE_SUBJECTS_MAX])
{
	if (spec->subject_count == 0) {
		for (size_t i = 0; i < old->subject_count; i++)
			kept[i] = old->subjects[i];
		spec->subjects = kept;
		spec->subject_count = old->subject_count;
	}
	if (spec->root_count == 0) {
		spec->roots = old->roots;
		spec->root_count = old->root_count;
	}
}

static struct ekm_pool_spec spec_of(const struct request *r, bool is_service, const struct certificates *c)
{
	return (struct ekm_pool_spec){ .is_service = is_service, .name = r->body.pool.name, .prefix = r->body.pool.prefix, .subjects = c->subjects,
		                       .subject_count = c->subject_count, .roots = c->roots.roots, .root_count = c->roots.count };
}

static kms_status add_pool(struct request *r, bool is_service, struct kms_err *err)
{
	CERTIFICATES_AUTO certificates = { 0 };
	STORE_POOL_AUTO pool = { 0 };
	struct ekm_pool_spec spec;

	KMS_TRY(take_certificates(r, &certificates, err));
	spec = spec_of(r, is_service, &certificates);
	r->op.is_sync = true;
	r->committed = request_reload_pools;
	KMS_TRY(ekm_pool_add(&r->op, &spec, &pool, err));
	return reply_json(r, 200, pool_object(r, &pool, r->body.pool.name, true), err);
}

static kms_status set_pool(struct request *r, bool is_service, struct kms_err *err)
{
	CERTIFICATES_AUTO certificates = { 0 };
	STORE_POOL_AUTO old = { 0 };
	STORE_POOL_AUTO pool = { 0 };
	struct store_principal principal = { 0 };
	const char *kept[STORE_SUBJECTS_MAX];
	struct ekm_pool_spec spec;

	KMS_TRY(ekm_pool_find(&r->op, is_service, r->item, &old, &principal, err));
	KMS_TRY(take_certificates(r, &certificates, err));
	spec = spec_of(r, is_service, &certificates);
	if (spec.subject_count == 0 && spec.root_count == 0)
		return kms_refuse(err, KMS_E_INVALID, "subjects or roots: name what is to be replaced.");
	keep_certificates(&old, &spec, kept);
	r->op.is_sync = true;
	r->committed = request_reload_pools;
	KMS_TRY(ekm_pool_set(&r->op, old.id, &spec, &pool, err));
	return reply_json(r, 200, pool_object(r, &pool, principal.name, principal.is_enabled), err);
}

kms_status api_ekm_pool_add(struct request *r, struct kms_err *err) { return add_pool(r, false, err); }
kms_status api_ekm_pool_set(struct request *r, struct kms_err *err) { return set_pool(r, false, err); }
kms_status api_service_add(struct request *r, struct kms_err *err) { return add_pool(r, true, err); }
kms_status api_service_set(struct request *r, struct kms_err *err) { return set_pool(r, true, err); }

/* ---- published keys ---- */

static json_t *key_object(const struct store_external *e, const char *pool)
{
	char version[VERSION_TEXT + 1];
	json_t *o = json_object();

	hex_encode(e->version_id, STORE_ID_LEN, version);
	json_put(&o, "external_id", json_string(e->id));
	json_put(&o, "pool", json_string(pool));
	json_put(&o, "key", json_string(e->key_name));
	json_put(&o, "version", json_string(version));
	json_put(&o, "state", json_string(e->retired_s == STORE_NO_TIME ? "published" : "retired"));
	json_put(&o, "created", json_integer(e->created_s));
	view_put_time(&o, "retired", e->retired_s);
	view_put_time(&o, "last_used", e->last_used_s);
	json_put(&o, "uses", json_integer((json_int_t)e->uses));
	return o;
}

kms_status api_ekm_key_list(struct request *r, struct kms_err *err)
{
	STORE_POOL_AUTO pool = { 0 };
	struct store_principal principal = { 0 };
	struct store_external rows[KEYS_PAGE];
	size_t count = 0;
	json_t *value = NULL;

	op_det_text(&r->op, "what", "external_ids");
	KMS_TRY(ekm_pool_find(&r->op, false, r->item, &pool, &principal, err));
	op_det_text(&r->op, "pool", principal.name);
	KMS_TRY(store_externals(r->op.store, pool.id, query_get(r, "after"), rows, KEYS_PAGE, &count, err));
	value = json_array();
	for (size_t i = 0; i < count; i++)
		json_add(&value, key_object(&rows[i], principal.name));
	return reply_page(r, value, count == KEYS_PAGE ? rows[count - 1].id : NULL, err);
}

kms_status api_ekm_key_publish(struct request *r, struct kms_err *err)
{
	STORE_POOL_AUTO pool = { 0 };
	struct store_principal principal = { 0 };
	struct store_external external = { 0 };
	const char *text = r->body.publish.version;
	uint8_t version[STORE_ID_LEN];

	if (text[0] != '\0' && !hex_decode(text, strlen(text), version, sizeof(version)))
		return kms_refuse(err, KMS_E_INVALID, "version: must be %d hexadecimal digits.", VERSION_TEXT);
	KMS_TRY(ekm_pool_find(&r->op, false, r->item, &pool, &principal, err));
	KMS_TRY(ekm_publish(&r->op, pool.id, r->body.publish.key, text[0] != '\0' ? version : NULL, r->body.publish.external_id, &external, err));
	return reply_json(r, 200, key_object(&external, principal.name), err);
}

kms_status api_ekm_key_retire(struct request *r, struct kms_err *err)
{
	STORE_POOL_AUTO pool = { 0 };
	struct store_principal principal = { 0 };
	struct store_external external = { 0 };

	KMS_TRY(ekm_pool_find(&r->op, false, r->item, &pool, &principal, err));
	KMS_TRY(ekm_retire(&r->op, pool.id, r->body.publish.external_id, &external, err));
	return reply_json(r, 200, key_object(&external, principal.name), err);
}
