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
	/* Copies asked for at a time: a few packets. */
	ROUND_BATCH = 200,
};

/* A copy that is being left; the item may be finished before the answer comes. */
struct leaving {
	struct queue *queue;
	uint8_t delivery_id[SMTP_DELIVERY_ID_LENGTH];
	char id[2 * SMTP_DELIVERY_ID_LENGTH + 1];
	uint32_t router_id;
	struct buf record;
	struct bytes *body;
	struct queue_write write;
	void (*done)(void *arg, uint32_t router_id);
	void *arg;
	struct task task;
};

/* Whether the copies of one router's are still there; in batches, each after the one before. */
struct round {
	struct queue *queue;
	uint32_t router_id;
	struct buf ids; /* delivery ids, one after the other */
	size_t next, open;
	bool is_broken; /* the next connection begins anew */
};

struct question {
	struct round *round;
	uint8_t delivery_id[SMTP_DELIVERY_ID_LENGTH];
};

static struct str id_of(const uint8_t *delivery_id, char out[33])
{
	struct buf text = { 0 };

	encode_hex(&text, delivery_id, SMTP_DELIVERY_ID_LENGTH);
	snprintf(out, 33, "%s", buf_terminated(&text));
	buf_deinit(&text);
	return str_from(out);
}

static struct queue_item *find_item(struct queue *queue, const uint8_t *delivery_id)
{
	return map_get(queue->items, str_of(delivery_id, SMTP_DELIVERY_ID_LENGTH));
}

void queue_copy_settle(struct queue *queue, struct str id, uint32_t router_id)
{
	struct queue_item *item = queue_find(queue, id);
	uint8_t key[SMTP_DELIVERY_ID_LENGTH];

	if (item) {
		item->is_copying = false;
		if (router_id != 0)
			item->copy_router_id = router_id;
		return;
	}
	/* Finished meanwhile: its holders are told. Never entered: nobody else will tell. */
	CHECK(decode_hex(id, key, sizeof(key)));
	if (router_id != 0 && !queue_finished_has(queue, key))
		queue_peer_release(queue->router->queue_peers, router_id, id, NULL, NULL);
}

static void leaving_end(struct leaving *leaving, bool achieved)
{
	uint32_t router_id = achieved ? leaving->router_id : 0;

	if (leaving->done)
		leaving->done(leaving->arg, router_id);
	else
		queue_copy_settle(leaving->queue, str_from(leaving->id), router_id);
	buf_deinit(&leaving->record);
	bytes_unref(&leaving->body);
	queue_write_deinit(&leaving->write);
	free(leaving);
}

static void on_left(void *arg, enum queue_peer_reply reply)
{
	leaving_end(arg, reply == QUEUE_PEER_YES);
}

static void on_nobody(void *arg)
{
	leaving_end(arg, false);
}

static struct leaving *leaving_create(struct queue *queue, const struct queue_record *record,
	uint32_t router_id, struct bytes *body)
{
	struct leaving *leaving = mem_alloc(sizeof(*leaving));
	struct queue_record told = *record;

	/* Its owner is who leaves it, whosever it was first. */
	told.owner = "";
	memset(told.owner_queue, 0, sizeof(told.owner_queue));
	told.holder_count = 0;
	leaving->queue = queue;
	leaving->router_id = router_id;
	leaving->body = bytes_ref(body);
	memcpy(leaving->delivery_id, record->delivery_id, sizeof(leaving->delivery_id));
	(void)id_of(record->delivery_id, leaving->id);
	queue_record_encode(&told, &leaving->record);
	return leaving;
}

static void send_copy(struct leaving *leaving)
{
	queue_peer_hold(leaving->queue->router->queue_peers, leaving->router_id,
		str_from(leaving->id), buf_str(&leaving->record), leaving->body, on_left, leaving);
}

static void leave_none(struct leaving *leaving)
{
	leaving->task.run = on_nobody;
	leaving->task.arg = leaving;
	loop_defer(leaving->queue->router->loop, &leaving->task);
}

void queue_copy_leave(struct queue *queue, const struct queue_record *record, uint32_t router_id,
	struct bytes *body, void (*done)(void *arg, uint32_t router_id), void *arg)
{
	struct leaving *leaving = leaving_create(queue, record, router_id, body);

	leaving->done = done;
	leaving->arg = arg;
	if (router_id == 0)
		leave_none(leaving);
	else
		send_copy(leaving);
}

