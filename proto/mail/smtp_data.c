#include "proto/mail/smtp_data.h"

enum { FIRST_CAPACITY = 8 << 10 }; /* holds most messages that are only text */

void smtp_data_init(struct smtp_data *data, size_t expected, size_t limit)
{
	memset(data, 0, sizeof(*data));
	data->limit = limit;
	data->at_line_start = true;
	/* A declared size is only believed as far as a message of usual size goes. */
	size_t capacity = expected + 1024;
	if (capacity < FIRST_CAPACITY)
		capacity = FIRST_CAPACITY;
	if (capacity > 1 << 20)
		capacity = 1 << 20;
	data->capacity = capacity;
	data->bytes = bytes_create(capacity);
}

void smtp_data_deinit(struct smtp_data *data)
{
	bytes_unref(&data->bytes);
}

void smtp_data_give_up(struct smtp_data *data)
{
	data->too_large = true;
	bytes_unref(&data->bytes);
	data->length = data->capacity = 0;
}

static void append(struct smtp_data *data, const char *from, size_t length)
{
	data->has_nul = data->has_nul || memchr(from, 0, length) != NULL;
	if (!data->too_large && length > data->limit - data->length)
		smtp_data_give_up(data); /* what cannot be taken is not worth its memory */
	if (data->too_large || data->bare || data->has_nul) {
		data->dropped += length;
		return;
	}
	if (length > data->capacity - data->length) {
		size_t capacity = data->capacity * 2;
		while (capacity - data->length < length)
			capacity *= 2;
		struct bytes *grown = bytes_create(capacity);
		memcpy(grown->data, data->bytes->data, data->length);
		bytes_unref(&data->bytes);
		data->bytes = grown;
		data->capacity = capacity;
	}
	memcpy(data->bytes->data + data->length, from, length);
	data->length += length;
}

void smtp_data_prefix(struct smtp_data *data, struct str text)
{
	append(data, text.bytes, text.length);
	data->prefix_length += text.length;
}

/*
 * Looks for CRs, the rarer question being whether an LF stands before one: both by memchr, so that
 * a message is scanned twice at memory speed and copied in runs that only a leading dot interrupts.
 */
enum smtp_data_scan smtp_data_read(struct smtp_data *data, struct str input, size_t *used_out)
{
	const char *p = input.bytes, *end = input.bytes + input.length, *run = p;

	while (p < end) {
		if (data->at_line_start && *p == '.') {
			if (end - p < 3 && (end - p == 1 || p[1] == '\r'))
				break; /* may be the end */
			append(data, run, (size_t)(p - run));
			if (p[1] == '\r' && p[2] == '\n') {
				*used_out = (size_t)(p + 3 - input.bytes);
				return SMTP_DATA_DONE;
			}
			run = ++p;
		}
		data->at_line_start = false;
		const char *cr = memchr(p, '\r', (size_t)(end - p));
		const char *stop = cr ? cr : end;
		if (memchr(p, '\n', (size_t)(stop - p)))
			data->bare = true;
		p = stop;
		if (!cr || cr + 1 == end)
			break;
		if (cr[1] == '\n') {
			data->at_line_start = true;
			p = cr + 2;
		} else {
			data->bare = true;
			p = cr + 1;
		}
	}
	append(data, run, (size_t)(p - run));
	*used_out = (size_t)(p - input.bytes);
	return SMTP_DATA_MORE;
}

void smtp_data_chunk(struct smtp_data *data, struct str piece)
{
	const char *p = piece.bytes, *end = p + piece.length;

	if (p < end && data->after_cr) {
		data->after_cr = false;
		if (*p == '\n')
			p++;
		else
			data->bare = true;
	}
	while (p < end) {
		const char *cr = memchr(p, '\r', (size_t)(end - p));
		if (memchr(p, '\n', (size_t)((cr ? cr : end) - p)))
			data->bare = true;
		if (!cr)
			break;
		if (cr + 1 == end)
			data->after_cr = true;
		else if (cr[1] != '\n')
			data->bare = true;
		p = cr + 1 == end ? end : cr[1] == '\n' ? cr + 2 : cr + 1;
	}
	append(data, piece.bytes, piece.length);
}

void smtp_data_chunks_end(struct smtp_data *data)
{
	if (data->after_cr)
		data->bare = true;
	if (data->bytes && data->length > 0 && data->bytes->data[data->length - 1] != '\n')
		append(data, "\r\n", 2);
}

struct bytes *smtp_data_take(struct smtp_data *data)
{
	if (data->too_large || data->bare || data->has_nul)
		return NULL;
	struct bytes *taken = data->bytes;
	taken->length = data->length;
	data->bytes = NULL;
	return taken;
}

const char *smtp_data_refusal(const struct smtp_data *data)
{
	return data->too_large ? "552 5.3.4 Message too big" :
		data->bare     ? "550 5.5.2 Bare CR or LF in message" :
				 "550 5.6.0 Message contains a NUL";
}
