/* tests/support/domain.c - set up and tear down the domain on real parts. */
#include "tests/support/domain.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/sqlite/sqlite.h"

static _Atomic int64_t offset_s; /* the clock of all domains of this process; server threads read it while a test moves it */

static int64_t fake_us(const struct clock *c)
{
	(void)c;
	return (T_DOMAIN_START_S + offset_s) * 1000000;
}
static const struct clock FAKE = { .wall_us = fake_us, .mono_us = fake_us };

void t_domain_pass(int64_t seconds) { offset_s += seconds; }

/* As the daemon does. */
static void start_writer(struct t_domain *d)
{
	struct log_former former;
	char vkey[NOTE_VKEY_MAX + 1];
	struct writer_config cfg = { .store = d->store->w, .clock = &FAKE, .node = "test", .origin = d->kms.origin, .vkey = vkey, .capacity = 64 };
	struct kms_err err = { 0 };
	kms_status status = log_check(d->store->w, d->kms.hsm, &d->kms.inst, &FAKE, d->kms.origin, &d->verdict, &err);

	if (status == KMS_OK)
		status = log_vkey(d->store->w, d->kms.origin, vkey, &err);
	if (status == KMS_OK && log_former(d->store->w, d->kms.hsm, &d->kms.inst, &former, &err) == KMS_OK)
		cfg.former = &former.writer;
	if (status == KMS_OK)
		status = writer_start(&cfg, &d->kms.writer, &err);
	if (status != KMS_OK) {
		(void)fprintf(stderr, "the log does not open: %s\n", err.detail);
		abort();
	}
}

static void open_database(struct t_domain *d)
{
	struct kms_err err = { 0 };
	void *state = NULL;
	int failed = store_fixture_open(&state);

	assert(failed == 0);
	(void)failed;
	d->store = state;
	if (installation_open(d->store->w, d->kms.hsm, "vault.test/audit/log1", &d->kms.inst, &err) != KMS_OK)
		abort();
	hsm_set_log_key(d->kms.hsm, d->kms.inst.log_key);
	if (attestation_certificate(d->kms.hsm, &d->kms.inst, d->kms.domain, d->certificate, &err) != KMS_OK)
		abort();
	start_writer(d);
}

static void close_database(struct t_domain *d)
{
	void *state = d->store;

	t_domain_stop_signing(d);
	writer_stop(d->kms.writer);
	installation_clear(&d->kms.inst);
	if (store_fixture_close(&state) != 0)
		abort();
}

void t_domain_open(struct t_domain *d)
{
	struct kms_err err = { 0 };

	memset(d, 0, sizeof(*d));
	t_token_make(&d->token);
	if (hsm_open_pkcs11(&d->token.cfg, &d->kms.hsm, &err) != KMS_OK)
		abort();
	d->kms.clock = &FAKE;
	d->kms.site = "test";
	d->kms.node = "test";
	d->kms.public_port = 443;
	memcpy(d->kms.domain, "vault.test", sizeof("vault.test"));
	d->kms.attestation_certificate = d->certificate;
	d->kms.locals = &d->local;
	d->kms.local_count = 1;
	open_database(d);
}

void t_domain_renew(struct t_domain *d)
{
	close_database(d);
	open_database(d);
}

void t_domain_close(struct t_domain *d)
{
	close_database(d);
	hsm_close(d->kms.hsm);
	t_token_remove(&d->token);
}

void t_domain_sign(struct t_domain *d, const struct checkpointer_config *cfg)
{
	struct checkpointer_config c = { .interval_ms = 100, .leaves = 1000, .pin_s = 60, .heartbeat_s = 60, .late_ms = 5000 };
	struct kms_err err = { 0 };

	if (cfg != NULL)
		c = *cfg;
	c.kms = &d->kms;
	if (c.verdict == NULL)
		c.verdict = &d->verdict;
	if (store_open_sqlite(d->store->path, STORE_READ, &c.store, &err) != KMS_OK || checkpointer_start(&c, &d->kms.log, &err) != KMS_OK)
		abort();
}

