#include "router/forward.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "core/map.h"
#include "core/net.h"
#include "core/timer.h"
#include "proto/mail/smtp.h"
#include "router/queue.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	/* One connection fills a group commit; more keep a large message from delaying all. */
	LINKS_MAX = 4,
	/* Another connection is opened when all have this many transactions unanswered. */
	SLOTS_BUSY = 16,
	/* Below what a node takes from one connection at a time. */
	SLOTS_MAX = 100,
	/* TCP and TLS between continents take half a second; two lost SYNs three more. */
	CONNECT_MS = 5000,
	/* After a connection that failed; later, while the node is away. */
	RETRY_MS = 200,
	PROBE_MS = 500,
	/* A node that has refused connections for so long is away: the queue takes its mail. */
	DOWN_US = 1000 * 1000,
	/* How late a job's deadline may be noticed. */
	TICK_MS = 100,
	/* Connections that broke under one job: it may be the job that breaks them. */
	ATTEMPTS_MAX = 5,
	/* Mail comes in waves; a connection costs its end a session. */
	IDLE_MS = 60 * 1000,
};

/* One transaction on a connection: what its next replies belong to. */
struct forward_slot {
	struct list link;
	struct forward_link *owner;
	struct forward_job *job; /* NULL when it timed out: its replies are read and dropped */
	unsigned recipient_count, replies, accepted;
	unsigned *waiting;       /* indices of recipients accepted at RCPT, in order */
	bool mail_failed;
};

enum link_state { LINK_CONNECTING, LINK_GREETING, LINK_LHLO, LINK_READY };

struct forward_link {
	struct list link;
	struct node_pool *pool;
	struct stream *stream;
	enum link_state state;
	bool takes_marks; /* as the node says: one of the version before does not */
	struct list slots;
	unsigned slot_count;
	uint64_t heard_us; /* when the node said something last */
	struct timer *idle;
};

/* All that leads to one node. */
struct node_pool {
	struct forward *forward;
	uint32_t node_id;
	char address[96];
	struct list links;
	unsigned link_count;
	struct list waiting;
	struct timer *retry;
	uint64_t down_since_us; /* 0: the last attempt to connect succeeded */
};

struct forward {
	struct router *router;
	struct map *pools; /* by node id */
	struct list timing; /* all jobs, oldest deadline first */
	struct timer *tick;
};

static void pool_pump(struct node_pool *pool);

static void job_run_done(void *arg)
{
	struct forward_job *job = arg;
	job->done(job);
}

/* Every recipient that has no code keeps FORWARD_UNKNOWN with the given sentence. */
static void job_end(struct forward *forward, struct forward_job *job, const char *why)
{
	CHECK(!job->ended);
	job->ended = true;
	list_remove(&job->link);
	list_remove(&job->timing);
	if (job->slot)
		job->slot->job = NULL;
	job->slot = NULL;
	for (unsigned i = 0; i < job->recipient_count; i++)
		if (job->recipients[i].code == FORWARD_UNKNOWN)
			snprintf(job->recipients[i].reply, FORWARD_REPLY_MAX, "%s", why);
	job->task.run = job_run_done;
	job->task.arg = job;
	loop_defer(forward->router->loop, &job->task);
}

static void slot_destroy(struct forward_link *link, struct forward_slot *slot)
{
	list_remove(&slot->link);
	link->slot_count--;
	free(slot->waiting);
	free(slot);
}

/* Jobs of the link go back to the pool's front, in order, to be sent again. */
static void link_free(struct forward_link *link)
{
	struct node_pool *pool = link->pool;

	while (!list_is_empty(&link->slots)) {
		struct forward_slot *slot =
			list_entry(link->slots.previous, struct forward_slot, link);
		struct forward_job *job = slot->job;
		if (job) {
			job->slot = NULL;
			slot->job = NULL;
			/* What was answered stays answered; the rest is asked again. */
			if (++job->attempts >= ATTEMPTS_MAX)
				job_end(pool->forward, job,
					"4.4.2 Connection to the mailbox's home broke");
			else
				list_append(pool->waiting.next, &job->link);
		}
		slot_destroy(link, slot);
	}
	list_remove(&link->link);
	pool->link_count--;
	timer_destroy(&link->idle);
	free(link);
}

