#ifndef PANDO_ROUTER_QUEUE_PEER_H
#define PANDO_ROUTER_QUEUE_PEER_H

/*
 * Routers hold copies of each other's queued messages, so that what a router has confirmed survives
 * its site.
 *
 * Over mutual TLS (role router on both sides), lines end in CRLF, replies come in the order of the
 * commands:
 *
 *   HOLD <32 hex> <record length> <message length>, then both   250 durable here | 451
 *   HAVE <32 hex>         250 not finished yet | 550 finished, or never heard of
 *   RELEASE <32 hex>      250
 *
 * HOLD may be pipelined. A router may only release what it has left itself.
 */

#include "core/bytes.h"
#include "core/error.h"
#include "router/router.h"

struct queue_peers;

enum queue_answer {
	QUEUE_ANSWER_YES,
	QUEUE_ANSWER_NO,
	QUEUE_ANSWER_NONE, /* not reached, or not in time */
};

/* With router_queue_listen empty nothing is held for others. */
int queue_peers_open(struct router *router, struct tls_context *server_tls,
	struct queue_peers **peers_out, struct error *error) must_check;
void queue_peers_close(struct queue_peers **peers);

/* A router of another site that copies can be left with: one that answers, if there is any; 0:
 * none. */
uint32_t queue_peers_choose(struct queue_peers *peers);

/* done comes once, within remote_wait_ms_max, never from inside the call; NULL: nobody waits for
 * it. */
void queue_peer_hold(struct queue_peers *peers, uint32_t router_id, struct str id,
	struct str record, struct bytes *body, void (*done)(void *arg, enum queue_answer answer),
	void *arg);
void queue_peer_have(struct queue_peers *peers, uint32_t router_id, struct str id,
	void (*done)(void *arg, enum queue_answer answer), void *arg);
void queue_peer_release(struct queue_peers *peers, uint32_t router_id, struct str id);

#endif
