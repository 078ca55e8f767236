/* server/config_alert.c - see config_alert.h. A rule that can never fire, or that tells nobody, is refused: somebody relies on it. */
#include "server/config_alert.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_CHARS 32
#define URL_MAX 512
#define HOST_MAX 253
#define ADDRESS_MAX 128 /* of a mail box */
#define COUNT_MAX 1000000
#define FACTOR_MAX 1000
#define WINDOW_MIN_S 10
#define WINDOW_MAX_S 86400
#define LATE_MAX_S 3600
#define VAULT_MAX 24
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static const struct {
	const char *list, *key, *expected;
} EXPECTED[] = {
	{ CONFIG_ALERT_RULES, "name", "1 to 32 characters of a-z 0-9 -, used once" },
	{ CONFIG_ALERT_RULES, "kind",
	  "volume, new_address, denials, expiry, rotation_failed, hsm_lost, log_late, integrity or export_failed" },
	{ CONFIG_ALERT_RULES, "vault", "the name of a vault, for a kind that is about vaults" },
	{ CONFIG_ALERT_RULES, "limit", "a decimal number from 1 to 1000000, for volume (or factor) and denials" },
	{ CONFIG_ALERT_RULES, "factor", "a decimal number from 2 to 1000, for volume" },
	{ CONFIG_ALERT_RULES, "at_least", "a decimal number from 1 to 1000000, together with factor" },
	{ CONFIG_ALERT_RULES, "window_s", "a decimal number from 10 to 86400, for any kind but new_address" },
	{ CONFIG_ALERT_RULES, "late_s", "a decimal number from 1 to 3600, for log_late" },
	{ CONFIG_ALERT_RULES, "per", "principal or total, for denials" },
	{ CONFIG_ALERT_RULES, "to", "a list of 1 to 16 names of alerts.channels" },
	{ CONFIG_ALERT_CHANNELS, "name", "1 to 32 characters of a-z 0-9 -, used once" },
	{ CONFIG_ALERT_CHANNELS, "kind", "webhook, syslog or mail" },
	{ CONFIG_ALERT_CHANNELS, "address",
	  "of a webhook an https URL without user and fragment (http to a numeric loopback address); of syslog syslog+tls://HOST:PORT (syslog+tcp:// to a "
	  "numeric loopback address); of mail smtp://127.0.0.1:PORT, the mail server of this machine" },
	{ CONFIG_ALERT_CHANNELS, "ca", "a readable PEM file, for https and syslog+tls" },
	{ CONFIG_ALERT_CHANNELS, "certificate", "a readable PEM file, together with key, for syslog+tls" },
	{ CONFIG_ALERT_CHANNELS, "key", "a readable PEM file, closed to group and others (chmod 600), together with certificate" },
	{ CONFIG_ALERT_CHANNELS, "secret_file", "a readable file, closed to group and others (chmod 600), for a webhook" },
	{ CONFIG_ALERT_CHANNELS, "from", "a mail address, for mail" },
	{ CONFIG_ALERT_CHANNELS, "to", "a list of 1 to 16 mail addresses, for mail; where the other kinds send to is their address" },
};

const char *config_alert_expects(const char *list, const char *key)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(EXPECTED); i++)
		if (strcmp(EXPECTED[i].list, list) == 0 && strcmp(EXPECTED[i].key, key) == 0)
			return EXPECTED[i].expected;
	return NULL;
}

static bool is_of(const char *text, size_t max, const char *set)
{
	size_t len = text != NULL ? strlen(text) : 0;
	return len >= 1 && len <= max && strspn(text, set) == len;
}

static bool is_name(const char *text) { return is_of(text, NAME_MAX_CHARS, LOWER DIGITS "-"); }
static bool is(const char *text, const char *want) { return text != NULL && strcmp(text, want) == 0; }
static bool in_range(unsigned number, unsigned min, unsigned max) { return number >= min && number <= max; }

static const char *behind(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0 ? text + strlen(prefix) : NULL;
}

/* ---- addresses ---- */

static bool is_port(const char *text) { return is_of(text, 5, DIGITS) && text[0] != '0' && strtoul(text, NULL, 10) <= UINT16_MAX; }

/* "host" or "host:port" of this length. */
static bool is_loopback(const char *text, size_t len)
{
	char host[64] = "";
	struct in_addr v4;

	if (len >= 5 && strncmp(text, "[::1]", 5) == 0)
		return len == 5 || text[5] == ':';
	len = strcspn(text, ":") < len ? strcspn(text, ":") : len;
	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
}

