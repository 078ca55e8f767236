/*
 * api/h_report.c - reports over the event log (docs/reports.md): rotations, denials, revocations. Each answers one page: what at most QUERY_PAGE_MAX leaves say, added up,
 * and where the next page begins. Who asks for several pages adds them up himself.
 * Guards: a vault's auditors get their own vault's rows only; nothing scans without an end.
 */
#include "api/report_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define US_PER_S 1000000
#define PAGE_LEAVES 1000 /* that match, of one page */
#define NAMED_MAX 1024   /* principals of one directory that are looked through for names */
#define NAMED_PAGE 64
#define SEEN_VAULTS 8
#define TIME_MAX_S (INT64_MAX / US_PER_S)
_Static_assert(PAGE_LEAVES <= QUERY_PAGE_MAX, "a page is one query");

static const uint8_t NO_ID[STORE_ID_LEN];
static bool same_id(const uint8_t *a, const uint8_t *b) { return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */ }

/* ---- what all reports read ---- */

bool report_may_see(const struct request *r, const uint8_t vault_id[STORE_ID_LEN])
{
	if (((r->op.installation_permissions | r->op.permissions) & PERM_BIT(PERM_AUDIT_READ_ALL)) != 0)
		return true;
	return r->op.has_vault && same_id(vault_id, r->op.vault.id);
}

kms_status report_scope(struct request *r, const char *name, struct report_scope *ret, struct kms_err *err)
{
	const char *asked = query_get(r, "vault");
	struct store_vault v = { 0 };
	kms_status status = KMS_OK;

	op_det_text(&r->op, "what", "report");
	op_det_text(&r->op, "report", name);
	ret->is_all = asked == NULL && report_may_see(r, NO_ID);
	if (asked == NULL && !ret->is_all && !r->op.has_vault)
		return kms_refuse(err, KMS_E_FORBIDDEN, "vault: name the vault that the report is to be about.");
	if (asked == NULL) {
		memcpy(ret->vault_id, r->op.vault.id, STORE_ID_LEN);
		return KMS_OK;
	}
	status = guid_parse(asked, strlen(asked), v.id) ? store_vault_by_id(r->op.store, v.id, &v, NULL) : store_vault_by_name(r->op.store, asked, &v, NULL);
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && !report_may_see(r, v.id)))
		return kms_refuse(err, KMS_E_NOTFOUND, "vault: there is no such vault here, or it is not yours to see.");
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "vault of a report");
	op_det_guid(&r->op, "vault", v.id);
	memcpy(ret->vault_id, v.id, STORE_ID_LEN);
	return KMS_OK;
}

kms_status report_number(const struct request *r, const char *name, int64_t max, int64_t *ret, struct kms_err *err)
{
	const char *text = query_get(r, name);
	char *end = NULL;
	unsigned long long n = 0;

	if (text == NULL)
		return KMS_OK;
	n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || n > (unsigned long long)max)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be a number up to %lld.", name, (long long)max);
	*ret = (int64_t)n;
	return KMS_OK;
}

kms_status report_bad_cursor(struct kms_err *err)
{
	return kms_refuse(err, KMS_E_INVALID, "after: is not what this report gave as \"next\"; give it as it was.");
}

/* ---- one page of leaves ---- */

/* What leaves have in common is one row. */
struct row {
	uint8_t vault_id[STORE_ID_LEN];
	char key[STORE_KEY_NAME_MAX + 1];
	char text[80]; /* quarter, reason, or what was taken away */
	bool has_pid;
	uint8_t pid[16];
	char name[STORE_PRINCIPAL_NAME_MAX + 1]; /* of that principal; "" = not told */
	int64_t first_us, last_us;
	int64_t took_us;
	uint64_t seq, count, more, automatic;
};

struct page {
	struct request *r;
	struct row *rows; /* PAGE_LEAVES of them */
	size_t count;
	kms_status status; /* of what a leaf was looked up for */
	struct kms_err *err;
};

static void page_clear(struct page *p) { free(p->rows); }
#define PAGE_AUTO __attribute__((cleanup(page_clear))) struct page

