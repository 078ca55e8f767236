/* server/cli/cosmos_classify.c - which class an account is of, by its tags: TAG=VALUE[,VALUE...]:CLASS. Names and values of tags are compared without case. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/base/err.h"
#include "server/cli/cosmos.h"

#define CLASS_MAX 32
#define VALUES_MAX 64

struct rule {
	char *text; /* owned; the others point into it */
	const char *tag, *class;
	const char *values[VALUES_MAX];
	size_t count;
};

struct cosmos_rules {
	size_t count;
	struct rule rules[LIST_MAX];
};

/* Documented in docs/reports.md. What is not listed is unclassified, and shown: nothing is taken for harmless that nobody called so. */
static const char *const TAGS[] = { "dataClassification", "data-classification", "data_classification", "classification" };
static const struct {
	const char *value, *class;
} CLASSES[] = { { "confidential", "confidential" }, { "restricted", "restricted" }, { "secret", "secret" }, { "pii", "pii" }, { "public", COSMOS_EXEMPT } };
#define BUILT_IN (KMS_ARRAY_LEN(TAGS) * KMS_ARRAY_LEN(CLASSES))
_Static_assert(BUILT_IN <= LIST_MAX, "the built-in rules fit");

void cosmos_rules_free(struct cosmos_rules *rules)
{
	for (size_t i = 0; rules != NULL && i < rules->count; i++)
		free(rules->rules[i].text);
	free(rules);
}

static bool is_class(const char *text)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");
	return len > 0 && len <= CLASS_MAX && text[len] == '\0';
}

/* Cuts r->text up. */
static bool parse_rule(struct rule *r)
{
	char *equals = strchr(r->text, '='), *colon = strrchr(r->text, ':'), *at = NULL;

	if (equals == NULL || colon == NULL || colon < equals || equals == r->text || !is_class(colon + 1))
		return false;
	*equals = *colon = '\0';
	r->tag = r->text;
	r->class = colon + 1;
	at = equals + 1;
	do {
		char *comma = strchr(at, ',');
		if (comma != NULL)
			*comma = '\0';
		if (*at == '\0' || r->count == VALUES_MAX)
			return false;
		r->values[r->count++] = at;
		at = comma != NULL ? comma + 1 : NULL;
	} while (at != NULL);
	return true;
}

static enum cli_exit add_rule(struct cosmos_rules *rules, const char *text)
{
	struct rule *r = &rules->rules[rules->count];

	r->text = strdup(text);
	if (r->text == NULL)
		return cli_no_memory();
	rules->count++;
	if (parse_rule(r))
		return CLI_OK;
	cli_say("--classify %s: expected TAG=VALUE[,VALUE...]:CLASS, with a class of a-z, 0-9 and -, at most %d characters; the class %s needs no key", text, CLASS_MAX,
	        COSMOS_EXEMPT);
	return CLI_USAGE;
}

static enum cli_exit add_built_in(struct cosmos_rules *rules)
{
	enum cli_exit code = CLI_OK;

	for (size_t i = 0; i < BUILT_IN && code == CLI_OK; i++) {
		size_t k = i % KMS_ARRAY_LEN(CLASSES);
		char text[128];
		(void)snprintf(text, sizeof(text), "%s=%s:%s", TAGS[i / KMS_ARRAY_LEN(CLASSES)], CLASSES[k].value, CLASSES[k].class);
		code = add_rule(rules, text);
	}
	return code;
}

enum cli_exit cosmos_rules_read(const struct call *call, struct cosmos_rules **ret)
{
	struct cosmos_rules *rules = calloc(1, sizeof(*rules));
	enum cli_exit code = CLI_OK;

	if (rules == NULL)
		return cli_no_memory();
	if (call->list_count == 0)
		code = add_built_in(rules);
	for (size_t i = 0; i < call->list_count && code == CLI_OK; i++)
		code = add_rule(rules, call->list[i]);
	if (code == CLI_OK)
		*ret = rules;
	else
		cosmos_rules_free(rules);
	return code;
}

static bool fits(const struct rule *r, const char *name, const char *value)
{
	if (strcasecmp(r->tag, name) != 0)
		return false;
	for (size_t i = 0; i < r->count; i++)
		if (strcasecmp(r->values[i], value) == 0)
			return true;
	return false;
}

const char *cosmos_classify(const struct cosmos_rules *rules, const json_t *tags)
{
	const char *exempt = NULL;

	for (size_t i = 0; i < rules->count; i++) {
		const struct rule *r = &rules->rules[i];
		for (void *it = json_object_iter((json_t *)(uintptr_t)tags); it != NULL; it = json_object_iter_next((json_t *)(uintptr_t)tags, it)) {
			if (!fits(r, json_object_iter_key(it), json_string_value(json_object_iter_value(it))))
				continue;
			if (strcmp(r->class, COSMOS_EXEMPT) != 0)
				return r->class;
			exempt = r->class;
		}
	}
	return exempt;
}
