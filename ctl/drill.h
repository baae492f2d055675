#ifndef PANDO_CTL_DRILL_H
#define PANDO_CTL_DRILL_H

/*
 * What a drill has found: every message of a set is in one of the counts, and each that is not as
 * it should be is named.
 */

#include "ctl/restore.h"

enum drill_outcome {
	/* As it should be, */
	DRILL_EQUAL,    /* the living cluster gives the same bytes */
	DRILL_GONE,     /* expunged or moved since, or its folder is gone */
	DRILL_REMOVED,  /* the living cluster has not the mailbox */
	DRILL_LATE,     /* expunged after the set's moment, before its volume was read */
	DRILL_LEFT_OUT, /* whole, and not of the sample */
	/* or not. */
	DRILL_DIFFERS,   /* the cluster gives other bytes, or cannot read its own */
	DRILL_UNREACHED, /* whole, and the cluster could not be asked */
	DRILL_DAMAGED,   /* the backup's copy cannot be read */
	DRILL_FREED,     /* the backup has no body of it, and it may still stand in the cluster */
	DRILL_OUTCOMES,
};

struct drill_volume {
	const struct backup_volume *volume;
	uint64_t counts[DRILL_OUTCOMES], messages, mailboxes;
	uint64_t unpack_us, replay_us, read_us;
	const char *failure; /* it could not be restored; NULL: it could */
};

struct drill {
	struct restore restore;
	struct living_way *way;
	unsigned percent;        /* that are compared */
	bool has_waited;         /* in vain, for a home: from then on little */
	const char *report_path; /* NULL: none was asked for, or it is finished */
	int report;              /* its descriptor */
	struct drill_volume *volumes;
	uint64_t known_mailboxes; /* in the directory of the backup */
	const char *directory_failure;
	/* Each message that is not as it should be: lines for people, objects of a JSON array. */
	struct buf problems, problems_json;
};

struct drill_problem {
	enum drill_outcome outcome;
	const char *volume, *why;
	struct str mailbox, folder;
	uint32_t uid;
	uint64_t messages; /* all of a mailbox that could not be asked; 0: the one */
};
/* Nothing for an outcome that is as it should be. */
void drill_note_problem(struct drill *drill, const struct drill_problem *problem);

struct view;
/* Reads every message of a restored volume, compares and counts it (drill_walk.c). */
void drill_walk(struct drill *drill, struct drill_volume *volume, struct view *view);

/* Nothing differs, all could be read, and all of the set is mail of its moment. */
bool drill_is_good(const struct drill *drill);
/* Makes the file that --report names, which is not there yet; a signal takes it away with the
 * scratch folder, which is there. */
int drill_report_open(struct drill *drill, struct error *error) must_check;
/* Nobody has written it: it goes. */
void drill_report_drop(struct drill *drill);
/* To standard output, and to --report; an exit code. */
int drill_report(struct drill *drill) must_check;

#endif
