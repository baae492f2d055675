#include "node/mailbox/operation.h"

#include <errno.h>

/* What sessions ask of messages, turned into changes. Numbers are given out here, ahead of the
 * applied state and in the order of the log. */

/* ---- keywords and uid ranges of an action ---- */

static int add_keywords(struct folder *folder, const struct str *names, unsigned count,
	struct pool *pool, struct action *action, uint64_t *flags)
{
	action->keywords = pool_alloc(pool, count * sizeof(*action->keywords));
	for (unsigned i = 0; i < count; i++) {
		int bit = folder_take_keyword(folder, names[i]);
		if (bit < 0)
			return bit;
		action->keywords[action->keyword_count++] =
			(struct action_keyword){ (uint32_t)bit, pool_copy(pool, names[i]) };
		*flags |= 1ull << (MESSAGE_KEYWORD_SHIFT + bit);
	}
	return 0;
}

/* The message with this uid, or message_count. `*next`: where the one after the last was found,
 * since callers come with rising uids. */
static uint32_t find_message(const struct folder *folder, uint32_t uid, uint32_t *next)
{
	uint32_t at = *next;
	if (at >= folder->message_count || folder->messages[at].uid != uid)
		at = folder_find_uid(folder, uid);
	if (at < folder->message_count && folder->messages[at].uid != uid)
		return folder->message_count;
	*next = at + 1;
	return at;
}

/* Neighbouring messages become one range, whatever uids are missing between them. */
static void add_uids(struct folder *folder, const uint32_t *uids, uint32_t count, struct pool *pool,
	struct action *action)
{
	action->uids = pool_alloc(pool, count * sizeof(*action->uids));
	uint32_t previous_index = UINT32_MAX, next = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = find_message(folder, uids[i], &next);
		if (at == folder->message_count)
			continue;
		if (action->uid_range_count > 0 && at == previous_index + 1)
			action->uids[action->uid_range_count - 1].last = uids[i];
		else
			action->uids[action->uid_range_count++] =
				(struct uid_range){ uids[i], uids[i] };
		previous_index = at;
	}
}

/* ---- messages ---- */

void mailbox_append(
	struct folder *folder, const struct append_request *request, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	struct volume *volume = operation_volume(mailbox);
	struct mailbox_change *change = operation_create(mailbox, op, 1);
	struct action *action = operation_action(change);
	uint64_t flags = request->system_flags & MESSAGE_SYSTEM_FLAGS;
	change->body = bytes_ref(request->body);
	change->folder_id = folder->id;
	int status = folder_load(folder);
	if (status == 0)
		status = add_keywords(folder, request->keywords, request->keyword_count,
			change->pending.pool, action, &flags);
	if (status == 0 && volume_is_uid_slack_used(volume, folder, 1))
		status = -EAGAIN;
	if (status == 0 && !mailbox_has_room(mailbox, request->policy.quota_bytes,
				   request->body->length))
		status = -EDQUOT;
	change->pending.durability = request->policy.durability;
	if (status == 0 && change->pending.durability == DURABILITY_STRICT &&
		volume_has_replica(volume) && !volume_has_live_replica(volume))
		status = -EAGAIN;
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	struct str summary = pool_copy(change->pending.pool, request->summary);
	action->kind = ACTION_ADD;
	action->folder_id = folder->id;
	action->modseq = volume_next_modseq(volume, mailbox);
	action->added_count = 1;
	action->added = pool_alloc(change->pending.pool, sizeof(*action->added));
	action->added[0] = (struct added_message){ .uid = folder->private->allocated_uidnext++,
		.size = (uint32_t)request->body->length,
		.flags = flags,
		.body_back = volume_body_back(request->body->length, summary.length),
		.internal_date_s = request->internal_date_s,
		.summary_length = (uint32_t)summary.length };
	op->uidvalidity = folder->uidvalidity;
	op->first_uid = action->added[0].uid;
	op->count = 1;
	op->modseq = action->modseq;
	change->risk = (struct at_risk){ .mailbox_id = mailbox->id, .uid = op->first_uid };
	change->pending.waits_for_replica = true;
	volume_submit(volume, &change->pending, bytes_str(request->body), summary);
}

void mailbox_store(
	struct folder *folder, const struct store_request *request, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	struct mailbox_change *change = operation_create(mailbox, op, 1);
	struct action *action = operation_action(change);
	uint64_t flags = request->system_flags & MESSAGE_SYSTEM_FLAGS;
	change->folder_id = folder->id;
	int status = folder_load(folder);
	if (status == 0)
		status = add_keywords(folder, request->keywords, request->keyword_count,
			change->pending.pool, action, &flags);
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	action->kind = ACTION_FLAGS;
	action->folder_id = folder->id;
	action->modseq = volume_next_modseq(operation_volume(mailbox), mailbox);
	action->mode = request->mode;
	action->flags = flags;
	action->conditional = request->conditional;
	action->unchanged_since = request->unchanged_since;
	add_uids(folder, request->uids, request->count, change->pending.pool, action);
	op->modseq = action->modseq;
	operation_submit(change);
}

