/* server/core/root.c - see root.h. Guards that no version is left behind: the old root is destroyed only when the database says that nothing is wrapped under it. */
#include "server/core/root.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/approval.h"
#include "server/core/destruction_act.h"
#include "server/core/key.h"

#define CANARY_LEN 32
#define INTENTS_PAGE 32
#define REWRAP_PAGE 64 /* versions of one unit, and of one leaf */
#define COUNT_PAGE 512
#define ATTEMPTS_MAX 64 /* how often the vault, or a key that is purged, may change in between before others get their turn */

static const uint8_t NO_ID[STORE_ID_LEN];

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* ---- roots ---- */

const uint8_t *vault_wrapping_root(const struct store_vault *v)
{
	return same_id(v->next_root_id, NO_ID) ? v->root_id : v->next_root_id;
}

void vault_root_key(const uint8_t root_id[STORE_ID_LEN], struct hsm_key *ret_key)
{
	*ret_key = (struct hsm_key){ .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	memcpy(ret_key->id, root_id, HSM_ID_LEN);
}

kms_status vault_make_canary(struct hsm *hsm, struct store_vault *v, struct kms_err *err)
{
	SECRET_AUTO *canary = secret_new(CANARY_LEN);
	struct hsm_key root = { 0 };

	if (canary == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "canary");
	vault_root_key(v->root_id, &root);
	KMS_TRY(hsm_random(hsm, canary, err));
	KMS_TRY(hsm_aes_wrap(hsm, &root, HSM_AES_KW, canary, v->canary_wrapped, sizeof(v->canary_wrapped), &v->canary_wrapped_len, err));
	SHA256(secret_data(canary), CANARY_LEN, v->canary_hash);
	return KMS_OK;
}

bool root_was_replaced(const struct op *op, kms_status status)
{
	struct store_vault now = { 0 };

	if (!op->has_vault || (status != KMS_E_NOTFOUND && status != KMS_E_INTERNAL && status != KMS_E_DEVICE))
		return false;
	return store_vault_by_id(op->store, op->vault.id, &now, NULL) == KMS_OK && !same_id(now.root_id, op->vault.root_id);
}

/* ---- begun ---- */

/* The open intent of this type that `fits`; the newest when there are several. */
static kms_status find_intent(struct store *store, enum event_type type, bool (*fits)(const struct store_intent *i, const uint8_t id[STORE_ID_LEN]),
                              const uint8_t id[STORE_ID_LEN], struct store_intent *ret, struct kms_err *err)
{
	struct store_intent page[INTENTS_PAGE];
	uint64_t after = UINT64_MAX;
	bool is_found = false;
	size_t count = 0;

	do {
		KMS_TRY(store_intents(store, after, page, INTENTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			after = page[i].seq;
			if (page[i].type != (uint32_t)type || !fits(&page[i], id))
				continue;
			*ret = page[i];
			is_found = true;
		}
	} while (count == INTENTS_PAGE);
	return is_found ? KMS_OK : KMS_E_NOTFOUND;
}

static bool is_of_vault(const struct store_intent *i, const uint8_t id[STORE_ID_LEN]) { return same_id(i->vault_id, id); }
static bool is_of_object(const struct store_intent *i, const uint8_t id[STORE_ID_LEN]) { return same_id(i->obj, id); }

kms_status root_rotation_of(struct store *store, const uint8_t vault_id[STORE_ID_LEN], struct store_intent *ret, struct kms_err *err)
{
	return find_intent(store, EVENT_TENANT_ROTATE_ROOT, is_of_vault, vault_id, ret, err);
}

kms_status root_rotation_left(struct store *store, const struct store_intent *rotation, uint64_t *ret_versions, struct kms_err *err)
{
	uint8_t page[COUNT_PAGE][STORE_ID_LEN];
	const uint8_t *after = NULL;
	uint8_t last[STORE_ID_LEN];
	uint64_t total = 0;
	size_t count = 0;

	do {
		KMS_TRY(store_wrapped_under(store, rotation->vault_id, rotation->key_id, after, page, COUNT_PAGE, &count, err));
		total += count;
		if (count > 0)
			memcpy(last, page[count - 1], STORE_ID_LEN);
		after = last;
	} while (count == COUNT_PAGE);
	*ret_versions = total;
	return KMS_OK;
}

static kms_status refuse_second(struct op *op, struct kms_err *err)
{
	struct store_intent open = { 0 };
	struct kms_err own = { 0 };
	kms_status status = root_rotation_of(op->store, op->vault.id, &open, &own);

	if (status == KMS_OK)
		return kms_refuse(err, KMS_E_CONFLICT, "A root rotation of the vault %s is under way; it goes on by itself (holdfast vault show).", op->vault.name);
	if (status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "open intents: %.80s", own.detail);
	return KMS_OK;
}

kms_status root_rotate(struct op *op, const char *reason, struct kms_err *err)
{
	char id[GUID_TEXT_LEN + 1], hex[2 * STORE_ID_LEN + 1];
	const struct approval_need need = { .act = ACT_ROOT_ROTATE, .target = id, .reason = reason, .quorum = op->vault.quorum };
	struct store_intent intent = { 0 };

	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(op_need_unlocked_vault(op, err));
	KMS_TRY(refuse_second(op, err));
	op_det_text(op, "vault", op->vault.name);
	op_det_text(op, "reason", reason);
	guid_format(op->vault.id, id);
	KMS_TRY(approval_require(op, &need, err));
	memcpy(intent.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(intent.key_id, op->vault.root_id, STORE_ID_LEN);
	if (!random_bytes(intent.obj, STORE_ID_LEN))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	hex_encode(intent.key_id, STORE_ID_LEN, hex);
	op_det_text(op, "old_root", hex);
	hex_encode(intent.obj, STORE_ID_LEN, hex);
	op_det_text(op, "new_root", hex);
	KMS_TRY(op_intend_sealed(op, NULL, &intent, err));
	op->goes_on = true;
	return KMS_OK;
}

/* ---- gone on with ---- */

struct rotation {
	struct kms *kms;
	struct store *store;
	const struct store_intent *intent;
	struct store_vault vault; /* as it was last read */
};

/* A step of it, with its own leaf; nothing of it when the vault has changed meanwhile (KMS_E_FENCED). @param versions  0 = not about versions */
static kms_status write_step(struct rotation *r, const char *act, const struct store_change *changes, size_t count, size_t versions, struct kms_err *err)
{
	struct event_det det[3] = { { .name = "act" } };
	struct write unit = { .event = { .type = EVENT_TENANT_ROTATE_ROOT, .actor = EVENT_ACTOR_NODE, .has_tenant = true, .det = det, .det_count = 1 },
		              .has_fence = true, .changes = changes, .change_count = count };
	kms_status status = KMS_OK;

	(void)snprintf(det[0].text, sizeof(det[0].text), "%s", act);
	/* Of a log that was closed: as recovery tells what became of its intents. */
	det[unit.event.det_count++] = (struct event_det){ .name = r->intent->is_of_closed_log ? "old_seq" : "intent", .is_number = true,
		                                          .number = (int64_t)(r->intent->seq & STORE_SEQ_MAX) };
	if (versions > 0)
		det[unit.event.det_count++] = (struct event_det){ .name = "versions", .is_number = true, .number = (int64_t)versions };
	memcpy(unit.event.tenant, r->vault.id, STORE_ID_LEN);
	memcpy(unit.fence.vault_id, r->vault.id, STORE_ID_LEN);
	unit.fence.vault_epoch = r->vault.epoch;
	status = writer_write(r->kms->writer, &unit);
	return status == KMS_OK || status == KMS_E_FENCED ? status : kms_fail(err, status, KMS_SRC_SELF, 0, "root rotation: %s", act);
}

/* Whoever can write to the database must not have us destroy what lives, by an intent that names it. */
static kms_status check_unused(const struct rotation *r, const uint8_t obj[STORE_ID_LEN], struct kms_err *err)
{
	bool is_known = true;

	KMS_TRY(store_object_known(r->store, obj, &is_known, err));
	return !is_known ? KMS_OK : kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the database was altered: a root rotation of vault %s names what is in use", r->vault.name);
}

/* Until it is announced nothing is wrapped under it, so what a crash has left of it is made again: it may be half an object. From then on it is never made again: one that is
 * missing then is lost, with what is wrapped under it. */
static kms_status make_root(struct rotation *r, struct kms_err *err)
{
	struct hsm_key root = { 0 };

	if (same_id(r->vault.next_root_id, r->intent->obj))
		return KMS_OK;
	KMS_TRY(check_unused(r, r->intent->obj, err));
	vault_root_key(r->intent->obj, &root);
	KMS_TRY(hsm_key_destroy(r->kms->hsm, root.id, err));
	return hsm_key_generate(r->kms->hsm, &root, NULL, err);
}

/* From here on new versions are wrapped under the new root, and what was begun under the old one is fenced off. */
static kms_status announce(struct rotation *r, struct kms_err *err)
{
	struct store_change c = { .kind = STORE_VAULT_NEXT_ROOT, .vault = r->vault };

	if (same_id(r->vault.next_root_id, r->intent->obj))
		return KMS_OK;
	if (!same_id(r->vault.next_root_id, NO_ID))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "vault %s has the next root of another rotation", r->vault.name);
	memcpy(c.vault.next_root_id, r->intent->obj, STORE_ID_LEN);
	KMS_TRY(write_step(r, "announce", &c, 1, 0, err));
	return store_vault_by_id(r->store, r->vault.id, &r->vault, err);
}

/* @param ret  untouched when the version has been purged meanwhile, or moved */
static kms_status rewrap_one(struct rotation *r, const uint8_t obj[STORE_ID_LEN], struct store_change *ret, size_t *count, struct kms_err *err)
{
	STORE_VERSION_AUTO v = { 0 };
	struct hsm_key key = { 0 };
	char hex[2 * STORE_ID_LEN + 1];
	struct kms_err own = { 0 };
	kms_status status = store_version_of_object(r->store, obj, &v, &own);
	uint8_t *blob = NULL;

	if (status == KMS_E_NOTFOUND || (status == KMS_OK && (v.wrapped == NULL || !same_id(v.root_id, r->intent->key_id))))
		return KMS_OK;
	hex_encode(obj, STORE_ID_LEN, hex);
	if (status != KMS_OK || key_type_info((enum key_type)v.kty) == NULL)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "version with object %s: %.80s", hex, own.detail);
	blob = malloc(HSM_BLOB_MAX);
	if (blob == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "blob");
	key_to_hsm(&v, (enum key_alg)0, &key);
	ret->kind = STORE_VERSION_REWRAP;
	memcpy(ret->version.id, v.id, STORE_ID_LEN);
	memcpy(ret->version.root_id, r->intent->obj, STORE_ID_LEN);
	status = hsm_key_rewrap(r->kms->hsm, &key, r->intent->obj, blob, &ret->version.wrapped_len, &own);
	if (status != KMS_OK) {
		free(blob);
		return kms_fail(err, status, own.source, own.native, "the version with object %s cannot be rewrapped, so the old root stays: %.80s", hex, own.detail);
	}
	ret->version.wrapped = blob;
	(*count)++;
	return KMS_OK;
}

struct rewrapped {
	struct store_change changes[REWRAP_PAGE];
	size_t count;
};

static void rewrapped_free(struct rewrapped **page)
{
	for (size_t i = 0; *page != NULL && i < (*page)->count; i++)
		free((*page)->changes[i].version.wrapped);
	free(*page);
}

static kms_status rewrap_page(struct rotation *r, uint8_t (*objects)[STORE_ID_LEN], size_t count, struct kms_err *err)
{
	__attribute__((cleanup(rewrapped_free))) struct rewrapped *page = calloc(1, sizeof(*page));

	if (page == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "a page of versions");
	for (size_t i = 0; i < count; i++)
		KMS_TRY(rewrap_one(r, objects[i], &page->changes[page->count], &page->count, err));
	return page->count == 0 ? KMS_OK : write_step(r, "rewrap", page->changes, page->count, page->count, err);
}

/* Always from the beginning: what was rewrapped is not in the list any more. */
static kms_status rewrap_all(struct rotation *r, struct kms_err *err)
{
	uint8_t objects[REWRAP_PAGE][STORE_ID_LEN];
	size_t count = 0;

	for (;;) {
		KMS_TRY(store_wrapped_under(r->store, r->vault.id, r->intent->key_id, NULL, objects, REWRAP_PAGE, &count, err));
		if (count == 0)
			return KMS_OK;
		if (r->kms->is_stopping != NULL && atomic_load(r->kms->is_stopping))
			return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "the root rotation of vault %s goes on after the next start", r->vault.name);
		KMS_TRY(rewrap_page(r, objects, count, err));
	}
}

