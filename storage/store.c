/* storage/store.c - checked dispatch to the backend: arguments are looked at once, here, for every backend. */
#include <stdlib.h>
#include <string.h>

#include "storage/store.h"

#define TREE_LEVELS 64
#define SIZE_LIMIT (STORE_SEQ_MAX + 1)
#define PERSON_REF_MAX ((UINT64_C(1) << 53) - 1)

void store_version_clear(struct store_version *v)
{
	free(v->pub);
	free(v->wrapped);
	free(v->tags);
	*v = (struct store_version){ 0 };
}

void store_pool_clear(struct store_pool *p)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(p->roots); i++)
		free(p->roots[i].der);
	*p = (struct store_pool){ 0 };
}

void store_credential_clear(struct store_credential *c)
{
	free(c->data);
	*c = (struct store_credential){ 0 };
}

void store_role_clear(struct store_role *r)
{
	free(r->actions);
	*r = (struct store_role){ 0 };
}

void store_approval_clear(struct store_approval *a)
{
	free(a->request);
	*a = (struct store_approval){ 0 };
}

void store_signed_clear(struct store_signed *c)
{
	free(c->note);
	*c = (struct store_signed){ 0 };
}

void store_certificate_clear(struct store_certificate *c)
{
	free(c->checks);
	free(c->copies);
	free(c->residual);
	free(c->hsm);
	free(c->signatures);
	*c = (struct store_certificate){ 0 };
}

void store_event_clear(struct store_event *e)
{
	free(e->leaf);
	*e = (struct store_event){ 0 };
}

void store_close(struct store *s)
{
	if (s != NULL)
		s->ops->close(s);
}

/* Our own mistakes: refused, and reported as such. */
static kms_status bug(struct kms_err *err, const char *what) { return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "store: %s", what); }

/* A name from outside that is longer than any that was ever stored. */
static bool fits(const char *name, size_t max) { return strnlen(name, max + 1) <= max; }

static kms_status absent(struct kms_err *err, const char *what)
{
	return kms_fail(err, KMS_E_NOTFOUND, KMS_SRC_SELF, 0, "%s beyond what is stored", what);
}

/* A page is never larger than STORE_PAGE_MAX: the cursor brings the rest. */
static size_t page(size_t cap) { return cap < STORE_PAGE_MAX ? cap : STORE_PAGE_MAX; }

kms_status store_vault_by_name(struct store *s, const char *name, struct store_vault *ret, struct kms_err *err)
{
	return fits(name, STORE_VAULT_NAME_MAX) ? s->ops->vault_by_name(s, name, ret, err) : absent(err, "vault name");
}

kms_status store_vault_by_id(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_vault *ret, struct kms_err *err)
{
	return s->ops->vault_by_id(s, id, ret, err);
}

kms_status store_vaults(struct store *s, const char *after_name, struct store_vault *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->vaults(s, after_name, ret, page(cap), ret_count, err);
}

kms_status store_principal(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_principal *ret, struct kms_err *err)
{
	return s->ops->principal(s, id, ret, err);
}

kms_status store_principals(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *after_id, struct store_principal *ret,
                            size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->principals(s, vault_id, after_id, ret, page(cap), ret_count, err);
}

kms_status store_roles(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_assignment *ret, size_t cap,
                       size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->roles(s, principal_id, ret, cap, ret_count, err);
}

kms_status store_networks(struct store *s, const uint8_t vault_id[STORE_ID_LEN], char ret[STORE_NETWORK_MAX + 1], struct kms_err *err)
{
	return s->ops->networks(s, vault_id, ret, err);
}

kms_status store_credentials(struct store *s, const uint8_t principal_id[STORE_ID_LEN], struct store_credential *ret, size_t cap,
                             size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->credentials(s, principal_id, ret, cap, ret_count, err);
}

kms_status store_credential(struct store *s, enum store_credential_kind kind, const uint8_t hash[STORE_HASH_LEN],
                            struct store_credential *ret, struct kms_err *err)
{
	return s->ops->credential(s, kind, hash, ret, err);
}

