/* server/cli/ekm_check.c - `holdfast ekm check`: do to an EKM listener what a Managed HSM pool does when its connection is checked (handshake, info),
 * and say what is wrong in the words of the troubleshooting table (docs/ekm.md). */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "server/base/encode.h"
#include "server/base/err.h"
#include "server/cli/command.h"

#define HOST_MAX 256
#define URL_MAX 1024
#define ANSWER_MAX 16384
#define DETAIL_MAX 512
#define CN_MAX 256
#define IPV4_LEN 4
#define CONNECT_MS 5000L
#define CALL_MS 10000L
#define LIMIT_MS 250 /* the pool's own */
#define SOON_S ((int64_t)30 * 86400)
#define AZURE_PORT "443"
#define INFO_PATH "/info?api-version=0.1-preview"
#define INFO_BODY "{\"request_context\":{\"request_id\":\"holdfast-ekm-check\",\"correlation_id\":\"%s\",\"pool_name\":\"holdfast-ekm-check\"}}"

/* ---- the troubleshooting table ---- */

enum trouble {
	TROUBLE_NONE,
	TROUBLE_NAME,
	TROUBLE_CONNECT,
	TROUBLE_HANDSHAKE,
	TROUBLE_CHAIN,
	TROUBLE_HOST,
	TROUBLE_EXPIRED,
	TROUBLE_EARLY,
	TROUBLE_NO_ANSWER,
	TROUBLE_400,
	TROUBLE_401,
	TROUBLE_403,
	TROUBLE_404,
	TROUBLE_408,
	TROUBLE_429,
	TROUBLE_502,
	TROUBLE_503,
	TROUBLE_OTHER,
	TROUBLE_INFO,
	TROUBLE_SLOW,
	TROUBLE_ADVICE, /* from here on a pool would still get its answer */
	TROUBLE_COMMON_NAME = TROUBLE_ADVICE,
	TROUBLE_ROOT,
	TROUBLE_MACHINE_ROOTS,
	TROUBLE_RENEW,
	TROUBLE_PORT,
	TROUBLE_KEEP_ALIVE,
};
static const struct {
	const char *symptom, *todo;
} TROUBLES[] = {
	[TROUBLE_NAME] = { "Name not resolved", "Make a public DNS record with an IPv4 address; a pool resolves it for each connection." },
	[TROUBLE_CONNECT] = { "Cannot connect", "Is holdfastd running? Open the port for any source: a pool's addresses are not stable." },
	[TROUBLE_HANDSHAKE] = { "No TLS 1.3 handshake", "Does the ekm section's listener live at this address, and nothing in between that ends TLS?" },
	[TROUBLE_CHAIN] = { "The server's chain does not end in a registered root",
	                    "Register the right root on the connection (here: --ca), and send the intermediates: ekm.certificate holds the chain." },
	[TROUBLE_HOST] = { "Host name mismatch", "Reissue the server's certificate with both SAN and CN matching the host in the connection." },
	[TROUBLE_EARLY] = { "The server's certificate is not yet valid, or this machine's clock is wrong", "Set the clock that is wrong; or reissue." },
	[TROUBLE_NO_ANSWER] = { "No answer after the handshake", "Is this the ekm section's listener? A proxy may also end the connection of a certificate that it does not accept." },
	[TROUBLE_EXPIRED] = { "The server's certificate has expired", "Renew it and send SIGHUP; nothing changes on Azure if the root stays." },
	[TROUBLE_COMMON_NAME] = { "The common name is not the host", "Reissue the server's certificate with both SAN and CN matching the host." },
	[TROUBLE_ROOT] = { "--ca has a certificate that is not self-signed", "Register the root with Azure, and name it here: intermediates come with the handshake." },
	[TROUBLE_MACHINE_ROOTS] = { "The roots of this machine were used", "Name with --ca what is registered on the connection: a pool trusts nothing else." },
	[TROUBLE_RENEW] = { "The server's certificate ends within 30 days", "Renew it and send SIGHUP." },
	[TROUBLE_PORT] = { "Another port than 443", "A pool calls port 443 only." },
	[TROUBLE_400] = { "400", "Is this the EKM listener of this version of Holdfast?" },
	[TROUBLE_401] = { "401 on everything", "The certificate's CN or root is not allowed, the certificate is out of date, or the pool is disabled: "
	                                       "holdfast log tail (written within a second) says which; holdfast ekm pool list VAULT." },
	[TROUBLE_403] = { "403", "The vault is shredded, or the pool lost its role: holdfast principal list VAULT." },
	[TROUBLE_404] = { "404", "The path prefix is not the pool's: case and every character count (holdfast ekm pool list VAULT)." },
	[TROUBLE_408] = { "408", "The HSM is saturated: add capacity." },
	[TROUBLE_429] = { "429", "Too much is waiting: add capacity." },
	[TROUBLE_502] = { "502", "The HSM is not reachable: check its link (holdfast hsm info)." },
	[TROUBLE_503] = { "503", "Wrap and unwrap cannot work: holdfast status names the part; for longer than seconds, check the service." },
	[TROUBLE_OTHER] = { "An answer that no EKM proxy gives", "Does the ekm section's listener live at this address?" },
	[TROUBLE_INFO] = { "The answer lacks members", "Is this the EKM listener of this version of Holdfast?" },
	[TROUBLE_KEEP_ALIVE] = { "The connection was not kept", "Something between ends connections: with each call a handshake is paid." },
	[TROUBLE_SLOW] = { "The answer took longer than 250 ms", "A pool waits no longer: bring the proxy nearer, or add capacity." },
};

