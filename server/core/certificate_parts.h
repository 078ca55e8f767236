/* server/core/certificate_parts.h - what the files of certificates share. Not for others. */
#ifndef HOLDFAST_CORE_CERTIFICATE_PARTS_H
#define HOLDFAST_CORE_CERTIFICATE_PARTS_H

#include "server/core/certificate.h"
#include "server/core/epoch.h"

#define CERTIFICATE_SUFFIX "/destruction-certificate/v1" /* of the first line, behind the host */

/** "kms.example.com" of an origin. @return its length, 1..NOTE_NAME_MAX */
static inline int certificate_host_len(const char *origin)
{
	size_t n = 0;

	while (origin[n] != '\0' && origin[n] != '/')
		n++;
	return (int)n;
}

/**
 * The two lines that are signed (audit-log.md 11.1, 11.2), from a row that is filled and its tombstones.
 * @param ret_text  malloc()ed, NUL-terminated; owned by the caller
 * @return KMS_OK | KMS_E_STORE (also: too many keys for one certificate) | KMS_E_NOMEM
 */
KMS_MUST_CHECK kms_status certificate_text(struct store *store, const struct store_certificate *c, char **ret_text, size_t *ret_len, struct kms_err *err);
/** The attestation key as a key of notes. @param origin  of the log that the certificate refers to */
KMS_MUST_CHECK kms_status certificate_key(const struct kms *kms, const char *origin, struct note_key *ret, struct kms_err *err);

/** What was checked, as canonical JSON. @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status certificate_checks(const struct destruction *d, char **ret_text, struct kms_err *err);
/** The device, as it describes itself. */
KMS_MUST_CHECK kms_status certificate_device(const struct hsm_info *device, char **ret_text, struct kms_err *err);
/** Where copies may be that nothing here can see. */
KMS_MUST_CHECK kms_status certificate_residual(const struct hsm_info *device, enum certificate_method method, char **ret_text, struct kms_err *err);
/* Backups that were made before the destruction, and what became of them. */
struct certificate_copies {
	char *text;      /* canonical JSON; owned */
	int64_t until_s; /* when the last of those that live ends; STORE_NO_TIME = there is none */
};
KMS_MUST_CHECK kms_status certificate_copies(struct kms *kms, struct store *store, const struct store_certificate *c, struct certificate_copies *ret,
                                             struct kms_err *err);
/** The copies of a pending certificate, if they have all ended. @return KMS_OK | KMS_E_CONFLICT (one lives) | KMS_E_STORE | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status certificate_copies_ended(struct store *store, const struct store_certificate *c, char **ret_text, struct kms_err *err);

#endif
