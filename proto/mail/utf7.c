#include "proto/mail/utf7.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

int32_t utf8_next(struct str *rest)
{
	static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)rest->bytes;
	size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 :
		p[0] < 0xf5 ? 4 : 0;
	uint32_t value = length == 1 ? p[0] : length ? p[0] & (0x7fu >> length) : 0;

	if (!length || length > rest->length) {
		*rest = str_from_index(*rest, 1);
		return -1;
	}
	for (size_t i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80) {
			*rest = str_from_index(*rest, i);
			return -1;
		}
		value = value << 6 | (p[i] & 0x3f);
	}
	*rest = str_from_index(*rest, length);
	if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return -1;
	return (int32_t)value;
}

void utf8_append(struct buf *out, uint32_t c)
{
	if (c < 0x80) {
		buf_append_byte(out, (char)c);
		return;
	}
	if (c < 0x800) {
		buf_append_byte(out, (char)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			buf_append_byte(out, (char)(0xe0 | c >> 12));
		} else {
			buf_append_byte(out, (char)(0xf0 | c >> 18));
			buf_append_byte(out, (char)(0x80 | (c >> 12 & 0x3f)));
		}
		buf_append_byte(out, (char)(0x80 | (c >> 6 & 0x3f)));
	}
	buf_append_byte(out, (char)(0x80 | (c & 0x3f)));
}

bool utf8_is_valid(struct str s)
{
	while (s.length)
		if (utf8_next(&s) < 0)
			return false;
	return true;
}

struct base64_run {
	struct buf *out;
	uint32_t bits;
	unsigned bit_count;
};

static void run_add(struct base64_run *run, uint32_t unit)
{
	/* At most 5 bits wait, so 21 are held at most. */
	run->bits = run->bits << 16 | unit;
	run->bit_count += 16;
	while (run->bit_count >= 6) {
		run->bit_count -= 6;
		buf_append_byte(run->out, alphabet[run->bits >> run->bit_count & 0x3f]);
	}
	run->bits &= (1u << run->bit_count) - 1;
}

void utf7_encode(struct str utf8, struct buf *out)
{
	struct base64_run run = { .out = out };
	bool in_run = false;

	for (;;) {
		bool at_end = utf8.length == 0;
		int32_t c = at_end ? 0 : utf8_next(&utf8);
		bool is_direct = at_end || (c >= 0x20 && c < 0x7f);
		if (in_run && is_direct) {
			if (run.bit_count)
				buf_append_byte(
					out, alphabet[run.bits << (6 - run.bit_count) & 0x3f]);
			run.bits = run.bit_count = 0;
			buf_append_byte(out, '-');
			in_run = false;
		}
		if (at_end)
			return;
		if (is_direct) {
			buf_append_byte(out, (char)c);
			if (c == '&')
				buf_append_byte(out, '-');
			continue;
		}
		if (!in_run)
			buf_append_byte(out, '&');
		in_run = true;
		uint32_t code = c < 0 ? 0xfffd : (uint32_t)c;
		if (code >= 0x10000) {
			run_add(&run, 0xd800 + ((code - 0x10000) >> 10));
			run_add(&run, 0xdc00 + ((code - 0x10000) & 0x3ff));
		} else {
			run_add(&run, code);
		}
	}
}

/* The inside of "&...-". */
static bool decode_run(struct str run, struct buf *out)
{
	uint32_t bits = 0, high = 0;
	unsigned bit_count = 0;

	for (size_t i = 0; i < run.length; i++) {
		const char *digit = run.bytes[i] ? strchr(alphabet, run.bytes[i]) : NULL;
		if (!digit)
			return false;
		bits = bits << 6 | (uint32_t)(digit - alphabet);
		bit_count += 6;
		if (bit_count < 16)
			continue;
		bit_count -= 16;
		uint32_t unit = bits >> bit_count & 0xffff;
		bits &= (1u << bit_count) - 1;
		if (high) {
			if (unit < 0xdc00 || unit > 0xdfff)
				return false;
			utf8_append(out, 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
			high = 0;
		} else if (unit >= 0xd800 && unit <= 0xdbff) {
			high = unit;
		} else if ((unit >= 0xdc00 && unit <= 0xdfff) || unit < 0x80) {
			/* What can be written directly must be, so that a name has one encoding;
			 * and a control character is as wrong in here as outside. */
			return false;
		} else {
			utf8_append(out, unit);
		}
	}
	return !high && bit_count < 6 && bits == 0;
}

bool utf7_decode(struct str name, struct buf *out)
{
	bool after_run = false;
	if (!utf8_is_valid(name))
		return false;
	while (name.length) {
		if (name.bytes[0] != '&') {
			if ((unsigned char)name.bytes[0] < 0x20 || name.bytes[0] == 0x7f)
				return false;
			buf_append_byte(out, name.bytes[0]);
			name = str_from_index(name, 1);
			after_run = false;
			continue;
		}
		ptrdiff_t end = str_find_byte(name, '-');
		if (end < 0)
			return false;
		struct str run = str_of(name.bytes + 1, (size_t)end - 1);
		name = str_from_index(name, (size_t)end + 1);
		if (!run.length) {
			buf_append_byte(out, '&');
			after_run = false;
			continue;
		}
		if (after_run || !decode_run(run, out))
			return false;
		after_run = true;
	}
	return true;
}
