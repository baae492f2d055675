#include "core/net.h"

#include "core/log.h"
#include "core/loop_internal.h"
#include "core/net_address.h"
#include "core/net_internal.h"
#include "core/output.h"
#include "core/timer.h"
#include "core/tls_internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

/*
 * States of a stream and what is allowed in each:
 *
 *   FRESH      accepted, no handler yet; nothing is read
 *   CONNECTING connect(2) is under way; output is queued
 *   HANDSHAKE  TLS is being set up; output is queued
 *   OPEN       bytes pass both ways
 *   LINGERING  the owner has closed it: queued output leaves, input is thrown away, then it goes
 *   DETACHED   between two loops: no handle, no callback
 */
enum stream_state {
	STREAM_FRESH,
	STREAM_CONNECTING,
	STREAM_HANDSHAKE,
	STREAM_OPEN,
	STREAM_LINGERING,
	STREAM_DETACHED,
};

enum {
	/* One writev's worth; more vectors than this in one turn are rare. */
	VECTORS_PER_WRITE = 64,
	/* A TLS record's payload: what one SSL_write can send in one piece. */
	TLS_RECORD_BYTES = 16384,
	/* Reads per wake-up, for fairness between streams. */
	READS_PER_TURN_MAX = 4,
	/* A TLS handshake of an accepted connection that takes longer is an attack or
	 * a dead peer. */
	HANDSHAKE_MS_MAX = 30000,
	/* How long a closed stream may take to deliver its last bytes. */
	LINGER_MS_MAX = 5000,
};

struct stream {
	struct loop *loop;
	uv_poll_t *poll; /* on the heap: it outlives the stream until libuv lets go of it */
	int fd;
	int polled_events;
	enum stream_state state;
	bool paused, handshake_wants_write, write_shut;
	bool must_report_open, must_show_input;
	const struct stream_handler *handler;
	void *arg;
	SSL *ssl;
	struct tls_context *accept_tls;
	struct buf input;
	struct buf *shown; /* while on_input runs */
	bool *gone;        /* set when the stream goes or is detached inside a callback */
	struct output output;
	bool backlog_was_high;
	int failure; /* to be reported by the deferred task */
	struct task turn;
	struct timer *timer;
	char peer_text[64], local_text[64], tls_text[64];
	struct tls_peer peer;
};

static void on_turn(void *arg);
static void on_poll(uv_poll_t *poll, int status, int events);

static void on_poll_closed(uv_handle_t *handle)
{
	free(handle);
}

static void drop_poll(struct stream *stream)
{
	if (stream->poll == NULL)
		return;
	stream->poll->data = NULL;
	uv_poll_stop(stream->poll);
	uv_close((uv_handle_t *)stream->poll, on_poll_closed);
	stream->poll = NULL;
	stream->polled_events = 0;
}

static void start_poll(struct stream *stream)
{
	stream->poll = mem_alloc(sizeof(*stream->poll));
	CHECK(uv_poll_init(loop_uv(stream->loop), stream->poll, stream->fd) == 0);
	stream->poll->data = stream;
}

/* Free everything; no callback. */
static void stream_free(struct stream *stream)
{
	if (stream->gone != NULL)
		*stream->gone = true;
	if (stream->loop != NULL)
		loop_cancel_deferred(stream->loop, &stream->turn);
	drop_poll(stream);
	timer_destroy(&stream->timer);
	if (stream->ssl != NULL) {
		SSL_free(stream->ssl);
		ERR_clear_error();
	}
	if (stream->fd >= 0)
		close(stream->fd);
	output_deinit(&stream->output);
	buf_deinit(&stream->input);
	free(stream);
}

static void fail(struct stream *stream, int reason)
{
	if (stream->state == STREAM_LINGERING || stream->handler == NULL) {
		stream_free(stream);
		return;
	}
	const struct stream_handler *handler = stream->handler;
	void *arg = stream->arg;
	/* The owner may still look at the addresses inside on_close. */
	bool gone = false;
	stream->gone = &gone;
	drop_poll(stream);
	handler->on_close(arg, reason);
	if (!gone) {
		stream->gone = NULL;
		stream_free(stream);
	}
}

