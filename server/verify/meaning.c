/* server/verify/meaning.c - the rules between leaves. Order: start and clocks, phases, approvals, then keys, so that a state changes last. */
#include "server/verify/meaning.h"

#include <stdlib.h>

#define US_PER_S 1000000
#define CLOCK_STEP_US (2 * (int64_t)US_PER_S)
#define SILENCE_US (180 * (int64_t)US_PER_S)
#define OPEN_US (600 * (int64_t)US_PER_S)
#define US_PER_MS 1000
#define PRUNE_APPROVERS 2
#define QUEUE_FIRST 64
#define SPAN_ARG(s) (int)((s).n < 128 ? (s).n : 128), ((s).p != NULL ? (s).p : "")

struct intent {
	uint64_t seq, tenant, name; /* tenant, name: 0 = none */
	uint32_t type, generation;
	uint64_t type_hash; /* of one that this program does not know */
	bool is_continued;  /* of something that had begun, and had its approvals, before */
};
struct version {
	uint8_t object[OBJECT_LEN];
	uint64_t name, born, own_seq; /* own_seq: when it was last revoked or reinstated by itself */
	uint32_t generation;
	bool is_revoked, is_disabled, is_destroyed;
};
/* A key; its generation goes up with each purge. */
struct name {
	uint64_t hash, all_seq; /* all_seq: when all versions were last revoked or reinstated at once */
	size_t end;             /* of its last purge: what came behind it */
	uint32_t generation;
	bool are_all_revoked, is_deleted, is_purging, is_purged, has_restored, is_doubted;
};
struct tenant {
	uint64_t hash;
	bool is_shredding, is_locked;
	uint8_t quorum, purge_approvals; /* as far as the log says; 0 = it does not */
};

/* What is looked up once for a leaf. */
struct subject {
	uint64_t tenant, name;
};

bool meaning_open(struct meaning *m, struct report *report, unsigned approvers)
{
	*m = (struct meaning){ .report = report, .approvers = approvers, .sees_all = true };
	if (!seed_draw(&m->seed))
		return false;
	m->intents = table_make(&m->seed, sizeof(struct intent), sizeof(uint64_t));
	m->versions = table_make(&m->seed, sizeof(struct version), OBJECT_LEN);
	m->names = table_make(&m->seed, sizeof(struct name), sizeof(uint64_t));
	m->tenants = table_make(&m->seed, sizeof(struct tenant), sizeof(uint64_t));
	m->boots = table_make(&m->seed, sizeof(uint64_t), sizeof(uint64_t));
	return true;
}

void meaning_close(struct meaning *m)
{
	table_clear(&m->intents);
	table_clear(&m->versions);
	table_clear(&m->names);
	table_clear(&m->tenants);
	table_clear(&m->boots);
	pruned_clear(&m->pruned);
	free(m->queue);
	m->queue = NULL;
}

void meaning_hide(struct meaning *m, uint64_t first, uint64_t last)
{
	if (!m->has_hidden || first < m->hidden_first)
		m->hidden_first = first;
	if (!m->has_hidden || last > m->hidden_last)
		m->hidden_last = last;
	m->has_hidden = true;
	m->sees_all = false;
	pruned_hide(&m->pruned, first);
	m->is_hidden_since = true;
}

void meaning_end(struct meaning *m)
{
	const struct pruned *p = &m->pruned;
	pruned_end_of_log(&m->pruned, p->last > 0 && table_find(&m->intents, &p->list[p->last - 1].seq) != NULL);
}

uint64_t meaning_open_intents(const struct meaning *m) { return m->intents.count; }

/* A record that may be new. Without memory the judgement ends: the caller of meaning_leaf() looks at is_out_of_memory. */
static void *add(struct meaning *m, struct table *t, const void *key, bool *ret_is_new)
{
	void *record = table_add(t, key, ret_is_new);
	m->is_out_of_memory |= record == NULL;
	return record;
}

static uint64_t hash_of(const struct meaning *m, struct span a, struct span b)
{
	uint64_t hash = seed_hash(&m->seed, (const struct span[]){ a, b }, 2);
	return hash != 0 ? hash : 1;
}

