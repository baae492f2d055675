#include "proto/mail/charset.h"

#include "proto/mail/mime.h"
#include "proto/mail/utf7.h"

#include <stdio.h>
#include <unicode/ucnv.h>

/* The longest names in IANA's registry have 45 characters. */
enum { CHARSET_NAME_MAX = 60 };

/* What senders write, and the superset that they mean by it. */
static const struct {
	const char *name, *meant;
} supersets[] = {
	{ "iso-8859-1", "windows-1252" }, { "latin1", "windows-1252" },
	{ "iso-8859-9", "windows-1254" }, { "gb2312", "gb18030" },
	{ "gbk", "gb18030" },             { "x-gbk", "gb18030" },
	{ "ks_c_5601-1987", "windows-949" }, { "euc-kr", "windows-949" },
	{ "shift_jis", "windows-31j" },   { "x-sjis", "windows-31j" },
	{ "big5", "windows-950" },
};

/* RFC 2231 section 5 lets a language stand behind the charset: "utf-8*en". */
static bool name_text(struct str name, char text_out[CHARSET_NAME_MAX + 1])
{
	size_t length = 0;
	name = str_trim(name);
	while (length < name.length && name.bytes[length] != '*')
		length++;
	if (!length || length > CHARSET_NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		text_out[i] = ascii_lower(name.bytes[i]);
	text_out[length] = 0;
	if (strlen(text_out) != length)
		return false;
	for (size_t i = 0; i < array_length(supersets); i++)
		if (strcmp(text_out, supersets[i].name) == 0)
			snprintf(text_out, CHARSET_NAME_MAX + 1, "%s", supersets[i].meant);
	return true;
}

static bool is_utf8_name(const char *name)
{
	return !strcmp(name, "utf-8") || !strcmp(name, "utf8") || !strcmp(name, "us-ascii") ||
		!strcmp(name, "ascii");
}

static bool is_ascii(struct str s)
{
	unsigned char all = 0;
	for (size_t i = 0; i < s.length; i++)
		all |= (unsigned char)s.bytes[i];
	return all < 0x80;
}

bool charset_is_known(struct str name)
{
	char text[CHARSET_NAME_MAX + 1];
	UErrorCode status = U_ZERO_ERROR;

	if (!name_text(name, text))
		return false;
	if (is_utf8_name(text))
		return true;
	UConverter *converter = ucnv_open(text, &status);
	ucnv_close(converter);
	return U_SUCCESS(status);
}

static void append_valid_utf8(struct str bytes, struct buf *out)
{
	if (is_ascii(bytes) || utf8_is_valid(bytes)) {
		buf_append_str(out, bytes);
		return;
	}
	while (bytes.length) {
		int32_t c = utf8_next(&bytes);
		utf8_append(out, c < 0 ? 0xfffd : (uint32_t)c);
	}
}

/* Converts in pieces, so that memory stays at the size of the result. */
static void convert(UConverter *converter, struct str bytes, struct buf *out)
{
	UChar units[2048];
	const char *at = bytes.bytes, *end = bytes.bytes + bytes.length;
	uint32_t high = 0;
	UErrorCode status;

	do {
		UChar *target = units;
		status = U_ZERO_ERROR;
		ucnv_toUnicode(converter, &target, units + array_length(units), &at, end, NULL,
			true, &status);
		for (const UChar *unit = units; unit < target; unit++) {
			uint32_t c = *unit;
			if (high && c >= 0xdc00 && c <= 0xdfff) {
				utf8_append(out, 0x10000 + ((high - 0xd800) << 10) + (c - 0xdc00));
				high = 0;
				continue;
			}
			if (high)
				utf8_append(out, 0xfffd);
			high = c >= 0xd800 && c <= 0xdbff ? c : 0;
			if (!high)
				utf8_append(out, c >= 0xdc00 && c <= 0xdfff ? 0xfffd : c);
		}
	} while (status == U_BUFFER_OVERFLOW_ERROR);
	if (high)
		utf8_append(out, 0xfffd);
}

void charset_to_utf8(struct str name, struct str bytes, struct buf *out)
{
	char text[CHARSET_NAME_MAX + 1];
	UErrorCode status = U_ZERO_ERROR;

	if (!bytes.length)
		return;
	if (!name_text(name, text) || is_utf8_name(text)) {
		append_valid_utf8(bytes, out);
		return;
	}
	UConverter *converter = ucnv_open(text, &status);
	if (U_FAILURE(status)) {
		append_valid_utf8(bytes, out);
		return;
	}
	convert(converter, bytes, out);
	ucnv_close(converter);
}

struct encoded_word {
	struct str charset, text;
	bool is_base64;
};

/* "=?charset?B?text?=" at the start of `s`; the length taken, or 0. */
static size_t parse_encoded_word(struct str s, struct encoded_word *word_out)
{
	if (s.length < 8 || s.bytes[0] != '=' || s.bytes[1] != '?')
		return 0;
	struct str rest = str_from_index(s, 2);
	ptrdiff_t mark = str_find_byte(str_first(rest, CHARSET_NAME_MAX + 10), '?');
	if (mark <= 0 || (size_t)mark + 3 > rest.length || rest.bytes[mark + 2] != '?')
		return 0;
	char encoding = ascii_lower(rest.bytes[mark + 1]);
	if (encoding != 'b' && encoding != 'q')
		return 0;
	word_out->charset = str_first(rest, (size_t)mark);
	word_out->is_base64 = encoding == 'b';
	rest = str_from_index(rest, (size_t)mark + 3);
	/* Spaces inside are malformed but met; a line end is not. */
	for (size_t i = 0; i + 1 < rest.length && rest.bytes[i] != '\n'; i++) {
		if (rest.bytes[i] == '?' && rest.bytes[i + 1] == '=') {
			word_out->text = str_first(rest, i);
			return (size_t)(rest.bytes + i + 2 - s.bytes);
		}
	}
	return 0;
}

static void decode_word(const struct encoded_word *word, struct buf *out)
{
	if (word->is_base64) {
		mime_decode(MIME_BASE64, word->text, out);
		return;
	}
	struct buf spaced = { 0 };
	buf_append_str(&spaced, word->text);
	char *bytes = spaced.memory;
	for (size_t i = spaced.start; i < spaced.end; i++)
		if (bytes[i] == '_')
			bytes[i] = ' ';
	mime_decode(MIME_QUOTED_PRINTABLE, buf_str(&spaced), out);
	buf_deinit(&spaced);
}

/* A fold is one space, as ENVELOPE shows it; a line end before another field stays one. */
static void append_raw(struct str raw, struct buf *out)
{
	struct buf plain = { 0 };
	size_t simple = 0;
	while (simple < raw.length && raw.bytes[simple] != '\r' && raw.bytes[simple] != '\n' &&
		(unsigned char)raw.bytes[simple] < 0x80)
		simple++;
	/* Most headers are one line of ASCII. */
	buf_append(out, raw.bytes, simple);
	if (simple == raw.length)
		return;
	raw = str_from_index(raw, simple);
	for (size_t i = 0; i < raw.length;) {
		char c = raw.bytes[i++];
		if (c == '\r' && i < raw.length && raw.bytes[i] == '\n')
			continue;
		if (c != '\n' && c != '\r') {
			buf_append_byte(&plain, c);
			continue;
		}
		size_t line = i;
		while (i < raw.length && (raw.bytes[i] == ' ' || raw.bytes[i] == '\t'))
			i++;
		if (i == line)
			buf_append_byte(&plain, '\n');
		else if (!str_ends_with(buf_str(buf_length(&plain) ? &plain : out), STR(" ")))
			buf_append_byte(&plain, ' ');
	}
	struct str text = buf_str(&plain);
	if (is_ascii(text) || utf8_is_valid(text))
		buf_append_str(out, text);
	else
		charset_to_utf8(STR("windows-1252"), text, out);
	buf_deinit(&plain);
}

/* Words of one charset in a row are joined before conversion: senders cut inside a character. */
static void flush_words(struct str charset, struct buf *pending, struct buf *out)
{
	charset_to_utf8(charset, buf_str(pending), out);
	buf_clear(pending);
}

void charset_decode_header(struct str value, struct buf *out)
{
	struct buf pending = { 0 };
	struct str charset = { 0 };
	size_t raw = 0, at = 0;
	bool after_word = false;

	while (at < value.length) {
		const char *mark = memmem(value.bytes + at, value.length - at, "=?", 2);
		if (!mark)
			break;
		struct encoded_word word;
		size_t start = (size_t)(mark - value.bytes);
		size_t length = parse_encoded_word(str_from_index(value, start), &word);
		if (!length) {
			at = start + 2;
			continue;
		}
		struct str between = str_of(value.bytes + raw, start - raw);
		bool joins = after_word && !str_trim(between).length;
		if (!joins || !str_equal_ignore_case(charset, word.charset))
			flush_words(charset, &pending, out);
		if (!joins)
			append_raw(between, out);
		charset = word.charset;
		decode_word(&word, &pending);
		after_word = true;
		raw = at = start + length;
	}
	flush_words(charset, &pending, out);
	append_raw(str_from_index(value, raw), out);
	buf_deinit(&pending);
}
