#ifndef PANDO_ROUTER_IMAP_COMMAND_H
#define PANDO_ROUTER_IMAP_COMMAND_H

/*
 * The few IMAP commands that come before a login (RFC 3501, 7888): collected with their literals,
 * cut into tag, name and astrings. Pure: bytes in, verdicts out. After the login nothing is parsed
 * here.
 */

#include "core/buf.h"

enum {
	IMAP_COMMAND_MAX = 40 << 10, /* ID: 30 names of 30 bytes, values of 1024 (RFC 2971) */
	IMAP_LITERAL_MAX = 1024, /* a user name or a password */
	IMAP_ARGUMENTS_MAX = 4,
};

enum imap_scan {
	IMAP_MORE,     /* show more bytes */
	IMAP_CONTINUE, /* the same, but first the client waits for "+ " to send its literal */
	IMAP_COMMAND,  /* the command is whole */
	IMAP_TOO_LONG, /* cannot be read on: the connection must end */
};

/* Zeroed is ready. */
struct imap_collector {
	struct buf text;     /* the command so far; a literal stands behind its "{n}" line */
	size_t literal_left;
};

void imap_collector_deinit(struct imap_collector *collector);
/* Consumes from the input what belongs to the command. After IMAP_COMMAND, collector->text is the
 * whole command without its last CRLF until imap_collector_reset. */
enum imap_scan imap_collect(struct imap_collector *collector, struct buf *input);
void imap_collector_reset(struct imap_collector *collector);

struct imap_command {
	struct str tag, name;
	struct str arguments[IMAP_ARGUMENTS_MAX]; /* quotes and literals taken off */
	unsigned argument_count;
};

/* False when malformed; the tag is set when there was one ("*" stands in otherwise). Unescaped
 * quoted strings are stored in `scratch`. A list in parentheses (ID's) ends the arguments: nothing
 * in it matters before a login. */
bool imap_parse_command(
	struct str text, struct buf *scratch, struct imap_command *command_out) must_check;

#endif
