#include "node/volume/volumes_internal.h"

#include "core/encode.h"
#include "node/volume/unshipped.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * What would be lost: for `pando at-risk` the messages that were accepted on one site, and all that
 * the logs have above what another site has; for `pando failover` what one log has above where a
 * copy ends. One volume after the other: its worker says where to look, a pool thread looks
 * (unshipped.h), the worker names the mailboxes as its index knows them, the front thread answers.
 */

struct risk_item {
	struct slot *slot;
	uint64_t from;
};

struct risk_request {
	struct task task;
	struct volumes *volumes;
	bool is_above; /* of what stands above `from`; else of all that is served here */
	struct risk_item *items;
	size_t count, next;
	struct unshipped unshipped;
	uint64_t from;
	struct buf messages, changes;
	void (*done)(void *arg, struct str json);
	void *arg;
};

static void ask_next(void *arg);

/* ---- on the worker ---- */

static void list_messages(struct risk_request *request, const struct volume *volume)
{
	struct buf *out = &request->messages;
	for (size_t i = 0; i < volume->at_risk_count; i++) {
		const struct at_risk *entry = &volume->at_risk[volume->at_risk_first + i];
		const struct mailbox *mailbox =
			index_find_mailbox(&volume->index, entry->mailbox_id);
		buf_printf(out, "%s{\"volume\": %u, \"mailbox_id\": %llu, \"made_for\": ",
			buf_length(out) ? ", " : "", volume->options.id,
			(unsigned long long)entry->mailbox_id);
		encode_json(out, mailbox ? mailbox->made_for : STR(""));
		buf_printf(out, ", \"uid\": %u, \"delivery_id\": \"", entry->uid);
		encode_hex(out, entry->delivery_id, sizeof(entry->delivery_id));
		buf_printf(out, "\", \"lsn\": %llu, \"since\": \"", (unsigned long long)entry->lsn);
		encode_time(out, entry->since_us);
		buf_append_literal(out, "\"}");
	}
}

static void append_counts(struct buf *out, const struct unshipped_mailbox *counts)
{
	buf_printf(out,
		"\"lsn\": %llu, \"messages\": %llu, \"copies\": %llu, \"flags\": %llu, "
		"\"expunges\": %llu, \"folders\": %llu, \"subscriptions\": %llu}",
		(unsigned long long)counts->end_lsn, (unsigned long long)counts->messages,
		(unsigned long long)counts->copies, (unsigned long long)counts->flags,
		(unsigned long long)counts->expunges, (unsigned long long)counts->folders,
		(unsigned long long)counts->subscriptions);
}

static void list_changes(struct risk_request *request, const struct volume *volume)
{
	const struct unshipped *unshipped = &request->unshipped;
	struct buf *out = &request->changes;
	bool first = true;
	void *value;
	buf_printf(out, "%s{\"volume\": %u, \"from_lsn\": %llu, \"end_lsn\": %llu, ",
		buf_length(out) ? ", " : "", volume->options.id, (unsigned long long)request->from,
		(unsigned long long)unshipped->end);
	buf_printf(out, "\"unread_bytes\": %llu, \"mailboxes\": [",
		(unsigned long long)(unshipped->end - unshipped->next));
	for (size_t i = 0; map_next(unshipped->mailboxes, &i, NULL, &value); first = false) {
		const struct unshipped_mailbox *counts = value;
		const struct mailbox *mailbox =
			index_find_mailbox(&volume->index, counts->mailbox_id);
		buf_printf(out, "%s{\"mailbox_id\": %llu, \"made_for\": ", first ? "" : ", ",
			(unsigned long long)counts->mailbox_id);
		encode_json(out, mailbox ? mailbox->made_for : STR(""));
		buf_append_literal(out, ", \"mark\": \"");
		if (mailbox)
			encode_hex(out, mailbox->mark, sizeof(mailbox->mark));
		buf_append_literal(out, "\", ");
		append_counts(out, counts);
	}
	if (unshipped->others.end_lsn > 0) {
		buf_append_literal(out, ", {\"mailbox_id\": 0, \"made_for\": \"others\", ");
		append_counts(out, &unshipped->others);
	}
	buf_append_literal(out, "]}");
}

static void go_on(struct risk_request *request)
{
	request->task = (struct task){ .run = ask_next, .arg = request };
	loop_post(request->volumes->front, &request->task);
}

