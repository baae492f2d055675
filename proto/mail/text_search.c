#include "proto/mail/charset.h"

#include "proto/mail/utf7.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>

/*
 * A needle is kept as folded code points with the failure table of Knuth, Morris and Pratt, so that
 * a text is read once whatever it holds; texts that are ASCII throughout take a Horspool search
 * over bytes.
 */
struct text_needle {
	uint32_t *points;
	uint32_t *failure; /* of the prefix of each length: its longest proper border */
	size_t length;
	bool is_ascii;
	uint8_t *folded; /* the same in bytes when is_ascii */
	size_t skip[256];
};

enum { FOLDED_MAX = 20 }; /* the longest compatibility decomposition has 18 UTF-16 units */

/* Case folding and compatibility decomposition of one code point. */
static unsigned fold(uint32_t c, uint32_t folded_out[FOLDED_MAX])
{
	if (c < 0x80) {
		folded_out[0] = (uint32_t)(uint8_t)ascii_lower((char)c);
		return 1;
	}
	UErrorCode status = U_ZERO_ERROR;
	const UNormalizer2 *normalizer = unorm2_getNFKDInstance(&status);
	UChar units[FOLDED_MAX];
	int32_t length = -1;
	if (U_SUCCESS(status))
		length =
			unorm2_getDecomposition(normalizer, (UChar32)c, units, FOLDED_MAX, &status);
	if (length < 0 || U_FAILURE(status)) {
		folded_out[0] = (uint32_t)u_foldCase((UChar32)c, U_FOLD_CASE_DEFAULT);
		return 1;
	}
	unsigned count = 0;
	for (int32_t i = 0; i < length;) {
		UChar32 point;
		U16_NEXT(units, i, length, point);
		folded_out[count++] = (uint32_t)u_foldCase(point, U_FOLD_CASE_DEFAULT);
	}
	return count;
}

static void compile_failure(struct text_needle *needle)
{
	uint32_t border = 0;
	needle->failure[0] = 0;
	for (size_t i = 1; i < needle->length; i++) {
		while (border && needle->points[border] != needle->points[i])
			border = needle->failure[border - 1];
		border += needle->points[border] == needle->points[i];
		needle->failure[i] = border;
	}
}

static void compile_skip(struct pool *pool, struct text_needle *needle)
{
	needle->folded = pool_alloc(pool, needle->length);
	for (size_t i = 0; i < needle->length; i++)
		needle->folded[i] = (uint8_t)needle->points[i];
	for (size_t c = 0; c < 256; c++)
		needle->skip[c] = needle->length;
	for (size_t i = 0; i + 1 < needle->length; i++) {
		uint8_t c = needle->folded[i];
		needle->skip[c] = needle->length - 1 - i;
		needle->skip[(uint8_t)ascii_upper((char)c)] = needle->length - 1 - i;
	}
}

struct text_needle *text_needle_create(struct pool *pool, struct str utf8)
{
	struct text_needle *needle = pool_alloc(pool, sizeof(*needle));
	uint32_t folded[FOLDED_MAX];

	for (struct str rest = utf8; rest.length;) {
		int32_t c = utf8_next(&rest);
		needle->length += fold(c < 0 ? 0xfffd : (uint32_t)c, folded);
	}
	needle->points = pool_alloc(pool, (needle->length + 1) * sizeof(uint32_t));
	needle->failure = pool_alloc(pool, (needle->length + 1) * sizeof(uint32_t));
	needle->is_ascii = true;
	size_t at = 0;
	for (struct str rest = utf8; rest.length;) {
		int32_t c = utf8_next(&rest);
		unsigned count = fold(c < 0 ? 0xfffd : (uint32_t)c, folded);
		for (unsigned i = 0; i < count; i++) {
			needle->points[at++] = folded[i];
			needle->is_ascii &= folded[i] < 0x80;
		}
	}
	if (needle->length)
		compile_failure(needle);
	if (needle->length && needle->is_ascii)
		compile_skip(pool, needle);
	return needle;
}

static bool find_ascii(const struct text_needle *needle, struct str text)
{
	const uint8_t *bytes = (const uint8_t *)text.bytes;
	size_t last = needle->length - 1;

	if (text.length < needle->length)
		return false;
	for (size_t at = 0; at <= text.length - needle->length;) {
		uint8_t end = bytes[at + last];
		size_t i = last;
		while ((uint8_t)ascii_lower((char)bytes[at + i]) == needle->folded[i]) {
			if (i-- == 0)
				return true;
		}
		at += needle->skip[end];
	}
	return false;
}

bool text_needle_is_in(const struct text_needle *needle, struct str utf8)
{
	unsigned char all = 0;
	if (!needle->length)
		return true;
	for (size_t i = 0; i < utf8.length; i++)
		all |= (unsigned char)utf8.bytes[i];
	if (all < 0x80)
		return needle->is_ascii && find_ascii(needle, utf8);

	size_t matched = 0;
	while (utf8.length) {
		uint32_t folded[FOLDED_MAX];
		int32_t c = utf8_next(&utf8);
		unsigned count = fold(c < 0 ? 0xfffd : (uint32_t)c, folded);
		for (unsigned i = 0; i < count; i++) {
			while (matched && needle->points[matched] != folded[i])
				matched = needle->failure[matched - 1];
			matched += needle->points[matched] == folded[i];
			if (matched == needle->length)
				return true;
		}
	}
	return false;
}
