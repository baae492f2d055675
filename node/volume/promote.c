#include "node/volume/volume_internal.h"

#include "core/log.h"
#include "core/rand.h"

#include <errno.h>
#include <stdlib.h>

/* Becoming primary: the log is taken over, the rest of it applied, the reign begun. */

void volume_begin_opening(struct volume *volume)
{
	volume_enter(volume, VOLUME_OPENING);
	volume->reign_epoch = volume->desired.epoch;
	volume->is_releasing = true;
	volume->is_rebuilding = false;
	volume->options.events.release(volume->options.events.arg, volume);
}

void volume_retry_later(struct volume *volume)
{
	volume->retry_ms =
		timer_next_wait_ms(volume->retry_ms, OPEN_RETRY_MS_MIN, OPEN_RETRY_MS_MAX);
	volume_enter(volume, VOLUME_REPLICA);
	timer_start(volume->retry_timer, volume->retry_ms);
}

static void on_slack_done(struct pending_change *pending, int status, bool at_risk)
{
	struct volume *volume = pending->volume;
	(void)at_risk;
	free(pending);
	/* Else it is in the log, and was answered late: a replay has it. */
	if (status < 0 && status != -EAGAIN && volume->state == VOLUME_OPENING) {
		log_error("promotion_failed", "volume=%u reason=%s", volume->options.id,
			log_quote(str_from(strerror(-status))));
		volume_fence(volume, false, NULL);
		return;
	}
	if (volume->state == VOLUME_OPENING)
		volume_enter(volume, VOLUME_PRIMARY);
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
		volume_fence(volume, false, NULL);
		return;
	}
	volume_note_applied(volume, volume_log_end(volume->log)); /* the barrier changes nothing */
	volume_find_at_risk(volume, volume->is_new_reign);
	if (!volume_log_began_clean(volume->log) &&
		volume->index.slack_epoch < volume->desired.epoch)
		write_uid_slack(volume);
	else
		volume_enter(volume, VOLUME_PRIMARY);
}

void volume_try_open(struct volume *volume)
{
	struct error error;
	const struct volume_options *options = &volume->options;
	if (volume->log == NULL) {
		int result = volume_log_open(options->loop, options->disk, options->log_directory,
			options->id, &(struct log_told){ 0 }, &volume->log, NULL, &error);
		if (result == -EAGAIN) {
			timer_start(volume->retry_timer, LOCK_RETRY_MS);
			return;
		}
		if (result < 0) {
			log_error("volume_unusable", "volume=%u reason=%s", options->id,
				log_quote(str_from(error.text)));
			volume_retry_later(volume);
			return;
		}
	}
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	if (last != NULL && last->epoch > volume->desired.epoch) {
		/* The directory copy is older than what this log has seen. */
		volume_higher_epoch(volume, last->epoch);
		return;
	}
	if (volume_log_held(volume->log) == volume->desired.epoch) {
		/* Found to be behind another copy before this start (volume_is_behind). */
		volume->behind_epoch = volume->desired.epoch;
		volume_fence(volume, false, NULL);
		return;
	}
	if (last != NULL && last->epoch == volume->desired.epoch && !volume->fence_expired &&
		volume_log_ends_fenced(volume->log)) {
		/* Fenced before this start, in this very epoch: somebody may be promoting the
		 * replica. */
		volume_fence(volume, false, NULL);
		return;
	}
	volume->fence_expired = false;
	int result = volume_open_index(volume);
	if (result == 0)
		result = volume_apply_up_to(volume, volume_log_end(volume->log));
	if (result < 0) {
		log_error("volume_unreadable",
			"volume=%u applied=%llu reason=%s hint=\"pando failover\"", options->id,
			(unsigned long long)volume->index.applied_lsn,
			log_quote(str_from(strerror(-result))));
		volume_log_close(&volume->log);
		volume_retry_later(volume);
		return;
	}
	volume->is_new_reign = last == NULL || last->epoch != volume->desired.epoch;
	struct epoch_entry opening = {
		.epoch = volume->desired.epoch,
		.incarnation = rand_u64(),
	};
	memcpy(opening.reign, volume->desired.reign, EPOCH_REIGN_LENGTH);
	volume_log_reign(volume->log, &opening, on_reign, volume);
}
