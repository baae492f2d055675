#include "sim/internal.h"

#include "core/dns.h"
#include "core/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Streams between machines. An address is "MACHINE:PORT" or "unix:PATH" (of the machine itself).
 * Bytes arrive in order after a latency; while a link is cut they wait, and nobody learns of a
 * crash.
 */

struct listener {
	struct list link;
	struct loop *loop;
	char address[128];
	unsigned machine;
	bool is_tls; /* on_open tells of a handshake that is played */
	void (*on_accept)(void *arg, struct stream *stream);
	void *arg;
};

/* Bytes on their way. */
struct arrival {
	struct arrival *next;
	struct buf bytes;
	unsigned from;
};

struct stream {
	struct list link;
	struct arrival *arrivals, **arrivals_link; /* in the order of sending */
	struct loop *loop;
	unsigned machine;
	struct stream *peer; /* NULL: the other end has closed */
	const struct stream_handler *handler;
	void *arg;
	struct buf input;
	struct buf output; /* written, not yet on its way */
	size_t in_flight;
	uint64_t last_arrival_us;
	bool open, paused, backlog_was_high, detached;
	bool is_strange; /* shows no certificate of the cluster */
	struct tls_peer shown; /* the other side's certificate */
	struct task turn;
	char address[128];
};

static struct list listeners, streams;
static bool link_down[MACHINES_MAX][MACHINES_MAX];
static uint64_t latency_maximum = 500;
static bool is_noisy;

void net_reset(void)
{
	/* What is left belongs to machines that are gone. */
	list_init(&listeners);
	list_init(&streams);
	memset(link_down, 0, sizeof(link_down));
	latency_maximum = 500;
	is_noisy = false;
}

void world_set_link(unsigned a, unsigned b, bool connected)
{
	link_down[a][b] = link_down[b][a] = !connected;
}

void world_set_latency_us(uint64_t maximum)
{
	latency_maximum = maximum;
}

void world_set_noise(bool noisy)
{
	is_noisy = noisy;
}

bool link_is_up(unsigned a, unsigned b)
{
	return !link_down[a][b];
}

uint64_t latency_us(void)
{
	return 50 + world_pick(latency_maximum + 1);
}

static bool is_alive(const struct stream *stream)
{
	return loop_is_alive(stream->loop);
}

int listener_open(struct loop *loop, const char *address, struct tls_context *tls,
	void (*on_accept)(void *arg, struct stream *stream), void *arg,
	struct listener **listener_out, struct error *error)
{
	struct listener *listener = mem_alloc(sizeof(*listener));
	(void)error;
	listener->is_tls = tls != NULL;
	listener->loop = loop;
	listener->machine = loop->machine;
	listener->on_accept = on_accept;
	listener->arg = arg;
	snprintf(listener->address, sizeof(listener->address), "%s", address);
	list_append(&listeners, &listener->link);
	*listener_out = listener;
	return 0;
}

void listener_close(struct listener **listener)
{
	if (*listener == NULL)
		return;
	list_remove(&(*listener)->link);
	free(*listener);
	*listener = NULL;
}

static struct listener *find_listener(const char *address, unsigned from)
{
	list_for_each (entry, &listeners) {
		struct listener *listener = list_entry(entry, struct listener, link);
		bool local = strncmp(address, "unix:", 5) == 0;
		if (strcmp(listener->address, address) == 0 &&
			(!local || listener->machine == from) && loop_is_alive(listener->loop))
			return listener;
	}
	return NULL;
}

static void on_turn(void *arg);

static struct stream *stream_make(struct loop *loop)
{
	struct stream *stream = mem_alloc(sizeof(*stream));
	stream->loop = loop;
	stream->machine = loop->machine;
	stream->arrivals_link = &stream->arrivals;
	stream->turn = (struct task){ .run = on_turn, .arg = stream };
	list_append(&streams, &stream->link);
	return stream;
}

static void drop_arrivals(struct stream *stream)
{
	while (stream->arrivals != NULL) {
		struct arrival *next = stream->arrivals->next;
		buf_deinit(&stream->arrivals->bytes);
		free(stream->arrivals);
		stream->arrivals = next;
	}
	stream->arrivals_link = &stream->arrivals;
}

