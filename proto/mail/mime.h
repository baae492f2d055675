#ifndef PANDO_PROTO_MAIL_MIME_H
#define PANDO_PROTO_MAIL_MIME_H

/*
 * The MIME structure of one message (RFC 2045, 2046, 5322), found in one pass without recursion and
 * without copying: a part is a pair of byte ranges of the message. Any input gives a structure;
 * what is malformed falls back to the defaults of RFC 2045 section 5.2, so that a reader still sees
 * its text:
 *
 * - A line in a header that is no field is skipped; the header ends at an empty line, at the
 *   boundary of an enclosing multipart or at the end of the message.
 * - A delimiter is a line that begins with "--" and an open boundary (RFC 2046 section 5.1.1); of
 *   several that match, the longest, then the innermost. A missing closing delimiter closes at the
 *   end.
 * - A multipart without a boundary parameter, or in which no delimiter is found, is a text/plain
 *   leaf.
 * - A multipart or message/rfc822 that is too deep, or a message/rfc822 under a content transfer
 *   encoding that hides it, is an application/octet-stream leaf.
 *
 * Line ends are CRLF; a bare LF ends a line too.
 */

#include "core/buf.h"

enum {
	/* Nesting of multiparts and messages; the deepest genuine forward chains stay below 20. */
	MIME_DEPTH_MAX = 64,
	/* Mailing-list digests reach a few hundred; what comes after the last belongs to the last
	 * part. */
	MIME_PARTS_MAX = 2000,
	MIME_NONE = UINT16_MAX,
};

enum mime_kind { MIME_LEAF, MIME_MULTIPART, MIME_MESSAGE };
enum mime_encoding { MIME_IDENTITY, MIME_QUOTED_PRINTABLE, MIME_BASE64 };

enum mime_field_id {
	MIME_CONTENT_TYPE, MIME_CONTENT_ENCODING, MIME_CONTENT_ID, MIME_CONTENT_DESCRIPTION,
	MIME_CONTENT_DISPOSITION, MIME_CONTENT_LANGUAGE, MIME_CONTENT_LOCATION, MIME_CONTENT_MD5,
	MIME_DATE, MIME_SUBJECT, MIME_FROM, MIME_SENDER, MIME_REPLY_TO, MIME_TO, MIME_CC, MIME_BCC,
	MIME_IN_REPLY_TO, MIME_MESSAGE_ID,
	MIME_FIELD_COUNT,
};

/* How a part whose Content-Type cannot be used is described. */
enum mime_default {
	MIME_AS_DECLARED,
	MIME_AS_TEXT,    /* text/plain; charset=us-ascii */
	MIME_AS_OCTETS,  /* application/octet-stream */
	MIME_AS_MESSAGE, /* message/rfc822: a part of a multipart/digest without Content-Type */
};

struct mime_part {
	uint16_t parent; /* MIME_NONE for the root */
	uint8_t depth;
	uint8_t kind;        /* enum mime_kind */
	uint8_t encoding;    /* enum mime_encoding */
	uint8_t description; /* enum mime_default */
	bool is_text;
	uint16_t child_count;
	uint32_t header_offset, header_length; /* with the empty line that ends it */
	uint32_t body_offset, body_length;
	uint32_t body_lines; /* line ends in the body */
	/* The first field of each name that has a value: as it stands, folding included. An empty
	 * one has an offset, a missing one has not. */
	struct {
		uint32_t offset, length;
	} fields[MIME_FIELD_COUNT];
	uint32_t repeated_fields; /* bit 1 << enum mime_field_id: more than one has a value */
};

struct mime {
	struct str message; /* borrowed */
	struct mime_part *parts; /* in the order of their headers: a parent before its children */
	unsigned part_count;     /* at least 1 */
	unsigned part_capacity;
};

/* Fills a zeroed (or used and deinit'ed) struct. Messages of 4 GiB and more are cut there. */
void mime_parse(struct mime *mime, struct str message);
void mime_deinit(struct mime *mime);

static inline struct str mime_field(const struct mime *mime, const struct mime_part *part,
	enum mime_field_id id)
{
	return str_of(mime->message.bytes + part->fields[id].offset, part->fields[id].length);
}

/* Whether the header has such a field, be it empty. */
static inline bool mime_has_field(const struct mime_part *part, enum mime_field_id id)
{
	return part->fields[id].offset != 0;
}

/* One header field as it stands: `raw` is the whole of it with its line end. */
struct mime_header_field {
	struct str name, value, raw;
};

/* Cuts the next field off *header; false at its end. Lines that are no field are passed over. */
bool mime_next_field(struct str *header, struct mime_header_field *field_out);
/* The bytes of the header with the empty line that ends it, from the start of a message. */
struct str mime_header_of(struct str message);

/* "type/subtype;params" into its pieces; false when malformed. */
bool mime_split_type(struct str value, struct str *type_out, struct str *subtype_out,
	struct str *params_out);
/* "value;params", as in Content-Disposition. */
bool mime_split_value(struct str value, struct str *token_out, struct str *params_out);
/* Cuts the next parameter off *params. The value is unquoted; it stands in `scratch` (cleared
 * first) when that took a copy. */
bool mime_next_param(struct str *params, struct str *name_out, struct str *value_out,
	struct buf *scratch);
/* Moves past white space and (nested) comments. */
void mime_skip_comments(struct str *rest);

/* Undoes a content transfer encoding; malformed pieces are passed over or kept, as they come. */
void mime_decode(enum mime_encoding encoding, struct str body, struct buf *out);

/* RFC 5322 section 3.3 with its obsolete forms. Seconds since 1970 UTC, and the zone it was written
 * in. */
bool mime_parse_date(struct str value, int64_t *utc_s_out, int *zone_minutes_out);
/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar; month 1-12. */
int64_t mime_days_from_date(int year, int month, int day);
void mime_date_from_days(int64_t days, int *year_out, int *month_out, int *day_out);
/* 1-12 from "Jan" .. "Dec" in any case, 0 otherwise. */
int mime_month_from_name(struct str name);

#endif
