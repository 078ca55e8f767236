/*
 * api/h_events.c - questions to the event log: GET /audit/v1/events with filters in combination (docs/query.md).
 * Guards: a vault's auditors get their own vault's events only, whatever they ask for; a cursor is good for the filters that it was made for; what is not understood is
 * refused, never left out.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/page.h"
#include "api/service.h"
#include "api/view.h"
#include "server/feed/query.h"

#define EVENTS_DEFAULT 100
#define US_PER_S 1000000
#define UNIX_MAX_S INT64_C(253402300799) /* the end of the year 9999 */
#define TYPE_TEXT_MAX 1024
#define FRACTION_DIGITS 6
#define VERSION_CHARS 32
#define INSTALLATION "-" /* vault=-: events of no vault */

static void query_close_at(struct query **q) { query_close(*q); }
#define QUERY_AUTO __attribute__((cleanup(query_close_at))) struct query

static const char *const PARAMETERS[] = { "from", "to",  "vault", "key",   "version", "principal", "type",   "result",
	                                  "id",   "err", "order", "limit", "cursor",  "intents",   "api-version" };

/* ---- what is asked for ---- */

static bool is_known(const char *name)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(PARAMETERS); i++) {
		if (strcmp(PARAMETERS[i], name) == 0)
			return true;
	}
	return false;
}

/* Their names go into the event; what they say may be about people. */
static kms_status check_names(struct request *r, struct kms_err *err)
{
	char names[EVENT_TEXT_MAX + 1] = "";
	size_t len = 0;

	for (size_t i = 0; i < r->query_count; i++) {
		const char *name = r->query[i].name;
		if (!is_known(name))
			return kms_refuse(err, KMS_E_INVALID,
			                  "%.32s: there is no such parameter. There are from, to, vault, key, version, principal, type, result, id, err, intents, order, limit and cursor.", name);
		for (size_t k = 0; k < i; k++) {
			if (strcmp(r->query[k].name, name) == 0)
				return kms_refuse(err, KMS_E_INVALID, "%s: is given twice; one answer has one filter of each kind.", name);
		}
		if (strcmp(name, "api-version") != 0)
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", len > 0 ? "," : "", name);
	}
	op_det_text(&r->op, "filters", names);
	return KMS_OK;
}

/* Exactly n digits. */
static bool digits(const char **at, unsigned n, int *ret)
{
	int value = 0;

	for (; n > 0; n--, (*at)++) {
		if (**at < '0' || **at > '9')
			return false;
		value = value * 10 + (**at - '0');
	}
	*ret = value;
	return true;
}

