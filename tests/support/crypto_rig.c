/* tests/support/crypto_rig.c - see crypto_rig.h. */
#include "tests/support/crypto_rig.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define MUST(good)               \
	do {                     \
		if (!(good))     \
			abort(); \
	} while (0)

static const struct key_create PLAIN = { .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };

void rig_vault(struct t_domain *d)
{
	struct vault_create req = { .name = RIG_VAULT, .retention_days = RETENTION_DAYS_MIN, .allows_rsa1_5 = true };
	struct op *op = t_op(d, NULL, EVENT_TENANT_CREATE);
	struct kms_err err = { 0 };

	MUST(t_op_finish(op, vault_create(op, &req, &err)) == KMS_OK && err.status == KMS_OK);
	t_op_free(op);
}

void rig_import(struct t_domain *d, const char *name, const struct jwk *jwk, bool to_hsm, uint32_t ops)
{
	struct key_import req = { .jwk = *jwk, .to_hsm = to_hsm, .as = PLAIN };
	struct op *op = t_op(d, RIG_VAULT, EVENT_KEY_IMPORT);
	struct kms_err err = { 0 };

	req.as.has_ops = ops != 0;
	req.as.ops = ops;
	MUST(t_op_finish(op, keyring_import(op, name, &req, &err)) == KMS_OK && err.status == KMS_OK);
	t_op_free(op);
}

void rig_create(struct t_domain *d, const char *name, enum key_type type, uint16_t bits, enum key_curve crv, uint32_t ops)
{
	struct key_create req = PLAIN;
	struct op *op = t_op(d, RIG_VAULT, EVENT_KEY_CREATE);
	struct kms_err err = { 0 };

	req.type = type;
	req.bits = bits;
	req.crv = crv;
	req.has_ops = ops != 0;
	req.ops = ops;
	MUST(t_op_finish(op, keyring_create(op, name, &req, &err)) == KMS_OK && err.status == KMS_OK);
	t_op_free(op);
}

void rig_update(struct t_domain *d, const char *name, const struct key_update *change)
{
	struct op *op = t_op(d, RIG_VAULT, EVENT_KEY_UPDATE);
	struct kms_err err = { 0 };

	MUST(t_op_finish(op, keyring_update(op, name, NULL, change, &err)) == KMS_OK && err.status == KMS_OK);
	t_op_free(op);
}

void rig_version(struct t_domain *d, const char *name, struct store_version *ret)
{
	struct store_vault vault;
	struct store_key key;

	MUST(store_vault_by_name(d->store->r, RIG_VAULT, &vault, NULL) == KMS_OK &&
	     store_key(d->store->r, vault.id, name, &key, NULL) == KMS_OK &&
	     store_version(d->store->r, key.id, NULL, false, ret, NULL) == KMS_OK);
}

void rig_set_encryptions(struct t_domain *d, const char *name, uint64_t count)
{
	STORE_VERSION_AUTO v = { 0 };
	sqlite3_stmt *set = NULL;
	sqlite3 *db = NULL;

	rig_version(d, name, &v);
	MUST(sqlite3_open_v2(d->store->path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
	MUST(sqlite3_prepare_v2(db, "UPDATE version SET encryptions = ?1 WHERE id = ?2", -1, &set, NULL) == SQLITE_OK);
	MUST(sqlite3_bind_int64(set, 1, (sqlite3_int64)count) == SQLITE_OK && sqlite3_bind_blob(set, 2, v.id, sizeof(v.id), NULL) == SQLITE_OK);
	MUST(sqlite3_step(set) == SQLITE_DONE && sqlite3_changes(db) == 1);
	MUST(sqlite3_finalize(set) == SQLITE_OK && sqlite3_close(db) == SQLITE_OK);
}

static enum event_type event_of(enum key_op use)
{
	switch (use) {
	case KEY_OP_ENCRYPT: return EVENT_KEY_ENCRYPT;
	case KEY_OP_DECRYPT: return EVENT_KEY_DECRYPT;
	case KEY_OP_WRAP: return EVENT_KEY_WRAP;
	case KEY_OP_UNWRAP: return EVENT_KEY_UNWRAP;
	case KEY_OP_SIGN: return EVENT_KEY_SIGN;
	case KEY_OP_VERIFY: return EVENT_KEY_VERIFY;
	case KEY_OP_IMPORT:
	case KEY_OP_EXPORT: break;
	}
	abort();
}

kms_status rig_use(struct t_domain *d, const char *name, enum key_op use, const struct crypto_input *in, struct crypto_output *ret_out,
                   struct kms_err *ret_err)
{
	struct op *op = t_op(d, RIG_VAULT, event_of(use));
	kms_status status, written;

	*ret_err = (struct kms_err){ 0 };
	*ret_out = (struct crypto_output){ 0 };
	status = crypto_use(op, name, NULL, use, in, ret_out, ret_err);
	if (status != KMS_OK)
		MUST(ret_out->value == NULL && ret_out->iv_len == 0 && ret_out->tag_len == 0);
	written = t_op_finish(op, status);
	if (written != KMS_OK)
		crypto_output_clear(ret_out);
	t_op_free(op);
	return status != KMS_OK ? status : written;
}

kms_status rig_verify(struct t_domain *d, const char *name, enum key_alg alg, const uint8_t *digest, size_t digest_len, const uint8_t *signature,
                      size_t signature_len, bool *ret_is_valid, struct kms_err *ret_err)
{
	struct op *op = t_op(d, RIG_VAULT, EVENT_KEY_VERIFY);
	kms_status status, written;

	*ret_err = (struct kms_err){ 0 };
	status = crypto_verify(op, name, NULL, alg, digest, digest_len, signature, signature_len, ret_is_valid, ret_err);
	written = t_op_finish(op, status);
	t_op_free(op);
	return status != KMS_OK ? status : written;
}
