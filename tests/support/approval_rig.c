/* tests/support/approval_rig.c */
#include "tests/support/approval_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition, why)                                                                                         \
	do {                                                                                                         \
		if (!(condition)) {                                                                                  \
			(void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, (why));             \
			abort();                                                                                     \
		}                                                                                                    \
	} while (0)

const struct approval_need RIG_NEED = { .act = "test.act", .target = "thing", .parameters = "{\"size\":1}", .reason = "spring cleaning", .quorum = 1 };

struct op *rig_op_of(struct t_domain *d, const struct t_person *who, const char *vault)
{
	struct op *op = who != NULL ? t_op_as(d, who, vault, EVENT_TENANT_UPDATE, 3600) : t_op(d, vault, EVENT_TENANT_UPDATE);

	MUST(op != NULL, "not let in");
	return op;
}

kms_status rig_intend(struct op *op)
{
	struct store_intent intent = { 0 };
	struct kms_err err = { 0 };

	return op_intend(op, NULL, &intent, &err);
}

kms_status rig_act(struct t_domain *d, const struct t_person *who, const char *vault, const struct approval_need *need, struct kms_err *ret_err)
{
	struct op *op = rig_op_of(d, who, vault);
	kms_status status;

	memset(ret_err, 0, sizeof(*ret_err));
	status = approval_require(op, need, ret_err);
	if (status == KMS_OK)
		status = rig_intend(op);
	MUST(t_op_finish(op, status) == KMS_OK, kms_status_name(status));
	t_op_free(op);
	return status;
}

void rig_refused(struct t_domain *d, const struct t_person *who, const char *vault, const struct approval_need *need)
{
	struct kms_err err;
	kms_status status = rig_act(d, who, vault, need, &err);

	MUST(status == KMS_E_APPROVAL, kms_err_text(&err));
}

void rig_done(struct t_domain *d, const struct t_person *who, const char *vault, const struct approval_need *need)
{
	struct kms_err err;
	kms_status status = rig_act(d, who, vault, need, &err);

	MUST(status == KMS_OK, kms_err_text(&err));
}

void rig_ask(struct t_domain *d, const char *vault, const struct approval_need *need, uint8_t ret_id[STORE_ID_LEN])
{
	rig_refused(d, NULL, vault, need);
	MUST(t_open_request(d, vault, ret_id), "not the only one");
}

void rig_vote(struct t_domain *d, const struct t_person *p, const char *vault, const uint8_t id[STORE_ID_LEN])
{
	struct kms_err err;
	kms_status status = t_vote(d, p, vault, id, true, &err);

	MUST(status == KMS_OK, kms_err_text(&err));
}

void rig_force_vote(struct t_domain *d, const struct t_person *p, const uint8_t id[STORE_ID_LEN])
{
	struct store_change c = { .kind = STORE_APPROVAL_VOTE };

	memcpy(c.vote.approval_id, id, STORE_ID_LEN);
	memcpy(c.vote.approver_id, p->id, STORE_ID_LEN);
	c.vote.approves = true;
	c.vote.created_s = clock_wall_s(d->kms.clock);
	t_change(d, &c, 1);
}

void rig_founded(struct t_domain *d, const char *vault)
{
	t_vault(d, vault, false);
	(void)t_person(d, vault, "founder", ROLE_APPROVER);
}

void rig_view(struct t_domain *d, const char *vault, const uint8_t id[STORE_ID_LEN], struct approval_view *ret)
{
	struct op *op = rig_op_of(d, NULL, vault);
	struct kms_err err = { 0 };

	MUST(approval_get(op, id, ret, &err) == KMS_OK, kms_err_text(&err));
	t_op_free(op);
}

unsigned rig_counted(struct t_domain *d, const char *vault, const uint8_t id[STORE_ID_LEN])
{
	struct approval_view v = { 0 };
	unsigned count;

	rig_view(d, vault, id, &v);
	count = v.counted;
	approval_view_clear(&v);
	return count;
}

enum store_approval_state rig_state_of(struct t_domain *d, const uint8_t id[STORE_ID_LEN])
{
	STORE_APPROVAL_AUTO a = { 0 };

	MUST(store_approval(d->store->r, id, &a, NULL) == KMS_OK, "no such request");
	return a.state;
}
