/* server/cli/client.c - libcurl behind a few verbs. Buffers that may hold a fresh client secret are erased. */
#include "server/cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)16 << 20) /* 1,000 leaves of 8 KiB, twice */
#define ANSWER_FIRST 4096
#define TOKEN_MAX 16384
#define SECURE_HEAP_BYTES ((size_t)64 << 10)
#define CONNECT_S 10L
#define ANSWER_S 300L /* a shred waits for the device to search thousands of objects */
#define PATH_MAX_LEN 2048
#define HTTP_OK_FIRST 200
#define HTTP_REFUSED_FIRST 400
#define HTTP_FAILED_FIRST 500

struct answer {
	char *text; /* NUL-terminated */
	size_t len, cap;
};

struct client {
	const struct client_config *cfg; /* borrowed; outlives the client */
	CURL *curl;
	struct secret *token;
	bool is_quiet; /* failures of the connection are not told */
};

void cli_say(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	(void)fputs("holdfast: ", stderr);
	(void)vfprintf(stderr, fmt, args);
	(void)fputc('\n', stderr);
	va_end(args);
}

/* How many bytes of UTF-8 at `s` could steer a terminal, or show text in another order than it stands; 0 = none. */
static size_t steering(const unsigned char *s)
{
	if (s[0] < 0x20 || s[0] == 0x7F) /* C0, DEL */
		return 1;
	if (s[0] == 0xC2 && s[1] >= 0x80 && s[1] <= 0x9F) /* C1: U+0080 to U+009F */
		return 2;
	if (s[0] == 0xE2 && s[1] == 0x80 && ((s[2] >= 0x8B && s[2] <= 0x8F) || (s[2] >= 0xA8 && s[2] <= 0xAE)))
		return 3; /* of no width, line separators, directions: U+200B to U+200F, U+2028 to U+202E */
	if (s[0] == 0xE2 && s[1] == 0x81 && s[2] >= 0xA0 && s[2] <= 0xAF) /* U+2060 to U+206F: isolates, invisible operators */
		return 3;
	return s[0] == 0xEF && s[1] == 0xBB && s[2] == 0xBF ? 3 : 0;
}

const char *cli_clean(const char *text, char *ret_text, size_t cap)
{
	size_t n = 0;
	while (*text != '\0' && n + 1 < cap) {
		size_t bad = steering((const unsigned char *)text);
		if (text[0] == '\r' && text[1] == '\n' && n + 2 < cap) { /* Azure's messages are of several lines; one is enough here */
			ret_text[n++] = ';';
			ret_text[n++] = ' ';
			text += 2;
			continue;
		}
		ret_text[n++] = bad > 0 ? '?' : *text;
		text += bad > 0 ? bad : 1;
	}
	ret_text[n] = '\0';
	return ret_text;
}

static void *json_alloc(size_t n) { return malloc(n); }

static void json_erase(void *p)
{
	if (p != NULL)
		OPENSSL_cleanse(p, malloc_usable_size(p));
	free(p);
}

static void answer_clear(struct answer *a)
{
	if (a->text != NULL)
		OPENSSL_cleanse(a->text, a->cap);
	free(a->text);
	*a = (struct answer){ 0 };
}

static size_t collect(char *bytes, size_t size, size_t count, void *arg)
{
	struct answer *a = arg;
	size_t more = size * count;
	if (more > ANSWER_MAX - a->len)
		return 0;
	if (a->len + more + 1 > a->cap) {
		struct answer grown = { .len = a->len, .cap = a->cap == 0 ? ANSWER_FIRST : a->cap };
		while (grown.cap < a->len + more + 1)
			grown.cap *= 2;
		/* Not realloc(), which may leave the old bytes behind. */
		grown.text = malloc(grown.cap);
		if (grown.text == NULL)
			return 0;
		if (a->len > 0)
			memcpy(grown.text, a->text, a->len);
		answer_clear(a);
		*a = grown;
	}
	memcpy(a->text + a->len, bytes, more);
	a->len += more;
	a->text[a->len] = '\0';
	return more;
}

static enum cli_exit read_token(struct client *c)
{
	const char *file = c->cfg->token_file;
	ERASE_AUTO(char, text, TOKEN_MAX + 1);
	struct stat st;
	ssize_t got = 0;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		cli_say("%s: %s", file, strerror(errno));
		return CLI_USAGE;
	}
	if (fstat(fd, &st) != 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		cli_say("%s: the token file must be closed to group and others (chmod 600)", file);
		(void)close(fd);
		return CLI_USAGE;
	}
	got = read(fd, text, TOKEN_MAX + 1);
	(void)close(fd);
	while (got > 0 && (text[got - 1] == '\n' || text[got - 1] == '\r'))
		text[--got] = '\0';
	if (got <= 0 || got > TOKEN_MAX || strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=") != (size_t)got) {
		cli_say("%s: not one line with a bearer token", file);
		return CLI_USAGE;
	}
	c->token = secret_from(text, (size_t)got + 1);
	return c->token != NULL ? CLI_OK : CLI_FAILED;
}

