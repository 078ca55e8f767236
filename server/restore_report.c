/* server/restore_report.c - see restore_report.h. The words say what was noticed, by what, and what to do next; docs/restore.md explains them. */
#include "server/restore_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/core/canon.h"

#define SHOWN_MAX 20 /* of a list for people; JSON has all */
#define JSON_BASE 8192
#define JSON_OBJECT 128
#define JSON_TEXT_MAX 512
#define DATE_MAX 32

void restore_report_clear(struct restore_report *r)
{
	free(r->rootless);
	free(r->unknown);
	*r = (struct restore_report){ .is_rehearsal = false };
}

bool restore_is_whole(const struct restore_report *r) { return r->load.failed == 0 && r->rootless_count == 0; }

bool restore_is_certain(const struct restore_report *r) { return r->verdict.state != LOG_GOOD || r->verdict.silent == 0; }

static const char *purpose_text(enum hsm_purpose purpose)
{
	switch (purpose) {
	case HSM_FOR_LOG: return "log key";
	case HSM_FOR_TOKENS: return "key of access tokens";
	case HSM_FOR_ATTESTATION: return "attestation key";
	case HSM_FOR_ROOT: return "root of a vault";
	case HSM_FOR_PSEUDONYMS: return "pseudonym key of a vault";
	case HSM_FOR_CALLER: return "version of a key (-HSM)";
	case HSM_FOR_EXCHANGE: return "key of a transfer (BYOK)";
	case HSM_FOR_BACKUP: return "backup epoch key";
	}
	return "object";
}

static const char *date_of(int64_t unix_s, char ret[DATE_MAX])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(ret, DATE_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		(void)snprintf(ret, DATE_MAX, "%" PRId64, unix_s);
	return ret;
}

static void print_head(const struct restore_report *r)
{
	char id[GUID_TEXT_LEN + 1], date[DATE_MAX];

	guid_format(r->manifest.id, id);
	if (r->is_rehearsal)
		(void)printf("Rehearsed: nothing of this was done to the database, the token or the log that are in use.\n");
	else
		(void)printf("Restored: %s\n", r->database);
	(void)printf("Backup %s of %s, made %s by holdfastd %s in epoch %" PRIu32 ".\n", id, r->manifest.domain, date_of(r->manifest.made_s, date), r->manifest.version,
	             r->manifest.epoch);
	(void)printf("Log %s with %" PRIu64 " events. Vaults: %" PRIu64 ", keys: %" PRIu64 ", versions: %" PRIu64 ".\n", r->manifest.origin, r->size, r->manifest.vaults,
	             r->manifest.keys, r->manifest.versions);
}

static void print_none_missing(const struct restore_report *r)
{
	const struct log_verdict *v = &r->verdict;

	if (!restore_is_certain(r))
		(void)printf("\nMissing events: NOT KNOWN. The token knows of none, but %u of %u witnesses did not say what they know: %s. If database and token were both put back, from the "
		             "same time, nothing here can tell: what was destroyed since may be alive again, and what took access away may be undone.\n", v->silent, v->asked, v->silence);
	else if (v->asked > 0)
		(void)printf("\nMissing events: none that the token or a witness knows of. What was written in the last moments before the loss may be missing all the same.\n");
	else
		(void)printf("\nMissing events: none that the token knows of. %s: if database and token were both put back, from the same time, nothing here can tell. What was written in the "
		             "last moments before the loss may be missing all the same.\n", r->has_witnesses ? "No witness was asked, since nothing of this log was ever signed" : "No witness is configured");
}

/* The pin is made when a critical event is written, and now and then: there may be some more than it says. */
static void print_missing(const struct restore_report *r)
{
	const struct log_verdict *v = &r->verdict;

	if (v->state == LOG_GOOD) {
		print_none_missing(r);
		return;
	}
	(void)printf("\nThe log is older than what was signed: %s.\n", v->why);
	if (v->known_origin[0] != '\0')
		(void)printf("Missing events: of %s all from number %" PRIu64 " on; and all of the later log %s, at least %" PRIu64 ".\n", r->origin, r->size, v->known_origin,
		             v->known_size);
	else if (v->has_known && v->known_size > r->size)
		(void)printf("Missing events: %" PRIu64 " to %" PRIu64 " at least, which is %" PRIu64 ". Exports of the log, its followers and witnesses have them.\n", r->size,
		             v->known_size - 1, v->known_size - r->size);
	else
		(void)printf("Missing events: it is not known how many.\n");
}

static void print_rest(size_t count)
{
	if (count > SHOWN_MAX)
		(void)printf("  … and %zu more (--json names all)\n", count - SHOWN_MAX);
}

