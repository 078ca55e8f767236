/* server/core/log_admin.c - the log key is changed, and a database that is older than what was signed is accepted. What `holdfast check` says: log_self_check.c. */
#include "server/core/log_admin.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/core/approval.h"
#include "server/core/canon.h"
#include "server/core/checkpoint_parts.h"
#include "server/core/log_accept.h"

#define META_LOG_KEY "log_key" /* the object of the present one (kms.c) */
#define GENERATIONS_MAX 64
#define SEAL_MS 10000
#define PARAMETERS_MAX 1024

/* ---- the log key ---- */

static bool same_id(const uint8_t a[HSM_ID_LEN], const uint8_t b[HSM_ID_LEN])
{
	return memcmp(a, b, HSM_ID_LEN) == 0; /* allowed: ids are public */
}

kms_status log_key_object(struct store *store, uint8_t ret_id[HSM_ID_LEN], struct kms_err *err)
{
	struct store_meta m = { 0 };

	KMS_TRY(store_meta(store, META_LOG_KEY, &m, err));
	if (m.value_len != HSM_ID_LEN)
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "installation record %s is damaged", META_LOG_KEY);
	memcpy(ret_id, m.value, HSM_ID_LEN);
	return KMS_OK;
}

/* The successor has signed when there is a checkpoint that covers its leaf: that one was signed with both. */
static kms_status has_signed(struct store *store, const struct store_log_key *k, bool *ret_has, struct kms_err *err)
{
	STORE_SIGNED_AUTO last = { 0 };
	kms_status status = store_checkpoint_last(store, &last, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "the newest checkpoint");
	*ret_has = status == KMS_OK && last.size >= k->from_size;
	return KMS_OK;
}

kms_status log_retire_keys(struct kms *kms, struct store *store, bool *ret_done, struct kms_err *err)
{
	struct store_log_key keys[GENERATIONS_MAX];
	uint8_t present[HSM_ID_LEN];
	size_t count = 0;

	*ret_done = false;
	KMS_TRY(log_key_object(store, present, err));
	KMS_TRY(store_log_keys(store, keys, GENERATIONS_MAX, &count, err));
	if (count > 0)
		KMS_TRY(has_signed(store, &keys[0], ret_done, err));
	/* The provider must look for the new key before the old one is destroyed, or the token would seem to be away. */
	hsm_set_log_key(kms->hsm, present);
	for (size_t i = 1; i < count && *ret_done; i++) {
		if (!same_id(keys[i].obj, present))
			KMS_TRY(hsm_key_destroy(kms->hsm, keys[i].obj, err));
	}
	return KMS_OK;
}

static kms_status read_present(struct op *op, struct store_log_key *ret, struct kms_err *err)
{
	size_t count = 0;

	KMS_TRY(store_log_keys(op->store, ret, 1, &count, err));
	return count == 1 ? KMS_OK : kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the log has no key yet");
}

static kms_status undo_key(struct op *op) { return hsm_key_destroy(op->kms->hsm, op->object, NULL); }

/* The leaf is durable. What cannot be done now the housekeeping does. */
static void key_rotated(struct op *op)
{
	bool done = false;

	if (log_seal(op->kms->log, op->write.seq, SEAL_MS, NULL) == KMS_OK)
		kms_ignore(log_retire_keys(op->kms, op->store, &done, NULL)); /* best effort: see above */
}

static kms_status make_key(struct op *op, char ret_vkey[NOTE_VKEY_MAX + 1], struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_LOG };
	struct hsm_info device = { 0 };
	struct hsm_public pub = { 0 };

	hsm_info(op->kms->hsm, &device);
	key.kind = (device.features & HSM_CAN_ED25519) != 0 ? HSM_KIND_ED25519 : HSM_KIND_P256;
	memcpy(key.id, op->object, HSM_ID_LEN);
	op->undo = undo_key;
	KMS_TRY(hsm_key_generate(op->kms->hsm, &key, &pub, err));
	if (!log_vkey_make(op->kms->origin, key.kind, &pub, ret_vkey))
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the public half of the new log key is not one of its kind");
	return log_claim(op->kms->hsm, &op->kms->inst, &pub, err);
}

