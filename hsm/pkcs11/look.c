/*
 * hsm/pkcs11/look.c - the fresh look: a helper process with its own C_Initialize and login says which objects are there (hazards.md row 1g).
 * Both ends of the conversation are here. The daemon itself is never logged out, which would void every handle.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hsm/pkcs11/provider.h"
#include "server/base/clock.h"
#include "server/base/encode.h"

#define LOOK_WAIT_MS 60000      /* the helper loads the module and enumerates the token once */
#define ID_TEXT_LEN (2 * HSM_ID_LEN)
#define ANSWER_MAX (ID_TEXT_LEN + sizeof(" present\n"))
#define IDS_MAX 100001          /* hsm_keys_gone()'s bound and the witness */
#define OBJECTS_MAX 262144      /* token objects that are enumerated, public halves too */
#define US_IN_MS 1000

extern char **environ;

static void free_text(char **text) { free(*text); }
#define TEXT_AUTO __attribute__((cleanup(free_text))) char

static void close_fd(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
#define FD_AUTO __attribute__((cleanup(close_fd))) int

/* ---- the daemon's end ---- */

static kms_status spawn_helper(const char *const *argv, int end, pid_t *ret_pid, struct kms_err *err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int rc;

	(void)sigemptyset(&none);
	if (posix_spawn_file_actions_init(&actions) != 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "posix_spawn_file_actions_init");
	if (posix_spawnattr_init(&attr) != 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "posix_spawnattr_init");
	}
	rc = posix_spawn_file_actions_adddup2(&actions, end, STDIN_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, end, STDOUT_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(&attr, &none); /* the daemon's threads block what it waits for */
	if (rc == 0)
		rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	if (rc == 0) {
		union { /* posix_spawn does not write to argv; its prototype is older than const */
			const char *const *in;
			char *const *out;
		} args = { .in = argv };

		rc = posix_spawn(ret_pid, argv[0], &actions, &attr, args.out, environ);
	}
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (rc != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)rc, "the look helper %s cannot be started", argv[0]);
	return KMS_OK;
}

