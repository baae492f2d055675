#ifndef PANDO_PROTO_MAIL_SUMMARY_STRUCTURE_H
#define PANDO_PROTO_MAIL_SUMMARY_STRUCTURE_H

/* ENVELOPE and BODYSTRUCTURE text of a parsed message (RFC 3501 section 7.4.2). For summary.c. */

#include "proto/mail/mime.h"

/* A run of the structure's text that BODY leaves out. */
struct structure_run {
	uint32_t offset, length;
};

/* `message_part` is the root or the child of a message/rfc822. */
void structure_write_envelope(const struct mime *mime, unsigned message_part, struct buf *out);
/* Appends the text to `out` and the runs (as struct structure_run) to `runs_out`. */
void structure_write(const struct mime *mime, struct buf *out, struct buf *runs_out);
/* The charset parameter of a part, empty when there is none. Stands in `scratch` or
 * in the message. */
struct str structure_charset(const struct mime *mime, unsigned part, struct buf *scratch);

#endif
