#include "node/session/imap_session.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/metric.h"
#include "node/session/imap_verbs.h"
#include "node/session/imap_view.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* RFC 3501 section 5.4 demands at least 30 minutes. */
	AUTOLOGOUT_MS = 30 * 60 * 1000,
	/* Consecutive commands that make no sense: a peer that speaks something else. */
	BAD_COMMANDS_MAX = 20,
	/* A literal that is passed over rather than answered with a closed connection. */
	DISCARD_LENGTH_MAX = 1 << 30,
	/* One command's share of a turn while others wait. */
	SLICE_US = 4000,
	/* The shortest pause in which a loop looks at its sockets: timers of no delay at all may
	 * run on among themselves. */
	TURN_MS = 1,
	/* Output is gathered up to here before it is given to the stream. */
	OUT_LENGTH_HIGH = 64 << 10,
};

const char imap_capabilities[] =
	"IMAP4rev1 LITERAL+ SASL-IR ENABLE ID IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN MOVE "
	"LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE CONDSTORE ESEARCH WITHIN "
	"STATUS=SIZE APPENDLIMIT";

/* ---- the end ---- */

static void command_destroy(struct imap_session *session)
{
	struct imap_command *command = session->command;
	if (!command)
		return;
	session->command = NULL;
	if (command->release)
		command->release(session, command);
	buf_deinit(&command->reply);
	struct pool *pool = command->pool;
	pool_destroy(&pool);
}

static void session_free(struct imap_session *session)
{
	if (session->change_in_flight)
		return; /* on_change_done comes back here */
	uint64_t lasted_ms = (clock_mono_us() - session->started_us) / 1000;
	log_info("imap_closed", "session=%s mailbox=%s commands=%llu ms=%llu",
		session->login->session_id, session->login->address,
		(unsigned long long)session->command_count, (unsigned long long)lasted_ms);
	metric_add(metric_gauge("pando_imap_sessions", "", "IMAP sessions open now."), -1);
	command_destroy(session);
	imap_reads_release(session);
	if (session->is_attached)
		mailbox_detach(&session->mailbox);
	bytes_unref(&session->message);
	imap_reader_deinit(&session->reader);
	buf_deinit(&session->out);
	imap_view_clear(&session->view);
	free(session->change.failed_uids);
	free(session->login);
	free(session);
}

/* The stream is closed or gone. */
static void session_end(struct imap_session *session)
{
	session->has_ended = true;
	session->stream = NULL;
	timer_destroy(&session->autologout);
	timer_destroy(&session->turn);
	loop_cancel_deferred(session->loop, &session->end_task);
	loop_cancel_deferred(session->loop, &session->notify_task);
	imap_reads_release(session);
	session_free(session);
}

static void on_end(void *arg)
{
	struct imap_session *session = arg;
	buf_append_literal(&session->out, "* BYE ");
	buf_append_str(&session->out, str_from(session->end_reason));
	buf_append_literal(&session->out, "\r\n");
	imap_flush(session);
	stream_close(session->stream);
	session_end(session);
}

void imap_disconnect(struct imap_session *session, const char *reason)
{
	if (session->has_ended || session->end_reason)
		return;
	session->end_reason = reason;
	session->end_task.run = on_end;
	session->end_task.arg = session;
	loop_defer(session->loop, &session->end_task);
}

static void on_autologout(void *arg)
{
	struct imap_session *session = arg;
	enum imap_wait wait = session->command ? session->command->wait : IMAP_WAIT_INPUT;

	/* What the client does not wait for itself is no silence of its own. */
	if (wait == IMAP_WAIT_INPUT || wait == IMAP_WAIT_DRAIN)
		imap_disconnect(session, "Autologout after 30 minutes of silence");
	else
		timer_start(session->autologout, AUTOLOGOUT_MS);
}

/* ---- output and replies ---- */

