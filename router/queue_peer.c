#include "router/queue_peer.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/list.h"
#include "core/log.h"
#include "core/map.h"
#include "core/net.h"
#include "core/rand.h"
#include "core/timer.h"
#include "proto/mail/smtp.h"
#include "router/queue.h"
#include "router/queue_peer_server.h"
#include "router/queue_record.h"

#include <stdlib.h>

enum {
	/* As long as remote_wait_ms_max by default: nobody waits for it longer. */
	CONNECT_MS = 2000,
	/* A peer that has just failed is not asked again for so long. */
	DOWN_US = 1000 * 1000,
	/* How late a deadline may be noticed. */
	TICK_MS = 50,
	/* As connections to nodes. */
	IDLE_MS = 60 * 1000,
};

struct peer_request {
	struct list link;
	struct queue_peer *peer;
	uint64_t deadline_us;
	queue_peer_done *done; /* NULL: nobody waits, or on_fetched does */
	void (*on_fetched)(void *arg, enum queue_peer_reply reply, struct bytes *body);
	void *arg;
	enum queue_peer_reply reply;
	/* A message that is coming in behind the reply. */
	struct bytes *body;
	size_t body_read;
	struct task task;
};

/* One router of another site, and the connection to it. */
struct queue_peer {
	struct queue_peers *peers;
	uint32_t router_id;
	struct stream *stream; /* NULL: not connected */
	bool is_open;  /* it has taken us as who we are */
	uint64_t failed_us;    /* when it failed last; 0: works as far as we know */
	struct list requests;  /* in the order of their replies */
	struct timer *tick;
	uint64_t used_us;
};

struct queue_peers {
	struct router *router;
	struct map *all; /* struct queue_peer by router id */
	struct queue_peer_server *server;
	uint8_t instance[QUEUE_IDENTITY_LENGTH]; /* of this process */
};

static void run_done(void *arg)
{
	struct peer_request *request = arg;

	if (request->on_fetched)
		request->on_fetched(request->arg, request->reply, request->body);
	else if (request->done)
		request->done(request->arg, request->reply);
	free(request);
}

static void request_end(struct peer_request *request, enum queue_peer_reply reply)
{
	list_remove(&request->link);
	request->reply = reply;
	if (reply != QUEUE_PEER_YES)
		bytes_unref(&request->body);
	request->task.run = run_done;
	request->task.arg = request;
	loop_defer(request->peer->peers->router->loop, &request->task);
}

static struct peer_request *first_request(struct queue_peer *peer)
{
	return list_entry(peer->requests.next, struct peer_request, link);
}

/* The connection is gone: nobody knows which commands were carried out. */
static void peer_failed(struct queue_peer *peer, bool is_failure)
{
	if (peer->stream)
		stream_abort(peer->stream);
	peer->stream = NULL;
	peer->is_open = false;
	if (is_failure)
		peer->failed_us = clock_mono_us();
	timer_stop(peer->tick);
	while (!list_is_empty(&peer->requests))
		request_end(first_request(peer), QUEUE_PEER_NONE);
}

static void on_open(void *arg)
{
	struct queue_peer *peer = arg;
	const struct tls_peer *shown = stream_peer(peer->stream);

	if (strcmp(shown->role, "router") != 0) {
		log_error("queue_peer_refused", "name=%s role=%s", log_quote(str_from(shown->name)),
			log_quote(str_from(shown->role)));
		peer_failed(peer, true);
	}
}

/* The answer to QUEUE. */
static void on_introduced(void *arg, enum queue_peer_reply reply)
{
	struct queue_peer *peer = arg;
	bool was_open = peer->is_open;

	if (reply == QUEUE_PEER_NO)
		log_error("queue_identity_refused",
			"router=%u effect=\"no copies are left there: messages are listed as at "
			"risk\" action=\"two routers run under one name: stop one, or give it a "
			"name and a certificate of its own\"",
			peer->router_id);
	if (reply != QUEUE_PEER_YES || !peer->stream)
		return;
	peer->is_open = true;
	peer->failed_us = 0;
	if (!was_open)
		queue_holder_connected(peer->peers->router->queue, peer->router_id);
}

/* The message behind a FETCH's reply. False: more is to come. */
static bool read_body(struct queue_peer *peer, struct buf *input)
{
	struct peer_request *request = first_request(peer);
	struct bytes *body = request->body;
	struct str piece = str_first(buf_str(input), body->length - request->body_read);

	memcpy(body->data + request->body_read, piece.bytes, piece.length);
	request->body_read += piece.length;
	/* It moves: that is in time. */
	request->deadline_us =
		clock_mono_us() + peer->peers->router->config->remote_wait_ms_max * 1000;
	buf_consume(input, piece.length);
	if (request->body_read < body->length)
		return false;
	request_end(request, QUEUE_PEER_YES);
	return true;
}

