#ifndef PANDO_PROTO_MAIL_IMAP_WRITE_H
#define PANDO_PROTO_MAIL_IMAP_WRITE_H

/* How values look in IMAP responses (RFC 3501 section 9). All append to `out`. */

#include "core/buf.h"

/* A quoted string where the bytes allow it, else a literal. */
void imap_write_string(struct buf *out, struct str s);
/* The same for a value from a header: its folding becomes one space, NULs are left out. */
void imap_write_text(struct buf *out, struct str s);
/* NIL for an empty value. */
void imap_write_ntext(struct buf *out, struct str s);
/* An atom where the bytes allow it, else as imap_write_string. */
void imap_write_astring(struct buf *out, struct str s);
/* A folder's UTF-8 name in modified UTF-7 (RFC 3501 section 5.1.3), as an astring. */
void imap_write_mailbox(struct buf *out, struct str name);
/* "17-Jul-1996 02:44:25 -0700" in UTC, with its quotes. */
void imap_write_date_time(struct buf *out, int64_t utc_s);
/* A decimal number; cheaper than printf in responses of many messages. */
void imap_write_number(struct buf *out, uint64_t number);

/* Appends numbers as a sequence set: call with rising numbers, then imap_write_set_end. */
struct imap_set_writer {
	struct buf *out;
	uint32_t first, last; /* the run not yet written; 0: none */
	bool began;
};
void imap_write_set_add(struct imap_set_writer *writer, uint32_t number);
void imap_write_set_end(struct imap_set_writer *writer);

#endif
