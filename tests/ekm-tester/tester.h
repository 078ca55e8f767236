/* tests/ekm-tester/tester.h - what the checks share: options, the table's row, one call to the proxy, and the outcome of a check. */
#ifndef HOLDFAST_EKM_TESTER_TESTER_H
#define HOLDFAST_EKM_TESTER_TESTER_H

#include <jansson.h>
#include <stdint.h>

#include "tests/ekm-tester/wire.h"

/* HTTP statuses are written as the numbers of the specification. */
#define API_VERSION "0.1-preview"
#define LIMIT_MS 250.0 /* ekm-proxy.md section 8 */
#define DETAIL_MAX 320
#define ID_MAX 64
#define RUN_ID_MAX 25
#define AES_KEY_LEN 32
#define MODULUS_MAX 512
#define LONGEST_VALUE 4096 /* bytes of a wrapped key that a proxy should take (section 12) */
#define VALUE_ROOM (LONGEST_VALUE + 64)
#define CHECKLIST_LINES 13 /* of section 15 */

enum alg { A256KW, A256KWP, RSA_OAEP, RSA_OAEP_256, ALG_COUNT };
struct algorithm {
	const char *name;
	bool is_rsa;
	const char *digest;   /* of OAEP */
	size_t oaep_overhead; /* modulus length less the longest input */
};
extern const struct algorithm ALGORITHMS[ALG_COUNT];

/* With whose certificate a call is made. */
enum who { OWN, NOBODY, IMPOSTOR, FOREIGN, WHO_COUNT };

struct options {
	struct target target;
	const char *url, *cert, *key, *ca, *resolve, *foreign_cert, *foreign_key;
	const char *aes_key, *rsa_key, *disabled_key;
	const char *aes_bytes_file;
	unsigned rate; /* requests a second of the load; 0: no load */
	unsigned seconds;
	bool as_json, documented_only;
};

/* The part of the load's result that the report shows. */
#define OP_NAME_MAX 40
struct latency {
	char name[OP_NAME_MAX];
	size_t count;
	double p50_ms, p90_ms, p99_ms, max_ms;
};
#define LOAD_OPS_MAX 4
struct load_result {
	bool was_run;
	size_t requests, wrong, late, reconnects, connections;
	struct latency all, ops[LOAD_OPS_MAX];
	size_t op_count;
};

/* What every answer of the run is also held against. */
struct seen {
	size_t answers, refusals, throttled, unavailable;
	size_t values, bad_values; /* of wrapkey and unwrapkey */
	size_t bad_versions, bad_types, bad_errors, bad_throttles, bad_unavailables, faults;
	char first_bad_type[DETAIL_MAX], first_bad_error[DETAIL_MAX], first_fault[DETAIL_MAX], first_bad_value[DETAIL_MAX];
	double slowest_ms;
	char slowest[DETAIL_MAX];
};

struct tester {
	const struct options *opt;
	struct identity who[WHO_COUNT];
	struct wire *wire; /* of OWN, kept alive from check to check */
	char run_id[RUN_ID_MAX];
	unsigned calls;
	EVP_PKEY *rsa_public; /* from the proxy's metadata; NULL: not readable */
	size_t modulus_len;
	bool has_aes_bytes;
	uint8_t aes_bytes[AES_KEY_LEN];
	struct seen seen;
	struct load_result load;
};

/* ---- the table ---- */
enum verdict { PASS, FAIL, SKIP };
struct outcome {
	enum verdict verdict;
	unsigned failures;
	char detail[DETAIL_MAX];
};
struct check {
	const char *id, *section, *title;
	int line;   /* of the checklist in section 15; 0: none */
	int status; /* of the error table in section 7.2; 0: none */
	bool is_recommended; /* by the specification; not documented by Microsoft */
	enum alg alg;        /* for a function that serves several rows */
	void (*run)(struct tester *t, const struct check *self, struct outcome *o);
	const char *by_hand; /* instead of run: why a program cannot see it, and what to do */
};
extern const struct check CHECKS[];
extern const size_t CHECK_COUNT;
extern const char *const CHECKLIST[CHECKLIST_LINES];

