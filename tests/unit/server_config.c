/* tests/unit/server_config.c - the configuration file: what loads, and the one message for each thing that does not. */
#include "server/config.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_LEN 512

/* A directory with the files that a complete configuration names. */
struct place {
	char dir[64];
	char file[PATH_LEN];
};

#define MINIMAL                                 \
	"node: n1\n"                            \
	"domain: vault.localhost\n"             \
	"tls:\n"                                \
	"  certificate: tls.pem\n"              \
	"  key: tls.key\n"                      \
	"admin:\n"                              \
	"  socket: admin.sock\n"                \
	"storage:\n"                            \
	"  database: holdfast.db\n"             \
	"hsm:\n"                                \
	"  module: module.so\n"                 \
	"  token: pkcs11:token=holdfast\n"      \
	"  pin: pin\n"

static void put(const struct place *p, const char *name, const char *text, mode_t mode)
{
	char path[PATH_LEN] = "";
	FILE *f = NULL;
	(void)snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int make_place(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	assert_non_null(p);
	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/holdfast-config-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->file, sizeof(p->file), "%s/holdfast.yaml", p->dir);
	put(p, "tls.pem", "certificate", 0644);
	put(p, "tls.key", "key", 0600);
	put(p, "module.so", "library", 0644);
	put(p, "pin", "1234", 0600);
	*state = p;
	return 0;
}

static int unlink_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int remove_place(void **state)
{
	struct place *p = *state;
	int failed = nftw(p->dir, unlink_one, 8, FTW_DEPTH | FTW_PHYS);
	free(p);
	return failed;
}

