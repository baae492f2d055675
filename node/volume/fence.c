#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/rand.h"
#include "spool/log_files.h"

#include <errno.h>
#include <stdlib.h>

/* Standing still: what is here is all there will be. A primary is fenced, a replica held. */

/* ---- fencing a primary ---- */

static bool is_drained(const struct volume *volume)
{
	return list_is_empty(&volume->pending) &&
		(volume->log == NULL || volume_log_is_idle(volume->log));
}

static bool has_stood_still(const struct volume *volume)
{
	return clock_mono_us() - volume->still_since_us > FENCE_MS_MAX * 1000u;
}

/* Each answer makes a new token, and all before are void: a reign is begun by who was held for it
 * last, and has neither restarted nor gone on since. */
static void end_waits(struct volume *volume, int status)
{
	if (list_is_empty(&volume->end_waits))
		return;
	if (status == 0 && volume->is_asked) {
		volume->token = rand_u64() | 1;
		volume->token_end = volume_durable_end(volume);
		if (volume_is_proven_end(volume))
			volume_remember(volume);
	}
	while (!list_is_empty(&volume->end_waits)) {
		struct end_wait *wait = list_entry(volume->end_waits.next, struct end_wait, link);
		list_remove(&wait->link);
		wait->done(wait, status, volume_durable_end(volume));
	}
}

bool volume_is_proven_end(const struct volume *volume)
{
	return volume->state == VOLUME_HELD || (volume->was_served && !volume->is_behind);
}

static void become_replica(struct volume *volume)
{
	/* One of an epoch that is over holds nobody. What cannot be taken back costs the next
	 * process the time of a hold. */
	if (volume->state == VOLUME_HELD && volume->log != NULL &&
		volume->desired.epoch <= volume->hold_epoch && volume_log_unhold(volume->log) < 0)
		log_warn("hold_not_taken_back", "volume=%u", volume->options.id);
	volume->reader_end = volume_durable_end(volume);
	volume_close_log(volume);
	volume_forget_read(volume);
	volume->writes = volume->was_served = false;
	volume->is_asked = volume->is_let_go = false;
	volume->token = volume->known_end = 0;
	volume->is_behind = false;
	volume->passes_over = false;
	witness_forget(volume->witness);
	volume_enter(volume, VOLUME_REPLICA);
	volume_await_explanation(volume);
}

void volume_stop(struct volume *volume, struct end_wait *wait)
{
	volume->is_stopping = true;
	volume_fence(volume, false, wait);
}

void volume_finish_fence(struct volume *volume)
{
	/* Nobody who decides is waited for: what this process has said is in the machine's memory.
	 * The token that it gave stays as it is. */
	if (volume->state == VOLUME_FENCED && volume->is_stopping && is_drained(volume)) {
		end_waits(volume, -ESTALE);
		return;
	}
	/* Of one that is being proven, the replicator may still be writing the log. */
	if (volume->state != VOLUME_FENCED || !is_drained(volume) || volume->is_releasing)
		return;
	bool leaves = volume->has_desired && volume_is_deposed(volume);
	/* While somebody decides by where it stands, and the directory's last word still names it,
	 * a later epoch that is heard of may be its own: the word comes. */
	if (leaves && volume->is_asked && volume->desired.primary && !has_stood_still(volume))
		return;
	bool opens = !leaves &&
		(volume_has_new_reign(volume) ||
			(volume->is_reopening && volume_may_be_primary(volume)));
	/* What opens again this moment does not stand still, whoever asked for that. */
	end_waits(volume, opens ? -ESTALE : 0);
	if (leaves) {
		volume_fail_waits(volume);
		become_replica(volume);
	} else if (opens) {
		volume_begin_opening(volume);
	}
}

static void on_fence_record(struct pending_change *pending, int status, bool at_risk)
{
	struct volume *volume = pending->volume;
	(void)status; /* a fence that is not on disk is weaker, not wrong: the next primary skips
			 numbers */
	(void)at_risk;
	free(pending);
	volume_finish_fence(volume);
}

static void write_fence_record(struct volume *volume)
{
	struct pending_change *pending = mem_alloc(sizeof(*pending));
	pending->pool = pool_create();
	pending->done = on_fence_record;
	pending->durability = DURABILITY_LOCAL;
	pending->is_own = true;
	pending->record_type = RECORD_FENCE;
	volume_submit(volume, pending, STR(""), STR(""));
}