/* ---- starts, clocks, silence ---- */

/* What may stand before node.start. */
static bool is_before_start(enum leaf_type type)
{
	return type == T_LOG_INIT || type == T_LOG_RESTORED || type == T_LOG_CLOCK || type == T_LOG_INTEGRITY_FAILED;
}

static void check_boot(struct meaning *m, const struct leaf *l, const char *file, uint64_t line)
{
	bool is_new_boot = !m->has_last || l->boot != m->last_boot, is_new = false;

	if (is_new_boot) {
		(void)add(m, &m->boots, &l->boot, &is_new);
		if (!is_new && !m->is_out_of_memory)
			report_add(m->report, F_BOOT_AGAIN, file, line, "seq %llu: a run of the server that had ended goes on", (unsigned long long)l->seq);
		m->boot_has_started = m->is_hidden_since || (!m->has_last && l->seq != 0);
	}
	m->boot_has_started |= m->is_hidden_since && l->type != T_NODE_START;
	if (l->type == T_NODE_START && !is_new_boot && m->boot_has_started && !m->is_hidden_since)
		report_add(m->report, F_BOOT, file, line, "seq %llu: node.start within a run that had started", (unsigned long long)l->seq);
	if (!m->boot_has_started && l->type != T_NODE_START && !is_before_start(l->type)) {
		report_add(m->report, F_BOOT, file, line, "seq %llu: a new run of the server begins with %s, not with node.start", (unsigned long long)l->seq,
		           leaf_type_name(l->type));
		m->boot_has_started = true;
	}
	m->boot_has_started |= l->type == T_NODE_START;
}

static void check_step(struct meaning *m, const struct leaf *l, int64_t step_us, const char *file, uint64_t line)
{
	int64_t delta_ms = 0;
	bool is_large = step_us > CLOCK_STEP_US || step_us < -CLOCK_STEP_US;

	if (l->type != T_LOG_CLOCK && is_large)
		report_add(m->report, F_CLOCK, file, line, "seq %llu: wall time moved by %lld ms against the server's clock, and no log.clock says so",
		           (unsigned long long)l->seq, (long long)(step_us / US_PER_MS));
	if (l->type != T_LOG_CLOCK || !reader_member_int(l->det, "delta_ms", &delta_ms))
		return;
	int64_t off = delta_ms - step_us / US_PER_MS;
	if (off < -1 || off > 1)
		report_add(m->report, F_CLOCK_LEAF, file, line, "seq %llu: log.clock says %lld ms, the leaves say %lld ms", (unsigned long long)l->seq,
		           (long long)delta_ms, (long long)(step_us / US_PER_MS));
}

static void check_time(struct meaning *m, const struct leaf *l, const char *file, uint64_t line)
{
	int64_t wall = l->ts_us - m->last_ts_us, mono = l->mono_us - m->last_mono_us;

	if (!m->has_last)
		return;
	if (l->boot != m->last_boot) {
		if (wall < -CLOCK_STEP_US && l->type != T_LOG_CLOCK)
			report_add(m->report, F_CLOCK, file, line, "seq %llu: wall time falls by %lld ms across a restart, and no log.clock says so",
			           (unsigned long long)l->seq, (long long)(-wall / US_PER_MS));
		return;
	}
	if (mono < 0) {
		report_add(m->report, F_MONO, file, line, "seq %llu: mono falls from %lld to %lld", (unsigned long long)l->seq, (long long)m->last_mono_us,
		           (long long)l->mono_us);
		return;
	}
	m->running_us += mono;
	if (m->is_hidden_since)
		return;
	check_step(m, l, wall - mono, file, line);
	if (mono > SILENCE_US)
		report_add(m->report, l->type == T_LOG_GAP || !m->has_heartbeats ? W_SILENCE : F_SILENCE, file, line, "seq %llu: %lld s without a leaf, not even a heartbeat",
		           (unsigned long long)l->seq, (long long)(mono / US_PER_S));
}

/* ---- intents and outcomes ---- */

