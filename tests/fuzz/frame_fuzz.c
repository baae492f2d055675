/* Frames of the cluster: whole, in pieces, and with the right checksum around any payload. */

#include "core/digest.h"
#include "core/encode.h"
#include "proto/cluster/message.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { PAYLOAD_MAX = 1 << 20 };

static void read_frames(struct str input, size_t step, struct pool *pool)
{
	struct frame_reader reader = { 0 };
	struct buf arrived = { 0 };
	enum frame_result result = FRAME_MORE;
	for (size_t at = 0; at < input.length && result != FRAME_BAD; at += step) {
		enum frame_type type;
		struct bytes *payload;
		buf_append_str(&arrived, str_first(str_from_index(input, at), step));
		while ((result = frame_read(&reader, &arrived, PAYLOAD_MAX, &type, &payload)) ==
			FRAME_DONE) {
			struct cluster_message message;
			struct chunk chunk;
			if (type == FRAME_MESSAGE &&
				message_decode(bytes_str(payload), pool, &message)) {
				struct buf out = { 0 };
				message_encode(&message, &out);
				buf_deinit(&out);
			}
			if (type == FRAME_CHUNK && chunk_decode(bytes_str(payload), &chunk) &&
				chunk.length + CHUNK_HEADER_LENGTH != payload->length)
				abort();
			bytes_unref(&payload);
		}
	}
	frame_reader_deinit(&reader);
	buf_deinit(&arrived);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct str input = str_of(bytes, length);
	struct pool *pool = pool_create();
	struct buf framed = { 0 };
	uint8_t header[FRAME_HEADER_LENGTH];
	read_frames(input, 7, pool);
	put_le32(header, 0x31524650);
	put_le32(header + 4, (uint32_t)length);
	put_le32(header + 8, crc32c(0, bytes, length));
	put_le32(header + 12, length % 2 ? FRAME_MESSAGE : FRAME_CHUNK);
	buf_append(&framed, header, sizeof(header));
	buf_append_str(&framed, input);
	read_frames(buf_str(&framed), 4096, pool);
	buf_deinit(&framed);
	pool_destroy(&pool);
	return 0;
}