uint32_t queue_copy_choose(struct queue *queue, struct queue_record *record, struct pool *pool)
{
	struct router *router = queue->router;
	uint32_t router_id = router->queue_peers ? queue_peers_choose(router->queue_peers) : 0;
	const struct directory_router *chosen =
		router_id ? queue_peers_find(router->queue_peers, router_id) : NULL;

	if (!chosen)
		return 0;
	if (queue_record_has_holder(record, chosen->name) ||
		queue_record_add_holder(
			record, pool_copy_terminated(pool, str_from(chosen->name))))
		return router_id;
	return 0;
}

static void on_noted(struct queue_write *write)
{
	struct leaving *leaving = write->arg;
	struct queue_item *item = find_item(leaving->queue, leaving->delivery_id);

	if (write->append.status == 0 && item)
		send_copy(leaving);
	else
		leaving_end(leaving, false);
}

void queue_copy_again(struct queue_item *item, struct bytes *body)
{
	struct queue *queue = item->queue;
	uint32_t known = item->record.holder_count;
	uint32_t router_id = queue_copy_choose(queue, &item->record, item->pool);

	if (router_id == 0)
		return;
	item->is_copying = true;
	struct leaving *leaving = leaving_create(queue, &item->record, router_id, body);
	if (item->record.holder_count == known) {
		send_copy(leaving);
		return;
	}
	struct queue_record note = { .is_change = true };
	memcpy(note.delivery_id, item->record.delivery_id, sizeof(note.delivery_id));
	for (uint32_t i = 0; i < item->record.holder_count; i++)
		(void)!queue_record_add_holder(&note, item->record.holders[i]);
	queue_write_record(&leaving->write, &note);
	leaving->write.done = on_noted;
	leaving->write.arg = leaving;
	queue_log_write(queue->log, &leaving->write);
}

void queue_hold(struct queue *queue, struct str bytes, struct bytes *body, const char *owner,
	const uint8_t *identity, void (*done)(void *arg, int status), void *arg)
{
	struct pool *pool = pool_create();
	struct queue_record record;
	char id[33];

	if (!queue_is_known(queue)) {
		queue_answer_later(queue, done, arg, -EAGAIN);
	} else if (!queue_record_decode(bytes, pool, &record) || record.is_change ||
		record.owner[0] != 0 || record.body_length != body->length) {
		queue_answer_later(queue, done, arg, -EINVAL);
	} else if (find_item(queue, record.delivery_id)) {
		/* Whosever it is: it is here, and goes when it is finished. */
		queue_answer_later(queue, done, arg,
			queue_holds(queue, id_of(record.delivery_id, id)) ? 0 : -EBADMSG);
	} else if (queue_is_arriving(queue, id_of(record.delivery_id, id))) {
		queue_await(queue, str_from(id), done, arg);
	} else {
		record.owner = owner;
		memcpy(record.owner_queue, identity, sizeof(record.owner_queue));
		record.holder_count = 0;
		queue_enter(queue, &record, body, done, arg);
	}
	pool_destroy(&pool);
}

/* Left by somebody else under the same name: not theirs to release, and not theirs. */
static bool is_left_by(const struct queue_item *item, const char *owner, const uint8_t *identity)
{
	return item && strcmp(item->record.owner, owner) == 0 &&
		memcmp(item->record.owner_queue, identity, QUEUE_IDENTITY_LENGTH) == 0;
}

bool queue_release(struct queue *queue, struct str id, const char *owner, const uint8_t *identity)
{
	struct queue_item *arriving = queue_addition_find(queue, id);

	if (is_left_by(queue_find(queue, id), owner, identity)) {
		(void)!queue_drop(queue, id);
		return false;
	}
	/* Its owner forgets that it has finished it when it hears that it is not here: it has to be
	 * gone by then. */
	if (is_left_by(arriving, owner, identity)) {
		arriving->drop = true;
		return false;
	}
	return true;
}

struct fetching {
	struct queue *queue;
	struct record_read read;
	void (*done)(void *arg, int status, struct bytes *body);
	void *arg;
};

static void on_fetch_read(struct record_read *read)
{
	struct fetching *fetching = read->arg;

	fetching->queue->reads--;
	fetching->done(fetching->arg, read->status, read->status == 0 ? read->bytes : NULL);
	free(fetching);
}

