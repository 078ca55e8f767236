/* server/core/certificate.c - destruction certificates: begun with the intent, due with the outcome, signed as soon as a checkpoint covers that. */
#include "server/core/certificate_parts.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/checkpoint_parts.h"
#include "server/core/destruction_parts.h"

#define ATTEST_SUFFIX "/attest/k1"
#define OPEN_PAGE 16
#define RAW_SIGNATURE_LEN 64

static const char *const BASES[BASIS_COUNT] = {
	[BASIS_OTHER] = "other",           [BASIS_ERASURE] = "gdpr-art17", [BASIS_CONTRACT_END] = "contract-end",
	[BASIS_COMPROMISE] = "compromise", [BASIS_RETENTION] = "retention",
};

const char *certificate_basis_name(enum certificate_basis basis) { return (unsigned)basis < BASIS_COUNT ? BASES[basis] : BASES[BASIS_OTHER]; }

enum certificate_basis certificate_basis_parse(const char *name)
{
	for (enum certificate_basis b = BASIS_OTHER; b < BASIS_COUNT; b++)
		if (strcmp(name, BASES[b]) == 0)
			return b;
	return BASIS_COUNT;
}

/* ---- the key ---- */

kms_status certificate_key(const struct kms *kms, const char *origin, struct note_key *ret, struct kms_err *err)
{
	char name[STORE_ORIGIN_MAX + sizeof(ATTEST_SUFFIX)];

	(void)snprintf(name, sizeof(name), "%.*s" ATTEST_SUFFIX, certificate_host_len(origin), origin);
	if (strlen(name) > NOTE_NAME_MAX || !log_note_key(name, HSM_KIND_P256, &kms->inst.attestation_public, ret))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "the attestation key has no verifier key");
	return KMS_OK;
}

kms_status certificate_vkey(const struct kms *kms, char ret_vkey[NOTE_VKEY_MAX + 1], struct kms_err *err)
{
	struct note_key key;

	KMS_TRY(certificate_key(kms, kms->origin, &key, err));
	note_vkey_format(&key, ret_vkey);
	return KMS_OK;
}

/* ---- the row ---- */

/* When the last of those whose approval counted gave it; 0 = it took none. */
static int64_t approved_at(const struct op *op)
{
	int64_t last_us = 0;

	for (size_t i = 0; i < op->write.event.approver_count; i++)
		if (op->write.event.approvers[i].at_us > last_us)
			last_us = op->write.event.approvers[i].at_us;
	return last_us;
}

kms_status certificate_begin(const struct op *op, enum store_certificate_scope scope, enum certificate_basis basis, struct store_certificate *ret,
                             struct kms_err *err)
{
	struct store_certificate c = { .scope = scope, .state = STORE_CERTIFICATE_BEGUN, .basis = (uint8_t)basis, .issued_s = STORE_NO_TIME,
	                               .until_s = STORE_NO_TIME };

	if (!guid_random(c.id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	if (op->has_vault)
		memcpy(c.vault_id, op->vault.id, STORE_ID_LEN);
	if (scope == STORE_CERTIFICATE_KEY)
		(void)snprintf(c.key_name, sizeof(c.key_name), "%s", op->key.name);
	c.approved_us = approved_at(op);
	c.created_s = clock_wall_s(op->kms->clock);
	*ret = c;
	return KMS_OK;
}

/* How it was destroyed; the weakest, where versions died in more than one way. */
static enum certificate_method method_of(const struct destruction *d)
{
	if (d->of == DESTRUCTION_OF_KEY)
		return d->versions > 0 ? METHOD_BLOB : METHOD_OBJECT;
	return d->of == DESTRUCTION_OF_ROOT || d->versions > 0 ? METHOD_ROOT : METHOD_OBJECT;
}

kms_status certificate_due(const struct destruction *d, struct store_certificate *ret, struct kms_err *err)
{
	static const uint8_t NONE[STORE_ID_LEN];
	STORE_CERTIFICATE_AUTO c = { 0 };
	struct kms_err failure = { 0 };
	kms_status status = store_certificate_of_intent(d->store, d->vault != NULL ? d->vault->id : NONE, d->intent, &c, &failure);

	if (status == KMS_E_NOTFOUND || (status == KMS_OK && c.state != STORE_CERTIFICATE_BEGUN))
		return KMS_E_NOTFOUND; /* an answer, not a failure: the act needs none */
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "certificate of intent %llu: %s", (unsigned long long)d->intent, failure.detail);
	free(c.checks);
	c.checks = NULL;
	KMS_TRY(certificate_checks(d, &c.checks, err));
	c.method = (uint8_t)method_of(d);
	c.destroyed_us = d->destroyed_us;
	c.verified_us = d->verified_us;
	c.state = STORE_CERTIFICATE_DUE;
	*ret = c;
	memset(&c, 0, sizeof(c)); /* what it owns is the caller's now */
	return KMS_OK;
}

/* ---- signed ---- */

static void free_text(char **text) { free(*text); }
#define TEXT_AUTO __attribute__((cleanup(free_text))) char

/* The attestation key's line, checked in software before anybody sees it (5.3). @param ret_line  NOTE_LINE_MAX + 1 */
static kms_status sign_text(struct kms *kms, const char *origin, const char *text, size_t len, char *ret_line, struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_ATTESTATION, .kind = HSM_KIND_P256 };
	uint8_t digest[SHA256_DIGEST_LENGTH], raw[HSM_SIGNATURE_MAX], der[NOTE_SIGNATURE_MAX];
	struct note_key name;
	TEXT_AUTO *note = NULL;
	size_t raw_len = 0;

