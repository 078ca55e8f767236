/* tests/unit/api_auth_external.c - tokens of external issuers: the shapes that Entra ID, AD FS and Keycloak send, and each attack of spec/hazards.md section 2.3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "api/api.h"
#include "api/issuers.h"
#include "server/base/log.h"
#include "server/core/access.h"
#include "tests/support/jose.h"

#define NOW_S 1800000000
#define BASE "https://vault.test:8443"
#define TID "72f988bf-86f1-41af-91ab-2d7cd011db47"
#define OID "66666666-7777-4888-9999-aaaaaaaaaaaa"
#define V1 "https://sts.windows.net/" TID "/"
#define V2 "https://login.microsoftonline.com/" TID "/v2.0"
#define CLOAK "https://cloak.test/realms/kms"
#define APPS "https://apps.test/adfs"
#define DATES "\"iat\":1799999900,\"nbf\":1799999900,\"exp\":1800003500"
#define PATIENCE_MS 10000

enum { ENTRA, CLOAK_KEYS, APPS_KEYS, FILES };

static EVP_PKEY *rsa, *p256, *ed25519, *other_rsa;
static char dir[64], files[FILES][96];
static struct kms kms;
static struct issuers *issuers;
static struct tokens *tokens;
static _Atomic int64_t now_s = NOW_S;

static int64_t fake_us(const struct clock *c)
{
	(void)c;
	return now_s * 1000000;
}
static const struct clock FAKE = { .wall_us = fake_us, .mono_us = fake_us };

static const char *const ENTRA_IDS[] = { V1, V2 }, *const CLOAK_IDS[] = { CLOAK }, *const APPS_IDS[] = { APPS };
static const char *const CLOAK_AUDIENCES[] = { "kms", "api://kms" };
static struct issuer_config configs[FILES] = {
	[ENTRA] = { .name = "entra", .ids = ENTRA_IDS, .id_count = 2, .tenant = TID, .jwks_file = files[ENTRA], .algs = JWT_RS256, .principal_claim = "oid",
	            .group_claim = "groups", .role_claim = "roles", .refresh_s = 600, .stale_s = 86400 },
	[CLOAK_KEYS] = { .name = "cloak", .ids = CLOAK_IDS, .id_count = 1, .audiences = CLOAK_AUDIENCES, .audience_count = 2, .jwks_file = files[CLOAK_KEYS],
	                 .algs = JWT_RS256 | JWT_PS256 | JWT_ES256 | JWT_EDDSA, .principal_claim = "sub", .group_claim = "groups",
	                 .role_claim = "realm_access.roles", .refresh_s = 600, .stale_s = 86400 },
	[APPS_KEYS] = { .name = "apps", .ids = APPS_IDS, .id_count = 1, .jwks_file = files[APPS_KEYS], .algs = JWT_RS256, .principal_claim = "appid",
	                .group_claim = "groups", .role_claim = "roles", .refresh_s = 600, .stale_s = 86400 },
};

/* "Bearer " and the token; waits while keys are being read, as a client does. */
static kms_status verify_as(const char *token, struct caller *ret, char *message)
{
	char *header = jose_text("Bearer %s", token);
	struct kms_err err = { 0 };
	kms_status status = KMS_E_BUSY;

	for (int ms = 0; status == KMS_E_BUSY && ms < PATIENCE_MS; ms++) {
		const struct timespec pause = { .tv_nsec = ms > 0 ? 1000000 : 0 };
		(void)nanosleep(&pause, NULL);
		err = (struct kms_err){ 0 };
		status = tokens_verify(tokens, header, ret, &err);
	}
	if (message != NULL)
		memcpy(message, err.message, sizeof(err.message));
	free(header);
	return status;
}

static kms_status verify(EVP_PKEY *key, const char *alg, const char *header, const char *claims, struct caller *ret, char *message)
{
	char *token = jose_sign(key, alg, header, claims);
	kms_status status = verify_as(token, ret, message);

	free(token);
	return status;
}

#define RSA_HEADER "{\"typ\":\"JWT\",\"alg\":\"RS256\",\"kid\":\"rsa\",\"x5t\":\"rsa\"}"
#define ENTRA_CLAIMS "{\"aud\":\"" BASE "\",\"iss\":\"" V2 "\",\"tid\":\"" TID "\",\"oid\":\"" OID "\"," DATES "}"

