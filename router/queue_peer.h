#ifndef PANDO_ROUTER_QUEUE_PEER_H
#define PANDO_ROUTER_QUEUE_PEER_H

/*
 * Routers hold copies of each other's queued messages, so that what a router has confirmed survives
 * its site.
 *
 * Over mutual TLS (role router on both sides), lines end in CRLF, replies come in the order of the
 * commands:
 *
 *   QUEUE <identity> <instance>   250 | 553 another process or queue speaks under this name
 *   HOLD <id> <record length> <message length>, then both
 *                                 250 durable here | 451
 *   HELD <id>                     250 it can be had from here | 550 it is not here; while a HOLD of
 *                                 it is being written, not before that has ended
 *   FETCH <id>                    250 <message length>, then the message | 550 not here |
 *                                 451 not now
 *   RELEASE <id>                  250 durably not here any more | 451 it goes, ask again: also one
 *                                 that a HOLD is still writing
 *   HAVE <identity> <id>          250 held: not finished, and the owner's to deliver
 *                                 251 finished: durably delivered or bounced
 *                                 550 unknown: never heard of by this queue | 451 not known yet
 *
 * Ids, identities and instances are 32 hexadecimal digits. QUEUE is the first command of a
 * connection and is repeated while it is in use: it names the queue whose messages are left, and
 * the life of its process. A holder takes one queue and one process at a time under a router's
 * name, so that a machine that was copied, or two that were given one certificate, are noticed. A
 * copy belongs to (router, queue, id): only the same may release it, and only the queue that left
 * it can say that it is finished. A router whose queue was lost has another queue.
 *
 * Everything may be pipelined. A router has one connection to a holder: once it has said QUEUE on a
 * new one, nothing is read any more of those before, so that no HOLD comes in behind the RELEASE
 * that was to end it.
 */

#include "core/bytes.h"
#include "core/directory/directory.h"
#include "core/error.h"
#include "router/router.h"

struct queue_peers;

enum queue_peer_reply {
	QUEUE_PEER_YES,
	QUEUE_PEER_FINISHED, /* to HAVE only */
	QUEUE_PEER_NO,
	QUEUE_PEER_NONE, /* not reached, not in time, or not now */
};

typedef void queue_peer_done(void *arg, enum queue_peer_reply reply);

/* With router_queue_listen empty nothing is held for others. */
int queue_peers_open(struct router *router, struct tls_context *server_tls,
	struct queue_peers **peers_out, struct error *error) must_check;
void queue_peers_close(struct queue_peers **peers);

/* A router of another site that copies can be left with: one that answers, if there is any; 0:
 * none. */
uint32_t queue_peers_choose(struct queue_peers *peers);

const struct directory_router *queue_peers_find(
	const struct queue_peers *peers, uint32_t router_id);
/* Connects to all of them that are not, and asks the others whether they are still there.
 * queue_holder_connected (queue.h) is called when one has answered after it was away. */
void queue_peers_watch(struct queue_peers *peers);

/* It is connected, and has taken us as who we are. */
bool queue_peers_is_open(const struct queue_peers *peers, uint32_t router_id) must_check;

/* done comes once, within remote_wait_ms_max, never from inside the call; NULL: nobody waits for
 * it. */
void queue_peer_hold(struct queue_peers *peers, uint32_t router_id, struct str id,
	struct str record, struct bytes *body, queue_peer_done *done, void *arg);
void queue_peer_held(struct queue_peers *peers, uint32_t router_id, struct str id,
	queue_peer_done *done, void *arg);
void queue_peer_have(struct queue_peers *peers, uint32_t router_id, const uint8_t *identity,
	struct str id, queue_peer_done *done, void *arg);
void queue_peer_release(struct queue_peers *peers, uint32_t router_id, struct str id,
	queue_peer_done *done, void *arg);
/* `body` is the callee's; NULL without YES. */
void queue_peer_fetch(struct queue_peers *peers, uint32_t router_id, struct str id,
	void (*done)(void *arg, enum queue_peer_reply reply, struct bytes *body), void *arg);

#endif
