#include "sim/internal.h"

#include <errno.h>

/*
 * What a disk call meets: a full disk, no descriptor, an error of the device, or the end of its
 * machine before, within or after it.
 */

/* What a machine's disk is like now. */
struct condition {
	bool is_full, has_no_descriptors, fails_next;
	bool dies; /* in a call of this kind, after `skips` more of them */
	enum disk_call call;
	enum disk_moment moment;
	bool of_power;
	unsigned skips;
	int refusal; /* of the next call of `refused_call` but so many; 0: none */
	enum disk_call refused_call;
	unsigned refused_skips;
};

static struct condition conditions[MACHINES_MAX];
static struct disk_tally tally;

enum {
	/* A disk on the brink: of so many calls that need room (or a descriptor) one has it, so
	 * that refusals and successes follow each other in every order. */
	ONE_IS_LUCKY = 4,
	/* Space that was zero-filled is there, but on a thin or copying disk. */
	ONE_IS_THIN = 8,
};

void disk_faults_reset(void)
{
	memset(conditions, 0, sizeof(conditions));
}

const struct disk_tally *world_disk_tally(void)
{
	return &tally;
}

void world_fill_disk(unsigned machine, bool full)
{
	conditions[machine].is_full = full;
}

void world_take_descriptors(unsigned machine, bool taken)
{
	conditions[machine].has_no_descriptors = taken;
}

bool machine_has_room(unsigned machine)
{
	return !conditions[machine].is_full;
}

bool machine_has_descriptors(unsigned machine)
{
	return !conditions[machine].has_no_descriptors;
}

void world_fail_next_call(unsigned machine, bool fails)
{
	conditions[machine].fails_next = fails;
}

void world_crash_in_call(unsigned machine, enum disk_call call, enum disk_moment moment,
	bool of_power, unsigned skips)
{
	struct condition *condition = &conditions[machine];
	condition->dies = true;
	condition->call = call;
	condition->moment = moment;
	condition->of_power = of_power;
	condition->skips = skips;
}

void world_refuse_call(unsigned machine, enum disk_call call, int refusal, unsigned skips)
{
	conditions[machine].refusal = refusal;
	conditions[machine].refused_call = call;
	conditions[machine].refused_skips = skips;
}

bool world_has_refused(unsigned machine)
{
	return conditions[machine].refusal == 0;
}

void world_spare(unsigned machine)
{
	conditions[machine].dies = false;
	conditions[machine].refusal = 0;
}

static bool needs_descriptor(enum disk_call call)
{
	return call == DISK_OPEN || call == DISK_CREATE || call == DISK_MAKE_DIRECTORY ||
		call == DISK_LIST || call == DISK_REMOVE || call == DISK_RENAME ||
		call == DISK_LOCK || call == DISK_STORE_OPEN;
}

static bool needs_room(enum disk_call call)
{
	return call == DISK_CREATE || call == DISK_MAKE_DIRECTORY || call == DISK_RENAME ||
		call == DISK_ALLOCATE || call == DISK_GROW || call == DISK_STORE_COMMIT ||
		(call == DISK_WRITE && world_pick(ONE_IS_THIN) == 0);
}

/* Without a descriptor the call itself fails, or the sync of the directory behind it. */
static struct fate without_descriptor(enum disk_call call)
{
	bool is_done = call == DISK_REMOVE || call == DISK_RENAME || call == DISK_MAKE_DIRECTORY ||
		(call == DISK_CREATE && world_pick(4) == 0);
	tally.without_descriptor++;
	return (struct fate){ .result = world_pick(2) == 0 ? -EMFILE : -ENFILE,
		.effect = is_done ? EFFECT_WHOLE : EFFECT_NONE };
}

static struct fate without_room(enum disk_call call)
{
	bool is_partial = call == DISK_ALLOCATE || call == DISK_GROW || call == DISK_WRITE;
	tally.without_room++;
	return (struct fate){ .result = world_pick(2) == 0 ? -ENOSPC : -EDQUOT,
		.effect = is_partial ? EFFECT_PART : EFFECT_NONE };
}

static bool is_lucky(void)
{
	return world_pick(ONE_IS_LUCKY) == 0;
}

struct fate disk_begin(unsigned machine, enum disk_call call)
{
	struct fate fate = { .machine = machine, .effect = EFFECT_WHOLE };
	if (machine >= MACHINES_MAX || !machine_runs_here(machine))
		return fate; /* the test itself looks at a file */
	struct condition *condition = &conditions[machine];
	if (condition->dies && condition->call == call && condition->skips-- == 0) {
		condition->dies = false;
		tally.deaths[call][condition->moment]++;
		if (condition->moment == MOMENT_BEFORE)
			machine_dies_here(machine, condition->of_power);
		fate.dies = true;
		fate.of_power = condition->of_power;
		if (condition->moment == MOMENT_WITHIN)
			fate.effect = EFFECT_PART;
	} else if (condition->refusal != 0 && condition->refused_call == call &&
		condition->refused_skips-- == 0) {
		fate.result = condition->refusal;
		fate.effect = EFFECT_NONE;
		condition->refusal = 0;
	} else if (condition->fails_next && call != DISK_OPEN && call != DISK_WRITE) {
		condition->fails_next = false;
		tally.failed++;
		fate.result = -EIO;
		fate.effect = EFFECT_PART;
	} else if (condition->has_no_descriptors && needs_descriptor(call) && !is_lucky()) {
		fate = without_descriptor(call);
	} else if (condition->is_full && needs_room(call) && !is_lucky()) {
		fate = without_room(call);
	}
	fate.machine = machine;
	return fate;
}

bool fate_is_done(const struct fate *fate)
{
	return fate->effect == EFFECT_WHOLE || (fate->effect == EFFECT_PART && world_pick(2) == 0);
}

uint64_t fate_part(const struct fate *fate, uint64_t length)
{
	return fate->effect == EFFECT_WHOLE ? length
		: fate->effect == EFFECT_NONE  ? 0
					       : world_pick(length + 1);
}

int disk_end(const struct fate *fate, int result)
{
	if (fate->dies)
		machine_dies_here(fate->machine, fate->of_power);
	return fate->result < 0 ? fate->result : result;
}
