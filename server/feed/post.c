/* server/feed/post.c - see post.h. What libcurl would do on its own account (proxies, redirects, other protocols, password files) is switched off here. */
#include "server/feed/post.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct poster {
	CURL *curl; /* with its connections */
};

struct transfer {
	const struct post_request *request;
	struct post_answer *answer;
	bool is_too_large;
};

void post_answer_clear(struct post_answer *a)
{
	free(a->body);
	*a = (struct post_answer){ 0 };
}

/* ---- addresses ---- */

static bool is_loopback(const char *host)
{
	return strcmp(host, "[::1]") == 0 || (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

static void free_text(char **text) { curl_free(*text); }
#define PART_AUTO __attribute__((cleanup(free_text))) char

static char *part(CURLU *u, CURLUPart what, unsigned flags)
{
	char *text = NULL;
	return curl_url_get(u, what, &text, flags) == CURLUE_OK ? text : NULL;
}

static bool has_part(CURLU *u, CURLUPart what)
{
	PART_AUTO *text = part(u, what, 0);
	return text != NULL;
}

/* "host" means the scheme's own port, "host:port" that one. */
static bool is_entry(const char *entry, const char *host, const char *port, bool is_default)
{
	size_t len = strlen(host);

	if (strncasecmp(entry, host, len) != 0)
		return false;
	return entry[len] == '\0' ? is_default : entry[len] == ':' && strcmp(entry + len + 1, port) == 0;
}

static bool host_is_listed(CURLU *u, const char *scheme, const char *host, const char *const *hosts, size_t count)
{
	PART_AUTO *port = part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	bool is_default = port != NULL && strcmp(port, strcmp(scheme, "https") == 0 ? "443" : "80") == 0;

	for (size_t i = 0; port != NULL && i < count; i++)
		if (is_entry(hosts[i], host, port, is_default))
			return true;
	return false;
}

static bool parts_are_good(CURLU *u, const char *const *hosts, size_t count)
{
	static const CURLUPart UNWANTED[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_FRAGMENT, CURLUPART_ZONEID };
	PART_AUTO *scheme = part(u, CURLUPART_SCHEME, 0);
	PART_AUTO *host = part(u, CURLUPART_HOST, 0);

	for (size_t i = 0; i < KMS_ARRAY_LEN(UNWANTED); i++)
		if (has_part(u, UNWANTED[i]))
			return false;
	if (scheme == NULL || host == NULL || (strcmp(scheme, "https") != 0 && (strcmp(scheme, "http") != 0 || !is_loopback(host))))
		return false;
	return hosts == NULL || host_is_listed(u, scheme, host, hosts, count);
}

/* Nothing that parsers are known to disagree about: what is checked here is what libcurl connects to. */
static bool text_is_plain(const char *url)
{
	const char *colon = strchr(url, ':');

	for (const char *c = url; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~' || *c == '\\')
			return false;
	return colon != NULL && strncmp(colon, "://", 3) == 0 && colon[3] != '/';
}

bool post_url_is_good(const char *url, const char *const *hosts, size_t host_count)
{
	CURLU *u = curl_url();
	bool is_good = u != NULL && text_is_plain(url) && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && parts_are_good(u, hosts, host_count);

	curl_url_cleanup(u);
	return is_good;
}

bool post_url_host(const char *url, char *ret_host, size_t cap)
{
	CURLU *u = curl_url();
	bool is_url = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK;
	PART_AUTO *host = is_url ? part(u, CURLUPART_HOST, 0) : NULL;
	PART_AUTO *port = is_url ? part(u, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT) : NULL;
	int len = host != NULL ? snprintf(ret_host, cap, "%s%s%s", host, port != NULL ? ":" : "", port != NULL ? port : "") : -1;

	curl_url_cleanup(u);
	for (int i = 0; i < len && (size_t)i < cap; i++)
		ret_host[i] = (char)tolower((unsigned char)ret_host[i]);
	return len > 0 && (size_t)len < cap;
}

/* ---- answers ---- */

static size_t take_bytes(char *bytes, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	struct post_answer *a = t->answer;
	size_t len = size * count;
	char *grown = NULL;

	t->is_too_large = len > POST_ANSWER_MAX - a->body_len;
	grown = t->is_too_large ? NULL : realloc(a->body, a->body_len + len + 1);
	if (grown == NULL)
		return 0; /* ends the transfer */
	memcpy(grown + a->body_len, bytes, len);
	a->body = grown;
	a->body_len += len;
	a->body[a->body_len] = '\0';
	return len;
}

/* One that does not fit is as good as none: nothing is compared with half a value. */
static void take_value(const char *line, size_t len, const char *name, char *ret, size_t cap)
{
	size_t name_len = strlen(name);

	if (len <= name_len || strncasecmp(line, name, name_len) != 0)
		return;
	line += name_len;
	len -= name_len;
	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	while (len > 0 && strchr(" \t\r\n", line[len - 1]) != NULL)
		len--;
	ret[0] = '\0';
	if (len < cap) {
		memcpy(ret, line, len);
		ret[len] = '\0';
	}
}

static size_t take_header(char *line, size_t size, size_t count, void *arg)
{
	struct post_answer *a = ((struct transfer *)arg)->answer;
	size_t len = size * count;

	if (len >= 5 && strncmp(line, "HTTP/", 5) == 0) /* another answer begins: the one before was interim */
		a->allowed_origin[0] = a->allowed_rate[0] = '\0';
	take_value(line, len, "WebHook-Allowed-Origin:", a->allowed_origin, sizeof(a->allowed_origin));
	take_value(line, len, "WebHook-Allowed-Rate:", a->allowed_rate, sizeof(a->allowed_rate));
	return len;
}

static bool is_stopping(const struct post_request *q) { return q->is_stopping != NULL && atomic_load(q->is_stopping); }

static int look_up(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	const struct transfer *t = arg;

	(void)down_total;
	(void)down;
	(void)up_total;
	(void)up;
	return is_stopping(t->request) ? 1 : 0;
}

/* ---- one request ---- */

#define SET(option, value) good = good && curl_easy_setopt(curl, option, value) == CURLE_OK

static bool set_address(CURL *curl, const struct post_request *q)
{
	bool good = true;

	SET(CURLOPT_URL, q->url);
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, "https,http");
#else
	SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTPS | CURLPROTO_HTTP));
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	return good;
}

