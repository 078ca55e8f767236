/* api/answers.h - what answers look like (enum answer of api.h). */
#ifndef HOLDFAST_API_ANSWERS_H
#define HOLDFAST_API_ANSWERS_H

#include "api/api.h"

struct answer_info {
	const char *name;                /* of its schema; NULL = no body */
	const struct json_field *fields; /* NULL: not JSON of ours */
	const char *media;               /* NULL = JSON */
};

extern const struct answer_info ANSWERS[ANSWER_COUNT];
extern const struct json_field ANSWER_OAUTH_ERROR[], ANSWER_EKM_ERROR[];
/** The token endpoint's form (RFC 6749 section 4.4.2): no answer, but no schema reads it either. */
extern const struct json_field ANSWER_TOKEN_FORM[];

#endif
