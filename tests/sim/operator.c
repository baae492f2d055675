#include "node/volume/volume_internal.h"
#include "sim/cluster_internal.h"
#include "sim/rot.h"

#include "node/volume/volume_internal.h"

#include <stdlib.h>

/*
 * The operator: moves volumes, cleanly or not, as `pando failover` does: what can be reached of a
 * volume is made to stand still, asked where it ends and under which token, asked once more, and
 * then the directory is written.
 */

struct asked_copy {
	struct end_wait wait;
	struct plan *plan;
	unsigned machine;
	struct volume *volume; /* another one after a restart, which has promised nothing */
	bool stands, ends_fenced, is_whole;
	/* It was just being opened, or its disk has failed: it is not given back, and nobody goes
	 * on below what it says that it has. */
	bool only_waits;
	uint64_t epoch, end, token;
	uint32_t opening;
};

struct plan {
	unsigned volume, waiting, count;
	int target; /* whom a scenario wants; -1: who has most */
	uint64_t epoch, caught_up_by_us;
	bool refused;
	struct asked_copy primary; /* fenced */
	struct asked_copy copies[CLUSTER_MACHINES_MAX];
};

static struct volume *volume_of(const struct plan *plan, unsigned machine)
{
	return machines[machine]->slots[plan->volume].volume;
}

static bool still_stands(const struct asked_copy *copy)
{
	return world_is_running(copy->machine) &&
		volume_of(copy->plan, copy->machine) == copy->volume &&
		copy->volume->token == copy->token;
}

static bool has_more(const struct asked_copy *a, const struct asked_copy *b)
{
	if (a->epoch != b->epoch)
		return a->epoch > b->epoch;
	return a->opening != b->opening ? a->opening > b->opening : a->end > b->end;
}

/* ---- deciding ---- */

static void write_directory(void *arg)
{
	struct plan *plan = arg;
	struct asked_copy *best = NULL;
	bool all_stand = true, complete;
	for (unsigned i = 0; i < plan->count; i++) {
		struct asked_copy *copy = &plan->copies[i];
		bool wanted = plan->target < 0 || copy->machine == (unsigned)plan->target;
		all_stand &= copy->stands && still_stands(copy);
		bool is_stale = !truth_is_reached(&truths[plan->volume], copy->epoch, copy->end);
		if (wanted && copy->stands && (!is_stale || plan->target >= 0) &&
			(best == NULL || has_more(copy, best)))
			best = copy;
	}
	bool fenced = plan->primary.stands;
	complete = fenced && best != NULL && best->epoch == plan->primary.epoch &&
		best->end >= plan->primary.end;
	if (fenced && !complete)
		best = best != NULL && has_more(best, &plan->primary) ? NULL : &plan->primary;
	bool asked = fenced || plan->primary.only_waits;
	/* Where it stands is not proven, and yet nobody passes it over for less. */
	if (plan->primary.only_waits && best != NULL && plan->target < 0)
		plan->refused |= plan->primary.epoch > best->epoch ||
			(plan->primary.epoch == best->epoch && plan->primary.end > best->end);
	bool refused = truths[plan->volume].epoch != plan->epoch || best == NULL ||
		!still_stands(best) || (asked && !still_stands(&plan->primary)) ||
		(plan->target < 0 && best != &plan->primary &&
			(plan->refused || !all_stand || !best->is_whole));
	if (!refused)
		cluster_name(plan->volume, best->machine, best->token,
			best->ends_fenced && all_stand && !plan->refused &&
					(best == &plan->primary || complete)
				? best->epoch
				: 0,
			complete || best == &plan->primary);
	free(plan);
}

static void take_answer(struct asked_copy *copy, int status, uint64_t end)
{
	struct volume *volume = copy->volume;
	copy->stands = status == 0 && volume->log != NULL;
	copy->end = end;
	copy->token = volume->token;
	if (!copy->stands)
		return;
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	copy->epoch = last ? last->epoch : 0;
	copy->opening = last ? last->opening : 0;
	copy->ends_fenced = volume_log_ends_fenced(volume->log);
	copy->is_whole = end >= volume_log_whole_from(volume->log);
	copy->stands = copy->epoch > 0;
}

