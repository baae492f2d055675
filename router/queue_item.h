#ifndef PANDO_ROUTER_QUEUE_ITEM_H
#define PANDO_ROUTER_QUEUE_ITEM_H

/*
 * The queue's own structures, shared by queue.c (what is in it and when it is tried),
 * queue_attempt.c (one attempt), queue_copy.c (copies at other sites), queue_clean.c (space) and
 * queue_report.c (what is told).
 */

#include "core/map.h"
#include "core/timer.h"
#include "router/forward.h"
#include "router/queue_log.h"
#include "router/queue_peer.h"
#include "router/queue_record.h"
#include "router/relay.h"

/* One delivery attempt; everything in it goes with its pool. */
struct attempt {
	struct pool *pool;
	struct record_read read;
	struct bytes *body;
	unsigned open; /* parts that have not ended */
	struct relay_job *relay;
	/* By recipient of the item: its result, NULL when it was not tried. */
	const struct forward_recipient **results;
	struct queue_write write;
	struct queue_record change, bounce_record;
	struct queue_entry bounce;
	struct bytes *bounce_body;
	unsigned bounce_message;
	bool has_bounce;
};

struct queue_item {
	struct list link; /* in queue->due, sleeping or busy */
	struct list age;  /* in queue->ages */
	struct queue *queue;
	struct pool *pool;
	struct queue_record record;
	uint64_t body_lsn, next_us;
	unsigned attempts;
	bool is_busy, drop;
	bool is_moving; /* to the log's end: no attempt begins */
	/* Our own message: the router that holds a copy, 0 when none does. */
	uint32_t copy_router_id;
	bool is_copying;
	/* A copy of another router's message: since when its owner cannot be reached, 0 when it
	 * can. */
	uint64_t owner_gone_us;
	char id[33];
	struct attempt *attempt; /* NULL: none is under way */
};

struct queue {
	struct router *router;
	struct queue_log *log;
	struct map *items; /* by delivery id */
	struct list due, sleeping, busy;
	struct list additions; /* on their way into the log */
	struct list ages;      /* all items by body_lsn, the lowest first */
	uint64_t live_bytes;   /* of the log: of all items */
	uint64_t full_told_us;   /* that the disk is full, last; 0: never */
	uint64_t clean_after_us; /* a move has failed: not before */
	struct queue_move *move; /* NULL: none */
	unsigned busy_count;
	uint64_t busy_bytes;   /* of the messages in delivery */
	unsigned malformed; /* records that could not be read at the start */
	struct timer *tick;
	struct task run;
	struct metric *length, *bounced;
};

static inline bool item_is_copy(const struct queue_item *item)
{
	return item->record.owner[0] != 0;
}

static inline bool item_is_finished(const struct queue_item *item)
{
	for (unsigned i = 0; i < item->record.recipient_count; i++)
		if (item->record.recipients[i].state < QUEUE_DELIVERED ||
			item->record.recipients[i].unsaved)
			return false;
	return true;
}

/* ---- queue.c, for the others ---- */

/* `record` is in `pool`, which goes to the item. */
struct queue_item *queue_item_create(
	struct queue *queue, struct pool *pool, const struct queue_record *record);
/* Into the queue, to be tried at once; a copy of another router's message waits first. Frees an
 * item that the queue has already. */
void queue_item_enter(struct queue_item *item);
/* Tried again after a delay that grows with the attempts, or after this one. */
void queue_item_sleep(struct queue_item *item);
void queue_item_sleep_for(struct queue_item *item, uint64_t delay_ms);
/* What a RECORD_QUEUE of kind "changed" says becomes true of the item. */
void queue_item_apply(struct queue_item *item, const struct queue_record *change);
/* Nothing is left to do: it goes, and so does its copy. */
void queue_item_finish(struct queue_item *item);
/* The record of a new message; what it points to stays the entry's. */
void queue_record_of_entry(const struct queue_entry *entry, struct pool *pool,
	struct queue_record *record_out);

/* Enters a record that is not in the log yet; the record is copied. done comes when it is durable
 * or not. */
void queue_enter(struct queue *queue, const struct queue_record *record, struct bytes *body,
	void (*done)(void *arg, int status), void *arg);

/* Calls done from the loop. */
void queue_answer_later(
	struct queue *queue, void (*done)(void *arg, int status), void *arg, int status);

/* ---- queue_attempt.c ---- */

/* Tries the item now; it comes back asleep, or is finished. */
void queue_attempt_begin(struct queue_item *item);
/* Drops what an attempt holds, if there is one: the queue is closing. */
void queue_attempt_abandon(struct queue_item *item);
/* Goes on with an attempt that queue_copy_ask has held up: reads the message, or forgets it. */
void queue_attempt_go_on(struct queue_item *item);
/* Ends it; the item is looked at again after the delay. */
void queue_attempt_put_off(struct queue_item *item, uint64_t delay_ms);

/* ---- queue_copy.c ---- */

/* Leaves a copy with a router of another site. done says with which (0: with none) and comes within
 * remote_wait_ms_max, never from inside the call; it passes the answer on to queue_copy_settle.
 * NULL: that happens by itself. */
void queue_copy_leave(struct queue *queue, const struct queue_record *record, struct bytes *body,
	void (*done)(void *arg, uint32_t router_id), void *arg);
/* The message with this id has a copy there, or none. */
void queue_copy_settle(struct queue *queue, struct str id, uint32_t router_id);
/* The item is finished: so is its copy. */
void queue_copy_release(struct queue_item *item);
/* Asks the owner of a copy whether it is still to be delivered. */
void queue_copy_ask(struct queue_item *item);
/* Whether a copy's owner has been gone for long enough to send what cannot be recognized as sent
 * twice. */
bool queue_copy_may_relay(const struct queue_item *item);

/* ---- queue_clean.c ---- */

/* Something has gone from the log or come to it: gives back what nothing alive stands in, and moves
 * up what little is left in front. */
void queue_clean(struct queue *queue);
/* Drops a move that is under way: the queue is closing. */
void queue_clean_abandon(struct queue *queue);

/* By the 32 digits of its delivery id, or NULL. */
struct queue_item *queue_find(struct queue *queue, struct str id);

#endif
