/* api/json.c - the only place where JSON of callers turns into structs; nothing half-valid leaves it. */
#include "api/json.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"

/* ---- erasing allocator: bodies hold plaintext keys, so freed blocks are wiped ---- */

#define BLOCK_HEADER 16 /* keeps malloc's alignment */

static void *erasing_malloc(size_t size)
{
	uint8_t *block = size > SIZE_MAX - BLOCK_HEADER ? NULL : malloc(size + BLOCK_HEADER);
	if (block == NULL)
		return NULL;
	memcpy(block, &size, sizeof(size));
	return block + BLOCK_HEADER;
}

static void erasing_free(void *p)
{
	size_t size = 0;
	uint8_t *block = NULL;
	if (p == NULL)
		return;
	block = (uint8_t *)p - BLOCK_HEADER;
	memcpy(&size, block, sizeof(size));
	OPENSSL_cleanse(block, size + BLOCK_HEADER);
	free(block);
}

void json_setup(void)
{
	json_set_alloc_funcs(erasing_malloc, erasing_free);
	json_object_seed(0);
}

/* ---- shape limits ---- */

static bool within_limits(json_t *j, unsigned depth, size_t *members)
{
	const char *name = NULL;
	json_t *value = NULL;
	size_t i = 0;

	if (depth > JSON_DEPTH_MAX)
		return false;
	json_object_foreach(j, name, value) {
		if (++*members > JSON_MEMBERS_MAX || !within_limits(value, depth + 1, members))
			return false;
	}
	json_array_foreach(j, i, value) {
		if (++*members > JSON_MEMBERS_MAX || !within_limits(value, depth + 1, members))
			return false;
	}
	return true;
}

json_t *json_parse_object(const uint8_t *text, size_t len)
{
	json_error_t error;
	json_t *j = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, &error);
	size_t members = 0;

	if (j == NULL || !json_is_object(j) || !within_limits(j, 1, &members)) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* ---- members ---- */

