#include "sim/client.h"

#include "core/encode.h"
#include "core/timer.h"
#include "sim/cluster_internal.h"
#include "sim/mail.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 2000, ANSWER_MS_MAX = 20000 };

/* ---- LMTP: one transaction, sent whole ---- */

struct lmtp_client {
	struct stream *stream;
	struct timer *timer;
	unsigned replies; /* the last is the message's */
	void (*done)(void *arg, unsigned code);
	void *arg;
	struct buf request;
};

/* Greeting, LHLO, MAIL, RCPT, and what became of the message. */
enum { LMTP_REPLIES = 5 };

static void lmtp_end(struct lmtp_client *client, unsigned code)
{
	void (*done)(void *, unsigned) = client->done;
	void *arg = client->arg;
	timer_destroy(&client->timer);
	buf_deinit(&client->request);
	free(client);
	done(arg, code);
}

static void lmtp_on_open(void *arg)
{
	struct lmtp_client *client = arg;
	stream_write_str(client->stream, buf_str(&client->request));
}

static void lmtp_on_input(void *arg, struct buf *input)
{
	struct lmtp_client *client = arg;
	ptrdiff_t end;
	while ((end = str_find(buf_str(input), STR("\r\n"))) >= 0) {
		struct str line = str_first(buf_str(input), (size_t)end);
		uint64_t code = 0;
		bool is_last = line.length >= 4 && line.bytes[3] == ' ' &&
			str_to_u64(str_first(line, 3), 999, &code);
		buf_consume(input, (size_t)end + 2);
		if (is_last && ++client->replies == LMTP_REPLIES) {
			stream_abort(client->stream);
			lmtp_end(client, (unsigned)code);
			return;
		}
	}
}

static void lmtp_on_close(void *arg, int reason)
{
	(void)reason;
	lmtp_end(arg, 0);
}

static void lmtp_on_timeout(void *arg)
{
	struct lmtp_client *client = arg;
	stream_abort(client->stream);
	lmtp_end(client, 0);
}

void lmtp_client_send(unsigned machine, const uint8_t *delivery_id, uint64_t mailbox_id,
	uint64_t mark, void (*done)(void *arg, unsigned code), void *arg)
{
	static const struct stream_handler handler = { .on_open = lmtp_on_open,
		.on_input = lmtp_on_input, .on_close = lmtp_on_close };
	struct lmtp_client *client = mem_alloc(sizeof(*client));
	struct buf message = { 0 };
	char address[32];
	client->done = done;
	client->arg = arg;
	client->timer = timer_new(cluster_client_loop(), lmtp_on_timeout, client);
	timer_start(client->timer, ANSWER_MS_MAX);
	mail_write(mark, &message);
	buf_append_literal(&client->request,
		"LHLO router\r\nMAIL FROM:<somebody@example.org> XPANDOID=");
	encode_hex(&client->request, delivery_id, DELIVERY_ID_LENGTH);
	buf_printf(&client->request, "\r\nRCPT TO:<m%llu@example.org>\r\nBDAT %zu LAST\r\n",
		(unsigned long long)mailbox_id, buf_length(&message));
	buf_append_str(&client->request, buf_str(&message));
	buf_deinit(&message);
	snprintf(address, sizeof(address), "machine-%u:24", machine);
	client->stream = stream_connect(
		cluster_client_loop(), address, NULL, NULL, CONNECT_MS, &handler, client);
}

/* ---- IMAP ---- */

struct imap_client {
	struct stream *stream;
	struct timer *timer;
	const struct imap_client_handler *handler;
	void *arg;
	uint64_t mailbox_id;
	unsigned tag;
	bool is_greeted;
	size_t looked; /* bytes of the input that are whole parts of an unfinished line */
};

static void imap_free(struct imap_client *client)
{
	timer_destroy(&client->timer);
	free(client);
}

