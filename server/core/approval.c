/* server/core/approval.c - requests for what needs several people: opened, counted, used up; and when a vault is founded. */
#include "server/core/approval.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/access.h"
#include "server/core/approval_parts.h"
#include "server/core/canon.h"
#include "server/core/person.h"

#define META_FOUNDED "approval_founded"
#define LOCAL_PREFIX "uid:"
#define PAGE 64
/* Half for any one requester, so that nobody keeps the others from asking. */
#define OPEN_MAX_EACH (APPROVAL_OPEN_MAX / 2)
/* Whoever may delete keys must not keep the others from asking for what protects them. */
#define OPEN_MAX_PURGE (APPROVAL_OPEN_MAX * 4 / 5)
_Static_assert(STORE_APPROVERS_MAX <= EVENT_APPROVERS_MAX, "a leaf shows all of them");
#define OPEN_READ_MAX (2 * APPROVAL_OPEN_MAX) /* two that are opened at once may exceed the limit, and must still be found */
_Static_assert(OPEN_READ_MAX <= STORE_PAGE_MAX, "one page");
#define CANON_TEXT_MAX 512

static const uint8_t NO_ID[STORE_ID_LEN];

static bool same_id(const uint8_t a[STORE_ID_LEN], const uint8_t b[STORE_ID_LEN])
{
	return memcmp(a, b, STORE_ID_LEN) == 0; /* allowed: ids are public */
}

/* ---- who asks ---- */

/* The text of a local user is no id of a principal: byte 6 of those is of version 4 (0x40 to 0x4f), and here a digit or nothing. */
static bool is_local(const uint8_t requester[STORE_ID_LEN])
{
	return memcmp(requester, LOCAL_PREFIX, strlen(LOCAL_PREFIX)) == 0 && requester[6] >> 4 != 4 && /* allowed: ids are public */
	       requester[STORE_ID_LEN - 1] == '\0';
}

kms_status approval_requester(const struct op *op, uint8_t ret_requester[STORE_ID_LEN], struct kms_err *err)
{
	char text[STORE_ID_LEN + 1] = "";

	if (op->has_principal) {
		memcpy(ret_requester, op->principal.id, STORE_ID_LEN);
		return KMS_OK;
	}
	if (op->caller.auth != EVENT_AUTH_LOCAL)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "an act that needs approval, and nobody asks for it");
	(void)snprintf(text, sizeof(text), LOCAL_PREFIX "%" PRIu32, (uint32_t)op->caller.uid);
	memcpy(ret_requester, text, STORE_ID_LEN);
	return KMS_OK;
}

void approval_requester_text(const uint8_t requester[STORE_ID_LEN], char ret_text[GUID_TEXT_LEN + 1])
{
	if (is_local(requester))
		(void)snprintf(ret_text, GUID_TEXT_LEN + 1, "%s", (const char *)requester);
	else
		guid_format(requester, ret_text);
}

/* ---- who counts ---- */

/* Whoever is known by a client certificate brings no fresh token, so could never vote. */
static kms_status check_person(struct store *store, const struct store_principal *p, bool *ret_is_person, struct kms_err *err)
{
	STORE_POOL_AUTO pool = { 0 };
	kms_status status = store_pool(store, p->id, &pool, NULL);

	*ret_is_person = status == KMS_E_NOTFOUND;
	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "certificates of an approver");
}

kms_status approval_may_vote(struct store *store, const struct store_vault *vault, const struct store_principal *p, int64_t now_s, bool *ret_may,
                             struct kms_err *err)
{
	/* Who holds the local socket can found an installation at any time, and would then have a say in vaults that several people watch over. */
	bool is_installations = vault == NULL || !vault->is_founded || vault->counts_installation;
	bool is_ours = same_id(p->vault_id, NO_ID) ? is_installations : vault != NULL && same_id(p->vault_id, vault->id);
	struct kms_err own = { 0 };
	uint64_t held = 0, of_vault = 0;
	kms_status status = KMS_OK;

