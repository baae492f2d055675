/*
 * What is known of messages that are finished: who may still hold a copy of each. A holder that
 * asks is told "finished", which is the only answer that lets it forget its copy, so this is kept
 * until every holder has said that it has none. It stands in the log as the change record that
 * finished the message; while that keeps the log's space it is written again at the end.
 */

#include "router/queue_item.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"

#include <stdlib.h>

enum {
	/* A block of 4 KiB each when all are written again: 64 MiB. Beyond it the oldest is
	 * forgotten; what its holder then delivers again, every home recognizes. */
	FINISHED_MAX = 16 << 10,
	/* Told at a time, so that a holder that comes back gets other lines through too. */
	TELL_MAX = 500,
};

struct queue_finished {
	struct list age; /* in queue->finished_ages */
	struct queue *queue;
	struct pool *pool;
	struct queue_record record; /* a change without changes: id and holders */
	uint64_t lsn;
	bool is_moving, is_forgotten; /* forgotten while it is moved: goes when that has ended */
	struct queue_write write;
	char id[2 * SMTP_DELIVERY_ID_LENGTH + 1];
};

/* One holder is being told. */
struct telling {
	struct queue *queue;
	uint8_t delivery_id[SMTP_DELIVERY_ID_LENGTH];
	char name[64];
};

static struct queue_finished *find(const struct queue *queue, const uint8_t *delivery_id)
{
	return map_get(queue->finished, str_of(delivery_id, SMTP_DELIVERY_ID_LENGTH));
}

bool queue_finished_has(const struct queue *queue, const uint8_t *delivery_id)
{
	return find(queue, delivery_id) != NULL;
}

static void finished_free(struct queue_finished *finished)
{
	queue_write_deinit(&finished->write);
	pool_destroy(&finished->pool);
	free(finished);
}

static void forget(struct queue_finished *finished)
{
	struct queue *queue = finished->queue;

	list_remove(&finished->age);
	map_remove(queue->finished,
		str_of(finished->record.delivery_id, sizeof(finished->record.delivery_id)));
	finished->is_forgotten = true;
	if (!finished->is_moving)
		finished_free(finished);
}

void queue_finished_forget(struct queue *queue)
{
	while (!list_is_empty(&queue->finished_ages)) {
		struct queue_finished *finished =
			list_entry(queue->finished_ages.next, struct queue_finished, age);
		finished->is_moving = false; /* the log goes too */
		forget(finished);
	}
}

void queue_finished_add(struct queue *queue, const struct queue_record *record, uint64_t lsn)
{
	struct queue_finished *finished = find(queue, record->delivery_id);
	struct buf id = { 0 };

	if (finished) {
		/* Written again: it stands there now. */
		finished->lsn = lsn;
		list_remove(&finished->age);
		list_append(&queue->finished_ages, &finished->age);
		return;
	}
	/* A copy of another router's message: only its owner may have left others. */
	if (record->holder_count == 0)
		return;
	if (map_count(queue->finished) >= FINISHED_MAX)
		forget(list_entry(queue->finished_ages.next, struct queue_finished, age));
	finished = mem_alloc(sizeof(*finished));
	finished->queue = queue;
	finished->pool = pool_create_sized(256);
	finished->lsn = lsn;
	finished->record.is_change = finished->record.finished = true;
	memcpy(finished->record.delivery_id, record->delivery_id, sizeof(record->delivery_id));
	CHECK(record->holder_count <= QUEUE_HOLDERS_MAX);
	for (uint32_t i = 0; i < record->holder_count; i++)
		finished->record.holders[finished->record.holder_count++] =
			pool_copy_terminated(finished->pool, str_from(record->holders[i]));
	encode_hex(&id, record->delivery_id, sizeof(record->delivery_id));
	snprintf(finished->id, sizeof(finished->id), "%s", buf_terminated(&id));
	buf_deinit(&id);
	map_set(queue->finished,
		str_of(finished->record.delivery_id, sizeof(finished->record.delivery_id)),
		finished);
	list_append(&queue->finished_ages, &finished->age);
}

static void on_told(void *arg, enum queue_peer_reply reply)
{
	struct telling *telling = arg;
	struct queue_finished *finished = find(telling->queue, telling->delivery_id);

	if (finished && reply == QUEUE_PEER_YES) {
		queue_record_remove_holder(&finished->record, telling->name);
		if (finished->record.holder_count == 0)
			forget(finished);
	}
	free(telling);
}

/* False: nobody is to be told any more, the router has left the cluster. */
static bool tell(struct queue_finished *finished, const char *name, uint32_t only)
{
	struct router *router = finished->queue->router;
	const struct directory_router *holder =
		directory_find_router_by_name(router->directory, str_from(name));

	if (!holder)
		return !directory_is_fresh(router->directory);
	if (only != 0 && holder->id != only)
		return true;
	struct telling *telling = mem_alloc(sizeof(*telling));
	telling->queue = finished->queue;
	memcpy(telling->delivery_id, finished->record.delivery_id, sizeof(telling->delivery_id));
	snprintf(telling->name, sizeof(telling->name), "%s", name);
	queue_peer_release(
		router->queue_peers, holder->id, str_from(finished->id), on_told, telling);
	return true;
}

void queue_finished_tell(struct queue *queue, uint32_t router_id)
{
	unsigned told = 0;

	if (!queue->router->queue_peers)
		return;
	list_for_each_safe(entry, following, &queue->finished_ages) {
		struct queue_finished *finished = list_entry(entry, struct queue_finished, age);
		if (told++ == TELL_MAX)
			break;
		for (uint32_t i = finished->record.holder_count; i-- > 0;) {
			const char *name = finished->record.holders[i];
			if (!tell(finished, name, router_id))
				queue_record_remove_holder(&finished->record, name);
		}
		if (finished->record.holder_count == 0)
			forget(finished);
	}
}

uint64_t queue_finished_oldest(const struct queue *queue)
{
	return list_is_empty(&queue->finished_ages) ? UINT64_MAX :
		list_entry(queue->finished_ages.next, struct queue_finished, age)->lsn;
}

static void on_moved(struct queue_write *write)
{
	struct queue_finished *finished = write->arg;
	struct queue *queue = finished->queue;
	bool is_written = write->append.status == 0;

	finished->is_moving = false;
	if (finished->is_forgotten) {
		finished_free(finished);
	} else {
		if (is_written)
			queue_finished_add(
				queue, &finished->record, write->append.records[0].lsn);
		queue_write_deinit(write);
		*write = (struct queue_write){ 0 };
	}
	if (is_written)
		queue_clean(queue);
}

bool queue_finished_move(struct queue *queue)
{
	struct queue_finished *finished =
		list_entry(queue->finished_ages.next, struct queue_finished, age);

	if (list_is_empty(&queue->finished_ages) || finished->is_moving)
		return false;
	finished->is_moving = true;
	queue_write_record(&finished->write, &finished->record);
	finished->write.done = on_moved;
	finished->write.arg = finished;
	queue_log_write(queue->log, &finished->write);
	return true;
}
