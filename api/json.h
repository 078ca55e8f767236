/* api/json.h - JSON in and out: an erasing allocator, strict parsing, and table-driven validation into plain structs. */
#ifndef HOLDFAST_API_JSON_H
#define HOLDFAST_API_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/base/secret.h"

static inline void json_decref_at(json_t **j) { json_decref(*j); }
#define JSON_AUTO __attribute__((cleanup(json_decref_at))) json_t

enum json_kind {
	J_STRING, /* char[max + 1] */
	J_OPAQUE, /* char[max + 1]: any string; what is longer is cut at a character */
	J_BOOL,   /* bool */
	J_INT,    /* int64_t, min..max */
	J_ENUM,   /* int, through parse(); unknown names are refused */
	J_SET,    /* uint32_t: array of names, each through parse() giving one bit; empty is refused when min > 0 */
	J_SECRET, /* struct secret *, from base64url; min..max bytes; empty = NULL; owned */
	J_BYTES,  /* struct json_bytes, from base64url; min..max bytes; owned */
	J_BASE64, /* the same, from base64url or base64 */
	J_OBJECT, /* nested fields of the same struct */
	J_LIST,   /* array of at most max objects: the fields are those of one element of `stride` bytes; their number goes to the size_t at `count` */
	J_TEXTS,  /* char *[max], malloc()ed: a string, or an array of 1..max of them; none is empty; their number goes to the size_t at `count`; owned */
	J_TAGS,   /* char *, malloc()ed: an object of strings to strings, as compact text; owned */
};

#define J_NO_FLAG SIZE_MAX

/* What a member owns; absent = NULL. Present but empty has data and length 0. */
struct json_bytes {
	uint8_t *data; /* malloc()ed, erased when released */
	size_t len;
};

struct json_field {
	const char *name;
	enum json_kind kind;
	size_t offset;
	size_t flag; /* offset of a bool set when the member is there, or J_NO_FLAG */
	bool required;
	int64_t min, max;               /* characters, value, bytes, or elements */
	int (*parse)(const char *text); /* J_ENUM, J_SET: 0 = unknown */
	const char *(*name_at)(unsigned i); /* J_ENUM, J_SET: the names that parse() knows, NULL after the last; for messages and the API's description */
	const struct json_field *fields; /* J_OBJECT, J_LIST; ended by a NULL name */
	size_t stride, count;            /* J_LIST, J_TEXTS */
	bool is_unpadded;                /* J_SECRET: '=' is refused */
	bool is_nullable;                /* in answers, for the API's description only: null stands for none */
};

struct json_schema {
	const char *name;                /* in the API's description */
	const struct json_field *fields; /* ended by a NULL name */
	size_t size;                     /* of the struct */
	size_t body_max;                 /* bytes of the whole body; 0 = the usual limit */
	bool is_strict;                  /* unknown members are refused (our own dialects) or ignored (Key Vault) */
	bool may_be_empty;               /* no body at all is an empty object */
	void (*init)(void *target);      /* defaults; NULL = zeroes */
};

#define JSON_DEPTH_MAX 16
#define JSON_MEMBERS_MAX 256
#define JSON_TAGS_MAX 15
#define JSON_TAG_TEXT_MAX 256 /* characters */

/** Install the erasing allocator and seed the hash; before the first use and before threads. */
void json_setup(void);
/**
 * Parse and validate a body. Duplicate members, trailing text, wrong types and what exceeds depth or number are refused; null = absent.
 * @param target  schema->size bytes; filled only if all is valid, otherwise left as init() made it; release it with json_clear()
 * @return KMS_OK | KMS_E_INVALID (message names the member) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status json_read(const struct json_schema *schema, const uint8_t *body, size_t len, void *target, struct kms_err *err);
/** Erase and release what the members of a struct own. */
void json_clear(const struct json_schema *schema, void *target);
/** Of what the members own, only the secrets; json_clear() is still due. */
void json_drop_secrets(const struct json_schema *schema, void *target);
/** Strict parse of a whole document (an object), for tokens. NULL when it is not one. The caller owns it. */
json_t *json_parse_object(const uint8_t *text, size_t len);
/** Compact text of an object, malloc()ed (not jansson's allocator); NULL without memory. */
char *json_text(const json_t *j, size_t *ret_len);

/* Answers are built step by step: a step that fails makes the whole NULL, and all further steps do nothing. */

/** Set a member; takes the value in every case. */
void json_put(json_t **object, const char *name, json_t *value);
/** Append to an array; takes the value in every case. */
void json_add(json_t **array, json_t *value);
/** Base64url text of bytes, of which no copy is left behind. */
json_t *json_base64url(const void *bytes, size_t len);

#endif