static struct config *load(const struct place *p, const char *text)
{
	struct config *c = NULL;
	struct kms_err err = { 0 };
	put(p, "holdfast.yaml", text, 0644);
	if (config_load(p->file, &c, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	assert_non_null(c);
	return c;
}

static void refuse_at(const struct place *p, const char *text, const char *line_and_message)
{
	struct config *c = NULL;
	struct kms_err err = { 0 };
	char expected[PATH_LEN + 256] = "";
	put(p, "holdfast.yaml", text, 0644);
	(void)snprintf(expected, sizeof(expected), "%s:%s", p->file, line_and_message);
	assert_int_equal(config_load(p->file, &c, &err), KMS_E_INVALID);
	assert_null(c);
	assert_string_equal(kms_err_text(&err), expected);
}

/* The same, for messages whose end is told elsewhere. */
static void refuse_with(const struct place *p, const char *text, const char *line_and_beginning)
{
	struct config *c = NULL;
	struct kms_err err = { 0 };
	char expected[PATH_LEN + 256] = "";
	put(p, "holdfast.yaml", text, 0644);
	(void)snprintf(expected, sizeof(expected), "%s:%s", p->file, line_and_beginning);
	assert_int_equal(config_load(p->file, &c, &err), KMS_E_INVALID);
	assert_null(c);
	if (strncmp(kms_err_text(&err), expected, strlen(expected)) != 0)
		fail_msg("%s does not begin with %s", kms_err_text(&err), expected);
}

static void a_minimal_file_loads_with_the_documented_defaults(void **state)
{
	const struct place *p = *state;
	struct config *c = load(p, MINIMAL);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	assert_string_equal(c->node, "n1");
	assert_string_equal(c->site, "local");
	assert_string_equal(c->domain, "vault.localhost");
	assert_string_equal(c->listen.address, "127.0.0.1");
	assert_int_equal(c->listen.port, 8443);
	assert_int_equal(c->public_port, 8443);
	assert_true(c->listen.threads >= 1);
	assert_int_equal(c->listen.connections, 4096);
	assert_int_equal(c->listen.per_ip, 1024);
	assert_int_equal(c->admin.uids_count, 0);
	assert_int_equal(c->storage.reserve_mib, 256);
	assert_null(c->hsm.token_dir);
	assert_int_equal(c->hsm.workers, cores < 59 ? cores + 1 : 60);
	assert_int_equal(c->hsm.cache_keys, 2000);
	assert_string_equal(c->log.level, "info");
	assert_string_equal(c->log.format, "auto");
	assert_string_equal(c->log.origin, "vault.localhost/audit/log1");
	assert_int_equal(c->log.interval_ms, 1000);
	assert_int_equal(c->log.pin_s, 60);
	assert_int_equal(c->log.heartbeat_s, 60);
	assert_int_equal(c->log.late_ms, 5000);
	assert_false(c->log.is_strict);
	assert_int_equal(c->log.witnesses_count, 0);
	assert_int_equal(c->log.quorum, 0);
	assert_false(c->log.witnesses_required);
	assert_int_equal(c->limits.queue, 1024);
	assert_int_equal(c->limits.token_life_s, 3600);
	assert_false(c->listen.client_certificates);
	assert_false(c->identity.is_on);
	assert_int_equal(c->limits.vault_requests, 20000);
	assert_int_equal(c->limits.vault_creates, 1000);
	assert_int_equal(c->limits.principal_requests, 20000);
	assert_int_equal(c->limits.principal_creates, 1000);
	config_free(c);
}

static void every_key_of_a_full_file_is_taken(void **state)
{
	const struct place *p = *state;
	struct config *c = load(p, MINIMAL "  token_dir: .\n  workers: 3\n  cache_keys: 7\n"
	                                   "site: berlin-1\npublic_port: 443\n"
	                                   "listen: {address: '::1', port: 9443, threads: 5, connections: 64, per_ip: 8, client_certificates: true}\n"
	                                   "log: {level: debug, format: json, origin: kms.example.com/audit/log2}\n"
	                                   "limits: {queue: 9, token_life_s: 300, vault_requests: 1, vault_creates: 2, principal_requests: 3, principal_creates: 1000000}\n");
	assert_int_equal(c->hsm.workers, 3);
	assert_int_equal(c->hsm.cache_keys, 7);
	assert_string_equal(c->site, "berlin-1");
	assert_int_equal(c->public_port, 443);
	assert_string_equal(c->listen.address, "::1");
	assert_int_equal(c->listen.port, 9443);
	assert_int_equal(c->listen.threads, 5);
	assert_int_equal(c->listen.connections, 64);
	assert_int_equal(c->listen.per_ip, 8);
	assert_string_equal(c->log.level, "debug");
	assert_string_equal(c->log.format, "json");
	assert_string_equal(c->log.origin, "kms.example.com/audit/log2");
	assert_int_equal(c->limits.queue, 9);
	assert_int_equal(c->limits.token_life_s, 300);
	assert_true(c->listen.client_certificates);
	assert_int_equal(c->limits.vault_requests, 1);
	assert_int_equal(c->limits.vault_creates, 2);
	assert_int_equal(c->limits.principal_requests, 3);
	assert_int_equal(c->limits.principal_creates, 1000000);
	config_free(c);
}

static void user_ids_are_a_list(void **state)
{
	const struct place *p = *state;
	struct config *c = load(p, "admin:\n  socket: admin.sock\n  uids: [0, 1000, 4294967295]\n"
	                           "node: n1\ndomain: d\ntls: {certificate: tls.pem, key: tls.key}\nstorage: {database: x.db}\n"
	                           "hsm: {module: module.so, token: 'pkcs11:token=t', pin: pin}\n");
	assert_int_equal(c->admin.uids_count, 3);
	assert_int_equal(c->admin.uids[1], 1000);
	assert_int_equal(c->admin.uids[2], 4294967295U);
	config_free(c);
}

static void relative_paths_are_resolved_against_the_directory_of_the_file(void **state)
{
	const struct place *p = *state;
	char here[PATH_LEN] = "", expected[2 * PATH_LEN] = "";
	struct config *c = NULL;
	struct kms_err err = { 0 };
	put(p, "holdfast.yaml", MINIMAL, 0644);
	assert_non_null(getcwd(here, sizeof(here)));
	assert_int_equal(chdir(p->dir), 0);
	/* Named without a directory, and from a place that is not the root of the tree. */
	if (config_load("holdfast.yaml", &c, &err) != KMS_OK)
		fail_msg("%s", kms_err_text(&err));
	assert_int_equal(chdir(here), 0);
	(void)snprintf(expected, sizeof(expected), "%s/tls.key", p->dir);
	assert_string_equal(c->tls.key, expected);
	(void)snprintf(expected, sizeof(expected), "%s/holdfast.db", p->dir);
	assert_string_equal(c->storage.database, expected);
	config_free(c);
}

static void a_credential_of_the_service_manager_is_left_as_it_is(void **state)
{
	const struct place *p = *state;
	struct config *c = load(p, "node: n1\ndomain: d\ntls: {certificate: tls.pem, key: tls.key}\nadmin: {socket: s}\n"
	                           "storage: {database: x.db}\nhsm: {module: module.so, token: 'pkcs11:token=t', pin: 'credential:hsm-pin'}\n");
	assert_string_equal(c->hsm.pin, "credential:hsm-pin");
	config_free(c);
}

#define PORT "a decimal number from 1 to 65535"

static void each_mistake_is_named_with_its_line_and_key(void **state)
{
	/* Lines 1 to 13 are MINIMAL. */
	static const struct {
		const char *added, *message;
	} CASES[] = {
		{ "listen:\n  port: 0\n", "15: listen.port: " PORT },
		{ "listen:\n  port: 65536\n", "15: listen.port: " PORT },
		{ "listen:\n  port: -1\n", "15: listen.port: " PORT },
		{ "listen:\n  port: 010\n", "15: listen.port: " PORT },
		{ "listen:\n  port: 0x20\n", "15: listen.port: " PORT },
		{ "listen:\n  port: high\n", "15: listen.port: " PORT },
		{ "listen:\n  port:\n", "15: listen.port: " PORT },
		{ "listen:\n  port: [1]\n", "15: listen.port: " PORT },
		{ "\n\nlisten: {port: 0}\n", "16: listen.port: " PORT },
		{ "public_port: 0\n", "14: public_port: " PORT },
		{ "listen:\n  address: localhost\n", "15: listen.address: a numeric IPv4 or IPv6 address" },
		{ "listen:\n  threads: 0\n", "15: listen.threads: a decimal number from 1 to 256" },
		{ "listen:\n  connections: 15\n", "15: listen.connections: a decimal number from 16 to 65536" },
		{ "listen:\n  connections: 16\n  per_ip: 17\n", "16: listen.per_ip: at most listen.connections" },
		{ "listen:\n  prot: 1\n", "15: listen.prot: unknown key" },
		{ "lisen:\n  port: 1\n", "14: lisen: unknown key" },
		{ "listen: 8443\n", "14: listen: a mapping of settings, as in holdfast.yaml.example" },
		{ "node: n2\n", "14: node: given twice" },
		{ "listen:\n  port: 1\n  port: 2\n", "16: listen.port: given twice" },
		{ "tls:\n  key: tls.key\n", "14: tls: given twice" },
		{ "site: 'a b'\n", "14: site: a name of 1 to 64 characters of A-Z a-z 0-9 . -" },
		{ "site: ''\n", "14: site: a name of 1 to 64 characters of A-Z a-z 0-9 . -" },
		{ "site: [a]\n", "14: site: a name of 1 to 64 characters of A-Z a-z 0-9 . -" },
		{ "site: &x a\nlog: {level: *x}\n", "15: log.level: aliases are not supported" },
		{ "  token_dir: nowhere\n", "14: hsm.token_dir: an existing directory" },
		{ "  workers: 1\n", "14: hsm.workers: a decimal number from 2 to 60" },
		{ "  workers: 61\n", "14: hsm.workers: a decimal number from 2 to 60" },
		{ "  cache_keys: 100001\n", "14: hsm.cache_keys: a decimal number from 1 to 100000" },
		{ "log:\n  level: loud\n", "15: log.level: debug, info, warn or error" },
		{ "log:\n  format: xml\n", "15: log.format: auto, text or json" },
		{ "log:\n  origin: a/\n", "15: log.origin: 1 to 200 characters of A-Z a-z 0-9 . - /, no slash at either end" },
		{ "limits:\n  queue: 0\n", "15: limits.queue: a decimal number from 1 to 65536" },
		{ "limits:\n  token_life_s: 299\n", "15: limits.token_life_s: a decimal number from 300 to 86400" },
		{ "limits:\n  token_life_s: 86401\n", "15: limits.token_life_s: a decimal number from 300 to 86400" },
		{ "limits:\n  vault_creates: 0\n", "15: limits.vault_creates: a decimal number from 1 to 1000000" },
		{ "limits:\n  principal_requests: 1000001\n", "15: limits.principal_requests: a decimal number from 1 to 1000000" },
		{ "listen:\n  client_certificates: flase\n", "15: listen.client_certificates: true or false" },
		{ "listen:\n  client_certificates: yes\n", "15: listen.client_certificates: true or false" },
		{ "listen:\n  client_certificates: [true]\n", "15: listen.client_certificates: true or false" },
		{ "\tsite: a\n", "14: (syntax): YAML: found a tab character that violates indentation" },
		{ "---\nnode: n2\n", "14: (file): one document only" },
	};
	const struct place *p = *state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		char text[1024] = "";
		(void)snprintf(text, sizeof(text), "%s%s", MINIMAL, CASES[i].added);
		refuse_at(p, text, CASES[i].message);
	}
}

/* MINIMAL with one line replaced. */
static void replace_line(unsigned line, const char *with, char ret[1024])
{
	const char *from = MINIMAL;
	size_t used = 0;
	for (unsigned n = 1; *from != '\0'; n++) {
		size_t len = strcspn(from, "\n") + 1;
		used += (size_t)snprintf(ret + used, 1024 - used, "%.*s", (int)(n == line ? strlen(with) : len), n == line ? with : from);
		from += len;
	}
}

static void each_required_value_is_checked_and_missed(void **state)
{
	static const struct {
		unsigned line;
		const char *with, *message;
	} CASES[] = {
		{ 1, "", "1: node: missing: a name of 1 to 64 characters of A-Z a-z 0-9 . -" },
		{ 2, "", "1: domain: missing: a lower-case DNS name of at most 180 characters" },
		{ 2, "domain: Vault.localhost\n", "2: domain: a lower-case DNS name of at most 180 characters" },
		{ 2, "domain: a..b\n", "2: domain: a lower-case DNS name of at most 180 characters" },
		{ 2, "domain: a.\n", "2: domain: a lower-case DNS name of at most 180 characters" },
		{ 2, "domain: -a.b\n", "2: domain: a lower-case DNS name of at most 180 characters" },
		{ 2, "domain: 10.0.0.1\n", "2: domain: a lower-case DNS name of at most 180 characters" },
		{ 4, "", "3: tls.certificate: missing: a readable PEM file" },
		{ 4, "  certificate: none.pem\n", "4: tls.certificate: a readable PEM file" },
		{ 5, "", "3: tls.key: missing: a readable PEM file, closed to group and others (chmod 600)" },
		{ 5, "  key: tls.pem\n", "5: tls.key: a readable PEM file, closed to group and others (chmod 600)" },
		{ 7, "  socket: no/such/dir\n", "7: admin.socket: a path of at most 107 bytes in an existing directory" },
		{ 7, "  socket: s\n  uids: [1, x]\n", "8: admin.uids: a list of at most 64 user ids (decimal numbers)" },
		{ 7, "  socket: s\n  uids:\n   - 1\n   - 010\n", "10: admin.uids: a list of at most 64 user ids (decimal numbers)" },
		{ 7, "  socket: s\n  uids: 5\n", "8: admin.uids: a list of at most 64 user ids (decimal numbers)" },
		{ 9, "  database: .\n", "9: storage.database: a file in an existing directory" },
		{ 9, "  database: a.db\n  reserve_mib: 0\n", "10: storage.reserve_mib: a decimal number from 1 to 65536" },
		{ 11, "  module: none.so\n", "11: hsm.module: the file of a PKCS#11 library" },
		{ 12, "  token: holdfast\n", "12: hsm.token: a PKCS#11 URI (RFC 7512) without pin-value, such as pkcs11:token=holdfast" },
		{ 12, "  token: 'pkcs11:token=t?pin-value=1234'\n",
		  "12: hsm.token: a PKCS#11 URI (RFC 7512) without pin-value, such as pkcs11:token=holdfast" },
		{ 13, "  pin: none\n", "13: hsm.pin: credential:NAME, or a readable file closed to group and others (chmod 600)" },
		{ 13, "  pin: 'credential:../x'\n", "13: hsm.pin: credential:NAME, or a readable file closed to group and others (chmod 600)" },
	};
	const struct place *p = *state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		char text[1024] = "";
		replace_line(CASES[i].line, CASES[i].with, text);
		refuse_at(p, text, CASES[i].message);
	}
}

