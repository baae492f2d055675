#include "router/smtp_tx.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "core/map.h"
#include "core/pool.h"
#include "core/rand.h"
#include "proto/mail/trace.h"
#include "router/bounce.h"
#include "router/forward.h"
#include "router/queue.h"
#include "router/resolve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* Bodies of all transactions together: an ordinary load holds a few megabytes, a thousand
	 * clients that each send slowly up to the size limit must not fill the machine's memory. */
	BODY_BYTES_MAX = 512 << 20,
	/* Mailboxes of one transaction, of which an alias may be 1,000: as many as its recipients
	 * may be ten times over. */
	TARGETS_MAX = 10000,
	/* What a node takes at once (DELIVERY_TARGETS_MAX of its volumes.h). With `strict` all of
	 * them are taken or none: what goes there in two parts could be refused in its second. */
	STRICT_TARGETS_MAX = 1000,
	/* From so many on a mailbox that is there already is looked for by a map. */
	TARGETS_SCANNED_MAX = 16,
};

/* One mailbox, or one address elsewhere. */
struct tx_target {
	enum queue_kind kind;
	uint64_t mailbox_id;
	uint8_t mark[MAILBOX_MARK_LENGTH]; /* of the mailbox */
	uint32_t volume_id, node_id;
	enum durability durability;
	const char *address, *original, *orcpt;
	unsigned notify;
	const struct forward_recipient *result; /* NULL: not forwarded */
	bool taken; /* put into a job */
};

struct smtp_tx {
	struct router *router;
	struct pool *pool;
	const char *sender, *envid;
	struct smtp_mail mail; /* its strs are dead after MAIL */
	struct tx_target *targets;
	unsigned target_count, target_capacity;
	struct map *mailboxes; /* of the targets, by id; NULL: they are few */
	unsigned rcpt_count;
	unsigned disabled_count; /* of the RCPT being resolved */
	const struct smtp_rcpt *rcpt;
	const char *rcpt_text;
	bool strict;
	bool may_relay; /* an authenticated user, and there is a smart host */
	struct smtp_data data;
	bool has_data, abandoned, finishing, no_room;
	uint64_t counted; /* of router->body_bytes */
	uint8_t delivery_id[16];
	char id[33];
	struct bytes *body;
	unsigned jobs_open;
	uint64_t finished_us;
	struct task task;
	char reply[SMTP_TX_REPLY_MAX];
	void (*done)(void *arg, const char *reply);
	void *arg;
};

struct smtp_tx *smtp_tx_create(struct router *router, const struct smtp_mail *mail,
	const struct smtp_origin *origin)
{
	struct smtp_tx *tx = mem_alloc(sizeof(*tx));
	struct buf text = { 0 };

	tx->router = router;
	tx->may_relay = origin->login[0] != 0 && router->config->relay_host[0] != 0;
	tx->pool = pool_create();
	tx->mail = *mail;
	address_append(&mail->sender, &text);
	tx->sender = pool_copy_terminated(tx->pool, buf_str(&text));
	tx->envid = pool_copy_terminated(tx->pool, mail->envid);
	rand_bytes(tx->delivery_id, sizeof(tx->delivery_id));
	buf_clear(&text);
	encode_hex(&text, tx->delivery_id, sizeof(tx->delivery_id));
	snprintf(tx->id, sizeof(tx->id), "%s", buf_terminated(&text));
	buf_deinit(&text);
	return tx;
}

static void tx_free(struct smtp_tx *tx)
{
	tx->router->body_bytes -= tx->counted;
	smtp_data_deinit(&tx->data);
	bytes_unref(&tx->body);
	free(tx->targets);
	map_destroy(&tx->mailboxes);
	pool_destroy(&tx->pool);
	free(tx);
}

void smtp_tx_abandon(struct smtp_tx **tx_pointer)
{
	struct smtp_tx *tx = *tx_pointer;
	if (!tx)
		return;
	*tx_pointer = NULL;
	tx->abandoned = true;
	if (!tx->finishing)
		tx_free(tx);
}

