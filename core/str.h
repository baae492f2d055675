#ifndef PANDO_CORE_STR_H
#define PANDO_CORE_STR_H

/*
 * A borrowed run of bytes: no terminator, no ownership. Every parser takes and returns these, so
 * that nothing is copied to be looked at. ASCII only where a function speaks of case.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *bytes;
	size_t length;
};

#define STR(literal) ((struct str){ (literal), sizeof(literal) - 1 })
#define STR_FORMAT "%.*s"
#define STR_ARG(s) (int)(s).length, (s).bytes

static inline struct str str_from(const char *terminated)
{
	return (struct str){ terminated, terminated ? strlen(terminated) : 0 };
}

static inline struct str str_of(const void *bytes, size_t length)
{
	return (struct str){ bytes, length };
}

bool str_equal(struct str a, struct str b);
bool str_equal_ignore_case(struct str a, struct str b);
int str_compare(struct str a, struct str b);
/* The same, but digits count as numbers: "a2" is before "a10". Only equal texts compare equal. */
int str_compare_natural(struct str a, struct str b);
bool str_starts_with(struct str s, struct str prefix);
bool str_starts_with_ignore_case(struct str s, struct str prefix);
bool str_ends_with(struct str s, struct str suffix);

/* The index of `byte` (from the left, from the right), or -1. */
ptrdiff_t str_find_byte(struct str s, char byte);
ptrdiff_t str_find_last_byte(struct str s, char byte);
/* The index where `needle` begins, or -1. */
ptrdiff_t str_find(struct str s, struct str needle);

/* Parts by index; out-of-range indices are clamped. */
struct str str_from_index(struct str s, size_t index);
struct str str_first(struct str s, size_t length);
/* Without the spaces, tabs, CRs and LFs at both ends. */
struct str str_trim(struct str s);
/* Cuts the part before `separator` off `*rest`; false when nothing is left. "a,,b" gives a, empty,
 * b. */
bool str_next(struct str *rest, char separator, struct str *part_out);

/* A whole unsigned decimal up to `maximum`; false for anything else, the empty string included. */
bool str_to_u64(struct str s, uint64_t maximum, uint64_t *value_out);

/* A heap copy with a terminator; release with free(). */
char *str_to_heap(struct str s);

uint64_t str_hash(struct str s);

static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static inline char ascii_upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

static inline bool ascii_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

#endif