static enum cli_exit check_endpoint(const struct client_config *cfg)
{
	if (cfg->socket != NULL)
		return CLI_OK;
	if (cfg->url == NULL) {
		cli_say("where is the server? give --socket PATH, set HOLDFAST_ADMIN_SOCKET, or give --url URL --token-file FILE");
		return CLI_USAGE;
	}
	if (strncmp(cfg->url, "https://", strlen("https://")) != 0 || cfg->url[strlen("https://")] == '\0') {
		cli_say("--url must be https://HOST[:PORT]");
		return CLI_USAGE;
	}
	if (cfg->token_file == NULL) {
		cli_say(cfg->is_login ? "--token-file FILE: name the file that the token is to be written to"
		                      : "--url needs --token-file FILE; `holdfast login` writes one");
		return CLI_USAGE;
	}
	return CLI_OK;
}

enum cli_exit client_open(const struct client_config *cfg, struct client **ret_client)
{
	struct kms_err err = { 0 };
	struct client *c = NULL;
	enum cli_exit result = check_endpoint(cfg);

	if (result != CLI_OK)
		return result;
	json_set_alloc_funcs(json_alloc, json_erase);
	if (secret_heap_init(SECURE_HEAP_BYTES, &err) != KMS_OK || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		cli_say("cannot start: %s", err.detail[0] != '\0' ? err.detail : "libcurl");
		return CLI_FAILED;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return CLI_FAILED;
	c->cfg = cfg;
	c->curl = curl_easy_init();
	result = c->curl == NULL ? CLI_FAILED : cfg->socket == NULL && !cfg->is_login ? read_token(c) : CLI_OK;
	if (result != CLI_OK) {
		client_close(c);
		return result;
	}
	*ret_client = c;
	return CLI_OK;
}

void client_close(struct client *c)
{
	if (c == NULL)
		return;
	curl_easy_cleanup(c->curl);
	curl_global_cleanup();
	secret_free(c->token);
	free(c);
}

static bool url_add(char url[PATH_MAX_LEN], const char *text)
{
	size_t used = strlen(url), len = strlen(text);
	if (used + len >= PATH_MAX_LEN)
		return false;
	memcpy(url + used, text, len + 1);
	return true;
}

void client_set_quiet(struct client *c, bool is_quiet) { c->is_quiet = is_quiet; }

char *client_vpath(struct client *c, const char *fmt, va_list args)
{
	char path[PATH_MAX_LEN] = "";
	bool fits = true;

	for (; *fmt != '\0' && fits; fmt++) {
		char one[32] = { *fmt };
		if (strncmp(fmt, "%s", 2) == 0) {
			char *escaped = curl_easy_escape(c->curl, va_arg(args, const char *), 0);
			fits = escaped != NULL && url_add(path, escaped);
			curl_free(escaped);
			fmt += 1;
			continue;
		}
		if (strncmp(fmt, "%lld", 4) == 0) {
			(void)snprintf(one, sizeof(one), "%lld", va_arg(args, long long));
			fmt += 3;
		}
		fits = url_add(path, one);
	}
	return fits ? strdup(path) : NULL;
}

char *client_path(struct client *c, const char *fmt, ...)
{
	char *path = NULL;
	va_list args;

	va_start(args, fmt);
	path = client_vpath(c, fmt, args);
	va_end(args);
	return path;
}

bool client_form_add(struct client *c, char *form, size_t cap, const char *name, const char *value)
{
	size_t used = strlen(form);
	char *escaped = curl_easy_escape(c->curl, value, 0);
	int len = escaped != NULL ? snprintf(form + used, cap - used, "%s%s=%s", used > 0 ? "&" : "", name, escaped) : -1;

	if (escaped != NULL)
		OPENSSL_cleanse(escaped, strlen(escaped));
	curl_free(escaped);
	return len > 0 && (size_t)len < cap - used;
}

/* curl_easy_setopt() fails only without memory or for options that this libcurl was built without; both must stop us. */
#define SET(option, value) (ok = ok && curl_easy_setopt(c->curl, (option), (value)) == CURLE_OK)

static bool set_up(struct client *c, const char *method, const char *url, const char *body, struct curl_slist *headers,
                   struct answer *answer, char *why)
{
	bool ok = true;
	curl_easy_reset(c->curl);
	SET(CURLOPT_URL, url);
	SET(CURLOPT_ERRORBUFFER, why);
	SET(CURLOPT_CUSTOMREQUEST, method);
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_USERAGENT, "holdfast");
	SET(CURLOPT_WRITEFUNCTION, collect);
	SET(CURLOPT_WRITEDATA, answer);
	SET(CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	SET(CURLOPT_TIMEOUT, ANSWER_S);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NOPROXY, "*"); /* a proxy of the environment has no business with a management token */
	SET(CURLOPT_NOSIGNAL, 1L);
	if (body != NULL)
		SET(CURLOPT_POSTFIELDS, body);
	if (c->cfg->socket != NULL) {
		SET(CURLOPT_PROTOCOLS_STR, "http");
		SET(CURLOPT_UNIX_SOCKET_PATH, c->cfg->socket);
		return ok;
	}
	SET(CURLOPT_PROTOCOLS_STR, "https");
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (c->token != NULL) {
		SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
		SET(CURLOPT_XOAUTH2_BEARER, (const char *)secret_data(c->token));
	}
	if (c->cfg->ca != NULL)
		SET(CURLOPT_CAINFO, c->cfg->ca);
	return ok;
}

