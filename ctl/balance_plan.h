#ifndef PANDO_CTL_BALANCE_PLAN_H
#define PANDO_CTL_BALANCE_PLAN_H

/*
 * Which few moves make the nodes of each site carry alike, as a function of what stands where. A
 * node's load is how many volumes it serves, their mailboxes, its copies and the bytes of these,
 * each against the mean of its site. The step that evens most comes first, each volume has one at
 * most, and where nothing is gained any more nothing is proposed. Nothing leaves its site.
 */

#include "core/buf.h"
#include "ctl/layout.h"

enum {
	/* In hundredths of the mean, squared and summed over a site's nodes and all that they
	 * carry: a step that gains less is not worth a session's end. Two nodes of which one serves
	 * a fifth more than the other are 2 apart, half more 8. */
	BALANCE_GAIN_MIN = 5,
	/* Less on a node is no load, and no reason to copy anything. */
	BALANCE_NODE_MIB_MIN = 1024,
	BALANCE_NODE_MAILBOXES_MIN = 10,
};

enum balance_what {
	BALANCE_SERVE, /* a copy that `to` has already is to serve */
	BALANCE_COPY,  /* the copy at `from`, and with it what it serves, goes to `to` */
};

struct balance_step {
	enum balance_what what;
	unsigned volume, from, to;
	bool is_primary; /* its sessions end */
	char why[160];
};

struct balance_plan {
	struct buf steps; /* struct balance_step each, in their order */
};

/* Leaves out what cannot be moved now: nodes that do not answer, volumes that are not served or
 * have a copy that is not in step, new copies of a volume that has no number left for a node.
 * Changes nothing of the layout. */
void balance_plan_make(const struct layout *layout, struct balance_plan *plan_out);
void balance_plan_deinit(struct balance_plan *plan);
unsigned balance_plan_count(const struct balance_plan *plan);
const struct balance_step *balance_plan_step(const struct balance_plan *plan, unsigned index);
/* What carries it out: lines of `pando ...`, each with its end. */
void balance_append_commands(
	const struct layout *layout, const struct balance_step *step, struct buf *out);

#endif
