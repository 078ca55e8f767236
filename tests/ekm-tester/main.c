/* tests/ekm-tester/main.c - holdfast-ekm-test: options, one run over the table of checks, exit code. Manual: docs/ekm-tester.md. */
#include <getopt.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "tests/ekm-tester/tester.h"

#define EXIT_PASSED 0
#define EXIT_USAGE 1
#define EXIT_FAILED 2
#define EXIT_UNREACHABLE 3
#define RATE_DEFAULT 20
#define RATE_MAX 10000
#define SECONDS_DEFAULT 5
#define SECONDS_MAX 3600
#define PORT_MAX 65535
#define ID_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"
#define HTTPS "https://"

static const char USAGE[] =
        "usage: holdfast-ekm-test --url https://HOST[:PORT][/PREFIX] --cert FILE --key FILE [--aes-key ID] [--rsa-key ID] [OPTION]...\n"
        "Tests an EKM proxy (API " API_VERSION ") as a Managed HSM pool would call it; at least one of the two keys is needed.\n"
        "  --cert FILE, --key FILE    client certificate (with intermediates) and its private key, PEM\n"
        "  --ca FILE                  roots that the proxy's certificate must chain to, PEM; default: those of this machine\n"
        "  --resolve HOST:PORT:ADDR   connect to ADDR instead of resolving HOST\n"
        "  --aes-key ID, --rsa-key ID external ids of two enabled keys, made for tests: many values are wrapped with them\n"
        "  --disabled-key ID          external id of a key that is disabled (or expired)\n"
        "  --foreign-cert FILE, --foreign-key FILE   a certificate of another pool, or one that the proxy must not accept\n"
        "  --aes-key-bytes FILE       the 32 bytes of the AES key, if known: what the proxy wraps is then compared with OpenSSL's\n"
        "  --rate N, --seconds S      load: N requests a second for S seconds; default 20 and 5; 0: no load\n"
        "  --documented-only          leave out what the specification recommends, but Microsoft does not document\n"
        "  --json                     one JSON object instead of the table\n"
        "exit: 0 nothing failed, 1 usage, 2 a check failed, 3 cannot connect\n";

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	(void)fputs("holdfast-ekm-test: ", stderr);
	(void)vfprintf(stderr, fmt, args);
	(void)fputc('\n', stderr);
	va_end(args);
}

static bool parse_number(const char *text, unsigned max, unsigned *ret)
{
	char *end = NULL;
	unsigned long n = strtoul(text, &end, 10);
	if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) || n > max) {
		say("\"%s\" is not a number from 0 to %u", text, max);
		return false;
	}
	*ret = (unsigned)n;
	return true;
}

/* https://HOST[:PORT][/PREFIX]; slashes around the prefix do not count. */
static bool parse_url(const char *url, struct target *ret)
{
	unsigned port = 443;

	if (strncasecmp(url, HTTPS, sizeof(HTTPS) - 1) != 0) {
		say("the URL has to begin with " HTTPS);
		return false;
	}
	const char *host = url + sizeof(HTTPS) - 1;
	size_t host_len = strcspn(host, ":/");
	const char *rest = host + host_len;
	if (host_len == 0 || host_len >= HOST_MAX || strspn(host, ID_CHARS ".") < host_len) {
		say("the URL's host is missing or malformed");
		return false;
	}
	if (*rest == ':') {
		char text[PORT_TEXT_MAX] = "";
		size_t len = strcspn(++rest, "/");
		(void)snprintf(text, sizeof(text), "%.*s", (int)(len < sizeof(text) ? len : 0), rest);
		if (!parse_number(text, PORT_MAX, &port))
			return false;
		rest += len;
	}
	rest += strspn(rest, "/");
	size_t prefix_len = strlen(rest);
	while (prefix_len > 0 && rest[prefix_len - 1] == '/')
		prefix_len--;
	if (prefix_len > PREFIX_MAX || strspn(rest, ID_CHARS "/") < prefix_len) {
		say("the path prefix may have %d characters: letters, digits, '/' and '-'", PREFIX_MAX);
		return false;
	}
	(void)snprintf(ret->host, sizeof(ret->host), "%.*s", (int)host_len, host);
	(void)snprintf(ret->port, sizeof(ret->port), "%u", port);
	(void)snprintf(ret->prefix, sizeof(ret->prefix), "%s%.*s", prefix_len > 0 ? "/" : "", (int)prefix_len, rest);
	return true;
}

