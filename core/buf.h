#ifndef PANDO_CORE_BUF_H
#define PANDO_CORE_BUF_H

/*
 * A growing byte buffer that is written at its end and consumed from its start. All zero is a valid
 * empty buffer. Not for sharing between threads.
 */

#include "core/check.h"
#include "core/str.h"

#include <stdarg.h>
#include <stdint.h>

struct buf {
	char *memory;
	size_t start;    /* first byte not yet consumed */
	size_t end;      /* one past the last byte written */
	size_t capacity; /* of memory */
};

static inline size_t buf_length(const struct buf *buf)
{
	return buf->end - buf->start;
}

/* Valid until the next call that writes to the buffer. */
static inline struct str buf_str(const struct buf *buf)
{
	return str_of(buf->memory ? buf->memory + buf->start : "", buf->end - buf->start);
}

/* Frees the memory; the buffer is empty and usable afterwards. */
void buf_deinit(struct buf *buf);
/* Empties it and keeps the memory. */
void buf_clear(struct buf *buf);
/* At least `length` writable bytes at the returned address; follow with buf_commit. */
char *buf_reserve(struct buf *buf, size_t length);
void buf_commit(struct buf *buf, size_t length);
/* Drops bytes from the start. */
void buf_consume(struct buf *buf, size_t length);
/* Drops bytes from the end so that `length` are left. */
void buf_truncate(struct buf *buf, size_t length);

void buf_append(struct buf *buf, const void *bytes, size_t length);
void buf_append_str(struct buf *buf, struct str s);
void buf_append_byte(struct buf *buf, char byte);
void buf_printf(struct buf *buf, const char *format, ...) printf_like(2, 3);
void buf_vprintf(struct buf *buf, const char *format, va_list arguments) printf_like(2, 0);
#define buf_append_literal(buf, literal) buf_append((buf), (literal), sizeof(literal) - 1)

/* The contents with a terminating NUL behind them (not counted in the length). */
const char *buf_terminated(struct buf *buf);

#endif
