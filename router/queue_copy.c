/*
 * Copies of queued messages at another site: leaving them, holding them, and delivering them when
 * their owner is gone. Delivery ids make this safe: a home that gets a message from both stores it
 * once.
 */

#include "router/queue_item.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "router/queue_peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* Between two questions to the owner of a copy. */
	CHECK_MS = 3000,
	/* Longer than a router takes to restart. */
	TAKEOVER_US = 10 * 1000 * 1000,
	/* A smart host does not recognize a message that it gets twice. */
	RELAY_TAKEOVER_US = 600 * 1000 * 1000,
};

/* A copy that is being left; the item may be finished before the answer comes. */
struct leaving {
	struct queue *queue;
	char id[2 * SMTP_DELIVERY_ID_LENGTH + 1];
	uint32_t router_id;
	void (*done)(void *arg, uint32_t router_id);
	void *arg;
	struct task task;
};

void queue_copy_settle(struct queue *queue, struct str id, uint32_t router_id)
{
	struct queue_item *item = queue_find(queue, id);

	if (item) {
		item->is_copying = false;
		item->copy_router_id = router_id;
	} else if (router_id != 0) {
		queue_peer_release(queue->router->queue_peers, router_id, id);
	}
}

static void leaving_end(struct leaving *leaving, bool achieved)
{
	uint32_t router_id = achieved ? leaving->router_id : 0;

	if (leaving->done)
		leaving->done(leaving->arg, router_id);
	else
		queue_copy_settle(leaving->queue, str_from(leaving->id), router_id);
	free(leaving);
}

static void on_left(void *arg, enum queue_answer answer)
{
	leaving_end(arg, answer == QUEUE_ANSWER_YES);
}

static void on_nobody(void *arg)
{
	leaving_end(arg, false);
}

void queue_copy_leave(struct queue *queue, const struct queue_record *record, struct bytes *body,
	void (*done)(void *arg, uint32_t router_id), void *arg)
{
	struct queue_peers *peers = queue->router->queue_peers;
	struct leaving *leaving = mem_alloc(sizeof(*leaving));
	struct buf text = { 0 };

	leaving->queue = queue;
	leaving->done = done;
	leaving->arg = arg;
	encode_hex(&text, record->delivery_id, sizeof(record->delivery_id));
	snprintf(leaving->id, sizeof(leaving->id), "%s", buf_terminated(&text));
	struct queue_item *item = queue_find(queue, str_from(leaving->id));
	if (item)
		item->is_copying = true;
	leaving->router_id = peers ? queue_peers_choose(peers) : 0;
	if (leaving->router_id == 0) {
		leaving->task.run = on_nobody;
		leaving->task.arg = leaving;
		loop_defer(queue->router->loop, &leaving->task);
	} else {
		buf_clear(&text);
		queue_record_encode(record, &text);
		queue_peer_hold(peers, leaving->router_id, str_from(leaving->id), buf_str(&text),
			body, on_left, leaving);
	}
	buf_deinit(&text);
}

void queue_copy_release(struct queue_item *item)
{
	if (item->copy_router_id != 0 && item->queue->router->queue_peers)
		queue_peer_release(item->queue->router->queue_peers, item->copy_router_id,
			str_from(item->id));
}

void queue_hold(struct queue *queue, struct str bytes, struct bytes *body, const char *owner,
	void (*done)(void *arg, int status), void *arg)
{
	struct pool *pool = pool_create();
	struct queue_record record;

	if (!queue_record_decode(bytes, pool, &record) || record.is_change ||
		record.owner[0] != 0 || record.body_length != body->length) {
		queue_answer_later(queue, done, arg, -EINVAL);
	} else if (map_get(queue->items, str_of(record.delivery_id, sizeof(record.delivery_id)))) {
		queue_answer_later(queue, done, arg, 0);
	} else {
		record.owner = owner;
		queue_enter(queue, &record, body, done, arg);
	}
	pool_destroy(&pool);
}

void queue_release(struct queue *queue, struct str id, const char *owner)
{
	struct queue_item *item = queue_find(queue, id);

	if (item && strcmp(item->record.owner, owner) == 0)
		(void)!queue_drop(queue, id);
}

static void on_owner_answer(void *arg, enum queue_answer answer)
{
	struct queue_item *item = arg;
	uint64_t now = clock_mono_us();

	if (answer == QUEUE_ANSWER_NO || item->drop) {
		item->drop = true;
		queue_attempt_go_on(item);
		return;
	}
	if (answer == QUEUE_ANSWER_YES) {
		item->owner_gone_us = 0;
		queue_attempt_put_off(item, CHECK_MS);
		return;
	}
	if (item->owner_gone_us == 0)
		item->owner_gone_us = now;
	if (now - item->owner_gone_us < TAKEOVER_US) {
		queue_attempt_put_off(item, CHECK_MS);
		return;
	}
	log_info("queue_takes_over", "id=%s owner=%s", item->id, item->record.owner);
	queue_attempt_go_on(item);
}

void queue_copy_ask(struct queue_item *item)
{
	struct router *router = item->queue->router;
	const struct directory_router *owner =
		directory_find_router_by_name(router->directory, str_from(item->record.owner));

	/* An owner that the directory does not know cannot be asked: id 0 never answers. */
	queue_peer_have(router->queue_peers, owner ? owner->id : 0, str_from(item->id),
		on_owner_answer, item);
}

bool queue_copy_may_relay(const struct queue_item *item)
{
	return item->owner_gone_us != 0 &&
		clock_mono_us() - item->owner_gone_us > RELAY_TAKEOVER_US;
}
