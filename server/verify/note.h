/* server/verify/note.h - C2SP signed notes and verifier keys (audit-log.md 5.1, 5.2), and the checkpoints that they carry. */
#ifndef HOLDFAST_VERIFY_NOTE_H
#define HOLDFAST_VERIFY_NOTE_H

#include "server/verify/tree.h"

#define NOTE_MAX 65536     /* bytes of a note */
#define NOTE_LINES_MAX 64  /* signature lines of a note */
#define KEY_NAME_MAX 255
#define KEY_ID_LEN 4
#define KEYS_MAX 256

enum key_type { KEY_ED25519 = 0x01, KEY_ECDSA_P256 = 0x02, KEY_COSIGNATURE = 0x04, KEY_ML_DSA_44 = 0x06 };
/* What a key may sign. An attestation or approver's key is told from a log's by its name: HOST/attest/..., HOST/approver/... */
enum key_role { ROLE_LOG, ROLE_ATTESTATION, ROLE_APPROVER, ROLE_WITNESS };

struct key {
	char name[KEY_NAME_MAX + 1];
	size_t name_len;
	uint8_t id[KEY_ID_LEN];
	enum key_type type;
	enum key_role role;
	EVP_PKEY *pkey; /* owned; NULL for a type that this program cannot check: its lines are ignored */
	uint8_t digest[HASH_LEN]; /* of type and public key: two names for one key are the same key */
};
/* The keys that are trusted; only ever added to. */
struct keys {
	struct key list[KEYS_MAX];
	size_t count;
};
void keys_clear(struct keys *k);
/**
 * Add a verifier key: "NAME+HEX8+BASE64".
 * @param ret_index  where it stands, also when it was there before
 * @return NULL, or what is wrong with it (static)
 */
const char *keys_add(struct keys *k, struct hasher *h, struct span text, size_t *ret_index);

struct note_line {
	struct span name, base64; /* of key id and signature */
	uint8_t id[KEY_ID_LEN];
};
/* Spans point into the input. */
struct note {
	struct span text; /* what is signed, with its last LF */
	struct note_line lines[NOTE_LINES_MAX];
	size_t count;
};
/** Form alone. @return NULL, or what is wrong (static) */
const char *note_parse(struct span input, struct note *ret);
#define NOTE_LONG_MAX (64 << 20) /* bytes of a note that lists what there may be many of */
const char *note_parse_long(struct span input, struct note *ret);

enum line_state { LINE_UNKNOWN, LINE_GOOD, LINE_BAD };
struct line_verdict {
	enum line_state state;
	size_t key;      /* unless unknown */
	uint64_t time_s; /* of a cosignature */
};
/** Check each line that names a known key by name and id. A line of a type that cannot be checked stays unknown. */
void note_verify(const struct note *n, const struct keys *k, struct line_verdict ret[NOTE_LINES_MAX]);

struct checkpoint {
	struct span origin;
	uint64_t size;
	uint8_t root[HASH_LEN];
};
/** The three lines of a note's text, no more. @return NULL, or what is wrong (static) */
const char *checkpoint_parse(struct span text, struct checkpoint *ret);

#endif