static void stream_drop(struct stream *stream)
{
	if (stream->peer != NULL)
		stream->peer->peer = NULL;
	if (is_alive(stream))
		loop_cancel_deferred(stream->loop, &stream->turn);
	list_remove(&stream->link);
	buf_deinit(&stream->input);
	buf_deinit(&stream->output);
	drop_arrivals(stream);
	/* The struct itself stays: an event that names it must not find another stream in its
	 * place. */
	stream->peer = NULL;
}

static struct stream *find_stream(void *pointer)
{
	list_for_each (entry, &streams)
		if (list_entry(entry, struct stream, link) == pointer)
			return pointer;
	return NULL;
}

/* ---- closing ---- */

struct close_event {
	struct stream *stream;
	int reason;
	unsigned from;
};

static void on_closed(void *arg)
{
	struct close_event close = *(struct close_event *)arg;
	struct stream *stream = find_stream(close.stream);
	free(arg);
	if (stream == NULL)
		return;
	if (!link_is_up(close.from, stream->machine) || stream->arrivals != NULL ||
		stream->detached) {
		struct close_event *again = mem_copy(&close, sizeof(close));
		event_add(stream->loop, 100000, on_closed, again);
		return;
	}
	const struct stream_handler *handler = stream->handler;
	if (handler != NULL && handler->on_end != NULL && close.reason == 0) {
		/* Until its owner has answered all, and closes. */
		if (!stream->paused)
			handler->on_end(stream->arg);
		if (find_stream(close.stream) != NULL)
			event_add(stream->loop, 100000, on_closed, mem_copy(&close, sizeof(close)));
		return;
	}
	if (handler != NULL) {
		stream->handler = NULL;
		handler->on_close(stream->arg, close.reason);
	}
	if (find_stream(close.stream) != NULL)
		stream_drop(stream);
}

static void tell_closed(struct stream *stream, int reason, unsigned from, uint64_t delay_us)
{
	struct close_event *close = mem_alloc(sizeof(*close));
	*close = (struct close_event){ stream, reason, from };
	event_add(stream->loop, delay_us, on_closed, close);
}

void net_forget_dead(void)
{
	list_for_each_safe (entry, following, &streams) {
		struct stream *stream = list_entry(entry, struct stream, link);
		if (is_alive(stream))
			continue;
		struct stream *peer = stream->peer;
		if (peer != NULL) {
			peer->peer = NULL;
			if (is_alive(peer))
				tell_closed(peer, -ECONNRESET, stream->machine, latency_us());
		}
		list_remove(&stream->link);
	}
	list_for_each_safe (entry, following, &listeners)
		if (!loop_is_alive(list_entry(entry, struct listener, link)->loop))
			list_remove(entry);
}

void world_part_processes(unsigned machine)
{
	list_for_each_safe (entry, following, &streams) {
		struct stream *stream = list_entry(entry, struct stream, link);
		struct stream *peer = stream->peer;
		if (stream->machine != machine || peer == NULL || peer->machine != machine)
			continue;
		peer->peer = stream->peer = NULL;
		tell_closed(stream, -ECONNRESET, machine, 0);
		tell_closed(peer, -ECONNRESET, machine, 0);
	}
}

/* ---- connecting ---- */

struct connect_event {
	struct stream *stream;
	char address[128];
};

static void on_resume(void *arg);

static void on_open(void *arg)
{
	struct stream *stream = find_stream(arg);
	if (stream == NULL || stream->handler == NULL)
		return;
	stream->open = true;
	if (stream->handler->on_open != NULL)
		stream->handler->on_open(stream->arg);
	/* What came before the connection was complete on this side, and what was written. */
	event_add(stream->loop, 0, on_resume, stream);
	loop_defer(stream->loop, &stream->turn);
}

/* Clients are routers to a node, routers have names, and a node is one to them. */
static struct tls_peer certificate(unsigned of, unsigned to)
{
	struct tls_peer peer = { .name = "router", .role = "router" };
	if (of >= ROUTERS && of < CLIENTS)
		snprintf(peer.name, sizeof(peer.name), "router-%u", of - ROUTERS);
	else if (of < ROUTERS && to >= ROUTERS && to < CLIENTS) {
		snprintf(peer.name, sizeof(peer.name), "node-%u", of);
		snprintf(peer.role, sizeof(peer.role), "node");
	}
	return peer;
}

