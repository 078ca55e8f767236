/* server/config_export.c - see config_export.h. Guards against events that leave this machine in the clear, or go where nobody meant them to. */
#include "server/config_export.h"

#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_CHARS 32
#define URL_MAX 512
#define MAX_LAG_MIN_S 5
#define MAX_LAG_SYSLOG_S 15 /* what is sent settles after five seconds */
#define MAX_LAG_MAX_S 86400
#define MAX_LAG_S 60
#define ENTERPRISE 32473 /* IANA's for documentation */
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static const struct {
	const char *key, *expected;
} EXPECTED[] = {
	{ "name", "1 to 32 characters of a-z 0-9 -, used once" },
	{ "format", "native, azure or cef to a file or syslog, otlp to an https URL" },
	{ "to", "file:/PATH in an existing directory, syslog+tls://HOST:PORT or an https URL without user, query and fragment; syslog+tcp:// and http:// to a numeric loopback "
	        "address only; each used once" },
	{ "ca", "a readable PEM file, for TLS" },
	{ "certificate", "a readable PEM file, together with key, for TLS" },
	{ "key", "a readable PEM file, closed to group and others (chmod 600), together with certificate" },
	{ "headers_file", "a readable file of \"Name: value\" lines, closed to group and others (chmod 600), for an https URL" },
	{ "required", "true or false" },
	{ "max_lag_s", "a decimal number from 5 (of syslog 15) to 86400" },
	{ "enterprise", "an IANA enterprise number, from 1 to 4294967295" },
};

const char *config_export_expects(const char *key)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(EXPECTED); i++)
		if (strcmp(EXPECTED[i].key, key) == 0)
			return EXPECTED[i].expected;
	return NULL;
}

const char *config_behind(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);
	return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

static bool is_of(const char *text, size_t max, const char *set)
{
	size_t len = strlen(text);
	return len >= 1 && len <= max && strspn(text, set) == len;
}

/* ---- addresses ---- */

static bool is_port(const char *text)
{
	return is_of(text, 5, DIGITS) && text[0] != '0' && strtoul(text, NULL, 10) <= UINT16_MAX;
}

/* A name, an IPv4 address, or an IPv6 address in brackets; then :port. @param ret_host_len  without the port */
static bool is_host_port(const char *text, size_t *ret_host_len)
{
	size_t len = text[0] == '[' ? strspn(text + 1, DIGITS "abcdefABCDEF:.") + 2 : strspn(text, LOWER UPPER DIGITS ".-");

	if (len == 0 || len > 255 || (text[0] == '[' && (len == 2 || text[len - 1] != ']')) || text[len] != ':')
		return false;
	*ret_host_len = len;
	return is_port(text + len + 1);
}

static bool is_loopback(const char *host, size_t len)
{
	return (len == strlen("[::1]") && strncmp(host, "[::1]", len) == 0) || (config_behind(host, "127.") != NULL && strspn(host, DIGITS ".") >= len);
}

static bool is_new_file(const char *path)
{
	char copy[PATH_MAX] = "";
	size_t len = strlen(path);
	struct stat st;

	if (path[0] != '/' || len >= sizeof(copy) || path[len - 1] == '/' || (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)))
		return false;
	memcpy(copy, path, len);
	return stat(dirname(copy), &st) == 0 && S_ISDIR(st.st_mode);
}

/* No user, no query: what is here is shown to whoever may see the exports. */
static bool is_url_rest(const char *text, bool must_be_loopback)
{
	size_t host = strcspn(text, "/"), len = host;

	if (!is_of(text, URL_MAX, LOWER UPPER DIGITS "-._~:/[]%") || host == 0)
		return false;
	if (!must_be_loopback)
		return true;
	for (size_t i = 0; i < host; i++)
		if (text[i] == ':' && strcspn(text + i + 1, ":]") >= host - i - 1)
			len = i;
	return is_loopback(text, len);
}

enum sink { SINK_NONE, SINK_FILE, SINK_SYSLOG, SINK_HTTP };

static enum sink sink_of(const char *to, bool *ret_is_tls)
{
	const char *rest;
	size_t host_len = 0;

