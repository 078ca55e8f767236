/* server/verify/explain.c - what a certificate says, once its signature is good; and what nobody has said. */
#include "server/verify/explain.h"

#define KEYS_SHOWN 20

static void put(FILE *out, struct span text) { print_escaped(out, text); }

static struct span text_of(struct span object, const char *name)
{
	struct span text = { 0 };

	(void)reader_member_string(object, name, &text);
	return text;
}

static struct span object_of(struct span object, const char *name)
{
	struct reader j;
	const char *start = NULL;

	if (!reader_member(object, name, &j))
		return (struct span){ 0 };
	start = j.p;
	return reader_skip(&j) ? (struct span){ start, (size_t)(j.p - start) } : (struct span){ 0 };
}

static struct span name_of(const struct key *k)
{
	return (struct span){ k->name, k->name_len };
}

/* ---- who ---- */

static void print_signers(const struct verify *v, const struct certificate *c, FILE *out)
{
	for (size_t i = 0; i < c->note.count; i++) {
		const struct key *k = &v->keys.list[c->verdicts[i].key];
		bool is_good = c->verdicts[i].state == LINE_GOOD;
		(void)fputs(!is_good ? "  not checked, since its key was not given: " : k->role == ROLE_APPROVER ? "  signed by the approver " : "  signed by the attestation key ", out);
		put(out, is_good ? name_of(k) : c->note.lines[i].name);
		(void)putc('\n', out);
	}
}

/* ---- what ---- */

static void print_key(struct span key, FILE *out)
{
	struct span name = text_of(key, "name"), kind = text_of(key, "kind"), ver = text_of(key, "ver");
	int64_t bits = 0;

	(void)fprintf(out, "    ");
	put(out, name.n > 0 ? name : kind);
	if (ver.n > 0) {
		(void)putc('/', out);
		put(out, ver);
		(void)fprintf(out, ", ");
		put(out, kind);
	}
	if (reader_member_int(key, "bits", &bits))
		(void)fprintf(out, ", %lld bits", (long long)bits);
	(void)fprintf(out, ", id ");
	put(out, text_of(key, "obj"));
	(void)putc('\n', out);
}

struct kinds {
	size_t roots, pseudonyms, residents, wrapped;
};

/* Resident versions are those whose type ends in -HSM. */
static struct kinds count_kinds(const struct certificate *c)
{
	static const char HSM[] = "-HSM";
	struct kinds n = { 0 };
	struct reader j;
	bool has_element = false;

	if (!reader_member(c->body, "keys", &j) || !reader_enter_array(&j))
		return n;
	while (reader_next_element(&j, &has_element) > 0) {
		const char *start = j.p;
		if (!reader_skip(&j))
			break;
		struct span kind = text_of((struct span){ start, (size_t)(j.p - start) }, "kind");
		if (span_is(kind, "root"))
			n.roots++;
		else if (span_is(kind, "pseudonyms"))
			n.pseudonyms++;
		else if (kind.n > sizeof(HSM) - 1 && memcmp(kind.p + kind.n - (sizeof(HSM) - 1), HSM, sizeof(HSM) - 1) == 0)
			n.residents++;
		else
			n.wrapped++;
	}
	return n;
}

static void print_count(FILE *out, const char **separator, size_t count, const char *what, const char *ending)
{
	if (count == 0)
		return;
	(void)fprintf(out, "%s%zu %s%s%s", *separator, count, what, plural(count), ending);
	*separator = ", ";
}

static void print_keys(const struct certificate *c, FILE *out)
{
	struct kinds n = count_kinds(c);
	struct reader j;
	bool has_element = false;
	const char *separator = "  destroyed: ";

	print_count(out, &separator, n.roots, "root", "");
	print_count(out, &separator, n.pseudonyms, "key", " of pseudonyms");
	print_count(out, &separator, n.residents, "key version", " in the HSM");
	print_count(out, &separator, n.wrapped, "wrapped key version", "");
	(void)fprintf(out, c->key_count > 0 ? "\n" : "  no key is named\n");
	if (!reader_member(c->body, "keys", &j) || !reader_enter_array(&j))
		return;
	for (size_t i = 0; i < KEYS_SHOWN && reader_next_element(&j, &has_element) > 0; i++) {
		const char *start = j.p;
		if (!reader_skip(&j))
			return;
		print_key((struct span){ start, (size_t)(j.p - start) }, out);
	}
	if (c->key_count > KEYS_SHOWN)
		(void)fprintf(out, "    and %zu more\n", c->key_count - KEYS_SHOWN);
}

/* Of one root, which another replaced. */
static bool is_old_root(const struct certificate *c)
{
	return !c->is_of_tenant && count_kinds(c).roots > 0;
}

static const char *method_words(const struct certificate *c)
{
	struct span method = text_of(c->body, "method");

	if (is_old_root(c))
		return "a root key was destroyed in the HSM after another had replaced it: the vault's keys live on under that one";
	if (span_is(method, "kek-destroy"))
		return "the root key was destroyed in the HSM, and with it all that was wrapped under it";
	if (span_is(method, "blob-erase"))
		return "the wrapped key was erased from the database; the root key that it was wrapped under lives on";
	return span_is(method, "hsm-object-destroy") ? "its objects were destroyed in the HSM" : "in a way that this program does not know";
}

