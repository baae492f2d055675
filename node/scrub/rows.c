#include "node/scrub/rows.h"

#include <errno.h>
#include <stdlib.h>

/* ---- all messages ---- */

static void begin(struct rows *rows, const struct index *index)
{
	void *value;
	rows->mailboxes = mem_alloc((map_count(index->mailboxes) + 1) * sizeof(*rows->mailboxes));
	for (size_t i = 0; map_next(index->mailboxes, &i, NULL, &value);)
		rows->mailboxes[rows->mailbox_count++] = ((const struct mailbox *)value)->id;
}

/* The folder with the lowest number from this one on: numbers stay, places in the list do not. */
static struct folder *folder_from(const struct mailbox *mailbox, uint32_t id)
{
	struct folder *lowest = NULL;
	for (uint32_t i = 0; i < mailbox->folder_count; i++) {
		struct folder *folder = mailbox->folders[i];
		if (folder->id >= id && (lowest == NULL || folder->id < lowest->id))
			lowest = folder;
	}
	return lowest;
}

int rows_next(struct rows *rows, const struct index *index,
	void (*fn)(void *arg, const struct message *message), void *arg)
{
	if (rows->mailboxes == NULL)
		begin(rows, index);
	if (rows->mailbox == rows->mailbox_count)
		return 0;
	const struct mailbox *mailbox = index_find_mailbox(index, rows->mailboxes[rows->mailbox]);
	struct folder *folder = mailbox ? folder_from(mailbox, rows->folder_id) : NULL;
	if (folder == NULL) {
		rows->mailbox++;
		rows->folder_id = rows->chunk = 0;
		return 1;
	}
	if (folder->id != rows->folder_id)
		rows->chunk = 0;
	rows->folder_id = folder->id;
	if (folder->message_count == 0 || rows->chunk > folder->uidnext >> CHUNK_UID_BITS) {
		rows->folder_id++;
		rows->chunk = 0;
		return 1;
	}
	rows->folder = folder;
	int result = folder_look_at_chunk(folder, rows->chunk++, fn, arg);
	return result < 0 ? result : 1;
}

void rows_deinit(struct rows *rows)
{
	free(rows->mailboxes);
	*rows = (struct rows){ 0 };
}

/* ---- comparing ---- */

static void note(struct rows_faults *faults, uint64_t lsn)
{
	if (faults->count++ == 0)
		faults->first_lsn = lsn;
}

struct body_look {
	const struct walk *walk;
	size_t next; /* of its messages, which rise as bodies do */
	struct rows_faults *faults;
};

static void on_body(void *arg, const struct body_at *body)
{
	struct body_look *look = arg;
	const struct walk *walk = look->walk;
	while (look->next < walk->message_count && walk->messages[look->next].lsn < body->lsn)
		look->next++;
	const struct walk_message *message =
		look->next < walk->message_count ? &walk->messages[look->next] : NULL;
	if (message == NULL || message->lsn != body->lsn || message->length != body->length)
		note(look->faults, body->lsn);
}

int rows_compare_bodies(struct index *index, const struct walk *walk, uint64_t from,
	struct rows_faults *faults)
{
	struct body_look look = { .walk = walk, .faults = faults };
	return walk->damage_count > 0 || walk->message_count == WALK_MESSAGES_MAX
		? 0
		: bodies_each_shown(index, from, walk->lsn, on_body, &look);
}

struct message_look {
	struct index *index;
	struct rows_faults *faults;
	int status;
};

static void on_message(void *arg, const struct message *message)
{
	struct message_look *look = arg;
	int64_t length = bodies_length(look->index, message->body_lsn);
	if (length == -ENOENT || (length >= 0 && length != body_length(message->size,
							    message->summary_length)))
		note(look->faults, message->body_lsn);
	else if (length < 0)
		look->status = (int)length;
}

int rows_compare_next(struct rows *rows, struct index *index, struct rows_faults *faults)
{
	struct message_look look = { .index = index, .faults = faults };
	int result = rows_next(rows, index, on_message, &look);
	return look.status < 0 ? look.status : result;
}
