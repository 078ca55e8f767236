/* server/config_issuers.c - see config_issuers.h. Guards against issuers whose keys could come from anywhere, or that could speak for one another. */
#include "server/config_issuers.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REFRESH_MIN_S 10
#define REFRESH_MAX_S 86400
#define STALE_MAX_S (7 * 86400)
#define REFRESH_S 600
#define STALE_S 86400

static bool is_of(const char *text, size_t max, const char *set)
{
	size_t len = strlen(text);
	return len >= 1 && len <= max && strspn(text, set) == len;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool is_name(const char *text) { return is_of(text, 32, LOWER DIGITS "-"); }

/* Compared as it is, with what tokens say. */
static bool is_value(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	return text[0] != '\0' && strlen(text) <= ISSUER_VALUE_MAX;
}

/* No user, no fragment; the host is not looked at further: it is the administrator's. */
static bool is_url(const char *text)
{
	static const char SCHEME[] = "https://";
	return strncmp(text, SCHEME, sizeof(SCHEME) - 1) == 0 && is_of(text, ISSUER_URL_MAX, LOWER UPPER DIGITS "-._~:/?[]!$&'()*+,;=%") &&
	       strcspn(text + sizeof(SCHEME) - 1, "/?") > 0;
}

static bool is_authority(const char *text) { return is_url(text) && strlen(text) <= ISSUER_VALUE_MAX && strpbrk(text, "?,") == NULL; }

static bool is_file(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

static bool is_one_of(const char *text, const char *const *choices)
{
	for (; *choices != NULL; choices++)
		if (strcmp(text, *choices) == 0)
			return true;
	return false;
}

static bool is_principal_claim(const char *text) { return is_one_of(text, (const char *const[]){ "oid", "sub", "appid", "azp", NULL }); }
static bool is_algorithm(const char *text) { return is_one_of(text, (const char *const[]){ "RS256", "PS256", "ES256", "EdDSA", NULL }); }

#define AT(member) offsetof(struct config_issuer, member)

struct text_rule {
	const char *key;
	size_t offset;
	bool (*is_ok)(const char *text);
	const char *expected, *fallback;
	bool is_required;
};

static const struct text_rule TEXTS[] = {
	{ "name", AT(name), is_name, "1 to 32 characters of a-z 0-9 -, used once", NULL, true },
	{ "tenant", AT(tenant), is_value, "the value of tid: 1 to 512 printable characters", NULL, false },
	{ "authority", AT(authority), is_authority, "an https URL of at most 512 characters, without a query", NULL, false },
	{ "jwks_url", AT(jwks_url), is_url, "an https URL of at most 1024 characters; it or jwks_file, and not both", NULL, false },
	{ "jwks_file", AT(jwks_file), is_file, "a readable file with a JWK Set; it or jwks_url, and not both", NULL, false },
	{ "ca", AT(ca), is_file, "a readable PEM file, for jwks_url", NULL, false },
	{ "principal_claim", AT(principal_claim), is_principal_claim, "oid, sub, appid or azp", "oid", false },
	{ "group_claim", AT(group_claim), is_value, "the name of a claim: 1 to 512 printable characters", "groups", false },
	{ "role_claim", AT(role_claim), is_value, "the name of a claim: 1 to 512 printable characters", "roles", false },
};

struct list_rule {
	const char *key;
	size_t offset, count; /* of the char ** and of its unsigned */
	bool (*is_ok)(const char *text);
	const char *expected;
	bool is_required;
};

static const struct list_rule LISTS[] = {
	{ "issuer", AT(issuer), AT(issuer_count), is_value, "a list of 1 to 16 values of iss, each of one issuer only", true },
	{ "audience", AT(audience), AT(audience_count), is_value, "a list of at most 16 values of aud", false },
	{ "algorithms", AT(algorithms), AT(algorithms_count), is_algorithm, "a list of RS256, PS256, ES256 and EdDSA", false },
};

static const char REFRESH[] = "a decimal number from 10 to 86400", STALE[] = "a decimal number from 10 to 604800, and at least refresh_s";

const char *config_issuer_expects(const char *key)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(TEXTS); i++)
		if (strcmp(TEXTS[i].key, key) == 0)
			return TEXTS[i].expected;
	for (size_t i = 0; i < KMS_ARRAY_LEN(LISTS); i++)
		if (strcmp(LISTS[i].key, key) == 0)
			return LISTS[i].expected;
	return strcmp(key, "refresh_s") == 0 ? REFRESH : strcmp(key, "stale_s") == 0 ? STALE : NULL;
}

