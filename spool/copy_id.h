#ifndef PANDO_SPOOL_COPY_ID_H
#define PANDO_SPOOL_COPY_ID_H

/*
 * Who a copy of a log is: the file `copy` beside its segments, made with the directory and replaced
 * whole. Two copies never have the same id, unless a disk was copied.
 *
 * Bytes: 16 random ones, u32 owner; then CRC-32C of all before.
 */

#include "core/disk.h"

enum { COPY_ID_LENGTH = 16 };

struct copy_id {
	uint8_t bytes[COPY_ID_LENGTH];
	uint32_t owner; /* the node for which it was drawn; 0: nobody said */
};

/* Of a log that another process may be writing. -ENOENT: there is none yet; -EUCLEAN: damaged. */
int copy_id_read(struct disk *disk, const char *directory, struct copy_id *id_out) must_check;
/* Reads it, or draws a new one where there is none, it is damaged, or it was drawn for another node
 * than `owner` (0: nobody says for which): a disk that came to another machine, or is its copy, is
 * another copy from then on. `*moved_from_out` is that node, else 0. Durable when it returns 0. */
int copy_id_take(struct disk *disk, const char *directory, uint32_t owner, struct copy_id *id_out,
	uint32_t *moved_from_out) must_check;

#endif
