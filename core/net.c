#include "core/net_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/loop_internal.h"
#include "core/timer.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <uv.h>

/* What happens to a stream: readiness, the TLS handshake, input and output, its end. */

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
	/* Accepted streams in their handshake at a time. A core does about as many in a second;
	 * what is behind them waits in the kernel's queue, where it costs no descriptor. */
	HANDSHAKES_MAX = 1000,
	/* When there are as many, one that has taken this long makes room: a handshake is two round
	 * trips, and half a second at most when the machine is busy with all the others. */
	HANDSHAKE_PATIENCE_MS = 3000,
	/* Between two lines about that. */
	HANDSHAKES_TOLD_MS = 60000,
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_poll_closed(uv_handle_t *handle)
{
	free(handle);
}

void stream_drop_poll(struct stream *stream)
{
	if (stream->poll == NULL)
		return;
	stream->poll->data = NULL;
	uv_poll_stop(stream->poll);
	uv_close((uv_handle_t *)stream->poll, on_poll_closed);
	stream->poll = NULL;
	stream->polled_events = 0;
}

void stream_start_poll(struct stream *stream)
{
	stream->poll = mem_alloc(sizeof(*stream->poll));
	CHECK(uv_poll_init(loop_uv(stream->loop), stream->poll, stream->fd) == 0);
	stream->poll->data = stream;
}

static void leave_handshake(struct stream *stream)
{
	if (!stream->is_in_handshakes)
		return;
	stream->is_in_handshakes = false;
	list_remove(&stream->handshake_link);
	loop_handshakes(stream->loop)->count--;
}

void stream_free(struct stream *stream)
{
	leave_handshake(stream);
	if (stream->gone != NULL)
		*stream->gone = true;
	if (stream->loop != NULL)
		loop_cancel_deferred(stream->loop, &stream->turn);
	stream_drop_poll(stream);
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
	stream_drop_poll(stream);
	handler->on_close(arg, reason);
	if (!gone) {
		stream->gone = NULL;
		stream_free(stream);
	}
}

/* One of the owner's callbacks that take nothing else. False when the stream is gone then. */
static bool call_owner(struct stream *stream, void (*callback)(void *arg))
{
	bool gone = false;
	stream->gone = &gone;
	callback(stream->arg);
	if (gone)
		return false;
	stream->gone = NULL;
	return true;
}

void stream_update_poll(struct stream *stream)
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
		if (!stream->paused && !stream->read_ended &&
			buf_length(&stream->input) < STREAM_INPUT_MAX)
			events |= UV_READABLE;
		/* What was written in this turn leaves at its end; only what is left then waits. A
		 * change of events costs up to three system calls. */
		if (stream->output.length > 0 &&
			(!stream->turn.queued || stream->polled_events & UV_WRITABLE))
			events |= UV_WRITABLE;
		break;
	case STREAM_LINGERING:
		events = (stream->read_ended ? 0 : UV_READABLE) |
			(stream->output.length > 0 ? UV_WRITABLE : 0);
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

void stream_later(struct stream *stream)
{
	if (stream->loop != NULL)
		loop_defer(stream->loop, &stream->turn);
}

/* ---- output ---- */

void stream_add_output(struct stream *stream, struct bytes *bytes, size_t offset, size_t length)
{
	output_add(&stream->output, bytes, offset, length);
	if (stream->output.length >= STREAM_BACKLOG_HIGH)
		stream->backlog_was_high = true;
	stream_later(stream);
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
int stream_flush(struct stream *stream)
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
		if (stream->state != STREAM_OPEN || stream->paused || stream->read_ended ||
			buf_length(&stream->input) >= STREAM_INPUT_MAX)
			break;
		bool kept = buf_length(&stream->input) > 0;
		char *to = kept ? buf_reserve(&stream->input, LOOP_SCRATCH_BYTES)
				: loop_scratch(stream->loop);
		ssize_t got = read_some(stream, to, LOOP_SCRATCH_BYTES);
		if (got == -EAGAIN || got == -EINTR)
			break;
		if (got == 0 && stream->handler->on_end != NULL) {
			stream->read_ended = true;
			stream_later(stream);
			return true;
		}
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
		stream_later(stream);
	return true;
}

/* Once all input has been shown. False when the stream is gone. */
static bool report_end(struct stream *stream)
{
	if (!stream->read_ended || stream->end_is_reported || stream->paused ||
		stream->must_show_input || stream->state != STREAM_OPEN)
		return true;
	stream->end_is_reported = true;
	/* It was another owner's to answer. */
	if (stream->handler->on_end == NULL) {
		fail(stream, 0);
		return false;
	}
	return call_owner(stream, stream->handler->on_end);
}

/* ---- state ---- */

static void enter_open(struct stream *stream)
{
	leave_handshake(stream);
	timer_destroy(&stream->timer);
	stream->state = STREAM_OPEN;
	if (stream->handler->on_open != NULL && stream->must_report_open) {
		stream->must_report_open = false;
		if (!call_owner(stream, stream->handler->on_open))
			return;
	}
	/* TLS may have bytes already that no poll will announce. */
	stream->must_show_input |= stream->ssl != NULL;
	stream_later(stream);
	stream_update_poll(stream);
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
		long verdict = SSL_get_verify_result(stream->ssl);
		if (verdict != X509_V_OK)
			snprintf(stream->tls_text, sizeof(stream->tls_text), "%s",
				X509_verify_cert_error_string(verdict));
		ERR_clear_error();
		fail(stream, -EPROTO);
		return;
	}
	stream->handshake_wants_write = error == SSL_ERROR_WANT_WRITE;
	stream_update_poll(stream);
}

