#include "node/salvage/tail_internal.h"

#include "core/digest.h"
#include "core/encode.h"
#include "core/map.h"

#include <errno.h>
#include <stdlib.h>

/* What the tail did, change by change: each is looked at before it is applied. */

enum { PLACE_LENGTH = 8 };

/* ---- mailboxes, and where messages stand ---- */

/* As the mailbox's folders were before the tail did anything to it. */
static void note_folders(struct tail *tail, struct tail_mailbox *mailbox, struct mailbox *before)
{
	struct folder *folder = NULL;
	mailbox->next_folder_id = before->next_folder_id;
	mailbox->before =
		pool_alloc(tail->pool, (before->folder_count + 1) * sizeof(*mailbox->before));
	while ((folder = mailbox_next_folder(before, folder)) != NULL)
		mailbox->before[mailbox->before_count++] = (struct tail_folder){ .id = folder->id,
			.uidvalidity = folder->uidvalidity,
			.before = pool_copy(tail->pool, folder->name) };
}

static struct tail_mailbox *mailbox_of(struct reading *reading, uint64_t id)
{
	struct tail *tail = reading->tail;
	struct tail_mailbox *mailbox = map_get(reading->mailboxes, map_key_u64(&id));
	if (mailbox != NULL)
		return mailbox;
	mailbox = pool_alloc(tail->pool, sizeof(*mailbox));
	*mailbox = (struct tail_mailbox){ .id = id, .standing = map_create() };
	map_set(reading->mailboxes, map_key_u64(&id), mailbox);
	struct mailbox *before = index_find_mailbox(&reading->index, id);
	if (before != NULL)
		note_folders(tail, mailbox, before);
	if (tail->mailbox_count == reading->mailbox_capacity) {
		reading->mailbox_capacity = reading->mailbox_capacity * 2 + 16;
		tail->mailboxes = mem_resize(
			tail->mailboxes, reading->mailbox_capacity * sizeof(*tail->mailboxes));
	}
	tail->mailboxes[tail->mailbox_count++] = mailbox;
	return mailbox;
}

static struct tail_standing *find_standing(
	const struct tail_mailbox *mailbox, uint32_t folder_id, uint32_t uid)
{
	uint8_t place[PLACE_LENGTH];
	put_be(place, folder_id, 4);
	put_be(place + 4, uid, 4);
	return map_get(mailbox->standing, str_of((const char *)place, sizeof(place)));
}

static void set_standing(struct tail_mailbox *mailbox, struct tail_standing *standing,
	uint32_t folder_id, uint32_t uid)
{
	uint8_t place[PLACE_LENGTH];
	put_be(place, folder_id, 4);
	put_be(place + 4, uid, 4);
	standing->folder_id = folder_id;
	standing->uid = uid;
	map_set(mailbox->standing, str_of((const char *)place, sizeof(place)), standing);
}

void tail_take_flags(
	struct pool *pool, const struct folder *folder, uint64_t flags, struct tail_flags *out)
{
	*out = (struct tail_flags){ .system = flags & MESSAGE_SYSTEM_FLAGS };
	if (flags >> MESSAGE_KEYWORD_SHIFT == 0)
		return;
	out->keywords = pool_alloc(pool, folder->keyword_count * sizeof(struct str));
	for (unsigned bit = 0; bit < folder->keyword_count; bit++)
		if (flags >> (MESSAGE_KEYWORD_SHIFT + bit) & 1 && folder->keywords[bit].length > 0)
			out->keywords[out->keyword_count++] =
				pool_copy(pool, folder->keywords[bit]);
}

static void list_standing(struct tail_mailbox *mailbox, struct tail_standing *standing)
{
	if (mailbox->order_count == mailbox->order_capacity) {
		mailbox->order_capacity = mailbox->order_capacity * 2 + 8;
		mailbox->order = mem_resize(
			mailbox->order, mailbox->order_capacity * sizeof(*mailbox->order));
	}
	mailbox->order[mailbox->order_count++] = standing;
}

/* NULL: too many are. */
static struct tail_standing *stand(struct reading *reading, struct tail_mailbox *mailbox)
{
	if (reading->standing_count == TAIL_MESSAGES_MAX)
		return NULL;
	reading->standing_count++;
	struct tail_standing *standing = pool_alloc(reading->tail->pool, sizeof(*standing));
	*standing = (struct tail_standing){ 0 };
	list_standing(mailbox, standing);
	return standing;
}

