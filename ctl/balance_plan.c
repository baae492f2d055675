#include "ctl/balance_plan.h"

#include <stdio.h>
#include <stdlib.h>

/* What two gains differ by that are the same, added up in another order. */
#define SAME_GAIN 1e-6

/* What a node carries. */
enum { PRIMARIES, MAILBOXES, COPIES, BYTES, MEASURES };

struct load {
	uint64_t of[MEASURES];
};

struct balancing {
	const struct layout *layout;
	struct load *loads; /* by node, as after the steps so far */
	bool *has_moved;    /* by volume */
};

static bool is_able(const struct balancing *balancing, unsigned node)
{
	return balancing->layout->nodes[node].silent == NULL;
}

/* A node that answers, of the site. */
static bool is_of(const struct balancing *balancing, unsigned node, uint32_t site_id)
{
	return balancing->layout->nodes[node].site_id == site_id && is_able(balancing, node);
}

static uint64_t least_of(unsigned measure)
{
	if (measure == MAILBOXES)
		return BALANCE_NODE_MAILBOXES_MIN;
	return measure == BYTES ? (uint64_t)BALANCE_NODE_MIB_MIN << 20 : 0;
}

/* How uneven a site is in one of them: the squares of how far its nodes are from their mean, in
 * hundredths of it. */
static double unevenness(const struct balancing *balancing, uint32_t site_id, unsigned measure)
{
	double total = 0, sum = 0;
	unsigned count = 0;
	for (unsigned i = 0; i < balancing->layout->node_count; i++) {
		if (!is_of(balancing, i, site_id))
			continue;
		total += (double)balancing->loads[i].of[measure];
		count++;
	}
	if (count < 2 || total <= 0 || total < (double)least_of(measure) * count)
		return 0;
	for (unsigned i = 0; i < balancing->layout->node_count; i++) {
		if (!is_of(balancing, i, site_id))
			continue;
		double share = (double)balancing->loads[i].of[measure] * count / total;
		sum += (share - 1) * (share - 1);
	}
	return sum * 100;
}

static double unevenness_of_all(const struct balancing *balancing, uint32_t site_id)
{
	double sum = 0;
	for (unsigned measure = 0; measure < MEASURES; measure++)
		sum += unevenness(balancing, site_id, measure);
	return sum;
}

static void shift(struct balancing *balancing, const struct balance_step *step, unsigned from,
	unsigned to)
{
	const struct layout_volume *volume = &balancing->layout->volumes[step->volume];
	uint64_t moved[MEASURES] = { 0 };
	if (step->is_primary) {
		moved[PRIMARIES] = 1;
		moved[MAILBOXES] = volume->mailboxes;
	}
	if (step->what == BALANCE_COPY) {
		moved[COPIES] = 1;
		moved[BYTES] = volume->bytes;
	}
	for (unsigned measure = 0; measure < MEASURES; measure++) {
		balancing->loads[from].of[measure] -= moved[measure];
		balancing->loads[to].of[measure] += moved[measure];
	}
}

/* What the step would even, in the measure of `unevenness`. */
static double gain_of(struct balancing *balancing, const struct balance_step *step)
{
	uint32_t site_id = balancing->layout->nodes[step->from].site_id;
	double before = unevenness_of_all(balancing, site_id);
	shift(balancing, step, step->from, step->to);
	double after = unevenness_of_all(balancing, site_id);
	shift(balancing, step, step->to, step->from);
	return before - after;
}

static bool may_move(const struct balancing *balancing, unsigned index)
{
	const struct layout_volume *volume = &balancing->layout->volumes[index];
	for (unsigned i = 0; i < volume->copy_count; i++)
		if (volume->copies[i].state != COPY_IN_STEP)
			return false;
	return volume->is_served && !balancing->has_moved[index];
}

/* `pando failover VOLUME --to SITE` says no more than the site: it is clear which node is meant. */
static unsigned count_copies_at(
	const struct balancing *balancing, const struct layout_volume *volume, uint32_t site_id)
{
	unsigned count = 0;
	for (unsigned i = 0; i < volume->copy_count; i++)
		count += balancing->layout->nodes[volume->copies[i].node].site_id == site_id;
	return count;
}

/* The step that brings the copy of this place to another node; false: there is none. */
static bool propose(const struct balancing *balancing, unsigned index, unsigned place, unsigned to,
	struct balance_step *step_out)
{
	const struct layout *layout = balancing->layout;
	const struct layout_volume *volume = &layout->volumes[index];
	unsigned from = volume->copies[place].node;
	uint32_t site_id = layout->nodes[from].site_id;
	bool has_it = layout_copy_at(volume, to) != NULL;
	unsigned copies = count_copies_at(balancing, volume, site_id);
	*step_out = (struct balance_step){ .what = has_it ? BALANCE_SERVE : BALANCE_COPY,
		.volume = index,
		.from = from,
		.to = to,
		.is_primary = place == 0 };
	if (to == from || !is_of(balancing, to, site_id) || !is_able(balancing, from))
		return false;
	if (has_it)
		return place == 0 && copies == 2;
	return (place > 0 || copies == 1) && layout_may_have_copy(layout, volume, to, 0) &&
		layout->nodes[to].free_bytes >= layout_room(volume->bytes);
}