static void refuse(const char *claims, const char *why)
{
	struct caller caller = { 0 };
	char message[sizeof(((struct kms_err *)0)->message)] = "";

	if (verify(rsa, "RS256", RSA_HEADER, claims, &caller, message) != KMS_E_UNAUTHENTICATED)
		fail_msg("accepted %s", claims);
	if (strncmp(message, "AKV", 3) != 0 || strstr(message, why) == NULL)
		fail_msg("%s: %s", claims, message);
}

static void expect_group(const struct caller *c, size_t i, const char *kind, const char *value)
{
	uint8_t claim[STORE_ID_LEN];

	assert_true(i < c->group_count);
	access_claim(c->issuer, kind, value, claim);
	assert_memory_equal(c->groups[i], claim, sizeof(claim));
}

static void both_versions_of_entras_tokens_name_subject_groups_and_roles(void **state)
{
	static const char *const CLAIMS[] = {
		"{\"aud\":\"" BASE "/\",\"iss\":\"" V1 "\",\"appid\":\"a\",\"appidacr\":\"1\",\"idp\":\"x\",\"oid\":\"" OID "\",\"sub\":\"s\",\"tid\":\"" TID
		"\",\"uti\":\"u\",\"ver\":\"1.0\",\"groups\":[\"g1\",\"g2\"],\"roles\":[\"r1\"]," DATES "}",
		"{\"aud\":\"" BASE "\",\"iss\":\"" V2 "\",\"azp\":\"a\",\"azpacr\":\"1\",\"oid\":\"" OID "\",\"sub\":\"s\",\"tid\":\"" TID
		"\",\"ver\":\"2.0\",\"groups\":[\"g1\",\"g2\"],\"roles\":[\"r1\"]," DATES "}",
	};

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CLAIMS); i++)
		for (int again = 0; again < 2; again++) { /* the second time it is remembered */
			struct caller caller = { 0 };
			assert_int_equal(verify(rsa, "RS256", RSA_HEADER, CLAIMS[i], &caller, NULL), KMS_OK);
			assert_int_equal(caller.auth, EVENT_AUTH_JWT);
			assert_string_equal(caller.issuer, "entra");
			assert_string_equal(caller.subject, OID);
			assert_int_equal(caller.issued_s, 1799999900);
			assert_int_equal(caller.group_count, 3);
			expect_group(&caller, 0, "group", "g1");
			expect_group(&caller, 1, "group", "g2");
			expect_group(&caller, 2, "role", "r1");
		}
}

static void keycloaks_tokens_name_roles_deep_inside_and_use_any_algorithm(void **state)
{
	static const char CLAIMS[] = "{\"aud\":[\"account\",\"kms\"],\"iss\":\"" CLOAK "\",\"typ\":\"Bearer\",\"azp\":\"cli\",\"sub\":\"f:1:ada\",\"scope\":\"email\","
	                             "\"realm_access\":{\"roles\":[\"officer\"]},\"groups\":\"/ops\",\"iat\":1799999900,\"exp\":1800003500}";
	static const struct {
		const char *alg, *kid;
		EVP_PKEY **key;
	} ALGS[] = { { "RS256", "rsa", &rsa }, { "PS256", "rsa", &rsa }, { "ES256", "ec", &p256 }, { "EdDSA", "ed", &ed25519 } };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(ALGS); i++) {
		char *header = jose_text("{\"alg\":\"%s\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", ALGS[i].alg, ALGS[i].kid);
		struct caller caller = { 0 };
		assert_int_equal(verify(*ALGS[i].key, ALGS[i].alg, header, CLAIMS, &caller, NULL), KMS_OK);
		assert_string_equal(caller.issuer, "cloak");
		assert_string_equal(caller.subject, "f:1:ada");
		assert_int_equal(caller.group_count, 2);
		expect_group(&caller, 0, "group", "/ops");
		expect_group(&caller, 1, "role", "officer");
		free(header);
	}
}

