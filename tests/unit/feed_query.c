/* Questions to the log: every combination of filters answers what a scan of all leaves would, whatever happened to clock, bodies and index. */
#include "server/feed/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include <cmocka.h>

#include "server/base/log.h"
#include "server/feed/index.h"
#include "storage/sqlite/event_index.h"
#include "tests/support/feed_rig.h"

#define SEGMENT 256 /* so that a few thousand leaves are several segments */
#define LEAVES 800
#define PAGES_MAX 400
#define US INT64_C(1000000)

static struct t_feed_rig R;
static struct indexer *X;
static char INDEX[160];
static unsigned long RANDOM = 12345;

static unsigned pick(unsigned n)
{
	RANDOM = RANDOM * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)(RANDOM >> 33) % n;
}

static void vault_of(unsigned n, uint8_t ret[STORE_ID_LEN])
{
	memset(ret, 0, STORE_ID_LEN);
	if (n > 0)
		store_fixture_id('v', n, ret);
}

static struct event made_event(unsigned i)
{
	static const enum event_type TYPES[] = { EVENT_KEY_WRAP, EVENT_KEY_UNWRAP, EVENT_KEY_CREATE, EVENT_KEY_GET, EVENT_LOGIN, EVENT_KEY_DELETE };
	struct event e = { .type = TYPES[pick(KMS_ARRAY_LEN(TYPES))] };
	unsigned vault = pick(5), key = pick(9), who = pick(12);

	e.result = pick(10) == 0 ? EVENT_REFUSED : pick(40) == 0 ? EVENT_FAILED : EVENT_OK;
	e.err = e.result == EVENT_REFUSED ? "ForbiddenByRbac" : NULL;
	e.phase = e.type == EVENT_KEY_CREATE ? (i % 2 == 0 ? EVENT_INTENT : EVENT_OUTCOME) : EVENT_SINGLE;
	e.has_tenant = vault > 0;
	vault_of(vault, e.tenant);
	if (key > 0) {
		(void)snprintf(e.key_name, sizeof(e.key_name), i % 2 == 0 ? "Key-%u" : "key-%u", key);
		(void)snprintf(e.key_version, sizeof(e.key_version), "%032x", key * 2 + i % 2);
	}
	if (who > 0) {
		e.actor = EVENT_ACTOR_APP;
		store_fixture_id('p', who, e.pid);
		(void)snprintf(e.net_peer, sizeof(e.net_peer), "10.0.%u.0/24", who % 4);
	}
	(void)snprintf(e.req, sizeof(e.req), "00000000-0000-4000-8000-%012x", i);
	if (i % 7 == 0)
		(void)snprintf(e.corr, sizeof(e.corr), "batch-%u", i / 70);
	return e;
}

static void is_written(struct write *w) { assert_int_equal(w->status, KMS_OK); }

/* Leaves in batches, as a busy server writes them; the wall clock runs, and jumps back and forth. */
static void write_leaves(unsigned count)
{
	static struct write ring[1024]; /* some of a batch are told after its last was */
	static unsigned total;

	for (unsigned i = 0; i < count;) {
		unsigned n = count - i < 256 ? count - i : 256;
		int64_t jump = total / 256 % 5 == 3 ? -40000 * US : 0;
		t_feed_rig_set_us((T_FEED_START_S + (int64_t)total * 20) * US + jump, (int64_t)total * 20 * US);
		for (unsigned k = 0; k < n; k++, i++, total++) {
			bool is_last = k + 1 == n; /* it waits for all before it */
			struct write *unit = &ring[total % KMS_ARRAY_LEN(ring)];
			*unit = (struct write){ .event = made_event(total), .done = is_last ? NULL : is_written };
			assert_int_equal(is_last ? writer_write(R.kms.writer, unit) : writer_submit(R.kms.writer, unit), KMS_OK);
		}
	}
}

static void start_index(void)
{
	const struct indexer_config cfg = { .kms = &R.kms, .open_store = t_feed_rig_open_store, .open_arg = &R, .path = INDEX, .open_index = event_index_open_sqlite,
		                            .remove_index = event_index_remove_sqlite, .segment_leaves = SEGMENT, .idle_ms = 20 };
	struct kms_err err = { 0 };

	if (indexer_start(&cfg, &X, &err) != KMS_OK)
		fail_msg("%s", err.detail);
}

