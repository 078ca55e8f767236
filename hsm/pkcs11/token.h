/*
 * hsm/pkcs11/token.h - one connection to the module: loading it, initialising it, finding the token by its URI, the one login, and
 * finding objects. Used by the provider and by the helper process of hsm_keys_gone(). Not thread-safe by itself: the provider's locks rule.
 */
#ifndef HOLDFAST_HSM_PKCS11_TOKEN_H
#define HOLDFAST_HSM_PKCS11_TOKEN_H

#include <p11-kit/uri.h>

#include "hsm/pkcs11/gate.h"
#include "hsm/pkcs11/pkcs11.h"

struct p11_token {
	struct p11_gate gate;
	const struct p11_config *cfg; /* borrowed, lives as long as this */
	P11KitUri *uri;
	const char *pin_path;     /* cfg->pin_file, else the URI's pin-source; borrowed from them */
	CK_SLOT_ID slot;
	CK_SESSION_HANDLE home;   /* the anchor: logged in through it, never closed, owns the loaded session objects */
	CK_TOKEN_INFO token_info; /* of the last start */
	CK_INFO library_info;
	bool is_pin_refused;      /* the token said no once; never asked again with that PIN */
};

/** Load the library and parse the URI; nothing is initialised. @return KMS_OK | KMS_E_INVALID (message says what to do) | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status p11_token_load(struct p11_token *t, const struct p11_config *cfg, struct kms_err *err);
/** C_Initialize and find the slot, nothing else. On failure the module is finalised again. */
KMS_MUST_CHECK kms_status p11_token_find_slot(struct p11_token *t, struct kms_err *err);
/** The same, then open the home session and log in once. On failure the module is finalised again. */
KMS_MUST_CHECK kms_status p11_token_start(struct p11_token *t, struct kms_err *err);
/** C_Finalize. False when the module refuses: it then still counts as initialised. */
bool p11_token_stop(struct p11_token *t);
/** Free what load made. The library stays mapped: running its destructors is what crashes SoftHSM at exit (hazards.md section 2.4). */
void p11_token_unload(struct p11_token *t);

/**
 * Find token objects. Linear in the device; the caller holds the lock for finds.
 * @param label, class  NULL = any
 * @param ret_broken  set when the session must be closed (an error after C_FindObjectsInit)
 * @param cap  at most so many handles are returned
 */
KMS_MUST_CHECK kms_status p11_token_find(struct p11_token *t, CK_SESSION_HANDLE session, const uint8_t *id, const char *label,
                                         const CK_OBJECT_CLASS *class, CK_OBJECT_HANDLE *ret_handles, size_t cap, size_t *ret_count,
                                         bool *ret_broken, struct kms_err *err);
/** The same by any attributes. */
KMS_MUST_CHECK kms_status p11_token_find_by(struct p11_token *t, CK_SESSION_HANDLE session, CK_ATTRIBUTE *wanted, CK_ULONG wanted_count,
                                            CK_OBJECT_HANDLE *ret_handles, size_t cap, size_t *ret_count, bool *ret_broken,
                                            struct kms_err *err);

#endif
