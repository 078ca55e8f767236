/* tests/ekm-tester/preflight.c - before the table: the few mistakes of a set-up that would fail many rows, each said once. It judges nothing,
 * and its answers are not held against the proxy. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/ekm-tester/tester.h"

#define FOLLOWS "; failures below follow from it"

static void warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void warn(const char *fmt, ...)
{
	char raw[2 * DETAIL_MAX], clean[2 * DETAIL_MAX];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	copy_clean(clean, sizeof(clean), raw); /* the proxy's words are in it */
	(void)fprintf(stderr, "holdfast-ekm-test: %s\n", clean);
}

static bool is_refusal(const struct answer *a) { return a->result == WIRE_ANSWERED && (a->http.status == 401 || a->http.status == 403); }

/* @return whether there is any sense in asking for keys */
static bool look_at_info(struct tester *t)
{
	ANSWER_AUTO a = { 0 };
	char text[DETAIL_MAX];

	ask(t, (struct call){ .path = "/info", .json = body_new(t) }, &a);
	(void)answer_text(&a, text);
	if (is_refusal(&a))
		warn("the proxy does not accept this client certificate (%s): register its root and common name first" FOLLOWS, text);
	else if (a.result == WIRE_CLOSED)
		warn("the proxy ends the connection without an answer (%s): does it accept this client certificate? Register its root and common "
		     "name first" FOLLOWS,
		     text);
	else if (a.result == WIRE_ANSWERED && a.http.status == 404)
		warn("the proxy knows nothing at this path (%s): is \"%s\" its prefix?" FOLLOWS, text, t->opt->target.prefix);
	else if (a.result != WIRE_ANSWERED || a.http.status != 200)
		warn("info is not answered with 200 (%s)" FOLLOWS, text);
	else
		return true;
	return false;
}

/* `wanted` is the type that the option stands for; NULL for the disabled key. */
static void look_at_key(struct tester *t, const char *key, const char *wanted)
{
	ANSWER_AUTO a = { 0 };
	char text[DETAIL_MAX];
	const char *type = NULL;

	if (key == NULL)
		return;
	ask(t, (struct call){ .key = key, .op = "metadata", .json = body_new(t) }, &a);
	(void)answer_text(&a, text);
	type = json_string_value(json_object_get(a.json, "key_type"));
	if (a.result == WIRE_ANSWERED && a.http.status == 404)
		warn("it does not know the key %s (%s): enable it for this pool first" FOLLOWS, key, text);
	else if (wanted != NULL && is_refusal(&a))
		warn("it refuses the key %s (%s): is it enabled?" FOLLOWS, key, text);
	else if (wanted != NULL && a.http.status == 200 && type != NULL && strcmp(type, wanted) != 0)
		warn("%s is %s key: use --%s-key" FOLLOWS, key, strcmp(type, "RSA") == 0 ? "an RSA" : "an AES", strcmp(type, "RSA") == 0 ? "rsa" : "aes");
	else if (wanted == NULL && a.http.status == 200)
		warn("the key of --disabled-key, %s, is enabled" FOLLOWS, key);
}

void preflight(struct tester *t)
{
	const struct seen before = t->seen;

	if (look_at_info(t)) {
		look_at_key(t, t->opt->aes_key, "oct");
		look_at_key(t, t->opt->rsa_key, "RSA");
		look_at_key(t, t->opt->disabled_key, NULL);
	}
	t->seen = before;
}
