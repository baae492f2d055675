/* SELECT, EXAMINE, CLOSE, UNSELECT: RFC 3501 sections 6.3.1, 6.3.2, 6.4.2; RFC 3691; RFC 7162. */

#include "node/session/imap_view.h"

static bool parse_parameters(struct imap_parser *parser, bool *condstore_out)
{
	*condstore_out = false;
	if (!imap_try_byte(parser, ' '))
		return true;
	if (!imap_try_byte(parser, '(') || !imap_try_word(parser, STR("CONDSTORE")) ||
		!imap_try_byte(parser, ')')) {
		parser->error = "Expected (CONDSTORE) or nothing";
		return false;
	}
	*condstore_out = true;
	return true;
}

static uint32_t first_unseen(const struct folder *folder)
{
	if (!folder->unseen_count)
		return 0;
	for (uint32_t i = 0; i < folder->message_count; i++)
		if (!(folder->messages[i].flags & MESSAGE_SEEN))
			return i + 1;
	return 0;
}

static enum imap_wait select_folder(struct imap_session *session, struct imap_command *command,
	bool read_only)
{
	struct imap_parser *parser = &command->parser;
	struct buf *out = &session->out;
	struct str name;
	bool is_valid, condstore;

	if (!imap_space(parser) || !imap_mailbox(parser, &name, &is_valid) ||
		!parse_parameters(parser, &condstore) || !imap_end(parser))
		return imap_bad(command);
	/* The old folder goes even when the new one cannot be selected. */
	if (session->state == IMAP_SELECTED) {
		imap_view_deselect(session);
		buf_append_literal(out, "* OK [CLOSED] The folder selected before is closed\r\n");
	}
	struct folder *folder =
		is_valid ? mailbox_find_folder(session->mailbox.mailbox, name) : NULL;
	if (!folder)
		return imap_reply(command, "NO [NONEXISTENT] No such folder");
	if (mailbox_prepare(folder) < 0)
		return imap_reply(command, "NO [UNAVAILABLE] The folder cannot be read now");
	session->is_condstore |= condstore;
	imap_view_select(session, folder, read_only);
	imap_write_folder_flags(session, folder);
	buf_printf(out, "* %u EXISTS\r\n* %u RECENT\r\n", session->view.count,
		imap_view_recent(&session->view));
	uint32_t unseen = first_unseen(folder);
	if (unseen)
		buf_printf(out, "* OK [UNSEEN %u] First unseen\r\n", unseen);
	buf_printf(out, "* OK [UIDVALIDITY %u] UIDs valid\r\n* OK [UIDNEXT %u] Next UID\r\n"
		"* OK [HIGHESTMODSEQ %llu] Highest mod-sequence\r\n", folder->uidvalidity,
		folder->uidnext, (unsigned long long)folder->highest_modseq);
	return imap_reply(command, "OK [READ-%s] Selected", read_only ? "ONLY" : "WRITE");
}

enum imap_wait cmd_select(struct imap_session *session, struct imap_command *command)
{
	return select_folder(session, command, false);
}

enum imap_wait cmd_examine(struct imap_session *session, struct imap_command *command)
{
	return select_folder(session, command, true);
}

enum imap_wait cmd_unselect(struct imap_session *session, struct imap_command *command)
{
	if (!imap_end_of(command))
		return imap_bad(command);
	imap_view_deselect(session);
	return imap_reply(command, "OK Unselected");
}

static enum imap_wait close_done(struct imap_session *session, struct imap_command *command)
{
	int status = session->change.status;
	imap_view_deselect(session);
	return status ? imap_no_status(command, status) : imap_reply(command, "OK Closed");
}

enum imap_wait cmd_close(struct imap_session *session, struct imap_command *command)
{
	struct folder *folder = session->mailbox.folder;
	uint32_t count = 0;

	if (!imap_end_of(command))
		return imap_bad(command);
	uint32_t *uids = session->is_read_only ? NULL :
		imap_deleted_uids(folder, command->pool, &count);
	if (!count) {
		imap_view_deselect(session);
		return imap_reply(command, "OK Closed");
	}
	command->resume = close_done;
	mailbox_expunge(folder, uids, count, imap_change(session));
	return IMAP_WAIT_CHANGE;
}