	KMS_TRY(certificate_key(kms, origin, &name, err));
	memcpy(key.id, kms->inst.attestation_key, HSM_ID_LEN);
	SHA256((const uint8_t *)text, len, digest);
	KMS_TRY(hsm_sign(kms->hsm, &key, HSM_SIGN_ECDSA, digest, sizeof(digest), raw, &raw_len, err));
	if (raw_len != RAW_SIGNATURE_LEN)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a signature of %zu bytes", raw_len);
	(void)note_line_format(&name, der, note_der_signature(raw, der), ret_line);
	if (asprintf(&note, "%s\n%s", text, ret_line) < 0) {
		note = NULL;
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
	}
	if (note_verify_long(note, strlen(note), &name, err) != KMS_OK)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the device's signature is not one of the published attestation key");
	return KMS_OK;
}

static kms_status leaf_hash(struct store *store, uint64_t seq, uint8_t ret[STORE_HASH_LEN], struct kms_err *err)
{
	struct store_event e = { 0 };

	KMS_TRY(store_event(store, seq & STORE_SEQ_MAX, &e, err));
	memcpy(ret, e.hash, STORE_HASH_LEN);
	store_event_clear(&e);
	return KMS_OK;
}

/* The row alone is nobody's word: the log must say that this certificate was begun, and that what it is about was done. */
static kms_status check_leaves(struct store *store, const struct store_certificate *c, struct kms_err *err)
{
	char begun[3][DESTRUCTION_MEMBER_MAX] = { "\"phase\":\"intent\"" }, done[4][DESTRUCTION_MEMBER_MAX] = { "\"phase\":\"outcome\"", "\"result\":\"ok\"" };
	char id[GUID_TEXT_LEN + 1];
	bool has_begun = false, is_done = false;

	guid_format(c->id, id);
	(void)snprintf(begun[1], sizeof(begun[1]), "\"certificate\":\"%s\"", id);
	guid_format(c->vault_id, id);
	(void)snprintf(begun[2], sizeof(begun[2]), "\"tenant\":\"%s\"", id);
	memcpy(done[2], begun[2], sizeof(done[2]));
	(void)snprintf(done[3], sizeof(done[3]), "\"ref\":%llu,", (unsigned long long)(c->intent & STORE_SEQ_MAX));
	KMS_TRY(destruction_leaf_says(store, c->intent & STORE_SEQ_MAX, (const char (*)[DESTRUCTION_MEMBER_MAX])begun, KMS_ARRAY_LEN(begun), &has_begun, err));
	if (!has_begun) { /* of a leaf that is too large only a hash of such members is kept */
		(void)snprintf(begun[1], sizeof(begun[1]), "\"big\":true");
		KMS_TRY(destruction_leaf_says(store, c->intent & STORE_SEQ_MAX, (const char (*)[DESTRUCTION_MEMBER_MAX])begun, KMS_ARRAY_LEN(begun), &has_begun, err));
	}
	KMS_TRY(destruction_leaf_says(store, c->outcome & STORE_SEQ_MAX, (const char (*)[DESTRUCTION_MEMBER_MAX])done, KMS_ARRAY_LEN(done), &is_done, err));
	if (has_begun && is_done)
		return KMS_OK;
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the database was altered: the log does not say what a certificate says; not signed");
}

