#include "ctl/json.h"

#include "core/buf.h"

struct parser {
	struct pool *pool;
	const char *at, *end;
};

static void skip_space(struct parser *parser)
{
	while (parser->at < parser->end && strchr(" \t\r\n", *parser->at) && *parser->at)
		parser->at++;
}

static bool take(struct parser *parser, struct str word)
{
	if (!str_starts_with(str_of(parser->at, (size_t)(parser->end - parser->at)), word))
		return false;
	parser->at += word.length;
	return true;
}

static bool hex4(struct parser *parser, unsigned *value_out)
{
	*value_out = 0;
	for (int i = 0; i < 4; i++) {
		if (parser->at == parser->end)
			return false;
		char c = ascii_lower(*parser->at++);
		if (!ascii_is_digit(c) && !(c >= 'a' && c <= 'f'))
			return false;
		*value_out =
			*value_out * 16 + (unsigned)(ascii_is_digit(c) ? c - '0' : c - 'a' + 10);
	}
	return true;
}

static void put_utf8(struct buf *out, unsigned c)
{
	if (c < 0x80) {
		buf_append_byte(out, (char)c);
	} else if (c < 0x800) {
		buf_append_byte(out, (char)(0xc0 | c >> 6));
		buf_append_byte(out, (char)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		buf_append_byte(out, (char)(0xe0 | c >> 12));
		buf_append_byte(out, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_append_byte(out, (char)(0x80 | (c & 0x3f)));
	} else {
		buf_append_byte(out, (char)(0xf0 | c >> 18));
		buf_append_byte(out, (char)(0x80 | (c >> 12 & 0x3f)));
		buf_append_byte(out, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_append_byte(out, (char)(0x80 | (c & 0x3f)));
	}
}

static bool parse_escape(struct parser *parser, struct buf *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	unsigned value, low;
	if (parser->at == parser->end)
		return false;
	char c = *parser->at++;
	if (c != 'u') {
		const char *found = c ? strchr(from, c) : NULL;
		if (found)
			buf_append_byte(out, to[found - from]);
		return found != NULL;
	}
	if (!hex4(parser, &value))
		return false;
	if (value >= 0xd800 && value < 0xdc00) {
		if (!take(parser, STR("\\u")) || !hex4(parser, &low) || low < 0xdc00 ||
			low > 0xdfff)
			return false;
		value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
	}
	put_utf8(out, value);
	return true;
}

static bool parse_text(struct parser *parser, struct str *text_out)
{
	struct buf text = { 0 };
	bool good = false;
	parser->at++;
	while (parser->at < parser->end) {
		char c = *parser->at++;
		if (c == '"') {
			good = true;
			break;
		}
		if (c != '\\')
			buf_append_byte(&text, c);
		else if (!parse_escape(parser, &text))
			break;
	}
	if (good)
		*text_out = pool_copy(parser->pool, buf_str(&text));
	buf_deinit(&text);
	return good;
}

static struct json *parse_value(struct parser *parser, unsigned depth);

/* Members of an array or object up to its closing bracket. Depth is bounded by JSON_DEPTH_MAX. */
static bool parse_members(struct parser *parser, struct json *json, char close, unsigned depth)
{
	struct json **tail = &json->first;
	parser->at++;
	skip_space(parser);
	if (parser->at < parser->end && *parser->at == close) {
		parser->at++;
		return true;
	}
	while (parser->at < parser->end) {
		struct str name = STR("");
		skip_space(parser);
		if (json->type == JSON_OBJECT) {
			if (parser->at == parser->end || *parser->at != '"' ||
				!parse_text(parser, &name))
				return false;
			skip_space(parser);
			if (!take(parser, STR(":")))
				return false;
		}
		*tail = parse_value(parser, depth + 1);
		if (!*tail)
			return false;
		(*tail)->name = name;
		tail = &(*tail)->next;
		skip_space(parser);
		if (parser->at < parser->end && *parser->at == close) {
			parser->at++;
			return true;
		}
		if (!take(parser, STR(",")))
			return false;
	}
	return false;
}

static struct json *parse_value(struct parser *parser, unsigned depth)
{
	struct json *json = pool_alloc(parser->pool, sizeof(*json));
	skip_space(parser);
	if (parser->at == parser->end || depth > JSON_DEPTH_MAX)
		return NULL;
	if (*parser->at == '{' || *parser->at == '[') {
		bool is_object = *parser->at == '{';
		json->type = is_object ? JSON_OBJECT : JSON_ARRAY;
		return parse_members(parser, json, is_object ? '}' : ']', depth) ? json : NULL;
	}
	if (*parser->at == '"') {
		json->type = JSON_TEXT;
		return parse_text(parser, &json->text) ? json : NULL;
	}
	if (take(parser, STR("null")) || (take(parser, STR("true")) && (json->type = JSON_TRUE)) ||
		(take(parser, STR("false")) && (json->type = JSON_FALSE)))
		return json;
	const char *start = parser->at;
	while (parser->at < parser->end && *parser->at && strchr("+-.eE0123456789", *parser->at))
		parser->at++;
	json->type = JSON_NUMBER;
	json->text = pool_copy(parser->pool, str_of(start, (size_t)(parser->at - start)));
	return json->text.length ? json : NULL;
}

struct json *json_parse(struct pool *pool, struct str text)
{
	struct parser parser = { pool, text.bytes, text.bytes + text.length };
	struct json *json = parse_value(&parser, 0);
	skip_space(&parser);
	return parser.at == parser.end ? json : NULL;
}

const struct json *json_get(const struct json *object, const char *name)
{
	if (!object || object->type != JSON_OBJECT)
		return NULL;
	for (const struct json *member = object->first; member; member = member->next)
		if (str_equal(member->name, str_from(name)))
			return member;
	return NULL;
}

struct str json_text(const struct json *object, const char *name)
{
	const struct json *member = json_get(object, name);
	return member && (member->type == JSON_TEXT || member->type == JSON_NUMBER) ? member->text
										    : STR("");
}

uint64_t json_u64(const struct json *object, const char *name)
{
	uint64_t value = 0;
	return str_to_u64(json_text(object, name), UINT64_MAX, &value) ? value : 0;
}

bool json_true(const struct json *object, const char *name)
{
	const struct json *member = json_get(object, name);
	return member && member->type == JSON_TRUE;
}

const struct json *json_first(const struct json *array)
{
	return array && array->type == JSON_ARRAY ? array->first : NULL;
}
