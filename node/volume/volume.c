#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/metric.h"

#include <errno.h>
#include <stdlib.h>

static const char *const state_names[] = { "replica", "opening", "primary", "fenced", "closed" };

static void on_retry(void *arg);
static void on_checkpoint(void *arg);
static void try_open(struct volume *volume);

/* ---- publication ---- */

/* The epoch that the last bytes here belong to, 0 when that is not known (yet): not the
 * directory's, which says nothing about what this copy has. */
static uint64_t log_epoch(const struct volume *volume)
{
	if (volume->log != NULL) {
		const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
		return last ? last->epoch : 0;
	}
	return volume->reader_end > 0 ? volume->index.applied_epoch : 0;
}

void volume_publish(struct volume *volume)
{
	struct volume_numbers *numbers = &volume->numbers;
	uint64_t durable = volume->log ? volume_log_end(volume->log) : volume->reader_end;
	atomic_store(&numbers->state, volume->state);
	atomic_store(&numbers->epoch, log_epoch(volume));
	atomic_store(&numbers->durable_lsn, durable);
	atomic_store(&numbers->applied_lsn, volume->index.applied_lsn);
	atomic_store(&numbers->messages, volume->index.message_count);
	atomic_store(&numbers->at_risk, volume->at_risk_total);
	atomic_store(&numbers->lag_ms, volume_lag_ms(volume));
	volume->options.events.changed(volume->options.events.arg, volume);
}

static void enter(struct volume *volume, enum volume_state state)
{
	static const bool allowed[][5] = {
		[VOLUME_REPLICA] = { true, true, false, false, true },
		[VOLUME_OPENING] = { true, true, true, true, true },
		[VOLUME_PRIMARY] = { false, false, true, true, false },
		[VOLUME_FENCED] = { true, true, false, true, true },
		[VOLUME_CLOSED] = { false, false, false, false, true },
	};
	CHECK(allowed[volume->state][state]);
	if (volume->state != state)
		log_info("volume_state", "volume=%u from=%s to=%s epoch=%llu end=%llu",
			volume->options.id, state_names[volume->state], state_names[state],
			(unsigned long long)volume->desired.epoch,
			(unsigned long long)(volume->log ? volume_log_end(volume->log)
							 : volume->reader_end));
	volume->state = state;
	volume_publish(volume);
}

struct volume *volume_create(const struct volume_options *options)
{
	struct volume *volume = mem_alloc(sizeof(*volume));
	struct error error;
	volume->options = *options;
	volume->options.log_directory = str_to_heap(str_from(options->log_directory));
	volume->options.index_path = str_to_heap(str_from(options->index_path));
	volume->state = VOLUME_REPLICA;
	list_init(&volume->waits);
	list_init(&volume->pending);
	volume->pending_deliveries = map_create();
	volume->lag_samples = mem_alloc(LAG_SAMPLES_MAX * sizeof(*volume->lag_samples));
	volume->lag_seconds = metric_histogram("pando_replication_lag_seconds", "",
		"From durable here to acknowledged by a replica at another site");
	volume->wait_timer = timer_new(options->loop, volume_on_wait_timer, volume);
	volume->checkpoint_timer = timer_new(options->loop, on_checkpoint, volume);
	volume->retry_timer = timer_new(options->loop, on_retry, volume);
	index_init(&volume->index, volume, options->id, volume->options.index_path);
	if (index_open(&volume->index, &error) < 0)
		log_error("index_unusable", "volume=%u reason=%s", options->id,
			log_quote(str_from(error.text)));
	timer_start(volume->checkpoint_timer, CHECKPOINT_MS);
	return volume;
}