/* Both leaves, and the checkpoint that covers them. One that was signed before names its own, whose log may have been closed since. */
static kms_status place(struct kms *kms, struct store *store, struct store_certificate *c, struct kms_err *err)
{
	STORE_SIGNED_AUTO newest = { 0 };

	if (c->state != STORE_CERTIFICATE_DUE)
		return KMS_OK;
	KMS_TRY(log_seal(kms->log, c->outcome & STORE_SEQ_MAX, 0, err));
	KMS_TRY(store_checkpoint_last(store, &newest, err));
	if (newest.size <= (c->outcome & STORE_SEQ_MAX))
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "no checkpoint covers the end of the destruction yet");
	c->size = newest.size;
	memcpy(c->root, newest.root, STORE_HASH_LEN);
	KMS_TRY(check_leaves(store, c, err));
	KMS_TRY(leaf_hash(store, c->intent, c->intent_leaf, err));
	return leaf_hash(store, c->outcome, c->outcome_leaf, err);
}

static void replace(char **text, char *by)
{
	free(*text);
	*text = by;
}

struct epoch_keys {
	struct id_list ids;
	kms_status status;
};

static bool note_epoch_key(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	struct epoch_keys *keys = arg;

	if (is_ours && purpose == HSM_FOR_BACKUP)
		keys->status = id_list_add(&keys->ids, id, NULL);
	return keys->status == KMS_OK;
}

static void epoch_keys_clear(struct epoch_keys *keys) { id_list_clear(&keys->ids); }

/* What a complete certificate relies on: the device holds no key of an epoch that the database calls ended. */
static kms_status check_epochs_are_dead(struct kms *kms, struct store *store, struct kms_err *err)
{
	__attribute__((cleanup(epoch_keys_clear))) struct epoch_keys keys = { .status = KMS_OK };
	struct store_epoch e = { 0 };

	KMS_TRY(hsm_keys_list(kms->hsm, note_epoch_key, &keys, err));
	if (keys.status != KMS_OK)
		return kms_fail(err, keys.status, KMS_SRC_SELF, 0, "keys of backup epochs");
	for (size_t i = 0; i < keys.ids.count; i++) {
		kms_status status = store_epoch_of_object(store, keys.ids.ids[i], &e, NULL);
		if (status == KMS_OK && e.ended_s != STORE_NO_TIME)
			return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the key of backup epoch %u lives, which is said to have ended: a certificate is not signed", (unsigned)e.number);
		if (status != KMS_OK && status != KMS_E_NOTFOUND)
			return kms_fail(err, status, KMS_SRC_SELF, 0, "backup epoch of a key");
	}
	return KMS_OK;
}

/* What is said of the copies, and with it whether this is the last word. @return KMS_OK | KMS_E_CONFLICT (pending as before) */
static kms_status judge_copies(struct kms *kms, struct store *store, struct store_certificate *c, struct kms_err *err)
{
	struct certificate_copies copies = { .until_s = STORE_NO_TIME };
	struct store_revival revival = { 0 };

	if (c->state == STORE_CERTIFICATE_PENDING && c->scope == STORE_CERTIFICATE_KEY)
		KMS_TRY(store_revival(store, c->vault_id, c->intent, &revival, err));
	if (revival.lives || revival.may_linger)
		return KMS_E_CONFLICT; /* the key has come back from one of its backups: it is dead when that one is, and what was made of that one too */
	if (c->state == STORE_CERTIFICATE_PENDING)
		KMS_TRY(certificate_copies_ended(store, c, &copies.text, err));
	else
		KMS_TRY(certificate_copies(kms, store, c, &copies, err));
	replace(&c->copies, copies.text);
	c->until_s = copies.until_s;
	c->state = copies.until_s == STORE_NO_TIME ? STORE_CERTIFICATE_COMPLETE : STORE_CERTIFICATE_PENDING;
	return c->state == STORE_CERTIFICATE_COMPLETE && c->method == METHOD_BLOB ? check_epochs_are_dead(kms, store, err) : KMS_OK;
}

static kms_status describe(struct kms *kms, struct store_certificate *c, struct kms_err *err)
{
	struct hsm_info device = { 0 };
	char *text = NULL;

	hsm_info(kms->hsm, &device);
	KMS_TRY(certificate_device(&device, &text, err));
	replace(&c->hsm, text);
	KMS_TRY(certificate_residual(&device, (enum certificate_method)c->method, &text, err));
	replace(&c->residual, text);
	return KMS_OK;
}

