/* api/h_ekm.c - what Managed HSM pools call (ekm-proxy.md section 6). The pool is known by its certificate; request_context is for the log only. */
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "server/base/version.h"

#define OFFSET(member) offsetof(union request_body, member)
#define US_PER_MS 1000
#define WRAPPED_MAX (EKM_VALUE_MAX + 16) /* RFC 5649 adds at most 7 bytes of padding, and 8 */
#define VENDOR "Holdfast"
#define PRODUCT "Holdfast " HOLDFAST_VERSION_STRING

/* ---- schemas: a preview interface, so what is unknown is ignored ---- */

static int parse_alg(const char *text) { return (int)ekm_alg_parse(text); }

/* Any text will do; of a long one the log keeps the beginning. */
#define CONTEXT_TEXT(text, member, is_needed) \
	{ .name = text, .kind = J_OPAQUE, .offset = OFFSET(ekm.member), .flag = J_NO_FLAG, .required = is_needed, \
	  .max = sizeof(((union request_body *)NULL)->ekm.member) - 1 }
static const struct json_field CONTEXT_MEMBERS[] = {
	CONTEXT_TEXT("request_id", request_id, false),
	CONTEXT_TEXT("correlation_id", correlation_id, true),
	CONTEXT_TEXT("pool_name", pool_name, true),
	{ .name = NULL },
};
#define CONTEXT_FIELD \
	{ .name = "request_context", .kind = J_OBJECT, .flag = J_NO_FLAG, .required = true, .fields = CONTEXT_MEMBERS }

static const struct json_field CONTEXT_FIELDS[] = { CONTEXT_FIELD, { .name = NULL } };
const struct json_schema EKM_CONTEXT_SCHEMA = { .name = "EkmRequest", .fields = CONTEXT_FIELDS, .size = sizeof(union request_body),
	                                        .body_max = EKM_BODY_MAX };

static const struct json_field CRYPTO_FIELDS[] = {
	CONTEXT_FIELD,
	{ .name = "alg", .kind = J_ENUM, .offset = OFFSET(ekm.alg), .flag = J_NO_FLAG, .required = true, .parse = parse_alg,
	  .name_at = ekm_alg_name_at },
	{ .name = "value", .kind = J_SECRET, .offset = OFFSET(ekm.value), .flag = J_NO_FLAG, .required = true, .min = 0, .max = WRAPPED_MAX,
	  .is_unpadded = true },
	{ .name = NULL },
};
const struct json_schema EKM_CRYPTO_SCHEMA = { .name = "EkmCryptoRequest", .fields = CRYPTO_FIELDS, .size = sizeof(union request_body),
	                                       .body_max = EKM_BODY_MAX };

/* ---- the record of section 11.1 ---- */

/* What the caller calls his request: also in the leaf of what is refused afterwards. */
static void note_call(struct request *r)
{
	(void)snprintf(r->op.write.event.corr, sizeof(r->op.write.event.corr), "%s", r->body.ekm.correlation_id);
	if (r->body.ekm.request_id[0] != '\0')
		op_det_text(&r->op, "request_id", r->body.ekm.request_id);
	op_det_text(&r->op, "pool_name", r->body.ekm.pool_name);
}

/* ---- calls ---- */

kms_status api_ekm_info(struct request *r, struct kms_err *err)
{
	struct readiness ready = { 0 };

	note_call(r);
	KMS_TRY(op_need_living_vault(&r->op, err));
	/* A probe must tell what a wrap would meet (6.1). */
	if (!api_is_ready(r, &ready))
		return kms_refuse(err, KMS_E_BUSY, "Wrap and unwrap cannot be served now (HSM: %s, database: %s, log: %s, checkpoints: %s).", ready.hsm,
		                  ready.storage, ready.log, ready.audit);
	return reply_json(r, 200, json_pack("{s:s,s:s,s:s,s:s,s:s}", "api_version", request_ekm_api_version(r), "proxy_vendor", VENDOR, "proxy_name",
	                                    PRODUCT, "ekm_vendor", VENDOR, "ekm_product", PRODUCT), err);
}

kms_status api_ekm_metadata(struct request *r, struct kms_err *err)
{
	struct ekm_metadata m = { 0 };
	json_t *body = NULL;

	note_call(r);
	KMS_TRY(ekm_metadata(&r->op, r->item, &m, err));
	body = json_pack("{s:s,s:i,s:[s,s]}", "key_type", m.is_rsa ? "RSA" : "oct", "key_size", (int)m.bits, "key_ops", "wrapKey", "unwrapKey");
	if (m.is_rsa) {
		json_put(&body, "n", json_base64url(r->op.version.pub, r->op.version.pub_len));
		json_put(&body, "e", json_base64url(r->op.version.e, r->op.version.e_len));
	}
	return reply_json(r, 200, body, err);
}

static kms_status use_key(struct request *r, enum key_op use, struct kms_err *err)
{
	CRYPTO_OUTPUT_AUTO out = { 0 };
	int64_t begun_us = clock_mono_us(&CLOCK_SYSTEM);
	json_t *body = NULL;
	kms_status status = KMS_OK;

	note_call(r);
	status = ekm_use(&r->op, r->item, use, (enum key_alg)r->body.ekm.alg, r->body.ekm.value, &out, err);
	op_det_number(&r->op, "hsm_ms", (clock_mono_us(&CLOCK_SYSTEM) - begun_us) / US_PER_MS);
	KMS_TRY(status);
	body = json_object();
	json_put(&body, "value", out.value != NULL ? json_base64url(secret_data(out.value), secret_len(out.value)) : json_string(""));
	return reply_json(r, 200, body, err);
}

kms_status api_ekm_wrap(struct request *r, struct kms_err *err) { return use_key(r, KEY_OP_WRAP, err); }
kms_status api_ekm_unwrap(struct request *r, struct kms_err *err) { return use_key(r, KEY_OP_UNWRAP, err); }
