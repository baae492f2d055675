/* IDLE: RFC 2177. */

#include "node/session/imap_view.h"

/* The word is "DONE"; whoever says so much else speaks something else. */
enum { DONE_LENGTH_MAX = 64 };

enum imap_wait imap_idle_input(struct imap_session *session, struct imap_command *command)
{
	struct str bytes = buf_str(session->input);
	ptrdiff_t end = str_find_byte(bytes, '\n');

	if (end < 0 && bytes.length <= DONE_LENGTH_MAX) {
		buf_append_str(&command->reply, bytes);
		buf_consume(session->input, bytes.length);
		if (buf_length(&command->reply) <= DONE_LENGTH_MAX)
			return IMAP_WAIT_INPUT;
		return imap_reply(command, "BAD Expected DONE");
	}
	size_t length = end < 0 ? bytes.length : (size_t)end + 1;
	buf_append_str(&command->reply, str_first(bytes, length));
	buf_consume(session->input, length);
	if (str_equal_ignore_case(str_trim(buf_str(&command->reply)), STR("DONE")))
		return imap_reply(command, "OK Done");
	return imap_reply(command, "BAD Expected DONE");
}

enum imap_wait cmd_idle(struct imap_session *session, struct imap_command *command)
{
	if (!imap_end_of(command))
		return imap_bad(command);
	if (session->state == IMAP_SELECTED)
		imap_view_sync(session, true);
	buf_append_literal(&session->out, "+ Idling\r\n");
	return IMAP_WAIT_INPUT;
}
