/*
 * api/witness_client.h - how checkpoints reach witnesses (core/witness.h's transport): one POST over HTTPS to the configured address and nowhere else; plain HTTP
 * only to a loopback address. Connections are kept between submissions.
 */
#ifndef HOLDFAST_API_WITNESS_CLIENT_H
#define HOLDFAST_API_WITNESS_CLIENT_H

#include "server/core/witness.h"

struct witness_client;

/** @return KMS_OK | KMS_E_NOMEM */
KMS_MUST_CHECK kms_status witness_client_new(struct witness_client **ret, struct kms_err *err);
/** Lives as long as the client; thread-safe. */
struct witness_transport witness_client_transport(struct witness_client *c);
/** What is under way ends soon, and nothing new begins: before witnesses_stop(). Accepts NULL. */
void witness_client_cancel(struct witness_client *c);
/** When nobody uses it any more. Accepts NULL. */
void witness_client_free(struct witness_client *c);

#endif
