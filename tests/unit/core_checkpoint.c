/* The checkpointer on real parts: what it signs verifies and is what is stored; what is damaged, late or rolled back is never signed. */
#include "server/core/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sqlite3.h>

#include <cmocka.h>

#include "server/base/log.h"
#include "server/core/checkpoint_parts.h"
#include "tests/support/domain.h"
#include "tests/support/hsm_rig.h"

#define ORIGIN "vault.test/audit/log1"
#define SOON_MS 5000 /* a test that waits so long fails */

static struct t_domain D;

static int set_up(void **state)
{
	t_domain_open(&D);
	*state = &D;
	return 0;
}

static int tear_down(void **state)
{
	t_domain_close(*state);
	return 0;
}

static int renew(void **state)
{
	*state = &D;
	t_domain_renew(&D);
	return 0;
}

/* One leaf; its seq. */
static uint64_t write_leaf(struct t_domain *d)
{
	struct write unit = { .event = { .type = EVENT_NODE_CONFIG, .actor = EVENT_ACTOR_NODE } };

	assert_int_equal(writer_write(d->kms.writer, &unit), KMS_OK);
	return unit.seq;
}

static void seal(struct t_domain *d, uint64_t seq)
{
	struct kms_err err = { 0 };

	if (log_seal(d->kms.log, seq, SOON_MS, &err) != KMS_OK) {
		struct log_status s;
		log_status(d->kms.log, &s);
		fail_msg("leaf %llu is not sealed: state %d, %s", (unsigned long long)seq, (int)s.state, s.last_failure.detail);
	}
}

/* Wait until the status is as wanted. */
#define UNTIL(d, s, condition)                                                                             \
	do {                                                                                               \
		struct timespec pause_ = { .tv_nsec = 5000000 };                                           \
		int left_ = SOON_MS / 5;                                                                   \
		for (log_status((d)->kms.log, &(s)); !(condition) && left_ > 0; left_--) {                 \
			(void)nanosleep(&pause_, NULL);                                                    \
			log_status((d)->kms.log, &(s));                                                    \
		}                                                                                          \
		if (!(condition))                                                                          \
			fail_msg("not in time: " #condition "; state %d, signed %llu, pinned %llu: %s", (int)(s).state,                  \
			         (unsigned long long)(s).signed_size, (unsigned long long)(s).pinned_size, (s).last_failure.detail); \
	} while (0)

static struct note_key vkey_of(struct t_domain *d, unsigned generation)
{
	struct store_log_key keys[8];
	struct note_key key;
	size_t count = 0;

	assert_int_equal(store_log_keys(d->store->r, keys, 8, &count, NULL), KMS_OK);
	assert_in_range(generation, 1, count);
	assert_int_equal(keys[count - generation].generation, generation);
	assert_true(note_vkey_parse(keys[count - generation].vkey, &key));
	return key;
}

/* The tree of so many leaves, from the leaves alone. */
static kms_status drop(void *arg, unsigned level, uint64_t position, const uint8_t hash[MERKLE_HASH_LEN], struct kms_err *err)
{
	(void)arg, (void)level, (void)position, (void)hash, (void)err;
	return KMS_OK;
}

static void root_from_leaves(struct t_domain *d, uint64_t size, uint8_t ret[MERKLE_HASH_LEN])
{
	struct merkle_edge edge = { 0 };

	for (uint64_t seq = 0; seq < size; seq++) {
		struct store_event e = { 0 };
		uint8_t hash[MERKLE_HASH_LEN];
		assert_int_equal(store_event(d->store->r, seq, &e, NULL), KMS_OK);
		merkle_leaf_hash(e.leaf, e.leaf_len, hash);
		store_event_clear(&e);
		assert_int_equal(merkle_append(&edge, hash, drop, NULL, NULL), KMS_OK);
	}
	merkle_root(&edge, ret);
}

/* The stored checkpoint is a note of this key about these leaves. */
static void check_note(struct t_domain *d, const struct store_signed *c, const struct note_key *key)
{
	struct checkpoint_text text;
	uint8_t root[MERKLE_HASH_LEN];
	size_t len = 0;

	assert_true(checkpoint_parse(c->note, strlen(c->note), &text, &len));
	assert_string_equal(text.origin, ORIGIN);
	assert_int_equal(text.size, c->size);
	root_from_leaves(d, c->size, root);
	assert_memory_equal(text.root, root, sizeof(root));
	assert_memory_equal(c->root, root, sizeof(root));
	assert_int_equal(note_verify(c->note, strlen(c->note), key, NULL, NULL), KMS_OK);
}