	*ret_may = false;
	/* Somebody of another vault never, whatever the name of a group there. */
	if (!is_ours || !p->is_enabled || p->kind != STORE_PRINCIPAL_CALLER)
		return KMS_OK;
	status = access_permissions(store, vault, p->id, now_s, &held, &of_vault, &own);
	if (status == KMS_E_FORBIDDEN) /* in more groups than can be followed: may do nothing at all */
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "what an approver holds: %s", own.detail);
	/* Who holds what nobody may hold together is refused everywhere, so here too. A role for the whole installation is not this vault's people's to
	 * give: where the installation has no say, nobody of the vault's directory has one by it either. */
	*ret_may = ((is_installations ? held : of_vault) & PERM_BIT(PERM_APPROVAL_WRITE)) != 0 && permissions_conflict(held) == NULL;
	return *ret_may ? check_person(store, p, ret_may, err) : KMS_OK;
}

/* Was this vote cast by one who counts now? Then *ret_approver is who that is, as it is now. */
static kms_status vote_counts(struct store *store, const struct store_vault *vault, const struct store_approval *a, const struct store_vote *v,
                              int64_t now_s, struct store_principal *ret_approver, bool *ret_counts, struct kms_err *err)
{
	kms_status status = KMS_OK;

	*ret_counts = false;
	if (same_id(v->approver_id, a->requester))
		return KMS_OK;
	status = store_principal(store, v->approver_id, ret_approver, NULL);
	if (status == KMS_E_NOTFOUND)
		return KMS_OK;
	if (status != KMS_OK)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "approver");
	/* Its tokens were revoked afterwards: whoever had one of them may have voted. */
	if (v->created_s < ret_approver->tokens_from_s)
		return KMS_OK;
	return approval_may_vote(store, vault, ret_approver, now_s, ret_counts, err);
}

static bool is_counted(const struct store_approval_use *use, const uint8_t id[STORE_ID_LEN])
{
	for (size_t i = 0; i < use->count; i++)
		if (same_id(use->approvers[i].id, id))
			return true;
	return false;
}

/* audit-log.md 3.2: a vote with a signature of its own is worth more than one with a token. */
static struct event_approver approver_of(const struct store_principal *p, const struct store_vote *v)
{
	struct event_approver a = { .at_us = v->created_s * 1000000, .cred = "jwt" };

	memcpy(a.pid, p->pid, sizeof(a.pid));
	if (v->signature_len > 0) {
		a.cred = "certificate";
		hex_encode(v->certificate, (sizeof(a.kid) - 1) / 2, a.kid);
	}
	return a;
}

kms_status approval_tally(struct store *store, const struct store_vault *vault, const struct store_approval *a, const struct store_vote *votes,
                          size_t count, int64_t now_s, struct store_approval_use *ret_use, struct event_approver *ret_approvers, struct kms_err *err)
{
	struct store_approval_use use = { .settled_s = now_s };

	memcpy(use.id, a->id, STORE_ID_LEN);
	*ret_use = use;
	for (size_t i = 0; i < count; i++)
		if (!votes[i].approves)
			return KMS_OK;
	for (size_t i = 0; i < count && use.count < STORE_APPROVERS_MAX; i++) {
		struct store_principal p = { 0 };
		bool counts = false;

		KMS_TRY(vote_counts(store, vault, a, &votes[i], now_s, &p, &counts, err));
		if (!counts || is_counted(&use, p.id))
			continue;
		if (ret_approvers != NULL)
			ret_approvers[use.count] = approver_of(&p, &votes[i]);
		memcpy(use.approvers[use.count].id, p.id, STORE_ID_LEN);
		use.approvers[use.count++].epoch = p.epoch;
	}
	*ret_use = use;
	return KMS_OK;
}

/* ---- founding ---- */

/* Is this principal the group or caller `who`, or in that group by however many others? */
static kms_status belongs_to(struct store *store, const struct store_principal *p, const uint8_t who[STORE_ID_LEN], bool *ret_belongs,
                             struct kms_err *err)
{
	struct store_principal groups[ACCESS_GROUPS_MAX];
	uint8_t seen[ACCESS_GROUPS_MAX + 1][STORE_ID_LEN];
	size_t seen_count = 1, count = 0;

