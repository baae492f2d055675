#include "core/encode.h"
#include "proto/mail/smtp.h"
#include "router/smtp_session.h"

#include <stdio.h>

/* What the client calls itself ends up in the Received header, so it must not be able to write
 * there what it likes. Names that are not domain names are common and tolerated. */
static bool is_helo(struct str name)
{
	if (name.length == 0 || name.length > 255)
		return false;
	for (size_t i = 0; i < name.length; i++)
		if (name.bytes[i] <= ' ' || name.bytes[i] > '~' ||
			strchr("()<>;,\"\\", name.bytes[i]))
			return false;
	return true;
}

static bool take_helo(struct smtp_session *session, struct str arguments, bool extended)
{
	struct str rest, name = smtp_verb(arguments, &rest);

	if (!is_helo(name)) {
		/* The one reply without an enhanced code (RFC 2034 section 3). */
		session_say(session, "501 Syntax: %s hostname", extended ? "EHLO" : "HELO");
		return false;
	}
	session_forget_tx(session);
	snprintf(session->helo, sizeof(session->helo), STR_FORMAT, STR_ARG(name));
	session->extended = extended;
	return true;
}

static void cmd_helo(struct smtp_session *session, struct str arguments)
{
	if (take_helo(session, arguments, false))
		session_say(session, "250 %s", session->router->config->hostname);
}

static void cmd_ehlo(struct smtp_session *session, struct str arguments)
{
	const struct config *config = session->router->config;

	if (!take_helo(session, arguments, true))
		return;
	session_say(session, "250-%s", config->hostname);
	session_say(session,
		"250-PIPELINING\r\n250-SIZE %llu\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-SMTPUTF8",
		(unsigned long long)config->message_bytes_max);
	if (session->router->public_tls && session->tls[0] == 0)
		session_say(session, "250-STARTTLS");
	if (session_may_login(session))
		session_say(session, "250-AUTH PLAIN LOGIN SCRAM-SHA-256");
	session_say(session, "250-DSN\r\n250 ENHANCEDSTATUSCODES");
}

static void cmd_mail(struct smtp_session *session, struct str arguments)
{
	struct smtp_origin origin = session_origin(session);
	struct smtp_mail mail;

	if (session->helo[0] == 0) {
		session_say(session, "503 5.5.1 EHLO first");
		return;
	}
	if (session->tx) {
		session_say(session, "503 5.5.1 Nested MAIL");
		return;
	}
	if (origin.submission && session->login[0] == 0) {
		session_say(session, "530 5.7.0 Authentication required");
		return;
	}
	if (session->login[0] != 0) {
		uint64_t access =
			directory_access(session->router->directory, session->login_mailbox_id);
		if (access != session->login_access) {
			session_say(session, "421 4.7.0 %s", directory_access_end(access));
			session_set_state(session, SMTP_CLOSING);
			return;
		}
	}
	const char *bad = smtp_parse_mail(arguments, false, &mail);
	if (!bad && mail.size > session->router->config->message_bytes_max)
		bad = "552 5.3.4 Message too big";
	if (bad) {
		session_say(session, "%s", bad);
		return;
	}
	session->tx = smtp_tx_create(session->router, &mail, &origin);
	session_say(session, "250 2.1.0 Ok");
}

static void cmd_rcpt(struct smtp_session *session, struct str arguments)
{
	struct smtp_rcpt rcpt;

	if (!session->tx || session->chunking) {
		session_say(session, "503 5.5.1 MAIL first");
		return;
	}
	/* SMTPUTF8 was asked for in MAIL or it was not: the transaction knows. */
	const char *reply = smtp_parse_rcpt(arguments, false, smtp_tx_is_utf8(session->tx), &rcpt);
	if (!reply)
		reply = smtp_tx_add_recipient(session->tx, &rcpt);
	session->refused += reply[0] != '2';
	session_say(session, "%s", reply);
}

static void cmd_data(struct smtp_session *session, struct str arguments)
{
	struct smtp_origin origin = session_origin(session);

	if (arguments.length > 0) {
		session_say(session, "501 5.5.4 DATA takes no arguments");
	} else if (!session->tx || session->chunking) {
		session_say(session, "503 5.5.1 MAIL first");
	} else if (smtp_tx_recipient_count(session->tx) == 0) {
		session_say(session, "554 5.5.1 No valid recipients");
	} else {
		smtp_tx_data(session->tx, &origin);
		session_say(session, "354 End data with <CR><LF>.<CR><LF>");
		session_set_state(session, SMTP_DATA);
	}
}

static void cmd_bdat(struct smtp_session *session, struct str arguments)
{
	const char *bad = smtp_parse_bdat(arguments, &session->chunk_left, &session->chunk_last);
	if (bad) {
		/* The bytes that follow cannot be told from commands. */
		session_say(session, "%s", bad);
		session_say(session, "421 4.7.0 Cannot go on after a malformed BDAT");
		session_set_state(session, SMTP_CLOSING);
		return;
	}
	session->chunk_refused = !session->tx || smtp_tx_recipient_count(session->tx) == 0;
	session->chunking = !session->chunk_refused;
	session_set_state(session, SMTP_CHUNK);
}