void imap_flush(struct imap_session *session)
{
	if (buf_length(&session->out) && session->stream)
		stream_write_str(session->stream, buf_str(&session->out));
	buf_clear(&session->out);
}

enum imap_wait imap_reply(struct imap_command *command, const char *format, ...)
{
	va_list arguments;
	buf_clear(&command->reply);
	va_start(arguments, format);
	buf_vprintf(&command->reply, format, arguments);
	va_end(arguments);
	command->is_bad = str_starts_with(buf_str(&command->reply), STR("BAD"));
	return IMAP_DONE;
}

enum imap_wait imap_bad(struct imap_command *command)
{
	return imap_reply(command, "BAD %s",
		command->parser.error ? command->parser.error : "Invalid arguments");
}

enum imap_wait imap_no_status(struct imap_command *command, int status)
{
	switch (status) {
	case -EROFS:
		return imap_reply(command, "NO [UNAVAILABLE] The mailbox is not served here now");
	case -ENOENT: return imap_reply(command, "NO [NONEXISTENT] No such folder");
	case -EEXIST: return imap_reply(command, "NO [ALREADYEXISTS] The folder exists already");
	case -EINVAL: return imap_reply(command, "NO [CANNOT] Not possible with this folder name");
	case -ENOSPC: return imap_reply(command, "NO [UNAVAILABLE] The server's disk is full");
	case -EDQUOT: return imap_reply(command, "NO [OVERQUOTA] The mailbox is full");
	case -ENOBUFS:
		return imap_reply(command, "NO [LIMIT] Too much came to this mailbox within a day");
	case -EACCES:
		return imap_reply(command,
			"NO [AUTHENTICATIONFAILED] The mailbox has changed, log in again");
	case -EKEYREJECTED:
		return imap_reply(command, "NO [INUSE] Another mailbox is stored in this one's "
			"place, its mail is not shown: `pando check` tells the operator more");
	case -EFBIG: return imap_reply(command, "NO [LIMIT] Too much for one command");
	case -E2BIG: return imap_reply(command, "NO [LIMIT] Too many folders, or too long a name");
	case -ESTALE: return imap_reply(command, "NO [UNAVAILABLE] Log in again");
	case -EAGAIN:
		return imap_reply(command, "NO [UNAVAILABLE] No second copy could be made in time");
	default: return imap_reply(command, "NO [SERVERBUG] Storage failed");
	}
}

/* ---- running commands ---- */

static void on_input(void *arg, struct buf *input);

/* Reading goes on or stops according to what the running command waits for. */
static void set_reading(struct imap_session *session)
{
	bool pauses = session->is_choked ||
		(session->command && session->command->wait != IMAP_WAIT_INPUT);
	if (pauses == session->is_paused || session->has_ended)
		return;
	session->is_paused = pauses;
	if (pauses)
		stream_pause(session->stream);
	else
		stream_resume(session->stream);
}

static void command_finish(struct imap_session *session)
{
	struct imap_command *command = session->command;
	if (session->end_reason)
		return; /* BYE takes the reply's place */
	if (command->verb && session->state == IMAP_SELECTED)
		imap_view_sync(session, command->verb->sync == IMAP_SYNC_ALL || command->by_uid);
	buf_append_str(&session->out, command->tag);
	buf_append_byte(&session->out, ' ');
	buf_append_str(&session->out, buf_str(&command->reply));
	buf_append_literal(&session->out, "\r\n");
	session->bad_count = command->is_bad ? session->bad_count + 1 : 0;
	command_destroy(session);
	bytes_unref(&session->message);
	session->message_refused = NULL;
	if (session->bad_count >= BAD_COMMANDS_MAX)
		imap_disconnect(session, "Too many invalid commands");
}

/* What a command's function has returned. */
static void command_step(struct imap_session *session, enum imap_wait wait)
{
	session->command->wait = wait;
	if (wait == IMAP_DONE)
		command_finish(session);
	else if (wait == IMAP_WAIT_TURN)
		timer_start(session->turn, TURN_MS);
	if (buf_length(&session->out) >= OUT_LENGTH_HIGH)
		imap_flush(session);
}

