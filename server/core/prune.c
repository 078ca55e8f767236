/* server/core/prune.c - see prune.h. Guards that nothing is dropped that is young, not archived, not agreed, or evidence. */
#include "server/core/prune.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/encode.h"
#include "server/core/approval.h"
#include "server/core/canon.h"
#include "server/core/checkpoint_parts.h"
#include "server/core/destruction_parts.h"
#include "server/core/prune_cover.h"
#include "server/core/witness.h"

#define DAY_S ((int64_t)86400)
#define US_PER_S 1000000
#define SIZE_LEN 8
#define INTENTS_PAGE 32
#define OPEN_MAX 4096       /* intents that are open at a time; more, and nothing is pruned now */
#define SIGNED_APART 4096   /* leaves from one checkpoint to the next, at most (checkpoint.c signs after 1,000 and a batch) */
#define PARAMETERS_MAX 160
#define TYPE_MEMBER "\"type\":\""
#define TYPE_END "\",\"v\":1}"
#define TYPE_MAX 63
#define INTENT_MEMBER "\"phase\":\"intent\""
#define TS_MEMBER "\"ts\":\""
#define TS_END "\","

/* ---- what stays ---- */

bool prune_keeps(enum event_type type)
{
	const char *name = event_type_name(type);

	if (type == EVENT_NONE || strncmp(name, "log.", strlen("log.")) == 0)
		return true;
	return type == EVENT_KEY_DESTROY || type == EVENT_KEY_PURGE || type == EVENT_TENANT_SHRED || type == EVENT_TENANT_SHRED_INCOMPLETE ||
	       type == EVENT_TENANT_RESURRECTED || type == EVENT_TENANT_ROTATE_ROOT || type == EVENT_BACKUP_EPOCH_END;
}

/* The members are sorted, so `type` is the last but one. @return where it begins; 0 = there is none */
static size_t find_type(const char *leaf, size_t len, size_t *ret_end)
{
	size_t end = strlen(TYPE_END), begin = strlen(TYPE_MEMBER), at = 0;

	if (len < begin + end || memcmp(leaf + len - end, TYPE_END, end) != 0) /* allowed: leaves are no secrets */
		return 0;
	*ret_end = at = len - end;
	while (at > 0 && leaf[at - 1] != '"' && *ret_end - at < TYPE_MAX)
		at--;
	return at >= begin && memcmp(leaf + at - begin, TYPE_MEMBER, begin) == 0 ? at : 0; /* allowed: leaves are no secrets */
}

enum event_type prune_type_of(const char *leaf, size_t len)
{
	char name[TYPE_MAX + 1];
	size_t end = 0, at = find_type(leaf, len, &end);

	if (at == 0)
		return EVENT_NONE;
	(void)snprintf(name, sizeof(name), "%.*s", (int)(end - at), leaf + at);
	return event_type_parse(name);
}

/* `ts` stands right before `type`, and has one form, whose order is that of time. @return false: the leaf says none */
static bool is_written_before(const char *leaf, size_t len, const char limit[TIMESTAMP_LEN + 1])
{
	size_t end = 0, at = find_type(leaf, len, &end), member = strlen(TS_MEMBER), before = strlen(TYPE_MEMBER) + strlen(TS_END) + TIMESTAMP_LEN;

	if (at < before + member || memcmp(leaf + at - before - member, TS_MEMBER, member) != 0) /* allowed: leaves are no secrets */
		return false;
	return memcmp(leaf + at - before, limit, TIMESTAMP_LEN) < 0; /* allowed: leaves are no secrets */
}

/* Intents that are open: what becomes of them is told by their leaves. */
struct open_intents {
	uint64_t *seqs; /* owned; ascending */
	size_t count;
};
static void open_intents_clear(struct open_intents *o) { free(o->seqs); }

