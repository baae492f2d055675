#ifndef PANDO_CORE_POOL_H
#define PANDO_CORE_POOL_H

/*
 * Memory owned by lifetime: one pool per session, transaction or parse; everything in it goes at
 * once.
 */

#include "core/check.h"
#include "core/str.h"

struct pool;

struct pool *pool_create(void);
/* With a first block of so many bytes: for what there are many of, each with little in it. */
struct pool *pool_create_sized(size_t first_bytes);
/* Sets *pool to NULL; NULL is accepted. */
void pool_destroy(struct pool **pool);
/* Forgets all allocations and keeps the first block. */
void pool_reset(struct pool *pool);

/* Zeroed, aligned for any type, valid until reset or destroy. */
void *pool_alloc(struct pool *pool, size_t length);
/* Copies with a terminator behind them. */
struct str pool_copy(struct pool *pool, struct str s);
char *pool_copy_terminated(struct pool *pool, struct str s);
struct str pool_printf(struct pool *pool, const char *format, ...) printf_like(2, 3);

#endif
