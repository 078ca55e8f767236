/* server/core/tenancy.c - vaults: made, their policy changed, shredded: all two-phase, all through the fence. */
#include "server/core/tenancy.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/approval.h"
#include "server/core/canon.h"
#include "server/core/destruction_act.h"
#include "server/core/network.h"
#include "server/core/person.h"
#include "server/core/root.h"

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

static kms_status undo_vault(struct op *op)
{
	KMS_TRY(hsm_key_destroy(op->kms->hsm, op->object, NULL));
	return hsm_key_destroy(op->kms->hsm, op->object2, NULL);
}

static kms_status make_vault_keys(struct hsm *hsm, struct store_vault *v, struct kms_err *err)
{
	struct hsm_key root = { 0 };
	struct hsm_key pseudonyms = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };

	vault_root_key(v->root_id, &root);
	memcpy(pseudonyms.id, v->pseudonym_id, HSM_ID_LEN);
	KMS_TRY(hsm_key_generate(hsm, &root, NULL, err));
	KMS_TRY(hsm_key_generate(hsm, &pseudonyms, NULL, err));
	return vault_make_canary(hsm, v, err);
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

static kms_status check_person_days(unsigned days, struct kms_err *err)
{
	if (days <= PERSON_DAYS_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "person_days: must be 0 to %d.", PERSON_DAYS_MAX);
}

static kms_status check_person_basis(const char *basis, struct kms_err *err)
{
	if (strlen(basis) <= STORE_REASON_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "person_basis: at most %d bytes.", STORE_REASON_MAX);
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
	if (u->has_person_days)
		KMS_TRY(check_person_days(u->person_days, err));
	if (u->has_person_basis)
		KMS_TRY(check_person_basis(u->person_basis, err));
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
	if (u->has_person_days)
		to->person_days = u->person_days;
	if (u->has_person_basis)
		(void)snprintf(to->person_basis, sizeof(to->person_basis), "%s", u->person_basis);
	ret->changes_vault = to->person_days != from->person_days || strcmp(to->person_basis, from->person_basis) != 0 ||
	                     to->retention_days != from->retention_days || to->has_purge_protection != from->has_purge_protection ||
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

/* Whoever keeps records of people says why he may (audit-log.md section 12). */
static kms_status need_person_basis(const struct store_vault *to, struct kms_err *err)
{
	if (to->person_days == 0 || to->person_basis[0] != '\0')
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "person_basis: say on which legal basis records of persons are kept, for those who read the vault's policy and its log.");
}

static kms_status plan_update(struct op *op, const struct vault_update *u, struct update *ret, struct kms_err *err)
{
	KMS_TRY(check_update(u, err));
	plan_vault(&op->vault, u, ret);
	KMS_TRY(need_person_basis(&ret->to, err));
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
	if (to->person_days != from->person_days)
		op_det_number(op, "person_days", to->person_days);
	if (strcmp(to->person_basis, from->person_basis) != 0)
		op_det_text(op, "person_basis", to->person_basis);
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

/* What has begun needs no second approval: the vault is refused, and only its end is missing. */
static kms_status require_for_shred(struct op *op, const char *reason, enum certificate_basis basis, struct kms_err *err)
{
	char id[GUID_TEXT_LEN + 1], parameters[PARAMETERS_MAX];
	const struct approval_need need = { .act = ACT_VAULT_SHRED, .target = id, .parameters = parameters, .reason = reason, .quorum = op->vault.quorum };

	if (op->vault.state == STORE_VAULT_SHREDDING)
		return KMS_OK;
	guid_format(op->vault.id, id);
	(void)snprintf(parameters, sizeof(parameters), "{\"basis\":\"%s\"}", certificate_basis_name(basis)); /* names need no escape */
	return approval_require(op, &need, err);
}

static kms_status refuse_again(const struct op *op, struct kms_err *err)
{
	uint8_t id[STORE_ID_LEN];
	char text[GUID_TEXT_LEN + 1];
	kms_status status = certificate_of_shred(op->store, op->vault.id, id, err);

	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_CONFLICT, "The vault %s has been shredded already; this server has no certificate of it.", op->vault.name);
	KMS_TRY(status);
	guid_format(id, text);
	return kms_refuse(err, KMS_E_CONFLICT, "The vault %s has been shredded already. Its certificate: holdfast certificate show %s.", op->vault.name, text);
}

kms_status vault_shred(struct op *op, const char *reason, enum certificate_basis basis, struct destruction *ret_done, struct kms_err *err)
{
	struct store_change shredding = { .kind = STORE_VAULT_SET_STATE, .vault = op->vault };
	struct destruction_act act = { .of = DESTRUCTION_OF_TENANT, .mark = &shredding, .scope = STORE_CERTIFICATE_TENANT, .basis = basis };
	struct store_change *c = NULL;

	if (op->vault.state == STORE_VAULT_SHREDDED)
		return refuse_again(op, err);
	op_det_text(op, "vault", op->vault.name);
	op_det_text(op, "reason", reason);
	KMS_TRY(require_for_shred(op, reason, basis, err));
	shredding.vault.state = STORE_VAULT_SHREDDING;
	memcpy(act.intent.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(act.intent.obj, op->vault.root_id, STORE_ID_LEN);
	KMS_TRY(destruction_begin(op, &act, ret_done, err));
	KMS_TRY(destruction_finish(op, ret_done, err));
	c = op_change(op, STORE_VAULT_ERASE);
	c->vault = op->vault;
	c = op_change(op, STORE_VAULT_SET_STATE);
	c->vault = op->vault;
	c->vault.state = STORE_VAULT_SHREDDED;
	op->vault.state = STORE_VAULT_SHREDDED;
	return KMS_OK;
}
