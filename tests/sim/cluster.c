#include "sim/cluster.h"

#include "core/clock.h"
#include "core/config.h"
#include "core/rand.h"
#include "node/volume/volumes_internal.h"
#include "replicator/replicator.h"

#include <stdio.h>
#include <stdlib.h>

enum { DIRECTORY_WAIT_US = 3000000 };

/* The directory's truth. */
struct truth {
	uint64_t epoch;
	uint8_t reign[GROUP_REIGN_LENGTH];
	unsigned primary;
};

struct machine {
	unsigned number;
	struct loop *loop;
	struct disk *disk;
	struct config config;
	struct worker worker;
	struct volumes volumes;
	struct slot slots[CLUSTER_VOLUMES];
	struct replicator *replicator;
};

static struct machine *machines[CLUSTER_MACHINES_MAX];
static unsigned machine_count;
static struct truth truths[CLUSTER_VOLUMES];
/* What each machine has heard of it, and keeps over its restarts; while it is cut off from the
 * directory it hears nothing more. */
static struct truth known[CLUSTER_MACHINES_MAX][CLUSTER_VOLUMES];
static bool is_cut_off[CLUSTER_MACHINES_MAX];
static struct history history;
static bool load_is_on;
bool cluster_failed;

/* Which machine was primary in an epoch: at most one, ever. */
static struct {
	uint64_t epoch;
	unsigned machine;
} reigns[CLUSTER_VOLUMES][512];
static unsigned reign_counts[CLUSTER_VOLUMES];

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

const struct history *cluster_history(void)
{
	return &history;
}

/* ---- one reign per epoch ---- */

static void watch_reigns(void *arg)
{
	for (unsigned m = 0; m < machine_count; m++) {
		for (unsigned v = 0; v < CLUSTER_VOLUMES && world_is_running(m); v++) {
			const struct volume *volume = machines[m]->slots[v].volume;
			if (volume->state != VOLUME_PRIMARY)
				continue;
			uint64_t epoch = volume->desired.epoch;
			unsigned i = 0;
			while (i < reign_counts[v] && reigns[v][i].epoch != epoch)
				i++;
			if (i == reign_counts[v] && i < array_length(reigns[v])) {
				reigns[v][i].epoch = epoch;
				reigns[v][i].machine = m;
				reign_counts[v]++;
			} else if (i < reign_counts[v] && reigns[v][i].machine != m) {
				printf("volume %u: machines %u and %u both primary in epoch %llu\n",
					v + 1, reigns[v][i].machine, m, (unsigned long long)epoch);
				cluster_failed = true;
			}
		}
	}
	world_call_after_us(5000, watch_reigns, arg);
}

/* ---- machines ---- */

static void tell_directory(struct machine *machine, unsigned v)
{
	const struct truth *truth = &known[machine->number][v];
	struct slot *slot = &machine->slots[v];
	bool primary = truth->primary == machine->number;
	struct volume_desired desired = { .primary = primary,
		.epoch = truth->epoch };
	struct replicator_volume volume = { .id = v + 1,
		.epoch = truth->epoch,
		.role = primary ? REPLICATOR_LEAD : REPLICATOR_FOLLOW,
		.leader_node_id = truth->primary + 1,
		.member_count = machine_count };
	memcpy(desired.reign, truth->reign, sizeof(desired.reign));
	for (unsigned m = 0; m < machine_count; m++) {
		volume.members[m] = m + 1;
		if (primary && m != machine->number)
			desired.replicas[desired.replica_count++] =
				(struct volume_replica){ .node_id = m + 1, .counted = true };
	}
	memcpy(slot->reign, truth->reign, sizeof(slot->reign));
	slot->epoch = truth->epoch;
	volume_set_desired(slot->volume, &desired);
	replicator_set_volume(machine->replicator, &volume);
}

struct directory_word {
	unsigned machine, volume;
};

static void on_directory_word(void *arg)
{
	struct directory_word word = *(struct directory_word *)arg;
	free(arg);
	if (!world_is_running(word.machine))
		return;
	if (!is_cut_off[word.machine])
		known[word.machine][word.volume] = truths[word.volume];
	tell_directory(machines[word.machine], word.volume);
}

/* The change feed reaches a machine a little later; runs as an event of that machine. */
static void spread(unsigned machine, unsigned v, uint64_t delay_us)
{
	struct directory_word *word = mem_alloc(sizeof(*word));
	*word = (struct directory_word){ .machine = machine, .volume = v };
	world_call_on(machine, delay_us, on_directory_word, word);
}

