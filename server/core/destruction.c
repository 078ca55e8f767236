/*
 * server/core/destruction.c - drained, destroyed, looked for, written down, and tried: the order of audit-log.md 11.3.
 * Guards: nothing is destroyed that still serves; nothing counts as gone that was only reported as gone.
 */
#include <stdlib.h>
#include <string.h>

#include "server/core/destruction_parts.h"
#include "server/core/keyring.h"
#include "server/core/log_admin.h"
#include "server/core/person.h"
#include "server/core/server_backup.h"

#define IDS_FIRST 64
#define KEYS_PAGE 32
#define VERSIONS_PAGE 16
#define INTENTS_PAGE 32
#define BACKUP_STOP_MS 10000 /* at its next page or chunk */

/* ---- ids ---- */

void id_list_clear(struct id_list *l) { free(l->ids); }

kms_status id_list_add(struct id_list *l, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	if (l->count == l->cap) {
		size_t cap = l->cap == 0 ? IDS_FIRST : 2 * l->cap;
		void *grown = reallocarray(l->ids, cap, STORE_ID_LEN);
		if (grown == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "list of objects");
		l->ids = grown;
		l->cap = cap;
	}
	memcpy(l->ids[l->count++], id, STORE_ID_LEN);
	return KMS_OK;
}

static int by_id(const void *a, const void *b) { return memcmp(a, b, STORE_ID_LEN); /* allowed: ids are public */ }

void id_list_sort(struct id_list *l)
{
	size_t kept = 0;

	if (l->count == 0)
		return;
	qsort(l->ids, l->count, STORE_ID_LEN, by_id);
	for (size_t i = 1; i < l->count; i++)
		if (!is_same_id(l->ids[i], l->ids[kept]))
			memcpy(l->ids[++kept], l->ids[i], STORE_ID_LEN);
	l->count = kept + 1;
}

bool id_list_holds(const struct id_list *sorted, const uint8_t id[STORE_ID_LEN])
{
	return sorted->count > 0 && bsearch(id, sorted->ids, sorted->count, STORE_ID_LEN, by_id) != NULL;
}

bool is_same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN]) { return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */ }

bool is_no_id(const uint8_t id[STORE_ID_LEN])
{
	static const uint8_t NONE[STORE_ID_LEN];
	return is_same_id(id, NONE);
}

/* ---- what dies ---- */

bool destruction_is_resident(const struct store_version *v)
{
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);

	/* Of a type that nobody knows, or that names no root, the device is asked. */
	return type == NULL || type->is_resident || is_no_id(v->root_id);
}

