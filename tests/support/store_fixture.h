/* tests/support/store_fixture.h - a fresh SQLite database in a directory of its own, and rows to fill it with. */
#ifndef HOLDFAST_TESTS_STORE_FIXTURE_H
#define HOLDFAST_TESTS_STORE_FIXTURE_H

#include "storage/store.h"

struct store_fixture {
	char dir[64];
	char path[96];
	struct store *w, *r; /* a writer and a reader; NULL when closed */
	uint64_t seq;        /* of the next leaf */
};

/* cmocka set-up and tear-down; *state is a struct store_fixture. */
int store_fixture_open(void **state);
int store_fixture_close(void **state);
void store_fixture_reopen(struct store_fixture *f);
/** Put a database of an older schema in the place of the fixture's, both connections closed: vault 1 "payroll", principal 1 "app-1" of it,
 *  key 1 "master" of two versions, 1 wrapped with tags and 2 resident without; from schema 2 on also the key's policy (of n = 1) and 9
 *  encryptions under version 2; from schema 3 on also principal 2 "app-2", disabled, and principal 3, which is a pool; role 7 of principal 1
 *  in the vault and role 3 in the installation; from schema 4 on also the log "kms.example/audit/log1" of two leaves and their node, with an
 *  intent open under leaf 1; from schema 6 on also key 9 "gone", deleted. */
void store_fixture_make_old_schema(struct store_fixture *f, unsigned schema);
/** Path of a file beside the database; static buffer. */
const char *store_fixture_beside(const struct store_fixture *f, const char *suffix);

/** An id whose bytes tell `kind` and `n` apart from all others. */
void store_fixture_id(char kind, unsigned n, uint8_t ret_id[STORE_ID_LEN]);
struct store_vault store_fixture_vault(unsigned n, const char *name);
/** A caller of this vault, NULL = of the installation. */
struct store_principal store_fixture_principal(unsigned n, const struct store_vault *v);
/** "group-n". */
struct store_principal store_fixture_group(unsigned n, const struct store_vault *v);
/** A client secret without end; its hash tells n apart from all others. */
struct store_credential store_fixture_credential(unsigned n, const struct store_principal *p);
/** On the whole vault (NULL = the installation), without end. */
struct store_assignment store_fixture_assignment(const struct store_principal *p, const struct store_vault *v, uint32_t role);
/** "role-n", whose actions are borrowed from static storage: never store_role_clear() it. */
struct store_role store_fixture_role(unsigned n, const struct store_vault *v);
struct store_member store_fixture_member(const struct store_principal *group, const struct store_principal *member);
/** Open, of quorum 1, asked for by p; its request is borrowed from static storage: never store_approval_clear() it. */
struct store_approval store_fixture_approval(unsigned n, const struct store_vault *v, const struct store_principal *p);
/** A yes, without signature. */
struct store_vote store_fixture_vote(const struct store_approval *a, const struct store_principal *approver);
struct store_key store_fixture_key(unsigned n, const struct store_vault *v, const char *name);
/** RSA, wrapped, with material that is borrowed from static storage. */
struct store_version store_fixture_version(unsigned n, const struct store_key *k);
struct store_event store_fixture_event(uint64_t seq);
/** Rotate after 90 days; the dates from n. */
struct store_policy store_fixture_policy(unsigned n, const struct store_key *k);
/** Two subjects with n in them, two roots that are borrowed from static storage: never store_pool_clear() it. */
struct store_pool store_fixture_pool(unsigned n, const struct store_principal *p);
/** In use, never used: "ext-n" for a version of a key. */
struct store_external store_fixture_external(unsigned n, const struct store_pool *p, const struct store_key *k,
                                             const struct store_version *v);

/** Of a version that v is (NULL v: of the vault's root), by the destruction `intent`. */
struct store_tombstone store_fixture_tombstone(const struct store_vault *vault, const struct store_key *k, const struct store_version *v, uint64_t intent);
/** Begun, of the whole vault; it owns nothing. */
struct store_certificate store_fixture_certificate(unsigned n, const struct store_vault *v);
struct store_epoch store_fixture_epoch(unsigned n);
/** Of a key in an epoch, or with k NULL of the server. */
struct store_backup store_fixture_backup(unsigned n, uint32_t epoch, const struct store_key *k);
/** One transaction with these changes and one leaf; the status of apply, or of what failed. Rolled back unless KMS_OK. */
kms_status store_fixture_write(struct store_fixture *f, const struct store_change *changes, size_t count, struct kms_err *err);
kms_status store_fixture_one(struct store_fixture *f, struct store_change change);
/** Occurrences of a byte string in the database, its WAL and whatever else lies in the directory. */
size_t store_fixture_grep(const struct store_fixture *f, const void *needle, size_t len);

#endif
