#include "core/str.h"

#include "core/check.h"

bool str_equal(struct str a, struct str b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

bool str_equal_ignore_case(struct str a, struct str b)
{
	return a.length == b.length && str_starts_with_ignore_case(a, b);
}

int str_compare(struct str a, struct str b)
{
	size_t common = a.length < b.length ? a.length : b.length;
	int order = common > 0 ? memcmp(a.bytes, b.bytes, common) : 0;
	if (order != 0)
		return order;
	return (a.length > b.length) - (a.length < b.length);
}

/* The digits at the start, without the zeros before them. */
static struct str cut_number(struct str *rest)
{
	size_t length = 0;
	while (length < rest->length && ascii_is_digit(rest->bytes[length]))
		length++;
	struct str digits = str_first(*rest, length);
	*rest = str_from_index(*rest, length);
	while (digits.length > 1 && digits.bytes[0] == '0')
		digits = str_from_index(digits, 1);
	return digits;
}

int str_compare_natural(struct str a, struct str b)
{
	struct str rest_a = a, rest_b = b;
	while (rest_a.length > 0 && rest_b.length > 0) {
		struct str part_a = str_first(rest_a, 1), part_b = str_first(rest_b, 1);
		if (ascii_is_digit(part_a.bytes[0]) && ascii_is_digit(part_b.bytes[0])) {
			part_a = cut_number(&rest_a);
			part_b = cut_number(&rest_b);
			if (part_a.length != part_b.length)
				return part_a.length < part_b.length ? -1 : 1;
		} else {
			rest_a = str_from_index(rest_a, 1);
			rest_b = str_from_index(rest_b, 1);
		}
		int order = str_compare(part_a, part_b);
		if (order != 0)
			return order;
	}
	if (rest_a.length != rest_b.length)
		return rest_a.length < rest_b.length ? -1 : 1;
	return str_compare(a, b); /* "a01" and "a1" */
}

bool str_starts_with(struct str s, struct str prefix)
{
	return s.length >= prefix.length && str_equal(str_first(s, prefix.length), prefix);
}

bool str_starts_with_ignore_case(struct str s, struct str prefix)
{
	if (s.length < prefix.length)
		return false;
	for (size_t i = 0; i < prefix.length; i++)
		if (ascii_lower(s.bytes[i]) != ascii_lower(prefix.bytes[i]))
			return false;
	return true;
}

bool str_ends_with(struct str s, struct str suffix)
{
	return s.length >= suffix.length &&
		str_equal(str_from_index(s, s.length - suffix.length), suffix);
}

ptrdiff_t str_find_byte(struct str s, char byte)
{
	const char *at = s.length > 0 ? memchr(s.bytes, byte, s.length) : NULL;
	return at ? at - s.bytes : -1;
}

ptrdiff_t str_find_last_byte(struct str s, char byte)
{
	const char *at = s.length > 0 ? memrchr(s.bytes, byte, s.length) : NULL;
	return at ? at - s.bytes : -1;
}

ptrdiff_t str_find(struct str s, struct str needle)
{
	if (needle.length == 0)
		return 0;
	const char *at =
		s.length > 0 ? memmem(s.bytes, s.length, needle.bytes, needle.length) : NULL;
	return at ? at - s.bytes : -1;
}

struct str str_from_index(struct str s, size_t index)
{
	if (index > s.length)
		index = s.length;
	return str_of(s.bytes + index, s.length - index);
}

struct str str_first(struct str s, size_t length)
{
	return str_of(s.bytes, length < s.length ? length : s.length);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
	while (s.length > 0 && is_space(s.bytes[0]))
		s = str_from_index(s, 1);
	while (s.length > 0 && is_space(s.bytes[s.length - 1]))
		s.length--;
	return s;
}

bool str_next(struct str *rest, char separator, struct str *part_out)
{
	if (rest->bytes == NULL)
		return false;
	ptrdiff_t at = str_find_byte(*rest, separator);
	if (at < 0) {
		*part_out = *rest;
		*rest = (struct str){ NULL, 0 };
	} else {
		*part_out = str_first(*rest, (size_t)at);
		*rest = str_from_index(*rest, (size_t)at + 1);
	}
	return true;
}

bool str_to_u64(struct str s, uint64_t maximum, uint64_t *value_out)
{
	uint64_t value = 0;
	if (s.length == 0)
		return false;
	for (size_t i = 0; i < s.length; i++) {
		if (!ascii_is_digit(s.bytes[i]))
			return false;
		uint64_t digit = (uint64_t)(s.bytes[i] - '0');
		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (value > maximum)
		return false;
	*value_out = value;
	return true;
}

char *str_to_heap(struct str s)
{
	char *copy = mem_alloc(s.length + 1);
	if (s.length > 0)
		memcpy(copy, s.bytes, s.length);
	return copy;
}

uint64_t str_hash(struct str s)
{
	/* Multiply-xor over eight bytes at a time; the final mix spreads into the low bits. */
	uint64_t hash = 0x9e3779b97f4a7c15u ^ s.length;
	size_t i = 0;
	for (; i + 8 <= s.length; i += 8) {
		uint64_t word;
		memcpy(&word, s.bytes + i, 8);
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	for (; i < s.length; i++)
		hash = (hash ^ (uint8_t)s.bytes[i]) * 0x100000001b3u;
	hash ^= hash >> 33;
	hash *= 0xc4ceb9fe1a85ec53u;
	return hash ^ hash >> 29;
}
