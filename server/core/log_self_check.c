/* server/core/log_self_check.c - what `holdfast check` says: how the log stands, what the present set-up could never notice, and whether there is anything to go back to. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/approval.h"
#include "server/core/destruction.h"
#include "server/core/log_accept.h"
#include "server/core/log_admin.h"
#include "server/core/server_backup.h"
#include "server/core/witness.h"

#define US_PER_S 1000000
#define PIN_OLD_S 600
#define WITNESS_OLD_S 3600
#define CLOCK_SKEW_S 60
#define CLOSED_MAX 16
#define DAY_S (24 * 3600)
#define HOUR_S 3600
#define BY_HAND_OLD_S (7 * DAY_S) /* where no schedule says how old a backup may be */
#define EPOCH_LATE_S DAY_S
#define BACKUPS_PAGE 16
#define EPOCHS_PAGE 16

struct lines {
	struct check_line *line;
	size_t count;
};

__attribute__((format(printf, 4, 5))) static void say(struct lines *l, const char *name, enum check_result result, const char *format, ...)
{
	struct check_line *c = &l->line[l->count];
	va_list args;

	if (l->count == CHECK_LINES_MAX)
		return;
	l->count++;
	c->name = name;
	c->result = result;
	va_start(args, format);
	(void)vsnprintf(c->text, sizeof(c->text), format, args);
	va_end(args);
}

static const char *reason_of(const struct kms_err *e) { return e->detail[0] != '\0' ? e->detail : kms_err_text(e); }

/* Was what was found accepted already? Then only the restart is missing. @param ret_next  the log that begins there */
static bool is_accepted(const struct op *op, const struct log_verdict *v, char ret_next[STORE_ORIGIN_MAX + 1])
{
	struct log_acceptance a = { 0 };
	bool holds = false;

	return log_acceptance_take(op->store, op->kms->hsm, &op->kms->inst, &a, NULL) == KMS_OK &&
	       log_acceptance_holds(op->store, &a, op->kms->origin, v, &holds, NULL) == KMS_OK && holds &&
	       log_next_origin(v->known_origin[0] != '\0' ? v->known_origin : op->kms->origin, ret_next);
}

/* What the database, or a witness of it, says is less than what is known. */
static bool is_judged(struct lines *l, const char *name, const struct log_status *s)
{
	if (s->state != LOG_ROLLED_BACK)
		return true;
	say(l, name, CHECK_WARN, "Not judged: the log is rolled back.");
	return false;
}

static void check_state(struct lines *l, const struct op *op, const struct log_status *s)
{
	char next[STORE_ORIGIN_MAX + 1];

	switch (s->state) {
	case LOG_GOOD:
		say(l, "log", CHECK_GOOD, "%s holds what was signed and pinned.", op->kms->origin);
		return;
	case LOG_LATE:
		if (s->is_held) {
			say(l, "log", CHECK_BAD, "A required export is too far behind: `holdfast log exports`. Until it has caught up only what takes access away is served.");
			return;
		}
		say(l, "log", CHECK_BAD, "The oldest event without a checkpoint has waited %" PRId64 " ms: %s. Until it is signed only what takes access away is served.",
		    s->oldest_unsigned_ms, s->last_failure.status != KMS_OK ? reason_of(&s->last_failure) : "the key device does not answer");
		return;
	case LOG_ROLLED_BACK:
		if (is_accepted(op, &s->verdict, next)) {
			say(l, "log", CHECK_BAD, "Accepted: restart the server; log %s begins. (%s.)", next, s->verdict.why);
			return;
		}
		say(l, "log", CHECK_BAD, "%s. Put the newest database back; or go on with this one: `holdfast certificate enforce FILE` for all that was destroyed since, then "
		    "`holdfast log accept-rollback`, which needs an approver.", s->verdict.why);
		return;
	case LOG_DAMAGED: break;
	}
	say(l, "log", CHECK_BAD, "The database returned something else than was written to it: %s. Check the disk, and restore a good database.",
	    s->last_failure.status != KMS_OK ? reason_of(&s->last_failure) : "its root differs");
}

/* What readers have met since the start. */
static void check_leaves(struct lines *l, const struct log_status *s)
{
	if (s->damaged > 0)
		say(l, "log-bodies", CHECK_BAD, "%u event%s%s in the database %s not what was written there, first: %s. Somebody has changed the database, or the disk has. The tree is whole: "
		    "find the body in an export, an archive or a backup (its hash tells the right one), and look for who could write to the database.",
		    s->damaged, s->damaged == LOG_DAMAGED_MAX ? " or more" : "", s->damaged == 1 ? "" : "s", s->damaged == 1 ? "is" : "are", s->damage);
}

