/* server/witness/note.h - signed notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature), as a witness needs them. */
#ifndef HOLDFAST_WITNESS_NOTE_H
#define HOLDFAST_WITNESS_NOTE_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_LEN 32
#define NAME_LEN_MAX 200
#define KEY_LEN_MAX 128        /* bytes of a public key: 32 of Ed25519, 91 of a P-256 SubjectPublicKeyInfo */
#define VKEY_LEN_MAX 512
#define SIGNATURE_LEN_MAX 8192 /* of other people's keys, which are ignored: the largest that are assigned have below 5 kB */
#define NOTE_LEN_MAX 65536
#define COSIGNATURE_LINE_MAX (NAME_LEN_MAX + 128) /* characters, with the newline */

enum key_type { KEY_ED25519 = 0x01, KEY_ECDSA_P256 = 0x02, KEY_COSIGNATURE = 0x04 };

struct verifier {
	char name[NAME_LEN_MAX + 1];
	enum key_type type;
	uint8_t id[4];
	uint8_t pub[KEY_LEN_MAX];
	size_t pub_len;
};

/** 1..200 printable ASCII characters without space, plus and comma. */
bool name_is_good(const char *name);
/** "name+1a2b3c4d+base64", whose id is its own, of one of the three types. */
bool verifier_parse(const char *text, size_t len, struct verifier *ret);
void verifier_format(const struct verifier *v, char ret_text[VKEY_LEN_MAX + 1]);
/** Name, type and 32 bytes of an Ed25519 key; its id is computed. */
void verifier_make(const char *name, enum key_type type, const uint8_t pub[32], struct verifier *ret);

/* A note, where it lies. */
struct note {
	const char *text;       /* what is signed: everything up to the last empty line */
	size_t text_len;
	const char *signatures; /* the lines behind it */
	size_t signatures_len;
	char origin[NAME_LEN_MAX + 1];
	uint64_t size;
	uint8_t root[HASH_LEN];
};
/** A signed checkpoint; its signatures are well-formed, and not looked at. @param bytes  borrowed for as long as *ret is used */
bool note_parse(const char *bytes, size_t len, struct note *ret);

enum note_verdict { NOTE_UNKNOWN, NOTE_BAD, NOTE_GOOD };
/**
 * Is the note signed by one of these keys? One signature of a known key that is wrong spoils the note.
 * @param ret_lines  the good lines, one behind the other: room for signatures_len + 1 bytes
 */
enum note_verdict note_verify(const struct note *note, const struct verifier *keys, size_t key_count, char *ret_lines);

/** Sign the text of a checkpoint as "seen, and an extension of all before". @return false when OpenSSL fails */
bool note_cosign(const struct note *note, const struct verifier *own, EVP_PKEY *key, uint64_t time_s, char ret_line[COSIGNATURE_LINE_MAX + 1]);

#endif
