#include "ctl/drain_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* What this plan brings to a node. */
struct load {
	unsigned copies, primaries;
	uint64_t room;
};

struct planning {
	const struct layout *layout;
	const struct drain_wish *wish;
	struct load *loads; /* by node */
	struct buf *steps;
};

/* One volume that leaves the node. */
struct leaving {
	struct planning *planning;
	unsigned index;
	const struct layout_volume *volume;
	/* Where it is when the node has gone, as far as is planned. */
	unsigned stays[VOLUME_COPIES_MAX + 4], stay_count;
	/* Of those that are filled for it: nodes that have had no number of the volume. */
	unsigned new_numbers;
	/* Why a node that was thought of cannot take it; empty: there was none. */
	char obstacle[160];
};

enum need {
	NEED_NONE,
	NEED_HERE,  /* a copy at the node's own site */
	NEED_OTHER, /* at a site that has none */
	NEED_ANY,
};

static void add_step(const struct leaving *leaving, enum drain_what what, unsigned node,
	const char *format, ...) printf_like(4, 5);

static void add_step(const struct leaving *leaving, enum drain_what what, unsigned node,
	const char *format, ...)
{
	struct drain_step step = { .what = what, .volume = leaving->index, .node = node };
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(step.why, sizeof(step.why), format, arguments);
	va_end(arguments);
	buf_append(leaving->planning->steps, &step, sizeof(step));
}

static const struct layout_node *node_of(const struct leaving *leaving, unsigned node)
{
	return &leaving->planning->layout->nodes[node];
}

static unsigned drained(const struct leaving *leaving)
{
	return leaving->planning->wish->node;
}

static bool has_site(const struct leaving *leaving, uint32_t site_id)
{
	for (unsigned i = 0; i < leaving->stay_count; i++)
		if (node_of(leaving, leaving->stays[i])->site_id == site_id)
			return true;
	return false;
}

static unsigned count_sites(const struct leaving *leaving)
{
	unsigned count = 0;
	for (unsigned i = 0; i < leaving->stay_count; i++) {
		bool is_first = true;
		for (unsigned k = 0; k < i; k++)
			is_first = is_first &&
				node_of(leaving, leaving->stays[k])->site_id !=
					node_of(leaving, leaving->stays[i])->site_id;
		count += is_first;
	}
	return count;
}

static bool stays_already(const struct leaving *leaving, unsigned node)
{
	for (unsigned i = 0; i < leaving->stay_count; i++)
		if (leaving->stays[i] == node)
			return true;
	return false;
}

static bool may_have_number(const struct leaving *leaving, unsigned node)
{
	return layout_may_have_copy(
		leaving->planning->layout, leaving->volume, node, leaving->new_numbers);
}

/* The node is meant, and has no copy. */
static bool is_wanted(const struct leaving *leaving, unsigned node)
{
	return node != drained(leaving) && leaving->planning->wish->may_take[node] &&
		!layout_copy_at(leaving->volume, node) && !stays_already(leaving, node);
}

/* The node may be asked for a copy, whether or not it can take one now: it is never one that could
 * be given no number. */
static bool is_candidate(const struct leaving *leaving, unsigned node)
{
	return is_wanted(leaving, node) && may_have_number(leaving, node);
}

static bool fits(const struct leaving *leaving, unsigned node, enum need need)
{
	uint32_t site_id = node_of(leaving, node)->site_id;
	if (need == NEED_HERE)
		return site_id == node_of(leaving, drained(leaving))->site_id;
	return need == NEED_ANY || !has_site(leaving, site_id);
}

/* The node's site loses its copy, and another node there could have one. */
static bool is_missed_here(const struct leaving *leaving)
{
	const struct layout_copy *own = layout_copy_at(leaving->volume, drained(leaving));
	if (own->state == COPY_SEEDING ||
		has_site(leaving, node_of(leaving, drained(leaving))->site_id))
		return false;
	for (unsigned i = 0; i < leaving->volume->copy_count; i++)
		if (leaving->volume->copies[i].node != drained(leaving) &&
			fits(leaving, leaving->volume->copies[i].node, NEED_HERE))
			return true;
	for (unsigned node = 0; node < leaving->planning->layout->node_count; node++)
		if (is_candidate(leaving, node) && fits(leaving, node, NEED_HERE))
			return true;
	return false;
}

