/* tests/contract/storage_following.c - the storage port: when keys are due, consumers of the log, webhooks with their deliveries, persons, pruned leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/store_fixture.h"

static const uint8_t NO_ID[STORE_ID_LEN];

static kms_status one(struct store_fixture *f, struct store_change c) { return store_fixture_one(f, c); }

/* ---- due keys ---- */

struct one_key {
	struct store_vault v;
	struct store_key k;
	struct store_version version;
};

static struct one_key make_key(struct store_fixture *f, unsigned n)
{
	char name[16];
	struct one_key o;

	(void)snprintf(name, sizeof(name), "vault-%u", n);
	o.v = store_fixture_vault(n, name);
	o.k = store_fixture_key(n, &o.v, "master");
	o.version = store_fixture_version(n, &o.k);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = o.v }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = o.k }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = o.version }), KMS_OK);
	return o;
}

static struct store_due due_of(struct store_fixture *f, const struct store_key *k)
{
	struct store_due d = { 0 };

	assert_int_equal(store_due_of(f->r, k->id, &d, NULL), KMS_OK);
	return d;
}

static size_t due_count(struct store_fixture *f, int64_t now_s)
{
	struct store_due due[8];
	size_t count = 99;

	assert_int_equal(store_due(f->r, now_s, NO_ID, due, 8, &count, NULL), KMS_OK);
	return count;
}

/* As the scheduler leaves it: everything known, and not to be looked at before at_s. */
static struct store_due settle(struct store_fixture *f, const struct one_key *o, int64_t at_s)
{
	struct store_due d = due_of(f, &o->k);

	d.at_s = at_s;
	memcpy(d.near_version, o->version.id, STORE_ID_LEN);
	memcpy(d.expired_version, o->version.id, STORE_ID_LEN);
	memcpy(d.base_version, o->version.id, STORE_ID_LEN);
	d.near_exp_s = 1900000000;
	d.expired_exp_s = 1900000001;
	d.base_s = 1700000099;
	d.attempts = 3;
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_DUE_SET, .due = d }), KMS_OK);
	return d;
}

static void whatever_changes_a_key_makes_it_due_and_keeps_what_was_done(void **state)
{
	struct store_fixture *f = *state;
	struct one_key o = make_key(f, 1);
	struct store_version next = store_fixture_version(2, &o.k);
	struct store_key deleted = o.k;
	struct store_change changes[] = {
		{ .kind = STORE_VERSION_ADD, .version = next },
		{ .kind = STORE_VERSION_SET, .version = o.version },
		{ .kind = STORE_POLICY_SET, .policy = store_fixture_policy(1, &o.k) },
		{ .kind = STORE_KEY_REVOKE, .revocation = { .reason = 1, .updated_s = 1700000010 } },
	};
	struct store_due want, got;

	memcpy(changes[3].revocation.key_id, o.k.id, STORE_ID_LEN);
	got = due_of(f, &o.k);
	assert_true(got.at_s == 0 && got.attempts == 0 && got.key_epoch > 0);
	for (size_t i = 0; i < KMS_ARRAY_LEN(changes); i++) {
		want = settle(f, &o, 1800000000);
		got = due_of(f, &o.k);
		assert_memory_equal(&got, &want, sizeof(want));
		assert_int_equal(due_count(f, 1799999999), 0);
		assert_int_equal(due_count(f, 1800000000), 1);
		assert_int_equal(one(f, changes[i]), KMS_OK);
		got = due_of(f, &o.k);
		want.at_s = 0;
		want.key_epoch = got.key_epoch;
		assert_memory_equal(&got, &want, sizeof(want));
	}
	deleted.deleted_s = 1700000020;
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = deleted }), KMS_OK);
	assert_int_equal(store_due_of(f->r, o.k.id, &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(one(f, changes[3]), KMS_OK); /* a deleted key may be revoked, and is nobody's business */
	assert_int_equal(due_count(f, INT64_MAX), 0);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_RECOVER, .key = o.k }), KMS_OK);
	got = due_of(f, &o.k);
	assert_true(got.at_s == 0 && got.attempts == 0);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = deleted }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_PURGE, .key = deleted }), KMS_OK);
}

