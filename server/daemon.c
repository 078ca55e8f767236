/* server/daemon.c - process hygiene, signals taken by waiting (no handlers), and the service manager's notifications. */
#include "server/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "server/base/secret.h"

/* Half of what `ulimit -l` grants by default (8 MiB): room for some thousands of small secrets, and it can be locked without privileges. */
#define SECURE_HEAP_MIN ((size_t)4 << 20)
/* The largest values in and out take four blocks of 64 KiB at most: the heap's blocks are powers of two. */
#define SECURE_HEAP_PER_WORKER ((size_t)256 << 10)
/* glibc makes up to 8 arenas a core, each of which keeps its own peak. */
#define HEAP_ARENAS 4

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HEAP_IS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HEAP_IS_SANITIZER 1
#endif
#endif
#ifndef HEAP_IS_SANITIZER
#define HEAP_IS_SANITIZER 0
#endif

/* A socket or the database that lands on fd 0-2 would receive what a library prints. */
static kms_status open_standard_fds(struct kms_err *err)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest free descriptor is `fd`, as those below it are open. */
		if (open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_RDWR) != fd)
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "cannot open /dev/null as fd %d", fd);
	}
	return KMS_OK;
}

static kms_status forbid_dumps(struct kms_err *err)
{
	const struct rlimit none = { .rlim_cur = 0, .rlim_max = 0 };
	if (setrlimit(RLIMIT_CORE, &none) != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "cannot switch core dumps off");
	/* Also keeps other processes of this user from attaching with ptrace or reading /proc/PID/mem. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "cannot make the process undumpable");
	return KMS_OK;
}

kms_status daemon_harden(struct kms_err *err)
{
	KMS_TRY(open_standard_fds(err));
	umask(S_IRWXG | S_IRWXO);
	KMS_TRY(forbid_dumps(err));
	/* A sanitizer brings its own allocator, which takes no options from here. */
	if (!HEAP_IS_SANITIZER && mallopt(M_ARENA_MAX, HEAP_ARENAS) != 1)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "the allocator refuses its option");
	return KMS_OK;
}

kms_status daemon_make_heap(unsigned workers, struct kms_err *err)
{
	size_t bytes = SECURE_HEAP_MIN;

	while (bytes < workers * SECURE_HEAP_PER_WORKER)
		bytes *= 2; /* the allocator takes a power of two */
	return secret_heap_init(bytes, err);
}

static void waited_signals(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGHUP);
	sigaddset(ret_set, SIGINT);
	sigaddset(ret_set, SIGTERM);
}

void daemon_block_signals(void)
{
	sigset_t set;
	waited_signals(&set);
	/* A client that hangs up is an error of its own connection only. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* Fails only for an invalid `how`. A helper that is spawned inherits the mask and must reset it (POSIX_SPAWN_SETSIGMASK). */
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

enum daemon_signal daemon_wait(void)
{
	const struct timespec second = { .tv_sec = 1 };
	sigset_t set;
	waited_signals(&set);
	switch (sigtimedwait(&set, NULL, &second)) {
	case SIGHUP: return DAEMON_RELOAD;
	case SIGINT:
	case SIGTERM: return DAEMON_STOP;
	default: return DAEMON_TICK; /* the second is over, or another signal came in between */
	}
}

/* The manager that started us may be gone or may not listen; nothing depends on it. */
static void tell(const char *state) { (void)sd_notify(0, state); }

void daemon_ready(void) { tell("READY=1\nSTATUS=serving"); }

void daemon_reloading(void)
{
	struct timespec now = { 0 };
	char state[64] = "";
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	tell(state);
}

void daemon_stopping(void) { tell("STOPPING=1\nSTATUS=draining"); }
