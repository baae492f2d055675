#include "node/index/index.h"

#include "core/encode.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

/* ---- de-duplication ---- */

void dedupe_key(const uint8_t delivery_id[16], uint64_t mailbox_id, uint8_t key_out[16])
{
	/* Delivery ids are random: mixing the mailbox in keeps them so. */
	put_le64(key_out, get_le64(delivery_id) ^ mailbox_id * 0x9e3779b97f4a7c15u);
	memcpy(key_out + 8, delivery_id + 8, 8);
}

bool dedupe_has(const struct dedupe *dedupe, const uint8_t key[16])
{
	return dedupe->set != NULL && map_get(dedupe->set, str_of(key, 16)) != NULL;
}

void dedupe_add(struct dedupe *dedupe, const uint8_t key[16])
{
	if (dedupe->set == NULL)
		dedupe->set = map_create();
	if (dedupe->count < DEDUPE_IDS_MAX) {
		/* The ring grows by doubling until it is full size. */
		if ((dedupe->count & (dedupe->count - 1)) == 0) {
			size_t capacity = dedupe->count ? dedupe->count * 2 : 64;
			if (dedupe->count == 0 || dedupe->count >= 64)
				dedupe->ring = mem_resize(dedupe->ring, capacity * 16);
		}
		dedupe->count++;
	} else {
		map_remove(dedupe->set, str_of(dedupe->ring[dedupe->next], 16));
	}
	dedupe->added++;
	memcpy(dedupe->ring[dedupe->next], key, 16);
	map_set(dedupe->set, str_of(key, 16), dedupe);
	dedupe->next = (dedupe->next + 1) % DEDUPE_IDS_MAX;
}

void dedupe_deinit(struct dedupe *dedupe)
{
	map_destroy(&dedupe->set);
	free(dedupe->ring);
	*dedupe = (struct dedupe){ 0 };
}

/* ---- the index ---- */

uint64_t mailbox_mark_number(const struct mailbox *mailbox)
{
	return get_le64(mailbox->mark);
}

void index_init(struct index *index, void *owner, uint32_t volume_id, const char *store_path)
{
	*index = (struct index){ .owner = owner, .volume_id = volume_id };
	index->store_path = str_to_heap(str_from(store_path));
	index->mailboxes = map_create();
	bodies_init(&index->bodies);
	list_init(&index->dirty_mailboxes);
	list_init(&index->dirty_folders);
	list_init(&index->ahead_mailboxes);
	list_init(&index->ahead_folders);
	index->is_from_log = true; /* until a store says more */
}

static void folder_free(struct folder *folder)
{
	struct folder_private *private = folder->private;
	folder_ahead_deinit(&private->ahead);
	for (unsigned i = 0; i < folder->keyword_count; i++)
		free((char *)(uintptr_t)folder->keywords[i].bytes);
	free(folder->keywords);
	free(private->dirty_chunks);
	list_remove(&private->dirty_link);
	free(private);
	free((char *)(uintptr_t)folder->name.bytes);
	free(folder->messages);
	free(folder);
}

static void mailbox_free(struct mailbox *mailbox)
{
	for (uint32_t i = 0; i < mailbox->folder_count; i++)
		folder_free(mailbox->folders[i]);
	free(mailbox->folders);
	free((char *)(uintptr_t)mailbox->made_for.bytes);
	map_destroy(&mailbox->subscriptions);
	list_remove(&mailbox->ahead.link);
	list_remove(&mailbox->dirty_link);
	free(mailbox);
}

static void free_contents(struct index *index)
{
	void *value;
	for (size_t i = 0; map_next(index->mailboxes, &i, NULL, &value);)
		mailbox_free(value);
	map_destroy(&index->mailboxes);
	dedupe_deinit(&index->dedupe);
	bodies_deinit(&index->bodies);
	buf_deinit(&index->removed_keys);
}

