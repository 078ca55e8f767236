/* The start-up check on real parts: older and altered databases and tokens are noticed, good ones are not suspected, and what a quorum accepted begins the next log. */
#include "server/core/checkpoint.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include <cmocka.h>

#include "server/core/checkpoint_parts.h"
#include "server/core/epoch.h"
#include "server/core/log_accept.h"
#include "tests/support/domain.h"

#define ONE "vault.test/audit/log1"
#define TWO "vault.test/audit/log2"
#define THREE "vault.test/audit/log3"
#define SOON_MS 5000
#define PATH_LEN (T_TOKEN_PATH + 16)

static struct t_domain D;

static int set_up(void **state)
{
	(void)state;
	t_domain_open(&D);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	t_domain_close(&D);
	return 0;
}

static int renew(void **state)
{
	(void)state;
	t_domain_renew(&D);
	return 0;
}

static uint64_t write_leaf(void)
{
	struct write unit = { .event = { .type = EVENT_NODE_CONFIG, .actor = EVENT_ACTOR_NODE } };

	assert_int_equal(writer_write(D.kms.writer, &unit), KMS_OK);
	return unit.seq;
}

/* Leaves until now are signed and pinned; the size. */
static uint64_t sign(void)
{
	struct kms_err err = { 0 };
	struct log_status s;
	uint64_t seq = write_leaf();

	if (D.kms.log == NULL)
		t_domain_sign(&D, NULL);
	if (log_seal(D.kms.log, seq, SOON_MS, &err) != KMS_OK)
		fail_msg("not sealed: %s", err.detail);
	log_status(D.kms.log, &s);
	return s.pinned_size;
}

/* The process ends. */
static void shut(void)
{
	t_domain_stop_signing(&D);
	writer_stop(D.kms.writer);
	D.kms.writer = NULL;
	store_close(D.store->w);
	store_close(D.store->r);
	D.store->w = D.store->r = NULL;
}

/* What log_check() says; nothing is started. */
static struct log_verdict check(void)
{
	struct log_verdict v;
	struct kms_err err = { 0 };
	char origin[STORE_ORIGIN_MAX + 1];

	store_fixture_reopen(D.store);
	if (log_check(D.store->w, D.kms.hsm, &D.kms.inst, D.kms.clock, origin, &v, &err) != KMS_OK)
		fail_msg("%s", err.detail);
	return v;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st, (void)flag, (void)at;
	return remove(path);
}

static void remove_tree(const char *path) { assert_int_equal(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0); }

static void keep(const char *dir)
{
	char copy[PATH_LEN];

	(void)snprintf(copy, sizeof(copy), "%s.kept", dir);
	t_copy_tree(dir, copy);
}

static void put_back(const char *dir)
{
	char copy[PATH_LEN];

	(void)snprintf(copy, sizeof(copy), "%s.kept", dir);
	remove_tree(dir);
	assert_int_equal(rename(copy, dir), 0);
}

static void change(const char *sql)
{
	sqlite3 *db = NULL;
	char *why = NULL;

	assert_int_equal(sqlite3_open_v2(D.store->path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", sql, why);
	assert_true(sqlite3_changes(db) > 0);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void pin(const char *origin, uint64_t size)
{
	struct hsm_pin p = { .size = size, .root = { 9 } };
	struct kms_err err = { 0 };

	memcpy(p.owner, D.kms.inst.directory, sizeof(p.owner));
	(void)snprintf(p.origin, sizeof(p.origin), "%s", origin);
	assert_int_equal(hsm_pin(D.kms.hsm, &p, &err), KMS_OK);
}

static void a_log_that_was_never_signed_is_good(void **state)
{
	(void)state;
	(void)write_leaf();
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_GOOD);
	assert_string_equal(D.kms.origin, ONE);
}

static void a_log_that_was_signed_is_good_whatever_came_after_the_pin(void **state)
{
	struct log_status s;
	struct timespec pause = { .tv_nsec = 5000000 };
	uint64_t seq;

	(void)state;
	(void)sign();
	/* A checkpoint beyond the pin, and leaves beyond that. */
	seq = write_leaf();
	for (log_status(D.kms.log, &s); s.signed_size <= seq; log_status(D.kms.log, &s))
		(void)nanosleep(&pause, NULL);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_GOOD);
	(void)write_leaf();
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_GOOD);
	(void)sign();
}

