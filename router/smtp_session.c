#include "router/smtp_session.h"

#include "core/encode.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	IDLE_MS = 300 * 1000, /* RFC 5321 section 4.5.3.2.7 */
	HANDSHAKE_MS = 30 * 1000,
	/* Between two messages: a client that knows SMTP makes few. */
	ERRORS_MAX = 30,
	/* Between two messages: above a transaction of 1,000 recipients whose every second is put
	 * off, with a NOOP for each. */
	COMMANDS_MAX = 5000,
	/* Replies that a client leaves unread, beyond what the kernel's buffers hold: above those
	 * of one turn's commands, however many were pipelined. */
	REPLIES_MAX = 256 << 10,
};

/* What may follow what; anything may close. */
static const uint8_t allowed[] = {
	[SMTP_COMMANDS] = 1 << SMTP_DATA | 1 << SMTP_CHUNK | 1 << SMTP_AUTH | 1 << SMTP_WAITING |
		1 << SMTP_HANDSHAKE | 1 << SMTP_COMMANDS,
	[SMTP_DATA] = 1 << SMTP_WAITING,
	[SMTP_CHUNK] = 1 << SMTP_COMMANDS | 1 << SMTP_WAITING,
	[SMTP_AUTH] = 1 << SMTP_COMMANDS | 1 << SMTP_WAITING | 1 << SMTP_AUTH,
	[SMTP_WAITING] = 1 << SMTP_COMMANDS | 1 << SMTP_AUTH,
	[SMTP_HANDSHAKE] = 1 << SMTP_COMMANDS,
	[SMTP_CLOSING] = 0,
};

void session_set_state(struct smtp_session *session, enum smtp_state state)
{
	CHECK(state == SMTP_CLOSING || allowed[session->state] & 1 << state);
	session->state = state;
	if (state == SMTP_HANDSHAKE)
		timer_start(session->idle, HANDSHAKE_MS);
	if (state != SMTP_WAITING && session->input_waits) {
		session->input_waits = false;
		stream_pause(session->stream);
		stream_resume(session->stream); /* shows the waiting input, and its end */
	}
}

void session_say(struct smtp_session *session, const char *format, ...)
{
	char line[1024];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof(line) - 2, format, arguments);
	va_end(arguments);
	if (length > (int)sizeof(line) - 3)
		length = (int)sizeof(line) - 3;
	line[length] = '\r';
	line[length + 1] = '\n';
	stream_write(session->stream, line, (size_t)length + 2);
	if (line[0] == '5')
		session->errors++;
}

/* The stream is gone already. */
static void session_free(struct smtp_session *session)
{
	static const char *const services[] = { "mx", "submission", "submissions" };
	struct router *router = session->router;

	log_info("smtp_closed",
		"session=%llx service=%s peer=%s helo=%s login=%s tls=%d messages=%llu "
		"recipients=%llu refused=%llu",
		(unsigned long long)session->id, services[session->service], session->peer,
		log_quote(str_from(session->helo)), session->login[0] ? session->login : "-",
		session->tls[0] != 0, (unsigned long long)session->messages,
		(unsigned long long)session->recipients, (unsigned long long)session->refused);
	smtp_tx_abandon(&session->tx);
	login_abort(&session->attempt);
	timer_destroy(&session->idle);
	clients_leave(router->clients, &session->place);
	list_remove(&session->link);
	router->smtp_session_count--;
	metric_set(router->metrics.smtp_sessions, router->smtp_session_count);
	free(session);
}

static void session_close(struct smtp_session *session)
{
	stream_close(session->stream);
	session_free(session);
}

/* The session is gone then. */
static void say_stopping(struct smtp_session *session)
{
	session_say(session, "421 4.3.2 %s shuts down", session->router->config->hostname);
	session_close(session);
}

struct smtp_origin session_origin(const struct smtp_session *session)
{
	return (struct smtp_origin){
		.helo = session->helo,
		.peer = session->peer,
		.tls = session->tls,
		.login = session->login,
		.extended = session->extended,
		.submission = session->service != SMTP_SERVICE_MX,
	};
}

bool session_may_login(const struct smtp_session *session)
{
	if (session->service == SMTP_SERVICE_MX)
		return false;
	return session->tls[0] != 0 ||
		(session->router->config->plaintext_login && client_is_loopback(session->peer));
}

void session_forget_tx(struct smtp_session *session)
{
	smtp_tx_abandon(&session->tx);
	session->chunking = false;
}

static void on_submitted(void *arg, const char *reply)
{
	struct smtp_session *session = arg;

	session->tx = NULL;
	session->chunking = false;
	session->messages += reply[0] == '2';
	if (reply[0] == '2')
		session->errors = session->commands = 0;
	session->refused += reply[0] != '2';
	session_say(session, "%s", reply);
	session_set_state(session, SMTP_COMMANDS);
	timer_start(session->idle, IDLE_MS);
	if (session->router->is_stopping)
		say_stopping(session);
}

void smtp_sessions_stop(struct router *router)
{
	list_for_each_safe(entry, following, &router->smtp_sessions) {
		struct smtp_session *session = list_entry(entry, struct smtp_session, link);
		if (session->state == SMTP_COMMANDS && !session->tx)
			say_stopping(session);
	}
}

