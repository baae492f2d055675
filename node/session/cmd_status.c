/* STATUS: RFC 3501 section 6.3.10, RFC 7162, RFC 8438, RFC 7889. */

#include "node/session/imap_session.h"
#include "proto/mail/imap_write.h"

void imap_write_status(struct imap_session *session, const struct folder *folder, unsigned items)
{
	struct buf *out = &session->out;
	const struct {
		unsigned item;
		const char *name;
		uint64_t value;
	} rows[] = {
		{ IMAP_STATUS_MESSAGES, "MESSAGES", folder->message_count },
		{ IMAP_STATUS_RECENT, "RECENT", folder->recent_count },
		{ IMAP_STATUS_UIDNEXT, "UIDNEXT", folder->uidnext },
		{ IMAP_STATUS_UIDVALIDITY, "UIDVALIDITY", folder->uidvalidity },
		{ IMAP_STATUS_UNSEEN, "UNSEEN", folder->unseen_count },
		{ IMAP_STATUS_HIGHESTMODSEQ, "HIGHESTMODSEQ", folder->highest_modseq },
		{ IMAP_STATUS_SIZE, "SIZE", folder->total_bytes },
		{ IMAP_STATUS_APPENDLIMIT, "APPENDLIMIT",
			session->login->config->message_bytes_max },
	};
	bool any = false;

	buf_append_literal(out, "* STATUS ");
	imap_write_mailbox(out, folder->name);
	buf_append_literal(out, " (");
	for (size_t i = 0; i < array_length(rows); i++) {
		if (!(items & rows[i].item))
			continue;
		buf_printf(out, any ? " %s " : "%s ", rows[i].name);
		imap_write_number(out, rows[i].value);
		any = true;
	}
	buf_append_literal(out, ")\r\n");
}

enum imap_wait cmd_status(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct str name;
	unsigned items;
	bool is_valid;

	if (!imap_space(parser) || !imap_mailbox(parser, &name, &is_valid) || !imap_space(parser) ||
		!imap_status_items(parser, &items) || !imap_end(parser))
		return imap_bad(command);
	const struct folder *folder =
		is_valid ? mailbox_find_folder(session->mailbox.mailbox, name) : NULL;
	if (!folder)
		return imap_reply(command, "NO [NONEXISTENT] No such folder");
	if (items & IMAP_STATUS_HIGHESTMODSEQ)
		imap_condstore_enable(session);
	imap_write_status(session, folder, items);
	return imap_reply(command, "OK Done");
}
