#include "node/index/index.h"

#include "core/digest.h"
#include "core/disk.h"
#include "core/encode.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

/*
 * The store of an index. Keys and values (integers little-endian in values, big-endian in keys so
 * that they sort); behind every value stands the CRC-32C of key and value, so that a bit that
 * flipped in either, or a value under another key, is noticed, and the log replayed:
 *
 *   "v"           volume header: u32 version, u32 volume, u64 applied, u64 slack epoch,
 *                 u64 messages, u32 dedupe count, u32 dedupe next, u32 slack count, u32 folders,
 *                 u64 applied epoch, 16 bytes its reign, u64 acknowledged elsewhere,
 *                 u32 half slacks, u64 incarnation that wrote what is applied, u32 segments,
 *                 u64 highest mailbox that there ever was
 *   "d" chunk     1024 dedupe keys of 16 bytes
 *   "m" mailbox   16 bytes its mark, u32 next folder id, u32 last uidvalidity, u64 modseq, u16
 *                 length + address for which it was made, then subscriptions: u16 length, bytes,
 *                 ...
 *   "f" mailbox folder
 *                 u32 uidvalidity, u32 uidnext, u64 highest modseq, u32 special use,
 *                 u32 messages, u32 unseen, u32 keywords, u64 bytes, u32 first recent uid,
 *                 u32 recent, u64 modseq floor, u16 length + name, then keywords by bit:
 *                 u16 length, bytes, ...; one without length is a bit without a name
 *   "c" mailbox folder chunk
 *                 messages of 48 bytes: u32 uid, u32 size, u64 flags, u64 modseq,
 *                 u64 body LSN, i64 internal date, u32 summary length, u32 0
 *   "b" range     bodies of 12 bytes (bodies.h): u32 offset, u32 references, u32 length
 *   "k" range     kept messages of its bodies (kept.h), 72 bytes and texts each: u32 offset, u32
 *                 uid, u32 size, u32 folder, u32 summary length, u64 mailbox, u64 domain, u64
 *                 beginning of the mark, u64 flags, i64 internal date, i64 expunged at, u32 length
 *                 of the texts, texts: u16 length, bytes, ...; no row where there are none
 *   "s" chunk     use of 1024 segments, 40 bytes each: u64 live bytes, u64 dead ones, u64 free
 *                 ones, u64 kept ones, u32 bits of the ranges that there are, u32 of those that
 *                 have kept messages
 *
 * In keys a mailbox is a u64, a folder, a chunk and a range a u32. A message's modseq is the higher
 * of its own and its folder's floor.
 *
 * A store is valid if and only if every row's checksum is right; it has a volume header of this
 * version and volume, or no row at all; every folder's mailbox is there, and as many folders,
 * dedupe keys and segments as the header says; every segment's ranges are there, and their bodies
 * rise by offset, their kept messages by offset and mailbox; and every folder's messages rise by
 * uid, below its uidnext, and are as many as it says.
 */

enum {
	STORE_VERSION = 9, /* another one is set aside, and the log replayed */
	MAILBOX_BYTES = CHANGE_MARK_LENGTH + 16, /* without address and subscriptions */
	MESSAGE_BYTES = 48,
	FOLDER_BYTES = 56, /* without name and keywords */
	CHECKSUM_BYTES = 4,
	DEDUPE_CHUNK = 1024,
	BODY_BYTES = 12,
	SEGMENT_CHUNK = 1024,
	SEGMENT_BYTES = 40,
	VOLUME_HEADER_BYTES = 104,
};

static struct str make_key(
	uint8_t *out, char kind, uint64_t mailbox, uint32_t folder, uint32_t chunk)
{
	size_t length = 1;
	out[0] = (uint8_t)kind;
	if (kind == 'm' || kind == 'f' || kind == 'c') {
		put_be(out + length, mailbox, 8);
		length += 8;
	}
	if (kind == 'f' || kind == 'c') {
		put_be(out + length, folder, 4);
		length += 4;
	}
	if (kind == 'c' || kind == 'd' || kind == 'b' || kind == 'k' || kind == 's') {
		put_be(out + length, chunk, 4);
		length += 4;
	}
	return str_of(out, length);
}

/* 0 where the key is too short, as in a damaged store. */
static uint64_t key_number(struct str key, size_t at, size_t length)
{
	return at + length <= key.length ? get_be(key.bytes + at, length) : 0;
}

