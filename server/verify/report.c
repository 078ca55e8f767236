/* server/verify/report.c - findings are kept up to a limit and always counted. */
#include "server/verify/report.h"

#include <stdarg.h>

static const struct {
	const char *code;
	enum verify_exit group;
} FINDINGS[FINDING_COUNT] = {
#define X(finding, code, group) [finding] = { code, group },
	FINDING_MAP(X)
#undef X
};
/* audit-log.md section 9: notes and quorum, canonical, order, root, consistency, age, meaning. */
static const enum verify_exit ORDER[] = { EXIT_SIGNATURE, EXIT_FORM, EXIT_ORDER, EXIT_ROOT, EXIT_FORK, EXIT_AGE, EXIT_MEANING };

const char *finding_code(enum finding f) { return FINDINGS[f].code; }
enum verify_exit finding_group(enum finding f) { return FINDINGS[f].group; }

void report_add(struct report *r, enum finding f, const char *file, uint64_t line, const char *format, ...)
{
	va_list args;

	r->count[f]++;
	if (r->shown == REPORT_SHOWN_MAX)
		return;
	struct report_item *item = &r->items[r->shown++];
	*item = (struct report_item){ .finding = f, .file = file, .line = line };
	va_start(args, format);
	(void)vsnprintf(item->text, sizeof(item->text), format, args);
	va_end(args);
}

static uint64_t count_group(const struct report *r, enum verify_exit group)
{
	uint64_t sum = 0;

	for (unsigned f = 0; f < FINDING_COUNT; f++)
		sum += FINDINGS[f].group == group ? r->count[f] : 0;
	return sum;
}

uint64_t report_warnings(const struct report *r) { return count_group(r, EXIT_ALL_GOOD); }

uint64_t report_findings(const struct report *r)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < sizeof(ORDER) / sizeof(ORDER[0]); i++)
		sum += count_group(r, ORDER[i]);
	return sum;
}

enum verify_exit report_exit(const struct report *r)
{
	for (unsigned i = 0; i < sizeof(ORDER) / sizeof(ORDER[0]); i++) {
		if (count_group(r, ORDER[i]) > 0)
			return ORDER[i];
	}
	return EXIT_ALL_GOOD;
}

void print_escaped(FILE *out, struct span text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c >= 0x20 && c < 0x7f)
			(void)putc(c, out);
		else
			(void)fprintf(out, "\\x%02x", c);
	}
}

void print_json_string(FILE *out, struct span text)
{
	(void)putc('"', out);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c < 0x20 || c >= 0x7f)
			(void)fprintf(out, "\\\\x%02x", c);
		else if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", c);
		else
			(void)putc(c, out);
	}
	(void)putc('"', out);
}

static struct span text_of(const char *text) { return (struct span){ text, strlen(text) }; }

void report_print(const struct report *r, FILE *out)
{
	uint64_t all = report_findings(r) + report_warnings(r);

	for (size_t i = 0; i < r->shown; i++) {
		const struct report_item *item = &r->items[i];
		print_escaped(out, text_of(item->file));
		if (item->line > 0)
			(void)fprintf(out, ":%llu", (unsigned long long)item->line);
		(void)fprintf(out, ": %s%s: ", finding_group(item->finding) == EXIT_ALL_GOOD ? "warning: " : "", finding_code(item->finding));
		print_escaped(out, text_of(item->text));
		(void)putc('\n', out);
	}
	if (all > r->shown)
		(void)fprintf(out, "... and %llu more\n", (unsigned long long)(all - r->shown));
}

static void print_items(const struct report *r, FILE *out, bool warnings)
{
	bool needs_comma = false;

	for (size_t i = 0; i < r->shown; i++) {
		const struct report_item *item = &r->items[i];
		if ((finding_group(item->finding) == EXIT_ALL_GOOD) != warnings)
			continue;
		(void)fprintf(out, "%s{\"code\":\"%s\",\"file\":", needs_comma ? "," : "", finding_code(item->finding));
		print_json_string(out, text_of(item->file));
		(void)fprintf(out, ",\"line\":%llu,\"message\":", (unsigned long long)item->line);
		print_json_string(out, text_of(item->text));
		(void)putc('}', out);
		needs_comma = true;
	}
}

void report_print_json(const struct report *r, FILE *out)
{
	bool needs_comma = false;

	(void)fprintf(out, "\"counts\":{");
	for (unsigned f = 0; f < FINDING_COUNT; f++) {
		if (r->count[f] == 0)
			continue;
		(void)fprintf(out, "%s\"%s\":%llu", needs_comma ? "," : "", FINDINGS[f].code, (unsigned long long)r->count[f]);
		needs_comma = true;
	}
	(void)fprintf(out, "},\"findings\":[");
	print_items(r, out, false);
	(void)fprintf(out, "],\"warnings\":[");
	print_items(r, out, true);
	(void)fprintf(out, "]");
}
