/* server/feed/alert_rules.c - which leaves a rule counts, whom it counts them for, and when that is too many. */
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "server/feed/alert_parts.h"
#include "server/feed/format.h"

static const struct {
	enum alert_kind kind;
	const char *name;
} KINDS[] = {
#define X(kind, name) { kind, name },
	ALERT_KIND_MAP(X)
#undef X
};

enum alert_kind alert_kind_parse(const char *name)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(KINDS); i++)
		if (strcmp(KINDS[i].name, name) == 0)
			return KINDS[i].kind;
	return ALERT_NO_KIND;
}

const char *alert_kind_name(enum alert_kind kind)
{
	for (size_t i = 0; i < KMS_ARRAY_LEN(KINDS); i++)
		if (KINDS[i].kind == kind)
			return KINDS[i].name;
	return "";
}

static void put(struct alert_subject *s, const char *text) { (void)snprintf(s->text, sizeof(s->text), "%s", text); }

/* Who called: as the log names them; strangers by their address. */
static bool put_caller(struct alert_subject *s, const struct leaf *l)
{
	char pid[FORMAT_PID_MAX];

	format_pid(l, pid);
	put(s, pid[0] != '\0' ? pid : l->peer);
	return s->text[0] != '\0';
}

static bool put_address(struct alert_subject *s, const struct leaf *l)
{
	char pid[FORMAT_PID_MAX];

	format_pid(l, pid);
	(void)snprintf(s->text, sizeof(s->text), "%s %s", pid, l->peer);
	return l->has_pid && l->peer[0] != '\0';
}

static bool put_key(struct alert_subject *s, const struct leaf *l)
{
	(void)snprintf(s->text, sizeof(s->text), "%s%s%s", l->key_name, l->key_version[0] != '\0' ? "/" : "", l->key_version);
	return true;
}

static bool put_if(bool holds, struct alert_subject *s, const char *text)
{
	put(s, text != NULL ? text : "");
	return holds;
}

static bool is_denial(const struct leaf *l) { return l->type == EVENT_DENIED || l->result == EVENT_REFUSED; }

static bool put_denied(const struct alert_rule *r, struct alert_subject *s, const struct leaf *l)
{
	if (!is_denial(l))
		return false;
	if (r->is_total || !put_caller(s, l))
		put(s, r->is_total ? "all callers" : "unknown callers");
	return true;
}

bool alert_matches(const struct alert_rule *r, const struct leaf *l, const char *node, struct alert_subject *ret)
{
	*ret = (struct alert_subject){ .has_vault = l->has_tenant && !r->is_total };
	memcpy(ret->vault, l->tenant, sizeof(ret->vault));
	if (l->is_pruned || l->type == EVENT_NONE || l->type == EVENT_ALERT || l->phase == EVENT_INTENT)
		return false;
	switch (r->kind) {
	case ALERT_NO_KIND:
	case ALERT_LOG_LATE: return false; /* no leaf tells of it */
	case ALERT_VOLUME: return l->has_pid && put_caller(ret, l);
	case ALERT_NEW_ADDRESS: return put_address(ret, l);
	case ALERT_DENIALS: return put_denied(r, ret, l);
	case ALERT_EXPIRY: return (l->type == EVENT_KEY_NEAR_EXPIRY || l->type == EVENT_KEY_EXPIRE) && put_key(ret, l);
	case ALERT_ROTATION_FAILED: return l->type == EVENT_KEY_ROTATE && l->result == EVENT_FAILED && put_key(ret, l);
	case ALERT_HSM_LOST: return put_if(l->type == EVENT_NODE_HSM_LOST, ret, node);
	case ALERT_INTEGRITY: return put_if(l->type == EVENT_LOG_INTEGRITY_FAILED || l->type == EVENT_TENANT_RESURRECTED, ret, l->type_name);
	case ALERT_EXPORT_FAILED: return put_if(l->type == EVENT_LOG_EXPORT_FAILED && l->result == EVENT_FAILED, ret, leaf_det_text(l, "export"));
	}
	return false;
}

void alert_key(const struct alert_rule *r, const struct alert_subject *s, uint8_t ret_key[WINDOW_KEY_LEN])
{
	/* Fixed lengths, so that no two of them can be read as one another. */
	struct {
		char rule[ALERT_NAME_MAX + 1];
		char subject[ALERT_SUBJECT_MAX];
		uint8_t vault[STORE_ID_LEN];
	} whole;

	memset(&whole, 0, sizeof(whole));
	(void)snprintf(whole.rule, sizeof(whole.rule), "%s", r->name);
	(void)snprintf(whole.subject, sizeof(whole.subject), "%s", s->text);
	if (s->has_vault)
		memcpy(whole.vault, s->vault, sizeof(whole.vault));
	(void)SHA256((const unsigned char *)&whole, sizeof(whole), ret_key);
}

static bool is_above_average(const struct alert_rule *r, const struct window *w)
{
	return r->factor > 0 && w->averaged >= WINDOW_AVERAGES_MIN && w->whole_count >= r->at_least &&
	       (double)w->whole_count >= (double)r->factor * w->average;
}

bool alert_is_due(const struct alert_rule *r, const struct window *w, int64_t ts_us, uint64_t *ret_count)
{
	uint64_t sum = window_sum(w);

	if (w->raised_us != STORE_NO_TIME && (r->kind == ALERT_NEW_ADDRESS || ts_us - w->raised_us < (int64_t)r->window_s * ALERT_US_PER_S))
		return false;
	*ret_count = sum;
	if (r->limit > 0 && sum >= r->limit)
		return true;
	*ret_count = w->whole_count;
	return is_above_average(r, w);
}

int64_t alert_memory_s(const struct alert_rule *r) { return (int64_t)r->window_s * (r->factor > 0 ? WINDOW_AVERAGES + 1 : 1); }
