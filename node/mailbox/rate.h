#ifndef PANDO_NODE_MAILBOX_RATE_H
#define PANDO_NODE_MAILBOX_RATE_H

/*
 * How much comes to one mailbox: a quota bounds what it holds, not what is written for it. Who adds
 * and expunges in turn would fill the disk with what is not given back yet. So a mailbox with a
 * quota takes a number of quotas within a day (config write_quotas_per_day), RATE_BYTES_MIN at
 * least; what it was given leaks away evenly. Memory of the process alone: a restart, or a
 * failover, begins with nothing.
 */

#include "node/index/index.h"

enum {
	/* A mailbox that may hold little may all the same be emptied often. */
	RATE_BYTES_MIN = 64 << 20,
};

/* `quotas_per_day` 0, or no quota: as much as comes. */
bool rate_allows(
	struct mailbox *mailbox, uint64_t quota_bytes, uint64_t quotas_per_day, uint64_t bytes);
void rate_note(struct mailbox *mailbox, uint64_t bytes);

#endif
