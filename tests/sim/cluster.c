#include "sim/cluster_internal.h"
#include "sim/internal.h"
#include "sim/routers.h"
#include "sim/tally.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	DIRECTORY_WAIT_US = 3000000,
	/* With its summary and change, less than a segment. */
	MESSAGE_BYTES_MAX = 100000,
};

struct machine *machines[CLUSTER_MACHINES_MAX];
struct loop *replicator_loops[CLUSTER_MACHINES_MAX];
unsigned machine_count;
struct truth truths[CLUSTER_VOLUMES];
/* What each machine has heard of it, and keeps over its restarts; while it is cut off from the
 * directory it hears nothing more. */
static struct truth known[CLUSTER_MACHINES_MAX][CLUSTER_VOLUMES];
static bool is_cut_off[CLUSTER_MACHINES_MAX];
static uint64_t fill_bytes_s;
/* A backup of it, and the other one where there are two. */
static struct truth kept[CLUSTER_VOLUMES], others[CLUSTER_VOLUMES];
static bool follows_other[CLUSTER_MACHINES_MAX], is_split, has_lied;
bool cluster_failed;
static unsigned site_of[CLUSTER_MACHINES_MAX];

static struct loop *client_loop;

struct loop *cluster_client_loop(void)
{
	return client_loop;
}

const struct truth *cluster_known(unsigned machine, unsigned v)
{
	return &known[machine][v];
}

bool cluster_directory_has_lied(void)
{
	return has_lied;
}

unsigned cluster_machines(void)
{
	return machine_count;
}

struct volume *cluster_volume(unsigned machine, uint32_t volume_id)
{
	return machines[machine]->slots[volume_id - 1].volume;
}

unsigned cluster_primary(uint32_t volume_id)
{
	return truths[volume_id - 1].primary;
}

/* ---- machines ---- */

static void tell_node(struct machine *machine, unsigned v)
{
	const struct truth *truth = &known[machine->number][v];
	struct slot *slot = &machine->slots[v];
	bool primary = truth->primary == machine->number;
	struct volume_desired desired = { .primary = primary,
		.is_live = true,
		.epoch = truth->epoch,
		.token = truth->token,
		.clean_after = truth->clean_after,
		.incarnation = truth->incarnation,
		.uid_slacks = truth->uid_slacks,
		.freed_epoch = truth->freed_epoch,
		.freed_lsn = truth->freed_lsn,
		.slot = (uint8_t)cluster_slot(v, machine->number) };
	memcpy(desired.reign, truth->reign, sizeof(desired.reign));
	for (unsigned m = 0; m < machine_count; m++)
		if (primary && m != machine->number)
			desired.replicas[desired.replica_count++] =
				(struct volume_replica){ .node_id = m + 1,
					.slot = (uint8_t)cluster_slot(v, m),
					.copy = truth->copies[m],
					.is_seeding = truth->is_seeding[m],
					.counted = !truth->is_seeding[m] &&
						site_of[m] != site_of[machine->number] };
	slot->is_member = true;
	slot->other_count = 0;
	for (unsigned m = 0; m < machine_count; m++)
		if (m != machine->number)
			slot->others[slot->other_count++] = (struct slot_other){ m + 1,
				truth->copies[m], truth->is_seeding[m] };
	memcpy(slot->reign, truth->reign, sizeof(slot->reign));
	slot->epoch = truth->epoch;
	volume_set_desired(slot->volume, &desired);
	slot_tell_directory(slot);
}

static void tell_replicator(const struct machine *machine, unsigned v)
{
	const struct truth *truth = &known[machine->number][v];
	bool primary = truth->primary == machine->number;
	struct replicator_volume volume = { .id = v + 1,
		.epoch = truth->epoch,
		.role = primary ? REPLICATOR_LEAD : REPLICATOR_FOLLOW,
		.leader_node_id = truth->primary + 1,
		.member_count = machine_count };
	for (unsigned m = 0; m < machine_count; m++) {
		volume.members[m] = m + 1;
		volume.copies[m] = truth->copies[m];
		volume.is_seeding[m] = truth->is_seeding[m];
	}
	replicator_set_volume(machine->replicator, &volume);
}

