/* tests/unit/core_certificate.c - destruction certificates on a real token and a real database: signed when a checkpoint covers them and not before, pending while a backup lives,
 * believed only when they are this installation's, and made true again where they are not true any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/base/encode.h"
#include "server/core/backup.h"
#include "server/core/certificate.h"
#include "server/core/epoch.h"
#include "tests/support/approvals.h"
#include "tests/support/domain.h"

static struct t_domain d;

static void free_text(char **text) { free(*text); }
#define TEXT_AUTO __attribute__((cleanup(free_text))) char

static struct store_vault vault_of(const char *name)
{
	struct store_vault v = { 0 };

	assert_int_equal(store_vault_by_name(d.store->r, name, &v, NULL), KMS_OK);
	return v;
}

static void write_change(const struct store_change *c)
{
	struct write unit = { .event = { .type = EVENT_NONE }, .changes = c, .change_count = 1 };

	assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
}

static void begin_epoch(void)
{
	struct store_change c = { .kind = STORE_EPOCH_ADD, .epoch = { .created_s = clock_wall_s(d.kms.clock), .closed_s = STORE_NO_TIME, .ended_s = STORE_NO_TIME } };

	assert_true(guid_random(c.epoch.obj));
	write_change(&c);
}

static void note_backup(const char *vault, const char *key)
{
	struct store_change c = { .kind = STORE_BACKUP_ADD, .backup = { .kind = STORE_BACKUP_KEY, .made_s = clock_wall_s(d.kms.clock) } };
	struct store_epoch newest = { 0 };
	struct store_vault v = vault_of(vault);

	assert_int_equal(epoch_newest(d.store->r, &newest, NULL), KMS_OK);
	assert_true(guid_random(c.backup.id));
	memcpy(c.backup.vault_id, v.id, STORE_ID_LEN);
	(void)snprintf(c.backup.key_name, sizeof(c.backup.key_name), "%s", key);
	c.backup.epoch = newest.number;
	write_change(&c);
}

static void note_server_backup(const char *place)
{
	struct store_change c = { .kind = STORE_BACKUP_ADD, .backup = { .kind = STORE_BACKUP_SERVER, .made_s = clock_wall_s(d.kms.clock) } };
	struct store_epoch newest = { 0 };

	assert_int_equal(epoch_newest(d.store->r, &newest, NULL), KMS_OK);
	assert_true(guid_random(c.backup.id));
	(void)snprintf(c.backup.place, sizeof(c.backup.place), "%s", place);
	c.backup.epoch = newest.number;
	assert_int_equal(store_event_count(d.store->r, &c.backup.size, NULL), KMS_OK);
	write_change(&c);
}

/* After another one has begun: the newest does not end. */
static void end_newest_epoch(void)
{
	struct store_change c = { .kind = STORE_EPOCH_END };

	assert_int_equal(epoch_newest(d.store->r, &c.epoch, NULL), KMS_OK);
	begin_epoch();
	c.epoch.ended_s = clock_wall_s(d.kms.clock);
	write_change(&c);
}

static void purge(const char *vault, const char *key)
{
	struct kms_err err = { 0 };
	struct op *op = t_op(&d, vault, EVENT_KEY_DELETE);

	assert_int_equal(t_op_finish(op, keyring_delete(op, key, &err)), KMS_OK);
	t_op_free(op);
	op = t_op(&d, vault, EVENT_KEY_PURGE);
	assert_int_equal(t_op_finish(op, keyring_purge(op, key, &err)), KMS_OK);
	if (err.status != KMS_OK)
		fail_msg("purge: %s", kms_err_text(&err));
	t_op_free(op);
}

/* The only certificate of a vault. Owned by the caller. */
static struct store_certificate certificate_of(const char *vault)
{
	struct store_certificate page[2] = { 0 };
	struct store_vault v = vault_of(vault);
	size_t count = 0;

