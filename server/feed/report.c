/* server/feed/report.c - see report.h. */
#include "server/feed/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "server/core/duration.h"
#include "server/core/key.h"

#define US_PER_S 1000000
#define MONTHS_OF_QUARTER 3
#define SCHEME "https://"
#define KEYS "/keys/"

const char *report_quarter(int64_t ts_us, char ret[REPORT_QUARTER_MAX])
{
	time_t at = (time_t)(ts_us / US_PER_S);
	struct tm tm = { 0 };

	if (gmtime_r(&at, &tm) == NULL)
		(void)snprintf(ret, REPORT_QUARTER_MAX, "-");
	else
		(void)snprintf(ret, REPORT_QUARTER_MAX, "%d-Q%d", tm.tm_year + 1900, tm.tm_mon / MONTHS_OF_QUARTER + 1);
	return ret;
}

/* ---- rotations ---- */

/* The version's own number says it; of a key that was purged since, only the leaf's type does. */
static kms_status ordinal_of(struct store *s, const struct leaf *l, uint64_t *ret, struct kms_err *err)
{
	STORE_VERSION_AUTO v = { 0 };
	struct store_key key = { 0 };
	uint8_t id[STORE_ID_LEN];
	kms_status status = KMS_E_NOTFOUND;

	*ret = 0;
	if (hex_decode(l->key_version, strlen(l->key_version), id, sizeof(id)))
		status = store_key(s, l->tenant, l->key_name, &key, NULL);
	if (status == KMS_OK)
		status = store_version(s, key.id, id, false, &v, NULL);
	if (status == KMS_OK)
		*ret = v.ordinal;
	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "version of an event");
}

kms_status report_version_made(struct store *s, const struct leaf *l, enum report_version *ret, struct kms_err *err)
{
	bool is_rotation = l->type == EVENT_KEY_ROTATE, makes = is_rotation || l->type == EVENT_KEY_CREATE || l->type == EVENT_KEY_IMPORT;
	uint64_t ordinal = 0;

	*ret = REPORT_NO_VERSION;
	if (!makes || l->phase == EVENT_INTENT || l->result != EVENT_OK || !l->has_tenant || l->key_name[0] == '\0')
		return KMS_OK;
	KMS_TRY(ordinal_of(s, l, &ordinal, err));
	*ret = is_rotation || ordinal > 1 ? REPORT_NEXT_VERSION : REPORT_FIRST_VERSION;
	return KMS_OK;
}

/* ---- revocations ---- */

static bool says(const struct leaf *l, const char *name, const char *text)
{
	const char *found = leaf_det_text(l, name);
	return found != NULL && strcmp(found, text) == 0;
}

static const char *taken_by(const struct leaf *l)
{
	switch (l->type) { /* allowed: all others take nothing away */
	case EVENT_KEY_REVOKE: return says(l, "act", "revoke") ? "key_revoke" : NULL;
	case EVENT_KEY_UPDATE: return says(l, "enabled", "false") ? "key_disable" : NULL;
	case EVENT_KEY_DELETE: return "key_delete";
	case EVENT_ROLE_REVOKE: return "role_remove";
	case EVENT_EKM_RETIRE: return "external_key_retire";
	case EVENT_TENANT_LOCK: return "vault_lock";
	case EVENT_PRINCIPAL: /* gives and takes: what takes says how long it took */
		return json_is_integer(json_object_get(l->det, "took_us")) ? leaf_det_text(l, "act") : NULL;
	default: return NULL;
	}
}

const char *report_revocation(const struct leaf *l, int64_t *ret_took_us)
{
	const json_t *took = json_object_get(l->det, "took_us");
	const char *what = l->phase == EVENT_INTENT || l->result != EVENT_OK ? NULL : taken_by(l);

	*ret_took_us = json_is_integer(took) ? (int64_t)json_integer_value(took) : -1;
	return what;
}

/* ---- rotation that is due ---- */

bool report_rotates(const struct store_policy *p) { return p->rotate_after_create[0] != '\0' || p->rotate_before_expiry[0] != '\0'; }

/* A policy that rotates before an end that the version does not have says nothing. */
static bool due_by_policy(const struct store_policy *p, const struct store_version *v, int64_t *ret_s)
{
	struct duration d = { 0 };
	bool is_known = false;

	if (p->rotate_after_create[0] != '\0' && duration_parse(p->rotate_after_create, &d)) {
		*ret_s = duration_add(v->created_s, &d, false);
		is_known = true;
	}
	if (p->rotate_before_expiry[0] != '\0' && v->exp_s != STORE_NO_TIME && duration_parse(p->rotate_before_expiry, &d)) {
		int64_t before_s = duration_add(v->exp_s, &d, true);
		if (!is_known || before_s < *ret_s)
			*ret_s = before_s;
		is_known = true;
	}
	return is_known;
}

enum report_basis report_overdue(const struct store_policy *p, const struct store_version *newest, int64_t max_age_s, int64_t now_s, int64_t *ret_due_s)
{
	int64_t due_s = 0;

	if (due_by_policy(p, newest, &due_s)) {
		*ret_due_s = due_s;
		return now_s > due_s ? REPORT_BY_POLICY : REPORT_NOT_DUE;
	}
	if (max_age_s == 0 || now_s - newest->created_s <= max_age_s)
		return REPORT_NOT_DUE;
	*ret_due_s = newest->created_s + max_age_s;
	return REPORT_BY_AGE;
}

/* ---- keys that others name ---- */

