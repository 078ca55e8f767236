/* hsm/pkcs11/pkcs11.h - the PKCS#11 provider's constructor and its configuration. */
#ifndef HOLDFAST_HSM_PKCS11_H
#define HOLDFAST_HSM_PKCS11_H

#include "hsm/hsm.h"

struct p11_config {
	const char *module;   /* absolute path of the PKCS#11 library */
	const char *uri;      /* RFC 7512, names the token: "pkcs11:token=holdfast" (token, serial, manufacturer, model, pin-source) */
	const char *pin_file; /* absolute path, or "credential:NAME" for $CREDENTIALS_DIRECTORY/NAME; not readable by group or others */
	const char *token_dir; /* directory of a file-backed token, fsynced after each create and destroy; NULL for a device */
	unsigned sessions;    /* pool size, 1..64 */
	unsigned wait_ms;     /* longest wait for a session */
	size_t cache_keys;    /* wrapped versions kept loaded, 1..100000 */
	uint8_t log_key_id[HSM_ID_LEN]; /* the key that hsm_check() uses; all zero = not yet made: the probe is the token alone */
	const char *const *look_argv;   /* NULL-terminated command of the helper for fresh looks: runs p11_look_main() with the same config */
};

/**
 * Load the module, find the token, log in once, probe by use.
 * @return KMS_OK | KMS_E_INVALID (URI, PIN file: message says what to do; no second try with a refused PIN) | KMS_E_DEVICE
 */
KMS_MUST_CHECK kms_status hsm_open_pkcs11(const struct p11_config *cfg, struct hsm **ret_hsm, struct kms_err *err);

/**
 * Which token is it? Nothing is opened and nobody logs in: a login alone may be written down in the token. Before hsm_open_pkcs11(), not beside it.
 * @param ret_info  manufacturer, model, serial, label, library, firmware @return KMS_OK | KMS_E_INVALID (URI, module) | KMS_E_DEVICE (there is none)
 */
KMS_MUST_CHECK kms_status p11_identify(const struct p11_config *cfg, struct hsm_info *ret_info, struct kms_err *err);

/**
 * The helper process of hsm_keys_gone(): reads hex ids from stdin, one a line, logs in afresh, writes "<hex id> present|absent" for each.
 * @return exit status: 0 done, 1 the token could not be searched
 */
int p11_look_main(const struct p11_config *cfg);

#endif
