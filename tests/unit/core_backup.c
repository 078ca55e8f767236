/* tests/unit/core_backup.c - backup and restore on a real token and database: everything comes back, only where it belongs, and never half. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/core/backup_form.h"
#include "server/core/crypto.h"
#include "server/core/epoch.h"
#include "tests/support/approvals.h"

#define VAULT "keeping"

static struct t_domain d;

struct blob {
	uint8_t *bytes;
	size_t len;
};

static kms_status backup(const char *vault, const char *key, struct blob *ret, struct kms_err *err)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_BACKUP);
	kms_status status = KMS_OK;

	memset(err, 0, sizeof(*err));
	memset(ret, 0, sizeof(*ret));
	status = backup_make(op, key, &ret->bytes, &ret->len, err);
	assert_int_equal(t_op_finish(op, status), KMS_OK);
	t_op_free(op);
	return status;
}

static struct blob good_backup(const char *key)
{
	struct kms_err err;
	struct blob b;

	if (backup(VAULT, key, &b, &err) != KMS_OK)
		fail_msg("%s: %s", kms_err_text(&err), err.detail);
	return b;
}

/* The finished op, to be freed. */
static struct op *restore(const char *vault, const struct blob *b, kms_status *ret_status, struct kms_err *err)
{
	struct op *op = t_op(&d, vault, EVENT_KEY_RESTORE);

	memset(err, 0, sizeof(*err));
	*ret_status = backup_restore(op, b->bytes, b->len, err);
	assert_int_equal(t_op_finish(op, *ret_status), KMS_OK);
	return op;
}

static void good_restore(const struct blob *b)
{
	struct kms_err err;
	kms_status status = KMS_OK;

	t_op_free(restore(VAULT, b, &status, &err));
	if (status != KMS_OK)
		fail_msg("%s: %s", kms_err_text(&err), err.detail);
}

static void refused(const char *vault, const struct blob *b, kms_status expected, const char *says)
{
	struct kms_err err;
	kms_status status = KMS_OK;

	t_op_free(restore(vault, b, &status, &err));
	if (status != expected || (says != NULL && strstr(kms_err_text(&err), says) == NULL))
		fail_msg("%s: %s (%s)", kms_status_name(status), kms_err_text(&err), err.detail);
}