void stream_begin_handshake(
	struct stream *stream, struct tls_context *tls, bool is_server, const char *server_name)
{
	stream->ssl = tls_connection_create(tls, stream->fd, is_server, server_name);
	stream->state = STREAM_HANDSHAKE;
	stream->handshake_wants_write = !is_server;
	if (is_server) {
		struct handshakes *handshakes = loop_handshakes(stream->loop);
		list_append(&handshakes->list, &stream->handshake_link);
		handshakes->count++;
		stream->is_in_handshakes = true;
		stream->handshake_us = clock_mono_us();
	}
	if (stream->timer == NULL) {
		stream->timer = timer_new(stream->loop, stream_on_timeout, stream);
		timer_start(stream->timer, HANDSHAKE_MS_MAX);
	}
	stream_update_poll(stream);
	stream_later(stream);
}

bool stream_may_accept_tls(struct loop *loop)
{
	struct handshakes *handshakes = loop_handshakes(loop);
	uint64_t now = clock_mono_us();
	if (handshakes->count < HANDSHAKES_MAX)
		return true;
	struct stream *oldest = list_entry(handshakes->list.next, struct stream, handshake_link);
	if (now - oldest->handshake_us < HANDSHAKE_PATIENCE_MS * 1000)
		return false;
	if (handshakes->told_us == 0 || now - handshakes->told_us > HANDSHAKES_TOLD_MS * 1000) {
		handshakes->told_us = now;
		log_warn("handshakes_full", "held=%u oldest=%s action=\"drop the slowest\"",
			handshakes->count, oldest->peer_text);
	}
	fail(oldest, -ETIMEDOUT);
	return true;
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
	if (stream->ssl != NULL) {
		stream->state = STREAM_HANDSHAKE;
		handshake(stream);
	} else {
		stream->must_report_open = true;
		enter_open(stream);
	}
}

static void shut_write(struct stream *stream)
{
	stream->write_shut = true;
	if (stream->ssl != NULL) {
		ERR_clear_error();
		SSL_shutdown(stream->ssl);
	}
	shutdown(stream->fd, SHUT_WR);
}

/* The other side has given the connection up, or the kernel has: what is queued goes nowhere, and
 * is counted there all the same. */
static bool is_reset(const struct stream *stream)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);
	return getsockopt(stream->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
		info.tcpi_state == TCP_CLOSE;
}

size_t stream_untaken(const struct stream *stream)
{
	int queued = 0;
	if (ioctl(stream->fd, SIOCOUTQ, &queued) < 0 || queued < 0 ||
		(queued > 0 && is_reset(stream)))
		queued = 0;
	return stream->output.length + (size_t)queued;
}

/* False when it has been waited for in vain, or there is nothing more. */
static bool lingers_on(struct stream *stream)
{
	uint64_t now_us = clock_mono_us();
	size_t left = stream_untaken(stream);
	if (left < stream->linger_left) {
		stream->linger_left = left;
		stream->linger_us = now_us;
	}
	unsigned limit_ms = left > 0 ? LINGER_PART_MS_MAX : LINGER_MS_MAX;
	bool is_done = left == 0 && stream->read_ended && stream->write_shut;
	return !is_done && now_us - stream->linger_us <= limit_ms * 1000ull &&
		++stream->linger_looks < LINGER_LOOKS_MAX;
}

void stream_on_timeout(void *arg)
{
	struct stream *stream = arg;
	if (stream->state != STREAM_LINGERING || !stream->is_patient || !lingers_on(stream))
		fail(stream, -ETIMEDOUT);
	else
		timer_start(stream->timer, LINGER_LOOK_MS);
}

/* The owner is gone: send the rest, tell the peer, wait for its end so that nothing sent is lost to
 * a reset caused by unread input. */
static void linger(struct stream *stream)
{
	if (stream_flush(stream) < 0) {
		stream_free(stream);
		return;
	}
	if (stream->output.length == 0 && !stream->write_shut)
		shut_write(stream);
	for (int round = 0; round < READS_PER_TURN_MAX && !stream->read_ended; round++) {
		ssize_t got = recv(stream->fd, loop_scratch(stream->loop), LOOP_SCRATCH_BYTES, 0);
		if (got > 0 || (got < 0 && errno == EINTR))
			continue;
		if (got < 0 && errno == EAGAIN)
			break;
		if (got < 0) {
			stream_free(stream);
			return;
		}
		/* It may still read. */
		stream->read_ended = true;
	}
	/* A socket that is closed with bytes that wait for its peer loses them within a minute. */
	if (stream->read_ended && stream->write_shut &&
		(!stream->is_patient || stream_untaken(stream) == 0))
		stream_free(stream);
	else
		stream_update_poll(stream);
}

/* False when the stream is gone. */
static bool report_drain(struct stream *stream)
{
	if (stream->output.length > 0 || !stream->backlog_was_high)
		return true;
	stream->backlog_was_high = false;
	if (stream->handler->on_drain == NULL)
		return true;
	return call_owner(stream, stream->handler->on_drain);
}

/* The end of a turn: reports what could not be reported inside a call, sends what was queued. */
void stream_on_turn(void *arg)
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
	int result = stream_flush(stream);
	if (result < 0) {
		fail(stream, result);
		return;
	}
	if (stream->must_shut_write && stream->output.length == 0 && !stream->write_shut)
		shut_write(stream);
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
	if (!report_end(stream))
		return;
	stream_update_poll(stream);
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
		stream_later(stream);
	if ((events & UV_READABLE) && !read_input(stream))
		return;
	stream_update_poll(stream);
}
