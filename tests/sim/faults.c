#include "sim/faults.h"

#include "sim/cluster.h"
#include "sim/tally.h"

/* ---- one fault each, on a machine ---- */

static void cut_power(unsigned machine)
{
	if (world_is_running(machine))
		cluster_crash(machine);
}

static void kill_process(unsigned machine)
{
	if (world_is_running(machine))
		world_kill_machine(machine);
}

static void restart(unsigned machine)
{
	if (!world_is_running(machine))
		cluster_restart(machine);
}

/* Within the next call of some kind: most kinds are rare, so the kind is drawn, not the call. */
static void die_in_a_call(unsigned machine)
{
	world_crash_in_call(machine, (enum disk_call)world_pick(DISK_CALLS),
		(enum disk_moment)world_pick(MOMENTS), world_pick(2) == 0,
		(unsigned)world_pick(world_pick(2) == 0 ? 1 : 8));
}

static unsigned other_than(unsigned machine)
{
	unsigned count = cluster_machines();
	return (machine + 1 + (unsigned)world_pick(count - 1)) % count;
}

static void cut_line(unsigned machine)
{
	world_set_link(machine, other_than(machine), false);
}

static void mend_line(unsigned machine)
{
	world_set_link(machine, other_than(machine), true);
}

static void change_latency(unsigned machine)
{
	(void)machine;
	world_set_latency_us(world_pick(3) == 0 ? 300000 : 500);
}

static void change_noise(unsigned machine)
{
	(void)machine;
	world_set_noise(world_pick(2) == 0);
}

static void fail_write(unsigned machine)
{
	world_fail_next_write(machine, true);
}

static void fail_call(unsigned machine)
{
	world_fail_next_call(machine, true);
}

static void fill_disk(unsigned machine)
{
	world_fill_disk(machine, true);
}

static void make_room(unsigned machine)
{
	world_fill_disk(machine, false);
}

static void slow_disk(unsigned machine)
{
	world_slow_disk(machine, world_pick(2000000));
}

static void speed_disk(unsigned machine)
{
	world_slow_disk(machine, 0);
}

static void take_descriptors(unsigned machine)
{
	world_take_descriptors(machine, true);
}

static void give_descriptors(unsigned machine)
{
	world_take_descriptors(machine, false);
}

static void freeze(unsigned machine)
{
	if (world_is_running(machine))
		world_freeze_machine(machine, world_pick(8000000));
}

static void cut_off(unsigned machine)
{
	cluster_cut_off(machine, true);
}

static void reach_directory(unsigned machine)
{
	cluster_cut_off(machine, false);
}

static void fail_over(unsigned machine)
{
	(void)machine;
	cluster_fail_over(1 + (uint32_t)world_pick(CLUSTER_VOLUMES));
}

/* ---- which, how often ---- */

static const struct {
	const char *name;
	void (*strike)(unsigned machine);
	unsigned weight; /* trouble is mended more often than it is made */
} faults[] = {
	{ "power cut", cut_power, 4 },
	{ "kill -9", kill_process, 4 },
	{ "death in a disk call", die_in_a_call, 8 },
	{ "start", restart, 24 },
	{ "line cut", cut_line, 4 },
	{ "line mended", mend_line, 10 },
	{ "latency", change_latency, 4 },
	{ "noise", change_noise, 4 },
	{ "write failed", fail_write, 2 },
	{ "call failed", fail_call, 2 },
	{ "disk full", fill_disk, 4 },
	{ "room again", make_room, 10 },
	{ "disk slow", slow_disk, 2 },
	{ "disk as fast as before", speed_disk, 8 },
	{ "no descriptors", take_descriptors, 4 },
	{ "descriptors again", give_descriptors, 10 },
	{ "frozen", freeze, 4 },
	{ "directory away", cut_off, 4 },
	{ "directory back", reach_directory, 6 },
	{ "failover", fail_over, 6 },
};

void faults_strike(void)
{
	unsigned machine = (unsigned)world_pick(cluster_machines());
	unsigned total = 0, i = 0;
	for (unsigned k = 0; k < array_length(faults); k++)
		total += faults[k].weight;
	for (uint64_t left = world_pick(total); left >= faults[i].weight; i++)
		left -= faults[i].weight;
	tally_add(TALLY_FAULT, faults[i].name, 1);
	faults[i].strike(machine);
}

void faults_mend(void)
{
	unsigned count = cluster_machines();
	for (unsigned machine = 0; machine < count; machine++)
		for (unsigned other = 0; other < count; other++)
			world_set_link(machine, other, true);
	world_set_latency_us(500);
	world_set_noise(false);
	for (unsigned machine = 0; machine < count; machine++) {
		world_fail_next_write(machine, false);
		world_fail_next_call(machine, false);
		world_fill_disk(machine, false);
		world_slow_disk(machine, 0);
		world_take_descriptors(machine, false);
		world_spare(machine);
		cluster_cut_off(machine, false);
		/* A log that was fenced by a disk error serves again after a restart only. */
		if (world_is_running(machine))
			cluster_crash(machine);
		cluster_restart(machine);
	}
}