kms_status store_custom_role(struct store *s, uint32_t number, struct store_role *ret, struct kms_err *err)
{
	return s->ops->custom_role(s, number, ret, err);
}

kms_status store_custom_roles(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint32_t after_number, struct store_role *ret,
                              size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->custom_roles(s, vault_id, after_number, ret, page(cap), ret_count, err);
}

kms_status store_groups_of(struct store *s, const uint8_t member_id[STORE_ID_LEN], struct store_principal *ret, size_t cap,
                           size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->groups_of(s, member_id, ret, cap, ret_count, err);
}

kms_status store_members(struct store *s, const uint8_t group_id[STORE_ID_LEN], const uint8_t *after_id, struct store_principal *ret,
                         size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->members(s, group_id, after_id, ret, page(cap), ret_count, err);
}

kms_status store_approval(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_approval *ret, struct kms_err *err)
{
	return s->ops->approval(s, id, ret, err);
}

kms_status store_approval_open(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t requester[STORE_ID_LEN],
                               const uint8_t digest[STORE_HASH_LEN], struct store_approval *ret, struct kms_err *err)
{
	return s->ops->approval_open(s, vault_id, requester, digest, ret, err);
}

kms_status store_approvals(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *after_id, bool only_open,
                           struct store_approval *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->approvals(s, vault_id, after_id, only_open, ret, page(cap), ret_count, err);
}

kms_status store_votes(struct store *s, const uint8_t approval_id[STORE_ID_LEN], struct store_vote *ret, size_t cap, size_t *ret_count,
                       struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->votes(s, approval_id, ret, cap, ret_count, err);
}

kms_status store_key(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *name, struct store_key *ret, struct kms_err *err)
{
	return fits(name, STORE_KEY_NAME_MAX) ? s->ops->key(s, vault_id, name, ret, err) : absent(err, "key name");
}

kms_status store_keys(struct store *s, const uint8_t vault_id[STORE_ID_LEN], bool deleted, const char *after_name, struct store_key *ret,
                      size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->keys(s, vault_id, deleted, after_name, ret, page(cap), ret_count, err);
}

kms_status store_keys_due(struct store *s, int64_t now_s, struct store_key *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->keys_due(s, now_s, ret, page(cap), ret_count, err);
}

kms_status store_version(struct store *s, const uint8_t key_id[STORE_ID_LEN], const uint8_t *version_id, bool with_tags,
                         struct store_version *ret, struct kms_err *err)
{
	return s->ops->version(s, key_id, version_id, with_tags, ret, err);
}

kms_status store_versions(struct store *s, const uint8_t key_id[STORE_ID_LEN], uint64_t after_ordinal, bool with_tags,
                          struct store_version *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	if (after_ordinal > INT64_MAX)
		return bug(err, "ordinal out of range");
	return s->ops->versions(s, key_id, after_ordinal, with_tags, ret, page(cap), ret_count, err);
}

kms_status store_pools(struct store *s, const uint8_t *after_id, struct store_pool *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->pools(s, after_id, ret, page(cap), ret_count, err);
}

kms_status store_pool(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_pool *ret, struct kms_err *err)
{
	return s->ops->pool(s, id, ret, err);
}

kms_status store_external(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *id, struct store_external *ret,
                          struct kms_err *err)
{
	return fits(id, STORE_EXTERNAL_ID_MAX) ? s->ops->external(s, pool_id, id, ret, err) : absent(err, "external key id");
}

kms_status store_externals(struct store *s, const uint8_t pool_id[STORE_ID_LEN], const char *after_id, struct store_external *ret,
                           size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->externals(s, pool_id, after_id, ret, page(cap), ret_count, err);
}

kms_status store_external_of_key(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_external *ret, struct kms_err *err)
{
	return s->ops->external_of_key(s, key_id, ret, err);
}

kms_status store_policy(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_policy *ret, struct kms_err *err)
{
	return s->ops->policy(s, key_id, ret, err);
}

