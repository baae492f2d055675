#include "router/imap_login.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "core/timer.h"
#include "router/clients.h"
#include "router/imap_command.h"
#include "router/login.h"
#include "router/proxy.h"
#include "router/resolve.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	LOGIN_MS = 180 * 1000,    /* RFC 3501 section 5.4 speaks of sessions that have logged in */
	HANDSHAKE_MS = 30 * 1000,
	BACKEND_MS = 3000,        /* one attempt to reach the home */
	/* Between attempts, doubled from the first to the last: a moved volume or a restarted node
	 * is there within a tenth of a second, and a thousand who wait for a dead one are no
	 * load. */
	BACKEND_RETRY_MS_MIN = 20,
	BACKEND_RETRY_MS_MAX = 320,
	BACKEND_TOTAL_US = 8000 * 1000, /* a failover by command takes less */
	GREETING_MAX = 16 << 10,
	/* As many as a session of a node may make. */
	ERRORS_MAX = 20,
};

enum imap_state {
	IMAP_COMMANDS,
	IMAP_AUTH,      /* the next line answers a SASL challenge */
	IMAP_WAITING,   /* the login is being checked */
	IMAP_HANDSHAKE,
	IMAP_BACKEND,   /* the home is being reached */
	IMAP_CLOSING,
};

enum backend_state { BACKEND_NONE, BACKEND_CONNECTING, BACKEND_GREETING, BACKEND_AUTH };

struct imap_login {
	struct router *router;
	struct stream *client;
	enum imap_state state;
	struct imap_collector collector;
	struct timer *timer, *retry;
	struct login_attempt *attempt;
	struct stream *backend;
	enum backend_state backend_state;
	struct login_identity identity;
	uint32_t node_id;
	uint64_t backend_deadline_us, backend_retry_ms;
	struct client_place place;
	unsigned errors;
	bool input_waits;
	bool is_salvage; /* a member of the cluster, see imap_login_start_salvage */
	char who[192];   /* then: its role and name */
	char mark[2 * MAILBOX_MARK_LENGTH + 1]; /* with it: of the mailbox that it means */
	bool home_takes_marks;                  /* as it says: one of the version before does not */
	char tag[260];
	char peer[64];
};

static void session_free(struct imap_login *session)
{
	if (session->backend)
		stream_abort(session->backend);
	login_abort(&session->attempt);
	clients_leave(session->router->clients, &session->place);
	imap_collector_deinit(&session->collector);
	timer_destroy(&session->timer);
	timer_destroy(&session->retry);
	free(session);
}

/* The client's stream is gone already. */
static void session_end(struct imap_login *session)
{
	struct router *router = session->router;
	router->imap_session_count--;
	metric_set(router->metrics.imap_sessions, router->imap_session_count);
	session_free(session);
}

static void session_close(struct imap_login *session)
{
	stream_close(session->client);
	session_end(session);
}

static void set_state(struct imap_login *session, enum imap_state state)
{
	session->state = state;
	if (session->input_waits && (state == IMAP_COMMANDS || state == IMAP_AUTH)) {
		session->input_waits = false;
		stream_pause(session->client);
		stream_resume(session->client);
	}
}

static bool may_login(const struct imap_login *session)
{
	return stream_is_tls(session->client) ||
		(session->router->config->plaintext_login && client_is_loopback(session->peer));
}

static void append_capability(const struct imap_login *session, struct buf *out)
{
	buf_append_literal(out, "IMAP4rev1 LITERAL+ SASL-IR ID");
	if (!stream_is_tls(session->client) && session->router->public_tls)
		buf_append_literal(out, " STARTTLS");
	if (may_login(session))
		buf_append_literal(out, " AUTH=PLAIN AUTH=LOGIN AUTH=SCRAM-SHA-256");
	else
		buf_append_literal(out, " LOGINDISABLED");
}

static void greet(struct imap_login *session)
{
	struct buf line = { 0 };
	buf_append_literal(&line, "* OK [CAPABILITY ");
	append_capability(session, &line);
	buf_printf(&line, "] %s Pando ready\r\n", session->router->config->hostname);
	stream_write_str(session->client, buf_str(&line));
	buf_deinit(&line);
}

