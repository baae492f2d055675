/* MIME structure and its summary: what real and broken messages look like to FETCH. */

#include "proto/mail/summary.h"
#include "unit/test.h"

static const struct {
	const char *name, *message, *structure;
} structures[] = {
	{ "a message without Content-Type is plain text", "Subject: a\r\n\r\nx\r\n",
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1 NIL NIL NIL "
		"NIL)" },
	{ "an empty message is an empty text", "",
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL "
		"NIL)" },
	{ "a header without an end has no body", "Subject: a\r\nFrom: b",
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL "
		"NIL)" },
	{ "a type without subtype is plain text", "Content-Type: text\r\n\r\n",
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL "
		"NIL)" },
	{ "parameters lose quotes, comments and folding",
		"Content-Type: text/html (c); charset=\"utf-8\";\r\n\tname=\"a \\\"b\\\".html\" "
		"(d)\r\n"
		"Content-Transfer-Encoding: Base64\r\n\r\n",
		"(\"text\" \"html\" (\"charset\" \"utf-8\" \"name\" \"a \\\"b\\\".html\") NIL NIL "
		"\"Base64\" 0 0 NIL NIL NIL NIL)" },
	{ "a bare value may hold spaces",
		"Content-Type: application/pdf; name=my file (1).pdf\r\n\r\n",
		"(\"application\" \"pdf\" (\"name\" \"my file\") NIL NIL \"7bit\" 0 NIL NIL NIL "
		"NIL)" },
	{ "disposition, language, location, id and md5 are shown",
		"Content-Type: image/png\r\nContent-ID: <i@x>\r\nContent-Description: d\r\n"
		"Content-Disposition: attachment; filename=a.png\r\nContent-Language: de, en\r\n"
		"Content-Location: http://x/\r\nContent-MD5: Q2hlY2s=\r\n\r\nxy",
		"(\"image\" \"png\" NIL \"<i@x>\" \"d\" \"7bit\" 2 \"Q2hlY2s=\" (\"attachment\" "
		"(\"filename\" \"a.png\")) (\"de\" \"en\") \"http://x/\")" },
	{ "a multipart's children follow each other",
		"Content-Type: multipart/alternative; boundary=\"b b\"\r\n\r\npre\r\n--b "
		"b\r\n\r\none\r\n"
		"--b b\r\nContent-Type: text/html\r\n\r\ntwo\r\n--b b--\r\npost",
		"((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL "
		"NIL)(\"text\" \"html\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL "
		"NIL NIL) \"alternative\" (\"boundary\" \"b b\") NIL NIL NIL)" },
	{ "a multipart without boundary is plain text",
		"Content-Type: multipart/mixed\r\n\r\n--b\r\nx",
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1 NIL NIL NIL "
		"NIL)" },
	{ "a multipart whose boundary never comes is plain text",
		"Content-Type: multipart/mixed; boundary=q\r\n\r\n--b\r\nx",
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1 NIL NIL NIL "
		"NIL)" },
	{ "a missing closing delimiter closes at the end",
		"Content-Type: multipart/mixed; "
		"boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n",
		"((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL "
		"NIL)(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 5 1 NIL NIL "
		"NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)" },
	{ "an outer delimiter closes the inner multipart",
		"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n"
		"Content-Type: multipart/mixed; "
		"boundary=i\r\n\r\n--i\r\n\r\none\r\n--o\r\n\r\ntwo\r\n--o--\r\n",
		"(((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL "
		"NIL) \"mixed\" (\"boundary\" \"i\") NIL NIL NIL)(\"text\" \"plain\" (\"charset\" "
		"\"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL NIL) \"mixed\" (\"boundary\" "
		"\"o\") NIL NIL NIL)" },
	{ "of boundaries that begin alike the longer is meant",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
		"Content-Type: multipart/mixed; "
		"boundary=bb\r\n\r\n--bb\r\n\r\none\r\n--bb--\r\n--b--\r\n",
		"(((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL "
		"NIL) \"mixed\" (\"boundary\" \"bb\") NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") "
		"NIL NIL NIL)" },
	{ "parts of a digest are messages by default",
		"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: "
		"s\r\n\r\nx\r\n--b--\r\n",
		"((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 15 (NIL \"s\" NIL NIL NIL NIL NIL "
		"NIL NIL NIL) "
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL "
		"NIL) 2 NIL NIL NIL "
		"NIL) \"digest\" (\"boundary\" \"b\") NIL NIL NIL)" },
	{ "an encoded message/rfc822 is opaque",
		"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3Vi\r\n",
		"(\"application\" \"octet-stream\" NIL NIL NIL \"base64\" 6 NIL NIL NIL NIL)" },
	{ "a delimiter right behind a part's header leaves it empty",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: "
		"text/html\r\n--b--\r\n",
		"((\"text\" \"html\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL "
		"NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)" },
	{ "an empty line that ends a header is not the delimiter's",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: "
		"message/rfc822\r\n\r\n"
		"Subject: s\r\n\r\n--b--\r\n",
		"((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 14 (NIL \"s\" NIL NIL NIL NIL NIL "
		"NIL NIL NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 "
		"NIL NIL NIL NIL) 2 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)" },
	{ "a message part that is only a header holds an empty text",
		"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n--b--\r\n",
		"((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 0 (NIL NIL NIL NIL NIL NIL NIL NIL "
		"NIL NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL "
		"NIL NIL NIL) 0 NIL NIL NIL NIL) \"digest\" (\"boundary\" \"b\") NIL NIL NIL)" },
	{ "bare line feeds end lines too",
		"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n",
		"((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL "
		"NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)" },
	{ "a boundary is unfolded and unquoted",
		"Content-Type: multipart/mixed; boundary=\"a\r\n \\b\"\r\n\r\n--a b\r\n\r\none\r\n"
		"--a b--\r\n",
		"((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL "
		"NIL) \"mixed\" (\"boundary\" \"a b\") NIL NIL NIL)" },
	{ "a parameter cut into pieces is one, in the order of their numbers",
		"Content-Type: a/b; name*1=\"c d.\"; x=y; name*0=\"a b\"; name*2=e; "
		"name*4=f\r\n\r\n",
		"(\"a\" \"b\" (\"x\" \"y\" \"name\" \"a bc d.e\" \"name*4\" \"f\") NIL NIL "
		"\"7bit\" 0 NIL NIL NIL NIL)" },
	{ "with one of them encoded all are",
		"Content-Disposition: attachment; filename*0*=utf-8''%e2%82; "
		"FileName*1=\"1 %\"\r\n\r\n",
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL "
		"(\"attachment\" (\"filename*\" \"utf-8''%e2%821%20%25\")) NIL NIL)" },
	{ "a plain beginning says no charset for the encoded rest",
		"Content-Disposition: attachment; filename*0=\"100%41 '\"; "
		"filename*1*=%C3%A9.pdf\r\n\r\n",
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL "
		"(\"attachment\" (\"filename*\" \"''100%2541%20%27%C3%A9.pdf\")) NIL NIL)" },
	{ "a comment beside a language is none", "Content-Language: (x) en , fr\r\n\r\n",
		"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL "
		"(\"en\" \"fr\") NIL)" },
	{ "lines that are no fields are passed over",
		"From nobody Thu Jan  1\r\nrubbish\r\nContent-Type : text/html\r\n\r\nx",
		"(\"text\" \"html\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0 NIL NIL NIL "
		"NIL)" },
};

