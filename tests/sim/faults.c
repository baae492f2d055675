#include "sim/faults.h"

#include "sim/cluster.h"
#include "sim/rot.h"
#include "sim/routers.h"
#include "sim/stranger.h"
#include "sim/tally.h"

/* ---- one fault each, on a machine ---- */

enum { LIE_US = 1000000 };

static struct disk_state {
	uint64_t kept_us;       /* when its disk was kept; 0: it was not */
	uint64_t lied_until_us; /* UINT64_MAX: it lies */
	bool has_failed;        /* a log that it fenced serves again after a restart only */
} disks[MACHINES_MAX];

static void cut_power(unsigned machine)
{
	if (world_is_on(machine))
		cluster_crash(machine);
}

static void kill_processes(unsigned machine)
{
	if (world_is_on(machine))
		world_kill_machine(machine);
}

/* The other one of its machine lives, and goes on. */
static void kill_one_process(unsigned machine)
{
	unsigned process = (unsigned)world_pick(PROCESSES_MAX);
	if (world_runs_process(machine, process))
		world_kill_process(machine, process);
}

static void restart(unsigned machine)
{
	if (!router_is(machine))
		cluster_restart(machine);
	else if (!world_is_running(machine))
		router_restart(machine);
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
	if (router_is(machine)) /* a node, or the other router */
		return world_pick(2) == 0
			? (unsigned)world_pick(count)
			: 2 * CLUSTER_ROUTER_FIRST + CLUSTER_ROUTERS - 1 - machine;
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

/* One of them dies, or hangs, for the other. */
static void part_processes(unsigned machine)
{
	world_part_processes(machine);
	world_set_link(machine, machine, false);
}

static void join_processes(unsigned machine)
{
	world_set_link(machine, machine, true);
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
	disks[machine].has_failed = true;
}

static void fail_call(unsigned machine)
{
	world_fail_next_call(machine, true);
	disks[machine].has_failed = true;
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
	if (router_is(machine)) {
		router_cut_off(machine, true);
		return;
	}
	cluster_cut_off(machine, true);
}

static void reach_directory(unsigned machine)
{
	if (router_is(machine)) {
		router_cut_off(machine, false);
		return;
	}
	cluster_cut_off(machine, false);
}

static void fail_over(unsigned machine)
{
	(void)machine;
	cluster_fail_over(1 + (uint32_t)world_pick(CLUSTER_VOLUMES));
}

/* ---- disks and directories that have less than they confirmed ---- */

/* What a lying disk had in its cache when the power went. */
static void on_power_cut(unsigned machine)
{
	uint64_t now = world_now_us();
	uint64_t until = disks[machine].lied_until_us;
	if (until == UINT64_MAX || (until > 0 && until + LIE_US > now))
		history_disk_lost(machine, now < LIE_US ? 0 : now - LIE_US);
}

static void disk_lost(unsigned machine, uint64_t since_us)
{
	if (router_is(machine))
		routers_disk_lost(machine, since_us);
	else
		history_disk_lost(machine, since_us);
}

static void empty_disk(unsigned machine)
{
	cut_power(machine);
	/* The index may be on another one. */
	if (world_pick(2) == 0)
		world_empty_disk(machine);
	else
		world_empty_files(machine);
	disk_lost(machine, 0);
}

static void lose_removed(void *arg)
{
	disk_lost((unsigned)(uintptr_t)arg, 0);
}

/* Beneath processes that run, and write on for a moment. */
static void remove_files(unsigned machine)
{
	world_remove_files(machine, "/volumes/");
	disks[machine].has_failed = true;
	disk_lost(machine, 0);
	world_call_after_us((LOG_LOOK_MS + 100) * 1000, lose_removed, (void *)(uintptr_t)machine);
}

static void keep_disk(unsigned machine)
{
	world_keep_disk(machine);
	disks[machine].kept_us = world_now_us();
}

static void put_back_disk(unsigned machine)
{
	if (disks[machine].kept_us == 0)
		return;
	cut_power(machine);
	if (world_pick(2) == 0)
		world_put_back_disk(machine);
	else
		world_put_back_files(machine);
	disk_lost(machine, disks[machine].kept_us);
}

static void let_lie(unsigned machine)
{
	disks[machine].lied_until_us = UINT64_MAX;
	world_let_disk_lie(machine, LIE_US);
}

static void make_honest(unsigned machine)
{
	if (disks[machine].lied_until_us == UINT64_MAX)
		disks[machine].lied_until_us = world_now_us();
	world_let_disk_lie(machine, 0);
}

/* What a power cut now would lose is not known yet. */
static bool is_lying(void)
{
	bool lies = false;
	for (unsigned m = 0; m < cluster_machines(); m++)
		lies |= disks[m].lied_until_us != 0 &&
			(disks[m].lied_until_us == UINT64_MAX ||
				disks[m].lied_until_us + LIE_US > world_now_us());
	return lies;
}

/* Refused where another copy is not in step, or the machine serves. */
static void throw_copy_away(unsigned machine)
{
	uint32_t volume_id = 1 + (uint32_t)world_pick(CLUSTER_VOLUMES);
	if (cluster_is_whole() && cluster_primary(volume_id) != machine)
		cluster_reseed(volume_id, machine);
}

static void keep_directory(unsigned machine)
{
	(void)machine;
	cluster_keep_directory();
}

static void put_back_directory(unsigned machine)
{
	(void)machine;
	cluster_put_back_directory();
}

static void split_directory(unsigned machine)
{
	(void)machine;
	cluster_split_directory();
}

static void join_directory(unsigned machine)
{
	(void)machine;
	cluster_join_directory();
}

static void jump_clock(unsigned machine)
{
	int64_t by_us = (int64_t)world_pick(1ull << (20 + world_pick(24)));
	world_jump_clock(machine, world_pick(2) == 0 ? by_us : -by_us);
}

/* ---- which, how often ---- */

enum {
	FAULT_ALWAYS = 0,
	/* Of what may befall both, so many go to a router. */
	ROUTER_SHARE = 4,
};

static const struct {
	const char *name;
	void (*strike)(unsigned machine);
	unsigned weight;
	unsigned class;
	bool mends;
	bool nodes; /* it befalls no router */
	/* Not before all that was lost before has been mended: two copies that lose what they had
	 * in common, while the directory has not been told of it, is what no rule can mend. Where
	 * directories are lost too, only when all is well. */
	bool waits;
} faults[] = {
	{ "power cut", cut_power, 4 },
	{ "kill -9", kill_processes, 4 },
	{ "kill -9 of one process", kill_one_process, 4, .nodes = true },
	{ "death in a disk call", die_in_a_call, 8 },
	{ "start", restart, 2, .mends = true },
	{ "line cut", cut_line, 4 },
	{ "line mended", mend_line, 1, .mends = true },
	{ "processes parted", part_processes, 3, .nodes = true },
	{ "processes together", join_processes, 2, .mends = true, .nodes = true },
	{ "latency", change_latency, 4 },
	{ "noise", change_noise, 4 },
	{ "write failed", fail_write, 2 },
	{ "call failed", fail_call, 2 },
	{ "disk full", fill_disk, 4 },
	{ "room again", make_room, 1, .mends = true },
	{ "disk slow", slow_disk, 2 },
	{ "disk as fast as before", speed_disk, 1, .mends = true },
	{ "no descriptors", take_descriptors, 4 },
	{ "descriptors again", give_descriptors, 1, .mends = true },
	{ "frozen", freeze, 4 },
	{ "directory away", cut_off, 4 },
	{ "directory back", reach_directory, 1, .mends = true },
	{ "failover", fail_over, 6, .nodes = true },
	{ "stranger", stranger_come, 4, .nodes = true },
	{ "clock jump", jump_clock, 2 },
	{ "index kept", index_keep, 3, .nodes = true },
	{ "index put back", index_put_back, 2, .nodes = true },
	{ "index of another log", index_swap, 1, .nodes = true },
	{ "a byte of a log rots", rot_log, 8, FAULTS_ROT, .nodes = true },
	{ "a byte beside a log rots", rot_beside_log, 2, FAULTS_ROT, .nodes = true },
	{ "a byte of a queue rots", routers_rot, 4, FAULTS_ROT },
	{ "a row of an index rots", rot_index, 4, FAULTS_ROT, .nodes = true },
	{ "disk emptied", empty_disk, 1, FAULTS_DISK_LOSS, .waits = true },
	{ "copy thrown away", throw_copy_away, 12, FAULTS_DISK_LOSS, .waits = true, .nodes = true },
	{ "files removed beneath", remove_files, 8, FAULTS_DISK_LOSS, .waits = true,
		.nodes = true },
	{ "disk kept", keep_disk, 4, FAULTS_DISK_LOSS },
	{ "disk put back", put_back_disk, 1, FAULTS_DISK_LOSS, .waits = true },
	{ "disk lies", let_lie, 2, FAULTS_DISK_LOSS, .waits = true, .nodes = true },
	{ "disk honest again", make_honest, 1, FAULTS_DISK_LOSS, .mends = true },
	{ "directory kept", keep_directory, 4, FAULTS_DIRECTORY_LOSS, .nodes = true },
	{ "directory put back", put_back_directory, 1, FAULTS_DIRECTORY_LOSS, .waits = true },
	{ "two directories", split_directory, 1, FAULTS_DIRECTORY_LOSS, .waits = true },
	{ "one directory again", join_directory, 1, FAULTS_DIRECTORY_LOSS, .mends = true },
};

static unsigned allowed;
static bool has_unmended_loss;

void faults_allow(unsigned classes)
{
	allowed = classes;
}

void faults_reset(void)
{
	memset(disks, 0, sizeof(disks));
	has_unmended_loss = false;
	rot_reset();
	world_on_power_cut = on_power_cut;
}

static unsigned weight_of(unsigned i, bool mends)
{
	bool is_allowed = faults[i].class == FAULT_ALWAYS || (faults[i].class & allowed) != 0;
	return is_allowed && faults[i].mends == mends ? faults[i].weight : 0;
}

static void strike(bool mends)
{
	unsigned machine = (unsigned)world_pick(cluster_machines());
	unsigned total = 0, i = 0;
	for (unsigned k = 0; k < array_length(faults); k++)
		total += weight_of(k, mends);
	for (uint64_t left = world_pick(total); left >= weight_of(i, mends); i++)
		left -= weight_of(i, mends);
	if (!faults[i].nodes && world_pick(ROUTER_SHARE) == 0)
		machine = CLUSTER_ROUTER_FIRST + (unsigned)world_pick(CLUSTER_ROUTERS);
	if (faults[i].waits && !router_is(machine)) {
		bool both = (allowed & FAULTS_DISK_LOSS) && (allowed & FAULTS_DIRECTORY_LOSS);
		bool is_well = cluster_is_whole() && !is_lying();
		if (!is_well && (both || has_unmended_loss))
			return;
		has_unmended_loss = true;
	}
	tally_add(TALLY_FAULT, faults[i].name, 1);
	faults[i].strike(machine);
}

void faults_strike(void)
{
	strike(false);
}

void faults_ease(void)
{
	strike(true);
}

/* Fences that nobody follows up end after 30 seconds. */
enum {
	CALM_US = 50000000,
	/* Of looking at what is closed: it is opened, cannot be read, and is moved. */
	OPERATOR_ROUNDS = 3,
};

void faults_mend(void)
{
	unsigned count = cluster_machines();
	/* What gets well by itself is to do so without a restart too. */
	bool restarts = world_pick(2) == 0;
	cluster_join_directory();
	for (unsigned machine = 0; machine < CLIENTS; machine++)
		for (unsigned other = 0; other < CLIENTS; other++)
			world_set_link(machine, other, true);
	world_set_latency_us(500);
	world_set_noise(false);
	for (unsigned machine = 0; machine < CLIENTS; machine++) {
		if (machine >= count && !router_is(machine))
			continue;
		world_fail_next_write(machine, false);
		world_fail_next_call(machine, false);
		world_fill_disk(machine, false);
		world_slow_disk(machine, 0);
		make_honest(machine);
		world_take_descriptors(machine, false);
		world_spare(machine);
		reach_directory(machine);
		if (world_is_on(machine) && (restarts || disks[machine].has_failed))
			cluster_crash(machine);
		restart(machine);
	}
	world_run_until_us(world_now_us() + CALM_US);
	faults_open_closed();
}

void faults_open_closed(void)
{
	/* Only what has lost a disk, or bytes of it, or its directory's word may need somebody. */
	if (allowed == 0)
		return;
	for (unsigned i = 0; i < OPERATOR_ROUNDS && cluster_open_closed() > 0; i++)
		world_run_until_us(world_now_us() + CALM_US / 2);
}
