/*
 * hsm/pkcs11/pin.c - pins: what the device remembers of the logs (spec/audit-log.md 5.5). A log has two private data objects, its slots.
 * CKA_VALUE says which log it is and never changes; CKA_LABEL, the one attribute of a data object that SoftHSM lets be changed, says size and
 * root. A pin overwrites the slot that is not the newest, so that whatever is torn or lost on the way, the newest that was on stable storage
 * is still there. Changing in place needs no search and leaves nothing behind: SoftHSM keeps each object that was destroyed in memory until
 * it is finalised. For a device that refuses the change an object is made in place of the older slot, which is then destroyed.
 */
#include <string.h>
#include <time.h>

#include "hsm/pkcs11/provider.h"
#include "server/base/encode.h"

#define APPLICATION "holdfast log pin"
#define SIZE_LEN 8 /* big-endian, before the root */
#define ROOT_LEN 32
#define VALUE_LEN (SIZE_LEN + ROOT_LEN)
#define LABEL_LEN B64URL_LEN(VALUE_LEN)
/* Of one installation. A crash leaves one more of an origin, and the next pin of it takes that away. */
#define OBJECTS_MAX (HSM_PINS_MAX * 4)

/* CKA_OBJECT_ID is the DER of an OID: 2.25 and the owner as a number (ITU-T X.667). */
#define DER_OID 0x06
#define UUID_ARC (2 * 40 + 25)
#define GROUP_BITS 7
#define GROUPS_MAX 19 /* of 7 bits in 128 */
#define MORE_GROUPS 0x80
#define OWNER_MAX (3 + GROUPS_MAX)

struct pin_object {
	CK_OBJECT_HANDLE handle;
	struct hsm_pin pin;
	bool is_valid; /* else only the origin is known */
};

/* The slots of one log: the newest first, what is no pin last. */
struct pin_slots {
	struct pin_object list[OBJECTS_MAX];
	size_t count;
	bool is_durable; /* the newest is known to be on stable storage */
};

/* PKCS#11 takes all values through `void *`, also those that it only reads: hence writable copies. The values live as long as this. */
struct pin_template {
	CK_OBJECT_CLASS class;
	CK_BBOOL yes;
	char application[sizeof(APPLICATION)];
	uint8_t owner[OWNER_MAX];
	char origin[HSM_ORIGIN_MAX];
	char label[LABEL_LEN + 1];
	CK_ATTRIBUTE attrs[8];
	CK_ULONG count;
};

static size_t owner_encode(const uint8_t owner[HSM_ID_LEN], uint8_t ret[OWNER_MAX])
{
	size_t len = 3, first = GROUPS_MAX - 1;
	uint8_t groups[GROUPS_MAX];

	for (size_t g = 0; g < GROUPS_MAX; g++) { /* from the right */
		size_t bit = g * GROUP_BITS, byte = bit / 8;
		unsigned window = owner[HSM_ID_LEN - 1 - byte];

		if (byte + 1 < HSM_ID_LEN)
			window |= (unsigned)owner[HSM_ID_LEN - 2 - byte] << 8;
		groups[g] = window >> bit % 8 & (MORE_GROUPS - 1);
	}
	while (first > 0 && groups[first] == 0)
		first--;
	for (size_t g = first + 1; g-- > 0;)
		ret[len++] = groups[g] | (g > 0 ? MORE_GROUPS : 0);
	ret[0] = DER_OID;
	ret[1] = (uint8_t)(len - 2);
	ret[2] = UUID_ARC;
	return len;
}

static void put(struct pin_template *t, CK_ATTRIBUTE_TYPE type, void *value, size_t len)
{
	t->attrs[t->count++] = (CK_ATTRIBUTE){ type, value, len };
}

