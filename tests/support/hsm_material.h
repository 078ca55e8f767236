/* tests/support/hsm_material.h - keys made in software, as a caller would hand them over: in clear, or wrapped for an exchange key. */
#ifndef HOLDFAST_TESTS_SUPPORT_HSM_MATERIAL_H
#define HOLDFAST_TESTS_SUPPORT_HSM_MATERIAL_H

#include "tests/support/hsm_rig.h"

struct t_material {
	struct hsm_material m;
	EVP_PKEY *pkey;          /* pairs */
	struct secret *parts[6]; /* what `m` borrows */
};

/** A fresh key of this kind. */
void t_material_make(struct t_material *ret, enum hsm_kind kind, unsigned bits);
/** The material of an RSA key that is there already; `pkey` is taken over. */
void t_material_rsa(struct t_material *ret, EVP_PKEY *pkey);
void t_material_clear(struct t_material *m);

/** CKM_RSA_AES_KEY_WRAP in software: of `plain`, or of the pair's PKCS#8 text when `plain` is NULL. Writes the whole; *ret_len bytes. */
void t_transfer_make(const struct hsm_public *exchange, const struct t_material *m, const struct secret *plain,
                     uint8_t ret_transfer[HSM_TRANSFER_MAX], size_t *ret_len);

#endif