/* It is named, and not open: where an unproven log ends says nothing of what was confirmed, but it
 * does not open while somebody decides. */
static void stand_unproven(struct volume *volume)
{
	volume->is_asked = true;
	volume->is_reopening = false;
	volume->still_since_us = clock_mono_us();
	volume_forget_proof(volume);
	if (volume->state == VOLUME_FENCED)
		return;
	volume->opening = (struct volume_opening){ 0 };
	volume_enter(volume, VOLUME_FENCED);
	/* The proof ends there, and nobody else takes the log; nobody can while it is open here: no
	 * word of the replicator is waited for. */
	volume->is_releasing = false;
	if (volume->log == NULL)
		volume_ask_release(volume, 0);
	timer_start(volume->retry_timer, LOCK_RETRY_MS);
}

void volume_fence(struct volume *volume, bool lasting, struct end_wait *wait)
{
	if (lasting && wait != NULL && !volume_is_proven_end(volume)) {
		if (volume->state == VOLUME_CLOSED || !volume_may_be_primary(volume)) {
			wait->done(wait, -ESTALE, volume_durable_end(volume));
			return;
		}
		list_append(&volume->end_waits, &wait->link);
		stand_unproven(volume);
		volume_finish_fence(volume);
		return;
	}
	if (lasting || wait != NULL)
		volume->is_reopening = false;
	if (lasting) {
		volume->is_asked = true;
		volume->still_since_us = clock_mono_us();
	}
	if (volume->state == VOLUME_PRIMARY || volume->state == VOLUME_OPENING) {
		bool was_primary = volume->state == VOLUME_PRIMARY;
		volume->still_since_us = clock_mono_us();
		if (was_primary && lasting && !volume_has_failed(volume))
			write_fence_record(volume);
		volume_enter(volume, VOLUME_FENCED);
		if (was_primary)
			index_tell_gone(&volume->index);
		volume->is_releasing = false;
		timer_start(volume->retry_timer, LOCK_RETRY_MS);
	}
	if (wait != NULL) {
		if (volume->state != VOLUME_FENCED) {
			wait->done(wait, -ESTALE, volume_durable_end(volume));
			return;
		}
		list_append(&volume->end_waits, &wait->link);
	}
	volume_finish_fence(volume);
}

/* Whoever asked for a fence and did not go on to promote gave up long before FENCE_MS_MAX. Whether
 * that is so, the other copies or the directory say: a log that ends in a fence is to be proven. */
void volume_poll_fence(struct volume *volume)
{
	volume_finish_fence(volume);
	if (volume->state != VOLUME_FENCED || (volume->is_stopping && is_drained(volume)))
		return;
	if (is_drained(volume) && volume_may_be_primary(volume) && has_stood_still(volume)) {
		volume_begin_opening(volume);
	} else {
		timer_start(
			volume->retry_timer, is_drained(volume) ? FENCE_POLL_MS : LOCK_RETRY_MS);
	}
}

void volume_higher_epoch(struct volume *volume, uint64_t epoch)
{
	/* What it has claimed itself may be heard from others before the directory's word comes. */
	if (epoch <= volume->highest_epoch || epoch == volume->claim.epoch)
		return;
	volume->highest_epoch = epoch;
	volume_publish(volume);
	if (volume->desired.epoch < epoch &&
		(volume->state == VOLUME_PRIMARY || volume->state == VOLUME_OPENING)) {
		log_warn("higher_epoch", "volume=%u mine=%llu theirs=%llu action=fence",
			volume->options.id, (unsigned long long)volume->desired.epoch,
			(unsigned long long)epoch);
		volume_fence(volume, false, NULL);
	}
	volume_await_explanation(volume);
}

