#ifndef PANDO_NODE_DELIVER_PART_H
#define PANDO_NODE_DELIVER_PART_H

/* The part of a delivery that one volume stores, on that volume's loop. */

#include "node/mailbox/deliver.h"
#include "node/volume/volume.h"

struct delivery_part {
	struct delivery *delivery;
	unsigned *target_indices;
	unsigned target_count;
	void (*done)(struct delivery_part *part); /* on the volume's loop */
	struct pending_change pending;
	struct volume *volume;
	/* Of deliver.c. */
	struct volumes *volumes;
	uint32_t volume_id;
	struct volume_call call;
	struct task task;
};
void volume_deliver(struct volume *volume, struct delivery_part *part);

#endif
