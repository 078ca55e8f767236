/*
 * server/witness/main.c - holdfast-witness: remembers the newest checkpoint of each log that it knows, and cosigns what extends it (C2SP tlog-witness,
 * tlog-cosignature). For another machine than the log's, under other hands. It shares no source with the server.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/witness/encode.h"
#include "server/witness/keyfile.h"
#include "server/witness/serve.h"

#define DEFAULT_LISTEN "127.0.0.1:7380"
#define LOG_OPTIONS_MAX 64
#define EXIT_USAGE 2

struct options {
	const char *name, *key, *state;
	const char *logs[LOG_OPTIONS_MAX];
	size_t log_count;
	struct serve_config serve;
};

static int usage(FILE *to)
{
	(void)fputs("usage: holdfast-witness keygen --name NAME --key FILE\n"
	            "       holdfast-witness vkey   --name NAME --key FILE\n"
	            "       holdfast-witness run    --name NAME --key FILE --state DIR --log VKEY[,VKEY...]...\n"
	            "                               [--listen ADDRESS:PORT] [--tls-cert FILE --tls-key FILE]\n"
	            "       holdfast-witness show   --state DIR\n"
	            "  --name NAME   of this witness: a host and path without scheme, as witness.example.net/w1\n"
	            "  --key FILE    its Ed25519 private key (PEM), which nobody else may read\n"
	            "  --log VKEY    verifier key of a log that is witnessed; further keys of the same log behind a comma\n"
	            "  --state DIR   what it remembers; never shared, never restored from a backup\n"
	            "  --listen      " DEFAULT_LISTEN " unless given; other than loopback addresses only with TLS\n", to);
	return to == stderr ? EXIT_USAGE : 0;
}

static int refuse(const char *why)
{
	(void)fprintf(stderr, "holdfast-witness: %s\n", why);
	return 1;
}

/* The key, and who it makes this witness. NULL with the reason said. */
static EVP_PKEY *open_key(const struct options *o, struct verifier *ret_own)
{
	char why[WHY_LEN] = "the key has no public half";
	EVP_PKEY *key = keyfile_load(o->key, why);

	if (key != NULL && keyfile_verifier(key, o->name, ret_own))
		return key;
	(void)refuse(why);
	EVP_PKEY_free(key);
	return NULL;
}

static int print_vkey(const struct options *o)
{
	struct verifier own;
	char text[VKEY_LEN_MAX + 1];
	EVP_PKEY *key = open_key(o, &own);

	if (key == NULL)
		return 1;
	verifier_format(&own, text);
	(void)printf("%s\n", text);
	EVP_PKEY_free(key);
	return 0;
}

static int keygen(const struct options *o)
{
	char why[WHY_LEN];
	return keyfile_make(o->key, why) ? print_vkey(o) : refuse(why);
}

static int shown_damaged; /* by show_one(), which state_each() calls */

static void show_one(const char *file, enum state_found found, const struct state *s, const char *why)
{
	struct note note;
	char root[BASE64_LEN(HASH_LEN) + 1];

	if (found != STATE_READ || !note_parse(s->note, s->note_len, &note)) {
		shown_damaged = 1;
		(void)printf("%s: DAMAGED: %s\n", file, why);
		return;
	}
	base64_write(s->root, HASH_LEN, root);
	(void)printf("%s size=%llu root=%s cosigned=%llu file=%s\n", note.origin, (unsigned long long)s->size, root, (unsigned long long)s->time_s, file);
}

static int show(const struct options *o)
{
	char why[WHY_LEN] = "the state directory cannot be read";
	int dir = state_open_dir(o->state, true, why);
	bool is_read = dir >= 0 && state_each(dir, show_one);

	if (dir >= 0)
		(void)close(dir);
	return is_read ? shown_damaged : refuse(why);
}

/* ---- run ---- */

static bool add_logs(struct witness *w, const struct options *o)
{
	char why[WHY_LEN];
	struct verifier v;

	for (size_t i = 0; i < o->log_count; i++) {
		for (const char *at = o->logs[i], *end; at != NULL; at = *end == ',' ? end + 1 : NULL) {
			end = strchrnul(at, ',');
			(void)snprintf(why, sizeof(why), "--log %.*s: not a verifier key", (int)(end - at), at);
			if (!verifier_parse(at, (size_t)(end - at), &v) || !witness_add_log(w, &v, why)) {
				(void)refuse(why);
				return false;
			}
		}
	}
	return true;
}