static kms_status each_version_of(struct store *store, const struct store_key *key, destruction_version_fn each, void *arg, struct kms_err *err)
{
	struct store_version page[VERSIONS_PAGE] = { 0 };
	kms_status status = KMS_OK;
	uint64_t after = 0;
	size_t count = 0;

	do {
		KMS_TRY(store_versions(store, key->id, after, false, page, VERSIONS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			after = page[i].ordinal;
			if (status == KMS_OK)
				status = each(arg, key, &page[i], err);
			store_version_clear(&page[i]);
		}
	} while (status == KMS_OK && count == VERSIONS_PAGE);
	return status;
}

static kms_status each_version_in(const struct destruction *d, bool deleted, destruction_version_fn each, void *arg, struct kms_err *err)
{
	struct store_key page[KEYS_PAGE];
	char after[STORE_KEY_NAME_MAX + 1];
	const char *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_keys(d->store, d->vault->id, deleted, cursor, page, KEYS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			KMS_TRY(each_version_of(d->store, &page[i], each, arg, err));
		if (count > 0)
			memcpy(after, page[count - 1].name, sizeof(after));
		cursor = after;
	} while (count == KEYS_PAGE);
	return KMS_OK;
}

kms_status destruction_each_version(const struct destruction *d, destruction_version_fn each, void *arg, struct kms_err *err)
{
	switch (d->of) {
	case DESTRUCTION_OF_TENANT:
		KMS_TRY(each_version_in(d, false, each, arg, err));
		return each_version_in(d, true, each, arg, err);
	case DESTRUCTION_OF_KEY: return each_version_of(d->store, d->key, each, arg, err);
	case DESTRUCTION_OF_ROOT:
	case DESTRUCTION_OF_EPOCH: break;
	}
	return KMS_OK;
}

struct objects {
	struct destruction_object *all;
	size_t count;
};

static void add_object(struct objects *o, enum store_tombstone_kind kind, const uint8_t id[STORE_ID_LEN])
{
	for (size_t i = 0; i < o->count; i++)
		if (is_same_id(o->all[i].id, id))
			return;
	if (is_no_id(id) || o->count == DESTRUCTION_OBJECTS_MAX)
		return;
	o->all[o->count].kind = kind;
	memcpy(o->all[o->count++].id, id, STORE_ID_LEN);
}

/* A rotation that was interrupted may have left a root that no row names yet, or none any more (root.h: obj is the new one, key_id the old one). */
static kms_status add_rotating_roots(const struct destruction *d, struct objects *o, struct kms_err *err)
{
	struct store_intent page[INTENTS_PAGE];
	uint64_t after = UINT64_MAX;
	size_t count = 0;

	do {
		KMS_TRY(store_intents(d->store, after, page, INTENTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			after = page[i].seq;
			if (!is_same_id(page[i].vault_id, d->vault->id) || (page[i].type != EVENT_TENANT_ROTATE_ROOT && page[i].type != EVENT_KEY_DESTROY))
				continue;
			add_object(o, STORE_TOMBSTONE_ROOT, page[i].obj);
			if (page[i].type == EVENT_TENANT_ROTATE_ROOT)
				add_object(o, STORE_TOMBSTONE_ROOT, page[i].key_id);
		}
	} while (count == INTENTS_PAGE);
	return KMS_OK;
}

/* The root first: with it all wrapped versions die, whatever happens afterwards. */
kms_status destruction_objects(const struct destruction *d, struct destruction_object ret[DESTRUCTION_OBJECTS_MAX], size_t *ret_count, struct kms_err *err)
{
	struct objects o = { .all = ret };

	switch (d->of) {
	case DESTRUCTION_OF_TENANT:
		add_object(&o, STORE_TOMBSTONE_ROOT, d->vault->root_id);
		add_object(&o, STORE_TOMBSTONE_ROOT, d->vault->next_root_id);
		add_object(&o, STORE_TOMBSTONE_PSEUDONYMS, d->vault->pseudonym_id);
		KMS_TRY(add_rotating_roots(d, &o, err));
		break;
	case DESTRUCTION_OF_ROOT: add_object(&o, STORE_TOMBSTONE_ROOT, d->object); break;
	case DESTRUCTION_OF_EPOCH: add_object(&o, STORE_TOMBSTONE_EPOCH, d->object); break;
	case DESTRUCTION_OF_KEY: break;
	}
	*ret_count = o.count;
	return KMS_OK;
}

/* ---- may it die? ---- */

static kms_status still_serves(const char *what, struct kms_err *err) { return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "%s still serves: not destroyed", what); }

static kms_status check_root_is_replaced(const struct destruction *d, struct kms_err *err)
{
	struct store_vault v = { 0 };
	uint8_t one[1][STORE_ID_LEN];
	size_t count = 0;

	KMS_TRY(store_vault_by_id(d->store, d->vault->id, &v, err));
	if (v.state != STORE_VAULT_ACTIVE)
		return KMS_OK;
	if (is_same_id(v.root_id, d->object) || is_same_id(v.next_root_id, d->object))
		return still_serves("the root", err);
	KMS_TRY(store_wrapped_under(d->store, v.id, d->object, NULL, one, 1, &count, err));
	return count == 0 ? KMS_OK : still_serves("the root of a version", err);
}

static kms_status check_epoch_is_closed(const struct destruction *d, struct kms_err *err)
{
	struct store_epoch e = { 0 };

	KMS_TRY(store_epoch_of_object(d->store, d->object, &e, err));
	return e.closed_s != STORE_NO_TIME ? KMS_OK : still_serves("the newest backup epoch", err);
}

/* From the intent on; without its mark nobody would be refused. */
static kms_status check_doomed(const struct destruction *d, struct kms_err *err)
{
	struct store_vault v = { 0 };
	struct store_key k = { 0 };

	switch (d->of) {
	case DESTRUCTION_OF_TENANT:
		KMS_TRY(store_vault_by_id(d->store, d->vault->id, &v, err));
		return v.state != STORE_VAULT_ACTIVE ? KMS_OK : still_serves("the vault", err);
	case DESTRUCTION_OF_KEY:
		KMS_TRY(store_key(d->store, d->vault->id, d->key->name, &k, err));
		return k.is_purging && is_same_id(k.id, d->key->id) ? KMS_OK : still_serves("the key", err);
	case DESTRUCTION_OF_ROOT: return check_root_is_replaced(d, err);
	case DESTRUCTION_OF_EPOCH: break;
	}
	return check_epoch_is_closed(d, err);
}

/* ---- destroyed, and looked for ---- */

kms_status destruction_object(struct kms *kms, const uint8_t id[STORE_ID_LEN], struct id_list *destroyed, struct kms_err *err)
{
	KMS_TRY(hsm_key_evict(kms->hsm, id, DESTRUCTION_DRAIN_MS, err));
	KMS_TRY(hsm_key_destroy(kms->hsm, id, err));
	/* A request that had read the old state may have taken it up between the two: its result is fenced off, but it must have ended (11.3 step 3). */
	KMS_TRY(hsm_key_evict(kms->hsm, id, DESTRUCTION_DRAIN_MS, err));
	return id_list_add(destroyed, id, err);
}

kms_status destruction_look(struct kms *kms, struct store *store, const struct id_list *destroyed, struct kms_err *err)
{
	uint8_t log_key[HSM_ID_LEN];
	bool gone = false;

	if (destroyed->count == 0)
		return KMS_OK;
	KMS_TRY(log_key_object(store, log_key, err));
	KMS_TRY(hsm_keys_gone(kms->hsm, (const uint8_t(*)[STORE_ID_LEN])destroyed->ids, destroyed->count, log_key, &gone, err));
	return gone ? KMS_OK : kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "a fresh look still finds a destroyed object");
}