TEST(structures_are_described)
{
	for (size_t i = 0; i < array_length(structures); i++) {
		struct buf encoded = { 0 };
		struct summary summary;
		test_row(structures[i].name);
		summary_encode(str_from(structures[i].message), &encoded);
		EXPECT(summary_decode(buf_str(&encoded), &summary));
		EXPECT_STR(str_from(structures[i].structure), summary.structure);
		buf_deinit(&encoded);
	}
	test_row(NULL);
}

static const struct {
	const char *name, *field, *addresses;
} address_lists[] = {
	{ "a display name in quotes", "\"A, B\" <a@b.c>", "((\"A, B\" NIL \"a\" \"b.c\"))" },
	{ "a comment is the name of a bare address", "a@b.c (Mr A)",
		"((\"Mr A\" NIL \"a\" \"b.c\"))" },
	{ "several addresses", "a@b.c, , d@e.f",
		"((NIL NIL \"a\" \"b.c\")(NIL NIL \"d\" \"e.f\"))" },
	{ "a group and its end", "g: a@b.c, d@e.f;, h@i.j",
		"((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"b.c\")(NIL NIL \"d\" \"e.f\")(NIL NIL NIL "
		"NIL)(NIL NIL \"h\" \"i.j\"))" },
	{ "an empty group", "undisclosed-recipients:;",
		"((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL))" },
	{ "a group without an end is closed", "g: a@b.c",
		"((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"b.c\")(NIL NIL NIL NIL))" },
	{ "a source route", "<@x,@y:a@b.c>", "((NIL \"@x,@y\" \"a\" \"b.c\"))" },
	{ "a word without a domain", "somebody", "((NIL NIL \"somebody\" \"MISSING_DOMAIN\"))" },
	{ "words without an address are a name", "Undisclosed \"of A\", a@b.c",
		"((\"Undisclosed of A\" NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\")(NIL NIL \"a\" "
		"\"b.c\"))" },
	{ "an empty path", "Foo <>", "((\"Foo\" NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))" },
	{ "encoded words stay", "=?utf-8?q?J=C3=BC?= <j@b.c>",
		"((\"=?utf-8?q?J=C3=BC?=\" NIL \"j\" \"b.c\"))" },
	{ "8-bit text goes as a literal", "J\xc3\xbc <j@b.c>",
		"(({3}\r\nJ\xc3\xbc NIL \"j\" \"b.c\"))" },
	{ "folding becomes a space", "A\r\n B <a@b.c>,\r\n\t<d@e.f>",
		"((\"A B\" NIL \"a\" \"b.c\")(NIL NIL \"d\" \"e.f\"))" },
	{ "a missing bracket", "A <a@b.c", "((\"A\" NIL \"a\" \"b.c\"))" },
	{ "a domain literal", "a@[IPv6:::1]", "((NIL NIL \"a\" \"[IPv6:::1]\"))" },
	{ "quotes around a local part go", "\"a b\"@c.d", "((NIL NIL \"a b\" \"c.d\"))" },
};

