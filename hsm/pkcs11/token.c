/* hsm/pkcs11/token.c - see token.h. Guards the PIN: read from its file into the secure heap, used once, erased. */
#include "hsm/pkcs11/token.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/secret.h"

#define PIN_MAX 255
#define SLOTS_MAX 256
#define CREDENTIAL_PREFIX "credential:"
#define FILE_URI_PREFIX "file:"
#define OTHERS_MAY 077 /* permission bits of group and others */

static void close_fd(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

/* Where the PIN is: a credential of the service manager, or a file. */
static kms_status pin_path(const char *source, char ret_path[PATH_MAX], struct kms_err *err)
{
	int n;

	if (strncmp(source, CREDENTIAL_PREFIX, strlen(CREDENTIAL_PREFIX)) == 0) {
		const char *name = source + strlen(CREDENTIAL_PREFIX);
		const char *dir = getenv("CREDENTIALS_DIRECTORY");

		if (dir == NULL)
			return kms_refuse(err, KMS_E_INVALID, "The PIN is to come from credential \"%s\", but the service manager passed no credentials.",
			                  name);
		if (*name == '\0' || strchr(name, '/') != NULL)
			return kms_refuse(err, KMS_E_INVALID, "\"%s\" is not the name of a credential.", name);
		n = snprintf(ret_path, PATH_MAX, "%s/%s", dir, name);
	} else {
		if (strncmp(source, FILE_URI_PREFIX, strlen(FILE_URI_PREFIX)) == 0)
			source += strlen(FILE_URI_PREFIX);
		if (*source != '/')
			return kms_refuse(err, KMS_E_INVALID, "The PIN file \"%s\" must be an absolute path or credential:NAME.", source);
		n = snprintf(ret_path, PATH_MAX, "%s", source);
	}
	if (n < 0 || n >= PATH_MAX)
		return kms_refuse(err, KMS_E_INVALID, "The path of the PIN file is too long.");
	return KMS_OK;
}

static kms_status pin_read(const char *source, struct secret **ret_pin, struct kms_err *err)
{
	char path[PATH_MAX];
	SECRET_AUTO *pin = NULL;
	struct stat st;
	size_t len = 0;
	__attribute__((cleanup(close_fd))) int fd = -1;

	if (source == NULL)
		return kms_refuse(err, KMS_E_INVALID, "No PIN file is configured for the token.");
	KMS_TRY(pin_path(source, path, err));
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return kms_refuse(err, KMS_E_INVALID, "The PIN file %s cannot be read: %s.", path, strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return kms_refuse(err, KMS_E_INVALID, "The PIN file %s is not a regular file.", path);
	if ((st.st_mode & OTHERS_MAY) != 0)
		return kms_refuse(err, KMS_E_INVALID, "The PIN file %s is open to group or others (mode %03o); run chmod 600.", path,
		                  (unsigned)(st.st_mode & 0777));
	pin = secret_new(PIN_MAX + 2); /* a newline, and one more byte to notice what is too long */
	if (pin == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "secure heap: PIN");
	for (;;) {
		ssize_t n = read(fd, secret_bytes(pin) + len, secret_len(pin) - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kms_refuse(err, KMS_E_INVALID, "The PIN file %s cannot be read: %s.", path, strerror(errno));
		if (n == 0 || len + (size_t)n == secret_len(pin)) {
			len += (size_t)n;
			break;
		}
		len += (size_t)n;
	}
	if (len > 0 && secret_data(pin)[len - 1] == '\n')
		len--;
	if (len == 0 || len > PIN_MAX)
		return kms_refuse(err, KMS_E_INVALID, "The PIN file %s must hold one PIN of 1 to %d characters.", path, PIN_MAX);
	secret_shrink(pin, len);
	*ret_pin = KMS_TAKE(pin);
	return KMS_OK;
}

kms_status p11_token_load(struct p11_token *t, const struct p11_config *cfg, struct kms_err *err)
{
	CK_FUNCTION_LIST *functions;
	int parsed;

	t->cfg = cfg;
	t->uri = p11_kit_uri_new();
	if (t->uri == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_SELF, 0, "PKCS#11 URI");
	parsed = p11_kit_uri_parse(cfg->uri, P11_KIT_URI_FOR_TOKEN, t->uri);
	if (parsed != P11_KIT_URI_OK)
		return kms_refuse(err, KMS_E_INVALID, "\"%s\" does not name a token (RFC 7512): %s.", cfg->uri, p11_kit_uri_message(parsed));
	if (p11_kit_uri_any_unrecognized(t->uri))
		return kms_refuse(err, KMS_E_INVALID, "\"%s\" has attributes other than token, serial, manufacturer, model and pin-source.",
		                  cfg->uri);
	if (p11_kit_uri_get_pin_value(t->uri) != NULL)
		return kms_refuse(err, KMS_E_INVALID, "The token's URI holds a PIN in clear; put it into a file and name that.");
	t->pin_path = cfg->pin_file != NULL ? cfg->pin_file : p11_kit_uri_get_pin_source(t->uri);
	if (cfg->module[0] != '/')
		return kms_refuse(err, KMS_E_INVALID, "The PKCS#11 module \"%s\" must be an absolute path.", cfg->module);
	/* Unmanaged: nobody else in this process may initialise it, or two owners collide in C_Finalize. */
	functions = p11_kit_module_load(cfg->module, P11_KIT_MODULE_UNMANAGED | P11_KIT_MODULE_CRITICAL);
	if (functions == NULL)
		return kms_refuse(err, KMS_E_INVALID, "The PKCS#11 module %s cannot be loaded: %s.", cfg->module,
		                  p11_kit_message() != NULL ? p11_kit_message() : "unknown reason");
	t->gate.functions = functions;
	return KMS_OK;
}

void p11_token_unload(struct p11_token *t)
{
	p11_kit_uri_free(t->uri);
	t->uri = NULL;
}

bool p11_token_stop(struct p11_token *t)
{
	if (!atomic_load(&t->gate.is_open))
		return true;
	if (P11_CALL(&t->gate, C_Finalize, NULL) != CKR_OK)
		return false;
	atomic_store(&t->gate.is_open, false);
	t->home = CK_INVALID_HANDLE;
	return true;
}

static kms_status find_slot(struct p11_token *t, struct kms_err *err)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG count = SLOTS_MAX;
	size_t matches = 0;
	CK_RV rv;

	rv = P11_CALL(&t->gate, C_GetSlotList, CK_TRUE, slots, &count);
	if (rv != CKR_OK)
		return p11_fail(err, rv, "C_GetSlotList");
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info = { 0 };

		rv = P11_CALL(&t->gate, C_GetTokenInfo, slots[i], &info);
		/* Another token's trouble is not ours; if it was ours, it is missed below. */
		if (rv != CKR_OK || (info.flags & CKF_TOKEN_INITIALIZED) == 0 || p11_kit_uri_match_token_info(t->uri, &info) != 1)
			continue;
		matches++;
		t->slot = slots[i];
		t->token_info = info;
	}
	if (matches > 1)
		return kms_refuse(err, KMS_E_INVALID, "\"%s\" names %zu tokens; add serial=... to the URI.", t->cfg->uri, matches);
	if (matches == 0)
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, CKR_TOKEN_NOT_PRESENT, "no token matches %s", t->cfg->uri);
	return KMS_OK;
}

