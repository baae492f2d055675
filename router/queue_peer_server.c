#include "router/queue_peer_server.h"

#include "core/bytes.h"
#include "core/clock.h"
#include "core/encode.h"
#include "core/list.h"
#include "core/log.h"
#include "core/net.h"
#include "core/timer.h"
#include "proto/mail/smtp.h"
#include "router/queue.h"
#include "router/queue_record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* A verb, 32 digits and two lengths, three times over. */
	LINE_MAX_BYTES = 200,
	/* Ten thousand mailboxes, the most of a transaction, with long addresses, ORCPT and
	 * replies. */
	RECORD_MAX = 16 << 20,
	/* HOLDs of one connection that are not durable yet: a group commit takes as many. */
	HOLDS_MAX = 64,
	/* Three of the other side's questions whether we are there (queue.c). */
	HEARD_US = 15 * 1000 * 1000,
	/* Far above the minute after which the other side closes. */
	IDLE_MS = 300 * 1000,
};

struct queue_peer_server {
	struct router *router;
	struct listener *listener;
	struct list holders;
};

enum holder_state { HOLDER_COMMANDS, HOLDER_RECORD, HOLDER_BODY };

/* What another router's connection is doing. */
struct holder {
	struct list link; /* in the server's */
	struct router *router;
	struct stream *stream; /* NULL: closed, and answers are still under way */
	enum holder_state state;
	struct timer *idle;
	struct list answers; /* not given yet, in the order of their commands */
	unsigned answer_count;
	bool waits; /* the next command is looked at when all have been given */
	bool is_replaced; /* its router has connected anew since: nothing of it counts any more */
	struct buf record;
	struct bytes *body;
	size_t record_length, body_length, body_read;
	/* Who it says it is, with QUEUE. */
	bool is_introduced;
	uint8_t identity[QUEUE_IDENTITY_LENGTH], instance[QUEUE_IDENTITY_LENGTH];
	uint64_t heard_us;
	char name[128];
};

/* Of a command that takes time: HOLD or FETCH, or HELD while the message is arriving. */
struct answer {
	struct list link;
	struct holder *holder;
	bool is_ready;
	const char *text; /* NULL: the body, with its length */
	struct bytes *body;
};

static void holder_free(struct holder *holder)
{
	list_remove(&holder->link);
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
	if (holder->answer_count == 0)
		holder_free(holder);
}

static struct answer *answer_begin(struct holder *holder)
{
	struct answer *answer = mem_alloc(sizeof(*answer));

	answer->holder = holder;
	list_append(&holder->answers, &answer->link);
	holder->answer_count++;
	return answer;
}

static void answer_give(struct answer *answer)
{
	struct holder *holder = answer->holder;

	if (holder->stream && answer->text) {
		stream_write_str(holder->stream, str_from(answer->text));
	} else if (holder->stream) {
		stream_printf(holder->stream, "250 %zu\r\n", answer->body->length);
		stream_write_bytes(holder->stream, answer->body, 0, answer->body->length);
	}
	list_remove(&answer->link);
	bytes_unref(&answer->body);
	free(answer);
	holder->answer_count--;
}

/* Those that are ready are given as far as none before them is missing. */
static void answer_end(struct answer *answer, const char *text, struct bytes *body)
{
	struct holder *holder = answer->holder;

	answer->is_ready = true;
	answer->text = text;
	answer->body = body;
	while (!list_is_empty(&holder->answers)) {
		struct answer *first = list_entry(holder->answers.next, struct answer, link);
		if (!first->is_ready)
			break;
		answer_give(first);
	}
	if (holder->answer_count > 0)
		return;
	if (!holder->stream) {
		holder_free(holder);
	} else if (holder->waits) {
		holder->waits = false;
		stream_pause(holder->stream);
		stream_resume(holder->stream);
	}
}

static void on_hold_ended(void *arg, int status)
{
	answer_end(arg, status == 0 ? "250 held\r\n" : "451 not held\r\n", NULL);
}

static void on_held_known(void *arg, int status)
{
	answer_end(arg, status == 0 ? "250 held\r\n" : "550 not here\r\n", NULL);
}

