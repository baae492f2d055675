/* Charsets, encoded words, folder names and substring search. */

#include "proto/mail/charset.h"
#include "proto/mail/legible.h"
#include "proto/mail/utf7.h"
#include "unit/test.h"

static const struct {
	const char *name, *raw, *utf8;
} headers[] = {
	{ "plain text stays", "Re: hello", "Re: hello" },
	{ "quoted-printable words",
		"=?iso-8859-1?Q?J=FCrgen_Gro=DF?=", "J\xc3\xbcrgen Gro\xc3\x9f" },
	{ "base64 words", "=?UTF-8?B?R3LDvMOfZQ==?= x",
		"Gr\xc3\xbc\xc3\x9f"
		"e x" },
	{ "space between words is dropped", "=?utf-8?q?a?= \r\n =?utf-8?q?b?=", "ab" },
	{ "space beside plain text stays", "=?utf-8?q?a?= b", "a b" },
	{ "a character cut between two words",
		"=?utf-8?b?w7w=?= =?utf-8?q?=C3?= =?utf-8?q?=BC?=", "\xc3\xbc\xc3\xbc" },
	{ "a language is allowed", "=?utf-8*de?q?a?=", "a" },
	{ "stateful charsets",
		"=?iso-2022-jp?B?GyRCRnxLXDhsGyhC?=", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e" },
	{ "a broken word stays text", "=?utf-8?x?abc?= =?utf-8?q?abc",
		"=?utf-8?x?abc?= =?utf-8?q?abc" },
	{ "folding goes", "a\r\n b", "a b" },
	{ "a fold is one space, whatever stands in it", "a \r\n\t  b\n\tc", "a b c" },
	{ "a fold behind a word", "=?utf-8?q?a?=\r\n\tb", "a b" },
	{ "fields in a row stay apart", "A: a\r\nB: b\r\n", "A: a\nB: b\n" },
	{ "raw UTF-8", "J\xc3\xbc", "J\xc3\xbc" },
	{ "raw 8-bit text is Windows-1252", "J\xfc", "J\xc3\xbc" },
};

TEST(headers_are_decoded)
{
	for (size_t i = 0; i < array_length(headers); i++) {
		struct buf out = { 0 };
		test_row(headers[i].name);
		charset_decode_header(str_from(headers[i].raw), &out);
		EXPECT_STR(str_from(headers[i].utf8), buf_str(&out));
		buf_deinit(&out);
	}
	test_row(NULL);
}

static const struct {
	const char *name, *utf8, *encoded;
} folder_names[] = {
	{ "ASCII stays", "INBOX/a b", "INBOX/a b" },
	{ "the ampersand is doubled", "a&b", "a&-b" },
	{ "letters beyond ASCII",
		"B\xc3\xbc"
		"cher",
		"B&APw-cher" },
	{ "several in a row", "\xe5\x8f\xb0\xe5\x8c\x97", "&U,BTFw-" },
	{ "the example of RFC 3501",
		"~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
		"~peter/mail/&U,BTFw-/&ZeVnLIqe-" },
	{ "beyond the basic plane", "\xf0\x9f\x98\x80", "&2D3eAA-" },
};

TEST(folder_names_are_encoded_and_decoded)
{
	for (size_t i = 0; i < array_length(folder_names); i++) {
		struct buf out = { 0 };
		test_row(folder_names[i].name);
		utf7_encode(str_from(folder_names[i].utf8), &out);
		EXPECT_STR(str_from(folder_names[i].encoded), buf_str(&out));
		buf_clear(&out);
		EXPECT(utf7_decode(str_from(folder_names[i].encoded), &out));
		EXPECT_STR(str_from(folder_names[i].utf8), buf_str(&out));
		buf_deinit(&out);
	}
	test_row(NULL);
}

static const struct {
	const char *name, *encoded;
} bad_folder_names[] = {
	{ "an ampersand without an end", "a&b" },
	{ "a character that must be written directly", "&AGE-" },
	{ "two runs where one would do", "&APw-&APw-" },
	{ "a half surrogate", "&2D0-" },
	{ "bits left over", "&APx-" },
	{ "a letter too many", "&APwA-" },
	{ "not in the alphabet", "&AP.-" },
	{ "control characters", "a\tb" },
	{ "control characters in a run", "&AAk-" },
	{ "a NUL at the end of a run", "&APwAAA-" },
	{ "broken UTF-8", "a\xc3" },
};

TEST(folder_names_have_one_encoding)
{
	for (size_t i = 0; i < array_length(bad_folder_names); i++) {
		struct buf out = { 0 };
		test_row(bad_folder_names[i].name);
		EXPECT(!utf7_decode(str_from(bad_folder_names[i].encoded), &out));
		buf_deinit(&out);
	}
	test_row(NULL);
}

static const struct {
	const char *name, *needle, *text;
	bool found;
} searches[] = {
	{ "an empty needle is everywhere", "", "", true },
	{ "case is ignored", "HeLLo", "well, hEllO there", true },
	{ "at the end", "ere", "there", true },
	{ "not there", "abc", "ab abd", false },
	{ "longer than the text", "abcd", "abc", false },
	{ "a false start inside a start", "aab", "aaaab", true },
	{ "umlauts in another case", "\xc3\x9c" "ber", "\xc3\xbc" "BER", true },
	{ "composed and decomposed are the same", "\xc3\xbc", "u\xcc\x88", true },
	{ "full width is the same as narrow", "abc", "\xef\xbd\x81\xef\xbd\x82\xef\xbd\x83", true },
	{ "Greek capitals", "\xcf\x83", "\xce\xa3", true },
	{ "Japanese", "\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", true },
	{ "beyond ASCII is not in ASCII", "\xc3\xbc", "u", false },
	{ "an ASCII needle in other text", "world", "h\xc3\xa9llo World", true },
};

TEST(substrings_are_found)
{
	for (size_t i = 0; i < array_length(searches); i++) {
		struct pool *pool = pool_create();
		test_row(searches[i].name);
		struct text_needle *needle = text_needle_create(pool, str_from(searches[i].needle));
		EXPECT(text_needle_is_in(needle, str_from(searches[i].text)) == searches[i].found);
		pool_destroy(&pool);
	}
	test_row(NULL);
}

TEST(unknown_charsets_are_told_apart)
{
	EXPECT(charset_is_known(STR("UTF-8")));
	EXPECT(charset_is_known(STR("iso-8859-15")));
	EXPECT(charset_is_known(STR("us-ascii")));
	EXPECT(charset_is_known(STR("ks_c_5601-1987")));
	EXPECT(!charset_is_known(STR("x-nothing")));
	EXPECT(!charset_is_known(STR("")));
}

TEST(what_is_not_seen_or_acts_on_a_screen_is_found)
{
	static const struct {
		const char *text;
		int32_t control, unseen;
		const char *shown;
	} rows[] = {
		{ "anna@example.org", LEGIBLE, LEGIBLE, "anna@example.org" },
		{ "gr\xc3\xbc\xc3\x9f"
		  "e",
			LEGIBLE, LEGIBLE,
			"gr\xc3\xbc\xc3\x9f"
			"e" },
		{ "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d", LEGIBLE, LEGIBLE,
			"\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d" },
		{ "a b", LEGIBLE, ' ', "a b" },
		{ "a\033[2J", 0x1b, 0x1b, "a\\x1b[2J" },
		{ "a\nb", '\n', '\n', "a\nb" },
		{ "a\x7f", 0x7f, 0x7f, "a\\x7f" },
		{ "a\xc2\x9b"
		  "b",
			0x9b, 0x9b, "a\\u009bb" },
		{ "a\xe2\x80\xae"
		  "b",
			0x202e, 0x202e, "a\\u202eb" },
		{ "a\xe2\x81\xa9"
		  "b",
			0x2069, 0x2069, "a\\u2069b" },
		{ "a\xe2\x80\xa8"
		  "b",
			0x2028, 0x2028, "a\\u2028b" },
		{ "a\xd8\x9c"
		  "b",
			0x61c, 0x61c, "a\\u061cb" },
		{ "a\xe2\x80\x8b"
		  "b",
			LEGIBLE, 0x200b,
			"a\xe2\x80\x8b"
			"b" },
		{ "a\xe2\x80\x8d"
		  "b",
			LEGIBLE, 0x200d,
			"a\xe2\x80\x8d"
			"b" },
		{ "a\xef\xbb\xbf", LEGIBLE, 0xfeff, "a\xef\xbb\xbf" },
		{ "a\xc2\xad"
		  "b",
			LEGIBLE, 0xad,
			"a\xc2\xad"
			"b" },
		{ "a\xc2\xa0"
		  "b",
			LEGIBLE, 0xa0,
			"a\xc2\xa0"
			"b" },
		{ "a\xe3\x85\xa4", LEGIBLE, 0x3164, "a\xe3\x85\xa4" },
		{ "a\xee\x80\x80", LEGIBLE, 0xe000, "a\xee\x80\x80" },
		{ "a\xff"
		  "b\xc3",
			LEGIBLE_MALFORMED, LEGIBLE_MALFORMED, "a\\xffb\\xc3" },
	};
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct buf shown = { 0 };
		test_row(rows[i].shown);
		EXPECT_INT(rows[i].control, legible_find_control(str_from(rows[i].text)));
		EXPECT_INT(rows[i].unseen, legible_find_unseen(str_from(rows[i].text)));
		legible_append(&shown, str_from(rows[i].text), true);
		EXPECT_STR(str_from(rows[i].shown), buf_str(&shown));
		buf_deinit(&shown);
	}
	test_row(NULL);
}
