/* api/report_parts.h - what the files of the reports share: whose events and keys a caller may ask about, and the numbers of the query. */
#ifndef HOLDFAST_API_REPORT_PARTS_H
#define HOLDFAST_API_REPORT_PARTS_H

#include "api/view.h"
#include "server/feed/query.h"
#include "server/feed/report.h"

#define REPORT_PAGE_MS 250 /* no page looks longer */

struct report_scope {
	bool is_all; /* every vault, and the installation */
	uint8_t vault_id[STORE_ID_LEN];
};

/** Which vault was asked for, or the caller's own; the event says so. @param name  of the report, static @return KMS_OK | KMS_E_NOTFOUND (also: not the caller's to see) */
KMS_MUST_CHECK kms_status report_scope(struct request *r, const char *name, struct report_scope *ret, struct kms_err *err);
/** May the caller see what concerns this vault? */
bool report_may_see(const struct request *r, const uint8_t vault_id[STORE_ID_LEN]);
/** A number of the query, 0..max; *ret stays as it is when it was not given. */
KMS_MUST_CHECK kms_status report_number(const struct request *r, const char *name, int64_t max, int64_t *ret, struct kms_err *err);
static inline void query_close_at(struct query **q)
{
	query_close(*q); /* accepts NULL */
}
#define QUERY_AUTO __attribute__((cleanup(query_close_at))) struct query
kms_status report_bad_cursor(struct kms_err *err);

#endif