/* ---- messages that the tail added ---- */

/* A message that nobody delivered has the id that its place in the log gives it. */
static void derive_id(const struct reading *reading, uint64_t mailbox_id, uint32_t uid,
	uint8_t out[CHANGE_DELIVERY_ID_LENGTH])
{
	uint8_t digest[SHA256_LENGTH];
	struct buf name = { 0 };
	buf_append_literal(&name, "pando salvage 1");
	append_le32(&name, reading->tail->volume_id);
	append_le64(&name, reading->group->incarnation);
	append_le64(&name, reading->lsn);
	append_le64(&name, mailbox_id);
	append_le32(&name, uid);
	sha256(buf_str(&name), digest);
	buf_deinit(&name);
	memcpy(out, digest, CHANGE_DELIVERY_ID_LENGTH);
}

static int note_new(struct reading *reading, struct tail_mailbox *mailbox,
	const struct action *action, const struct added_message *added)
{
	struct tail_standing *standing = stand(reading, mailbox);
	if (standing == NULL)
		return -E2BIG;
	set_standing(mailbox, standing, action->folder_id, added->uid);
	if (action->recovers) {
		standing->recovered_lsn = added->body_lsn;
		return 0;
	}
	struct tail_message *message = pool_alloc(reading->tail->pool, sizeof(*message));
	*message = (struct tail_message){ .lsn = reading->lsn };
	if (action->delivery_id.length == CHANGE_DELIVERY_ID_LENGTH && action->added_count == 1)
		memcpy(message->delivery_id, action->delivery_id.bytes, CHANGE_DELIVERY_ID_LENGTH);
	else
		derive_id(reading, mailbox->id, added->uid, message->delivery_id);
	standing->message = message;
	return 0;
}

/* ---- what a change does ---- */

/* A message that it is about, and whether that had been seen. */
struct touched {
	struct tail_standing *standing;
	bool was_seen;
};

struct all_touched {
	struct touched *list; /* in the order of their uids; on the scratch pool */
	uint32_t count;
};

/* One text for all its messages. A folder that is new has none that stood before. */
static struct str name_before(struct tail_mailbox *mailbox, const struct folder *folder)
{
	uint32_t last = mailbox->before_last;
	if (last < mailbox->before_count && mailbox->before[last].id == folder->id)
		return mailbox->before[last].before;
	for (uint32_t i = 0; i < mailbox->before_count; i++)
		if (mailbox->before[i].id == folder->id) {
			mailbox->before_last = i;
			return mailbox->before[i].before;
		}
	return STR("");
}

static struct tail_standing *touch(struct reading *reading, struct tail_mailbox *mailbox,
	const struct folder *folder, const struct message *message)
{
	struct pool *pool = reading->tail->pool;
	struct tail_standing *standing = find_standing(mailbox, folder->id, message->uid);
	if (standing == NULL && (standing = stand(reading, mailbox)) != NULL) {
		struct tail_older *older = pool_alloc(pool, sizeof(*older));
		*older = (struct tail_older){ .folder_id = folder->id,
			.uid = message->uid,
			.uidvalidity = folder->uidvalidity,
			.body_lsn = message->body_lsn,
			.folder = name_before(mailbox, folder) };
		tail_take_flags(pool, folder, message->flags, &older->before);
		standing->older = older;
		set_standing(mailbox, standing, folder->id, message->uid);
	}
	return standing;
}

static int touch_all(struct reading *reading, const struct action *action, uint32_t folder_id,
	struct all_touched *out)
{
	struct tail_mailbox *tail_mailbox = mailbox_of(reading, action->mailbox_id);
	struct mailbox *mailbox = index_find_mailbox(&reading->index, action->mailbox_id);
	struct folder *folder = mailbox ? mailbox_folder_by_id(mailbox, folder_id) : NULL;
	if (folder == NULL || folder->message_count == 0)
		return 0;
	out->list = pool_alloc(reading->scratch, folder->message_count * sizeof(*out->list));
	for (size_t r = 0; r < action->uid_range_count; r++)
		for (uint32_t i = folder_find_uid(folder, action->uids[r].first);
			i < folder->message_count && out->count < folder->message_count &&
			folder->messages[i].uid <= action->uids[r].last;
			i++) {
			const struct message *message = &folder->messages[i];
			struct touched touched = { touch(reading, tail_mailbox, folder, message),
				(message->flags & MESSAGE_SEEN) != 0 };
			if (touched.standing == NULL)
				return -E2BIG;
			out->list[out->count++] = touched;
		}
	return 0;
}

