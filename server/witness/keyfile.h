/* server/witness/keyfile.h - the witness's private key: an Ed25519 key in a PEM file that nobody else may read. */
#ifndef HOLDFAST_WITNESS_KEYFILE_H
#define HOLDFAST_WITNESS_KEYFILE_H

#include "server/witness/note.h"
#include "server/witness/state.h"

/** A new key in a new file, mode 0600; never overwrites. */
bool keyfile_make(const char *path, char ret_why[WHY_LEN]);
/** @return owned by the caller; NULL with the reason, also when others may read the file */
EVP_PKEY *keyfile_load(const char *path, char ret_why[WHY_LEN]);
/** The public half under a name, as those who verify cosignatures know it. */
bool keyfile_verifier(EVP_PKEY *key, const char *name, struct verifier *ret);

/** A whole file of at most 256 KiB, owned by the caller. @param is_secret  refuse it when others may read it; erase it with OPENSSL_clear_free() */
char *file_read(const char *path, bool is_secret, size_t *ret_len, char ret_why[WHY_LEN]);

#endif
