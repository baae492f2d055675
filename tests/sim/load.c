#include "sim/cluster_internal.h"

#include "proto/mail/summary.h"
#include "sim/client.h"
#include "sim/mail.h"
#include "sim/on_way.h"
#include "sim/routers.h"
#include "sim/tally.h"
#include "sim/user.h"

#include <stdio.h>
#include <stdlib.h>

/* Deliveries, and what sessions change. */

/* Of the deliveries: by a router's queue; of the others, by LMTP. */
enum { QUEUE_SHARE = 8, LMTP_SHARE = 3 };

/* The domain of every mailbox; it begins to keep what is expunged, and stops, now and then. */
enum { KEEPING_DOMAIN = 1, KEEPING_TURN = 300 };

static bool load_is_on;
static unsigned days_kept;

void load_reset(void)
{
	days_kept = 1;
	users_reset();
	on_way_reset();
	load_is_on = false;
}

struct attempt {
	struct delivery delivery;
	struct delivery_target target;
	struct delivery_part part;
	unsigned index;
	size_t entry; /* of the history */
	unsigned tries, machine;
	bool by_lmtp;
};

static void try_delivery(void *arg);

/* A router asks again with the same id, sometimes although it was answered (the answer was
 * lost). */
static void try_again(struct attempt *attempt, bool is_done)
{
	if (attempt->tries < 6 && (!is_done || world_pick(20) == 0))
		world_call_after_us(20000 + world_pick(400000), try_delivery, attempt);
	else
		free(attempt);
}

static void on_part_done(struct delivery_part *part)
{
	struct attempt *attempt = container_of(part, struct attempt, part);
	struct history_entry *entry = history_entry(attempt->entry);
	entry->answered_us = world_now_us();
	if (attempt->target.status == 0)
		history_answered(entry, attempt->machine, attempt->target.uid);
	on_way_end(entry->mailbox_id, attempt->delivery.body->length);
	bytes_unref(&attempt->delivery.body);
	buf_deinit(&attempt->delivery.summary);
	try_again(attempt, attempt->target.status == 0);
}

static void start_delivery(void *arg)
{
	struct attempt *attempt = arg;
	struct history_entry *entry = history_entry(attempt->entry);
	unsigned machine = truths[entry->volume_id - 1].primary;
	/* It has moved since this was asked for, to one that died while it started. */
	if (cluster_volume(machine, entry->volume_id) == NULL) {
		try_again(attempt, false);
		return;
	}
	entry->sent_us = world_now_us();
	attempt->machine = machine;
	attempt->target = (struct delivery_target){ .mailbox_id = entry->mailbox_id,
		.volume_id = entry->volume_id,
		.durability = entry->durability,
		.quota_bytes = cluster_mailbox(entry->mailbox_id).quota_bytes };
	attempt->delivery = (struct delivery){ .targets = &attempt->target, .target_count = 1 };
	memcpy(attempt->delivery.id, entry->delivery_id, DELIVERY_ID_LENGTH);
	struct buf message = { 0 };
	mail_write(attempt->entry + 1, &message);
	attempt->delivery.body = bytes_create(buf_length(&message));
	memcpy(attempt->delivery.body->data, buf_str(&message).bytes, buf_length(&message));
	buf_deinit(&message);
	on_way_begin(entry->mailbox_id, attempt->delivery.body->length);
	summary_encode(bytes_str(attempt->delivery.body), &attempt->delivery.summary);
	attempt->part = (struct delivery_part){ .delivery = &attempt->delivery,
		.target_indices = &attempt->index,
		.target_count = 1,
		.done = on_part_done };
	volume_deliver(cluster_volume(machine, entry->volume_id), &attempt->part);
}

static void on_lmtp_reply(void *arg, unsigned code)
{
	struct attempt *attempt = arg;
	if (code != 0)
		on_way_end(
			history_entry(attempt->entry)->mailbox_id, mail_length(attempt->entry + 1));
	tally_add(TALLY_CHECK,
		code == 250 ? "LMTP messages answered 250" : "LMTP messages refused", 1);
	if (code == 250)
		history_answered(history_entry(attempt->entry), attempt->machine, 0);
	try_again(attempt, code == 250);
}

static void try_delivery(void *arg)
{
	struct attempt *attempt = arg;
	const struct history_entry *entry = history_entry(attempt->entry);
	unsigned machine = truths[entry->volume_id - 1].primary;
	attempt->tries++;
	attempt->machine = machine;
	if (attempt->by_lmtp) {
		on_way_begin(entry->mailbox_id, mail_length(attempt->entry + 1));
		lmtp_client_send(machine, entry->delivery_id, entry->mailbox_id,
			attempt->entry + 1, on_lmtp_reply, attempt);
	} else if (world_is_running(machine))
		world_call_on(machine, 100, start_delivery, attempt);
	else if (attempt->tries < 6)
		world_call_after_us(300000, try_delivery, attempt);
}