static kms_status find_open(struct store *store, struct open_intents *ret, struct kms_err *err)
{
	struct store_intent page[INTENTS_PAGE];
	uint64_t after = UINT64_MAX;
	size_t n = 0;

	ret->count = 0;
	if (ret->seqs == NULL)
		ret->seqs = calloc(OPEN_MAX, sizeof(*ret->seqs));
	if (ret->seqs == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "open intents");
	do {
		KMS_TRY(store_intents(store, after, page, INTENTS_PAGE, &n, err));
		for (size_t i = 0; i < n; i++) {
			after = page[i].seq;
			if (page[i].is_of_closed_log)
				continue;
			if (ret->count == OPEN_MAX)
				return kms_fail(err, KMS_E_BUSY, KMS_SRC_SELF, 0, "more than %d acts are open: nothing is pruned now", OPEN_MAX);
			ret->seqs[ret->count++] = page[i].seq;
		}
	} while (n == INTENTS_PAGE);
	return KMS_OK;
}

static bool is_open(const struct open_intents *o, uint64_t seq)
{
	for (size_t i = 0; i < o->count; i++)
		if (o->seqs[i] == seq)
			return true;
	return false;
}

/* ---- how it stands ---- */

void prune_record(const struct kms *kms, const struct prune_done *done, struct store_meta *ret) { prune_record_make(kms, done->to, done->intent, ret); }

static kms_status find_under_way(struct store *store, bool *ret, struct kms_err *err)
{
	struct store_intent page[INTENTS_PAGE];
	uint64_t after = UINT64_MAX;
	size_t n = 0;

	*ret = false;
	do {
		KMS_TRY(store_intents(store, after, page, INTENTS_PAGE, &n, err));
		for (size_t i = 0; i < n; i++) {
			after = page[i].seq;
			*ret |= page[i].type == EVENT_LOG_PRUNED && !page[i].is_of_closed_log;
		}
	} while (n == INTENTS_PAGE && !*ret);
	return KMS_OK;
}

/* A clock that was set forward would make everything old: where there are witnesses, the newest time that one of them has signed is the latest that is believed
 * (audit-log.md 6.4). */
static bool find_time(const struct kms *kms, int64_t *ret_s)
{
	struct witness_status w[WITNESSES_MAX];
	size_t count = kms->witnesses != NULL ? witnesses_status(kms->witnesses, w, WITNESSES_MAX) : 0;
	int64_t newest_s = 0;

	*ret_s = clock_wall_s(kms->clock);
	for (size_t i = 0; i < count; i++)
		if (w[i].cosigned_s > newest_s)
			newest_s = w[i].cosigned_s;
	if (count > 0 && newest_s < *ret_s)
		*ret_s = newest_s;
	return count == 0 || newest_s > 0;
}

static unsigned keep_days(const struct kms *kms)
{
	return kms->keep_days == 0 || kms->keep_days >= PRUNE_DAYS_MIN ? kms->keep_days : PRUNE_DAYS_MIN;
}

/* When the newest leaf below `size` was written: by the last one and by its checkpoint, whose time is the newest of all that were signed before, so that those count too that
 * were written before a clock was set back. Leaves that no checkpoint covered before that are found before anything is dropped (check_leaves()). */
static kms_status written_s(struct store *store, uint64_t size, int64_t signed_us, int64_t *ret_s, struct kms_err *err)
{
	struct store_event e = { 0 };

	KMS_TRY(store_event(store, size - 1, &e, err));
	*ret_s = (e.ts_us > signed_us ? e.ts_us : signed_us) / US_PER_S;
	store_event_clear(&e);
	return KMS_OK;
}

/* How many leaves were written before this time: times rise, but for steps of the clock, after which the answer is one of those that fit. */
static kms_status count_before(struct store *store, uint64_t size, int64_t before_s, uint64_t *ret, struct kms_err *err)
{
	uint64_t low = 0, high = size;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		int64_t at_s = 0;

		KMS_TRY(written_s(store, middle + 1, INT64_MIN, &at_s, err));
		if (at_s < before_s)
			low = middle + 1;
		else
			high = middle;
	}
	*ret = low;
	return KMS_OK;
}

