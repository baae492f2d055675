#ifndef PANDO_ROUTER_QUEUE_PEER_SERVER_H
#define PANDO_ROUTER_QUEUE_PEER_SERVER_H

/* Where routers of other sites leave copies: the answering side of queue_peer.h. */

#include "core/error.h"
#include "router/router.h"

struct queue_peer_server;

/* With router_queue_listen empty nothing is opened. */
int queue_peer_server_open(struct router *router, struct tls_context *tls,
	struct queue_peer_server **server_out, struct error *error) must_check;
/* NULL is accepted. */
void queue_peer_server_close(struct queue_peer_server **server);

#endif
