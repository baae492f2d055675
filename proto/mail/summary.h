#ifndef PANDO_PROTO_MAIL_SUMMARY_H
#define PANDO_PROTO_MAIL_SUMMARY_H

/*
 * The parsed shape of one message, made once when it is stored and kept beside it, so that no
 * FETCH or SEARCH parses MIME again: the byte layout of every body part, BODYSTRUCTURE and
 * ENVELOPE ready to send, the sent date, and for large messages the header itself. Its encoding is
 * a versioned byte format (specified in summary.c); a decoder meets only what an encoder of this or
 * an older version wrote, and still checks every offset (the bytes may be corrupt).
 */

#include "core/buf.h"
#include "core/pool.h"
#include "proto/mail/mime.h"

enum {
	/* A message up to this size is read whole for its header, which costs no more than reading
	 * a summary; the summary of a larger one carries a copy of the header. */
	SUMMARY_WHOLE_READ_MAX = 32 << 10,
	/* A header longer than this is not copied; its reader takes the body. */
	SUMMARY_HEADER_MAX = 64 << 10,
	/* No message has a longer one: beyond some megabytes what is optional in BODYSTRUCTURE is
	 * left out. With the longest message it fits one segment of the log. */
	SUMMARY_LENGTH_MAX = 6 << 20,
};

/* Parses `message` (any bytes; CRLF line ends expected, bare LF tolerated) and appends its encoded
 * summary. Never fails: what is malformed is described the way RFC 2045 section 5.2 defaults it.
 * Bounded depth (MIME_DEPTH_MAX) and part count (MIME_PARTS_MAX); beyond them a part is treated as
 * opaque. */
void summary_encode(struct str message, struct buf *out);

/* A view into encoded bytes, which must outlive it. */
struct summary {
	uint32_t message_length;
	unsigned part_count;   /* at least 1: part 0 is the message */
	bool has_date;         /* the Date field could be read */
	int64_t sent_s;        /* seconds since 1970 UTC */
	int sent_zone_minutes; /* the zone it was written in */
	struct str envelope;   /* "(...)" */
	struct str structure;  /* BODYSTRUCTURE, "(...)" */
	bool has_header;
	struct str header;     /* of the message, as it stands; only for large messages */
	/* private */
	const char *parts, *runs, *charsets;
	unsigned run_count;
	uint32_t charsets_length;
};

struct summary_part {
	uint16_t parent; /* MIME_NONE for part 0 */
	enum mime_kind kind;
	enum mime_encoding encoding;
	bool is_text;
	uint32_t header_offset, header_length, body_offset, body_length;
	struct str charset; /* as declared; empty: none */
};

/* False when the bytes are no valid summary of a known version. */
bool summary_decode(struct str encoded, struct summary *summary_out);
void summary_part(const struct summary *summary, unsigned index, struct summary_part *part_out);
/* The part that an IMAP section part specifier names (RFC 3501 section 6.4.5): "1.2" is {1, 2}. -1:
 * none. */
int summary_find_part(const struct summary *summary, const uint32_t *numbers, unsigned count);
/* The message inside a message/rfc822 part, or -1. */
int summary_inner_message(const struct summary *summary, unsigned index);
/* BODY: the structure without its extension data. */
void summary_write_body(const struct summary *summary, struct buf *out);

#endif