static void an_application_is_known_by_appid_or_azp_but_not_its_users(void **state)
{
	struct caller caller = { 0 };

	(void)state;
	assert_int_equal(verify(rsa, "RS256", RSA_HEADER, "{\"aud\":\"" BASE "\",\"iss\":\"" APPS "\",\"appid\":\"app\"," DATES "}", &caller, NULL), KMS_OK);
	assert_string_equal(caller.subject, "app");
	assert_int_equal(verify(rsa, "RS256", RSA_HEADER, "{\"aud\":\"" BASE "\",\"iss\":\"" APPS "\",\"azp\":\"app2\"," DATES "}", &caller, NULL), KMS_OK);
	assert_string_equal(caller.subject, "app2");
	refuse("{\"aud\":\"" BASE "\",\"iss\":\"" APPS "\",\"appid\":\"app\",\"scp\":\"user_impersonation\"," DATES "}", "scp");
	/* As Keycloak says it. */
	refuse("{\"aud\":\"" BASE "\",\"iss\":\"" APPS "\",\"azp\":\"app\",\"sub\":\"f:1:ada\",\"typ\":\"Bearer\",\"scope\":\"email\",\"sid\":\"s\"," DATES "}", "sid");
	refuse("{\"aud\":\"" BASE "\",\"iss\":\"" APPS "\",\"azp\":\"app\",\"sub\":\"f:1:ada\",\"auth_time\":1799999900," DATES "}", "auth_time");
	refuse("{\"aud\":\"" BASE "\",\"iss\":\"" APPS "\",\"oid\":\"" OID "\"," DATES "}", "appid");
}

#define ENTRA_BUT(members) "{\"iss\":\"" V2 "\"," members "}"
#define WHO "\"tid\":\"" TID "\",\"oid\":\"" OID "\""
#define FOR_US "\"aud\":\"" BASE "\""

static void every_wrong_claim_is_refused(void **state)
{
	char *subject = jose_text(ENTRA_BUT(FOR_US ",\"tid\":\"" TID "\",\"oid\":\"%*s\"," DATES), CALLER_SUBJECT_MAX + 1, "x");

	(void)state;
	refuse(ENTRA_BUT(WHO "," DATES), "AKV10022");
	refuse(ENTRA_BUT("\"aud\":\"https://vault.azure.net\"," WHO "," DATES), "AKV10022");
	refuse(ENTRA_BUT("\"aud\":\"" BASE ".evil.test\"," WHO "," DATES), "AKV10022");
	refuse(ENTRA_BUT("\"aud\":\"" BASE "//\"," WHO "," DATES), "AKV10022");
	refuse(ENTRA_BUT("\"aud\":[]," WHO "," DATES), "AKV10022");
	refuse(ENTRA_BUT("\"aud\":[[\"" BASE "\"]]," WHO "," DATES), "AKV10022");
	refuse(ENTRA_BUT("\"aud\":{\"a\":\"" BASE "\"}," WHO "," DATES), "AKV10022");
	refuse(ENTRA_BUT(FOR_US ",\"oid\":\"" OID "\"," DATES), "AKV10032");
	refuse(ENTRA_BUT(FOR_US ",\"tid\":\"99999999-86f1-41af-91ab-2d7cd011db47\",\"oid\":\"" OID "\"," DATES), "AKV10032");
	refuse(ENTRA_BUT(FOR_US ",\"tid\":[\"" TID "\"],\"oid\":\"" OID "\"," DATES), "AKV10032");
	refuse(ENTRA_BUT(FOR_US ",\"tid\":\"" TID "\"," DATES), "'oid'");
	refuse(ENTRA_BUT(FOR_US ",\"tid\":\"" TID "\",\"oid\":\"\"," DATES), "'oid'");
	refuse(ENTRA_BUT(FOR_US ",\"tid\":\"" TID "\",\"oid\":\"a\\nb\"," DATES), "'oid'");
	refuse(ENTRA_BUT(FOR_US ",\"tid\":\"" TID "\",\"oid\":[\"" OID "\"]," DATES), "'oid'");
	refuse(subject, "'oid'");
	refuse(ENTRA_BUT(FOR_US "," WHO), "exp and iat");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"exp\":1800003500"), "exp and iat");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":1799999900"), "exp and iat");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":1799999900,\"exp\":\"1800003500\""), "exp and iat");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":1799999900,\"exp\":1e400"), "not acceptable");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":-5,\"exp\":1800003500"), "exp and iat");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":0,\"exp\":1800003500"), "iat");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":1799999900,\"nbf\":\"1799999900\",\"exp\":1800003500"), "nbf");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":1799990000,\"exp\":1799999940"), "expired");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":1799999900,\"nbf\":1800000061,\"exp\":1800003500"), "not yet valid");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":1800000061,\"exp\":1800003500"), "not yet valid");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"iat\":1799913500,\"exp\":1900000000"), "expired"); /* more than a day old, whatever it says */
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"typ\":\"ID\"," DATES), "typ");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"typ\":\"\"," DATES), "typ");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"typ\":[\"Bearer\"]," DATES), "typ");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"typ\":null," DATES), "typ");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"nonce\":\"n-0S6_WzA2Mj\"," DATES), "nonce");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"at_hash\":\"77QmUPtjPfzWtF2AnpK9RQ\"," DATES), "at_hash");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"c_hash\":\"77QmUPtjPfzWtF2AnpK9RQ\"," DATES), "c_hash");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"events\":{\"http://schemas.openid.net/event/backchannel-logout\":{}}," DATES), "events");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"events\":null," DATES), "events");
	refuse("{\"aud\":\"" BASE "\",\"iss\":\"" APPS "\",\"appid\":\"app\",\"nonce\":\"n\"," DATES "}", "nonce");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"cnf\":{\"kid\":\"k\"}," DATES), "cnf");
	refuse(ENTRA_BUT(FOR_US "," WHO "," DATES ",\"oid\":\"" OID "\""), "duplicate");
	free(subject);
	refuse("{\"aud\":\"" BASE "\",\"iss\":\"https://login.microsoftonline.com/" TID "/v2.0/\"," WHO "," DATES "}", "AKV10032");
	refuse("{\"aud\":\"" BASE "\",\"iss\":[\"" V2 "\"]," WHO "," DATES "}", "AKV10032");
	refuse("{\"aud\":\"" BASE "\"," WHO "," DATES "}", "AKV10032");
	refuse("{\"aud\":\"" BASE "\",\"iss\":\"" BASE "/" TID "/v2.0\"," WHO "," DATES "}", "this server's key");
}