/* ---- what is given: looked at before anything is sent ---- */

/* NULL: the roots of this machine. The variable is OpenSSL's, which libcurl does not read. */
static const char *ca_file(const struct call *call)
{
	const char *file = call_has(call, OPT_CA) ? call_value(call, OPT_CA) : getenv("SSL_CERT_FILE");
	return file != NULL && file[0] != '\0' ? file : NULL;
}

static enum cli_exit wrong_file(const char *option, const char *name, const char *why)
{
	cli_say("%s %s: %s", option, name, why);
	return CLI_USAGE;
}

/* The first certificate of the file, and how many of all are not signed with their own key. */
static enum cli_exit read_certs(const char *option, const char *name, X509 **ret_first, size_t *ret_issued)
{
	FILE *f = fopen(name, "re");
	X509 *first = NULL, *next = NULL;

	if (f == NULL)
		return wrong_file(option, name, strerror(errno));
	*ret_issued = 0;
	while ((next = PEM_read_X509(f, NULL, NULL, NULL)) != NULL) {
		*ret_issued += X509_self_signed(next, 1) != 1;
		if (first == NULL)
			first = next;
		else
			X509_free(next);
	}
	(void)fclose(f);
	ERR_clear_error(); /* the end of the file is one too */
	if (first == NULL)
		return wrong_file(option, name, "no certificate in PEM");
	*ret_first = first;
	return CLI_OK;
}

static enum cli_exit check_key(const X509 *cert, const char *name)
{
	FILE *f = fopen(name, "re");
	EVP_PKEY *key = NULL;
	enum cli_exit code = CLI_OK;

	if (f == NULL)
		return wrong_file("--key", name, strerror(errno));
	key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	(void)fclose(f);
	if (key == NULL)
		code = wrong_file("--key", name, "no private key in PEM");
	else if (X509_check_private_key(cert, key) != 1)
		code = wrong_file("--key", name, "does not belong to the certificate of --cert");
	ERR_clear_error();
	EVP_PKEY_free(key);
	return code;
}

static enum cli_exit check_files(const struct call *call, size_t *ret_issued)
{
	const char *ca = ca_file(call);
	X509 *cert = NULL, *root = NULL;
	size_t unused = 0;
	enum cli_exit code = read_certs("--cert", call_value(call, OPT_CERT), &cert, &unused);