static void a_due_row_is_fenced_by_the_epoch_of_its_key(void **state)
{
	struct store_fixture *f = *state;
	struct one_key o = make_key(f, 1);
	struct store_due d = due_of(f, &o.k);
	struct store_key got, deleted = o.k;

	d.at_s = 5;
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = store_fixture_version(2, &o.k) }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_DUE_SET, .due = d }), KMS_E_FENCED);
	d.key_epoch++;
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_DUE_SET, .due = d }), KMS_OK);
	assert_int_equal(store_key_by_id(f->r, o.k.id, &got, NULL), KMS_OK);
	assert_string_equal(got.name, "master");
	assert_memory_equal(got.vault_id, o.v.id, STORE_ID_LEN);
	assert_int_equal(got.epoch, d.key_epoch);
	deleted.deleted_s = 1700000020;
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_DELETE, .key = deleted }), KMS_OK);
	assert_int_equal(store_key_by_id(f->r, o.k.id, &got, NULL), KMS_E_NOTFOUND);
	d.key_epoch++;
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_DUE_SET, .due = d }), KMS_E_FENCED);
}

static void vaults_have_their_turn_in_a_circle_and_locked_or_dying_ones_none(void **state)
{
	struct store_fixture *f = *state;
	struct one_key o[3] = { make_key(f, 1), make_key(f, 2), make_key(f, 3) };
	struct store_due due[3] = { 0 };
	size_t count;

	for (size_t i = 0; i < 3; i++)
		(void)settle(f, &o[i], 100 - (int64_t)i);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(store_due(f->r, 100, o[i].v.id, due, 3, &count, NULL), KMS_OK);
		assert_int_equal(count, 3);
		for (size_t n = 0; n < 3; n++)
			assert_memory_equal(due[n].vault_id, o[(i + n + 1) % 3].v.id, STORE_ID_LEN);
		assert_memory_equal(due[2].key_id, o[i].k.id, STORE_ID_LEN);
	}
	assert_int_equal(store_due(f->r, 99, NO_ID, due, 1, &count, NULL), KMS_OK);
	assert_true(count == 1 && due[0].at_s == 99);
	o[2].v.is_locked = true;
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_LOCK, .vault = o[2].v }), KMS_OK);
	o[1].v.state = STORE_VAULT_SHREDDING;
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_SET_STATE, .vault = o[1].v }), KMS_OK);
	assert_int_equal(store_due(f->r, 100, NO_ID, due, 3, &count, NULL), KMS_OK);
	assert_true(count == 1 && due[0].at_s == 100);
	assert_int_equal(store_due(f->r, 100, NO_ID, due, 0, &count, NULL), KMS_E_INTERNAL);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = o[1].v }), KMS_OK);
	assert_int_equal(store_due_of(f->r, o[1].k.id, due, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_due_of(f->r, o[2].k.id, due, NULL), KMS_OK);
}

/* However many of one vault are due, those that have waited longest stand for all. */
static void a_vault_with_many_due_keys_leaves_room_for_others(void **state)
{
	struct store_fixture *f = *state;
	struct one_key many = make_key(f, 1), other = make_key(f, 2);
	struct store_due due[32], d;
	size_t count = 0, of_many = 0;

	(void)settle(f, &many, 1000);
	(void)settle(f, &other, 1000);
	for (unsigned n = 0; n < 2 * STORE_DUE_EACH; n++) {
		char name[16];
		struct store_key k;
		(void)snprintf(name, sizeof(name), "k-%u", n);
		k = store_fixture_key(10 + n, &many.v, name);
		assert_int_equal(one(f, (struct store_change){ .kind = STORE_KEY_ADD, .key = k }), KMS_OK);
		assert_int_equal(one(f, (struct store_change){ .kind = STORE_VERSION_ADD, .version = store_fixture_version(10 + n, &k) }), KMS_OK);
		d = due_of(f, &k);
		d.at_s = 999 - n;
		assert_int_equal(one(f, (struct store_change){ .kind = STORE_DUE_SET, .due = d }), KMS_OK);
	}
	assert_int_equal(store_due(f->r, 1000, NO_ID, due, 32, &count, NULL), KMS_OK);
	assert_int_equal(count, STORE_DUE_EACH + 1);
	for (size_t i = 0; i < count; i++) {
		if (memcmp(due[i].vault_id, many.v.id, STORE_ID_LEN) != 0)
			continue;
		of_many++;
		assert_true(due[i].at_s < 1000 - STORE_DUE_EACH);
	}
	assert_int_equal(of_many, STORE_DUE_EACH);
}

