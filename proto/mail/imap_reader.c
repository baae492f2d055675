#include "proto/mail/imap_reader.h"

/* Hundreds of gigabytes: a literal of more digits is no honest one. */
enum { LITERAL_DIGITS_MAX = 12 };

struct str imap_reader_text(const struct imap_reader *reader)
{
	struct str text = buf_str(&reader->text);
	if (text.length && text.bytes[text.length - 1] == '\n')
		text.length--;
	if (text.length && text.bytes[text.length - 1] == '\r')
		text.length--;
	return text;
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
		ptrdiff_t end = str_find_byte(bytes, '\n');
		size_t length = end < 0 ? bytes.length : (size_t)end + 1;
		if (buf_length(&reader->text) + length > IMAP_COMMAND_LENGTH_MAX)
			return IMAP_READ_TOO_LONG;
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
	if (reader->literal_length > IMAP_COMMAND_LENGTH_MAX - buf_length(&reader->text))
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
	*reader = (struct imap_reader){ 0 };
}

void imap_reader_deinit(struct imap_reader *reader)
{
	imap_reader_reset(reader);
}
