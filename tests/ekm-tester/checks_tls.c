/* tests/ekm-tester/checks_tls.c - ekm-proxy.md sections 2 and 3: the connection and the certificates of both sides. */
#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tests/ekm-tester/tester.h"

#define KEEP_ALIVE_CALLS 5
#define CN_MAX 256

static struct call info_call(struct tester *t, enum who who) { return (struct call){ .path = "/info", .json = body_new(t), .who = who }; }

/* Connect in this way and call info; true when the proxy answered 200. The connection stays open if the caller wants it. */
static bool try_info(struct tester *t, struct dial how, struct wire **ret_wire, char text[DETAIL_MAX])
{
	ANSWER_AUTO a = { 0 };
	struct wire *w = NULL;
	char why[WHY_MAX];

	how.identity = &t->who[OWN];
	if (wire_dial(&t->opt->target, &how, &w, why) != DIAL_OK) {
		(void)snprintf(text, DETAIL_MAX, "%s", why);
		return false;
	}
	ask_over(t, w, info_call(t, OWN), &a);
	(void)answer_text(&a, text);
	bool ok = a.result == WIRE_ANSWERED && a.http.status == 200;
	if (ok && ret_wire != NULL)
		*ret_wire = w;
	else
		wire_close(w);
	return ok;
}

void check_tls13(struct tester *t, const struct check *self, struct outcome *o)
{
	struct wire *w = NULL;
	char text[DETAIL_MAX];
	(void)self;

	if (!try_info(t, (struct dial){ 0 }, &w, text)) {
		failed(o, "info over TLS 1.3: %s", text);
		return;
	}
	remark(o, "%s, %s", SSL_get_version(wire_ssl(w)), SSL_get_cipher_name(wire_ssl(w)));
	wire_close(w);
}

void check_tls12_refused(struct tester *t, const struct check *self, struct outcome *o)
{
	const struct dial how = { .identity = &t->who[OWN], .only_old_tls = true };
	struct wire *w = NULL;
	char why[WHY_MAX];
	(void)self;

	switch (wire_dial(&t->opt->target, &how, &w, why)) {
	case DIAL_OK:
		failed(o, "the proxy spoke %s", SSL_get_version(wire_ssl(w)));
		wire_close(w);
		break;
	case DIAL_NO_TLS: remark(o, "%s", why); break;
	case DIAL_NO_NETWORK: failed(o, "%s", why); break;
	}
}

void check_suites(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const SUITES[] = { "TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256" };
	char text[DETAIL_MAX];
	(void)self;

	for (size_t i = 0; i < sizeof(SUITES) / sizeof(*SUITES); i++)
		if (!try_info(t, (struct dial){ .suites = SUITES[i] }, NULL, text))
			failed(o, "with %s alone: %s", SUITES[i], text);
}

void check_groups(struct tester *t, const struct check *self, struct outcome *o)
{
	static const struct {
		const char *name;
		int nid;
	} GROUPS[] = { { "X25519", NID_X25519 }, { "P-256", NID_X9_62_prime256v1 }, { "P-384", NID_secp384r1 } };
	char text[DETAIL_MAX];
	(void)self;

	for (size_t i = 0; i < sizeof(GROUPS) / sizeof(*GROUPS); i++)
		if (!try_info(t, (struct dial){ .group = GROUPS[i].nid }, NULL, text))
			failed(o, "with %s alone: %s", GROUPS[i].name, text);
}

void check_alpn(struct tester *t, const struct check *self, struct outcome *o)
{
	static const unsigned char HTTP1[] = "http/1.1";
	const unsigned char *chosen = NULL;
	struct wire *w = NULL;
	unsigned len = 0;
	char text[DETAIL_MAX];
	(void)self;

	if (!try_info(t, (struct dial){ .offers_h2 = true }, &w, text)) {
		failed(o, "info with h2 and http/1.1 offered: %s", text);
		return;
	}
	SSL_get0_alpn_selected(wire_ssl(w), &chosen, &len);
	if (len != 0 && (len != sizeof(HTTP1) - 1 || memcmp(chosen, HTTP1, len) != 0))
		failed(o, "the proxy chose %.*s", (int)len, (const char *)chosen);
	else
		remark(o, "%s", len != 0 ? "chose http/1.1" : "chose none");
	wire_close(w);
}

