/* tests/support/mem_store.c - see mem_store.h. Only what the writer calls is implemented; the rest answers KMS_E_INTERNAL. */
#include "tests/support/mem_store.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS 64

struct mem_level {
	uint8_t (*hashes)[STORE_HASH_LEN];
	size_t count, cap;
};

struct mem_store {
	struct store base;
	struct store_event *events;
	size_t count, cap;
	struct mem_level levels[LEVELS]; /* from 1 */
	uint64_t epoch, intent_seq;
	struct store_signed *checkpoints;
	size_t checkpoint_count, checkpoint_cap;
	bool in_transaction;
	/* what a rollback returns to */
	size_t kept_count, kept_levels[LEVELS];
	uint64_t kept_epoch, kept_intent_seq;
	size_t kept_checkpoints; /* cosigned ones are not returned to */

	pthread_mutex_t lock; /* guards what follows, and the epoch */
	pthread_cond_t changed;
	int calls, fail_at;
	unsigned long fail_native;
	bool is_full, is_closed, is_held;
	unsigned truncations;
	size_t committed;
};

static struct mem_store *mem(struct store *s) { return (struct mem_store *)s; }

/* Count one write call; fail it when it is the one asked for. */
static kms_status step(struct mem_store *m, const char *what, struct kms_err *err)
{
	bool fails;
	unsigned long native;

	pthread_mutex_lock(&m->lock);
	fails = m->calls++ == m->fail_at;
	native = m->fail_native;
	pthread_mutex_unlock(&m->lock);
	return fails ? kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, native, "%s made to fail", what) : KMS_OK;
}

static void *grown(void *array, size_t *cap, size_t count, size_t size)
{
	if (count < *cap)
		return array;
	*cap = *cap == 0 ? 64 : *cap * 2;
	array = realloc(array, *cap * size);
	assert(array != NULL);
	return array;
}

static kms_status mem_begin(struct store *s, struct kms_err *err)
{
	struct mem_store *m = mem(s);

	assert(!m->in_transaction);
	pthread_mutex_lock(&m->lock);
	while (m->is_closed) {
		m->is_held = true;
		pthread_cond_broadcast(&m->changed);
		pthread_cond_wait(&m->changed, &m->lock);
	}
	m->is_held = false;
	pthread_mutex_unlock(&m->lock);
	KMS_TRY(step(m, "begin", err));
	m->in_transaction = true;
	m->kept_count = m->count;
	for (size_t l = 0; l < LEVELS; l++)
		m->kept_levels[l] = m->levels[l].count;
	m->kept_epoch = m->epoch;
	m->kept_intent_seq = m->intent_seq;
	m->kept_checkpoints = m->checkpoint_count;
	return KMS_OK;
}

static kms_status mem_fence(struct store *s, const struct store_fence *fence, bool *ret_holds, struct kms_err *err)
{
	struct mem_store *m = mem(s);

	assert(m->in_transaction);
	KMS_TRY(step(m, "fence", err));
	*ret_holds = fence->key_epoch == 0 || fence->key_epoch == m->epoch;
	return KMS_OK;
}

static char *copied(const char *text)
{
	char *copy = strdup(text);

	assert(copy != NULL);
	return copy;
}

static kms_status mem_checkpoint_add(struct mem_store *m, const struct store_signed *c, struct kms_err *err)
{
	struct store_signed copy = *c;

	if (m->checkpoint_count > 0 && m->checkpoints[m->checkpoint_count - 1].size >= c->size)
		return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "checkpoint exists");
	copy.note = copied(c->note);
	m->checkpoints = grown(m->checkpoints, &m->checkpoint_cap, m->checkpoint_count, sizeof(*m->checkpoints));
	m->checkpoints[m->checkpoint_count++] = copy;
	return KMS_OK;
}

static struct store_signed *checkpoint_find(struct mem_store *m, uint64_t size)
{
	for (size_t i = 0; i < m->checkpoint_count; i++)
		if (m->checkpoints[i].size == size)
			return &m->checkpoints[i];
	return NULL;
}

static kms_status mem_checkpoint_cosign(struct mem_store *m, const struct store_signed *c, struct kms_err *err)
{
	struct store_signed *found = checkpoint_find(m, c->size);

	if (found == NULL)
		return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "no such checkpoint");
	free(found->note);
	found->note = copied(c->note);
	return KMS_OK;
}