static void on_fetch_ended(void *arg, int status, struct bytes *body)
{
	bool is_gone = status == -ENODATA || status == -EBADMSG;
	answer_end(arg, body ? NULL : is_gone ? "550 not here\r\n" : "451 not now\r\n", body);
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

static bool take_identity(struct str *arguments, uint8_t out[QUEUE_IDENTITY_LENGTH])
{
	struct str digits;

	return str_next(arguments, ' ', &digits) && digits.length == 2 * QUEUE_IDENTITY_LENGTH &&
		decode_hex(digits, out, QUEUE_IDENTITY_LENGTH);
}

/* Whether `other` speaks for another queue, or another process, under the same name. One that has
 * not been heard for long is gone, and its connection with it. */
static bool is_double(const struct holder *holder, const struct holder *other)
{
	return other != holder && other->stream && other->is_introduced &&
		strcmp(other->name, holder->name) == 0 &&
		clock_mono_us() - other->heard_us < HEARD_US &&
		(memcmp(other->identity, holder->identity, sizeof(other->identity)) != 0 ||
			memcmp(other->instance, holder->instance, sizeof(other->instance)) != 0);
}

/* A router has one connection at a time: it has given up those that it made before. What it had
 * sent on them may still come in, a HOLD for one, behind the RELEASE on the one that followed. It
 * is not looked at. False: this one is such, and comes to be read only now. */
static bool replace_older(struct queue_peer_server *server, struct holder *holder)
{
	bool is_older = true;

	/* In the order in which they were accepted. */
	list_for_each_safe (entry, following, &server->holders) {
		struct holder *other = list_entry(entry, struct holder, link);
		if (other == holder) {
			is_older = false;
		} else if (other->stream && other->is_introduced &&
			strcmp(other->name, holder->name) == 0) {
			if (!is_older) {
				holder->is_replaced = true;
				return false;
			}
			holder_close(other);
		}
	}
	return true;
}

static bool introduce(struct holder *holder, struct str arguments)
{
	struct queue_peer_server *server = holder->router->queue_peer_server;

	if (!take_identity(&arguments, holder->identity) ||
		!take_identity(&arguments, holder->instance))
		return false;
	list_for_each(entry, &server->holders) {
		if (!is_double(holder, list_entry(entry, struct holder, link)))
			continue;
		log_error("queue_identity_doubled",
			"name=%s effect=\"copies are held for the first one only\" action=\"two "
			"routers run under this name: stop one, or give it a name and a "
			"certificate of its own\"",
			log_quote(str_from(holder->name)));
		stream_write_str(holder->stream, STR("553 another router has this name\r\n"));
		return true;
	}
	if (!replace_older(server, holder))
		return false;
	holder->is_introduced = true;
	holder->heard_us = clock_mono_us();
	stream_write_str(holder->stream, STR("250 known\r\n"));
	return true;
}

static bool answer_have(struct holder *holder, struct str arguments)
{
	static const char *const texts[] = {
		[QUEUE_HELD] = "250 held\r\n",
		[QUEUE_FINISHED] = "251 finished\r\n",
		[QUEUE_UNKNOWN] = "550 unknown\r\n",
		[QUEUE_NO_ANSWER] = "451 not known yet\r\n",
	};
	uint8_t identity[QUEUE_IDENTITY_LENGTH];
	struct str id;

	if (!take_identity(&arguments, identity) || !str_next(&arguments, ' ', &id) ||
		id.length != 2 * SMTP_DELIVERY_ID_LENGTH)
		return false;
	stream_write_str(holder->stream,
		str_from(texts[queue_answer_of(holder->router->queue, identity, id)]));
	return true;
}

/* False: the connection ends. */
static bool run_line(struct holder *holder, struct str line)
{
	struct queue *queue = holder->router->queue;
	struct str arguments, id, verb = smtp_verb(line, &arguments);

	if (str_equal(verb, STR("QUEUE")))
		return introduce(holder, arguments);
	if (!holder->is_introduced)
		return false;
	if (str_equal(verb, STR("HAVE")))
		return answer_have(holder, arguments);
	if (!str_next(&arguments, ' ', &id) || id.length != 2 * SMTP_DELIVERY_ID_LENGTH)
		return false;
	if (str_equal(verb, STR("HOLD")))
		return begin_hold(holder, arguments);
	if (str_equal(verb, STR("FETCH"))) {
		queue_fetch(queue, id, on_fetch_ended, answer_begin(holder));
		return true;
	}
	if (str_equal(verb, STR("HELD")) && queue_is_arriving(queue, id)) {
		queue_await(queue, id, on_held_known, answer_begin(holder));
		return true;
	}
	if (str_equal(verb, STR("HELD"))) {
		stream_write_str(holder->stream,
			!queue_is_known(queue)	     ? STR("451 not known yet\r\n") :
			queue_holds(queue, id) ? STR("250 held\r\n") :
						     STR("550 not here\r\n"));
		return true;
	}
	if (str_equal(verb, STR("RELEASE"))) {
		bool is_gone = queue_is_known(queue) &&
			queue_release(queue, id, holder->name, holder->identity);
		stream_write_str(holder->stream,
			is_gone ? STR("250 released\r\n") : STR("451 not yet\r\n"));
		return true;
	}
	return false;
}

static void end_hold(struct holder *holder)
{
	struct bytes *body = holder->body;

	holder->body = NULL;
	holder->state = HOLDER_COMMANDS;
	queue_hold(holder->router->queue, buf_str(&holder->record), body, holder->name,
		holder->identity, on_hold_ended, answer_begin(holder));
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
	/* Only HOLD may follow one that is under way, and only so many: others ask for what they
	 * change, and messages take memory. */
	if (scan == SMTP_DONE && holder->answer_count > 0 &&
		(!str_starts_with(line, STR("HOLD ")) || holder->answer_count >= HOLDS_MAX)) {
		holder->waits = true;
		return false;
	}
	if (scan == SMTP_BAD || !run_line(holder, line)) {
		if (!holder->is_replaced)
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
	holder->heard_us = clock_mono_us();
	while (read_some(holder, input))
		;
}

static void on_open(void *arg)
{
	struct holder *holder = arg;
	const struct tls_peer *peer = stream_peer(holder->stream);

	snprintf(holder->name, sizeof(holder->name), "%s", peer->name);
	bool is_salvage = strcmp(peer->role, "node") == 0 || strcmp(peer->role, "ctl") == 0;
	if (is_salvage && holder->router->on_salvage != NULL) {
		struct router *router = holder->router;
		struct stream *stream = holder->stream;
		holder_free(holder);
		router->on_salvage(router, stream);
		return;
	}
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
	list_init(&holder->answers);
	list_append(&server->holders, &holder->link);
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
	list_init(&server->holders);
	router->queue_peer_server = server;
	int rc = listener_open(router->loop, router->config->router_queue_listen, tls, on_accept,
		server, &server->listener, error);
	if (rc < 0) {
		router->queue_peer_server = NULL;
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
	while (!list_is_empty(&(*server)->holders))
		list_remove((*server)->holders.next);
	free(*server);
	*server = NULL;
}
