#ifndef PANDO_CORE_NET_H
#define PANDO_CORE_NET_H

/*
 * Streams: TCP (IPv4, IPv6) and UNIX sockets, in clear or under TLS, on one loop.
 *
 * Invariants:
 * 1. Callbacks run on the stream's loop, never from inside a call of this header.
 * 2. on_close comes at most once and is the last callback; after it has returned the stream is
 *    gone.
 * 3. After stream_close or stream_abort no callback comes; the caller's pointer is dead.
 * 4. Output written during one turn of the loop leaves in one system call at its end.
 * 5. An idle stream owns no buffers: its input buffer is released when it has been consumed whole.
 *
 * Addresses are text: "127.0.0.1:25", "[::1]:25", "unix:/run/pando/node.sock". Names are resolved
 * by core/dns.h first.
 */

#include "core/buf.h"
#include "core/bytes.h"
#include "core/error.h"
#include "core/loop.h"
#include "core/tls.h"

struct stream;
struct listener;

struct stream_handler {
	/* Connected and, under TLS, the handshake is complete. NULL allowed. Also called when
	 * stream_start_tls has completed. */
	void (*on_open)(void *arg);
	/* New bytes stand in `input`; consume what is used, the rest is shown again with the next
	 * bytes. Called again only when more bytes arrive, or after stream_resume. */
	void (*on_input)(void *arg, struct buf *input);
	/* The output backlog has fallen to zero after having been at or above STREAM_BACKLOG_HIGH,
	 * or after stream_tell_drain. NULL allowed. */
	void (*on_drain)(void *arg);
	/* The peer has ended its side and may wait for answers still (RFC 9293 section 3.6, TLS's
	 * close_notify): all that it sent has been shown. Output goes on to it until the owner
	 * closes. Called again after each stream_resume and stream_attach. NULL allowed: such a
	 * peer has closed. */
	void (*on_end)(void *arg);
	/* Closed by the peer (reason 0) or failed (negative errno; -EPROTO: TLS refused). */
	void (*on_close)(void *arg, int reason);
};

enum {
	/* Backlog at which a producer should pause: four default socket buffers. */
	STREAM_BACKLOG_HIGH = 1 << 20,
	/* Unconsumed input at which reading stops until some is consumed: the largest line or frame
	 * head any engine waits for is far below. Consumers of large data consume as it comes. */
	STREAM_INPUT_MAX = 256 << 10,
};

/* Listens and hands every accepted stream (no handler yet, not reading) to on_accept, which must
 * call stream_set_handler or stream_abort. With `tls`, the handshake begins after
 * stream_set_handler and on_open announces its end; without, on_open is not called. The address
 * "[::]:25" takes IPv4 too. A UNIX socket file left over from a dead process is replaced,
 * and one that somebody has removed is made again within a second.
 * For an address that is taken it waits, blocking, for some seconds: it is called at the start, and
 * the process before this one may still be going. */
int listener_open(struct loop *loop, const char *address, struct tls_context *tls,
	void (*on_accept)(void *arg, struct stream *stream), void *arg,
	struct listener **listener_out, struct error *error) must_check;
void listener_close(struct listener **listener);

/* Never fails at once: failures arrive as on_close. `server_name` (may be NULL) is sent as SNI and,
 * for contexts with a CA and no cluster flag, verified against the certificate. `timeout_ms` bounds
 * connect and handshake together. */
struct stream *stream_connect(struct loop *loop, const char *address, struct tls_context *tls,
	const char *server_name, unsigned timeout_ms, const struct stream_handler *handler,
	void *arg);

void stream_set_handler(struct stream *stream, const struct stream_handler *handler, void *arg);

/* Queues a copy of the bytes. Never blocks, never fails: failures arrive as on_close. */
void stream_write(struct stream *stream, const void *bytes, size_t length);
void stream_write_str(struct stream *stream, struct str s);
void stream_printf(struct stream *stream, const char *format, ...) printf_like(2, 3);
/* Queues bytes [offset, offset+length) without copying; takes its own reference. */
void stream_write_bytes(struct stream *stream, struct bytes *bytes, size_t offset, size_t length);
/* The kernel takes no more than about so many bytes that it has not sent yet (tcp(7),
 * TCP_NOTSENT_LOWAT): what is queued here can still wait for what matters more. */
void stream_limit_unsent(struct stream *stream, unsigned bytes);
/* Bytes queued and not yet taken by the kernel. */
size_t stream_backlog(const struct stream *stream);
/* The same, and what the kernel has of it that the peer has not taken. */
size_t stream_untaken(const struct stream *stream);
/* on_drain is called when the backlog has next fallen to zero, however high it was. */
void stream_tell_drain(struct stream *stream);

/* Server side of STARTTLS: output queued so far leaves in clear, all unconsumed clear input is
 * discarded, then the handshake runs and on_open is called. A failed handshake is
 * on_close(-EPROTO). */
void stream_start_tls(struct stream *stream, struct tls_context *tls);
/* Client side, after the server's go-ahead. */
void stream_start_tls_client(
	struct stream *stream, struct tls_context *tls, const char *server_name);
bool stream_is_tls(const struct stream *stream);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384" or "" in clear. Inside on_close(-EPROTO): why the other side's
 * certificate was not believed, or "". */
const char *stream_tls_description(const struct stream *stream);

/* Ends this side once what is queued has left; nothing is written afterwards. Input still comes. */
void stream_end(struct stream *stream);

/* Reading stops (the peer feels back-pressure) and goes on. Resuming shows
 * unconsumed input again. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);

/* Sends what is queued (at most 5 seconds long), then closes. The pointer is dead on return. */
void stream_close(struct stream *stream);
/* When it is closed, who reads slowly is sent all that is left, as long as he takes of it. For
 * those who have said who they are: it counts to no limit of sessions any more. */
void stream_be_patient(struct stream *stream);
/* Drops what is queued and closes. The pointer is dead on return. */
void stream_abort(struct stream *stream);

/* "192.0.2.1:34567", "unix". Valid as long as the stream. */
const char *stream_peer_address(const struct stream *stream);
/* Empty strings until a verified certificate was shown. */
const struct tls_peer *stream_peer(const struct stream *stream);

/* Moves a stream to another thread: detach on the old loop (no callback comes afterwards;
 * unconsumed input and output stay with it), hand the pointer over (loop_post), attach on the new
 * loop with a new handler; input that is waiting is shown at once. */
void stream_detach(struct stream *stream);
void stream_attach(struct stream *stream, struct loop *loop, const struct stream_handler *handler,
	void *arg);

#endif
