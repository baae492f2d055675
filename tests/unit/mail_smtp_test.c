/* SMTP commands, replies and incoming messages. */

#include "core/buf.h"
#include "proto/mail/smtp.h"
#include "proto/mail/smtp_data.h"
#include "proto/mail/trace.h"
#include "unit/test.h"

static const struct {
	const char *name, *arguments;
	bool inside;
	const char *reply; /* its first 9 characters, NULL: taken */
} mails[] = {
	{ "a bare sender is taken", "FROM:<a@b.example>", false, NULL },
	{ "the keyword takes any case and a space", "from: <a@b.example>", false, NULL },
	{ "the null sender is taken", "FROM:<>", false, NULL },
	{ "all parameters are taken",
		"FROM:<a@b.example> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b AUTH=<>",
		false, NULL },
	{ "a word behind the path is refused", "FROM:<a@b.example>x", false, "501 5.1.7" },
	{ "a missing path is refused", "FROM:", false, "501 5.1.7" },
	{ "a missing keyword is refused", "<a@b.example>", false, "501 5.5.4" },
	{ "a negative size is refused", "FROM:<a@b.example> SIZE=-1", false, "501 5.5.4" },
	{ "a size beyond 64 bits is refused", "FROM:<a@b.example> SIZE=99999999999999999999", false,
		"501 5.5.4" },
	{ "an unknown body is refused", "FROM:<a@b.example> BODY=BINARYMIME", false, "501 5.5.4" },
	{ "an unknown parameter is refused", "FROM:<a@b.example> FOO=1", false, "555 5.5.4" },
	{ "a delivery id from outside is refused",
		"FROM:<a@b.example> XPANDOID=00112233445566778899aabbccddeeff", false,
		"555 5.5.4" },
	{ "a delivery id from a router is taken",
		"FROM:<a@b.example> XPANDOID=00112233445566778899aabbccddeeff", true, NULL },
	{ "a short delivery id is refused", "FROM:<a@b.example> XPANDOID=0011", true, "501 5.5.4" },
	{ "RET is FULL or HDRS", "FROM:<a@b.example> RET=SOME", false, "501 5.5.4" },
	{ "RET comes once", "FROM:<a@b.example> RET=FULL RET=FULL", false, "501 5.5.4" },
	{ "ENVID comes once", "FROM:<a@b.example> ENVID=x ENVID=x", false, "501 5.5.4" },
	{ "ENVID is xtext", "FROM:<a@b.example> ENVID=a+2", false, "501 5.5.4" },
	{ "UTF-8 needs SMTPUTF8", "FROM:<\xc3\xbc@b.example>", false, "553 5.6.7" },
	{ "UTF-8 with SMTPUTF8 is taken", "FROM:<\xc3\xbc@b.example> SMTPUTF8", false, NULL },
};

static void expect_reply(const char *expected, const char *reply)
{
	if (!expected || !reply)
		EXPECT(expected == reply);
	else
		EXPECT_STR(str_from(expected), str_first(str_from(reply), 9));
}

TEST(mail_is_parsed)
{
	for (size_t i = 0; i < array_length(mails); i++) {
		struct smtp_mail mail;
		test_row(mails[i].name);
		expect_reply(mails[i].reply,
			smtp_parse_mail(str_from(mails[i].arguments), mails[i].inside, &mail));
	}
	test_row(NULL);
	struct smtp_mail mail;
	EXPECT(!smtp_parse_mail(STR("FROM:<a@b.example> size=1000 body=8bitmime ret=full envid=x "
		"XPANDOID=00112233445566778899aabbccddeeFF"), true, &mail));
	EXPECT_INT(1000, mail.size);
	EXPECT_INT(SMTP_BODY_8BITMIME, mail.body);
	EXPECT_INT(SMTP_RET_FULL, mail.ret);
	EXPECT_STR(STR("x"), mail.envid);
	EXPECT(mail.has_delivery_id && mail.delivery_id[15] == 0xff && mail.delivery_id[1] == 0x11);
}

