#include "node/volume/volumes_internal.h"

/* What those ask who look through the logs here for what has rotted (node/scrub/). */

bool volumes_find_copy(
	const struct volumes *volumes, uint32_t volume_id, struct volumes_copy *copy_out)
{
	const struct slot *slot = volumes_find_slot(volumes, volume_id);
	if (slot == NULL || slot->volume == NULL || !slot->is_member)
		return false;
	int state = atomic_load(&slot->volume->numbers.state);
	*copy_out = (struct volumes_copy){ .name = slot->name,
		.is_primary = state == VOLUME_PRIMARY,
		.end = atomic_load(&slot->volume->numbers.durable_lsn) };
	return state == VOLUME_PRIMARY || state == VOLUME_REPLICA;
}

void volumes_mend_replica(struct volumes *volumes, uint32_t volume_id, uint64_t lsn)
{
	struct slot *slot = volumes_find_slot(volumes, volume_id);
	if (slot != NULL && atomic_load(&slot->volume->numbers.state) == VOLUME_REPLICA)
		replicator_link_scrub(volumes->link, slot, lsn);
}
