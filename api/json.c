/* api/json.c - the only place where JSON of callers turns into structs; nothing half-valid leaves it. */
#include "api/json.h"

#include <openssl/crypto.h>
#include <stdio.h>
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

/* Count what the text would become, before any of it is built: of a few bytes each the parser makes a few hundred. Exact for what is JSON; what is
 * not, the parser refuses at the first fault, up to where it has read the text as this does. */
static bool within_limits(const uint8_t *text, size_t len)
{
	size_t depth = 0, members = 0;
	bool in_string = false, is_opened = false; /* just now: a member follows unless it is closed */

	for (size_t i = 0; i < len && depth <= JSON_DEPTH_MAX && members <= JSON_MEMBERS_MAX; i++) {
		char c = (char)text[i];
		if (in_string) {
			i += c == '\\';
			in_string = c != '"';
			continue;
		}
		if (c == '\0' || strchr(" \t\r\n", c) != NULL)
			continue;
		members += c == ',' || (is_opened && c != ']' && c != '}');
		depth += c == '[' || c == '{';
		depth -= depth > 0 && (c == ']' || c == '}');
		is_opened = c == '[' || c == '{';
		in_string = c == '"';
	}
	return depth <= JSON_DEPTH_MAX && members <= JSON_MEMBERS_MAX;
}

