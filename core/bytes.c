#include "core/bytes.h"

#include "core/check.h"

#include <stdlib.h>

struct bytes *bytes_create(size_t length)
{
	CHECK(length < SIZE_MAX - sizeof(struct bytes));
	struct bytes *bytes = malloc(sizeof(*bytes) + length);
	CHECK(bytes != NULL);
	atomic_init(&bytes->references, 1);
	bytes->length = length;
	return bytes;
}

struct bytes *bytes_create_zeroed(size_t length)
{
	CHECK(length < SIZE_MAX - sizeof(struct bytes));
	struct bytes *bytes = mem_alloc(sizeof(*bytes) + length);
	atomic_init(&bytes->references, 1);
	bytes->length = length;
	return bytes;
}

struct bytes *bytes_create_copy(struct str s)
{
	struct bytes *bytes = bytes_create(s.length);
	if (s.length > 0)
		memcpy(bytes->data, s.bytes, s.length);
	return bytes;
}

struct bytes *bytes_ref(struct bytes *bytes)
{
	atomic_fetch_add_explicit(&bytes->references, 1, memory_order_relaxed);
	return bytes;
}

void bytes_unref(struct bytes **bytes)
{
	if (*bytes != NULL &&
		atomic_fetch_sub_explicit(&(*bytes)->references, 1, memory_order_acq_rel) == 1)
		free(*bytes);
	*bytes = NULL;
}