void queue_fetch(struct queue *queue, struct str id,
	void (*done)(void *arg, int status, struct bytes *body), void *arg)
{
	struct queue_item *item = queue_find(queue, id);

	if (!item) {
		/* Who has asked all, and heard that nobody has it, gives it up. */
		bool is_nowhere = queue_is_known(queue) && !queue_is_arriving(queue, id);
		done(arg, is_nowhere ? -ENODATA : -EAGAIN, NULL);
		return;
	}
	struct fetching *fetching = mem_alloc(sizeof(*fetching));
	fetching->queue = queue;
	fetching->done = done;
	fetching->arg = arg;
	fetching->read.done = on_fetch_read;
	fetching->read.arg = fetching;
	queue->reads++;
	if (queue_item_read(item, &fetching->read))
		on_fetch_read(&fetching->read);
}

/* ---- noticing that a holder has lost copies ---- */

static void round_go_on(struct round *round);

static void on_held(void *arg, enum queue_peer_reply reply)
{
	struct question *question = arg;
	struct round *round = question->round;
	struct queue_item *item = find_item(round->queue, question->delivery_id);

	round->open--;
	round->is_broken |= reply == QUEUE_PEER_NONE;
	if (item && reply == QUEUE_PEER_YES) {
		item->copy_router_id = round->router_id;
	} else if (item && reply == QUEUE_PEER_NO && item->copy_router_id == round->router_id) {
		log_warn("queue_copy_lost", "id=%s router=%u", item->id, round->router_id);
		item->copy_router_id = 0;
	}
	/* An attempt leaves a copy when it has read the message. */
	if (item && reply == QUEUE_PEER_NO && item->copy_router_id == 0 && !item->is_copying)
		queue_item_wake(item);
	free(question);
	if (round->open == 0)
		round_go_on(round);
}

static void round_go_on(struct round *round)
{
	struct str ids = buf_str(&round->ids);
	char id[33];

	if (round->is_broken || round->next == ids.length) {
		buf_deinit(&round->ids);
		free(round);
		return;
	}
	/* All of a batch, before the first answer can come. */
	unsigned count = 0;
	round->open = 1;
	while (count++ < ROUND_BATCH && round->next < ids.length) {
		struct question *question = mem_alloc(sizeof(*question));
		question->round = round;
		memcpy(question->delivery_id, ids.bytes + round->next,
			sizeof(question->delivery_id));
		round->next += sizeof(question->delivery_id);
		round->open++;
		queue_peer_held(round->queue->router->queue_peers, round->router_id,
			id_of(question->delivery_id, id), on_held, question);
	}
	round->open--;
	CHECK(round->open > 0); /* answers never come from inside */
}

void queue_holder_connected(struct queue *queue, uint32_t router_id)
{
	const struct directory_router *holder =
		queue_peers_find(queue->router->queue_peers, router_id);
	struct round *round;
	size_t position = 0;
	struct str key;
	void *value;

	queue_finished_tell(queue, router_id);
	if (!holder)
		return;
	round = mem_alloc(sizeof(*round));
	round->queue = queue;
	round->router_id = router_id;
	while (map_next(queue->items, &position, &key, &value)) {
		const struct queue_item *item = value;
		if (!item_is_copy(item) && queue_record_has_holder(&item->record, holder->name))
			buf_append(&round->ids, item->record.delivery_id,
				sizeof(item->record.delivery_id));
	}
	round_go_on(round);
}

void queue_copy_watch(struct queue *queue)
{
	struct queue_peers *peers = queue->router->queue_peers;

	if (!peers || !queue_is_known(queue) ||
		(map_count(queue->items) == 0 && map_count(queue->finished) == 0))
		return;
	queue_peers_watch(peers);
	queue_finished_tell(queue, 0);
}

/* ---- copies that we hold ---- */

static void on_owner_answer(void *arg, enum queue_peer_reply reply)
{
	struct queue_item *item = arg;
	uint64_t now = clock_mono_us();

	if (reply == QUEUE_PEER_FINISHED || item->drop) {
		item->drop = true;
		queue_attempt_go_on(item);
		return;
	}
	if (reply == QUEUE_PEER_NO) {
		log_warn("queue_adopted",
			"id=%s owner=%s effect=\"it is delivered or bounced from here\" "
			"reason=\"its owner has lost it\"",
			item->id, item->record.owner);
		item->is_adopted = true;
		queue_attempt_go_on(item);
		return;
	}
	if (reply == QUEUE_PEER_YES) {
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
	queue_peer_have(router->queue_peers, owner ? owner->id : 0, item->record.owner_queue,
		str_from(item->id), on_owner_answer, item);
}

bool queue_copy_may_relay(const struct queue_item *item)
{
	return item->owner_gone_us != 0 &&
		clock_mono_us() - item->owner_gone_us > RELAY_TAKEOVER_US;
}