static void answer(struct imap_login *session, const char *text)
{
	stream_printf(session->client, "%s %s\r\n", session->tag, text);
	if (text[0] == 'B')
		session->errors++;
}

static void backend_connect(void *arg);

/* Moves between two homes are short: until the deadline the directory may name the new one. */
static bool may_try_again(const struct imap_login *session)
{
	return clock_mono_us() + session->backend_retry_ms * 1000 < session->backend_deadline_us;
}

static void backend_failed(struct imap_login *session, const char *why)
{
	if (session->backend)
		stream_abort(session->backend);
	session->backend = NULL;
	session->backend_state = BACKEND_NONE;
	if (may_try_again(session)) {
		timer_start(session->retry, session->backend_retry_ms);
		if (session->backend_retry_ms < BACKEND_RETRY_MS_MAX)
			session->backend_retry_ms *= 2;
		return;
	}
	log_warn("imap_home_unreachable", "peer=%s user=%s node=%u reason=%s", session->peer,
		session->identity.address, session->node_id, log_quote(str_from(why)));
	answer(session, "NO [UNAVAILABLE] The mailbox's home cannot be reached, try again later");
	timer_start(session->timer, LOGIN_MS);
	set_state(session, IMAP_COMMANDS);
}

/* The home has let the user in: what it said with the OK goes to the client under
 * the client's tag. */
static void backend_ready(struct imap_login *session, struct str text)
{
	struct router *router = session->router;
	struct stream *client = session->client, *backend = session->backend;

	stream_printf(client, "%s OK " STR_FORMAT "\r\n", session->tag, STR_ARG(text));
	if (session->is_salvage)
		log_info("salvage_login", "peer=%s user=%s node=%u who=%s", session->peer,
			session->identity.address, session->node_id,
			log_quote(str_from(session->who)));
	else
		log_info("imap_login", "peer=%s user=%s node=%u tls=%d", session->peer,
			session->identity.address, session->node_id, stream_is_tls(client));
	proxy_start(router->proxies, client, backend, &session->identity, session->node_id);
	session->backend = NULL;
	session_free(session);
}

/* The home knows why nobody is let in, and so it will say again: the client is told. */
static void backend_refused(struct imap_login *session, struct str reply)
{
	log_warn("imap_home_refused", "peer=%s user=%s node=%u reply=%s", session->peer,
		session->identity.address, session->node_id, log_quote(reply));
	stream_printf(session->client, "%s " STR_FORMAT "\r\n", session->tag, STR_ARG(reply));
	stream_abort(session->backend);
	session->backend = NULL;
	session->backend_state = BACKEND_NONE;
	timer_start(session->timer, LOGIN_MS);
	set_state(session, IMAP_COMMANDS);
}

/* By its mark too: the home's copy of the directory may be older than ours, and have another
 * mailbox under this address. */
static void append_login(const struct imap_login *session, struct buf *out)
{
	struct buf identity = { 0 };

	if (session->home_takes_marks) {
		encode_hex(&identity, session->identity.mark, sizeof(session->identity.mark));
		buf_append_byte(&identity, ' ');
	}
	buf_append_str(&identity, str_from(session->identity.address));
	buf_printf(
		out, "P AUTHENTICATE %s ", session->home_takes_marks ? "XPANDO-MARK" : "EXTERNAL");
	encode_base64(out, buf_str(&identity));
	buf_deinit(&identity);
}

static void append_salvage(const struct imap_login *session, struct buf *out)
{
	struct buf identity = { 0 };
	buf_printf(&identity, "%s %s", session->mark, session->identity.address);
	/* A home of the version before knows of nodes alone, and refuses what it does not know. */
	if (str_starts_with(str_from(session->who), STR("ctl "))) {
		buf_append_byte(&identity, '\0');
		buf_append_str(&identity, str_from(session->who));
	}
	buf_append_literal(out, "P AUTHENTICATE XPANDO-SALVAGE ");
	encode_base64(out, buf_str(&identity));
	buf_deinit(&identity);
}

