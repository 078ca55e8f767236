/* tests/fuzz/core_event.c - outside text in every member of a leaf: the leaf stays within its limit and is one line of clean UTF-8. */
#include <stdlib.h>
#include <string.h>

#include "server/core/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Take up to `cap - 1` bytes as a C string; what is left stays for the next member. */
static void take(const uint8_t **data, size_t *size, char *ret, size_t cap)
{
	size_t len = *size < cap - 1 ? *size : cap - 1;

	memcpy(ret, *data, len);
	ret[len] = '\0';
	*data += len;
	*size -= len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_det det[EVENT_DET_MAX];
	struct event e = { .type = EVENT_KEY_WRAP, .actor = EVENT_ACTOR_APP, .auth = EVENT_AUTH_JWT, .http = 200 };
	struct event_stamp stamp = { .seq = 7, .ts_us = 1800000000000000, .node = "n" };
	char leaf[EVENT_LEAF_MAX];
	size_t len = 0;

	take(&data, &size, e.corr, sizeof(e.corr));
	take(&data, &size, e.key_name, sizeof(e.key_name));
	take(&data, &size, e.role, sizeof(e.role));
	take(&data, &size, e.net_peer, sizeof(e.net_peer));
	for (size_t i = 0; i < EVENT_DET_MAX && size > 0; i++) {
		static const char *const NAMES[EVENT_DET_MAX] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l" };
		det[i] = (struct event_det){ .name = NAMES[i] };
		take(&data, &size, det[i].text, sizeof(det[i].text));
		e.det_count = i + 1;
	}
	e.det = det;
	len = event_encode(&e, &stamp, leaf);
	if (len == 0 || len > EVENT_LEAF_MAX || leaf[0] != '{' || leaf[len - 1] != '}')
		abort();
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)leaf[i] < 0x20)
			abort();
	return 0;
}
