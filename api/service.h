/* api/service.h - the service that api.h hands around: what all requests share. For request.c and service.c. */
#ifndef HOLDFAST_API_SERVICE_H
#define HOLDFAST_API_SERVICE_H

#include "api/api.h"

struct api {
	struct api_config cfg;
	struct worker *lanes[LANE_COUNT];
	struct issuers *issuers;
	struct tokens *tokens;
	struct assertions *assertions;
	struct vault_names *names;
	struct client_trust *trust; /* NULL unless pools are served, or the main listener asks for certificates */
	struct limits *limits;
	char *openapi; /* owned; never changes */
	size_t openapi_len;
	atomic_bool is_stopping;
	atomic_uint shares[LANE_COUNT][WORKER_GROUPS]; /* requests of each tenant in each lane, until they are answered */
	atomic_size_t large_bodies, large_bodies_of[WORKER_GROUPS]; /* bytes; see reserve_body() */
	struct housekeeping {
		struct job job; /* first; belongs to the lane while is_running */
		atomic_bool is_running;
		struct api *api;
		uint64_t types; /* of the acts that this lane performs; 0: none are to be settled now */
		bool purges, reads_pools;
	} housekeeping[LANE_COUNT];
};

#endif