static void on_held(struct end_wait *wait, int status, uint64_t end)
{
	struct asked_copy *copy = container_of(wait, struct asked_copy, wait);
	struct plan *plan = copy->plan;
	take_answer(copy, status, end);
	if (--plan->waiting == 0)
		world_call_after_us(500 + world_pick(20000), write_directory, plan);
}

static void ask_hold(void *arg)
{
	struct asked_copy *copy = arg;
	copy->volume = volume_of(copy->plan, copy->machine);
	volume_hold(copy->volume, copy->plan->epoch, &copy->wait);
}

static void hold_all(struct plan *plan)
{
	for (unsigned m = 0; m < machine_count; m++) {
		/* One that is being filled is no choice, and nobody waits for it. */
		if (m == truths[plan->volume].primary || truths[plan->volume].is_seeding[m])
			continue;
		plan->refused |= !world_is_running(m);
		if (world_is_running(m))
			plan->copies[plan->count++] = (struct asked_copy){
				.wait.done = on_held, .plan = plan, .machine = m
			};
	}
	plan->waiting = plan->count;
	for (unsigned i = 0; i < plan->count; i++)
		world_call_on(plan->copies[i].machine, 500 + world_pick(3000), ask_hold,
			&plan->copies[i]);
	if (plan->count == 0)
		free(plan);
}

/* ---- a primary that can be asked ---- */

/* Asks the replicas until one has all, or gives that up. */
static void on_planned(void *arg)
{
	struct plan *plan = arg;
	bool goes_on = truths[plan->volume].epoch == plan->epoch;
	for (unsigned m = 0; m < machine_count && goes_on; m++)
		if (m != plan->primary.machine && world_is_running(m) &&
			volume_of(plan, m)->numbers.epoch == plan->epoch &&
			volume_of(plan, m)->reader_end >= plan->primary.end)
			goes_on = false;
	if (goes_on && world_now_us() <= plan->caught_up_by_us)
		world_call_after_us(5000, on_planned, plan);
	else
		hold_all(plan);
}

static void on_fenced(struct end_wait *wait, int status, uint64_t end)
{
	struct plan *plan = container_of(wait, struct asked_copy, wait)->plan;
	take_answer(&plan->primary, status, end);
	bool has_failed = volume_has_failed(plan->primary.volume);
	if (status == 0 && (!volume_is_proven_end(plan->primary.volume) || has_failed)) {
		const struct volume_numbers *numbers = &plan->primary.volume->numbers;
		plan->primary.only_waits = true;
		plan->primary.stands = false;
		plan->primary.epoch = has_failed ? numbers->answered_epoch : numbers->epoch;
		plan->primary.end = has_failed ? numbers->answered_lsn : numbers->durable_lsn;
		hold_all(plan);
		return;
	}
	plan->caught_up_by_us = world_now_us() + 100000 + world_pick(3000000);
	if (plan->primary.stands)
		world_call_after_us(1000, on_planned, plan);
	else
		free(plan);
}

static void ask_fence(void *arg)
{
	struct plan *plan = arg;
	plan->primary.volume = volume_of(plan, plan->primary.machine);
	enum volume_state state = plan->primary.volume->state;
	if ((state == VOLUME_PRIMARY || state == VOLUME_OPENING) &&
		plan->primary.volume->desired.epoch == plan->epoch)
		volume_fence(plan->primary.volume, true, &plan->primary.wait);
	else
		free(plan);
}

static struct plan *make_plan(unsigned v)
{
	struct plan *plan = mem_alloc(sizeof(*plan));
	*plan = (struct plan){ .volume = v, .epoch = truths[v].epoch, .target = -1 };
	plan->primary = (struct asked_copy){
		.wait.done = on_fenced, .plan = plan, .machine = truths[v].primary
	};
	return plan;
}