	memcpy(seen[0], p->id, STORE_ID_LEN);
	*ret_belongs = false;
	for (size_t i = 0; i < seen_count; i++) {
		if (same_id(seen[i], who)) {
			*ret_belongs = true;
			return KMS_OK;
		}
		KMS_TRY(store_groups_of(store, seen[i], groups, ACCESS_GROUPS_MAX, &count, err));
		for (size_t g = 0; g < count && seen_count <= ACCESS_GROUPS_MAX; g++) {
			bool is_new = groups[g].is_enabled; /* one that is not gives nothing */
			for (size_t s = 0; s < seen_count; s++)
				is_new = is_new && !same_id(seen[s], groups[g].id);
			if (is_new)
				memcpy(seen[seen_count++], groups[g].id, STORE_ID_LEN);
		}
	}
	return KMS_OK;
}

/* A count of the people who may approve, until there are enough. */
struct head_count {
	const struct store_vault *vault; /* NULL = the installation */
	const uint8_t *more;             /* a caller or group that is about to get the right for good; NULL = nobody */
	const uint8_t *known;            /* a caller that is about to get a credential; NULL = nobody */
	const uint8_t *requester;        /* never counts; NULL = nobody asks */
	unsigned enough, count;
	int64_t now_s;
};

/* Has it a credential that a token for a vote is issued for? Those of the kind header are a machine's. */
static kms_status can_log_in(struct store *store, const struct store_principal *p, int64_t now_s, bool *ret_can, struct kms_err *err)
{
	struct store_credential all[STORE_CREDENTIALS_MAX] = { 0 };
	size_t count = 0;
	kms_status status = store_credentials(store, p->id, all, STORE_CREDENTIALS_MAX, &count, err);

	*ret_can = false;
	for (size_t i = 0; i < count; i++) {
		*ret_can |= all[i].kind != STORE_CREDENTIAL_HEADER && (all[i].expires_s == STORE_NO_TIME || now_s < all[i].expires_s);
		store_credential_clear(&all[i]);
	}
	return status;
}

/* Now, and by roles that have no end: as if all others had ended. */
static kms_status may_for_good(struct store *store, const struct head_count *h, const struct store_principal *p, bool *ret_may, struct kms_err *err)
{
	KMS_TRY(approval_may_vote(store, h->vault, p, h->now_s, ret_may, err));
	return *ret_may ? approval_may_vote(store, h->vault, p, INT64_MAX, ret_may, err) : KMS_OK;
}

/* Only who can really be there later: nobody is to be waited for who has no way in, or whose role ends. */
static kms_status count_one(struct store *store, struct head_count *h, const struct store_principal *p, struct kms_err *err)
{
	bool may = false;

	if (h->requester != NULL && same_id(h->requester, p->id))
		return KMS_OK;
	KMS_TRY(may_for_good(store, h, p, &may, err));
	if (!may && h->more != NULL && p->kind == STORE_PRINCIPAL_CALLER && p->is_enabled) {
		KMS_TRY(belongs_to(store, p, h->more, &may, err));
		if (may) /* a pool or service would found a vault that nobody could approve anything in */
			KMS_TRY(check_person(store, p, &may, err));
	}
	if (may && (h->known == NULL || !same_id(h->known, p->id)))
		KMS_TRY(can_log_in(store, p, h->now_s, &may, err));
	h->count += may;
	return KMS_OK;
}

static kms_status count_directory(struct store *store, struct head_count *h, const uint8_t directory[STORE_ID_LEN], struct kms_err *err)
{
	struct store_principal page[PAGE];
	uint8_t after[STORE_ID_LEN];
	const uint8_t *cursor = NULL;
	size_t count = 0;

	do {
		KMS_TRY(store_principals(store, directory, cursor, page, PAGE, &count, err));
		for (size_t i = 0; i < count && h->count < h->enough; i++)
			KMS_TRY(count_one(store, h, &page[i], err));
		if (count > 0)
			memcpy(after, page[count - 1].id, STORE_ID_LEN);
		cursor = after;
	} while (count == PAGE && h->count < h->enough);
	return KMS_OK;
}

