#include "node/session/lmtp_session.h"

#include "core/list.h"
#include "core/log.h"
#include "core/metric.h"
#include "core/pool.h"
#include "core/rand.h"
#include "core/timer.h"
#include "proto/mail/smtp.h"
#include "proto/mail/smtp_data.h"
#include "proto/mail/summary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* Transactions handed to the volumes and not answered yet, per connection: enough to fill a
	 * group commit, few enough that a connection holds at most this many bodies. */
	IN_FLIGHT_MAX = 128,
	/* Whatever their number: what may be lost in memory by one connection. */
	IN_FLIGHT_BYTES_MAX = 64 << 20,
	/* A router keeps idle connections for a while; RFC 5321 section 4.5.3.2.7 asks for 5
	 * minutes. */
	IDLE_MS = 600 * 1000,
};

struct lmtp_recipient {
	const char *address; /* as in the reply */
	unsigned first_target, target_count;
};

/* MAIL to the last reply. Outlives its session when the volumes still work on it. */
struct lmtp_tx {
	struct list link; /* in session->in_flight once submitted */
	struct lmtp_session *session; /* NULL when gone */
	struct pool *pool;
	struct delivery delivery;
	struct lmtp_recipient *recipients;
	unsigned recipient_count, recipient_capacity, target_capacity;
	struct smtp_data data;
	bool has_data, finished;
	/* What was answered to commands that came after this transaction. */
	struct buf after;
};

enum lmtp_reading { READING_COMMANDS, READING_DATA, READING_CHUNK };

struct lmtp_session {
	struct lmtp_front *front;
	struct stream *stream;
	struct timer *idle;
	struct list in_flight;
	unsigned in_flight_count;
	size_t in_flight_bytes;
	struct lmtp_tx *tx; /* being collected, or NULL */
	enum lmtp_reading reading;
	uint64_t chunk_left;
	bool chunk_last, chunk_refused, greeted, paused;
	bool quitting; /* closes when the last transaction is answered */
	uint64_t messages, refused;
	struct metric *delivered, *failed;
	char peer[128];
};

static void tx_destroy(struct lmtp_tx **tx_pointer)
{
	struct lmtp_tx *tx = *tx_pointer;
	if (!tx)
		return;
	smtp_data_deinit(&tx->data);
	bytes_unref(&tx->delivery.body);
	buf_deinit(&tx->delivery.summary);
	buf_deinit(&tx->after);
	free(tx->delivery.targets);
	free(tx->recipients);
	pool_destroy(&tx->pool);
	free(tx);
	*tx_pointer = NULL;
}

/* The session's memory; its stream is gone already. */
static void session_free(struct lmtp_session *session)
{
	log_info("lmtp_closed", "peer=%s messages=%llu refused=%llu", session->peer,
		(unsigned long long)session->messages, (unsigned long long)session->refused);
	list_for_each_safe(entry, following, &session->in_flight) {
		struct lmtp_tx *tx = list_entry(entry, struct lmtp_tx, link);
		list_remove(entry);
		tx->session = NULL; /* its done callback frees it */
		if (tx->finished)
			tx_destroy(&tx);
	}
	tx_destroy(&session->tx);
	timer_destroy(&session->idle);
	free(session);
}

static void session_close(struct lmtp_session *session)
{
	stream_close(session->stream);
	session_free(session);
}

/* Answers in the order of the commands: behind the transactions that still wait. */
static void say(struct lmtp_session *session, const char *reply)
{
	struct buf *after = NULL;
	if (!list_is_empty(&session->in_flight))
		after = &list_entry(session->in_flight.previous, struct lmtp_tx, link)->after;
	if (after) {
		buf_append(after, reply, strlen(reply));
		buf_append_literal(after, "\r\n");
	} else {
		stream_write(session->stream, reply, strlen(reply));
		stream_write(session->stream, "\r\n", 2);
	}
}

static const char *status_reply(int status)
{
	switch (status) {
	case -EROFS: return "451 4.3.0 Mailbox is not served here now";
	case -ENOSPC: return "452 4.3.1 Insufficient system storage";
	case -EDQUOT: return "552 5.2.2 Mailbox is full";
	case -ENOBUFS: return "452 4.2.2 Too much came to this mailbox within a day";
	case -EFBIG: return "552 5.3.4 Message too long";
	case -EKEYREJECTED:
		return "451 4.3.5 Another mailbox is stored in this one's place: `pando check` "
		       "tells the operator more";
	case -EAGAIN: return "451 4.4.0 No second copy could be made in time";
	default: return "451 4.3.0 Storage failed, try again later";
	}
}