	assert_int_equal(store_certificates(d.store->r, v.id, NULL, false, page, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 1);
	return page[0];
}

static char *note_of(const char *vault)
{
	STORE_CERTIFICATE_AUTO c = certificate_of(vault);
	struct kms_err err = { 0 };
	char *note = NULL;

	if (certificate_note(d.store->r, &c, &note, &err) != KMS_OK)
		fail_msg("note: %s", kms_err_text(&err));
	return note;
}

static bool opens(const char *note, size_t len)
{
	const char *body = NULL;
	size_t body_len = 0;

	return certificate_open(&d.kms, note, len, &body, &body_len, NULL) == KMS_OK;
}

static size_t issue(void)
{
	struct kms_err err = { 0 };
	size_t issued = 0;

	if (certificates_issue(&d.kms, d.store->r, &issued, &err) != KMS_OK)
		fail_msg("issue: %s", kms_err_text(&err));
	return issued;
}

static int setup(void **state)
{
	(void)state;
	t_domain_open(&d);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	return 0;
}

static int stop_signing(void **state)
{
	(void)state;
	t_domain_stop_signing(&d);
	return 0;
}

/* ---- signed ---- */

static void each_basis_has_one_name(void **state)
{
	(void)state;
	for (enum certificate_basis b = BASIS_OTHER; b < BASIS_COUNT; b++)
		assert_int_equal(certificate_basis_parse(certificate_basis_name(b)), b);
	assert_int_equal(certificate_basis_parse(""), BASIS_COUNT);
	assert_int_equal(certificate_basis_parse("Other"), BASIS_COUNT);
}

static void nothing_is_signed_that_no_checkpoint_covers(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err = { 0 };
	char *note = NULL;
	size_t issued = 1;

	(void)state;
	t_vault(&d, "early", false);
	t_key(&d, "early", "k", KEY_EC_HSM, obj);
	purge("early", "k"); /* nobody signs checkpoints */
	{
		STORE_CERTIFICATE_AUTO c = certificate_of("early");
		assert_int_equal(c.state, STORE_CERTIFICATE_DUE);
		assert_int_equal(certificate_note(d.store->r, &c, &note, &err), KMS_E_CONFLICT);
		assert_non_null(strstr(kms_err_text(&err), "not signed yet"));
	}
	assert_int_not_equal(certificates_issue(&d.kms, d.store->r, &issued, NULL), KMS_OK);
	assert_int_equal(issued, 0);
	t_domain_sign(&d, NULL);
	assert_int_equal(issue(), 1);
	assert_int_equal(issue(), 0);
	TEXT_AUTO *first = note_of("early");
	TEXT_AUTO *again = note_of("early");
	assert_string_equal(first, again);
	assert_true(opens(first, strlen(first)));
	assert_non_null(strstr(first, "\"method\":\"hsm-object-destroy\""));
	assert_non_null(strstr(first, "\"state\":\"complete\""));
	assert_non_null(strstr(first, "\"copies\":[]"));
}

static void a_purge_is_pending_until_the_last_backup_has_ended(void **state)
{
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_domain_sign(&d, NULL);
	t_vault(&d, "copied", false);
	t_key(&d, "copied", "k", KEY_EC, obj);
	begin_epoch();
	note_backup("copied", "k");
	purge("copied", "k");
	TEXT_AUTO *pending = note_of("copied");
	assert_non_null(strstr(pending, "\"state\":\"pending-backup-expiry\""));
	assert_non_null(strstr(pending, "\"disposition\":\"expires-with-epoch\""));
	assert_non_null(strstr(pending, "\"until\":\""));
	assert_non_null(strstr(pending, "\"method\":\"blob-erase\""));
	assert_int_equal(issue(), 0);
	note_backup("copied", "other"); /* nothing that is made later holds it */
	end_newest_epoch();
	assert_int_equal(issue(), 1);
	TEXT_AUTO *complete = note_of("copied");
	assert_non_null(strstr(complete, "\"state\":\"complete\""));
	assert_non_null(strstr(complete, "\"disposition\":\"destroyed\""));
	assert_null(strstr(complete, "expires-with-epoch"));
	assert_true(opens(pending, strlen(pending)));
	assert_true(opens(complete, strlen(complete)));
	assert_int_equal(issue(), 0);
}

static void a_backup_of_the_server_that_was_made_afterwards_holds_nothing_of_it(void **state)
{
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_vault(&d, "later", false);
	t_key(&d, "later", "k", KEY_EC, obj);
	begin_epoch();
	purge("later", "k");
	t_domain_pass(10);
	note_server_backup("later"); /* before the certificate was signed */
	t_domain_sign(&d, NULL);
	assert_int_equal(issue(), 1);
	TEXT_AUTO *note = note_of("later");
	assert_non_null(strstr(note, "\"copies\":[]"));
	assert_non_null(strstr(note, "\"state\":\"complete\""));
}

static void is_pending(const char *vault)
{
	TEXT_AUTO *note = note_of(vault);

	assert_non_null(strstr(note, "\"state\":\"pending-backup-expiry\""));
}

/* Backup and purge under a clock that is an hour ahead, and again right. */
static void a_clock_that_is_set_back_hides_no_backup(void **state)
{
	uint8_t obj[HSM_ID_LEN];

	(void)state;
	t_domain_sign(&d, NULL);
	t_vault(&d, "ahead", false);
	t_key(&d, "ahead", "k", KEY_EC, obj);
	begin_epoch();
	t_domain_pass(3600);
	note_server_backup("ahead");
	t_domain_pass(-3600);
	purge("ahead", "k");
	is_pending("ahead");
	t_vault(&d, "made-ahead", false);
	end_newest_epoch();
	t_domain_pass(3600);
	t_key(&d, "made-ahead", "k", KEY_EC, obj);
	t_domain_pass(-3600);
	note_server_backup("made-ahead");
	purge("made-ahead", "k");
	is_pending("made-ahead");
}

/* A backup has the time at which it was begun, and holds what was made until its copy was. */
static void a_key_that_is_made_while_a_backup_begins_is_in_it(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	int64_t began_s = clock_wall_s(d.kms.clock);

	(void)state;
	t_domain_sign(&d, NULL);
	t_vault(&d, "during", false);
	end_newest_epoch();
	t_domain_pass(5);
	t_key(&d, "during", "k", KEY_EC, obj);
	t_domain_pass(began_s - clock_wall_s(d.kms.clock));
	note_server_backup("during");
	t_domain_pass(10);
	purge("during", "k");
	is_pending("during");
}

/* But the newest, which begins. */
static void end_all_epochs(void)
{
	struct store_epoch page[32];
	size_t count = 0;

	begin_epoch();
	assert_int_equal(store_epochs(d.store->r, 0, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
	for (size_t i = 1; i < count; i++) {
		struct store_change c = { .kind = STORE_EPOCH_END, .epoch = page[i] };
		c.epoch.ended_s = clock_wall_s(d.kms.clock);
		if (page[i].ended_s == STORE_NO_TIME)
			write_change(&c);
	}
}

/* Its row says so, and its key lives. */
static void an_epoch_that_only_seems_to_have_ended_completes_nothing(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct store_epoch newest = { 0 };
	struct hsm_key key;
	size_t issued = 0;

	(void)state;
	t_domain_sign(&d, NULL);
	t_vault(&d, "not-ended", false);
	t_key(&d, "not-ended", "k", KEY_EC, obj);
	end_newest_epoch();
	assert_int_equal(epoch_newest(d.store->r, &newest, NULL), KMS_OK);
	epoch_key(&newest, &key);
	assert_int_equal(hsm_key_generate(d.kms.hsm, &key, NULL, NULL), KMS_OK);
	note_backup("not-ended", "k");
	purge("not-ended", "k");
	is_pending("not-ended");
	end_all_epochs();
	assert_int_equal(certificates_issue(&d.kms, d.store->r, &issued, NULL), KMS_E_AUDIT);
	is_pending("not-ended");
	assert_int_equal(hsm_key_destroy(d.kms.hsm, newest.obj, NULL), KMS_OK);
	assert_true(issue() >= 1);
}

struct blob {
	uint8_t *bytes;
	size_t len;
};

static struct blob backup(const char *vault, const char *key)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_BACKUP);
	struct kms_err err = { 0 };
	struct blob b = { 0 };

	assert_int_equal(t_op_finish(op, backup_make(op, key, &b.bytes, &b.len, &err)), KMS_OK);
	if (b.bytes == NULL)
		fail_msg("backup: %s (%s)", kms_err_text(&err), err.detail);
	t_op_free(op);
	return b;
}

static void restore(const char *vault, const struct blob *b)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_RESTORE);
	struct kms_err err = { 0 };
	kms_status status = backup_restore(op, b->bytes, b->len, &err);

	if (status != KMS_OK)
		fail_msg("restore: %s (%s)", kms_err_text(&err), err.detail);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
}

