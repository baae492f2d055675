#ifndef PANDO_ROUTER_PROXY_H
#define PANDO_ROUTER_PROXY_H

/*
 * Sessions after their login: bytes pass both ways untouched between a client and the home of its
 * mailbox.
 *
 * An idle pair costs two streams and one struct: no timer, no buffer. The node ends sessions that
 * idle for too long. When the mailbox moves to another home the client is told to come again.
 */

#include "core/net.h"
#include "router/router.h"

struct proxies;

struct proxies *proxies_create(struct router *router);
void proxies_destroy(struct proxies **proxies);
/* Says BYE to every client and ends its session. */
void proxies_stop(struct proxies *proxies);

/* Takes both streams. What was read from the client and not consumed is passed on at once. */
void proxy_start(struct proxies *proxies, struct stream *client, struct stream *backend,
	uint64_t mailbox_id, uint32_t node_id);
/* Ends the sessions of mailboxes that another node serves now. */
void proxies_directory_changed(struct proxies *proxies);
unsigned proxies_count(const struct proxies *proxies);

#endif
