/* api/h_export.c - the exports of the event log: where each stands; and the log pulled in a format of theirs (docs/export.md). */
#include <stdlib.h>

#include "api/entries.h"
#include "api/view.h"
#include "server/feed/export.h"

static json_t *export_object(const struct export_state *s)
{
	json_t *o = json_object();

	view_put_text(&o, "name", s->name);
	view_put_text(&o, "format", format_name(s->format));
	view_put_text(&o, "to", s->to);
	json_put(&o, "required", json_boolean(s->is_required));
	json_put(&o, "settled", json_integer((json_int_t)s->feed.settled));
	json_put(&o, "size", json_integer((json_int_t)s->feed.size));
	json_put(&o, "behind_ms", json_integer(s->feed.behind_ms));
	json_put(&o, "rejected", json_integer((json_int_t)s->rejected));
	json_put(&o, "failures", json_integer((json_int_t)s->feed.failures));
	json_put(&o, "failing", json_boolean(s->feed.is_failing));
	json_put(&o, "stops_service", json_boolean(s->stops_service));
	if (s->feed.failure[0] != '\0')
		view_put_text(&o, "failure", s->feed.failure);
	return o;
}

kms_status api_exports(struct request *r, struct kms_err *err)
{
	struct export_state states[EXPORTS_MAX];
	size_t count = exports_state(request_exports(r), states);
	JSON_AUTO *value = json_array();

	op_det_text(&r->op, "what", "exports");
	for (size_t i = 0; i < count; i++)
		json_add(&value, export_object(&states[i]));
	return reply_json(r, 200, json_pack("{s:o}", "value", KMS_TAKE(value)), err);
}

/* ---- pulled ---- */

kms_status entries_format(const struct request *r, enum feed_format *ret, struct kms_err *err)
{
	const char *text = query_get(r, "format");
	enum feed_format format = text != NULL ? format_parse(text) : FORMAT_NATIVE;

	if (format != FORMAT_NATIVE && format != FORMAT_AZURE)
		return kms_refuse(err, KMS_E_INVALID, "format: must be native or azure.");
	*ret = format;
	return KMS_OK;
}

static kms_status write_record(struct request *r, enum feed_format format, struct facts_cache *cache, struct prune_cover *cover, struct store_event *e, FILE *out, struct kms_err *err)
{
	LEAF_AUTO leaf = { 0 };
	struct format_facts facts;
	char *text = NULL;
	size_t len = 0;

	KMS_TRY(leaf_load(r->op.kms, r->op.store, e, cover, &leaf, err));
	if (leaf.is_damaged)
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "leaf %llu is not what was hashed", (unsigned long long)leaf.seq);
	if (!format_takes(format, &leaf))
		return KMS_OK;
	KMS_TRY(facts_of(cache, r->op.kms, r->op.store, &leaf, &facts, err));
	KMS_TRY(format_leaf(format, &leaf, &facts, &text, &len, err));
	(void)fwrite(text, 1, len, out); /* whoever opened it looks for its failures */
	(void)fputc('\n', out);
	free(text);
	return KMS_OK;
}

/* One row at a time: the database may be truncated and written in between. */
kms_status entries_write(struct request *r, enum feed_format format, uint64_t start, uint64_t end,
                         bool (*may_see)(const struct request *r, const struct store_event *e), FILE *out, struct kms_err *err)
{
	struct facts_cache cache = { 0 };
	struct prune_cover cover = { 0 };
	kms_status status = KMS_OK;

	for (uint64_t seq = start; seq < end && status == KMS_OK; seq++) {
		struct store_event e = { 0 };
		status = store_event(r->op.store, seq, &e, err);
		if (status == KMS_OK && may_see(r, &e))
			status = write_record(r, format, &cache, &cover, &e, out, err);
		store_event_clear(&e);
	}
	return status;
}