static bool parse_resolve(const char *text, struct target *ret)
{
	char wanted[HOST_MAX + PORT_TEXT_MAX + 2];
	(void)snprintf(wanted, sizeof(wanted), "%s:%s:", ret->host, ret->port);
	size_t n = strlen(wanted);
	if (strncasecmp(text, wanted, n) != 0 || text[n] == '\0' || strlen(text + n) >= sizeof(ret->address)) {
		say("--resolve has to be %sADDRESS", wanted);
		return false;
	}
	(void)snprintf(ret->address, sizeof(ret->address), "%s", text + n);
	return true;
}

static bool is_id(const char *id) { return id == NULL || (strlen(id) >= 1 && strlen(id) <= ID_MAX && strspn(id, ID_CHARS) == strlen(id)); }

enum option_name {
	O_URL,
	O_CERT,
	O_KEY,
	O_CA,
	O_RESOLVE,
	O_AES,
	O_RSA,
	O_DISABLED,
	O_FOREIGN_CERT,
	O_FOREIGN_KEY,
	O_AES_BYTES, /* the last with a text */
	O_RATE,
	O_SECONDS,
	O_DOCUMENTED,
	O_JSON,
	O_HELP,
};

/* Says each that is not. */
static bool all_are_there(const struct options *o)
{
	const struct {
		bool is_there;
		const char *name;
	} needed[] = {
		{ o->url != NULL, "--url" },
		{ o->cert != NULL, "--cert" },
		{ o->key != NULL, "--key" },
		{ o->aes_key != NULL || o->rsa_key != NULL, "--aes-key or --rsa-key" },
		{ o->foreign_cert != NULL || o->foreign_key == NULL, "--foreign-cert, which goes with --foreign-key," },
		{ o->foreign_key != NULL || o->foreign_cert == NULL, "--foreign-key, which goes with --foreign-cert," },
	};
	bool all = true;

	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++)
		if (!needed[i].is_there) {
			say("%s is missing", needed[i].name);
			all = false;
		}
	return all;
}

static bool parse_options(int argc, char *argv[], struct options *ret, bool *ret_help)
{
	static const struct option LONG[] = {
		{ "url", required_argument, NULL, O_URL },
		{ "cert", required_argument, NULL, O_CERT },
		{ "key", required_argument, NULL, O_KEY },
		{ "ca", required_argument, NULL, O_CA },
		{ "resolve", required_argument, NULL, O_RESOLVE },
		{ "aes-key", required_argument, NULL, O_AES },
		{ "rsa-key", required_argument, NULL, O_RSA },
		{ "disabled-key", required_argument, NULL, O_DISABLED },
		{ "foreign-cert", required_argument, NULL, O_FOREIGN_CERT },
		{ "foreign-key", required_argument, NULL, O_FOREIGN_KEY },
		{ "aes-key-bytes", required_argument, NULL, O_AES_BYTES },
		{ "rate", required_argument, NULL, O_RATE },
		{ "seconds", required_argument, NULL, O_SECONDS },
		{ "documented-only", no_argument, NULL, O_DOCUMENTED },
		{ "json", no_argument, NULL, O_JSON },
		{ "help", no_argument, NULL, O_HELP },
		{ NULL, 0, NULL, 0 },
	};
	const char **const texts[] = {
		[O_URL] = &ret->url,
		[O_CERT] = &ret->cert,
		[O_KEY] = &ret->key,
		[O_CA] = &ret->ca,
		[O_RESOLVE] = &ret->resolve,
		[O_AES] = &ret->aes_key,
		[O_RSA] = &ret->rsa_key,
		[O_DISABLED] = &ret->disabled_key,
		[O_FOREIGN_CERT] = &ret->foreign_cert,
		[O_FOREIGN_KEY] = &ret->foreign_key,
		[O_AES_BYTES] = &ret->aes_bytes_file,
	};

	ret->rate = RATE_DEFAULT;
	ret->seconds = SECONDS_DEFAULT;
	for (int name; (name = getopt_long(argc, argv, "", LONG, NULL)) != -1;) {
		if (name == O_RATE || name == O_SECONDS) {
			if (!parse_number(optarg, name == O_RATE ? RATE_MAX : SECONDS_MAX, name == O_RATE ? &ret->rate : &ret->seconds))
				return false;
		} else if (name == O_DOCUMENTED)
			ret->documented_only = true;
		else if (name == O_JSON)
			ret->as_json = true;
		else if (name == O_HELP)
			*ret_help = true;
		else if (name >= 0 && (size_t)name < sizeof(texts) / sizeof(*texts))
			*texts[name] = optarg;
		else
			return false; /* getopt has said why */
	}
	if (*ret_help)
		return true;
	if (optind < argc) {
		say("\"%s\" is not an option", argv[optind]);
		return false;
	}
	if (!all_are_there(ret))
		return false;
	if (!is_id(ret->aes_key) || !is_id(ret->rsa_key) || !is_id(ret->disabled_key)) {
		say("a key's external id has 1 to %d letters, digits and '-'", ID_MAX);
		return false;
	}
	return parse_url(ret->url, &ret->target) && (ret->resolve == NULL || parse_resolve(ret->resolve, &ret->target));
}

