#ifndef PANDO_PROTO_MAIL_DSN_H
#define PANDO_PROTO_MAIL_DSN_H

/* Delivery status notifications (RFC 3461, 3464, 6522): the message that tells a sender what became
 * of another one. */

#include "core/buf.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_RELAYED, DSN_DELIVERED };

struct dsn_recipient {
	enum dsn_action action;
	const char *address;    /* as the sender wrote it */
	const char *orcpt;      /* "rfc822;xtext", "" when not given */
	const char *status;     /* "5.1.1" */
	/* A server's reply, "550 5.1.1 No such user", our own sentence, or "". */
	const char *diagnostic;
};

struct dsn {
	const char *hostname;
	const char *sender;     /* who is told */
	const char *envid;      /* xtext, "" */
	const char *id;         /* unique: becomes the Message-ID and the boundary */
	int64_t arrival_wall_us, now_wall_us;
	int64_t retry_until_wall_us; /* for what is delayed */
	const struct dsn_recipient *recipients;
	unsigned recipient_count;
	struct str original;    /* the header, or the whole message when `full` */
	bool full, utf8;
};

/* Appends the whole message. */
void dsn_compose(const struct dsn *dsn, struct buf *out);

#endif
