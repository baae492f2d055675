#include "ctl/drain.h"

#include "core/clock.h"
#include "ctl/copies.h"
#include "ctl/leave.h"
#include "ctl/move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* Within this a living node has heard of a change. */
	LET_GO_MS = 5000,
	LET_GO_LOOK_MS = 50,
};

static const struct directory_volume *volume_of(
	const struct drain *drain, const struct drain_step *step)
{
	return directory_find_volume(
		drain->cluster.directory, drain->layout.volumes[step->volume].id);
}

/* ---- whose turn it is ---- */

int drain_take(
	struct drain *drain, enum drain_what stage, struct buf *taken_out, struct error *error)
{
	unsigned count = drain_plan_count(&drain->plan), seen_count = 0;
	struct volume_seen *seen = mem_alloc((count + 1) * sizeof(*seen));
	char doing[96];
	for (unsigned i = 0; i < count; i++) {
		const struct drain_step *step = drain_plan_step(&drain->plan, i);
		const struct directory_volume *volume = volume_of(drain, step);
		bool is_new = step->what == stage &&
			(seen_count == 0 || seen[seen_count - 1].volume_id != volume->id);
		if (!is_new)
			continue;
		seen[seen_count++] = (struct volume_seen){ volume->id, volume->epoch };
		buf_append(taken_out, &volume->id, sizeof(volume->id));
	}
	snprintf(doing, sizeof(doing), "node drain %s", drain->layout.nodes[drain->node].name);
	int code = directory_begin_moves(drain->command->writer, doing, seen, seen_count, error);
	free(seen);
	return code;
}

static bool is_taken(const struct buf *taken, uint32_t volume_id)
{
	const uint32_t *ids = (const void *)buf_str(taken).bytes;
	for (size_t i = 0; i < buf_length(taken) / sizeof(*ids); i++)
		if (ids[i] == volume_id)
			return true;
	return false;
}

/* ---- what only the node has ---- */

static const struct directory_node *drained_node(const struct drain *drain)
{
	return directory_find_node(drain->cluster.directory, drain->layout.nodes[drain->node].id);
}

void drain_ask_tails(struct drain *drain)
{
	tails_ask(
		drain->cluster.asker, drained_node(drain)->control, 0, TAILS_MS_MAX, &drain->tails);
}

/* Of one volume; a node that is dead says nothing of what it has alone, and is drained all the
 * same. */
static bool may_let_go(
	const struct drain *drain, const struct drain_step *step, struct buf *why_out)
{
	const struct directory_volume *volume = volume_of(drain, step);
	const struct directory_node *node = drained_node(drain);
	const struct json *primary = cluster_primary_of(&drain->cluster, drain->nodes, volume);
	bool lives = cluster_answer_of(&drain->cluster, drain->nodes, node->id) != NULL;
	if (lives && !leave_is_compared(primary, volume, node, why_out))
		return false;
	if (command_has(drain->command, "accept-one-copy") &&
		!leave_has_other_site(&drain->cluster, volume, node))
		return true;
	return leave_look(&drain->cluster, drain->nodes, volume, node,
		       drain->layout.volumes[step->volume].bytes, why_out) == LEAVE_MAY;
}

static const struct drain_step *find_held_up(
	const struct drain *drain, const struct buf *taken, struct buf *why_out)
{
	for (unsigned i = 0; i < drain_plan_count(&drain->plan); i++) {
		const struct drain_step *step = drain_plan_step(&drain->plan, i);
		buf_clear(why_out);
		if (step->what == DRAIN_LET_GO && is_taken(taken, volume_of(drain, step)->id) &&
			!may_let_go(drain, step, why_out))
			return step;
	}
	return NULL;
}

bool drain_may_let_go(struct drain *drain, const struct buf *taken)
{
	uint64_t begun_us = clock_mono_us();
	struct buf why = { 0 };
	const struct drain_step *step;
	while ((step = find_held_up(drain, taken, &why)) != NULL &&
		clock_mono_us() - begun_us < LEAVE_MS_MAX * 1000u) {
		unsigned count;
		clock_sleep_ms(LEAVE_LOOK_MS);
		free(drain->nodes);
		drain->nodes = cluster_ask_nodes(&drain->cluster, "status", ASK_MS, &count);
	}
	if (step)
		command_complain("it stops here, and the same command goes on: volume %s: %s",
			drain->layout.volumes[step->volume].name, buf_terminated(&why));
	buf_deinit(&why);
	return step == NULL;
}

/* ---- copies ---- */

