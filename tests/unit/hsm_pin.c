/* tests/unit/hsm_pin.c - pins against a fresh SoftHSM token: what the device remembers of a log, whatever happens between two of its calls. */
#include <errno.h>
#include <glob.h>
#include <openssl/bn.h>
#include <openssl/objects.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/encode.h"
#include "tests/support/hsm_rig.h"

#define ORIGIN "kms.example/audit/log1"
#define APPLICATION "holdfast log pin"
#define OWNER 0x11
#define LABEL_LEN 54 /* of size and root, 40 bytes, as base64url */

static struct t_rig RIG;

/* ---- fsync, as the provider calls it ---- */

static atomic_uint SYNCED_FILES;
static atomic_bool SYNC_FAILS;

int fsync(int fd)
{
	struct stat st;

	if (SYNC_FAILS) {
		errno = EIO;
		return -1;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		SYNCED_FILES++;
	return 0;
}

/* One token for all: opening one is what takes time. */
static int up(void **state)
{
	(void)state;
	t_rig_up(&RIG);
	return 0;
}

static int down(void **state)
{
	(void)state;
	t_rig_down(&RIG);
	return 0;
}

#define OBJECTS_MAX 128

static size_t data_objects(CK_OBJECT_HANDLE ret[OBJECTS_MAX])
{
	static const CK_OBJECT_CLASS DATA = CKO_DATA;
	bool is_broken;
	size_t count;

	T_OK(&RIG, p11_token_find(&RIG.p->token, RIG.p->token.home, NULL, NULL, &DATA, ret, OBJECTS_MAX, &count, &is_broken, &RIG.err));
	return count;
}

static size_t left(void)
{
	CK_OBJECT_HANDLE found[OBJECTS_MAX];

	return data_objects(found);
}

static int wipe(void **state)
{
	CK_OBJECT_HANDLE found[OBJECTS_MAX];
	size_t count = data_objects(found);

	(void)state;
	for (size_t i = 0; i < count; i++)
		assert_int_equal(RIG.p->token.gate.functions->C_DestroyObject(RIG.p->token.home, found[i]), CKR_OK);
	return 0;
}

static void reopen(void)
{
	hsm_close(RIG.hsm);
	T_OK(&RIG, hsm_open_pkcs11(&RIG.token.cfg, &RIG.hsm, &RIG.err));
	RIG.p = p11_of(RIG.hsm);
}

/* The device is away and comes back: all is read anew, from the files. */
static void renew(void)
{
	atomic_store(&RIG.p->is_available, false);
	T_OK(&RIG, hsm_check(RIG.hsm, &RIG.err));
}

static struct hsm_pin pin_of(uint8_t owner, const char *origin, uint64_t size)
{
	struct hsm_pin pin = { .size = size };

	memset(pin.owner, owner, sizeof(pin.owner));
	memset(pin.root, (int)(size % 251), sizeof(pin.root));
	(void)snprintf(pin.origin, sizeof(pin.origin), "%s", origin);
	return pin;
}

static kms_status pin(uint64_t size)
{
	struct hsm_pin p = pin_of(OWNER, ORIGIN, size);

	return hsm_pin(RIG.hsm, &p, &RIG.err);
}

static size_t pins(uint8_t owner, struct hsm_pin ret[HSM_PINS_MAX])
{
	struct hsm_pin any = pin_of(owner, ORIGIN, 0);
	size_t count = 99;

	T_OK(&RIG, hsm_pins(RIG.hsm, any.owner, ret, HSM_PINS_MAX, &count, &RIG.err));
	return count;
}

static void assert_only(uint64_t size)
{
	struct hsm_pin got[HSM_PINS_MAX], want = pin_of(OWNER, ORIGIN, size);

	assert_int_equal(pins(OWNER, got), 1);
	assert_memory_equal(&got[0], &want, sizeof(want));
}

static void assert_unreadable(const char *words)
{
	struct hsm_pin got[HSM_PINS_MAX], any = pin_of(OWNER, ORIGIN, 0);
	size_t count = 99;

	T_FAILS(&RIG, KMS_E_DEVICE, hsm_pins(RIG.hsm, any.owner, got, HSM_PINS_MAX, &count, &RIG.err));
	assert_int_equal(count, 99);
	if (strstr(RIG.err.detail, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", RIG.err.detail, words);
}

/* ---- objects made by other hands, or by a program that died ---- */

/* The DER of 2.25.N, by OpenSSL. */
static size_t owner_der(const uint8_t owner[HSM_ID_LEN], uint8_t ret[32])
{
	BIGNUM *n = BN_bin2bn(owner, HSM_ID_LEN, NULL);
	char *decimal = BN_bn2dec(n), text[64];
	uint8_t *at = ret;
	ASN1_OBJECT *oid;
	int len;

	assert_non_null(decimal);
	(void)snprintf(text, sizeof(text), "2.25.%s", decimal);
	oid = OBJ_txt2obj(text, 1);
	assert_non_null(oid);
	len = i2d_ASN1_OBJECT(oid, &at);
	assert_in_range(len, 1, 32);
	ASN1_OBJECT_free(oid);
	OPENSSL_free(decimal);
	BN_free(n);
	return (size_t)len;
}

static CK_OBJECT_HANDLE make_object(bool is_private, uint8_t owner, const char *origin, size_t origin_len, const char *label, size_t label_len)
{
	CK_FUNCTION_LIST *f = RIG.p->token.gate.functions;
	CK_OBJECT_CLASS class = CKO_DATA;
	CK_BBOOL yes = CK_TRUE, private = is_private ? CK_TRUE : CK_FALSE;
	CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
	uint8_t id[HSM_ID_LEN], der[32];
	CK_ATTRIBUTE attrs[] = {
		{ CKA_CLASS, &class, sizeof(class) },
		{ CKA_TOKEN, &yes, sizeof(yes) },
		{ CKA_PRIVATE, &private, sizeof(private) },
		{ CKA_APPLICATION, p11_in(APPLICATION), strlen(APPLICATION) },
		{ CKA_OBJECT_ID, der, 0 },
		{ CKA_VALUE, p11_in(origin), origin_len },
		{ CKA_LABEL, p11_in(label), label_len },
	};

	memset(id, owner, sizeof(id));
	attrs[4].ulValueLen = owner_der(id, der);
	assert_int_equal(f->C_CreateObject(RIG.p->token.home, attrs, KMS_ARRAY_LEN(attrs), &made), CKR_OK);
	return made;
}

static void destroy_object(CK_OBJECT_HANDLE object)
{
	assert_int_equal(RIG.p->token.gate.functions->C_DestroyObject(RIG.p->token.home, object), CKR_OK);
}

/* What a crash leaves: the pin of another size beside the one that is there. */
static CK_OBJECT_HANDLE make_other(uint64_t size, uint8_t root)
{
	char label[LABEL_LEN + 1];
	uint8_t value[40];

	for (size_t i = 0; i < 8; i++)
		value[i] = (uint8_t)(size >> 8 * (7 - i));
	memset(value + 8, root, 32);
	b64url_encode(value, sizeof(value), label);
	return make_object(true, OWNER, ORIGIN, strlen(ORIGIN), label, LABEL_LEN);
}

/* ---- the files of the token ---- */

static void objects_glob(glob_t *ret)
{
	char pattern[T_TOKEN_PATH + 16];

	(void)snprintf(pattern, sizeof(pattern), "%s/*/*.object", RIG.token.token_dir);
	assert_int_equal(glob(pattern, 0, NULL, ret), 0);
}

/* Pin, and name the file that this makes. */
static void pin_in_new_file(uint64_t size, char ret_path[T_TOKEN_PATH])
{
	glob_t before, after;
	size_t i = 0;

	objects_glob(&before);
	T_OK(&RIG, pin(size));
	objects_glob(&after);
	assert_int_equal(after.gl_pathc, before.gl_pathc + 1);
	while (i < before.gl_pathc && strcmp(before.gl_pathv[i], after.gl_pathv[i]) == 0)
		i++;
	assert_in_range(snprintf(ret_path, T_TOKEN_PATH, "%s", after.gl_pathv[i]), 1, T_TOKEN_PATH - 1);
	globfree(&before);
	globfree(&after);
}

/* ---- tests ---- */

static void a_pin_is_kept_replaced_and_found_again_after_a_new_login(void **state)
{
	struct hsm_pin got[HSM_PINS_MAX];

	(void)state;
	assert_int_equal(pins(OWNER, got), 0); /* the token is there, and that is all that is known of it */
	(void)t_log_key(&RIG);
	assert_int_equal(pins(OWNER, got), 0);
	T_OK(&RIG, pin(1));
	assert_only(1);
	T_OK(&RIG, pin(0x0102030405060708));
	assert_only(0x0102030405060708);
	reopen();
	assert_only(0x0102030405060708);
	T_OK(&RIG, pin(UINT64_MAX - 1));
	assert_only(UINT64_MAX - 1);
	T_OK(&RIG, pin(UINT64_MAX));
	assert_only(UINT64_MAX);
	assert_int_equal(left(), 2);
}

static void a_log_never_shrinks_and_has_one_root(void **state)
{
	struct hsm_pin other = pin_of(OWNER, ORIGIN, 7);

	(void)state;
	T_OK(&RIG, pin(7));
	T_FAILS(&RIG, KMS_E_CONFLICT, pin(6));
	T_FAILS(&RIG, KMS_E_CONFLICT, pin(0));
	other.root[31] ^= 1;
	T_FAILS(&RIG, KMS_E_CONFLICT, hsm_pin(RIG.hsm, &other, &RIG.err));
	T_OK(&RIG, pin(7)); /* is there already */
	renew();
	T_OK(&RIG, pin(7));
	assert_only(7);
	assert_int_equal(left(), 1);
}

static void a_pin_changes_the_older_slot_and_looks_for_nothing(void **state)
{
	CK_OBJECT_HANDLE before[OBJECTS_MAX], after[OBJECTS_MAX];
	struct hsm_pin other = pin_of(OWNER, "kms.example/audit/log2", 1);

	(void)state;
	T_OK(&RIG, pin(1));
	T_OK(&RIG, pin(2));
	assert_int_equal(data_objects(before), 2);
	for (uint64_t size = 3; size < 8; size++) {
		const char *calls;

		t_calls_begin();
		T_OK(&RIG, pin(size));
		calls = t_calls_end();
		assert_null(strstr(calls, "C_FindObjects"));
		assert_null(strstr(calls, "C_CreateObject"));
		assert_null(strstr(calls, "C_DestroyObject"));
		assert_only(size);
	}
	assert_int_equal(data_objects(after), 2);
	assert_memory_equal(before, after, 2 * sizeof(before[0]));
	/* What is known is of one log, and of one life of the device. */
	T_OK(&RIG, hsm_pin(RIG.hsm, &other, &RIG.err));
	T_FAILS(&RIG, KMS_E_CONFLICT, pin(6));
	T_OK(&RIG, pin(8));
	destroy_object(before[0]);
	destroy_object(before[1]);
	assert_int_equal(left(), 1);
	T_OK(&RIG, pin(1)); /* neither is there any more: that is seen, and not taken from memory */
	renew();
	T_FAILS(&RIG, KMS_E_CONFLICT, pin(0));
	T_OK(&RIG, pin(2));
	assert_int_equal(left(), 3);
}

static void the_newest_is_on_stable_storage_before_another_is_written(void **state)
{
	(void)state;
	T_OK(&RIG, pin(1));
	T_OK(&RIG, pin(2));
	SYNC_FAILS = true;
	T_FAILS(&RIG, KMS_E_DEVICE, pin(3));
	assert_only(3);
	/* 3 may be lost yet, so 2 must stay. */
	t_calls_begin();
	T_FAILS(&RIG, KMS_E_DEVICE, pin(4));
	assert_null(strstr(t_calls_end(), "C_SetAttributeValue"));
	T_FAILS(&RIG, KMS_E_DEVICE, pin(3));
	SYNC_FAILS = false;
	SYNCED_FILES = 0;
	T_OK(&RIG, pin(3)); /* not taken for done: synced now */
	assert_true(SYNCED_FILES > 0);
	T_OK(&RIG, pin(4));
	assert_int_equal(left(), 2);
	assert_only(4);
}

static void the_largest_of_what_a_crash_left_counts_and_the_rest_goes_with_the_next_pin(void **state)
{
	(void)state;
	T_OK(&RIG, pin(5));
	(void)make_other(3, 3);
	(void)make_other(9, 9);
	renew();
	assert_only(9);
	T_FAILS(&RIG, KMS_E_CONFLICT, pin(8));
	T_OK(&RIG, pin(10));
	assert_int_equal(left(), 2);
	assert_only(10);
	(void)make_other(10, 10); /* twice the same is one */
	renew();
	assert_only(10);
	T_OK(&RIG, pin(11));
	assert_int_equal(left(), 2);
	assert_only(11);
}

static void a_torn_slot_leaves_the_other(void **state)
{
	char first[T_TOKEN_PATH], second[T_TOKEN_PATH];
	struct stat st;

	(void)state;
	pin_in_new_file(1, first);
	pin_in_new_file(2, second);
	T_OK(&RIG, pin(3)); /* in the first file again */
	assert_int_equal(stat(second, &st), 0);
	assert_int_equal(truncate(second, st.st_size / 2), 0);
	renew();
	assert_only(3);
	T_FAILS(&RIG, KMS_E_CONFLICT, pin(2));
	assert_int_equal(unlink(second), 0);
	pin_in_new_file(4, second);
	assert_int_equal(left(), 2);
	assert_only(4);
	/* The newest itself is damaged: the one before it is what is left. */
	assert_int_equal(truncate(second, 0), 0);
	renew();
	assert_only(3);
	T_OK(&RIG, pin(5));
	assert_only(5);
	assert_int_equal(unlink(second), 0);
}

static char FULL_FILE[T_TOKEN_PATH];
static bool IS_WRITTEN;

/* What SoftHSM does on a full disk: empties the file, writes nothing, and answers CKR_OK. */
static CK_RV disk_is_full(void *arg, const char *call)
{
	(void)arg;
	if (IS_WRITTEN && strcmp(call, "C_GetAttributeValue") == 0)
		assert_int_equal(truncate(FULL_FILE, 0), 0);
	IS_WRITTEN |= strcmp(call, "C_SetAttributeValue") == 0;
	return CKR_OK;
}

static void a_full_disk_is_noticed_and_costs_one_slot(void **state)
{
	(void)state;
	pin_in_new_file(1, FULL_FILE);
	T_OK(&RIG, pin(2));
	IS_WRITTEN = false;
	p11_hook_set(disk_is_full, NULL);
	T_FAILS(&RIG, KMS_E_DEVICE, pin(3));
	p11_hook_set(NULL, NULL);
	assert_true(IS_WRITTEN);
	assert_only(2);
	T_OK(&RIG, pin(3));
	assert_only(3);
	assert_int_equal(left(), 2);
	assert_int_equal(unlink(FULL_FILE), 0);
	renew();
	assert_only(3);
}

static void a_device_that_does_not_change_objects_gets_new_ones(void **state)
{
	static const CK_RV REFUSALS[] = { CKR_ATTRIBUTE_READ_ONLY, CKR_ACTION_PROHIBITED, CKR_FUNCTION_NOT_SUPPORTED, CKR_TEMPLATE_INCONSISTENT };
	uint64_t size = 0;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(REFUSALS); i++) {
		RIG.p->pins_are_fixed = false;
		T_OK(&RIG, pin(++size));
		T_OK(&RIG, pin(++size));
		t_fail_named("C_SetAttributeValue", REFUSALS[i]);
		T_OK(&RIG, pin(++size));
		assert_true(t_fail_happened());
		assert_only(size);
		assert_int_equal(left(), 2);
		t_fail_named("C_SetAttributeValue", CKR_GENERAL_ERROR); /* is not called again */
		t_calls_begin();
		T_OK(&RIG, pin(++size));
		assert_null(strstr(t_calls_end(), "C_FindObjects"));
		t_fail_named(NULL, CKR_OK);
		assert_only(size);
		assert_int_equal(left(), 2);
	}
	/* The new one is on stable storage before the oldest goes. */
	SYNC_FAILS = true;
	T_FAILS(&RIG, KMS_E_DEVICE, pin(++size));
	SYNC_FAILS = false;
	assert_int_equal(left(), 3);
	T_OK(&RIG, pin(size));
	assert_int_equal(left(), 2);
	assert_only(size);
	/* A failure is no refusal. */
	RIG.p->pins_are_fixed = false;
	t_fail_named("C_SetAttributeValue", CKR_GENERAL_ERROR);
	T_FAILS(&RIG, KMS_E_DEVICE, pin(++size));
	t_fail_named(NULL, CKR_OK);
	assert_only(size - 1);
	assert_int_equal(left(), 2);
}

static void two_roots_of_one_size_are_no_pin(void **state)
{
	CK_OBJECT_HANDLE second;

	(void)state;
	T_OK(&RIG, pin(5));
	renew();
	second = make_other(5, 77);
	assert_unreadable("two pins of size 5 of " ORIGIN " with different roots");
	T_FAILS(&RIG, KMS_E_DEVICE, pin(6));
	destroy_object(second);
	assert_only(5);
}

static void installations_do_not_see_each_others_pins(void **state)
{
	static const uint8_t OWNERS[] = { 0x01, 0x7f, 0x80, 0xff };
	struct hsm_pin got[HSM_PINS_MAX], small = pin_of(0, ORIGIN, 1);
	uint8_t der[32], have[32];
	CK_ATTRIBUTE attr = { CKA_OBJECT_ID, have, sizeof(have) };
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < KMS_ARRAY_LEN(OWNERS); i++) {
		struct hsm_pin p = pin_of(OWNERS[i], ORIGIN, 10 + i);
		T_OK(&RIG, hsm_pin(RIG.hsm, &p, &RIG.err));
	}
	small.owner[HSM_ID_LEN - 1] = 1; /* a number of one digit */
	T_OK(&RIG, hsm_pin(RIG.hsm, &small, &RIG.err));
	for (size_t i = 0; i < KMS_ARRAY_LEN(OWNERS); i++) {
		struct hsm_pin want = pin_of(OWNERS[i], ORIGIN, 10 + i);
		assert_int_equal(pins(OWNERS[i], got), 1);
		assert_memory_equal(&got[0], &want, sizeof(want));
	}
	T_OK(&RIG, hsm_pins(RIG.hsm, small.owner, got, HSM_PINS_MAX, &count, &RIG.err));
	assert_int_equal(count, 1);
	assert_int_equal(got[0].size, 1);
	assert_int_equal(pins(0x55, got), 0);
	/* The id is the OID that it claims to be. */
	for (size_t i = 0; i <= KMS_ARRAY_LEN(OWNERS); i++) {
		struct hsm_pin p = i < KMS_ARRAY_LEN(OWNERS) ? pin_of(OWNERS[i], ORIGIN, 0) : small;
		CK_OBJECT_HANDLE found;
		size_t len = owner_der(p.owner, der);
		CK_ATTRIBUTE wanted = { CKA_OBJECT_ID, der, len };
		bool is_broken;
		attr.ulValueLen = sizeof(have);
		T_OK(&RIG, p11_token_find_by(&RIG.p->token, RIG.p->token.home, &wanted, 1, &found, 1, &count, &is_broken, &RIG.err));
		assert_int_equal(count, 1);
		assert_int_equal(RIG.p->token.gate.functions->C_GetAttributeValue(RIG.p->token.home, found, &attr, 1), CKR_OK);
		assert_int_equal(attr.ulValueLen, len);
		assert_memory_equal(have, der, len);
	}
}

static void each_log_has_its_pin_up_to_the_bound(void **state)
{
	struct hsm_pin got[HSM_PINS_MAX], p;
	char origin[HSM_ORIGIN_MAX + 1];
	size_t count = 99;
	bool seen[HSM_PINS_MAX] = { false };

	(void)state;
	for (unsigned n = 0; n < HSM_PINS_MAX; n++) {
		memset(origin, 'o', HSM_ORIGIN_MAX); /* the longest, told apart by the end */
		(void)snprintf(origin + HSM_ORIGIN_MAX - 2, 3, "%02u", n);
		for (uint64_t size = 1; size < 3; size++) {
			p = pin_of(OWNER, origin, 100 * n + size);
			T_OK(&RIG, hsm_pin(RIG.hsm, &p, &RIG.err));
		}
	}
	assert_int_equal(pins(OWNER, got), HSM_PINS_MAX);
	for (size_t i = 0; i < HSM_PINS_MAX; i++) {
		size_t n = got[i].size / 100;
		assert_true(n < HSM_PINS_MAX && !seen[n] && got[i].size % 100 == 2);
		assert_int_equal(strtoul(got[i].origin + HSM_ORIGIN_MAX - 2, NULL, 10), n);
		seen[n] = true;
	}
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_pins(RIG.hsm, p.owner, got, HSM_PINS_MAX - 1, &count, &RIG.err));
	T_FAILS(&RIG, KMS_E_CONFLICT, pin(1)); /* one log more would lock out all at the next start */
	assert_non_null(strstr(RIG.err.message, "a new log needs a new token"));
	T_OK(&RIG, hsm_pin(RIG.hsm, &p, &RIG.err)); /* those that there are go on */
	p.size++;
	T_OK(&RIG, hsm_pin(RIG.hsm, &p, &RIG.err));
	assert_int_equal(left(), 2 * HSM_PINS_MAX);
	(void)make_other(1, 1); /* made by other means: none is left out in silence */
	assert_unreadable("more than 16 logs");
}

