/* server/verify/explain.h - a certificate in plain words: what is attested by whom, and what is not. */
#ifndef HOLDFAST_VERIFY_EXPLAIN_H
#define HOLDFAST_VERIFY_EXPLAIN_H

#include "server/verify/verify.h"

/** After verify_finish(): each certificate. Says only what was found good. */
void verify_explain(const struct verify *v, FILE *out);

#endif
