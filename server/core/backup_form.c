/*
 * server/core/backup_form.c - form 1 of a backup: big-endian integers, every string with its length before it, nothing else.
 *
 * In clear: "HFKB", u16 form, ids of directory, vault, root and backup key, nonce, tag. Sealed:
 *
 *	u8[16] key id, str8 name, i64 created, i64 made, u8 has policy [4 x str8 duration, i64 created, i64 updated], u16 count, count times:
 *	u8[16] version id, u8[16] object id, u8 kty, u8 crv, u16 bits, u32 ops, u8 enabled, u8 revoked, i64 nbf, i64 exp, i64 created,
 *	i64 updated, u64 encryptions, str8 e, str16 public half, str16 wrapped, str32 tags (with its NUL; empty = none)
 */
#include <stdlib.h>
#include <string.h>

#include "server/core/backup_form.h"

#define FIRST_ROOM 4096

/* ---- the header ---- */

void backup_put_header(const struct backup_header *h, uint8_t ret_aad[BACKUP_AAD_LEN])
{
	uint8_t *at = ret_aad;

	memcpy(at, BACKUP_MAGIC, 4);
	at[4] = 0;
	at[5] = BACKUP_FORM;
	at += 6;
	memcpy(at, h->directory, STORE_ID_LEN);
	memcpy(at + STORE_ID_LEN, h->vault, STORE_ID_LEN);
	memcpy(at + (size_t)2 * STORE_ID_LEN, h->root, STORE_ID_LEN);
	memcpy(at + (size_t)3 * STORE_ID_LEN, h->backup_key, STORE_ID_LEN);
}

bool backup_take_header(const uint8_t *blob, size_t len, struct backup_header *ret)
{
	const uint8_t *at = blob + 6;

	if (len <= BACKUP_SEALED_AT || len > BACKUP_BLOB_MAX || memcmp(blob, BACKUP_MAGIC, 4) != 0 || blob[4] != 0 || blob[5] != BACKUP_FORM)
		return false;
	memcpy(ret->directory, at, STORE_ID_LEN);
	memcpy(ret->vault, at + STORE_ID_LEN, STORE_ID_LEN);
	memcpy(ret->root, at + (size_t)2 * STORE_ID_LEN, STORE_ID_LEN);
	memcpy(ret->backup_key, at + (size_t)3 * STORE_ID_LEN, STORE_ID_LEN);
	return true;
}

/* ---- write ---- */

static bool grow(struct backup_text *t, size_t more)
{
	size_t cap = t->cap;
	uint8_t *grown = NULL;

	if (t->is_over || more > t->max - t->len) {
		t->is_over = true;
		return false;
	}
	while (cap < t->len + more)
		cap = cap == 0 ? FIRST_ROOM : 2 * cap;
	if (cap == t->cap)
		return true;
	grown = realloc(t->bytes, cap);
	t->has_failed |= grown == NULL;
	if (grown == NULL) {
		t->is_over = true;
		return false;
	}
	t->bytes = grown;
	t->cap = cap;
	return true;
}

static void put(struct backup_text *t, const void *bytes, size_t len)
{
	if (len == 0 || !grow(t, len))
		return;
	memcpy(t->bytes + t->len, bytes, len);
	t->len += len;
}

static void put_uint(struct backup_text *t, uint64_t n, size_t width)
{
	uint8_t bytes[sizeof(n)];

	for (size_t i = 0; i < width; i++)
		bytes[i] = (uint8_t)(n >> (8 * (width - 1 - i)));
	put(t, bytes, width);
}

static void put_int(struct backup_text *t, int64_t n) { put_uint(t, (uint64_t)n, sizeof(n)); }

static void put_str(struct backup_text *t, const void *bytes, size_t len, size_t width)
{
	put_uint(t, len, width);
	put(t, bytes, len);
}

static void put_str8(struct backup_text *t, const char *text) { put_str(t, text, strlen(text), 1); }

