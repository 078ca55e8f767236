/* tests/contract/storage_destruction.c - the storage port: locks, roots that are replaced, what is erased, tombstones, certificates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/store_fixture.h"

#define ORIGIN_1 "kms.example/audit/log1"
#define ORIGIN_2 "kms.example/audit/log2"

/* A vault with a key of two wrapped versions and a resident one, made by leaf 1; the log's name is in leaf 0. */
struct scene {
	struct store_vault vault;
	struct store_key key;
	struct store_version first, second, resident;
};

static kms_status one(struct store_fixture *f, struct store_change c) { return store_fixture_one(f, c); }

static struct scene set_scene(struct store_fixture *f)
{
	struct scene s = { .vault = store_fixture_vault(1, "payroll") };
	struct store_change origin = { .kind = STORE_META_PUT, .meta = { .name = "log_origin", .value = ORIGIN_1, .value_len = strlen(ORIGIN_1) } };
	struct store_change add[5];

	memset(s.vault.canary_wrapped, '#', sizeof(s.vault.canary_wrapped));
	s.key = store_fixture_key(1, &s.vault, "master");
	s.first = store_fixture_version(1, &s.key);
	s.second = store_fixture_version(2, &s.key);
	s.resident = store_fixture_version(3, &s.key);
	s.resident.wrapped = NULL;
	add[0] = (struct store_change){ .kind = STORE_VAULT_ADD, .vault = s.vault };
	add[1] = (struct store_change){ .kind = STORE_KEY_ADD, .key = s.key };
	add[2] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = s.first };
	add[3] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = s.second };
	add[4] = (struct store_change){ .kind = STORE_VERSION_ADD, .version = s.resident };
	assert_int_equal(one(f, origin), KMS_OK);
	assert_int_equal(store_fixture_write(f, add, KMS_ARRAY_LEN(add), NULL), KMS_OK);
	return s;
}

static struct store_vault vault_now(struct store_fixture *f, const struct store_vault *v)
{
	struct store_vault got = { 0 };

	assert_int_equal(store_vault_by_id(f->r, v->id, &got, NULL), KMS_OK);
	return got;
}

static bool is_known(struct store_fixture *f, const uint8_t obj[STORE_ID_LEN])
{
	bool known = false;

	assert_int_equal(store_object_known(f->r, obj, &known, NULL), KMS_OK);
	return known;
}

/* How many versions of the vault are wrapped under a root (NULL: any), read in pages of one. */
static size_t count_wrapped(struct store_fixture *f, const struct store_vault *v, const uint8_t *root)
{
	uint8_t obj[1][STORE_ID_LEN], after[STORE_ID_LEN] = { 0 };
	size_t count, total = 0;

	do {
		assert_int_equal(store_wrapped_under(f->r, v->id, root, total > 0 ? after : NULL, obj, 1, &count, NULL), KMS_OK);
		assert_true(count == 0 || memcmp(obj[0], after, STORE_ID_LEN) > 0);
		memcpy(after, obj[0], STORE_ID_LEN);
		total += count;
	} while (count > 0);
	return total;
}

/* ---- a vault's lock, and where things were made ---- */

static void what_is_made_remembers_the_leaf_that_made_it(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	STORE_VERSION_AUTO wrapped = { 0 };
	STORE_VERSION_AUTO resident = { 0 };
	struct store_vault v = vault_now(f, &s.vault);
	static const uint8_t NONE[STORE_ID_LEN];

	assert_int_equal(v.created_seq, 1);
	assert_false(v.is_locked);
	assert_memory_equal(v.next_root_id, NONE, STORE_ID_LEN);
	assert_int_equal(store_version_of_object(f->r, s.second.obj, &wrapped, NULL), KMS_OK);
	assert_int_equal(wrapped.created_seq, 1);
	assert_memory_equal(wrapped.id, s.second.id, STORE_ID_LEN);
	assert_memory_equal(wrapped.root_id, s.vault.root_id, STORE_ID_LEN);
	assert_string_equal(wrapped.tags, s.second.tags);
	assert_int_equal(store_version_of_object(f->r, s.resident.obj, &resident, NULL), KMS_OK);
	assert_memory_equal(resident.root_id, NONE, STORE_ID_LEN);
	assert_int_equal(store_version_of_object(f->r, s.vault.root_id, &wrapped, NULL), KMS_E_NOTFOUND);
}