static void stop_index(void)
{
	indexer_stop(X);
	X = NULL;
}

static void wait_index(void) { assert_true(indexer_wait(X, t_feed_rig_size(&R), 5000)); }

static int set_up(void **state)
{
	(void)state;
	log_setup(LOG_ERROR, false);
	t_feed_rig_open(&R);
	(void)snprintf(INDEX, sizeof(INDEX), "%s-index", R.store->path);
	write_leaves(LEAVES);
	start_index();
	wait_index();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	stop_index();
	assert_int_equal(event_index_remove_sqlite(INDEX, NULL), KMS_OK);
	t_feed_rig_close(&R);
	return 0;
}

/* ---- what a scan of everything says ---- */

static bool is_wanted(const struct query_filter *f, const struct leaf *l)
{
	bool has_type = f->type_count == 0;

	for (size_t i = 0; i < f->type_count; i++)
		has_type |= f->types[i] == l->type;
	if (f->has_vault && memcmp(f->vault, l->tenant, STORE_ID_LEN) != 0)
		return false;
	if ((f->has_from && l->ts_us < f->from_us) || (f->has_to && l->ts_us >= f->to_us))
		return false;
	if (l->is_pruned)
		return f->type_count == 0 && !f->has_pid && !f->has_result && !f->no_intents && f->key[0] == '\0' && f->version[0] == '\0' && f->id[0] == '\0' && f->err[0] == '\0';
	return has_type && (f->key[0] == '\0' || strcasecmp(f->key, l->key_name) == 0) && (f->version[0] == '\0' || strcmp(f->version, l->key_version) == 0) &&
	       (!f->has_pid || (l->has_pid && memcmp(f->pid, l->pid, 16) == 0)) && (!f->has_result || f->result == l->result) &&
	       (f->id[0] == '\0' || strcmp(f->id, l->req) == 0 || strcmp(f->id, l->corr) == 0) && (f->err[0] == '\0' || strcmp(f->err, l->err) == 0) &&
	       (!f->no_intents || l->phase != EVENT_INTENT);
}

static struct leaf *ALL;
static uint64_t ALL_COUNT;

static void forget_all(void)
{
	for (uint64_t i = 0; i < ALL_COUNT; i++)
		leaf_clear(&ALL[i]);
	free(ALL);
	ALL = NULL;
	ALL_COUNT = 0;
}

static void read_all(void)
{
	forget_all();
	ALL_COUNT = t_feed_rig_size(&R);
	ALL = calloc(ALL_COUNT, sizeof(*ALL));
	assert_non_null(ALL);
	for (uint64_t seq = 0; seq < ALL_COUNT; seq++) {
		struct store_event e = { 0 };
		assert_int_equal(store_event(R.store->r, seq, &e, NULL), KMS_OK);
		assert_int_equal(leaf_read(&e, &ALL[seq], NULL), KMS_OK);
		store_event_clear(&e);
	}
}

struct found {
	uint64_t *seqs;
	size_t count;
};

static bool add(void *arg, const struct leaf *l)
{
	struct found *f = arg;
	f->seqs[f->count++] = l->seq;
	return true;
}

/* All pages of a question. *ret_scanned: leaves that were looked at. */
static struct found ask(struct indexer *x, struct query_filter f, uint64_t *ret_scanned)
{
	struct found found = { .seqs = calloc(ALL_COUNT + 1, sizeof(uint64_t)) };
	struct query_end end = { .has_more = true };
	struct query *q = NULL;
	struct kms_err err = { 0 };
	unsigned pages = 0;

	assert_non_null(found.seqs);
	assert_int_equal(query_open(&R.kms, x, &q, &err), KMS_OK);
	*ret_scanned = 0;
	while (end.has_more) {
		size_t before = found.count;
		assert_true(pages++ < PAGES_MAX);
		if (query_run(q, R.store->r, &f, add, &found, &end, &err) != KMS_OK)
			fail_msg("%s %s", err.detail, err.message);
		assert_true(found.count - before <= f.limit);
		*ret_scanned += end.scanned;
		f.has_cursor = true;
		f.cursor = end.cursor;
	}
	query_close(q);
	return found;
}

