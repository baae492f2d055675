/* `pando volume balance`: what would make the nodes of each site carry alike. It proposes; people
 * carry it out, when it suits those whose sessions end. */

#include "core/encode.h"
#include "ctl/balance_plan.h"
#include "ctl/layout_read.h"
#include "ctl/output.h"

#include <stdio.h>
#include <stdlib.h>

/* Which volume has how many stands in the directory alone. */
static int read_mailboxes(struct command *command, struct layout *layout)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	if (directory_list(command->writer, LIST_VOLUMES, NULL, &result, &error) < 0)
		return command_fail(&error);
	unsigned column = sql_columns(result) - 2; /* mailboxes, preferred_node */
	for (unsigned row = 0; row < sql_rows(result); row++)
		for (unsigned i = 0; i < layout->volume_count; i++) {
			struct layout_volume *volume = &layout->volumes[i];
			if (volume->id != sql_value_u64(result, row, 0))
				continue;
			volume->mailboxes = sql_value_u64(result, row, column);
			if (volume->copy_count > 0)
				layout->nodes[volume->copies[0].node].mailboxes +=
					volume->mailboxes;
		}
	sql_result_free(&result);
	return EXIT_DONE;
}

static void add_rows(
	const struct layout *layout, const struct balance_plan *plan, struct table *table)
{
	for (unsigned i = 0; i < balance_plan_count(plan); i++) {
		const struct balance_step *step = balance_plan_step(plan, i);
		table_add(table, layout->volumes[step->volume].name);
		table_add(table,
			step->what == BALANCE_SERVE ? "serve"
				: step->is_primary  ? "copy and serve"
						    : "copy");
		table_add(table, layout->nodes[step->from].name);
		table_add(table, layout->nodes[step->to].name);
		table_addf(table, "%llu",
			(unsigned long long)(step->what == BALANCE_COPY
					? layout->volumes[step->volume].bytes
					: 0));
		table_add(table, step->why);
	}
}

static void print_json(const struct table *table, const struct buf *commands)
{
	struct str rest = buf_str(commands), line;
	struct buf out = { 0 };
	bool first = true;
	buf_append_literal(&out, "{\"steps\": ");
	table_append_json(table, &out);
	buf_append_literal(&out, ", \"commands\": [");
	while (str_next(&rest, '\n', &line) && line.length > 0) {
		if (!first)
			buf_append_literal(&out, ", ");
		encode_json(&out, line);
		first = false;
	}
	printf("%s]}\n", buf_terminated(&out));
	buf_deinit(&out);
}

static void print_plan(struct command *command, const struct layout *layout)
{
	struct table table = { 6, { "volume", "what", "from", "to", "#bytes", "why" }, { 0 } };
	struct balance_plan plan;
	struct buf commands = { 0 };
	balance_plan_make(layout, &plan);
	add_rows(layout, &plan, &table);
	for (unsigned i = 0; i < balance_plan_count(&plan); i++)
		balance_append_commands(layout, balance_plan_step(&plan, i), &commands);
	if (command_json(command)) {
		print_json(&table, &commands);
	} else {
		table_print(&table, false, "the nodes of each site carry alike: nothing to do");
		if (buf_length(&commands) > 0)
			printf("\nin this order:\n\n%s", buf_terminated(&commands));
	}
	for (unsigned i = 0; i < layout->node_count; i++)
		if (layout->nodes[i].silent)
			command_complain("%s of %s does not answer: it is left out",
				layout->nodes[i].silent, layout->nodes[i].name);
	buf_deinit(&commands);
	balance_plan_deinit(&plan);
	table_deinit(&table);
}

int volume_balance(struct command *command)
{
	struct cluster cluster = { 0 };
	struct layout layout = { 0 };
	unsigned count;
	if (!command_has(command, "dry-run"))
		return command_usage(command,
			"it proposes only: --dry-run shows the commands that carry it out");
	int code = cluster_open(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	struct question *nodes = cluster_ask_nodes(&cluster, "status", ASK_MS, &count);
	code = layout_read(command, &cluster, nodes, &layout);
	if (code == EXIT_DONE)
		code = read_mailboxes(command, &layout);
	if (code == EXIT_DONE)
		print_plan(command, &layout);
	layout_deinit(&layout);
	free(nodes);
	cluster_close(&cluster);
	return code;
}