unsigned smtp_tx_recipient_count(const struct smtp_tx *tx)
{
	return tx->rcpt_count;
}

bool smtp_tx_is_utf8(const struct smtp_tx *tx)
{
	return tx->mail.smtputf8;
}

static struct tx_target *add_target(struct smtp_tx *tx)
{
	if (tx->target_count == tx->target_capacity) {
		tx->target_capacity = tx->target_capacity ? tx->target_capacity * 2 : 4;
		tx->targets = mem_resize(tx->targets, tx->target_capacity * sizeof(*tx->targets));
	}
	struct tx_target *target = &tx->targets[tx->target_count++];
	memset(target, 0, sizeof(*target));
	target->original = tx->rcpt_text;
	target->orcpt = pool_copy_terminated(tx->pool, tx->rcpt->orcpt);
	target->notify = tx->rcpt->notify;
	return target;
}

static bool has_mailbox(const struct smtp_tx *tx, uint64_t id)
{
	if (tx->mailboxes)
		return map_get(tx->mailboxes, map_key_u64(&id)) != NULL;
	for (unsigned i = 0; i < tx->target_count; i++)
		if (tx->targets[i].kind == QUEUE_HOME && tx->targets[i].mailbox_id == id)
			return true;
	return false;
}

static void note_mailbox(struct smtp_tx *tx, struct tx_target *target)
{
	if (tx->mailboxes) {
		map_set(tx->mailboxes, map_key_u64(&target->mailbox_id), tx);
		return;
	}
	if (tx->target_count < TARGETS_SCANNED_MAX)
		return;
	tx->mailboxes = map_create();
	for (unsigned i = 0; i < tx->target_count; i++)
		if (tx->targets[i].kind == QUEUE_HOME)
			map_set(tx->mailboxes, map_key_u64(&tx->targets[i].mailbox_id), tx);
}

/* The recipient is not taken after all. */
static void remove_targets(struct smtp_tx *tx, unsigned first)
{
	for (unsigned i = first; tx->mailboxes && i < tx->target_count; i++)
		if (tx->targets[i].kind == QUEUE_HOME)
			map_remove(tx->mailboxes, map_key_u64(&tx->targets[i].mailbox_id));
	tx->target_count = first;
}

static void on_resolved(void *arg, const struct resolved *resolved)
{
	struct smtp_tx *tx = arg;

	if (!resolved->enabled) {
		tx->disabled_count++;
		return;
	}
	if (has_mailbox(tx, resolved->mailbox_id))
		return; /* one copy per mailbox */
	struct tx_target *target = add_target(tx);
	target->mailbox_id = resolved->mailbox_id;
	memcpy(target->mark, resolved->mark, sizeof(target->mark));
	target->volume_id = resolved->volume_id;
	target->node_id = resolved->node_id;
	target->durability = resolved->durability;
	target->address = pool_copy_terminated(tx->pool, str_from(resolved->address));
	note_mailbox(tx, target);
}

/* For the smart host; an address that was given twice gets one copy there too. */
static void add_relay_target(struct smtp_tx *tx)
{
	for (unsigned i = 0; i < tx->target_count; i++)
		if (tx->targets[i].kind == QUEUE_RELAY &&
			strcmp(tx->targets[i].address, tx->rcpt_text) == 0)
			return;
	struct tx_target *target = add_target(tx);
	target->kind = QUEUE_RELAY;
	target->address = tx->rcpt_text;
}

/* Invariant 2: a strict recipient shares its transaction with its own volume only. */
static bool is_mix_allowed(struct smtp_tx *tx, unsigned first)
{
	bool strict = tx->strict;
	for (unsigned i = first; i < tx->target_count; i++)
		strict |= tx->targets[i].durability == DURABILITY_STRICT;
	if (!strict)
		return true;
	if (tx->target_count > STRICT_TARGETS_MAX)
		return false;
	for (unsigned i = 1; i < tx->target_count; i++)
		if (tx->targets[i].kind != QUEUE_HOME ||
			tx->targets[i].volume_id != tx->targets[0].volume_id)
			return false;
	if (tx->targets[0].kind != QUEUE_HOME)
		return false;
	tx->strict = true;
	return true;
}

