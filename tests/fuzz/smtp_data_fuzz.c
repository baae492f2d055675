/*
 * Messages on their way in: what the fast reader makes of any bytes, split anywhere, is what the
 * grammar says byte by byte.
 */

#include "core/buf.h"
#include "proto/mail/smtp_data.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct verdict {
	bool done, bare, nul;
	size_t used;
	struct buf text;
};

/* The grammar, one byte at a time and as slow as it likes. */
static struct verdict read_slowly(struct str input)
{
	struct verdict verdict = { 0 };
	bool line_start = true;
	size_t i = 0;

	while (i < input.length) {
		if (line_start && input.bytes[i] == '.') {
			struct str rest = str_from_index(input, i);
			if (str_starts_with(rest, STR(".\r\n"))) {
				verdict.done = true;
				verdict.used = i + 3;
				return verdict;
			}
			if (str_starts_with(STR(".\r\n"), rest))
				return verdict;
			i++;
			if (i == input.length)
				return verdict;
		}
		line_start = false;
		if (input.bytes[i] == '\r' && i + 1 == input.length)
			return verdict;
		if (input.bytes[i] == '\r' && input.bytes[i + 1] == '\n') {
			buf_append_literal(&verdict.text, "\r\n");
			line_start = true;
			i += 2;
			continue;
		}
		verdict.nul |= input.bytes[i] == 0;
		verdict.bare |= input.bytes[i] == '\r' || input.bytes[i] == '\n';
		buf_append_byte(&verdict.text, input.bytes[i++]);
	}
	return verdict;
}

static void check_data(struct str input, size_t step)
{
	struct verdict slow = read_slowly(input);
	struct smtp_data data;
	struct buf pending = { 0 };
	size_t shown = 0, consumed = 0, used;
	enum smtp_data_scan scan = SMTP_DATA_MORE;

	smtp_data_init(&data, 0, 1 << 20);
	while (scan == SMTP_DATA_MORE && shown < input.length) {
		struct str piece = str_first(str_from_index(input, shown), step);
		buf_append_str(&pending, piece);
		shown += piece.length;
		scan = smtp_data_read(&data, buf_str(&pending), &used);
		buf_consume(&pending, used);
		consumed += used;
	}
	if ((scan == SMTP_DATA_DONE) != slow.done)
		abort();
	if (slow.done) {
		if (consumed != slow.used || data.bare != slow.bare)
			abort();
		struct bytes *bytes = smtp_data_take(&data);
		if ((bytes == NULL) != (slow.bare || slow.nul))
			abort();
		if (bytes && !str_equal(bytes_str(bytes), buf_str(&slow.text)))
			abort();
		bytes_unref(&bytes);
	}
	smtp_data_deinit(&data);
	buf_deinit(&pending);
	buf_deinit(&slow.text);
}

static void check_chunks(struct str input, size_t step)
{
	bool bare = false;
	for (size_t i = 0; i < input.length; i++) {
		bool after_cr = i > 0 && input.bytes[i - 1] == '\r';
		bare |= (input.bytes[i] == '\n') != after_cr;
	}
	bare |= input.length > 0 && input.bytes[input.length - 1] == '\r';

	struct smtp_data data;
	smtp_data_init(&data, 0, 1 << 20);
	for (size_t shown = 0; shown < input.length; shown += step)
		smtp_data_chunk(&data, str_first(str_from_index(input, shown), step));
	smtp_data_chunks_end(&data);
	if (data.bare != bare)
		abort();
	smtp_data_deinit(&data);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	if (length < 1)
		return 0;
	struct str input = str_of(bytes + 1, length - 1);
	size_t step = bytes[0] % 8 + 1u;
	check_data(input, step);
	check_data(input, input.length + 1);
	check_chunks(input, step);
	return 0;
}
