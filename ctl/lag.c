/* What is not where it should be: `pando lag` by copies, `pando at-risk` by messages. */

#include "ctl/filter.h"
#include "ctl/output.h"

#include <stdio.h>
#include <stdlib.h>

/* A row for every copy that should be there. How far one is behind that is not connected nobody
 * knows: it may have been restored, or lost. */
static void add_lag_rows(const struct filter *filter, const struct question *nodes,
	const struct directory_volume *volume, struct table *table)
{
	const struct cluster *cluster = filter->cluster;
	const struct directory_node *primary =
		directory_find_node(cluster->directory, volume->primary_node_id);
	const struct json *own = cluster_primary_of(cluster, nodes, volume);
	for (unsigned i = 0; i < volume->replica_count; i++) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, volume->replica_node_ids[i]);
		if (!filter_has_copy(filter, volume, node))
			continue;
		const struct json *peer = node ? status_peer(own, node->name) : NULL;
		bool connected = json_true(peer, "connected");
		static const char *const numbers[] = { "lag_messages", "lag_bytes", "lag_ms" };
		table_add(table, volume->name);
		table_add(table, primary ? primary->name : "?");
		table_add(table, node ? node->name : "?");
		table_add(table, node ? cluster_site_name(cluster, node->site_id) : "?");
		table_add_bool(table, connected);
		for (unsigned k = 0; k < array_length(numbers); k++)
			table_add_str(table, connected ? json_text(peer, numbers[k]) : STR(""));
		table_add(table, !connected ? "" : json_true(peer, "stalled") ? "yes" : "no");
		table_add_str(table, json_text(peer, "chain"));
		table_add_str(table, json_text(peer, "verified_lsn"));
	}
}

static bool tell_silent(const struct question *question)
{
	if (!question->answer)
		fprintf(stderr, "pando: %s\n", question->error.text);
	return question->answer != NULL;
}

/* Say on standard error which daemons could not be asked. True when all answered. */
static bool tell_silent_nodes(const struct filter *filter, const struct question *nodes)
{
	size_t position = 0;
	const struct directory_node *node;
	bool all = true;
	for (; (node = directory_next_node(filter->cluster->directory, &position)) != NULL; nodes++)
		all = (!filter_has_node(filter, node) || tell_silent(nodes)) && all;
	return all;
}

static bool tell_silent_routers(const struct filter *filter, const struct question *routers)
{
	size_t position = 0;
	const struct directory_router *router;
	bool all = true;
	for (; (router = directory_next_router(filter->cluster->directory, &position)) != NULL;
		routers++)
		all = (!filter_has_router(filter, router) || tell_silent(routers)) && all;
	return all;
}

/* 0 with the cluster open and the options read, or an exit code. */
static int open_filtered(struct command *command, struct cluster *cluster, struct filter *filter)
{
	int code = cluster_open_to_look(command, cluster);
	if (code != EXIT_DONE)
		return code;
	code = filter_read(command, cluster, filter);
	if (code != EXIT_DONE)
		cluster_close(cluster);
	return code;
}

int lag_run(struct command *command)
{
	struct cluster cluster = { 0 };
	struct table table = { 11,
		{ "volume", "primary", "replica", "site", "?connected", "#lag_messages",
			"#lag_bytes", "#lag_ms", "?stalled", "chain", "#verified_lsn" },
		{ 0 } };
	size_t position = 0;
	const struct directory_volume *volume;
	unsigned count;
	struct filter filter;
	int code = open_filtered(command, &cluster, &filter);
	if (code != EXIT_DONE)
		return code;
	struct question *nodes = cluster_ask_nodes(&cluster, "status", ASK_MS, &count);
	while ((volume = directory_next_volume(cluster.directory, &position)) != NULL)
		add_lag_rows(&filter, nodes, volume, &table);
	bool all = tell_silent_nodes(&filter, nodes);
	table_print(&table, command_json(command), "no volume has a replica");
	table_deinit(&table);
	free(nodes);
	cluster_close(&cluster);
	return all ? EXIT_DONE : EXIT_FAILED;
}

static void add_risk_row(struct command *command, struct table *table, const struct json *message,
	const char *volume, const char *where)
{
	struct buf address = { 0 };
	uint64_t mailbox_id = json_u64(message, "mailbox_id");
	if (mailbox_id &&
		(!command->writer ||
			directory_mailbox_address(command->writer, mailbox_id, &address, NULL) < 0))
		buf_printf(&address, "mailbox %llu", (unsigned long long)mailbox_id);
	table_add(table, where);
	table_add(table, volume);
	table_add_str(table, buf_str(&address));
	table_add_str(table, json_text(message, "uid"));
	table_add_str(table, json_text(message, "delivery_id"));
	table_add_str(table, json_text(message, "lsn"));
	table_add_str(table, json_text(message, "since"));
	buf_deinit(&address);
}

