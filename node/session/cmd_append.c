/* APPEND: RFC 3501 section 6.3.11, RFC 4315 section 3, RFC 7889. */

#include "core/clock.h"
#include "node/session/imap_session.h"
#include "proto/mail/summary.h"

#include <errno.h>

struct append {
	struct imap_append arguments;
	struct buf summary;
};

const char *imap_append_check(struct imap_session *session, const struct imap_append *append,
	uint64_t length)
{
	if (append->has_id && !session->login->is_salvage)
		return "BAD XPANDOID is for salvage";
	if (length > session->login->config->message_bytes_max)
		return "NO [TOOBIG] Message too long";
	if (!length)
		return "NO [CANNOT] The message is empty";
	if (!append->name_is_valid)
		return "NO [CANNOT] The folder name is no modified UTF-7";
	if (!mailbox_find_folder(session->mailbox.mailbox, append->name))
		return "NO [TRYCREATE] No such folder";
	return NULL;
}

/* Messages are stored with CRLF line ends; a client that sends bare LF gets them completed. */
static void complete_line_ends(struct bytes **message)
{
	struct str text = bytes_str(*message);
	size_t bare = 0;

	for (const char *at = text.bytes;
		(at = memchr(at, '\n', (size_t)(text.bytes + text.length - at))); at++)
		bare += at == text.bytes || at[-1] != '\r';
	if (!bare)
		return;
	struct bytes *complete = bytes_create(text.length + bare);
	size_t length = 0;
	for (size_t i = 0; i < text.length; i++) {
		if (text.bytes[i] == '\n' && (i == 0 || text.bytes[i - 1] != '\r'))
			complete->data[length++] = '\r';
		complete->data[length++] = text.bytes[i];
	}
	bytes_unref(message);
	*message = complete;
}

static void append_release(struct imap_session *session, struct imap_command *command)
{
	struct append *append = command->state;
	(void)session;
	if (append)
		buf_deinit(&append->summary);
}

static enum imap_wait append_done(struct imap_session *session, struct imap_command *command)
{
	const struct mailbox_op *change = &session->change;
	if (change->status == -ENOENT)
		return imap_reply(command, "NO [TRYCREATE] No such folder");
	if (change->status)
		return imap_no_status(command, change->status);
	if (change->count == 0)
		return imap_reply(command, "OK [XPANDOSTORED] Stored before");
	return imap_reply(command, "OK [APPENDUID %u %u] Stored", change->uidvalidity,
		change->first_uid);
}

enum imap_wait cmd_append(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct append *append = pool_alloc(command->pool, sizeof(*append));
	struct imap_append *arguments = &append->arguments;

	if (!imap_append_arguments(parser, arguments))
		return imap_bad(command);
	if (!session->message) {
		parser->error = "Expected the message's literal";
		return imap_bad(command);
	}
	struct str rest = str_from_index(parser->text, parser->at);
	ptrdiff_t line_end = str_find_byte(rest, '\n');
	if (line_end < 0 || str_trim(str_from_index(rest, (size_t)line_end + 1)).length) {
		parser->error = "Only one message can be appended at a time";
		return imap_bad(command);
	}
	struct folder *folder = mailbox_find_folder(session->mailbox.mailbox, arguments->name);
	if (!folder)
		return imap_reply(command, "NO [TRYCREATE] No such folder");
	/* No literal may have one (RFC 3501 section 9, CHAR8): nobody could be sent it again. */
	if (str_find_byte(bytes_str(session->message), '\0') >= 0)
		return imap_reply(command, "NO [CANNOT] The message has a NUL byte");
	complete_line_ends(&session->message);
	summary_encode(bytes_str(session->message), &append->summary);
	command->state = append;
	command->release = append_release;
	command->resume = append_done;
	struct append_request request = {
		.body = session->message,
		.summary = buf_str(&append->summary),
		.system_flags = arguments->flags.system,
		.keywords = arguments->flags.keywords,
		.keyword_count = arguments->flags.keyword_count,
		.policy = session->login->policy,
		.internal_date_s =
			arguments->has_date ? arguments->date_s : clock_wall_us() / 1000000,
		.delivery_id = arguments->has_id ? arguments->id : NULL,
		.ids_before = session->salvage.ids_before,
	};
	mailbox_append(folder, &request, imap_change(session));
	return IMAP_WAIT_CHANGE;
}