/* Goes on with the running command when it waits for `wait`. */
static void command_resume(struct imap_session *session, enum imap_wait wait)
{
	struct imap_command *command = session->command;
	if (session->has_ended || session->end_reason || !command || command->wait != wait)
		return;
	command->slice_start_us = clock_mono_us();
	command_step(session, command->resume(session, command));
	imap_flush(session);
	if (session->is_logging_out) {
		stream_close(session->stream);
		session_end(session);
		return;
	}
	set_reading(session);
}

/* Commands that came in a row are taken up again. */
static void unchoke(struct imap_session *session)
{
	if (!session->is_choked || session->has_ended || session->end_reason)
		return;
	session->is_choked = false;
	set_reading(session);
}

static void on_turn(void *arg)
{
	struct imap_session *session = arg;
	if (session->is_choked)
		unchoke(session);
	else
		command_resume(session, IMAP_WAIT_TURN);
}

static void on_drain(void *arg)
{
	struct imap_session *session = arg;
	timer_start(session->autologout, AUTOLOGOUT_MS);
	if (session->is_choked)
		unchoke(session);
	else
		command_resume(session, IMAP_WAIT_DRAIN);
}

static void on_change_done(struct mailbox_op *op)
{
	struct imap_session *session = op->arg;
	session->change_in_flight = false;
	if (session->has_ended)
		session_free(session);
	else
		command_resume(session, IMAP_WAIT_CHANGE);
}

struct mailbox_op *imap_change(struct imap_session *session)
{
	CHECK(!session->change_in_flight);
	free(session->change.failed_uids);
	session->change = (struct mailbox_op){ .done = on_change_done, .arg = session };
	session->change_in_flight = true;
	return &session->change;
}

enum imap_wait imap_pause(struct imap_session *session, struct imap_command *command)
{
	if (buf_length(&session->out) >= OUT_LENGTH_HIGH)
		imap_flush(session);
	if (stream_backlog(session->stream) >= STREAM_BACKLOG_HIGH)
		return IMAP_WAIT_DRAIN;
	if (clock_mono_us() - command->slice_start_us > SLICE_US)
		return IMAP_WAIT_TURN;
	return IMAP_DONE;
}

/* ---- reads ---- */

static void on_body(struct message_read *read)
{
	struct imap_session *session = read->arg;
	session->body_in_flight = false;
	command_resume(session, IMAP_WAIT_READ);
}

static void on_summary(struct message_read *read)
{
	struct imap_session *session = read->arg;
	session->summary_in_flight = false;
	command_resume(session, IMAP_WAIT_READ);
}

bool imap_read_body(struct imap_session *session, const struct message *message)
{
	if (session->body_asked)
		return !session->body_in_flight;
	session->body_asked = true;
	session->body_read = (struct message_read){ .done = on_body, .arg = session };
	session->body_in_flight =
		!message_read_body(session->mailbox.folder, message, &session->body_read);
	return !session->body_in_flight;
}

bool imap_read_summary(struct imap_session *session, const struct message *message)
{
	if (session->summary_asked)
		return !session->summary_in_flight;
	session->summary_asked = true;
	session->summary_read = (struct message_read){ .done = on_summary, .arg = session };
	session->summary_in_flight =
		!message_read_summary(session->mailbox.folder, message, &session->summary_read);
	return !session->summary_in_flight;
}

void imap_reads_release(struct imap_session *session)
{
	if (session->body_in_flight)
		message_read_cancel(&session->body_read);
	if (session->summary_in_flight)
		message_read_cancel(&session->summary_read);
	session->body_in_flight = session->summary_in_flight = false;
	session->body_asked = session->summary_asked = false;
	bytes_unref(&session->body_read.bytes);
	bytes_unref(&session->summary_read.bytes);
}

