#ifndef PANDO_TESTS_SIM_ROUTERS_H
#define PANDO_TESTS_SIM_ROUTERS_H

/*
 * Two routers, each at a site and on a machine of its own: the shipped queue with its log, the
 * copies at the other one, and the ways to the homes. What they answer 250 for is in the history:
 * it is delivered, or in a queue, whatever befalls them.
 */

#include "core/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue_item;

/* Before a run, with the cluster: forgets all, starts both. */
void routers_start(void);
bool router_is(unsigned machine);
void router_restart(unsigned machine);
/* While it is away, a router knows what it knew. */
void router_cut_off(unsigned machine, bool cut_off);
bool router_is_cut_off(unsigned machine);
/* A message of the history is given to one of them; what it says comes into the history. */
void routers_accept(size_t entry);
/* To this one, if it runs. */
void router_accept(unsigned machine, size_t entry);
/* How many messages are in its queue; 0 also while it does not know. */
unsigned router_queued(unsigned machine);
/* How many are on their way into its log. */
unsigned router_arriving(unsigned machine);
/* The message in its queue, or NULL. */
const struct queue_item *router_item(unsigned machine, size_t entry);

/* The disk of a router has lost what was written since then; or bytes of it rotted. */
void routers_disk_lost(unsigned machine, uint64_t since_us);
/* A byte of one router's queue, the same one in a run, rots. */
void routers_rot(unsigned machine);
/* Prints what is lost; false then. When all has been read. */
bool routers_check(void);

#endif
