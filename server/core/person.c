/* server/core/person.c - see person.h: keys, the cache, and the records of callers. What reads and erases them: person_admin.c. */
#include "server/core/person.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/canon.h"
#include "server/core/person_parts.h"

/* No pseudonym's input can be this text: each has a NUL between issuer and subject. */
#define KEY_INPUT "holdfast person key 1"
#define KEY_LEN 32
#define KEYS_MAX 128 /* vaults whose key is at hand */
#define NONCE_LEN 12
#define TAG_LEN 16
#define SEALED_VERSION 1
#define SEALED_EXTRA (1 + NONCE_LEN + TAG_LEN)
#define SALT_LEN 16
#define SHAPE_LEN 32
#define WAYS 4
#define SETS 1024     /* of the cache, WAYS records each */
#define CALLERS 256   /* of a vault, told apart by their pseudonyms; those that share a place share: */
#define AGENTS_MAX 512 /* records with a user agent, a day */
#define DAY_S 86400
#define TURN_S 60
_Static_assert(PERSON_TEXT_MAX + SEALED_EXTRA <= STORE_SEALED_MAX, "a record fits its row");

struct vault_key {
	uint8_t vault_id[STORE_ID_LEN];
	struct secret *key; /* owned; NULL = a free place */
	uint64_t used;
	uint16_t made_of[CALLERS]; /* records with a user agent, on `day`: here, so that no tenant uses up what others have */
	int64_t day;
};

/* A record that is in the database. */
struct entry {
	uint8_t shape[SHAPE_LEN]; /* vault, caller, address, agent and day */
	uint8_t vault_id[STORE_ID_LEN], pid[16];
	uint64_t ref, used; /* used 0 = a free place */
	uint8_t commitment[32];
};

struct persons {
	pthread_mutex_t lock; /* guards all that follows; no call of the device is made under it */
	struct vault_key keys[KEYS_MAX];
	struct entry entries[SETS][WAYS];
	uint8_t wanted[KEYS_MAX][STORE_ID_LEN]; /* vaults that were met without their key since the last turn */
	size_t wanted_count;
	uint64_t tick, generation; /* generation: raised with each drop, so that nothing comes back that was on its way */
	uint8_t secret[SALT_LEN];  /* so that nobody outside can choose who shares a place */
	int64_t turned_s;
	bool is_awake;
	struct persons_count count;
};

static bool same(const uint8_t *a, const uint8_t *b, size_t len) { return memcmp(a, b, len) == 0; /* allowed: ids and hashes are public */ }

kms_status persons_new(struct persons **ret, struct kms_err *err)
{
	struct persons *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "records of persons");
	if (RAND_bytes(p->secret, sizeof(p->secret)) != 1) {
		free(p);
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	}
	pthread_mutex_init(&p->lock, NULL);
	p->is_awake = true;
	*ret = p;
	return KMS_OK;
}

void persons_free(struct persons *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < KEYS_MAX; i++)
		secret_free(p->keys[i].key);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void drop_key(struct persons *p, const uint8_t vault_id[STORE_ID_LEN])
{
	for (size_t i = 0; i < KEYS_MAX; i++) {
		if (p->keys[i].key == NULL || !same(p->keys[i].vault_id, vault_id, STORE_ID_LEN))
			continue;
		secret_free(p->keys[i].key);
		p->keys[i] = (struct vault_key){ 0 };
	}
}

void persons_drop(struct persons *p, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *pid)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->generation++;
	if (pid == NULL)
		drop_key(p, vault_id);
	for (size_t s = 0; s < SETS; s++)
		for (size_t w = 0; w < WAYS; w++) {
			struct entry *e = &p->entries[s][w];
			if (e->used != 0 && same(e->vault_id, vault_id, STORE_ID_LEN) && (pid == NULL || same(e->pid, pid, sizeof(e->pid))))
				OPENSSL_cleanse(e, sizeof(*e));
		}
	pthread_mutex_unlock(&p->lock);
}