static bool queue_intent(struct meaning *m, uint64_t seq)
{
	if (m->queue_first + m->queue_count == m->queue_cap && m->queue_first > m->queue_cap / 2) {
		memmove(m->queue, m->queue + m->queue_first, m->queue_count * sizeof(m->queue[0]));
		m->queue_first = 0;
	}
	if (m->queue_first + m->queue_count == m->queue_cap) {
		size_t cap = m->queue_cap == 0 ? QUEUE_FIRST : 2 * m->queue_cap;
		struct open_intent *grown = reallocarray(m->queue, cap, sizeof(m->queue[0]));
		if (grown == NULL)
			return false;
		m->queue = grown;
		m->queue_cap = cap;
	}
	m->queue[m->queue_first + m->queue_count++] = (struct open_intent){ seq, m->running_us };
	return true;
}

static void pop_intent(struct meaning *m)
{
	m->queue_first++;
	m->queue_count--;
	if (m->queue_count == 0)
		m->queue_first = 0;
}

/* Once for each that is open too long, when it becomes so. */
static void check_open(struct meaning *m, const char *file, uint64_t line)
{
	while (m->queue_count > 0 && m->running_us - m->queue[m->queue_first].opened_us > OPEN_US) {
		uint64_t seq = m->queue[m->queue_first].seq;
		const struct intent *i = table_find(&m->intents, &seq);
		/* These take as long as there are versions, or leaves. */
		if (i != NULL && i->type != T_TENANT_ROTATE_ROOT && i->type != T_LOG_PRUNED)
			report_add(m->report, F_OPEN, file, line, "the intent at seq %llu is open for more than 10 minutes", (unsigned long long)seq);
		pop_intent(m);
	}
}

static void open_intent(struct meaning *m, const struct leaf *l, const struct subject *s)
{
	const struct tenant *tenant = table_find(&m->tenants, &s->tenant);
	const struct name *name = table_find(&m->names, &s->name);
	bool is_new = false;
	struct intent *i = add(m, &m->intents, &l->seq, &is_new);

	if (i == NULL)
		return;
	i->tenant = s->tenant;
	i->name = s->name;
	i->type = l->type;
	i->type_hash = l->type == T_OTHER ? hash_of(m, l->type_name, (struct span){ 0 }) : 0;
	i->generation = name != NULL ? name->generation : 0;
	i->is_continued = (l->type == T_TENANT_SHRED && tenant != NULL && tenant->is_shredding) || (l->type == T_KEY_PURGE && name != NULL && name->is_purging);
	m->is_out_of_memory |= !queue_intent(m, l->seq);
}

/* What recovery writes names no version, and the key only by what the intent kept of it. */
static bool fits(const struct meaning *m, const struct intent *i, const struct leaf *l, const struct subject *s)
{
	if (i->type != l->type || (l->type == T_OTHER && i->type_hash != hash_of(m, l->type_name, (struct span){ 0 })))
		return false;
	if (i->tenant != s->tenant)
		return false;
	return i->name == s->name || i->name == 0 || (s->name == 0 && l->actor == ACTOR_NODE);
}

static bool may_be_hidden(const struct meaning *m, uint64_t seq) { return m->has_hidden && seq >= m->hidden_first && seq <= m->hidden_last; }

/* @return the intent as it was, all zero when it cannot be told */
static struct intent close_intent(struct meaning *m, const struct leaf *l, const struct subject *s, const char *file, uint64_t line)
{
	struct intent *found = l->has_ref ? table_find(&m->intents, &l->ref) : NULL;
	struct intent was = { 0 };

	if (found == NULL) {
		if (!l->has_ref || !may_be_hidden(m, l->ref) || (m->pruned.is_complete && pruned_never(l->type)))
			report_add(m->report, F_NO_INTENT, file, line, "seq %llu: the outcome of %s refers to no open intent%s", (unsigned long long)l->seq,
			           leaf_type_name(l->type), l->has_ref ? "" : ": it has no ref");
		return was;
	}
	was = *found;
	if (!fits(m, &was, l, s))
		report_add(m->report, F_OTHER_INTENT, file, line, "seq %llu: the intent at seq %llu is of another type, tenant or key", (unsigned long long)l->seq,
		           (unsigned long long)l->ref);
	table_remove(&m->intents, &l->ref);
	while (m->queue_count > 0 && table_find(&m->intents, &m->queue[m->queue_first].seq) == NULL)
		pop_intent(m);
	return was;
}

