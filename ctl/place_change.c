/* Changing and removing places: volumes, nodes, sites, routers, domains. */

#include "ctl/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int volume_set(struct command *command)
{
	struct error error = { 0 };
	const char *durability = command_option(command, "durability");
	const char *name = command->positionals[0];
	if (!durability)
		return command_usage(command, "nothing to set");
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	code = command_report(
		directory_set_volume(command->writer, name, durability, &error), &error);
	if (code == EXIT_DONE)
		cluster_warn_alone(command, name, durability);
	return code;
}

int volume_rename(struct command *command)
{
	struct error error = { 0 };
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	return command_report(directory_rename_volume(command->writer, command->positionals[0],
				      command->positionals[1], &error),
		&error);
}

static int remove_volume(struct command *command, const struct cluster *cluster)
{
	struct error error = { 0 };
	const char *name = command->positionals[0];
	const struct directory_volume *volume = cluster_find_volume(cluster, name);
	char doing[96];
	if (!volume)
		return cluster_no_such(cluster, "volume", name);
	snprintf(doing, sizeof(doing), "volume remove %s", name);
	int code = cluster_take_volume(command, volume, doing);
	if (code != EXIT_DONE)
		return code;
	if (directory_remove_volume(command->writer, name, command_has(command, "forget-removed"),
		    &error) < 0)
		return command_fail(&error);
	printf("removed; its files stay at its nodes, in volumes/%u of their data_dir, until they "
	       "are deleted by hand: `pando check` says how much that is\n",
		volume->id);
	return EXIT_DONE;
}

int volume_remove(struct command *command)
{
	struct cluster cluster = { 0 };
	int code = cluster_open(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	code = remove_volume(command, &cluster);
	cluster_close(&cluster);
	return code;
}

int node_set(struct command *command)
{
	struct error error = { 0 };
	struct node_description node = {
		.name = command->positionals[0],
		.lmtp = command_option(command, "lmtp"),
		.imap = command_option(command, "imap"),
		.control = command_option(command, "control"),
		.replicator = command_option(command, "replicator"),
	};
	if (!node.lmtp && !node.imap && !node.control && !node.replicator)
		return command_usage(command, "nothing to set");
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	return command_report(directory_set_node(command->writer, &node, &error), &error);
}

static int remove_place(struct command *command,
	int (*run)(struct directory_writer *writer, const char *name, struct error *error))
{
	struct error error = { 0 };
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	return command_report(run(command->writer, command->positionals[0], &error), &error);
}

int node_remove(struct command *command)
{
	int code = remove_place(command, directory_remove_node);
	if (code == EXIT_DONE)
		printf("removed; stop its pando-node and pando-replicator where they still run\n");
	return code;
}

int site_remove(struct command *command)
{
	return remove_place(command, directory_remove_site);
}

int domain_set(struct command *command)
{
	struct error error = { 0 };
	const char *keep = command_option(command, "keep-expunged-days");
	uint64_t days;
	if (!keep)
		return command_usage(command, "nothing to set");
	if (!str_to_u64(str_from(keep), KEEP_EXPUNGED_DAYS_MAX, &days))
		return command_usage(command,
			"--keep-expunged-days wants a number of days, %d at most, or 0",
			KEEP_EXPUNGED_DAYS_MAX);
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	return command_report(directory_set_domain(command->writer, command->positionals[0],
				      (unsigned)days, &error),
		&error);
}

int domain_remove(struct command *command)
{
	return remove_place(command, directory_remove_domain);
}

/* What waits there is mail that was accepted. 0 or an exit code. */
static int check_queue(struct command *command, const struct cluster *cluster)
{
	const char *name = command->positionals[0];
	const struct directory_router *router =
		directory_find_router_by_name(cluster->directory, str_from(name));
	struct question question = { .request = "queue-list" };
	unsigned waiting = 0;
	if (!router)
		return EXIT_DONE; /* the directory says so */
	snprintf(question.address, sizeof(question.address), "%s", router->control);
	ask_all(cluster->asker, &question, 1, ASK_MS);
	for (const struct json *message = json_first(json_get(question.answer, "messages"));
		message; message = message->next)
		waiting++;
	if (!question.answer && !command_has(command, "accept-silent")) {
		command_complain("%s does not answer, and what waits in its queue is not known: "
				 "start it first (--accept-silent removes it all the same)",
			name);
		return EXIT_FAILED;
	}
	if (waiting > 0) {
		command_complain(
			"%u messages wait in the queue of %s: take it out of the DNS, bring them "
			"on their way with `pando queue flush`, and wait until `pando queue list` "
			"shows none of %s",
			waiting, name, name);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

int router_remove(struct command *command)
{
	struct cluster cluster = { 0 };
	int code = cluster_open(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	code = check_queue(command, &cluster);
	cluster_close(&cluster);
	if (code == EXIT_DONE)
		code = remove_place(command, directory_remove_router);
	if (code == EXIT_DONE)
		printf("removed; stop its pando-router if it still runs: until then it accepts "
		       "mail\n");
	return code;
}
