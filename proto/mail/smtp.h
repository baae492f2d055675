#ifndef PANDO_PROTO_MAIL_SMTP_H
#define PANDO_PROTO_MAIL_SMTP_H

/*
 * The grammar of SMTP and LMTP commands (RFC 5321, 2033, 1870, 3030, 3461, 4954, 6152, 6531) and of
 * replies. Everything returned points into the line that was parsed. Parsers of commands return
 * NULL, or the reply that the client gets for its mistake.
 */

#include "core/buf.h"
#include "proto/mail/address.h"

enum {
	/* RFC 5321 section 4.5.3.1.4 gives 512; MAIL and RCPT with all our parameters may need
	 * 1,700 more (RFC 3461 ORCPT 500, RFC 4954 AUTH 500, ENVID 100, addresses beyond 256). */
	SMTP_COMMAND_MAX = 2300,
	/* RFC 4954 section 4. */
	SMTP_AUTH_LINE_MAX = 12288,
	/* RFC 5321 section 4.5.3.1.5 gives 512; some servers' texts are longer. */
	SMTP_REPLY_LINE_MAX = 2048,
	/* Header fields of one message together: mailing lists and signatures stay far below. */
	SMTP_HEADER_MAX = 1 << 20,
	/* RFC 5321 section 6.3 says that 100 is reasonable. */
	SMTP_HOPS_MAX = 100,
	SMTP_DELIVERY_ID_LENGTH = 16,
	SMTP_MARK_LENGTH = 16,
};

/* Cuts one line off the start of `input`, without its CRLF. DONE: *line_out and *length_out (with
 * line end); MORE: not there yet; BAD: longer than `maximum`, ended by a bare LF, or with a CR or
 * NUL in it
 * (*length_out is 0 when its end is not there yet). */
enum smtp_scan { SMTP_DONE, SMTP_MORE, SMTP_BAD };
enum smtp_scan smtp_scan_line(
	struct str input, size_t maximum, struct str *line_out, size_t *length_out);

/* The verb in front of the first space, and what follows it. */
struct str smtp_verb(struct str line, struct str *arguments_out);

enum smtp_body { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };
enum smtp_ret { SMTP_RET_NONE, SMTP_RET_FULL, SMTP_RET_HDRS };
enum smtp_notify {
	SMTP_NOTIFY_NEVER = 1,
	SMTP_NOTIFY_SUCCESS = 2,
	SMTP_NOTIFY_FAILURE = 4,
	SMTP_NOTIFY_DELAY = 8,
};

struct smtp_mail {
	struct address sender;
	uint64_t size; /* 0: not declared */
	enum smtp_body body;
	enum smtp_ret ret;
	bool smtputf8;
	struct str envid; /* xtext as written */
	struct str auth;  /* xtext as written */
	bool has_delivery_id;
	uint8_t delivery_id[SMTP_DELIVERY_ID_LENGTH];
};

struct smtp_rcpt {
	struct address recipient;
	unsigned notify;  /* smtp_notify bits; 0: not given */
	struct str orcpt; /* "type;xtext" as written */
	bool has_mark;
	uint8_t mark[SMTP_MARK_LENGTH];
};

/* The enhanced code with which a node refuses, for now, a mailbox that is another one in its copy
 * of the directory. */
#define SMTP_NOT_AGREED "4.4.3"

/* `arguments` of MAIL ("FROM:<...> ...") and RCPT ("TO:<...> ..."). With `inside`, what a
 * router tells its node is a parameter too, each 32 hexadecimal digits: of MAIL XPANDOID, the
 * delivery id, of RCPT XPANDOMARK, the mark of the mailbox that is meant. */
const char *smtp_parse_mail(
	struct str arguments, bool inside, struct smtp_mail *mail_out) must_check;
const char *smtp_parse_rcpt(
	struct str arguments, bool inside, bool smtputf8, struct smtp_rcpt *rcpt_out) must_check;
const char *smtp_parse_bdat(struct str arguments, uint64_t *length_out, bool *last_out) must_check;

/* One reply of a server, its lines taken together. */
struct smtp_reply {
	unsigned code;
	struct str text; /* of the last line, enhanced code included */
	struct str all;  /* every line with its line end */
};

/* BAD: not a reply, or longer than a client should have to read. */
enum smtp_scan smtp_scan_reply(struct str input, struct smtp_reply *reply_out, size_t *length_out);

/* A keyword of an EHLO reply ("STARTTLS"); its parameters in *arguments_out when not NULL. */
bool smtp_reply_offers(
	const struct smtp_reply *reply, struct str keyword, struct str *arguments_out);

/* "5.1.1" at the start of a reply's text, or the class's "x.0.0". Writes at most 15 characters and
 * a terminator. */
void smtp_enhanced_code(const struct smtp_reply *reply, char code_out[16]);

#endif
