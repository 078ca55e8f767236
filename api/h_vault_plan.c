/*
 * api/h_vault_plan.c - what a shred would destroy, before anybody approves it: the vault's keys and versions, who used them lately, what was published to pools, and the
 * copies that outlive it. Changes nothing. The newest leaves tell the last use; how far back they were read is said with them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/keyvault.h"
#include "api/view.h"
#include "server/core/epoch.h"

#define SCAN_MAX 100000 /* leaves */
#define KEYS_MAX 10000  /* listed; the others are counted */
#define USERS_MAX 8     /* shown of one key, the latest */
#define PAGE 64
#define PID_LEN 16

struct user {
	uint8_t pid[PID_LEN];
	int64_t last_s;
};

struct planned_key {
	char name[STORE_KEY_NAME_MAX + 1];
	char type[24]; /* "RSA-HSM 2048": of the latest version */
	int64_t created_s, last_used_s;
	bool is_deleted;
	unsigned versions, resident;
	struct user users[USERS_MAX];
	size_t user_count;
	bool has_more_users;
};

struct plan {
	struct request *r;
	struct planned_key *keys; /* owned; ordered by name without case */
	size_t key_count, cap;
	size_t total_keys, deleted_keys, versions, resident;
	uint64_t leaves;    /* that were read */
	int64_t looked_from_s; /* time of the oldest of them */
	bool looked_at_all; /* as far back as the vault or the log goes */
};

static void plan_clear(struct plan *p) { free(p->keys); }
#define PLAN_AUTO __attribute__((cleanup(plan_clear))) struct plan

/* ---- keys and versions ---- */

static void describe_type(const struct store_version *v, char ret[24])
{
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);
	const struct key_curve_info *curve = key_curve_info((enum key_curve)v->crv);

	if (curve != NULL)
		(void)snprintf(ret, 24, "%s %s", type != NULL ? type->name : "?", curve->name);
	else
		(void)snprintf(ret, 24, "%s %u", type != NULL ? type->name : "?", v->bits);
}

static bool is_resident(const struct store_version *v)
{
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);
	return type != NULL && type->is_resident;
}

