/* RFC 5321 paths and mailboxes. */

#include "core/buf.h"
#include "proto/mail/address.h"
#include "unit/test.h"

static const struct {
	const char *name, *text;
	bool good;
	const char *canonical, *rest;
} paths[] = {
	{ "a plain path is taken", "<user@example.org>", true, "user@example.org", "" },
	{ "what follows the path is left", "<u@example.org> SIZE=3", true, "u@example.org",
		" SIZE=3" },
	{ "the null path is taken", "<>", true, "", "" },
	{ "the domain is lower-cased, the local part is not", "<Us.Er@EXAMPLE.Org>", true,
		"Us.Er@example.org", "" },
	{ "postmaster goes without a domain", "<Postmaster>", true, "Postmaster", "" },
	{ "nobody else goes without a domain", "<user>", false, "", "" },
	{ "needless quotes are taken off", "<\"user\"@example.org>", true, "user@example.org", "" },
	{ "needed quotes stay", "<\"a b\"@example.org>", true, "\"a b\"@example.org", "" },
	{ "an escaped quote stays", "<\"a\\\"b\"@example.org>", true, "\"a\\\"b\"@example.org",
		"" },
	{ "an at sign in quotes stays quoted", "<\"a@b\"@example.org>", true, "\"a@b\"@example.org",
		"" },
	{ "a control character in quotes is refused", "<\"a\001b\"@example.org>", false, "", "" },
	{ "an IPv4 literal is taken", "<u@[192.0.2.1]>", true, "u@[192.0.2.1]", "" },
	{ "an IPv6 literal is taken", "<u@[IPv6:2001:db8::1]>", true, "u@[ipv6:2001:db8::1]", "" },
	{ "a literal that is no address is refused", "<u@[300.0.2.1]>", false, "", "" },
	{ "an empty literal is refused", "<u@[]>", false, "", "" },
	{ "a source route is skipped", "<@a.example,@b.example:u@c.example>", true, "u@c.example",
		"" },
	{ "a source route without its colon is refused", "<@a.example,u@c.example>", false, "",
		"" },
	{ "dots never come first", "<.u@example.org>", false, "", "" },
	{ "dots never come last", "<u.@example.org>", false, "", "" },
	{ "dots never come twice", "<u..v@example.org>", false, "", "" },
	{ "a label does not begin with a hyphen", "<u@-example.org>", false, "", "" },
	{ "a label does not end with a hyphen", "<u@example-.org>", false, "", "" },
	{ "empty labels are refused", "<u@example..org>", false, "", "" },
	{ "a missing bracket is refused", "<u@example.org", false, "", "" },
	{ "no bracket at all is refused", "u@example.org", false, "", "" },
	{ "spaces inside are refused", "<u @example.org>", false, "", "" },
	{ "UTF-8 is taken", "<\xc3\xbcser@ex\xc3\xa4mple.org>", true,
		"\xc3\xbcser@ex\xc3\xa4mple.org", "" },
	{ "broken UTF-8 is refused", "<\xc3@example.org>", false, "", "" },
	{ "overlong UTF-8 is refused", "<\xc0\xaf@example.org>", false, "", "" },
	{ "a bidirectional override is refused", "<a\xe2\x80\xae" "b@example.org>", false, "", "" },
	{ "a C1 control is refused",
		"<a\xc2\x9b"
		"b@example.org>",
		false, "", "" },
	{ "a line separator is refused in a domain",
		"<a@ex\xe2\x80\xa8"
		"ample.org>",
		false, "", "" },
	{ "a joiner is taken, as Persian has it",
		"<a\xe2\x80\x8c"
		"b@example.org>",
		true,
		"a\xe2\x80\x8c"
		"b@example.org",
		"" },
	{ "percent and bang are local text", "<a%b!c@example.org>", true, "a%b!c@example.org", "" },
};

TEST(paths_are_parsed)
{
	for (size_t i = 0; i < array_length(paths); i++) {
		struct address address;
		struct str rest = STR("");
		struct buf out = { 0 };
		test_row(paths[i].name);
		bool good = address_parse_path(str_from(paths[i].text), &address, &rest);
		EXPECT(good == paths[i].good);
		if (good && paths[i].good) {
			address_append(&address, &out);
			EXPECT_STR(str_from(paths[i].canonical), buf_str(&out));
			EXPECT_STR(str_from(paths[i].rest), rest);
		}
		buf_deinit(&out);
	}
	test_row(NULL);
}

TEST(relay_hacks_are_recognized)
{
	static const struct {
		const char *text;
		bool hack;
	} rows[] = {
		{ "<user@example.org>", false },
		{ "<user+detail@example.org>", false },
		{ "<user%other.example@example.org>", true },
		{ "<other.example!user@example.org>", true },
		{ "<\"user@other.example\"@example.org>", true },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct address address;
		struct str rest;
		test_row(rows[i].text);
		EXPECT(address_parse_path(str_from(rows[i].text), &address, &rest));
		EXPECT(address_is_relay_hack(&address) == rows[i].hack);
	}
	test_row(NULL);
}

TEST(every_prefix_of_a_path_is_refused)
{
	struct str whole = STR("<@a.example:\"q \\\" uo\"@[IPv6:2001:db8::1]>");
	struct address address;
	struct str rest;
	EXPECT(address_parse_path(whole, &address, &rest));
	EXPECT(address.has_route && address.is_quoted && address.is_literal);
	for (size_t length = 0; length < whole.length; length++)
		EXPECT(!address_parse_path(str_first(whole, length), &address, &rest));
}

TEST(too_long_parts_are_refused)
{
	struct buf text = { 0 };
	struct address address;
	struct str rest;
	buf_append_byte(&text, '<');
	for (unsigned i = 0; i < ADDRESS_LOCAL_MAX + 1; i++)
		buf_append_byte(&text, 'a');
	buf_append_literal(&text, "@example.org>");
	EXPECT(!address_parse_path(buf_str(&text), &address, &rest));
	buf_clear(&text);
	buf_append_literal(&text, "<u@");
	for (unsigned i = 0; i < 64; i++)
		buf_append_byte(&text, 'a');
	buf_append_literal(&text, ".org>");
	EXPECT(!address_parse_path(buf_str(&text), &address, &rest));
	buf_deinit(&text);
}