/* One line of the home; true when the session has been handed over or the attempt is over. */
static bool backend_line(struct imap_login *session, struct str line)
{
	if (session->backend_state == BACKEND_GREETING) {
		if (!str_starts_with_ignore_case(line, STR("* OK"))) {
			backend_failed(session, "greeting");
			return true;
		}
		struct buf command = { 0 };
		session->home_takes_marks = str_find(line, STR(" AUTH=XPANDO-MARK")) >= 0;
		if (session->is_salvage)
			append_salvage(session, &command);
		else
			append_login(session, &command);
		buf_append_literal(&command, "\r\n");
		stream_write_str(session->backend, buf_str(&command));
		buf_deinit(&command);
		session->backend_state = BACKEND_AUTH;
		return false;
	}
	if (str_starts_with(line, STR("* "))) {
		bool bye = str_starts_with_ignore_case(line, STR("* BYE"));
		if (bye)
			backend_failed(session, "bye");
		return bye;
	}
	if (str_starts_with_ignore_case(line, STR("P NO [INUSE] "))) {
		backend_refused(session, str_from_index(line, 2));
		return true;
	}
	/* The directory's news, or a failover, may be there by the next attempt. */
	if (str_starts_with_ignore_case(line, STR("P NO [UNAVAILABLE] ")) &&
		!may_try_again(session)) {
		backend_refused(session, str_from_index(line, 2));
		return true;
	}
	if (!str_starts_with_ignore_case(line, STR("P OK "))) {
		backend_failed(session, "refused");
		return true;
	}
	backend_ready(session, str_from_index(line, 5));
	return true;
}

static void backend_on_input(void *arg, struct buf *input)
{
	struct imap_login *session = arg;

	for (;;) {
		struct str bytes = buf_str(input);
		const char *end = memchr(bytes.bytes, '\n', bytes.length);
		if (!end) {
			if (bytes.length > GREETING_MAX)
				backend_failed(session, "line too long");
			return;
		}
		size_t length = (size_t)(end - bytes.bytes) + 1;
		buf_consume(input, length); /* the bytes stay in place until more is read */
		if (backend_line(session, str_trim(str_first(bytes, length))))
			return;
	}
}

static void backend_on_open(void *arg)
{
	struct imap_login *session = arg;
	const struct tls_peer *peer = stream_peer(session->backend);
	const struct directory_node *node =
		directory_find_node(session->router->directory, session->node_id);

	if (strcmp(peer->role, "node") != 0 || !node || strcmp(peer->name, node->name) != 0) {
		log_error("imap_peer_refused", "node=%u name=%s role=%s", session->node_id,
			log_quote(str_from(peer->name)), log_quote(str_from(peer->role)));
		backend_failed(session, "certificate");
		return;
	}
	session->backend_state = BACKEND_GREETING;
}

static void backend_on_close(void *arg, int reason)
{
	struct imap_login *session = arg;
	(void)reason;
	session->backend = NULL;
	backend_failed(session, "closed");
}

static const struct stream_handler backend_handler = {
	.on_open = backend_on_open,
	.on_input = backend_on_input,
	.on_close = backend_on_close,
};

static void backend_connect(void *arg)
{
	struct imap_login *session = arg;
	struct router *router = session->router;

	session->node_id = resolve_home(router->directory, session->identity.mailbox_id);
	const struct directory_node *node =
		directory_find_node(router->directory, session->node_id);
	if (!node || node->imap[0] == 0) {
		backend_failed(session, "no home");
		return;
	}
	session->backend_state = BACKEND_CONNECTING;
	session->backend = stream_connect(router->loop, node->imap, router->cluster_tls, NULL,
		BACKEND_MS, &backend_handler, session);
}

static void login_done(struct imap_login *session)
{
	clients_leave(session->router->clients, &session->place);
	session->backend_deadline_us = clock_mono_us() + BACKEND_TOTAL_US;
	session->backend_retry_ms = BACKEND_RETRY_MS_MIN;
	timer_stop(session->timer);
	set_state(session, IMAP_BACKEND);
	backend_connect(session);
}

static void on_challenge(void *arg, struct str challenge)
{
	struct imap_login *session = arg;
	struct buf line = { 0 };

	buf_append_literal(&line, "+ ");
	encode_base64(&line, challenge);
	buf_append_literal(&line, "\r\n");
	stream_write_str(session->client, buf_str(&line));
	buf_deinit(&line);
	set_state(session, IMAP_AUTH);
}