void check_keep_alive(struct tester *t, const struct check *self, struct outcome *o)
{
	struct wire *w = NULL;
	char text[DETAIL_MAX];
	(void)self;

	if (!try_info(t, (struct dial){ 0 }, &w, text)) {
		failed(o, "info: %s", text);
		return;
	}
	for (int i = 1; i < KEEP_ALIVE_CALLS && o->verdict == PASS; i++) {
		ANSWER_AUTO a = { 0 };
		ask_over(t, w, info_call(t, OWN), &a);
		if (a.result != WIRE_ANSWERED || a.http.status != 200)
			failed(o, "call %d on one connection: %s", i + 1, answer_text(&a, text));
		else if (a.http.is_last)
			failed(o, "the proxy ends the connection with its answer");
	}
	wire_close(w);
}

void check_resumption(struct tester *t, const struct check *self, struct outcome *o)
{
	struct wire *first = NULL, *second = NULL;
	char text[DETAIL_MAX];
	(void)self;

	if (!try_info(t, (struct dial){ 0 }, &first, text)) {
		failed(o, "info: %s", text);
		return;
	}
	if (wire_session(first) == NULL)
		failed(o, "the proxy gave no session ticket");
	else if (!try_info(t, (struct dial){ .resume = wire_session(first) }, &second, text))
		failed(o, "info in a resumed session: %s", text);
	else if (SSL_session_reused(wire_ssl(second)) != 1)
		failed(o, "the proxy gave a ticket but did a full handshake all the same");
	wire_close(second);
	wire_close(first);
}

void check_early_data(struct tester *t, const struct check *self, struct outcome *o)
{
	struct wire *w = NULL;
	char text[DETAIL_MAX];
	(void)self;

	if (!try_info(t, (struct dial){ 0 }, &w, text)) {
		failed(o, "info: %s", text);
		return;
	}
	uint32_t bytes = wire_session(w) != NULL ? SSL_SESSION_get_max_early_data(wire_session(w)) : 0;
	if (bytes != 0)
		failed(o, "the session ticket allows %u bytes of early data: a wrap or unwrap could be replayed", bytes);
	wire_close(w);
}

void check_port(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (strcmp(t->opt->target.port, "443") != 0)
		skipped(o, "tested on port %s; a pool calls port 443 only", t->opt->target.port);
}

/* ---- the proxy's certificate ---- */
static X509 *server_cert(struct tester *t, struct wire **ret_wire, struct outcome *o)
{
	char why[WHY_MAX];
	if (dial_as(t, OWN, ret_wire, why) != DIAL_OK) {
		failed(o, "%s", why);
		return NULL;
	}
	return SSL_get0_peer_certificate(wire_ssl(*ret_wire));
}

static bool is_ip(const char *host)
{
	struct in_addr ip;
	return inet_pton(AF_INET, host, &ip) == 1;
}

void check_server_chain(struct tester *t, const struct check *self, struct outcome *o)
{
	struct wire *w = NULL;
	(void)self;

	if (server_cert(t, &w, o) != NULL) {
		long result = SSL_get_verify_result(wire_ssl(w));
		if (result != X509_V_OK)
			failed(o, "%s%s", X509_verify_cert_error_string(result),
			       t->opt->ca == NULL ? " (roots of this machine; --ca names others)" : "");
	}
	wire_close(w);
}

void check_server_san(struct tester *t, const struct check *self, struct outcome *o)
{
	const char *host = t->opt->target.host;
	struct wire *w = NULL;
	X509 *cert = server_cert(t, &w, o);
	(void)self;

	if (cert != NULL) {
		int match = is_ip(host) ? X509_check_ip_asc(cert, host, 0)
		                        : X509_check_host(cert, host, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL);
		if (match != 1)
			failed(o, "no subject alternative name matches %s", host);
	}
	wire_close(w);
}

void check_server_cn(struct tester *t, const struct check *self, struct outcome *o)
{
	const char *host = t->opt->target.host, *parent = strchr(host, '.');
	struct wire *w = NULL;
	char cn[CN_MAX] = "";
	(void)self;

	if (is_ip(host)) {
		skipped(o, "the host is an address: the connection then names the expected subject itself");
		return;
	}
	X509 *cert = server_cert(t, &w, o);
	if (cert != NULL) {
		(void)X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
		if (strcasecmp(cn, host) != 0 && (strncmp(cn, "*.", 2) != 0 || parent == NULL || strcasecmp(cn + 1, parent) != 0))
			failed(o, "the subject common name is \"%s\", neither %s nor a wildcard of its parent", cn, host);
	}
	wire_close(w);
}