static bool set_tls(CURL *curl, const struct post_request *q)
{
	bool good = true;

	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (q->ca != NULL) {
		SET(CURLOPT_CAINFO, q->ca);
		SET(CURLOPT_CAPATH, NULL);
	}
	if (q->certificate != NULL) {
		SET(CURLOPT_SSLCERT, q->certificate);
		SET(CURLOPT_SSLKEY, q->key);
	}
	return good;
}

static bool set_transfer(CURL *curl, struct curl_slist *headers, struct transfer *t, char *why)
{
	const struct post_request *q = t->request;
	bool good = true;

	SET(CURLOPT_ERRORBUFFER, why);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)q->timeout_ms);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, look_up);
	SET(CURLOPT_XFERINFODATA, t);
	SET(CURLOPT_WRITEFUNCTION, take_bytes);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_USERAGENT, "holdfast");
	SET(CURLOPT_HTTPHEADER, headers);
	if (q->body != NULL || strcmp(q->method, "POST") == 0) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
		SET(CURLOPT_POSTFIELDS, q->body != NULL ? q->body : "");
	}
	SET(CURLOPT_CUSTOMREQUEST, q->method);
	return good;
}

/* The thread that asks the system's resolver is left alone when the time is over, instead of waited for: it may take half a minute, and ends by itself. An older
 * library at run time does not know the option and waits. One with c-ares has no such thread. */
static void set_quick_exit(CURL *curl)
{
#if LIBCURL_VERSION_NUM >= 0x075700
	(void)curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
#else
	(void)curl;
#endif
}

static void free_headers(struct curl_slist **h) { curl_slist_free_all(*h); }

static bool make_headers(const struct post_request *q, struct curl_slist **ret)
{
	bool good = (*ret = curl_slist_append(NULL, "Expect:")) != NULL; /* the body goes at once */

	for (const char *const *h = q->headers; good && h != NULL && *h != NULL; h++)
		good = curl_slist_append(*ret, *h) != NULL;
	return good;
}

