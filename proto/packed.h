#ifndef PANDO_PROTO_PACKED_H
#define PANDO_PROTO_PACKED_H

/* What the files that convert between our structs and protobuf-c's share; the library's types go no
 * further. */

#include "core/pool.h"

#include <protobuf-c/protobuf-c.h>

static inline ProtobufCBinaryData packed_from_str(struct str s)
{
	return (ProtobufCBinaryData){ s.length, (uint8_t *)(uintptr_t)s.bytes };
}

static inline struct str packed_to_str(ProtobufCBinaryData data)
{
	return str_of(data.data, data.len);
}

static inline void *packed_on_alloc(void *pool, size_t length)
{
	return pool_alloc(pool, length);
}

static inline void packed_on_free(void *pool, void *memory)
{
	(void)pool;
	(void)memory;
}

/* All of an unpacked message lives in `pool`. */
static inline ProtobufCAllocator packed_allocator(struct pool *pool)
{
	return (ProtobufCAllocator){ packed_on_alloc, packed_on_free, pool };
}

#endif