static kms_status fault(struct issuer_fault *ret, const char *key)
{
	ret->key = key;
	ret->expected = config_issuer_expects(key);
	return KMS_E_INVALID;
}

static kms_status check_texts(struct config_issuer *c, struct issuer_fault *ret_fault)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(TEXTS); i++) {
		char **text = (char **)(void *)((char *)c + TEXTS[i].offset);
		if (*text == NULL && TEXTS[i].fallback != NULL && (*text = strdup(TEXTS[i].fallback)) == NULL)
			return KMS_E_NOMEM;
		if (*text == NULL ? TEXTS[i].is_required : !TEXTS[i].is_ok(*text))
			return fault(ret_fault, TEXTS[i].key);
	}
	return KMS_OK;
}

static kms_status check_lists(const struct config_issuer *c, struct issuer_fault *ret_fault)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(LISTS); i++) {
		char *const *list = *(char *const *const *)(const void *)((const char *)c + LISTS[i].offset);
		unsigned count = *(const unsigned *)(const void *)((const char *)c + LISTS[i].count);
		if (LISTS[i].is_required && count == 0)
			return fault(ret_fault, LISTS[i].key);
		for (unsigned n = 0; n < count; n++)
			if (!LISTS[i].is_ok(list[n]))
				return fault(ret_fault, LISTS[i].key);
	}
	return KMS_OK;
}

static kms_status check_keys(struct config_issuer *c, struct issuer_fault *ret_fault)
{
	if ((c->jwks_url != NULL) == (c->jwks_file != NULL))
		return fault(ret_fault, "jwks_url");
	if (c->ca != NULL && c->jwks_url == NULL)
		return fault(ret_fault, "ca");
	if (c->refresh_s == 0)
		c->refresh_s = REFRESH_S;
	if (c->stale_s == 0)
		c->stale_s = c->refresh_s > STALE_S ? c->refresh_s : STALE_S;
	if (c->refresh_s < REFRESH_MIN_S || c->refresh_s > REFRESH_MAX_S)
		return fault(ret_fault, "refresh_s");
	return c->stale_s >= c->refresh_s && c->stale_s <= STALE_MAX_S ? KMS_OK : fault(ret_fault, "stale_s");
}

static bool has_issuer(const struct config_issuer *c, unsigned count, const char *iss)
{
	for (unsigned n = 0; n < count; n++)
		if (strcmp(c->issuer[n], iss) == 0)
			return true;
	return false;
}

/* A value of iss belongs to one issuer, or it would be by chance whose keys count. */
static kms_status check_unique(const struct config *c, unsigned index, struct issuer_fault *ret_fault)
{
	const struct config_issuer *one = &c->issuers[index];

	for (unsigned i = 0; i < index; i++)
		if (strcmp(c->issuers[i].name, one->name) == 0)
			return fault(ret_fault, "name");
	for (unsigned n = 0; n < one->issuer_count; n++) {
		if (has_issuer(one, n, one->issuer[n]))
			return fault(ret_fault, "issuer");
		for (unsigned i = 0; i < index; i++)
			if (has_issuer(&c->issuers[i], c->issuers[i].issuer_count, one->issuer[n]))
				return fault(ret_fault, "issuer");
	}
	return KMS_OK;
}

kms_status config_check_issuers(struct config *c, struct issuer_fault *ret_fault)
{
	for (unsigned i = 0; i < c->issuers_count; i++) {
		ret_fault->index = i;
		KMS_TRY(check_texts(&c->issuers[i], ret_fault));
		KMS_TRY(check_lists(&c->issuers[i], ret_fault));
		KMS_TRY(check_keys(&c->issuers[i], ret_fault));
		KMS_TRY(check_unique(c, i, ret_fault));
	}
	return KMS_OK;
}
