#ifndef PANDO_CTL_BACKUP_PLACE_H
#define PANDO_CTL_BACKUP_PLACE_H

/*
 * Where a volume's log stands on this machine, and how one that was unpacked beside it comes there:
 * what stood there is set aside as a copy that another one replaces (spool/copy_number.h), under
 * its lock, so that no daemon has it open.
 *
 * Whatever is written on the way belongs to who runs the daemons, whoever runs this.
 *
 * All of it blocks. Killed at any point, the log that was there, or the unpacked one, is in place,
 * or nothing is: and a volume that was served waits where it finds nothing.
 */

#include "core/buf.h"
#include "core/config.h"
#include "proto/disk/epochs.h"

struct place {
	uint32_t volume_id;
	const struct config *config;
	struct buf volumes, log, unpacked, aside; /* folders; `aside` is empty when nothing was */
	bool was_there, is_placed;
	/* private */
	struct loop *loop;
	struct disk *disk;
	struct disk_lock *lock;
	bool is_made; /* the log's folder is there for the lock alone */
};

/* Takes the lock. -EAGAIN: a daemon has the log open. Release it with place_close, also then. */
int place_open(struct place *place, const struct config *config, uint32_t volume_id,
	struct error *error) must_check;
/* Lets the lock go, and what was made for it alone; what was unpacked and has not come into its
 * place goes too. All zero is accepted. */
void place_close(struct place *place);
/* The log that stands there has a sound end, *end_out, and goes on from what a backup has which
 * ends at `to` with this chain: what lies before is not read. -ENODATA: it does not, or nothing
 * stands there. It is opened as a daemon opens it: a torn end is cut off. */
int place_judge(struct place *place, uint64_t to, uint64_t chain, uint64_t *end_out,
	struct error *error) must_check;
/* Removes what stands where it is to be unpacked: somebody was killed there. */
int place_clear(struct place *place, struct error *error) must_check;
/* The last entry of the unpacked log's epoch vector. */
int place_read_last(
	struct place *place, struct epoch_entry *last_out, struct error *error) must_check;
/* What stands there leaves its place, with this machine's memory of it and its index: before the
 * directory names an epoch in which nobody is to serve it. */
int place_set_aside(struct place *place, struct error *error) must_check;
/* It stands there again: the directory has named none. */
int place_put_back(struct place *place, struct error *error) must_check;
/* The unpacked log becomes the one here, as the directory's copy `copy_number`, owned by who owns
 * the volumes. */
int place_take(struct place *place, uint64_t copy_number, struct error *error) must_check;

#endif
