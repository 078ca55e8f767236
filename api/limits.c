/*
 * api/limits.c - see limits.h. A bucket is kept as the time when it will be full again (the generic cell rate algorithm): one number, nothing to
 * refill, and a bucket whose time has passed is one that was never used.
 */
#include "api/limits.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS 256 /* by the first byte of an id */
#define PLACES 16  /* buckets of one shard */
#define NS_PER_US 1000
#define NS_PER_S INT64_C(1000000000)

/* In how many seconds an empty bucket is full again. */
static const int WINDOW_S[LIMIT_CLASSES] = { [LIMIT_REQUESTS] = LIMITS_WINDOW_S, [LIMIT_CREATES] = LIMITS_WINDOW_S, [LIMIT_PROOFS] = 1 };

struct bucket {
	uint8_t id[LIMITS_ID_LEN];
	int64_t full_ns[LIMIT_CLASSES]; /* not after now: full */
};

struct shard {
	pthread_mutex_t lock; /* guards the buckets; held for a look through them */
	struct bucket buckets[PLACES];
};

struct table {
	const char *whose; /* for messages */
	unsigned allowance[LIMIT_CLASSES];
	int64_t step_ns[LIMIT_CLASSES]; /* one is refilled in this time */
	struct shard shards[SHARDS];
};

struct limits {
	const struct clock *clock;
	struct table vaults, principals;
};

static void table_init(struct table *t, const char *whose, const unsigned configured[LIMIT_CONFIGURED])
{
	t->whose = whose;
	for (int c = 0; c < LIMIT_CLASSES; c++) {
		t->allowance[c] = c == LIMIT_PROOFS ? LIMITS_PROOFS : configured[c];
		assert(t->allowance[c] >= 1 && t->allowance[c] <= LIMITS_MAX);
		t->step_ns[c] = WINDOW_S[c] * NS_PER_S / t->allowance[c];
	}
	for (int s = 0; s < SHARDS; s++)
		(void)pthread_mutex_init(&t->shards[s].lock, NULL);
}

static void table_destroy(struct table *t)
{
	for (int s = 0; s < SHARDS; s++)
		(void)pthread_mutex_destroy(&t->shards[s].lock);
}

kms_status limits_new(const struct limits_config *cfg, const struct clock *clock, struct limits **ret_limits, struct kms_err *err)
{
	struct limits *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return kms_fail(err, KMS_E_NOMEM, KMS_SRC_ERRNO, 0, "limits");
	l->clock = clock;
	table_init(&l->vaults, "vault", cfg->vault);
	table_init(&l->principals, "caller", cfg->principal);
	*ret_limits = l;
	return KMS_OK;
}

void limits_free(struct limits *l)
{
	if (l == NULL)
		return;
	table_destroy(&l->vaults);
	table_destroy(&l->principals);
	free(l);
}

static struct bucket *find_locked(struct shard *s, const uint8_t id[LIMITS_ID_LEN])
{
	for (int i = 0; i < PLACES; i++)
		if (memcmp(s->buckets[i].id, id, LIMITS_ID_LEN) == 0) /* allowed: ids are public */
			return &s->buckets[i];
	return NULL;
}

static int64_t full_at(const struct bucket *b)
{
	int64_t last = b->full_ns[0];

	for (int c = 1; c < LIMIT_CLASSES; c++)
		if (b->full_ns[c] > last)
			last = b->full_ns[c];
	return last;
}

/* In the place of the one that is full first: an empty place was always full. */
static struct bucket *make_locked(struct shard *s, const uint8_t id[LIMITS_ID_LEN])
{
	struct bucket *least = &s->buckets[0];

	for (int i = 1; i < PLACES; i++)
		if (full_at(&s->buckets[i]) < full_at(least))
			least = &s->buckets[i];
	for (int c = 0; c < LIMIT_CLASSES; c++)
		least->full_ns[c] = INT64_MIN;
	memcpy(least->id, id, LIMITS_ID_LEN);
	return least;
}

/* @return how long until there is one to be taken; 0: it was taken */
static int64_t take(struct table *t, const uint8_t id[LIMITS_ID_LEN], enum limit_class class, int64_t now_ns)
{
	struct shard *s = &t->shards[id[0]];
	struct bucket *b = NULL;
	int64_t full_ns = 0, wait_ns = 0;

	(void)pthread_mutex_lock(&s->lock);
	b = find_locked(s, id);
	if (b == NULL)
		b = make_locked(s, id);
	full_ns = (b->full_ns[class] > now_ns ? b->full_ns[class] : now_ns) + t->step_ns[class];
	wait_ns = full_ns - now_ns - WINDOW_S[class] * NS_PER_S;
	if (wait_ns <= 0)
		b->full_ns[class] = full_ns;
	(void)pthread_mutex_unlock(&s->lock);
	return wait_ns > 0 ? wait_ns : 0;
}

/* One whose place was taken meanwhile is full anyway. */
static void give_back(struct table *t, const uint8_t id[LIMITS_ID_LEN], enum limit_class class)
{
	struct shard *s = &t->shards[id[0]];
	struct bucket *b = NULL;

	(void)pthread_mutex_lock(&s->lock);
	b = find_locked(s, id);
	if (b != NULL && b->full_ns[class] > INT64_MIN + t->step_ns[class])
		b->full_ns[class] -= t->step_ns[class];
	(void)pthread_mutex_unlock(&s->lock);
}

static kms_status refuse(const struct table *t, enum limit_class class, int64_t wait_ns, unsigned *ret_retry_s, struct kms_err *err)
{
	static const char *const WHAT[LIMIT_CLASSES] = { [LIMIT_REQUESTS] = "requests",
		                                         [LIMIT_CREATES] = "new key versions (create, import, rotate, restore)",
		                                         [LIMIT_PROOFS] = "proofs and tiles of the event log" };
	int window_s = WINDOW_S[class];

	*ret_retry_s = (unsigned)((wait_ns + NS_PER_S - 1) / NS_PER_S);
	return kms_refuse(err, KMS_E_THROTTLED, "The limit of this %s is reached: %u %s in %d second%s. Retry after %u s.", t->whose,
	                  t->allowance[class], WHAT[class], window_s, window_s == 1 ? "" : "s", *ret_retry_s);
}

kms_status limits_take(struct limits *l, const struct limits_claim *claim, unsigned *ret_retry_s, struct kms_err *err)
{
	int64_t now_ns = clock_mono_us(l->clock) * NS_PER_US;
	int64_t wait_ns = take(&l->principals, claim->principal, claim->class, now_ns);

	if (wait_ns > 0)
		return refuse(&l->principals, claim->class, wait_ns, ret_retry_s, err);
	if (!claim->has_vault)
		return KMS_OK;
	wait_ns = take(&l->vaults, claim->vault, claim->class, now_ns);
	if (wait_ns == 0)
		return KMS_OK;
	give_back(&l->principals, claim->principal, claim->class);
	return refuse(&l->vaults, claim->class, wait_ns, ret_retry_s, err);
}

void limits_give_back(struct limits *l, const struct limits_claim *claim)
{
	if (claim->has_vault)
		give_back(&l->vaults, claim->vault, claim->class);
}