/* ---- the client's certificate ---- */
/* 401, or no handshake: both are allowed (section 3.1). */
static void expect_shut_out(struct tester *t, struct outcome *o, struct call c, const char *what)
{
	ANSWER_AUTO a = { 0 };
	char text[DETAIL_MAX];

	ask(t, c, &a);
	if (a.result == WIRE_CLOSED && !a.is_unreachable)
		remark(o, "refused with the connection: %s", a.why);
	else if (a.result == WIRE_ANSWERED && a.http.status == 401)
		remark(o, "refused with 401");
	else
		failed(o, "%s: expected 401 or no connection, got %s", what, answer_text(&a, text));
}

static void shut_out_everywhere(struct tester *t, struct outcome *o, enum who who)
{
	enum alg alg;
	const char *key = any_key(t, &alg);
	static const uint8_t VALUE[AES_KEY_LEN] = { 0 };

	expect_shut_out(t, o, info_call(t, who), "info");
	expect_shut_out(t, o, (struct call){ .key = key, .op = "metadata", .json = body_new(t), .who = who }, "metadata");
	expect_shut_out(
	        t, o,
	        (struct call){
	                .key = key, .op = "wrapkey", .json = body_crypto(t, ALGORITHMS[alg].name, VALUE, sizeof(VALUE)), .who = who },
	        "wrapkey");
	expect_shut_out(t, o, (struct call){ .path = "/nothing/here", .json = body_new(t), .who = who }, "an unknown path");
}

void check_client_required(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	shut_out_everywhere(t, o, NOBODY);
}

void check_client_impostor(struct tester *t, const struct check *self, struct outcome *o)
{
	(void)self;
	if (t->who[IMPOSTOR].cert == NULL)
		skipped(o, "no such certificate could be made on this machine");
	else
		shut_out_everywhere(t, o, IMPOSTOR);
}

/* A certificate that the proxy does not know at all is shut out; one of another pool is let in, but finds none of our keys. */
void check_client_foreign(struct tester *t, const struct check *self, struct outcome *o)
{
	static const char *const OPS[] = { "metadata", "wrapkey", "unwrapkey" };
	static const uint8_t VALUE[AES_KEY_LEN] = { 0 };
	const char *const keys[] = { t->opt->aes_key, t->opt->rsa_key, t->opt->disabled_key };
	const enum alg algs[] = { A256KW, RSA_OAEP_256, A256KW };
	char text[DETAIL_MAX];
	(void)self;

	if (t->who[FOREIGN].cert == NULL) {
		skipped(o, "needs --foreign-cert and --foreign-key");
		return;
	}
	for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++)
		for (size_t i = 0; i < sizeof(OPS) / sizeof(*OPS) && keys[k] != NULL; i++) {
			ANSWER_AUTO a = { 0 };
			json_t *body = i == 0 ? body_new(t) : body_crypto(t, ALGORITHMS[algs[k]].name, VALUE, sizeof(VALUE));
			ask(t, (struct call){ .key = keys[k], .op = OPS[i], .json = body, .who = FOREIGN }, &a);
			bool is_closed = a.result == WIRE_CLOSED && !a.is_unreachable;
			bool is_refused = a.result == WIRE_ANSWERED && (a.http.status == 401 || a.http.status == 404);
			if (!is_closed && !is_refused)
				failed(o, "%s of %s with the foreign certificate: expected 404, 401 or no connection, got %s", OPS[i],
				       keys[k], answer_text(&a, text));
			else
				remark(o, "%s", answer_text(&a, text));
		}
}

void check_foreign_uniform(struct tester *t, const struct check *self, struct outcome *o)
{
	ANSWER_AUTO known = { 0 };
	ANSWER_AUTO unknown = { 0 };
	char text[DETAIL_MAX];
	enum alg alg;
	(void)self;

	if (t->who[FOREIGN].cert == NULL) {
		skipped(o, "needs --foreign-cert and --foreign-key");
		return;
	}
	ask(t, (struct call){ .key = any_key(t, &alg), .op = "metadata", .json = body_new(t), .who = FOREIGN }, &known);
	ask(t, (struct call){ .key = "holdfast-ekm-test-unknown", .op = "metadata", .json = body_new(t), .who = FOREIGN }, &unknown);
	const json_t *code = json_object_get(known.json, "code"), *other = json_object_get(unknown.json, "code");
	if (known.result != unknown.result || known.http.status != unknown.http.status || (code != other && !json_equal(code, other)))
		failed(o, "our key answers %s, a key that nobody has answers otherwise", answer_text(&known, text));
}
