#ifndef PANDO_NODE_SALVAGE_CARRIED_H
#define PANDO_NODE_SALVAGE_CARRIED_H

/*
 * Which mailboxes of a tail have been carried: never again, whatever their owners do since. The
 * file "<tail's name without .log>.carried" beside it; an entry is added, durably, when a mailbox
 * is done.
 *
 * Bytes of an entry: u64 mailbox, u32 changes carried, u32 left, u32 CRC-32C of all before, u32 0.
 * One that is not whole, and all behind it, says nothing: that mailbox is carried once more.
 */

#include "core/map.h"
#include "node/salvage/tail.h"

struct carried {
	struct map *mailboxes; /* u64 -> the map itself */
	uint64_t carried, left;
	uint64_t length; /* of the entries that are whole */
};

/* Nothing where there is no file. To be ended also after an error. */
int carried_load(struct disk *disk, const char *directory, const struct tail_name *name,
	struct carried *out) must_check;
void carried_end(struct carried *carried);
bool carried_has(const struct carried *carried, uint64_t mailbox_id);
int carried_add(struct disk *disk, const char *directory, const struct tail_name *name,
	struct carried *carried, uint64_t mailbox_id, uint64_t count, uint64_t left) must_check;

#endif
