#ifndef PANDO_CTL_COPIES_H
#define PANDO_CTL_COPIES_H

/* The copies of a volume that is there; the verbs stand in command.h. */

#include "ctl/cluster.h"
#include "ctl/output.h"

enum {
	/* A copy that lacks no more is in step: what a line has under way at full load. */
	COPY_LAG_BYTES_MAX = 16 << 20,
};

/* How much of its primary's log a copy has; both may be NULL. */
unsigned copy_percent(const struct json *primary, const struct json *peer);
/* Its primary has heard where it is, since it was started. */
bool copy_is_known(const struct json *peer);
/* As far as its primary has heard of it: what it lacks has been given back elsewhere, so that no
 * failover chooses it before it has caught up. */
bool copy_is_stale(const struct directory_volume *volume, const struct json *peer);

/* What the primary says of the copy at the node of this name: it may be counted on. */
bool copy_is_in_step(const struct json *primary, const char *node);

#endif
