/* server/core/person_admin.c - records of persons are shown to who may see them, and erased: on request, by age, after a restore, and what a shred could not know of. */
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/person_parts.h"

#define DAY_S ((int64_t)86400)
#define VAULTS_PAGE 16
#define TURN_PAGES 256 /* of one vault, before the others get their turn */
#define MEMBER_MAX 128

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* ---- shown ---- */

static kms_status no_such_record(uint64_t ref, struct kms_err *err)
{
	return kms_refuse(err, KMS_E_NOTFOUND, "The vault has no record %" PRIu64 " of a person: there was none, or it was erased.", ref);
}

static kms_status find_record(struct op *op, uint64_t ref, struct store_person *ret, struct kms_err *err)
{
	kms_status status = store_person(op->store, ref, ret, NULL);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "record of a person");
	if (status == KMS_E_NOTFOUND || ret->sealed_len == 0 || !same_id(ret->vault_id, op->vault.id))
		return no_such_record(ref, err);
	return KMS_OK;
}

/* The canonical form has one text for it, and no text inside a leaf can look like it. */
static kms_status compare_leaf(struct op *op, uint64_t seq, struct person_shown *shown, struct kms_err *err)
{
	char commitment[64], member[MEMBER_MAX];
	struct store_event e = { 0 };
	kms_status status = store_event(op->store, seq, &e, NULL);
	bool is_own = false;

	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_INVALID, "leaf: the log has no leaf %" PRIu64 ".", seq);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "leaf %" PRIu64, seq);
	b64url_encode(shown->commitment, sizeof(shown->commitment), commitment);
	(void)snprintf(member, sizeof(member), "\"pii\":{\"com\":\"%s\",\"ref\":%" PRIu64 "}", commitment, shown->row.ref);
	shown->has_leaf = true;
	is_own = same_id(e.vault_id, op->vault.id);
	shown->leaf_matches = e.leaf_len > 0 && is_own && memmem(e.leaf, e.leaf_len, member, strlen(member)) != NULL;
	if (e.leaf_len == 0 && is_own) /* of others, also that is not told */
		status = kms_refuse(err, KMS_E_GONE, "%s", kms_status_text(KMS_E_GONE));
	store_event_clear(&e);
	return status;
}

kms_status person_show(struct op *op, uint64_t ref, const char *reason, const uint64_t *seq, struct person_shown *ret, struct kms_err *err)
{
	size_t len = 0;

	op_det_text(op, "what", "person");
	op_det_number(op, "ref", (int64_t)ref);
	op_det_text(op, "reason", reason);
	if (op->kms->persons == NULL)
		return no_such_record(ref, err);
	KMS_TRY(op_need_living_vault(op, err));
	KMS_TRY(find_record(op, ref, &ret->row, err));
	KMS_TRY(person_open(op->kms, &op->vault, &ret->row, ret->text, &len, err));
	OPENSSL_cleanse(ret->row.sealed, sizeof(ret->row.sealed));
	SHA256((const uint8_t *)ret->text, len, ret->commitment);
	return seq != NULL ? compare_leaf(op, *seq, ret, err) : KMS_OK;
}

/* ---- erased ---- */

/* One page of rows that fit; on the heap, since rows are large. */
struct erasing {
	struct store *store;
	const uint8_t *vault_id;
	const uint8_t *pid; /* NULL = of everybody */
	int64_t before_s;
	uint64_t after;
	struct store_person rows[PERSON_PAGE];
	size_t count;
};

static void erasing_free(struct erasing **e)
{
	if (*e != NULL)
		OPENSSL_cleanse((*e)->rows, sizeof((*e)->rows));
	free(*e);
}
#define ERASING_AUTO __attribute__((cleanup(erasing_free))) struct erasing

static kms_status next_page(struct erasing *e, struct kms_err *err)
{
	KMS_TRY(store_persons(e->store, e->vault_id, e->pid, e->before_s, e->after, e->rows, PERSON_PAGE, &e->count, err));
	if (e->count > 0)
		e->after = e->rows[e->count - 1].ref;
	return KMS_OK;
}

static void set_erase(struct store_change *c, const struct store_person *row)
{
	c->kind = STORE_PERSON_ERASE;
	c->person_erasure.ref = row->ref;
	memcpy(c->person_erasure.vault_id, row->vault_id, STORE_ID_LEN);
}

