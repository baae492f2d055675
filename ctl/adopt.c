/* `pando mailbox adopt`: a restored directory takes a mailbox for another than its volume does, or
 * has forgotten it and given its address a new one. */

#include "ctl/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct adoption {
	struct command *command;
	struct cluster cluster;
	const char *address, *made_for;
	uint64_t number; /* 0: not given */
	/* Its row of the directory. */
	struct sql_result *row;
	uint64_t id;
	const char *volume;
	unsigned node_count;
	struct question *states, *made; /* the nodes on their volumes, and on what they hold */
};

static const char *column(const struct sql_result *result, const char *name)
{
	for (unsigned i = 0; i < sql_columns(result); i++)
		if (strcmp(sql_column_name(result, i), name) == 0)
			return sql_value(result, 0, i);
	return "";
}

static int find_row(struct adoption *adoption, struct error *error)
{
	struct buf like = { 0 }, canonical = { 0 };
	directory_canonical_address(adoption->address, &canonical);
	for (const char *p = buf_terminated(&canonical); *p; p++) {
		if (strchr("%_\\", *p))
			buf_append_byte(&like, '\\');
		buf_append_byte(&like, *p);
	}
	int code = directory_list(adoption->command->writer, LIST_MAILBOXES,
		buf_terminated(&like), &adoption->row, error);
	if (code == 0 && sql_rows(adoption->row) == 0)
		code = error_set(error, -ENOENT,
			"there is no mailbox `%s`: see `pando mailbox list`, or add it first",
			adoption->address);
	if (code == 0) {
		adoption->id = strtoull(column(adoption->row, "id"), NULL, 10);
		adoption->volume = column(adoption->row, "volume");
	}
	buf_deinit(&canonical);
	buf_deinit(&like);
	return code;
}

static bool is_served(const struct adoption *adoption)
{
	const struct directory_volume *volume =
		cluster_find_volume(&adoption->cluster, adoption->volume);
	for (unsigned i = 0; volume && i < adoption->node_count; i++)
		if (str_equal(json_text(status_volume(adoption->states[i].answer, volume->id),
				      "role"),
			    STR("primary")))
			return true;
	return false;
}

static const char *volume_name(const struct adoption *adoption, const struct json *mailbox)
{
	const struct directory_volume *volume = directory_find_volume(
		adoption->cluster.directory, (uint32_t)json_u64(mailbox, "volume"));
	return volume ? volume->name : "?";
}

/* The next mailbox that the nodes have named; start with *node 0 and NULL. */
static const struct json *next_mailbox(const struct question *questions, unsigned count,
	unsigned *node, const struct json *mailbox)
{
	mailbox = mailbox ? mailbox->next : NULL;
	while (!mailbox && *node < count)
		mailbox = json_first(json_get(questions[(*node)++].answer, "mailboxes"));
	return mailbox;
}

/* What the mailbox has now, of messages that an adoption would leave behind. */
static uint64_t count_own_messages(const struct adoption *adoption)
{
	const struct json *mailbox = NULL;
	for (unsigned node = 0; (mailbox = next_mailbox(adoption->made, adoption->node_count,
					 &node, mailbox)) != NULL;)
		if (json_true(mailbox, "is_same") &&
			json_u64(mailbox, "mailbox_id") == adoption->id)
			return json_u64(mailbox, "messages");
	return 0;
}

/* Under the mailbox's own number, made for somebody else. */
static const struct json *find_other(struct adoption *adoption)
{
	const struct json *mailbox = NULL;
	unsigned count, node = 0;
	struct question *others =
		cluster_ask_nodes(&adoption->cluster, "others", ASK_MS, &count);
	while ((mailbox = next_mailbox(others, count, &node, mailbox)) != NULL)
		if (json_u64(mailbox, "mailbox_id") == adoption->id)
			break;
	free(others); /* the answers are the asker's */
	return mailbox;
}

static int refuse_nothing(struct adoption *adoption, struct error *error)
{
	const struct json *other = find_other(adoption);
	if (other)
		return error_set(error, -EINVAL,
			"volume %s holds under its number a mailbox that was made for " STR_FORMAT
			": if that was the same person's, add --made-for " STR_FORMAT
			"; else remove `%s` and add it again",
			volume_name(adoption, other), STR_ARG(json_text(other, "made_for")),
			STR_ARG(json_text(other, "made_for")), adoption->address);
	return error_set(error, -EINVAL,
		"there is nothing to adopt: no volume that is served holds another mailbox made "
		"for `%s`",
		adoption->made_for);
}

