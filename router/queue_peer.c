#include "router/queue_peer.h"

#include "core/clock.h"
#include "core/list.h"
#include "core/log.h"
#include "core/map.h"
#include "core/net.h"
#include "core/timer.h"
#include "proto/mail/smtp.h"
#include "router/queue_peer_server.h"

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
	uint64_t deadline_us;
	void (*done)(void *arg, enum queue_answer answer); /* NULL: nobody waits */
	void *arg;
	enum queue_answer answer;
	struct task task;
};

/* One router of another site, and the connection to it. */
struct queue_peer {
	struct queue_peers *peers;
	uint32_t router_id;
	struct stream *stream; /* NULL: not connected */
	bool is_open;
	uint64_t failed_us;    /* when it failed last; 0: works as far as we know */
	struct list requests;  /* in the order of their replies */
	struct timer *tick;
	uint64_t used_us;
};

struct queue_peers {
	struct router *router;
	struct map *all; /* struct queue_peer by router id */
	struct queue_peer_server *server;
};

static void run_done(void *arg)
{
	struct peer_request *request = arg;
	request->done(request->arg, request->answer);
	free(request);
}

static void request_end(
	struct queue_peer *peer, struct peer_request *request, enum queue_answer answer)
{
	list_remove(&request->link);
	request->answer = answer;
	if (!request->done) {
		free(request);
		return;
	}
	request->task.run = run_done;
	request->task.arg = request;
	loop_defer(peer->peers->router->loop, &request->task);
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
		request_end(peer, list_entry(peer->requests.next, struct peer_request, link),
			QUEUE_ANSWER_NONE);
}

static void on_open(void *arg)
{
	struct queue_peer *peer = arg;
	const struct tls_peer *shown = stream_peer(peer->stream);

	if (strcmp(shown->role, "router") != 0) {
		log_error("queue_peer_refused", "name=%s role=%s", log_quote(str_from(shown->name)),
			log_quote(str_from(shown->role)));
		peer_failed(peer, true);
		return;
	}
	peer->is_open = true;
	peer->failed_us = 0;
}

static void on_input(void *arg, struct buf *input)
{
	struct queue_peer *peer = arg;
	struct smtp_reply reply;
	size_t length;

	for (;;) {
		enum smtp_scan scan = smtp_scan_reply(buf_str(input), &reply, &length);
		if (scan == SMTP_MORE)
			return;
		if (scan == SMTP_BAD || list_is_empty(&peer->requests)) {
			peer_failed(peer, true);
			return;
		}
		unsigned code = reply.code;
		buf_consume(input, length);
		request_end(peer, list_entry(peer->requests.next, struct peer_request, link),
			code == 250 ? QUEUE_ANSWER_YES :
			code == 550 ? QUEUE_ANSWER_NO :
				      QUEUE_ANSWER_NONE);
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
	if (list_entry(peer->requests.next, struct peer_request, link)->deadline_us <= now)
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

static const struct directory_router *find_router(const struct queue_peers *peers, uint32_t id)
{
	const struct directory_router *router;
	size_t position = 0;

	while ((router = directory_next_router(peers->router->directory, &position)) != NULL)
		if (router->id == id)
			return router;
	return NULL;
}

static bool is_down(const struct queue_peer *peer)
{
	return peer->failed_us != 0 && clock_mono_us() - peer->failed_us < DOWN_US;
}

/* A stream to write to, or NULL when there is no sense in trying. */
static struct stream *peer_stream(struct queue_peer *peer)
{
	struct router *router = peer->peers->router;
	const struct directory_router *described = find_router(peer->peers, peer->router_id);

	peer->used_us = clock_mono_us();
	if (!described || described->queue[0] == 0 || is_down(peer))
		return NULL;
	if (!peer->stream)
		peer->stream = stream_connect(router->loop, described->queue, router->cluster_tls,
			NULL, CONNECT_MS, &handler, peer);
	return peer->stream;
}

/* Registers what waits for the next reply. NULL: it has failed already. */
static struct stream *request_begin(struct queue_peers *peers, uint32_t router_id,
	void (*done)(void *arg, enum queue_answer answer), void *arg)
{
	struct queue_peer *peer = peer_get(peers, router_id);
	struct peer_request *request = mem_alloc(sizeof(*request));
	struct stream *stream = peer_stream(peer);

	list_init(&request->link);
	request->done = done;
	request->arg = arg;
	request->deadline_us = clock_mono_us() + peers->router->config->remote_wait_ms_max * 1000;
	if (!stream) {
		request_end(peer, request, QUEUE_ANSWER_NONE);
		return NULL;
	}
	list_append(&peer->requests, &request->link);
	timer_start(peer->tick, TICK_MS);
	return stream;
}

void queue_peer_hold(struct queue_peers *peers, uint32_t router_id, struct str id,
	struct str record, struct bytes *body, void (*done)(void *arg, enum queue_answer answer),
	void *arg)
{
	struct stream *stream = request_begin(peers, router_id, done, arg);
	if (!stream)
		return;
	stream_printf(stream, "HOLD " STR_FORMAT " %zu %zu\r\n", STR_ARG(id), record.length,
		body->length);
	stream_write_str(stream, record);
	stream_write_bytes(stream, body, 0, body->length);
}

void queue_peer_have(struct queue_peers *peers, uint32_t router_id, struct str id,
	void (*done)(void *arg, enum queue_answer answer), void *arg)
{
	struct stream *stream = request_begin(peers, router_id, done, arg);
	if (stream)
		stream_printf(stream, "HAVE " STR_FORMAT "\r\n", STR_ARG(id));
}

void queue_peer_release(struct queue_peers *peers, uint32_t router_id, struct str id)
{
	struct stream *stream = request_begin(peers, router_id, NULL, NULL);
	if (stream)
		stream_printf(stream, "RELEASE " STR_FORMAT "\r\n", STR_ARG(id));
}

uint32_t queue_peers_choose(struct queue_peers *peers)
{
	const struct directory *directory = peers->router->directory;
	const struct directory_router *router;
	uint32_t fallback = 0;
	size_t position = 0;

	while ((router = directory_next_router(directory, &position)) != NULL) {
		const struct directory_site *site = directory_find_site(directory, router->site_id);
		if (!site || strcmp(site->name, peers->router->config->site) == 0 ||
			router->queue[0] == 0)
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
