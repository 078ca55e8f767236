/* server/cli/report_html.c - reports as one page of HTML: no script, nothing from elsewhere, plots as inline SVG; all text of others is escaped. Prints well. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/cli/report.h"

#define BARS_MAX 24
#define BAR_HEIGHT 20
#define BAR_LEFT 260
#define BAR_WIDTH 360
#define LABEL_MAX 40 /* characters of a label that are shown beside a bar */
#define LINE_HEIGHT 180
#define LINE_LEFT 50
#define MARGIN 24
#define PERCENT_MAX 100.0
#define PLOT_WIDTH (BAR_LEFT + BAR_WIDTH + 100)

static const char HEAD[] =
	"<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	/* Whatever somebody got past the escaping would load and run nothing. */
	"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
	"<meta name=\"viewport\" content=\"width=device-width\">\n<title>Holdfast: reports</title>\n<style>\n"
	"body{font:15px/1.5 system-ui,sans-serif;color:#1c2330;background:#fff;max-width:70em;margin:2em auto;padding:0 1em}\n"
	"h1{font-size:1.6em}h2{font-size:1.3em;margin-top:2.2em;border-bottom:2px solid #234;padding-bottom:.2em}h3{font-size:1em;margin:1.4em 0 .4em}\n"
	"dl{display:grid;grid-template-columns:max-content auto;gap:.1em 1.5em;margin:0}dt{color:#56606e}dd{margin:0;font-variant-numeric:tabular-nums}\n"
	"table{border-collapse:collapse;width:100%;font-size:.87em}th,td{text-align:left;padding:.25em .6em;border-bottom:1px solid #d5dae2;vertical-align:top;"
	"overflow-wrap:anywhere}\n"
	"th{background:#eef1f5}td.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#1c2330}\n"
	".bar{fill:#2f6f9f}.line{fill:none;stroke:#2f6f9f;stroke-width:2}.axis{stroke:#9aa4b1;stroke-width:1}.none{color:#56606e}\n"
	"@media print{body{margin:0;max-width:none;font-size:10pt}h2{break-before:page}h2:first-of-type{break-before:auto}tr,svg{break-inside:avoid}"
	"thead{display:table-header-group}.bar{print-color-adjust:exact;-webkit-print-color-adjust:exact}}\n"
	"</style>\n</head>\n<body>\n";

/* Text of an element or of an attribute in quotes; what could show text in another order than it stands is gone too. */
static void write_escaped(FILE *out, const char *text, size_t max)
{
	size_t cap = strlen(text) + 1;
	char *clean = malloc(cap);

	if (clean == NULL) {
		(void)fputs("(not enough memory)", out);
		return;
	}
	(void)cli_clean(text, clean, cap);
	for (size_t i = 0, shown = 0; clean[i] != '\0'; i++) {
		if (((unsigned char)clean[i] & 0xC0U) != 0x80U && ++shown > max) { /* a character begins */
			(void)fputs("\xe2\x80\xa6", out);
			break;
		}
		switch (clean[i]) {
		case '&': (void)fputs("&amp;", out); break;
		case '<': (void)fputs("&lt;", out); break;
		case '>': (void)fputs("&gt;", out); break;
		case '"': (void)fputs("&quot;", out); break;
		case '\'': (void)fputs("&#39;", out); break;
		default: (void)fputc(clean[i], out);
		}
	}
	free(clean);
}

static void write_text(FILE *out, const char *text) { write_escaped(out, text, SIZE_MAX); }

/* ---- plots ---- */

static double value_of(const json_t *point) { return json_number_value(json_object_get(point, "value")); }

static const char *label_of(const json_t *point)
{
	const char *label = json_string_value(json_object_get(point, "label"));
	return label != NULL ? label : "-";
}

/* The highest of those that are shown; of a percentage the whole. */
static double scale_of(const struct report_plot *p, size_t count)
{
	double most = strcmp(p->unit, "%") == 0 ? PERCENT_MAX : 0;

	for (size_t i = 0; i < count; i++)
		if (value_of(json_array_get(p->points, i)) > most)
			most = value_of(json_array_get(p->points, i));
	return most > 0 ? most : 1;
}

static void write_number(FILE *out, double value, const char *unit)
{
	(void)fprintf(out, value == (double)(long long)value ? "%.0f" : "%.1f", value);
	(void)fputs(unit[0] != '\0' ? " " : "", out);
	write_text(out, unit);
}

static void write_bars(FILE *out, const struct report_plot *p)
{
	size_t all = json_array_size(p->points), count = all < BARS_MAX ? all : BARS_MAX;
	double scale = scale_of(p, count);

	(void)fprintf(out, "<svg viewBox=\"0 0 %d %zu\" width=\"%d\" role=\"img\" aria-label=\"", PLOT_WIDTH, count * BAR_HEIGHT + 4, PLOT_WIDTH);
	write_text(out, p->title);
	(void)fputs("\">\n", out);
	for (size_t i = 0; i < count; i++) {
		const json_t *point = json_array_get(p->points, i);
		size_t y = i * BAR_HEIGHT;
		double width = value_of(point) / scale * BAR_WIDTH;
		(void)fprintf(out, "<text x=\"%d\" y=\"%zu\" text-anchor=\"end\">", BAR_LEFT - 8, y + 14);
		write_escaped(out, label_of(point), LABEL_MAX);
		(void)fprintf(out, "</text><rect class=\"bar\" x=\"%d\" y=\"%zu\" width=\"%.1f\" height=\"%d\"/><text x=\"%.1f\" y=\"%zu\">", BAR_LEFT, y + 2, width,
		              BAR_HEIGHT - 5, BAR_LEFT + width + 6, y + 14);
		write_number(out, value_of(point), p->unit);
		(void)fputs("</text>\n", out);
	}
	(void)fputs("</svg>\n", out);
	if (all > count)
		(void)fprintf(out, "<p class=\"none\">The first %zu of %zu.</p>\n", count, all);
}