static kms_status replace(struct rotation *r, struct kms_err *err)
{
	struct store_change c = { .kind = STORE_VAULT_SET_ROOT, .vault = r->vault };

	memcpy(c.vault.root_id, r->intent->obj, STORE_ID_LEN);
	KMS_TRY(vault_make_canary(r->kms->hsm, &c.vault, err));
	KMS_TRY(write_step(r, "replace", &c, 1, 0, err));
	return store_vault_by_id(r->store, r->vault.id, &r->vault, err);
}

static kms_status go_on(struct rotation *r, struct kms_err *err)
{
	KMS_TRY(store_vault_by_id(r->store, r->intent->vault_id, &r->vault, err));
	if (r->vault.state != STORE_VAULT_ACTIVE || same_id(r->vault.root_id, r->intent->obj))
		return KMS_OK;
	KMS_TRY(make_root(r, err));
	KMS_TRY(announce(r, err));
	KMS_TRY(rewrap_all(r, err));
	return replace(r, err);
}

/* ---- the old root ---- */

static void op_drop(struct op **op) { op_free_own(*op); }

/* An act of its own, with a certificate: the rotation is agreed, so this needs nobody's approval. */
static kms_status destroy(struct rotation *r, struct kms_err *err)
{
	__attribute__((cleanup(op_drop))) struct op *op = op_new_own(r->kms, r->store, EVENT_KEY_DESTROY, err);
	struct destruction_act act = { .of = DESTRUCTION_OF_ROOT, .scope = STORE_CERTIFICATE_ROOT, .basis = BASIS_OTHER };
	struct destruction d = { 0 };
	char hex[2 * STORE_ID_LEN + 1];
	kms_status status = KMS_OK;

	if (op == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(op_open_system(op, r->vault.id, EVENT_KEY_DESTROY, err));
	hex_encode(r->intent->key_id, STORE_ID_LEN, hex);
	op_det_text(op, "root", hex);
	if (!r->intent->is_of_closed_log) /* what people approved */
		op_det_number(op, "rotation", (int64_t)r->intent->seq);
	memcpy(act.intent.vault_id, r->vault.id, STORE_ID_LEN);
	memcpy(act.intent.obj, r->intent->key_id, STORE_ID_LEN);
	status = destruction_begin(op, &act, &d, err);
	if (status == KMS_OK)
		status = destruction_finish(op, &d, err);
	return op_finish_own(op, status, err);
}

/* Once it has a tombstone and no open intent, it is gone and written down. */
static kms_status destroy_old(struct rotation *r, struct kms_err *err)
{
	struct store_tombstone tombstone = { 0 };
	struct store_intent open = { 0 };
	kms_status status = find_intent(r->store, EVENT_KEY_DESTROY, is_of_object, r->intent->key_id, &open, err);

	if (status == KMS_OK && open.is_of_closed_log)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "the end of the old root of vault %s, begun in a closed log, is settled first", r->vault.name);
	if (status == KMS_E_NOTFOUND) {
		status = store_tombstone(r->store, r->intent->key_id, &tombstone, NULL);
		if (status == KMS_OK)
			return KMS_OK;
		if (status != KMS_E_NOTFOUND)
			return kms_fail(err, status, KMS_SRC_SELF, 0, "tombstone of a root");
		status = KMS_OK;
	}
	KMS_TRY(status);
	return destroy(r, err);
}

