#include "proto/mail/mime.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* RFC 2045 section 5.1, with 8-bit bytes let through. */
static bool is_token_byte(char c)
{
	return (unsigned char)c > ' ' && c != 0x7f && !strchr("()<>@,;:\\\"/[]?=", c);
}

static void skip(struct str *rest, size_t count)
{
	*rest = str_from_index(*rest, count);
}

void mime_skip_comments(struct str *rest)
{
	size_t at = 0;
	unsigned depth = 0;

	while (at < rest->length) {
		char c = rest->bytes[at];
		if (c == '(')
			depth++;
		else if (depth && c == ')')
			depth--;
		else if (depth && c == '\\')
			at++;
		else if (!depth && !is_space(c))
			break;
		at++;
	}
	skip(rest, at < rest->length ? at : rest->length);
}

static struct str take_token(struct str *rest)
{
	size_t length = 0;
	while (length < rest->length && is_token_byte(rest->bytes[length]))
		length++;
	struct str token = str_first(*rest, length);
	skip(rest, length);
	return token;
}

bool mime_split_type(struct str value, struct str *type_out, struct str *subtype_out,
	struct str *params_out)
{
	mime_skip_comments(&value);
	*type_out = take_token(&value);
	mime_skip_comments(&value);
	if (!type_out->length || !value.length || value.bytes[0] != '/')
		return false;
	skip(&value, 1);
	mime_skip_comments(&value);
	*subtype_out = take_token(&value);
	*params_out = value;
	return subtype_out->length != 0;
}

bool mime_split_value(struct str value, struct str *token_out, struct str *params_out)
{
	mime_skip_comments(&value);
	*token_out = take_token(&value);
	*params_out = value;
	return token_out->length != 0;
}

/* A quoted string, `rest` standing behind its opening quote. */
static struct str take_quoted(struct str *rest, struct buf *scratch)
{
	size_t at = 0;
	bool is_plain = true;

	while (at < rest->length && rest->bytes[at] != '"') {
		char c = rest->bytes[at];
		if (c == '\\' || c == '\r' || c == '\n')
			is_plain = false;
		at += c == '\\' && at + 1 < rest->length ? 2 : 1;
	}
	struct str inside = str_first(*rest, at);
	skip(rest, at + 1);
	if (is_plain)
		return inside;
	for (size_t i = 0; i < inside.length; i++) {
		char c = inside.bytes[i];
		if (c == '\\' && i + 1 < inside.length)
			c = inside.bytes[++i];
		if (c != '\r' && c != '\n')
			buf_append_byte(scratch, c);
	}
	return buf_str(scratch);
}

/* An unquoted value: up to the semicolon, since file names with spaces are sent bare; a comment
 * behind white space ends it. */
static struct str take_bare(struct str *rest)
{
	size_t at = 0;
	while (at < rest->length && rest->bytes[at] != ';' &&
		!(rest->bytes[at] == '(' && at && is_space(rest->bytes[at - 1])))
		at++;
	struct str value = str_trim(str_first(*rest, at));
	skip(rest, at);
	return value;
}

bool mime_next_param(struct str *params, struct str *name_out, struct str *value_out,
	struct buf *scratch)
{
	buf_clear(scratch);
	while (params->length) {
		mime_skip_comments(params);
		if (!params->length)
			break;
		*name_out = take_token(params);
		mime_skip_comments(params);
		if (!name_out->length || !params->length || params->bytes[0] != '=') {
			if (params->length && (!name_out->length || params->bytes[0] == ';'))
				skip(params, 1);
			continue;
		}
		skip(params, 1);
		mime_skip_comments(params);
		if (params->length && params->bytes[0] == '"') {
			skip(params, 1);
			*value_out = take_quoted(params, scratch);
		} else {
			*value_out = take_bare(params);
		}
		return true;
	}
	return false;
}