void persons_wake(struct persons *p)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->is_awake = true;
	pthread_mutex_unlock(&p->lock);
}

bool persons_are_due(struct persons *p, int64_t now_s)
{
	bool is_due = false;

	pthread_mutex_lock(&p->lock);
	is_due = p->is_awake || now_s < p->turned_s || now_s - p->turned_s >= TURN_S;
	if (is_due)
		p->turned_s = now_s;
	p->is_awake = false;
	pthread_mutex_unlock(&p->lock);
	return is_due;
}

void persons_turned(struct persons *p)
{
	pthread_mutex_lock(&p->lock);
	p->wanted_count = 0;
	pthread_mutex_unlock(&p->lock);
}

void persons_count(struct persons *p, struct persons_count *ret)
{
	pthread_mutex_lock(&p->lock);
	*ret = p->count;
	pthread_mutex_unlock(&p->lock);
}

/* ---- keys ---- */

static struct vault_key *look_for_key(struct persons *p, const uint8_t vault_id[STORE_ID_LEN])
{
	for (size_t i = 0; i < KEYS_MAX; i++)
		if (p->keys[i].key != NULL && same(p->keys[i].vault_id, vault_id, STORE_ID_LEN))
			return &p->keys[i];
	return NULL;
}

static struct vault_key *use_key(struct persons *p, const uint8_t vault_id[STORE_ID_LEN])
{
	struct vault_key *k = look_for_key(p, vault_id);

	if (k != NULL)
		k->used = ++p->tick;
	return k;
}

static bool is_wanted(const struct persons *p, const uint8_t vault_id[STORE_ID_LEN])
{
	for (size_t i = 0; i < p->wanted_count; i++)
		if (same(p->wanted[i], vault_id, STORE_ID_LEN))
			return true;
	return false;
}

/* A free place, or that of the key that was not used for longest. @param may_push  another one may go */
static struct vault_key *find_place(struct persons *p, bool may_push)
{
	struct vault_key *oldest = &p->keys[0];

	for (size_t i = 0; i < KEYS_MAX; i++) {
		if (p->keys[i].key == NULL)
			return &p->keys[i];
		if (p->keys[i].used < oldest->used)
			oldest = &p->keys[i];
	}
	return may_push ? oldest : NULL;
}

static kms_status derive(struct kms *kms, const struct store_vault *v, struct secret **ret_key, struct kms_err *err)
{
	struct hsm_key key = { .purpose = HSM_FOR_PSEUDONYMS, .kind = HSM_KIND_HMAC };
	ERASE_AUTO(uint8_t, mac, HSM_SIGNATURE_MAX);
	struct hsm_info device = { 0 };
	size_t len = 0;

	hsm_info(kms->hsm, &device);
	if (!device.is_available)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the device is away");
	memcpy(key.id, v->pseudonym_id, HSM_ID_LEN);
	KMS_TRY(hsm_sign(kms->hsm, &key, HSM_SIGN_HMAC_SHA256, (const uint8_t *)KEY_INPUT, strlen(KEY_INPUT), mac, &len, err));
	*ret_key = len == KEY_LEN ? secret_from(mac, len) : NULL;
	return *ret_key != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "key of persons");
}

/* Unless something was dropped meanwhile: it might have been this vault. */
static kms_status load_key(struct kms *kms, const struct store_vault *v, bool may_push, struct kms_err *err)
{
	struct persons *p = kms->persons;
	SECRET_AUTO *key = NULL;
	uint64_t generation = 0;
	struct vault_key *place = NULL;

	pthread_mutex_lock(&p->lock);
	generation = p->generation;
	pthread_mutex_unlock(&p->lock);
	KMS_TRY(derive(kms, v, &key, err));
	pthread_mutex_lock(&p->lock);
	if (p->generation == generation && look_for_key(p, v->id) == NULL)
		place = find_place(p, may_push);
	if (place != NULL) {
		secret_free(place->key);
		*place = (struct vault_key){ .key = KMS_TAKE(key), .used = ++p->tick };
		memcpy(place->vault_id, v->id, STORE_ID_LEN);
	}
	pthread_mutex_unlock(&p->lock);
	return KMS_OK;
}

