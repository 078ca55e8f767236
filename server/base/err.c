/* server/base/err.c - the catalogue as data. */
#include "server/base/err.h"

#include <stdarg.h>
#include <stdio.h>

struct status_row {
	const char *name, *code, *inner, *text;
	int http;
};

static const struct status_row ROWS[KMS_STATUS_COUNT] = {
#define X(status, wire, inner_code, http_status, client_text) \
	[status] = { .name = #status, .code = wire, .inner = inner_code, .text = client_text, .http = http_status },
	KMS_STATUS_MAP(X)
#undef X
};

static const struct status_row *row_of(kms_status status)
{
	return &ROWS[(unsigned)status < KMS_STATUS_COUNT ? status : KMS_E_INTERNAL];
}

static void record(const char *where, struct kms_err *err, kms_status status, enum kms_src source, unsigned long native)
{
	err->status = status;
	err->source = source;
	err->native = native;
	err->where = where;
	err->detail[0] = '\0';
	err->message[0] = '\0';
}

kms_status kms_fail_at(const char *where, struct kms_err *err, kms_status status, enum kms_src source, unsigned long native,
                       const char *fmt, ...)
{
	if (err != NULL && err->status == KMS_OK) {
		va_list args;
		record(where, err, status, source, native);
		va_start(args, fmt);
		(void)vsnprintf(err->detail, sizeof(err->detail), fmt, args);
		va_end(args);
	}
	return status;
}

kms_status kms_refuse_at(const char *where, struct kms_err *err, kms_status status, const char *fmt, ...)
{
	if (err != NULL && err->status == KMS_OK) {
		va_list args;
		record(where, err, status, KMS_SRC_SELF, 0);
		va_start(args, fmt);
		(void)vsnprintf(err->message, sizeof(err->message), fmt, args);
		va_end(args);
	}
	return status;
}

const char *kms_status_name(kms_status status) { return row_of(status)->name; }
const char *kms_status_code(kms_status status) { return row_of(status)->code; }
const char *kms_status_inner(kms_status status) { return row_of(status)->inner; }
int kms_status_http(kms_status status) { return row_of(status)->http; }
const char *kms_status_text(kms_status status) { return row_of(status)->text; }

const char *kms_src_name(enum kms_src source)
{
	switch (source) {
	case KMS_SRC_SELF: return "self";
	case KMS_SRC_ERRNO: return "errno";
	case KMS_SRC_SQLITE: return "sqlite";
	case KMS_SRC_PKCS11: return "pkcs11";
	case KMS_SRC_OPENSSL: return "openssl";
	case KMS_SRC_HTTP: return "http";
	}
	return "self";
}

const char *kms_err_text(const struct kms_err *err)
{
	return err->message[0] != '\0' ? err->message : kms_status_text(err->status);
}
