/* CAPABILITY, NOOP, CHECK, LOGOUT, ID, NAMESPACE, ENABLE: commands that touch no mail. */

#include "node/session/imap_view.h"

enum {
	/* RFC 2971 section 3.3: at most 30 pairs. */
	ID_PAIRS_MAX = 30,
};

enum imap_wait cmd_capability(struct imap_session *session, struct imap_command *command)
{
	if (!imap_end_of(command))
		return imap_bad(command);
	buf_printf(&session->out, "* CAPABILITY %s\r\n", imap_capabilities);
	return imap_reply(command, "OK Done");
}

enum imap_wait cmd_noop(struct imap_session *session, struct imap_command *command)
{
	(void)session;
	if (!imap_end_of(command))
		return imap_bad(command);
	return imap_reply(command, "OK Done");
}

enum imap_wait cmd_check(struct imap_session *session, struct imap_command *command)
{
	/* What is visible is durable: there is nothing to check-point. */
	return cmd_noop(session, command);
}

enum imap_wait cmd_logout(struct imap_session *session, struct imap_command *command)
{
	if (!imap_end_of(command))
		return imap_bad(command);
	/* No changes are told any more. */
	imap_view_deselect(session);
	buf_append_literal(&session->out, "* BYE Logging out\r\n");
	session->is_logging_out = true;
	return imap_reply(command, "OK Done");
}

static bool parse_id(struct imap_parser *parser)
{
	struct str value;
	if (!imap_space(parser))
		return false;
	if (imap_try_word(parser, STR("NIL")))
		return imap_end(parser);
	if (!imap_try_byte(parser, '('))
		return false;
	for (unsigned i = 0; !imap_try_byte(parser, ')'); i++) {
		if (i == ID_PAIRS_MAX * 2)
			return false;
		if (i)
			imap_try_byte(parser, ' ');
		if (!imap_try_word(parser, STR("NIL")) && !imap_string(parser, &value))
			return false;
	}
	return imap_end(parser);
}

enum imap_wait cmd_id(struct imap_session *session, struct imap_command *command)
{
	if (!parse_id(&command->parser))
		return imap_bad(command);
	buf_append_literal(&session->out,
		"* ID (\"name\" \"Pando\" \"version\" \"" PANDO_VERSION "\")\r\n");
	return imap_reply(command, "OK Done");
}

enum imap_wait cmd_namespace(struct imap_session *session, struct imap_command *command)
{
	if (!imap_end_of(command))
		return imap_bad(command);
	buf_append_literal(&session->out, "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
	return imap_reply(command, "OK Done");
}

enum imap_wait cmd_enable(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct str name;
	bool enables = false;

	do {
		if (!imap_space(parser) || !imap_atom(parser, &name))
			return imap_bad(command);
		/* RFC 5161 section 3.1: what is not known is passed over. */
		enables |= str_equal_ignore_case(name, STR("CONDSTORE"));
	} while (!imap_at_end(parser));
	buf_append_str(
		&session->out, enables ? STR("* ENABLED CONDSTORE\r\n") : STR("* ENABLED\r\n"));
	if (enables)
		imap_condstore_enable(session);
	return imap_reply(command, "OK Done");
}