static const char *member_text(const json_t *object, const char *name, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : otherwise;
}

/* What is needed now, and from whom: the exact commands. */
static enum cli_exit explain_approval(const struct client *c, const char *id, const char *vault)
{
	char clean_id[80] = "", clean_vault[80] = "";

	if (!c->cfg->as_json) {
		(void)cli_clean(id, clean_id, sizeof(clean_id));
		(void)cli_clean(vault[0] != '\0' ? vault : CLI_INSTALLATION, clean_vault, sizeof(clean_vault));
		cli_say("approval needed: %s", clean_id);
		cli_say("to look at it:   holdfast approval show %s %s", clean_vault, clean_id);
		cli_say("an approver:     holdfast --url %s --token-file FILE approval approve %s %s", c->cfg->url != NULL ? c->cfg->url : "URL",
		        clean_vault, clean_id);
		cli_say("then repeat this command");
	}
	return CLI_APPROVAL;
}

static enum cli_exit explain(const struct client *c, long http, const struct answer *answer)
{
	JSON_AUTO *root = json_loadb(answer->text != NULL ? answer->text : "", answer->len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *error = json_object_get(root, "error");
	const json_t *details = json_object_get(error, "innererror");
	const char *inner = member_text(details, "code", NULL), *approval = member_text(details, "approval", NULL);
	char code[80] = "", inner_clean[80] = "", message[512] = "";

	if (error != NULL && c->cfg->as_json) {
		(void)json_dumpf(root, stderr, JSON_COMPACT);
		(void)fputc('\n', stderr);
	} else {
		/* The token endpoint's answers have the shape of RFC 6749 section 5.2. */
		bool is_oauth = json_is_string(error);
		cli_say("%s: %s%s%s (HTTP %ld)", cli_clean(is_oauth ? json_string_value(error) : member_text(error, "code", "no explanation"), code,
		                                           sizeof(code)),
		        inner != NULL ? cli_clean(inner, inner_clean, sizeof(inner_clean)) : "", inner != NULL ? ": " : "",
		        cli_clean(is_oauth ? member_text(root, "error_description", "") :
		                             member_text(error, "message", "is this the management API of Holdfast?"), message, sizeof(message)), http);
	}
	if (approval != NULL)
		return explain_approval(c, approval, member_text(details, "vault", ""));
	return http >= HTTP_REFUSED_FIRST && http < HTTP_FAILED_FIRST ? CLI_REFUSED : CLI_FAILED;
}

static void say_unreachable(const struct client *c, CURLcode result, const char *why)
{
	const char *reason = why[0] != '\0' ? why : curl_easy_strerror(result);
	long native = 0;

	(void)curl_easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &native); /* fails only for an unknown name */
	if (c->cfg->socket != NULL)
		cli_say("%s: %s; is holdfastd running, and may you reach it?", c->cfg->socket,
		        result == CURLE_COULDNT_CONNECT && native != 0 ? strerror((int)native) : reason);
	else if (result == CURLE_PEER_FAILED_VERIFICATION && c->cfg->ca == NULL)
		cli_say("%s: %s; --ca FILE names the CA of the server's certificate", c->cfg->url, reason);
	else
		cli_say("%s: %s; is holdfastd running, and may you reach it?", c->cfg->url, reason);
}

