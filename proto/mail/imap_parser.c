#include "proto/mail/imap_parser.h"

#include "core/encode.h"

#include "proto/mail/mime.h"
#include "proto/mail/utf7.h"

#include <stdlib.h>

void imap_parser_init(struct imap_parser *parser, struct str text, struct pool *pool)
{
	*parser = (struct imap_parser){ .text = text, .pool = pool };
}

static bool fail(struct imap_parser *parser, const char *error)
{
	parser->error = error;
	return false;
}

static char peek(const struct imap_parser *parser)
{
	return parser->at < parser->text.length ? parser->text.bytes[parser->at] : 0;
}

static struct str rest_of(const struct imap_parser *parser)
{
	return str_from_index(parser->text, parser->at);
}

bool imap_at_end(const struct imap_parser *parser)
{
	return parser->at >= parser->text.length;
}

bool imap_end(struct imap_parser *parser)
{
	/* Some clients leave a space behind the last argument. */
	while (peek(parser) == ' ')
		parser->at++;
	return imap_at_end(parser) || fail(parser, "Unexpected argument at the end");
}

bool imap_try_byte(struct imap_parser *parser, char byte)
{
	if (imap_at_end(parser) || peek(parser) != byte)
		return false;
	parser->at++;
	return true;
}

bool imap_space(struct imap_parser *parser)
{
	return imap_try_byte(parser, ' ') || fail(parser, "Missing argument");
}

static bool is_atom_byte(char c)
{
	return (unsigned char)c > ' ' && (unsigned char)c < 0x7f && !strchr("(){%*\"\\]", c);
}

bool imap_try_word(struct imap_parser *parser, struct str word)
{
	struct str rest = rest_of(parser);
	if (!str_starts_with_ignore_case(rest, word))
		return false;
	if (rest.length > word.length && is_atom_byte(rest.bytes[word.length]) &&
		rest.bytes[word.length] != '[')
		return false;
	parser->at += word.length;
	return true;
}

static struct str take_while(struct imap_parser *parser, bool (*is_taken)(char c))
{
	size_t start = parser->at;
	while (parser->at < parser->text.length && is_taken(parser->text.bytes[parser->at]))
		parser->at++;
	return str_of(parser->text.bytes + start, parser->at - start);
}

static bool is_tag_byte(char c)
{
	return c == ']' || (is_atom_byte(c) && c != '+');
}

bool imap_tag(struct imap_parser *parser, struct str *tag_out)
{
	*tag_out = take_while(parser, is_tag_byte);
	return (tag_out->length && tag_out->length <= IMAP_TAG_LENGTH_MAX) ||
		fail(parser, "Invalid tag");
}

bool imap_atom(struct imap_parser *parser, struct str *atom_out)
{
	*atom_out = take_while(parser, is_atom_byte);
	return atom_out->length || fail(parser, "Expected an atom");
}

static bool quoted(struct imap_parser *parser, struct str *string_out)
{
	size_t start = ++parser->at;
	size_t at = start;
	bool has_escape = false;

	for (;; at++) {
		if (at >= parser->text.length || parser->text.bytes[at] == '\r' ||
			parser->text.bytes[at] == '\n' || parser->text.bytes[at] == 0)
			return fail(parser, "Quoted string without an end");
		if (parser->text.bytes[at] == '"')
			break;
		if (parser->text.bytes[at] == '\\') {
			has_escape = true;
			at++;
		}
	}
	struct str inside = str_of(parser->text.bytes + start, at - start);
	parser->at = at + 1;
	if (has_escape) {
		char *plain = pool_alloc(parser->pool, inside.length + 1);
		size_t length = 0;
		for (size_t i = 0; i < inside.length; i++) {
			if (inside.bytes[i] == '\\')
				i++;
			plain[length++] = inside.bytes[i];
		}
		inside = str_of(plain, length);
	}
	*string_out = inside;
	return true;
}

/* "{5+}" CRLF and 5 bytes, as the reader put them into the text. */
static bool literal(struct imap_parser *parser, struct str *string_out)
{
	struct str rest = rest_of(parser);
	ptrdiff_t close = str_find_byte(str_first(rest, 24), '}');
	uint64_t length;

	if (close < 0)
		return fail(parser, "Invalid literal");
	struct str digits = str_of(rest.bytes + 1, (size_t)close - 1);
	if (str_ends_with(digits, STR("+")))
		digits.length--;
	rest = str_from_index(rest, (size_t)close + 1);
	if (str_starts_with(rest, STR("\r\n")))
		rest = str_from_index(rest, 2);
	else if (str_starts_with(rest, STR("\n")))
		rest = str_from_index(rest, 1);
	else
		return fail(parser, "Invalid literal");
	if (!str_to_u64(digits, rest.length, &length))
		return fail(parser, "Invalid literal");
	*string_out = str_first(rest, (size_t)length);
	if (str_find_byte(*string_out, 0) >= 0)
		return fail(parser, "Literal with a NUL");
	parser->at = (size_t)(rest.bytes - parser->text.bytes) + (size_t)length;
	return true;
}

