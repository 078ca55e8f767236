/* tests/support/hsm_fault.c - see hsm_fault.h. */
#include "tests/support/hsm_fault.h"

#include "tests/support/sanitized.h"

void t_cool(struct t_rig *rig, const struct t_keys *resident)
{
	for (size_t i = 0; i < resident->count; i++)
		T_OK(rig, hsm_key_evict(rig->hsm, resident->keys[i]->id, 1000, &rig->err));
	p11_pool_free(rig->p->pool);
	T_OK(rig, p11_pool_new(&rig->p->token, rig->p->cfg.sessions, rig->p->cfg.wait_ms, &rig->p->pool, &rig->err));
}

static kms_status run(const struct t_verb *v)
{
	kms_status status = v->run();

	if (status == KMS_OK && v->after != NULL)
		v->after();
	return status;
}

void t_fail_each_call(struct t_rig *rig, const struct t_keys *resident, const struct t_verb *v, CK_RV rv, bool is_cold)
{
	const size_t secrets = secret_live();
	size_t on_token, in_sessions;
	long nth = t_fault_first();

	for (;; nth += T_FAULT_STEP) {
		kms_status status;
		bool happened;

		t_cool(rig, resident);
		on_token = t_objects(rig, true);
		in_sessions = t_objects(rig, false);
		assert_int_equal(in_sessions, 0);
		if (!is_cold) {
			if (v->prepare != NULL)
				v->prepare();
			T_OK(rig, run(v));
		}
		if (v->prepare != NULL)
			v->prepare();
		rig->err = (struct kms_err){ 0 };
		t_fail_call(nth, rv);
		status = v->run();
		happened = t_fail_happened();
		t_fail_call(-1, CKR_OK);
		if (status == KMS_OK && v->after != NULL)
			v->after();
		else if (status != KMS_OK)
			assert_int_equal(rig->err.status, status);
		assert_int_equal(secret_live(), secrets);
		if (!happened) {
			if (status != KMS_OK)
				fail_msg("%s: %s without a failure: %s", v->name, kms_status_name(status), rig->err.detail);
			break;
		}
		/* The next try works, whatever failed and however; a lost device is looked for first. */
		atomic_store(&rig->p->token.gate.is_suspect, true);
		T_OK(rig, hsm_check(rig->hsm, &rig->err));
		if (v->prepare != NULL && !v->is_done_once)
			v->prepare();
		T_OK(rig, run(v));
		/* Nothing stays but what is loaded on purpose. */
		t_cool(rig, resident);
		if (t_objects(rig, true) != on_token || t_objects(rig, false) != 0)
			fail_msg("%s: call %ld failing with %s left objects: %zu in the token instead of %zu, %zu in sessions", v->name, nth,
			         p11_rv_name(rv), t_objects(rig, true), on_token, t_objects(rig, false));
		assert_int_equal(secret_live(), secrets);
	}
	if (is_cold && nth < v->least_calls)
		fail_msg("%s: only %ld calls were made to fail", v->name, nth);
}