static bool wait_for(int fd, short events, int64_t deadline_us)
{
	for (;;) {
		int64_t left_ms = (deadline_us - clock_mono_us(&CLOCK_SYSTEM)) / US_IN_MS;
		struct pollfd p = { .fd = fd, .events = events };
		int n;

		if (left_ms <= 0)
			return false;
		n = poll(&p, 1, (int)left_ms);
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
}

/* Send all, close our sending side, and receive all until the helper closes. The helper answers only after it has read everything. */
static bool converse(int fd, const char *question, size_t question_len, char *ret_answer, size_t cap, size_t *ret_len)
{
	const int64_t deadline_us = clock_mono_us(&CLOCK_SYSTEM) + (int64_t)LOOK_WAIT_MS * US_IN_MS;
	size_t sent = 0, got = 0;

	while (sent < question_len) {
		ssize_t n;

		if (!wait_for(fd, POLLOUT, deadline_us))
			return false;
		n = send(fd, question + sent, question_len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		if (n > 0)
			sent += (size_t)n;
	}
	if (shutdown(fd, SHUT_WR) != 0)
		return false;
	for (;;) {
		ssize_t n;

		if (!wait_for(fd, POLLIN, deadline_us))
			return false;
		n = recv(fd, ret_answer + got, cap - got, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return false;
		if (n == 0)
			break;
		got += (size_t)n;
		if (got == cap)
			return false; /* longer than any right answer */
	}
	*ret_len = got;
	return true;
}

/* One line of the answer: "<hex id> present\n" or "<hex id> absent\n", for exactly this id. */
static bool read_line(const char **at, const char *end, const uint8_t id[HSM_ID_LEN], bool *ret_present)
{
	static const char PRESENT[] = " present\n", ABSENT[] = " absent\n";
	char want[ID_TEXT_LEN + 1];
	const char *p = *at;

	hex_encode(id, HSM_ID_LEN, want);
	if (end - p < ID_TEXT_LEN || memcmp(p, want, ID_TEXT_LEN) != 0)
		return false;
	p += ID_TEXT_LEN;
	if ((size_t)(end - p) >= strlen(PRESENT) && memcmp(p, PRESENT, strlen(PRESENT)) == 0) {
		*ret_present = true;
		*at = p + strlen(PRESENT);
		return true;
	}
	if ((size_t)(end - p) >= strlen(ABSENT) && memcmp(p, ABSENT, strlen(ABSENT)) == 0) {
		*ret_present = false;
		*at = p + strlen(ABSENT);
		return true;
	}
	return false;
}

/* SoftHSM forgets an object whose file it could not remove (row 1g), and this process would never find it again to destroy it: then the module is to be started anew. */
static kms_status see_what_is_there(struct p11_hsm *p, const uint8_t id[HSM_ID_LEN], struct kms_err *err)
{
	CK_OBJECT_HANDLE found;
	size_t count = 0;

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	P11_LOCK_AUTO(&p->objects);
	KMS_TRY(p11_token_find(&p->token, session.handle, id, NULL, NULL, &found, 1, &count, &session.is_broken, err));
	if (count == 0)
		atomic_store(&p->is_available, false); /* hsm_check() brings it back */
	return KMS_OK;
}

kms_status p11_keys_gone(struct hsm *h, const uint8_t (*ids)[HSM_ID_LEN], size_t count, const uint8_t witness_id[HSM_ID_LEN],
                         bool *ret_gone, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	TEXT_AUTO *question = calloc(count + 1, ID_TEXT_LEN + 1);
	TEXT_AUTO *answer = calloc(count + 2, ANSWER_MAX);
	int ends[2];
	size_t answer_len = 0;
	const char *at;
	bool is_gone = true, is_present, is_complete;
	int exit_status = -1;
	pid_t pid;

	if (p->cfg.look_argv == NULL)
		return kms_fail(err, KMS_E_UNSUPPORTED, KMS_SRC_SELF, 0, "no look helper is configured");
	if (question == NULL || answer == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "%zu ids to look for", count);
	for (size_t i = 0; i <= count; i++) {
		char *line = question + i * (ID_TEXT_LEN + 1);

		hex_encode(i < count ? ids[i] : witness_id, HSM_ID_LEN, line);
		line[ID_TEXT_LEN] = '\n';
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "socketpair");
	FD_AUTO ours = ends[0];
	{
		FD_AUTO theirs = ends[1];
		KMS_TRY(spawn_helper(p->cfg.look_argv, theirs, &pid, err));
	}
	is_complete = converse(ours, question, (count + 1) * (ID_TEXT_LEN + 1), answer, (count + 2) * ANSWER_MAX, &answer_len);
	if (!is_complete)
		(void)kill(pid, SIGKILL); /* it has nothing to lose; ours alone, not yet waited for */
	while (waitpid(pid, &exit_status, 0) < 0 && errno == EINTR)
		;
	if (!is_complete || !WIFEXITED(exit_status) || WEXITSTATUS(exit_status) != 0)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the look helper could not search the token (status %d)", exit_status);

	at = answer;
	for (size_t i = 0; i <= count; i++) {
		if (!read_line(&at, answer + answer_len, i < count ? ids[i] : witness_id, &is_present))
			return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the look helper's answer makes no sense");
		if (i < count && is_present && is_gone) {
			is_gone = false;
			KMS_TRY(see_what_is_there(p, ids[i], err));
		}
	}
	if (!is_present) /* of the last line: the witness */
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the look helper does not find the log key either: absence proves nothing");
	*ret_gone = is_gone;
	return KMS_OK;
}

/* ---- the helper's end ---- */

typedef uint8_t id_bytes[HSM_ID_LEN];

static void free_ids(id_bytes **ids) { free(*ids); }
#define IDS_AUTO __attribute__((cleanup(free_ids))) id_bytes

static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, HSM_ID_LEN);
}

/* All of stdin; -1 when a line is no id. */
static long read_ids(id_bytes *ids, size_t cap)
{
	char line[ID_TEXT_LEN + 2]; /* newline and NUL */
	size_t count = 0;

	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (count == cap || strlen(line) != ID_TEXT_LEN + 1 || line[ID_TEXT_LEN] != '\n' ||
		    !hex_decode(line, ID_TEXT_LEN, ids[count], HSM_ID_LEN))
			return -1;
		count++;
	}
	return ferror(stdin) ? -1 : (long)count;
}