static void link_abort(struct forward_link *link)
{
	stream_abort(link->stream);
	link_free(link);
}

/* MAIL, the open recipients, BDAT and the body, in one go. A recipient is named by the mark of its
 * mailbox too: the node's copy of the directory may have another one under this address. */
static void link_send(struct forward_link *link, struct forward_job *job)
{
	struct forward_slot *slot = mem_alloc(sizeof(*slot));
	struct buf out = { 0 };

	slot->owner = link;
	slot->job = job;
	job->slot = slot;
	list_append(&link->slots, &slot->link);
	link->slot_count++;
	slot->waiting = mem_alloc(job->recipient_count * sizeof(*slot->waiting));

	buf_printf(&out, "MAIL FROM:<%s> XPANDOID=", job->sender);
	encode_hex(&out, job->delivery_id, sizeof(job->delivery_id));
	buf_printf(&out, " SIZE=%zu%s%s\r\n", job->body->length,
		job->eight_bit ? " BODY=8BITMIME" : "", job->utf8 ? " SMTPUTF8" : "");
	for (unsigned i = 0; i < job->recipient_count; i++) {
		if (job->recipients[i].code != FORWARD_UNKNOWN)
			continue;
		slot->recipient_count++;
		buf_printf(&out, "RCPT TO:<%s>", job->recipients[i].address);
		if (link->takes_marks && job->recipients[i].mark) {
			buf_append_literal(&out, " XPANDOMARK=");
			encode_hex(&out, job->recipients[i].mark, SMTP_MARK_LENGTH);
		}
		buf_append_literal(&out, "\r\n");
	}
	buf_printf(&out, "BDAT %zu LAST\r\n", job->body->length);
	stream_write_str(link->stream, buf_str(&out));
	stream_write_bytes(link->stream, job->body, 0, job->body->length);
	buf_deinit(&out);
}

static void recipient_answer(
	struct forward_job *job, unsigned index, const struct smtp_reply *reply)
{
	struct forward_recipient *recipient = &job->recipients[index];
	recipient->code = reply->code;
	snprintf(recipient->reply, FORWARD_REPLY_MAX, STR_FORMAT, STR_ARG(reply->text));
}

/* The position-th recipient that was still open when the slot was sent. */
static unsigned nth_open(
	const struct forward_slot *slot, const struct forward_job *job, unsigned position)
{
	/* Recipients accepted at RCPT have no code until the end; refused ones got theirs. */
	(void)slot;
	unsigned seen = 0;
	for (unsigned i = 0; i < job->recipient_count; i++)
		if (job->recipients[i].code == FORWARD_UNKNOWN && seen++ == position)
			return i;
	return job->recipient_count;
}

static void slot_finish(struct forward_link *link, struct forward_slot *slot)
{
	struct forward_job *job = slot->job;
	if (job)
		job_end(link->pool->forward, job, "4.3.0 No answer");
	slot_destroy(link, slot);
}

/* One reply for the oldest transaction. */
static void slot_reply(struct forward_link *link, const struct smtp_reply *reply)
{
	struct forward_slot *slot = list_entry(link->slots.next, struct forward_slot, link);
	struct forward_job *job = slot->job;
	unsigned position = slot->replies++;

	if (position == 0) {
		slot->mail_failed = reply->code >= 300;
		if (slot->mail_failed && job)
			for (unsigned i = 0; i < job->recipient_count; i++)
				if (job->recipients[i].code == FORWARD_UNKNOWN)
					recipient_answer(job, i, reply);
		return;
	}
	if (position <= slot->recipient_count) {
		if (slot->mail_failed)
			return;
		/* Those before this one are either accepted (still open) or have left the open
		 * ones. */
		unsigned index = job ? nth_open(slot, job, slot->accepted) : 0;
		if (reply->code < 300)
			slot->waiting[slot->accepted++] = index;
		else if (job && index < job->recipient_count)
			recipient_answer(job, index, reply);
		return;
	}
	if (slot->accepted == 0) { /* the 503 for the body */
		slot_finish(link, slot);
		return;
	}
	unsigned nth = position - slot->recipient_count - 1;
	if (job)
		recipient_answer(job, slot->waiting[nth], reply);
	if (nth + 1 == slot->accepted)
		slot_finish(link, slot);
}