/* ---- cursors ---- */

static struct store_change cursor(const char *name, uint64_t seq)
{
	struct store_change c = { .kind = STORE_CURSOR_SET, .cursor = { .seq = seq } };

	memcpy(c.cursor.name, name, strlen(name) + 1);
	return c;
}

static uint64_t cursor_of(struct store_fixture *f, const char *name)
{
	uint64_t seq = 99;

	assert_int_equal(store_cursor(f->r, name, &seq, NULL), KMS_OK);
	return seq;
}

static void a_cursor_is_where_it_was_put_and_at_the_start_before(void **state)
{
	struct store_fixture *f = *state;
	char longest[STORE_CURSOR_NAME_MAX + 2];
	uint64_t seq;

	assert_int_equal(cursor_of(f, "webhooks"), 0);
	assert_int_equal(one(f, cursor("webhooks", 7)), KMS_OK);
	assert_int_equal(one(f, cursor("export:siem", 3)), KMS_OK);
	assert_int_equal(one(f, cursor("webhooks", STORE_SEQ_MAX + 1)), KMS_OK);
	store_fixture_reopen(f);
	assert_int_equal(cursor_of(f, "webhooks"), STORE_SEQ_MAX + 1);
	assert_int_equal(cursor_of(f, "export:siem"), 3);
	assert_int_equal(one(f, cursor("webhooks", STORE_SEQ_MAX + 2)), KMS_E_INTERNAL);
	assert_int_equal(one(f, cursor("", 1)), KMS_E_INTERNAL);
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(store_cursor(f->r, longest, &seq, NULL), KMS_E_INTERNAL);
	longest[sizeof(longest) - 2] = '\0';
	assert_int_equal(one(f, cursor(longest, 1)), KMS_OK);
	assert_int_equal(cursor_of(f, longest), 1);
}

/* ---- webhooks ---- */

static struct store_webhook webhook(unsigned n, const struct store_vault *v)
{
	struct store_webhook w = { .url = "https://receiver.example/hook", .shape = STORE_WEBHOOK_EVENT_GRID, .events = 7, .state = STORE_WEBHOOK_PENDING,
		                   .generation = 1, .attempts = 2, .next_s = 1700000050, .created_s = 1700000040 };

	store_fixture_id('w', n, w.id);
	memcpy(w.vault_id, v->id, STORE_ID_LEN);
	(void)snprintf(w.name, sizeof(w.name), "Hook-%u", n);
	return w;
}

static kms_status add_webhook(struct store_fixture *f, struct store_webhook w)
{
	return one(f, (struct store_change){ .kind = STORE_WEBHOOK_ADD, .webhook = w });
}

static struct store_delivery delivery(const struct store_webhook *w, uint64_t seq, uint32_t event)
{
	struct store_delivery d = { .seq = seq, .event = event, .state = STORE_DELIVERY_WAITING, .key_name = "Master", .event_us = 1700000060000001,
		                    .next_s = 1700000061, .created_s = 1700000060 };

	memcpy(d.webhook_id, w->id, STORE_ID_LEN);
	store_fixture_id('v', 1, d.version_id);
	store_fixture_id('e', (unsigned)seq, d.event_id);
	return d;
}

static kms_status put_delivery(struct store_fixture *f, enum store_change_kind kind, struct store_delivery d)
{
	return one(f, (struct store_change){ .kind = kind, .delivery = d });
}