static void check_checkpoint(struct lines *l, struct op *op, const struct log_status *s)
{
	struct writer_state w = { 0 };
	int64_t age_s = clock_wall_s(op->kms->clock) - s->signed_us / US_PER_S;

	writer_state(op->kms->writer, &w);
	if (w.is_failing)
		say(l, "storage", CHECK_BAD, "The event log cannot be written: free space on the database's disk, or look at the disk.");
	if (!is_judged(l, "checkpoint", s))
		return;
	if (!s->has_checkpoint)
		say(l, "checkpoint", CHECK_BAD, "None was signed yet: nothing of the log can be proved.");
	else if (s->last_failure.status != KMS_OK)
		say(l, "checkpoint", CHECK_WARN, "The newest covers %" PRIu64 " of %" PRIu64 " events; since then: %s.", s->signed_size, w.size, reason_of(&s->last_failure));
	else
		say(l, "checkpoint", CHECK_GOOD, "The newest covers %" PRIu64 " of %" PRIu64 " events and is %" PRId64 " s old; %s.", s->signed_size, w.size, age_s,
		    log_is_strict(op->kms->log) ? "every answer waits for one (log.strict)" : "critical acts wait for one");
}

/* What is cut off from the log must be cut off in the device too. */
static void check_pin(struct lines *l, struct op *op, const struct log_status *s)
{
	int64_t age_s = clock_wall_s(op->kms->clock) - s->pinned_us / US_PER_S;

	if (!is_judged(l, "pin", s))
		return;
	if (s->pinned_size == 0)
		say(l, "pin", CHECK_BAD, "No checkpoint is pinned in the key device: an older copy of the database would be noticed only by a witness.");
	else if (s->pinned_us == 0 && s->pinned_size < s->signed_size)
		say(l, "pin", CHECK_WARN, "The pin that is known covers %" PRIu64 " events, and none was made since the start: what was written since could be cut off unnoticed.",
		    s->pinned_size);
	else if (age_s > PIN_OLD_S && s->pinned_size < s->signed_size)
		say(l, "pin", CHECK_WARN, "The pin in the key device covers %" PRIu64 " events and is %" PRId64 " s old: what was written since could be cut off unnoticed.",
		    s->pinned_size, age_s);
	else
		say(l, "pin", CHECK_GOOD, "The key device remembers %" PRIu64 " events: an older copy of the database alone is noticed at the next start.", s->pinned_size);
}

static void check_key(struct lines *l, struct op *op)
{
	struct store_log_key k = { 0 };
	size_t count = 0;

	if (store_log_keys(op->store, &k, 1, &count, NULL) != KMS_OK || count == 0)
		say(l, "log-key", CHECK_BAD, "No log key is recorded.");
	else
		say(l, "log-key", CHECK_GOOD, "Generation %" PRIu32 ", in use for %" PRId64 " days: %s. Auditors need it from you, not from the log.", k.generation,
		    (clock_wall_s(op->kms->clock) - k.created_s) / (24 * 3600), k.vkey);
}

static void check_device(struct lines *l, const struct hsm_info *device)
{
	if (!device->is_available)
		say(l, "device", CHECK_BAD, "The key device does not answer; nothing is signed.");
	if (kms_token_is_files(device))
		say(l, "token", CHECK_WARN,
		    "The token %s is a directory of files (%s). Whoever copies it has the keys, the log key included; copied back together with an older database it is no "
		    "witness against it, and brings back what was destroyed. A hardware module keeps both from happening.", device->label, device->manufacturer);
	else
		say(l, "token", CHECK_GOOD, "The token %s is in a device (%s %s): its pin cannot be copied back with a database.", device->label, device->manufacturer,
		    device->model);
}

static void check_witness(struct lines *l, const struct witness_status *w, int64_t now_s)
{
	if (w->refuses)
		say(l, "witness", CHECK_BAD, "%s refuses our checkpoints (%s): it knows another log under this name, or does not know this one. Find out why before "
		    "anything else. After a rollback that was accepted it needs the key of the log that began then (holdfast log keys).", w->name, w->failure);
	else if (w->cosigned_s == 0)
		say(l, "witness", CHECK_WARN, "%s (%s) has signed nothing since this start%s%s.", w->name, w->url, w->failure[0] != '\0' ? ": " : "", w->failure);
	else if (w->failure[0] != '\0' || now_s - w->cosigned_s > WITNESS_OLD_S)
		say(l, "witness", CHECK_WARN, "%s last signed %" PRIu64 " events, %" PRId64 " s ago%s%s.", w->name, w->size, now_s - w->cosigned_s,
		    w->failure[0] != '\0' ? ": " : "", w->failure);
	else
		say(l, "witness", CHECK_GOOD, "%s has signed %" PRIu64 " events: database and token copied back together are noticed at the next start.", w->name, w->size);
}

