#include "spool/log_state.h"

#include "core/digest.h"
#include "core/encode.h"
#include "spool/replace.h"

#include <errno.h>
#include <stdlib.h>

static const uint32_t state_magic = 0x32545350; /* "PST2" */

enum {
	STATE_VERSION = 3,
	HEAD_LENGTH = 36,
	STATE_BYTES_MAX = HEAD_LENGTH + EPOCHS_BYTES_MAX + 4,
};

void log_state_deinit(struct log_state *state)
{
	epochs_deinit(&state->epochs);
	*state = (struct log_state){ 0 };
}

/* Format 1 was a bare vector: a count, 32 bytes an entry, a CRC. */
static bool is_of_format_1(struct str bytes)
{
	size_t length = bytes.length - 4;
	return bytes.length >= 8 && length == 4 + (size_t)get_le32(bytes.bytes) * 32 &&
		get_le32(bytes.bytes + length) == crc32c(0, bytes.bytes, length);
}

static int decode(struct str bytes, struct log_state *state_out)
{
	if (is_of_format_1(bytes))
		return -EPROTONOSUPPORT;
	if (bytes.length < HEAD_LENGTH + 4 || get_le32(bytes.bytes) != state_magic ||
		get_le32(bytes.bytes + bytes.length - 4) !=
			crc32c(0, bytes.bytes, bytes.length - 4))
		return -EUCLEAN;
	if (get_le32(bytes.bytes + 4) != STATE_VERSION)
		return -EPROTONOSUPPORT;
	if (get_le32(bytes.bytes + 32) != bytes.length - HEAD_LENGTH - 4 ||
		!epochs_decode(str_of(bytes.bytes + HEAD_LENGTH, bytes.length - HEAD_LENGTH - 4),
			&state_out->epochs))
		return -EUCLEAN;
	state_out->seen = get_le64(bytes.bytes + 8);
	state_out->held = get_le64(bytes.bytes + 16);
	state_out->whole_from = get_le64(bytes.bytes + 24);
	return 0;
}

int log_state_read(struct disk *disk, const char *directory, struct log_state *state_out)
{
	struct disk_file *file;
	struct buf path = { 0 }, bytes = { 0 };
	*state_out = (struct log_state){ 0 };
	buf_printf(&path, "%s/epochs", directory);
	int result = disk_file_open(disk, buf_terminated(&path), false, &file);
	buf_deinit(&path);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	int64_t size = disk_file_size(file);
	result = size < 0 ? (int)size : size > STATE_BYTES_MAX * 4 ? -EUCLEAN : 0;
	if (result == 0)
		result = disk_read_now(file, buf_reserve(&bytes, (size_t)size), (size_t)size, 0);
	if (result == 0) {
		buf_commit(&bytes, (size_t)size);
		result = decode(buf_str(&bytes), state_out);
	}
	buf_deinit(&bytes);
	disk_file_close(&file);
	return result;
}

static void encode(const struct log_state *state, struct buf *out)
{
	struct buf vector = { 0 };
	epochs_encode(&state->epochs, &vector);
	size_t length = HEAD_LENGTH + buf_length(&vector);
	uint8_t *at = (uint8_t *)buf_reserve(out, length + 4);
	put_le32(at, state_magic);
	put_le32(at + 4, STATE_VERSION);
	put_le64(at + 8, state->seen);
	put_le64(at + 16, state->held);
	put_le64(at + 24, state->whole_from);
	put_le32(at + 32, (uint32_t)buf_length(&vector));
	memcpy(at + HEAD_LENGTH, buf_str(&vector).bytes, buf_length(&vector));
	put_le32(at + length, crc32c(0, at, length));
	buf_commit(out, length + 4);
	buf_deinit(&vector);
}

int log_state_save(struct disk *disk, const char *directory, const struct log_state *state)
{
	struct buf bytes = { 0 }, path = { 0 };
	buf_printf(&path, "%s/epochs", directory);
	encode(state, &bytes);
	int result = replace_file(disk, buf_terminated(&path), buf_str(&bytes));
	buf_deinit(&bytes);
	buf_deinit(&path);
	return result;
}
