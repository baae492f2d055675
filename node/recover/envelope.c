#include "node/recover/envelope.h"

#include "core/buf.h"
#include "proto/mail/charset.h"
#include "proto/mail/imap_parser.h"

/* A string or NIL, which is empty here. */
static bool read_nstring(struct imap_parser *parser, struct str *text_out)
{
	*text_out = STR("");
	return imap_try_word(parser, STR("NIL")) || imap_string(parser, text_out);
}

static struct str to_text(struct pool *pool, struct str header)
{
	struct buf text = { 0 };
	charset_decode_header(header, &text);
	struct str whole = buf_str(&text);
	size_t length = whole.length < ENVELOPE_TEXT_MAX ? whole.length : ENVELOPE_TEXT_MAX;
	/* Not within a character. */
	while (length < whole.length && length > 0 &&
		((unsigned char)whole.bytes[length] & 0xc0) == 0x80)
		length--;
	struct str kept = pool_copy(pool, str_first(whole, length));
	buf_deinit(&text);
	return kept;
}

/* The first address: "Name <local@host>", or what there is of it. */
static bool read_from(struct imap_parser *parser, struct pool *pool, struct str *from_out)
{
	struct str name, route, local, host;
	if (!imap_try_byte(parser, '(') || !imap_try_byte(parser, '(') ||
		!read_nstring(parser, &name) || !imap_space(parser) ||
		!read_nstring(parser, &route) || !imap_space(parser) ||
		!read_nstring(parser, &local) || !imap_space(parser) ||
		!read_nstring(parser, &host))
		return false;
	struct str address = pool_printf(
		pool, STR_FORMAT "@" STR_FORMAT, STR_ARG(local), STR_ARG(host));
	*from_out = to_text(pool,
		name.length > 0 ? pool_printf(pool, STR_FORMAT " <" STR_FORMAT ">", STR_ARG(name),
					  STR_ARG(address))
				: address);
	return true;
}

void envelope_read(
	struct str envelope, struct pool *pool, struct str *from_out, struct str *subject_out)
{
	struct imap_parser parser;
	struct str date, subject;
	*from_out = *subject_out = STR("");
	imap_parser_init(&parser, envelope, pool);
	if (!imap_try_byte(&parser, '(') || !read_nstring(&parser, &date) || !imap_space(&parser) ||
		!read_nstring(&parser, &subject))
		return;
	*subject_out = to_text(pool, subject);
	if (imap_space(&parser) && !read_from(&parser, pool, from_out))
		*from_out = STR("");
}