static void on_login(void *arg, enum login_result result, const struct login_identity *identity)
{
	struct imap_login *session = arg;

	session->attempt = NULL;
	if (result == LOGIN_GOOD) {
		session->identity = *identity;
		login_done(session);
		return;
	}
	session->errors++;
	answer(session,
		result == LOGIN_REFUSED ? "NO [AUTHENTICATIONFAILED] Authentication failed" :
		result == LOGIN_MALFORMED ? "BAD Malformed authentication data" :
					    "NO [UNAVAILABLE] Temporary authentication failure");
	set_state(session, IMAP_COMMANDS);
}

static const struct login_handler login_handler = { .challenge = on_challenge, .done = on_login };

static void auth_line(struct imap_login *session, struct str line)
{
	struct buf message = { 0 };

	if (str_equal(line, STR("*")) || !decode_base64(&message, line)) {
		login_abort(&session->attempt);
		answer(session, "BAD Authentication cancelled");
		set_state(session, IMAP_COMMANDS);
	} else {
		set_state(session, IMAP_WAITING);
		login_message(session->attempt, true, buf_str(&message));
	}
	buf_deinit(&message);
}

static void cmd_capability(struct imap_login *session, const struct imap_command *command)
{
	struct buf line = { 0 };

	(void)command;
	buf_append_literal(&line, "* CAPABILITY ");
	append_capability(session, &line);
	buf_append_literal(&line, "\r\n");
	stream_write_str(session->client, buf_str(&line));
	buf_deinit(&line);
	answer(session, "OK Done");
}

static void cmd_id(struct imap_login *session, const struct imap_command *command)
{
	(void)command;
	stream_write_str(session->client,
		STR("* ID (\"name\" \"Pando\" \"version\" \"" PANDO_VERSION "\")\r\n"));
	answer(session, "OK Done");
}

static void cmd_noop(struct imap_login *session, const struct imap_command *command)
{
	(void)command;
	answer(session, "OK Done");
}

static void cmd_logout(struct imap_login *session, const struct imap_command *command)
{
	(void)command;
	stream_write_str(session->client, STR("* BYE Logging out\r\n"));
	answer(session, "OK Done");
	set_state(session, IMAP_CLOSING);
}

static void cmd_starttls(struct imap_login *session, const struct imap_command *command)
{
	(void)command;
	if (stream_is_tls(session->client) || !session->router->public_tls) {
		answer(session, "BAD STARTTLS is not offered now");
		return;
	}
	answer(session, "OK Begin TLS");
	timer_start(session->timer, HANDSHAKE_MS);
	set_state(session, IMAP_HANDSHAKE);
	stream_start_tls(session->client, session->router->public_tls);
}

static void cmd_login(struct imap_login *session, const struct imap_command *command)
{
	if (!may_login(session) || session->is_salvage) {
		answer(session, "NO [PRIVACYREQUIRED] Begin TLS first");
		return;
	}
	if (command->argument_count != 2) {
		answer(session, "BAD Syntax: LOGIN user password");
		return;
	}
	set_state(session, IMAP_WAITING);
	session->attempt = login_password(session->router->login, command->arguments[0],
		command->arguments[1], session->peer, &login_handler, session);
}

/* A member of the cluster names the mailbox, "32*hex address"; its certificate is the
 * authentication. The home compares the mark. */
static void cmd_salvage(struct imap_login *session, const struct imap_command *command)
{
	const struct directory_mailbox *mailbox = NULL;
	struct buf identity = { 0 };
	struct directory *directory = session->router->directory;
	size_t length = sizeof(session->mark) - 1;

	bool good = command->argument_count == 2 &&
		str_equal_ignore_case(command->arguments[0], STR("XPANDO-SALVAGE")) &&
		decode_base64(&identity, command->arguments[1]) &&
		buf_length(&identity) > length + 1 && buf_str(&identity).bytes[length] == ' ';
	if (good)
		mailbox = directory_find_login(
			directory, str_from_index(buf_str(&identity), length + 1));
	if (mailbox == NULL || mailbox->address.length >= sizeof(session->identity.address)) {
		answer(session, good ? "NO [AUTHENTICATIONFAILED] No such mailbox"
				     : "BAD Only AUTHENTICATE XPANDO-SALVAGE is taken here");
	} else {
		snprintf(session->mark, sizeof(session->mark), STR_FORMAT,
			STR_ARG(str_first(buf_str(&identity), length)));
		session->identity = (struct login_identity){ .mailbox_id = mailbox->id,
			.access = directory_access(directory, mailbox->id) };
		snprintf(session->identity.address, sizeof(session->identity.address), STR_FORMAT,
			STR_ARG(mailbox->address));
		metric_add(session->router->metrics.salvage_logins, 1);
		login_done(session);
	}
	buf_deinit(&identity);
}

