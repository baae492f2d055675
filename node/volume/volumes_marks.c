#include "node/volume/volumes_internal.h"

#include "core/config.h"
#include "core/encode.h"

#include <stdlib.h>

/*
 * For `pando check` and `pando mailbox adopt`: mailboxes of the directory under whose id a volume
 * that this node serves holds another one. Volume after volume: its worker lists what it has, the
 * front thread looks each up in its copy of the directory. That takes some milliseconds for 100,000
 * mailboxes, and nobody asks often.
 */

struct stored_mailbox {
	uint64_t id, messages;
	uint8_t mark[MAILBOX_MARK_LENGTH];
};

struct marks_report {
	struct task task;
	struct volumes *volumes;
	struct slot *slot; /* whose mailboxes these are */
	struct buf stored; /* struct stored_mailbox each */
	struct buf json;
	size_t next_slot;
	bool first;
	void (*done)(void *arg, struct str json);
	void *arg;
};

static void on_stored(void *arg);

static uint64_t count_messages(const struct mailbox *mailbox)
{
	uint64_t count = 0;
	for (uint32_t i = 0; i < mailbox->folder_count; i++)
		count += mailbox->folders[i]->message_count;
	return count;
}

static void run_list(struct worker_call *call)
{
	struct marks_report *report = call->arg;
	const struct volume *volume = call->slot->volume;
	void *value;
	for (size_t i = 0; volume->state == VOLUME_PRIMARY &&
		map_next(volume->index.mailboxes, &i, NULL, &value);) {
		const struct mailbox *mailbox = value;
		struct stored_mailbox stored = { mailbox->id, count_messages(mailbox), { 0 } };
		if (mailbox->folder_count == 0)
			continue;
		memcpy(stored.mark, mailbox->mark, sizeof(stored.mark));
		buf_append(&report->stored, &stored, sizeof(stored));
	}
	report->task = (struct task){ .run = on_stored, .arg = report };
	loop_post(report->volumes->front, &report->task);
}

static void report_other(struct marks_report *report, const struct stored_mailbox *stored,
	const struct directory_mailbox *mailbox)
{
	struct buf *json = &report->json;
	buf_printf(json, "%s{\"volume\": %u, \"mailbox_id\": %llu, \"address\": ",
		report->first ? "" : ", ", report->slot->id, (unsigned long long)stored->id);
	encode_json(json, mailbox->address);
	buf_append_literal(json, ", \"mark\": \"");
	encode_hex(json, stored->mark, sizeof(stored->mark));
	buf_append_literal(json, "\", \"directory_mark\": \"");
	encode_hex(json, mailbox->mark, sizeof(mailbox->mark));
	buf_printf(json, "\", \"messages\": %llu}", (unsigned long long)stored->messages);
	report->first = false;
}

static void ask_next(struct marks_report *report)
{
	void *value;
	if (map_next(report->volumes->slots, &report->next_slot, NULL, &value)) {
		struct worker_call *call = slot_call(value, run_list);
		report->slot = value;
		call->arg = report;
		slot_send(call);
		return;
	}
	buf_append_literal(&report->json, "]}");
	report->done(report->arg, buf_str(&report->json));
	buf_deinit(&report->json);
	free(report);
}

static void on_stored(void *arg)
{
	struct marks_report *report = arg;
	struct str all = buf_str(&report->stored);
	for (; all.length > 0; all = str_from_index(all, sizeof(struct stored_mailbox))) {
		struct stored_mailbox stored;
		memcpy(&stored, all.bytes, sizeof(stored));
		const struct directory_mailbox *mailbox =
			directory_find_mailbox(report->volumes->directory, stored.id);
		/* One that the directory does not know has been removed, and keeps its place. */
		if (mailbox != NULL && mailbox->volume_id == report->slot->id &&
			memcmp(mailbox->mark, stored.mark, sizeof(stored.mark)) != 0)
			report_other(report, &stored, mailbox);
	}
	buf_deinit(&report->stored);
	ask_next(report);
}

void volumes_others(struct volumes *volumes, void (*done)(void *arg, struct str json), void *arg)
{
	struct marks_report *report = mem_alloc(sizeof(*report));
	*report = (struct marks_report){
		.volumes = volumes, .first = true, .done = done, .arg = arg
	};
	buf_append_literal(&report->json, "{\"others\": [");
	ask_next(report);
}
