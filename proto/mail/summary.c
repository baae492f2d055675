#include "proto/mail/summary.h"

#include "core/encode.h"
#include "proto/mail/summary_structure.h"

/*
 * Version 1, little-endian, no padding:
 *
 *   0  u8   version (1)
 *   1  u8   flags: 1 date known, 2 header present
 *   2  u16  number of parts
 *   4  u32  length of the message
 *   8  i64  sent date, seconds since 1970 UTC
 *  16  i16  zone of the sent date, minutes east
 *  18  u16  number of extension runs
 *  20  u32  length of the charset names
 *  24  u32  length of ENVELOPE
 *  28  u32  length of BODYSTRUCTURE
 *  32  u32  length of the header
 *  36  parts, 24 bytes each:
 *        u16 parent (0xffff: none), u8 kind | is_text << 7, u8 encoding,
 *        u32 header offset, u32 header length, u32 body offset, u32 body length,
 *        u24 offset in the charset names, u8 length there
 *      extension runs, 8 bytes each: u32 offset in BODYSTRUCTURE, u32 length
 *      charset names, ENVELOPE, BODYSTRUCTURE, header
 *
 * Valid if and only if:
 *   1. version is 1, kind <= 2, encoding <= 2 and there is at least one part;
 *   2. all lengths add up to exactly the length of the encoding;
 *   3. part 0 has no parent, every other part's parent comes before it;
 *   4. every header and body lies inside the message;
 *   5. every charset lies inside the charset names;
 *   6. runs rise, do not overlap and lie inside BODYSTRUCTURE.
 */

enum {
	VERSION = 1,
	HEAD_LENGTH = 36,
	PART_LENGTH = 24,
	RUN_LENGTH = 8,
	FLAG_DATE = 1,
	FLAG_HEADER = 2,
	KIND_TEXT = 0x80,
	CHARSETS_LENGTH_MAX = (1 << 24) - 1,
};

static void encode_part(const struct mime *mime, unsigned index, struct buf *charsets, char *at)
{
	const struct mime_part *part = &mime->parts[index];
	struct buf scratch = { 0 };
	struct str charset = structure_charset(mime, index, &scratch);
	size_t offset = buf_length(charsets);

	if (offset + charset.length > CHARSETS_LENGTH_MAX)
		charset.length = 0;
	buf_append_str(charsets, charset);
	buf_deinit(&scratch);
	put_le16(at, part->parent);
	at[2] = (char)(part->kind | (part->is_text ? KIND_TEXT : 0));
	at[3] = (char)part->encoding;
	put_le32(at + 4, part->header_offset);
	put_le32(at + 8, part->header_length);
	put_le32(at + 12, part->body_offset);
	put_le32(at + 16, part->body_length);
	put_le32(at + 20, (uint32_t)offset | (uint32_t)charset.length << 24);
}

void summary_encode(struct str message, struct buf *out)
{
	struct mime mime = { 0 };
	struct buf charsets = { 0 }, envelope = { 0 }, structure = { 0 }, runs = { 0 };
	int64_t sent_s = 0;
	int zone = 0;

	mime_parse(&mime, message);
	bool has_date =
		mime_parse_date(mime_field(&mime, &mime.parts[0], MIME_DATE), &sent_s, &zone);
	structure_write_envelope(&mime, 0, &envelope);
	structure_write(&mime, &structure, &runs);
	size_t run_count = buf_length(&runs) / sizeof(struct structure_run);
	struct str header = str_first(mime.message, mime.parts[0].header_length);
	bool has_header = mime.message.length > SUMMARY_WHOLE_READ_MAX &&
		header.length <= SUMMARY_HEADER_MAX;
	if (!has_header)
		header.length = 0;

	size_t fixed = HEAD_LENGTH + mime.part_count * PART_LENGTH + run_count * RUN_LENGTH;
	char *head = buf_reserve(out, fixed);
	memset(head, 0, fixed);
	for (unsigned i = 0; i < mime.part_count; i++)
		encode_part(&mime, i, &charsets, head + HEAD_LENGTH + i * PART_LENGTH);
	char *run_at = head + HEAD_LENGTH + mime.part_count * PART_LENGTH;
	for (size_t i = 0; i < run_count; i++) {
		struct structure_run run;
		memcpy(&run, buf_str(&runs).bytes + i * sizeof(run), sizeof(run));
		put_le32(run_at + i * RUN_LENGTH, run.offset);
		put_le32(run_at + i * RUN_LENGTH + 4, run.length);
	}
	head[0] = VERSION;
	head[1] = (char)((has_date ? FLAG_DATE : 0) | (has_header ? FLAG_HEADER : 0));
	put_le16(head + 2, (uint16_t)mime.part_count);
	put_le32(head + 4, (uint32_t)mime.message.length);
	put_le64(head + 8, (uint64_t)sent_s);
	put_le16(head + 16, (uint16_t)(int16_t)zone);
	put_le16(head + 18, (uint16_t)run_count);
	put_le32(head + 20, (uint32_t)buf_length(&charsets));
	put_le32(head + 24, (uint32_t)buf_length(&envelope));
	put_le32(head + 28, (uint32_t)buf_length(&structure));
	put_le32(head + 32, (uint32_t)header.length);
	buf_commit(out, fixed);
	buf_append_str(out, buf_str(&charsets));
	buf_append_str(out, buf_str(&envelope));
	buf_append_str(out, buf_str(&structure));
	buf_append_str(out, header);

	buf_deinit(&charsets);
	buf_deinit(&envelope);
	buf_deinit(&structure);
	buf_deinit(&runs);
	mime_deinit(&mime);
}

static bool is_range(uint64_t offset, uint64_t length, uint64_t limit)
{
	return offset <= limit && length <= limit - offset;
}

