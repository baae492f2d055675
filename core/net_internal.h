#ifndef PANDO_CORE_NET_INTERNAL_H
#define PANDO_CORE_NET_INTERNAL_H

/* Between net_listen.c and net.c. */

#include "core/net.h"

struct net_address;

/* Makes a stream of an accepted, non-blocking socket; it waits for stream_set_handler. */
struct stream *stream_adopt(
	struct loop *loop, int fd, const struct net_address *peer, struct tls_context *tls);

#endif