void t_domain_stop_signing(struct t_domain *d)
{
	checkpointer_stop(d->kms.log);
	d->kms.log = NULL;
}

void t_domain_restart(struct t_domain *d)
{
	t_domain_stop_signing(d);
	writer_stop(d->kms.writer);
	store_fixture_reopen(d->store);
	start_writer(d);
}

struct op *t_op(struct t_domain *d, const char *vault, enum event_type type)
{
	struct op *op = calloc(1, sizeof(*op));
	struct kms_err err = { 0 };

	if (op == NULL)
		abort();
	op->kms = &d->kms;
	op->store = d->store->r;
	op->caller.auth = EVENT_AUTH_LOCAL;
	op->write.event.type = type;
	if (op_open(op, vault, &err) != KMS_OK)
		abort();
	return op;
}

kms_status t_op_finish(struct op *op, kms_status status)
{
	kms_status written;

	op->write.event.result = status == KMS_OK ? EVENT_OK : EVENT_FAILED;
	if (status != KMS_OK)
		op->write.change_count = 0;
	if (op->has_intent)
		op_change(op, STORE_INTENT_CLOSE)->intent.seq = op->write.event.ref;
	written = writer_write(op->kms->writer, &op->write);
	if (written == KMS_OK && status == KMS_OK && op->after != NULL)
		op->after(op);
	return written;
}

void t_op_free(struct op *op)
{
	op_clear(op);
	free(op);
}

bool t_leaf_says(struct t_domain *d, uint64_t seq, const char *text)
{
	struct store_event e = { 0 };
	char leaf[EVENT_LEAF_MAX + 1];

	if (store_event(d->store->r, seq, &e, NULL) != KMS_OK)
		return false;
	memcpy(leaf, e.leaf, e.leaf_len);
	leaf[e.leaf_len] = '\0';
	store_event_clear(&e);
	if (strstr(leaf, text) != NULL)
		return true;
	(void)fprintf(stderr, "no %s in %s\n", text, leaf);
	return false;
}

void t_vault(struct t_domain *d, const char *name, bool purge_protection)
{
	struct vault_create req = { .name = name, .retention_days = RETENTION_DAYS_MIN, .has_purge_protection = purge_protection };
	struct op *op = t_op(d, NULL, EVENT_TENANT_CREATE);
	struct kms_err err = { 0 };

	if (t_op_finish(op, vault_create(op, &req, &err)) != KMS_OK || err.status != KMS_OK)
		abort();
	t_op_free(op);
}

void t_key(struct t_domain *d, const char *vault, const char *name, enum key_type type, uint8_t ret_obj[HSM_ID_LEN])
{
	struct key_create req = { .type = type, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct op *op = t_op(d, vault, EVENT_KEY_CREATE);
	struct kms_err err = { 0 };

	if (t_op_finish(op, keyring_create(op, name, &req, &err)) != KMS_OK || err.status != KMS_OK)
		abort();
	memcpy(ret_obj, op->version.obj, HSM_ID_LEN);
	t_op_free(op);
}

struct search {
	const uint8_t *id;
	bool found;
};

static bool compare(void *arg, const uint8_t id[HSM_ID_LEN], enum hsm_purpose purpose, bool is_ours)
{
	struct search *s = arg;

	(void)purpose;
	(void)is_ours;
	s->found |= memcmp(s->id, id, HSM_ID_LEN) == 0;
	return !s->found;
}

bool t_object_exists(struct t_domain *d, const uint8_t id[HSM_ID_LEN])
{
	struct search s = { .id = id };
	struct kms_err err = { 0 };

	if (hsm_keys_list(d->kms.hsm, compare, &s, &err) != KMS_OK)
		abort();
	return s.found;
}
