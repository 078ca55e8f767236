/* server/restore_report.h - what a restore, or its rehearsal, has found: for people, and as JSON for programs. */
#ifndef HOLDFAST_SERVER_RESTORE_REPORT_H
#define HOLDFAST_SERVER_RESTORE_REPORT_H

#include "server/core/checkpoint.h"
#include "server/core/destruction.h"
#include "server/core/server_backup.h"

struct restore_object {
	uint8_t id[HSM_ID_LEN];
	enum hsm_purpose purpose;
};
struct restore_vault {
	uint8_t id[STORE_ID_LEN];
	char name[STORE_VAULT_NAME_MAX + 1];
};

/* Zeroed = empty; release with restore_report_clear(). */
struct restore_report {
	struct backup_manifest manifest;
	bool is_rehearsal;
	const char *database;               /* borrowed; where it is now */
	char origin[STORE_ORIGIN_MAX + 1];  /* of the log that goes on */
	uint64_t size;                      /* leaves that the backup held */
	struct log_verdict verdict;
	struct sweep_count sweep;
	struct load_report load;
	struct restore_vault *rootless;     /* owned: vaults that live in the database, and whose root the device has not */
	size_t rootless_count;
	struct restore_object *unknown;     /* owned: ours by their label, and no row names them */
	size_t unknown_count;
	bool has_witnesses;                 /* configured */
};
void restore_report_clear(struct restore_report *r);

/** Does everything work that the backup holds? */
bool restore_is_whole(const struct restore_report *r);
/** Is it known whether events are missing? Not when the log looks whole and a configured witness did not say what it knows. */
bool restore_is_certain(const struct restore_report *r);
/** To stdout, in plain words. */
void restore_report_print(const struct restore_report *r);
/** To stdout: one JSON object and a newline. @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status restore_report_print_json(const struct restore_report *r, struct kms_err *err);

#endif
