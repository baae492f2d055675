#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/rand.h"

#include <errno.h>
#include <stdlib.h>

/* Becoming primary: the log is taken over and proven to be whole (proof.c), the rest of it applied,
 * the reign begun. */

void volume_begin_opening(struct volume *volume)
{
	volume_enter(volume, VOLUME_OPENING);
	volume->reign_epoch = volume->desired.epoch;
	volume->is_reopening = volume->writes = volume->was_served = volume->is_asked = false;
	volume->passes_over = false;
	volume->opening = (struct volume_opening){ 0 };
	volume->replay_mended = 0;
	/* What they had of an earlier branch says nothing of this one. */
	for (unsigned i = 0; i < volume->replica_count; i++)
		volume->replicas[i].acked_lsn = 0;
	volume_publish(volume);
	volume_ask_release(volume, 0);
}

void volume_retry_later(struct volume *volume)
{
	volume->retry_ms =
		timer_next_wait_ms(volume->retry_ms, OPEN_RETRY_MS_MIN, OPEN_RETRY_MS_MAX);
	volume_enter(volume, VOLUME_REPLICA);
	timer_start(volume->retry_timer, volume->retry_ms);
}

static void serve(struct volume *volume)
{
	volume_enter(volume, VOLUME_PRIMARY);
	volume_compare_copies(volume);
	volume_tell_passed(volume);
}

/* The first records of a proven opening are at every other copy before anything else is: if this
 * machine goes back to before them, the next opening knows of this one. */
static void begin_service(struct volume *volume)
{
	if (volume->opening.number == 0) {
		serve(volume);
		return;
	}
	volume->opening.ack_lsn = volume_log_end(volume->log);
	volume->opening.since_us = clock_mono_us();
	timer_start(volume->retry_timer, PROVE_LOOK_MS);
	volume_publish(volume);
	volume_check_opening(volume);
}

void volume_check_opening(struct volume *volume)
{
	if (volume->state != VOLUME_OPENING || volume->opening.ack_lsn == 0)
		return;
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (!volume->replicas[i].is_seeding &&
			(!volume->replicas[i].connected ||
				volume->replicas[i].acked_lsn < volume->opening.ack_lsn))
			return;
	serve(volume);
}

/* A disk that is full, or has no descriptor left, is tried again soon; a later reign, or a disk
 * that fails, is not. The log is closed from the loop: it may be what calls. */
static void give_up_opening(struct volume *volume, int status)
{
	log_error("opening_failed", "volume=%u epoch=%llu reason=%s", volume->options.id,
		(unsigned long long)volume->desired.epoch, log_quote(str_from(strerror(-status))));
	if (status == -ESTALE || status == -EIO) {
		volume_fence(volume, false, NULL);
		return;
	}
	volume->opening.has_failed = true;
	timer_start(volume->retry_timer, LOCK_RETRY_MS);
}

static void on_slack_done(struct pending_change *pending, int status, bool at_risk)
{
	struct volume *volume = pending->volume;
	(void)at_risk;
	free(pending);
	/* Else it is in the log, and was answered late: a replay has it. */
	if (status < 0 && status != -EAGAIN && volume->state == VOLUME_OPENING) {
		give_up_opening(volume, status);
		return;
	}
	if (volume->state == VOLUME_OPENING)
		begin_service(volume);
}

uint64_t volume_least_modseq(const struct volume *volume)
{
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	uint64_t number = last->opening < 4095 ? last->opening : 4095;
	return volume->desired.epoch << 40 | number << 28 | 1;
}

/*
 * In half slacks. A reign that began unclean in epoch E has passed over E-1 slacks in all, and over
 * those that the directory adds for copies that are far behind (volume_is_uid_slack_used). Two such
 * reigns differ in their epoch, so in their numbers, whatever part of the other's log each of them
 * has seen: what openings passed over that some copies never heard of is not added. A reign that
 * began clean goes on counting where the whole log of the one before ends. The epoch was chosen
 * high enough (epochs_least_unclean); after a directory that was put back, or more restarts than a
 * vector remembers, it may not be.
 */
static uint32_t missing_halves(const struct volume *volume)
{
	uint64_t wanted = 2 * (volume->desired.epoch - 1 + volume->uid_slacks);
	uint64_t passed = index_half_slacks(&volume->index);
	if (wanted > passed)
		return (uint32_t)(wanted - passed);
	return passed > 0;
}

/* An unclean promotion: numbers that lost tails may have given out are passed over. A proven
 * opening within an epoch passes over half a slack: what was lost here was never more
 * (volume_is_uid_slack_used). */