static size_t count_in_state(const char *vault, enum store_certificate_state state)
{
	struct store_certificate page[4] = { 0 };
	struct store_vault v = vault_of(vault);
	size_t count = 0, n = 0;

	assert_int_equal(store_certificates(d.store->r, v.id, NULL, false, page, 4, &count, NULL), KMS_OK);
	for (size_t i = 0; i < count; i++) {
		n += page[i].state == state;
		store_certificate_clear(&page[i]);
	}
	return n;
}

/* Really: its key too. */
static void end_epoch_and_key(void)
{
	struct store_epoch newest = { 0 };

	assert_int_equal(epoch_newest(d.store->r, &newest, NULL), KMS_OK);
	assert_int_equal(hsm_key_destroy(d.kms.hsm, newest.obj, NULL), KMS_OK);
	end_all_epochs();
}

static void begin_epoch_with_key(void)
{
	struct store_epoch newest = { 0 };
	struct hsm_key key;

	end_all_epochs();
	assert_int_equal(epoch_newest(d.store->r, &newest, NULL), KMS_OK);
	epoch_key(&newest, &key);
	assert_int_equal(hsm_key_generate(d.kms.hsm, &key, NULL, NULL), KMS_OK);
}

/* Purged, restored, purged: the first certificate speaks of the same key as the second. */
static void what_a_restore_brought_back_is_dead_when_that_is(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct blob b;

	(void)state;
	t_domain_sign(&d, NULL);
	t_vault(&d, "revived", false);
	t_key(&d, "revived", "k", KEY_EC, obj);
	begin_epoch_with_key();
	b = backup("revived", "k");
	purge("revived", "k");
	assert_int_equal(count_in_state("revived", STORE_CERTIFICATE_PENDING), 1);
	restore("revived", &b);
	end_epoch_and_key();
	assert_int_equal(issue(), 0); /* it lives */
	begin_epoch_with_key();
	note_backup("revived", "k"); /* of what was brought back */
	purge("revived", "k");
	assert_int_equal(count_in_state("revived", STORE_CERTIFICATE_PENDING), 2);
	assert_int_equal(issue(), 0);
	end_epoch_and_key();
	for (int i = 0; i < 2; i++) /* the second, and then what waits for it; in this order or the other */
		(void)issue();
	assert_int_equal(count_in_state("revived", STORE_CERTIFICATE_COMPLETE), 2);
	free(b.bytes);
}

