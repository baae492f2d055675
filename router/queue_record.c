#include "router/queue_record.h"

#include "core/encode.h"

enum { VERSION = 2, VERSION_MARKS = 3, KIND_ADDED = 1, KIND_CHANGED = 2 };

static void append_u8(struct buf *out, unsigned value)
{
	buf_append_byte(out, (char)value);
}

static void append_text(struct buf *out, const char *text)
{
	size_t length = strlen(text);
	CHECK(length <= UINT16_MAX);
	append_le16(out, (uint16_t)length);
	buf_append(out, text, length);
}

static enum queue_state encoded_state(const struct queue_record_recipient *recipient)
{
	bool delayed = recipient->state == QUEUE_PENDING && recipient->delay_told;
	return delayed ? QUEUE_DELAYED : recipient->state;
}

bool queue_record_has_holder(const struct queue_record *record, const char *name)
{
	for (uint32_t i = 0; i < record->holder_count; i++)
		if (strcmp(record->holders[i], name) == 0)
			return true;
	return false;
}

bool queue_record_add_holder(struct queue_record *record, const char *name)
{
	if (queue_record_has_holder(record, name))
		return true;
	if (record->holder_count == QUEUE_HOLDERS_MAX)
		return false;
	record->holders[record->holder_count++] = name;
	return true;
}

void queue_record_remove_holder(struct queue_record *record, const char *name)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < record->holder_count; i++)
		if (strcmp(record->holders[i], name) != 0)
			record->holders[kept++] = record->holders[i];
	record->holder_count = kept;
}

static void append_holders(struct buf *out, const struct queue_record *record)
{
	CHECK(record->holder_count <= QUEUE_HOLDERS_MAX);
	append_u8(out, record->holder_count);
	for (uint32_t i = 0; i < record->holder_count; i++)
		append_text(out, record->holders[i]);
}

/* What has none is written as the version before did it, and read by it. */
static bool has_marks(const struct queue_record *record)
{
	for (uint32_t i = 0; !record->is_change && i < record->recipient_count; i++)
		if (record->recipients[i].public.mark)
			return true;
	return false;
}

static void append_mark(struct buf *out, const uint8_t *mark)
{
	append_u8(out, mark != NULL);
	if (mark)
		buf_append(out, mark, SMTP_MARK_LENGTH);
}

void queue_record_encode(const struct queue_record *record, struct buf *out)
{
	bool marks = has_marks(record);

	append_u8(out, marks ? VERSION_MARKS : VERSION);
	append_u8(out, record->is_change ? KIND_CHANGED : KIND_ADDED);
	buf_append(out, record->delivery_id, sizeof(record->delivery_id));
	if (record->is_change) {
		append_u8(out, record->finished);
		append_holders(out, record);
		append_le32(out, record->change_count);
		for (uint32_t i = 0; i < record->change_count; i++) {
			append_le32(out, record->changes[i].recipient);
			append_u8(out, record->changes[i].state);
			append_text(out, record->changes[i].reply);
		}
		return;
	}
	append_le64(out, (uint64_t)record->accepted_wall_us);
	append_u8(out, record->ret);
	append_u8(out, (unsigned)record->eight_bit | (unsigned)record->utf8 << 1 |
			(unsigned)record->wants_copy << 2);
	append_text(out, record->owner);
	buf_append(out, record->owner_queue, sizeof(record->owner_queue));
	append_holders(out, record);
	append_text(out, record->sender);
	append_text(out, record->envid);
	append_le32(out, record->body_length);
	append_le32(out, record->recipient_count);
	for (uint32_t i = 0; i < record->recipient_count; i++) {
		const struct queue_recipient *recipient = &record->recipients[i].public;
		append_u8(out, recipient->kind);
		append_u8(out, encoded_state(&record->recipients[i]));
		append_u8(out, recipient->notify);
		append_le64(out, recipient->mailbox_id);
		append_text(out, recipient->address);
		append_text(out, recipient->original);
		append_text(out, recipient->orcpt);
		append_text(out, recipient->reply);
		if (marks)
			append_mark(out, recipient->mark);
	}
}

/* What is left to read; `bad` sticks. */
struct cursor {
	struct str rest;
	struct pool *pool;
	bool bad;
};

static const char *take(struct cursor *cursor, size_t length)
{
	static const char zeroes[16];
	if (cursor->bad || cursor->rest.length < length) {
		cursor->bad = true;
		return zeroes;
	}
	const char *bytes = cursor->rest.bytes;
	cursor->rest = str_from_index(cursor->rest, length);
	return bytes;
}

static unsigned take_u8(struct cursor *cursor)
{
	return (unsigned char)*take(cursor, 1);
}

static unsigned take_choice(struct cursor *cursor, unsigned maximum)
{
	unsigned value = take_u8(cursor);
	cursor->bad |= value > maximum;
	return value;
}