kms_status store_objects(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *after_obj, uint8_t (*ret)[STORE_ID_LEN],
                         size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->objects(s, vault_id, after_obj, ret, page(cap), ret_count, err);
}

kms_status store_object_count(struct store *s, const uint8_t vault_id[STORE_ID_LEN], size_t *ret_count, struct kms_err *err)
{
	return s->ops->object_count(s, vault_id, ret_count, err);
}

kms_status store_object_known(struct store *s, const uint8_t obj[STORE_ID_LEN], bool *ret_known, struct kms_err *err)
{
	return s->ops->object_known(s, obj, ret_known, err);
}

kms_status store_intents(struct store *s, uint64_t after_seq, struct store_intent *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	if (after_seq > INT64_MAX && after_seq != UINT64_MAX)
		return bug(err, "seq out of range");
	return s->ops->intents(s, after_seq, ret, page(cap), ret_count, err);
}

kms_status store_meta(struct store *s, const char *name, struct store_meta *ret, struct kms_err *err)
{
	return fits(name, STORE_META_NAME_MAX) ? s->ops->meta(s, name, ret, err) : absent(err, "meta name");
}

kms_status store_event_count(struct store *s, uint64_t *ret_count, struct kms_err *err) { return s->ops->event_count(s, ret_count, err); }

kms_status store_event(struct store *s, uint64_t seq, struct store_event *ret, struct kms_err *err)
{
	return seq <= INT64_MAX ? s->ops->event(s, seq, ret, err) : absent(err, "seq");
}

kms_status store_node(struct store *s, unsigned level, uint64_t position, uint8_t ret_hash[STORE_HASH_LEN], struct kms_err *err)
{
	if (level >= TREE_LEVELS || position > INT64_MAX)
		return absent(err, "tree node");
	return s->ops->node(s, level, position, ret_hash, err);
}

kms_status store_checkpoint_of(struct store *s, uint64_t size, struct store_signed *ret, struct kms_err *err)
{
	return size <= SIZE_LIMIT ? s->ops->checkpoint_of(s, size, ret, err) : absent(err, "size of a log");
}

kms_status store_checkpoint_last(struct store *s, struct store_signed *ret, struct kms_err *err)
{
	return s->ops->checkpoint_last(s, ret, err);
}

kms_status store_log_keys(struct store *s, struct store_log_key *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->log_keys(s, ret, cap, ret_count, err);
}

kms_status store_closed_logs(struct store *s, struct store_closed_log *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->closed_logs(s, ret, cap, ret_count, err);
}

kms_status store_version_of_object(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_version *ret, struct kms_err *err)
{
	return s->ops->version_of_object(s, obj, ret, err);
}

kms_status store_wrapped_under(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *root_id, const uint8_t *after_obj,
                               uint8_t (*ret)[STORE_ID_LEN], size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->wrapped_under(s, vault_id, root_id, after_obj, ret, page(cap), ret_count, err);
}

kms_status store_tombstone(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_tombstone *ret, struct kms_err *err)
{
	return s->ops->tombstone(s, obj, ret, err);
}

kms_status store_tombstones(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, const uint8_t *after_obj,
                            struct store_tombstone *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	if (intent > INT64_MAX)
		return bug(err, "seq out of range");
	return s->ops->tombstones(s, vault_id, intent, after_obj, ret, page(cap), ret_count, err);
}

kms_status store_revival(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_revival *ret, struct kms_err *err)
{
	if (intent > INT64_MAX)
		return bug(err, "seq out of range");
	return s->ops->revival(s, vault_id, intent, ret, err);
}

kms_status store_certificate(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_certificate *ret, struct kms_err *err)
{
	return s->ops->certificate(s, id, ret, err);
}

kms_status store_certificate_of_intent(struct store *s, const uint8_t vault_id[STORE_ID_LEN], uint64_t intent, struct store_certificate *ret,
                                       struct kms_err *err)
{
	return intent <= INT64_MAX ? s->ops->certificate_of_intent(s, vault_id, intent, ret, err) : absent(err, "seq");
}

