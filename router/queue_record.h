#ifndef PANDO_ROUTER_QUEUE_RECORD_H
#define PANDO_ROUTER_QUEUE_RECORD_H

/*
 * What a RECORD_QUEUE of the router's own log says. Integers are little-endian; a text is a u16
 * length and its bytes.
 *
 *   u8 version (2; 3 where recipients have marks), u8 kind, 16 delivery id, then
 *   kind 1, added (the RECORD_MESSAGE right behind it is the message):
 *     i64 accepted (us since 1970), u8 ret, u8 flags (1: 8BITMIME, 2: SMTPUTF8, 4: wants a copy at
 *     another site), text owner (the router whose message this is a copy of, "": our own), 16
 *     identity of the owner's queue (zeroes: our own), holders, text sender, text envid, u32 length
 *     of the message, u32 recipients, each:
 *       u8 kind, u8 state, u8 notify, u64 mailbox, text address, text original, text orcpt,
 *       text reply; with version 3 u8 has a mark, then 16 mark of the mailbox
 *   kind 2, changed:
 *     u8 finished (nothing is left to do), holders, u32 changes, each: u32 recipient, u8 state,
 *     text reply
 *   holders: u8 count, each: text name of a router that a copy has been left with, or may have been
 *
 * A record that ends early, has bytes left over or an unknown kind or state is corrupt.
 */

#include "core/buf.h"
#include "core/pool.h"
#include "router/queue.h"

enum queue_state {
	QUEUE_PENDING,
	QUEUE_FAILED,    /* a bounce is still to be made */
	QUEUE_DELIVERED,
	QUEUE_BOUNCED,   /* or nobody wants to hear of it */
	/* In records only: pending, and the sender has been told of the delay. */
	QUEUE_DELAYED,
};

enum {
	/* Random: two queues never have the same. */
	QUEUE_IDENTITY_LENGTH = 16,
	/* Routers that one message was left with, one after the other, because the one before did
	 * not answer or lost it: more than that many times is a cluster that has other troubles. */
	QUEUE_HOLDERS_MAX = 8,
};

struct queue_record_recipient {
	struct queue_recipient public;
	enum queue_state state; /* never QUEUE_DELAYED: */
	bool delay_told;        /* the sender knows that it is pending */
	bool unsaved; /* delivered, and the log does not say so yet: not part of the record */
};

struct queue_record_change {
	uint32_t recipient;
	enum queue_state state;
	const char *reply;
};

struct queue_record {
	bool is_change;
	uint8_t delivery_id[SMTP_DELIVERY_ID_LENGTH];
	uint32_t holder_count;
	const char *holders[QUEUE_HOLDERS_MAX];
	/* added */
	int64_t accepted_wall_us;
	enum smtp_ret ret;
	bool eight_bit, utf8, wants_copy;
	const char *owner, *sender, *envid;
	uint8_t owner_queue[QUEUE_IDENTITY_LENGTH];
	uint32_t body_length, recipient_count;
	struct queue_record_recipient *recipients;
	/* changed */
	bool finished;
	uint32_t change_count;
	struct queue_record_change *changes;
};

/* What a record says about a recipient becomes true of it. */
void queue_recipient_set_state(struct queue_record_recipient *recipient, enum queue_state state);
/* Whether a copy may be with this router. */
bool queue_record_has_holder(const struct queue_record *record, const char *name) must_check;
/* Adds it once; `name` lives as long as the record. False: there are too many. */
bool queue_record_add_holder(struct queue_record *record, const char *name) must_check;
void queue_record_remove_holder(struct queue_record *record, const char *name);
void queue_record_encode(const struct queue_record *record, struct buf *out);
/* A pool for the decoding of a record of so many bytes, and not much larger: a long queue holds as
 * many of them. */
struct pool *queue_record_pool(size_t encoded_length);
/* Everything is copied into the pool. */
bool queue_record_decode(
	struct str bytes, struct pool *pool, struct queue_record *record_out) must_check;

#endif
