#include "core/buf.h"

#include <stdio.h>
#include <stdlib.h>

void buf_deinit(struct buf *buf)
{
	free(buf->memory);
	*buf = (struct buf){ 0 };
}

void buf_clear(struct buf *buf)
{
	buf->start = buf->end = 0;
}

char *buf_reserve(struct buf *buf, size_t length)
{
	if (buf->capacity - buf->end >= length)
		return buf->memory + buf->end;
	if (buf->start > 0) {
		/* Slide down first: a consumer that keeps up never makes the buffer grow. */
		size_t used = buf_length(buf);
		if (used > 0)
			memmove(buf->memory, buf->memory + buf->start, used);
		buf->start = 0;
		buf->end = used;
	}
	if (buf->capacity - buf->end < length) {
		size_t capacity = buf->capacity ? buf->capacity : 256;
		while (capacity - buf->end < length) {
			CHECK(capacity < SIZE_MAX / 2);
			capacity *= 2;
		}
		buf->memory = mem_resize(buf->memory, capacity);
		buf->capacity = capacity;
	}
	return buf->memory + buf->end;
}

void buf_commit(struct buf *buf, size_t length)
{
	CHECK(length <= buf->capacity - buf->end);
	buf->end += length;
}

void buf_consume(struct buf *buf, size_t length)
{
	CHECK(length <= buf_length(buf));
	buf->start += length;
	if (buf->start == buf->end)
		buf->start = buf->end = 0;
}

void buf_truncate(struct buf *buf, size_t length)
{
	CHECK(length <= buf_length(buf));
	buf->end = buf->start + length;
}

void buf_append(struct buf *buf, const void *bytes, size_t length)
{
	if (length == 0)
		return;
	memcpy(buf_reserve(buf, length), bytes, length);
	buf->end += length;
}

void buf_append_str(struct buf *buf, struct str s)
{
	buf_append(buf, s.bytes, s.length);
}

void buf_append_byte(struct buf *buf, char byte)
{
	*buf_reserve(buf, 1) = byte;
	buf->end++;
}

void buf_vprintf(struct buf *buf, const char *format, va_list arguments)
{
	va_list again;
	va_copy(again, arguments);
	char *at = buf_reserve(buf, 128);
	size_t room = buf->capacity - buf->end;
	int length = vsnprintf(at, room, format, arguments);
	CHECK(length >= 0);
	if ((size_t)length >= room) {
		at = buf_reserve(buf, (size_t)length + 1);
		vsnprintf(at, (size_t)length + 1, format, again);
	}
	va_end(again);
	buf->end += (size_t)length;
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	buf_vprintf(buf, format, arguments);
	va_end(arguments);
}

const char *buf_terminated(struct buf *buf)
{
	*buf_reserve(buf, 1) = '\0';
	return buf->memory + buf->start;
}