static void cmd_rset(struct smtp_session *session, struct str arguments)
{
	(void)arguments;
	session_forget_tx(session);
	session_say(session, "250 2.0.0 Ok");
}

static void cmd_noop(struct smtp_session *session, struct str arguments)
{
	(void)arguments;
	session_say(session, "250 2.0.0 Ok");
}

static void cmd_vrfy(struct smtp_session *session, struct str arguments)
{
	if (arguments.length == 0)
		session_say(session, "501 5.5.4 Syntax: VRFY address");
	else
		session_say(session, "252 2.5.0 Send some mail to find out");
}

static void cmd_expn(struct smtp_session *session, struct str arguments)
{
	(void)arguments;
	session_say(session, "502 5.5.1 EXPN is not offered");
}

static void cmd_help(struct smtp_session *session, struct str arguments)
{
	(void)arguments;
	session_say(session, "214 2.0.0 See RFC 5321");
}

static void cmd_quit(struct smtp_session *session, struct str arguments)
{
	(void)arguments;
	session_say(session, "221 2.0.0 Bye");
	session_set_state(session, SMTP_CLOSING);
}

static void cmd_starttls(struct smtp_session *session, struct str arguments)
{
	if (arguments.length > 0) {
		session_say(session, "501 5.5.4 STARTTLS takes no arguments");
	} else if (!session->router->public_tls) {
		session_say(session, "502 5.5.1 STARTTLS is not offered");
	} else if (session->tls[0] != 0) {
		session_say(session, "503 5.5.1 TLS is active already");
	} else {
		session_say(session, "220 2.0.0 Ready to start TLS");
		session_forget_tx(session);
		session->helo[0] = 0;
		session->login[0] = 0;
		session_set_state(session, SMTP_HANDSHAKE);
		stream_start_tls(session->stream, session->router->public_tls);
	}
}

static void cmd_auth(struct smtp_session *session, struct str arguments)
{
	enum sasl_mechanism mechanism;
	struct str initial, name = smtp_verb(arguments, &initial);
	struct buf message = { 0 };

	if (session->service == SMTP_SERVICE_MX) {
		session_say(session, "502 5.5.1 AUTH is not offered here");
		return;
	}
	if (!session_may_login(session)) {
		session_say(session, "538 5.7.11 Encryption required");
		return;
	}
	if (session->login[0] != 0 || session->tx || session->helo[0] == 0) {
		session_say(session, "503 5.5.1 AUTH is not allowed now");
		return;
	}
	if (!sasl_find_mechanism(name, &mechanism)) {
		session_say(session, "504 5.5.4 Mechanism is not offered");
		return;
	}
	/* "=" is an initial response of no bytes (RFC 4954 section 4). */
	bool empty = str_equal(initial, STR("="));
	if (initial.length > 0 && !empty && !decode_base64(&message, initial)) {
		session_say(session, "501 5.5.2 Malformed base64");
		buf_deinit(&message);
		return;
	}
	session_set_state(session, SMTP_WAITING);
	session->attempt = login_start(session->router->login, mechanism, session->peer,
		&smtp_login_handler, session);
	login_message(session->attempt, initial.length > 0, buf_str(&message));
	buf_deinit(&message);
}

static const struct smtp_command {
	struct str verb;
	void (*run)(struct smtp_session *session, struct str arguments);
	bool between_chunks; /* allowed after a BDAT that was not the last (RFC 3030 section 2) */
} commands[] = {
	{ { "MAIL", 4 }, cmd_mail, false },
	{ { "RCPT", 4 }, cmd_rcpt, false },
	{ { "DATA", 4 }, cmd_data, false },
	{ { "BDAT", 4 }, cmd_bdat, true },
	{ { "EHLO", 4 }, cmd_ehlo, true },
	{ { "HELO", 4 }, cmd_helo, true },
	{ { "RSET", 4 }, cmd_rset, true },
	{ { "NOOP", 4 }, cmd_noop, true },
	{ { "QUIT", 4 }, cmd_quit, true },
	{ { "STARTTLS", 8 }, cmd_starttls, false },
	{ { "AUTH", 4 }, cmd_auth, false },
	{ { "VRFY", 4 }, cmd_vrfy, true },
	{ { "EXPN", 4 }, cmd_expn, true },
	{ { "HELP", 4 }, cmd_help, true },
};

void smtp_run_command(struct smtp_session *session, struct str line)
{
	struct str arguments, verb = smtp_verb(line, &arguments);

	for (size_t i = 0; i < array_length(commands); i++) {
		if (!str_equal_ignore_case(verb, commands[i].verb))
			continue;
		if (session->chunking && !commands[i].between_chunks)
			session_say(session, "503 5.5.1 BDAT LAST first");
		else
			commands[i].run(session, arguments);
		return;
	}
	session_say(session, "500 5.5.2 Command not recognized");
}
