/*
 * Moving volumes: failover and failback. For each volume: fence the old primary if it answers, wait
 * until a replica has everything up to the fence, choose the replica with the highest (epoch, LSN),
 * compare-and-swap the new epoch and reign in the directory, and wait until the new primary serves.
 * All volumes of one command move together, in parallel.
 *
 * Clean: the old primary was fenced and the new one has all of its log. Unclean: it did not answer
 * (or, with --accept-loss, no replica caught up); what it had not shipped stays on its disk.
 */

#include "ctl/cluster.h"
#include "ctl/interrupt.h"
#include "ctl/move.h"
#include "ctl/output.h"

#include "core/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The volumes to move, by the arguments. 0 or an exit code. */
static int select_volumes(struct command *command, struct plan *plan)
{
	const char *what = command->positionals[0], *to = command_option(command, "to");
	const struct directory_site *from = cluster_find_site(plan->cluster, what);
	const struct directory_site *target = to ? cluster_find_site(plan->cluster, to) : NULL;
	const struct directory_node *machine =
		from ? NULL : directory_find_node_by_name(plan->cluster->directory, str_from(what));
	const struct directory_volume *one =
		from || machine ? NULL : cluster_find_volume(plan->cluster, what);
	struct error error = { 0 };
	size_t position = 0;
	const struct directory_volume *volume;
	if (to && !target)
		return cluster_no_such(plan->cluster, "site", to);
	if (!from && !machine && !one)
		error_set(&error, -ENOENT,
			"`%s` is neither a site nor a node nor a volume: see `pando site list`, "
			"`pando node list`, `pando volume list`",
			what);
	else if (from && from == target)
		error_set(&error, -EINVAL, "%s is where the volumes leave from", to);
	if (error.text[0])
		return command_fail(&error);
	while ((volume = directory_next_volume(plan->cluster->directory, &position)) != NULL) {
		const struct directory_node *node =
			directory_find_node(plan->cluster->directory, volume->primary_node_id);
		if (from                  ? node && node->site_id == from->id
				: machine ? node == machine
					  : volume == one)
			plan_add(plan, volume,
				&(struct move_wish){ .to_site_id = target ? target->id : 0,
					.from_site_id = from ? from->id : 0,
					.from_node_id = machine ? machine->id : 0 });
	}
	if (plan->count == 0) {
		error_set(&error, -1, "%s serves no volume: there is nothing to move", what);
		return command_fail(&error);
	}
	return EXIT_DONE;
}

/* The volumes that prefer a node of the site and are served elsewhere. */
static int select_returning(struct command *command, struct plan *plan)
{
	const struct directory_site *site =
		cluster_find_site(plan->cluster, command->positionals[0]);
	struct error error = { 0 };
	struct sql_result *result = NULL;
	if (!site)
		return cluster_no_such(plan->cluster, "site", command->positionals[0]);
	if (!command->writer) {
		error_set(&error, -EHOSTUNREACH,
			"which volumes prefer %s stands in the directory alone: run this again "
			"when that answers",
			site->name);
		return command_fail(&error);
	}
	if (directory_list(command->writer, LIST_VOLUMES, NULL, &result, &error) < 0)
		return command_fail(&error);
	unsigned last = sql_columns(result) - 1; /* preferred_node */
	for (unsigned row = 0; row < sql_rows(result); row++) {
		const struct directory_volume *volume = directory_find_volume(
			plan->cluster->directory, (uint32_t)sql_value_u64(result, row, 0));
		const char *name = sql_value(result, row, last);
		const struct directory_node *node = name
			? directory_find_node_by_name(plan->cluster->directory, str_from(name))
			: NULL;
		if (volume && node && node->site_id == site->id &&
			volume->primary_node_id != node->id)
			plan_add(plan, volume,
				&(struct move_wish){ .to_site_id = site->id, .node_id = node->id });
	}
	sql_result_free(&result);
	if (plan->count == 0 && !command_json(command))
		printf("every volume that prefers %s is placed there already: `pando status` says "
		       "whether it is served\n",
			site->name);
	return EXIT_DONE;
}