/* The row of this leaf's kind, or a new one: there are no more rows than leaves. */
static struct row *row_of(struct page *p, const struct leaf *l, const char *text, bool by_key, bool by_pid)
{
	struct row *row = NULL;
	const char *key = by_key ? l->key_name : "";

	for (size_t i = 0; i < p->count; i++) {
		row = &p->rows[i];
		if (same_id(row->vault_id, l->has_tenant ? l->tenant : NO_ID) && strcasecmp(row->key, key) == 0 && strcmp(row->text, text) == 0 &&
		    (!by_pid || (row->has_pid == l->has_pid && same_id(row->pid, l->has_pid ? l->pid : NO_ID)))) {
			row->last_us = l->ts_us;
			return row;
		}
	}
	row = &p->rows[p->count++];
	memcpy(row->vault_id, l->has_tenant ? l->tenant : NO_ID, STORE_ID_LEN);
	(void)snprintf(row->key, sizeof(row->key), "%s", key);
	(void)snprintf(row->text, sizeof(row->text), "%s", text);
	if (by_pid && l->has_pid) {
		row->has_pid = true;
		memcpy(row->pid, l->pid, sizeof(row->pid));
	}
	row->first_us = row->last_us = l->ts_us;
	row->seq = l->seq;
	return row;
}

static bool add_rotation(void *arg, const struct leaf *l)
{
	struct page *p = arg;
	enum report_version made = REPORT_NO_VERSION;
	char quarter[REPORT_QUARTER_MAX];
	struct row *row = NULL;

	p->status = report_version_made(p->r->op.store, l, &made, p->err);
	if (p->status != KMS_OK || made == REPORT_NO_VERSION)
		return p->status == KMS_OK;
	row = row_of(p, l, report_quarter(l->ts_us, quarter), true, false);
	row->count += made == REPORT_NEXT_VERSION;
	row->more += made == REPORT_FIRST_VERSION;
	row->automatic += made == REPORT_NEXT_VERSION && l->actor == EVENT_ACTOR_SYSTEM;
	return true;
}

static bool add_denial(void *arg, const struct leaf *l)
{
	row_of(arg, l, l->err[0] != '\0' ? l->err : "-", false, true)->count += l->count;
	return true;
}

static bool add_revocation(void *arg, const struct leaf *l)
{
	struct page *p = arg;
	int64_t took_us = -1;
	const char *what = report_revocation(l, &took_us);
	struct row *row = NULL;

	if (what == NULL)
		return true;
	row = &p->rows[p->count++];
	memcpy(row->vault_id, l->has_tenant ? l->tenant : NO_ID, STORE_ID_LEN);
	(void)snprintf(row->key, sizeof(row->key), "%s", l->key_name);
	(void)snprintf(row->text, sizeof(row->text), "%s", what);
	row->last_us = l->ts_us;
	row->seq = l->seq;
	row->took_us = took_us;
	return true;
}

static kms_status read_range(struct request *r, struct query_filter *f, struct kms_err *err)
{
	int64_t from_s = 0, to_s = 0;

	KMS_TRY(report_number(r, "from", TIME_MAX_S, &from_s, err));
	KMS_TRY(report_number(r, "to", TIME_MAX_S, &to_s, err));
	f->has_from = query_get(r, "from") != NULL;
	f->has_to = query_get(r, "to") != NULL;
	f->from_us = from_s * US_PER_S;
	f->to_us = to_s * US_PER_S;
	if (f->has_from && f->has_to && f->to_us <= f->from_us)
		return kms_refuse(err, KMS_E_INVALID, "to: must be later than from.");
	return KMS_OK;
}

/* @param ret_next  where the next page begins; "" = this was the last */
static kms_status read_page(struct page *p, const char *name, struct query_filter *f, bool (*each)(void *arg, const struct leaf *l), char ret_next[REPORT_CURSOR_MAX],
                            struct kms_err *err)
{
	const char *after = query_get(p->r, "after");
	struct report_scope scope = { 0 };
	struct query_end end = { 0 };
	QUERY_AUTO *q = NULL;

