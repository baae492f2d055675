#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check_failed(const char *file, int line, const char *condition)
{
	fprintf(stderr, "pando: internal check failed at %s:%d: %s\n", file, line, condition);
	abort();
}

void *mem_alloc(size_t length)
{
	void *memory = calloc(1, length ? length : 1);
	CHECK(memory != NULL);
	return memory;
}

void *mem_alloc_aligned(size_t alignment, size_t length)
{
	size_t whole = (length + alignment - 1) / alignment * alignment;
	void *memory = aligned_alloc(alignment, whole ? whole : alignment);
	CHECK(memory != NULL);
	return memory;
}

void *mem_resize(void *memory, size_t length)
{
	void *resized = realloc(memory, length ? length : 1);
	CHECK(resized != NULL);
	return resized;
}

void *mem_copy(const void *memory, size_t length)
{
	void *copy = malloc(length ? length : 1);
	CHECK(copy != NULL);
	if (length > 0)
		memcpy(copy, memory, length);
	return copy;
}