/* What all pins of an owner have in common. Private ones only: whoever has no PIN can make public objects. */
static void template_of(struct pin_template *t, const uint8_t owner[HSM_ID_LEN])
{
	memset(t, 0, sizeof(*t));
	t->class = CKO_DATA;
	t->yes = CK_TRUE;
	memcpy(t->application, APPLICATION, strlen(APPLICATION));
	/* The class first: SoftHSM compares in this order, and decrypts what it compares of private objects. */
	put(t, CKA_CLASS, &t->class, sizeof(t->class));
	put(t, CKA_TOKEN, &t->yes, sizeof(t->yes));
	put(t, CKA_PRIVATE, &t->yes, sizeof(t->yes));
	put(t, CKA_APPLICATION, t->application, strlen(APPLICATION));
	put(t, CKA_OBJECT_ID, t->owner, owner_encode(owner, t->owner));
}

static bool is_of(const struct hsm_pin *pin, const char *origin) { return strcmp(pin->origin, origin) == 0; /* allowed: public */ }
static bool has_root(const struct hsm_pin *a, const struct hsm_pin *b) { return memcmp(a->root, b->root, ROOT_LEN) == 0; /* allowed: public */ }

static bool is_same(const struct hsm_pin *a, const struct hsm_pin *b) { return is_of(a, b->origin) && a->size == b->size && has_root(a, b); }

static kms_status unreadable(struct kms_err *err, CK_RV rv)
{
	return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, rv,
	                "a \"" APPLICATION "\" object of this installation in the token is no pin: made by other means, or damaged");
}

static void label_encode(const struct hsm_pin *pin, char ret[LABEL_LEN + 1])
{
	uint8_t value[VALUE_LEN];

	for (size_t i = 0; i < SIZE_LEN; i++)
		value[i] = (uint8_t)(pin->size >> 8 * (SIZE_LEN - 1 - i));
	memcpy(value + SIZE_LEN, pin->root, ROOT_LEN);
	b64url_encode(value, sizeof(value), ret);
}

static bool label_decode(const char *label, size_t label_len, struct hsm_pin *ret)
{
	uint8_t value[VALUE_LEN];
	size_t len = 0;

	if (label_len != LABEL_LEN || !b64url_decode(label, label_len, value, sizeof(value), &len) || len != sizeof(value))
		return false;
	for (size_t i = 0; i < SIZE_LEN; i++)
		ret->size = ret->size << 8 | value[i];
	memcpy(ret->root, value + SIZE_LEN, ROOT_LEN);
	return true;
}

static kms_status read_slot(struct p11_hsm *p, struct p11_session *session, CK_OBJECT_HANDLE object, const uint8_t owner[HSM_ID_LEN],
                            struct pin_object *ret, struct kms_err *err)
{
	struct pin_object got = { .handle = object };
	char label[LABEL_LEN];
	CK_ATTRIBUTE attrs[] = { { CKA_VALUE, got.pin.origin, sizeof(got.pin.origin) - 1 }, { CKA_LABEL, label, sizeof(label) } };
	CK_RV rv = P11_CALL(&p->token.gate, C_GetAttributeValue, session->handle, object, attrs, KMS_ARRAY_LEN(attrs));

	/* What does not fit has a length that does not fit either: CK_UNAVAILABLE_INFORMATION. */
	if (rv != CKR_OK && rv != CKR_BUFFER_TOO_SMALL && rv != CKR_ATTRIBUTE_TYPE_INVALID && rv != CKR_ATTRIBUTE_SENSITIVE)
		return p11_fail(err, rv, "C_GetAttributeValue");
	if (attrs[0].ulValueLen == 0 || attrs[0].ulValueLen >= sizeof(got.pin.origin) || strlen(got.pin.origin) != attrs[0].ulValueLen)
		return unreadable(err, rv);
	memcpy(got.pin.owner, owner, HSM_ID_LEN);
	got.is_valid = label_decode(label, attrs[1].ulValueLen, &got.pin);
	*ret = got;
	return KMS_OK;
}

/* Read what there is of an owner. That there is nothing is believed only beside the log key. */
static kms_status find_locked(struct p11_hsm *p, struct p11_session *session, const uint8_t owner[HSM_ID_LEN],
                              struct pin_object ret[OBJECTS_MAX], size_t *ret_count, struct kms_err *err)
{
	CK_OBJECT_HANDLE found[OBJECTS_MAX];
	struct pin_template t;
	size_t count;