TEST(rcpt_is_parsed)
{
	static const struct {
		const char *name, *arguments, *reply;
		unsigned notify;
	} rows[] = {
		{ "a bare recipient is taken", "TO:<a@b.example>", NULL, 0 },
		{ "the null path is no recipient", "TO:<>", "501 5.1.3", 0 },
		{ "NOTIFY is a list", "TO:<a@b.example> NOTIFY=SUCCESS,failure,DELAY", NULL,
			SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY },
		{ "NEVER stands alone", "TO:<a@b.example> NOTIFY=NEVER,SUCCESS", "501 5.5.4", 0 },
		{ "NEVER alone is taken", "TO:<a@b.example> NOTIFY=NEVER", NULL,
			SMTP_NOTIFY_NEVER },
		{ "ORCPT comes once", "TO:<a@b.example> ORCPT=rfc822;x ORCPT=rfc822;x", "501 5.5.4",
			0 },
		{ "an unknown notify is refused", "TO:<a@b.example> NOTIFY=OFTEN", "501 5.5.4", 0 },
		{ "ORCPT is taken", "TO:<a@b.example> ORCPT=rfc822;a+2Bb@b.example", NULL, 0 },
		{ "ORCPT without a type is refused", "TO:<a@b.example> ORCPT=a@b.example",
			"501 5.5.4", 0 },
		{ "SIZE belongs to MAIL", "TO:<a@b.example> SIZE=1", "555 5.5.4", 0 },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct smtp_rcpt rcpt;
		test_row(rows[i].name);
		const char *reply =
			smtp_parse_rcpt(str_from(rows[i].arguments), false, false, &rcpt);
		expect_reply(rows[i].reply, reply);
		if (!reply)
			EXPECT_INT(rows[i].notify, rcpt.notify);
	}
	test_row(NULL);
}

TEST(a_mark_is_for_the_inside)
{
	struct str marked = STR("TO:<a@b.example> XPANDOMARK=00112233445566778899aabbccddeeFF");
	struct smtp_rcpt rcpt;
	EXPECT(!smtp_parse_rcpt(marked, true, false, &rcpt));
	EXPECT(rcpt.has_mark && rcpt.mark[15] == 0xff && rcpt.mark[1] == 0x11);
	expect_reply("501 5.5.4",
		smtp_parse_rcpt(STR("TO:<a@b.example> XPANDOMARK=0011"), true, false, &rcpt));
	expect_reply("555 5.5.4", smtp_parse_rcpt(marked, false, false, &rcpt));
	EXPECT(!smtp_parse_rcpt(STR("TO:<a@b.example>"), true, false, &rcpt) && !rcpt.has_mark);
}

TEST(bdat_is_parsed)
{
	uint64_t length;
	bool last;
	EXPECT(!smtp_parse_bdat(STR("100"), &length, &last));
	EXPECT(length == 100 && !last);
	EXPECT(!smtp_parse_bdat(STR("0 last"), &length, &last));
	EXPECT(length == 0 && last);
	EXPECT(smtp_parse_bdat(STR(""), &length, &last) != NULL);
	EXPECT(smtp_parse_bdat(STR("x LAST"), &length, &last) != NULL);
	EXPECT(smtp_parse_bdat(STR("1 LAST x"), &length, &last) != NULL);
	EXPECT(smtp_parse_bdat(STR("18446744073709551615"), &length, &last) != NULL);
}

TEST(lines_end_in_crlf_only)
{
	struct str line;
	size_t used;
	EXPECT_INT(SMTP_DONE, smtp_scan_line(STR("NOOP\r\nQUIT"), 100, &line, &used));
	EXPECT_STR(STR("NOOP"), line);
	EXPECT_INT(6, used);
	EXPECT_INT(SMTP_MORE, smtp_scan_line(STR("NOOP\r"), 100, &line, &used));
	EXPECT_INT(SMTP_BAD, smtp_scan_line(STR("NOOP\n"), 100, &line, &used));
	EXPECT_INT(5, used);
	EXPECT_INT(SMTP_BAD, smtp_scan_line(STR("NO\rOP\r\n"), 100, &line, &used));
	EXPECT_INT(7, used);
	EXPECT_INT(SMTP_BAD, smtp_scan_line(STR("NO\0P\r\n"), 100, &line, &used));
	EXPECT_INT(SMTP_BAD, smtp_scan_line(STR("NOOP NOOP"), 8, &line, &used));
	EXPECT_INT(0, used);
}

TEST(replies_are_taken_whole)
{
	struct str text = STR("250-first\r\n250-SIZE 100\r\n250 2.1.0 last\r\nrest");
	struct smtp_reply reply;
	struct str arguments;
	char code[16];
	size_t used;
	EXPECT_INT(SMTP_DONE, smtp_scan_reply(text, &reply, &used));
	EXPECT_INT(250, reply.code);
	EXPECT_STR(STR("2.1.0 last"), reply.text);
	EXPECT_INT(text.length - 4, used);
	EXPECT(smtp_reply_offers(&reply, STR("size"), &arguments));
	EXPECT_STR(STR("100"), arguments);
	EXPECT(!smtp_reply_offers(&reply, STR("STARTTLS"), NULL));
	smtp_enhanced_code(&reply, code);
	EXPECT_STR(STR("2.1.0"), str_from(code));
	for (size_t length = 0; length < used; length++)
		EXPECT_INT(SMTP_MORE, smtp_scan_reply(str_first(text, length), &reply, &used));
	EXPECT_INT(SMTP_BAD, smtp_scan_reply(STR("hello\r\n"), &reply, &used));
	EXPECT_INT(SMTP_BAD, smtp_scan_reply(STR("250x\r\n"), &reply, &used));
	EXPECT_INT(SMTP_BAD, smtp_scan_reply(STR("999 x\r\n"), &reply, &used));
}

