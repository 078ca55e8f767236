/* server/core/tenancy.c - vaults: made, their policy changed, shredded: all two-phase, all through the fence. */
#include "server/core/tenancy.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/approval.h"
#include "server/core/canon.h"
#include "server/core/log_admin.h"
#include "server/core/network.h"

#define CANARY_LEN 32
#define DRAIN_MS 5000
#define OBJECTS_PAGE 256
#define PARAMETERS_MAX 256 /* characters of what lowers protection, canonical JSON */

/* ---- made ---- */

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

static kms_status check_retention(unsigned days, struct kms_err *err)
{
	if (days >= RETENTION_DAYS_MIN && days <= RETENTION_DAYS_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "retention_days: must be %d to %d.", RETENTION_DAYS_MIN, RETENTION_DAYS_MAX);
}

static kms_status check_quorum(unsigned quorum, struct kms_err *err)
{
	if (quorum >= 1 && quorum <= STORE_APPROVERS_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "quorum: must be 1 to %d.", STORE_APPROVERS_MAX);
}

static kms_status check_purge_approvals(unsigned approvals, struct kms_err *err)
{
	if (approvals <= STORE_APPROVERS_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "purge_approvals: must be 0 to %d.", STORE_APPROVERS_MAX);
}

kms_status vault_create(struct op *op, const struct vault_create *req, struct kms_err *err)
{
	uint8_t quorum = req->quorum != 0 ? req->quorum : 1;
	struct store_vault *v = &op->vault;
	struct store_intent intent = { 0 };
	kms_status status = KMS_OK;

	KMS_TRY(check_vault_name(req->name, err));
	KMS_TRY(check_retention(req->retention_days, err));
	KMS_TRY(check_quorum(quorum, err));
	KMS_TRY(check_purge_approvals(req->purge_approvals, err));
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
	v->quorum = quorum;
	v->purge_approvals = req->purge_approvals;
	v->created_s = clock_wall_s(op->kms->clock);

	op->write.event.has_tenant = true;
	memcpy(op->write.event.tenant, v->id, STORE_ID_LEN);
	op_det_text(op, "vault", v->name);
	op_det_number(op, "quorum", v->quorum); /* so that an auditor knows how many approvers to look for */
	op_det_number(op, "purge_approvals", v->purge_approvals);
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

/* ---- their policy ---- */

/* What an update comes to. */
struct update {
	struct store_vault to;
	bool changes_vault, changes_networks;
	char networks[STORE_NETWORK_MAX + 1];
	char lowered[PARAMETERS_MAX + 1]; /* canonical JSON; "{}" = nothing is */
};

static kms_status check_issuer(const char *issuer, struct kms_err *err)
{
	if (strlen(issuer) <= STORE_ISSUER_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "issuer: at most %d characters.", STORE_ISSUER_MAX);
}

static kms_status check_update(const struct vault_update *u, struct kms_err *err)
{
	if (u->has_retention)
		KMS_TRY(check_retention(u->retention_days, err));
	if (u->has_quorum)
		KMS_TRY(check_quorum(u->quorum, err));
	if (u->has_purge_approvals)
		KMS_TRY(check_purge_approvals(u->purge_approvals, err));
	if (u->has_issuer)
		KMS_TRY(check_issuer(u->issuer, err));
	return KMS_OK;
}

static void plan_vault(const struct store_vault *from, const struct vault_update *u, struct update *ret)
{
	struct store_vault *to = &ret->to;

	*to = *from;
	if (u->has_retention)
		to->retention_days = u->retention_days;
	if (u->has_purge_protection)
		to->has_purge_protection = u->purge_protection;
	if (u->has_rsa1_5)
		to->allows_rsa1_5 = u->allows_rsa1_5;
	if (u->has_quorum)
		to->quorum = u->quorum;
	if (u->has_purge_approvals)
		to->purge_approvals = u->purge_approvals;
	if (u->has_issuer)
		(void)snprintf(to->issuer, sizeof(to->issuer), "%s", u->issuer);
	ret->changes_vault = to->retention_days != from->retention_days || to->has_purge_protection != from->has_purge_protection ||
	                     to->allows_rsa1_5 != from->allows_rsa1_5 || to->quorum != from->quorum ||
	                     to->purge_approvals != from->purge_approvals || strcmp(to->issuer, from->issuer) != 0;
}

/* What becomes weaker, with the values that it would have: an approval holds for exactly these. */
static kms_status describe_lowered(const struct store_vault *from, struct update *u, struct kms_err *err)
{
	struct canon c = { .buf = u->lowered, .cap = PARAMETERS_MAX };
	const struct store_vault *to = &u->to;

	canon_open(&c, NULL);
	if (to->allows_rsa1_5 && !from->allows_rsa1_5)
		canon_bool(&c, "allow_rsa1_5", true);
	if (to->purge_approvals < from->purge_approvals)
		canon_int(&c, "purge_approvals", to->purge_approvals);
	if (!to->has_purge_protection && from->has_purge_protection)
		canon_bool(&c, "purge_protection", false);
	if (to->quorum < from->quorum)
		canon_int(&c, "quorum", to->quorum);
	if (to->retention_days < from->retention_days)
		canon_int(&c, "retention_days", to->retention_days);
	canon_close(&c);
	if (c.is_over)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "what an update lowers");
	u->lowered[c.len] = '\0';
	return KMS_OK;
}

