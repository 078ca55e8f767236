/* server/feed/alert_window.c - counts of a bounded number of subjects, each over its last window and against its own average. */
#include <stdlib.h>
#include <string.h>

#include "server/feed/alert_parts.h"

#define NONE UINT32_MAX
#define BUCKETS 16384

struct window_table {
	struct window *windows;
	uint32_t buckets[BUCKETS];
	size_t cap, count;
	uint32_t newest, oldest;
};

struct window_table *window_table_new(size_t cap)
{
	struct window_table *t = malloc(sizeof(*t));

	if (t == NULL)
		return NULL;
	*t = (struct window_table){ .windows = calloc(cap, sizeof(struct window)), .cap = cap, .newest = NONE, .oldest = NONE };
	memset(t->buckets, 0xff, sizeof(t->buckets));
	if (t->windows == NULL) {
		free(t);
		return NULL;
	}
	return t;
}

void window_table_free(struct window_table *t)
{
	if (t != NULL)
		free(t->windows);
	free(t);
}

/* Keys are hashes: any of their bytes are as good. */
static uint32_t *bucket_of(struct window_table *t, const uint8_t key[WINDOW_KEY_LEN])
{
	uint32_t number;

	memcpy(&number, key, sizeof(number));
	return &t->buckets[number % BUCKETS];
}

static void unlink_order(struct window_table *t, struct window *w)
{
	if (w->newer != NONE)
		t->windows[w->newer].older = w->older;
	else
		t->newest = w->older;
	if (w->older != NONE)
		t->windows[w->older].newer = w->newer;
	else
		t->oldest = w->newer;
}

static void link_newest(struct window_table *t, uint32_t at)
{
	struct window *w = &t->windows[at];

	w->newer = NONE;
	w->older = t->newest;
	if (t->newest != NONE)
		t->windows[t->newest].newer = at;
	else
		t->oldest = at;
	t->newest = at;
}

static void unlink_bucket(struct window_table *t, uint32_t at)
{
	uint32_t *from = bucket_of(t, t->windows[at].key);

	while (*from != at)
		from = &t->windows[*from].next;
	*from = t->windows[at].next;
}

static uint32_t take_slot(struct window_table *t)
{
	uint32_t at = t->oldest;

	if (t->count < t->cap)
		return (uint32_t)t->count++;
	unlink_order(t, &t->windows[at]);
	unlink_bucket(t, at);
	return at;
}

struct window *window_get(struct window_table *t, const uint8_t key[WINDOW_KEY_LEN])
{
	uint32_t *bucket = bucket_of(t, key), at = *bucket;

	while (at != NONE && memcmp(t->windows[at].key, key, WINDOW_KEY_LEN) != 0) /* allowed: hashes of what the log shows */
		at = t->windows[at].next;
	if (at != NONE) {
		unlink_order(t, &t->windows[at]);
	} else {
		at = take_slot(t);
		t->windows[at] = (struct window){ .slice = INT64_MIN, .whole = INT64_MIN, .raised_us = STORE_NO_TIME, .next = *bucket };
		memcpy(t->windows[at].key, key, WINDOW_KEY_LEN);
		*bucket = at;
	}
	link_newest(t, at);
	return &t->windows[at];
}

static void slide(struct window *w, int64_t slice)
{
	if (w->slice == INT64_MIN || slice - w->slice >= WINDOW_SLICES)
		memset(w->counts, 0, sizeof(w->counts));
	else
		for (int64_t n = w->slice + 1; n <= slice; n++)
			w->counts[n % WINDOW_SLICES] = 0;
	w->slice = slice;
}

static void put_average(struct window *w, uint64_t count)
{
	if (w->averaged < WINDOW_AVERAGES)
		w->averaged++;
	w->average += ((double)count - w->average) / w->averaged;
}

/* Windows that are over; those in which nothing happened count too. */
static void close_windows(struct window *w, int64_t whole)
{
	int64_t empty = w->whole == INT64_MIN ? 0 : whole - w->whole - 1;

	if (w->whole != INT64_MIN)
		put_average(w, w->whole_count);
	for (int64_t n = 0; n < empty && n < WINDOW_AVERAGES; n++)
		put_average(w, 0);
	w->whole = whole;
	w->whole_count = 0;
}

void window_count(struct window *w, int64_t ts_us, unsigned window_s, uint64_t count, bool has_average)
{
	int64_t window_us = (int64_t)window_s * ALERT_US_PER_S, slice = ts_us / (window_us / WINDOW_SLICES), whole = ts_us / window_us;

	if (slice > w->slice)
		slide(w, slice);
	w->counts[w->slice % WINDOW_SLICES] += count;
	if (!has_average)
		return;
	if (whole > w->whole)
		close_windows(w, whole);
	w->whole_count += count;
}

uint64_t window_sum(const struct window *w)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < WINDOW_SLICES; i++)
		sum += w->counts[i];
	return sum;
}
