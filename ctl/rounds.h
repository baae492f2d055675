#ifndef PANDO_CTL_ROUNDS_H
#define PANDO_CTL_ROUNDS_H

/*
 * The time of a failover between the first question that makes something stand still and the lock
 * of the directory's rows: DECIDE_MS, a third of FENCE_MS_MAX, for which fences and holds last.
 * Each of its rounds may have what it needs at most, and never of what those behind it need at
 * least, so that nodes that die on the way cost each round its time and the command never its
 * decision.
 */

#include <stdint.h>

enum { DECIDE_MS = 10000 };

/* In their order. */
enum decide_round {
	ROUND_FENCE,
	ROUND_UNHOLD,
	ROUND_CATCH_UP,
	ROUND_HOLD,
	ROUND_LOSS,
	ROUND_CONFIRM,
	ROUND_WRITE,
	DECIDE_ROUNDS,
};

/* How long the round may take when `left_ms` are left of DECIDE_MS. */
unsigned round_ms(enum decide_round round, uint64_t left_ms);

#endif