void cluster_cut_off(unsigned machine, bool cut_off)
{
	bool is_back = is_cut_off[machine] && !cut_off;
	is_cut_off[machine] = cut_off;
	for (unsigned v = 0; v < CLUSTER_VOLUMES && is_back && world_is_running(machine); v++)
		spread(machine, v, world_pick(300000));
}

static void make_slot(struct machine *machine, unsigned v)
{
	struct slot *slot = &machine->slots[v];
	char directory[64], index[64];
	uint64_t id = v + 1;
	slot->volumes = &machine->volumes;
	slot->worker = &machine->worker;
	slot->id = v + 1;
	slot_init(slot);
	snprintf(directory, sizeof(directory), "/volumes/%u", v + 1);
	snprintf(index, sizeof(index), "/index/%u", v + 1);
	slot->volume = volume_create(&(struct volume_options){ .loop = machine->loop,
		.disk = machine->disk,
		.id = v + 1,
		.log_directory = directory,
		.index_path = index,
		.remote_wait_ms_max = CLUSTER_REMOTE_WAIT_MS,
		.events = slot_events(slot) });
	map_set(machine->volumes.slots, map_key_u64(&id), slot);
}

/* What the processes of a machine do first. They may die in it. */
static void on_start(void *arg)
{
	struct machine *machine = arg;
	unsigned number = machine->number;
	struct error error;
	char name[16], address[32];
	CHECK(disk_create(machine->loop, IO_BACKEND_AUTO, &machine->disk, &error) == 0);
	snprintf(name, sizeof(name), "node-%u", number);
	snprintf(address, sizeof(address), "machine-%u:1", number);
	machine->config.node = str_to_heap(str_from(name));
	machine->config.run_dir = str_to_heap(STR("/run"));
	machine->worker = (struct worker){ .loop = machine->loop, .disk = machine->disk };
	machine->volumes = (struct volumes){ .front = machine->loop,
		.config = &machine->config,
		.slots = map_create(),
		.node_id = number + 1 };
	CHECK(replicator_create(&(struct replicator_options){ .loop = machine->loop,
					.disk = machine->disk,
					.volumes_directory = "/volumes",
					.node_id = number + 1,
					.node_name = name,
					.listen = address,
					.node_socket = "unix:/run/replicator.sock" },
		      &machine->replicator, &error) == 0);
	for (unsigned m = 0; m < machine_count; m++) {
		snprintf(name, sizeof(name), "node-%u", m);
		snprintf(address, sizeof(address), "machine-%u:1", m);
		replicator_set_peer(machine->replicator, m + 1, name, address);
	}
	for (unsigned v = 0; v < CLUSTER_VOLUMES; v++)
		make_slot(machine, v);
	machine->volumes.link = replicator_link_create(&machine->volumes);
	/* Without the directory a node waits for a while before it trusts what it knew. */
	uint64_t wait_us = is_cut_off[number] ? DIRECTORY_WAIT_US : 1000;
	for (unsigned v = 0; v < CLUSTER_VOLUMES; v++)
		spread(number, v, wait_us + world_pick(300000));
}

void cluster_restart(unsigned number)
{
	/* What a crash leaves of the old process is never touched again. */
	struct machine *machine = machines[number] = mem_alloc(sizeof(*machine));
	machine->number = number;
	machine->loop = world_start_machine(number);
	world_run_on(number, on_start, machine);
}

void cluster_crash(unsigned machine)
{
	world_crash_machine(machine);
}

void cluster_start(unsigned count)
{
	machine_count = count;
	free(history.entries);
	history = (struct history){ 0 };
	memset(reign_counts, 0, sizeof(reign_counts));
	cluster_failed = false;
	load_is_on = false;
	for (unsigned v = 0; v < CLUSTER_VOLUMES; v++) {
		truths[v] = (struct truth){ .epoch = 1, .primary = v % machine_count };
		for (size_t i = 0; i < GROUP_REIGN_LENGTH; i++)
			truths[v].reign[i] = (uint8_t)world_pick(256);
	}
	for (unsigned m = 0; m < machine_count; m++) {
		memcpy(known[m], truths, sizeof(truths));
		is_cut_off[m] = false;
		cluster_restart(m);
	}
	watch_reigns(NULL);
}

/* ---- load ---- */

struct attempt {
	struct delivery delivery;
	struct delivery_target target;
	struct delivery_part part;
	unsigned index;
	size_t entry; /* of the history */
	unsigned tries;
};

static void try_delivery(void *arg);

