/* server/core/log_pin.c - the newest checkpoint as the device remembers it, and what the database remembers of that (audit-log.md 5.5). */
#include "server/core/checkpoint_parts.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#define SIZE_LEN 8
#define CLAIM_OWNER "holdfast log key 1"
#define CLAIM_ORIGIN "directory"

kms_status log_pinned_read(struct store *store, struct log_pinned *ret, struct kms_err *err)
{
	struct log_pinned p = { 0 };
	struct store_meta m = { 0 };
	kms_status status = store_meta(store, LOG_META_PINNED, &m, NULL);

	if (status == KMS_OK) {
		if (m.value_len != LOG_PINNED_LEN)
			return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the record %s is damaged", LOG_META_PINNED);
		for (unsigned i = 0; i < SIZE_LEN; i++)
			p.size = p.size << 8 | m.value[i];
		memcpy(p.root, m.value + SIZE_LEN, sizeof(p.root));
	} else if (status != KMS_E_NOTFOUND) {
		return kms_fail(err, status, KMS_SRC_SELF, 0, "%s", LOG_META_PINNED);
	}
	*ret = p;
	return KMS_OK;
}

void log_pinned_encode(const struct log_pinned *p, struct store_meta *ret)
{
	memset(ret, 0, sizeof(*ret));
	(void)snprintf(ret->name, sizeof(ret->name), "%s", LOG_META_PINNED);
	for (unsigned i = 0; i < SIZE_LEN; i++)
		ret->value[i] = (uint8_t)(p->size >> 8 * (SIZE_LEN - 1 - i));
	memcpy(ret->value + SIZE_LEN, p->root, sizeof(p->root));
	ret->value_len = LOG_PINNED_LEN;
}

/* The device first: a record that names a pin which is not there would look like an older token. */
kms_status log_pin(struct kms *kms, const struct log_pinned *p, struct kms_err *err)
{
	struct hsm_pin pin = { .size = p->size };
	struct store_change change = { .kind = STORE_META_PUT };
	struct write unit = { .changes = &change, .change_count = 1 };

	memcpy(pin.owner, kms->inst.directory, sizeof(pin.owner));
	(void)snprintf(pin.origin, sizeof(pin.origin), "%s", kms->origin);
	memcpy(pin.root, p->root, sizeof(pin.root));
	KMS_TRY(hsm_pin(kms->hsm, &pin, err));
	log_pinned_encode(p, &change.meta);
	if (writer_write(kms->writer, &unit) != KMS_OK)
		return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the record of the pin could not be written");
	return KMS_OK;
}

kms_status log_claim(struct hsm *hsm, const struct installation *inst, const struct hsm_public *log_public, struct kms_err *err)
{
	struct hsm_pin found[HSM_PINS_MAX], claim = { .origin = CLAIM_ORIGIN };
	uint8_t input[sizeof(CLAIM_OWNER) + sizeof(log_public->point)] = CLAIM_OWNER, hash[SHA256_DIGEST_LENGTH];
	size_t count = 0;

	memcpy(input + sizeof(CLAIM_OWNER), log_public->point, log_public->point_len);
	SHA256(input, sizeof(CLAIM_OWNER) + log_public->point_len, hash);
	memcpy(claim.owner, hash, sizeof(claim.owner));
	memcpy(claim.root, inst->directory, sizeof(inst->directory));
	KMS_TRY(hsm_pins(hsm, claim.owner, found, HSM_PINS_MAX, &count, err));
	if (count == 0)
		return hsm_pin(hsm, &claim, err);
	if (count == 1 && strcmp(found[0].origin, claim.origin) == 0 && memcmp(found[0].root, claim.root, sizeof(claim.root)) == 0) /* allowed: public */
		return KMS_OK;
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0,
	                "the log key on the token signs for another directory than the database names: the database was altered, or belongs to another token");
}
