#ifndef PANDO_ROUTER_QUEUE_ITEM_H
#define PANDO_ROUTER_QUEUE_ITEM_H

/*
 * The queue's own structures, shared by queue.c (what is in it and when it is tried),
 * queue_addition.c (how it comes in), queue_attempt.c (one attempt), queue_copy.c (copies at other
 * sites), queue_clean.c (space) and queue_report.c (what is told).
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
	struct list age;  /* in queue->ages, or in queue->strays while it is damaged */
	struct queue *queue;
	struct pool *pool;
	struct queue_record record;
	uint64_t body_lsn, next_us;
	/* It stands in a log that was set aside, in this group; NULL: in the log, at body_lsn. */
	struct queue_damaged *damaged;
	uint64_t group_lsn;
	unsigned attempts;
	bool is_busy, drop;
	bool is_moving; /* to the log's end: no attempt begins */
	/* Our own message: the router that is known to hold a copy, 0 when none is. Those that may
	 * hold one are the record's holders. */
	uint32_t copy_router_id;
	bool is_copying;
	/* A copy of another router's message that its owner has never heard of: ours from now on. A
	 * restart asks again. */
	bool is_adopted;
	bool is_unreadable; /* its bytes here are not what they were */
	bool is_lost;       /* and no other router has them: only the bounce is left */
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
	struct list ages;      /* all items of the log by body_lsn, the lowest first */
	struct list strays;    /* items that stand in a log that was set aside */
	struct map *finished;  /* struct queue_finished by delivery id */
	struct list finished_ages; /* the same by lsn */
	struct map *audiences;     /* struct audience by router name: whom to tell of them */
	unsigned reads;        /* for other routers: nothing is given back meanwhile */
	struct timer *watch;
	uint64_t live_bytes;   /* of the log: of all items */
	uint64_t full_told_us;   /* that the disk is full, last; 0: never */
	uint64_t clean_after_us; /* a move has failed: not before */
	struct queue_move *move; /* NULL: none */
	unsigned busy_count;
	uint64_t busy_bytes;   /* of the messages in delivery */
	unsigned malformed; /* records that could not be read at the start */
	struct timer *tick;
	struct task run;
	struct metric *length, *takes, *bounced;
};

static inline bool item_is_copy(const struct queue_item *item)
{
	return item->record.owner[0] != 0 && !item->is_adopted;
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
/* Of one that is not in the queue. */
void queue_item_free(struct queue_item *item);
/* Into the queue, to be tried at once; a copy of another router's message waits first, unless it is
 * to be dropped. Frees an item that the queue has already. */
void queue_item_enter(struct queue_item *item);
/* Tried again after a delay that grows with the attempts, or after this one. */
void queue_item_sleep(struct queue_item *item);
void queue_item_sleep_for(struct queue_item *item, uint64_t delay_ms);
/* What a RECORD_QUEUE of kind "changed" says becomes true of the item. */
void queue_item_apply(struct queue_item *item, const struct queue_record *change);
/* Nothing is left to do, as the record at `lsn` says: it goes, and so does its copy. */
void queue_item_finish(struct queue_item *item, uint64_t lsn);
/* Looked at as soon as possible. */
void queue_item_wake(struct queue_item *item);
/* It stands in the log itself now. */
void queue_item_moved(struct queue_item *item, uint64_t body_lsn);
/* The record of a new message; what it points to stays the entry's. */
void queue_record_of_entry(const struct queue_entry *entry, struct pool *pool,
	struct queue_record *record_out);

/* Calls done from the loop. */
void queue_answer_later(
	struct queue *queue, void (*done)(void *arg, int status), void *arg, int status);

/* ---- queue_addition.c ---- */

/* Enters a record that is not in the log yet; the record is copied. done comes when it is durable
 * or not; -ECANCELED: it is, and was released meanwhile, so it goes again. */
void queue_enter(struct queue *queue, const struct queue_record *record, struct bytes *body,
	void (*done)(void *arg, int status), void *arg);
/* The message with this id that is on its way into the log, or NULL. With `drop` it goes as soon as
 * it is there: behind its record stands the one that ends it, so no restart shows it again. */
struct queue_item *queue_addition_find(struct queue *queue, struct str id);

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
void queue_copy_leave(struct queue *queue, const struct queue_record *record, uint32_t router_id,
	struct bytes *body, void (*done)(void *arg, uint32_t router_id), void *arg);
/* Leaves one of a message that has none any more, if a router takes it. That the router may hold it
 * is durable before it is asked. */
void queue_copy_again(struct queue_item *item, struct bytes *body);
/* Whom to leave a copy with: adds its name to the record; 0: nobody. */
uint32_t queue_copy_choose(struct queue *queue, struct queue_record *record, struct pool *pool);
/* The message with this id has a copy there, or none. */
void queue_copy_settle(struct queue *queue, struct str id, uint32_t router_id);
/* Keeps the connections to those who may hold copies: a holder that has lost them is noticed when
 * it is connected again. */
void queue_copy_watch(struct queue *queue);
/* Asks the owner of a copy whether it is still to be delivered. */
void queue_copy_ask(struct queue_item *item);
/* Whether a copy's owner has been gone for long enough to send what cannot be recognized as sent
 * twice. */
bool queue_copy_may_relay(const struct queue_item *item);

/* ---- queue_mend.c ---- */

/* Reads the message, wherever it stands; as queue_log_read. */
bool queue_item_read(struct queue_item *item, struct record_read *read);
/* The attempt could not read it, which `status` says why: done comes when its bytes are back from a
 * holder (attempt->body is set), when nobody has them (item->is_lost), or when somebody who may
 * have them does not answer (neither). Never from inside the call. */
void queue_mend(struct queue_item *item, int status, void (*done)(struct queue_item *item));

/* ---- queue_finished.c ---- */

/* The routers that may hold a copy of a finished message: they are told so until each has said that
 * it holds none. Until then "finished" is known here, also after a restart. */
void queue_finished_add(struct queue *queue, const struct queue_record *record, uint64_t lsn);
bool queue_finished_has(const struct queue *queue, const uint8_t *delivery_id);
/* Tells them now, or this one: of so many messages at a time, of the next ones with the next call.
 * What is under way is not said again. */
void queue_finished_tell(struct queue *queue, uint32_t router_id);
/* Tells them of those that they have not been told of since. */
void queue_finished_tell_new(struct queue *queue);
/* The log below is not needed for what is known; UINT64_MAX: none of it. */
uint64_t queue_finished_oldest(const struct queue *queue);
/* Writes the oldest again at the log's end; calls queue_clean when that is done. False: one is
 * being written. */
bool queue_finished_move(struct queue *queue);
void queue_finished_forget(struct queue *queue);

/* ---- queue_clean.c ---- */

/* Something has gone from the log or come to it: gives back what nothing alive stands in, and moves
 * up what little is left in front. */
void queue_clean(struct queue *queue);
/* Drops a move that is under way: the queue is closing. */
void queue_clean_abandon(struct queue *queue);

/* By the 32 digits of its delivery id, or NULL. */
struct queue_item *queue_find(struct queue *queue, struct str id);

#endif