static const char *refuse_unknown(const struct smtp_tx *tx, const struct address *recipient,
	enum directory_found found)
{
	if (address_is_relay_hack(recipient) || recipient->is_literal)
		return "550 5.7.1 Relaying denied";
	if (found == DIRECTORY_NO_USER)
		return "550 5.1.1 No such user here";
	return directory_is_loaded(tx->router->directory) ? "550 5.7.1 Relaying denied" :
		"451 4.3.0 Directory is not loaded yet";
}

const char *smtp_tx_add_recipient(struct smtp_tx *tx, const struct smtp_rcpt *rcpt)
{
	const struct address *recipient = &rcpt->recipient;
	unsigned first = tx->target_count;
	struct buf text = { 0 };

	if (recipient->has_route)
		return "550 5.7.1 Source routes are not accepted";
	if (tx->rcpt_count >= tx->router->config->recipients_max)
		return "452 4.5.3 Too many recipients";
	address_append(recipient, &text);
	tx->rcpt = rcpt;
	tx->rcpt_text = pool_copy_terminated(tx->pool, buf_str(&text));
	tx->disabled_count = 0;
	enum directory_found found =
		resolve_address(tx->router->directory, buf_str(&text), on_resolved, tx);
	buf_deinit(&text);
	if (found == DIRECTORY_NO_DOMAIN && tx->may_relay && !recipient->is_literal &&
		!address_is_relay_hack(recipient)) {
		add_relay_target(tx);
		found = DIRECTORY_FOUND;
	}
	if (found != DIRECTORY_FOUND)
		return refuse_unknown(tx, recipient, found);
	if (tx->target_count == first && tx->disabled_count > 0)
		return "550 5.2.1 Mailbox is disabled";
	if (tx->target_count > TARGETS_MAX) {
		remove_targets(tx, first);
		return "452 4.5.3 Too many recipients";
	}
	if (!is_mix_allowed(tx, first)) {
		remove_targets(tx, first);
		return first > 0 ? "452 4.5.3 Send to this recipient in a transaction of its own"
				 : "554 5.3.5 What is behind it cannot be strict together";
	}
	tx->rcpt_count++;
	return "250 2.1.5 Ok";
}

struct smtp_data *smtp_tx_data(struct smtp_tx *tx, const struct smtp_origin *origin)
{
	if (tx->has_data)
		return &tx->data;
	struct buf text = { 0 };
	struct trace trace = {
		.helo = str_from(origin->helo),
		.peer = str_from(origin->peer),
		.hostname = str_from(tx->router->config->hostname),
		.id = str_from(tx->id),
		.recipient = tx->rcpt_count == 1 ? str_from(tx->targets[0].original) : STR(""),
		.tls = str_from(origin->tls),
		.extended = origin->extended,
		.authenticated = origin->login[0] != 0,
		.utf8 = tx->mail.smtputf8,
		.wall_us = clock_wall_us(),
	};
	trace_append_received(&text, &trace);
	tx->has_data = true;
	smtp_data_init(&tx->data, tx->mail.size,
		tx->router->config->message_bytes_max + buf_length(&text));
	smtp_data_prefix(&tx->data, buf_str(&text));
	buf_deinit(&text);
	return &tx->data;
}

void smtp_tx_count(struct smtp_tx *tx)
{
	struct router *router = tx->router;

	router->body_bytes += tx->data.capacity - tx->counted;
	tx->counted = tx->data.capacity;
	if (router->body_bytes <= BODY_BYTES_MAX || tx->no_room)
		return;
	tx->no_room = true;
	smtp_data_give_up(&tx->data);
	router->body_bytes -= tx->counted;
	tx->counted = 0;
}

