/*
 * Space of the queue's log. It comes back from the front, by whole segments, as soon as nothing
 * alive stands in them. A message that stays for days would keep everything behind it, so when more
 * than half of a long log is dead, the oldest message is written again at the log's end, with what
 * is known about it by then: one byte is moved for at least one that comes back. The old place is
 * given up only when the new one is durable; a reader that finds both takes the later one.
 */

#include "router/queue_item.h"

#include "core/clock.h"
#include "core/log.h"

#include <stdlib.h>

enum {
	/* A shorter log is left alone. When all that is alive has been moved, at most one segment
	 * in front of it is dead: at three segments that is less than half, so moving ends. */
	SEGMENTS_MIN = 3,
	/* After a move that failed, for want of space as a rule. */
	RETRY_US = 60 * 1000 * 1000,
};

struct queue_move {
	struct queue_item *item;
	struct record_read read;
	struct queue_write write;
	struct bytes *body;
	unsigned message;
};

static void move_free(struct queue_move *move)
{
	move->item->is_moving = false;
	move->item->queue->move = NULL;
	queue_write_deinit(&move->write);
	bytes_unref(&move->body);
	free(move);
}

static void move_failed(struct queue_move *move, int status)
{
	struct queue *queue = move->item->queue;

	log_warn("queue_move_failed", "id=%s status=%d", move->item->id, status);
	queue->clean_after_us = clock_mono_us() + RETRY_US;
	move_free(move);
}

static void on_moved(struct queue_write *write)
{
	struct queue_move *move = write->arg;
	struct queue_item *item = move->item;
	struct queue *queue = item->queue;

	if (write->append.status != 0) {
		move_failed(move, write->append.status);
		return;
	}
	queue_item_moved(item, write->append.records[move->message].lsn);
	move_free(move);
	queue_clean(queue);
}

static void on_body(struct record_read *read)
{
	struct queue_move *move = read->arg;
	struct queue_item *item = move->item;

	if (read->status != 0) {
		struct queue *queue = item->queue;
		move_failed(move, read->status);
		/* Its next attempt gets it back, or says that it is lost (queue_mend.c). */
		if (item->damaged) {
			list_remove(&item->age);
			list_append(&queue->strays, &item->age);
		}
		queue_item_wake(item);
		return;
	}
	move->body = read->bytes;
	queue_write_record(&move->write, &item->record);
	move->message = queue_write_message(&move->write, move->body);
	move->write.done = on_moved;
	move->write.arg = move;
	queue_log_write(item->queue->log, &move->write);
}

/* No attempt is under way, and none begins until it has ended: what the record says stays true. */
static void move_begin(struct queue_item *item)
{
	struct queue_move *move = mem_alloc(sizeof(*move));

	move->item = item;
	item->is_moving = true;
	item->queue->move = move;
	move->read.done = on_body;
	move->read.arg = move;
	if (queue_item_read(item, &move->read))
		on_body(&move->read);
}

static struct queue_item *first_of(struct list *ages)
{
	return list_is_empty(ages) ? NULL : list_entry(ages->next, struct queue_item, age);
}

/* What stands in a log that was set aside is written to this one, as far as there is room. */
static bool move_stray(struct queue *queue)
{
	struct queue_item *stray = first_of(&queue->strays);

	if (!stray || queue->move || stray->is_busy || queue_log_refusal(queue->log) < 0 ||
		clock_mono_us() < queue->clean_after_us)
		return false;
	move_begin(stray);
	return true;
}

void queue_clean(struct queue *queue)
{
	struct queue_item *oldest = first_of(&queue->ages);
	uint64_t item_lsn = oldest ? oldest->body_lsn : UINT64_MAX;
	uint64_t known_lsn = queue_finished_oldest(queue);

	/* A record and its message stand in one group, so in one segment. */
	if (queue->reads == 0)
		queue_log_free(queue->log, item_lsn < known_lsn ? item_lsn : known_lsn);
	if (move_stray(queue))
		return;
	uint64_t length = queue_log_length(queue->log);
	if (length < SEGMENTS_MIN * segment_length || queue->live_bytes > length / 2 ||
		clock_mono_us() < queue->clean_after_us)
		return;
	if (known_lsn < item_lsn)
		(void)queue_finished_move(queue);
	else if (oldest && !oldest->is_busy && !queue->move)
		move_begin(oldest);
}

void queue_clean_abandon(struct queue *queue)
{
	if (queue->move)
		move_free(queue->move);
}
