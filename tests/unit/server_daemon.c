/* tests/unit/server_daemon.c - process hygiene, in a child each, as most of it cannot be undone; and waiting for signals. */
#include "server/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/base/secret.h"

/* Run in a child; its answer is the number of the first check that failed, 0 when all held. */
static int in_child(int (*check)(void))
{
	int status = 0;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(check());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int check_hardened(void)
{
	struct kms_err err = { 0 };
	struct rlimit core = { .rlim_cur = 1, .rlim_max = 1 };
	SECRET_AUTO *s = NULL;
	if (daemon_harden(&err) != KMS_OK || daemon_make_heap(2, &err) != KMS_OK)
		return 1;
	if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
		return 2;
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return 3;
	if (umask(0) != 077)
		return 4;
	s = secret_new(32);
	return s == NULL ? 5 : 0;
}

static int check_closed_fds(void)
{
	struct kms_err err = { 0 };
	struct stat null = { 0 }, st = { 0 };
	for (int fd = 0; fd <= 2; fd++)
		(void)close(fd);
	if (daemon_harden(&err) != KMS_OK)
		return 1;
	if (stat("/dev/null", &null) != 0)
		return 2;
	for (int fd = 0; fd <= 2; fd++)
		if (fstat(fd, &st) != 0 || st.st_rdev != null.st_rdev)
			return 3;
	if (write(2, "x", 1) != 1)
		return 4;
	return open("/dev/null", O_RDONLY | O_CLOEXEC) == 3 ? 0 : 5;
}

static int check_unlockable_memory(void)
{
	struct kms_err err = { 0 };
	const struct rlimit none = { 0 };
	/* Privileged processes may lock beyond the limit. */
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
		return 1;
	if (setrlimit(RLIMIT_MEMLOCK, &none) != 0)
		return 2;
	if (daemon_harden(&err) != KMS_OK)
		return 3;
	return daemon_make_heap(2, &err) == KMS_E_NOMEM && strstr(err.detail, "LimitMEMLOCK") != NULL ? 0 : 4;
}

#define MANY_WORKERS 60
#define LARGE_SECRET 40000 /* takes a block of 64 KiB */

/* As much as the largest values in and out, on all threads at once. */
static int check_large_heap(void)
{
	struct kms_err err = { 0 };
	if (daemon_harden(&err) != KMS_OK || daemon_make_heap(MANY_WORKERS, &err) != KMS_OK)
		return 1;
	for (int i = 0; i < MANY_WORKERS * 4; i++)
		if (secret_new(LARGE_SECRET) == NULL)
			return 2;
	return 0;
}

static void the_heap_grows_with_the_threads_that_need_it(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_large_heap), 0);
}

static void a_hardened_process_leaves_no_core_and_has_a_locked_heap(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_hardened), 0);
}

static void closed_standard_descriptors_become_dev_null(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_closed_fds), 0);
}

static void memory_that_cannot_be_locked_stops_the_start(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_unlockable_memory), 0);
}

static int check_signals(void)
{
	static const struct {
		int number;
		enum daemon_signal meaning;
	} SIGNALS[] = { { SIGHUP, DAEMON_RELOAD }, { SIGTERM, DAEMON_STOP }, { SIGINT, DAEMON_STOP } };
	int ends[2] = { -1, -1 };
	daemon_block_signals();
	for (size_t i = 0; i < KMS_ARRAY_LEN(SIGNALS); i++) {
		if (kill(getpid(), SIGNALS[i].number) != 0)
			return 1;
		if (daemon_wait() != SIGNALS[i].meaning)
			return 2;
	}
	if (pipe(ends) != 0 || close(ends[0]) != 0)
		return 3;
	return write(ends[1], "x", 1) == -1 && errno == EPIPE ? 0 : 4;
}

static void signals_are_taken_by_waiting_and_a_broken_pipe_kills_nobody(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_signals), 0);
}

static int check_tick(void)
{
	struct timespec before = { 0 }, after = { 0 };
	long ms = 0;
	daemon_block_signals();
	(void)clock_gettime(CLOCK_MONOTONIC, &before);
	if (daemon_wait() != DAEMON_TICK)
		return 1;
	(void)clock_gettime(CLOCK_MONOTONIC, &after);
	ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
	return ms >= 900 ? 0 : 2;
}

static void without_a_signal_the_wait_ends_after_a_second(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_tick), 0);
}

static void the_service_manager_is_told_and_its_absence_is_harmless(void **state)
{
	char dir[] = "/tmp/holdfast-notify-XXXXXX", text[256] = "";
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)state;
	assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
	daemon_ready();
	assert_non_null(mkdtemp(dir));
	(void)snprintf(name.sun_path, sizeof(name.sun_path), "%s/s", dir);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", name.sun_path, 1), 0);
	daemon_ready();
	assert_true(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_non_null(strstr(text, "READY=1"));
	daemon_reloading();
	memset(text, 0, sizeof(text));
	assert_true(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_non_null(strstr(text, "RELOADING=1"));
	assert_non_null(strstr(text, "MONOTONIC_USEC="));
	daemon_stopping();
	memset(text, 0, sizeof(text));
	assert_true(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_non_null(strstr(text, "STOPPING=1"));
	assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
	(void)close(fd);
	(void)unlink(name.sun_path);
	(void)rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hardened_process_leaves_no_core_and_has_a_locked_heap),
		cmocka_unit_test(the_heap_grows_with_the_threads_that_need_it),
		cmocka_unit_test(closed_standard_descriptors_become_dev_null),
		cmocka_unit_test(memory_that_cannot_be_locked_stops_the_start),
		cmocka_unit_test(signals_are_taken_by_waiting_and_a_broken_pipe_kills_nobody),
		cmocka_unit_test(without_a_signal_the_wait_ends_after_a_second),
		cmocka_unit_test(the_service_manager_is_told_and_its_absence_is_harmless),
	};
	return cmocka_run_group_tests_name("server/daemon", tests, NULL, NULL);
}