	if (code == CLI_OK)
		code = check_key(cert, call_value(call, OPT_KEY));
	if (code == CLI_OK && ca != NULL)
		code = read_certs(call_has(call, OPT_CA) ? "--ca" : "SSL_CERT_FILE", ca, &root, ret_issued);
	X509_free(cert);
	X509_free(root);
	return code;
}

/* ---- one check ---- */

struct check {
	const struct call *call;
	CURL *curl;
	struct curl_slist *headers;
	char host[HOST_MAX], url[URL_MAX], body[sizeof(INFO_BODY) + GUID_TEXT_LEN];
	char answer[ANSWER_MAX + 1];
	size_t answer_len;
	char why[CURL_ERROR_SIZE];
	json_t *findings; /* owned */
	bool has_failed;
	bool is_unreachable; /* failed before any TLS */
};

static size_t collect(char *bytes, size_t size, size_t count, void *arg)
{
	struct check *c = arg;
	size_t more = size * count;

	if (more > ANSWER_MAX - c->answer_len)
		return 0;
	memcpy(c->answer + c->answer_len, bytes, more);
	c->answer_len += more;
	c->answer[c->answer_len] = '\0';
	return more;
}

static void found(struct check *c, enum trouble trouble, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void found(struct check *c, enum trouble trouble, const char *fmt, ...)
{
	char raw[DETAIL_MAX], detail[DETAIL_MAX];
	const char *result = trouble == TROUBLE_NONE ? "pass" : trouble >= TROUBLE_ADVICE ? "warn" : "fail";
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	(void)cli_clean(raw, detail, sizeof(detail));
	c->is_unreachable |= trouble == TROUBLE_NAME || trouble == TROUBLE_CONNECT;
	c->has_failed |= trouble != TROUBLE_NONE && trouble < TROUBLE_ADVICE;
	(void)json_array_append_new(c->findings, trouble == TROUBLE_NONE
	                                                 ? json_pack("{s:s,s:s}", "result", result, "detail", detail)
	                                                 : json_pack("{s:s,s:s,s:s,s:s}", "result", result, "detail", detail, "symptom",
	                                                             TROUBLES[trouble].symptom, "action", TROUBLES[trouble].todo));
}

/* curl_easy_setopt() fails only without memory or for options that this libcurl was built without; both must stop us. */
#define SET(option, value) (ok = ok && curl_easy_setopt(c->curl, (option), (value)) == CURLE_OK)

/* As a pool calls: IPv4, TLS 1.3, its certificate, no redirect. */
static bool set_up(struct check *c)
{
	bool ok = true;

	SET(CURLOPT_URL, c->url);
	SET(CURLOPT_ERRORBUFFER, c->why);
	SET(CURLOPT_PROTOCOLS_STR, "https");
	SET(CURLOPT_IPRESOLVE, (long)CURL_IPRESOLVE_V4);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_SSLCERT, call_value(c->call, OPT_CERT));
	SET(CURLOPT_SSLKEY, call_value(c->call, OPT_KEY));
	SET(CURLOPT_POSTFIELDS, c->body);
	SET(CURLOPT_HTTPHEADER, c->headers);
	SET(CURLOPT_USERAGENT, "holdfast");
	SET(CURLOPT_WRITEFUNCTION, collect);
	SET(CURLOPT_WRITEDATA, c);
	SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	SET(CURLOPT_TIMEOUT_MS, CALL_MS);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_CERTINFO, 1L);
	if (ca_file(c->call) != NULL)
		SET(CURLOPT_CAINFO, ca_file(c->call));
	return ok;
}

static CURLcode perform(struct check *c)
{
	c->answer_len = 0;
	c->answer[0] = c->why[0] = '\0';
	return curl_easy_perform(c->curl);
}

/* ---- the server's certificate ---- */