static enum cli_exit perform(struct client *c, const char *method, const char *path, const char *type, const char *body, struct answer *ret_answer)
{
	char url[2 * PATH_MAX_LEN] = "", why[CURL_ERROR_SIZE] = "";
	const char *base = c->cfg->socket != NULL ? "http://localhost" : c->cfg->url;
	size_t base_len = strlen(base);
	struct curl_slist *headers = NULL;
	CURLcode result = CURLE_OUT_OF_MEMORY;
	long http = 0;

	while (base_len > 0 && base[base_len - 1] == '/')
		base_len--;
	if (snprintf(url, sizeof(url), "%.*s%s", (int)base_len, base, path) >= (int)sizeof(url)) {
		cli_say("the URL is too long");
		return CLI_USAGE;
	}
	headers = curl_slist_append(NULL, "Accept: application/json, application/x-ndjson, text/plain");
	if (headers != NULL && body != NULL) {
		struct curl_slist *longer = curl_slist_append(headers, type);
		if (longer == NULL) {
			curl_slist_free_all(headers);
			headers = NULL;
		}
	}
	if (headers != NULL && set_up(c, method, url, body, headers, ret_answer, why))
		result = curl_easy_perform(c->curl);
	curl_slist_free_all(headers);
	if (result != CURLE_OK) {
		if (!c->is_quiet)
			say_unreachable(c, result, why);
		return CLI_FAILED;
	}
	(void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &http); /* fails only for an unknown name */
	return http >= HTTP_OK_FIRST && http < HTTP_OK_FIRST + 100 ? CLI_OK : explain(c, http, ret_answer);
}

static enum cli_exit ask(struct client *c, const char *method, const char *path, const char *type, const char *body, json_t **ret)
{
	__attribute__((cleanup(answer_clear))) struct answer answer = { 0 };
	json_error_t error = { 0 };
	enum cli_exit result = perform(c, method, path, type, body, &answer);

	if (result != CLI_OK)
		return result;
	*ret = answer.len == 0 ? json_object() : json_loadb(answer.text, answer.len, JSON_REJECT_DUPLICATES, &error);
	if (*ret == NULL) {
		cli_say("the answer is not JSON: %s", error.text);
		return CLI_FAILED;
	}
	return CLI_OK;
}

enum cli_exit client_json(struct client *c, const char *method, const char *path, const json_t *body, json_t **ret)
{
	enum cli_exit result = CLI_FAILED;
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;

	if (path == NULL || (body != NULL && text == NULL)) {
		free(text);
		cli_say("not enough memory, or a name that is too long");
		return CLI_FAILED;
	}
	result = ask(c, method, path, "Content-Type: application/json", text, ret);
	json_erase(text);
	return result;
}

enum cli_exit client_form(struct client *c, const char *path, const struct secret *form, json_t **ret)
{
	return ask(c, "POST", path, "Content-Type: application/x-www-form-urlencoded", (const char *)secret_data(form), ret);
}

/* Checkpoints and proofs are printed byte for byte: what they are made of needs nothing that could steer a terminal. */
static bool is_plain(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] != '\n' && steering((const unsigned char *)text + i) > 0)
			return false;
	return true;
}

enum cli_exit client_text(struct client *c, const char *path, char **ret_text, size_t *ret_len)
{
	__attribute__((cleanup(answer_clear))) struct answer answer = { 0 };
	enum cli_exit result = CLI_FAILED;

	if (path == NULL) {
		cli_say("not enough memory");
		return CLI_FAILED;
	}
	result = perform(c, "GET", path, NULL, NULL, &answer);
	if (result != CLI_OK)
		return result;
	if (answer.len == 0 || !is_plain(answer.text, answer.len)) {
		cli_say("the answer is not text, or could steer a terminal");
		return CLI_FAILED;
	}
	*ret_len = answer.len;
	*ret_text = KMS_TAKE(answer.text);
	return CLI_OK;
}

enum cli_exit client_lines(struct client *c, const char *path, client_line_fn each, void *arg, long long *ret_count)
{
	__attribute__((cleanup(answer_clear))) struct answer answer = { 0 };
	enum cli_exit result = CLI_FAILED;
	long long count = 0;

	if (path == NULL) {
		cli_say("not enough memory");
		return CLI_FAILED;
	}
	result = perform(c, "GET", path, NULL, NULL, &answer);
	if (result != CLI_OK)
		return result;
	for (const char *at = answer.text; at != NULL && *at != '\0'; count++) {
		size_t len = strcspn(at, "\n");
		if (!each(arg, at, len)) {
			cli_say("line %lld of the answer cannot be used", count + 1);
			return CLI_FAILED;
		}
		at += len + (at[len] == '\n');
	}
	*ret_count = count;
	return CLI_OK;
}