void backup_put_head(struct backup_text *t, const struct store_key *key, int64_t made_s, const struct store_policy *policy)
{
	put(t, key->id, sizeof(key->id));
	put_str8(t, key->name);
	put_int(t, key->created_s);
	put_int(t, made_s);
	put_uint(t, policy != NULL, 1);
	if (policy != NULL) {
		put_str8(t, policy->rotate_after_create);
		put_str8(t, policy->rotate_before_expiry);
		put_str8(t, policy->notify_before_expiry);
		put_str8(t, policy->expiry_time);
		put_int(t, policy->created_s);
		put_int(t, policy->updated_s);
	}
	t->count_at = t->len;
	put_uint(t, 0, 2);
}

void backup_set_count(struct backup_text *t, size_t count)
{
	if (t->is_over)
		return;
	t->bytes[t->count_at] = (uint8_t)(count >> 8);
	t->bytes[t->count_at + 1] = (uint8_t)count;
}

void backup_put_version(struct backup_text *t, const struct store_version *v)
{
	put(t, v->id, sizeof(v->id));
	put(t, v->obj, sizeof(v->obj));
	put_uint(t, v->kty, 1);
	put_uint(t, v->crv, 1);
	put_uint(t, v->bits, 2);
	put_uint(t, v->ops, 4);
	put_uint(t, v->is_enabled, 1);
	put_uint(t, v->revoked, 1);
	put_int(t, v->nbf_s);
	put_int(t, v->exp_s);
	put_int(t, v->created_s);
	put_int(t, v->updated_s);
	put_uint(t, v->encryptions, 8);
	put_str(t, v->e, v->e_len, 1);
	put_str(t, v->pub, v->pub_len, 2);
	put_str(t, v->wrapped, v->wrapped_len, 2);
	put_str(t, v->tags, v->tags != NULL ? strlen(v->tags) + 1 : 0, 4);
}

/* ---- read ---- */

/* What is left. The first thing that does not fit raises is_bad, and from there everything read is zero. */
struct reader {
	const uint8_t *at;
	size_t left;
	bool is_bad;
};

static const uint8_t *take(struct reader *r, size_t len)
{
	const uint8_t *at = r->at;

	if (r->is_bad || len > r->left) {
		r->is_bad = true;
		return NULL;
	}
	r->at += len;
	r->left -= len;
	return at;
}

/* @param max  a larger value is bad */
static uint64_t take_uint(struct reader *r, size_t width, uint64_t max)
{
	const uint8_t *at = take(r, width);
	uint64_t n = 0;

	for (size_t i = 0; at != NULL && i < width; i++)
		n = n << 8 | at[i];
	r->is_bad |= n > max;
	return r->is_bad ? 0 : n;
}

static int64_t take_int(struct reader *r) { return (int64_t)take_uint(r, sizeof(int64_t), UINT64_MAX); }
static bool take_bool(struct reader *r) { return take_uint(r, 1, 1) != 0; }

static void take_id(struct reader *r, uint8_t ret_id[STORE_ID_LEN])
{
	const uint8_t *at = take(r, STORE_ID_LEN);

	if (at != NULL)
		memcpy(ret_id, at, STORE_ID_LEN);
}

/* Text without a NUL into an array of cap bytes, the NUL included. */
static void take_text(struct reader *r, char *ret, size_t cap)
{
	size_t len = take_uint(r, 1, cap - 1);
	const uint8_t *at = take(r, len);

	if (at == NULL || memchr(at, '\0', len) != NULL) {
		r->is_bad = true;
		return;
	}
	memcpy(ret, at, len);
	ret[len] = '\0';
}

/* A version's pointers are not const, but these are into the text: nobody writes or frees through them. */
static uint8_t *borrow(struct reader *r, size_t width, size_t max, size_t *ret_len)
{
	size_t len = take_uint(r, width, max);
	const uint8_t *at = take(r, len);

	*ret_len = r->is_bad ? 0 : len;
	return r->is_bad || len == 0 ? NULL : (uint8_t *)(uintptr_t)at;
}