/* What became of an intent of the log before this one is told on its own: refs count within one log. */
static bool settles_former(const struct meaning *m, const struct leaf *l)
{
	int64_t old_seq = 0;
	return m->follows_another && l->actor == ACTOR_NODE && l->phase == PHASE_SINGLE && reader_member_int(l->det, "old_seq", &old_seq);
}

static bool may_destroy(enum leaf_type type)
{
	return type == T_TENANT_SHRED || type == T_KEY_PURGE || type == T_KEY_DESTROY || type == T_TENANT_ROTATE_ROOT || type == T_BACKUP_EPOCH_END;
}

/* Each object that dies has a leaf of its own, which names the intent that it dies of. What a certificate destroys again names that. */
static void check_destroyed(struct meaning *m, const struct leaf *l, const struct subject *s, const char *file, uint64_t line)
{
	struct span certificate = { 0 };
	int64_t seq = 0;
	uint64_t ref = 0;
	const struct intent *i = NULL;

	if (reader_member_string(l->det, "certificate", &certificate))
		return;
	if (!reader_member_int(l->det, "intent", &seq) || seq < 0) {
		report_add(m->report, F_NO_INTENT, file, line, "seq %llu: key.destroy names no intent that it belongs to", (unsigned long long)l->seq);
		return;
	}
	ref = (uint64_t)seq;
	i = table_find(&m->intents, &ref);
	if (i == NULL && !may_be_hidden(m, ref))
		report_add(m->report, F_NO_INTENT, file, line, "seq %llu: key.destroy belongs to seq %llu, which is no open intent", (unsigned long long)l->seq,
		           (unsigned long long)ref);
	else if (i != NULL && (i->tenant != s->tenant || !may_destroy((enum leaf_type)i->type) || (i->type == T_KEY_PURGE && i->name != s->name)))
		report_add(m->report, F_OTHER_INTENT, file, line, "seq %llu: the intent at seq %llu is no destruction of this", (unsigned long long)l->seq,
		           (unsigned long long)ref);
}

/* A rotation of a root has steps between its intent and its outcome; each names the intent. */
static void check_rotation(struct meaning *m, const struct leaf *l, const struct subject *s, const char *file, uint64_t line)
{
	const struct intent *i = NULL;
	int64_t seq = 0;
	uint64_t ref = 0;
	bool is_named = reader_member_int(l->det, "intent", &seq) && seq >= 0;

	ref = (uint64_t)seq;
	i = is_named ? table_find(&m->intents, &ref) : NULL;
	if (i == NULL && !(is_named && may_be_hidden(m, ref)))
		report_add(m->report, F_NO_INTENT, file, line, "seq %llu: a step of a root rotation belongs to no open intent", (unsigned long long)l->seq);
	else if (i != NULL && (i->tenant != s->tenant || i->type != T_TENANT_ROTATE_ROOT))
		report_add(m->report, F_OTHER_INTENT, file, line, "seq %llu: the intent at seq %llu is no root rotation of this vault", (unsigned long long)l->seq,
		           (unsigned long long)ref);
}

