#ifndef PANDO_PROTO_MAIL_SMTP_DATA_H
#define PANDO_PROTO_MAIL_SMTP_DATA_H

/*
 * A message on its way in: by DATA (dot-stuffed lines, RFC 5321 section 4.5.2) or by BDAT (counted
 * chunks, RFC 3030), collected into one run of bytes that is handed on without another copy.
 *
 * Invariants:
 * 1. The end of DATA is CR LF "." CR LF and nothing else: a bare CR or LF is content that makes the
 *    message unacceptable, and reading goes on to the real end, so that no second message can be
 *    smuggled in what a laxer server before us took for one.
 * 2. A NUL makes the message unacceptable: IMAP has no way to show one (RFC 3501 section 9, CHAR8).
 * 3. Memory never grows beyond the limit; what is over it is counted and dropped.
 */

#include "core/bytes.h"

struct smtp_data {
	/* private, but for reading size and verdicts */
	struct bytes *bytes;
	size_t length, capacity, limit;
	size_t prefix_length; /* of what smtp_data_prefix has put in front */
	uint64_t dropped;
	bool too_large;  /* 552 5.3.4 */
	bool bare;       /* 550 5.5.2 */
	bool has_nul;    /* 550 5.6.0 */
	bool at_line_start, after_cr;
};

enum smtp_data_scan { SMTP_DATA_DONE, SMTP_DATA_MORE };

/* `expected` is the declared size or 0; `limit` bounds what is kept (prefix included). */
void smtp_data_init(struct smtp_data *data, size_t expected, size_t limit);
/* Frees what has not been taken. */
void smtp_data_deinit(struct smtp_data *data);
/* A header in front of the message: before the first byte of it. */
void smtp_data_prefix(struct smtp_data *data, struct str text);

/* Takes bytes of DATA; *used_out of them are consumed, the rest (a dot or CR that may begin the
 * end) is to be shown again with more. DONE: the end was seen. */
enum smtp_data_scan smtp_data_read(struct smtp_data *data, struct str input, size_t *used_out);
/* Takes a piece of a BDAT chunk, all of it. */
void smtp_data_chunk(struct smtp_data *data, struct str piece);
/* Keeps nothing of the message any more and goes on looking for its end. */
void smtp_data_give_up(struct smtp_data *data);
/* After the last chunk. Adds the line end that a text's last line must have. */
void smtp_data_chunks_end(struct smtp_data *data);

/* The message; the caller's reference. NULL when it is not acceptable. */
struct bytes *smtp_data_take(struct smtp_data *data);
/* Why it is not: the reply. */
const char *smtp_data_refusal(const struct smtp_data *data);

#endif
