#include "node/salvage/tail_internal.h"

#include "core/map.h"

/* ---- what is present ---- */

static struct str present_key(
	uint64_t mailbox_id, const uint8_t id[CHANGE_DELIVERY_ID_LENGTH], uint8_t out[16])
{
	dedupe_key(id, mailbox_id, out);
	return str_of((const char *)out, 16);
}

static void begin_looking(struct tail *tail)
{
	uint8_t key[16];
	tail->present = map_create();
	tail->wanted = map_create();
	tail->looked_to = tail->parts_at;
	tail->last_group = UINT64_MAX;
	for (size_t m = 0; m < tail->mailbox_count; m++) {
		struct tail_mailbox *mailbox = tail->mailboxes[m];
		for (uint32_t i = 0; i < mailbox->message_count; i++)
			map_set(tail->wanted,
				present_key(mailbox->id, mailbox->messages[i].delivery_id, key),
				mailbox);
	}
}

static void look_at_group(
	struct tail *tail, const struct group *group, struct str bytes, struct pool *pool)
{
	struct record record;
	struct change change;
	uint8_t bytes_of_key[16];
	size_t position = GROUP_HEADER_LENGTH;
	while (group_next_record(group, bytes, &position, &record)) {
		if (record.type != RECORD_CHANGE || !change_decode(record.body, pool, &change))
			continue;
		for (size_t i = 0; i < change.action_count; i++) {
			const struct action *action = &change.actions[i];
			if (action->kind != ACTION_ADD ||
				action->delivery_id.length != CHANGE_DELIVERY_ID_LENGTH)
				continue;
			struct str key = present_key(action->mailbox_id,
				(const uint8_t *)action->delivery_id.bytes, bytes_of_key);
			if (map_get(tail->wanted, key) != NULL)
				map_set(tail->present, key, tail);
		}
		pool_reset(pool);
	}
}

static int look_to(struct tail *tail, struct log_reader *reader, uint64_t end, struct pool *pool)
{
	int result = 0;
	while (result == 0 && tail->looked_to < end) {
		struct bytes *bytes;
		struct group group;
		uint64_t lsn;
		result = log_reader_skim(reader, tail->looked_to, end, TAIL_READ_BYTES, &bytes,
			&lsn, &tail->looked_to);
		if (result < 0)
			break;
		struct str rest = bytes_str(bytes);
		while (rest.length > 0 && group_header_decode(rest, lsn, tail->volume_id, &group)) {
			look_at_group(tail, &group, rest, pool);
			tail->last_group = lsn;
			lsn += group_padded(group.used);
			rest = str_from_index(rest, group_padded(group.used));
		}
		bytes_unref(&bytes);
		result = tail_stopped(tail);
	}
	return result == -ENODATA ? 0 : result;
}

/* A part of the tail that has come to the present log since it was read would be taken for what
 * that lacks. */
static int part_again(struct tail *tail, uint64_t end)
{
	struct disk_file *file = NULL;
	uint64_t parts_at = tail->parts_at;
	int result = disk_file_open(tail->disk, tail->path, false, &file);
	if (result == 0)
		result = tail_find_parting(tail, file, end);
	disk_file_close(&file);
	return result == 0 && tail->parts_at != parts_at ? -ESTALE : result;
}

int tail_look(struct tail *tail, uint64_t end, uint64_t chain, uint64_t log_end)
{
	struct log_reader *reader;
	uint64_t here = 0;
	if (log_end < end)
		return -EAGAIN;
	if (end < tail->parts_at)
		return -ESTALE;
	if (tail->present == NULL)
		begin_looking(tail);
	int result = part_again(tail, end);
	if (result == 0)
		result = log_reader_open(tail->disk, tail->directory, tail->volume_id, &reader);
	if (result < 0)
		return result;
	struct pool *pool = pool_create();
	result = look_to(tail, reader, end, pool);
	pool_destroy(&pool);
	log_reader_close(&reader);
	if (result == 0 && tail->last_group == UINT64_MAX)
		return tail->chain == chain ? 0 : -ESTALE;
	if (result == 0)
		result = tail_read_chain(tail, tail->last_group, &here);
	return result == 0 && here != chain ? -ESTALE : result;
}

bool tail_is_present(const struct tail *tail, const struct tail_mailbox *mailbox,
	const struct tail_message *message)
{
	uint8_t key[16];
	return tail->present != NULL &&
		map_get(tail->present, present_key(mailbox->id, message->delivery_id, key)) != NULL;
}

/* ---- bodies ---- */

static int read_body(struct disk_file *file, uint64_t offset, uint64_t lsn, struct bytes *body)
{
	uint8_t header[RECORD_HEADER_LENGTH];
	int result = disk_read_now(file, header, sizeof(header), offset);
	if (result == 0)
		result = disk_read_now(file, body->data, body->length, offset + sizeof(header));
	return result < 0 ? result : record_check_message(header, bytes_str(body), lsn);
}

int tail_body(struct tail *tail, const struct tail_message *message, struct bytes **body_out)
{
	uint64_t lsn = message->body_lsn;
	struct bytes *body = bytes_create(message->size);
	int result;
	if (lsn >= tail->name.from) {
		struct disk_file *file = NULL;
		result = disk_file_open(tail->disk, tail->path, false, &file);
		if (result == 0)
			result = read_body(file, lsn - tail->name.from, lsn, body);
		disk_file_close(&file);
	} else {
		struct log_files files;
		struct disk_file *file;
		log_files_init(&files, tail->disk, tail->directory);
		result = log_files_get(&files, segment_of(lsn), false, &file);
		if (result == 0)
			result = read_body(file, lsn % segment_length, lsn, body);
		log_files_deinit(&files);
		if (result == -ENOENT)
			result = -ENODATA;
	}
	if (result < 0)
		bytes_unref(&body);
	*body_out = body;
	return result;
}