static void check_phase(struct meaning *m, const struct leaf *l, const struct subject *s, const char *file, uint64_t line)
{
	const char *why = NULL;

	if (settles_former(m, l))
		return;
	if ((l->result == RESULT_PENDING) != (l->phase == PHASE_INTENT))
		why = "pending is the result of intents, and of nothing else";
	else if (l->result == RESULT_UNKNOWN && l->phase != PHASE_OUTCOME)
		why = "only an outcome can be unknown";
	else if (l->has_ref && l->phase != PHASE_OUTCOME)
		why = "only an outcome has a ref";
	else if (l->phase == PHASE_SINGLE && l->result == RESULT_OK && l->type == T_KEY_DESTROY)
		check_destroyed(m, l, s, file, line);
	else if (l->phase == PHASE_SINGLE && l->result == RESULT_OK && l->type == T_TENANT_ROTATE_ROOT)
		check_rotation(m, l, s, file, line);
	else if (l->phase == PHASE_SINGLE && l->result == RESULT_OK && (leaf_type_flags(l->type) & PAIRED) != 0)
		why = "it succeeded without an intent before it";
	if (why != NULL)
		report_add(m->report, F_PHASE, file, line, "seq %llu: %s: %s", (unsigned long long)l->seq, leaf_type_name(l->type), why);
}

/* ---- approvals ---- */

/* Different people, none of them the one who acts. */
static size_t count_approvers(struct meaning *m, const struct leaf *l, const char *file, uint64_t line)
{
	size_t count = 0;

	for (size_t i = 0; i < l->approver_count; i++) {
		bool is_again = false;
		for (size_t k = 0; k < i; k++)
			is_again |= span_same(l->approvers[i], l->approvers[k]);
		if (is_again)
			report_add(m->report, F_SAME_APPROVER, file, line, "seq %llu: %.*s is named twice as an approver", (unsigned long long)l->seq,
			           SPAN_ARG(l->approvers[i]));
		else if (l->pid.n > 0 && span_same(l->approvers[i], l->pid))
			report_add(m->report, F_OWN_APPROVAL, file, line, "seq %llu: %.*s approved what it asked for itself", (unsigned long long)l->seq,
			           SPAN_ARG(l->approvers[i]));
		else
			count++;
	}
	return count;
}

/* How many a critical act needs, as far as the log and the caller say. */
static size_t approvers_needed(const struct meaning *m, const struct leaf *l, const struct subject *s, bool is_continued)
{
	const struct tenant *t = table_find(&m->tenants, &s->tenant);
	bool is_by_server = l->actor == ACTOR_NODE || l->actor == ACTOR_SYSTEM;

	if (is_continued || is_by_server)
		return 0;
	if (l->type == T_LOG_PRUNED)
		return PRUNE_APPROVERS;
	if (l->type == T_TENANT_SHRED)
		return t != NULL && t->quorum > m->approvers ? t->quorum : m->approvers;
	if (l->type == T_TENANT_UNLOCK)
		return t != NULL ? t->quorum : 0;
	return l->type == T_KEY_PURGE && t != NULL ? t->purge_approvals : 0;
}

static void check_approvals(struct meaning *m, const struct leaf *l, const struct subject *s, bool is_continued, const char *file, uint64_t line)
{
	size_t have = l->approver_count > 0 ? count_approvers(m, l, file, line) : 0;
	/* The intent is what is approved; its outcome may name them again. */
	size_t need = l->phase == PHASE_INTENT ? approvers_needed(m, l, s, is_continued) : 0;

	if (have < need)
		report_add(m->report, F_APPROVERS, file, line, "seq %llu: %s has %zu of the %zu approvers that it needs", (unsigned long long)l->seq,
		           leaf_type_name(l->type), have, need);
}

/* ---- the life of keys ---- */

static struct name *name_of(struct meaning *m, uint64_t hash)
{
	bool is_new = false;
	return hash != 0 ? add(m, &m->names, &hash, &is_new) : NULL;
}

static struct tenant *tenant_of(struct meaning *m, uint64_t hash)
{
	bool is_new = false;
	return hash != 0 ? add(m, &m->tenants, &hash, &is_new) : NULL;
}

static bool is_revoked(const struct version *v, const struct name *n)
{
	bool all_is_newer = n != NULL && n->all_seq > v->born && n->all_seq > v->own_seq;
	return all_is_newer ? n->are_all_revoked : v->is_revoked;
}

static void after_end(struct meaning *m, const struct leaf *l, const char *what, const char *file, uint64_t line)
{
	report_add(m->report, F_AFTER_END, file, line, "seq %llu: %s succeeded after %s", (unsigned long long)l->seq, leaf_type_name(l->type), what);
}