static const char *node_name(const struct plan *plan, uint32_t id)
{
	const struct directory_node *node = directory_find_node(plan->cluster->directory, id);
	return node ? node->name : "-";
}

/* A number of a volume that moves; nothing where it stays. */
static void add_number(struct table *table, bool moves, uint64_t number)
{
	if (moves)
		table_addf(table, "%llu", (unsigned long long)number);
	else
		table_add(table, "");
}

/* What is said of an epoch that begins is said where one does: a volume that stays where it was, or
 * was given back there, has its old columns and the reason. */
static void report_move(
	const struct plan *plan, const struct move *move, bool dry_run, struct table *table)
{
	bool moves = !move->problem[0] && move->chosen_node_id != 0;
	struct buf loss = { 0 };
	move_describe_loss(move, &loss);
	table_add(table, move->volume->name);
	table_add(table, node_name(plan, move->volume->primary_node_id));
	table_add(table, node_name(plan, move->chosen_node_id));
	table_add(table,
		move->problem[0]       ? move->problem
			: dry_run      ? "would move"
			: move->served ? "served"
				       : "promoted, not serving yet");
	add_number(table, moves, move->epoch);
	table_add(table, moves ? move->clean ? "yes" : "no" : "");
	add_number(table, moves, move->chosen.end_lsn);
	add_number(table, moves && move->served, move->served_after_ms);
	table_add_str(table, buf_str(&loss));
	buf_deinit(&loss);
}

/* As far as it came. */
static void print_times(const struct plan *plan, bool dry_run)
{
	unsigned promoted = 0, served = 0, fenced = 0;
	for (unsigned i = 0; i < plan->count; i++) {
		fenced += plan->moves[i].fenced;
		promoted += plan->moves[i].promoted;
		served += plan->moves[i].served;
	}
	printf("\nasked %llu ms", (unsigned long long)plan->asked_ms);
	if (!dry_run && fenced > 0)
		printf(", fenced and caught up %llu ms", (unsigned long long)plan->fenced_ms);
	if (promoted > 0)
		printf(", directory changed %llu ms", (unsigned long long)plan->promoted_ms);
	if (promoted > 0 && served == promoted)
		printf(", all served %llu ms", (unsigned long long)plan->served_ms);
	printf(" after the start\n");
}

/* The directory has them at their new nodes; whoever waits longer is told where to look. */
static void say_unserved(const struct plan *plan)
{
	for (unsigned i = 0; i < plan->count; i++) {
		const struct move *move = &plan->moves[i];
		if (move->promoted && !move->served)
			command_complain("volume %s is promoted at %s and not served yet: %s; "
					 "`pando check` says why and what helps",
				move->volume->name, node_name(plan, move->chosen_node_id),
				move->waits_for);
	}
}

static void report(
	const struct plan *plan, struct directory_writer *writer, bool json, bool dry_run)
{
	struct table table = { 9,
		{ "volume", "from", "to", "result", "#epoch", "?clean", "#start_lsn",
			"#served_after_ms", "may_be_lost" },
		{ 0 } };
	if (!json && table_rows(&plan->preflight)) {
		printf("not ready:\n");
		table_print(&plan->preflight, false, "");
		printf("\n");
	}
	struct table losses = { 8, { PLAN_LOSS_COLUMNS }, { 0 } };
	struct unshipped_names names = { .writer = writer };
	plan_list_losses(plan, &names, &losses);
	unshipped_names_deinit(&names);
	for (unsigned i = 0; i < plan->count; i++)
		report_move(plan, &plan->moves[i], dry_run, &table);
	struct table silent = { 2, { "volume", "node" }, { 0 } };
	plan_list_silent(plan, &silent);
	if (json) {
		struct buf out = { 0 };
		buf_printf(&out, "{\"dry_run\": %s, \"duration_ms\": %llu, \"volumes\": ",
			dry_run ? "true" : "false",
			(unsigned long long)(clock_mono_us() - plan->started_us) / 1000);
		table_append_json(&table, &out);
		buf_append_literal(&out, ", \"preflight\": ");
		table_append_json(&plan->preflight, &out);
		buf_append_literal(&out, ", \"losses\": ");
		table_append_json(&losses, &out);
		buf_append_literal(&out, ", \"not_asked\": ");
		table_append_json(&silent, &out);
		printf("%s}\n", buf_terminated(&out));
		buf_deinit(&out);
	} else {
		table_print(&table, false, "");
		if (table_rows(&losses)) {
			printf("\nwhat may be lost, by mailbox:\n");
			table_print(&losses, false, "");
		}
		if (table_rows(&silent)) {
			printf("\nreplicas that could not be asked or made to stand still, and %s "
			       "passed over:\n",
				dry_run ? "would be" : "were");
			table_print(&silent, false, "");
		}
		print_times(plan, dry_run);
	}
	table_deinit(&table);
	table_deinit(&losses);
	table_deinit(&silent);
}