struct directory_word {
	unsigned machine, volume;
};

static struct directory_word take_word(void *arg)
{
	struct directory_word word = *(struct directory_word *)arg;
	free(arg);
	if (!is_cut_off[word.machine])
		known[word.machine][word.volume] =
			(follows_other[word.machine] ? others : truths)[word.volume];
	return word;
}

static void on_word_to_node(void *arg)
{
	struct directory_word word = take_word(arg);
	tell_node(machines[word.machine], word.volume);
}

static void on_word_to_replicator(void *arg)
{
	struct directory_word word = take_word(arg);
	tell_replicator(machines[word.machine], word.volume);
}

static void spread_to(struct loop *loop, unsigned v, uint64_t delay_us, void (*fn)(void *arg))
{
	struct directory_word *word = mem_alloc(sizeof(*word));
	*word = (struct directory_word){ .machine = loop->machine, .volume = v };
	event_add(loop, delay_us, fn, word);
}

/* Each of its processes hears it for itself. */
void cluster_spread(unsigned machine, unsigned v, uint64_t delay_us)
{
	uint64_t later_us = world_pick(1 + delay_us / 4);
	spread_to(machines[machine]->loop, v, delay_us, on_word_to_node);
	spread_to(replicator_loops[machine], v, delay_us + later_us, on_word_to_replicator);
}

void cluster_cut_off(unsigned machine, bool cut_off)
{
	bool is_back = is_cut_off[machine] && !cut_off;
	is_cut_off[machine] = cut_off;
	for (unsigned v = 0; v < CLUSTER_VOLUMES && is_back && world_is_on(machine); v++)
		cluster_spread(machine, v, world_pick(300000));
}

/* ---- directories that are not right ---- */

static void spread_all(void)
{
	for (unsigned m = 0; m < machine_count; m++)
		for (unsigned v = 0; v < CLUSTER_VOLUMES && world_is_on(m); v++)
			cluster_spread(m, v, world_pick(30000));
}

void cluster_keep_directory(void)
{
	memcpy(kept, truths, sizeof(kept));
}

void cluster_put_back_directory(void)
{
	has_lied = true;
	memcpy(truths, kept, sizeof(truths));
	spread_all();
}

void cluster_split_directory(void)
{
	has_lied = is_split = true;
	memcpy(others, truths, sizeof(others));
	for (unsigned m = 0; m < machine_count; m++)
		follows_other[m] = world_pick(2) == 0;
}

/* The operator's next command goes to the other one, perhaps. */
static void draw_directory(void)
{
	struct truth swapped[CLUSTER_VOLUMES];
	if (!is_split || world_pick(2) == 0)
		return;
	memcpy(swapped, truths, sizeof(swapped));
	memcpy(truths, others, sizeof(truths));
	memcpy(others, swapped, sizeof(others));
	for (unsigned m = 0; m < machine_count; m++)
		follows_other[m] = !follows_other[m];
}

void cluster_join_directory(void)
{
	for (unsigned v = 0; v < CLUSTER_VOLUMES && is_split; v++)
		if (others[v].epoch > truths[v].epoch)
			truths[v] = others[v];
	is_split = false;
	memset(follows_other, 0, sizeof(follows_other));
	spread_all();
}

static bool is_in_step(unsigned m, unsigned v)
{
	const struct volume *volume = machines[m]->slots[v].volume;
	const struct volume *leader = machines[truths[v].primary]->slots[v].volume;
	if (!world_is_running(m) || is_cut_off[m] || volume == NULL ||
		memcmp(&known[m][v], &truths[v], sizeof(truths[v])) != 0)
		return false;
	if (m == truths[v].primary)
		return volume->state == VOLUME_PRIMARY &&
			volume->desired.epoch == truths[v].epoch &&
			volume->numbers.incarnation == truths[v].incarnation;
	return volume->state == VOLUME_REPLICA && leader->log != NULL &&
		volume->reader_end == volume_log_end(leader->log);
}

