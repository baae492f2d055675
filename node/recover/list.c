#include "node/recover/internal.h"

#include "core/encode.h"
#include "node/recover/envelope.h"
#include "proto/mail/summary.h"

#include <stdlib.h>

/*
 * The page: first the ranges of bodies, then, for bodies that somebody shows, the mailbox' own
 * folders, then the summaries. A message that is copied and expunged, as clients move that know no
 * MOVE, is kept like any other and yet there: it is not listed.
 */

enum {
	/* In one turn of the loop: a millisecond or two. */
	RANGES_PER_TURN = 32,
	/* A longer summary is of a message with thousands of parts; its envelope is not worth the
	 * memory. */
	SUMMARY_READ_MAX = 256 << 10,
};

struct folder *recover_folder_of(struct mailbox *mailbox, const struct kept_message *kept)
{
	return mailbox_folder_by_id(mailbox, kept->folder_id);
}

/* ---- the answer ---- */

static void append_one(struct recover *recover, struct mailbox *mailbox, const struct listed *one)
{
	struct buf *json = &recover->json;
	const struct folder *folder = recover_folder_of(mailbox, &one->kept);
	buf_printf(json, "%s{\"lsn\": %llu, \"folder\": ",
		buf_str(json).bytes[buf_length(json) - 1] == '[' ? "" : ", ",
		(unsigned long long)one->lsn);
	encode_json(json, folder ? folder->name : kept_folder(&one->kept));
	buf_printf(json,
		", \"folder_is_gone\": %s, \"uid\": %u, \"size\": %u, \"received_s\": %lld, "
		"\"expunged_s\": %lld, \"until_s\": %lld, \"from\": ",
		folder ? "false" : "true", one->kept.uid, one->kept.size,
		(long long)one->kept.internal_date_s, (long long)one->kept.expunged_s,
		(long long)one->until_s);
	encode_json(json, one->from);
	buf_append_literal(json, ", \"subject\": ");
	encode_json(json, one->subject);
	buf_append_byte(json, '}');
}

static void answer(struct recover *recover)
{
	struct mailbox *mailbox = recover_mailbox(recover);
	if (mailbox == NULL)
		return;
	buf_append_literal(&recover->json, "{\"messages\": [");
	for (uint32_t i = 0; i < recover->listed_count; i++)
		if (!recover->listed[i].is_shown)
			append_one(recover, mailbox, &recover->listed[i]);
	buf_printf(&recover->json, "], \"next\": %llu}", (unsigned long long)recover->next);
	recover_end(recover);
}

/* ---- what the summaries say ---- */

static void read_next(void *arg);

static void on_summary(struct message_read *read)
{
	struct recover *recover = read->arg;
	struct listed *one = &recover->listed[recover->message++];
	struct summary summary;
	if (read->status == 0 && summary_decode(bytes_str(read->bytes), &summary))
		envelope_read(summary.envelope, recover->pool, &one->from, &one->subject);
	bytes_unref(&read->bytes);
	recover_later(recover, read_next);
}

static void read_next(void *arg)
{
	struct recover *recover = arg;
	struct mailbox *mailbox = recover_mailbox(recover);
	if (mailbox == NULL)
		return;
	for (; recover->message < recover->listed_count; recover->message++) {
		const struct listed *one = &recover->listed[recover->message];
		if (one->is_shown || one->kept.summary_length == 0 ||
			one->kept.summary_length > SUMMARY_READ_MAX)
			continue;
		struct message message = { .body_lsn = one->lsn,
			.size = one->kept.size,
			.summary_length = one->kept.summary_length };
		recover->read = (struct message_read){ .done = on_summary, .arg = recover };
		/* The folder only says which log. */
		if (message_read_summary(mailbox->folders[0], &message, &recover->read))
			on_summary(&recover->read);
		return;
	}
	answer(recover);
}

/* ---- what the mailbox shows ---- */

static void look_at_folder(void *arg)
{
	struct recover *recover = arg;
	struct mailbox *mailbox = recover_mailbox(recover);
	if (mailbox == NULL)
		return;
	if (map_count(recover->by_lsn) == 0 || recover->folder >= mailbox->folder_count) {
		read_next(recover);
		return;
	}
	struct folder *folder = mailbox->folders[recover->folder++];
	if (folder_load(folder) < 0) {
		recover_refuse(recover, "the index of its volume is being made anew: try again");
		return;
	}
	for (uint32_t i = 0; i < folder->message_count; i++) {
		uint64_t lsn = folder->messages[i].body_lsn;
		struct listed *one = map_get(recover->by_lsn, map_key_u64(&lsn));
		if (one != NULL)
			one->is_shown = true;
	}
	recover_later(recover, look_at_folder);
}

/* ---- what is kept ---- */

/* False: the page is full, and the next one begins with this. */
static bool take(
	struct recover *recover, const struct body_range *range, const struct kept_message *kept)
{
	uint64_t lsn = body_range_lsn(range, kept->offset);
	int64_t until = volume_kept_until(recover->volume, kept);
	if (kept->mailbox_id != recover->mailbox_id || lsn < recover->from || until == 0)
		return true;
	if (recover->listed_count == RECOVER_LISTED_MAX) {
		recover->next = lsn;
		return false;
	}
	struct listed *one = &recover->listed[recover->listed_count++];
	const struct body *body = body_range_find(range, kept->offset);
	*one = (struct listed){ .lsn = lsn, .kept = *kept, .until_s = until };
	one->kept.texts = pool_copy(recover->pool, kept->texts);
	if (body != NULL && body->references > 0)
		map_set(recover->by_lsn, map_key_u64(&one->lsn), one);
	return true;
}

static void look_at_ranges(void *arg)
{
	struct recover *recover = arg;
	struct body_range *range;
	bool goes_on = true;
	int found = 1;
	if (recover_mailbox(recover) == NULL)
		return;
	for (unsigned i = 0; i < RANGES_PER_TURN && goes_on; i++) {
		found = bodies_next_kept(&recover->volume->index, recover->range, &range);
		if (found <= 0)
			break;
		for (uint32_t k = 0; goes_on && k < range->kept.count; k++)
			goes_on = take(recover, range, &range->kept.messages[k]);
		recover->range = range->number + 1;
	}
	bodies_trim(&recover->volume->index.bodies);
	if (found < 0)
		recover_refuse(recover, "the index of its volume is being made anew: try again");
	else if (found > 0 && goes_on)
		recover_later(recover, look_at_ranges);
	else
		look_at_folder(recover);
}

void recover_begin_list(struct recover *recover)
{
	recover->listed = pool_alloc(recover->pool, RECOVER_LISTED_MAX * sizeof(*recover->listed));
	recover->by_lsn = map_create();
	recover->range = bodies_range_of(recover->from);
	look_at_ranges(recover);
}