	*ret_is_tls = false;
	if ((rest = config_behind(to, EXPORT_TO_FILE)) != NULL)
		return is_new_file(rest) ? SINK_FILE : SINK_NONE;
	if ((rest = config_behind(to, EXPORT_TO_SYSLOG_PLAIN)) != NULL)
		return is_host_port(rest, &host_len) && is_loopback(rest, host_len) ? SINK_SYSLOG : SINK_NONE;
	if ((rest = config_behind(to, EXPORT_TO_HTTP)) != NULL)
		return is_url_rest(rest, true) ? SINK_HTTP : SINK_NONE;
	*ret_is_tls = true;
	if ((rest = config_behind(to, EXPORT_TO_SYSLOG)) != NULL)
		return is_host_port(rest, &host_len) ? SINK_SYSLOG : SINK_NONE;
	rest = config_behind(to, EXPORT_TO_HTTPS);
	return rest != NULL && is_url_rest(rest, false) ? SINK_HTTP : SINK_NONE;
}

/* ---- one export ---- */

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

static bool is_format_for(const char *format, enum sink sink)
{
	static const char *const LINES[] = { "native", "azure", "cef" };

	if (sink == SINK_HTTP)
		return strcmp(format, "otlp") == 0;
	for (size_t i = 0; i < KMS_ARRAY_LEN(LINES); i++)
		if (strcmp(format, LINES[i]) == 0)
			return true;
	return false;
}

/* The key of the member that is wrong; NULL = none. */
static const char *tls_fault(const struct config_export *x, bool is_tls)
{
	if (x->ca != NULL && (!is_tls || !is_file(x->ca)))
		return "ca";
	if ((x->certificate != NULL) != (x->key != NULL) || (x->certificate != NULL && (!is_tls || !is_file(x->certificate))))
		return "certificate";
	return x->key != NULL && !is_private_file(x->key) ? "key" : NULL;
}

static const char *number_fault(struct config_export *x, enum sink sink)
{
	if (x->max_lag_s == 0)
		x->max_lag_s = MAX_LAG_S;
	if (x->enterprise == 0)
		x->enterprise = ENTERPRISE;
	return x->max_lag_s < (sink == SINK_SYSLOG ? MAX_LAG_SYSLOG_S : MAX_LAG_MIN_S) || x->max_lag_s > MAX_LAG_MAX_S ? "max_lag_s" : NULL;
}

static const char *fault_of(struct config_export *x)
{
	bool is_tls = false;
	enum sink sink = x->to != NULL ? sink_of(x->to, &is_tls) : SINK_NONE;
	const char *fault;

	if (x->name == NULL || !is_of(x->name, NAME_MAX_CHARS, LOWER DIGITS "-"))
		return "name";
	if (sink == SINK_NONE)
		return "to";
	if (x->format == NULL || !is_format_for(x->format, sink))
		return "format";
	fault = tls_fault(x, is_tls);
	if (fault != NULL)
		return fault;
	if (x->headers_file != NULL && (sink != SINK_HTTP || !is_private_file(x->headers_file)))
		return "headers_file";
	return number_fault(x, sink);
}

/* Of an address that may be wrong in several ways, what is wrong with this one. */
static const char *to_expected(const struct config *c, unsigned index)
{
	const char *to = c->exports[index].to, *path = to != NULL ? config_behind(to, EXPORT_TO_FILE) : NULL;
	char copy[PATH_MAX] = "";
	struct stat st;

	if (path != NULL && path[0] != '/')
		return "file: and a whole path, as file:/var/lib/holdfast-export/events.jsonl";
	if (path != NULL && strlen(path) < sizeof(copy)) {
		memcpy(copy, path, strlen(path));
		if (stat(dirname(copy), &st) != 0)
			return "file:/PATH in an existing directory; this one is not there";
	}
	for (unsigned i = 0; to != NULL && i < index; i++)
		if (strcmp(c->exports[i].to, to) == 0)
			return "each used once; another export goes there already";
	return config_export_expects("to");
}

/* Two that write one file would tear each other's lines. */
static const char *repeated(const struct config *c, unsigned index)
{
	for (unsigned i = 0; i < index; i++) {
		if (strcmp(c->exports[i].name, c->exports[index].name) == 0)
			return "name";
		if (strcmp(c->exports[i].to, c->exports[index].to) == 0)
			return "to";
	}
	return NULL;
}

bool config_check_exports(struct config *c, struct config_export_fault *ret_fault)
{
	for (unsigned i = 0; i < c->exports_count; i++) {
		const char *key = fault_of(&c->exports[i]);
		if (key == NULL)
			key = repeated(c, i);
		if (key == NULL)
			continue;
		*ret_fault = (struct config_export_fault){ .index = i, .key = key,
			                                   .expected = strcmp(key, "to") == 0 ? to_expected(c, i) : config_export_expects(key) };
		return false;
	}
	return true;
}
