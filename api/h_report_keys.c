/*
 * api/h_report_keys.c - reports over the keys that there are (docs/reports.md): overdue for rotation, unused, protection; and what state the keys are in that others name.
 * A page ends after a number of keys or vaults, or after a while, and says where the next one begins.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/report_parts.h"

#define OFFSET(member) offsetof(union request_body, member)
#define PAGE_KEYS 500   /* looked at for one page */
#define PAGE_VAULTS 100
#define BATCH 32
#define DAY_S INT64_C(86400)
#define DAYS_MAX 36500
#define AGE_DAYS_DEFAULT 365
#define UNUSED_DAYS_DEFAULT 90
#define US_PER_MS 1000

/* ---- all keys, a page at a time ---- */

struct walk {
	struct request *r;
	struct report_scope scope;
	struct report_place at;
	size_t keys, vaults;
	int64_t now_s, end_us;
	bool is_full, has_more;
	bool goes_on; /* with the key that the page before did not come to an end of */
	json_t *value; /* rows; owned */
	kms_status (*each)(struct walk *w, const struct store_vault *v, const struct store_key *k, struct kms_err *err);
	void (*vault_done)(struct walk *w, const struct store_vault *v); /* all of it, or as far as the page went; NULL = nothing */
	struct query *query; /* owned; NULL = not needed */
	int64_t days;
	size_t vault_keys, vault_rotating; /* of this vault, on this page */
};

static void walk_clear(struct walk *w)
{
	json_decref(w->value);
	query_close_at(&w->query);
}
#define WALK_AUTO __attribute__((cleanup(walk_clear))) struct walk

static bool is_time_up(const struct walk *w) { return clock_mono_us(w->r->op.kms->clock) >= w->end_us; }

static kms_status walk_batch(struct walk *w, const struct store_vault *v, const struct store_key *keys, size_t count, struct kms_err *err)
{
	for (size_t i = 0; i < count && !w->is_full; i++) {
		KMS_TRY(w->each(w, v, &keys[i], err));
		memcpy(w->at.key, keys[i].name, sizeof(w->at.key));
		w->goes_on = false;
		w->is_full = ++w->keys >= PAGE_KEYS || w->at.is_within || is_time_up(w);
	}
	return KMS_OK;
}

/* It may have been deleted in between. */
static kms_status walk_within(struct walk *w, const struct store_vault *v, struct kms_err *err)
{
	struct store_key key = { 0 };
	kms_status status = store_key(w->r->op.store, v->id, w->at.key, &key, NULL);

	w->goes_on = true;
	w->at.is_within = false;
	if (status == KMS_OK && key.deleted_s == STORE_NO_TIME)
		status = walk_batch(w, v, &key, 1, err);
	else if (status != KMS_OK && status != KMS_E_NOTFOUND)
		status = kms_fail(err, status, KMS_SRC_SELF, 0, "key of a report");
	w->goes_on = false;
	return status == KMS_E_NOTFOUND ? KMS_OK : status;
}

static kms_status walk_keys(struct walk *w, const struct store_vault *v, struct kms_err *err)
{
	struct store_key *keys = calloc(BATCH, sizeof(*keys));
	size_t count = BATCH;
	kms_status status = keys != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "keys of a report");

	if (status == KMS_OK && w->at.is_within)
		status = walk_within(w, v, err);
	while (status == KMS_OK && count == BATCH && !w->is_full) {
		status = store_keys(w->r->op.store, v->id, false, w->at.key[0] != '\0' ? w->at.key : NULL, keys, BATCH, &count, err);
		if (status == KMS_OK)
			status = walk_batch(w, v, keys, count, err);
	}
	free(keys);
	return status;
}

/* A vault that is shredded has no keys to speak of. */
static kms_status walk_vault(struct walk *w, const struct store_vault *v, struct kms_err *err)
{
	memcpy(w->at.vault, v->name, sizeof(w->at.vault));
	if (v->state == STORE_VAULT_ACTIVE) {
		w->vault_keys = w->vault_rotating = 0;
		KMS_TRY(walk_keys(w, v, err));
		if (w->vault_done != NULL)
			w->vault_done(w, v);
	}
	if (w->is_full) { /* perhaps behind the last key: then the next page finds none */
		w->has_more = true;
		return KMS_OK;
	}
	w->at.key[0] = '\0';
	w->at.is_within = false;
	w->is_full = ++w->vaults >= PAGE_VAULTS || is_time_up(w);
	w->has_more = w->is_full && w->scope.is_all;
	return KMS_OK;
}