/* Of two that even as much, the one that copies less; then the directory's order. */
static bool is_better(const struct layout *layout, double gain, const struct balance_step *step,
	double best_gain, const struct balance_step *best)
{
	if (gain > best_gain + SAME_GAIN || gain < best_gain - SAME_GAIN)
		return gain > best_gain;
	return layout->volumes[step->volume].bytes < layout->volumes[best->volume].bytes;
}

/* The best step of that kind; false: none is worth it. */
static bool find_best(struct balancing *balancing, enum balance_what what,
	struct balance_step *best_out)
{
	const struct layout *layout = balancing->layout;
	double best = 0;
	bool found = false;
	for (unsigned i = 0; i < layout->volume_count; i++)
		for (unsigned place = 0;
			place < layout->volumes[i].copy_count && may_move(balancing, i); place++)
			for (unsigned to = 0; to < layout->node_count; to++) {
				struct balance_step step;
				if (!propose(balancing, i, place, to, &step) || step.what != what)
					continue;
				double gain = gain_of(balancing, &step);
				if (gain < BALANCE_GAIN_MIN ||
					(found && !is_better(layout, gain, &step, best, best_out)))
					continue;
				best = gain;
				found = true;
				*best_out = step;
			}
	return found;
}

/* What it evens most. */
static void explain(struct balancing *balancing, struct balance_step *step)
{
	static const char *const names[] = { [PRIMARIES] = "volumes served",
		[MAILBOXES] = "mailboxes",
		[COPIES] = "copies",
		[BYTES] = "MiB" };
	const struct layout_node *nodes = balancing->layout->nodes;
	uint32_t site_id = nodes[step->from].site_id;
	double before[MEASURES], most = -1;
	unsigned best = 0;
	for (unsigned measure = 0; measure < MEASURES; measure++)
		before[measure] = unevenness(balancing, site_id, measure);
	uint64_t from[MEASURES], to[MEASURES];
	memcpy(from, balancing->loads[step->from].of, sizeof(from));
	memcpy(to, balancing->loads[step->to].of, sizeof(to));
	shift(balancing, step, step->from, step->to);
	for (unsigned measure = 0; measure < MEASURES; measure++) {
		double gain = before[measure] - unevenness(balancing, site_id, measure);
		if (gain > most) {
			most = gain;
			best = measure;
		}
	}
	unsigned cut = best == BYTES ? 20 : 0;
	snprintf(step->why, sizeof(step->why), "%s: %s %llu, %s %llu", names[best],
		nodes[step->from].name, (unsigned long long)(from[best] >> cut),
		nodes[step->to].name, (unsigned long long)(to[best] >> cut));
}

void balance_plan_make(const struct layout *layout, struct balance_plan *plan_out)
{
	struct balancing balancing = { layout,
		mem_alloc((layout->node_count + 1) * sizeof(struct load)),
		mem_alloc((layout->volume_count + 1) * sizeof(bool)) };
	struct balance_step step;
	*plan_out = (struct balance_plan){ { 0 } };
	for (unsigned i = 0; i < layout->node_count; i++) {
		const struct layout_node *node = &layout->nodes[i];
		balancing.loads[i] = (struct load){ { [PRIMARIES] = node->primaries,
			[MAILBOXES] = node->mailboxes,
			[COPIES] = node->copies,
			[BYTES] = node->bytes } };
	}
	/* One that needs no copying comes first: it costs a moment, and no room. */
	while (find_best(&balancing, BALANCE_SERVE, &step) ||
		find_best(&balancing, BALANCE_COPY, &step)) {
		explain(&balancing, &step); /* which takes it */
		balancing.has_moved[step.volume] = true;
		buf_append(&plan_out->steps, &step, sizeof(step));
	}
	free(balancing.loads);
	free(balancing.has_moved);
}

void balance_plan_deinit(struct balance_plan *plan)
{
	buf_deinit(&plan->steps);
}

unsigned balance_plan_count(const struct balance_plan *plan)
{
	return (unsigned)(buf_length(&plan->steps) / sizeof(struct balance_step));
}

const struct balance_step *balance_plan_step(const struct balance_plan *plan, unsigned index)
{
	return (const struct balance_step *)(const void *)buf_str(&plan->steps).bytes + index;
}

void balance_append_commands(
	const struct layout *layout, const struct balance_step *step, struct buf *out)
{
	const char *volume = layout->volumes[step->volume].name;
	const struct layout_node *from = &layout->nodes[step->from], *to = &layout->nodes[step->to];
	if (step->what == BALANCE_COPY)
		buf_printf(out, "pando copy add %s %s --wait\n", volume, to->name);
	if (step->is_primary)
		buf_printf(out, "pando failover %s --to %s\n", volume, to->site);
	if (step->what == BALANCE_COPY)
		buf_printf(out, "pando copy remove %s %s\n", volume, from->name);
}
