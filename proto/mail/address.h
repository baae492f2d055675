#ifndef PANDO_PROTO_MAIL_ADDRESS_H
#define PANDO_PROTO_MAIL_ADDRESS_H

/*
 * Addresses as SMTP writes them (RFC 5321 section 4.1.2, RFC 6531): `<local@domain>`, `<>`,
 * `<postmaster>`. The parts point into the text that was parsed. Beyond ASCII they are UTF-8, every
 * character that stands for itself (legible.h): no C1 control, no bidirectional one.
 */

#include "core/buf.h"

enum {
	/* RFC 5321 says 64; bounce addresses of mailing lists are longer in practice. */
	ADDRESS_LOCAL_MAX = 255,
	ADDRESS_DOMAIN_MAX = 255, /* RFC 5321 section 4.5.3.1.2 */
};

struct address {
	struct str local;  /* as written, with its quotes */
	struct str domain; /* as written, with its brackets; empty for "postmaster" and for the null
			      path */
	bool is_null;      /* <> */
	bool is_quoted;    /* the local part is a quoted string */
	bool is_literal;   /* the domain is an address literal */
	bool has_route;    /* a source route stood in front */
	bool has_utf8;     /* not ASCII: needs SMTPUTF8 */
};

/* Parses a path in angle brackets at the start of `text`; *rest_out is what follows it. False when
 * it is malformed. */
bool address_parse_path(
	struct str text, struct address *address_out, struct str *rest_out) must_check;
/* The whole of `text` is local@domain without brackets. */
bool address_parse(struct str text, struct address *address_out) must_check;

/* Appends the canonical text: quotes only where they are needed, the domain in lower case. Nothing
 * for the null path. */
void address_append(const struct address *address, struct buf *out);

/* The local part asks to be relayed onward ("user%other", "other!user", "user@other"): the source
 * routes of old. */
bool address_is_relay_hack(const struct address *address) must_check;

/* A host name or an address literal, as in EHLO. Underscores are tolerated. */
bool address_is_domain(struct str text) must_check;

#endif
