#include "core/encode.h"

#include <time.h>

void encode_hex(struct buf *out, const void *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *from = bytes;
	char *to = buf_reserve(out, 2 * length);
	for (size_t i = 0; i < length; i++) {
		to[2 * i] = digits[from[i] >> 4];
		to[2 * i + 1] = digits[from[i] & 15];
	}
	buf_commit(out, 2 * length);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool decode_hex(struct str text, void *bytes_out, size_t length)
{
	uint8_t *to = bytes_out;
	if (text.length != 2 * length)
		return false;
	for (size_t i = 0; i < length; i++) {
		int high = hex_value(text.bytes[2 * i]), low = hex_value(text.bytes[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		to[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void encode_base64(struct buf *out, struct str bytes)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *from = (const uint8_t *)bytes.bytes;
	for (size_t i = 0; i < bytes.length; i += 3) {
		size_t left = bytes.length - i;
		uint32_t group = (uint32_t)from[i] << 16 |
			(left > 1 ? (uint32_t)from[i + 1] << 8 : 0) | (left > 2 ? from[i + 2] : 0);
		char quad[4] = { alphabet[group >> 18], alphabet[group >> 12 & 63],
			left > 1 ? alphabet[group >> 6 & 63] : '=',
			left > 2 ? alphabet[group & 63] : '=' };
		buf_append(out, quad, sizeof(quad));
	}
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool decode_base64(struct buf *out, struct str text)
{
	size_t before = buf_length(out);
	if (text.length % 4 != 0)
		return false;
	for (size_t i = 0; i < text.length; i += 4) {
		uint32_t group = 0;
		size_t padding = 0;
		for (size_t k = 0; k < 4; k++) {
			char c = text.bytes[i + k];
			int value = base64_value(c);
			if (c == '=' && i + 4 == text.length && k >= 2) {
				padding++;
				value = 0;
			} else if (value < 0 || padding > 0) {
				buf_truncate(out, before);
				return false;
			}
			group = group << 6 | (uint32_t)value;
		}
		char triple[3] = { (char)(group >> 16), (char)(group >> 8), (char)group };
		buf_append(out, triple, 3 - padding);
	}
	return true;
}

/* Length of the valid UTF-8 sequence at the start (RFC 3629), 0 when there is none. */
static size_t utf8_sequence(struct str s)
{
	const uint8_t *p = (const uint8_t *)s.bytes;
	size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3
		: p[0] < 0xf5                                                            ? 4
											 : 0;
	if (length > s.length)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return length;
}

void encode_json(struct buf *out, struct str text)
{
	buf_append_byte(out, '"');
	while (text.length > 0) {
		size_t length = utf8_sequence(text);
		char c = text.bytes[0];
		if (length == 0) {
			buf_append_literal(out, "\xef\xbf\xbd");
			length = 1;
		} else if (length == 2 && (uint8_t)c == 0xc2 && (uint8_t)text.bytes[1] < 0xa0) {
			/* C1 controls begin escape sequences as ESC does. */
			buf_printf(out, "\\u%04x", (uint8_t)text.bytes[1]);
		} else if (length > 1) {
			buf_append(out, text.bytes, length);
		} else if (c == '"' || c == '\\') {
			buf_printf(out, "\\%c", c);
		} else if ((uint8_t)c < 0x20 || c == 0x7f) {
			buf_printf(out, "\\u%04x", c);
		} else {
			buf_append_byte(out, c);
		}
		text = str_from_index(text, length);
	}
	buf_append_byte(out, '"');
}

void encode_time(struct buf *out, int64_t wall_us)
{
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm broken_down;
	char text[40];
	gmtime_r(&seconds, &broken_down);
	buf_append(out, text, strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &broken_down));
}

void append_text16(struct buf *out, struct str text)
{
	append_le16(out, (uint16_t)text.length);
	buf_append_str(out, text);
}

bool take_text16(struct str *rest, struct str *text_out)
{
	if (rest->length < 2 || rest->length - 2 < get_le16(rest->bytes))
		return false;
	*text_out = str_of(rest->bytes + 2, get_le16(rest->bytes));
	*rest = str_from_index(*rest, 2 + text_out->length);
	return true;
}
