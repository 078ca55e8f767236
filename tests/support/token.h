/*
 * tests/support/token.h - a fresh SoftHSM token in a directory of its own, ready for hsm_open_pkcs11(). One at a time in a process, since
 * PKCS#11 has one state for each process.
 *
 *	int main(int argc, char **argv)
 *	{
 *		if (t_token_is_look(argc, argv))
 *			return t_token_look_main(argv);  // this program is its own helper of hsm_keys_gone()
 *		if (t_token_is_missing())
 *			return 0;
 *		...
 */
#ifndef HOLDFAST_TESTS_SUPPORT_TOKEN_H
#define HOLDFAST_TESTS_SUPPORT_TOKEN_H

#include <stdbool.h>

#include "hsm/pkcs11/pkcs11.h"

#define T_TOKEN_PATH 256
#define T_TOKEN_PIN "1234-test"
#define T_TOKEN_SO_PIN "5678-test"

struct t_token {
	char dir[T_TOKEN_PATH];      /* holds all that follows; removed by t_token_remove() */
	char token_dir[T_TOKEN_PATH];
	char conf[T_TOKEN_PATH];     /* SOFTHSM2_CONF */
	char pin_file[T_TOKEN_PATH];
	const char *look_argv[4];
	struct p11_config cfg;       /* four sessions, 2 s wait, 100 cached keys; change before opening */
};

/** The SoftHSM library, or NULL when none is installed. HOLDFAST_TEST_MODULE overrides the usual places; empty = act as if there were none. */
const char *t_token_module(void);
/** True when there is none: the reason is printed, main() returns 0. */
bool t_token_is_missing(void);
/** Make an initialised token "holdfast-test" with user PIN and PIN file; also sets up the secure heap. What goes wrong aborts. */
void t_token_make(struct t_token *t);
/** Copy a directory with the files and directories in it, as a backup would. */
void t_copy_tree(const char *from, const char *to);
/** Remove the directory. */
void t_token_remove(struct t_token *t);

bool t_token_is_look(int argc, char **argv);
int t_token_look_main(char **argv);

#endif
