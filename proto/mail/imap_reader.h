#ifndef PANDO_PROTO_MAIL_IMAP_READER_H
#define PANDO_PROTO_MAIL_IMAP_READER_H

/*
 * Puts IMAP commands together from the bytes of a stream: lines and the literals announced at their
 * ends (RFC 3501 section 4.3, RFC 7888). The text of a complete command holds its literals where
 * they stood, so that imap_parser.h reads it in one go. Memory is held only while a command is
 * incomplete or being carried out.
 *
 * The caller decides on every literal, with exactly one of accept, take, discard and reject, before
 * it feeds again. After a command, and one that is too long, it resets.
 */

#include "core/buf.h"

enum {
	/* A command with its literals, APPEND's message not counted, of who has not logged in: RFC
	 * 7162 section 4 recommends servers to take lines of 8 KiB at least. */
	IMAP_COMMAND_LENGTH_MAX = 64 << 10,
	/* Of who has: the UIDs of a hundred thousand scattered messages. */
	IMAP_LONG_COMMAND_LENGTH_MAX = 1 << 20,
	/* What is kept of one over its limit: its tag stands there. */
	IMAP_COMMAND_HEAD_LENGTH = 1 << 10,
};

enum imap_read {
	IMAP_READ_MORE,    /* the input is used up */
	IMAP_READ_COMMAND, /* `text` is a complete command without its last line end */
	IMAP_READ_LITERAL, /* a literal is announced: literal_length, literal_is_sync */
	/* A command over its limit has ended, or waits for the go-ahead to a literal, which it does
	 * not get: `text` begins with what it began with. */
	IMAP_READ_TOO_LONG
};

struct imap_reader {
	struct buf text;
	size_t length_max; /* 0: IMAP_COMMAND_LENGTH_MAX */
	uint64_t literal_length;
	bool literal_is_sync; /* the client waits for a continuation */
	bool is_too_long;     /* its limit is reached: what comes is passed over, to its end */
	/* private */
	uint64_t literal_left, discard_left;
	size_t segment; /* in text: where the current line begins */
	char last[24]; /* of the line that is passed over then: a literal may be announced there */
	size_t last_length;
};

enum imap_read imap_reader_feed(struct imap_reader *reader, struct buf *input);
/* The announced literal becomes part of `text`. False when that would exceed the
 * limit: reject it. */
bool imap_reader_accept(struct imap_reader *reader);
/* The caller takes the literal's bytes from the input itself, then feeds again for the rest of the
 * line. */
void imap_reader_take(struct imap_reader *reader);
/* The literal's bytes are passed over; the rest of the line follows. */
void imap_reader_discard(struct imap_reader *reader);
/* Forgets the command, not the limit: after a command, or a synchronising literal that is refused.
 */
void imap_reader_reset(struct imap_reader *reader);
void imap_reader_deinit(struct imap_reader *reader);

/* The text without its last line end. */
struct str imap_reader_text(const struct imap_reader *reader);

/* "{123}" or "{123+}" at the end of `line`, which has no line end. The outputs mean something only
 * when true. */
bool imap_ends_in_literal(struct str line, uint64_t *length_out, bool *is_sync_out);

#endif
