#include "router/relay.h"

#include "core/net.h"
#include "core/timer.h"
#include "proto/mail/trace.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	/* The queue waits, not a client. */
	CONNECT_MS = 20 * 1000,
	REPLY_MS = 300 * 1000, /* RFC 5321 section 4.5.3.2 */
	/* To a whole message: section 4.5.3.2.6. Who gives up early sends it twice. */
	BODY_REPLY_MS = 600 * 1000,
};

enum relay_state {
	RELAY_GREETING,
	RELAY_EHLO,
	RELAY_HELO, /* to a host that does not know EHLO */
	RELAY_STARTTLS,
	RELAY_HANDSHAKE,
	RELAY_MAIL,
	RELAY_RCPT,
	RELAY_DATA,
	RELAY_BODY,
	RELAY_QUIT,
};

struct relay_connection {
	struct relay_job *job; /* NULL when cancelled before the name was resolved */
	struct router *router;
	struct stream *stream;
	struct timer *timer;
	enum relay_state state;
	struct dns_answer addresses;
	unsigned next_address, next_recipient, accepted;
	bool resolving, tls, eight_bit, dsn, size, utf8, chunking;
	struct task task;
};

static void connection_free(struct relay_connection *connection)
{
	if (connection->stream)
		stream_abort(connection->stream);
	timer_destroy(&connection->timer);
	free(connection);
}

static void run_done(void *arg)
{
	struct relay_connection *connection = arg;
	struct relay_job *job = connection->job;

	job->connection = NULL;
	connection_free(connection);
	job->done(job);
}

/* Recipients without a code keep FORWARD_UNKNOWN and get the sentence. */
static void finish(struct relay_connection *connection, const char *why)
{
	struct relay_job *job = connection->job;

	for (unsigned i = 0; i < job->recipient_count; i++)
		if (job->recipients[i].code == FORWARD_UNKNOWN)
			snprintf(job->recipients[i].reply, FORWARD_REPLY_MAX, "%s", why);
	timer_stop(connection->timer);
	connection->task.run = run_done;
	connection->task.arg = connection;
	loop_defer(connection->router->loop, &connection->task);
}

static void connect_next(struct relay_connection *connection);

/* Before anything was said about the message another address may do; afterwards the queue tries
 * again. */
static void lost(struct relay_connection *connection, const char *why)
{
	if (connection->stream)
		stream_abort(connection->stream);
	connection->stream = NULL;
	if (connection->state < RELAY_MAIL)
		connect_next(connection);
	else
		finish(connection, why);
}

static void take_answer(struct forward_recipient *recipient, const struct smtp_reply *reply)
{
	recipient->code = reply->code;
	snprintf(recipient->reply, FORWARD_REPLY_MAX, STR_FORMAT, STR_ARG(reply->text));
}

/* The host's word about the whole message, for everybody who has no answer yet. */
static void answer_all(struct relay_connection *connection, const struct smtp_reply *reply)
{
	struct relay_job *job = connection->job;
	for (unsigned i = 0; i < job->recipient_count; i++)
		if (job->recipients[i].code == FORWARD_UNKNOWN)
			take_answer(&job->recipients[i], reply);
	stream_write_str(connection->stream, STR("QUIT\r\n"));
	stream_close(connection->stream);
	connection->stream = NULL;
	finish(connection, "");
}

static bool is_ascii(struct str text)
{
	for (size_t i = 0; i < text.length; i++)
		if ((unsigned char)text.bytes[i] >= 0x80)
			return false;
	return true;
}

static void say_ehlo(struct relay_connection *connection)
{
	stream_printf(connection->stream, "EHLO %s\r\n", connection->router->config->hostname);
	connection->state = RELAY_EHLO;
}

static void say_helo(struct relay_connection *connection)
{
	stream_printf(connection->stream, "HELO %s\r\n", connection->router->config->hostname);
	connection->state = RELAY_HELO;
}

static void say_mail(struct relay_connection *connection)
{
	const struct queue_record *record = connection->job->record;
	struct buf line = { 0 };

	buf_printf(&line, "MAIL FROM:<%s>", record->sender);
	if (connection->size)
		buf_printf(&line, " SIZE=%zu", connection->job->body->length);
	if (connection->eight_bit && record->eight_bit)
		buf_append_literal(&line, " BODY=8BITMIME");
	if (connection->utf8 && record->utf8)
		buf_append_literal(&line, " SMTPUTF8");
	if (connection->dsn && record->ret != SMTP_RET_NONE)
		buf_printf(&line, " RET=%s", record->ret == SMTP_RET_FULL ? "FULL" : "HDRS");
	if (connection->dsn && record->envid[0])
		buf_printf(&line, " ENVID=%s", record->envid);
	buf_append_literal(&line, "\r\n");
	stream_write_str(connection->stream, buf_str(&line));
	buf_deinit(&line);
	connection->state = RELAY_MAIL;
}

