/* What was cut off logs: tails that a copy had for itself when another went on, and what of them
 * has come home since (node/salvage/). A tail's name is NODE/VOLUME/EPOCH-FROM-TO. */

#include "core/encode.h"
#include "ctl/filter.h"
#include "ctl/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const columns[] = { "tail", "volume", "node", "#epoch", "#from_lsn", "#bytes",
	"state", "#messages", "#stored", "#present", "#kept", "#failed", "file" };

/* "salvage-<epoch>-<from>-<to>.log" without what all have. */
static struct str file_part(struct str file)
{
	size_t before = strlen("salvage-"), behind = strlen(".log");
	if (file.length < before + behind)
		return file;
	return str_of(file.bytes + before, file.length - before - behind);
}

static void tail_name(const struct directory_node *node, const struct directory_volume *volume,
	const struct json *tail, struct buf *out)
{
	buf_printf(out, "%s/%s/", node->name, volume ? volume->name : "?");
	buf_append_str(out, file_part(json_text(tail, "file")));
}

static const struct directory_volume *volume_of(
	const struct cluster *cluster, const struct json *tail)
{
	return directory_find_volume(cluster->directory, (uint32_t)json_u64(tail, "volume"));
}

static void add_rows(const struct filter *filter, const struct directory_node *node,
	const struct json *answer, struct table *table)
{
	for (const struct json *tail = json_first(json_get(answer, "salvage")); tail;
		tail = tail->next) {
		const struct directory_volume *volume = volume_of(filter->cluster, tail);
		struct buf name = { 0 };
		if (filter->volume && filter->volume != volume)
			continue;
		tail_name(node, volume, tail, &name);
		table_add_str(table, buf_str(&name));
		table_add(table, volume ? volume->name : "?");
		table_add(table, node->name);
		for (size_t i = 3; i < array_length(columns); i++)
			table_add_str(table, json_text(tail, table_column_name(columns[i])));
		buf_deinit(&name);
	}
}

int salvage_list(struct command *command)
{
	struct cluster cluster = { 0 };
	struct table table = { .column_count = array_length(columns) };
	struct filter filter;
	unsigned count, index = 0;
	size_t position = 0;
	const struct directory_node *node;
	bool all = true;
	memcpy(table.columns, columns, sizeof(columns));
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
			command_fail(&question->error);
		all = all && question->answer != NULL;
		add_rows(&filter, node, question->answer, &table);
	}
	table_print(&table, command_json(command),
		filter_empty_text(&filter,
			all ? "nothing was cut off anywhere"
			    : "nothing was cut off where a node answers"));
	table_deinit(&table);
	free(nodes);
	cluster_close(&cluster);
	return all ? EXIT_DONE : EXIT_FAILED;
}

/* ---- one tail ---- */

struct one_tail {
	struct cluster cluster;
	struct question question; /* "salvage", of its node */
	const struct directory_node *node;
	const struct directory_volume *volume;
	const struct json *tail;
};

static void ask_node(struct one_tail *one, const char *request)
{
	one->question = (struct question){ .request = request };
	snprintf(one->question.address, sizeof(one->question.address), "%s", one->node->control);
	ask_all(one->cluster.asker, &one->question, 1, ASK_MS);
}

static const struct json *find_tail(const struct one_tail *one, struct str name)
{
	const struct json *tail = json_first(json_get(one->question.answer, "salvage"));
	for (; tail; tail = tail->next) {
		struct buf its = { 0 };
		tail_name(one->node, volume_of(&one->cluster, tail), tail, &its);
		bool same = str_equal(buf_str(&its), name);
		buf_deinit(&its);
		if (same)
			break;
	}
	return tail;
}

