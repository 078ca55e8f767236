/*
 * server/feed/leaf.c - a stored leaf becomes a struct. Nothing is shown as said by the log that does not have its hash; whether the tree is whole is the business of
 * the checkpointer and of holdfast-verify. A member of another type than the leaf's format gives it counts as not there.
 */
#include "server/feed/leaf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/checkpoint.h"

#define MEMBER_NAME_MAX 48

static const char *const PHASES[] = { [EVENT_SINGLE] = "single", [EVENT_INTENT] = "intent", [EVENT_OUTCOME] = "outcome" };
static const char *const RESULTS[] = {
	[EVENT_OK] = "ok",           [EVENT_REFUSED] = "denied",  [EVENT_FAILED] = "failed",
	[EVENT_PENDING] = "pending", [EVENT_UNKNOWN] = "unknown",
};
static const char *const ACTORS[] = {
	[EVENT_ACTOR_NONE] = "",       [EVENT_ACTOR_USER] = "user",     [EVENT_ACTOR_APP] = "app",
	[EVENT_ACTOR_NODE] = "node",   [EVENT_ACTOR_SYSTEM] = "system",
};

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));
	return text != NULL ? text : "";
}

/* Text from outside, which stands under NAME_b64 when it was not UTF-8. NULL = there is none. */
static const char *outside_text(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));
	char encoded[MEMBER_NAME_MAX];

	if (text != NULL || (size_t)snprintf(encoded, sizeof(encoded), "%s_b64", name) >= sizeof(encoded))
		return text;
	return json_string_value(json_object_get(o, encoded));
}

static const char *outside_text_of(const json_t *o, const char *name)
{
	const char *text = outside_text(o, name);
	return text != NULL ? text : "";
}

/* A number that is not there, negative, or no integer is `otherwise`. */
static uint64_t number_of(const json_t *o, const char *name, uint64_t otherwise)
{
	const json_t *n = json_object_get(o, name);
	return json_is_integer(n) && json_integer_value(n) >= 0 ? (uint64_t)json_integer_value(n) : otherwise;
}

/* @return false: a word that is not in the list */
static bool choose(const char *word, const char *const *list, size_t count, unsigned *ret)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(word, list[i]) != 0)
			continue;
		*ret = (unsigned)i;
		return true;
	}
	return false;
}

static void read_actor(const json_t *root, struct leaf *l)
{
	const json_t *actor = json_object_get(root, "actor");
	const char *pid = text_of(actor, "pid");
	unsigned kind = EVENT_ACTOR_NONE;
	size_t len = 0;

	(void)choose(text_of(actor, "kind"), ACTORS, KMS_ARRAY_LEN(ACTORS), &kind);
	l->actor = (enum event_actor)kind;
	l->has_pid = b64url_decode(pid, strlen(pid), l->pid, sizeof(l->pid), &len) && len == sizeof(l->pid);
	if (!l->has_pid)
		memset(l->pid, 0, sizeof(l->pid));
	l->auth = text_of(actor, "auth");
	l->role = outside_text_of(actor, "role");
}

static void read_members(const json_t *root, struct leaf *l)
{
	const json_t *key = json_object_get(root, "key"), *net = json_object_get(root, "net"), *pii = json_object_get(root, "pii");
	const char *tenant = text_of(root, "tenant");

	l->type = event_type_parse(l->type_name);
	l->has_ref = json_is_integer(json_object_get(root, "ref"));
	l->ref = number_of(root, "ref", 0);
	l->has_tenant = guid_parse(tenant, strlen(tenant), l->tenant);
	read_actor(root, l);
	l->key_name = outside_text_of(key, "name");
	l->key_version = outside_text_of(key, "ver");
	l->key_obj = text_of(key, "obj");
	l->alg = text_of(root, "alg");
	l->req = outside_text_of(root, "req");
	l->corr = outside_text_of(root, "corr");
	l->err = text_of(root, "err");
	l->peer = outside_text_of(net, "peer");
	l->tls = outside_text_of(net, "tls");
	l->trace = outside_text_of(root, "trace");
	l->http = (int)(number_of(root, "http", 0) % 1000);
	l->count = number_of(root, "count", 1);
	l->approver_count = json_array_size(json_object_get(root, "appr"));
	l->person_ref = number_of(pii, "ref", 0);
	l->has_person = l->person_ref != 0;
	l->det = json_object_get(root, "det");
	if (!json_is_object(l->det))
		l->det = NULL;
}

