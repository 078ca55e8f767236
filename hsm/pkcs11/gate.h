/*
 * hsm/pkcs11/gate.h - the one gate through which every C_* call passes: availability, trace, error capture, and the hook by which tests
 * observe calls and make them fail. Also what CKR_* codes are called and what they mean to us. Internal to the provider and its tests.
 */
#ifndef HOLDFAST_HSM_PKCS11_GATE_H
#define HOLDFAST_HSM_PKCS11_GATE_H

#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "server/base/err.h"
#include "server/base/histogram.h"

/* Every function that we call, for its times. */
#define P11_CALLS(X)                                                                                                                         \
	X(C_Initialize) X(C_Finalize) X(C_GetInfo) X(C_GetSlotList) X(C_GetTokenInfo) X(C_OpenSession) X(C_CloseSession) X(C_Login)          \
	X(C_CreateObject) X(C_DestroyObject) X(C_GetAttributeValue) X(C_SetAttributeValue) X(C_FindObjectsInit) X(C_FindObjects)             \
	X(C_FindObjectsFinal) X(C_EncryptInit) X(C_Encrypt) X(C_EncryptUpdate) X(C_EncryptFinal) X(C_DecryptInit) X(C_Decrypt) X(C_SignInit) \
	X(C_Sign) X(C_GenerateKey) X(C_GenerateKeyPair) X(C_WrapKey) X(C_UnwrapKey) X(C_GenerateRandom)
enum p11_call {
#define X(call) P11_AT_##call,
	P11_CALLS(X)
#undef X
	P11_CALL_COUNT
};
const char *p11_call_name(enum p11_call call);

struct p11_gate {
	CK_FUNCTION_LIST *functions;
	atomic_bool is_open;    /* between C_Initialize and C_Finalize */
	atomic_bool is_suspect; /* a call answered with a code that a lost device gives */
	struct histogram times[P11_CALL_COUNT]; /* HISTOGRAM_TIMES */
};

/* P11_CALL(gate, C_Sign, session, ...): the only way to call the module. Value: CK_RV. */
#define P11_CALL(gate, call, ...)                                         \
	({                                                                \
		struct p11_gate *p11_gate_ = (gate);                      \
		int64_t p11_from_us_ = 0;                                 \
		CK_RV p11_rv_ = p11_gate_enter(p11_gate_, #call, &p11_from_us_); \
		if (p11_rv_ == CKR_OK)                                    \
			p11_rv_ = p11_gate_->functions->call(__VA_ARGS__); \
		p11_gate_leave(p11_gate_, P11_AT_##call, p11_rv_, p11_from_us_); \
	})
CK_RV p11_gate_enter(struct p11_gate *g, const char *call, int64_t *ret_from_us);
CK_RV p11_gate_leave(struct p11_gate *g, enum p11_call call, CK_RV rv, int64_t from_us);

/* For tests: called before each C_* call, on the caller's thread; a value other than CKR_OK is answered in place of the call. One for
 * the process, as PKCS#11 has one state for each process. Set while no call is under way. NULL removes it. */
typedef CK_RV (*p11_hook_fn)(void *arg, const char *call);
void p11_hook_set(p11_hook_fn hook, void *arg);

/** "CKR_OK", ...; "CKR_?" for a code that is not in PKCS#11 2.40. Never NULL. */
const char *p11_rv_name(CK_RV rv);
/** Codes that mean: the token, its session or its objects went away under us (hazards.md row 1f). Never an answer to bad data. */
bool p11_rv_is_loss(CK_RV rv);
/** What a code means where no caller's bytes are involved. */
kms_status p11_status(CK_RV rv);
/** True when the code blames the device or us, so that it must not be taken for an answer about a caller's bytes (row 1m). */
bool p11_rv_is_device(CK_RV rv);

/* PKCS#11 reads its inputs through pointers to non-const; nothing writes through what this returns. */
static inline void *p11_in(const void *bytes)
{
	union {
		const void *in;
		void *out;
	} p = { .in = bytes };

	return p.out;
}

/* Record the failure of a call and return its status. */
#define p11_fail(err, rv, call) kms_fail(err, p11_status(rv), KMS_SRC_PKCS11, rv, "%s: %s", call, p11_rv_name(rv))

#endif