static void judge_version(struct meaning *m, const struct leaf *l, const struct subject *s, const struct name *n, const char *file, uint64_t line)
{
	bool is_new = false;
	struct version *v = add(m, &m->versions, l->object, &is_new);

	if (v == NULL)
		return;
	if (is_new) {
		v->name = s->name;
		v->generation = n != NULL ? n->generation : 0;
		if (m->sees_all && (n == NULL || !n->has_restored))
			report_add(m->report, F_UNCREATED, file, line, "seq %llu: %s of a version of key %.*s that was never created", (unsigned long long)l->seq,
			           leaf_type_name(l->type), SPAN_ARG(l->key_name));
		return;
	}
	if (v->name != s->name)
		report_add(m->report, F_OTHER_KEY, file, line, "seq %llu: the object of this version belongs to another key", (unsigned long long)l->seq);
	else if (v->is_destroyed || v->generation != (n != NULL ? n->generation : 0))
		after_end(m, l, "this version was destroyed", file, line);
	else if (v->is_disabled || is_revoked(v, n))
		report_add(m->report, F_REVOKED, file, line, "seq %llu: %s of a version of key %.*s that is %s", (unsigned long long)l->seq, leaf_type_name(l->type),
		           SPAN_ARG(l->key_name), v->is_disabled ? "disabled" : "revoked");
}

/* Purges are kept for ever, and what made a new key of the name is not. Its versions are new: one that was seen before is of the key that was purged. */
static bool may_be_new_key(const struct meaning *m, const struct leaf *l, const struct name *n)
{
	return n->is_purged && pruned_hidden_since(&m->pruned, n->end) < l->seq && !(l->has_object && table_find(&m->versions, l->object) != NULL);
}

/* Once for a key. */
static void doubt_use(struct meaning *m, const struct leaf *l, struct name *n, const char *file, uint64_t line)
{
	if (!n->is_doubted)
		m->is_out_of_memory |= !pruned_doubt(&m->pruned, l, pruned_hidden_since(&m->pruned, n->end), file, line);
	n->is_doubted = true;
}

static void judge_use(struct meaning *m, const struct leaf *l, const struct subject *s, const char *file, uint64_t line)
{
	struct name *n = table_find(&m->names, &s->name);
	const struct tenant *t = s->tenant != 0 ? table_find(&m->tenants, &s->tenant) : NULL;

	if (t != NULL && t->is_locked)
		report_add(m->report, F_REVOKED, file, line, "seq %llu: %s of key %.*s, whose vault is locked", (unsigned long long)l->seq, leaf_type_name(l->type),
		           SPAN_ARG(l->key_name));
	if (n != NULL && may_be_new_key(m, l, n))
		doubt_use(m, l, n, file, line);
	else if (n != NULL && (n->is_purged || n->is_purging))
		after_end(m, l, "its key was purged", file, line);
	else if (n != NULL && n->is_deleted)
		report_add(m->report, F_DELETED, file, line, "seq %llu: %s of key %.*s, which is deleted", (unsigned long long)l->seq, leaf_type_name(l->type),
		           SPAN_ARG(l->key_name));
	else if (l->has_object)
		judge_version(m, l, s, n, file, line);
}

/* Nothing of a shredded tenant's keys succeeds, but for what ends them. */
static void judge_tenant(struct meaning *m, const struct leaf *l, const struct subject *s, const char *file, uint64_t line)
{
	const struct tenant *t = s->tenant != 0 ? table_find(&m->tenants, &s->tenant) : NULL;
	bool ends_keys = l->type == T_KEY_PURGE || l->type == T_KEY_DESTROY || l->type == T_KEY_ORPHAN_REMOVED || l->type == T_KEY_EXPIRE;

	if (t != NULL && t->is_shredding && l->has_key && !ends_keys && span_begins(l->type_name, "key."))
		after_end(m, l, "its tenant was shredded", file, line);
}