static bool is_host_port(const char *text, bool must_be_loopback)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon != NULL ? (size_t)(colon - text) : 0;
	bool is_host = len > 0 && len <= HOST_MAX && (strspn(text, LOWER UPPER DIGITS ".-") == len || (text[0] == '[' && text[len - 1] == ']'));

	return is_host && is_port(colon + 1) && (!must_be_loopback || is_loopback(text, strlen(text)));
}

static bool is_url(const char *text)
{
	const char *rest = behind(text, "https://"), *local = behind(text, "http://");
	size_t len = strlen(text);

	if (len > URL_MAX || strspn(text, LOWER UPPER DIGITS "-._~:/?[]!$&'()*+,;=%") != len)
		return false;
	if (rest != NULL)
		return strcspn(rest, "/?") > 0;
	return local != NULL && is_loopback(local, strcspn(local, "/?"));
}

/* What needs no quoting (RFC 5322 dot-atom) and cannot end a header or a command. */
static bool is_mail_box(const char *text)
{
	size_t len = text != NULL ? strlen(text) : 0, name = text != NULL ? strcspn(text, "@") : 0;

	return len <= ADDRESS_MAX && name > 0 && name < len && strspn(text, LOWER UPPER DIGITS "!#$%&'*+-/=?^_`{|}~.") == name &&
	       is_of(text + name + 1, ADDRESS_MAX, LOWER UPPER DIGITS ".-");
}

static bool is_file(const char *path, bool must_be_private)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0 && (!must_be_private || (st.st_mode & (S_IRWXG | S_IRWXO)) == 0);
}

/* ---- channels ---- */

static bool has_good_address(const struct config_alert_channel *c)
{
	if (c->address == NULL)
		return false;
	if (is(c->kind, "webhook"))
		return is_url(c->address);
	if (is(c->kind, "mail"))
		return behind(c->address, CONFIG_ALERT_SMTP) != NULL && is_host_port(behind(c->address, CONFIG_ALERT_SMTP), true);
	if (behind(c->address, CONFIG_ALERT_SYSLOG_PLAIN) != NULL)
		return is_host_port(behind(c->address, CONFIG_ALERT_SYSLOG_PLAIN), true);
	return behind(c->address, CONFIG_ALERT_SYSLOG) != NULL && is_host_port(behind(c->address, CONFIG_ALERT_SYSLOG), false);
}

static bool may_have_ca(const struct config_alert_channel *c)
{
	return behind(c->address, "https://") != NULL || behind(c->address, CONFIG_ALERT_SYSLOG) != NULL;
}

/* What a receiver asks for that lets in only whom it knows. */
static const char *client_fault(const struct config_alert_channel *c)
{
	if (c->certificate == NULL && c->key == NULL)
		return NULL;
	if (c->certificate == NULL || c->key == NULL || behind(c->address, CONFIG_ALERT_SYSLOG) == NULL || !is_file(c->certificate, false))
		return "certificate";
	return is_file(c->key, true) ? NULL : "key";
}

static bool has_good_receivers(const struct config_alert_channel *c)
{
	if (!is(c->kind, "mail"))
		return c->to_count == 0;
	for (unsigned i = 0; i < c->to_count; i++)
		if (!is_mail_box(c->to[i]))
			return false;
	return in_range(c->to_count, 1, CONFIG_ALERT_TO_MAX);
}

static const char *channel_fault(const struct config *c, unsigned index)
{
	const struct config_alert_channel *ch = &c->alerts.channels[index];

	if (!is_name(ch->name))
		return "name";
	for (unsigned i = 0; i < index; i++)
		if (is(c->alerts.channels[i].name, ch->name))
			return "name";
	if (!is(ch->kind, "webhook") && !is(ch->kind, "syslog") && !is(ch->kind, "mail"))
		return "kind";
	if (!has_good_address(ch))
		return "address";
	if (ch->ca != NULL && (!may_have_ca(ch) || !is_file(ch->ca, false)))
		return "ca";
	if (client_fault(ch) != NULL)
		return client_fault(ch);
	if (ch->secret_file != NULL && (!is(ch->kind, "webhook") || !is_file(ch->secret_file, true)))
		return "secret_file";
	if (is(ch->kind, "mail") ? !is_mail_box(ch->from) : ch->from != NULL)
		return "from";
	return has_good_receivers(ch) ? NULL : "to";
}

