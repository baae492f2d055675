/*
 * Messages on their way into the log. A slow disk may take longer over one than its owner waits:
 * whoever asks for it meanwhile is told neither that it is here nor that it is not.
 */

#include "router/queue_item.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* Between two lines about a full disk. */
	FULL_TOLD_US = 60 * 1000 * 1000,
};

struct addition {
	struct list link;
	struct queue *queue;
	struct queue_write write;
	struct bytes *body;
	struct queue_item *item;
	unsigned message;
	struct list waiters;
	void (*done)(void *arg, int status);
	void *arg;
};

struct waiter {
	struct list link;
	void (*done)(void *arg, int status);
	void *arg;
};

static struct addition *find(struct queue *queue, struct str id)
{
	list_for_each (entry, &queue->additions) {
		struct addition *addition = list_entry(entry, struct addition, link);
		if (str_equal_ignore_case(str_from(addition->item->id), id))
			return addition;
	}
	return NULL;
}

struct queue_item *queue_addition_find(struct queue *queue, struct str id)
{
	struct addition *addition = find(queue, id);
	return addition ? addition->item : NULL;
}

bool queue_is_arriving(struct queue *queue, struct str id)
{
	return find(queue, id) != NULL;
}

void queue_await(struct queue *queue, struct str id, void (*done)(void *arg, int status), void *arg)
{
	struct addition *addition = find(queue, id);
	struct waiter *waiter = mem_alloc(sizeof(*waiter));

	CHECK(addition != NULL);
	waiter->done = done;
	waiter->arg = arg;
	list_append(&addition->waiters, &waiter->link);
}

static void addition_end(struct addition *addition, int status)
{
	addition->done(addition->arg, status);
	while (!list_is_empty(&addition->waiters)) {
		struct waiter *waiter = list_entry(addition->waiters.next, struct waiter, link);
		list_remove(&waiter->link);
		waiter->done(waiter->arg, status);
		free(waiter);
	}
	queue_write_deinit(&addition->write);
	bytes_unref(&addition->body);
	free(addition);
}

static void on_added(struct queue_write *write)
{
	struct addition *addition = write->arg;
	struct queue_item *item = addition->item;
	bool is_released = item->drop;
	int status = write->append.status;

	list_remove(&addition->link);
	if (status == 0) {
		item->body_lsn = write->append.records[addition->message].lsn;
		log_info("queue_added", "id=%s recipients=%u owner=%s", item->id,
			item->record.recipient_count,
			item_is_copy(item) ? item->record.owner : "-");
		queue_item_enter(item);
		queue_clean(addition->queue);
	} else {
		log_error("queue_add_failed", "status=%d", status);
		queue_item_free(item);
	}
	addition_end(addition, status == 0 && is_released ? -ECANCELED : status);
}

/* Not for every message: the log stands on the same disk as a rule. */
static void tell_refusal(struct queue *queue, int status)
{
	uint64_t now = clock_mono_us();

	if (queue->full_told_us != 0 && now - queue->full_told_us < FULL_TOLD_US)
		return;
	queue->full_told_us = now;
	log_error(status == -ENOSPC ? "queue_full" : "queue_refuses",
		"messages=%zu status=%d effect=\"what no home takes at once is refused for now\" "
		"hint=\"%s\"",
		map_count(queue->items), status,
		status == -ENOSPC ? "free space on the disk of the queue"
				  : "see that the disk of the queue works");
}

void queue_enter(struct queue *queue, const struct queue_record *record, struct bytes *body,
	void (*done)(void *arg, int status), void *arg)
{
	int refusal = queue_log_refusal(queue->log);
	if (refusal < 0) {
		tell_refusal(queue, refusal);
		queue_answer_later(queue, done, arg, refusal);
		return;
	}
	struct addition *addition = mem_alloc(sizeof(*addition));
	struct queue_record copy;

	queue_write_record(&addition->write, record);
	struct pool *pool = queue_record_pool(buf_length(&addition->write.encoded[0]));
	CHECK(queue_record_decode(buf_str(&addition->write.encoded[0]), pool, &copy));
	addition->queue = queue;
	addition->item = queue_item_create(queue, pool, &copy);
	/* queue_add leaves the copy in the same moment. */
	addition->item->is_copying = copy.wants_copy && copy.owner[0] == 0;
	addition->body = bytes_ref(body);
	addition->message = queue_write_message(&addition->write, addition->body);
	addition->done = done;
	addition->arg = arg;
	list_init(&addition->waiters);
	addition->write.done = on_added;
	addition->write.arg = addition;
	list_append(&queue->additions, &addition->link);
	queue_log_write(queue->log, &addition->write);
}
