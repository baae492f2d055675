#include "proto/cluster/message.h"

#include "cluster.pb-c.h"
#include "core/digest.h"
#include "core/encode.h"
#include "proto/packed.h"

enum { CHUNK_MENDS = 1 };

static const uint32_t frame_magic = 0x31524650; /* "PFR1" */

static void frame_header_encode(
	uint32_t length, uint32_t crc, enum frame_type type, uint8_t out[FRAME_HEADER_LENGTH])
{
	put_le32(out, frame_magic);
	put_le32(out + 4, length);
	put_le32(out + 8, crc);
	put_le32(out + 12, type);
}

void message_encode(const struct cluster_message *message, struct buf *out)
{
	struct pool *pool = message->text.length > 0 ? pool_create() : NULL;
	Pando__Cluster__Message packed;
	pando__cluster__message__init(&packed);
	packed.kind = message->kind;
	packed.volume = message->volume;
	packed.epoch = message->epoch;
	packed.reign = packed_from_str(message->reign);
	packed.lsn = message->lsn;
	packed.end = message->end;
	packed.epochs = packed_from_str(message->epochs);
	packed.node = message->node;
	packed.connected = message->connected;
	packed.time_us = message->time_us;
	packed.chain = message->chain;
	packed.opening = message->opening;
	packed.verdict = message->verdict;
	packed.process = message->process;
	packed.copy_id = packed_from_str(message->copy_id);
	packed.whole_from = message->whole_from;
	packed.bodies = packed_from_str(message->bodies);
	packed.incarnation = message->incarnation;
	packed.status = message->status;
	packed.copy = message->copy;
	if (pool != NULL)
		packed.text = pool_copy_terminated(pool, message->text);
	size_t length = pando__cluster__message__get_packed_size(&packed);
	uint8_t *at = (uint8_t *)buf_reserve(out, FRAME_HEADER_LENGTH + length);
	pando__cluster__message__pack(&packed, at + FRAME_HEADER_LENGTH);
	frame_header_encode(
		(uint32_t)length, crc32c(0, at + FRAME_HEADER_LENGTH, length), FRAME_MESSAGE, at);
	buf_commit(out, FRAME_HEADER_LENGTH + length);
	pool_destroy(&pool);
}

void chunk_encode(const struct chunk *chunk, struct str groups,
	uint8_t out[FRAME_HEADER_LENGTH + CHUNK_HEADER_LENGTH])
{
	uint8_t *head = out + FRAME_HEADER_LENGTH;
	put_le32(head, chunk->volume);
	put_le32(head + 4, chunk->mends ? CHUNK_MENDS : 0);
	put_le64(head + 8, chunk->epoch);
	put_le64(head + 16, chunk->lsn);
	put_le64(head + 24, chunk->leader_end);
	put_le64(head + 32, chunk->time_us);
	uint32_t crc = crc32c(crc32c(0, head, CHUNK_HEADER_LENGTH), groups.bytes, groups.length);
	frame_header_encode(
		(uint32_t)(CHUNK_HEADER_LENGTH + groups.length), crc, FRAME_CHUNK, out);
}

bool message_decode(struct str payload, struct pool *pool, struct cluster_message *out)
{
	ProtobufCAllocator allocator = packed_allocator(pool);
	Pando__Cluster__Message *packed = pando__cluster__message__unpack(
		&allocator, payload.length, (const uint8_t *)payload.bytes);
	if (packed == NULL)
		return false;
	*out = (struct cluster_message){ .kind = (enum message_kind)packed->kind,
		.volume = packed->volume,
		.node = packed->node,
		.epoch = packed->epoch,
		.lsn = packed->lsn,
		.end = packed->end,
		.time_us = packed->time_us,
		.chain = packed->chain,
		.opening = packed->opening,
		/* A word that is not known proves nothing. */
		.verdict = packed->verdict <= COPY_DIVERGED ? (enum copy_verdict)packed->verdict
							    : COPY_UNVERIFIED,
		.process = packed->process,
		.copy_id = packed_to_str(packed->copy_id),
		.whole_from = packed->whole_from,
		.bodies = packed_to_str(packed->bodies),
		.incarnation = packed->incarnation,
		.status = packed->status,
		.copy = packed->copy,
		.reign = packed_to_str(packed->reign),
		.epochs = packed_to_str(packed->epochs),
		.text = str_from(packed->text),
		.connected = packed->connected };
	return true;
}

bool chunk_decode(struct str payload, struct chunk *out)
{
	const char *p = payload.bytes;
	if (payload.length < CHUNK_HEADER_LENGTH)
		return false;
	*out = (struct chunk){ .volume = get_le32(p),
		.epoch = get_le64(p + 8),
		.lsn = get_le64(p + 16),
		.leader_end = get_le64(p + 24),
		.time_us = get_le64(p + 32),
		.length = payload.length - CHUNK_HEADER_LENGTH,
		.mends = (get_le32(p + 4) & CHUNK_MENDS) != 0 };
	return true;
}

static size_t fill(void *to, size_t filled, size_t wanted, struct buf *input)
{
	size_t part = wanted - filled;
	if (part > buf_length(input))
		part = buf_length(input);
	if (part > 0)
		memcpy((char *)to + filled, buf_str(input).bytes, part);
	buf_consume(input, part);
	return part;
}

enum frame_result frame_read(struct frame_reader *reader, struct buf *input, size_t payload_max,
	enum frame_type *type_out, struct bytes **payload_out)
{
	reader->header_filled +=
		fill(reader->header, reader->header_filled, FRAME_HEADER_LENGTH, input);
	if (reader->header_filled < FRAME_HEADER_LENGTH)
		return FRAME_MORE;
	uint32_t type = get_le32(reader->header + 12);
	if (reader->payload == NULL) {
		uint32_t length = get_le32(reader->header + 4);
		size_t limit = type == FRAME_CHUNK ? FRAME_PAYLOAD_MAX : FRAME_MESSAGE_MAX;
		if (get_le32(reader->header) != frame_magic || length > limit ||
			length > payload_max || (type != FRAME_CHUNK && type != FRAME_MESSAGE))
			return FRAME_BAD;
		reader->payload = bytes_create(length);
		reader->filled = 0;
	}
	reader->filled +=
		fill(reader->payload->data, reader->filled, reader->payload->length, input);
	if (reader->filled < reader->payload->length)
		return FRAME_MORE;
	if (crc32c(0, reader->payload->data, reader->payload->length) !=
		get_le32(reader->header + 8))
		return FRAME_BAD;
	*type_out = (enum frame_type)type;
	*payload_out = reader->payload;
	reader->payload = NULL;
	reader->header_filled = 0;
	return FRAME_DONE;
}

void frame_reader_deinit(struct frame_reader *reader)
{
	bytes_unref(&reader->payload);
	*reader = (struct frame_reader){ 0 };
}