static void on_accepting(void *arg)
{
	struct connect_event connect = *(struct connect_event *)arg;
	struct stream *stream = find_stream(connect.stream);
	free(arg);
	if (stream == NULL || !is_alive(stream))
		return;
	struct listener *listener = find_listener(connect.address, stream->machine);
	if (listener == NULL || !link_is_up(stream->machine, listener->machine)) {
		tell_closed(stream, -ECONNREFUSED, stream->machine, 1000);
		return;
	}
	if (!machine_has_descriptors(stream->machine) ||
		!machine_has_descriptors(listener->machine)) {
		tell_closed(stream, -EMFILE, stream->machine, 1000);
		return;
	}
	struct stream *other = stream_make(listener->loop);
	other->open = !listener->is_tls;
	other->peer = stream;
	other->is_strange = stream->is_strange;
	other->shown = certificate(stream->machine, other->machine);
	stream->shown = certificate(other->machine, stream->machine);
	stream->peer = other;
	snprintf(other->address, sizeof(other->address), "machine-%u", stream->machine);
	event_add(stream->loop, latency_us(), on_open, stream);
	if (listener->is_tls)
		event_add(listener->loop, latency_us(), on_open, other);
	listener->on_accept(listener->arg, other);
}

static void on_connect_timeout(void *arg)
{
	struct stream *stream = find_stream(arg);
	if (stream != NULL && !stream->open && is_alive(stream))
		tell_closed(stream, -ETIMEDOUT, stream->machine, 0);
}

struct stream *stream_connect(struct loop *loop, const char *address, struct tls_context *tls,
	const char *server_name, unsigned timeout_ms, const struct stream_handler *handler,
	void *arg)
{
	struct stream *stream = stream_make(loop);
	struct connect_event *connect = mem_alloc(sizeof(*connect));
	(void)tls;
	stream->is_strange = server_name != NULL && strcmp(server_name, WORLD_STRANGER) == 0;
	stream->handler = handler;
	stream->arg = arg;
	snprintf(stream->address, sizeof(stream->address), "%s", address);
	connect->stream = stream;
	snprintf(connect->address, sizeof(connect->address), "%s", address);
	struct listener *listener = find_listener(address, loop->machine);
	/* The other machine's loop, so that the accepting code runs in its turn. */
	event_add(listener ? listener->loop : loop, latency_us(), on_accepting, connect);
	event_add(loop, timeout_ms * 1000ull, on_connect_timeout, stream);
	return stream;
}

void stream_set_handler(struct stream *stream, const struct stream_handler *handler, void *arg)
{
	stream->handler = handler;
	stream->arg = arg;
}

/* ---- bytes ---- */

static void show(struct stream *stream)
{
	if (stream->open && !stream->paused && buf_length(&stream->input) > 0 &&
		stream->handler != NULL)
		stream->handler->on_input(stream->arg, &stream->input);
}

/* A byte has changed on its way: TLS notices, and ends it for both. */
static void break_line(struct stream *stream)
{
	struct stream *peer = stream->peer;
	drop_arrivals(stream);
	tell_closed(stream, -EPROTO, stream->machine, 0);
	stream->peer = NULL;
	if (peer == NULL)
		return;
	drop_arrivals(peer);
	peer->peer = NULL;
	tell_closed(peer, -ECONNRESET, stream->machine, latency_us());
}

/* One event per arrival; whichever comes takes the oldest, so that a cut link keeps the order. */
static void on_arrival(void *arg)
{
	struct stream *to = find_stream(arg);
	if (to == NULL || to->arrivals == NULL)
		return;
	struct arrival *arrival = to->arrivals;
	if (!link_is_up(arrival->from, to->machine)) {
		event_add(to->loop, 50000, on_arrival, to);
		return;
	}
	to->arrivals = arrival->next;
	if (to->arrivals == NULL)
		to->arrivals_link = &to->arrivals;
	if (to->peer != NULL) {
		to->peer->in_flight -= buf_length(&arrival->bytes);
		if (is_alive(to->peer))
			loop_defer(to->peer->loop, &to->peer->turn);
	}
	if (is_noisy && arrival->from != to->machine && arrival->from != CLIENTS &&
		to->machine != CLIENTS && world_pick(100) == 0) {
		break_line(to);
		buf_deinit(&arrival->bytes);
		free(arrival);
		return;
	}
	buf_append_str(&to->input, buf_str(&arrival->bytes));
	buf_deinit(&arrival->bytes);
	free(arrival);
	show(to);
}

