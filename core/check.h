#ifndef PANDO_CORE_CHECK_H
#define PANDO_CORE_CHECK_H

/*
 * Checks that stay on in every build: for errors that are ours, never for a peer's misbehaviour
 * (that gets a protocol reply) or the world's failure (that gets a return code).
 */

#include <stddef.h>

#define must_check __attribute__((warn_unused_result))
#define printf_like(format_index, first_index)                                                     \
	__attribute__((format(printf, format_index, first_index)))

#define array_length(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(pointer, type, member)                                                        \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Aborts with file, line and the condition's text when `condition` is false. */
#define CHECK(condition)                                                                           \
	((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

_Noreturn void check_failed(const char *file, int line, const char *condition);

/* Allocation that aborts when memory runs out: no caller can do anything sensible about it, and a
 * crash is recovered by the log. The memory of mem_alloc is zeroed. Release with free(). */
void *mem_alloc(size_t length);
/* At a multiple of `alignment`, a power of two; not zeroed, not to be resized. */
void *mem_alloc_aligned(size_t alignment, size_t length);
void *mem_resize(void *memory, size_t length);
void *mem_copy(const void *memory, size_t length);

#endif
