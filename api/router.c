/* api/router.c - from the raw path and query to a route with its parameters. Nothing is reachable that is not in API_ROUTES. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"

#define SEGMENTS_MAX 10 /* of the longest, the name of a tile */
#define EXTERNAL_ID_CHARS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-"

struct segments {
	char text[SEGMENTS_MAX][PATH_PARAM_MAX];
	size_t count;
	bool is_bad;
};

/* A trailing slash and one empty version segment mean "latest" (keyvault-keys.md 2.2): empty segments are dropped. The guard lets `//` through in
 * that one place only. */
static void split_path(const char *path, struct segments *ret)
{
	const char *p = path;

	ret->count = 0;
	ret->is_bad = false;
	while (*p == '/') {
		size_t len = strcspn(++p, "/");
		if (len > 0) {
			if (ret->count == SEGMENTS_MAX || !percent_decode(p, len, false, ret->text[ret->count], PATH_PARAM_MAX)) {
				ret->is_bad = true;
				return;
			}
			ret->count++;
		}
		p += len;
	}
}

static bool is_version(const char *text)
{
	uint8_t id[STORE_ID_LEN];
	return hex_decode(text, strlen(text), id, sizeof(id));
}

/* One pattern segment against one path segment. */
static bool segment_matches(const char *pattern, size_t len, const char *text)
{
	if (pattern[0] != '{')
		return strlen(text) == len && strncasecmp(pattern, text, len) == 0;
	if (strncmp(pattern, "{version}", len) == 0)
		return is_version(text); /* anything else in its place is an operation that does not exist */
	return true;
}

/* {tile} stands for the rest of the path, of one segment at least. A segment that has a slash of its own was written otherwise than it is read. */
static bool is_rest(const char *pattern, size_t len) { return strncmp(pattern, "{tile}", len) == 0; }

static bool rest_matches(const struct segments *s, size_t first)
{
	for (size_t n = first; n < s->count; n++)
		if (strchr(s->text[n], '/') != NULL)
			return false;
	return first < s->count;
}

static bool pattern_matches(const char *pattern, const struct segments *s)
{
	size_t n = 0;

	while (*pattern == '/') {
		size_t len = strcspn(++pattern, "/");
		if (is_rest(pattern, len))
			return rest_matches(s, n);
		if (n == s->count || !segment_matches(pattern, len, s->text[n]))
			return false;
		pattern += len;
		n++;
	}
	return n == s->count;
}

static void copy_text(char *to, size_t cap, const char *from)
{
	size_t len = strnlen(from, cap - 1);
	memcpy(to, from, len);
	to[len] = '\0';
}

/* One that is too long is cut to a length that no tile has. */
static void take_rest(struct request *r, const struct segments *s, size_t first)
{
	size_t len = 0;

	for (size_t n = first; n < s->count; n++) {
		if (n > first && len + 1 < sizeof(r->item))
			r->item[len++] = '/';
		copy_text(r->item + len, sizeof(r->item) - len, s->text[n]);
		len += strlen(r->item + len);
	}
}

static void take_param(struct request *r, const char *pattern, size_t len, const char *text)
{
	if (strncmp(pattern, "{key}", len) == 0) {
		copy_text(r->key, sizeof(r->key), text);
	} else if (strncmp(pattern, "{vault}", len) == 0) {
		copy_text(r->vault, sizeof(r->vault), text);
	} else if (strncmp(pattern, "{version}", len) == 0) {
		r->has_version = hex_decode(text, strlen(text), r->version, sizeof(r->version));
	} else if (strncmp(pattern, "{credential}", len) == 0 || strncmp(pattern, "{member}", len) == 0 ||
	           strncmp(pattern, "{level}", len) == 0) {
		copy_text(r->part, sizeof(r->part), text);
	} else {
		copy_text(r->item, sizeof(r->item), text);
	}
}