static kms_status count_versions(struct plan *p, const struct store_key *k, struct planned_key *ret, struct kms_err *err)
{
	struct store_version page[PAGE];
	uint64_t after = 0;
	size_t count = 0;

	do {
		memset(page, 0, sizeof(page));
		KMS_TRY(store_versions(p->r->op.store, k->id, after, false, page, PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			ret->versions++;
			ret->resident += is_resident(&page[i]);
			after = page[i].ordinal;
			describe_type(&page[i], ret->type);
			store_version_clear(&page[i]);
		}
	} while (count == PAGE);
	return KMS_OK;
}

static kms_status add_key(struct plan *p, const struct store_key *k, struct kms_err *err)
{
	struct planned_key one = { .created_s = k->created_s, .last_used_s = STORE_NO_TIME, .is_deleted = k->deleted_s != STORE_NO_TIME };

	(void)snprintf(one.name, sizeof(one.name), "%s", k->name);
	KMS_TRY(count_versions(p, k, &one, err));
	p->total_keys++;
	p->deleted_keys += one.is_deleted;
	p->versions += one.versions;
	p->resident += one.resident;
	if (p->key_count == KEYS_MAX)
		return KMS_OK;
	if (p->key_count == p->cap) {
		size_t cap = p->cap == 0 ? PAGE : 2 * p->cap;
		void *grown = reallocarray(p->keys, cap, sizeof(*p->keys));
		if (grown == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "keys of a plan");
		p->keys = grown;
		p->cap = cap;
	}
	p->keys[p->key_count++] = one;
	return KMS_OK;
}

static kms_status add_keys(struct plan *p, bool deleted, struct kms_err *err)
{
	struct store_key page[PAGE];
	char after[STORE_KEY_NAME_MAX + 1];
	const char *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_keys(p->r->op.store, p->r->op.vault.id, deleted, cursor, page, PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			KMS_TRY(add_key(p, &page[i], err));
		if (count > 0)
			(void)snprintf(after, sizeof(after), "%s", page[count - 1].name);
		cursor = after;
	} while (count == PAGE);
	return KMS_OK;
}

static int key_order(const void *a, const void *b) { return strcasecmp(((const struct planned_key *)a)->name, ((const struct planned_key *)b)->name); }
static int name_order(const void *name, const void *key) { return strcasecmp(name, ((const struct planned_key *)key)->name); }

static struct planned_key *find_key(const struct plan *p, const char *name)
{
	return p->key_count > 0 ? bsearch(name, p->keys, p->key_count, sizeof(*p->keys), name_order) : NULL;
}

/* ---- the last use, from the newest leaves ---- */

static bool is_use(const char *type)
{
	static const enum event_type USES[] = { EVENT_KEY_WRAP, EVENT_KEY_UNWRAP, EVENT_KEY_ENCRYPT, EVENT_KEY_DECRYPT, EVENT_KEY_SIGN, EVENT_KEY_VERIFY };
	enum event_type t = event_type_parse(type);

	for (size_t i = 0; i < KMS_ARRAY_LEN(USES); i++)
		if (t == USES[i])
			return true;
	return false;
}

/* Leaves are read from the newest on: the first time somebody is met is his last. */
static void note_user(struct planned_key *k, const char *pid_text, int64_t at_s)
{
	struct user u = { .last_s = at_s };
	size_t len = 0;

	if (pid_text == NULL || !b64url_decode(pid_text, strlen(pid_text), u.pid, sizeof(u.pid), &len) || len != PID_LEN)
		return;
	for (size_t i = 0; i < k->user_count; i++)
		if (memcmp(k->users[i].pid, u.pid, PID_LEN) == 0) /* allowed: pseudonyms are public */
			return;
	if (k->user_count == USERS_MAX)
		k->has_more_users = true;
	else
		k->users[k->user_count++] = u;
}

static void read_leaf(struct plan *p, const struct store_event *e)
{
	JSON_AUTO *leaf = e->leaf_len > 0 ? json_loadb(e->leaf, e->leaf_len, 0, NULL) : NULL; /* one that was pruned says nothing */
	const char *type = NULL, *result = NULL, *name = NULL, *pid = NULL;
	struct planned_key *k = NULL;
	int64_t at_s = e->ts_us / 1000000;

	if (json_unpack(leaf, "{s:s,s:s,s:{s:s},s?{s?s}}", "type", &type, "result", &result, "key", "name", &name, "actor", "pid", &pid) != 0 || !is_use(type) ||
	    strcmp(result, "ok") != 0)
		return;
	k = find_key(p, name);
	if (k == NULL || at_s < k->created_s) /* of an earlier key of this name */
		return;
	if (k->last_used_s == STORE_NO_TIME)
		k->last_used_s = at_s;
	note_user(k, pid, at_s);
}

static kms_status scan_log(struct plan *p, struct kms_err *err)
{
	const struct store_vault *v = &p->r->op.vault;
	uint64_t size = 0;
	int64_t at_s = clock_wall_s(p->r->op.kms->clock);

	KMS_TRY(store_event_count(p->r->op.store, &size, err));
	while (p->leaves < SCAN_MAX && p->leaves < size && at_s >= v->created_s) {
		struct store_event e = { 0 };
		KMS_TRY(store_event(p->r->op.store, size - 1 - p->leaves, &e, err));
		at_s = e.ts_us / 1000000;
		if (memcmp(e.vault_id, v->id, STORE_ID_LEN) == 0) /* allowed: ids are public */
			read_leaf(p, &e);
		store_event_clear(&e);
		p->leaves++;
	}
	p->looked_from_s = at_s;
	p->looked_at_all = p->leaves == size || at_s < v->created_s;
	return KMS_OK;
}

/* ---- names of pseudonyms ---- */

/* Everybody who may have used a key of the vault, each with his name. */
struct people {
	struct person {
		uint8_t pid[PID_LEN];
		char name[STORE_PRINCIPAL_NAME_MAX + 1];
	} *list; /* owned */
	size_t count, cap;
};
static void people_clear(struct people *p) { free(p->list); }
#define PEOPLE_AUTO __attribute__((cleanup(people_clear))) struct people

static kms_status add_person(struct people *p, const uint8_t pid[PID_LEN], const char *name, struct kms_err *err)
{
	struct person *one = NULL;

	if (p->count == p->cap) {
		size_t cap = p->cap == 0 ? PAGE : 2 * p->cap;
		void *grown = reallocarray(p->list, cap, sizeof(*p->list));
		if (grown == NULL)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "principals of a plan");
		p->list = grown;
		p->cap = cap;
	}
	one = &p->list[p->count++];
	memcpy(one->pid, pid, PID_LEN);
	(void)snprintf(one->name, sizeof(one->name), "%s", name);
	return KMS_OK;
}