/* Counts, and destroys what is in the device. */
struct dying {
	struct destruction *d;
	struct id_list destroyed, spared;
};

static kms_status check_spared(const struct dying *dying, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	if (!id_list_holds(&dying->spared, id))
		return KMS_OK;
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the database was altered: a row names as its own what others live by; not destroyed");
}

/* A root, or what else is no version, that a version names. */
static kms_status check_no_version(const struct dying *dying, const uint8_t id[STORE_ID_LEN], struct kms_err *err)
{
	STORE_VERSION_AUTO v = { 0 };
	kms_status status = store_version_of_object(dying->d->store, id, &v, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	return kms_fail(err, status == KMS_OK ? KMS_E_AUDIT : status, KMS_SRC_SELF, 0, "the database was altered: a version is named as a root or epoch too; not destroyed");
}

static kms_status destroy_version(void *arg, const struct store_key *key, const struct store_version *v, struct kms_err *err)
{
	struct dying *dying = arg;

	(void)key;
	KMS_TRY(check_spared(dying, v->obj, err));
	if (!destruction_is_resident(v)) {
		dying->d->versions++;
		/* With the root of a tenant all that hangs from it was evicted. */
		return dying->d->of == DESTRUCTION_OF_KEY ? hsm_key_evict(dying->d->kms->hsm, v->obj, DESTRUCTION_DRAIN_MS, err) : KMS_OK;
	}
	return destruction_object(dying->d->kms, v->obj, &dying->destroyed, err);
}

static kms_status destroy_all(struct dying *dying, struct kms_err *err)
{
	struct destruction *d = dying->d;
	struct destruction_object objects[DESTRUCTION_OBJECTS_MAX];
	size_t count = 0;

	d->objects = d->versions = 0;
	KMS_TRY(destruction_spared(d, &dying->spared, err));
	KMS_TRY(destruction_objects(d, objects, &count, err));
	for (size_t i = 0; i < count; i++) {
		KMS_TRY(check_spared(dying, objects[i].id, err));
		KMS_TRY(check_no_version(dying, objects[i].id, err));
	}
	for (size_t i = 0; i < count; i++)
		KMS_TRY(destruction_object(d->kms, objects[i].id, &dying->destroyed, err));
	KMS_TRY(destruction_each_version(d, destroy_version, dying, err));
	d->objects = dying->destroyed.count;
	return destruction_look(d->kms, d->store, &dying->destroyed, err);
}

static kms_status destroy_and_look(struct destruction *d, struct kms_err *err)
{
	struct dying dying = { .d = d };
	kms_status status = destroy_all(&dying, err);

	id_list_clear(&dying.destroyed);
	id_list_clear(&dying.spared);
	d->destroyed_us = clock_wall_us(d->kms->clock);
	return status;
}

/* ---- nothing of it is left where it was read ---- */

/* What died with its root may wait for the next checkpoint of the WAL; of a purged version whose root lives nothing may stay (11.3 step 6). */
static kms_status erase_traces(const struct destruction *d, struct kms_err *err)
{
	kms_status status;

	if (d->of == DESTRUCTION_OF_TENANT)
		persons_drop(d->kms->persons, d->vault->id, NULL);
	if (d->kms->forget != NULL)
		d->kms->forget(d->kms->forget_arg);
	if (d->versions == 0)
		return KMS_OK;
	status = writer_truncate(d->kms->writer, NULL);
	if (status == KMS_OK || d->of != DESTRUCTION_OF_KEY)
		return KMS_OK;
	return kms_fail(err, status, KMS_SRC_SELF, 0, "the write-ahead log still holds the key: somebody reads the database for long");
}

/* ---- tried ---- */

/* Not just any failure will do: the key must be missing from a device that is there. */
static kms_status expect_missing(kms_status answered, const char *what, struct kms_err *err)
{
	if (answered == KMS_E_NOTFOUND)
		return KMS_OK;
	return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the canary does not show that %s is gone (%s)", what, kms_status_name(answered));
}

static kms_status unwrap_canary(struct hsm *hsm, const struct store_vault *v, const uint8_t root_id[STORE_ID_LEN])
{
	SECRET_AUTO *canary = NULL;
	struct hsm_key root = { .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };

	memcpy(root.id, root_id, HSM_ID_LEN);
	return hsm_aes_unwrap(hsm, &root, HSM_AES_KW, v->canary_wrapped, v->canary_wrapped_len, &canary, NULL);
}

static kms_status use_epoch(struct hsm *hsm, const uint8_t obj[STORE_ID_LEN])
{
	struct hsm_key key = { .purpose = HSM_FOR_BACKUP, .kind = HSM_KIND_AES, .bits = 256 };
	uint8_t iv[HSM_IV_LEN], tag[HSM_GCM_TAG_LEN], cipher[1];
	static const uint8_t PLAIN[1];
	size_t len = 0;

	memcpy(key.id, obj, HSM_ID_LEN);
	return hsm_encrypt(hsm, &key, HSM_CIPHER_GCM, iv, NULL, 0, PLAIN, sizeof(PLAIN), cipher, sizeof(cipher), &len, tag, NULL);
}

static kms_status check_canary(struct destruction *d, struct kms_err *err)
{
	switch (d->of) {
	case DESTRUCTION_OF_KEY: return KMS_OK; /* resident versions were looked for; a blob that is erased has nothing to try */
	case DESTRUCTION_OF_EPOCH: KMS_TRY(expect_missing(use_epoch(d->kms->hsm, d->object), "the epoch's key", err)); break;
	case DESTRUCTION_OF_TENANT:
	case DESTRUCTION_OF_ROOT:
		if (d->vault->canary_wrapped_len == 0)
			return KMS_OK;
		KMS_TRY(expect_missing(unwrap_canary(d->kms->hsm, d->vault, d->of == DESTRUCTION_OF_ROOT ? d->object : d->vault->root_id), "the root", err));
		break;
	}
	d->tried_canary = true;
	return KMS_OK;
}

/* As a request would: opened anew. */
static kms_status ask_for_use(const struct destruction *d, struct op *op, struct kms_err *err)
{
	KMS_TRY(op_open_system(op, d->vault->id, EVENT_KEY_GET, err));
	KMS_TRY(op_need_living_vault(op, err));
	return keyring_get(op, d->key != NULL ? d->key->name : "-", NULL, err);
}

/* A key that is purged may be of a vault that is shredded meanwhile, or locked: any refusal, then, but no failure. */
static bool is_refusal(const struct destruction *d, kms_status answered)
{
	return d->of == DESTRUCTION_OF_TENANT ? answered == KMS_E_VAULT_SHREDDED : answered != KMS_OK && kms_status_http(answered) < 500;
}

static kms_status check_api(struct destruction *d, struct kms_err *err)
{
	struct op *op = NULL;
	kms_status answered;

	if (d->of != DESTRUCTION_OF_TENANT && d->of != DESTRUCTION_OF_KEY)
		return KMS_OK;
	op = op_new_own(d->kms, d->store, EVENT_KEY_GET, err);
	if (op == NULL)
		return KMS_E_NOMEM;
	answered = ask_for_use(d, op, NULL);
	op_free_own(op);
	if (!is_refusal(d, answered))
		return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "a use of what was destroyed is not refused as it should be (%s)", kms_status_name(answered));
	d->tried_api = true;
	return KMS_OK;
}

