/* hsm/pkcs11/objects.c - token objects: find, make, destroy, enumerate. One at a time, under the objects lock (hazards.md row 1d). */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hsm/pkcs11/provider.h"
#include "hsm/pkcs11/sigcheck.h"

#define OBJECTS_OF_ID_MAX 16    /* a pair is two; orphans of failed creations may add some */
#define OBJECTS_LIST_MAX 131072 /* design: resident keys by the thousand */
#define DER_OCTET_STRING 0x04
#define DER_LONG_FORM 0x81 /* one more byte of length follows: P-521 */
#define DER_SHORT_MAX 127
#define LABEL_MAX 64

static const CK_OBJECT_CLASS PUBLIC_KEY = CKO_PUBLIC_KEY;
static const CK_OBJECT_CLASS PRIVATE_KEY = CKO_PRIVATE_KEY;
static const CK_OBJECT_CLASS SECRET_KEY = CKO_SECRET_KEY;

static bool is_pair(enum hsm_kind kind)
{
	return kind == HSM_KIND_RSA || p11_curve(kind) != NULL;
}

/* The public half of the installation's curve keys stays in the token, the only place of their points. An RSA private key holds its modulus,
 * and the public halves of callers' versions are in the database: one token object less for each. */
static bool keeps_public(const struct hsm_key *key)
{
	return p11_curve(key->kind) != NULL && key->purpose != HSM_FOR_CALLER;
}

kms_status p11_witness_locked(struct p11_hsm *p, struct p11_session *session, CK_OBJECT_HANDLE *ret_log_key, struct kms_err *err)
{
	uint8_t id[HSM_ID_LEN] = { 0 };
	static const uint8_t NONE[HSM_ID_LEN];
	CK_OBJECT_HANDLE found = CK_INVALID_HANDLE;
	CK_TOKEN_INFO info;
	size_t count = 0;
	CK_RV rv;

	(void)pthread_mutex_lock(&p->state_lock);
	memcpy(id, p->log_key_id, HSM_ID_LEN);
	(void)pthread_mutex_unlock(&p->state_lock);
	if (memcmp(id, NONE, HSM_ID_LEN) == 0) {
		rv = P11_CALL(&p->token.gate, C_GetTokenInfo, p->token.slot, &info);
		if (rv != CKR_OK)
			return p11_fail(err, rv, "C_GetTokenInfo");
	} else {
		KMS_TRY(p11_token_find(&p->token, session->handle, id, p11_label(HSM_FOR_LOG), &PRIVATE_KEY, &found, 1, &count,
		                       &session->is_broken, err));
		if (count == 0) {
			/* An absent token answers "0 objects", not an error (row 1f). */
			atomic_store(&p->token.gate.is_suspect, true);
			return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, CKR_TOKEN_NOT_PRESENT, "the log key is not found: the token is away");
		}
	}
	if (ret_log_key != NULL)
		*ret_log_key = found;
	return KMS_OK;
}

/* A point comes as DER OCTET STRING (PKCS#11 2.40), from some devices as the bare bytes. */
static bool point_parse(const uint8_t *bytes, size_t len, size_t want, struct hsm_public *ret_public)
{
	if (want <= DER_SHORT_MAX && len == want + 2 && bytes[0] == DER_OCTET_STRING && bytes[1] == want)
		bytes += 2;
	else if (want > DER_SHORT_MAX && len == want + 3 && bytes[0] == DER_OCTET_STRING && bytes[1] == DER_LONG_FORM && bytes[2] == want)
		bytes += 3;
	else if (len != want)
		return false;
	memcpy(ret_public->point, bytes, want);
	ret_public->point_len = want;
	return true;
}

kms_status p11_public_read(struct p11_hsm *p, struct p11_session *session, CK_OBJECT_HANDLE object, enum hsm_kind kind,
                           struct hsm_public *ret_public, struct kms_err *err)
{
	struct hsm_public pub = { 0 };
	uint8_t point[HSM_POINT_MAX + 3], n[HSM_RSA_MAX + 1];
	CK_ATTRIBUTE ec[] = { { CKA_EC_POINT, point, sizeof(point) } };
	CK_ATTRIBUTE rsa[] = { { CKA_MODULUS, n, sizeof(n) }, { CKA_PUBLIC_EXPONENT, pub.e, sizeof(pub.e) } };
	const struct p11_curve *curve = p11_curve(kind);
	const bool is_rsa = curve == NULL;
	size_t skip = 0;
	CK_RV rv;