static enum need find_need(const struct leaving *leaving)
{
	if (is_missed_here(leaving))
		return NEED_HERE;
	return count_sites(leaving) < DRAIN_SITES ? NEED_OTHER : NEED_NONE;
}

static uint64_t free_at(const struct leaving *leaving, unsigned node)
{
	uint64_t has = node_of(leaving, node)->free_bytes,
		 promised = leaving->planning->loads[node].room;
	return has > promised ? has - promised : 0;
}

/* Else says why not. */
static bool can_take(struct leaving *leaving, unsigned node)
{
	const struct layout_node *taker = node_of(leaving, node);
	uint64_t needed = layout_room(leaving->volume->bytes), has = free_at(leaving, node);
	if (!may_have_number(leaving, node))
		snprintf(leaving->obstacle, sizeof(leaving->obstacle),
			"%s has had no copy of it, while %d others have, and their numbers are "
			"never given again",
			taker->name, VOLUME_COPIES_MAX);
	else if (taker->silent)
		snprintf(leaving->obstacle, sizeof(leaving->obstacle), "%s of %s does not answer",
			taker->silent, taker->name);
	else if (has < needed)
		snprintf(leaving->obstacle, sizeof(leaving->obstacle),
			"%s has room for %llu MiB, and %llu MiB are needed", taker->name,
			(unsigned long long)(has >> 20), (unsigned long long)(needed >> 20));
	else
		return true;
	return false;
}

/* Fewest copies first, then most room, where it is a GiB more: less is what has just been written.
 * At last the directory's order. */
static bool is_better(const struct leaving *leaving, unsigned a, unsigned b)
{
	unsigned copies_a = node_of(leaving, a)->copies + leaving->planning->loads[a].copies;
	unsigned copies_b = node_of(leaving, b)->copies + leaving->planning->loads[b].copies;
	if (copies_a != copies_b)
		return copies_a < copies_b;
	return free_at(leaving, a) >> 30 > free_at(leaving, b) >> 30;
}

static void describe_need(const struct leaving *leaving, enum need need, struct buf *out)
{
	const struct layout_node *node = node_of(leaving, drained(leaving));
	if (need == NEED_HERE)
		buf_printf(out, "%s would have no copy", node->site);
	else if (leaving->stay_count == 0)
		buf_printf(out, "nobody else would have it");
	else
		buf_printf(out, "mail would be at %s only",
			node_of(leaving, leaving->stays[0])->site);
}

static bool fill_another(struct leaving *leaving, enum need need)
{
	const struct planning *planning = leaving->planning;
	unsigned best = planning->layout->node_count;
	leaving->obstacle[0] = '\0';
	for (unsigned node = 0; node < planning->layout->node_count; node++)
		if (is_wanted(leaving, node) && fits(leaving, node, need) &&
			can_take(leaving, node) &&
			(best == planning->layout->node_count || is_better(leaving, node, best)))
			best = node;
	if (best == planning->layout->node_count)
		return false;
	struct buf why = { 0 };
	describe_need(leaving, need == NEED_ANY ? NEED_OTHER : need, &why);
	add_step(leaving, DRAIN_FILL, best, "%s", buf_terminated(&why));
	buf_deinit(&why);
	leaving->new_numbers += !layout_has_number(planning->layout, leaving->volume, best);
	planning->loads[best].copies++;
	planning->loads[best].room += layout_room(leaving->volume->bytes) - layout_room(0);
	leaving->stays[leaving->stay_count++] = best;
	return true;
}