static void a_vault_is_locked_and_unlocked_once_each_and_what_depends_on_it_notices(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_change lock = { .kind = STORE_VAULT_LOCK, .vault = s.vault }, unlock = lock, purge = { .kind = STORE_KEY_DELETE, .key = s.key };
	struct store_key due[1];
	size_t count;

	lock.vault.is_locked = true;
	purge.key.deleted_s = 1700000000;
	purge.key.purge_s = 1700000001;
	assert_int_equal(one(f, purge), KMS_OK);
	assert_int_equal(one(f, unlock), KMS_E_CONFLICT);
	assert_int_equal(one(f, lock), KMS_OK);
	assert_int_equal(one(f, lock), KMS_E_CONFLICT);
	assert_true(vault_now(f, &s.vault).is_locked);
	assert_int_equal(vault_now(f, &s.vault).epoch, 2);
	/* What can be unlocked again must still be there then. */
	assert_int_equal(store_keys_due(f->r, 1800000000, due, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(one(f, unlock), KMS_OK);
	assert_int_equal(vault_now(f, &s.vault).epoch, 3);
	assert_int_equal(store_keys_due(f->r, 1800000000, due, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
}

/* ---- roots ---- */

static struct store_change next_root(const struct store_vault *v, unsigned n)
{
	struct store_change c = { .kind = STORE_VAULT_NEXT_ROOT, .vault = *v };

	store_fixture_id('R', n, c.vault.next_root_id);
	return c;
}

static struct store_change set_root(const struct store_vault *v, const uint8_t root[STORE_ID_LEN])
{
	struct store_change c = { .kind = STORE_VAULT_SET_ROOT, .vault = *v };

	memcpy(c.vault.root_id, root, STORE_ID_LEN);
	memset(c.vault.canary_wrapped, 'n', sizeof(c.vault.canary_wrapped));
	memset(c.vault.canary_hash, 'N', sizeof(c.vault.canary_hash));
	return c;
}

static struct store_change rewrap(const struct store_version *v, const uint8_t root[STORE_ID_LEN], uint8_t *blob, size_t len)
{
	struct store_change c = { .kind = STORE_VERSION_REWRAP, .version = *v };

	memcpy(c.version.root_id, root, STORE_ID_LEN);
	c.version.wrapped = blob;
	c.version.wrapped_len = len;
	return c;
}

static void a_vault_has_one_next_root_at_a_time(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_change next = next_root(&s.vault, 9), none = next, same = next;

	memset(none.vault.next_root_id, 0, STORE_ID_LEN);
	memcpy(same.vault.next_root_id, s.vault.root_id, STORE_ID_LEN);
	assert_int_equal(one(f, none), KMS_E_INTERNAL);
	assert_int_equal(one(f, same), KMS_E_CONFLICT);
	assert_false(is_known(f, next.vault.next_root_id));
	assert_int_equal(one(f, next), KMS_OK);
	assert_int_equal(one(f, next_root(&s.vault, 10)), KMS_E_CONFLICT);
	assert_memory_equal(vault_now(f, &s.vault).next_root_id, next.vault.next_root_id, STORE_ID_LEN);
	assert_int_equal(vault_now(f, &s.vault).epoch, 2);
	assert_true(is_known(f, next.vault.next_root_id));
}

static void a_version_is_wrapped_under_a_root_of_its_vault_or_not_stored(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault other = store_fixture_vault(2, "invoices");
	struct store_version v = store_fixture_version(4, &s.key), none = store_fixture_version(5, &s.key);
	struct store_change next = next_root(&s.vault, 9);

	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = other }), KMS_OK);
	memset(none.root_id, 0, STORE_ID_LEN);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = none }), KMS_E_FENCED);
	memcpy(v.root_id, other.root_id, STORE_ID_LEN);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = v }), KMS_E_FENCED);
	memcpy(v.root_id, next.vault.next_root_id, STORE_ID_LEN);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = v }), KMS_E_FENCED);
	assert_int_equal(one(f, next), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = v }), KMS_OK);
	assert_int_equal(count_wrapped(f, &s.vault, v.root_id), 1);
	assert_int_equal(count_wrapped(f, &s.vault, s.vault.root_id), 2);
	assert_int_equal(count_wrapped(f, &s.vault, NULL), 3);
	/* By vault and root together. */
	assert_int_equal(count_wrapped(f, &other, s.vault.root_id), 0);
	assert_int_equal(count_wrapped(f, &other, NULL), 0);
}

static void assert_blob(struct store_fixture *f, const struct store_version *v, const uint8_t *blob, size_t len, const uint8_t *root)
{
	STORE_VERSION_AUTO got = { 0 };

	assert_int_equal(store_version(f->r, v->key_id, v->id, true, &got, NULL), KMS_OK);
	assert_int_equal(got.wrapped_len, len);
	assert_memory_equal(got.wrapped, blob, len);
	assert_int_equal(got.pub_len, v->pub_len);
	assert_memory_equal(got.pub, v->pub, v->pub_len);
	assert_memory_equal(got.root_id, root, STORE_ID_LEN);
	assert_int_equal(got.epoch, 1);
	assert_string_equal(got.tags, v->tags);
}

