#ifndef PANDO_CORE_HTTP_H
#define PANDO_CORE_HTTP_H

/* The read-only HTTP endpoint of a daemon (libmicrohttpd on its own thread): /metrics, /healthz. */

#include "core/buf.h"
#include "core/error.h"

struct http_server;

/* `healthy` may be called on the server's thread at any time: true gives 200, false 503; it may
 * append lines that say why. */
int http_server_open(const char *address, bool (*healthy)(void *arg, struct buf *out), void *arg,
	struct http_server **server_out, struct error *error) must_check;
void http_server_close(struct http_server **server);

#endif
