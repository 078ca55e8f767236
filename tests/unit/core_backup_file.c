/* tests/unit/core_backup_file.c - backups of the server on a real token and database: nothing of a file can be changed, cut, moved or taken from elsewhere; what is made can be
 * verified; and only what the server knows as its own is ever removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/core/server_backup_parts.h"
#include "storage/sqlite/sqlite.h"
#include "tests/support/domain.h"

#define CONFIG "node: test\n"
#define CHECKPOINT "a checkpoint\n"
#define DATABASE_LEN ((size_t)2 * BACKUP_CHUNK + 100) /* with the texts three chunks */
#define HOUR_S 3600

static struct t_domain d;
static char dir[T_TOKEN_PATH + 16];
static struct backup_settings settings;

/* ---- files ---- */

static const char *in_dir(const char *name, char ret_path[PATH_MAX])
{
	(void)snprintf(ret_path, PATH_MAX, "%s/%s", dir, name);
	return ret_path;
}

static bool exists(const char *name)
{
	char path[PATH_MAX];
	return access(in_dir(name, path), F_OK) == 0;
}

struct bytes {
	uint8_t *at;
	size_t len;
};

static void put_file(const char *name, const void *at, size_t len)
{
	char path[PATH_MAX];
	FILE *f = fopen(in_dir(name, path), "we");

	assert_non_null(f);
	assert_int_equal(fwrite(at, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static struct bytes get_file(const char *name)
{
	char path[PATH_MAX];
	FILE *f = fopen(in_dir(name, path), "re");
	struct bytes b = { 0 };

	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	b.len = (size_t)ftell(f);
	rewind(f);
	b.at = malloc(b.len + 1);
	assert_int_equal(fread(b.at, 1, b.len, f), b.len);
	assert_int_equal(fclose(f), 0);
	return b;
}

static struct bytes sample_database(void)
{
	struct bytes b = { malloc(DATABASE_LEN), DATABASE_LEN };

	for (size_t i = 0; i < b.len; i++)
		b.at[i] = (uint8_t)(i * 31 + (i >> 9));
	return b;
}

static struct store_epoch epoch_now(void)
{
	struct store_epoch e = { 0 };

	assert_int_equal(epoch_newest(d.store->r, &e, NULL), KMS_OK);
	return e;
}

static struct backup_manifest sample_manifest(void)
{
	struct store_epoch e = epoch_now();
	struct backup_manifest m = { .version = "0.7.0", .domain = "vault.test", .origin = "vault.test/audit/log1", .epoch = e.number, .made_s = 5, .size = 6, .vaults = 1,
		                     .keys = 2, .versions = 3 };

	memcpy(m.directory, d.kms.inst.directory, STORE_ID_LEN);
	memcpy(m.epoch_key, e.obj, STORE_ID_LEN);
	return m;
}

static struct backup_manifest make_sample(const char *name)
{
	struct backup_manifest m = sample_manifest();
	struct bytes database = sample_database();
	struct kms_err err = { 0 };
	char path[PATH_MAX], from[PATH_MAX];

	put_file("database", database.at, database.len);
	if (backup_file_write(d.kms.hsm, in_dir(name, path), &m, CONFIG, CHECKPOINT, in_dir("database", from), NULL, NULL, &err) != KMS_OK)
		fail_msg("%s: %s", kms_err_text(&err), err.detail);
	free(database.at);
	return m;
}

static kms_status open_file(const char *name, struct kms_err *err)
{
	struct backup_manifest m;
	char path[PATH_MAX], to[PATH_MAX];
	kms_status status;

	*err = (struct kms_err){ 0 };
	status = backup_file_open(d.kms.hsm, in_dir(name, path), in_dir("opened", to), NULL, NULL, &m, err);
	if (status != KMS_OK)
		assert_false(exists("opened")); /* not even what was good of it */
	else
		assert_int_equal(unlink(to), 0);
	return status;
}

static void refuse_bytes(const struct bytes *b, const char *what, size_t at)
{
	struct kms_err err;

	put_file("changed", b->at, b->len);
	if (open_file("changed", &err) != KMS_E_BACKUP)
		fail_msg("%s at %zu: %s", what, at, kms_status_name(err.status));
}

static void what_was_sealed_comes_out_as_it_was(void **state)
{
	struct backup_manifest m = make_sample("whole"), read = { 0 }, again = { 0 };
	struct bytes before = sample_database(), after;
	struct kms_err err = { 0 };
	char path[PATH_MAX], to[PATH_MAX], *config = NULL, *checkpoint = NULL;
	struct stat st;

	(void)state;
	assert_int_equal(backup_file_manifest(in_dir("whole", path), &read, &err), KMS_OK);
	assert_memory_equal(read.sealed_key, m.sealed_key, sizeof(m.sealed_key));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, backup_file_bytes(&m));
	assert_false(exists("whole" BACKUP_PART_SUFFIX));
	assert_int_equal(backup_file_open(d.kms.hsm, path, in_dir("opened", to), &config, &checkpoint, &again, &err), KMS_OK);
	assert_string_equal(config, CONFIG);
	assert_string_equal(checkpoint, CHECKPOINT);
	assert_int_equal(again.versions, 3);
	after = get_file("opened");
	assert_int_equal(after.len, before.len);
	assert_memory_equal(after.at, before.at, before.len);
	assert_int_equal(stat(to, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	free(config);
	assert_int_equal(backup_file_open(d.kms.hsm, path, to, NULL, NULL, &again, &err), KMS_E_STORE); /* it exists: nobody's file is written over */
	assert_true(exists("opened"));
	file_erase(to);
	assert_int_equal(backup_file_open(d.kms.hsm, path, NULL, &config, NULL, &again, &err), KMS_OK); /* the texts alone */
	assert_string_equal(config, CONFIG);
	free(config);
	free(checkpoint);
	free(before.at);
	free(after.at);
}

/* In place: the file is large. */
static void flip(int fd, const struct bytes *b, size_t at, uint8_t bits)
{
	uint8_t changed = b->at[at] ^ bits;
	struct kms_err err;

	assert_int_equal(pwrite(fd, &changed, 1, (off_t)at), 1);
	if (open_file("flipped", &err) != KMS_E_BACKUP)
		fail_msg("flipped at %zu: %s", at, kms_status_name(err.status));
	assert_int_equal(pwrite(fd, b->at + at, 1, (off_t)at), 1);
}

static void no_byte_of_it_can_be_changed(void **state)
{
	char path[PATH_MAX];
	struct kms_err err;
	struct bytes b;
	size_t manifest = 0;
	int fd = -1;

	(void)state;
	(void)make_sample("flipped");
	b = get_file("flipped");
	fd = open(in_dir("flipped", path), O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	manifest = (size_t)((uint8_t *)memmem(b.at, b.len, "\n\n", 2) + 2 - b.at);
	for (size_t at = 0; at < manifest; at++)
		flip(fd, &b, at, (uint8_t)(1 << (at % 7)));
	for (size_t at = manifest; at < b.len; at += BACKUP_CHUNK / 2 + 7)
		flip(fd, &b, at, 1);
	flip(fd, &b, b.len - 1, 0x80); /* the last tag */
	assert_int_equal(close(fd), 0);
	assert_int_equal(open_file("flipped", &err), KMS_OK);
	free(b.at);
}

static void it_cannot_be_cut_extended_or_put_together_anew(void **state)
{
	struct bytes b, other;
	size_t manifest = 0, sealed = BACKUP_CHUNK + HSM_GCM_TAG_LEN;
	uint8_t *chunk = malloc(sealed);

	(void)state;
	(void)make_sample("cut");
	b = get_file("cut");
	manifest = (size_t)((uint8_t *)memmem(b.at, b.len, "\n\n", 2) + 2 - b.at);
	for (size_t i = 0; i < 4; i++) {
		const size_t lens[] = { 0, manifest, manifest + sealed, b.len - 1 };
		struct bytes shorter = { b.at, lens[i] };
		refuse_bytes(&shorter, "cut", lens[i]);
	}
	b.at = realloc(b.at, b.len + 1);
	b.at[b.len] = 0;
	{
		struct bytes longer = { b.at, b.len + 1 };
		refuse_bytes(&longer, "longer", b.len);
	}
	/* Two whole chunks change places. */
	memcpy(chunk, b.at + manifest, sealed);
	memcpy(b.at + manifest, b.at + manifest + sealed, sealed);
	memcpy(b.at + manifest + sealed, chunk, sealed);
	refuse_bytes(&b, "swapped", manifest);
	memcpy(b.at + manifest + sealed, b.at + manifest, sealed);
	memcpy(b.at + manifest, chunk, sealed);
	/* The same chunk of another backup of the same contents. */
	(void)make_sample("other");
	other = get_file("other");
	assert_int_equal(other.len, b.len);
	memcpy(b.at + manifest + sealed, other.at + manifest + sealed, sealed);
	refuse_bytes(&b, "of another", manifest + sealed);
	free(other.at);
	free(b.at);
	free(chunk);
}

static void replace_line(struct bytes *b, const char *name, const char *value)
{
	uint8_t *at = memmem(b->at, b->len, name, strlen(name));

	assert_non_null(at);
	memcpy(at + strlen(name), value, strlen(value));
}

static void it_opens_only_under_the_key_of_its_own_epoch(void **state)
{
	struct store_epoch first = epoch_now(), second = { 0 };
	struct op *op = t_op(&d, NULL, EVENT_BACKUP_EPOCH);
	char id[GUID_TEXT_LEN + 1];
	struct kms_err err = { 0 };
	struct bytes b;

	(void)state;
	(void)make_sample("aging");
	assert_int_equal(t_op_finish(op, epoch_begin(op, &second, &err)), KMS_OK);
	t_op_free(op);
	b = get_file("aging");
	guid_format(second.obj, id);
	replace_line(&b, "\nepoch-key ", id);
	refuse_bytes(&b, "another epoch's key", 0);
	guid_format(d.kms.inst.directory, id); /* no key at all: another installation's */
	replace_line(&b, "\nepoch-key ", id);
	put_file("changed", b.at, b.len);
	assert_int_equal(open_file("changed", &err), KMS_E_BACKUP);
	assert_non_null(strstr(err.message, "another installation"));
	assert_int_equal(open_file("aging", &err), KMS_OK); /* closed, and alive */
	assert_int_equal(hsm_key_destroy(d.kms.hsm, first.obj, NULL), KMS_OK);
	assert_int_equal(open_file("aging", &err), KMS_E_BACKUP);
	assert_non_null(strstr(err.message, "has ended"));
	free(b.at);
}

static void a_manifest_of_another_form_says_what_it_is(void **state)
{
	static const char newer[] = "holdfast-backup/v2\n", stranger[] = "SQLite format 3", damaged[] = "holdfast-backup/v1\nid nobody\n";
	struct kms_err err = { 0 };

	(void)state;
	put_file("form", newer, strlen(newer));
	assert_int_equal(open_file("form", &err), KMS_E_BACKUP);
	assert_non_null(strstr(err.message, "another version"));
	put_file("form", stranger, strlen(stranger));
	assert_int_equal(open_file("form", &err), KMS_E_BACKUP);
	assert_non_null(strstr(err.message, "not a backup"));
	put_file("form", damaged, strlen(damaged));
	assert_int_equal(open_file("form", &err), KMS_E_BACKUP);
	assert_non_null(strstr(err.message, "damaged"));
}

static bool stop_at_once(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	return done == 0 && total == 0;
}

static void a_file_that_cannot_be_finished_leaves_none(void **state)
{
	struct backup_manifest m = sample_manifest();
	struct kms_err err = { 0 };
	char path[PATH_MAX], from[PATH_MAX];

	(void)state;
	(void)make_sample("exists");
	in_dir("unfinished", path);
	in_dir("database", from);
	assert_int_equal(backup_file_write(d.kms.hsm, path, &m, CONFIG, CHECKPOINT, from, stop_at_once, NULL, &err), KMS_E_SHUTDOWN);
	m.epoch_key[0] ^= 1;
	assert_int_equal(backup_file_write(d.kms.hsm, path, &m, CONFIG, CHECKPOINT, from, NULL, NULL, &err), KMS_E_NOTFOUND);
	assert_false(exists("unfinished"));
	assert_false(exists("unfinished" BACKUP_PART_SUFFIX));
	assert_int_equal(backup_file_write(d.kms.hsm, in_dir("exists", path), &m, CONFIG, CHECKPOINT, from, NULL, NULL, &err), KMS_E_CONFLICT);
}

/* ---- of the running server ---- */

static kms_status turn(struct kms_err *err)
{
	*err = (struct kms_err){ 0 };
	return server_backups_turn(&d.kms, d.store->r, err);
}

static void ask(uint8_t ret_id[STORE_ID_LEN])
{
	struct op *op = t_op(&d, NULL, EVENT_NODE_BACKUP);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, server_backup_request(op, ret_id, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	server_backup_confirm(&d.kms, ret_id);
	t_op_free(op);
}

static struct store_backup row(const uint8_t id[STORE_ID_LEN])
{
	struct store_backup b = { 0 };

	assert_int_equal(backup_find(d.store->r, id, &b, NULL), KMS_OK);
	return b;
}

static struct backup_progress verify(const uint8_t id[STORE_ID_LEN])
{
	struct op *op = t_op(&d, NULL, EVENT_NODE_BACKUP);
	struct backup_progress p;
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, server_backup_request_verify(op, id, &err)), KMS_OK);
	t_op_free(op);
	server_backup_confirm(&d.kms, id);
	kms_ignore(turn(&err)); /* the progress says it */
	server_backup_progress(&d.kms, &p);
	assert_int_equal(p.task, BACKUP_TASK_VERIFY);
	return p;
}

static void a_backup_is_made_as_asked_and_every_version_of_it_loads(void **state)
{
	uint8_t obj[HSM_ID_LEN], id[STORE_ID_LEN];
	struct backup_progress p;
	struct kms_err err = { 0 };
	struct store_backup b;
	uint64_t size = 0;

	(void)state;
	t_vault(&d, "kept", false);
	t_key(&d, "kept", "wrapped", KEY_EC, obj);
	t_key(&d, "kept", "resident", KEY_OCT_HSM, obj);
	ask(id);
	assert_int_equal(turn(&err), KMS_OK);
	b = row(id);
	assert_true(exists(b.place));
	assert_int_equal(store_event_count(d.store->r, &size, NULL), KMS_OK);
	assert_true(t_leaf_says(&d, size - 1, "\"phase\":\"outcome\""));
	assert_true(t_leaf_says(&d, size - 1, b.place));
	assert_true(t_leaf_says(&d, size - 1, "\"versions\":2"));
	assert_true(b.size >= size - 1); /* the checkpoint in it covers its own intent */
	p = verify(id);
	assert_int_equal(p.state, BACKUP_DONE);
	assert_int_equal(p.report.vaults, 1);
	assert_int_equal(p.report.versions, 2);
	assert_int_equal(p.report.loaded, 1);
	assert_int_equal(p.report.resident, 1);
	assert_int_equal(p.report.failed, 0);
	/* A resident version that is gone without having been destroyed. */
	assert_int_equal(hsm_key_destroy(d.kms.hsm, obj, NULL), KMS_OK);
	p = verify(id);
	assert_int_equal(p.report.failed, 1);
	assert_non_null(strstr(p.report.first, "vault kept, key resident"));
}

static void a_backup_whose_file_was_changed_is_found_out(void **state)
{
	uint8_t id[STORE_ID_LEN];
	struct backup_progress p;
	struct kms_err err = { 0 };
	struct bytes b;

	(void)state;
	ask(id);
	assert_int_equal(turn(&err), KMS_OK);
	b = get_file(row(id).place);
	b.at[b.len / 2] ^= 1;
	put_file(row(id).place, b.at, b.len);
	p = verify(id);
	assert_int_equal(p.state, BACKUP_FAILED);
	assert_non_null(strstr(p.failure.message, "seal is broken"));
	free(b.at);
}

static void a_destruction_stops_it_and_it_is_made_afterwards(void **state)
{
	uint8_t id[STORE_ID_LEN];
	struct backup_progress p;
	struct kms_err err = { 0 };

	(void)state;
	ask(id);
	assert_int_equal(server_backups_hold(&d.kms, 10, &err), KMS_OK);
	assert_int_equal(turn(&err), KMS_OK);
	server_backup_progress(&d.kms, &p);
	assert_int_equal(p.state, BACKUP_WAITING);
	assert_false(backup_go_on(&d.kms, 1, 2)); /* one that was under way would stop here */
	server_backups_release(&d.kms);
	assert_true(backup_go_on(&d.kms, 1, 2));
	assert_int_equal(turn(&err), KMS_OK);
	assert_true(exists(row(id).place));
}

static void the_schedule_makes_one_when_it_is_due_and_the_oldest_goes(void **state)
{
	struct store_backup all[16];
	struct kms_err err = { 0 };
	size_t count = 0, before = 0, there = 0;

	(void)state;
	put_file("holdfast-20200101T000000Z-notes.hfbackup", "mine", 4);
	assert_int_equal(store_backups(d.store->r, STORE_BACKUP_SERVER, NULL, NULL, all, 16, &before, NULL), KMS_OK);
	settings.every_hours = 2;
	settings.keep = 2;
	t_domain_pass(2 * HOUR_S - 1);
	assert_int_equal(turn(&err), KMS_OK);
	assert_int_equal(store_backups(d.store->r, STORE_BACKUP_SERVER, NULL, NULL, all, 16, &count, NULL), KMS_OK);
	assert_int_equal(count, before);
	t_domain_pass(1);
	assert_int_equal(turn(&err), KMS_OK);
	assert_int_equal(store_backups(d.store->r, STORE_BACKUP_SERVER, NULL, NULL, all, 16, &count, NULL), KMS_OK);
	assert_int_equal(count, before + 1);
	for (size_t i = 0; i < count; i++)
		there += all[i].place[0] != '\0' && exists(all[i].place);
	assert_int_equal(there, 2);
	assert_true(exists("holdfast-20200101T000000Z-notes.hfbackup")); /* it is nobody's but its owner's */
	settings.every_hours = 0;
	settings.keep = 0;
}

static void a_start_sweeps_what_a_crash_left_and_nothing_else(void **state)
{
	static const char *const LEFT[] = { "holdfast-20261122T095500Z-3f2504e0-4f89-41d3-9a0c-0305e82c3301.hfbackup.part", "holdfast-20261122T095500Z-3f2504e0-4f89-41d3-9a0c-0305e82c3301.copy",
		                            "holdfast-20261122T095500Z-3f2504e0-4f89-41d3-9a0c-0305e82c3301.copy-wal",
		                            "holdfast-20261122T095500Z-3f2504e0-4f89-41d3-9a0c-0305e82c3301.verify" };
	static const char *const STAYS[] = { "holdfast-20261122T095500Z-3f2504e0-4f89-41d3-9a0c-0305e82c3301.hfbackup", "holdfast-20261122.copy", "other.copy",
		                             "holdfast-20261122T095500Z-3f2504e0-4f89-41d3-9a0c-0305e82c3301.copy2" };
	struct kms_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		put_file(LEFT[i], "left", 4);
		put_file(STAYS[i], "stays", 5);
	}
	assert_int_equal(server_backups_sweep(&settings, &err), KMS_OK);
	for (size_t i = 0; i < 4; i++) {
		assert_false(exists(LEFT[i]));
		assert_true(exists(STAYS[i]));
	}
}

static void another_name_of_a_file_destroys_nothing_and_a_pipe_holds_nobody_up(void **state)
{
	static const char TRAP[] = "holdfast-20260101T000000Z-00112233-4455-6677-8899-aabbccddeeff.hfbackup.part", PIPE[] = "pipe";
	char from[PATH_MAX], to[PATH_MAX];
	struct backup_manifest m;
	struct kms_err err = { 0 };

	(void)state;
	put_file("precious", "stays", 5);
	assert_int_equal(link(in_dir("precious", from), in_dir(TRAP, to)), 0);
	assert_int_equal(server_backups_sweep(&settings, &err), KMS_OK);
	assert_false(exists(TRAP));
	struct bytes left = get_file("precious");
	assert_int_equal(left.len, 5);
	assert_memory_equal(left.at, "stays", 5);
	free(left.at);
	assert_int_equal(mkfifo(in_dir(PIPE, from), 0600), 0);
	assert_int_not_equal(backup_file_manifest(from, &m, &err), KMS_OK);
	assert_int_equal(unlink(from), 0);
	assert_int_equal(unlink(in_dir("precious", from)), 0);
}

static kms_status open_store(const char *path, struct store **ret_store, struct kms_err *err) { return store_open_sqlite(path, STORE_READ, ret_store, err); }

static int setup(void **state)
{
	struct kms_err err = { 0 };

	(void)state;
	t_domain_open(&d);
	(void)snprintf(dir, sizeof(dir), "%s/backups", d.token.dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	settings = (struct backup_settings){ .directory = dir, .config = CONFIG, .open_store = open_store };
	assert_int_equal(backup_runner_new(&settings.runner, &err), KMS_OK);
	d.kms.backups = &settings;
	t_domain_sign(&d, NULL);
	assert_int_equal(epoch_open(&d.kms, d.store->r, &err), KMS_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	backup_runner_free(settings.runner);
	return secret_live() == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_sealed_comes_out_as_it_was),
		cmocka_unit_test(no_byte_of_it_can_be_changed),
		cmocka_unit_test(it_cannot_be_cut_extended_or_put_together_anew),
		cmocka_unit_test(it_opens_only_under_the_key_of_its_own_epoch),
		cmocka_unit_test(a_manifest_of_another_form_says_what_it_is),
		cmocka_unit_test(a_file_that_cannot_be_finished_leaves_none),
		cmocka_unit_test(a_backup_is_made_as_asked_and_every_version_of_it_loads),
		cmocka_unit_test(a_backup_whose_file_was_changed_is_found_out),
		cmocka_unit_test(a_destruction_stops_it_and_it_is_made_afterwards),
		cmocka_unit_test(the_schedule_makes_one_when_it_is_due_and_the_oldest_goes),
		cmocka_unit_test(a_start_sweeps_what_a_crash_left_and_nothing_else),
		cmocka_unit_test(another_name_of_a_file_destroys_nothing_and_a_pipe_holds_nobody_up),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