/* The one place that confirms messages: every target has its final status. */
static void say_results(struct lmtp_tx *tx)
{
	struct stream *stream = tx->session->stream;

	for (unsigned i = 0; i < tx->recipient_count; i++) {
		const struct lmtp_recipient *recipient = &tx->recipients[i];
		int status = 0;
		/* A recipient without a mailbox would be told that all of them have it. */
		CHECK(tx->finished && recipient->target_count > 0);
		for (unsigned t = 0; t < recipient->target_count; t++)
			if (status == 0)
				status = tx->delivery.targets[recipient->first_target + t].status;
		if (status == 0) {
			metric_add(tx->session->delivered, 1);
			stream_printf(stream, "250 2.0.0 <%s> stored\r\n", recipient->address);
		} else {
			metric_add(tx->session->failed, 1);
			tx->session->refused++;
			stream_printf(stream, "%s\r\n", status_reply(status));
		}
	}
}

static void on_delivered(struct delivery *delivery)
{
	struct lmtp_tx *tx = delivery->arg;
	struct lmtp_session *session = tx->session;

	tx->finished = true;
	if (!session) {
		tx_destroy(&tx);
		return;
	}
	while (!list_is_empty(&session->in_flight)) {
		tx = list_entry(session->in_flight.next, struct lmtp_tx, link);
		if (!tx->finished)
			break;
		say_results(tx);
		stream_write_str(session->stream, buf_str(&tx->after));
		list_remove(&tx->link);
		session->in_flight_count--;
		session->in_flight_bytes -= tx->delivery.body->length;
		tx_destroy(&tx);
	}
	if (session->quitting && list_is_empty(&session->in_flight)) {
		session_close(session);
	} else if (session->paused && session->in_flight_count < IN_FLIGHT_MAX / 2 &&
		session->in_flight_bytes < IN_FLIGHT_BYTES_MAX) {
		session->paused = false;
		stream_resume(session->stream);
	}
}

/* The whole message has arrived: it goes to the volumes, or is refused for every recipient. */
static void submit(struct lmtp_session *session)
{
	struct lmtp_tx *tx = session->tx;

	session->tx = NULL;
	session->reading = READING_COMMANDS;
	session->messages++;
	tx->delivery.body = smtp_data_take(&tx->data);
	if (!tx->delivery.body) {
		for (unsigned i = 0; i < tx->recipient_count; i++)
			say(session, smtp_data_refusal(&tx->data));
		session->refused += tx->recipient_count;
		tx_destroy(&tx);
		return;
	}
	summary_encode(bytes_str(tx->delivery.body), &tx->delivery.summary);
	tx->delivery.done = on_delivered;
	tx->delivery.arg = tx;
	list_append(&session->in_flight, &tx->link);
	session->in_flight_bytes += tx->delivery.body->length;
	if (++session->in_flight_count >= IN_FLIGHT_MAX ||
		session->in_flight_bytes >= IN_FLIGHT_BYTES_MAX) {
		session->paused = true;
		stream_pause(session->stream);
	}
	volumes_deliver(session->front->volumes, &tx->delivery);
}

static void cmd_lhlo(struct lmtp_session *session, struct str arguments)
{
	char line[512];

	if (!address_is_domain(arguments)) {
		say(session, "501 Syntax: LHLO hostname"); /* RFC 2034 section 3 */
		return;
	}
	session->greeted = true;
	tx_destroy(&session->tx);
	snprintf(line, sizeof(line),
		"250-%.255s\r\n250-PIPELINING\r\n250-SIZE %llu\r\n250-8BITMIME\r\n250-CHUNKING\r\n"
		"250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-XPANDOMARK\r\n250 XPANDOID",
		session->front->config->hostname,
		(unsigned long long)session->front->config->message_bytes_max);
	say(session, line);
}

/* A message from a router carries its trace headers on top of what the user was allowed to send. */
static uint64_t message_limit(const struct lmtp_session *session)
{
	return session->front->config->message_bytes_max + (64 << 10);
}

