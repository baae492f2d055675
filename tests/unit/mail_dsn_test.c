/* Bounces and trace headers. */

#include "core/buf.h"
#include "proto/mail/dsn.h"
#include "proto/mail/trace.h"
#include "unit/test.h"

TEST(a_bounce_tells_what_rfc_3464_asks_for)
{
	const struct dsn_recipient recipients[] = {
		{ DSN_FAILED, "gone@example.org", "rfc822;Gone+2B1@example.org", "5.1.1",
			"550 5.1.1 No such\r\nuser" },
		{ DSN_FAILED, "full@example.org", "", "5.2.2", "" },
		{ DSN_DELAYED, "late@example.org", "", "4.4.1", "4.4.1 Nobody there" },
	};
	const struct dsn dsn = {
		.hostname = "mx.example.org",
		.sender = "a@b.example",
		.envid = "QQ+20314",
		.id = "abc",
		.recipients = recipients,
		.recipient_count = 3,
		.retry_until_wall_us = 1767225600000000,
		.original = STR("Subject: x\r\n\r\n"),
	};
	static const char *const parts[] = {
		"To: <a@b.example>\r\n",
		"Auto-Submitted: auto-replied\r\n",
		"Content-Type: multipart/report; "
		"report-type=delivery-status;\r\n\tboundary=\"=_abc\"\r\n",
		"Content-Type: message/delivery-status\r\n",
		"Reporting-MTA: dns; mx.example.org\r\n",
		"Original-Envelope-Id: QQ 314\r\n",
		"Original-Recipient: rfc822;Gone+1@example.org\r\n",
		"Final-Recipient: rfc822; gone@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
		"Diagnostic-Code: smtp; 550 5.1.1 No such??user\r\n",
		"Final-Recipient: rfc822; full@example.org\r\nAction: failed\r\nStatus: 5.2.2\r\n",
		"Final-Recipient: rfc822; late@example.org\r\nAction: delayed\r\nStatus: 4.4.1\r\n"
		"Diagnostic-Code: x-pando; 4.4.1 Nobody there\r\n"
		"Will-Retry-Until: Thu, 1 Jan 2026 00:00:00 +0000\r\n",
		"Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n",
		"\r\n--=_abc--\r\n",
	};
	struct buf out = { 0 };
	dsn_compose(&dsn, &out);
	for (size_t i = 0; i < array_length(parts); i++) {
		test_row(parts[i]);
		EXPECT(str_find(buf_str(&out), str_from(parts[i])) >= 0);
	}
	test_row(NULL);
	for (size_t i = 0; i < buf_length(&out); i++)
		if (buf_str(&out).bytes[i] == '\n')
			EXPECT(i > 0 && buf_str(&out).bytes[i - 1] == '\r');
	buf_deinit(&out);
}

TEST(the_received_header_says_how_the_message_came)
{
	const struct trace trace = {
		.helo = STR("client.example"),
		.peer = STR("[2001:db8::1]:4000"),
		.hostname = STR("mx.example.org"),
		.id = STR("f00"),
		.recipient = STR("u@example.org"),
		.tls = STR("TLSv1.3"),
		.extended = true,
		.authenticated = true,
		.wall_us = 0,
	};
	struct buf out = { 0 };
	trace_append_received(&out, &trace);
	EXPECT_STR(STR("Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example.org "
		       "(Pando) with ESMTPSA\r\n\t(TLSv1.3)\r\n\tid f00\r\n\tfor <u@example.org>; "
		       "Thu, 1 Jan 1970 00:00:00 +0000\r\n"),
		buf_str(&out));
	buf_deinit(&out);
}

TEST(hops_are_counted_in_the_header_only)
{
	struct str message = STR("Received: a\r\n b\r\nreceived : c\r\nReceived-SPF: d\r\nX: "
				 "y\r\n\r\nReceived: e\r\n");
	EXPECT_INT(2, trace_count_hops(message));
	EXPECT(trace_has_field(message, STR("x")));
	EXPECT(!trace_has_field(message, STR("Date")));
	EXPECT_STR(STR("Received: a\r\n b\r\nreceived : c\r\nReceived-SPF: d\r\nX: y\r\n\r\n"),
		trace_header(message));
	EXPECT_INT(0, trace_count_hops(STR("")));
	EXPECT_INT(1, trace_count_hops(STR("Received: unended")));
}