/* A shred destroys both roots (destruction.c). It may have looked before this rotation made the new one; under that there is nothing. */
static kms_status give_up(struct rotation *r, struct kms_err *err)
{
	if (r->vault.state != STORE_VAULT_SHREDDED)
		return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "vault %s is being shredded, which ends its root rotation", r->vault.name);
	KMS_TRY(check_unused(r, r->intent->obj, err));
	KMS_TRY(check_unused(r, r->intent->key_id, err));
	KMS_TRY(hsm_key_destroy(r->kms->hsm, r->intent->obj, err));
	KMS_TRY(hsm_key_destroy(r->kms->hsm, r->intent->key_id, err));
	return KMS_E_VAULT_SHREDDED;
}

kms_status root_rotation_finish(struct kms *kms, struct store *store, const struct store_intent *rotation, struct kms_err *err)
{
	struct rotation r = { .kms = kms, .store = store, .intent = rotation };
	kms_status status = KMS_E_FENCED;

	for (int i = 0; i < ATTEMPTS_MAX && status == KMS_E_FENCED; i++)
		status = go_on(&r, err);
	if (status == KMS_E_FENCED)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "vault %s changes all the time", r.vault.name);
	KMS_TRY(status);
	return r.vault.state == STORE_VAULT_ACTIVE ? destroy_old(&r, err) : give_up(&r, err);
}