/* ---- rules ---- */

/* What a kind has, and its defaults. */
static const struct kind {
	const char *name;
	bool has_vault, has_limit, has_window;
	unsigned limit, window_s;
} KINDS[] = {
	{ "volume", true, true, true, 0, 3600 },      { "new_address", true, false, false, 1, 86400 },   { "denials", true, true, true, 20, 60 },
	{ "expiry", true, false, true, 1, 86400 },    { "rotation_failed", true, false, true, 1, 3600 }, { "hsm_lost", false, false, true, 1, 300 },
	{ "log_late", false, false, true, 1, 300 },   { "integrity", false, false, true, 1, 3600 },      { "export_failed", false, false, true, 1, 3600 },
};

static const struct kind *kind_of(const struct config_alert_rule *r)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(KINDS); i++)
		if (is(r->kind, KINDS[i].name))
			return &KINDS[i];
	return NULL;
}

static bool is_channel(const struct config *c, const char *name)
{
	for (unsigned i = 0; i < c->alerts.channels_count; i++)
		if (is(c->alerts.channels[i].name, name))
			return true;
	return false;
}

static const char *count_fault(const struct config_alert_rule *r, const struct kind *k)
{
	bool is_volume = is(r->kind, "volume"), is_denials = is(r->kind, "denials");

	if (r->factor != 0 && (!is_volume || !in_range(r->factor, 2, FACTOR_MAX)))
		return "factor";
	if (r->limit != 0 ? !k->has_limit || r->limit > COUNT_MAX : is_volume && r->factor == 0)
		return "limit";
	if (r->at_least != 0 && (r->factor == 0 || r->at_least > COUNT_MAX))
		return "at_least";
	if (r->window_s != 0 && (!k->has_window || !in_range(r->window_s, WINDOW_MIN_S, WINDOW_MAX_S)))
		return "window_s";
	if (r->late_s != 0 && (!is(r->kind, "log_late") || r->late_s > LATE_MAX_S))
		return "late_s";
	return r->per != NULL && (!is_denials || (!is(r->per, "principal") && !is(r->per, "total"))) ? "per" : NULL;
}

static const char *rule_fault(const struct config *c, unsigned index)
{
	const struct config_alert_rule *r = &c->alerts.rules[index];
	const struct kind *k = kind_of(r);

	if (!is_name(r->name))
		return "name";
	for (unsigned i = 0; i < index; i++)
		if (is(c->alerts.rules[i].name, r->name))
			return "name";
	if (k == NULL)
		return "kind";
	if (r->vault != NULL && (!k->has_vault || !is_of(r->vault, VAULT_MAX, LOWER UPPER DIGITS "-")))
		return "vault";
	if (count_fault(r, k) != NULL)
		return count_fault(r, k);
	for (unsigned i = 0; i < r->to_count; i++)
		if (!is_channel(c, r->to[i]))
			return "to";
	return in_range(r->to_count, 1, CONFIG_ALERT_TO_MAX) ? NULL : "to";
}

static void fill_in(struct config_alert_rule *r)
{
	const struct kind *k = kind_of(r);

	if (r->limit == 0)
		r->limit = k->limit;
	if (r->window_s == 0)
		r->window_s = k->window_s;
	if (r->factor != 0 && r->at_least == 0)
		r->at_least = 100;
	if (r->late_s == 0)
		r->late_s = 30;
}

static bool say(const char *list, unsigned index, const char *key, struct config_alert_fault *ret)
{
	*ret = (struct config_alert_fault){ .list = list, .index = index, .key = key, .expected = config_alert_expects(list, key) };
	return false;
}

bool config_check_alerts(struct config *c, struct config_alert_fault *ret_fault)
{
	for (unsigned i = 0; i < c->alerts.channels_count; i++)
		if (channel_fault(c, i) != NULL)
			return say(CONFIG_ALERT_CHANNELS, i, channel_fault(c, i), ret_fault);
	for (unsigned i = 0; i < c->alerts.rules_count; i++) {
		if (rule_fault(c, i) != NULL)
			return say(CONFIG_ALERT_RULES, i, rule_fault(c, i), ret_fault);
		fill_in(&c->alerts.rules[i]);
	}
	return true;
}
