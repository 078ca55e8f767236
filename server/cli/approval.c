/* server/cli/approval.c - requests that several people must approve: told in plain words, voted on, and signed with the approver's own key. What
 * is signed is the request as it was fetched: its hash is taken here. */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/base/err.h"
#include "server/cli/command.h"

#define PEM_BYTES_MAX ((size_t)64 * 1024)
#define SIGNATURE_MAX 512 /* RSA-4096 */
#define TEXT_MAX 256
#define CLEAN_MAX 200
#define SUBJECTS_MAX 8 /* of a service or pool */

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

/* ---- in plain words ---- */

struct told {
	char text[1024];
	size_t used;
};

static void tell(struct told *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct told *t, const char *fmt, ...)
{
	va_list args;
	int len = 0;

	va_start(args, fmt);
	len = vsnprintf(t->text + t->used, sizeof(t->text) - t->used, fmt, args);
	va_end(args);
	if (len > 0)
		t->used += (size_t)len < sizeof(t->text) - t->used ? (size_t)len : sizeof(t->text) - t->used - 1;
}

static const char *clean(const json_t *object, const char *name, char ret_text[CLEAN_MAX])
{
	return cli_clean(text_of(object, name), ret_text, CLEAN_MAX);
}

static void tell_grant(struct told *t, const json_t *p, const char *where)
{
	char who[CLEAN_MAX], id[CLEAN_MAX], role[CLEAN_MAX], key[CLEAN_MAX], when[SHOW_TIME_MAX];
	const json_t *until = json_object_get(p, "until");

	tell(t, "Give %s (%s) the role %s for ", clean(p, "principal_name", who), clean(p, "principal", id), clean(p, "role_name", role));
	if (strcmp(text_of(p, "scope"), "key") == 0)
		tell(t, "the key %s of %s", clean(p, "key", key), where);
	else
		tell(t, "%s", strcmp(text_of(p, "scope"), "installation") == 0 ? "the whole installation" : where);
	if (until != NULL)
		tell(t, " until %s", show_time(until, when));
	tell(t, ".");
}

/* What is weaker afterwards, with the values that it would have. */
static void tell_lowering(struct told *t, const json_t *p, const char *where)
{
	static const struct {
		const char *member, *words;
	} NUMBERS[] = {
		{ "retention_days", "days that deleted keys are kept" },
		{ "quorum", "approvers besides the requester of what cannot be undone" },
		{ "purge_approvals", "approvers besides the requester of a purge" },
	};

	tell(t, "Lower the protection of %s:", where);
	if (json_is_false(json_object_get(p, "purge_protection")))
		tell(t, " purge protection is switched off;");
	if (json_is_true(json_object_get(p, "allow_rsa1_5")))
		tell(t, " RSA1_5 is allowed;");
	for (size_t i = 0; i < KMS_ARRAY_LEN(NUMBERS); i++)
		if (json_is_integer(json_object_get(p, NUMBERS[i].member)))
			tell(t, " %s: only %" JSON_INTEGER_FORMAT ";", NUMBERS[i].words, json_integer_value(json_object_get(p, NUMBERS[i].member)));
	t->text[t->used - 1] = '.';
}

/* A service's or pool's client certificates: any that has one of these names, under one of these roots. */
static void tell_certificates(struct told *t, const json_t *p, const char *where)
{
	char who[CLEAN_MAX], id[CLEAN_MAX], text[CLEAN_MAX];

	tell(t, "Accept other client certificates as %s (%s), who manages or approves in %s: of the common name", clean(p, "principal_name", who),
	     clean(p, "principal", id), where);
	for (int i = 1; i <= SUBJECTS_MAX; i++) {
		char name[24];
		(void)snprintf(name, sizeof(name), "subject%d", i);
		if (json_object_get(p, name) != NULL)
			tell(t, "%s %s", i > 1 ? " or" : "", clean(p, name, text));
	}
	tell(t, ", under roots with the SHA-256 %s.", clean(p, "roots_sha256", text));
}

/* What tells it from any other: of a certificate its hash, whatever its label says. */
static void tell_way_in(struct told *t, const json_t *p, const char *where)
{
	static const struct {
		const char *member, *words;
	} PARTS[] = { { "sha256", "with the SHA-256" }, { "issuer", "of the issuer" }, { "subject", "of" }, { "label", "labelled" } };
	char a[CLEAN_MAX], b[CLEAN_MAX];
	const char *between = "";

	tell(t, "Give %s (%s), who manages or approves in %s, one more way to be known: ", clean(p, "principal_name", a), clean(p, "principal", b), where);
	tell(t, "%s", clean(p, "kind", a));
	for (size_t i = 0; i < KMS_ARRAY_LEN(PARTS); i++) {
		if (text_of(p, PARTS[i].member)[0] == '\0')
			continue;
		tell(t, "%s %s %s", between, PARTS[i].words, clean(p, PARTS[i].member, a));
		between = ",";
	}
	tell(t, ".");
}

