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
	/* Of SMTP_MARK_LENGTH: of the mailbox for which it was accepted, whatever its address is by
	 * now. NULL: QUEUE_RELAY, or it was not known for sure: it goes by the address. */
	const uint8_t *mark;
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
 * here when its owner cannot be reached, under the same delivery id. It is forgotten when its owner
 * says that it is finished, and delivered or bounced as one of ours when its owner has never heard
 * of it: then the owner has lost it.
 */

/* Makes a copy durable: `record` is the owner's RECORD_QUEUE, `identity` names the owner's queue.
 * done as for queue_add; 0 at once durable when it is held already. One that is arriving already is
 * waited for, and not written twice. */
void queue_hold(struct queue *queue, struct str record, struct bytes *body, const char *owner,
	const uint8_t *identity, void (*done)(void *arg, int status), void *arg);
/* The owner has finished it. True when it is durably gone from here; false: it goes, also when it
 * is still on its way into the log. */
bool queue_release(struct queue *queue, struct str id, const char *owner, const uint8_t *identity);
/* Whether the message can be had from here, be it ours or a copy. Of one that is arriving nobody
 * knows yet. */
bool queue_holds(struct queue *queue, struct str id) must_check;
/* It is on its way into the log. */
bool queue_is_arriving(struct queue *queue, struct str id) must_check;
/* done comes when one that is arriving can be had from here (0), or is not here (negative errno);
 * never from inside the call. */
void queue_await(
	struct queue *queue, struct str id, void (*done)(void *arg, int status), void *arg);
/* Reads it. done as for queue_add; body is the callee's with status 0. -EBADMSG, -ENODATA: it
 * cannot be had here; another: not now. */
void queue_fetch(struct queue *queue, struct str id,
	void (*done)(void *arg, int status, struct bytes *body), void *arg);

/* What an owner says of a message that another router holds a copy of. */
enum queue_answer {
	QUEUE_HELD,      /* not finished yet, and ours to deliver */
	QUEUE_FINISHED,  /* durably delivered or bounced */
	QUEUE_UNKNOWN,   /* never heard of, in this queue */
	QUEUE_NO_ANSWER, /* not reached, not in time, or not known yet */
};
enum queue_answer queue_answer_of(
	struct queue *queue, const uint8_t *identity, struct str id) must_check;
/* It is known what is in the queue: its log has been read. */
bool queue_is_known(const struct queue *queue) must_check;
/* 16 random bytes, drawn with the queue's directory. */
const uint8_t *queue_identity(const struct queue *queue);
/* A router that may hold copies is connected again. */
void queue_holder_connected(struct queue *queue, uint32_t router_id);

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
/* Tries one message now; false: it is not in this queue. */
bool queue_flush_one(struct queue *queue, struct str id) must_check;
/* Removes a message without a bounce. */
bool queue_drop(struct queue *queue, struct str id) must_check;
unsigned queue_count(const struct queue *queue);
/* 0, or why it takes no new message now (-errno). */
int queue_refusal(const struct queue *queue);

#endif