static void update_poll(struct stream *stream)
{
	int events = 0;
	if (stream->poll == NULL)
		return;
	switch (stream->state) {
	case STREAM_FRESH:
	case STREAM_DETACHED: break;
	case STREAM_CONNECTING: events = UV_WRITABLE; break;
	case STREAM_HANDSHAKE:
		events = stream->handshake_wants_write ? UV_WRITABLE : UV_READABLE;
		break;
	case STREAM_OPEN:
		if (!stream->paused && buf_length(&stream->input) < STREAM_INPUT_MAX)
			events |= UV_READABLE;
		/* What was written in this turn leaves at its end; only what is left then waits. A
		 * change of events costs up to three system calls. */
		if (stream->output.length > 0 &&
			(!stream->turn.queued || stream->polled_events & UV_WRITABLE))
			events |= UV_WRITABLE;
		break;
	case STREAM_LINGERING:
		events = UV_READABLE | (stream->output.length > 0 ? UV_WRITABLE : 0);
		break;
	}
	if (events == stream->polled_events)
		return;
	stream->polled_events = events;
	if (events == 0)
		uv_poll_stop(stream->poll);
	else
		CHECK(uv_poll_start(stream->poll, events, on_poll) == 0);
}

static void later(struct stream *stream)
{
	if (stream->loop != NULL)
		loop_defer(stream->loop, &stream->turn);
}

/* ---- output ---- */

static void add_output(struct stream *stream, struct bytes *bytes, size_t offset, size_t length)
{
	output_add(&stream->output, bytes, offset, length);
	if (stream->output.length >= STREAM_BACKLOG_HIGH)
		stream->backlog_was_high = true;
	later(stream);
}

/* Bytes taken, -EAGAIN or a failure. */
static ssize_t write_clear(struct stream *stream)
{
	struct iovec vectors[VECTORS_PER_WRITE];
	struct msghdr message = { .msg_iov = vectors };
	message.msg_iovlen = output_gather(&stream->output, vectors, VECTORS_PER_WRITE);
	ssize_t written = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
	return written >= 0 ? written : -errno;
}

static ssize_t write_tls(struct stream *stream)
{
	struct iovec vectors[VECTORS_PER_WRITE];
	unsigned count = output_gather(&stream->output, vectors, VECTORS_PER_WRITE);
	char record[TLS_RECORD_BYTES];
	const char *from = vectors[0].iov_base;
	size_t length = vectors[0].iov_len;
	if (count > 1 && length < TLS_RECORD_BYTES) {
		/* One record, one system call: small pieces are put together first. */
		length = 0;
		for (unsigned i = 0; i < count && length < sizeof(record); i++) {
			size_t part = vectors[i].iov_len;
			if (part > sizeof(record) - length)
				part = sizeof(record) - length;
			memcpy(record + length, vectors[i].iov_base, part);
			length += part;
		}
		from = record;
	}
	if (length > INT32_MAX)
		length = INT32_MAX;
	ERR_clear_error();
	int written = SSL_write(stream->ssl, from, (int)length);
	if (written > 0)
		return written;
	int error = SSL_get_error(stream->ssl, written);
	return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? -EAGAIN : -EPIPE;
}

/* 0, or the failure. */
static int flush(struct stream *stream)
{
	while (stream->output.length > 0) {
		ssize_t written = stream->ssl != NULL ? write_tls(stream) : write_clear(stream);
		if (written == -EAGAIN || written == -EINTR)
			return 0;
		if (written < 0)
			return (int)written;
		output_consume(&stream->output, (size_t)written);
	}
	return 0;
}

/* ---- input ---- */