TEST(addresses_are_shown_in_the_envelope)
{
	for (size_t i = 0; i < array_length(address_lists); i++) {
		struct buf message = { 0 }, encoded = { 0 }, expected = { 0 };
		struct summary summary;
		test_row(address_lists[i].name);
		buf_printf(&message, "To: %s\r\n\r\n", address_lists[i].field);
		buf_printf(&expected, "(NIL NIL NIL NIL NIL %s NIL NIL NIL NIL)",
			address_lists[i].addresses);
		summary_encode(buf_str(&message), &encoded);
		EXPECT(summary_decode(buf_str(&encoded), &summary));
		EXPECT_STR(buf_str(&expected), summary.envelope);
		buf_deinit(&message);
		buf_deinit(&encoded);
		buf_deinit(&expected);
	}
	test_row(NULL);
}

static const struct {
	const char *name, *header, *envelope;
} envelopes[] = {
	{ "an empty field is not a missing one", "Subject:\r\nDate: \r\nMessage-ID:\r\n \r\n",
		"(\"\" \"\" NIL NIL NIL NIL NIL NIL NIL \"\")" },
	{ "of a field that is repeated the first with a value counts",
		"Subject:\r\nSubject: one\r\nSubject: two\r\n",
		"(NIL \"one\" NIL NIL NIL NIL NIL NIL NIL NIL)" },
	{ "repeated recipient fields are one list", "To: a@b\r\nCc: x@y\r\nto : c@d,\r\n e@f\r\n",
		"(NIL NIL NIL NIL NIL ((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")(NIL NIL \"e\" "
		"\"f\")) ((NIL NIL \"x\" \"y\")) NIL NIL NIL)" },
	{ "of repeated senders the first counts", "From: a@b\r\nFrom: c@d\r\n",
		"(NIL NIL ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) "
		"NIL NIL NIL NIL NIL)" },
	{ "an empty Sender is From", "From: a@b\r\nSender:\r\nReply-To: \r\n",
		"(NIL NIL ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) "
		"NIL NIL NIL NIL NIL)" },
};

