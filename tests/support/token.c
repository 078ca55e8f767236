/* tests/support/token.c - see token.h. */
#include "tests/support/token.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/secret.h"
#include "tests/support/temp.h"

#define LABEL "holdfast-test"
#define LOOK_FLAG "--look"
#define HEAP_BYTES (1 << 20)

#define MUST(condition)                                                              \
	do {                                                                         \
		if (!(condition)) {                                                  \
			(void)fprintf(stderr, "%s: failed: %s\n", KMS_WHERE, #condition); \
			abort();                                                     \
		}                                                                    \
	} while (0)

const char *t_token_module(void)
{
	static const char *const PLACES[] = { "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so",
		                              "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so" };
	const char *chosen = getenv("HOLDFAST_TEST_MODULE");

	if (chosen != NULL)
		return chosen[0] != '\0' ? chosen : NULL;
	for (size_t i = 0; i < KMS_ARRAY_LEN(PLACES); i++)
		if (access(PLACES[i], R_OK) == 0)
			return PLACES[i];
	return NULL;
}

bool t_token_is_missing(void)
{
	if (t_token_module() != NULL)
		return false;
	(void)printf("skipped: SoftHSM 2 is not installed (HOLDFAST_TEST_MODULE can name its library)\n");
	return true;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	MUST(fd >= 0);
	MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	MUST(close(fd) == 0);
}

static void set_paths(struct t_token *t, const char *dir)
{
	MUST(snprintf(t->dir, sizeof(t->dir), "%s", dir) < (int)sizeof(t->dir) - 16);
	(void)snprintf(t->token_dir, sizeof(t->token_dir), "%.230s/tokens", dir);
	(void)snprintf(t->conf, sizeof(t->conf), "%.230s/softhsm2.conf", dir);
	(void)snprintf(t->pin_file, sizeof(t->pin_file), "%.230s/pin", dir);
	t->look_argv[0] = "/proc/self/exe";
	t->look_argv[1] = LOOK_FLAG;
	t->look_argv[2] = t->dir;
	t->look_argv[3] = NULL;
	t->cfg = (struct p11_config){
		.module = t_token_module(),
		.uri = "pkcs11:token=" LABEL,
		.pin_file = t->pin_file,
		.token_dir = t->token_dir,
		.sessions = 4,
		.wait_ms = 2000,
		.cache_keys = 100,
		.look_argv = t->look_argv,
	};
}

/* C_InitToken and C_InitPIN, as an administrator would with softhsm2-util. */
static void init_token(const char *module)
{
	static const char LABEL_PADDED[] = LABEL "                                ";
	unsigned char label[32], so_pin[] = T_TOKEN_SO_PIN, pin[] = T_TOKEN_PIN;
	CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
	CK_FUNCTION_LIST *f = p11_kit_module_load(module, P11_KIT_MODULE_UNMANAGED);
	CK_SLOT_ID slot;
	CK_ULONG count = 1;
	CK_SESSION_HANDLE session;

	MUST(f != NULL);
	memcpy(label, LABEL_PADDED, sizeof(label));
	MUST(f->C_Initialize(&args) == CKR_OK);
	MUST(f->C_GetSlotList(CK_TRUE, &slot, &count) == CKR_OK && count == 1);
	MUST(f->C_InitToken(slot, so_pin, sizeof(so_pin) - 1, label) == CKR_OK);
	MUST(f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session) == CKR_OK);
	MUST(f->C_Login(session, CKU_SO, so_pin, sizeof(so_pin) - 1) == CKR_OK);
	MUST(f->C_InitPIN(session, pin, sizeof(pin) - 1) == CKR_OK);
	MUST(f->C_Finalize(NULL) == CKR_OK);
}

void t_token_make(struct t_token *t)
{
	char dir[T_TEMP_MAX];
	char conf[T_TOKEN_PATH + 128];

	memset(t, 0, sizeof(*t));
	if (!CRYPTO_secure_malloc_initialized())
		MUST(secret_heap_init(HEAP_BYTES, NULL) == KMS_OK);
	MUST(t_token_module() != NULL);
	t_temp_dir("token", dir);
	set_paths(t, dir);
	MUST(mkdir(t->token_dir, 0700) == 0);
	(void)snprintf(conf, sizeof(conf), "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
	               t->token_dir);
	write_file(t->conf, conf, 0600);
	write_file(t->pin_file, T_TOKEN_PIN "\n", 0600);
	MUST(setenv("SOFTHSM2_CONF", t->conf, 1) == 0);
	init_token(t->cfg.module);
}

void t_copy_tree(const char *from, const char *to)
{
	char source[PATH_MAX], target[PATH_MAX], buffer[4096];
	DIR *dir = opendir(from);
	struct dirent *entry;

	MUST(dir != NULL && mkdir(to, 0700) == 0);
	while ((entry = readdir(dir)) != NULL) {
		struct stat st;
		FILE *in, *out;
		size_t n;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		MUST(snprintf(source, sizeof(source), "%s/%s", from, entry->d_name) < PATH_MAX);
		MUST(snprintf(target, sizeof(target), "%s/%s", to, entry->d_name) < PATH_MAX);
		MUST(stat(source, &st) == 0);
		if (S_ISDIR(st.st_mode)) {
			t_copy_tree(source, target);
			continue;
		}
		in = fopen(source, "rb");
		out = fopen(target, "wb");
		MUST(in != NULL && out != NULL);
		while ((n = fread(buffer, 1, sizeof(buffer), in)) > 0)
			MUST(fwrite(buffer, 1, n, out) == n);
		MUST(fclose(in) == 0 && fclose(out) == 0);
	}
	MUST(closedir(dir) == 0);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

void t_token_remove(struct t_token *t)
{
	const int open_dirs = 8;

	if (t->dir[0] != '\0')
		(void)nftw(t->dir, remove_one, open_dirs, FTW_DEPTH | FTW_PHYS);
	t->dir[0] = '\0';
}

bool t_token_is_look(int argc, char **argv)
{
	return argc == 3 && strcmp(argv[1], LOOK_FLAG) == 0;
}

int t_token_look_main(char **argv)
{
	struct t_token t = { 0 };

	if (secret_heap_init(HEAP_BYTES, NULL) != KMS_OK)
		return EXIT_FAILURE;
	set_paths(&t, argv[2]);
	return p11_look_main(&t.cfg);
}