static kms_status add_directory(struct people *p, struct store *store, const uint8_t directory[STORE_ID_LEN], struct kms_err *err)
{
	struct store_principal page[PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_principals(store, directory, cursor, page, PAGE, &count, err));
		for (size_t i = 0; i < count; i++)
			KMS_TRY(add_person(p, page[i].pid, page[i].name, err));
		if (count > 0)
			memcpy(after, page[count - 1].id, STORE_ID_LEN);
		cursor = after;
	} while (count == PAGE);
	return KMS_OK;
}

static kms_status find_people(struct request *r, struct people *ret, struct kms_err *err)
{
	static const uint8_t INSTALLATION[STORE_ID_LEN];

	KMS_TRY(add_directory(ret, r->op.store, r->op.vault.id, err));
	return add_directory(ret, r->op.store, INSTALLATION, err);
}

static const char *name_of(const struct people *p, const uint8_t pid[PID_LEN])
{
	for (size_t i = 0; i < p->count; i++)
		if (memcmp(p->list[i].pid, pid, PID_LEN) == 0) /* allowed: pseudonyms are public */
			return p->list[i].name;
	return NULL;
}

/* ---- the answer ---- */

static json_t *users_array(const struct planned_key *k, const struct people *people)
{
	json_t *list = json_array();

	for (size_t i = 0; i < k->user_count; i++) {
		const char *name = name_of(people, k->users[i].pid);
		char pid[B64URL_LEN(PID_LEN) + 1];
		json_t *o = NULL;
		b64url_encode(k->users[i].pid, PID_LEN, pid);
		o = json_pack("{s:s,s:I}", "pseudonym", pid, "last_used", (json_int_t)k->users[i].last_s);
		if (name != NULL)
			view_put_text(&o, "name", name);
		json_add(&list, o);
	}
	return list;
}

static void put_keys(const struct plan *p, const struct people *people, json_t **body)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->key_count; i++) {
		const struct planned_key *k = &p->keys[i];
		json_t *o = json_pack("{s:s,s:s,s:i,s:i,s:b,s:I,s:b}", "name", k->name, "type", k->type, "versions", (int)k->versions, "resident", (int)k->resident,
		                      "deleted", (int)k->is_deleted, "created", (json_int_t)k->created_s, "more_users", (int)k->has_more_users);
		view_put_time(&o, "last_used", k->last_used_s);
		json_put(&o, "used_by", users_array(k, people));
		json_add(&list, o);
	}
	json_put(body, "keys", list);
	json_put(body, "counts", json_pack("{s:I,s:I,s:I,s:I,s:I}", "keys", (json_int_t)p->total_keys, "deleted_keys", (json_int_t)p->deleted_keys, "versions",
	                                   (json_int_t)p->versions, "resident", (json_int_t)p->resident, "listed", (json_int_t)p->key_count));
	json_put(body, "looked", json_pack("{s:I,s:I,s:b}", "leaves", (json_int_t)p->leaves, "from", (json_int_t)p->looked_from_s, "all", (int)p->looked_at_all));
}

/* Of one pool: its ids in use, which Azure's services hold and cannot use any more afterwards. */
static kms_status add_published(struct request *r, const struct store_pool *pool, const char *pool_name, json_t **list, struct kms_err *err)
{
	struct store_external page[PAGE];
	char after[STORE_EXTERNAL_ID_MAX + 1];
	const char *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_externals(r->op.store, pool->id, cursor, page, PAGE, &count, err));
		for (size_t i = 0; i < count; i++) {
			json_t *o = NULL;
			if (page[i].retired_s != STORE_NO_TIME)
				continue;
			o = json_pack("{s:s,s:s,s:s,s:I}", "pool", pool_name, "external_id", page[i].id, "key", page[i].key_name, "uses", (json_int_t)page[i].uses);
			view_put_time(&o, "last_used", page[i].last_used_s);
			json_add(list, o);
		}
		if (count > 0)
			(void)snprintf(after, sizeof(after), "%s", page[count - 1].id);
		cursor = after;
	} while (count == PAGE);
	return KMS_OK;
}

static kms_status add_pool(struct request *r, const struct store_pool *pool, json_t **list, struct kms_err *err)
{
	struct store_principal principal = { 0 };

	if (pool->is_service)
		return KMS_OK;
	KMS_TRY(store_principal(r->op.store, pool->id, &principal, err));
	if (memcmp(principal.vault_id, r->op.vault.id, STORE_ID_LEN) != 0) /* allowed: ids are public */
		return KMS_OK;
	return add_published(r, pool, principal.name, list, err);
}

