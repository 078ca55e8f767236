/*
 * tests/support/stepper.c - preloaded into holdfastd by the tests that interrupt it (tests/support/stepper.mjs). It counts the calls that change what outlives the process,
 * its durable steps: syncs, files made, cut, moved and removed, buffers flushed to files (SoftHSM's objects), helpers started. At a step that the test names it ends the
 * process, or takes the token away, or lets the disk be full, before the call is made. Never use it for anything else.
 *
 *	HOLDFAST_STEPPER   a directory of the test's: it counts while that holds the file "go", and writes the count to "count" (three uint32: counting, steps, done) and
 *	                   the name of each step to "trace"
 *	HOLDFAST_STEPPER_HELPER   1: the helper process that looks into the token counts too, by the same count
 *
 * "go" says what to do: "count", or "kill N" (SIGKILL to oneself at step N), "away N DIRECTORY" (DIRECTORY is renamed to DIRECTORY.away), "full N" (from step N on, as long
 * as "go" is there, nothing that needs room on a disk succeeds: ENOSPC).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum what { COUNT, KILL, AWAY, FULL };

/* Of all processes that count together. */
struct shared {
	_Atomic unsigned counting, steps, done;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows but `shared` */
static char go_path[PATH_MAX];
static int trace_fd = -1;
static struct shared *shared; /* NULL: not a process that counts */
static enum what what;
static unsigned at;
static char directory[PATH_MAX];
static __thread int was_fsync; /* the token's whole directory is synced file by file: one step */

#define REAL(name) ((__typeof__(&(name)))real(#name))
static void *real(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (found == NULL)
		abort();
	return found;
}

static int is_counting_program(int argc, char **argv)
{
	int is_helper = 0;

	if (strcmp(program_invocation_short_name, "holdfastd") != 0)
		return 0;
	for (int i = 1; i < argc; i++)
		is_helper |= strcmp(argv[i], "hsm-look") == 0;
	return !is_helper || getenv("HOLDFAST_STEPPER_HELPER") != NULL;
}

__attribute__((constructor)) static void stepper_init(int argc, char **argv)
{
	const char *dir = getenv("HOLDFAST_STEPPER");
	char path[PATH_MAX];
	void *map = MAP_FAILED;
	int fd = -1;

	if (dir == NULL || strlen(dir) > PATH_MAX - 16 || !is_counting_program(argc, argv))
		return;
	(void)snprintf(go_path, sizeof(go_path), "%s/go", dir);
	(void)snprintf(path, sizeof(path), "%s/count", dir);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		map = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		(void)fprintf(stderr, "stepper: %s: %s\n", path, strerror(errno));
		abort();
	}
	(void)close(fd);
	(void)snprintf(path, sizeof(path), "%s/trace", dir);
	trace_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	shared = map;
}

static void trace(const char *name)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "%s\n", name);

	(void)!syscall(SYS_write, trace_fd, line, (size_t)len);
}

/* What the test wants now. @return 0: nothing */
static int read_go(void)
{
	char text[PATH_MAX + 32] = "";
	char word[8] = "";
	ssize_t len = 0;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, go_path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	len = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	if (len <= 0)
		return 0;
	at = 0;
	directory[0] = '\0';
	if (sscanf(text, "%7s %u %4000[^\n]", word, &at, directory) < 1)
		return 0;
	what = strcmp(word, "kill") == 0 ? KILL : strcmp(word, "away") == 0 ? AWAY : strcmp(word, "full") == 0 ? FULL : COUNT;
	return 1;
}

static void take_away(void)
{
	char away[PATH_MAX + 8];

	(void)snprintf(away, sizeof(away), "%s.away", directory);
	if (syscall(SYS_renameat2, AT_FDCWD, directory, AT_FDCWD, away, 0) != 0)
		abort();
}

