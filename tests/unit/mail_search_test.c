/* What a SEARCH must read of a message, and what it finds. */

#include "proto/mail/search.h"
#include "unit/test.h"

static const char message[] = "Date: Fri, 31 Dec 2021 23:30:00 -0500\r\n"
			      "From: Anna Example <anna@example.org>\r\n"
			      "To: <bob (the builder)@ (x) example.net>, \"Smith, J.\" <j@c.d>\r\n"
			      "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
			      "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
			      "--b\r\nContent-Type: text/html\r\n\r\n<b>hello</b>\r\n"
			      "--b\r\nContent-Type: application/pdf\r\n\r\nsecret\r\n"
			      "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: "
			      "inside\r\n\r\ninner words\r\n--b--\r\n";

static const struct search_facts facts = {
	.sequence = 3, .uid = 30, .size = 500, .flags = IMAP_FLAG_SEEN | 1 << 8, .modseq = 77,
	.internal_date_s = 1641000000, /* 1 January 2022, 01:20 UTC */
};

static const struct {
	const char *name, *search;
	bool found;
	enum search_verdict first; /* what the index alone says */
} rows[] = {
	{ "flags need no reading", "SEEN", true, SEARCH_YES },
	{ "a false flag decides a conjunction", "UNSEEN BODY hello", false, SEARCH_NO },
	{ "a true flag decides a disjunction", "OR SEEN BODY nothing", true, SEARCH_YES },
	{ "the header is asked before the body", "FROM nobody BODY hello", false,
		SEARCH_NEEDS_HEADER },
	{ "a body key alone asks for the body", "BODY hello", true, SEARCH_NEEDS_BODY },
	{ "NOT of an open key is open", "NOT BODY hello", false, SEARCH_NEEDS_BODY },
	{ "display names are found", "FROM \"anna ex\"", true, SEARCH_NEEDS_HEADER },
	{ "encoded words are found decoded", "SUBJECT \"GR\xc3\x9c\"", true, SEARCH_NEEDS_HEADER },
	{ "a field that is there", "HEADER Subject \"\"", true, SEARCH_NEEDS_HEADER },
	{ "a field that is not", "HEADER X-No \"\"", false, SEARCH_NEEDS_HEADER },
	{ "addresses are found without their comments", "TO bob@example.net", true,
		SEARCH_NEEDS_HEADER },
	{ "and without quotes", "TO \"Smith, J. <j@\"", true, SEARCH_NEEDS_HEADER },
	{ "and as they stand", "TO \"the builder\"", true, SEARCH_NEEDS_HEADER },
	{ "TEXT sees the header", "TEXT example.org", true, SEARCH_NEEDS_HEADER },
	{ "TEXT sees a field with its name", "TEXT \"Subject: GR\xc3\x9c\"", true,
		SEARCH_NEEDS_HEADER },
	{ "HEADER does not see the name", "SUBJECT \"subject:\"", false, SEARCH_NEEDS_HEADER },
	{ "TEXT sees the headers of parts", "TEXT \"application/pdf\"", true, SEARCH_NEEDS_HEADER },
	{ "BODY does not see the headers of parts", "BODY \"application/pdf\"", false,
		SEARCH_NEEDS_BODY },
	{ "TEXT sees the body", "TEXT hello", true, SEARCH_NEEDS_HEADER },
	{ "BODY does not see the header", "BODY example.org", false, SEARCH_NEEDS_BODY },
	{ "a message inside is seen with its header", "BODY inside BODY \"inner words\"", true,
		SEARCH_NEEDS_BODY },
	{ "what is no text is not searched", "BODY secret", false, SEARCH_NEEDS_BODY },
	{ "the sent date counts in its own zone", "SENTON 31-Dec-2021", true, SEARCH_NEEDS_HEADER },
	{ "the internal date counts in UTC", "ON 1-Jan-2022", true, SEARCH_YES },
	{ "sizes are exclusive", "OR LARGER 500 SMALLER 500", false, SEARCH_NO },
	{ "uids and sequence numbers", "UID 30:* 1:3", true, SEARCH_YES },
	{ "mod-sequences", "MODSEQ 77", true, SEARCH_YES },
	{ "within the last day", "YOUNGER 86400", true, SEARCH_YES },
	{ "older than a day", "OLDER 86400", false, SEARCH_NO },
	{ "nothing of it", "NOT (OR SEEN (DRAFT (NOT ALL)))", false, SEARCH_NO },
};

TEST(searches_read_no_more_than_they_must)
{
	struct buf encoded = { 0 };
	struct summary summary;

	summary_encode(str_from(message), &encoded);
	EXPECT(summary_decode(buf_str(&encoded), &summary));
	for (size_t i = 0; i < array_length(rows); i++) {
		struct pool *pool = pool_create();
		struct imap_parser parser;
		struct imap_search program;
		test_row(rows[i].name);
		imap_parser_init(&parser, str_from(rows[i].search), pool);
		EXPECT(imap_search_program(&parser, &program));
		for (unsigned k = 0; k < program.key_count; k++)
			imap_set_resolve(&program.keys[k].set, 100);
		struct search *search = search_create(pool, &program, 1641000000 + 3600);
		enum search_verdict verdict = search_index(search, &facts);
		EXPECT_INT(rows[i].first, verdict);
		if (verdict == SEARCH_NEEDS_HEADER)
			verdict = search_header(search, mime_header_of(str_from(message)));
		if (verdict == SEARCH_NEEDS_BODY)
			verdict = search_body(search, &summary, str_from(message));
		EXPECT_INT(rows[i].found ? SEARCH_YES : SEARCH_NO, verdict);
		pool_destroy(&pool);
	}
	test_row(NULL);
	buf_deinit(&encoded);
}
