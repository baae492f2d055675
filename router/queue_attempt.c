#include "router/queue_item.h"

#include "core/clock.h"
#include "core/log.h"
#include "router/bounce.h"
#include "router/resolve.h"
#include "spool/log_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* While the message is moved within the log, a matter of one write. */
	MOVING_MS = 200,
	/* While the log is opened anew. */
	SHUT_MS = 1000,
};

/*
 * One attempt to deliver a queued message: a copy's owner is asked, the body read, homes and smart
 * host are tried side by side, and what they answered becomes durable in one group, with the bounce
 * that follows from it.
 */

static void attempt_free(struct queue_item *item)
{
	struct attempt *attempt = item->attempt;

	bytes_unref(&attempt->body);
	bytes_unref(&attempt->bounce_body);
	queue_write_deinit(&attempt->write);
	pool_destroy(&attempt->pool);
	free(attempt);
	item->attempt = NULL;
	item->is_busy = false;
	item->queue->busy_count--;
	item->queue->busy_bytes -= item->record.body_length;
}

void queue_attempt_abandon(struct queue_item *item)
{
	if (!item->attempt)
		return;
	if (item->attempt->relay)
		relay_cancel(item->attempt->relay);
	attempt_free(item);
}

static void attempt_end(struct queue_item *item)
{
	struct queue *queue = item->queue;

	/* What is still at risk tries again to get its copy. */
	if (!item_is_finished(item) && item->record.wants_copy && !item_is_copy(item) &&
		item->copy_router_id == 0 && !item->is_copying && item->attempt->body)
		queue_copy_again(item, item->attempt->body);
	uint64_t lsn = item->attempt->write.append.records[0].lsn;
	attempt_free(item);
	if (item_is_finished(item)) {
		queue_item_finish(item, lsn);
	} else {
		queue_item_sleep(item);
	}
	loop_defer(queue->router->loop, &queue->run);
}

void queue_attempt_put_off(struct queue_item *item, uint64_t delay_ms)
{
	item->attempts--; /* it was none */
	attempt_free(item);
	queue_item_sleep_for(item, delay_ms);
	loop_defer(item->queue->router->loop, &item->queue->run);
}

/* Nothing has changed durably: the next attempt writes it again. What has been delivered is not
 * sent again meanwhile; a smart host would not recognize it. */
static void remember_deliveries(struct queue_item *item)
{
	const struct queue_record *change = &item->attempt->change;

	for (uint32_t i = 0; i < change->change_count; i++) {
		struct queue_record_recipient *recipient =
			&item->record.recipients[change->changes[i].recipient];
		if (change->changes[i].state != QUEUE_DELIVERED)
			continue;
		recipient->state = QUEUE_DELIVERED;
		recipient->unsaved = true;
	}
}

static void on_concluded(struct queue_write *write)
{
	struct queue_item *item = write->arg;
	struct attempt *attempt = item->attempt;

	if (write->append.status != 0) {
		log_error("queue_write_failed", "id=%s status=%d", item->id, write->append.status);
		remember_deliveries(item);
		attempt_end(item);
		return;
	}
	queue_item_apply(item, &attempt->change);
	if (attempt->has_bounce) {
		struct queue_record record;
		struct buf encoded = { 0 };
		queue_record_encode(&attempt->bounce_record, &encoded);
		struct pool *pool = queue_record_pool(buf_length(&encoded));
		CHECK(queue_record_decode(buf_str(&encoded), pool, &record));
		buf_deinit(&encoded);
		struct queue_item *bounce = queue_item_create(item->queue, pool, &record);
		bounce->body_lsn = write->append.records[attempt->bounce_message].lsn;
		log_info("queue_bounced", "id=%s bounce=%s", item->id, bounce->id);
		metric_add(item->queue->bounced, 1);
		queue_item_enter(bounce);
	}
	attempt_end(item);
}

/* Whose it is was decided when the message was accepted: an address that is another's by now leads
 * to the mailbox that had it then, never to the newcomer. What has no mark goes by its address:
 * since it was queued, a restored directory may have given the mailbox another number, or its
 * number to another mailbox. NULL: it is gone. */
static const struct directory_mailbox *mailbox_of(
	const struct queue_item *item, const struct queue_record_recipient *recipient)
{
	return resolve_accepted(item->queue->router->directory, str_from(recipient->public.address),
		recipient->public.mailbox_id, recipient->public.mark);
}