static void too_many_groups_are_said_to_be_too_many(void **state)
{
	char *list = strdup("\"g0\""), *claims = NULL;
	struct caller caller = { 0 };

	(void)state;
	for (int i = 1; i < CALLER_GROUPS_MAX; i++) {
		char *longer = jose_text("%s,\"g%d\"", list, i);
		free(list);
		list = longer;
	}
	claims = jose_text(ENTRA_BUT(FOR_US "," WHO ",\"groups\":[%s]," DATES), list);
	assert_int_equal(verify(rsa, "RS256", RSA_HEADER, claims, &caller, NULL), KMS_OK);
	assert_int_equal(caller.group_count, CALLER_GROUPS_MAX);
	free(claims);
	claims = jose_text(ENTRA_BUT(FOR_US "," WHO ",\"groups\":[%s],\"roles\":[\"r\"]," DATES), list);
	refuse(claims, "more than 32");
	free(claims);
	free(list);
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"_claim_names\":{\"groups\":\"src1\"},\"_claim_sources\":{\"src1\":{\"endpoint\":\"https://evil.test\"}}," DATES), "overage");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"groups\":[1]," DATES), "'groups'");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"roles\":{\"r\":1}," DATES), "'roles'");
	refuse(ENTRA_BUT(FOR_US "," WHO ",\"roles\":[\"\"]," DATES), "'roles'");
}

static void refuse_header(EVP_PKEY *key, const char *alg, const char *header)
{
	struct caller caller = { 0 };

	if (verify(key, alg, header, ENTRA_CLAIMS, &caller, NULL) != KMS_E_UNAUTHENTICATED)
		fail_msg("accepted %s", header);
}

static void every_wrong_header_is_refused(void **state)
{
	static const char *const BAD[] = {
		"{\"alg\":\"RS256\"}", "{\"alg\":\"RS256\",\"kid\":\"RSA\"}", "{\"alg\":\"RS256\",\"kid\":\"../rsa\"}", "{\"alg\":\"RS256\",\"kid\":\"rsa' OR '1'='1\"}",
		"{\"alg\":\"none\",\"kid\":\"rsa\"}", "{\"alg\":\"HS256\",\"kid\":\"rsa\"}", "{\"alg\":\"ES256\",\"kid\":\"rsa\"}", "{\"alg\":\"RS512\",\"kid\":\"rsa\"}",
		"{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"id+jwt\"}", "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":1}", "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"typ\":\"dpop+jwt\"}",
		"{\"alg\":\"RS256\",\"kid\":\"rsa\",\"jku\":\"https://evil.test\"}", "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"crit\":[\"exp\"]}",
		"{\"alg\":\"RS256\",\"kid\":\"rsa\",\"x5c\":[\"MII\"]}", "{\"alg\":\"RS256\",\"kid\":\"rsa\",\"jwk\":{}}", "{\"alg\":\"RS256\",\"alg\":\"RS256\",\"kid\":\"rsa\"}",
	};
	struct caller caller = { 0 };

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(BAD); i++)
		refuse_header(rsa, "RS256", BAD[i]);
	refuse_header(rsa, "PS256", "{\"alg\":\"PS256\",\"kid\":\"rsa\"}"); /* the key could, the issuer may not */
	refuse_header(other_rsa, "RS256", RSA_HEADER);
	assert_int_equal(verify(rsa, "RS256", "{\"alg\":\"RS256\",\"kid\":\"rsa\"}", ENTRA_CLAIMS, &caller, NULL), KMS_OK);
}