static const char *take_text(struct cursor *cursor)
{
	size_t length = get_le16(take(cursor, 2));
	if (cursor->rest.length < length) {
		cursor->bad = true;
		return "";
	}
	return pool_copy_terminated(cursor->pool, str_of(take(cursor, length), length));
}

static void take_holders(struct cursor *cursor, struct queue_record *record)
{
	record->holder_count = take_choice(cursor, QUEUE_HOLDERS_MAX);
	if (cursor->bad)
		record->holder_count = 0;
	for (uint32_t i = 0; i < record->holder_count; i++)
		record->holders[i] = take_text(cursor);
}

/* A count whose entries take at least `least` bytes each: never allocates more than the record
 * holds. */
static uint32_t take_count(struct cursor *cursor, size_t least)
{
	uint32_t count = get_le32(take(cursor, 4));
	cursor->bad |= count > cursor->rest.length / least;
	return cursor->bad ? 0 : count;
}

static void take_changes(struct cursor *cursor, struct queue_record *record)
{
	record->finished = take_choice(cursor, 1);
	take_holders(cursor, record);
	record->change_count = take_count(cursor, 7);
	record->changes =
		pool_alloc(cursor->pool, record->change_count * sizeof(*record->changes) + 1);
	for (uint32_t i = 0; i < record->change_count; i++) {
		record->changes[i].recipient = get_le32(take(cursor, 4));
		record->changes[i].state = take_choice(cursor, QUEUE_DELAYED);
		record->changes[i].reply = take_text(cursor);
	}
}

void queue_recipient_set_state(struct queue_record_recipient *recipient, enum queue_state state)
{
	recipient->delay_told = state == QUEUE_DELAYED;
	recipient->state = recipient->delay_told ? QUEUE_PENDING : state;
}

static const uint8_t *take_mark(struct cursor *cursor)
{
	if (take_choice(cursor, 1) == 0)
		return NULL;
	struct str mark = str_of(take(cursor, SMTP_MARK_LENGTH), SMTP_MARK_LENGTH);
	return (const uint8_t *)pool_copy(cursor->pool, mark).bytes;
}

static void take_added(struct cursor *cursor, bool marks, struct queue_record *record)
{
	record->accepted_wall_us = (int64_t)get_le64(take(cursor, 8));
	record->ret = take_choice(cursor, SMTP_RET_HDRS);
	unsigned flags = take_choice(cursor, 7);
	record->eight_bit = flags & 1;
	record->utf8 = flags & 2;
	record->wants_copy = flags & 4;
	record->owner = take_text(cursor);
	for (unsigned i = 0; i < sizeof(record->owner_queue); i++)
		record->owner_queue[i] = (uint8_t)take_u8(cursor);
	take_holders(cursor, record);
	record->sender = take_text(cursor);
	record->envid = take_text(cursor);
	record->body_length = get_le32(take(cursor, 4));
	record->recipient_count = take_count(cursor, 19);
	record->recipients =
		pool_alloc(cursor->pool, record->recipient_count * sizeof(*record->recipients) + 1);
	for (uint32_t i = 0; i < record->recipient_count; i++) {
		struct queue_recipient *recipient = &record->recipients[i].public;
		recipient->kind = take_choice(cursor, QUEUE_RELAY);
		queue_recipient_set_state(
			&record->recipients[i], take_choice(cursor, QUEUE_DELAYED));
		recipient->notify = take_u8(cursor);
		recipient->mailbox_id = get_le64(take(cursor, 8));
		recipient->address = take_text(cursor);
		recipient->original = take_text(cursor);
		recipient->orcpt = take_text(cursor);
		recipient->reply = take_text(cursor);
		recipient->mark = marks ? take_mark(cursor) : NULL;
	}
}

struct pool *queue_record_pool(size_t encoded_length)
{
	/* Structures and padding take about as much again. */
	return pool_create_sized(2 * encoded_length + 256);
}

bool queue_record_decode(struct str bytes, struct pool *pool, struct queue_record *record_out)
{
	struct cursor cursor = { .rest = bytes, .pool = pool };

	memset(record_out, 0, sizeof(*record_out));
	unsigned version = take_u8(&cursor);
	if (version != VERSION && version != VERSION_MARKS)
		return false;
	unsigned kind = take_u8(&cursor);
	if (bytes.length < 2 + sizeof(record_out->delivery_id))
		return false;
	memcpy(record_out->delivery_id, take(&cursor, sizeof(record_out->delivery_id)),
		sizeof(record_out->delivery_id));
	record_out->is_change = kind == KIND_CHANGED;
	if (kind == KIND_CHANGED)
		take_changes(&cursor, record_out);
	else if (kind == KIND_ADDED)
		take_added(&cursor, version == VERSION_MARKS, record_out);
	else
		return false;
	return !cursor.bad && cursor.rest.length == 0;
}