static void a_root_is_replaced_when_nothing_is_wrapped_under_it_any_more(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_change next = next_root(&s.vault, 9);
	const uint8_t *root = next.vault.next_root_id;
	static uint8_t same[1224], longer[1300];
	struct store_tombstone t = store_fixture_tombstone(&s.vault, NULL, NULL, 7);
	struct store_vault now;

	memset(same, '1', sizeof(same));
	memset(longer, '2', sizeof(longer));
	assert_int_equal(one(f, set_root(&s.vault, root)), KMS_E_FENCED); /* not the next root */
	assert_int_equal(one(f, rewrap(&s.first, root, same, sizeof(same))), KMS_E_FENCED);
	assert_int_equal(one(f, next), KMS_OK);
	assert_int_equal(one(f, rewrap(&s.first, root, same, sizeof(same))), KMS_OK);
	assert_int_equal(one(f, set_root(&s.vault, root)), KMS_E_FENCED); /* the second is under the old one */
	assert_int_equal(one(f, rewrap(&s.second, root, longer, sizeof(longer))), KMS_OK);
	assert_blob(f, &s.first, same, sizeof(same), root);
	assert_blob(f, &s.second, longer, sizeof(longer), root);
	assert_int_equal(one(f, set_root(&s.vault, s.vault.pseudonym_id)), KMS_E_FENCED);
	assert_int_equal(one(f, set_root(&s.vault, root)), KMS_OK);
	now = vault_now(f, &s.vault);
	assert_memory_equal(now.root_id, root, STORE_ID_LEN);
	assert_memory_equal(now.next_root_id, (uint8_t[STORE_ID_LEN]){ 0 }, STORE_ID_LEN);
	assert_int_equal(now.canary_wrapped[39], 'n');
	assert_int_equal(now.canary_hash[31], 'N');
	assert_int_equal(now.epoch, 3);
	assert_int_equal(one(f, set_root(&s.vault, root)), KMS_E_FENCED);
	assert_int_equal(one(f, rewrap(&s.first, s.vault.root_id, same, sizeof(same))), KMS_E_FENCED);
	assert_int_equal(count_wrapped(f, &s.vault, root), 2);
	assert_int_equal(count_wrapped(f, &s.vault, s.vault.root_id), 0);
	/* The old one is ours until it is known to be gone. */
	assert_true(is_known(f, s.vault.root_id));
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_TOMBSTONE_ADD, .tombstone = t }), KMS_OK);
	assert_false(is_known(f, s.vault.root_id));
	assert_true(is_known(f, root));
	/* Of what was replaced nothing is left in the files. */
	assert_true(store_fixture_grep(f, "################", 16) > 0); /* in the WAL */
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK);
	assert_int_equal(store_fixture_grep(f, "wwwwwwwwwwwwwwww", 16), 0);
	assert_int_equal(store_fixture_grep(f, "################", 16), 0);
	assert_true(store_fixture_grep(f, "2222222222222222", 16) > 0);
}

static void only_a_blob_is_rewrapped(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_change next = next_root(&s.vault, 9), c;
	static uint8_t blob[STORE_BLOB_MAX + 1];
	struct store_version gone = store_fixture_version(77, &s.key);

	assert_int_equal(one(f, next), KMS_OK);
	assert_int_equal(one(f, rewrap(&s.resident, next.vault.next_root_id, blob, 40)), KMS_E_FENCED);
	assert_int_equal(one(f, rewrap(&gone, next.vault.next_root_id, blob, 40)), KMS_E_FENCED);
	assert_int_equal(one(f, rewrap(&s.first, next.vault.next_root_id, blob, 0)), KMS_E_INTERNAL);
	assert_int_equal(one(f, rewrap(&s.first, next.vault.next_root_id, blob, sizeof(blob))), KMS_E_INTERNAL);
	assert_int_equal(one(f, rewrap(&s.first, (uint8_t[STORE_ID_LEN]){ 0 }, blob, 40)), KMS_E_INTERNAL);
	c = rewrap(&s.first, next.vault.next_root_id, blob, 40);
	c.version.wrapped = NULL;
	assert_int_equal(one(f, c), KMS_E_INTERNAL);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ERASE, .version = s.first }), KMS_OK);
	assert_int_equal(one(f, rewrap(&s.first, next.vault.next_root_id, blob, 40)), KMS_E_FENCED);
	c = set_root(&s.vault, next.vault.next_root_id);
	c.vault.canary_wrapped_len = 0;
	assert_int_equal(one(f, c), KMS_E_INTERNAL);
}

/* ---- erasing ---- */