/** The first failure is kept as the detail, the others are counted. */
void failed(struct outcome *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void skipped(struct outcome *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** Something worth reading beside a pass. */
void remark(struct outcome *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** Copy with everything but printable ASCII as '?': what a proxy sends must not steer a terminal. */
void copy_clean(char *ret, size_t cap, const char *text);

/* ---- one call ---- */
struct call {
	const char *method;  /* NULL: POST */
	const char *key, *op; /* path /key/op, or */
	const char *path;    /* all behind the prefix */
	bool without_prefix;
	const char *query; /* NULL: the right api-version */
	const char *type;  /* NULL: application/json; "": no Content-Type */
	json_t *json;      /* transferred; NULL: */
	const char *text;  /* the body as it is; NULL: none */
	enum who who;
};
struct answer {
	enum wire_result result;
	bool is_unreachable; /* not even connected: says nothing about the proxy's rules */
	char why[WHY_MAX];   /* when there is no answer */
	struct response http;
	json_t *json; /* NULL: the body is not JSON */
};
void answer_clear(struct answer *a);
#define ANSWER_AUTO __attribute__((cleanup(answer_clear))) struct answer

/** {"request_context":…} with a correlation id of this run and a new number. */
json_t *body_new(struct tester *t);
/** The same with alg and value. */
json_t *body_crypto(struct tester *t, const char *alg, const void *bytes, size_t len);
/** One call; kept-alive connection for OWN, a connection of its own for everybody else. `ret` is always set. */
void ask(struct tester *t, struct call c, struct answer *ret);
/** The same on a given connection, which the caller closes. */
void ask_over(struct tester *t, struct wire *w, struct call c, struct answer *ret);
/** The whole request as bytes; the caller frees it. NULL: no memory. */
char *call_text(const struct tester *t, struct call c, size_t *ret_len);
enum dial_result dial_as(struct tester *t, enum who who, struct wire **ret, char why[WHY_MAX]);

/** Call and hold the status against one or two that are right (0: none); otherwise the check fails with `what` and the answer. */
bool expect(struct tester *t, struct outcome *o, struct call c, int status, int or_status, const char *what);
/** wrapkey or unwrapkey with success: an object with exactly one member. How the value is encoded, answer.base64url judges for all. */
bool expect_bytes(struct tester *t, struct outcome *o, const char *key, const char *op, enum alg alg, const void *in, size_t in_len,
                  uint8_t ret[VALUE_ROOM], size_t *ret_len);
/** "status code" or why there was no answer; for details. */
const char *answer_text(const struct answer *a, char text[DETAIL_MAX]);
/** The key that fits; NULL after skipped(). */
const char *key_for(const struct tester *t, enum alg alg, struct outcome *o);
/** Any key with an algorithm that fits it: for errors that have nothing to do with the kind. */
const char *any_key(const struct tester *t, enum alg *ret_alg);
/** Longest input of wrap; 0 when the modulus is not known. */
size_t longest_input(const struct tester *t, enum alg alg);

/* ---- base64url without padding (RFC 4648 section 5) ---- */
#define B64_ROOM(n) ((n) * 4 / 3 + 4)
void b64_put(const void *bytes, size_t len, char *ret_text);
/** Strict: no padding, no other alphabet, no left-over bits. */
bool b64_get(const char *text, uint8_t *ret, size_t cap, size_t *ret_len);

/* ---- checks by theme ---- */
typedef void check_fn(struct tester *t, const struct check *self, struct outcome *o);
check_fn check_tls13, check_tls12_refused, check_suites, check_groups, check_alpn, check_keep_alive, check_resumption, check_early_data,
	check_port, check_server_chain, check_server_san, check_server_cn;
check_fn check_client_required, check_client_impostor, check_client_foreign, check_foreign_uniform;
check_fn check_prefix, check_operations, check_path_variants, check_methods, check_version_missing, check_version_unknown, check_id_case,
	check_id_unknown, check_id_malformed, check_disabled_use, check_disabled_metadata;
check_fn check_info, check_info_version, check_charset, check_unknown_members, check_request_id_optional, check_context_opaque,
	check_body_large, check_body_too_large, check_content_type;
check_fn check_bad_json, check_no_context, check_context_members, check_no_alg, check_no_value, check_member_types, check_alg_unknown,
	check_alg_mismatch, check_b64_padded, check_b64_standard, check_b64_bad;
check_fn check_metadata_aes, check_metadata_rsa, check_key_ops;
check_fn check_round_trip, check_rsa_empty, check_aes_deterministic, check_rsa_random, check_unwrap_deterministic, check_openssl_wraps,
	check_known_bytes, check_no_store;
check_fn check_kw_length, check_kwp_empty, check_oaep_too_long, check_unwrap_length, check_tampered, check_uniform;
check_fn check_load, check_slowest, check_http_version, check_types_seen, check_values_seen, check_errors_seen, check_throttled_seen,
	check_unavailable_seen, check_faults_seen;

/** Fetch what later checks need (the RSA key's public half); does not judge. */
void tester_prepare(struct tester *t);
/** Say on standard error what is wrong with the set-up itself, so that many failures of one cause are understood; does not judge. */
void preflight(struct tester *t);

/* ---- report.c ---- */
/** `text` is printed at once for people; the JSON report comes at the end. */
void report_row(const struct options *opt, size_t index, const struct outcome *o);
void report_end(const struct tester *t, const struct outcome outcomes[]);

#endif
