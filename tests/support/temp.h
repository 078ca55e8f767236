/* tests/support/temp.h - a new directory of a test's own, under TMPDIR or /tmp. */
#ifndef HOLDFAST_TESTS_SUPPORT_TEMP_H
#define HOLDFAST_TESTS_SUPPORT_TEMP_H

#define T_TEMP_MAX 64 /* so that a socket's path fits behind it; a longer TMPDIR is not used */

/** "TMPDIR/holdfast-NAME-XXXXXX"; aborts when it cannot be made. */
void t_temp_dir(const char *name, char ret_dir[T_TEMP_MAX]);

#endif