static size_t deliveries(struct store_fixture *f, const struct store_webhook *w, enum store_delivery_state state, uint64_t after, struct store_delivery ret[8])
{
	size_t count = 99;
	uint64_t all = 99;

	assert_int_equal(store_deliveries(f->r, w->id, state, after, ret, 8, &count, NULL), KMS_OK);
	assert_int_equal(store_delivery_count(f->r, w->id, state, &all, NULL), KMS_OK);
	if (after == UINT64_MAX)
		assert_int_equal(all, count);
	return count;
}

static void a_webhook_is_its_vaults_and_has_one_name_there(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), other = store_fixture_vault(2, "other");
	struct store_webhook w = webhook(1, &v), got[3] = { 0 }, none = webhook(9, &v), bad;
	size_t count = 99;

	assert_int_equal(add_webhook(f, w), KMS_E_FENCED); /* of no vault */
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = other }), KMS_OK);
	w.from_seq = f->seq;
	assert_int_equal(add_webhook(f, w), KMS_OK);
	none = w;
	store_fixture_id('w', 2, none.id);
	memcpy(none.name, "HOOK-1", sizeof("HOOK-1"));
	assert_int_equal(add_webhook(f, none), KMS_E_CONFLICT);
	memcpy(none.vault_id, other.id, STORE_ID_LEN);
	assert_int_equal(add_webhook(f, none), KMS_OK);
	assert_int_equal(store_webhook(f->r, w.id, &got[0], NULL), KMS_OK);
	assert_memory_equal(&got[0], &w, sizeof(w));
	assert_int_equal(store_webhooks(f->r, NULL, NULL, got, 3, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_int_equal(store_webhooks(f->r, NULL, got[0].id, got, 3, &count, NULL), KMS_OK);
	assert_true(count == 1 && memcmp(got[0].id, none.id, STORE_ID_LEN) == 0);
	assert_int_equal(store_webhooks(f->r, v.id, NULL, got, 3, &count, NULL), KMS_OK);
	assert_true(count == 1 && memcmp(got[0].id, w.id, STORE_ID_LEN) == 0);

	w.state = STORE_WEBHOOK_REFUSED;
	w.generation = 2;
	w.attempts = 9;
	w.next_s = 1700000099;
	memcpy(w.failure, "answered 404", sizeof("answered 404"));
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_WEBHOOK_SET, .webhook = w }), KMS_OK);
	assert_int_equal(store_webhook(f->r, w.id, &got[0], NULL), KMS_OK);
	assert_memory_equal(&got[0], &w, sizeof(w));
	for (unsigned i = 0; i < 5; i++) {
		bad = w;
		bad.state = i == 0 ? (enum store_webhook_state)0 : bad.state;
		bad.shape = i == 1 ? (enum store_webhook_shape)3 : bad.shape;
		bad.generation = i == 2 ? 0 : bad.generation;
		bad.url[0] = i == 3 ? '\0' : bad.url[0];
		bad.events = i == 4 ? 0 : bad.events;
		assert_int_equal(add_webhook(f, bad), KMS_E_INTERNAL);
	}
	store_fixture_id('w', 3, none.id);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_WEBHOOK_SET, .webhook = none }), KMS_E_NOTFOUND);
	assert_int_equal(store_webhook(f->r, none.id, got, NULL), KMS_E_NOTFOUND);
}

static void a_vault_has_so_many_webhooks_and_no_more(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");

	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }), KMS_OK);
	for (unsigned n = 1; n <= STORE_WEBHOOKS_MAX; n++)
		assert_int_equal(add_webhook(f, webhook(n, &v)), KMS_OK);
	assert_int_equal(add_webhook(f, webhook(STORE_WEBHOOKS_MAX + 1, &v)), KMS_E_CONFLICT);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_WEBHOOK_REMOVE, .webhook = webhook(3, &v) }), KMS_OK);
	assert_int_equal(add_webhook(f, webhook(STORE_WEBHOOKS_MAX + 1, &v)), KMS_OK);
}