static void an_older_database_is_noticed(void **state)
{
	uint64_t size;

	(void)state;
	(void)sign();
	shut();
	keep(D.store->dir);
	t_domain_restart(&D);
	(void)write_leaf();
	size = sign();
	shut();
	put_back(D.store->dir);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
	assert_non_null(strstr(D.verdict.why, "older copy"));
	assert_true(D.verdict.has_known);
	assert_true(D.verdict.known_size >= size);
	assert_true(D.verdict.size < D.verdict.known_size);
	/* Nothing that is written to it makes it another one. */
	for (int i = 0; i < 20; i++)
		(void)write_leaf();
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
	assert_true(D.verdict.size > D.verdict.known_size);
	assert_non_null(strstr(D.verdict.why, "altered"));
}

static void a_journal_that_was_cut_off_is_noticed(void **state)
{
	struct kms_err err = { 0 };
	char wal[PATH_LEN];

	(void)state;
	(void)sign();
	assert_int_equal(writer_truncate(D.kms.writer, &err), KMS_OK);
	(void)write_leaf();
	(void)sign();
	shut();
	(void)snprintf(wal, sizeof(wal), "%s-wal", D.store->path);
	assert_int_equal(unlink(wal), 0);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
}

static void replace_token(void)
{
	struct kms_err err = { 0 };

	hsm_close(D.kms.hsm);
	D.kms.hsm = NULL;
	put_back(D.token.token_dir);
	if (hsm_open_pkcs11(&D.token.cfg, &D.kms.hsm, &err) != KMS_OK)
		fail_msg("%s", err.detail);
	hsm_set_log_key(D.kms.hsm, D.kms.inst.log_key);
}

static void an_older_token_is_noticed(void **state)
{
	uint64_t size;

	(void)state;
	(void)sign();
	keep(D.token.token_dir);
	size = sign();
	shut();
	replace_token();
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
	assert_non_null(strstr(D.verdict.why, "token is an older copy"));
	assert_true(D.verdict.known_size >= size);
}

static void a_token_without_the_pin_is_noticed(void **state)
{
	(void)state;
	keep(D.token.token_dir);
	(void)sign();
	shut();
	replace_token();
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
	assert_non_null(strstr(D.verdict.why, "no pin of this log"));
}

static void leaves_that_were_cut_off_below_a_checkpoint_are_noticed(void **state)
{
	struct log_verdict v;

	(void)state;
	(void)sign();
	shut();
	/* As if this checkpoint had not been pinned yet: the database alone gives it away. */
	store_fixture_reopen(D.store);
	change("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)");
	change("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)");
	v = check();
	assert_int_equal(v.state, LOG_ROLLED_BACK);
}

static void a_changed_node_below_the_pin_is_noticed(void **state)
{
	struct log_verdict v;

	(void)state;
	(void)sign();
	(void)sign();
	shut();
	store_fixture_reopen(D.store);
	change("UPDATE node SET hash = zeroblob(32) WHERE level = (SELECT max(level) FROM node) AND position = 0");
	v = check();
	assert_int_equal(v.state, LOG_ROLLED_BACK);
	assert_non_null(strstr(v.why, "altered"));
}

static void a_checkpoint_that_our_key_did_not_sign_is_noticed(void **state)
{
	struct log_verdict v;

	(void)state;
	(void)sign();
	shut();
	store_fixture_reopen(D.store);
	change("UPDATE checkpoint SET note = substr(note, 1, length(note) - 12) || 'AAAA' || substr(note, -8) WHERE size = (SELECT max(size) FROM checkpoint)");
	v = check();
	assert_int_equal(v.state, LOG_ROLLED_BACK);
	assert_non_null(strstr(v.why, "not signed by the log key"));
}

/* Witnesses are asked with the newest checkpoint. */
static void checkpoints_that_were_removed_are_noticed(void **state)
{
	struct log_verdict v;

	(void)state;
	(void)sign();
	shut();
	store_fixture_reopen(D.store);
	change("DELETE FROM checkpoint");
	v = check();
	assert_int_equal(v.state, LOG_ROLLED_BACK);
	assert_non_null(strstr(v.why, "newest checkpoint in the database"));
}

