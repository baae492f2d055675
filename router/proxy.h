#ifndef PANDO_ROUTER_PROXY_H
#define PANDO_ROUTER_PROXY_H

/*
 * Sessions after their login: bytes pass both ways untouched between a client and the home of its
 * mailbox.
 *
 * An idle pair costs two streams and one struct: no timer, no buffer. The node ends sessions that
 * idle for too long. When the mailbox moves to another home the client is told to come again; when
 * it is disabled or removed, or gets another password or address, the session ends. Both are looked
 * for when the directory has changed, among the sessions of the mailboxes that it was about.
 */

#include "core/net.h"
#include "router/login.h"

struct proxies;

struct proxies *proxies_create(struct router *router);
void proxies_destroy(struct proxies **proxies);
/* Says BYE to every client and ends its session. */
void proxies_stop(struct proxies *proxies);

/* Takes both streams. What was read from the client and not consumed is passed on at once. */
void proxy_start(struct proxies *proxies, struct stream *client, struct stream *backend,
	const struct login_identity *identity, uint32_t node_id);
/* Ends the sessions of mailboxes that another node serves now, and of those whose owner may not go
 * on. With `homes_changed` a volume or a node is another, so any mailbox may have moved. */
void proxies_directory_changed(struct proxies *proxies, bool homes_changed);
unsigned proxies_count(const struct proxies *proxies);

#endif