static void append_notify(struct buf *line, unsigned notify)
{
	static const char *const words[] = { "NEVER", "SUCCESS", "FAILURE", "DELAY" };
	char separator = '=';

	buf_append_literal(line, " NOTIFY");
	for (unsigned i = 0; i < array_length(words); i++) {
		if (!(notify & 1u << i))
			continue;
		buf_append_byte(line, separator);
		buf_append(line, words[i], strlen(words[i]));
		separator = ',';
	}
}

static void say_rcpt(struct relay_connection *connection)
{
	struct relay_job *job = connection->job;
	const struct queue_recipient *details = job->details[connection->next_recipient];
	struct buf line = { 0 };

	buf_printf(&line, "RCPT TO:<%s>", job->recipients[connection->next_recipient].address);
	if (connection->dsn && details->notify)
		append_notify(&line, details->notify);
	if (connection->dsn && details->orcpt[0])
		buf_printf(&line, " ORCPT=%s", details->orcpt);
	buf_append_literal(&line, "\r\n");
	stream_write_str(connection->stream, buf_str(&line));
	buf_deinit(&line);
	connection->state = RELAY_RCPT;
}

/* Dots that begin a line are doubled (RFC 5321 section 4.5.2); the runs between are sent without a
 * copy. */
static void write_stuffed(struct stream *stream, struct bytes *body)
{
	struct str whole = bytes_str(body);
	size_t run = 0, at = 0;

	if (whole.length > 0 && whole.bytes[0] == '.')
		stream_write(stream, ".", 1);
	for (;;) {
		ptrdiff_t found = str_find(str_from_index(whole, at), STR("\n."));
		if (found < 0)
			break;
		at += (size_t)found + 1;
		stream_write_bytes(stream, body, run, at - run);
		stream_write(stream, ".", 1);
		run = at;
	}
	stream_write_bytes(stream, body, run, whole.length - run);
	stream_write_str(stream, STR(".\r\n"));
}

static void say_data(struct relay_connection *connection)
{
	if (connection->chunking) {
		stream_printf(
			connection->stream, "BDAT %zu LAST\r\n", connection->job->body->length);
		stream_write_bytes(connection->stream, connection->job->body, 0,
			connection->job->body->length);
		connection->state = RELAY_BODY;
	} else {
		stream_write_str(connection->stream, STR("DATA\r\n"));
		connection->state = RELAY_DATA;
	}
}

/* RFC 6531 section 3.1: such a message cannot be given to a host that does not know SMTPUTF8. */
static bool needs_utf8(const struct relay_job *job)
{
	if (!job->record->utf8)
		return false;
	bool needs = !is_ascii(str_from(job->record->sender)) ||
		!is_ascii(trace_header(bytes_str(job->body)));
	for (unsigned i = 0; i < job->recipient_count; i++)
		needs |= !is_ascii(str_from(job->recipients[i].address));
	return needs;
}

/* False when the connection is over. */
static bool begin_message(struct relay_connection *connection)
{
	static const struct smtp_reply no_utf8 = { .code = 550,
		.text = { "5.6.7 The smart host does not take addresses in UTF-8", 53 } };
	static const struct smtp_reply no_8bit = { .code = 550,
		.text = { "5.6.3 The smart host does not take 8-bit text", 45 } };
	const struct relay_job *job = connection->job;
	const struct smtp_reply *refusal = NULL;

	if (!connection->utf8 && needs_utf8(job))
		refusal = &no_utf8;
	/* RFC 6152 section 3; nothing is converted here, which would break signatures. */
	else if (!connection->eight_bit && !is_ascii(bytes_str(job->body)))
		refusal = &no_8bit;
	if (!refusal) {
		say_mail(connection);
		return true;
	}
	connection->state = RELAY_QUIT;
	answer_all(connection, refusal);
	return false;
}

static bool on_ehlo(struct relay_connection *connection, const struct smtp_reply *reply)
{
	if (!connection->tls && smtp_reply_offers(reply, STR("STARTTLS"), NULL)) {
		stream_write_str(connection->stream, STR("STARTTLS\r\n"));
		connection->state = RELAY_STARTTLS;
		return true;
	}
	connection->eight_bit = smtp_reply_offers(reply, STR("8BITMIME"), NULL);
	connection->dsn = smtp_reply_offers(reply, STR("DSN"), NULL);
	connection->job->carries_dsn = connection->dsn;
	connection->size = smtp_reply_offers(reply, STR("SIZE"), NULL);
	connection->utf8 = smtp_reply_offers(reply, STR("SMTPUTF8"), NULL);
	connection->chunking = smtp_reply_offers(reply, STR("CHUNKING"), NULL);
	return begin_message(connection);
}