kms_status store_certificates(struct store *s, const uint8_t *vault_id, const uint8_t *after_id, bool only_open, struct store_certificate *ret,
                              size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->certificates(s, vault_id, after_id, only_open, ret, page(cap), ret_count, err);
}

kms_status store_epochs(struct store *s, uint32_t below, struct store_epoch *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->epochs(s, below, ret, page(cap), ret_count, err);
}

kms_status store_epoch_of_object(struct store *s, const uint8_t obj[STORE_ID_LEN], struct store_epoch *ret, struct kms_err *err)
{
	return s->ops->epoch_of_object(s, obj, ret, err);
}

kms_status store_backups(struct store *s, enum store_backup_kind kind, const uint8_t *vault_id, const uint8_t *after_id,
                         struct store_backup *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->backups(s, kind, vault_id, after_id, ret, page(cap), ret_count, err);
}

kms_status store_backups_of_key(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const char *key_name, struct store_backup *ret,
                                size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return fits(key_name, STORE_KEY_NAME_MAX) ? s->ops->backups_of_key(s, vault_id, key_name, ret, page(cap), ret_count, err) : absent(err, "key name");
}

kms_status store_due(struct store *s, int64_t now_s, const uint8_t after[STORE_ID_LEN], struct store_due *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->due(s, now_s, after, ret, page(cap), ret_count, err);
}

kms_status store_due_of(struct store *s, const uint8_t key_id[STORE_ID_LEN], struct store_due *ret, struct kms_err *err)
{
	return s->ops->due_of(s, key_id, ret, err);
}

kms_status store_key_by_id(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_key *ret, struct kms_err *err)
{
	return s->ops->key_by_id(s, id, ret, err);
}

kms_status store_cursor(struct store *s, const char *name, uint64_t *ret_seq, struct kms_err *err)
{
	return fits(name, STORE_CURSOR_NAME_MAX) ? s->ops->cursor(s, name, ret_seq, err) : bug(err, "the name of a cursor is too long");
}

kms_status store_webhooks(struct store *s, const uint8_t *vault_id, const uint8_t *after_id, struct store_webhook *ret, size_t cap,
                          size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	return s->ops->webhooks(s, vault_id, after_id, ret, page(cap), ret_count, err);
}

kms_status store_webhook(struct store *s, const uint8_t id[STORE_ID_LEN], struct store_webhook *ret, struct kms_err *err)
{
	return s->ops->webhook(s, id, ret, err);
}

kms_status store_deliveries(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t after_seq,
                            struct store_delivery *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	if (after_seq > INT64_MAX && after_seq != UINT64_MAX)
		return bug(err, "seq out of range");
	return s->ops->deliveries(s, webhook_id, state, after_seq, ret, page(cap), ret_count, err);
}

kms_status store_delivery_count(struct store *s, const uint8_t webhook_id[STORE_ID_LEN], enum store_delivery_state state, uint64_t *ret_count,
                                struct kms_err *err)
{
	return s->ops->delivery_count(s, webhook_id, state, ret_count, err);
}

kms_status store_person(struct store *s, uint64_t ref, struct store_person *ret, struct kms_err *err)
{
	return ref <= PERSON_REF_MAX ? s->ops->person(s, ref, ret, err) : absent(err, "reference");
}

kms_status store_persons(struct store *s, const uint8_t vault_id[STORE_ID_LEN], const uint8_t *pid, int64_t before_s, uint64_t after_ref,
                         struct store_person *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	if (cap == 0)
		return bug(err, "page without room");
	if (after_ref > PERSON_REF_MAX)
		return bug(err, "reference out of range");
	return s->ops->persons(s, vault_id, pid, before_s, after_ref, ret, page(cap), ret_count, err);
}