static void tell_admin(struct told *t, const json_t *p, const char *where)
{
	char a[CLEAN_MAX], b[CLEAN_MAX], c[CLEAN_MAX], d[CLEAN_MAX];

	if (json_object_get(p, "role_name") != NULL)
		tell_grant(t, p, where);
	else if (json_object_get(p, "group_name") != NULL)
		tell(t, "Take %s (%s) into the group %s (%s) of %s, which manages or approves there.", clean(p, "member_name", a),
		     clean(p, "member", b), clean(p, "group_name", c), clean(p, "group", d), where);
	else if (json_object_get(p, "roots_sha256") != NULL)
		tell_certificates(t, p, where);
	else if (json_object_get(p, "kind") != NULL)
		tell_way_in(t, p, where);
	else
		tell(t, "Change who manages or approves in %s.", where);
}

/* A database that is older than its log, or another one. @param origin  of the log */
static void tell_acceptance(struct told *t, const json_t *p, const char *origin)
{
	char name[CLEAN_MAX];
	const json_t *known = json_object_get(p, "known_size");

	tell(t, "Accept the database as it is, although it is not what the log %s was signed over: it holds %" JSON_INTEGER_FORMAT " events", cli_clean(origin, name, sizeof(name)),
	     json_integer_value(json_object_get(p, "found_size")));
	if (known != NULL)
		tell(t, ", and there were %" JSON_INTEGER_FORMAT, json_integer_value(known));
	tell(t, ". What it does not hold is given up: keys made since are lost, revocations and removals since are undone. A new log begins.");
}

/* @param vault  as the server names it; empty = the installation */
static void tell_request(struct told *t, const json_t *request, const char *vault)
{
	const char *act = text_of(request, "act");
	const json_t *p = json_object_get(request, "parameters");
	char where[CLEAN_MAX] = "", name[CLEAN_MAX];

	if (vault[0] == '\0')
		(void)snprintf(where, sizeof(where), "the installation");
	else
		(void)snprintf(where, sizeof(where), "the vault %.40s", cli_clean(vault, name, sizeof(name)));
	if (strcmp(act, "vault.shred") == 0)
		tell(t, "Destroy %s: its root key and every key in it, for ever.%s%s", where, json_object_get(p, "basis") != NULL ? " Basis: " : "", clean(p, "basis", name));
	else if (strcmp(act, "key.purge") == 0)
		tell(t, "Destroy the deleted key %s of %s, for ever.", clean(p, "name", name), where);
	else if (strcmp(act, "vault.unlock") == 0)
		tell(t, "Unlock %s: its keys serve everybody again who has a role for them. Look first at why it was locked, and that what was abused is taken away.", where);
	else if (strcmp(act, "vault.rotate_root") == 0)
		tell(t, "Replace the root key of %s: its keys stay what they are, and the old root is destroyed, for ever. Key backups made before cannot be restored any more, and in backups of "
		        "the server made before, the keys of this vault do not work: a new one is needed at once.", where);
	else if (strcmp(act, "backup.end_epoch") == 0)
		tell(t, "Destroy the key of the backup epoch %" JSON_INTEGER_FORMAT ", for ever: no backup that was made in it, of the server or of a key, can be opened any more, wherever its "
		        "copies are.", json_integer_value(json_object_get(p, "number")));
	else if (strcmp(act, "vault.lower_protection") == 0)
		tell_lowering(t, p, where);
	else if (strcmp(act, "role.grant_administrator") == 0)
		tell_admin(t, p, where);
	else if (strcmp(act, "log.accept_rollback") == 0)
		tell_acceptance(t, p, text_of(request, "target"));
	else
		tell(t, "%s in %s; see the request itself.", clean(request, "act", name), where);
}

static void show_votes(const json_t *votes)
{
	static const struct show_column COLUMNS[] = {
		{ "APPROVER", "name" }, { "ID", "approver" }, { "APPROVES", "approves" }, { "TIME", "created" }, { "REASON", "reason" },
		{ "SIGNED WITH", "certificate" }, { NULL, NULL },
	};
	if (json_array_size(votes) == 0)
		return;
	(void)putchar('\n');
	show_table(votes, COLUMNS);
}

static void line(const char *name, const char *text)
{
	char shown[CLEAN_MAX];

	(void)printf("%-12s %s\n", name, text[0] != '\0' ? cli_clean(text, shown, sizeof(shown)) : "-");
}

