#include "node/volume/volume_internal.h"

#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

/* Changes on their way: into the log, into the index, to the one who waits for the answer. */

static void finish_change(struct pending_change *pending, int status, bool at_risk)
{
	struct pool *pool = pending->pool;
	buf_deinit(&pending->encoded);
	pending->done(pending, status, at_risk);
	pool_destroy(&pool);
}

static void on_wait_done(struct ack_wait *wait, int status, bool at_risk)
{
	finish_change(container_of(wait, struct pending_change, wait), status, at_risk);
}

static void on_appended(struct volume_append *append)
{
	struct pending_change *pending = container_of(append, struct pending_change, append);
	struct volume *volume = pending->volume;
	int status = append->status;
	list_remove(&pending->link);
	if (status == 0) {
		uint64_t lsn = append->records[append->record_count - 1].lsn;
		status = index_apply(&volume->index, &pending->change, lsn, &pending->result);
		volume_note_applied(volume, append->end_lsn);
		if (status < 0) {
			/* Our own change contradicts our own index: serving on would spread the
			 * damage. */
			log_error("apply_failed", "volume=%u lsn=%llu action=fence",
				volume->options.id, (unsigned long long)lsn);
			volume_fence(volume, false, NULL);
			status = -EIO;
		}
	}
	if (status < 0 && volume_log_is_fenced(volume->log))
		volume_fence(volume, false, NULL);
	if (append->status == 0 && volume_has_replica(volume))
		volume_note_durable(volume, append->end_lsn);
	/* It is in a tail that the next primary may lack: whoever sent it tries again there. */
	if (status == 0 && volume_is_deposed(volume))
		status = -EROFS;
	/* One publication per group would do; the receiver coalesces. */
	volume_publish(volume);
	bool must_wait = status == 0 && pending->waits_for_replica &&
		pending->durability != DURABILITY_LOCAL && volume_has_replica(volume);
	if (!must_wait) {
		finish_change(pending, status, false);
	} else {
		pending->wait.lsn = append->end_lsn;
		pending->wait.durability = pending->durability;
		pending->wait.done = on_wait_done;
		volume_wait(volume, &pending->wait);
	}
	volume_finish_fence(volume);
}

uint64_t volume_body_back(size_t message_length, size_t summary_length)
{
	return record_padded(message_length) + (summary_length ? record_padded(summary_length) : 0);
}

static void fail_later(struct pending_change *pending);

void volume_submit(struct volume *volume, struct pending_change *pending, struct str message,
	struct str summary)
{
	unsigned count = 0;
	pending->volume = volume;
	pending->result = (struct apply_result){ 0 };
	if (volume->log == NULL ||
		(volume->state != VOLUME_PRIMARY && volume->state != VOLUME_OPENING)) {
		fail_later(pending);
		return;
	}
	if (pending->record_type == 0)
		pending->record_type = RECORD_CHANGE;
	if (pending->record_type == RECORD_CHANGE)
		change_encode(&pending->change, &pending->encoded);
	pending->append = (struct volume_append){ .done = on_appended, .arg = pending };
	if (message.length > 0)
		pending->append.records[count++] =
			(struct append_record){ .type = RECORD_MESSAGE, .head = message };
	if (summary.length > 0)
		pending->append.records[count++] =
			(struct append_record){ .type = RECORD_SUMMARY, .head = summary };
	pending->append.records[count++] = (struct append_record){ .type = pending->record_type,
		.head = buf_str(&pending->encoded) };
	pending->append.record_count = count;
	list_append(&volume->pending, &pending->link);
	volume_log_append(volume->log, &pending->append);
}

struct failed_change {
	struct task task;
	struct pending_change *pending;
};

static void on_failed_change(void *arg)
{
	struct failed_change *failed = arg;
	finish_change(failed->pending, -EROFS, false);
	free(failed);
}

/* The refusal comes from the loop, as every answer does. */
static void fail_later(struct pending_change *pending)
{
	struct failed_change *failed = mem_alloc(sizeof(*failed));
	*failed = (struct failed_change){ { .run = on_failed_change, .arg = failed }, pending };
	loop_defer(pending->volume->options.loop, &failed->task);
}

uint64_t volume_next_modseq(struct volume *volume, struct mailbox *mailbox)
{
	uint64_t lowest = volume->desired.epoch << 40 | 1;
	mailbox->allocated_modseq =
		mailbox->allocated_modseq < lowest ? lowest : mailbox->allocated_modseq + 1;
	return mailbox->allocated_modseq;
}
