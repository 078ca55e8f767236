/* tests/unit/core_destruction.c - destruction on a real token and a real database: written down one by one, resumed after each failure, never said to be done before it is;
 * and the sweep, which destroys what came back and nothing that lives. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "server/core/destruction_act.h"
#include "tests/support/approvals.h"
#include "tests/support/hsm_rig.h"

#define MANY 1000
#define MANY_A_UNIT 100

static struct t_domain d;

static struct store_vault vault_of(const char *name)
{
	struct store_vault v = { 0 };

	assert_int_equal(store_vault_by_name(d.store->r, name, &v, NULL), KMS_OK);
	return v;
}

static size_t open_intents(void)
{
	struct store_intent page[8];
	size_t count = 0;

	assert_int_equal(store_intents(d.store->r, UINT64_MAX, page, 8, &count, NULL), KMS_OK);
	return count;
}

static uint64_t leaves(void)
{
	uint64_t count = 0;

	assert_int_equal(store_event_count(d.store->r, &count, NULL), KMS_OK);
	return count;
}

static bool leaf_has(uint64_t seq, const char *text)
{
	struct store_event e = { 0 };
	bool has;

	assert_int_equal(store_event(d.store->r, seq, &e, NULL), KMS_OK);
	has = memmem(e.leaf, e.leaf_len, text, strlen(text)) != NULL;
	store_event_clear(&e);
	return has;
}

/* Leaves from `from` on that contain both texts. */
static size_t count_leaves(uint64_t from, const char *one, const char *other)
{
	size_t count = 0;

	for (uint64_t seq = from, end = leaves(); seq < end; seq++)
		count += leaf_has(seq, one) && leaf_has(seq, other);
	return count;
}

