#include "node/salvage/tail_internal.h"

#include "core/map.h"

#include <stdlib.h>

/* As the tail ends: what of its messages stands, and how what stood before is another. */

/* NULL: it is gone. */
static const struct message *find(
	struct mailbox *mailbox, const struct tail_standing *standing, struct folder **folder_out)
{
	*folder_out = mailbox_folder_by_id(mailbox, standing->folder_id);
	uint32_t i = *folder_out ? folder_find_uid(*folder_out, standing->uid) : 0;
	if (*folder_out == NULL || i == (*folder_out)->message_count ||
		(*folder_out)->messages[i].uid != standing->uid)
		return NULL;
	return &(*folder_out)->messages[i];
}

static bool take_message(
	struct tail *tail, struct mailbox *mailbox, const struct tail_standing *standing)
{
	struct folder *folder;
	struct tail_message *message = standing->message;
	const struct message *end = find(mailbox, standing, &folder);
	if (end == NULL)
		return false;
	message->folder_id = standing->folder_id;
	message->uid = standing->uid;
	message->body_lsn = end->body_lsn;
	message->size = end->size;
	message->internal_date_s = end->internal_date_s;
	message->folder = pool_copy(tail->pool, folder->name);
	tail_take_flags(tail->pool, folder, end->flags, &message->flags);
	return true;
}

bool tail_flags_have(const struct tail_flags *flags, struct str keyword)
{
	for (unsigned i = 0; i < flags->keyword_count; i++)
		if (str_equal_ignore_case(flags->keywords[i], keyword))
			return true;
	return false;
}

bool tail_flags_equal(const struct tail_flags *a, const struct tail_flags *b)
{
	if (a->system != b->system || a->keyword_count != b->keyword_count)
		return false;
	for (unsigned i = 0; i < a->keyword_count; i++)
		if (!tail_flags_have(b, a->keywords[i]))
			return false;
	return true;
}

/* False: nothing of it is another than before, or it went with its folder, which stays. */
static bool take_older(
	struct tail *tail, struct mailbox *mailbox, const struct tail_standing *standing)
{
	struct tail_older *older = standing->older;
	struct folder *folder, *home = mailbox_folder_by_id(mailbox, older->folder_id);
	const struct message *message = find(mailbox, standing, &folder);
	older->folder_at_end = home ? pool_copy(tail->pool, home->name) : STR("");
	if (older->is_expunged)
		return true;
	if (message == NULL)
		return false;
	tail_take_flags(tail->pool, folder, message->flags, &older->end);
	if (standing->folder_id != older->folder_id)
		older->moved_to = pool_copy(tail->pool, folder->name);
	return older->moved_to.length > 0 || !tail_flags_equal(&older->before, &older->end);
}

static int compare_older(const void *a, const void *b)
{
	const struct tail_older *first = *(struct tail_older *const *)a;
	const struct tail_older *second = *(struct tail_older *const *)b;
	if (first->folder_id != second->folder_id)
		return first->folder_id < second->folder_id ? -1 : 1;
	return first->uid < second->uid ? -1 : first->uid > second->uid;
}

/* Bodies that messages show at the end which the tail added, or recovered. */
struct shown {
	struct map *added, *recovered;
};

static void note_shown(
	struct shown *shown, struct mailbox *mailbox, const struct tail_standing *standing)
{
	struct folder *folder;
	const struct message *message = find(mailbox, standing, &folder);
	if (message != NULL && standing->message != NULL)
		map_set(shown->added, map_key_u64(&message->body_lsn), shown->added);
	else if (message != NULL && standing->older == NULL)
		map_set(shown->recovered, map_key_u64(&message->body_lsn), shown->recovered);
}

/* Who copies and expunges has moved; who expunges and recovers has done nothing. */
static void judge_expunges(struct tail_mailbox *mailbox, const struct shown *shown)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < mailbox->older_count; i++) {
		struct tail_older *older = mailbox->older[i];
		struct str body = map_key_u64(&older->body_lsn);
		if (older->is_expunged && map_get(shown->recovered, body) != NULL)
			continue;
		older->may_go |= map_get(shown->added, body) != NULL;
		mailbox->older[kept++] = older;
	}
	mailbox->older_count = kept;
}