/* Bytes read, 0 at the end, -EAGAIN or a failure. */
static ssize_t read_some(struct stream *stream, char *to, size_t length)
{
	if (stream->ssl == NULL) {
		ssize_t got = recv(stream->fd, to, length, 0);
		return got >= 0 ? got : -errno;
	}
	ERR_clear_error();
	int got = SSL_read(stream->ssl, to, (int)length);
	if (got > 0)
		return got;
	int error = SSL_get_error(stream->ssl, got);
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	return error == SSL_ERROR_ZERO_RETURN || (error == SSL_ERROR_SYSCALL && errno == 0)
		? 0
		: -ECONNRESET;
}

/* Shows `view` to the handler and keeps what it leaves. False when the stream is gone. */
static bool show_input(struct stream *stream, struct buf *view)
{
	bool gone = false;
	stream->gone = &gone;
	stream->shown = view;
	stream->handler->on_input(stream->arg, view);
	if (gone)
		return false;
	stream->gone = NULL;
	stream->shown = NULL;
	if (view != &stream->input)
		buf_append_str(&stream->input, buf_str(view));
	else if (buf_length(view) == 0)
		buf_deinit(view);
	return true;
}

/* False when the stream is gone. */
static bool read_input(struct stream *stream)
{
	for (int round = 0; round < READS_PER_TURN_MAX; round++) {
		if (stream->state != STREAM_OPEN || stream->paused ||
			buf_length(&stream->input) >= STREAM_INPUT_MAX)
			break;
		bool kept = buf_length(&stream->input) > 0;
		char *to = kept ? buf_reserve(&stream->input, LOOP_SCRATCH_BYTES)
				: loop_scratch(stream->loop);
		ssize_t got = read_some(stream, to, LOOP_SCRATCH_BYTES);
		if (got == -EAGAIN || got == -EINTR)
			break;
		if (got <= 0) {
			fail(stream, (int)got);
			return false;
		}
		if (kept) {
			buf_commit(&stream->input, (size_t)got);
			if (!show_input(stream, &stream->input))
				return false;
		} else {
			struct buf view = { to, 0, (size_t)got, LOOP_SCRATCH_BYTES };
			if (!show_input(stream, &view))
				return false;
		}
		if (stream->ssl == NULL && got < LOOP_SCRATCH_BYTES)
			break; /* the socket is empty: save the call that would say so */
	}
	if (stream->ssl != NULL && stream->state == STREAM_OPEN && !stream->paused &&
		SSL_pending(stream->ssl) > 0)
		later(stream);
	return true;
}

/* ---- state ---- */

static void enter_open(struct stream *stream)
{
	timer_destroy(&stream->timer);
	stream->state = STREAM_OPEN;
	if (stream->handler->on_open != NULL && stream->must_report_open) {
		bool gone = false;
		stream->must_report_open = false;
		stream->gone = &gone;
		stream->handler->on_open(stream->arg);
		if (gone)
			return;
		stream->gone = NULL;
	}
	/* TLS may have bytes already that no poll will announce. */
	stream->must_show_input |= stream->ssl != NULL;
	later(stream);
	update_poll(stream);
}

static void handshake(struct stream *stream)
{
	ERR_clear_error();
	int result = SSL_do_handshake(stream->ssl);
	if (result == 1) {
		tls_connection_peer(stream->ssl, &stream->peer);
		snprintf(stream->tls_text, sizeof(stream->tls_text), "%s %s",
			SSL_get_version(stream->ssl), SSL_get_cipher_name(stream->ssl));
		stream->must_report_open = true;
		enter_open(stream);
		return;
	}
	int error = SSL_get_error(stream->ssl, result);
	if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
		unsigned long code = ERR_peek_error();
		const char *reason = code ? ERR_reason_error_string(code) : "connection closed";
		log_info("tls_refused", "peer=%s reason=%s", stream->peer_text,
			log_quote(str_from(reason ? reason : "unknown")));
		ERR_clear_error();
		fail(stream, -EPROTO);
		return;
	}
	stream->handshake_wants_write = error == SSL_ERROR_WANT_WRITE;
	update_poll(stream);
}

static void on_timeout(void *arg)
{
	fail(arg, -ETIMEDOUT);
}

