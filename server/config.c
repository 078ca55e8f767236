/* server/config.c - the configuration file: libcyaml fills the struct, two tables of rules say what each value must be, libyaml's document
 * says on which line it stands. Guards against starting with a setting that is misspelt, out of range or readable by the wrong people. */
#include "server/config.h"

#include "server/config_alert.h"
#include "server/config_backup.h"
#include "server/config_export.h"
#include "server/config_issuers.h"
#include "server/config_log.h"
#include "server/config_metrics.h"
#include "server/config_schema.h"
#include "server/config_webhooks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <yaml.h>

#define FILE_MAX_BYTES ((size_t)64 << 10)
#define KEY_MAX 64   /* "section.key" and a NUL; longer ones are cut in messages */
#define SHOWN_MAX 80 /* characters of the file's name in a message */
#define RANGE_MAX 64 /* "a decimal number from … to …" */
#define NAME_MAX_CHARS 64
#define DOMAIN_MAX 180 /* leaves room for "{vault}." in a DNS name and for "/audit/log1" in an origin of 200 bytes */
#define LABEL_MAX 63
#define ORIGIN_MAX 200
#define API_VERSION_MAX 32
#define THREADS_MAX 256
#define HSM_WORKERS_MIN 2
#define HSM_WORKERS_MAX 60 /* one PKCS#11 session each, of 64 (hsm/pkcs11/pkcs11.h); the others are for the threads beside them (main.c) */
#define ALLOWANCE_MAX 1000000 /* api/limits.h */
#define CREDENTIAL_PREFIX "credential:"
#define ORIGIN_SUFFIX "/audit/log1"
#define ISSUERS "issuers"
#define EXPORTS "exports"
#define WITNESSES "log.witnesses"

/* ---- what each value must be ---- */