/* Of the last connection; NULL when there was none. */
static X509 *server_cert(struct check *c)
{
	static const char PEM[] = "Cert:";
	struct curl_certinfo *info = NULL;
	X509 *cert = NULL;

	if (curl_easy_getinfo(c->curl, CURLINFO_CERTINFO, &info) != CURLE_OK || info == NULL || info->num_of_certs < 1)
		return NULL;
	for (struct curl_slist *line = info->certinfo[0]; line != NULL && cert == NULL; line = line->next) {
		BIO *in = strncmp(line->data, PEM, sizeof(PEM) - 1) == 0 ? BIO_new_mem_buf(line->data + sizeof(PEM) - 1, -1) : NULL;
		if (in != NULL)
			cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
		BIO_free(in);
	}
	ERR_clear_error();
	return cert;
}

static bool is_address(const char *host) { return host[strspn(host, "0123456789.")] == '\0'; }

static void judge_names(struct check *c, const X509 *cert)
{
	const char *parent = strchr(c->host, '.');
	char cn[CN_MAX] = "";

	(void)X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
	if (!is_address(c->host) && strcasecmp(cn, c->host) != 0 && (strncmp(cn, "*.", 2) != 0 || parent == NULL || strcasecmp(cn + 1, parent) != 0))
		found(c, TROUBLE_COMMON_NAME, "The certificate's common name is \"%s\"; one of Azure's documents names it as the field that is checked.", cn);
}

static bool ends_before(const X509 *cert, int64_t in_s)
{
	time_t then = time(NULL) + (time_t)in_s;
	return X509_cmp_time(X509_get0_notAfter(cert), &then) <= 0;
}

static bool begins_later(const X509 *cert) { return X509_cmp_current_time(X509_get0_notBefore(cert)) > 0; }

/* The names and addresses that the certificate is for, as text. */
static const char *names_of(const X509 *cert, char ret[DETAIL_MAX])
{
	GENERAL_NAMES *names = cert != NULL ? X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL) : NULL;
	size_t used = 0;

	(void)snprintf(ret, DETAIL_MAX, "none");
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) { /* -1 for NULL */
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char one[CN_MAX] = "an address";
		if (name->type == GEN_DNS)
			(void)snprintf(one, sizeof(one), "%.*s", ASN1_STRING_length(name->d.dNSName), (const char *)ASN1_STRING_get0_data(name->d.dNSName));
		else if (name->type == GEN_IPADD && ASN1_STRING_length(name->d.iPAddress) == IPV4_LEN)
			(void)inet_ntop(AF_INET, ASN1_STRING_get0_data(name->d.iPAddress), one, sizeof(one));
		used += (size_t)snprintf(ret + used, DETAIL_MAX - used, "%s%s", used > 0 ? ", " : "", one);
		if (used >= DETAIL_MAX)
			break;
	}
	GENERAL_NAMES_free(names);
	return ret;
}

static void judge_server_cert(struct check *c)
{
	X509 *cert = server_cert(c);

	if (cert == NULL)
		return;
	judge_names(c, cert);
	if (ends_before(cert, SOON_S))
		found(c, TROUBLE_RENEW, "It is time.");
	X509_free(cert);
}

/* Why was the server's certificate not accepted? Tried again with less, on connections that carry nothing of worth. */
static void explain_certificate(struct check *c)
{
	char why[CURL_ERROR_SIZE], names[DETAIL_MAX];
	enum trouble trouble = TROUBLE_CHAIN;
	X509 *cert = NULL;

	memcpy(why, c->why, sizeof(why));
	(void)curl_easy_setopt(c->curl, CURLOPT_SSL_VERIFYHOST, 0L);
	if (perform(c) != CURLE_PEER_FAILED_VERIFICATION) {
		cert = server_cert(c);
		found(c, TROUBLE_HOST, "%s; the certificate's names: %s", why, names_of(cert, names));
		X509_free(cert);
		return;
	}
	(void)curl_easy_setopt(c->curl, CURLOPT_SSL_VERIFYPEER, 0L);
	(void)perform(c);
	cert = server_cert(c);
	if (cert != NULL && ends_before(cert, 0))
		trouble = TROUBLE_EXPIRED;
	else if (cert != NULL && begins_later(cert))
		trouble = TROUBLE_EARLY;
	X509_free(cert);
	found(c, trouble, "%s", why);
}