static void begin_handshake(struct stream *stream, struct tls_context *tls, bool is_server,
	const char *server_name)
{
	stream->ssl = tls_connection_create(tls, stream->fd, is_server, server_name);
	stream->state = STREAM_HANDSHAKE;
	stream->handshake_wants_write = !is_server;
	if (stream->timer == NULL) {
		stream->timer = timer_new(stream->loop, on_timeout, stream);
		timer_start(stream->timer, HANDSHAKE_MS_MAX);
	}
	update_poll(stream);
	later(stream);
}

static void finish_connect(struct stream *stream)
{
	int error = 0;
	socklen_t length = sizeof(error);
	getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &length);
	if (error != 0) {
		fail(stream, -error);
		return;
	}
	struct net_address local;
	local.length = sizeof(local.socket);
	if (getsockname(stream->fd, &local.socket.any, &local.length) == 0)
		net_address_print(&local, stream->local_text, sizeof(stream->local_text));
	if (stream->ssl != NULL) {
		stream->state = STREAM_HANDSHAKE;
		handshake(stream);
	} else {
		stream->must_report_open = true;
		enter_open(stream);
	}
}

/* The owner is gone: send the rest, tell the peer, wait for its end so that nothing sent is lost to
 * a reset caused by unread input. */
static void linger(struct stream *stream)
{
	if (flush(stream) < 0) {
		stream_free(stream);
		return;
	}
	if (stream->output.length == 0 && !stream->write_shut) {
		stream->write_shut = true;
		if (stream->ssl != NULL) {
			ERR_clear_error();
			SSL_shutdown(stream->ssl);
		}
		shutdown(stream->fd, SHUT_WR);
	}
	for (int round = 0; round < READS_PER_TURN_MAX; round++) {
		ssize_t got = recv(stream->fd, loop_scratch(stream->loop), LOOP_SCRATCH_BYTES, 0);
		if (got > 0 || (got < 0 && errno == EINTR))
			continue;
		if (got < 0 && errno == EAGAIN)
			break;
		stream_free(stream);
		return;
	}
	update_poll(stream);
}

/* False when the stream is gone. */
static bool report_drain(struct stream *stream)
{
	if (stream->output.length > 0 || !stream->backlog_was_high)
		return true;
	stream->backlog_was_high = false;
	if (stream->handler->on_drain == NULL)
		return true;
	bool gone = false;
	stream->gone = &gone;
	stream->handler->on_drain(stream->arg);
	if (gone)
		return false;
	stream->gone = NULL;
	return true;
}

/* The end of a turn: reports what could not be reported inside a call, sends what was queued. */
static void on_turn(void *arg)
{
	struct stream *stream = arg;
	if (stream->state == STREAM_LINGERING) {
		linger(stream);
		return;
	}
	if (stream->failure != 0) {
		fail(stream, stream->failure);
		return;
	}
	if (stream->state == STREAM_HANDSHAKE) {
		handshake(stream);
		return;
	}
	if (stream->state != STREAM_OPEN)
		return;
	int result = flush(stream);
	if (result < 0) {
		fail(stream, result);
		return;
	}
	if (!report_drain(stream))
		return;
	if (stream->must_show_input && !stream->paused && stream->state == STREAM_OPEN) {
		stream->must_show_input = false;
		if (buf_length(&stream->input) > 0 && !show_input(stream, &stream->input))
			return;
		if (stream->ssl != NULL && !read_input(stream))
			return;
	} else if (stream->ssl != NULL && !stream->paused && stream->state == STREAM_OPEN &&
		SSL_pending(stream->ssl) > 0) {
		if (!read_input(stream))
			return;
	}
	update_poll(stream);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct stream *stream = poll->data;
	if (stream == NULL)
		return;
	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	switch (stream->state) {
	case STREAM_FRESH:
	case STREAM_DETACHED: return;
	case STREAM_CONNECTING: finish_connect(stream); return;
	case STREAM_HANDSHAKE: handshake(stream); return;
	case STREAM_LINGERING: linger(stream); return;
	case STREAM_OPEN: break;
	}
	if (events & UV_WRITABLE)
		later(stream);
	if ((events & UV_READABLE) && !read_input(stream))
		return;
	update_poll(stream);
}

