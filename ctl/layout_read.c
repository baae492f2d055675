#include "ctl/layout_read.h"

#include "ctl/copies.h"

#include <stdio.h>
#include <stdlib.h>

unsigned layout_find_node(const struct layout *layout, uint32_t node_id)
{
	unsigned at = 0;
	while (at < layout->node_count && layout->nodes[at].id != node_id)
		at++;
	return at;
}

/* Of the disk that has the volumes; 0: it is not known, or a disk takes nothing. An index takes far
 * less than its log, so that where it has a disk of its own there need be no more than what is
 * spared. */
static uint64_t free_bytes_of(const struct json *status)
{
	uint64_t free_bytes = 0;
	for (const struct json *disk = json_first(json_get(status, "disks")); disk;
		disk = disk->next) {
		uint64_t has = json_u64(disk, "free_bytes");
		if (json_true(disk, "read_only") || has < layout_room(0))
			return 0;
		if (str_equal(json_text(disk, "use"), STR("volumes")))
			free_bytes = has;
	}
	return free_bytes;
}

/* Those too that have nothing to do yet: they are to be given something. */
static struct question *ask_replicators(struct cluster *cluster, unsigned count)
{
	struct question *questions = mem_alloc((count + 1) * sizeof(*questions));
	size_t position = 0;
	const struct directory_node *node;
	for (unsigned i = 0; (node = directory_next_node(cluster->directory, &position)) != NULL;
		i++) {
		questions[i].request = "status";
		snprintf(questions[i].address, sizeof(questions[i].address), "%s",
			node->replicator);
	}
	ask_all(cluster->asker, questions, count, ASK_MS);
	return questions;
}

static unsigned count_nodes(const struct cluster *cluster)
{
	unsigned count = 0;
	for (size_t position = 0; directory_next_node(cluster->directory, &position) != NULL;)
		count++;
	return count;
}

static unsigned count_volumes(const struct cluster *cluster)
{
	unsigned count = 0;
	for (size_t position = 0; directory_next_volume(cluster->directory, &position) != NULL;)
		count++;
	return count;
}

static void read_nodes(struct cluster *cluster, const struct question *nodes, struct layout *layout)
{
	struct question *replicators = ask_replicators(cluster, layout->node_count);
	size_t position = 0;
	const struct directory_node *node;
	for (unsigned i = 0; (node = directory_next_node(cluster->directory, &position)) != NULL;
		i++)
		layout->nodes[i] = (struct layout_node){ .id = node->id,
			.site_id = node->site_id,
			.name = node->name,
			.site = cluster_site_name(cluster, node->site_id),
			.silent = !nodes[i].answer           ? "pando-node"
				: !replicators[i].answer ? "pando-replicator"
							 : NULL,
			.free_bytes = free_bytes_of(nodes[i].answer) };
	free(replicators);
}

/* A copy that is being filled takes what it lacks yet. */
static void promise_room(struct layout_node *node, const struct json *home)
{
	const struct json *peer = status_peer(home, node->name);
	uint64_t end = json_u64(home, "durable_lsn"), has = json_u64(peer, "acked_lsn");
	uint64_t lacks = end > has ? end - has : 0;
	node->free_bytes -= lacks < node->free_bytes ? lacks : node->free_bytes;
}

static void add_copy(struct layout *layout, struct layout_volume *volume, uint32_t node_id,
	enum copy_state state)
{
	unsigned at = layout_find_node(layout, node_id);
	if (at == layout->node_count)
		return;
	volume->copies[volume->copy_count++] = (struct layout_copy){ at, state };
	layout->nodes[at].copies++;
	layout->nodes[at].bytes += volume->bytes;
}

/* What its node says of a volume that is to be served there; NULL: it does not answer. */
static const struct json *home_of(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume)
{
	return status_volume(
		cluster_answer_of(cluster, nodes, volume->primary_node_id), volume->id);
}

static bool is_primary(const struct json *home)
{
	return str_equal(json_text(home, "role"), STR("primary"));
}

