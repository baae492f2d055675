#ifndef PANDO_PROTO_MAIL_MIME_ADDRESS_H
#define PANDO_PROTO_MAIL_MIME_ADDRESS_H

/*
 * Address lists of header fields (RFC 5322 section 3.4 and its obsolete forms), as ENVELOPE shows
 * them. Reads what is there in one pass and never fails: text that holds no address is an address
 * without a domain.
 */

#include "core/buf.h"

enum {
	/* Recipients of one field that ENVELOPE lists; larger lists are cut, the field itself is
	 * whole. */
	MIME_ADDRESSES_MAX = 4096,
};

enum mime_address_kind { MIME_MAILBOX, MIME_GROUP_BEGIN, MIME_GROUP_END };

struct mime_address {
	enum mime_address_kind kind;
	struct str name; /* display name, or a group's; unquoted, encoded words left as they are */
	struct str route;   /* "@a,@b" of an obsolete source route */
	struct str mailbox; /* local part, unquoted */
	struct str domain;  /* empty: none was given */
};

/* A zeroed struct with `rest` set begins; buffers inside are released by mime_addresses_deinit. */
struct mime_addresses {
	struct str rest;
	bool in_group;
	unsigned count;
	struct buf name, route, mailbox, domain;
};

/* False at the end. The strings are valid until the next call. */
bool mime_next_address(struct mime_addresses *list, struct mime_address *address_out);
void mime_addresses_deinit(struct mime_addresses *list);

#endif