static size_t lines_of(const char *note)
{
	size_t count = 0;

	for (const char *at = note; (at = strstr(at, "\xe2\x80\x94 ")) != NULL; at++)
		count++;
	return count;
}

static void a_leaf_is_covered_by_a_checkpoint_that_verifies(void **state)
{
	struct t_domain *d = *state;
	STORE_SIGNED_AUTO first = { 0 };
	STORE_SIGNED_AUTO second = { 0 };
	struct note_key key = vkey_of(d, 1);
	struct log_status s;
	uint64_t seq;

	assert_int_equal(log_newest(d->kms.log, d->store->r, &first, NULL), KMS_E_NOTFOUND);
	t_domain_sign(d, NULL);
	UNTIL(d, s, s.signed_size == 2); /* log.init, node.start */
	assert_int_equal(log_newest(d->kms.log, d->store->r, &first, NULL), KMS_OK);
	check_note(d, &first, &key);
	assert_int_equal(first.signed_us, clock_wall_us(d->kms.clock));
	/* Without anybody asking, after the interval. */
	seq = write_leaf(d);
	UNTIL(d, s, s.signed_size > seq);
	assert_int_equal(log_newest(d->kms.log, d->store->r, &second, NULL), KMS_OK);
	check_note(d, &second, &key);
	assert_int_equal(lines_of(second.note), 1);
	assert_int_equal(log_state(d->kms.log), LOG_GOOD);
	assert_int_equal(s.oldest_unsigned_ms, 0);
}

static void the_first_leaf_names_the_key_that_signs(void **state)
{
	struct t_domain *d = *state;
	struct note_key key = vkey_of(d, 1);
	char vkey[NOTE_VKEY_MAX + 1], wanted[NOTE_VKEY_MAX + 16];

	note_vkey_format(&key, vkey);
	(void)snprintf(wanted, sizeof(wanted), "\"vkey\":\"%s\"", vkey);
	assert_true(t_leaf_says(d, 0, wanted));
}

static void pin_of(struct t_domain *d, struct hsm_pin *ret)
{
	struct kms_err err = { 0 };
	size_t count = 0;
	struct hsm_pin pins[HSM_PINS_MAX];

	assert_int_equal(hsm_pins(d->kms.hsm, d->kms.inst.directory, pins, HSM_PINS_MAX, &count, &err), KMS_OK);
	assert_int_equal(count, 1);
	*ret = pins[0];
}

static void what_is_critical_is_pinned_before_it_is_answered(void **state)
{
	struct t_domain *d = *state;
	struct log_pinned remembered;
	struct hsm_pin pin;
	struct log_status s;
	uint64_t seq;

	t_domain_sign(d, &(struct checkpointer_config){ .interval_ms = 60000, .leaves = 1000, .pin_s = 3600, .heartbeat_s = 60, .late_ms = 60000 });
	UNTIL(d, s, s.pinned_size == 2); /* the first is always pinned */
	seq = write_leaf(d);
	seal(d, seq);
	pin_of(d, &pin);
	assert_string_equal(pin.origin, ORIGIN);
	assert_true(pin.size > seq);
	assert_int_equal(log_pinned_read(d->store->r, &remembered, NULL), KMS_OK);
	assert_int_equal(remembered.size, pin.size);
	assert_memory_equal(remembered.root, pin.root, sizeof(pin.root));
}

static void the_newest_is_pinned_after_its_time_and_at_the_end(void **state)
{
	struct t_domain *d = *state;
	struct hsm_pin pin;
	struct log_status s;

	t_domain_sign(d, NULL);
	UNTIL(d, s, s.pinned_size == 2);
	(void)write_leaf(d);
	UNTIL(d, s, s.signed_size == 3);
	assert_int_equal(s.pinned_size, 2);
	t_domain_pass(59);
	(void)write_leaf(d);
	UNTIL(d, s, s.signed_size == 4);
	assert_int_equal(s.pinned_size, 2);
	t_domain_pass(2);
	UNTIL(d, s, s.pinned_size == s.signed_size);
	(void)write_leaf(d);
	t_domain_stop_signing(d);
	pin_of(d, &pin);
	assert_true(pin.size >= 5);
}

