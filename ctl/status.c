/* `pando status`: every daemon and every volume. */

#include "ctl/copies.h"
#include "ctl/filter.h"
#include "ctl/output.h"

#include <stdio.h>
#include <stdlib.h>

/* False for one that does not answer. */
static bool add_daemon(struct table *table, const char *kind, const char *name, const char *site,
	const struct question *question)
{
	table_add(table, kind);
	table_add(table, name);
	table_add(table, site);
	table_add(table, question->answer ? "up" : question->answered ? "refuses" : "down");
	table_add(table, question->error.text);
	return question->answer != NULL;
}

/* The answers of all daemons, as cluster.h says. */
struct answers {
	const struct question *nodes, *replicators, *routers;
};

static bool list_daemons_of(const struct filter *filter, const struct directory_site *site,
	const struct answers *answers, struct table *table)
{
	bool good = true;
	const struct directory *directory = filter->cluster->directory;
	size_t position = 0;
	unsigned index = 0;
	const struct directory_node *node;
	const struct directory_router *router;
	for (; (node = directory_next_node(directory, &position)) != NULL; index++) {
		if (node->site_id != site->id || !filter_has_node(filter, node))
			continue;
		good &= add_daemon(table, "node", node->name, site->name, &answers->nodes[index]);
		if (answers->replicators[index].address[0])
			good &= add_daemon(table, "replicator", node->name, site->name,
				&answers->replicators[index]);
	}
	position = index = 0;
	for (; (router = directory_next_router(directory, &position)) != NULL; index++)
		if (router->site_id == site->id && filter_has_router(filter, router))
			good &= add_daemon(table, "router", router->name, site->name,
				&answers->routers[index]);
	return good;
}

static bool list_daemons(
	const struct filter *filter, const struct answers *answers, struct table *table)
{
	bool good = true;
	size_t position = 0;
	const struct directory_site *site;
	*table = (struct table){ 5, { "daemon", "name", "site", "state", "detail" }, { 0 } };
	while ((site = directory_next_site(filter->cluster->directory, &position)) != NULL)
		good &= list_daemons_of(filter, site, answers, table);
	return good;
}

/* What it says of itself: is it one that a failover would choose? */
static bool is_filled(const struct cluster *cluster, const struct question *nodes, struct str name,
	uint32_t volume_id)
{
	const struct directory_node *node = directory_find_node_by_name(cluster->directory, name);
	return node != NULL &&
		status_is_filled(
			status_volume(cluster_answer_of(cluster, nodes, node->id), volume_id));
}

/* "node-b1 in step", "node-b1 1234 bytes behind", "node-b1 not connected", "node-b1 does not
 * move", "node-b1 has another log", "node-b1 in step, not verified", "node-b1 1234 bytes behind,
 * being filled", "node-b1 seeding, 43 % (120 of 280 MiB)", "node-b1 not connected, stale", "node-b1
 * not heard of yet". */