static void look(void *arg);

static void on_looked(void *arg)
{
	struct risk_request *request = arg;
	const struct slot *slot = request->items[request->next - 1].slot;
	struct unshipped *unshipped = &request->unshipped;
	if (slot->volume == NULL) {
		/* The process ends, and nobody is answered any more. */
		unshipped_deinit(unshipped);
		return;
	}
	if (unshipped->status == 0 && unshipped->next < unshipped->end &&
		unshipped->bytes_left > 0) {
		loop_work(slot->worker->loop, look, on_looked, request);
		return;
	}
	list_changes(request, slot->volume);
	unshipped_deinit(unshipped);
	go_on(request);
}

static void look(void *arg)
{
	struct risk_request *request = arg;
	(void)!unshipped_look(&request->unshipped); /* on_looked sees for itself */
}

static void run_begin(struct worker_call *call)
{
	struct risk_request *request = call->arg;
	const struct volume *volume = call->slot->volume;
	const struct volume_options *options = &volume->options;
	uint64_t end = volume->log ? volume_log_end(volume->log) : volume->reader_end;
	/* What a failed disk has above that was confirmed to nobody. */
	if (volume_has_failed(volume) && volume->answered_end < end)
		end = volume->answered_end;
	request->from = request->items[request->next - 1].from;
	bool is_asked = request->is_above;
	if (!is_asked && (volume->state == VOLUME_PRIMARY || volume->state == VOLUME_FENCED)) {
		list_messages(request, volume);
		request->from = volume_shipped_end(volume);
		is_asked = volume_has_replica(volume);
	}
	if (!is_asked || request->from >= end) {
		go_on(request);
		return;
	}
	unshipped_init(&request->unshipped, options->disk, options->log_directory, options->id,
		request->from, end);
	if (!request->is_above)
		request->unshipped.waiting_from = volume_first_wait(volume);
	loop_work(options->loop, look, on_looked, request);
}

/* ---- on the front thread ---- */

static void ask_next(void *arg)
{
	struct risk_request *request = arg;
	if (request->next < request->count) {
		struct worker_call *call =
			slot_call(request->items[request->next++].slot, run_begin);
		call->arg = request;
		slot_send(call);
		return;
	}
	struct buf json = { 0 };
	buf_append_literal(&json, "{\"messages\": [");
	buf_append_str(&json, buf_str(&request->messages));
	buf_append_literal(&json, "], \"changes\": [");
	buf_append_str(&json, buf_str(&request->changes));
	buf_append_literal(&json, "]}");
	request->done(request->arg, buf_str(&json));
	buf_deinit(&json);
	buf_deinit(&request->messages);
	buf_deinit(&request->changes);
	free(request->items);
	free(request);
}

void volumes_at_risk(struct volumes *volumes, void (*done)(void *arg, struct str json), void *arg)
{
	struct risk_request *request = mem_alloc(sizeof(*request));
	void *value;
	*request = (struct risk_request){ .volumes = volumes, .done = done, .arg = arg };
	request->items = mem_alloc((map_count(volumes->slots) + 1) * sizeof(*request->items));
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);)
		request->items[request->count++] = (struct risk_item){ .slot = value };
	ask_next(request);
}

int volumes_above(struct volumes *volumes, struct str list,
	void (*done)(void *arg, struct str json), void *arg)
{
	struct buf items = { 0 };
	struct volumes_pair pair;
	int result;
	size_t count = 0;
	while ((result = volumes_next_pair(&list, &pair)) > 0) {
		struct risk_item item = { volumes_find_slot(volumes, pair.volume_id), pair.number };
		if (item.slot == NULL)
			continue;
		buf_append(&items, &item, sizeof(item));
		count++;
	}
	if (result < 0) {
		buf_deinit(&items);
		return result;
	}
	struct risk_request *request = mem_alloc(sizeof(*request));
	*request = (struct risk_request){
		.volumes = volumes, .is_above = true, .count = count, .done = done, .arg = arg
	};
	request->items = mem_alloc((count + 1) * sizeof(*request->items));
	memcpy(request->items, buf_str(&items).bytes, count * sizeof(*request->items));
	buf_deinit(&items);
	ask_next(request);
	return 0;
}
