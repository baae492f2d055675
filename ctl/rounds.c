#include "ctl/rounds.h"

struct round_time {
	/* `least`: a second is enough for a daemon that lives (ASK_LOOK_MS). */
	unsigned least_ms, most_ms;
};

static const struct round_time times[DECIDE_ROUNDS] = {
	/* Closing sessions and syncing a volume; a slow disk takes a second, and a node gives up
	 * after four (END_MS_MAX of node/volume/volumes_end.c). */
	[ROUND_FENCE] = { 5000, 5000 },
	[ROUND_UNHOLD] = { 1000, 5000 },
	/* A replica that was connected is seconds behind at the very most: six, and the last look.
	 */
	[ROUND_CATCH_UP] = { 1000, 7000 },
	[ROUND_HOLD] = { 1000, 5000 },
	/* What is counted is for people: it waits for nobody when there is no time. */
	[ROUND_LOSS] = { 0, 1000 },
	[ROUND_CONFIRM] = { 1000, 5000 },
	/* Some locks and a few statements; whether it was in time is looked at behind the locks. */
	[ROUND_WRITE] = { 500, DECIDE_MS },
};

unsigned round_ms(enum decide_round round, uint64_t left_ms)
{
	uint64_t kept_ms = 0;
	for (unsigned later = round + 1u; later < DECIDE_ROUNDS; later++)
		kept_ms += times[later].least_ms;
	uint64_t mine_ms = left_ms > kept_ms ? left_ms - kept_ms : 0;
	return mine_ms < times[round].most_ms ? (unsigned)mine_ms : times[round].most_ms;
}