kms_status log_rotate_key(struct op *op, char ret_old_vkey[NOTE_VKEY_MAX + 1], char ret_new_vkey[NOTE_VKEY_MAX + 1], struct kms_err *err)
{
	struct store_intent intent = { 0 };
	struct store_log_key old = { 0 };
	struct store_change *c = NULL;
	char vkey[NOTE_VKEY_MAX + 1];

	KMS_TRY(read_present(op, &old, err));
	if (!guid_random(op->object))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	memcpy(intent.obj, op->object, HSM_ID_LEN);
	KMS_TRY(op_intend(op, NULL, &intent, err));
	KMS_TRY(make_key(op, vkey, err));
	op_det_text(op, "old_key", old.vkey);
	op_det_text(op, "new_key", vkey);
	c = op_change(op, STORE_LOG_KEY_ADD);
	memcpy(c->log_key.obj, op->object, HSM_ID_LEN);
	(void)snprintf(c->log_key.vkey, sizeof(c->log_key.vkey), "%s", vkey);
	c->log_key.from_size = STORE_FROM_LEAF;
	c->log_key.created_s = clock_wall_s(op->kms->clock);
	c = op_change(op, STORE_META_PUT);
	(void)snprintf(c->meta.name, sizeof(c->meta.name), "%s", META_LOG_KEY);
	memcpy(c->meta.value, op->object, HSM_ID_LEN);
	c->meta.value_len = HSM_ID_LEN;
	op->after = key_rotated;
	(void)snprintf(ret_old_vkey, NOTE_VKEY_MAX + 1, "%s", old.vkey);
	(void)snprintf(ret_new_vkey, NOTE_VKEY_MAX + 1, "%s", vkey);
	return KMS_OK;
}

/* ---- acceptance ---- */

/* A damaged log has no verdict of its own: what is known of it is its last checkpoint. */
static kms_status verdict_of(struct op *op, struct log_verdict *ret, struct kms_err *err)
{
	STORE_SIGNED_AUTO last = { 0 };
	struct log_status s = { 0 };

	log_status(op->kms->log, &s);
	*ret = s.verdict;
	if (s.state == LOG_ROLLED_BACK)
		return KMS_OK;
	if (s.state != LOG_DAMAGED)
		return kms_refuse(err, KMS_E_CONFLICT, "The event log holds all that was signed: there is nothing to accept.");
	KMS_TRY(log_newest(op->kms->log, op->store, &last, err));
	*ret = (struct log_verdict){ .state = LOG_DAMAGED, .size = last.size, .has_known = true, .known_size = last.size };
	memcpy(ret->known_root, last.root, MERKLE_HASH_LEN);
	return KMS_OK;
}

static kms_status describe(struct op *op, const struct log_verdict *v, struct log_acceptance *ret, struct kms_err *err)
{
	log_origin_hash(op->kms->origin, ret->origin_hash);
	ret->size = v->size;
	KMS_TRY(merkle_root_at(v->size, log_get_node, op->store, ret->root, err));
	ret->has_known = v->has_known;
	log_origin_hash(v->known_origin, ret->known_origin_hash);
	ret->known_size = v->known_size;
	memcpy(ret->known_root, v->known_root, MERKLE_HASH_LEN);
	return KMS_OK;
}

/* What people agree to; names in their order. */
static kms_status write_parameters(const struct log_acceptance *a, const struct log_verdict *v, char ret_text[PARAMETERS_MAX], struct kms_err *err)
{
	struct canon c = { .buf = ret_text, .cap = PARAMETERS_MAX - 1 };
	char root[2 * MERKLE_HASH_LEN + 1];

	canon_open(&c, NULL);
	hex_encode(a->root, MERKLE_HASH_LEN, root);
	canon_token(&c, "found_root", root);
	canon_int(&c, "found_size", (int64_t)a->size);
	if (a->has_known) {
		if (v->known_origin[0] != '\0')
			canon_token(&c, "known_origin", v->known_origin);
		hex_encode(a->known_root, MERKLE_HASH_LEN, root);
		canon_token(&c, "known_root", root);
		canon_int(&c, "known_size", (int64_t)a->known_size);
	}
	canon_close(&c);
	if (c.is_over || c.cut_count > 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "the parameters of an acceptance are too long");
	ret_text[c.len] = '\0';
	return KMS_OK;
}