static uint64_t check(struct indexer *x, const struct query_filter *f)
{
	uint64_t scanned = 0;
	struct found found = ask(x, *f, &scanned);
	size_t at = 0;

	for (uint64_t i = 0; i < ALL_COUNT; i++) {
		const struct leaf *l = &ALL[f->newest_first ? ALL_COUNT - 1 - i : i];
		if (!is_wanted(f, l))
			continue;
		assert_true(at < found.count);
		assert_int_equal(found.seqs[at], l->seq);
		at++;
	}
	assert_int_equal(found.count, at);
	free(found.seqs);
	return scanned;
}

static struct query_filter random_filter(void)
{
	static const enum event_type TYPES[] = { EVENT_KEY_WRAP, EVENT_KEY_CREATE, EVENT_LOGIN, EVENT_NODE_START, EVENT_KEY_PURGE };
	struct query_filter f = { .limit = 1 + pick(QUERY_PAGE_MAX), .newest_first = pick(2) == 0 };

	if (pick(2) == 0) {
		f.has_vault = true;
		vault_of(pick(6), f.vault);
		if (pick(2) == 0)
			(void)snprintf(f.key, sizeof(f.key), "KEY-%u", pick(10));
	}
	if (pick(4) == 0)
		(void)snprintf(f.version, sizeof(f.version), "%032x", pick(20));
	if (pick(3) == 0) {
		f.has_pid = true;
		store_fixture_id('p', pick(13), f.pid);
	}
	for (unsigned n = pick(3) == 0 ? pick(4) : 0; n > 0; n--)
		f.types[f.type_count++] = TYPES[pick(KMS_ARRAY_LEN(TYPES))];
	f.has_result = pick(4) == 0;
	f.result = (enum event_result)pick(3);
	f.no_intents = pick(4) == 0;
	if (pick(6) == 0)
		(void)snprintf(f.id, sizeof(f.id), pick(2) == 0 ? "batch-%u" : "00000000-0000-4000-8000-%012x", pick(60));
	if (pick(8) == 0)
		(void)snprintf(f.err, sizeof(f.err), "ForbiddenByRbac");
	f.has_from = pick(3) == 0;
	f.from_us = (T_FEED_START_S + (int64_t)pick(28000) - 3000) * US;
	f.has_to = pick(3) == 0;
	f.to_us = f.from_us + (int64_t)pick(20000) * US;
	return f;
}

static void combinations_answer_what_a_scan_does(void **state)
{
	(void)state;
	read_all();
	for (unsigned i = 0; i < 40; i++) {
		struct query_filter f = random_filter();
		(void)check(X, &f);
		if (i % 20 == 0)
			(void)check(NULL, &f); /* and without an index */
	}
}

static void the_index_looks_at_little_more_than_it_answers(void **state)
{
	struct query_filter f = { .has_vault = true, .key = "key-3", .limit = 1000 }, id = { .id = "00000000-0000-4000-8000-000000000007", .limit = 10 };
	struct query_filter times = { .has_from = true, .from_us = (T_FEED_START_S + 512 * 20) * US, .has_to = true, .limit = 1000 };
	uint64_t scanned = 0;
	struct found found;
	(void)state;
	read_all();
	vault_of(2, f.vault);
	found = ask(X, f, &scanned);
	assert_int_equal(scanned, found.count);
	assert_true(found.count > 10);
	free(found.seqs);
	assert_int_equal(check(X, &id), 1);
	times.to_us = times.from_us + 10 * US;
	assert_true(check(X, &times) <= 5 * EVENT_INDEX_BLOCK);
}