static void tx_run_done(void *arg)
{
	struct smtp_tx *tx = arg;

	tx->router->finishing_count--;
	if (!tx->abandoned) {
		struct router_metrics *metrics = &tx->router->metrics;
		metric_add(tx->reply[0] == '2' ? metrics->accepted : metrics->refused, 1);
		metric_observe_us(metrics->accept_seconds, clock_mono_us() - tx->finished_us);
		tx->done(tx->arg, tx->reply);
	}
	tx_free(tx);
}

/* The one place where a transaction gets its reply. */
static void tx_reply(struct smtp_tx *tx, const char *format, ...) printf_like(2, 3);
static void tx_reply(struct smtp_tx *tx, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(tx->reply, sizeof(tx->reply), format, arguments);
	va_end(arguments);
	CHECK(!tx->task.queued); /* one reply for a message */
	log_debug("smtp_message", "id=%s from=%s recipients=%u reply=%.3s", tx->id,
		log_quote(str_from(tx->sender)), tx->rcpt_count, tx->reply);
	tx->task.run = tx_run_done;
	tx->task.arg = tx;
	loop_defer(tx->router->loop, &tx->task);
}

static void on_queued(void *arg, int status)
{
	struct smtp_tx *tx = arg;

	if (status != 0) {
		tx_reply(tx, status == -ENOSPC ?
				"452 4.3.1 Insufficient system storage" :
				"451 4.3.0 Message could not be queued, try again later");
		return;
	}
	metric_add(tx->router->metrics.queued, 1);
	tx_reply(tx, "250 2.0.0 Ok: queued as %s", tx->id);
}

static bool target_is_delivered(const struct tx_target *target)
{
	return target->result && target->result->code / 100 == 2;
}

/* For good. A node whose directory lags may not know a mailbox yet that we know: that passes. */
static bool target_is_refused(const struct smtp_tx *tx, const struct tx_target *target)
{
	if (!target->result || target->result->code / 100 != 5)
		return false;
	return strncmp(target->result->reply, "5.1.1", 5) != 0 ||
		!directory_find_mailbox(tx->router->directory, target->mailbox_id);
}

/* What the home said, with its code when it said anything. */
static const char *target_reply(struct smtp_tx *tx, const struct tx_target *target)
{
	if (!target->result)
		return "";
	if (target->result->code == FORWARD_UNKNOWN)
		return target->result->reply;
	return pool_printf(tx->pool, "%u %s", target->result->code, target->result->reply).bytes;
}

/* Whose the address is, where that is known: a copy of the directory that is old, or with which the
 * home does not agree, says whose it was. NULL: it goes by its address, as the sender means it. */
static const uint8_t *agreed_mark(const struct smtp_tx *tx, const struct tx_target *target)
{
	bool is_disagreed = target->result && target->result->code == 451 &&
		str_starts_with(str_from(target->result->reply), STR(SMTP_NOT_AGREED));
	return target->kind == QUEUE_HOME && !is_disagreed &&
			directory_is_fresh(tx->router->directory)
		? target->mark
		: NULL;
}

static void tx_queue(struct smtp_tx *tx)
{
	struct queue_recipient *recipients =
		pool_alloc(tx->pool, tx->target_count * sizeof(*recipients));
	struct queue_entry entry = {
		.accepted_wall_us = clock_wall_us(),
		.sender = tx->sender,
		.envid = tx->envid,
		.ret = tx->mail.ret,
		.eight_bit = tx->mail.body == SMTP_BODY_8BITMIME,
		.utf8 = tx->mail.smtputf8,
		.body = tx->body,
		.recipients = recipients,
	};

	memcpy(entry.delivery_id, tx->delivery_id, sizeof(entry.delivery_id));
	for (unsigned i = 0; i < tx->target_count; i++) {
		const struct tx_target *target = &tx->targets[i];
		if (target_is_delivered(target))
			continue;
		recipients[entry.recipient_count++] = (struct queue_recipient){
			.kind = target->kind,
			.mailbox_id = target->mailbox_id,
			.address = target->address,
			.original = target->original,
			.orcpt = target->orcpt,
			.notify = target->notify,
			.failed = target_is_refused(tx, target),
			.reply = target_reply(tx, target),
			.mark = agreed_mark(tx, target),
		};
		entry.wants_copy |=
			target->kind == QUEUE_RELAY || target->durability != DURABILITY_LOCAL;
	}
	queue_add(tx->router->queue, &entry, on_queued, tx);
}

