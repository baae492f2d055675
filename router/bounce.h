#ifndef PANDO_ROUTER_BOUNCE_H
#define PANDO_ROUTER_BOUNCE_H

/* The message that tells a sender what became of another one, as an entry for the queue. */

#include "core/pool.h"
#include "router/queue_record.h"

/* What there is to tell about a recipient now. */
enum bounce_news {
	BOUNCE_NOTHING,
	BOUNCE_FAILED,    /* told unless NOTIFY says otherwise */
	BOUNCE_DELAYED,   /* still being tried; told when NOTIFY asks for DELAY or says nothing */
	BOUNCE_DELIVERED, /* told when NOTIFY asks for SUCCESS */
	BOUNCE_RELAYED,   /* the same, by a host that does not know DSN */
};

/* Makes the notification; `news` has one entry per recipient of `record`. False when nobody is to
 * be told: the null sender (a bounce is never bounced), NOTIFY, or a sender who cannot be reached.
 * Everything of *entry_out lives in the pool, but for the body, which is the caller's reference. */
bool bounce_make(struct router *router, const struct queue_record *record,
	const enum bounce_news *news, struct str message, struct pool *pool,
	struct queue_entry *entry_out) must_check;

#endif
