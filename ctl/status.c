/* What every copy and daemon says of itself: status, lag, at-risk. */

#include "ctl/cluster.h"
#include "ctl/output.h"

#include <stdio.h>
#include <stdlib.h>

/* Index of a node in the directory's order, which is that of the questions. */
static unsigned node_index(const struct cluster *cluster, uint32_t node_id)
{
	size_t position = 0;
	unsigned index = 0;
	const struct directory_node *node;
	while ((node = directory_next_node(cluster->directory, &position)) != NULL) {
		if (node->id == node_id)
			return index;
		index++;
	}
	return index;
}

static void list_daemons(const struct cluster *cluster, const struct question *nodes,
	const struct question *routers, struct table *table)
{
	size_t position = 0;
	unsigned index = 0;
	const struct directory_node *node;
	const struct directory_router *router;
	*table = (struct table){ 5, { "daemon", "name", "site", "state", "detail" }, { 0 } };
	while ((node = directory_next_node(cluster->directory, &position)) != NULL) {
		const struct question *question = &nodes[index++];
		table_add(table, "node");
		table_add(table, node->name);
		table_add(table, cluster_site_name(cluster, node->site_id));
		table_add(table, question->answer ? "up" : question->answered ? "refuses" : "down");
		table_add(table, question->error.text);
	}
	position = index = 0;
	while ((router = directory_next_router(cluster->directory, &position)) != NULL) {
		const struct question *question = &routers[index++];
		table_add(table, "router");
		table_add(table, router->name);
		table_add(table, cluster_site_name(cluster, router->site_id));
		table_add(table, question->answer ? "up" : question->answered ? "refuses" : "down");
		table_add(table, question->error.text);
	}
}

/* "node-b1 in step", "node-b1 1234 bytes behind", "node-b1 not connected". */
static void describe_copies(const struct json *volume, struct buf *out)
{
	for (const struct json *peer = json_first(json_get(volume, "peers")); peer;
		peer = peer->next) {
		if (buf_length(out))
			buf_append_literal(out, ", ");
		buf_append_str(out, json_text(peer, "node"));
		if (!json_true(peer, "connected"))
			buf_append_literal(out, " not connected");
		else if (json_u64(peer, "lag_bytes"))
			buf_printf(out, " %llu bytes behind",
				(unsigned long long)json_u64(peer, "lag_bytes"));
		else
			buf_append_literal(out, " in step");
	}
}

/* Returns false when some volume is not served. */
static bool list_volumes(
	const struct cluster *cluster, const struct question *nodes, struct table *table)
{
	size_t position = 0;
	const struct directory_volume *volume;
	bool good = true;
	*table = (struct table){ 10,
		{ "volume", "primary", "site", "state", "#epoch", "#messages", "#durable_lsn",
			"#at_risk", "durability", "copies" },
		{ 0 } };
	while ((volume = directory_next_volume(cluster->directory, &position)) != NULL) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, volume->primary_node_id);
		static const char *const durabilities[] = { "remote", "strict", "local" };
		struct buf copies = { 0 };
		const struct json *own = node
			? status_volume(nodes[node_index(cluster, node->id)].answer, volume->id)
			: NULL;
		struct str state = own ? json_text(own, "role") : STR("unreachable");
		good = good && str_equal(state, STR("primary"));
		describe_copies(own, &copies);
		table_add(table, volume->name);
		table_add(table, node ? node->name : "?");
		table_add(table, node ? cluster_site_name(cluster, node->site_id) : "?");
		table_add_str(table, state);
		table_addf(table, "%llu", (unsigned long long)volume->epoch);
		table_add_str(table, json_text(own, "messages"));
		table_add_str(table, json_text(own, "durable_lsn"));
		table_add_str(table, json_text(own, "at_risk"));
		table_add(table, durabilities[volume->durability]);
		table_add_str(table, buf_str(&copies));
		buf_deinit(&copies);
	}
	return good;
}

int status_run(struct command *command)
{
	struct cluster cluster = { 0 };
	struct table daemons, volumes;
	unsigned count;
	int code = cluster_open_to_look(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	struct question *nodes = cluster_ask_nodes(&cluster, "status", ASK_MS, &count);
	struct question *routers = cluster_ask_routers(&cluster, "status", ASK_MS, &count);
	list_daemons(&cluster, nodes, routers, &daemons);
	bool good = list_volumes(&cluster, nodes, &volumes);
	if (command_json(command)) {
		struct buf out = { 0 };
		buf_append_literal(&out, "{\"daemons\": ");
		table_append_json(&daemons, &out);
		buf_append_literal(&out, ",\n\"volumes\": ");
		table_append_json(&volumes, &out);
		printf("%s}\n", buf_terminated(&out));
		buf_deinit(&out);
	} else {
		table_print(&daemons, false,
			"no daemon is known: `pando node add`, `pando router add`");
		printf("\n");
		table_print(&volumes, false, "no volume yet: `pando volume add`");
	}
	table_deinit(&daemons);
	table_deinit(&volumes);
	free(nodes);
	free(routers);
	cluster_close(&cluster);
	return good ? EXIT_DONE : EXIT_FAILED;
}

/* What the primary says of a replica; NULL when it does not serve or does not know it. */
static const struct json *peer_of(const struct json *primary, const char *node)
{
	if (!str_equal(json_text(primary, "role"), STR("primary")))
		return NULL;
	for (const struct json *peer = json_first(json_get(primary, "peers")); peer;
		peer = peer->next)
		if (str_equal(json_text(peer, "node"), str_from(node)))
			return peer;
	return NULL;
}

/* A row for every copy that should be there. How far one is behind that is not connected nobody
 * knows: it may have been restored, or lost. */
static void add_lag_rows(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume, struct table *table)
{
	const struct directory_node *primary =
		directory_find_node(cluster->directory, volume->primary_node_id);
	const struct json *own = primary
		? status_volume(nodes[node_index(cluster, primary->id)].answer, volume->id)
		: NULL;
	for (unsigned i = 0; i < volume->replica_count; i++) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, volume->replica_node_ids[i]);
		const struct json *peer = node ? peer_of(own, node->name) : NULL;
		bool connected = json_true(peer, "connected");
		static const char *const numbers[] = { "lag_messages", "lag_bytes", "lag_ms" };
		table_add(table, volume->name);
		table_add(table, primary ? primary->name : "?");
		table_add(table, node ? node->name : "?");
		table_add(table, node ? cluster_site_name(cluster, node->site_id) : "?");
		table_add_bool(table, connected);
		for (unsigned k = 0; k < array_length(numbers); k++)
			table_add_str(table, connected ? json_text(peer, numbers[k]) : STR(""));
	}
}

