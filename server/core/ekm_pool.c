/* server/core/ekm_pool.c - pools of Managed HSM: who they are (names and roots of their client certificates), and the principal that each is. */
#include <assert.h>
#include <ctype.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/base/encode.h"
#include "server/core/access_parts.h"
#include "server/core/canon.h"
#include "server/core/ekm.h"

#define POOLS_PAGE 8 /* a pool may have 64 KiB of roots */
#define PRINCIPALS_PAGE 64
#define PARAMETERS_MAX 1536
#define POOLS_OF_VAULT_MAX 16 /* every node keeps all pools with their roots in memory, and reads them again and again */
#define PREFIX_ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-"

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* ---- what was asked for ---- */

static kms_status take_prefix(const char *text, struct store_pool *p, struct kms_err *err)
{
	size_t len = 0;

	text += strspn(text, "/");
	len = strlen(text);
	while (len > 0 && text[len - 1] == '/')
		len--;
	if (len > STORE_PREFIX_MAX || strspn(text, PREFIX_ALPHABET) < len)
		return kms_refuse(err, KMS_E_INVALID, "prefix: at most %d characters of [0-9A-Za-z/-].", STORE_PREFIX_MAX);
	if (strstr(text, "//") != NULL) /* no request with an empty segment gets through */
		return kms_refuse(err, KMS_E_INVALID, "prefix: no empty segment, \"//\".");
	memcpy(p->prefix, text, len);
	p->prefix[len] = '\0';
	return KMS_OK;
}

/* A wildcard would be a name like any other to the comparison, but its author believes otherwise. */
static kms_status take_subject(const char *text, struct store_pool *p, struct kms_err *err)
{
	char *name = p->subjects[p->subject_count];
	size_t len = strlen(text);
	bool is_good = len >= 1 && len <= STORE_SUBJECT_MAX && strpbrk(text, "*=") == NULL;

	for (size_t i = 0; i < len && is_good; i++) {
		is_good = isascii(text[i]) && isprint(text[i]);
		name[i] = (char)tolower(text[i]);
	}
	if (!is_good)
		return kms_refuse(err, KMS_E_INVALID, "subjects: a common name alone, without CN=, has 1 to %d printable ASCII characters, and no wildcard.",
		                  STORE_SUBJECT_MAX);
	name[len] = '\0';
	for (size_t i = 0; i < p->subject_count; i++)
		if (strcmp(p->subjects[i], name) == 0)
			return kms_refuse(err, KMS_E_INVALID, "subjects: %s is named twice.", name);
	p->subject_count++;
	return KMS_OK;
}

/* The change refers to the roots until it is written: the op keeps a copy. */
static kms_status take_roots(struct op *op, const struct ekm_pool_spec *spec, struct store_pool *p, struct kms_err *err)
{
	size_t len = 0;

	if (spec->root_count < 1 || spec->root_count > STORE_ROOTS_MAX)
		return kms_refuse(err, KMS_E_INVALID, "roots: 1 to %d certificates.", STORE_ROOTS_MAX);
	for (size_t i = 0; i < spec->root_count; i++) {
		if (spec->roots[i].der_len < 1 || spec->roots[i].der_len > STORE_ROOT_MAX)
			return kms_refuse(err, KMS_E_INVALID, "roots: a certificate has at most %d bytes.", STORE_ROOT_MAX);
		len += spec->roots[i].der_len;
	}
	assert(op->kept == NULL);
	op->kept = malloc(len);
	if (op->kept == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "roots of a pool");
	len = 0;
	for (size_t i = 0; i < spec->root_count; i++) {
		p->roots[i] = (struct store_root){ .der = op->kept + len, .der_len = spec->roots[i].der_len };
		memcpy(p->roots[i].der, spec->roots[i].der, spec->roots[i].der_len);
		len += spec->roots[i].der_len;
	}
	p->root_count = spec->root_count;
	return KMS_OK;
}

static kms_status take_certificates(struct op *op, const struct ekm_pool_spec *spec, struct store_pool *p, struct kms_err *err)
{
	if (spec->subject_count < 1 || spec->subject_count > STORE_SUBJECTS_MAX)
		return kms_refuse(err, KMS_E_INVALID, "subjects: 1 to %d common names.", STORE_SUBJECTS_MAX);
	for (size_t i = 0; i < spec->subject_count; i++)
		KMS_TRY(take_subject(spec->subjects[i], p, err));
	return take_roots(op, spec, p, err);
}

/* ---- what there is ---- */

static const char *shared_subject(const struct store_pool *p, const struct store_pool *other)
{
	for (size_t i = 0; i < p->subject_count; i++)
		for (size_t k = 0; k < other->subject_count; k++)
			if (strcmp(p->subjects[i], other->subjects[k]) == 0)
				return p->subjects[i];
	return NULL;
}