static bool is_of(const char *text, size_t max, const char *set)
{
	size_t len = strlen(text);
	return len >= 1 && len <= max && strspn(text, set) == len;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool is_name(const char *text) { return is_of(text, NAME_MAX_CHARS, LOWER UPPER DIGITS ".-"); }

static bool is_domain(const char *text)
{
	const char *label = text;
	if (!is_of(text, DOMAIN_MAX, LOWER DIGITS ".-"))
		return false;
	for (;;) {
		size_t len = strcspn(label, ".");
		if (len == 0 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-')
			return false;
		if (label[len] == '\0')
			return strspn(label, DIGITS) != len; /* a last label of digits would be an address */
		label += len + 1;
	}
}

static bool is_address(const char *text)
{
	struct in6_addr out;
	return inet_pton(AF_INET, text, &out) == 1 || inet_pton(AF_INET6, text, &out) == 1;
}

/* What cannot leave this machine. */
static bool is_loopback_address(const char *text)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (inet_pton(AF_INET, text, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
	return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool is_api_version(const char *text) { return is_of(text, API_VERSION_MAX, LOWER DIGITS ".-"); }

static bool is_origin(const char *text)
{
	size_t len = strlen(text);
	return is_of(text, ORIGIN_MAX, LOWER UPPER DIGITS ".-/") && text[0] != '/' && text[len - 1] != '/';
}

static bool is_one_of(const char *text, const char *const *choices)
{
	for (; *choices != NULL; choices++)
		if (strcmp(text, *choices) == 0)
			return true;
	return false;
}

static bool is_level(const char *text) { return is_one_of(text, (const char *const[]){ "debug", "info", "warn", "error", NULL }); }
static bool is_format(const char *text) { return is_one_of(text, (const char *const[]){ "auto", "text", "json", NULL }); }

static bool is_token_uri(const char *text)
{
	/* The scheme and the characters of RFC 3986; the provider parses the attributes. A PIN does not belong into a file that many may read. */
	return strstr(text, "pin-value") == NULL && strncmp(text, "pkcs11:", strlen("pkcs11:")) == 0 && text[strlen("pkcs11:")] != '\0' &&
	       is_of(text, PATH_MAX, LOWER UPPER DIGITS "-._~:/?#[]@!$&'()*+,;=%");
}

static bool is_file(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

static bool is_private_file(const char *path)
{
	struct stat st;
	return is_file(path) && stat(path, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

static bool is_credential(const char *text) { return strncmp(text, CREDENTIAL_PREFIX, strlen(CREDENTIAL_PREFIX)) == 0; }

static bool is_pin_source(const char *text)
{
	if (is_credential(text)) /* the service manager guards it, the provider opens it */
		return is_of(text + strlen(CREDENTIAL_PREFIX), NAME_MAX_CHARS, LOWER UPPER DIGITS "._-");
	return is_private_file(text);
}

static bool is_directory(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_in_directory(const char *path)
{
	char copy[PATH_MAX] = "";
	size_t len = strlen(path);
	if (len == 0 || len >= sizeof(copy) || path[len - 1] == '/' || is_directory(path))
		return false;
	memcpy(copy, path, len);
	return is_directory(dirname(copy));
}

static bool is_socket_path(const char *path)
{
	return strlen(path) < sizeof(((struct sockaddr_un *)NULL)->sun_path) && is_in_directory(path);
}

struct text_rule {
	const char *key;
	size_t offset;
	bool (*is_ok)(const char *text);
	const char *expected;
	const char *fallback; /* used when the key is absent */
	bool is_required;     /* neither required nor fallback: NULL, or derived from others */
	const char *section;  /* required when this section is there */
	bool is_path;         /* relative to the file's directory */
};

#define AT(member) .offset = offsetof(struct config, member)

static const struct text_rule TEXTS[] = {
	{ "node", AT(node), is_name, "a name of 1 to 64 characters of A-Z a-z 0-9 . -", .is_required = true },
	{ "site", AT(site), is_name, "a name of 1 to 64 characters of A-Z a-z 0-9 . -", .fallback = "local" },
	{ "domain", AT(domain), is_domain, "a lower-case DNS name of at most 180 characters", .is_required = true },
	{ "listen.address", AT(listen.address), is_address, "a numeric IPv4 or IPv6 address", .fallback = "127.0.0.1" },
	{ "tls.certificate", AT(tls.certificate), is_file, "a readable PEM file", .is_required = true, .is_path = true },
	{ "tls.key", AT(tls.key), is_private_file, "a readable PEM file, closed to group and others (chmod 600)", .is_required = true,
	  .is_path = true },
	{ "admin.socket", AT(admin.socket), is_socket_path, "a path of at most 107 bytes in an existing directory", .is_required = true,
	  .is_path = true },
	{ "ekm.address", AT(ekm.address), is_address, "a numeric IPv4 or IPv6 address", .fallback = "127.0.0.1" },
	{ "ekm.certificate", AT(ekm.certificate), is_file, "a readable PEM file", .section = "ekm", .is_path = true },
	{ "ekm.key", AT(ekm.key), is_private_file, "a readable PEM file, closed to group and others (chmod 600)", .section = "ekm",
	  .is_path = true },
	{ "ekm.api_version", AT(ekm.api_version), is_api_version, "1 to 32 characters of a-z 0-9 . -" },
	{ "identity.address", AT(identity.address), is_loopback_address, "a loopback address: 127.0.0.1 or ::1", .fallback = "127.0.0.1" },
	{ "storage.database", AT(storage.database), is_in_directory, "a file in an existing directory", .is_required = true, .is_path = true },
	{ "hsm.module", AT(hsm.module), is_file, "the file of a PKCS#11 library", .is_required = true, .is_path = true },
	{ "hsm.token", AT(hsm.token), is_token_uri, "a PKCS#11 URI (RFC 7512) without pin-value, such as pkcs11:token=holdfast", .is_required = true },
	{ "hsm.pin", AT(hsm.pin), is_pin_source, "credential:NAME, or a readable file closed to group and others (chmod 600)",
	  .is_required = true, .is_path = true },
	{ "hsm.token_dir", AT(hsm.token_dir), is_directory, "an existing directory", .is_path = true },
	{ "backup.directory", AT(backup.directory), config_is_backup_directory, "an existing directory that the daemon can write to, closed to group and others (chmod 700)",
	  .is_path = true },
	{ "metrics.address", AT(metrics.address), is_address, "a numeric IPv4 or IPv6 address", .fallback = "127.0.0.1" },
	{ "metrics.certificate", AT(metrics.certificate), is_file, "a readable PEM file", .is_path = true },
	{ "metrics.key", AT(metrics.key), is_private_file, "a readable PEM file, closed to group and others (chmod 600)", .is_path = true },
	{ "metrics.token_file", AT(metrics.token_file), is_private_file, "a readable file, closed to group and others (chmod 600)", .is_path = true },
	{ "webhooks.ca", AT(webhooks.ca), is_file, "a readable PEM file", .is_path = true },
	{ "webhooks.certificate", AT(webhooks.certificate), is_file, "a readable PEM file", .is_path = true },
	{ "webhooks.key", AT(webhooks.key), is_private_file, "a readable PEM file, closed to group and others (chmod 600)", .is_path = true },
	{ "log.level", AT(log.level), is_level, "debug, info, warn or error", .fallback = "info" },
	{ "log.format", AT(log.format), is_format, "auto, text or json", .fallback = "auto" },
	{ "log.origin", AT(log.origin), is_origin, "1 to 200 characters of A-Z a-z 0-9 . - /, no slash at either end" },
};

struct number_rule {
	const char *key;
	size_t offset, size;
	unsigned min, max;
	unsigned fallback; /* 0 = derived after the others are known */
};

#define NUMBER(member) .offset = offsetof(struct config, member), .size = sizeof(((struct config *)NULL)->member)

static const struct number_rule NUMBERS[] = {
	{ "public_port", NUMBER(public_port), .min = 1, .max = UINT16_MAX },
	{ "listen.port", NUMBER(listen.port), .min = 1, .max = UINT16_MAX, .fallback = 8443 },
	{ "listen.threads", NUMBER(listen.threads), .min = 1, .max = THREADS_MAX },
	{ "listen.connections", NUMBER(listen.connections), .min = 16, .max = 65536, .fallback = 4096 },
	{ "listen.per_ip", NUMBER(listen.per_ip), .min = 1, .max = 65536, .fallback = 1024 },
	{ "ekm.port", NUMBER(ekm.port), .min = 1, .max = UINT16_MAX, .fallback = 443 },
	{ "ekm.connections", NUMBER(ekm.connections), .min = 16, .max = 65536, .fallback = 1024 },
	{ "identity.port", NUMBER(identity.port), .min = 1, .max = UINT16_MAX, .fallback = 40342 },
	{ "storage.reserve_mib", NUMBER(storage.reserve_mib), .min = 1, .max = 65536, .fallback = 256 },
	{ "hsm.workers", NUMBER(hsm.workers), .min = HSM_WORKERS_MIN, .max = HSM_WORKERS_MAX },
	{ "hsm.cache_keys", NUMBER(hsm.cache_keys), .min = 1, .max = 100000, .fallback = 2000 },
	{ "log.interval_ms", NUMBER(log.interval_ms), .min = 100, .max = 60000, .fallback = 1000 },
	{ "log.pin_s", NUMBER(log.pin_s), .min = 1, .max = 3600, .fallback = 60 },
	{ "log.heartbeat_s", NUMBER(log.heartbeat_s), .min = 10, .max = 120, .fallback = 60 },
	{ "log.late_ms", NUMBER(log.late_ms), .min = 1000, .max = 60000, .fallback = 5000 },
	{ "log.keep_days", NUMBER(log.keep_days), .min = 0, .max = 36500, .fallback = 400 },
	{ "log.quorum", NUMBER(log.quorum), .min = 0, .max = CONFIG_WITNESSES_MAX },
	{ "backup.every_hours", NUMBER(backup.every_hours), .min = 0, .max = 8760, .fallback = 24 },
	{ "backup.keep", NUMBER(backup.keep), .min = 0, .max = 10000, .fallback = 14 },
	{ "backup.epoch_days", NUMBER(backup.epoch_days), .min = 1, .max = 365, .fallback = 30 },
	{ "backup.keep_days", NUMBER(backup.keep_days), .min = 1, .max = 365, .fallback = 30 },
	{ "metrics.port", NUMBER(metrics.port), .min = 1, .max = UINT16_MAX, .fallback = 9464 },
	{ "metrics.vaults", NUMBER(metrics.vaults), .min = 0, .max = 1000, .fallback = 100 },
	{ "limits.queue", NUMBER(limits.queue), .min = 1, .max = 65536, .fallback = 1024 },
	{ "limits.token_life_s", NUMBER(limits.token_life_s), .min = 300, .max = 86400, .fallback = 3600 },
	{ "limits.vault_requests", NUMBER(limits.vault_requests), .min = 1, .max = ALLOWANCE_MAX, .fallback = 20000 },
	{ "limits.vault_creates", NUMBER(limits.vault_creates), .min = 1, .max = ALLOWANCE_MAX, .fallback = 1000 },
	{ "limits.principal_requests", NUMBER(limits.principal_requests), .min = 1, .max = ALLOWANCE_MAX, .fallback = 20000 },
	{ "limits.principal_creates", NUMBER(limits.principal_creates), .min = 1, .max = ALLOWANCE_MAX, .fallback = 1000 },
};

/* ---- one load ---- */

struct loading {
	const char *path;  /* borrowed */
	const char *shown; /* its end, when it is long */
	struct kms_err *err;
	unsigned char *text;
	size_t text_len;
	yaml_document_t document;
	bool has_document;
	/* What libcyaml said about the first error: the key in question, and the names of the mappings around it. */
	char said_key[KEY_MAX];
	char inner[KEY_MAX], outer[KEY_MAX];
	size_t said_entry; /* of the outermost list around it, 1.. */
	struct config *config;
};

static void loading_clear(struct loading *l)
{
	if (l->has_document)
		yaml_document_delete(&l->document);
	free(l->text);
	config_free(l->config);
}
#define LOADING_AUTO __attribute__((cleanup(loading_clear))) struct loading

static kms_status complain(struct loading *l, size_t line, const char *key, const char *expected)
{
	return kms_refuse(l->err, KMS_E_INVALID, "%s:%zu: %s: %s", l->shown, line, key, expected);
}

static kms_status out_of_memory(struct loading *l)
{
	return kms_fail(l->err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "no memory for the configuration");
}

static kms_status complain_of(struct loading *l, int why)
{
	return kms_refuse(l->err, KMS_E_INVALID, "%s: cannot be read: %s", l->shown, strerror(why));
}

static kms_status read_text(struct loading *l)
{
	FILE *f = fopen(l->path, "re");
	size_t got = 0;
	int why = errno;
	if (f == NULL)
		return complain_of(l, why);
	l->text = malloc(FILE_MAX_BYTES + 1);
	if (l->text == NULL) {
		(void)fclose(f);
		return out_of_memory(l);
	}
	errno = 0;
	got = fread(l->text, 1, FILE_MAX_BYTES + 1, f);
	why = ferror(f) ? errno : 0;
	(void)fclose(f);
	if (why != 0)
		return complain_of(l, why);
	if (got > FILE_MAX_BYTES)
		return complain(l, 1, "(file)", "at most 64 KiB");
	l->text_len = got;
	return KMS_OK;
}

/* Parse for positions; libcyaml, which parses again for values, does not keep them. */
static kms_status outline(struct loading *l)
{
	yaml_parser_t parser;
	yaml_document_t more;
	kms_status status = KMS_OK;

	if (!yaml_parser_initialize(&parser))
		return out_of_memory(l);
	yaml_parser_set_input_string(&parser, l->text, l->text_len);
	if (!yaml_parser_load(&parser, &l->document)) {
		char said[128] = "";
		(void)snprintf(said, sizeof(said), "YAML: %s", parser.problem != NULL ? parser.problem : "cannot be parsed");
		status = complain(l, parser.problem_mark.line + 1, "(syntax)", said);
	} else {
		yaml_node_t *root = NULL;
		l->has_document = true;
		root = yaml_document_get_root_node(&l->document);
		if (root == NULL || root->type != YAML_MAPPING_NODE) {
			status = complain(l, 1, "(file)", "a mapping of settings, as in holdfast.yaml.example");
		} else if (!yaml_parser_load(&parser, &more)) {
			status = complain(l, parser.problem_mark.line + 1, "(syntax)", "YAML: cannot be parsed");
		} else {
			if (yaml_document_get_root_node(&more) != NULL)
				status = complain(l, more.start_mark.line + 1, "(file)", "one document only");
			yaml_document_delete(&more);
		}
	}
	yaml_parser_delete(&parser);
	return status;
}

static bool is_scalar(const yaml_node_t *node, const char *text, size_t len)
{
	return node != NULL && node->type == YAML_SCALAR_NODE && node->data.scalar.length == len &&
	       memcmp(node->data.scalar.value, text, len) == 0;
}

/* The last pair with this key, as a key given twice is complained of where it is repeated. */
static yaml_node_t *member(struct loading *l, yaml_node_t *map, const char *key, size_t key_len, size_t *ret_line)
{
	yaml_node_t *found = NULL;
	if (map == NULL || map->type != YAML_MAPPING_NODE)
		return NULL;
	for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
		yaml_node_t *name = yaml_document_get_node(&l->document, p->key);
		if (is_scalar(name, key, key_len)) {
			found = yaml_document_get_node(&l->document, p->value);
			*ret_line = name->start_mark.line + 1;
		}
	}
	return found;
}

/* The value of "key" or "section.key", NULL when absent; the line of the key, else of its section, else 1. */
static yaml_node_t *locate(struct loading *l, const char *key, size_t *ret_line)
{
	size_t first = strcspn(key, ".");
	yaml_node_t *node = NULL;
	*ret_line = 1;
	node = member(l, yaml_document_get_root_node(&l->document), key, first, ret_line);
	if (node == NULL || key[first] == '\0')
		return node;
	return member(l, node, key + first + 1, strlen(key + first + 1), ret_line);
}

/* The same for a member of an entry of `issuers` or `exports`; the line of the member, else of the entry. */
static yaml_node_t *locate_in(struct loading *l, const char *section, size_t index, const char *key, size_t *ret_line)
{
	yaml_node_t *list = locate(l, section, ret_line), *entry = NULL;
	if (list == NULL || list->type != YAML_SEQUENCE_NODE || index >= (size_t)(list->data.sequence.items.top - list->data.sequence.items.start))
		return NULL;
	entry = yaml_document_get_node(&l->document, list->data.sequence.items.start[index]);
	*ret_line = entry->start_mark.line + 1;
	return member(l, entry, key, strlen(key), ret_line);
}

/* libcyaml reports an error as one line with what is wrong, then one for each mapping around it, from the inside. */
static void listen_to_cyaml(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));
static void listen_to_cyaml(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	static const char UNKNOWN[] = "Load: Unexpected key: ", FIELD[] = "  in mapping field '", ENTRY[] = "  in sequence entry '";
	struct loading *l = ctx;
	char line[256] = "";
	(void)level;
	(void)vsnprintf(line, sizeof(line), fmt, args);
	if (strncmp(line, UNKNOWN, sizeof(UNKNOWN) - 1) == 0) {
		const char *key = line + sizeof(UNKNOWN) - 1;
		(void)snprintf(l->said_key, sizeof(l->said_key), "%.*s", (int)strcspn(key, "\n"), key);
	} else if (strncmp(line, FIELD, sizeof(FIELD) - 1) == 0) {
		const char *key = line + sizeof(FIELD) - 1;
		char *into = l->inner[0] == '\0' ? l->inner : l->outer;
		(void)snprintf(into, KEY_MAX, "%.*s", (int)strcspn(key, "'"), key);
	} else if (strncmp(line, ENTRY, sizeof(ENTRY) - 1) == 0) {
		l->said_entry = strtoul(line + sizeof(ENTRY) - 1, NULL, 10);
	}
}

static const char *what_is_expected(cyaml_err_t cyaml, const char *key, char range[RANGE_MAX])
{
	if (cyaml == CYAML_ERR_INVALID_KEY)
		return "unknown key";
	if (cyaml == CYAML_ERR_UNEXPECTED_EVENT)
		return "given twice";
	if (cyaml == CYAML_ERR_ALIAS)
		return "aliases are not supported";
	if (strcmp(key, ISSUERS) == 0)
		return "a list of at most 64 issuers, each a mapping, as in holdfast.yaml.example";
	if (strncmp(key, ISSUERS ".", strlen(ISSUERS ".")) == 0 && config_issuer_expects(key + strlen(ISSUERS ".")) != NULL)
		return config_issuer_expects(key + strlen(ISSUERS "."));
	if (strcmp(key, EXPORTS) == 0)
		return "a list of at most 8 exports, each a mapping, as in holdfast.yaml.example";
	if (strncmp(key, EXPORTS ".", strlen(EXPORTS ".")) == 0 && config_export_expects(key + strlen(EXPORTS ".")) != NULL)
		return config_export_expects(key + strlen(EXPORTS "."));
	if (strcmp(key, "webhooks.hosts") == 0)
		return "a list of hosts that may be sent to, as [hooks.example.com, \"hooks.example.com:8443\"]";
	if (strcmp(key, "admin.uids") == 0)
		return "a list of at most 64 user ids (decimal numbers)";
	if (strncmp(key, WITNESSES, strlen(WITNESSES)) == 0 && strcmp(key, "log.witnesses_required") != 0)
		return "a list of at most 16 witnesses, each with key, url and perhaps ca, as in holdfast.yaml.example";
	if (strcmp(key, "listen.client_certificates") == 0 || strcmp(key, "log.strict") == 0 || strcmp(key, "log.witnesses_required") == 0)
		return "true or false";
	for (size_t i = 0; i < KMS_ARRAY_LEN(TEXTS); i++)
		if (strcmp(TEXTS[i].key, key) == 0)
			return TEXTS[i].expected;
	for (size_t i = 0; i < KMS_ARRAY_LEN(NUMBERS); i++)
		if (strcmp(NUMBERS[i].key, key) == 0) {
			(void)snprintf(range, RANGE_MAX, "a decimal number from %u to %u", NUMBERS[i].min, NUMBERS[i].max);
			return range;
		}
	return "a mapping of settings, as in holdfast.yaml.example";
}

/* An entry of alerts.rules or alerts.channels: what is known of it is its number, the member, and that it is of one of both lists. */
static bool is_in_alerts(const struct loading *l) { return l->said_entry > 0 && strcmp(l->outer, "alerts") == 0; }

static kms_status complain_of_alert_entry(struct loading *l, cyaml_err_t result)
{
	static const char *const LISTS[] = { CONFIG_ALERT_RULES, CONFIG_ALERT_CHANNELS };
	const char *said = result == CYAML_ERR_INVALID_KEY ? l->said_key : l->inner, *list = LISTS[0], *expected = NULL;
	char key[2 * KEY_MAX] = "", range[RANGE_MAX] = "";
	size_t line = 1;

	for (size_t i = 0; i < KMS_ARRAY_LEN(LISTS); i++) {
		const yaml_node_t *node = locate_in(l, LISTS[i], l->said_entry - 1, said, &line);
		if (node != NULL && (strcmp(said, "to") != 0 || node->type != YAML_SEQUENCE_NODE || result != CYAML_ERR_INVALID_VALUE)) { /* both have a `to` */
			list = LISTS[i];
			break;
		}
	}
	(void)snprintf(key, sizeof(key), "%s.%s", list, said);
	if (result == CYAML_ERR_INVALID_VALUE || result == CYAML_ERR_SEQUENCE_ENTRIES_MAX || result == CYAML_ERR_UNEXPECTED_EVENT)
		expected = config_alert_expects(list, said);
	return complain(l, line, key, expected != NULL ? expected : what_is_expected(result, key, range));
}

static kms_status fill(struct loading *l)
{
	const cyaml_config_t cyaml = {
		.log_fn = listen_to_cyaml,
		.log_ctx = l,
		.log_level = CYAML_LOG_ERROR,
		.mem_fn = cyaml_mem,
		.flags = CYAML_CFG_NO_ALIAS,
	};
	cyaml_data_t *data = NULL;
	char key[2 * KEY_MAX] = "", range[RANGE_MAX] = "";
	size_t line = 1;
	cyaml_err_t result = cyaml_load_data(l->text, l->text_len, &cyaml, &CONFIG_SCHEMA, &data, NULL);

	l->config = data;
	if (result == CYAML_OK)
		return KMS_OK;
	if (result == CYAML_ERR_OOM)
		return out_of_memory(l);
	if (l->outer[0] != '\0' && strcmp(l->inner, "witnesses") == 0)
		(void)snprintf(key, sizeof(key), WITNESSES "%s%s", result == CYAML_ERR_INVALID_KEY ? "." : "", result == CYAML_ERR_INVALID_KEY ? l->said_key : "");
	else if (result == CYAML_ERR_INVALID_KEY && l->inner[0] != '\0')
		(void)snprintf(key, sizeof(key), "%s.%s", l->inner, l->said_key);
	else if (result == CYAML_ERR_INVALID_KEY)
		(void)snprintf(key, sizeof(key), "%s", l->said_key);
	else if (l->outer[0] != '\0')
		(void)snprintf(key, sizeof(key), "%s.%s", l->outer, l->inner);
	else
		(void)snprintf(key, sizeof(key), "%s", l->inner);
	if (is_in_alerts(l))
		return complain_of_alert_entry(l, result);
	if (config_behind(key, ISSUERS ".") != NULL || config_behind(key, EXPORTS ".") != NULL)
		(void)locate_in(l, config_behind(key, ISSUERS ".") != NULL ? ISSUERS : EXPORTS, l->said_entry - 1, strchr(key, '.') + 1, &line);
	else
		(void)locate(l, strncmp(key, WITNESSES ".", strlen(WITNESSES ".")) == 0 ? WITNESSES : key, &line);
	return complain(l, line, key, what_is_expected(result, key, range));
}

static char **text_at(struct config *c, size_t offset) { return (char **)(void *)((char *)c + offset); }

static unsigned number_get(const struct config *c, const struct number_rule *r)
{
	const char *at = (const char *)c + r->offset;
	uint16_t small = 0;
	unsigned number = 0;
	if (r->size == sizeof(small)) {
		memcpy(&small, at, sizeof(small));
		return small;
	}
	memcpy(&number, at, sizeof(number));
	return number;
}

static void number_set(struct config *c, const struct number_rule *r, unsigned number)
{
	char *at = (char *)c + r->offset;
	uint16_t small = (uint16_t)number;
	if (r->size == sizeof(small))
		memcpy(at, &small, sizeof(small));
	else
		memcpy(at, &number, sizeof(number));
}

/* libcyaml reads 010 as eight and 0x10 as sixteen; nobody who writes a port or a user id means that. */
static bool is_decimal(const yaml_node_t *node)
{
	const char *text = NULL;
	if (node->type != YAML_SCALAR_NODE)
		return false;
	text = (const char *)node->data.scalar.value;
	return is_of(text, 10, DIGITS) && (text[0] != '0' || text[1] == '\0');
}

static kms_status check_numbers(struct loading *l)
{
	char range[RANGE_MAX] = "";
	size_t line = 1;
	yaml_node_t *uids = NULL;
	for (size_t i = 0; i < KMS_ARRAY_LEN(NUMBERS); i++) {
		const struct number_rule *r = &NUMBERS[i];
		unsigned number = number_get(l->config, r);
		yaml_node_t *given = locate(l, r->key, &line);
		if (given == NULL)
			number_set(l->config, r, r->fallback);
		else if (!is_decimal(given) || number < r->min || number > r->max)
			return complain(l, line, r->key, what_is_expected(CYAML_OK, r->key, range));
	}
	uids = locate(l, "admin.uids", &line);
	if (uids != NULL && uids->type == YAML_SEQUENCE_NODE)
		for (yaml_node_item_t *it = uids->data.sequence.items.start; it < uids->data.sequence.items.top; it++) {
			yaml_node_t *uid = yaml_document_get_node(&l->document, *it);
			if (!is_decimal(uid))
				return complain(l, uid->start_mark.line + 1, "admin.uids", what_is_expected(CYAML_OK, "admin.uids", range));
		}
	return KMS_OK;
}

/* libcyaml takes any word that it does not know for true. */
static kms_status check_flag(struct loading *l, const char *key)
{
	char range[RANGE_MAX] = "";
	size_t line = 1;
	const yaml_node_t *given = locate(l, key, &line);
	if (given == NULL || is_scalar(given, "true", strlen("true")) || is_scalar(given, "false", strlen("false")))
		return KMS_OK;
	return complain(l, line, key, what_is_expected(CYAML_OK, key, range));
}

static kms_status resolve(struct loading *l, char **path)
{
	char copy[PATH_MAX] = "", *absolute = NULL;
	char *full = NULL;
	int len = 0;
	if ((*path)[0] == '/' || (*path)[0] == '\0')
		return KMS_OK;
	/* The file was opened by this name, so it fits. */
	(void)snprintf(copy, sizeof(copy), "%s", l->path);
	absolute = realpath(dirname(copy), NULL);
	if (absolute == NULL)
		return complain_of(l, errno);
	len = asprintf(&full, "%s/%s", strcmp(absolute, "/") == 0 ? "" : absolute, *path);
	free(absolute);
	if (len < 0)
		return out_of_memory(l);
	free(*path);
	*path = full;
	return KMS_OK;
}

static bool has_section(struct loading *l, const char *name)
{
	size_t line = 1;
	return locate(l, name, &line) != NULL;
}

static kms_status check_texts(struct loading *l)
{
	size_t line = 1;
	for (size_t i = 0; i < KMS_ARRAY_LEN(TEXTS); i++) {
		const struct text_rule *r = &TEXTS[i];
		char **text = text_at(l->config, r->offset);
		(void)locate(l, r->key, &line);
		if (*text == NULL && r->fallback != NULL) {
			*text = strdup(r->fallback);
			if (*text == NULL)
				return out_of_memory(l);
		}
		if (*text == NULL && (r->is_required || (r->section != NULL && has_section(l, r->section)))) {
			char missing[256] = "";
			(void)snprintf(missing, sizeof(missing), "missing: %s", r->expected);
			return complain(l, line, r->key, missing);
		}
		if (*text == NULL)
			continue;
		if (r->is_path && !is_credential(*text))
			KMS_TRY(resolve(l, text));
		if (!r->is_ok(*text))
			return complain(l, line, r->key, r->expected);
	}
	return KMS_OK;
}

static kms_status check_issuer_numbers(struct loading *l, unsigned index)
{
	static const char *const KEYS[] = { "refresh_s", "stale_s" };
	char key[KEY_MAX] = "";
	size_t line = 1;

	for (size_t i = 0; i < KMS_ARRAY_LEN(KEYS); i++) {
		const yaml_node_t *given = locate_in(l, ISSUERS, index, KEYS[i], &line);
		if (given == NULL || (is_decimal(given) && !is_scalar(given, "0", 1)))
			continue;
		(void)snprintf(key, sizeof(key), ISSUERS ".%s", KEYS[i]);
		return complain(l, line, key, config_issuer_expects(KEYS[i]));
	}
	return KMS_OK;
}

static kms_status check_issuers(struct loading *l)
{
	struct config *c = l->config;
	struct issuer_fault fault = { 0 };
	char key[KEY_MAX] = "";
	size_t line = 1;
	kms_status status = KMS_OK;

	for (unsigned i = 0; i < c->issuers_count; i++) {
		KMS_TRY(check_issuer_numbers(l, i));
		if (c->issuers[i].jwks_file != NULL)
			KMS_TRY(resolve(l, &c->issuers[i].jwks_file));
		if (c->issuers[i].ca != NULL)
			KMS_TRY(resolve(l, &c->issuers[i].ca));
	}
	status = config_check_issuers(c, &fault);
	if (status != KMS_E_INVALID)
		return status == KMS_OK ? KMS_OK : out_of_memory(l);
	(void)locate_in(l, ISSUERS, fault.index, fault.key, &line);
	(void)snprintf(key, sizeof(key), ISSUERS ".%s", fault.key);
	return complain(l, line, key, fault.expected);
}

static kms_status complain_of_export(struct loading *l, unsigned index, const char *member, const char *expected)
{
	char key[KEY_MAX] = "";
	size_t line = 1;

	(void)locate_in(l, EXPORTS, index, member, &line);
	(void)snprintf(key, sizeof(key), EXPORTS ".%s", member);
	return complain(l, line, key, expected);
}

/* What libcyaml takes for a number or a flag, and people do not. */
static kms_status check_export_values(struct loading *l, unsigned index)
{
	static const char *const NUMBERS_OF_EXPORT[] = { "max_lag_s", "enterprise" };
	size_t line = 1;
	const yaml_node_t *flag = locate_in(l, EXPORTS, index, "required", &line);

	if (flag != NULL && !is_scalar(flag, "true", strlen("true")) && !is_scalar(flag, "false", strlen("false")))
		return complain_of_export(l, index, "required", config_export_expects("required"));
	for (size_t i = 0; i < KMS_ARRAY_LEN(NUMBERS_OF_EXPORT); i++) {
		const yaml_node_t *given = locate_in(l, EXPORTS, index, NUMBERS_OF_EXPORT[i], &line);
		if (given != NULL && (!is_decimal(given) || is_scalar(given, "0", 1)))
			return complain_of_export(l, index, NUMBERS_OF_EXPORT[i], config_export_expects(NUMBERS_OF_EXPORT[i]));
	}
	return KMS_OK;
}

static kms_status check_exports(struct loading *l)
{
	struct config_export_fault fault = { 0 };

	for (unsigned i = 0; i < l->config->exports_count; i++) {
		struct config_export *x = &l->config->exports[i];
		char **const paths[] = { &x->ca, &x->certificate, &x->key, &x->headers_file };
		KMS_TRY(check_export_values(l, i));
		for (size_t p = 0; p < KMS_ARRAY_LEN(paths); p++)
			if (*paths[p] != NULL)
				KMS_TRY(resolve(l, paths[p]));
	}
	return config_check_exports(l->config, &fault) ? KMS_OK : complain_of_export(l, fault.index, fault.key, fault.expected);
}

/* The line of an entry of log.witnesses, else of the key. */
static size_t line_of(struct loading *l, const struct log_fault *fault)
{
	size_t line = 1;
	yaml_node_t *list = locate(l, fault->key, &line);

	if (strcmp(fault->key, WITNESSES) != 0 || list == NULL || list->type != YAML_SEQUENCE_NODE)
		return line;
	return yaml_document_get_node(&l->document, list->data.sequence.items.start[fault->index])->start_mark.line + 1;
}

static kms_status check_log(struct loading *l)
{
	struct log_fault fault = { 0 };

	for (unsigned i = 0; i < l->config->log.witnesses_count; i++)
		if (l->config->log.witnesses[i].ca != NULL)
			KMS_TRY(resolve(l, &l->config->log.witnesses[i].ca));
	return config_check_log(l->config, &fault) ? KMS_OK : complain(l, line_of(l, &fault), fault.key, fault.expected);
}

static kms_status check_backup(struct loading *l)
{
	const char *expected = config_check_backup(l->config);
	size_t line = 1;

	(void)locate(l, "backup.directory", &line);
	return expected == NULL ? KMS_OK : complain(l, line, "backup.directory", expected);
}

static kms_status complain_of_alert(struct loading *l, const char *list, size_t index, const char *member)
{
	char key[KEY_MAX] = "";
	size_t line = 1;

	(void)locate_in(l, list, index, member, &line);
	(void)snprintf(key, sizeof(key), "%s.%s", list, member);
	return complain(l, line, key, config_alert_expects(list, member));
}

static kms_status check_alert_numbers(struct loading *l, unsigned index)
{
	static const char *const KEYS[] = { "limit", "factor", "at_least", "window_s", "late_s" };
	size_t line = 1;

	for (size_t i = 0; i < KMS_ARRAY_LEN(KEYS); i++) {
		const yaml_node_t *given = locate_in(l, CONFIG_ALERT_RULES, index, KEYS[i], &line);
		if (given != NULL && (!is_decimal(given) || is_scalar(given, "0", 1)))
			return complain_of_alert(l, CONFIG_ALERT_RULES, index, KEYS[i]);
	}
	return KMS_OK;
}

static kms_status check_alerts(struct loading *l)
{
	struct config_alert_fault fault = { 0 };

	for (unsigned i = 0; i < l->config->alerts.rules_count; i++)
		KMS_TRY(check_alert_numbers(l, i));
	for (unsigned i = 0; i < l->config->alerts.channels_count; i++) {
		struct config_alert_channel *ch = &l->config->alerts.channels[i];
		char **const paths[] = { &ch->ca, &ch->certificate, &ch->key, &ch->secret_file };
		for (size_t p = 0; p < KMS_ARRAY_LEN(paths); p++)
			if (*paths[p] != NULL)
				KMS_TRY(resolve(l, paths[p]));
	}
	return config_check_alerts(l->config, &fault) ? KMS_OK : complain_of_alert(l, fault.list, fault.index, fault.key);
}

static kms_status check_metrics(struct loading *l)
{
	const char *key = NULL, *expected = config_check_metrics(l->config, is_loopback_address(l->config->metrics.address), &key);
	size_t line = 1;

	if (expected == NULL)
		return KMS_OK;
	(void)locate(l, key, &line);
	return complain(l, line, key, expected);
}

static kms_status check_webhooks(struct loading *l)
{
	const char *key = NULL, *expected = NULL;
	size_t line = 1;

	l->config->webhooks.is_on = has_section(l, "webhooks");
	expected = config_check_webhooks(l->config, &key);
	if (expected == NULL)
		return KMS_OK;
	(void)locate(l, key, &line);
	return complain(l, line, key, expected);
}

/* The outline, written anew: comments are not part of it, and people write anything into them. The last use of the document. */
static kms_status keep_text(struct loading *l)
{
	yaml_emitter_t emitter;
	size_t size = 2 * FILE_MAX_BYTES, written = 0;
	char *text = malloc(size + 1);
	bool done = false;

	if (text == NULL || !yaml_emitter_initialize(&emitter)) {
		free(text);
		return out_of_memory(l);
	}
	yaml_emitter_set_output_string(&emitter, (unsigned char *)text, size, &written);
	yaml_emitter_set_unicode(&emitter, 1);
	yaml_emitter_set_width(&emitter, -1);
	l->has_document = false; /* the emitter owns it from here on */
	done = yaml_emitter_open(&emitter) && yaml_emitter_dump(&emitter, &l->document) && yaml_emitter_close(&emitter);
	yaml_emitter_delete(&emitter);
	text[written] = '\0';
	l->config->text = done ? strdup(text) : NULL;
	free(text);
	return l->config->text != NULL ? KMS_OK : out_of_memory(l);
}

static unsigned cores(unsigned least, unsigned most)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	if (online < (long)least)
		return least;
	return online > (long)most ? most : (unsigned)online;
}

static kms_status derive(struct loading *l)
{
	struct config *c = l->config;
	size_t line = 1;
	c->ekm.is_on = has_section(l, "ekm");
	c->identity.is_on = has_section(l, "identity");
	c->metrics.is_on = has_section(l, "metrics");
	if (c->public_port == 0)
		c->public_port = c->listen.port;
	if (c->listen.threads == 0)
		c->listen.threads = cores(1, THREADS_MAX);
	if (c->hsm.workers == 0)
		c->hsm.workers = cores(HSM_WORKERS_MIN - 1, HSM_WORKERS_MAX - 1) + 1; /* no vault ever has the last one (worker.h) */
	if (c->listen.per_ip > c->listen.connections) {
		if (locate(l, "listen.per_ip", &line) != NULL)
			return complain(l, line, "listen.per_ip", "at most listen.connections");
		c->listen.per_ip = c->listen.connections;
	}
	if (c->log.origin == NULL && asprintf(&c->log.origin, "%s%s", c->domain, ORIGIN_SUFFIX) < 0) {
		c->log.origin = NULL; /* undefined after a failure, asprintf(3) */
		return out_of_memory(l);
	}
	return KMS_OK;
}

kms_status config_load(const char *path, struct config **ret_config, struct kms_err *err)
{
	size_t len = strlen(path);
	LOADING_AUTO l = { .path = path, .shown = len > SHOWN_MAX ? path + len - SHOWN_MAX : path, .err = err };

	KMS_TRY(read_text(&l));
	KMS_TRY(outline(&l));
	KMS_TRY(fill(&l));
	if (l.config == NULL)
		return complain(&l, 1, "(file)", "a mapping of settings, as in holdfast.yaml.example");
	KMS_TRY(check_numbers(&l));
	KMS_TRY(check_flag(&l, "listen.client_certificates"));
	KMS_TRY(check_flag(&l, "log.strict"));
	KMS_TRY(check_flag(&l, "log.witnesses_required"));
	KMS_TRY(check_texts(&l));
	KMS_TRY(check_issuers(&l));
	KMS_TRY(check_exports(&l));
	KMS_TRY(check_log(&l));
	KMS_TRY(check_backup(&l));
	KMS_TRY(check_alerts(&l));
	KMS_TRY(check_metrics(&l));
	KMS_TRY(check_webhooks(&l));
	KMS_TRY(derive(&l));
	KMS_TRY(keep_text(&l));
	*ret_config = KMS_TAKE(l.config);
	return KMS_OK;
}

void config_free(struct config *c)
{
	const cyaml_config_t cyaml = { .mem_fn = cyaml_mem };
	if (c == NULL)
		return;
	free(c->text); /* libcyaml does not know of it */
	(void)cyaml_free(&cyaml, &CONFIG_SCHEMA, c, 0); /* fails only for a NULL argument */
}
