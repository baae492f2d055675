#include "node/volume/unshipped.h"

#include "proto/disk/change.h"

#include <errno.h>
#include <stdlib.h>

void unshipped_init(struct unshipped *unshipped, struct disk *disk, const char *directory,
	uint32_t volume_id, uint64_t from, uint64_t end)
{
	*unshipped = (struct unshipped){ .volume_id = volume_id,
		.next = from,
		.end = end,
		.bytes_left = UNSHIPPED_BYTES_MAX,
		.waiting_from = UINT64_MAX,
		.mailboxes = map_create() };
	unshipped->status = log_reader_open(disk, directory, volume_id, &unshipped->reader);
}

void unshipped_deinit(struct unshipped *unshipped)
{
	void *value;
	for (size_t i = 0; map_next(unshipped->mailboxes, &i, NULL, &value);)
		free(value);
	map_destroy(&unshipped->mailboxes);
	log_reader_close(&unshipped->reader);
}

static struct unshipped_mailbox *mailbox_of(struct unshipped *unshipped, uint64_t id)
{
	struct unshipped_mailbox *mailbox = map_get(unshipped->mailboxes, map_key_u64(&id));
	if (mailbox != NULL)
		return mailbox;
	if (map_count(unshipped->mailboxes) == UNSHIPPED_MAILBOXES_MAX)
		return &unshipped->others;
	mailbox = mem_alloc(sizeof(*mailbox));
	*mailbox = (struct unshipped_mailbox){ .mailbox_id = id };
	map_set(unshipped->mailboxes, map_key_u64(&id), mailbox);
	return mailbox;
}

static uint64_t count_uids(const struct action *action)
{
	uint64_t count = 0;
	for (size_t i = 0; i < action->uid_range_count; i++)
		count += (uint64_t)action->uids[i].last - action->uids[i].first + 1;
	return count;
}

static void count_action(struct unshipped *unshipped, const struct action *action, uint64_t end)
{
	if (action->kind == ACTION_UID_SLACK || action->kind == ACTION_FREE ||
		action->kind == ACTION_PURGE)
		return; /* nobody's change */
	struct unshipped_mailbox *mailbox = mailbox_of(unshipped, action->mailbox_id);
	mailbox->end_lsn = end;
	switch (action->kind) {
	case ACTION_ADD:
	case ACTION_MOVE:
		/* A copy names the body that stands in the log already. */
		for (size_t i = 0; i < action->added_count; i++)
			if (action->added[i].body_lsn != 0)
				mailbox->copies++;
			else
				mailbox->messages += end < unshipped->waiting_from;
		break;
	case ACTION_FLAGS: mailbox->flags += count_uids(action); break;
	case ACTION_EXPUNGE: mailbox->expunges += count_uids(action); break;
	case ACTION_FOLDERS:
	case ACTION_RENAME: mailbox->folders += action->folder_count; break;
	case ACTION_DELETE: mailbox->folders++; break;
	case ACTION_SUBSCRIBE: mailbox->subscriptions++; break;
	case ACTION_UID_SLACK:
	case ACTION_FREE:
	case ACTION_PURGE: break;
	}
}

static void count_group(struct unshipped *unshipped, const struct group *group, struct str bytes,
	uint64_t end, struct pool *pool)
{
	struct record record;
	struct change change;
	size_t position = GROUP_HEADER_LENGTH;
	while (group_next_record(group, bytes, &position, &record)) {
		if (record.type != RECORD_CHANGE || !change_decode(record.body, pool, &change))
			continue;
		for (size_t i = 0; i < change.action_count; i++)
			count_action(unshipped, &change.actions[i], end);
		pool_reset(pool);
	}
}

static void count_groups(
	struct unshipped *unshipped, struct str groups, uint64_t lsn, struct pool *pool)
{
	struct group group;
	while (groups.length > 0 &&
		group_header_decode(groups, lsn, unshipped->volume_id, &group)) {
		size_t length = group_padded(group.used);
		count_group(unshipped, &group, groups, lsn + length, pool);
		groups = str_from_index(groups, length);
		lsn += length;
	}
}

bool unshipped_look(struct unshipped *unshipped)
{
	/* Bodies are passed over, so that a target of this size is read at a time at most. */
	enum { READ_BYTES = 1 << 20 };
	uint64_t slice_end = unshipped->next + UNSHIPPED_SLICE_BYTES;
	struct pool *pool = pool_create();
	while (unshipped->status == 0 && unshipped->next < unshipped->end &&
		unshipped->next < slice_end && unshipped->bytes_left > 0) {
		struct bytes *bytes;
		uint64_t lsn, before = unshipped->next, passed;
		unshipped->status = log_reader_skim(unshipped->reader, before, unshipped->end,
			READ_BYTES, &bytes, &lsn, &unshipped->next);
		if (unshipped->status < 0)
			break;
		count_groups(unshipped, bytes_str(bytes), lsn, pool);
		bytes_unref(&bytes);
		passed = unshipped->next - before;
		unshipped->bytes_left -=
			passed < unshipped->bytes_left ? passed : unshipped->bytes_left;
	}
	/* Nothing more behind the last group: its segment was left for the next. */
	if (unshipped->status == -ENODATA) {
		unshipped->next = unshipped->end;
		unshipped->status = 0;
	}
	pool_destroy(&pool);
	return unshipped->status == 0 && unshipped->next < unshipped->end &&
		unshipped->bytes_left > 0;
}
