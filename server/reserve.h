/* server/reserve.h - disk space kept in reserve, so that the log's last words fit on a full disk (audit-log.md 6.2). */
#ifndef HOLDFAST_SERVER_RESERVE_H
#define HOLDFAST_SERVER_RESERVE_H

#include "server/base/err.h"

/** Hold `mib` MiB in a file beside the database ("{database}.reserve"). @return KMS_OK | KMS_E_STORE (no room: make some before serving) */
KMS_MUST_CHECK kms_status reserve_hold(const char *database, unsigned mib, struct kms_err *err);
/** Give the space back. Harmless when there is none. */
void reserve_release(const char *database);

#endif