static void a_pin_of_a_later_log_is_noticed(void **state)
{
	(void)state;
	(void)sign();
	pin(TWO, 77);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
	assert_string_equal(D.verdict.known_origin, TWO);
	assert_int_equal(D.verdict.known_size, 77);
}

/* Another installation's pins on the same token are its own affair. */
static void the_pins_of_others_mean_nothing(void **state)
{
	struct hsm_pin p = { .owner = { 1 }, .origin = ONE, .size = 5000 };
	struct kms_err err = { 0 };

	(void)state;
	assert_int_equal(hsm_pin(D.kms.hsm, &p, &err), KMS_OK);
	(void)sign();
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_GOOD);
}

/* What log_accept() writes after the vote. */
static void accept_verdict(const struct log_verdict *v, uint64_t known_size)
{
	struct log_acceptance a = { .size = v->size, .has_known = v->has_known, .known_size = known_size, .approver_count = 2,
		                    .approvers = { { .pid = { 1 }, .at_us = 1800000000000000, .cred = "jwt" },
		                                   { .pid = { 2 }, .at_us = 1800000001000000, .cred = "certificate", .kid = "0123abcd" } } };
	struct store_meta records[LOG_ACCEPTANCE_RECORDS];
	struct store_change changes[LOG_ACCEPTANCE_RECORDS] = { 0 };
	struct write unit = { .changes = changes, .change_count = LOG_ACCEPTANCE_RECORDS };
	struct kms_err err = { 0 };

	log_origin_hash(D.kms.origin, a.origin_hash);
	log_origin_hash(v->known_origin, a.known_origin_hash);
	memcpy(a.known_root, v->known_root, sizeof(a.known_root));
	assert_int_equal(merkle_root_at(v->size, log_get_node, D.store->r, a.root, &err), KMS_OK);
	assert_int_equal(log_acceptance_seal(D.kms.hsm, &D.kms.inst, &a, &err), KMS_OK);
	log_acceptance_encode(&a, records);
	for (size_t i = 0; i < LOG_ACCEPTANCE_RECORDS; i++) {
		changes[i].kind = STORE_META_PUT;
		changes[i].meta = records[i];
	}
	assert_int_equal(writer_write(D.kms.writer, &unit), KMS_OK);
}

static void change_meta(const char *name, const char *value)
{
	char sql[512];

	(void)snprintf(sql, sizeof(sql), "UPDATE meta SET value = %s WHERE name = '%s'", value, name);
	change(sql);
}

static void claim_is_closed(const char *origin)
{
	char sql[512];

	(void)snprintf(sql, sizeof(sql), "INSERT INTO closed_log SELECT coalesce(max(number), 0) + 1, '%s', 1, 1, zeroblob(32), 1 FROM closed_log", origin);
	change(sql);
}

/* Who can write to the database would be rid of what the device knows against it. */
static void a_log_that_only_the_database_calls_closed_is_noticed(void **state)
{
	struct log_verdict v;

	(void)state;
	(void)sign();
	shut();
	store_fixture_reopen(D.store);
	claim_is_closed(ONE);
	change_meta("log_origin", "CAST('" TWO "' AS BLOB)");
	change_meta("log_pinned", "zeroblob(40)");
	change("DELETE FROM checkpoint");
	v = check();
	assert_int_equal(v.state, LOG_ROLLED_BACK);
	assert_non_null(strstr(v.why, "none of the log " TWO));
}

static void a_later_log_that_only_the_database_calls_closed_is_noticed(void **state)
{
	struct log_verdict v;

	(void)state;
	(void)sign();
	pin(TWO, 77);
	shut();
	store_fixture_reopen(D.store);
	claim_is_closed(TWO);
	v = check();
	assert_int_equal(v.state, LOG_ROLLED_BACK);
	assert_string_equal(v.known_origin, TWO);
	/* A quorum can accept it all the same. */
	t_domain_restart(&D);
	accept_verdict(&v, v.known_size);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_GOOD);
	assert_string_equal(D.kms.origin, THREE);
}

/* Pins are looked for by it. */
static void a_database_with_another_directory_is_refused(void **state)
{
	char origin[STORE_ORIGIN_MAX + 1];
	struct installation other = D.kms.inst;
	struct log_verdict v;
	struct kms_err err = { 0 };

	(void)state;
	(void)sign();
	other.directory[0] ^= 1;
	assert_int_equal(log_check(D.store->r, D.kms.hsm, &other, D.kms.clock, origin, &v, &err), KMS_E_AUDIT);
	assert_non_null(strstr(err.detail, "another directory"));
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_GOOD);
}

