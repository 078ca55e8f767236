/* api/certificate_page.h - a destruction certificate as a page that people read and print: what was destroyed, how that was checked, what is not claimed. */
#ifndef HOLDFAST_API_CERTIFICATE_PAGE_H
#define HOLDFAST_API_CERTIFICATE_PAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Of the page; styles of its own, nothing else. */
#define CERTIFICATE_PAGE_POLICY "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

struct certificate_page {
	const char *note;   /* the signed note */
	const json_t *body; /* its second line */
	const json_t *approvers; /* array of { name?, pid, at }, as the log has them; may be empty */
	const char *reason; /* that whoever asked for it gave, as the log has it; "" = none */
	bool has_log;       /* the log that it names is the one that the server keeps now; otherwise nothing is known of the two above */
	bool is_revived;    /* a restore has brought back what died, and that lives */
	const char *revived; /* when, in the form of certificates; "" = not known */
	const char *vault;  /* name; "" = not known any more */
	const char *key;    /* name, of a key's; "" otherwise */
	const char *vkey;   /* of the attestation key */
};
/** Self-contained HTML. Whatever stands in it that somebody has chosen is escaped. */
void certificate_page_write(const struct certificate_page *p, FILE *out);

#endif
