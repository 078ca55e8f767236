/* server/core/log_self_check.c - what `holdfast check` says: how the log stands, and what the present set-up could never notice. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/approval.h"
#include "server/core/log_accept.h"
#include "server/core/log_admin.h"
#include "server/core/witness.h"

#define US_PER_S 1000000
#define PIN_OLD_S 600
#define WITNESS_OLD_S 3600
#define CLOCK_SKEW_S 60
#define CLOSED_MAX 16

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
		say(l, "log", CHECK_BAD, "The oldest event without a checkpoint has waited %" PRId64 " ms: %s. Until it is signed only what takes access away is served.",
		    s->oldest_unsigned_ms, s->last_failure.status != KMS_OK ? reason_of(&s->last_failure) : "the key device does not answer");
		return;
	case LOG_ROLLED_BACK:
		if (is_accepted(op, &s->verdict, next)) {
			say(l, "log", CHECK_BAD, "Accepted: restart the server; log %s begins. (%s.)", next, s->verdict.why);
			return;
		}
		say(l, "log", CHECK_BAD, "%s. Restore the newest database; or accept this one with `holdfast log accept-rollback`, which needs an approver.",
		    s->verdict.why);
		return;
	case LOG_DAMAGED: break;
	}
	say(l, "log", CHECK_BAD, "The database returned something else than was written to it: %s. Check the disk, and restore a good database.",
	    s->last_failure.status != KMS_OK ? reason_of(&s->last_failure) : "its root differs");
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

static bool is_in_files(const struct hsm_info *device) { return strstr(device->manufacturer, "SoftHSM") != NULL; }

static void check_device(struct lines *l, const struct hsm_info *device)
{
	if (!device->is_available)
		say(l, "device", CHECK_BAD, "The key device does not answer; nothing is signed.");
	if (is_in_files(device))
		say(l, "token", CHECK_WARN,
		    "The token %s is a directory of files (%s). Whoever copies it has the keys, the log key included; copied back together with an older database it is no "
		    "witness against it. A hardware module keeps both from happening.", device->label, device->manufacturer);
	else
		say(l, "token", CHECK_GOOD, "The token %s is in a device (%s %s): its pin cannot be copied back with a database.", device->label, device->manufacturer,
		    device->model);
}

static void check_witness(struct lines *l, const struct witness_status *w, int64_t now_s)
{
	if (w->refuses)
		say(l, "witness", CHECK_BAD, "%s refuses our checkpoints (%s): it knows another log under this name, or does not know this one. Find out why before "
		    "anything else.", w->name, w->failure);
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
		    "run on another machine, under other hands (`holdfast witness`).", is_in_files(device) ? "the token's files" : "a restored token");
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

size_t log_self_check(struct op *op, struct check_line ret[CHECK_LINES_MAX])
{
	struct lines l = { .line = ret };
	struct hsm_info device = { 0 };
	struct log_status s = { 0 };

	log_status(op->kms->log, &s);
	hsm_info(op->kms->hsm, &device);
	check_state(&l, op, &s);
	check_checkpoint(&l, op, &s);
	check_pin(&l, op, &s);
	check_key(&l, op);
	check_device(&l, &device);
	check_witnesses(&l, op, &s, &device);
	check_approvers(&l, op);
	check_closed(&l, op);
	return l.count;
}