void index_deinit(struct index *index)
{
	if (index->mailboxes != NULL)
		free_contents(index);
	store_close(&index->store);
	free(index->store_path);
	*index = (struct index){ 0 };
}

void index_reset(struct index *index)
{
	free_contents(index);
	index->mailboxes = map_create();
	bodies_init(&index->bodies);
	list_init(&index->dirty_mailboxes);
	list_init(&index->dirty_folders);
	CHECK(list_is_empty(&index->ahead_mailboxes) && list_is_empty(&index->ahead_folders));
	index->applied_lsn = index->saved_lsn = index->slack_epoch = index->message_count = 0;
	index->slack_count = index->half_slack_count = index->folder_count = 0;
	index->highest_mailbox_id = 0;
	index->highest_uidnext = 0;
	index->applied_epoch = index->applied_incarnation = index->acked_lsn = 0;
	index->reset_store = true;
	index->ahead_is_stale = true;
	index->is_broken = false;
	index->is_from_log = true;
}

void index_break(struct index *index, const char *reason)
{
	if (index->is_broken)
		return;
	index->is_broken = true;
	log_error("index_broken", "volume=%u applied=%llu reason=%s action=rebuild",
		index->volume_id, (unsigned long long)index->applied_lsn,
		log_quote(str_from(reason)));
	if (index->on_broken != NULL)
		index->on_broken(index->owner);
}

void index_note_uidnext(struct index *index, uint32_t uidnext)
{
	if (index->highest_uidnext < uidnext)
		index->highest_uidnext = uidnext;
}

uint64_t index_half_slacks(const struct index *index)
{
	return 2 * (uint64_t)index->slack_count + index->half_slack_count;
}

uint32_t index_first_uid(const struct index *index)
{
	uint64_t first = index_half_slacks(index) * (UID_SLACK / 2) + 1;
	return first < UINT32_MAX ? (uint32_t)first : UINT32_MAX;
}

bool index_is_prefix_of(const struct index *index, const struct epochs *epochs)
{
	if (index->applied_lsn == 0)
		return true;
	for (uint32_t i = 0; i < epochs->count; i++) {
		const struct epoch_entry *entry = &epochs->entries[i];
		/* The opening counts, not only the reign: a tail of it may be lost, and another
		 * opening of the same epoch have written at its addresses. */
		if (entry->epoch == index->applied_epoch &&
			entry->incarnation == index->applied_incarnation)
			return memcmp(entry->reign, index->applied_reign, EPOCH_REIGN_LENGTH) ==
				0 &&
				index->applied_lsn > entry->start_lsn &&
				(i + 1 == epochs->count ||
					index->applied_lsn <= entry[1].start_lsn);
	}
	return false;
}

struct mailbox *index_find_mailbox(const struct index *index, uint64_t mailbox_id)
{
	return map_get(index->mailboxes, map_key_u64(&mailbox_id));
}

struct mailbox *index_make_mailbox(struct index *index, uint64_t mailbox_id)
{
	struct mailbox *mailbox = mem_alloc(sizeof(*mailbox));
	mailbox->id = mailbox_id;
	mailbox->index = index;
	mailbox->next_folder_id = 1;
	mailbox->made_for = (struct str){ NULL, 0 };
	mailbox->subscriptions = map_create();
	list_init(&mailbox->sessions);
	list_init(&mailbox->dirty_link);
	list_init(&mailbox->ahead.link);
	map_set(index->mailboxes, map_key_u64(&mailbox_id), mailbox);
	return mailbox;
}

void index_drop_mailbox(struct mailbox *mailbox)
{
	struct index *index = mailbox->index;
	mailbox_note_removed(mailbox);
	index->folder_count -= mailbox->folder_count;
	map_remove(index->mailboxes, map_key_u64(&mailbox->id));
	mailbox_free(mailbox);
}

void mailbox_set_made_for(struct mailbox *mailbox, struct str address)
{
	free((char *)(uintptr_t)mailbox->made_for.bytes);
	mailbox->made_for = str_of(str_to_heap(address), address.length);
}