static kms_status log_in(struct p11_token *t, struct kms_err *err)
{
	SECRET_AUTO *pin = NULL;
	CK_RV rv;

	if (t->is_pin_refused)
		return kms_refuse(err, KMS_E_INVALID, "The token refused the PIN before; correct the PIN file and restart.");
	KMS_TRY(pin_read(t->pin_path, &pin, err));
	rv = P11_CALL(&t->gate, C_Login, t->home, CKU_USER, secret_bytes(pin), secret_len(pin));
	switch (rv) {
	case CKR_OK:
		return KMS_OK;
	case CKR_PIN_INCORRECT:
	case CKR_PIN_INVALID:
	case CKR_PIN_LEN_RANGE:
	case CKR_PIN_EXPIRED:
	case CKR_PIN_LOCKED:
	case CKR_USER_PIN_NOT_INITIALIZED:
		t->is_pin_refused = true;
		return kms_refuse(err, KMS_E_INVALID,
		                  "The token refused the PIN (%s). It is not tried again, since tokens lock after a few tries: correct the PIN file "
		                  "and restart.",
		                  p11_rv_name(rv));
	default:
		return p11_fail(err, rv, "C_Login");
	}
}

kms_status p11_token_find_slot(struct p11_token *t, struct kms_err *err)
{
	CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
	kms_status status;
	CK_RV rv;

	atomic_store(&t->gate.is_open, true); /* the gate must let C_Initialize itself pass */
	rv = P11_CALL(&t->gate, C_Initialize, &args);
	if (rv != CKR_OK) {
		/* Already initialised means that somebody else in this process owns the module: never share it, never finalise it. */
		atomic_store(&t->gate.is_open, false);
		return p11_fail(err, rv, "C_Initialize");
	}
	rv = P11_CALL(&t->gate, C_GetInfo, &t->library_info);
	status = rv == CKR_OK ? find_slot(t, err) : p11_fail(err, rv, "C_GetInfo");
	if (status != KMS_OK)
		(void)p11_token_stop(t);
	return status;
}