static void show_approval(const struct call *call, const json_t *approval)
{
	JSON_AUTO *request = json_loads(text_of(approval, "request"), JSON_REJECT_DUPLICATES, NULL);
	const char *state = text_of(approval, "state"), *name = text_of(approval, "requester_name");
	struct told t = { 0 };
	char who[2 * CLEAN_MAX] = "", have[CLEAN_MAX] = "", at[SHOW_TIME_MAX];

	tell_request(&t, request, text_of(approval, "vault"));
	(void)snprintf(who, sizeof(who), "%.80s%s%.64s%s", name, name[0] != '\0' ? " (" : "", text_of(approval, "requester"),
	               name[0] != '\0' ? ")" : "");
	(void)snprintf(have, sizeof(have), "%.20s: %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " approvals", state,
	               json_integer_value(json_object_get(approval, "approvals")), json_integer_value(json_object_get(approval, "needed")));
	(void)printf("%s\n\n", t.text);
	line("request", text_of(approval, "id"));
	line("asked by", who);
	line("reason", text_of(approval, "reason"));
	line("state", have);
	line("asked", show_time(json_object_get(approval, "created"), at));
	line("ends", show_time(json_object_get(approval, "expires"), at));
	line("sha256", text_of(approval, "sha256"));
	(void)printf("%-12s ", "in full"); /* what is approved and signed, as it is */
	show_line(text_of(approval, "request"));
	show_votes(json_object_get(approval, "votes"));
	if (strcmp(state, "open") == 0)
		(void)printf("\nto approve:  holdfast --url %s --token-file %s%s%s approval approve %s %s\n", call->cfg->url != NULL ? call->cfg->url : "URL",
		             call->cfg->token_file != NULL ? call->cfg->token_file : "FILE", call_has(call, OPT_CA) ? " --ca " : "",
		             call_has(call, OPT_CA) ? call_value(call, OPT_CA) : "", call->arg[0], call->arg[1]);
	else if (strcmp(state, "approved") == 0)
		(void)puts("\nIt has its approvals: whoever asked repeats the command.");
}

/* ---- commands ---- */

enum cli_exit approval_list(struct call *call)
{
	static const struct show_column COLUMNS[] = {
		{ "ID", "id" }, { "ACT", "act" }, { "STATE", "state" }, { "HAS", "approvals" }, { "NEEDS", "needed" }, { "ASKED BY", "requester" },
		{ "ENDS", "expires" }, { "REASON", "reason" }, { NULL, NULL },
	};
	return cli_list(call, cli_scope_path(call, call_has(call, OPT_ALL) ? "/approvals?all=1" : "/approvals"), COLUMNS);
}

static enum cli_exit ask(struct call *call, const char *method, const char *what, const json_t *body)
{
	JSON_AUTO *answer = NULL;
	char *path = what != NULL ? cli_scope_path(call, "/approvals/%s/%s", call->arg[1], what)
	                          : cli_scope_path(call, "/approvals/%s", call->arg[1]);
	enum cli_exit code = client_json(call->client, method, path, body, &answer);

	free(path);
	if (code != CLI_OK)
		return code;
	if (call->as_json)
		show_json(answer);
	else
		show_approval(call, answer);
	return CLI_OK;
}

enum cli_exit approval_show(struct call *call) { return ask(call, "GET", NULL, NULL); }

enum cli_exit approval_withdraw(struct call *call)
{
	JSON_AUTO *body = json_object();

	return body != NULL ? ask(call, "POST", "withdraw", body) : cli_no_memory();
}

/* ---- signatures ---- */

static BIO *read_pem(const char *name, char **ret_text, size_t *ret_len)
{
	*ret_text = cli_read_file(name, PEM_BYTES_MAX, ret_len);
	return *ret_text != NULL ? BIO_new_mem_buf(*ret_text, (int)*ret_len) : NULL;
}

static void release_pem(BIO *in, char *text, size_t len)
{
	BIO_free(in);
	if (text != NULL)
		OPENSSL_cleanse(text, len);
	free(text);
}

/* The key as OpenSSL reads it: one with a passphrase is asked for at the terminal. */
static EVP_PKEY *read_key(const char *name)
{
	char *text = NULL;
	size_t len = 0;
	BIO *in = read_pem(name, &text, &len);
	EVP_PKEY *key = in != NULL ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;

	if (in != NULL && key == NULL)
		cli_say("%s: expected a private key in PEM", name);
	release_pem(in, text, len);
	return key;
}

static X509 *read_certificate(const char *name)
{
	char *text = NULL;
	size_t len = 0;
	BIO *in = read_pem(name, &text, &len);
	X509 *cert = in != NULL ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;

	if (in != NULL && cert == NULL)
		cli_say("%s: expected a certificate in PEM", name);
	release_pem(in, text, len);
	return cert;
}

