#ifndef PANDO_NODE_IMAP_LOGIN_H
#define PANDO_NODE_IMAP_LOGIN_H

/*
 * IMAP before authentication, on the node's front loop: greets a router, takes AUTHENTICATE
 * XPANDO-MARK with the mailbox by mark and address as authorization identity (meant.h), or EXTERNAL
 * with the address alone, as routers of the version before say it, and moves the stream to the
 * worker of the mailbox's volume, where imap_session.h goes on. The certificate is the
 * authentication: only peers of the role "router" are let in.
 */

#include "node/session/meant.h"
#include "node/volume/volumes.h"

/* What all sessions share; the caller's, outlives them. */
struct imap_front {
	struct loop *loop;
	struct directory *directory;
	struct volumes *volumes;
	const struct config *config;
	struct meant *meant; /* one for all */
};

/* Takes a stream from the mutual-TLS listener (no handler set yet). The session ends by itself. */
void imap_login_start(struct imap_front *front, struct stream *stream);

#endif
