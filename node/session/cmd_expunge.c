/* EXPUNGE and UID EXPUNGE: RFC 3501 section 6.4.3, RFC 4315 section 2.1. */

#include "node/session/imap_session.h"

uint32_t *imap_deleted_uids(const struct folder *folder, struct pool *pool, uint32_t *count_out)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < folder->message_count; i++)
		count += (folder->messages[i].flags & MESSAGE_DELETED) != 0;
	uint32_t *uids = pool_alloc(pool, (count + 1) * sizeof(*uids));
	*count_out = count;
	count = 0;
	for (uint32_t i = 0; i < folder->message_count; i++)
		if (folder->messages[i].flags & MESSAGE_DELETED)
			uids[count++] = folder->messages[i].uid;
	return uids;
}

static enum imap_wait expunge_done(struct imap_session *session, struct imap_command *command)
{
	if (session->change.status)
		return imap_no_status(command, session->change.status);
	return imap_reply(command, "OK Expunged");
}

enum imap_wait cmd_expunge(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct folder *folder = session->mailbox.folder;
	struct imap_set set = { 0 };
	uint32_t count;

	if (command->by_uid && (!imap_space(parser) || !imap_sequence_set(parser, &set)))
		return imap_bad(command);
	if (!imap_end(parser))
		return imap_bad(command);
	if (session->is_read_only)
		return imap_reply(command, "NO [READ-ONLY] The folder is selected read-only");
	uint32_t *uids = imap_deleted_uids(folder, command->pool, &count);
	if (command->by_uid) {
		uint32_t kept = 0;
		imap_set_resolve(&set, session->view.count ?
			session->view.uids[session->view.count - 1] : 0);
		for (uint32_t i = 0; i < count; i++)
			if (imap_set_contains(&set, uids[i]))
				uids[kept++] = uids[i];
		count = kept;
	}
	if (!count)
		return imap_reply(command, "OK Nothing to expunge");
	command->resume = expunge_done;
	mailbox_expunge(folder, uids, count, imap_change(session));
	return IMAP_WAIT_CHANGE;
}
