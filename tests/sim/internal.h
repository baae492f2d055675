#ifndef PANDO_TESTS_SIM_INTERNAL_H
#define PANDO_TESTS_SIM_INTERNAL_H

/* Between events.c, net.c and disk.c of the simulated world. */

#include "sim/world.h"

struct loop {
	unsigned machine;
	uint64_t generation; /* of the machine when the loop was made: a crash makes it stale */
	struct task *deferred_first, **deferred_link;
};

/* Schedules fn(arg) for a loop; dropped when its machine crashes before. NULL: the test's own. */
struct event;
struct event *event_add(struct loop *loop, uint64_t delay_us, void (*fn)(void *arg), void *arg);
void event_cancel(struct event **event);
uint64_t machine_generation(unsigned machine);
unsigned current_machine(void);

void net_reset(void);
void net_machine_crashed(unsigned machine);
void disk_world_reset(void);
void store_world_reset(void);
void disk_machine_crashed(unsigned machine);
bool link_is_up(unsigned a, unsigned b);
uint64_t latency_us(void);

#endif
