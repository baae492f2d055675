#ifndef PANDO_NODE_SALVAGE_TAIL_INTERNAL_H
#define PANDO_NODE_SALVAGE_TAIL_INTERNAL_H

/* Between tail.c (which groups are the tail's), tail_changes.c (what they did) and tail_present.c
 * (what of it the present log has). */

#include "node/salvage/tail.h"
#include "spool/log_files.h"
#include "spool/log_reader.h"

#include <errno.h>

enum {
	/* Of the log at a time. */
	TAIL_READ_BYTES = 1 << 20,
};

/* A message that the tail is about, and where it stands so far: one that the tail added, one that
 * stood before, or, where it is neither, one that had been expunged and was recovered. */
struct tail_standing {
	struct tail_message *message;
	struct tail_older *older;
	uint64_t recovered_lsn; /* its body */
	uint32_t folder_id, uid;
};

/* While a tail is read. */
struct reading {
	struct tail *tail;
	struct index index;
	struct pool *scratch; /* of one change */
	struct map *mailboxes;
	size_t mailbox_capacity;
	uint32_t standing_count; /* of all mailboxes */
	const struct group *group;
	uint64_t lsn; /* of the CHANGE that is looked at */
};

/* -ECANCELED when the process ends. */
static inline int tail_stopped(const struct tail *tail)
{
	return atomic_load(tail->stop) ? -ECANCELED : 0;
}

/* ---- tail.c ---- */

/* Sets parts_at by the log that ends at `present_end`. */
int tail_find_parting(struct tail *tail, struct disk_file *file, uint64_t present_end) must_check;
/* The chain behind the log's group that begins at `last`. */
int tail_read_chain(const struct tail *tail, uint64_t last, uint64_t *chain_out) must_check;

/* ---- tail_changes.c ---- */

/* Notes what the group did, and applies it. */
int tail_read_group(
	struct reading *reading, const struct group *group, struct str bytes) must_check;
void tail_take_flags(
	struct pool *pool, const struct folder *folder, uint64_t flags, struct tail_flags *out);

/* ---- tail_end.c ---- */

/* Lists it all, as it stands in reading->index. */
void tail_take_end(struct reading *reading);
/* What the reading alone needs. */
void tail_forget_reading(struct tail *tail);

#endif