bool cluster_is_whole(void)
{
	bool whole = !is_split;
	for (unsigned m = 0; m < machine_count; m++) {
		for (unsigned v = 0; v < CLUSTER_VOLUMES && whole; v++)
			whole &= world_is_running(truths[v].primary) && is_in_step(m, v) &&
				world_runs_process(m, REPLICATOR_PROCESS) &&
				!truths[v].is_seeding[m];
		for (unsigned other = 0; other < m; other++)
			whole &= link_is_up(m, other);
	}
	return whole;
}

static uint64_t epoch_above_all(unsigned v)
{
	uint64_t epoch = truths[v].epoch;
	for (unsigned m = 0; m < machine_count; m++) {
		const struct volume *volume = machines[m]->slots[v].volume;
		if (world_is_running(m) && volume != NULL && volume->numbers.epoch > epoch)
			epoch = volume->numbers.epoch;
		if (world_is_running(m) && volume != NULL && volume->numbers.seen > epoch)
			epoch = volume->numbers.seen;
	}
	return epoch;
}

unsigned cluster_slot(unsigned v, unsigned machine)
{
	return 1 + (machine + machine_count - v % machine_count) % machine_count;
}

/* ---- what nodes write in the directory ---- */

bool truth_is_reached(const struct truth *truth, uint64_t epoch, uint64_t end)
{
	return epoch != truth->freed_epoch ? epoch > truth->freed_epoch : end >= truth->freed_lsn;
}

struct write {
	unsigned machine, volume;
	struct volume_claim claim; /* epoch 0: the opening is noted */
	uint64_t opened_epoch, incarnation, uid_slacks, freed_lsn;
};

/* Of the epoch that the row names. */
static void note_freed(struct truth *truth, uint64_t lsn)
{
	if (lsn == 0 || (truth->freed_epoch == truth->epoch && truth->freed_lsn >= lsn))
		return;
	tally_add(TALLY_FAULT, "times a copy was left behind by room that came back", 1);
	truth->freed_epoch = truth->epoch;
	truth->freed_lsn = lsn;
}

static void on_write(void *arg)
{
	struct write write = *(struct write *)arg;
	free(arg);
	unsigned v = write.volume;
	struct truth *truth = &(follows_other[write.machine] ? others : truths)[v];
	if (!world_is_running(write.machine))
		return;
	struct slot *slot = &machines[write.machine]->slots[v];
	slot->is_claiming = false;
	if (is_cut_off[write.machine])
		return;
	if (write.claim.epoch == 0) {
		if (truth->epoch == write.opened_epoch) {
			truth->incarnation = write.incarnation;
			if (truth->uid_slacks < write.uid_slacks)
				truth->uid_slacks = write.uid_slacks;
			note_freed(truth, write.freed_lsn);
		}
	} else {
		if (truth->epoch != write.claim.expected_epoch || write.claim.epoch <= truth->epoch)
			return;
		*truth = (struct truth){ .epoch = write.claim.epoch,
			.primary = write.machine,
			.token = write.claim.token,
			.incarnation = truth->incarnation,
			.uid_slacks = truth->uid_slacks,
			.freed_epoch = truth->freed_epoch,
			.freed_lsn = truth->freed_lsn };
		memcpy(truth->reign, write.claim.reign, sizeof(truth->reign));
		history_claimed(v + 1, write.machine);
	}
	for (unsigned m = 0; m < machine_count; m++)
		cluster_spread(m, v, world_pick(30000));
}

static void write_soon(struct slot *slot, const struct volume_claim *claim)
{
	struct write *write = mem_alloc(sizeof(*write));
	*write = (struct write){ slot->volumes->node_id - 1, slot->id - 1, *claim,
		slot->volume->numbers.epoch, slot->volume->numbers.incarnation,
		slot->volume->numbers.uid_slacks, slot->volume->numbers.freed_lsn };
	slot->is_claiming = true;
	world_call_on(write->machine, 1000 + world_pick(20000), on_write, write);
}

