#include "router/queue_item.h"

#include "core/clock.h"
#include "core/encode.h"

enum {
	/* Messages of a list: nobody reads more, and half a million of them do not fit into an
	 * answer. */
	LIST_MAX = 10000,
};

static void append_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "\"%s\": ", key);
	encode_json(out, str_from(text));
}

/* Seconds until it is tried again; 0 while it is being tried. */
static long long next_try_s(const struct queue_item *item)
{
	uint64_t now = clock_mono_us();
	if (item->is_busy || item->next_us <= now)
		return 0;
	return (long long)(item->next_us - now) / 1000000;
}

/* Whose it is to deliver or to bounce. */
static const char *role_of(const struct queue_item *item)
{
	return item_is_copy(item) ? "copy" : item->is_adopted ? "adopted" : "own";
}

static const char *recipient_state(const struct queue_record_recipient *recipient)
{
	static const char *const states[] = { "pending", "failed", "delivered", "bounced" };
	return states[recipient->state];
}

static void append_item(const struct queue_item *item, struct buf *out)
{
	const struct queue_record *record = &item->record;

	buf_printf(out, "{\"id\": \"%s\", ", item->id);
	append_text(out, "sender", record->sender);
	buf_printf(out,
		", \"accepted_s\": %lld, \"age_s\": %lld, \"bytes\": %u, \"attempts\": %u, "
		"\"next_try_s\": %lld, ",
		(long long)(record->accepted_wall_us / 1000000),
		(long long)((clock_wall_us() - record->accepted_wall_us) / 1000000),
		record->body_length, item->attempts, next_try_s(item));
	append_text(out, "owner", record->owner);
	buf_printf(out,
		", \"role\": \"%s\", \"copied\": %s, \"readable\": %s, \"active\": %s, "
		"\"recipients\": [",
		role_of(item), item->copy_router_id != 0 ? "true" : "false",
		item->is_unreadable ? "false" : "true", item->is_busy ? "true" : "false");
	for (unsigned i = 0; i < record->recipient_count; i++) {
		const struct queue_record_recipient *recipient = &record->recipients[i];
		buf_printf(out, "%s{", i > 0 ? ", " : "");
		append_text(out, "address", recipient->public.address);
		buf_printf(out, ", \"via\": \"%s\", \"state\": \"%s\", ",
			recipient->public.kind == QUEUE_RELAY ? "relay" : "home",
			recipient_state(recipient));
		append_text(out, "reply", recipient->public.reply);
		buf_append_byte(out, '}');
	}
	buf_append_literal(out, "]}");
}

void queue_list(struct queue *queue, struct buf *out)
{
	size_t shown = 0;

	buf_append_literal(out, "{\"messages\": [");
	list_for_each(entry, &queue->ages) {
		if (shown == LIST_MAX)
			break;
		if (shown++ > 0)
			buf_append_literal(out, ", ");
		append_item(list_entry(entry, struct queue_item, age), out);
	}
	buf_printf(out, "], \"not_shown\": %zu}", map_count(queue->items) - shown);
}

/* One row per recipient, in the shape in which nodes tell of their own. */
static void append_risks(const struct queue_item *item, bool *first, struct buf *out)
{
	const struct queue_record *record = &item->record;

	if (item->copy_router_id != 0 || item_is_copy(item))
		return;
	for (unsigned i = 0; i < record->recipient_count; i++) {
		const struct queue_record_recipient *recipient = &record->recipients[i];
		if (recipient->state != QUEUE_PENDING)
			continue;
		buf_printf(out, "%s{\"volume\": \"queue\", \"mailbox_id\": %llu, ",
			*first ? "" : ", ", (unsigned long long)recipient->public.mailbox_id);
		*first = false;
		append_text(out, "address", recipient->public.address);
		buf_printf(out,
			", \"uid\": 0, \"delivery_id\": \"%s\", \"lsn\": %llu, \"since\": \"",
			item->id, (unsigned long long)item->body_lsn);
		encode_time(out, record->accepted_wall_us);
		buf_append_literal(out, "\"}");
	}
}

void queue_at_risk(struct queue *queue, struct buf *out)
{
	size_t position = 0;
	struct str key;
	void *value;
	bool first = true;

	buf_append_literal(out, "{\"messages\": [");
	while (map_next(queue->items, &position, &key, &value))
		append_risks(value, &first, out);
	buf_append_literal(out, "]}");
}

/* One row per recipient: what is known of each, and the last answer about it. */
static void append_recipient(const struct queue_item *item,
	const struct queue_record_recipient *recipient, struct buf *out)
{
	buf_printf(out, "{\"id\": \"%s\", ", item->id);
	append_text(out, "sender", item->record.sender);
	buf_append_literal(out, ", ");
	append_text(out, "recipient", recipient->public.address);
	buf_printf(out,
		", \"via\": \"%s\", \"state\": \"%s\", \"attempts\": %u, "
		"\"next_try_s\": %lld, ",
		recipient->public.kind == QUEUE_RELAY ? "relay" : "home",
		recipient_state(recipient), item->attempts, next_try_s(item));
	append_text(out, "owner", item->record.owner);
	buf_append_literal(out, ", ");
	append_text(out, "reply", recipient->public.reply);
	buf_append_byte(out, '}');
}

bool queue_show(struct queue *queue, struct str id, struct buf *out)
{
	const struct queue_item *item = queue_find(queue, id);
	if (!item)
		return false;
	buf_append_literal(out, "{\"messages\": [");
	for (unsigned i = 0; i < item->record.recipient_count; i++) {
		if (i > 0)
			buf_append_literal(out, ", ");
		append_recipient(item, &item->record.recipients[i], out);
	}
	buf_append_literal(out, "]}");
	return true;
}
