#include "node/mailbox/foreseen.h"

static bool changes_messages(const struct action *action, const struct folder *folder)
{
	if (action->mailbox_id != folder->mailbox->id)
		return false;
	switch (action->kind) {
	case ACTION_FLAGS:
	case ACTION_EXPUNGE:
	case ACTION_DELETE: return action->folder_id == folder->id;
	case ACTION_MOVE: return action->source_folder_id == folder->id;
	default: return false;
	}
}

/* A move to a folder that goes before it comes there: it moves nothing. */
static bool is_in_vain(
	const struct volume *volume, const struct pending_change *move, const struct action *action)
{
	if (action->kind != ACTION_MOVE)
		return false;
	list_for_each (entry, &volume->pending) {
		const struct pending_change *before =
			list_entry(entry, struct pending_change, link);
		if (before == move)
			break;
		for (size_t i = 0; i < before->change.action_count; i++) {
			const struct action *other = &before->change.actions[i];
			if (other->kind == ACTION_DELETE &&
				other->mailbox_id == action->mailbox_id &&
				other->folder_id == action->folder_id)
				return true;
		}
	}
	return false;
}

void foresee(const struct volume *volume, const struct folder *folder, struct pool *pool,
	struct foreseen *foreseen_out)
{
	size_t room = 0;
	*foreseen_out = (struct foreseen){ 0 };
	list_for_each (entry, &volume->pending)
		room += list_entry(entry, struct pending_change, link)->change.action_count;
	if (room == 0)
		return;
	foreseen_out->actions = pool_alloc(pool, room * sizeof(struct action *));
	list_for_each (entry, &volume->pending)
	{
		const struct pending_change *pending =
			list_entry(entry, struct pending_change, link);
		const struct change *change = &pending->change;
		for (size_t i = 0; i < change->action_count; i++)
			if (changes_messages(&change->actions[i], folder) &&
				!is_in_vain(volume, pending, &change->actions[i]))
				foreseen_out->actions[foreseen_out->count++] = &change->actions[i];
	}
}

static bool names(const struct action *action, uint32_t uid)
{
	size_t low = 0, high = action->uid_range_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (action->uids[middle].last < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < action->uid_range_count && action->uids[low].first <= uid;
}

bool foreseen_flags(
	const struct foreseen *foreseen, const struct message *message, uint64_t *flags_out)
{
	uint64_t flags = message->flags, modseq = message->modseq;
	for (unsigned i = 0; i < foreseen->count; i++) {
		const struct action *action = foreseen->actions[i];
		if (action->kind == ACTION_DELETE)
			return false;
		if (!names(action, message->uid))
			continue;
		if (action->kind != ACTION_FLAGS)
			return false;
		uint64_t after = action_flags_after(action, flags, modseq);
		if (after != flags)
			modseq = action->modseq;
		flags = after;
	}
	*flags_out = flags;
	return true;
}
