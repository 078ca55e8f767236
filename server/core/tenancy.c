/* server/core/tenancy.c - vaults, principals and roles: all two-phase, all through the fence. */
#include "server/core/tenancy.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"

#define SECONDS_A_DAY 86400
#define CANARY_LEN 32
#define DRAIN_MS 5000
#define OBJECTS_PAGE 256
#define ROLES_MAX 32

/* ---- vaults ---- */

static kms_status check_vault_name(const char *name, struct kms_err *err)
{
	size_t len = strlen(name);
	bool good = len >= 3 && len <= STORE_VAULT_NAME_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len &&
	            name[0] >= 'a' && name[0] <= 'z' && name[len - 1] != '-' && strstr(name, "--") == NULL;
	if (good)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID,
	                  "name: a vault name has 3 to %d characters of [a-z0-9-], begins with a letter, does not end with a hyphen and has no "
	                  "two hyphens in a row.", STORE_VAULT_NAME_MAX);
}

static void root_key(const struct store_vault *v, struct hsm_key *ret_key)
{
	*ret_key = (struct hsm_key){ .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	memcpy(ret_key->id, v->root_id, HSM_ID_LEN);
}

static kms_status undo_vault(struct op *op)
{
	KMS_TRY(hsm_key_destroy(op->kms->hsm, op->object, NULL));
	return hsm_key_destroy(op->kms->hsm, op->object2, NULL);
}

/* A random value wrapped under the root: after a shred, proof that the root is gone. Erased here; only its wrap and hash are kept. */
static kms_status make_canary(struct hsm *hsm, struct store_vault *v, struct kms_err *err)
{
	SECRET_AUTO *canary = secret_new(CANARY_LEN);
	struct hsm_key root = { 0 };

	if (canary == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "canary");
	root_key(v, &root);
	KMS_TRY(hsm_random(hsm, canary, err));
	KMS_TRY(hsm_aes_wrap(hsm, &root, HSM_AES_KW, canary, v->canary_wrapped, sizeof(v->canary_wrapped), &v->canary_wrapped_len, err));
	SHA256(secret_data(canary), CANARY_LEN, v->canary_hash);
	return KMS_OK;
}

static kms_status make_vault_keys(struct hsm *hsm, struct store_vault *v, struct kms_err *err)
{
	struct hsm_key root = { 0 };
	struct hsm_key pseudonyms = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };

	root_key(v, &root);
	memcpy(pseudonyms.id, v->pseudonym_id, HSM_ID_LEN);
	KMS_TRY(hsm_key_generate(hsm, &root, NULL, err));
	KMS_TRY(hsm_key_generate(hsm, &pseudonyms, NULL, err));
	return make_canary(hsm, v, err);
}

kms_status vault_create(struct op *op, const struct vault_create *req, struct kms_err *err)
{
	struct store_vault *v = &op->vault;
	struct store_intent intent = { 0 };
	kms_status status = KMS_OK;

	KMS_TRY(check_vault_name(req->name, err));
	if (req->retention_days < RETENTION_DAYS_MIN || req->retention_days > RETENTION_DAYS_MAX)
		return kms_refuse(err, KMS_E_INVALID, "retention_days: must be %d to %d.", RETENTION_DAYS_MIN, RETENTION_DAYS_MAX);
	status = store_vault_by_name(op->store, req->name, v, NULL);
	if (status == KMS_OK)
		return kms_refuse(err, KMS_E_CONFLICT, "A vault named %s exists, or existed; vault names are never used again.", req->name);
	if (status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "vault lookup");
	memset(v, 0, sizeof(*v));
	if (!guid_random(v->id) || !guid_random(v->directory) || !random_bytes(v->root_id, HSM_ID_LEN) ||
	    !random_bytes(v->pseudonym_id, HSM_ID_LEN))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	(void)snprintf(v->name, sizeof(v->name), "%s", req->name);
	v->state = STORE_VAULT_ACTIVE;
	v->retention_days = req->retention_days;
	v->has_purge_protection = req->has_purge_protection;
	v->allows_rsa1_5 = req->allows_rsa1_5;
	v->created_s = clock_wall_s(op->kms->clock);

	op->write.event.has_tenant = true;
	memcpy(op->write.event.tenant, v->id, STORE_ID_LEN);
	op_det_text(op, "vault", v->name);
	memcpy(intent.vault_id, v->id, STORE_ID_LEN);
	memcpy(intent.obj, v->root_id, STORE_ID_LEN);
	memcpy(intent.key_id, v->pseudonym_id, STORE_ID_LEN);
	memcpy(op->object, v->root_id, HSM_ID_LEN);
	memcpy(op->object2, v->pseudonym_id, HSM_ID_LEN);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	op->undo = undo_vault;
	KMS_TRY(make_vault_keys(op->kms->hsm, v, err));
	op_change(op, STORE_VAULT_ADD)->vault = *v;
	return KMS_OK;
}

