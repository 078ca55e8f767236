/* tests/unit/api_docs.c - the tables of docs/key-vault.md, docs/admin-api.md and docs/access.md say what the server's own tables say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"

#define PAGE "docs/key-vault.md" /* tests run at the root of the tree */
#define ADMIN_PAGE "docs/admin-api.md"
#define ACCESS_PAGE "docs/access.md"
#define VAULT_PATH "/admin/v1/vaults/{vault}"
#define COLUMNS_MAX 6
#define LINE_MAX 512
#define ROWS_MAX 128

struct row {
	char line[LINE_MAX];
	char *cell[COLUMNS_MAX]; /* in line; without the blanks and back quotes around them */
	size_t count;
};

struct table {
	struct row rows[ROWS_MAX];
	size_t count;
};

static char *trim(char *text)
{
	size_t len = 0;

	text += strspn(text, " `");
	len = strlen(text);
	while (len > 0 && strchr(" `\n", text[len - 1]) != NULL)
		text[--len] = '\0';
	return text;
}

static void split(struct row *r)
{
	char *p = r->line + 1, *end = NULL;

	for (r->count = 0; r->count < COLUMNS_MAX && (end = strchr(p, '|')) != NULL; p = end + 1) {
		*end = '\0';
		r->cell[r->count++] = trim(p);
	}
}

/* The rows of the table below a heading of a page. */
static struct table *read_page(const char *page, const char *heading)
{
	static struct table t;
	FILE *f = fopen(page, "r");
	char line[LINE_MAX];
	bool is_here = false, is_body = false;

	assert_non_null(f);
	memset(&t, 0, sizeof(t));
	while (fgets(line, sizeof(line), f) != NULL) {
		if (line[0] == '#') {
			is_here = strcmp(trim(line + strspn(line, "#")), heading) == 0;
			is_body = false;
		} else if (is_here && line[0] == '|' && line[1] == '-') {
			is_body = true;
		} else if (is_body && line[0] == '|') {
			assert_true(t.count < ROWS_MAX);
			memcpy(t.rows[t.count].line, line, sizeof(line));
			split(&t.rows[t.count++]);
		}
	}
	(void)fclose(f);
	assert_true(t.count > 1);
	return &t;
}

static struct table *read_table(const char *heading) { return read_page(PAGE, heading); }

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* Is it in the list "a, b, c"? */
static bool lists(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; (p = strstr(p, name)) != NULL; p += len)
		if ((p == list || p[-1] == ' ') && (p[len] == '\0' || p[len] == ','))
			return true;
	return false;
}

/* ---- operations ---- */

static const struct route *route_of(const char *method, const char *path)
{
	for (size_t i = 0; i < API_ROUTE_COUNT; i++)
		if (API_ROUTES[i].dialect == DIALECT_VAULT && strcmp(API_ROUTES[i].path, path) == 0 &&
		    strcmp(http_method_name(API_ROUTES[i].method), method) == 0)
			return &API_ROUTES[i];
	return NULL;
}

/* "POST /keys/{key}[/{version}]/sign" is two routes. @return how many the row names */
static size_t forms_of(const char *cell, char ret[2][LINE_MAX])
{
	const char *open = strchr(cell, '['), *close = open != NULL ? strchr(open, ']') : NULL;

	(void)snprintf(ret[0], LINE_MAX, "%s", cell);
	if (close == NULL)
		return 1;
	(void)snprintf(ret[0], LINE_MAX, "%.*s%s", (int)(open - cell), cell, close + 1);
	(void)snprintf(ret[1], LINE_MAX, "%.*s%.*s%s", (int)(open - cell), cell, (int)(close - open - 1), open + 1, close + 1);
	return 2;
}

static void the_operations_are_the_routes(void **state)
{
	const struct table *t = read_table("Operations");
	size_t found = 0, vault_routes = 0;

	(void)state;
	for (size_t i = 0; i < t->count; i++) {
		char forms[2][LINE_MAX];
		const char *given = t->rows[i].cell[2];
		size_t n = forms_of(t->rows[i].cell[1], forms);
		for (size_t k = 0; k < n; k++) {
			char *path = strchr(forms[k], ' ');
			const struct route *r = NULL;
			assert_non_null(path);
			*path++ = '\0';
			r = route_of(forms[k], path);
			found += r != NULL;
			if (strcmp(given, r == NULL ? "not applicable" : r->answer == ANSWER_REFUSED ? "refused" : "supported") != 0)
				fail_msg("%s %s: the page says %s", forms[k], path, given);
		}
	}
	for (size_t i = 0; i < API_ROUTE_COUNT; i++)
		vault_routes += API_ROUTES[i].dialect == DIALECT_VAULT;
	assert_int_equal(found, vault_routes);
}

