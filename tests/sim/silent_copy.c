#include "sim/silent_copy.h"

#include "replicator/internal.h"

bool copy_awaits_more(const struct replicator *replicator, uint32_t volume_id)
{
	const struct copy *copy = replicator_find_copy(replicator, volume_id);
	return copy != NULL && copy->state == COPY_RECEIVING && !copy->is_writing;
}

void copy_fall_silent(const struct replicator *replicator, uint32_t volume_id)
{
	copy_enter(replicator_find_copy(replicator, volume_id), COPY_IDLE, NULL);
}

void copy_ask_anew(const struct replicator *replicator, uint32_t volume_id)
{
	receive_reconcile(replicator_find_copy(replicator, volume_id));
}
