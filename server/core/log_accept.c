/* server/core/log_accept.c - the acceptance of a rolled-back log as meta records: a head, and those of its approvers. */
#include "server/core/log_accept.h"

#include <assert.h>
#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/base/log.h"
#include "server/core/checkpoint_parts.h"

#define META_HEAD "log_accept"
#define META_APPROVERS "log_accept_by_%zu"
#define VERSION 1
#define FLAG_KNOWN 1U
#define NUMBER_LEN 8
#define HEAD_LEN (3 + 2 * STORE_HASH_LEN + 2 * NUMBER_LEN + 2 * MERKLE_HASH_LEN + LOG_ACCEPTANCE_MAC_LEN)
/* The pseudonym key makes it: no pseudonym's input can be this text, since each has a NUL between issuer and subject. */
#define MAC_INPUT "holdfast log acceptance 1 "
#define KID_LEN 8
#define PID_LEN 16
#define APPROVER_LEN (PID_LEN + NUMBER_LEN + 1 + KID_LEN)
#define APPROVERS_EACH 6
_Static_assert(HEAD_LEN <= STORE_META_VALUE_MAX && 1 + APPROVERS_EACH * APPROVER_LEN <= STORE_META_VALUE_MAX, "each fits into a record");
_Static_assert((LOG_ACCEPTANCE_RECORDS - 1) * APPROVERS_EACH >= STORE_APPROVERS_MAX, "all of them");
_Static_assert(sizeof(((struct event_approver *)0)->kid) == KID_LEN + 1, "eight hex digits");

static const char *const CREDS[] = { "jwt", "certificate" };

/* A record while it is written or read. */
struct cursor {
	uint8_t *at;
	const uint8_t *end; /* reading only */
};

static void put(struct cursor *c, const void *bytes, size_t len)
{
	memcpy(c->at, bytes, len);
	c->at += len;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static void put_byte(struct cursor *c, uint8_t byte) { put(c, &byte, 1); }

static void put_number(struct cursor *c, uint64_t n)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		put_byte(c, (uint8_t)(n >> shift));
}

/* Callers have checked the record's length. */
static void get(struct cursor *c, void *ret, size_t len)
{
	assert((size_t)(c->end - c->at) >= len);
	memcpy(ret, c->at, len);
	c->at += len;
}

static uint8_t get_byte(struct cursor *c)
{
	uint8_t byte = 0;

	get(c, &byte, 1);
	return byte;
}

static uint64_t get_number(struct cursor *c)
{
	uint64_t n = 0;

	for (int i = 0; i < NUMBER_LEN; i++)
		n = n << 8 | get_byte(c);
	return n;
}

static void encode_head(const struct log_acceptance *a, struct store_meta *ret)
{
	struct cursor c = { .at = ret->value };

	(void)snprintf(ret->name, sizeof(ret->name), "%s", META_HEAD);
	put_byte(&c, VERSION);
	put_byte(&c, a->has_known ? FLAG_KNOWN : 0);
	put_byte(&c, (uint8_t)a->approver_count);
	put(&c, a->origin_hash, STORE_HASH_LEN);
	put_number(&c, a->size);
	put(&c, a->root, MERKLE_HASH_LEN);
	put_number(&c, a->known_size);
	put(&c, a->known_root, MERKLE_HASH_LEN);
	put(&c, a->known_origin_hash, STORE_HASH_LEN);
	put(&c, a->mac, sizeof(a->mac));
	ret->value_len = (size_t)(c.at - ret->value);
}

/* The first byte is the version, so that a record is never as long as the id of an object. */
static void encode_approvers(const struct log_acceptance *a, size_t part, struct store_meta *ret)
{
	struct cursor c = { .at = ret->value };
	size_t to = smaller((part + 1) * APPROVERS_EACH, a->approver_count);

	(void)snprintf(ret->name, sizeof(ret->name), META_APPROVERS, part + 1);
	put_byte(&c, VERSION);
	for (size_t i = part * APPROVERS_EACH; i < to; i++) {
		const struct event_approver *p = &a->approvers[i];

		put(&c, p->pid, PID_LEN);
		put_number(&c, (uint64_t)p->at_us);
		put_byte(&c, strcmp(p->cred, CREDS[1]) == 0);
		put(&c, p->kid, KID_LEN); /* zeros when there is none */
	}
	ret->value_len = (size_t)(c.at - ret->value);
}

