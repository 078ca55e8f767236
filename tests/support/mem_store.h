/*
 * tests/support/mem_store.h - a store in memory for tests of the writer: leaves, nodes and one epoch, with transactions, calls that fail on
 * demand, and a gate that holds a transaction so that a test decides what one batch contains.
 * Of the changes only these mean something: STORE_KEY_DELETE raises the epoch; STORE_KEY_ADD answers KMS_E_FENCED, STORE_ROLE_ADD
 * KMS_E_CONFLICT, STORE_ROLE_REMOVE KMS_E_NOTFOUND; STORE_INTENT_OPEN remembers its seq; checkpoints are kept and cosigned. A fence holds when its key_epoch is 0 or the epoch.
 */
#ifndef HOLDFAST_TESTS_MEM_STORE_H
#define HOLDFAST_TESTS_MEM_STORE_H

#include "storage/store.h"

#define MEM_FIRST_EPOCH 1

/** End it with store_close(). Its leaves outlive a writer, not the store. */
struct store *mem_store_new(void);

/** Fail the nth write call from now (0 = the next one) with this native code; -1 = none. */
void mem_store_fail_call(struct store *s, int nth, unsigned long native);
/** Write calls since mem_store_fail_call(). */
int mem_store_calls(struct store *s);
/** While set, every commit fails: the disk is full. */
void mem_store_set_full(struct store *s, bool is_full);

/** Close the gate: the next begin waits in it. */
void mem_store_hold(struct store *s);
/** Wait until a transaction stands at the gate. */
void mem_store_wait_held(struct store *s);
void mem_store_release(struct store *s);

/** Wait until so many leaves are committed. */
void mem_store_wait_count(struct store *s, size_t count);

/* What is committed; not while a writer runs, but for mem_store_epoch(). */
size_t mem_store_count(struct store *s);
const struct store_event *mem_store_event(struct store *s, uint64_t seq);
/** Flip one bit of a stored leaf, or of a stored node of level 1 and up. */
void mem_store_damage_leaf(struct store *s, uint64_t seq);
void mem_store_damage_node(struct store *s, unsigned level, uint64_t position);
void mem_store_lose_node(struct store *s, unsigned level);
uint64_t mem_store_epoch(struct store *s);
uint64_t mem_store_intent_seq(struct store *s);
unsigned mem_store_truncations(struct store *s);
bool mem_store_in_transaction(struct store *s);

#endif