kms_status person_load_key(struct kms *kms, const struct store_vault *v, struct kms_err *err)
{
	struct persons *p = kms->persons;
	bool is_there = false, wanted = false;

	pthread_mutex_lock(&p->lock);
	wanted = is_wanted(p, v->id);
	is_there = look_for_key(p, v->id) != NULL || (!wanted && find_place(p, false) == NULL);
	pthread_mutex_unlock(&p->lock);
	return is_there ? KMS_OK : load_key(kms, v, wanted, err);
}

/* ---- sealing ---- */

#define AAD_LEN (STORE_ID_LEN + 8 + 16)
/* Vault, number and caller are bound to it: no row can stand in for another. */
static void associate(const struct store_person *row, uint8_t ret[AAD_LEN])
{
	memcpy(ret, row->vault_id, STORE_ID_LEN);
	for (int i = 0; i < 8; i++)
		ret[STORE_ID_LEN + i] = (uint8_t)(row->ref >> (56 - 8 * i));
	memcpy(ret + STORE_ID_LEN + 8, row->pid, sizeof(row->pid));
}

static void cipher_free_at(EVP_CIPHER_CTX **c) { EVP_CIPHER_CTX_free(*c); }

static bool encrypt(const struct secret *key, const uint8_t aad[AAD_LEN], const char *text, size_t len, uint8_t *sealed)
{
	__attribute__((cleanup(cipher_free_at))) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t *nonce = sealed + 1, *out = nonce + NONCE_LEN;
	int done = 0, rest = 0;

	sealed[0] = SEALED_VERSION;
	return c != NULL && RAND_bytes(nonce, NONCE_LEN) == 1 && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, secret_data(key), nonce) == 1 &&
	       EVP_EncryptUpdate(c, NULL, &done, aad, AAD_LEN) == 1 && EVP_EncryptUpdate(c, out, &done, (const uint8_t *)text, (int)len) == 1 &&
	       EVP_EncryptFinal_ex(c, out + done, &rest) == 1 && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_LEN, out + len) == 1;
}

static bool decrypt(const struct secret *key, const uint8_t aad[AAD_LEN], const uint8_t *sealed, size_t len, char *text)
{
	__attribute__((cleanup(cipher_free_at))) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t tag[TAG_LEN];
	int done = 0, rest = 0;

	memcpy(tag, sealed + 1 + NONCE_LEN + len, TAG_LEN);
	return c != NULL && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, secret_data(key), sealed + 1) == 1 &&
	       EVP_DecryptUpdate(c, NULL, &done, aad, AAD_LEN) == 1 && EVP_DecryptUpdate(c, (uint8_t *)text, &done, sealed + 1 + NONCE_LEN, (int)len) == 1 &&
	       EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag) == 1 && EVP_DecryptFinal_ex(c, (uint8_t *)text + done, &rest) == 1;
}

/* With the key at hand, under the lock: a record is made or read in microseconds, and the key is in one place only. @return KMS_E_NOTFOUND: it is not at hand */
static kms_status try_seal(struct persons *p, const uint8_t aad[AAD_LEN], const char *text, size_t len, struct store_person *row)
{
	kms_status status = KMS_E_NOTFOUND;
	struct vault_key *k = NULL;

	pthread_mutex_lock(&p->lock);
	k = use_key(p, row->vault_id);
	if (k != NULL)
		status = encrypt(k->key, aad, text, len, row->sealed) ? KMS_OK : KMS_E_INTERNAL;
	pthread_mutex_unlock(&p->lock);
	row->sealed_len = len + SEALED_EXTRA;
	return status;
}