static int touch_action(
	struct reading *reading, const struct action *action, struct all_touched *out)
{
	*out = (struct all_touched){ 0 };
	if (action->kind == ACTION_MOVE)
		return touch_all(reading, action, action->source_folder_id, out);
	if (action->kind == ACTION_FLAGS || action->kind == ACTION_EXPUNGE)
		return touch_all(reading, action, action->folder_id, out);
	return 0;
}

static void note_subscription(struct reading *reading, const struct action *action)
{
	struct tail *tail = reading->tail;
	struct tail_mailbox *mailbox = mailbox_of(reading, action->mailbox_id);
	struct mailbox *before = index_find_mailbox(&reading->index, action->mailbox_id);
	for (uint32_t i = 0; i < mailbox->subscription_count; i++)
		if (str_equal(mailbox->subscriptions[i].name, action->name))
			return;
	mailbox->subscriptions = mem_resize(mailbox->subscriptions,
		(mailbox->subscription_count + 1) * sizeof(*mailbox->subscriptions));
	mailbox->subscriptions[mailbox->subscription_count++] = (struct tail_subscription){
		.name = pool_copy(tail->pool, action->name),
		.before = before != NULL && mailbox_is_subscribed(before, action->name) };
}

/* A MOVE names its messages in the order in which they leave: each stays what it was, and what the
 * tail added keeps its id. */
static void note_move(struct tail_mailbox *mailbox, const struct action *action,
	const struct all_touched *touched)
{
	for (uint32_t i = 0; i < touched->count && i < action->added_count; i++)
		set_standing(mailbox, touched->list[i].standing, action->folder_id,
			action->added[i].uid);
}

static void note_expunge(const struct all_touched *touched)
{
	for (uint32_t i = 0; i < touched->count; i++) {
		struct tail_older *older = touched->list[i].standing->older;
		if (older == NULL)
			continue;
		older->is_expunged = true;
		older->may_go = touched->list[i].was_seen;
	}
}

static bool is_of_mailbox(const struct action *action)
{
	return action->kind != ACTION_UID_SLACK && action->kind != ACTION_FREE &&
		action->kind != ACTION_PURGE; /* what is gone is not brought home */
}

static int note_action(
	struct reading *reading, const struct action *action, const struct all_touched *touched)
{
	struct tail_mailbox *mailbox = mailbox_of(reading, action->mailbox_id);
	int result = 0;
	if (action->kind == ACTION_ADD)
		for (size_t i = 0; result == 0 && i < action->added_count; i++)
			result = note_new(reading, mailbox, action, &action->added[i]);
	else if (action->kind == ACTION_MOVE)
		note_move(mailbox, action, touched);
	else if (action->kind == ACTION_EXPUNGE)
		note_expunge(touched);
	return result;
}

/* One action after the other: what a second one touches, the first may have changed. */
static int read_change(struct reading *reading, const struct change *change)
{
	int result = 0;
	for (size_t i = 0; result == 0 && i < change->action_count; i++) {
		struct action *action = &change->actions[i];
		struct change one = { .actions = action, .action_count = 1 };
		struct apply_result applied = { 0 };
		struct all_touched touched;
		if (is_of_mailbox(action))
			(void)mailbox_of(reading, action->mailbox_id);
		result = touch_action(reading, action, &touched);
		if (result == 0 && action->kind == ACTION_SUBSCRIBE)
			note_subscription(reading, action);
		if (result == 0)
			result = index_apply(&reading->index, &one, reading->lsn, &applied);
		free(applied.failed_uids);
		/* What lost its ground on the way did nothing. */
		if (result == 0 && applied.status == 0 && is_of_mailbox(action))
			result = note_action(reading, action, &touched);
	}
	return result;
}

int tail_read_group(struct reading *reading, const struct group *group, struct str bytes)
{
	struct record record;
	size_t position = GROUP_HEADER_LENGTH;
	int result = 0;
	reading->group = group;
	while (result == 0 && group_next_record(group, bytes, &position, &record)) {
		struct change change;
		if (record.type != RECORD_CHANGE)
			continue;
		reading->lsn = record.lsn;
		result = change_decode(record.body, reading->scratch, &change)
			? read_change(reading, &change)
			: -EUCLEAN;
		pool_reset(reading->scratch);
	}
	return result;
}
