#include "node/mailbox/mailbox.h"

#include "core/log.h"
#include "node/volume/volume.h"
#include "proto/disk/record.h"

#include <errno.h>
#include <stdlib.h>

/* Reading message bytes back from the log. The caller's struct may go before a read
 * in flight ends. */

struct pending_read {
	struct record_read record;
	struct message_read *read; /* NULL: cancelled */
	struct volume *volume;
	uint64_t lsn;
};

static void finish(struct pending_read *pending)
{
	struct message_read *read = pending->read;
	int status = pending->record.status;
	if (status == -EBADMSG)
		log_error("message_corrupt", "volume=%u lsn=%llu hint=\"pando failover\"",
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

static void on_record(struct record_read *record)
{
	struct pending_read *pending = container_of(record, struct pending_read, record);
	struct message_read *read = pending->read;
	finish(pending);
	if (read != NULL)
		read->done(read);
}

static bool start(struct folder *folder, uint64_t lsn, size_t length, struct message_read *read)
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
	read->pending = pending;
	if (!volume_log_read(volume->log, lsn, length, &pending->record))
		return false;
	finish(pending);
	return true;
}

bool message_read_body(
	struct folder *folder, const struct message *message, struct message_read *read)
{
	return start(folder, message->body_lsn, message->size, read);
}

bool message_read_summary(
	struct folder *folder, const struct message *message, struct message_read *read)
{
	uint64_t lsn = message->body_lsn + record_padded(message->size);
	return start(folder, lsn, message->summary_length, read);
}

void message_read_cancel(struct message_read *read)
{
	struct pending_read *pending = read->pending;
	if (pending != NULL)
		pending->read = NULL;
	read->pending = NULL;
}