static kms_status walk_vaults(struct walk *w, struct kms_err *err)
{
	struct store_vault *vaults = calloc(BATCH, sizeof(*vaults));
	size_t count = BATCH;
	kms_status status = vaults != NULL ? KMS_OK : kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "vaults of a report");

	while (status == KMS_OK && count == BATCH && !w->is_full) {
		status = store_vaults(w->r->op.store, w->at.vault[0] != '\0' ? w->at.vault : NULL, vaults, BATCH, &count, err);
		for (size_t i = 0; i < count && status == KMS_OK && !w->is_full; i++)
			status = walk_vault(w, &vaults[i], err);
	}
	free(vaults);
	return status;
}

/* In the middle of a vault: the rest of it first. It may have been shredded in between. */
static kms_status walk_on(struct walk *w, const char *name, struct kms_err *err)
{
	struct store_vault v = { 0 };
	kms_status status = name != NULL ? store_vault_by_name(w->r->op.store, name, &v, NULL) : store_vault_by_id(w->r->op.store, w->scope.vault_id, &v, NULL);

	if (status == KMS_OK)
		return walk_vault(w, &v, err);
	w->at.key[0] = '\0';
	w->at.is_within = false;
	return status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "vault of a report");
}

static kms_status walk_all(struct walk *w, struct kms_err *err)
{
	if (!w->scope.is_all)
		return walk_on(w, NULL, err);
	if (w->at.key[0] != '\0') {
		char name[sizeof(w->at.vault)];
		memcpy(name, w->at.vault, sizeof(name));
		KMS_TRY(walk_on(w, name, err));
	}
	return w->is_full ? KMS_OK : walk_vaults(w, err);
}

/* Begin a page: who asks, about which vault, from where on. */
static kms_status walk_open(struct walk *w, const char *name, struct kms_err *err)
{
	const char *after = query_get(w->r, "after");
	const struct clock *clock = w->r->op.kms->clock;

	KMS_TRY(report_scope(w->r, name, &w->scope, err));
	if (after != NULL && !report_place_parse(after, &w->at))
		return report_bad_cursor(err);
	w->now_s = clock_wall_s(clock);
	w->end_us = clock_mono_us(clock) + (int64_t)REPORT_PAGE_MS * US_PER_MS;
	w->value = json_array();
	return KMS_OK;
}

static kms_status walk_reply(struct walk *w, struct kms_err *err)
{
	char next[REPORT_CURSOR_MAX];

	KMS_TRY(walk_all(w, err));
	report_place_format(&w->at, next);
	return reply_page(w->r, KMS_TAKE(w->value), w->has_more ? next : NULL, err);
}

static json_t *key_row(const struct store_vault *v, const struct store_key *k)
{
	json_t *o = json_object();

	view_put_text(&o, "vault", v->name);
	view_put_text(&o, "key", k->name);
	json_put(&o, "created", json_integer(k->created_s));
	return o;
}

/* A key for which none was set rotates not by itself. */
static kms_status policy_of(struct walk *w, const struct store_key *k, struct store_policy *ret, struct kms_err *err)
{
	kms_status status = store_policy(w->r->op.store, k->id, ret, NULL);

	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "rotation policy");
}

/* ---- overdue ---- */

static kms_status add_overdue(struct walk *w, const struct store_vault *v, const struct store_key *k, struct kms_err *err)
{
	STORE_VERSION_AUTO newest = { 0 };
	struct store_policy policy = { 0 };
	enum report_basis basis = REPORT_NOT_DUE;
	int64_t due_s = 0;
	json_t *o = NULL;
	kms_status status = store_version(w->r->op.store, k->id, NULL, false, &newest, NULL);

	if (status == KMS_E_NOTFOUND)
		return KMS_OK; /* it was purged just now */
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "newest version");
	KMS_TRY(policy_of(w, k, &policy, err));
	basis = report_overdue(&policy, &newest, w->days * DAY_S, w->now_s, &due_s);
	if (basis == REPORT_NOT_DUE)
		return KMS_OK;
	o = key_row(v, k);
	json_put(&o, "rotated", json_integer(newest.created_s));
	view_put_text(&o, "basis", basis == REPORT_BY_POLICY ? "policy" : "age");
	json_put(&o, "due", json_integer(due_s));
	json_put(&o, "late_days", json_integer((w->now_s - due_s) / DAY_S));
	view_put_text(&o, "state", v->is_locked ? "vault_locked" : report_version_state(&newest, w->now_s));
	json_add(&w->value, o);
	return KMS_OK;
}

kms_status api_report_overdue(struct request *r, struct kms_err *err)
{
	WALK_AUTO w = { .r = r, .each = add_overdue, .days = AGE_DAYS_DEFAULT };

	KMS_TRY(walk_open(&w, "overdue", err));
	KMS_TRY(report_number(r, "max_age", DAYS_MAX, &w.days, err));
	return walk_reply(&w, err);
}