static void print_fact(FILE *out, const char *name, struct span value)
{
	if (value.n == 0)
		return;
	(void)fprintf(out, "  %s ", name);
	put(out, value);
	(void)putc('\n', out);
}

static void print_act(const struct certificate *c, FILE *out)
{
	struct span times = object_of(c->body, "times");

	print_fact(out, c->is_of_tenant ? "all keys of the vault with the id" : "of the vault with the id", c->tenant);
	print_keys(c, out);
	(void)fprintf(out, "  how: %s\n", method_words(c));
	print_fact(out, "basis:", text_of(c->body, "basis"));
	print_fact(out, "approved ", text_of(times, "approved"));
	print_fact(out, "destroyed", text_of(times, "destroyed"));
	print_fact(out, "checked  ", text_of(times, "verified"));
}

/* ---- and what not ---- */

static size_t count_elements(struct span object, const char *name)
{
	struct reader j;
	bool has_element = false;
	size_t count = 0;

	if (!reader_member(object, name, &j) || !reader_enter_array(&j))
		return 0;
	while (reader_next_element(&j, &has_element) > 0 && reader_skip(&j))
		count++;
	return count;
}

static void print_residual(const struct certificate *c, FILE *out)
{
	struct reader j;
	struct span item;
	bool has_element = false;

	if (!reader_member(c->body, "residual", &j) || *j.p != '[' || !reader_enter_array(&j))
		return;
	(void)fprintf(out, "  that there are no copies made without the server:");
	while (reader_next_element(&j, &has_element) > 0 && reader_string(&j, &item)) {
		(void)putc(' ', out);
		put(out, item);
	}
	(void)putc('\n', out);
}

static bool is_borne_out(const struct certificate *c) { return c->has_intent && c->has_outcome && c->has_root; }

static void print_log(const struct certificate *c, FILE *out)
{
	(void)fprintf(out,
	              "  the log bears it out: the destruction began at seq %llu and was done at seq %llu, the checkpoint of size %llu has its root, "
	              "and nothing used it afterwards\n",
	              (unsigned long long)c->intent, (unsigned long long)c->outcome, (unsigned long long)c->size);
	if (c->is_intent_hidden)
		(void)fprintf(out, "  who approved the log does not show: of the event only its hash was given\n");
	else if (c->approver_count > 0)
		(void)fprintf(out, "  approved by %zu, as the log has it\n", c->approver_count);
	else
		(void)fprintf(out, "  the log has no approval of it%s\n", is_old_root(c) ? ": what people approve is the rotation" : "");
}

static void print_limits(const struct verify *v, const struct certificate *c, FILE *out)
{
	(void)fprintf(out, "NOT attested:\n");
	if (span_is(c->state, "pending-backup-expiry")) {
		(void)fprintf(out, "  that no backup holds the key: it is PENDING; the last backup that does ends by ");
		put(out, text_of(c->body, "until"));
		(void)putc('\n', out);
	}
	print_residual(c, out);
	(void)fprintf(out, "  that the data was never kept in clear, or under another key; that this suffices in law\n");
	if (c->revival.lives)
		(void)fprintf(out, "  that the key is dead: it is BACK, restored from a backup at seq %llu of the log\n", (unsigned long long)c->revival.seq);
	else if (!v->has_log && span_is(c->state, "pending-backup-expiry"))
		(void)fprintf(out, "  that the key was not restored from such a backup since: the log tells\n");
	if (!v->has_log)
		(void)fprintf(out, "  that the log bears it out: no log was given (holdfast-verify certificate ... FILE LOG.jsonl)\n");
	else if (!is_borne_out(c))
		(void)fprintf(out, "  that the log bears it out: what was given does not hold its events, or not the leaves before them\n");
}

static void explain(const struct verify *v, const struct certificate *c, FILE *out)
{
	size_t copies = count_elements(c->body, "copies");

	(void)fprintf(out, "\ncertificate ");
	put(out, c->id);
	(void)fprintf(out, ", %s\n", span_is(c->state, "complete") ? "COMPLETE" : "PENDING");
	(void)fprintf(out, "attested:\n");
	print_act(c, out);
	if (copies > 0)
		(void)fprintf(out, "  %zu backup%s of the server or the key %s named in it\n", copies, plural(copies), copies == 1 ? "is" : "are");
	print_signers(v, c, out);
	if (v->has_log && is_borne_out(c))
		print_log(c, out);
	print_limits(v, c, out);
}

void verify_explain(const struct verify *v, FILE *out)
{
	for (size_t i = 0; i < v->certificate_count; i++) {
		const struct certificate *c = &v->certificates[i];
		if (c->is_readable && c->is_signed && report_exit(&v->report) == EXIT_ALL_GOOD)
			explain(v, c, out);
		else
			(void)fprintf(out, "\nNothing is attested: see the findings above.\n");
	}
}
