#include "ctl/leave.h"

#include "ctl/copies.h"

/* The node of a copy that counts, is not that of the leaver, and is at another site than the
 * primary's; else NULL. */
static const struct directory_node *other_site(const struct cluster *cluster,
	const struct directory_volume *volume, unsigned at, const struct directory_node *leaver)
{
	const struct directory_node *primary =
		directory_find_node(cluster->directory, volume->primary_node_id);
	const struct directory_node *node =
		directory_find_node(cluster->directory, volume->replica_node_ids[at]);
	bool counts = primary && node && node->id != leaver->id && !volume->replica_seeding[at] &&
		node->site_id != primary->site_id;
	return counts ? node : NULL;
}

bool leave_has_other_site(const struct cluster *cluster, const struct directory_volume *volume,
	const struct directory_node *leaver)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (other_site(cluster, volume, i, leaver))
			return true;
	return false;
}

static void say_alone(const struct cluster *cluster, const struct directory_volume *volume,
	const struct directory_node *leaver, struct buf *why_out)
{
	const struct directory_node *primary =
		directory_find_node(cluster->directory, volume->primary_node_id);
	buf_printf(why_out, "without %s mail of volume %s is at %s only", leaver->name,
		volume->name, primary ? cluster_site_name(cluster, primary->site_id) : "?");
}

enum leave leave_look(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume, const struct directory_node *leaver, uint64_t lsn,
	struct buf *why_out)
{
	const struct json *primary = cluster_primary_of(cluster, nodes, volume);
	enum leave leave = LEAVE_NOT;
	if (!primary) {
		buf_printf(why_out,
			"volume %s is not served now: what its other copies have is not known, see "
			"`pando status`",
			volume->name);
		return LEAVE_NOT;
	}
	for (unsigned i = 0; i < volume->replica_count; i++) {
		const struct directory_node *node = other_site(cluster, volume, i, leaver);
		if (!node)
			continue;
		if (!copy_is_in_step(primary, node->name)) {
			buf_printf(why_out, "its copy at %s is not in step, see `pando lag`; ",
				node->name);
			continue;
		}
		if (json_u64(status_peer(primary, node->name), "acked_lsn") >= lsn)
			return LEAVE_MAY;
		buf_printf(why_out,
			"its copy at %s has not confirmed yet what its primary had %d s ago, see "
			"`pando lag`; ",
			node->name, LEAVE_MS_MAX / 1000);
		leave = LEAVE_WAITS;
	}
	say_alone(cluster, volume, leaver, why_out);
	return leave;
}

bool leave_is_compared(const struct json *primary, const struct directory_volume *volume,
	const struct directory_node *leaver, struct buf *why_out)
{
	struct str chain = json_text(status_peer(primary, leaver->name), "chain");
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replica_node_ids[i] == leaver->id && volume->replica_seeding[i])
			return true;
	if (str_equal(chain, STR("verified")) || str_equal(chain, STR("diverged")))
		return true;
	buf_printf(why_out,
		"its copy at %s has not been compared with its primary's yet, and what it has "
		"alone would not come home: see `pando lag`, and whether pando-replicator runs "
		"there",
		leaver->name);
	return false;
}