static void cmd_authenticate(struct imap_login *session, const struct imap_command *command)
{
	enum sasl_mechanism mechanism;
	struct buf message = { 0 };

	if (session->is_salvage) {
		cmd_salvage(session, command);
		return;
	}
	if (!may_login(session)) {
		answer(session, "NO [PRIVACYREQUIRED] Begin TLS first");
		return;
	}
	if (command->argument_count < 1 || command->argument_count > 2) {
		answer(session, "BAD Syntax: AUTHENTICATE mechanism [initial-response]");
		return;
	}
	if (!sasl_find_mechanism(command->arguments[0], &mechanism)) {
		answer(session, "NO [CANNOT] Mechanism is not offered");
		return;
	}
	bool initial = command->argument_count == 2;
	/* "=" is an initial response of no bytes. */
	bool empty = initial && str_equal(command->arguments[1], STR("="));
	if (initial && !empty && !decode_base64(&message, command->arguments[1])) {
		answer(session, "BAD Malformed base64");
		buf_deinit(&message);
		return;
	}
	set_state(session, IMAP_WAITING);
	session->attempt = login_start(
		session->router->login, mechanism, session->peer, &login_handler, session);
	login_message(session->attempt, initial, buf_str(&message));
	buf_deinit(&message);
}

static const struct imap_verb {
	struct str name;
	void (*run)(struct imap_login *session, const struct imap_command *command);
} verbs[] = {
	{ { "CAPABILITY", 10 }, cmd_capability },
	{ { "ID", 2 }, cmd_id },
	{ { "NOOP", 4 }, cmd_noop },
	{ { "LOGOUT", 6 }, cmd_logout },
	{ { "STARTTLS", 8 }, cmd_starttls },
	{ { "LOGIN", 5 }, cmd_login },
	{ { "AUTHENTICATE", 12 }, cmd_authenticate },
};

static void run_command(struct imap_login *session, struct str text)
{
	struct imap_command command;
	struct buf scratch = { 0 };
	bool good = imap_parse_command(text, &scratch, &command);
	const struct imap_verb *verb = NULL;

	snprintf(session->tag, sizeof(session->tag), STR_FORMAT, STR_ARG(command.tag));
	for (size_t i = 0; good && i < array_length(verbs); i++)
		if (str_equal_ignore_case(command.name, verbs[i].name))
			verb = &verbs[i];
	if (verb)
		verb->run(session, &command);
	else
		answer(session, good ? "BAD Unknown command, or log in first" : "BAD Syntax error");
	if (scratch.memory)
		explicit_bzero(scratch.memory, scratch.capacity);
	buf_deinit(&scratch);
}

/* Takes one command; false when more bytes are needed or the session is over. */
static bool read_some(struct imap_login *session, struct buf *input)
{
	switch (imap_collect(&session->collector, input)) {
	case IMAP_MORE: return false;
	case IMAP_CONTINUE:
		stream_write_str(session->client, STR("+ Go on\r\n"));
		return true;
	case IMAP_TOO_LONG:
		stream_write_str(session->client, STR("* BYE Command too long\r\n"));
		set_state(session, IMAP_CLOSING);
		return true;
	case IMAP_COMMAND: break;
	}
	struct imap_collector taken = session->collector;
	session->collector = (struct imap_collector){ 0 };
	if (session->state == IMAP_AUTH)
		auth_line(session, buf_str(&taken.text));
	else
		run_command(session, buf_str(&taken.text));
	imap_collector_deinit(&taken);
	return true;
}