/* What the attempt taught about one recipient. */
static enum queue_state next_state(struct queue_item *item, unsigned index, bool expired,
	const char **reply_out)
{
	const struct queue_record_recipient *recipient = &item->record.recipients[index];
	const struct forward_recipient *result = item->attempt->results[index];

	*reply_out = !result ? recipient->public.reply :
		result->code == FORWARD_UNKNOWN ? result->reply :
		pool_printf(item->attempt->pool, "%u %s", result->code, result->reply).bytes;
	if (recipient->state != QUEUE_PENDING)
		return recipient->state;
	if (item->is_lost) {
		*reply_out = "5.3.0 The message was damaged on the router's disk, and no other "
			     "router holds a copy";
		return QUEUE_FAILED;
	}
	if (result && result->code / 100 == 2)
		return QUEUE_DELIVERED;
	/* A home that does not know the mailbox may lag behind the directory: that passes. */
	bool passes = result && recipient->public.kind == QUEUE_HOME &&
		strncmp(result->reply, "5.1.1", 5) == 0 &&
		mailbox_of(item, recipient) != NULL;
	/* Failures are its owner's to tell, as long as there may be one. */
	if (result && result->code / 100 == 5 && !passes && !item_is_copy(item))
		return QUEUE_FAILED;
	return expired ? QUEUE_FAILED : QUEUE_PENDING;
}

static bool item_is_expired(const struct queue_item *item)
{
	return clock_wall_us() - item->record.accepted_wall_us >
		(int64_t)item->queue->router->config->queue_lifetime_s * 1000000;
}

/* Who has delivered it tells of it: a copy's owner may do so itself, a smart host that knows DSN
 * does. */
static enum bounce_news success_news(const struct queue_item *item, unsigned index)
{
	if (item_is_copy(item))
		return BOUNCE_NOTHING;
	if (item->record.recipients[index].public.kind == QUEUE_HOME)
		return BOUNCE_DELIVERED;
	/* No relaying now: an earlier one could not be written down. Better told twice than
	 * never. */
	const struct relay_job *relay = item->attempt->relay;
	return relay && relay->carries_dsn ? BOUNCE_NOTHING : BOUNCE_RELAYED;
}

/* The pool lives as long as the item, days perhaps: the same sentence is kept once. */
static void set_reply(
	struct queue_item *item, struct queue_record_recipient *recipient, const char *reply)
{
	if (strcmp(recipient->public.reply, reply) != 0)
		recipient->public.reply = pool_copy_terminated(item->pool, str_from(reply));
}

/* Once per recipient, when it has been waiting for so long and the sender wants to know (RFC 3461
 * section 4.1: without NOTIFY that is ours to say). */
static bool is_delay_news(
	const struct queue_item *item, const struct queue_record_recipient *recipient)
{
	uint64_t delay_s = item->queue->router->config->queue_delay_notice_s;
	unsigned notify = recipient->public.notify;
	int64_t age_us = clock_wall_us() - item->record.accepted_wall_us;

	return delay_s > 0 && age_us > (int64_t)delay_s * 1000000 && !recipient->delay_told &&
		!item_is_copy(item) && item->record.sender[0] != 0 &&
		(notify == 0 || notify & SMTP_NOTIFY_DELAY);
}

/* Every recipient that the change does not name has its last state already. */
static bool change_finishes(const struct queue_item *item)
{
	const struct queue_record *change = &item->attempt->change;
	unsigned open = 0, closed = 0;

	for (unsigned i = 0; i < item->record.recipient_count; i++) {
		const struct queue_record_recipient *recipient = &item->record.recipients[i];
		open += recipient->state < QUEUE_DELIVERED || recipient->unsaved;
	}
	for (uint32_t i = 0; i < change->change_count; i++)
		closed += change->changes[i].state == QUEUE_DELIVERED ||
			change->changes[i].state == QUEUE_BOUNCED;
	return closed >= open;
}

