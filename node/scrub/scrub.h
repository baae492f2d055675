#ifndef PANDO_NODE_SCRUB_SCRUB_H
#define PANDO_NODE_SCRUB_SCRUB_H

/*
 * Reads all that the volumes of this node have on disk, again and again, so that what has rotted is
 * known, and mended by another copy, while there is one: a reader or a replay meets what is read,
 * and most mail is read once.
 *
 * One volume at a time, step after step on a pool thread:
 *
 *   IDLE -> READING (<-> PAUSED, under load) -> IDLE, until scrub_days / 2 after it began
 *
 * A damaged place:
 *
 *   SUSPECTED   found by a walk beside whoever writes; looked at again before it counts
 *   ASKED       the volume (of a primary) or the replicator (of a replica) is to have it mended
 *   STANDS      no copy in reach has it whole: named, kept, and asked for again now and then
 *
 * and from each it goes when it is looked at and is sound.
 *
 * 1. Nothing here writes to a log: what mends does it by way of a file that an opener finishes.
 * 2. What stands harms nothing else: a replica is not cut for it, and no reader waits longer.
 * 3. Nothing relies on what is remembered (state.h): without it a pass begins anew.
 *
 * Front thread; logs and files are read on pool threads, the index on the volume's worker.
 */

#include "core/config.h"
#include "core/directory/directory.h"
#include "node/volume/volumes.h"

struct scrub;

int scrub_create(struct loop *loop, const struct config *config, struct directory *directory,
	struct volumes *volumes, struct scrub **scrub_out, struct error *error) must_check;
/* The process ends: what reads a log on a pool thread comes back soon. */
void scrub_stop(struct scrub *scrub);

/* For `pando status` and `check`: appends a member of an object. */
void scrub_status(const struct scrub *scrub, struct buf *json_out);
/* JSON for `pando scrub`: every copy here, what of it is damaged, and whose messages that are. */
void scrub_list(const struct scrub *scrub, struct buf *json_out);
/* `pando scrub --now` of the volumes in `list`, ID,ID,...: a pass begins, or one that was begun so
 * goes on. The number of them; -EINVAL for a malformed list. Those that this node does not hold are
 * passed over. */
int scrub_now(struct scrub *scrub, struct str list) must_check;

#endif