static bool has_epoch_key(const struct restore_report *r)
{
	for (size_t i = 0; i < r->unknown_count; i++)
		if (r->unknown[i].purpose == HSM_FOR_BACKUP)
			return true;
	return false;
}

static void print_objects(const struct restore_report *r)
{
	char id[2 * HSM_ID_LEN + 1];

	if (r->sweep.resurrected > 0)
		(void)printf("\nDestroyed again: %zu objects that had been destroyed before the backup was made were on the token. It is an older copy of it.\n",
		             r->sweep.resurrected);
	if (r->sweep.forged > 0)
		(void)printf("\nAlarm: %zu records say that an object was destroyed, and this installation did not make them. Nothing was destroyed because of them; somebody has written "
		             "into the database that was backed up.\n", r->sweep.forged);
	if (r->rootless_count > 0)
		(void)printf("\nVaults whose root key is not on the token: shredded after the backup was made (then they stay dead), or their root was replaced since, or lost. None of "
		             "their wrapped keys works.\n");
	for (size_t i = 0; i < r->rootless_count && i < SHOWN_MAX; i++)
		(void)printf("  %s\n", r->rootless[i].name);
	print_rest(r->rootless_count);
	if (r->unknown_count > 0)
		(void)printf("\nOn the token, and not in the database: made after the backup, or another installation's. They are left alone.\n");
	for (size_t i = 0; i < r->unknown_count && i < SHOWN_MAX; i++) {
		hex_encode(r->unknown[i].id, HSM_ID_LEN, id);
		(void)printf("  %s  %s\n", id, purpose_text(r->unknown[i].purpose));
	}
	print_rest(r->unknown_count);
	if (has_epoch_key(r))
		(void)printf("A backup epoch key is among them: there are newer backups than this one, or there were. Restore the newest.\n");
}

static void print_load(const struct restore_report *r)
{
	(void)printf("\nTried in the HSM: %" PRIu64 " of %" PRIu64 " versions work (%" PRIu64 " were unwrapped, %" PRIu64 " are objects of the token); none was used.\n",
	             r->load.loaded + r->load.resident, r->load.versions, r->load.loaded, r->load.resident);
	if (r->load.failed > 0)
		(void)printf("%" PRIu64 " do not. The first: %s\n", r->load.failed, r->load.first);
}

static void print_silence(int *step)
{
	(void)printf("%3d. Before you start the server: bring the witness back, or find out what it knows (holdfast-witness show). One that does not know this log (404) was never given its key\n"
	             "     (holdfast log keys, docs/witness.md) and knows nothing of it; then only exports, followers and certificates of destruction can tell.\n", (*step)++);
	(void)printf("     The server asks again at its start. It does NOT wait for a silent witness: it serves, and stops serving when the witness answers that it knows more.\n");
}

static void print_next(const struct restore_report *r)
{
	char date[DATE_MAX];
	int step = 1;

	(void)printf("\nWhat to do next%s:\n", r->is_rehearsal ? " after a real restore" : "");
	if (!restore_is_certain(r))
		print_silence(&step);
	(void)printf("%3d. Start the server.\n", step++);
	if (r->verdict.state != LOG_GOOD) {
		(void)printf("     It serves its log, logins and approvals and nothing else, since events are missing.\n");
		(void)printf("%3d. Was anything destroyed after %s? Make it true again, with each certificate of it: holdfast certificate enforce FILE...\n", step++,
		             date_of(r->manifest.made_s, date));
		(void)printf("%3d. holdfast log accept-rollback --reason TEXT; the installation's approvers agree; the same command again; restart the server. The next log begins.\n",
		             step++);
		(void)printf("%3d. Repeat what took access away after event %" PRIu64 " (docs/restore.md): nothing of it is in this database.\n", step++,
		             r->size > 0 ? r->size - 1 : 0);
	} else if (!restore_is_certain(r)) {
		(void)printf("%3d. Was anything destroyed of which you have a certificate? Make sure at once that it stays dead: holdfast certificate enforce FILE...\n", step++);
	} else if (r->rootless_count > 0) {
		(void)printf("%3d. For each vault above that was shredded: holdfast certificate enforce FILE, or shred it again.\n", step++);
	}
	if (r->verdict.state != LOG_GOOD && r->has_witnesses)
		(void)printf("%3d. Give each witness the key of the next log (holdfast log keys, docs/witness.md): until then it refuses, and an older copy of this state would not be noticed.\n", step++);
	(void)printf("%3d. holdfast check\n", step);
}

void restore_report_print(const struct restore_report *r)
{
	print_head(r);
	print_missing(r);
	print_objects(r);
	print_load(r);
	print_next(r);
}