static void take_messages(
	struct tail *tail, struct tail_mailbox *tail_mailbox, struct mailbox *mailbox)
{
	uint32_t count = tail_mailbox->order_count;
	struct shown shown = { map_create(), map_create() };
	tail_mailbox->messages =
		pool_alloc(tail->pool, (count + 1) * sizeof(*tail_mailbox->messages));
	tail_mailbox->older = pool_alloc(tail->pool, (count + 1) * sizeof(*tail_mailbox->older));
	for (uint32_t i = 0; i < count; i++) {
		const struct tail_standing *standing = tail_mailbox->order[i];
		if (mailbox != NULL)
			note_shown(&shown, mailbox, standing);
		if (standing->older != NULL && mailbox != NULL &&
			take_older(tail, mailbox, standing))
			tail_mailbox->older[tail_mailbox->older_count++] = standing->older;
		if (standing->message == NULL)
			continue;
		if (mailbox != NULL && take_message(tail, mailbox, standing))
			tail_mailbox->messages[tail_mailbox->message_count++] = *standing->message;
		else
			tail_mailbox->gone++;
	}
	judge_expunges(tail_mailbox, &shown);
	map_destroy(&shown.added);
	map_destroy(&shown.recovered);
	if (tail_mailbox->older_count > 1)
		qsort(tail_mailbox->older, tail_mailbox->older_count,
			sizeof(*tail_mailbox->older), compare_older);
	tail->message_count += tail_mailbox->message_count;
}

/* Those that were there before and have another name, or none; then those that are new. */
static void take_folders(
	struct tail *tail, struct tail_mailbox *tail_mailbox, struct mailbox *mailbox)
{
	struct folder *folder = NULL;
	tail_mailbox->folders = pool_alloc(tail->pool,
		(tail_mailbox->before_count + mailbox->folder_count + 1) *
			sizeof(*tail_mailbox->folders));
	for (uint32_t i = 0; i < tail_mailbox->before_count; i++) {
		struct tail_folder changed = tail_mailbox->before[i];
		const struct folder *end = mailbox_folder_by_id(mailbox, changed.id);
		if (end != NULL && str_equal(end->name, changed.before))
			continue;
		changed.end = end ? pool_copy(tail->pool, end->name) : STR("");
		tail_mailbox->folders[tail_mailbox->folder_count++] = changed;
	}
	while ((folder = mailbox_next_folder(mailbox, folder)) != NULL)
		if (folder->id >= tail_mailbox->next_folder_id)
			tail_mailbox->folders[tail_mailbox->folder_count++] =
				(struct tail_folder){ .id = folder->id,
					.uidvalidity = folder->uidvalidity,
					.end = pool_copy(tail->pool, folder->name) };
}

static void take_subscriptions(struct tail_mailbox *tail_mailbox, struct mailbox *mailbox)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < tail_mailbox->subscription_count; i++) {
		struct tail_subscription subscription = tail_mailbox->subscriptions[i];
		subscription.end = mailbox_is_subscribed(mailbox, subscription.name);
		if (subscription.end != subscription.before)
			tail_mailbox->subscriptions[kept++] = subscription;
	}
	tail_mailbox->subscription_count = kept;
}

void tail_take_end(struct reading *reading)
{
	struct tail *tail = reading->tail;
	for (size_t i = 0; i < tail->mailbox_count; i++) {
		struct tail_mailbox *tail_mailbox = tail->mailboxes[i];
		struct mailbox *mailbox = index_find_mailbox(&reading->index, tail_mailbox->id);
		if (mailbox != NULL) {
			memcpy(tail_mailbox->mark, mailbox->mark, sizeof(tail_mailbox->mark));
			tail_mailbox->address = pool_copy(tail->pool, mailbox->made_for);
			take_folders(tail, tail_mailbox, mailbox);
			take_subscriptions(tail_mailbox, mailbox);
		} else {
			tail_mailbox->subscription_count = 0;
		}
		take_messages(tail, tail_mailbox, mailbox);
	}
}

void tail_forget_reading(struct tail *tail)
{
	for (size_t i = 0; i < tail->mailbox_count; i++) {
		struct tail_mailbox *mailbox = tail->mailboxes[i];
		map_destroy(&mailbox->standing);
		free(mailbox->order);
		mailbox->order = NULL;
	}
}
