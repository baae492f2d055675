#ifndef PANDO_CTL_LEAVE_H
#define PANDO_CTL_LEAVE_H

/*
 * Whether a copy may leave a node: mail stands at two sites without it. A primary answers on the
 * highest acknowledgement that it has, so that the copy that leaves may be the only other one that
 * has the last messages: of those that stay, one at another site must have confirmed all that the
 * primary had when it was looked at.
 */

#include "ctl/cluster.h"

enum {
	/* For that: a copy in step lacks COPY_LAG_BYTES_MAX at most, which takes eight seconds on a
	 * line of 16 Mbit/s. The volume is held meanwhile, which a failover waits for. */
	LEAVE_MS_MAX = 10000,
	LEAVE_LOOK_MS = 50,
};

enum leave {
	LEAVE_MAY,
	LEAVE_WAITS, /* a copy that stays is in step, and has not confirmed all of that yet */
	LEAVE_NOT,
};

/* The copy at `leaver`, when the volume's primary had `lsn`; `nodes`: their answers to `status`.
 * Else says why not. */
enum leave leave_look(const struct cluster *cluster, const struct question *nodes,
	const struct directory_volume *volume, const struct directory_node *leaver, uint64_t lsn,
	struct buf *why_out);
/* A copy that counts is at another site than the primary's without it. */
bool leave_has_other_site(const struct cluster *cluster, const struct directory_volume *volume,
	const struct directory_node *leaver);
/* Its leader has compared the copy there with its own: nothing of it will be cut off. False where
 * that is still to come, and says so; what is being filled has nothing of its own, and what differs
 * within an epoch is the operator's (docs/operating.md, Copies that differ). */
bool leave_is_compared(const struct json *primary, const struct directory_volume *volume,
	const struct directory_node *leaver, struct buf *why_out);

#endif
