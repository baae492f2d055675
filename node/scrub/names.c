#include "core/clock.h"
#include "core/log.h"
#include "node/scrub/internal.h"
#include "node/scrub/rows.h"
#include "node/scrub/sender.h"
#include "proto/mail/summary.h"
#include "spool/log_files.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Whose messages are damaged where no copy could mend them. The index knows which body each message
 * shows, but not which messages show a body: so all folders are looked through, on the volume's
 * worker, some milliseconds at a time, and those that are not loaded stay so. Then a pool thread
 * reads who has sent them, where that can still be read.
 */

enum {
	/* At a time: a worker has sessions that wait. */
	TURN_US = 3000,
	/* An index that is being made anew is asked again. */
	LATER_MS = 10000,
};

/* Of one stain. */
struct range {
	uint64_t from, to, messages;
};

struct naming {
	struct volume_call call;
	struct task task;
	struct scrubbed *copy;
	struct range ranges[SCRUB_DAMAGES_MAX]; /* by their stains' numbers */
	unsigned range_count;
	uint64_t shown, seen; /* messages that are to be found, and that were */
	struct rows rows;
	bool has_begun, is_over;
	int status;
	struct named_message *messages;
	unsigned message_count;
	struct disk *disk;
	char folder_path[512]; /* of the log */
};

/* ---- on the worker ---- */

static void on_message(void *arg, const struct message *message)
{
	struct naming *naming = arg;
	unsigned i = 0;
	while (i < naming->range_count && (message->body_lsn < naming->ranges[i].from ||
						  message->body_lsn >= naming->ranges[i].to))
		i++;
	if (i == naming->range_count)
		return;
	naming->ranges[i].messages++;
	naming->seen++;
	if (naming->message_count == SCRUB_NAMED_MAX)
		return;
	const struct folder *folder = naming->rows.folder;
	const struct mailbox *mailbox = folder->mailbox;
	struct named_message *named = &naming->messages[naming->message_count++];
	*named = (struct named_message){ .mailbox_id = mailbox->id,
		.body_lsn = message->body_lsn,
		.made_for = mailbox->made_for,
		.folder = folder->name,
		.uid = message->uid,
		.size = message->size,
		.summary_length = message->summary_length };
	named->made_for.bytes = str_to_heap(mailbox->made_for);
	named->folder.bytes = str_to_heap(folder->name);
	memcpy(named->mark, mailbox->mark, sizeof(named->mark));
}

static int begin(struct naming *naming, struct index *index)
{
	naming->has_begun = true;
	for (unsigned i = 0; i < naming->range_count; i++) {
		const struct range *range = &naming->ranges[i];
		int64_t shown = bodies_count_shown(index, range->from, range->to);
		if (shown < 0)
			return (int)shown;
		naming->shown += (uint64_t)shown;
	}
	return 0;
}

static void on_turn(void *arg);

static void run_turn(struct volume_call *call, struct volume *volume)
{
	struct naming *naming = container_of(call, struct naming, call);
	uint64_t end_us = clock_mono_us() + TURN_US;
	bool is_usable = (volume->state == VOLUME_PRIMARY || volume->state == VOLUME_REPLICA) &&
		!volume->index.is_broken && volume->index.store != NULL;
	if (!is_usable)
		naming->status = -EAGAIN;
	else if (!naming->has_begun)
		naming->status = begin(naming, &volume->index);
	bool has_more = true;
	while (naming->status == 0 && has_more && naming->seen < naming->shown &&
		clock_mono_us() < end_us) {
		int result = rows_next(&naming->rows, &volume->index, on_message, naming);
		naming->status = result < 0 ? result : 0;
		has_more = result > 0;
	}
	naming->is_over = naming->status < 0 || !has_more || naming->seen >= naming->shown;
	naming->task = (struct task){ .run = on_turn, .arg = naming };
	loop_post(naming->copy->scrub->loop, &naming->task);
}

/* ---- on a pool thread ---- */

static void read_sender(struct log_files *files, struct named_message *named)
{
	struct summary summary;
	struct disk_file *file;
	uint64_t lsn = named->body_lsn + record_padded(named->size);
	size_t length = RECORD_HEADER_LENGTH + (size_t)named->summary_length;
	if (named->summary_length == 0 || named->summary_length > SUMMARY_LENGTH_MAX ||
		lsn % segment_length + length > segment_length ||
		log_files_get(files, segment_of(lsn), false, &file) < 0)
		return;
	char *bytes = mem_alloc(length);
	struct str body = str_of(bytes + RECORD_HEADER_LENGTH, named->summary_length);
	if (disk_read_now(file, bytes, length, lsn % segment_length) == 0 &&
		record_verify(str_of(bytes, RECORD_HEADER_LENGTH), body, lsn) &&
		record_header_state((const uint8_t *)bytes) == RECORD_PRESENT &&
		summary_decode(body, &summary))
		sender_of_envelope(summary.envelope, named->sender, sizeof(named->sender));
	free(bytes);
}