static void note_made(struct meaning *m, const struct leaf *l, const struct subject *s, const char *file, uint64_t line)
{
	struct name *n = name_of(m, s->name);
	bool is_new = false;

	if (n == NULL)
		return;
	if (n->is_purged)
		*n = (struct name){ .hash = n->hash, .generation = n->generation };
	n->has_restored |= l->type == T_KEY_RESTORE;
	uint32_t generation = n->generation;
	struct version *v = l->has_object ? add(m, &m->versions, l->object, &is_new) : NULL;
	if (v == NULL)
		return;
	if (!is_new)
		report_add(m->report, F_OTHER_KEY, file, line, "seq %llu: the object of a new version was used before", (unsigned long long)l->seq);
	*v = (struct version){ .name = s->name, .born = l->seq, .generation = generation };
	memcpy(v->object, l->object, OBJECT_LEN);
}

static void note_purged(struct meaning *m, const struct leaf *l, const struct subject *s, const struct intent *intent)
{
	struct name *n = name_of(m, s->name);

	/* When the act had been repeated and that one came through, the name may belong to a new key by now. */
	if (n == NULL || (intent->seq != 0 && intent->generation != n->generation))
		return;
	n->is_purging = false;
	if (l->result != RESULT_OK)
		return;
	n->generation++;
	n->is_purged = true;
	n->is_deleted = n->is_doubted = false;
	m->is_out_of_memory |= !pruned_end(&m->pruned, &n->end);
}

static void note_revoked(struct meaning *m, const struct leaf *l, const struct subject *s)
{
	struct span act = { 0 };
	bool is_new = false;
	bool revokes = !reader_member_string(l->det, "act", &act) || !span_is(act, "reinstate");

	if (l->has_object) {
		struct version *v = add(m, &m->versions, l->object, &is_new);
		const struct name *n = table_find(&m->names, &s->name);
		if (v == NULL)
			return;
		if (is_new) {
			v->name = s->name;
			v->generation = n != NULL ? n->generation : 0;
		}
		v->is_revoked = revokes;
		v->own_seq = l->seq;
	} else if (l->key_version.n == 0) {
		struct name *n = name_of(m, s->name);
		if (n == NULL)
			return;
		n->all_seq = l->seq;
		n->are_all_revoked = revokes;
	}
}

static void note_updated(struct meaning *m, const struct leaf *l)
{
	struct version *v = l->has_object ? table_find(&m->versions, l->object) : NULL;
	struct span enabled = { 0 };

	if (v != NULL && reader_member_string(l->det, "enabled", &enabled))
		v->is_disabled = span_is(enabled, "false");
}

static void note_policy(struct meaning *m, const struct leaf *l, const struct subject *s)
{
	struct tenant *t = tenant_of(m, s->tenant);
	int64_t number = 0;

	if (t == NULL)
		return;
	if (reader_member_int(l->det, "quorum", &number) && number >= 0 && number <= UINT8_MAX)
		t->quorum = (uint8_t)number;
	if (reader_member_int(l->det, "purge_approvals", &number) && number >= 0 && number <= UINT8_MAX)
		t->purge_approvals = (uint8_t)number;
}

static void note_lock(struct meaning *m, const struct subject *s, bool is_locked)
{
	struct tenant *t = tenant_of(m, s->tenant);
	if (t != NULL)
		t->is_locked = is_locked;
}

static void note_destroyed(struct meaning *m, const struct leaf *l)
{
	struct version *v = l->has_object ? table_find(&m->versions, l->object) : NULL;
	if (v != NULL)
		v->is_destroyed = true;
}

static void note_deleted(struct meaning *m, const struct subject *s, bool is_deleted)
{
	struct name *n = name_of(m, s->name);
	if (n != NULL)
		n->is_deleted = is_deleted;
}

/* From the intent on. */
static void note_begun(struct meaning *m, const struct leaf *l, const struct subject *s)
{
	struct tenant *t = l->type == T_TENANT_SHRED ? tenant_of(m, s->tenant) : NULL;
	struct name *n = l->type == T_KEY_PURGE ? name_of(m, s->name) : NULL;

	if (t != NULL)
		t->is_shredding = true;
	if (n != NULL && !n->is_purged)
		n->is_purging = true;
}

