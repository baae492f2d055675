#ifndef PANDO_ROUTER_QUEUE_DAMAGED_H
#define PANDO_ROUTER_QUEUE_DAMAGED_H

/*
 * Queue logs that were set aside because a part of them cannot be read. Every group that can be is
 * found, wherever it stands; the messages of the others are with the routers that hold their
 * copies, which deliver what their owner has never heard of. Nothing is written here: the directory
 * damaged-<n> within the queue's (which may be a disk of its own) becomes kept-<n> when all that
 * was found in it has been written to the new log or is finished, and stays for the operator.
 */

#include "core/bytes.h"
#include "core/disk.h"
#include "core/list.h"

struct queue_damaged;

/* A RECORD_QUEUE, and the message right behind it. */
struct queue_found {
	struct str record, body;
	uint64_t body_lsn; /* 0: no message follows */
	uint64_t lsn;      /* of the record */
	uint64_t group_lsn;
	struct queue_damaged *damaged; /* NULL: found in the log itself */
};

typedef void queue_found_fn(void *arg, const struct queue_found *found);

/* Calls fn for the queue records of verified groups that begin at `lsn`. */
void queue_groups_walk(struct str bytes, uint64_t lsn, struct queue_damaged *damaged,
	queue_found_fn *fn, void *arg);

/* Moves the log's files into such a directory. Interrupted, it leaves two logs with a part each. */
int queue_damaged_set_aside(const char *queue) must_check;
/* Appends those that are there to `all` and calls fn for what can be read of them. -EMFILE and
 * such: not all has been looked at, and what was told does not count. */
int queue_damaged_find(struct disk *disk, const char *queue, struct list *all, queue_found_fn *fn,
	void *arg) must_check;
/* The message of this record's delivery id in the group at `group_lsn`; -EBADMSG: it is not there.
 * Synchronous: rare, and a message at a time. */
int queue_damaged_read(struct queue_damaged *damaged, uint64_t group_lsn,
	const uint8_t *delivery_id, struct bytes **body_out) must_check;
/* How many messages still stand there only; at 0 the directory gets its last name. */
void queue_damaged_hold(struct queue_damaged *damaged);
void queue_damaged_release(struct queue_damaged *damaged);
/* After all have been found: those with nothing to give get their last name at once. */
void queue_damaged_settle(struct list *all);
void queue_damaged_close(struct list *all);

#endif