void slot_claim(struct slot *slot, const struct volume_claim *claim)
{
	unsigned machine = slot->volumes->node_id - 1;
	if (!slot->is_claiming && !is_cut_off[machine] && slot->epoch == claim->expected_epoch &&
		(claim->is_heard || known[machine][slot->id - 1].primary == machine))
		write_soon(slot, claim);
}

void cluster_reseed(uint32_t volume_id, unsigned machine)
{
	static uint64_t last;
	unsigned v = volume_id - 1;
	struct truth *truth = &truths[v];
	const struct volume *primary = machines[truth->primary]->slots[v].volume;
	uint64_t wanted = primary->index.highest_uidnext / UID_SLACK + 2;
	CHECK(machine != truth->primary);
	truth->copies[machine] = ++last;
	truth->is_seeding[machine] = true;
	truth->thrown_us[machine] = world_now_us();
	if (wanted > truth->epoch + truth->uid_slacks)
		truth->uid_slacks = wanted - truth->epoch;
	for (unsigned m = 0; m < machine_count; m++)
		cluster_spread(m, v, world_pick(30000));
}

bool cluster_has_just_thrown(uint32_t volume_id, unsigned machine)
{
	enum { ON_ITS_WAY_US = 50000 };
	uint64_t then = truths[volume_id - 1].thrown_us[machine];
	return then > 0 && world_now_us() - then < ON_ITS_WAY_US;
}

/* Who serves has seen copies in step that were being filled. */
static void note_filled(const struct slot *slot, unsigned machine)
{
	unsigned v = slot->id - 1;
	struct truth *truth = &truths[v];
	for (unsigned i = 0; i < VOLUME_COPIES_MAX; i++)
		for (unsigned m = 0; m < machine_count; m++) {
			uint64_t filled = slot->volume->numbers.filled_copies[i];
			if (filled == 0 || truth->copies[m] != filled || !truth->is_seeding[m] ||
				is_cut_off[machine] ||
				truth->epoch != slot->volume->numbers.epoch)
				continue;
			truth->is_seeding[m] = false;
			for (unsigned k = 0; k < machine_count; k++)
				cluster_spread(k, v, world_pick(30000));
		}
}

void slot_tell_directory(struct slot *slot)
{
	unsigned machine = slot->volumes->node_id - 1;
	const struct volume_numbers *numbers = &slot->volume->numbers;
	const struct truth *row = &known[machine][slot->id - 1];
	struct volume_claim claim = { .expected_epoch = row->epoch, .epoch = numbers->epoch };
	uint64_t reign[2] = { numbers->reign[0], numbers->reign[1] };
	bool is_freed_further = numbers->freed_lsn > 0 &&
		(row->freed_epoch < numbers->epoch || row->freed_lsn < numbers->freed_lsn);
	if (numbers->state == VOLUME_PRIMARY)
		note_filled(slot, machine);
	if (slot->is_claiming || is_cut_off[machine] || numbers->state != VOLUME_PRIMARY ||
		(row->epoch == numbers->epoch && row->incarnation == numbers->incarnation &&
			row->uid_slacks >= numbers->uid_slacks && !is_freed_further) ||
		row->epoch > numbers->epoch)
		return;
	memcpy(claim.reign, reign, sizeof(reign));
	if (row->epoch == numbers->epoch)
		claim.epoch = 0;
	write_soon(slot, &claim);
}

void cluster_name(unsigned v, unsigned target, uint64_t token, uint64_t clean_after, bool complete)
{
	struct truth *truth = &truths[v];
	history_promoted(v + 1, truth->primary, target, complete);
	uint64_t least = 0;
	const struct volume *volume = machines[target]->slots[v].volume;
	if (world_is_running(target) && volume != NULL && volume->log != NULL)
		least = epochs_least_unclean(
			volume_log_epochs(volume->log), volume_log_end(volume->log));
	truth->epoch = epochs_next_from(epoch_above_all(v), least, cluster_slot(v, target));
	truth->primary = target;
	truth->is_seeding[target] = false;
	truth->token = token;
	truth->clean_after = clean_after;
	for (size_t i = 0; i < GROUP_REIGN_LENGTH; i++)
		truth->reign[i] = (uint8_t)world_pick(256);
	for (unsigned m = 0; m < machine_count; m++)
		cluster_spread(m, v, world_pick(30000));
	draw_directory();
}