static void run_senders(void *arg)
{
	struct naming *naming = arg;
	struct log_files files;
	log_files_init(&files, naming->disk, naming->folder_path);
	for (unsigned i = 0; i < naming->message_count; i++)
		read_sender(&files, &naming->messages[i]);
	log_files_deinit(&files);
}

/* ---- on the front thread ---- */

static void free_names(const struct named_message *message)
{
	free((char *)message->made_for.bytes);
	free((char *)message->folder.bytes);
}

static void free_messages(struct named_message *messages, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		free_names(&messages[i]);
	free(messages);
}

void names_drop(struct scrubbed *copy, const struct walk_damage *damage)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < copy->message_count; i++) {
		struct named_message *message = &copy->messages[i];
		if (message->body_lsn >= damage->from && message->body_lsn < damage->to)
			free_names(message);
		else
			copy->messages[kept++] = *message;
	}
	copy->message_count = kept;
}

static void tell(struct scrubbed *copy, unsigned i)
{
	struct scrub_stain *stain = &copy->state.stains[i];
	if (stain->is_told)
		return;
	log_error("scrub_unmended",
		"volume=%u lsn=%llu end=%llu fault=%s messages=%llu hint=\"pando scrub --report\"",
		copy->id, (unsigned long long)stain->at.from, (unsigned long long)stain->at.to,
		walk_fault_name(stain->at.fault), (unsigned long long)copy->work[i].messages);
	for (unsigned k = 0; k < copy->message_count; k++) {
		const struct named_message *named = &copy->messages[k];
		if (named->body_lsn >= stain->at.from && named->body_lsn < stain->at.to)
			log_error("message_rotten",
				"volume=%u mailbox=%s folder=%s uid=%u sender=%s", copy->id,
				log_quote(named->made_for), log_quote(named->folder), named->uid,
				log_quote(str_from(named->sender)));
	}
	stain->is_told = true;
	copy->is_dirty = true;
	copy->saved_us = 0;
}

static void naming_end(struct naming *naming)
{
	struct scrub *scrub = naming->copy->scrub;
	free_messages(naming->messages, naming->message_count);
	rows_deinit(&naming->rows);
	free(naming);
	scrub_end_work(scrub);
}

/* No stain has come or gone meanwhile: one thing is done at a time. */
static void on_senders(void *arg)
{
	struct naming *naming = arg;
	struct scrubbed *copy = naming->copy;
	free_messages(copy->messages, copy->message_count);
	copy->messages = naming->messages;
	copy->message_count = naming->message_count;
	naming->messages = NULL;
	naming->message_count = 0;
	copy->name_us = 0;
	for (unsigned i = 0; i < naming->range_count; i++) {
		copy->work[i].messages = naming->ranges[i].messages;
		if (copy->work[i].state != STAIN_STANDS)
			continue;
		copy->work[i].is_named = true;
		tell(copy, i);
	}
	naming_end(naming);
}

static void turn(struct naming *naming)
{
	naming->call = (struct volume_call){ .run = run_turn };
	if (!volumes_call(naming->copy->scrub->volumes, naming->copy->id, &naming->call))
		naming_end(naming);
}

static void on_turn(void *arg)
{
	struct naming *naming = arg;
	struct scrub *scrub = naming->copy->scrub;
	if (!naming->is_over)
		turn(naming);
	else if (naming->status < 0)
		naming_end(naming);
	else
		loop_work(scrub->loop, run_senders, on_senders, naming);
}

bool names_work(struct scrubbed *copy)
{
	const struct scrub_state *state = &copy->state;
	bool is_wanted = false;
	for (unsigned i = 0; i < state->stain_count; i++)
		is_wanted |= copy->work[i].state == STAIN_STANDS && !copy->work[i].is_named;
	if (!is_wanted || clock_mono_us() < copy->name_us)
		return false;
	struct naming *naming = mem_alloc(sizeof(*naming));
	naming->copy = copy;
	naming->disk = copy->scrub->disk;
	naming->range_count = state->stain_count;
	for (unsigned i = 0; i < state->stain_count; i++)
		naming->ranges[i] =
			(struct range){ state->stains[i].at.from, state->stains[i].at.to, 0 };
	naming->messages = mem_alloc(SCRUB_NAMED_MAX * sizeof(*naming->messages));
	scrub_folder_of(copy->scrub, copy->id, naming->folder_path);
	copy->name_us = clock_mono_us() + LATER_MS * 1000u;
	copy->scrub->is_working = true;
	turn(naming);
	return true;
}
