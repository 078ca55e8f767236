/*
 * server/core/certificate_enforce.c - a certificate that is brought back to a database, or a token, that is older than what it tells of: it is made true again.
 * Guards: the database forgets first, so that nothing is used any more; only then the device's objects go. Whatever is interrupted may be repeated.
 */
#include <stdlib.h>
#include <string.h>

#include "server/core/certificate_parts.h"
#include "server/core/destruction_parts.h"
#include "server/core/key.h"

#define GHOSTS_FIRST 64
#define OBJECTS_PAGE 64
#define QUIET_PAGE 64 /* tombstones of one leaf */

/* Something that must be dead. */
struct ghost {
	struct store_tombstone t;
	uint8_t key_id[STORE_ID_LEN]; /* of a version that the database knows; all zero = it does not */
	bool is_buried; /* has its tombstone */
	bool is_served; /* the database has what it is an object of, living */
	bool is_back;   /* in the device */
};
struct ghosts {
	struct op *op;
	const struct certified *c;
	bool has_vault;
	struct store_vault vault;
	struct ghost *all; /* owned; ordered by object once they are complete */
	size_t count, cap;
};

static void free_changes(struct store_change **changes) { free(*changes); }
static void ghosts_clear(struct ghosts *g) { free(g->all); }

/* ---- who they are ---- */

static void describe_version(const struct store_version *v, struct ghost *ret)
{
	memcpy(ret->key_id, v->key_id, STORE_ID_LEN);
	memcpy(ret->t.version_id, v->id, STORE_ID_LEN);
	ret->t.is_resident = destruction_is_resident(v);
	ret->t.kty = v->kty;
	ret->t.crv = v->crv;
	ret->t.bits = v->bits;
	ret->t.revoked = v->revoked;
	ret->t.created_seq = v->created_seq;
}

/* What is known of it here. */
static kms_status look_up(struct ghosts *g, struct ghost *ghost, struct kms_err *err)
{
	struct store_tombstone found;
	STORE_VERSION_AUTO v = { 0 };
	kms_status status = store_tombstone(g->op->store, ghost->t.obj, &found, NULL);

	ghost->is_buried = status == KMS_OK;
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "tombstone");
	status = ghost->t.kind == STORE_TOMBSTONE_VERSION ? store_version_of_object(g->op->store, ghost->t.obj, &v, NULL) : KMS_E_NOTFOUND;
	if (status == KMS_OK)
		describe_version(&v, ghost);
	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "version of an object");
}

static kms_status add(struct ghosts *g, const uint8_t obj[STORE_ID_LEN], enum store_tombstone_kind kind, const char *key_name, struct kms_err *err)
{
	struct ghost *ghost;

	if (g->count == g->cap) {
		size_t cap = g->cap == 0 ? GHOSTS_FIRST : 2 * g->cap;
		void *grown = reallocarray(g->all, cap, sizeof(*g->all));
		if (grown == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "objects of a certificate");
		g->all = grown;
		g->cap = cap;
	}
	ghost = &g->all[g->count++];
	memset(ghost, 0, sizeof(*ghost));
	memcpy(ghost->t.obj, obj, STORE_ID_LEN);
	memcpy(ghost->t.vault_id, g->c->vault_id, STORE_ID_LEN);
	memcpy(ghost->t.key_name, key_name, strnlen(key_name, STORE_KEY_NAME_MAX));
	ghost->t.kind = kind;
	ghost->t.is_resident = kind != STORE_TOMBSTONE_VERSION;
	ghost->t.created_seq = STORE_NO_SEQ;
	return look_up(g, ghost, err);
}

