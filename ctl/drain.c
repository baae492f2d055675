/* Taking everything off a node, so that it can be switched off and removed. What is missing is
 * planned anew at every look, and done a stage at a time; nothing remembers how far it was. */

#include "ctl/drain.h"

#include "core/clock.h"
#include "core/encode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* A copy that has just counted for the first time, or whose primary has just moved, is in
	 * step again within some seconds; a replica that a command held, and was killed, goes on by
	 * itself after FENCE_MS_MAX, half a minute. */
	SETTLE_MS = 45000,
	/* Where another command has one of the volumes: it is over in some seconds. */
	TAKE_AGAIN_MS = 500,
};

/* ---- looking ---- */

static void forget_look(struct drain *drain)
{
	free(drain->nodes);
	drain->nodes = NULL;
	drain_plan_deinit(&drain->plan);
	layout_deinit(&drain->layout);
	cluster_close(&drain->cluster);
}

/* The node of --to, marked; 0 or an exit code. */
static int allow_node(const struct drain *drain, const char *name, bool *may_take)
{
	const struct directory_node *node =
		directory_find_node_by_name(drain->cluster.directory, str_from(name));
	if (!node)
		return cluster_no_such(&drain->cluster, "node", name);
	unsigned at = layout_find_node(&drain->layout, node->id);
	if (at == drain->node) {
		command_complain("%s is the node that is drained", name);
		return EXIT_USAGE;
	}
	may_take[at] = true;
	return EXIT_DONE;
}

/* By --to and --to-site; without them, anywhere. 0 or an exit code. */
static int allow_nodes(const struct drain *drain, bool *may_take)
{
	const struct command *command = drain->command;
	const char *site = command_option(command, "to-site");
	bool anywhere = !site && !command_option(command, "to");
	int code = EXIT_DONE;
	if (site && !cluster_find_site(&drain->cluster, site))
		return cluster_no_such(&drain->cluster, "site", site);
	for (unsigned i = 0; i < drain->layout.node_count; i++)
		may_take[i] =
			anywhere || (site && strcmp(drain->layout.nodes[i].site, site) == 0);
	for (unsigned i = 0; i < command->option_count && code == EXIT_DONE; i++)
		if (strcmp(command->options[i].name, "to") == 0)
			code = allow_node(drain, command->options[i].value, may_take);
	return code;
}

static int make_plan(struct drain *drain)
{
	bool *may_take = mem_alloc((drain->layout.node_count + 1) * sizeof(*may_take));
	drain_plan_deinit(&drain->plan);
	int code = allow_nodes(drain, may_take);
	if (code == EXIT_DONE)
		drain_plan_make(&drain->layout,
			&(struct drain_wish){ .node = drain->node,
				.may_take = may_take,
				.accepts_one_copy = command_has(drain->command, "accept-one-copy"),
				.patience = drain->patience },
			&drain->plan);
	free(may_take);
	return code;
}

/* 0 or an exit code. */
static int look(struct drain *drain)
{
	unsigned count;
	const char *name = drain->command->positionals[0];
	forget_look(drain);
	int code = cluster_open(drain->command, &drain->cluster);
	if (code != EXIT_DONE)
		return code;
	const struct directory_node *node =
		directory_find_node_by_name(drain->cluster.directory, str_from(name));
	if (!node)
		return cluster_no_such(&drain->cluster, "node", name);
	drain->nodes = cluster_ask_nodes(&drain->cluster, "status", ASK_MS, &count);
	code = layout_read(drain->command, &drain->cluster, drain->nodes, &drain->layout);
	drain->node = layout_find_node(&drain->layout, node->id);
	return code == EXIT_DONE ? make_plan(drain) : code;
}

/* ---- telling ---- */

static const char *const step_names[] = { [DRAIN_REFUSED] = "refused",
	[DRAIN_FILL] = "fill",
	[DRAIN_WAIT] = "wait",
	[DRAIN_MOVE] = "move",
	[DRAIN_LET_GO] = "let go" };