static void act(enum event_type type, kms_status (*does)(struct op *op, const char *name, struct kms_err *err), const char *name)
{
	struct op *op = t_op(&d, VAULT, type);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, does(op, name, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static void delete_and_purge(const char *name)
{
	act(EVENT_KEY_DELETE, keyring_delete, name);
	act(EVENT_KEY_PURGE, keyring_purge, name);
}

/* All versions of a key in order, to be freed. */
struct versions {
	struct store_key key;
	struct store_version v[8];
	size_t count;
};

static struct versions read_key(const char *name)
{
	struct store_vault vault;
	struct versions all = { 0 };

	assert_int_equal(store_vault_by_name(d.store->r, VAULT, &vault, NULL), KMS_OK);
	assert_int_equal(store_key(d.store->r, vault.id, name, &all.key, NULL), KMS_OK);
	assert_int_equal(store_versions(d.store->r, all.key.id, 0, true, all.v, KMS_ARRAY_LEN(all.v), &all.count, NULL), KMS_OK);
	return all;
}

static void versions_clear(struct versions *all)
{
	for (size_t i = 0; i < all->count; i++)
		store_version_clear(&all->v[i]);
}

static bool key_exists(const char *name)
{
	struct op *op = t_op(&d, VAULT, EVENT_KEY_GET);
	struct kms_err err = { 0 };
	kms_status status = keyring_get(op, name, NULL, &err);

	t_op_free(op);
	return status == KMS_OK;
}

static void make_key(const char *name, const struct key_create *req)
{
	struct op *op = t_op(&d, VAULT, EVENT_KEY_CREATE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_create(op, name, req, &err)), KMS_OK);
	assert_int_equal(err.status, KMS_OK);
	t_op_free(op);
}

static void revoke_latest(const char *name)
{
	struct versions all = read_key(name);
	struct op *op = t_op(&d, VAULT, EVENT_KEY_REVOKE);
	struct kms_err err = { 0 };

	assert_int_equal(t_op_finish(op, keyring_revoke(op, name, all.v[all.count - 1].id, REVOKE_COMPROMISE, &err)), KMS_OK);
	t_op_free(op);
	versions_clear(&all);
}

/* Text of the leaf with this seq. */
static void leaf_says(uint64_t seq, const char *text)
{
	struct store_event e = { 0 };
	char leaf[EVENT_LEAF_MAX + 1];

	assert_int_equal(store_event(d.store->r, seq, &e, NULL), KMS_OK);
	memcpy(leaf, e.leaf, e.leaf_len);
	leaf[e.leaf_len] = '\0';
	store_event_clear(&e);
	if (strstr(leaf, text) == NULL)
		fail_msg("%s", leaf);
}

static void same_version(const struct store_version *a, const struct store_version *b)
{
	assert_memory_equal(a->id, b->id, STORE_ID_LEN);
	assert_memory_not_equal(a->obj, b->obj, STORE_ID_LEN); /* an object id is never used again */
	assert_int_equal(a->ordinal, b->ordinal);
	assert_int_equal(a->kty, b->kty);
	assert_int_equal(a->crv, b->crv);
	assert_int_equal(a->bits, b->bits);
	assert_int_equal(a->ops, b->ops);
	assert_int_equal(a->is_enabled, b->is_enabled);
	assert_int_equal(a->revoked, b->revoked);
	assert_int_equal(a->nbf_s, b->nbf_s);
	assert_int_equal(a->exp_s, b->exp_s);
	assert_int_equal(a->created_s, b->created_s);
	assert_int_equal(a->updated_s, b->updated_s);
	assert_int_equal(a->e_len, b->e_len);
	assert_memory_equal(a->e, b->e, a->e_len);
	assert_int_equal(a->pub_len, b->pub_len);
	if (a->pub_len > 0)
		assert_memory_equal(a->pub, b->pub, a->pub_len);
	assert_int_equal(a->wrapped_len, b->wrapped_len);
	assert_memory_equal(a->wrapped, b->wrapped, a->wrapped_len);
	assert_int_equal(a->tags == NULL, b->tags == NULL);
	if (a->tags != NULL)
		assert_string_equal(a->tags, b->tags);
}

static void everything_comes_back_as_it_was(void **state)
{
	struct key_create rsa = { .type = KEY_RSA, .is_enabled = true, .nbf_s = 5, .exp_s = 4000000000,
	                          .tags = (char[]){ "{\"a\":\"\\u00e4\"}" } };
	struct key_create ec = { .type = KEY_EC, .crv = CURVE_P521, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct key_create oct = { .type = KEY_OCT, .bits = 128, .has_ops = true, .ops = KEY_OP_WRAP, .is_enabled = true,
	                          .nbf_s = STORE_NO_TIME,
		                  .exp_s = STORE_NO_TIME };
	struct store_policy policy = { .rotate_after_create = "P90D", .expiry_time = "P2Y" }, kept = { 0 };
	struct versions before, after;
	struct kms_err err = { 0 };
	kms_status status = KMS_OK;
	struct blob b;
	struct op *op = NULL;
	char revives[B64URL_LEN(STORE_ID_LEN) + 32] = "\"revives\":\"";

	(void)state;
	make_key("Whole", &rsa);
	t_domain_pass(10);
	make_key("whole", &ec);
	make_key("whole", &oct);
	revoke_latest("whole");
	op = t_op(&d, VAULT, EVENT_KEY_UPDATE);
	assert_int_equal(t_op_finish(op, keyring_set_rotation(op, "whole", &policy, &err)), KMS_OK);
	t_op_free(op);
	b = good_backup("whole");
	before = read_key("whole");
	assert_int_equal(before.count, 3);
	delete_and_purge("whole");
	t_domain_pass(1000);
	op = restore(VAULT, &b, &status, &err);
	assert_int_equal(status, KMS_OK);
	assert_string_equal(op->key.name, "Whole");
	assert_memory_equal(op->version.id, before.v[2].id, STORE_ID_LEN);
	b64url_encode(before.v[2].obj, STORE_ID_LEN, revives + strlen(revives));
	leaf_says(op->write.seq, revives);
	leaf_says(op->write.seq, "\"versions\":3");
	leaf_says(op->write.seq, "\"type\":\"key.restore\"");
	after = read_key("whole");
	assert_string_equal(after.key.name, "Whole");
	assert_int_equal(after.key.created_s, before.key.created_s);
	assert_int_equal(after.count, 3);
	for (size_t i = 0; i < 3; i++)
		same_version(&before.v[i], &after.v[i]);
	assert_int_equal(after.v[2].revoked, REVOKE_COMPROMISE);
	assert_int_equal(store_policy(d.store->r, after.key.id, &kept, NULL), KMS_OK);
	assert_string_equal(kept.rotate_after_create, "P90D");
	assert_string_equal(kept.notify_before_expiry, "P30D");
	assert_string_equal(kept.expiry_time, "P2Y");
	assert_int_equal(kept.created_s, policy.created_s);
	t_op_free(op);
	versions_clear(&before);
	versions_clear(&after);
	free(b.bytes);
}

static void old_data_is_decrypted_after_a_restore(void **state)
{
	struct key_create rsa = { .type = KEY_RSA, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	SECRET_AUTO *plain = secret_from("a data key of someone", 21);
	struct crypto_input in = { .alg = ALG_RSA_OAEP_256, .value = plain };
	CRYPTO_OUTPUT_AUTO wrapped = { 0 };
	CRYPTO_OUTPUT_AUTO out = { 0 };
	struct kms_err err = { 0 };
	struct op *op = NULL;
	struct blob b;

	(void)state;
	make_key("data", &rsa);
	op = t_op(&d, VAULT, EVENT_KEY_WRAP);
	assert_int_equal(crypto_use(op, "data", NULL, KEY_OP_WRAP, &in, &wrapped, &err), KMS_OK);
	t_op_free(op);
	b = good_backup("data");
	delete_and_purge("data");
	good_restore(&b);
	in.value = wrapped.value;
	op = t_op(&d, VAULT, EVENT_KEY_UNWRAP);
	assert_int_equal(crypto_use(op, "data", NULL, KEY_OP_UNWRAP, &in, &out, &err), KMS_OK);
	assert_int_equal(secret_len(out.value), 21);
	assert_memory_equal(secret_data(out.value), secret_data(plain), 21);
	t_op_free(op);
	free(b.bytes);
}

static void a_name_that_exists_is_a_conflict_in_each_of_its_states(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct store_change purging = { .kind = STORE_KEY_SET_PURGING };
	struct versions all;
	struct blob b;

	(void)state;
	make_key("taken", &ec);
	b = good_backup("taken");
	refused(VAULT, &b, KMS_E_CONFLICT, "taken exists");
	act(EVENT_KEY_DELETE, keyring_delete, "taken");
	refused(VAULT, &b, KMS_E_DELETED, "taken");
	all = read_key("taken");
	purging.key = all.key;
	{
		struct write unit = { .event = { .type = EVENT_KEY_PURGE }, .changes = &purging, .change_count = 1 };
		assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	}
	refused(VAULT, &b, KMS_E_BEING_DELETED, "taken");
	act(EVENT_KEY_PURGE, keyring_purge, "taken");
	good_restore(&b);
	versions_clear(&all);
	free(b.bytes);
}

static void a_version_id_that_exists_elsewhere_stops_all_of_it(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct store_change changes[2] = { { .kind = STORE_KEY_ADD }, { .kind = STORE_VERSION_ADD } };
	struct versions all;
	struct blob b;
	struct op *op = NULL;
	struct kms_err err = { 0 };

	(void)state;
	make_key("double", &ec);
	make_key("double", &ec);
	b = good_backup("double");
	all = read_key("double");
	delete_and_purge("double");
	/* its second version's id is another key's now */
	changes[0].key = all.key;
	memcpy(changes[0].key.name, "elsewhere", sizeof("elsewhere"));
	changes[1].version = all.v[1];
	{
		struct write unit = { .event = { .type = EVENT_KEY_CREATE }, .changes = changes, .change_count = 2 };
		assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	}
	op = t_op(&d, VAULT, EVENT_KEY_RESTORE);
	assert_int_equal(backup_restore(op, b.bytes, b.len, &err), KMS_OK);
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
	t_op_free(op);
	assert_false(key_exists("double"));
	versions_clear(&all);
	free(b.bytes);
}

static void no_bit_of_a_backup_can_be_changed(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct blob b;

	(void)state;
	make_key("flipped", &ec);
	b = good_backup("flipped");
	delete_and_purge("flipped");
	for (size_t at = 0; at < b.len; at += at < BACKUP_SEALED_AT ? 1 : 17) {
		b.bytes[at] ^= (uint8_t)(1 << (at % 8));
		refused(VAULT, &b, KMS_E_BACKUP, NULL);
		b.bytes[at] ^= (uint8_t)(1 << (at % 8));
	}
	for (size_t cut = 1; cut < b.len; cut += cut < 3 ? 1 : b.len / 5) {
		struct blob shorter = { b.bytes, b.len - cut };
		refused(VAULT, &shorter, KMS_E_BACKUP, NULL);
	}
	{
		struct blob longer = { calloc(1, b.len + 1), b.len + 1 };
		memcpy(longer.bytes, b.bytes, b.len);
		refused(VAULT, &longer, KMS_E_BACKUP, NULL);
		free(longer.bytes);
	}
	{
		struct blob none = { b.bytes, 0 };
		refused(VAULT, &none, KMS_E_BACKUP, NULL);
	}
	assert_false(key_exists("flipped"));
	good_restore(&b);
	free(b.bytes);
}

static void the_message_is_uniform_until_the_seal_was_found_good(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct blob b;

	(void)state;
	make_key("uniform", &ec);
	b = good_backup("uniform");
	delete_and_purge("uniform");
	b.bytes[6 + STORE_ID_LEN] ^= 1; /* another vault, says a header that does not verify */
	refused("foreign", &b, KMS_E_BACKUP, kms_status_text(KMS_E_BACKUP));
	b.bytes[6 + STORE_ID_LEN] ^= 1;
	refused("foreign", &b, KMS_E_BACKUP, "another vault");
	b.bytes[6 + 3 * STORE_ID_LEN] ^= 1;
	refused(VAULT, &b, KMS_E_BACKUP, "backup epoch or installation");
	b.bytes[6 + 3 * STORE_ID_LEN] ^= 1;
	{ /* the vault's root is another one by now */
		struct op *op = t_op(&d, VAULT, EVENT_KEY_RESTORE);
		struct kms_err err = { 0 };
		op->vault.root_id[0] ^= 1;
		assert_int_equal(backup_restore(op, b.bytes, b.len, &err), KMS_E_BACKUP);
		assert_non_null(strstr(err.message, "root key has been replaced"));
		t_op_free(op);
	}
	{ /* the same backup key in another installation: copied, or cloned */
		struct op *op = t_op(&d, VAULT, EVENT_KEY_RESTORE);
		struct kms_err err = { 0 };
		d.kms.inst.directory[0] ^= 1;
		assert_int_equal(backup_restore(op, b.bytes, b.len, &err), KMS_E_BACKUP);
		assert_non_null(strstr(err.message, "another installation"));
		d.kms.inst.directory[0] ^= 1;
		t_op_free(op);
	}
	good_restore(&b);
	free(b.bytes);
}

static void a_version_that_the_root_does_not_open_is_not_entered(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct op *op = NULL;
	struct kms_err err = { 0 };
	struct versions all;
	struct blob b;
	struct store_epoch epoch = { 0 };
	struct hsm_key key;
	uint8_t *text = NULL, *at = NULL;
	uint8_t iv[HSM_IV_LEN];
	size_t len = 0;

	(void)state;
	make_key("unopened", &ec);
	b = good_backup("unopened");
	all = read_key("unopened");
	delete_and_purge("unopened");
	/* Sealed by the right key, but with a damaged version: what a bug, or an older root, would leave. */
	text = calloc(1, b.len);
	assert_int_equal(epoch_newest(d.store->r, &epoch, &err), KMS_OK);
	epoch_key(&epoch, &key);
	assert_int_equal(hsm_decrypt(d.kms.hsm, &key, HSM_CIPHER_GCM, b.bytes + BACKUP_NONCE_AT, b.bytes, BACKUP_AAD_LEN,
	                             b.bytes + BACKUP_SEALED_AT, b.len - BACKUP_SEALED_AT, b.bytes + BACKUP_TAG_AT, text, b.len, &len, &err), KMS_OK);
	at = memmem(text, len, all.v[0].wrapped, all.v[0].wrapped_len);
	assert_non_null(at);
	at[20] ^= 1;
	assert_int_equal(hsm_encrypt(d.kms.hsm, &key, HSM_CIPHER_GCM, iv, b.bytes, BACKUP_AAD_LEN, text, len,
	                             b.bytes + BACKUP_SEALED_AT, len, &len, b.bytes + BACKUP_TAG_AT, &err), KMS_OK);
	memcpy(b.bytes + BACKUP_NONCE_AT, iv, HSM_GCM_NONCE_LEN);
	op = t_op(&d, VAULT, EVENT_KEY_RESTORE);
	assert_int_equal(backup_restore(op, b.bytes, b.len, &err), KMS_E_BACKUP);
	assert_int_equal(t_op_finish(op, KMS_E_BACKUP), KMS_OK);
	t_op_free(op);
	assert_false(key_exists("unopened"));
	versions_clear(&all);
	free(text);
	free(b.bytes);
}

static void resident_keys_have_no_backup(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct kms_err err;
	struct blob b;

	(void)state;
	make_key("mixed", &ec);
	ec.type = KEY_EC_HSM;
	make_key("mixed", &ec);
	ec.type = KEY_EC;
	make_key("mixed", &ec);
	assert_int_equal(backup(VAULT, "mixed", &b, &err), KMS_E_UNSUPPORTED);
	assert_non_null(strstr(err.message, "EC-HSM"));
	assert_int_equal(backup(VAULT, "nobody", &b, &err), KMS_E_KEY_NOTFOUND);
	act(EVENT_KEY_DELETE, keyring_delete, "mixed");
	assert_int_equal(backup(VAULT, "mixed", &b, &err), KMS_E_KEY_NOTFOUND);
}

/* Copies of the first version under other ids: making each in the device would take long. */
static void grow(const char *name, size_t count, char *tags)
{
	struct versions all = read_key(name);
	struct store_change c = { .kind = STORE_VERSION_ADD };

	c.version = all.v[0];
	c.version.tags = tags;
	for (size_t i = 0; i < count; i++) {
		struct write unit = { .event = { .type = EVENT_KEY_CREATE }, .changes = &c, .change_count = 1 };
		assert_true(random_bytes(c.version.id, STORE_ID_LEN) && random_bytes(c.version.obj, STORE_ID_LEN));
		assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	}
	versions_clear(&all);
}

static size_t count_versions(const char *name)
{
	struct store_version page[16];
	struct versions all = read_key(name);
	size_t total = 0, count = 0;
	uint64_t after = 0;

	do {
		assert_int_equal(store_versions(d.store->r, all.key.id, after, false, page, KMS_ARRAY_LEN(page), &count, NULL), KMS_OK);
		for (size_t i = 0; i < count; i++) {
			assert_int_equal(page[i].ordinal, ++after);
			store_version_clear(&page[i]);
		}
		total += count;
	} while (count == KMS_ARRAY_LEN(page));
	versions_clear(&all);
	return total;
}

static void five_hundred_versions_fit_and_one_more_does_not(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct kms_err err;
	struct blob b, more;

	(void)state;
	make_key("many", &ec);
	grow("many", BACKUP_VERSIONS_MAX - 1, NULL);
	b = good_backup("many");
	grow("many", 1, NULL);
	assert_int_equal(backup(VAULT, "many", &more, &err), KMS_E_POLICY);
	assert_non_null(strstr(err.message, "500"));
	delete_and_purge("many");
	good_restore(&b);
	assert_int_equal(count_versions("many"), BACKUP_VERSIONS_MAX);
	free(b.bytes);
}

static void a_backup_that_would_not_fit_a_request_is_refused(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	char *tags = malloc(STORE_TAGS_MAX + 1);
	struct kms_err err;
	struct blob b;

	(void)state;
	memset(tags, 'x', STORE_TAGS_MAX);
	tags[STORE_TAGS_MAX] = '\0';
	make_key("large", &ec);
	grow("large", 11, tags);
	b = good_backup("large");
	assert_true(b.len <= BACKUP_BLOB_MAX);
	free(b.bytes);
	grow("large", 1, tags);
	assert_int_equal(backup(VAULT, "large", &b, &err), KMS_E_POLICY);
	assert_non_null(strstr(err.message, "larger than"));
	free(tags);
}

static void a_restored_secret_may_encrypt_a_little_more_and_no_less_was_counted(void **state)
{
	struct key_create oct = { .type = KEY_OCT, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct store_change c = { .kind = STORE_VERSION_ADD };
	struct versions all;
	struct blob b;

	(void)state;
	make_key("counted", &oct);
	all = read_key("counted");
	c.version = all.v[0];
	c.version.encryptions = CRYPTO_GCM_USES_MAX - 5;
	assert_true(random_bytes(c.version.id, STORE_ID_LEN) && random_bytes(c.version.obj, STORE_ID_LEN));
	{
		struct write unit = { .event = { .type = EVENT_KEY_CREATE }, .changes = &c, .change_count = 1 };
		assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	}
	versions_clear(&all);
	b = good_backup("counted");
	delete_and_purge("counted");
	good_restore(&b);
	all = read_key("counted");
	assert_int_equal(all.v[0].encryptions, CRYPTO_GCM_USES_MAX - BACKUP_RESTORED_ENCRYPTIONS);
	assert_int_equal(all.v[1].encryptions, CRYPTO_GCM_USES_MAX - 5);
	versions_clear(&all);
	free(b.bytes);
}

static void a_revocation_that_came_between_withholds_the_backup(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct op *op = NULL;
	struct kms_err err = { 0 };
	struct blob b = { 0 };

	(void)state;
	make_key("between", &ec);
	op = t_op(&d, VAULT, EVENT_KEY_BACKUP);
	assert_int_equal(backup_make(op, "between", &b.bytes, &b.len, &err), KMS_OK);
	revoke_latest("between");
	assert_int_equal(t_op_finish(op, KMS_OK), KMS_E_FENCED);
	t_op_free(op);
	free(b.bytes);
}

static void a_restore_that_was_cut_short_leaves_nothing(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	const uint64_t types = RECOVER_TYPE(EVENT_KEY_RESTORE) | RECOVER_TYPE(EVENT_KEY_BACKUP);
	struct recovery_count count = { 0 };
	struct kms_err err = { 0 };
	struct op *op = NULL;
	struct blob b, again = { 0 };

	(void)state;
	make_key("halfway", &ec);
	b = good_backup("halfway");
	op = t_op(&d, VAULT, EVENT_KEY_BACKUP);
	assert_int_equal(backup_make(op, "halfway", &again.bytes, &again.len, &err), KMS_OK);
	t_op_free(op);
	delete_and_purge("halfway");
	op = t_op(&d, VAULT, EVENT_KEY_RESTORE);
	assert_int_equal(backup_restore(op, b.bytes, b.len, &err), KMS_OK);
	t_op_free(op);
	t_domain_restart(&d);
	/* the one left by the fenced backup and the unit that could not be written in other tests are settled too */
	assert_int_equal(recovery_run(&d.kms, d.store->r, types, &count, &err), KMS_OK);
	assert_true(count.settled >= 2);
	assert_int_equal(count.left_open, 0);
	assert_false(key_exists("halfway"));
	good_restore(&b);
	free(b.bytes);
	free(again.bytes);
}

static void a_shredded_vault_takes_nothing_back(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct op *op = NULL;
	struct kms_err err = { 0 };
	struct blob b;

	(void)state;
	t_vault(&d, "doomed", false);
	op = t_op(&d, "doomed", EVENT_KEY_CREATE);
	assert_int_equal(t_op_finish(op, keyring_create(op, "k", &ec, &err)), KMS_OK);
	t_op_free(op);
	assert_int_equal(backup("doomed", "k", &b, &err), KMS_OK);
	(void)t_shred(&d, "doomed", "contract end");
	refused("doomed", &b, KMS_E_VAULT_SHREDDED, NULL);
	free(b.bytes);
}

static void what_was_destroyed_as_compromised_comes_back_revoked(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct versions after;
	struct kms_err err;
	kms_status status = KMS_OK;
	struct op *op = NULL;
	struct blob b;

	(void)state;
	make_key("leaked", &ec);
	make_key("leaked", &ec);
	b = good_backup("leaked");
	revoke_latest("leaked"); /* the backup does not know of it */
	delete_and_purge("leaked");
	op = restore(VAULT, &b, &status, &err);
	assert_int_equal(status, KMS_OK);
	assert_int_equal(op->version.revoked, REVOKE_COMPROMISE);
	leaf_says(op->write.seq, "\"revoked_again\":1");
	t_op_free(op);
	after = read_key("leaked");
	assert_int_equal(after.count, 2);
	assert_int_equal(after.v[0].revoked, REVOKE_NONE);
	assert_int_equal(after.v[1].revoked, REVOKE_COMPROMISE);
	versions_clear(&after);
	free(b.bytes);
}

static void a_backup_opens_while_its_epoch_lives_and_not_after(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct store_epoch first = { 0 }, second = { 0 };
	struct store_backup entered[2];
	struct store_vault vault;
	struct kms_err err = { 0 };
	struct blob b, later;
	struct op *op = NULL;
	size_t count = 0;
	char says[64];

	(void)state;
	make_key("aging", &ec);
	b = good_backup("aging");
	assert_int_equal(epoch_newest(d.store->r, &first, NULL), KMS_OK);
	op = t_op(&d, NULL, EVENT_BACKUP_EPOCH);
	assert_int_equal(t_op_finish(op, epoch_begin(op, &second, &err)), KMS_OK);
	t_op_free(op);
	later = good_backup("aging");
	assert_int_equal(store_vault_by_name(d.store->r, VAULT, &vault, NULL), KMS_OK);
	assert_int_equal(store_backups_of_key(d.store->r, vault.id, "aging", entered, 2, &count, NULL), KMS_OK);
	assert_int_equal(count, 2);
	assert_int_equal(entered[0].epoch, first.number + 1);
	assert_int_equal(entered[1].epoch, first.number);
	assert_int_equal(entered[1].bytes, b.len);
	delete_and_purge("aging");
	good_restore(&b); /* the epoch is closed, and lives */
	delete_and_purge("aging");
	t_domain_pass(EPOCH_DAYS_DEFAULT * 86400L);
	assert_int_equal(epochs_turn(&d.kms, d.store->r, &err), KMS_OK);
	(void)snprintf(says, sizeof(says), "backup epoch %u, which ended at ", (unsigned)first.number);
	refused(VAULT, &b, KMS_E_BACKUP, says);
	good_restore(&later);
	free(b.bytes);
	free(later.bytes);
}

static void nothing_is_backed_up_or_restored_while_the_root_is_being_replaced(void **state)
{
	struct key_create ec = { .type = KEY_EC, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = STORE_NO_TIME };
	struct store_change c = { .kind = STORE_VAULT_NEXT_ROOT };
	struct write unit = { .event = { .type = EVENT_TENANT_ROTATE_ROOT }, .changes = &c, .change_count = 1 };
	struct kms_err err = { 0 };
	struct blob b, none;
	struct op *op = NULL;

	(void)state;
	t_vault(&d, "turning", false);
	op = t_op(&d, "turning", EVENT_KEY_CREATE);
	assert_int_equal(t_op_finish(op, keyring_create(op, "k", &ec, &err)), KMS_OK);
	t_op_free(op);
	assert_int_equal(backup("turning", "k", &b, &err), KMS_OK);
	assert_int_equal(store_vault_by_name(d.store->r, "turning", &c.vault, NULL), KMS_OK);
	assert_true(random_bytes(c.vault.next_root_id, STORE_ID_LEN));
	assert_int_equal(writer_write(d.kms.writer, &unit), KMS_OK);
	assert_int_equal(backup("turning", "k", &none, &err), KMS_E_CONFLICT);
	assert_non_null(strstr(err.message, "being replaced"));
	refused("turning", &b, KMS_E_CONFLICT, "being replaced");
	free(b.bytes);
}

/* ---- the text under the seal ---- */

static uint8_t WRAPPED[40] = "a wrapped version, as far as form goes";
static char TAGS[] = "{\"a\":\"b\"}";

static struct store_version sample_version(uint8_t n)
{
	struct store_version v = { .kty = KEY_OCT, .bits = 256, .ops = 3, .is_enabled = true, .nbf_s = STORE_NO_TIME, .exp_s = 9,
	                           .created_s = 1, .updated_s = 2,
		                   .wrapped = WRAPPED, .wrapped_len = sizeof(WRAPPED), .tags = TAGS };

	memset(v.id, n, sizeof(v.id));
	memset(v.obj, n + 1, sizeof(v.obj));
	return v;
}

/* *ret_version: where the first version begins. */
static struct backup_text sample_text(const char *name, const struct store_version *v, size_t count, size_t *ret_version)
{
	struct store_policy policy = { .rotate_after_create = "P90D", .created_s = 3 };
	struct store_key key = { .created_s = 4 };
	struct backup_text t = { .max = BACKUP_BLOB_MAX };

	(void)snprintf(key.name, sizeof(key.name), "%s", name);
	backup_put_head(&t, &key, 5, &policy);
	*ret_version = t.len;
	for (size_t i = 0; i < count; i++)
		backup_put_version(&t, v);
	backup_set_count(&t, count);
	assert_false(t.is_over);
	return t;
}

static kms_status take(const uint8_t *text, size_t len)
{
	BACKUP_CONTENT_AUTO content = { 0 };
	/* Of exactly this length, so that the sanitizer sees a byte too many. */
	uint8_t *exact = malloc(len > 0 ? len : 1);
	kms_status status = KMS_OK;

	memcpy(exact, text, len);
	status = backup_take_content(exact, len, &content, NULL);
	if (status != KMS_OK)
		assert_null(content.versions);
	free(exact);
	return status;
}

static void a_text_of_any_other_length_is_refused(void **state)
{
	struct store_version v = sample_version(1);
	size_t at = 0;
	struct backup_text t = sample_text("orders", &v, 2, &at);

	(void)state;
	assert_int_equal(take(t.bytes, t.len), KMS_OK);
	for (size_t len = 0; len < t.len; len++)
		assert_int_equal(take(t.bytes, len), KMS_E_BACKUP);
	t.bytes = realloc(t.bytes, t.len + 1);
	t.bytes[t.len] = 0;
	assert_int_equal(take(t.bytes, t.len + 1), KMS_E_BACKUP);
	free(t.bytes);
}

static void values_out_of_their_range_are_refused(void **state)
{
	/* Offsets within a version; what stands there is replaced. */
	static const struct {
		size_t at, len;
		uint8_t bytes[4];
	} CASES[] = {
		{ 32, 1, { 0 } },                     /* no type */
		{ 32, 1, { KEY_EC_HSM } },            /* a resident one */
		{ 32, 1, { KEY_TYPE_COUNT } },
		{ 33, 1, { CURVE_COUNT } },
		{ 36, 4, { 0, 0, 1, 0 } },            /* key_ops that there are not */
		{ 40, 1, { 2 } },                     /* neither true nor false */
		{ 41, 1, { REVOKE_COUNT } },
		{ 74, 1, { 0x80 } },                  /* encryptions beyond 2^63 */
		{ 82, 1, { 9 } },                     /* an exponent longer than there is room */
		{ 83, 2, { 0xff, 0xff } },            /* a public half longer than can be */
		{ 85, 2, { 0, 0 } },                  /* nothing wrapped */
		{ 85, 2, { 0x10, 0x01 } },
		{ 127, 4, { 0xff, 0xff, 0xff, 0xff } },
		{ 127, 4, { 0, 0, 0, 9 } },           /* tags that do not end with their NUL */
		{ 133, 1, { 0 } },                    /* tags with another NUL */
	};
	struct store_version v = sample_version(1);
	size_t at = 0;
	struct backup_text t = sample_text("orders", &v, 1, &at);

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(CASES); i++) {
		uint8_t kept[4];
		memcpy(kept, t.bytes + at + CASES[i].at, CASES[i].len);
		memcpy(t.bytes + at + CASES[i].at, CASES[i].bytes, CASES[i].len);
		if (take(t.bytes, t.len) != KMS_E_BACKUP)
			fail_msg("case %zu", i);
		memcpy(t.bytes + at + CASES[i].at, kept, CASES[i].len);
	}
	assert_int_equal(take(t.bytes, t.len), KMS_OK);
	free(t.bytes);
	t = sample_text("no/name", &v, 1, &at);
	assert_int_equal(take(t.bytes, t.len), KMS_E_BACKUP);
	free(t.bytes);
	t = sample_text("orders", &v, 0, &at);
	assert_int_equal(take(t.bytes, t.len), KMS_E_BACKUP);
	free(t.bytes);
	t = sample_text("orders", &v, BACKUP_VERSIONS_MAX + 1, &at);
	assert_int_equal(take(t.bytes, t.len), KMS_E_BACKUP);
	free(t.bytes);
}

static int setup(void **state)
{
	(void)state;
	struct kms_err err = { 0 };

	t_domain_open(&d);
	assert_int_equal(epoch_open(&d.kms, d.store->r, &err), KMS_OK);
	t_vault(&d, VAULT, false);
	t_vault(&d, "foreign", false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	t_domain_close(&d);
	return secret_live() == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_comes_back_as_it_was),
		cmocka_unit_test(old_data_is_decrypted_after_a_restore),
		cmocka_unit_test(a_name_that_exists_is_a_conflict_in_each_of_its_states),
		cmocka_unit_test(a_version_id_that_exists_elsewhere_stops_all_of_it),
		cmocka_unit_test(no_bit_of_a_backup_can_be_changed),
		cmocka_unit_test(the_message_is_uniform_until_the_seal_was_found_good),
		cmocka_unit_test(a_version_that_the_root_does_not_open_is_not_entered),
		cmocka_unit_test(resident_keys_have_no_backup),
		cmocka_unit_test(five_hundred_versions_fit_and_one_more_does_not),
		cmocka_unit_test(a_backup_that_would_not_fit_a_request_is_refused),
		cmocka_unit_test(a_restored_secret_may_encrypt_a_little_more_and_no_less_was_counted),
		cmocka_unit_test(a_revocation_that_came_between_withholds_the_backup),
		cmocka_unit_test(a_restore_that_was_cut_short_leaves_nothing),
		cmocka_unit_test(a_shredded_vault_takes_nothing_back),
		cmocka_unit_test(what_was_destroyed_as_compromised_comes_back_revoked),
		cmocka_unit_test(a_backup_opens_while_its_epoch_lives_and_not_after),
		cmocka_unit_test(nothing_is_backed_up_or_restored_while_the_root_is_being_replaced),
		cmocka_unit_test(a_text_of_any_other_length_is_refused),
		cmocka_unit_test(values_out_of_their_range_are_refused),
	};
	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, setup, teardown);
}
