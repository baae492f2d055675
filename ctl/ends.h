#ifndef PANDO_CTL_ENDS_H
#define PANDO_CTL_ENDS_H

/* Asking nodes to make volumes stand still, and where they end: one question per node, so that a
 * node of hundreds of volumes is asked as quickly as one of a single one. */

#include "ctl/cluster.h"

struct end_question {
	uint32_t node_id;
	const struct directory_volume *volume;
	/* Of a fence the row's; of others the highest that anybody has named. Who knows a later one
	 * refuses. */
	uint64_t asked_epoch;
	/* The answer. answered: the node spoke of it in time; then it stands still at (epoch,
	 * end_lsn) under `token`, or `refusal` says why not (it lives as long as the cluster). */
	bool answered, stands, ends_fenced;
	/* It may count by where it ends; false: it was just being opened, and does not go on, no
	 * more. */
	bool is_proven;
	/* Its disk takes nothing more: it will not write again, and what it confirmed ends at
	 * end_lsn. */
	bool has_failed;
	/* false: it is being filled, or has lost some of what it had. */
	bool is_whole;
	uint64_t epoch, end_lsn, token, seen_epoch;
	uint64_t least_unclean; /* the least epoch in which a reign may begin unclean there */
	uint32_t opening;
	struct str refusal;
};

/* `verb` is fence, hold, unhold or confirm (see node/volume/volumes.h). */
void ends_ask(struct cluster *cluster, const char *verb, struct end_question *questions,
	unsigned count, unsigned timeout_ms);

#endif