/* ---- unused ---- */

/* One key may not take longer than a page: then w->at says how far it came, and the next page goes on there. */
static kms_status last_use(struct walk *w, const struct store_vault *v, const struct store_key *k, int64_t *ret_s, struct kms_err *err)
{
	const int64_t left_us = w->end_us - clock_mono_us(w->r->op.kms->clock);
	struct query_filter f = { .has_vault = true, .types = { EVENT_KEY_WRAP, EVENT_KEY_UNWRAP, EVENT_KEY_ENCRYPT, EVENT_KEY_DECRYPT, EVENT_KEY_SIGN, EVENT_KEY_VERIFY },
		                  .type_count = 6, .has_result = true, .result = EVENT_OK, .newest_first = true, .limit = 1 };
	LEAF_AUTO leaf = { 0 };
	struct query_end end = { 0 };
	bool found = false;

	memcpy(f.vault, v->id, STORE_ID_LEN);
	(void)snprintf(f.key, sizeof(f.key), "%s", k->name);
	f.has_cursor = w->goes_on;
	f.cursor = w->at.seq;
	KMS_TRY(query_last(w->query, w->r->op.store, &f, left_us > 0 ? (unsigned)(left_us / US_PER_MS) : 0, &end, &found, &leaf, err));
	w->at.is_within = end.has_more;
	w->at.seq = end.cursor;
	*ret_s = found ? leaf.ts_us / (US_PER_MS * 1000) : STORE_NO_TIME;
	if (found && *ret_s < k->created_s) /* of a purged key of the same name */
		*ret_s = STORE_NO_TIME;
	return KMS_OK;
}

static kms_status add_unused(struct walk *w, const struct store_vault *v, const struct store_key *k, struct kms_err *err)
{
	int64_t last_s = STORE_NO_TIME, since_s = k->created_s;
	json_t *o = NULL;

	if (w->now_s - k->created_s < w->days * DAY_S)
		return KMS_OK; /* too young to be unused that long */
	KMS_TRY(last_use(w, v, k, &last_s, err));
	if (w->at.is_within)
		return KMS_OK; /* not known yet */
	if (last_s != STORE_NO_TIME)
		since_s = last_s;
	if (w->now_s - since_s < w->days * DAY_S)
		return KMS_OK;
	o = key_row(v, k);
	view_put_time(&o, "last_used", last_s);
	json_put(&o, "unused_days", json_integer((w->now_s - since_s) / DAY_S));
	json_add(&w->value, o);
	return KMS_OK;
}

kms_status api_report_unused(struct request *r, struct kms_err *err)
{
	WALK_AUTO w = { .r = r, .each = add_unused, .days = UNUSED_DAYS_DEFAULT };

	KMS_TRY(walk_open(&w, "unused", err));
	KMS_TRY(report_number(r, "days", DAYS_MAX, &w.days, err));
	if (request_indexer(r) == NULL) /* to look for each key's last use in the whole log would never end */
		return kms_refuse(err, KMS_E_BUSY, "This server keeps no index of its event log, and does not know when a key was used.");
	KMS_TRY(query_open(r->op.kms, request_indexer(r), &w.query, err));
	return walk_reply(&w, err);
}

/* ---- protection ---- */

static kms_status count_rotating(struct walk *w, const struct store_vault *v, const struct store_key *k, struct kms_err *err)
{
	struct store_policy policy = { 0 };

	(void)v;
	KMS_TRY(policy_of(w, k, &policy, err));
	w->vault_keys++;
	w->vault_rotating += report_rotates(&policy);
	return KMS_OK;
}

/* A vault whose keys fill more than one page has a row on each: the numbers are to be added up. */
static void add_protection(struct walk *w, const struct store_vault *v)
{
	json_add(&w->value, json_pack("{s:s,s:b,s:b,s:i,s:I,s:I}", "vault", v->name, "purge_protection", (int)v->has_purge_protection, "locked", (int)v->is_locked,
	                              "retention_days", (int)v->retention_days, "keys", (json_int_t)w->vault_keys, "rotating", (json_int_t)w->vault_rotating));
}

kms_status api_report_protection(struct request *r, struct kms_err *err)
{
	WALK_AUTO w = { .r = r, .each = count_rotating, .vault_done = add_protection };

	KMS_TRY(walk_open(&w, "protection", err));
	return walk_reply(&w, err);
}

/* ---- keys that others name ---- */

#define KID_MAX 512

