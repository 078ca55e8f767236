/* server/core/principal_parts.h - shared by principal*.c alone. */
#ifndef HOLDFAST_CORE_PRINCIPAL_PARTS_H
#define HOLDFAST_CORE_PRINCIPAL_PARTS_H

#include "server/core/principal.h"

/** A secret of a principal, not yet entered anywhere. @param days 1..SECRET_DAYS_MAX @param ret_secret  owned by the caller
 *  @return KMS_OK | KMS_E_NOMEM | KMS_E_INTERNAL */
KMS_MUST_CHECK kms_status principal_new_secret(const struct store_principal *p, enum store_credential_kind kind, unsigned days, int64_t now_s,
                                               struct store_credential *ret, struct secret **ret_secret, struct kms_err *err);

#endif
