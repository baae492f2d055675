#include "ctl/filter.h"

/* The copies of the volume that is asked for are elsewhere, or the node is: nothing would be looked
 * at, and all would be well. */
static int refuse_contradiction(const struct command *command, const struct filter *filter)
{
	if (filter->site && filter->node && filter->node->site_id != filter->site->id)
		return command_usage(
			command, "node %s is not at %s", filter->node->name, filter->site->name);
	if (filter->volume && !filter_has_volume(filter, filter->volume))
		return command_usage(command, "volume %s has no copy at %s", filter->volume->name,
			filter->node ? filter->node->name : filter->site->name);
	return EXIT_DONE;
}

/* Volumes stand at nodes. */
static bool has_anything(const struct filter *filter)
{
	size_t position = 0;
	const struct directory_node *node;
	const struct directory_router *router;
	while ((node = directory_next_node(filter->cluster->directory, &position)) != NULL)
		if (filter_has_node(filter, node))
			return true;
	position = 0;
	while ((router = directory_next_router(filter->cluster->directory, &position)) != NULL)
		if (filter_has_router(filter, router))
			return true;
	return false;
}

int filter_read(struct command *command, const struct cluster *cluster, struct filter *filter_out)
{
	const char *site = command_option(command, "site");
	const char *node = command_option(command, "node");
	const char *volume = command_option(command, "volume");
	*filter_out = (struct filter){ .cluster = cluster };
	if (site && !(filter_out->site = cluster_find_site(cluster, site)))
		return cluster_no_such(cluster, "site", site);
	if (node &&
		!(filter_out->node =
				directory_find_node_by_name(cluster->directory, str_from(node))))
		return cluster_no_such(cluster, "node", node);
	if (volume && !(filter_out->volume = cluster_find_volume(cluster, volume)))
		return cluster_no_such(cluster, "volume", volume);
	filter_out->is_vacant = !has_anything(filter_out);
	return refuse_contradiction(command, filter_out);
}

const char *filter_empty_text(const struct filter *filter, const char *otherwise)
{
	if (!filter->is_vacant)
		return otherwise;
	return filter->site ? "nothing here to check: the site has no node, no router and no volume"
			    : "nothing to check yet: `pando node add`, `pando router add`";
}

bool filter_is_empty(const struct filter *filter)
{
	return !filter->site && !filter->node && !filter->volume;
}

static bool has_place(const struct filter *filter, const struct directory_node *node)
{
	return node && (!filter->site || node->site_id == filter->site->id) &&
		(!filter->node || node->id == filter->node->id);
}

bool filter_has_node(const struct filter *filter, const struct directory_node *node)
{
	return has_place(filter, node) &&
		(!filter->volume || cluster_holds(filter->volume, node->id));
}

bool filter_has_router(const struct filter *filter, const struct directory_router *router)
{
	return (!filter->site || router->site_id == filter->site->id) && !filter->node &&
		!filter->volume;
}

bool filter_has_copy(const struct filter *filter, const struct directory_volume *volume,
	const struct directory_node *replica)
{
	const struct directory *directory = filter->cluster->directory;
	return (!filter->volume || filter->volume->id == volume->id) &&
		(has_place(filter, directory_find_node(directory, volume->primary_node_id)) ||
			has_place(filter, replica));
}

bool filter_has_volume(const struct filter *filter, const struct directory_volume *volume)
{
	const struct directory *directory = filter->cluster->directory;
	bool found = filter_has_copy(filter, volume, NULL);
	for (unsigned i = 0; i < volume->replica_count && !found; i++)
		found = filter_has_copy(filter, volume,
			directory_find_node(directory, volume->replica_node_ids[i]));
	return found || (filter_is_empty(filter) && !filter->volume);
}

bool filter_concerns_node(const struct filter *filter, const struct directory_node *node)
{
	const struct directory_volume *volume;
	size_t position = 0;
	if (filter_has_node(filter, node))
		return true;
	while ((volume = directory_next_volume(filter->cluster->directory, &position)) != NULL)
		if (cluster_holds(volume, node->id) && filter_has_volume(filter, volume))
			return true;
	return false;
}

int filter_open(struct command *command, struct cluster *cluster, struct filter *filter)
{
	int code = cluster_open_to_look(command, cluster);
	if (code != EXIT_DONE)
		return code;
	code = filter_read(command, cluster, filter);
	if (code != EXIT_DONE)
		cluster_close(cluster);
	return code;
}

static bool tell_silent(const struct question *question)
{
	if (!question->answer)
		command_fail(&question->error);
	return question->answer != NULL;
}

bool filter_tell_silent_nodes(const struct filter *filter, const struct question *nodes)
{
	size_t position = 0;
	const struct directory_node *node;
	bool all = true;
	for (; (node = directory_next_node(filter->cluster->directory, &position)) != NULL; nodes++)
		all = (!filter_concerns_node(filter, node) || tell_silent(nodes)) && all;
	return all;
}

bool filter_tell_silent_routers(const struct filter *filter, const struct question *routers)
{
	size_t position = 0;
	const struct directory_router *router;
	bool all = true;
	for (; (router = directory_next_router(filter->cluster->directory, &position)) != NULL;
		routers++)
		all = (!filter_has_router(filter, router) || tell_silent(routers)) && all;
	return all;
}