static void an_erased_version_keeps_its_row_and_nothing_else(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_version gone = store_fixture_version(77, &s.key);
	uint8_t objects[2][STORE_ID_LEN];
	STORE_VERSION_AUTO wrapped = { 0 };
	STORE_VERSION_AUTO other = { 0 };
	size_t count;

	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ERASE, .version = gone }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ERASE, .version = s.first }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ERASE, .version = s.resident }), KMS_OK);
	assert_int_equal(store_version_of_object(f->r, s.first.obj, &wrapped, NULL), KMS_OK);
	assert_true(wrapped.wrapped == NULL && wrapped.pub == NULL && wrapped.e_len == 0 && wrapped.tags == NULL);
	assert_memory_equal(wrapped.root_id, s.vault.root_id, STORE_ID_LEN);
	assert_int_equal(wrapped.bits, s.first.bits);
	assert_int_equal(store_version_of_object(f->r, s.second.obj, &other, NULL), KMS_OK);
	assert_true(other.wrapped != NULL && other.tags != NULL);
	assert_int_equal(count_wrapped(f, &s.vault, NULL), 1);
	/* What the device holds is still to be found. */
	assert_int_equal(store_objects(f->r, s.vault.id, NULL, objects, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_memory_equal(objects[0], s.resident.obj, STORE_ID_LEN);
	/* Again, and by the whole vault and the whole key afterwards. */
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ERASE, .version = s.first }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = s.vault }), KMS_OK);
	assert_int_equal(count_wrapped(f, &s.vault, NULL), 0);
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK);
	assert_int_equal(store_fixture_grep(f, "wwwwwwwwwwwwwwww", 16), 0);
	assert_int_equal(store_fixture_grep(f, "mmmmmmmmmmmmmmmm", 16), 0);
	assert_int_equal(store_fixture_grep(f, "{\"team\":\"blue\"}", 15), 0);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_PURGE, .key = s.key }), KMS_OK);
	assert_int_equal(store_version_of_object(f->r, s.first.obj, &other, NULL), KMS_E_NOTFOUND);
}

/* A shred may come while a rotation is under way. */
static void a_vault_is_erased_under_both_of_its_roots(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_change next = next_root(&s.vault, 9);
	struct store_version v = store_fixture_version(4, &s.key);

	memcpy(v.root_id, next.vault.next_root_id, STORE_ID_LEN);
	assert_int_equal(one(f, next), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = v }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = s.vault }), KMS_OK);
	assert_int_equal(count_wrapped(f, &s.vault, NULL), 0);
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK);
	assert_int_equal(store_fixture_grep(f, "wwwwwwwwwwwwwwww", 16), 0);
	assert_int_equal(store_fixture_grep(f, "################", 16), 0);
}

/* ---- tombstones ---- */

static kms_status bury(struct store_fixture *f, struct store_tombstone t)
{
	return one(f, (struct store_change){ .kind = STORE_TOMBSTONE_ADD, .tombstone = t });
}