static void deliveries_wait_in_order_until_they_are_removed(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), other = store_fixture_vault(2, "other");
	struct store_webhook w = webhook(1, &v), stranger = webhook(2, &v), foreign;
	struct store_delivery d = delivery(&w, 40, 2), got[8] = { 0 };

	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, d), KMS_OK); /* its subscription is gone */
	assert_int_equal(add_webhook(f, w), KMS_OK);
	assert_int_equal(add_webhook(f, stranger), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, d), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, delivery(&w, 40, 1)), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, delivery(&w, 7, 4)), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, delivery(&stranger, 1, 4)), KMS_OK);
	d.next_s = 5;
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, d), KMS_OK); /* exists */
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_WAITING, UINT64_MAX, got), 3);
	assert_true(got[0].seq == 7 && got[1].seq == 40 && got[1].event == 1 && got[2].event == 2);
	d.next_s = 1700000061;
	assert_memory_equal(&got[2], &d, sizeof(d));
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_WAITING, 7, got), 2);

	d.state = STORE_DELIVERY_DEAD;
	d.attempts = 12;
	d.next_s = 0;
	d.http = 410;
	memcpy(d.failure, "gone", sizeof("gone"));
	assert_int_equal(put_delivery(f, STORE_DELIVERY_SET, d), KMS_OK);
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_DEAD, UINT64_MAX, got), 1);
	assert_memory_equal(&got[0], &d, sizeof(d));
	assert_int_equal(put_delivery(f, STORE_DELIVERY_REMOVE, delivery(&w, 7, 4)), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_REMOVE, delivery(&w, 7, 4)), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_SET, delivery(&w, 7, 4)), KMS_OK);
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_WAITING, UINT64_MAX, got), 1);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, delivery(&w, STORE_SEQ_MAX + 1, 4)), KMS_E_INTERNAL);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, delivery(&w, 8, 0)), KMS_E_INTERNAL);
	assert_int_equal(store_deliveries(f->r, w.id, STORE_DELIVERY_WAITING, (uint64_t)INT64_MAX + 1, got, 8, &(size_t){ 0 }, NULL), KMS_E_INTERNAL);

	/* With its deliveries, and by its own vault alone. */
	foreign = w;
	memcpy(foreign.vault_id, other.id, STORE_ID_LEN);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_WEBHOOK_REMOVE, .webhook = foreign }), KMS_E_NOTFOUND);
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_WAITING, UINT64_MAX, got), 1);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_WEBHOOK_REMOVE, .webhook = w }), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_WEBHOOK_REMOVE, .webhook = w }), KMS_E_NOTFOUND);
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_WAITING, UINT64_MAX, got), 0);
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_DEAD, UINT64_MAX, got), 0);
	assert_int_equal(deliveries(f, &stranger, STORE_DELIVERY_WAITING, UINT64_MAX, got), 1);
}

static void a_log_that_is_closed_takes_nobodys_deliveries_with_it(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_webhook w = webhook(1, &v), got_w;
	struct store_delivery got[8] = { 0 }, old;
	struct store_change close = { .kind = STORE_LOG_CLOSE, .log_close = { .closed = { .origin = "one" }, .next_origin = "two" } };
	struct store_change origin = { .kind = STORE_META_PUT, .meta = { .name = "log_origin", .value = "one", .value_len = 3 } };

	assert_int_equal(one(f, origin), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }), KMS_OK);
	assert_int_equal(add_webhook(f, w), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, delivery(&w, 1, 4)), KMS_OK);
	assert_int_equal(one(f, cursor("webhooks", 2)), KMS_OK);
	assert_int_equal(store_begin(f->w, NULL), KMS_OK);
	assert_int_equal(store_apply(f->w, &close, 1, 0, NULL), KMS_OK);
	assert_int_equal(store_commit(f->w, NULL), KMS_OK);
	f->seq = 0;
	assert_int_equal(cursor_of(f, "webhooks"), 0);
	assert_int_equal(store_webhook(f->r, w.id, &got_w, NULL), KMS_OK);
	assert_int_equal(got_w.from_seq, 0);
	/* The leaf of the new log with the same number is another event. */
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, delivery(&w, 1, 4)), KMS_OK);
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_WAITING, UINT64_MAX, got), 2);
	assert_int_equal(got[0].seq, 1);
	old = got[1];
	assert_int_equal(old.seq, STORE_SEQ_MAX + 2);
	old.state = STORE_DELIVERY_DEAD;
	assert_int_equal(put_delivery(f, STORE_DELIVERY_SET, old), KMS_OK);
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_DEAD, UINT64_MAX, got), 1);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_REMOVE, old), KMS_OK);
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_DEAD, UINT64_MAX, got), 0);
}