static void a_private_file_that_anyone_else_may_touch_is_refused(void **state)
{
	static const mode_t OPEN[] = { 0640, 0604, 0644, 0620, 0602, 0610 };
	const struct place *p = *state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(OPEN); i++) {
		put(p, "tls.key", "key", OPEN[i]);
		refuse_at(p, MINIMAL, "5: tls.key: a readable PEM file, closed to group and others (chmod 600)");
		put(p, "tls.key", "key", 0600);
		put(p, "pin", "1234", OPEN[i]);
		refuse_at(p, MINIMAL, "13: hsm.pin: credential:NAME, or a readable file closed to group and others (chmod 600)");
		put(p, "pin", "1234", 0400);
	}
	config_free(load(p, MINIMAL));
}

static void a_file_that_is_empty_or_no_mapping_is_refused(void **state)
{
	const struct place *p = *state;
	refuse_at(p, "", "1: (file): a mapping of settings, as in holdfast.yaml.example");
	refuse_at(p, "# only a comment\n", "1: (file): a mapping of settings, as in holdfast.yaml.example");
	refuse_at(p, "- a\n", "1: (file): a mapping of settings, as in holdfast.yaml.example");
	refuse_at(p, "{}\n", "1: node: missing: a name of 1 to 64 characters of A-Z a-z 0-9 . -");
}

static void a_file_that_is_too_large_is_refused(void **state)
{
	const struct place *p = *state;
	const size_t len = ((size_t)64 << 10) + 1;
	char *text = malloc(len + 1);
	assert_non_null(text);
	memset(text, '#', len);
	text[len] = '\0';
	refuse_at(p, text, "1: (file): at most 64 KiB");
	free(text);
}

static void a_missing_file_is_named(void **state)
{
	const struct place *p = *state;
	struct config *c = NULL;
	struct kms_err err = { 0 };
	char expected[PATH_LEN + 64] = "";
	(void)snprintf(expected, sizeof(expected), "%s: cannot be read: No such file or directory", p->file);
	assert_int_equal(config_load(p->file, &c, &err), KMS_E_INVALID);
	assert_string_equal(kms_err_text(&err), expected);
	assert_null(c);
}