/* The public key is no secret, and so no key of an HMAC. */
static void hs256_with_the_public_key_is_refused(void **state)
{
	static const char HEADER[] = "{\"alg\":\"HS256\",\"kid\":\"rsa\",\"typ\":\"JWT\"}";
	char *text = jose_sign(rsa, "RS256", HEADER, ENTRA_CLAIMS), *dot = strrchr(text, '.'), *token = NULL, signature[B64URL_LEN(32) + 1];
	struct caller caller = { 0 };
	BIO *pem = BIO_new(BIO_s_mem());
	char *key = NULL;
	uint8_t mac[32];
	unsigned mac_len = sizeof(mac);
	int key_len = 0;

	(void)state;
	assert_int_equal(PEM_write_bio_PUBKEY(pem, rsa), 1);
	key_len = (int)BIO_get_mem_data(pem, &key);
	*dot = '\0';
	assert_non_null(HMAC(EVP_sha256(), key, key_len, (const uint8_t *)text, strlen(text), mac, &mac_len));
	b64url_encode(mac, sizeof(mac), signature);
	token = jose_text("%s.%s", text, signature);
	assert_int_equal(verify_as(token, &caller, NULL), KMS_E_UNAUTHENTICATED);
	BIO_free(pem);
	free(text);
	free(token);
}

/* One issuer's key never signs for another, though it has the same kid there. */
static void a_swapped_issuer_is_refused(void **state)
{
	struct caller caller = { 0 };

	(void)state;
	assert_int_equal(verify(p256, "ES256", "{\"alg\":\"ES256\",\"kid\":\"ec\"}", "{\"aud\":\"" BASE "\",\"iss\":\"" APPS "\",\"appid\":\"app\"," DATES "}", &caller, NULL),
	                 KMS_E_UNAUTHENTICATED);
	assert_int_equal(verify(other_rsa, "RS256", "{\"alg\":\"RS256\",\"kid\":\"second\"}",
	                        "{\"aud\":\"kms\",\"iss\":\"" CLOAK "\",\"sub\":\"s\"," DATES "}", &caller, NULL), KMS_OK);
	assert_int_equal(verify(other_rsa, "RS256", "{\"alg\":\"RS256\",\"kid\":\"second\"}",
	                        "{\"aud\":\"" BASE "\",\"iss\":\"" APPS "\",\"appid\":\"app\"," DATES "}", &caller, NULL), KMS_E_UNAUTHENTICATED);
}

static void flipping_any_bit_is_refused(void **state)
{
	char *token = jose_sign(rsa, "RS256", RSA_HEADER, ENTRA_CLAIMS), *header = jose_text("Bearer %s", token);
	size_t len = strlen(header);
	struct caller caller = { 0 };

	(void)state;
	for (size_t i = strlen("Bearer "); i < len; i++)
		for (int bit = 0; bit < 7; bit++) {
			header[i] = (char)(header[i] ^ (1 << bit));
			/* a leading space is only more white space before the token; a flipped kid may have keys read, which is no acceptance */
			if (header[i] != '\0' && header[i] != ' ' && tokens_verify(tokens, header, &caller, NULL) == KMS_OK)
				fail_msg("accepted with bit %d of character %zu flipped", bit, i);
			header[i] = (char)(header[i] ^ (1 << bit));
		}
	assert_int_equal(tokens_verify(tokens, header, &caller, NULL), KMS_OK);
	free(token);
	free(header);
}

