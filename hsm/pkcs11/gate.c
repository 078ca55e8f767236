/* hsm/pkcs11/gate.c - see gate.h. */
#include "hsm/pkcs11/gate.h"

#include <pthread.h>

#include "server/base/clock.h"
#include "server/base/log.h"

/* The hook is read on every call, so it costs one relaxed load when unset. Guarded by HOOK_LOCK for changes and for calls of it. */
static pthread_rwlock_t HOOK_LOCK = PTHREAD_RWLOCK_INITIALIZER;
static atomic_bool HOOK_IS_SET;
static p11_hook_fn HOOK;
static void *HOOK_ARG;

void p11_hook_set(p11_hook_fn hook, void *arg)
{
	(void)pthread_rwlock_wrlock(&HOOK_LOCK);
	HOOK = hook;
	HOOK_ARG = arg;
	atomic_store(&HOOK_IS_SET, hook != NULL);
	(void)pthread_rwlock_unlock(&HOOK_LOCK);
}

static CK_RV ask_hook(const char *call)
{
	CK_RV rv = CKR_OK;

	(void)pthread_rwlock_rdlock(&HOOK_LOCK);
	if (HOOK != NULL)
		rv = HOOK(HOOK_ARG, call);
	(void)pthread_rwlock_unlock(&HOOK_LOCK);
	return rv;
}

const char *p11_call_name(enum p11_call call)
{
	static const char *const NAMES[] = {
#define X(call) #call,
		P11_CALLS(X)
#undef X
	};
	return NAMES[call];
}

CK_RV p11_gate_enter(struct p11_gate *g, const char *call, int64_t *ret_from_us)
{
	*ret_from_us = clock_mono_us(&CLOCK_SYSTEM);
	if (!atomic_load_explicit(&g->is_open, memory_order_acquire))
		return CKR_CRYPTOKI_NOT_INITIALIZED;
	if (atomic_load_explicit(&HOOK_IS_SET, memory_order_relaxed))
		return ask_hook(call);
	return CKR_OK;
}

CK_RV p11_gate_leave(struct p11_gate *g, enum p11_call call, CK_RV rv, int64_t from_us)
{
	histogram_add(&g->times[call], &HISTOGRAM_TIMES, (uint64_t)(clock_mono_us(&CLOCK_SYSTEM) - from_us));
	if (rv == CKR_OK)
		return rv;
	if (p11_rv_is_loss(rv))
		atomic_store(&g->is_suspect, true);
	log_event(LOG_DEBUG, "pkcs11_call_failed", LOG_S("call", p11_call_name(call)), LOG_S("rv", p11_rv_name(rv)), LOG_I("code", rv));
	return rv;
}