static void the_message_of_a_long_file_name_still_says_what_was_expected(void **state)
{
	const struct place *p = *state;
	char dir[PATH_LEN] = "", file[2 * PATH_LEN] = "";
	struct config *c = NULL;
	struct kms_err err = { 0 };
	FILE *f = NULL;
	(void)snprintf(dir, sizeof(dir), "%s/%0200d", p->dir, 1);
	assert_int_equal(mkdir(dir, 0700), 0);
	(void)snprintf(file, sizeof(file), "%s/holdfast.yaml", dir);
	f = fopen(file, "we");
	assert_non_null(f);
	assert_true(fputs("site: a\n", f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(config_load(file, &c, &err), KMS_E_INVALID);
	assert_non_null(strstr(kms_err_text(&err), "/holdfast.yaml:1: node: missing: a name of 1 to 64 characters of A-Z a-z 0-9 . -"));
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

#define EKM "ekm:\n  certificate: tls.pem\n  key: tls.key\n"

static void without_its_section_there_is_no_listener_for_pools(void **state)
{
	struct config *c = load(*state, MINIMAL);

	assert_false(c->ekm.is_on);
	assert_null(c->ekm.certificate);
	config_free(c);
}

static void the_listener_for_pools_has_its_defaults(void **state)
{
	const struct place *p = *state;
	struct config *c = load(p, MINIMAL EKM);
	char path[PATH_LEN];

	assert_true(c->ekm.is_on);
	assert_string_equal(c->ekm.address, "127.0.0.1");
	assert_int_equal(c->ekm.port, 443);
	assert_int_equal(c->ekm.connections, 1024);
	assert_null(c->ekm.api_version);
	(void)snprintf(path, sizeof(path), "%s/tls.pem", p->dir);
	assert_string_equal(c->ekm.certificate, path);
	config_free(c);
	c = load(p, MINIMAL EKM "  address: 0.0.0.0\n  port: 8444\n  connections: 64\n  api_version: 1.0\n");
	assert_string_equal(c->ekm.address, "0.0.0.0");
	assert_int_equal(c->ekm.port, 8444);
	assert_int_equal(c->ekm.connections, 64);
	assert_string_equal(c->ekm.api_version, "1.0");
	config_free(c);
}

static void the_listener_for_pools_needs_a_certificate_and_a_private_key(void **state)
{
	const struct place *p = *state;

	refuse_at(p, MINIMAL "ekm:\n  port: 443\n", "14: ekm.certificate: missing: a readable PEM file");
	refuse_at(p, MINIMAL "ekm:\n  certificate: tls.pem\n",
	          "14: ekm.key: missing: a readable PEM file, closed to group and others (chmod 600)");
	refuse_at(p, MINIMAL "ekm:\n  certificate: tls.pem\n  key: tls.pem\n",
	          "16: ekm.key: a readable PEM file, closed to group and others (chmod 600)");
	refuse_at(p, MINIMAL EKM "  port: 0\n", "17: ekm.port: a decimal number from 1 to 65535");
	refuse_at(p, MINIMAL EKM "  api_version: 0.1 preview\n", "17: ekm.api_version: 1 to 32 characters of a-z 0-9 . -");
	refuse_at(p, MINIMAL EKM "  roots: x\n", "17: ekm.roots: unknown key");
}

static void managed_identities_are_served_on_loopback_only(void **state)
{
	static const char *const GOOD[] = { "127.0.0.1", "127.255.0.9", "::1" };
	static const char *const BAD[] = { "0.0.0.0", "10.0.0.1", "128.0.0.1", "::", "::2", "::ffff:127.0.0.1", "fe80::1", "localhost", "" };
	const struct place *p = *state;
	struct config *c = load(p, MINIMAL "identity: {}\n");
	char text[PATH_LEN * 2];

	assert_true(c->identity.is_on);
	assert_string_equal(c->identity.address, "127.0.0.1");
	assert_int_equal(c->identity.port, 40342);
	config_free(c);
	for (size_t i = 0; i < KMS_ARRAY_LEN(GOOD); i++) {
		(void)snprintf(text, sizeof(text), MINIMAL "identity:\n  port: 8080\n  address: '%s'\n", GOOD[i]);
		c = load(p, text);
		assert_string_equal(c->identity.address, GOOD[i]);
		assert_int_equal(c->identity.port, 8080);
		config_free(c);
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		(void)snprintf(text, sizeof(text), MINIMAL "identity:\n  address: '%s'\n", BAD[i]);
		refuse_at(p, text, "15: identity.address: a loopback address: 127.0.0.1 or ::1");
	}
	refuse_at(p, MINIMAL "identity:\n  key: a\n", "15: identity.key: unknown key");
}

#define ISSUER "issuers:\n  - name: entra\n    issuer: [\"https://sts.test/T/\"]\n"
#define ISSUER_URL ISSUER "    jwks_url: https://sts.test/keys\n"

static void issuers_load_with_their_defaults(void **state)
{
	const struct place *p = *state;
	char path[PATH_LEN] = "";
	struct config *c = load(p, MINIMAL);
	assert_int_equal(c->issuers_count, 0);
	config_free(c);
	c = load(p, MINIMAL "issuers: []\n");
	assert_int_equal(c->issuers_count, 0);
	config_free(c);
	put(p, "keys.json", "{}", 0644);
	c = load(p, MINIMAL ISSUER_URL "  - name: cloak\n    issuer: [\"a\", \"b\"]\n    audience: [kms]\n    tenant: t\n    authority: https://cloak.test:8443/realms/kms\n"
	                               "    jwks_file: keys.json\n    algorithms: [PS256, EdDSA]\n    principal_claim: sub\n    group_claim: g\n    role_claim: realm_access.roles\n"
	                               "    refresh_s: 10\n    stale_s: 20\n");
	assert_int_equal(c->issuers_count, 2);
	assert_string_equal(c->issuers[0].name, "entra");
	assert_int_equal(c->issuers[0].issuer_count, 1);
	assert_string_equal(c->issuers[0].issuer[0], "https://sts.test/T/");
	assert_int_equal(c->issuers[0].audience_count, 0);
	assert_null(c->issuers[0].tenant);
	assert_null(c->issuers[0].authority);
	assert_null(c->issuers[0].jwks_file);
	assert_null(c->issuers[0].ca);
	assert_int_equal(c->issuers[0].algorithms_count, 0);
	assert_string_equal(c->issuers[0].principal_claim, "oid");
	assert_string_equal(c->issuers[0].group_claim, "groups");
	assert_string_equal(c->issuers[0].role_claim, "roles");
	assert_int_equal(c->issuers[0].refresh_s, 600);
	assert_int_equal(c->issuers[0].stale_s, 86400);
	assert_int_equal(c->issuers[1].issuer_count, 2);
	assert_string_equal(c->issuers[1].audience[0], "kms");
	(void)snprintf(path, sizeof(path), "%s/keys.json", p->dir);
	assert_string_equal(c->issuers[1].jwks_file, path);
	assert_int_equal(c->issuers[1].algorithms_count, 2);
	assert_string_equal(c->issuers[1].algorithms[1], "EdDSA");
	assert_int_equal(c->issuers[1].refresh_s, 10);
	assert_int_equal(c->issuers[1].stale_s, 20);
	config_free(c);
}

static void each_wrong_member_of_an_issuer_is_named_with_its_line(void **state)
{
	static const struct {
		const char *text, *message;
	} BAD[] = {
		{ "issuers: 5\n", "14: issuers: a list of at most 64 issuers, each a mapping, as in holdfast.yaml.example" },
		{ "issuers:\n  - issuer: [a]\n    jwks_url: https://a.test/\n", "15: issuers.name: 1 to 32 characters of a-z 0-9 -, used once" },
		{ "issuers:\n  - name: Entra\n    issuer: [a]\n    jwks_url: https://a.test/\n", "15: issuers.name: 1 to 32 characters of a-z 0-9 -, used once" },
		{ "issuers:\n  - name: a\n    jwks_url: https://a.test/\n", "15: issuers.issuer: a list of 1 to 16 values of iss, each of one issuer only" },
		{ "issuers:\n  - name: a\n    issuer: [\"a b\"]\n    jwks_url: https://a.test/\n",
		  "16: issuers.issuer: a list of 1 to 16 values of iss, each of one issuer only" },
		{ ISSUER, "15: issuers.jwks_url: an https URL of at most 1024 characters; it or jwks_file, and not both" },
		{ ISSUER "    jwks_url: http://a.test/\n", "17: issuers.jwks_url: an https URL of at most 1024 characters; it or jwks_file, and not both" },
		{ ISSUER "    jwks_url: https://user@a.test/\n", "17: issuers.jwks_url: an https URL of at most 1024 characters; it or jwks_file, and not both" },
		{ ISSUER "    jwks_url: https:///keys\n", "17: issuers.jwks_url: an https URL of at most 1024 characters; it or jwks_file, and not both" },
		{ ISSUER_URL "    jwks_file: pin\n", "17: issuers.jwks_url: an https URL of at most 1024 characters; it or jwks_file, and not both" },
		{ ISSUER "    jwks_file: nowhere\n", "17: issuers.jwks_file: a readable file with a JWK Set; it or jwks_url, and not both" },
		{ ISSUER "    jwks_file: pin\n    ca: pin\n", "18: issuers.ca: a readable PEM file, for jwks_url" },
		{ ISSUER_URL "    ca: nowhere\n", "18: issuers.ca: a readable PEM file, for jwks_url" },
		{ ISSUER_URL "    authority: \"https://a.test/?x\"\n", "18: issuers.authority: an https URL of at most 512 characters, without a query" },
		{ ISSUER_URL "    algorithms: [RS256, HS256]\n", "18: issuers.algorithms: a list of RS256, PS256, ES256 and EdDSA" },
		{ ISSUER_URL "    algorithms: RS256\n", "18: issuers.algorithms: a list of RS256, PS256, ES256 and EdDSA" },
		{ ISSUER_URL "    principal_claim: email\n", "18: issuers.principal_claim: oid, sub, appid or azp" },
		{ ISSUER_URL "    refresh_s: 9\n", "18: issuers.refresh_s: a decimal number from 10 to 86400" },
		{ ISSUER_URL "    refresh_s: 0\n", "18: issuers.refresh_s: a decimal number from 10 to 86400" },
		{ ISSUER_URL "    refresh_s: 0x10\n", "18: issuers.refresh_s: a decimal number from 10 to 86400" },
		{ ISSUER_URL "    stale_s: 500\n", "18: issuers.stale_s: a decimal number from 10 to 604800, and at least refresh_s" },
		{ ISSUER_URL "    stale_s: 604801\n", "18: issuers.stale_s: a decimal number from 10 to 604800, and at least refresh_s" },
		{ ISSUER_URL "    audiences: [a]\n", "18: issuers.audiences: unknown key" },
		{ ISSUER_URL "  - name: entra\n    issuer: [b]\n    jwks_url: https://b.test/\n", "18: issuers.name: 1 to 32 characters of a-z 0-9 -, used once" },
		{ ISSUER_URL "  - name: other\n    issuer: [b, \"https://sts.test/T/\"]\n    jwks_url: https://b.test/\n",
		  "19: issuers.issuer: a list of 1 to 16 values of iss, each of one issuer only" },
		{ ISSUER_URL "  - name: other\n    issuer: [b]\n    jwks_url: https://b.test/\n    tenat: t\n", "21: issuers.tenat: unknown key" },
	};
	const struct place *p = *state;

	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		char *text = NULL;
		assert_true(asprintf(&text, MINIMAL "%s", BAD[i].text) > 0);
		refuse_at(p, text, BAD[i].message);
		free(text);
	}
}

#define EXPORT_OF(name, format, to) "  - name: " name "\n    format: " format "\n    to: " to "\n"
#define EXPORT_SYSLOG EXPORT_OF("siem", "cef", "syslog+tls://siem.test:6514")

static void exports_go_to_files_syslog_and_otlp(void **state)
{
	const struct place *p = *state;
	struct config *c = load(p, MINIMAL "exports:\n" EXPORT_SYSLOG "    ca: pin\n    certificate: tls.pem\n    key: pin\n    required: true\n    max_lag_s: 15\n    enterprise: 4711\n"
	                           EXPORT_OF("a", "native", "file:/tmp/no-such-file.jsonl") EXPORT_OF("b", "otlp", "https://otel.test:4318/v1/logs") "    headers_file: pin\n"
	                           EXPORT_OF("c", "azure", "syslog+tcp://127.0.0.1:514") EXPORT_OF("d", "otlp", "\"http://[::1]:4318/v1/logs\"")
	                           EXPORT_OF("e", "cef", "\"syslog+tls://[2001:db8::1]:6514\""));

	assert_int_equal(c->exports_count, 6);
	assert_string_equal(c->exports[0].to, "syslog+tls://siem.test:6514");
	assert_true(c->exports[0].required && c->exports[0].max_lag_s == 15 && c->exports[0].enterprise == 4711);
	assert_int_equal(c->exports[0].key[0], '/'); /* resolved */
	assert_true(!c->exports[1].required && c->exports[1].max_lag_s == 60 && c->exports[1].enterprise == 32473);
	assert_null(c->exports[1].ca);
	config_free(c);
}

static void each_wrong_member_of_an_export_is_named_with_its_line(void **state)
{
	static const struct {
		const char *text, *message;
	} BAD[] = {
		{ EXPORT_OF("S", "cef", "syslog+tls://s.test:1"), "15: exports.name: " },
		{ EXPORT_OF("s", "xml", "syslog+tls://s.test:1"), "16: exports.format: " },
		{ EXPORT_OF("s", "otlp", "syslog+tls://s.test:1"), "16: exports.format: " },
		{ EXPORT_OF("s", "cef", "https://s.test/"), "16: exports.format: " },
		{ EXPORT_OF("s", "cef", "syslog://s.test:1"), "17: exports.to: " },
		{ EXPORT_OF("s", "cef", "syslog+tls://s.test"), "17: exports.to: " },
		{ EXPORT_OF("s", "cef", "syslog+tls://s.test:65536"), "17: exports.to: " },
		{ EXPORT_OF("s", "cef", "syslog+tls://u@s.test:1"), "17: exports.to: " },
		{ EXPORT_OF("s", "cef", "syslog+tcp://10.0.0.1:514"), "17: exports.to: " },
		{ EXPORT_OF("s", "cef", "syslog+tcp://127.0.0.1.test:514"), "17: exports.to: " },
		{ EXPORT_OF("s", "cef", "syslog+tcp://localhost:514"), "17: exports.to: " },
		{ EXPORT_OF("s", "otlp", "http://10.0.0.1/v1/logs"), "17: exports.to: " },
		{ EXPORT_OF("s", "otlp", "http://127.0.0.1.test/v1/logs"), "17: exports.to: " },
		{ EXPORT_OF("s", "otlp", "https://user:pass@a.test/"), "17: exports.to: " },
		{ EXPORT_OF("s", "otlp", "\"https://a.test/?key=secret\""), "17: exports.to: " },
		{ EXPORT_OF("s", "native", "file:relative"), "17: exports.to: file: and a whole path" },
		{ EXPORT_OF("s", "native", "file:/tmp"), "17: exports.to: " },
		{ EXPORT_OF("s", "native", "file:/dev/null"), "17: exports.to: " },
		{ EXPORT_OF("s", "native", "file:/no/such/directory/x"), "17: exports.to: file:/PATH in an existing directory; this one is not there" },
		{ EXPORT_OF("s", "native", "file:/tmp/x") "    ca: tls.pem\n", "18: exports.ca: " },
		{ EXPORT_OF("s", "native", "file:/tmp/x") "    headers_file: pin\n", "18: exports.headers_file: " },
		{ EXPORT_SYSLOG "    ca: nowhere\n", "18: exports.ca: " },
		{ EXPORT_SYSLOG "    certificate: tls.pem\n", "18: exports.certificate: " },
		{ EXPORT_SYSLOG "    required: maybe\n", "18: exports.required: true or false" },
		{ EXPORT_SYSLOG "    max_lag_s: 14\n", "18: exports.max_lag_s: " },
		{ EXPORT_SYSLOG "    max_lag_s: 0\n", "18: exports.max_lag_s: " },
		{ EXPORT_SYSLOG "    max_lag_s: 0x20\n", "18: exports.max_lag_s: " },
		{ EXPORT_SYSLOG "    enterprise: 0\n", "18: exports.enterprise: " },
		{ EXPORT_SYSLOG "    password: x\n", "18: exports.password: unknown key" },
		{ EXPORT_SYSLOG EXPORT_OF("siem", "cef", "syslog+tls://other.test:1"), "18: exports.name: " },
		{ EXPORT_SYSLOG EXPORT_OF("other", "cef", "syslog+tls://siem.test:6514"), "20: exports.to: each used once; another" },
	};
	const struct place *p = *state;

	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		char *text = NULL;
		assert_true(asprintf(&text, MINIMAL "exports:\n%s", BAD[i].text) > 0);
		refuse_with(p, text, BAD[i].message);
		free(text);
	}
}

#define CHANNEL(name, kind, address) "    - name: " name "\n      kind: " kind "\n      address: " address "\n"
#define MAIL CHANNEL("post", "mail", "smtp://127.0.0.1:25")
#define CHANNELS "alerts:\n  channels:\n" CHANNEL("hook", "webhook", "https://hook.test/x?y=1")
#define RULE(name, kind) "  rules:\n    - name: " name "\n      kind: " kind "\n"
#define TO "      to: [hook]\n"

static void alerts_have_rules_and_channels(void **state)
{
	const struct place *p = *state;
	struct config *c = load(p, MINIMAL CHANNELS "      ca: tls.pem\n      secret_file: pin\n" CHANNEL("local", "webhook", "\"http://[::1]:8080/\"")
	                           CHANNEL("siem", "syslog", "syslog+tls://siem.test:6514") "      certificate: tls.pem\n      key: pin\n" MAIL "      from: kms@x.test\n      to: [ops@x.test, o'neil+kms@x.test]\n"
	                           RULE("refused", "denials") "      to: [hook, post]\n      vault: orders\n      per: total\n"
	                           "    - {name: busy, kind: volume, factor: 3, to: [siem]}\n    - {name: late, kind: log_late, late_s: 5, window_s: 10, to: [siem]}\n");

	assert_true(c->alerts.rules_count == 3 && c->alerts.channels_count == 4);
	assert_true(c->alerts.rules[0].limit == 20 && c->alerts.rules[0].window_s == 60 && c->alerts.rules[0].to_count == 2);
	assert_true(c->alerts.rules[1].limit == 0 && c->alerts.rules[1].factor == 3 && c->alerts.rules[1].at_least == 100 && c->alerts.rules[1].window_s == 3600);
	assert_true(c->alerts.rules[2].late_s == 5 && c->alerts.rules[2].window_s == 10);
	assert_int_equal(c->alerts.channels[0].secret_file[0], '/'); /* resolved */
	assert_true(c->alerts.channels[2].certificate[0] == '/' && c->alerts.channels[2].key[0] == '/');
	assert_string_equal(c->alerts.channels[3].to[1], "o'neil+kms@x.test");
	config_free(c);
}

static void each_wrong_member_of_an_alert_is_named_with_its_line(void **state)
{
	static const struct {
		const char *text, *message;
	} BAD[] = {
		{ "alerts:\n  channels:\n" CHANNEL("Hook", "webhook", "https://h.test/"), "16: alerts.channels.name: " },
		{ "alerts:\n  channels:\n" CHANNEL("hook", "pager", "https://h.test/"), "17: alerts.channels.kind: " },
		{ "alerts:\n  channels:\n" CHANNEL("hook", "webhook", "http://h.test/"), "18: alerts.channels.address: " },
		{ "alerts:\n  channels:\n" CHANNEL("hook", "webhook", "http://127.0.0.1.test/"), "18: alerts.channels.address: " },
		{ "alerts:\n  channels:\n" CHANNEL("hook", "webhook", "https://u:p@h.test/"), "18: alerts.channels.address: " },
		{ "alerts:\n  channels:\n" CHANNEL("hook", "syslog", "syslog+tcp://10.0.0.1:514"), "18: alerts.channels.address: " },
		{ "alerts:\n  channels:\n" CHANNEL("hook", "syslog", "syslog+tls://s.test"), "18: alerts.channels.address: " },
		{ "alerts:\n  channels:\n" CHANNEL("hook", "mail", "smtp://mail.test:25"), "18: alerts.channels.address: " },
		{ "alerts:\n  channels:\n" MAIL "      to: [a@x.test]\n", "16: alerts.channels.from: " },
		{ "alerts:\n  channels:\n" MAIL "      from: a@x.test\n", "16: alerts.channels.to: " },
		{ "alerts:\n  channels:\n" MAIL "      from: a@x.test\n      to: [\"a@x.test>\\r\\nDATA\"]\n", "20: alerts.channels.to: " },
		{ "alerts:\n  channels:\n" MAIL "      from: \"a b@x.test\"\n", "19: alerts.channels.from: " },
		{ "alerts:\n  channels:\n" MAIL "      ca: tls.pem\n", "19: alerts.channels.ca: " },
		{ CHANNELS "      certificate: tls.pem\n      key: pin\n", "19: alerts.channels.certificate: " },
		{ "alerts:\n  channels:\n" CHANNEL("s", "syslog", "syslog+tls://s.test:1") "      key: pin\n", "16: alerts.channels.certificate: " },
		{ "alerts:\n  channels:\n" CHANNEL("s", "syslog", "syslog+tls://s.test:1") "      certificate: tls.pem\n      key: tls.pem\n", "20: alerts.channels.key: " },
		{ CHANNELS "      secret_file: tls.pem\n", "19: alerts.channels.secret_file: " },
		{ CHANNELS "      from: a@x.test\n", "19: alerts.channels.from: " },
		{ CHANNELS "      password: x\n", "19: alerts.channels.password: unknown key" },
		{ "alerts:\n  rules:\n    - {name: r, kind: expiry, to: [hook]}\n  channels:\n    - name: hook\n      kind: webhook\n      to: https://h.test/\n", "20: alerts.channels.to: a list of 1 to 16 mail addresses, for mail; where the other kinds send to is their address" },
		{ CHANNELS CHANNEL("hook", "webhook", "https://h.test/"), "19: alerts.channels.name: " },
		{ CHANNELS RULE("R", "denials") TO, "20: alerts.rules.name: " },
		{ CHANNELS RULE("r", "nonsense") TO, "21: alerts.rules.kind: " },
		{ CHANNELS RULE("r", "denials"), "20: alerts.rules.to: " },
		{ CHANNELS RULE("r", "denials") "      to: [hook, nobody]\n", "22: alerts.rules.to: " },
		{ CHANNELS RULE("r", "volume") TO, "20: alerts.rules.limit: " },
		{ CHANNELS RULE("r", "hsm_lost") TO "      limit: 2\n", "23: alerts.rules.limit: " },
		{ CHANNELS RULE("r", "hsm_lost") TO "      vault: orders\n", "23: alerts.rules.vault: " },
		{ CHANNELS RULE("r", "denials") TO "      limit: 0\n", "23: alerts.rules.limit: " },
		{ CHANNELS RULE("r", "denials") TO "      limit: many\n", "23: alerts.rules.limit: a decimal number" },
		{ CHANNELS RULE("r", "denials") TO "      factor: 3\n", "23: alerts.rules.factor: " },
		{ CHANNELS RULE("r", "denials") TO "      at_least: 3\n", "23: alerts.rules.at_least: " },
		{ CHANNELS RULE("r", "denials") TO "      window_s: 9\n", "23: alerts.rules.window_s: " },
		{ CHANNELS RULE("r", "new_address") TO "      window_s: 60\n", "23: alerts.rules.window_s: " },
		{ CHANNELS RULE("r", "denials") TO "      late_s: 9\n", "23: alerts.rules.late_s: " },
		{ CHANNELS RULE("r", "denials") TO "      per: vault\n", "23: alerts.rules.per: " },
		{ CHANNELS RULE("r", "denials") TO "    - {name: r, kind: expiry, to: [hook]}\n", "23: alerts.rules.name: " },
		{ CHANNELS RULE("r", "denials") TO "      color: red\n", "23: alerts.rules.color: unknown key" },
		{ "alerts:\n  sounds: x\n", "15: alerts.sounds: unknown key" },
	};
	const struct place *p = *state;

	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		char *text = NULL;
		assert_true(asprintf(&text, MINIMAL "%s", BAD[i].text) > 0);
		refuse_with(p, text, BAD[i].message);
		free(text);
	}
}