static void take_params(struct request *r, const char *pattern, const struct segments *s)
{
	for (size_t n = 0; *pattern == '/'; n++) {
		size_t len = strcspn(++pattern, "/");
		if (is_rest(pattern, len))
			take_rest(r, s, n);
		else if (pattern[0] == '{')
			take_param(r, pattern, len, s->text[n]);
		pattern += len;
	}
}

static bool serves(const struct route *route, enum dialect dialect)
{
	if (dialect == DIALECT_LOCAL)
		return route->dialect == DIALECT_DOMAIN;
	return route->dialect == dialect;
}

/* ---- the EKM dialect: nothing is decoded, nothing is forgiven ---- */

/* What follows the pool's prefix, not necessarily at the end of a segment; NULL when the path does not begin with it. */
static const char *behind_prefix(const char *path, const char *prefix)
{
	size_t len = strlen(prefix);

	if (len == 0)
		return path;
	if (*path != '/' || strncmp(path + 1, prefix, len) != 0)
		return NULL;
	return path + 1 + len;
}

static bool is_external_id(const char *text, size_t len)
{
	return len >= 1 && len <= STORE_EXTERNAL_ID_MAX && strspn(text, EXTERNAL_ID_CHARS) >= len;
}

/* Whether the pattern is this path exactly, but for the external id, which is taken. */
static bool ekm_matches(const char *pattern, const char *path, char ret_id[PATH_PARAM_MAX])
{
	static const char PARAM[] = "/{external}";
	size_t len = 0;

	if (strncmp(pattern, PARAM, sizeof(PARAM) - 1) != 0)
		return strcmp(pattern, path) == 0;
	len = strcspn(path + 1, "/");
	if (!is_external_id(path + 1, len) || strcmp(pattern + sizeof(PARAM) - 1, path + 1 + len) != 0)
		return false;
	memcpy(ret_id, path + 1, len);
	ret_id[len] = '\0';
	return true;
}

static void match_ekm(struct request *r, enum http_method method, const char *path)
{
	path = behind_prefix(path, r->client.prefix);
	if (path == NULL || *path != '/')
		return;
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		const struct route *route = &API_ROUTES[i];
		if (route->dialect != DIALECT_EKM || !ekm_matches(route->path, path, r->item))
			continue;
		if (route->method == method)
			r->route = route;
		else
			r->allowed |= 1U << route->method;
	}
}

bool route_is_proof(const struct route *route)
{
	return route != NULL && (route->answer == ANSWER_INCLUSION || route->answer == ANSWER_CONSISTENCY || route->answer == ANSWER_BUNDLE ||
	                         route->answer == ANSWER_TILE);
}

enum runs route_runs_in_log(const struct route *route) { return (enum runs)(route->runs & ~(ON_LOCKED | ON_LOCKED_HOST)); }
bool route_runs_locked(const struct route *route, bool is_host) { return (route->runs & (is_host ? ON_LOCKED | ON_LOCKED_HOST : ON_LOCKED)) != 0; }

bool route_runs(const struct route *route, enum log_state state)
{
	enum runs runs = route_runs_in_log(route);

	switch (state) {
	case LOG_GOOD: return true;
	case LOG_LATE: return runs == RUNS_ALWAYS || runs == RUNS_LATE;
	case LOG_ROLLED_BACK:
	case LOG_DAMAGED: break;
	}
	return runs == RUNS_ALWAYS || runs == RUNS_TO_FOUND;
}

bool route_is_create(const struct route *route)
{
	return route != NULL && (route->event == EVENT_KEY_CREATE || route->event == EVENT_KEY_IMPORT || route->event == EVENT_KEY_ROTATE ||
	                         route->event == EVENT_KEY_RESTORE);
}