/* False: the connection has failed. */
static bool take_reply(struct queue_peer *peer, const struct smtp_reply *reply)
{
	struct peer_request *request = first_request(peer);
	uint64_t length, length_max = peer->peers->router->config->message_bytes_max + (256 << 10);

	if (request->on_fetched && reply->code == 250) {
		if (!str_to_u64(reply->text, length_max, &length))
			return false;
		request->body = bytes_create(length);
		if (length == 0)
			request_end(request, QUEUE_PEER_YES);
		return true;
	}
	request_end(request,
		reply->code == 250	   ? QUEUE_PEER_YES :
		reply->code == 251	   ? QUEUE_PEER_FINISHED :
		reply->code / 100 == 5 ? QUEUE_PEER_NO :
					     QUEUE_PEER_NONE);
	return true;
}

static void on_input(void *arg, struct buf *input)
{
	struct queue_peer *peer = arg;
	struct smtp_reply reply;
	size_t length;

	while (peer->stream) {
		if (!list_is_empty(&peer->requests) && first_request(peer)->body) {
			if (!read_body(peer, input))
				return;
			continue;
		}
		enum smtp_scan scan = smtp_scan_reply(buf_str(input), &reply, &length);
		if (scan == SMTP_MORE)
			return;
		if (scan == SMTP_BAD || list_is_empty(&peer->requests) ||
			!take_reply(peer, &reply)) {
			peer_failed(peer, true);
			return;
		}
		buf_consume(input, length);
	}
}

static void on_close(void *arg, int reason)
{
	struct queue_peer *peer = arg;
	peer->stream = NULL;
	peer_failed(peer, reason != 0 || !list_is_empty(&peer->requests));
}

static const struct stream_handler handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_close = on_close,
};

/* The oldest request has the earliest deadline. One that is late takes the connection with it: its
 * reply could not be told from the next one's. */
static void on_tick(void *arg)
{
	struct queue_peer *peer = arg;
	uint64_t now = clock_mono_us();

	if (list_is_empty(&peer->requests)) {
		if (now - peer->used_us > IDLE_MS * 1000ull)
			peer_failed(peer, false);
		else
			timer_start(peer->tick, IDLE_MS);
		return;
	}
	if (first_request(peer)->deadline_us <= now)
		peer_failed(peer, true);
	else
		timer_start(peer->tick, TICK_MS);
}

static struct queue_peer *peer_get(struct queue_peers *peers, uint32_t router_id)
{
	uint64_t key = router_id;
	struct queue_peer *peer = map_get(peers->all, map_key_u64(&key));
	if (peer)
		return peer;
	peer = mem_alloc(sizeof(*peer));
	peer->peers = peers;
	peer->router_id = router_id;
	list_init(&peer->requests);
	peer->tick = timer_new(peers->router->loop, on_tick, peer);
	map_set(peers->all, map_key_u64(&key), peer);
	return peer;
}

const struct directory_router *queue_peers_find(const struct queue_peers *peers, uint32_t id)
{
	const struct directory_router *router;
	size_t position = 0;

	while ((router = directory_next_router(peers->router->directory, &position)) != NULL)
		if (router->id == id)
			return router;
	return NULL;
}

bool queue_peers_is_open(const struct queue_peers *peers, uint32_t router_id)
{
	uint64_t key = router_id;
	const struct queue_peer *peer = map_get(peers->all, map_key_u64(&key));
	return peer && peer->is_open;
}

static bool is_down(const struct queue_peer *peer)
{
	return peer->failed_us != 0 && clock_mono_us() - peer->failed_us < DOWN_US;
}

static struct peer_request *add_request(struct queue_peer *peer, queue_peer_done *done, void *arg)
{
	struct peer_request *request = mem_alloc(sizeof(*request));

	list_init(&request->link);
	request->peer = peer;
	request->done = done;
	request->arg = arg;
	request->deadline_us =
		clock_mono_us() + peer->peers->router->config->remote_wait_ms_max * 1000;
	list_append(&peer->requests, &request->link);
	timer_start(peer->tick, TICK_MS);
	return request;
}

static void introduce(struct queue_peer *peer)
{
	struct buf line = { 0 };

	add_request(peer, on_introduced, peer);
	buf_append_literal(&line, "QUEUE ");
	encode_hex(&line, queue_identity(peer->peers->router->queue), QUEUE_IDENTITY_LENGTH);
	buf_append_byte(&line, ' ');
	encode_hex(&line, peer->peers->instance, QUEUE_IDENTITY_LENGTH);
	buf_append_literal(&line, "\r\n");
	stream_write_str(peer->stream, buf_str(&line));
	buf_deinit(&line);
}

/* A stream to write to, or NULL when there is no sense in trying. */
static struct stream *peer_stream(struct queue_peer *peer)
{
	struct router *router = peer->peers->router;
	const struct directory_router *described = queue_peers_find(peer->peers, peer->router_id);

	peer->used_us = clock_mono_us();
	if (!described || described->queue[0] == 0 || is_down(peer) ||
		!queue_is_known(router->queue))
		return NULL;
	if (!peer->stream) {
		peer->stream = stream_connect(router->loop, described->queue, router->cluster_tls,
			NULL, CONNECT_MS, &handler, peer);
		introduce(peer);
	}
	return peer->stream;
}