/* What every leaf of every type has. */
static kms_status check(const json_t *root, const struct store_event *e, struct leaf *l, struct kms_err *err)
{
	unsigned phase = EVENT_SINGLE, result = EVENT_OK;

	if (!json_is_object(root))
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "leaf %" PRIu64 " is not the JSON object that it must be", e->seq);
	l->type_name = text_of(root, "type");
	if (l->type_name[0] == '\0' || !json_is_integer(json_object_get(root, "seq")) || number_of(root, "seq", 0) != e->seq ||
	    !choose(text_of(root, "phase"), PHASES, KMS_ARRAY_LEN(PHASES), &phase) || !choose(text_of(root, "result"), RESULTS, KMS_ARRAY_LEN(RESULTS), &result))
		return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "leaf %" PRIu64 " has no type, phase or result, or says that it is another one", e->seq);
	l->phase = (enum event_phase)phase;
	l->result = (enum event_result)result;
	return KMS_OK;
}

/* What the row says beside the leaf: all that is known when its body is gone. */
static struct leaf of_row(const struct store_event *e)
{
	static const uint8_t NONE[STORE_ID_LEN];
	struct leaf l = { .seq = e->seq, .ts_us = e->ts_us, .is_pruned = true, .type_name = "", .auth = "", .role = "", .key_name = "", .key_version = "",
		          .key_obj = "", .alg = "", .req = "", .corr = "", .err = "", .peer = "", .tls = "", .trace = "", .count = 1, .text = "" };

	memcpy(l.id, e->id, sizeof(l.id));
	memcpy(l.hash, e->hash, sizeof(l.hash));
	memcpy(l.tenant, e->vault_id, sizeof(l.tenant));
	l.has_tenant = memcmp(e->vault_id, NONE, sizeof(NONE)) != 0; /* allowed: public */
	return l;
}

kms_status leaf_read(struct store_event *e, struct leaf *ret, struct kms_err *err)
{
	struct leaf l = of_row(e);
	json_error_t why;
	kms_status status;

	if (e->leaf_len > 0) {
		if (e->leaf_len > STORE_LEAF_MAX)
			return kms_fail(err, KMS_E_INTEGRITY, KMS_SRC_SELF, 0, "leaf %" PRIu64 " has %zu bytes", e->seq, e->leaf_len);
		l.root = json_loadb(e->leaf, e->leaf_len, JSON_REJECT_DUPLICATES, &why);
		if (l.root == NULL && json_error_code(&why) == json_error_out_of_memory)
			return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, ENOMEM, "leaf %" PRIu64, e->seq);
		status = check(l.root, e, &l, err);
		if (status != KMS_OK) {
			json_decref(l.root);
			return status;
		}
		l.is_pruned = false;
		read_members(l.root, &l);
		l.owned_text = KMS_TAKE(e->leaf);
		l.text = l.owned_text;
		l.text_len = e->leaf_len;
	}
	store_event_clear(e);
	*ret = l;
	return KMS_OK;
}

kms_status leaf_load(struct kms *kms, struct store *store, struct store_event *e, struct prune_cover *cover, struct leaf *ret, struct kms_err *err)
{
	struct kms_err why = { 0 };
	kms_status status = prune_check_leaf(kms, store, e, cover, &why);

	if (status == KMS_OK) {
		status = leaf_read(e, ret, &why);
		if (status == KMS_E_INTEGRITY)
			log_report_damage(kms->log, e->seq, why.detail);
	}
	if (status == KMS_E_INTEGRITY) {
		*ret = of_row(e);
		ret->is_damaged = true;
		return KMS_OK;
	}
	if (status != KMS_OK && err != NULL)
		*err = why;
	return status;
}

void leaf_clear(struct leaf *l)
{
	json_decref(l->root);
	free(l->owned_text);
	*l = (struct leaf){ 0 };
}

const char *leaf_det_text(const struct leaf *l, const char *name) { return outside_text(l->det, name); }

int64_t leaf_det_number(const struct leaf *l, const char *name)
{
	const json_t *n = json_object_get(l->det, name);
	return json_is_integer(n) ? json_integer_value(n) : 0;
}

const char *leaf_result_name(enum event_result result) { return (unsigned)result < KMS_ARRAY_LEN(RESULTS) ? RESULTS[result] : ""; }

bool leaf_result_parse(const char *name, enum event_result *ret)
{
	unsigned result = 0;

	if (!choose(name, RESULTS, KMS_ARRAY_LEN(RESULTS), &result))
		return false;
	*ret = (enum event_result)result;
	return true;
}