static void add_row(struct drain *drain, const struct drain_step *step, const char *result)
{
	const struct layout_volume *volume = &drain->layout.volumes[step->volume];
	table_add(&drain->done, volume->name);
	table_add(&drain->done, step_names[step->what]);
	table_add(&drain->done, drain->layout.nodes[step->node].name);
	table_addf(&drain->done, "%llu", (unsigned long long)volume->bytes);
	table_add(&drain->done, result);
	table_add(&drain->done, step->why);
}

void drain_note(struct drain *drain, const struct drain_step *step, const char *result)
{
	add_row(drain, step, result);
	if (!command_json(drain->command))
		printf("%s: %s %s: %s (%s)\n", drain->layout.volumes[step->volume].name,
			step_names[step->what], drain->layout.nodes[step->node].name, result,
			step->why);
	fflush(stdout);
}

/* What the plan has, as it is. */
static void add_left(struct drain *drain, const char *result)
{
	for (unsigned i = 0; i < drain_plan_count(&drain->plan); i++) {
		const struct drain_step *step = drain_plan_step(&drain->plan, i);
		add_row(drain, step, step->what == DRAIN_REFUSED ? "refused" : result);
	}
}

static void print_json(struct drain *drain, bool is_empty)
{
	struct buf out = { 0 };
	buf_append_literal(&out, "{\"node\": ");
	encode_json(&out, str_from(drain->command->positionals[0]));
	buf_printf(&out, ", \"dry_run\": %s, \"is_empty\": %s, \"steps\": ",
		command_has(drain->command, "dry-run") ? "true" : "false",
		is_empty ? "true" : "false");
	table_append_json(&drain->done, &out);
	printf("%s}\n", buf_terminated(&out));
	buf_deinit(&out);
}

static int refuse(struct drain *drain)
{
	const char *name = drain->layout.nodes[drain->node].name;
	const char *happened = drain->patience == DRAIN_GOING_ON
		? "it stops here, and the same command goes on"
		: "nothing was changed";
	if (drain->tails.found == TAILS_OPEN)
		command_complain(
			"%s: what was cut off at %s has not come home, and would be switched off "
			"with it: wait until `pando salvage list --node %s` shows nothing open, or "
			"give it up with `pando salvage discard`",
			happened, name, name);
	if (drain->tails.found == TAILS_NOT_TOLD)
		command_complain("%s: %s lives and does not say whether something that was cut off "
				 "there is still to come home: %s",
			happened, name, drain->tails.error.text);
	for (unsigned i = 0; i < drain_plan_count(&drain->plan); i++) {
		const struct drain_step *step = drain_plan_step(&drain->plan, i);
		if (step->what == DRAIN_REFUSED)
			command_complain("%s: volume %s: %s", happened,
				drain->layout.volumes[step->volume].name, step->why);
	}
	return EXIT_FAILED;
}

/* A node that is dead says nothing of them, and is drained all the same. */
static bool is_held_by_tails(const struct drain *drain)
{
	return drain->tails.found == TAILS_OPEN || drain->tails.found == TAILS_NOT_TOLD;
}

static bool is_refused(const struct drain *drain)
{
	return is_held_by_tails(drain) || drain_plan_stage(&drain->plan) == DRAIN_REFUSED;
}

static int tell_plan(struct drain *drain)
{
	bool is_empty = drain_plan_stage(&drain->plan) == DRAIN_NOTHING;
	add_left(drain, command_has(drain->command, "dry-run") ? "would be done" : "not done");
	if (command_json(drain->command))
		print_json(drain, is_empty);
	else if (command_has(drain->command, "dry-run"))
		table_print(&drain->done, false,
			"it holds nothing: `pando node remove` works now");
	return is_refused(drain) ? refuse(drain) : EXIT_DONE;
}

static int tell_done(struct drain *drain)
{
	const char *name = drain->layout.nodes[drain->node].name;
	if (command_json(drain->command))
		print_json(drain, true);
	else
		printf("%s holds no copy of any volume: `pando node remove %s` works now\n", name,
			name);
	return EXIT_DONE;
}