static void write_uid_slack(struct volume *volume, uint32_t halves)
{
	const uint32_t most = UINT32_MAX / (UID_SLACK / 2); /* all UIDs that there are */
	struct pending_change *pending = mem_alloc(sizeof(*pending));
	pending->pool = pool_create();
	pending->change.action_count = 1;
	pending->change.actions = pool_alloc(pending->pool, sizeof(struct action));
	pending->change.actions[0] = (struct action){ .kind = ACTION_UID_SLACK,
		.modseq = volume_least_modseq(volume),
		.uid_slack = (halves < most ? halves : most) * (UID_SLACK / 2) };
	pending->done = on_slack_done;
	pending->durability = DURABILITY_LOCAL;
	pending->is_own = true;
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
		give_up_opening(volume, status);
		return;
	}
	volume_note_applied(volume, volume_log_end(volume->log)); /* the barrier changes nothing */
	volume->writes = true;
	volume->is_behind = false;
	volume->token = volume->known_end = 0;
	volume_find_at_risk(volume);
	bool is_clean = volume_log_began_clean(volume->log, volume->desired.clean_after) ||
		volume->index.slack_epoch == volume->desired.epoch;
	bool is_agreed = volume->opening.number > 0;
	if (!is_clean || is_agreed)
		write_uid_slack(volume, (is_clean ? 0 : missing_halves(volume)) + is_agreed);
	else
		begin_service(volume);
}

int volume_take_log(struct volume *volume)
{
	struct error error;
	const struct volume_options *options = &volume->options;
	int result = volume_log_open(options->loop, options->disk, options->log_directory,
		options->id, &(struct log_told){ .passes_over = true, .owner = options->node_id },
		&volume->log, NULL, &error);
	if (result < 0 && result != -EAGAIN)
		log_error("volume_unusable", "volume=%u reason=%s", options->id,
			log_quote(str_from(error.text)));
	if (result < 0)
		return result;
	volume_forget_read(volume);
	/* Who answered what is here is not known. */
	volume->answered_end = volume_log_end(volume->log);
	return 0;
}

/* A damaged log with other copies: what they have is fetched where the damage begins. */
static bool take_log(struct volume *volume)
{
	int result = volume_take_log(volume);
	if (result == -EAGAIN) {
		timer_start(volume->retry_timer, LOCK_RETRY_MS);
		return false;
	}
	if (result == 0)
		return true;
	volume_recall(volume);
	if (result == -EUCLEAN && volume->replica_count > 0)
		volume_ask_for_proof(volume);
	else
		volume_retry_later(volume);
	return false;
}

static void begin_reign(struct volume *volume)
{
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	volume->answered_end = volume_log_end(volume->log); /* with what was fetched since */
	bool is_new_reign = volume_written_epoch(volume) != volume->desired.epoch;
	struct epoch_entry opening = { .epoch = volume->desired.epoch,
		.incarnation = incarnation_make(volume->desired.epoch, rand_u64()) };
	if (is_new_reign)
		volume->opening.number = 0;
	if (last != NULL && last->epoch == volume->desired.epoch)
		opening.opening = last->opening;
	/* A vector may have a higher one than the other copies, which was announced and never
	 * written, or is from nowhere: numbers never fall. */
	if (volume->opening.number > opening.opening)
		opening.opening = volume->opening.number;
	memcpy(opening.reign, volume->desired.reign, EPOCH_REIGN_LENGTH);
	volume_log_reign(volume->log, &opening, on_reign, volume);
}

static void give_up_reading(struct volume *volume, int status)
{
	log_error("volume_unreadable", "volume=%u applied=%llu reason=%s hint=\"pando failover\"",
		volume->options.id, (unsigned long long)volume->index.applied_lsn,
		log_quote(str_from(strerror(-status))));
	volume->opening.is_applying = false;
	volume_close_log(volume);
	volume_retry_later(volume);
}

static void on_replay_mended(struct mend_wait *wait, int status)
{
	struct volume *volume = container_of(wait, struct volume, replay_wait);
	if (volume->state != VOLUME_OPENING || !volume->opening.is_applying || volume->log == NULL)
		return;
	/* What is sound and cannot be read is no damage of the log. */
	if (status < 0 || volume->replay_mended == 1 + wait->lsn) {
		give_up_reading(volume, status < 0 ? status : -EBADMSG);
		return;
	}
	volume->replay_mended = 1 + wait->lsn;
	timer_start(volume->apply_timer, APPLY_PAUSE_MS);
}

void volume_apply_opening(struct volume *volume)
{
	int result = volume_apply_up_to(volume, volume_log_end(volume->log));
	if (result == -EBADMSG) {
		/* Read on when it is mended. */
		volume->replay_wait.done = on_replay_mended;
		volume_mend(volume, volume->index.applied_lsn, &volume->replay_wait);
		return;
	}
	if (result < 0) {
		give_up_reading(volume, result);
		return;
	}
	if (result > 0) {
		timer_start(volume->apply_timer, APPLY_PAUSE_MS);
		volume_publish(volume);
		return;
	}
	volume->opening.is_applying = false;
	begin_reign(volume);
}

void volume_try_open(struct volume *volume)
{
	if (volume->log == NULL && !take_log(volume))
		return;
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	uint64_t seen = volume_log_seen(volume->log);
	if (seen > volume->desired.epoch &&
		(last == NULL || last->epoch < seen || !volume_adopt_own_claim(volume))) {
		/* The directory, or the copy of it, is older than what was heard here. */
		volume_higher_epoch(volume, seen);
		return;
	}
	if (!volume_is_proven(volume)) {
		volume_ask_for_proof(volume);
		return;
	}
	volume->opening.is_proving = false;
	volume->opening.is_applying = true;
	int result = volume_open_index(volume);
	if (result < 0)
		give_up_reading(volume, result);
	else
		volume_apply_opening(volume);
}