static void link_ready(struct forward_link *link)
{
	struct queue *queue = link->pool->forward->router->queue;
	bool was_down = link->pool->down_since_us != 0;

	link->state = LINK_READY;
	link->pool->down_since_us = 0;
	if (was_down && queue)
		queue_retry_homes(queue);
	pool_pump(link->pool);
}

static void pool_failed(struct node_pool *pool);

static void link_on_input(void *arg, struct buf *input)
{
	struct forward_link *link = arg;
	struct node_pool *pool = link->pool;
	struct smtp_reply reply;
	size_t length;

	link->heard_us = clock_mono_us();
	for (;;) {
		enum smtp_scan scan = smtp_scan_reply(buf_str(input), &reply, &length);
		if (scan == SMTP_MORE)
			break;
		bool unexpected = link->state == LINK_READY && list_is_empty(&link->slots);
		if (scan == SMTP_BAD || unexpected || reply.code == 421 ||
			(link->state < LINK_READY && reply.code >= 300)) {
			log_warn("forward_link_failed", "node=%s reply=%s", pool->address,
				log_quote(scan == SMTP_BAD ? buf_str(input) : reply.all));
			link_abort(link);
			pool_failed(pool);
			return;
		}
		if (link->state == LINK_GREETING) {
			stream_printf(link->stream, "LHLO %s\r\n",
				pool->forward->router->config->hostname);
			link->state = LINK_LHLO;
		} else if (link->state == LINK_LHLO) {
			link->takes_marks = smtp_reply_offers(&reply, STR("XPANDOMARK"), NULL);
			link_ready(link);
		} else {
			slot_reply(link, &reply);
		}
		buf_consume(input, length);
	}
	timer_start(link->idle, IDLE_MS);
	pool_pump(pool);
}

static void link_on_open(void *arg)
{
	struct forward_link *link = arg;
	struct node_pool *pool = link->pool;
	const struct tls_peer *peer = stream_peer(link->stream);
	const struct directory_node *node =
		directory_find_node(pool->forward->router->directory, pool->node_id);

	if (strcmp(peer->role, "node") != 0 || !node || strcmp(peer->name, node->name) != 0) {
		log_error("forward_peer_refused", "node=%s name=%s role=%s", pool->address,
			log_quote(str_from(peer->name)), log_quote(str_from(peer->role)));
		link_abort(link);
		pool_failed(pool);
		return;
	}
	link->state = LINK_GREETING;
}

static void link_on_close(void *arg, int reason)
{
	struct forward_link *link = arg;
	struct node_pool *pool = link->pool;

	bool was_ready = link->state == LINK_READY;
	/* While a node is away every probe fails: only the first is news. */
	if (was_ready || pool->down_since_us == 0)
		log_info("forward_link_closed", "node=%s reason=%d unanswered=%u", pool->address,
			reason, link->slot_count);
	link_free(link);
	if (was_ready && pool->down_since_us == 0)
		pool_pump(pool); /* a node that restarts: try again at once */
	else
		pool_failed(pool);
}

static void link_on_idle(void *arg)
{
	struct forward_link *link = arg;
	struct node_pool *pool = link->pool;

	if (link->state == LINK_READY && link->slot_count == 0) {
		stream_write_str(link->stream, STR("QUIT\r\n"));
		stream_close(link->stream);
		link_free(link);
	} else if (link->state == LINK_READY) {
		timer_start(link->idle, IDLE_MS);
	} else {
		link_abort(link);
		pool_failed(pool);
	}
}