	template_of(&t, owner);
	KMS_TRY(p11_token_find_by(&p->token, session->handle, t.attrs, t.count, found, KMS_ARRAY_LEN(found), &count, &session->is_broken, err));
	if (count == 0)
		KMS_TRY(p11_witness_locked(p, session, NULL, err));
	if (count == KMS_ARRAY_LEN(found))
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0,
		                "%zu or more \"" APPLICATION "\" objects of this installation: the token does not destroy what it is told to", count);
	for (size_t i = 0; i < count; i++)
		KMS_TRY(read_slot(p, session, found[i], owner, &ret[i], err));
	*ret_count = count;
	return KMS_OK;
}

/* Take one more into the slots of its log. */
static kms_status insert(struct pin_slots *s, const struct pin_object *slot, struct kms_err *err)
{
	size_t at = s->count;

	for (size_t i = 0; i < s->count; i++)
		if (slot->is_valid && s->list[i].is_valid && s->list[i].pin.size == slot->pin.size && !has_root(&s->list[i].pin, &slot->pin))
			return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "the token holds two pins of size %llu of %.60s with different roots",
			                (unsigned long long)slot->pin.size, slot->pin.origin);
	while (slot->is_valid && at > 0 && (!s->list[at - 1].is_valid || s->list[at - 1].pin.size < slot->pin.size))
		at--;
	memmove(&s->list[at + 1], &s->list[at], (s->count - at) * sizeof(s->list[0]));
	s->list[at] = *slot;
	s->count++;
	return KMS_OK;
}

/* The slots of one log. What a crash can spoil is one; more are damage, and the newest might be among them. */
static kms_status slots_of(const char *origin, const struct pin_object *all, size_t all_count, struct pin_slots *ret, struct kms_err *err)
{
	ret->count = 0;
	ret->is_durable = false;
	for (size_t i = 0; i < all_count; i++)
		if (is_of(&all[i].pin, origin))
			KMS_TRY(insert(ret, &all[i], err));
	if (ret->count > 0 && (!ret->list[0].is_valid || (ret->count > 1 && !ret->list[ret->count - 2].is_valid)))
		return unreadable(err, CKR_OK);
	return KMS_OK;
}

/* The newest of each log. */
static kms_status newest_of_all(const struct pin_object *all, size_t all_count, struct hsm_pin *ret, size_t cap, size_t *ret_count,
                                struct kms_err *err)
{
	struct pin_slots slots = { 0 };
	size_t count = 0;

	for (size_t i = 0; i < all_count; i++) {
		size_t known = 0;

		while (known < count && !is_of(&ret[known], all[i].pin.origin))
			known++;
		if (known < count)
			continue;
		if (count == cap)
			return kms_fail(err, KMS_E_DEVICE, KMS_SRC_SELF, 0, "the token holds pins of more than %zu logs of this installation", cap);
		KMS_TRY(slots_of(all[i].pin.origin, all, all_count, &slots, err));
		ret[count++] = slots.list[0].pin;
	}
	*ret_count = count;
	return KMS_OK;
}

kms_status p11_pins(struct hsm *h, const uint8_t owner[HSM_ID_LEN], struct hsm_pin *ret, size_t cap, size_t *ret_count, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	struct pin_object all[OBJECTS_MAX] = { 0 };
	size_t count;

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	{
		P11_LOCK_AUTO(&p->objects);
		KMS_TRY(find_locked(p, &session, owner, all, &count, err));
	}
	return newest_of_all(all, count, ret, cap, ret_count, err);
}

