#include "node/mailbox/operation.h"
#include "node/mailbox/rate.h"

#include "core/clock.h"

#include <errno.h>
#include <stdlib.h>

/* What becomes of a wish: a change on its way to the log, and the answer to whoever waits. */

struct volume *operation_volume(const struct mailbox *mailbox)
{
	return mailbox->index->owner;
}

struct refused_op {
	struct task task;
	struct mailbox_op *op;
};

static void on_refused_op(void *arg)
{
	struct refused_op *refused = arg;
	refused->op->done(refused->op);
	free(refused);
}

void operation_answer(struct volume *volume, struct mailbox_op *op, int status)
{
	struct refused_op *refused = mem_alloc(sizeof(*refused));
	op->status = status;
	*refused = (struct refused_op){ { .run = on_refused_op, .arg = refused }, op };
	loop_defer(volume->options.loop, &refused->task);
}

static void on_change_done(struct pending_change *pending, int status, bool at_risk)
{
	struct mailbox_change *change = container_of(pending, struct mailbox_change, pending);
	struct mailbox_op *op = change->op;
	op->status = status < 0 ? status : pending->result.status;
	/* What is not in the folder has no uid: the next message may have it. */
	bool is_applied = (status == 0 || status == -EAGAIN) && pending->result.status == 0;
	if (!is_applied)
		op->first_uid = op->count = 0;
	CHECK(op->count == 0 || op->first_uid > 0);
	op->failed_uids = pending->result.failed_uids;
	op->failed_count = pending->result.failed_count;
	/* The folder may have been deleted while the change was on its way. */
	struct mailbox *mailbox = index_find_mailbox(&pending->volume->index, change->mailbox_id);
	op->folder = is_applied && mailbox ? mailbox_folder_by_id(mailbox, change->folder_id)
					   : NULL;
	if (is_applied && mailbox && change->body && op->count > 0)
		rate_note(mailbox, change->body->length);
	if (status == 0 && is_applied && at_risk && change->risk.uid != 0) {
		change->risk.lsn = pending->append.end_lsn;
		change->risk.since_us = clock_wall_us();
		volume_add_at_risk(pending->volume, &change->risk);
	}
	bytes_unref(&change->body);
	free(change);
	op->done(op);
}

struct mailbox_change *operation_create(
	struct mailbox *mailbox, struct mailbox_op *op, size_t action_count)
{
	struct mailbox_change *change = mem_alloc(sizeof(*change));
	op->failed_uids = NULL;
	op->failed_count = 0;
	op->keywords_dropped = 0;
	op->first_uid = op->count = 0;
	volume_reserve(operation_volume(mailbox));
	change->op = op;
	change->mailbox_id = mailbox->id;
	change->pending.volume = operation_volume(mailbox);
	change->pending.pool = pool_create();
	change->pending.change.action_count = action_count;
	change->pending.change.actions =
		pool_alloc(change->pending.pool, action_count * sizeof(struct action));
	change->pending.done = on_change_done;
	for (size_t i = 0; i < action_count; i++)
		change->pending.change.actions[i].mailbox_id = mailbox->id;
	return change;
}

struct action *operation_action(struct mailbox_change *change)
{
	return &change->pending.change.actions[0];
}

void operation_submit(struct mailbox_change *change)
{
	volume_submit(change->pending.volume, &change->pending, STR(""), STR(""));
}

void operation_refuse(struct mailbox_change *change, int status)
{
	struct mailbox_op *op = change->op;
	struct volume *volume = change->pending.volume;
	CHECK(status < 0);
	volume_release_reserved(volume);
	pool_destroy(&change->pending.pool);
	bytes_unref(&change->body);
	free(change);
	operation_answer(volume, op, status);
}