kms_status store_copy(struct store *s, const char *path, bool (*go_on)(void *arg, uint64_t done, uint64_t total), void *arg, struct kms_err *err)
{
	/* Not a URI, whatever the backend was built with. */
	if (path == NULL || path[0] != '/')
		return bug(err, "not an absolute path");
	return s->ops->copy(s, path, go_on, arg, err);
}

void store_forget(struct store *s) { s->ops->forget(s); }

/* Readers are opened read-only below as well; this names the mistake. */
#define MUST_WRITE(s, err)                                                  \
	do {                                                                \
		if ((s)->mode != STORE_WRITE)                               \
			return bug(err, "a write on a reading connection"); \
	} while (0)

kms_status store_begin(struct store *s, struct kms_err *err)
{
	MUST_WRITE(s, err);
	return s->ops->begin(s, err);
}

kms_status store_fence_holds(struct store *s, const struct store_fence *fence, bool *ret_holds, struct kms_err *err)
{
	MUST_WRITE(s, err);
	return s->ops->fence(s, fence, ret_holds, err);
}

/* A pool without subjects or roots could be mistaken for one that accepts every certificate. */
static bool is_whole(const struct store_pool *p)
{
	if (p->subject_count == 0 || p->subject_count > STORE_SUBJECTS_MAX || p->root_count == 0 || p->root_count > STORE_ROOTS_MAX)
		return false;
	for (size_t i = 0; i < p->root_count; i++)
		if (p->roots[i].der == NULL || p->roots[i].der_len == 0 || p->roots[i].der_len > STORE_ROOT_MAX)
			return false;
	return true;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

/* One person who is counted twice would be two. */
static bool are_distinct(const struct store_approval_use *u)
{
	if (u->count == 0 || u->count > STORE_APPROVERS_MAX)
		return false;
	for (size_t i = 0; i < u->count; i++)
		for (size_t j = 0; j < i; j++)
			if (memcmp(u->approvers[i].id, u->approvers[j].id, STORE_ID_LEN) == 0) /* allowed: ids are public */
				return false;
	return true;
}

static bool is_signed_whole(const struct store_vote *v)
{
	bool has_certificate = !is_zero(v->certificate, sizeof(v->certificate));

	return v->signature_len <= STORE_SIGNATURE_MAX && has_certificate == (v->signature_len > 0);
}

static bool has_note(const struct store_signed *c)
{
	return c->note != NULL && c->note[0] != '\0' && fits(c->note, STORE_NOTE_MAX) && c->size <= SIZE_LIMIT;
}

static bool is_new_log(const struct store_log_close *c)
{
	return fits(c->closed.origin, STORE_ORIGIN_MAX) && fits(c->next_origin, STORE_ORIGIN_MAX) && c->next_origin[0] != '\0' &&
	       strcmp(c->closed.origin, c->next_origin) != 0 && c->closed.restored_size <= SIZE_LIMIT && c->closed.known_size <= SIZE_LIMIT;
}

static bool is_facts(const char *text) { return text == NULL || fits(text, STORE_FACTS_MAX); }
static bool is_signed(const char *lines) { return lines != NULL && lines[0] != '\0' && fits(lines, STORE_SIGNATURES_MAX); }

static bool is_rewrapped(const struct store_version *v)
{
	return v->wrapped != NULL && v->wrapped_len > 0 && v->wrapped_len <= STORE_BLOB_MAX && !is_zero(v->root_id, STORE_ID_LEN);
}

static bool is_canary(const struct store_vault *v)
{
	return v->canary_wrapped_len > 0 && v->canary_wrapped_len <= sizeof(v->canary_wrapped) && !is_zero(v->root_id, STORE_ID_LEN);
}

static bool is_tombstone(const struct store_tombstone *t)
{
	return t->kind >= STORE_TOMBSTONE_VERSION && t->kind <= STORE_TOMBSTONE_EPOCH && !is_zero(t->obj, STORE_ID_LEN) && t->intent <= INT64_MAX &&
	       (t->created_seq <= STORE_SEQ_MAX || t->created_seq == STORE_NO_SEQ);
}

static bool is_begun(const struct store_certificate *c)
{
	return c->state == STORE_CERTIFICATE_BEGUN && (c->scope == STORE_CERTIFICATE_KEY) == (c->key_name[0] != '\0') && c->wrapped <= INT64_MAX;
}

static bool is_issued(const struct store_certificate *c)
{
	bool is_pending = c->state == STORE_CERTIFICATE_PENDING;

	return (is_pending || c->state == STORE_CERTIFICATE_COMPLETE) && is_pending == (c->until_s != STORE_NO_TIME) && c->issued_s != STORE_NO_TIME &&
	       c->size > 0 && c->size <= SIZE_LIMIT && is_facts(c->copies) && is_facts(c->residual) && is_facts(c->hsm) && is_signed(c->signatures);
}

/* Of a key: which; of the server: where. */
static bool is_backup(const struct store_backup *b)
{
	bool is_of_key = b->kind == STORE_BACKUP_KEY;

	return (is_of_key || b->kind == STORE_BACKUP_SERVER) && is_of_key == !is_zero(b->vault_id, STORE_ID_LEN) && is_of_key == (b->key_name[0] != '\0') &&
	       is_of_key == (b->place[0] == '\0') && b->size <= SIZE_LIMIT && b->bytes <= INT64_MAX;
}

static bool is_cursor(const struct store_cursor *c) { return c->name[0] != '\0' && fits(c->name, STORE_CURSOR_NAME_MAX) && c->seq <= SIZE_LIMIT; }

static bool is_webhook_state(const struct store_webhook *w)
{
	return w->state >= STORE_WEBHOOK_PENDING && w->state <= STORE_WEBHOOK_REFUSED && w->generation > 0 && fits(w->failure, STORE_FAILURE_MAX);
}

static bool is_webhook(const struct store_webhook *w)
{
	return is_webhook_state(w) && w->name[0] != '\0' && fits(w->name, STORE_PRINCIPAL_NAME_MAX) && w->url[0] != '\0' && fits(w->url, STORE_URL_MAX) &&
	       (w->shape == STORE_WEBHOOK_EVENT_GRID || w->shape == STORE_WEBHOOK_CLOUD_EVENTS) && w->events != 0;
}

static bool is_delivery(const struct store_delivery *d)
{
	return (d->state == STORE_DELIVERY_WAITING || d->state == STORE_DELIVERY_DEAD) && d->event != 0 && d->seq <= INT64_MAX && d->http >= 0 &&
	       fits(d->failure, STORE_FAILURE_MAX);
}

static bool is_person(const struct store_person *p)
{
	return p != NULL && p->ref > 0 && p->ref <= PERSON_REF_MAX && p->sealed_len > 0 && p->sealed_len <= STORE_SEALED_MAX;
}

static bool is_prune(const struct store_prune *p)
{
	if (p->seqs == NULL || p->count == 0 || p->count > STORE_PRUNE_MAX)
		return false;
	for (size_t i = 0; i < p->count; i++)
		if (p->seqs[i] > STORE_SEQ_MAX)
			return false;
	return true;
}

/* What would be stored as something else than was meant; NULL = nothing. */
static const char *unsound(const struct store_change *c)
{
	switch (c->kind) {
	case STORE_POOL_ADD:
	case STORE_POOL_SET: return is_whole(&c->pool) ? NULL : "a pool that is not whole";
	case STORE_EXTERNAL_RETIRE: return c->external.retired_s != STORE_NO_TIME ? NULL : "an id retired at no time would stay in use";
	case STORE_NETWORKS_SET: return c->networks.text != NULL ? NULL : "address ranges without text";
	case STORE_PRINCIPAL_ADD:
		return c->principal.kind != STORE_PRINCIPAL_GROUP || !is_zero(c->principal.vault_id, STORE_ID_LEN) ? NULL : "a group of no vault";
	case STORE_CREDENTIAL_ADD:
		return (c->credential.data != NULL) == (c->credential.data_len > 0) ? NULL : "a credential's data without its length";
	case STORE_ROLE_ADD:
		return c->assignment.key_name[0] == '\0' || !is_zero(c->assignment.vault_id, STORE_ID_LEN) ? NULL : "a role on a key of no vault";
	case STORE_ROLE_DEFINE: return c->role.actions != NULL ? NULL : "a role without actions";
	case STORE_APPROVAL_ADD: return c->approval.request != NULL ? NULL : "an approval of nothing";
	case STORE_APPROVAL_VOTE: return is_signed_whole(&c->vote) ? NULL : "a signature without its certificate, or too long";
	case STORE_APPROVAL_USE: return are_distinct(&c->approval_use) ? NULL : "nobody approves, or one person twice";
	case STORE_APPROVAL_CLOSE:
		return (c->approval.state == STORE_APPROVAL_DENIED || c->approval.state == STORE_APPROVAL_WITHDRAWN) &&
		               c->approval.settled_s != STORE_NO_TIME
		           ? NULL
		           : "an approval closed to no end";
	case STORE_CHECKPOINT_ADD:
	case STORE_CHECKPOINT_COSIGN: return has_note(&c->checkpoint) ? NULL : "a checkpoint without a note, with one too long, or of no size";
	case STORE_LOG_KEY_ADD:
		return c->log_key.vkey[0] != '\0' && fits(c->log_key.vkey, STORE_VKEY_MAX) && (c->log_key.from_size <= SIZE_LIMIT || c->log_key.from_size == STORE_FROM_LEAF)
		           ? NULL
		           : "a log key without its public half";
	case STORE_VAULT_NEXT_ROOT: return !is_zero(c->vault.next_root_id, STORE_ID_LEN) ? NULL : "a next root that is none";
	case STORE_VAULT_SET_ROOT: return is_canary(&c->vault) ? NULL : "a root without its canary";
	case STORE_VERSION_REWRAP: return is_rewrapped(&c->version) ? NULL : "a version wrapped under nothing";
	case STORE_TOMBSTONE_ADD: return is_tombstone(&c->tombstone) ? NULL : "a tombstone of nothing, or of no destruction";
	case STORE_CERTIFICATE_ADD: return is_begun(&c->certificate) ? NULL : "a certificate that does not begin, or names what its scope has not";
	case STORE_CERTIFICATE_FILL:
		return is_facts(c->certificate.checks) && c->certificate.wrapped <= INT64_MAX ? NULL : "a certificate with checks too long";
	case STORE_CERTIFICATE_SET: return is_issued(&c->certificate) ? NULL : "a certificate that is not signed, or pending without an end";
	case STORE_CERTIFICATE_SIGN:
		return is_signed(c->certificate.signatures) && c->certificate.issued_s != STORE_NO_TIME ? NULL : "a certificate without signatures";
	case STORE_EPOCH_ADD: return !is_zero(c->epoch.obj, STORE_ID_LEN) ? NULL : "an epoch without a key";
	case STORE_EPOCH_END: return c->epoch.ended_s != STORE_NO_TIME ? NULL : "an epoch that ends at no time";
	case STORE_BACKUP_ADD: return is_backup(&c->backup) ? NULL : "a backup of nothing, or of two things";
	case STORE_LOG_CLOSE: return is_new_log(&c->log_close) ? NULL : "a log closed for none, or for itself";
	case STORE_DUE_SET: return c->due.key_epoch <= INT64_MAX ? NULL : "a due row of a key that has no such epoch";
	case STORE_CURSOR_SET: return is_cursor(&c->cursor) ? NULL : "a cursor without a name, or beyond every log";
	case STORE_WEBHOOK_ADD: return is_webhook(&c->webhook) ? NULL : "a webhook that is not whole";
	case STORE_WEBHOOK_SET: return is_webhook_state(&c->webhook) ? NULL : "a webhook in no state, or without a generation";
	case STORE_DELIVERY_ADD:
		return is_delivery(&c->delivery) && c->delivery.seq <= STORE_SEQ_MAX && fits(c->delivery.key_name, STORE_KEY_NAME_MAX)
		               ? NULL
		               : "a delivery of nothing, or in no state";
	case STORE_DELIVERY_SET: return is_delivery(&c->delivery) ? NULL : "a delivery of nothing, or in no state";
	case STORE_DELIVERY_REMOVE: return c->delivery.seq <= INT64_MAX ? NULL : "a delivery of no leaf";
	case STORE_PERSON_ADD: return is_person(c->person) ? NULL : "a person without a record, or with a reference out of range";
	case STORE_PERSON_ERASE: return c->person_erasure.ref <= PERSON_REF_MAX ? NULL : "a reference out of range";
	case STORE_EVENTS_PRUNE: return is_prune(&c->prune) ? NULL : "nothing to prune, or too much, or no leaf";
	case STORE_VAULT_ADD:
	case STORE_VAULT_SET: return fits(c->vault.person_basis, STORE_REASON_MAX) ? NULL : "a basis that does not end";
	case STORE_WEBHOOK_REMOVE:
	case STORE_VAULT_SET_STATE:
	case STORE_VAULT_ERASE:
	case STORE_VAULT_LOCK:
	case STORE_PRINCIPAL_SET:
	case STORE_CREDENTIAL_REMOVE:
	case STORE_ROLE_REMOVE:
	case STORE_ROLE_DROP:
	case STORE_MEMBER_ADD:
	case STORE_MEMBER_REMOVE:
	case STORE_KEY_ADD:
	case STORE_VERSION_ADD:
	case STORE_VERSION_ERASE:
	case STORE_VERSION_ENCRYPTS:
	case STORE_POLICY_SET:
	case STORE_VERSION_SET:
	case STORE_KEY_DELETE:
	case STORE_KEY_RECOVER:
	case STORE_KEY_SET_PURGING:
	case STORE_KEY_REVOKE:
	case STORE_KEY_PURGE:
	case STORE_BACKUP_DROP:
	case STORE_INTENT_OPEN:
	case STORE_INTENT_CLOSE:
	case STORE_META_PUT:
	case STORE_EXTERNAL_ADD:
	case STORE_EXTERNAL_USED: return NULL;
	}
	return "an unknown change";
}

kms_status store_apply(struct store *s, const struct store_change *changes, size_t count, uint64_t seq, struct kms_err *err)
{
	MUST_WRITE(s, err);
	if (count == 0)
		return KMS_OK;
	if (seq > SIZE_LIMIT)
		return bug(err, "seq out of range");
	for (size_t i = 0; i < count; i++) {
		const char *reason = unsound(&changes[i]);
		if (reason != NULL)
			return bug(err, reason);
	}
	return s->ops->apply(s, changes, count, seq, err);
}

kms_status store_append(struct store *s, const struct store_event *event, struct kms_err *err)
{
	MUST_WRITE(s, err);
	if (event->leaf == NULL || event->leaf_len == 0 || event->seq > STORE_SEQ_MAX)
		return bug(err, "leaf without text, or seq out of range");
	return s->ops->append(s, event, err);
}

kms_status store_put_node(struct store *s, unsigned level, uint64_t position, const uint8_t hash[STORE_HASH_LEN], struct kms_err *err)
{
	MUST_WRITE(s, err);
	if (level == 0 || level >= TREE_LEVELS || position > INT64_MAX)
		return bug(err, "tree node out of range");
	return s->ops->put_node(s, level, position, hash, err);
}

kms_status store_commit(struct store *s, struct kms_err *err)
{
	MUST_WRITE(s, err);
	return s->ops->commit(s, err);
}

void store_rollback(struct store *s)
{
	if (s->mode == STORE_WRITE)
		s->ops->rollback(s);
}

kms_status store_checkpoint(struct store *s, bool truncate, struct kms_err *err)
{
	MUST_WRITE(s, err);
	return s->ops->checkpoint(s, truncate, err);
}