/* Says on standard error which daemons could not be asked. True when all answered. */
static bool tell_silent(const struct question *questions, unsigned count)
{
	bool all = true;
	for (unsigned i = 0; i < count; i++)
		if (!questions[i].answer) {
			fprintf(stderr, "pando: %s\n", questions[i].error.text);
			all = false;
		}
	return all;
}

int lag_run(struct command *command)
{
	struct cluster cluster = { 0 };
	struct table table = { 8,
		{ "volume", "primary", "replica", "site", "?connected", "#lag_messages",
			"#lag_bytes", "#lag_ms" },
		{ 0 } };
	size_t position = 0;
	const struct directory_volume *volume;
	unsigned count;
	int code = cluster_open_to_look(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	struct question *nodes = cluster_ask_nodes(&cluster, "status", ASK_MS, &count);
	while ((volume = directory_next_volume(cluster.directory, &position)) != NULL)
		add_lag_rows(&cluster, nodes, volume, &table);
	bool all = tell_silent(nodes, count);
	table_print(&table, command_json(command), "no volume has a replica");
	table_deinit(&table);
	free(nodes);
	cluster_close(&cluster);
	return all ? EXIT_DONE : EXIT_FAILED;
}

static void add_risk_rows(
	struct command *command, struct table *table, const struct json *answer, const char *where)
{
	for (const struct json *message = json_first(json_get(answer, "messages")); message;
		message = message->next) {
		struct buf address = { 0 };
		uint64_t mailbox_id = json_u64(message, "mailbox_id");
		if (mailbox_id &&
			(!command->writer ||
				directory_mailbox_address(
					command->writer, mailbox_id, &address, NULL) < 0))
			buf_printf(&address, "mailbox %llu", (unsigned long long)mailbox_id);
		table_add(table, where);
		table_add_str(table, json_text(message, "volume"));
		table_add_str(table, buf_str(&address));
		table_add_str(table, json_text(message, "uid"));
		table_add_str(table, json_text(message, "delivery_id"));
		table_add_str(table, json_text(message, "lsn"));
		table_add_str(table, json_text(message, "since"));
		buf_deinit(&address);
	}
}

/* Connected replicas of a volume at other sites than its primary's, as the primary says; with
 * `expected` those that the directory names. */
static unsigned copies_elsewhere(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume, bool expected)
{
	const struct directory_node *primary =
		directory_find_node(cluster->directory, volume->primary_node_id);
	const struct json *own = primary
		? status_volume(nodes[node_index(cluster, primary->id)].answer, volume->id)
		: NULL;
	unsigned count = 0;
	for (unsigned i = 0; i < volume->replica_count && primary; i++) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, volume->replica_node_ids[i]);
		if (node && node->site_id != primary->site_id &&
			(expected || json_true(peer_of(own, node->name), "connected")))
			count++;
	}
	return count;
}

/* Names, on standard error, every volume whose mail no list of messages tells of: all of it is at
 * one site, or its copies do not follow. True when there is none. */
static bool tell_alone(const struct cluster *cluster, const struct question *nodes)
{
	size_t position = 0;
	const struct directory_volume *volume;
	bool good = true;
	while ((volume = directory_next_volume(cluster->directory, &position)) != NULL) {
		const char *why = NULL;
		if (volume->replica_count == 0)
			why = "has no copy: all of its mail is at risk";
		else if (copies_elsewhere(cluster, nodes, volume, true) == 0)
			why = "has copies at its own site only: all of its mail is at risk";
		else if (copies_elsewhere(cluster, nodes, volume, false) == 0)
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
	unsigned node_count, router_count, index = 0;
	size_t position = 0;
	const struct directory_node *node;
	const struct directory_router *router;
	int code = cluster_open_to_look(command, &cluster);
	if (code != EXIT_DONE)
		return code;
	struct question *nodes = cluster_ask_nodes(&cluster, "at-risk", ASK_MS, &node_count);
	struct question *routers = cluster_ask_routers(&cluster, "at-risk", ASK_MS, &router_count);
	while ((node = directory_next_node(cluster.directory, &position)) != NULL)
		add_risk_rows(command, &table, nodes[index++].answer, node->name);
	position = index = 0;
	while ((router = directory_next_router(cluster.directory, &position)) != NULL)
		add_risk_rows(command, &table, routers[index++].answer, router->name);
	bool all = tell_silent(nodes, node_count);
	all = tell_silent(routers, router_count) && all;
	struct question *states = cluster_ask_nodes(&cluster, "status", ASK_MS, &node_count);
	bool elsewhere = tell_alone(&cluster, states);
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
