#ifndef PANDO_CTL_BACKUP_TAKE_H
#define PANDO_CTL_BACKUP_TAKE_H

/* Between take.c, take_target.c, take_ends.c, take_volume.c and take_report.c: a backup that is
 * being taken. */

#include "core/pool.h"
#include "ctl/backup/fetch.h"
#include "ctl/backup/set.h"
#include "ctl/cluster.h"
#include "ctl/filling.h"

/* A volume, and up to where it is wanted. */
struct wanted {
	const struct directory_volume *volume;
	const struct backup_volume *before; /* in the parent; NULL: it is not */
	uint64_t end;
	/* Of the set's moment: what is in the same epoch and has that much is of all mail. */
	uint64_t least_end;
	bool is_primarys; /* its primary has said so; else a replica, of what it has */
	uint64_t epoch;   /* of that primary */
	/* Why that is not all, or may not be; "": it is. */
	const char *problem;
};

struct taking {
	struct command *command;
	struct pool *pool;
	int dir; /* of `--to`, locked */
	struct cluster cluster;
	struct fetcher *fetcher;
	const struct backup_set *parent; /* NULL: none */
	struct backup_set set;
	struct wanted *wanted; /* of set.volumes, one each */
	bool was_in_vain;      /* some volume was asked for again and again, and not had */
	struct filling filling;
	uint64_t asked_us;    /* when the ends were */
	uint64_t done, total; /* bytes of logs */
};

/* ---- take_target.c: what is in the folder, and what is to be there ---- */

/* Opens and locks the folder, finds recipient and parent, and makes the set's folder. 0 or an exit
 * code with the sentence printed. */
int take_open_target(struct taking *taking) must_check;

/* ---- take_ends.c ---- */

/* Opens the cluster, lists its volumes as the directory has them now, and asks where all of them
 * end at one moment, which is the set's. 0 or an exit code with the sentence printed. */
int take_find_ends(struct taking *taking) must_check;
/* Those of the volumes from `first` on, that are still to be read, anew where that is a while ago:
 * what is expunged behind its volume's end may be gone when that is read. */
void take_renew_ends(struct taking *taking, unsigned first);

/* ---- take_volume.c ---- */

/* Reads one volume's log into the set. What its copies lack or refuse is its `problem`; an error is
 * of the folder that is written to. */
int take_volume(struct taking *taking, const struct wanted *wanted, struct backup_volume *volume,
	struct error *error) must_check;

/* ---- take_report.c ---- */

void take_draw(struct taking *taking, const char *volume, bool always);
/* Prints what came of it; the exit code. */
int take_report(const struct taking *taking);

#endif