#define WITNESS_KEY "witness.example.net/w1+8f71954d+BOB2qzt3R453RrMvBwwRA8xwzSD5TLs6gGCpzMCNsMjI"
#define WITNESS "    - key: " WITNESS_KEY "\n      url: https://w.test:8444/one\n"
#define LOG_OF(rest) MINIMAL "log:\n" rest
#define KEY_EXPECTED "log.witnesses: key: the witness's verifier key, NAME+8 hex digits+base64 (holdfast witness prints it)"
#define URL_EXPECTED "log.witnesses: url: an https URL (http on a loopback address) of at most 1024 characters, without a slash at its end"

static void the_event_log_has_its_pace_and_its_witnesses(void **state)
{
	const struct place *p = *state;
	char path[PATH_LEN] = "";
	struct config *c = load(p, LOG_OF("  interval_ms: 200\n  pin_s: 5\n  heartbeat_s: 10\n  late_ms: 2000\n  strict: true\n  quorum: 1\n"
	                                  "  witnesses_required: true\n  witnesses:\n" WITNESS "      ca: tls.pem\n"));

	assert_int_equal(c->log.interval_ms, 200);
	assert_int_equal(c->log.pin_s, 5);
	assert_int_equal(c->log.heartbeat_s, 10);
	assert_int_equal(c->log.late_ms, 2000);
	assert_true(c->log.is_strict);
	assert_int_equal(c->log.quorum, 1);
	assert_true(c->log.witnesses_required);
	assert_int_equal(c->log.witnesses_count, 1);
	assert_string_equal(c->log.witnesses[0].key, WITNESS_KEY);
	assert_string_equal(c->log.witnesses[0].url, "https://w.test:8444/one");
	(void)snprintf(path, sizeof(path), "%s/tls.pem", p->dir);
	assert_string_equal(c->log.witnesses[0].ca, path);
	config_free(c);
}

