/* api/http_tls.c - see http_tls.h. */
#include "api/http_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/x509.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/secret.h"

#define CHAIN_MAX 16
#define PEM_BYTES_MAX (256U << 10)
#define KEY_ID_BYTES 64 /* room for any hash */
#define CLIENT_CHAIN_BYTES_MAX (16U << 10)
/* One handshake message: the longest chain, in the client's own message or sealed into the ticket of its hello, and something around it. Strangers
 * fill this memory, and the library's own limit is 128 KiB. */
#define HANDSHAKE_BYTES_MAX (2 * CLIENT_CHAIN_BYTES_MAX)

const char HTTP_TLS_PRIORITIES[] =
	"NONE:+VERS-TLS1.3:+VERS-TLS1.2:+CTYPE-X509:+AEAD:+ECDHE-ECDSA:+ECDHE-RSA:"
	"+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM:"
	"+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:"
	"+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SECP384R1-SHA384:+SIGN-ECDSA-SHA256:+SIGN-ECDSA-SHA384:+SIGN-EDDSA-ED25519:"
	"+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-RSAE-SHA384:+SIGN-RSA-SHA256:+SIGN-RSA-SHA384";

/* The suites of spec/ekm-proxy.md section 2. In TLS 1.3 the RSA-SHA rows stand for signatures inside certificates only (RFC 8446 section 4.2.3):
 * without them a client whose issuer signs that way would have to keep its certificate back. */
static const char PRIORITIES_TLS13[] =
	"NONE:+VERS-TLS1.3:+CTYPE-X509:+AEAD:+AES-256-GCM:+AES-128-GCM:"
	"+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:"
	"+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SECP384R1-SHA384:"
	"+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-RSAE-SHA384:+SIGN-RSA-PSS-RSAE-SHA512:"
	"+SIGN-RSA-PSS-SHA256:+SIGN-RSA-PSS-SHA384:+SIGN-RSA-PSS-SHA512:"
	"+SIGN-RSA-SHA256:+SIGN-RSA-SHA384:+SIGN-RSA-SHA512";

struct tls_pair {
	atomic_uint refs;
	gnutls_pcert_st chain[CHAIN_MAX];
	unsigned chain_len;
	gnutls_privkey_t key;
};

struct tls_store {
	pthread_mutex_t lock; /* guards current */
	struct tls_pair *current;
	char *cert_file, *key_file;
	bool asks_client_certs;
	bool is_tls13_only;
	struct secret *ticket_key; /* NULL = no tickets; the library derives from it keys that it changes every few hours */
};

/* A whole small file, erased when let go: one of the two is a private key. */
struct pem {
	unsigned char *bytes;
	size_t len, cap;
};

static void pem_clear(struct pem *p)
{
	if (p->bytes != NULL)
		OPENSSL_cleanse(p->bytes, p->cap);
	free(p->bytes);
	*p = (struct pem){ 0 };
}

