/* tests/support/domain.h - the whole domain on real parts: a fresh SoftHSM token, a fresh SQLite database, the writer, and a clock that tests set. */
#ifndef HOLDFAST_TESTS_SUPPORT_DOMAIN_H
#define HOLDFAST_TESTS_SUPPORT_DOMAIN_H

#include "server/core/attestation.h"
#include "server/core/checkpoint.h"
#include "server/core/keyring.h"
#include "server/core/tenancy.h"
#include "tests/support/store_fixture.h"
#include "tests/support/token.h"

#define T_DOMAIN_START_S 1800000000

struct t_domain {
	struct t_token token;
	struct store_fixture *store;
	struct kms kms;
	struct local_actor local; /* user 0 may do everything */
	char certificate[ATTESTATION_CERT_MAX];
	struct log_verdict verdict; /* of log_check() at the last start */
};

/** Everything up to a started writer, or an abort. */
void t_domain_open(struct t_domain *d);
void t_domain_close(struct t_domain *d);
/** A new database and a new installation on the same token. */
void t_domain_renew(struct t_domain *d);
/** Stop the writer and start it again on the same database, as a restart does. */
void t_domain_restart(struct t_domain *d);
/** Sign checkpoints from here on (kms.log), until t_domain_restart() or t_domain_close().
 *  @param cfg  interval, pin, heartbeat, lateness, strictness, verdict; NULL = quick ones and what log_check() found */
void t_domain_sign(struct t_domain *d, const struct checkpointer_config *cfg);
/** Stop that. */
void t_domain_stop_signing(struct t_domain *d);
/** Move the wall clock, and the other one with it. */
void t_domain_pass(int64_t seconds);

/** An operation of the local user in a vault (NULL = none), opened; free with t_op_free(). */
struct op *t_op(struct t_domain *d, const char *vault, enum event_type type);
/** Write the outcome as the API does and run what follows the commit. @return the unit's status */
kms_status t_op_finish(struct op *op, kms_status status);
void t_op_free(struct op *op);

/** Does the leaf with this seq contain a text? The leaf is printed when it does not. */
bool t_leaf_says(struct t_domain *d, uint64_t seq, const char *text);

/** A vault with these settings; aborts when it cannot be made. */
void t_vault(struct t_domain *d, const char *name, bool purge_protection);
/** A key of this type; its newest version's HSM object id. */
void t_key(struct t_domain *d, const char *vault, const char *name, enum key_type type, uint8_t ret_obj[HSM_ID_LEN]);
/** Does the token hold an object with this id? */
bool t_object_exists(struct t_domain *d, const uint8_t id[HSM_ID_LEN]);

#endif
