#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"

/*
 * An epoch was heard that is later than the one in which the directory names this copy. While it
 * may be somebody's, nothing below it is written: its leader would cut that. It is explained when
 * the directory comes to know of it, which whoever serves in it sees to. One that stays unexplained
 * is a mistake, or was shown with a stolen key; the volume does not stay closed for it.
 *
 * All other copies are asked under that number, as before an opening. If every one of them has
 * answered as a replica, and no log has more than the one here, nobody has begun it, and nobody who
 * has answered begins it any more: the directory gives this copy an epoch above it (a claim). What
 * another log has more is not fetched: then, or if a copy is silent, `pando failover` decides.
 */

bool volume_is_unexplained(const struct volume *volume)
{
	return volume->has_desired && volume->desired.primary &&
		volume->desired.epoch < volume->highest_epoch;
}

static bool has_waited(const struct volume *volume)
{
	return clock_mono_us() - volume->unexplained_since_us >=
		volume->options.alone_after_ms * 1000;
}

void volume_await_explanation(struct volume *volume)
{
	if (!volume_is_unexplained(volume))
		volume->unexplained_since_us = 0; /* in any state: the next waits anew */
	if (volume->state != VOLUME_REPLICA || !volume_is_unexplained(volume))
		return;
	if (volume->unexplained_since_us == 0) {
		volume->unexplained_since_us = clock_mono_us();
		log_warn("epoch_unexplained",
			"volume=%u epoch=%llu heard=%llu action=\"wait for the directory, then ask "
			"the other copies\"",
			volume->options.id, (unsigned long long)volume->desired.epoch,
			(unsigned long long)volume->highest_epoch);
	}
	if (!timer_is_running(volume->retry_timer))
		timer_start(volume->retry_timer, PROVE_LOOK_MS);
}

static void ask_all(struct volume *volume)
{
	volume_enter(volume, VOLUME_OPENING);
	volume->reign_epoch = volume->desired.epoch;
	volume->is_reopening = volume->writes = volume->was_served = volume->is_asked = false;
	volume->passes_over = true;
	volume->opening =
		(struct volume_opening){ .is_proving = true, .since_us = clock_mono_us() };
	volume_forget_read(volume);
	volume_ask_release(volume, volume->highest_epoch);
	timer_start(volume->retry_timer, PROVE_LOOK_MS);
	volume_publish(volume);
}

void volume_poll_unexplained(struct volume *volume)
{
	if (has_waited(volume))
		ask_all(volume);
	else
		timer_start(volume->retry_timer, PROVE_LOOK_MS);
}

void volume_pass_over(struct volume *volume)
{
	uint64_t end = volume->opening.end;
	log_warn("epoch_passed_over",
		"volume=%u heard=%llu end=%llu reason=\"all copies were heard, and none has it\"",
		volume->options.id, (unsigned long long)volume->highest_epoch,
		(unsigned long long)end);
	volume->opening.is_proven = false;
	volume->opening.is_heard = true;
	volume_proving(volume, true, end, 0);
	timer_start(volume->retry_timer, LOCK_RETRY_MS);
}
