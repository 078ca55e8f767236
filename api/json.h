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
	J_BOOL,   /* bool */
	J_INT,    /* int64_t, min..max */
	J_ENUM,   /* int, through parse(); unknown names are refused */
	J_SET,    /* uint32_t: array of names, each through parse() giving one bit; empty is refused when min > 0 */
	J_SECRET, /* struct secret *, from base64url; min..max bytes; owned by the struct's clear function */
	J_OBJECT, /* nested fields of the same struct */
	J_TAGS,   /* char *, malloc()ed: an object of strings to strings, as compact text; owned likewise */
};

#define J_NO_FLAG SIZE_MAX

struct json_field {
	const char *name;
	enum json_kind kind;
	size_t offset;
	size_t flag; /* offset of a bool set when the member is there, or J_NO_FLAG */
	bool required;
	int64_t min, max;               /* characters, value, or bytes */
	int (*parse)(const char *text); /* J_ENUM, J_SET: 0 = unknown */
	const struct json_field *fields; /* J_OBJECT; ended by a NULL name */
};

struct json_schema {
	const struct json_field *fields; /* ended by a NULL name */
	size_t size;                     /* of the struct */
	bool is_strict;                  /* unknown members are refused (our own dialects) or ignored (Key Vault) */
	bool may_be_empty;               /* no body at all is an empty object */
	void (*init)(void *target);      /* defaults; NULL = zeroes */
	void (*clear)(void *target);     /* releases what members own; NULL = nothing to release */
};

#define JSON_DEPTH_MAX 16
#define JSON_MEMBERS_MAX 256
#define JSON_TAGS_MAX 15
#define JSON_TAG_TEXT_MAX 256 /* characters */

/** Install the erasing allocator and seed the hash; before the first use and before threads. */
void json_setup(void);
/**
 * Parse and validate a body. Duplicate members, trailing text, wrong types and what exceeds depth or number are refused; null = absent.
 * @param target  schema->size bytes; filled only if all is valid, otherwise left as init() made it
 * @return KMS_OK | KMS_E_INVALID (message names the member) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status json_read(const struct json_schema *schema, const uint8_t *body, size_t len, void *target, struct kms_err *err);
/** Strict parse of a whole document (an object), for tokens. NULL when it is not one. The caller owns it. */
json_t *json_parse_object(const uint8_t *text, size_t len);
/** Compact text of an object, malloc()ed (not jansson's allocator); NULL without memory. */
char *json_text(const json_t *j, size_t *ret_len);

#endif