static uint32_t checksum(struct str key, struct str value)
{
	return crc32c(crc32c(0, key.bytes, key.length), value.bytes, value.length);
}

/* ---- writing ---- */

/* `value` gets its checksum. */
static int put_row(struct index *index, struct str key, struct buf *value)
{
	append_le32(value, checksum(key, buf_str(value)));
	return store_put(index->store, key, buf_str(value));
}

static int save_mailbox(struct index *index, struct mailbox *mailbox, struct buf *value)
{
	uint8_t key[32];
	struct str name;
	buf_clear(value);
	buf_append(value, mailbox->mark, CHANGE_MARK_LENGTH);
	append_le32(value, mailbox->next_folder_id);
	append_le32(value, mailbox->last_uidvalidity);
	append_le64(value, mailbox->modseq);
	append_text16(value, mailbox->made_for);
	for (size_t i = 0; map_next(mailbox->subscriptions, &i, &name, NULL);)
		append_text16(value, name);
	return put_row(index, make_key(key, 'm', mailbox->id, 0, 0), value);
}

static int save_folder_header(struct index *index, const struct folder *folder, struct buf *value)
{
	uint8_t key[32];
	buf_clear(value);
	append_le32(value, folder->uidvalidity);
	append_le32(value, folder->uidnext);
	append_le64(value, folder->highest_modseq);
	append_le32(value, folder->special_use);
	append_le32(value, folder->message_count);
	append_le32(value, folder->unseen_count);
	append_le32(value, folder->keyword_count);
	append_le64(value, folder->total_bytes);
	append_le32(value, folder->first_recent_uid);
	append_le32(value, folder->recent_count);
	append_le64(value, folder->private->modseq_floor);
	append_text16(value, folder->name);
	for (unsigned i = 0; i < folder->keyword_count; i++)
		append_text16(value, folder->keywords[i]);
	return put_row(
		index, make_key(key, 'f', folder->mailbox->id, folder->id, 0), value);
}

static int save_chunk(
	struct index *index, const struct folder *folder, uint32_t chunk, struct buf *value)
{
	uint8_t key[32];
	uint32_t first = folder_find_uid(folder, chunk << CHUNK_UID_BITS);
	buf_clear(value);
	for (uint32_t i = first;
		i < folder->message_count && folder->messages[i].uid >> CHUNK_UID_BITS == chunk;
		i++) {
		const struct message *message = &folder->messages[i];
		append_le32(value, message->uid);
		append_le32(value, message->size);
		append_le64(value, message->flags);
		append_le64(value, message->modseq);
		append_le64(value, message->body_lsn);
		append_le64(value, (uint64_t)message->internal_date_s);
		append_le32(value, message->summary_length);
		append_le32(value, 0);
	}
	struct str name = make_key(key, 'c', folder->mailbox->id, folder->id, chunk);
	return buf_length(value) > 0 ? put_row(index, name, value)
				     : store_remove(index->store, name);
}

static int save_folder(struct index *index, struct folder *folder, struct buf *value)
{
	int result = save_folder_header(index, folder, value);
	for (uint32_t i = 0; result == 0 && i < folder->private->dirty_count; i++)
		result = save_chunk(index, folder, folder->private->dirty_chunks[i], value);
	return result;
}

/* Only the ring's chunks that were written to since the last checkpoint. */
static int save_dedupe(struct index *index, struct buf *value)
{
	struct dedupe *dedupe = &index->dedupe;
	uint8_t key[32];
	int result = 0;
	if (dedupe->count == 0 || (dedupe->saved_next == dedupe->next && !dedupe->all_dirty))
		return 0;
	uint32_t chunk = dedupe->all_dirty ? 0 : dedupe->saved_next / DEDUPE_CHUNK;
	uint32_t last = dedupe->all_dirty
		? (dedupe->count - 1) / DEDUPE_CHUNK
		: (dedupe->next + DEDUPE_IDS_MAX - 1) % DEDUPE_IDS_MAX / DEDUPE_CHUNK;
	for (;; chunk = (chunk + 1) % (DEDUPE_IDS_MAX / DEDUPE_CHUNK)) {
		uint32_t first = chunk * DEDUPE_CHUNK;
		uint32_t count =
			dedupe->count - first < DEDUPE_CHUNK ? dedupe->count - first : DEDUPE_CHUNK;
		buf_clear(value);
		buf_append(value, dedupe->ring[first], (size_t)count * 16);
		result = put_row(index, make_key(key, 'd', 0, 0, chunk), value);
		if (result < 0 || chunk == last)
			return result;
	}
}