/* A row that says that a vault, which lives, was shredded. */
static void what_the_log_does_not_say_is_not_signed(void **state)
{
	struct store_vault v;
	struct store_change c = { .kind = STORE_CERTIFICATE_ADD };
	struct write unit = { .event = { .type = EVENT_KEY_LIST, .actor = EVENT_ACTOR_NODE }, .changes = &c, .change_count = 1 };
	char checks[] = "[]";
	size_t issued = 0;

	(void)state;
	t_domain_sign(&d, NULL);
	t_vault(&d, "lives-on", false);
	v = vault_of("lives-on");
	c.certificate = (struct store_certificate){ .scope = STORE_CERTIFICATE_TENANT, .state = STORE_CERTIFICATE_BEGUN, .method = METHOD_ROOT, .issued_s = STORE_NO_TIME,
		                                    .until_s = STORE_NO_TIME, .checks = checks };
	assert_true(guid_random(c.certificate.id));
	memcpy(c.certificate.vault_id, v.id, STORE_ID_LEN);
	unit.event.has_tenant = true;
	memcpy(unit.event.tenant, v.id, STORE_ID_LEN);
	assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	{
		STORE_CERTIFICATE_AUTO begun = certificate_of("lives-on");
		c.kind = STORE_CERTIFICATE_FILL;
		c.certificate = begun;
		c.certificate.checks = checks;
		c.certificate.state = STORE_CERTIFICATE_DUE;
		c.certificate.method = METHOD_ROOT;
		assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	}
	assert_int_equal(certificates_issue(&d.kms, d.store->r, &issued, NULL), KMS_E_AUDIT);
	assert_int_equal(issued, 0);
	STORE_CERTIFICATE_AUTO now = certificate_of("lives-on");
	assert_int_equal(now.state, STORE_CERTIFICATE_DUE);
}

static void no_backup_from_before_a_vault_is_a_copy_of_it(void **state)
{
	(void)state;
	t_domain_sign(&d, NULL);
	begin_epoch_with_key();
	note_server_backup("before-it");
	t_domain_pass(10);
	t_vault(&d, "after-it", false);
	t_domain_pass(10);
	note_server_backup("of-it");
	assert_true(t_shred(&d, "after-it", "") > 0);
	TEXT_AUTO *note = note_of("after-it");
	const char *made = strstr(note, "\"kind\":\"server-backup\"");
	assert_non_null(made);
	assert_null(strstr(made + 1, "\"kind\":\"server-backup\""));
	end_epoch_and_key();
}