/* ---- reading commands ---- */

static void say_continue(struct imap_session *session)
{
	buf_append_literal(&session->out, "+ OK\r\n");
}

/* A literal is announced at the end of what was read so far. */
static void on_literal(struct imap_session *session)
{
	struct imap_reader *reader = &session->reader;
	struct pool *pool = pool_create();
	struct imap_parser parser;
	struct imap_append append;
	struct str tag = STR("*"), verb;
	const char *refusal = NULL;

	imap_parser_init(&parser, imap_reader_text(reader), pool);
	bool is_append = imap_tag(&parser, &tag) && imap_space(&parser) &&
		imap_atom(&parser, &verb) && str_equal_ignore_case(verb, STR("APPEND"));
	/* Where an earlier literal is the last argument, the text ends behind it and this fails. */
	bool is_message = is_append && !session->message && !session->message_refused &&
		imap_append_arguments(&parser, &append) &&
		str_find_byte(str_from_index(parser.text, parser.at), '\n') < 0;
	if (is_message) {
		refusal = imap_append_check(session, &append, reader->literal_length);
		if (!refusal) {
			session->message = bytes_create((size_t)reader->literal_length);
			session->message_filled = 0;
			imap_reader_take(reader);
		}
	} else if (!imap_reader_accept(reader)) {
		refusal = "BAD [TOOBIG] Literal too long";
	}
	if (!refusal) {
		if (reader->literal_is_sync)
			say_continue(session);
	} else if (reader->literal_is_sync) {
		buf_printf(&session->out, STR_FORMAT " %s\r\n", STR_ARG(tag), refusal);
		bytes_unref(&session->message);
		session->message_refused = NULL;
		imap_reader_reset(reader);
	} else if (reader->literal_length > DISCARD_LENGTH_MAX) {
		imap_disconnect(session, "Literal too long");
	} else {
		session->message_refused = refusal;
		imap_reader_discard(reader);
	}
	pool_destroy(&pool);
}

static void command_begin(struct imap_session *session)
{
	struct pool *pool = pool_create();
	struct imap_command *command = pool_alloc(pool, sizeof(*command));
	struct str name = { 0 };

	command->pool = pool;
	command->slice_start_us = clock_mono_us();
	session->command = command;
	session->command_count++;
	imap_parser_init(
		&command->parser, pool_copy(pool, imap_reader_text(&session->reader)), pool);
	imap_reader_reset(&session->reader);
	struct imap_parser *parser = &command->parser;
	if (!imap_tag(parser, &command->tag)) {
		command->tag = STR("*");
		command_step(session, imap_bad(command));
		return;
	}
	bool has_name = imap_space(parser) && imap_atom(parser, &name);
	if (has_name && str_equal_ignore_case(name, STR("UID"))) {
		command->by_uid = true;
		has_name = imap_space(parser) && imap_atom(parser, &name);
	}
	command->verb = has_name ? imap_verb_find(name) : NULL;
	if (command->by_uid && command->verb && !command->verb->has_uid_form)
		command->verb = NULL;
	if (session->message_refused) {
		command_step(session, imap_reply(command, "%s", session->message_refused));
	} else if (!command->verb) {
		bool authenticates = str_equal_ignore_case(name, STR("AUTHENTICATE")) ||
			str_equal_ignore_case(name, STR("LOGIN")) ||
			str_equal_ignore_case(name, STR("STARTTLS"));
		command_step(session, imap_reply(command, authenticates ?
			"BAD Already authenticated" : "BAD Unknown command"));
	} else if (!(command->verb->states & session->state)) {
		command_step(session, imap_reply(command, "BAD No folder is selected"));
	} else {
		metric_add(imap_verb_metric(command->verb), 1);
		command_step(session, command->verb->start(session, command));
	}
}