static void describe_copies(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *row, const struct json *volume, struct buf *out)
{
	/* Of one that is being opened. */
	struct str waits_for = json_text(volume, "waits_for");
	if (waits_for.length > 0)
		buf_printf(out, "waits for " STR_FORMAT, STR_ARG(waits_for));
	else if (str_equal(json_text(volume, "role"), STR("opening")) &&
		json_u64(volume, "durable_lsn") > 0)
		buf_printf(out, "has read %llu of %llu MiB of its log",
			(unsigned long long)json_u64(volume, "applied_lsn") >> 20,
			(unsigned long long)json_u64(volume, "durable_lsn") >> 20);
	for (const struct json *peer = json_first(json_get(volume, "peers")); peer;
		peer = peer->next) {
		if (buf_length(out))
			buf_append_literal(out, ", ");
		buf_append_str(out, json_text(peer, "node"));
		if (str_equal(json_text(peer, "chain"), STR("diverged")))
			buf_append_literal(out, " has another log");
		else if (!json_true(peer, "connected"))
			buf_append_literal(out, " not connected");
		else if (json_true(peer, "stalled"))
			buf_append_literal(out, " does not move");
		else if (json_true(peer, "seeding"))
			buf_printf(out, " seeding, %u %% (%llu of %llu MiB)",
				copy_percent(volume, peer),
				(unsigned long long)json_u64(peer, "acked_lsn") >> 20,
				(unsigned long long)json_u64(volume, "durable_lsn") >> 20);
		else if (json_u64(peer, "lag_bytes"))
			buf_printf(out, " %llu bytes behind",
				(unsigned long long)json_u64(peer, "lag_bytes"));
		else
			buf_append_literal(out, " in step");
		if (json_true(peer, "connected") &&
			str_equal(json_text(peer, "chain"), STR("unverified")))
			buf_append_literal(out, ", not verified");
		if (!json_true(peer, "seeding") &&
			is_filled(cluster, nodes, json_text(peer, "node"),
				(uint32_t)json_u64(volume, "id")))
			buf_append_literal(out, ", being filled");
		if (copy_is_stale(row, peer))
			buf_append_literal(out, ", stale");
	}
	/* Its replicator has said nothing of them yet. */
	bool is_primary = str_equal(json_text(volume, "role"), STR("primary"));
	for (unsigned i = 0; is_primary && i < row->replica_count; i++) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, row->replica_node_ids[i]);
		if (node != NULL && status_peer(volume, node->name) == NULL)
			buf_printf(out, "%s%s not heard of yet", buf_length(out) ? ", " : "",
				node->name);
	}
}

/* Returns false when some volume is not served. */
static bool list_volumes(
	const struct filter *filter, const struct question *nodes, struct table *table)
{
	const struct cluster *cluster = filter->cluster;
	size_t position = 0;
	const struct directory_volume *volume;
	bool good = true;
	*table = (struct table){ 10,
		{ "volume", "primary", "site", "state", "#epoch", "#messages", "#durable_lsn",
			"#at_risk", "durability", "copies" },
		{ 0 } };
	while ((volume = directory_next_volume(cluster->directory, &position)) != NULL) {
		if (!filter_has_volume(filter, volume))
			continue;
		const struct directory_node *node =
			directory_find_node(cluster->directory, volume->primary_node_id);
		static const char *const durabilities[] = { "remote", "strict", "local" };
		struct buf copies = { 0 };
		const struct json *own = node
			? status_volume(cluster_answer_of(cluster, nodes, node->id), volume->id)
			: NULL;
		struct str state = own ? json_text(own, "role") : STR("unreachable");
		good = good && str_equal(state, STR("primary"));
		describe_copies(cluster, nodes, volume, own, &copies);
		if (buf_length(&copies) == 0 && volume->replica_count == 0)
			buf_append_literal(&copies, "none elsewhere");
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
	struct filter filter;
	code = filter_read(command, &cluster, &filter);
	if (code != EXIT_DONE) {
		cluster_close(&cluster);
		return code;
	}
	struct question *nodes = cluster_ask_nodes(&cluster, "status", ASK_MS, &count);
	struct question *routers = cluster_ask_routers(&cluster, "status", ASK_MS, &count);
	struct question *replicators = cluster_ask_replicators(&cluster, "status", ASK_MS, &count);
	bool good =
		list_daemons(&filter, &(struct answers){ nodes, replicators, routers }, &daemons);
	good &= list_volumes(&filter, nodes, &volumes);
	if (command_json(command)) {
		struct buf out = { 0 };
		buf_append_literal(&out, "{\"daemons\": ");
		table_append_json(&daemons, &out);
		buf_append_literal(&out, ",\n\"volumes\": ");
		table_append_json(&volumes, &out);
		printf("%s}\n", buf_terminated(&out));
		buf_deinit(&out);
	} else {
		table_print(&daemons, false, filter_empty_text(&filter, "no daemon is there"));
		printf("\n");
		table_print(&volumes, false,
			filter_is_empty(&filter) ? "no volume yet: `pando volume add`"
						 : "no volume has a copy there");
	}
	table_deinit(&daemons);
	table_deinit(&volumes);
	free(nodes);
	free(routers);
	free(replicators);
	cluster_close(&cluster);
	return good ? EXIT_DONE : EXIT_FAILED;
}