/* What hangs from a vault that should be shredded, and that its certificate does not name: it was replaced before the end. */
static kms_status add_of_vault(struct ghosts *g, struct kms_err *err)
{
	uint8_t page[OBJECTS_PAGE][STORE_ID_LEN], after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	KMS_TRY(add(g, g->vault.root_id, STORE_TOMBSTONE_ROOT, "", err));
	KMS_TRY(add(g, g->vault.pseudonym_id, STORE_TOMBSTONE_PSEUDONYMS, "", err));
	if (!is_no_id(g->vault.next_root_id))
		KMS_TRY(add(g, g->vault.next_root_id, STORE_TOMBSTONE_ROOT, "", err));
	do {
		KMS_TRY(store_objects(g->op->store, g->vault.id, cursor, page, OBJECTS_PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			KMS_TRY(add(g, page[i], STORE_TOMBSTONE_VERSION, "", err));
		if (count > 0)
			memcpy(after, page[count - 1], STORE_ID_LEN);
		cursor = after;
	} while (count == OBJECTS_PAGE);
	return KMS_OK;
}

static int by_object(const void *a, const void *b)
{
	return memcmp(((const struct ghost *)a)->t.obj, ((const struct ghost *)b)->t.obj, STORE_ID_LEN); /* allowed: ids are public */
}

/* Each once. The certificate's own come first and have the key's name: an unstable order would lose it, so the longer name wins. */
static void sort(struct ghosts *g)
{
	size_t kept = 0;

	if (g->count == 0)
		return;
	qsort(g->all, g->count, sizeof(*g->all), by_object);
	for (size_t i = 1; i < g->count; i++) {
		if (!is_same_id(g->all[kept].t.obj, g->all[i].t.obj))
			g->all[++kept] = g->all[i];
		else if (g->all[kept].t.key_name[0] == '\0')
			g->all[kept] = g->all[i];
	}
	g->count = kept + 1;
}

static kms_status collect(struct ghosts *g, struct kms_err *err)
{
	kms_status status = store_vault_by_id(g->op->store, g->c->vault_id, &g->vault, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "vault of a certificate");
	g->has_vault = status == KMS_OK;
	for (size_t i = 0; i < g->c->count; i++)
		KMS_TRY(add(g, g->c->objects[i].obj, g->c->objects[i].kind, g->c->objects[i].key_name, err));
	if (g->has_vault && g->c->is_of_tenant)
		KMS_TRY(add_of_vault(g, err));
	sort(g);
	return KMS_OK;
}

/* In a database from before a rotation the replaced root is the only one: to destroy it would destroy what the rotation kept. */
static kms_status check_roots(const struct ghosts *g, struct kms_err *err)
{
	for (size_t i = 0; i < g->count && g->has_vault && !g->c->is_of_tenant && g->vault.state == STORE_VAULT_ACTIVE; i++)
		if (g->all[i].t.kind == STORE_TOMBSTONE_ROOT &&
		    (is_same_id(g->all[i].t.obj, g->vault.root_id) || is_same_id(g->all[i].t.obj, g->vault.next_root_id)))
			return kms_refuse(err, KMS_E_CONFLICT,
			                  "The root that this certificate speaks of is the one that vault %s uses in this database. Rotate its root again instead: "
			                  "holdfast vault rotate-root %s.",
			                  g->vault.name, g->vault.name);
	return KMS_OK;
}

/* ---- the database forgets ---- */

static void put_text(struct event_det *det, const char *name, const uint8_t id[STORE_ID_LEN])
{
	*det = (struct event_det){ .name = name };
	guid_format(id, det->text);
}

/* A leaf of its own, in the name of who asks. */
static kms_status write_leaf(const struct ghosts *g, enum event_type type, const struct ghost *of, uint64_t number, const struct store_change *changes, size_t count,
                             struct kms_err *err)
{
	struct event_det det;
	struct write unit = { .event = g->op->write.event, .changes = changes, .change_count = count };
	kms_status status = KMS_OK;

	put_text(&det, "certificate", g->c->id);
	unit.event.type = type;
	unit.event.phase = EVENT_SINGLE;
	unit.event.result = EVENT_OK;
	unit.event.det = &det;
	unit.event.det_count = 1;
	unit.event.http = 0;
	unit.event.has_tenant = true;
	memcpy(unit.event.tenant, g->c->vault_id, STORE_ID_LEN);
	unit.event.count = number;
	if (of != NULL) {
		unit.event.has_obj = true;
		memcpy(unit.event.obj, of->t.obj, STORE_ID_LEN);
		memcpy(unit.event.key_name, of->t.key_name, sizeof(unit.event.key_name));
	}
	status = writer_write(g->op->kms->writer, &unit);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "what a certificate destroys again");
}
_Static_assert(sizeof(((struct event *)0)->key_name) == STORE_KEY_NAME_MAX + 1, "a key's name fits");

static kms_status forget_vault(const struct ghosts *g, struct kms_err *err)
{
	struct store_change changes[] = { { .kind = STORE_VAULT_ERASE, .vault = g->vault }, { .kind = STORE_VAULT_SET_STATE, .vault = g->vault } };

	if (g->vault.state == STORE_VAULT_SHREDDED)
		return KMS_OK;
	changes[1].vault.state = STORE_VAULT_SHREDDED;
	return write_leaf(g, EVENT_TENANT_RESURRECTED, NULL, 0, changes, 2, err);
}

/* The key of the first of its versions; the others are gone with it. */
static kms_status forget_key(const struct ghosts *g, const struct ghost *ghost, struct kms_err *err)
{
	struct store_change change = { .kind = STORE_KEY_PURGE };
	STORE_VERSION_AUTO v = { 0 };
	kms_status status = is_no_id(ghost->key_id) ? KMS_E_NOTFOUND : store_version_of_object(g->op->store, ghost->t.obj, &v, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "version of an object");
	memcpy(change.key.id, ghost->key_id, STORE_ID_LEN);
	return write_leaf(g, EVENT_TENANT_RESURRECTED, ghost, 0, &change, 1, err);
}

static kms_status forget(struct ghosts *g, struct kms_err *err)
{
	if (!g->has_vault || g->vault.state == STORE_VAULT_SHREDDED)
		return KMS_OK;
	for (size_t i = 0; i < g->count; i++)
		g->all[i].is_served = !is_no_id(g->all[i].key_id);
	if (g->c->is_of_tenant)
		return forget_vault(g, err);
	for (size_t i = 0; i < g->count; i++)
		KMS_TRY(forget_key(g, &g->all[i], err));
	return KMS_OK;
}

/* ---- the device forgets ---- */

static bool mark_back(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	struct ghosts *g = arg;
	struct ghost wanted = { 0 };
	struct ghost *found;

	(void)purpose;
	memcpy(wanted.t.obj, id, STORE_ID_LEN);
	found = is_ours && g->count > 0 ? bsearch(&wanted, g->all, g->count, sizeof(*g->all), by_object) : NULL;
	if (found != NULL)
		found->is_back = true;
	return true;
}

static kms_status destroy(struct ghosts *g, struct kms_err *err)
{
	const struct destruction d = { .kms = g->op->kms, .store = g->op->store, .of = g->c->is_of_tenant ? DESTRUCTION_OF_TENANT : DESTRUCTION_OF_KEY,
		                       .vault = g->has_vault ? &g->vault : NULL };
	ID_LIST_AUTO destroyed = { 0 }, spared = { 0 };

	KMS_TRY(destruction_spared(&d, &spared, err));
	KMS_TRY(hsm_keys_list(g->op->kms->hsm, mark_back, g, err));
	for (size_t i = 0; i < g->count; i++)
		if (g->all[i].is_back && id_list_holds(&spared, g->all[i].t.obj))
			return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the database was altered: a row of a destroyed vault or key names what others live by; not destroyed");
	for (size_t i = 0; i < g->count; i++) {
		if (!g->all[i].is_back) {
			KMS_TRY(hsm_key_evict(g->op->kms->hsm, g->all[i].t.obj, DESTRUCTION_DRAIN_MS, err)); /* a wrapped version may be loaded */
			continue;
		}
		KMS_TRY(destruction_object(g->op->kms, g->all[i].t.obj, &destroyed, err));
	}
	return destruction_look(g->op->kms, g->op->store, &destroyed, err);
}

/* ---- written down ---- */

static kms_status seal(struct ghosts *g, struct ghost *ghost, struct store_change *ret, struct kms_err *err)
{
	ghost->t.is_resident |= ghost->is_back;
	KMS_TRY(tombstone_seal(g->op->kms->hsm, &g->op->kms->inst, &ghost->t, err));
	*ret = (struct store_change){ .kind = STORE_TOMBSTONE_ADD, .tombstone = ghost->t };
	ghost->is_buried = true;
	return KMS_OK;
}

/* One that was back, in a leaf of its own. */
static kms_status write_back(struct ghosts *g, struct ghost *ghost, struct kms_err *err)
{
	struct store_change change;
	bool is_new = !ghost->is_buried;

	if (is_new)
		KMS_TRY(seal(g, ghost, &change, err));
	return write_leaf(g, EVENT_TENANT_RESURRECTED, ghost, 0, &change, is_new ? 1 : 0, err);
}

/* Those that were not, many in one leaf: the events of their destruction are in the log that was lost. */
static kms_status write_quiet(struct ghosts *g, struct kms_err *err)
{
	__attribute__((cleanup(free_changes))) struct store_change *changes = calloc(QUIET_PAGE, sizeof(*changes));
	size_t count = 0;

	if (changes == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "tombstones");
	for (size_t i = 0; i < g->count; i++) {
		if (!g->all[i].is_buried)
			KMS_TRY(seal(g, &g->all[i], &changes[count++], err));
		if (count == QUIET_PAGE || (i + 1 == g->count && count > 0)) {
			KMS_TRY(write_leaf(g, EVENT_KEY_DESTROY, NULL, count, changes, count, err));
			count = 0;
		}
	}
	return KMS_OK;
}

kms_status certificate_enforce(struct op *op, const struct certified *c, struct enforced *ret, struct kms_err *err)
{
	__attribute__((cleanup(ghosts_clear))) struct ghosts g = { .op = op, .c = c };
	struct enforced done = { 0 };

	op_det_guid(op, "certificate", c->id);
	KMS_TRY(collect(&g, err));
	KMS_TRY(check_roots(&g, err));
	KMS_TRY(forget(&g, err));
	KMS_TRY(destroy(&g, err));
	for (size_t i = 0; i < g.count; i++) {
		if (g.all[i].is_back)
			KMS_TRY(write_back(&g, &g.all[i], err));
		done.revived += g.all[i].is_back || g.all[i].is_served;
	}
	done.objects = g.count;
	KMS_TRY(write_quiet(&g, err));
	if (op->kms->forget != NULL)
		op->kms->forget(op->kms->forget_arg);
	kms_ignore(writer_truncate(op->kms->writer, NULL)); /* hygiene: the next checkpoint of the write-ahead log does it too */
	op_det_number(op, "objects", (int64_t)g.count);
	op_det_number(op, "revived", (int64_t)done.revived);
	*ret = done;
	return KMS_OK;
}
