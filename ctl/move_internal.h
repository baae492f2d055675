#ifndef PANDO_CTL_MOVE_INTERNAL_H
#define PANDO_CTL_MOVE_INTERNAL_H

/* Between the files of a failover: move.c (asking where copies stand, choosing, writing), stand.c
 * (making them stand still). */

#include "ctl/move.h"
#include "ctl/rounds.h"

uint64_t plan_elapsed_ms(const struct plan *plan);
/* What the round may take of the time to decide, of which all is left while nothing stands still;
 * never 0. */
unsigned plan_round_ms(const struct plan *plan, enum decide_round round);
/* Between two looks at daemons that have answered. */
void plan_pause(void);
/* Where candidates (of moves that are not decided yet) and, `with_old`, old primaries stand. */
void plan_ask_positions(struct plan *plan, bool with_old, unsigned timeout_ms);

/* The first one counts. */
void move_problem(struct move *move, struct str text);
/* The same, with the node's name in front. */
void move_problem_of_node(
	const struct plan *plan, struct move *move, uint32_t node_id, const char *advice);
/* Takes the best of the candidates that answer. `is_final`: nothing more will be asked. */
void move_choose(const struct plan *plan, struct move *move, bool is_final);

#endif
