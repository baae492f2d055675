#ifndef PANDO_CTL_BACKUP_PRUNE_PLAN_H
#define PANDO_CTL_BACKUP_PRUNE_PLAN_H

/*
 * Which sets may go. A set is wanted if it is one of its cluster's newest, or young enough; the
 * newest one of a cluster and a key always is, and so is the newest one from before a backup that
 * is not finished: that one may be going on from it at this moment. What a wanted set stands on is
 * kept with it, however old. What such a newest one could not get all of is kept where an older one
 * has more of it. Sets that are ahead (backup_set_is_ahead) stay and count for nothing: they push
 * out no other.
 */

#include "ctl/backup/set.h"

struct prune_wish {
	unsigned keep;   /* so many of each cluster's newest; 0: by age alone */
	int64_t since_s; /* and those of this moment or later; INT64_MAX: by number alone */
	int64_t now_s;
};

/* -EUCLEAN: it is not known what some set stands on, or what a finished one stands on does not
 * count. Before anything is left out of `broken`. */
int prune_check(const struct backup_sets *sets, struct error *error) must_check;
/* `broken` of the sets: what is not finished and stays. kept_out: an element per set. */
void prune_plan(const struct backup_sets *sets, const struct prune_wish *wish, bool *kept_out);

#endif