/* Everybody has answered: states, bounce and retry follow, in one durable group. */
static void attempt_conclude(struct queue_item *item)
{
	struct attempt *attempt = item->attempt;
	struct queue_record *record = &item->record;
	bool expired = item_is_expired(item), failures = false;
	enum bounce_news *news = pool_alloc(attempt->pool, record->recipient_count * sizeof(*news));

	attempt->change.is_change = true;
	memcpy(attempt->change.delivery_id, record->delivery_id, sizeof(record->delivery_id));
	attempt->change.changes = pool_alloc(attempt->pool,
		record->recipient_count * sizeof(*attempt->change.changes));
	for (unsigned i = 0; i < record->recipient_count; i++) {
		struct queue_record_recipient *recipient = &record->recipients[i];
		const char *reply;
		enum queue_state state = item->drop ? QUEUE_BOUNCED :
			next_state(item, i, expired, &reply);
		if (item->drop)
			reply = "5.0.0 Dropped by the operator";
		if (state == QUEUE_PENDING) {
			/* Kept in memory only: it may change with every attempt. */
			set_reply(item, recipient, reply);
			if (!is_delay_news(item, recipient))
				continue;
			news[i] = BOUNCE_DELAYED;
			state = QUEUE_DELAYED;
		} else if (state == QUEUE_FAILED) {
			failures = true;
			news[i] = BOUNCE_FAILED;
			recipient->state = QUEUE_FAILED;
			set_reply(item, recipient, reply);
			state = QUEUE_BOUNCED;
		} else if (state == recipient->state && !recipient->unsaved) {
			continue;
		} else if (state == QUEUE_DELIVERED) {
			news[i] = success_news(item, i);
			set_reply(item, recipient, reply);
		}
		attempt->change.changes[attempt->change.change_count++] =
			(struct queue_record_change){
				.recipient = i, .state = state, .reply = reply
			};
	}
	if (attempt->change.change_count == 0) {
		attempt_end(item);
		return;
	}
	attempt->change.finished = change_finishes(item);
	if (attempt->change.finished)
		for (uint32_t i = 0; i < record->holder_count; i++)
			(void)!queue_record_add_holder(&attempt->change, record->holders[i]);
	queue_write_record(&attempt->write, &attempt->change);
	attempt->has_bounce = (attempt->body || item->is_lost) &&
		bounce_make(item->queue->router, record, news,
			attempt->body ? bytes_str(attempt->body) : STR(""), attempt->pool,
			&attempt->bounce);
	if (attempt->has_bounce) {
		attempt->bounce_body = attempt->bounce.body;
		queue_record_of_entry(&attempt->bounce, attempt->pool, &attempt->bounce_record);
		queue_write_record(&attempt->write, &attempt->bounce_record);
		attempt->bounce_message =
			queue_write_message(&attempt->write, attempt->bounce_body);
	} else if (failures) {
		log_warn("queue_failed", "id=%s sender=%s bounce=none", item->id,
			log_quote(str_from(record->sender)));
	}
	attempt->write.done = on_concluded;
	attempt->write.arg = item;
	queue_log_write(item->queue->log, &attempt->write);
}

static void attempt_part_ended(struct queue_item *item)
{
	if (--item->attempt->open == 0)
		attempt_conclude(item);
}

static void on_forwarded(struct forward_job *job)
{
	attempt_part_ended(job->arg);
}

static void on_relayed(struct relay_job *job)
{
	attempt_part_ended(job->arg);
}

/* Where a recipient's mailbox is now. */
struct queue_home {
	uint32_t node_id;    /* 0: it has none */
	const char *address; /* of the mailbox */
	const uint8_t *mark; /* also: what is sent there is for this one */
};

static void try_home(struct queue_item *item, uint32_t node_id, const struct queue_home *homes)
{
	struct attempt *attempt = item->attempt;
	const struct queue_record *record = &item->record;
	struct forward_job *job = pool_alloc(attempt->pool, sizeof(*job));

	job->node_id = node_id;
	memcpy(job->delivery_id, record->delivery_id, sizeof(job->delivery_id));
	job->sender = record->sender;
	job->eight_bit = record->eight_bit;
	job->utf8 = record->utf8;
	job->body = attempt->body;
	job->recipients =
		pool_alloc(attempt->pool, record->recipient_count * sizeof(*job->recipients));
	for (unsigned i = 0; i < record->recipient_count; i++) {
		const struct queue_record_recipient *recipient = &record->recipients[i];
		if (recipient->state != QUEUE_PENDING || recipient->public.kind != QUEUE_HOME ||
			homes[i].node_id != node_id || attempt->results[i])
			continue;
		struct forward_recipient *result = &job->recipients[job->recipient_count++];
		result->address = homes[i].address;
		result->mark = homes[i].mark;
		attempt->results[i] = result;
	}
	job->done = on_forwarded;
	job->arg = item;
	attempt->open++;
	forward_send(item->queue->router->forward, job);
}

/* The mailbox has been removed since: nobody will ever take the message. */
static bool fail_if_removed(struct queue_item *item, unsigned index)
{
	const struct directory *directory = item->queue->router->directory;
	const struct queue_record_recipient *recipient = &item->record.recipients[index];
	struct forward_recipient *result;

	if (!directory_is_fresh(directory) || mailbox_of(item, recipient) != NULL)
		return false;
	result = pool_alloc(item->attempt->pool, sizeof(*result));
	result->address = recipient->public.address;
	result->code = 550;
	snprintf(result->reply, sizeof(result->reply), "5.1.1 The mailbox has been removed");
	item->attempt->results[index] = result;
	return true;
}

