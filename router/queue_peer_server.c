#include "router/queue_peer_server.h"

#include "core/bytes.h"
#include "core/log.h"
#include "core/net.h"
#include "core/timer.h"
#include "proto/mail/smtp.h"
#include "router/queue.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	/* A verb, 32 digits and two lengths, three times over. */
	LINE_MAX_BYTES = 200,
	/* Ten thousand mailboxes, the most of a transaction, with long addresses, ORCPT and
	 * replies. */
	RECORD_MAX = 16 << 20,
	/* Far above the minute after which the other side closes. */
	IDLE_MS = 300 * 1000,
};

struct queue_peer_server {
	struct router *router;
	struct listener *listener;
};

enum holder_state { HOLDER_COMMANDS, HOLDER_RECORD, HOLDER_BODY };

struct holder {
	struct router *router;
	struct stream *stream; /* NULL: closed, and holds are still under way */
	enum holder_state state;
	struct timer *idle;
	unsigned pending; /* HOLDs that are not durable yet */
	bool waits;       /* the next command must not overtake their replies */
	struct buf record;
	struct bytes *body;
	size_t record_length, body_length, body_read;
	char name[128];
};

static void holder_free(struct holder *holder)
{
	timer_destroy(&holder->idle);
	buf_deinit(&holder->record);
	bytes_unref(&holder->body);
	free(holder);
}

static void holder_close(struct holder *holder)
{
	if (holder->stream)
		stream_close(holder->stream);
	holder->stream = NULL;
	timer_stop(holder->idle);
	if (holder->pending == 0)
		holder_free(holder);
}

static void on_held(void *arg, int status)
{
	struct holder *holder = arg;

	holder->pending--;
	if (!holder->stream) {
		if (holder->pending == 0)
			holder_free(holder);
		return;
	}
	stream_write_str(
		holder->stream, status == 0 ? STR("250 held\r\n") : STR("451 not held\r\n"));
	if (holder->waits && holder->pending == 0) {
		holder->waits = false;
		stream_pause(holder->stream);
		stream_resume(holder->stream);
	}
}

static bool begin_hold(struct holder *holder, struct str lengths)
{
	uint64_t record, body;
	uint64_t body_max = holder->router->config->message_bytes_max + (256 << 10);
	struct str first;

	if (!str_next(&lengths, ' ', &first) || !str_to_u64(first, RECORD_MAX, &record) ||
		!str_to_u64(lengths, body_max, &body))
		return false;
	holder->record_length = record;
	holder->body_length = body;
	holder->body_read = 0;
	buf_clear(&holder->record);
	holder->body = bytes_create(body);
	holder->state = HOLDER_RECORD;
	return true;
}

/* False: the connection ends. */
static bool run_line(struct holder *holder, struct str line)
{
	struct queue *queue = holder->router->queue;
	struct str arguments, id, verb = smtp_verb(line, &arguments);

	if (!str_next(&arguments, ' ', &id) || id.length != 2 * SMTP_DELIVERY_ID_LENGTH)
		return false;
	if (str_equal(verb, STR("HOLD")))
		return begin_hold(holder, arguments);
	if (str_equal(verb, STR("HAVE"))) {
		stream_write_str(holder->stream,
			queue_has(queue, id) ? STR("250 here\r\n") : STR("550 gone\r\n"));
		return true;
	}
	if (str_equal(verb, STR("RELEASE"))) {
		queue_release(queue, id, holder->name);
		stream_write_str(holder->stream, STR("250 released\r\n"));
		return true;
	}
	return false;
}

static void end_hold(struct holder *holder)
{
	struct bytes *body = holder->body;

	holder->body = NULL;
	holder->state = HOLDER_COMMANDS;
	holder->pending++;
	queue_hold(holder->router->queue, buf_str(&holder->record), body, holder->name, on_held,
		holder);
	bytes_unref(&body);
	buf_deinit(&holder->record);
}

/* False when more bytes are needed or the connection is over. */
static bool read_some(struct holder *holder, struct buf *input)
{
	struct str bytes = buf_str(input), line;
	size_t used;

	if (holder->state == HOLDER_RECORD) {
		size_t left = holder->record_length - buf_length(&holder->record);
		struct str piece = str_first(bytes, left);
		buf_append_str(&holder->record, piece);
		buf_consume(input, piece.length);
		if (piece.length < left)
			return false;
		holder->state = HOLDER_BODY;
		return true;
	}
	if (holder->state == HOLDER_BODY) {
		struct str piece = str_first(bytes, holder->body_length - holder->body_read);
		memcpy(holder->body->data + holder->body_read, piece.bytes, piece.length);
		holder->body_read += piece.length;
		buf_consume(input, piece.length);
		if (holder->body_read < holder->body_length)
			return false;
		end_hold(holder);
		return true;
	}
	enum smtp_scan scan = smtp_scan_line(bytes, LINE_MAX_BYTES, &line, &used);
	if (scan == SMTP_MORE)
		return false;
	/* Replies keep the order of the commands: only HOLD may follow a HOLD that is under way. */
	if (scan == SMTP_DONE && holder->pending > 0 && !str_starts_with(line, STR("HOLD "))) {
		holder->waits = true;
		return false;
	}
	if (scan == SMTP_BAD || !run_line(holder, line)) {
		log_warn("queue_peer_malformed", "name=%s line=%s", holder->name,
			log_quote(str_first(bytes, LINE_MAX_BYTES)));
		holder_close(holder);
		return false;
	}
	buf_consume(input, used);
	return true;
}

static void on_input(void *arg, struct buf *input)
{
	struct holder *holder = arg;

	timer_start(holder->idle, IDLE_MS);
	while (read_some(holder, input))
		;
}

static void on_open(void *arg)
{
	struct holder *holder = arg;
	const struct tls_peer *peer = stream_peer(holder->stream);

	snprintf(holder->name, sizeof(holder->name), "%s", peer->name);
	if (strcmp(peer->role, "router") != 0) {
		log_warn("queue_peer_refused", "name=%s role=%s", log_quote(str_from(peer->name)),
			log_quote(str_from(peer->role)));
		holder_close(holder);
	}
}

static void on_close(void *arg, int reason)
{
	struct holder *holder = arg;
	(void)reason;
	holder->stream = NULL;
	holder_close(holder);
}

static void on_idle(void *arg)
{
	holder_close(arg);
}

static const struct stream_handler handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_close = on_close,
};

static void on_accept(void *arg, struct stream *stream)
{
	struct queue_peer_server *server = arg;
	struct holder *holder = mem_alloc(sizeof(*holder));

	holder->router = server->router;
	holder->stream = stream;
	holder->idle = timer_new(server->router->loop, on_idle, holder);
	timer_start(holder->idle, IDLE_MS);
	stream_set_handler(stream, &handler, holder);
}

int queue_peer_server_open(struct router *router, struct tls_context *tls,
	struct queue_peer_server **server_out, struct error *error)
{
	*server_out = NULL;
	if (router->config->router_queue_listen[0] == 0)
		return 0;
	struct queue_peer_server *server = mem_alloc(sizeof(*server));
	server->router = router;
	int rc = listener_open(router->loop, router->config->router_queue_listen, tls, on_accept,
		server, &server->listener, error);
	if (rc < 0) {
		free(server);
		return rc;
	}
	*server_out = server;
	return 0;
}

void queue_peer_server_close(struct queue_peer_server **server)
{
	if (!*server)
		return;
	listener_close(&(*server)->listener);
	free(*server);
	*server = NULL;
}