static kms_status plan_networks(struct op *op, const struct vault_update *u, struct update *ret, struct kms_err *err)
{
	char present[STORE_NETWORK_MAX + 1];

	if (!u->has_networks)
		return KMS_OK;
	KMS_TRY(network_check(u->networks, ret->networks, err));
	KMS_TRY(store_networks(op->store, op->vault.id, present, err));
	ret->changes_networks = strcmp(ret->networks, present) != 0;
	return KMS_OK;
}

/* A quorum that nobody could reach would lock everybody out, for good: it takes approvals to lower it again. Before the founding it
 * does not, since a vault is not founded until there are as many. */
static kms_status check_reachable(struct op *op, const struct update *u, struct kms_err *err)
{
	bool raises_quorum = u->to.quorum > op->vault.quorum;
	bool raises_purge = u->to.purge_approvals > op->vault.purge_approvals && (!raises_quorum || u->to.purge_approvals > u->to.quorum);
	unsigned enough = raises_purge ? u->to.purge_approvals : u->to.quorum;
	bool has_approvers = true;

	if (op->vault.is_founded && (raises_quorum || raises_purge))
		KMS_TRY(approval_has_approvers(op, &op->vault, enough, &has_approvers, err));
	if (has_approvers)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "%s: fewer than %u people may approve in vault %s; grant the role approver to more of them first.",
	                  raises_purge ? "purge_approvals" : "quorum", enough, op->vault.name);
}

static kms_status plan_update(struct op *op, const struct vault_update *u, struct update *ret, struct kms_err *err)
{
	KMS_TRY(check_update(u, err));
	plan_vault(&op->vault, u, ret);
	KMS_TRY(plan_networks(op, u, ret, err));
	KMS_TRY(check_reachable(op, ret, err));
	return describe_lowered(&op->vault, ret, err);
}

static kms_status require_for_lowering(struct op *op, const struct update *u, const char *reason, struct kms_err *err)
{
	char id[GUID_TEXT_LEN + 1];
	struct approval_need need = { .act = ACT_VAULT_LOWER, .target = id, .parameters = u->lowered, .reason = reason, .quorum = op->vault.quorum };

	/* What takes so many is not made to take fewer by fewer. */
	if (u->to.purge_approvals < op->vault.purge_approvals && op->vault.purge_approvals > need.quorum)
		need.quorum = op->vault.purge_approvals;
	if (strcmp(u->lowered, "{}") == 0)
		return KMS_OK;
	guid_format(op->vault.id, id);
	return approval_require(op, &need, err);
}

static size_t count_ranges(const char *networks)
{
	size_t count = networks[0] != '\0';

	for (const char *at = networks; *at != '\0'; at++)
		count += *at == ' ';
	return count;
}