/* The one that is meant; NULL with the sentence. */
static const struct json *choose(struct adoption *adoption, struct error *error)
{
	const struct json *mailbox = NULL, *chosen = NULL;
	struct buf list = { 0 };
	unsigned found = 0;
	for (unsigned node = 0; (mailbox = next_mailbox(adoption->made, adoption->node_count,
					 &node, mailbox)) != NULL;) {
		uint64_t number = json_u64(mailbox, "mailbox_id");
		if (json_true(mailbox, "is_same") ||
			(adoption->number && adoption->number != number))
			continue;
		buf_printf(&list, "%s%llu (volume %s, messages: %llu)", found ? ", " : "",
			(unsigned long long)number, volume_name(adoption, mailbox),
			(unsigned long long)json_u64(mailbox, "messages"));
		chosen = mailbox;
		found++;
	}
	if (found == 0)
		(void)!refuse_nothing(adoption, error);
	else if (found > 1)
		error_set(error, -EINVAL,
			"several mailboxes were made for `%s`, choose with --number: %s",
			adoption->made_for, buf_terminated(&list));
	buf_deinit(&list);
	return found == 1 ? chosen : NULL;
}

static int check_choice(
	const struct adoption *adoption, const struct json *chosen, struct error *error)
{
	uint64_t number = json_u64(chosen, "mailbox_id"), own = count_own_messages(adoption);
	struct str owner = json_text(chosen, "address");
	if (number == adoption->id)
		return 0;
	if (owner.length)
		return error_set(error, -EBUSY,
			"its number %llu is that of " STR_FORMAT
			" now: `pando mailbox remove " STR_FORMAT "` first",
			(unsigned long long)number, STR_ARG(owner), STR_ARG(owner));
	if (own > 0 && adoption->number == 0)
		return error_set(error, -EBUSY,
			"`%s` has got %llu message%s since, which would stay behind under the "
			"number %llu: fetch first what it has got, or say --number %llu",
			adoption->address, (unsigned long long)own, own == 1 ? "" : "s",
			(unsigned long long)adoption->id, (unsigned long long)number);
	return 0;
}

static int adopt(struct adoption *adoption, struct error *error)
{
	char mark[2 * MAILBOX_MARK_LENGTH + 1];
	if (!is_served(adoption))
		return error_set(error, -EHOSTUNREACH,
			"no node serves volume %s, so nobody knows what it holds: see `pando "
			"status`",
			adoption->volume);
	const struct json *chosen = choose(adoption, error);
	int code = chosen ? check_choice(adoption, chosen, error) : -EINVAL;
	if (code < 0)
		return code;
	snprintf(mark, sizeof(mark), STR_FORMAT, STR_ARG(json_text(chosen, "mark")));
	struct mailbox_adoption choice = { .expected_id = adoption->id,
		.id = json_u64(chosen, "mailbox_id"),
		.volume_id = (uint32_t)json_u64(chosen, "volume"),
		.mark = mark };
	code = directory_adopt_mailbox(
		adoption->command->writer, adoption->address, &choice, error);
	if (code == 0)
		printf("%s is mailbox %llu of volume %s again, and has its %llu messages\n",
			column(adoption->row, "address"), (unsigned long long)choice.id,
			volume_name(adoption, chosen),
			(unsigned long long)json_u64(chosen, "messages"));
	return code;
}

int mailbox_adopt(struct command *command)
{
	struct error error = { 0 };
	const char *number = command_option(command, "number");
	const char *made_for = command_option(command, "made-for");
	struct adoption adoption = { .command = command, .address = command->positionals[0] };
	char request[512];
	adoption.made_for = made_for ? made_for : adoption.address;
	if (number && (!str_to_u64(str_from(number), INT64_MAX, &adoption.number) ||
			      adoption.number == 0))
		return command_usage(command, "--number wants the number of a mailbox");
	/* It goes into a line to the nodes. An address that is too long for one is nobody's. */
	if (strchr(adoption.made_for, ' '))
		return command_usage(command, "`%s` is no address", adoption.made_for);
	if (strlen(adoption.made_for) > 400) {
		command_complain("there is no mailbox with so long an address: see `pando mailbox "
				 "list`");
		return EXIT_FAILED;
	}
	int code = cluster_open(command, &adoption.cluster);
	if (code != EXIT_DONE)
		return code;
	snprintf(request, sizeof(request), "made-for %s", adoption.made_for);
	code = find_row(&adoption, &error);
	if (code == 0) {
		adoption.states = cluster_ask_nodes(
			&adoption.cluster, "status", ASK_MS, &adoption.node_count);
		adoption.made = cluster_ask_nodes(
			&adoption.cluster, request, ASK_MS, &adoption.node_count);
		code = adopt(&adoption, &error);
	}
	free(adoption.states);
	free(adoption.made);
	sql_result_free(&adoption.row);
	cluster_close(&adoption.cluster);
	return code < 0 ? command_fail(&error) : EXIT_DONE;
}