kms_status p11_token_start(struct p11_token *t, struct kms_err *err)
{
	kms_status status;
	CK_RV rv;

	KMS_TRY(p11_token_find_slot(t, err));
	rv = P11_CALL(&t->gate, C_OpenSession, t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &t->home);
	status = rv == CKR_OK ? log_in(t, err) : p11_fail(err, rv, "C_OpenSession");
	if (status != KMS_OK)
		(void)p11_token_stop(t);
	return status;
}

kms_status p11_token_find(struct p11_token *t, CK_SESSION_HANDLE session, const uint8_t *id, const char *label,
                          const CK_OBJECT_CLASS *class, CK_OBJECT_HANDLE *ret_handles, size_t cap, size_t *ret_count, bool *ret_broken,
                          struct kms_err *err)
{
	/* PKCS#11 takes all values through `void *`, also those that it only reads: hence writable copies. */
	CK_BBOOL on_token = CK_TRUE;
	CK_OBJECT_CLASS wanted_class = class != NULL ? *class : 0;
	uint8_t wanted_id[HSM_ID_LEN];
	char wanted_label[64] = "";
	CK_ATTRIBUTE wanted[4];
	CK_ULONG n = 0;

	/* Session objects (loaded versions) carry ids too; they are never what is looked for. */
	wanted[n++] = (CK_ATTRIBUTE){ CKA_TOKEN, &on_token, sizeof(on_token) };
	if (id != NULL) {
		memcpy(wanted_id, id, HSM_ID_LEN);
		wanted[n++] = (CK_ATTRIBUTE){ CKA_ID, wanted_id, HSM_ID_LEN };
	}
	if (label != NULL) {
		int len = snprintf(wanted_label, sizeof(wanted_label), "%s", label);

		wanted[n++] = (CK_ATTRIBUTE){ CKA_LABEL, wanted_label, (CK_ULONG)len };
	}
	if (class != NULL)
		wanted[n++] = (CK_ATTRIBUTE){ CKA_CLASS, &wanted_class, sizeof(wanted_class) };
	return p11_token_find_by(t, session, wanted, n, ret_handles, cap, ret_count, ret_broken, err);
}

kms_status p11_token_find_by(struct p11_token *t, CK_SESSION_HANDLE session, CK_ATTRIBUTE *wanted, CK_ULONG wanted_count,
                             CK_OBJECT_HANDLE *ret_handles, size_t cap, size_t *ret_count, bool *ret_broken, struct kms_err *err)
{
	size_t total = 0;
	CK_RV rv = P11_CALL(&t->gate, C_FindObjectsInit, session, wanted, wanted_count);

	if (rv != CKR_OK) {
		*ret_broken = true;
		return p11_fail(err, rv, "C_FindObjectsInit");
	}
	while (total < cap) {
		CK_ULONG got = 0;

		rv = P11_CALL(&t->gate, C_FindObjects, session, ret_handles + total, cap - total, &got);
		if (rv != CKR_OK) {
			*ret_broken = true;
			return p11_fail(err, rv, "C_FindObjects");
		}
		if (got == 0)
			break;
		total += got;
	}
	rv = P11_CALL(&t->gate, C_FindObjectsFinal, session);
	if (rv != CKR_OK) {
		*ret_broken = true;
		return p11_fail(err, rv, "C_FindObjectsFinal");
	}
	*ret_count = total;
	return KMS_OK;
}