/* The largest signed size of at most `size` leaves, all of which were written before. */
static kms_status find_signed(struct store *store, uint64_t size, int64_t before_s, struct prune_state *ret, struct kms_err *err)
{
	for (uint64_t at = size; at > 0 && size - at < SIGNED_APART; at--) {
		STORE_SIGNED_AUTO c = { 0 };
		kms_status status = store_checkpoint_of(store, at, &c, NULL);
		int64_t at_s = 0;

		if (status == KMS_E_NOTFOUND)
			continue;
		if (status != KMS_OK)
			return kms_fail(err, status, KMS_SRC_SELF, 0, "checkpoint");
		KMS_TRY(written_s(store, at, c.signed_us, &at_s, err));
		if (at_s >= before_s)
			continue;
		ret->size = at;
		memcpy(ret->root, c.root, MERKLE_HASH_LEN);
		return KMS_OK;
	}
	return KMS_OK;
}

kms_status prune_state(struct kms *kms, struct store *store, int64_t before_s, struct prune_state *ret, struct kms_err *err)
{
	uint64_t size = 0, count = 0;

	*ret = (struct prune_state){ .keep_days = keep_days(kms) };
	ret->has_time = find_time(kms, &ret->now_s);
	KMS_TRY(prune_ended(kms, store, &ret->pruned, err));
	KMS_TRY(find_under_way(store, &ret->is_under_way, err));
	if (before_s == STORE_NO_TIME) {
		if (ret->keep_days == 0 || !ret->has_time)
			return KMS_OK;
		before_s = ret->now_s - ret->keep_days * DAY_S;
	}
	KMS_TRY(store_event_count(store, &size, err));
	KMS_TRY(count_before(store, size, before_s, &count, err));
	return find_signed(store, count, before_s, ret, err);
}

/* ---- begun ---- */

static kms_status check_range(uint64_t size, const struct prune_state *now, struct kms_err *err)
{
	if (now->keep_days == 0)
		return kms_refuse(err, KMS_E_CONFLICT, "The configuration keeps the event log for ever (log.keep_days: 0): nothing is pruned.");
	if (now->is_under_way)
		return kms_refuse(err, KMS_E_CONFLICT, "The event log is being pruned; that goes on by itself.");
	if (!now->has_time)
		return kms_refuse(err, KMS_E_CONFLICT, "No witness has said what time it is since the start, so nobody but this machine's clock says how old the leaves are. Ask again "
		                  "when one has signed (`holdfast check`).");
	if (size <= now->pruned)
		return kms_refuse(err, KMS_E_CONFLICT, "The event log is pruned up to leaf %" PRIu64 " already.", now->pruned);
	return KMS_OK;
}

static kms_status check_archive(struct op *op, uint64_t size, const uint8_t root[MERKLE_HASH_LEN], int64_t *ret_signed_us, struct kms_err *err)
{
	STORE_SIGNED_AUTO c = { 0 };
	kms_status status = size > 0 ? store_checkpoint_of(op->store, size, &c, NULL) : KMS_E_NOTFOUND;

	if (status == KMS_E_NOTFOUND)
		return kms_refuse(err, KMS_E_INVALID, "size: there is no signed checkpoint of %" PRIu64 " leaves; `holdfast log archive` makes archives that end at one.", size);
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "checkpoint");
	if (memcmp(c.root, root, MERKLE_HASH_LEN) != 0) /* allowed: roots are public */
		return kms_refuse(err, KMS_E_INVALID, "root: the archive is not the first %" PRIu64 " leaves of this log: the checkpoint has another root. Make it anew, and keep the old "
		                  "one: it may be evidence.", size);
	*ret_signed_us = c.signed_us;
	return KMS_OK;
}