static void a_witness_behind_a_tunnel_on_this_machine_needs_no_tls(void **state)
{
	static const char *const URLS[] = { "http://127.0.0.1:7380", "http://127.0.0.1/w1", "http://[::1]:7380" };

	for (size_t i = 0; i < KMS_ARRAY_LEN(URLS); i++) {
		char *text = NULL;
		assert_true(asprintf(&text, LOG_OF("  witnesses:\n    - key: " WITNESS_KEY "\n      url: '%s'\n"), URLS[i]) > 0);
		struct config *c = load(*state, text);
		assert_string_equal(c->log.witnesses[0].url, URLS[i]);
		config_free(c);
		free(text);
	}
}

static void each_mistake_about_the_event_log_is_named(void **state)
{
	static const struct {
		const char *text, *message;
	} BAD[] = {
		{ LOG_OF("  interval_ms: 99\n"), "15: log.interval_ms: a decimal number from 100 to 60000" },
		{ LOG_OF("  pin_s: 0\n"), "15: log.pin_s: a decimal number from 1 to 3600" },
		{ LOG_OF("  heartbeat_s: 121\n"), "15: log.heartbeat_s: a decimal number from 10 to 120" },
		{ LOG_OF("  late_ms: 999\n"), "15: log.late_ms: a decimal number from 1000 to 60000" },
		{ LOG_OF("  interval_ms: 6000\n  late_ms: 6000\n"), "16: log.late_ms: more than log.interval_ms" },
		{ LOG_OF("  strict: maybe\n"), "15: log.strict: true or false" },
		{ LOG_OF("  witnesses_required: 1\n"), "15: log.witnesses_required: true or false" },
		{ LOG_OF("  quorum: 1\n"), "15: log.quorum: at most the number of log.witnesses" },
		{ LOG_OF("  witnesses_required: true\n  witnesses:\n" WITNESS), "15: log.witnesses_required: a log.quorum of 1 at least" },
		{ LOG_OF("  witnesses: 5\n"), "15: log.witnesses: a list of at most 16 witnesses, each with key, url and perhaps ca, as in holdfast.yaml.example" },
		{ LOG_OF("  witnesses:\n" WITNESS "      foo: 1\n"), "15: log.witnesses.foo: unknown key" },
		{ LOG_OF("  witnesses:\n    - url: https://w.test\n"), "16: " KEY_EXPECTED },
		{ LOG_OF("  witnesses:\n" WITNESS "    - key: w+8f71954d+BOB2\n      url: https://w.test\n"), "18: " KEY_EXPECTED },
		{ LOG_OF("  witnesses:\n    - key: " WITNESS_KEY "\n"), "16: " URL_EXPECTED },
		{ LOG_OF("  witnesses:\n    - key: " WITNESS_KEY "\n      url: http://w.test\n"), "16: " URL_EXPECTED },
		{ LOG_OF("  witnesses:\n    - key: " WITNESS_KEY "\n      url: http://127.0.0.1.w.test\n"), "16: " URL_EXPECTED },
		{ LOG_OF("  witnesses:\n    - key: " WITNESS_KEY "\n      url: http://127.0.0.1@w.test\n"), "16: " URL_EXPECTED },
		{ LOG_OF("  witnesses:\n    - key: " WITNESS_KEY "\n      url: https://w.test/\n"), "16: " URL_EXPECTED },
		{ LOG_OF("  witnesses:\n" WITNESS "      ca: nowhere\n"), "16: log.witnesses: ca: a readable PEM file" },
		{ LOG_OF("  witnesses:\n" WITNESS WITNESS), "18: log.witnesses: each key once" },
	};

	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		refuse_at(*state, BAD[i].text, BAD[i].message);
}