static void a_cursor_stays_where_it_was_while_events_are_written(void **state)
{
	struct query_filter f = { .newest_first = true, .limit = 50 };
	struct found found = { .seqs = calloc(200, sizeof(uint64_t)) };
	struct query_end end;
	struct query *q = NULL;
	uint64_t size = t_feed_rig_size(&R);
	(void)state;
	assert_int_equal(query_open(&R.kms, X, &q, NULL), KMS_OK);
	assert_int_equal(query_run(q, R.store->r, &f, add, &found, &end, NULL), KMS_OK);
	write_leaves(10);
	f.has_cursor = true;
	f.cursor = end.cursor;
	assert_int_equal(query_run(q, R.store->r, &f, add, &found, &end, NULL), KMS_OK);
	assert_int_equal(found.count, 100);
	for (size_t i = 0; i < found.count; i++)
		assert_int_equal(found.seqs[i], size - 1 - i);
	free(found.seqs);
	query_close(q);
	wait_index();
}

static void bad_filters_are_refused(void **state)
{
	struct query_filter none = { .limit = 0 }, many = { .limit = QUERY_PAGE_MAX + 1 }, key = { .key = "k", .limit = 1 };
	struct query_end end;
	struct query *q = NULL;
	(void)state;
	assert_int_equal(query_open(&R.kms, X, &q, NULL), KMS_OK);
	assert_int_equal(query_run(q, R.store->r, &none, add, NULL, &end, NULL), KMS_E_INVALID);
	assert_int_equal(query_run(q, R.store->r, &many, add, NULL, &end, NULL), KMS_E_INVALID);
	assert_int_equal(query_run(q, R.store->r, &key, add, NULL, &end, NULL), KMS_E_INVALID);
	query_close(q);
}

/* The newest match, page by page. @param wait_ms  of each page; *ret_pages: how many it took */
static bool find_last(struct indexer *x, struct query_filter f, unsigned wait_ms, uint64_t *ret_seq, unsigned *ret_pages)
{
	struct query_end end = { .has_more = true, .cursor = UINT64_MAX };
	struct query *q = NULL;
	bool found = false;

	assert_int_equal(query_open(&R.kms, x, &q, NULL), KMS_OK);
	for (*ret_pages = 0; end.has_more && !found; ++*ret_pages) {
		LEAF_AUTO l = { 0 };
		uint64_t before = end.cursor;
		assert_int_equal(query_last(q, R.store->r, &f, wait_ms, &end, &found, &l, NULL), KMS_OK);
		assert_true(found || !end.has_more || end.cursor < before);
		*ret_seq = l.seq;
		f.has_cursor = true;
		f.cursor = end.cursor;
	}
	query_close(q);
	return found;
}

/* However short a page is, each comes further. */
static void the_last_leaf_of_a_key_is_found_in_as_many_pages_as_it_takes(void **state)
{
	struct query_filter f = { .has_vault = true, .key = "key-1", .types = { EVENT_KEY_WRAP }, .type_count = 1, .has_result = true };
	uint64_t last = 0, seq = 0;
	unsigned pages = 0;

	(void)state;
	read_all();
	vault_of(1, f.vault);
	for (uint64_t i = 0; i < ALL_COUNT; i++)
		last = is_wanted(&f, &ALL[i]) ? i : last;
	assert_true(find_last(X, f, 1000, &seq, &pages) && seq == last);
	assert_int_equal(pages, 1);
	assert_true(find_last(NULL, f, 0, &seq, &pages) && seq == last);
	f.types[0] = EVENT_TENANT_SHRED;
	assert_false(find_last(X, f, 1000, &seq, &pages));
	assert_false(find_last(NULL, f, 0, &seq, &pages));
	assert_true(pages > 10);
}

/* Else whoever is refused often enough could make others wait. */
static void what_was_refused_costs_nobody_who_asks_for_what_was_not(void **state)
{
	struct query_filter f = { .has_vault = true, .has_result = true, .limit = 1000 };
	uint64_t scanned = 0;
	struct found found;

	(void)state;
	vault_of(1, f.vault);
	found = ask(X, f, &scanned);
	assert_true(found.count > 10);
	assert_int_equal(scanned, found.count);
	free(found.seqs);
	(void)check(X, &f);
}