static const struct {
	const char *name, *input;
	const char *message; /* NULL: refused for bare CR or LF */
	const char *rest;    /* NULL: the end never comes */
} datas[] = {
	{ "a message ends at its dot", "a\r\nb\r\n.\r\n", "a\r\nb\r\n", "" },
	{ "an empty message is one", ".\r\n", "", "" },
	{ "what follows is left", "a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n" },
	{ "a doubled dot is one", "..a\r\n...\r\n.\r\n", ".a\r\n..\r\n", "" },
	{ "a dot inside a line stays", "a.b\r\n.\r\n", "a.b\r\n", "" },
	{ "LF dot LF does not end it", "a\n.\nMAIL FROM:<x>\r\n.\r\n", NULL, "" },
	{ "LF dot CRLF does not end it", "a\n.\r\nMAIL FROM:<x>\r\n.\r\n", NULL, "" },
	{ "CRLF dot LF does not end it", "a\r\n.\nMAIL FROM:<x>\r\n.\r\n", NULL, "" },
	{ "CR dot CR does not end it", "a\r.\rMAIL\r\n.\r\n", NULL, "" },
	{ "CRLF dot CR does not end it", "a\r\n.\rMAIL\r\n.\r\n", NULL, "" },
	{ "CR dot CRLF does not end it", "a\r.\r\nMAIL\r\n.\r\n", NULL, "" },
	{ "CR CR LF is bare", "a\r\r\n.\r\n", NULL, "" },
	{ "LF CR is bare", "a\n\r\n.\r\n", NULL, "" },
	{ "a bare CR is refused", "a\rb\r\n.\r\n", NULL, "" },
	{ "a bare LF is refused", "a\nb\r\n.\r\n", NULL, "" },
	{ "NUL dot does not end it", "a\r\n\0.\r\n", "", NULL },
	{ "no dot, no end", "a\r\nb\r\n", "", NULL },
	{ "half an end is none", "a\r\n.\r", "", NULL },
};

static void feed_data(const char *input, size_t first, const char *message, const char *rest)
{
	struct smtp_data data;
	struct buf buf = { 0 };
	struct str whole = str_from(input);
	size_t used = 0;

	smtp_data_init(&data, 0, 1000);
	buf_append_str(&buf, str_first(whole, first));
	enum smtp_data_scan scan = smtp_data_read(&data, buf_str(&buf), &used);
	buf_consume(&buf, used);
	if (scan == SMTP_DATA_MORE) {
		buf_append_str(&buf, str_from_index(whole, first));
		scan = smtp_data_read(&data, buf_str(&buf), &used);
		buf_consume(&buf, used);
	} else {
		buf_append_str(&buf, str_from_index(whole, first));
	}
	EXPECT(scan == (rest ? SMTP_DATA_DONE : SMTP_DATA_MORE));
	if (rest && scan == SMTP_DATA_DONE) {
		EXPECT_STR(str_from(rest), buf_str(&buf));
		struct bytes *bytes = smtp_data_take(&data);
		EXPECT((bytes != NULL) == (message != NULL));
		if (bytes && message)
			EXPECT_STR(str_from(message), bytes_str(bytes));
		bytes_unref(&bytes);
	}
	smtp_data_deinit(&data);
	buf_deinit(&buf);
}

TEST(data_ends_only_at_its_end_wherever_it_is_split)
{
	for (size_t i = 0; i < array_length(datas); i++) {
		test_row(datas[i].name);
		for (size_t first = 0; first <= strlen(datas[i].input); first++)
			feed_data(datas[i].input, first, datas[i].message, datas[i].rest);
	}
	test_row(NULL);
}

TEST(data_byte_by_byte_is_the_same)
{
	struct str input = STR("Subject: x\r\n\r\n..dots\r\n.. more\r\nlast\r\n.\r\n");
	struct smtp_data data;
	struct buf buf = { 0 };
	size_t used;
	enum smtp_data_scan scan = SMTP_DATA_MORE;
	smtp_data_init(&data, 0, 1000);
	smtp_data_prefix(&data, STR("Received: y\r\n"));
	for (size_t i = 0; i < input.length; i++) {
		EXPECT(scan == SMTP_DATA_MORE);
		buf_append_byte(&buf, input.bytes[i]);
		scan = smtp_data_read(&data, buf_str(&buf), &used);
		buf_consume(&buf, used);
	}
	EXPECT(scan == SMTP_DATA_DONE);
	struct bytes *bytes = smtp_data_take(&data);
	EXPECT_STR(STR("Received: y\r\nSubject: x\r\n\r\n.dots\r\n. more\r\nlast\r\n"),
		bytes_str(bytes));
	bytes_unref(&bytes);
	smtp_data_deinit(&data);
	buf_deinit(&buf);
}