/* The slots as they are now, by the handles of the last pin. False: look for them. */
static bool recall_locked(struct p11_hsm *p, struct p11_session *session, const struct hsm_pin *pin, struct pin_slots *ret)
{
	const struct p11_pin_handles *known = &p->pin_handles;
	struct pin_object got[P11_PIN_SLOTS] = { 0 };

	if (known->epoch != p->epoch || !is_of(pin, known->origin) || memcmp(pin->owner, known->owner, HSM_ID_LEN) != 0 /* allowed: public */)
		return false;
	for (size_t i = 0; i < known->count; i++)
		if (read_slot(p, session, known->slots[i], pin->owner, &got[i], NULL) != KMS_OK || !got[i].is_valid || !is_of(pin, got[i].pin.origin))
			return false;
	if (slots_of(pin->origin, got, known->count, ret, NULL) != KMS_OK)
		return false;
	ret->is_durable = true;
	return true;
}

static void remember(struct p11_hsm *p, const struct hsm_pin *pin, const struct pin_slots *slots)
{
	struct p11_pin_handles *known = &p->pin_handles;

	memcpy(known->owner, pin->owner, HSM_ID_LEN);
	memcpy(known->origin, pin->origin, sizeof(known->origin));
	known->count = slots->count;
	for (size_t i = 0; i < slots->count; i++)
		known->slots[i] = slots->list[i].handle;
	known->epoch = p->epoch;
}

/* The slots, and whether this pin may follow them. What was known of them is forgotten until this pin is through. */
static kms_status look(struct p11_hsm *p, struct p11_session *session, const struct hsm_pin *pin, struct pin_slots *ret, struct kms_err *err)
{
	struct pin_object all[OBJECTS_MAX] = { 0 };
	struct hsm_pin logs[HSM_PINS_MAX];
	size_t count, log_count;
	bool is_known;

	P11_LOCK_AUTO(&p->objects);
	is_known = recall_locked(p, session, pin, ret);
	p->pin_handles.epoch = 0;
	if (!is_known) {
		KMS_TRY(find_locked(p, session, pin->owner, all, &count, err));
		KMS_TRY(newest_of_all(all, count, logs, KMS_ARRAY_LEN(logs), &log_count, err));
		KMS_TRY(slots_of(pin->origin, all, count, ret, err));
		if (ret->count == 0 && log_count == HSM_PINS_MAX)
			return kms_refuse(err, KMS_E_CONFLICT,
			                  "The token holds the pins of %d logs of this installation, which is the limit, and the pins of closed logs are never "
			                  "removed: a new log needs a new token.",
			                  HSM_PINS_MAX);
	}
	if (ret->count > 0 && ret->list[0].pin.size > pin->size)
		return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "size %llu is not pinned: the token has a pin of size %llu",
		                (unsigned long long)pin->size, (unsigned long long)ret->list[0].pin.size);
	if (ret->count > 0 && ret->list[0].pin.size == pin->size && !has_root(&ret->list[0].pin, pin))
		return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "the token has a pin of the same size %llu with another root",
		                (unsigned long long)pin->size);
	return KMS_OK;
}

static kms_status create_locked(struct p11_hsm *p, struct p11_session *session, const struct hsm_pin *pin, CK_OBJECT_HANDLE *ret_made,
                                struct kms_err *err)
{
	struct pin_template t;
	CK_RV rv;

	template_of(&t, pin->owner);
	memcpy(t.origin, pin->origin, strlen(pin->origin));
	label_encode(pin, t.label);
	put(&t, CKA_VALUE, t.origin, strlen(pin->origin));
	put(&t, CKA_LABEL, t.label, LABEL_LEN);
	put(&t, CKA_MODIFIABLE, &t.yes, sizeof(t.yes));
	rv = P11_CALL(&p->token.gate, C_CreateObject, session->handle, t.attrs, t.count, ret_made);
	return rv == CKR_OK ? KMS_OK : p11_fail(err, rv, "C_CreateObject");
}

/* The device has no means to change a pin, as opposed to a failure. */
static bool is_refusal(CK_RV rv)
{
	return rv == CKR_ATTRIBUTE_READ_ONLY || rv == CKR_ACTION_PROHIBITED || rv == CKR_FUNCTION_NOT_SUPPORTED || rv == CKR_TEMPLATE_INCONSISTENT;
}

