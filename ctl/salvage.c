/* What was cut off logs and is kept: tails that a copy had for itself when another went on. */

#include "ctl/filter.h"
#include "ctl/output.h"

#include <stdio.h>
#include <stdlib.h>

static void add_rows(const struct filter *filter, const struct directory_node *node,
	const struct json *answer, struct table *table)
{
	for (const struct json *file = json_first(json_get(answer, "salvage")); file;
		file = file->next) {
		const struct directory_volume *volume = directory_find_volume(
			filter->cluster->directory, (uint32_t)json_u64(file, "volume"));
		if (filter->volume && filter->volume != volume)
			continue;
		table_add(table, volume ? volume->name : "?");
		table_add(table, node->name);
		table_add_str(table, json_text(file, "epoch"));
		table_add_str(table, json_text(file, "from_lsn"));
		table_add_str(table, json_text(file, "bytes"));
		table_add_str(table, json_text(file, "file"));
	}
}

int salvage_list(struct command *command)
{
	struct cluster cluster = { 0 };
	struct table table = { 6,
		{ "volume", "node", "#epoch", "#from_lsn", "#bytes", "file" }, { 0 } };
	struct filter filter;
	unsigned count, index = 0;
	size_t position = 0;
	const struct directory_node *node;
	bool all = true;
	int code = cluster_open_to_look(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	code = filter_read(command, &cluster, &filter);
	if (code != EXIT_DONE) {
		cluster_close(&cluster);
		return code;
	}
	struct question *nodes = cluster_ask_nodes(&cluster, "salvage", ASK_MS, &count);
	while ((node = directory_next_node(cluster.directory, &position)) != NULL) {
		const struct question *question = &nodes[index++];
		if (!filter_has_node(&filter, node))
			continue;
		if (question->answer == NULL)
			fprintf(stderr, "pando: %s\n", question->error.text);
		all = all && question->answer != NULL;
		add_rows(&filter, node, question->answer, &table);
	}
	table_print(&table, command_json(command),
		all ? "nothing was cut off anywhere" : "nothing was cut off where a node answers");
	table_deinit(&table);
	free(nodes);
	cluster_close(&cluster);
	return all ? EXIT_DONE : EXIT_FAILED;
}