void volume_behind(struct volume *volume, uint32_t node_id, uint64_t epoch, uint64_t end)
{
	if (!volume->writes || epoch != volume->desired.epoch ||
		(volume->state != VOLUME_PRIMARY && volume->state != VOLUME_OPENING))
		return;
	log_error("lost_own_writes",
		"volume=%u epoch=%llu node=%u confirmed=%llu here=%llu effect=\"not served until "
		"that has been fetched\"",
		volume->options.id, (unsigned long long)epoch, node_id, (unsigned long long)end,
		(unsigned long long)volume_durable_end(volume));
	volume->is_behind = volume->is_reopening = true;
	/* A machine that was put back with its memory takes itself for whole, and has told the
	 * directory of this opening. */
	volume->abandoned_incarnation = epochs_last(volume_log_epochs(volume->log))->incarnation;
	volume_know_end(volume, end);
	/* The next process asks too. */
	witness_forget(volume->witness);
	volume_fence(volume, false, NULL);
	volume_settle_waits(volume);
}

/* ---- holding a replica ---- */

/* The promise is in the log before it is given. On a disk that takes nothing now it holds as long
 * as this process lives. */
static void note_hold(struct volume *volume);

static void on_hold_noted(void *arg, int status)
{
	struct volume *volume = arg;
	CHECK(volume->state == VOLUME_HELD);
	if (volume->is_let_go || (status < 0 && !log_is_refusal(status))) {
		end_waits(volume, volume->is_let_go ? -ESTALE : status);
		become_replica(volume);
		return;
	}
	if (status < 0)
		log_warn("hold_not_lasting", "volume=%u reason=%s effect=\"a restart ends it\"",
			volume->options.id, log_quote(str_from(strerror(-status))));
	if (status == 0 && volume_log_held(volume->log) != volume->hold_epoch) {
		note_hold(volume); /* asked for a later epoch meanwhile */
		return;
	}
	end_waits(volume, 0);
	volume_finish_hold(volume);
}

static void note_hold(struct volume *volume)
{
	if (!volume_log_is_idle(volume->log))
		return; /* it is being written: its end answers everybody */
	if (volume_log_held(volume->log) == volume->hold_epoch)
		end_waits(volume, 0);
	else
		volume_log_hold(volume->log, volume->hold_epoch, on_hold_noted, volume);
}

void volume_hold(struct volume *volume, uint64_t epoch, struct end_wait *wait)
{
	if ((volume->state != VOLUME_REPLICA && volume->state != VOLUME_HELD) ||
		volume->desired.epoch > epoch) {
		wait->done(wait, -ESTALE, volume_durable_end(volume));
		return;
	}
	list_append(&volume->end_waits, &wait->link);
	volume->is_let_go = false; /* who asks last decides */
	volume->hold_epoch = epoch;
	volume->is_asked = true;
	volume->still_since_us = clock_mono_us();
	if (volume->state == VOLUME_REPLICA) {
		volume_enter(volume, VOLUME_HELD);
		volume_ask_release(volume, 0);
		timer_start(volume->retry_timer, LOCK_RETRY_MS);
	} else if (volume->log != NULL) {
		note_hold(volume);
	}
}

void volume_unhold(struct volume *volume)
{
	if (volume->state != VOLUME_HELD)
		return;
	/* What is just being written is taken back behind it. */
	volume->is_let_go = !is_drained(volume);
	if (volume->is_let_go)
		return;
	end_waits(volume, -ESTALE);
	become_replica(volume);
}

void volume_finish_hold(struct volume *volume)
{
	bool is_over = volume->is_let_go || volume->desired.epoch > volume->hold_epoch ||
		has_stood_still(volume);
	if (!is_drained(volume))
		return;
	if (volume_may_be_primary(volume)) {
		end_waits(volume, -ESTALE);
		volume_begin_opening(volume);
	} else if (is_over) {
		end_waits(volume, -ESTALE);
		become_replica(volume);
	}
}

/* With the log's lock taken nobody here acknowledges, whatever becomes of the replicator. */
static void take_log(struct volume *volume)
{
	int result = volume_take_log(volume);
	if (result == -EAGAIN)
		return;
	if (result < 0) {
		end_waits(volume, result);
		become_replica(volume);
		return;
	}
	volume_publish(volume);
	note_hold(volume);
}

void volume_poll_hold(struct volume *volume)
{
	if (volume->log == NULL && !volume->is_releasing)
		take_log(volume);
	if (volume->state == VOLUME_HELD)
		volume_finish_hold(volume);
	if (volume->state == VOLUME_HELD)
		timer_start(volume->retry_timer, volume->log ? FENCE_POLL_MS : LOCK_RETRY_MS);
}