static int tell_begun(struct drain *drain)
{
	const char *name = drain->layout.nodes[drain->node].name;
	add_left(drain, "to be done");
	if (command_json(drain->command))
		print_json(drain, false);
	else
		printf("copies are being filled: `pando lag` shows how far they are, and `pando "
		       "node drain %s` goes on when they count, with --wait at once\n",
			name);
	return EXIT_DONE;
}

/* Why has been said. */
static int tell_stopped(struct drain *drain, int code)
{
	if (command_json(drain->command))
		print_json(drain, false);
	else
		command_complain("what was done stays done, and the same command goes on");
	return code;
}

static int tell_interrupted(struct drain *drain, const struct filling *filling)
{
	filling_end(filling);
	if (drain_count_fillings(drain) > 0)
		command_complain("copies go on being filled: `pando lag` shows how far they are");
	return tell_stopped(drain, EXIT_FAILED);
}

/* ---- going round ---- */

/* What the copy of the step has; `away_out` where it is not connected. */
static uint64_t filled_of(
	const struct drain *drain, const struct drain_step *step, const char **away_out)
{
	const struct layout_volume *volume = &drain->layout.volumes[step->volume];
	const char *node = drain->layout.nodes[step->node].name;
	const struct json *peer = status_peer(
		cluster_primary_of(&drain->cluster, drain->nodes,
			directory_find_volume(drain->cluster.directory, volume->id)),
		node);
	uint64_t has = json_u64(peer, "acked_lsn");
	if (!json_true(peer, "connected"))
		*away_out = node;
	return has < volume->bytes ? has : volume->bytes;
}

/* How far all fillings are together, those that begin later too. What has been filled drops out of
 * the plan: the end stays what it was at most. */
static void draw(const struct drain *drain, struct filling *filling)
{
	uint64_t end = 0, has = 0;
	const char *away = NULL;
	for (unsigned i = 0; i < drain_plan_count(&drain->plan); i++) {
		const struct drain_step *step = drain_plan_step(&drain->plan, i);
		if (step->what == DRAIN_WAIT)
			has += filled_of(drain, step, &away);
		if (step->what == DRAIN_WAIT || step->what == DRAIN_FILL)
			end += drain->layout.volumes[step->volume].bytes;
	}
	if (end < filling->end) {
		has += filling->end - end;
		end = filling->end;
	}
	filling_note(filling, has, end);
	filling_draw(filling, away);
}

/* Hours may have passed since the first look, and a failover. Tails last: what is cut off a copy
 * is cut before its leader has compared it. */
static int check_let_go(struct drain *drain, const struct buf *taken)
{
	if (!drain_may_let_go(drain, taken))
		return EXIT_FAILED;
	drain_ask_tails(drain);
	return is_held_by_tails(drain) ? refuse(drain) : EXIT_DONE;
}

/* One stage, by what stands there while nobody else can change it. */
static int act(struct drain *drain, enum drain_what stage)
{
	struct error error = { 0 };
	struct buf taken = { 0 };
	int taking = drain_take(drain, stage, &taken, &error), code = EXIT_DONE;
	if ((taking == -EBUSY || taking == -ESTALE) && command_has(drain->command, "wait")) {
		if (!drain->has_said_busy)
			(void)command_fail(&error);
		drain->has_said_busy = true;
		clock_sleep_ms(TAKE_AGAIN_MS);
	} else if (taking < 0) {
		code = command_fail(&error);
	} else {
		code = look(drain);
		bool is_so = code == EXIT_DONE && drain_plan_stage(&drain->plan) == stage;
		if (is_so && stage == DRAIN_LET_GO)
			code = check_let_go(drain, &taken);
		if (is_so && code == EXIT_DONE)
			code = drain_act(drain, stage, &taken);
		if (code == EXIT_DONE && stage == DRAIN_LET_GO)
			drain_wait_let_go(drain);
	}
	/* They are let go of with the connection: a filling may take hours, and a failover is not
	 * to wait for it. */
	directory_writer_close(&drain->command->writer);
	buf_deinit(&taken);
	return code;
}

