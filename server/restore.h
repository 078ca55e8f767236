/*
 * server/restore.h - `holdfastd restore`: a backup of the server becomes the database of an empty machine, or of a rehearsal; everything that a start would check is checked,
 * and nothing is served. Manual: docs/restore.md.
 */
#ifndef HOLDFAST_SERVER_RESTORE_H
#define HOLDFAST_SERVER_RESTORE_H

#include "server/config.h"
#include "server/core/checkpoint.h"

#define RESTORE_WHOLE 0      /* restored (a rehearsal: would be), and every version of it can be loaded. Whether people must accept it first is in the report */
#define RESTORE_FAILED 1     /* not restored: the machine is as it was, but that what had been destroyed is destroyed */
#define RESTORE_INCOMPLETE 3 /* restored, but some keys do not work: the report says which */
#define RESTORE_UNCERTAIN 4  /* restored, and every version can be loaded; whether events are missing is not known, since a witness did not answer */

struct restore_options {
	const char *backup;   /* the file */
	bool shows_config;    /* print the configuration in the backup, and do nothing else */
	bool as_json;
	const char *rehearse; /* directory; NULL = in earnest */
	const char *token, *pin; /* of a rehearsal: another token than a copy of hsm.token_dir, its PIN file; NULL = none */
	bool keeps;           /* leave the rehearsal's directory */
};

/* What main.c does at a start, step by step, and on another file than the configured database. */
struct restore_ports {
	void *arg;
	struct kms *kms; /* filled by the steps */
	/* Keep every other process from opening this database for writing, as long as ret_fd is open. */
	kms_status (*lock)(void *arg, const char *database, int *ret_fd, struct kms_err *err);
	/* Which token does the configuration mean? Nobody logs in, so nothing of it changes. */
	kms_status (*identify)(void *arg, struct hsm_info *ret_info, struct kms_err *err);
	kms_status (*open_device)(void *arg, struct kms_err *err);
	/* The writer's connection, which close() closes; the installation's keys. */
	kms_status (*open_database)(void *arg, const char *path, struct store **ret_store, struct kms_err *err);
	/* Is it the database that was last signed? Then its writer. */
	kms_status (*open_log)(void *arg, struct log_verdict *ret_verdict, struct kms_err *err);
	kms_status (*open_reader)(const char *path, struct store **ret_store, struct kms_err *err);
	/* All of it; what was not opened does not matter. */
	void (*close)(void *arg);
};

/** @return exit status; what went wrong was said on stderr. @param c  a rehearsal changes it: what it means afterwards is in the scratch directory */
int restore_main(const struct restore_options *o, const struct restore_ports *ports, struct config *c);

#endif
