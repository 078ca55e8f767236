/* server/feed/leaf.h - a stored leaf, read back: what consumers of the log see of it. */
#ifndef HOLDFAST_FEED_LEAF_H
#define HOLDFAST_FEED_LEAF_H

#include <jansson.h>

#include "server/core/event.h"
#include "server/core/merkle.h"
#include "server/core/prune_cover.h"
#include "storage/store.h"

/* Strings are "" and numbers 0 where the leaf has no such member. Text that was not UTF-8 stands as its base64url, as in the leaf (NAME_b64). Zeroed = empty;
 * release with leaf_clear(). Everything borrowed lives as long as the leaf. */
struct leaf {
	uint64_t seq;
	int64_t ts_us;
	uint8_t id[GUID_LEN];
	uint8_t hash[MERKLE_HASH_LEN];
	bool is_pruned;  /* there is no body: only seq, ts_us, id, hash and tenant are known, and type is EVENT_NONE */
	bool is_damaged; /* of leaf_load(); is_pruned too. What is stored as its body is not what was hashed, or was removed without a pruning */
	enum event_type type; /* EVENT_NONE = one that this holdfastd does not know */
	const char *type_name;
	enum event_phase phase;
	enum event_result result;
	bool has_ref;
	uint64_t ref;
	bool has_tenant;
	uint8_t tenant[GUID_LEN];
	enum event_actor actor;
	bool has_pid;
	uint8_t pid[16];
	const char *auth, *role;
	const char *key_name, *key_version, *key_obj;
	const char *alg, *req, *corr, *err, *peer, *tls, *trace;
	int http;
	uint64_t count; /* 1 when the leaf says nothing */
	size_t approver_count;
	bool has_person;
	uint64_t person_ref;
	const json_t *det; /* NULL = none */
	const char *text; /* the canonical leaf, text_len bytes, not NUL-terminated */
	size_t text_len;
	json_t *root;     /* owned */
	char *owned_text; /* owned */
};

/** Read one stored event; *e is emptied on KMS_OK: the leaf owns its text. Whether it is what was hashed is not looked at: whoever shows or hands on what the log says takes
 *  leaf_load(). @return KMS_OK | KMS_E_INTEGRITY (it does not parse) | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status leaf_read(struct store_event *e, struct leaf *ret, struct kms_err *err);
/**
 * The same, compared with its hash, and an empty body with what was pruned. One that is damaged is KMS_OK too, with is_damaged and without a body: it is reported
 * (log_report_damage()), so that the log itself says so to all who follow it, and one leaf holds up nobody. *e is emptied, or left as it was.
 * @param cover  the reader's own; zeroed before its first leaf
 * @return KMS_OK | KMS_E_STORE | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status leaf_load(struct kms *kms, struct store *store, struct store_event *e, struct prune_cover *cover, struct leaf *ret, struct kms_err *err);
void leaf_clear(struct leaf *l);
#define LEAF_AUTO __attribute__((cleanup(leaf_clear))) struct leaf
/** A member of `det`: NULL, or 0, when it is not there or of another type. */
const char *leaf_det_text(const struct leaf *l, const char *name);
int64_t leaf_det_number(const struct leaf *l, const char *name);
/** "ok", "denied", "failed", "pending", "unknown". */
const char *leaf_result_name(enum event_result result);
bool leaf_result_parse(const char *name, enum event_result *ret);

#endif
