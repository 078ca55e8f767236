/* server/config_log.c - see config_log.h. A witness that cannot be told from another, or is not there, would make a quorum worth less than it says. */
#include "server/config_log.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_LEN 200
#define ID_LEN 8
#define KEY_TEXT_LEN 44 /* base64 of the type byte and an Ed25519 key */
#define URL_MAX 1024
#define KEEP_DAYS_MIN 90
#define KEEP_DAYS_MAX 36500
#define HEX "0123456789abcdef"
#define BASE64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
#define URL_SET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/[]%"

/* The form only; whether the id is that of the key is found when the witness is used. */
static bool is_vkey(const char *text)
{
	size_t name = strcspn(text, "+");
	const char *id = text + name + 1, *key;

	for (size_t i = 0; i < name; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	if (name == 0 || name > NAME_MAX_LEN || text[name] == '\0' || strspn(id, HEX) != ID_LEN || id[ID_LEN] != '+')
		return false;
	key = id + ID_LEN + 1;
	return strlen(key) == KEY_TEXT_LEN && strspn(key, BASE64) == KEY_TEXT_LEN;
}

/* What stands behind a prefix; NULL when the text does not begin with it. */
static const char *behind(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0 ? text + strlen(prefix) : NULL; }

/* https, or http to this machine itself, where a tunnel may begin. "/add-checkpoint" is appended, so no query. */
static bool is_url(const char *text)
{
	static const char *const LOOPBACK[] = { "http://127.0.0.1", "http://[::1]" };
	size_t len = strlen(text);
	const char *rest = behind(text, "https://");
	bool has_host = rest != NULL && strcspn(rest, "/") > 0;

	for (size_t i = 0; i < sizeof(LOOPBACK) / sizeof(LOOPBACK[0]) && !has_host; i++) {
		rest = behind(text, LOOPBACK[i]);
		has_host = rest != NULL && (*rest == ':' || *rest == '/' || *rest == '\0');
	}
	return has_host && len <= URL_MAX && strspn(text, URL_SET) == len && text[len - 1] != '/';
}

static bool is_file(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

static bool is_twice(const struct config *c, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (strcmp(c->log.witnesses[i].key, c->log.witnesses[index].key) == 0)
			return true;
	return false;
}

static const char *witness_fault(const struct config *c, size_t index)
{
	const struct config_witness *w = &c->log.witnesses[index];

	if (w->key == NULL || !is_vkey(w->key))
		return "key: the witness's verifier key, NAME+8 hex digits+base64 (holdfast witness prints it)";
	if (w->url == NULL || !is_url(w->url))
		return "url: an https URL (http on a loopback address) of at most 1024 characters, without a slash at its end";
	if (w->ca != NULL && !is_file(w->ca))
		return "ca: a readable PEM file";
	return is_twice(c, index) ? "each key once" : NULL;
}

bool config_check_log(const struct config *c, struct log_fault *ret_fault)
{
	for (size_t i = 0; i < c->log.witnesses_count; i++) {
		const char *expected = witness_fault(c, i);
		if (expected == NULL)
			continue;
		*ret_fault = (struct log_fault){ .key = "log.witnesses", .index = i, .expected = expected };
		return false;
	}
	if (c->log.quorum > c->log.witnesses_count)
		*ret_fault = (struct log_fault){ .key = "log.quorum", .expected = "at most the number of log.witnesses" };
	else if (c->log.witnesses_required && c->log.quorum == 0)
		*ret_fault = (struct log_fault){ .key = "log.witnesses_required", .expected = "a log.quorum of 1 at least" };
	else if (c->log.keep_days != 0 && (c->log.keep_days < KEEP_DAYS_MIN || c->log.keep_days > KEEP_DAYS_MAX))
		*ret_fault = (struct log_fault){ .key = "log.keep_days", .expected = "90 to 36500 days, or 0 for ever" };
	else if (c->log.late_ms <= c->log.interval_ms)
		*ret_fault = (struct log_fault){ .key = "log.late_ms", .expected = "more than log.interval_ms" };
	else
		return true;
	return false;
}
