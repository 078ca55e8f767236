/* api/entries.h - the event log pulled in another format than its own (spec/audit-log.md 10.1). */
#ifndef HOLDFAST_API_ENTRIES_H
#define HOLDFAST_API_ENTRIES_H

#include <stdio.h>

#include "api/api.h"
#include "server/feed/format.h"

/** The query's `format`: FORMAT_NATIVE, also when it has none, or FORMAT_AZURE. @return KMS_OK | KMS_E_INVALID */
KMS_MUST_CHECK kms_status entries_format(const struct request *r, enum feed_format *ret, struct kms_err *err);
/** Records of the leaves from start up to end, a line each: of those that the caller may see and the format shows. */
KMS_MUST_CHECK kms_status entries_write(struct request *r, enum feed_format format, uint64_t start, uint64_t end,
                                        bool (*may_see)(const struct request *r, const struct store_event *e), FILE *out, struct kms_err *err);

#endif
