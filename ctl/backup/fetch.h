#ifndef PANDO_CTL_BACKUP_FETCH_H
#define PANDO_CTL_BACKUP_FETCH_H

/*
 * A part of a volume's log from a replicator (its request `export`): every group is verified, and
 * its chain with what came before, so that it does not matter which copy what part came from.
 */

#include "core/config.h"
#include "core/error.h"
#include "proto/disk/record.h"

struct fetcher;

/* With the configuration's ctl certificate. */
int fetcher_create(
	const struct config *config, struct fetcher **fetcher_out, struct error *error) must_check;
/* NULL is accepted. */
void fetcher_destroy(struct fetcher **fetcher);

struct fetch {
	uint32_t volume;
	/* The log is here up to `lsn`, where it has `chain`; what follows is wanted, up to `end`.
	 * Both move on, and stand where another copy can be asked when one has failed. */
	uint64_t lsn, chain, end;
	/* Of the last byte below `lsn`, once something was fetched. */
	uint64_t epoch;
	uint8_t reign[GROUP_REIGN_LENGTH];
	/* Takes whole groups that begin at `lsn`, in order. A negative errno ends the fetch, and
	 * is its result. May block: the sender waits. */
	int (*on_groups)(
		void *arg, uint64_t lsn, struct str groups, uint64_t next, struct error *error);
	void *arg;
	/* Out: on_groups is what failed. */
	bool is_refused_here;
	/* Out, of a copy that is shorter: up to where it could be fetched there. */
	uint64_t offered;
};

/* Fetches from the replicator at `address`. 0: all is here. Else a sentence, and: -ESTALE, the log
 * there is another one below `lsn`; -EAGAIN, it is not to be had there now (see `offered`);
 * -EUCLEAN, what came is not that log; or why there is no line, and what on_groups gave. */
int fetch_run(struct fetcher *fetcher, const char *address, struct fetch *fetch,
	struct error *error) must_check;

#endif
