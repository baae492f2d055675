#include "node/mailbox/mailbox.h"

#include "core/log.h"
#include "node/volume/volume.h"
#include "proto/disk/record.h"

#include <errno.h>
#include <stdlib.h>

/* Reading message bytes back from the log; what is damaged is mended first, if a copy has it.
 * The caller's struct may go before a read in flight ends. */

struct pending_read {
	struct record_read record;
	struct mend_wait mend;
	struct task task;
	size_t length;
	bool is_mended;            /* it is read once more */
	struct message_read *read; /* NULL: cancelled */
	struct volume *volume;
	uint64_t lsn, body_lsn;
};

/* What another copy may have: other bytes than were written, or none. */
static bool is_damage(const struct pending_read *pending)
{
	int status = pending->record.status;
	/* Expunged long ago, and its room is coming back just now. */
	return (status == -EBADMSG || status == -ENOENT || status == -ENODATA || status == -EIO) &&
		!bodies_is_free(&pending->volume->index, pending->body_lsn);
}

static void finish(struct pending_read *pending)
{
	struct message_read *read = pending->read;
	int status = pending->record.status;
	if (status < 0 && is_damage(pending))
		log_error("message_corrupt",
			"volume=%u lsn=%llu hint=\"pando check: bring its other copies back\"",
			pending->volume->options.id, (unsigned long long)pending->lsn);
	if (read != NULL) {
		read->status = status < 0 ? -EIO : 0;
		read->bytes = pending->record.bytes;
		read->pending = NULL;
	} else {
		bytes_unref(&pending->record.bytes);
	}
	free(pending);
}

static void tell(struct pending_read *pending)
{
	struct message_read *read = pending->read;
	finish(pending);
	if (read != NULL)
		read->done(read);
}

static void on_mended(struct mend_wait *wait, int status)
{
	struct pending_read *pending = container_of(wait, struct pending_read, mend);
	pending->is_mended = true;
	if (status < 0 || pending->volume->log == NULL ||
		volume_log_read(
			pending->volume->log, pending->lsn, pending->length, &pending->record))
		tell(pending);
}

/* Goes on from the loop, when it is mended or is not going to be. */
static void mend(void *arg)
{
	struct pending_read *pending = arg;
	volume_mend(pending->volume, pending->lsn, &pending->mend);
}

static bool mends_first(struct pending_read *pending)
{
	if (pending->is_mended || !is_damage(pending))
		return false;
	bytes_unref(&pending->record.bytes);
	pending->mend.done = on_mended;
	pending->task = (struct task){ .run = mend, .arg = pending };
	loop_defer(pending->volume->options.loop, &pending->task);
	return true;
}

static void on_record(struct record_read *record)
{
	struct pending_read *pending = container_of(record, struct pending_read, record);
	if (!mends_first(pending))
		tell(pending);
}

static bool start(struct folder *folder, const struct message *message, uint64_t lsn, size_t length,
	struct message_read *read)
{
	struct volume *volume = folder->mailbox->index->owner;
	read->bytes = NULL;
	read->pending = NULL;
	if (volume->log == NULL) {
		read->status = -EROFS;
		return true;
	}
	struct pending_read *pending = mem_alloc(sizeof(*pending));
	pending->record.done = on_record;
	pending->read = read;
	pending->volume = volume;
	pending->lsn = lsn;
	pending->body_lsn = message->body_lsn;
	pending->length = length;
	read->pending = pending;
	if (!volume_log_read(volume->log, lsn, length, &pending->record) || mends_first(pending))
		return false;
	finish(pending);
	return true;
}

bool message_read_body(
	struct folder *folder, const struct message *message, struct message_read *read)
{
	return start(folder, message, message->body_lsn, message->size, read);
}

bool message_read_summary(
	struct folder *folder, const struct message *message, struct message_read *read)
{
	uint64_t lsn = message->body_lsn + record_padded(message->size);
	return start(folder, message, lsn, message->summary_length, read);
}

void message_read_cancel(struct message_read *read)
{
	struct pending_read *pending = read->pending;
	if (pending != NULL)
		pending->read = NULL;
	read->pending = NULL;
}