void volume_destroy(struct volume **volume_pointer)
{
	struct volume *volume = *volume_pointer;
	if (volume == NULL)
		return;
	if (volume->index.store != NULL && index_is_dirty(&volume->index) &&
		index_checkpoint(&volume->index) < 0)
		log_warn("checkpoint_failed", "volume=%u", volume->options.id);
	timer_destroy(&volume->wait_timer);
	timer_destroy(&volume->checkpoint_timer);
	timer_destroy(&volume->retry_timer);
	log_reader_close(&volume->reader);
	volume_log_close(&volume->log);
	index_deinit(&volume->index);
	map_destroy(&volume->pending_deliveries);
	free(volume->lag_samples);
	free(volume->at_risk);
	free((char *)(uintptr_t)volume->options.log_directory);
	free((char *)(uintptr_t)volume->options.index_path);
	free(volume);
	*volume_pointer = NULL;
}

static void on_checkpoint(void *arg)
{
	struct volume *volume = arg;
	timer_start(volume->checkpoint_timer, CHECKPOINT_MS);
	if (volume->index.store == NULL || !index_is_dirty(&volume->index))
		return;
	int result = index_checkpoint(&volume->index);
	if (result < 0)
		log_warn("checkpoint_failed", "volume=%u reason=%s", volume->options.id,
			log_quote(str_from(strerror(-result))));
}

/* ---- applying what is in the log ---- */

/* Read and applied at a time: milliseconds, so that the worker's other volumes have their turns. */
enum { APPLY_BYTES = 1 << 20 };

/* Everything this reign has written up to `lsn` is in the index. */
void volume_note_applied(struct volume *volume, uint64_t lsn)
{
	/* Not the desired reign: the directory may have named the next one already. */
	const struct epoch_entry *reign = epochs_last(volume_log_epochs(volume->log));
	volume->index.applied_lsn = lsn;
	volume->index.applied_epoch = reign->epoch;
	memcpy(volume->index.applied_reign, reign->reign, EPOCH_REIGN_LENGTH);
}

/* An index that was saved before the log was cut and grew again is of another branch. */
static int check_branch(struct volume *volume, uint64_t end)
{
	struct epochs epochs = { 0 };
	if (volume->branch_is_checked && volume->index.applied_lsn <= end)
		return 0;
	int result =
		volume_epochs_read(volume->options.disk, volume->options.log_directory, &epochs);
	if (result == 0 &&
		(volume->index.applied_lsn > end || !index_is_prefix_of(&volume->index, &epochs))) {
		log_warn("index_of_another_branch",
			"volume=%u applied=%llu end=%llu action=rebuild", volume->options.id,
			(unsigned long long)volume->index.applied_lsn, (unsigned long long)end);
		index_reset(&volume->index);
	}
	volume->branch_is_checked = result == 0;
	epochs_deinit(&epochs);
	return result;
}

/* Applies from the index's position up to `end`. */
static int apply_up_to(struct volume *volume, uint64_t end)
{
	int result = check_branch(volume, end);
	if (result == 0 && volume->reader == NULL)
		result = log_reader_open(volume->options.disk, volume->options.log_directory,
			volume->options.id, &volume->reader);
	while (result == 0 && volume->index.applied_lsn < end) {
		struct bytes *bytes;
		uint64_t lsn, next;
		result = log_reader_next(volume->reader, volume->index.applied_lsn, end,
			APPLY_BYTES, true, &bytes, &lsn, &next);
		if (result < 0)
			break;
		result = index_apply_groups(&volume->index, bytes_str(bytes), lsn);
		bytes_unref(&bytes);
	}
	return result;
}

void volume_received(struct volume *volume, uint64_t lsn, uint64_t leader_end, uint64_t time_us)
{
	atomic_store(&volume->numbers.leader_lsn, leader_end);
	atomic_store(&volume->numbers.leader_time_us, time_us);
	if (volume->state != VOLUME_REPLICA || lsn < volume->reader_end)
		return;
	volume->reader_end = lsn;
	int result = apply_up_to(volume, lsn);
	if (result < 0)
		log_error("replica_unreadable", "volume=%u applied=%llu end=%llu reason=%s",
			volume->options.id, (unsigned long long)volume->index.applied_lsn,
			(unsigned long long)lsn, log_quote(str_from(strerror(-result))));
	volume_publish(volume);
}