/* Registers what waits for the next reply. *stream_out is NULL when it has failed already. */
static struct peer_request *request_begin(struct queue_peers *peers, uint32_t router_id,
	queue_peer_done *done, void *arg, struct stream **stream_out)
{
	struct queue_peer *peer = peer_get(peers, router_id);

	*stream_out = peer_stream(peer);
	struct peer_request *request = add_request(peer, done, arg);
	if (!*stream_out)
		request_end(request, QUEUE_PEER_NONE);
	return request;
}

void queue_peer_hold(struct queue_peers *peers, uint32_t router_id, struct str id,
	struct str record, struct bytes *body, queue_peer_done *done, void *arg)
{
	struct stream *stream;

	request_begin(peers, router_id, done, arg, &stream);
	if (!stream)
		return;
	stream_printf(stream, "HOLD " STR_FORMAT " %zu %zu\r\n", STR_ARG(id), record.length,
		body->length);
	stream_write_str(stream, record);
	stream_write_bytes(stream, body, 0, body->length);
}

void queue_peer_held(struct queue_peers *peers, uint32_t router_id, struct str id,
	queue_peer_done *done, void *arg)
{
	struct stream *stream;

	request_begin(peers, router_id, done, arg, &stream);
	if (stream)
		stream_printf(stream, "HELD " STR_FORMAT "\r\n", STR_ARG(id));
}

void queue_peer_have(struct queue_peers *peers, uint32_t router_id, const uint8_t *identity,
	struct str id, queue_peer_done *done, void *arg)
{
	struct stream *stream;
	struct buf digits = { 0 };

	request_begin(peers, router_id, done, arg, &stream);
	encode_hex(&digits, identity, QUEUE_IDENTITY_LENGTH);
	if (stream)
		stream_printf(stream, "HAVE %s " STR_FORMAT "\r\n", buf_terminated(&digits),
			STR_ARG(id));
	buf_deinit(&digits);
}

void queue_peer_release(struct queue_peers *peers, uint32_t router_id, struct str id,
	queue_peer_done *done, void *arg)
{
	struct stream *stream;

	request_begin(peers, router_id, done, arg, &stream);
	if (stream)
		stream_printf(stream, "RELEASE " STR_FORMAT "\r\n", STR_ARG(id));
}

void queue_peer_fetch(struct queue_peers *peers, uint32_t router_id, struct str id,
	void (*done)(void *arg, enum queue_peer_reply reply, struct bytes *body), void *arg)
{
	struct stream *stream;
	struct peer_request *request = request_begin(peers, router_id, NULL, arg, &stream);

	request->on_fetched = done;
	if (stream)
		stream_printf(stream, "FETCH " STR_FORMAT "\r\n", STR_ARG(id));
}

static bool is_elsewhere(const struct queue_peers *peers, const struct directory_router *router)
{
	const struct directory_site *site =
		directory_find_site(peers->router->directory, router->site_id);

	return site && router->queue[0] != 0 &&
		strcmp(site->name, peers->router->config->site) != 0;
}

void queue_peers_watch(struct queue_peers *peers)
{
	const struct directory_router *router;
	size_t position = 0;

	while ((router = directory_next_router(peers->router->directory, &position)) != NULL) {
		if (!is_elsewhere(peers, router))
			continue;
		struct queue_peer *peer = peer_get(peers, router->id);
		bool was_connected = peer->stream != NULL;
		if (peer_stream(peer) && was_connected)
			introduce(peer);
	}
}

uint32_t queue_peers_choose(struct queue_peers *peers)
{
	const struct directory *directory = peers->router->directory;
	const struct directory_router *router;
	uint32_t fallback = 0;
	size_t position = 0;

	while ((router = directory_next_router(directory, &position)) != NULL) {
		if (!is_elsewhere(peers, router))
			continue;
		const struct queue_peer *peer = peer_get(peers, router->id);
		if (peer->is_open)
			return router->id;
		if (fallback == 0 || !is_down(peer))
			fallback = router->id;
	}
	return fallback;
}

int queue_peers_open(struct router *router, struct tls_context *server_tls,
	struct queue_peers **peers_out, struct error *error)
{
	struct queue_peers *peers = mem_alloc(sizeof(*peers));

	peers->router = router;
	peers->all = map_create();
	rand_bytes(peers->instance, sizeof(peers->instance));
	int rc = queue_peer_server_open(router, server_tls, &peers->server, error);
	if (rc < 0) {
		queue_peers_close(&peers);
		return rc;
	}
	*peers_out = peers;
	return 0;
}

void queue_peers_close(struct queue_peers **peers_pointer)
{
	struct queue_peers *peers = *peers_pointer;
	size_t position = 0;
	struct str key;
	void *value;

	if (!peers)
		return;
	queue_peer_server_close(&peers->server);
	while (map_next(peers->all, &position, &key, &value)) {
		struct queue_peer *peer = value;
		if (peer->stream)
			stream_abort(peer->stream);
		timer_destroy(&peer->tick);
		free(peer);
	}
	map_destroy(&peers->all);
	free(peers);
	*peers_pointer = NULL;
}