static const struct json_field LOOKUP_FIELDS[] = {
	{ .name = "keys", .kind = J_TEXTS, .offset = OFFSET(report.kids), .flag = J_NO_FLAG, .required = true, .count = OFFSET(report.count), .max = REPORT_KIDS_MAX },
	{ .name = NULL },
};
const struct json_schema REPORT_KEYS_SCHEMA = { .name = "ReportKeysRequest", .fields = LOOKUP_FIELDS, .size = sizeof(union request_body), .is_strict = true };

/* The version that is named, or the newest. @param ret_state  set when there is none to look at */
static kms_status find_version(struct request *r, const struct report_kid *kid, const struct store_key *k, struct store_version *ret, const char **ret_state,
                               struct kms_err *err)
{
	kms_status status = store_version(r->op.store, k->id, kid->has_version ? kid->version : NULL, false, ret, NULL);

	if (status == KMS_E_NOTFOUND)
		*ret_state = "no_version";
	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "version that was asked for");
}

static void put_version(json_t **o, const struct store_version *v)
{
	static const uint32_t WRAPS = KEY_OP_WRAP | KEY_OP_UNWRAP;
	const struct key_type_info *type = key_type_info((enum key_type)v->kty);
	char hex[2 * STORE_ID_LEN + 1];

	hex_encode(v->id, STORE_ID_LEN, hex);
	view_put_text(o, "version", hex);
	view_put_text(o, "kty", type != NULL ? type->name : "");
	json_put(o, "bits", json_integer(v->bits));
	json_put(o, "wraps", json_boolean((v->ops & WRAPS) == WRAPS));
}

/* @param ret_state  static */
static kms_status look_up_in(struct request *r, const struct report_kid *kid, const struct store_vault *v, const char **ret_state, json_t **o, struct kms_err *err)
{
	STORE_VERSION_AUTO version = { 0 };
	struct store_key key = { 0 };
	kms_status status = store_key(r->op.store, v->id, kid->key, &key, NULL);

	json_put(o, "purge_protection", json_boolean(v->has_purge_protection));
	*ret_state = status == KMS_E_NOTFOUND ? "unknown" : key.deleted_s != STORE_NO_TIME ? "deleted" : NULL;
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "key that was asked for");
	if (*ret_state == NULL)
		KMS_TRY(find_version(r, kid, &key, &version, ret_state, err));
	if (*ret_state != NULL)
		return KMS_OK;
	put_version(o, &version);
	*ret_state = v->is_locked ? "vault_locked" : report_version_state(&version, clock_wall_s(r->op.kms->clock));
	return KMS_OK;
}

/* Whoever may not see a vault does not learn whether there is one. */
static kms_status look_up(struct request *r, const char *text, json_t **o, struct kms_err *err)
{
	struct report_kid kid;
	struct store_vault v = { 0 };
	enum report_kid_kind kind = report_kid_parse(text, r->op.kms->domain, r->op.kms->public_port, &kid);
	const char *state = kind == REPORT_KID_FOREIGN ? "foreign" : "invalid";
	bool sees_all = report_may_see(r, (const uint8_t[STORE_ID_LEN]){ 0 });
	kms_status status = KMS_OK;

	if (kind == REPORT_KID_OURS) {
		status = store_vault_by_name(r->op.store, kid.vault, &v, NULL);
		if (status != KMS_OK && status != KMS_E_NOTFOUND)
			return kms_fail(err, status, KMS_SRC_SELF, 0, "vault that was asked for");
		view_put_text(o, "vault", kid.vault);
		view_put_text(o, "name", kid.key);
		state = status == KMS_OK && report_may_see(r, v.id) ? NULL : sees_all ? "no_vault" : "not_yours";
	}
	if (state == NULL && v.state != STORE_VAULT_ACTIVE)
		state = "vault_shredded";
	if (state == NULL)
		KMS_TRY(look_up_in(r, &kid, &v, &state, o, err));
	view_put_text(o, "state", state);
	return KMS_OK;
}

kms_status api_report_keys(struct request *r, struct kms_err *err)
{
	JSON_AUTO *value = json_array();

	op_det_text(&r->op, "what", "report");
	op_det_text(&r->op, "report", "keys");
	op_det_number(&r->op, "count", (int64_t)r->body.report.count);
	for (size_t i = 0; i < r->body.report.count; i++) {
		JSON_AUTO *o = json_object();
		if (strlen(r->body.report.kids[i]) > KID_MAX)
			return kms_refuse(err, KMS_E_INVALID, "keys[%zu]: at most %d characters.", i, KID_MAX);
		view_put_text(&o, "key", r->body.report.kids[i]);
		KMS_TRY(look_up(r, r->body.report.kids[i], &o, err));
		json_add(&value, KMS_TAKE(o));
	}
	return reply_page(r, KMS_TAKE(value), NULL, err);
}
