/* server/cli/witness.c - `holdfast witness`: the program holdfast-witness, which is one of its own because it stands on another machine. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/cli/command.h"

#define PROGRAM "holdfast-witness"

/* Reached only when something stands before the word: from it on, everything is for the other program, which knows other options. */
enum cli_exit witness(struct call *call)
{
	(void)call;
	cli_say("`witness` must be the first word: holdfast witness ARGS...; holdfast witness --help says which");
	return CLI_USAGE;
}

enum cli_exit witness_run(char **argv)
{
	char self[PATH_MAX] = "", beside[PATH_MAX] = "";
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash = len > 0 ? strrchr(self, '/') : NULL;
	char program[] = PROGRAM;

	argv[0] = program;
	if (slash != NULL) {
		*slash = '\0';
		if (snprintf(beside, sizeof(beside), "%s/" PROGRAM, self) < (int)sizeof(beside) && access(beside, X_OK) == 0)
			(void)execv(beside, argv);
	}
	(void)execvp(PROGRAM, argv);
	cli_say(PROGRAM ": %s; it belongs beside this program, or in PATH", strerror(errno));
	return CLI_FAILED;
}