static void a_tombstone_comes_back_whole_and_stands_for_ever(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_tombstone version = store_fixture_tombstone(&s.vault, &s.key, &s.first, 5), root = store_fixture_tombstone(&s.vault, NULL, NULL, 5);
	struct store_tombstone got;

	root.seq = 77; /* set by the store */
	assert_int_equal(bury(f, version), KMS_OK);
	assert_int_equal(bury(f, root), KMS_OK);
	assert_int_equal(bury(f, version), KMS_E_CONFLICT);
	version.seq = 2;
	root.seq = 3;
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_PURGE, .key = s.key }), KMS_OK);
	store_fixture_reopen(f);
	memset(&got, 0, sizeof(got));
	assert_int_equal(store_tombstone(f->r, s.first.obj, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &version, sizeof(got));
	memset(&got, 0, sizeof(got));
	assert_int_equal(store_tombstone(f->r, s.vault.root_id, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &root, sizeof(got));
	assert_int_equal(store_tombstone(f->r, s.second.obj, &got, NULL), KMS_E_NOTFOUND);
}

static void tombstones_of_one_destruction_are_listed_by_object(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault other = store_fixture_vault(2, "invoices"), none = { 0 };
	struct store_tombstone page[3], epoch = { .kind = STORE_TOMBSTONE_EPOCH, .created_seq = STORE_NO_SEQ, .intent = 5 };
	size_t count;

	store_fixture_id('E', 1, epoch.obj);
	assert_int_equal(bury(f, store_fixture_tombstone(&s.vault, &s.key, &s.second, 5)), KMS_OK);
	assert_int_equal(bury(f, store_fixture_tombstone(&s.vault, &s.key, &s.first, 5)), KMS_OK);
	assert_int_equal(bury(f, store_fixture_tombstone(&s.vault, &s.key, &s.resident, 6)), KMS_OK);
	assert_int_equal(bury(f, store_fixture_tombstone(&other, NULL, NULL, 5)), KMS_OK);
	assert_int_equal(bury(f, epoch), KMS_OK);
	assert_int_equal(store_tombstones(f->r, s.vault.id, 5, NULL, page, 3, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_memory_equal(page[0].obj, s.first.obj, STORE_ID_LEN);
	assert_memory_equal(page[1].obj, s.second.obj, STORE_ID_LEN);
	assert_int_equal(store_tombstones(f->r, s.vault.id, 5, s.first.obj, page, 3, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(store_tombstones(f->r, s.vault.id, 7, NULL, page, 3, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	assert_int_equal(store_tombstones(f->r, none.id, 5, NULL, page, 3, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_int_equal(page[0].kind, STORE_TOMBSTONE_EPOCH);
	assert_int_equal(store_tombstones(f->r, none.id, 5, NULL, page, 0, &count, NULL), KMS_E_INTERNAL);
	assert_int_equal(store_tombstones(f->r, none.id, UINT64_MAX, NULL, page, 3, &count, NULL), KMS_E_INTERNAL);
}

/* "olm": has others, lives, may linger. */
static const char *revival(struct store_fixture *f, const struct scene *s, uint64_t intent)
{
	static char text[4];
	struct store_revival r = { 0 };

	assert_int_equal(store_revival(f->r, s->vault.id, intent, &r, NULL), KMS_OK);
	(void)snprintf(text, sizeof(text), "%s%s%s", r.has_others ? "o" : "", r.lives ? "l" : "", r.may_linger ? "m" : "");
	return text;
}

static void a_version_that_a_restore_made_again_is_told_of(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_version old = s.first;
	struct store_change epoch = { .kind = STORE_EPOCH_ADD, .epoch = { .created_s = 1, .closed_s = STORE_NO_TIME, .ended_s = STORE_NO_TIME } };
	STORE_VERSION_AUTO alive = { 0 };
	struct store_revival r = { 0 };

	store_fixture_id('O', 1, old.obj); /* as which it died before */
	assert_int_equal(bury(f, store_fixture_tombstone(&s.vault, &s.key, &s.second, 5)), KMS_OK);
	assert_string_equal(revival(f, &s, 5), ""); /* it is dying: its row is there still */
	assert_int_equal(bury(f, store_fixture_tombstone(&s.vault, &s.key, &old, 6)), KMS_OK);
	assert_string_equal(revival(f, &s, 6), "ol");
	assert_int_equal(store_revival(f->r, s.vault.id, 6, &r, NULL), KMS_OK);
	assert_int_equal(store_version_of_object(f->r, s.first.obj, &alive, NULL), KMS_OK);
	assert_int_equal(r.made_seq, alive.created_seq);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_PURGE, .key = s.key }), KMS_OK);
	assert_string_equal(revival(f, &s, 6), "");
	assert_int_equal(bury(f, store_fixture_tombstone(&s.vault, &s.key, &s.first, 7)), KMS_OK);
	assert_string_equal(revival(f, &s, 6), "o"); /* no backup was ever made */
	store_fixture_id('E', 1, epoch.epoch.obj);
	assert_int_equal(one(f, epoch), KMS_OK);
	assert_string_equal(revival(f, &s, 6), "om"); /* the later one has no certificate that tells */
	assert_string_equal(revival(f, &s, 7), "o"); /* it is the last one's own to say */
	assert_string_equal(revival(f, &s, 5), "");
	epoch.epoch.created_s = INT64_C(1) << 40; /* one that begins afterwards has nothing of it */
	store_fixture_id('E', 2, epoch.epoch.obj);
	assert_int_equal(one(f, epoch), KMS_OK);
	store_fixture_id('E', 1, epoch.epoch.obj);
	epoch.kind = STORE_EPOCH_END;
	epoch.epoch.number = 1;
	epoch.epoch.ended_s = 2;
	assert_int_equal(one(f, epoch), KMS_OK);
	assert_string_equal(revival(f, &s, 6), "o");
	assert_int_equal(store_revival(f->r, s.vault.id, UINT64_MAX, &r, NULL), KMS_E_INTERNAL);
}

static void a_tombstone_of_nothing_is_refused(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_tombstone good = store_fixture_tombstone(&s.vault, &s.key, &s.first, 5), t[4] = { good, good, good, good };

	memset(t[0].obj, 0, STORE_ID_LEN);
	t[1].kind = (enum store_tombstone_kind)5;
	t[2].intent = UINT64_MAX;
	t[3].created_seq = STORE_SEQ_MAX + 1;
	for (size_t i = 0; i < KMS_ARRAY_LEN(t); i++)
		assert_int_equal(bury(f, t[i]), KMS_E_INTERNAL);
	assert_int_equal(bury(f, good), KMS_OK);
}

/* ---- certificates ---- */

static struct store_change change(enum store_change_kind kind, const struct store_certificate *c)
{
	return (struct store_change){ .kind = kind, .certificate = *c };
}

static char checks[] = "[\"drained\"]", copies[] = "[]", residual[] = "\"none-known\"", hsm[] = "{\"model\":\"x\"}", lines[] = "- a line\n",
            two_lines[] = "- a line\n- another\n";

static struct store_certificate filled(const struct store_certificate *c)
{
	struct store_certificate out = *c;

	out.method = 2;
	out.wrapped = 12;
	out.approved_us = 1;
	out.destroyed_us = 2;
	out.verified_us = 3;
	out.checks = checks;
	return out;
}

static struct store_certificate issued(const struct store_certificate *c, enum store_certificate_state to, int64_t issued_s)
{
	struct store_certificate out = filled(c);

	out.state = to;
	out.size = 9;
	memset(out.root, 'T', sizeof(out.root));
	memset(out.intent_leaf, 'I', sizeof(out.intent_leaf));
	memset(out.outcome_leaf, 'O', sizeof(out.outcome_leaf));
	out.until_s = to == STORE_CERTIFICATE_PENDING ? 1800000000 : STORE_NO_TIME;
	out.issued_s = issued_s;
	out.copies = copies;
	out.residual = residual;
	out.hsm = hsm;
	out.signatures = lines;
	return out;
}

static void assert_certificate(struct store_fixture *f, const struct store_certificate *want)
{
	STORE_CERTIFICATE_AUTO got = { 0 };
	struct store_certificate plain;

	assert_int_equal(store_certificate(f->r, want->id, &got, NULL), KMS_OK);
	assert_string_equal(got.checks, want->checks != NULL ? want->checks : "");
	assert_string_equal(got.copies, want->copies != NULL ? want->copies : "");
	assert_string_equal(got.residual, want->residual != NULL ? want->residual : "");
	assert_string_equal(got.hsm, want->hsm != NULL ? want->hsm : "");
	assert_string_equal(got.signatures, want->signatures != NULL ? want->signatures : "");
	plain = got;
	plain.checks = want->checks;
	plain.copies = want->copies;
	plain.residual = want->residual;
	plain.hsm = want->hsm;
	plain.signatures = want->signatures;
	assert_memory_equal(&plain, want, sizeof(plain));
}

static void a_certificate_begins_is_filled_and_is_signed_until_it_is_complete(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_certificate c = store_fixture_certificate(1, &s.vault), want = c, full = filled(&c);
	struct store_certificate pending = issued(&c, STORE_CERTIFICATE_PENDING, 1700000100), complete = issued(&c, STORE_CERTIFICATE_COMPLETE, 1700000200);
	STORE_CERTIFICATE_AUTO found = { 0 };

	assert_int_equal(one(f, change(STORE_CERTIFICATE_ADD, &c)), KMS_OK);
	memcpy(want.origin, ORIGIN_1, sizeof(ORIGIN_1));
	want.intent = 2;
	want.outcome = STORE_NO_SEQ;
	assert_certificate(f, &want);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SET, &pending)), KMS_E_FENCED); /* not filled yet */
	assert_int_equal(one(f, change(STORE_CERTIFICATE_FILL, &full)), KMS_OK);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_FILL, &full)), KMS_E_FENCED);
	memcpy(full.origin, ORIGIN_1, sizeof(ORIGIN_1));
	full.state = STORE_CERTIFICATE_DUE;
	full.intent = 2;
	full.outcome = 3;
	assert_certificate(f, &full);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SET, &pending)), KMS_OK);
	memcpy(pending.origin, ORIGIN_1, sizeof(ORIGIN_1));
	pending.intent = 2;
	pending.outcome = 3;
	assert_certificate(f, &pending);
	assert_int_equal(store_certificate_of_intent(f->r, s.vault.id, 2, &found, NULL), KMS_OK);
	assert_memory_equal(found.id, c.id, STORE_ID_LEN);
	assert_int_equal(store_certificate_of_intent(f->r, s.vault.id, 3, &found, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_certificate_of_intent(f->r, s.vault.id, UINT64_MAX, &found, NULL), KMS_E_NOTFOUND);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SET, &complete)), KMS_OK);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SET, &complete)), KMS_E_FENCED);
	memcpy(complete.origin, ORIGIN_1, sizeof(ORIGIN_1));
	complete.intent = 2;
	complete.outcome = 3;
	store_fixture_reopen(f);
	assert_certificate(f, &complete);
	assert_int_equal(store_certificate(f->r, s.vault.id, &found, NULL), KMS_E_NOTFOUND);
}