void mailbox_expunge(
	struct folder *folder, const uint32_t *uids, uint32_t count, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	struct mailbox_change *change = operation_create(mailbox, op, 1);
	struct action *action = operation_action(change);
	change->folder_id = folder->id;
	int status = folder_load(folder);
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	action->kind = ACTION_EXPUNGE;
	action->folder_id = folder->id;
	action->modseq = volume_next_modseq(operation_volume(mailbox), mailbox);
	add_uids(folder, uids, count, change->pending.pool, action);
	op->modseq = action->modseq;
	operation_submit(change);
}

/* The flags of `message` as bits of another folder's keyword table. */
static int translate_flags(const struct folder *from, const struct message *message,
	struct folder *to, struct pool *pool, struct action *action, uint64_t *flags_out)
{
	*flags_out = message->flags & MESSAGE_SYSTEM_FLAGS;
	for (unsigned bit = 0; bit < from->keyword_count; bit++) {
		if (!(message->flags >> (MESSAGE_KEYWORD_SHIFT + bit) & 1))
			continue;
		int target = folder_take_keyword(to, from->keywords[bit]);
		if (target < 0)
			return target;
		*flags_out |= 1ull << (MESSAGE_KEYWORD_SHIFT + target);
		bool known = false;
		for (size_t i = 0; i < action->keyword_count && !known; i++)
			known = action->keywords[i].index == (uint32_t)target;
		if (known)
			continue;
		if (action->keywords == NULL)
			action->keywords =
				pool_alloc(pool, FOLDER_KEYWORDS_MAX * sizeof(*action->keywords));
		action->keywords[action->keyword_count++] =
			(struct action_keyword){ (uint32_t)target,
				pool_copy(pool, from->keywords[bit]) };
	}
	return 0;
}

/* Fills an ADD or MOVE with copies of these messages. */
static int copy_messages(struct folder *from, const uint32_t *uids, uint32_t count,
	struct folder *to, struct pool *pool, struct action *action)
{
	uint32_t next = 0;
	action->added = pool_alloc(pool, count * sizeof(*action->added));
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = find_message(from, uids[i], &next);
		uint64_t flags;
		if (at == from->message_count)
			continue;
		const struct message *message = &from->messages[at];
		int status = translate_flags(from, message, to, pool, action, &flags);
		if (status < 0)
			return status;
		action->added[action->added_count++] =
			(struct added_message){ .uid = to->private->allocated_uidnext++,
				.size = message->size,
				.flags = flags,
				.body_lsn = message->body_lsn,
				.internal_date_s = message->internal_date_s,
				.summary_length = message->summary_length };
	}
	return 0;
}

static uint64_t added_bytes(const struct action *action)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < action->added_count; i++)
		bytes += action->added[i].size;
	return bytes;
}

void mailbox_copy(struct folder *from, const uint32_t *uids, uint32_t count, struct folder *to,
	bool move, const struct mailbox_policy *policy, struct mailbox_op *op)
{
	struct mailbox *mailbox = from->mailbox;
	struct volume *volume = operation_volume(mailbox);
	struct mailbox_change *change = operation_create(mailbox, op, 1);
	struct action *action = operation_action(change);
	change->folder_id = to->id;
	int status = folder_load(from);
	if (status == 0)
		status = folder_load(to);
	if (status == 0 && volume_is_uid_slack_used(volume, to, count))
		status = -EAGAIN;
	if (status == 0 && policy->durability == DURABILITY_STRICT && volume_has_replica(volume) &&
		!volume_has_live_replica(volume))
		status = -EAGAIN;
	uint32_t first_uid = to->private->allocated_uidnext;
	if (status == 0)
		status = copy_messages(from, uids, count, to, change->pending.pool, action);
	if (status == 0 && !move &&
		!mailbox_has_room(mailbox, policy->quota_bytes, added_bytes(action)))
		status = -EDQUOT;
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	action->kind = move ? ACTION_MOVE : ACTION_ADD;
	action->folder_id = to->id;
	action->source_folder_id = from->id;
	action->modseq = volume_next_modseq(volume, mailbox);
	if (move)
		add_uids(from, uids, count, change->pending.pool, action);
	change->pending.durability = policy->durability;
	change->pending.waits_for_replica = true;
	op->uidvalidity = to->uidvalidity;
	op->first_uid = first_uid;
	op->count = (uint32_t)action->added_count;
	op->modseq = action->modseq;
	operation_submit(change);
}
