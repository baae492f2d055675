#ifndef PANDO_CTL_DRAIN_PLAN_H
#define PANDO_CTL_DRAIN_PLAN_H

/*
 * What is missing until a node holds nothing, as a function of what stands where: made anew at
 * every look, so that a drain that was killed anywhere goes on, and nothing remembers how far it
 * was.
 *
 * So what is enough must show in the copies themselves, whoever made them: two sites have the
 * volume without the node, and its site still has it where another node there can. A copy beside
 * another one at its site is let go of at once; of a volume with a copy at each of three sites the
 * third one is made anew beside the node.
 */

#include "core/buf.h"
#include "ctl/layout.h"

enum {
	/* Mail that is acknowledged stands at so many sites: docs/design.md, the first promise. */
	DRAIN_SITES = 2,
	DRAIN_COPIES = 2,
};

/* In the order in which they are done, over all volumes: mail is never at fewer sites than before,
 * and nobody's session ends for a drain that does not get so far. */
enum drain_what {
	DRAIN_REFUSED, /* the volume cannot leave, `why` */
	DRAIN_FILL,    /* `node` gets a copy */
	DRAIN_WAIT,    /* `node` is being filled, or (`why`) must be waited for otherwise */
	DRAIN_MOVE,    /* `node` is to serve it */
	DRAIN_LET_GO,  /* the drained node's copy is removed */
	DRAIN_NOTHING,
};

struct drain_step {
	enum drain_what what;
	unsigned volume, node;
	char why[200];
};

/* What is not as it should be: a volume that is not served, a copy that is not in step. */
enum drain_patience {
	DRAIN_NOW,      /* is a reason to refuse */
	DRAIN_SETTLING, /* is waited for where its node answers */
	DRAIN_GOING_ON, /* is waited for */
};

struct drain_wish {
	unsigned node;        /* that is drained */
	const bool *may_take; /* by node: where copies may go */
	/* One copy, or one site, does where no more can be had. */
	bool accepts_one_copy;
	enum drain_patience patience;
};

struct drain_plan {
	struct buf steps; /* struct drain_step each, by what */
};

void drain_plan_make(
	const struct layout *layout, const struct drain_wish *wish, struct drain_plan *plan_out);
void drain_plan_deinit(struct drain_plan *plan);
unsigned drain_plan_count(const struct drain_plan *plan);
const struct drain_step *drain_plan_step(const struct drain_plan *plan, unsigned index);
/* What is to be done now: that of the first step. */
enum drain_what drain_plan_stage(const struct drain_plan *plan);

#endif