void session_submit(struct smtp_session *session)
{
	struct smtp_origin origin = session_origin(session);

	session->recipients += smtp_tx_recipient_count(session->tx);
	session_set_state(session, SMTP_WAITING);
	smtp_tx_finish(session->tx, &origin, on_submitted, session);
}

static void on_challenge(void *arg, struct str challenge)
{
	struct smtp_session *session = arg;
	struct buf line = { 0 };

	encode_base64(&line, challenge);
	session_say(session, "334 %s", buf_terminated(&line));
	buf_deinit(&line);
	session_set_state(session, SMTP_AUTH);
}

static void on_login(void *arg, enum login_result result, const struct login_identity *identity)
{
	struct smtp_session *session = arg;

	session->attempt = NULL;
	switch (result) {
	case LOGIN_GOOD:
		snprintf(session->login, sizeof(session->login), "%s", identity->address);
		session->login_mailbox_id = identity->mailbox_id;
		session->login_access = identity->access;
		clients_leave(session->router->clients, &session->place);
		session_say(session, "235 2.7.0 Authentication successful");
		break;
	case LOGIN_REFUSED:
		session_say(session, "535 5.7.8 Authentication credentials invalid");
		break;
	case LOGIN_MALFORMED:
		session_say(session, "501 5.5.2 Malformed authentication data");
		break;
	case LOGIN_UNAVAILABLE:
		session_say(session, "454 4.7.0 Temporary authentication failure");
		break;
	}
	session_set_state(session, SMTP_COMMANDS);
}

const struct login_handler smtp_login_handler = { .challenge = on_challenge, .done = on_login };

static void auth_line(struct smtp_session *session, struct str line)
{
	struct buf message = { 0 };

	if (str_equal(line, STR("*")) || !decode_base64(&message, line)) {
		login_abort(&session->attempt);
		session_say(session, "501 5.7.0 Authentication cancelled");
		session_set_state(session, SMTP_COMMANDS);
	} else {
		session_set_state(session, SMTP_WAITING);
		login_message(session->attempt, true, buf_str(&message));
	}
	buf_deinit(&message);
}

static void chunk_end(struct smtp_session *session)
{
	if (session->chunk_refused) {
		session_forget_tx(session);
		session_set_state(session, SMTP_COMMANDS);
		session_say(session, "503 5.5.1 BDAT without valid recipients");
	} else if (session->chunk_last) {
		struct smtp_origin origin = session_origin(session);
		smtp_data_chunks_end(smtp_tx_data(session->tx, &origin));
		session_submit(session);
	} else {
		session_set_state(session, SMTP_COMMANDS);
		session_say(session, "250 2.0.0 Chunk received");
	}
}

/* Takes message bytes; false when more are needed. */
static bool read_message(struct smtp_session *session, struct buf *input)
{
	struct str bytes = buf_str(input);
	struct smtp_origin origin = session_origin(session);
	size_t used = 0;

	if (session->state == SMTP_DATA) {
		enum smtp_data_scan scan =
			smtp_data_read(smtp_tx_data(session->tx, &origin), bytes, &used);
		buf_consume(input, used);
		smtp_tx_count(session->tx);
		if (scan == SMTP_DATA_DONE)
			session_submit(session);
		return scan == SMTP_DATA_DONE;
	}
	used = bytes.length < session->chunk_left ? bytes.length : session->chunk_left;
	if (!session->chunk_refused) {
		smtp_data_chunk(smtp_tx_data(session->tx, &origin), str_first(bytes, used));
		smtp_tx_count(session->tx);
	}
	session->chunk_left -= used;
	buf_consume(input, used);
	if (session->chunk_left == 0)
		chunk_end(session);
	return session->chunk_left == 0;
}

/* Drops the rest of a line that was too long; false until its end has come. */
static bool skip_line(struct smtp_session *session, struct buf *input)
{
	struct str bytes = buf_str(input);
	ptrdiff_t end = str_find_byte(bytes, '\n');

	buf_consume(input, end < 0 ? bytes.length : (size_t)end + 1);
	if (end < 0)
		return false;
	session->skipping = false;
	session_say(session, "500 5.5.2 Line too long or badly ended");
	if (session->state == SMTP_AUTH) {
		login_abort(&session->attempt);
		session_set_state(session, SMTP_COMMANDS);
	}
	return true;
}

static bool read_some(struct smtp_session *session, struct buf *input)
{
	struct str bytes = buf_str(input), line;
	size_t used = 0;

	if (session->state == SMTP_CHUNK && session->chunk_left == 0) {
		chunk_end(session);
		return true;
	}
	if (bytes.length == 0)
		return false;
	if (session->state == SMTP_DATA || session->state == SMTP_CHUNK)
		return read_message(session, input);
	if (session->skipping)
		return skip_line(session, input);
	size_t maximum = session->state == SMTP_AUTH ? SMTP_AUTH_LINE_MAX : SMTP_COMMAND_MAX;
	if (session_may_login(session) && str_starts_with_ignore_case(bytes, STR("AUTH ")))
		maximum = SMTP_AUTH_LINE_MAX; /* an initial response is as long as any other */
	switch (smtp_scan_line(bytes, maximum, &line, &used)) {
	case SMTP_MORE: return false;
	case SMTP_BAD: session->skipping = true; return true;
	case SMTP_DONE: break;
	}
	/* The line stays where it is until more is read; STARTTLS may drop what
	 * stands behind it. */
	buf_consume(input, used);
	if (session->state == SMTP_AUTH)
		auth_line(session, line);
	else {
		session->commands++;
		smtp_run_command(session, line);
	}
	return true;
}

