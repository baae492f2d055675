#include "ctl/backup/take.h"

#include "core/clock.h"

#include <stdlib.h>

enum {
	/* A failover is over before: then a volume has a primary again. Longer than that it is
	 * away, and what a replica has is read. */
	SERVED_MS_MAX = 10000,
	SERVED_LOOK_MS = 500,
	/* Half of what a body keeps its room at least after it was expunged (`free_after_s`, where
	 * nobody has changed it). */
	RENEW_MS = 30000,
};

static void list_volumes(struct taking *taking)
{
	struct backup_set *set = &taking->set;
	const struct directory_volume *volume;
	size_t position = 0;
	unsigned count = 0;
	set->volume_count = 0;
	while (directory_next_volume(taking->cluster.directory, &position) != NULL)
		count++;
	set->volumes = pool_alloc(taking->pool, (count + 1) * sizeof(*set->volumes));
	taking->wanted = pool_alloc(taking->pool, (count + 1) * sizeof(*taking->wanted));
	for (position = 0;
		(volume = directory_next_volume(taking->cluster.directory, &position)) != NULL;) {
		taking->wanted[set->volume_count++] = (struct wanted){ .volume = volume,
			.before = taking->parent ? backup_set_volume(taking->parent, volume->id)
						  : NULL,
			.problem = "" };
	}
}

static const char *node_name(const struct taking *taking, uint32_t node_id)
{
	const struct directory_node *node = directory_find_node(taking->cluster.directory, node_id);
	return node ? node->name : "?";
}

/* The replica that has most of it, of those that are copies already. */
static void ask_replicas(struct taking *taking, const struct question *nodes, struct wanted *wanted)
{
	const struct directory_volume *volume = wanted->volume;
	const char *found = NULL;
	for (unsigned i = 0; i < volume->replica_count; i++) {
		const struct json *own = status_volume(
			cluster_answer_of(&taking->cluster, nodes, volume->replica_node_ids[i]),
			volume->id);
		uint64_t end = json_u64(own, "durable_lsn");
		if (!own || volume->replica_seeding[i] || (found && end <= wanted->end))
			continue;
		found = node_name(taking, volume->replica_node_ids[i]);
		wanted->end = end;
	}
	const char *primary = node_name(taking, volume->primary_node_id);
	struct str problem = found
		? pool_printf(taking->pool,
			  "%s does not serve it now, so that where it ends is not known: read as "
			  "far as %s has it",
			  primary, found)
		: pool_printf(taking->pool, "neither %s nor a replica of it answers", primary);
	wanted->problem = pool_copy_terminated(taking->pool, problem);
}

/* True: its primary has said where it ends. */
static bool ask_primary(
	const struct taking *taking, const struct question *nodes, struct wanted *wanted)
{
	const struct json *own = cluster_primary_of(&taking->cluster, nodes, wanted->volume);
	wanted->is_primarys = own != NULL;
	wanted->end = json_u64(own, "durable_lsn");
	if (wanted->least_end == 0)
		wanted->least_end = wanted->end;
	wanted->epoch = json_u64(own, "epoch");
	return own != NULL;
}

/* True: every volume's primary has said where it ends. */
static bool ask_primaries(struct taking *taking, const struct question *nodes)
{
	bool all = true;
	for (unsigned i = 0; i < taking->set.volume_count; i++)
		all = ask_primary(taking, nodes, &taking->wanted[i]) && all;
	return all;
}

/* The directory's places, which name other primaries after a failover, and what nodes say of them.
 */
static int look(struct taking *taking, struct question **nodes_out, bool *all_out)
{
	unsigned count;
	cluster_close(&taking->cluster);
	int code = cluster_open(taking->command, &taking->cluster);
	if (code != EXIT_DONE)
		return code;
	list_volumes(taking);
	taking->set.moment_s = clock_wall_us() / 1000000;
	taking->asked_us = clock_mono_us();
	*nodes_out = cluster_ask_nodes(&taking->cluster, "status", ASK_MS, &count);
	*all_out = ask_primaries(taking, *nodes_out);
	return EXIT_DONE;
}

/* Where a primary says nothing now, or serves it no more, what it said before is good too. */
void take_renew_ends(struct taking *taking, unsigned first)
{
	unsigned count;
	if (clock_mono_us() - taking->asked_us < RENEW_MS * 1000u ||
		cluster_forget_answers(taking->command, &taking->cluster) < 0)
		return;
	taking->asked_us = clock_mono_us();
	struct question *nodes = cluster_ask_nodes(&taking->cluster, "status", ASK_MS, &count);
	for (unsigned i = first; i < taking->set.volume_count; i++) {
		struct wanted *wanted = &taking->wanted[i];
		struct wanted now = *wanted;
		if (!ask_primary(taking, nodes, &now))
			continue;
		now.problem = "";
		/* After a failover what the old primary had more counts for nothing. */
		if (now.epoch != wanted->epoch)
			now.least_end = now.end;
		taking->total += now.end > wanted->end ? now.end - wanted->end : 0;
		*wanted = now;
	}
	free(nodes);
}

int take_find_ends(struct taking *taking)
{
	uint64_t begun_us = clock_mono_us();
	struct question *nodes = NULL;
	bool all = false;
	int code = look(taking, &nodes, &all);
	while (code == EXIT_DONE && !all && clock_mono_us() - begun_us < SERVED_MS_MAX * 1000u) {
		free(nodes);
		nodes = NULL;
		clock_sleep_ms(SERVED_LOOK_MS);
		code = look(taking, &nodes, &all);
	}
	for (unsigned i = 0; code == EXIT_DONE && i < taking->set.volume_count; i++)
		if (!taking->wanted[i].is_primarys)
			ask_replicas(taking, nodes, &taking->wanted[i]);
	free(nodes);
	return code;
}