/* ---- persons ---- */

static const uint8_t NOBODY[STORE_ID_LEN];

static struct store_person person(uint64_t ref, const uint8_t vault_id[STORE_ID_LEN], uint8_t pid, int64_t created_s)
{
	struct store_person p = { .ref = ref, .created_s = created_s, .sealed_len = 90 };

	memcpy(p.vault_id, vault_id, STORE_ID_LEN);
	memset(p.pid, pid, sizeof(p.pid));
	memset(p.sealed, '!', p.sealed_len);
	return p;
}

static kms_status add_person(struct store_fixture *f, struct store_person p)
{
	return one(f, (struct store_change){ .kind = STORE_PERSON_ADD, .person = &p });
}

static kms_status erase_person(struct store_fixture *f, uint64_t ref, const uint8_t vault_id[STORE_ID_LEN])
{
	struct store_change c = { .kind = STORE_PERSON_ERASE, .person_erasure = { .ref = ref } };

	memcpy(c.person_erasure.vault_id, vault_id, STORE_ID_LEN);
	return one(f, c);
}

static size_t persons(struct store_fixture *f, const uint8_t *vault_id, const uint8_t *pid, int64_t before_s, uint64_t after, uint64_t *ret_first)
{
	static struct store_person got[8];
	size_t count = 99;

	assert_int_equal(store_persons(f->r, vault_id, pid, before_s, after, got, 8, &count, NULL), KMS_OK);
	*ret_first = count > 0 ? got[0].ref : 0;
	return count;
}

static void a_person_is_found_until_the_record_is_erased(void **state)
{
	struct store_fixture *f = *state;
	const uint64_t last = (UINT64_C(1) << 53) - 1;
	struct store_vault v = store_fixture_vault(1, "payroll");
	struct store_person p = person(last, v.id, 1, 50);
	static struct store_person got;
	uint64_t first;

	assert_int_equal(add_person(f, p), KMS_OK);
	assert_int_equal(add_person(f, p), KMS_E_CONFLICT);
	assert_int_equal(add_person(f, person(5, v.id, 1, 60)), KMS_OK);
	assert_int_equal(add_person(f, person(6, v.id, 2, 70)), KMS_OK);
	assert_int_equal(add_person(f, person(7, NOBODY, 1, 80)), KMS_OK); /* the installation's */
	assert_int_equal(add_person(f, person(last + 1, v.id, 1, 50)), KMS_E_INTERNAL);
	assert_int_equal(add_person(f, person(0, v.id, 1, 50)), KMS_E_INTERNAL);
	assert_int_equal(store_person(f->r, last, &got, NULL), KMS_OK);
	assert_memory_equal(&got, &p, sizeof(got));
	assert_int_equal(store_person(f->r, last + 1, &got, NULL), KMS_E_NOTFOUND);
	assert_int_equal(persons(f, v.id, NULL, STORE_NO_TIME, 0, &first), 3);
	assert_int_equal(first, 5);
	assert_int_equal(persons(f, v.id, NULL, STORE_NO_TIME, 5, &first), 2);
	assert_int_equal(persons(f, v.id, p.pid, STORE_NO_TIME, 0, &first), 2);
	assert_int_equal(persons(f, v.id, p.pid, 60, 0, &first), 1);
	assert_int_equal(first, last);
	assert_int_equal(persons(f, v.id, NULL, 70, 0, &first), 2);
	assert_int_equal(persons(f, NOBODY, NULL, STORE_NO_TIME, 0, &first), 1);

	assert_int_equal(erase_person(f, 5, NOBODY), KMS_OK); /* another vault's */
	assert_int_equal(persons(f, v.id, NULL, STORE_NO_TIME, 0, &first), 3);
	assert_int_equal(erase_person(f, 5, v.id), KMS_OK);
	assert_int_equal(erase_person(f, 5, v.id), KMS_OK);
	assert_int_equal(erase_person(f, 99, v.id), KMS_OK);
	assert_int_equal(store_person(f->r, 5, &got, NULL), KMS_OK);
	assert_true(got.sealed_len == 0 && got.created_s == 60);
	assert_int_equal(persons(f, v.id, NULL, STORE_NO_TIME, 0, &first), 2);
	assert_int_equal(add_person(f, person(5, v.id, 1, 60)), KMS_E_CONFLICT); /* leaves name it for ever */
}