static bool is_patient(const struct leaving *leaving, bool answers)
{
	enum drain_patience patience = leaving->planning->wish->patience;
	return patience == DRAIN_GOING_ON || (patience == DRAIN_SETTLING && answers);
}

/* The step for a copy that is there and does not count now. False when it is refused. */
static bool wait_for(struct leaving *leaving, const struct layout_copy *copy)
{
	const struct layout_node *node = node_of(leaving, copy->node);
	bool waits = is_patient(leaving, !node->silent);
	if (node->silent && !waits)
		add_step(leaving, DRAIN_REFUSED, copy->node,
			"%s of %s, which has a copy of it, does not answer", node->silent,
			node->name);
	else if (copy->state == COPY_SEEDING)
		add_step(leaving, DRAIN_WAIT, copy->node, "it is being filled");
	else if (waits)
		add_step(leaving, DRAIN_WAIT, copy->node, "it is not in step yet");
	else
		add_step(leaving, DRAIN_REFUSED, copy->node,
			"its copy at %s is not in step: see `pando lag`", node->name);
	return waits || (copy->state == COPY_SEEDING && !node->silent);
}

/* A copy that would be what is needed if it counted; NULL: there is none. */
static const struct layout_copy *find_waiting(const struct leaving *leaving, enum need need)
{
	const struct drain_wish *wish = leaving->planning->wish;
	for (unsigned i = 0; i < leaving->volume->copy_count; i++) {
		const struct layout_copy *copy = &leaving->volume->copies[i];
		bool is_missing = copy->node != wish->node && copy->state != COPY_IN_STEP &&
			!stays_already(leaving, copy->node) && fits(leaving, copy->node, need);
		/* What is silent is no more to be had, for who means it. */
		if (is_missing &&
			!(node_of(leaving, copy->node)->silent && wish->accepts_one_copy))
			return copy;
	}
	return NULL;
}

/* What is needed cannot be had. True when it goes on without. */
static bool does_without(struct leaving *leaving, enum need need)
{
	char obstacle[sizeof(leaving->obstacle)];
	struct buf why = { 0 };
	memcpy(obstacle, leaving->obstacle, sizeof(obstacle));
	if (leaving->planning->wish->accepts_one_copy) {
		while (leaving->stay_count < DRAIN_COPIES &&
			(fill_another(leaving, NEED_OTHER) || fill_another(leaving, NEED_ANY)))
			continue;
		if (leaving->stay_count > 0)
			return true;
	}
	describe_need(leaving, need, &why);
	add_step(leaving, DRAIN_REFUSED, drained(leaving), "%s, and %s%s", buf_terminated(&why),
		obstacle[0] ? obstacle : "no other node may take a copy",
		leaving->stay_count > 0 ? " (--accept-one-copy goes on all the same)" : "");
	buf_deinit(&why);
	return false;
}

static void wait_served(const struct leaving *leaving)
{
	const struct layout_volume *volume = leaving->volume;
	bool waits = is_patient(leaving, volume->is_settling || volume->is_fenced);
	add_step(leaving, waits ? DRAIN_WAIT : DRAIN_REFUSED, volume->copies[0].node,
		"it is not served now: see `pando status`, and `pando failover %s`", volume->name);
}

/* Copies that it needs beside those that count: false when it cannot have them. */
static bool complete(struct leaving *leaving)
{
	enum need need;
	bool good = true;
	while ((need = find_need(leaving)) != NEED_NONE) {
		const struct layout_copy *waiting = find_waiting(leaving, need);
		if (waiting) {
			good = wait_for(leaving, waiting) && good;
			leaving->stays[leaving->stay_count++] = waiting->node;
		} else if (!leaving->volume->is_served) {
			/* A copy is filled by who serves it. */
			wait_served(leaving);
			return false;
		} else if (!fill_another(leaving, need)) {
			return does_without(leaving, need) && good;
		}
	}
	return good;
}

