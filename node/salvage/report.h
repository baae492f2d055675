#ifndef PANDO_NODE_SALVAGE_REPORT_H
#define PANDO_NODE_SALVAGE_REPORT_H

/*
 * What became of a tail: the file "<tail's name without .log>.report" beside it, written anew as a
 * whole (another name, synced, renamed). No report: nobody has looked at the tail yet. What is
 * delivered is recognised by its id, not by the report: one that is lost costs time alone.
 *
 *   pando-salvage 1
 *   <name> <number>               one line for each row of the table in report.c
 *   reason <text>                 last; why it is not done, one line
 *
 * A report is valid if and only if its first line is this one, every other is a known name with a
 * number, and `state` is one of enum salvage_state.
 */

#include "core/disk.h"
#include "node/salvage/tail.h"

enum salvage_state {
	SALVAGE_OPEN,      /* to be worked off, for the first time or again at next_s */
	SALVAGE_DONE,      /* all that could come home has */
	SALVAGE_DISCARDED, /* by the operator's word: nothing more comes home */
};

enum {
	/* Whoever misses something asks within a quarter of a year. */
	SALVAGE_KEPT_S = 90 * 86400,
};

struct salvage_report {
	uint64_t state, tries;
	int64_t since_s, next_s,
		ended_s; /* wall clock: first looked at, next try, done or discarded */
	/* Messages of the tail; stored at their home by this; there already; of a mailbox that is
	 * not there any more, or another; and what could not be read or was refused. */
	uint64_t messages, stored, present, kept, failed;
	/* Of what stood before: messages with other flags, expunged, moved (one may count twice),
	 * and folders and subscriptions that are others; how many of all these things are so at
	 * their home by now, and how many stay as they are there (node/salvage/carry.h). */
	uint64_t flags, expunges, moves, folders, subscriptions;
	uint64_t carried, left;
	uint64_t damaged_at; /* what stands from here on cannot be read; 0: nothing */
	char reason[256];
};

const char *salvage_state_name(uint64_t state);
/* Zeroed (open) when there is none. -EBADMSG for one that is not valid, zeroed too. */
int salvage_report_read(struct disk *disk, const char *directory, const struct tail_name *name,
	struct salvage_report *report_out) must_check;
int salvage_report_write(struct disk *disk, const char *directory, const struct tail_name *name,
	const struct salvage_report *report) must_check;
/* The tail first, then its report. */
int salvage_remove(const char *directory, const struct tail_name *name) must_check;

#endif