static struct witness *open_witness(const struct options *o)
{
	char why[WHY_LEN] = "no memory", text[VKEY_LEN_MAX + 1];
	struct verifier own;
	struct witness *w = NULL;
	EVP_PKEY *key = open_key(o, &own);
	int dir = key == NULL ? -1 : state_open_dir(o->state, false, why);

	if (dir >= 0)
		w = witness_new(&own, key, dir, NULL);
	if (w == NULL) {
		if (key != NULL)
			(void)refuse(why);
		EVP_PKEY_free(key);
		if (dir >= 0)
			(void)close(dir);
		return NULL;
	}
	if (!add_logs(w, o)) {
		witness_free(w);
		return NULL;
	}
	verifier_format(&own, text);
	say("witness %s", text);
	witness_load(w);
	return w;
}

static void serve(struct serve *s, const sigset_t *signals)
{
	static const struct timespec TICK = { .tv_sec = 1 };

	say("ready %s", serve_url(s));
	for (;;) {
		int signal = sigtimedwait(signals, NULL, &TICK);
		if (signal == SIGTERM || signal == SIGINT)
			return;
		serve_tick(s);
	}
}

static int run(const struct options *o)
{
	char why[WHY_LEN];
	sigset_t signals;
	struct serve *s = NULL;
	struct witness *w = NULL;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGPIPE); /* nobody waits for it */
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	w = open_witness(o);
	if (w == NULL)
		return 1;
	s = serve_start(&o->serve, w, why);
	if (s != NULL)
		serve(s, &signals);
	serve_stop(s);
	witness_free(w);
	if (s == NULL)
		return refuse(why);
	say("stopped");
	return 0;
}

/* ---- command line ---- */

enum { OPT_NAME = 256, OPT_KEY, OPT_STATE, OPT_LOG, OPT_LISTEN, OPT_CERT, OPT_CERT_KEY };
static const struct option LONG_OPTIONS[] = {
	{ "name", required_argument, NULL, OPT_NAME },
	{ "key", required_argument, NULL, OPT_KEY },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "log", required_argument, NULL, OPT_LOG },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "tls-cert", required_argument, NULL, OPT_CERT },
	{ "tls-key", required_argument, NULL, OPT_CERT_KEY },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static bool take_option(struct options *o, int option)
{
	switch (option) {
	case OPT_NAME:
		o->name = optarg;
		return true;
	case OPT_KEY:
		o->key = optarg;
		return true;
	case OPT_STATE:
		o->state = optarg;
		return true;
	case OPT_LOG:
		if (o->log_count == LOG_OPTIONS_MAX)
			return false;
		o->logs[o->log_count++] = optarg;
		return true;
	case OPT_LISTEN:
		o->serve.listen = optarg;
		return true;
	case OPT_CERT:
		o->serve.tls_cert = optarg;
		return true;
	case OPT_CERT_KEY:
		o->serve.tls_key = optarg;
		return true;
	default:
		return false;
	}
}

/* What others may not see in a core file or through a debugger: the key. */
static void harden(void)
{
	static const struct rlimit NONE = { 0 };

	(void)umask(077);
	(void)setrlimit(RLIMIT_CORE, &NONE);
	(void)prctl(PR_SET_DUMPABLE, 0);
}

int main(int argc, char **argv)
{
	struct options o = { .serve = { .listen = DEFAULT_LISTEN } };
	const char *command = argc > 1 ? argv[1] : "";

	harden();
	if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
		return usage(stdout);
	for (int option; (option = getopt_long(argc - 1, argv + 1, "h", LONG_OPTIONS, NULL)) != -1;) {
		if (option == 'h')
			return usage(stdout);
		if (!take_option(&o, option))
			return usage(stderr);
	}
	if (argc < 2 || optind != argc - 1)
		return usage(stderr);
	if (o.name != NULL && !name_is_good(o.name))
		return refuse("--name: 1 to 200 printable characters without space, plus and comma");
	if (strcmp(command, "show") == 0)
		return o.state == NULL ? usage(stderr) : show(&o);
	if (o.name == NULL || o.key == NULL)
		return usage(stderr);
	if (strcmp(command, "keygen") == 0)
		return keygen(&o);
	if (strcmp(command, "vkey") == 0)
		return print_vkey(&o);
	if (strcmp(command, "run") != 0 || o.state == NULL || o.log_count == 0)
		return usage(stderr);
	return run(&o);
}
