#include "sim/cluster_internal.h"

#include <stdlib.h>

/* The operator: moves volumes, cleanly or not. */

void cluster_promote(uint32_t volume_id, unsigned machine)
{
	cluster_name(volume_id - 1, machine, false);
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
			cluster_name(planned->volume, target, true);
	}
	bool given_up = truth->epoch == planned->epoch && world_now_us() > planned->deadline_us;
	/* The volume goes back to the one that was fenced, under a new epoch. */
	if (given_up)
		cluster_name(planned->volume, truth->primary, true);
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
		cluster_name(plan->volume, best->machine, false);
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
			cluster_name(v, (unsigned)target, false);
		return;
	}
	struct planned *planned = mem_alloc(sizeof(*planned));
	*planned = (struct planned){ .volume = v, .epoch = truths[v].epoch,
		.wait.done = on_fence_answer };
	world_call_on(primary, 500, ask_fence, planned);
}

void cluster_open_closed(void)
{
	for (unsigned v = 0; v < CLUSTER_VOLUMES; v++) {
		const struct volume *best = NULL;
		unsigned target = truths[v].primary;
		if (!world_is_running(target) ||
			machines[target]->slots[v].volume->state == VOLUME_PRIMARY)
			continue;
		for (unsigned m = 0; m < machine_count; m++) {
			const struct volume *volume = machines[m]->slots[v].volume;
			if (!world_is_running(m))
				continue;
			if (best == NULL || volume->numbers.epoch > best->numbers.epoch ||
				(volume->numbers.epoch == best->numbers.epoch &&
					volume->numbers.durable_lsn > best->numbers.durable_lsn)) {
				best = volume;
				target = m;
			}
		}
		cluster_name(v, target, false);
	}
}