static bool has_subject(const struct store_pool *p, const char *subject)
{
	for (size_t i = 0; i < p->subject_count; i++)
		if (strcmp(p->subjects[i], subject) == 0)
			return true;
	return false;
}

/* A common name leads to one vault of all, whoever else it may belong to by right: Azure's roots are public, so whoever could claim the name of another
 * tenant's pool or service would be called by it, and see what it asks. @param old  what it has already; NULL = nothing */
static kms_status check_may_name(const struct op *op, const struct store_pool *p, const struct store_pool *old, struct kms_err *err)
{
	if ((op->installation_permissions & PERM_BIT(PERM_INSTALLATION_ROLE_WRITE)) != 0)
		return KMS_OK;
	for (size_t i = 0; i < p->subject_count; i++)
		if (old == NULL || !has_subject(old, p->subjects[i]))
			return kms_refuse(err, KMS_E_FORBIDDEN, "Only the local socket, on the server's own host, may give a %s a new common name; %s is one.",
			                  p->is_service ? "service" : "pool", p->subjects[i]);
	return KMS_OK;
}

/* The names of a shredded vault's pools are free again. */
static bool is_of_living_vault(const struct op *op, const struct store_pool *p)
{
	struct store_principal principal = { 0 };
	struct store_vault vault = { 0 };

	return store_principal(op->store, p->id, &principal, NULL) != KMS_OK ||
	       store_vault_by_id(op->store, principal.vault_id, &vault, NULL) != KMS_OK || vault.state != STORE_VAULT_SHREDDED;
}

