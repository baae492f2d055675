#include "proto/mail/legible.h"

#include "proto/mail/utf7.h"

#include <unicode/uchar.h>

static bool is_control(int32_t c)
{
	/* Nearly all text is this, and needs no table. */
	if (c >= 0x20 && c < 0x7f)
		return false;
	int8_t type = u_charType(c);
	return type == U_CONTROL_CHAR || type == U_LINE_SEPARATOR ||
		type == U_PARAGRAPH_SEPARATOR || u_hasBinaryProperty(c, UCHAR_BIDI_CONTROL);
}

static bool is_unseen(int32_t c)
{
	if (c > 0x20 && c < 0x7f)
		return false;
	int8_t type = u_charType(c);
	return is_control(c) || type == U_FORMAT_CHAR || type == U_UNASSIGNED ||
		type == U_PRIVATE_USE_CHAR || u_isUWhiteSpace(c) ||
		u_hasBinaryProperty(c, UCHAR_DEFAULT_IGNORABLE_CODE_POINT);
}

static int32_t find(struct str utf8, bool (*is_meant)(int32_t c))
{
	while (utf8.length > 0) {
		int32_t c = utf8_next(&utf8);
		if (c < 0)
			return LEGIBLE_MALFORMED;
		if (is_meant(c))
			return c;
	}
	return LEGIBLE;
}

int32_t legible_find_control(struct str utf8)
{
	return find(utf8, is_control);
}

int32_t legible_find_unseen(struct str utf8)
{
	return find(utf8, is_unseen);
}

void legible_append(struct buf *out, struct str text, bool keeps_lines)
{
	while (text.length > 0) {
		struct str rest = text;
		int32_t c = utf8_next(&rest);
		struct str bytes = str_first(text, text.length - rest.length);
		text = rest;
		if (c >= 0 && (!is_control(c) || (c == '\n' && keeps_lines)))
			buf_append_str(out, bytes);
		else if (c >= 0x80)
			buf_printf(out, "\\u%04x", (unsigned)c);
		else
			for (size_t i = 0; i < bytes.length; i++)
				buf_printf(out, "\\x%02x", (unsigned)(uint8_t)bytes.bytes[i]);
	}
}
