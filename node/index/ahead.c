#include "node/index/ahead.h"

#include <errno.h>
#include <stdlib.h>

static struct mailbox_ahead *of_mailbox(struct mailbox *mailbox)
{
	if (list_is_empty(&mailbox->ahead.link))
		list_append(&mailbox->index->ahead_mailboxes, &mailbox->ahead.link);
	return &mailbox->ahead;
}

static struct folder_ahead *of_folder(struct folder *folder)
{
	struct folder_ahead *ahead = &folder->private->ahead;
	if (list_is_empty(&ahead->link))
		list_append(&folder->mailbox->index->ahead_folders, &ahead->link);
	return ahead;
}

static uint64_t higher(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* ---- numbers ---- */

uint32_t ahead_uidnext(const struct folder *folder)
{
	return (uint32_t)higher(folder->uidnext, folder->private->ahead.uidnext);
}

uint32_t ahead_take_uid(struct folder *folder)
{
	uint32_t uid = ahead_uidnext(folder);
	CHECK(uid != UINT32_MAX); /* whoever takes one has asked whether there are more */
	of_folder(folder)->uidnext = uid + 1;
	return uid;
}

uint64_t ahead_take_modseq(struct mailbox *mailbox, uint64_t lowest)
{
	uint64_t modseq = higher(mailbox->modseq, mailbox->ahead.modseq) + 1;
	return of_mailbox(mailbox)->modseq = higher(modseq, lowest);
}

uint32_t ahead_take_folder_id(struct mailbox *mailbox)
{
	uint32_t id =
		(uint32_t)higher(mailbox->next_folder_id, mailbox->ahead.next_folder_id);
	of_mailbox(mailbox)->next_folder_id = id + 1;
	return id;
}

uint32_t ahead_take_uidvalidity(struct mailbox *mailbox, uint32_t wanted)
{
	uint64_t last = higher(mailbox->last_uidvalidity, mailbox->ahead.last_uidvalidity);
	return of_mailbox(mailbox)->last_uidvalidity = (uint32_t)higher(wanted, last + 1);
}

/* ---- keywords ---- */

static void claim_keyword(struct folder *folder, unsigned bit, struct str name)
{
	struct folder_ahead *ahead = of_folder(folder);
	if (bit >= FOLDER_KEYWORDS_MAX)
		return;
	if (ahead->keywords == NULL)
		ahead->keywords = mem_alloc(FOLDER_KEYWORDS_MAX * sizeof(*ahead->keywords));
	free((char *)(uintptr_t)ahead->keywords[bit].bytes);
	ahead->keywords[bit] = str_of(str_to_heap(name), name.length);
}

struct str ahead_keyword(const struct folder *folder, unsigned bit)
{
	const struct folder_ahead *ahead = &folder->private->ahead;
	if (ahead->keywords != NULL && ahead->keywords[bit].bytes != NULL)
		return ahead->keywords[bit];
	return bit < folder->keyword_count ? folder->keywords[bit] : STR("");
}

static bool is_claimed(const struct folder *folder, unsigned bit)
{
	const struct folder_ahead *ahead = &folder->private->ahead;
	return ahead->keywords != NULL && ahead->keywords[bit].bytes != NULL;
}

/* A bit for a keyword that has none; -E2BIG. */
static int free_bit(const struct folder *folder)
{
	for (unsigned bit = 0; bit < FOLDER_KEYWORDS_MAX; bit++)
		if (ahead_keyword(folder, bit).length == 0)
			return (int)bit;
	uint64_t used = folder_used_keywords(folder);
	for (unsigned bit = 0; bit < FOLDER_KEYWORDS_MAX; bit++)
		if (!(used >> bit & 1) && !is_claimed(folder, bit))
			return (int)bit;
	return -E2BIG;
}

int ahead_find_keyword(const struct folder *folder, struct str name)
{
	for (unsigned bit = 0; bit < FOLDER_KEYWORDS_MAX; bit++)
		if (str_equal_ignore_case(ahead_keyword(folder, bit), name))
			return (int)bit;
	return -1;
}

int ahead_take_keyword(struct folder *folder, struct str name)
{
	CHECK(folder->private->loaded && name.length > 0);
	int bit = ahead_find_keyword(folder, name);
	if (bit < 0)
		bit = free_bit(folder);
	if (bit >= 0)
		claim_keyword(folder, (unsigned)bit, name);
	else
		folder->mailbox->index->ahead_is_stale = true; /* some may be applied by now */
	return bit;
}

/* ---- the first folders ---- */

void ahead_make_inbox(
	struct mailbox *mailbox, uint32_t folder_id, const uint8_t mark[CHANGE_MARK_LENGTH])
{
	struct mailbox_ahead *ahead = of_mailbox(mailbox);
	CHECK(mailbox->folder_count == 0);
	memcpy(ahead->mark, mark, CHANGE_MARK_LENGTH);
	ahead->inbox_id = folder_id;
	ahead->inbox_uidnext = index_first_uid(mailbox->index);
}

bool ahead_is_being_made(const struct mailbox *mailbox)
{
	return mailbox->folder_count == 0 && mailbox->ahead.inbox_id != 0;
}

uint32_t ahead_inbox_id(const struct mailbox *mailbox)
{
	CHECK(ahead_is_being_made(mailbox));
	return mailbox->ahead.inbox_id;
}

uint32_t ahead_take_inbox_uid(struct mailbox *mailbox)
{
	CHECK(ahead_is_being_made(mailbox));
	return mailbox->ahead.inbox_uidnext++;
}

bool ahead_fits_mark(const struct mailbox *mailbox, const uint8_t mark[CHANGE_MARK_LENGTH])
{
	const uint8_t *own = mailbox->mark;
	if (ahead_is_being_made(mailbox))
		own = mailbox->ahead.mark;
	else if (mailbox->folder_count == 0)
		return true;
	return memcmp(own, mark, CHANGE_MARK_LENGTH) == 0;
}

/* ---- all of a change ---- */

static void claim_messages(struct mailbox *mailbox, const struct action *action)
{
	struct folder *folder = mailbox_folder_by_id(mailbox, action->folder_id);
	if (action->added_count == 0)
		return;
	uint32_t behind = action->added[action->added_count - 1].uid + 1;
	if (folder != NULL) {
		struct folder_ahead *ahead = of_folder(folder);
		ahead->uidnext = (uint32_t)higher(ahead->uidnext, behind);
	} else if (ahead_is_being_made(mailbox) &&
		mailbox->ahead.inbox_id == action->folder_id) {
		mailbox->ahead.inbox_uidnext =
			(uint32_t)higher(mailbox->ahead.inbox_uidnext, behind);
	}
}

static void claim_folders(struct mailbox *mailbox, const struct action *action)
{
	struct mailbox_ahead *ahead = of_mailbox(mailbox);
	bool makes = action->mark.length == CHANGE_MARK_LENGTH;
	if (makes && mailbox->folder_count == 0 && ahead->inbox_id == 0)
		ahead_make_inbox(mailbox, action->folders[0].id,
			(const uint8_t *)action->mark.bytes);
	for (size_t i = 0; i < action->folder_count; i++) {
		const struct action_folder *folder = &action->folders[i];
		ahead->next_folder_id =
			(uint32_t)higher(ahead->next_folder_id, folder->id + 1);
		ahead->last_uidvalidity =
			(uint32_t)higher(ahead->last_uidvalidity, folder->uidvalidity);
	}
}

void ahead_claim(struct index *index, const struct change *change)
{
	for (size_t i = 0; i < change->action_count; i++) {
		const struct action *action = &change->actions[i];
		struct mailbox *mailbox = index_find_mailbox(index, action->mailbox_id);
		if (mailbox == NULL)
			continue; /* of all of the volume */
		struct mailbox_ahead *ahead = of_mailbox(mailbox);
		ahead->modseq = higher(ahead->modseq, action->modseq);
		if (action->kind == ACTION_FOLDERS && action->folder_count > 0)
			claim_folders(mailbox, action);
		if (action->kind == ACTION_ADD || action->kind == ACTION_MOVE)
			claim_messages(mailbox, action);
		struct folder *folder = mailbox_folder_by_id(mailbox, action->folder_id);
		for (size_t k = 0; folder != NULL && k < action->keyword_count; k++)
			claim_keyword(folder, action->keywords[k].index, action->keywords[k].name);
	}
}

void ahead_clear(struct index *index)
{
	list_for_each_safe (entry, following, &index->ahead_folders)
		folder_ahead_deinit(list_entry(entry, struct folder_ahead, link));
	list_for_each_safe (entry, following, &index->ahead_mailboxes) {
		struct mailbox_ahead *ahead = list_entry(entry, struct mailbox_ahead, link);
		list_remove(&ahead->link);
		*ahead = (struct mailbox_ahead){ 0 };
		list_init(&ahead->link);
	}
	index->ahead_is_stale = false;
}

bool ahead_knows_folders(const struct index *index, const struct change *change)
{
	for (size_t i = 0; i < change->action_count; i++) {
		const struct action *action = &change->actions[i];
		if (action->kind != ACTION_ADD && action->kind != ACTION_MOVE)
			continue;
		const struct mailbox *mailbox = index_find_mailbox(index, action->mailbox_id);
		bool known = mailbox != NULL &&
			(mailbox_folder_by_id(mailbox, action->folder_id) != NULL ||
				(ahead_is_being_made(mailbox) &&
					ahead_inbox_id(mailbox) == action->folder_id));
		for (size_t k = 0; k < i && !known; k++)
			for (size_t f = 0; f < change->actions[k].folder_count && !known; f++)
				known = change->actions[k].kind == ACTION_FOLDERS &&
					change->actions[k].mailbox_id == action->mailbox_id &&
					change->actions[k].folders[f].id == action->folder_id;
		if (!known)
			return false;
	}
	return true;
}