/* The store makes sure; here it can be said which one. */
static kms_status check_subjects_free(struct op *op, const struct store_pool *p, size_t *ret_of_vault, struct kms_err *err)
{
	struct store_principal principal = { 0 };
	struct store_pool page[POOLS_PAGE] = { 0 };
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	const char *taken = NULL;
	size_t count = 0;

	*ret_of_vault = 0;
	do {
		KMS_TRY(store_pools(op->store, cursor, page, POOLS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			if (taken == NULL && !same_id(page[i].id, p->id) && is_of_living_vault(op, &page[i]))
				taken = shared_subject(p, &page[i]);
			*ret_of_vault += principal_find(op, page[i].id, &principal, NULL) == KMS_OK;
			memcpy(after, page[i].id, STORE_ID_LEN);
			store_pool_clear(&page[i]);
		}
		cursor = after;
	} while (taken == NULL && count == POOLS_PAGE);
	return taken == NULL ? KMS_OK : kms_refuse(err, KMS_E_CONFLICT, "subjects: %s belongs to another pool or service.", taken);
}

enum kind { ANY_PRINCIPAL, A_POOL, A_SERVICE };

/* Is this principal the kind that is asked for? @return KMS_OK (yes) | KMS_E_NOTFOUND | KMS_E_STORE */
static kms_status check_kind(struct op *op, const uint8_t id[STORE_ID_LEN], enum kind kind)
{
	STORE_POOL_AUTO pool = { 0 };

	if (kind == ANY_PRINCIPAL)
		return KMS_OK;
	KMS_TRY(store_pool(op->store, id, &pool, NULL));
	return pool.is_service == (kind == A_SERVICE) ? KMS_OK : KMS_E_NOTFOUND;
}

/* The first principal of the vault with this name, in whatever case, that also is a pool or a service when one is asked for. */
static kms_status find_by_name(struct op *op, const char *name, enum kind kind, struct store_principal *ret, struct kms_err *err)
{
	struct store_principal page[PRINCIPALS_PAGE];
	const uint8_t *cursor = NULL;
	uint8_t after[STORE_ID_LEN];
	size_t count = 0;

	do {
		KMS_TRY(store_principals(op->store, op->vault.id, cursor, page, PRINCIPALS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			kms_status status = KMS_OK;

			memcpy(after, page[i].id, STORE_ID_LEN);
			if (strcasecmp(page[i].name, name) != 0)
				continue;
			status = check_kind(op, page[i].id, kind);
			if (status == KMS_E_NOTFOUND)
				continue;
			if (status != KMS_OK)
				return kms_fail(err, status, KMS_SRC_SELF, 0, "pool lookup");
			*ret = page[i];
			return KMS_OK;
		}
		cursor = after;
	} while (count == PRINCIPALS_PAGE);
	return KMS_E_NOTFOUND;
}

static kms_status no_such_pool(bool is_service, struct kms_err *err)
{
	return kms_refuse(err, KMS_E_NOTFOUND, "There is no such %s in this vault.", is_service ? "service" : "pool");
}

kms_status ekm_pool_get(struct op *op, bool is_service, const uint8_t pool_id[STORE_ID_LEN], struct store_pool *ret_pool,
                        struct store_principal *ret_principal, struct kms_err *err)
{
	struct store_principal p = { 0 };
	STORE_POOL_AUTO pool = { 0 };
	kms_status status = principal_find(op, pool_id, &p, NULL);

	if (status == KMS_OK)
		status = store_pool(op->store, pool_id, &pool, NULL);
	if (status == KMS_OK && pool.is_service != is_service)
		status = KMS_E_NOTFOUND;
	if (status == KMS_E_NOTFOUND)
		return no_such_pool(is_service, err);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "pool lookup");
	*ret_pool = pool;
	pool = (struct store_pool){ 0 };
	*ret_principal = p;
	return KMS_OK;
}

kms_status ekm_pool_find(struct op *op, bool is_service, const char *name_or_id, struct store_pool *ret_pool, struct store_principal *ret_principal,
                         struct kms_err *err)
{
	struct store_principal p = { 0 };

	if (!guid_parse(name_or_id, strlen(name_or_id), p.id)) {
		kms_status status = find_by_name(op, name_or_id, is_service ? A_SERVICE : A_POOL, &p, err);
		if (status != KMS_OK)
			return status == KMS_E_NOTFOUND ? no_such_pool(is_service, err) : status;
	}
	return ekm_pool_get(op, is_service, p.id, ret_pool, ret_principal, err);
}

/* ---- changes ---- */

/* A text per certificate, with commas between: in the log it can be seen who was accepted from when on. */
#define ROOTS_TEXT_MAX (STORE_ROOTS_MAX * (B64URL_LEN(SHA256_DIGEST_LENGTH) + 1))
static void roots_text(const struct store_pool *p, char ret_text[ROOTS_TEXT_MAX + 1])
{
	size_t at = 0;

	ret_text[0] = '\0';
	for (size_t i = 0; i < p->root_count; i++) {
		uint8_t hash[SHA256_DIGEST_LENGTH];
		char text[B64URL_LEN(sizeof(hash)) + 1];

		SHA256(p->roots[i].der, p->roots[i].der_len, hash);
		b64url_encode(hash, sizeof(hash), text);
		at += (size_t)snprintf(ret_text + at, ROOTS_TEXT_MAX + 1 - at, "%s%s", i > 0 ? "," : "", text);
	}
}

static void note_pool(struct op *op, const char *act, const char *name, const struct store_pool *p)
{
	char subjects[STORE_SUBJECTS_MAX * (STORE_SUBJECT_MAX + 1) + 1] = "";
	char roots[ROOTS_TEXT_MAX + 1];
	size_t at = 0;

	for (size_t i = 0; i < p->subject_count; i++)
		at += (size_t)snprintf(subjects + at, sizeof(subjects) - at, "%s%s", i > 0 ? "," : "", p->subjects[i]);
	roots_text(p, roots);
	op_det_text(op, "act", act);
	op_det_text(op, p->is_service ? "service" : "pool", name);
	op_det_guid(op, "principal", p->id);
	if (!p->is_service)
		op_det_text(op, "prefix", p->prefix);
	op_det_text(op, "subjects", subjects);
	op_det_text(op, "roots_sha256", roots);
}

/* Whoever decides which certificates are a pool's or service's may be it: as if a credential were added. */
static kms_status elevate(struct op *op, const struct store_principal *principal, const struct store_pool *p, struct kms_err *err)
{
	static const char *const NAMES[STORE_SUBJECTS_MAX] = { "subject1", "subject2", "subject3", "subject4",
		                                               "subject5", "subject6", "subject7", "subject8" };
	char parameters[PARAMETERS_MAX + 1], roots[ROOTS_TEXT_MAX + 1];
	struct canon c = { .buf = parameters, .cap = PARAMETERS_MAX };

	roots_text(p, roots);
	canon_open(&c, NULL);
	canon_guid(&c, "principal", principal->id);
	canon_token(&c, "principal_name", principal->name);
	canon_token(&c, "roots_sha256", roots);
	for (size_t i = 0; i < p->subject_count; i++)
		canon_text(&c, NAMES[i], p->subjects[i], STORE_SUBJECT_MAX);
	canon_close(&c);
	if (c.is_over || c.cut_count > 0)
		return kms_refuse(err, KMS_E_INVALID, "subjects: too long to be shown to those who have to agree.");
	parameters[c.len] = '\0';
	return access_elevate_way_in(op, principal, parameters, err);
}

static kms_status copy_pool(const struct store_pool *from, struct store_pool *ret, struct kms_err *err)
{
	STORE_POOL_AUTO p = *from;

	memset(p.roots, 0, sizeof(p.roots));
	for (size_t i = 0; i < from->root_count; i++) {
		p.roots[i].der = malloc(from->roots[i].der_len);
		if (p.roots[i].der == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "roots of a pool");
		memcpy(p.roots[i].der, from->roots[i].der, from->roots[i].der_len);
		p.roots[i].der_len = from->roots[i].der_len;
	}
	*ret = p;
	p = (struct store_pool){ 0 };
	return KMS_OK;
}

/* Everything that can fail before the outcome; the copy for the caller too. */
static kms_status intend(struct op *op, const struct store_pool *p, struct store_pool *ret_copy, struct kms_err *err)
{
	struct store_intent intent = { 0 };

	KMS_TRY(copy_pool(p, ret_copy, err));
	return op_intend(op, NULL, &intent, err);
}

static void hand_over(struct store_pool *from, struct store_pool *ret)
{
	*ret = *from;
	*from = (struct store_pool){ 0 };
}

kms_status ekm_pool_add(struct op *op, const struct ekm_pool_spec *spec, struct store_pool *ret_pool, struct kms_err *err)
{
	const size_t changes = 3;
	size_t of_vault = 0;
	STORE_POOL_AUTO made = { 0 };
	struct store_pool p = { .is_service = spec->is_service }; /* refers to op->kept */
	struct store_principal principal = { 0 }, other = { 0 };
	struct store_assignment role = { .role = ROLE_CRYPTO_SERVICE, .expires_s = STORE_NO_TIME };
	kms_status status = KMS_OK;

	KMS_TRY(op_need_living_vault(op, err));
	if (!spec->is_service)
		KMS_TRY(take_prefix(spec->prefix, &p, err));
	KMS_TRY(take_certificates(op, spec, &p, err));
	KMS_TRY(check_may_name(op, &p, NULL, err));
	status = find_by_name(op, spec->name, ANY_PRINCIPAL, &other, err);
	if (status == KMS_OK)
		return kms_refuse(err, KMS_E_CONFLICT, "name: the vault has a principal named %s already.", other.name);
	if (status != KMS_E_NOTFOUND)
		return status;
	KMS_TRY(principal_prepare(op, spec->name, &principal, err));
	memcpy(p.id, principal.id, STORE_ID_LEN);
	p.created_s = p.updated_s = role.created_s = principal.created_s;
	KMS_TRY(check_subjects_free(op, &p, &of_vault, err));
	if (of_vault >= POOLS_OF_VAULT_MAX)
		return kms_refuse(err, KMS_E_POLICY, "A vault has at most %d pools; give one of them the new certificates.", POOLS_OF_VAULT_MAX);
	KMS_TRY(op_expect_changes(op, changes, err));
	note_pool(op, p.is_service ? "service_add" : "pool_add", principal.name, &p);
	KMS_TRY(intend(op, &p, &made, err));
	memcpy(role.principal_id, principal.id, STORE_ID_LEN);
	memcpy(role.vault_id, op->vault.id, STORE_ID_LEN);
	op_change(op, STORE_PRINCIPAL_ADD)->principal = principal;
	if (!p.is_service)
		op_change(op, STORE_ROLE_ADD)->assignment = role;
	op_change(op, STORE_POOL_ADD)->pool = p;
	hand_over(&made, ret_pool);
	return KMS_OK;
}

kms_status ekm_pool_set(struct op *op, const uint8_t pool_id[STORE_ID_LEN], const struct ekm_pool_spec *spec, struct store_pool *ret_pool,
                        struct kms_err *err)
{
	STORE_POOL_AUTO old = { 0 };
	STORE_POOL_AUTO made = { 0 };
	struct store_pool p = { 0 }; /* refers to op->kept */
	size_t of_vault = 0;
	struct store_principal principal = { 0 };

	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(ekm_pool_get(op, spec->is_service, pool_id, &old, &principal, err));
	memcpy(p.id, old.id, sizeof(p.id));
	p.is_service = old.is_service;
	memcpy(p.prefix, old.prefix, sizeof(p.prefix));
	p.created_s = old.created_s;
	p.updated_s = clock_wall_s(op->kms->clock);
	KMS_TRY(take_certificates(op, spec, &p, err));
	KMS_TRY(check_may_name(op, &p, &old, err));
	KMS_TRY(check_subjects_free(op, &p, &of_vault, err));
	note_pool(op, p.is_service ? "service_set" : "pool_set", principal.name, &p);
	KMS_TRY(principal_check_may_manage(op, &principal, err));
	KMS_TRY(op_expect_changes(op, 1 + ACCESS_STILL_CHANGES, err));
	KMS_TRY(elevate(op, &principal, &p, err));
	KMS_TRY(access_hold_still(op, &principal, true, err));
	KMS_TRY(intend(op, &p, &made, err));
	op_change(op, STORE_POOL_SET)->pool = p;
	hand_over(&made, ret_pool);
	return KMS_OK;
}