void volume_was_cut(struct volume *volume, uint64_t lsn)
{
	if (volume->state != VOLUME_REPLICA)
		return;
	volume->reader_end = lsn;
	/* Open files may be of segments that are gone. */
	log_reader_close(&volume->reader);
	volume->branch_is_checked = false;
	volume_received(volume, lsn, lsn, (uint64_t)clock_wall_us());
}

/* ---- leaving the primary role ---- */

static void tell_all_gone(struct volume *volume)
{
	void *value;
	for (size_t i = 0; map_next(volume->index.mailboxes, &i, NULL, &value);) {
		struct mailbox *mailbox = value;
		list_for_each_safe (entry, following, &mailbox->sessions) {
			struct mailbox_session *session =
				list_entry(entry, struct mailbox_session, mailbox_link);
			mailbox_detach(session);
			session->on_gone(session, false);
		}
	}
}

static bool is_drained(const struct volume *volume)
{
	return list_is_empty(&volume->pending) &&
		(volume->log == NULL || volume_log_is_idle(volume->log));
}

/* When everything taken is written: answers the fence and becomes what is desired. */
static bool may_be_primary(const struct volume *volume)
{
	return volume->desired.primary && volume->desired.epoch >= volume->highest_epoch &&
		(volume->log == NULL || !volume_log_is_fenced(volume->log));
}

/* The directory has named a later reign than the one that is served, opened or fenced here. */
static bool has_new_reign(const struct volume *volume)
{
	return volume->has_desired && may_be_primary(volume) &&
		volume->desired.epoch > volume->reign_epoch;
}

static void begin_opening(struct volume *volume)
{
	enter(volume, VOLUME_OPENING);
	volume->reign_epoch = volume->desired.epoch;
	volume->is_releasing = true;
	volume->options.events.release(volume->options.events.arg, volume);
}

void volume_finish_fence(struct volume *volume)
{
	if (volume->state != VOLUME_FENCED || !is_drained(volume))
		return;
	if (volume->on_fenced != NULL) {
		void (*done)(void *arg, uint64_t end) = volume->on_fenced;
		volume->on_fenced = NULL;
		done(volume->on_fenced_arg,
			volume->log ? volume_log_end(volume->log) : volume->reader_end);
	}
	bool goes_on = volume->desired.primary && volume->desired.epoch >= volume->highest_epoch;
	if (volume->has_desired && !goes_on) {
		volume_fail_waits(volume);
		volume->reader_end = volume->log ? volume_log_end(volume->log) : volume->reader_end;
		volume_log_close(&volume->log);
		volume->branch_is_checked = false;
		enter(volume, VOLUME_REPLICA);
	} else if (has_new_reign(volume)) {
		begin_opening(volume);
	}
}

static void on_fence_record(struct pending_change *pending, int status, bool at_risk)
{
	struct volume *volume = pending->volume;
	(void)status; /* a fence that is not on disk is weaker, not wrong: the next primary skips
			 numbers */
	(void)at_risk;
	volume->fence_record = NULL;
	free(pending);
	volume_finish_fence(volume);
}

static void write_fence_record(struct volume *volume)
{
	struct pending_change *pending = mem_alloc(sizeof(*pending));
	pending->pool = pool_create();
	pending->done = on_fence_record;
	pending->durability = DURABILITY_LOCAL;
	pending->record_type = RECORD_FENCE;
	volume->fence_record = pending;
	volume_submit(volume, pending, STR(""), STR(""));
}

void volume_fence(
	struct volume *volume, bool lasting, void (*done)(void *arg, uint64_t end), void *arg)
{
	if (volume->state == VOLUME_PRIMARY || volume->state == VOLUME_OPENING) {
		bool was_primary = volume->state == VOLUME_PRIMARY;
		volume->fenced_at_us = clock_mono_us();
		if (was_primary && lasting && !volume_log_is_fenced(volume->log))
			write_fence_record(volume);
		enter(volume, VOLUME_FENCED);
		if (was_primary)
			tell_all_gone(volume);
		timer_start(volume->retry_timer, LOCK_RETRY_MS);
	}
	if (done != NULL) {
		if (volume->state != VOLUME_FENCED) {
			done(arg, volume->reader_end);
			return;
		}
		volume->on_fenced = done;
		volume->on_fenced_arg = arg;
	}
	volume_finish_fence(volume);
}