/* Before each call that is a step. */
static void step(const char *name)
{
	int saved = errno;
	int is_fsync = strcmp(name, "fsync") == 0, goes_on = was_fsync && is_fsync;

	was_fsync = is_fsync;
	if (shared == NULL || goes_on)
		return;
	(void)pthread_mutex_lock(&lock);
	if (!read_go()) {
		shared->counting = 0;
	} else {
		if (!shared->counting) {
			shared->steps = shared->done = 0;
			shared->counting = 1;
		}
		trace(name);
		/* Only the one thread, of all processes, that comes to this step. */
		if (++shared->steps == at) {
			if (what == AWAY)
				take_away();
			shared->done = 1;
			if (what == KILL) {
				(void)kill(getpid(), SIGKILL);
				for (;;)
					(void)pause();
			}
		}
	}
	(void)pthread_mutex_unlock(&lock);
	errno = saved;
}

static int is_full(void)
{
	int yes = 0;

	if (shared == NULL || !shared->done)
		return 0;
	(void)pthread_mutex_lock(&lock);
	yes = read_go() && what == FULL;
	(void)pthread_mutex_unlock(&lock);
	if (yes)
		errno = ENOSPC;
	return yes;
}

static int is_file(int fd)
{
	struct stat st;

	return fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* ---- steps ---- */

int fsync(int fd)
{
	step("fsync");
	return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	step("fdatasync");
	return REAL(fdatasync)(fd);
}

int unlink(const char *path)
{
	step("unlink");
	return REAL(unlink)(path);
}

int unlinkat(int dir, const char *path, int flags)
{
	step("unlinkat");
	return REAL(unlinkat)(dir, path, flags);
}

int remove(const char *path)
{
	step("remove");
	return REAL(remove)(path);
}

int rename(const char *from, const char *to)
{
	step("rename");
	return REAL(rename)(from, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	step("renameat");
	return REAL(renameat)(from_dir, from, to_dir, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	step("renameat2");
	return REAL(renameat2)(from_dir, from, to_dir, to, flags);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	step("posix_spawn");
	return REAL(posix_spawn)(pid, path, actions, attr, argv, envp);
}

int ftruncate(int fd, off_t len)
{
	step("ftruncate");
	return REAL(ftruncate)(fd, len);
}

int ftruncate64(int fd, off64_t len)
{
	step("ftruncate64");
	return REAL(ftruncate64)(fd, len);
}

int mkdir(const char *path, mode_t mode)
{
	step("mkdir");
	return is_full() ? -1 : REAL(mkdir)(path, mode);
}

int fflush(FILE *stream)
{
	if (stream == NULL || stream == stdout || stream == stderr)
		return REAL(fflush)(stream);
	step("fflush");
	return is_full() ? EOF : REAL(fflush)(stream);
}

/* A file is made, or emptied. */
#define OPEN(name)                                                            \
	int name(const char *path, int flags, ...)                            \
	{                                                                     \
		mode_t mode = 0;                                              \
		va_list args;                                                 \
                                                                              \
		va_start(args, flags);                                        \
		if ((flags & (O_CREAT | __O_TMPFILE)) != 0)                   \
			mode = va_arg(args, mode_t);                          \
		va_end(args);                                                 \
		if ((flags & O_CREAT) != 0 && (flags & (O_TRUNC | O_EXCL)) != 0) { \
			step(#name);                                               \
			if (is_full())                                        \
				return -1;                                    \
		}                                                             \
		return REAL(name)(path, flags, mode);                         \
	}
OPEN(open)
OPEN(open64)

/* ---- what needs room ---- */

ssize_t write(int fd, const void *bytes, size_t len) { return shared != NULL && shared->done && is_file(fd) && is_full() ? -1 : REAL(write)(fd, bytes, len); }

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at_byte) { return is_full() ? -1 : REAL(pwrite)(fd, bytes, len, at_byte); }

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at_byte) { return is_full() ? -1 : REAL(pwrite64)(fd, bytes, len, at_byte); }

int posix_fallocate(int fd, off_t at_byte, off_t len) { return is_full() ? ENOSPC : REAL(posix_fallocate)(fd, at_byte, len); }

int posix_fallocate64(int fd, off64_t at_byte, off64_t len) { return is_full() ? ENOSPC : REAL(posix_fallocate64)(fd, at_byte, len); }