static void take_policy(struct reader *r, struct store_policy *p)
{
	take_text(r, p->rotate_after_create, sizeof(p->rotate_after_create));
	take_text(r, p->rotate_before_expiry, sizeof(p->rotate_before_expiry));
	take_text(r, p->notify_before_expiry, sizeof(p->notify_before_expiry));
	take_text(r, p->expiry_time, sizeof(p->expiry_time));
	p->created_s = take_int(r);
	p->updated_s = take_int(r);
}

static void take_version(struct reader *r, struct store_version *v)
{
	const struct key_type_info *type = NULL;
	size_t tags_len = 0, e_len = 0;
	const uint8_t *e = NULL;

	take_id(r, v->id);
	take_id(r, v->obj);
	v->kty = (uint8_t)take_uint(r, 1, KEY_TYPE_COUNT - 1);
	v->crv = (uint8_t)take_uint(r, 1, CURVE_COUNT - 1);
	v->bits = (uint16_t)take_uint(r, 2, UINT16_MAX);
	v->ops = (uint32_t)take_uint(r, 4, (1U << KEY_OP_COUNT) - 1);
	v->is_enabled = take_bool(r);
	v->revoked = (uint8_t)take_uint(r, 1, REVOKE_COUNT - 1);
	v->nbf_s = take_int(r);
	v->exp_s = take_int(r);
	v->created_s = take_int(r);
	v->updated_s = take_int(r);
	v->encryptions = take_uint(r, 8, INT64_MAX);
	e = borrow(r, 1, sizeof(v->e), &e_len);
	if (e != NULL) {
		memcpy(v->e, e, e_len);
		v->e_len = e_len;
	}
	v->pub = borrow(r, 2, STORE_PUBLIC_MAX, &v->pub_len);
	v->wrapped = borrow(r, 2, STORE_BLOB_MAX, &v->wrapped_len);
	v->tags = (char *)borrow(r, 4, STORE_TAGS_MAX + 1, &tags_len);
	type = key_type_info((enum key_type)v->kty);
	r->is_bad |= type == NULL || type->is_resident || v->wrapped == NULL;
	r->is_bad |= v->tags != NULL && memchr(v->tags, '\0', tags_len) != v->tags + tags_len - 1; /* one text, and its end */
}

void backup_content_clear(struct backup_content *c)
{
	free(c->versions);
	memset(c, 0, sizeof(*c));
}

kms_status backup_take_content(const uint8_t *text, size_t len, struct backup_content *ret, struct kms_err *err)
{
	struct reader r = { .at = text, .left = len };
	BACKUP_CONTENT_AUTO c = { .key = { .deleted_s = STORE_NO_TIME, .purge_s = STORE_NO_TIME } };

	take_id(&r, c.key.id);
	take_text(&r, c.key.name, sizeof(c.key.name));
	c.key.created_s = take_int(&r);
	c.made_s = take_int(&r);
	c.has_policy = take_bool(&r);
	if (c.has_policy)
		take_policy(&r, &c.policy);
	c.count = take_uint(&r, 2, BACKUP_VERSIONS_MAX);
	if (r.is_bad || c.count == 0 || !key_name_is_valid(c.key.name))
		return kms_fail(err, KMS_E_BACKUP, KMS_SRC_SELF, 0, "head of the sealed text");
	c.versions = calloc(c.count, sizeof(*c.versions));
	if (c.versions == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "%zu versions", c.count);
	for (size_t i = 0; i < c.count && !r.is_bad; i++)
		take_version(&r, &c.versions[i]);
	if (r.is_bad || r.left != 0)
		return kms_fail(err, KMS_E_BACKUP, KMS_SRC_SELF, 0, "versions of the sealed text");
	*ret = c;
	c.versions = NULL;
	return KMS_OK;
}
