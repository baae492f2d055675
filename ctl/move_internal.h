#ifndef PANDO_CTL_MOVE_INTERNAL_H
#define PANDO_CTL_MOVE_INTERNAL_H

/* Between the files of a failover: move.c (asking where copies stand, writing), stand.c (making
 * them stand still). What they decide is in decide.h. */

#include "ctl/decide.h"
#include "ctl/rounds.h"

uint64_t plan_elapsed_ms(const struct plan *plan);
/* What the round may take of the time to decide, of which all is left while nothing stands still;
 * never 0. */
unsigned plan_round_ms(const struct plan *plan, enum decide_round round);
/* Between two looks at daemons that have answered. */
void plan_pause(void);
/* Where candidates (of moves that are not decided yet) and, `with_old`, old primaries stand. */
void plan_ask_positions(struct plan *plan, bool with_old, unsigned timeout_ms);

/* Whoever was told to end before the directory was changed moves nothing more: what stands still is
 * given back. */
void plan_heed_interrupt(struct plan *plan);

#endif