	KMS_TRY(report_scope(p->r, name, &scope, err));
	KMS_TRY(read_range(p->r, f, err));
	f->has_vault = !scope.is_all;
	memcpy(f->vault, scope.vault_id, STORE_ID_LEN);
	f->no_intents = true;
	f->limit = PAGE_LEAVES;
	f->has_cursor = after != NULL;
	if (after != NULL && !report_seq_parse(after, &f->cursor))
		return report_bad_cursor(err);
	KMS_TRY(query_open(p->r->op.kms, request_indexer(p->r), &q, err));
	p->err = err;
	p->rows = calloc(PAGE_LEAVES, sizeof(*p->rows));
	if (p->rows == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "rows of a report");
	KMS_TRY(query_run(q, p->r->op.store, f, each, p, &end, err));
	KMS_TRY(p->status);
	ret_next[0] = '\0';
	if (end.has_more)
		report_seq_format(end.cursor, ret_next);
	return KMS_OK;
}

/* ---- the answer ---- */

/* Names of vaults, a few of them remembered: a page is seldom about more. */
struct names {
	struct request *r;
	struct store_vault seen[SEEN_VAULTS];
	size_t count;
};

/* One that is not known any more is told by its number. */
static void put_vault(struct names *n, json_t **o, const uint8_t id[STORE_ID_LEN])
{
	struct store_vault *v = NULL;

	if (same_id(id, NO_ID))
		return; /* the installation's */
	for (size_t i = 0; i < n->count && i < SEEN_VAULTS && v == NULL; i++)
		v = same_id(n->seen[i].id, id) ? &n->seen[i] : NULL;
	if (v == NULL) {
		v = &n->seen[n->count++ % SEEN_VAULTS];
		if (store_vault_by_id(n->r->op.store, id, v, NULL) != KMS_OK) {
			memset(v, 0, sizeof(*v));
			memcpy(v->id, id, STORE_ID_LEN);
		}
	}
	if (v->name[0] != '\0')
		view_put_text(o, "vault", v->name);
	else
		view_put_guid(o, "vault", id);
}

static void put_time(json_t **o, const char *name, int64_t us) { json_put(o, name, json_integer(us / US_PER_S)); }

kms_status api_report_rotations(struct request *r, struct kms_err *err)
{
	struct query_filter f = { .types = { EVENT_KEY_CREATE, EVENT_KEY_IMPORT, EVENT_KEY_ROTATE }, .type_count = 3, .has_result = true, .result = EVENT_OK };
	PAGE_AUTO p = { .r = r };
	struct names names = { .r = r };
	JSON_AUTO *value = json_array();
	char next[REPORT_CURSOR_MAX];

	KMS_TRY(read_page(&p, "rotations", &f, add_rotation, next, err));
	for (size_t i = 0; i < p.count; i++) {
		const struct row *row = &p.rows[i];
		json_t *o = json_object();
		put_vault(&names, &o, row->vault_id);
		view_put_text(&o, "key", row->key);
		view_put_text(&o, "quarter", row->text);
		json_put(&o, "rotations", json_integer((json_int_t)row->count));
		json_put(&o, "automatic", json_integer((json_int_t)row->automatic));
		json_put(&o, "creations", json_integer((json_int_t)row->more));
		json_add(&value, o);
	}
	return reply_page(r, KMS_TAKE(value), next[0] != '\0' ? next : NULL, err);
}

/* ---- names of those who were denied ---- */

/* Pseudonyms become names for those alone who may read the directory anyway. */
static bool may_name(const struct request *r, const uint8_t directory[STORE_ID_LEN])
{
	const uint64_t bit = PERM_BIT(PERM_PRINCIPAL_READ);
	bool is_own = r->op.has_vault && same_id(directory, r->op.vault.id);

	return (r->op.installation_permissions & bit) != 0 || (is_own && (r->op.permissions & bit) != 0);
}

static void name_rows(struct page *p, const struct store_principal *who)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->rows[i].has_pid && same_id(p->rows[i].pid, who->pid))
			memcpy(p->rows[i].name, who->name, sizeof(p->rows[i].name));
}