static void try_homes(struct queue_item *item)
{
	const struct queue_record *record = &item->record;
	struct attempt *attempt = item->attempt;
	struct queue_home *homes =
		pool_alloc(attempt->pool, record->recipient_count * sizeof(*homes));

	for (unsigned i = 0; i < record->recipient_count; i++) {
		const struct queue_record_recipient *recipient = &record->recipients[i];
		if (recipient->state != QUEUE_PENDING || recipient->public.kind != QUEUE_HOME ||
			fail_if_removed(item, i))
			continue;
		const struct directory_mailbox *mailbox = mailbox_of(item, recipient);
		homes[i].address = recipient->public.address;
		if (!mailbox)
			continue;
		homes[i].node_id = resolve_home(item->queue->router->directory, mailbox->id);
		homes[i].mark = (const uint8_t *)pool_copy(
			attempt->pool, str_of(mailbox->mark, MAILBOX_MARK_LENGTH))
					.bytes;
		if (!str_equal(mailbox->address, str_from(homes[i].address)))
			homes[i].address = pool_copy_terminated(attempt->pool, mailbox->address);
	}
	for (unsigned i = 0; i < record->recipient_count; i++)
		if (record->recipients[i].state == QUEUE_PENDING &&
			record->recipients[i].public.kind == QUEUE_HOME && !attempt->results[i])
			try_home(item, homes[i].node_id, homes);
}

static void try_relay(struct queue_item *item)
{
	const struct queue_record *record = &item->record;
	struct attempt *attempt = item->attempt;
	struct relay_job *job = pool_alloc(attempt->pool, sizeof(*job));

	if (item_is_copy(item) && !queue_copy_may_relay(item))
		return;
	job->recipients =
		pool_alloc(attempt->pool, record->recipient_count * sizeof(*job->recipients));
	job->details = pool_alloc(attempt->pool, record->recipient_count * sizeof(void *));
	for (unsigned i = 0; i < record->recipient_count; i++) {
		const struct queue_record_recipient *recipient = &record->recipients[i];
		if (recipient->state != QUEUE_PENDING || recipient->public.kind != QUEUE_RELAY)
			continue;
		job->details[job->recipient_count] = &recipient->public;
		struct forward_recipient *result = &job->recipients[job->recipient_count++];
		result->address = recipient->public.address;
		attempt->results[i] = result;
	}
	if (job->recipient_count == 0)
		return;
	job->router = item->queue->router;
	job->record = record;
	job->body = attempt->body;
	job->done = on_relayed;
	job->arg = item;
	attempt->relay = job;
	attempt->open++;
	relay_send(job);
}

static void try_all(struct queue_item *item)
{
	item->attempt->open = 1;
	if (!item->drop && item->attempt->body) {
		try_homes(item);
		try_relay(item);
	}
	attempt_part_ended(item);
}

static void on_mended(struct queue_item *item)
{
	/* Somebody may have it who does not answer now: until it is too old. */
	item->is_lost |= !item->attempt->body && !item_is_copy(item) && item_is_expired(item);
	if (item->attempt->body || item->is_lost || item->drop)
		try_all(item);
	else
		attempt_end(item);
}

static void on_body(struct record_read *read)
{
	struct queue_item *item = read->arg;

	/* Nothing is wrong with it. */
	if (read->status == -EAGAIN || log_is_refusal(read->status)) {
		queue_attempt_put_off(item, SHUT_MS);
		return;
	}
	if (read->status != 0) {
		log_error("queue_body_unreadable", "id=%s lsn=%llu status=%d", item->id,
			(unsigned long long)item->body_lsn, read->status);
		queue_mend(item, read->status, on_mended);
		return;
	}
	item->attempt->body = read->bytes;
	try_all(item);
}

void queue_attempt_begin(struct queue_item *item)
{
	struct queue *queue = item->queue;

	if (item->is_moving) {
		queue_item_sleep_for(item, MOVING_MS);
		return;
	}
	CHECK(!item->is_busy && item->attempt == NULL);
	item->is_busy = true;
	item->attempts++;
	queue->busy_count++;
	queue->busy_bytes += item->record.body_length;
	list_remove(&item->link);
	list_append(&queue->busy, &item->link);
	item->attempt = mem_alloc(sizeof(*item->attempt));
	item->attempt->pool = pool_create();
	item->attempt->results =
		pool_alloc(item->attempt->pool, item->record.recipient_count * sizeof(void *));
	if (item_is_copy(item) && !item->drop)
		queue_copy_ask(item);
	else
		queue_attempt_go_on(item);
}

void queue_attempt_go_on(struct queue_item *item)
{
	if (item->drop) {
		attempt_conclude(item);
		return;
	}
	struct record_read *read = &item->attempt->read;
	read->done = on_body;
	read->arg = item;
	if (queue_item_read(item, read))
		on_body(read);
}