json_t *json_parse_object(const uint8_t *text, size_t len)
{
	json_error_t error;
	json_t *j = within_limits(text, len) ? json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, &error) : NULL;

	if (j == NULL || !json_is_object(j)) {
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

#define PADDING_MAX 2 /* characters */
#define DECODED_MAX(text_len) ((text_len) * 3 / 4 + 1) /* room that is never none */

static kms_status refuse_size(const struct json_field *f, struct kms_err *err)
{
	return kms_refuse(err, KMS_E_INVALID, "%s: must hold %lld to %lld bytes.", f->name, (long long)f->min, (long long)f->max);
}

static kms_status read_string(const struct json_field *f, const json_t *j, void *at, struct kms_err *err)
{
	const char *text = json_string_value(j);
	size_t len = json_string_length(j);

	if (text == NULL)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be a string.", f->name);
	if (len != strlen(text) || len < (size_t)f->min || len > (size_t)f->max) {
		if (f->min == f->max)
			return kms_refuse(err, KMS_E_INVALID, "%s: must have %lld characters.", f->name, (long long)f->max);
		return kms_refuse(err, KMS_E_INVALID, "%s: must have %lld to %lld characters.", f->name, (long long)f->min, (long long)f->max);
	}
	memcpy(at, text, len + 1);
	return KMS_OK;
}

static kms_status read_opaque(const struct json_field *f, const json_t *j, char *at, struct kms_err *err)
{
	const char *text = json_string_value(j);
	size_t left = json_string_length(j), n = 0;

	if (text == NULL)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be a string.", f->name);
	for (size_t len = 0; left > 0 && (len = utf8_char_len(text + n, left)) > 0 && n + len <= (size_t)f->max; n += len)
		left -= len;
	memcpy(at, text, n);
	at[n] = '\0';
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

#define NAMES_TEXT_MAX 400 /* of a message's 512 bytes */

/* Says which names there are. */
static kms_status refuse_name(const struct json_field *f, const char *text, struct kms_err *err)
{
	char names[NAMES_TEXT_MAX] = "";
	size_t len = 0;

	for (unsigned i = 0; f->name_at(i) != NULL && len < sizeof(names); i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i > 0 ? ", " : "", f->name_at(i));
	return kms_refuse(err, KMS_E_INVALID, "%s: unknown or unsupported value '%.64s'; there are: %s.", f->name, text, names);
}

static kms_status read_enum(const struct json_field *f, const json_t *j, void *at, struct kms_err *err)
{
	const char *text = json_string_value(j);
	int value = 0;

	if (text == NULL)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be a string.", f->name);
	value = f->parse(text);
	if (value == 0)
		return refuse_name(f, text, err);
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
			return refuse_name(f, text != NULL ? text : "(not a string)", err);
		set |= (uint32_t)bit;
	}
	memcpy(at, &set, sizeof(set));
	return KMS_OK;
}

/* The text of bytes that can be min..max long, or NULL. */
static const char *read_base64_text(const struct json_field *f, const json_t *j, size_t *ret_len, struct kms_err *err)
{
	const char *text = json_string_value(j);

	*ret_len = json_string_length(j);
	if (text == NULL)
		kms_ignore(kms_refuse(err, KMS_E_INVALID, "%s: must be a base64url string.", f->name)); /* the caller sees the NULL */
	else if (*ret_len > B64URL_LEN((size_t)f->max) + PADDING_MAX)
		kms_ignore(refuse_size(f, err));
	else
		return text;
	return NULL;
}

static kms_status read_secret(const struct json_field *f, const json_t *j, void *at, struct kms_err *err)
{
	size_t text_len = 0, len = 0;
	const char *text = read_base64_text(f, j, &text_len, err);
	SECRET_AUTO *value = NULL;

	if (text == NULL)
		return KMS_E_INVALID;
	if (text_len == 0)
		return f->min == 0 ? KMS_OK : refuse_size(f, err);
	if (f->is_unpadded && text[text_len - 1] == '=')
		return kms_refuse(err, KMS_E_INVALID, "%s: must be base64url without padding.", f->name);
	value = secret_new(DECODED_MAX(text_len));
	if (value == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap");
	if (!b64url_decode(text, text_len, secret_bytes(value), DECODED_MAX(text_len), &len))
		return kms_refuse(err, KMS_E_INVALID, "%s: is not valid base64url.", f->name);
	if (len < (size_t)f->min || len > (size_t)f->max)
		return refuse_size(f, err);
	secret_shrink(value, len);
	struct secret *owned = KMS_TAKE(value);
	memcpy(at, &owned, sizeof(owned));
	return KMS_OK;
}

static void bytes_clear(struct json_bytes *b)
{
	if (b->data != NULL)
		OPENSSL_cleanse(b->data, b->len);
	free(b->data);
	*b = (struct json_bytes){ 0 };
}
#define BYTES_AUTO __attribute__((cleanup(bytes_clear))) struct json_bytes

/* The other alphabet of RFC 4648, so that one decoder serves both. */
static void to_base64url(char *text)
{
	for (; *text != '\0'; text++)
		*text = *text == '+' ? '-' : *text == '/' ? '_' : *text;
}

static kms_status read_bytes(const struct json_field *f, const json_t *j, void *at, struct kms_err *err)
{
	size_t text_len = 0, len = 0;
	const char *text = read_base64_text(f, j, &text_len, err);
	BYTES_AUTO value = { 0 };
	BYTES_AUTO copy = { 0 };

	if (text == NULL)
		return KMS_E_INVALID;
	value = (struct json_bytes){ .data = malloc(DECODED_MAX(text_len)), .len = DECODED_MAX(text_len) };
	if (f->kind == J_BASE64)
		copy = (struct json_bytes){ .data = (uint8_t *)strdup(text), .len = text_len };
	if (value.data == NULL || (f->kind == J_BASE64 && copy.data == NULL)) {
		value.len = copy.len = 0;
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "%s", f->name);
	}
	if (copy.data != NULL) {
		to_base64url((char *)copy.data);
		text = (const char *)copy.data;
	}
	if (text_len > 0 && !b64url_decode(text, text_len, value.data, value.len, &len))
		return kms_refuse(err, KMS_E_INVALID, "%s: is not valid %s.", f->name, f->kind == J_BASE64 ? "base64" : "base64url");
	if (len < (size_t)f->min || len > (size_t)f->max)
		return refuse_size(f, err);
	value.len = len;
	memcpy(at, &value, sizeof(value));
	value = (struct json_bytes){ 0 };
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

static kms_status read_text(const struct json_field *f, const json_t *j, uint8_t *target, size_t i, struct kms_err *err)
{
	const char *text = json_string_value(j);
	char *copy = NULL;
	size_t count = i + 1;

	if (text == NULL || *text == '\0' || i >= (size_t)f->max)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be 1 to %lld strings, none of them empty.", f->name, (long long)f->max);
	copy = strdup(text);
	if (copy == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "%s", f->name);
	memcpy(target + f->offset + i * sizeof(copy), &copy, sizeof(copy));
	memcpy(target + f->count, &count, sizeof(count));
	return KMS_OK;
}

static kms_status read_texts(const struct json_field *f, json_t *j, uint8_t *target, struct kms_err *err)
{
	size_t i = 0;
	json_t *item = NULL;

	if (!json_is_array(j) || json_array_size(j) == 0)
		return read_text(f, j, target, 0, err);
	json_array_foreach(j, i, item)
		KMS_TRY(read_text(f, item, target, i, err));
	return KMS_OK;
}

static kms_status read_members(const struct json_schema *schema, const struct json_field *fields, json_t *object, uint8_t *target,
                               struct kms_err *err);

static kms_status read_list(const struct json_schema *schema, const struct json_field *f, json_t *j, uint8_t *target, struct kms_err *err)
{
	size_t i = 0, count = json_array_size(j);
	json_t *element = NULL;

	if (!json_is_array(j) || count > (size_t)f->max)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be an array of at most %lld objects.", f->name, (long long)f->max);
	json_array_foreach(j, i, element) {
		if (!json_is_object(element))
			return kms_refuse(err, KMS_E_INVALID, "%s: each element must be an object.", f->name);
		KMS_TRY(read_members(schema, f->fields, element, target + f->offset + i * f->stride, err));
	}
	memcpy(target + f->count, &count, sizeof(count));
	return KMS_OK;
}

static kms_status read_value(const struct json_schema *schema, const struct json_field *f, json_t *j, uint8_t *target, struct kms_err *err)
{
	void *at = target + f->offset;

	switch (f->kind) {
	case J_STRING: return read_string(f, j, at, err);
	case J_OPAQUE: return read_opaque(f, j, at, err);
	case J_INT: return read_int(f, j, at, err);
	case J_ENUM: return read_enum(f, j, at, err);
	case J_SET: return read_set(f, j, at, err);
	case J_SECRET: return read_secret(f, j, at, err);
	case J_BYTES:
	case J_BASE64: return read_bytes(f, j, at, err);
	case J_TAGS: return read_tags(f, j, at, err);
	case J_LIST: return read_list(schema, f, j, target, err);
	case J_TEXTS: return read_texts(f, j, target, err);
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

static void free_erased(char *text)
{
	if (text != NULL)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

static void clear_secret(uint8_t *at)
{
	struct secret *value = NULL;

	memcpy(&value, at, sizeof(value));
	secret_free(value);
	memset(at, 0, sizeof(value));
}

static void clear_texts(const struct json_field *f, uint8_t *target)
{
	for (size_t i = 0; i < (size_t)f->max; i++) {
		uint8_t *at = target + f->offset + i * sizeof(char *);
		char *text = NULL;
		memcpy(&text, at, sizeof(text));
		free_erased(text);
		memset(at, 0, sizeof(text));
	}
}

static void clear_members(const struct json_field *fields, uint8_t *target, bool only_secrets)
{
	for (const struct json_field *f = fields; f->name != NULL; f++) {
		uint8_t *at = target + f->offset;
		struct json_bytes bytes = { 0 };
		char *text = NULL;
		switch (f->kind) {
		case J_SECRET:
			clear_secret(at);
			break;
		case J_BYTES:
		case J_BASE64:
			if (!only_secrets)
				memcpy(&bytes, at, sizeof(bytes));
			bytes_clear(&bytes);
			break;
		case J_TAGS:
			if (!only_secrets)
				memcpy(&text, at, sizeof(text));
			free_erased(text);
			break;
		case J_TEXTS:
			if (!only_secrets)
				clear_texts(f, target);
			break;
		case J_OBJECT:
			clear_members(f->fields, target, only_secrets);
			break;
		case J_LIST:
			for (size_t i = 0; i < (size_t)f->max; i++)
				clear_members(f->fields, at + i * f->stride, only_secrets);
			break;
		case J_STRING:
		case J_OPAQUE:
		case J_BOOL:
		case J_INT:
		case J_ENUM:
		case J_SET:
			break;
		}
	}
}

void json_clear(const struct json_schema *schema, void *target)
{
	clear_members(schema->fields, target, false);
	OPENSSL_cleanse(target, schema->size);
}

void json_drop_secrets(const struct json_schema *schema, void *target) { clear_members(schema->fields, target, true); }

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
		return kms_refuse(err, KMS_E_INVALID, "Expected one JSON object without duplicate members, at most %d levels deep and with at most "
		                  "%d members.", JSON_DEPTH_MAX, JSON_MEMBERS_MAX);
	status = read_members(schema, schema->fields, j, target, err);
	if (status != KMS_OK) {
		json_clear(schema, target);
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

/* ---- answers ---- */

static void drop(json_t **container)
{
	json_decref(*container);
	*container = NULL;
}

void json_put(json_t **object, const char *name, json_t *value)
{
	if (*object == NULL)
		json_decref(value);
	else if (value == NULL || json_object_set_new(*object, name, value) != 0)
		drop(object);
}

void json_add(json_t **array, json_t *value)
{
	if (*array == NULL)
		json_decref(value);
	else if (value == NULL || json_array_append_new(*array, value) != 0)
		drop(array);
}

json_t *json_base64url(const void *bytes, size_t len)
{
	char *text = malloc(B64URL_LEN(len) + 1);
	json_t *j = NULL;

	if (text == NULL)
		return NULL;
	b64url_encode(bytes, len, text);
	j = json_stringn(text, B64URL_LEN(len));
	free_erased(text);
	return j;
}