static void note_acceptance(struct op *op, const struct log_acceptance *a, const char *next, const char *reason)
{
	op_det_text(op, "step", "accept");
	op_det_text(op, "origin", op->kms->origin);
	op_det_text(op, "next_origin", next);
	op_det_number(op, "found_size", (int64_t)a->size);
	op_det_number(op, "known_size", (int64_t)a->known_size);
	op_det_text(op, "reason", reason);
}

static kms_status ask_approvers(struct op *op, const struct log_acceptance *a, const struct log_verdict *v, const char *reason, struct kms_err *err)
{
	char parameters[PARAMETERS_MAX];
	struct approval_need need = { .act = ACT_LOG_ACCEPT, .target = op->kms->origin, .parameters = parameters, .reason = reason, .quorum = 1,
		                      .is_installations = true };

	KMS_TRY(write_parameters(a, v, parameters, err));
	return approval_require(op, &need, err);
}

static kms_status seal(const struct op *op, struct log_acceptance *a, struct kms_err *err)
{
	a->approver_count = op->write.event.approver_count;
	for (size_t i = 0; i < a->approver_count; i++)
		a->approvers[i] = op->write.event.approvers[i];
	return log_acceptance_seal(op->kms->hsm, &op->kms->inst, a, err);
}

static void write_down(struct op *op, const struct log_acceptance *a)
{
	struct store_meta records[LOG_ACCEPTANCE_RECORDS];

	log_acceptance_encode(a, records);
	for (size_t i = 0; i < LOG_ACCEPTANCE_RECORDS; i++)
		op_change(op, STORE_META_PUT)->meta = records[i];
}

/* The device remembers the newest checkpoint of each log for ever: with no room for one more, the next log could not begin. */
static kms_status check_room_for_pin(const struct op *op, struct kms_err *err)
{
	struct hsm_pin pins[HSM_PINS_MAX];
	size_t count = 0;

	KMS_TRY(hsm_pins(op->kms->hsm, op->kms->inst.directory, pins, HSM_PINS_MAX, &count, err));
	if (count >= HSM_PINS_MAX)
		return kms_refuse(err, KMS_E_CONFLICT, "The token remembers %d logs already and has no room for another one; this installation needs a new token.", HSM_PINS_MAX);
	return KMS_OK;
}

kms_status log_accept(struct op *op, const char *reason, char ret_next_origin[STORE_ORIGIN_MAX + 1], struct kms_err *err)
{
	const struct store_intent intent = { 0 };
	struct log_acceptance a = { 0 };
	struct log_verdict v = { 0 };
	char next[STORE_ORIGIN_MAX + 1];

	KMS_TRY(verdict_of(op, &v, err));
	if (!log_next_origin(v.known_origin[0] != '\0' ? v.known_origin : op->kms->origin, next))
		return kms_refuse(err, KMS_E_CONFLICT, "The log's origin is too long to be continued; its next name would exceed %d characters.", STORE_ORIGIN_MAX);
	KMS_TRY(check_room_for_pin(op, err));
	KMS_TRY(describe(op, &v, &a, err));
	note_acceptance(op, &a, next, reason);
	KMS_TRY(ask_approvers(op, &a, &v, reason, err));
	KMS_TRY(seal(op, &a, err));
	KMS_TRY(op_expect_changes(op, LOG_ACCEPTANCE_RECORDS, err));
	KMS_TRY(op_intend(op, NULL, &intent, err));
	write_down(op, &a);
	(void)snprintf(ret_next_origin, STORE_ORIGIN_MAX + 1, "%s", next);
	return KMS_OK;
}