static void what_is_no_pin_is_not_passed_over(void **state)
{
	static const char LABEL[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
	static const char LONG[HSM_ORIGIN_MAX + 1] = { [0 ... HSM_ORIGIN_MAX] = 'x' };
	const struct {
		const char *origin;
		size_t origin_len;
	} GARBAGE[] = { { ORIGIN, 0 }, { LONG, sizeof(LONG) }, { "a\0b", 3 }, { "another log", 11 } };

	(void)state;
	T_OK(&RIG, pin(5));
	for (size_t i = 0; i < KMS_ARRAY_LEN(GARBAGE); i++) {
		CK_OBJECT_HANDLE made = make_object(true, OWNER, GARBAGE[i].origin, GARBAGE[i].origin_len, LABEL, LABEL_LEN - 1);
		assert_unreadable("is no pin");
		destroy_object(made);
		assert_only(5);
	}
	/* Anybody can make a public object, even without the PIN: it says nothing, and stops nothing. */
	(void)make_object(false, OWNER, ORIGIN, strlen(ORIGIN), LABEL, LABEL_LEN);
	(void)make_object(false, OWNER, ORIGIN, strlen(ORIGIN), LABEL, 1);
	(void)make_object(true, OWNER + 1, ORIGIN, strlen(ORIGIN), LABEL, 1); /* another installation's trouble */
	renew();
	assert_only(5);
	T_OK(&RIG, pin(6));
	assert_only(6);
}

static void one_spoilt_slot_is_repaired_and_two_are_damage(void **state)
{
	static const char *const SPOILT[] = {
		"", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", /* one short */
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", /* one too many */
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB", /* bits that mean nothing */
		"AAAAAAAAAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAAAAAAA",
	};
	uint64_t size = 1;

	(void)state;
	T_OK(&RIG, pin(size));
	for (size_t i = 0; i < KMS_ARRAY_LEN(SPOILT); i++) {
		(void)wipe(NULL);
		T_OK(&RIG, pin(++size));
		renew();
		(void)make_object(true, OWNER, ORIGIN, strlen(ORIGIN), SPOILT[i], strlen(SPOILT[i]));
		assert_only(size);
		T_FAILS(&RIG, KMS_E_CONFLICT, pin(size - 1));
		t_calls_begin();
		T_OK(&RIG, pin(++size)); /* the good one is not what is overwritten */
		assert_non_null(strstr(t_calls_end(), "C_SetAttributeValue"));
		assert_only(size);
		assert_int_equal(left(), 2);
		(void)make_object(true, OWNER, ORIGIN, strlen(ORIGIN), SPOILT[i], strlen(SPOILT[i]));
		(void)make_object(true, OWNER, ORIGIN, strlen(ORIGIN), "x", 1);
		renew();
		assert_unreadable("is no pin");
		T_FAILS(&RIG, KMS_E_DEVICE, pin(size + 1));
		assert_int_equal(left(), 4); /* nothing was thrown away */
	}
	(void)wipe(NULL);
	(void)make_object(true, OWNER, ORIGIN, strlen(ORIGIN), "x", 1); /* alone */
	assert_unreadable("is no pin");
	T_FAILS(&RIG, KMS_E_DEVICE, pin(size + 1));
}

static void a_token_that_keeps_what_it_was_told_to_destroy_is_noticed(void **state)
{
	(void)state;
	for (uint64_t size = 1; size <= 4 * HSM_PINS_MAX; size++)
		(void)make_other(size, (uint8_t)size);
	assert_unreadable("does not destroy");
	T_FAILS(&RIG, KMS_E_DEVICE, pin(1000));
}

static void a_pin_is_private_and_its_log_is_fixed(void **state)
{
	CK_FUNCTION_LIST *f = RIG.p->token.gate.functions;
	CK_BBOOL private = CK_FALSE;
	char origin[HSM_ORIGIN_MAX] = "", other[] = "x";
	CK_ATTRIBUTE attrs[] = { { CKA_PRIVATE, &private, sizeof(private) }, { CKA_VALUE, origin, sizeof(origin) } };
	CK_ATTRIBUTE change = { CKA_VALUE, other, 1 };
	CK_OBJECT_HANDLE found[OBJECTS_MAX];

	(void)state;
	T_OK(&RIG, pin(5));
	assert_int_equal(data_objects(found), 1);
	assert_int_equal(f->C_GetAttributeValue(RIG.p->token.home, found[0], attrs, KMS_ARRAY_LEN(attrs)), CKR_OK);
	assert_int_equal(private, CK_TRUE);
	assert_int_equal(attrs[1].ulValueLen, strlen(ORIGIN));
	assert_memory_equal(origin, ORIGIN, strlen(ORIGIN));
	assert_int_not_equal(f->C_SetAttributeValue(RIG.p->token.home, found[0], &change, 1), CKR_OK);
	assert_only(5);
}

static void an_absent_token_is_not_a_token_without_pins(void **state)
{
	struct hsm_key log_key = t_resident(&RIG, HSM_FOR_LOG, HSM_KIND_P256, 0, NULL);
	char away[T_TOKEN_PATH + 8];
	struct hsm_pin got[HSM_PINS_MAX], any = pin_of(OWNER, ORIGIN, 0);
	size_t count = 99;

	(void)state;
	hsm_set_log_key(RIG.hsm, log_key.id);
	T_OK(&RIG, pin(5));
	(void)snprintf(away, sizeof(away), "%s.away", RIG.token.token_dir);
	assert_int_equal(rename(RIG.token.token_dir, away), 0);
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_pins(RIG.hsm, any.owner, got, HSM_PINS_MAX, &count, &RIG.err));
	T_FAILS(&RIG, KMS_E_DEVICE, pin(6));
	T_FAILS(&RIG, KMS_E_DEVICE, hsm_check(RIG.hsm, &RIG.err));
	T_FAILS(&RIG, KMS_E_DEVICE, pin(6)); /* refused without touching the device */
	assert_int_equal(rename(away, RIG.token.token_dir), 0);
	T_OK(&RIG, hsm_check(RIG.hsm, &RIG.err)); /* with a P-256 log key as witness and probe */
	assert_only(5);
	T_OK(&RIG, pin(6));
	assert_only(6);
}