/* ---- management ---- */

static bool is_management(const struct route *r) { return begins(r->path, "/admin/") || begins(r->path, "/audit/"); }

static const struct route *management_route(const char *method, const char *path)
{
	for (size_t i = 0; i < API_ROUTE_COUNT; i++)
		if (is_management(&API_ROUTES[i]) && strcmp(API_ROUTES[i].path, path) == 0 && strcmp(http_method_name(API_ROUTES[i].method), method) == 0)
			return &API_ROUTES[i];
	return NULL;
}

#define ANYBODY "every authenticated caller"

/* @param action  the column of the data action */
static size_t compare_management(const char *heading, size_t action)
{
	const struct table *t = read_page(ADMIN_PAGE, heading);

	for (size_t i = 0; i < t->count; i++) {
		const char *method = t->rows[i].cell[0], *path = t->rows[i].cell[1];
		const struct route *r = management_route(method, path);
		if (r == NULL)
			fail_msg("%s %s is no route", method, path);
		const char *needs = r->permission == PERM_CALLER ? ANYBODY : permission_action(r->permission);
		if (t->rows[i].count <= action || strcmp(t->rows[i].cell[action], needs) != 0)
			fail_msg("%s %s needs %s", method, path, needs);
	}
	return t->count;
}

static void the_routes_of_management_are_all_there(void **state)
{
	size_t described = 0, routes = 0;

	(void)state;
	described = compare_management("Routes", 4) + compare_management("Routes of the installation", 2);
	for (size_t i = 0; i < API_ROUTE_COUNT; i++)
		routes += is_management(&API_ROUTES[i]);
	assert_int_equal(described, routes);
}

/* "the same path below a vault" */
static void the_installations_routes_are_those_of_a_vault(void **state)
{
	const struct table *t = read_page(ADMIN_PAGE, "Routes of the installation");

	(void)state;
	for (size_t i = 0; i < t->count; i++) {
		char path[LINE_MAX];
		(void)snprintf(path, sizeof(path), VAULT_PATH "%s", t->rows[i].cell[1] + strlen("/admin/v1"));
		assert_non_null(management_route(t->rows[i].cell[0], path));
	}
}

static void the_roles_are_those_of_the_policy(void **state)
{
	const struct table *t = read_page(ACCESS_PAGE, "Roles");

	(void)state;
	assert_int_equal(t->count, ROLE_COUNT - 1);
	for (size_t i = 0; i < t->count; i++) {
		const struct role_info *info = role_info(role_parse(t->rows[i].cell[0]));
		if (info == NULL)
			fail_msg("%s is no role", t->rows[i].cell[0]);
		assert_string_equal(t->rows[i].cell[0], info->slug);
		assert_string_equal(t->rows[i].cell[1], info->name);
		assert_string_equal(t->rows[i].cell[2], info->guid);
	}
}

/* Which roles hold a data action, at a vault and at the installation. */
static void the_data_actions_are_those_of_the_policy(void **state)
{
	const struct table *t = read_page(ACCESS_PAGE, "Data actions");
	size_t found = 0;

	(void)state;
	for (size_t i = 0; i < t->count; i++) {
		enum permission perm = permission_parse(t->rows[i].cell[0]);
		if (perm == PERM_PUBLIC)
			fail_msg("%s is no data action", t->rows[i].cell[0]);
		found++;
		for (int n = 1; n < ROLE_COUNT; n++) {
			const struct role_info *info = role_info((enum role)n);
			if (lists(t->rows[i].cell[1], info->slug) != ((info->permissions & PERM_BIT(perm)) != 0))
				fail_msg("%s at a vault: %s", t->rows[i].cell[0], info->slug);
			if (lists(t->rows[i].cell[2], info->slug) != ((info->installation_permissions & PERM_BIT(perm)) != 0))
				fail_msg("%s at the installation: %s", t->rows[i].cell[0], info->slug);
		}
	}
	assert_int_equal(found, PERM_COUNT - 1);
}

/* ---- key types ---- */

static size_t length_of(const char *list)
{
	size_t n = *list != '\0';
	for (; *list != '\0'; list++)
		n += *list == ',';
	return n;
}

/* Sizes of all variants that share the wire name. */
static size_t sizes_of(const char *name, const char *list)
{
	bool seen[UINT16_MAX / 64] = { 0 };
	size_t n = 0;

	for (int t = 1; t < KEY_TYPE_COUNT; t++) {
		const struct key_type_info *info = key_type_info((enum key_type)t);
		for (size_t i = 0; strcmp(info->name, name) == 0 && i < KMS_ARRAY_LEN(info->sizes) && info->sizes[i] != 0; i++) {
			char text[8];
			(void)snprintf(text, sizeof(text), "%u", (unsigned)info->sizes[i]);
			if (!lists(list, text))
				fail_msg("%s: %s is not on the page", name, text);
			n += !seen[info->sizes[i] / 64];
			seen[info->sizes[i] / 64] = true;
		}
	}
	return n;
}

