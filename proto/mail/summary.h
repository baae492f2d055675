#ifndef PANDO_PROTO_MAIL_SUMMARY_H
#define PANDO_PROTO_MAIL_SUMMARY_H

/*
 * The parsed shape of one message, made once when it is stored and kept beside it, so that no FETCH,
 * SEARCH or SORT parses MIME again: the byte layout of every body part, BODYSTRUCTURE and ENVELOPE
 * ready to send, and the decoded header fields that lists ask for. Its encoding is a versioned byte format
 * (specified in summary.c); a decoder meets only what an encoder of this or an older version wrote, and
 * still checks every offset (the bytes may be corrupt).
 */

#include "core/buf.h"
#include "core/pool.h"

/* Parses `message` (any bytes; CRLF line ends expected, bare LF tolerated) and appends its encoded
 * summary. Never fails: what is malformed is described the way RFC 2045 section 5.2 defaults it. Bounded
 * depth (MIME_DEPTH_MAX) and part count (MIME_PARTS_MAX); beyond them a part is treated as opaque. */
void summary_encode(struct str message, struct buf *out);

#endif