/* The only clock besides our own is that of the witnesses. */
static void check_clock(struct lines *l, const struct witness_status *w, size_t count, int64_t now_s)
{
	int64_t newest_s = 0;

	for (size_t i = 0; i < count; i++)
		if (w[i].cosigned_s > newest_s)
			newest_s = w[i].cosigned_s;
	if (newest_s == 0)
		say(l, "clock", CHECK_WARN, "Nobody else's clock is known here: times in the log are this machine's alone. A witness dates what it signs.");
	else if (now_s < newest_s - CLOCK_SKEW_S)
		say(l, "clock", CHECK_BAD, "This machine's clock is %" PRId64 " s behind that of a witness.", newest_s - now_s);
	else
		say(l, "clock", CHECK_GOOD, "Not behind the newest time that a witness has signed.");
}

static void check_witnesses(struct lines *l, struct op *op, const struct log_status *s, const struct hsm_info *device)
{
	struct witness_status w[WITNESSES_MAX];
	int64_t now_s = clock_wall_s(op->kms->clock);
	size_t count = op->kms->witnesses != NULL ? witnesses_status(op->kms->witnesses, w, WITNESSES_MAX) : 0;

	if (count == 0)
		say(l, "witness", CHECK_WARN, "There is none: an older database and %s copied back together, as by a snapshot of the machine, cannot be noticed. Let a witness "
		    "run on another machine, under other hands (`holdfast witness`).", kms_token_is_files(device) ? "the token's files" : "a restored token");
	for (size_t i = 0; i < count; i++)
		if (w[i].refuses || is_judged(l, "witness", s))
			check_witness(l, &w[i], now_s);
	check_clock(l, w, count, now_s);
}

static void check_approvers(struct lines *l, struct op *op)
{
	bool one = false, two = false;

	if (approval_has_approvers(op, NULL, 1, &one, NULL) != KMS_OK || approval_has_approvers(op, NULL, 2, &two, NULL) != KMS_OK)
		say(l, "approvers", CHECK_WARN, "The installation's approvers could not be counted.");
	else if (!one)
		say(l, "approvers", CHECK_WARN, "Nobody may approve for the installation: whoever restores a database would make an approver first. Grant the role approver "
		    "to people who are not its administrators (`holdfast role grant @installation ID approver`).");
	else if (!two)
		say(l, "approvers", CHECK_WARN, "Only one person may approve for the installation: when he is away, a restored database cannot be accepted.");
	else
		say(l, "approvers", CHECK_GOOD, "Several people may approve for the installation.");
}

static void check_closed(struct lines *l, struct op *op)
{
	struct store_closed_log logs[CLOSED_MAX];
	size_t count = 0;

	if (store_closed_logs(op->store, logs, CLOSED_MAX, &count, NULL) != KMS_OK || count == 0)
		return;
	say(l, "former-logs", CHECK_WARN, "%zu log%s closed because an older database was accepted, last %s with %" PRIu64 " of %" PRIu64 " events. What was in the others "
	    "is only in copies of the log.", count, count == 1 ? " was" : "s were", logs[0].origin, logs[0].restored_size, logs[0].known_size);
}

