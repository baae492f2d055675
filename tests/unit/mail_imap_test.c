/* The grammar of IMAP commands, and how literals are put together. */

#include "proto/mail/imap_parser.h"
#include "proto/mail/imap_reader.h"
#include "proto/mail/imap_write.h"
#include "unit/test.h"

static struct pool *pool;

static struct imap_parser parser_of(const char *text)
{
	struct imap_parser parser;
	if (!pool)
		pool = pool_create();
	imap_parser_init(&parser, str_from(text), pool);
	return parser;
}

static const struct {
	const char *name, *text, *value; /* NULL: refused */
} astrings[] = {
	{ "an atom", "abc", "abc" },
	{ "an atom with a bracket", "a]b", "a]b" },
	{ "a quoted string", "\"a b\"", "a b" },
	{ "escapes in a quoted string", "\"a\\\"b\\\\c\"", "a\"b\\c" },
	{ "an empty quoted string", "\"\"", "" },
	{ "a literal", "{3}\r\na\"b", "a\"b" },
	{ "a non-synchronising literal", "{3+}\r\na b", "a b" },
	{ "raw UTF-8", "\xc3\xbc", "\xc3\xbc" },
	{ "a quoted string without an end", "\"abc", NULL },
	{ "a quoted string that ends in an escape", "\"abc\\", NULL },
	{ "a line end in a quoted string", "\"a\r\nb\"", NULL },
	{ "a literal that is longer than the text", "{9}\r\nabc", NULL },
	{ "a literal without its line end", "{3}abc", NULL },
	{ "a literal of no number", "{x}\r\nabc", NULL },
	{ "nothing", "", NULL },
	{ "a parenthesis", "(", NULL },
};

TEST(astrings_are_read)
{
	for (size_t i = 0; i < array_length(astrings); i++) {
		struct imap_parser parser = parser_of(astrings[i].text);
		struct str value;
		test_row(astrings[i].name);
		bool good = imap_astring(&parser, &value) && imap_end(&parser);
		EXPECT(good == (astrings[i].value != NULL));
		if (good && astrings[i].value)
			EXPECT_STR(str_from(astrings[i].value), value);
	}
	test_row(NULL);
}

static const struct {
	const char *name, *text, *resolved; /* with 10 as the largest; NULL: refused */
} sets[] = {
	{ "one number", "5", "5" },
	{ "a range", "2:4", "2:4" },
	{ "a range backwards", "4:2", "2:4" },
	{ "the largest", "*", "10" },
	{ "up to the largest", "8:*", "8:10" },
	{ "beyond the largest includes it", "20:*", "10:20" },
	{ "overlaps are joined", "5,1:3,2:4", "1:5" },
	{ "order is restored", "9,7,1", "1,7,9" },
	{ "zero is none", "0", NULL },
	{ "an empty range end", "1:", NULL },
	{ "a comma too many", "1,", NULL },
	{ "too large", "4294967296", NULL },
	{ "letters", "abc", NULL },
};

TEST(sequence_sets_are_read)
{
	for (size_t i = 0; i < array_length(sets); i++) {
		struct imap_parser parser = parser_of(sets[i].text);
		struct imap_set set;
		test_row(sets[i].name);
		bool good = imap_sequence_set(&parser, &set);
		EXPECT(good == (sets[i].resolved != NULL));
		if (!good || !sets[i].resolved)
			continue;
		struct buf out = { 0 };
		struct imap_set_writer writer = { .out = &out };
		imap_set_resolve(&set, 10);
		for (uint32_t n = 1; n <= 30; n++)
			if (imap_set_contains(&set, n))
				imap_write_set_add(&writer, n);
		imap_write_set_end(&writer);
		EXPECT_STR(str_from(sets[i].resolved), buf_str(&out));
		buf_deinit(&out);
	}
	test_row(NULL);
}