static void known_addresses_are_found(void **state)
{
	uint8_t pid[16];
	bool found = false;
	struct query *q = NULL;
	(void)state;
	read_all();
	assert_int_equal(query_open(&R.kms, X, &q, NULL), KMS_OK);
	for (unsigned who = 1; who < 4; who++) {
		char peer[32];
		uint64_t first = UINT64_MAX;
		store_fixture_id('p', who, pid);
		(void)snprintf(peer, sizeof(peer), "10.0.%u.0/24", who % 4);
		for (uint64_t i = ALL_COUNT; i-- > 0;)
			if (ALL[i].has_pid && memcmp(ALL[i].pid, pid, 16) == 0)
				first = i;
		assert_int_equal(query_knows_peer(q, R.store->r, pid, peer, first, &found, NULL), KMS_OK);
		assert_false(found);
		assert_int_equal(query_knows_peer(q, R.store->r, pid, peer, first + 1, &found, NULL), KMS_OK);
		assert_true(found);
		assert_int_equal(query_knows_peer(q, R.store->r, pid, peer, ALL_COUNT, &found, NULL), KMS_OK);
		assert_true(found);
		assert_int_equal(query_knows_peer(q, R.store->r, pid, "192.0.2.0/24", ALL_COUNT, &found, NULL), KMS_OK);
		assert_false(found);
	}
	query_close(q);
}

/* ---- what may happen to the index ---- */

static void sql(const char *text)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(INDEX, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s", sqlite3_errmsg(db));
	(void)sqlite3_close(db);
}

/* Who can write the file could keep an alert away. */
static void an_address_that_only_the_index_knows_is_not_known(void **state)
{
	const char *peer = "198.51.100.0/24";
	char text[160];
	uint8_t pid[16];
	struct event_term term;
	struct query *q = NULL;
	bool found = true;

	(void)state;
	store_fixture_id('p', 1, pid);
	term = index_peer_term(pid, peer);
	(void)snprintf(text, sizeof(text), "INSERT INTO posting (segment, term, places) VALUES (0, x'%02x%016llx', x'05')", term.kind, (unsigned long long)term.hash);
	sql(text);
	assert_int_equal(query_open(&R.kms, X, &q, NULL), KMS_OK);
	assert_int_equal(query_knows_peer(q, R.store->r, pid, peer, ALL_COUNT, &found, NULL), KMS_OK);
	assert_false(found);
	query_close(q);
}

static void check_some(void)
{
	if (ALL_COUNT != t_feed_rig_size(&R))
		read_all();
	for (unsigned i = 0; i < 2; i++) {
		struct query_filter f = random_filter();
		(void)check(X, &f);
	}
}

static uint64_t file_size(void)
{
	struct event_index_state s = { 0 };
	struct event_index *x = NULL;

	if (event_index_open_sqlite(INDEX, STORE_READ, &x, NULL) == KMS_OK && event_index_state(x, &s, NULL) != KMS_OK)
		s.size = 0;
	event_index_close(x);
	return s.size;
}

static void it_goes_on_where_it_was_after_a_restart(void **state)
{
	uint64_t size = 0;
	(void)state;
	assert_int_equal(file_size(), t_feed_rig_size(&R) / SEGMENT * SEGMENT);
	size = file_size();
	stop_index();
	assert_int_equal(file_size(), size);
	start_index();
	assert_true(indexer_size(X) >= size);
	check_some(); /* at once: what it has not read again yet is looked at */
	wait_index();
	check_some();
}

static void one_that_is_gone_is_made_again(void **state)
{
	(void)state;
	stop_index();
	assert_int_equal(event_index_remove_sqlite(INDEX, NULL), KMS_OK);
	start_index();
	check_some();
	wait_index();
	assert_int_equal(file_size(), t_feed_rig_size(&R) / SEGMENT * SEGMENT);
	check_some();
}