static void of_two_who_sign_at_once_neither_is_lost(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_certificate c = store_fixture_certificate(1, &s.vault), full = filled(&c), done = issued(&c, STORE_CERTIFICATE_PENDING, 1700000100);
	struct store_certificate both = done, other = done, old = done, none = done;
	static char third[] = "- a line\n- a third\n";
	STORE_CERTIFICATE_AUTO got = { 0 };

	both.signatures = two_lines;
	other.signatures = third;
	old.issued_s = 1700000099;
	none.signatures = NULL;
	assert_int_equal(one(f, change(STORE_CERTIFICATE_ADD, &c)), KMS_OK);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SIGN, &both)), KMS_E_FENCED);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_FILL, &full)), KMS_OK);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SET, &done)), KMS_OK);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SIGN, &old)), KMS_E_FENCED);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SIGN, &none)), KMS_E_INTERNAL);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SIGN, &both)), KMS_OK);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SIGN, &other)), KMS_E_FENCED); /* has not seen the second line */
	assert_int_equal(store_certificate(f->r, c.id, &got, NULL), KMS_OK);
	assert_string_equal(got.signatures, two_lines);
}

static size_t count_certificates(struct store_fixture *f, const uint8_t *vault, const uint8_t *after, bool only_open)
{
	struct store_certificate page[4] = { 0 };
	size_t count = 99;

	assert_int_equal(store_certificates(f->r, vault, after, only_open, page, 4, &count, NULL), KMS_OK);
	for (size_t i = 0; i < count; i++) {
		assert_true(i == 0 || memcmp(page[i - 1].id, page[i].id, STORE_ID_LEN) < 0);
		store_certificate_clear(&page[i]);
	}
	return count;
}