/* False when it is not waited for any longer; then *code_out is the exit code. */
static bool wait_more(struct drain *drain, struct filling *filling, int *code_out)
{
	bool waits = command_has(drain->command, "wait");
	directory_writer_close(&drain->command->writer);
	if (!waits && drain_count_fillings(drain) > 0) {
		*code_out = tell_begun(drain);
		return false;
	}
	if (!waits && filling_ms(filling) > SETTLE_MS) {
		command_complain("it stops here, since a copy is not in step: see `pando lag`, and "
				 "run it again");
		*code_out = tell_stopped(drain, EXIT_FAILED);
		return false;
	}
	draw(drain, filling);
	clock_sleep_ms(FILL_LOOK_MS);
	return true;
}

static int go_round(struct drain *drain)
{
	struct filling filling;
	int code = EXIT_DONE;
	bool is_drawn = false;
	drain->patience = DRAIN_GOING_ON;
	filling_begin(
		&filling, command_json(drain->command) || !command_has(drain->command, "wait"));
	for (;;) {
		enum drain_what stage = drain_plan_stage(&drain->plan);
		if (stage == DRAIN_FILL && drain_count_fillings(drain) >= DRAIN_FILLINGS_MAX)
			stage = DRAIN_WAIT;
		if (is_drawn && stage != DRAIN_WAIT)
			filling_end(&filling);
		is_drawn = stage == DRAIN_WAIT;
		if (stage == DRAIN_NOTHING)
			return tell_done(drain);
		/* Between two stages: a move that has begun is ended. */
		if (filling_is_interrupted())
			return tell_interrupted(drain, &filling);
		if (stage == DRAIN_REFUSED)
			return tell_stopped(drain, refuse(drain));
		if (stage == DRAIN_WAIT && !wait_more(drain, &filling, &code))
			return code;
		if (stage != DRAIN_WAIT)
			code = act(drain, stage);
		if (code == EXIT_DONE)
			code = look(drain);
		if (code != EXIT_DONE)
			return tell_stopped(drain, code);
	}
}

/* Would it be well if what answers had settled? */
static bool may_settle(struct drain *drain)
{
	drain->patience = DRAIN_SETTLING;
	bool may = make_plan(drain) == EXIT_DONE && drain_plan_stage(&drain->plan) != DRAIN_REFUSED;
	drain->patience = DRAIN_NOW;
	return make_plan(drain) == EXIT_DONE && may;
}

/* The first look: before anything is changed everything is as it should be, or will be soon. A run
 * that was killed may have left a volume fenced, or just moved. */
static int look_first(struct drain *drain)
{
	uint64_t begun_us = clock_mono_us();
	bool waits = !command_has(drain->command, "dry-run");
	bool has_said = false;
	int code = look(drain);
	while (code == EXIT_DONE && waits && drain_plan_stage(&drain->plan) == DRAIN_REFUSED &&
		may_settle(drain) && clock_mono_us() - begun_us < SETTLE_MS * 1000u) {
		const struct drain_step *step = drain_plan_step(&drain->plan, 0);
		if (!has_said)
			command_complain("volume %s: %s: this is waited for, %d s at most",
				drain->layout.volumes[step->volume].name, step->why,
				SETTLE_MS / 1000);
		has_said = true;
		directory_writer_close(&drain->command->writer);
		clock_sleep_ms(FILL_LOOK_MS);
		code = look(drain);
	}
	return code;
}

int node_drain(struct command *command)
{
	struct drain drain = { .command = command, .done = { 6, { DRAIN_COLUMNS }, { 0 } } };
	if (command_option(command, "to") && command_option(command, "to-site"))
		return command_usage(command, "either --to or --to-site");
	int code = look_first(&drain);
	if (code == EXIT_DONE)
		drain_ask_tails(&drain);
	if (code == EXIT_DONE && (is_refused(&drain) || command_has(command, "dry-run")))
		code = tell_plan(&drain);
	else if (code == EXIT_DONE)
		code = go_round(&drain);
	forget_look(&drain);
	table_deinit(&drain.done);
	return code;
}