/* Of another log, ahead of this one, made by another version, or no database at all. */
static void one_that_is_not_of_this_log_is_made_anew(void **state)
{
	static const char *const CHANGES[] = { "UPDATE state SET origin_hash = zeroblob(32)", "UPDATE state SET last_hash = zeroblob(32)", "UPDATE state SET size = size * 1000",
		                               "UPDATE state SET segment_leaves = 512", "PRAGMA user_version = 99", "DELETE FROM state",
		                               "DROP TABLE posting; CREATE VIEW posting AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
		                               "SELECT i AS segment, x'00' AS term, x'00' AS places FROM n",
		                               "CREATE TRIGGER t AFTER INSERT ON posting BEGIN DELETE FROM state; END", NULL };
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CHANGES); i++) {
		stop_index();
		if (CHANGES[i] != NULL) {
			sql(CHANGES[i]);
		} else {
			FILE *f = fopen(INDEX, "w");
			assert_non_null(f);
			for (unsigned k = 0; k < 5000; k++)
				(void)fputs("no database ", f);
			assert_int_equal(fclose(f), 0);
		}
		start_index();
		wait_index();
		assert_int_equal(file_size(), t_feed_rig_size(&R) / SEGMENT * SEGMENT);
		check_some();
	}
}

static char *content(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "r");
	char *text = malloc(65536);

	assert_non_null(f);
	assert_non_null(text);
	*ret_len = fread(text, 1, 65536, f);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void other_database(const char *path, mode_t mode)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)", NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
	assert_int_equal(chmod(path, mode), 0);
}

/* In the index's place: a link, another's database, a file that others may read, a file with two names. None is written or removed, and questions are answered. */
static void a_file_that_is_not_ours_is_left_alone(void **state)
{
	char theirs[200];
	struct query_filter f = { .has_vault = true, .limit = 1000 };

	(void)state;
	(void)snprintf(theirs, sizeof(theirs), "%s-theirs", R.store->path);
	read_all();
	vault_of(1, f.vault);
	stop_index();
	assert_int_equal(event_index_remove_sqlite(INDEX, NULL), KMS_OK);
	for (unsigned i = 0; i < 4; i++) {
		size_t before_len = 0, after_len = 0;
		char *before, *after;
		other_database(theirs, i == 2 ? 0644 : 0600);
		before = content(theirs, &before_len);
		assert_int_equal(i == 0 ? symlink(theirs, INDEX) : i == 3 ? link(theirs, INDEX) : rename(theirs, INDEX), 0);
		start_index();
		(void)check(X, &f);
		assert_int_equal(event_index_remove_sqlite(INDEX, NULL), KMS_E_CONFLICT);
		stop_index();
		after = content(INDEX, &after_len);
		assert_int_equal(after_len, before_len);
		assert_memory_equal(after, before, before_len);
		free(before);
		free(after);
		assert_int_equal(unlink(INDEX), 0);
		assert_int_equal(unlink(theirs), i == 0 || i == 3 ? 0 : -1);
	}
	start_index();
	wait_index();
}

/* A damaged one may not invent anything, and is made anew once a query has noticed. */
static void one_that_is_damaged_under_way_answers_all_the_same_and_is_made_anew(void **state)
{
	static const char *const CHANGES[] = { "UPDATE posting SET places = x'ffffff'", "DELETE FROM segment", "UPDATE segment SET times = x'00'" };
	struct query_filter f = { .has_vault = true, .has_from = true, .from_us = 0, .limit = 1000 };
	(void)state;
	read_all();
	vault_of(1, f.vault);
	for (size_t i = 0; i < KMS_ARRAY_LEN(CHANGES); i++) {
		uint64_t generation = indexer_generation(X);
		sql(CHANGES[i]);
		(void)check(X, &f);
		for (unsigned k = 0; k < 500 && indexer_generation(X) == generation; k++)
			(void)usleep(10000);
		assert_int_not_equal(indexer_generation(X), generation);
		(void)check(X, &f);
		for (unsigned k = 0; k < 500 && indexer_size(X) < t_feed_rig_size(&R); k++)
			(void)usleep(10000);
		(void)check(X, &f);
	}
}

/* ---- bodies that are gone ---- */

/* As a pruning of all that there is leaves it: its intent, and the record that it has ended. */
static void say_pruned(void)
{
	struct event_det det[] = { { .name = "from", .is_number = true }, { .name = "to", .is_number = true, .number = (int64_t)t_feed_rig_size(&R) } };
	const struct event intent = { .type = EVENT_LOG_PRUNED, .phase = EVENT_INTENT, .det = det, .det_count = 2 };
	struct store_change record = { .kind = STORE_META_PUT };
	struct write unit = { .changes = &record, .change_count = 1 };

	prune_record_make(&R.kms, (uint64_t)det[1].number, t_feed_rig_write(&R, &intent), &record.meta);
	assert_int_equal(writer_write(R.kms.writer, &unit), KMS_OK);
}