static void cmd_mail(struct lmtp_session *session, struct str arguments)
{
	struct smtp_mail mail;

	if (!session->greeted || session->tx) {
		say(session, session->tx ? "503 5.5.1 Nested MAIL" : "503 5.5.1 LHLO first");
		return;
	}
	const char *bad = smtp_parse_mail(arguments, true, &mail);
	if (!bad && mail.size > message_limit(session))
		bad = "552 5.3.4 Message too big";
	if (bad) {
		say(session, bad);
		return;
	}
	struct lmtp_tx *tx = mem_alloc(sizeof(*tx));
	list_init(&tx->link);
	tx->session = session;
	tx->pool = pool_create();
	if (mail.has_delivery_id)
		memcpy(tx->delivery.id, mail.delivery_id, DELIVERY_ID_LENGTH);
	else
		rand_bytes(tx->delivery.id, DELIVERY_ID_LENGTH);
	smtp_data_init(&tx->data, mail.size, message_limit(session) + SMTP_COMMAND_MAX);
	struct buf path = { 0 };
	buf_append_literal(&path, "Return-Path: <");
	address_append(&mail.sender, &path);
	buf_append_literal(&path, ">\r\n");
	smtp_data_prefix(&tx->data, buf_str(&path));
	buf_deinit(&path);
	session->tx = tx;
	say(session, "250 2.1.0 Ok");
}

static void add_target(void *arg, const struct directory_mailbox *mailbox)
{
	struct lmtp_tx *tx = arg;
	struct delivery *delivery = &tx->delivery;

	if (!mailbox->enabled)
		return;
	if (delivery->target_count == tx->target_capacity) {
		tx->target_capacity = tx->target_capacity ? tx->target_capacity * 2 : 4;
		delivery->targets = mem_resize(delivery->targets,
			tx->target_capacity * sizeof(*delivery->targets));
	}
	delivery->targets[delivery->target_count++] = (struct delivery_target){
		.mailbox_id = mailbox->id,
		.volume_id = mailbox->volume_id,
		.durability = mailbox->durability,
		.quota_bytes = mailbox->quota_bytes,
		.address = pool_copy(tx->pool, mailbox->address),
	};
	memcpy(delivery->targets[delivery->target_count - 1].mark, mailbox->mark,
		MAILBOX_MARK_LENGTH);
}

/* All targets from `first` on have their volume's primary here. */
static bool targets_are_ours(
	const struct lmtp_session *session, const struct lmtp_tx *tx, unsigned first)
{
	const struct directory *directory = session->front->directory;
	const struct directory_node *self =
		directory_find_node_by_name(directory, str_from(session->front->config->node));

	for (unsigned i = first; i < tx->delivery.target_count; i++) {
		const struct directory_volume *volume =
			directory_find_volume(directory, tx->delivery.targets[i].volume_id);
		if (!self || !volume || volume->primary_node_id != self->id)
			return false;
	}
	return true;
}

/* Whose address it is, to the transaction's targets: that of the mailbox that the router means, or,
 * from one of the version before, whatever the address stands for here. NULL: somebody's. */
static const char *add_targets(
	struct lmtp_session *session, const struct smtp_rcpt *rcpt, struct str address)
{
	_Static_assert((int)SMTP_MARK_LENGTH == (int)MAILBOX_MARK_LENGTH, "one mark");
	struct lmtp_tx *tx = session->tx;
	unsigned first = tx->delivery.target_count;

	if (rcpt->has_mark) {
		const struct directory_mailbox *mailbox = meant_find(session->front->meant,
			session->front->directory, address, rcpt->mark, session->peer);
		if (!mailbox)
			return "451 " SMTP_NOT_AGREED
			       " Servers do not agree yet whose mailbox this is";
		add_target(tx, mailbox);
	} else {
		(void)directory_resolve(session->front->directory, address, add_target, tx);
	}
	return tx->delivery.target_count == first ? "550 5.1.1 No such mailbox" : NULL;
}

