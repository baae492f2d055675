/* The routers' queues. */

#include "ctl/cluster.h"
#include "ctl/output.h"

#include <stdio.h>
#include <stdlib.h>

/* A member's value on one line: texts of an array separated by spaces. */
static void flatten(const struct json *value, struct buf *out)
{
	if (!value)
		return;
	if (value->type == JSON_TRUE || value->type == JSON_FALSE)
		buf_append_str(out, value->type == JSON_TRUE ? STR("yes") : STR("no"));
	else if (value->type == JSON_ARRAY || value->type == JSON_OBJECT)
		for (const struct json *item = value->first; item; item = item->next) {
			if (buf_length(out))
				buf_append_byte(out, ' ');
			if (item->type == JSON_OBJECT && json_text(item, "address").length)
				buf_append_str(out, json_text(item, "address"));
			else
				buf_append_str(out, item->text);
		}
	else
		buf_append_str(out, value->text);
}

/* The columns are the members of the first message: the router decides what it tells. */
static void take_columns(struct table *table, const struct json *message, struct pool *pool)
{
	table->columns[table->column_count++] = "router";
	for (const struct json *member = message->first;
		member && table->column_count < TABLE_COLUMNS_MAX; member = member->next) {
		bool is_bool = member->type == JSON_TRUE || member->type == JSON_FALSE;
		const char *mark = member->type == JSON_NUMBER ? "#" : is_bool ? "?" : "";
		struct str name = pool_printf(pool, "%s" STR_FORMAT, mark, STR_ARG(member->name));
		table->columns[table->column_count++] = pool_copy_terminated(pool, name);
	}
}

static void add_messages(
	struct table *table, const struct json *answer, const char *router, struct pool *pool)
{
	for (const struct json *message = json_first(json_get(answer, "messages")); message;
		message = message->next) {
		if (!table->column_count)
			take_columns(table, message, pool);
		table_add(table, router);
		for (unsigned i = 1; i < table->column_count; i++) {
			struct buf text = { 0 };
			flatten(json_get(message, table_column_name(table->columns[i])), &text);
			table_add_str(table, buf_str(&text));
			buf_deinit(&text);
		}
	}
}

/* Asks every router and prints the messages of all answers. A message that is asked for by its id
 * need only be known to one of them. */
static int ask_queues(struct command *command, const char *verb, bool is_action)
{
	struct cluster cluster = { 0 };
	struct table table = { 0 };
	char request[256];
	const char *id = command->positional_count ? command->positionals[0] : NULL;
	unsigned count, index = 0, answered = 0, spoke = 0;
	size_t position = 0;
	const struct directory_router *router;
	if (id && (!id[0] || strpbrk(id, " \r\n")))
		return command_usage(command, "`%s` is no queue id", id);
	int code = cluster_open_to_look(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	snprintf(request, sizeof(request), "%s%s%s", verb, id ? " " : "", id ? id : "");
	struct question *routers = cluster_ask_routers(&cluster, request, ASK_MS, &count);
	struct pool *pool = pool_create();
	while ((router = directory_next_router(cluster.directory, &position)) != NULL) {
		add_messages(&table, routers[index].answer, router->name, pool);
		uint64_t more = json_u64(routers[index].answer, "not_shown");
		if (more > 0)
			fprintf(stderr, "%s: %llu more messages wait\n", router->name,
				(unsigned long long)more);
		answered += routers[index].answer != NULL;
		spoke += routers[index++].answered;
	}
	for (unsigned i = 0; i < count; i++) {
		if (routers[i].answer || (id && answered))
			continue;
		code = EXIT_FAILED;
		/* A router that does not know the message is no trouble of its own. */
		if (!id || !routers[i].answered)
			command_fail(&routers[i].error);
	}
	if (id && !answered && count)
		command_complain(
			"no router that answers has a message `%s`: see `pando queue list`", id);
	if (table.column_count)
		table_print(&table, command_json(command), "");
	else if (command_json(command))
		printf("[]\n");
	else if (!is_action && answered)
		printf("no message waits\n");
	else if (!is_action && !spoke)
		printf("no router answers\n");
	else if (code == EXIT_DONE)
		printf("done\n");
	table_deinit(&table);
	pool_destroy(&pool);
	free(routers);
	cluster_close(&cluster);
	return code;
}

int queue_list(struct command *command)
{
	return ask_queues(command, "queue-list", false);
}

int queue_show(struct command *command)
{
	return ask_queues(command, "queue-show", false);
}

int queue_flush(struct command *command)
{
	return ask_queues(command, "queue-flush", true);
}

int queue_drop(struct command *command)
{
	return ask_queues(command, "queue-drop", true);
}
