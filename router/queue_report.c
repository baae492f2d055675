#include "router/queue_item.h"

#include "core/clock.h"
#include "core/encode.h"

static void append_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "\"%s\": ", key);
	encode_json(out, str_from(text));
}

static void append_item(const struct queue_item *item, struct buf *out)
{
	static const char *const states[] = { "pending", "failed", "delivered", "bounced" };
	const struct queue_record *record = &item->record;

	buf_printf(out, "{\"id\": \"%s\", ", item->id);
	append_text(out, "sender", record->sender);
	buf_printf(out,
		", \"accepted_s\": %lld, \"age_s\": %lld, \"bytes\": %u, \"attempts\": %u, ",
		(long long)(record->accepted_wall_us / 1000000),
		(long long)((clock_wall_us() - record->accepted_wall_us) / 1000000),
		record->body_length, item->attempts);
	append_text(out, "owner", record->owner);
	buf_printf(out, ", \"copied\": %s, \"active\": %s, \"recipients\": [",
		item->copy_router_id != 0 ? "true" : "false", item->is_busy ? "true" : "false");
	for (unsigned i = 0; i < record->recipient_count; i++) {
		const struct queue_record_recipient *recipient = &record->recipients[i];
		buf_printf(out, "%s{", i > 0 ? ", " : "");
		append_text(out, "address", recipient->public.address);
		buf_printf(out, ", \"via\": \"%s\", \"state\": \"%s\", ",
			recipient->public.kind == QUEUE_RELAY ? "relay" : "home",
			states[recipient->state]);
		append_text(out, "reply", recipient->public.reply);
		buf_append_byte(out, '}');
	}
	buf_append_literal(out, "]}");
}

void queue_list(struct queue *queue, struct buf *out)
{
	size_t position = 0;
	struct str key;
	void *value;
	bool first = true;

	buf_append_literal(out, "{\"messages\": [");
	while (map_next(queue->items, &position, &key, &value)) {
		if (!first)
			buf_append_literal(out, ", ");
		first = false;
		append_item(value, out);
	}
	buf_append_literal(out, "]}");
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

bool queue_show(struct queue *queue, struct str id, struct buf *out)
{
	const struct queue_item *item = queue_find(queue, id);
	if (!item)
		return false;
	buf_append_literal(out, "{\"messages\": [");
	append_item(item, out);
	buf_append_literal(out, "]}");
	return true;
}