static void on_part_done(struct delivery_part *part)
{
	struct attempt *attempt = container_of(part, struct attempt, part);
	struct history_entry *entry = &history.entries[attempt->entry];
	const struct volume *volume = part->volume;
	entry->answered_us = world_now_us();
	if (attempt->target.status == 0) {
		entry->answered_ok = true;
		entry->answered_epoch = volume->desired.epoch;
		if (attempt->target.uid != 0)
			entry->uid = attempt->target.uid;
		/* The volume says for which answers it had no second copy. */
		bool at_risk = false;
		for (size_t i = 0; i < volume->at_risk_count; i++)
			at_risk |= memcmp(volume->at_risk[volume->at_risk_first + i].delivery_id,
					   entry->delivery_id, DELIVERY_ID_LENGTH) == 0;
		entry->safe = entry->durability != DURABILITY_LOCAL && !at_risk &&
			attempt->target.uid != 0;
	}
	bytes_unref(&attempt->delivery.body);
	buf_deinit(&attempt->delivery.summary);
	/* A router asks again with the same id, sometimes although it was answered (the answer was
	 * lost). */
	if (attempt->tries < 6 && (attempt->target.status != 0 || world_pick(20) == 0))
		world_call_after_us(20000 + world_pick(400000), try_delivery, attempt);
	else
		free(attempt);
}

static void start_delivery(void *arg)
{
	struct attempt *attempt = arg;
	struct history_entry *entry = &history.entries[attempt->entry];
	unsigned machine = truths[entry->volume_id - 1].primary;
	entry->sent_us = world_now_us();
	attempt->target = (struct delivery_target){ .mailbox_id = entry->mailbox_id,
		.volume_id = entry->volume_id,
		.durability = entry->durability };
	attempt->delivery = (struct delivery){ .targets = &attempt->target, .target_count = 1 };
	memcpy(attempt->delivery.id, entry->delivery_id, DELIVERY_ID_LENGTH);
	attempt->delivery.body = bytes_create(1 + world_pick(world_pick(10) == 0 ? 60000 : 3000));
	memset(attempt->delivery.body->data, 'm', attempt->delivery.body->length);
	buf_append_literal(&attempt->delivery.summary, "summary");
	attempt->part = (struct delivery_part){ .delivery = &attempt->delivery,
		.target_indices = &attempt->index,
		.target_count = 1,
		.done = on_part_done };
	volume_deliver(cluster_volume(machine, entry->volume_id), &attempt->part);
}

static void try_delivery(void *arg)
{
	struct attempt *attempt = arg;
	unsigned machine = truths[history.entries[attempt->entry].volume_id - 1].primary;
	attempt->tries++;
	if (world_is_running(machine))
		world_call_on(machine, 100, start_delivery, attempt);
	else if (attempt->tries < 6)
		world_call_after_us(300000, try_delivery, attempt);
}

size_t cluster_deliver(uint32_t volume_id, uint64_t mailbox_id, enum durability durability)
{
	struct attempt *attempt = mem_alloc(sizeof(*attempt));
	if (history.count == history.capacity) {
		history.capacity = history.capacity ? history.capacity * 2 : 1024;
		history.entries =
			mem_resize(history.entries, history.capacity * sizeof(*history.entries));
	}
	struct history_entry *entry = &history.entries[history.count];
	*entry = (struct history_entry){ .volume_id = volume_id,
		.mailbox_id = mailbox_id,
		.durability = durability };
	for (size_t i = 0; i < DELIVERY_ID_LENGTH; i++)
		entry->delivery_id[i] = (uint8_t)world_pick(256);
	attempt->entry = history.count++;
	try_delivery(attempt);
	return history.count - 1;
}

static void new_delivery(void)
{
	uint32_t volume_id = 1 + (uint32_t)world_pick(CLUSTER_VOLUMES);
	uint64_t mailbox_id = 100 * volume_id + 1 + world_pick(CLUSTER_MAILBOXES);
	cluster_deliver(volume_id, mailbox_id, (enum durability)world_pick(3));
}

static void on_op_done(struct mailbox_op *op)
{
	free(op->failed_uids);
	free(op);
}

/* A session's change on a random message of a random mailbox. Expunges spare the messages that the
 * checkers look for: only folders that start with another letter are emptied. */