	rv = P11_CALL(&p->token.gate, C_GetAttributeValue, session->handle, object, is_rsa ? rsa : ec, is_rsa ? 2 : 1);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GetAttributeValue");
	if (is_rsa) {
		while (skip < rsa[0].ulValueLen && n[skip] == 0)
			skip++;
		pub.n_len = rsa[0].ulValueLen - skip;
		if (pub.n_len == 0 || pub.n_len > sizeof(pub.n))
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_PKCS11, 0, "modulus of %zu bytes", pub.n_len);
		memcpy(pub.n, n + skip, pub.n_len);
		pub.e_len = rsa[1].ulValueLen;
		for (skip = 0; skip + 1 < pub.e_len && pub.e[skip] == 0;)
			skip++;
		memmove(pub.e, pub.e + skip, pub.e_len - skip);
		pub.e_len -= skip;
		memset(pub.e + pub.e_len, 0, sizeof(pub.e) - pub.e_len);
	} else if (!point_parse(point, ec[0].ulValueLen, curve->point_len, &pub)) {
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_PKCS11, 0, "public point of %lu bytes", ec[0].ulValueLen);
	}
	*ret_public = pub;
	return KMS_OK;
}

/* The object of a resident pair that tells its public half: RSA has it in the private key, curves only in the public one (row 1o). */
static kms_status find_public_locked(struct p11_hsm *p, struct p11_session *session, const struct hsm_key *key,
                                     struct hsm_public *ret_public, struct kms_err *err)
{
	CK_OBJECT_HANDLE handle;
	size_t count;

	KMS_TRY(p11_token_find(&p->token, session->handle, key->id, p11_label(key->purpose),
	                       key->kind == HSM_KIND_RSA ? &PRIVATE_KEY : &PUBLIC_KEY, &handle, 1, &count, &session->is_broken, err));
	if (count == 0) {
		KMS_TRY(p11_witness_locked(p, session, NULL, err));
		return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_PKCS11, 0, "no public half for this id");
	}
	return p11_public_read(p, session, handle, key->kind, ret_public, err);
}

kms_status p11_resident_find(struct p11_hsm *p, const struct hsm_key *key, struct p11_found *ret, struct kms_err *err)
{
	P11_SESSION_AUTO session = { 0 };
	struct p11_template expected;
	CK_OBJECT_HANDLE found[2];
	struct hsm_public pub;
	EVP_PKEY *verifier = NULL;
	size_t count;

	KMS_TRY(p11_pool_take(p->pool, &session, err));
	P11_LOCK_AUTO(&p->objects);
	KMS_TRY(p11_token_find(&p->token, session.handle, key->id, p11_label(key->purpose), is_pair(key->kind) ? &PRIVATE_KEY : &SECRET_KEY,
	                       found, KMS_ARRAY_LEN(found), &count, &session.is_broken, err));
	if (count == 0) {
		KMS_TRY(p11_witness_locked(p, &session, NULL, err));
		return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_PKCS11, 0, "no \"%s\" object with this id", p11_label(key->purpose));
	}
	if (count > 1)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_PKCS11, 0, "several \"%s\" objects with one id", p11_label(key->purpose));
	p11_template_key(&expected, key, P11_RESIDENT);
	KMS_TRY(p11_template_verify(&p->token.gate, session.handle, found[0], &expected, err));
	if (keeps_public(key)) { /* what it signs is verified before it is released */
		KMS_TRY(find_public_locked(p, &session, key, &pub, err));
		verifier = sigcheck_key(key->kind, &pub);
		if (verifier == NULL)
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "the public point is not on the curve");
	}
	*ret = (struct p11_found){ .handle = found[0], .verifier = verifier };
	return KMS_OK;
}

kms_status p11_key_public(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	P11_LOCK_AUTO(&p->objects);
	return find_public_locked(p, &session, key, ret_public, err);
}

/* Destroy every token object with this id, whatever its label and class. */
static kms_status destroy_all_locked(struct p11_hsm *p, struct p11_session *session, const uint8_t id[HSM_ID_LEN], size_t *ret_count,
                                     struct kms_err *err)
{
	CK_OBJECT_HANDLE found[OBJECTS_OF_ID_MAX];
	size_t count, total = 0;