static void on_reported(void *arg, int status)
{
	(void)arg;
	(void)status; /* logged by the queue; the message itself is safe */
}

/* NOTIFY=SUCCESS: the sender hears of those that are stored. */
static void tx_report(struct smtp_tx *tx)
{
	struct queue_record record = {
		.sender = tx->sender, .envid = tx->envid, .utf8 = tx->mail.smtputf8
	};
	enum bounce_news *news = pool_alloc(tx->pool, tx->target_count * sizeof(*news));
	struct queue_entry entry;

	record.accepted_wall_us = clock_wall_us();
	record.ret = tx->mail.ret;
	record.recipient_count = tx->target_count;
	record.recipients = pool_alloc(tx->pool, tx->target_count * sizeof(*record.recipients));
	for (unsigned i = 0; i < tx->target_count; i++) {
		const struct tx_target *target = &tx->targets[i];
		news[i] = target_is_delivered(target) ? BOUNCE_DELIVERED : BOUNCE_NOTHING;
		record.recipients[i].public = (struct queue_recipient){
			.address = target->address,
			.original = target->original,
			.orcpt = target->orcpt,
			.notify = target->notify,
			.reply = target_reply(tx, target),
		};
	}
	if (!bounce_make(tx->router, &record, news, bytes_str(tx->body), tx->pool, &entry))
		return;
	queue_add(tx->router->queue, &entry, on_reported, NULL);
	bytes_unref(&entry.body);
}

/* Every home has answered, or will not in time. */
/* Too much came to the mailbox within a day (node/mailbox/rate.h): who floods it is to keep the
 * rest himself, not our queue. */
static bool target_is_over_rate(const struct tx_target *target)
{
	const struct forward_recipient *result = target->result;
	return result != NULL && result->code == 452 && strncmp(result->reply, "4.2.2 ", 6) == 0;
}

static void tx_conclude(struct smtp_tx *tx)
{
	unsigned delivered = 0, refused = 0, over_rate = 0;
	bool wants_report = false;
	const struct forward_recipient *first_refusal = NULL, *first_delay = NULL;

	/* All of none have it: that would be a 250 for nothing. */
	CHECK(tx->jobs_open == 0 && tx->target_count > 0);
	for (unsigned i = 0; i < tx->target_count; i++) {
		const struct tx_target *target = &tx->targets[i];
		over_rate += target_is_over_rate(target);
		if (target_is_delivered(target)) {
			delivered++;
			wants_report |= (target->notify & SMTP_NOTIFY_SUCCESS) != 0;
		} else if (target_is_refused(tx, target)) {
			refused++;
			first_refusal = first_refusal ? first_refusal : target->result;
		} else if (target->result) {
			first_delay = first_delay ? first_delay : target->result;
		}
	}
	if (wants_report && !tx->abandoned)
		tx_report(tx);
	if (delivered == tx->target_count)
		tx_reply(tx, "250 2.0.0 Ok: %s", tx->id);
	else if (refused == tx->target_count)
		tx_reply(tx, "%u %s", first_refusal->code, first_refusal->reply);
	else if (over_rate == tx->target_count)
		tx_reply(tx, "452 %s", tx->targets[0].result->reply);
	else if (tx->strict)
		tx_reply(tx, "451 %s", first_delay ? first_delay->reply : "4.3.0 Try again later");
	else if (tx->abandoned)
		tx_reply(tx, "451 4.4.2 Client has left");
	else
		tx_queue(tx);
}

static void on_forwarded(struct forward_job *job)
{
	struct smtp_tx *tx = job->arg;
	if (--tx->jobs_open == 0)
		tx_conclude(tx);
}

