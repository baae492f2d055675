#include "node/volume/volumes_internal.h"

/* What those ask who bring home what was cut off logs here (node/salvage/). */

uint32_t *volumes_ids(const struct volumes *volumes, size_t *count_out)
{
	void *value;
	uint32_t *ids = mem_alloc((map_count(volumes->slots) + 1) * sizeof(*ids));
	*count_out = 0;
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);)
		ids[(*count_out)++] = ((struct slot *)value)->id;
	return ids;
}

uint64_t volumes_log_end(const struct volumes *volumes, uint32_t volume_id)
{
	const struct slot *slot = volumes_find_slot(volumes, volume_id);
	return slot && slot->volume ? atomic_load(&slot->volume->numbers.durable_lsn) : 0;
}