static void new_change(void *arg)
{
	uint32_t volume_id = 1 + (uint32_t)world_pick(CLUSTER_VOLUMES);
	unsigned machine = truths[volume_id - 1].primary;
	(void)arg;
	if (!world_is_running(machine) || machine != *(unsigned *)arg)
		return;
	struct volume *volume = cluster_volume(machine, volume_id);
	struct mailbox *mailbox = index_find_mailbox(
		&volume->index, 100 * volume_id + 1 + world_pick(CLUSTER_MAILBOXES));
	if (volume->state != VOLUME_PRIMARY || mailbox == NULL || mailbox->folder_count == 0)
		return;
	struct folder *inbox = mailbox_find_folder(mailbox, STR("INBOX"));
	struct folder *trash = mailbox_find_folder(mailbox, STR("Trash"));
	struct mailbox_op *op = mem_alloc(sizeof(*op));
	op->done = on_op_done;
	uint32_t uid = 0;
	if (folder_load(inbox) == 0 && inbox->message_count > 0)
		uid = inbox->messages[world_pick(inbox->message_count)].uid;
	struct str keyword = STR("$Simulated");
	switch (world_pick(5)) {
	case 0:
	case 1:
		mailbox_store(inbox, &(struct store_request){ .uids = &uid, .count = 1,
					     .mode = (enum store_mode)world_pick(3),
					     .system_flags = world_pick(32), .keywords = &keyword,
					     .keyword_count = (unsigned)world_pick(2) }, op);
		break;
	case 2:
		mailbox_copy(inbox, &uid, 1, trash, false,
			&(struct mailbox_policy){ DURABILITY_LOCAL, 0 }, op);
		break;
	case 3:
		uid = folder_load(trash) == 0 && trash->message_count > 0 ? trash->messages[0].uid
									  : 0;
		mailbox_expunge(trash, &uid, 1, op);
		break;
	case 4: {
		char name[32];
		snprintf(name, sizeof(name), "work/%u", (unsigned)world_pick(5));
		struct folder *folder = mailbox_find_folder(mailbox, str_from(name));
		if (folder != NULL)
			mailbox_delete_folder(folder, op);
		else
			mailbox_create_folder(mailbox, str_from(name), SPECIAL_NONE, op);
		break;
	}
	}
}

static void on_load(void *arg)
{
	static unsigned numbers[CLUSTER_MACHINES_MAX] = { 0, 1, 2 };
	if (!load_is_on)
		return;
	new_delivery();
	unsigned machine = (unsigned)world_pick(machine_count);
	if (world_is_running(machine) && world_pick(2) == 0)
		world_call_on(machine, 10, new_change, &numbers[machine]);
	world_call_after_us(500 + world_pick(8000), on_load, arg);
}

void cluster_start_load(void)
{
	load_is_on = true;
	on_load(NULL);
}

void cluster_stop_load(void)
{
	load_is_on = false;
}

/* ---- failover ---- */

static void promote(unsigned v, unsigned target)
{
	struct truth *truth = &truths[v];
	truth->epoch++;
	truth->primary = target;
	for (size_t i = 0; i < GROUP_REIGN_LENGTH; i++)
		truth->reign[i] = (uint8_t)world_pick(256);
	for (unsigned m = 0; m < machine_count; m++)
		spread(m, v, world_pick(30000));
}

void cluster_promote(uint32_t volume_id, unsigned machine)
{
	promote(volume_id - 1, machine);
}

struct planned {
	unsigned volume;
	uint64_t epoch, end, deadline_us;
	struct end_wait wait;
};

/* The operator's tool asks the replicas until one has all, or gives the plan up. */
static void on_planned(void *arg)
{
	struct planned *planned = arg;
	const struct truth *truth = &truths[planned->volume];
	unsigned first = (unsigned)world_pick(machine_count);
	for (unsigned i = 0; i < machine_count && truth->epoch == planned->epoch; i++) {
		unsigned target = (first + i) % machine_count;
		if (target == truth->primary || !world_is_running(target))
			continue;
		const struct volume *volume = machines[target]->slots[planned->volume].volume;
		if (volume->numbers.epoch == planned->epoch && volume->reader_end >= planned->end &&
			volume->state == VOLUME_REPLICA)
			promote(planned->volume, target);
	}
	bool given_up = truth->epoch == planned->epoch && world_now_us() > planned->deadline_us;
	/* The volume goes back to the one that was fenced, under a new epoch. */
	if (given_up)
		promote(planned->volume, truth->primary);
	if (given_up || truth->epoch != planned->epoch)
		free(planned);
	else
		world_call_after_us(5000, on_planned, planned);
}

static void on_fence_answer(struct end_wait *wait, int status, uint64_t end)
{
	struct planned *planned = container_of(wait, struct planned, wait);
	CHECK(status == 0);
	planned->end = end;
	planned->deadline_us = world_now_us() + 100000 + world_pick(3000000);
	world_call_after_us(1000, on_planned, planned);
}