/* Those of the installation too, which approval_may_vote() judges. */
static kms_status count_heads(struct store *store, struct head_count *h, struct kms_err *err)
{
	if (h->vault != NULL)
		KMS_TRY(count_directory(store, h, h->vault->id, err));
	return h->count < h->enough ? count_directory(store, h, NO_ID, err) : KMS_OK;
}

kms_status approval_has_approvers(struct op *op, const struct store_vault *vault, unsigned enough, bool *ret_has, struct kms_err *err)
{
	struct head_count h = { .vault = vault, .enough = enough, .now_s = clock_wall_s(op->kms->clock) };

	KMS_TRY(count_heads(op->store, &h, err));
	*ret_has = h.count >= enough;
	return KMS_OK;
}

static unsigned quorum_of(const struct store_vault *vault) { return vault != NULL && vault->quorum > 0 ? vault->quorum : 1; }

kms_status approval_is_founded(struct store *store, const struct store_vault *vault, bool *ret_founded, struct kms_err *err)
{
	struct store_meta meta = { 0 };
	kms_status status = KMS_OK;

	if (vault != NULL) {
		*ret_founded = vault->is_founded;
		return KMS_OK;
	}
	status = store_meta(store, META_FOUNDED, &meta, NULL);
	if (status != KMS_OK && status != KMS_E_NOTFOUND)
		return kms_fail(err, status, KMS_SRC_SELF, 0, "%s", META_FOUNDED);
	*ret_founded = status == KMS_OK;
	return KMS_OK;
}

kms_status approval_note_founding(struct op *op, const struct store_vault *vault, const uint8_t *more, const uint8_t *known, struct kms_err *err)
{
	struct head_count h = { .vault = vault, .more = more, .known = known, .enough = quorum_of(vault), .now_s = clock_wall_s(op->kms->clock) };
	struct store_change *c = NULL;
	bool is_founded = false;

	KMS_TRY(approval_is_founded(op->store, vault, &is_founded, err));
	if (is_founded)
		return KMS_OK;
	KMS_TRY(count_heads(op->store, &h, err));
	if (h.count < h.enough)
		return KMS_OK;
	if (vault != NULL) {
		bool counts_installation = false;

		KMS_TRY(approval_is_founded(op->store, NULL, &counts_installation, err));
		c = op_change(op, STORE_VAULT_SET);
		c->vault = *vault;
		c->vault.is_founded = true;
		c->vault.counts_installation = counts_installation;
		return KMS_OK;
	}
	c = op_change(op, STORE_META_PUT);
	(void)snprintf(c->meta.name, sizeof(c->meta.name), "%s", META_FOUNDED);
	c->meta.value[0] = 1;
	c->meta.value_len = 1;
	return KMS_OK;
}

/* ---- the request ---- */

kms_status approval_check_reason(const char *reason, struct kms_err *err)
{
	if (strlen(reason) <= STORE_REASON_MAX)
		return KMS_OK;
	return kms_refuse(err, KMS_E_INVALID, "reason: at most %d bytes.", STORE_REASON_MAX);
}

/* What is asked for, by whom: what an approval is bound to. */
struct request_form {
	uint8_t vault_id[STORE_ID_LEN]; /* all zero: the installation */
	uint8_t requester[STORE_ID_LEN];
	char text[STORE_REQUEST_TEXT_MAX + 1];
	uint8_t digest[STORE_HASH_LEN];
};

/* Members in the order of their names. What would have to be cut is refused: two requests must never have one text. */
static kms_status describe(const struct op *op, const struct store_vault *vault, const struct approval_need *need, struct request_form *ret,
                           struct kms_err *err)
{
	struct canon c = { .buf = ret->text, .cap = STORE_REQUEST_TEXT_MAX };
	char requester[GUID_TEXT_LEN + 1];