static CURLcode perform(CURL *curl, struct transfer *t, struct curl_slist *headers, char *why)
{
	curl_off_t wait_s = 0;
	CURLcode code = CURLE_FAILED_INIT;

	set_quick_exit(curl);
	if (set_address(curl, t->request) && set_tls(curl, t->request) && set_transfer(curl, headers, t, why))
		code = curl_easy_perform(curl);
	if (code == CURLE_OK)
		code = curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &t->answer->http);
	if (code == CURLE_OK && curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &wait_s) == CURLE_OK && wait_s > 0)
		t->answer->retry_after_s = (long)wait_s;
	curl_easy_reset(curl); /* keeps the connections */
	return code;
}

kms_status poster_send(struct poster *p, const struct post_request *q, struct post_answer *ret, struct kms_err *err)
{
	__attribute__((cleanup(free_headers))) struct curl_slist *headers = NULL;
	__attribute__((cleanup(post_answer_clear))) struct post_answer answer = { 0 };
	struct transfer t = { .request = q, .answer = &answer };
	char why[CURL_ERROR_SIZE] = "";
	CURLcode code;

	if (!post_url_is_good(q->url, NULL, 0)) /* not shown: what is wrong with it may be a password in it */
		return kms_fail(err, KMS_E_INVALID, KMS_SRC_SELF, 0, "not an address that is sent to: only https, or http to a numeric loopback address; no user, password or fragment");
	if (is_stopping(q))
		return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "the server is stopping");
	if (!make_headers(q, &headers))
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "headers of a request");
	code = perform(p->curl, &t, headers, why);
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "the server is stopping");
	if (code != CURLE_OK)
		return kms_fail(err, KMS_E_BUSY, KMS_SRC_HTTP, (unsigned long)code, "%s",
		                t.is_too_large ? "the answer is larger than 64 KiB" : why[0] != '\0' ? why : curl_easy_strerror(code));
	*ret = answer;
	answer.body = NULL;
	return KMS_OK;
}

const char *post_failure(const struct kms_err *err)
{
	static const struct {
		CURLcode code;
		const char *text;
	} TEXTS[] = {
		{ CURLE_COULDNT_RESOLVE_HOST, "the receiver's name cannot be resolved" },
		{ CURLE_COULDNT_CONNECT, "could not connect to the receiver" },
		{ CURLE_SSL_CONNECT_ERROR, "no TLS connection to the receiver with a certificate that is accepted" },
		{ CURLE_PEER_FAILED_VERIFICATION, "no TLS connection to the receiver with a certificate that is accepted" },
		{ CURLE_SSL_ISSUER_ERROR, "no TLS connection to the receiver with a certificate that is accepted" },
		{ CURLE_SSL_INVALIDCERTSTATUS, "no TLS connection to the receiver with a certificate that is accepted" },
		{ CURLE_SSL_CACERT_BADFILE, "the server cannot use its own certificates; its operator's diagnostic log says more" },
		{ CURLE_SSL_CERTPROBLEM, "the server cannot use its own certificates; its operator's diagnostic log says more" },
		{ CURLE_OPERATION_TIMEDOUT, "the receiver did not answer in time" },
		{ CURLE_WRITE_ERROR, "the receiver's answer is larger than 64 KiB" },
	};

	if (err->source != KMS_SRC_HTTP)
		return "the server could not send; its operator's diagnostic log says more";
	for (size_t i = 0; i < KMS_ARRAY_LEN(TEXTS); i++)
		if (err->native == (unsigned long)TEXTS[i].code)
			return TEXTS[i].text;
	return "the connection to the receiver failed";
}

kms_status poster_new(struct poster **ret, struct kms_err *err)
{
	struct poster *p = calloc(1, sizeof(*p));

	if (p == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(p);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "HTTP client");
	}
	p->curl = curl_easy_init();
	if (p->curl == NULL) {
		poster_free(p);
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "HTTP client");
	}
	*ret = p;
	return KMS_OK;
}

void poster_free(struct poster *p)
{
	if (p == NULL)
		return;
	curl_easy_cleanup(p->curl);
	free(p);
	curl_global_cleanup();
}