static void a_pin_of_nobody_or_of_no_log_is_refused(void **state)
{
	struct hsm_pin nobody = pin_of(0, ORIGIN, 1), nameless = pin_of(OWNER, "", 1), endless = pin_of(OWNER, "", 1), got[1];
	size_t count;

	(void)state;
	memset(endless.origin, 'x', sizeof(endless.origin));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_pin(RIG.hsm, &nobody, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_pin(RIG.hsm, &nameless, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_pin(RIG.hsm, &endless, &RIG.err));
	T_FAILS(&RIG, KMS_E_INVALID, hsm_pins(RIG.hsm, nobody.owner, got, 1, &count, &RIG.err));
	assert_int_equal(left(), 0);
}

int main(int argc, char **argv)
{
#define T(t) cmocka_unit_test_teardown(t, wipe)
	const struct CMUnitTest tests[] = {
		T(a_pin_is_kept_replaced_and_found_again_after_a_new_login),
		T(a_log_never_shrinks_and_has_one_root),
		T(a_pin_changes_the_older_slot_and_looks_for_nothing),
		T(the_newest_is_on_stable_storage_before_another_is_written),
		T(the_largest_of_what_a_crash_left_counts_and_the_rest_goes_with_the_next_pin),
		T(a_torn_slot_leaves_the_other),
		T(a_full_disk_is_noticed_and_costs_one_slot),
		T(a_device_that_does_not_change_objects_gets_new_ones),
		T(two_roots_of_one_size_are_no_pin),
		T(installations_do_not_see_each_others_pins),
		T(each_log_has_its_pin_up_to_the_bound),
		T(what_is_no_pin_is_not_passed_over),
		T(a_token_that_keeps_what_it_was_told_to_destroy_is_noticed),
		T(one_spoilt_slot_is_repaired_and_two_are_damage),
		T(a_pin_is_private_and_its_log_is_fixed),
		T(an_absent_token_is_not_a_token_without_pins),
		T(a_pin_of_nobody_or_of_no_log_is_refused),
	};

	if (t_token_is_look(argc, argv))
		return t_token_look_main(argv);
	if (t_token_is_missing())
		return 0;
	return cmocka_run_group_tests(tests, up, down);
}
