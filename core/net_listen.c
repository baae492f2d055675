#include "core/net.h"

#include "core/log.h"
#include "core/loop_internal.h"
#include "core/net_address.h"
#include "core/net_internal.h"
#include "core/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum {
	/* The kernel caps it at net.core.somaxconn; bursts of reconnecting clients want all of
	 * that. */
	LISTEN_BACKLOG = 4096,
	/* Connections taken per turn, so that running sessions are not starved by a flood. */
	ACCEPTS_PER_TURN_MAX = 64,
	/* How long a start waits for an address that is taken: a process that was killed in the
	 * middle of a write holds its sockets until the disk has answered. */
	BIND_WAIT_MS_MAX = 5000,
	/* Within that. */
	BIND_RETRY_MS = 50,
	/* Pause when the process is out of descriptors, or all its handshakes are taken: what ends
	 * meanwhile makes room. */
	ACCEPT_PAUSE_MS = 100,
	/* How long the file of a UNIX socket may be gone before it is made again: whoever needs it
	 * dials again and again, and one look a second costs nothing. */
	FILE_LOOK_MS = 1000,
};

struct listener {
	struct loop *loop;
	uv_poll_t poll;
	int fd;
	struct tls_context *tls;
	void (*on_accept)(void *arg, struct stream *stream);
	void *arg;
	struct timer *pause;
	char address[128];
	/* Of a UNIX socket; NULL: it has no file that could be cleared away. */
	struct timer *file_look;
	bool told_gone;
};

static void on_connection(uv_poll_t *poll, int status, int events);

static void on_pause_over(void *arg)
{
	struct listener *listener = arg;
	uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

static void pause_accepting(struct listener *listener)
{
	uv_poll_stop(&listener->poll);
	timer_start(listener->pause, ACCEPT_PAUSE_MS);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct listener *listener = container_of(poll, struct listener, poll);
	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN_MAX; i++) {
		struct net_address peer;
		if (listener->tls != NULL && !stream_may_accept_tls(listener->loop)) {
			pause_accepting(listener);
			return;
		}
		peer.length = sizeof(peer.socket);
		int fd = accept4(
			listener->fd, &peer.socket.any, &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			struct stream *stream =
				stream_adopt(listener->loop, fd, &peer, listener->tls);
			listener->on_accept(listener->arg, stream);
			if (listener->fd < 0)
				return;
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			log_error("accept_paused",
				"address=%s reason=\"%s\" hint=\"raise LimitNOFILE\"",
				listener->address, strerror(errno));
			pause_accepting(listener);
			return;
		}
		if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

static int bind_patiently(int fd, const struct net_address *address, const char *text)
{
	const struct timespec pause = { 0, BIND_RETRY_MS * 1000000 };
	for (int waited_ms = 0;; waited_ms += BIND_RETRY_MS) {
		if (bind(fd, &address->socket.any, address->length) == 0 &&
			listen(fd, LISTEN_BACKLOG) == 0)
			return 0;
		if (errno != EADDRINUSE || waited_ms >= BIND_WAIT_MS_MAX)
			return -errno;
		if (waited_ms == 0)
			log_info("address_taken", "address=%s wait_ms_max=%d", text,
				BIND_WAIT_MS_MAX);
		nanosleep(&pause, NULL);
	}
}

/* ---- a folder that was cleared ----
 *
 * The socket of a file that is gone goes on listening, and nobody can come to it any more. A file
 * of another socket is left alone: who bound it came later, and counts.
 */

static int bind_again(struct listener *listener, const struct net_address *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int result = bind(fd, &address->socket.any, address->length) < 0 ||
			listen(fd, LISTEN_BACKLOG) < 0
		? -errno
		: 0;
	if (result == 0) {
		uv_poll_stop(&listener->poll);
		/* Under the old number, by which the loop knows it. */
		if (dup3(fd, listener->fd, O_CLOEXEC) < 0)
			result = -errno;
		on_pause_over(listener);
	}
	close(fd);
	return result;
}

static void on_file_look(void *arg)
{
	struct listener *listener = arg;
	struct net_address address;
	struct stat status;
	timer_start(listener->file_look, FILE_LOOK_MS);
	CHECK(net_address_parse(listener->address, &address) == 0);
	if (stat(address.socket.local.sun_path, &status) == 0 ||
		(errno != ENOENT && errno != ENOTDIR))
		return;
	int result = bind_again(listener, &address);
	if (result == 0)
		log_warn("listens_anew", "address=%s reason=\"the file of its socket was gone\"",
			listener->address);
	else if (!listener->told_gone)
		log_error("socket_gone",
			"address=%s reason=\"%s\" effect=\"nobody can connect\" hint=\"restart "
			"this daemon, or make the folder again\"",
			listener->address, strerror(-result));
	listener->told_gone = result < 0;
}

static int bind_socket(const char *text, int *fd_out, struct error *error)
{
	struct net_address address;
	int yes = 1;
	if (net_address_parse(text, &address) < 0)
		return error_set(error, -EINVAL,
			"cannot listen on `%s`: write it as 0.0.0.0:25, [::]:25 or unix:/path",
			text);
	int fd =
		socket(address.socket.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(error, -errno, "cannot listen on %s: %s", text, strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (address.socket.any.sa_family == AF_UNIX)
		unlink(address.socket.local.sun_path);
	int code = bind_patiently(fd, &address, text);
	if (code < 0) {
		close(fd);
		return error_set(error, code, "cannot listen on %s: %s", text, strerror(-code));
	}
	*fd_out = fd;
	return 0;
}

int listener_open(struct loop *loop, const char *address, struct tls_context *tls,
	void (*on_accept)(void *arg, struct stream *stream), void *arg,
	struct listener **listener_out, struct error *error)
{
	int fd = -1;
	int result = bind_socket(address, &fd, error);
	if (result < 0)
		return result;
	struct listener *listener = mem_alloc(sizeof(*listener));
	listener->loop = loop;
	listener->fd = fd;
	listener->tls = tls;
	listener->on_accept = on_accept;
	listener->arg = arg;
	listener->pause = timer_new(loop, on_pause_over, listener);
	strncpy(listener->address, address, sizeof(listener->address) - 1);
	if (str_starts_with(str_from(address), STR("unix:"))) {
		listener->file_look = timer_new(loop, on_file_look, listener);
		timer_start(listener->file_look, FILE_LOOK_MS);
	}
	CHECK(uv_poll_init(loop_uv(loop), &listener->poll, fd) == 0);
	CHECK(uv_poll_start(&listener->poll, UV_READABLE, on_connection) == 0);
	*listener_out = listener;
	return 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
	free(container_of(handle, struct listener, poll));
}

void listener_close(struct listener **listener)
{
	if (*listener == NULL)
		return;
	timer_destroy(&(*listener)->pause);
	timer_destroy(&(*listener)->file_look);
	uv_poll_stop(&(*listener)->poll);
	close((*listener)->fd);
	(*listener)->fd = -1;
	uv_close((uv_handle_t *)&(*listener)->poll, on_listener_closed);
	*listener = NULL;
}
