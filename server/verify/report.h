/* server/verify/report.h - what was found: one line each, with a stable code; which exit status that makes. */
#ifndef HOLDFAST_VERIFY_REPORT_H
#define HOLDFAST_VERIFY_REPORT_H

#include <stdio.h>

#include "server/verify/bytes.h"

/* Exit status; they are also the groups of the checks (audit-log.md section 9). */
enum verify_exit {
	EXIT_ALL_GOOD = 0, EXIT_USAGE, EXIT_SIGNATURE, EXIT_ROOT, EXIT_FORK, EXIT_ORDER, EXIT_FORM, EXIT_AGE, EXIT_MEANING, EXIT_COUNT
};

/* finding, its code in the output, its group. The groups stand in the order in which they are checked. */
#define FINDING_MAP(X)                                        \
	X(F_NOTE_FORM, "note_malformed", EXIT_SIGNATURE)      \
	X(F_SIGNATURE, "bad_signature", EXIT_SIGNATURE)       \
	X(F_UNSIGNED, "not_signed", EXIT_SIGNATURE)           \
	X(F_QUORUM, "no_quorum", EXIT_SIGNATURE)              \
	X(F_UNCOVERED, "no_checkpoint", EXIT_SIGNATURE)       \
	X(F_OLD_KEY, "old_key", EXIT_SIGNATURE)               \
	X(F_CANONICAL, "not_canonical", EXIT_FORM)            \
	X(F_MEMBER, "bad_member", EXIT_FORM)                  \
	X(F_LINE, "bad_line", EXIT_FORM)                      \
	X(F_GAP, "gap", EXIT_ORDER)                           \
	X(F_DUPLICATE, "duplicate", EXIT_ORDER)               \
	X(F_SHORT, "too_short", EXIT_ORDER)                   \
	X(F_ROOT, "root_differs", EXIT_ROOT)                  \
	X(F_INCLUSION, "not_included", EXIT_ROOT)             \
	X(F_FORK, "fork", EXIT_FORK)                          \
	X(F_INCONSISTENT, "inconsistent", EXIT_FORK)          \
	X(F_ORIGIN, "other_origin", EXIT_FORK)                \
	X(F_AGE, "too_old", EXIT_AGE)                         \
	X(F_LOG_START, "log_start", EXIT_MEANING)             \
	X(F_BOOT, "boot_start", EXIT_MEANING)                 \
	X(F_BOOT_AGAIN, "boot_returns", EXIT_MEANING)         \
	X(F_MONO, "mono_falls", EXIT_MEANING)                 \
	X(F_CLOCK, "clock_jump", EXIT_MEANING)                \
	X(F_CLOCK_LEAF, "clock_leaf", EXIT_MEANING)           \
	X(F_SILENCE, "silence", EXIT_MEANING)                 \
	X(F_PHASE, "phase", EXIT_MEANING)                     \
	X(F_NO_INTENT, "no_intent", EXIT_MEANING)             \
	X(F_OTHER_INTENT, "other_intent", EXIT_MEANING)       \
	X(F_OPEN, "intent_open", EXIT_MEANING)                \
	X(F_AFTER_END, "use_after_end", EXIT_MEANING)         \
	X(F_DELETED, "use_while_deleted", EXIT_MEANING)       \
	X(F_REVOKED, "use_while_revoked", EXIT_MEANING)       \
	X(F_UNCREATED, "never_created", EXIT_MEANING)         \
	X(F_OTHER_KEY, "other_key", EXIT_MEANING)             \
	X(F_APPROVERS, "too_few_approvers", EXIT_MEANING)     \
	X(F_OWN_APPROVAL, "own_approval", EXIT_MEANING)       \
	X(F_SAME_APPROVER, "same_approver", EXIT_MEANING)     \
	X(F_CERTIFICATE, "certificate", EXIT_MEANING)         \
	X(F_PRUNED, "bad_pruning", EXIT_MEANING)              \
	X(F_HIDDEN, "missing_body", EXIT_MEANING)             \
	X(W_TYPE, "unknown_type", EXIT_ALL_GOOD)              \
	X(W_SILENCE, "silence_with_gap", EXIT_ALL_GOOD)       \
	X(W_REVIVED, "revived", EXIT_ALL_GOOD)                \
	X(W_HIDDEN, "hidden", EXIT_ALL_GOOD)                  \
	X(W_AFTER_END, "use_after_purge", EXIT_ALL_GOOD)

enum finding {
#define X(finding, code, group) finding,
	FINDING_MAP(X)
#undef X
	FINDING_COUNT
};

#define REPORT_SHOWN_MAX 100 /* findings and warnings that are kept; the others are counted */
#define REPORT_TEXT_MAX 480

struct report_item {
	enum finding finding;
	const char *file; /* borrowed for the report's life */
	uint64_t line;    /* 0 = the file as a whole */
	char text[REPORT_TEXT_MAX];
};
/* Zeroed = empty. */
struct report {
	uint64_t count[FINDING_COUNT];
	struct report_item items[REPORT_SHOWN_MAX];
	size_t shown;
};

/** The ending of a noun behind the number. */
static inline const char *plural(uint64_t n) { return n == 1 ? "" : "s"; }
/** Text from the input may be given as it is: it is escaped when it is printed. @param line  0 = the file as a whole */
__attribute__((format(printf, 5, 6))) void report_add(struct report *r, enum finding f, const char *file, uint64_t line, const char *format, ...);
const char *finding_code(enum finding f);
enum verify_exit finding_group(enum finding f);
/** Of findings, or of warnings alone. */
uint64_t report_findings(const struct report *r);
uint64_t report_warnings(const struct report *r);
/** The group of the first check that failed, in the order 2, 6, 5, 3, 4, 7, 8. */
enum verify_exit report_exit(const struct report *r);
/** Print the items as "FILE:LINE: CODE: MESSAGE", and how many more there are. */
void report_print(const struct report *r, FILE *out);
/** The same as the members "findings", "warnings" and "counts" of a JSON object, without the object's braces. */
void report_print_json(const struct report *r, FILE *out);
/** Printable ASCII as it is, every other byte as \xNN, so that no input can speak to a terminal. */
void print_escaped(FILE *out, struct span text);
/** A JSON string of the same, quotes included. */
void print_json_string(FILE *out, struct span text);

#endif