/* The canary must have become unreadable through the device. */
static kms_status check_canary(struct hsm *hsm, const struct store_vault *v, struct kms_err *err)
{
	SECRET_AUTO *canary = NULL;
	struct hsm_key root = { 0 };

	if (v->canary_wrapped_len == 0)
		return KMS_OK; /* erased by an earlier, complete run */
	root_key(v, &root);
	/* Not just any failure will do: the root must be missing from a device that is there. */
	if (hsm_aes_unwrap(hsm, &root, HSM_AES_KW, v->canary_wrapped, v->canary_wrapped_len, &canary, NULL) != KMS_E_NOTFOUND)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the canary does not show that the root of vault %s is gone", v->name);
	return KMS_OK;
}

/* Ids of everything that was destroyed, for one look at the end: a fresh look enumerates the whole token. */
struct id_list {
	uint8_t (*ids)[STORE_ID_LEN];
	size_t count, cap;
};

static void id_list_clear(struct id_list *l) { free(l->ids); }

static kms_status id_list_add(struct id_list *l, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	if (l->count == l->cap) {
		size_t cap = l->cap == 0 ? OBJECTS_PAGE : 2 * l->cap;
		void *grown = reallocarray(l->ids, cap, STORE_ID_LEN);
		if (grown == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "list of destroyed objects");
		l->ids = grown;
		l->cap = cap;
	}
	memcpy(l->ids[l->count++], id, STORE_ID_LEN);
	return KMS_OK;
}

static kms_status destroy_one(struct kms *kms, const uint8_t id[STORE_ID_LEN], struct id_list *destroyed, struct kms_err *err)
{
	KMS_TRY(hsm_key_evict(kms->hsm, id, DRAIN_MS, err));
	KMS_TRY(hsm_key_destroy(kms->hsm, id, err));
	return id_list_add(destroyed, id, err);
}

static kms_status destroy_residents(struct kms *kms, struct store *store, const struct store_vault *vault, struct id_list *destroyed,
                                    struct kms_err *err)
{
	uint8_t page[OBJECTS_PAGE][STORE_ID_LEN], after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_objects(store, vault->id, cursor, page, OBJECTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			KMS_TRY(destroy_one(kms, page[i], destroyed, err));
		if (count > 0)
			memcpy(after, page[count - 1], STORE_ID_LEN);
		cursor = after;
	} while (count == OBJECTS_PAGE);
	return KMS_OK;
}

static kms_status destroy_and_look(struct kms *kms, struct store *store, const struct store_vault *vault, struct id_list *destroyed,
                                   struct kms_err *err)
{
	bool gone = false;

