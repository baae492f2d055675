#include "ctl/layout.h"

const struct layout_copy *layout_copy_at(const struct layout_volume *volume, unsigned node)
{
	for (unsigned i = 0; i < volume->copy_count; i++)
		if (volume->copies[i].node == node)
			return &volume->copies[i];
	return NULL;
}

bool layout_has_number(
	const struct layout *layout, const struct layout_volume *volume, unsigned node)
{
	for (unsigned i = 0; i < volume->number_count; i++)
		if (volume->number_node_ids[i] == layout->nodes[node].id)
			return true;
	return false;
}

bool layout_may_have_copy(const struct layout *layout, const struct layout_volume *volume,
	unsigned node, unsigned promised)
{
	return volume->number_count + promised < VOLUME_COPIES_MAX ||
		layout_has_number(layout, volume, node);
}

uint64_t layout_room(uint64_t bytes)
{
	return bytes * LAYOUT_ROOM_PERCENT / 100 + ((uint64_t)LAYOUT_SPARE_MIB << 20);
}
