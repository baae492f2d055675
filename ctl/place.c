/* Sites, nodes, routers, volumes and domains. */

#include "ctl/cluster.h"
#include "ctl/output.h"

#include "core/nearest.h"
#include "proto/mail/address.h"

#include <errno.h>
#include <string.h>

static int no_such_volume(struct command *command, const char *name)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	struct nearest nearest = { .wanted = str_from(name) };
	if (directory_list(command->writer, LIST_VOLUMES, NULL, &result, NULL) == 0)
		for (unsigned row = 0; row < sql_rows(result); row++)
			nearest_offer(&nearest, str_from(sql_value(result, row, 1)));
	sql_result_free(&result);
	(void)nearest_refuse(&nearest, "volume", &error);
	return command_fail(&error);
}

/* Prints a listing; `name` (may be NULL) is an exact name, and then a missing row is an error. */
static int list(struct command *command, enum directory_listing listing, const char *name,
	const char *empty)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	if (directory_list(command->writer, listing, name, &result, &error) < 0)
		return command_fail(&error);
	if (name && sql_rows(result) == 0) {
		code = no_such_volume(command, name);
	} else {
		print_listing(result, command_json(command), name != NULL, empty);
	}
	sql_result_free(&result);
	return code;
}

int site_add(struct command *command)
{
	struct error error = { 0 };
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	return command_report(
		directory_add_site(command->writer, command->positionals[0], &error), &error);
}

int site_list(struct command *command)
{
	return list(command, LIST_SITES, NULL, "no site yet: `pando site add NAME`");
}

/* The first of the options that is missing, or NULL. */
static const char *missing(const struct command *command, const char *const *names, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!command_option(command, names[i]))
			return names[i];
	return NULL;
}

int node_add(struct command *command)
{
	static const char *const needed[] = { "site", "lmtp", "imap", "control", "replicator" };
	const char *name = missing(command, needed, array_length(needed));
	struct error error = { 0 };
	if (name)
		return command_usage(command, "--%s is missing", name);
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	struct node_description node = {
		.name = command->positionals[0],
		.site = command_option(command, "site"),
		.lmtp = command_option(command, "lmtp"),
		.imap = command_option(command, "imap"),
		.control = command_option(command, "control"),
		.replicator = command_option(command, "replicator"),
	};
	return command_report(directory_add_node(command->writer, &node, &error), &error);
}

int node_list(struct command *command)
{
	return list(
		command, LIST_NODES, NULL, "no node yet: `pando node add NAME --site SITE ...`");
}

int router_add(struct command *command)
{
	static const char *const needed[] = { "site", "control" };
	const char *name = missing(command, needed, array_length(needed));
	const char *queue = command_option(command, "queue");
	struct error error = { 0 };
	if (name)
		return command_usage(command, "--%s is missing", name);
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	struct router_description router = {
		.name = command->positionals[0],
		.site = command_option(command, "site"),
		.control = command_option(command, "control"),
		.queue = queue ? queue : "",
	};
	return command_report(directory_add_router(command->writer, &router, &error), &error);
}

int router_list(struct command *command)
{
	return list(command, LIST_ROUTERS, NULL,
		"no router yet: `pando router add NAME --site SITE ...`");
}

int volume_add(struct command *command)
{
	struct error error = { 0 };
	struct volume_description volume = {
		.name = command->positionals[0],
		.primary_node = command_option(command, "node"),
		.durability = command_option(command, "durability"),
	};
	if (!volume.primary_node)
		return command_usage(command, "--node is missing");
	for (unsigned i = 0; i < command->option_count; i++) {
		if (strcmp(command->options[i].name, "replica") != 0)
			continue;
		if (volume.replica_count == VOLUME_COPIES_MAX - 1)
			return command_usage(
				command, "more than %d replicas", VOLUME_COPIES_MAX - 1);
		volume.replica_nodes[volume.replica_count++] = command->options[i].value;
	}
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	code = command_report(directory_add_volume(command->writer, &volume, &error), &error);
	if (code == EXIT_DONE && volume.durability)
		cluster_warn_alone(command, volume.name, volume.durability);
	return code;
}

int volume_list(struct command *command)
{
	return list(
		command, LIST_VOLUMES, NULL, "no volume yet: `pando volume add NAME --node NODE`");
}

int volume_show(struct command *command)
{
	struct error error = { 0 };
	/* A name without wildcards of SQL. */
	if (directory_check_name("volume", command->positionals[0], &error) < 0)
		return command_fail(&error);
	return list(command, LIST_VOLUMES, command->positionals[0], "");
}

int domain_add(struct command *command)
{
	struct error error = { 0 };
	const char *domain = command->positionals[0];
	if (!address_is_domain(str_from(domain))) {
		error_set(
			&error, -EINVAL, "`%s` is no domain name: write it as example.org", domain);
		return command_fail(&error);
	}
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	return command_report(directory_add_domain(command->writer, domain, &error), &error);
}

int domain_list(struct command *command)
{
	return list(command, LIST_DOMAINS, NULL, "no domain yet: `pando domain add DOMAIN`");
}

int audit_list(struct command *command)
{
	return list(command, LIST_AUDIT, NULL, "nothing has been changed yet");
}