static void leaves_without_a_body_are_found_by_vault_and_time(void **state)
{
	static uint64_t seqs[200];
	struct store_change change = { .kind = STORE_EVENTS_PRUNE, .prune = { .seqs = seqs, .count = KMS_ARRAY_LEN(seqs) } };
	struct write unit = { .changes = &change, .change_count = 1 };
	struct query_filter f = { .has_vault = true, .limit = 100 }, g = { .limit = 1000, .newest_first = true };
	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(seqs); i++)
		seqs[i] = 100 + 3 * i;
	say_pruned();
	assert_int_equal(writer_write(R.kms.writer, &unit), KMS_OK);
	read_all();
	assert_true(ALL[100].is_pruned);
	vault_of(1, f.vault);
	(void)check(X, &f);
	(void)check(X, &g);
	check_some();
	stop_index();
	assert_int_equal(event_index_remove_sqlite(INDEX, NULL), KMS_OK);
	start_index(); /* made of what is left */
	wait_index();
	(void)check(X, &f);
	check_some();
}

/* Is there a leaf with this term in a segment of the file? */
static bool file_has(uint64_t segment, struct event_term term)
{
	static uint16_t places[EVENT_INDEX_SEGMENT_MAX];
	struct event_index *x = NULL;
	size_t count = 0;

	assert_int_equal(event_index_open_sqlite(INDEX, STORE_READ, &x, NULL), KMS_OK);
	assert_int_equal(event_index_places(x, segment, &term, places, &count, NULL), KMS_OK);
	event_index_close(x);
	return count > 0;
}

/* Also over a restart. */
static void what_was_pruned_leaves_nothing_in_the_index(void **state)
{
	uint64_t seq = 702;
	struct store_change change = { .kind = STORE_EVENTS_PRUNE, .prune = { .seqs = &seq, .count = 1 } };
	struct write unit = { .changes = &change, .change_count = 1 };
	struct event_det det[] = { { .name = "from", .is_number = true, .number = 512 }, { .name = "to", .is_number = true, .number = 768 } };
	const struct event pruned = { .type = EVENT_LOG_PRUNED, .phase = EVENT_OUTCOME, .det = det, .det_count = 2 };
	struct event_term term;
	(void)state;
	read_all();
	assert_false(ALL[seq].is_pruned);
	term = index_term(INDEX_ID, ALL[seq].req, strlen(ALL[seq].req));
	assert_true(file_has(seq / SEGMENT, term));
	assert_int_equal(writer_write(R.kms.writer, &unit), KMS_OK);
	(void)t_feed_rig_write(&R, &pruned);
	wait_index();
	stop_index();
	start_index();
	for (unsigned k = 0; k < 500 && file_has(seq / SEGMENT, term); k++)
		(void)usleep(10000);
	assert_false(file_has(seq / SEGMENT, term));
	check_some();
}

/* ---- bodies that were altered or removed ---- */

struct shown {
	uint64_t seq;
	bool is_found, is_damaged;
	bool has_text;
};

static bool look_for(void *arg, const struct leaf *l)
{
	struct shown *s = arg;

	if (l->seq != s->seq)
		return true;
	s->is_found = true;
	s->is_damaged = l->is_damaged && l->is_pruned;
	s->has_text = l->text_len > 0;
	return true;
}

static struct shown ask_for(uint64_t seq, struct query_filter f)
{
	struct shown s = { .seq = seq };
	struct query_end end = { .has_more = true };
	struct query *q = NULL;

	f.limit = 1000;
	assert_int_equal(query_open(&R.kms, X, &q, NULL), KMS_OK);
	while (end.has_more) {
		assert_int_equal(query_run(q, R.store->r, &f, look_for, &s, &end, NULL), KMS_OK);
		f.has_cursor = true;
		f.cursor = end.cursor;
	}
	query_close(q);
	return s;
}

