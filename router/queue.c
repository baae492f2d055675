#include "router/queue_item.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "core/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* Messages in delivery at a time: enough to keep the forward connections full, few enough
	 * that their bodies fit in memory. */
	BUSY_MAX = 50,
	/* Or so many bytes of them: a few of the largest. */
	BUSY_BYTES_MAX = 256 << 20,
	/* How late a message may be tried again; the shortest delay is a second. */
	TICK_MS = 200,
	/* How late the loss of a copy may be noticed. */
	WATCH_MS = 5000,
};

/* An entry that waits for the log and for its copy at another site. */
struct arrival {
	struct queue *queue;
	unsigned open;
	int status;
	uint32_t copy_router_id;
	uint8_t id[SMTP_DELIVERY_ID_LENGTH];
	void (*done)(void *arg, int status);
	void *arg;
};

static void queue_run(void *arg);

static struct str item_key(const struct queue_item *item)
{
	return str_of(item->record.delivery_id, sizeof(item->record.delivery_id));
}

void queue_item_free(struct queue_item *item)
{
	pool_destroy(&item->pool);
	free(item);
}

struct queue_item *queue_item_create(struct queue *queue, struct pool *pool,
	const struct queue_record *record)
{
	struct queue_item *item = mem_alloc(sizeof(*item));
	struct buf id = { 0 };

	list_init(&item->link);
	list_init(&item->age);
	item->queue = queue;
	item->pool = pool;
	item->record = *record;
	encode_hex(&id, record->delivery_id, sizeof(record->delivery_id));
	snprintf(item->id, sizeof(item->id), "%s", buf_terminated(&id));
	buf_deinit(&id);
	return item;
}

/* What it takes in the log at most: a group of its own, and about so much for the names. */
static uint64_t item_footprint(const struct queue_item *item)
{
	return group_padded(item->record.body_length + 512 + 256ull * item->record.recipient_count);
}

static void show_length(struct queue *queue)
{
	metric_set(queue->length, (int64_t)map_count(queue->items));
}

void queue_item_enter(struct queue_item *item)
{
	struct queue *queue = item->queue;
	if (map_get(queue->items, item_key(item))) {
		/* Left here twice: the log's reader takes the first one too. */
		queue_item_free(item);
		return;
	}
	map_set(queue->items, item_key(item), item);
	list_append(item->damaged ? &queue->strays : &queue->ages, &item->age);
	if (item->damaged)
		queue_damaged_hold(item->damaged);
	queue->live_bytes += item_footprint(item);
	show_length(queue);
	if (item_is_copy(item) && !item->drop) {
		queue_item_sleep(item); /* its owner has only just taken it */
		return;
	}
	list_append(&queue->due, &item->link);
	loop_defer(queue->router->loop, &queue->run);
}

static void queue_item_remove(struct queue_item *item)
{
	struct queue *queue = item->queue;
	CHECK(item->attempt == NULL && queue->live_bytes >= item_footprint(item));
	list_remove(&item->link);
	list_remove(&item->age);
	queue->live_bytes -= item_footprint(item);
	map_remove(queue->items, item_key(item));
	if (item->damaged)
		queue_damaged_release(item->damaged);
	queue_item_free(item);
	show_length(queue);
}

void queue_item_moved(struct queue_item *item, uint64_t body_lsn)
{
	item->body_lsn = body_lsn;
	item->is_unreadable = false;
	if (item->damaged)
		queue_damaged_release(item->damaged);
	item->damaged = NULL;
	list_remove(&item->age);
	list_append(&item->queue->ages, &item->age);
}

void queue_item_wake(struct queue_item *item)
{
	if (item->is_busy)
		return;
	list_remove(&item->link);
	list_append(&item->queue->due, &item->link);
	loop_defer(item->queue->router->loop, &item->queue->run);
}