static void add_node_risks(struct command *command, const struct filter *filter,
	const struct question *nodes, struct table *table)
{
	const struct directory *directory = filter->cluster->directory;
	size_t position = 0;
	const struct directory_node *node;
	for (; (node = directory_next_node(directory, &position)) != NULL; nodes++) {
		if (!filter_has_node(filter, node))
			continue;
		for (const struct json *message = json_first(json_get(nodes->answer, "messages"));
			message; message = message->next) {
			const struct directory_volume *volume = directory_find_volume(
				directory, (uint32_t)json_u64(message, "volume"));
			if (!volume || filter_has_volume(filter, volume))
				add_risk_row(command, table, message, volume ? volume->name : "?",
					node->name);
		}
	}
}

static void add_router_risks(struct command *command, const struct filter *filter,
	const struct question *routers, struct table *table)
{
	size_t position = 0;
	const struct directory_router *router;
	for (; (router = directory_next_router(filter->cluster->directory, &position)) != NULL;
		routers++) {
		if (!filter_has_router(filter, router))
			continue;
		for (const struct json *message = json_first(json_get(routers->answer, "messages"));
			message; message = message->next)
			add_risk_row(command, table, message, "queue", router->name);
	}
}

/* Replicas at other sites than the primary's that follow, as the primary says. */
static unsigned followers_elsewhere(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume)
{
	const struct directory_node *primary =
		directory_find_node(cluster->directory, volume->primary_node_id);
	const struct json *own = cluster_primary_of(cluster, nodes, volume);
	unsigned count = 0;
	for (unsigned i = 0; i < volume->replica_count && primary; i++) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, volume->replica_node_ids[i]);
		const struct json *peer = node ? status_peer(own, node->name) : NULL;
		if (node && node->site_id != primary->site_id && json_true(peer, "connected") &&
			!json_true(peer, "stalled"))
			count++;
	}
	return count;
}

/* Names, on standard error, every volume whose mail no list of messages tells of: all of it is at
 * one site, or its copies do not follow. True when there is none. */
static bool tell_alone(const struct filter *filter, const struct question *nodes)
{
	const struct cluster *cluster = filter->cluster;
	size_t position = 0;
	const struct directory_volume *volume;
	bool good = true;
	while ((volume = directory_next_volume(cluster->directory, &position)) != NULL) {
		const char *why = NULL;
		if (!filter_has_volume(filter, volume))
			continue;
		if (volume->replica_count == 0)
			why = "has no copy: all of its mail is at risk";
		else if (!cluster_has_copy_elsewhere(cluster, volume))
			why = "has copies at its own site only: all of its mail is at risk";
		else if (followers_elsewhere(cluster, nodes, volume) == 0)
			why = "has no copy at another site that follows: see `pando lag`";
		if (why)
			fprintf(stderr, "pando: volume %s %s\n", volume->name, why);
		good = good && !why;
	}
	return good;
}

int at_risk_run(struct command *command)
{
	struct cluster cluster = { 0 };
	struct table table = { 7,
		{ "where", "volume", "mailbox", "#uid", "delivery_id", "#lsn", "since" }, { 0 } };
	struct filter filter;
	unsigned count;
	int code = open_filtered(command, &cluster, &filter);
	if (code != EXIT_DONE)
		return code;
	struct question *nodes = cluster_ask_nodes(&cluster, "at-risk", ASK_MS, &count);
	struct question *routers = cluster_ask_routers(&cluster, "at-risk", ASK_MS, &count);
	struct question *states = cluster_ask_nodes(&cluster, "status", ASK_MS, &count);
	add_node_risks(command, &filter, nodes, &table);
	add_router_risks(command, &filter, routers, &table);
	bool all = tell_silent_nodes(&filter, nodes);
	all = tell_silent_routers(&filter, routers) && all;
	bool elsewhere = tell_alone(&filter, states);
	table_print(&table, command_json(command),
		!all ? "nothing is at risk on the daemons that answer"
			: elsewhere
			? "nothing is at risk: every accepted message is on a second site"
			: "no message waits for a copy, but see above what has none "
			  "at another site");
	table_deinit(&table);
	free(states);
	free(nodes);
	free(routers);
	cluster_close(&cluster);
	return all ? EXIT_DONE : EXIT_FAILED;
}