static kms_status mem_apply(struct store *s, const struct store_change *changes, size_t count, uint64_t seq, struct kms_err *err)
{
	struct mem_store *m = mem(s);
	uint64_t epoch = m->epoch, intent_seq = m->intent_seq;

	assert(m->in_transaction && seq == m->count);
	KMS_TRY(step(m, "apply", err));
	for (size_t i = 0; i < count; i++) {
		if (changes[i].kind == STORE_KEY_ADD)
			return kms_fail(err, KMS_E_FENCED, KMS_SRC_SELF, 0, "name taken");
		if (changes[i].kind == STORE_ROLE_ADD)
			return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "role exists");
		if (changes[i].kind == STORE_ROLE_REMOVE)
			return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "no such role");
		if (changes[i].kind == STORE_CHECKPOINT_ADD)
			KMS_TRY(mem_checkpoint_add(m, &changes[i].checkpoint, err));
		if (changes[i].kind == STORE_CHECKPOINT_COSIGN)
			KMS_TRY(mem_checkpoint_cosign(m, &changes[i].checkpoint, err));
		if (changes[i].kind == STORE_KEY_DELETE)
			epoch++;
		if (changes[i].kind == STORE_INTENT_OPEN)
			intent_seq = seq;
	}
	pthread_mutex_lock(&m->lock);
	m->epoch = epoch;
	pthread_mutex_unlock(&m->lock);
	m->intent_seq = intent_seq;
	return KMS_OK;
}

static kms_status mem_append(struct store *s, const struct store_event *event, struct kms_err *err)
{
	struct mem_store *m = mem(s);
	struct store_event copy = *event;

	assert(m->in_transaction && event->seq == m->count);
	KMS_TRY(step(m, "append", err));
	copy.leaf = malloc(event->leaf_len);
	assert(copy.leaf != NULL);
	memcpy(copy.leaf, event->leaf, event->leaf_len);
	m->events = grown(m->events, &m->cap, m->count, sizeof(*m->events));
	m->events[m->count++] = copy;
	return KMS_OK;
}

static kms_status mem_put_node(struct store *s, unsigned level, uint64_t position, const uint8_t hash[STORE_HASH_LEN], struct kms_err *err)
{
	struct mem_store *m = mem(s);
	struct mem_level *l = &m->levels[level];

	assert(m->in_transaction && level >= 1 && position == l->count);
	KMS_TRY(step(m, "put_node", err));
	l->hashes = grown(l->hashes, &l->cap, l->count, sizeof(*l->hashes));
	memcpy(l->hashes[l->count++], hash, STORE_HASH_LEN);
	return KMS_OK;
}

static void mem_rollback(struct store *s)
{
	struct mem_store *m = mem(s);

	assert(m->in_transaction);
	while (m->count > m->kept_count)
		free(m->events[--m->count].leaf);
	for (size_t l = 0; l < LEVELS; l++)
		m->levels[l].count = m->kept_levels[l];
	while (m->checkpoint_count > m->kept_checkpoints)
		store_signed_clear(&m->checkpoints[--m->checkpoint_count]);
	pthread_mutex_lock(&m->lock);
	m->epoch = m->kept_epoch;
	pthread_mutex_unlock(&m->lock);
	m->intent_seq = m->kept_intent_seq;
	m->in_transaction = false;
}

static kms_status mem_commit(struct store *s, struct kms_err *err)
{
	struct mem_store *m = mem(s);
	kms_status status = step(m, "commit", err);
	bool is_full;

	pthread_mutex_lock(&m->lock);
	is_full = m->is_full;
	pthread_mutex_unlock(&m->lock);
	if (status == KMS_OK && is_full)
		status = kms_fail(err, KMS_E_STORE, KMS_SRC_SQLITE, 13, "disk full");
	if (status != KMS_OK) {
		mem_rollback(s);
		return status;
	}
	m->in_transaction = false;
	pthread_mutex_lock(&m->lock);
	m->committed = m->count;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
	return KMS_OK;
}

static kms_status mem_checkpoint(struct store *s, bool truncate, struct kms_err *err)
{
	struct mem_store *m = mem(s);

	assert(!m->in_transaction);
	KMS_TRY(step(m, "checkpoint", err));
	pthread_mutex_lock(&m->lock);
	m->truncations += truncate ? 1 : 0;
	pthread_mutex_unlock(&m->lock);
	return KMS_OK;
}

static kms_status mem_event_count(struct store *s, uint64_t *ret_count, struct kms_err *err)
{
	(void)err;
	*ret_count = mem(s)->count;
	return KMS_OK;
}

static kms_status mem_event(struct store *s, uint64_t seq, struct store_event *ret, struct kms_err *err)
{
	struct mem_store *m = mem(s);

	if (seq >= m->count)
		return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "no such leaf");
	*ret = m->events[seq];
	ret->leaf = malloc(ret->leaf_len);
	assert(ret->leaf != NULL);
	memcpy(ret->leaf, m->events[seq].leaf, ret->leaf_len);
	return KMS_OK;
}