#define RV_NAMES(X) \
	X(CKR_OK) X(CKR_CANCEL) X(CKR_HOST_MEMORY) X(CKR_SLOT_ID_INVALID) X(CKR_GENERAL_ERROR) X(CKR_FUNCTION_FAILED) \
	X(CKR_ARGUMENTS_BAD) X(CKR_NO_EVENT) X(CKR_NEED_TO_CREATE_THREADS) X(CKR_CANT_LOCK) X(CKR_ATTRIBUTE_READ_ONLY) \
	X(CKR_ATTRIBUTE_SENSITIVE) X(CKR_ATTRIBUTE_TYPE_INVALID) X(CKR_ATTRIBUTE_VALUE_INVALID) X(CKR_DATA_INVALID) \
	X(CKR_DATA_LEN_RANGE) X(CKR_DEVICE_ERROR) X(CKR_DEVICE_MEMORY) X(CKR_DEVICE_REMOVED) X(CKR_ENCRYPTED_DATA_INVALID) \
	X(CKR_ENCRYPTED_DATA_LEN_RANGE) X(CKR_FUNCTION_CANCELED) X(CKR_FUNCTION_NOT_PARALLEL) X(CKR_FUNCTION_NOT_SUPPORTED) \
	X(CKR_KEY_HANDLE_INVALID) X(CKR_KEY_SIZE_RANGE) X(CKR_KEY_TYPE_INCONSISTENT) X(CKR_KEY_NOT_NEEDED) \
	X(CKR_KEY_CHANGED) X(CKR_KEY_NEEDED) X(CKR_KEY_INDIGESTIBLE) X(CKR_KEY_FUNCTION_NOT_PERMITTED) \
	X(CKR_KEY_NOT_WRAPPABLE) X(CKR_KEY_UNEXTRACTABLE) X(CKR_MECHANISM_INVALID) X(CKR_MECHANISM_PARAM_INVALID) \
	X(CKR_OBJECT_HANDLE_INVALID) X(CKR_OPERATION_ACTIVE) X(CKR_OPERATION_NOT_INITIALIZED) X(CKR_PIN_INCORRECT) \
	X(CKR_PIN_INVALID) X(CKR_PIN_LEN_RANGE) X(CKR_PIN_EXPIRED) X(CKR_PIN_LOCKED) X(CKR_SESSION_CLOSED) \
	X(CKR_SESSION_COUNT) X(CKR_SESSION_HANDLE_INVALID) X(CKR_SESSION_PARALLEL_NOT_SUPPORTED) X(CKR_SESSION_READ_ONLY) \
	X(CKR_SESSION_EXISTS) X(CKR_SESSION_READ_ONLY_EXISTS) X(CKR_SESSION_READ_WRITE_SO_EXISTS) X(CKR_SIGNATURE_INVALID) \
	X(CKR_SIGNATURE_LEN_RANGE) X(CKR_TEMPLATE_INCOMPLETE) X(CKR_TEMPLATE_INCONSISTENT) X(CKR_TOKEN_NOT_PRESENT) \
	X(CKR_TOKEN_NOT_RECOGNIZED) X(CKR_TOKEN_WRITE_PROTECTED) X(CKR_UNWRAPPING_KEY_SIZE_RANGE) \
	X(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT) X(CKR_USER_ALREADY_LOGGED_IN) X(CKR_USER_NOT_LOGGED_IN) \
	X(CKR_USER_PIN_NOT_INITIALIZED) X(CKR_USER_TYPE_INVALID) X(CKR_USER_ANOTHER_ALREADY_LOGGED_IN) \
	X(CKR_USER_TOO_MANY_TYPES) X(CKR_WRAPPED_KEY_INVALID) X(CKR_WRAPPED_KEY_LEN_RANGE) \
	X(CKR_WRAPPING_KEY_HANDLE_INVALID) X(CKR_WRAPPING_KEY_SIZE_RANGE) X(CKR_WRAPPING_KEY_TYPE_INCONSISTENT) \
	X(CKR_RANDOM_SEED_NOT_SUPPORTED) X(CKR_RANDOM_NO_RNG) X(CKR_DOMAIN_PARAMS_INVALID) X(CKR_CURVE_NOT_SUPPORTED) \
	X(CKR_BUFFER_TOO_SMALL) X(CKR_SAVED_STATE_INVALID) X(CKR_INFORMATION_SENSITIVE) X(CKR_STATE_UNSAVEABLE) \
	X(CKR_CRYPTOKI_NOT_INITIALIZED) X(CKR_CRYPTOKI_ALREADY_INITIALIZED) X(CKR_MUTEX_BAD) X(CKR_MUTEX_NOT_LOCKED) \
	X(CKR_NEW_PIN_MODE) X(CKR_NEXT_OTP) X(CKR_EXCEEDED_MAX_ITERATIONS) X(CKR_FIPS_SELF_TEST_FAILED) \
	X(CKR_LIBRARY_LOAD_FAILED) X(CKR_PIN_TOO_WEAK) X(CKR_PUBLIC_KEY_INVALID) X(CKR_FUNCTION_REJECTED)

const char *p11_rv_name(CK_RV rv)
{
	static const struct {
		CK_RV rv;
		const char *name;
	} NAMES[] = {
#define X(code) { code, #code },
		RV_NAMES(X)
#undef X
	};

	for (size_t i = 0; i < KMS_ARRAY_LEN(NAMES); i++)
		if (NAMES[i].rv == rv)
			return NAMES[i].name;
	return "CKR_?";
}

