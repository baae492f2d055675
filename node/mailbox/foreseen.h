#ifndef PANDO_NODE_FORESEEN_H
#define PANDO_NODE_FORESEEN_H

/*
 * Messages as they will be when all that is on its way is applied. A copy is written with the flags
 * that its message has when the change is made, and takes its place in the log behind the changes
 * that are on their way by then: what they do to the message must be in it.
 */

#include "node/volume/volume.h"

struct foreseen {
	/* What is on its way and changes messages of the folder, in the order of the log. */
	const struct action **actions;
	unsigned count;
};

/* `folder` is loaded. What `foreseen_out` refers to lives until the next change of the volume is
 * submitted or applied; its list is in `pool`. */
void foresee(const struct volume *volume, const struct folder *folder, struct pool *pool,
	struct foreseen *foreseen_out);
/* Its flags, as bits of ahead_keyword. False: it will be gone. */
bool foreseen_flags(const struct foreseen *foreseen, const struct message *message,
	uint64_t *flags_out) must_check;

#endif
