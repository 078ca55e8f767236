/* server/witness/keyfile.c - see keyfile.h. */
#include "server/witness/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (256U << 10)
#define ED25519_LEN 32

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
static void free_bio(BIO **b) { BIO_free_all(*b); }
static void free_key(EVP_PKEY **key) { EVP_PKEY_free(*key); }
#define FD_AUTO __attribute__((cleanup(close_fd))) int
#define BIO_AUTO __attribute__((cleanup(free_bio))) BIO

/* The service manager gives its copies to the service by an access list, whose mask looks like a right of the group (systemd.exec(5), LoadCredential=). */
static bool is_credential(const char *path, const struct stat *st)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	size_t len = dir == NULL ? 0 : strlen(dir);

	return len > 0 && strncmp(path, dir, len) == 0 && path[len] == '/' && strchr(path + len + 1, '/') == NULL && (st->st_uid == 0 || st->st_uid == geteuid()) &&
	       (st->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) == 0;
}

char *file_read(const char *path, bool is_secret, size_t *ret_len, char ret_why[WHY_LEN])
{
	FD_AUTO fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st = { 0 };
	char *bytes = NULL;
	size_t len = 0;

	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)snprintf(ret_why, WHY_LEN, "%s: %s", path, strerror(errno));
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > FILE_BYTES_MAX) {
		(void)snprintf(ret_why, WHY_LEN, "%s: not a file of 1 to %u bytes", path, FILE_BYTES_MAX);
		return NULL;
	}
	if (is_secret && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0 && !is_credential(path, &st)) {
		(void)snprintf(ret_why, WHY_LEN, "%s: others may read it; chmod 600, and if they could have, make a new key", path);
		return NULL;
	}
	len = (size_t)st.st_size;
	bytes = OPENSSL_zalloc(len + 1);
	if (bytes == NULL || read(fd, bytes, len) != (ssize_t)len) {
		(void)snprintf(ret_why, WHY_LEN, "%s: cannot be read", path);
		OPENSSL_clear_free(bytes, len + 1);
		return NULL;
	}
	*ret_len = len;
	return bytes;
}

EVP_PKEY *keyfile_load(const char *path, char ret_why[WHY_LEN])
{
	size_t len = 0;
	char *text = file_read(path, true, &len, ret_why);
	BIO_AUTO *bio = text == NULL ? NULL : BIO_new_mem_buf(text, (int)len);
	/* The empty string is the passphrase, so that nobody is asked for one. */
	EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, (char[]){ "" });

	if (text == NULL)
		return NULL;
	OPENSSL_clear_free(text, len + 1);
	if (key != NULL && EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519)
		return key;
	EVP_PKEY_free(key);
	(void)snprintf(ret_why, WHY_LEN, "%s: not an Ed25519 private key in PEM without a passphrase", path);
	return NULL;
}

bool keyfile_verifier(EVP_PKEY *key, const char *name, struct verifier *ret)
{
	uint8_t pub[ED25519_LEN];
	size_t len = sizeof(pub);

	if (EVP_PKEY_get_raw_public_key(key, pub, &len) != 1 || len != sizeof(pub))
		return false;
	verifier_make(name, KEY_COSIGNATURE, pub, ret);
	return true;
}

bool keyfile_make(const char *path, char ret_why[WHY_LEN])
{
	__attribute__((cleanup(free_key))) EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO_AUTO *bio = BIO_new(BIO_s_secmem());
	FD_AUTO fd = -1;
	char *pem = NULL;
	long len = 0;

	if (key == NULL || bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1 || (len = BIO_get_mem_data(bio, &pem)) <= 0) {
		(void)snprintf(ret_why, WHY_LEN, "no key could be made");
		return false;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		(void)snprintf(ret_why, WHY_LEN, "%s: %s", path, errno == EEXIST ? "there is such a file already, and keys are never overwritten" : strerror(errno));
		return false;
	}
	if (fchmod(fd, 0600) == 0 && write(fd, pem, (size_t)len) == len && fsync(fd) == 0)
		return true;
	(void)snprintf(ret_why, WHY_LEN, "%s: %s", path, strerror(errno));
	(void)unlink(path);
	return false;
}