/* What each code that matters means. What is not here is KMS_E_DEVICE, or a refusal of the caller's bytes where there are any. */
static const struct meaning {
	CK_RV rv;
	kms_status status;
	bool is_loss;
	bool is_device; /* never caused by a caller's bytes */
} MEANINGS[] = {
	{ CKR_SLOT_ID_INVALID, KMS_E_DEVICE, true, true },
	{ CKR_DEVICE_ERROR, KMS_E_DEVICE, true, true },
	{ CKR_DEVICE_MEMORY, KMS_E_DEVICE, true, true },
	{ CKR_DEVICE_REMOVED, KMS_E_DEVICE, true, true },
	{ CKR_TOKEN_NOT_PRESENT, KMS_E_DEVICE, true, true },
	{ CKR_TOKEN_NOT_RECOGNIZED, KMS_E_DEVICE, true, true },
	{ CKR_SESSION_CLOSED, KMS_E_DEVICE, true, true },
	{ CKR_SESSION_HANDLE_INVALID, KMS_E_DEVICE, true, true },
	{ CKR_USER_NOT_LOGGED_IN, KMS_E_DEVICE, true, true },
	{ CKR_CRYPTOKI_NOT_INITIALIZED, KMS_E_DEVICE, true, true },
	{ CKR_KEY_HANDLE_INVALID, KMS_E_DEVICE, true, true },
	{ CKR_OBJECT_HANDLE_INVALID, KMS_E_DEVICE, true, true },
	{ CKR_WRAPPING_KEY_HANDLE_INVALID, KMS_E_DEVICE, true, true },
	{ CKR_UNWRAPPING_KEY_HANDLE_INVALID, KMS_E_DEVICE, true, true },
	{ CKR_OPERATION_ACTIVE, KMS_E_DEVICE, false, true },
	{ CKR_OPERATION_NOT_INITIALIZED, KMS_E_DEVICE, false, true },
	{ CKR_HOST_MEMORY, KMS_E_NOMEM, false, true },
	{ CKR_SESSION_COUNT, KMS_E_BUSY, false, true },
	{ CKR_MECHANISM_INVALID, KMS_E_UNSUPPORTED, false, true },
	{ CKR_FUNCTION_NOT_SUPPORTED, KMS_E_UNSUPPORTED, false, true },
	{ CKR_MECHANISM_PARAM_INVALID, KMS_E_UNSUPPORTED, false, false },
	{ CKR_CURVE_NOT_SUPPORTED, KMS_E_UNSUPPORTED, false, true },
	{ CKR_DOMAIN_PARAMS_INVALID, KMS_E_UNSUPPORTED, false, true },
	{ CKR_KEY_SIZE_RANGE, KMS_E_UNSUPPORTED, false, false },
	{ CKR_ATTRIBUTE_TYPE_INVALID, KMS_E_UNSUPPORTED, false, false },
	{ CKR_ATTRIBUTE_VALUE_INVALID, KMS_E_UNSUPPORTED, false, false },
	{ CKR_TEMPLATE_INCONSISTENT, KMS_E_UNSUPPORTED, false, false },
	{ CKR_KEY_FUNCTION_NOT_PERMITTED, KMS_E_DEVICE, false, true },
};

static const struct meaning *meaning_of(CK_RV rv)
{
	static const struct meaning OTHER = { CKR_GENERAL_ERROR, KMS_E_DEVICE, false, false };

	for (size_t i = 0; i < KMS_ARRAY_LEN(MEANINGS); i++)
		if (MEANINGS[i].rv == rv)
			return &MEANINGS[i];
	return &OTHER;
}

bool p11_rv_is_loss(CK_RV rv)
{
	return meaning_of(rv)->is_loss;
}

bool p11_rv_is_device(CK_RV rv)
{
	return meaning_of(rv)->is_device;
}

kms_status p11_status(CK_RV rv)
{
	return meaning_of(rv)->status;
}