/* The session goes on: a client that is thrown out says the same again. */
static void on_too_long(struct imap_session *session)
{
	struct pool *pool = pool_create();
	struct imap_parser parser;
	struct str tag = STR("*");

	imap_parser_init(&parser, imap_reader_text(&session->reader), pool);
	if (!imap_tag(&parser, &tag))
		tag = STR("*");
	buf_printf(&session->out, STR_FORMAT " BAD Command too long\r\n", STR_ARG(tag));
	pool_destroy(&pool);
	imap_reader_reset(&session->reader);
	bytes_unref(&session->message);
	session->message_refused = NULL;
	if (++session->bad_count >= BAD_COMMANDS_MAX)
		imap_disconnect(session, "Too many invalid commands");
}

/* Takes what it can from the input; false when more is needed. */
static bool read_on(struct imap_session *session)
{
	struct buf *input = session->input;
	struct bytes *message = session->message;

	if (message && session->message_filled < message->length) {
		size_t length = message->length - session->message_filled;
		if (length > buf_length(input))
			length = buf_length(input);
		memcpy(message->data + session->message_filled, buf_str(input).bytes, length);
		session->message_filled += length;
		buf_consume(input, length);
		return session->message_filled == message->length;
	}
	switch (imap_reader_feed(&session->reader, input)) {
	case IMAP_READ_MORE:
		return false;
	case IMAP_READ_LITERAL:
		on_literal(session);
		return true;
	case IMAP_READ_COMMAND:
		command_begin(session);
		return true;
	case IMAP_READ_TOO_LONG: on_too_long(session); return true;
	}
	return false;
}

/* Whether a client that sends commands in a row must wait before the next one. */
static bool must_choke(struct imap_session *session, uint64_t start_us)
{
	if (buf_length(&session->out) >= OUT_LENGTH_HIGH)
		imap_flush(session);
	if (stream_backlog(session->stream) >= STREAM_BACKLOG_HIGH) {
		session->is_choked = true;
	} else if (clock_mono_us() - start_us > SLICE_US) {
		session->is_choked = true;
		timer_start(session->turn, TURN_MS);
	}
	return session->is_choked;
}

static void on_input(void *arg, struct buf *input)
{
	struct imap_session *session = arg;
	uint64_t start_us = clock_mono_us();
	session->input = input;
	timer_start(session->autologout, AUTOLOGOUT_MS);
	while (!session->end_reason && !session->is_logging_out) {
		if (!session->command && buf_length(input) && must_choke(session, start_us))
			break;
		if (!session->command) {
			if (!read_on(session))
				break;
		} else if (session->command->wait == IMAP_WAIT_INPUT && buf_length(input)) {
			command_step(session, imap_idle_input(session, session->command));
		} else {
			break;
		}
	}
	session->input = NULL;
	imap_flush(session);
	buf_deinit(&session->out);
	if (session->is_logging_out) {
		stream_close(session->stream);
		session_end(session);
		return;
	}
	set_reading(session);
}

/* Nothing is read while a command runs: all are answered, and no other can come. */
static void on_input_end(void *arg)
{
	struct imap_session *session = arg;
	if (session->end_reason)
		return;
	stream_close(session->stream);
	session_end(session);
}

static void on_close(void *arg, int reason)
{
	(void)reason;
	session_end(arg);
}

static const struct stream_handler session_handler = {
	.on_input = on_input,
	.on_end = on_input_end,
	.on_drain = on_drain,
	.on_close = on_close,
};

/* ---- the mailbox speaks ---- */

static void on_notify(void *arg)
{
	struct imap_session *session = arg;
	if (session->end_reason || session->state != IMAP_SELECTED || !session->command ||
		session->command->wait != IMAP_WAIT_INPUT)
		return;
	imap_view_sync(session, true);
	imap_flush(session);
	buf_deinit(&session->out);
}