/* RSA PKCS#1 v1.5 or ECDSA with SHA-256; Ed25519 has a hash of its own. */
static bool sign(EVP_PKEY *key, const char *text, unsigned char ret_signature[SIGNATURE_MAX], size_t *ret_len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const EVP_MD *md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
	bool done = ctx != NULL && EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1;

	*ret_len = SIGNATURE_MAX;
	done = done && EVP_DigestSign(ctx, ret_signature, ret_len, (const unsigned char *)text, strlen(text)) == 1;
	EVP_MD_CTX_free(ctx);
	return done;
}

static bool certificate_hash(const X509 *cert, char ret_hex[2 * SHA256_DIGEST_LENGTH + 1])
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (X509_digest(cert, EVP_sha256(), hash, &len) != 1 || len != SHA256_DIGEST_LENGTH)
		return false;
	hex_encode(hash, len, ret_hex);
	return true;
}

/* What stands in docs/access.md: the id, and the hash of the request as it was shown to us. */
static enum cli_exit make_text(const json_t *approval, const char *id, const char *vote, char ret_text[TEXT_MAX])
{
	const char *request = text_of(approval, "request");
	unsigned char hash[SHA256_DIGEST_LENGTH];
	char hex[2 * SHA256_DIGEST_LENGTH + 1];

	SHA256((const unsigned char *)request, strlen(request), hash);
	hex_encode(hash, sizeof(hash), hex);
	if (strcmp(hex, text_of(approval, "sha256")) != 0 || strcmp(id, text_of(approval, "id")) != 0) {
		cli_say("the server's answer is not the request that was asked for, or its hash is wrong; nothing was signed");
		return CLI_FAILED;
	}
	(void)snprintf(ret_text, TEXT_MAX, "holdfast-approval/v1\n%s\n%s\n%s\n", id, hex, vote);
	return CLI_OK;
}

static enum cli_exit put_signature(json_t *body, EVP_PKEY *key, const X509 *cert, const char *text)
{
	unsigned char signature[SIGNATURE_MAX];
	char hash[2 * SHA256_DIGEST_LENGTH + 1], encoded[B64URL_LEN(SIGNATURE_MAX) + 1];
	size_t len = 0;

	if (X509_check_private_key(cert, key) != 1) {
		cli_say("--certificate: expected the certificate of the key of --signing-key");
		return CLI_USAGE;
	}
	if (!sign(key, text, signature, &len) || !certificate_hash(cert, hash)) {
		cli_say("--signing-key: cannot sign with this key; expected RSA of at most 4096 bits, P-256, P-384, P-521 or Ed25519");
		return CLI_USAGE;
	}
	b64url_encode(signature, len, encoded);
	return cli_add_text(body, "signature", encoded) && cli_add_text(body, "certificate", hash) ? CLI_OK : cli_no_memory();
}

enum cli_exit approval_sign(struct call *call, const char *text, json_t *body)
{
	EVP_PKEY *key = read_key(call_value(call, OPT_SIGNING_KEY));
	X509 *cert = key != NULL ? read_certificate(call_value(call, OPT_CERTIFICATE)) : NULL;
	enum cli_exit code = cert != NULL ? put_signature(body, key, cert, text) : CLI_USAGE;

	X509_free(cert);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return code;
}

static enum cli_exit add_signature(struct call *call, const char *vote, json_t *body)
{
	JSON_AUTO *approval = NULL;
	char text[TEXT_MAX];
	char *path = cli_scope_path(call, "/approvals/%s", call->arg[1]);
	enum cli_exit code = client_json(call->client, "GET", path, NULL, &approval);

	free(path);
	if (code == CLI_OK)
		code = make_text(approval, call->arg[1], vote, text);
	return code == CLI_OK ? approval_sign(call, text, body) : code;
}

static enum cli_exit vote(struct call *call, const char *what)
{
	JSON_AUTO *body = json_object();
	enum cli_exit code = CLI_OK;

	if (body == NULL || !cli_add_text(body, "reason", call_value(call, OPT_REASON)))
		return cli_no_memory();
	if (call_has(call, OPT_SIGNING_KEY) != call_has(call, OPT_CERTIFICATE)) {
		cli_say("--signing-key and --certificate: expected both or neither");
		return CLI_USAGE;
	}
	if (call_has(call, OPT_SIGNING_KEY))
		code = add_signature(call, what, body);
	return code == CLI_OK ? ask(call, "POST", what, body) : code;
}

enum cli_exit approval_approve(struct call *call) { return vote(call, "approve"); }
enum cli_exit approval_deny(struct call *call) { return vote(call, "deny"); }
