#include "router/bounce.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "core/rand.h"
#include "proto/mail/dsn.h"
#include "proto/mail/trace.h"
#include "router/resolve.h"

/* Most of a large message helps nobody in a bounce. */
enum { ORIGINAL_MAX = 256 << 10 };

struct collector {
	const struct directory *directory;
	struct pool *pool;
	struct queue_recipient *recipients;
	unsigned count, capacity;
	const char *original;
};

static void on_resolved(void *arg, const struct resolved *resolved)
{
	struct collector *collector = arg;
	if (collector->count == collector->capacity)
		return;
	struct str mark =
		pool_copy(collector->pool, str_of(resolved->mark, sizeof(resolved->mark)));
	collector->recipients[collector->count++] = (struct queue_recipient){
		.kind = QUEUE_HOME,
		.mailbox_id = resolved->mailbox_id,
		.address = pool_copy_terminated(collector->pool, str_from(resolved->address)),
		.original = collector->original,
		.orcpt = "",
		.notify = SMTP_NOTIFY_NEVER,
		.reply = "",
		.mark = directory_is_fresh(collector->directory) ? (const uint8_t *)mark.bytes
								 : NULL,
	};
}

/* The sender's mailboxes here, or the sender elsewhere through the smart host. */
static bool find_sender(struct router *router, const char *sender, struct pool *pool,
	struct queue_entry *entry_out)
{
	/* A sender is a person or a role; an alias with more mailboxes than this is a list. */
	enum { SENDER_MAILBOXES_MAX = 64 };
	struct collector collector = { .directory = router->directory,
		.pool = pool,
		.original = sender,
		.capacity = SENDER_MAILBOXES_MAX };

	collector.recipients = pool_alloc(pool, collector.capacity * sizeof(*collector.recipients));
	enum directory_found found =
		resolve_address(router->directory, str_from(sender), on_resolved, &collector);
	if (found == DIRECTORY_NO_DOMAIN && router->config->relay_host[0] != 0)
		collector.recipients[collector.count++] = (struct queue_recipient){
			.kind = QUEUE_RELAY,
			.address = sender,
			.original = sender,
			.orcpt = "",
			.notify = SMTP_NOTIFY_NEVER,
			.reply = "",
		};
	entry_out->recipients = collector.recipients;
	entry_out->recipient_count = collector.count;
	return collector.count > 0;
}

static const char *status_of(struct pool *pool, const char *reply, enum bounce_news news)
{
	unsigned class = news == BOUNCE_FAILED ? 5 : news == BOUNCE_DELAYED ? 4 : 2;
	struct str text = str_from(reply), rest;
	struct str first = smtp_verb(text, &rest);
	uint64_t number;
	/* "550 5.1.1 text", or our own "4.4.1 text" when nobody answered. */
	if (str_to_u64(first, 599, &number))
		text = rest;
	struct smtp_reply parsed = { .code = class * 100, .text = text };
	char code[16];
	smtp_enhanced_code(&parsed, code);
	/* Given up: what was temporary until now is permanent. */
	code[0] = (char)('0' + class);
	return pool_copy_terminated(pool, str_from(code));
}

static bool is_told(const struct queue_recipient *recipient, enum bounce_news news)
{
	if (news == BOUNCE_FAILED)
		return recipient->notify == 0 || recipient->notify & SMTP_NOTIFY_FAILURE;
	if (news == BOUNCE_DELAYED)
		return recipient->notify == 0 || recipient->notify & SMTP_NOTIFY_DELAY;
	return news != BOUNCE_NOTHING && recipient->notify & SMTP_NOTIFY_SUCCESS;
}

bool bounce_make(struct router *router, const struct queue_record *record,
	const enum bounce_news *news, struct str message, struct pool *pool,
	struct queue_entry *entry_out)
{
	static const enum dsn_action actions[] = {
		[BOUNCE_FAILED] = DSN_FAILED,
		[BOUNCE_DELAYED] = DSN_DELAYED,
		[BOUNCE_DELIVERED] = DSN_DELIVERED,
		[BOUNCE_RELAYED] = DSN_RELAYED,
	};
	struct dsn_recipient *recipients =
		pool_alloc(pool, record->recipient_count * sizeof(*recipients));
	uint8_t random[16];
	bool failures = false;
	struct buf text = { 0 };
	struct dsn dsn = {
		.hostname = router->config->hostname,
		.sender = record->sender,
		.envid = record->envid,
		.arrival_wall_us = record->accepted_wall_us,
		.now_wall_us = clock_wall_us(),
		.retry_until_wall_us = record->accepted_wall_us +
			(int64_t)router->config->queue_lifetime_s * 1000000,
		.recipients = recipients,
		.full = record->ret != SMTP_RET_HDRS && message.length <= ORIGINAL_MAX,
		.utf8 = record->utf8,
	};

	memset(entry_out, 0, sizeof(*entry_out));
	for (unsigned i = 0; i < record->recipient_count; i++) {
		const struct queue_recipient *recipient = &record->recipients[i].public;
		if (!is_told(recipient, news[i]))
			continue;
		failures |= news[i] == BOUNCE_FAILED;
		recipients[dsn.recipient_count++] = (struct dsn_recipient){
			.action = actions[news[i]],
			.address = recipient->original,
			.orcpt = recipient->orcpt,
			.status = status_of(pool, recipient->reply, news[i]),
			.diagnostic = recipient->reply,
		};
	}
	if (dsn.recipient_count == 0 || record->sender[0] == 0)
		return false;
	if (!find_sender(router, record->sender, pool, entry_out)) {
		log_warn("bounce_undeliverable", "sender=%s", log_quote(str_from(record->sender)));
		return false;
	}
	/* A success or a delay is told with the header alone (RFC 3461 section 4.3). */
	dsn.full &= failures;
	rand_bytes(entry_out->delivery_id, sizeof(entry_out->delivery_id));
	rand_bytes(random, sizeof(random));
	encode_hex(&text, random, sizeof(random));
	dsn.id = pool_copy_terminated(pool, buf_str(&text));
	dsn.original = dsn.full ? message : trace_header(message);
	buf_clear(&text);
	dsn_compose(&dsn, &text);
	entry_out->accepted_wall_us = dsn.now_wall_us;
	entry_out->sender = "";
	entry_out->envid = "";
	entry_out->eight_bit = true;
	entry_out->utf8 = record->utf8;
	entry_out->wants_copy = record->wants_copy;
	entry_out->body = bytes_create_copy(buf_str(&text));
	buf_deinit(&text);
	return true;
}