void queue_item_sleep_for(struct queue_item *item, uint64_t delay_ms)
{
	/* Spread, so that a thousand messages do not come back in one moment. */
	delay_ms += rand_u64() % (delay_ms / 4 + 1);
	item->next_us = clock_mono_us() + delay_ms * 1000;
	list_remove(&item->link);
	list_append(&item->queue->sleeping, &item->link);
	if (!timer_is_running(item->queue->tick))
		timer_start(item->queue->tick, TICK_MS);
}

void queue_item_sleep(struct queue_item *item)
{
	const struct config *config = item->queue->router->config;
	uint64_t delay_ms = config->queue_retry_ms_min;

	for (unsigned i = 1; i < item->attempts && delay_ms < config->queue_retry_ms_max; i++)
		delay_ms *= 2;
	if (delay_ms > config->queue_retry_ms_max)
		delay_ms = config->queue_retry_ms_max;
	queue_item_sleep_for(item, delay_ms);
}

void queue_item_finish(struct queue_item *item, uint64_t lsn)
{
	struct queue *queue = item->queue;

	/* Copies of it are released by this: a recipient that is still to be served has none. */
	CHECK(item_is_finished(item));
	log_info("queue_done", "id=%s attempts=%u", item->id, item->attempts);
	queue_finished_add(queue, &item->record, lsn);
	queue_item_remove(item);
	queue_finished_tell_new(queue);
	queue_clean(queue);
}

void queue_item_apply(struct queue_item *item, const struct queue_record *change)
{
	for (uint32_t i = 0; i < change->holder_count; i++)
		if (!queue_record_has_holder(&item->record, change->holders[i]))
			(void)!queue_record_add_holder(&item->record,
				pool_copy_terminated(item->pool, str_from(change->holders[i])));
	for (uint32_t i = 0; i < change->change_count; i++) {
		const struct queue_record_change *entry = &change->changes[i];
		if (entry->recipient >= item->record.recipient_count)
			continue;
		struct queue_record_recipient *recipient =
			&item->record.recipients[entry->recipient];
		queue_recipient_set_state(recipient, entry->state);
		recipient->unsaved = false;
		recipient->public.reply = pool_copy_terminated(item->pool, str_from(entry->reply));
	}
}

void queue_record_of_entry(const struct queue_entry *entry, struct pool *pool,
	struct queue_record *record_out)
{
	memset(record_out, 0, sizeof(*record_out));
	memcpy(record_out->delivery_id, entry->delivery_id, sizeof(record_out->delivery_id));
	record_out->accepted_wall_us = entry->accepted_wall_us;
	record_out->sender = entry->sender;
	record_out->envid = entry->envid;
	record_out->ret = entry->ret;
	record_out->eight_bit = entry->eight_bit;
	record_out->utf8 = entry->utf8;
	record_out->wants_copy = entry->wants_copy;
	record_out->owner = "";
	record_out->body_length = (uint32_t)entry->body->length;
	record_out->recipient_count = entry->recipient_count;
	record_out->recipients =
		pool_alloc(pool, entry->recipient_count * sizeof(*record_out->recipients));
	for (unsigned i = 0; i < entry->recipient_count; i++) {
		record_out->recipients[i].public = entry->recipients[i];
		record_out->recipients[i].state =
			entry->recipients[i].failed ? QUEUE_FAILED : QUEUE_PENDING;
	}
}

static void queue_run(void *arg)
{
	struct queue *queue = arg;

	if (!directory_is_loaded(queue->router->directory) ||
		!queue_log_is_known(queue->log)) {
		if (!timer_is_running(queue->tick))
			timer_start(queue->tick, TICK_MS);
		return;
	}
	while (queue->busy_count < BUSY_MAX && queue->busy_bytes < BUSY_BYTES_MAX &&
		!list_is_empty(&queue->due))
		queue_attempt_begin(list_entry(queue->due.next, struct queue_item, link));
}