	KMS_TRY(approval_requester(op, ret->requester, err));
	approval_requester_text(ret->requester, requester);
	memcpy(ret->vault_id, vault != NULL ? vault->id : NO_ID, STORE_ID_LEN);
	canon_open(&c, NULL);
	canon_token(&c, "act", need->act);
	canon_member(&c, "parameters");
	canon_put(&c, need->parameters != NULL ? need->parameters : "{}");
	canon_token(&c, "requester", requester);
	canon_text(&c, "target", need->target, CANON_TEXT_MAX);
	canon_guid(&c, "vault", ret->vault_id);
	canon_close(&c);
	if (c.is_over || c.cut_count > 0)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "the request for %s is too long to be approved", need->act);
	ret->text[c.len] = '\0';
	SHA256((const uint8_t *)ret->text, c.len, ret->digest);
	return KMS_OK;
}

static kms_status find_open(struct op *op, const struct request_form *form, struct store_approval *ret, bool *ret_found, struct kms_err *err)
{
	kms_status status = store_approval_open(op->store, form->vault_id, form->requester, form->digest, ret, NULL);

	*ret_found = status == KMS_OK;
	return status == KMS_OK || status == KMS_E_NOTFOUND ? KMS_OK : kms_fail(err, status, KMS_SRC_SELF, 0, "open approval");
}

/* A list of changes that grows from both what has ended and what is new; on the heap, since a change is large. */
struct opening {
	struct store_approval *open; /* owned: OPEN_READ_MAX of them */
	size_t count;
	struct store_change *changes; /* owned: two more */
	size_t change_count;
};

static void opening_clear(struct opening *o)
{
	for (size_t i = 0; i < o->count; i++)
		store_approval_clear(&o->open[i]);
	free(o->open);
	free(o->changes);
}

/* Those that have ended make room: they are closed together with the opening of the new one. */
static kms_status make_room(struct op *op, const struct request_form *form, const struct approval_need *need, int64_t now_s, struct opening *o,
                            struct kms_err *err)
{
	bool is_purge = strcmp(need->act, ACT_KEY_PURGE) == 0;
	size_t mine = 0, purges = 0;

	o->open = calloc(OPEN_READ_MAX, sizeof(*o->open));
	o->changes = calloc(OPEN_READ_MAX + 2, sizeof(*o->changes));
	if (o->open == NULL || o->changes == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "open approvals");
	KMS_TRY(store_approvals(op->store, form->vault_id, NULL, true, o->open, OPEN_READ_MAX, &o->count, err));
	for (size_t i = 0; i < o->count; i++) {
		const struct store_approval *a = &o->open[i];
		struct store_change *c = NULL;

		if (now_s < a->expires_s) {
			mine += same_id(a->requester, form->requester);
			purges += strcmp(a->act, ACT_KEY_PURGE) == 0;
			continue;
		}
		c = &o->changes[o->change_count++];
		c->kind = STORE_APPROVAL_CLOSE;
		memcpy(c->approval.id, a->id, STORE_ID_LEN);
		c->approval.state = STORE_APPROVAL_WITHDRAWN;
		c->approval.settled_s = now_s;
	}
	if (o->count - o->change_count >= APPROVAL_OPEN_MAX || mine >= OPEN_MAX_EACH)
		return kms_refuse(err, KMS_E_THROTTLED, "%zu approval requests are open, %zu of them yours; withdraw some, or wait until they are settled.",
		                  o->count - o->change_count, mine);
	if (is_purge && purges >= OPEN_MAX_PURGE)
		return kms_refuse(err, KMS_E_THROTTLED, "%zu approval requests for purges are open; withdraw some, or wait until they are settled.", purges);
	return KMS_OK;
}

static void add_request(const struct request_form *form, const struct approval_need *need, unsigned quorum, int64_t now_s, const uint8_t id[STORE_ID_LEN],
                        struct store_change *c)
{
	struct store_approval *a = &c->approval;

	c->kind = STORE_APPROVAL_ADD;
	memcpy(a->id, id, STORE_ID_LEN);
	memcpy(a->vault_id, form->vault_id, STORE_ID_LEN);
	memcpy(a->requester, form->requester, STORE_ID_LEN);
	memcpy(a->digest, form->digest, STORE_HASH_LEN);
	(void)snprintf(a->act, sizeof(a->act), "%s", need->act);
	(void)snprintf(a->reason, sizeof(a->reason), "%s", need->reason != NULL ? need->reason : "");
	a->quorum = (uint8_t)quorum;
	a->state = STORE_APPROVAL_OPEN;
	a->created_s = now_s;
	a->expires_s = now_s + APPROVAL_LIFE_S;
	a->settled_s = STORE_NO_TIME;
}