static void change_log(const char *format, uint64_t seq)
{
	char *text = sqlite3_mprintf(format, (sqlite3_uint64)seq);
	sqlite3 *db = NULL;

	assert_non_null(text);
	assert_int_equal(sqlite3_open(R.store->path, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s", sqlite3_errmsg(db));
	sqlite3_free(text);
	(void)sqlite3_close(db);
}

/* Whatever it says now, and whether the index was made before or after. */
static void a_damaged_leaf_is_shown_as_one_by_every_filter_and_never_as_pruned(void **state)
{
	static const char *const CHANGES[] = { "UPDATE event SET leaf = CAST(replace(CAST(leaf AS TEXT), 'key.purge', 'key.pwned') AS BLOB) WHERE seq = %llu",
		                               "UPDATE event SET leaf = x'' WHERE seq = %llu", "UPDATE event SET leaf = CAST('none' AS BLOB) WHERE seq = %llu" };
	const struct event e = { .type = EVENT_KEY_PURGE, .result = EVENT_REFUSED, .err = "Conflict" };
	const struct query_filter by_type = { .types = { EVENT_KEY_PURGE }, .type_count = 1, .damaged_too = true }, by_result = { .has_result = true, .result = EVENT_REFUSED, .damaged_too = true },
	                          other = { .types = { EVENT_KEY_GET }, .type_count = 1, .damaged_too = true }, without = { .types = { EVENT_KEY_PURGE }, .type_count = 1 };
	uint64_t seqs[KMS_ARRAY_LEN(CHANGES)];
	(void)state;
	log_setup(LOG_ERROR + 1, false); /* it says so each time */
	for (size_t i = 0; i < KMS_ARRAY_LEN(CHANGES); i++)
		seqs[i] = t_feed_rig_write(&R, &e);
	wait_index();
	for (size_t i = 0; i < KMS_ARRAY_LEN(CHANGES); i++) {
		assert_false(ask_for(seqs[i], by_type).is_damaged);
		change_log(CHANGES[i], seqs[i]);
		assert_true(ask_for(seqs[i], by_type).is_damaged && ask_for(seqs[i], by_result).is_damaged);
		assert_false(ask_for(seqs[i], by_type).has_text || ask_for(seqs[i], without).is_found);
	}
	stop_index();
	assert_int_equal(event_index_remove_sqlite(INDEX, NULL), KMS_OK);
	start_index();
	wait_index();
	for (int full = 0; full < 2; full++) { /* the segment is in memory, then in the file */
		for (size_t i = 0; i < KMS_ARRAY_LEN(CHANGES); i++)
			assert_true(ask_for(seqs[i], by_type).is_damaged && ask_for(seqs[i], other).is_damaged);
		write_leaves(2 * SEGMENT);
		wait_index();
	}
	log_setup(LOG_ERROR, false);
}

static int end(void **state)
{
	forget_all();
	return tear_down(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(combinations_answer_what_a_scan_does),
		cmocka_unit_test(the_index_looks_at_little_more_than_it_answers),
		cmocka_unit_test(a_cursor_stays_where_it_was_while_events_are_written),
		cmocka_unit_test(bad_filters_are_refused),
		cmocka_unit_test(known_addresses_are_found),
		cmocka_unit_test(the_last_leaf_of_a_key_is_found_in_as_many_pages_as_it_takes),
		cmocka_unit_test(what_was_refused_costs_nobody_who_asks_for_what_was_not),
		cmocka_unit_test(an_address_that_only_the_index_knows_is_not_known),
		cmocka_unit_test(it_goes_on_where_it_was_after_a_restart),
		cmocka_unit_test(one_that_is_gone_is_made_again),
		cmocka_unit_test(one_that_is_not_of_this_log_is_made_anew),
		cmocka_unit_test(a_file_that_is_not_ours_is_left_alone),
		cmocka_unit_test(one_that_is_damaged_under_way_answers_all_the_same_and_is_made_anew),
		cmocka_unit_test(leaves_without_a_body_are_found_by_vault_and_time),
		cmocka_unit_test(what_was_pruned_leaves_nothing_in_the_index),
		cmocka_unit_test(a_damaged_leaf_is_shown_as_one_by_every_filter_and_never_as_pruned),
	};
	return cmocka_run_group_tests(tests, set_up, end);
}
