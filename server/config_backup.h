/* server/config_backup.h - the rules for the section of backups, and the configuration as it goes into them. */
#ifndef HOLDFAST_SERVER_CONFIG_BACKUP_H
#define HOLDFAST_SERVER_CONFIG_BACKUP_H

#include "server/config.h"

/** A directory that the daemon can write to and nobody else can read: backups are sealed, but the database is copied there for as long as one is made. */
bool config_is_backup_directory(const char *path);
/** @return NULL, or what backup.directory must be, beside what config_is_backup_directory() asks; static */
const char *config_check_backup(const struct config *c);

#endif
