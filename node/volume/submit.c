#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "node/index/ahead.h"

#include <errno.h>
#include <stdlib.h>

/* Changes on their way: into the log, into the index, to the one who waits for the answer. */

static void finish_change(struct pending_change *pending, int status, bool at_risk)
{
	struct pool *pool = pending->pool;
	struct volume *volume = pending->volume;
	if (status == 0 && !pending->is_own && volume->answered_end < pending->append.end_lsn)
		volume->answered_end = pending->append.end_lsn;
	buf_deinit(&pending->encoded);
	pending->done(pending, status, at_risk);
	pool_destroy(&pool);
}

static void on_wait_done(struct ack_wait *wait, int status, bool at_risk)
{
	finish_change(container_of(wait, struct pending_change, wait), status, at_risk);
}

/* ---- what changes on their way hold ---- */

static bool delivery_key(const struct action *action, uint8_t key_out[16])
{
	if (action->kind != ACTION_ADD || action->delivery_id.length != CHANGE_DELIVERY_ID_LENGTH)
		return false;
	dedupe_key((const uint8_t *)action->delivery_id.bytes, action->mailbox_id, key_out);
	return true;
}

bool volume_has_pending_delivery(const struct volume *volume, const uint8_t key[16])
{
	return map_get(volume->pending_deliveries, str_of(key, 16)) != NULL;
}

void volume_reserve(struct volume *volume)
{
	if (!volume->index.ahead_is_stale)
		return;
	ahead_clear(&volume->index);
	list_for_each (entry, &volume->pending)
		ahead_claim(&volume->index,
			&list_entry(entry, struct pending_change, link)->change);
}

void volume_release_reserved(struct volume *volume)
{
	volume->index.ahead_is_stale = true;
}

static void begin_way(struct volume *volume, struct pending_change *pending)
{
	uint8_t key[16];
	list_append(&volume->pending, &pending->link);
	for (size_t i = 0; i < pending->change.action_count; i++)
		if (delivery_key(&pending->change.actions[i], key))
			map_set(volume->pending_deliveries, str_of(key, 16), pending);
}

/* It is applied, or refused and surely not in the log: after an error in writing nothing more is
 * written before the log has been read again. */
static void end_way(struct volume *volume, struct pending_change *pending, int status)
{
	uint8_t key[16];
	bool made_folders = false;
	list_remove(&pending->link);
	for (size_t i = 0; i < pending->change.action_count; i++) {
		made_folders |= pending->change.actions[i].kind == ACTION_FOLDERS;
		if (delivery_key(&pending->change.actions[i], key))
			map_remove(volume->pending_deliveries, str_of(key, 16));
	}
	/* Messages that wait for a new INBOX have their uids in the folder from now on. */
	if (status < 0 || made_folders)
		volume_release_reserved(volume);
	if (list_is_empty(&volume->pending))
		ahead_clear(&volume->index);
}

/* ---- from the log ---- */

/* What is durable becomes visible. False when the index is broken, before or by this. */
static bool apply(struct volume *volume, struct pending_change *pending)
{
	const struct volume_append *append = &pending->append;
	uint64_t lsn = append->records[append->record_count - 1].lsn;
	if (volume->index.is_broken ||
		index_apply(&volume->index, &pending->change, lsn, &pending->result) < 0)
		return false;
	volume_note_applied(volume, append->end_lsn);
	return true;
}

static void answer_or_wait(struct volume *volume, struct pending_change *pending, int status)
{
	CHECK(status < 0 || volume->index.applied_lsn >= pending->append.end_lsn);
	/* It is in a tail that the next primary may lack: whoever sent it tries again there. */
	if (status == 0 && volume_is_in_doubt(volume))
		status = -EROFS;
	/* Where the only other copy is being filled, nothing is waited for, and it is at risk. */
	bool must_wait = status == 0 && pending->waits_for_replica &&
		(pending->durability == DURABILITY_STRICT ||
			(pending->durability != DURABILITY_LOCAL && volume->replica_count > 0));
	if (!must_wait) {
		finish_change(pending, status, false);
	} else {
		pending->wait.lsn = pending->append.end_lsn;
		pending->wait.durability = pending->durability;
		pending->wait.done = on_wait_done;
		volume_wait(volume, &pending->wait);
	}
}

static void on_appended(struct volume_append *append)
{
	struct pending_change *pending = container_of(append, struct pending_change, append);
	struct volume *volume = pending->volume;
	/* Above the log EDQUOT is a mailbox's quota, for good; a file system's passes. */
	int status = append->status == -EDQUOT ? -ENOSPC : append->status;
	bool is_seen = status < 0 || apply(volume, pending);
	end_way(volume, pending, status);
	if (!is_seen) {
		list_append(&volume->unseen, &pending->link);
		volume_rebuild(volume);
	}
	if (status < 0 && volume_has_failed(volume))
		volume_on_failed_disk(volume);
	if (status == 0) {
		volume->disk_known_us = clock_mono_us();
		volume_remember(volume);
	}
	if (status == 0 && volume_has_replica(volume))
		volume_note_durable(volume, append->end_lsn);
	/* One publication per group would do; the receiver coalesces. */
	volume_publish(volume);
	if (is_seen)
		answer_or_wait(volume, pending, status);
	volume_finish_fence(volume);
}

uint64_t volume_body_back(size_t message_length, size_t summary_length)
{
	return record_padded(message_length) + (summary_length ? record_padded(summary_length) : 0);
}

static void fail_later(struct pending_change *pending, int status);

void volume_submit(struct volume *volume, struct pending_change *pending, struct str message,
	struct str summary)
{
	unsigned count = 0;
	pending->volume = volume;
	pending->result = (struct apply_result){ 0 };
	/* A fence needs no index. */
	bool needs_index = pending->change.action_count > 0;
	if (volume->log == NULL || (volume->index.is_broken && needs_index) ||
		(volume->state != VOLUME_PRIMARY && volume->state != VOLUME_OPENING)) {
		volume_release_reserved(volume);
		fail_later(pending, -EROFS);
		return;
	}
	if (message.length > 0 && volume->options.is_short_of_room != NULL &&
		atomic_load(volume->options.is_short_of_room)) {
		volume_release_reserved(volume);
		fail_later(pending, -ENOSPC);
		return;
	}
	/* Else it would be answered as stored, and stand nowhere. */
	CHECK(ahead_knows_folders(&volume->index, &pending->change));
	pending->result.action_statuses =
		pool_alloc(pending->pool, pending->change.action_count * sizeof(int));
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
	begin_way(volume, pending);
	volume_log_append(volume->log, &pending->append);
}

struct failed_change {
	struct task task;
	struct pending_change *pending;
	int status;
};

static void on_failed_change(void *arg)
{
	struct failed_change *failed = arg;
	finish_change(failed->pending, failed->status, false);
	free(failed);
}

/* The refusal comes from the loop, as every answer does. */
static void fail_later(struct pending_change *pending, int status)
{
	struct failed_change *failed = mem_alloc(sizeof(*failed));
	*failed = (struct failed_change){
		{ .run = on_failed_change, .arg = failed }, pending, status
	};
	loop_defer(pending->volume->options.loop, &failed->task);
}

void volume_answer_unseen(struct volume *volume)
{
	while (!list_is_empty(&volume->unseen)) {
		struct pending_change *pending =
			list_entry(volume->unseen.next, struct pending_change, link);
		list_remove(&pending->link);
		fail_later(pending, -EROFS);
	}
}

uint64_t volume_next_modseq(struct volume *volume, struct mailbox *mailbox)
{
	return ahead_take_modseq(mailbox, volume_least_modseq(volume));
}
