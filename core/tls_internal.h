#ifndef PANDO_CORE_TLS_INTERNAL_H
#define PANDO_CORE_TLS_INTERNAL_H

/* For core/net.c only. */

#include "core/tls.h"

struct ssl_st;

/* A connection on `fd`; server or client as asked. `server_name` may be NULL. */
struct ssl_st *tls_connection_create(
	struct tls_context *context, int fd, bool is_server, const char *server_name);
/* Reads the verified certificate of the peer, if any. */
void tls_connection_peer(struct ssl_st *connection, struct tls_peer *peer_out);

#endif
