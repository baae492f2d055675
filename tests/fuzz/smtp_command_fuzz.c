/* Command lines, their parameters and replies. */

#include "proto/mail/smtp.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* A canonical address must be one itself, and stay what it is. */
static void check_address(const struct address *address)
{
	struct buf text = { 0 }, again = { 0 };
	struct address second;
	address_append(address, &text);
	if (!address->is_null && address->domain.length > 0) {
		if (!address_parse(buf_str(&text), &second))
			abort();
		address_append(&second, &again);
		if (!str_equal(buf_str(&text), buf_str(&again)))
			abort();
	}
	(void)!address_is_relay_hack(address);
	buf_deinit(&text);
	buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct str input = str_of(bytes, length), line, arguments;
	struct smtp_mail mail;
	struct smtp_rcpt rcpt;
	struct smtp_reply reply;
	size_t used;
	uint64_t size;
	bool last;
	char code[16];

	if (smtp_scan_line(input, SMTP_COMMAND_MAX, &line, &used) != SMTP_DONE)
		line = input;
	(void)smtp_verb(line, &arguments);
	if (!smtp_parse_mail(line, true, &mail))
		check_address(&mail.sender);
	if (!smtp_parse_rcpt(line, true, true, &rcpt))
		check_address(&rcpt.recipient);
	(void)!smtp_parse_bdat(line, &size, &last);
	(void)!address_is_domain(line);
	if (smtp_scan_reply(input, &reply, &used) == SMTP_DONE) {
		if (used > length)
			abort();
		(void)smtp_reply_offers(&reply, STR("SIZE"), &arguments);
		smtp_enhanced_code(&reply, code);
	}
	return 0;
}