static void on_tick(void *arg)
{
	struct queue *queue = arg;
	uint64_t now = clock_mono_us();

	list_for_each_safe(entry, following, &queue->sleeping) {
		struct queue_item *item = list_entry(entry, struct queue_item, link);
		if (item->next_us > now)
			continue;
		list_remove(&item->link);
		list_append(&queue->due, &item->link);
	}
	if (!list_is_empty(&queue->sleeping))
		timer_start(queue->tick, TICK_MS);
	queue_clean(queue);
	queue_run(queue);
}

struct answer {
	struct task task;
	void (*done)(void *arg, int status);
	void *arg;
	int status;
};

static void run_answer(void *arg)
{
	struct answer answer = *(struct answer *)arg;
	free(arg);
	answer.done(answer.arg, answer.status);
}

void queue_answer_later(
	struct queue *queue, void (*done)(void *arg, int status), void *arg, int status)
{
	struct answer *answer = mem_alloc(sizeof(*answer));
	answer->done = done;
	answer->arg = arg;
	answer->status = status;
	answer->task.run = run_answer;
	answer->task.arg = answer;
	loop_defer(queue->router->loop, &answer->task);
}

static void arrival_part_ended(struct arrival *arrival)
{
	struct buf id = { 0 };

	CHECK(arrival->open > 0);
	if (--arrival->open > 0)
		return;
	encode_hex(&id, arrival->id, sizeof(arrival->id));
	queue_copy_settle(arrival->queue, buf_str(&id), arrival->copy_router_id);
	buf_deinit(&id);
	arrival->done(arrival->arg, arrival->status);
	free(arrival);
}

static void on_arrived(void *arg, int status)
{
	struct arrival *arrival = arg;
	arrival->status = status;
	arrival_part_ended(arrival);
}

/* Without a copy the message is confirmed all the same, and listed as at risk. */
static void on_copied(void *arg, uint32_t router_id)
{
	struct arrival *arrival = arg;
	arrival->copy_router_id = router_id;
	arrival_part_ended(arrival);
}

void queue_add(struct queue *queue, const struct queue_entry *entry,
	void (*done)(void *arg, int status), void *arg)
{
	struct arrival *arrival = mem_alloc(sizeof(*arrival));
	struct pool *pool = pool_create();
	struct queue_record record;
	uint32_t router_id = 0;

	arrival->queue = queue;
	memcpy(arrival->id, entry->delivery_id, sizeof(arrival->id));
	arrival->done = done;
	arrival->arg = arg;
	queue_record_of_entry(entry, pool, &record);
	/* A message that is refused leaves no copy behind, which somebody would deliver. */
	bool wants_copy = entry->wants_copy && queue_log_refusal(queue->log) == 0;
	arrival->open = wants_copy ? 2 : 1;
	if (wants_copy)
		router_id = queue_copy_choose(queue, &record, pool);
	queue_enter(queue, &record, entry->body, on_arrived, arrival);
	if (wants_copy)
		queue_copy_leave(queue, &record, router_id, entry->body, on_copied, arrival);
	pool_destroy(&pool);
}

/* A record that says what is there. */
static void replay_added(struct queue *queue, struct pool *pool, const struct queue_record *record,
	const struct queue_found *found)
{
	struct queue_item *item = map_get(
		queue->items, str_of(record->delivery_id, sizeof(record->delivery_id)));

	if (!item) {
		item = queue_item_create(queue, pool, record);
		item->body_lsn = found->body_lsn;
		item->damaged = found->damaged;
		item->group_lsn = found->group_lsn;
		queue_item_enter(item);
		return;
	}
	/* Moved up (queue_clean.c): this record says what was true then. */
	pool_destroy(&item->pool);
	item->pool = pool;
	item->record = *record;
	if (!found->damaged)
		queue_item_moved(item, found->body_lsn);
}