/* The newest that can still be opened. @return KMS_OK | KMS_E_NOTFOUND (there is none) | KMS_E_STORE */
static kms_status newest_backup(struct op *op, struct store_backup *ret)
{
	struct store_backup page[BACKUPS_PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *from = NULL;
	kms_status found = KMS_E_NOTFOUND;
	size_t count = 0;

	do {
		KMS_TRY(store_backups(op->store, STORE_BACKUP_SERVER, NULL, from, page, BACKUPS_PAGE, &count, NULL));
		for (size_t i = 0; i < count; i++) {
			if (page[i].ends_s != STORE_NO_TIME || page[i].place[0] == '\0' || (found == KMS_OK && page[i].made_s <= ret->made_s))
				continue;
			*ret = page[i];
			found = KMS_OK;
		}
		if (count > 0)
			memcpy(after, page[count - 1].id, sizeof(after));
		from = after;
	} while (count == BACKUPS_PAGE);
	return found;
}

static void check_backups(struct lines *l, struct op *op)
{
	const struct backup_settings *b = op->kms->backups;
	struct store_backup newest = { .made_s = 0 };
	int64_t age_s = 0, old_s = 0;
	kms_status status;

	if (b == NULL || b->directory == NULL) {
		say(l, "backup", CHECK_WARN, "No backups of the server are configured (backup.directory): if this disk is lost, so is every key that is not an object of the token, "
		    "and the log. Copies of the database file made otherwise outlive what is destroyed in it.");
		return;
	}
	status = newest_backup(op, &newest);
	if (status != KMS_OK) {
		say(l, "backup", CHECK_WARN, "%s", status == KMS_E_NOTFOUND ? "There is no backup that could be restored: make one (`holdfast backup create`)."
		                                                            : "The list of backups could not be read.");
		return;
	}
	age_s = clock_wall_s(op->kms->clock) - newest.made_s;
	old_s = b->every_hours > 0 ? 2 * (int64_t)b->every_hours * HOUR_S : BY_HAND_OLD_S;
	say(l, "backup", age_s > old_s ? CHECK_WARN : CHECK_GOOD, "The newest is %s, %" PRId64 " h old, with %" PRIu64 " events%s. Is a copy of it on another machine, and the "
	    "token's keys in the backup of its vendor? `holdfastd restore --rehearse` shows what it is worth.", newest.place, age_s / HOUR_S, newest.size,
	    age_s > old_s ? ": the schedule has failed since (`holdfast log tail`)" : "");
}

/* An epoch that lives too long keeps alive what was destroyed. */
static void check_epochs(struct lines *l, struct op *op)
{
	struct store_epoch page[EPOCHS_PAGE];
	int64_t now_s = clock_wall_s(op->kms->clock), late_s = 0;
	uint32_t below = 0, number = 0;
	size_t count = 0, late = 0;

	do {
		if (store_epochs(op->store, below, page, EPOCHS_PAGE, &count, NULL) != KMS_OK) {
			say(l, "backup-epochs", CHECK_WARN, "The backup epochs could not be read.");
			return;
		}
		for (size_t i = 0; i < count; i++) {
			below = page[i].number;
			if (page[i].closed_s == STORE_NO_TIME || page[i].ended_s != STORE_NO_TIME || now_s < epoch_until(op->kms, &page[i]) + EPOCH_LATE_S)
				continue;
			late++;
			number = page[i].number; /* the oldest in the end */
			late_s = now_s - epoch_until(op->kms, &page[i]);
		}
	} while (count == EPOCHS_PAGE && below > 1);
	if (late > 0)
		say(l, "backup-epochs", CHECK_BAD, "%zu should have ended, epoch %" PRIu32 " %" PRId64 " days ago: its backups can still be opened, and certificates wait for it. The key "
		    "device refuses to destroy its key, or the server was stopped; `holdfast log tail` says.", late, number, late_s / DAY_S);
	else
		say(l, "backup-epochs", CHECK_GOOD, "Each backup epoch whose time has come has ended: nothing that was destroyed outlives it in a backup.");
}

/* As the sweep at start found the device. */
static void check_roots(struct lines *l, const struct op *op)
{
	const struct sweep_count *found = op->kms->swept;

	if (found == NULL)
		return;
	if (found->rootless == 0)
		say(l, "roots", CHECK_GOOD, "At the last start the key device held the root of every vault that lives.");
	else
		say(l, "roots", CHECK_BAD, "At the last start the root of %zu vault%s was not in the key device, first of %s: shredded or rotated after this database was written, or the "
		    "token is an older one. Their wrapped keys cannot be loaded. Look for a newer database or token; of what was destroyed, `holdfast certificate enforce`.",
		    found->rootless, found->rootless == 1 ? "" : "s", found->rootless_vault);
	if (found->forged > 0)
		say(l, "tombstones", CHECK_BAD, "%zu tombstone%s not made by this installation: somebody has written into the database. Nothing was destroyed for it.", found->forged,
		    found->forged == 1 ? " was" : "s were");
	if (found->resurrected > 0)
		say(l, "resurrected", CHECK_BAD, "At the last start %zu destroyed object%s in the key device again, and %s destroyed again: an older copy of the token was put in place. "
		    "Find out who did that, and whether there are more copies.", found->resurrected, found->resurrected == 1 ? " was" : "s were",
		    found->resurrected == 1 ? "was" : "were");
}

size_t log_self_check(struct op *op, struct check_line ret[CHECK_LINES_MAX])
{
	struct lines l = { .line = ret };
	struct hsm_info device = { 0 };
	struct log_status s = { 0 };

	log_status(op->kms->log, &s);
	hsm_info(op->kms->hsm, &device);
	check_state(&l, op, &s);
	check_leaves(&l, &s);
	check_checkpoint(&l, op, &s);
	check_pin(&l, op, &s);
	check_key(&l, op);
	check_device(&l, &device);
	check_witnesses(&l, op, &s, &device);
	check_approvers(&l, op);
	check_closed(&l, op);
	check_roots(&l, op);
	check_backups(&l, op);
	check_epochs(&l, op);
	return l.count;
}
