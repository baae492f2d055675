#ifndef PANDO_ROUTER_BOUNCE_H
#define PANDO_ROUTER_BOUNCE_H

/* The message that tells a sender of failures, as an entry for the queue. */

#include "core/pool.h"
#include "router/queue_record.h"

/* Makes the bounce for the recipients of `record` in state QUEUE_FAILED. False when nobody is to be told:
 * the null sender (a bounce is never bounced), NOTIFY without FAILURE, or a sender who cannot be reached.
 * Everything of *entry_out lives in the pool, but for the body, which is the caller's reference. */
bool bounce_make(struct router *router, const struct queue_record *record, struct str message,
	struct pool *pool, struct queue_entry *entry_out) must_check;

#endif