kms_status person_seal(struct kms *kms, const struct store_vault *v, const char *text, size_t len, bool may_ask, struct store_person *row, struct kms_err *err)
{
	uint8_t aad[AAD_LEN];
	kms_status status = KMS_OK;

	assert(len <= PERSON_TEXT_MAX);
	associate(row, aad);
	status = try_seal(kms->persons, aad, text, len, row);
	if (status == KMS_E_NOTFOUND && may_ask) {
		KMS_TRY(load_key(kms, v, true, err));
		status = try_seal(kms->persons, aad, text, len, row);
	}
	if (status == KMS_E_NOTFOUND)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the vault's key of persons is not at hand");
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_OPENSSL, 0, "sealing a record");
}

static kms_status try_open(struct persons *p, const struct store_person *row, const uint8_t aad[AAD_LEN], size_t len, char *text)
{
	kms_status status = KMS_E_NOTFOUND;
	struct vault_key *k = NULL;

	pthread_mutex_lock(&p->lock);
	k = use_key(p, row->vault_id);
	if (k != NULL)
		status = decrypt(k->key, aad, row->sealed, len, text) ? KMS_OK : KMS_E_CONFLICT;
	pthread_mutex_unlock(&p->lock);
	if (status != KMS_OK)
		OPENSSL_cleanse(text, PERSON_TEXT_MAX + 1);
	return status;
}

static kms_status damaged(const struct store_person *row, struct kms_err *err)
{
	return kms_refuse(err, KMS_E_CONFLICT, "The record %" PRIu64 " does not open under the key of its vault: the database was altered or damaged.", row->ref);
}

kms_status person_open(struct kms *kms, const struct store_vault *v, const struct store_person *row, char *ret_text, size_t *ret_len, struct kms_err *err)
{
	size_t len = row->sealed_len > SEALED_EXTRA ? row->sealed_len - SEALED_EXTRA : 0;
	uint8_t aad[AAD_LEN];
	kms_status status = KMS_OK;

	if (len == 0 || len > PERSON_TEXT_MAX || row->sealed[0] != SEALED_VERSION)
		return damaged(row, err);
	associate(row, aad);
	status = try_open(kms->persons, row, aad, len, ret_text);
	if (status == KMS_E_NOTFOUND) {
		KMS_TRY(load_key(kms, v, true, err));
		status = try_open(kms->persons, row, aad, len, ret_text);
	}
	if (status == KMS_E_NOTFOUND)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "the vault's key of persons was dropped meanwhile");
	if (status != KMS_OK)
		return damaged(row, err);
	ret_text[len] = '\0';
	*ret_len = len;
	return KMS_OK;
}

/* ---- a caller's record ---- */