static const char *add_recipient(struct lmtp_session *session, const struct smtp_rcpt *rcpt)
{
	struct lmtp_tx *tx = session->tx;
	unsigned first = tx->delivery.target_count;
	struct buf address = { 0 };

	address_append(&rcpt->recipient, &address);
	const char *reply = add_targets(session, rcpt, buf_str(&address));
	if (!reply && tx->delivery.target_count > DELIVERY_TARGETS_MAX)
		reply = "452 4.5.3 Too many recipients";
	else if (!reply && !targets_are_ours(session, tx, first))
		reply = "451 4.3.0 Mailbox is not served here now";
	if (reply) {
		tx->delivery.target_count = first;
	} else {
		reply = "250 2.1.5 Ok";
		if (tx->recipient_count == tx->recipient_capacity) {
			tx->recipient_capacity =
				tx->recipient_capacity ? tx->recipient_capacity * 2 : 4;
			tx->recipients = mem_resize(tx->recipients,
				tx->recipient_capacity * sizeof(*tx->recipients));
		}
		tx->recipients[tx->recipient_count++] = (struct lmtp_recipient){
			.address = pool_copy_terminated(tx->pool, buf_str(&address)),
			.first_target = first,
			.target_count = tx->delivery.target_count - first,
		};
	}
	buf_deinit(&address);
	return reply;
}

static void cmd_rcpt(struct lmtp_session *session, struct str arguments)
{
	struct smtp_rcpt rcpt;

	if (!session->tx || session->tx->has_data) {
		say(session, "503 5.5.1 MAIL first");
		return;
	}
	const char *reply = smtp_parse_rcpt(arguments, true, true, &rcpt);
	if (!reply)
		reply = add_recipient(session, &rcpt);
	if (*reply != '2')
		session->refused++;
	say(session, reply);
}

static void cmd_data(struct lmtp_session *session, struct str arguments)
{
	(void)arguments;
	if (!session->tx || session->tx->recipient_count == 0 || session->tx->has_data) {
		say(session, "503 5.5.1 No valid recipients");
		return;
	}
	session->tx->has_data = true;
	session->reading = READING_DATA;
	say(session, "354 End with CRLF.CRLF");
}

static void chunk_end(struct lmtp_session *session)
{
	session->reading = READING_COMMANDS;
	if (session->chunk_refused) {
		say(session, "503 5.5.1 No valid recipients");
		if (session->chunk_last)
			tx_destroy(&session->tx);
	} else if (session->chunk_last) {
		smtp_data_chunks_end(&session->tx->data);
		submit(session);
	} else {
		say(session, "250 2.0.0 Chunk received");
	}
}

/* The chunk follows in any case (RFC 3030 section 2): without recipients it is read and dropped. */
static void cmd_bdat(struct lmtp_session *session, struct str arguments)
{
	const char *bad = smtp_parse_bdat(arguments, &session->chunk_left, &session->chunk_last);
	if (bad) {
		/* What follows cannot be told from commands. */
		say(session, bad);
		session->quitting = true;
		return;
	}
	session->chunk_refused = !session->tx || session->tx->recipient_count == 0;
	if (session->tx)
		session->tx->has_data = true;
	session->reading = READING_CHUNK;
	if (session->chunk_left == 0)
		chunk_end(session);
}

static void cmd_rset(struct lmtp_session *session, struct str arguments)
{
	(void)arguments;
	tx_destroy(&session->tx);
	say(session, "250 2.0.0 Ok");
}

static void cmd_noop(struct lmtp_session *session, struct str arguments)
{
	(void)arguments;
	say(session, "250 2.0.0 Ok");
}

static void cmd_vrfy(struct lmtp_session *session, struct str arguments)
{
	(void)arguments;
	say(session, "252 2.5.0 Send some mail to find out");
}

static void cmd_quit(struct lmtp_session *session, struct str arguments)
{
	(void)arguments;
	say(session, "221 2.0.0 Bye");
	session->quitting = true;
}

static const struct lmtp_command {
	struct str verb;
	void (*run)(struct lmtp_session *session, struct str arguments);
	bool between_chunks; /* allowed after a BDAT that was not the last */
} commands[] = {
	{ { "MAIL", 4 }, cmd_mail, false },
	{ { "RCPT", 4 }, cmd_rcpt, false },
	{ { "BDAT", 4 }, cmd_bdat, true },
	{ { "DATA", 4 }, cmd_data, false },
	{ { "LHLO", 4 }, cmd_lhlo, false },
	{ { "RSET", 4 }, cmd_rset, true },
	{ { "NOOP", 4 }, cmd_noop, true },
	{ { "VRFY", 4 }, cmd_vrfy, false },
	{ { "QUIT", 4 }, cmd_quit, true },
};