static void write_line(FILE *out, const struct report_plot *p)
{
	size_t count = json_array_size(p->points);
	double scale = scale_of(p, count), step = count > 1 ? (double)(PLOT_WIDTH - LINE_LEFT - MARGIN) / (double)(count - 1) : 0;
	const double height = LINE_HEIGHT - 2 * MARGIN;

	(void)fprintf(out, "<svg viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\" aria-label=\"", PLOT_WIDTH, LINE_HEIGHT, PLOT_WIDTH);
	write_text(out, p->title);
	(void)fprintf(out, "\">\n<path class=\"axis\" d=\"M%d %d V%d H%d\" fill=\"none\"/>\n<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LINE_LEFT, MARGIN,
	              LINE_HEIGHT - MARGIN, PLOT_WIDTH - MARGIN, LINE_LEFT - 4, MARGIN + 4);
	write_number(out, scale, p->unit);
	(void)fputs("</text><polyline class=\"line\" points=\"", out);
	for (size_t i = 0; i < count; i++)
		(void)fprintf(out, "%.1f,%.1f ", LINE_LEFT + step * (double)i, LINE_HEIGHT - MARGIN - value_of(json_array_get(p->points, i)) / scale * height);
	(void)fprintf(out, "\"/>\n<text x=\"%d\" y=\"%d\">", LINE_LEFT, LINE_HEIGHT - 6);
	write_escaped(out, label_of(json_array_get(p->points, 0)), LABEL_MAX);
	(void)fprintf(out, "</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">", PLOT_WIDTH - MARGIN, LINE_HEIGHT - 6);
	write_escaped(out, label_of(json_array_get(p->points, count - 1)), LABEL_MAX);
	(void)fputs("</text>\n</svg>\n", out);
}

static void write_plot(FILE *out, const struct report_plot *p)
{
	if (json_array_size(p->points) == 0)
		return;
	(void)fputs("<h3>", out);
	write_text(out, p->title);
	(void)fputs("</h3>\n", out);
	if (p->is_line && json_array_size(p->points) > 1)
		write_line(out, p);
	else
		write_bars(out, p);
}

/* ---- tables ---- */

static void write_table(FILE *out, const struct report_table *t)
{
	char buffer[REPORT_CELL_MAX];
	size_t i = 0;
	json_t *row = NULL;

	(void)fputs("<h3>", out);
	write_text(out, t->title);
	(void)fputs("</h3>\n", out);
	if (json_array_size(t->rows) == 0) {
		(void)fputs("<p class=\"none\">None.</p>\n", out);
		return;
	}
	(void)fputs("<table>\n<thead><tr>", out);
	for (const struct report_column *c = t->columns; c->title != NULL; c++) {
		(void)fputs("<th>", out);
		write_text(out, c->title);
		(void)fputs("</th>", out);
	}
	(void)fputs("</tr></thead>\n<tbody>\n", out);
	json_array_foreach(t->rows, i, row) {
		(void)fputs("<tr>", out);
		for (const struct report_column *c = t->columns; c->title != NULL; c++) {
			(void)fputs(c->kind == REPORT_TEXT || c->kind == REPORT_TIME || c->kind == REPORT_FLAG ? "<td>" : "<td class=\"n\">", out);
			write_text(out, report_cell(row, c, buffer));
			(void)fputs("</td>", out);
		}
		(void)fputs("</tr>\n", out);
	}
	(void)fputs("</tbody>\n</table>\n", out);
}

static void write_facts(FILE *out, const json_t *facts)
{
	char buffer[REPORT_CELL_MAX];

	(void)fputs("<dl>\n", out);
	/* jansson's macro takes the object without const, though it only reads. */
	for (void *it = json_object_iter((json_t *)(uintptr_t)facts); it != NULL; it = json_object_iter_next((json_t *)(uintptr_t)facts, it)) {
		(void)fputs("<dt>", out);
		write_text(out, report_fact_label(json_object_iter_key(it), buffer));
		(void)fputs("</dt><dd>", out);
		write_text(out, report_fact_text(json_object_iter_key(it), json_object_iter_value(it), buffer));
		(void)fputs("</dd>\n", out);
	}
	(void)fputs("</dl>\n", out);
}

void report_write_html(FILE *out, const struct report *reports, size_t count)
{
	char when[SHOW_TIME_MAX];
	JSON_AUTO *now = json_integer((json_int_t)time(NULL));

	(void)fputs(HEAD, out);
	(void)fprintf(out, "<h1>Holdfast: reports</h1>\n<p>Made %s.</p>\n", show_time(now, when));
	for (size_t i = 0; i < count; i++) {
		(void)fputs("<h2>", out);
		write_text(out, reports[i].title);
		(void)fputs("</h2>\n", out);
		write_facts(out, reports[i].facts);
		for (size_t k = 0; k < reports[i].plot_count; k++)
			write_plot(out, &reports[i].plots[k]);
		for (size_t k = 0; k < reports[i].table_count; k++)
			write_table(out, &reports[i].tables[k]);
	}
	(void)fputs("</body>\n</html>\n", out);
}