void volume_higher_epoch(struct volume *volume, uint64_t epoch)
{
	if (epoch <= volume->highest_epoch)
		return;
	volume->highest_epoch = epoch;
	if (volume->desired.epoch < epoch &&
		(volume->state == VOLUME_PRIMARY || volume->state == VOLUME_OPENING)) {
		log_warn("higher_epoch", "volume=%u mine=%llu theirs=%llu action=fence",
			volume->options.id, (unsigned long long)volume->desired.epoch,
			(unsigned long long)epoch);
		volume_fence(volume, false, NULL, NULL);
	}
}

/* ---- becoming primary ---- */

static void on_slack_done(struct pending_change *pending, int status, bool at_risk)
{
	struct volume *volume = pending->volume;
	(void)at_risk;
	free(pending);
	if (status < 0 && status != -EAGAIN) {
		log_error("promotion_failed", "volume=%u reason=%s", volume->options.id,
			log_quote(str_from(strerror(-status))));
		volume_fence(volume, false, NULL, NULL);
		return;
	}
	if (volume->state == VOLUME_OPENING)
		enter(volume, VOLUME_PRIMARY);
}

/*
 * A reign that began unclean in epoch E has passed over E-1 slacks in all. Two such reigns differ
 * in their epoch, so in their numbers, whatever part of the other's log each of them has seen; a
 * reign that began clean goes on counting where the whole log of the one before ends.
 */
static uint32_t missing_slacks(const struct volume *volume)
{
	uint64_t wanted = volume->desired.epoch - 1;
	return wanted > volume->index.slack_count ? (uint32_t)(wanted - volume->index.slack_count)
						  : 0;
}

/* An unclean promotion: numbers that lost tails may have given out are passed over. */
static void write_uid_slack(struct volume *volume)
{
	struct pending_change *pending = mem_alloc(sizeof(*pending));
	pending->pool = pool_create();
	pending->change.action_count = 1;
	pending->change.actions = pool_alloc(pending->pool, sizeof(struct action));
	pending->change.actions[0] = (struct action){ .kind = ACTION_UID_SLACK,
		.modseq = volume->desired.epoch << 40 | 1,
		.uid_slack = missing_slacks(volume) * UID_SLACK };
	pending->done = on_slack_done;
	pending->durability = DURABILITY_LOCAL;
	volume_submit(volume, pending, STR(""), STR(""));
}

static void on_reign(void *arg, int status)
{
	struct volume *volume = arg;
	if (volume->state != VOLUME_OPENING) {
		volume_finish_fence(volume);
		return;
	}
	if (status < 0) {
		log_error("reign_refused",
			"volume=%u epoch=%llu reason=%s hint=\"the log has seen a later reign\"",
			volume->options.id, (unsigned long long)volume->desired.epoch,
			log_quote(str_from(strerror(-status))));
		volume_fence(volume, false, NULL, NULL);
		return;
	}
	volume_note_applied(volume, volume_log_end(volume->log)); /* the barrier changes nothing */
	volume_find_at_risk(volume, volume->is_new_reign);
	if (!volume_log_began_clean(volume->log) &&
		volume->index.slack_epoch < volume->desired.epoch)
		write_uid_slack(volume);
	else
		enter(volume, VOLUME_PRIMARY);
}