/* An older database is back, started, and refused. */
static void roll_back(void)
{
	(void)sign();
	shut();
	keep(D.store->dir);
	t_domain_restart(&D);
	(void)sign();
	shut();
	put_back(D.store->dir);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
}

static void check_second_log(uint64_t known_size, const char *old_origin)
{
	char text[256];

	assert_int_equal(D.verdict.state, LOG_GOOD);
	assert_true(t_leaf_says(&D, 0, "\"type\":\"log.init\""));
	(void)snprintf(text, sizeof(text), "\"old_origin\":\"%s\"", old_origin);
	assert_true(t_leaf_says(&D, 0, text));
	(void)snprintf(text, sizeof(text), "\"old_size\":%llu", (unsigned long long)known_size);
	assert_true(t_leaf_says(&D, 0, text));
	assert_true(t_leaf_says(&D, 0, "\"old_root\":\""));
	assert_true(t_leaf_says(&D, 0, "\"restored_size\":"));
	(void)snprintf(text, sizeof(text), "\"vkey\":\"%s+", D.kms.origin);
	assert_true(t_leaf_says(&D, 0, text));
	assert_true(t_leaf_says(&D, 0, "\"appr\":[{"));
	assert_true(t_leaf_says(&D, 0, "\"kid\":\"0123abcd\""));
	assert_true(t_leaf_says(&D, 1, "\"type\":\"log.restored\""));
	assert_true(t_leaf_says(&D, 2, "\"type\":\"node.start\""));
}

