#include "core/clock.h"
#include "node/scrub/internal.h"

/*
 * How fast. In half of scrub_days all is read once, so that the other half is there for pauses; a
 * pass that is late all the same is read under load too, at twice that.
 *
 * Busy is a node whose logs grow, which is mail that comes in, replicas that are filled and changes
 * of flags alike, and costs nothing to know; and a disk that takes long for what a step asks of it,
 * which is everything else: readers, other processes, a neighbour on the same spindle.
 */

enum {
	/* Slower is never needed: a day of it is 22 GB, which a disk reads beside anything. */
	RATE_MIN = 256 << 10,
	/* Faster is never polite: half a day of it is more than a terabyte. */
	RATE_MAX = 32 << 20,
	/* Of all logs, a second: some dozens of messages. */
	BUSY_BYTES_S = 1 << 20,
	/* A disk that does nothing else gives 1 MiB in 1 to 10 ms. */
	SLOW_US_PER_MIB = 100 * 1000,
	DAY_S = 86400,
};

static uint64_t sum_of_logs(const struct scrub *scrub)
{
	void *value;
	uint64_t sum = 0;
	for (size_t i = 0; map_next(scrub->copies, &i, NULL, &value);)
		sum += ((const struct scrubbed *)value)->end;
	return sum;
}

void pace_look(struct scrub *scrub)
{
	uint64_t now_us = clock_mono_us(), sum = sum_of_logs(scrub);
	uint64_t took_us = now_us - scrub->looked_us;
	/* Also one that has become shorter: a copy is being made anew. */
	uint64_t moved = sum > scrub->log_bytes ? sum - scrub->log_bytes : scrub->log_bytes - sum;
	scrub->is_busy = moved > BUSY_BYTES_S * (took_us / 1000) / 1000;
	scrub->is_slow = false; /* by the next step, which is one a second while it is */
	scrub->looked_us = now_us;
	scrub->log_bytes = sum;
}

static int64_t half_s(const struct scrub *scrub)
{
	return (int64_t)scrub->config->scrub_days * DAY_S / 2;
}

/* When the pass that is under way, or the next one, ought to begin. */
static int64_t due_s(const struct scrub *scrub, const struct scrubbed *copy)
{
	const struct scrub_state *state = &copy->state;
	return state->last_began_s > 0 ? state->last_began_s + half_s(scrub) : state->since_s;
}

bool pace_is_due(const struct scrub *scrub, const struct scrubbed *copy, int64_t now_s)
{
	if (copy->state.is_now)
		return true;
	if (scrub->config->scrub_days == 0)
		return false;
	if (copy->state.began_s > 0)
		return true;
	return clock_mono_us() - scrub->created_us > SCRUB_FIRST_S * 1000000ull &&
		now_s >= due_s(scrub, copy);
}

/* A quarter of scrub_days is left. */
static bool is_late(const struct scrub *scrub, const struct scrubbed *copy)
{
	return scrub_now_s() - due_s(scrub, copy) > half_s(scrub) / 2;
}

bool pace_must_pause(const struct scrub *scrub, const struct scrubbed *copy)
{
	return !copy->state.is_now && !is_late(scrub, copy) && (scrub->is_busy || scrub->is_slow);
}

static uint64_t rate_of(const struct scrub *scrub, const struct scrubbed *copy)
{
	if (copy->state.is_now)
		return scrub->config->scrub_mib_s_max << 20;
	uint64_t rate = sum_of_logs(scrub) / ((uint64_t)half_s(scrub) + 1);
	if (is_late(scrub, copy))
		rate *= 2;
	return rate < RATE_MIN ? RATE_MIN : rate > RATE_MAX ? RATE_MAX : rate;
}

void pace_note(struct scrub *scrub, uint64_t bytes, uint64_t took_us)
{
	uint64_t now_us = clock_mono_us(), wait_us = bytes * 1000000 / rate_of(scrub, scrub->at);
	scrub->is_slow = took_us > (bytes >> 10) * SLOW_US_PER_MIB / 1024 + SLOW_US_PER_MIB;
	scrub->step_us = now_us - took_us + wait_us;
}

size_t pace_step_bytes(const struct scrubbed *copy)
{
	return copy->state.is_now ? SCRUB_STEP_NOW_BYTES : SCRUB_STEP_BYTES;
}
