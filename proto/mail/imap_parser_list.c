#include "proto/mail/imap_parser.h"

static bool fail(struct imap_parser *parser, const char *error)
{
	parser->error = error;
	return false;
}

struct option {
	struct str name;
	unsigned bit;
};

/* One of `options`; 0 when none is next. */
static unsigned take_option(struct imap_parser *parser, const struct option *options, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (imap_try_word(parser, options[i].name))
			return options[i].bit;
	return 0;
}

bool imap_status_items(struct imap_parser *parser, unsigned *items_out)
{
	static const struct option items[] = {
		{ { "MESSAGES", 8 }, IMAP_STATUS_MESSAGES },
		{ { "RECENT", 6 }, IMAP_STATUS_RECENT },
		{ { "UIDNEXT", 7 }, IMAP_STATUS_UIDNEXT },
		{ { "UIDVALIDITY", 11 }, IMAP_STATUS_UIDVALIDITY },
		{ { "UNSEEN", 6 }, IMAP_STATUS_UNSEEN },
		{ { "HIGHESTMODSEQ", 13 }, IMAP_STATUS_HIGHESTMODSEQ },
		{ { "SIZE", 4 }, IMAP_STATUS_SIZE },
		{ { "APPENDLIMIT", 11 }, IMAP_STATUS_APPENDLIMIT },
	};
	*items_out = 0;
	if (!imap_try_byte(parser, '('))
		return fail(parser, "Expected status items");
	do {
		unsigned bit = take_option(parser, items, array_length(items));
		if (!bit)
			return fail(parser, "Unknown status item");
		*items_out |= bit;
	} while (imap_try_byte(parser, ' '));
	return imap_try_byte(parser, ')') || fail(parser, "Status items without an end");
}

static bool select_options(struct imap_parser *parser, struct imap_list *list)
{
	static const struct option options[] = {
		{ { "SUBSCRIBED", 10 }, IMAP_LIST_SUBSCRIBED },
		{ { "REMOTE", 6 }, IMAP_LIST_REMOTE },
		{ { "RECURSIVEMATCH", 14 }, IMAP_LIST_RECURSIVEMATCH },
		{ { "SPECIAL-USE", 11 }, IMAP_LIST_SPECIAL_USE },
	};
	list->is_extended = true;
	while (!imap_try_byte(parser, ')')) {
		unsigned bit = take_option(parser, options, array_length(options));
		if (!bit)
			return fail(parser, "Unknown selection option");
		list->select |= bit;
		imap_try_byte(parser, ' ');
	}
	/* RFC 5258 section 3: RECURSIVEMATCH modifies another option. */
	if ((list->select & IMAP_LIST_RECURSIVEMATCH) && !(list->select & IMAP_LIST_SUBSCRIBED) &&
		!(list->select & IMAP_LIST_SPECIAL_USE))
		return fail(parser, "RECURSIVEMATCH needs another selection option");
	return imap_space(parser);
}

static bool return_options(struct imap_parser *parser, struct imap_list *list)
{
	static const struct option options[] = {
		{ { "SUBSCRIBED", 10 }, IMAP_LIST_SUBSCRIBED },
		{ { "CHILDREN", 8 }, IMAP_LIST_CHILDREN },
		{ { "SPECIAL-USE", 11 }, IMAP_LIST_SPECIAL_USE },
		{ { "STATUS", 6 }, IMAP_LIST_STATUS },
	};
	list->is_extended = true;
	if (!imap_space(parser) || !imap_try_byte(parser, '('))
		return fail(parser, "Expected return options");
	while (!imap_try_byte(parser, ')')) {
		unsigned bit = take_option(parser, options, array_length(options));
		if (!bit)
			return fail(parser, "Unknown return option");
		list->returns |= bit;
		if (bit == IMAP_LIST_STATUS &&
			(!imap_space(parser) || !imap_status_items(parser, &list->status_items)))
			return false;
		imap_try_byte(parser, ' ');
	}
	return true;
}

static bool is_pattern_byte(char c)
{
	return (unsigned char)c > ' ' && c != 0x7f && !strchr("(){\"\\", c);
}

static bool pattern(struct imap_parser *parser, struct imap_list *list)
{
	struct str sent;
	char first = parser->at < parser->text.length ? parser->text.bytes[parser->at] : 0;

	if (first == '"' || first == '{') {
		if (!imap_string(parser, &sent))
			return false;
	} else {
		size_t start = parser->at;
		while (parser->at < parser->text.length &&
			is_pattern_byte(parser->text.bytes[parser->at]))
			parser->at++;
		sent = str_of(parser->text.bytes + start, parser->at - start);
		if (!sent.length)
			return fail(parser, "Expected a folder pattern");
	}
	if (sent.length > IMAP_PATTERN_LENGTH_MAX)
		return fail(parser, "Folder pattern too long");
	if (list->pattern_count == IMAP_PATTERNS_MAX)
		return fail(parser, "Too many folder patterns");
	list->patterns[list->pattern_count++] = sent;
	return true;
}

bool imap_list_arguments(struct imap_parser *parser, struct imap_list *list_out)
{
	*list_out = (struct imap_list){ 0 };
	list_out->patterns = pool_alloc(parser->pool, IMAP_PATTERNS_MAX * sizeof(struct str));
	if (imap_try_byte(parser, '(') && !select_options(parser, list_out))
		return false;
	if (!imap_astring(parser, &list_out->reference) || !imap_space(parser))
		return false;
	if (imap_try_byte(parser, '(')) {
		list_out->is_extended = true;
		do {
			if (!pattern(parser, list_out))
				return false;
		} while (imap_try_byte(parser, ' '));
		if (!imap_try_byte(parser, ')'))
			return fail(parser, "Folder patterns without an end");
	} else if (!pattern(parser, list_out)) {
		return false;
	}
	if (imap_try_byte(parser, ' ')) {
		if (!imap_try_word(parser, STR("RETURN")))
			return fail(parser, "Unexpected argument at the end");
		return return_options(parser, list_out);
	}
	return true;
}

bool imap_pattern_matches(struct str pattern, struct str name)
{
	/* INBOX is one name in any case (RFC 3501 section 5.1). */
	bool is_inbox = str_equal(name, STR("INBOX")) || str_starts_with(name, STR("INBOX/"));
	/* Which positions of the pattern are reached after each byte of the name: no backtracking,
	 * so that the cost is bounded by the product of the lengths. */
	bool reached[IMAP_PATTERN_LENGTH_MAX + 1] = { true };
	size_t length = pattern.length;

	if (length > IMAP_PATTERN_LENGTH_MAX)
		return false;
	for (size_t j = 0; j < length && (pattern.bytes[j] == '*' || pattern.bytes[j] == '%'); j++)
		reached[j + 1] = true;
	for (size_t i = 0; i < name.length; i++) {
		char c = name.bytes[i];
		bool any_case = is_inbox && i < 5;
		bool diagonal = reached[0]; /* of position j before this byte */
		reached[0] = false;
		for (size_t j = 0; j < length; j++) {
			char p = pattern.bytes[j];
			bool is_wild = p == '*' || p == '%';
			bool before = reached[j + 1];
			if (is_wild)
				reached[j + 1] = reached[j] || ((p == '*' || c != '/') && before) ||
					((p == '*' || c != '/') && diagonal);
			else
				reached[j + 1] =
					diagonal && (p == c || (any_case && ascii_upper(p) == c));
			diagonal = before;
		}
	}
	return reached[length];
}