/* 0 with the tail found, or an exit code with the sentence printed; the cluster is closed then. */
static int open_tail(struct command *command, struct one_tail *one)
{
	struct str name = str_from(command->positionals[0]);
	struct error error = { 0 };
	ptrdiff_t slash = str_find_byte(name, '/');
	*one = (struct one_tail){ 0 };
	int code = cluster_open_to_look(command, &one->cluster);
	if (code != EXIT_DONE)
		return code;
	one->node = slash < 0 ? NULL
			      : directory_find_node_by_name(
					one->cluster.directory, str_first(name, (size_t)slash));
	if (one->node != NULL)
		ask_node(one, "salvage");
	one->tail = one->node && one->question.answer ? find_tail(one, name) : NULL;
	if (one->tail != NULL) {
		one->volume = volume_of(&one->cluster, one->tail);
		return EXIT_DONE;
	}
	if (one->node != NULL && one->question.answer == NULL)
		error = one->question.error;
	else
		error_set(&error, -ENOENT,
			"there is no tail `" STR_FORMAT "`: `pando salvage list` names them",
			STR_ARG(name));
	cluster_close(&one->cluster);
	return command_fail(&error);
}

/* A leading '#': numbers, as of a table. */
static const char *const shown[] = { "state", "reason", "#tries", "#since_s", "#next_s", "#ended_s",
	"#messages", "#stored", "#present", "#kept", "#failed", "#flags", "#expunges", "#moves",
	"#folders", "#subscriptions", "#carried", "#left", "#damaged_at", "#bytes", "file" };

static void print_json(const struct one_tail *one)
{
	struct buf out = { 0 };
	buf_append_literal(&out, "[{\"node\": ");
	encode_json(&out, str_from(one->node->name));
	buf_append_literal(&out, ", \"volume\": ");
	encode_json(&out, str_from(one->volume ? one->volume->name : "?"));
	for (size_t i = 0; i < array_length(shown); i++) {
		const char *name = table_column_name(shown[i]);
		buf_printf(&out, ", \"%s\": ", name);
		if (shown[i][0] == '#')
			buf_printf(&out, "%llu", (unsigned long long)json_u64(one->tail, name));
		else
			encode_json(&out, json_text(one->tail, name));
	}
	printf(STR_FORMAT "}]\n", STR_ARG(buf_str(&out)));
	buf_deinit(&out);
}

static void print_table(const struct one_tail *one)
{
	struct table table = { 2, { "what", "value" }, { 0 } };
	table_add(&table, "node");
	table_add(&table, one->node->name);
	table_add(&table, "volume");
	table_add(&table, one->volume ? one->volume->name : "?");
	for (size_t i = 0; i < array_length(shown); i++) {
		table_add(&table, table_column_name(shown[i]));
		table_add_str(&table, json_text(one->tail, table_column_name(shown[i])));
	}
	table_print(&table, false, "");
	table_deinit(&table);
}

int salvage_show(struct command *command)
{
	struct one_tail one;
	int code = open_tail(command, &one);
	if (code != EXIT_DONE) {
		if (command_json(command))
			printf("[]\n");
		return code;
	}
	if (command_json(command))
		print_json(&one);
	else
		print_table(&one);
	cluster_close(&one.cluster);
	return EXIT_DONE;
}

static int set_state(struct command *command, const char *verb, const char *said)
{
	char request[160];
	struct one_tail one;
	int code = open_tail(command, &one);
	if (code != EXIT_DONE)
		return code;
	snprintf(request, sizeof(request), "%s %llu:" STR_FORMAT, verb,
		(unsigned long long)json_u64(one.tail, "volume"),
		STR_ARG(json_text(one.tail, "file")));
	ask_node(&one, request);
	if (one.question.answer == NULL) {
		struct error error = { 0 };
		error_set(&error, -EIO, "the tail stays as it is: %s", one.question.error.text);
		code = command_fail(&error);
	} else {
		printf("%s: %s\n", command->positionals[0], said);
	}
	cluster_close(&one.cluster);
	return code;
}

int salvage_retry(struct command *command)
{
	return set_state(command, "salvage-retry", "it is brought home once more");
}

int salvage_discard(struct command *command)
{
	return set_state(command, "salvage-discard",
		"nothing more of it comes home; `pando salvage retry` takes that back for 90 days");
}