static void try_open(struct volume *volume)
{
	struct error error;
	const struct volume_options *options = &volume->options;
	if (volume->log == NULL) {
		int result = volume_log_open(options->loop, options->disk, options->log_directory,
			options->id, &volume->log, &error);
		if (result == -EAGAIN) {
			timer_start(volume->retry_timer, LOCK_RETRY_MS);
			return;
		}
		if (result < 0) {
			log_error("volume_unusable", "volume=%u reason=%s", options->id,
				log_quote(str_from(error.text)));
			enter(volume, VOLUME_REPLICA);
			return;
		}
	}
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	if (last != NULL && last->epoch > volume->desired.epoch) {
		/* The directory copy is older than what this log has seen. */
		volume_higher_epoch(volume, last->epoch);
		return;
	}
	if (last != NULL && last->epoch == volume->desired.epoch && !volume->fence_expired &&
		volume_log_ends_fenced(volume->log)) {
		/* Fenced before this start, in this very epoch: somebody may be promoting the
		 * replica. */
		volume_fence(volume, false, NULL, NULL);
		return;
	}
	volume->fence_expired = false;
	int result = volume->index.store == NULL ? -EIO
						 : apply_up_to(volume, volume_log_end(volume->log));
	if (result < 0) {
		log_error("volume_unreadable",
			"volume=%u applied=%llu reason=%s hint=\"pando scrub\"", options->id,
			(unsigned long long)volume->index.applied_lsn,
			log_quote(str_from(strerror(-result))));
		volume_log_close(&volume->log);
		enter(volume, VOLUME_REPLICA);
		return;
	}
	volume->is_new_reign = last == NULL || last->epoch != volume->desired.epoch;
	volume_log_reign(
		volume->log, volume->desired.epoch, volume->desired.reign, on_reign, volume);
}

static void on_retry(void *arg)
{
	struct volume *volume = arg;
	if (volume->state == VOLUME_OPENING && volume->log == NULL && !volume->is_releasing)
		try_open(volume);
	if (volume->state != VOLUME_FENCED)
		return;
	volume_finish_fence(volume);
	if (volume->state != VOLUME_FENCED)
		return;
	/* Whoever asked for the fence did not go on to promote: they gave up long before this. */
	if (is_drained(volume) && may_be_primary(volume) &&
		clock_mono_us() - volume->fenced_at_us > FENCE_MS_MAX * 1000u) {
		volume->fence_expired = true;
		begin_opening(volume);
	} else {
		timer_start(
			volume->retry_timer, is_drained(volume) ? FENCE_POLL_MS : LOCK_RETRY_MS);
	}
}

void volume_released(struct volume *volume)
{
	if (!volume->is_releasing)
		return;
	volume->is_releasing = false;
	if (volume->state == VOLUME_OPENING)
		try_open(volume);
}

static void take_replicas(struct volume *volume, const struct volume_desired *desired)
{
	struct volume_replica before[VOLUME_COPIES_MAX];
	unsigned count_before = volume->replica_count;
	memcpy(before, volume->replicas, sizeof(before));
	volume->replica_count = desired->replica_count;
	for (unsigned i = 0; i < desired->replica_count; i++) {
		struct volume_replica *replica = &volume->replicas[i];
		*replica = desired->replicas[i];
		for (unsigned k = 0; k < count_before; k++)
			if (before[k].node_id == replica->node_id) {
				replica->connected = before[k].connected;
				replica->acked_lsn = before[k].acked_lsn;
			}
	}
}

void volume_set_desired(struct volume *volume, const struct volume_desired *desired)
{
	if (volume->has_desired && desired->epoch < volume->desired.epoch)
		return; /* a stale copy of the directory */
	volume->desired = *desired;
	volume->has_desired = true;
	take_replicas(volume, desired);
	if (desired->epoch > volume->highest_epoch)
		volume->highest_epoch = desired->epoch;
	if (may_be_primary(volume)) {
		if (volume->state == VOLUME_REPLICA)
			begin_opening(volume);
		else if (volume->state == VOLUME_FENCED)
			volume_finish_fence(volume);
		else if (has_new_reign(volume))
			volume_fence(volume, false, NULL, NULL);
	} else if (volume->state == VOLUME_PRIMARY || volume->state == VOLUME_OPENING) {
		volume_fence(volume, false, NULL, NULL);
	} else if (volume->state == VOLUME_FENCED) {
		volume_finish_fence(volume);
	}
	volume_publish(volume);
}

struct loop *volume_loop(const struct volume *volume)
{
	return volume->options.loop;
}

uint32_t volume_id(const struct volume *volume)
{
	return volume->options.id;
}
