/* server/core/note.h - signed notes and checkpoints (spec/audit-log.md 5.1, 5.2; C2SP signed-note, tlog-checkpoint, tlog-cosignature). Pure, but for OpenSSL. */
#ifndef HOLDFAST_CORE_NOTE_H
#define HOLDFAST_CORE_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/core/merkle.h"

#define NOTE_NAME_MAX 200
#define NOTE_KEY_MAX 128       /* bytes of a public key: 32 (Ed25519), the SubjectPublicKeyInfo of a P-256 key is 91 */
#define NOTE_SIGNATURE_MAX 80  /* 64 (Ed25519), 72 (cosignature), DER of two P-256 numbers at most 72 */
#define NOTE_VKEY_MAX 512
#define NOTE_LINE_MAX 512      /* characters of one signature line with its newline */
#define NOTE_TEXT_MAX 300      /* characters of a checkpoint's three lines */

enum note_type { NOTE_ED25519 = 0x01, NOTE_ECDSA_P256 = 0x02, NOTE_COSIGNATURE = 0x04 };

/* Who signs: name, algorithm, public half. */
struct note_key {
	char name[NOTE_NAME_MAX + 1];
	enum note_type type;
	uint8_t id[4];
	uint8_t pub[NOTE_KEY_MAX]; /* Ed25519, cosignature: 32 bytes; P-256: SubjectPublicKeyInfo, DER */
	size_t pub_len;
};

/** Fill id from name, type and pub. */
void note_key_seal(struct note_key *k);
/** "name+1a2b3c4d+base64". */
void note_vkey_format(const struct note_key *k, char ret_vkey[NOTE_VKEY_MAX + 1]);
/** @return false for anything but a strict verifier key whose id is its own */
bool note_vkey_parse(const char *vkey, struct note_key *ret);

struct checkpoint_text {
	char origin[NOTE_NAME_MAX + 1];
	uint64_t size;
	uint8_t root[MERKLE_HASH_LEN];
};
/** The three lines that are signed; @return their length */
size_t checkpoint_format(const struct checkpoint_text *c, char ret_text[NOTE_TEXT_MAX + 1]);
/** The text of a note that begins at `note`. Strict; extension lines are refused. @param ret_text_len  of the three lines: what is signed */
bool checkpoint_parse(const char *note, size_t note_len, struct checkpoint_text *ret, size_t *ret_text_len);

/** One signature line: EM DASH, name, base64 of id and signature, newline. @return its length */
size_t note_line_format(const struct note_key *k, const uint8_t *signature, size_t signature_len, char ret_line[NOTE_LINE_MAX + 1]);
/**
 * Find the line of this key in the note and verify it. For a cosignature the signed text is "cosignature/v1\ntime T\n" and the text.
 * @param ret_time_s  of a cosignature; NULL = not wanted
 * @return KMS_OK | KMS_E_NOTFOUND (no such line) | KMS_E_CRYPTO (the line is there and wrong: the whole note is invalid)
 */
KMS_MUST_CHECK kms_status note_verify(const char *note, size_t note_len, const struct note_key *k, int64_t *ret_time_s, struct kms_err *err);
#define NOTE_LONG_MAX (64 << 20) /* bytes of a note that lists what there may be many of: a certificate of 300,000 keys */
/** The same for a note of up to NOTE_LONG_MAX bytes. */
KMS_MUST_CHECK kms_status note_verify_long(const char *note, size_t note_len, const struct note_key *k, struct kms_err *err);
/** How many bytes of a note are signed: its text with the last newline. @return 0 when it is no signed note of at most NOTE_LONG_MAX bytes */
size_t note_text_len(const char *note, size_t note_len);
/** ECDSA r || s (32 bytes each) as DER. @return its length */
size_t note_der_signature(const uint8_t raw[64], uint8_t ret_der[NOTE_SIGNATURE_MAX]);

/** The note with those of these lines (whole, each with its newline) that it does not have yet. @return malloc()ed; NULL without memory */
char *note_append_lines(const char *note, const char *lines);

#endif