static kms_status check_age(struct op *op, uint64_t size, int64_t signed_us, const struct prune_state *now, struct kms_err *err)
{
	int64_t at_s = 0, age_s = 0;

	KMS_TRY(written_s(op->store, size, signed_us, &at_s, err));
	age_s = now->now_s - at_s;
	if (age_s >= now->keep_days * DAY_S)
		return KMS_OK;
	return kms_refuse(err, KMS_E_CONFLICT, "size: leaf %" PRIu64 " is %" PRId64 " days old, and leaves are kept for %u days (log.keep_days).", size - 1,
	                  age_s > 0 ? age_s / DAY_S : 0, now->keep_days);
}

/* Bodies that are gone before anything was dropped were not dropped by us. Only those before the first that is to go could be taken for our own work afterwards: all
 * others are looked at then (check_leaves()). */
static kms_status check_bodies(struct op *op, uint64_t from, uint64_t size, struct kms_err *err)
{
	bool is_over = false;

	for (uint64_t seq = from; seq < size && !is_over; seq++) {
		struct store_event e = { 0 };
		struct prune_cover cover = { .below = from };
		kms_status status = KMS_OK;

		KMS_TRY(store_event(op->store, seq, &e, err));
		status = prune_check_leaf(op->kms, op->store, &e, &cover, err);
		is_over = !prune_keeps(prune_type_of(e.leaf, e.leaf_len));
		store_event_clear(&e);
		KMS_TRY(status);
	}
	return KMS_OK;
}

/* Two people besides the one who asks, whatever the installation's quorum is: what goes cannot come back. */
static kms_status ask_approvers(struct op *op, uint64_t size, const char *root, const char *reason, struct kms_err *err)
{
	char parameters[PARAMETERS_MAX];
	const struct approval_need need = { .act = ACT_LOG_PRUNE, .target = op->kms->origin, .parameters = parameters, .reason = reason, .quorum = PRUNE_APPROVERS,
		                            .is_installations = true };

	(void)snprintf(parameters, sizeof(parameters), "{\"root\":\"%s\",\"size\":%" PRIu64 "}", root, size); /* base64 needs no escape */
	return approval_require(op, &need, err);
}

static void put_size(uint8_t ret[SIZE_LEN], uint64_t n)
{
	for (int i = SIZE_LEN - 1; i >= 0; i--, n >>= 8)
		ret[i] = (uint8_t)n;
}

static uint64_t get_size(const uint8_t bytes[SIZE_LEN])
{
	uint64_t n = 0;

	for (int i = 0; i < SIZE_LEN; i++)
		n = n << 8 | bytes[i];
	return n;
}

kms_status prune_begin(struct op *op, uint64_t size, const uint8_t root[MERKLE_HASH_LEN], const char *reason, struct kms_err *err)
{
	struct store_intent intent = { 0 };
	struct prune_state now = { 0 };
	char text[B64_LEN(MERKLE_HASH_LEN) + 1];
	int64_t signed_us = 0;

	b64_encode(root, MERKLE_HASH_LEN, text);
	op_det_number(op, "to", (int64_t)size);
	op_det_text(op, "root", text);
	op_det_text(op, "reason", reason);
	KMS_TRY(prune_state(op->kms, op->store, INT64_MIN + 1, &now, err));
	op_det_number(op, "from", (int64_t)now.pruned);
	KMS_TRY(check_range(size, &now, err));
	KMS_TRY(check_archive(op, size, root, &signed_us, err));
	KMS_TRY(check_age(op, size, signed_us, &now, err));
	KMS_TRY(check_bodies(op, now.pruned, size, err));
	KMS_TRY(ask_approvers(op, size, text, reason, err));
	put_size(intent.obj, now.pruned);
	put_size(intent.obj + SIZE_LEN, size);
	KMS_TRY(op_intend_sealed(op, NULL, &intent, err));
	op->goes_on = true;
	return KMS_OK;
}

/* ---- gone on with ---- */

