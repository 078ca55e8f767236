/* server/verify/table.c - open addressing, at most three quarters full. */
#include "server/verify/table.h"

#include <openssl/rand.h>
#include <stdlib.h>

#define CAP_FIRST 64

bool seed_draw(struct seed *ret)
{
	unsigned char bytes[sizeof(*ret)];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	memcpy(ret, bytes, sizeof(*ret));
	return true;
}

/* ---- SipHash-2-4 (Aumasson, Bernstein 2012) ---- */

struct sip {
	uint64_t v[4];
	uint64_t word;
	size_t len;
};

static uint64_t rotate(uint64_t x, unsigned n) { return x << n | x >> (64 - n); }

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static void sip_word(struct sip *s)
{
	s->v[3] ^= s->word;
	sip_round(s->v);
	sip_round(s->v);
	s->v[0] ^= s->word;
	s->word = 0;
}

static void sip_byte(struct sip *s, uint8_t byte)
{
	s->word |= (uint64_t)byte << (s->len % 8 * 8);
	if (++s->len % 8 == 0)
		sip_word(s);
}

uint64_t seed_hash(const struct seed *seed, const struct span *parts, size_t count)
{
	struct sip s = { .v = { seed->k0 ^ 0x736f6d6570736575U, seed->k1 ^ 0x646f72616e646f6dU, seed->k0 ^ 0x6c7967656e657261U,
		                seed->k1 ^ 0x7465646279746573U } };

	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			sip_byte(&s, 0);
		for (size_t at = 0; at < parts[i].n; at++)
			sip_byte(&s, (uint8_t)parts[i].p[at]);
	}
	s.word |= (uint64_t)(s.len & 0xff) << 56;
	sip_word(&s);
	s.v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(s.v);
	return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}

/* ---- the table ---- */

struct table table_make(const struct seed *seed, size_t record, size_t key)
{
	return (struct table){ .seed = *seed, .record = record, .key = key };
}

void table_clear(struct table *t)
{
	free(t->slots);
	t->slots = NULL;
	t->count = t->cap = 0;
}

static uint8_t *slot(const struct table *t, size_t i) { return t->slots + i * t->record; }
static uint8_t *mark(const struct table *t, size_t i) { return t->slots + t->cap * t->record + i; }

static size_t home(const struct table *t, const void *key)
{
	return (size_t)seed_hash(&t->seed, &(struct span){ key, t->key }, 1) & (t->cap - 1);
}

/* The slot that holds the key, or the free one where it would stand. */
static size_t place(const struct table *t, const void *key)
{
	size_t i = home(t, key);

	while (*mark(t, i) != 0 && memcmp(slot(t, i), key, t->key) != 0)
		i = (i + 1) & (t->cap - 1);
	return i;
}

void *table_find(const struct table *t, const void *key)
{
	if (t->count == 0)
		return NULL;
	size_t i = place(t, key);
	return *mark(t, i) != 0 ? slot(t, i) : NULL;
}

static bool grow(struct table *t)
{
	struct table larger = *t;

	larger.cap = t->cap == 0 ? CAP_FIRST : 2 * t->cap;
	if (larger.cap > SIZE_MAX / (t->record + 1))
		return false;
	larger.slots = calloc(larger.cap, t->record + 1);
	if (larger.slots == NULL)
		return false;
	for (size_t i = 0; i < t->cap; i++) {
		if (*mark(t, i) == 0)
			continue;
		size_t to = place(&larger, slot(t, i));
		memcpy(slot(&larger, to), slot(t, i), t->record);
		*mark(&larger, to) = 1;
	}
	free(t->slots);
	*t = larger;
	return true;
}

void *table_add(struct table *t, const void *key, bool *ret_is_new)
{
	void *found = table_find(t, key);

	*ret_is_new = found == NULL;
	if (found != NULL)
		return found;
	if (t->count + 1 > t->cap / 4 * 3 && !grow(t))
		return NULL;
	size_t i = place(t, key);
	memset(slot(t, i), 0, t->record);
	memcpy(slot(t, i), key, t->key);
	*mark(t, i) = 1;
	t->count++;
	return slot(t, i);
}

void table_remove(struct table *t, const void *key)
{
	if (table_find(t, key) == NULL)
		return;
	size_t hole = place(t, key), mask = t->cap - 1;
	/* Whatever stands behind it and could not be found past a hole moves up. */
	for (size_t i = (hole + 1) & mask; *mark(t, i) != 0; i = (i + 1) & mask) {
		if (((i - home(t, slot(t, i))) & mask) < ((i - hole) & mask))
			continue;
		memcpy(slot(t, hole), slot(t, i), t->record);
		hole = i;
	}
	*mark(t, hole) = 0;
	t->count--;
}
