#ifndef PANDO_PROTO_MAIL_TRACE_H
#define PANDO_PROTO_MAIL_TRACE_H

/* Headers that the way of a message leaves on it (RFC 5321 section 4.4), and what is read from
 * them. */

#include "core/buf.h"

struct trace {
	struct str helo;         /* what the client called itself */
	struct str peer;         /* "192.0.2.1:4321" */
	struct str hostname;     /* ours */
	struct str id;
	struct str recipient;    /* "" when there are several: nobody learns of the others */
	struct str tls;          /* "" in clear */
	bool extended, authenticated, utf8;
	int64_t wall_us;
};

void trace_append_received(struct buf *out, const struct trace *trace);
/* "Sat, 21 Nov 2026 18:42:28 +0000" */
void trace_append_date(struct buf *out, int64_t wall_us);

/* Received headers in the message's header: the hops it has taken. */
unsigned trace_count_hops(struct str message);
/* Its first line is a field, or the empty line that ends a header without fields: what follows is a
 * header and not already the text. */
bool trace_begins_with_header(struct str message);
/* The header has a field of this name. */
bool trace_has_field(struct str message, struct str name);
/* The header with its empty line: for a bounce. */
struct str trace_header(struct str message);

#endif
