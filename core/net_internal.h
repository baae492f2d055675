#ifndef PANDO_CORE_NET_INTERNAL_H
#define PANDO_CORE_NET_INTERNAL_H

/* Between net.c (what happens to a stream), net_stream.c (what its owner does with it) and
 * net_listen.c. */

#include "core/list.h"
#include "core/net.h"
#include "core/output.h"
#include "core/tls_internal.h"

struct net_address;
struct uv_poll_s;

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

struct stream {
	struct loop *loop;
	struct uv_poll_s *poll; /* on the heap: it outlives the stream until libuv lets go of it */
	int fd;
	int polled_events;
	enum stream_state state;
	bool paused, handshake_wants_write;
	bool must_shut_write, write_shut; /* this side ends behind the output; has ended */
	bool read_ended, end_is_reported; /* the other side has ended; its owner knows */
	bool must_report_open, must_show_input;
	const struct stream_handler *handler;
	void *arg;
	struct ssl_st *ssl;
	struct tls_context *accept_tls;
	struct buf input;
	struct buf *shown; /* while on_input runs */
	bool *gone;        /* set when the stream goes or is detached inside a callback */
	struct output output;
	bool backlog_was_high;
	int failure; /* to be reported by the deferred task */
	struct task turn;
	struct timer *timer;
	bool is_patient;
	size_t linger_left; /* LINGERING, patient: what the peer had not taken when it last took */
	uint64_t linger_us; /* and when that was */
	unsigned linger_looks;
	/* An accepted stream in HANDSHAKE is in its loop's list of them. */
	struct list handshake_link;
	bool is_in_handshakes;
	uint64_t handshake_us;
	char peer_text[64], tls_text[64];
	struct tls_peer peer;
};

/* ---- net_stream.c ---- */

enum {
	/* How long a peer that has been told of the end may take to end its side. */
	LINGER_MS_MAX = 5000,
	/* A patient one is looked at so often: nothing tells when the kernel has sent the last. */
	LINGER_LOOK_MS = 1000,
	/* And cut when the peer has taken nothing for so long: a router holds a MiB back from one
	 * who reads 4 KB/s. */
	LINGER_PART_MS_MAX = 300000,
	/* Four hours: 50 MB at that rate. */
	LINGER_LOOKS_MAX = 4 * 3600,
};

/* Makes a stream of an accepted, non-blocking socket; it waits for stream_set_handler. */
struct stream *stream_adopt(
	struct loop *loop, int fd, const struct net_address *peer, struct tls_context *tls);

/* ---- net.c ---- */

void stream_start_poll(struct stream *stream);
void stream_drop_poll(struct stream *stream);
/* Waits for what the state waits for. */
void stream_update_poll(struct stream *stream);
/* Frees everything; no callback. */
void stream_free(struct stream *stream);
/* At the end of this turn: input that is there, output, failures. */
void stream_later(struct stream *stream);
void stream_on_turn(void *arg);
void stream_on_timeout(void *arg);
/* Takes the reference to bytes; NULL: the last `length` bytes of output.copied. */
void stream_add_output(struct stream *stream, struct bytes *bytes, size_t offset, size_t length);
/* Writes what the socket takes; 0 or a negative errno. */
int stream_flush(struct stream *stream) must_check;
void stream_begin_handshake(
	struct stream *stream, struct tls_context *tls, bool is_server, const char *server_name);
/* False while as many accepted streams as there may be are in their handshake, none of them for
 * long; one that has taken long makes room. */
bool stream_may_accept_tls(struct loop *loop);

#endif