/* The version segment is a wildcard, so `/keys/k/versions` must be tried as a literal first: the table's order decides. */
void router_match(struct request *r, enum http_method method, const char *path)
{
	struct segments s;

	r->route = NULL;
	r->allowed = 0;
	r->is_public_path = false;
	if (r->dialect == DIALECT_EKM) {
		match_ekm(r, method, path);
		return;
	}
	split_path(path, &s);
	if (s.is_bad)
		return;
	for (size_t i = 0; i < API_ROUTE_COUNT; i++) {
		const struct route *route = &API_ROUTES[i];
		if (!serves(route, r->dialect) || !pattern_matches(route->path, &s))
			continue;
		if (route->method == method) {
			r->route = route;
			take_params(r, route->path, &s);
			return;
		}
		r->allowed |= 1U << route->method;
		r->is_public_path |= route->permission == PERM_PUBLIC;
	}
}

bool router_query(struct request *r, const char *raw)
{
	char *out = r->query_text;
	size_t room = sizeof(r->query_text);

	r->query_count = 0;
	while (*raw != '\0') {
		size_t len = strcspn(raw, "&");
		size_t name_len = strcspn(raw, "=&");
		const char *value = name_len < len ? raw + name_len + 1 : raw + len;
		struct query_param *p = &r->query[r->query_count];
		if (len > 0) {
			if (r->query_count == QUERY_MAX || !percent_decode(raw, name_len, true, out, room))
				return false;
			p->name = out;
			room -= strlen(out) + 1;
			out += strlen(out) + 1;
			if (!percent_decode(value, (size_t)(raw + len - value), true, out, room))
				return false;
			p->value = out;
			room -= strlen(out) + 1;
			out += strlen(out) + 1;
			r->query_count++;
		}
		raw += len;
		if (*raw == '&')
			raw++;
	}
	return true;
}

const char *query_get(const struct request *r, const char *name)
{
	for (size_t i = 0; i < r->query_count; i++)
		if (strcasecmp(r->query[i].name, name) == 0)
			return r->query[i].value;
	return NULL;
}

/* keyvault-keys.md section 1: from 7.0 to the newest stable, previews up to there included. */
static const char *const API_VERSIONS[] = {
	"7.0", "7.1", "7.2-preview", "7.2", "7.3-preview", "7.3", "7.4-preview.1", "7.4", "7.5-preview.1", "7.5", "7.6-preview.1",
	"7.6-preview.2", "7.6",
	"2025-06-01-preview", "2025-07-01", "2026-01-01-preview", "2026-03-01-preview", "2026-04-01",
};

const char *api_version_at(unsigned i) { return i < KMS_ARRAY_LEN(API_VERSIONS) ? API_VERSIONS[i] : NULL; }

/* Its place in the table; past the end when it is not there. */
static size_t version_rank(const char *version)
{
	size_t i = 0;

	while (i < KMS_ARRAY_LEN(API_VERSIONS) && strcasecmp(version, API_VERSIONS[i]) != 0)
		i++;
	return i;
}

kms_status router_api_version(struct request *r, struct kms_err *err)
{
	const char *version = query_get(r, "api-version");

	if (version == NULL || *version == '\0')
		return kms_refuse(err, KMS_E_INVALID, "The query parameter api-version is required.");
	if (r->dialect == DIALECT_EKM) {
		if (strcmp(version, EKM_API_VERSION) == 0)
			return KMS_OK;
		return kms_refuse(err, KMS_E_INVALID, "The api-version '%.32s' is not supported; use " EKM_API_VERSION ".", version);
	}
	r->api_version = version_rank(version);
	if (r->api_version < KMS_ARRAY_LEN(API_VERSIONS))
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "The api-version '%.32s' is not supported; use 7.0 to 7.6, 2025-07-01 or 2026-04-01.", version);
}

bool api_version_since(const struct request *r, const char *version) { return r->api_version >= version_rank(version); }

const char *http_method_name(enum http_method method)
{
	static const char *const NAMES[] = { [HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD", [HTTP_POST] = "POST", [HTTP_PUT] = "PUT",
		                             [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS" };
	return method < KMS_ARRAY_LEN(NAMES) ? NAMES[method] : "OTHER";
}
