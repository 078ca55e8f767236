/* server/core/access.c - what a principal may do, and why: one walk over assignments, for the decision and for its explanation. */
#include "server/core/access.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/base/encode.h"
#include "server/core/access_parts.h"

#define CUSTOM_PAGE 16

/* ---- names of identities ---- */

struct part {
	const void *bytes;
	size_t len;
};
#define TEXT(text) { (text), strlen(text) }
#define TEXT_AND_NUL(text) { (text), strlen(text) + 1 } /* so that no two lists of texts are one */

/* Hashing fails only without memory or without SHA-256; nobody may be known by an unknown hash, so the process ends. */
static void hash_parts(const struct part *parts, size_t count, uint8_t ret_hash[STORE_HASH_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;

	for (size_t i = 0; i < count && good; i++)
		good = EVP_DigestUpdate(ctx, parts[i].bytes, parts[i].len) == 1;
	if (!good || EVP_DigestFinal_ex(ctx, ret_hash, NULL) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
}

void access_claim(const char *issuer, const char *kind, const char *value, uint8_t ret_claim[STORE_ID_LEN])
{
	const struct part parts[] = { TEXT_AND_NUL(issuer), TEXT_AND_NUL(kind), TEXT(value) };
	uint8_t hash[STORE_HASH_LEN];

	hash_parts(parts, KMS_ARRAY_LEN(parts), hash);
	memcpy(ret_claim, hash, STORE_ID_LEN);
}

void access_identity_hash(const uint8_t vault_id[STORE_ID_LEN], const char *issuer, const char *subject, uint8_t ret_hash[STORE_HASH_LEN])
{
	const struct part parts[] = { { vault_id, STORE_ID_LEN }, TEXT_AND_NUL("principal"), TEXT_AND_NUL(issuer), TEXT(subject) };

	hash_parts(parts, KMS_ARRAY_LEN(parts), ret_hash);
}

void access_claim_hash(const uint8_t vault_id[STORE_ID_LEN], const uint8_t claim[STORE_ID_LEN], uint8_t ret_hash[STORE_HASH_LEN])
{
	const struct part parts[] = { { vault_id, STORE_ID_LEN }, TEXT_AND_NUL("claim"), { claim, STORE_ID_LEN } };

	hash_parts(parts, KMS_ARRAY_LEN(parts), ret_hash);
}

/* ---- the walk ---- */

struct walk {
	struct store *store;
	const struct store_vault *vault; /* NULL = only the installation */
	const uint8_t *principal_id;
	int64_t now_s;
	bool counts_disabled; /* groups that are switched off count as if they were on */
	access_visitor visit;
	void *arg;
	size_t group_count;
	struct store_principal groups[ACCESS_GROUPS_MAX]; /* that it is in, each once */
};

static kms_status too_many(struct kms_err *err, const char *what, int limit)
{
	return kms_refuse(err, KMS_E_FORBIDDEN, "A principal, or a group that it is in, has more than %d %s, so nothing is allowed; take it out of some.", limit,
	                  what);
}

/* Only groups of this vault count, whatever they are called elsewhere, and each once, however often it is reached. */
static kms_status add_group(struct walk *w, const struct store_principal *g, struct kms_err *err)
{
	if (w->vault == NULL || g->kind != STORE_PRINCIPAL_GROUP || !access_same_id(g->vault_id, w->vault->id))
		return KMS_OK;
	if ((!g->is_enabled && !w->counts_disabled) || access_same_id(g->id, w->principal_id))
		return KMS_OK;
	for (size_t i = 0; i < w->group_count; i++)
		if (access_same_id(w->groups[i].id, g->id))
			return KMS_OK;
	if (w->group_count == ACCESS_GROUPS_MAX)
		return too_many(err, "groups above it", ACCESS_GROUPS_MAX);
	w->groups[w->group_count++] = *g;
	return KMS_OK;
}

static kms_status add_groups_of(struct walk *w, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	struct store_principal page[ACCESS_GROUPS_MAX + 1];
	size_t count = 0;

	KMS_TRY(store_groups_of(w->store, id, page, KMS_ARRAY_LEN(page), &count, err));
	if (count > ACCESS_GROUPS_MAX)
		return too_many(err, "groups above it", ACCESS_GROUPS_MAX);
	for (size_t i = 0; i < count; i++)
		KMS_TRY(add_group(w, &page[i], err));
	return KMS_OK;
}

/* The group of this vault, if there is one, that a token's claim stands for. */
static kms_status add_claimed(struct walk *w, const uint8_t claim[STORE_ID_LEN], struct kms_err *err)
{
	STORE_CREDENTIAL_AUTO c = { 0 };
	struct store_principal g = { 0 };
	uint8_t hash[STORE_HASH_LEN];
	kms_status status = KMS_OK;

	access_claim_hash(w->vault->id, claim, hash);
	status = store_credential(w->store, STORE_CREDENTIAL_IDENTITY, hash, &c, NULL);
	if (status == KMS_OK && (c.expires_s == STORE_NO_TIME || w->now_s < c.expires_s))
		status = store_principal(w->store, c.principal_id, &g, NULL);
	else if (status == KMS_OK)
		return KMS_OK;
	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "group of a token");
	return add_group(w, &g, err);
}

static kms_status add_claims(struct walk *w, const struct caller *claims, struct kms_err *err)
{
	if (claims == NULL || claims->issuer == NULL || w->vault == NULL)
		return KMS_OK;
	assert(claims->group_count <= CALLER_GROUPS_MAX);
	for (size_t i = 0; i < claims->group_count; i++)
		KMS_TRY(add_claimed(w, claims->groups[i], err));
	return KMS_OK;
}

/* The list grows while it is read: groups of groups. */
static kms_status gather_groups(struct walk *w, const struct caller *claims, struct kms_err *err)
{
	if (w->vault == NULL)
		return KMS_OK;
	KMS_TRY(add_claims(w, claims, err));
	KMS_TRY(add_groups_of(w, w->principal_id, err));
	for (size_t i = 0; i < w->group_count; i++)
		KMS_TRY(add_groups_of(w, w->groups[i].id, err));
	return KMS_OK;
}

static void visit(const struct walk *w, struct access_grant *grant)
{
	const struct store_assignment *a = &grant->assignment;

	grant->has_ended = a->expires_s != STORE_NO_TIME && w->now_s >= a->expires_s;
	if (a->key_name[0] != '\0')
		grant->permissions &= ACCESS_OF_A_KEY;
	w->visit(w->arg, grant);
}

/* A role of another vault, or one that is gone, gives nothing. */
static kms_status visit_custom(const struct walk *w, struct access_grant *grant, struct kms_err *err)
{
	STORE_ROLE_AUTO role = { 0 };
	kms_status status = store_custom_role(w->store, grant->assignment.role, &role, NULL);

	if (status == KMS_E_NOTFOUND || (status == KMS_OK && !access_same_id(role.vault_id, w->vault->id)))
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "custom role %u", grant->assignment.role);
	grant->role_name = role.name;
	grant->permissions = access_stored_actions(role.actions);
	visit(w, grant);
	return KMS_OK;
}