	do {
		KMS_TRY(p11_token_find(&p->token, session->handle, id, NULL, NULL, found, KMS_ARRAY_LEN(found), &count, &session->is_broken,
		                       err));
		for (size_t i = 0; i < count; i++) {
			CK_RV rv = P11_CALL(&p->token.gate, C_DestroyObject, session->handle, found[i]);

			if (rv != CKR_OK)
				return p11_fail(err, rv, "C_DestroyObject");
		}
		total += count;
	} while (count == KMS_ARRAY_LEN(found));
	*ret_count = total;
	return KMS_OK;
}

kms_status p11_key_destroy(struct hsm *h, const uint8_t id[HSM_ID_LEN], struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	const int64_t began_s = (int64_t)time(NULL);
	size_t count;

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	/* Cached handles would only be void; waiting for their users is the caller's business (hsm_key_evict). */
	KMS_TRY(p11_cache_evict(p->cache, id, 0, err));
	p11_cache_bury(p->cache);
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	{
		P11_LOCK_AUTO(&p->objects);
		KMS_TRY(destroy_all_locked(p, &session, id, &count, err));
		/* SoftHSM drops the handle before it unlinks (row 1g), so look again, and believe absence only beside the log key. */
		KMS_TRY(destroy_all_locked(p, &session, id, &count, err));
		if (count != 0)
			return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "objects were there again after their destruction");
		KMS_TRY(p11_witness_locked(p, &session, NULL, err));
	}
	return p11_sync_dir(p->cfg.token_dir, began_s, err);
}

/* C_GenerateKey or C_GenerateKeyPair, and the public half if there is one. `arg` is the struct hsm_public for it. */
static kms_status generate_locked(struct p11_hsm *p, struct p11_session *session, const struct hsm_key *key, void *arg, struct kms_err *err)
{
	struct hsm_public *ret_public = arg;
	struct p11_template private, public;
	CK_OBJECT_HANDLE made = CK_INVALID_HANDLE, made_public = CK_INVALID_HANDLE;
	kms_status status;
	CK_RV rv;

	p11_template_key(&private, key, P11_RESIDENT);
	if (!is_pair(key->kind)) {
		rv = P11_CALL(&p->token.gate, C_GenerateKey, session->handle, &private.generate, private.attrs, private.count, &made);
		if (rv != CKR_OK)
			return p11_fail(err, rv, "C_GenerateKey");
		memset(ret_public, 0, sizeof(*ret_public));
		return p11_template_verify(&p->token.gate, session->handle, made, &private, err);
	}
	p11_template_public(&public, key, keeps_public(key));
	rv = P11_CALL(&p->token.gate, C_GenerateKeyPair, session->handle, &public.generate, public.attrs, public.count, private.attrs,
	              private.count, &made_public, &made);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GenerateKeyPair");
	status = p11_template_verify(&p->token.gate, session->handle, made, &private, err);
	if (status == KMS_OK)
		status = p11_public_read(p, session, made_public, key->kind, ret_public, err);
	if (!keeps_public(key))
		p11_discard(p, session, made_public);
	return status;
}

/* ret_began: something may have been made, so that a failure has to be cleaned up. */
static kms_status make_new(struct p11_hsm *p, const struct hsm_key *key, p11_make_fn make, void *arg, bool *ret_began, struct kms_err *err)
{
	P11_SESSION_AUTO session = { 0 };
	CK_OBJECT_HANDLE found;
	size_t count;

	*ret_began = false;
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	P11_LOCK_AUTO(&p->objects);
	KMS_TRY(p11_token_find(&p->token, session.handle, key->id, NULL, NULL, &found, 1, &count, &session.is_broken, err));
	if (count != 0)
		return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "an object with this id exists");
	*ret_began = true;
	return make(p, &session, key, arg, err);
}

/* A failed creation can leave an object behind (row 1d). What cannot be cleaned up now, the sweep at start finds. */
static void clean_up(struct p11_hsm *p, const uint8_t id[HSM_ID_LEN])
{
	P11_SESSION_AUTO session = { 0 };
	size_t count;

	if (p11_pool_take(p->pool, &session, NULL) != KMS_OK)
		return;
	P11_LOCK_AUTO(&p->objects);
	if (destroy_all_locked(p, &session, id, &count, NULL) != KMS_OK)
		session.is_broken = true;
}