/* ---- machines, again ---- */

static void make_slot(struct machine *machine, unsigned v)
{
	struct slot *slot = &machine->slots[v];
	char directory[64], index[64], witness[64];
	uint64_t id = v + 1;
	slot->volumes = &machine->volumes;
	slot->worker = &machine->worker;
	slot->id = v + 1;
	slot_init(slot);
	snprintf(directory, sizeof(directory), "/volumes/%u", v + 1);
	snprintf(index, sizeof(index), "/index/%u", v + 1);
	snprintf(witness, sizeof(witness), "/run/node/%u", v + 1);
	slot->volume = volume_create(&(struct volume_options){ .loop = machine->loop,
		.disk = machine->disk,
		.id = v + 1,
		.node_id = machine->number + 1,
		.log_directory = directory,
		.index_path = index,
		.witness_path = witness,
		.remote_wait_ms_max = CLUSTER_REMOTE_WAIT_MS,
		.alone_after_ms = CLUSTER_ALONE_AFTER_MS,
		.free_wait_ms = CLUSTER_FREE_WAIT_MS,
		.retained_bytes_max = CLUSTER_RETAINED_BYTES_MAX,
		.stale_after_ms = CLUSTER_FREE_WAIT_MS,
		.checkpoint_ms = CLUSTER_CHECKPOINT_MS,
		.events = slot_events(slot) });
	map_set(machine->volumes.slots, map_key_u64(&id), slot);
}

static void on_lmtp(void *arg, struct stream *stream)
{
	lmtp_session_start(arg, stream);
}

static void on_imap(void *arg, struct stream *stream)
{
	imap_login_start(arg, stream);
}

static void open_doors(struct machine *machine)
{
	struct error error;
	char address[32];
	/* They greet behind the handshake. */
	struct tls_context *tls = (struct tls_context *)machine;
	machine->lmtp = (struct lmtp_front){ machine->loop, directory_of(machine->number),
		&machine->volumes, &machine->config, &machine->meant };
	machine->imap = (struct imap_front){ machine->loop, directory_of(machine->number),
		&machine->volumes, &machine->config, &machine->meant };
	snprintf(address, sizeof(address), "machine-%u:24", machine->number);
	CHECK(listener_open(machine->loop, address, tls, on_lmtp, &machine->lmtp,
		      &machine->lmtp_listener, &error) == 0);
	snprintf(address, sizeof(address), "machine-%u:143", machine->number);
	CHECK(listener_open(machine->loop, address, tls, on_imap, &machine->imap,
		      &machine->imap_listener, &error) == 0);
}

/* What the processes of a machine do first. They may die in it. */

static void on_start_replicator(void *arg)
{
	struct machine *machine = arg;
	unsigned number = machine->number;
	struct loop *loop = replicator_loops[number];
	struct disk *disk;
	struct error error;
	char name[16], address[32];
	CHECK(disk_create(loop, IO_BACKEND_AUTO, &disk, &error) == 0);
	snprintf(name, sizeof(name), "node-%u", number);
	snprintf(address, sizeof(address), "machine-%u:1", number);
	CHECK(replicator_create(&(struct replicator_options){ .loop = loop,
					.disk = disk,
					.volumes_directory = "/volumes",
					.node_id = number + 1,
					.node_name = name,
					.listen = address,
					.fill_bytes_s = fill_bytes_s,
					.node_socket = "unix:/run/replicator.sock" },
		      &machine->replicator, &error) == 0);
	for (unsigned m = 0; m < machine_count; m++) {
		snprintf(name, sizeof(name), "node-%u", m);
		snprintf(address, sizeof(address), "machine-%u:1", m);
		replicator_set_peer(machine->replicator, m + 1, name, address);
	}
}