/* At start: what the log says. */
static void on_replayed(void *arg, const struct queue_found *found)
{
	struct queue *queue = arg;
	struct pool *pool = queue_record_pool(found->record.length);
	struct queue_record record;

	if (!queue_record_decode(found->record, pool, &record)) {
		if (queue->malformed++ == 0)
			log_error("queue_record_malformed", "lsn=%llu",
				(unsigned long long)found->lsn);
		pool_destroy(&pool);
		return;
	}
	if (!record.is_change) {
		replay_added(queue, pool, &record, found);
		return;
	}
	struct queue_item *item = map_get(queue->items,
		str_of(record.delivery_id, sizeof(record.delivery_id)));
	if (item)
		queue_item_apply(item, &record);
	/* What was set aside does not come back with the next start: those who hold copies are told
	 * in this life of the process only. */
	if (record.finished)
		queue_finished_add(
			queue, item ? &item->record : &record, found->damaged ? 0 : found->lsn);
	if (item && (record.finished || item_is_finished(item)))
		queue_item_remove(item);
	pool_destroy(&pool);
}

static void forget_all(struct queue *queue)
{
	size_t position = 0;
	struct str key;
	void *value;

	while (map_next(queue->items, &position, &key, &value)) {
		struct queue_item *item = value;
		queue_attempt_abandon(item);
		queue_item_free(item);
	}
	map_destroy(&queue->items);
	queue_finished_forget(queue);
}

/* Its log turned out to be damaged: it is told again, from what can be read. */
static void on_forget(void *arg)
{
	struct queue *queue = arg;

	forget_all(queue);
	queue->items = map_create();
	queue->live_bytes = 0;
	list_init(&queue->due);
	list_init(&queue->sleeping);
	list_init(&queue->ages);
	list_init(&queue->strays);
}

static void on_ready(void *arg)
{
	struct queue *queue = arg;

	queue->full_told_us = 0;
	queue_log_settle_damaged(queue->log);
	log_info("queue_open", "messages=%zu malformed=%u", map_count(queue->items),
		queue->malformed);
	loop_defer(queue->router->loop, &queue->run);
	queue_clean(queue);
	queue_copy_watch(queue);
}

static void on_watch(void *arg)
{
	struct queue *queue = arg;

	queue_copy_watch(queue);
	metric_set(queue->takes, queue_refusal(queue) == 0);
	timer_start(queue->watch, WATCH_MS);
}

int queue_open(struct router *router, struct queue **queue_out, struct error *error)
{
	static const struct queue_log_handler handler = { on_replayed, on_forget, on_ready };
	struct queue *queue = mem_alloc(sizeof(*queue));

	queue->router = router;
	queue->items = map_create();
	queue->finished = map_create();
	queue->audiences = map_create();
	list_init(&queue->due);
	list_init(&queue->sleeping);
	list_init(&queue->busy);
	list_init(&queue->additions);
	list_init(&queue->ages);
	list_init(&queue->strays);
	list_init(&queue->finished_ages);
	queue->run.run = queue_run;
	queue->run.arg = queue;
	queue->tick = timer_new(router->loop, on_tick, queue);
	queue->watch = timer_new(router->loop, on_watch, queue);
	queue->length = metric_gauge("pando_queue_messages", "", "Messages in the router's queue");
	queue->takes = metric_gauge("pando_queue_takes_mail", "",
		"0 while the queue takes no new message: mail for homes that are away is refused");
	queue->bounced = metric_counter("pando_bounces_total", "", "Bounces made");
	int rc = queue_log_open(router, &handler, queue, &queue->log, error);
	if (rc < 0) {
		queue_close(&queue);
		return rc;
	}
	timer_start(queue->watch, WATCH_MS);
	*queue_out = queue;
	return 0;
}

/* At the process's end: what is in flight is lost with it, as in a crash, and comes back from the
 * log. */
