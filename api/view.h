/* api/view.h - pieces of answers that several handlers of the management API build, and what they read of a request's path and query. */
#ifndef HOLDFAST_API_VIEW_H
#define HOLDFAST_API_VIEW_H

#include "api/api.h"

/* As json_put(): a step that fails makes the whole NULL. */
void view_put_text(json_t **object, const char *name, const char *text);
/** Nothing for STORE_NO_TIME. */
void view_put_time(json_t **object, const char *name, int64_t time_s);
void view_put_guid(json_t **object, const char *name, const uint8_t id[STORE_ID_LEN]);

/** "caller" or "group". */
const char *view_kind(enum store_principal_kind kind);

/* A role for people. */
struct view_role {
	char name[STORE_ROLE_NAME_MAX + 1]; /* slug of a built-in role, name of a custom one */
	char id[GUID_TEXT_LEN + 1];
};
/** By its number. @return KMS_OK | KMS_E_STORE */
KMS_MUST_CHECK kms_status view_role(struct request *r, uint32_t number, struct view_role *ret, struct kms_err *err);

/** A principal or group; `value` of lists of them. @param ret  set on KMS_OK, owned by the caller */
KMS_MUST_CHECK kms_status view_principal(struct request *r, const struct store_principal *p, json_t **ret, struct kms_err *err);

/** An id of the path or the query. @param what  names it in the refusal: "The group's id" @return KMS_OK | KMS_E_INVALID */
KMS_MUST_CHECK kms_status view_parse_id(const char *text, const char *what, uint8_t ret_id[STORE_ID_LEN], struct kms_err *err);
/** Where a page ordered by id begins: the id of `after`, or NULL. @param store_id  where the id goes */
KMS_MUST_CHECK kms_status view_parse_after(const struct request *r, uint8_t store_id[STORE_ID_LEN], const uint8_t **ret_after, struct kms_err *err);

#endif