static void what_was_accepted_begins_the_next_log(void **state)
{
	STORE_SIGNED_AUTO c = { 0 };
	struct store_closed_log closed[4];
	struct log_verdict v;
	size_t count = 0;

	(void)state;
	roll_back();
	v = D.verdict;
	(void)write_leaf(); /* a vote, a read: never signed */
	accept_verdict(&v, v.known_size);
	t_domain_restart(&D);
	assert_string_equal(D.kms.origin, TWO);
	check_second_log(v.known_size, ONE);
	assert_int_equal(store_closed_logs(D.store->r, closed, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	assert_string_equal(closed[0].origin, ONE);
	assert_int_equal(closed[0].known_size, v.known_size);
	assert_int_equal(closed[0].restored_size, v.size);
	/* It is signed under its own name, and good from now on. */
	(void)sign();
	assert_int_equal(log_newest(D.kms.log, D.store->r, &c, NULL), KMS_OK);
	assert_memory_equal(c.note, TWO "\n", strlen(TWO) + 1);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_GOOD);
	assert_string_equal(D.kms.origin, TWO);
}

/* An older copy knows nothing of the backups that were made since, and they live: so one row stands for them, and certificates count it. */
static void a_backup_stands_for_those_that_were_made_since(void **state)
{
	struct backup_copy found[4];
	struct store_backup rows[4];
	uint8_t vault_id[STORE_ID_LEN] = { 9 };
	int64_t until_s = 0;
	struct kms_err err = { 0 };
	struct log_verdict v;
	size_t count = 0, total = 0;

	(void)state;
	(void)sign();
	assert_int_equal(epoch_open(&D.kms, D.store->r, &err), KMS_OK);
	roll_back();
	v = D.verdict;
	accept_verdict(&v, v.known_size);
	t_domain_restart(&D);
	assert_string_equal(D.kms.origin, TWO);
	assert_int_equal(store_backups(D.store->r, STORE_BACKUP_SERVER, NULL, NULL, rows, 4, &count, &err), KMS_OK);
	assert_int_equal(count, 1);
	assert_string_equal(rows[0].place, ""); /* nobody knows where they are */
	assert_int_equal(rows[0].epoch, 1);
	/* Of a key that is older than the acceptance it may hold something, of one that was made after it nothing. */
	assert_int_equal(copies_find(&D.kms, D.store->r, vault_id, NULL, rows[0].made_s - 1, 1, found, 4, &count, &total, &until_s, &err), KMS_OK);
	assert_int_equal(total, 1);
	assert_int_equal(copies_find(&D.kms, D.store->r, vault_id, NULL, rows[0].made_s + 1, 1, found, 4, &count, &total, &until_s, &err), KMS_OK);
	assert_int_equal(total, 0);
}

/* Closed, and then the power fails: the first leaf is written by whoever comes. */
static void the_next_log_begins_also_after_a_crash(void **state)
{
	struct log_verdict v;

	(void)state;
	roll_back();
	v = D.verdict;
	accept_verdict(&v, v.known_size);
	shut();
	assert_int_equal(check().state, LOG_GOOD);
	t_domain_restart(&D);
	assert_string_equal(D.kms.origin, TWO);
	check_second_log(v.known_size, ONE);
}

/* Between the closing and the first leaf: what that leaf says of the old log is not what stands in a row. */
static void the_first_leaf_says_what_was_accepted(void **state)
{
	struct log_former former = { 0 };
	struct kms_err err = { 0 };
	struct log_verdict v;

	(void)state;
	roll_back();
	v = D.verdict;
	accept_verdict(&v, v.known_size);
	shut();
	assert_int_equal(check().state, LOG_GOOD);
	change("UPDATE closed_log SET known_size = 1, known_root = zeroblob(32)");
	assert_int_equal(log_former(D.store->r, D.kms.hsm, &D.kms.inst, &former, &err), KMS_OK);
	assert_int_equal(former.writer.known_size, v.known_size);
	assert_memory_equal(former.writer.known_root, v.known_root, MERKLE_HASH_LEN);
	assert_int_equal(former.writer.restored_size, v.size);
	assert_int_equal(former.writer.approver_count, 2);
	change("UPDATE closed_log SET restored_size = restored_size + 1");
	assert_int_equal(log_former(D.store->r, D.kms.hsm, &D.kms.inst, &former, &err), KMS_E_AUDIT);
	change("UPDATE closed_log SET restored_size = restored_size - 1");
	change("DELETE FROM meta WHERE name = 'log_accept'");
	assert_int_equal(log_former(D.store->r, D.kms.hsm, &D.kms.inst, &former, &err), KMS_E_AUDIT);
}

static void the_acceptance_of_something_else_means_nothing(void **state)
{
	struct log_verdict v;

	(void)state;
	roll_back();
	v = D.verdict;
	accept_verdict(&v, v.known_size + 1);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
	assert_string_equal(D.kms.origin, ONE);
}

/* Who can write to the database has the records, but not the device. */
static void a_forged_acceptance_means_nothing(void **state)
{
	static const char *const FORGED[] = { "log_accept", "log_accept_by_1" };
	struct log_verdict v;

	(void)state;
	roll_back();
	v = D.verdict;
	accept_verdict(&v, v.known_size);
	shut();
	store_fixture_reopen(D.store);
	for (size_t i = 0; i < KMS_ARRAY_LEN(FORGED); i++) {
		char sql[256];

		(void)snprintf(sql, sizeof(sql), "CREATE TABLE kept%zu AS SELECT * FROM meta WHERE name = '%s'; UPDATE meta SET value = "
		               "CAST(substr(value, 1, length(value) - 20) || randomblob(20) AS BLOB) WHERE name = '%s'", i, FORGED[i], FORGED[i]);
		change(sql);
		assert_int_equal(check().state, LOG_ROLLED_BACK);
		(void)snprintf(sql, sizeof(sql), "UPDATE meta SET value = (SELECT value FROM kept%zu) WHERE name = '%s'", i, FORGED[i]);
		change(sql);
	}
	assert_int_equal(check().state, LOG_GOOD);
}

static void what_was_accepted_is_over_when_the_leaves_are_there_again(void **state)
{
	struct log_verdict v = { .state = LOG_ROLLED_BACK, .has_known = true };
	struct kms_err err = { 0 };

	(void)state;
	v.known_size = sign();
	assert_int_equal(merkle_root_at(v.known_size, log_get_node, D.store->r, v.known_root, &err), KMS_OK);
	v.size = v.known_size - 1;
	accept_verdict(&v, v.known_size);
	t_domain_restart(&D);
	assert_string_equal(D.kms.origin, ONE);
	assert_int_equal(D.verdict.state, LOG_GOOD);
}

static void pin_empty(const char *origin)
{
	struct hsm_pin p = { 0 };
	struct kms_err err = { 0 };

	memcpy(p.owner, D.kms.inst.directory, sizeof(p.owner));
	(void)snprintf(p.origin, sizeof(p.origin), "%s", origin);
	assert_int_equal(merkle_root_at(0, log_get_node, NULL, p.root, &err), KMS_OK);
	assert_int_equal(hsm_pin(D.kms.hsm, &p, &err), KMS_OK);
}

/* The next log is pinned, and then the power fails. */
static void the_next_log_begins_also_after_a_crash_behind_its_pin(void **state)
{
	struct log_verdict v;

	(void)state;
	roll_back();
	v = D.verdict;
	pin_empty(TWO);
	accept_verdict(&v, v.known_size);
	t_domain_restart(&D);
	assert_string_equal(D.kms.origin, TWO);
	check_second_log(v.known_size, ONE);
	(void)sign();
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_GOOD);
}

