#ifndef PANDO_ROUTER_QUEUE_H
#define PANDO_ROUTER_QUEUE_H

/*
 * Accepted messages that wait for their home, for the smart host, or for a bounce to be made:
 * durable in a log of the same kind as the volumes', retried with growing delays, at once when a
 * home moves or comes back, and given up with a bounce after queue_lifetime_s.
 */

#include "core/bytes.h"
#include "proto/mail/smtp.h"
#include "router/router.h"

struct queue;

enum queue_kind { QUEUE_HOME, QUEUE_RELAY };

/* Who is to get it and what is known about that. */
struct queue_recipient {
	enum queue_kind kind;
	uint64_t mailbox_id;     /* QUEUE_HOME */
	const char *address;     /* of the mailbox, or as given */
	const char *original;    /* as the sender wrote it */
	const char *orcpt;       /* "" when not given */
	unsigned notify;         /* smtp_notify bits */
	bool failed;             /* for good: only the bounce is left */
	const char *reply; /* "550 5.1.1 text" or our own "4.4.1 text" of the last attempt, "" */
};

struct queue_entry {
	uint8_t delivery_id[SMTP_DELIVERY_ID_LENGTH];
	int64_t accepted_wall_us;
	const char *sender, *envid;
	enum smtp_ret ret;
	bool eight_bit, utf8;
	bool wants_copy;         /* a router of another site should hold a copy before done */
	struct bytes *body;      /* the caller's reference */
	const struct queue_recipient *recipients;
	unsigned recipient_count;
};

int queue_open(struct router *router, struct queue **queue_out, struct error *error) must_check;
void queue_close(struct queue **queue);

/* Copies the entry. done(arg, status) is called when it is durable (0) or cannot be (negative
 * errno); never from inside the call. An entry that wants a copy and gets none within
 * remote_wait_ms_max is confirmed with one copy and listed as at risk until another
 * site holds it. */
void queue_add(struct queue *queue, const struct queue_entry *entry,
	void (*done)(void *arg, int status), void *arg);

/*
 * For the routers of other sites (queue_peer.c): copies of their messages. A copy is delivered from
 * here when its owner cannot be reached, under the same delivery id, and forgotten when its owner
 * has no such message any more.
 */

/* Makes a copy durable: `record` is the owner's RECORD_QUEUE. done as for queue_add; 0 at once
 * durable when it is held already. */
void queue_hold(struct queue *queue, struct str record, struct bytes *body, const char *owner,
	void (*done)(void *arg, int status), void *arg);
/* The owner is done with it. */
void queue_release(struct queue *queue, struct str id, const char *owner);
/* A message of our own that is not finished yet. */
bool queue_has(struct queue *queue, struct str id) must_check;

/* Homes may have moved or come back: what waits for a home is tried now. */
void queue_retry_homes(struct queue *queue);

/* For `pando queue`: JSON. Of many messages the list has the first of the log, mostly the oldest,
 * and the number of those it leaves out. */
void queue_list(struct queue *queue, struct buf *out);
bool queue_show(struct queue *queue, struct str id, struct buf *out) must_check;
/* Messages that stand on this machine only. */
void queue_at_risk(struct queue *queue, struct buf *out);
/* Tries everything now; returns how many messages. */
unsigned queue_flush(struct queue *queue);
/* Removes a message without a bounce. */
bool queue_drop(struct queue *queue, struct str id) must_check;
unsigned queue_count(const struct queue *queue);

#endif
