/* server/core/network.h - address ranges that may call a vault: CIDR text, and whether an address is in it. */
#ifndef HOLDFAST_CORE_NETWORK_H
#define HOLDFAST_CORE_NETWORK_H

#include <stdbool.h>

#include "server/base/err.h"
#include "storage/store.h"

#define NETWORK_RANGES_MAX 100

/**
 * Check ranges and write them in one form: "10.0.0.0/8 2001:db8::/32", one space between two, an address alone as /32 or /128.
 * @param text  separated by spaces, commas or newlines; at most NETWORK_RANGES_MAX; host bits must be zero
 * @return KMS_OK | KMS_E_INVALID (names the range)
 */
KMS_MUST_CHECK kms_status network_check(const char *text, char ret[STORE_NETWORK_MAX + 1], struct kms_err *err);
/** Is a numeric address in one of the ranges? An IPv4 address mapped into IPv6 is that IPv4 address. False for what is no address. */
bool network_contains(const char *ranges, const char *address);

#endif
