/*
 * server/feed/report.h - what reports are made of: which leaf is a rotation, which one takes something away, when a key is due, what state a key is in, and what a key's
 * identifier names. No scan, no state: api/h_report.c pages over keys and leaves, and asks here about each.
 */
#ifndef HOLDFAST_FEED_REPORT_H
#define HOLDFAST_FEED_REPORT_H

#include "server/feed/leaf.h"

#define REPORT_QUARTER_MAX 32 /* "2026-Q4", and room for any number that may stand there */

/** The quarter of a time, UTC. @return ret */
const char *report_quarter(int64_t ts_us, char ret[REPORT_QUARTER_MAX]);

/* ---- rotations ---- */

enum report_version { REPORT_NO_VERSION, REPORT_FIRST_VERSION, REPORT_NEXT_VERSION };
/**
 * Did a leaf make a key's version, and was it the key's first? Creating or importing a key under a name that exists makes another version of it.
 * @return KMS_OK | KMS_E_STORE
 */
KMS_MUST_CHECK kms_status report_version_made(struct store *s, const struct leaf *l, enum report_version *ret, struct kms_err *err);

/* ---- revocations ---- */

/** What a leaf took away: "key_revoke", "key_disable", ...; NULL = nothing. @param ret_took_us  how long the order took (det.took_us); -1 = the leaf does not say */
const char *report_revocation(const struct leaf *l, int64_t *ret_took_us);

/* ---- rotation that is due ---- */

enum report_basis { REPORT_NOT_DUE, REPORT_BY_POLICY, REPORT_BY_AGE };
/** Does the policy rotate by itself? */
bool report_rotates(const struct store_policy *p);
/**
 * When the newest version of a key should have been followed by another: by the policy, or, when that does not say, by age.
 * @param max_age_s  0 = age does not matter @param ret_due_s  when REPORT_BY_...
 */
enum report_basis report_overdue(const struct store_policy *p, const struct store_version *newest, int64_t max_age_s, int64_t now_s, int64_t *ret_due_s);

/* ---- keys that others name ---- */

/* Of a key's identifier, https://{vault}.{domain}[:port]/keys/{name}[/{version}]. */
struct report_kid {
	char vault[STORE_VAULT_NAME_MAX + 1];
	char key[STORE_KEY_NAME_MAX + 1];
	bool has_version;
	uint8_t version[STORE_ID_LEN];
};
enum report_kid_kind { REPORT_KID_INVALID, REPORT_KID_FOREIGN, REPORT_KID_OURS };
/** Hosts are compared whole, without case: a name that only begins or ends like one of ours is foreign. @param ret  set for REPORT_KID_OURS */
enum report_kid_kind report_kid_parse(const char *kid, const char *domain, uint16_t port, struct report_kid *ret);
/** "enabled", "disabled", "revoked", "not_yet_valid", "expired". */
const char *report_version_state(const struct store_version *v, int64_t now_s);

/* ---- where a page ended ---- */

/* Of keys: behind `key` of `vault`; behind the whole vault when key is "". When is_within, `key` itself is not done yet: its leaves were looked through down to seq. */
struct report_place {
	char vault[STORE_VAULT_NAME_MAX + 1];
	char key[STORE_KEY_NAME_MAX + 1];
	bool is_within;
	uint64_t seq;
};
#define REPORT_CURSOR_MAX 256
void report_place_format(const struct report_place *p, char ret[REPORT_CURSOR_MAX]);
bool report_place_parse(const char *cursor, struct report_place *ret);
void report_seq_format(uint64_t seq, char ret[REPORT_CURSOR_MAX]);
bool report_seq_parse(const char *cursor, uint64_t *ret);

#endif