void cluster_fail_over(uint32_t volume_id)
{
	struct plan *plan = make_plan(volume_id - 1);
	/* Now and then it is out of the operator's reach, and may still run. Not where the other
	 * copy's disk rots: the last group that it confirmed may pass for a torn one. */
	bool is_away = world_pick(3) == 0 && !rot_was_in(volume_id);
	if (is_away || !world_is_running(plan->primary.machine))
		hold_all(plan);
	else
		world_call_on(plan->primary.machine, 500, ask_fence, plan);
}

/* ---- for scenarios ---- */

static void name_it(void *arg)
{
	struct plan *plan = arg;
	struct volume *volume = volume_of(plan, (unsigned)plan->target);
	cluster_name(plan->volume, (unsigned)plan->target, volume->token, 0, false);
	free(plan);
}

static void on_target_held(struct end_wait *wait, int status, uint64_t end)
{
	(void)status;
	(void)end;
	name_it(container_of(wait, struct asked_copy, wait)->plan);
}

static void hold_target(void *arg)
{
	struct plan *plan = arg;
	struct volume *volume = volume_of(plan, (unsigned)plan->target);
	plan->primary.wait.done = on_target_held;
	if (volume->state == VOLUME_REPLICA)
		volume_hold(volume, plan->epoch, &plan->primary.wait);
	else if (volume->state == VOLUME_PRIMARY)
		volume_fence(volume, true, &plan->primary.wait);
	else
		name_it(plan);
}

void cluster_promote(uint32_t volume_id, unsigned machine)
{
	struct plan *plan = make_plan(volume_id - 1);
	plan->target = (int)machine;
	if (world_is_running(machine))
		world_call_on(machine, 0, hold_target, plan);
	else {
		cluster_name(plan->volume, machine, 0, 0, false);
		free(plan);
	}
}

/* `pando open VOLUME --alone`. */
static void open_alone(void *arg)
{
	struct volume *volume = arg;
	(void)!volume_open_alone(volume, false);
}

/* The copy that has most, and can be read; one whose log nobody has read yet is held, which reads
 * it. A stale one is taken where the operator accepts the loss. -1: none. */
static int best_replica(unsigned v, bool accept_loss)
{
	const struct volume *best = NULL;
	int target = -1;
	for (unsigned m = 0; m < machine_count; m++) {
		const struct volume *volume = machines[m]->slots[v].volume;
		if (m == truths[v].primary || !world_is_running(m) ||
			volume->numbers.damaged != 0 || truths[v].is_seeding[m] ||
			(!accept_loss &&
				!truth_is_reached(&truths[v], volume->numbers.epoch,
					volume->numbers.durable_lsn)))
			continue;
		if (best == NULL || volume->numbers.epoch > best->numbers.epoch ||
			(volume->numbers.epoch == best->numbers.epoch &&
				volume->numbers.durable_lsn > best->numbers.durable_lsn)) {
			best = volume;
			target = (int)m;
		}
	}
	return target;
}

unsigned cluster_open_closed(void)
{
	unsigned closed = 0;
	for (unsigned v = 0; v < CLUSTER_VOLUMES; v++) {
		unsigned primary = truths[v].primary;
		struct volume *volume = machines[primary]->slots[v].volume;
		if (!world_is_running(primary) || volume->state == VOLUME_PRIMARY)
			continue;
		closed++;
		int target = best_replica(v, false);
		/* What it waits for it says; one whose log cannot be read is moved, and one that is
		 * named below an epoch which somebody has. */
		bool waits = volume->state == VOLUME_OPENING && !volume_is_unexplained(volume);
		if (!waits && target < 0)
			target = best_replica(v, true);
		if (waits || target < 0)
			world_call_on(primary, 0, open_alone, volume);
		else
			cluster_promote(v + 1, (unsigned)target);
	}
	return closed;
}
