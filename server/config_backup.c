/* server/config_backup.c - see config_backup.h. */
#include "server/config_backup.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool config_is_backup_directory(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & (S_IRWXG | S_IRWXO)) == 0 && access(path, R_OK | W_OK | X_OK) == 0;
}

/* By their real names: a link to the token's directory is the token's directory. */
static bool is_inside(const char *path, const char *directory)
{
	char inner[PATH_MAX], outer[PATH_MAX];
	size_t len = 0;

	if (realpath(path, inner) == NULL || realpath(directory, outer) == NULL)
		return false;
	len = strlen(outer);
	return strncmp(inner, outer, len) == 0 && (inner[len] == '/' || inner[len] == '\0');
}

const char *config_check_backup(const struct config *c)
{
	if (c->backup.directory != NULL && c->hsm.token_dir != NULL && is_inside(c->backup.directory, c->hsm.token_dir))
		return "a directory outside hsm.token_dir: backups must not lie with the keys that seal them";
	return NULL;
}