static kms_status store_signed_certificate(struct kms *kms, const struct store_certificate *c, struct kms_err *err)
{
	struct store_change change = { .kind = STORE_CERTIFICATE_SET, .certificate = *c };
	struct write unit = { .event = { .type = EVENT_NONE }, .changes = &change, .change_count = 1 };
	kms_status status = writer_write(kms->writer, &unit);

	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "certificate");
}

/* @return KMS_OK | KMS_E_CONFLICT (it waits for a backup to end) | … */
static kms_status issue(struct kms *kms, struct store *store, struct store_certificate *c, struct kms_err *err)
{
	TEXT_AUTO *text = NULL;
	char line[NOTE_LINE_MAX + 1];
	size_t len = 0;

	KMS_TRY(place(kms, store, c, err));
	KMS_TRY(judge_copies(kms, store, c, err));
	KMS_TRY(describe(kms, c, err));
	KMS_TRY(certificate_text(store, c, &text, &len, err));
	KMS_TRY(sign_text(kms, c->origin, text, len, line, err));
	replace(&c->signatures, strdup(line)); /* approvers sign this one anew: it says something else */
	if (c->signatures == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
	c->issued_s = clock_wall_s(kms->clock);
	return store_signed_certificate(kms, c, err);
}

kms_status certificates_issue(struct kms *kms, struct store *store, size_t *ret_issued, struct kms_err *err)
{
	struct store_certificate page[OPEN_PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	kms_status result = KMS_OK;
	size_t count = 0;

	*ret_issued = 0;
	do {
		KMS_TRY(store_certificates(store, NULL, cursor, true, page, OPEN_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			struct kms_err own = { 0 };
			kms_status status = issue(kms, store, &page[i], &own);

			memcpy(after, page[i].id, STORE_ID_LEN);
			store_certificate_clear(&page[i]);
			*ret_issued += status == KMS_OK;
			/* Fenced: somebody else has signed it meanwhile. */
			if (status != KMS_OK && status != KMS_E_CONFLICT && status != KMS_E_FENCED && result == KMS_OK) {
				result = status;
				if (err != NULL && err->status == KMS_OK)
					*err = own;
			}
		}
		cursor = after;
	} while (count == OPEN_PAGE);
	return result;
}

kms_status certificate_note(struct store *store, const struct store_certificate *c, char **ret_note, struct kms_err *err)
{
	TEXT_AUTO *text = NULL;
	size_t len = 0;

	if (c->state == STORE_CERTIFICATE_BEGUN)
		return kms_refuse(err, KMS_E_CONFLICT, "The certificate is not signed yet: the destruction is under way, and goes on by itself.");
	if (c->state == STORE_CERTIFICATE_DUE)
		return kms_refuse(err, KMS_E_CONFLICT, "The certificate is not signed yet: it waits for a checkpoint of the log, or for the HSM. Try again in a minute.");
	KMS_TRY(certificate_text(store, c, &text, &len, err));
	if (asprintf(ret_note, "%s\n%s", text, c->signatures) < 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "certificate");
	return KMS_OK;
}

kms_status certificate_is_revived(struct store *store, const struct store_certificate *c, bool *ret_is, int64_t *ret_made_us, struct kms_err *err)
{
	struct store_revival revival = { .made_seq = STORE_NO_SEQ };
	struct store_event e = { 0 };

	*ret_is = false;
	*ret_made_us = STORE_NO_TIME;
	if (c->scope != STORE_CERTIFICATE_KEY)
		return KMS_OK;
	KMS_TRY(store_revival(store, c->vault_id, c->intent, &revival, err));
	*ret_is = revival.lives;
	if (!revival.lives || revival.made_seq == STORE_NO_SEQ)
		return KMS_OK;
	KMS_TRY(store_event(store, revival.made_seq, &e, err));
	*ret_made_us = e.ts_us;
	store_event_clear(&e);
	return KMS_OK;
}

kms_status certificate_of_shred(struct store *store, const uint8_t vault_id[STORE_ID_LEN], uint8_t ret_id[STORE_ID_LEN], struct kms_err *err)
{
	struct store_certificate page[OPEN_PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	kms_status result = KMS_E_NOTFOUND;
	size_t count = 0;

	do {
		KMS_TRY(store_certificates(store, vault_id, cursor, false, page, OPEN_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			memcpy(after, page[i].id, STORE_ID_LEN);
			if (page[i].scope == STORE_CERTIFICATE_TENANT) {
				memcpy(ret_id, page[i].id, STORE_ID_LEN);
				result = KMS_OK;
			}
			store_certificate_clear(&page[i]);
		}
		cursor = after;
	} while (count == OPEN_PAGE && result != KMS_OK);
	return result;
}