static void another_text_or_signature_is_not_believed(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	const char *body = NULL;
	size_t body_len = 0;

	(void)state;
	t_domain_sign(&d, NULL);
	t_vault(&d, "believed", false);
	t_key(&d, "believed", "k", KEY_EC_HSM, obj);
	purge("believed", "k");
	TEXT_AUTO *note = note_of("believed");
	size_t len = strlen(note);
	assert_int_equal(certificate_open(&d.kms, note, len, &body, &body_len, NULL), KMS_OK);
	assert_true(body[0] == '{' && body[body_len - 1] == '}' && body[body_len] == '\n');
	for (size_t i = 0; i < len; i += 1 + len / 300) {
		note[i] = (char)(note[i] ^ 1);
		assert_false(opens(note, len));
		note[i] = (char)(note[i] ^ 1);
	}
	assert_false(opens(note, len - 1));
	assert_false(opens(note, 0));
	assert_false(opens(body, body_len));
	assert_true(opens(note, len));
}

/* ---- made true again ---- */

/* @param ret_revived  left alone unless KMS_OK */
static kms_status enforce(const struct certified *c, size_t *ret_revived, struct kms_err *ret_err)
{
	struct op *op = t_op(&d, NULL, EVENT_NODE_RECOVERED);
	struct enforced done = { 0 };
	kms_status status;

	memset(ret_err, 0, sizeof(*ret_err));
	status = certificate_enforce(op, c, &done, ret_err);
	if (status == KMS_OK) {
		assert_true(done.objects >= c->count && done.revived <= done.objects);
		*ret_revived = done.revived;
	}
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static struct certified certified_of(const char *vault, const struct certified_object *objects, size_t count)
{
	struct certified c = { .objects = objects, .count = count };
	struct store_vault v = vault_of(vault);

	assert_true(guid_random(c.id));
	memcpy(c.vault_id, v.id, STORE_ID_LEN);
	return c;
}

static struct certified_object version_object(const uint8_t obj[HSM_ID_LEN], const char *name)
{
	struct certified_object o = { .kind = STORE_TOMBSTONE_VERSION };

	memcpy(o.obj, obj, STORE_ID_LEN);
	(void)snprintf(o.key_name, sizeof(o.key_name), "%s", name);
	return o;
}

static bool is_buried(const uint8_t obj[STORE_ID_LEN])
{
	struct store_tombstone t;
	struct kms_err err = { 0 };

	return store_tombstone(d.store->r, obj, &t, NULL) == KMS_OK && tombstone_check(d.kms.hsm, &d.kms.inst, &t, &err) == KMS_OK;
}

static void a_key_that_should_be_dead_dies_again(void **state)
{
	uint8_t resident[HSM_ID_LEN], wrapped[HSM_ID_LEN];
	struct store_key key;
	struct kms_err err;
	size_t revived = 0;

	(void)state;
	t_vault(&d, "older", false);
	t_key(&d, "older", "resident", KEY_EC_HSM, resident);
	t_key(&d, "older", "wrapped", KEY_EC, wrapped);
	struct store_vault v = vault_of("older");
	struct certified_object objects[] = { version_object(resident, "resident"), version_object(wrapped, "wrapped"), version_object(d.kms.inst.directory, "gone") };
	struct certified c = certified_of("older", objects, KMS_ARRAY_LEN(objects));
	assert_int_equal(enforce(&c, &revived, &err), KMS_OK);
	assert_int_equal(revived, 2); /* in the database and the device, and in the database alone; the third is nowhere */
	assert_false(t_object_exists(&d, resident));
	assert_int_equal(store_key(d.store->r, v.id, "resident", &key, NULL), KMS_E_NOTFOUND);
	assert_int_equal(store_key(d.store->r, v.id, "wrapped", &key, NULL), KMS_E_NOTFOUND);
	for (size_t i = 0; i < c.count; i++)
		assert_true(is_buried(objects[i].obj));
	assert_true(t_object_exists(&d, v.root_id)); /* the vault's others live */
	assert_int_equal(enforce(&c, &revived, &err), KMS_OK);
	assert_int_equal(revived, 0);
}

static void what_others_live_by_does_not_die_of_a_certificate(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err;
	size_t revived = 0;

	(void)state;
	t_vault(&d, "accused", false);
	t_vault(&d, "bystander", false);
	t_key(&d, "accused", "k", KEY_EC_HSM, obj);
	struct store_vault other = vault_of("bystander");
	struct certified_object objects[] = { version_object(other.root_id, "k"), version_object(d.kms.inst.attestation_key, "k") };
	for (size_t i = 0; i < KMS_ARRAY_LEN(objects); i++) {
		struct certified c = certified_of("accused", &objects[i], 1);
		assert_int_equal(enforce(&c, &revived, &err), KMS_E_AUDIT);
		assert_true(t_object_exists(&d, objects[i].obj));
	}
}

static void a_vault_that_should_be_dead_is_shredded_again(void **state)
{
	uint8_t obj[HSM_ID_LEN];
	struct kms_err err;
	size_t revived = 0;

	(void)state;
	t_vault(&d, "shredded", false);
	t_key(&d, "shredded", "k", KEY_EC_HSM, obj);
	struct store_vault v = vault_of("shredded");
	/* The certificate knows a later root; this database is from before it was made. */
	struct certified_object root = { .kind = STORE_TOMBSTONE_ROOT };
	assert_true(guid_random(root.obj));
	struct certified c = certified_of("shredded", &root, 1);
	c.is_of_tenant = true;
	assert_int_equal(enforce(&c, &revived, &err), KMS_OK);
	assert_int_equal(revived, 3); /* root, pseudonym key, version */
	assert_int_equal(vault_of("shredded").state, STORE_VAULT_SHREDDED);
	assert_false(t_object_exists(&d, v.root_id) || t_object_exists(&d, v.pseudonym_id) || t_object_exists(&d, obj));
	assert_true(is_buried(v.root_id) && is_buried(v.pseudonym_id) && is_buried(obj) && is_buried(root.obj));
	assert_int_equal(enforce(&c, &revived, &err), KMS_OK);
	assert_int_equal(revived, 0);
}

static void the_only_root_of_a_living_vault_is_not_destroyed(void **state)
{
	struct certified_object root = { .kind = STORE_TOMBSTONE_ROOT };
	struct kms_err err;
	size_t revived = 0;

	(void)state;
	t_vault(&d, "rotated", false);
	struct store_vault v = vault_of("rotated");
	memcpy(root.obj, v.root_id, STORE_ID_LEN);
	struct certified c = certified_of("rotated", &root, 1);
	assert_int_equal(enforce(&c, &revived, &err), KMS_E_CONFLICT);
	assert_non_null(strstr(kms_err_text(&err), "rotate-root"));
	assert_true(t_object_exists(&d, v.root_id));
	assert_int_equal(vault_of("rotated").state, STORE_VAULT_ACTIVE);
	assert_false(is_buried(v.root_id));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_basis_has_one_name),
		cmocka_unit_test_teardown(nothing_is_signed_that_no_checkpoint_covers, stop_signing),
		cmocka_unit_test_teardown(a_purge_is_pending_until_the_last_backup_has_ended, stop_signing),
		cmocka_unit_test_teardown(a_backup_of_the_server_that_was_made_afterwards_holds_nothing_of_it, stop_signing),
		cmocka_unit_test_teardown(a_clock_that_is_set_back_hides_no_backup, stop_signing),
		cmocka_unit_test_teardown(a_key_that_is_made_while_a_backup_begins_is_in_it, stop_signing),
		cmocka_unit_test_teardown(an_epoch_that_only_seems_to_have_ended_completes_nothing, stop_signing),
		cmocka_unit_test_teardown(what_a_restore_brought_back_is_dead_when_that_is, stop_signing),
		cmocka_unit_test_teardown(no_backup_from_before_a_vault_is_a_copy_of_it, stop_signing),
		cmocka_unit_test_teardown(another_text_or_signature_is_not_believed, stop_signing),
		cmocka_unit_test(a_key_that_should_be_dead_dies_again),
		cmocka_unit_test(what_others_live_by_does_not_die_of_a_certificate),
		cmocka_unit_test(a_vault_that_should_be_dead_is_shredded_again),
		cmocka_unit_test(the_only_root_of_a_living_vault_is_not_destroyed),
		cmocka_unit_test_teardown(what_the_log_does_not_say_is_not_signed, stop_signing),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