/* The request is an event of its own, whatever becomes of the act that asked for it. */
static kms_status write_opening(struct op *op, const struct request_form *form, const struct approval_need *need, const uint8_t id[STORE_ID_LEN],
                                struct opening *o, struct kms_err *err)
{
	enum { DET_ACT, DET_ID, DET_DIGEST, DET_REASON, DET_STEP, DET_TARGET, DET_COUNT };
	struct event_det det[DET_COUNT] = { [DET_ACT] = { .name = "act" },       [DET_ID] = { .name = "approval" }, [DET_DIGEST] = { .name = "digest" },
		                            [DET_REASON] = { .name = "reason" }, [DET_STEP] = { .name = "step", .text = "request" },
		                            [DET_TARGET] = { .name = "target" } };
	struct write unit = { .event = op->write.event, .has_fence = op->write.has_fence, .fence = op->write.fence };
	kms_status status = KMS_OK;

	(void)snprintf(det[DET_ACT].text, sizeof(det[DET_ACT].text), "%s", need->act);
	guid_format(id, det[DET_ID].text);
	hex_encode(form->digest, STORE_HASH_LEN, det[DET_DIGEST].text);
	(void)snprintf(det[DET_REASON].text, sizeof(det[DET_REASON].text), "%s", need->reason != NULL ? need->reason : "");
	(void)snprintf(det[DET_TARGET].text, sizeof(det[DET_TARGET].text), "%s", need->target);
	unit.event.type = EVENT_APPROVAL;
	unit.event.phase = EVENT_SINGLE;
	unit.event.result = EVENT_OK;
	unit.event.http = 0;
	unit.event.err = NULL;
	unit.event.det = det;
	unit.event.det_count = DET_COUNT;
	person_put(op, &unit.event, o->changes, &o->change_count);
	unit.changes = o->changes;
	unit.change_count = o->change_count;
	status = writer_write(op->kms->writer, &unit);
	if (status == KMS_OK)
		person_entered(op);
	/* Somebody was faster with the same request: decide anew, and find that one. */
	return status == KMS_OK ? KMS_OK : kms_fail(err, status == KMS_E_CONFLICT ? KMS_E_FENCED : status, KMS_SRC_SELF, 0, "approval request");
}

static kms_status open_request(struct op *op, struct request_form *form, const struct approval_need *need, unsigned quorum,
                               uint8_t ret_id[STORE_ID_LEN], struct kms_err *err)
{
	__attribute__((cleanup(opening_clear))) struct opening o = { 0 };
	int64_t now_s = clock_wall_s(op->kms->clock);
	struct store_change *c = NULL;

	KMS_TRY(make_room(op, form, need, now_s, &o, err));
	if (!guid_random(ret_id))
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_OPENSSL, 0, "random generator");
	c = &o.changes[o.change_count++];
	add_request(form, need, quorum, now_s, ret_id, c);
	c->approval.request = form->text;
	return write_opening(op, form, need, ret_id, &o, err);
}

static const char *people(unsigned count) { return count == 1 ? "person" : "people"; }
/* As the command line names it. */
static const char *place(const struct store_vault *vault) { return vault != NULL ? vault->name : "@installation"; }

/* Nobody is asked for what nobody could give. */
static kms_status check_founded(struct op *op, const struct store_vault *vault, const struct request_form *form, unsigned needed, struct kms_err *err)
{
	struct head_count h = { .vault = vault, .requester = form->requester, .enough = needed, .now_s = clock_wall_s(op->kms->clock) };
	bool is_founded = false;

	KMS_TRY(approval_is_founded(op->store, vault, &is_founded, err));
	if (is_founded)
		return KMS_OK;
	KMS_TRY(count_heads(op->store, &h, err));
	if (h.count >= needed)
		return KMS_OK;
	return kms_refuse(err, KMS_E_APPROVAL,
	                  "This act needs the approval of %u other %s, and only %u may approve here. Grant the role approver or administrator to others "
	                  "first, from the server's own host (holdfast role grant %s ID approver).", needed, people(needed), h.count, place(vault));
}