static size_t curves_of(const char *name, const char *list)
{
	for (int c = 1; c < CURVE_COUNT; c++)
		if (!lists(list, key_curve_info((enum key_curve)c)->name))
			fail_msg("%s: %s is not on the page", name, key_curve_info((enum key_curve)c)->name);
	return CURVE_COUNT - 1;
}

static void the_key_types_are_those_that_can_be_made(void **state)
{
	const struct table *t = read_table("Key types");
	size_t known = 0;

	(void)state;
	for (size_t i = 0; i < t->count; i++) {
		const char *name = t->rows[i].cell[0], *list = t->rows[i].cell[1];
		const struct key_type_info *info = key_type_info(key_type_parse(name));
		assert_string_equal(t->rows[i].cell[2], info != NULL ? "supported" : "refused");
		if (info == NULL)
			continue;
		known++;
		assert_int_equal(length_of(list), info->family == FAMILY_EC ? curves_of(name, list) : sizes_of(name, list));
	}
	for (int k = 1; k < KEY_TYPE_COUNT; k++)
		if ((int)key_type_parse(key_type_info((enum key_type)k)->name) == k) /* not a variant of another */
			known--;
	assert_int_equal(known, 0);
}

/* ---- algorithms ---- */

static void the_algorithms_are_those_of_core(void **state)
{
	static const char *const FAMILIES[] = { [FAMILY_RSA] = "RSA", [FAMILY_EC] = "EC", [FAMILY_OCT] = "oct" };
	const struct table *t = read_table("Algorithms");
	size_t known = 0;

	(void)state;
	for (size_t i = 0; i < t->count; i++) {
		const char *const *cell = (const char *const *)t->rows[i].cell;
		const struct key_alg_info *info = key_alg_info(key_alg_parse(cell[0]));
		size_t ops = 0;
		assert_true(begins(cell[3], info != NULL ? "supported" : "refused"));
		if (info == NULL)
			continue;
		known++;
		assert_string_equal(cell[1], FAMILIES[info->family]);
		for (unsigned bit = 0; bit < KEY_OP_COUNT; bit++) {
			if ((info->ops & 1U << bit) == 0)
				continue;
			ops++;
			assert_true(lists(cell[2], key_op_name_at(bit)));
		}
		assert_int_equal(length_of(cell[2]), ops);
	}
	assert_int_equal(known, KEY_ALG_COUNT - 1);
}

/* ---- errors ---- */

static bool is_status(kms_status s, const struct row *r)
{
	const char *inner = kms_status_inner(s) != NULL ? kms_status_inner(s) : "";

	return strtol(r->cell[0], NULL, 10) == kms_status_http(s) && strcmp(r->cell[1], kms_status_code(s)) == 0 && strcmp(r->cell[2], inner) == 0;
}

static void the_errors_are_those_of_the_catalogue(void **state)
{
	const struct table *t = read_table("Errors");

	(void)state;
	for (int s = KMS_OK + 1; s < KMS_E_OAUTH_REQUEST; s++) {
		bool is_there = false;
		for (size_t i = 0; i < t->count; i++)
			is_there |= is_status((kms_status)s, &t->rows[i]);
		if (!is_there)
			fail_msg("%s is not on the page", kms_status_name((kms_status)s));
	}
	for (size_t i = 0; i < t->count; i++) {
		bool is_ours = false;
		for (int s = KMS_OK + 1; s < KMS_E_OAUTH_REQUEST; s++)
			is_ours |= is_status((kms_status)s, &t->rows[i]);
		if (strcmp(t->rows[i].cell[3], is_ours ? "supported" : "not applicable") != 0)
			fail_msg("%s %s: the page says %s", t->rows[i].cell[1], t->rows[i].cell[2], t->rows[i].cell[3]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_operations_are_the_routes),
		cmocka_unit_test(the_routes_of_management_are_all_there),
		cmocka_unit_test(the_installations_routes_are_those_of_a_vault),
		cmocka_unit_test(the_roles_are_those_of_the_policy),
		cmocka_unit_test(the_data_actions_are_those_of_the_policy),
		cmocka_unit_test(the_key_types_are_those_that_can_be_made),
		cmocka_unit_test(the_algorithms_are_those_of_core),
		cmocka_unit_test(the_errors_are_those_of_the_catalogue),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
