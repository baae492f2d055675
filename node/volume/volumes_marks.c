#include "node/volume/volumes_internal.h"

#include "core/config.h"
#include "core/encode.h"

#include <stdlib.h>

/*
 * For `pando check` and `pando mailbox adopt`: what the volumes that this node serves hold, beside
 * what the directory says. Volume after volume: its worker lists its mailboxes, the front thread
 * looks each up in its copy of the directory. That takes some milliseconds for 100,000 mailboxes,
 * and nobody asks often.
 */

/* The address for which it was made follows. */
struct stored_mailbox {
	uint64_t id, messages;
	uint8_t mark[MAILBOX_MARK_LENGTH];
	size_t address_length;
};

struct marks_report {
	struct task task;
	struct volumes *volumes;
	struct slot *slot;    /* whose mailboxes these are */
	struct buf stored;    /* struct stored_mailbox and address each */
	struct buf wanted;    /* key of the address for which they were made; empty: of any, but
				 only what is another mailbox than the directory's */
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

static bool is_wanted(const struct marks_report *report, const struct mailbox *mailbox)
{
	char space[DIRECTORY_ADDRESS_MAX];
	return buf_length(&report->wanted) == 0 ||
		str_equal(buf_str(&report->wanted),
			directory_address_key(mailbox->made_for, space));
}

static void run_list(struct worker_call *call)
{
	struct marks_report *report = call->arg;
	const struct volume *volume = call->slot->volume;
	void *value;
	for (size_t i = 0; volume->state == VOLUME_PRIMARY &&
		map_next(volume->index.mailboxes, &i, NULL, &value);) {
		const struct mailbox *mailbox = value;
		if (mailbox->folder_count == 0 || !is_wanted(report, mailbox))
			continue;
		struct stored_mailbox stored = { .id = mailbox->id,
			.messages = count_messages(mailbox),
			.address_length = mailbox->made_for.length };
		memcpy(stored.mark, mailbox->mark, sizeof(stored.mark));
		buf_append(&report->stored, &stored, sizeof(stored));
		buf_append_str(&report->stored, mailbox->made_for);
	}
	report->task = (struct task){ .run = on_stored, .arg = report };
	loop_post(report->volumes->front, &report->task);
}

static void report_one(
	struct marks_report *report, const struct stored_mailbox *stored, struct str made_for)
{
	struct buf *json = &report->json;
	const struct directory_mailbox *mailbox =
		directory_find_mailbox(report->volumes->directory, stored->id);
	bool is_here = mailbox != NULL && mailbox->volume_id == report->slot->id;
	bool is_same = is_here && memcmp(mailbox->mark, stored->mark, sizeof(stored->mark)) == 0;
	/* One that the directory does not know has been removed, and keeps its place. */
	if (buf_length(&report->wanted) == 0 && (!is_here || is_same))
		return;
	buf_printf(json, "%s{\"volume\": %u, \"mailbox_id\": %llu, \"made_for\": ",
		report->first ? "" : ", ", report->slot->id, (unsigned long long)stored->id);
	encode_json(json, made_for);
	buf_append_literal(json, ", \"mark\": \"");
	encode_hex(json, stored->mark, sizeof(stored->mark));
	buf_printf(json, "\", \"messages\": %llu, \"is_same\": %s, \"address\": ",
		(unsigned long long)stored->messages, is_same ? "true" : "false");
	encode_json(json, mailbox ? mailbox->address : STR(""));
	buf_append_byte(json, '}');
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
	buf_deinit(&report->wanted);
	free(report);
}

static void on_stored(void *arg)
{
	struct marks_report *report = arg;
	struct str all = buf_str(&report->stored);
	while (all.length > 0) {
		struct stored_mailbox stored;
		memcpy(&stored, all.bytes, sizeof(stored));
		all = str_from_index(all, sizeof(stored));
		report_one(report, &stored, str_first(all, stored.address_length));
		all = str_from_index(all, stored.address_length);
	}
	buf_deinit(&report->stored);
	ask_next(report);
}

void volumes_mailboxes(struct volumes *volumes, struct str made_for,
	void (*done)(void *arg, struct str json), void *arg)
{
	struct marks_report *report = mem_alloc(sizeof(*report));
	char space[DIRECTORY_ADDRESS_MAX];
	*report = (struct marks_report){
		.volumes = volumes, .first = true, .done = done, .arg = arg
	};
	buf_append_str(&report->wanted, directory_address_key(made_for, space));
	buf_append_literal(&report->json, "{\"mailboxes\": [");
	ask_next(report);
}