static void a_remembered_token_ends_with_its_date_and_with_its_key(void **state)
{
	char *token = jose_sign(other_rsa, "RS256", "{\"alg\":\"RS256\",\"kid\":\"second\"}", "{\"aud\":\"kms\",\"iss\":\"" CLOAK "\",\"sub\":\"s\"," DATES "}");
	char *jwk = jose_jwk(rsa, "rsa", ""), *set = jose_text("{\"keys\":[%s]}", jwk);
	struct caller caller = { 0 };

	(void)state;
	assert_int_equal(verify_as(token, &caller, NULL), KMS_OK);
	now_s = 1800003500 + 59;
	assert_int_equal(verify_as(token, &caller, NULL), KMS_OK);
	now_s = 1800003500 + 60;
	assert_int_equal(verify_as(token, &caller, NULL), KMS_E_UNAUTHENTICATED);
	now_s = NOW_S;
	assert_int_equal(verify_as(token, &caller, NULL), KMS_OK);
	jose_put_file(files[CLOAK_KEYS], set); /* the issuer withdraws the key */
	issuers_reload(issuers);
	for (int ms = 0; ms < PATIENCE_MS && verify_as(token, &caller, NULL) == KMS_OK; ms++) {
		const struct timespec pause = { .tv_nsec = 1000000 };
		(void)nanosleep(&pause, NULL);
	}
	assert_int_equal(verify_as(token, &caller, NULL), KMS_E_UNAUTHENTICATED);
	free(token);
	free(jwk);
	free(set);
}

static int setup(void **state)
{
	struct kms_err err = { 0 };
	EVP_PKEY *own = jose_key("P-256");
	char *r = NULL, *e = NULL, *d = NULL, *o = NULL, *set = NULL;

	(void)state;
	if (secret_heap_init(1U << 20, &err) != KMS_OK)
		return -1;
	json_setup();
	log_setup(LOG_WARN, true);
	(void)snprintf(dir, sizeof(dir), "/tmp/holdfast-auth-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	rsa = jose_key("RSA");
	other_rsa = jose_key("RSA");
	p256 = jose_key("P-256");
	ed25519 = jose_key("Ed25519");
	r = jose_jwk(rsa, "rsa", "\"use\":\"sig\"");
	o = jose_jwk(other_rsa, "second", "");
	e = jose_jwk(p256, "ec", "");
	d = jose_jwk(ed25519, "ed", "");
	set = jose_text("{\"keys\":[%s,%s,%s,%s]}", r, o, e, d);
	for (size_t i = 0; i < FILES; i++) {
		char *own_set = jose_text("{\"keys\":[%s]}", r);
		(void)snprintf(files[i], sizeof(files[i]), "%s/%zu", dir, i);
		jose_put_file(files[i], i == CLOAK_KEYS ? set : own_set);
		free(own_set);
	}
	free(r);
	free(o);
	free(e);
	free(d);
	free(set);
	kms.clock = &FAKE;
	kms.public_port = 8443;
	(void)snprintf(kms.domain, sizeof(kms.domain), "vault.test");
	if (EVP_PKEY_get_octet_string_param(own, "encoded-pub-key", kms.inst.token_public.point, sizeof(kms.inst.token_public.point),
	                                    &kms.inst.token_public.point_len) != 1)
		return -1;
	EVP_PKEY_free(own);
	return issuers_new(&FAKE, configs, FILES, &issuers, &err) == KMS_OK && tokens_new(&kms, issuers, &tokens, &err) == KMS_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	tokens_free(tokens);
	issuers_free(issuers);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(other_rsa);
	EVP_PKEY_free(p256);
	EVP_PKEY_free(ed25519);
	for (size_t i = 0; i < FILES; i++)
		(void)unlink(files[i]);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_versions_of_entras_tokens_name_subject_groups_and_roles),
		cmocka_unit_test(keycloaks_tokens_name_roles_deep_inside_and_use_any_algorithm),
		cmocka_unit_test(an_application_is_known_by_appid_or_azp_but_not_its_users),
		cmocka_unit_test(every_wrong_claim_is_refused),
		cmocka_unit_test(too_many_groups_are_said_to_be_too_many),
		cmocka_unit_test(every_wrong_header_is_refused),
		cmocka_unit_test(hs256_with_the_public_key_is_refused),
		cmocka_unit_test(a_swapped_issuer_is_refused),
		cmocka_unit_test(flipping_any_bit_is_refused),
		cmocka_unit_test(a_remembered_token_ends_with_its_date_and_with_its_key),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
