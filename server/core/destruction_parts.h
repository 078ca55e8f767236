/* server/core/destruction_parts.h - what the files behind destruction.h share. Not for others. */
#ifndef HOLDFAST_CORE_DESTRUCTION_PARTS_H
#define HOLDFAST_CORE_DESTRUCTION_PARTS_H

#include "server/core/destruction.h"

#define DESTRUCTION_MEMBER_MAX 192
#define DESTRUCTION_DRAIN_MS 5000 /* audit-log.md 11.3 step 3 */

/* Object ids, for one look at the end: a fresh look enumerates the whole token. Zeroed = empty. */
struct id_list {
	uint8_t (*ids)[STORE_ID_LEN]; /* owned */
	size_t count, cap;
};
void id_list_clear(struct id_list *l);
#define ID_LIST_AUTO __attribute__((cleanup(id_list_clear))) struct id_list
KMS_MUST_CHECK kms_status id_list_add(struct id_list *l, const uint8_t id[STORE_ID_LEN], struct kms_err *err);
/** Sorted, and each id once: for id_list_holds(). */
void id_list_sort(struct id_list *l);
bool id_list_holds(const struct id_list *sorted, const uint8_t id[STORE_ID_LEN]);

bool is_no_id(const uint8_t id[STORE_ID_LEN]);
bool is_same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN]);

/** What must not die of it: Holdfast's own keys, and what other vaults and epochs live by. A row that names one of these as its own was forged. Sorted, for id_list_holds(). */
KMS_MUST_CHECK kms_status destruction_spared(const struct destruction *d, struct id_list *ret, struct kms_err *err);
/** Does the leaf at seq say all of these? They are members as the canonical form writes them ("\"phase\":\"intent\""): no text inside a leaf can look like one. */
KMS_MUST_CHECK kms_status destruction_leaf_says(struct store *store, uint64_t seq, const char (*members)[DESTRUCTION_MEMBER_MAX], size_t count, bool *ret_says,
                                                struct kms_err *err);

/** Drain, destroy, drain again: whoever held it when it was destroyed has ended. Absence is success; then note it for the look. */
KMS_MUST_CHECK kms_status destruction_object(struct kms *kms, const uint8_t id[STORE_ID_LEN], struct id_list *destroyed, struct kms_err *err);
/** All of them, by one fresh look of another process that finds the log key. KMS_E_DEVICE when one is still there. */
KMS_MUST_CHECK kms_status destruction_look(struct kms *kms, struct store *store, const struct id_list *destroyed, struct kms_err *err);

/* A version of what dies. @return not KMS_OK to stop */
typedef kms_status (*destruction_version_fn)(void *arg, const struct store_key *key, const struct store_version *v, struct kms_err *err);
/** Each version of the vault's keys (deleted or not), or of the one key; with its public half, without tags. Also those that were erased. */
KMS_MUST_CHECK kms_status destruction_each_version(const struct destruction *d, destruction_version_fn each, void *arg, struct kms_err *err);
/** What is no version: roots, the pseudonym key, the epoch's key. As kind and id. */
#define DESTRUCTION_OBJECTS_MAX 16
struct destruction_object {
	enum store_tombstone_kind kind;
	uint8_t id[STORE_ID_LEN];
};
KMS_MUST_CHECK kms_status destruction_objects(const struct destruction *d, struct destruction_object ret[DESTRUCTION_OBJECTS_MAX], size_t *ret_count, struct kms_err *err);
/** Was it an object of the device? By its type: one that is wrapped and erased has no blob either. */
bool destruction_is_resident(const struct store_version *v);

/** A leaf and a tombstone for each thing that died, and the blobs erased, in the same units; what has a tombstone already is skipped. */
KMS_MUST_CHECK kms_status destruction_write_down(struct destruction *d, struct kms_err *err);

#endif