static kms_status mem_node(struct store *s, unsigned level, uint64_t position, uint8_t ret_hash[STORE_HASH_LEN], struct kms_err *err)
{
	struct mem_store *m = mem(s);

	if (position >= (level == 0 ? m->count : m->levels[level].count))
		return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "no such node");
	memcpy(ret_hash, level == 0 ? m->events[position].hash : m->levels[level].hashes[position], STORE_HASH_LEN);
	return KMS_OK;
}

static kms_status give_checkpoint(const struct store_signed *c, struct store_signed *ret, struct kms_err *err)
{
	if (c == NULL)
		return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "no such checkpoint");
	*ret = *c;
	ret->note = copied(c->note);
	return KMS_OK;
}

static kms_status mem_checkpoint_of(struct store *s, uint64_t size, struct store_signed *ret, struct kms_err *err)
{
	return give_checkpoint(checkpoint_find(mem(s), size), ret, err);
}

static kms_status mem_checkpoint_last(struct store *s, struct store_signed *ret, struct kms_err *err)
{
	struct mem_store *m = mem(s);

	return give_checkpoint(m->checkpoint_count > 0 ? &m->checkpoints[m->checkpoint_count - 1] : NULL, ret, err);
}

static void mem_close(struct store *s)
{
	struct mem_store *m = mem(s);

	for (size_t i = 0; i < m->count; i++)
		free(m->events[i].leaf);
	for (size_t l = 0; l < LEVELS; l++)
		free(m->levels[l].hashes);
	for (size_t i = 0; i < m->checkpoint_count; i++)
		store_signed_clear(&m->checkpoints[i]);
	free(m->checkpoints);
	free(m->events);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

#define UNUSED_OP(name, ...)                                                                          \
	static kms_status name(__VA_ARGS__, struct kms_err *err)                                      \
	{                                                                                             \
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "the writer does not call this"); \
	}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
UNUSED_OP(no_vault_by_name, struct store *s, const char *name, struct store_vault *ret)
UNUSED_OP(no_vault_by_id, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_vault *ret)
UNUSED_OP(no_vaults, struct store *s, const char *after, struct store_vault *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_principal, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_principal *ret)
UNUSED_OP(no_principals, struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after[STORE_ID_LEN], struct store_principal *ret,
          size_t cap, size_t *ret_count)
UNUSED_OP(no_roles, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_assignment *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_networks, struct store *s, const uint8_t vault_id[STORE_ID_LEN], char ret[STORE_NETWORK_MAX + 1])
UNUSED_OP(no_credentials, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_credential *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_credential, struct store *s, enum store_credential_kind kind, const uint8_t hash[STORE_HASH_LEN], struct store_credential *ret)
UNUSED_OP(no_custom_role, struct store *s, uint32_t number, struct store_role *ret)
UNUSED_OP(no_custom_roles, struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint32_t after, struct store_role *ret, size_t cap,
          size_t *ret_count)
UNUSED_OP(no_groups_of, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_members, struct store *s, const uint8_t id[STORE_ID_LEN], const uint8_t after[STORE_ID_LEN], struct store_principal *ret, size_t cap,
          size_t *ret_count)
UNUSED_OP(no_approval, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_approval *ret)
UNUSED_OP(no_approval_open, struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t requester[STORE_ID_LEN],
          const uint8_t digest[STORE_HASH_LEN], struct store_approval *ret)
UNUSED_OP(no_approvals, struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after[STORE_ID_LEN], bool only_open,
          struct store_approval *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_votes, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_vote *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_key, struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *name, struct store_key *ret)
UNUSED_OP(no_keys, struct store *s, const uint8_t vault_id[STORE_ID_LEN], bool deleted, const char *after, struct store_key *ret, size_t cap,
          size_t *ret_count)
UNUSED_OP(no_keys_due, struct store *s, int64_t now_s, struct store_key *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_version, struct store *s, const uint8_t key_id[STORE_ID_LEN], const uint8_t *id, bool with_tags, struct store_version *ret)
UNUSED_OP(no_versions, struct store *s, const uint8_t key_id[STORE_ID_LEN], uint64_t after, bool with_tags, struct store_version *ret, size_t cap,
          size_t *ret_count)
UNUSED_OP(no_policy, struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_policy *ret)
UNUSED_OP(no_pools, struct store *s, const uint8_t after[STORE_ID_LEN], struct store_pool *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_pool, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_pool *ret)
UNUSED_OP(no_external, struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *id, struct store_external *ret)
UNUSED_OP(no_externals, struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *after, struct store_external *ret, size_t cap,
          size_t *ret_count)