/* False when the connection is over. */
static bool on_reply(struct relay_connection *connection, const struct smtp_reply *reply)
{
	struct relay_job *job = connection->job;
	bool good = reply->code < 400;

	switch (connection->state) {
	case RELAY_GREETING:
	case RELAY_EHLO:
	case RELAY_HELO:
		if (connection->state == RELAY_EHLO && reply->code >= 500) {
			say_helo(connection);
			return true;
		}
		if (!good) {
			lost(connection, "4.4.2 The smart host refused the connection");
			return false;
		}
		if (connection->state == RELAY_GREETING) {
			say_ehlo(connection);
			return true;
		}
		return connection->state == RELAY_EHLO ? on_ehlo(connection, reply) :
							 begin_message(connection);
	case RELAY_STARTTLS:
		if (good) {
			connection->state = RELAY_HANDSHAKE;
			stream_start_tls_client(
				connection->stream, connection->router->relay_tls, NULL);
			return false; /* what else came in clear does not count */
		}
		connection->tls = true; /* not to be asked again */
		say_ehlo(connection);
		return true;
	case RELAY_MAIL:
		if (!good)
			break;
		say_rcpt(connection);
		return true;
	case RELAY_RCPT:
		if (good)
			connection->accepted++;
		else
			take_answer(&job->recipients[connection->next_recipient], reply);
		if (++connection->next_recipient < job->recipient_count)
			say_rcpt(connection);
		else if (connection->accepted > 0)
			say_data(connection);
		else
			break;
		return true;
	case RELAY_DATA:
		if (!good)
			break;
		write_stuffed(connection->stream, job->body);
		connection->state = RELAY_BODY;
		return true;
	default: break;
	}
	connection->state = RELAY_QUIT;
	answer_all(connection, reply);
	return false;
}

static void on_input(void *arg, struct buf *input)
{
	struct relay_connection *connection = arg;
	struct smtp_reply reply;
	size_t length;

	timer_start(connection->timer, REPLY_MS);
	for (;;) {
		enum smtp_scan scan = smtp_scan_reply(buf_str(input), &reply, &length);
		if (scan == SMTP_MORE)
			return;
		if (scan == SMTP_BAD) {
			lost(connection, "4.5.0 The smart host does not speak SMTP");
			return;
		}
		buf_consume(input, length); /* the reply's bytes stay until more is read */
		if (!on_reply(connection, &reply))
			return;
		if (connection->state == RELAY_BODY)
			timer_start(connection->timer, BODY_REPLY_MS);
	}
}

static void on_open(void *arg)
{
	struct relay_connection *connection = arg;
	timer_start(connection->timer, REPLY_MS);
	if (connection->state != RELAY_HANDSHAKE)
		return;
	connection->tls = true;
	say_ehlo(connection);
}

static void on_close(void *arg, int reason)
{
	struct relay_connection *connection = arg;
	(void)reason;
	connection->stream = NULL;
	lost(connection, "4.4.2 Connection to the smart host broke");
}

static void on_timer(void *arg)
{
	lost(arg, "4.4.2 The smart host did not answer in time");
}

static const struct stream_handler handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_close = on_close,
};

static void connect_next(struct relay_connection *connection)
{
	if (connection->next_address >= connection->addresses.count) {
		finish(connection, "4.4.1 The smart host cannot be reached");
		return;
	}
	connection->state = RELAY_GREETING;
	connection->tls = false;
	connection->stream = stream_connect(connection->router->loop,
		connection->addresses.addresses[connection->next_address++], NULL, NULL, CONNECT_MS,
		&handler, connection);
}

static void on_resolved(void *arg, const struct dns_answer *answer)
{
	struct relay_connection *connection = arg;

	connection->resolving = false;
	if (!connection->job) {
		connection_free(connection);
		return;
	}
	connection->addresses = *answer;
	if (answer->status != 0)
		connection->addresses.count = 0;
	connect_next(connection);
}

void relay_send(struct relay_job *job)
{
	struct relay_connection *connection = mem_alloc(sizeof(*connection));
	struct router *router = job->router;

	job->connection = connection;
	connection->job = job;
	connection->router = router;
	connection->timer = timer_new(router->loop, on_timer, connection);
	if (router->config->relay_host[0] == 0) {
		finish(connection, "4.3.5 No smart host is configured");
		return;
	}
	connection->resolving = true;
	dns_resolve(router->dns, router->config->relay_host, on_resolved, connection);
}

void relay_cancel(struct relay_job *job)
{
	struct relay_connection *connection = job->connection;
	if (!connection)
		return;
	job->connection = NULL;
	connection->job = NULL;
	if (!connection->resolving)
		connection_free(connection);
}
