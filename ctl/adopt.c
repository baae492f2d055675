/* `pando mailbox adopt`: a restored directory takes a mailbox for another than its volume does. */

#include "ctl/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* One row of the directory, by name; NULL when it is not there, with the sentence. */
static struct sql_result *find_mailbox(
	struct command *command, const char *address, struct error *error)
{
	struct sql_result *result = NULL;
	struct buf like = { 0 }, canonical = { 0 };
	directory_canonical_address(address, &canonical);
	for (const char *p = buf_terminated(&canonical); *p; p++) {
		if (strchr("%_\\", *p))
			buf_append_byte(&like, '\\');
		buf_append_byte(&like, *p);
	}
	int code = directory_list(
		command->writer, LIST_MAILBOXES, buf_terminated(&like), &result, error);
	if (code == 0 && sql_rows(result) == 0) {
		error_set(error, -ENOENT, "there is no mailbox `%s`: see `pando mailbox list`",
			address);
		sql_result_free(&result);
	}
	buf_deinit(&canonical);
	buf_deinit(&like);
	return result;
}

static const char *column(const struct sql_result *result, const char *name)
{
	for (unsigned i = 0; i < sql_columns(result); i++)
		if (strcmp(sql_column_name(result, i), name) == 0)
			return sql_value(result, 0, i);
	return "";
}

/* What the node that serves the volume says of the mailbox; NULL: it is the right one. */
static const struct json *find_other(const struct question *nodes, unsigned count, uint64_t id)
{
	for (unsigned i = 0; i < count; i++)
		for (const struct json *other = json_first(json_get(nodes[i].answer, "others"));
			other; other = other->next)
			if (json_u64(other, "mailbox_id") == id)
				return other;
	return NULL;
}

/* Whether the volume is served by one that has answered. */
static bool is_served(const struct cluster *cluster, const struct question *states, unsigned count,
	const char *name)
{
	const struct directory_volume *volume = cluster_find_volume(cluster, name);
	for (unsigned i = 0; volume && i < count; i++)
		if (str_equal(json_text(status_volume(states[i].answer, volume->id), "role"),
			    STR("primary")))
			return true;
	return false;
}

static int adopt(struct command *command, const char *address, const struct sql_result *row,
	const struct json *other, struct error *error)
{
	char mark[2 * MAILBOX_MARK_LENGTH + 1], expected[2 * MAILBOX_MARK_LENGTH + 1];
	snprintf(mark, sizeof(mark), STR_FORMAT, STR_ARG(json_text(other, "mark")));
	snprintf(expected, sizeof(expected), STR_FORMAT,
		STR_ARG(json_text(other, "directory_mark")));
	int code = directory_adopt_mailbox(command->writer, address, expected, mark, error);
	if (code == 0)
		printf("%s is mailbox %s of volume %s again, and has its %llu messages\n",
			column(row, "address"), column(row, "id"), column(row, "volume"),
			(unsigned long long)json_u64(other, "messages"));
	return code;
}

int mailbox_adopt(struct command *command)
{
	struct error error = { 0 };
	struct cluster cluster = { 0 };
	unsigned count = 0;
	const char *address = command->positionals[0];
	int code = cluster_open(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	struct sql_result *row = find_mailbox(command, address, &error);
	struct question *states = cluster_ask_nodes(&cluster, "status", ASK_MS, &count);
	struct question *nodes = cluster_ask_nodes(&cluster, "others", ASK_MS, &count);
	const struct json *other =
		row ? find_other(nodes, count, strtoull(column(row, "id"), NULL, 10)) : NULL;
	if (row && !is_served(&cluster, states, count, column(row, "volume")))
		error_set(&error, -EHOSTUNREACH,
			"no node serves volume %s, so nobody knows what it holds: see `pando "
			"status`",
			column(row, "volume"));
	else if (row && !other)
		error_set(&error, -EINVAL,
			"there is nothing to adopt: volume %s holds no other mailbox under the "
			"number of `%s`",
			column(row, "volume"), address);
	else if (row)
		(void)!adopt(command, address, row, other, &error);
	sql_result_free(&row);
	free(states);
	free(nodes);
	cluster_close(&cluster);
	return error.text[0] ? command_fail(&error) : EXIT_DONE;
}
