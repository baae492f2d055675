#include "proto/mail/imap_reader.h"

/* Hundreds of gigabytes: a literal of more digits is no honest one. */
enum { LITERAL_DIGITS_MAX = 12 };

static struct str without_line_end(struct str text)
{
	if (text.length && text.bytes[text.length - 1] == '\n')
		text.length--;
	if (text.length && text.bytes[text.length - 1] == '\r')
		text.length--;
	return text;
}

struct str imap_reader_text(const struct imap_reader *reader)
{
	return without_line_end(buf_str(&reader->text));
}

static size_t length_max(const struct imap_reader *reader)
{
	return reader->length_max ? reader->length_max : IMAP_COMMAND_LENGTH_MAX;
}

bool imap_ends_in_literal(struct str line, uint64_t *length_out, bool *is_sync_out)
{
	if (line.length < 3 || line.bytes[line.length - 1] != '}')
		return false;
	ptrdiff_t open = str_find_last_byte(line, '{');
	if (open < 0)
		return false;
	struct str inside = str_of(line.bytes + open + 1, line.length - (size_t)open - 2);
	*is_sync_out = !str_ends_with(inside, STR("+"));
	if (!*is_sync_out)
		inside.length--;
	return inside.length <= LITERAL_DIGITS_MAX && str_to_u64(inside, UINT64_MAX, length_out);
}

static void note_last(struct imap_reader *reader, struct str bytes)
{
	size_t room = sizeof(reader->last);
	if (bytes.length >= room) {
		memcpy(reader->last, bytes.bytes + bytes.length - room, room);
		reader->last_length = room;
		return;
	}
	size_t kept = reader->last_length;
	if (kept > room - bytes.length)
		kept = room - bytes.length;
	memmove(reader->last, reader->last + reader->last_length - kept, kept);
	memcpy(reader->last + kept, bytes.bytes, bytes.length);
	reader->last_length = kept + bytes.length;
}

static void begin_passing_over(struct imap_reader *reader)
{
	reader->is_too_long = true;
	reader->last_length = 0;
	/* A literal may be announced across the limit. */
	note_last(reader, str_from_index(buf_str(&reader->text), reader->segment));
	if (buf_length(&reader->text) > IMAP_COMMAND_HEAD_LENGTH)
		buf_truncate(&reader->text, IMAP_COMMAND_HEAD_LENGTH);
}

/* True at its end. A literal that comes without being asked for belongs to it, and what follows. */
static bool pass_over(struct imap_reader *reader, struct buf *input)
{
	struct str bytes = buf_str(input);
	ptrdiff_t end = str_find_byte(bytes, '\n');
	struct str part = str_first(bytes, end < 0 ? bytes.length : (size_t)end + 1);
	uint64_t length;
	bool is_sync;
	note_last(reader, part);
	buf_consume(input, part.length);
	if (end < 0)
		return false;
	struct str line = without_line_end(str_of(reader->last, reader->last_length));
	if (!imap_ends_in_literal(line, &length, &is_sync) || is_sync)
		return true;
	reader->discard_left = length;
	reader->last_length = 0;
	return false;
}

enum imap_read imap_reader_feed(struct imap_reader *reader, struct buf *input)
{
	while (buf_length(input)) {
		struct str bytes = buf_str(input);
		if (reader->discard_left) {
			size_t length = bytes.length < reader->discard_left ? bytes.length :
				(size_t)reader->discard_left;
			reader->discard_left -= length;
			buf_consume(input, length);
			continue;
		}
		if (reader->literal_left) {
			size_t length = bytes.length < reader->literal_left ? bytes.length :
				(size_t)reader->literal_left;
			buf_append(&reader->text, bytes.bytes, length);
			buf_consume(input, length);
			reader->literal_left -= length;
			if (!reader->literal_left)
				reader->segment = buf_length(&reader->text);
			continue;
		}
		if (reader->is_too_long) {
			if (pass_over(reader, input))
				return IMAP_READ_TOO_LONG;
			continue;
		}
		ptrdiff_t end = str_find_byte(bytes, '\n');
		size_t length = end < 0 ? bytes.length : (size_t)end + 1;
		if (buf_length(&reader->text) + length > length_max(reader)) {
			begin_passing_over(reader);
			continue;
		}
		buf_append(&reader->text, bytes.bytes, length);
		buf_consume(input, length);
		if (end < 0)
			break;
		struct str line = str_from_index(imap_reader_text(reader), reader->segment);
		return imap_ends_in_literal(line, &reader->literal_length, &reader->literal_is_sync)
			? IMAP_READ_LITERAL
			: IMAP_READ_COMMAND;
	}
	return IMAP_READ_MORE;
}

bool imap_reader_accept(struct imap_reader *reader)
{
	if (reader->literal_length > length_max(reader) - buf_length(&reader->text))
		return false;
	reader->literal_left = reader->literal_length;
	reader->segment = buf_length(&reader->text);
	return true;
}

void imap_reader_take(struct imap_reader *reader)
{
	reader->segment = buf_length(&reader->text);
}

void imap_reader_discard(struct imap_reader *reader)
{
	reader->discard_left = reader->literal_length;
	reader->segment = buf_length(&reader->text);
}

void imap_reader_reset(struct imap_reader *reader)
{
	buf_deinit(&reader->text);
	*reader = (struct imap_reader){ .length_max = reader->length_max };
}

void imap_reader_deinit(struct imap_reader *reader)
{
	imap_reader_reset(reader);
}