static bool part_is_valid(const struct summary *summary, unsigned index)
{
	const char *at = summary->parts + (size_t)index * PART_LENGTH;
	uint16_t parent = get_le16(at);
	uint32_t charset = get_le32(at + 20);

	return (index == 0 ? parent == MIME_NONE : parent < index) &&
		(at[2] & 0x7f) <= MIME_MESSAGE && (unsigned char)at[3] <= MIME_BASE64 &&
		is_range(get_le32(at + 4), get_le32(at + 8), summary->message_length) &&
		is_range(get_le32(at + 12), get_le32(at + 16), summary->message_length) &&
		is_range(charset & 0xffffff, charset >> 24, summary->charsets_length);
}

bool summary_decode(struct str encoded, struct summary *summary_out)
{
	struct summary summary = { 0 };
	const char *head = encoded.bytes;

	if (encoded.length < HEAD_LENGTH || head[0] != VERSION)
		return false;
	summary.has_date = head[1] & FLAG_DATE;
	summary.has_header = head[1] & FLAG_HEADER;
	summary.part_count = get_le16(head + 2);
	summary.message_length = get_le32(head + 4);
	summary.sent_s = (int64_t)get_le64(head + 8);
	summary.sent_zone_minutes = (int16_t)get_le16(head + 16);
	summary.run_count = get_le16(head + 18);
	summary.charsets_length = get_le32(head + 20);
	summary.envelope.length = get_le32(head + 24);
	summary.structure.length = get_le32(head + 28);
	summary.header.length = get_le32(head + 32);
	uint64_t runs_at = HEAD_LENGTH + (uint64_t)summary.part_count * PART_LENGTH;
	uint64_t charsets_at = runs_at + (uint64_t)summary.run_count * RUN_LENGTH;
	uint64_t envelope_at = charsets_at + summary.charsets_length;
	uint64_t structure_at = envelope_at + summary.envelope.length;
	uint64_t header_at = structure_at + summary.structure.length;
	if (!summary.part_count || header_at + summary.header.length != encoded.length)
		return false;
	summary.parts = head + HEAD_LENGTH;
	summary.runs = head + runs_at;
	summary.charsets = head + charsets_at;
	summary.envelope.bytes = head + envelope_at;
	summary.structure.bytes = head + structure_at;
	summary.header.bytes = head + header_at;
	for (unsigned i = 0; i < summary.part_count; i++)
		if (!part_is_valid(&summary, i))
			return false;
	uint64_t end = 0;
	for (unsigned i = 0; i < summary.run_count; i++) {
		uint32_t offset = get_le32(summary.runs + (size_t)i * RUN_LENGTH);
		uint32_t length = get_le32(summary.runs + (size_t)i * RUN_LENGTH + 4);
		if (offset < end || !is_range(offset, length, summary.structure.length))
			return false;
		end = (uint64_t)offset + length;
	}
	*summary_out = summary;
	return true;
}

void summary_part(const struct summary *summary, unsigned index, struct summary_part *part_out)
{
	CHECK(index < summary->part_count);
	const char *at = summary->parts + (size_t)index * PART_LENGTH;
	uint32_t charset = get_le32(at + 20);

	part_out->parent = get_le16(at);
	part_out->kind = (enum mime_kind)(at[2] & 0x7f);
	part_out->is_text = at[2] & KIND_TEXT;
	part_out->encoding = (enum mime_encoding)at[3];
	part_out->header_offset = get_le32(at + 4);
	part_out->header_length = get_le32(at + 8);
	part_out->body_offset = get_le32(at + 12);
	part_out->body_length = get_le32(at + 16);
	part_out->charset = str_of(summary->charsets + (charset & 0xffffff), charset >> 24);
}

static int find_child(const struct summary *summary, unsigned parent, uint32_t number)
{
	for (unsigned i = parent + 1; i < summary->part_count; i++)
		if (get_le16(summary->parts + (size_t)i * PART_LENGTH) == parent && --number == 0)
			return (int)i;
	return -1;
}

static enum mime_kind kind_of(const struct summary *summary, unsigned index)
{
	return (enum mime_kind)(summary->parts[(size_t)index * PART_LENGTH + 2] & 0x7f);
}

int summary_inner_message(const struct summary *summary, unsigned index)
{
	return kind_of(summary, index) == MIME_MESSAGE ? find_child(summary, index, 1) : -1;
}

int summary_find_part(const struct summary *summary, const uint32_t *numbers, unsigned count)
{
	/* What the next number counts in: the children of a multipart, or, in a message whose body
	 * is none, that body as number 1. */
	int message = 0, part = -1;

	for (unsigned i = 0; i < count; i++) {
		if (numbers[i] == 0)
			return -1;
		if (part >= 0) {
			if (kind_of(summary, (unsigned)part) == MIME_MULTIPART) {
				part = find_child(summary, (unsigned)part, numbers[i]);
				if (part < 0)
					return -1;
				continue;
			}
			message = summary_inner_message(summary, (unsigned)part);
			if (message < 0)
				return -1;
		}
		if (kind_of(summary, (unsigned)message) == MIME_MULTIPART)
			part = find_child(summary, (unsigned)message, numbers[i]);
		else
			part = numbers[i] == 1 ? message : -1;
		if (part < 0)
			return -1;
	}
	return part;
}

void summary_write_body(const struct summary *summary, struct buf *out)
{
	size_t at = 0;
	for (unsigned i = 0; i < summary->run_count; i++) {
		uint32_t offset = get_le32(summary->runs + (size_t)i * RUN_LENGTH);
		buf_append(out, summary->structure.bytes + at, offset - at);
		at = offset + get_le32(summary->runs + (size_t)i * RUN_LENGTH + 4);
	}
	buf_append_str(out, str_from_index(summary->structure, at));
}
