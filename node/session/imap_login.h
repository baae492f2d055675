#ifndef PANDO_NODE_IMAP_LOGIN_H
#define PANDO_NODE_IMAP_LOGIN_H

/*
 * IMAP before authentication, on the node's front loop: greets a router, takes AUTHENTICATE
 * EXTERNAL with the mailbox address as authorization identity, and moves the stream to the worker
 * of the mailbox's volume, where imap_session.h goes on. The certificate is the authentication:
 * only peers of the role "router" are let in.
 */

#include "node/volume/volumes.h"

/* What all sessions share; the caller's, outlives them. */
struct imap_front {
	struct loop *loop;
	struct directory *directory;
	struct volumes *volumes;
	const struct config *config;
};

/* Takes a stream from the mutual-TLS listener (no handler set yet). The session ends by itself. */
void imap_login_start(struct imap_front *front, struct stream *stream);

#endif
