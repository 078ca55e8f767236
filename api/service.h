/* api/service.h - the service that api.h hands around: what all requests share. For request.c and service.c. */
#ifndef HOLDFAST_API_SERVICE_H
#define HOLDFAST_API_SERVICE_H

#include <pthread.h>

#include "api/api.h"
#include "server/core/schedule.h"

struct api {
	struct api_config cfg;
	struct worker *lanes[LANE_COUNT];
	pthread_mutex_t visits; /* guards the next */
	struct worker *visited[LANE_COUNT]; /* those whose threads can be asked to forget; NULL = none, or it is being stopped */
	struct issuers *issuers;
	struct tokens *tokens;
	struct assertions *assertions;
	struct vault_names *names;
	struct client_trust *trust; /* NULL unless pools are served, or the main listener asks for certificates */
	struct limits *limits;
	struct metrics *metrics;
	char *openapi; /* owned; never changes */
	size_t openapi_len;
	atomic_bool is_stopping;
	bool log_keys_retired; /* of the destroy lane's thread */
	struct schedule schedule; /* of the keygen lane's thread */
	atomic_uint shares[LANE_COUNT][WORKER_GROUPS]; /* requests of each tenant in each lane, until they are answered */
	atomic_size_t large_bodies, large_bodies_of[WORKER_GROUPS]; /* bytes; see reserve_body() */
	struct housekeeping {
		struct job job; /* first; belongs to the lane while is_running */
		atomic_bool is_running;
		struct api *api;
		uint64_t types; /* of the acts that this lane performs; 0: none are to be settled now */
		bool purges, reads_pools, backs_up, schedules;
	} housekeeping[LANE_COUNT];
};

/** Log a failure of ours, once, with the request's id. */
void request_log_failure(const struct request *r, const struct kms_err *err);

/** "crypto"; of its threads and metrics. */
const char *api_lane_name(enum lane lane);

/* ---- local_service.c ---- */

/** Only this machine's own services, whom neither a browser nor a proxy has sent. @return KMS_OK | KMS_E_INVALID | KMS_E_NOTFOUND */
KMS_MUST_CHECK kms_status local_service_admit(struct request *r);

/* ---- gate.c: the state of the event log ---- */

/** On admission: may the request be served now? Else r->verdict_err says what has happened and what to do. @return KMS_OK | KMS_E_AUDIT | KMS_E_INTEGRITY */
KMS_MUST_CHECK kms_status gate_admit(struct request *r);
/** In the lane: who makes approvers for a log that nobody could accept otherwise does so only while there are none. */
KMS_MUST_CHECK kms_status gate_founding(struct request *r, struct kms_err *err);
/** The request's leaf is durable: answer, or wait for its checkpoint without holding up whoever calls. The request may be gone afterwards. */
void gate_answer(struct request *r);

#endif