static int change_copy(struct drain *drain, const struct drain_step *step,
	int (*change)(struct directory_writer *, const struct copy_change *, struct error *),
	int done_already, const char *result)
{
	struct error error = { 0 };
	const struct directory_volume *volume = volume_of(drain, step);
	const struct json *primary = cluster_primary_of(&drain->cluster, drain->nodes, volume);
	struct copy_change wanted = { .volume = volume->name,
		.node = drain->layout.nodes[step->node].name,
		.uid_slacks = json_u64(primary, "uid_slacks_wanted") };
	int code = change(drain->command->writer, &wanted, &error);
	if (code < 0 && code != done_already)
		return command_fail(&error);
	drain_note(drain, step, result);
	return EXIT_DONE;
}

static bool has_let_go(const struct drain *drain, const struct question *nodes)
{
	uint32_t id = drain->layout.nodes[drain->node].id;
	const struct json *status = cluster_answer_of(&drain->cluster, nodes, id);
	return json_first(json_get(status, "volumes")) == NULL;
}

void drain_wait_let_go(struct drain *drain)
{
	for (unsigned waited_ms = 0; waited_ms < LET_GO_MS; waited_ms += LET_GO_LOOK_MS) {
		unsigned count;
		struct question *nodes =
			cluster_ask_nodes(&drain->cluster, "status", ASK_MS, &count);
		bool is_done = has_let_go(drain, nodes);
		free(nodes);
		if (is_done)
			return;
		clock_sleep_ms(LET_GO_LOOK_MS);
	}
	command_complain("%s has not heard of it yet: see `pando status`",
		drain->layout.nodes[drain->node].name);
}

/* ---- moves ---- */

static const struct drain_step *step_of(const struct drain *drain, uint32_t volume_id)
{
	for (unsigned i = 0; i < drain_plan_count(&drain->plan); i++) {
		const struct drain_step *step = drain_plan_step(&drain->plan, i);
		if (step->what == DRAIN_MOVE && volume_of(drain, step)->id == volume_id)
			return step;
	}
	return NULL;
}

static int report_moves(struct drain *drain, const struct plan *plan)
{
	int code = EXIT_DONE;
	for (unsigned i = 0; i < plan->count; i++) {
		const struct move *move = &plan->moves[i];
		const struct drain_step *step = step_of(drain, move->volume->id);
		if (move->problem[0]) {
			command_complain("volume %s stays where it is: %s", move->volume->name,
				move->problem);
			code = EXIT_FAILED;
		}
		drain_note(drain, step,
			move->problem[0]       ? "stays"
				: move->served ? "moved"
					       : "moved, not serving yet");
	}
	return code;
}

/* Clean, or not at all. */
static int move_all(struct drain *drain, const struct buf *taken)
{
	struct plan plan = { .cluster = &drain->cluster,
		.must_be_clean = true,
		.preflight = { 5, { "volume", "node", "item", "problem", "help" }, { 0 } },
		.started_us = clock_mono_us() };
	struct error error = { 0 };
	int code = EXIT_DONE;
	for (unsigned i = 0; i < drain_plan_count(&drain->plan); i++) {
		const struct drain_step *step = drain_plan_step(&drain->plan, i);
		const struct directory_volume *volume = volume_of(drain, step);
		if (step->what == DRAIN_MOVE && is_taken(taken, volume->id))
			plan_add(&plan, volume,
				&(struct move_wish){
					.node_id = drain->layout.nodes[step->node].id });
	}
	plan_look(&plan);
	plan_preflight(&plan, &error);
	if (table_rows(&plan.preflight) && !command_json(drain->command))
		table_print(&plan.preflight, false, "");
	code = plan_carry_out(&plan, drain->command->writer, &error) < 0
		? command_fail(&error)
		: report_moves(drain, &plan);
	plan_free(&plan);
	return code;
}

unsigned drain_count_fillings(const struct drain *drain)
{
	unsigned count = 0;
	for (unsigned i = 0; i < drain_plan_count(&drain->plan); i++) {
		const struct drain_step *step = drain_plan_step(&drain->plan, i);
		const struct layout_volume *volume = &drain->layout.volumes[step->volume];
		if (step->what == DRAIN_WAIT)
			count += layout_copy_at(volume, step->node)->state == COPY_SEEDING;
	}
	return count;
}

int drain_act(struct drain *drain, enum drain_what stage, const struct buf *taken)
{
	unsigned fillings = drain_count_fillings(drain);
	int code = EXIT_DONE;
	if (stage == DRAIN_MOVE)
		return move_all(drain, taken);
	for (unsigned i = 0; i < drain_plan_count(&drain->plan) && code == EXIT_DONE; i++) {
		const struct drain_step *step = drain_plan_step(&drain->plan, i);
		if (step->what != stage || !is_taken(taken, volume_of(drain, step)->id))
			continue;
		if (stage == DRAIN_FILL && fillings++ >= DRAIN_FILLINGS_MAX)
			break;
		code = stage == DRAIN_FILL
			? change_copy(drain, step, directory_add_copy, -EALREADY, "begun")
			: change_copy(drain, step, directory_remove_copy, -ENOENT, "done");
	}
	return code;
}
