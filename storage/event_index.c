/* storage/event_index.c - the port's checks, once for all backends. */
#include "storage/event_index.h"

#include <assert.h>

void event_index_close(struct event_index *x)
{
	if (x != NULL)
		x->ops->close(x);
}

kms_status event_index_state(struct event_index *x, struct event_index_state *ret, struct kms_err *err) { return x->ops->state(x, ret, err); }

kms_status event_index_put(struct event_index *x, uint64_t segment, const struct event_times *times, size_t blocks, const struct event_posting *postings,
                           size_t count, const struct event_index_state *state, struct kms_err *err)
{
	assert(segment <= INT64_MAX && blocks > 0 && blocks <= EVENT_INDEX_BLOCKS_MAX && state->segment_leaves == blocks * EVENT_INDEX_BLOCK);
	return x->ops->put(x, segment, times, blocks, postings, count, state, err);
}

kms_status event_index_times(struct event_index *x, uint64_t segment, struct event_times *ret, size_t blocks, struct kms_err *err)
{
	assert(segment <= INT64_MAX && blocks <= EVENT_INDEX_BLOCKS_MAX);
	return x->ops->times(x, segment, ret, blocks, err);
}

kms_status event_index_places(struct event_index *x, uint64_t segment, const struct event_term *term, uint16_t *ret, size_t *ret_count, struct kms_err *err)
{
	assert(segment <= INT64_MAX);
	return x->ops->places(x, segment, term, ret, ret_count, err);
}

int event_posting_order(const void *a, const void *b)
{
	const struct event_posting *x = a, *y = b;

	if (x->term.kind != y->term.kind)
		return x->term.kind < y->term.kind ? -1 : 1;
	if (x->term.hash != y->term.hash)
		return x->term.hash < y->term.hash ? -1 : 1;
	return x->place == y->place ? 0 : x->place < y->place ? -1 : 1;
}