static int save_range(struct index *index, const struct body_range *range, struct buf *value)
{
	uint8_t key[32];
	buf_clear(value);
	for (uint32_t i = 0; i < range->count; i++) {
		append_le32(value, range->bodies[i].offset);
		append_le32(value, range->bodies[i].references);
		append_le32(value, range->bodies[i].length);
	}
	int result = put_row(index, make_key(key, 'b', 0, 0, (uint32_t)range->number), value);
	struct str kept = make_key(key, 'k', 0, 0, (uint32_t)range->number);
	if (result < 0 || (range->kept.count == 0 && !range->has_kept_row))
		return result;
	if (range->kept.count == 0)
		return store_remove(index->store, kept);
	buf_clear(value);
	kept_list_encode(&range->kept, value);
	return put_row(index, kept, value);
}

static int save_bodies(struct index *index, struct buf *value)
{
	const struct bodies *bodies = &index->bodies;
	uint8_t key[32];
	int result = 0;
	list_for_each (entry, &bodies->dirty)
		if (result == 0)
			result = save_range(
				index, list_entry(entry, struct body_range, dirty_link), value);
	for (uint32_t chunk = bodies->dirty_from / SEGMENT_CHUNK;
		result == 0 && chunk * SEGMENT_CHUNK < bodies->dirty_to; chunk++) {
		uint32_t end = (chunk + 1) * SEGMENT_CHUNK;
		end = end < bodies->segment_count ? end : bodies->segment_count;
		buf_clear(value);
		for (uint32_t i = chunk * SEGMENT_CHUNK; i < end; i++) {
			append_le64(value, bodies->segments[i].live);
			append_le64(value, bodies->segments[i].dead);
			append_le64(value, bodies->segments[i].free);
			append_le64(value, bodies->segments[i].kept);
			append_le32(value, bodies->segments[i].ranges);
			append_le32(value, bodies->segments[i].kept_ranges);
		}
		result = put_row(index, make_key(key, 's', 0, 0, chunk), value);
	}
	return result;
}

static int save_volume_header(struct index *index, struct buf *value)
{
	buf_clear(value);
	append_le32(value, STORE_VERSION);
	append_le32(value, index->volume_id);
	append_le64(value, index->applied_lsn);
	append_le64(value, index->slack_epoch);
	append_le64(value, index->message_count);
	append_le32(value, index->dedupe.count);
	append_le32(value, index->dedupe.next);
	append_le32(value, index->slack_count);
	append_le32(value, index->folder_count);
	append_le64(value, index->applied_epoch);
	buf_append(value, index->applied_reign, EPOCH_REIGN_LENGTH);
	append_le64(value, index->acked_lsn);
	append_le32(value, index->half_slack_count);
	append_le64(value, index->applied_incarnation);
	append_le32(value, index->bodies.segment_count);
	append_le64(value, index->highest_mailbox_id);
	return put_row(index, STR("v"), value);
}

static int collect_key(void *arg, struct str key, struct str value)
{
	struct buf *keys = arg;
	(void)value;
	buf_append_byte(keys, (char)key.length);
	buf_append_str(keys, key);
	return 0;
}

static int remove_keys(struct index *index, struct str keys)
{
	int result = 0;
	while (result == 0 && keys.length > 0) {
		size_t length = (uint8_t)keys.bytes[0];
		result = store_remove(index->store, str_of(keys.bytes + 1, length));
		keys = str_from_index(keys, 1 + length);
	}
	return result;
}

static int clear_store(struct index *index)
{
	struct buf keys = { 0 };
	int result = store_each(index->store, STR(""), collect_key, &keys);
	if (result == 0)
		result = remove_keys(index, buf_str(&keys));
	buf_deinit(&keys);
	return result;
}