static size_t count_tombstones(const uint8_t vault_id[STORE_ID_LEN], uint64_t intent)
{
	struct store_tombstone page[64];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0, total = 0;

	do {
		assert_int_equal(store_tombstones(d.store->r, vault_id, intent, cursor, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
		total += count;
		if (count > 0)
			memcpy(after, page[count - 1].obj, STORE_ID_LEN);
		cursor = after;
	} while (count == KMS_ARRAY_LEN(page));
	return total;
}

/* The only certificate of a vault. */
static struct store_certificate certificate_of(const struct store_vault *v)
{
	struct store_certificate page[2] = { 0 };
	size_t count = 0;

	assert_int_equal(store_certificates(d.store->r, v->id, NULL, false, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	return page[0];
}

static struct store_tombstone tombstone_of(const uint8_t obj[STORE_ID_LEN])
{
	struct store_tombstone t = { 0 };

	assert_int_equal(store_tombstone(d.store->r, obj, &t, NULL), KMS_OK);
	return t;
}

static bool has_tombstone(const uint8_t obj[STORE_ID_LEN])
{
	struct store_tombstone t = { 0 };
	return store_tombstone(d.store->r, obj, &t, NULL) == KMS_OK;
}

static void make_key(const char *vault, const char *name, enum key_type type, uint8_t ret_obj[HSM_ID_LEN])
{
	struct key_create req = { .type = type, .crv = type == KEY_EC ? CURVE_P256 : CURVE_NONE, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct op *op = t_op(&d, vault, EVENT_KEY_CREATE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_create(op, name, &req, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	memcpy(ret_obj, op->version.obj, HSM_ID_LEN);
	t_op_free(op);
}

static void delete_key(const char *vault, const char *name)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_DELETE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_delete(op, name, &err)), KMS_OK);
	t_op_free(op);
}

/* One attempt, ended as the API ends it: what has begun and failed stays open. */
static kms_status attempt(const char *vault, const char *key, struct kms_err *ret_err)
{
	struct op *op = t_op(&d, vault, key != NULL ? EVENT_KEY_PURGE : EVENT_TENANT_SHRED);
	struct destruction done = { 0 };
	kms_status status;

	memset(ret_err, 0, sizeof(*ret_err));
	status = key != NULL ? keyring_purge(op, key, ret_err) : vault_shred(op, "", BASIS_OTHER, &done, ret_err);
	if (status == KMS_OK || !op->has_intent)
		assert_int_equal(t_op_finish(op, status), KMS_OK);
	else
		assert_true(op->is_irreversible);
	t_op_free(op);
	return status;
}

static kms_status recover(struct kms_err *err)
{
	struct recovery_count count = { 0 };

	return recovery_run(&d.kms, d.store->r, RECOVER_ALL, &count, err);
}

/* ---- forged ---- */

/* What somebody writes into the database: an intent, with or without a leaf that announces it. */
static uint64_t forge(enum event_type type, bool is_told, const struct store_vault *v, const uint8_t obj[STORE_ID_LEN])
{
	struct store_change c = { .kind = STORE_INTENT_OPEN, .intent = { .type = type } };
	struct write unit = { .event = { .type = is_told ? type : EVENT_KEY_LIST, .actor = EVENT_ACTOR_NODE, .has_tenant = true }, .changes = &c, .change_count = 1 };

	if (is_told) {
		unit.event.phase = EVENT_INTENT;
		unit.event.result = EVENT_PENDING;
	}
	memcpy(unit.event.tenant, v->id, STORE_ID_LEN);
	memcpy(c.intent.vault_id, v->id, STORE_ID_LEN);
	memcpy(c.intent.obj, obj, STORE_ID_LEN);
	assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	return unit.seq;
}

/* Nothing is done, and the people see why. */
static void is_left_open(uint64_t seq)
{
	struct recovery_count count = { 0 };
	struct store_change c = { .kind = STORE_INTENT_CLOSE, .intent = { .seq = seq } };
	struct kms_err err = { 0 };

	assert_int_equal(recovery_run(&d.kms, d.store->r, RECOVER_ALL, &count, &err), KMS_OK);
	assert_int_equal(count.left_open, 1);
	if (strstr(count.last_failure.detail, "altered") == NULL)
		fail_msg("left open, but: %s", count.last_failure.detail);
	t_change(&d, &c, 1);
}

static void a_forged_intent_destroys_nothing_that_lives(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct store_change mark = { .kind = STORE_VAULT_SET_STATE };
	struct store_vault victim, dead;
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&d, "victim", false);
	t_vault(&d, "dead", false);
	make_key("victim", "k", KEY_OCT_HSM, obj);
	t_approve_shred(&d, "dead");
	assert_int_equal(attempt("dead", NULL, &err), KMS_OK);
	victim = vault_of("victim");
	dead = vault_of("dead");
	/* Announced, even: the end of an old root, a rotation. */
	is_left_open(forge(EVENT_KEY_DESTROY, true, &dead, victim.root_id));
	is_left_open(forge(EVENT_KEY_DESTROY, true, &dead, obj));
	is_left_open(forge(EVENT_KEY_DESTROY, true, &dead, d.kms.inst.attestation_key));
	is_left_open(forge(EVENT_TENANT_ROTATE_ROOT, true, &dead, victim.root_id));
	is_left_open(forge(EVENT_TENANT_ROTATE_ROOT, true, &victim, obj));
	assert_true(t_object_exists(&d, victim.root_id) && t_object_exists(&d, obj) && t_object_exists(&d, d.kms.inst.attestation_key));
	assert_memory_equal(vault_of("victim").root_id, victim.root_id, STORE_ID_LEN);
	/* Never announced. */
	mark.vault = victim;
	mark.vault.state = STORE_VAULT_SHREDDING;
	t_change(&d, &mark, 1);
	is_left_open(forge(EVENT_TENANT_SHRED, false, &victim, obj));
	assert_true(t_object_exists(&d, victim.root_id) && t_object_exists(&d, obj));
}

/* ---- written down ---- */

static void each_thing_that_dies_has_a_leaf_and_a_tombstone_of_its_own(void **state)
{
	uint8_t resident[HSM_ID_LEN], wrapped[HSM_ID_LEN];
	struct store_certificate c;
	struct store_tombstone t;
	struct store_vault v;
	struct kms_err err = { 0 };
	char det[64];
	uint64_t from;

	(void)state;
	t_vault(&d, "all", false);
	make_key("all", "in-device", KEY_OCT_HSM, resident);
	make_key("all", "in-blob", KEY_EC, wrapped);
	v = vault_of("all");
	t_approve_shred(&d, "all");
	from = leaves();
	assert_int_equal(attempt("all", NULL, &err), KMS_OK);
	c = certificate_of(&v);
	assert_int_not_equal(c.state, STORE_CERTIFICATE_BEGUN);
	assert_int_equal(c.scope, STORE_CERTIFICATE_TENANT);
	assert_int_equal(c.basis, BASIS_OTHER);
	assert_int_equal(count_tombstones(v.id, c.intent), 4); /* root, pseudonym key, two versions */
	(void)snprintf(det, sizeof(det), "\"intent\":%llu", (unsigned long long)c.intent);
	assert_int_equal(count_leaves(from, "\"type\":\"key.destroy\"", det), 4);
	store_certificate_clear(&c);

	t = tombstone_of(wrapped);
	assert_false(t.is_resident);
	assert_true(t.has_spki);
	assert_string_equal(t.key_name, "in-blob");
	assert_true(t.created_seq < t.seq);
	assert_true(t_leaf_says(&d, t.seq, "\"name\":\"in-blob\""));
	assert_true(t_leaf_says(&d, t.seq, "\"kind\":\"version\""));
	assert_int_equal(tombstone_check(d.kms.hsm, &d.kms.inst, &t, &err), KMS_OK);
	t = tombstone_of(resident);
	assert_true(t.is_resident);
	assert_false(t.has_spki);
	t = tombstone_of(v.root_id);
	assert_int_equal(t.kind, STORE_TOMBSTONE_ROOT);
	assert_true(t_leaf_says(&d, t.seq, "\"kind\":\"root\""));
	assert_int_equal(tombstone_of(v.pseudonym_id).kind, STORE_TOMBSTONE_PSEUDONYMS);
}

static void a_purge_erases_the_blobs_and_certifies_the_key(void **state)
{
	uint8_t first[HSM_ID_LEN], second[HSM_ID_LEN], kept[HSM_ID_LEN];
	STORE_VERSION_AUTO before = { 0 };
	struct store_certificate c;
	struct store_vault v;
	struct kms_err err = { 0 };

	(void)state;
	t_vault(&d, "purged", false);
	make_key("purged", "k", KEY_EC, first);
	make_key("purged", "k", KEY_EC_HSM, second);
	make_key("purged", "other", KEY_EC, kept);
	v = vault_of("purged");
	assert_int_equal(store_version_of_object(d.store->r, first, &before, &err), KMS_OK);
	assert_true(store_fixture_grep(d.store, before.wrapped, before.wrapped_len) > 0);
	delete_key("purged", "k");
	assert_int_equal(attempt("purged", "k", &err), KMS_OK);
	assert_int_equal(store_fixture_grep(d.store, before.wrapped, before.wrapped_len), 0);
	assert_false(t_object_exists(&d, second));
	assert_true(has_tombstone(first) && has_tombstone(second));
	assert_false(has_tombstone(kept) || has_tombstone(v.root_id));
	c = certificate_of(&v);
	assert_int_equal(c.scope, STORE_CERTIFICATE_KEY);
	assert_string_equal(c.key_name, "k");
	assert_int_not_equal(c.state, STORE_CERTIFICATE_BEGUN);
	store_certificate_clear(&c);
}

static void what_retention_ends_is_certified_as_that(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct store_certificate c;
	struct store_vault v;
	struct kms_err err = { 0 };
	size_t count = 0;

	(void)state;
	t_vault(&d, "retained", false);
	make_key("retained", "k", KEY_OCT_HSM, obj);
	v = vault_of("retained");
	delete_key("retained", "k");
	t_domain_pass((int64_t)(v.retention_days + 1) * 86400);
	assert_int_equal(keyring_purge_due(&d.kms, d.store->r, &count, &err), KMS_OK);
	assert_int_equal(count, 1);
	c = certificate_of(&v);
	assert_int_equal(c.basis, BASIS_RETENTION);
	store_certificate_clear(&c);
}

/* ---- interrupted ---- */

/* The first, second, third ... call to the device fails. What was begun is the same act each time, and none says that it is done but the last. */
static void fail_each_call(const char *vault, const char *key, unsigned least_failures)
{
	struct store_vault v = vault_of(vault);
	struct store_certificate c;
	struct kms_err err;
	uint64_t from = leaves(), intent = 0;
	unsigned failures = 0;
	kms_status status = KMS_E_DEVICE;

	for (long nth = 0; status != KMS_OK; nth++) {
		bool happened;

		t_fail_call(nth, CKR_FUNCTION_FAILED);
		status = attempt(vault, key, &err);
		happened = t_fail_happened();
		t_fail_call(-1, CKR_OK);
		kms_ignore(hsm_check(d.kms.hsm, NULL)); /* a device that was declared lost comes back */
		c = certificate_of(&v);
		if (intent == 0)
			intent = c.intent;
		assert_int_equal(c.intent, intent);
		assert_int_equal(open_intents(), status == KMS_OK ? 0 : 1);
		if (status != KMS_OK) {
			assert_true(happened);
			assert_int_equal(c.state, STORE_CERTIFICATE_BEGUN);
			failures++;
		}
		store_certificate_clear(&c);
	}
	if (failures < least_failures)
		fail_msg("only %u calls made it fail", failures);
	assert_int_equal(count_leaves(from, "\"type\":\"tenant.shred_incomplete\"", "\"result\":\"failed\""), key == NULL ? failures : 0);
}

static void a_shred_goes_on_where_the_device_failed(void **state)
{
	uint8_t resident[HSM_ID_LEN], wrapped[HSM_ID_LEN];
	struct store_certificate c;
	struct store_vault v;
	uint64_t from;

	(void)state;
	t_vault(&d, "failing", false);
	make_key("failing", "r", KEY_OCT_HSM, resident);
	make_key("failing", "w", KEY_EC, wrapped);
	v = vault_of("failing");
	t_approve_shred(&d, "failing");
	from = leaves();
	fail_each_call("failing", NULL, 30);
	assert_int_equal(vault_of("failing").state, STORE_VAULT_SHREDDED);
	assert_false(t_object_exists(&d, v.root_id) || t_object_exists(&d, v.pseudonym_id) || t_object_exists(&d, resident));
	c = certificate_of(&v);
	assert_int_equal(count_tombstones(v.id, c.intent), 4);
	store_certificate_clear(&c);
	assert_int_equal(count_leaves(from, "\"type\":\"key.destroy\"", "\"result\":\"ok\""), 4);
	assert_int_equal(count_leaves(from, "\"type\":\"tenant.shred\"", "\"phase\":\"intent\""), 1);
}

static void a_purge_goes_on_where_the_device_failed(void **state)
{
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_vault(&d, "failing-key", false);
	make_key("failing-key", "k", KEY_OCT_HSM, obj);
	make_key("failing-key", "k", KEY_EC, obj);
	delete_key("failing-key", "k");
	fail_each_call("failing-key", "k", 10);
	assert_true(has_tombstone(obj));
}

/* Without its outcome; the next start writes that, and fills the certificate. */
static void a_shred_that_was_cut_short_gets_its_certificate_from_recovery(void **state)
{
	struct store_certificate c;
	struct store_vault v;
	struct kms_err err = { 0 };
	struct destruction done = { 0 };
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "cut", false);
	v = vault_of("cut");
	t_approve_shred(&d, "cut");
	op = t_op(&d, "cut", EVENT_TENANT_SHRED);
	assert_int_equal(vault_shred(op, "", BASIS_CONTRACT_END, &done, &err), KMS_E_APPROVAL); /* the basis is part of what was approved */
	t_op_free(op);
	memset(&err, 0, sizeof(err));
	op = t_op(&d, "cut", EVENT_TENANT_SHRED);
	assert_int_equal(vault_shred(op, "", BASIS_OTHER, &done, &err), KMS_OK);
	t_op_free(op);
	c = certificate_of(&v);
	assert_int_equal(c.state, STORE_CERTIFICATE_BEGUN);
	store_certificate_clear(&c);
	t_domain_restart(&d);
	assert_int_equal(recover(&err), KMS_OK);
	c = certificate_of(&v);
	assert_int_not_equal(c.state, STORE_CERTIFICATE_BEGUN);
	assert_int_equal(count_tombstones(v.id, c.intent), 2);
	assert_true(t_leaf_says(&d, c.outcome, "\"actor\":{\"kind\":\"node\""));
	store_certificate_clear(&c);
	assert_int_equal(vault_of("cut").state, STORE_VAULT_SHREDDED);
	assert_int_equal(open_intents(), 0);
}

static void nothing_is_destroyed_before_its_intent_is_signed_and_pinned(void **state)
{
	struct log_verdict bad = { .state = LOG_ROLLED_BACK };
	struct checkpointer_config cfg = { .interval_ms = 100, .leaves = 1000, .pin_s = 60, .heartbeat_s = 60, .late_ms = 5000, .verdict = &bad };
	struct log_status log = { 0 };
	struct store_vault v;
	struct store_certificate c;
	struct kms_err err;

	(void)state;
	t_vault(&d, "sealed", false);
	v = vault_of("sealed");
	t_approve_shred(&d, "sealed");
	t_domain_sign(&d, &cfg); /* it signs nothing */
	assert_int_equal(attempt("sealed", NULL, &err), KMS_E_AUDIT);
	assert_int_equal(vault_of("sealed").state, STORE_VAULT_SHREDDING);
	assert_true(t_object_exists(&d, v.root_id));
	assert_false(has_tombstone(v.root_id));
	t_domain_stop_signing(&d);
	t_domain_sign(&d, NULL);
	assert_int_equal(attempt("sealed", NULL, &err), KMS_OK);
	assert_false(t_object_exists(&d, v.root_id));
	c = certificate_of(&v);
	log_status(d.kms.log, &log);
	assert_true(log.pinned_size > c.intent);
	assert_int_equal(c.state, STORE_CERTIFICATE_COMPLETE); /* signed after the outcome */
	store_certificate_clear(&c);
	t_domain_stop_signing(&d);
}

static void what_still_serves_is_not_destroyed(void **state)
{
	struct destruction root = { .kms = &d.kms, .store = d.store->r, .of = DESTRUCTION_OF_ROOT }, tenant = root, key = root;
	struct store_key k = { 0 };
	struct store_vault v;
	struct kms_err err = { 0 };
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_vault(&d, "serves", false);
	make_key("serves", "k", KEY_OCT_HSM, obj);
	v = vault_of("serves");
	assert_int_equal(store_key(d.store->r, v.id, "k", &k, &err), KMS_OK);
	root.vault = tenant.vault = key.vault = &v;
	memcpy(root.object, v.root_id, STORE_ID_LEN);
	assert_int_equal(destruction_run(&root, &err), KMS_E_INTERNAL);
	tenant.of = DESTRUCTION_OF_TENANT;
	assert_int_equal(destruction_run(&tenant, &err), KMS_E_INTERNAL);
	key.of = DESTRUCTION_OF_KEY;
	key.key = &k;
	assert_int_equal(destruction_run(&key, &err), KMS_E_INTERNAL);
	assert_true(t_object_exists(&d, v.root_id) && t_object_exists(&d, obj));
}

/* ---- many ---- */

static void add_versions(const struct store_vault *v, struct store_key *k)
{
	static struct store_change changes[MANY_A_UNIT];
	static uint8_t blob[40];

	for (size_t i = 0; i < MANY_A_UNIT; i++) {
		struct store_version *made = &changes[i].version;

		memset(&changes[i], 0, sizeof(changes[i]));
		changes[i].kind = STORE_VERSION_ADD;
		assert_true(random_bytes(made->id, STORE_ID_LEN) && random_bytes(made->obj, STORE_ID_LEN));
		memcpy(made->key_id, k->id, STORE_ID_LEN);
		memcpy(made->root_id, v->root_id, STORE_ID_LEN);
		made->kty = KEY_OCT;
		made->bits = 256;
		made->ops = KEY_OP_WRAP;
		made->is_enabled = true;
		made->nbf_s = made->exp_s = STORE_NO_TIME;
		made->wrapped = blob;
		made->wrapped_len = sizeof(blob);
	}
	t_change(&d, changes, MANY_A_UNIT);
}

/* Another vault's traffic. When the writer's queue is full, as that of this small one may be, it tries again. */
static atomic_bool traffic_ends;

static void *traffic(void *arg)
{
	(void)arg;
	while (!atomic_load(&traffic_ends)) {
		struct write unit = { .event = { .type = EVENT_KEY_SIGN } };
		kms_status status = writer_write(d.kms.writer, &unit);

		assert_true(status == KMS_OK || status == KMS_E_THROTTLED);
	}
	return NULL;
}

/* Leaves of others between the first and the last of those that died. */
static size_t count_between(uint64_t from)
{
	size_t between = 0, pending = 0, died = 0;

	for (uint64_t seq = from, end = leaves(); seq < end; seq++) {
		if (leaf_has(seq, "\"type\":\"key.sign\"")) {
			pending += died > 0;
		} else if (leaf_has(seq, "\"type\":\"key.destroy\"")) {
			died++;
			between += pending;
			pending = 0;
		}
	}
	return between;
}

static void a_thousand_versions_are_shredded_and_others_are_served_in_between(void **state)
{
	struct store_change add = { .kind = STORE_KEY_ADD, .key = { .name = "many", .deleted_s = STORE_NO_TIME } };
	struct destruction done = { 0 };
	struct store_certificate c;
	struct store_vault v;
	struct kms_err err = { 0 };
	struct op *op = NULL;
	pthread_t other;
	uint64_t from;

	(void)state;
	t_vault(&d, "many", false);
	v = vault_of("many");
	assert_true(random_bytes(add.key.id, STORE_ID_LEN));
	memcpy(add.key.vault_id, v.id, STORE_ID_LEN);
	t_change(&d, &add, 1);
	for (size_t i = 0; i < MANY / MANY_A_UNIT; i++)
		add_versions(&v, &add.key);
	t_approve_shred(&d, "many");
	from = leaves();
	assert_int_equal(pthread_create(&other, NULL, traffic, NULL), 0);
	op = t_op(&d, "many", EVENT_TENANT_SHRED);
	assert_int_equal(vault_shred(op, "", BASIS_OTHER, &done, &err), KMS_OK);
	atomic_store(&traffic_ends, true);
	(void)pthread_join(other, NULL);
	assert_true(count_between(from) > 0);
	assert_int_equal(done.versions, MANY);
	assert_int_equal(done.objects, 2);
	assert_true(done.tried_api && done.tried_canary);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_OK);
	t_op_free(op);
	c = certificate_of(&v);
	assert_int_equal(count_tombstones(v.id, c.intent), MANY + 2);
	store_certificate_clear(&c);
}

/* ---- the sweep ---- */

static struct sweep_count sweep(kms_status expected)
{
	struct sweep_count count = { 0 };
	struct kms_err err = { 0 };

	assert_int_equal(destruction_sweep(&d.kms, d.store->r, &count, &err), expected);
	return count;
}

/* As a copy of the token brings it back: under its old id. */
static void bring_back(const uint8_t id[HSM_ID_LEN])
{
	struct hsm_key key = { .purpose = HSM_FOR_ROOT, .kind = HSM_KIND_AES, .bits = 256 };
	struct kms_err err = { 0 };

	memcpy(key.id, id, HSM_ID_LEN);
	assert_int_equal(hsm_key_generate(d.kms.hsm, &key, NULL, &err), KMS_OK);
}

static void what_came_back_is_destroyed_again_and_written_down(void **state)
{
	struct sweep_count count;
	struct store_vault v;
	uint64_t from;

	(void)state;
	t_vault(&d, "back", false);
	v = vault_of("back");
	t_shred(&d, "back", "");
	assert_int_equal(sweep(KMS_OK).resurrected, 0);
	bring_back(v.root_id);
	from = leaves();
	count = sweep(KMS_OK);
	assert_int_equal(count.resurrected, 1);
	assert_int_equal(count.forged, 0);
	assert_false(t_object_exists(&d, v.root_id));
	assert_int_equal(leaves(), from + 1);
	assert_true(t_leaf_says(&d, from, "\"type\":\"tenant.resurrected\""));
	assert_true(t_leaf_says(&d, from, "\"result\":\"ok\""));
	assert_int_equal(sweep(KMS_OK).resurrected, 0);
}

static void nothing_is_served_when_what_came_back_cannot_be_destroyed(void **state)
{
	struct sweep_count count = { 0 };
	struct kms_err err = { 0 };
	struct store_vault v;
	kms_status status = KMS_E_DEVICE;
	unsigned failures = 0;

	(void)state;
	t_vault(&d, "stubborn", false);
	v = vault_of("stubborn");
	t_shred(&d, "stubborn", "");
	bring_back(v.root_id);
	for (long nth = 0; status != KMS_OK; nth++, failures++) {
		t_fail_call(nth, CKR_FUNCTION_FAILED);
		status = destruction_sweep(&d.kms, d.store->r, &count, &err);
		t_fail_call(-1, CKR_OK);
		kms_ignore(hsm_check(d.kms.hsm, NULL));
		if (status != KMS_OK)
			assert_int_equal(status, KMS_E_DEVICE);
	}
	assert_true(failures > 3);
	assert_false(t_object_exists(&d, v.root_id));
}

static void plant_tombstone(const struct store_vault *v, const uint8_t obj[STORE_ID_LEN], bool is_good)
{
	struct store_change c = { .kind = STORE_TOMBSTONE_ADD, .tombstone = { .kind = STORE_TOMBSTONE_ROOT, .is_resident = true, .created_seq = STORE_NO_SEQ } };
	struct kms_err err = { 0 };

	memcpy(c.tombstone.obj, obj, STORE_ID_LEN);
	memcpy(c.tombstone.vault_id, v->id, STORE_ID_LEN);
	assert_int_equal(tombstone_seal(d.kms.hsm, &d.kms.inst, &c.tombstone, &err), KMS_OK);
	if (!is_good)
		c.tombstone.mac[STORE_MAC_LEN - 1] ^= 1;
	t_change(&d, &c, 1);
}

static void a_forged_tombstone_destroys_nothing_and_raises_the_alarm(void **state)
{
	struct store_vault v;
	uint64_t from;

	(void)state;
	t_vault(&d, "forged", false);
	v = vault_of("forged");
	plant_tombstone(&v, v.root_id, false);
	from = leaves();
	assert_int_equal(sweep(KMS_OK).forged, 1);
	assert_true(t_object_exists(&d, v.root_id));
	assert_int_equal(leaves(), from + 1);
	assert_true(t_leaf_says(&d, from, "\"type\":\"log.integrity_failed\""));
	assert_true(t_leaf_says(&d, from, "\"state\":\"tombstone\""));
}

/* Nor does it keep what died out of its certificate: then there is none. */
static void a_forged_tombstone_does_not_hide_in_a_shred(void **state)
{
	struct kms_err err;
	struct store_vault v;

	(void)state;
	t_vault(&d, "hidden", false);
	v = vault_of("hidden");
	plant_tombstone(&v, v.pseudonym_id, false);
	t_approve_shred(&d, "hidden");
	assert_int_equal(attempt("hidden", NULL, &err), KMS_E_AUDIT);
	assert_int_equal(vault_of("hidden").state, STORE_VAULT_SHREDDING);
	assert_false(t_object_exists(&d, v.root_id));
}

static void each_bit_of_a_tombstone_counts(void **state)
{
	struct store_tombstone t = { .kind = STORE_TOMBSTONE_ROOT };
	struct kms_err err = { 0 };

	(void)state;
	assert_true(random_bytes(t.obj, sizeof(t.obj)));
	assert_int_equal(tombstone_seal(d.kms.hsm, &d.kms.inst, &t, &err), KMS_OK);
	for (unsigned bit = 0; bit < 8 * (STORE_MAC_LEN + STORE_ID_LEN); bit++) {
		uint8_t *at = bit < 8 * STORE_MAC_LEN ? &t.mac[bit / 8] : &t.obj[bit / 8 - STORE_MAC_LEN];

		*at ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(tombstone_check(d.kms.hsm, &d.kms.inst, &t, &err), KMS_E_CRYPTO);
		*at ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(tombstone_check(d.kms.hsm, &d.kms.inst, &t, &err), KMS_OK);
}

static void a_vault_whose_root_is_not_there_is_named(void **state)
{
	struct sweep_count count;
	struct store_vault v;
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(sweep(KMS_OK).rootless, 0);
	t_vault(&d, "lost", false);
	v = vault_of("lost");
	assert_int_equal(hsm_key_destroy(d.kms.hsm, v.root_id, &err), KMS_OK);
	count = sweep(KMS_OK);
	assert_int_equal(count.rootless, 1);
	assert_string_equal(count.rootless_vault, "lost");
}

/* The last: no sweep succeeds after it. */
static void what_lives_and_has_a_good_tombstone_is_left_alone_and_not_served(void **state)
{
	struct store_vault v;
	uint64_t from;

	(void)state;
	t_vault(&d, "torn", false);
	v = vault_of("torn");
	plant_tombstone(&v, v.root_id, true);
	from = leaves();
	(void)sweep(KMS_E_AUDIT);
	assert_true(t_object_exists(&d, v.root_id));
	assert_int_equal(count_leaves(from, "\"type\":\"log.integrity_failed\"", "\"state\":\"contradiction\""), 1);
}

static int set_up(void **state)
{
	(void)state;
	t_domain_open(&d);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	t_domain_close(&d);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forged_intent_destroys_nothing_that_lives),
		cmocka_unit_test(each_thing_that_dies_has_a_leaf_and_a_tombstone_of_its_own),
		cmocka_unit_test(a_purge_erases_the_blobs_and_certifies_the_key),
		cmocka_unit_test(what_retention_ends_is_certified_as_that),
		cmocka_unit_test(a_shred_goes_on_where_the_device_failed),
		cmocka_unit_test(a_purge_goes_on_where_the_device_failed),
		cmocka_unit_test(a_shred_that_was_cut_short_gets_its_certificate_from_recovery),
		cmocka_unit_test(nothing_is_destroyed_before_its_intent_is_signed_and_pinned),
		cmocka_unit_test(what_still_serves_is_not_destroyed),
		cmocka_unit_test(a_thousand_versions_are_shredded_and_others_are_served_in_between),
		cmocka_unit_test(what_came_back_is_destroyed_again_and_written_down),
		cmocka_unit_test(nothing_is_served_when_what_came_back_cannot_be_destroyed),
		cmocka_unit_test(a_vault_whose_root_is_not_there_is_named),
		cmocka_unit_test(each_bit_of_a_tombstone_counts),
		cmocka_unit_test(a_forged_tombstone_destroys_nothing_and_raises_the_alarm),
		cmocka_unit_test(a_forged_tombstone_does_not_hide_in_a_shred),
		cmocka_unit_test(what_lives_and_has_a_good_tombstone_is_left_alone_and_not_served),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
