#ifndef PANDO_CTL_BACKUP_VERIFY_H
#define PANDO_CTL_BACKUP_VERIFY_H

/*
 * One run of `pando backup verify`: which sets are looked at, what was counted, what was found. A
 * fault is said where it is found and changes nothing of what else is looked at.
 */

#include "ctl/backup/set.h"
#include "ctl/command.h"
#include "ctl/filling.h"
#include "ctl/output.h"

struct verify {
	struct command *command;
	struct pool *pool;
	struct backup_sets sets;
	/* Those that are looked at, of `sets`: a parent before what stands on it. */
	struct backup_set **chosen;
	unsigned chosen_count;
	const struct backup_secret *secret; /* NULL: digests alone */
	struct table faults;
	uint64_t files, bytes, volumes, groups, messages;
	struct filling filling; /* of the pass that runs */
	uint64_t drawn_us;
};

/* `file` may be "": the set as a whole. */
void verify_fault(struct verify *verify, const char *set, const char *file, const char *format, ...)
	printf_like(4, 5);
/* So many bytes more of what the pass reads. False: whoever waits has had enough. */
bool verify_go_on(struct verify *verify, uint64_t bytes);

/* Each file is there, as long as it was, with its digest; nothing else is; parents are who they
 * were. */
void verify_files(struct verify *verify);
/* What the secret key opens: each directory to its end, each volume's log record by record. */
void verify_logs(struct verify *verify);

#endif