static void explain_connection(struct check *c, CURLcode result)
{
	const char *why = c->why[0] != '\0' ? c->why : curl_easy_strerror(result);
	curl_off_t connected_us = 0, shaken_us = 0;

	(void)curl_easy_getinfo(c->curl, CURLINFO_CONNECT_TIME_T, &connected_us); /* fail only for unknown names */
	(void)curl_easy_getinfo(c->curl, CURLINFO_APPCONNECT_TIME_T, &shaken_us);
	switch ((int)result) {
	case CURLE_COULDNT_RESOLVE_HOST:
		found(c, TROUBLE_NAME, "%s", why);
		return;
	case CURLE_COULDNT_CONNECT:
		found(c, TROUBLE_CONNECT, "%s", why);
		return;
	case CURLE_PEER_FAILED_VERIFICATION:
		explain_certificate(c);
		return;
	default:
		found(c,
		      shaken_us > 0                                                ? TROUBLE_NO_ANSWER
		      : result == CURLE_OPERATION_TIMEDOUT && connected_us == 0 ? TROUBLE_CONNECT
		                                                                : TROUBLE_HANDSHAKE,
		      "%s", why);
	}
}

/* ---- the answer ---- */

static enum trouble trouble_of(long http)
{
	switch (http) {
	case 400: return TROUBLE_400;
	case 401: return TROUBLE_401;
	case 403: return TROUBLE_403;
	case 404: return TROUBLE_404;
	case 408: return TROUBLE_408;
	case 429: return TROUBLE_429;
	case 502: return TROUBLE_502;
	case 503: return TROUBLE_503;
	default: return TROUBLE_OTHER;
	}
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

static void judge_answer(struct check *c)
{
	static const char *const MEMBERS[] = { "api_version", "proxy_vendor", "proxy_name", "ekm_vendor", "ekm_product" };
	JSON_AUTO *answer = json_loadb(c->answer, c->answer_len, JSON_REJECT_DUPLICATES, NULL);
	long http = 0;

	(void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &http); /* fails only for an unknown name */
	if (http != 200 && (text_of(answer, "code")[0] == '\0' || text_of(answer, "message")[0] == '\0')) {
		found(c, TROUBLE_OTHER, "info answered %ld without code and message", http);
		return;
	}
	if (http != 200) {
		found(c, trouble_of(http), "info answered %ld %s: %s", http, text_of(answer, "code"), text_of(answer, "message"));
		return;
	}
	for (size_t i = 0; i < KMS_ARRAY_LEN(MEMBERS); i++)
		if (text_of(answer, MEMBERS[i])[0] == '\0') {
			found(c, TROUBLE_INFO, "info answered without %s", MEMBERS[i]);
			return;
		}
	found(c, TROUBLE_NONE, "info: %s, API version %s", text_of(answer, "proxy_name"), text_of(answer, "api_version"));
}

/* A second call, as a probe comes: on the same connection, and in time. */
static void judge_time(struct check *c)
{
	curl_off_t total_us = 0;
	long connects = 0;
	CURLcode result = perform(c);

	if (result != CURLE_OK) {
		explain_connection(c, result);
		return;
	}
	(void)curl_easy_getinfo(c->curl, CURLINFO_NUM_CONNECTS, &connects); /* fail only for unknown names */
	(void)curl_easy_getinfo(c->curl, CURLINFO_TOTAL_TIME_T, &total_us);
	if (connects != 0)
		found(c, TROUBLE_KEEP_ALIVE, "The second call needed a connection of its own.");
	if (total_us > (curl_off_t)LIMIT_MS * 1000)
		found(c, TROUBLE_SLOW, "The second call took %.1f ms from here.", (double)total_us / 1000);
	else
		found(c, TROUBLE_NONE, "A second call on the same connection took %.1f ms from here.", (double)total_us / 1000);
}

static void run(struct check *c)
{
	CURLcode result = perform(c);

	if (result != CURLE_OK) {
		explain_connection(c, result);
		return;
	}
	found(c, TROUBLE_NONE, "TLS 1.3 handshake; the server's chain and name are accepted");
	judge_server_cert(c);
	judge_answer(c);
	if (!c->has_failed)
		judge_time(c);
}

/* ---- the command ---- */

static enum cli_exit wrong_url(void)
{
	cli_say("the URL must be https://HOST[:PORT][/PREFIX]");
	return CLI_USAGE;
}

/* Host and port are taken apart by libcurl; slashes around the prefix do not count. */
static enum cli_exit take_url(struct check *c, const char *url)
{
	CURLU *parts = curl_url();
	char *host = NULL, *port = NULL, *path = NULL, *query = NULL;
	size_t len = 0;
	bool good = parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK && strncasecmp(url, "https://", strlen("https://")) == 0 &&
	            curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	            curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
	            curl_url_get(parts, CURLUPART_PATH, &path, 0) == CURLUE_OK && curl_url_get(parts, CURLUPART_QUERY, &query, 0) != CURLUE_OK;

