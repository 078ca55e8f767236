/* server/verify/summary.c - what was looked at, for people and for programs. */
#include <time.h>

#include "server/verify/verify.h"

#define UTC_LEN 32
#define HEX_LEN (2 * KEY_ID_LEN)

static struct span text_of(const char *text) { return (struct span){ text, strlen(text) }; }

static void format_utc(uint64_t t, char ret[UTC_LEN])
{
	time_t when = (time_t)t;
	struct tm tm;

	ret[0] = '\0';
	if (gmtime_r(&when, &tm) != NULL)
		(void)strftime(ret, UTC_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static uint64_t newest_cosignature(const struct verify *v)
{
	uint64_t newest = 0;

	for (size_t i = 0; i < v->note_count; i++) {
		if (v->notes[i].is_signed && v->notes[i].newest_s > newest)
			newest = v->notes[i].newest_s;
	}
	return newest;
}

/* The leaves' own word; else, as in a part without the first leaf, that of the signed checkpoints, when they agree. */
static struct span log_origin(const struct verify *v)
{
	struct span origin = text_of(v->origin);

	for (size_t i = 0; i < v->note_count && v->origin[0] == '\0'; i++) {
		const struct signed_note *n = &v->notes[i];
		if (!n->is_signed)
			continue;
		if (origin.n > 0 && !span_same(origin, n->checkpoint.origin))
			return (struct span){ 0 };
		origin = n->checkpoint.origin;
	}
	return origin;
}

/* Lines of others than the log, whose keys are not known. With a policy that is as it was asked for. */
static uint64_t unchecked_cosignatures(const struct verify *v)
{
	uint64_t count = 0;

	for (size_t i = 0; i < v->note_count && !v->has_policy; i++) {
		const struct signed_note *n = &v->notes[i];
		for (size_t k = 0; k < n->note.count; k++)
			count += n->is_signed && n->verdicts[k].state == LINE_UNKNOWN && !span_same(n->note.lines[k].name, n->checkpoint.origin);
	}
	return count;
}

static const char *kind_name(enum signed_kind kind)
{
	return kind == SIGNED_TRUSTED ? "trusted checkpoint" : kind == SIGNED_BUNDLE ? "bundle" : "checkpoint";
}

static void print_id(FILE *out, const uint8_t id[KEY_ID_LEN])
{
	for (size_t i = 0; i < KEY_ID_LEN; i++)
		(void)fprintf(out, "%02x", id[i]);
}

static void print_event(const struct leaf *l, FILE *out)
{
	(void)fprintf(out, "  event: seq %llu, ", (unsigned long long)l->seq);
	print_escaped(out, l->ts);
	(void)fprintf(out, ", ");
	print_escaped(out, l->type_name);
	(void)fprintf(out, ", %s", leaf_result_name(l->result));
	if (l->key_name.n > 0) {
		(void)fprintf(out, ", key ");
		print_escaped(out, l->key_name);
	}
	(void)putc('\n', out);
}

static void print_note(const struct verify *v, const struct signed_note *n, FILE *out)
{
	char when[UTC_LEN];

	(void)fprintf(out, "%s ", kind_name(n->kind));
	print_escaped(out, text_of(n->file));
	(void)fprintf(out, ": size %llu, ", (unsigned long long)n->checkpoint.size);
	if (!n->is_signed) {
		(void)fprintf(out, "NOT VERIFIED\n");
		return;
	}
	(void)fprintf(out, "signed by ");
	print_escaped(out, text_of(v->keys.list[n->log_key].name));
	(void)putc('+', out);
	print_id(out, v->keys.list[n->log_key].id);
	for (size_t i = 0; i < n->note.count; i++) {
		const struct key *k = &v->keys.list[n->verdicts[i].key];
		if (n->verdicts[i].state != LINE_GOOD || k->role != ROLE_WITNESS)
			continue;
		format_utc(n->verdicts[i].time_s, when);
		(void)fprintf(out, ", witnessed by ");
		print_escaped(out, text_of(k->name));
		(void)fprintf(out, " at %s", when);
	}
	(void)fprintf(out, "%s\n", n->root == ROOT_FITS ? ", root as the leaves give it" : "");
	if (verify_event(n) != NULL)
		print_event(verify_event(n), out);
}

static void print_certificate(const struct verify *v, const struct certificate *c, FILE *out)
{
	(void)fprintf(out, "certificate ");
	print_escaped(out, text_of(c->file));
	if (!c->is_readable || !c->is_signed) {
		(void)fprintf(out, ": NOT VERIFIED\n");
		return;
	}
	(void)fprintf(out, ": ");
	print_escaped(out, c->id);
	(void)fprintf(out, ", ");
	print_escaped(out, c->state);
	(void)fprintf(out, ", vault ");
	print_escaped(out, c->tenant);
	(void)fprintf(out, ", %zu destroyed", c->key_count);
	for (size_t i = 0; i < c->note.count; i++) {
		bool is_known = c->verdicts[i].state == LINE_GOOD;
		(void)fprintf(out, is_known ? ", signed by " : ", not checked: ");
		print_escaped(out, is_known ? text_of(v->keys.list[c->verdicts[i].key].name) : c->note.lines[i].name);
	}
	(void)fprintf(out, "%s\n", v->has_log ? "" : ", not compared with a log");
}

static void print_log(const struct verify *v, FILE *out)
{
	if (!v->has_leaves) {
		(void)fprintf(out, "log: no leaves\n");
		return;
	}
	(void)fprintf(out, "log: origin ");
	print_escaped(out, log_origin(v).n > 0 ? log_origin(v) : SPAN("unknown"));
	(void)fprintf(out, ", seq %llu to %llu", (unsigned long long)v->first_seq, (unsigned long long)(v->next_seq - 1));
	if (v->first_ts[0] != '\0')
		(void)fprintf(out, ", %s to %s", v->first_ts, v->last_ts);
	(void)fprintf(out, "\n%llu %s", (unsigned long long)v->leaves, v->leaves == 1 ? "leaf" : "leaves");
	if (v->hidden > 0)
		(void)fprintf(out, ", %llu of them known by their hash only", (unsigned long long)v->hidden);
	if (v->meaning.pruned.to > 0)
		(void)fprintf(out, "; the server says that it dropped the bodies below seq %llu", (unsigned long long)v->meaning.pruned.to);
	if (meaning_open_intents(&v->meaning) > 0)
		(void)fprintf(out, ", %llu intent%s still open", (unsigned long long)meaning_open_intents(&v->meaning), plural(meaning_open_intents(&v->meaning)));
	if (v->options.is_partial)
		(void)fprintf(out, "; PARTIAL: no root was computed, nothing shows that these leaves are what was signed");
	else if (v->next_seq > v->covered)
		(void)fprintf(out, ", the last %llu not under a signed checkpoint yet", (unsigned long long)(v->next_seq - v->covered));
	(void)putc('\n', out);
	for (unsigned t = 0; t < T_COUNT; t++) {
		if (v->counts[t] > 0)
			(void)fprintf(out, "  %10llu %s\n", (unsigned long long)v->counts[t], leaf_type_name((enum leaf_type)t));
	}
}

void verify_print(const struct verify *v, FILE *out)
{
	uint64_t findings = report_findings(&v->report), warnings = report_warnings(&v->report), newest = newest_cosignature(v);
	uint64_t unchecked = unchecked_cosignatures(v);
	char when[UTC_LEN];

	report_print(&v->report, out);
	if (v->has_log)
		print_log(v, out);
	for (size_t i = 0; i < v->note_count; i++)
		print_note(v, &v->notes[i], out);
	for (size_t i = 0; i < v->certificate_count; i++)
		print_certificate(v, &v->certificates[i], out);
	if (newest > 0) {
		format_utc(newest, when);
		(void)fprintf(out, "newest cosignature: %s\n", when);
	}
	if (unchecked > 0)
		(void)fprintf(out, "%llu cosignature%s not checked (use --policy)\n", (unsigned long long)unchecked, plural(unchecked));
	(void)fprintf(out, "%s: %llu finding%s, %llu warning%s\n", findings == 0 ? "VERIFIED" : "FAILED", (unsigned long long)findings, plural(findings),
	              (unsigned long long)warnings, plural(warnings));
}

/* ---- for programs ---- */

static void json_event(const struct leaf *l, FILE *out)
{
	(void)fprintf(out, "\"event\":{");
	if (l->key_name.n > 0) {
		(void)fprintf(out, "\"key\":");
		print_json_string(out, l->key_name);
		(void)putc(',', out);
	}
	(void)fprintf(out, "\"result\":\"%s\",\"seq\":%llu,\"ts\":", leaf_result_name(l->result), (unsigned long long)l->seq);
	print_json_string(out, l->ts);
	(void)fprintf(out, ",\"type\":");
	print_json_string(out, l->type_name);
	(void)fprintf(out, "},");
}

static void json_note(const struct verify *v, const struct signed_note *n, FILE *out)
{
	bool needs_comma = false;

	(void)putc('{', out);
	if (verify_event(n) != NULL)
		json_event(verify_event(n), out);
	(void)fprintf(out, "\"file\":");
	print_json_string(out, text_of(n->file));
	(void)fprintf(out, ",\"kind\":\"%s\",\"origin\":", kind_name(n->kind));
	print_json_string(out, n->checkpoint.origin);
	(void)fprintf(out, ",\"quorum\":%s,\"root_fits\":%s,\"signed\":%s,\"size\":%llu,\"witnesses\":[", n->has_quorum ? "true" : "false",
	              n->root == ROOT_FITS || verify_event(n) != NULL ? "true" : "false", n->is_signed ? "true" : "false", (unsigned long long)n->checkpoint.size);
	for (size_t i = 0; i < n->note.count; i++) {
		const struct key *k = &v->keys.list[n->verdicts[i].key];
		if (n->verdicts[i].state != LINE_GOOD || k->role != ROLE_WITNESS)
			continue;
		(void)fprintf(out, "%s{\"name\":", needs_comma ? "," : "");
		print_json_string(out, text_of(k->name));
		(void)fprintf(out, ",\"time\":%llu}", (unsigned long long)n->verdicts[i].time_s);
		needs_comma = true;
	}
	(void)fprintf(out, "]}");
}

static void json_certificate(const struct certificate *c, FILE *out)
{
	(void)fprintf(out, "{\"file\":");
	print_json_string(out, text_of(c->file));
	(void)fprintf(out, ",\"id\":");
	print_json_string(out, c->id);
	(void)fprintf(out, ",\"signed\":%s,\"state\":", c->is_signed ? "true" : "false");
	print_json_string(out, c->state);
	(void)putc('}', out);
}

static void json_log(const struct verify *v, FILE *out)
{
	bool needs_comma = false;

	(void)fprintf(out, ",\"log\":{\"covered\":%llu,\"first_seq\":%llu,\"first_ts\":\"%s\",\"hidden\":%llu,\"last_seq\":%llu,\"last_ts\":\"%s\",\"leaves\":%llu,"
	              "\"open_intents\":%llu,\"origin\":", (unsigned long long)v->covered, (unsigned long long)v->first_seq, v->first_ts,
	              (unsigned long long)v->hidden, (unsigned long long)(v->next_seq - 1), v->last_ts, (unsigned long long)v->leaves,
	              (unsigned long long)meaning_open_intents(&v->meaning));
	print_json_string(out, log_origin(v));
	(void)fprintf(out, ",\"partial\":%s,\"types\":{", v->options.is_partial ? "true" : "false");
	for (unsigned t = 0; t < T_COUNT; t++) {
		if (v->counts[t] == 0)
			continue;
		(void)fprintf(out, "%s\"%s\":%llu", needs_comma ? "," : "", leaf_type_name((enum leaf_type)t), (unsigned long long)v->counts[t]);
		needs_comma = true;
	}
	(void)fprintf(out, "}}");
}

void verify_print_json(const struct verify *v, FILE *out)
{
	(void)fprintf(out, "{\"certificates\":[");
	for (size_t i = 0; i < v->certificate_count; i++) {
		(void)fprintf(out, "%s", i > 0 ? "," : "");
		json_certificate(&v->certificates[i], out);
	}
	(void)fprintf(out, "],\"checkpoints\":[");
	for (size_t i = 0; i < v->note_count; i++) {
		(void)fprintf(out, "%s", i > 0 ? "," : "");
		json_note(v, &v->notes[i], out);
	}
	(void)fprintf(out, "],\"exit\":%d,", report_exit(&v->report));
	report_print_json(&v->report, out);
	if (v->has_leaves)
		json_log(v, out);
	(void)fprintf(out, ",\"newest_cosignature\":%llu}\n", (unsigned long long)newest_cosignature(v));
}