static void note_done(struct meaning *m, const struct leaf *l, const struct subject *s, const char *file, uint64_t line)
{
	switch (l->type) { /* allowed: the others change no state that is remembered */
	case T_KEY_CREATE:
	case T_KEY_IMPORT:
	case T_KEY_ROTATE:
	case T_KEY_RESTORE: note_made(m, l, s, file, line); break;
	case T_KEY_DELETE: note_deleted(m, s, true); break;
	case T_KEY_RECOVER: note_deleted(m, s, false); break;
	case T_KEY_DESTROY: note_destroyed(m, l); break;
	case T_KEY_REVOKE: note_revoked(m, l, s); break;
	case T_KEY_UPDATE: note_updated(m, l); break;
	case T_TENANT_CREATE:
	case T_TENANT_UPDATE: note_policy(m, l, s); break;
	case T_TENANT_SHRED: note_begun(m, l, s); break;
	case T_TENANT_LOCK: note_lock(m, s, true); break;
	case T_TENANT_UNLOCK: note_lock(m, s, false); break;
	default: break;
	}
}

static void follow_keys(struct meaning *m, const struct leaf *l, const struct subject *s, const struct intent *intent, const char *file, uint64_t line)
{
	if (l->phase == PHASE_INTENT) {
		note_begun(m, l, s);
		return;
	}
	if (l->type == T_KEY_PURGE)
		note_purged(m, l, s, intent);
	if (l->result != RESULT_OK)
		return;
	judge_tenant(m, l, s, file, line);
	if ((leaf_type_flags(l->type) & USE) != 0)
		judge_use(m, l, s, file, line);
	else
		note_done(m, l, s, file, line);
}

static void check_start_of_log(struct meaning *m, const struct leaf *l, const char *file, uint64_t line)
{
	if ((l->seq == 0) != (l->type == T_LOG_INIT))
		report_add(m->report, F_LOG_START, file, line, "seq %llu: %s", (unsigned long long)l->seq,
		           l->seq == 0 ? "a log begins with log.init" : "log.init stands at the beginning of a log, and nowhere else");
	/* A log that follows another after a disaster knows keys that were made in that one. */
	if (l->type == T_LOG_RESTORED) {
		m->sees_all = false;
		m->follows_another = true;
	}
}

static void note_heartbeats(struct meaning *m, const struct leaf *l)
{
	struct span vkey = { 0 };
	m->has_heartbeats |= l->type == T_LOG_HEARTBEAT || (l->type == T_LOG_INIT && reader_member_string(l->det, "vkey", &vkey));
}

void meaning_leaf(struct meaning *m, const struct leaf *l, const char *file, uint64_t line)
{
	struct subject s = { 0 };
	struct intent intent = { 0 };

	if (l->tenant.n > 0)
		s.tenant = hash_of(m, l->tenant, (struct span){ 0 });
	if (l->key_name.n > 0)
		s.name = hash_of(m, l->tenant, l->key_name);
	check_start_of_log(m, l, file, line);
	check_boot(m, l, file, line);
	check_time(m, l, file, line);
	check_open(m, file, line);
	check_phase(m, l, &s, file, line);
	if (l->phase == PHASE_OUTCOME)
		intent = close_intent(m, l, &s, file, line);
	else if (l->phase == PHASE_INTENT)
		open_intent(m, l, &s);
	if (l->phase == PHASE_INTENT) {
		const struct intent *opened = table_find(&m->intents, &l->seq);
		intent.is_continued = opened != NULL && opened->is_continued;
	}
	check_approvals(m, l, &s, intent.is_continued, file, line);
	follow_keys(m, l, &s, &intent, file, line);
	m->is_out_of_memory |= !pruned_leaf(&m->pruned, l, m->report, file, line);
	note_heartbeats(m, l);
	m->has_last = true;
	m->is_hidden_since = false;
	m->last_boot = l->boot;
	m->last_ts_us = l->ts_us;
	m->last_mono_us = l->mono_us;
}
