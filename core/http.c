#include "core/http.h"

#include "core/metric.h"
#include "core/net_address.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>

enum {
	/* Scrapers and health checks only; more connections than this are a mistake. */
	HTTP_CONNECTIONS_MAX = 64,
	/* How long one of them may say nothing: the common timeout of scrapers. */
	HTTP_TIMEOUT_S = 10,
};

struct http_server {
	struct MHD_Daemon *daemon;
	bool (*healthy)(void *arg, struct buf *out);
	void *arg;
};

static enum MHD_Result send_text(
	struct MHD_Connection *connection, unsigned status, const char *type, struct buf *text)
{
	struct str body = buf_str(text);
	struct MHD_Response *response = MHD_create_response_from_buffer(
		body.length, (void *)(uintptr_t)body.bytes, MHD_RESPMEM_MUST_COPY);
	MHD_add_response_header(response, "Content-Type", type);
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	buf_deinit(text);
	return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *upload, size_t *upload_length,
	void **request_state)
{
	struct http_server *server = arg;
	struct buf text = { 0 };
	static const char plain[] = "text/plain; charset=utf-8";
	(void)version;
	(void)upload;
	(void)upload_length;
	(void)request_state;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
		buf_append_literal(&text, "only GET and HEAD are served here\n");
		return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, plain, &text);
	}
	if (strcmp(url, "/metrics") == 0) {
		metric_render(&text);
		return send_text(connection, MHD_HTTP_OK, "text/plain; version=0.0.4", &text);
	}
	if (strcmp(url, "/healthz") == 0) {
		bool is_healthy = server->healthy(server->arg, &text);
		if (buf_length(&text) == 0)
			buf_printf(&text, "%s\n", is_healthy ? "ok" : "not serving");
		return send_text(connection,
			is_healthy ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, plain, &text);
	}
	buf_append_literal(&text, "there is /metrics and /healthz\n");
	return send_text(connection, MHD_HTTP_NOT_FOUND, plain, &text);
}

int http_server_open(const char *address, bool (*healthy)(void *arg, struct buf *out), void *arg,
	struct http_server **server_out, struct error *error)
{
	struct net_address where;
	if (net_address_parse(address, &where) < 0 || where.socket.any.sa_family == AF_UNIX)
		return error_set(error, -EINVAL,
			"cannot serve HTTP on `%s`: write it as 127.0.0.1:2080 or [::1]:2080",
			address);
	struct http_server *server = mem_alloc(sizeof(*server));
	server->healthy = healthy;
	server->arg = arg;
	/* With its own wake-up channel, so that stopping waits for no timeout. */
	unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ITC;
	if (where.socket.any.sa_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	server->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, server,
		MHD_OPTION_SOCK_ADDR, &where.socket.any,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_TIMEOUT_S,
		MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_END);
	if (server->daemon == NULL) {
		int code = errno ? -errno : -EADDRINUSE;
		free(server);
		return error_set(
			error, code, "cannot serve HTTP on %s: %s", address, strerror(-code));
	}
	*server_out = server;
	return 0;
}

void http_server_close(struct http_server **server)
{
	if (*server == NULL)
		return;
	MHD_stop_daemon((*server)->daemon);
	free(*server);
	*server = NULL;
}