static const struct {
	const char *name, *text;
	bool good;
	unsigned items, sections;
	const char *label; /* of the first section */
} fetches[] = {
	{ "a macro", "FAST", true, IMAP_FETCH_FLAGS | IMAP_FETCH_INTERNALDATE | IMAP_FETCH_SIZE, 0,
		NULL },
	{ "one attribute", "uid", true, IMAP_FETCH_UID, 0, NULL },
	{ "BODY alone is the structure", "BODY", true, IMAP_FETCH_BODY, 0, NULL },
	{ "a list", "(FLAGS BODY.PEEK[] MODSEQ)", true, IMAP_FETCH_FLAGS | IMAP_FETCH_MODSEQ, 1,
		"BODY[]" },
	{ "nested numbers", "BODY[1.2.3.MIME]", true, 0, 1, "BODY[1.2.3.MIME]" },
	{ "fields", "body.peek[2.header.fields (From \"X Y\")]", true, 0, 1,
		"BODY[2.HEADER.FIELDS (From \"X Y\")]" },
	{ "fields not wanted", "BODY[HEADER.FIELDS.NOT (To)]<10.20>", true, 0, 1,
		"BODY[HEADER.FIELDS.NOT (To)]<10>" },
	{ "old names", "(RFC822 RFC822.SIZE)", true, IMAP_FETCH_SIZE, 1, "RFC822" },
	{ "MIME needs a part", "BODY[MIME]", false, 0, 0, NULL },
	{ "part zero", "BODY[0]", false, 0, 0, NULL },
	{ "a dot without a number", "BODY[1.]", false, 0, 0, NULL },
	{ "fields without names", "BODY[HEADER.FIELDS ()]", false, 0, 0, NULL },
	{ "an empty partial range", "BODY[]<0.0>", false, 0, 0, NULL },
	{ "an unknown attribute", "(FLAGS NOTHING)", false, 0, 0, NULL },
	{ "a list without an end", "(FLAGS", false, 0, 0, NULL },
};

TEST(fetch_attributes_are_read)
{
	for (size_t i = 0; i < array_length(fetches); i++) {
		struct imap_parser parser = parser_of(fetches[i].text);
		struct imap_fetch fetch;
		test_row(fetches[i].name);
		bool good = imap_fetch_attributes(&parser, &fetch) && imap_end(&parser);
		EXPECT(good == fetches[i].good);
		if (!good || !fetches[i].good)
			continue;
		EXPECT_INT(fetches[i].items, fetch.items);
		EXPECT_INT(fetches[i].sections, fetch.section_count);
		if (fetches[i].label && fetch.section_count)
			EXPECT_STR(str_from(fetches[i].label), fetch.sections[0].label);
	}
	test_row(NULL);
}

static const struct {
	const char *name, *text;
	bool good;
	unsigned keys; /* operators included */
} searches[] = {
	{ "one key", "ALL", true, 1 },
	{ "two keys are joined", "SEEN FLAGGED", true, 3 },
	{ "a negated flag", "UNSEEN", true, 2 },
	{ "OR takes two", "OR SEEN FLAGGED", true, 3 },
	{ "NOT takes one", "NOT SEEN FLAGGED", true, 4 },
	{ "lists nest", "(OR (SEEN DRAFT) NOT (ALL)) DELETED", true, 8 },
	{ "dates", "SINCE 1-Feb-2020 BEFORE \"12-Mar-2021\"", true, 3 },
	{ "a sequence set", "1:*,5", true, 1 },
	{ "header fields", "HEADER \"X-A\" {1}\r\nb", true, 1 },
	{ "mod-sequences", "MODSEQ \"/flags/\\\\draft\" all 620162338", true, 1 },
	{ "charset and return options", "RETURN (MIN COUNT) CHARSET utf-8 ALL", true, 1 },
	{ "OR with one operand", "OR SEEN", false, 0 },
	{ "an open list", "(SEEN", false, 0 },
	{ "an empty list", "()", false, 0 },
	{ "an unknown key", "NOTHING", false, 0 },
	{ "a bad date", "ON 32-Jan-2020", false, 0 },
	{ "a year of two digits", "ON 1-Jan-20", false, 0 },
	{ "nothing", "", false, 0 },
};

TEST(search_programs_are_read)
{
	for (size_t i = 0; i < array_length(searches); i++) {
		struct imap_parser parser = parser_of(searches[i].text);
		struct imap_search search;
		test_row(searches[i].name);
		bool good = imap_search_program(&parser, &search) && imap_end(&parser);
		EXPECT(good == searches[i].good);
		if (good && searches[i].good)
			EXPECT_INT(searches[i].keys, search.key_count);
	}
	test_row(NULL);
}

TEST(search_depth_is_bounded)
{
	struct buf text = { 0 };
	struct imap_search search;

	for (int i = 0; i < 900; i++)
		buf_append_literal(&text, "NOT ");
	buf_append_literal(&text, "ALL");
	struct imap_parser parser = parser_of(buf_terminated(&text));
	EXPECT(imap_search_program(&parser, &search));
	buf_clear(&text);
	for (int i = 0; i < 5000; i++)
		buf_append_byte(&text, '(');
	parser = parser_of(buf_terminated(&text));
	EXPECT(!imap_search_program(&parser, &search));
	buf_deinit(&text);
}