/* Overwrite. *ret_done false: this device makes new ones. */
static kms_status change_locked(struct p11_hsm *p, struct p11_session *session, const struct hsm_pin *pin, CK_OBJECT_HANDLE slot,
                                bool *ret_done, struct kms_err *err)
{
	char label[LABEL_LEN + 1];
	CK_ATTRIBUTE attr = { CKA_LABEL, label, LABEL_LEN };
	CK_RV rv;

	label_encode(pin, label);
	rv = P11_CALL(&p->token.gate, C_SetAttributeValue, session->handle, slot, &attr, 1);
	if (rv != CKR_OK && !is_refusal(rv))
		return p11_fail(err, rv, "C_SetAttributeValue");
	*ret_done = rv == CKR_OK;
	return KMS_OK;
}

/* Put the pin into a slot, which is the first from now on: the last one, unless that is the only one or cannot be changed. */
static kms_status write_slot(struct p11_hsm *p, struct p11_session *session, const struct hsm_pin *pin, struct pin_slots *slots, struct kms_err *err)
{
	struct pin_object written = { 0 };
	bool is_changed = false;

	/* In SoftHSM even a change by handle must not meet a search of another thread: it reads the file that is being written (row 1d). */
	P11_LOCK_AUTO(&p->objects);
	if (slots->count >= P11_PIN_SLOTS && !p->pins_are_fixed) {
		written.handle = slots->list[slots->count - 1].handle;
		KMS_TRY(change_locked(p, session, pin, written.handle, &is_changed, err));
		p->pins_are_fixed = !is_changed;
	}
	if (is_changed)
		slots->count--;
	else
		KMS_TRY(create_locked(p, session, pin, &written.handle, err));
	/* Also what notices a full disk: SoftHSM does not look whether its writes succeed, but an object whose file is empty it does not read. */
	KMS_TRY(read_slot(p, session, written.handle, pin->owner, &written, err));
	if (!written.is_valid || !is_same(&written.pin, pin))
		return kms_fail(err, KMS_E_DEVICE, KMS_SRC_PKCS11, 0, "the token does not keep what a pin says");
	return insert(slots, &written, err);
}

/* Destroy what is neither the newest nor the one before. One that comes back after a power failure changes nothing: so no sync. */
static kms_status trim(struct p11_hsm *p, struct p11_session *session, struct pin_slots *slots, struct kms_err *err)
{
	if (slots->count <= P11_PIN_SLOTS)
		return KMS_OK;
	P11_LOCK_AUTO(&p->objects);
	while (slots->count > P11_PIN_SLOTS) {
		CK_RV rv = P11_CALL(&p->token.gate, C_DestroyObject, session->handle, slots->list[slots->count - 1].handle);

		if (rv != CKR_OK && rv != CKR_OBJECT_HANDLE_INVALID) /* another process may have destroyed it */
			return p11_fail(err, rv, "C_DestroyObject");
		slots->count--;
	}
	return KMS_OK;
}

kms_status p11_pin(struct hsm *h, const struct hsm_pin *pin, struct kms_err *err)
{
	struct p11_hsm *p = p11_of(h);
	const int64_t began_s = (int64_t)time(NULL);
	struct pin_slots slots = { 0 };

	P11_ENTER(p, err);
	P11_SESSION_AUTO session = { 0 };
	KMS_TRY(p11_pool_take(p->pool, &session, err));
	P11_LOCK_AUTO(&p->pins); /* the objects lock only while the device is at it, not while the disk is */
	KMS_TRY(look(p, &session, pin, &slots, err));
	/* One that was there already was made at an unknown time, and perhaps never synced: all files then, before the other is overwritten. */
	if (slots.count > 0 && !slots.is_durable)
		KMS_TRY(p11_sync_dir(p->cfg.token_dir, 0, err));
	if (slots.count == 0 || slots.list[0].pin.size < pin->size) {
		KMS_TRY(write_slot(p, &session, pin, &slots, err));
		KMS_TRY(p11_sync_dir(p->cfg.token_dir, began_s, err));
	}
	KMS_TRY(trim(p, &session, &slots, err));
	remember(p, pin, &slots);
	return KMS_OK;
}