/* Files: certificates, roots, the AES key's bytes. */
static bool load_files(struct options *opt, struct tester *t)
{
	char why[WHY_MAX];

	if (opt->ca != NULL && access(opt->ca, R_OK) != 0) {
		say("--ca %s: %m", opt->ca);
		return false;
	}
	opt->target.roots = X509_STORE_new();
	if (opt->target.roots == NULL ||
	    (opt->ca != NULL ? X509_STORE_load_file(opt->target.roots, opt->ca) : X509_STORE_set_default_paths(opt->target.roots)) != 1) {
		say("%s: no root certificates in PEM", opt->ca != NULL ? opt->ca : "this machine");
		return false;
	}
	if (!identity_load(opt->cert, opt->key, &t->who[OWN], why) ||
	    (opt->foreign_cert != NULL && !identity_load(opt->foreign_cert, opt->foreign_key, &t->who[FOREIGN], why))) {
		say("%s", why);
		return false;
	}
	(void)identity_imitate(&t->who[OWN], &t->who[IMPOSTOR]); /* without it that check is skipped */
	if (opt->aes_bytes_file != NULL) {
		FILE *file = fopen(opt->aes_bytes_file, "re");
		t->has_aes_bytes = file != NULL && fread(t->aes_bytes, 1, AES_KEY_LEN, file) == AES_KEY_LEN && fgetc(file) == EOF;
		if (file != NULL)
			(void)fclose(file);
		if (!t->has_aes_bytes) {
			say("%s: not a readable file of %d bytes", opt->aes_bytes_file, AES_KEY_LEN);
			return false;
		}
	}
	return true;
}

static bool name_run(struct tester *t)
{
	unsigned char r[10];
	if (RAND_bytes(r, sizeof(r)) != 1)
		return false;
	(void)snprintf(t->run_id, sizeof(t->run_id), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-", r[0], r[1], r[2], r[3], r[4], r[5],
	               r[6], r[7], r[8], r[9]);
	return true;
}

static int run(struct tester *t)
{
	struct outcome *outcomes = calloc(CHECK_COUNT, sizeof(*outcomes));
	char why[WHY_MAX];
	bool has_failed = false;

	if (outcomes == NULL || !name_run(t)) {
		say("no memory, or no random bytes");
		free(outcomes);
		return EXIT_UNREACHABLE;
	}
	if (dial_as(t, OWN, &t->wire, why) != DIAL_OK) {
		say("cannot connect to %s: %s", t->opt->url, why);
		free(outcomes);
		return EXIT_UNREACHABLE;
	}
	preflight(t);
	tester_prepare(t);
	for (size_t i = 0; i < CHECK_COUNT; i++) {
		const struct check *c = &CHECKS[i];
		if (c->run == NULL)
			skipped(&outcomes[i], "%s", c->by_hand);
		else if (c->is_recommended && t->opt->documented_only)
			skipped(&outcomes[i], "recommended only");
		else
			c->run(t, c, &outcomes[i]);
		has_failed |= outcomes[i].verdict == FAIL;
		report_row(t->opt, i, &outcomes[i]);
	}
	report_end(t, outcomes);
	free(outcomes);
	return has_failed ? EXIT_FAILED : EXIT_PASSED;
}

int main(int argc, char *argv[])
{
	struct options opt = { 0 };
	struct tester t = { .opt = &opt };
	bool wants_help = false;

	(void)signal(SIGPIPE, SIG_IGN); /* a proxy that closes is an answer, not our end */
	if (!parse_options(argc, argv, &opt, &wants_help)) {
		(void)fputs("try --help\n", stderr);
		return EXIT_USAGE;
	}
	if (wants_help) {
		(void)fputs(USAGE, stdout);
		return EXIT_PASSED;
	}
	int status = load_files(&opt, &t) ? run(&t) : EXIT_USAGE;
	wire_close(t.wire);
	for (size_t i = 0; i < WHO_COUNT; i++)
		identity_clear(&t.who[i]);
	EVP_PKEY_free(t.rsa_public);
	OPENSSL_cleanse(t.aes_bytes, sizeof(t.aes_bytes));
	X509_STORE_free(opt.target.roots);
	return status;
}
