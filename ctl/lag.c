/* `pando lag`: how far each copy is behind. */

#include "ctl/copies.h"
#include "ctl/filter.h"
#include "ctl/output.h"

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
		if (own)
			table_add_bool(table, connected);
		else
			table_add(table, ""); /* nobody knows: its primary says nothing */
		for (unsigned k = 0; k < array_length(numbers); k++)
			table_add_str(table, connected ? json_text(peer, numbers[k]) : STR(""));
		table_add(table, !connected ? "" : json_true(peer, "stalled") ? "yes" : "no");
		table_add_str(table, json_text(peer, "chain"));
		table_add_str(table, json_text(peer, "verified_lsn"));
		table_add_bool(table, volume->replica_seeding[i]);
		if (copy_is_known(peer))
			table_add_bool(table, copy_is_stale(volume, peer));
		else
			table_add(table, "");
		if (peer)
			table_addf(table, "%u", copy_percent(own, peer));
		else
			table_add(table, "");
	}
}

int lag_run(struct command *command)
{
	struct cluster cluster = { 0 };
	struct table table = { 14,
		{ "volume", "primary", "replica", "site", "?connected", "#lag_messages",
			"#lag_bytes", "#lag_ms", "?stalled", "chain", "#verified_lsn", "?seeding",
			"?stale", "#percent" },
		{ 0 } };
	size_t position = 0;
	const struct directory_volume *volume;
	unsigned count;
	struct filter filter;
	int code = filter_open(command, &cluster, &filter);
	if (code != EXIT_DONE)
		return code;
	struct question *nodes = cluster_ask_nodes(&cluster, "status", ASK_MS, &count);
	while ((volume = directory_next_volume(cluster.directory, &position)) != NULL)
		add_lag_rows(&filter, nodes, volume, &table);
	bool all = filter_tell_silent_nodes(&filter, nodes);
	table_print(&table, command_json(command),
		filter_empty_text(&filter, "no volume that was asked for has a replica"));
	table_deinit(&table);
	free(nodes);
	cluster_close(&cluster);
	return all ? EXIT_DONE : EXIT_FAILED;
}
