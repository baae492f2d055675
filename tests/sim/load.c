#include "sim/cluster_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Deliveries, and what sessions change. */

static bool load_is_on;

void load_reset(void)
{
	load_is_on = false;
}

struct attempt {
	struct delivery delivery;
	struct delivery_target target;
	struct delivery_part part;
	unsigned index;
	size_t entry; /* of the history */
	unsigned tries, machine;
};

static void try_delivery(void *arg);

static void on_part_done(struct delivery_part *part)
{
	struct attempt *attempt = container_of(part, struct attempt, part);
	struct history_entry *entry = history_entry(attempt->entry);
	const struct volume *volume = part->volume;
	entry->answered_us = world_now_us();
	if (attempt->target.status == 0) {
		if (!entry->answered_ok)
			entry->took_us = entry->answered_us - entry->sent_us;
		entry->answered_ok = true;
		entry->answered_epoch = volume->desired.epoch;
		entry->answered_lsn = part->pending.append.end_lsn;
		entry->answered_by = attempt->machine;
		if (attempt->target.uid != 0)
			entry->uid = attempt->target.uid;
		/* The volume says for which answers it had no second copy. */
		history_look_at_risk(entry);
	}
	bytes_unref(&attempt->delivery.body);
	buf_deinit(&attempt->delivery.summary);
	/* A router asks again with the same id, sometimes although it was answered (the answer was
	 * lost). */
	if (attempt->tries < 6 && (attempt->target.status != 0 || world_pick(20) == 0))
		world_call_after_us(20000 + world_pick(400000), try_delivery, attempt);
	else
		free(attempt);
}

static void start_delivery(void *arg)
{
	struct attempt *attempt = arg;
	struct history_entry *entry = history_entry(attempt->entry);
	unsigned machine = truths[entry->volume_id - 1].primary;
	entry->sent_us = world_now_us();
	attempt->machine = machine;
	attempt->target = (struct delivery_target){ .mailbox_id = entry->mailbox_id,
		.volume_id = entry->volume_id,
		.durability = entry->durability };
	attempt->delivery = (struct delivery){ .targets = &attempt->target, .target_count = 1 };
	memcpy(attempt->delivery.id, entry->delivery_id, DELIVERY_ID_LENGTH);
	attempt->delivery.body = bytes_create(1 + world_pick(world_pick(10) == 0 ? 60000 : 3000));
	memset(attempt->delivery.body->data, 'm', attempt->delivery.body->length);
	buf_append_literal(&attempt->delivery.summary, "summary");
	attempt->part = (struct delivery_part){ .delivery = &attempt->delivery,
		.target_indices = &attempt->index,
		.target_count = 1,
		.done = on_part_done };
	volume_deliver(cluster_volume(machine, entry->volume_id), &attempt->part);
}

static void try_delivery(void *arg)
{
	struct attempt *attempt = arg;
	unsigned machine = truths[history_entry(attempt->entry)->volume_id - 1].primary;
	attempt->tries++;
	if (world_is_running(machine))
		world_call_on(machine, 100, start_delivery, attempt);
	else if (attempt->tries < 6)
		world_call_after_us(300000, try_delivery, attempt);
}

size_t cluster_deliver(uint32_t volume_id, uint64_t mailbox_id, enum durability durability)
{
	struct attempt *attempt = mem_alloc(sizeof(*attempt));
	attempt->entry = history_add(volume_id, mailbox_id, durability);
	try_delivery(attempt);
	return attempt->entry;
}

static void new_delivery(void)
{
	uint32_t volume_id = 1 + (uint32_t)world_pick(CLUSTER_VOLUMES);
	uint64_t mailbox_id = 100 * volume_id + 1 + world_pick(CLUSTER_MAILBOXES);
	cluster_deliver(volume_id, mailbox_id, (enum durability)world_pick(3));
}

static void on_op_done(struct mailbox_op *op)
{
	free(op->failed_uids);
	free(op);
}

/* A session's change on a random message of a random mailbox. Expunges spare the messages that the
 * checkers look for: only folders that start with another letter are emptied. */
static void new_change(void *arg)
{
	uint32_t volume_id = 1 + (uint32_t)world_pick(CLUSTER_VOLUMES);
	unsigned machine = truths[volume_id - 1].primary;
	(void)arg;
	if (!world_is_running(machine) || machine != *(unsigned *)arg)
		return;
	struct volume *volume = cluster_volume(machine, volume_id);
	struct mailbox *mailbox = index_find_mailbox(
		&volume->index, 100 * volume_id + 1 + world_pick(CLUSTER_MAILBOXES));
	if (volume->state != VOLUME_PRIMARY || mailbox == NULL || mailbox->folder_count == 0)
		return;
	struct folder *inbox = mailbox_find_folder(mailbox, STR("INBOX"));
	struct folder *trash = mailbox_find_folder(mailbox, STR("Trash"));
	struct mailbox_op *op = mem_alloc(sizeof(*op));
	op->done = on_op_done;
	uint32_t uid = 0;
	if (folder_load(inbox) == 0 && inbox->message_count > 0)
		uid = inbox->messages[world_pick(inbox->message_count)].uid;
	struct str keyword = STR("$Simulated");
	switch (world_pick(5)) {
	case 0:
	case 1:
		mailbox_store(inbox, &(struct store_request){ .uids = &uid, .count = 1,
					     .mode = (enum store_mode)world_pick(3),
					     .system_flags = world_pick(32), .keywords = &keyword,
					     .keyword_count = (unsigned)world_pick(2) }, op);
		break;
	case 2:
		mailbox_copy(inbox, &uid, 1, trash, false,
			&(struct mailbox_policy){ DURABILITY_LOCAL, 0 }, op);
		break;
	case 3:
		uid = folder_load(trash) == 0 && trash->message_count > 0 ? trash->messages[0].uid
									  : 0;
		mailbox_expunge(trash, &uid, 1, op);
		break;
	case 4: {
		char name[32];
		snprintf(name, sizeof(name), "work/%u", (unsigned)world_pick(5));
		struct folder *folder = mailbox_find_folder(mailbox, str_from(name));
		if (folder != NULL)
			mailbox_delete_folder(folder, op);
		else
			mailbox_create_folder(mailbox, str_from(name), SPECIAL_NONE, op);
		break;
	}
	}
}

static void on_load(void *arg)
{
	static unsigned numbers[CLUSTER_MACHINES_MAX] = { 0, 1, 2 };
	if (!load_is_on)
		return;
	new_delivery();
	unsigned machine = (unsigned)world_pick(machine_count);
	if (world_is_running(machine) && world_pick(2) == 0)
		world_call_on(machine, 10, new_change, &numbers[machine]);
	world_call_after_us(500 + world_pick(8000), on_load, arg);
}

void cluster_start_load(void)
{
	load_is_on = true;
	on_load(NULL);
}

void cluster_stop_load(void)
{
	load_is_on = false;
}