TEST(data_over_the_limit_is_dropped_and_its_end_still_found)
{
	struct smtp_data data;
	size_t used;
	smtp_data_init(&data, 0, 10);
	struct str input = STR("0123456\r\n0123456\r\n.\r\n");
	EXPECT(smtp_data_read(&data, input, &used) == SMTP_DATA_DONE);
	EXPECT(data.too_large && used == input.length && !data.bytes);
	EXPECT(!smtp_data_take(&data));
	smtp_data_deinit(&data);
}

TEST(chunks_refuse_bare_line_ends_wherever_they_are_split)
{
	static const struct {
		const char *name, *input, *message;
	} rows[] = {
		{ "clean text is taken", "a\r\nb\r\n", "a\r\nb\r\n" },
		{ "dots are not special", ".\r\n..\r\n", ".\r\n..\r\n" },
		{ "a last line gets its end", "a\r\nb", "a\r\nb\r\n" },
		{ "a bare LF is refused", "a\nb\r\n", NULL },
		{ "a bare CR is refused", "a\rb\r\n", NULL },
		{ "a CR at the very end is refused", "a\r", NULL },
		{ "a smuggled end is refused", "a\n.\nMAIL\r\n", NULL },
		{ "nothing is a message", "", "" },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct str whole = str_from(rows[i].input);
		test_row(rows[i].name);
		for (size_t first = 0; first <= whole.length; first++) {
			struct smtp_data data;
			smtp_data_init(&data, 0, 1000);
			smtp_data_chunk(&data, str_first(whole, first));
			smtp_data_chunk(&data, str_from_index(whole, first));
			smtp_data_chunks_end(&data);
			struct bytes *bytes = smtp_data_take(&data);
			EXPECT((bytes != NULL) == (rows[i].message != NULL));
			if (bytes && rows[i].message)
				EXPECT_STR(str_from(rows[i].message), bytes_str(bytes));
			bytes_unref(&bytes);
			smtp_data_deinit(&data);
		}
	}
	test_row(NULL);
}

TEST(a_nul_is_refused_by_data_and_by_chunks)
{
	struct str input = STR("Subject: x\r\n\r\na\0b\r\n.\r\n");
	struct smtp_data data;
	size_t used;
	smtp_data_init(&data, 0, 1000);
	EXPECT(smtp_data_read(&data, input, &used) == SMTP_DATA_DONE);
	EXPECT(!smtp_data_take(&data));
	EXPECT_STR(STR("550 5.6.0 Message contains a NUL"), str_from(smtp_data_refusal(&data)));
	smtp_data_deinit(&data);
	smtp_data_init(&data, 0, 1000);
	smtp_data_chunk(&data, str_first(input, 15));
	smtp_data_chunk(&data, str_from_index(input, 15));
	smtp_data_chunks_end(&data);
	EXPECT(!smtp_data_take(&data));
	smtp_data_deinit(&data);
}

TEST(a_header_is_told_from_text)
{
	static const struct {
		const char *name, *message;
		bool expected;
	} rows[] = {
		{ "a field begins a header", "Subject: x\r\n", true },
		{ "white space in front of the colon was allowed once", "Subject : x\r\n", true },
		{ "an empty line is a header without fields", "\r\ntext: x\r\n", true },
		{ "nothing is a header without fields", "", true },
		{ "what mail folders put above stays", "From a@b Sat\r\nSubject: x\r\n", true },
		{ "two words are text", "just text: or not\r\n", false },
		{ "a line without a colon is text", "text\r\nSubject: x\r\n", false },
		{ "a colon alone is text", ": x\r\n", false },
		{ "a folded line first is text", " Subject: x\r\n", false },
		{ "an end without line end is text", "Subject", false },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		test_row(rows[i].name);
		EXPECT(trace_begins_with_header(str_from(rows[i].message)) == rows[i].expected);
	}
	test_row(NULL);
}

TEST(large_data_grows)
{
	struct smtp_data data;
	struct buf input = { 0 };
	size_t used;
	for (unsigned i = 0; i < 50000; i++)
		buf_append_literal(&input, "0123456789 0123456789\r\n");
	buf_append_literal(&input, ".\r\n");
	smtp_data_init(&data, 0, 10 << 20);
	EXPECT(smtp_data_read(&data, buf_str(&input), &used) == SMTP_DATA_DONE);
	struct bytes *bytes = smtp_data_take(&data);
	EXPECT(bytes && bytes->length == buf_length(&input) - 3);
	EXPECT(bytes && memcmp(bytes->data, buf_str(&input).bytes, bytes->length) == 0);
	bytes_unref(&bytes);
	smtp_data_deinit(&data);
	buf_deinit(&input);
}
