#include "node/mailbox/deliver_part.h"

#include <errno.h>
#include <stdlib.h>

/* A delivery on the front thread: a part for each of its volumes, and their answers together. */

static void on_part_reply(void *arg)
{
	struct delivery_part *part = arg;
	struct delivery *delivery = part->delivery;
	CHECK(delivery->waiting > 0);
	if (--delivery->waiting > 0)
		return;
	/* Zero means stored: nobody is told so who is still on the way. */
	for (unsigned i = 0; i < delivery->target_count; i++)
		CHECK(delivery->targets[i].status != -EINPROGRESS);
	free(delivery->parts);
	delivery->parts = NULL;
	delivery->done(delivery);
}

static void on_part_done(struct delivery_part *part)
{
	part->task = (struct task){ .run = on_part_reply, .arg = part };
	loop_post(volumes_front(part->volumes), &part->task);
}

static void on_part_call(struct volume_call *call, struct volume *volume)
{
	volume_deliver(volume, container_of(call, struct delivery_part, call));
}

static void on_nothing_to_do(void *arg)
{
	struct delivery *delivery = arg;
	free(delivery->parts);
	delivery->parts = NULL;
	delivery->done(delivery);
}

/* Groups the targets by volume: parts and their index lists in one allocation. */
static unsigned split(struct volumes *volumes, struct delivery *delivery,
	struct delivery_part *parts, unsigned *indices)
{
	unsigned count = 0;
	for (unsigned i = 0; i < delivery->target_count; i++) {
		struct delivery_target *target = &delivery->targets[i];
		unsigned p = 0;
		if (!volumes_hold(volumes, target->volume_id)) {
			target->status = -EROFS;
			continue;
		}
		while (p < count && parts[p].volume_id != target->volume_id)
			p++;
		if (p == count) {
			parts[count++] = (struct delivery_part){ .delivery = delivery,
				.target_indices = indices + (size_t)p * delivery->target_count,
				.volumes = volumes,
				.volume_id = target->volume_id,
				.call = { .run = on_part_call },
				.done = on_part_done };
		}
		parts[p].target_indices[parts[p].target_count++] = i;
	}
	return count;
}

void volumes_deliver(struct volumes *volumes, struct delivery *delivery)
{
	unsigned most = volumes_count(volumes);
	if (most > delivery->target_count)
		most = delivery->target_count;
	if (most == 0)
		most = 1;
	struct delivery_part *parts = mem_alloc(most * sizeof(*parts) +
		(size_t)most * delivery->target_count * sizeof(unsigned));
	unsigned *indices = (unsigned *)(void *)(parts + most);
	delivery->parts = parts;
	unsigned count = split(volumes, delivery, parts, indices);
	delivery->waiting = count;
	for (unsigned p = 0; p < count; p++) {
		bool held = volumes_call(volumes, parts[p].volume_id, &parts[p].call);
		CHECK(held); /* a volume never goes while the process runs */
	}
	if (count == 0) {
		parts[0].task = (struct task){ .run = on_nothing_to_do, .arg = delivery };
		loop_defer(volumes_front(volumes), &parts[0].task);
	}
}