static void run_command(struct lmtp_session *session, struct str line)
{
	struct str arguments, verb = smtp_verb(line, &arguments);

	for (size_t i = 0; i < array_length(commands); i++) {
		if (!str_equal_ignore_case(verb, commands[i].verb))
			continue;
		if (session->tx && session->tx->has_data && !commands[i].between_chunks)
			say(session, "503 5.5.1 BDAT LAST first");
		else
			commands[i].run(session, arguments);
		return;
	}
	say(session, "500 5.5.2 Command not recognized");
}

/* Takes what it can of the input; false when it needs more bytes. */
static bool read_some(struct lmtp_session *session, struct buf *input)
{
	struct str bytes = buf_str(input);
	size_t used = 0;

	if (bytes.length == 0)
		return false;
	if (session->reading == READING_DATA) {
		enum smtp_data_scan scan = smtp_data_read(&session->tx->data, bytes, &used);
		buf_consume(input, used);
		if (scan == SMTP_DATA_DONE)
			submit(session);
		return scan == SMTP_DATA_DONE;
	}
	if (session->reading == READING_CHUNK) {
		used = bytes.length < session->chunk_left ? bytes.length : session->chunk_left;
		if (!session->chunk_refused)
			smtp_data_chunk(&session->tx->data, str_first(bytes, used));
		session->chunk_left -= used;
		buf_consume(input, used);
		if (session->chunk_left == 0)
			chunk_end(session);
		return true;
	}
	struct str line;
	switch (smtp_scan_line(bytes, SMTP_COMMAND_MAX, &line, &used)) {
	case SMTP_MORE: return false;
	case SMTP_BAD:
		say(session, "500 5.5.2 Line too long or badly ended");
		session->quitting = true;
		return false;
	default: break;
	}
	run_command(session, line);
	buf_consume(input, used);
	return true;
}

static void on_input(void *arg, struct buf *input)
{
	struct lmtp_session *session = arg;

	timer_start(session->idle, IDLE_MS);
	while (!session->paused && !session->quitting && read_some(session, input))
		;
	if (!session->quitting)
		return;
	buf_consume(input, buf_length(input));
	if (list_is_empty(&session->in_flight))
		session_close(session);
}

static void on_open(void *arg)
{
	struct lmtp_session *session = arg;
	const struct tls_peer *peer = stream_peer(session->stream);

	snprintf(session->peer, sizeof(session->peer), "%s", peer->name);
	if (strcmp(peer->role, "router") != 0) {
		log_warn("lmtp_refused", "peer=%s name=%s role=%s",
			stream_peer_address(session->stream), log_quote(str_from(peer->name)),
			log_quote(str_from(peer->role)));
		stream_abort(session->stream);
		session_free(session);
		return;
	}
	timer_start(session->idle, IDLE_MS);
	stream_printf(session->stream, "220 %s LMTP Pando\r\n", session->front->config->hostname);
}

static void on_close(void *arg, int reason)
{
	(void)reason;
	session_free(arg);
}

static void on_idle(void *arg)
{
	struct lmtp_session *session = arg;
	if (!list_is_empty(&session->in_flight)) {
		timer_start(session->idle, IDLE_MS);
		return;
	}
	say(session, "421 4.4.2 Idle for too long");
	session_close(session);
}

static const struct stream_handler handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_close = on_close,
};

void lmtp_session_start(struct lmtp_front *front, struct stream *stream)
{
	struct lmtp_session *session = mem_alloc(sizeof(*session));

	session->front = front;
	session->stream = stream;
	list_init(&session->in_flight);
	session->idle = timer_new(front->loop, on_idle, session);
	timer_start(session->idle, 60 * 1000); /* for the handshake */
	session->delivered = metric_counter("pando_lmtp_recipients_total", "result=\"delivered\"",
		"LMTP recipients answered");
	session->failed = metric_counter("pando_lmtp_recipients_total", "result=\"failed\"",
		"LMTP recipients answered");
	stream_set_handler(stream, &handler, session);
}