UNUSED_OP(no_external_of_key, struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_external *ret)
UNUSED_OP(no_objects, struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after[STORE_ID_LEN], uint8_t (*ret)[STORE_ID_LEN],
          size_t cap, size_t *ret_count)
UNUSED_OP(no_object_count, struct store *s, const uint8_t vault_id[STORE_ID_LEN], size_t *ret_count)
UNUSED_OP(no_object_known, struct store *s, const uint8_t obj[STORE_ID_LEN], bool *ret_known)
UNUSED_OP(no_intents, struct store *s, uint64_t after, struct store_intent *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_meta, struct store *s, const char *name, struct store_meta *ret)
UNUSED_OP(no_log_keys, struct store *s, struct store_log_key *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_closed_logs, struct store *s, struct store_closed_log *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_version_of_object, struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_version *ret)
UNUSED_OP(no_wrapped_under, struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t root_id[STORE_ID_LEN],
          const uint8_t after[STORE_ID_LEN], uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count)
UNUSED_OP(no_tombstone, struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_tombstone *ret)
UNUSED_OP(no_tombstones, struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, const uint8_t after[STORE_ID_LEN],
          struct store_tombstone *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_revival, struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_revival *ret)
UNUSED_OP(no_certificate, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_certificate *ret)
UNUSED_OP(no_certificates, struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after[STORE_ID_LEN], bool only_open,
          struct store_certificate *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_certificate_of_intent, struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_certificate *ret)
UNUSED_OP(no_epochs, struct store *s, uint32_t below, struct store_epoch *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_epoch_of_object, struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_epoch *ret)
UNUSED_OP(no_backups, struct store *s, enum store_backup_kind kind, const uint8_t vault_id[STORE_ID_LEN], const uint8_t after[STORE_ID_LEN],
          struct store_backup *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_backups_of_key, struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *name, struct store_backup *ret, size_t cap,
          size_t *ret_count)
UNUSED_OP(no_due, struct store *s, int64_t now_s, const uint8_t after[STORE_ID_LEN], struct store_due *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_due_of, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_due *ret)
UNUSED_OP(no_key_by_id, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_key *ret)
UNUSED_OP(no_cursor, struct store *s, const char *name, uint64_t *ret_seq)
UNUSED_OP(no_webhooks, struct store *s, const uint8_t *vault_id, const uint8_t *after, struct store_webhook *ret, size_t cap, size_t *ret_count)
UNUSED_OP(no_webhook, struct store *s, const uint8_t id[STORE_ID_LEN], struct store_webhook *ret)
UNUSED_OP(no_deliveries, struct store *s, const uint8_t id[STORE_ID_LEN], enum store_delivery_state state, uint64_t after, struct store_delivery *ret,
          size_t cap, size_t *ret_count)
UNUSED_OP(no_delivery_count, struct store *s, const uint8_t id[STORE_ID_LEN], enum store_delivery_state state, uint64_t *ret_count)
UNUSED_OP(no_person, struct store *s, uint64_t ref, struct store_person *ret)
UNUSED_OP(no_persons, struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *pid, int64_t before_s, uint64_t after, struct store_person *ret,
          size_t cap, size_t *ret_count)
UNUSED_OP(no_copy, struct store *s, const char *path, bool (*go_on)(void *arg, uint64_t done, uint64_t total), void *arg)
#pragma GCC diagnostic pop

static void mem_forget(struct store *s) { (void)s; }