static kms_status name_directory(struct page *p, const uint8_t directory[STORE_ID_LEN], struct kms_err *err)
{
	struct store_principal *who = calloc(NAMED_PAGE, sizeof(*who));
	uint8_t after[STORE_ID_LEN];
	size_t count = NAMED_PAGE, looked = 0;
	kms_status status = who != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "names of a report");

	while (status == KMS_OK && count == NAMED_PAGE && looked < NAMED_MAX) {
		status = store_principals(p->r->op.store, directory, looked > 0 ? after : NULL, who, NAMED_PAGE, &count, err);
		for (size_t i = 0; i < count && status == KMS_OK; i++) {
			name_rows(p, &who[i]);
			memcpy(after, who[i].id, STORE_ID_LEN);
		}
		looked += count;
	}
	free(who);
	return status;
}

/* The installation's own, and those of the first few vaults of the page. */
static kms_status name_page(struct page *p, struct kms_err *err)
{
	uint8_t done[SEEN_VAULTS][STORE_ID_LEN] = { 0 };
	size_t count = 1;

	if (may_name(p->r, NO_ID))
		KMS_TRY(name_directory(p, NO_ID, err));
	for (size_t i = 0; i < p->count && count < SEEN_VAULTS; i++) {
		bool is_done = false;
		for (size_t k = 0; k < count; k++)
			is_done |= same_id(done[k], p->rows[i].vault_id);
		if (is_done || !may_name(p->r, p->rows[i].vault_id))
			continue;
		memcpy(done[count++], p->rows[i].vault_id, STORE_ID_LEN);
		KMS_TRY(name_directory(p, p->rows[i].vault_id, err));
	}
	return KMS_OK;
}

kms_status api_report_denials(struct request *r, struct kms_err *err)
{
	struct query_filter f = { .has_result = true, .result = EVENT_REFUSED };
	PAGE_AUTO p = { .r = r };
	struct names names = { .r = r };
	JSON_AUTO *value = json_array();
	char next[REPORT_CURSOR_MAX], pid[B64URL_LEN(sizeof(p.rows->pid)) + 1];

	KMS_TRY(read_page(&p, "denials", &f, add_denial, next, err));
	KMS_TRY(name_page(&p, err));
	for (size_t i = 0; i < p.count; i++) {
		const struct row *row = &p.rows[i];
		json_t *o = json_object();
		put_vault(&names, &o, row->vault_id);
		b64url_encode(row->pid, sizeof(row->pid), pid);
		if (row->has_pid)
			view_put_text(&o, "principal", pid);
		if (row->name[0] != '\0')
			view_put_text(&o, "name", row->name);
		view_put_text(&o, "reason", row->text);
		json_put(&o, "count", json_integer((json_int_t)row->count));
		put_time(&o, "first", row->first_us);
		put_time(&o, "last", row->last_us);
		json_add(&value, o);
	}
	return reply_page(r, KMS_TAKE(value), next[0] != '\0' ? next : NULL, err);
}

/* One row each, so that whoever adds pages up has all times, and not medians of medians. */
kms_status api_report_revocations(struct request *r, struct kms_err *err)
{
	struct query_filter f = { .types = { EVENT_KEY_REVOKE, EVENT_KEY_UPDATE, EVENT_KEY_DELETE, EVENT_ROLE_REVOKE, EVENT_PRINCIPAL, EVENT_TENANT_LOCK, EVENT_EKM_RETIRE },
		                  .type_count = 7, .has_result = true, .result = EVENT_OK };
	PAGE_AUTO p = { .r = r };
	struct names names = { .r = r };
	JSON_AUTO *value = json_array();
	char next[REPORT_CURSOR_MAX];

	KMS_TRY(read_page(&p, "revocations", &f, add_revocation, next, err));
	for (size_t i = 0; i < p.count; i++) {
		const struct row *row = &p.rows[i];
		json_t *o = json_object();
		json_put(&o, "seq", json_integer((json_int_t)row->seq));
		put_time(&o, "at", row->last_us);
		view_put_text(&o, "act", row->text);
		put_vault(&names, &o, row->vault_id);
		if (row->key[0] != '\0')
			view_put_text(&o, "key", row->key);
		if (row->took_us >= 0)
			json_put(&o, "took_us", json_integer(row->took_us));
		json_add(&value, o);
	}
	return reply_page(r, KMS_TAKE(value), next[0] != '\0' ? next : NULL, err);
}