static void fd_close_at(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

/* A private key has to be closed to group and others: at the start (server/config.c asks for the same), and at each reload. */
static kms_status pem_read(const char *path, bool is_private, struct pem *ret_pem, struct kms_err *err)
{
	__attribute__((cleanup(fd_close_at))) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	__attribute__((cleanup(pem_clear))) struct pem pem = { 0 };
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > (off_t)PEM_BYTES_MAX)
		return kms_refuse(err, KMS_E_INVALID, "%s: not a PEM file of at most %u bytes", path, PEM_BYTES_MAX);
	if (is_private && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: must be closed to group and others (chmod 600)", path);
	pem.cap = (size_t)st.st_size;
	pem.bytes = malloc(pem.cap);
	if (pem.bytes == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "%s: %zu bytes", path, pem.cap);
	while (pem.len < pem.cap) {
		ssize_t n = read(fd, pem.bytes + pem.len, pem.cap - pem.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return kms_refuse(err, KMS_E_INVALID, "%s: %s", path, n < 0 ? strerror(errno) : "changed while it was read");
		pem.len += (size_t)n;
	}
	*ret_pem = pem;
	pem = (struct pem){ 0 };
	return KMS_OK;
}

static void pair_free(struct tls_pair *pair)
{
	for (unsigned i = 0; i < pair->chain_len; i++)
		gnutls_pcert_deinit(&pair->chain[i]);
	gnutls_privkey_deinit(pair->key);
	free(pair);
}

static void pubkey_deinit_at(gnutls_pubkey_t *key)
{
	if (*key != NULL)
		gnutls_pubkey_deinit(*key);
}

/* A key that does not belong to the certificate would fail each handshake; better not to start, or to keep the old pair. */
static bool key_matches(const struct tls_pair *pair)
{
	__attribute__((cleanup(pubkey_deinit_at))) gnutls_pubkey_t pub = NULL;
	unsigned char of_key[KEY_ID_BYTES], of_cert[KEY_ID_BYTES];
	size_t key_len = sizeof(of_key), cert_len = sizeof(of_cert);
	return gnutls_pubkey_init(&pub) == 0 && gnutls_pubkey_import_privkey(pub, pair->key, 0, 0) == 0 &&
	       gnutls_pubkey_get_key_id(pub, GNUTLS_KEYID_USE_SHA256, of_key, &key_len) == 0 &&
	       gnutls_pubkey_get_key_id(pair->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_cert, &cert_len) == 0 &&
	       key_len == cert_len && CRYPTO_memcmp(of_key, of_cert, key_len) == 0;
}

static void pair_release_at(struct tls_pair **pair) { tls_pair_release(*pair); }

static kms_status pair_load(const char *cert_file, const char *key_file, struct tls_pair **ret_pair, struct kms_err *err)
{
	__attribute__((cleanup(pem_clear))) struct pem cert = { 0 };
	__attribute__((cleanup(pem_clear))) struct pem key = { 0 };
	__attribute__((cleanup(pair_release_at))) struct tls_pair *pair = NULL;

	KMS_TRY(pem_read(cert_file, false, &cert, err));
	KMS_TRY(pem_read(key_file, true, &key, err));
	pair = calloc(1, sizeof(*pair));
	if (pair == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "certificate");
	atomic_init(&pair->refs, 1);
	if (gnutls_privkey_init(&pair->key) != 0)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_HTTP, 0, "private key");

	gnutls_datum_t cert_datum = { .data = cert.bytes, .size = (unsigned)cert.len };
	unsigned chain_len = CHAIN_MAX;
	int rc = gnutls_pcert_list_import_x509_raw(pair->chain, &chain_len, &cert_datum, GNUTLS_X509_FMT_PEM, GNUTLS_X509_CRT_LIST_SORT);
	if (rc < 0 || chain_len == 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: not a PEM certificate chain: %s", cert_file, gnutls_strerror(rc));
	pair->chain_len = chain_len;

	gnutls_datum_t key_datum = { .data = key.bytes, .size = (unsigned)key.len };
	rc = gnutls_privkey_import_x509_raw(pair->key, &key_datum, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (rc < 0)
		return kms_refuse(err, KMS_E_INVALID, "%s: not an unencrypted PEM private key: %s", key_file, gnutls_strerror(rc));
	if (!key_matches(pair))
		return kms_refuse(err, KMS_E_INVALID, "%s: the key does not belong to the certificate in %s", key_file, cert_file);
	*ret_pair = KMS_TAKE(pair);
	return KMS_OK;
}

static void store_free_at(struct tls_store **store) { tls_store_free(*store); }

static kms_status ticket_key_make(struct secret **ret_key, struct kms_err *err)
{
	gnutls_datum_t made = { 0 };
	int rc = gnutls_session_ticket_key_generate(&made);
	if (rc != 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_HTTP, 0, "ticket key: %s", gnutls_strerror(rc));
	struct secret *key = secret_from(made.data, made.size);
	OPENSSL_cleanse(made.data, made.size);
	gnutls_free(made.data);
	if (key == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "ticket key");
	*ret_key = key;
	return KMS_OK;
}

kms_status tls_store_open(const struct http_config *cfg, struct tls_store **ret_store, struct kms_err *err)
{
	__attribute__((cleanup(store_free_at))) struct tls_store *store = calloc(1, sizeof(*store));
	if (store == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "certificate store");
	(void)pthread_mutex_init(&store->lock, NULL);
	store->cert_file = strdup(cfg->cert_file);
	store->key_file = strdup(cfg->key_file);
	store->asks_client_certs = cfg->asks_client_certs;
	store->is_tls13_only = cfg->is_tls13_only;
	if (store->cert_file == NULL || store->key_file == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "certificate store");
	KMS_TRY(pair_load(cfg->cert_file, cfg->key_file, &store->current, err));
	if (cfg->is_tls13_only)
		KMS_TRY(ticket_key_make(&store->ticket_key, err));
	*ret_store = KMS_TAKE(store);
	return KMS_OK;
}

kms_status tls_store_reload(struct tls_store *store, struct kms_err *err)
{
	struct tls_pair *fresh = NULL;
	KMS_TRY(pair_load(store->cert_file, store->key_file, &fresh, err));
	(void)pthread_mutex_lock(&store->lock);
	struct tls_pair *old = store->current;
	store->current = fresh;
	(void)pthread_mutex_unlock(&store->lock);
	tls_pair_release(old);
	return KMS_OK;
}

void tls_store_free(struct tls_store *store)
{
	if (store == NULL)
		return;
	tls_pair_release(store->current);
	secret_free(store->ticket_key);
	(void)pthread_mutex_destroy(&store->lock);
	free(store->cert_file);
	free(store->key_file);
	free(store);
}

const char *tls_store_priorities(const struct tls_store *store) { return store->is_tls13_only ? PRIORITIES_TLS13 : HTTP_TLS_PRIORITIES; }

/* RSA as large as any that is used; an exponent as large as OpenSSL takes with such moduli. */
#define CLIENT_RSA_BYTES_MAX (8192 / 8)
#define CLIENT_EXPONENT_BYTES_MAX 8

static bool is_affordable_rsa(gnutls_x509_crt_t cert)
{
	gnutls_datum_t n = { 0 }, e = { 0 };
	bool good = gnutls_x509_crt_get_pk_rsa_raw(cert, &n, &e) == 0 && n.size <= CLIENT_RSA_BYTES_MAX + 1 &&
	            e.size <= CLIENT_EXPONENT_BYTES_MAX + 1; /* either may have a leading zero */
	gnutls_free(n.data);
	gnutls_free(e.data);
	return good;
}

/* Before the client's signature is verified, on an HTTP thread, under a key that a stranger chose: nettle knows no limit for an RSA key, and modulus and
 * exponent of 80,000 bits, which fit a handshake, cost a minute. */
static int on_client_proof(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming, const gnutls_datum_t *message)
{
	unsigned count = 0;
	const gnutls_datum_t *sent = gnutls_certificate_get_peers(session, &count);
	gnutls_x509_crt_t cert = NULL;
	bool good = false;

	(void)type;
	(void)when;
	(void)incoming;
	(void)message;
	if (sent == NULL || count == 0)
		return 0;
	if (gnutls_x509_crt_init(&cert) == 0 && gnutls_x509_crt_import(cert, sent, GNUTLS_X509_FMT_DER) == 0) {
		int algorithm = gnutls_x509_crt_get_pk_algorithm(cert, NULL);
		good = (algorithm != GNUTLS_PK_RSA && algorithm != GNUTLS_PK_RSA_PSS) || is_affordable_rsa(cert);
	}
	gnutls_x509_crt_deinit(cert);
	return good ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

void tls_store_prepare(const struct tls_store *store, gnutls_session_t session)
{
	if (store->asks_client_certs) {
		gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY, GNUTLS_HOOK_PRE, on_client_proof);
		gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
		gnutls_certificate_send_x509_rdn_sequence(session, 1); /* 1 = do not send */
		gnutls_handshake_set_max_packet_length(session, HANDSHAKE_BYTES_MAX);
	}
	if (store->ticket_key != NULL) {
		gnutls_datum_t key = { .data = secret_bytes(store->ticket_key), .size = (unsigned)secret_len(store->ticket_key) };
		(void)gnutls_session_ticket_enable_server(session, &key); /* copies it; on failure each handshake is a full one */
	}
}

bool tls_store_client_chain(const struct tls_store *store, gnutls_session_t session, struct http_cert ret_chain[HTTP_CLIENT_CHAIN_MAX],
                            size_t *ret_count, uint8_t **ret_der)
{
	unsigned count = 0;
	const gnutls_datum_t *sent = store->asks_client_certs ? gnutls_certificate_get_peers(session, &count) : NULL;
	size_t len = 0;
	*ret_count = 0;
	*ret_der = NULL;
	if (sent == NULL || count == 0 || count > HTTP_CLIENT_CHAIN_MAX)
		return true;
	for (unsigned i = 0; i < count; i++)
		len += sent[i].size;
	if (len > CLIENT_CHAIN_BYTES_MAX)
		return true;
	uint8_t *der = malloc(len);
	if (der == NULL)
		return false;
	*ret_der = der;
	for (unsigned i = 0; i < count; i++) {
		memcpy(der, sent[i].data, sent[i].size);
		ret_chain[i] = (struct http_cert){ .der = der, .len = sent[i].size };
		der += sent[i].size;
	}
	*ret_count = count;
	return true;
}

struct tls_pair *tls_store_acquire(struct tls_store *store)
{
	(void)pthread_mutex_lock(&store->lock);
	struct tls_pair *pair = store->current;
	atomic_fetch_add_explicit(&pair->refs, 1, memory_order_relaxed);
	(void)pthread_mutex_unlock(&store->lock);
	return pair;
}

void tls_pair_release(struct tls_pair *pair)
{
	if (pair != NULL && atomic_fetch_sub_explicit(&pair->refs, 1, memory_order_acq_rel) == 1)
		pair_free(pair);
}

void tls_pair_get(struct tls_pair *pair, gnutls_pcert_st **ret_chain, unsigned *ret_chain_len, gnutls_privkey_t *ret_key)
{
	*ret_chain = pair->chain;
	*ret_chain_len = pair->chain_len;
	*ret_key = pair->key;
}

const char *tls_version_text(gnutls_session_t session)
{
	return gnutls_protocol_get_version(session) == GNUTLS_TLS1_3 ? "1.3" : "1.2";
}