/* "{vault}.{domain}", whole. */
static bool is_our_host(const char *host, size_t len, const char *domain, char ret_vault[STORE_VAULT_NAME_MAX + 1])
{
	size_t domain_len = strlen(domain), label = strcspn(host, ".");

	if (label == 0 || label > STORE_VAULT_NAME_MAX || label + 1 + domain_len != len || strncasecmp(host + label + 1, domain, domain_len) != 0)
		return false;
	for (size_t i = 0; i < label; i++)
		ret_vault[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] - 'A' + 'a' : host[i]);
	ret_vault[label] = '\0';
	return true;
}

/* Behind the host: nothing, ":443" or the public port. */
static bool is_our_port(const char *text, size_t len, uint16_t port)
{
	char *end = NULL;
	unsigned long n = 0;

	if (len == 0)
		return true;
	if (*text != ':' || text[1] < '0' || text[1] > '9')
		return false;
	n = strtoul(text + 1, &end, 10);
	return end == text + len && (n == 443 || n == port);
}

static bool parse_path(const char *path, struct report_kid *ret)
{
	size_t name = 0;

	if (strncasecmp(path, KEYS, strlen(KEYS)) != 0)
		return false;
	path += strlen(KEYS);
	name = strcspn(path, "/");
	if (name == 0 || name > STORE_KEY_NAME_MAX)
		return false;
	memcpy(ret->key, path, name);
	ret->key[name] = '\0';
	path += name + (path[name] == '/');
	if (*path == '\0')
		return key_name_is_valid(ret->key);
	ret->has_version = hex_decode(path, strlen(path), ret->version, sizeof(ret->version));
	return ret->has_version && key_name_is_valid(ret->key);
}

enum report_kid_kind report_kid_parse(const char *kid, const char *domain, uint16_t port, struct report_kid *ret)
{
	const char *host = kid + strlen(SCHEME);
	size_t authority = 0, len = 0;

	memset(ret, 0, sizeof(*ret));
	if (strncasecmp(kid, SCHEME, strlen(SCHEME)) != 0)
		return REPORT_KID_INVALID;
	authority = strcspn(host, "/?#");
	/* "name@host" names a host that a careless reader takes for another. */
	if (authority == 0 || memchr(host, '@', authority) != NULL || host[authority] != '/')
		return REPORT_KID_INVALID;
	len = strcspn(host, ":/");
	if (!is_our_host(host, len, domain, ret->vault))
		return REPORT_KID_FOREIGN;
	if (!is_our_port(host + len, authority - len, port) || !parse_path(host + authority, ret))
		return REPORT_KID_INVALID;
	return REPORT_KID_OURS;
}

const char *report_version_state(const struct store_version *v, int64_t now_s)
{
	if (v->revoked != REVOKE_NONE)
		return "revoked";
	if (!v->is_enabled)
		return "disabled";
	if (v->nbf_s != STORE_NO_TIME && now_s < v->nbf_s)
		return "not_yet_valid";
	if (v->exp_s != STORE_NO_TIME && now_s >= v->exp_s)
		return "expired";
	return "enabled";
}

/* ---- where a page ended ---- */

#define PLACE_MAX (STORE_VAULT_NAME_MAX + STORE_KEY_NAME_MAX + 32)
_Static_assert(REPORT_CURSOR_MAX > B64URL_LEN(PLACE_MAX), "every place has a cursor");

/* Opaque to callers, so that nobody builds one; it needs no signature, since it opens nothing that its caller may not see. */
void report_place_format(const struct report_place *p, char ret[REPORT_CURSOR_MAX])
{
	char text[PLACE_MAX];
	int len = snprintf(text, sizeof(text), "k%s/%s", p->vault, p->key);

	if (p->is_within)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "@%" PRIu64, p->seq);
	b64url_encode((const uint8_t *)text, (size_t)len, ret);
}

static bool decode(const char *cursor, char kind, char *ret, size_t cap)
{
	size_t len = 0;

	if (!b64url_decode(cursor, strlen(cursor), (uint8_t *)ret, cap - 1, &len))
		return false;
	ret[len] = '\0';
	return len > 1 && strlen(ret) == len && ret[0] == kind;
}

static bool parse_seq(const char *text, uint64_t *ret)
{
	char *end = NULL;

	if (text[0] < '0' || text[0] > '9')
		return false;
	*ret = strtoull(text, &end, 10);
	return *end == '\0' && *ret <= STORE_SEQ_MAX;
}

bool report_place_parse(const char *cursor, struct report_place *ret)
{
	char text[PLACE_MAX], *within = NULL;
	size_t vault = 0;

	if (!decode(cursor, 'k', text, sizeof(text)))
		return false;
	within = strchr(text, '@'); /* in no name */
	ret->is_within = within != NULL;
	ret->seq = 0;
	if (ret->is_within) {
		if (!parse_seq(within + 1, &ret->seq))
			return false;
		*within = '\0';
	}
	vault = strcspn(text + 1, "/");
	if (vault == 0 || vault > STORE_VAULT_NAME_MAX || text[1 + vault] != '/' || strlen(text + 1 + vault + 1) > STORE_KEY_NAME_MAX)
		return false;
	memcpy(ret->vault, text + 1, vault);
	ret->vault[vault] = '\0';
	(void)snprintf(ret->key, sizeof(ret->key), "%s", text + 1 + vault + 1);
	return ret->key[0] == '\0' ? !ret->is_within : key_name_is_valid(ret->key);
}

void report_seq_format(uint64_t seq, char ret[REPORT_CURSOR_MAX])
{
	char text[32];
	int len = snprintf(text, sizeof(text), "s%llu", (unsigned long long)seq);

	b64url_encode((const uint8_t *)text, (size_t)len, ret);
}

bool report_seq_parse(const char *cursor, uint64_t *ret)
{
	char text[32];

	return decode(cursor, 's', text, sizeof(text)) && parse_seq(text + 1, ret);
}
