/* server/core/restored.c - the mark is a meta record: version, backup id, when it was made, leaves. One byte of zero = there is none any more.
 * A second one says that the records of persons are to be erased: also of a database that came back in another way, without the first. */
#include "server/core/restored.h"

#include <stdio.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/person.h"

#define META_RESTORED "restored"
#define META_PERSONS "restored_persons" /* one byte: are they to be erased? */
#define VERSION 1
#define NUMBER_LEN 8
#define MARK_LEN (1 + STORE_ID_LEN + 2 * NUMBER_LEN)

static void put_number(uint8_t ret[NUMBER_LEN], uint64_t n)
{
	for (int i = NUMBER_LEN - 1; i >= 0; i--, n >>= 8)
		ret[i] = (uint8_t)n;
}

static uint64_t get_number(const uint8_t bytes[NUMBER_LEN])
{
	uint64_t n = 0;

	for (int i = 0; i < NUMBER_LEN; i++)
		n = n << 8 | bytes[i];
	return n;
}

kms_status restored_mark(struct store *store, const struct backup_manifest *m, struct kms_err *err)
{
	struct store_change change = { .kind = STORE_META_PUT, .meta = { .name = META_RESTORED, .value_len = MARK_LEN } };
	uint8_t *at = change.meta.value;
	kms_status status;

	at[0] = VERSION;
	memcpy(at + 1, m->id, STORE_ID_LEN);
	put_number(at + 1 + STORE_ID_LEN, (uint64_t)m->made_s);
	put_number(at + 1 + STORE_ID_LEN + NUMBER_LEN, m->size);
	KMS_TRY(store_begin(store, err));
	status = store_apply(store, &change, 1, 0, err);
	if (status != KMS_OK) {
		store_rollback(store);
		return status;
	}
	return store_commit(store, err);
}

/* Each is recorded with a name, and one that does not lie here is one whose file was removed. */
static void add_copy(struct store_change *changes, size_t *count, const struct store_backup *b, const char *place)
{
	struct store_change *c = &changes[(*count)++];

	*c = (struct store_change){ .kind = STORE_BACKUP_ADD, .backup = *b };
	if (place[0] != '\0')
		(void)snprintf(c->backup.place, sizeof(c->backup.place), "%s", place);
	else
		guid_format(b->id, c->backup.place);
	if (place[0] == '\0')
		changes[(*count)++] = (struct store_change){ .kind = STORE_BACKUP_DROP, .backup = *b };
}

kms_status restored_note_copies(struct kms *kms, const struct backup_manifest *m, const char *place, uint64_t bytes, struct kms_err *err)
{
	struct store_backup own = { .kind = STORE_BACKUP_SERVER, .epoch = m->epoch, .made_s = m->made_s, .bytes = bytes };
	struct store_change changes[2];
	struct writer_state now = { 0 };
	struct write unit = { .changes = changes };
	kms_status status;

	writer_state(kms->writer, &now);
	own.size = now.size; /* the manifest names its checkpoint, which covers fewer leaves than it holds */
	memcpy(own.id, m->id, STORE_ID_LEN);
	add_copy(changes, &unit.change_count, &own, place);
	status = writer_write(kms->writer, &unit);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "the record of the backup was not written");
}

static struct store_change set_persons_due(bool due)
{
	return (struct store_change){ .kind = STORE_META_PUT, .meta = { .name = META_PERSONS, .value = { due }, .value_len = 1 } };
}

kms_status restored_stand_in(struct store *store, const struct clock *clock, struct store_change *changes, size_t *count, struct kms_err *err)
{
	/* At latest now, and of no leaf of the log that follows. */
	struct store_backup others = { .kind = STORE_BACKUP_SERVER, .made_s = clock_wall_s(clock) };
	struct store_epoch epoch = { 0 };
	size_t found = 0;

	changes[(*count)++] = set_persons_due(true);
	KMS_TRY(store_epochs(store, 0, &epoch, 1, &found, err));
	if (found == 0 || epoch.ended_s != STORE_NO_TIME)
		return KMS_OK;
	others.epoch = epoch.number;
	if (!guid_random(others.id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	add_copy(changes, count, &others, "");
	return KMS_OK;
}

static kms_status damaged(const char *name, struct kms_err *err)
{
	return kms_fail(err, KMS_E_STORE, KMS_SRC_SELF, 0, "the record %s is damaged, or of a newer holdfastd", name);
}

/* @return KMS_OK | KMS_E_NOTFOUND: it was not restored, or that was written already */
static kms_status read_mark(struct store *store, struct store_meta *ret, struct kms_err *err)
{
	kms_status status = store_meta(store, META_RESTORED, ret, NULL);

	if (status == KMS_E_NOTFOUND || (status == KMS_OK && ret->value_len == 1))
		return KMS_E_NOTFOUND;
	if (status != KMS_OK || ret->value_len != MARK_LEN || ret->value[0] != VERSION)
		return damaged(META_RESTORED, err);
	return KMS_OK;
}

static kms_status are_persons_due(struct store *store, bool *ret, struct kms_err *err)
{
	struct store_meta m = { 0 };
	kms_status status = store_meta(store, META_PERSONS, &m, NULL);

	if (status != KMS_E_NOTFOUND && (status != KMS_OK || m.value_len != 1))
		return damaged(META_PERSONS, err);
	*ret = status == KMS_OK && m.value[0] != 0;
	return KMS_OK;
}

static kms_status forget_marks(struct kms *kms, struct write *unit, struct kms_err *err)
{
	const struct store_change none[] = { set_persons_due(false),
		                             { .kind = STORE_META_PUT, .meta = { .name = META_RESTORED, .value = { 0 }, .value_len = 1 } } };
	kms_status status;

	unit->changes = none;
	unit->change_count = KMS_ARRAY_LEN(none);
	status = writer_write(kms->writer, unit);
	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "%s was not written", event_type_name(EVENT_NODE_RESTORED));
}

kms_status restored_write(struct kms *kms, struct store *store, struct kms_err *err)
{
	struct event_det det[] = { { .name = "backup" }, { .name = "made" }, { .name = "size", .is_number = true } };
	struct write unit = { 0 };
	struct store_meta mark = { 0 };
	bool persons_due = false;
	kms_status status = read_mark(store, &mark, err);

	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return status;
	KMS_TRY(are_persons_due(store, &persons_due, err));
	if (status == KMS_E_NOTFOUND && !persons_due)
		return KMS_OK;
	KMS_TRY(persons_clear(kms, store, err)); /* before the marks go: what interrupts it is followed by another start */
	if (status == KMS_OK) {
		unit.event = (struct event){ .type = EVENT_NODE_RESTORED, .actor = EVENT_ACTOR_NODE, .det = det, .det_count = KMS_ARRAY_LEN(det) };
		guid_format(mark.value + 1, det[0].text);
		timestamp_format((int64_t)get_number(mark.value + 1 + STORE_ID_LEN) * 1000000, det[1].text);
		det[2].number = (int64_t)get_number(mark.value + 1 + STORE_ID_LEN + NUMBER_LEN);
	}
	return forget_marks(kms, &unit, err);
}
