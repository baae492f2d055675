#ifndef PANDO_CTL_RESTORE_H
#define PANDO_CTL_RESTORE_H

/*
 * What `pando restore` has in hand whatever it restores: the sets of a backup, the key that opens
 * them, a folder for what is unpacked, and the living cluster.
 *
 * Functions that return an int without must_check of an error say an exit code, with the sentence
 * printed.
 */

#include "ctl/backup/living.h"
#include "ctl/backup/scratch.h"
#include "ctl/backup/set.h"
#include "ctl/cluster.h"

struct restore {
	struct command *command;
	struct pool *pool;
	struct backup_sets sets;
	struct backup_set **chain; /* what `set` stands on, and itself last */
	unsigned chain_count;
	const struct backup_set *set;
	struct backup_secret secret;
	struct scratch *scratch; /* NULL until restore_open_scratch */
	struct cluster cluster;  /* restore_open_cluster */
	uint64_t shown_us;       /* when progress was shown last */
	bool shows_progress, is_shown;
};

/* Reads --from and --set. */
int restore_open_sets(struct command *command, struct restore *restore) must_check;
/* The same and --key, for who makes no scratch folder, or only maybe. */
int restore_open(struct command *command, struct restore *restore) must_check;
/* In --work, or where there is room for so many bytes: in TMPDIR, /var/tmp, or beside data_dir.
 * Before restore_open_cluster (scratch.h: it forks). Reads --key, after the fork. */
int restore_open_scratch(struct restore *restore, uint64_t room) must_check;
/* The same in this folder. */
int restore_open_scratch_in(struct restore *restore, const char *dir) must_check;
/* The directory and the places of the cluster. */
int restore_open_cluster(struct restore *restore) must_check;
/* The set is of the cluster that this machine's certificates are of, or --other-cluster says that
 * it may be another one. */
int restore_check_cluster(struct restore *restore) must_check;
/* Complains where the set is not of all mail of the volume, and names an older one that has more of
 * it: then true. */
bool restore_say_short(const struct restore *restore, const struct backup_volume *volume);
/* Everything that is open, whatever that is. */
void restore_close(struct restore *restore);

/* "2026-11-27T10:15:00Z", in the pool. */
const char *restore_moment(const struct restore *restore);
/* Room that the largest volume of the set takes (unpack_room). */
uint64_t restore_room(const struct restore *restore);
/* A file or folder in the scratch folder, in the pool. */
const char *restore_path(const struct restore *restore, const char *name);
/* On a terminal, where nobody wants JSON: "what: done of total", now and then; wiped away by the
 * next sentence's restore_wipe. */
void restore_show(struct restore *restore, const char *what, uint64_t done, uint64_t total);
void restore_wipe(struct restore *restore);

int restore_mailbox(struct command *command);
int restore_drill(struct command *command);
int restore_lost_volume(struct command *command);
int restore_directory(struct command *command);

#endif
