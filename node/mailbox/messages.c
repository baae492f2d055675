#include "node/mailbox/foreseen.h"
#include "node/mailbox/operation.h"
#include "node/mailbox/rate.h"

#include "node/index/ahead.h"

#include <errno.h>

/* What sessions ask of messages, turned into changes. Numbers are taken ahead of the applied state,
 * in the order of the log. */

/* ---- keywords and uid ranges of an action ---- */

static void add_keyword(
	struct pool *pool, struct action *action, unsigned bit, struct str name)
{
	for (size_t i = 0; i < action->keyword_count; i++)
		if (action->keywords[i].index == bit)
			return;
	if (action->keywords == NULL)
		action->keywords =
			pool_alloc(pool, FOLDER_KEYWORDS_MAX * sizeof(*action->keywords));
	CHECK(action->keyword_count < FOLDER_KEYWORDS_MAX);
	action->keywords[action->keyword_count++] =
		(struct action_keyword){ bit, pool_copy(pool, name) };
}

unsigned operation_take_keywords(struct folder *folder, const struct str *names, unsigned count,
	struct pool *pool, struct action *action, uint64_t *flags)
{
	unsigned dropped = 0;
	for (unsigned i = 0; i < count; i++) {
		int bit = ahead_take_keyword(folder, names[i]);
		if (bit < 0) {
			dropped++;
			continue;
		}
		add_keyword(pool, action, (unsigned)bit, names[i]);
		*flags |= 1ull << (MESSAGE_KEYWORD_SHIFT + bit);
	}
	return dropped;
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

bool operation_lacks_replica(const struct volume *volume, enum durability durability)
{
	return durability == DURABILITY_STRICT && !volume_has_live_replica(volume);
}

struct salvage_point mailbox_salvage_point(const struct mailbox *mailbox)
{
	const struct volume *volume = operation_volume(mailbox);
	struct salvage_point point = { .ids_before = mailbox->index->dedupe.added };
	volume_numbers_end(&volume->numbers, &point.end, &point.chain);
	return point;
}

/* Whether nothing is stored under the request's id yet, nor on its way. `*status_out` where it is
 * not to be stored: 0, or why it cannot be told or has to come again. */
static bool is_new(const struct mailbox_change *change, const struct append_request *request,
	int *status_out)
{
	uint8_t key[16];
	const struct volume *volume = change->pending.volume;
	const struct dedupe *dedupe = &volume->index.dedupe;
	dedupe_key(request->delivery_id, change->mailbox_id, key);
	*status_out = 0;
	if (dedupe_has(dedupe, key))
		return false;
	if (volume_has_pending_delivery(volume, key))
		*status_out = -EAGAIN;
	else if (dedupe->added - request->ids_before >= DEDUPE_IDS_MAX)
		*status_out = -ESTALE;
	return *status_out == 0;
}

/* It is stored: a change without actions stands behind it in the log for its durability. */
static void submit_again(struct mailbox_change *change)
{
	change->pending.change.action_count = 0;
	change->pending.waits_for_replica = true;
	operation_submit(change);
}

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
	if (status == 0 && (volume_is_uid_slack_used(volume, folder, 1) ||
				   operation_lacks_replica(volume, request->policy.durability)))
		status = -EAGAIN;
	if (status == 0 && !mailbox_has_room(mailbox, request->policy.quota_bytes,
				   request->body->length))
		status = -EDQUOT;
	if (status == 0 && !rate_allows(mailbox, request->policy.quota_bytes,
				   volume->options.write_quotas_per_day,
				   request->body->length))
		status = -ENOBUFS;
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	change->pending.durability = request->policy.durability;
	if (request->delivery_id != NULL && !is_new(change, request, &status)) {
		if (status < 0)
			operation_refuse(change, status);
		else
			submit_again(change);
		return;
	}
	op->keywords_dropped = operation_take_keywords(folder, request->keywords,
		request->keyword_count, change->pending.pool, action, &flags);
	struct str summary = pool_copy(change->pending.pool, request->summary);
	action->kind = ACTION_ADD;
	action->folder_id = folder->id;
	if (request->delivery_id != NULL)
		action->delivery_id = pool_copy(change->pending.pool,
			str_of(request->delivery_id, CHANGE_DELIVERY_ID_LENGTH));
	action->modseq = volume_next_modseq(volume, mailbox);
	action->added_count = 1;
	action->added = pool_alloc(change->pending.pool, sizeof(*action->added));
	action->added[0] = (struct added_message){ .uid = ahead_take_uid(folder),
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

/* What is to be removed and has no bit is on no message. */
static void find_keywords(struct folder *folder, const struct store_request *request,
	struct pool *pool, struct action *action, uint64_t *flags)
{
	for (unsigned i = 0; i < request->keyword_count; i++) {
		int bit = ahead_find_keyword(folder, request->keywords[i]);
		if (bit < 0)
			continue;
		add_keyword(pool, action, (unsigned)bit, request->keywords[i]);
		*flags |= 1ull << (MESSAGE_KEYWORD_SHIFT + bit);
	}
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
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	if (request->mode == STORE_REMOVE)
		find_keywords(folder, request, change->pending.pool, action, &flags);
	else
		op->keywords_dropped = operation_take_keywords(folder, request->keywords,
			request->keyword_count, change->pending.pool, action, &flags);
	if (op->keywords_dropped > 0 && flags == 0) {
		operation_refuse(change, -E2BIG);
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
	volume_keep(operation_volume(mailbox), mailbox, action);
	op->modseq = action->modseq;
	operation_submit(change);
}

/* Of one COPY or MOVE: the bit that each keyword of the source has in the target. */
struct keyword_map {
	uint64_t asked;
	uint64_t flags[FOLDER_KEYWORDS_MAX]; /* 0: no place there */
};

/* Flags of a folder as bits of another folder's keyword table; keywords that have no place there
 * stay behind. */
static uint64_t translate_flags(const struct folder *from, uint64_t flags_there, struct folder *to,
	struct pool *pool, struct action *action, struct keyword_map *map)
{
	uint64_t flags = flags_there & MESSAGE_SYSTEM_FLAGS;
	uint64_t keywords = flags_there >> MESSAGE_KEYWORD_SHIFT;
	for (unsigned bit = 0; bit < FOLDER_KEYWORDS_MAX && keywords >> bit != 0; bit++) {
		if (!(keywords >> bit & 1))
			continue;
		if (!(map->asked >> bit & 1)) {
			struct str name = pool_copy(pool, ahead_keyword(from, bit));
			if (name.length > 0)
				operation_take_keywords(
					to, &name, 1, pool, action, &map->flags[bit]);
			map->asked |= 1ull << bit;
		}
		flags |= map->flags[bit];
	}
	return flags;
}

/* Fills an ADD or MOVE with copies of these messages. */
static void copy_messages(struct folder *from, const uint32_t *uids, uint32_t count,
	struct folder *to, struct pool *pool, struct action *action)
{
	struct keyword_map map = { 0 };
	struct foreseen foreseen;
	uint32_t next = 0;
	foresee(operation_volume(from->mailbox), from, pool, &foreseen);
	action->added = pool_alloc(pool, count * sizeof(*action->added));
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = find_message(from, uids[i], &next);
		uint64_t flags;
		if (at == from->message_count ||
			!foreseen_flags(&foreseen, &from->messages[at], &flags))
			continue;
		const struct message *message = &from->messages[at];
		action->added[action->added_count++] =
			(struct added_message){ .uid = ahead_take_uid(to),
				.size = message->size,
				.flags = translate_flags(from, flags, to, pool, action, &map),
				.body_lsn = message->body_lsn,
				.internal_date_s = message->internal_date_s,
				.summary_length = message->summary_length };
	}
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
	if (status == 0 && (volume_is_uid_slack_used(volume, to, count) ||
				   operation_lacks_replica(volume, policy->durability)))
		status = -EAGAIN;
	uint32_t first_uid = ahead_uidnext(to);
	if (status == 0)
		copy_messages(from, uids, count, to, change->pending.pool, action);
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