static void json_backup(struct canon *c, const struct restore_report *r)
{
	char made[TIMESTAMP_LEN + 1];

	timestamp_format(r->manifest.made_s * 1000000, made);
	canon_open(c, "backup");
	canon_text(c, "domain", r->manifest.domain, JSON_TEXT_MAX);
	canon_int(c, "epoch", r->manifest.epoch);
	canon_guid(c, "id", r->manifest.id);
	canon_token(c, "made", made);
	canon_text(c, "origin", r->manifest.origin, JSON_TEXT_MAX);
	canon_int(c, "size", (int64_t)r->manifest.size);
	canon_text(c, "version", r->manifest.version, JSON_TEXT_MAX);
	canon_close(c);
}

static void json_load(struct canon *c, const struct load_report *l)
{
	canon_open(c, "load");
	canon_int(c, "failed", (int64_t)l->failed);
	if (l->failed > 0)
		canon_text(c, "first", l->first, JSON_TEXT_MAX);
	canon_int(c, "keys", (int64_t)l->keys);
	canon_int(c, "loaded", (int64_t)l->loaded);
	canon_int(c, "resident", (int64_t)l->resident);
	canon_int(c, "shredded", (int64_t)l->shredded);
	canon_int(c, "vaults", (int64_t)l->vaults);
	canon_int(c, "versions", (int64_t)l->versions);
	canon_close(c);
}

static void json_log(struct canon *c, const struct restore_report *r)
{
	const struct log_verdict *v = &r->verdict;

	canon_open(c, "log");
	if (v->has_known && v->known_size > 0) {
		canon_text(c, "known_origin", v->known_origin[0] != '\0' ? v->known_origin : r->origin, JSON_TEXT_MAX);
		canon_int(c, "known_size", (int64_t)v->known_size);
	}
	if (v->has_known && v->known_origin[0] == '\0' && v->known_size > r->size) {
		canon_int(c, "missing_from", (int64_t)r->size);
		canon_int(c, "missing_to", (int64_t)v->known_size - 1);
	}
	canon_text(c, "origin", r->origin, JSON_TEXT_MAX);
	if (v->silent > 0)
		canon_text(c, "silent_witnesses", v->silence, JSON_TEXT_MAX);
	canon_int(c, "size", (int64_t)r->size);
	canon_token(c, "state", v->state != LOG_GOOD ? "rolled_back" : restore_is_certain(r) ? "good" : "not_known");
	if (v->state != LOG_GOOD)
		canon_text(c, "why", v->why, JSON_TEXT_MAX);
	canon_int(c, "witnesses_asked", v->asked);
	canon_close(c);
}

/* An array of objects: name, then each. */
static void json_begin_array(struct canon *c, const char *name)
{
	canon_member(c, name);
	canon_put(c, "[");
	c->needs_comma = false;
}

static void json_end_array(struct canon *c)
{
	canon_put(c, "]");
	c->needs_comma = true;
}

static void json_lists(struct canon *c, const struct restore_report *r)
{
	char id[2 * HSM_ID_LEN + 1];

	json_begin_array(c, "rootless");
	for (size_t i = 0; i < r->rootless_count; i++) {
		canon_begin_value(c);
		canon_open(c, NULL);
		canon_guid(c, "id", r->rootless[i].id);
		canon_text(c, "vault", r->rootless[i].name, JSON_TEXT_MAX);
		canon_close(c);
	}
	json_end_array(c);
	canon_open(c, "sweep");
	canon_int(c, "forged", (int64_t)r->sweep.forged);
	canon_int(c, "resurrected", (int64_t)r->sweep.resurrected);
	canon_close(c);
	json_begin_array(c, "unknown");
	for (size_t i = 0; i < r->unknown_count; i++) {
		hex_encode(r->unknown[i].id, HSM_ID_LEN, id);
		canon_begin_value(c);
		canon_open(c, NULL);
		canon_token(c, "for", purpose_text(r->unknown[i].purpose));
		canon_token(c, "obj", id);
		canon_close(c);
	}
	json_end_array(c);
}

kms_status restore_report_print_json(const struct restore_report *r, struct kms_err *err)
{
	size_t cap = JSON_BASE + JSON_OBJECT * (r->rootless_count + r->unknown_count);
	struct canon c = { .buf = malloc(cap), .cap = cap };

	if (c.buf == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "report");
	canon_open(&c, NULL);
	json_backup(&c, r);
	canon_text(&c, "database", r->database, JSON_TEXT_MAX);
	json_load(&c, &r->load);
	json_log(&c, r);
	canon_bool(&c, "rehearsal", r->is_rehearsal);
	json_lists(&c, r);
	canon_bool(&c, "whole", restore_is_whole(r));
	canon_close(&c);
	(void)printf("%.*s\n", (int)c.len, c.buf);
	free(c.buf);
	return c.is_over ? kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "the report is longer than was counted on") : KMS_OK;
}
