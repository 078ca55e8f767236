/*
 * tests/support/hsm_rig.h - what the tests of the PKCS#11 provider share: an opened provider on a fresh token, keys, software
 * encryption to them, and hooks on the call gate that count, fail or hold calls.
 */
#ifndef HOLDFAST_TESTS_SUPPORT_HSM_RIG_H
#define HOLDFAST_TESTS_SUPPORT_HSM_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hsm/pkcs11/provider.h"
#include "tests/support/token.h"

struct t_rig {
	struct t_token token;
	struct hsm *hsm;
	struct p11_hsm *p; /* the same, from inside */
	struct kms_err err;
};

/** Make a token and open it. */
void t_rig_up(struct t_rig *rig);
/** A token that is not opened yet. */
void t_rig_token(struct t_rig *rig);
/** Close, remove, and check that no secret is alive. */
void t_rig_down(struct t_rig *rig);

/* Both expect the call to fill RIG->err. */
#define T_OK(rig, call)                                                                                             \
	do {                                                                                                        \
		kms_status t_s_;                                                                                    \
		(rig)->err = (struct kms_err){ 0 };                                                                 \
		t_s_ = (call);                                                                                      \
		if (t_s_ != KMS_OK)                                                                                 \
			fail_msg("%s: %s: %s %s", #call, kms_status_name(t_s_), (rig)->err.detail, (rig)->err.message); \
	} while (0)
#define T_FAILS(rig, expected, call)                                                                                    \
	do {                                                                                                            \
		kms_status t_s_;                                                                                        \
		(rig)->err = (struct kms_err){ 0 };                                                                     \
		t_s_ = (call);                                                                                          \
		if (t_s_ != (expected))                                                                                 \
			fail_msg("%s: %s: %s %s", #call, kms_status_name(t_s_), (rig)->err.detail, (rig)->err.message); \
		assert_int_equal((rig)->err.status, (expected));                                                        \
	} while (0)

/** A key with a fresh random id; a caller's gets the usage that its kind has. */
struct hsm_key rig_key(enum hsm_purpose purpose, enum hsm_kind kind, unsigned bits);
/** rig_key() and hsm_key_generate(). */
struct hsm_key t_resident(struct t_rig *rig, enum hsm_purpose purpose, enum hsm_kind kind, unsigned bits, struct hsm_public *ret_public);
/** A log key that the provider knows about. */
struct hsm_key t_log_key(struct t_rig *rig);

struct t_wrapped {
	struct hsm_key key; /* key.wrapped points to blob: do not copy the struct */
	struct hsm_public public;
	uint8_t blob[HSM_BLOB_MAX];
};
/** An RSA version wrapped under `root`. */
void t_wrapped_make(struct t_rig *rig, const struct hsm_key *root, unsigned bits, struct t_wrapped *ret);
/** A version of any kind. */
void t_wrapped_of(struct t_rig *rig, const struct hsm_key *root, enum hsm_kind kind, unsigned bits, struct t_wrapped *ret);

/** hsm_sign() with the algorithm of the key's kind, and HMAC-SHA-256. */
kms_status t_sign(struct hsm *hsm, const struct hsm_key *key, const uint8_t *input, size_t input_len, uint8_t ret_signature[HSM_SIGNATURE_MAX],
                  struct kms_err *err);
kms_status t_mac(struct hsm *hsm, const struct hsm_key *key, const uint8_t *input, size_t input_len, uint8_t ret_mac[32], struct kms_err *err);

/** Encrypt to a public RSA key in software; writes pub->n_len bytes. */
void t_rsa_encrypt(const struct hsm_public *pub, enum hsm_rsa_alg alg, const char *plain, uint8_t *ret_cipher);
/** Decrypt with OAEP-256 a message that is encrypted first; answers the status of the decryption. */
kms_status t_rsa_round_trip(struct t_rig *rig, const struct hsm_key *key, const struct hsm_public *pub);

/** Objects in the token as the provider's login sees them. @param on_token  token objects, else session objects */
size_t t_objects(struct t_rig *rig, bool on_token);

/** Answer the nth C_* call from now (0 = the next) with `rv` instead of making it. -1: never. */
void t_fail_call(long nth, CK_RV rv);
/** Answer every call of this name so. NULL: stop. */
void t_fail_named(const char *call, CK_RV rv);
/** Did the planned failure happen? */
bool t_fail_happened(void);
/** Record call names from now; t_calls_end() stops and gives them, joined by blanks (static storage). */
void t_calls_begin(void);
const char *t_calls_end(void);
/** Hold every call of this name until t_hold_release(); t_hold_wait() waits until one is held. */
void t_hold(const char *call);
void t_hold_wait(void);
void t_hold_release(void);

#endif