void log_acceptance_encode(const struct log_acceptance *a, struct store_meta ret[LOG_ACCEPTANCE_RECORDS])
{
	assert(a->approver_count <= STORE_APPROVERS_MAX);
	memset(ret, 0, LOG_ACCEPTANCE_RECORDS * sizeof(*ret));
	encode_head(a, &ret[0]);
	for (size_t i = 0; i + 1 < LOG_ACCEPTANCE_RECORDS; i++)
		encode_approvers(a, i, &ret[i + 1]);
}

static kms_status damaged(const char *name, struct kms_err *err)
{
	return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the record %s is damaged, or of a newer holdfastd", name);
}

static kms_status read_approvers(struct store *store, size_t from, struct log_acceptance *ret, struct kms_err *err)
{
	size_t to = smaller(from + APPROVERS_EACH, ret->approver_count);
	struct store_meta m = { 0 };
	struct cursor c = { .at = m.value };
	char name[sizeof(META_APPROVERS) + 20];

	(void)snprintf(name, sizeof(name), META_APPROVERS, from / APPROVERS_EACH + 1);
	KMS_TRY(store_meta(store, name, &m, err));
	if (m.value_len != 1 + (to - from) * APPROVER_LEN || m.value[0] != VERSION)
		return damaged(name, err);
	c.end = m.value + m.value_len;
	(void)get_byte(&c);
	for (size_t i = from; i < to; i++) {
		struct event_approver *p = &ret->approvers[i];

		get(&c, p->pid, PID_LEN);
		p->at_us = (int64_t)get_number(&c);
		p->cred = CREDS[get_byte(&c) != 0];
		get(&c, p->kid, KID_LEN);
	}
	return KMS_OK;
}

kms_status log_acceptance_read(struct store *store, struct log_acceptance *ret, struct kms_err *err)
{
	struct log_acceptance a = { 0 };
	struct store_meta m = { 0 };
	struct cursor c = { .at = m.value };
	kms_status status = store_meta(store, META_HEAD, &m, NULL);

	if (status == KMS_E_NOTFOUND)
		return status;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "%s", META_HEAD);
	if (m.value_len != HEAD_LEN || m.value[0] != VERSION || m.value[1] > FLAG_KNOWN || m.value[2] > STORE_APPROVERS_MAX)
		return damaged(META_HEAD, err);
	c.end = m.value + m.value_len;
	(void)get_byte(&c);
	a.has_known = get_byte(&c) == FLAG_KNOWN;
	a.approver_count = get_byte(&c);
	get(&c, a.origin_hash, STORE_HASH_LEN);
	a.size = get_number(&c);
	get(&c, a.root, MERKLE_HASH_LEN);
	a.known_size = get_number(&c);
	get(&c, a.known_root, MERKLE_HASH_LEN);
	get(&c, a.known_origin_hash, STORE_HASH_LEN);
	get(&c, a.mac, sizeof(a.mac));
	for (size_t i = 0; i < a.approver_count; i += APPROVERS_EACH)
		KMS_TRY(read_approvers(store, i, &a, err));
	*ret = a;
	return KMS_OK;
}

/* Of what is written, but for the mac. */
static kms_status make_mac(struct hsm *hsm, const struct installation *inst, const struct log_acceptance *a, uint8_t ret_mac[LOG_ACCEPTANCE_MAC_LEN],
                           struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };
	struct store_meta records[LOG_ACCEPTANCE_RECORDS];
	struct log_acceptance bare = *a;
	uint8_t all[LOG_ACCEPTANCE_RECORDS * (1 + STORE_META_VALUE_MAX)], hash[SHA256_DIGEST_LENGTH], mac[HSM_SIGNATURE_MAX];
	char input[sizeof(MAC_INPUT) + 2 * SHA256_DIGEST_LENGTH] = MAC_INPUT;
	struct cursor c = { .at = all };
	size_t len = 0;

	memset(bare.mac, 0, sizeof(bare.mac));
	log_acceptance_encode(&bare, records);
	for (size_t i = 0; i < LOG_ACCEPTANCE_RECORDS; i++) {
		put_byte(&c, (uint8_t)records[i].value_len);
		put(&c, records[i].value, records[i].value_len);
	}
	SHA256(all, (size_t)(c.at - all), hash);
	hex_encode(hash, sizeof(hash), input + strlen(MAC_INPUT));
	memcpy(key.id, inst->pseudonym_key, HSM_ID_LEN);
	KMS_TRY(hsm_sign(hsm, &key, HSM_SIGN_HMAC_SHA256, (const uint8_t *)input, strlen(input), mac, &len, err));
	if (len != LOG_ACCEPTANCE_MAC_LEN)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a mac of %zu bytes", len);
	memcpy(ret_mac, mac, len);
	return KMS_OK;
}