	if (good) {
		len = strlen(path);
		while (len > 0 && path[len - 1] == '/')
			len--;
		good = snprintf(c->host, sizeof(c->host), "%s", host) < (int)sizeof(c->host) &&
		       snprintf(c->url, sizeof(c->url), "https://%s:%s%.*s" INFO_PATH, host, port, (int)len, path) < (int)sizeof(c->url);
	}
	if (good && strcmp(port, AZURE_PORT) != 0)
		found(c, TROUBLE_PORT, "This is port %s.", port);
	curl_free(host);
	curl_free(port);
	curl_free(path);
	curl_free(query);
	curl_url_cleanup(parts);
	return good ? CLI_OK : wrong_url();
}

static void show_findings(const struct check *c)
{
	size_t i = 0;
	json_t *f = NULL;

	json_array_foreach(c->findings, i, f) {
		(void)printf("%-4s  %s%s%s\n", text_of(f, "result"), text_of(f, "symptom"), text_of(f, "symptom")[0] != '\0' ? ": " : "",
		             text_of(f, "detail"));
		if (text_of(f, "action")[0] != '\0')
			(void)printf("      %s\n", text_of(f, "action"));
	}
}

static enum cli_exit show(const struct check *c)
{
	JSON_AUTO *whole = json_pack("{s:s,s:s,s:O}", "url", c->url, "result", c->has_failed ? "fail" : "pass", "findings", c->findings);

	if (whole == NULL)
		return cli_no_memory();
	if (c->call->as_json)
		show_json(whole);
	else
		show_findings(c);
	return c->is_unreachable ? CLI_FAILED : c->has_failed ? CLI_REFUSED : CLI_OK;
}

enum cli_exit ekm_check(struct call *call)
{
	struct check c = { .call = call, .findings = json_array() };
	uint8_t id[GUID_LEN];
	char correlation[GUID_TEXT_LEN + 1];
	size_t issued = 0;
	enum cli_exit code = check_files(call, &issued);

	if (code != CLI_OK) {
		json_decref(c.findings);
		return code;
	}
	code = CLI_FAILED;
	if (c.findings != NULL && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK && guid_random(id)) {
		guid_format(id, correlation);
		(void)snprintf(c.body, sizeof(c.body), INFO_BODY, correlation);
		c.curl = curl_easy_init();
		c.headers = curl_slist_append(NULL, "Content-Type: application/json");
		code = take_url(&c, call->arg[0]);
	}
	if (code == CLI_OK && (c.curl == NULL || c.headers == NULL || !set_up(&c)))
		code = cli_no_memory();
	if (code == CLI_OK && ca_file(call) == NULL)
		found(&c, TROUBLE_MACHINE_ROOTS, "No --ca, and no SSL_CERT_FILE.");
	if (code == CLI_OK && issued > 0)
		found(&c, TROUBLE_ROOT, "%s", ca_file(call));
	if (code == CLI_OK) {
		run(&c);
		code = show(&c);
	}
	curl_slist_free_all(c.headers);
	curl_easy_cleanup(c.curl);
	curl_global_cleanup();
	json_decref(c.findings);
	return code;
}