static bool is_fenced(const struct json *home)
{
	return str_equal(json_text(home, "role"), STR("fenced")) && json_true(home, "is_proven");
}

/* A primary that is fenced says nothing of the others. */
static bool says_in_step(const struct json *home, const struct json *copy)
{
	return copy && json_u64(copy, "epoch") == json_u64(home, "epoch") &&
		!status_is_filled(copy) && !json_true(copy, "is_damaged") &&
		json_u64(copy, "durable_lsn") + COPY_LAG_BYTES_MAX >= json_u64(home, "durable_lsn");
}

static bool is_in_step(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume, const struct layout_node *node)
{
	const struct json *home = home_of(cluster, nodes, volume);
	if (is_primary(home))
		return copy_is_in_step(home, node->name);
	return is_fenced(home) &&
		says_in_step(home,
			status_volume(cluster_answer_of(cluster, nodes, node->id), volume->id));
}

static void read_volume(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume, struct layout *layout, struct layout_volume *out)
{
	const struct json *home = home_of(cluster, nodes, volume);
	*out = (struct layout_volume){ .id = volume->id,
		.name = volume->name,
		.bytes = json_u64(home, "durable_lsn"),
		.is_served = is_primary(home),
		.is_fenced = is_fenced(home),
		.is_settling = home && !is_primary(home) && !is_fenced(home) };
	add_copy(layout, out, volume->primary_node_id,
		out->is_served || out->is_fenced ? COPY_IN_STEP : COPY_BEHIND);
	if (out->copy_count > 0)
		layout->nodes[out->copies[0].node].primaries++;
	for (unsigned i = 0; i < volume->replica_count; i++) {
		unsigned at = layout_find_node(layout, volume->replica_node_ids[i]);
		if (at == layout->node_count)
			continue;
		struct layout_node *node = &layout->nodes[at];
		bool is_seeding = volume->replica_seeding[i];
		if (is_seeding)
			promise_room(node, home);
		add_copy(layout, out, node->id,
			is_seeding                                            ? COPY_SEEDING
				: is_in_step(cluster, nodes, volume, node) ? COPY_IN_STEP
									   : COPY_BEHIND);
	}
}

/* Which nodes have had numbers stands in the directory alone. */
static int read_numbers(struct command *command, struct layout *layout)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	if (directory_list(command->writer, LIST_NUMBERS, NULL, &result, &error) < 0)
		return command_fail(&error);
	for (unsigned row = 0; row < sql_rows(result); row++)
		for (unsigned i = 0; i < layout->volume_count; i++) {
			struct layout_volume *volume = &layout->volumes[i];
			if (volume->id == sql_value_u64(result, row, 0) &&
				volume->number_count < VOLUME_COPIES_MAX)
				volume->number_node_ids[volume->number_count++] =
					(uint32_t)sql_value_u64(result, row, 2);
		}
	sql_result_free(&result);
	return EXIT_DONE;
}

int layout_read(struct command *command, struct cluster *cluster, const struct question *nodes,
	struct layout *layout_out)
{
	size_t position = 0;
	const struct directory_volume *volume;
	*layout_out = (struct layout){ .node_count = count_nodes(cluster),
		.volume_count = count_volumes(cluster) };
	layout_out->nodes = mem_alloc((layout_out->node_count + 1) * sizeof(struct layout_node));
	layout_out->volumes =
		mem_alloc((layout_out->volume_count + 1) * sizeof(struct layout_volume));
	read_nodes(cluster, nodes, layout_out);
	for (unsigned i = 0;
		(volume = directory_next_volume(cluster->directory, &position)) != NULL; i++)
		read_volume(cluster, nodes, volume, layout_out, &layout_out->volumes[i]);
	return read_numbers(command, layout_out);
}

void layout_deinit(struct layout *layout)
{
	free(layout->nodes);
	free(layout->volumes);
	*layout = (struct layout){ 0 };
}