static bool skip(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

/* Z, or hours and minutes from UTC. */
static bool read_zone(const char **at, int64_t *ret_s)
{
	int sign = **at == '-' ? -1 : 1, hours = 0, minutes = 0;

	*ret_s = 0;
	if (skip(at, 'Z') || skip(at, 'z'))
		return true;
	if (**at != '+' && **at != '-')
		return false;
	(*at)++;
	if (!digits(at, 2, &hours) || !skip(at, ':') || !digits(at, 2, &minutes) || hours > 23 || minutes > 59)
		return false;
	*ret_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

/* RFC 3339 section 5.6, a date alone (its first moment, UTC), or seconds since 1970. */
static bool parse_time(const char *text, int64_t *ret_us)
{
	struct tm t = { 0 }, back;
	const char *at = text;
	int64_t zone_s = 0, us = 0, unix_s;
	time_t s;

	if (strspn(text, "0123456789") == strlen(text) && strlen(text) > 0 && strlen(text) <= 12) {
		unix_s = (int64_t)strtoll(text, NULL, 10);
		*ret_us = unix_s * US_PER_S;
		return unix_s <= UNIX_MAX_S;
	}
	if (!digits(&at, 4, &t.tm_year) || !skip(&at, '-') || !digits(&at, 2, &t.tm_mon) || !skip(&at, '-') || !digits(&at, 2, &t.tm_mday))
		return false;
	if (*at != '\0') {
		if (!(skip(&at, 'T') || skip(&at, 't')) || !digits(&at, 2, &t.tm_hour) || !skip(&at, ':') || !digits(&at, 2, &t.tm_min) || !skip(&at, ':') ||
		    !digits(&at, 2, &t.tm_sec))
			return false;
		if (skip(&at, '.')) {
			int scale = US_PER_S / 10, count = 0;
			for (; *at >= '0' && *at <= '9' && count < 9; at++, count++, scale /= 10)
				us += (int64_t)(*at - '0') * scale;
			if (count == 0)
				return false;
		}
		if (!read_zone(&at, &zone_s) || *at != '\0')
			return false;
	}
	t.tm_year -= 1900;
	t.tm_mon -= 1;
	back = t;
	s = timegm(&t);
	/* What timegm() had to put right is no date. */
	if (back.tm_year != t.tm_year || back.tm_mon != t.tm_mon || back.tm_mday != t.tm_mday || back.tm_hour != t.tm_hour || back.tm_min != t.tm_min || back.tm_sec != t.tm_sec)
		return false;
	*ret_us = ((int64_t)s - zone_s) * US_PER_S + us;
	return true;
}

static kms_status read_time(const struct request *r, const char *name, bool *ret_has, int64_t *ret_us, struct kms_err *err)
{
	const char *text = query_get(r, name);

	if (text == NULL)
		return KMS_OK;
	*ret_has = true;
	if (!parse_time(text, ret_us))
		return kms_refuse(err, KMS_E_INVALID, "%s: must be a time as 2026-12-31T18:00:00Z or 2026-12-31 (RFC 3339; write %%2B for a plus), or seconds since 1970.", name);
	return KMS_OK;
}

static kms_status read_times(const struct request *r, struct query_filter *f, struct kms_err *err)
{
	KMS_TRY(read_time(r, "from", &f->has_from, &f->from_us, err));
	KMS_TRY(read_time(r, "to", &f->has_to, &f->to_us, err));
	if (f->has_from && f->has_to && f->from_us >= f->to_us)
		return kms_refuse(err, KMS_E_INVALID, "from, to: the range ends before it begins; `to` is the first moment that is not in it.");
	return KMS_OK;
}

static bool sees_all(const struct request *r)
{
	return ((r->op.installation_permissions | r->op.permissions) & PERM_BIT(PERM_AUDIT_READ_ALL)) != 0;
}

/* Who may not see all is shown one vault, and is not told which others there are. */
static kms_status read_vault(struct request *r, struct query_filter *f, struct kms_err *err)
{
	const char *text = query_get(r, "vault");
	struct store_vault v = { 0 };
	uint8_t id[STORE_ID_LEN];
	kms_status status;

	f->has_vault = text != NULL || !sees_all(r);
	if (!sees_all(r) && !r->op.has_vault)
		return kms_refuse(err, KMS_E_FORBIDDEN, "Only auditors of the installation may ask for events of all vaults.");
	if (!sees_all(r))
		memcpy(f->vault, r->op.vault.id, sizeof(f->vault));
	if (text == NULL || (sees_all(r) && strcmp(text, INSTALLATION) == 0))
		return KMS_OK;
	status = guid_parse(text, strlen(text), id) ? store_vault_by_id(r->op.store, id, &v, NULL) : store_vault_by_name(r->op.store, text, &v, NULL);
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && !sees_all(r) && memcmp(v.id, f->vault, sizeof(f->vault)) != 0)) /* allowed: ids are public */
		return kms_refuse(err, KMS_E_NOTFOUND, "vault: there is no such vault here, or it is not yours to see. %s is the installation.", INSTALLATION);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "vault of a query");
	memcpy(f->vault, v.id, sizeof(f->vault));
	op_det_guid(&r->op, "vault", v.id);
	return KMS_OK;
}