/* The ids of all token objects, sorted. One enumeration, so that a look for many costs no more than a look for one. */
static kms_status enumerate(struct p11_token *t, id_bytes *ret_ids, size_t cap, size_t *ret_count, struct kms_err *err)
{
	CK_OBJECT_HANDLE *handles = calloc(cap, sizeof(*handles));
	size_t found = 0, count = 0;
	bool broken = false;
	kms_status status;

	if (handles == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "list of handles");
	status = p11_token_find(t, t->home, NULL, NULL, NULL, handles, cap, &found, &broken, err);
	if (status == KMS_OK && found == cap)
		status = kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "more than %zu objects in the token", cap);
	for (size_t i = 0; i < found && status == KMS_OK; i++) {
		CK_ATTRIBUTE id = { CKA_ID, ret_ids[count], HSM_ID_LEN };
		CK_RV rv = P11_CALL(&t->gate, C_GetAttributeValue, t->home, handles[i], &id, 1);

		if (rv == CKR_OK && id.ulValueLen == HSM_ID_LEN)
			count++;
		else if (rv != CKR_OK && rv != CKR_BUFFER_TOO_SMALL && rv != CKR_ATTRIBUTE_TYPE_INVALID)
			status = p11_fail(err, rv, "C_GetAttributeValue"); /* one that cannot be read may be the one that is looked for */
	}
	free(handles);
	if (status != KMS_OK)
		return status;
	qsort(ret_ids, count, sizeof(*ret_ids), compare_ids);
	*ret_count = count;
	return KMS_OK;
}

static kms_status look(const struct p11_config *cfg, const id_bytes *ids, size_t count, struct kms_err *err)
{
	struct p11_token t = { 0 };
	IDS_AUTO *present = calloc(OBJECTS_MAX, sizeof(*present));
	size_t present_count = 0;
	kms_status status;

	if (present == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "list of ids");
	status = p11_token_load(&t, cfg, err);
	if (status == KMS_OK)
		status = p11_token_start(&t, err);
	if (status == KMS_OK) {
		status = enumerate(&t, present, OBJECTS_MAX, &present_count, err);
		(void)p11_token_stop(&t); /* the process ends right after */
	}
	p11_token_unload(&t);
	KMS_TRY(status);
	for (size_t i = 0; i < count; i++) {
		char text[ID_TEXT_LEN + 1];

		hex_encode(ids[i], HSM_ID_LEN, text);
		if (printf("%s %s\n", text,
		           bsearch(ids[i], present, present_count, sizeof(*present), compare_ids) != NULL ? "present" : "absent") < 0)
			return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "write");
	}
	if (fflush(stdout) != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_ERRNO, (unsigned long)errno, "write");
	return KMS_OK;
}

int p11_look_main(const struct p11_config *cfg)
{
	IDS_AUTO *ids = calloc(IDS_MAX, sizeof(*ids));
	struct kms_err err = { 0 };
	long count;

	if (ids == NULL)
		return EXIT_FAILURE;
	count = read_ids(ids, IDS_MAX);
	if (count < 0) {
		(void)fprintf(stderr, "look: the input is not a list of ids\n");
		return EXIT_FAILURE;
	}
	if (look(cfg, ids, (size_t)count, &err) != KMS_OK) {
		(void)fprintf(stderr, "look: %s\n", err.message[0] != '\0' ? err.message : err.detail);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