/* Until this command has ended, nobody else moves them. */
static int take_volumes(struct command *command, const struct plan *plan)
{
	struct error error = { 0 };
	char doing[128];
	struct volume_seen *seen = mem_alloc((plan->count + 1) * sizeof(*seen));
	snprintf(doing, sizeof(doing), "pando %s %s", command->verb->name, command->positionals[0]);
	for (unsigned i = 0; i < plan->count; i++)
		seen[i] = (struct volume_seen){ plan->moves[i].volume->id,
			plan->moves[i].volume->epoch };
	int code = directory_begin_moves(command->writer, doing, seen, plan->count, &error);
	free(seen);
	return code < 0 ? command_fail(&error) : EXIT_DONE;
}

static int check_writable(const struct command *command, struct error *error)
{
	if (command->writer)
		return directory_check_writable(command->writer, error);
	return error_set(error, -EHOSTUNREACH,
		"a failover writes to the directory, which does not answer: start its PostgreSQL, "
		"or promote the standby, first (docs/operating.md, A site is lost)");
}

static int run(
	struct command *command, int (*select)(struct command *, struct plan *), bool must_be_clean)
{
	struct cluster cluster = { 0 };
	struct plan plan = { .cluster = &cluster,
		.preflight = { 5, { "volume", "node", "item", "problem", "help" }, { 0 } },
		.started_us = clock_mono_us() };
	struct error error = { 0 }, read_only = { 0 };
	bool dry_run = command_has(command, "dry-run");
	/* A plan needs places only, and what the daemons say of themselves. */
	int code =
		dry_run ? cluster_open_to_look(command, &cluster) : cluster_open(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	/* Before anything stands still for what could not be written. */
	bool is_refused = check_writable(command, &read_only) < 0;
	if (is_refused && !dry_run) {
		cluster_close(&cluster);
		return command_fail(&read_only);
	}
	plan.must_be_clean = must_be_clean;
	plan.accept_loss = command_has(command, "accept-loss");
	code = select(command, &plan);
	if (code == EXIT_DONE && plan.count && !dry_run)
		code = take_volumes(command, &plan);
	if (code == EXIT_DONE && plan.count) {
		if (!dry_run)
			interrupt_begin();
		plan_look(&plan);
		plan_preflight(&plan, &read_only);
		if (dry_run) {
			plan_compare(&plan);
			plan_count_loss(&plan);
		} else if (plan_carry_out(&plan, command->writer, &error) < 0) {
			code = command_fail(&error);
		}
		if (code == EXIT_DONE)
			report(&plan, command->writer, command_json(command), dry_run);
		if (code == EXIT_DONE && !dry_run)
			say_unserved(&plan);
		for (unsigned i = 0; i < plan.count && code == EXIT_DONE; i++)
			if (plan.moves[i].problem[0] || (!dry_run && !plan.moves[i].served))
				code = EXIT_FAILED;
	} else if (code == EXIT_DONE && command_json(command)) {
		report(&plan, command->writer, true, dry_run);
	}
	/* What is wrong otherwise has been said. */
	if (is_refused && plan.count && code != EXIT_USAGE)
		code = command_fail(&read_only);
	plan_free(&plan);
	cluster_close(&cluster);
	interrupt_obey();
	return code;
}

int failover_run(struct command *command)
{
	return run(command, select_volumes, false);
}

int failback_run(struct command *command)
{
	return run(command, select_returning, true);
}