static int save_all(struct index *index, struct buf *value)
{
	int result = index->reset_store ? clear_store(index) : 0;
	if (result == 0)
		result = remove_keys(index, buf_str(&index->removed_keys));
	list_for_each (entry, &index->dirty_mailboxes)
		if (result == 0)
			result = save_mailbox(
				index, list_entry(entry, struct mailbox, dirty_link), value);
	list_for_each (entry, &index->dirty_folders) {
		struct folder_private *private =
			list_entry(entry, struct folder_private, dirty_link);
		if (result == 0)
			result = save_folder(index, private->folder, value);
	}
	if (result == 0)
		result = save_bodies(index, value);
	if (result == 0)
		result = save_dedupe(index, value);
	return result == 0 ? save_volume_header(index, value) : result;
}

static void mark_clean(struct index *index)
{
	list_for_each_safe (entry, following, &index->dirty_mailboxes) {
		list_entry(entry, struct mailbox, dirty_link)->dirty = false;
		list_remove(entry);
	}
	list_for_each_safe (entry, following, &index->dirty_folders) {
		struct folder_private *private =
			list_entry(entry, struct folder_private, dirty_link);
		private->header_dirty = false;
		private->dirty_count = 0;
		list_remove(entry);
	}
	bodies_mark_clean(&index->bodies);
	bodies_trim(&index->bodies);
	index->dedupe.saved_next = index->dedupe.next;
	index->dedupe.all_dirty = false;
	index->reset_store = false;
	buf_deinit(&index->removed_keys);
	index->saved_lsn = index->applied_lsn;
}

bool index_is_dirty(const struct index *index)
{
	return index->saved_lsn != index->applied_lsn || index->reset_store ||
		!list_is_empty(&index->dirty_folders);
}

int index_checkpoint(struct index *index)
{
	struct buf value = { 0 };
	int result = index->is_broken ? -EUCLEAN : store_begin(index->store);
	if (index->is_broken)
		return result;
	if (result == 0) {
		result = save_all(index, &value);
		if (result == 0)
			result = store_commit(index->store);
		if (result < 0)
			store_rollback(index->store);
	}
	buf_deinit(&value);
	if (result == 0)
		mark_clean(index);
	if (result == -EUCLEAN)
		index_break(index, "its store is damaged");
	return result;
}

/* ---- reading ---- */

struct row_reader {
	int (*fn)(void *arg, struct str key, struct str value);
	void *arg;
};

static int check_row(struct str key, struct str *value)
{
	if (value->length < CHECKSUM_BYTES)
		return -EUCLEAN;
	value->length -= CHECKSUM_BYTES;
	return get_le32(value->bytes + value->length) == checksum(key, *value) ? 0 : -EUCLEAN;
}

static int read_row(void *arg, struct str key, struct str value)
{
	struct row_reader *reader = arg;
	int result = check_row(key, &value);
	return result < 0 ? result : reader->fn(reader->arg, key, value);
}

/* All rows whose key begins with `prefix`. -EUCLEAN for a damaged one. */
static int each_row(struct index *index, struct str prefix,
	int (*fn)(void *arg, struct str key, struct str value), void *arg)
{
	struct row_reader reader = { fn, arg };
	return store_each(index->store, prefix, read_row, &reader);
}

static int on_unexpected_row(void *arg, struct str key, struct str value)
{
	(void)arg;
	(void)key;
	(void)value;
	return -EUCLEAN;
}

static int load_mailbox(void *arg, struct str key, struct str value)
{
	struct index *index = arg;
	struct str name;
	if (key.length != 9 || value.length < MAILBOX_BYTES)
		return -EUCLEAN;
	struct mailbox *mailbox = index_make_mailbox(index, key_number(key, 1, 8));
	const char *p = value.bytes + CHANGE_MARK_LENGTH;
	memcpy(mailbox->mark, value.bytes, CHANGE_MARK_LENGTH);
	mailbox->next_folder_id = get_le32(p);
	mailbox->last_uidvalidity = get_le32(p + 4);
	mailbox->modseq = get_le64(p + 8);
	if (index->highest_mailbox_id < mailbox->id)
		index->highest_mailbox_id = mailbox->id;
	value = str_from_index(value, MAILBOX_BYTES);
	if (!take_text16(&value, &name))
		return -EUCLEAN;
	mailbox_set_made_for(mailbox, name);
	while (take_text16(&value, &name))
		map_set(mailbox->subscriptions, name, mailbox->subscriptions);
	return value.length == 0 ? 0 : -EUCLEAN;
}

