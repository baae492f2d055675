#ifndef PANDO_ROUTER_ROUTER_H
#define PANDO_ROUTER_ROUTER_H

/*
 * What the parts of a router share: made by main.c before the listeners open, outlives every
 * session. One loop, one thread.
 */

#include "core/config.h"
#include "core/directory/directory.h"
#include "core/dns.h"
#include "core/list.h"
#include "core/loop.h"
#include "core/metric.h"
#include "core/tls.h"
#include "core/vitals.h"

struct stream;

struct router_metrics {
	struct metric *smtp_sessions, *imap_sessions; /* gauges */
	struct metric *accepted, *refused, *queued;   /* messages */
	struct metric *smtp_turned_away, *imap_turned_away; /* over the sessions' limit */
	struct metric *logins, *logins_refused, *salvage_logins;
	struct metric *accept_seconds;                /* end of data to the reply */
};

struct router {
	struct loop *loop;
	const struct config *config;
	struct directory *directory;
	struct dns *dns;
	struct tls_context *public_tls;  /* NULL: no certificate, no STARTTLS */
	struct tls_context *cluster_tls; /* as a client of the nodes */
	struct tls_context *relay_tls;   /* as a client of the smart host */
	struct login *login;
	struct clients *clients;
	struct list smtp_sessions;
	struct forward *forward;
	struct queue *queue;
	struct queue_peers *queue_peers;
	struct queue_peer_server *queue_peer_server; /* NULL: nothing is held for others */
	struct proxies *proxies;
	/* Takes the stream of a node or of `pando`, which come where peer routers do
	 * (imap_login.h); NULL: they are refused. */
	void (*on_salvage)(struct router *router, struct stream *stream);
	unsigned smtp_session_count, imap_session_count;
	unsigned finishing_count; /* messages that are whole and have no reply yet */
	bool is_stopping;         /* sessions end between two messages */
	uint64_t body_bytes;      /* held by messages on their way in or waiting for their reply */
	uint64_t session_counter; /* the last session id given */
	struct router_metrics metrics;
	struct vitals *vitals;
};

#endif