static void make_directory(const struct place *p, const char *name, mode_t mode, char ret_path[PATH_LEN])
{
	(void)snprintf(ret_path, PATH_LEN, "%s/%s", p->dir, name);
	assert_int_equal(mkdir(ret_path, 0700), 0);
	assert_int_equal(chmod(ret_path, mode), 0);
}

#define DIRECTORY_EXPECTED "an existing directory that the daemon can write to, closed to group and others (chmod 700)"
#define TOKENS_EXPECTED "a directory outside hsm.token_dir: backups must not lie with the keys that seal them"
#define BACKUP_OF(rest) MINIMAL "backup:\n" rest

static void backups_go_where_nobody_else_reads_and_no_key_is(void **state)
{
	const struct place *p = *state;
	char path[PATH_LEN], other[PATH_LEN];
	struct config *c = NULL;

	make_directory(p, "backups", 0700, path);
	c = load(p, BACKUP_OF("  directory: backups\n"));
	assert_string_equal(c->backup.directory, path);
	assert_int_equal(c->backup.every_hours, 24);
	assert_int_equal(c->backup.keep, 14);
	assert_int_equal(c->backup.epoch_days, 30);
	assert_int_equal(c->backup.keep_days, 30);
	config_free(c);
	c = load(p, BACKUP_OF("  every_hours: 0\n  keep: 0\n  epoch_days: 7\n  keep_days: 1\n"));
	assert_null(c->backup.directory);
	assert_int_equal(c->backup.every_hours, 0);
	assert_int_equal(c->backup.keep, 0);
	assert_int_equal(c->backup.epoch_days, 7);
	assert_int_equal(c->backup.keep_days, 1);
	config_free(c);
	make_directory(p, "shared", 0750, other);
	refuse_at(p, BACKUP_OF("  directory: shared\n"), "15: backup.directory: " DIRECTORY_EXPECTED);
	refuse_at(p, BACKUP_OF("  directory: nowhere\n"), "15: backup.directory: " DIRECTORY_EXPECTED);
	refuse_at(p, BACKUP_OF("  epoch_days: 366\n"), "15: backup.epoch_days: a decimal number from 1 to 365");
	refuse_at(p, BACKUP_OF("  every_hours: 8761\n"), "15: backup.every_hours: a decimal number from 0 to 8760");
	refuse_at(p, MINIMAL "  token_dir: backups\nbackup:\n  directory: backups\n", "16: backup.directory: " TOKENS_EXPECTED);
	make_directory(p, "backups/tokens", 0700, other);
	refuse_at(p, MINIMAL "  token_dir: backups\nbackup:\n  directory: backups/tokens\n", "16: backup.directory: " TOKENS_EXPECTED);
	config_free(load(p, MINIMAL "  token_dir: backups/tokens\nbackup:\n  directory: backups\n"));
	assert_int_equal(rmdir(other), 0);
}