void imap_client_abort(struct imap_client *client)
{
	stream_abort(client->stream);
	imap_free(client);
}

void imap_client_command(struct imap_client *client, struct str command)
{
	stream_printf(client->stream, "c%u " STR_FORMAT "\r\n", ++client->tag, STR_ARG(command));
	timer_start(client->timer, ANSWER_MS_MAX);
}

static void log_in(struct imap_client *client)
{
	struct buf identity = { 0 }, command = { 0 };
	buf_printf(&identity, "m%llu@example.org", (unsigned long long)client->mailbox_id);
	buf_append_literal(&command, "AUTHENTICATE EXTERNAL ");
	encode_base64(&command, buf_str(&identity));
	imap_client_command(client, buf_str(&command));
	buf_deinit(&identity);
	buf_deinit(&command);
}

/* The length of the first whole line, its literals and last line end included; 0: more is
 * needed. */
static size_t whole_line(struct imap_client *client, struct str input)
{
	for (;;) {
		ptrdiff_t end = str_find(str_from_index(input, client->looked), STR("\r\n"));
		if (end < 0)
			return 0;
		size_t behind = client->looked + (size_t)end + 2;
		struct str line = str_first(input, behind - 2);
		ptrdiff_t brace = str_find_last_byte(line, '{');
		uint64_t length = 0;
		if (brace < (ptrdiff_t)client->looked || !str_ends_with(line, STR("}")) ||
			!str_to_u64(str_of(line.bytes + brace + 1,
					    line.length - (size_t)brace - 2), 1 << 30, &length))
			return behind;
		if (behind + length > input.length)
			return 0;
		client->looked = behind + (size_t)length;
	}
}

static void imap_on_input(void *arg, struct buf *input)
{
	struct imap_client *client = arg;
	size_t length;
	while ((length = whole_line(client, buf_str(input))) > 0) {
		struct buf line = { 0 };
		char tag[16];
		buf_append(&line, buf_str(input).bytes, length - 2);
		buf_consume(input, length);
		client->looked = 0;
		int tag_length = snprintf(tag, sizeof(tag), "c%u ", client->tag);
		struct str text = buf_str(&line);
		bool is_reply = str_starts_with(text, str_of(tag, (size_t)tag_length));
		bool is_first = !client->is_greeted;
		client->is_greeted = true;
		if (is_reply)
			timer_stop(client->timer);
		if (is_first)
			log_in(client);
		else if (is_reply)
			client->handler->on_reply(
				client->arg, str_from_index(text, (size_t)tag_length));
		else
			client->handler->on_line(client->arg, text);
		buf_deinit(&line);
		/* A reply may be the last thing that this session hears. */
		if (is_reply)
			return;
	}
}

static void imap_on_close(void *arg, int reason)
{
	struct imap_client *client = arg;
	const struct imap_client_handler *handler = client->handler;
	void *handler_arg = client->arg;
	(void)reason;
	imap_free(client);
	handler->on_close(handler_arg);
}

static void imap_on_timeout(void *arg)
{
	struct imap_client *client = arg;
	stream_abort(client->stream);
	imap_on_close(client, 0);
}

struct imap_client *imap_client_open(unsigned machine, uint64_t mailbox_id,
	const struct imap_client_handler *handler, void *arg)
{
	static const struct stream_handler stream_handler = { .on_input = imap_on_input,
		.on_close = imap_on_close };
	struct imap_client *client = mem_alloc(sizeof(*client));
	char address[32];
	snprintf(address, sizeof(address), "machine-%u:143", machine);
	client->handler = handler;
	client->arg = arg;
	client->mailbox_id = mailbox_id;
	client->timer = timer_new(cluster_client_loop(), imap_on_timeout, client);
	timer_start(client->timer, ANSWER_MS_MAX);
	client->stream = stream_connect(
		cluster_client_loop(), address, NULL, NULL, CONNECT_MS, &stream_handler, client);
	return client;
}
