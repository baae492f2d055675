#include "proto/mail/dsn.h"

#include "core/encode.h"
#include "proto/mail/trace.h"

static const char *const actions[] = { "failed", "delayed", "relayed", "delivered" };

/* A peer's sentence on one line of ours: no line ends, and nothing that is not text. */
static void append_line_text(struct buf *out, const char *text, bool utf8)
{
	for (; *text; text++) {
		bool good =
			(*text >= ' ' && *text != 0x7f) || (utf8 && (unsigned char)*text >= 0x80);
		buf_append_byte(out, good ? *text : '?');
	}
}

/* RFC 3461 section 4: "+HH" stands for a byte. */
static void append_xtext_decoded(struct buf *out, const char *text)
{
	struct buf plain = { 0 };
	for (; *text; text++) {
		uint8_t byte;
		if (*text == '+' && text[1] && decode_hex(str_of(text + 1, 2), &byte, 1)) {
			buf_append_byte(&plain, (char)byte);
			text += 2;
		} else {
			buf_append_byte(&plain, *text);
		}
	}
	append_line_text(out, buf_terminated(&plain), false);
	buf_deinit(&plain);
}

static void append_headers(const struct dsn *dsn, struct buf *out)
{
	bool failed = false, delayed = false;
	for (unsigned i = 0; i < dsn->recipient_count; i++) {
		failed |= dsn->recipients[i].action == DSN_FAILED;
		delayed |= dsn->recipients[i].action == DSN_DELAYED;
	}

	buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\nTo: <", dsn->hostname);
	append_line_text(out, dsn->sender, dsn->utf8);
	buf_append_literal(out, ">\r\nDate: ");
	trace_append_date(out, dsn->now_wall_us);
	buf_printf(out, "\r\nMessage-ID: <%s@%s>\r\n", dsn->id, dsn->hostname);
	buf_printf(out, "Subject: %s\r\n", failed ? "Undelivered mail returned to sender" :
		delayed				  ? "Delayed mail, still being tried" :
						    "Delivery status notification");
	buf_append_literal(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
	buf_printf(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n"
			"\tboundary=\"=_%s\"\r\n", dsn->id);
	if (dsn->utf8)
		buf_append_literal(out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_append_literal(out, "\r\n");
}

static void append_explanation(const struct dsn *dsn, struct buf *out)
{
	buf_printf(out, "--=_%s\r\nContent-Type: text/plain; charset=utf-8\r\n%s\r\n", dsn->id,
		dsn->utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
	buf_printf(out,
		"This is the mail system at %s.\r\n\r\nThis is what became of your message:\r\n",
		dsn->hostname);
	for (unsigned i = 0; i < dsn->recipient_count; i++) {
		const struct dsn_recipient *recipient = &dsn->recipients[i];
		buf_append_literal(out, "\r\n<");
		append_line_text(out, recipient->address, dsn->utf8);
		buf_printf(out, ">: %s\r\n    ", actions[recipient->action]);
		append_line_text(out, recipient->diagnostic, dsn->utf8);
		buf_append_literal(out, "\r\n");
	}
	buf_append_literal(out, "\r\n");
}

static bool is_reply(const char *diagnostic)
{
	return ascii_is_digit(diagnostic[0]) && ascii_is_digit(diagnostic[1]) &&
		ascii_is_digit(diagnostic[2]);
}

static void append_status(const struct dsn *dsn, struct buf *out)
{
	buf_printf(out, "--=_%s\r\nContent-Type: message/%sdelivery-status\r\n%s\r\n", dsn->id,
		dsn->utf8 ? "global-" : "", dsn->utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
	buf_printf(out, "Reporting-MTA: dns; %s\r\n", dsn->hostname);
	if (dsn->envid[0]) {
		buf_append_literal(out, "Original-Envelope-Id: ");
		append_xtext_decoded(out, dsn->envid);
		buf_append_literal(out, "\r\n");
	}
	buf_append_literal(out, "Arrival-Date: ");
	trace_append_date(out, dsn->arrival_wall_us);
	buf_append_literal(out, "\r\n");
	for (unsigned i = 0; i < dsn->recipient_count; i++) {
		const struct dsn_recipient *recipient = &dsn->recipients[i];
		buf_append_literal(out, "\r\n");
		if (recipient->orcpt[0]) {
			buf_append_literal(out, "Original-Recipient: ");
			append_xtext_decoded(out, recipient->orcpt);
			buf_append_literal(out, "\r\n");
		}
		buf_printf(out, "Final-Recipient: %s; ", dsn->utf8 ? "utf-8" : "rfc822");
		append_line_text(out, recipient->address, dsn->utf8);
		buf_printf(out, "\r\nAction: %s\r\nStatus: ", actions[recipient->action]);
		append_line_text(out, recipient->status, false);
		if (recipient->diagnostic[0]) {
			/* RFC 3464 section 2.3.6: "smtp" is what another server replied. */
			buf_printf(out, "\r\nDiagnostic-Code: %s; ",
				is_reply(recipient->diagnostic) ? "smtp" : "x-pando");
			append_line_text(out, recipient->diagnostic, dsn->utf8);
		}
		if (recipient->action == DSN_DELAYED) {
			buf_append_literal(out, "\r\nWill-Retry-Until: ");
			trace_append_date(out, dsn->retry_until_wall_us);
		}
		buf_append_literal(out, "\r\n");
	}
	buf_append_literal(out, "\r\n");
}

void dsn_compose(const struct dsn *dsn, struct buf *out)
{
	append_headers(dsn, out);
	append_explanation(dsn, out);
	append_status(dsn, out);
	buf_printf(out, "--=_%s\r\nContent-Type: %s\r\n%s\r\n", dsn->id,
		dsn->full ? (dsn->utf8 ? "message/global" : "message/rfc822") :
			    (dsn->utf8 ? "message/global-headers" : "text/rfc822-headers"),
		dsn->utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
	buf_append_str(out, dsn->original);
	if (!str_ends_with(dsn->original, STR("\r\n")))
		buf_append_literal(out, "\r\n");
	buf_printf(out, "--=_%s--\r\n", dsn->id);
}