static void on_input(void *arg, struct buf *input)
{
	struct smtp_session *session = arg;

	timer_start(session->idle, IDLE_MS);
	for (;;) {
		if (session->state == SMTP_WAITING) {
			session->input_waits = buf_length(input) > 0;
			return;
		}
		if (session->state == SMTP_HANDSHAKE) {
			/* stream_start_tls discards it too; what came in clear is not looked at. */
			buf_consume(input, buf_length(input));
			return;
		}
		if (session->state == SMTP_CLOSING) {
			session_close(session);
			return;
		}
		if (session->router->is_stopping && !session->tx &&
			session->state == SMTP_COMMANDS) {
			say_stopping(session);
			return;
		}
		if (session->errors > ERRORS_MAX) {
			session_say(session, "421 4.7.0 Too many errors");
			session_close(session);
			return;
		}
		if (stream_backlog(session->stream) > REPLIES_MAX) {
			stream_abort(session->stream);
			session_free(session);
			return;
		}
		if (session->commands > COMMANDS_MAX) {
			session_say(session, "421 4.7.0 Too many commands without a message");
			session_close(session);
			return;
		}
		if (!read_some(session, input))
			return;
	}
}

static void greet(struct smtp_session *session)
{
	session_say(session, "220 %s ESMTP Pando", session->router->config->hostname);
}

static void on_open(void *arg)
{
	struct smtp_session *session = arg;

	snprintf(session->tls, sizeof(session->tls), "%s", stream_tls_description(session->stream));
	timer_start(session->idle, IDLE_MS);
	if (session->state == SMTP_HANDSHAKE) {
		session_set_state(session, SMTP_COMMANDS);
		return; /* after STARTTLS the client speaks first */
	}
	greet(session);
}

/* What was sent before is answered: a sender that hears nothing of its message sends it again. */
static void on_end(void *arg)
{
	struct smtp_session *session = arg;

	if (session->state == SMTP_WAITING)
		session->input_waits = true;
	else
		session_close(session);
}

static void on_close(void *arg, int reason)
{
	(void)reason;
	session_free(arg);
}

static void on_idle(void *arg)
{
	struct smtp_session *session = arg;

	if (session->state == SMTP_WAITING) {
		timer_start(session->idle, IDLE_MS);
		return;
	}
	if (session->state != SMTP_HANDSHAKE)
		session_say(session, "421 4.4.2 Idle for too long");
	session_close(session);
}

static const struct stream_handler handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_end = on_end,
	.on_close = on_close,
};

static void on_nothing(void *arg, int reason)
{
	(void)arg;
	(void)reason;
}

/* Under implicit TLS nothing can be said without a handshake, which is what there is
 * no room for. */
static void turn_away(struct router *router, enum smtp_service service, struct stream *stream,
	const char *status, const char *why)
{
	static const struct stream_handler none = { .on_close = on_nothing };

	metric_add(router->metrics.smtp_turned_away, 1);
	if (service == SMTP_SERVICE_SUBMISSIONS) {
		stream_abort(stream);
		return;
	}
	stream_set_handler(stream, &none, NULL);
	stream_printf(
		stream, "421 %s %s %s\r\n", status, router->config->hostname, why);
	stream_close(stream);
}

void smtp_session_start(struct router *router, enum smtp_service service, struct stream *stream)
{
	const struct config *config = router->config;
	struct client_place place;

	if (router->smtp_session_count >= config->smtp_sessions_max) {
		turn_away(router, service, stream, "4.3.2",
			"Too many sessions, come again later");
		return;
	}
	if (!clients_enter(router->clients, stream_peer_address(stream),
		    config->client_sessions_max, &place)) {
		turn_away(router, service, stream, "4.7.0", "Too many sessions from your address");
		return;
	}
	struct smtp_session *session = mem_alloc(sizeof(*session));

	session->router = router;
	list_append(&router->smtp_sessions, &session->link);
	session->service = service;
	session->stream = stream;
	session->place = place;
	session->id = ++router->session_counter;
	snprintf(session->peer, sizeof(session->peer), "%s", stream_peer_address(stream));
	session->idle = timer_new(router->loop, on_idle, session);
	router->smtp_session_count++;
	metric_set(router->metrics.smtp_sessions, router->smtp_session_count);
	stream_set_handler(stream, &handler, session);
	if (service == SMTP_SERVICE_SUBMISSIONS) {
		timer_start(session->idle, HANDSHAKE_MS);
	} else {
		timer_start(session->idle, IDLE_MS);
		greet(session);
	}
}