/* Only a session in IDLE is told now; the others see it at the end of their next command. */
static void on_mailbox_change(struct mailbox_session *mailbox)
{
	struct imap_session *session = container_of(mailbox, struct imap_session, mailbox);
	if (session->has_ended || !session->command || session->command->wait != IMAP_WAIT_INPUT)
		return;
	session->notify_task.run = on_notify;
	session->notify_task.arg = session;
	loop_defer(session->loop, &session->notify_task);
}

static void on_mailbox_gone(struct mailbox_session *mailbox, bool folder_only)
{
	struct imap_session *session = container_of(mailbox, struct imap_session, mailbox);
	if (!folder_only)
		session->is_attached = false;
	if (session->has_ended)
		return;
	session->state = IMAP_AUTHENTICATED;
	imap_reads_release(session);
	imap_disconnect(session, folder_only ? "The selected folder was deleted" :
		"[UNAVAILABLE] The mailbox is not served here any longer");
}

static void on_mailbox_denied(struct mailbox_session *mailbox, const char *reason)
{
	struct imap_session *session = container_of(mailbox, struct imap_session, mailbox);
	session->is_attached = false;
	if (session->has_ended)
		return;
	session->state = IMAP_AUTHENTICATED;
	imap_reads_release(session);
	imap_disconnect(session, reason);
}

/* ---- the start ---- */

static enum imap_wait attach_done(struct imap_session *session, struct imap_command *command)
{
	if (session->change.status != 0) {
		imap_no_status(command, session->change.status);
		buf_printf(&session->out, "%s " STR_FORMAT "\r\n", session->login->tag,
			STR_ARG(buf_str(&command->reply)));
		imap_disconnect(session, "Try another server");
		return IMAP_DONE;
	}
	session->is_attached = true;
	log_info("imap_opened", "session=%s mailbox=%s peer=%s", session->login->session_id,
		session->login->address, stream_peer_address(session->stream));
	if (session->login->is_salvage) {
		session->salvage = mailbox_salvage_point(session->mailbox.mailbox);
		return imap_reply(command, "OK [XPANDOEND %llu %016llx] Logged in",
			(unsigned long long)session->salvage.end,
			(unsigned long long)session->salvage.chain);
	}
	return imap_reply(command, "OK [CAPABILITY %s] Logged in", imap_capabilities);
}

static void on_attached(struct mailbox_op *op)
{
	struct imap_session *session = op->arg;
	if (session->has_ended && op->status == 0)
		session->is_attached = true;
	on_change_done(op);
}

void imap_session_start(struct volume *volume, struct stream *stream,
	struct imap_login_result *login)
{
	struct imap_session *session = mem_alloc(sizeof(*session));
	struct pool *pool = pool_create();
	struct imap_command *command = pool_alloc(pool, sizeof(*command));

	session->mailbox.on_change = on_mailbox_change;
	session->mailbox.on_gone = on_mailbox_gone;
	session->mailbox.on_denied = on_mailbox_denied;
	session->mailbox.access = login->access;
	session->state = IMAP_AUTHENTICATED;
	session->reader.length_max = IMAP_LONG_COMMAND_LENGTH_MAX;
	session->loop = volume_loop(volume);
	session->stream = stream;
	stream_be_patient(stream);
	session->volume = volume;
	session->login = login;
	session->started_us = clock_mono_us();
	session->autologout = timer_new(session->loop, on_autologout, session);
	session->turn = timer_new(session->loop, on_turn, session);
	timer_start(session->autologout, AUTOLOGOUT_MS);
	metric_add(metric_gauge("pando_imap_sessions", "", "IMAP sessions open now."), 1);

	/* The rest of AUTHENTICATE: a command that waits for the mailbox. */
	command->pool = pool;
	command->tag = str_from(login->tag);
	command->resume = attach_done;
	command->wait = IMAP_WAIT_CHANGE;
	session->command = command;
	stream_attach(stream, session->loop, &session_handler, session);
	set_reading(session);
	imap_change(session)->done = on_attached;
	mailbox_attach(volume, &login->who, &session->mailbox, &session->change);
}
