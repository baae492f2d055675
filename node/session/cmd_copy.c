/*
 * COPY and MOVE with their UID forms: RFC 3501 section 6.4.7, RFC 6851, RFC 4315 section 3. Many
 * messages go in chunks, each a change of its own. A COPY that fails on the way takes back what it
 * has copied; a MOVE stays where it got to, as RFC 6851 section 3.3 allows.
 */

#include "node/session/imap_view.h"
#include "proto/mail/imap_write.h"

#include <errno.h>

enum {
	/* Some milliseconds of the worker's thread, and a quarter of how far a folder's uids may
	 * run ahead of its replica (UID_SLACK). */
	CHUNK_MESSAGES = 8192,
};

struct copy {
	bool moves;
	struct str to_name;
	uint32_t to_id, to_uidvalidity;
	uint32_t *uids; /* in the selected folder */
	uint32_t count, done;
	uint32_t *new_uids; /* of those that are done, rising */
	uint32_t new_count;
	int status; /* why it is taken back */
};

/* "[COPYUID validity from to]" when every message was copied, so that the sets correspond. */
static void write_copyuid(struct buf *out, const struct copy *copy)
{
	struct imap_set_writer writer = { .out = out };

	buf_printf(out, "[COPYUID %u ", copy->to_uidvalidity);
	for (uint32_t i = 0; i < copy->done; i++)
		imap_write_set_add(&writer, copy->uids[i]);
	imap_write_set_end(&writer);
	buf_append_byte(out, ' ');
	writer = (struct imap_set_writer){ .out = out };
	for (uint32_t i = 0; i < copy->new_count; i++)
		imap_write_set_add(&writer, copy->new_uids[i]);
	imap_write_set_end(&writer);
	buf_append_literal(out, "] ");
}

/* RFC 6851 section 4.3: before the EXPUNGEs, so untagged. */
static void tell_moved(struct imap_session *session, const struct copy *copy)
{
	if (!copy->done || copy->new_count != copy->done)
		return;
	buf_append_literal(&session->out, "* OK ");
	write_copyuid(&session->out, copy);
	buf_append_literal(&session->out, "Moved\r\n");
}

static enum imap_wait finish(struct imap_session *session, struct imap_command *command,
	const struct copy *copy)
{
	if (copy->moves) {
		tell_moved(session, copy);
		return imap_reply(command, "OK Moved");
	}
	imap_reply(command, "OK ");
	if (copy->new_count == copy->done)
		write_copyuid(&command->reply, copy);
	buf_append_literal(&command->reply, "Copied");
	return IMAP_DONE;
}

static struct folder *find_target(struct imap_session *session, const struct copy *copy)
{
	struct folder *to = mailbox_find_folder(session->mailbox.mailbox, copy->to_name);
	return to && to->id == copy->to_id ? to : NULL;
}

static void note_new_uids(struct copy *copy, const struct mailbox_op *change)
{
	for (uint32_t i = 0; i < change->count; i++)
		copy->new_uids[copy->new_count++] = change->first_uid + i;
}

static enum imap_wait taken_back(struct imap_session *session, struct imap_command *command)
{
	const struct copy *copy = command->state;
	(void)session;
	return imap_no_status(command, copy->status);
}

static enum imap_wait fail(struct imap_session *session, struct imap_command *command, int status)
{
	struct copy *copy = command->state;
	struct folder *to = find_target(session, copy);

	if (copy->moves)
		tell_moved(session, copy);
	if (copy->moves || !copy->new_count || !to)
		return imap_no_status(command, status);
	copy->status = status;
	command->resume = taken_back;
	mailbox_expunge(to, copy->new_uids, copy->new_count, imap_change(session));
	return IMAP_WAIT_CHANGE;
}

static enum imap_wait chunk_done(struct imap_session *session, struct imap_command *command);

static uint32_t chunk_count(const struct copy *copy)
{
	uint32_t left = copy->count - copy->done;
	return left < CHUNK_MESSAGES ? left : CHUNK_MESSAGES;
}

static enum imap_wait next_chunk(struct imap_session *session, struct imap_command *command)
{
	struct copy *copy = command->state;
	struct folder *to = find_target(session, copy);

	if (!to)
		return fail(session, command, -ENOENT);
	command->resume = chunk_done;
	mailbox_copy(session->mailbox.folder, copy->uids + copy->done, chunk_count(copy), to,
		copy->moves, &session->login->policy, imap_change(session));
	return IMAP_WAIT_CHANGE;
}

static enum imap_wait chunk_done(struct imap_session *session, struct imap_command *command)
{
	struct copy *copy = command->state;
	const struct mailbox_op *change = &session->change;
	int status = change->status;

	/* Of a `strict` one without a second copy in time there are new messages too. */
	if (status == 0 || !copy->moves)
		note_new_uids(copy, change);
	if (status)
		return fail(session, command, status);
	copy->done += chunk_count(copy);
	return copy->done < copy->count ? next_chunk(session, command) :
		finish(session, command, copy);
}

static enum imap_wait start(struct imap_session *session, struct imap_command *command, bool moves)
{
	struct imap_parser *parser = &command->parser;
	struct copy *copy = pool_alloc(command->pool, sizeof(*copy));
	struct imap_set set;
	bool is_valid;

	if (!imap_space(parser) || !imap_sequence_set(parser, &set) || !imap_space(parser) ||
		!imap_mailbox(parser, &copy->to_name, &is_valid) || !imap_end(parser) ||
		!imap_view_resolve(session, command, &set))
		return imap_bad(command);
	if (moves && session->is_read_only)
		return imap_reply(command, "NO [READ-ONLY] The folder is selected read-only");
	if (!is_valid)
		return imap_reply(command, "NO [CANNOT] The folder name is no modified UTF-7");
	const struct folder *to = mailbox_find_folder(session->mailbox.mailbox, copy->to_name);
	if (!to)
		return imap_reply(command, "NO [TRYCREATE] No such folder");
	copy->moves = moves;
	copy->to_id = to->id;
	copy->to_uidvalidity = to->uidvalidity;
	copy->uids = imap_view_uids(session, command, &set, &copy->count);
	/* RFC 2180 section 4.4.1: a copy is all or nothing. */
	if (!command->by_uid && copy->count != imap_set_size(&set))
		return imap_reply(
			command, "NO [EXPUNGEISSUED] Some of the messages no longer exist");
	if (!copy->count)
		return imap_reply(command, "OK No messages found");
	copy->new_uids = pool_alloc(command->pool, copy->count * sizeof(*copy->new_uids));
	command->state = copy;
	return next_chunk(session, command);
}

enum imap_wait cmd_copy(struct imap_session *session, struct imap_command *command)
{
	return start(session, command, false);
}

enum imap_wait cmd_move(struct imap_session *session, struct imap_command *command)
{
	return start(session, command, true);
}