static void webhooks_go_to_hosts_that_are_named(void **state)
{
	static const char *const BAD[] = { "https://a.example", "a.example/x", "A.example", "*.example", "a.example:0", "a.example:65536", "a.example:", ".a", "a.", "-a", "a b", "a@b", "[::1", "[::1]x", "[]" };
	const struct place *p = *state;
	struct config *c = load(p, MINIMAL);

	assert_false(c->webhooks.is_on);
	config_free(c);
	c = load(p, MINIMAL "webhooks:\n  hosts: [a.example, \"b.example:8443\", \"[2001:db8::1]:444\", \"127.0.0.1:1\"]\n");
	assert_true(c->webhooks.is_on && c->webhooks.hosts_count == 4);
	assert_string_equal(c->webhooks.hosts[1], "b.example:8443");
	assert_null(c->webhooks.ca);
	config_free(c);
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++) {
		char text[1024];
		(void)snprintf(text, sizeof(text), MINIMAL "webhooks:\n  hosts: [\"%s\"]\n", BAD[i]);
		refuse_at(p, text, "15: webhooks.hosts: host or host:port in lower case, without https:// and without a wildcard");
	}
	refuse_at(p, MINIMAL "webhooks:\n  hosts: localhost:9660\n", "15: webhooks.hosts: a list of hosts that may be sent to, as [hooks.example.com, \"hooks.example.com:8443\"]");
	refuse_at(p, MINIMAL "webhooks:\n  ca: tls.pem\n", "14: webhooks.hosts: the hosts that may be sent to, as hooks.example.com or hooks.example.com:8443");
	refuse_at(p, MINIMAL "webhooks:\n  hosts: [a.example]\n  certificate: tls.pem\n", "14: webhooks.key: certificate and key, or neither");
}

/* People write anything into comments. */
static void the_text_for_backups_is_the_file_without_its_comments(void **state)
{
	struct config *c = load(*state, MINIMAL "# the password is hunter2\nlog: # or hunter3\n  level: warn\n"), *again = NULL;
	char *text = strdup(c->text);

	assert_null(strstr(text, "hunter"));
	assert_non_null(strstr(text, "level: warn"));
	config_free(c);
	again = load(*state, text); /* and is one that can be used */
	assert_string_equal(again->log.level, "warn");
	config_free(again);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_PLACE(backups_go_where_nobody_else_reads_and_no_key_is),
		IN_PLACE(webhooks_go_to_hosts_that_are_named),
		IN_PLACE(the_text_for_backups_is_the_file_without_its_comments),
		IN_PLACE(a_minimal_file_loads_with_the_documented_defaults),
		IN_PLACE(every_key_of_a_full_file_is_taken),
		IN_PLACE(the_event_log_has_its_pace_and_its_witnesses),
		IN_PLACE(a_witness_behind_a_tunnel_on_this_machine_needs_no_tls),
		IN_PLACE(each_mistake_about_the_event_log_is_named),
		IN_PLACE(user_ids_are_a_list),
		IN_PLACE(relative_paths_are_resolved_against_the_directory_of_the_file),
		IN_PLACE(a_credential_of_the_service_manager_is_left_as_it_is),
		IN_PLACE(each_mistake_is_named_with_its_line_and_key),
		IN_PLACE(each_required_value_is_checked_and_missed),
		IN_PLACE(a_private_file_that_anyone_else_may_touch_is_refused),
		IN_PLACE(a_file_that_is_empty_or_no_mapping_is_refused),
		IN_PLACE(a_file_that_is_too_large_is_refused),
		IN_PLACE(a_missing_file_is_named),
		IN_PLACE(the_message_of_a_long_file_name_still_says_what_was_expected),
		IN_PLACE(without_its_section_there_is_no_listener_for_pools),
		IN_PLACE(the_listener_for_pools_has_its_defaults),
		IN_PLACE(the_listener_for_pools_needs_a_certificate_and_a_private_key),
		IN_PLACE(managed_identities_are_served_on_loopback_only),
		IN_PLACE(issuers_load_with_their_defaults),
		IN_PLACE(each_wrong_member_of_an_issuer_is_named_with_its_line),
		IN_PLACE(exports_go_to_files_syslog_and_otlp),
		IN_PLACE(each_wrong_member_of_an_export_is_named_with_its_line),
		IN_PLACE(alerts_have_rules_and_channels),
		IN_PLACE(each_wrong_member_of_an_alert_is_named_with_its_line),
	};
	return cmocka_run_group_tests_name("server/config", tests, NULL, NULL);
}
