#ifndef PANDO_CTL_DECIDE_H
#define PANDO_CTL_DECIDE_H

/* The decisions of a failover (docs/protocol.md, Choose), from what copies have said.
 * Pure: nobody is asked and nothing is written. */

#include "ctl/move.h"

/* Why it does not move; the first one counts. */
void move_problem(struct move *move, struct str text);
/* The same, with the name of the copy's node in front. */
void move_problem_of(struct move *move, const struct candidate *candidate, const char *advice);

/* Takes the best of the candidates that answer, and says whether it has all that a fenced primary
 * has. `is_final`: nothing more will be asked. */
void move_choose(const struct plan *plan, struct move *move, bool is_final);
/* NULL: none. */
const struct candidate *move_chosen(const struct move *move);

/* It should be heard before anything is passed over, and was not. */
bool candidate_is_silent(const struct candidate *candidate);
/* The first of those; or NULL. */
const struct candidate *move_unheard(const struct move *move);

/* Above all that anybody has heard of, and high enough for the log there. */
uint64_t move_next_epoch(const struct move *move, const struct candidate *candidate);
/* The epoch from whose fence the reign goes on counting uids; 0: it passes some over. It goes on
 * where who begins it has that fence, and no copy is out of sight, where a second directory could
 * begin another reign from the same one. */
uint64_t move_clean_after(const struct move *move, const struct candidate *beginner);
/* What another copy has above the old primary was acknowledged: it is not thrown away for a new
 * epoch there, be it that the copy has fallen silent since it said so. False: the problem says why.
 */
bool move_may_give_back(const struct plan *plan, struct move *move);

#endif