static int load_folder(void *arg, struct str key, struct str value)
{
	struct index *index = arg;
	struct str name, rest;
	if (key.length != 13 || value.length < FOLDER_BYTES)
		return -EUCLEAN;
	struct mailbox *mailbox = index_find_mailbox(index, key_number(key, 1, 8));
	rest = str_from_index(value, FOLDER_BYTES);
	if (mailbox == NULL || !take_text16(&rest, &name))
		return -EUCLEAN;
	struct folder *folder = mailbox_add_folder(mailbox, (uint32_t)key_number(key, 9, 4), name);
	const char *p = value.bytes;
	folder->uidvalidity = get_le32(p);
	folder->uidnext = get_le32(p + 4);
	index_note_uidnext(index, folder->uidnext);
	folder->highest_modseq = get_le64(p + 8);
	folder->special_use = (enum special_use)get_le32(p + 16);
	folder->message_count = get_le32(p + 20);
	folder->unseen_count = get_le32(p + 24);
	folder->total_bytes = get_le64(p + 32);
	folder->private->loaded = folder->message_count == 0;
	folder->first_recent_uid = get_le32(p + 40);
	folder->recent_count = get_le32(p + 44);
	folder->private->modseq_floor = get_le64(p + 48);
	for (uint32_t i = 0; i < get_le32(p + 28); i++)
		if (!take_text16(&rest, &name) || folder_set_keyword(folder, i, name, 0) < 0)
			return -EUCLEAN;
	return rest.length == 0 ? 0 : -EUCLEAN;
}

static int load_dedupe(void *arg, struct str key, struct str value)
{
	struct index *index = arg;
	(void)key;
	if (value.length % 16 != 0)
		return -EUCLEAN;
	for (; value.length >= 16; value = str_from_index(value, 16))
		if (index->dedupe.count < DEDUPE_IDS_MAX)
			dedupe_add(&index->dedupe, (const uint8_t *)value.bytes);
	return 0;
}

static int load_segments(void *arg, struct str key, struct str value)
{
	struct index *index = arg;
	uint32_t segment = (uint32_t)key_number(key, 1, 4) * SEGMENT_CHUNK;
	if (key.length != 5 || value.length % SEGMENT_BYTES != 0 ||
		value.length > SEGMENT_CHUNK * SEGMENT_BYTES)
		return -EUCLEAN;
	for (; value.length > 0; value = str_from_index(value, SEGMENT_BYTES)) {
		const char *p = value.bytes;
		struct segment_use use = { .live = get_le64(p),
			.dead = get_le64(p + 8),
			.free = get_le64(p + 16),
			.kept = get_le64(p + 24),
			.ranges = get_le32(p + 32),
			.kept_ranges = get_le32(p + 36) };
		bodies_set_segment(&index->bodies, segment++, use);
	}
	return 0;
}

static int load_all(struct index *index)
{
	struct buf header = { 0 };
	int result = store_get(index->store, STR("v"), &header);
	struct str value = buf_str(&header);
	const char *p = value.bytes;
	if (result == -ENOENT) {
		buf_deinit(&header);
		return store_each(index->store, STR(""), on_unexpected_row, NULL);
	}
	if (result == 0)
		result = check_row(STR("v"), &value);
	if (result == 0 && (value.length != VOLUME_HEADER_BYTES || get_le32(p) != STORE_VERSION ||
				   get_le32(p + 4) != index->volume_id))
		result = -EUCLEAN;
	if (result == 0)
		result = each_row(index, STR("m"), load_mailbox, index);
	if (result == 0)
		result = each_row(index, STR("f"), load_folder, index);
	if (result == 0)
		result = each_row(index, STR("d"), load_dedupe, index);
	if (result == 0)
		result = each_row(index, STR("s"), load_segments, index);
	if (result == 0) {
		index->applied_lsn = index->saved_lsn = get_le64(p + 8);
		index->slack_epoch = get_le64(p + 16);
		index->message_count = get_le64(p + 24);
		index->slack_count = get_le32(p + 40);
		index->applied_epoch = get_le64(p + 48);
		memcpy(index->applied_reign, p + 56, EPOCH_REIGN_LENGTH);
		index->acked_lsn = get_le64(p + 72);
		index->half_slack_count = get_le32(p + 80);
		index->applied_incarnation = get_le64(p + 84);
		if (index->highest_mailbox_id < get_le64(p + 96))
			index->highest_mailbox_id = get_le64(p + 96);
		index->is_from_log = false;
		if (index->dedupe.count != get_le32(p + 32) ||
			index->folder_count != get_le32(p + 44) ||
			index->bodies.segment_count != get_le32(p + 92))
			result = -EUCLEAN;
		index->dedupe.next = index->dedupe.saved_next = get_le32(p + 36) % DEDUPE_IDS_MAX;
	}
	buf_deinit(&header);
	return result;
}