static size_t start_attempt(
	uint32_t volume_id, uint64_t mailbox_id, enum durability durability, bool by_lmtp)
{
	struct attempt *attempt = mem_alloc(sizeof(*attempt));
	size_t entry = history_add(volume_id, mailbox_id, durability);
	attempt->entry = entry;
	attempt->by_lmtp = by_lmtp;
	try_delivery(attempt);
	return entry;
}

size_t cluster_deliver(uint32_t volume_id, uint64_t mailbox_id, enum durability durability)
{
	return start_attempt(volume_id, mailbox_id, durability, false);
}

/* By LMTP, as a router does, with what the directory says of the mailbox; or past the session, with
 * a durability of its own. */
static void new_delivery(void)
{
	uint32_t volume_id = 1 + (uint32_t)world_pick(CLUSTER_VOLUMES);
	uint64_t mailbox_id = 100 * volume_id + 1 + world_pick(CLUSTER_MAILBOXES);
	if (world_pick(QUEUE_SHARE) == 0) {
		/* Without a quota, and not strict: that is never queued. */
		mailbox_id = 100 * volume_id + 1 + 2 * world_pick(2);
		routers_accept(
			history_add(volume_id, mailbox_id, cluster_mailbox(mailbox_id).durability));
		return;
	}
	bool by_lmtp = world_pick(LMTP_SHARE) == 0;
	enum durability durability = by_lmtp ? cluster_mailbox(mailbox_id).durability
					     : (enum durability)world_pick(3);
	start_attempt(volume_id, mailbox_id, durability, by_lmtp);
}

static void on_op_done(struct mailbox_op *op)
{
	free(op->failed_uids);
	free(op);
}

/* As the directory would tell it. */
static void tell_keeping(struct volume *volume)
{
	struct directory_keeping keeping = { KEEPING_DOMAIN, 1 };
	void *mailbox;
	if (world_pick(KEEPING_TURN) == 0)
		days_kept = 1 - days_kept;
	if (!volume->keeping.is_fresh || volume->keeping.count != days_kept)
		volume_set_keeping(volume, &keeping, days_kept, true);
	for (size_t i = 0; map_next(volume->index.mailboxes, &i, NULL, &mailbox);)
		((struct mailbox *)mailbox)->domain_id = KEEPING_DOMAIN;
}

struct recovery {
	struct mailbox_op op;
	struct recovered one;
};

static void on_recovered(struct mailbox_op *op)
{
	struct recovery *recovery = container_of(op, struct recovery, op);
	tally_add(TALLY_CHECK, "an expunged message that is kept comes back",
		recovery->one.status == 0);
	free(recovery);
}

/* Something that the mailbox keeps, if there is any, comes back into its Trash: in the INBOX it
 * would be taken for one that nobody expunged. */
static void recover_one(struct mailbox *mailbox, struct folder *trash)
{
	struct body_range *range;
	uint64_t from = world_pick(64);
	while (bodies_next_kept(mailbox->index, from, &range) > 0) {
		for (uint32_t i = 0; i < range->kept.count; i++) {
			const struct kept_message *kept = &range->kept.messages[i];
			if (kept->mailbox_id != mailbox->id)
				continue;
			struct recovery *recovery = mem_alloc(sizeof(*recovery));
			*recovery = (struct recovery){ .op.done = on_recovered,
				.one.body_lsn = body_range_lsn(range, kept->offset) };
			mailbox_recover(trash, &recovery->one, 1,
				&(struct mailbox_policy){ DURABILITY_LOCAL, 0 }, &recovery->op);
			return;
		}
		from = range->number + 1;
	}
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
	tell_keeping(volume);
	struct mailbox *mailbox = index_find_mailbox(
		&volume->index, 100 * volume_id + 1 + world_pick(CLUSTER_SHARED_MAILBOXES));
	if (volume->state != VOLUME_PRIMARY || mailbox == NULL || mailbox->folder_count == 0)
		return;
	struct folder *inbox = mailbox_find_folder(mailbox, STR("INBOX"));
	struct folder *trash = mailbox_find_folder(mailbox, STR("Trash"));
	if (trash != NULL && world_pick(6) == 0) {
		recover_one(mailbox, trash);
		return;
	}
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
	users_start();
	on_load(NULL);
}

void cluster_stop_load(void)
{
	users_stop();
	load_is_on = false;
}