static const struct stream_handler link_handler = {
	.on_open = link_on_open,
	.on_input = link_on_input,
	.on_close = link_on_close,
};

static void link_open(struct node_pool *pool)
{
	struct router *router = pool->forward->router;
	struct forward_link *link = mem_alloc(sizeof(*link));

	link->pool = pool;
	list_init(&link->slots);
	list_append(&pool->links, &link->link);
	pool->link_count++;
	link->idle = timer_new(router->loop, link_on_idle, link);
	timer_start(link->idle, 2 * CONNECT_MS);
	link->stream = stream_connect(router->loop, pool->address, router->cluster_tls, NULL,
		CONNECT_MS, &link_handler, link);
}

static bool pool_is_down(const struct node_pool *pool)
{
	return pool->down_since_us != 0 && clock_mono_us() - pool->down_since_us > DOWN_US;
}

static void pool_end_waiting(struct node_pool *pool, const char *why)
{
	while (!list_is_empty(&pool->waiting))
		job_end(pool->forward, list_entry(pool->waiting.next, struct forward_job, link),
			why);
}

static bool pool_has_ready_link(const struct node_pool *pool)
{
	list_for_each(entry, &pool->links)
		if (list_entry(entry, struct forward_link, link)->state == LINK_READY)
			return true;
	return false;
}

/* A connection could not be made or went wrong. While another one works, the node is not down: one
 * more was wanted. */
static void pool_failed(struct node_pool *pool)
{
	if (pool->down_since_us == 0 && !pool_has_ready_link(pool))
		pool->down_since_us = clock_mono_us();
	if (pool_is_down(pool))
		pool_end_waiting(pool, "4.4.1 The mailbox's home cannot be reached");
	if (!timer_is_running(pool->retry))
		timer_start(pool->retry, pool_is_down(pool) ? PROBE_MS : RETRY_MS);
}

static void pool_on_retry(void *arg)
{
	struct node_pool *pool = arg;
	/* While it is down somebody has to find out that it is back. */
	if (pool->link_count == 0 && pool->address[0] != 0 && pool->down_since_us != 0)
		link_open(pool);
	else
		pool_pump(pool);
}

static struct forward_link *pool_best_link(struct node_pool *pool, bool *opening_out)
{
	struct forward_link *best = NULL;

	*opening_out = false;
	list_for_each(entry, &pool->links) {
		struct forward_link *link = list_entry(entry, struct forward_link, link);
		if (link->state != LINK_READY)
			*opening_out = true;
		else if (!best || link->slot_count < best->slot_count)
			best = link;
	}
	return best;
}

/* Gives waiting jobs to connections, and opens connections for them. */
static void pool_pump(struct node_pool *pool)
{
	while (!list_is_empty(&pool->waiting)) {
		bool opening;
		struct forward_link *link = pool_best_link(pool, &opening);
		if ((!link || link->slot_count >= SLOTS_BUSY) && !opening &&
			pool->link_count < LINKS_MAX && pool->address[0] != 0 &&
			!timer_is_running(pool->retry))
			link_open(pool);
		if (!link || link->slot_count >= SLOTS_MAX ||
			stream_backlog(link->stream) >= 16 * STREAM_BACKLOG_HIGH)
			return;
		struct forward_job *job = list_entry(pool->waiting.next, struct forward_job, link);
		list_remove(&job->link);
		link_send(link, job);
	}
}

static void pool_take_address(struct node_pool *pool)
{
	const struct directory_node *node =
		directory_find_node(pool->forward->router->directory, pool->node_id);
	const char *address = node ? node->lmtp : "";

	if (strcmp(address, pool->address) == 0)
		return;
	snprintf(pool->address, sizeof(pool->address), "%s", address);
	pool->down_since_us = 0;
	list_for_each_safe(entry, following, &pool->links)
		link_abort(list_entry(entry, struct forward_link, link));
}