	/* The root first: with it all wrapped versions die, whatever happens afterwards. Evicting it empties the cache of all of them. */
	KMS_TRY(destroy_one(kms, vault->root_id, destroyed, err));
	KMS_TRY(destroy_one(kms, vault->pseudonym_id, destroyed, err));
	/* Again: a request that had read the old state may have loaded a version between the two; from here nothing can be loaded. */
	KMS_TRY(hsm_key_evict(kms->hsm, vault->root_id, DRAIN_MS, err));
	KMS_TRY(destroy_residents(kms, store, vault, destroyed, err));
	KMS_TRY(hsm_keys_gone(kms->hsm, (const uint8_t(*)[STORE_ID_LEN])destroyed->ids, destroyed->count, kms->inst.log_key, &gone, err));
	if (!gone)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a fresh look still finds a destroyed object of vault %s", vault->name);
	return check_canary(kms->hsm, vault, err);
}

kms_status vault_destroy_objects(struct kms *kms, struct store *store, const struct store_vault *vault, size_t *ret_objects,
                                 struct kms_err *err)
{
	__attribute__((cleanup(id_list_clear))) struct id_list destroyed = { 0 };

	KMS_TRY(destroy_and_look(kms, store, vault, &destroyed, err));
	*ret_objects = destroyed.count;
	return KMS_OK;
}

/* audit-log.md 11.3: a check that fails is an event of its own; the intent stays open, and the destruction is tried again until it is done. */
static kms_status destroy_or_tell(struct op *op, size_t *ret_objects, struct kms_err *err)
{
	kms_status status = vault_destroy_objects(op->kms, op->store, &op->vault, ret_objects, err);
	struct write unit = { .event = op->write.event };

	if (status == KMS_OK)
		return KMS_OK;
	unit.event.type = EVENT_TENANT_SHRED_INCOMPLETE;
	unit.event.phase = EVENT_SINGLE;
	unit.event.has_ref = false;
	unit.event.result = EVENT_FAILED;
	unit.event.err = kms_status_inner(status) != NULL ? kms_status_inner(status) : kms_status_code(status);
	kms_ignore(writer_write(op->kms->writer, &unit)); /* the open intent says it too */
	return status;
}

static void truncate_after(struct op *op)
{
	kms_ignore(writer_truncate(op->kms->writer, NULL)); /* hygiene: what the log file keeps is wrapped under a key that is gone */
}