static kms_status put_published(struct request *r, json_t **body, struct kms_err *err)
{
	struct store_pool page[PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	JSON_AUTO *list = json_array();
	size_t count = 0;
	kms_status status = KMS_OK;

	do {
		memset(page, 0, sizeof(page));
		status = store_pools(r->op.store, cursor, page, PAGE, &count, err);
		for (size_t i = 0; i < count; i++) {
			if (status == KMS_OK)
				status = add_pool(r, &page[i], &list, err);
			memcpy(after, page[i].id, STORE_ID_LEN);
			store_pool_clear(&page[i]);
		}
		cursor = after;
	} while (status == KMS_OK && count == PAGE);
	if (status == KMS_OK)
		json_put(body, "published", KMS_TAKE(list));
	return status;
}

static kms_status put_copies(struct request *r, json_t **body, struct kms_err *err)
{
	struct backup_copy *copies = calloc(COPIES_MAX, sizeof(*copies));
	size_t count = 0, total = 0;
	int64_t until_s = STORE_NO_TIME;
	json_t *list = NULL;
	kms_status status = KMS_OK;

	if (copies == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "copies of a plan");
	status = copies_find(r->op.kms, r->op.store, r->op.vault.id, NULL, r->op.vault.created_s, r->op.vault.created_seq, copies, COPIES_MAX, &count, &total, &until_s, err);
	list = status == KMS_OK ? json_array() : NULL;
	for (size_t i = 0; i < count && status == KMS_OK; i++) {
		const struct store_backup *b = &copies[i].backup;
		json_t *o = json_pack("{s:s,s:i,s:I,s:I}", "kind", b->kind == STORE_BACKUP_SERVER ? "server" : "key", "epoch", (int)b->epoch, "made", (json_int_t)b->made_s,
		                      "until", (json_int_t)copies[i].until_s);
		if (b->key_name[0] != '\0')
			view_put_text(&o, "key", b->key_name);
		if (b->place[0] != '\0')
			view_put_text(&o, "place", b->place);
		json_add(&list, o);
	}
	free(copies);
	if (status != KMS_OK)
		return status;
	json_put(body, "copies", list);
	json_put(body, "copies_total", json_integer((json_int_t)total));
	view_put_time(body, "copies_until", until_s);
	return KMS_OK;
}

static void put_unseen(json_t **body)
{
	json_put(body, "copies_after", json_string("A shred makes all of these unreadable at once: what they hold is wrapped under the vault's root, which is destroyed."));
	json_put(body, "unseen", json_pack("[s,s,s]",
	                                   "Copies of the HSM's own store: of a token directory, of a virtual machine with one, or the vendor's backups. They hold the root; "
	                                   "delete them too.",
	                                   "Data keys that callers have unwrapped before and still hold, and data that they have decrypted.",
	                                   "Uses that are older than the oldest leaf that was looked at."));
}

static kms_status make_plan(struct request *r, struct plan *p, json_t **body, struct kms_err *err)
{
	PEOPLE_AUTO people = { 0 };

	KMS_TRY(add_keys(p, false, err));
	KMS_TRY(add_keys(p, true, err));
	if (p->key_count > 0)
		qsort(p->keys, p->key_count, sizeof(*p->keys), key_order);
	KMS_TRY(scan_log(p, err));
	KMS_TRY(find_people(r, &people, err));
	view_put_text(body, "vault", r->op.vault.name);
	view_put_guid(body, "id", r->op.vault.id);
	json_put(body, "locked", json_boolean(r->op.vault.is_locked));
	json_put(body, "needed", json_integer(r->op.vault.quorum));
	put_keys(p, &people, body);
	KMS_TRY(put_published(r, body, err));
	KMS_TRY(put_copies(r, body, err));
	put_unseen(body);
	return KMS_OK;
}

kms_status api_vault_plan(struct request *r, struct kms_err *err)
{
	PLAN_AUTO p = { .r = r };
	JSON_AUTO *body = json_object();

	op_det_text(&r->op, "what", "shred_plan");
	KMS_TRY(op_need_living_vault(&r->op, err));
	KMS_TRY(make_plan(r, &p, &body, err));
	op_det_number(&r->op, "count", (int64_t)p.leaves);
	return reply_json(r, 200, KMS_TAKE(body), err);
}