/* Addresses may be people's: the leaf tells how many ranges there are, and proves which. */
static void note_networks(struct op *op, const struct update *u)
{
	uint8_t hash[STORE_HASH_LEN];
	char text[2 * STORE_HASH_LEN + 1];

	op_det_number(op, "networks", (int64_t)count_ranges(u->networks));
	SHA256((const uint8_t *)u->networks, strlen(u->networks), hash);
	hex_encode(hash, sizeof(hash), text);
	op_det_text(op, "networks_sha256", text);
}

static void note_update(struct op *op, const struct update *u)
{
	const struct store_vault *from = &op->vault, *to = &u->to;

	op_det_text(op, "vault", from->name);
	if (to->retention_days != from->retention_days)
		op_det_number(op, "retention_days", to->retention_days);
	if (to->has_purge_protection != from->has_purge_protection)
		op_det_number(op, "purge_protection", to->has_purge_protection);
	if (to->allows_rsa1_5 != from->allows_rsa1_5)
		op_det_number(op, "allow_rsa1_5", to->allows_rsa1_5);
	if (to->quorum != from->quorum)
		op_det_number(op, "quorum", to->quorum);
	if (to->purge_approvals != from->purge_approvals)
		op_det_number(op, "purge_approvals", to->purge_approvals);
	if (strcmp(to->issuer, from->issuer) != 0)
		op_det_text(op, "issuer", to->issuer);
	if (u->changes_networks)
		note_networks(op, u);
}

/* The networks' text must live until the unit has been written. */
static kms_status keep_networks(struct op *op, const struct update *u, struct kms_err *err)
{
	if (!u->changes_networks)
		return KMS_OK;
	op->kept = (uint8_t *)strdup(u->networks);
	return op->kept != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "networks");
}

kms_status vault_update(struct op *op, const struct vault_update *u, struct kms_err *err)
{
	struct update plan = { 0 };
	struct store_intent intent = { 0 };

	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(plan_update(op, u, &plan, err));
	if (!plan.changes_vault && !plan.changes_networks)
		return KMS_OK;
	note_update(op, &plan);
	KMS_TRY(require_for_lowering(op, &plan, u->reason, err));
	KMS_TRY(keep_networks(op, &plan, err));
	memcpy(intent.vault_id, op->vault.id, STORE_ID_LEN);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	if (plan.changes_vault)
		op_change(op, STORE_VAULT_SET)->vault = plan.to;
	if (plan.changes_networks) {
		struct store_change *c = op_change(op, STORE_NETWORKS_SET);
		memcpy(c->networks.vault_id, op->vault.id, STORE_ID_LEN);
		c->networks.text = (const char *)op->kept;
	}
	op->vault = plan.to;
	op->vault.has_networks = plan.changes_networks ? plan.networks[0] != '\0' : op->vault.has_networks;
	return KMS_OK;
}

/* ---- shredded ---- */

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
	uint8_t log_key[HSM_ID_LEN];
	bool gone = false;

	KMS_TRY(log_key_object(store, log_key, err));
	/* The root first: with it all wrapped versions die, whatever happens afterwards. Evicting it empties the cache of all of them. */
	KMS_TRY(destroy_one(kms, vault->root_id, destroyed, err));
	KMS_TRY(destroy_one(kms, vault->pseudonym_id, destroyed, err));
	/* Again: a request that had read the old state may have loaded a version between the two; from here nothing can be loaded. */
	KMS_TRY(hsm_key_evict(kms->hsm, vault->root_id, DRAIN_MS, err));
	KMS_TRY(destroy_residents(kms, store, vault, destroyed, err));
	KMS_TRY(hsm_keys_gone(kms->hsm, (const uint8_t(*)[STORE_ID_LEN])destroyed->ids, destroyed->count, log_key, &gone, err));
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

/* What has begun needs no second approval: the vault is refused, and only its end is missing. */
static kms_status require_for_shred(struct op *op, const char *reason, struct kms_err *err)
{
	char id[GUID_TEXT_LEN + 1];
	const struct approval_need need = { .act = ACT_VAULT_SHRED, .target = id, .reason = reason, .quorum = op->vault.quorum };

	if (op->vault.state == STORE_VAULT_SHREDDING)
		return KMS_OK;
	guid_format(op->vault.id, id);
	return approval_require(op, &need, err);
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
	KMS_TRY(require_for_shred(op, reason, err));
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