static int move_file(const char *from, const char *to)
{
	int result = disk_rename(from, to);
	return result == -ENOENT ? 0 : result;
}

/* The store's file, and the log that SQLite may have left behind it, which would else be taken for
 * one of the new file's. */
static int set_aside(const struct index *index)
{
	struct buf aside = { 0 }, log = { 0 };
	buf_printf(&aside, "%s.damaged", index->store_path);
	buf_printf(&log, "%s-wal", index->store_path);
	int result = move_file(index->store_path, buf_terminated(&aside));
	buf_append_literal(&aside, "-wal");
	if (result == 0)
		result = move_file(buf_terminated(&log), buf_terminated(&aside));
	buf_deinit(&log);
	buf_deinit(&aside);
	return result;
}

int index_renew(struct index *index, struct error *error)
{
	log_warn("index_set_aside", "volume=%u file=%s action=rebuild", index->volume_id,
		index->store_path);
	index_reset(index);
	store_close(&index->store);
	int result = set_aside(index);
	return result < 0 ? error_set(error, result, "cannot put %s aside: %s", index->store_path,
				    strerror(-result))
			  : store_open(index->store_path, &index->store, error);
}

int index_open(struct index *index, struct error *error)
{
	int result = store_open(index->store_path, &index->store, error);
	if (result == 0) {
		result = load_all(index);
		if (result == 0) {
			index->reset_store = false;
			return 0;
		}
		store_close(&index->store);
	}
	/* The log is the truth: a damaged index is put aside and made again. */
	if (result == -EUCLEAN)
		return index_renew(index, error);
	return error_set(error, result, "cannot open the index %s: %s", index->store_path,
		strerror(-result));
}

static struct message read_message(const char *p)
{
	return (struct message){ .uid = get_le32(p),
		.size = get_le32(p + 4),
		.flags = get_le64(p + 8),
		.modseq = get_le64(p + 16),
		.body_lsn = get_le64(p + 24),
		.internal_date_s = (int64_t)get_le64(p + 32),
		.summary_length = get_le32(p + 40) };
}

static int load_chunk(void *arg, struct str key, struct str value)
{
	struct folder *folder = arg;
	(void)key;
	if (value.length % MESSAGE_BYTES != 0)
		return -EUCLEAN;
	for (; value.length > 0; value = str_from_index(value, MESSAGE_BYTES)) {
		const char *p = value.bytes;
		uint32_t last = folder->message_count > 0
			? folder->messages[folder->message_count - 1].uid
			: 0;
		if (get_le32(p) <= last || get_le32(p) >= folder->uidnext)
			return -EUCLEAN;
		struct message message = read_message(p);
		folder_push_message(folder, &message);
	}
	return 0;
}

int folder_load(struct folder *folder)
{
	uint8_t key[32];
	struct folder_private *private = folder->private;
	if (private->loaded)
		return 0;
	uint32_t expected = folder->message_count;
	folder->message_count = 0;
	int result = each_row(folder->mailbox->index,
		str_first(make_key(key, 'c', folder->mailbox->id, folder->id, 0), 13), load_chunk,
		folder);
	if (result == 0 && folder->message_count != expected)
		result = -EUCLEAN;
	if (result < 0) {
		log_error("folder_damaged", "volume=%u mailbox=%llu folder=%u reason=%s",
			folder->mailbox->index->volume_id, (unsigned long long)folder->mailbox->id,
			folder->id, log_quote(str_from(strerror(-result))));
		folder->message_count = expected;
		free(folder->messages);
		folder->messages = NULL;
		private->message_capacity = 0;
		index_break(folder->mailbox->index, "a folder cannot be loaded");
		return result;
	}
	folder_raise_to_floor(folder);
	private->loaded = true;
	return 0;
}