/* The end of a turn: what was written leaves; a drained backlog is told. */
static void on_turn(void *arg)
{
	struct stream *stream = arg;
	if (stream->open && stream->peer != NULL && buf_length(&stream->output) > 0) {
		struct arrival *arrival = mem_alloc(sizeof(*arrival));
		uint64_t at = world_now_us() + latency_us();
		if (at < stream->last_arrival_us)
			at = stream->last_arrival_us;
		stream->last_arrival_us = at;
		arrival->from = stream->machine;
		arrival->bytes = stream->output;
		stream->in_flight += buf_length(&stream->output);
		stream->output = (struct buf){ 0 };
		*stream->peer->arrivals_link = arrival;
		stream->peer->arrivals_link = &arrival->next;
		event_add(stream->peer->loop, at - world_now_us(), on_arrival, stream->peer);
	}
	if (stream_backlog(stream) == 0 && stream->backlog_was_high) {
		stream->backlog_was_high = false;
		if (stream->handler != NULL && stream->handler->on_drain != NULL)
			stream->handler->on_drain(stream->arg);
	}
}

void stream_write(struct stream *stream, const void *bytes, size_t length)
{
	buf_append(&stream->output, bytes, length);
	stream->backlog_was_high |= stream_backlog(stream) >= STREAM_BACKLOG_HIGH;
	loop_defer(stream->loop, &stream->turn);
}

void stream_write_str(struct stream *stream, struct str s)
{
	stream_write(stream, s.bytes, s.length);
}

void stream_write_bytes(struct stream *stream, struct bytes *bytes, size_t offset, size_t length)
{
	stream_write(stream, bytes->data + offset, length);
}

size_t stream_backlog(const struct stream *stream)
{
	return buf_length(&stream->output) + stream->in_flight;
}

void stream_be_patient(struct stream *stream)
{
	(void)stream;
}

void stream_tell_drain(struct stream *stream)
{
	stream->backlog_was_high = stream_backlog(stream) > 0;
}

void stream_limit_unsent(struct stream *stream, unsigned bytes)
{
	(void)stream;
	(void)bytes;
}

void stream_pause(struct stream *stream)
{
	stream->paused = true;
}

static void on_resume(void *arg)
{
	struct stream *stream = find_stream(arg);
	if (stream != NULL)
		show(stream);
}

void stream_resume(struct stream *stream)
{
	stream->paused = false;
	event_add(stream->loop, 0, on_resume, stream);
}

void stream_abort(struct stream *stream)
{
	if (stream->peer != NULL)
		tell_closed(stream->peer, 0, stream->machine, latency_us());
	stream_drop(stream);
}

void stream_close(struct stream *stream)
{
	on_turn(stream);
	stream_abort(stream);
}

const char *stream_peer_address(const struct stream *stream)
{
	return stream->address;
}

const struct tls_peer *stream_peer(const struct stream *stream)
{
	static const struct tls_peer nobody;
	return stream->is_strange ? &nobody : &stream->shown;
}

void stream_start_tls_client(
	struct stream *stream, struct tls_context *tls, const char *server_name)
{
	(void)stream;
	(void)tls;
	(void)server_name;
	CHECK(false); /* all lines here are under TLS from their first byte */
}

void dns_resolve(struct dns *dns, const char *host_port,
	void (*done)(void *arg, const struct dns_answer *answer), void *arg)
{
	(void)dns;
	(void)host_port;
	(void)done;
	(void)arg;
	CHECK(false); /* nobody here has a smart host */
}

void stream_printf(struct stream *stream, const char *format, ...)
{
	struct buf text = { 0 };
	va_list arguments;
	va_start(arguments, format);
	buf_vprintf(&text, format, arguments);
	va_end(arguments);
	stream_write_str(stream, buf_str(&text));
	buf_deinit(&text);
}

void stream_detach(struct stream *stream)
{
	stream->handler = NULL;
	stream->detached = true;
}

void stream_attach(struct stream *stream, struct loop *loop, const struct stream_handler *handler,
	void *arg)
{
	CHECK(stream->detached && stream->loop == loop);
	stream->detached = false;
	stream_set_handler(stream, handler, arg);
	event_add(loop, 0, on_resume, stream);
}