/* How many and why; who it was about is what must not be told for ever. */
static size_t describe(struct event_det det[3], size_t count, const char *basis, const char *by)
{
	det[0] = (struct event_det){ .name = "basis" };
	(void)snprintf(det[0].text, sizeof(det[0].text), "%s", basis);
	det[1] = (struct event_det){ .name = "by" };
	(void)snprintf(det[1].text, sizeof(det[1].text), "%s", by);
	det[2] = (struct event_det){ .name = "count", .is_number = true, .number = (int64_t)count };
	return 3;
}

/* A whole page, with a leaf of its own. */
static kms_status erase_page(struct kms *kms, const struct event *as, const struct erasing *e, const char *basis, const char *by, struct kms_err *err)
{
	struct store_change *changes = calloc(PERSON_PAGE, sizeof(*changes));
	struct event_det det[3];
	struct write unit = { .event = *as, .changes = changes, .change_count = e->count };
	kms_status status = KMS_OK;

	if (changes == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "a page of records");
	for (size_t i = 0; i < e->count; i++)
		set_erase(&changes[i], &e->rows[i]);
	unit.event.type = EVENT_AUDIT_ERASE;
	unit.event.det = det;
	unit.event.det_count = describe(det, e->count, basis, by);
	status = writer_write(kms->writer, &unit);
	free(changes);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "erasing records of persons");
}

/* The rows are overwritten in place; older copies are in the write-ahead log, and in what threads have read. */
static void forget_rows(struct kms *kms)
{
	kms_ignore(writer_truncate(kms->writer, NULL)); /* best effort: a reader that keeps it from it does so for a second, and the next one gets it */
	if (kms->forget != NULL)
		kms->forget(kms->forget_arg);
}

static void erased(struct op *op)
{
	persons_drop(op->kms->persons, op->vault.id, op->object);
	forget_rows(op->kms);
}

/* The last page is op's own unit, which is written even when there was nothing. */
static kms_status take_last(struct op *op, const struct erasing *e, const char *basis, const char *by, size_t total, struct kms_err *err)
{
	KMS_TRY(op_expect_changes(op, e->count, err));
	for (size_t i = 0; i < e->count; i++)
		set_erase(op_change(op, STORE_PERSON_ERASE), &e->rows[i]);
	op_det_text(op, "basis", basis);
	op_det_text(op, "by", by);
	op_det_number(op, "count", (int64_t)e->count);
	if (total > e->count)
		op_det_number(op, "total", (int64_t)total);
	op->is_sync = true;
	op->after = erased;
	return KMS_OK;
}

static kms_status find_one(struct op *op, uint64_t ref, struct erasing *e, struct kms_err *err)
{
	KMS_TRY(find_record(op, ref, &e->rows[0], err));
	e->count = 1;
	return KMS_OK;
}

static kms_status erase_whole_pages(struct op *op, struct erasing *e, const char *basis, size_t *total, struct kms_err *err)
{
	KMS_TRY(next_page(e, err));
	while (e->count == PERSON_PAGE) {
		KMS_TRY(erase_page(op->kms, &op->write.event, e, basis, "person", err));
		*total += e->count;
		KMS_TRY(next_page(e, err));
	}
	return KMS_OK;
}

kms_status person_erase(struct op *op, const struct person_erasure *what, size_t *ret_count, struct kms_err *err)
{
	const char *basis = certificate_basis_name(what->basis);
	ERASING_AUTO *e = calloc(1, sizeof(*e));
	size_t total = 0;

	if (e == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "records of persons");
	*e = (struct erasing){ .store = op->store, .vault_id = op->vault.id, .pid = what->pid, .before_s = STORE_NO_TIME };
	if (what->ref != 0)
		KMS_TRY(find_one(op, what->ref, e, err));
	/* First: whoever comes now gets a new record, which the pages may still find. */
	memcpy(op->object, what->ref != 0 ? e->rows[0].pid : what->pid, sizeof(op->object));
	persons_drop(op->kms->persons, op->vault.id, op->object);
	if (what->ref == 0)
		KMS_TRY(erase_whole_pages(op, e, basis, &total, err));
	total += e->count;
	KMS_TRY(take_last(op, e, basis, what->ref != 0 ? "ref" : "person", total, err));
	*ret_count = total;
	return KMS_OK;
}