void queue_close(struct queue **queue_pointer)
{
	struct queue *queue = *queue_pointer;

	if (!queue)
		return;
	loop_cancel_deferred(queue->router->loop, &queue->run);
	queue_clean_abandon(queue);
	forget_all(queue);
	map_destroy(&queue->finished);
	map_destroy(&queue->audiences);
	timer_destroy(&queue->tick);
	timer_destroy(&queue->watch);
	queue_log_close(&queue->log);
	free(queue);
	*queue_pointer = NULL;
}

static bool item_waits_for_home(const struct queue_item *item)
{
	for (unsigned i = 0; i < item->record.recipient_count; i++)
		if (item->record.recipients[i].state == QUEUE_PENDING &&
			item->record.recipients[i].public.kind == QUEUE_HOME)
			return true;
	return false;
}

void queue_retry_homes(struct queue *queue)
{
	list_for_each_safe(entry, following, &queue->sleeping) {
		struct queue_item *item = list_entry(entry, struct queue_item, link);
		if (!item_waits_for_home(item))
			continue;
		item->attempts = 0;
		list_remove(&item->link);
		list_append(&queue->due, &item->link);
	}
	loop_defer(queue->router->loop, &queue->run);
}

unsigned queue_flush(struct queue *queue)
{
	while (!list_is_empty(&queue->sleeping)) {
		struct list *entry = queue->sleeping.next;
		list_remove(entry);
		list_append(&queue->due, entry);
	}
	loop_defer(queue->router->loop, &queue->run);
	return (unsigned)map_count(queue->items);
}

struct queue_item *queue_find(struct queue *queue, struct str id)
{
	uint8_t key[SMTP_DELIVERY_ID_LENGTH];
	if (id.length != 2 * sizeof(key) || !decode_hex(id, key, sizeof(key)))
		return NULL;
	return map_get(queue->items, str_of(key, sizeof(key)));
}

static void try_now(struct queue *queue, struct queue_item *item)
{
	if (item->is_busy)
		return;
	list_remove(&item->link);
	list_append(&queue->due, &item->link);
	loop_defer(queue->router->loop, &queue->run);
}

bool queue_flush_one(struct queue *queue, struct str id)
{
	struct queue_item *item = queue_find(queue, id);
	if (!item)
		return false;
	try_now(queue, item);
	return true;
}

bool queue_drop(struct queue *queue, struct str id)
{
	struct queue_item *item = queue_find(queue, id);
	if (!item)
		return false;
	item->drop = true; /* takes effect when the attempt that runs has ended, or now by one of
			      its own */
	try_now(queue, item);
	return true;
}

enum queue_answer queue_answer_of(struct queue *queue, const uint8_t *identity, struct str id)
{
	uint8_t key[SMTP_DELIVERY_ID_LENGTH];

	if (!queue_is_known(queue))
		return QUEUE_NO_ANSWER;
	if (memcmp(identity, queue_identity(queue), QUEUE_IDENTITY_LENGTH) != 0 ||
		!decode_hex(id, key, sizeof(key)))
		return QUEUE_UNKNOWN;
	const struct queue_item *item = queue_find(queue, id);
	if (!item)
		item = queue_addition_find(queue, id);
	/* A copy here of what was ours is no answer: two holders would wait for each other. */
	if (item && !item_is_copy(item))
		return QUEUE_HELD;
	return queue_finished_has(queue, key) ? QUEUE_FINISHED : QUEUE_UNKNOWN;
}

bool queue_holds(struct queue *queue, struct str id)
{
	const struct queue_item *item = queue_find(queue, id);
	return item && !item->is_unreadable && !item->drop;
}

bool queue_is_known(const struct queue *queue)
{
	return queue_log_is_known(queue->log);
}

const uint8_t *queue_identity(const struct queue *queue)
{
	return queue_log_identity(queue->log);
}

unsigned queue_count(const struct queue *queue)
{
	return (unsigned)map_count(queue->items);
}

int queue_refusal(const struct queue *queue)
{
	return queue_log_refusal(queue->log);
}
