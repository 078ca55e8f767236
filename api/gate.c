/* api/gate.c - what the state of the event log means for requests (checkpoint.h): which are served, and whose answers wait for a checkpoint. */
#include <stdio.h>

#include "api/service.h"

/* ---- which are served ---- */

static kms_status refuse_rolled_back(struct kms_err *err)
{
	return kms_refuse(err, KMS_E_INTEGRITY,
	                  "The event log does not hold what was signed before: an older copy of the database was put in place, or it was altered. Until that is "
	                  "settled only the log itself is served: restore the newest database, or an administrator decides with `holdfast log accept-rollback`.");
}

static kms_status refuse_late(struct checkpointer *log, struct kms_err *err)
{
	struct log_status s;

	log_status(log, &s);
	if (s.is_held)
		return kms_refuse(err, KMS_E_AUDIT,
		                  "An export of the event log that is required has fallen too far behind, so only what takes access away, logins and the log itself are served "
		                  "until it has caught up; retry later. Administrators see the reason with `holdfast log exports`.");
	return kms_refuse(err, KMS_E_AUDIT,
	                  "The newest events have waited too long for their signed checkpoint, so only what takes access away, logins and the log itself are served "
	                  "until the key device signs again; retry later. Administrators see the reason in `holdfast status`.");
}

kms_status gate_admit(struct request *r)
{
	enum log_state state = log_state(r->api->cfg.kms->log);

	if (state == LOG_GOOD || (r->route != NULL ? route_runs(r->route, state) : r->is_public_path))
		return KMS_OK;
	if (state == LOG_ROLLED_BACK)
		return refuse_rolled_back(&r->verdict_err);
	if (state == LOG_LATE)
		return refuse_late(r->api->cfg.kms->log, &r->verdict_err);
	return kms_refuse(&r->verdict_err, KMS_E_INTEGRITY,
	                  "The event log's storage returned something else than was written to it, so no checkpoint is signed, and only the log itself is served. An "
	                  "administrator checks the disk, then restores a good database or decides with `holdfast log accept-rollback`.");
}

kms_status gate_founding(struct request *r, struct kms_err *err)
{
	enum log_state state = log_state(r->api->cfg.kms->log);
	bool is_founded = false;

	if (route_runs_in_log(r->route) != RUNS_TO_FOUND || state == LOG_GOOD || state == LOG_LATE)
		return KMS_OK;
	KMS_TRY(approval_is_founded(r->op.store, NULL, &is_founded, err));
	return is_founded ? refuse_rolled_back(err) : KMS_OK;
}

kms_status gate_update(struct request *r, struct kms_err *err)
{
	const struct body_common *c = &r->body.common;
	bool disables = c->has_enabled && !c->is_enabled;

	if (!disables && log_state(r->api->cfg.kms->log) == LOG_LATE)
		r->verdict = refuse_late(r->api->cfg.kms->log, err); /* as on admission, where the body was not known: counted, and not said each time */
	return r->verdict;
}

/* ---- seals: answers that wait for a checkpoint (audit-log.md 5.4) ---- */

/* On the checkpointer's thread. What was done stays done: the answer must say so, and that only its proof is missing. */
static void sealed(struct seal *s)
{
	struct request *r = (struct request *)((char *)s - offsetof(struct request, seal));
	struct kms_err err = { .status = KMS_E_AUDIT };

	if (s->status != KMS_OK) {
		(void)snprintf(err.message, sizeof(err.message),
		               "The operation %s, and is in the event log as leaf %llu; only the signed checkpoint that covers it is missing, or the "
		               "witnesses' signatures under that, so its answer is withheld. Do not repeat it blindly: look at its effect first. Administrators see the "
		               "reason in `holdfast status` and `holdfast check`.",
		               r->op.write.event.result == EVENT_OK ? "was done" : "was refused or failed", (unsigned long long)s->seq);
		reply_error(r, &err);
		request_log_failure(r, &err);
	}
	reply_send(r, true);
}

/* Critical acts always, whatever became of the log meanwhile; everything, when the configuration says so, as long as it is signed: what runs while it is not must
 * work without. What failed or was refused is nothing to prove. */
static bool needs_seal(const struct request *r)
{
	struct checkpointer *log = r->api->cfg.kms->log;
	const struct event *e = &r->op.write.event;

	return (log_is_critical(e->type) && e->result == EVENT_OK) || (log_is_strict(log) && log_state(log) == LOG_GOOD);
}

void gate_answer(struct request *r)
{
	if (!needs_seal(r)) {
		reply_send(r, true);
		return;
	}
	r->seal = (struct seal){ .seq = r->op.write.seq, .done = sealed, .is_critical = log_is_critical(r->op.write.event.type) };
	log_seal_async(r->api->cfg.kms->log, &r->seal);
}