static void nothing_of_an_erased_person_stays_in_the_files(void **state)
{
	struct store_fixture *f = *state;
	static const char NEEDLE[] = "MARIA-SECRET-MARIA-SECRET";
	struct store_vault v = store_fixture_vault(1, "payroll");

	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }), KMS_OK);
	for (uint64_t ref = 1; ref <= 300; ref++) {
		struct store_person p = person(ref, v.id, 1, 50);
		p.sealed_len = ref % 7 == 0 ? STORE_SEALED_MAX : 60 + ref % 400;
		for (size_t at = 0; at + sizeof(NEEDLE) <= p.sealed_len; at += sizeof(NEEDLE))
			memcpy(&p.sealed[at], NEEDLE, sizeof(NEEDLE));
		assert_int_equal(add_person(f, p), KMS_OK);
	}
	for (uint64_t ref = 1; ref <= 300; ref += 2)
		assert_int_equal(erase_person(f, ref, v.id), KMS_OK);
	assert_true(store_fixture_grep(f, NEEDLE, sizeof(NEEDLE) - 1) > 0);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = v }), KMS_OK);
	store_forget(f->r);
	assert_int_equal(store_checkpoint(f->w, true, NULL), KMS_OK);
	assert_int_equal(store_fixture_grep(f, NEEDLE, sizeof(NEEDLE) - 1), 0);
}

static void a_vault_that_is_erased_takes_its_persons_and_webhooks_and_nobody_elses(void **state)
{
	struct store_fixture *f = *state;
	struct one_key o = make_key(f, 1), other = make_key(f, 2);
	struct store_webhook w = webhook(1, &o.v), kept = webhook(2, &other.v), got_w;
	struct store_delivery got[8];
	uint64_t first;

	assert_int_equal(add_webhook(f, w), KMS_OK);
	assert_int_equal(add_webhook(f, kept), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, delivery(&w, 1, 4)), KMS_OK);
	assert_int_equal(put_delivery(f, STORE_DELIVERY_ADD, delivery(&kept, 1, 4)), KMS_OK);
	assert_int_equal(add_person(f, person(5, o.v.id, 1, 60)), KMS_OK);
	assert_int_equal(add_person(f, person(6, other.v.id, 1, 60)), KMS_OK);
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ERASE, .vault = o.v }), KMS_OK);
	assert_int_equal(store_webhook(f->r, w.id, &got_w, NULL), KMS_E_NOTFOUND);
	assert_int_equal(deliveries(f, &w, STORE_DELIVERY_WAITING, UINT64_MAX, got), 0);
	assert_int_equal(persons(f, o.v.id, NULL, STORE_NO_TIME, 0, &first), 0);
	assert_int_equal(due_count(f, 0), 1);
	assert_int_equal(store_webhook(f->r, kept.id, &got_w, NULL), KMS_OK);
	assert_int_equal(deliveries(f, &kept, STORE_DELIVERY_WAITING, UINT64_MAX, got), 1);
	assert_int_equal(persons(f, other.v.id, NULL, STORE_NO_TIME, 0, &first), 1);
}

