/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE: RFC 3501 sections 6.3.3 to 6.3.7, RFC 6154. */

#include "node/session/imap_view.h"
#include "proto/mail/utf7.h"

static const struct {
	struct str name;
	enum special_use use;
} special_uses[] = {
	{ { "Archive", 7 }, SPECIAL_ARCHIVE }, { { "Drafts", 6 }, SPECIAL_DRAFTS },
	{ { "Junk", 4 }, SPECIAL_JUNK },       { { "Sent", 4 }, SPECIAL_SENT },
	{ { "Trash", 5 }, SPECIAL_TRASH },
};

static enum imap_wait folder_done(struct imap_session *session, struct imap_command *command)
{
	if (session->change.status)
		return imap_no_status(command, session->change.status);
	return imap_reply(command, "OK Done");
}

static enum imap_wait invalid_name(struct imap_command *command)
{
	return imap_reply(command, "NO [CANNOT] Not a possible folder name");
}

/* What RFC 6855 section 3 takes out of names, and wildcards. What turns text round stays: names of
 * scripts that are written from right to left have it. */
static bool may_stand_in_name(int32_t c)
{
	return c >= 0x20 && (c < 0x7f || c > 0x9f) && c != 0x2028 && c != 0x2029 && c != '*' &&
		c != '%';
}

/* A name that a folder may get: UTF-8, levels that are not empty, no wildcards, no controls. */
static bool name_is_possible(struct str name)
{
	struct str rest = name, level;

	if (!name.length || name.length > FOLDER_NAME_MAX)
		return false;
	while (rest.length > 0)
		if (!may_stand_in_name(utf8_next(&rest)))
			return false;
	rest = name;
	while (str_next(&rest, '/', &level))
		if (!level.length)
			return false;
	return true;
}

/* "(USE (\Sent))": one use, as a folder has one. */
static bool parse_use(struct imap_parser *parser, enum special_use *use_out, bool *known_out)
{
	struct str atom;
	*known_out = true;
	if (!imap_try_byte(parser, ' '))
		return true;
	parser->error = "Expected (USE (\\Attribute)) or nothing";
	if (!imap_try_byte(parser, '(') || !imap_try_word(parser, STR("USE")) ||
		!imap_try_byte(parser, ' ') || !imap_try_byte(parser, '('))
		return false;
	for (bool first = true; !imap_try_byte(parser, ')'); first = false) {
		if (!first && !imap_try_byte(parser, ' '))
			return false;
		if (!imap_try_byte(parser, '\\') || !imap_atom(parser, &atom))
			return false;
		size_t i = 0;
		while (i < array_length(special_uses) &&
			!str_equal_ignore_case(atom, special_uses[i].name))
			i++;
		*known_out &= first && i < array_length(special_uses);
		if (i < array_length(special_uses))
			*use_out = special_uses[i].use;
	}
	return imap_try_byte(parser, ')');
}

enum imap_wait cmd_create(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct mailbox *mailbox = session->mailbox.mailbox;
	enum special_use use = SPECIAL_NONE;
	struct str name;
	bool is_valid, use_is_known;

	if (!imap_space(parser) || !imap_mailbox(parser, &name, &is_valid) ||
		!parse_use(parser, &use, &use_is_known) || !imap_end(parser))
		return imap_bad(command);
	/* A trailing delimiter only announces children (RFC 3501 section 6.3.3). */
	if (name.length > 1 && name.bytes[name.length - 1] == '/')
		name.length--;
	if (!is_valid || !name_is_possible(name))
		return invalid_name(command);
	if (!use_is_known)
		return imap_reply(command, "NO [USEATTR] No such special use here");
	for (struct folder *folder = NULL; use && (folder = mailbox_next_folder(mailbox, folder));)
		if (folder->special_use == use)
			return imap_reply(command, "NO [USEATTR] Another folder has that use");
	command->resume = folder_done;
	mailbox_create_folder(mailbox, name, use, imap_change(session));
	return IMAP_WAIT_CHANGE;
}

enum imap_wait cmd_delete(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct str name;
	bool is_valid;

	if (!imap_space(parser) || !imap_mailbox(parser, &name, &is_valid) || !imap_end(parser))
		return imap_bad(command);
	if (str_equal(name, STR("INBOX")))
		return imap_reply(command, "NO [CANNOT] INBOX stays");
	struct folder *folder =
		is_valid ? mailbox_find_folder(session->mailbox.mailbox, name) : NULL;
	if (!folder)
		return imap_reply(command, "NO [NONEXISTENT] No such folder");
	/* The client's own selection ends here; other sessions are told by on_gone. */
	if (session->mailbox.folder == folder)
		imap_view_deselect(session);
	command->resume = folder_done;
	mailbox_delete_folder(folder, imap_change(session));
	return IMAP_WAIT_CHANGE;
}

enum imap_wait cmd_rename(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct str from, to;
	bool from_is_valid, to_is_valid;

	if (!imap_space(parser) || !imap_mailbox(parser, &from, &from_is_valid) ||
		!imap_space(parser) || !imap_mailbox(parser, &to, &to_is_valid) ||
		!imap_end(parser))
		return imap_bad(command);
	struct folder *folder =
		from_is_valid ? mailbox_find_folder(session->mailbox.mailbox, from) : NULL;
	if (!folder)
		return imap_reply(command, "NO [NONEXISTENT] No such folder");
	if (!to_is_valid || !name_is_possible(to))
		return invalid_name(command);
	if (mailbox_find_folder(session->mailbox.mailbox, to))
		return imap_reply(command, "NO [ALREADYEXISTS] The folder exists already");
	struct str below = pool_printf(command->pool, STR_FORMAT "/", STR_ARG(from));
	if (str_starts_with(to, below))
		return imap_reply(command, "NO [CANNOT] A folder cannot move into itself");
	command->resume = folder_done;
	mailbox_rename_folder(folder, to, imap_change(session));
	return IMAP_WAIT_CHANGE;
}

static enum imap_wait subscribe(struct imap_session *session, struct imap_command *command,
	bool subscribed)
{
	struct imap_parser *parser = &command->parser;
	struct mailbox *mailbox = session->mailbox.mailbox;
	struct str name;
	bool is_valid;

	if (!imap_space(parser) || !imap_mailbox(parser, &name, &is_valid) || !imap_end(parser))
		return imap_bad(command);
	if (!is_valid || (subscribed && !name_is_possible(name)))
		return invalid_name(command);
	if (subscribed && !mailbox_find_folder(mailbox, name))
		return imap_reply(command, "NO [NONEXISTENT] No such folder");
	if (subscribed == mailbox_is_subscribed(mailbox, name))
		return imap_reply(command, "OK Done");
	command->resume = folder_done;
	mailbox_subscribe(mailbox, name, subscribed, imap_change(session));
	return IMAP_WAIT_CHANGE;
}

enum imap_wait cmd_subscribe(struct imap_session *session, struct imap_command *command)
{
	return subscribe(session, command, true);
}

enum imap_wait cmd_unsubscribe(struct imap_session *session, struct imap_command *command)
{
	return subscribe(session, command, false);
}
