#include "core/pool.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* Holds an ordinary session or transaction without a second block. */
	POOL_BLOCK_BYTES = 2048,
};

struct block {
	struct block *next;
	size_t capacity;
	alignas(max_align_t) char memory[];
};

struct pool {
	struct block *first;
	struct block *current;
	size_t used_in_current;
};

static struct block *block_create(size_t capacity)
{
	struct block *block = malloc(sizeof(*block) + capacity);
	CHECK(block != NULL);
	block->next = NULL;
	block->capacity = capacity;
	return block;
}

struct pool *pool_create_sized(size_t first_bytes)
{
	struct pool *pool = mem_alloc(sizeof(*pool));
	pool->first = pool->current = block_create(first_bytes);
	return pool;
}

struct pool *pool_create(void)
{
	return pool_create_sized(POOL_BLOCK_BYTES);
}

static void free_blocks(struct block *block)
{
	while (block != NULL) {
		struct block *next = block->next;
		free(block);
		block = next;
	}
}

void pool_destroy(struct pool **pool)
{
	if (*pool == NULL)
		return;
	free_blocks((*pool)->first);
	free(*pool);
	*pool = NULL;
}

void pool_reset(struct pool *pool)
{
	free_blocks(pool->first->next);
	pool->first->next = NULL;
	pool->current = pool->first;
	pool->used_in_current = 0;
}

void *pool_alloc(struct pool *pool, size_t length)
{
	CHECK(length < SIZE_MAX / 2);
	size_t rounded = (length + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (pool->current->capacity - pool->used_in_current < rounded) {
		struct block *block =
			block_create(rounded > POOL_BLOCK_BYTES ? rounded : POOL_BLOCK_BYTES);
		pool->current->next = block;
		pool->current = block;
		pool->used_in_current = 0;
	}
	char *memory = pool->current->memory + pool->used_in_current;
	pool->used_in_current += rounded;
	memset(memory, 0, rounded);
	return memory;
}

char *pool_copy_terminated(struct pool *pool, struct str s)
{
	char *copy = pool_alloc(pool, s.length + 1);
	if (s.length > 0)
		memcpy(copy, s.bytes, s.length);
	return copy;
}

struct str pool_copy(struct pool *pool, struct str s)
{
	return str_of(pool_copy_terminated(pool, s), s.length);
}

struct str pool_printf(struct pool *pool, const char *format, ...)
{
	va_list arguments, again;
	va_start(arguments, format);
	va_copy(again, arguments);
	int length = vsnprintf(NULL, 0, format, arguments);
	CHECK(length >= 0);
	char *text = pool_alloc(pool, (size_t)length + 1);
	vsnprintf(text, (size_t)length + 1, format, again);
	va_end(again);
	va_end(arguments);
	return str_of(text, (size_t)length);
}
