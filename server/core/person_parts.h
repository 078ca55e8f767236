/* server/core/person_parts.h - what the files behind person.h share. Not for others. */
#ifndef HOLDFAST_CORE_PERSON_PARTS_H
#define HOLDFAST_CORE_PERSON_PARTS_H

#include "server/core/person.h"

/** Seal text into row->sealed under the vault's key; row has its ref, vault and pid. @param may_ask  derive the key if it is not at hand
 *  @return KMS_OK | KMS_E_DEVICE (not at hand) | KMS_E_INTERNAL | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status person_seal(struct kms *kms, const struct store_vault *v, const char *text, size_t len, bool may_ask, struct store_person *row, struct kms_err *err);
/** @param ret_text  PERSON_TEXT_MAX + 1 bytes; NUL-terminated; erase it @return KMS_OK | KMS_E_CONFLICT (it does not open) | KMS_E_DEVICE | … */
KMS_MUST_CHECK kms_status person_open(struct kms *kms, const struct store_vault *v, const struct store_person *row, char *ret_text, size_t *ret_len, struct kms_err *err);
/** Have the vault's key at hand: if there is room, or, when somebody was met without it since, in the place of the one unused for longest. @return as person_seal() */
KMS_MUST_CHECK kms_status person_load_key(struct kms *kms, const struct store_vault *v, struct kms_err *err);

/** Is it time for a turn? Asks once. */
bool persons_are_due(struct persons *p, int64_t now_s);
/** It is over: whoever is met without his key from here on waits for the next one. */
void persons_turned(struct persons *p);

#endif