kms_status vault_shred(struct op *op, const char *reason, size_t *ret_objects, struct kms_err *err)
{
	struct store_change shredding = { .kind = STORE_VAULT_SET_STATE };
	struct store_change *c = NULL;
	struct store_intent intent = { 0 };

	if (op->vault.state == STORE_VAULT_SHREDDED)
		return kms_refuse(err, KMS_E_CONFLICT, "The vault %s has been shredded already.", op->vault.name);
	op_det_text(op, "vault", op->vault.name);
	op_det_text(op, "reason", reason);
	shredding.vault = op->vault;
	shredding.vault.state = STORE_VAULT_SHREDDING;
	memcpy(intent.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(intent.obj, op->vault.root_id, STORE_ID_LEN);
	KMS_TRY(op_intend(op, &shredding, &intent, err));
	/* Nothing can take the intent back: from here every use is refused and the outcome depends on nothing. */
	op->write.has_fence = false;
	op->is_irreversible = true;
	KMS_TRY(destroy_or_tell(op, ret_objects, err));
	op_det_number(op, "objects", (int64_t)*ret_objects);
	c = op_change(op, STORE_VAULT_ERASE);
	c->vault = op->vault;
	c = op_change(op, STORE_VAULT_SET_STATE);
	c->vault = op->vault;
	c->vault.state = STORE_VAULT_SHREDDED;
	op->vault.state = STORE_VAULT_SHREDDED;
	op->after = truncate_after;
	return KMS_OK;
}

/* ---- principals ---- */

static void hash_secret(const void *secret, size_t len, uint8_t ret_hash[STORE_HASH_LEN])
{
	/* 256 random bits need no slow hash: guessing is hopeless at any speed. */
	SHA256(secret, len, ret_hash);
}

bool principal_secret_matches(const struct store_principal *p, const char *secret, size_t secret_len, int64_t now_s)
{
	uint8_t hash[STORE_HASH_LEN];
	bool same = false;

	hash_secret(secret, secret_len, hash);
	same = CRYPTO_memcmp(hash, p != NULL ? p->secret_hash : (const uint8_t[STORE_HASH_LEN]){ 0 }, sizeof(hash)) == 0;
	OPENSSL_cleanse(hash, sizeof(hash));
	return p != NULL && same && p->is_enabled && now_s < p->secret_expires_s;
}

static kms_status check_principal_name(const char *name, struct kms_err *err)
{
	size_t len = strlen(name);

	if (len >= 1 && len <= STORE_PRINCIPAL_NAME_MAX &&
	    strspn(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.@") == len)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "name: a principal's name has 1 to %d characters of [0-9a-zA-Z-_.@].", STORE_PRINCIPAL_NAME_MAX);
}

static kms_status new_secret(struct store_principal *p, struct secret **ret_text, struct kms_err *err)
{
	SECRET_AUTO *raw = secret_new(CLIENT_SECRET_BYTES);
	SECRET_AUTO *text = secret_new(CLIENT_SECRET_TEXT + 1);

	if (raw == NULL || text == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "client secret");
	if (!random_bytes(secret_bytes(raw), CLIENT_SECRET_BYTES))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	b64url_encode(secret_data(raw), CLIENT_SECRET_BYTES, (char *)secret_bytes(text));
	hash_secret(secret_data(text), CLIENT_SECRET_TEXT, p->secret_hash);
	*ret_text = KMS_TAKE(text);
	return KMS_OK;
}

kms_status principal_prepare(struct op *op, const char *name, struct store_principal *ret, struct kms_err *err)
{
	struct store_principal p = { .is_enabled = true, .created_s = clock_wall_s(op->kms->clock) };
	const uint8_t *pseudonym_key = op->has_vault ? op->vault.pseudonym_id : op->kms->inst.pseudonym_key;
	char issuer[KMS_URL_MAX], subject[GUID_TEXT_LEN + 1];

	KMS_TRY(check_principal_name(name, err));
	if (op->has_vault)
		KMS_TRY(op_need_living_vault(op, err));
	/* The hash is of nothing that anyone knows, and it has expired. */
	if (!guid_random(p.id) || !random_bytes(p.secret_hash, sizeof(p.secret_hash)))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	p.secret_expires_s = p.created_s;
	if (op->has_vault)
		memcpy(p.vault_id, op->vault.id, STORE_ID_LEN);
	(void)snprintf(p.name, sizeof(p.name), "%s", name);
	kms_url(op->kms, NULL, issuer);
	guid_format(p.id, subject);
	KMS_TRY(pseudonym(op->kms->hsm, pseudonym_key, issuer, subject, p.pid, err));
	*ret = p;
	return KMS_OK;
}

kms_status principal_create(struct op *op, const char *name, unsigned days, struct store_principal *ret_principal,
                            struct secret **ret_secret, struct kms_err *err)
{
	struct store_principal p = { 0 };
	SECRET_AUTO *secret = NULL;
	struct store_intent intent = { 0 };

	if (days < 1 || days > SECRET_DAYS_MAX)
		return kms_refuse(err, KMS_E_INVALID, "secret_days: must be 1 to %d.", SECRET_DAYS_MAX);
	KMS_TRY(principal_prepare(op, name, &p, err));
	p.secret_expires_s = p.created_s + (int64_t)days * SECONDS_A_DAY;
	KMS_TRY(new_secret(&p, &secret, err));
	op_det_text(op, "act", "principal_create");
	op_det_guid(op, "principal", p.id);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	op_change(op, STORE_PRINCIPAL_ADD)->principal = p;
	*ret_principal = p;
	*ret_secret = KMS_TAKE(secret);
	return KMS_OK;
}

kms_status principal_find(struct op *op, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, struct kms_err *err)
{
	static const uint8_t NO_VAULT[STORE_ID_LEN];
	const uint8_t *directory = op->has_vault ? op->vault.id : NO_VAULT;
	struct store_principal p = { 0 };
	kms_status status = store_principal(op->store, id, &p, NULL);

	if (status == KMS_OK && memcmp(p.vault_id, directory, STORE_ID_LEN) != 0) /* allowed: ids are public */
		status = KMS_E_NOTFOUND;
	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, status, "There is no such principal in this directory.");
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "principal lookup");
	*ret = p;
	return KMS_OK;
}

/* One who holds a role in the whole installation, an auditor say, is not a vault administrator's to switch on and off. */
static kms_status check_may_manage(struct op *op, const struct store_principal *p, struct kms_err *err)
{
	static const uint8_t INSTALLATION[STORE_ID_LEN];
	struct store_assignment roles[ROLES_MAX];
	size_t count = 0;

	if ((op->installation_permissions & PERM_BIT(PERM_INSTALLATION_ROLE_WRITE)) != 0)
		return KMS_OK;
	KMS_TRY(store_roles(op->store, p->id, roles, ROLES_MAX, &count, err));
	for (size_t i = 0; i < count; i++)
		if (memcmp(roles[i].vault_id, INSTALLATION, STORE_ID_LEN) == 0) /* allowed: ids are public */
			return kms_refuse(err, KMS_E_FORBIDDEN, "The principal holds a role in the whole installation; only its administrators manage it.");
	return KMS_OK;
}

/* A change of a principal depends on the principal's own state, besides the caller's. The fence has one place for a principal: the caller's;
 * the target's epoch is checked by the change itself (the row must be there). */
kms_status principal_enable(struct op *op, const uint8_t id[STORE_ID_LEN], bool enable, struct store_principal *ret_principal,
                            struct kms_err *err)
{
	struct store_principal p = { 0 };
	struct store_intent intent = { 0 };

	KMS_TRY(principal_find(op, id, &p, err));
	KMS_TRY(check_may_manage(op, &p, err));
	p.is_enabled = enable;
	op_det_text(op, "act", enable ? "principal_enable" : "principal_disable");
	op_det_guid(op, "principal", p.id);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	op_change(op, STORE_PRINCIPAL_SET)->principal = p;
	*ret_principal = p;
	return KMS_OK;
}

kms_status role_change(struct op *op, const uint8_t principal_id[STORE_ID_LEN], enum role role, bool at_installation, bool grant,
                       struct kms_err *err)
{
	const struct role_info *info = role_info(role);
	struct store_principal p = { 0 };
	struct store_assignment a = { .role = (uint32_t)role, .created_s = clock_wall_s(op->kms->clock) };
	struct store_intent intent = { 0 };

	if (info == NULL)
		return kms_refuse(err, KMS_E_INVALID, "role: unknown role.");
	if (at_installation && info->installation_permissions == 0)
		return kms_refuse(err, KMS_E_INVALID, "role: %s cannot be granted for the whole installation.", info->slug);
	if (at_installation && (op->installation_permissions & PERM_BIT(PERM_INSTALLATION_ROLE_WRITE)) == 0)
		return kms_refuse(err, KMS_E_FORBIDDEN, "Only the installation's administrators may grant a role for the whole installation.");
	if (grant)
		KMS_TRY(op_need_living_vault(op, err)); /* what was granted can be taken away from a dead vault's principals too */
	KMS_TRY(principal_find(op, principal_id, &p, err));
	memcpy(a.principal_id, p.id, STORE_ID_LEN);
	if (!at_installation)
		memcpy(a.vault_id, op->vault.id, STORE_ID_LEN);
	op_det_guid(op, "principal", p.id);
	op_det_text(op, "role", info->slug);
	op_det_text(op, "scope", at_installation ? "installation" : "vault");
	KMS_TRY(op_intend(op, NULL, &intent, err));
	op_change(op, grant ? STORE_ROLE_ADD : STORE_ROLE_REMOVE)->assignment = a;
	return KMS_OK;
}