static int hex_value(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_upper(c);
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 2045 section 6.7. A line end or white space behind "=" is a soft line break; other malformed
 * escapes stay as they are. */
static void decode_quoted_printable(struct str body, struct buf *out)
{
	size_t at = 0;
	while (at < body.length) {
		const char *escape = memchr(body.bytes + at, '=', body.length - at);
		size_t plain = escape ? (size_t)(escape - body.bytes) : body.length;
		buf_append(out, body.bytes + at, plain - at);
		at = plain;
		if (!escape)
			break;
		int high = at + 2 < body.length ? hex_value(body.bytes[at + 1]) : -1;
		int low = at + 2 < body.length ? hex_value(body.bytes[at + 2]) : -1;
		if (high >= 0 && low >= 0) {
			buf_append_byte(out, (char)(high << 4 | low));
			at += 3;
			continue;
		}
		size_t end = at + 1;
		while (end < body.length && (body.bytes[end] == ' ' || body.bytes[end] == '\t'))
			end++;
		if (end < body.length && body.bytes[end] == '\r')
			end++;
		if (end < body.length && body.bytes[end] == '\n') {
			at = end + 1;
		} else if (end >= body.length) {
			at = end;
		} else {
			buf_append_byte(out, '=');
			at++;
		}
	}
}

static const int8_t base64_values[256] = {
	['A'] = 1,
	['B'] = 2,
	['C'] = 3,
	['D'] = 4,
	['E'] = 5,
	['F'] = 6,
	['G'] = 7,
	['H'] = 8,
	['I'] = 9,
	['J'] = 10,
	['K'] = 11,
	['L'] = 12,
	['M'] = 13,
	['N'] = 14,
	['O'] = 15,
	['P'] = 16,
	['Q'] = 17,
	['R'] = 18,
	['S'] = 19,
	['T'] = 20,
	['U'] = 21,
	['V'] = 22,
	['W'] = 23,
	['X'] = 24,
	['Y'] = 25,
	['Z'] = 26,
	['a'] = 27,
	['b'] = 28,
	['c'] = 29,
	['d'] = 30,
	['e'] = 31,
	['f'] = 32,
	['g'] = 33,
	['h'] = 34,
	['i'] = 35,
	['j'] = 36,
	['k'] = 37,
	['l'] = 38,
	['m'] = 39,
	['n'] = 40,
	['o'] = 41,
	['p'] = 42,
	['q'] = 43,
	['r'] = 44,
	['s'] = 45,
	['t'] = 46,
	['u'] = 47,
	['v'] = 48,
	['w'] = 49,
	['x'] = 50,
	['y'] = 51,
	['z'] = 52,
	['0'] = 53,
	['1'] = 54,
	['2'] = 55,
	['3'] = 56,
	['4'] = 57,
	['5'] = 58,
	['6'] = 59,
	['7'] = 60,
	['8'] = 61,
	['9'] = 62,
	['+'] = 63,
	['/'] = 64,
};

/* RFC 2045 section 6.8: bytes outside the alphabet are passed over; padding ends a run, and another
 * may follow (concatenated encodings). */
static void decode_base64_lenient(struct str body, struct buf *out)
{
	char *at = buf_reserve(out, body.length / 4 * 3 + 3);
	char *start = at;
	uint32_t bits = 0;
	unsigned count = 0;

	for (size_t i = 0; i < body.length; i++) {
		int value = base64_values[(unsigned char)body.bytes[i]];
		if (!value) {
			if (body.bytes[i] == '=')
				count = 0;
			continue;
		}
		bits = bits << 6 | (uint32_t)(value - 1);
		switch (++count) {
		case 2: *at++ = (char)(bits >> 4); break;
		case 3: *at++ = (char)(bits >> 2); break;
		case 4: *at++ = (char)bits; count = 0; break;
		default: break;
		}
	}
	buf_commit(out, (size_t)(at - start));
}

void mime_decode(enum mime_encoding encoding, struct str body, struct buf *out)
{
	switch (encoding) {
	case MIME_QUOTED_PRINTABLE: decode_quoted_printable(body, out); break;
	case MIME_BASE64: decode_base64_lenient(body, out); break;
	case MIME_IDENTITY: buf_append_str(out, body); break;
	}
}
