/* api/h_log.c - the management API: how the event log stands, what the set-up can notice, its key, its acceptance (docs/admin-api.md). */
#include <inttypes.h>
#include <string.h>

#include "api/view.h"
#include "server/core/log_admin.h"
#include "server/feed/feed.h"

#define OFFSET(member) offsetof(union request_body, member)
#define US_PER_S 1000000
#define FEED_TEXT_MAX 320

/* ---- schemas: our own dialect refuses unknown members ---- */

static const struct json_field ROTATE_FIELDS[] = { { .name = NULL } };
const struct json_schema LOG_ROTATE_SCHEMA = { .name = "LogRotateKeyRequest", .fields = ROTATE_FIELDS, .size = sizeof(union request_body),
	                                       .is_strict = true, .may_be_empty = true };

static const struct json_field ACCEPT_FIELDS[] = {
	{ .name = "reason", .kind = J_STRING, .offset = OFFSET(log_accept.reason), .flag = J_NO_FLAG, .required = true, .min = 1, .max = STORE_REASON_MAX },
	{ .name = NULL },
};
const struct json_schema LOG_ACCEPT_SCHEMA = { .name = "LogAcceptRequest", .fields = ACCEPT_FIELDS, .size = sizeof(union request_body), .is_strict = true };

/* ---- how it stands ---- */

static void put_time(json_t **o, const char *name, int64_t us)
{
	if (us > 0)
		json_put(o, name, json_integer(us / US_PER_S));
}

static json_t *audit_object(const struct kms *kms)
{
	struct log_status s = { 0 };
	json_t *o = json_object();

	log_status(kms->log, &s);
	view_put_text(&o, "state", api_log_state_name(s.state));
	json_put(&o, "signed_size", json_integer((json_int_t)s.signed_size));
	put_time(&o, "signed", s.signed_us);
	json_put(&o, "pinned_size", json_integer((json_int_t)s.pinned_size));
	put_time(&o, "pinned", s.pinned_us);
	json_put(&o, "late_ms", json_integer(s.oldest_unsigned_ms));
	if (s.verdict.has_known)
		json_put(&o, "known_size", json_integer((json_int_t)s.verdict.known_size));
	if (s.verdict.why[0] != '\0')
		view_put_text(&o, "why", s.verdict.why);
	if (s.last_failure.status != KMS_OK)
		view_put_text(&o, "failure", s.last_failure.detail[0] != '\0' ? s.last_failure.detail : kms_err_text(&s.last_failure));
	return o;
}

kms_status api_status(struct request *r, struct kms_err *err)
{
	struct readiness ready = { 0 };
	bool is_ready = api_is_ready(r, &ready);
	struct writer_state w = { 0 };
	char root[B64_LEN(MERKLE_HASH_LEN) + 1];

	op_det_text(&r->op, "what", "status");
	writer_state(r->op.kms->writer, &w);
	b64_encode(w.root, sizeof(w.root), root);
	return reply_json(r, 200, json_pack("{s:b,s:s,s:s,s:s,s:s,s:I,s:s,s:I,s:o}", "ready", (int)is_ready, "hsm", ready.hsm, "storage", ready.storage,
	                                    "log", ready.log, "log_origin", r->op.kms->origin, "log_size", (json_int_t)w.size, "log_root", root,
	                                    "refused", (json_int_t)w.refused, "audit", audit_object(r->op.kms)), err);
}

/* Whoever looks after this server learns here that alerts, webhooks or exports do not get through, and why. */
static void add_feeds(const struct feeds *feeds, json_t **value)
{
	struct feed_state states[FEEDS_MAX];
	size_t count = feeds != NULL ? feeds_state(feeds, states) : 0;

	for (size_t i = 0; i < count; i++) {
		const struct feed_state *s = &states[i];
		char text[FEED_TEXT_MAX];
		if (s->is_failing)
			(void)snprintf(text, sizeof(text), "failing, tried again: %s. %" PRIu64 " of %" PRIu64 " events are done; nothing is lost.", s->failure, s->settled, s->size);
		else
			(void)snprintf(text, sizeof(text), "%" PRIu64 " of %" PRIu64 " events are done.", s->settled, s->size);
		json_add(value, json_pack("{s:s,s:s,s:s}", "name", s->name, "result", s->is_failing ? "warn" : "good", "text", text));
	}
}

kms_status api_check(struct request *r, struct kms_err *err)
{
	static const char *const RESULTS[] = { [CHECK_GOOD] = "good", [CHECK_WARN] = "warn", [CHECK_BAD] = "bad" };
	struct check_line lines[CHECK_LINES_MAX];
	JSON_AUTO *value = json_array();
	size_t count = 0;

	op_det_text(&r->op, "what", "check");
	count = log_self_check(&r->op, lines);
	for (size_t i = 0; i < count; i++)
		json_add(&value, json_pack("{s:s,s:s,s:s}", "name", lines[i].name, "result", RESULTS[lines[i].result], "text", lines[i].text));
	add_feeds(request_feeds(r), &value);
	return reply_json(r, 200, json_pack("{s:o}", "value", KMS_TAKE(value)), err);
}

/* ---- what is done with it ---- */

kms_status api_log_rotate_key(struct request *r, struct kms_err *err)
{
	char old_key[NOTE_VKEY_MAX + 1] = "", new_key[NOTE_VKEY_MAX + 1] = "";

	KMS_TRY(log_rotate_key(&r->op, old_key, new_key, err));
	return reply_json(r, 200, json_pack("{s:s,s:s}", "old_key", old_key, "new_key", new_key), err);
}

kms_status api_log_accept(struct request *r, struct kms_err *err)
{
	char next[STORE_ORIGIN_MAX + 1] = "";

	KMS_TRY(log_accept(&r->op, r->body.log_accept.reason, next, err));
	return reply_json(r, 200, json_pack("{s:s,s:s}", "next_origin", next, "next_step",
	                                    "Restart the server: the old log is closed, and the next one begins with this database."), err);
}