/* A row alone anybody can write who can write to the database; the leaf was agreed. */
static kms_status check_told(struct store *store, const struct store_intent *intent, const struct prune_done *p, struct kms_err *err)
{
	char members[4][DESTRUCTION_MEMBER_MAX] = { INTENT_MEMBER, "\"type\":\"log.pruned\"" };
	bool is_told = false;

	(void)snprintf(members[2], sizeof(members[2]), "\"from\":%" PRIu64 ",", p->from);
	(void)snprintf(members[3], sizeof(members[3]), "\"to\":%" PRIu64 "}", p->to);
	KMS_TRY(destruction_leaf_says(store, intent->seq, (const char (*)[DESTRUCTION_MEMBER_MAX])members, KMS_ARRAY_LEN(members), &is_told, err));
	if (is_told && p->from < p->to && p->to <= intent->seq)
		return KMS_OK;
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the database was altered: the log has no intent %" PRIu64 " of log.pruned; nothing is dropped", intent->seq);
}

/* A range that is looked at before anything of it is dropped. */
struct look {
	struct kms *kms;
	struct store *store;
	const struct open_intents *open;
	int64_t limit_us;  /* leaves must be older */
	char limit[TIMESTAMP_LEN + 1];
	bool has_body;     /* one that is to go, and is there, was seen */
};

static bool goes(const struct look *k, const struct store_event *e) { return !prune_keeps(prune_type_of(e->leaf, e->leaf_len)) && !is_open(k->open, e->seq); }

/* By its row; and by what it says itself, which nobody can change who can change the row. Types that are not known are kept, so their form does not matter. */
static bool is_old(const struct look *k, const struct store_event *e)
{
	if (e->ts_us >= k->limit_us)
		return false;
	return e->leaf_len == 0 || prune_type_of(e->leaf, e->leaf_len) == EVENT_NONE || is_written_before(e->leaf, e->leaf_len, k->limit);
}

static kms_status altered(const struct store_event *e, struct kms_err *err)
{
	return kms_fail(err, KMS_E_AUDIT, KMS_SRC_SELF, 0, "the database was altered: the body of leaf %" PRIu64 " is %s; nothing is dropped", e->seq,
	                e->leaf_len > 0 ? "not what was hashed" : "gone");
}

/* Would it have gone at any time since this was begun? Intents may have been open then. */
static bool went_at_once(const struct look *k, const struct store_event *e)
{
	return e->leaf_len > 0 && goes(k, e) && memmem(e->leaf, e->leaf_len, INTENT_MEMBER, strlen(INTENT_MEMBER)) == NULL;
}

/* What this dropped itself, before it was interrupted, is all that was to go, from the first on: so behind a body that is to go none may be missing. */
static kms_status check_leaf(struct look *k, const struct store_event *e, struct kms_err *err)
{
	struct prune_cover own = { .below = UINT64_MAX };
	kms_status status = KMS_OK;

	if (e->leaf_len == 0 && k->has_body) {
		log_report_damage(k->kms->log, e->seq, "bodies are gone from a range that is being pruned, and the pruning did not drop them");
		return altered(e, err);
	}
	status = prune_check_leaf(k->kms, k->store, e, &own, err);
	if (status == KMS_E_INTEGRITY)
		return altered(e, err);
	KMS_TRY(status);
	if (!is_old(k, e))
		return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "leaf %" PRIu64 " is younger than the log is kept (log.keep_days): nothing is dropped until it is old enough", e->seq);
	k->has_body |= went_at_once(k, e);
	return KMS_OK;
}

static kms_status check_going_on(const struct kms *kms, struct kms_err *err)
{
	if (kms->is_stopping == NULL || !atomic_load(kms->is_stopping))
		return KMS_OK;
	return kms_fail(err, KMS_E_SHUTDOWN, KMS_SRC_SELF, 0, "the pruning of the log goes on after the next start");
}