kms_status log_acceptance_seal(struct hsm *hsm, const struct installation *inst, struct log_acceptance *a, struct kms_err *err)
{
	return make_mac(hsm, inst, a, a->mac, err);
}

kms_status log_acceptance_take(struct store *store, struct hsm *hsm, const struct installation *inst, struct log_acceptance *ret, struct kms_err *err)
{
	struct log_acceptance a = { 0 };
	uint8_t mac[LOG_ACCEPTANCE_MAC_LEN];

	KMS_TRY(log_acceptance_read(store, &a, err));
	KMS_TRY(make_mac(hsm, inst, &a, mac, err));
	if (CRYPTO_memcmp(mac, a.mac, sizeof(mac)) != 0) {
		log_event(LOG_ERROR, "log_acceptance_forged", LOG_S("record", META_HEAD));
		return KMS_E_NOTFOUND;
	}
	*ret = a;
	return KMS_OK;
}

static bool same_hash(const uint8_t a[STORE_HASH_LEN], const uint8_t b[STORE_HASH_LEN])
{
	return memcmp(a, b, STORE_HASH_LEN) == 0; /* allowed: hashes are public */
}

void log_origin_hash(const char *origin, uint8_t ret_hash[STORE_HASH_LEN]) { SHA256((const uint8_t *)origin, strlen(origin), ret_hash); }

kms_status log_acceptance_holds(struct store *store, const struct log_acceptance *a, const char *origin, const struct log_verdict *now, bool *ret_holds,
                                struct kms_err *err)
{
	uint8_t hash[STORE_HASH_LEN], root[MERKLE_HASH_LEN];
	uint64_t size = 0;

	*ret_holds = false;
	log_origin_hash(origin, hash);
	if (!same_hash(hash, a->origin_hash))
		return KMS_OK;
	KMS_TRY(store_event_count(store, &size, err));
	if (size < a->size)
		return KMS_OK;
	KMS_TRY(merkle_root_at(a->size, log_get_node, store, root, err));
	if (!same_hash(root, a->root))
		return KMS_OK;
	log_origin_hash(now->known_origin, hash);
	if (now->state == LOG_GOOD && a->has_known && a->known_size > a->size && a->known_size <= size) {
		KMS_TRY(merkle_root_at(a->known_size, log_get_node, store, root, err));
		if (same_hash(root, a->known_root))
			return KMS_OK;
	}
	*ret_holds = now->state == LOG_GOOD ||
	             (now->has_known == a->has_known &&
	              (!a->has_known || (now->known_size == a->known_size && same_hash(now->known_root, a->known_root) && same_hash(hash, a->known_origin_hash))));
	return KMS_OK;
}

bool log_next_origin(const char *origin, char ret_next[STORE_ORIGIN_MAX + 1])
{
	size_t len = strlen(origin), at = len;
	unsigned long long number = 0;
	int next_len = 0;

	while (at > 0 && isdigit((unsigned char)origin[at - 1]))
		at--;
	/* So many digits are no count of ours. */
	if (len - at > 9)
		at = len;
	for (size_t i = at; i < len; i++)
		number = 10 * number + (unsigned)(origin[i] - '0');
	next_len = at < len ? snprintf(ret_next, STORE_ORIGIN_MAX + 1, "%.*s%llu", (int)at, origin, number + 1)
	                    : snprintf(ret_next, STORE_ORIGIN_MAX + 1, "%s/2", origin);
	return next_len > 0 && next_len <= STORE_ORIGIN_MAX;
}