static kms_status visit_assignment(const struct walk *w, const struct store_assignment *a, const struct store_principal *group, struct kms_err *err)
{
	struct access_grant grant = { .assignment = *a, .group = group };
	bool at_installation = access_is_none(a->vault_id);
	const struct role_info *info = NULL;

	/* What holds everywhere is given to callers alone: who is in a group is decided by one vault. */
	if (at_installation ? group != NULL || a->key_name[0] != '\0' : w->vault == NULL || !access_same_id(a->vault_id, w->vault->id))
		return KMS_OK;
	if (a->role >= STORE_CUSTOM_ROLE)
		return at_installation ? KMS_OK : visit_custom(w, &grant, err);
	info = role_info((enum role)a->role);
	if (info == NULL)
		return KMS_OK;
	grant.role_name = info->name;
	grant.role_slug = info->slug;
	grant.permissions = at_installation ? info->installation_permissions : info->permissions;
	visit(w, &grant);
	return KMS_OK;
}

static kms_status visit_roles(const struct walk *w, const uint8_t id[STORE_ID_LEN], const struct store_principal *group, struct kms_err *err)
{
	struct store_assignment roles[ACCESS_ROLES_MAX + 1];
	size_t count = 0;

	KMS_TRY(store_roles(w->store, id, roles, KMS_ARRAY_LEN(roles), &count, err));
	if (count > ACCESS_ROLES_MAX)
		return too_many(err, "roles", ACCESS_ROLES_MAX);
	for (size_t i = 0; i < count; i++)
		KMS_TRY(visit_assignment(w, &roles[i], group, err));
	return KMS_OK;
}

static kms_status run(struct walk *w, const struct caller *claims, struct kms_err *err)
{
	KMS_TRY(gather_groups(w, claims, err));
	KMS_TRY(visit_roles(w, w->principal_id, NULL, err));
	for (size_t i = 0; i < w->group_count; i++)
		KMS_TRY(visit_roles(w, w->groups[i].id, &w->groups[i], err));
	return KMS_OK;
}

kms_status access_walk(struct store *store, const struct store_vault *vault, const uint8_t principal_id[STORE_ID_LEN],
                       const struct caller *claims, int64_t now_s, access_visitor visit_grant, void *arg, struct kms_err *err)
{
	struct walk w; /* large: only what is used is set */

	w.store = store;
	w.vault = vault;
	w.principal_id = principal_id;
	w.now_s = now_s;
	w.counts_disabled = false;
	w.visit = visit_grant;
	w.arg = arg;
	w.group_count = 0;
	return run(&w, claims, err);
}

/* ---- as one set ---- */

struct wide {
	uint64_t all, of_vault;
};

static void add_wide(void *arg, const struct access_grant *grant)
{
	struct wide *w = arg;

	if (grant->has_ended || grant->assignment.key_name[0] != '\0')
		return;
	w->all |= grant->permissions;
	if (!access_is_none(grant->assignment.vault_id))
		w->of_vault |= grant->permissions;
}

