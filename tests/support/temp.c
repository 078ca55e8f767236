/* tests/support/temp.c - see temp.h. */
#include "tests/support/temp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void t_temp_dir(const char *name, char ret_dir[T_TEMP_MAX])
{
	const char *parent = getenv("TMPDIR");

	if (parent == NULL || strlen(parent) > T_TEMP_MAX / 2)
		parent = "/tmp";
	(void)snprintf(ret_dir, T_TEMP_MAX, "%s/holdfast-%s-XXXXXX", parent, name);
	if (mkdtemp(ret_dir) == NULL) {
		perror(ret_dir);
		abort();
	}
}
