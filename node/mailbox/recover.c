#include "node/mailbox/operation.h"

#include "core/clock.h"
#include "node/index/ahead.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Expunged messages that come back: a change that adds each to a folder by the address of its old
 * body, as COPY does, if the mailbox keeps it still when the change is applied. So a message that
 * two ask for comes back once, and one whose room is given back meanwhile does not.
 */

static void on_recovered(struct pending_change *pending, int status, bool at_risk)
{
	struct mailbox_change *change = container_of(pending, struct mailbox_change, pending);
	struct mailbox_op *op = change->op;
	const int *statuses = pending->result.action_statuses;
	size_t action = 0;
	for (uint32_t i = 0; i < change->recovered_count; i++) {
		struct recovered *message = &change->recovered[i];
		if (message->status != -EINPROGRESS)
			continue;
		bool has_ground = statuses == NULL || statuses[action] == 0;
		bool is_applied = status == 0 || status == -EAGAIN;
		action++;
		message->status = is_applied && !has_ground ? -ENOENT : status;
		if (message->status == 0 && at_risk)
			volume_add_at_risk(pending->volume,
				&(struct at_risk){ .lsn = pending->append.end_lsn,
					.mailbox_id = change->mailbox_id,
					.uid = message->uid,
					.since_us = clock_wall_us() });
	}
	op->status = status;
	free(change);
	op->done(op);
}

/* Its flags in this folder; keywords that have no place there stay behind. */
static uint64_t flags_of(struct folder *folder, const struct kept_message *kept, struct pool *pool,
	struct action *action)
{
	uint64_t flags = kept->flags & MESSAGE_SYSTEM_FLAGS & ~(uint64_t)MESSAGE_DELETED;
	struct str rest = kept_keywords(kept), name;
	while (kept_next_keyword(&rest, &name))
		operation_take_keywords(folder, &name, 1, pool, action, &flags);
	return flags;
}

static void add(struct folder *folder, struct recovered *message, const struct kept_message *kept,
	struct mailbox_change *change)
{
	struct pool *pool = change->pending.pool;
	struct action *action =
		&change->pending.change.actions[change->pending.change.action_count++];
	uint64_t flags = flags_of(folder, kept, pool, action);
	message->uid = ahead_take_uid(folder);
	message->status = -EINPROGRESS;
	action->kind = ACTION_ADD;
	action->folder_id = folder->id;
	action->modseq = volume_next_modseq(change->pending.volume, folder->mailbox);
	action->recovers = true;
	action->added_count = 1;
	action->added = pool_alloc(pool, sizeof(*action->added));
	action->added[0] = (struct added_message){ .uid = message->uid,
		.size = kept->size,
		.flags = flags,
		.body_lsn = message->body_lsn,
		.internal_date_s = kept->internal_date_s,
		.summary_length = kept->summary_length };
}

static void add_all(struct folder *folder, const struct mailbox_policy *policy,
	struct mailbox_change *change)
{
	struct mailbox *mailbox = folder->mailbox;
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < change->recovered_count; i++) {
		struct recovered *message = &change->recovered[i];
		const struct kept_message *kept = NULL;
		message->uid = 0;
		message->status = bodies_find_kept(mailbox->index, message->body_lsn, mailbox->id,
			mailbox_mark_number(mailbox), &kept);
		if (message->status < 0)
			continue;
		if (volume_kept_until(change->pending.volume, kept) == 0)
			message->status = -ENOENT;
		else if (!mailbox_has_room(mailbox, policy->quota_bytes, bytes + kept->size))
			message->status = -EDQUOT;
		if (message->status < 0)
			continue;
		bytes += kept->size;
		add(folder, message, kept, change);
	}
}

void mailbox_recover(struct folder *folder, struct recovered *messages, uint32_t count,
	const struct mailbox_policy *policy, struct mailbox_op *op)
{
	struct volume *volume = operation_volume(folder->mailbox);
	struct mailbox_change *change = operation_create(folder->mailbox, op, count);
	change->pending.change.action_count = 0;
	change->folder_id = folder->id;
	change->recovered = messages;
	change->recovered_count = count;
	int status = folder_load(folder);
	if (status == 0 && (volume_is_uid_slack_used(volume, folder, count) ||
				   operation_lacks_replica(volume, policy->durability)))
		status = -EAGAIN;
	for (uint32_t i = 0; i < count; i++)
		messages[i].status = status;
	if (status == 0)
		add_all(folder, policy, change);
	if (status == 0 && change->pending.change.action_count == 0)
		status = -ENOENT;
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	change->pending.done = on_recovered;
	change->pending.durability = policy->durability;
	change->pending.waits_for_replica = true;
	operation_submit(change);
}