static kms_status check_leaves(struct look *k, uint64_t from, uint64_t to, struct kms_err *err)
{
	for (uint64_t seq = from; seq < to; seq++) {
		struct store_event e = { 0 };
		kms_status status = KMS_OK;

		KMS_TRY(check_going_on(k->kms, err));
		KMS_TRY(store_event(k->store, seq, &e, err));
		status = check_leaf(k, &e, err);
		store_event_clear(&e);
		KMS_TRY(status);
	}
	return KMS_OK;
}

/* Leaves from this time on stay. Before a witness has said what time it is, it is not later than when this was begun. */
static kms_status find_limit(struct kms *kms, struct store *store, const struct store_intent *intent, struct look *k, struct kms_err *err)
{
	struct store_event e = { 0 };
	int64_t now_s = 0;

	if (keep_days(kms) == 0)
		return kms_fail(err, KMS_E_CONFLICT, KMS_SRC_SELF, 0, "the configuration keeps the event log for ever by now (log.keep_days: 0): nothing is dropped");
	KMS_TRY(store_event(store, intent->seq, &e, err));
	if (!find_time(kms, &now_s))
		now_s = e.ts_us / US_PER_S;
	store_event_clear(&e);
	k->limit_us = (now_s - keep_days(kms) * DAY_S) * US_PER_S;
	timestamp_format(k->limit_us, k->limit);
	return KMS_OK;
}

/* The next leaves whose bodies go, and how many have gone already. */
struct batch {
	uint64_t seqs[STORE_PRUNE_MAX];
	size_t count;
};

static kms_status look_at(const struct look *k, uint64_t seq, struct batch *b, uint64_t *gone, struct kms_err *err)
{
	struct store_event e = { 0 };

	KMS_TRY(store_event(k->store, seq, &e, err));
	if (e.leaf_len == 0)
		(*gone)++;
	else if (goes(k, &e))
		b->seqs[b->count++] = seq;
	store_event_clear(&e);
	return KMS_OK;
}

/* Without a leaf: it belongs to the act whose intent is open. */
static kms_status drop(struct kms *kms, const struct batch *b, struct kms_err *err)
{
	const struct store_change change = { .kind = STORE_EVENTS_PRUNE, .prune = { .seqs = b->seqs, .count = b->count } };
	struct write unit = { .event = { .type = EVENT_NONE }, .changes = &change, .change_count = 1 };
	kms_status status = writer_write(kms->writer, &unit);

	return status == KMS_OK ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "dropping bodies of leaves");
}

static kms_status drop_all(const struct look *k, struct prune_done *p, struct kms_err *err)
{
	uint64_t seq = p->from;

	while (seq < p->to) {
		struct batch b = { .count = 0 };

		KMS_TRY(check_going_on(k->kms, err));
		for (size_t looked = 0; seq < p->to && b.count < STORE_PRUNE_MAX && looked < 16 * STORE_PRUNE_MAX; seq++, looked++)
			KMS_TRY(look_at(k, seq, &b, &p->count, err));
		if (b.count > 0)
			KMS_TRY(drop(k->kms, &b, err));
		p->count += b.count;
	}
	return KMS_OK;
}

kms_status prune_finish(struct kms *kms, struct store *store, const struct store_intent *intent, struct prune_done *ret, struct kms_err *err)
{
	__attribute__((cleanup(open_intents_clear))) struct open_intents open = { 0 };
	struct prune_done p = { .from = get_size(intent->obj), .to = get_size(intent->obj + SIZE_LEN), .intent = intent->seq };
	struct look k = { .kms = kms, .store = store, .open = &open };
	STORE_SIGNED_AUTO c = { 0 };

	KMS_TRY(check_told(store, intent, &p, err));
	KMS_TRY(store_checkpoint_of(store, p.to, &c, err));
	memcpy(p.root, c.root, MERKLE_HASH_LEN);
	KMS_TRY(find_open(store, &open, err));
	KMS_TRY(find_limit(kms, store, intent, &k, err));
	KMS_TRY(check_leaves(&k, p.from, p.to, err));
	KMS_TRY(drop_all(&k, &p, err));
	*ret = p;
	return KMS_OK;
}