static void the_empty_pin_of_another_log_is_noticed(void **state)
{
	struct log_verdict v;

	(void)state;
	roll_back();
	v = D.verdict;
	pin_empty(THREE);
	accept_verdict(&v, v.known_size);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
	assert_string_equal(D.kms.origin, ONE);
	/* Once it has leaves it is no beginning any more. */
	pin(TWO, 1);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
}

/* The acceptance and all that the database says of it, from before the next log had a leaf: that one is known to the device. */
static void the_next_log_does_not_begin_twice(void **state)
{
	struct log_verdict v;

	(void)state;
	roll_back();
	v = D.verdict;
	accept_verdict(&v, v.known_size);
	shut();
	keep(D.store->dir);
	t_domain_restart(&D);
	assert_string_equal(D.kms.origin, TWO);
	(void)sign();
	shut();
	put_back(D.store->dir);
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_ROLLED_BACK);
	assert_string_equal(D.verdict.known_origin, TWO);
}

/* The database from before log 2 comes back: neither origin is ever signed again. */
static void an_origin_is_never_used_twice(void **state)
{
	struct store_closed_log closed[4];
	struct log_verdict v;
	size_t count = 0;

	(void)state;
	(void)sign();
	pin(TWO, 77);
	t_domain_restart(&D);
	v = D.verdict;
	accept_verdict(&v, v.known_size);
	t_domain_restart(&D);
	assert_string_equal(D.kms.origin, THREE);
	check_second_log(77, TWO);
	assert_int_equal(store_closed_logs(D.store->r, closed, 4, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_string_equal(closed[0].origin, TWO);
	assert_string_equal(closed[1].origin, ONE);
	(void)sign();
	t_domain_restart(&D);
	assert_int_equal(D.verdict.state, LOG_GOOD);
}

#define WITH(test) cmocka_unit_test_setup(test, renew)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH(a_log_that_was_never_signed_is_good),
		WITH(a_log_that_was_signed_is_good_whatever_came_after_the_pin),
		WITH(an_older_database_is_noticed),
		WITH(a_journal_that_was_cut_off_is_noticed),
		WITH(an_older_token_is_noticed),
		WITH(a_token_without_the_pin_is_noticed),
		WITH(leaves_that_were_cut_off_below_a_checkpoint_are_noticed),
		WITH(a_changed_node_below_the_pin_is_noticed),
		WITH(a_checkpoint_that_our_key_did_not_sign_is_noticed),
		WITH(checkpoints_that_were_removed_are_noticed),
		WITH(a_pin_of_a_later_log_is_noticed),
		WITH(the_pins_of_others_mean_nothing),
		WITH(what_was_accepted_begins_the_next_log),
		WITH(a_backup_stands_for_those_that_were_made_since),
		WITH(the_next_log_begins_also_after_a_crash),
		WITH(the_first_leaf_says_what_was_accepted),
		WITH(the_acceptance_of_something_else_means_nothing),
		WITH(an_origin_is_never_used_twice),
		WITH(a_log_that_only_the_database_calls_closed_is_noticed),
		WITH(a_later_log_that_only_the_database_calls_closed_is_noticed),
		WITH(a_database_with_another_directory_is_refused),
		WITH(a_forged_acceptance_means_nothing),
		WITH(what_was_accepted_is_over_when_the_leaves_are_there_again),
		WITH(the_next_log_begins_also_after_a_crash_behind_its_pin),
		WITH(the_empty_pin_of_another_log_is_noticed),
		WITH(the_next_log_does_not_begin_twice),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