bool imap_string(struct imap_parser *parser, struct str *string_out)
{
	if (peek(parser) == '"')
		return quoted(parser, string_out);
	if (peek(parser) == '{')
		return literal(parser, string_out);
	return fail(parser, "Expected a string");
}

static bool is_astring_byte(char c)
{
	/* 8-bit bytes are no part of the grammar; clients that send them mean UTF-8. */
	return c == ']' || is_atom_byte(c) || (unsigned char)c >= 0x80;
}

bool imap_astring(struct imap_parser *parser, struct str *string_out)
{
	if (peek(parser) == '"' || peek(parser) == '{')
		return imap_string(parser, string_out);
	*string_out = take_while(parser, is_astring_byte);
	return string_out->length || fail(parser, "Expected a string");
}

bool imap_mailbox(struct imap_parser *parser, struct str *name_out, bool *is_valid_out)
{
	struct str sent;
	if (!imap_astring(parser, &sent))
		return false;
	struct buf decoded = { 0 };
	*is_valid_out = utf7_decode(sent, &decoded);
	*name_out = pool_copy(parser->pool, buf_str(&decoded));
	buf_deinit(&decoded);
	if (str_equal_ignore_case(*name_out, STR("INBOX")))
		*name_out = STR("INBOX");
	else if (str_starts_with_ignore_case(*name_out, STR("INBOX/")))
		memcpy((char *)name_out->bytes, "INBOX", 5);
	return true;
}

bool imap_number(struct imap_parser *parser, uint64_t maximum, uint64_t *number_out)
{
	struct str digits = take_while(parser, ascii_is_digit);
	return str_to_u64(digits, maximum, number_out) || fail(parser, "Invalid number");
}

static bool set_number(struct imap_parser *parser, uint32_t *number_out)
{
	uint64_t number;
	*number_out = 0;
	if (imap_try_byte(parser, '*'))
		return true;
	if (!imap_number(parser, UINT32_MAX, &number) || !number)
		return fail(parser, "Invalid sequence set");
	*number_out = (uint32_t)number;
	return true;
}

bool imap_sequence_set(struct imap_parser *parser, struct imap_set *set_out)
{
	struct str rest = rest_of(parser);
	unsigned capacity = 1;

	for (size_t i = 0; i < rest.length && rest.bytes[i] != ' ' && rest.bytes[i] != ')'; i++)
		capacity += rest.bytes[i] == ',';
	set_out->ranges = pool_alloc(parser->pool, capacity * sizeof(*set_out->ranges));
	set_out->count = 0;
	do {
		struct imap_range *range = &set_out->ranges[set_out->count++];
		if (!set_number(parser, &range->first))
			return false;
		range->last = range->first;
		if (imap_try_byte(parser, ':') && !set_number(parser, &range->last))
			return false;
	} while (imap_try_byte(parser, ','));
	return imap_at_end(parser) || peek(parser) == ' ' || peek(parser) == ')' ||
		fail(parser, "Invalid sequence set");
}

static int compare_ranges(const void *a, const void *b)
{
	const struct imap_range *x = a, *y = b;
	return (x->first > y->first) - (x->first < y->first);
}

void imap_set_resolve(struct imap_set *set, uint32_t largest)
{
	bool is_sorted = true;
	for (unsigned i = 0; i < set->count; i++) {
		struct imap_range *range = &set->ranges[i];
		uint32_t first = range->first ? range->first : largest;
		uint32_t last = range->last ? range->last : largest;
		range->first = first < last ? first : last;
		range->last = first < last ? last : first;
		is_sorted &= i == 0 || range->first > set->ranges[i - 1].last;
	}
	if (is_sorted)
		return;
	qsort(set->ranges, set->count, sizeof(*set->ranges), compare_ranges);
	unsigned count = 0;
	for (unsigned i = 0; i < set->count; i++) {
		struct imap_range range = set->ranges[i];
		struct imap_range *before = count ? &set->ranges[count - 1] : NULL;
		if (before && (range.first <= before->last || range.first - 1 == before->last)) {
			if (range.last > before->last)
				before->last = range.last;
		} else {
			set->ranges[count++] = range;
		}
	}
	set->count = count;
}