/* One job for all targets of one node. */
static void tx_forward(struct smtp_tx *tx, unsigned first)
{
	struct forward_job *job = pool_alloc(tx->pool, sizeof(*job));
	uint32_t node_id = tx->targets[first].node_id;

	job->node_id = node_id;
	memcpy(job->delivery_id, tx->delivery_id, sizeof(job->delivery_id));
	job->sender = tx->sender;
	job->eight_bit = tx->mail.body == SMTP_BODY_8BITMIME;
	job->utf8 = tx->mail.smtputf8;
	job->body = tx->body;
	job->recipients =
		pool_alloc(tx->pool, (tx->target_count - first) * sizeof(*job->recipients));
	for (unsigned i = first; i < tx->target_count; i++) {
		struct tx_target *target = &tx->targets[i];
		if (target->kind != QUEUE_HOME || target->node_id != node_id || target->taken)
			continue;
		struct forward_recipient *recipient = &job->recipients[job->recipient_count++];
		recipient->address = target->address;
		recipient->mark = target->mark;
		target->result = recipient;
		target->taken = true;
	}
	job->done = on_forwarded;
	job->arg = tx;
	tx->jobs_open++;
	forward_send(tx->router->forward, job);
}

/* What the client's message lacks goes between our own Received field and its first line: the empty
 * line, when it has no header at all, so that its text is not taken for one, and at submission (RFC
 * 6409 section 8) the fields that every message must have. */
static void tx_complete_header(struct smtp_tx *tx, bool submission)
{
	struct str whole = bytes_str(tx->body);
	size_t at = tx->data.prefix_length;
	struct str message = str_from_index(whole, at);
	bool has_header = trace_begins_with_header(message);
	struct str header = has_header ? trace_header(message) : STR("");
	struct buf text = { 0 };

	if (submission && !trace_has_field(header, STR("Date"))) {
		buf_append_literal(&text, "Date: ");
		trace_append_date(&text, clock_wall_us());
		buf_append_literal(&text, "\r\n");
	}
	if (submission && !trace_has_field(header, STR("Message-ID")))
		buf_printf(&text, "Message-ID: <%s@%s>\r\n", tx->id, tx->router->config->hostname);
	if (!has_header)
		buf_append_literal(&text, "\r\n");
	if (buf_length(&text) > 0) {
		struct bytes *completed = bytes_create(whole.length + buf_length(&text));
		memcpy(completed->data, whole.bytes, at);
		memcpy(completed->data + at, buf_str(&text).bytes, buf_length(&text));
		memcpy(completed->data + at + buf_length(&text), message.bytes, message.length);
		bytes_unref(&tx->body);
		tx->body = completed;
	}
	buf_deinit(&text);
}

void smtp_tx_finish(struct smtp_tx *tx, const struct smtp_origin *origin,
	void (*done)(void *arg, const char *reply), void *arg)
{
	tx->finishing = true;
	tx->router->finishing_count++;
	tx->done = done;
	tx->arg = arg;
	tx->finished_us = clock_mono_us();
	tx->body = smtp_data_take(&tx->data);
	if (!tx->body) {
		tx_reply(tx, "%s", tx->no_room ? "452 4.3.1 Insufficient system storage" :
						 smtp_data_refusal(&tx->data));
		return;
	}
	if (trace_header(bytes_str(tx->body)).length > SMTP_HEADER_MAX) {
		tx_reply(tx, "552 5.3.4 Message header too big");
		return;
	}
	if (trace_count_hops(bytes_str(tx->body)) > SMTP_HOPS_MAX) {
		tx_reply(tx, "554 5.4.6 Too many hops");
		return;
	}
	tx_complete_header(tx, origin->submission);
	tx->jobs_open = 1; /* this function's own, so that no job ends the whole early */
	for (unsigned i = 0; i < tx->target_count; i++)
		if (tx->targets[i].kind == QUEUE_HOME && !tx->targets[i].taken)
			tx_forward(tx, i);
	if (--tx->jobs_open == 0)
		tx_conclude(tx);
}
