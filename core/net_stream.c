#include "core/net_internal.h"

#include "core/loop_internal.h"
#include "core/net_address.h"
#include "core/timer.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>

/* What an owner does with a stream. */

/* ---- creation ---- */

static struct stream *stream_create(struct loop *loop, int fd)
{
	struct stream *stream = mem_alloc(sizeof(*stream));
	stream->loop = loop;
	stream->fd = fd;
	stream->turn.run = stream_on_turn;
	stream->turn.arg = stream;
	return stream;
}

static void set_socket_options(const struct net_address *peer, int fd)
{
	int yes = 1;
	if (peer->socket.any.sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
}

struct stream *stream_adopt(
	struct loop *loop, int fd, const struct net_address *peer, struct tls_context *tls)
{
	struct stream *stream = stream_create(loop, fd);
	set_socket_options(peer, fd);
	net_address_print(peer, stream->peer_text, sizeof(stream->peer_text));
	stream->accept_tls = tls;
	stream->state = STREAM_FRESH;
	stream_start_poll(stream);
	return stream;
}

struct stream *stream_connect(struct loop *loop, const char *address, struct tls_context *tls,
	const char *server_name, unsigned timeout_ms, const struct stream_handler *handler,
	void *arg)
{
	struct net_address peer;
	struct stream *stream = stream_create(loop, -1);
	stream->handler = handler;
	stream->arg = arg;
	stream->state = STREAM_CONNECTING;
	snprintf(stream->peer_text, sizeof(stream->peer_text), "%s", address);
	stream->failure = net_address_parse(address, &peer);
	if (stream->failure == 0) {
		stream->fd = socket(
			peer.socket.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (stream->fd < 0)
			stream->failure = -errno;
	}
	if (stream->failure == 0) {
		set_socket_options(&peer, stream->fd);
		if (connect(stream->fd, &peer.socket.any, peer.length) < 0 && errno != EINPROGRESS)
			stream->failure = -errno;
	}
	if (stream->failure != 0) {
		stream_later(stream);
		return stream;
	}
	if (tls != NULL)
		stream->ssl = tls_connection_create(tls, stream->fd, false, server_name);
	stream_start_poll(stream);
	stream->timer = timer_new(loop, stream_on_timeout, stream);
	timer_start(stream->timer, timeout_ms);
	stream_update_poll(stream);
	return stream;
}

void stream_set_handler(struct stream *stream, const struct stream_handler *handler, void *arg)
{
	stream->handler = handler;
	stream->arg = arg;
	stream->end_is_reported = false;
	if (stream->read_ended)
		stream_later(stream);
	if (stream->state != STREAM_FRESH)
		return;
	if (stream->accept_tls != NULL) {
		stream_begin_handshake(stream, stream->accept_tls, true, NULL);
	} else {
		stream->state = STREAM_OPEN;
		stream_update_poll(stream);
	}
}

void stream_write(struct stream *stream, const void *bytes, size_t length)
{
	buf_append(&stream->output.copied, bytes, length);
	stream_add_output(stream, NULL, 0, length);
}

void stream_write_str(struct stream *stream, struct str s)
{
	stream_write(stream, s.bytes, s.length);
}

void stream_printf(struct stream *stream, const char *format, ...)
{
	struct buf *copied = &stream->output.copied;
	size_t before = buf_length(copied);
	va_list arguments;
	va_start(arguments, format);
	buf_vprintf(copied, format, arguments);
	va_end(arguments);
	stream_add_output(stream, NULL, 0, buf_length(copied) - before);
}

void stream_write_bytes(struct stream *stream, struct bytes *bytes, size_t offset, size_t length)
{
	CHECK(offset <= bytes->length && length <= bytes->length - offset);
	stream_add_output(stream, bytes_ref(bytes), offset, length);
}

void stream_limit_unsent(struct stream *stream, unsigned bytes)
{
	/* A UNIX socket has no such limit. */
	(void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

size_t stream_backlog(const struct stream *stream)
{
	return stream->output.length;
}

void stream_tell_drain(struct stream *stream)
{
	stream->backlog_was_high = stream->output.length > 0;
}

void stream_start_tls(struct stream *stream, struct tls_context *tls)
{
	CHECK(stream->ssl == NULL && stream->state == STREAM_OPEN);
	/* What was sent in clear before the handshake must not count as said under TLS. */
	buf_deinit(&stream->input);
	if (stream->shown != NULL)
		buf_consume(stream->shown, buf_length(stream->shown));
	stream->must_show_input = false;
	while (stream->output.length > 0 && stream->failure == 0) {
		/* A reply line always fits the socket buffer of a peer that waits for it. */
		int result = stream_flush(stream);
		if (result < 0 || stream->output.length > 0)
			stream->failure = result < 0 ? result : -EPROTO;
	}
	stream_begin_handshake(stream, tls, true, NULL);
}

void stream_start_tls_client(
	struct stream *stream, struct tls_context *tls, const char *server_name)
{
	CHECK(stream->ssl == NULL && stream->state == STREAM_OPEN);
	buf_deinit(&stream->input);
	if (stream->shown != NULL)
		buf_consume(stream->shown, buf_length(stream->shown));
	stream_begin_handshake(stream, tls, false, server_name);
}

bool stream_is_tls(const struct stream *stream)
{
	return stream->ssl != NULL && stream->state != STREAM_HANDSHAKE;
}

const char *stream_tls_description(const struct stream *stream)
{
	return stream->tls_text;
}

void stream_pause(struct stream *stream)
{
	/* The poll stays until something arrives or the turn ends: most pauses are over before. */
	stream->paused = true;
}

void stream_resume(struct stream *stream)
{
	if (!stream->paused)
		return;
	stream->paused = false;
	stream->must_show_input = true;
	stream->end_is_reported = false;
	stream_later(stream);
	stream_update_poll(stream);
}

void stream_end(struct stream *stream)
{
	stream->must_shut_write = true;
	stream_later(stream);
}

void stream_be_patient(struct stream *stream)
{
	stream->is_patient = true;
}

void stream_abort(struct stream *stream)
{
	stream_free(stream);
}

void stream_close(struct stream *stream)
{
	bool can_linger =
		stream->state == STREAM_OPEN && stream->poll != NULL && stream->failure == 0;
	if (!can_linger) {
		stream_free(stream);
		return;
	}
	if (stream->gone != NULL)
		*stream->gone = true;
	stream->gone = NULL;
	stream->shown = NULL;
	stream->state = STREAM_LINGERING;
	stream->handler = NULL;
	buf_deinit(&stream->input);
	stream->timer = timer_new(stream->loop, stream_on_timeout, stream);
	stream->linger_left = SIZE_MAX;
	timer_start(stream->timer, stream->is_patient ? LINGER_LOOK_MS : LINGER_MS_MAX);
	stream_later(stream);
	stream_update_poll(stream);
}

const char *stream_peer_address(const struct stream *stream)
{
	return stream->peer_text;
}

const struct tls_peer *stream_peer(const struct stream *stream)
{
	return &stream->peer;
}

void stream_detach(struct stream *stream)
{
	CHECK(stream->state == STREAM_OPEN);
	if (stream->gone != NULL)
		*stream->gone = true;
	stream->gone = NULL;
	if (stream->shown != NULL && stream->shown != &stream->input)
		buf_append_str(&stream->input, buf_str(stream->shown));
	stream->shown = NULL;
	loop_cancel_deferred(stream->loop, &stream->turn);
	stream_drop_poll(stream);
	timer_destroy(&stream->timer);
	stream->state = STREAM_DETACHED;
	stream->loop = NULL;
	stream->handler = NULL;
}

void stream_attach(
	struct stream *stream, struct loop *loop, const struct stream_handler *handler, void *arg)
{
	CHECK(stream->state == STREAM_DETACHED);
	stream->loop = loop;
	stream->handler = handler;
	stream->arg = arg;
	stream->state = STREAM_OPEN;
	stream->paused = false;
	stream->must_show_input = true;
	stream->end_is_reported = false;
	stream_start_poll(stream);
	stream_later(stream);
	stream_update_poll(stream);
}
