#ifndef PANDO_CORE_ENCODE_H
#define PANDO_CORE_ENCODE_H

/*
 * Hexadecimal, base64 (RFC 4648 section 4), JSON strings (RFC 8259), moments, and integers:
 * little-endian as everywhere on disk and between daemons, big-endian where bytes have to sort.
 */

#include "core/buf.h"

void encode_hex(struct buf *out, const void *bytes, size_t length);
/* Exactly `length` bytes from 2*length digits. */
bool decode_hex(struct str text, void *bytes_out, size_t length);

void encode_base64(struct buf *out, struct str bytes);
/* Strict: padding required, no white space. Appends to `out`; false (out
 * unchanged) when malformed. */
bool decode_base64(struct buf *out, struct str text);

/* Appends a JSON string with its quotes; invalid UTF-8 becomes U+FFFD, a control character its
 * number. */
void encode_json(struct buf *out, struct str text);

/* Appends the moment as in 2026-01-31T23:59:59Z (RFC 3339): how JSON for people names it. */
void encode_time(struct buf *out, int64_t wall_us);

static inline void put_le16(void *at, uint16_t value)
{
	uint8_t *p = at;
	p[0] = (uint8_t)value, p[1] = (uint8_t)(value >> 8);
}

static inline void put_le32(void *at, uint32_t value)
{
	uint8_t *p = at;
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static inline void put_le64(void *at, uint64_t value)
{
	uint8_t *p = at;
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static inline uint16_t get_le16(const void *at)
{
	const uint8_t *p = at;
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_le32(const void *at)
{
	const uint8_t *p = at;
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t get_le64(const void *at)
{
	return get_le32(at) | (uint64_t)get_le32((const uint8_t *)at + 4) << 32;
}

static inline void append_le16(struct buf *out, uint16_t value)
{
	put_le16(buf_reserve(out, 2), value);
	buf_commit(out, 2);
}

static inline void append_le32(struct buf *out, uint32_t value)
{
	put_le32(buf_reserve(out, 4), value);
	buf_commit(out, 4);
}

static inline void append_le64(struct buf *out, uint64_t value)
{
	put_le64(buf_reserve(out, 8), value);
	buf_commit(out, 8);
}

/* u16 length, bytes: at most 65,535. */
void append_text16(struct buf *out, struct str text);
/* One off the front of `rest`; it lies there. False: it is not whole. */
bool take_text16(struct str *rest, struct str *text_out);

/* The last `length` bytes of `value`, at most 8. */
static inline void put_be(void *at, uint64_t value, size_t length)
{
	uint8_t *p = at;
	for (size_t i = length; i-- > 0; value >>= 8)
		p[i] = (uint8_t)value;
}

static inline uint64_t get_be(const void *at, size_t length)
{
	const uint8_t *p = at;
	uint64_t value = 0;
	for (size_t i = 0; i < length; i++)
		value = value << 8 | p[i];
	return value;
}

#endif
