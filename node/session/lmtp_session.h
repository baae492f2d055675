#ifndef PANDO_NODE_LMTP_SESSION_H
#define PANDO_NODE_LMTP_SESSION_H

/*
 * LMTP (RFC 2033) from the routers: MAIL, RCPT, DATA or BDAT, and one reply per recipient when the
 * message is stored as each mailbox's durability policy asks. A router sends many transactions down
 * one connection without waiting: each is collected, handed to volumes_deliver and answered in
 * order.
 *
 * Lives on the node's front loop.
 */

#include "node/mailbox/deliver.h"
#include "node/session/meant.h"

/* What all sessions share; the caller's, outlives them. */
struct lmtp_front {
	struct loop *loop;
	struct directory *directory;
	struct volumes *volumes;
	const struct config *config;
	struct meant *meant; /* one for all */
};

/* Takes a stream from the mutual-TLS listener (no handler set yet). Only peers whose certificate
 * has the role "router" are served. The session ends by itself. */
void lmtp_session_start(struct lmtp_front *front, struct stream *stream);

#endif
