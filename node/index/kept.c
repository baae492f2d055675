#include "node/index/kept.h"

#include "core/digest.h"
#include "core/encode.h"
#include "node/index/folder.h"

#include <stdlib.h>
#include <string.h>

enum {
	ROW_BYTES = 72, /* of one message, without its texts */
};

void kept_describe(struct kept_message *kept, const struct folder *folder,
	const struct message *message, struct buf *texts)
{
	uint64_t keywords = message->flags >> MESSAGE_KEYWORD_SHIFT;
	kept->uid = message->uid;
	kept->size = message->size;
	kept->folder_id = folder->id;
	kept->summary_length = message->summary_length;
	kept->flags = message->flags;
	kept->internal_date_s = message->internal_date_s;
	buf_clear(texts);
	append_text16(texts, folder->name);
	for (unsigned bit = 0; bit < folder->keyword_count && keywords >> bit != 0; bit++)
		if (keywords >> bit & 1 && folder->keywords[bit].length > 0)
			append_text16(texts, folder->keywords[bit]);
	kept->texts = buf_str(texts);
}

struct str kept_folder(const struct kept_message *kept)
{
	struct str rest = kept->texts, name = STR("");
	return take_text16(&rest, &name) ? name : STR("");
}

struct str kept_keywords(const struct kept_message *kept)
{
	struct str rest = kept->texts, name;
	return take_text16(&rest, &name) ? rest : STR("");
}

bool kept_next_keyword(struct str *rest, struct str *name_out)
{
	return take_text16(rest, name_out);
}

/* ---- the list ---- */

static void free_texts(struct kept_message *kept)
{
	free((char *)(uintptr_t)kept->texts.bytes);
}

void kept_list_deinit(struct kept_list *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		free_texts(&list->messages[i]);
	free(list->messages);
	*list = (struct kept_list){ 0 };
}

/* Of the first that is not before this body and mailbox. */
static uint32_t rank_of(const struct kept_list *list, uint32_t offset, uint64_t mailbox_id)
{
	uint32_t low = 0, high = list->count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct kept_message *kept = &list->messages[middle];
		if (kept->offset < offset ||
			(kept->offset == offset && kept->mailbox_id < mailbox_id))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct kept_message *insert_at(struct kept_list *list, uint32_t rank)
{
	if (list->count == list->capacity) {
		list->capacity = list->capacity ? list->capacity * 2 : 4;
		list->messages =
			mem_resize(list->messages, list->capacity * sizeof(*list->messages));
	}
	struct kept_message *kept = &list->messages[rank];
	memmove(kept + 1, kept, (list->count - rank) * sizeof(*kept));
	list->count++;
	return kept;
}

void kept_list_put(struct kept_list *list, const struct kept_message *kept)
{
	uint32_t rank = rank_of(list, kept->offset, kept->mailbox_id);
	struct kept_message *place = rank < list->count ? &list->messages[rank] : NULL;
	if (place != NULL && place->offset == kept->offset &&
		place->mailbox_id == kept->mailbox_id)
		free_texts(place);
	else
		place = insert_at(list, rank);
	*place = *kept;
	place->texts = str_of(str_to_heap(kept->texts), kept->texts.length);
}

uint32_t kept_list_remove(struct kept_list *list, uint32_t offset, const uint64_t *mailbox_id)
{
	uint32_t first = rank_of(list, offset, mailbox_id ? *mailbox_id : 0), end = first;
	for (; end < list->count && list->messages[end].offset == offset &&
		(mailbox_id == NULL || list->messages[end].mailbox_id == *mailbox_id);
		end++)
		free_texts(&list->messages[end]);
	if (end > first)
		memmove(&list->messages[first], &list->messages[end],
			(list->count - end) * sizeof(*list->messages));
	list->count -= end - first;
	return end - first;
}

const struct kept_message *kept_list_of(
	const struct kept_list *list, uint32_t offset, uint32_t *count_out)
{
	uint32_t first = rank_of(list, offset, 0), end = first;
	while (end < list->count && list->messages[end].offset == offset)
		end++;
	*count_out = end - first;
	return end > first ? &list->messages[first] : NULL;
}

/* ---- the store's row ---- */

void kept_list_encode(const struct kept_list *list, struct buf *out)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct kept_message *kept = &list->messages[i];
		append_le32(out, kept->offset);
		append_le32(out, kept->uid);
		append_le32(out, kept->size);
		append_le32(out, kept->folder_id);
		append_le32(out, kept->summary_length);
		append_le64(out, kept->mailbox_id);
		append_le64(out, kept->domain_id);
		append_le64(out, kept->mark);
		append_le64(out, kept->flags);
		append_le64(out, (uint64_t)kept->internal_date_s);
		append_le64(out, (uint64_t)kept->expunged_s);
		append_le32(out, (uint32_t)kept->texts.length);
		buf_append_str(out, kept->texts);
	}
}

static bool follows(const struct kept_list *list, const struct kept_message *kept)
{
	const struct kept_message *last = list->count ? &list->messages[list->count - 1] : NULL;
	return last == NULL || last->offset < kept->offset ||
		(last->offset == kept->offset && last->mailbox_id < kept->mailbox_id);
}

bool kept_list_decode(struct kept_list *list, struct str row)
{
	while (row.length > 0) {
		const char *p = row.bytes;
		if (row.length < ROW_BYTES || row.length - ROW_BYTES < get_le32(p + 68))
			return false;
		struct kept_message kept = { .offset = get_le32(p),
			.uid = get_le32(p + 4),
			.size = get_le32(p + 8),
			.folder_id = get_le32(p + 12),
			.summary_length = get_le32(p + 16),
			.mailbox_id = get_le64(p + 20),
			.domain_id = get_le64(p + 28),
			.mark = get_le64(p + 36),
			.flags = get_le64(p + 44),
			.internal_date_s = (int64_t)get_le64(p + 52),
			.expunged_s = (int64_t)get_le64(p + 60),
			.texts = str_of(p + ROW_BYTES, get_le32(p + 68)) };
		if (!follows(list, &kept))
			return false;
		kept_list_put(list, &kept);
		row = str_from_index(row, ROW_BYTES + kept.texts.length);
	}
	return true;
}

uint64_t kept_list_digest(const struct kept_list *list)
{
	struct buf row = { 0 };
	kept_list_encode(list, &row);
	struct str bytes = buf_str(&row);
	uint64_t digest = bytes.length > 0 ? digest64(0, bytes.bytes, bytes.length) : 0;
	buf_deinit(&row);
	return digest;
}