TEST(envelopes_are_described)
{
	for (size_t i = 0; i < array_length(envelopes); i++) {
		struct buf encoded = { 0 };
		struct summary summary;
		test_row(envelopes[i].name);
		summary_encode(str_from(envelopes[i].header), &encoded);
		EXPECT(summary_decode(buf_str(&encoded), &summary));
		EXPECT_STR(str_from(envelopes[i].envelope), summary.envelope);
		buf_deinit(&encoded);
	}
	test_row(NULL);
}

/* A part (or a message in a part) again and again, up to MIME_PARTS_MAX. */
static void append_repeated(struct buf *message, struct str part, unsigned count)
{
	buf_append_literal(message, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
	for (unsigned i = 0; i < count; i++)
		buf_append_str(message, part);
	buf_append_literal(message, "--b--\r\n");
}

static void expect_bounded_summary(struct str message, unsigned part_count)
{
	struct buf encoded = { 0 };
	struct summary summary;
	summary_encode(message, &encoded);
	EXPECT(buf_length(&encoded) <= SUMMARY_LENGTH_MAX);
	EXPECT(summary_decode(buf_str(&encoded), &summary));
	EXPECT_INT(part_count, summary.part_count);
	buf_deinit(&encoded);
}

TEST(the_summary_of_any_message_is_bounded)
{
	struct buf part = { 0 }, message = { 0 };
	static const char *const fields[] = { "Content-Type: a/b; c=", "\r\nContent-ID: ",
		"\r\nContent-Disposition: d; e=" };

	/* Long fields in many parts. */
	buf_append_literal(&part, "--b\r\n");
	for (size_t i = 0; i < array_length(fields); i++) {
		buf_append_str(&part, str_from(fields[i]));
		for (unsigned k = 0; k < 3900; k++)
			buf_append_byte(&part, 'x');
	}
	buf_append_literal(&part, "\r\n\r\ntext\r\n");
	append_repeated(&message, buf_str(&part), 1900);
	expect_bounded_summary(buf_str(&message), 1901);
	/* Addresses of two bytes in many messages. */
	buf_clear(&part);
	buf_clear(&message);
	buf_append_literal(&part, "--b\r\nContent-Type: message/rfc822\r\n\r\nTo: ");
	for (unsigned k = 0; k < 2000; k++)
		buf_append_literal(&part, "a,");
	buf_append_literal(&part, "\r\n\r\ntext\r\n");
	append_repeated(&message, buf_str(&part), 900);
	expect_bounded_summary(buf_str(&message), 1801);
	buf_deinit(&part);
	buf_deinit(&message);
}

static const char nested[] =
	"Content-Type: multipart/mixed; boundary=o\r\n\r\n"
	"--o\r\nX: 1\r\n\r\nfirst\r\n"
	"--o\r\nContent-Type: message/rfc822\r\nX: 2\r\n\r\n"
	"Subject: inner\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n"
	"--i\r\nX: 2.1\r\n\r\nsecond\r\n--i\r\nX: 2.2\r\n\r\nthird\r\n--i--\r\n"
	"--o\r\nContent-Type: message/rfc822\r\nX: 3\r\n\r\nSubject: "
	"single\r\n\r\nfourth\r\n--o--\r\n";

static const struct {
	const char *name;
	uint32_t numbers[4];
	unsigned count;
	const char *body; /* NULL: no such part */
} part_numbers[] = {
	{ "1 is the first child", { 1 }, 1, "first" },
	{ "2.1 is inside the message of 2", { 2, 1 }, 2, "second" },
	{ "2.2 is its second child", { 2, 2 }, 2, "third" },
	{ "3.1 is the only body of the message of 3", { 3, 1 }, 2, "fourth" },
	{ "4 is none", { 4 }, 1, NULL },
	{ "1.1 is none: a text has no parts", { 1, 1 }, 2, NULL },
	{ "2.3 is none", { 2, 3 }, 2, NULL },
	{ "3.2 is none", { 3, 2 }, 2, NULL },
	{ "3.1.1 is none", { 3, 1, 1 }, 3, NULL },
};

TEST(part_numbers_name_parts)
{
	struct buf encoded = { 0 };
	struct summary summary;
	struct str message = str_from(nested);

	summary_encode(message, &encoded);
	EXPECT(summary_decode(buf_str(&encoded), &summary));
	for (size_t i = 0; i < array_length(part_numbers); i++) {
		test_row(part_numbers[i].name);
		int index =
			summary_find_part(&summary, part_numbers[i].numbers, part_numbers[i].count);
		EXPECT((index >= 0) == (part_numbers[i].body != NULL));
		if (index < 0 || !part_numbers[i].body)
			continue;
		struct summary_part part;
		summary_part(&summary, (unsigned)index, &part);
		EXPECT_STR(str_from(part_numbers[i].body),
			str_of(message.bytes + part.body_offset, part.body_length));
	}
	test_row(NULL);
	buf_deinit(&encoded);
}

static const struct {
	const char *name, *date;
	bool good;
	int64_t utc_s;
	int zone;
} dates[] = {
	{ "the usual form", "Thu, 22 Aug 2002 12:46:18 +0100", true, 1030016778, 60 },
	{ "without day and seconds", "22 Aug 2002 12:46 GMT", true, 1030020360, 0 },
	{ "a comment behind the zone", "Thu, 22 Aug 2002 12:46:18 -0700 (PDT)", true, 1030045578,
		-420 },
	{ "a named zone", "Thu, 22 Aug 2002 12:46:18 EST", true, 1030038378, -300 },
	{ "a year of two digits", "Mon, 7 Feb 94 21:52:25 -0800", true, 760686745, -480 },
	{ "a year of three digits", "1 Jan 102 00:00:00 +0000", true, 1009843200, 0 },
	{ "the form of asctime", "Mon Feb  7 21:52:25 1994", true, 760657945, 0 },
	{ "before 1970", "1 Jan 1960 00:00:00 +0000", true, -315619200, 0 },
	{ "a leap day", "29 Feb 2024 00:00:00 +0000", true, 1709164800, 0 },
	{ "no month", "22 Xyz 2002 12:46:18 +0100", false, 0, 0 },
	{ "nothing", "", false, 0, 0 },
	{ "words", "yesterday at noon", false, 0, 0 },
};

TEST(dates_are_read)
{
	for (size_t i = 0; i < array_length(dates); i++) {
		int64_t utc_s = 0;
		int zone = 0;
		test_row(dates[i].name);
		bool good = mime_parse_date(str_from(dates[i].date), &utc_s, &zone);
		EXPECT(good == dates[i].good);
		if (good && dates[i].good) {
			EXPECT_INT(dates[i].utc_s, utc_s);
			EXPECT_INT(dates[i].zone, zone);
		}
	}
	test_row(NULL);
}

static const struct {
	const char *name;
	enum mime_encoding encoding;
	const char *body, *decoded;
} transfers[] = {
	{ "base64", MIME_BASE64, "aGVs\r\nbG8=\r\n", "hello" },
	{ "base64 without padding", MIME_BASE64, "aGVsbG8", "hello" },
	{ "base64 with rubbish between", MIME_BASE64, "aG!Vs bG-8=", "hello" },
	{ "two base64 texts in a row", MIME_BASE64, "aGVsbG8=aGVsbG8=", "hellohello" },
	{ "quoted-printable", MIME_QUOTED_PRINTABLE, "a=3Db=\r\nc =20\r\n", "a=bc  \r\n" },
	{ "a soft break with spaces", MIME_QUOTED_PRINTABLE, "a=  \r\nb", "ab" },
	{ "malformed escapes stay", MIME_QUOTED_PRINTABLE, "a=zz=4", "a=zz=4" },
	{ "nothing to do", MIME_IDENTITY, "a=3D", "a=3D" },
};

TEST(transfer_encodings_are_undone)
{
	for (size_t i = 0; i < array_length(transfers); i++) {
		struct buf out = { 0 };
		test_row(transfers[i].name);
		mime_decode(transfers[i].encoding, str_from(transfers[i].body), &out);
		EXPECT_STR(str_from(transfers[i].decoded), buf_str(&out));
		buf_deinit(&out);
	}
	test_row(NULL);
}

TEST(body_leaves_extension_data_out)
{
	struct buf encoded = { 0 }, body = { 0 };
	struct summary summary;
	summary_encode(
		STR("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"),
		&encoded);
	EXPECT(summary_decode(buf_str(&encoded), &summary));
	summary_write_body(&summary, &body);
	EXPECT_STR(STR("((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0) "
		       "\"mixed\")"),
		buf_str(&body));
	buf_deinit(&encoded);
	buf_deinit(&body);
}

TEST(depth_and_number_of_parts_are_bounded)
{
	struct buf message = { 0 }, encoded = { 0 };
	struct summary summary;

	for (int i = 0; i < 1000; i++)
		buf_printf(&message,
			"Content-Type: multipart/mixed; boundary=b%dx\r\n\r\n--b%dx\r\n", i, i);
	summary_encode(buf_str(&message), &encoded);
	EXPECT(summary_decode(buf_str(&encoded), &summary));
	EXPECT_INT(MIME_DEPTH_MAX, summary.part_count);
	buf_clear(&message);
	buf_clear(&encoded);
	buf_append_str(&message, STR("Content-Type: multipart/mixed; boundary=b\r\n\r\n"));
	for (int i = 0; i < 5000; i++)
		buf_append_str(&message, STR("--b\r\n\r\nx\r\n"));
	summary_encode(buf_str(&message), &encoded);
	EXPECT(summary_decode(buf_str(&encoded), &summary));
	EXPECT_INT(MIME_PARTS_MAX, summary.part_count);
	buf_clear(&message);
	buf_clear(&encoded);
	for (int i = 0; i < 1000; i++)
		buf_append_str(&message, STR("Content-Type: message/rfc822\r\n\r\n"));
	summary_encode(buf_str(&message), &encoded);
	EXPECT(summary_decode(buf_str(&encoded), &summary));
	EXPECT_INT(MIME_DEPTH_MAX, summary.part_count);
	buf_deinit(&message);
	buf_deinit(&encoded);
}

TEST(a_damaged_summary_is_refused)
{
	struct buf encoded = { 0 };
	struct summary summary;

	summary_encode(str_from(nested), &encoded);
	struct str whole = buf_str(&encoded);
	for (size_t length = 0; length < whole.length; length++)
		EXPECT(!summary_decode(str_first(whole, length), &summary));
	EXPECT(summary_decode(whole, &summary));
	encoded.memory[encoded.start] = 2; /* another version */
	EXPECT(!summary_decode(whole, &summary));
	buf_deinit(&encoded);
}

TEST(a_large_message_carries_its_header)
{
	struct buf message = { 0 }, encoded = { 0 };
	struct summary summary;

	buf_append_str(&message, STR("Subject: large\r\nX: y\r\n\r\n"));
	while (buf_length(&message) <= SUMMARY_WHOLE_READ_MAX)
		buf_append_str(&message, STR("line\r\n"));
	summary_encode(buf_str(&message), &encoded);
	EXPECT(summary_decode(buf_str(&encoded), &summary));
	EXPECT(summary.has_header);
	EXPECT_STR(STR("Subject: large\r\nX: y\r\n\r\n"), summary.header);
	buf_deinit(&message);
	buf_deinit(&encoded);
}
