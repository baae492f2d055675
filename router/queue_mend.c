/*
 * A message whose bytes cannot be read here is fetched from the router that holds its copy and
 * written again. When the bytes are wrong and every router that might have it has said that it has
 * not, it is lost: its sender is told so by a bounce, and the log says it.
 */

#include "router/queue_item.h"

#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

struct mend {
	struct queue_item *item;
	void (*done)(struct queue_item *item);
	uint32_t next; /* holder to be asked */
	bool is_uncertain; /* one of them did not answer */
	struct queue_write write;
	unsigned message;
	struct task task;
};

bool queue_item_read(struct queue_item *item, struct record_read *read)
{
	if (!item->damaged)
		return queue_log_read(
			item->queue->log, item->body_lsn, item->record.body_length, read);
	read->bytes = NULL;
	read->status = queue_damaged_read(
		item->damaged, item->group_lsn, item->record.delivery_id, &read->bytes);
	if (read->status == 0 && read->bytes->length != item->record.body_length) {
		bytes_unref(&read->bytes);
		read->status = -EBADMSG;
	}
	return true;
}

static void mend_end(void *arg)
{
	struct mend *mend = arg;
	struct queue_item *item = mend->item;
	void (*done)(struct queue_item *item) = mend->done;

	queue_write_deinit(&mend->write);
	free(mend);
	done(item);
}

static void on_written(struct queue_write *write)
{
	struct mend *mend = write->arg;
	struct queue_item *item = mend->item;

	/* Where it could not be written it is delivered all the same, from memory. */
	if (write->append.status == 0)
		queue_item_moved(item, write->append.records[mend->message].lsn);
	log_info("queue_mended", "id=%s status=%d", item->id, write->append.status);
	mend_end(mend);
}

static void ask_next(struct mend *mend);

static void on_fetched(void *arg, enum queue_peer_reply reply, struct bytes *body)
{
	struct mend *mend = arg;
	struct queue_item *item = mend->item;

	if (reply != QUEUE_PEER_YES || !body || body->length != item->record.body_length) {
		mend->is_uncertain |= reply == QUEUE_PEER_NONE;
		bytes_unref(&body);
		ask_next(mend);
		return;
	}
	CHECK(item->attempt && !item->attempt->body);
	item->attempt->body = body;
	queue_write_record(&mend->write, &item->record);
	mend->message = queue_write_message(&mend->write, body);
	mend->write.done = on_written;
	mend->write.arg = mend;
	queue_log_write(item->queue->log, &mend->write);
}

static void ask_next(struct mend *mend)
{
	struct queue_item *item = mend->item;
	struct router *router = item->queue->router;

	while (mend->next < item->record.holder_count) {
		const char *name = item->record.holders[mend->next++];
		const struct directory_router *holder =
			directory_find_router_by_name(router->directory, str_from(name));
		if (holder && router->queue_peers) {
			queue_peer_fetch(router->queue_peers, holder->id, str_from(item->id),
				on_fetched, mend);
			return;
		}
		/* One that has left the cluster is not waited for. */
		mend->is_uncertain |= !directory_is_fresh(router->directory);
	}
	item->is_lost = !mend->is_uncertain;
	if (item->is_lost)
		log_error("queue_message_lost",
			"id=%s sender=%s effect=\"its sender is told\" reason=\"it cannot be read "
			"here and no router holds a copy\"",
			item->id, log_quote(str_from(item->record.sender)));
	mend->task.run = mend_end;
	mend->task.arg = mend;
	loop_defer(router->loop, &mend->task);
}

void queue_mend(struct queue_item *item, int status, void (*done)(struct queue_item *item))
{
	struct mend *mend = mem_alloc(sizeof(*mend));

	mend->item = item;
	mend->done = done;
	/* A disk that fails may be read again tomorrow; wrong bytes stay wrong. */
	mend->is_uncertain = status != -EBADMSG && status != -ENODATA;
	item->is_unreadable = true;
	/* A copy is its owner's to mend, or to bounce, as long as there may be one. */
	if (item_is_copy(item)) {
		mend->task.run = mend_end;
		mend->task.arg = mend;
		loop_defer(item->queue->router->loop, &mend->task);
		return;
	}
	ask_next(mend);
}