/* Of another vault it is as if there were none. */
static bool may_know(const struct request *r, const struct store_principal *p)
{
	static const uint8_t INSTALLATION_ID[STORE_ID_LEN];

	return sees_all(r) || memcmp(p->vault_id, r->op.vault.id, STORE_ID_LEN) == 0 || memcmp(p->vault_id, INSTALLATION_ID, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* By its id; or by the pseudonym that leaves show, which stays findable when the principal is gone. */
static kms_status read_principal(const struct request *r, struct query_filter *f, struct kms_err *err)
{
	const char *text = query_get(r, "principal");
	struct store_principal p = { 0 };
	uint8_t id[STORE_ID_LEN];
	size_t len = 0;
	kms_status status;

	if (text == NULL)
		return KMS_OK;
	f->has_pid = true;
	if (strlen(text) == B64URL_LEN(sizeof(f->pid)) && b64url_decode(text, strlen(text), f->pid, sizeof(f->pid), &len) && len == sizeof(f->pid))
		return KMS_OK;
	if (!guid_parse(text, strlen(text), id))
		return kms_refuse(err, KMS_E_INVALID, "principal: must be the id of a principal, or the pseudonym (pid) that events show: 22 characters of base64url.");
	status = store_principal(r->op.store, id, &p, NULL);
	if (status == KMS_E_NOTFOUND || (status == KMS_OK && !may_know(r, &p)))
		return kms_refuse(err, KMS_E_NOTFOUND, "principal: nobody has this id. Ask with the pseudonym (pid) that events show.");
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "principal of a query");
	memcpy(f->pid, p.pid, sizeof(f->pid));
	return KMS_OK;
}

static void add_type(struct query_filter *f, enum event_type type)
{
	for (size_t i = 0; i < f->type_count; i++) {
		if (f->types[i] == type)
			return;
	}
	f->types[f->type_count++] = type; /* no more than there are */
}

/* "key.wrap", or all that begin alike: "key.*". */
static bool add_types(struct query_filter *f, const char *word)
{
	size_t len = strlen(word), before = f->type_count;
	bool is_prefix = len > 1 && word[len - 1] == '*', is_known_type = false;

	for (unsigned t = EVENT_NONE + 1; t < EVENT_TYPE_COUNT; t++) {
		const char *name = event_type_name((enum event_type)t);
		if (is_prefix ? strncmp(name, word, len - 1) != 0 : strcmp(name, word) != 0)
			continue;
		add_type(f, (enum event_type)t);
		is_known_type = true;
	}
	return is_known_type || f->type_count > before;
}

static int by_number(const void *a, const void *b)
{
	const enum event_type *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static kms_status read_types(const struct request *r, struct query_filter *f, struct kms_err *err)
{
	const char *text = query_get(r, "type");
	char words[TYPE_TEXT_MAX + 1], *save = NULL;

	if (text == NULL)
		return KMS_OK;
	if (strlen(text) > TYPE_TEXT_MAX || text[0] == '\0')
		return kms_refuse(err, KMS_E_INVALID, "type: must be types of events with commas between, at most %d characters.", TYPE_TEXT_MAX);
	memcpy(words, text, strlen(text) + 1);
	for (char *word = strtok_r(words, ",", &save); word != NULL; word = strtok_r(NULL, ",", &save)) {
		if (!add_types(f, word))
			return kms_refuse(err, KMS_E_INVALID, "type: there is no type of event %.64s. They are in docs/audit-log.md; key.* is all that begin with \"key.\".", word);
	}
	if (f->type_count == 0)
		return kms_refuse(err, KMS_E_INVALID, "type: names no type of event.");
	qsort(f->types, f->type_count, sizeof(f->types[0]), by_number); /* one order, for the cursor */
	return KMS_OK;
}

/* Text that is compared as it is. */
static kms_status read_text(const struct request *r, const char *name, char *ret, size_t cap, struct kms_err *err)
{
	const char *text = query_get(r, name);

	if (text == NULL)
		return KMS_OK;
	if (text[0] == '\0' || strlen(text) >= cap)
		return kms_refuse(err, KMS_E_INVALID, "%s: must have 1 to %zu characters.", name, cap - 1);
	memcpy(ret, text, strlen(text) + 1);
	return KMS_OK;
}

static kms_status read_key(const struct request *r, struct query_filter *f, struct kms_err *err)
{
	uint8_t version[VERSION_CHARS / 2];

	KMS_TRY(read_text(r, "key", f->key, sizeof(f->key), err));
	KMS_TRY(read_text(r, "version", f->version, sizeof(f->version), err));
	if (f->key[0] != '\0' && !f->has_vault)
		return kms_refuse(err, KMS_E_INVALID, "key: a key's name is unique in its vault only; name the vault too.");
	for (char *c = f->key; *c != '\0'; c++) /* names count without case: one form, for the cursor */
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
	if (f->version[0] == '\0')
		return KMS_OK;
	if (!hex_decode(f->version, strlen(f->version), version, sizeof(version)))
		return kms_refuse(err, KMS_E_INVALID, "version: must be a key version, 32 hexadecimal digits.");
	hex_encode(version, sizeof(version), f->version);
	return KMS_OK;
}

/* One of two words; the first when it is not given. */
static kms_status read_choice(const struct request *r, const char *name, const char *first, const char *second, bool *ret_second, struct kms_err *err)
{
	const char *text = query_get(r, name);

	*ret_second = text != NULL && strcmp(text, second) == 0;
	if (text != NULL && !*ret_second && strcmp(text, first) != 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be %s or %s.", name, first, second);
	return KMS_OK;
}

static kms_status read_rest(const struct request *r, struct query_filter *f, struct kms_err *err)
{
	const char *limit = query_get(r, "limit"), *result = query_get(r, "result");
	bool is_oldest = false;

	KMS_TRY(read_choice(r, "order", "newest", "oldest", &is_oldest, err));
	f->newest_first = !is_oldest;
	KMS_TRY(read_choice(r, "intents", "yes", "no", &f->no_intents, err));
	KMS_TRY(read_text(r, "id", f->id, sizeof(f->id), err));
	KMS_TRY(read_text(r, "err", f->err, sizeof(f->err), err));
	f->has_result = result != NULL;
	if (result != NULL && !leaf_result_parse(result, &f->result))
		return kms_refuse(err, KMS_E_INVALID, "result: must be ok, denied, failed, pending or unknown.");
	f->damaged_too = true;
	f->limit = EVENTS_DEFAULT;
	if (limit == NULL)
		return KMS_OK;
	f->limit = strspn(limit, "0123456789") == strlen(limit) && strlen(limit) <= 4 ? (size_t)strtoul(limit, NULL, 10) : 0;
	if (f->limit == 0 || f->limit > QUERY_PAGE_MAX)
		return kms_refuse(err, KMS_E_INVALID, "limit: must be a number from 1 to %d.", QUERY_PAGE_MAX);
	return KMS_OK;
}

/* ---- cursors ---- */

/* What a cursor belongs to: the filters as they are understood, but for the length of pages. The struct was zeroed before it was filled. */
static kms_status cursor_scope(const struct query_filter *f, struct page_scope *ret, struct kms_err *err)
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	struct query_filter plain;

	memcpy(&plain, f, sizeof(plain));
	plain.has_cursor = false;
	plain.cursor = 0;
	plain.limit = 0;
	*ret = (struct page_scope){ .list = PAGE_EVENTS };
	if (EVP_Digest(&plain, sizeof(plain), hash, NULL, EVP_sha256(), NULL) != 1)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_OPENSSL, 0, "cursor of a query");
	memcpy(ret->vault_id, hash, sizeof(ret->vault_id));
	memcpy(ret->key_id, hash + sizeof(ret->vault_id), sizeof(ret->key_id));
	return KMS_OK;
}

static kms_status read_cursor(const struct request *r, struct query_filter *f, struct kms_err *err)
{
	const char *text = query_get(r, "cursor");
	char seq[PAGE_CURSOR_MAX + 1];
	struct page_scope scope;

	if (text == NULL)
		return KMS_OK;
	KMS_TRY(cursor_scope(f, &scope, err));
	if (page_token_open(r->op.kms->inst.page_key, &scope, text, seq, NULL) != KMS_OK)
		return kms_refuse(err, KMS_E_INVALID,
		                  "cursor: is not one that this server gave for these filters. Give the cursor as it was, with the filters and the order of the page before.");
	f->has_cursor = true;
	f->cursor = strtoull(seq, NULL, 10);
	return KMS_OK;
}

static kms_status put_next(const struct request *r, const struct query_filter *f, const struct query_end *end, json_t **body, struct kms_err *err)
{
	char seq[24], token[PAGE_TOKEN_MAX + 1];
	struct page_scope scope;

	if (!end->has_more)
		return KMS_OK;
	(void)snprintf(seq, sizeof(seq), "%llu", (unsigned long long)end->cursor);
	KMS_TRY(cursor_scope(f, &scope, err));
	KMS_TRY(page_token_make(r->op.kms->inst.page_key, &scope, seq, token, err));
	json_put(body, "next", json_string(token));
	return KMS_OK;
}

/* ---- the answer ---- */

/* One whose body is gone keeps its place as a hash, as in entries; one that is damaged says so, whatever was asked for. */
static bool add_event(void *arg, const struct leaf *l)
{
	json_t **list = arg;
	char hash[B64_LEN(MERKLE_HASH_LEN) + 1];

	if (l->is_pruned) {
		b64_encode(l->hash, MERKLE_HASH_LEN, hash);
		json_add(list, l->is_damaged ? json_pack("{s:b,s:s,s:I}", "damaged", 1, "hash", hash, "seq", (json_int_t)l->seq)
		                             : json_pack("{s:s,s:I}", "hash", hash, "seq", (json_int_t)l->seq));
	} else {
		json_add(list, json_incref(l->root));
	}
	return *list != NULL;
}

static kms_status read_filter(struct request *r, struct query_filter *f, struct kms_err *err)
{
	KMS_TRY(check_names(r, err));
	KMS_TRY(read_vault(r, f, err));
	KMS_TRY(read_times(r, f, err));
	KMS_TRY(read_key(r, f, err));
	KMS_TRY(read_principal(r, f, err));
	KMS_TRY(read_types(r, f, err));
	KMS_TRY(read_rest(r, f, err));
	return read_cursor(r, f, err);
}

static kms_status ask(struct request *r, struct query_filter *f, json_t **list, struct query_end *ret, struct kms_err *err)
{
	QUERY_AUTO *q = NULL;

	KMS_TRY(read_filter(r, f, err));
	KMS_TRY(query_open(r->op.kms, request_indexer(r), &q, err));
	KMS_TRY(query_run(q, r->op.store, f, add_event, list, ret, err));
	if (*list == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "answer of a query");
	op_det_number(&r->op, "count", (int64_t)json_array_size(*list));
	return KMS_OK;
}

kms_status api_audit_events(struct request *r, struct kms_err *err)
{
	JSON_AUTO *body = json_object(), *list = json_array();
	struct query_end end = { 0 };
	struct query_filter f;

	memset(&f, 0, sizeof(f)); /* its padding too: cursor_scope() */
	op_det_text(&r->op, "what", "events");
	KMS_TRY(ask(r, &f, &list, &end, err));
	json_put(&body, "value", KMS_TAKE(list));
	KMS_TRY(put_next(r, &f, &end, &body, err));
	json_put(&body, "scanned", json_integer((json_int_t)end.scanned));
	json_put(&body, "indexed", json_integer((json_int_t)end.indexed));
	return reply_json(r, 200, KMS_TAKE(body), err);
}
