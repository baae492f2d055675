#ifndef PANDO_ROUTER_IMAP_LOGIN_H
#define PANDO_ROUTER_IMAP_LOGIN_H

/*
 * IMAP up to the login (RFC 3501 not authenticated state, RFC 4959 SASL-IR, RFC 2971 ID): who the
 * client is is checked here, then the session is opened at the mailbox's home as that user
 * (AUTHENTICATE EXTERNAL under mutual TLS) and handed to the proxy.
 */

#include "core/net.h"
#include "router/router.h"

/* Takes a stream fresh from its listener; `implicit_tls` says that a handshake comes first. Ends by
 * itself. */
void imap_login_start(struct router *router, bool implicit_tls, struct stream *stream);
/* The same for a member of the cluster that has shown its certificate: a node, which brings home
 * what was cut off a log there (node/salvage/), or `pando`, which brings mail back out of a backup:
 * AUTHENTICATE XPANDO-SALVAGE with "<mark in hex> <address>", which the home checks. The home is
 * told of the latter who it is, behind a NUL. Counted apart from people's logins. */
void imap_login_start_salvage(struct router *router, struct stream *stream);

#endif
