/*
 * server/cli/cosmos.h - the parts of `holdfast report cosmos`: what an inventory of Cosmos DB accounts says, which of them need a customer-managed key, and what was found
 * in earlier runs. An account is one JSON object: id, account, resource_group, location, class, needs, key; source, state, result and reason are added by the command.
 */
#ifndef HOLDFAST_CLI_COSMOS_H
#define HOLDFAST_CLI_COSMOS_H

#include "server/cli/command.h"

#define COSMOS_FILE_MAX ((size_t)64 << 20)
#define COSMOS_ACCOUNTS_MAX 100000
#define COSMOS_EXEMPT "exempt" /* the class that needs no key */

/* Results. */
#define COSMOS_COMPLIANT "compliant"
#define COSMOS_NOT_COMPLIANT "not compliant"

/* --- cosmos_classify.c: by tags --- */

struct cosmos_rules;
/** Those of --classify, or the built-in ones when there are none. Complains. @param ret  owned by the caller: cosmos_rules_free() */
enum cli_exit cosmos_rules_read(const struct call *call, struct cosmos_rules **ret);
void cosmos_rules_free(struct cosmos_rules *rules); /* accepts NULL */
/** The class of these tags (an object of texts, or NULL); NULL = none fits. A class that needs a key wins over one that does not. @return borrowed from the rules */
const char *cosmos_classify(const struct cosmos_rules *rules, const json_t *tags);

/* --- cosmos_inventory.c --- */

/** What `az cosmosdb list`, the REST list of ARM, or Resource Graph printed. Refuses one that is not whole; says at which place something is wrong. @param ret  array of accounts */
enum cli_exit cosmos_inventory_read(const char *file, const struct cosmos_rules *rules, json_t **ret);

/* --- cosmos_state.c --- */

/** What is kept between runs; begins anew when there is no such file. Complains. @param at  of this run: must not be before the last one */
enum cli_exit cosmos_state_read(const char *file, long long at, json_t **ret);
/** Enter this run. @param accounts  with their results */
bool cosmos_state_enter(json_t *state, const json_t *accounts, long long at);
enum cli_exit cosmos_state_write(const char *file, const json_t *state);
struct cosmos_times {
	long long remediated, total_s; /* of all times that an account became compliant that was not */
	long long open, oldest_s;      /* those that are in the inventory and are not, yet */
};
void cosmos_state_times(const json_t *state, long long at, struct cosmos_times *ret);

#endif