static void on_start_node(void *arg)
{
	struct machine *machine = arg;
	unsigned number = machine->number;
	struct error error;
	char name[16];
	CHECK(disk_create(machine->loop, IO_BACKEND_AUTO, &machine->disk, &error) == 0);
	snprintf(name, sizeof(name), "node-%u", number);
	machine->config.node = str_to_heap(str_from(name));
	machine->config.hostname = machine->config.node;
	machine->config.run_dir = str_to_heap(STR("/run"));
	machine->config.message_bytes_max = MESSAGE_BYTES_MAX;
	machine->worker = (struct worker){ .loop = machine->loop, .disk = machine->disk };
	machine->volumes = (struct volumes){ .front = machine->loop,
		.config = &machine->config,
		.slots = map_create(),
		.node_id = number + 1 };
	for (unsigned v = 0; v < CLUSTER_VOLUMES; v++)
		make_slot(machine, v);
	machine->volumes.link = replicator_link_create(&machine->volumes);
	open_doors(machine);
}

/* What a death leaves of the old process is never touched again. */
static void start_node(unsigned number)
{
	struct machine *machine = mem_alloc(sizeof(*machine));
	machine->number = number;
	if (machines[number] != NULL)
		machine->replicator = machines[number]->replicator;
	machines[number] = machine;
	machine->loop = world_start_process(number, NODE_PROCESS);
}

void cluster_restart(unsigned number)
{
	bool has_node = world_runs_process(number, NODE_PROCESS);
	bool has_replicator = world_runs_process(number, REPLICATOR_PROCESS);
	if (!has_node)
		start_node(number);
	if (!has_replicator) {
		replicator_loops[number] = world_start_process(number, REPLICATOR_PROCESS);
		world_run_in(replicator_loops[number], on_start_replicator, machines[number]);
	}
	if (!has_node && loop_is_alive(machines[number]->loop))
		world_run_in(machines[number]->loop, on_start_node, machines[number]);
	/* Without the directory a process waits for a while before it trusts what it knew. */
	uint64_t wait_us = is_cut_off[number] ? DIRECTORY_WAIT_US : 1000;
	for (unsigned v = 0; v < CLUSTER_VOLUMES; v++) {
		uint64_t delay_us = wait_us + world_pick(300000);
		if (!has_node)
			spread_to(machines[number]->loop, v, delay_us, on_word_to_node);
		if (!has_replicator)
			spread_to(replicator_loops[number], v, delay_us + world_pick(30000),
				on_word_to_replicator);
	}
}

void cluster_put_together(unsigned machine, unsigned other)
{
	site_of[machine] = site_of[other];
	for (unsigned v = 0; v < CLUSTER_VOLUMES; v++) {
		cluster_spread(machine, v, 0);
		cluster_spread(other, v, 0);
	}
}

void cluster_crash(unsigned machine)
{
	world_crash_machine(machine);
}

void cluster_limit_filling(uint64_t bytes_s)
{
	fill_bytes_s = bytes_s;
}

void cluster_start(unsigned count)
{
	machine_count = count;
	fill_bytes_s = 0;
	cluster_failed = false;
	load_reset();
	history_reset();
	has_lied = is_split = false;
	memset(follows_other, 0, sizeof(follows_other));
	for (unsigned v = 0; v < CLUSTER_VOLUMES; v++) {
		truths[v] = (struct truth){ .epoch = 1, .primary = v % machine_count };
		for (size_t i = 0; i < GROUP_REIGN_LENGTH; i++)
			truths[v].reign[i] = (uint8_t)world_pick(256);
	}
	for (unsigned m = 0; m < machine_count; m++) {
		memcpy(known[m], truths, sizeof(truths));
		site_of[m] = m;
		is_cut_off[m] = false;
		machines[m] = NULL;
		cluster_restart(m);
	}
	client_loop = world_start_process(CLIENTS, NODE_PROCESS);
	cluster_keep_directory();
	routers_start();
	watch_start();
}
