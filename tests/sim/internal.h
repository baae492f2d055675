#ifndef PANDO_TESTS_SIM_INTERNAL_H
#define PANDO_TESTS_SIM_INTERNAL_H

/* Between events.c, net.c and disk.c of the simulated world. */

#include "sim/world.h"

struct loop {
	unsigned machine, process;
	uint64_t generation; /* of the process when the loop was made: its death makes it stale */
	struct task *deferred_first, **deferred_link;
};

/* Schedules fn(arg) for a loop; dropped when its process dies before. NULL: the test's own. */
struct event;
struct event *event_add(struct loop *loop, uint64_t delay_us, void (*fn)(void *arg), void *arg);
void event_cancel(struct event **event);
bool loop_is_alive(const struct loop *loop);
unsigned current_machine(void);
unsigned current_process(void);

/* Whether an event of this machine runs now: code that may be stopped in its middle. */
bool machine_runs_here(unsigned machine);
/* The process is killed, or the machine's power cut, in the middle of the event that runs. */
_Noreturn void machine_dies_here(unsigned machine, bool of_power);

/* ---- disk_faults.c: each disk call begins with disk_begin and returns what disk_end says ---- */

enum effect { EFFECT_NONE, EFFECT_PART, EFFECT_WHOLE };

struct fate {
	unsigned machine;
	int result;         /* what the call returns; 0: what it would have */
	enum effect effect; /* what becomes of it all the same */
	bool dies, of_power;
};

/* Does not return when the machine dies before the call. */
struct fate disk_begin(unsigned machine, enum disk_call call);
/* For calls that happen or do not: whether this one does. */
bool fate_is_done(const struct fate *fate);
/* How much happens of one that writes `length`. */
uint64_t fate_part(const struct fate *fate, uint64_t length);
/* Does not return when the machine dies here. */
int disk_end(const struct fate *fate, int result) must_check;
bool machine_has_descriptors(unsigned machine);
bool machine_has_room(unsigned machine);
void disk_faults_reset(void);

void net_reset(void);
/* Of what runs no more. */
void net_forget_dead(void);
void disk_world_reset(void);
void store_world_reset(void);
void disk_machine_crashed(unsigned machine);
/* The process goes, the machine stays: what was written is there, what was on its way partly. */
void disk_process_killed(unsigned machine, unsigned process);
void stores_machine_crashed(unsigned machine);
void stores_empty(unsigned machine);
void witness_world_reset(void);
void witness_power_cut(unsigned machine);
bool link_is_up(unsigned a, unsigned b);
uint64_t latency_us(void);

#endif
