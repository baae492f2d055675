/*
 * What is known of messages that are finished: who may still hold a copy of each. A holder that
 * asks is told "finished", which is the only answer that lets it forget its copy, so this is kept
 * until every holder has said that it has none. It stands in the log as the change record that
 * finished the message; while that keeps the log's space it is written again at the end.
 *
 * What each holder is still to be told is a list of its own, so that one that stays away costs the
 * others nothing. A round asks once, as a holder says "not yet" of every copy that it has only
 * begun to forget, and begins with those that the one before has not come to.
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
	/* Asked of one holder and not answered: other lines get through to one that comes back too,
	 * and the next watch goes on (queue.c). */
	TELL_MAX = 500,
};

/* A router that is still to be told of messages. */
struct audience {
	struct list due;   /* to be asked in this round */
	struct list later; /* asked in it, and to be asked again */
	struct list asked; /* that have not been answered */
	unsigned asked_count;
};

/* What one holder is to be told of one message. */
struct notice {
	struct list link; /* in one of its audience's; a list of its own: it has answered */
	struct queue_finished *finished;
	struct audience *audience;
	const char *name;
	bool is_asked; /* and has not answered yet */
};

struct queue_finished {
	struct list age; /* in queue->finished_ages */
	struct queue *queue;
	struct pool *pool;
	struct queue_record record; /* a change without changes: id and holders */
	struct notice *notices;     /* for each holder that there was at first */
	uint32_t notice_count;
	uint64_t lsn;
	bool is_moving, is_forgotten; /* forgotten while it is moved: goes when that has ended */
	struct queue_write write;
	char id[2 * SMTP_DELIVERY_ID_LENGTH + 1];
};

/* One holder is being told. What it is told of may be forgotten before it answers. */
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

static struct audience *audience_of(struct queue *queue, const char *name)
{
	struct audience *audience = map_get(queue->audiences, str_from(name));

	if (audience)
		return audience;
	audience = mem_alloc(sizeof(*audience));
	list_init(&audience->due);
	list_init(&audience->later);
	list_init(&audience->asked);
	map_set(queue->audiences, str_from(name), audience);
	return audience;
}

static void notice_answered(struct notice *notice)
{
	if (!notice->is_asked)
		return;
	CHECK(notice->audience->asked_count > 0);
	notice->audience->asked_count--;
	notice->is_asked = false;
	list_remove(&notice->link);
	list_append(&notice->audience->later, &notice->link);
}

static void notice_end(struct notice *notice)
{
	notice_answered(notice);
	list_remove(&notice->link);
}

static void forget(struct queue_finished *finished)
{
	struct queue *queue = finished->queue;

	for (uint32_t i = 0; i < finished->notice_count; i++)
		notice_end(&finished->notices[i]);
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
	size_t position = 0;
	struct str key;
	void *value;
	while (map_next(queue->audiences, &position, &key, &value))
		free(value);
	map_destroy(&queue->audiences);
	queue->audiences = map_create();
}

/* Every holder is to be told. */
static void make_notices(struct queue_finished *finished)
{
	finished->notice_count = finished->record.holder_count;
	finished->notices =
		pool_alloc(finished->pool, finished->notice_count * sizeof(*finished->notices));
	for (uint32_t i = 0; i < finished->notice_count; i++) {
		struct notice *notice = &finished->notices[i];
		notice->finished = finished;
		notice->name = finished->record.holders[i];
		notice->audience = audience_of(finished->queue, notice->name);
		list_append(&notice->audience->due, &notice->link);
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
	make_notices(finished);
	encode_hex(&id, record->delivery_id, sizeof(record->delivery_id));
	snprintf(finished->id, sizeof(finished->id), "%s", buf_terminated(&id));
	buf_deinit(&id);
	map_set(queue->finished,
		str_of(finished->record.delivery_id, sizeof(finished->record.delivery_id)),
		finished);
	list_append(&queue->finished_ages, &finished->age);
}

/* It holds no copy, or is no router any more. */
static void notice_settled(struct notice *notice)
{
	struct queue_finished *finished = notice->finished;

	queue_record_remove_holder(&finished->record, notice->name);
	notice_end(notice);
	if (finished->record.holder_count == 0)
		forget(finished);
}

static void on_told(void *arg, enum queue_peer_reply reply)
{
	struct telling *telling = arg;
	struct queue_finished *finished = find(telling->queue, telling->delivery_id);

	for (uint32_t i = 0; finished && i < finished->notice_count; i++) {
		struct notice *notice = &finished->notices[i];
		if (strcmp(notice->name, telling->name) != 0 || list_is_empty(&notice->link))
			continue;
		notice_answered(notice);
		if (reply == QUEUE_PEER_YES)
			notice_settled(notice);
		break;
	}
	free(telling);
}

static void tell(struct queue *queue, struct notice *notice, uint32_t router_id)
{
	struct telling *telling = mem_alloc(sizeof(*telling));

	telling->queue = queue;
	memcpy(telling->delivery_id, notice->finished->record.delivery_id,
		sizeof(telling->delivery_id));
	snprintf(telling->name, sizeof(telling->name), "%s", notice->name);
	notice->is_asked = true;
	notice->audience->asked_count++;
	list_remove(&notice->link);
	list_append(&notice->audience->asked, &notice->link);
	queue_peer_release(queue->router->queue_peers, router_id, str_from(notice->finished->id),
		on_told, telling);
}

/* One that is not connected is asked one thing, which connects it if it can be reached; the rest
 * follows when it has been (queue_holder_connected). */
static void tell_holder(struct queue *queue, struct audience *audience, uint32_t router_id)
{
	bool is_open = queue_peers_is_open(queue->router->queue_peers, router_id);
	unsigned limit = is_open ? TELL_MAX : 1;

	while (audience->asked_count < limit && !list_is_empty(&audience->due))
		tell(queue, list_entry(audience->due.next, struct notice, link), router_id);
}

/* The router has left the cluster: nobody is to be told any more. */
static void end_audience(struct audience *audience)
{
	struct list *const lists[] = { &audience->due, &audience->later, &audience->asked };

	for (size_t i = 0; i < array_length(lists); i++)
		while (!list_is_empty(lists[i]))
			notice_settled(list_entry(lists[i]->next, struct notice, link));
}

static void tell_round(struct queue *queue, uint32_t router_id, bool is_new)
{
	const struct directory *directory = queue->router->directory;
	size_t position = 0;
	struct str name;
	void *value;

	if (!queue->router->queue_peers)
		return;
	while (map_next(queue->audiences, &position, &name, &value)) {
		struct audience *audience = value;
		if (list_is_empty(&audience->due) && list_is_empty(&audience->later) &&
			list_is_empty(&audience->asked))
			continue;
		const struct directory_router *holder =
			directory_find_router_by_name(directory, name);
		if (!holder && directory_is_fresh(directory))
			end_audience(audience);
		if (!holder || (router_id != 0 && holder->id != router_id))
			continue;
		/* Behind those that the round before has not come to. */
		if (is_new)
			list_append_all(&audience->due, &audience->later);
		tell_holder(queue, audience, holder->id);
	}
}

void queue_finished_tell(struct queue *queue, uint32_t router_id)
{
	tell_round(queue, router_id, true);
}

void queue_finished_tell_new(struct queue *queue)
{
	tell_round(queue, 0, false);
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