static kms_status not_yet(struct op *op, const struct store_vault *vault, const uint8_t id[STORE_ID_LEN], size_t counted, unsigned needed,
                          struct kms_err *err)
{
	char text[GUID_TEXT_LEN + 1];

	guid_format(id, text);
	op_det_text(op, "approval", text);
	memcpy(op->approval_id, id, STORE_ID_LEN);
	op->approval_is_installations = vault == NULL;
	return kms_refuse(err, KMS_E_APPROVAL,
	                  "This act needs the approval of %u other %s and has %zu: request %s. Ask an approver for 'holdfast approval approve %s %s', "
	                  "then repeat this request.", needed, people(needed), counted, text, place(vault), text);
}

/* Whoever approved first is shown first. */
static int by_time(const void *a, const void *b)
{
	const struct event_approver *x = a, *y = b;

	if (x->at_us != y->at_us)
		return x->at_us < y->at_us ? -1 : 1;
	return memcmp(x->pid, y->pid, sizeof(x->pid)); /* allowed: pseudonyms are public */
}

static kms_status use_up(struct op *op, const struct store_approval_use *use, struct kms_err *err)
{
	struct store_change *c = op_with_intent(op);

	if (c == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "use of an approval");
	c->kind = STORE_APPROVAL_USE;
	c->approval_use = *use;
	op_det_guid(op, "approval", use->id);
	op_det_number(op, "approvers", (int64_t)use->count);
	qsort(op->approvers, use->count, sizeof(*op->approvers), by_time);
	op->write.event.approvers = op->approvers;
	op->write.event.approver_count = use->count;
	return KMS_OK;
}

/* What groups and custom roles of the vault give to an approver is fenced by the vault's epoch; what it holds itself, by its own. */
static bool fence_holds_vault(const struct op *op, const struct store_vault *vault)
{
	return vault == NULL || (op->write.has_fence && same_id(op->write.fence.vault_id, vault->id));
}

static unsigned larger(unsigned a, unsigned b) { return a > b ? a : b; }

kms_status approval_require(struct op *op, const struct approval_need *need, struct kms_err *err)
{
	const struct store_vault *vault = op->has_vault && !need->is_installations ? &op->vault : NULL;
	int64_t now_s = clock_wall_s(op->kms->clock);
	STORE_APPROVAL_AUTO a = { 0 };
	struct store_vote votes[STORE_APPROVERS_MAX];
	struct store_approval_use use = { 0 };
	struct request_form form = { 0 };
	uint8_t id[STORE_ID_LEN] = { 0 };
	unsigned needed = larger(need->quorum, 1);
	size_t count = 0;
	bool found = false;

	if (!fence_holds_vault(op, vault) || needed > STORE_APPROVERS_MAX)
		return kms_fail(err, KMS_E_INTERNAL, KMS_SRC_SELF, 0, "%s: no fence, or a quorum of %u", need->act, needed);
	KMS_TRY(approval_check_reason(need->reason != NULL ? need->reason : "", err));
	KMS_TRY(describe(op, vault, need, &form, err));
	KMS_TRY(find_open(op, &form, &a, &found, err));
	if (!found || now_s >= a.expires_s) {
		KMS_TRY(check_founded(op, vault, &form, needed, err));
		KMS_TRY(open_request(op, &form, need, needed, id, err));
		return not_yet(op, vault, id, 0, needed, err);
	}
	needed = larger(needed, a.quorum);
	KMS_TRY(store_votes(op->store, a.id, votes, STORE_APPROVERS_MAX, &count, err));
	free(op->approvers);
	op->approvers = calloc(STORE_APPROVERS_MAX, sizeof(*op->approvers));
	if (op->approvers == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "approvers");
	KMS_TRY(approval_tally(op->store, vault, &a, votes, count, now_s, &use, op->approvers, err));
	if (use.count < needed)
		return not_yet(op, vault, a.id, use.count, needed, err);
	return use_up(op, &use, err);
}
