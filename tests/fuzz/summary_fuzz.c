/* Any message gives a summary that decodes to ranges inside it; any bytes are decoded safely. */

#include "proto/mail/summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void walk(const struct summary *summary, struct str message)
{
	struct buf text = { 0 };
	const uint32_t numbers[] = { 1, 2, 1, 1 };

	for (unsigned i = 0; i < summary->part_count; i++) {
		struct summary_part part;
		summary_part(summary, i, &part);
		if (message.bytes) {
			struct str body = str_first(str_from_index(message, part.body_offset),
				part.body_length);
			buf_clear(&text);
			mime_decode(part.encoding, body, &text);
		}
		(void)summary_inner_message(summary, i);
	}
	for (unsigned count = 1; count <= 4; count++)
		(void)summary_find_part(summary, numbers, count);
	buf_clear(&text);
	summary_write_body(summary, &text);
	buf_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct str message = str_of(bytes, length);
	struct buf encoded = { 0 };
	struct summary summary;
	struct mime_header_field field;

	summary_encode(message, &encoded);
	CHECK(buf_length(&encoded) <= SUMMARY_LENGTH_MAX);
	CHECK(summary_decode(buf_str(&encoded), &summary));
	CHECK(summary.message_length == length);
	walk(&summary, message);
	/* One byte of a good encoding changed: refused, or still inside its bounds. */
	if (length) {
		encoded.memory[encoded.start + bytes[0] % buf_length(&encoded)] ^=
			(char)(length | 1);
		if (summary_decode(buf_str(&encoded), &summary))
			walk(&summary, (struct str){ 0 });
	}
	if (summary_decode(message, &summary))
		walk(&summary, (struct str){ 0 });
	for (struct str header = mime_header_of(message); mime_next_field(&header, &field);)
		CHECK(field.raw.length >= field.name.length + field.value.length);
	buf_deinit(&encoded);
	return 0;
}
