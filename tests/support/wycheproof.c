/* tests/support/wycheproof.c - see wycheproof.h. */
#include "tests/support/wycheproof.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/base/encode.h"

#define VECTORS "../shared/vectors/wycheproof/"

const char *wy_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL ? text : "";
}

size_t wy_hex(const json_t *object, const char *name, uint8_t *ret_bytes, size_t cap)
{
	const char *text = wy_text(object, name);
	size_t len = strlen(text) / 2;

	assert(len <= cap);
	assert(hex_decode(text, strlen(text), ret_bytes, len));
	return len;
}

static void run_case(wy_fn fn, void *arg, const char *file, const struct wy_case *c, struct wy_counts *counts, const char **reason)
{
	switch (fn(arg, c, reason)) {
	case WY_PASS:
		counts->passed++;
		break;
	case WY_SKIP:
		counts->skipped++;
		break;
	case WY_FAIL:
		counts->failed++;
		(void)printf("%s: case %d failed (%s, expected %s)\n", file, c->id, wy_text(c->test, "comment"), wy_text(c->test, "result"));
		break;
	}
}

bool wy_run(const char *file, const char *what, wy_fn fn, void *arg, struct wy_counts *ret_counts)
{
	struct wy_counts counts = { 0 };
	const char *reason = NULL;
	json_error_t error;
	const json_t *group, *test;
	size_t g, t;
	char path[256];
	json_t *root;

	(void)snprintf(path, sizeof(path), VECTORS "%s.json", file);
	if (access(path, R_OK) != 0) {
		(void)printf("skipped: %s is not there\n", path);
		return false;
	}
	root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (root == NULL)
		(void)printf("%s:%d: %s\n", path, error.line, error.text);
	json_array_foreach(json_object_get(root, "testGroups"), g, group) {
		json_array_foreach(json_object_get(group, "tests"), t, test) {
			const char *result = wy_text(test, "result");
			struct wy_case c = { .group = group, .test = test, .is_new_group = t == 0 };

			c.id = (int)json_integer_value(json_object_get(test, "tcId"));
			c.is_valid = strcmp(result, "valid") == 0;
			c.is_acceptable = strcmp(result, "acceptable") == 0;
			run_case(fn, arg, file, &c, &counts, &reason);
		}
	}
	if (counts.passed == 0)
		counts.failed++; /* a runner that ran nothing has failed */
	(void)printf("%s %s: %u passed, %u failed, %u skipped%s%s%s\n", file, what, counts.passed, counts.failed, counts.skipped,
	             reason != NULL ? " (" : "", reason != NULL ? reason : "", reason != NULL ? ")" : "");
	json_decref(root);
	*ret_counts = counts;
	return true;
}