static void client_on_input(void *arg, struct buf *input)
{
	struct imap_login *session = arg;

	for (;;) {
		if (session->state == IMAP_WAITING || session->state == IMAP_BACKEND) {
			session->input_waits = buf_length(input) > 0;
			return;
		}
		if (session->state == IMAP_HANDSHAKE) {
			buf_consume(input, buf_length(input));
			return;
		}
		if (session->errors > ERRORS_MAX && session->state != IMAP_CLOSING) {
			stream_write_str(session->client, STR("* BYE Too many errors\r\n"));
			set_state(session, IMAP_CLOSING);
		}
		if (session->state == IMAP_CLOSING) {
			session_close(session);
			return;
		}
		if (!read_some(session, input))
			return;
	}
}

static void client_on_open(void *arg)
{
	struct imap_login *session = arg;

	timer_start(session->timer, LOGIN_MS);
	if (session->state == IMAP_HANDSHAKE) {
		imap_collector_reset(&session->collector);
		set_state(session, IMAP_COMMANDS);
		return;
	}
	greet(session);
}

/* What was sent before is answered. */
static void client_on_end(void *arg)
{
	struct imap_login *session = arg;

	if (session->state == IMAP_WAITING || session->state == IMAP_BACKEND)
		session->input_waits = true;
	else
		session_close(session);
}

static void client_on_close(void *arg, int reason)
{
	(void)reason;
	session_end(arg);
}

static void on_timer(void *arg)
{
	struct imap_login *session = arg;

	if (session->state == IMAP_WAITING) {
		timer_start(session->timer, LOGIN_MS);
		return;
	}
	if (session->state != IMAP_HANDSHAKE)
		stream_write_str(session->client, STR("* BYE No login in time\r\n"));
	session_close(session);
}

static const struct stream_handler client_handler = {
	.on_open = client_on_open,
	.on_input = client_on_input,
	.on_end = client_on_end,
	.on_close = client_on_close,
};

static void on_nothing(void *arg, int reason)
{
	(void)arg;
	(void)reason;
}

/* Under implicit TLS nothing can be said without a handshake, which is what there is
 * no room for. */
static void turn_away(
	struct router *router, bool implicit_tls, struct stream *stream, const char *why)
{
	static const struct stream_handler none = { .on_close = on_nothing };

	metric_add(router->metrics.imap_turned_away, 1);
	if (implicit_tls) {
		stream_abort(stream);
		return;
	}
	stream_set_handler(stream, &none, NULL);
	stream_printf(stream, "* BYE [UNAVAILABLE] %s\r\n", why);
	stream_close(stream);
}

static struct imap_login *make_session(struct router *router, struct stream *stream)
{
	struct imap_login *session = mem_alloc(sizeof(*session));

	session->router = router;
	session->client = stream;
	snprintf(session->tag, sizeof(session->tag), "*");
	snprintf(session->peer, sizeof(session->peer), "%s", stream_peer_address(stream));
	session->timer = timer_new(router->loop, on_timer, session);
	session->retry = timer_new(router->loop, backend_connect, session);
	return session;
}

/* From here on its stream and its timer may end it: `ms` are there to log in. */
static void begin_session(struct imap_login *session, uint64_t ms)
{
	struct router *router = session->router;

	router->imap_session_count++;
	metric_set(router->metrics.imap_sessions, router->imap_session_count);
	stream_set_handler(session->client, &client_handler, session);
	timer_start(session->timer, ms);
}

void imap_login_start(struct router *router, bool implicit_tls, struct stream *stream)
{
	struct client_place place;

	if (router->imap_session_count >= router->config->imap_sessions_max) {
		turn_away(router, implicit_tls, stream, "Too many sessions, come again later");
		return;
	}
	if (!clients_enter(router->clients, stream_peer_address(stream),
		    router->config->client_sessions_max, &place)) {
		turn_away(router, implicit_tls, stream, "Too many sessions from your address");
		return;
	}
	struct imap_login *session = make_session(router, stream);
	session->place = place;
	begin_session(session, implicit_tls ? HANDSHAKE_MS : LOGIN_MS);
	if (!implicit_tls)
		greet(session);
}

void imap_login_start_salvage(struct router *router, struct stream *stream)
{
	struct imap_login *session = make_session(router, stream);
	const struct tls_peer *peer = stream_peer(stream);
	session->is_salvage = true;
	snprintf(session->who, sizeof(session->who), "%s %s", peer->role, peer->name);
	begin_session(session, LOGIN_MS);
	stream_printf(stream, "* OK %s Pando ready for salvage\r\n", router->config->hostname);
}