/* Three: begun, due and complete; and one of another vault, pending. */
static void add_certificates(struct store_fixture *f, const struct store_vault *v, const struct store_vault *other)
{
	for (unsigned n = 1; n <= 4; n++) {
		struct store_certificate c = store_fixture_certificate(n, n == 4 ? other : v), full = filled(&c);
		struct store_certificate done = issued(&c, n == 4 ? STORE_CERTIFICATE_PENDING : STORE_CERTIFICATE_COMPLETE, 1700000100);
		assert_int_equal(one(f, change(STORE_CERTIFICATE_ADD, &c)), KMS_OK);
		if (n > 1)
			assert_int_equal(one(f, change(STORE_CERTIFICATE_FILL, &full)), KMS_OK);
		if (n > 2)
			assert_int_equal(one(f, change(STORE_CERTIFICATE_SET, &done)), KMS_OK);
	}
}

static void certificates_are_listed_by_vault_and_by_what_is_still_to_be_done(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault other = store_fixture_vault(2, "invoices");
	uint8_t second[STORE_ID_LEN];

	add_certificates(f, &s.vault, &other);
	store_fixture_id('C', 2, second);
	assert_int_equal(count_certificates(f, NULL, NULL, false), 4);
	assert_int_equal(count_certificates(f, NULL, second, false), 2);
	assert_int_equal(count_certificates(f, NULL, NULL, true), 2);
	assert_int_equal(count_certificates(f, NULL, second, true), 1);
	assert_int_equal(count_certificates(f, s.vault.id, NULL, false), 3);
	assert_int_equal(count_certificates(f, s.vault.id, second, false), 1);
	assert_int_equal(count_certificates(f, s.vault.id, NULL, true), 1);
	assert_int_equal(count_certificates(f, s.vault.id, second, true), 0);
	assert_int_equal(count_certificates(f, other.id, NULL, true), 1);
	assert_int_equal(store_certificates(f->r, NULL, NULL, false, NULL, 0, NULL, NULL), KMS_E_INTERNAL);
}

static void a_certificate_that_says_too_little_or_too_much_is_refused(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	static char facts[STORE_FACTS_MAX + 2], signatures[STORE_SIGNATURES_MAX + 2];
	struct store_certificate c = store_fixture_certificate(1, &s.vault), full = filled(&c), begun[3] = { c, c, c };
	struct store_certificate good = issued(&c, STORE_CERTIFICATE_COMPLETE, 1700000100), bad[7] = { good, good, good, good, good, good, good };

	memset(facts, 'x', sizeof(facts) - 1);
	memset(signatures, 'x', sizeof(signatures) - 1);
	begun[0].state = STORE_CERTIFICATE_DUE;
	begun[1].scope = STORE_CERTIFICATE_KEY; /* of which key? */
	begun[2].key_name[0] = 'k';
	for (size_t i = 0; i < KMS_ARRAY_LEN(begun); i++)
		assert_int_equal(one(f, change(STORE_CERTIFICATE_ADD, &begun[i])), KMS_E_INTERNAL);
	assert_int_equal(one(f, change(STORE_CERTIFICATE_ADD, &c)), KMS_OK);
	full.checks = facts;
	assert_int_equal(one(f, change(STORE_CERTIFICATE_FILL, &full)), KMS_E_INTERNAL);
	facts[STORE_FACTS_MAX] = '\0';
	assert_int_equal(one(f, change(STORE_CERTIFICATE_FILL, &full)), KMS_OK);
	bad[0].state = STORE_CERTIFICATE_DUE;
	bad[1].until_s = 1800000000; /* complete, and yet not */
	bad[2].state = STORE_CERTIFICATE_PENDING;
	bad[3].issued_s = STORE_NO_TIME;
	bad[4].size = 0;
	bad[5].signatures = signatures;
	bad[6].signatures = NULL;
	for (size_t i = 0; i < KMS_ARRAY_LEN(bad); i++)
		assert_int_equal(one(f, change(STORE_CERTIFICATE_SET, &bad[i])), KMS_E_INTERNAL);
	/* All of it at its longest fits in one row. */
	signatures[STORE_SIGNATURES_MAX] = '\0';
	good.copies = good.residual = good.hsm = good.checks = facts;
	good.signatures = signatures;
	assert_int_equal(one(f, change(STORE_CERTIFICATE_SET, &good)), KMS_OK);
	memcpy(good.origin, ORIGIN_1, sizeof(ORIGIN_1));
	good.intent = 2;
	good.outcome = 3;
	assert_certificate(f, &good);
}