kms_status p11_resident_make(struct p11_hsm *p, const struct hsm_key *key, p11_make_fn make, void *arg, struct kms_err *err)
{
	const int64_t began_s = (int64_t)time(NULL);
	kms_status status;
	bool began;

	status = make_new(p, key, make, arg, &began, err);
	if (status == KMS_OK)
		status = p11_sync_dir(p->cfg.token_dir, began_s, err);
	if (status != KMS_OK && began)
		clean_up(p, key->id);
	return status;
}

kms_status p11_key_generate(struct hsm *h, const struct hsm_key *key, struct hsm_public *ret_public, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	struct hsm_public pub;

	P11_ENTER(p, err);
	KMS_TRY(p11_resident_make(p, key, generate_locked, &pub, err));
	if (ret_public != NULL)
		*ret_public = pub;
	return KMS_OK;
}

struct listed {
	uint8_t id[HSM_ID_LEN];
	enum hsm_purpose purpose;
	bool is_ours;
};

/* Append the objects of one class to the list. */
static kms_status list_class_locked(struct p11_hsm *p, struct p11_session *session, const CK_OBJECT_CLASS *class, CK_OBJECT_HANDLE *handles,
                                    struct listed **list, size_t *count, struct kms_err *err)
{
	struct listed *grown;
	size_t found;

	KMS_TRY(p11_token_find(&p->token, session->handle, NULL, NULL, class, handles, OBJECTS_LIST_MAX, &found, &session->is_broken, err));
	if (found == OBJECTS_LIST_MAX)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "more than %d objects in the token", OBJECTS_LIST_MAX);
	grown = reallocarray(*list, *count + found + 1, sizeof(**list));
	if (grown == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "list of %zu objects", *count + found);
	*list = grown;
	for (size_t i = 0; i < found; i++) {
		struct listed *o = &grown[*count];
		char label[LABEL_MAX];
		uint8_t id[HSM_ID_LEN];
		CK_ATTRIBUTE attrs[] = { { CKA_ID, id, sizeof(id) }, { CKA_LABEL, label, sizeof(label) } };
		CK_RV rv = P11_CALL(&p->token.gate, C_GetAttributeValue, session->handle, handles[i], attrs, KMS_ARRAY_LEN(attrs));

		/* A longer id or label is a foreign object, not an error. */
		if (rv != CKR_OK && rv != CKR_BUFFER_TOO_SMALL)
			return p11_fail(err, rv, "C_GetAttributeValue");
		memset(o, 0, sizeof(*o));
		if (attrs[0].ulValueLen == HSM_ID_LEN)
			memcpy(o->id, id, HSM_ID_LEN);
		o->is_ours = attrs[0].ulValueLen == HSM_ID_LEN && attrs[1].ulValueLen <= sizeof(label) &&
		             p11_label_parse(label, attrs[1].ulValueLen, &o->purpose);
		(*count)++;
	}
	return KMS_OK;
}

static void free_handles(CK_OBJECT_HANDLE **handles) { free(*handles); }
static void free_listed(struct listed **list) { free(*list); }

kms_status p11_keys_list(struct hsm *h, hsm_object_fn each, void *arg, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	__attribute__((cleanup(free_listed))) struct listed *list = NULL;
	__attribute__((cleanup(free_handles))) CK_OBJECT_HANDLE *handles = NULL;
	size_t count = 0;

	P11_ENTER(p, err);
	handles = calloc(OBJECTS_LIST_MAX, sizeof(*handles));
	if (handles == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "list of handles");
	P11_SESSION_AUTO session = { 0 };
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	{
		P11_LOCK_AUTO(&p->objects);
		KMS_TRY(p11_witness_locked(p, &session, NULL, err));
		KMS_TRY(list_class_locked(p, &session, &PRIVATE_KEY, handles, &list, &count, err));
		KMS_TRY(list_class_locked(p, &session, &SECRET_KEY, handles, &list, &count, err));
	}
	for (size_t i = 0; i < count; i++)
		if (!each(arg, list[i].id, list[i].purpose, list[i].is_ours))
			break;
	return KMS_OK;
}