/* Who answers, then where copies may go, then the node's own site, then who serves least. */
static unsigned choose_server(const struct leaving *leaving)
{
	const struct planning *planning = leaving->planning;
	unsigned best = leaving->stays[0], best_rank = 0, best_load = 0;
	for (unsigned i = 0; i < leaving->stay_count; i++) {
		unsigned node = leaving->stays[i];
		unsigned rank = 4u * !node_of(leaving, node)->silent +
			2u * planning->wish->may_take[node] + fits(leaving, node, NEED_HERE) + 1u;
		unsigned load = node_of(leaving, node)->primaries + planning->loads[node].primaries;
		if (rank > best_rank || (rank == best_rank && load < best_load)) {
			best = node;
			best_rank = rank;
			best_load = load;
		}
	}
	return best;
}

static bool move_away(struct leaving *leaving)
{
	unsigned server = choose_server(leaving);
	const struct layout_node *node = node_of(leaving, server);
	if (node->silent) {
		add_step(leaving, is_patient(leaving, false) ? DRAIN_WAIT : DRAIN_REFUSED, server,
			"%s of %s, which is to serve it, does not answer", node->silent,
			node->name);
		return false;
	}
	leaving->planning->loads[server].primaries++;
	add_step(leaving, DRAIN_MOVE, server, "%s serves it",
		node_of(leaving, drained(leaving))->name);
	return true;
}

static void leave(struct leaving *leaving)
{
	const struct layout_volume *volume = leaving->volume;
	unsigned node = drained(leaving);
	if (!volume->is_served && !volume->is_fenced) {
		wait_served(leaving);
		return;
	}
	for (unsigned i = 0; i < volume->copy_count; i++)
		if (volume->copies[i].node != node && volume->copies[i].state == COPY_IN_STEP)
			leaving->stays[leaving->stay_count++] = volume->copies[i].node;
	if (!complete(leaving))
		return;
	if (volume->copies[0].node == node && !move_away(leaving))
		return;
	unsigned sites = count_sites(leaving);
	add_step(leaving, DRAIN_LET_GO, node, "%u cop%s at %u site%s remain%s", leaving->stay_count,
		leaving->stay_count == 1 ? "y" : "ies", sites, sites == 1 ? "" : "s",
		leaving->stay_count == 1 ? "s" : "");
}

static void sort_steps(const struct buf *steps, struct buf *sorted_out)
{
	const struct drain_step *all = (const void *)buf_str(steps).bytes;
	size_t count = buf_length(steps) / sizeof(*all);
	for (unsigned what = 0; what < DRAIN_NOTHING; what++)
		for (size_t i = 0; i < count; i++)
			if (all[i].what == what)
				buf_append(sorted_out, &all[i], sizeof(all[i]));
}

void drain_plan_make(
	const struct layout *layout, const struct drain_wish *wish, struct drain_plan *plan_out)
{
	struct buf steps = { 0 };
	struct planning planning = { layout, wish,
		mem_alloc((layout->node_count + 1) * sizeof(struct load)), &steps };
	*plan_out = (struct drain_plan){ { 0 } };
	for (unsigned i = 0; i < layout->volume_count; i++) {
		struct leaving leaving = {
			.planning = &planning, .index = i, .volume = &layout->volumes[i]
		};
		if (layout_copy_at(leaving.volume, wish->node))
			leave(&leaving);
	}
	sort_steps(&steps, &plan_out->steps);
	buf_deinit(&steps);
	free(planning.loads);
}

void drain_plan_deinit(struct drain_plan *plan)
{
	buf_deinit(&plan->steps);
}

unsigned drain_plan_count(const struct drain_plan *plan)
{
	return (unsigned)(buf_length(&plan->steps) / sizeof(struct drain_step));
}

const struct drain_step *drain_plan_step(const struct drain_plan *plan, unsigned index)
{
	return (const struct drain_step *)(const void *)buf_str(&plan->steps).bytes + index;
}

enum drain_what drain_plan_stage(const struct drain_plan *plan)
{
	return drain_plan_count(plan) == 0 ? DRAIN_NOTHING : drain_plan_step(plan, 0)->what;
}