int folder_look_at_chunk(struct folder *folder, uint32_t chunk,
	void (*fn)(void *arg, const struct message *message), void *arg)
{
	uint8_t name[32];
	struct buf row = { 0 };
	struct index *index = folder->mailbox->index;
	struct str key = make_key(name, 'c', folder->mailbox->id, folder->id, chunk);
	if (folder->private->loaded) {
		uint32_t i = folder_find_uid(folder, chunk << CHUNK_UID_BITS);
		for (; i < folder->message_count &&
			folder->messages[i].uid >> CHUNK_UID_BITS == chunk;
			i++)
			fn(arg, &folder->messages[i]);
		return 0;
	}
	if (index->store == NULL || index->reset_store)
		return 0;
	int result = store_get(index->store, key, &row);
	struct str value = buf_str(&row);
	if (result == 0)
		result = check_row(key, &value);
	if (result == 0 && value.length % MESSAGE_BYTES != 0)
		result = -EUCLEAN;
	for (; result == 0 && value.length > 0; value = str_from_index(value, MESSAGE_BYTES)) {
		struct message message = read_message(value.bytes);
		fn(arg, &message);
	}
	buf_deinit(&row);
	if (result == -EUCLEAN)
		index_break(index, "a folder cannot be loaded");
	return result == -ENOENT ? 0 : result;
}

static int load_range(struct body_range *range, struct str value)
{
	if (value.length % BODY_BYTES != 0)
		return -EUCLEAN;
	for (; value.length > 0; value = str_from_index(value, BODY_BYTES)) {
		struct body body = { get_le32(value.bytes), get_le32(value.bytes + 4),
			get_le32(value.bytes + 8) };
		if (range->count > 0 && body.offset <= range->bodies[range->count - 1].offset)
			return -EUCLEAN;
		body_range_push(range, &body);
	}
	return 0;
}

/* Only of one that has some, as its segment says. */
static int load_kept(struct index *index, struct body_range *range)
{
	uint8_t name[32];
	struct buf row = { 0 };
	struct str key = make_key(name, 'k', 0, 0, (uint32_t)range->number);
	int result = store_get(index->store, key, &row);
	struct str value = buf_str(&row);
	if (result == 0)
		result = check_row(key, &value);
	if (result == 0 && !kept_list_decode(&range->kept, value))
		result = -EUCLEAN;
	range->has_kept_row = true;
	buf_deinit(&row);
	return result == -ENOENT || range->kept.count == 0 ? -EUCLEAN : result;
}

int index_load_bodies(struct index *index, uint64_t number, struct body_range **range_out)
{
	uint8_t name[32];
	struct buf row = { 0 };
	struct str key = make_key(name, 'b', 0, 0, (uint32_t)number);
	struct body_range *range = *range_out = bodies_make_range(&index->bodies, number);
	/* What stands in a store that is to be cleared is of another log. */
	int result = index->store == NULL || index->reset_store
		? -ENOENT
		: store_get(index->store, key, &row);
	struct str value = buf_str(&row);
	if (result == 0)
		result = check_row(key, &value);
	if (result == 0)
		result = load_range(range, value);
	buf_deinit(&row);
	if (result == 0 && bodies_has_kept_range(&index->bodies, number))
		result = load_kept(index, range);
	if (result == -ENOENT)
		result = bodies_has_range(&index->bodies, number) ? -EUCLEAN : 0;
	if (result < 0)
		index_break(index, "a range of bodies cannot be loaded");
	return result;
}

void folder_note_removed(struct folder *folder)
{
	uint8_t key[32];
	struct index *index = folder->mailbox->index;
	uint32_t last_chunk = UINT32_MAX;
	index_note_removed(index, make_key(key, 'f', folder->mailbox->id, folder->id, 0));
	for (uint32_t i = 0; i < folder->message_count; i++) {
		uint32_t chunk = folder->messages[i].uid >> CHUNK_UID_BITS;
		if (chunk != last_chunk)
			index_note_removed(
				index, make_key(key, 'c', folder->mailbox->id, folder->id, chunk));
		last_chunk = chunk;
	}
	/* Chunks whose last message went after the last checkpoint. */
	for (uint32_t i = 0; i < folder->private->dirty_count; i++)
		index_note_removed(index, make_key(key, 'c', folder->mailbox->id, folder->id,
						  folder->private->dirty_chunks[i]));
}

void mailbox_note_removed(struct mailbox *mailbox)
{
	uint8_t key[32];
	index_note_removed(mailbox->index, make_key(key, 'm', mailbox->id, 0, 0));
}