static void ask_fence(void *arg)
{
	struct planned *planned = arg;
	struct truth *truth = &truths[planned->volume];
	struct volume *volume = cluster_volume(truth->primary, planned->volume + 1);
	if (truth->epoch == planned->epoch && volume->state == VOLUME_PRIMARY &&
		volume->desired.epoch == planned->epoch)
		volume_fence(volume, true, &planned->wait);
	else
		free(planned);
}

/* The copy with the highest (epoch, LSN); -1 when not all of the others answer: that would be the
 * loss of more than one site. */
static int best_copy(unsigned v)
{
	int best = -1;
	for (unsigned m = 0; m < machine_count; m++) {
		if (m == truths[v].primary)
			continue;
		const struct volume *volume = machines[m]->slots[v].volume;
		if (!world_is_running(m) || volume->state != VOLUME_REPLICA ||
			volume->numbers.epoch == 0)
			return -1;
		const struct volume *chosen = best < 0 ? NULL : machines[best]->slots[v].volume;
		if (chosen == NULL || volume->numbers.epoch > chosen->numbers.epoch ||
			(volume->numbers.epoch == chosen->numbers.epoch &&
				volume->reader_end > chosen->reader_end))
			best = (int)m;
	}
	return best;
}

/* A primary that may still run and is out of the operator's reach: every other copy is held, then
 * the best of them promoted. */
struct held_copy {
	struct end_wait wait;
	struct hold_plan *plan;
	unsigned machine;
	const struct volume *volume; /* another one after a restart, which has promised nothing */
	uint64_t epoch, end;
};

struct hold_plan {
	unsigned volume, count, waiting;
	uint64_t epoch;
	bool refused;
	struct held_copy copies[CLUSTER_MACHINES_MAX];
};

static void on_all_held(void *arg)
{
	struct hold_plan *plan = arg;
	const struct held_copy *best = NULL;
	bool refused = plan->refused || truths[plan->volume].epoch != plan->epoch;
	for (unsigned i = 0; i < plan->count && !refused; i++) {
		const struct held_copy *copy = &plan->copies[i];
		refused = !world_is_running(copy->machine) || copy->epoch == 0 ||
			machines[copy->machine]->slots[plan->volume].volume != copy->volume;
		if (best == NULL || copy->epoch > best->epoch ||
			(copy->epoch == best->epoch && copy->end > best->end))
			best = copy;
	}
	if (!refused)
		promote(plan->volume, best->machine);
	free(plan);
}

static void on_held(struct end_wait *wait, int status, uint64_t end)
{
	struct held_copy *copy = container_of(wait, struct held_copy, wait);
	struct hold_plan *plan = copy->plan;
	copy->epoch = copy->volume->numbers.epoch;
	copy->end = end;
	plan->refused |= status != 0;
	if (--plan->waiting == 0)
		world_call_after_us(500 + world_pick(20000), on_all_held, plan);
}

static void ask_hold(void *arg)
{
	struct held_copy *copy = arg;
	copy->volume = machines[copy->machine]->slots[copy->plan->volume].volume;
	volume_hold(machines[copy->machine]->slots[copy->plan->volume].volume, copy->plan->epoch,
		&copy->wait);
}

static void fail_over_blindly(unsigned v)
{
	struct hold_plan *plan = mem_alloc(sizeof(*plan));
	*plan = (struct hold_plan){ .volume = v, .epoch = truths[v].epoch };
	for (unsigned m = 0; m < machine_count; m++) {
		if (m == truths[v].primary)
			continue;
		plan->refused |= !world_is_running(m);
		plan->copies[plan->count++] =
			(struct held_copy){ .wait.done = on_held, .plan = plan, .machine = m };
	}
	if (plan->refused) {
		free(plan);
		return;
	}
	plan->waiting = plan->count;
	for (unsigned i = 0; i < plan->count; i++)
		world_call_on(plan->copies[i].machine, 500 + world_pick(3000), ask_hold,
			&plan->copies[i]);
}

void cluster_fail_over(uint32_t volume_id)
{
	unsigned v = volume_id - 1, primary = truths[v].primary;
	if (world_pick(3) == 0) {
		fail_over_blindly(v);
		return;
	}
	if (!world_is_running(primary)) {
		int target = best_copy(v);
		if (target >= 0)
			promote(v, (unsigned)target);
		return;
	}
	struct planned *planned = mem_alloc(sizeof(*planned));
	*planned = (struct planned){ .volume = v, .epoch = truths[v].epoch,
		.wait.done = on_fence_answer };
	world_call_on(primary, 500, ask_fence, planned);
}
