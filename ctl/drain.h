#ifndef PANDO_CTL_DRAIN_H
#define PANDO_CTL_DRAIN_H

/* `pando node drain`, between its files: drain.c looks, says and goes round, drain_steps.c does
 * what the plan (drain_plan.h) has as its stage. */

#include "ctl/cluster.h"
#include "ctl/drain_plan.h"
#include "ctl/filling.h"
#include "ctl/layout_read.h"
#include "ctl/output.h"
#include "ctl/tails.h"

enum {
	/* So many copies are filled at a time. Each reads a log from its beginning and writes it
	 * anew: these keep a line or a disk busy, and more would take from the mail that is
	 * delivered beside them. */
	DRAIN_FILLINGS_MAX = 4,
};

struct drain {
	struct command *command;
	/* As of the last look. */
	struct cluster cluster;
	struct question *nodes;
	struct layout layout;
	struct drain_plan plan;
	unsigned node; /* in the layout */
	enum drain_patience patience;
	struct tails tails; /* at the node, when it was asked last */
	bool has_said_busy;
	struct table done; /* what was done, and what is left, in rows of DRAIN_COLUMNS */
};

#define DRAIN_COLUMNS "volume", "step", "node", "#bytes", "result", "why"

/* Nobody else moves the volumes of the stage, or changes their copies, until the writer is closed.
 * 0, or a code of directory_begin_moves. */
int drain_take(struct drain *drain, enum drain_what stage, struct buf *taken_out,
	struct error *error) must_check;
/* What was cut off a log there and has not come home: its disk is the only place that has it. */
void drain_ask_tails(struct drain *drain);
/* Before anything of the volumes that are `taken` is let go of: another copy at another site has
 * confirmed what the primary had at the look, and what the node has alone is known. False: it says
 * why not. Tails are to be asked after it. */
bool drain_may_let_go(struct drain *drain, const struct buf *taken);
/* Of what is waited for, what is being filled. */
unsigned drain_count_fillings(const struct drain *drain);
/* Does the steps of that kind, of fillings as many as may be, for the volumes that are `taken`
 * (uint32_t each). EXIT_DONE, or an exit code with the sentence printed. */
int drain_act(struct drain *drain, enum drain_what stage, const struct buf *taken) must_check;
/* So that a script that goes on finds the node without its copies. */
void drain_wait_let_go(struct drain *drain);
/* A row, and for people a line. */
void drain_note(struct drain *drain, const struct drain_step *step, const char *result);

#endif