static void silence_has_a_heartbeat(void **state)
{
	struct t_domain *d = *state;
	struct log_status s;

	t_domain_sign(d, NULL);
	UNTIL(d, s, s.signed_size == 2);
	t_domain_pass(59);
	t_domain_pass(2);
	UNTIL(d, s, s.signed_size == 3);
	assert_true(t_leaf_says(d, 2, "\"type\":\"log.heartbeat\""));
	assert_true(t_leaf_says(d, 2, "\"det\":{\"size\":2}"));
}

/* Change the database behind the daemon's back. */
static void change(struct t_domain *d, const char *sql)
{
	sqlite3 *db = NULL;
	char *why = NULL;

	assert_int_equal(sqlite3_open_v2(d->store->path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_busy_timeout(db, 2000), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", sql, why);
	assert_int_equal(sqlite3_changes(db), 1);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static uint64_t size_of(struct t_domain *d)
{
	struct writer_state w;

	writer_state(d->kms.writer, &w);
	return w.size;
}

static void is_never_signed(struct t_domain *d, const char *sql)
{
	STORE_SIGNED_AUTO c = { 0 };
	struct kms_err err = { 0 };
	struct log_status s;

	for (int i = 0; i < 4; i++)
		(void)write_leaf(d);
	change(d, sql);
	t_domain_sign(d, NULL);
	UNTIL(d, s, s.state == LOG_DAMAGED && size_of(d) == 7);
	assert_true(s.verdict.why[0] != '\0');
	assert_int_equal(log_newest(d->kms.log, d->store->r, &c, NULL), KMS_E_NOTFOUND);
	assert_int_equal(log_seal(d->kms.log, 1, SOON_MS, &err), KMS_E_AUDIT);
	assert_true(t_leaf_says(d, 6, "\"type\":\"log.integrity_failed\""));
	assert_true(t_leaf_says(d, 6, "\"state\":\"damaged\""));
}

static void a_flipped_bit_in_a_stored_leaf_is_never_signed(void **state)
{
	is_never_signed(*state, "UPDATE event SET leaf = CAST(replace(CAST(leaf AS TEXT), 'node.config', 'node.confiG') AS BLOB) WHERE seq = 3");
}

static void a_changed_hash_of_a_leaf_is_never_signed(void **state)
{
	is_never_signed(*state, "UPDATE event SET hash = zeroblob(32) WHERE seq = 2");
}

static void a_changed_node_is_never_signed(void **state) { is_never_signed(*state, "UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND position = 1"); }

static void a_missing_leaf_is_never_signed(void **state) { is_never_signed(*state, "DELETE FROM event WHERE seq = 4"); }

/* Below what was signed, on the right edge: found when the next checkpoint is due. */
static void what_was_signed_is_extended_or_nothing_is_signed(void **state)
{
	struct t_domain *d = *state;
	struct log_status s;

	t_domain_sign(d, NULL);
	UNTIL(d, s, s.signed_size == 2);
	change(d, "UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND position = 0");
	(void)write_leaf(d);
	UNTIL(d, s, s.state == LOG_DAMAGED);
	assert_int_equal(s.signed_size, 2);
}

static void a_device_that_is_away_makes_the_log_late_and_back_it_is_good_again(void **state)
{
	struct t_domain *d = *state;
	struct kms_err err = { 0 };
	struct log_status s;
	uint64_t seq;

	t_domain_sign(d, &(struct checkpointer_config){ .interval_ms = 100, .leaves = 1000, .pin_s = 60, .heartbeat_s = 60, .late_ms = 300 });
	UNTIL(d, s, s.pinned_size == 2);
	t_fail_named("C_Sign", CKR_DEVICE_REMOVED);
	seq = write_leaf(d);
	assert_int_equal(log_state(d->kms.log), LOG_GOOD); /* for a while */
	assert_int_equal(log_seal(d->kms.log, seq, 50, &err), KMS_E_AUDIT);
	UNTIL(d, s, s.state == LOG_LATE && s.last_failure.status != KMS_OK);
	assert_true(s.oldest_unsigned_ms >= 300);
	assert_int_equal(s.signed_size, 2);
	t_fail_named(NULL, CKR_OK);
	assert_int_equal(hsm_check(d->kms.hsm, &err), KMS_OK);
	UNTIL(d, s, s.state == LOG_GOOD && s.signed_size > seq && s.last_failure.status == KMS_OK);
	seal(d, seq);
}

static void a_device_that_hangs_holds_up_nobody_else(void **state)
{
	struct t_domain *d = *state;
	struct kms_err err = { 0 };
	struct log_status s;
	uint64_t seq;

	t_domain_sign(d, &(struct checkpointer_config){ .interval_ms = 100, .leaves = 1000, .pin_s = 60, .heartbeat_s = 60, .late_ms = 200 });
	UNTIL(d, s, s.pinned_size == 2);
	t_hold("C_Sign");
	seq = write_leaf(d);
	t_hold_wait();
	assert_int_equal(log_seal(d->kms.log, seq, 50, &err), KMS_E_AUDIT);
	(void)write_leaf(d);
	UNTIL(d, s, s.state == LOG_LATE);
	t_hold_release();
	UNTIL(d, s, s.state == LOG_GOOD && s.signed_size == 4);
}

static void whoever_must_keep_up_with_the_log_makes_it_late_until_all_have_let_go(void **state)
{
	struct t_domain *d = *state;
	struct log_status s;

	t_domain_sign(d, NULL);
	UNTIL(d, s, s.state == LOG_GOOD && s.has_checkpoint);
	log_hold(d->kms.log);
	log_hold(d->kms.log);
	assert_int_equal(log_state(d->kms.log), LOG_LATE);
	log_let_go(d->kms.log);
	log_status(d->kms.log, &s);
	assert_true(s.is_held && s.state == LOG_LATE);
	seal(d, write_leaf(d)); /* it is signed all the same */
	log_let_go(d->kms.log);
	log_status(d->kms.log, &s);
	assert_true(!s.is_held && s.state == LOG_GOOD);
	log_hold(NULL);
	log_let_go(NULL);
}

static void nothing_is_signed_of_a_log_that_was_rolled_back(void **state)
{
	struct t_domain *d = *state;
	struct log_verdict verdict = { .state = LOG_ROLLED_BACK, .size = 2, .has_known = true, .known_size = 9, .why = "an older copy" };
	STORE_SIGNED_AUTO c = { 0 };
	struct kms_err err = { 0 };
	struct log_status s;

	t_domain_sign(d, &(struct checkpointer_config){ .interval_ms = 100, .leaves = 1, .pin_s = 60, .heartbeat_s = 60, .late_ms = 100, .verdict = &verdict });
	assert_true(t_leaf_says(d, 2, "\"type\":\"log.integrity_failed\""));
	assert_true(t_leaf_says(d, 2, "an older copy"));
	assert_int_equal(log_seal(d->kms.log, write_leaf(d), SOON_MS, &err), KMS_E_AUDIT);
	log_status(d->kms.log, &s);
	assert_int_equal(s.state, LOG_ROLLED_BACK);
	assert_int_equal(s.verdict.known_size, 9);
	t_domain_stop_signing(d);
	assert_int_equal(store_checkpoint_last(d->store->r, &c, NULL), KMS_E_NOTFOUND);
}

static void a_witness_that_knows_more_ends_the_signing(void **state)
{
	struct t_domain *d = *state;
	uint8_t root[MERKLE_HASH_LEN] = { 7 };
	struct kms_err err = { 0 };
	struct log_status s;
	uint64_t seq;

	t_domain_sign(d, NULL);
	UNTIL(d, s, s.signed_size == 2);
	log_report_rollback(d->kms.log, "witness.test/w1", 12, root);
	log_report_rollback(d->kms.log, "witness.test/w2", 13, root); /* said once */
	log_status(d->kms.log, &s);
	assert_int_equal(s.state, LOG_ROLLED_BACK);
	assert_int_equal(s.verdict.known_size, 12);
	assert_non_null(strstr(s.verdict.why, "witness.test/w1"));
	assert_true(t_leaf_says(d, 2, "witness.test/w1"));
	seq = write_leaf(d);
	assert_int_equal(seq, 3);
	assert_int_equal(log_seal(d->kms.log, seq, SOON_MS, &err), KMS_E_AUDIT);
	log_status(d->kms.log, &s);
	assert_int_equal(s.signed_size, 2);
}

/* Somebody else pinned more: two servers on one token, or this one is the copy. */
static void a_pin_that_is_larger_than_ours_ends_the_signing(void **state)
{
	struct t_domain *d = *state;
	struct hsm_pin pin = { .origin = ORIGIN, .size = 1000, .root = { 1 } };
	struct kms_err err = { 0 };
	struct log_status s;

	memcpy(pin.owner, d->kms.inst.directory, sizeof(pin.owner));
	assert_int_equal(hsm_pin(d->kms.hsm, &pin, &err), KMS_OK);
	t_domain_sign(d, NULL);
	UNTIL(d, s, s.state == LOG_ROLLED_BACK);
	assert_int_equal(s.pinned_size, 0);
}

/* What log_rotate_key() writes. */
static uint64_t rotate(struct t_domain *d, enum hsm_kind kind)
{
	struct hsm_key key = { .purpose = HSM_FOR_LOG, .kind = kind };
	struct store_change change_key = { .kind = STORE_LOG_KEY_ADD, .log_key = { .from_size = UINT64_MAX, .created_s = T_DOMAIN_START_S } };
	struct write unit = { .event = { .type = EVENT_LOG_KEY_ROTATED }, .changes = &change_key, .change_count = 1 };
	struct hsm_public pub = { 0 };
	struct kms_err err = { 0 };

	assert_true(guid_random(key.id));
	assert_int_equal(hsm_key_generate(d->kms.hsm, &key, &pub, &err), KMS_OK);
	memcpy(change_key.log_key.obj, key.id, sizeof(key.id));
	assert_true(log_vkey_make(ORIGIN, kind, &pub, change_key.log_key.vkey));
	assert_int_equal(writer_write(d->kms.writer, &unit), KMS_OK);
	return unit.seq;
}

static void check_rotation(struct t_domain *d, uint64_t seq)
{
	struct note_key one = vkey_of(d, 1), two = vkey_of(d, 2);
	STORE_SIGNED_AUTO both = { 0 };
	STORE_SIGNED_AUTO next = { 0 };
	struct log_status s;
	uint64_t after = write_leaf(d);

	UNTIL(d, s, s.signed_size > after);
	assert_int_equal(store_checkpoint_of(d->store->r, seq + 1, &both, NULL), KMS_OK);
	check_note(d, &both, &one);
	check_note(d, &both, &two);
	assert_int_equal(lines_of(both.note), 2);
	assert_int_equal(store_checkpoint_last(d->store->r, &next, NULL), KMS_OK);
	check_note(d, &next, &two);
	assert_int_equal(lines_of(next.note), 1);
	assert_int_equal(note_verify(next.note, strlen(next.note), &one, NULL, NULL), KMS_E_NOTFOUND);
}

static void the_checkpoint_of_a_key_change_is_signed_by_both_keys_and_the_next_by_the_new_one(void **state)
{
	struct t_domain *d = *state;
	struct log_status s;
	uint64_t seq;

	t_domain_sign(d, NULL);
	UNTIL(d, s, s.signed_size == 2);
	seq = rotate(d, HSM_KIND_ED25519);
	seal(d, seq);
	check_rotation(d, seq);
}

/* What a device without Ed25519 does from the first leaf on. */
static void a_p256_key_signs_as_well(void **state)
{
	struct t_domain *d = *state;
	struct log_status s;
	uint64_t seq;

	t_domain_sign(d, NULL);
	UNTIL(d, s, s.signed_size == 2);
	seq = rotate(d, HSM_KIND_P256);
	seal(d, seq);
	check_rotation(d, seq);
	assert_int_equal(vkey_of(d, 2).type, NOTE_ECDSA_P256);
	t_domain_restart(d);
	assert_int_equal(d->verdict.state, LOG_GOOD);
}

static void a_quorum_that_is_needed_and_not_there_seals_nothing_critical(void **state)
{
	struct t_domain *d = *state;
	struct kms_err err = { 0 };
	struct log_status s;
	uint64_t seq;

	t_domain_sign(d, &(struct checkpointer_config){ .interval_ms = 100, .leaves = 1000, .pin_s = 60, .heartbeat_s = 60, .late_ms = 5000, .needs_witnesses = true,
	                                                .is_strict = true });
	assert_true(log_is_strict(d->kms.log));
	seq = write_leaf(d);
	UNTIL(d, s, s.signed_size > seq);
	assert_int_equal(log_seal(d->kms.log, seq, 100, &err), KMS_E_AUDIT);
	assert_int_equal(log_state(d->kms.log), LOG_GOOD);
}

/* The leaf is durable, then the process dies; more leaves came before anybody could sign. */
static void a_key_change_survives_a_crash_before_its_checkpoint(void **state)
{
	struct t_domain *d = *state;
	struct log_status s;
	uint64_t seq;

	t_domain_sign(d, NULL);
	UNTIL(d, s, s.signed_size == 2);
	t_domain_stop_signing(d);
	seq = rotate(d, HSM_KIND_ED25519);
	(void)write_leaf(d);
	t_domain_restart(d);
	t_domain_sign(d, NULL);
	check_rotation(d, seq);
}

static void cosignatures_are_added_once(void **state)
{
	static const char ONE[] = "\xe2\x80\x94 w.test/1 AAAA\n", TWO[] = "\xe2\x80\x94 w.test/2 BBBB\n";
	struct t_domain *d = *state;
	STORE_SIGNED_AUTO c = { 0 };
	struct note_key key = vkey_of(d, 1);
	struct kms_err err = { 0 };
	struct log_status s;

	t_domain_sign(d, NULL);
	UNTIL(d, s, s.signed_size == 2);
	assert_int_equal(log_add_cosignatures(d->kms.log, 2, ONE, &err), KMS_OK);
	assert_int_equal(log_add_cosignatures(d->kms.log, 2, ONE, &err), KMS_OK);
	assert_int_equal(log_add_cosignatures(d->kms.log, 2, TWO, &err), KMS_OK);
	assert_int_equal(log_newest(d->kms.log, d->store->r, &c, NULL), KMS_OK);
	check_note(d, &c, &key);
	assert_int_equal(lines_of(c.note), 3);
	assert_non_null(strstr(c.note, ONE));
	assert_non_null(strstr(c.note, TWO));
	assert_int_equal(log_add_cosignatures(d->kms.log, 3, ONE, &err), KMS_E_NOTFOUND);
}

static void without_a_checkpointer_nothing_waits(void **state)
{
	struct log_status s;

	(void)state;
	assert_int_equal(log_seal(NULL, 5, 0, NULL), KMS_OK);
	assert_int_equal(log_state(NULL), LOG_GOOD);
	log_status(NULL, &s);
	assert_int_equal(s.state, LOG_GOOD);
	assert_false(log_is_strict(NULL));
}

static void what_destroys_or_leaves_the_house_is_critical(void **state)
{
	(void)state;
	assert_true(log_is_critical(EVENT_TENANT_SHRED));
	assert_true(log_is_critical(EVENT_KEY_PURGE));
	assert_true(log_is_critical(EVENT_KEY_BACKUP));
	assert_true(log_is_critical(EVENT_KEY_RESTORE));
	assert_true(log_is_critical(EVENT_LOG_KEY_ROTATED));
	assert_true(log_is_critical(EVENT_KEY_DESTROY));
	assert_true(log_is_critical(EVENT_TENANT_ROTATE_ROOT));
	assert_true(log_is_critical(EVENT_BACKUP_EPOCH_END));
	assert_true(log_is_critical(EVENT_NODE_BACKUP));
	assert_false(log_is_critical(EVENT_TENANT_LOCK));
	/* These must work while the device is away. */
	assert_false(log_is_critical(EVENT_KEY_REVOKE));
	assert_false(log_is_critical(EVENT_KEY_DELETE));
	assert_false(log_is_critical(EVENT_ROLE_REVOKE));
}

#define WITH(test) cmocka_unit_test_setup(test, renew)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH(a_leaf_is_covered_by_a_checkpoint_that_verifies),
		WITH(the_first_leaf_names_the_key_that_signs),
		WITH(what_is_critical_is_pinned_before_it_is_answered),
		WITH(the_newest_is_pinned_after_its_time_and_at_the_end),
		WITH(silence_has_a_heartbeat),
		WITH(a_flipped_bit_in_a_stored_leaf_is_never_signed),
		WITH(a_changed_hash_of_a_leaf_is_never_signed),
		WITH(a_changed_node_is_never_signed),
		WITH(a_missing_leaf_is_never_signed),
		WITH(what_was_signed_is_extended_or_nothing_is_signed),
		WITH(a_device_that_is_away_makes_the_log_late_and_back_it_is_good_again),
		WITH(a_device_that_hangs_holds_up_nobody_else),
		WITH(whoever_must_keep_up_with_the_log_makes_it_late_until_all_have_let_go),
		WITH(nothing_is_signed_of_a_log_that_was_rolled_back),
		WITH(a_witness_that_knows_more_ends_the_signing),
		WITH(a_pin_that_is_larger_than_ours_ends_the_signing),
		WITH(the_checkpoint_of_a_key_change_is_signed_by_both_keys_and_the_next_by_the_new_one),
		WITH(a_p256_key_signs_as_well),
		WITH(a_quorum_that_is_needed_and_not_there_seals_nothing_critical),
		WITH(a_key_change_survives_a_crash_before_its_checkpoint),
		WITH(cosignatures_are_added_once),
		cmocka_unit_test(without_a_checkpointer_nothing_waits),
		cmocka_unit_test(what_destroys_or_leaves_the_house_is_critical),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
