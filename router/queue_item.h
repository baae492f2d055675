#ifndef PANDO_ROUTER_QUEUE_ITEM_H
#define PANDO_ROUTER_QUEUE_ITEM_H

/* The queue's own structures, shared by queue.c (what happens) and queue_report.c (what is told). */

#include "core/map.h"
#include "core/timer.h"
#include "router/forward.h"
#include "router/queue_log.h"
#include "router/queue_record.h"
#include "router/relay.h"

/* One delivery attempt; everything in it goes with its pool. */
struct attempt {
	struct pool *pool;
	struct bytes *body;
	struct forward_job **jobs;
	unsigned job_count, open;
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
	struct queue *queue;
	struct pool *pool;
	struct queue_record record;
	uint64_t body_lsn, next_us;
	unsigned attempts;
	bool is_busy, drop;
	char id[33];
	struct record_read read;
	struct attempt attempt;
};

struct queue {
	struct router *router;
	struct queue_log *log;
	struct map *items; /* by delivery id */
	struct list due, sleeping, busy;
	unsigned busy_count, adding;
	struct timer *tick;
	struct task run;
	struct metric *length, *bounced;
};

/* By the 32 digits of its delivery id, or NULL. */
struct queue_item *queue_find(struct queue *queue, struct str id);

#endif