/* What a record is about, and the day: the same again has the same record. */
static void shape_of(const struct op *op, int64_t day, const char *agent, uint8_t ret[SHAPE_LEN])
{
	const struct event *e = &op->write.event;
	char text[2 * 64 + CALLER_PEER_MAX + CALLER_AGENT_MAX + CALLER_SUBJECT_MAX + 64];
	uint8_t bytes[SALT_LEN + STORE_ID_LEN + sizeof(e->pid) + SHA256_DIGEST_LENGTH];
	int len = snprintf(text, sizeof(text), "%" PRId64 "|%s|%s|%s|%s|%s", day, op->caller.issuer != NULL ? op->caller.issuer : "", op->caller.subject,
	                   op->actor_name, op->caller.peer, agent);
	size_t used = len < 0 ? 0 : (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;

	memcpy(bytes, op->kms->persons->secret, SALT_LEN);
	memcpy(bytes + SALT_LEN, op->vault.id, STORE_ID_LEN);
	memcpy(bytes + SALT_LEN + STORE_ID_LEN, e->pid, sizeof(e->pid));
	SHA256((const uint8_t *)text, used, bytes + SALT_LEN + STORE_ID_LEN + sizeof(e->pid));
	SHA256(bytes, sizeof(bytes), ret);
	OPENSSL_cleanse(text, sizeof(text));
}

static struct entry *set_of(struct persons *p, const uint8_t shape[SHAPE_LEN]) { return p->entries[(shape[0] | shape[1] << 8) % SETS]; }

/* The record of this shape, if it is entered already. */
static bool find_entry(struct persons *p, const uint8_t shape[SHAPE_LEN], struct event *ret)
{
	struct entry *set = set_of(p, shape);
	bool is_found = false;

	pthread_mutex_lock(&p->lock);
	for (size_t w = 0; w < WAYS && !is_found; w++) {
		if (set[w].used == 0 || !same(set[w].shape, shape, SHAPE_LEN))
			continue;
		set[w].used = ++p->tick;
		ret->person_ref = set[w].ref;
		memcpy(ret->person_commitment, set[w].commitment, sizeof(set[w].commitment));
		is_found = ret->has_person = true;
	}
	pthread_mutex_unlock(&p->lock);
	return is_found;
}

/* Whoever sends another user agent with each request must not fill the database: from so many on his records are those of his addresses alone. */
static bool may_name_agent(struct persons *p, const uint8_t vault_id[STORE_ID_LEN], const uint8_t pid[16], int64_t day)
{
	struct vault_key *k = NULL;
	bool may = true;

	pthread_mutex_lock(&p->lock);
	k = look_for_key(p, vault_id);
	if (k != NULL) {
		uint16_t *made = &k->made_of[pid[0] % CALLERS];
		if (k->day != day)
			memset(k->made_of, 0, sizeof(k->made_of));
		k->day = day;
		may = *made < AGENTS_MAX;
		*made += may;
	}
	pthread_mutex_unlock(&p->lock);
	return may;
}

/* Its key is had at the next turn, also when another's has to go. */
static void note_missed(struct persons *p, const uint8_t vault_id[STORE_ID_LEN])
{
	pthread_mutex_lock(&p->lock);
	p->count.missed++;
	if (p->wanted_count < KEYS_MAX && !is_wanted(p, vault_id))
		memcpy(p->wanted[p->wanted_count++], vault_id, STORE_ID_LEN);
	p->is_awake = true;
	pthread_mutex_unlock(&p->lock);
}

/* Members in the order of their names. @return its length; 0 = it does not fit */
static size_t write_record(const struct op *op, const char *agent, char *text)
{
	struct canon c = { .buf = text, .cap = PERSON_TEXT_MAX };
	uint8_t salt[SALT_LEN];
	char local[24];

	if (RAND_bytes(salt, sizeof(salt)) != 1)
		return 0;
	(void)snprintf(local, sizeof(local), "uid:%lu", (unsigned long)op->caller.uid);
	canon_open(&c, NULL);
	canon_text(&c, "addr", op->caller.auth == EVENT_AUTH_LOCAL ? "local" : op->caller.peer, CALLER_PEER_MAX);
	if (agent[0] != '\0')
		canon_text(&c, "agent", agent, CALLER_AGENT_MAX);
	if (op->has_principal)
		canon_guid(&c, "id", op->principal.id);
	else
		canon_token(&c, "id", local);
	if (op->caller.issuer != NULL)
		canon_token(&c, "iss", op->caller.issuer);
	canon_text(&c, "name", op->actor_name, STORE_PRINCIPAL_NAME_MAX);
	canon_bytes(&c, "salt", salt, sizeof(salt));
	if (op->caller.issuer != NULL)
		canon_text(&c, "sub", op->caller.subject, CALLER_SUBJECT_MAX);
	canon_int(&c, "v", 1);
	canon_close(&c);
	return c.is_over ? 0 : c.len;
}

static bool draw_ref(uint64_t *ret)
{
	do {
		if (RAND_bytes((uint8_t *)ret, sizeof(*ret)) != 1)
			return false;
		*ret &= PERSON_REF_MAX;
	} while (*ret == 0);
	return true;
}

static bool fill(struct op *op, const char *agent, struct op_person *made, bool may_ask)
{
	ERASE_AUTO(char, text, PERSON_TEXT_MAX + 1);
	size_t len = write_record(op, agent, text);

	memcpy(made->row.vault_id, op->vault.id, STORE_ID_LEN);
	memcpy(made->row.pid, op->write.event.pid, sizeof(made->row.pid));
	made->row.created_s = clock_wall_s(op->kms->clock);
	SHA256((const uint8_t *)text, len, made->commitment);
	return len > 0 && draw_ref(&made->row.ref) && person_seal(op->kms, &op->vault, text, len, may_ask, &made->row, NULL) == KMS_OK;
}

static bool is_recorded(const struct op *op)
{
	return op->kms->persons != NULL && op->has_vault && op->vault.person_days > 0 && op->vault.state == STORE_VAULT_ACTIVE && op->write.event.has_tenant &&
	       op->write.event.actor != EVENT_ACTOR_NONE;
}

void person_note(struct op *op, bool may_ask)
{
	struct persons *p = op->kms->persons;
	struct event *e = &op->write.event;
	const char *agent = op->caller.agent;
	int64_t day = clock_wall_s(op->kms->clock) / DAY_S;
	uint8_t shape[SHAPE_LEN];

	if (!is_recorded(op))
		return;
	shape_of(op, day, agent, shape);
	if (find_entry(p, shape, e))
		return;
	if (agent[0] != '\0' && !may_name_agent(p, op->vault.id, e->pid, day)) {
		agent = "";
		shape_of(op, day, agent, shape);
		if (find_entry(p, shape, e))
			return;
	}
	op->person = calloc(1, sizeof(*op->person));
	if (op->person != NULL) {
		pthread_mutex_lock(&p->lock);
		op->person->generation = p->generation;
		pthread_mutex_unlock(&p->lock);
		memcpy(op->person->shape, shape, SHAPE_LEN);
	}
	if (op->person != NULL && fill(op, agent, op->person, may_ask))
		return;
	free(op->person);
	op->person = NULL;
	note_missed(p, op->vault.id);
}

void person_put(const struct op *op, struct event *e, struct store_change *changes, size_t *count)
{
	const struct op_person *made = op->person;
	struct store_change *c = NULL;

	if (made == NULL)
		return;
	c = &changes[(*count)++];
	memset(c, 0, sizeof(*c));
	c->kind = STORE_PERSON_ADD;
	c->person = &made->row;
	e->has_person = true;
	e->person_ref = made->row.ref;
	memcpy(e->person_commitment, made->commitment, sizeof(made->commitment));
}

void person_attach(struct op *op)
{
	struct event *e = &op->write.event;

	if (op->person == NULL)
		return;
	op_change(op, STORE_PERSON_ADD)->person = &op->person->row;
	e->has_person = true;
	e->person_ref = op->person->row.ref;
	memcpy(e->person_commitment, op->person->commitment, sizeof(op->person->commitment));
}

static void keep_entry(struct persons *p, const struct op_person *made)
{
	struct entry *set = set_of(p, made->shape), *place = set;

	for (size_t w = 1; w < WAYS; w++)
		if (set[w].used < place->used)
			place = &set[w];
	memcpy(place->shape, made->shape, SHAPE_LEN);
	memcpy(place->vault_id, made->row.vault_id, STORE_ID_LEN);
	memcpy(place->pid, made->row.pid, sizeof(place->pid));
	memcpy(place->commitment, made->commitment, sizeof(place->commitment));
	place->ref = made->row.ref;
	place->used = ++p->tick;
}

void person_entered(struct op *op)
{
	struct persons *p = op->kms->persons;
	struct op_person *made = op->person;

	if (made == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->count.made++;
	if (p->generation == made->generation)
		keep_entry(p, made);
	pthread_mutex_unlock(&p->lock);
	op->write.event.has_person = true;
	op->write.event.person_ref = made->row.ref;
	memcpy(op->write.event.person_commitment, made->commitment, sizeof(made->commitment));
	free(made);
	op->person = NULL;
}