bool mailbox_has_room(const struct mailbox *mailbox, uint64_t quota_bytes, uint64_t bytes)
{
	if (quota_bytes == 0)
		return true;
	for (uint32_t i = 0; i < mailbox->folder_count; i++)
		bytes += mailbox->folders[i]->total_bytes;
	return bytes <= quota_bytes;
}

struct folder *mailbox_folder_by_id(const struct mailbox *mailbox, uint32_t folder_id)
{
	for (uint32_t i = 0; i < mailbox->folder_count; i++)
		if (mailbox->folders[i]->id == folder_id)
			return mailbox->folders[i];
	return NULL;
}

static bool is_inbox(struct str name)
{
	return str_equal_ignore_case(name, STR("INBOX"));
}

/* INBOX in any case is one name, and the first. */
static int compare_names(struct str left, struct str right)
{
	bool left_inbox = is_inbox(left), right_inbox = is_inbox(right);
	if (left_inbox || right_inbox)
		return (int)right_inbox - (int)left_inbox;
	return str_compare(left, right);
}

static int compare_folders(const void *a, const void *b)
{
	const struct folder *left = *(struct folder *const *)a, *right = *(struct folder *const *)b;
	return compare_names(left->name, right->name);
}

/* The number of folders whose names come before `name`. */
static uint32_t rank_of(const struct mailbox *mailbox, struct str name)
{
	uint32_t low = 0, high = mailbox->folder_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (compare_names(mailbox->folders[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void number_folders(struct mailbox *mailbox, uint32_t from)
{
	for (uint32_t i = from; i < mailbox->folder_count; i++)
		mailbox->folders[i]->position = i;
}

struct folder *mailbox_find_folder(struct mailbox *mailbox, struct str name)
{
	uint32_t rank = rank_of(mailbox, name);
	if (rank == mailbox->folder_count || compare_names(mailbox->folders[rank]->name, name) != 0)
		return NULL;
	return mailbox->folders[rank];
}

struct folder *mailbox_next_folder(struct mailbox *mailbox, struct folder *previous)
{
	uint32_t position = previous ? previous->position + 1 : 0;
	return position < mailbox->folder_count ? mailbox->folders[position] : NULL;
}

void mailbox_sort_folders(struct mailbox *mailbox)
{
	if (mailbox->folder_count > 1)
		qsort(mailbox->folders, mailbox->folder_count, sizeof(*mailbox->folders),
			compare_folders);
	number_folders(mailbox, 0);
}

void folder_set_name(struct folder *folder, struct str name)
{
	free((char *)(uintptr_t)folder->name.bytes);
	folder->name = str_of(str_to_heap(name), name.length);
}

struct folder *mailbox_add_folder(struct mailbox *mailbox, uint32_t id, struct str name)
{
	struct folder *folder = mem_alloc(sizeof(*folder));
	folder->mailbox = mailbox;
	folder->id = id;
	folder->uidnext = folder->first_recent_uid = 1;
	folder->highest_modseq = 1;
	folder->private = mem_alloc(sizeof(*folder->private));
	folder->private->folder = folder;
	folder->private->loaded = true;
	list_init(&folder->private->ahead.link);
	list_init(&folder->private->dirty_link);
	list_init(&folder->sessions);
	folder_set_name(folder, name);
	if (mailbox->folder_count == mailbox->folder_capacity) {
		mailbox->folder_capacity =
			mailbox->folder_capacity ? mailbox->folder_capacity * 2 : 8;
		mailbox->folders = mem_resize(
			mailbox->folders, mailbox->folder_capacity * sizeof(*mailbox->folders));
	}
	uint32_t rank = rank_of(mailbox, name);
	memmove(&mailbox->folders[rank + 1], &mailbox->folders[rank],
		(mailbox->folder_count - rank) * sizeof(*mailbox->folders));
	mailbox->folders[rank] = folder;
	mailbox->folder_count++;
	mailbox->index->folder_count++;
	number_folders(mailbox, rank);
	return folder;
}

void mailbox_drop_folder(struct folder *folder)
{
	struct mailbox *mailbox = folder->mailbox;
	uint32_t at = folder->position;
	mailbox->folder_count--;
	mailbox->index->folder_count--;
	memmove(&mailbox->folders[at], &mailbox->folders[at + 1],
		(mailbox->folder_count - at) * sizeof(*mailbox->folders));
	number_folders(mailbox, at);
	folder_free(folder);
}

/* ---- who looks ---- */

void mailbox_register(struct mailbox *mailbox, struct mailbox_session *session)
{
	session->mailbox = mailbox;
	list_append(&mailbox->sessions, &session->mailbox_link);
	list_init(&session->folder_link);
}

void mailbox_detach(struct mailbox_session *session)
{
	if (session->mailbox == NULL)
		return;
	list_remove(&session->folder_link);
	list_remove(&session->mailbox_link);
	session->mailbox = NULL;
	session->folder = NULL;
}

bool mailbox_allows(const struct mailbox *mailbox, uint64_t access)
{
	return !mailbox->is_access_told || mailbox->access == access;
}

void mailbox_tell_access(struct mailbox *mailbox, uint64_t access, const char *reason)
{
	mailbox->is_access_told = true;
	mailbox->access = access;
	list_for_each_safe (entry, following, &mailbox->sessions) {
		struct mailbox_session *session =
			list_entry(entry, struct mailbox_session, mailbox_link);
		if (mailbox_allows(mailbox, session->access))
			continue;
		mailbox_detach(session);
		session->on_denied(session, reason);
	}
}

void mailbox_tell_gone(struct mailbox *mailbox)
{
	list_for_each_safe (entry, following, &mailbox->sessions) {
		struct mailbox_session *session =
			list_entry(entry, struct mailbox_session, mailbox_link);
		mailbox_detach(session);
		session->on_gone(session, false);
	}
}

void index_tell_gone(struct index *index)
{
	void *value;
	for (size_t i = 0; map_next(index->mailboxes, &i, NULL, &value);)
		mailbox_tell_gone(value);
}

bool mailbox_is_subscribed(struct mailbox *mailbox, struct str name)
{
	return map_get(mailbox->subscriptions, name) != NULL;
}

bool mailbox_next_subscription(struct mailbox *mailbox, size_t *position, struct str *name_out)
{
	return map_next(mailbox->subscriptions, position, name_out, NULL);
}

/* ---- keywords ---- */

int folder_find_keyword(const struct folder *folder, struct str name)
{
	for (unsigned bit = 0; bit < folder->keyword_count; bit++)
		if (str_equal_ignore_case(folder->keywords[bit], name))
			return (int)bit;
	return -1;
}

uint64_t folder_used_keywords(const struct folder *folder)
{
	uint64_t used = 0;
	CHECK(folder->private->loaded);
	for (uint32_t i = 0; i < folder->message_count; i++)
		used |= folder->messages[i].flags;
	return used >> MESSAGE_KEYWORD_SHIFT;
}

bool folder_has_keyword_room(const struct folder *folder)
{
	if (folder->keyword_count < FOLDER_KEYWORDS_MAX)
		return true;
	if (!folder->private->loaded)
		return false;
	uint64_t used = folder_used_keywords(folder);
	for (unsigned bit = 0; bit < FOLDER_KEYWORDS_MAX; bit++)
		if (folder->keywords[bit].length == 0 || !(used >> bit & 1))
			return true;
	return false;
}

/* The bit means something else from now on. */
static void clear_bit(struct folder *folder, unsigned bit, uint64_t modseq)
{
	uint64_t flag = 1ull << (MESSAGE_KEYWORD_SHIFT + bit);
	CHECK(folder->private->loaded);
	for (uint32_t i = 0; i < folder->message_count; i++) {
		struct message *message = &folder->messages[i];
		if (!(message->flags & flag))
			continue;
		message->flags &= ~flag;
		message->modseq = modseq;
		folder_mark_dirty(folder, message->uid);
		folder->flag_counter++;
	}
}

int folder_set_keyword(struct folder *folder, unsigned bit, struct str name, uint64_t modseq)
{
	if (bit >= FOLDER_KEYWORDS_MAX)
		return -EUCLEAN;
	if (folder->keywords == NULL)
		folder->keywords = mem_alloc(FOLDER_KEYWORDS_MAX * sizeof(*folder->keywords));
	struct str *keyword = &folder->keywords[bit];
	if (bit < folder->keyword_count && str_equal_ignore_case(*keyword, name))
		return 0;
	if (keyword->length > 0)
		clear_bit(folder, bit, modseq);
	free((char *)(uintptr_t)keyword->bytes);
	*keyword = str_of(str_to_heap(name), name.length);
	if (bit >= folder->keyword_count)
		folder->keyword_count = bit + 1;
	folder->keyword_counter++;
	return 0;
}

void folder_ahead_deinit(struct folder_ahead *ahead)
{
	for (unsigned bit = 0; ahead->keywords != NULL && bit < FOLDER_KEYWORDS_MAX; bit++)
		free((char *)(uintptr_t)ahead->keywords[bit].bytes);
	free(ahead->keywords);
	list_remove(&ahead->link);
	*ahead = (struct folder_ahead){ 0 };
	list_init(&ahead->link);
}

/* ---- messages ---- */

uint32_t folder_find_uid(const struct folder *folder, uint32_t uid)
{
	/* Not loaded: nothing can be found, and nothing may be looked at. */
	uint32_t low = folder->messages ? 0 : folder->message_count, high = folder->message_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (folder->messages[middle].uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void folder_push_message(struct folder *folder, const struct message *message)
{
	struct folder_private *private = folder->private;
	if (folder->message_count == private->message_capacity) {
		private->message_capacity =
			private->message_capacity ? private->message_capacity * 2 : 8;
		folder->messages = mem_resize(
			folder->messages, private->message_capacity * sizeof(*folder->messages));
	}
	folder->messages[folder->message_count++] = *message;
}

void folder_raise_to_floor(struct folder *folder)
{
	uint64_t floor = folder->private->modseq_floor;
	for (uint32_t i = 0; i < folder->message_count; i++)
		if (folder->messages[i].modseq < floor)
			folder->messages[i].modseq = floor;
}

void folder_mark_header_dirty(struct folder *folder)
{
	if (folder->private->header_dirty)
		return;
	folder->private->header_dirty = true;
	list_append(&folder->mailbox->index->dirty_folders, &folder->private->dirty_link);
}

void folder_mark_dirty(struct folder *folder, uint32_t uid)
{
	struct folder_private *private = folder->private;
	uint32_t chunk = uid >> CHUNK_UID_BITS;
	folder_mark_header_dirty(folder);
	for (uint32_t i = private->dirty_count; i > 0; i--)
		if (private->dirty_chunks[i - 1] == chunk)
			return;
	if (private->dirty_count == private->dirty_capacity) {
		private->dirty_capacity = private->dirty_capacity ? private->dirty_capacity * 2 : 4;
		private->dirty_chunks = mem_resize(private->dirty_chunks,
			private->dirty_capacity * sizeof(*private->dirty_chunks));
	}
	private->dirty_chunks[private->dirty_count++] = chunk;
}

void mailbox_mark_dirty(struct mailbox *mailbox)
{
	if (mailbox->dirty)
		return;
	mailbox->dirty = true;
	list_append(&mailbox->index->dirty_mailboxes, &mailbox->dirty_link);
}

void index_note_removed(struct index *index, struct str key)
{
	CHECK(key.length <= UINT8_MAX);
	buf_append_byte(&index->removed_keys, (char)key.length);
	buf_append_str(&index->removed_keys, key);
}