static size_t utf8_length(const char *text)
{
	size_t n = 0;
	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static kms_status read_string(const struct json_field *f, const json_t *j, void *at, struct kms_err *err)
{
	const char *text = json_string_value(j);
	size_t len = json_string_length(j);

	if (text == NULL)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be a string.", f->name);
	if (len != strlen(text) || len < (size_t)f->min || len > (size_t)f->max)
		return kms_refuse(err, KMS_E_INVALID, "%s: must have %lld to %lld characters.", f->name, (long long)f->min, (long long)f->max);
	memcpy(at, text, len + 1);
	return KMS_OK;
}

static kms_status read_int(const struct json_field *f, const json_t *j, void *at, struct kms_err *err)
{
	int64_t value = json_integer_value(j);

	if (!json_is_integer(j))
		return kms_refuse(err, KMS_E_INVALID, "%s: must be an integer.", f->name);
	if (value < f->min || value > f->max)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be %lld to %lld.", f->name, (long long)f->min, (long long)f->max);
	memcpy(at, &value, sizeof(value));
	return KMS_OK;
}

static kms_status read_enum(const struct json_field *f, const json_t *j, void *at, struct kms_err *err)
{
	const char *text = json_string_value(j);
	int value = 0;

	if (text == NULL)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be a string.", f->name);
	value = f->parse(text);
	if (value == 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: unknown or unsupported value '%.64s'.", f->name, text);
	memcpy(at, &value, sizeof(value));
	return KMS_OK;
}

static kms_status read_set(const struct json_field *f, const json_t *j, void *at, struct kms_err *err)
{
	uint32_t set = 0;
	size_t i = 0;
	json_t *item = NULL;

	if (!json_is_array(j) || json_array_size(j) < (size_t)f->min)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be an array of at least %lld names.", f->name, (long long)f->min);
	json_array_foreach(j, i, item) {
		const char *text = json_string_value(item);
		int bit = text != NULL ? f->parse(text) : 0;
		if (bit == 0)
			return kms_refuse(err, KMS_E_INVALID, "%s: unknown value '%.64s'.", f->name, text != NULL ? text : "(not a string)");
		set |= (uint32_t)bit;
	}
	memcpy(at, &set, sizeof(set));
	return KMS_OK;
}

static kms_status read_secret(const struct json_field *f, const json_t *j, void *at, struct kms_err *err)
{
	const char *text = json_string_value(j);
	size_t text_len = json_string_length(j), len = 0;
	SECRET_AUTO *value = NULL;

	if (text == NULL)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be a base64url string.", f->name);
	if (text_len == 0 || text_len > B64URL_LEN((size_t)f->max) + 2)
		return kms_refuse(err, KMS_E_INVALID, "%s: must hold %lld to %lld bytes.", f->name, (long long)f->min, (long long)f->max);
	value = secret_new(text_len);
	if (value == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap");
	if (!b64url_decode(text, text_len, secret_bytes(value), text_len, &len))
		return kms_refuse(err, KMS_E_INVALID, "%s: is not valid base64url.", f->name);
	if (len < (size_t)f->min || len > (size_t)f->max)
		return kms_refuse(err, KMS_E_INVALID, "%s: must hold %lld to %lld bytes.", f->name, (long long)f->min, (long long)f->max);
	secret_shrink(value, len);
	struct secret *owned = KMS_TAKE(value);
	memcpy(at, &owned, sizeof(owned));
	return KMS_OK;
}

static kms_status read_tags(const struct json_field *f, json_t *j, void *at, struct kms_err *err)
{
	const char *name = NULL;
	json_t *value = NULL;
	char *text = NULL;
	size_t len = 0;

	if (!json_is_object(j))
		return kms_refuse(err, KMS_E_INVALID, "%s: must be an object of strings.", f->name);
	if (json_object_size(j) > JSON_TAGS_MAX)
		return kms_refuse(err, KMS_E_INVALID, "%s: at most %d tags.", f->name, JSON_TAGS_MAX);
	json_object_foreach(j, name, value) {
		if (!json_is_string(value))
			return kms_refuse(err, KMS_E_INVALID, "%s: tag values must be strings.", f->name);
		if (utf8_length(name) > JSON_TAG_TEXT_MAX || utf8_length(json_string_value(value)) > JSON_TAG_TEXT_MAX)
			return kms_refuse(err, KMS_E_INVALID, "%s: tag names and values have at most %d characters.", f->name, JSON_TAG_TEXT_MAX);
	}
	if (json_object_size(j) == 0)
		return KMS_OK; /* no tags: NULL */
	text = json_text(j, &len);
	if (text == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "tags");
	memcpy(at, &text, sizeof(text));
	return KMS_OK;
}

static kms_status read_members(const struct json_schema *schema, const struct json_field *fields, json_t *object, uint8_t *target,
                               struct kms_err *err);

static kms_status read_value(const struct json_schema *schema, const struct json_field *f, json_t *j, uint8_t *target, struct kms_err *err)
{
	void *at = target + f->offset;

	switch (f->kind) {
	case J_STRING: return read_string(f, j, at, err);
	case J_INT: return read_int(f, j, at, err);
	case J_ENUM: return read_enum(f, j, at, err);
	case J_SET: return read_set(f, j, at, err);
	case J_SECRET: return read_secret(f, j, at, err);
	case J_TAGS: return read_tags(f, j, at, err);
	case J_BOOL: {
		bool value = json_is_true(j);
		if (!json_is_boolean(j))
			return kms_refuse(err, KMS_E_INVALID, "%s: must be true or false.", f->name);
		memcpy(at, &value, sizeof(value));
		return KMS_OK;
	}
	case J_OBJECT:
		if (!json_is_object(j))
			return kms_refuse(err, KMS_E_INVALID, "%s: must be an object.", f->name);
		return read_members(schema, f->fields, j, target, err);
	}
	return KMS_E_INTERNAL;
}

static kms_status refuse_unknown(const struct json_field *fields, json_t *object, struct kms_err *err)
{
	const char *name = NULL;
	json_t *value = NULL;

	json_object_foreach(object, name, value) {
		const struct json_field *f = fields;
		while (f->name != NULL && strcmp(f->name, name) != 0)
			f++;
		if (f->name == NULL)
			return kms_refuse(err, KMS_E_INVALID, "Unknown member '%.64s'.", name);
	}
	return KMS_OK;
}

static kms_status read_members(const struct json_schema *schema, const struct json_field *fields, json_t *object, uint8_t *target,
                               struct kms_err *err)
{
	if (schema->is_strict)
		KMS_TRY(refuse_unknown(fields, object, err));
	for (const struct json_field *f = fields; f->name != NULL; f++) {
		json_t *value = json_object_get(object, f->name);
		if (value == NULL || json_is_null(value)) {
			if (f->required)
				return kms_refuse(err, KMS_E_INVALID, "%s: is required.", f->name);
			continue;
		}
		KMS_TRY(read_value(schema, f, value, target, err));
		if (f->flag != J_NO_FLAG) {
			bool set = true;
			memcpy(target + f->flag, &set, sizeof(set));
		}
	}
	return KMS_OK;
}

static void prepare(const struct json_schema *schema, void *target)
{
	memset(target, 0, schema->size);
	if (schema->init != NULL)
		schema->init(target);
}

kms_status json_read(const struct json_schema *schema, const uint8_t *body, size_t len, void *target, struct kms_err *err)
{
	JSON_AUTO *j = NULL;
	kms_status status = KMS_OK;

	prepare(schema, target);
	if (len == 0 && schema->may_be_empty)
		return KMS_OK;
	j = json_parse_object(body, len);
	if (j == NULL)
		return kms_refuse(err, KMS_E_INVALID, "The request body must be one JSON object without duplicate members, at most %d levels deep "
		                  "and with at most %d members.", JSON_DEPTH_MAX, JSON_MEMBERS_MAX);
	status = read_members(schema, schema->fields, j, target, err);
	if (status != KMS_OK) {
		if (schema->clear != NULL)
			schema->clear(target);
		prepare(schema, target);
	}
	return status;
}

#define TEXT_FIRST_GUESS 2048 /* most answers fit; a larger one is dumped a second time */

char *json_text(const json_t *j, size_t *ret_len)
{
	size_t cap = TEXT_FIRST_GUESS;
	char *text = malloc(cap);
	size_t len = text != NULL ? json_dumpb(j, text, cap - 1, JSON_COMPACT) : 0;

	if (len >= cap) {
		OPENSSL_cleanse(text, cap);
		free(text);
		cap = len + 1;
		text = malloc(cap);
		len = text != NULL ? json_dumpb(j, text, cap - 1, JSON_COMPACT) : 0;
	}
	if (len == 0) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	*ret_len = len;
	return text;
}
