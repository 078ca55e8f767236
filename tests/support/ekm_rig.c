/* tests/support/ekm_rig.c - see ekm_rig.h. */
#include "tests/support/ekm_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(good)               \
	do {                     \
		if (!(good))     \
			abort(); \
	} while (0)

static uint8_t ROOT_BYTES[] = "a root certificate";
const struct store_root RIG_ROOT = { ROOT_BYTES, sizeof(ROOT_BYTES) };

static kms_status add(struct t_domain *d, const char *vault, const char *name, const char *subject, struct store_pool *ret, struct kms_err *ret_err)
{
	const struct ekm_pool_spec spec = { .name = name, .prefix = "", .subjects = &subject, .subject_count = 1, .roots = &RIG_ROOT, .root_count = 1 };
	struct op *op = t_op(d, vault, EVENT_EKM_POOL);
	kms_status status, written;

	*ret_err = (struct kms_err){ 0 };
	status = ekm_pool_add(op, &spec, ret, ret_err);
	written = t_op_finish(op, status);
	t_op_free(op);
	return status != KMS_OK ? status : written;
}

kms_status rig_pool_try(struct t_domain *d, const char *vault, const char *name, const char *subject, struct kms_err *ret_err)
{
	STORE_POOL_AUTO made = { 0 };
	return add(d, vault, name, subject, &made, ret_err);
}

struct rig_pool rig_pool(struct t_domain *d, const char *vault, const char *name, const char *subject)
{
	STORE_POOL_AUTO made = { 0 };
	struct rig_pool p = { .caller = { .auth = EVENT_AUTH_MTLS, .is_pool = true } };
	struct store_vault v;
	struct kms_err err;

	MUST(add(d, vault, name, subject, &made, &err) == KMS_OK);
	MUST(store_vault_by_name(d->store->r, vault, &v, NULL) == KMS_OK);
	(void)snprintf(p.vault, sizeof(p.vault), "%s", vault);
	memcpy(p.caller.principal_id, made.id, STORE_ID_LEN);
	memcpy(p.caller.directory, v.directory, STORE_ID_LEN);
	return p;
}

struct op *rig_pool_op(struct t_domain *d, const struct rig_pool *p, enum event_type type)
{
	struct op *op = calloc(1, sizeof(*op));

	MUST(op != NULL);
	op->kms = &d->kms;
	op->store = d->store->r;
	op->caller = p->caller;
	op->write.event.type = type;
	return op;
}

kms_status rig_publish(struct t_domain *d, const struct rig_pool *p, const char *key, const uint8_t *version, const char *id,
                       struct store_external *ret, struct kms_err *ret_err)
{
	struct op *op = t_op(d, p->vault, EVENT_EKM_PUBLISH);
	struct store_external made = { 0 };
	kms_status status, written;

	*ret_err = (struct kms_err){ 0 };
	status = ekm_publish(op, p->caller.principal_id, key, version, id, &made, ret_err);
	written = t_op_finish(op, status);
	t_op_free(op);
	if (status == KMS_OK && ret != NULL)
		*ret = made;
	return status != KMS_OK ? status : written;
}

kms_status rig_retire(struct t_domain *d, const struct rig_pool *p, const char *id, struct kms_err *ret_err)
{
	struct op *op = t_op(d, p->vault, EVENT_EKM_RETIRE);
	struct store_external gone;
	kms_status status, written;

	*ret_err = (struct kms_err){ 0 };
	status = ekm_retire(op, p->caller.principal_id, id, &gone, ret_err);
	written = t_op_finish(op, status);
	t_op_free(op);
	return status != KMS_OK ? status : written;
}

kms_status rig_ekm_use(struct t_domain *d, const struct rig_pool *p, const char *id, enum key_op use, enum key_alg alg, const uint8_t *value,
                       size_t len, struct crypto_output *ret_out, struct kms_err *ret_err)
{
	struct op *op = rig_pool_op(d, p, use == KEY_OP_WRAP ? EVENT_KEY_WRAP : EVENT_KEY_UNWRAP);
	SECRET_AUTO *in = len > 0 ? secret_from(value, len) : NULL;
	kms_status status, written = KMS_OK;

	*ret_err = (struct kms_err){ 0 };
	*ret_out = (struct crypto_output){ 0 };
	status = op_open(op, NULL, ret_err);
	if (status == KMS_OK)
		status = op_authorise(op, use == KEY_OP_WRAP ? PERM_KEY_WRAP : PERM_KEY_UNWRAP, NULL, ret_err);
	if (status == KMS_OK)
		status = ekm_use(op, id, use, alg, in, ret_out, ret_err);
	if (status != KMS_OK)
		MUST(ret_out->value == NULL);
	if (status != KMS_E_UNAUTHENTICATED) /* noise, which has no leaf */
		written = t_op_finish(op, status);
	if (written != KMS_OK)
		crypto_output_clear(ret_out);
	t_op_free(op);
	return status != KMS_OK ? status : written;
}

kms_status rig_ekm_metadata(struct t_domain *d, const struct rig_pool *p, const char *id, struct ekm_metadata *ret, struct kms_err *ret_err)
{
	struct op *op = rig_pool_op(d, p, EVENT_EKM_METADATA);
	kms_status status;

	*ret_err = (struct kms_err){ 0 };
	MUST(op_open(op, NULL, ret_err) == KMS_OK && op_authorise(op, PERM_KEY_READ, NULL, ret_err) == KMS_OK);
	status = ekm_metadata(op, id, ret, ret_err);
	MUST(t_op_finish(op, status) == KMS_OK);
	t_op_free(op);
	return status;
}