/* ---- when the log is closed ---- */

static void close_log(struct store_fixture *f)
{
	struct store_change c = { .kind = STORE_LOG_CLOSE, .log_close = { .closed = { .origin = ORIGIN_1 }, .next_origin = ORIGIN_2 } };
	struct store_event e = store_fixture_event(0);

	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, &c, 1, 0, NULL), KMS_OK);
	assert_int_equal(store_append(f->w, &e, NULL), KMS_OK);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	f->seq = 1;
}

static void what_a_closed_log_has_numbered_is_not_taken_for_the_next_ones(void **state)
{
	struct store_fixture *f = *state;
	struct scene s = set_scene(f);
	struct store_vault other = store_fixture_vault(2, "invoices");
	struct store_tombstone t = store_fixture_tombstone(&s.vault, &s.key, &s.first, 2), late = store_fixture_tombstone(&s.vault, &s.key, &s.second, 0), got = { 0 };
	struct store_intent open = { .type = 17 }, intents[2];
	struct store_certificate fresh = store_fixture_certificate(9, &s.vault);
	STORE_CERTIFICATE_AUTO complete = { 0 };
	STORE_VERSION_AUTO v = { 0 };
	const uint64_t bits = STORE_SEQ_MAX + 1;
	uint8_t id[STORE_ID_LEN];
	size_t count;

	add_certificates(f, &s.vault, &other); /* intents 2, 3, 5, 8 */
	t.intent = 5;
	assert_int_equal(bury(f, t), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_INTENT_OPEN, .intent = open }), KMS_OK);
	close_log(f);
	assert_int_equal(store_tombstone(f->r, t.obj, &got, NULL), KMS_OK);
	assert_true(got.intent == bits + 5 && got.seq == STORE_NO_SEQ && got.created_seq == t.created_seq);
	assert_int_equal(store_tombstones(f->r, s.vault.id, 5, NULL, &got, 1, &count, NULL), KMS_OK);
	assert_int_equal(count, 0);
	/* One that goes on under its old intent belongs to the same destruction. */
	assert_int_equal(store_intents(f->r, UINT64_MAX, intents, 2, &count, NULL), KMS_OK);
	assert_true(count == 1 && intents[0].is_of_closed_log);
	late.intent = bits + 5;
	assert_int_equal(bury(f, late), KMS_OK);
	assert_int_equal(store_tombstones(f->r, s.vault.id, bits + 5, t.obj, &got, 1, &count, NULL), KMS_OK);
	assert_true(count == 1 && got.seq == 1);
	/* What was not signed is dropped, what was keeps its name and its tombstones. */
	assert_int_equal(count_certificates(f, NULL, NULL, false), 2);
	store_fixture_id('C', 3, id);
	assert_int_equal(store_certificate(f->r, id, &complete, NULL), KMS_OK);
	assert_true(complete.intent == bits + 5 && strcmp(complete.origin, ORIGIN_1) == 0);
	assert_int_equal(vault_now(f, &s.vault).created_seq, STORE_NO_SEQ);
	assert_int_equal(store_version_of_object(f->r, s.first.obj, &v, NULL), KMS_OK);
	assert_int_equal(v.created_seq, STORE_NO_SEQ);
	/* The same number means another leaf now. */
	f->seq = 5;
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, (struct store_change[]){ change(STORE_CERTIFICATE_ADD, &fresh) }, 1, 5, NULL), KMS_OK);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	store_certificate_clear(&complete);
	assert_int_equal(store_certificate_of_intent(f->r, s.vault.id, 5, &complete, NULL), KMS_OK);
	assert_string_equal(complete.origin, ORIGIN_2);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_made_remembers_the_leaf_that_made_it),
		T(a_vault_is_locked_and_unlocked_once_each_and_what_depends_on_it_notices),
		T(a_vault_has_one_next_root_at_a_time),
		T(a_version_is_wrapped_under_a_root_of_its_vault_or_not_stored),
		T(a_root_is_replaced_when_nothing_is_wrapped_under_it_any_more),
		T(only_a_blob_is_rewrapped),
		T(an_erased_version_keeps_its_row_and_nothing_else),
		T(a_vault_is_erased_under_both_of_its_roots),
		T(a_tombstone_comes_back_whole_and_stands_for_ever),
		T(tombstones_of_one_destruction_are_listed_by_object),
		T(a_version_that_a_restore_made_again_is_told_of),
		T(a_tombstone_of_nothing_is_refused),
		T(a_certificate_begins_is_filled_and_is_signed_until_it_is_complete),
		T(of_two_who_sign_at_once_neither_is_lost),
		T(certificates_are_listed_by_vault_and_by_what_is_still_to_be_done),
		T(a_certificate_that_says_too_little_or_too_much_is_refused),
		T(what_a_closed_log_has_numbered_is_not_taken_for_the_next_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