bool imap_set_contains(const struct imap_set *set, uint32_t number)
{
	unsigned low = 0, high = set->count;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		if (set->ranges[middle].last < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < set->count && set->ranges[low].first <= number;
}

static const struct {
	const char *name;
	uint64_t flag;
} system_flags[] = {
	{ "Seen", IMAP_FLAG_SEEN },       { "Answered", IMAP_FLAG_ANSWERED },
	{ "Flagged", IMAP_FLAG_FLAGGED }, { "Deleted", IMAP_FLAG_DELETED },
	{ "Draft", IMAP_FLAG_DRAFT },     { "Recent", 0 },
};

static bool flag_add(struct imap_parser *parser, struct imap_flags *flags)
{
	struct str atom;
	bool is_system = imap_try_byte(parser, '\\');

	if (!imap_atom(parser, &atom))
		return fail(parser, "Invalid flag");
	if (!is_system) {
		if (atom.length > IMAP_KEYWORD_LENGTH_MAX)
			return fail(parser, "Keyword too long");
		for (unsigned i = 0; i < flags->keyword_count; i++)
			if (str_equal_ignore_case(flags->keywords[i], atom))
				return true;
		if (flags->keyword_count == IMAP_KEYWORDS_MAX)
			return fail(parser, "Too many keywords");
		flags->keywords[flags->keyword_count++] = atom;
		return true;
	}
	for (size_t i = 0; i < array_length(system_flags); i++) {
		if (str_equal_ignore_case(atom, str_from(system_flags[i].name))) {
			flags->system |= system_flags[i].flag;
			return true;
		}
	}
	return fail(parser, "Unknown system flag");
}

bool imap_flag_list(struct imap_parser *parser, bool bare, struct imap_flags *flags_out)
{
	*flags_out = (struct imap_flags){ 0 };
	flags_out->keywords = pool_alloc(parser->pool, IMAP_KEYWORDS_MAX * sizeof(struct str));
	if (!imap_try_byte(parser, '(')) {
		if (!bare)
			return fail(parser, "Expected a flag list");
		do {
			if (!flag_add(parser, flags_out))
				return false;
		} while (imap_try_byte(parser, ' ') && !imap_at_end(parser));
		return true;
	}
	while (!imap_try_byte(parser, ')')) {
		if (!flag_add(parser, flags_out))
			return false;
		while (imap_try_byte(parser, ' '))
			continue;
	}
	return true;
}

static bool date_text(struct imap_parser *parser, int64_t *days_out)
{
	static const int month_days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	uint64_t day, year;
	struct str month_name;

	if (!imap_number(parser, 31, &day) || !day || !imap_try_byte(parser, '-'))
		return fail(parser, "Invalid date");
	month_name = str_first(rest_of(parser), 3);
	int month = mime_month_from_name(month_name);
	parser->at += month_name.length;
	if (!month || !imap_try_byte(parser, '-'))
		return fail(parser, "Invalid date");
	size_t year_at = parser->at;
	if (!imap_number(parser, 9999, &year) || parser->at != year_at + 4 ||
		(int)day > month_days[month - 1])
		return fail(parser, "Invalid date");
	*days_out = mime_days_from_date((int)year, month, (int)day);
	return true;
}

bool imap_date(struct imap_parser *parser, int64_t *days_out)
{
	bool is_quoted = imap_try_byte(parser, '"');
	if (!date_text(parser, days_out))
		return false;
	return !is_quoted || imap_try_byte(parser, '"') || fail(parser, "Invalid date");
}

bool imap_date_time(struct imap_parser *parser, int64_t *utc_s_out)
{
	uint64_t hour, minute, second, zone;
	int64_t days;

	if (!imap_try_byte(parser, '"'))
		return fail(parser, "Expected a date and time");
	imap_try_byte(parser, ' ');
	if (!date_text(parser, &days))
		return false;
	if (!imap_try_byte(parser, ' ') || !imap_number(parser, 23, &hour) ||
		!imap_try_byte(parser, ':') || !imap_number(parser, 59, &minute) ||
		!imap_try_byte(parser, ':') || !imap_number(parser, 60, &second) ||
		!imap_try_byte(parser, ' '))
		return fail(parser, "Invalid date and time");
	bool is_west = imap_try_byte(parser, '-');
	if ((!is_west && !imap_try_byte(parser, '+')) || !imap_number(parser, 9999, &zone) ||
		zone % 100 > 59 || !imap_try_byte(parser, '"'))
		return fail(parser, "Invalid date and time");
	int64_t east_s = (int64_t)(zone / 100 * 60 + zone % 100) * (is_west ? -60 : 60);
	*utc_s_out = days * 86400 + (int64_t)(hour * 3600 + minute * 60 + second) - east_s;
	return true;
}

/* "XPANDOID 32*hex ". */
static bool append_id(struct imap_parser *parser, struct imap_append *append)
{
	struct str word, id;
	append->has_id = imap_atom(parser, &word) && str_equal(word, STR("XPANDOID")) &&
		imap_space(parser) && imap_atom(parser, &id) &&
		decode_hex(id, append->id, sizeof(append->id));
	return (append->has_id && imap_space(parser)) ||
		fail(parser, "Expected the message's literal");
}

bool imap_append_arguments(struct imap_parser *parser, struct imap_append *append_out)
{
	*append_out = (struct imap_append){ 0 };
	if (!imap_space(parser) ||
		!imap_mailbox(parser, &append_out->name, &append_out->name_is_valid) ||
		!imap_space(parser))
		return false;
	if (peek(parser) == '(' &&
		(!imap_flag_list(parser, false, &append_out->flags) || !imap_space(parser)))
		return false;
	if (peek(parser) == '"') {
		if (!imap_date_time(parser, &append_out->date_s) || !imap_space(parser))
			return false;
		append_out->has_date = true;
	}
	if (peek(parser) == 'X' && !append_id(parser, append_out))
		return false;
	return peek(parser) == '{' || fail(parser, "Expected the message's literal");
}