static void a_vaults_policy_says_whether_persons_are_recorded_and_why(void **state)
{
	struct store_fixture *f = *state;
	struct store_vault v = store_fixture_vault(1, "payroll"), got = { 0 };

	v.person_days = 30;
	memcpy(v.person_basis, "Art. 6 (1) f GDPR", sizeof("Art. 6 (1) f GDPR"));
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_ADD, .vault = v }), KMS_OK);
	assert_int_equal(store_vault_by_id(f->r, v.id, &got, NULL), KMS_OK);
	assert_int_equal(got.person_days, 30);
	assert_string_equal(got.person_basis, v.person_basis);
	v.person_days = 0;
	v.person_basis[0] = '\0';
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_SET, .vault = v }), KMS_OK);
	assert_int_equal(store_vault_by_name(f->r, "payroll", &got, NULL), KMS_OK);
	assert_true(got.person_days == 0 && got.person_basis[0] == '\0' && got.epoch == 2);
	memset(v.person_basis, 'x', sizeof(v.person_basis));
	assert_int_equal(one(f, (struct store_change){ .kind = STORE_VAULT_SET, .vault = v }), KMS_E_INTERNAL);
}

/* ---- pruned leaves ---- */

static void a_pruned_leaf_has_its_hash_and_no_body(void **state)
{
	struct store_fixture *f = *state;
	const uint64_t seqs[] = { 1, 2, 77 }, beyond = STORE_SEQ_MAX + 1;
	struct store_change prune = { .kind = STORE_EVENTS_PRUNE, .prune = { .seqs = seqs, .count = KMS_ARRAY_LEN(seqs) } };
	__attribute__((cleanup(store_event_clear))) struct store_event whole = { 0 };
	__attribute__((cleanup(store_event_clear))) struct store_event pruned = { 0 };
	struct store_event want = store_fixture_event(1);
	uint8_t hash[STORE_HASH_LEN];
	uint64_t count;

	for (int i = 0; i < 4; i++)
		assert_int_equal(one(f, cursor("x", 1)), KMS_OK);
	assert_int_equal(one(f, prune), KMS_OK); /* with a leaf that does not exist */
	assert_int_equal(one(f, prune), KMS_OK);
	store_fixture_reopen(f);
	assert_int_equal(store_event(f->r, 0, &whole, NULL), KMS_OK);
	assert_true(whole.leaf_len > 0);
	assert_int_equal(store_event(f->r, 1, &pruned, NULL), KMS_OK);
	assert_true(pruned.leaf_len == 0 && pruned.seq == 1 && pruned.ts_us == want.ts_us);
	assert_memory_equal(pruned.hash, want.hash, STORE_HASH_LEN);
	assert_memory_equal(pruned.id, want.id, STORE_ID_LEN);
	assert_int_equal(store_node(f->r, 0, 1, hash, NULL), KMS_OK);
	assert_memory_equal(hash, want.hash, STORE_HASH_LEN);
	assert_int_equal(store_event_count(f->r, &count, NULL), KMS_OK);
	assert_int_equal(count, 6);
	prune.prune.count = 0;
	assert_int_equal(one(f, prune), KMS_E_INTERNAL);
	prune.prune.count = STORE_PRUNE_MAX + 1;
	assert_int_equal(one(f, prune), KMS_E_INTERNAL);
	prune.prune = (struct store_prune){ .seqs = &beyond, .count = 1 };
	assert_int_equal(one(f, prune), KMS_E_INTERNAL);
}

#define T(t) cmocka_unit_test_setup_teardown(t, store_fixture_open, store_fixture_close)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(whatever_changes_a_key_makes_it_due_and_keeps_what_was_done),
		T(a_due_row_is_fenced_by_the_epoch_of_its_key),
		T(vaults_have_their_turn_in_a_circle_and_locked_or_dying_ones_none),
		T(a_vault_with_many_due_keys_leaves_room_for_others),
		T(a_cursor_is_where_it_was_put_and_at_the_start_before),
		T(a_webhook_is_its_vaults_and_has_one_name_there),
		T(a_vault_has_so_many_webhooks_and_no_more),
		T(deliveries_wait_in_order_until_they_are_removed),
		T(a_log_that_is_closed_takes_nobodys_deliveries_with_it),
		T(a_person_is_found_until_the_record_is_erased),
		T(nothing_of_an_erased_person_stays_in_the_files),
		T(a_vault_that_is_erased_takes_its_persons_and_webhooks_and_nobody_elses),
		T(a_vaults_policy_says_whether_persons_are_recorded_and_why),
		T(a_pruned_leaf_has_its_hash_and_no_body),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
