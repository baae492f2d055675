/* COPY and MOVE with their UID forms: RFC 3501 section 6.4.7, RFC 6851, RFC 4315 section 3. */

#include "node/session/imap_view.h"
#include "proto/mail/imap_write.h"

struct copy {
	uint32_t *uids;
	uint32_t count;
	bool moves;
};

/* "[COPYUID validity from to]" when every message was copied, so that the sets correspond. */
static void write_copyuid(struct buf *out, const struct copy *copy, const struct mailbox_op *change)
{
	struct imap_set_writer writer = { .out = out };

	buf_printf(out, "[COPYUID %u ", change->uidvalidity);
	for (uint32_t i = 0; i < copy->count; i++)
		imap_write_set_add(&writer, copy->uids[i]);
	imap_write_set_end(&writer);
	buf_append_byte(out, ' ');
	writer = (struct imap_set_writer){ .out = out };
	for (uint32_t i = 0; i < change->count; i++)
		imap_write_set_add(&writer, change->first_uid + i);
	imap_write_set_end(&writer);
	buf_append_literal(out, "] ");
}

static enum imap_wait copy_done(struct imap_session *session, struct imap_command *command)
{
	const struct mailbox_op *change = &session->change;
	const struct copy *copy = command->state;

	if (change->status)
		return imap_no_status(command, change->status);
	bool corresponds = change->count == copy->count;
	if (copy->moves) {
		/* RFC 6851 section 4.3: before the EXPUNGEs, so untagged. */
		if (corresponds) {
			buf_append_literal(&session->out, "* OK ");
			write_copyuid(&session->out, copy, change);
			buf_append_literal(&session->out, "Moved\r\n");
		}
		return imap_reply(command, "OK Moved");
	}
	imap_reply(command, "OK ");
	if (corresponds)
		write_copyuid(&command->reply, copy, change);
	buf_append_literal(&command->reply, "Copied");
	return IMAP_DONE;
}

static enum imap_wait start(struct imap_session *session, struct imap_command *command, bool moves)
{
	struct imap_parser *parser = &command->parser;
	struct copy *copy = pool_alloc(command->pool, sizeof(*copy));
	struct imap_set set;
	struct str name;
	bool is_valid;

	if (!imap_space(parser) || !imap_sequence_set(parser, &set) || !imap_space(parser) ||
		!imap_mailbox(parser, &name, &is_valid) || !imap_end(parser) ||
		!imap_view_resolve(session, command, &set))
		return imap_bad(command);
	if (moves && session->is_read_only)
		return imap_reply(command, "NO [READ-ONLY] The folder is selected read-only");
	if (!is_valid)
		return imap_reply(command, "NO [CANNOT] The folder name is no modified UTF-7");
	struct folder *to = mailbox_find_folder(session->mailbox.mailbox, name);
	if (!to)
		return imap_reply(command, "NO [TRYCREATE] No such folder");
	copy->moves = moves;
	copy->uids = imap_view_uids(session, command, &set, &copy->count);
	/* RFC 2180 section 4.4.1: a copy is all or nothing. */
	if (!command->by_uid && copy->count != imap_set_size(&set))
		return imap_reply(
			command, "NO [EXPUNGEISSUED] Some of the messages no longer exist");
	if (!copy->count)
		return imap_reply(command, "OK No messages found");
	command->state = copy;
	command->resume = copy_done;
	mailbox_copy(session->mailbox.folder, copy->uids, copy->count, to, moves,
		imap_change(session));
	return IMAP_WAIT_CHANGE;
}

enum imap_wait cmd_copy(struct imap_session *session, struct imap_command *command)
{
	return start(session, command, false);
}

enum imap_wait cmd_move(struct imap_session *session, struct imap_command *command)
{
	return start(session, command, true);
}