/* ---- by age, and after a restore ---- */

struct cause {
	int64_t before_s; /* made before; STORE_NO_TIME = all */
	const char *basis, *by;
	int pages; /* at most; 0 = all */
};

static kms_status erase_pages(struct kms *kms, struct store *store, const struct store_vault *v, const struct cause *why, size_t *total, struct kms_err *err)
{
	struct event as = { .type = EVENT_AUDIT_ERASE, .actor = EVENT_ACTOR_SYSTEM, .has_tenant = true };
	ERASING_AUTO *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "records of persons");
	*e = (struct erasing){ .store = store, .vault_id = v->id, .before_s = why->before_s };
	memcpy(as.tenant, v->id, STORE_ID_LEN);
	for (int page = 0; why->pages == 0 || page < why->pages; page++) {
		KMS_TRY(next_page(e, err));
		if (e->count == 0)
			break;
		if (kms->is_stopping != NULL && atomic_load(kms->is_stopping))
			return KMS_E_SHUTDOWN;
		KMS_TRY(erase_page(kms, &as, e, why->basis, why->by, err));
		*total += e->count;
	}
	return KMS_OK;
}

static kms_status turn_vault(struct kms *kms, struct store *store, const struct store_vault *v, size_t *total, struct kms_err *err)
{
	bool keeps_some = v->state == STORE_VAULT_ACTIVE && v->person_days > 0;
	const struct cause age = { .before_s = keeps_some ? clock_wall_s(kms->clock) - v->person_days * DAY_S : STORE_NO_TIME, .basis = "retention", .by = "age",
		                   .pages = TURN_PAGES };
	size_t before = *total;

	KMS_TRY(erase_pages(kms, store, v, &age, total, err));
	if (*total > before && !keeps_some) /* what is past its time is of another day than what is in use */
		persons_drop(kms->persons, v->id, NULL);
	if (keeps_some)
		kms_ignore(person_load_key(kms, v, NULL)); /* the next turn tries again; until then leaves go without records, and are counted */
	return KMS_OK;
}

static kms_status clear_vault(struct kms *kms, struct store *store, const struct store_vault *v, size_t *total, struct kms_err *err)
{
	static const struct cause RESTORE = { .before_s = STORE_NO_TIME, .basis = "restore", .by = "restore" };
	size_t before = *total;

	KMS_TRY(erase_pages(kms, store, v, &RESTORE, total, err));
	if (*total > before)
		persons_drop(kms->persons, v->id, NULL);
	return KMS_OK;
}

typedef kms_status for_vault(struct kms *kms, struct store *store, const struct store_vault *v, size_t *total, struct kms_err *err);

/* Living or not; what was erased is then forgotten everywhere, also when it was not all. */
static kms_status each_vault(struct kms *kms, struct store *store, for_vault *fn, size_t *total, struct kms_err *err)
{
	struct store_vault *page = calloc(VAULTS_PAGE, sizeof(*page));
	char after[STORE_VAULT_NAME_MAX + 1] = "";
	kms_status status = KMS_OK;
	size_t count = VAULTS_PAGE;

	if (page == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "a page of vaults");
	while (status == KMS_OK && count == VAULTS_PAGE) {
		status = store_vaults(store, after[0] != '\0' ? after : NULL, page, VAULTS_PAGE, &count, err);
		for (size_t i = 0; i < count && status == KMS_OK; i++)
			status = fn(kms, store, &page[i], total, err);
		if (status == KMS_OK && count > 0)
			memcpy(after, page[count - 1].name, sizeof(after));
	}
	free(page);
	if (*total > 0)
		forget_rows(kms);
	return status;
}

kms_status persons_turn(struct kms *kms, struct store *store, size_t *ret_erased, struct kms_err *err)
{
	kms_status status;

	*ret_erased = 0;
	if (kms->persons == NULL || !persons_are_due(kms->persons, clock_wall_s(kms->clock)))
		return KMS_OK;
	status = each_vault(kms, store, turn_vault, ret_erased, err);
	persons_turned(kms->persons);
	return status;
}

kms_status persons_clear(struct kms *kms, struct store *store, struct kms_err *err)
{
	size_t total = 0;

	return each_vault(kms, store, clear_vault, &total, err);
}