/* ---- all of it ---- */

static kms_status run(struct destruction *d, struct kms_err *err)
{
	d->tried_api = d->tried_canary = false;
	KMS_TRY(check_doomed(d, err));
	KMS_TRY(destroy_and_look(d, err));
	KMS_TRY(destruction_write_down(d, err));
	KMS_TRY(erase_traces(d, err));
	if (d->of == DESTRUCTION_OF_KEY && d->versions > 0) /* a blob dies when it is erased */
		d->destroyed_us = clock_wall_us(d->kms->clock);
	KMS_TRY(check_canary(d, err));
	KMS_TRY(check_api(d, err));
	d->verified_us = clock_wall_us(d->kms->clock);
	return KMS_OK;
}

/* No backup is made meanwhile: it would hold what is being erased, and the certificate would not name it. */
kms_status destruction_run(struct destruction *d, struct kms_err *err)
{
	kms_status status = KMS_OK;

	KMS_TRY(server_backups_hold(d->kms, BACKUP_STOP_MS, err));
	status = run(d, err);
	server_backups_release(d->kms);
	return status;
}

void destruction_tell_incomplete(const struct destruction *d, const struct event *as, kms_status status)
{
	struct write unit = { .event = { .actor = EVENT_ACTOR_NODE } };
	const char *inner = kms_status_inner(status);

	if (d->of != DESTRUCTION_OF_TENANT)
		return;
	if (as != NULL)
		unit.event = *as;
	unit.event.type = EVENT_TENANT_SHRED_INCOMPLETE;
	unit.event.phase = EVENT_SINGLE;
	unit.event.has_ref = false;
	unit.event.result = EVENT_FAILED;
	unit.event.err = inner != NULL ? inner : kms_status_code(status);
	unit.event.has_tenant = true;
	memcpy(unit.event.tenant, d->vault->id, STORE_ID_LEN);
	kms_ignore(writer_write(d->kms->writer, &unit)); /* the open intent says it too */
}
