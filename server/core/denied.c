/* server/core/denied.c - see denied.h. */
#include "server/core/denied.h"

#include <string.h>

#define SUBJECTS_A_MINUTE 32
#define US_PER_MINUTE INT64_C(60000000)

static bool is_same(const struct denied *a, const struct denied *b)
{
	return strcmp(a->reason, b->reason) == 0 && a->has_vault == b->has_vault && memcmp(a->vault_id, b->vault_id, sizeof(a->vault_id)) == 0 &&
	       strcmp(a->peer, b->peer) == 0 && a->why == b->why && strcmp(a->subject, b->subject) == 0;
}

static struct denied *find(struct denied_table *t, const struct denied *wanted)
{
	for (size_t i = 0; i < t->count; i++) {
		if (is_same(&t->rows[i], wanted))
			return &t->rows[i];
	}
	return NULL;
}

static struct denied *add(struct denied_table *t, const struct denied *wanted, size_t limit)
{
	if (t->count >= limit)
		return NULL;
	t->rows[t->count] = *wanted;
	return &t->rows[t->count++];
}

/* May one more subject be shown? */
static bool take_subject(struct denied_table *t, int64_t now_us)
{
	if (now_us >= t->subjects_until_us) {
		t->subjects_until_us = now_us + US_PER_MINUTE;
		t->subjects_left = SUBJECTS_A_MINUTE;
	}
	if (t->subjects_left == 0)
		return false;
	t->subjects_left--;
	return true;
}

bool denied_add(struct denied_table *t, struct denied *wanted, int64_t now_us)
{
	const struct denied rest = { .reason = wanted->reason };
	struct denied *found = find(t, wanted);

	if (found == NULL && wanted->subject[0] != '\0' && !take_subject(t, now_us)) {
		wanted->subject[0] = '\0';
		found = find(t, wanted);
	}
	if (found == NULL)
		found = add(t, wanted, DENIED_MAX);
	if (found == NULL)
		found = find(t, &rest);
	if (found == NULL)
		found = add(t, &rest, DENIED_MAX + DENIED_SPARE);
	if (found != NULL)
		found->count++;
	return found != NULL;
}

void denied_subtract(struct denied_table *t, const struct denied *written, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->count; i++) {
		struct denied d = t->rows[i];
		if (i < count)
			d.count -= written[i].count;
		if (d.count > 0)
			t->rows[kept++] = d;
	}
	t->count = kept;
}