static const struct {
	const char *name, *pattern, *text;
	bool matches;
} patterns[] = {
	{ "a name matches itself", "INBOX", "INBOX", true },
	{ "a star takes levels", "*", "a/b/c", true },
	{ "a percent stays on its level", "%", "a/b", false },
	{ "a percent per level", "%/%", "a/b", true },
	{ "a star in the middle", "a*c", "a/b/c", true },
	{ "a star takes nothing", "a*b", "ab", true },
	{ "percent and star together", "%*", "a/b", true },
	{ "percent before a slash", "a%/c", "a/b/c", false },
	{ "nothing matches nothing", "", "", true },
	{ "case counts", "a", "A", false },
	{ "but not in INBOX", "in*x", "INBOX", true },
	{ "and above its children", "inbox/%", "INBOX/x", true },
	{ "whose own case counts", "inbox/X", "INBOX/x", false },
	{ "a name that only begins so is another", "inboxx", "INBOXx", false },
	{ "many stars cost little", "*a*a*a*a*a*a*a*a*a*a*b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
};

TEST(patterns_match_names)
{
	for (size_t i = 0; i < array_length(patterns); i++) {
		test_row(patterns[i].name);
		EXPECT(imap_pattern_matches(str_from(patterns[i].pattern),
			       str_from(patterns[i].text)) == patterns[i].matches);
	}
	test_row(NULL);
}

TEST(dates_with_times_are_read)
{
	int64_t utc_s = 0;
	struct imap_parser parser = parser_of("\"17-Jul-1996 02:44:25 -0700\"");
	EXPECT(imap_date_time(&parser, &utc_s));
	EXPECT_INT(837596665, utc_s);
	parser = parser_of("\" 1-Jan-1970 00:00:00 +0000\"");
	EXPECT(imap_date_time(&parser, &utc_s));
	EXPECT_INT(0, utc_s);
	parser = parser_of("\"17-Jul-1996 25:44:25 -0700\"");
	EXPECT(!imap_date_time(&parser, &utc_s));
	struct buf out = { 0 };
	imap_write_date_time(&out, 837596665);
	EXPECT_STR(STR("\"17-Jul-1996 09:44:25 +0000\""), buf_str(&out));
	buf_deinit(&out);
}

/* Feeds the bytes one by one; returns what stands in the reader when a command is complete. */
static enum imap_read feed_slowly(struct imap_reader *reader, const char *bytes)
{
	struct buf input = { 0 };
	enum imap_read read = IMAP_READ_MORE;
	for (size_t i = 0; bytes[i] && read == IMAP_READ_MORE; i++) {
		buf_append_byte(&input, bytes[i]);
		read = imap_reader_feed(reader, &input);
		if (read == IMAP_READ_LITERAL && imap_reader_accept(reader))
			read = IMAP_READ_MORE;
	}
	buf_deinit(&input);
	return read;
}

TEST(commands_are_put_together_from_pieces)
{
	struct imap_reader reader = { 0 };
	EXPECT_INT(
		IMAP_READ_COMMAND, feed_slowly(&reader, "a LOGIN {3}\r\nx\r\n {2+}\r\n{} c\r\n"));
	EXPECT_STR(STR("a LOGIN {3}\r\nx\r\n {2+}\r\n{} c"), imap_reader_text(&reader));
	imap_reader_reset(&reader);
	EXPECT_INT(IMAP_READ_COMMAND, feed_slowly(&reader, "b NOOP\n"));
	EXPECT_STR(STR("b NOOP"), imap_reader_text(&reader));
	imap_reader_reset(&reader);
	EXPECT_INT(IMAP_READ_COMMAND, feed_slowly(&reader, "c X \"{3}\"\r\n"));
	imap_reader_reset(&reader);
	EXPECT_INT(IMAP_READ_LITERAL, feed_slowly(&reader, "d X {70000}\r\n"));
	EXPECT(reader.literal_is_sync);
	EXPECT_INT(70000, reader.literal_length);
	imap_reader_deinit(&reader);
}

TEST(strings_are_written_as_they_may_be)
{
	static const struct {
		const char *name, *value, *written;
	} rows[] = {
		{ "quoted", "a \"b\"", "\"a \\\"b\\\"\"" },
		{ "8-bit as a literal", "\xc3\xbc", "{2}\r\n\xc3\xbc" },
		{ "a line end as a literal", "a\r\nb", "{4}\r\na\r\nb" },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct buf out = { 0 };
		test_row(rows[i].name);
		imap_write_string(&out, str_from(rows[i].value));
		EXPECT_STR(str_from(rows[i].written), buf_str(&out));
		buf_deinit(&out);
	}
	test_row(NULL);
	pool_destroy(&pool);
}
