/* tests/support/signed_log.c */
#include "tests/support/signed_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/sqlite/sqlite.h"

#define SIGN_MS 20000

#define MUST(condition, why)                                                                                         \
	do {                                                                                                         \
		if (!(condition)) {                                                                                  \
			(void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, (why));             \
			abort();                                                                                     \
		}                                                                                                    \
	} while (0)

static const char *text_of(const struct kms_err *err) { return err->detail[0] != '\0' ? err->detail : kms_err_text(err); }

static void start(struct t_domain *d, struct t_log *log)
{
	struct kms_err err = { 0 };
	struct log_former former;
	char vkey[NOTE_VKEY_MAX + 1];
	struct writer_config w = { .store = d->store->w, .clock = d->kms.clock, .node = "test", .origin = d->kms.origin, .vkey = vkey, .capacity = 64 };
	struct checkpointer_config c = { .kms = &d->kms, .verdict = &log->verdict, .interval_ms = log->interval_ms != 0 ? log->interval_ms : 100, .leaves = 1000,
		                         .pin_s = 60, .heartbeat_s = 60, .late_ms = log->late_ms != 0 ? log->late_ms : 60000, .is_strict = log->is_strict };

	log->verdict = (struct log_verdict){ 0 };
	MUST(log_check(d->store->w, d->kms.hsm, &d->kms.inst, d->kms.clock, d->kms.origin, &log->verdict, &err) == KMS_OK, text_of(&err));
	MUST(log_vkey(d->store->w, d->kms.origin, vkey, &err) == KMS_OK, text_of(&err));
	if (log_former(d->store->w, d->kms.hsm, &d->kms.inst, &former, &err) == KMS_OK)
		w.former = &former.writer;
	MUST(writer_start(&w, &d->kms.writer, &err) == KMS_OK, text_of(&err));
	MUST(store_open_sqlite(d->store->path, STORE_READ, &c.store, &err) == KMS_OK, text_of(&err));
	MUST(checkpointer_start(&c, &d->kms.log, &err) == KMS_OK, text_of(&err));
}

void t_log_stop(struct t_domain *d)
{
	checkpointer_stop(d->kms.log);
	d->kms.log = NULL;
	writer_stop(d->kms.writer);
	d->kms.writer = NULL;
}

void t_log_start(struct t_domain *d, struct t_log *log)
{
	writer_stop(d->kms.writer);
	store_fixture_reopen(d->store);
	start(d, log);
}

void t_log_restart(struct t_domain *d, struct t_log *log)
{
	t_log_stop(d);
	store_fixture_reopen(d->store);
	start(d, log);
}

void t_log_sign(struct t_domain *d)
{
	struct writer_state w = { 0 };
	struct kms_err err = { 0 };

	writer_state(d->kms.writer, &w);
	MUST(log_seal(d->kms.log, w.size - 1, SIGN_MS, &err) == KMS_OK, text_of(&err));
}

static void copy(const char *from, const char *to)
{
	FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
	char block[65536];
	size_t n;

	MUST(in != NULL && out != NULL, to);
	while ((n = fread(block, 1, sizeof(block), in)) > 0)
		MUST(fwrite(block, 1, n, out) == n, to);
	MUST(fclose(out) == 0 && fclose(in) == 0, to);
}

static void close_stores(struct t_domain *d)
{
	store_close(d->store->r);
	store_close(d->store->w);
	d->store->r = d->store->w = NULL;
}

static void open_stores(struct t_domain *d)
{
	struct kms_err err = { 0 };

	MUST(store_open_sqlite(d->store->path, STORE_WRITE, &d->store->w, &err) == KMS_OK, text_of(&err));
	MUST(store_open_sqlite(d->store->path, STORE_READ, &d->store->r, &err) == KMS_OK, text_of(&err));
}

void t_log_save(struct t_domain *d)
{
	struct kms_err err = { 0 };
	char to[128];

	t_log_stop(d);
	MUST(store_checkpoint(d->store->w, true, &err) == KMS_OK, text_of(&err)); /* all of it is in the file */
	close_stores(d);
	(void)snprintf(to, sizeof(to), "%s", store_fixture_beside(d->store, ".old"));
	copy(d->store->path, to);
	open_stores(d);
}

void t_log_put_back(struct t_domain *d)
{
	char from[128];

	close_stores(d);
	(void)unlink(store_fixture_beside(d->store, "-wal"));
	(void)unlink(store_fixture_beside(d->store, "-shm"));
	(void)snprintf(from, sizeof(from), "%s", store_fixture_beside(d->store, ".old"));
	copy(from, d->store->path);
	open_stores(d);
}

void t_log_roll_back(struct t_domain *d, struct t_log *log)
{
	t_log_save(d);
	start(d, log);
	MUST(log->verdict.state == LOG_GOOD, log->verdict.why);
	t_log_sign(d);
	t_log_stop(d);
	t_log_put_back(d);
	start(d, log);
	MUST(log->verdict.state == LOG_ROLLED_BACK, "not noticed");
}