static struct node_pool *pool_get(struct forward *forward, uint32_t node_id)
{
	uint64_t key = node_id;
	struct node_pool *pool = map_get(forward->pools, map_key_u64(&key));
	if (pool)
		return pool;
	pool = mem_alloc(sizeof(*pool));
	pool->forward = forward;
	pool->node_id = node_id;
	list_init(&pool->links);
	list_init(&pool->waiting);
	pool->retry = timer_new(forward->router->loop, pool_on_retry, pool);
	pool_take_address(pool);
	map_set(forward->pools, map_key_u64(&key), pool);
	return pool;
}

void forward_send(struct forward *forward, struct forward_job *job)
{
	list_init(&job->link);
	list_init(&job->timing);
	job->ended = false;
	job->slot = NULL;
	job->attempts = 0;
	job->deadline_us = clock_mono_us() + forward->router->config->forward_timeout_ms * 1000;
	if (job->node_id == 0) {
		job_end(forward, job, "4.3.0 The mailbox has no home now");
		return;
	}
	struct node_pool *pool = pool_get(forward, job->node_id);
	if (pool_is_down(pool)) {
		job_end(forward, job, "4.4.1 The mailbox's home cannot be reached");
		return;
	}
	list_append(&forward->timing, &job->timing);
	list_append(&pool->waiting, &job->link);
	pool_pump(pool);
	if (!timer_is_running(forward->tick))
		timer_start(forward->tick, TICK_MS);
}

/* A node that takes connections and says nothing, as one whose process hangs: no link to it is
 * worth waiting for, and the next messages must not wait as long as the first did. */
static void pool_is_silent(struct node_pool *pool, uint64_t since_us)
{
	log_warn("forward_node_silent", "node=%s links=%u", pool->address, pool->link_count);
	list_for_each_safe(entry, following, &pool->links)
		link_abort(list_entry(entry, struct forward_link, link));
	pool->down_since_us = since_us;
	pool_failed(pool);
}

/* The job's time is over. */
static void job_is_late(struct forward *forward, struct forward_job *job)
{
	struct forward_link *link = job->slot ? job->slot->owner : NULL;
	uint64_t begun_us =
		job->deadline_us - forward->router->config->forward_timeout_ms * 1000;

	job_end(forward, job, "4.4.7 The mailbox's home did not answer in time");
	if (link && link->heard_us < begun_us)
		pool_is_silent(link->pool, begun_us);
}

/* All jobs wait equally long, so the oldest is the first to run out. */
static void on_tick(void *arg)
{
	struct forward *forward = arg;
	uint64_t now = clock_mono_us();

	while (!list_is_empty(&forward->timing)) {
		struct forward_job *job =
			list_entry(forward->timing.next, struct forward_job, timing);
		if (job->deadline_us > now)
			break;
		job_is_late(forward, job);
	}
	if (!list_is_empty(&forward->timing))
		timer_start(forward->tick, TICK_MS);
}

void forward_directory_changed(struct forward *forward)
{
	size_t position = 0;
	struct str key;
	void *value;

	while (map_next(forward->pools, &position, &key, &value)) {
		struct node_pool *pool = value;
		pool_take_address(pool);
		if (pool->address[0] == 0)
			pool_end_waiting(pool, "4.3.0 The mailbox has no home now");
		pool_pump(pool);
	}
}

struct forward *forward_create(struct router *router)
{
	struct forward *forward = mem_alloc(sizeof(*forward));
	forward->router = router;
	forward->pools = map_create();
	list_init(&forward->timing);
	forward->tick = timer_new(router->loop, on_tick, forward);
	return forward;
}

void forward_destroy(struct forward **forward_pointer)
{
	struct forward *forward = *forward_pointer;
	size_t position = 0;
	struct str key;
	void *value;

	if (!forward)
		return;
	while (map_next(forward->pools, &position, &key, &value)) {
		struct node_pool *pool = value;
		list_for_each_safe(entry, following, &pool->links)
			link_abort(list_entry(entry, struct forward_link, link));
		timer_destroy(&pool->retry);
		free(pool);
	}
	map_destroy(&forward->pools);
	timer_destroy(&forward->tick);
	free(forward);
	*forward_pointer = NULL;
}