/* ---- creation ---- */

static struct stream *stream_create(struct loop *loop, int fd)
{
	struct stream *stream = mem_alloc(sizeof(*stream));
	stream->loop = loop;
	stream->fd = fd;
	stream->turn.run = on_turn;
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
	struct net_address local;
	set_socket_options(peer, fd);
	net_address_print(peer, stream->peer_text, sizeof(stream->peer_text));
	local.length = sizeof(local.socket);
	if (getsockname(fd, &local.socket.any, &local.length) == 0)
		net_address_print(&local, stream->local_text, sizeof(stream->local_text));
	stream->accept_tls = tls;
	stream->state = STREAM_FRESH;
	start_poll(stream);
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
		later(stream);
		return stream;
	}
	if (tls != NULL)
		stream->ssl = tls_connection_create(tls, stream->fd, false, server_name);
	start_poll(stream);
	stream->timer = timer_new(loop, on_timeout, stream);
	timer_start(stream->timer, timeout_ms);
	update_poll(stream);
	return stream;
}

void stream_set_handler(struct stream *stream, const struct stream_handler *handler, void *arg)
{
	stream->handler = handler;
	stream->arg = arg;
	if (stream->state != STREAM_FRESH)
		return;
	if (stream->accept_tls != NULL) {
		begin_handshake(stream, stream->accept_tls, true, NULL);
	} else {
		stream->state = STREAM_OPEN;
		update_poll(stream);
	}
}

void stream_write(struct stream *stream, const void *bytes, size_t length)
{
	buf_append(&stream->output.copied, bytes, length);
	add_output(stream, NULL, 0, length);
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
	add_output(stream, NULL, 0, buf_length(copied) - before);
}

void stream_write_bytes(struct stream *stream, struct bytes *bytes, size_t offset, size_t length)
{
	CHECK(offset <= bytes->length && length <= bytes->length - offset);
	add_output(stream, bytes_ref(bytes), offset, length);
}

size_t stream_backlog(const struct stream *stream)
{
	return stream->output.length;
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
		int result = flush(stream);
		if (result < 0 || stream->output.length > 0)
			stream->failure = result < 0 ? result : -EPROTO;
	}
	begin_handshake(stream, tls, true, NULL);
}

void stream_start_tls_client(
	struct stream *stream, struct tls_context *tls, const char *server_name)
{
	CHECK(stream->ssl == NULL && stream->state == STREAM_OPEN);
	buf_deinit(&stream->input);
	if (stream->shown != NULL)
		buf_consume(stream->shown, buf_length(stream->shown));
	begin_handshake(stream, tls, false, server_name);
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
	later(stream);
	update_poll(stream);
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
	stream->timer = timer_new(stream->loop, on_timeout, stream);
	timer_start(stream->timer, LINGER_MS_MAX);
	later(stream);
	update_poll(stream);
}

const char *stream_peer_address(const struct stream *stream)
{
	return stream->peer_text;
}

const char *stream_local_address(const struct stream *stream)
{
	return stream->local_text;
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
	drop_poll(stream);
	timer_destroy(&stream->timer);
	stream->state = STREAM_DETACHED;
	stream->loop = NULL;
	stream->handler = NULL;
}

void stream_attach(struct stream *stream, struct loop *loop, const struct stream_handler *handler,
	void *arg)
{
	CHECK(stream->state == STREAM_DETACHED);
	stream->loop = loop;
	stream->handler = handler;
	stream->arg = arg;
	stream->state = STREAM_OPEN;
	stream->paused = false;
	stream->must_show_input = true;
	start_poll(stream);
	later(stream);
	update_poll(stream);
}

struct loop *stream_loop(const struct stream *stream)
{
	return stream->loop;
}