kms_status access_permissions(struct store *store, const struct store_vault *vault, const uint8_t principal_id[STORE_ID_LEN], int64_t now_s,
                              uint64_t *ret_permissions, uint64_t *ret_of_vault, struct kms_err *err)
{
	struct store_principal p = { 0 };
	struct wide w = { 0 };
	kms_status status = store_principal(store, principal_id, &p, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "principal lookup");
	/* A role for the whole installation makes nobody of one vault anybody in another. */
	if (status == KMS_OK && p.is_enabled && (vault == NULL || access_is_none(p.vault_id) || access_same_id(p.vault_id, vault->id)))
		KMS_TRY(access_walk(store, vault, principal_id, NULL, now_s, add_wide, &w, err));
	*ret_permissions = w.all;
	*ret_of_vault = w.of_vault;
	return KMS_OK;
}

static void add_any(void *arg, const struct access_grant *grant)
{
	struct access_reach *reach = arg;

	if (grant->has_ended)
		return;
	reach->permissions |= grant->permissions;
	if (access_is_none(grant->assignment.vault_id))
		reach->installation |= grant->permissions;
	else
		reach->of_vault |= grant->permissions;
}

kms_status access_reach(struct op *op, const uint8_t id[STORE_ID_LEN], struct access_reach *ret, struct kms_err *err)
{
	struct walk w = { .store = op->store, .vault = op->has_vault ? &op->vault : NULL, .principal_id = id, .now_s = clock_wall_s(op->kms->clock),
		          .counts_disabled = true, .visit = add_any, .arg = ret };

	ret->permissions = ret->installation = ret->of_vault = 0;
	KMS_TRY(run(&w, NULL, err));
	ret->group_count = w.group_count;
	for (size_t i = 0; i < w.group_count; i++)
		memcpy(ret->groups[i], w.groups[i].id, STORE_ID_LEN);
	return KMS_OK;
}

/* ---- why ---- */

struct asking {
	const struct access_explainer *to;
	struct access_explanation *ret;
	enum permission perm;
	const char *key_name;
	uint64_t all; /* for any key: what duties are judged by */
};

static void explain_grant(void *arg, const struct access_grant *grant)
{
	struct asking *a = arg;
	const char *of = grant->assignment.key_name;
	bool is_there = !grant->has_ended && (of[0] == '\0' || strcasecmp(of, a->key_name) == 0);
	bool allows = is_there && (grant->permissions & PERM_BIT(a->perm)) != 0;

	if (!grant->has_ended)
		a->all |= grant->permissions;
	if (is_there)
		a->ret->held |= grant->permissions;
	a->ret->is_allowed |= allows;
	a->to->grant(a->to->arg, grant, allows);
}

static kms_status suggest_custom(struct op *op, const struct asking *a, struct kms_err *err)
{
	struct store_role page[CUSTOM_PAGE] = { 0 };
	uint32_t after = 0;
	size_t count = 0;

	do {
		KMS_TRY(store_custom_roles(op->store, op->vault.id, after, page, CUSTOM_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			if ((access_stored_actions(page[i].actions) & PERM_BIT(a->perm)) != 0)
				a->to->role(a->to->arg, page[i].name, false);
			after = page[i].number;
			store_role_clear(&page[i]);
		}
	} while (count == CUSTOM_PAGE);
	return KMS_OK;
}

static kms_status suggest(struct op *op, const struct asking *a, struct kms_err *err)
{
	for (int i = 1; i < ROLE_COUNT; i++) {
		const struct role_info *info = role_info((enum role)i);
		uint64_t there = a->key_name[0] != '\0' ? info->permissions & ACCESS_OF_A_KEY : info->permissions;

		if (op->has_vault && (there & PERM_BIT(a->perm)) != 0)
			a->to->role(a->to->arg, info->slug, false);
		if ((info->installation_permissions & PERM_BIT(a->perm)) != 0)
			a->to->role(a->to->arg, info->slug, true);
	}
	return op->has_vault ? suggest_custom(op, a, err) : KMS_OK;
}

kms_status access_explain(struct op *op, const uint8_t principal_id[STORE_ID_LEN], enum permission perm, const char *key_name,
                          const struct access_explainer *to, struct access_explanation *ret, struct kms_err *err)
{
	struct asking a = { .to = to, .ret = ret, .perm = perm, .key_name = key_name != NULL ? key_name : "" };

	assert(perm > PERM_PUBLIC && perm < PERM_COUNT);
	memset(ret, 0, sizeof(*ret));
	KMS_TRY(principal_find(op, principal_id, &ret->principal, err));
	KMS_TRY(access_walk(op->store, op->has_vault ? &op->vault : NULL, principal_id, NULL, clock_wall_s(op->kms->clock), explain_grant, &a, err));
	ret->conflict = permissions_conflict(a.all);
	ret->is_allowed = ret->is_allowed && ret->principal.is_enabled && ret->conflict == NULL;
	return (ret->held & PERM_BIT(perm)) != 0 ? KMS_OK : suggest(op, &a, err);
}