static const struct store_ops MEM_OPS = {
	.name = "memory",
	.close = mem_close,
	.vault_by_name = no_vault_by_name,
	.vault_by_id = no_vault_by_id,
	.vaults = no_vaults,
	.principal = no_principal,
	.principals = no_principals,
	.roles = no_roles,
	.networks = no_networks,
	.credentials = no_credentials,
	.credential = no_credential,
	.custom_role = no_custom_role,
	.custom_roles = no_custom_roles,
	.groups_of = no_groups_of,
	.members = no_members,
	.approval = no_approval,
	.approval_open = no_approval_open,
	.approvals = no_approvals,
	.votes = no_votes,
	.key = no_key,
	.keys = no_keys,
	.keys_due = no_keys_due,
	.version = no_version,
	.versions = no_versions,
	.policy = no_policy,
	.pools = no_pools,
	.pool = no_pool,
	.external = no_external,
	.externals = no_externals,
	.external_of_key = no_external_of_key,
	.objects = no_objects,
	.object_count = no_object_count,
	.object_known = no_object_known,
	.intents = no_intents,
	.meta = no_meta,
	.event_count = mem_event_count,
	.event = mem_event,
	.node = mem_node,
	.checkpoint_of = mem_checkpoint_of,
	.checkpoint_last = mem_checkpoint_last,
	.log_keys = no_log_keys,
	.closed_logs = no_closed_logs,
	.version_of_object = no_version_of_object,
	.wrapped_under = no_wrapped_under,
	.tombstone = no_tombstone,
	.tombstones = no_tombstones,
	.revival = no_revival,
	.certificate = no_certificate,
	.certificates = no_certificates,
	.certificate_of_intent = no_certificate_of_intent,
	.epochs = no_epochs,
	.epoch_of_object = no_epoch_of_object,
	.backups = no_backups,
	.backups_of_key = no_backups_of_key,
	.due = no_due,
	.due_of = no_due_of,
	.key_by_id = no_key_by_id,
	.cursor = no_cursor,
	.webhooks = no_webhooks,
	.webhook = no_webhook,
	.deliveries = no_deliveries,
	.delivery_count = no_delivery_count,
	.person = no_person,
	.persons = no_persons,
	.copy = no_copy,
	.forget = mem_forget,
	.begin = mem_begin,
	.fence = mem_fence,
	.apply = mem_apply,
	.append = mem_append,
	.put_node = mem_put_node,
	.commit = mem_commit,
	.rollback = mem_rollback,
	.checkpoint = mem_checkpoint,
};

struct store *mem_store_new(void)
{
	struct mem_store *m = calloc(1, sizeof(*m));

	assert(m != NULL);
	m->base.ops = &MEM_OPS;
	m->base.mode = STORE_WRITE;
	m->epoch = MEM_FIRST_EPOCH;
	m->fail_at = -1;
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	return &m->base;
}

void mem_store_fail_call(struct store *s, int nth, unsigned long native)
{
	struct mem_store *m = mem(s);

	pthread_mutex_lock(&m->lock);
	m->calls = 0;
	m->fail_at = nth;
	m->fail_native = native;
	pthread_mutex_unlock(&m->lock);
}

int mem_store_calls(struct store *s)
{
	struct mem_store *m = mem(s);
	int calls;

	pthread_mutex_lock(&m->lock);
	calls = m->calls;
	pthread_mutex_unlock(&m->lock);
	return calls;
}

void mem_store_set_full(struct store *s, bool is_full)
{
	struct mem_store *m = mem(s);

	pthread_mutex_lock(&m->lock);
	m->is_full = is_full;
	pthread_mutex_unlock(&m->lock);
}

void mem_store_hold(struct store *s)
{
	struct mem_store *m = mem(s);

	pthread_mutex_lock(&m->lock);
	m->is_closed = true;
	pthread_mutex_unlock(&m->lock);
}

void mem_store_wait_held(struct store *s)
{
	struct mem_store *m = mem(s);

	pthread_mutex_lock(&m->lock);
	while (!m->is_held)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

void mem_store_release(struct store *s)
{
	struct mem_store *m = mem(s);

	pthread_mutex_lock(&m->lock);
	m->is_closed = false;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

void mem_store_wait_count(struct store *s, size_t count)
{
	struct mem_store *m = mem(s);

	pthread_mutex_lock(&m->lock);
	while (m->committed < count)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

size_t mem_store_count(struct store *s) { return mem(s)->count; }

const struct store_event *mem_store_event(struct store *s, uint64_t seq)
{
	assert(seq < mem(s)->count);
	return &mem(s)->events[seq];
}

void mem_store_damage_leaf(struct store *s, uint64_t seq) { mem(s)->events[seq].leaf[10] ^= 1; }
void mem_store_damage_node(struct store *s, unsigned level, uint64_t position) { mem(s)->levels[level].hashes[position][0] ^= 1; }
void mem_store_lose_node(struct store *s, unsigned level) { mem(s)->levels[level].count--; }

uint64_t mem_store_epoch(struct store *s)
{
	struct mem_store *m = mem(s);
	uint64_t epoch;

	pthread_mutex_lock(&m->lock);
	epoch = m->epoch;
	pthread_mutex_unlock(&m->lock);
	return epoch;
}

uint64_t mem_store_intent_seq(struct store *s) { return mem(s)->intent_seq; }

unsigned mem_store_truncations(struct store *s)
{
	struct mem_store *m = mem(s);
	unsigned truncations;

	pthread_mutex_lock(&m->lock);
	truncations = m->truncations;
	pthread_mutex_unlock(&m->lock);
	return truncations;
}

bool mem_store_in_transaction(struct store *s) { return mem(s)->in_transaction; }
